"""Commands: python -m service serve | worker | migrate | check | psql | import-stock | …"""

import argparse
import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import uvloop
from sqlalchemy.exc import DBAPIError

from service import (
    delivery,
    embedded,
    migrate,
    reports,
    results,
    server,
    stock_import,
    user_commands,
    worker,
)
from service.database import SEARCH_PATH, connect
from service.logs import set_up_logs
from service.settings import Settings, SettingsError, read_settings, unknown_settings

logger = logging.getLogger("holdfast")

OURS = (SettingsError, embedded.EmbeddedError, server.ServeError)
WRONG_USE = 2
"""Exit code for settings, arguments or surroundings that a person has to mend."""


def main() -> int:
    """Run one command; 0 when it went well, 1 when what it looked at is wrong, 2 for misuse."""
    arguments = parser().parse_args()
    try:
        settings = read_settings()
        is_service = arguments.run in (run_serve, run_worker)
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
    except (*OURS, OSError, asyncpg.PostgresError, DBAPIError) as error:
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

    serve = commands.add_parser("serve", help="run the whole service until SIGTERM")
    serve.add_argument("--demo", action="store_true", help="load a small stock into an empty store")
    serve.set_defaults(run=run_serve)

    works = "deliver messages, fire schedules and write lapsed holds down, until SIGTERM"
    work = commands.add_parser("worker", help=works, description=works)
    work.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    work.set_defaults(run=run_worker)

    newest = "bring the database to the newest schema"
    upgrade = commands.add_parser("migrate", help=newest, description=newest)
    upgrade.set_defaults(run=run_migrate)

    proof = "prove that no invariant is broken; exit code 1 if one is"
    check = commands.add_parser("check", help=proof, description=proof)
    check.set_defaults(run=run_check)

    psql = commands.add_parser("psql", help="open psql on the service's database, as the reader")
    psql.add_argument("--as", dest="role", choices=["reader", "owner"], default="reader")
    psql.add_argument("--url", action="store_true", help="only print a libpq URL for the same")
    psql.add_argument("rest", nargs="*", metavar="-- PSQL_ARGUMENT", help="handed to psql")
    psql.set_defaults(run=run_psql)

    load = commands.add_parser(
        "import-stock",
        help="set what is on hand from a CSV file",
        description="Columns: product_id, name, quantity, price (of one, in minor units). All of "
        "the file or nothing: wrong rows are listed with their line numbers.",
    )
    load.add_argument("file", type=Path, metavar="FILE.csv")
    load.add_argument("--store", help="default: HOLDFAST_STORE")
    load.add_argument("--add", action="store_true", help="add to what is on hand, not replace it")
    load.set_defaults(run=run_import_stock)

    report = commands.add_parser(
        "report",
        help="print what a store has, send it, or save it as a workbook",
        description="Without an option the report is printed as text.",
    )
    report.add_argument("--store", help="default: HOLDFAST_STORE")
    way = report.add_mutually_exclusive_group()
    way.add_argument("--send", action="store_true", help="to HOLDFAST_TELEGRAM_CHAT_ID, now")
    way.add_argument("--output", type=Path, metavar="FILE.xlsx", help="save a workbook")
    report.set_defaults(run=run_report)

    outbox = commands.add_parser("outbox", help="messages that were given up: list, revive")
    actions = outbox.add_subparsers(required=True, metavar="ACTION")
    dead = actions.add_parser("list", help="print the dead letters of all stores")
    dead.set_defaults(run=run_outbox_list)
    revive = actions.add_parser("revive", help="have dead letters of a store tried again")
    revive.add_argument("--store", help="default: HOLDFAST_STORE")
    revive.add_argument("messages", nargs="+", type=int, metavar="MESSAGE_ID")
    revive.set_defaults(run=run_outbox_revive)
    user = commands.add_parser("user", help="create users, such as the first admin")
    verbs = user.add_subparsers(required=True, metavar="VERB")
    create = verbs.add_parser(
        "create",
        help="create a user who can sign in at once",
        description="The password is asked for, or read from standard input; where none is given, "
        "one is made and printed.",
    )
    create.add_argument("login", metavar="LOGIN")
    create.add_argument("--role", choices=["customer", "staff", "admin"], default="customer")
    create.set_defaults(run=run_user_create)

    key = commands.add_parser("key", help="make, list and revoke the keys of other systems")
    verbs = key.add_subparsers(required=True, metavar="VERB")
    make = verbs.add_parser("create", help="make a key and print it, once")
    make.add_argument("name", metavar="NAME", help="what it is for")
    make.set_defaults(run=run_key_create)
    show = verbs.add_parser("list", help="which keys there are, and when they were used")
    show.set_defaults(run=run_key_list)
    revoke = verbs.add_parser("revoke", help="a key opens nothing any more")
    revoke.add_argument("key_id", metavar="KEY_ID", type=int)
    revoke.set_defaults(run=run_key_revoke)
    for verb in (create, make, show, revoke):
        verb.add_argument("--store", help="default: HOLDFAST_STORE")
    return top


