"""Commands: python -m service serve | worker | migrate | check | psql | import-stock | …"""

import argparse
import logging
import sys

import asyncpg
import uvloop
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from service import results
from service.commands import (
    check,
    forget_guest,
    hooks,
    import_stock,
    key,
    migrate,
    outbox,
    psql,
    report,
    serve,
    user,
    worker,
)
from service.database.embedded.files import EmbeddedError
from service.logs import set_up_logs
from service.server import ServeError
from service.settings import SettingsError, read_settings, unknown_settings

logger = logging.getLogger("holdfast")

COMMANDS = (
    serve,
    worker,
    migrate,
    check,
    psql,
    import_stock,
    report,
    outbox,
    user,
    key,
    forget_guest,
    hooks,
)
OURS = (SettingsError, EmbeddedError, ServeError)
WRONG_USE = 2
"""Exit code for settings, arguments or surroundings that a person has to mend."""


def main() -> int:
    """Run one command; 0 when it went well, 1 when what it looked at is wrong, 2 for misuse."""
    arguments = parser().parse_args()
    try:
        settings = read_settings()
        is_service = arguments.run in (serve.run, worker.run)
        # What a command prints is for the next program; what it logs is for its user.
        set_up_logs(
            settings.log_format,
            settings.log_level if is_service else "warning",
            sys.stdout if is_service else sys.stderr,
        )
        for name in unknown_settings():
            logger.warning("%s is no setting of Holdfast", name)
        return int(uvloop.run(arguments.run(settings, arguments)) or 0)
    except results.Refusal as refusal:
        said = results.error_body(refusal.code, refusal.detail, **refusal.fields)
        print(f"holdfast: {said['detail'] or said['message']}", file=sys.stderr)
        return WRONG_USE
    except (*OURS, CommandError, OSError, asyncpg.PostgresError, DBAPIError) as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m service",
        description="Holdfast reserves stock so that it cannot be sold twice.",
        epilog="Settings are HOLDFAST_* environment variables; see .env.example.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
