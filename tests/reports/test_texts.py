"""The report as text, in messages that are not too long."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from service.domains.reports import Item, Report, lines, texts


def report(items: Sequence[Item]) -> Report:
    async def batches() -> AsyncIterator[Sequence[Item]]:
        for first in range(0, len(items), 7):
            yield items[first : first + 7]

    return Report("main", datetime(2026, 11, 21, 21, tzinfo=UTC), "UTC", len(items), batches())


def numbered(count: int) -> list[Item]:
    return [Item(f"{number:05}", "Tea", 1, 0, 1) for number in range(count)]


async def test_it_has_a_line_per_item_and_a_sum() -> None:
    items = [Item("7", "Chair", 5, 2, 3), Item("8", "", 1, 0, 1)]
    assert [line async for line in lines(report(items))] == [
        "Stock of store main, 2026-11-21 21:00 UTC",
        "",
        "7 Chair: 5 (2 reserved, 3 available)",
        "8: 1",
        "2 items, 6 units.",
    ]
    assert [line async for line in lines(report([]))][2:] == ["Nothing in stock."]


async def test_a_name_is_one_short_line() -> None:
    item = Item("7", "a\n8 b: 99\r\x00\u2028c " + "x" * 1000, 5, 0, 5)
    (line,) = [line async for line in lines(report([item]))][2:-1]
    assert line.startswith("7 a 8 b: 99 c x")
    assert line.endswith("x: 5")
    assert len(line) < 250


@pytest.mark.parametrize("count", [0, 1, 200, 1000])
async def test_texts_are_split_between_lines_and_lose_none(count: int) -> None:
    parts = await texts(report(numbered(count)), 500, 1000)
    assert all(len(part) <= 500 for part in parts)
    assert "\n".join(parts).split("\n") == [line async for line in lines(report(numbered(count)))]


async def test_what_counts_is_utf_16() -> None:
    items = [Item(str(number), "🫖" * 50, 1, 0, 1) for number in range(30)]
    parts = await texts(report(items), 500, 1000)
    assert all(len(part.encode("utf-16-le")) <= 1000 for part in parts)
    assert "".join(parts).count("🫖") == 1500


async def test_a_long_report_says_how_much_it_leaves_out() -> None:
    parts = await texts(report(numbered(1000)), 500, 3)
    assert len(parts) == 3
    assert all(len(part) <= 500 for part in parts)
    shown = sum(part.count("Tea") for part in parts)
    assert parts[-1].endswith(f"\n… and {1001 - shown} more lines: all are in the file.")
