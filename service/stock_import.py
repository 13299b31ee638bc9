"""Import stock from a CSV file: all of it or nothing.

The file is streamed into a temporary table, so that its size does not matter here; one stored
function then checks every line and writes, in the same transaction.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from tqdm import tqdm

from service.database import connect
from service.migrate import OWNER

COLUMNS = ("product_id", "name", "quantity", "price")
ANALYZE_FROM = 10_000
"""Lines after which the planner should hear of what changed."""

IMPORT_LINES = """
CREATE TEMPORARY TABLE import_lines (
    line_number bigint, product_id text, name text, quantity text, price text, problem text
) ON COMMIT DROP
"""
IMPORT_STOCK = "SELECT * FROM import_stock($1, $2, $3)"

Line = tuple[int, str | None, str | None, str | None, str | None, str | None]


class WrongFile(Exception):
    """The file is no CSV file of stock. The message says where and why."""


async def import_file(dsn: str, store_id: str, file: Path, *, add: bool) -> int:
    """Set what `store_id` has on hand from `file`, or add to it, and say what happened.

    Returns the exit code: 0 done, 1 wrong content and nothing written, 2 the file cannot be read.
    """
    connection = await connect(dsn, OWNER, seconds=None)
    try:
        async with connection.transaction():
            await connection.execute(IMPORT_LINES)
            await connection.copy_records_to_table("import_lines", records=read_lines(file))
            await connection.execute("ANALYZE import_lines")
            _say("Checking and writing …")
            result = await connection.fetchrow(IMPORT_STOCK, store_id, add, file.name)
        if result["result_code"] == "ok" and result["line_count"] >= ANALYZE_FROM:
            await connection.execute("ANALYZE products, stock, stock_movements")
    except WrongFile as error:
        _say(f"{file}:{error}")
        return 1
    except OSError as error:
        _say(f"{file}: {error.strerror}")
        return 2
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        _say(f"Others hold this stock; nothing was written, try again ({error})")
        return 1
    finally:
        await connection.close()
    if result["result_code"] != "ok":
        for line_number, problem in json.loads(result["problems"]):
            _say(f"{file}:{line_number}: {problem}")
        _say(f"{result['problem_count']} wrong lines; nothing was written.")
        return 1
    print(
        f"Imported {result['line_count']} products into store {store_id},"
        f" {result['created_count']} of them new."
    )
    return 0


def read_lines(file: Path) -> Iterator[Line]:
    """The file's rows with the number of the line that each begins on. Raises WrongFile."""
    with (
        file.open("rb") as raw,
        tqdm(total=file.stat().st_size, unit="B", unit_scale=True, disable=None) as progress,
    ):
        reader = csv.reader(_decoded(raw, progress), strict=True)
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
            raise WrongFile(f"{reader.line_num}: {error}") from None
        except UnicodeDecodeError:
            raise WrongFile(f"{reader.line_num + 1}: this is not UTF-8") from None


def _decoded(raw: Iterator[bytes], progress: "tqdm[Any]") -> Iterator[str]:
    encoding = "utf-8-sig"
    for line in raw:
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


def _say(message: str) -> None:
    print(message, file=sys.stderr)
