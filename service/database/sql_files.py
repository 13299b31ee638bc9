"""The files of sql/: which there are, in which order, and how one is run."""

from typing import Any

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service.settings import ROOT

SCHEMA = "holdfast"
SQL = ROOT / "sql"


def read_file(path: str) -> str:
    """What a file of sql/ says."""
    return (SQL / path).read_text("utf-8")


def manifest() -> list[str]:
    """The files of sql/, in the order of their installation."""
    lines = (SQL / "manifest.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_view(body: str) -> bool:
    """Whether a file of sql/ makes a view."""
    return body.startswith("CREATE VIEW")


def execute(connection: Connection, script: str) -> None:
    """Run a script in the connection's transaction, by the protocol that takes it whole.

    The empty statement first, because SQLAlchemy begins a transaction only with its own execute.
    """
    connection.exec_driver_sql("")
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.run_async(lambda raw: raw.execute(script))
    except asyncpg.PostgresError as error:
        raise DBAPIError.instance(script[:200], None, error, Exception) from error
