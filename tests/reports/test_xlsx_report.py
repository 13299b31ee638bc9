"""The workbook of a store: typed, complete, and what it is told as text stays text."""

import asyncio
import io
import threading
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import aiohttp
import openpyxl
import pytest
from openpyxl.utils.escape import unescape

from service.database import connections
from service.delivery import workbook
from service.domains import reports
from tests.support.aliases import Api, Serve, Stocked
from tests.support.waits import becomes

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def url(store_id: str = "main") -> str:
    return f"/api/v1/stores/{store_id}/xlsx_report"


async def sheet(api: Api, store_id: str = "main") -> Any:
    async with api.get(url(store_id)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == XLSX
        content = await response.read()
        book = openpyxl.load_workbook(io.BytesIO(content))
    assert len(book.worksheets) == 1
    return book.active


async def test_it_is_a_workbook_for_people(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 5, "12": 10, "none": 0})
    await sql.execute("SELECT reserve_stock('main', 'r', '7', 2)")
    found = await sheet(api)
    rows = [[cell.value for cell in row] for row in found.iter_rows()]
    assert rows[0][0] == "Stock of store main"
    assert rows[1][0] == "UTC"
    now = await sql.fetchval("SELECT now() AT TIME ZONE 'UTC'")
    assert abs((now - rows[1][1]).total_seconds()) < 60
    assert rows[2:] == [
        ["Item", "Name", "On hand", "Reserved", "Available"],
        ["12", "Product 12", 10, 0, 10],
        ["7", "Product 7", 5, 2, 3],
        ["Total", "", 15, 2, 13],
    ]
    assert found["A4"].data_type == "s"  # "12" is a name, not a number
    assert found["C4"].data_type == "n"
    assert found.freeze_panes == "A4"
    assert found.column_dimensions["B"].width > 40
    assert found["A3"].font.bold
    assert found["C6"].font.bold


async def test_an_empty_store_has_a_report_and_an_unknown_one_none(api: Api, sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")
    assert [cell.value for cell in (await sheet(api))[4]] == ["Total", "", 0, 0, 0]
    async with api.get(url("nowhere")) as response:
        assert response.status == 404
        body = await response.json()
        assert (body["code"], body["store_id"]) == ("unknown_store", "nowhere")


NAMES = {
    "=1+1": "=1+1",
    "+1": "+1",
    "@SUM(A1)": "@SUM(A1)",
    "{=1+1}": "{=1+1}",
    "http://example.com": "http://example.com",
    "007": "007",
    "<r><t>rich</t></r>": "<r><t>rich</t></r>",
    "<b>&amp;\"'": "<b>&amp;\"'",
    "  edges  ": "  edges  ",
    "a\x01b\x1fc": "a\x01b\x1fc",
    "_x0041_": "_x0041_",
    "line\nbreak\ttab": "line\nbreak\ttab",
    "a\ufffeb\uffffc": "a\ufffdb\ufffdc",  # XML has no such characters
    "Чайник 茶 🫖": "Чайник 茶 🫖",
    "x" * 40000: "x" * 32767,  # a cell's most
}


async def test_text_stays_text(api: Api, stocked: Stocked, sql: Any) -> None:
    ids = {f"i{number:02}": name for number, name in enumerate(NAMES)}
    await stocked(dict.fromkeys(ids, 1) | {"=2+2": 1})
    for product_id, name in ids.items():
        await sql.execute("UPDATE products SET name = $2 WHERE product_id = $1", product_id, name)
    found = await sheet(api)
    cells = {row[0].value: row[1] for row in found.iter_rows(min_row=4)}
    # What XML cannot hold is written as _xHHHH_, which openpyxl, unlike Excel, leaves as it is.
    assert [unescape(cells[product_id].value) for product_id in ids] == list(NAMES.values())
    assert {cells[product_id].data_type for product_id in ids} == {"s"}
    assert {cell.hyperlink for cell in cells.values()} == {None}
    assert "=2+2" in cells


async def test_a_number_no_float_can_hold_is_text(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 2**53 - 1, "b": 2**53 + 1})
    found = await sheet(api)
    assert [found[f"C{row}"].value for row in (4, 5, 6)] == [2**53 - 1, str(2**53 + 1), str(2**54)]