async def run_serve(settings: Settings, arguments: argparse.Namespace) -> None:
    """serve: the service, or one of its API processes when a parent started us as one."""
    if server.LISTEN_FD in os.environ:
        await server.serve_child(settings)
    else:
        await server.serve(settings, demo=arguments.demo)


async def run_worker(settings: Settings, arguments: argparse.Namespace) -> None:
    """worker: by itself, or as the child of `serve`, whose end is ours."""
    stop = server.stop_on_signals()
    async with service_url(settings) as dsn:
        orphaned = await server.stop_with_parent(stop) if arguments.child else None
        await worker.run_worker(settings, dsn, stop)
    if orphaned:
        orphaned.cancel()


async def run_migrate(settings: Settings, arguments: argparse.Namespace) -> None:
    """migrate: upgrade, then say where the schema stands."""
    async with owner_url(settings) as dsn:
        await migrate.upgrade_in_thread(dsn)
        connection = await connect(dsn, migrate.OWNER)
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        await connection.close()
        print(f"The schema is at revision {revision}, sql/ is installed.")


async def run_check(settings: Settings, arguments: argparse.Namespace) -> int:
    """check: print every broken invariant."""
    async with owner_url(settings) as dsn:
        connection = await connect(dsn, "holdfast_reader", seconds=None)
        rows = await connection.fetch("SELECT * FROM invariant_violations ORDER BY 1, 2, 3")
        await connection.close()
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    print(f"{len(rows)} broken invariants" if rows else "Healthy: no invariant is broken.")
    return 1 if rows else 0


async def run_psql(settings: Settings, arguments: argparse.Namespace) -> int:
    """psql: the real one, on the service's database, with role and search_path set."""
    options = f"-c role=holdfast_{arguments.role} -c search_path={SEARCH_PATH.replace(' ', '')}"
    if arguments.role == "reader":
        options += " -c default_transaction_read_only=on"
    if arguments.url and not settings.owner_url and not embedded.running_url(settings.data_dir):
        raise embedded.EmbeddedError("PostgreSQL is not running; start it with: make run")
    async with owner_url(settings) as dsn:
        url = f"{dsn}{'&' if '?' in dsn else '?'}options={quote(options)}"
        if arguments.url:
            print(url)
            return 0
        binary = shutil.which("psql") or embedded.find_binaries(settings.data_dir) / "psql"
        command = [str(binary), url, *arguments.rest]
        return await asyncio.to_thread(subprocess.call, command)


async def run_import_stock(settings: Settings, arguments: argparse.Namespace) -> int:
    """import-stock: all of the file or nothing."""
    async with owner_url(settings) as dsn:
        return await stock_import.import_file(
            dsn, arguments.store or settings.store, arguments.file, add=arguments.add
        )


