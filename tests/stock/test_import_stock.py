"""import-stock: all of a CSV file or nothing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import parser
from service.commands import import_stock
from service.commands.import_stock import import_file
from service.settings import ROOT
from tests.support.aliases import Connect, Stocked
from tests.support.builders import reserve

Load = Callable[..., Coroutine[Any, Any, int]]

HEADER = "product_id,name,quantity,price\n"


@pytest.fixture
def load(dsn: str, tmp_path: Path) -> Load:
    """load("1,Tea,5,100\\n", add=False): import these lines, header and all, into store main."""

    async def run(
        lines: str, *, header: str = HEADER, add: bool = False, create: bool = True, **options: Any
    ) -> int:
        file = tmp_path / "stock.csv"
        file.write_bytes((header + lines).encode("utf-8", "surrogateescape"))
        return await import_file(dsn, "main", file, add=add, create=create, **options)

    return run


async def levels(sql: Any) -> list[tuple[Any, ...]]:
    rows = await sql.fetch(
        "SELECT product_id, name, on_hand, price FROM stock_levels ORDER BY product_id"
    )
    return [tuple(row) for row in rows]


async def blocked_by(holder: Any, watcher: Any) -> int:
    """Wait until somebody waits for `holder`; his pid."""
    async with asyncio.timeout(5):
        while True:
            pid: int | None = await watcher.fetchval(
                "SELECT pid FROM pg_locks WHERE NOT granted AND $1 = ANY (pg_blocking_pids(pid))",
                holder.get_server_pid(),
            )
            if pid:
                return pid
            await asyncio.sleep(0.01)


async def test_a_file_creates_store_products_and_stock(
    load: Load, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await load("1,Tea,5,100\n2,Cup,0,250\n") == 0
    assert capsys.readouterr().out == "Imported 2 products into store main, 2 of them new.\n"
    assert await levels(sql) == [("1", "Tea", 5, 100), ("2", "Cup", 0, 250)]
    rows = await sql.fetch("SELECT product_id, delta, reason, reference FROM stock_movements")
    assert [tuple(row) for row in rows] == [("1", 5, "import", "stock.csv")]


async def test_a_second_import_sets_and_one_that_adds_adds(load: Load, sql: Any) -> None:
    await load("1,Tea,5,100\n2,Cup,7,250\n")
    assert await load("1,Green tea,5,120\n2,Cup,3,250\n") == 0
    assert await levels(sql) == [("1", "Green tea", 5, 120), ("2", "Cup", 3, 250)]
    assert await load("1,Green tea,4,120\n3,Pot,1,900\n", add=True) == 0
    assert await levels(sql) == [
        ("1", "Green tea", 9, 120),
        ("2", "Cup", 3, 250),
        ("3", "Pot", 1, 900),
    ]
    deltas = await sql.fetch("SELECT delta FROM stock_movements")
    assert sorted(row["delta"] for row in deltas) == [-4, 1, 4, 5, 7]


async def test_an_update_by_hand_after_an_import_is_not_taken_for_it(
    load: Load, sql: Any, dsn: str
) -> None:
    await load("1,Tea,5,100\n")
    await sql.execute("UPDATE stock SET on_hand = 6")
    reasons = await sql.fetch("SELECT reason FROM stock_movements ORDER BY number")
    assert [row["reason"] for row in reasons] == ["import", "adjustment"]


async def test_every_wrong_line_is_reported_and_nothing_is_written(
    load: Load, sql: Any, stocked: Stocked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await stocked({"9": 5})
    await reserve(sql, ("r", [("9", 3)]))
    wrong = [
        ('good,"Two\nlines",1,1', None),
        ("a b,x,1,1", 'product_id "a b" is not 1-64 visible characters without a colon'),
        (",x,1,1", 'product_id "" is not 1-64 visible characters without a colon'),
        ("a:b,x,1,1", 'product_id "a:b" is not 1-64 visible characters without a colon'),
        ("good,x,1,1", "product good stands in line 2 already"),
        ("c,x,1.5,1", 'quantity "1.5" is not a whole number'),
        ("d,x,-1,1", 'quantity "-1" is not a whole number'),
        ("e,x,,1", 'quantity "" is not a whole number'),
        (
            f"f,x,{'9' * 5000},1",
            f'quantity "{"9" * 70}…{"9" * 57}" is not a whole number',
        ),
        ('m,x,"1\n\x1b[2J",1', 'quantity "1\ufffd\ufffd[2J" is not a whole number'),
        ("g,x,9223372036854775808,1", "quantity 9223372036854775808 is too large"),
        ("h,x,1,1e3", 'price "1e3" is not a whole number of minor units'),
        ("i,x,1,9999999999999999999", "price 9999999999999999999 is too large"),
        ("9,x,2,1", "product 9 has 3 units reserved, more than 2"),
        (
            f"{'y' * 5000},x,1,1",
            f'product_id "{"y" * 68}…{"y" * 32}" is not 1-64 visible characters without a colon',
        ),
        ("j,x,1", "3 fields instead of 4"),
        ("k,x\0,1,1", "text holds a NUL"),
        ("", None),
        ("l,fine,1,1", None),
    ]
    assert await load("".join(line + "\n" for line, _ in wrong)) == 1
    expected, number = [], 2
    for line, problem in wrong:
        if problem:
            expected.append(f"{tmp_path / 'stock.csv'}:{number}: {problem}")
        number += line.count("\n") + 1
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [*expected, f"{len(expected)} wrong lines; nothing was written."]
    assert await levels(sql) == [("9", "Product 9", 5, None)]


async def test_only_the_first_hundred_wrong_lines_are_listed(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await load("".join(f"p{n},x,?,1\n" for n in range(150))) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 102
    assert said[-1] == "150 wrong lines; nothing was written."


async def test_adding_beyond_the_largest_number_is_refused(
    load: Load, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    await load("1,Tea,9223372036854775807,100\n")
    assert await load("1,Tea,1,100\n", add=True) == 1
    assert "too large" in capsys.readouterr().err


async def test_a_file_of_another_kind_is_refused_before_the_database_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "stock.csv"
    file.write_text("id,count\n1,5\n")
    assert await import_file("postgresql://nobody@127.0.0.1:9/nothing", "main", file) == 1
    assert f"{file}:1: the header has to name" in capsys.readouterr().err


async def test_without_name_and_price_both_stay_as_they_are(load: Load, sql: Any) -> None:
    await load("1,Tea,5,100\n2,Cup,7,\n")
    assert await levels(sql) == [("1", "Tea", 5, 100), ("2", "Cup", 7, None)]
    assert await load("1,6\n3,1\n", header="product_id,quantity\n") == 0
    assert await levels(sql) == [("1", "Tea", 6, 100), ("2", "Cup", 7, None), ("3", "", 1, None)]
    assert await load("1,,6,\n2,,7,0\n") == 0
    assert await levels(sql) == [("1", "Tea", 6, 100), ("2", "Cup", 7, 0), ("3", "", 1, None)]


async def test_a_store_that_is_not_there_is_created_only_when_asked(
    load: Load, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await load("1,Tea,5,100\n", create=False) == 1
    assert "There is no store main; --create creates it." in capsys.readouterr().err
    assert await sql.fetchval("SELECT count(*) FROM stores") == 0
    assert await load("1,Tea,5,100\n") == 0
    assert await load("1,Tea,6,100\n", create=False) == 0


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    load: Load, sql: Any, stocked: Stocked, capsys: pytest.CaptureFixture[str]
) -> None:
    await stocked({"1": 5, "2": 7})
    before = await levels(sql)
    assert await load("1,Tea,5,1\n2,Cup,8,2\n3,Pot,1,3\n4,Pan,0,3\n", dry_run=True) == 0
    assert capsys.readouterr().out == (
        "Would import 4 products into store main, 2 of them new, 2 with another count than now."
        " Nothing was written.\n"
    )
    assert await load("1,Tea,x,1\n", dry_run=True) == 1
    assert ':2: quantity "x" is not a whole number' in capsys.readouterr().err
    assert await levels(sql) == before


@pytest.mark.parametrize("lines", ["1,Tea,5,100\n", "1,Tea,x,100\n"])
async def test_no_line_stays_behind(load: Load, sql: Any, lines: str) -> None:
    await load(lines)
    assert await sql.fetchval("SELECT count(*) FROM import_lines") == 0


async def test_many_lines_are_written_in_several_steps_or_not_at_all(
    load: Load,
    sql: Any,
    connect_as: Connect,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(import_stock, "LINES_AT_ONCE", 3)
    lines = "".join(f"p{n},Product {n},{n},{n}\n" for n in reversed(range(10)))
    assert await load(lines) == 0
    assert "Imported 10 products into store main, 10 of them new." in capsys.readouterr().out
    assert await levels(sql) == [(f"p{n}", f"Product {n}", n, n) for n in range(10)]
    written = "SELECT product_id, number, delta, reason FROM stock_movements ORDER BY 1"
    assert await sql.fetch(written) == [(f"p{n}", 1, n, "import") for n in range(1, 10)]

    # What somebody reserves after the check is seen when its turn comes, in the last step.
    other = await connect_as("owner")
    await other.execute("BEGIN")
    await reserve(other, ("r", [("p9", 9)]))
    loading = asyncio.create_task(load("".join(f"p{n},x,1,1\n" for n in range(10))))
    await blocked_by(other, sql)
    await other.execute("COMMIT")
    assert await loading == 1
    assert "product p9 has 9 units reserved, more than 1" in capsys.readouterr().err
    assert await levels(sql) == [(f"p{n}", f"Product {n}", n, n) for n in range(10)]


async def test_what_many_rows_change_at_once_is_in_the_ledger_as_ever(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5, "b": 0, "c": 7})
    await sql.execute("SET holdfast.bulk = 'on'; SET holdfast.reason = 'import'")
    await sql.execute("UPDATE stock SET on_hand = 5")
    await sql.execute("UPDATE stock SET on_hand = on_hand")
    rows = await sql.fetch(
        "SELECT product_id, number, delta, on_hand_after, reason FROM stock_movements"
        " WHERE reason = 'import' ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("b", 1, 5, 5, "import"),
        ("c", 2, -2, 5, "import"),
    ]
    assert await sql.fetch("SELECT * FROM invariant_violations") == []


async def test_imports_and_reservations_at_once_end_with_books_that_agree(
    load: Load, sql: Any, dsn: str, tmp_path: Path, connect_as: Connect
) -> None:
    files = []
    for n in range(2):
        files.append(tmp_path / f"{n}.csv")
        order = range(200) if n else reversed(range(200))
        files[n].write_text(HEADER + "".join(f"p{i},x,5,1\n" for i in order))

    async def sell(seed: int) -> None:
        connection = await connect_as("service")
        for n in range(50):
            await reserve(connection, (f"{seed}-{n}", [(f"p{n * 3 % 200}", 1)]))

    codes = await asyncio.gather(
        *(import_file(dsn, "main", file, add=True, create=True) for file in files * 3),
        sell(1),
        sell(2),
    )
    assert codes[:6] == [0] * 6
    assert await sql.fetchval("SELECT count(DISTINCT on_hand) FROM stock") == 1
    assert await sql.fetchval("SELECT max(on_hand) FROM stock") == 30


async def test_an_import_that_has_to_wait_too_long_says_so(
    load: Load, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    await load("1,Tea,5,100\n")
    async with sql.transaction():
        await sql.execute("UPDATE stock SET on_hand = 6")
        assert await load("1,Tea,7,100\n") == 1
    assert "Others hold this stock" in capsys.readouterr().err


async def test_an_import_that_loses_a_race_for_a_new_product_tries_again(
    load: Load, sql: Any, stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"1": 5})
    transaction = sql.transaction()
    await transaction.start()
    await stocked({"2": 7})
    loading = asyncio.create_task(load("1,Tea,6,100\n2,Cup,3,250\n"))
    await blocked_by(sql, await connect_as("owner"))
    await transaction.commit()
    assert await loading == 0
    assert await levels(sql) == [("1", "Tea", 6, 100), ("2", "Cup", 3, 250)]


async def test_an_import_is_done_although_the_statistics_have_to_wait(
    load: Load, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sql.transaction():
        await sql.execute("LOCK TABLE stock IN SHARE UPDATE EXCLUSIVE MODE")
        assert await load("".join(f"{n},x,1,1\n" for n in range(10_000)), add=True) == 0
    assert "10000 of them new" in capsys.readouterr().out


async def test_a_connection_lost_on_the_way_is_no_wrong_file(
    load: Load, sql: Any, connect_as: Connect
) -> None:
    await load("1,Tea,5,100\n")
    async with sql.transaction():
        await sql.execute("UPDATE stock SET on_hand = 6")
        loading = asyncio.create_task(load("1,Tea,7,100\n"))
        watcher = await connect_as("owner")
        pid = await blocked_by(sql, watcher)
        await watcher.execute("SET ROLE NONE")
        assert await watcher.fetchval("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(ConnectionError, match="lost; stock_movements shows"):
            await loading
    assert await levels(sql) == [("1", "Tea", 6, 100)]


async def test_twenty_thousand_lines_through_the_command(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    file.write_text(HEADER + "".join(f"{n},Product {n},{n % 7},{n}\n" for n in range(1, 20_001)))
    run = [sys.executable, "-m", "service", "import-stock"]
    environment = os.environ | {"HOLDFAST_DATABASE_URL": dsn}
    done = await asyncio.to_thread(
        subprocess.run, [*run, str(file), "--store", "north", "--create"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (
        0,
        "Imported 20000 products into store north, 20000 of them new.\n",
    )
    missing = await asyncio.to_thread(
        subprocess.run, [*run, str(tmp_path / "none.csv")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode == 2
    assert missing.stderr.endswith("none.csv: No such file or directory\n")


async def test_a_file_may_come_by_a_pipe_in_another_encoding(dsn: str, sql: Any) -> None:
    command = [sys.executable, "-m", "service", "import-stock", "/dev/stdin"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--encoding", "windows-1251", "--ignore-extra"],
        input="Product_ID;Quantity;Name;Brand\n1;5;Чай;Ахмад\n".encode("cp1251"),
        cwd=ROOT, env=os.environ | {"HOLDFAST_DATABASE_URL": dsn}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout == b"Imported 1 products into store main, 1 of them new.\n", done.stderr
    assert await levels(sql) == [("1", "Чай", 5, None)]


@pytest.mark.parametrize("wrong", [["--store", "a:b"], ["--encoding", "klingon"]])
async def test_wrong_arguments_are_told_before_anything_is_read(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["import-stock", "stock.csv", *wrong])
    assert wrong[0] in capsys.readouterr().err
