"""Commands: python -m service serve | worker | migrate | check | psql | import-stock | …"""

import argparse
import importlib
import io
import logging
import pkgutil
import sys

import asyncpg
import uvloop

from service import __version__, commands, results
from service.database.embedded.files import EmbeddedError
from service.logs import set_up_logs
from service.settings import SettingsError, read_settings, unknown_settings

logger = logging.getLogger("holdfast")

TOLD = (SettingsError, EmbeddedError, OSError, asyncpg.PostgresError)
"""Errors that a person is told in one line."""
OF_PACKAGES = {
    "alembic.util": "CommandError",
    "service.server": "ServeError",
    "sqlalchemy.exc": "DBAPIError",
}
"""Told likewise. Of modules that take 0.3 s to import, so only of those that are there already."""
WRONG_USE = 2
"""Exit code for settings, arguments or surroundings that a person has to mend."""


def main() -> int:
    """Run one command; 0 when it went well, 1 when what it looked at is wrong, 2 for misuse."""
    arguments = parser(sys.argv[1] if len(sys.argv) > 1 else "").parse_args()
    try:
        settings = read_settings()
        # What a command prints is for the next program; what it logs is for its user.
        set_up_logs(
            settings.log_format,
            settings.log_level if arguments.is_service else "warning",
            sys.stdout if arguments.is_service else sys.stderr,
        )
        if not arguments.is_service and isinstance(sys.stdout, io.TextIOWrapper):
            # Into a pipe, too, in order with what is said of errors.
            sys.stdout.reconfigure(line_buffering=True)
        for name in unknown_settings():
            logger.warning("%s is no setting of Holdfast", name)
        return int(uvloop.run(arguments.run(settings, arguments)) or 0)
    except results.Refusal as refusal:
        said = results.error_body(refusal.code, refusal.detail, **refusal.fields)
        print(f"holdfast: {said['detail'] or said['message']}", file=sys.stderr)
        return WRONG_USE
    except _told() as error:
        print(f"holdfast: {_said_by(error)}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        return 130


def parser(asked: str = "") -> argparse.ArgumentParser:
    """The command line: each module of service/commands that has `add` is a command.

    Only the command that is asked for is imported, unless there is none of that name: `check` needs
    no HTTP server, and starts in half of the time.
    """
    top = argparse.ArgumentParser(
        prog="python -m service",
        description="Holdfast reserves stock so that it cannot be sold twice.",
        epilog="Settings are HOLDFAST_* environment variables, or lines of .env; see .env.example.",
    )
    top.add_argument("--version", action="version", version=f"Holdfast {__version__}")
    top.set_defaults(is_service=False)
    added = top.add_subparsers(required=True, metavar="COMMAND")
    names = [found.name for found in pkgutil.iter_modules(commands.__path__)]
    if asked == "--version":
        names = []
    elif (name := asked.replace("-", "_")) in names:
        names = [name]
    for name in names:
        module = importlib.import_module(f"{commands.__name__}.{name}")
        if hasattr(module, "add"):  # else it is a part of one that has
            module.add(added)
    commands.add_examples(added)
    return top


def _told() -> tuple[type[Exception], ...]:
    imported = [
        (sys.modules[name], error) for name, error in OF_PACKAGES.items() if name in sys.modules
    ]
    return (*TOLD, *(getattr(module, error) for module, error in imported))


def _said_by(error: Exception) -> str:
    """What an error says to a person, and the remedy where the schema is not as it has to be."""
    from service.database.outcomes import MIGRATE, NOT_MIGRATED

    cause = getattr(error, "orig", None) or error
    said = f"{cause}".replace("\n", " ")
    state = getattr(cause, "sqlstate", None)
    if state == "42501":  # insufficient_privilege
        said += ". The owner's login goes into HOLDFAST_MIGRATION_URL"
    if state in NOT_MIGRATED:
        said += f". Perhaps it needs: {MIGRATE}"
    return said


if __name__ == "__main__":
    sys.exit(main())
