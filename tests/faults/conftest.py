"""Faults need the service in processes of its own, too."""

from tests.server.conftest import data_dir as data_dir
from tests.server.conftest import serve_process as serve_process
from tests.server.conftest import start as start
