"""The worker inside `serve`, and the commands `report` and `outbox`."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.support.aliases import Emit, Stocked
from tests.support.bot_api import FLOOD, BotApi
from tests.support.processes import Start, is_alive
from tests.support.waits import becomes

Bot = dict[str, str]


def child_commands(pid: int) -> dict[int, str]:
    """The command lines of a process's children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        int(child): Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
        for child in children
    }


@pytest.mark.parametrize("processes", [1, 2])
async def test_serve_runs_one_worker_again_when_it_dies_and_ends_it(
    serve_process: Start, stocked: Stocked, sql: Any, processes: int
) -> None:
    await stocked({"7": 5})
    service = await serve_process(processes=processes)
    await service.says("The worker works")
    workers = [
        child
        for child, command in child_commands(service.process.pid).items()
        if "service worker" in command
    ]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    await service.says("The worker ended with status -9; starting another")
    await sql.execute("SELECT reserve_stock('main', 'r', '7', 2, NULL, interval '1 ms')")
    await becomes(lambda: sql.fetchval("SELECT status = 'expired' FROM reservations"), seconds=30)
    children = child_commands(service.process.pid)
    assert len(children) == 1 + (processes if processes > 1 else 0)
    assert await service.stop() == 0
    assert not any(map(is_alive, children))


async def test_the_worker_ends_with_a_serve_that_is_killed(
    serve_process: Start, emit: Emit
) -> None:
    service = await serve_process()
    await service.says("No daily report is sent")
    await service.says("The worker works")
    children = child_commands(service.process.pid)
    service.process.kill()

    async def all_gone() -> bool:
        return not any(map(is_alive, children))

    await becomes(all_gone)


async def test_serve_leaves_the_worker_to_others_where_it_is_told_so(
    serve_process: Start, stocked: Stocked, sql: Any
) -> None:
    service = await serve_process(worker="none")
    await service.says("Store main has no products yet")
    assert child_commands(service.process.pid) == {}
    assert await service.stop() == 0
    assert not [line for line in service.log if "worker" in line]


async def test_report_prints_a_text(start: Start, dsn: str, stocked: Stocked) -> None:
    await stocked({"7": 5})
    command = await start("report", database_url=dsn, time_zone="Europe/Berlin")
    assert await command.ends() == 0
    assert command.log[0].startswith("Stock of store main, 2")
    assert command.log[0].endswith(" Europe/Berlin")
    assert command.log[1:] == ["", "7 Product 7: 5", "1 items, 5 units."]


async def test_report_saves_a_workbook(
    start: Start, dsn: str, stocked: Stocked, tmp_path: Path
) -> None:
    await stocked({"7": 5}, "other")
    file = tmp_path / "stock.xlsx"
    command = await start("report", "--store", "other", "--output", str(file), database_url=dsn)
    assert await command.ends() == 0
    assert command.log == []
    assert openpyxl.load_workbook(file).active["B4"].value == "Product 7"


async def test_report_sends_to_the_chat(
    start: Start, dsn: str, stocked: Stocked, telegram: BotApi, bot: Bot, sql: Any
) -> None:
    await stocked({"7": 5})
    command = await start("report", "--send", database_url=dsn, **bot)
    assert await command.ends() == 0
    text, document = telegram.calls
    assert text.fields["text"].endswith("7 Product 7: 5\n1 items, 5 units.")
    assert document.document
    assert document.document[0].startswith("store-main-2")
    assert await sql.fetchval("SELECT count(*) FROM outbox") == 0

    telegram.answers = [FLOOD]
    refused = await start("report", "--send", database_url=dsn, **bot)
    assert await refused.ends() == 1
    assert await refused.says("Not sent, .*Too Many Requests: retry after 2")


async def test_report_says_what_is_wrong(start: Start, dsn: str) -> None:
    for arguments, settings, message in (
        (["--store", "nowhere"], {}, "holdfast: There is no store nowhere."),
        (["--send"], {}, "holdfast: HOLDFAST_TELEGRAM_BOT_TOKEN is not set"),
        ([], {"time_zone": "Mars/Olympus"}, "holdfast: HOLDFAST_TIME_ZONE='Mars/Olympus'"),
    ):
        command = await start("report", *arguments, database_url=dsn, **settings)
        assert await command.ends() == 2
        assert await command.says(f"^{message}")


async def test_outbox_lists_and_revives_dead_letters(
    start: Start, dsn: str, emit: Emit, sql: Any
) -> None:
    listing = await start("outbox", "list", database_url=dsn)
    assert await listing.ends() == 0
    assert listing.log == ["No dead letters."]

    dead, waiting = await emit("dead", "waiting")
    await sql.execute(
        "UPDATE outbox SET dead_at = now(), attempts = 3, last_error = $2 WHERE message_id = $1",
        dead,
        json.dumps("blocked"),
    )
    listing = await start("outbox", "list", database_url=dsn)
    assert await listing.ends() == 0
    assert await listing.says(rf"^store_id=main  message_id={dead}  channel=telegram .*blocked")
    assert listing.log[-1] == "1 dead letters"

    revive = await start("outbox", "revive", str(dead), str(waiting), database_url=dsn)
    assert await revive.ends() == 1
    assert revive.log == [f"main {dead}: ok", f"main {waiting}: not_dead"]
    assert await sql.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await sql.fetchval("SELECT revived_by IS NOT NULL FROM outbox WHERE attempts = 3")
