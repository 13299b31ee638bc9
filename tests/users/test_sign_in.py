"""Signing in and out, passwords, and what a guesser meets."""

import asyncio
import random
import statistics
import time
from collections import Counter
from typing import Any

import pytest

from service.results import Refusal
from service.web.auth import AUTH, HASHER, Passwords
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

pytestmark = pytest.mark.usefixtures("main")


async def takes(api: Api, token: str) -> bool:
    """Whether a token is taken, by a route that changes nothing."""
    response = await api.post(REFRESH, headers=bearer(token))
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


async def test_a_refreshed_token_is_good_and_ends_with_its_session(
    api: Api, user: CreateUser
) -> None:
    user_id = await user("maria")
    tokens = api.app[AUTH].tokens
    now = int(time.time())
    old = tokens.grant("main", user_id, "customer", 0, now, now - 30 * 86400 + 60)
    assert old["expires_in"] == 60
    response = await api.post(REFRESH, headers=bearer(old["access_token"]))
    assert response.status == 200
    new = await response.json()
    assert 0 < new["expires_in"] <= 60
    assert await takes(api, new["access_token"])


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
    assert (await api.post(REFRESH, headers=header)).status == 401
    assert (await sign_in(api, "maria")).status == 401
    assert (await sign_in(api, "maria", OTHER)).status == 200


async def test_a_password_is_changed_by_who_knows_the_present_one(
    api: Api, user: CreateUser, header_of: Header
) -> None:
    header = await header_of(await user("maria"))
    change = {"current_password": OTHER, "password": OTHER}
    statuses = [(await api.post(CHANGE, json=change, headers=header)).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert (await api.post(REFRESH, headers=header)).status == 200


async def test_a_password_changed_meanwhile_signs_nobody_in(sql: Any, user: CreateUser) -> None:
    user_id = await user("maria")
    finish = "SELECT result_code FROM finish_sign_in('main', $1, '::1', $2, true)"
    assert await sql.fetchval(finish, user_id, PASSWORD_HASH) == "ok"
    await sql.execute("SELECT set_password('main', $1, $2, NULL)", user_id, HASHER.hash(OTHER))
    assert await sql.fetchval(finish, user_id, PASSWORD_HASH) == "wrong_credentials"


async def test_a_user_who_is_gone_is_unauthorized(sql: Any) -> None:
    code = "SELECT result_code FROM begin_password_check('main', 4711, '::1')"
    assert await sql.fetchval(code) == "unauthorized"
    assert await sql.fetchval("SELECT end_sessions('main', 4711, NULL)") == "unknown_user"


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


async def test_a_right_password_forgives_its_login(api: Api, sql: Any, user: CreateUser) -> None:
    await user("maria")
    for _ in range(3):
        for _ in range(9):
            assert (await sign_in(api, "maria", OTHER)).status == 401
        assert (await sign_in(api, "maria")).status == 200
    subjects = "SELECT subject, attempts FROM sign_in_attempts"
    assert [tuple(row) for row in await sql.fetch(subjects)] == [("address 127.0.0.1", 27)]


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
    await sign_in(api, "nobody")  # begins two counts, and clears ten away for each
    assert await sql.fetchval("SELECT count(*) FROM sign_in_attempts") == 2


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
    assert await sql.fetchval(subjects) == [f"address {address}", "login nobody"]


async def test_known_and_unknown_logins_take_the_same_time(
    api: Api, sql: Any, user: CreateUser
) -> None:
    await user("maria")
    await sign_in(api, "maria", OTHER)  # connections and plans are ready
    times: dict[str, list[float]] = {"maria": [], "nobody": []}
    tries = ["maria", "nobody"] * 200
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
    print(f"known {known * 1e3:.2f} ms, unknown {unknown * 1e3:.2f} ms, noise {noise * 1e3:.2f} ms")
    assert abs(known - unknown) < noise


async def test_hashing_does_not_block_the_loop() -> None:
    """The longest time between two turns of the loop while a password is compared.

    Others may have the processor meanwhile, so what counts is its share of the comparison, which
    would be nearly all if the loop had to wait for that, and the best of many.
    """
    passwords = Passwords()
    longest, shares = [], []
    for _ in range(30):
        comparison = asyncio.create_task(passwords.matches(PASSWORD_HASH, PASSWORD))
        started = turn = time.perf_counter()
        gap = 0.0
        while not comparison.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            turn, gap = now, max(gap, now - turn)
        assert await comparison
        longest.append(gap)
        shares.append(gap / (turn - started))
    passwords.close()
    assert statistics.median(shares) < 0.5
    assert min(longest) < 0.020


async def test_more_passwords_than_can_wait_are_turned_away() -> None:
    passwords = Passwords()
    tries = [passwords.matches(None, PASSWORD) for _ in range(80)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    passwords.close()
    assert Counter(type(answer) for answer in answers) == {bool: 64, Refusal: 16}
    assert not any(answer is True for answer in answers)


async def test_a_hash_that_is_none_matches_nothing() -> None:
    passwords = Passwords()
    assert not await passwords.matches("written by hand", PASSWORD)
    passwords.close()
