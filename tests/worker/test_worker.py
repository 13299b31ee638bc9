"""The worker at work, on a real database and a Telegram that answers as it is told."""

import asyncio
import io
import logging
import subprocess
import sys
from typing import Any

import openpyxl
import pytest

from service import worker as worker_module
from service.jobs import EVERY_SECONDS
from service.settings import ROOT
from tests.support.aliases import Connect, Emit, Run, Stocked
from tests.support.bot_api import BLOCKED, BROKEN, CHAT, FLOOD, NO_CHAT, NONSENSE, BotApi
from tests.support.processes import Start
from tests.support.proxy import link_to
from tests.support.waits import becomes

Bot = dict[str, str]

ALL_DELIVERED = "SELECT bool_and(delivered_at IS NOT NULL) FROM outbox"
HURRY = "UPDATE outbox SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()"


async def test_messages_are_delivered_in_order(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any
) -> None:
    async with working(**bot):
        await emit("first", "second <b>&", "third")
        await telegram.gets(3)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
    assert telegram.texts == ["first", "second <b>&", "third"]
    assert {call.fields["chat_id"] for call in telegram.calls} == {CHAT}
    assert not any("parse_mode" in call.fields for call in telegram.calls)
    assert await sql.fetchval("SELECT max(attempts) FROM outbox") == 1


async def test_nothing_of_a_transaction_that_was_rolled_back_is_sent(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any
) -> None:
    async with working(**bot):
        transaction = sql.transaction()
        await transaction.start()
        await emit("never")
        await transaction.rollback()
        await emit("sent")
        await telegram.gets(1)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
    assert telegram.texts == ["sent"]


async def test_retry_after_holds_the_whole_channel_back(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any
) -> None:
    telegram.answers = [FLOOD]
    async with working(**bot):
        await emit("first", "second")
        calls = await telegram.gets(2)
        assert calls[1].at - calls[0].at >= 2
        assert await sql.fetchval(
            "SELECT due_at - created_at > interval '2 s' AND last_error LIKE '%retry after 2%'"
            " FROM outbox WHERE last_error IS NOT NULL"
        )
        await sql.execute(HURRY)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
    assert sorted(telegram.texts) == ["first", "first", "second"]


@pytest.mark.parametrize("answer", [BLOCKED, NO_CHAT])
async def test_what_can_never_be_delivered_is_a_dead_letter_and_stops_nothing_else(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any, answer: Any
) -> None:
    telegram.answers = [answer]
    async with working(**bot):
        dead, _ = await emit("first", "second")
        await telegram.gets(2)
        await becomes(lambda: sql.fetchval("SELECT count(delivered_at) = 1 FROM outbox"))
    row = await sql.fetchrow("SELECT * FROM dead_letters")
    assert (row["message_id"], row["attempts"]) == (dead, 1)
    assert answer[1]["description"].partition(": ")[2] in row["last_error"]


async def test_an_error_of_the_other_side_is_tried_again_and_tells_no_token(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any
) -> None:
    telegram.answers = [BROKEN]
    async with working(**bot):
        await emit("once more")
        await becomes(lambda: sql.fetchval("SELECT last_error LIKE '%Bad Gateway%' FROM outbox"))
        await sql.execute(HURRY)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
    assert telegram.texts == ["once more", "once more"]
    bot |= {"telegram_api_url": "http://127.0.0.1:9/", "telegram_bot_token": "1:other"}
    async with working(**bot):
        await emit("to nobody")
        await becomes(lambda: sql.fetchval("SELECT last_error FROM outbox WHERE attempts = 1"
                                           " AND delivered_at IS NULL"))  # fmt: skip
    assert await sql.fetchval("SELECT count(*) FROM outbox WHERE last_error ~ '1:other'") == 0


async def test_an_answer_that_makes_no_sense_is_a_failure_like_others(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any
) -> None:
    telegram.answers = [NONSENSE]
    async with working(**bot):
        await emit("first", "second")
        await telegram.gets(2)
        await becomes(lambda: sql.fetchval("SELECT count(delivered_at) = 1 FROM outbox"))
    assert await sql.fetchval("SELECT last_error IS NOT NULL FROM outbox WHERE attempts = 1"
                              " AND delivered_at IS NULL AND dead_at IS NULL")  # fmt: skip


async def test_a_payload_nobody_understands_is_a_dead_letter(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any
) -> None:
    await emit()
    await sql.execute("SELECT emit_message('main', 'telegram', '{\"kind\": \"dance\"}')")
    async with working(**bot):
        await becomes(lambda: sql.fetchval("SELECT count(*) FROM dead_letters"))
    assert telegram.calls == []


