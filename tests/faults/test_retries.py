"""What PostgreSQL rolled back is tried again; a defect fails only the request that meets it."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from service.database.pool import ATTEMPTS, Database
from service.results import Refusal
from service.web.context import DATABASE
from tests.support.aliases import Api, Stocked
from tests.support.builders import answer, callback, reserved

RESERVE = "/api/v1/reserve"


def checked_out(api: Api) -> int:
    assert api.app is not None
    pool: Any = api.app[DATABASE].engine.pool
    return int(pool.checkedout())


async def fail_inside(sql: Any, body: str) -> None:
    """Make every insert into reservations run a piece of plpgsql first."""
    await sql.execute("CREATE SEQUENCE IF NOT EXISTS attempts")
    await sql.execute(
        "CREATE OR REPLACE FUNCTION fail_inside() RETURNS trigger LANGUAGE plpgsql SECURITY"
        f" DEFINER SET search_path = holdfast, pg_temp AS $$ BEGIN {body} RETURN NEW; END $$"
    )
    await sql.execute(
        "CREATE OR REPLACE TRIGGER fail_inside BEFORE INSERT ON reservations"
        " FOR EACH ROW EXECUTE FUNCTION fail_inside()"
    )


@pytest.mark.parametrize("state", ["40001", "40P01", "23503", "23505"])
async def test_what_was_rolled_back_is_tried_again_unseen(
    api: Api, stocked: Stocked, sql: Any, state: str
) -> None:
    await stocked({"7": 5})
    failing = f"IF nextval('attempts') < {ATTEMPTS} THEN RAISE SQLSTATE '{state}'; END IF;"
    await fail_inside(sql, failing)
    assert (await api.post(RESERVE, json=callback())).status == 200
    assert await sql.fetchval("SELECT last_value FROM attempts") == ATTEMPTS
    assert await reserved(sql) == {"7": 3}


async def test_endless_conflicts_are_a_503_and_nothing_is_done(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    await fail_inside(sql, "RAISE SQLSTATE '40001';")
    response = await api.post(RESERVE, json=callback())
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert (await response.json())["code"] == "conflict"
    assert await reserved(sql) == {"7": 0}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("RAISE SQLSTATE '40001';", 503, "conflict"),
        ("RAISE division_by_zero;", 500, "internal_error"),
    ],
)
async def test_of_a_failed_batch_only_the_guilty_request_fails(
    api: Api,
    stocked: Stocked,
    sql: Any,
    body: str,
    status: int,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await stocked({"7": 1000})
    await fail_inside(sql, f"IF NEW.reservation_id = '13' THEN {body} END IF;")

    async def post(number: int) -> tuple[int, dict[str, Any]]:
        return await answer(await api.post(RESERVE, json=callback(reservation_id=str(number))))

    with caplog.at_level(logging.INFO):
        answers = await asyncio.gather(*map(post, range(1, 101)))
    refused = [(status, body) for status, body in answers if status != 200]
    assert [(status, body["code"]) for status, body in refused] == [(status, code)]
    assert await reserved(sql) == {"7": 297}
    assert checked_out(api) == 0
    errors = [record for record in caplog.records if record.exc_info]
    assert len(errors) == (status == 500)
    assert all("division_by_zero" in str(record.exc_info) for record in errors)


async def test_a_function_that_answers_too_little_is_a_500_not_a_wait(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    source = await sql.fetchval("SELECT pg_get_functiondef('reserve_stock_batch'::regproc)")
    end = "    IF p_requested_at IS NULL"
    broken = source.replace(end, f"    result_codes := '{{}}'; documents := '{{}}';\n{end}")
    assert broken != source
    await sql.execute(broken)
    async with asyncio.timeout(5):
        response = await api.post(RESERVE, json=callback())
    assert response.status == 500
    assert (await response.json())["code"] == "internal_error"
    await sql.execute(source)
    assert (await api.post(RESERVE, json=callback())).status == 200


@pytest.mark.parametrize(("value", "kind"), [("\ud800", "text"), (2**70, "bigint")])
async def test_a_value_that_cannot_be_sent_is_our_defect_and_costs_no_connection(
    dsn: str, value: object, kind: str
) -> None:
    database = Database(dsn, connections=1)
    pid = text("SELECT 'ok' AS result_code, pg_backend_pid() AS pid")
    before = await database.read(pid)
    with pytest.raises(Exception, match=r"surrogate|out of") as failure:
        await database.call(text(f"SELECT CAST(:value AS {kind})"), value=value)
    assert not isinstance(failure.value, Refusal)
    assert (await database.read(pid)).pid == before.pid
    await database.close()


async def test_ddl_under_traffic_never_reaches_a_client(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({str(product): 10**6 for product in range(1, 9)})
    source = await sql.fetchval("SELECT pg_get_functiondef('reserve_stock_batch'::regproc)")
    wider = source.replace("OUT documents jsonb[])", "OUT documents jsonb[], OUT note text)")
    assert wider != source
    is_changing = True
    numbers = iter(range(1, 10**6))
    answers: Counter[tuple[int, str]] = Counter()

    async def client() -> None:
        while is_changing:
            number = next(numbers)
            body = callback(reservation_id=str(number), product_id=str(number % 8 + 1))
            for response in (
                await api.post(RESERVE, json=body),
                await api.get(f"{RESERVE}/{number}"),
            ):
                answers[response.status, (await response.json()).get("code", "ok")] += 1

    clients = asyncio.gather(*(client() for _ in range(16)))
    for n in range(4):
        # As a release may do: tables get a column, a function gets another type of row.
        await sql.execute(f"ALTER TABLE reservations ADD COLUMN extra_{n} text DEFAULT 'x'")
        await sql.execute(f"ALTER TABLE stock ADD COLUMN extra_{n} int")
        for version in (wider, source):
            await sql.execute(f"DROP FUNCTION reserve_stock_batch; {version}")
            before = answers.total()
            while answers.total() < before + 64 and not clients.done():
                await asyncio.sleep(0.01)
    is_changing = False
    await clients
    assert set(answers) == {(200, "ok")}, answers
    assert sum((await reserved(sql)).values()) == 3 * answers[200, "ok"] // 2