@pytest.mark.parametrize(("count", "rows_at_once"), [(6, 2), (7, 2), (7, 7), (9, 3)])
async def test_more_items_than_a_sheet_has_rows_go_on_in_another(
    api: Api, stocked: Stocked, monkeypatch: pytest.MonkeyPatch, count: int, rows_at_once: int
) -> None:
    monkeypatch.setattr(workbook, "ROWS_OF_A_SHEET", 3)
    monkeypatch.setattr(reports, "ROWS_AT_ONCE", rows_at_once)
    await stocked({f"{number:02}": 1 for number in range(count)})
    async with api.get(url()) as response:
        book = openpyxl.load_workbook(io.BytesIO(await response.read()))
    items = [[row[0].value for row in each.iter_rows(min_row=4)] for each in book.worksheets]
    names = [*(f"{number:02}" for number in range(count))]
    *full, last = [names[n : n + 3] for n in range(0, count, 3)]
    assert items == [*full, [*last, "Total"]]
    assert book.worksheets[-1].cell(len(last) + 4, 3).value == count


@pytest.mark.parametrize(
    ("store_id", "plain", "whole"),
    [
        ("main", "store-main-{}.xlsx", "store-main-{}.xlsx"),
        ('a"b;c', "store-a_b_c-{}.xlsx", "store-a_b%3Bc-{}.xlsx"),
        ("склад", "store-_____-{}.xlsx", "store-%D1%81%D0%BA%D0%BB%D0%B0%D0%B4-{}.xlsx"),
        ("../x\\y", "store-.._x_y-{}.xlsx", "store-.._x_y-{}.xlsx"),
    ],
)
async def test_the_file_is_named_after_store_and_local_day(
    serve: Serve, stocked: Stocked, sql: Any, store_id: str, plain: str, whole: str
) -> None:
    await stocked({"7": 1}, store_id)
    api = await serve(time_zone="Etc/GMT-14")
    # Encoded by hand, because a path's own slash would be one of two.
    path = "".join(f"%{byte:02X}" for byte in store_id.encode())
    async with api.get(f"/api/v1/stores/{path}/xlsx_report") as response:
        assert response.status == 200
        today = await sql.fetchval("SELECT (now() AT TIME ZONE 'Etc/GMT-14')::date::text")
        assert response.headers["Content-Disposition"] == (
            f'attachment; filename="{plain.format(today)}"; '
            f"filename*=UTF-8''{whole.format(today)}"
        )