async def test_messages_of_a_channel_that_is_not_configured_wait(
    working: Run, emit: Emit, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await emit("later")
    async with working():
        await asyncio.sleep(2 * EVERY_SECONDS)
    assert await sql.fetchval("SELECT attempts FROM outbox") == 0
    assert await sql.fetchval("SELECT count(*) FROM schedules") == 0
    said = [record for record in caplog.records if "HOLDFAST_TELEGRAM_BOT_TOKEN" in record.message]
    assert len(said) == 1


async def test_lapsed_holds_are_written_down_within_a_second_or_so(
    working: Run, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    await stocked({"7": 5}, "other")
    async with working():
        for store in ("main", "other"):
            await sql.execute(
                "SELECT reserve_stock($1, 'r', '7', 2, NULL, interval '100 ms')", store
            )
        await becomes(lambda: sql.fetchval("SELECT bool_and(status = 'expired') FROM reservations"))
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == 0


async def test_a_store_whose_rows_are_held_does_not_keep_the_others_waiting(
    working: Run, stocked: Stocked, sql: Any, connect_as: Connect
) -> None:
    for store in ("a-held", "b-free"):
        await stocked({"7": 5}, store)
        await sql.execute("SELECT reserve_stock($1, 'r', '7', 2, NULL, interval '1 ms')", store)
    other = await connect_as("owner")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM stock WHERE store_id = 'a-held' FOR UPDATE")
    expired = "SELECT array_agg(store_id) FROM reservations WHERE status = 'expired'"
    async with working():
        await becomes(lambda: sql.fetchval(expired))
        assert await sql.fetchval(expired) == ["b-free"]
        await transaction.rollback()
        await becomes(lambda: sql.fetchval(f"SELECT cardinality(({expired})) = 2"))


async def test_what_was_delivered_long_ago_is_cleaned_up(
    working: Run, emit: Emit, sql: Any
) -> None:
    await emit("old", "new")
    await sql.execute(
        "UPDATE outbox SET delivered_at = now() - CASE payload ->> 'text'"
        " WHEN 'old' THEN interval '31 d' ELSE interval '1 d' END"
    )
    async with working():
        await becomes(lambda: sql.fetchval("SELECT count(*) = 1 FROM outbox"))
    assert await sql.fetchval("SELECT payload ->> 'text' FROM outbox") == "new"


async def test_the_daily_report_of_each_store_is_sent_once_by_two_workers(
    telegram: BotApi, bot: Bot, working: Run, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    await stocked({"8": 3}, "other")
    settings = {**bot, "time_zone": "Europe/Berlin"}
    async with working(**settings), working(**settings):
        await becomes(lambda: sql.fetchval("SELECT count(*) = 2 FROM schedules"))
        assert telegram.calls == []  # a new schedule begins with its next time
        # 21:00 comes.
        await sql.execute("UPDATE schedules SET due_at = clock_timestamp()")
        await telegram.gets(4)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
        await becomes(lambda: sql.fetchval(
            "SELECT bool_and(due_at > now() AND fired_at IS NOT NULL) FROM schedules"))  # fmt: skip
        assert await sql.fetchval("SELECT count(*) FROM outbox") == 6
    assert len(telegram.calls) == 4
    first, second = sorted(telegram.texts)
    assert first.startswith("Stock of store main, ")
    assert "Europe/Berlin\n\n7 Product 7: 5\n1 items, 5 units." in first
    assert "8 Product 8: 3" in second
    documents = sorted(call.document for call in telegram.calls if call.document)
    today = await sql.fetchval("SELECT (now() AT TIME ZONE 'Europe/Berlin')::date::text")
    assert [name for name, _ in documents] == [
        f"store-main-{today}.xlsx", f"store-other-{today}.xlsx"
    ]  # fmt: skip
    sheet = openpyxl.load_workbook(io.BytesIO(documents[0][1])).active
    assert [cell.value for cell in sheet[4]] == ["7", "Product 7", 5, 0, 5]


async def test_the_database_away_is_waited_for(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any, dsn: str
) -> None:
    async with link_to(dsn) as link, working(database_url=link.url, **bot):
        await emit("before")
        await telegram.gets(1)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
        link.is_refusing = True
        link.cut()
        await emit("after")
        await asyncio.sleep(2 * EVERY_SECONDS)
        assert telegram.texts == ["before"]
        link.heal()
        await telegram.gets(2)
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))


async def test_a_delivery_under_way_is_finished_when_the_worker_is_stopped(
    start: Start, telegram: BotApi, bot: Bot, emit: Emit, sql: Any, dsn: str
) -> None:
    telegram.may_answer.clear()
    worker = await start("worker", database_url=dsn, **bot)
    await emit("first", "second")
    await telegram.gets(1)
    worker.process.terminate()
    await worker.says("The worker stops")
    telegram.may_answer.set()
    assert await worker.ends() == 0
    rows = await sql.fetch("SELECT delivered_at IS NOT NULL FROM outbox ORDER BY message_id")
    assert [row[0] for row in rows] == [True, False]


async def test_a_delivery_that_never_ends_does_not_keep_the_worker_from_ending(
    telegram: BotApi, bot: Bot, working: Run, emit: Emit, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "FINISH_SECONDS", 0.1)
    telegram.may_answer.clear()
    await emit("stuck")
    async with asyncio.timeout(60), working(**bot):
        await telegram.gets(1)
    assert await sql.fetchval("SELECT due_at > clock_timestamp() FROM outbox")  # its lease


def test_only_who_sends_imports_aiogram() -> None:
    script = (
        "import sys; import service.__main__, service.worker; from service.app import create_app;"
        "sys.exit('aiogram' in sys.modules or 'pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
