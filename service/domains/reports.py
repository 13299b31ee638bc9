"""Reports: all that a store has, as a workbook or as text.

A report may be long: its rows come through a cursor, on a connection of their own, and go to a
file as they come. A thread writes them, so that other requests are answered meanwhile.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from typing import IO, Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import asyncpg
import xlsxwriter
from aiohttp import web
from xlsxwriter.worksheet import Worksheet

from service.database.connections import connected
from service.delivery.schedules import Schedule, job_of
from service.jobs import Job
from service.results import Refusal
from service.settings import Settings
from service.web.context import DATABASE, SETTINGS, STORE_ID
from service.web.routing import API, OPERATORS, Routes

STORE_ITEMS = "SELECT * FROM list_stock($1)"

SECONDS = 60.0
"""For one step of reading, in the database and on the way."""
ROWS_AT_ONCE = 1000
AT_ONCE = 2
"""Workbooks that one process writes at a time; who comes then is told to come again."""

COLUMNS = {"Item": 24, "Name": 48, "On hand": 14, "Reserved": 14, "Available": 14}
"""Headings, and how many characters each column shows."""
ROWS_OF_A_SHEET = 1_000_000
"""Items; Excel ends at 1,048,576 rows, so more go to another sheet."""
EXACT = 2**53
"""Numbers of a workbook are floats; a greater one is written as text."""
NOT_IN_XML = re.compile("[\ufffe\uffff]")
LONGEST_NAME = 200
"""Characters of a name in a text."""
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

WRITING = web.AppKey("WRITING", asyncio.Semaphore)

routes = Routes(API)


def set_up(app: web.Application) -> None:
    """Bound how many workbooks are written at once."""
    app[WRITING] = asyncio.Semaphore(AT_ONCE)


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
    """What a store has at one moment, as it is being read."""

    store_id: str
    taken_at: datetime
    """By the database's clock, in the report's time zone."""
    time_zone: str
    batches: AsyncIterator[Sequence[Item]]

    @property
    def file_name(self) -> str:
        """store-STORE-YYYY-MM-DD.xlsx; a store's id may hold what a file's name may not."""
        store_id = re.sub(r'[/\\:*?"<>|]', "_", self.store_id)
        return f"store-{store_id}-{self.taken_at:%Y-%m-%d}.xlsx"


@routes.get("/stores/{store_id}/xlsx_report", OPERATORS, scope="stock", opens=True)
async def xlsx_report(request: web.Request) -> web.Response:
    """All that a store has, as a workbook named after store and date."""
    dsn, time_zone = request.app[DATABASE].dsn, request.app[SETTINGS].time_zone
    writing = request.app[WRITING]
    if writing.locked():
        raise Refusal("overloaded")
    async with (
        writing,
        reading(dsn, "holdfast_service", request[STORE_ID], time_zone) as report,
    ):
        file = await write_workbook(report)
    headers = {"Content-Type": XLSX, "Content-Disposition": _attachment(report.file_name)}
    return web.Response(body=file, headers=headers)


@asynccontextmanager
async def reading(dsn: str, role: str, store_id: str, time_zone: str) -> AsyncIterator[Report]:
    """A store's report, to be read while this is open. Raises Refusal."""
    try:
        async with connected(dsn, role, seconds=SECONDS) as connection:
            await connection.execute(f"SET statement_timeout = '{SECONDS:.0f}s'")
            async with connection.transaction(readonly=True):
                now = await connection.fetchval("SELECT clock_timestamp()")
                cursor = await connection.cursor(STORE_ITEMS, store_id)
                rows = await cursor.fetch(ROWS_AT_ONCE)
                if rows and rows[0]["result_code"] != "ok":
                    raise Refusal(rows[0]["result_code"], store_id=store_id)
                taken_at = now.astimezone(ZoneInfo(time_zone))
                yield Report(store_id, taken_at, time_zone, _batches(cursor, rows))
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        raise Refusal("database_busy") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Refusal("database_unavailable", f"The report was not read: {error}") from error


async def write_workbook(report: Report) -> IO[bytes]:
    """The report as an .xlsx file without a name, which goes when it is closed."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder, ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        workbook = await asyncio.to_thread(_Workbook, file, folder, report)
        async for items in report.batches:
            await asyncio.to_thread(workbook.add, items)
        await asyncio.to_thread(workbook.finish)
        file.seek(0)
        stack.pop_all()
    return file


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
            file = await write_workbook(report)
        with file:
            return report.file_name, await asyncio.to_thread(file.read)


async def lines(report: Report) -> AsyncIterator[str]:
    """The report as lines of text: a title, a line per item, a sum."""
    yield f"Stock of store {report.store_id}, {report.taken_at:%Y-%m-%d %H:%M} {report.time_zone}"
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


class _Sheet(Worksheet):  # type: ignore[misc]
    """A worksheet without rich text: XlsxWriter would take `<r>…</r>` for such, as it stands."""

    def _xml_rich_inline_string(self, string: str, attributes: Any = ()) -> None:
        self._xml_inline_string(string, True, attributes)


class _Workbook:
    """An .xlsx file that grows by rows; what is written is no longer in memory."""

    def __init__(self, file: IO[bytes], folder: str, report: Report) -> None:
        self._book = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": folder})
        self._bold = self._book.add_format({"bold": True})
        self._heading = self._book.add_format({"bold": True, "bottom": 1})
        self._moment = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm", "align": "left"})
        self._report = report
        self._total = Item("Total", "", 0, 0, 0)
        self._begin_sheet()

    def _begin_sheet(self) -> None:
        self._sheet = self._book.add_worksheet(worksheet_class=_Sheet)
        for column, width in enumerate(COLUMNS.values()):
            self._sheet.set_column(column, column, width)
        self._sheet.write_string(0, 0, f"Stock of store {self._report.store_id}", self._bold)
        self._sheet.write_string(1, 0, self._report.time_zone)
        self._sheet.write_datetime(1, 1, self._report.taken_at.replace(tzinfo=None), self._moment)
        for column, heading in enumerate(COLUMNS):
            self._sheet.write_string(2, column, heading, self._heading)
        self._sheet.freeze_panes(3, 0)
        self._row = 3

    def add(self, items: Sequence[Item]) -> None:
        for item in items:
            if self._row == 3 + ROWS_OF_A_SHEET:
                self._begin_sheet()
            self._write(item, None)
        numbers = zip(*(item[2:] for item in items), strict=True)
        sums = [sum(column) for column in numbers]
        self._total = Item(
            "Total", "", *(a + b for a, b in zip(self._total[2:], sums, strict=True))
        )

    def finish(self) -> None:
        self._write(self._total, self._bold)
        self._book.close()

    def _write(self, item: Item, style: Any) -> None:
        # write_string, because write() takes "=1+1" for a formula.
        for column, text in enumerate(item[:2]):
            self._sheet.write_string(self._row, column, NOT_IN_XML.sub("\ufffd", text), style)
        for column, number in enumerate(item[2:], 2):
            if number < EXACT:
                self._sheet.write_number(self._row, column, number, style)
            else:
                self._sheet.write_string(self._row, column, str(number), style)
        self._row += 1


async def _batches(cursor: Any, rows: Sequence[Any]) -> AsyncIterator[Sequence[Item]]:
    while rows:
        yield [Item(*row[1:]) for row in rows]
        rows = await cursor.fetch(ROWS_AT_ONCE)


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
