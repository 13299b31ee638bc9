"""Reports: all that a store has, as a workbook or as text.

A report may be long. Its rows are copied into a file first, on a connection of their own and as
fast as the database gives them, so that it holds back nothing from VACUUM while somebody reads
slowly. Threads read that file and write what goes out, so that other requests are answered
meanwhile.
"""

import asyncio
import logging
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from datetime import datetime
from itertools import islice
from typing import IO, Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import asyncpg
from aiohttp import web

from service.database.connections import connected
from service.delivery.schedules import Schedule, job_of
from service.delivery.workbook import Heading, stream_workbook
from service.jobs import Job
from service.results import Refusal
from service.settings import Settings
from service.web.boundary import begin
from service.web.context import DATABASE, SETTINGS, STORE_ID
from service.web.responses import CODE
from service.web.routing import API, OPERATORS, Routes

LIST_STOCK = "SELECT * FROM list_stock($1)"
NO_TIMEOUTS = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"

SECONDS = 300.0
"""After so long without a row a report is given up; the first comes once the store is read."""
ROWS_AT_ONCE = 1000
READ_AT_ONCE = 2
"""Reports that one process reads from the database at a time; who comes then may come again."""
SENT_AT_ONCE = 20
"""Workbooks that one process sends at a time, each from a file of its own."""

COLUMNS = {"Item": 24, "Name": 48, "On hand": 14, "Reserved": 14, "Available": 14}
"""Headings, and how many characters each column shows."""
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
"""Of COPY's text format; a backslash before anything else stands for that."""
LONGEST_NAME = 200
"""Characters of a name in a text."""
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

READING = web.AppKey("READING", asyncio.Semaphore)
SENDING = web.AppKey("SENDING", asyncio.Semaphore)

logger = logging.getLogger("holdfast.reports")

routes = Routes(API)


def set_up(app: web.Application) -> None:
    """Bound how many reports are read, and how many workbooks are sent at once."""
    app[READING] = asyncio.Semaphore(READ_AT_ONCE)
    app[SENDING] = asyncio.Semaphore(SENT_AT_ONCE)


def jobs(settings: Settings) -> list[Job]:
    """The daily report of every store, where there is somebody to send it to."""
    if not settings.telegram_bot_token:
        return []
    hour, minute = map(int, settings.report_time.split(":"))
    cron = f"{minute} {hour} * * *"
    kind = '{"kind": "report"}'
    return [job_of(Schedule("daily_report", cron, settings.time_zone, "telegram", kind))]


class Item(NamedTuple):
    """What a store has of one item."""

    item_id: str
    name: str
    quantity: int
    reserved: int
    available: int


class Report(NamedTuple):
    """What a store had at one moment."""

    store_id: str
    taken_at: datetime
    """By the database's clock, in the report's time zone."""
    time_zone: str
    size: int
    """How many items."""
    batches: AsyncIterator[Sequence[Item]]

    @property
    def title(self) -> str:
        """What stands above it."""
        return f"Stock of store {self.store_id}"

    @property
    def file_name(self) -> str:
        """store-STORE-YYYY-MM-DD.xlsx; a store's id may hold what a file's name may not."""
        store_id = re.sub(r'[/\\:*?"<>|]', "_", self.store_id)
        return f"store-{store_id}-{self.taken_at:%Y-%m-%d}.xlsx"

    def workbook(self) -> AsyncGenerator[bytes, None]:
        """The bytes of an .xlsx file, piece by piece."""
        heading = Heading(self.title, self.time_zone, self.taken_at, COLUMNS, texts=2)
        return stream_workbook(heading, self.batches, self.size)


@routes.get(
    "/stores/{store_id}/xlsx_report",
    OPERATORS,
    scope="stock",
    opens=True,
    media=XLSX,
    also=("unknown_store",),
)
async def xlsx_report(request: web.Request) -> web.StreamResponse:
    """All that a store has, as a workbook named after store and date."""
    slots, sending = request.app[READING], request.app[SENDING]
    if slots.locked() or sending.locked():
        raise Refusal("overloaded")
    dsn, time_zone = request.app[DATABASE].dsn, request.app[SETTINGS].time_zone
    opened = reading(dsn, "holdfast_service", request[STORE_ID], time_zone, slots)
    async with sending, opened as report, aclosing(report.workbook()) as chunks:
        first = await anext(chunks)  # what fails by now is answered as an error
        response = web.StreamResponse()
        response.headers.update(
            {
                "Content-Type": XLSX,
                "Content-Disposition": _attachment(report.file_name),
            }
        )
        response[CODE] = "ok"
        await _send(request, response, first, chunks)
    return response


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    first: bytes,
    chunks: AsyncIterator[bytes],
) -> None:
    """Send a document piece by piece; where that breaks off, so does the connection."""
    try:
        await begin(request, response)
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except Exception as error:
        response[CODE] = "broken_off"
        if not isinstance(error, ConnectionError):
            logger.exception("A report could not be sent whole")
        if request.transport:
            request.transport.abort()


