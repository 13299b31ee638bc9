"""CSV files of stock, as people and Excel write them: separators, encodings, headers."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

REQUIRED = ("product_id", "quantity")
OPTIONAL = ("name", "price")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
NAMES_A_SEPARATOR = re.compile("sep=([,;\t])\r?\n?", re.IGNORECASE)
"""A first line that Excel itself understands."""
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST_LINE = 2**20
"""Characters: a file without line ends, or no text at all, is not read into memory."""
LONGEST_ID = 200
"""Characters that are kept of a product_id, which is long wrong by then."""
LONGEST_SHOWN = 200
"""Characters of a header that is not understood."""

Line = tuple[str, int, str | None, str | None, str | None, str | None]
"""product_id, line_number, name, quantity, price, problem: as in import_lines."""


class WrongFile(Exception):
    """The file is no CSV file of stock. The message says in which line, and why."""


class Layout(NamedTuple):
    """Which column of the file is which; None: it has no such column."""

    width: int
    product_id: int
    quantity: int
    name: int | None
    price: int | None


def read_lines(
    file: Path, *, encoding: str = "utf-8", ignore_extra: bool = False
) -> Iterator[Line]:
    """The file's rows with the number of the line that each begins on. Raises WrongFile."""
    with (
        file.open("rb") as raw,
        tqdm(
            total=file.stat().st_size or None,
            unit="B",
            unit_scale=True,
            desc="Reading",
            disable=None,
        ) as progress,
    ):
        lines = _Lines(raw, encoding, progress)
        separator = lines.separator()
        reader = csv.reader(lines, delimiter=separator, strict=True)
        begin = lines.number + 1
        try:
            layout = _layout(next(reader, []), separator, begin, ignore_extra)
            begin = lines.number + 1
            for row in reader:
                if any(row):
                    yield _line(begin, layout, row)
                begin = lines.number + 1
        except csv.Error as error:
            raise WrongFile(f"{begin}: {str(error).partition(' - ')[0]}") from None


class _Lines:
    """The file's lines as text, counted."""

    def __init__(self, raw: io.BufferedReader, encoding: str, progress: "tqdm[Any]") -> None:
        self._raw, self._progress = raw, progress
        mark = raw.peek(3)
        self._encoding = next(
            (found for each, found in MARKS.items() if mark.startswith(each)), encoding
        )
        self._text = io.TextIOWrapper(raw, self._encoding, newline="")
        self._kept: str | None = None
        self.number = 0
        """How many were given."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line, self._kept = self._kept or self._read(), None
        if not line:
            raise StopIteration
        self.number += 1
        return line

    def separator(self) -> str:
        """What stands between the fields, by the header, which comes next."""
        line = self._read()
        if named := NAMES_A_SEPARATOR.fullmatch(line):
            self.number += 1
            return named[1]
        self._kept = line
        return max(SEPARATORS, key=line.count)

    def _read(self) -> str:
        try:
            line = self._text.readline(LONGEST_LINE)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._encoding, "ignore").count("\n")
            raise WrongFile(f"{self.number + before + 1}: {_not_in(self._encoding)}") from None
        except UnicodeError:
            raise WrongFile(f"{self.number + 1}: {_not_in(self._encoding)}") from None
        if len(line) == LONGEST_LINE:
            raise csv.Error(f"a line of {LONGEST_LINE} characters or more")
        if self._raw.seekable():  # not /dev/stdin
            self._progress.update(self._raw.tell() - self._progress.n)
        return line


def _not_in(encoding: str) -> str:
    if encoding.startswith("utf-8"):
        return "this is not UTF-8; what Excel saves as CSV is often --encoding windows-1251"
    return f"this is not {encoding}"


def _layout(header: Sequence[str], separator: str, number: int, ignore_extra: bool) -> Layout:
    names = [name.strip().lower() for name in header]
    found = f"found, by {SEPARATORS[separator]}: {', '.join(header) or 'nothing'}"
    found = found if len(found) < LONGEST_SHOWN else found[:LONGEST_SHOWN] + " …"
    if missing := [name for name in REQUIRED if name not in names]:
        raise WrongFile(
            f"{number}: the header has to name {' and '.join(REQUIRED)}, and may name"
            f" {' and '.join(OPTIONAL)}; there is no {' and no '.join(missing)}; {found}"
        )
    known = (*REQUIRED, *OPTIONAL)
    if repeated := [name for name in known if names.count(name) > 1]:
        raise WrongFile(f"{number}: the header names {repeated[0]} more than once; {found}")
    extra = [name or "(without a name)" for name in names if name not in known]
    if extra and not ignore_extra:
        raise WrongFile(
            f"{number}: the header has columns that say nothing here, which --ignore-extra passes"
            f" over: {', '.join(extra)[:LONGEST_SHOWN]}"
        )
    name, price = (names.index(each) if each in names else None for each in OPTIONAL)
    return Layout(len(names), names.index("product_id"), names.index("quantity"), name, price)


def _line(number: int, layout: Layout, row: list[str]) -> Line:
    if len(row) != layout.width:
        return "", number, None, None, None, f"{len(row)} fields instead of {layout.width}"
    if any("\0" in field for field in row):
        return "", number, None, None, None, "text holds a NUL"
    name = None if layout.name is None else row[layout.name]
    price = None if layout.price is None else row[layout.price]
    product_id = row[layout.product_id][:LONGEST_ID]
    return product_id, number, name, row[layout.quantity], price, None
