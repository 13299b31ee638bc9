"""Import stock from a CSV file: all of it or nothing.

The file is copied into a table, so that its size does not matter here. Stored functions then check
every line, and write some thousands at a time, so that it does not matter to PostgreSQL's memory
either; all in one transaction.
"""

import argparse
import codecs
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from tqdm import tqdm

from service.commands import Commands
from service.commands.stock_file import Line, WrongFile, read_lines
from service.database.connections import connected
from service.database.roles import OWNER
from service.database.urls import owner_url
from service.settings import Settings
from service.web.bodies import OutsideId

LINES_AT_ONCE = 10_000
ANALYZE_FROM = 10_000
"""Lines after which the planner should hear of what changed."""
ATTEMPTS = 4
TRY_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)
COLUMNS = (
    *("store_id", "product_id", "line_number"),
    *("name", "quantity", "price", "problem"),
)

BEGIN_IMPORT = "SELECT * FROM begin_import($1, $2)"
CHECK_IMPORT = "SELECT * FROM check_import($1, $2)"
PREVIEW_IMPORT = "SELECT * FROM preview_import($1, $2)"
IMPORT_PRODUCTS = "SELECT * FROM import_products($1, $2, $3, $4, NULL)"
IMPORT_COUNTS = "SELECT * FROM import_counts($1, $2, $3, $4, $5, NULL)"
FORGET_LINES = "DELETE FROM import_lines WHERE store_id = $1"


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser(
        "import-stock",
        help="set what is on hand from a CSV file",
        description="Columns: product_id and quantity, and, where they are known, name and price "
        "(of one, in minor units); separated by commas, semicolons or tabs; in UTF-8, UTF-16 or "
        "what --encoding says. All of the file or nothing: wrong rows are listed with their line "
        "numbers.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.csv")
    parser.add_argument("--store", type=_store_id, help="default: HOLDFAST_STORE")
    parser.add_argument("--create", action="store_true", help="create the store if there is none")
    parser.add_argument("--add", action="store_true", help="add to what is on hand, not replace it")
    parser.add_argument("--dry-run", action="store_true", help="check the file, write nothing")
    parser.add_argument(
        "--encoding", type=_encoding, default="utf-8", help="such as windows-1251; default: utf-8"
    )
    parser.add_argument(
        "--ignore-extra", action="store_true", help="pass over columns of other names"
    )
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """All of the file or nothing."""
    store_id = arguments.store or settings.store
    async with owner_url(settings) as dsn:
        return await import_file(
            dsn,
            store_id,
            arguments.file,
            add=arguments.add,
            create=arguments.create or store_id in (settings.store, *settings.stores.split()),
            dry_run=arguments.dry_run,
            encoding=arguments.encoding,
            ignore_extra=arguments.ignore_extra,
        )


class WrongLines(Exception):
    """Some lines cannot be written."""

    def __init__(self, document: str) -> None:
        super().__init__("wrong lines")
        self.found: dict[str, Any] = json.loads(document)


class UnknownStore(Exception):
    """There is no such store."""


class Done(NamedTuple):
    """What an import has written, or would write."""

    lines: int
    created: int
    changed: int = 0


async def import_file(
    dsn: str,
    store_id: str,
    file: Path,
    *,
    add: bool = False,
    create: bool = False,
    dry_run: bool = False,
    encoding: str = "utf-8",
    ignore_extra: bool = False,
) -> int:
    """Set what `store_id` has on hand from `file`, or add to it, and say what happened.

    Returns the exit code: 0 done, 1 nothing written because of wrong content or of others who
    hold the stock, 2 the file cannot be read. ConnectionError: it is not known whether it was
    written. Other errors of the database are raised; nothing was written.
    """
    lines = read_lines(file, encoding=encoding, ignore_extra=ignore_extra)
    try:
        # What is wrong with the file as such is said before anything is asked of the database.
        lines = chain([*_first(lines)], lines)
        async with connected(dsn, OWNER, seconds=None) as connection:
            job = _Import(connection, store_id, file.name, add)
            done = await job.run(lines, create=create, dry_run=dry_run)
    except WrongLines as error:
        for line_number, problem in error.found["problems"]:
            _say(f"{file}:{line_number}: {_printable(problem)}")
        _say(f"{error.found['problem_count']} wrong lines; nothing was written.")
        return 1
    except WrongFile as error:
        _say(f"{file}:{_printable(str(error))}")
        return 1
    except UnknownStore:
        _say(f"There is no store {store_id}; --create creates it. Nothing was written.")
        return 1
    except OSError as error:
        if not error.filename:  # of the database's socket
            raise
        _say(f"{file}: {error.strerror}")
        return 2
    except (asyncpg.LockNotAvailableError, *TRY_AGAIN) as error:
        _say(f"Others hold this stock; nothing was written, try again ({error})")
        return 1
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise ConnectionError(
            f"the connection was lost; stock_movements shows whether {file.name} was written"
        ) from error
    if dry_run:
        print(
            f"Would import {done.lines} products into store {store_id}, {done.created} of them new,"
            f" {done.changed} with another count than now. Nothing was written."
        )
    else:
        print(f"Imported {done.lines} products into store {store_id}, {done.created} of them new.")
    return 0


