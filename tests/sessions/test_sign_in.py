"""Signing in and out, passwords, and what a guesser meets."""

import asyncio
import random
import statistics
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.web import passwords
from service.web import sign_in as at_sign_in
from service.web.auth import AUTH
from service.web.passwords import HASHER, Passwords
from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import (
    OTHER,
    PASSWORD,
    PASSWORD_HASH,
    REFRESH,
    SIGN_OUT,
    bearer,
    sign_in,
)

CHANGE = "/api/v1/users/me/password"
SESSIONS = "/api/v1/users/me/sessions"

pytestmark = pytest.mark.usefixtures("main")


async def takes(api: Api, token: str) -> bool:
    """Whether a token is taken, by a route that changes nothing."""
    response = await api.get(SESSIONS, headers=bearer(token))
    assert response.status in (200, 401)
    return bool(response.status == 200)


async def test_a_token_is_what_signing_in_gives(api: Api, user: CreateUser) -> None:
    await user("maria")
    response = await sign_in(api, "Maria")
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    answer = await response.json()
    assert answer == {
        "access_token": answer["access_token"],
        "token_type": "bearer",
        "expires_in": 3600,
    }
    assert await takes(api, answer["access_token"])


async def test_wrong_unknown_and_inactive_are_answered_alike(api: Api, user: CreateUser) -> None:
    await user("maria")
    await user("peter", is_active=False)
    answers = [
        await sign_in(api, "maria", OTHER),
        await sign_in(api, "nobody"),
        await sign_in(api, "peter"),
        await sign_in(api, "peter", OTHER),
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({await answer.read() for answer in answers}) == 1
    assert (await answers[0].json())["code"] == "wrong_credentials"


async def test_a_stale_token_sent_along_does_not_keep_one_out(api: Api, user: CreateUser) -> None:
    await user("maria")
    assert (await sign_in(api, "maria", headers=bearer("stale"))).status == 200


async def test_signing_out_stops_every_token_of_the_user_and_no_other(
    api: Api, user: CreateUser, header_of: Header
) -> None:
    maria, peter = await user("maria"), await user("peter")
    first, second = [(await (await sign_in(api, "maria")).json())["access_token"] for _ in "12"]
    assert (await api.post(SIGN_OUT, headers=bearer(first))).status == 200
    assert not await takes(api, first)
    assert not await takes(api, second)
    for somebody in (maria, peter):
        assert (await api.post(REFRESH, headers=await header_of(somebody))).status == 200


async def test_a_change_of_password_stops_every_token_but_its_own(
    api: Api, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(await user("maria"))
    change = {"current_password": PASSWORD, "password": OTHER}
    response = await api.post(CHANGE, json=change, headers=header)
    assert response.status == 200
    assert await takes(api, (await response.json())["access_token"])
    assert (await api.get(SESSIONS, headers=header)).status == 401
    assert (await sign_in(api, "maria")).status == 401
    assert (await sign_in(api, "maria", OTHER)).status == 200


async def test_a_password_is_changed_by_who_knows_the_present_one(
    api: Api, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(await user("maria"))
    change = {"current_password": OTHER, "password": OTHER + "!"}
    statuses = [(await api.post(CHANGE, json=change, headers=header)).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert (await api.post(REFRESH, headers=header)).status == 200


COMPLETE = (
    "SELECT result_code FROM complete_sign_in('main', 'maria', $1, $2, true, false, NULL, '::1',"
    " 'tests', '30 days', '1 hour')"
)


async def test_a_password_changed_meanwhile_signs_nobody_in(sql: Any, user: CreateUser) -> None:
    user_id = await user("maria")
    assert await sql.fetchval(COMPLETE, user_id, PASSWORD_HASH) == "ok"
    await sql.execute("SELECT set_password('main', $1, $2, NULL)", user_id, HASHER.hash(OTHER))
    assert await sql.fetchval(COMPLETE, user_id, PASSWORD_HASH) == "wrong_credentials"


async def test_a_user_who_is_gone_is_unauthorized(sql: Any) -> None:
    for call in (
        "start_password_check('main', 4711, '::1')",
        "replace_password('main', 4711, 1, '', true, '', '::1', '', '1 d', '1 h')",
        "refresh_session('main', 4711, 1)",
    ):
        assert await sql.fetchval(f"SELECT result_code FROM {call}") == "unauthorized"
    assert await sql.fetchval("SELECT sign_out_user('main', 4711, '::1', 'x')") == "unknown_user"


@pytest.mark.parametrize("login", ["maria", "nobody"])
async def test_guessing_at_a_login_is_stopped_known_or_not(
    api: Api, sql: Any, user: CreateUser, login: str
) -> None:
    await user("maria")
    for _ in range(10):
        assert (await sign_in(api, login, OTHER)).status == 401
    response = await sign_in(api, login)  # even with the right one
    assert response.status == 429
    answer = await response.json()
    assert (answer["code"], answer["retry_after"]) == (
        "too_many_requests",
        int(response.headers["Retry-After"]),
    )
    assert 890 <= answer["retry_after"] <= 900
    assert (await sign_in(api, "somebody else", OTHER)).status == 422
    assert (await sign_in(api, "somebody_else", OTHER)).status == 401

    await sql.execute("UPDATE sign_in_attempts SET ends_at = clock_timestamp()")
    assert (await sign_in(api, login)).status == (200 if login == "maria" else 401)


async def test_guesses_that_come_together_are_counted_one_by_one(
    api: Api, user: CreateUser
) -> None:
    await user("maria")
    responses = await asyncio.gather(*(sign_in(api, "maria", OTHER) for _ in range(30)))
    assert Counter(response.status for response in responses) == {401: 10, 429: 20}


async def attempt_from(api: Api, address: str, password: str) -> Any:
    return await sign_in(api, "maria", password, headers={"X-Forwarded-For": address})


async def test_strangers_keep_no_owner_out(
    serve: Any, sql: Any, user: CreateUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong passwords from elsewhere slow a login down, by seconds, and lock nobody out."""
    await user("maria")
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(at_sign_in, "pause", sleep)
    api = await serve(trusted_proxies="127.0.0.1")
    for _ in range(11):
        last = await attempt_from(api, "203.0.113.1", OTHER)
    assert last.status == 429
    assert (await attempt_from(api, "198.51.100.7", PASSWORD)).status == 200
    assert slept == []

    count = "UPDATE sign_in_attempts SET attempts = $1 WHERE subject = 'login maria'"
    for tries, seconds in ((99, 0), (100, 1), (250, 2), (1000, 10), (1001, 10)):
        await sql.execute(count, tries)
        slept.clear()
        assert (await attempt_from(api, "198.51.100.7", PASSWORD)).status == 200
        assert sum(slept) == seconds, tries


async def test_who_is_slowed_down_keeps_no_place_from_others(
    api: Api, sql: Any, user: CreateUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await user("maria")
    await user("peter")
    await sign_in(api, "maria")
    await sql.execute("UPDATE sign_in_attempts SET attempts = 100 WHERE subject = 'login maria'")
    asleep, woken = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await woken.wait()

    monkeypatch.setattr(at_sign_in, "pause", sleep)
    monkeypatch.setattr(passwords, "MOST_WAITING", 1)
    slow = asyncio.create_task(sign_in(api, "maria"))
    await asleep.wait()
    assert (await sign_in(api, "peter")).status == 200
    woken.set()
    assert (await slow).status == 200


async def test_a_right_password_forgives_its_login(api: Api, sql: Any, user: CreateUser) -> None:
    await user("maria")
    for _ in range(3):
        for _ in range(9):
            assert (await sign_in(api, "maria", OTHER)).status == 401
        assert (await sign_in(api, "maria")).status == 200
    subjects = "SELECT subject, attempts FROM sign_in_attempts ORDER BY subject"
    assert [tuple(row) for row in await sql.fetch(subjects)] == [
        ("address 127.0.0.1", 27),
        ("login maria", 27),
        ("login maria at 127.0.0.1", 0),
    ]


async def test_an_address_that_guesses_is_stopped_and_spoils_no_login(
    api: Api, sql: Any, user: CreateUser
) -> None:
    await user("maria")
    await sql.execute(
        "INSERT INTO sign_in_attempts VALUES"
        " ('main', 'address 127.0.0.1', 100, clock_timestamp() + interval '1 minute')"
    )
    for _ in range(12):
        response = await sign_in(api, "maria")
        assert response.status == 429
        assert 0 < int(response.headers["Retry-After"]) <= 60
    assert await sql.fetchval("SELECT array_agg(subject) FROM sign_in_attempts") == [
        "address 127.0.0.1"
    ]


async def test_counts_that_lapsed_are_cleared_away(api: Api, sql: Any) -> None:
    await sql.execute(
        "INSERT INTO sign_in_attempts SELECT 'main', 'login ' || n, 1, clock_timestamp()"
        " FROM generate_series(1, 15) AS n"
    )
    await sign_in(api, "nobody")  # begins three counts, and clears ten away for each
    assert await sql.fetchval("SELECT count(*) FROM sign_in_attempts") == 3


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ("", "203.0.113.9", "127.0.0.1"),
        ("127.0.0.0/8", None, "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first is hearsay
        ("127.0.0.1 10.0.0.0/8", "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"),
        ("127.0.0.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
async def test_an_address_is_believed_from_our_proxies_alone(
    serve: Any, sql: Any, proxies: str, forwarded: str | None, address: str
) -> None:
    api = await serve(trusted_proxies=proxies)
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    await sign_in(api, "nobody", headers=headers)
    subjects = "SELECT array_agg(subject ORDER BY subject) FROM sign_in_attempts"
    assert await sql.fetchval(subjects) == [
        f"address {address}",
        "login nobody",
        f"login nobody at {address}",
    ]


async def test_known_and_unknown_logins_take_the_same_time(
    api: Api, sql: Any, user: CreateUser
) -> None:
    await user("maria")
    await sign_in(api, "maria", OTHER)  # connections and plans are ready
    times: dict[str, list[float]] = {"maria": [], "nobody": []}
    tries = ["maria", "nobody"] * 100
    random.shuffle(tries)
    for login in tries:
        await sql.execute("DELETE FROM sign_in_attempts")
        started = time.perf_counter()
        assert (await sign_in(api, login, OTHER)).status == 401
        times[login].append(time.perf_counter() - started)
    known, unknown = (statistics.median(times[login]) for login in ("maria", "nobody"))
    both = times["maria"] + times["nobody"]
    middle = statistics.median(both)
    noise = statistics.median(abs(each - middle) for each in both)
    assert abs(known - unknown) < noise


async def test_the_loop_turns_while_a_password_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A comparison that lasts until the loop has turned: on the loop itself it would never end."""
    turned = threading.Event()
    monkeypatch.setattr(passwords, "_verify", lambda *_: turned.wait(30))
    hasher = Passwords()
    comparison = asyncio.create_task(hasher.matches(PASSWORD_HASH, PASSWORD))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not comparison.done()
    turned.set()
    assert await comparison
    hasher.close()


async def test_who_finds_no_place_is_turned_away_and_not_counted(
    api: Api, sql: Any, user: CreateUser
) -> None:
    await user("maria")
    hasher = api.app[AUTH].passwords
    async with AsyncExitStack() as stack:
        for _ in range(passwords.MOST_WAITING):
            await stack.enter_async_context(hasher.signing_in())
        responses = [await sign_in(api, "maria", OTHER) for _ in range(15)]
        assert {response.status for response in responses} == {503}
        assert (await responses[0].json())["code"] == "overloaded"
        assert await sql.fetchval("SELECT count(*) FROM sign_in_attempts") == 0
    assert (await sign_in(api, "maria")).status == 200


async def test_registrations_take_no_place_of_sign_ins(
    serve: Any, user: CreateUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who choose a password wait for one that takes for ever; others sign in meanwhile."""
    api = await serve(public_limit=0)
    await user("maria")
    ended = threading.Event()
    monkeypatch.setattr(passwords, "is_common", lambda *_: ended.wait(60))
    bodies = [{"login": f"user{n}", "password": "a long one"} for n in range(90)]
    waiting = [asyncio.create_task(api.post("/api/v1/users", json=body)) for body in bodies]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status for task in done} == {503}
    assert (await sign_in(api, "maria")).status == 200
    ended.set()
    statuses = Counter([(await task).status for task in waiting])
    assert statuses == {503: 90 - passwords.MOST_WAITING, 422: passwords.MOST_WAITING}


async def test_a_hash_that_is_none_matches_nothing() -> None:
    hasher = Passwords()
    assert not await hasher.matches("written by hand", PASSWORD)
    hasher.close()
