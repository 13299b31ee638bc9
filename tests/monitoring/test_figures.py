"""Figures of a store: what the dashboard shows of the service's health."""

import asyncio
from typing import Any

import pytest

from service.domains import monitoring
from service.domains.monitoring import CHECKS, HISTORY, Check, Checks
from service.results import Refusal
from service.web.metrics import SECONDS
from tests.support.aliases import Api, CreateUser, Header, Stocked
from tests.support.builders import RESERVE, answer, callback

PATH = "/api/v1/stores/main/figures"


@pytest.fixture
async def staff(user: CreateUser, header_of: Header) -> dict[str, str]:
    return await header_of(await user("waiter", role="staff"))


async def test_a_healthy_store_has_a_zero(api: Api, staff: dict[str, str]) -> None:
    status, figures = await answer(await api.get(PATH, headers=staff))
    assert (status, figures["check"]["violations"], figures["check"]["broken"]) == (200, 0, [])
    assert (figures["outbox"], figures["sockets"]) == ([], 0)
    assert (await api.get(PATH)).status == 401


async def test_a_broken_invariant_is_named(
    api: Api, sql: Any, stocked: Stocked, staff: dict[str, str]
) -> None:
    await stocked({"tea": 5})
    await sql.execute("ALTER TABLE stock DISABLE TRIGGER USER")
    await sql.execute("UPDATE stock SET on_hand = 6")
    _, figures = await answer(await api.get(PATH, headers=staff))
    broken = {each["invariant"]: each for each in figures["check"]["broken"]}
    assert broken["on_hand_equals_movements"]["count"] == 1
    assert figures["check"]["violations"] == len(figures["check"]["broken"])
    await sql.execute("UPDATE stock SET on_hand = 5")
    await sql.execute("ALTER TABLE stock ENABLE TRIGGER USER")


async def test_the_outbox_is_told_by_channel(api: Api, sql: Any, staff: dict[str, str]) -> None:
    await sql.execute(
        "INSERT INTO outbox (store_id, channel, payload, due_at, dead_at) VALUES"
        " ('main', 'mail', '{}', now() - interval '1 minute', NULL),"
        " ('main', 'mail', '{}', now(), now())"
    )
    _, figures = await answer(await api.get(PATH, headers=staff))
    (mail,) = figures["outbox"]
    assert (mail["channel"], mail["waiting"], mail["dead"]) == ("mail", 1, 1)
    assert mail["lag"] >= 60
    assert await sql.fetchval("SELECT result_code FROM read_backlogs('x')") == "unknown_store"
    assert await sql.fetchval("SELECT result_code FROM count_violations('x')") == "unknown_store"


async def test_charts_count_what_was_asked_refused_and_how_long_it_took(
    api: Api, stocked: Stocked, staff: dict[str, str]
) -> None:
    await stocked({"7": 5})
    assert api.app is not None
    history = api.app[HISTORY]
    for number in range(4):
        await api.post(RESERVE, json=callback(reservation_id=str(number + 1)))
    history._look()
    _, figures = await answer(await api.get(PATH, headers=staff))
    series = figures["series"]
    assert series["seconds"] == monitoring.LOOK_SECONDS
    assert series["reservations"][-1] / series["refused"][-1] == pytest.approx(4 / 3)
    assert 0 < series["p50"][-1] <= series["p99"][-1] <= 1000 * SECONDS[-1]


async def test_staff_of_another_store_see_their_own_alone(
    api: Api, user: CreateUser, header_of: Header
) -> None:
    other = await header_of(await user("nora", role="admin", store_id="north"))
    _, figures = await answer(await api.get(PATH.replace("main", "north"), headers=other))
    assert (figures["check"]["violations"], figures["series"], figures["sockets"]) == (
        0,
        None,
        None,
    )
    assert (await api.get(PATH, headers=other)).status == 404


class Slow:
    """A database whose check takes longer than a call may."""

    calls = 0

    async def read(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        raise Refusal("database_timeout")


async def test_a_store_that_is_too_large_is_said_to_be_and_not_asked_again_soon() -> None:
    database = Slow()
    checks = Checks(database)  # type: ignore[arg-type]
    found = [await checks.last("main") for _ in range(3)]
    assert found == [Check(is_too_long=True)] * 3
    assert database.calls == 1


async def test_an_answer_waits_a_moment_for_the_first_check_and_not_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitoring, "FIRST_CHECK_SECONDS", 0.01)

    class Stuck:
        async def read(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(0.2)
            raise Refusal("database_unavailable")

    checks = Checks(Stuck())  # type: ignore[arg-type]
    assert await checks.last("main") == Check()
    await checks.close()


async def test_the_application_closes_what_it_began(api: Api, staff: dict[str, str]) -> None:
    await api.get(PATH, headers=staff)
    assert api.app is not None
    await api.app[CHECKS].close()