async def test_no_file_stays_behind(
    api: Api, stocked: Stocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    await stocked({"7": 1})
    await sheet(api)
    monkeypatch.setattr(workbook, "_write_rows", lambda *_: 1 / 0)
    async with api.get(url()) as response:
        assert response.status == 500
    assert list(tmp_path.iterdir()) == []


async def test_what_breaks_off_is_no_whole_answer(
    api: Api, stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is sent by then: the client sees that the connection ends before the document."""
    monkeypatch.setattr(reports, "ROWS_AT_ONCE", 1)
    await stocked({"7": 1, "8": 1})
    write = workbook._write_rows

    def fail_at_the_second(sheet: Any, above: int, *rest: Any) -> None:
        assert above == 3
        write(sheet, above, *rest)

    monkeypatch.setattr(workbook, "_write_rows", fail_at_the_second)
    async with api.get(url()) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_items_are_sent_while_others_are_still_written(
    api: Api, stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "ROWS_AT_ONCE", 1)
    await stocked({f"{number:04}": 1 for number in range(20)})
    gate = threading.Event()
    write = workbook._write_rows

    def wait_at_the_last(sheet: Any, above: int, *rest: Any) -> None:
        if above == 3 + 19:
            gate.wait(10)
        write(sheet, above, *rest)

    monkeypatch.setattr(workbook, "_write_rows", wait_at_the_last)
    async with api.get(url()) as response:
        content = await response.content.readany()
        assert content.startswith(b"PK")
        gate.set()
        content += await response.read()
    assert openpyxl.load_workbook(io.BytesIO(content)).active["A24"].value == "Total"


async def test_too_many_at_once_are_told_to_come_again(
    api: Api, stocked: Stocked, sql: Any, connect_as: Any
) -> None:
    await stocked({"7": 5})
    other = await connect_as("owner")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE products")  # no report can be read for now
    waiting = [asyncio.create_task(sheet(api)) for _ in range(reports.READ_AT_ONCE)]
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    while await sql.fetchval(blocked) < reports.READ_AT_ONCE:
        await asyncio.sleep(0.01)
    async with api.get(url()) as response:
        assert response.status == 503
        assert (await response.json())["code"] == "overloaded"
        assert "Retry-After" in response.headers
    await transaction.rollback()
    for task in waiting:
        await task
    await sheet(api)


async def test_a_lock_that_stays_and_a_database_away_are_told(
    api: Api, serve: Serve, stocked: Stocked, connect_as: Any
) -> None:
    await stocked({"7": 5})
    other = await connect_as("owner")
    async with other.transaction():
        await other.execute("LOCK TABLE products")
        async with api.get(url()) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "database_busy"
    away = await serve(database_url="postgresql://nobody@127.0.0.1:9/nothing")
    async with away.get(url()) as response:
        assert response.status == 503
        assert (await response.json())["code"] == "database_unavailable"


async def slow_down(sql: Any, seconds: float) -> None:
    """Let list_stock() take its time."""
    source = await sql.fetchval("SELECT pg_get_functiondef('list_stock'::regproc)")
    slow = source.replace("BEGIN", f"BEGIN PERFORM pg_sleep({seconds});", 1)
    assert slow != source
    await sql.execute(slow.replace(" STABLE ", " VOLATILE "))


async def test_no_timeout_of_the_server_ends_a_report(
    stocked: Stocked, sql: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both that our connections have, as short as the test is: neither the reading, nor a pause."""
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        monkeypatch.setitem(connections.SETTINGS, name, "100ms")
    await stocked({"7": 5})
    await slow_down(sql, 0.5)
    async with reports.reading(dsn, "holdfast_worker", "main", "UTC") as report:
        await asyncio.sleep(0.5)
        assert [len(batch) async for batch in report.batches] == [1]


async def test_a_report_holds_no_snapshot_while_it_is_sent(
    stocked: Stocked, sql: Any, dsn: str
) -> None:
    """It would keep VACUUM from the versions of hot rows for as long as a client reads."""
    await stocked({"7": 5})
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    before = await sql.fetchval(others)
    async with reports.reading(dsn, "holdfast_worker", "main", "UTC"):
        await becomes(lambda: sql.fetchval(f"SELECT ({others}) = {before}"))


async def test_a_database_that_gives_no_row_is_a_timeout(
    api: Api, stocked: Stocked, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "SECONDS", 0.3)
    await stocked({"7": 5})
    await slow_down(sql, 60)
    async with api.get(url()) as response:
        assert response.status == 503
        assert (await response.json())["code"] == "database_timeout"


def resident() -> int:
    """Bytes of memory that this process has now."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def test_a_hundred_thousand_items_cost_little_memory_and_block_nobody(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    """While it is written, others are answered: how many times says that, not how fast."""
    await stocked({"7": 10**6})
    await sql.execute("SET statement_timeout = 0")
    await sql.execute(
        "INSERT INTO products (store_id, product_id, name)"
        " SELECT 'main', 'item-' || n, 'The name of item ' || n"
        " FROM generate_series(1, 99999) AS n",
        timeout=300,
    )
    await sql.execute("UPDATE stock SET on_hand = 3 WHERE product_id <> '7'", timeout=300)
    await sql.execute("ANALYZE", timeout=300)
    before, most, answered = resident(), 0, 0
    content = bytearray()
    async with api.get(url()) as response:
        assert response.status == 200
        async for chunk in response.content.iter_chunked(2**16):
            content.extend(chunk)
            most = max(most, resident() - len(content))
            async with api.get("/health/live") as alive:
                assert alive.status == 200
            answered += 1
    rows = ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml").count(b"<row ")
    assert rows == 3 + 100_000 + 1
    assert answered > 10
    assert (most - before) / 2**20 < 50
