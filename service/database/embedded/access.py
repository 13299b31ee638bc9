"""Who gets in: the database, its logins, and the file by which clients over TCP know a password.

The superuser is for the making of these alone. The service works with a login that owns nothing,
migrations and people with the owner's: whatever a session of theirs sets, it is no superuser.
"""

import logging
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

import asyncpg

from service.database.embedded.files import DATABASE, EmbeddedError, Urls, write_private
from service.settings import ROOT

ROLES = ROOT / "sql" / "roles"
PGPASS = re.compile(r"127\.0\.0\.1:(\d+):\*:(\*|postgres):(\w+)\n")

# Where the library is there: which statements take how long. It counts from the next start.
PRELOAD = """
SELECT current_setting('shared_preload_libraries') = '' AND EXISTS (
    SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')
"""

logger = logging.getLogger("holdfast.postgres")


class Pass(NamedTuple):
    """Port and password for clients over TCP (a libpq passfile)."""

    file: Path
    port: int
    """Where the server listened last; 0: nowhere yet."""
    password: str
    is_new: bool
    """The server has yet to be told, for one login at least."""

    @classmethod
    def read(cls, data_dir: Path) -> "Pass":
        """What the folder's file says, else a new password."""
        file = data_dir / "pgpass"
        if known := PGPASS.fullmatch(file.read_text() if file.exists() else ""):
            # An earlier release let nobody but the superuser in.
            return cls(file, int(known[1]), known[3], is_new=known[2] != "*")
        return cls(file, 0, secrets.token_hex(24), is_new=True)

    def write(self, port: int) -> None:
        """Note where the server listens."""
        write_private(self.file, f"127.0.0.1:{port}:*:*:{self.password}\n", os.O_TRUNC)


async def open_database(urls: Urls, known: Pass, port: int) -> None:
    """Make database, roles and logins where they are missing, and see that they can be reached."""
    password = {"holdfast.password": known.password} if known.is_new else {}
    try:
        admin = await asyncpg.connect(urls.superuser, database="postgres")
        try:
            there = "SELECT FROM pg_database WHERE datname = $1"
            if not await admin.fetch(there, DATABASE):
                await admin.execute(f"CREATE DATABASE {DATABASE}")
            if known.is_new:  # at initdb too, but pgpass may have been lost since
                await admin.execute(f"ALTER ROLE postgres PASSWORD '{known.password}'")
            if await admin.fetchval(PRELOAD):
                await admin.execute(
                    "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"
                )
        finally:
            await admin.close()
        admin = await asyncpg.connect(urls.superuser, server_settings=password)
        try:
            for script in ("roles.sql", "logins.sql"):
                await admin.execute((ROLES / script).read_text("utf-8"))
        finally:
            await admin.close()
    except (asyncpg.PostgresError, TimeoutError) as error:
        raise EmbeddedError(f"PostgreSQL refuses our connection: {error}") from error
    if known.is_new or port != known.port:
        known.write(port)
