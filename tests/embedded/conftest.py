"""Folders and processes that are gone after each test."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder not made yet, under one that every user may pass (pytest's own are closed)."""
    parent = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    deadline = time.monotonic() + 15
    while list(parent.rglob("postmaster.pid")) and time.monotonic() < deadline:
        time.sleep(0.02)  # the server of a service that was killed
    shutil.rmtree(parent)


@pytest.fixture
def spawned() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that must not outlive the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()
