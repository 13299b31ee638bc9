"""Workbooks (.xlsx) of any length, sent while they are written.

XlsxWriter makes a workbook without the rows: styles, headings, widths, the frozen pane. Its parts
are copied into the archive that goes out, and the rows are written in between, as they come. An
archive needs no looking back: what is written is no longer in memory, and on its way already.
"""

import asyncio
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import IO, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

import xlsxwriter

Row = Sequence[str | int]

ROWS_OF_A_SHEET = 1_000_000
"""Excel ends at 1,048,576 rows, so more go to another sheet."""
LONGEST_TEXT = 32767
"""Characters that a cell holds; the rest of a longer text is left out."""
EXACT = 2**53
"""Numbers of a workbook are floats; a greater one is written as text."""
LEVEL = 4
"""Of compression: half the time of zlib's default for a tenth more bytes."""

ESCAPED = re.compile("_x[0-9A-Fa-f]{4}_|[\x00-\x08\x0b-\x1f]")
NOT_IN_XML = re.compile("[\ufffe\uffff]")
SHEET = re.compile(r"xl/worksheets/sheet\d+\.xml")
DIMENSION = re.compile("<dimension [^>]*>")
END_OF_ROWS = "</sheetData>"
STYLE_OF_TITLE = re.compile(r'<c r="A1" s="(\d+)"')


class Heading(NamedTuple):
    """What stands above the rows of every sheet."""

    title: str
    time_zone: str
    taken_at: datetime
    """In that time zone."""
    columns: Mapping[str, int]
    """Headings, and how many characters each column shows."""
    texts: int
    """How many columns, from the left, hold text; the others hold numbers, which are summed up."""


async def stream_workbook(
    heading: Heading, batches: AsyncIterator[Sequence[Row]], count: int
) -> AsyncGenerator[bytes, None]:
    """The bytes of a workbook with `count` rows, and a last one with the sums of their numbers."""
    output = _Output()
    rows = _Rows(heading, batches)
    sheets = max(1, -(-count // ROWS_OF_A_SHEET))
    with (
        ZipFile(await asyncio.to_thread(_without_rows, heading, sheets)) as form,
        ZipFile(output, "w", ZIP_DEFLATED, compresslevel=LEVEL) as archive,
    ):
        for part in form.namelist():
            content = form.read(part).decode()
            if not SHEET.fullmatch(part):
                archive.writestr(part, content)
                continue
            with archive.open(part, "w") as sheet:
                before, _, after = DIMENSION.sub("", content).partition(END_OF_ROWS)
                sheet.write(before.encode())
                above = 3
                async for batch in rows.take(ROWS_OF_A_SHEET):
                    await asyncio.to_thread(_write_rows, sheet, above, batch, "")
                    above += len(batch)
                    yield output.take()
                if rows.is_done:
                    style = STYLE_OF_TITLE.search(before)
                    assert style
                    _write_rows(sheet, above, [rows.total], f' s="{style[1]}"')
                sheet.write((END_OF_ROWS + after).encode())
    yield output.take()


def _without_rows(heading: Heading, sheets: int) -> IO[bytes]:
    """The workbook with so many sheets, each of them with its first three rows."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    bold = book.add_format({"bold": True})
    underlined = book.add_format({"bold": True, "bottom": 1})
    moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm", "align": "left"})
    for _ in range(sheets):
        sheet = book.add_worksheet()
        for column, width in enumerate(heading.columns.values()):
            sheet.set_column(column, column, width)
        # write_string, because write() takes "=1+1" for a formula.
        sheet.write_string(0, 0, NOT_IN_XML.sub("\ufffd", heading.title), bold)
        sheet.write_string(1, 0, heading.time_zone)
        sheet.write_datetime(1, 1, heading.taken_at.replace(tzinfo=None), moment)
        for column, name in enumerate(heading.columns):
            sheet.write_string(2, column, name, underlined)
        sheet.freeze_panes(3, 0)
    book.close()
    return file


class _Output:
    """Where the archive is written to: what has been taken from here is gone."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes, /) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """There is no file."""

    def take(self) -> bytes:
        taken = b"".join(self._chunks)
        self._chunks.clear()
        return taken


class _Rows:
    """The rows, sheet by sheet, and the sums of their numbers."""

    def __init__(self, heading: Heading, batches: AsyncIterator[Sequence[Row]]) -> None:
        self._batches = batches
        self._rest: Sequence[Row] = ()
        self._texts = heading.texts
        self._sums = [0] * (len(heading.columns) - heading.texts)
        self.is_done = False
        """Whether the last row was taken."""

    @property
    def total(self) -> Row:
        return ["Total", *[""] * (self._texts - 1), *self._sums]

    async def take(self, most: int) -> AsyncIterator[Sequence[Row]]:
        while most:
            batch = await self._next()
            batch, self._rest = batch[:most], batch[most:]
            if not batch:
                self.is_done = True
                return
            for column in range(len(self._sums)):
                self._sums[column] += sum(row[self._texts + column] for row in batch)  # type: ignore[misc]
            most -= len(batch)
            yield batch
        self._rest = await self._next()
        self.is_done = not self._rest

    async def _next(self) -> Sequence[Row]:
        if self._rest:
            return self._rest
        async for batch in self._batches:
            return batch
        return ()


def _write_rows(sheet: IO[bytes], above: int, rows: Sequence[Row], style: str) -> None:
    """Append rows to a sheet that has so many above."""
    lines = []
    for number, row in enumerate(rows, above + 1):
        cells = []
        for letter, value in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", row, strict=False):
            if isinstance(value, int) and value < EXACT:
                cells.append(f'<c r="{letter}{number}"{style}><v>{value}</v></c>')
            else:
                cells.append(
                    f'<c r="{letter}{number}"{style} t="inlineStr">'
                    f'<is><t xml:space="preserve">{_text(str(value))}</t></is></c>'
                )
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    sheet.write("".join(lines).encode())


def _text(text: str) -> str:
    """Text as a cell holds it: as _xHHHH_ what XML has no character for, and what looks so."""
    text = text[:LONGEST_TEXT]
    if not text.isalnum():
        text = ESCAPED.sub(_escape, NOT_IN_XML.sub("\ufffd", text))
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text


def _escape(found: "re.Match[str]") -> str:
    each = found[0]
    return f"_x005F{each}" if len(each) > 1 else f"_x{ord(each):04X}_"
