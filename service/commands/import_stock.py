"""Import stock from a CSV file: all of it or nothing.

The file is streamed into a temporary table, so that its size does not matter here; one stored
function then checks every line and writes, in the same transaction.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
from tqdm import tqdm

from service.commands import Commands
from service.database.connections import connected
from service.database.roles import OWNER
from service.database.urls import owner_url
from service.settings import Settings

COLUMNS = ("product_id", "name", "quantity", "price")
ANALYZE_FROM = 10_000
"""Lines after which the planner should hear of what changed."""
LONGEST_LINE = 2**20
"""Bytes: a file without line ends, or no text at all, is not read into memory."""
ATTEMPTS = 4
TRY_AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,  # somebody else has just created one of our new products
)

IMPORT_LINES = """
CREATE TEMPORARY TABLE import_lines (
    line_number bigint, product_id text, name text, quantity text, price text, problem text
) ON COMMIT DROP
"""
IMPORT_STOCK = "SELECT * FROM import_stock($1, $2, $3)"

Line = tuple[int, str | None, str | None, str | None, str | None, str | None]


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser(
        "import-stock",
        help="set what is on hand from a CSV file",
        description="Columns: product_id, name, quantity, price (of one, in minor units). All of "
        "the file or nothing: wrong rows are listed with their line numbers.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.csv")
    parser.add_argument("--store", help="default: HOLDFAST_STORE")
    parser.add_argument("--add", action="store_true", help="add to what is on hand, not replace it")
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """All of the file or nothing."""
    async with owner_url(settings) as dsn:
        store_id = arguments.store or settings.store
        return await import_file(dsn, store_id, arguments.file, add=arguments.add)


class WrongFile(Exception):
    """The file is no CSV file of stock. The message says where and why."""


async def import_file(dsn: str, store_id: str, file: Path, *, add: bool) -> int:
    """Set what `store_id` has on hand from `file`, or add to it, and say what happened.

    Returns the exit code: 0 done, 1 nothing written because of wrong content or of others who
    hold the stock, 2 the file cannot be read. ConnectionError: it is not known whether it was
    written. Other errors of the database are raised; nothing was written.
    """
    try:
        async with connected(dsn, OWNER, seconds=None) as connection:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(IMPORT_LINES)
                await connection.copy_records_to_table("import_lines", records=read_lines(file))
                await connection.execute("ANALYZE import_lines")
                _say("Checking and writing …")
                result = await _import_stock(connection, store_id, add, file.name)
            if result["result_code"] == "ok" and result["line_count"] >= ANALYZE_FROM:
                # The import is committed: without fresh statistics it is no less done.
                with suppress(asyncpg.PostgresError):
                    await connection.execute("ANALYZE products, stock, stock_movements")
    except WrongFile as error:
        _say(f"{file}:{error}")
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
    if result["result_code"] != "ok":
        for line_number, problem in json.loads(result["problems"]):
            _say(f"{file}:{line_number}: {_printable(problem)}")
        _say(f"{result['problem_count']} wrong lines; nothing was written.")
        return 1
    print(
        f"Imported {result['line_count']} products into store {store_id},"
        f" {result['created_count']} of them new."
    )
    return 0


async def _import_stock(connection: Any, *arguments: Any) -> Any:
    """Call the function; again, on the lines streamed before, if a race with others undid it."""
    for _ in range(ATTEMPTS - 1):
        with suppress(*TRY_AGAIN):
            async with connection.transaction():  # a savepoint
                return await connection.fetchrow(IMPORT_STOCK, *arguments)
    return await connection.fetchrow(IMPORT_STOCK, *arguments)


def read_lines(file: Path) -> Iterator[Line]:
    """The file's rows with the number of the line that each begins on. Raises WrongFile."""
    with (
        file.open("rb") as raw,
        tqdm(total=file.stat().st_size, unit="B", unit_scale=True, disable=None) as progress,
    ):
        reader = csv.reader(_decoded(raw, progress), strict=True)
        begin = 1
        try:
            header = next(reader, [])
            if sorted(header) != sorted(COLUMNS):
                raise WrongFile(f"1: the header must be {','.join(COLUMNS)}")
            begin = reader.line_num + 1
            for row in reader:
                if row:
                    yield _line(begin, header, row)
                begin = reader.line_num + 1
        except csv.Error as error:
            raise WrongFile(f"{begin}: {str(error).partition(' - ')[0]}") from None
        except UnicodeDecodeError:
            raise WrongFile(f"{reader.line_num + 1}: this is not UTF-8") from None


def _decoded(raw: BinaryIO, progress: "tqdm[Any]") -> Iterator[str]:
    encoding = "utf-8-sig"
    while line := raw.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise csv.Error(f"a line of {LONGEST_LINE} bytes or more")
        progress.update(len(line))
        yield line.decode(encoding)
        encoding = "utf-8"


def _line(number: int, header: list[str], row: list[str]) -> Line:
    if len(row) != len(header):
        return number, None, None, None, None, f"{len(row)} fields instead of {len(header)}"
    if any("\0" in field for field in row):
        return number, None, None, None, None, "text holds a NUL"
    fields = dict(zip(header, row, strict=True))
    return number, fields["product_id"], fields["name"], fields["quantity"], fields["price"], None


def _printable(text: str) -> str:
    """What stands in a file must not steer the terminal, nor break the line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