@asynccontextmanager
async def reading(
    dsn: str,
    role: str,
    store_id: str,
    time_zone: str,
    slots: AbstractAsyncContextManager[Any] | None = None,
) -> AsyncIterator[Report]:
    """A store's report, to be read while this is open. Raises Refusal.

    `slots` is entered for as long as the database is asked.
    """
    with tempfile.TemporaryFile(prefix="holdfast-") as file:
        async with slots or nullcontext():
            taken_at, count = await _copy_stock(dsn, role, store_id, file)
        file.seek(0)
        code = file.read(64).partition(b"\t")[0].decode()
        if count and code != "ok":
            raise Refusal(code, store_id=store_id)
        file.seek(0)
        local = taken_at.astimezone(ZoneInfo(time_zone))
        yield Report(store_id, local, time_zone, count, _batches(file))


async def _copy_stock(dsn: str, role: str, store_id: str, file: IO[bytes]) -> tuple[datetime, int]:
    """Copy what a store has into a file, in COPY's text format; since when, and how many rows."""
    try:
        async with (
            asyncio.timeout(SECONDS) as patience,
            connected(dsn, role, seconds=None) as connection,
            connection.transaction(readonly=True),
        ):

            async def write(chunk: bytes) -> None:
                patience.reschedule(asyncio.get_running_loop().time() + SECONDS)
                file.write(chunk)

            await connection.execute(NO_TIMEOUTS)
            taken_at = await connection.fetchval("SELECT clock_timestamp()")
            status = await connection.copy_from_query(LIST_STOCK, store_id, output=write)
    except asyncpg.LockNotAvailableError as error:
        raise Refusal("database_busy") from error
    except (asyncpg.QueryCanceledError, TimeoutError) as error:
        raise Refusal("database_timeout") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Refusal("database_unavailable", f"The report was not read: {error}") from error
    return taken_at, int(status.removeprefix("COPY "))


class Source:
    """Where those who send reports get them from."""

    def __init__(self, dsn: str, role: str, time_zone: str) -> None:
        self._dsn, self._role, self._time_zone = dsn, role, time_zone

    async def texts(self, store_id: str, longest: int, most: int) -> list[str]:
        """A store's report as at most `most` texts of at most `longest` UTF-16 code units each."""
        async with reading(self._dsn, self._role, store_id, self._time_zone) as report:
            return await texts(report, longest, most)

    async def workbook(self, store_id: str) -> tuple[str, bytes]:
        """A store's report as a workbook: its name and its content."""
        async with reading(self._dsn, self._role, store_id, self._time_zone) as report:
            return report.file_name, b"".join([chunk async for chunk in report.workbook()])


async def lines(report: Report) -> AsyncIterator[str]:
    """The report as lines of text: a title, a line per item, a sum."""
    yield f"{report.title}, {report.taken_at:%Y-%m-%d %H:%M} {report.time_zone}"
    yield ""
    count = total = 0
    async for items in report.batches:
        for item in items:
            yield _line(item)
        count, total = count + len(items), total + sum(item.quantity for item in items)
    yield f"{count} items, {total} units." if count else "Nothing in stock."


async def texts(report: Report, longest: int, most: int) -> list[str]:
    """The report as at most `most` texts of at most `longest` UTF-16 code units each."""
    parts, part, left_out = list[str](), "", 0
    async for line in lines(report):
        if left_out:
            left_out += 1
        elif _units(part) + 1 + _units(line) <= longest - _units(_rest(10**9)):
            part += "\n" + line if part else line
        elif len(parts) + 1 < most:
            parts.append(part)
            part = line
        else:
            left_out = 1
    return [*parts, part + _rest(left_out)] if left_out else [*parts, part]


async def _batches(file: IO[bytes]) -> AsyncIterator[Sequence[Item]]:
    items = _items(file)
    while batch := await asyncio.to_thread(lambda: list(islice(items, ROWS_AT_ONCE))):
        yield batch


def _items(file: IO[bytes]) -> Iterator[Item]:
    for line in file:
        _, *texts, on_hand, reserved, available = line[:-1].decode().split("\t")
        item_id, name = (ESCAPED.sub(_unescape, each) if "\\" in each else each for each in texts)
        yield Item(item_id, name, int(on_hand), int(reserved), int(available))


def _unescape(found: "re.Match[str]") -> str:
    return ESCAPES.get(found[1], found[1])


def _line(item: Item) -> str:
    name = " ".join(_printable(item.name[:LONGEST_NAME]).split())
    held = f" ({item.reserved} reserved, {item.available} available)" if item.reserved else ""
    return f"{item.item_id} {name}".rstrip() + f": {item.quantity}{held}"


def _printable(text: str) -> str:
    """Text on one line: a line break in a name must not look like another item."""
    return "".join(each if each.isprintable() else " " for each in text)


def _rest(count: int) -> str:
    return f"\n… and {count} more lines: all are in the file."


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _attachment(file_name: str) -> str:
    """Content-Disposition (RFC 6266): the name in ASCII, and as it is."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