async def run_report(settings: Settings, arguments: argparse.Namespace) -> int:
    """report: as text on standard output, to the Telegram chat, or into a file."""
    store_id = arguments.store or settings.store
    async with service_url(settings) as dsn:
        if arguments.send:
            return await send_report(settings, dsn, store_id)
        opened = reports.reading(dsn, "holdfast_worker", store_id, settings.time_zone)
        async with opened as report:
            if not arguments.output:
                async for line in reports.lines(report):
                    print(line)
                return 0
            file = await reports.write_workbook(report)
        with file, arguments.output.open("wb") as output:
            await asyncio.to_thread(shutil.copyfileobj, file, output)
    return 0


async def send_report(settings: Settings, dsn: str, store_id: str) -> int:
    """Send a store's report past the outbox, so that its sender sees what becomes of it."""
    if not settings.telegram_bot_token:
        raise SettingsError("HOLDFAST_TELEGRAM_BOT_TOKEN is not set: there is no bot to send it")
    from service.delivery.telegram import Telegram  # takes seconds to import

    telegram = Telegram(settings, dsn)
    try:
        await telegram.send_report(store_id)
    except (delivery.Undeliverable, delivery.Postponed, ConnectionError) as error:
        print(f"Not sent, or not all of it: {error}", file=sys.stderr)
        return 1
    finally:
        await telegram.close()
    return 0


async def run_outbox_list(settings: Settings, arguments: argparse.Namespace) -> None:
    """outbox list: one line per dead letter."""
    async with owner_url(settings) as dsn:
        connection = await connect(dsn, "holdfast_reader", seconds=None)
        rows = await connection.fetch("SELECT * FROM dead_letters ORDER BY store_id, message_id")
        await connection.close()
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    print(f"{len(rows)} dead letters" if rows else "No dead letters.")


async def run_outbox_revive(settings: Settings, arguments: argparse.Namespace) -> int:
    """outbox revive: each message for itself; 1 if one is no dead letter."""
    store_id, status = arguments.store or settings.store, 0
    async with owner_url(settings) as dsn:
        connection = await connect(dsn, migrate.OWNER)
        for message_id in arguments.messages:
            code = await connection.fetchval("SELECT revive_message($1, $2)", store_id, message_id)
            print(f"{store_id} {message_id}: {code}")
            status |= results.is_error(code)
        await connection.close()
    return status


@asynccontextmanager
async def service_url(settings: Settings) -> AsyncIterator[str]:
    """The service's own URL, which need not be the owner's."""
    if settings.database_url:
        yield settings.database_url
        return
    async with owner_url(settings) as dsn:
        yield dsn


async def run_user_create(settings: Settings, arguments: argparse.Namespace) -> int:
    """user create: somebody who can sign in."""
    async with owner_url(settings) as dsn:
        store_id = arguments.store or settings.store
        return await user_commands.create_user(dsn, store_id, arguments.login, arguments.role)


async def run_key_create(settings: Settings, arguments: argparse.Namespace) -> int:
    """key create: shown once."""
    async with owner_url(settings) as dsn:
        store_id = arguments.store or settings.store
        return await user_commands.create_key(dsn, store_id, arguments.name)


async def run_key_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """key list: all of a store."""
    async with owner_url(settings) as dsn:
        return await user_commands.list_keys(dsn, arguments.store or settings.store)


async def run_key_revoke(settings: Settings, arguments: argparse.Namespace) -> int:
    """key revoke: for good."""
    async with owner_url(settings) as dsn:
        store_id = arguments.store or settings.store
        return await user_commands.revoke_key(dsn, store_id, arguments.key_id)


@asynccontextmanager
async def owner_url(settings: Settings) -> AsyncIterator[str]:
    """The owner's URL: of the server configured, of our running service's, or of one for now."""
    if settings.owner_url:
        yield settings.owner_url
        return
    async with embedded.borrowed(settings.data_dir) as dsn:
        yield dsn


if __name__ == "__main__":
    sys.exit(main())
