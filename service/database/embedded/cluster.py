"""The cluster of a data folder: made once, complete or not at all."""

import locale
import logging
import os
import shutil
import tempfile
from pathlib import Path

from service.database.embedded.binaries import has_extension
from service.database.embedded.files import (
    EmbeddedError,
    initialised_version,
    sync_folder,
    write_private,
)
from service.database.embedded.installation import Installation

HBA = """\
# The socket's folder is closed to others, so whoever reaches the socket is trusted.
local all all trust
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""
SETTINGS = """
# Holdfast's defaults, written once: change them here, or with ALTER SYSTEM, and restart.
cluster_name = 'holdfast'
max_connections = 200
shared_buffers = 256MB
min_wal_size = 256MB
max_wal_size = 2GB
jit = off
"""
STATISTICS = """
# Which statements take how long: the view pg_stat_statements. Utility statements, which may hold a
# password, are left out.
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track_utility = off
"""

LETTERS = "C.UTF-8"
"""Sorted by bytes, but knows the capitals of every script; glibc has it, and what Docker runs."""

logger = logging.getLogger("holdfast.postgres")


def letters() -> str:
    """The LC_CTYPE of a new cluster: which letters there are, as far as this machine knows."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, LETTERS)
    except locale.Error:
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return LETTERS


async def make_cluster(installation: Installation, password: str) -> None:
    """Make the cluster beside its place and move it there complete, so none is half made."""
    data_dir, pgdata = installation.data_dir, installation.pgdata
    for leftover in data_dir.glob("initdb-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if initialised_version(data_dir) is not None:
        return
    if pgdata.exists() and any(pgdata.iterdir()):
        raise EmbeddedError(f"{pgdata} is not empty, but no PostgreSQL data either.")
    logger.info("making a PostgreSQL %d cluster in %s", installation.version, pgdata)
    draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=data_dir))
    try:
        file = draft / "password"
        write_private(file, password, os.O_EXCL)
        for path in (draft, file):
            os.chown(path, *installation.account)
        initdb = str(installation.bin_dir / "initdb")
        await installation.run(
            *(initdb, "-D", str(draft / "postgres"), "-U", "postgres"),
            *("--encoding=UTF8", "--locale=C", f"--lc-ctype={letters()}"),
            *("--data-checksums", f"--pwfile={file}"),
            *("--auth-local=trust", "--auth-host=scram-sha-256"),
            *(["--no-sync"] if installation.options.get("fsync") == "off" else []),
        )
        settings = SETTINGS
        if has_extension(installation.bin_dir, installation.version, "pg_stat_statements"):
            settings += STATISTICS
        write_private(draft / "postgres" / "pg_hba.conf", HBA, os.O_TRUNC)
        write_private(draft / "postgres" / "postgresql.conf", settings, os.O_APPEND)
        (draft / "postgres").rename(pgdata)
        sync_folder(data_dir)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
