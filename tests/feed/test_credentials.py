"""Sockets end with the credentials that opened them: closed with 1008 within two seconds."""

import time
from typing import Any

import pytest

from service.domains import feed
from service.web.auth import AUTH, Grant
from tests.support.aliases import Api, Serve, Socket, Stocked
from tests.support.builders import (
    FEED,
    REFRESH,
    SECRET,
    SIGN_OUT,
    bearer,
    create_key,
    create_user,
    token_of,
    told,
)


@pytest.fixture
async def api(serve: Serve, stocked: Stocked) -> Api:
    """A service that asks for credentials, in front of a store with something in stock."""
    await stocked({"1": 5})
    return await serve(environment="production", jwt_secret=SECRET)


async def watch(api: Api, token: str) -> Socket:
    socket = await api.ws_connect(FEED + "main", headers=bearer(token))
    assert await told(socket) == {"1": (5, 0, 5)}
    return socket


async def code_of(socket: Socket) -> int | None:
    """What a socket is closed with."""
    await socket.receive(timeout=60)
    return socket.close_code


async def still_told(socket: Socket, sql: Any, on_hand: int) -> None:
    await sql.execute("UPDATE stock SET on_hand = $1", on_hand)
    while await told(socket) != {"1": (on_hand, 0, on_hand)}:
        pass


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE users SET is_active = false WHERE login = 'maria'",
        "UPDATE sessions SET ended_at = now() WHERE user_id ="
        " (SELECT user_id FROM users WHERE login = 'maria')",
        "UPDATE sessions SET expires_at = now() WHERE user_id ="
        " (SELECT user_id FROM users WHERE login = 'maria')",
    ],
)
async def test_a_user_who_is_out_watches_no_more_and_others_do(
    api: Api, sql: Any, end: str
) -> None:
    assert feed.CHECK_SECONDS + 0.5 < 2
    maria, peter = [
        await token_of(sql, api, await create_user(sql, login, "staff"))
        for login in ("maria", "peter")
    ]
    first, second, others = (
        await watch(api, maria),
        await watch(api, maria),
        await watch(api, peter),
    )
    await sql.execute(end)
    assert [await code_of(first), await code_of(second)] == [1008, 1008]
    await still_told(others, sql, 7)


async def test_who_signs_out_watches_no_more(api: Api, sql: Any) -> None:
    token = await token_of(sql, api, await create_user(sql, "maria", "staff"))
    socket = await watch(api, token)
    assert (await api.post(SIGN_OUT, headers=bearer(token))).status == 200
    assert await code_of(socket) == 1008


@pytest.mark.parametrize(
    "end", ["UPDATE api_keys SET revoked_at = now()", "UPDATE api_keys SET expires_at = now()"]
)
async def test_a_key_that_is_no_more_good_watches_no_more(api: Api, sql: Any, end: str) -> None:
    key, token = (
        await create_key(sql),
        await token_of(sql, api, await create_user(sql, "maria", "staff")),
    )
    socket, others = await watch(api, key), await watch(api, token)
    await sql.execute(end)
    assert await code_of(socket) == 1008
    await still_told(others, sql, 7)


async def test_a_token_that_expires_ends_its_sockets(api: Api, sql: Any) -> None:
    token = await token_of(sql, api, await create_user(sql, "maria", "staff"))
    claims = api.app[AUTH].tokens.read(token)
    now = int(time.time())
    grant = Grant(
        user_id=int(claims.sub), role="staff", session_id=claims.sid, token_number=claims.num,
        issued_at=now, expires_at=now + 2, signed_in_at=now,
    )  # fmt: skip
    short = api.app[AUTH].tokens.answer("main", grant)["access_token"]
    socket, other = await watch(api, short), await watch(api, token)
    assert await code_of(socket) == 1008
    await still_told(other, sql, 7)


async def test_a_refresh_ends_nothing(api: Api, sql: Any) -> None:
    token = await token_of(sql, api, await create_user(sql, "maria", "staff"))
    socket = await watch(api, token)
    assert (await api.post(REFRESH, headers=bearer(token))).status == 200
    await sql.execute("UPDATE sessions SET previous_until = clock_timestamp()")
    await still_told(socket, sql, 7)
    with pytest.raises(TimeoutError):
        await socket.receive(timeout=2 * feed.CHECK_SECONDS)