class _Import:
    """One import, in one transaction."""

    def __init__(self, connection: Any, store_id: str, reference: str, add: bool) -> None:
        self._connection = connection
        self._store_id, self._reference, self._add = store_id, reference, add

    async def run(self, lines: Iterator[Line], *, create: bool, dry_run: bool) -> Done:
        connection = self._connection
        transaction = connection.transaction(isolation="read_committed")
        await transaction.start()
        try:
            begun = await connection.fetchrow(BEGIN_IMPORT, self._store_id, create)
            if begun["result_code"] != "ok":
                raise UnknownStore
            records = ((self._store_id, *line) for line in lines)
            status = await connection.copy_records_to_table(
                "import_lines", records=records, columns=COLUMNS
            )
            count = int(status.removeprefix("COPY "))
            await connection.execute("ANALYZE import_lines")
            _say("Checking …")
            await self._call(CHECK_IMPORT, self._store_id, self._add)
            if dry_run:
                found = await self._call(PREVIEW_IMPORT, self._store_id, self._add)
                await transaction.rollback()
                return Done(count, found["new"], found["changed"])
            created = await self._write(count)
            await connection.execute(FORGET_LINES, self._store_id)
            await transaction.commit()
        except Exception:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                await transaction.rollback()
            raise
        if count >= ANALYZE_FROM:
            # The import is committed: without fresh statistics it is no less done.
            with suppress(asyncpg.PostgresError):
                await connection.execute("VACUUM import_lines")
                await connection.execute("ANALYZE products, stock, stock_movements")
        return Done(count, created)

    async def _write(self, count: int) -> int:
        """Write the lines; again, if a race with others undid it. How many products are new."""
        for _ in range(ATTEMPTS - 1):
            with suppress(*TRY_AGAIN):
                async with self._connection.transaction():  # a savepoint
                    return await self._write_once(count)
        return await self._write_once(count)

    async def _write_once(self, count: int) -> int:
        """New products first: whoever supplies them meanwhile inserts before locking, too."""
        created = 0
        with tqdm(total=count, unit=" lines", desc="Writing", disable=None) as progress:
            last = ""
            while last is not None:
                found = await self._call(
                    IMPORT_PRODUCTS, self._store_id, last, LINES_AT_ONCE, self._reference
                )
                created, last = created + found["created"], found["last"]
                progress.update(found["created"])
            last = ""
            while last is not None:
                found = await self._call(
                    IMPORT_COUNTS, self._store_id, self._add, last, LINES_AT_ONCE, self._reference
                )
                last = found["last"]
                progress.update(min(found["lines"], count - progress.n))
        return created

    async def _call(self, function: str, *arguments: Any) -> Any:
        """The document of a function. Raises WrongLines."""
        row = await self._connection.fetchrow(function, *arguments)
        if row["result_code"] != "ok":
            raise WrongLines(row["document"])
        return json.loads(row["document"] or "null")


def _first(lines: Iterator[Line]) -> Iterator[Line]:
    """The first line, where there is one."""
    with suppress(StopIteration):
        yield next(lines)


def _store_id(text: str) -> str:
    """An argument as the id of a store."""
    try:
        return OutsideId.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _encoding(text: str) -> str:
    """An argument as the name of an encoding of text."""
    try:
        codecs.lookup(text)
        "".encode(text)
    except LookupError:
        raise argparse.ArgumentTypeError(
            f"{text} is no encoding; try windows-1251, utf-16, cp866 …"
        ) from None
    return text


def _printable(text: str) -> str:
    """What stands in a file must not steer the terminal, nor break the line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
