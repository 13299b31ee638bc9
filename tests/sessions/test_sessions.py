"""Sessions: refreshed, listed, ended one by one, and what is no longer good."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.database.pool import Database
from service.results import Refusal
from service.settings import Settings
from service.web.auth import Auth
from service.web.routing import ANONYMOUS
from tests.support.aliases import Api, Connect, CreateUser
from tests.support.builders import (
    OTHER,
    PASSWORD,
    REFRESH,
    SECRET,
    SIGN_OUT,
    bearer,
    create_key,
    sign_in,
    token_of,
)
from tests.support.waits import becomes

SESSIONS = "/api/v1/users/me/sessions"


@pytest.fixture
async def token(sql: Any, api: Api, user: CreateUser) -> str:
    """Of a session of maria's that has just begun."""
    return await token_of(sql, api, await user("maria"))


async def status_of(api: Api, token: str) -> int:
    """What a token is answered, by a route that changes nothing."""
    return (await api.get(SESSIONS, headers=bearer(token))).status


async def refreshed(api: Api, token: str) -> str:
    response = await api.post(REFRESH, headers=bearer(token))
    assert response.status == 200
    return str((await response.json())["access_token"])


async def test_a_refresh_ends_the_token_it_came_from_after_30_seconds(
    api: Api, sql: Any, token: str
) -> None:
    new = await refreshed(api, token)
    assert [await status_of(api, each) for each in (token, new)] == [200, 200]
    left = "SELECT previous_until - clock_timestamp() < '30 s' FROM sessions"
    assert await sql.fetchval(left)
    await sql.execute("UPDATE sessions SET previous_until = clock_timestamp()")
    assert [await status_of(api, each) for each in (token, new)] == [401, 200]
    assert (await api.post(REFRESH, headers=bearer(token))).status == 401


async def test_a_lost_answer_to_a_refresh_signs_nobody_out(api: Api, sql: Any, token: str) -> None:
    """Asked again, the old token gives the same successor, and no longer life to itself."""
    await refreshed(api, token)
    until = await sql.fetchval("SELECT previous_until FROM sessions")
    again = await refreshed(api, token)
    assert await status_of(api, again) == 200
    row = await sql.fetchrow("SELECT token_number, previous_until FROM sessions")
    assert (row["token_number"], row["previous_until"]) == (2, until)


async def test_refreshes_at_once_give_one_successor(api: Api, sql: Any, token: str) -> None:
    tokens = await asyncio.gather(*(refreshed(api, token) for _ in range(8)))
    assert {await status_of(api, each) for each in tokens} == {200}
    assert await sql.fetchval("SELECT token_number FROM sessions") == 2


async def test_a_token_lives_no_longer_than_its_session(api: Api, sql: Any, token: str) -> None:
    await sql.execute("UPDATE sessions SET expires_at = clock_timestamp() + interval '61 s'")
    response = await api.post(REFRESH, headers=bearer(token))
    answer = await response.json()
    assert 0 < answer["expires_in"] <= 61
    await sql.execute("UPDATE sessions SET expires_at = clock_timestamp()")
    assert await status_of(api, answer["access_token"]) == 401


async def test_a_session_that_nobody_uses_is_over(api: Api, sql: Any, token: str) -> None:
    await sql.execute("UPDATE sessions SET used_at = clock_timestamp() - idle_limit")
    assert await status_of(api, token) == 401


async def test_a_use_is_written_beside_the_request_and_seldom(
    api: Api, sql: Any, token: str
) -> None:
    used = "SELECT used_at FROM sessions"
    first = await sql.fetchval(used)
    assert await status_of(api, token) == 200
    assert await sql.fetchval(used) == first  # not within a sixtieth of the hour
    await sql.execute("UPDATE sessions SET used_at = clock_timestamp() - interval '61 s'")
    assert await status_of(api, token) == 200
    await becomes(lambda: sql.fetchval("SELECT used_at > $1 FROM sessions", first))


async def test_the_idle_limit_is_a_setting(serve: Any, sql: Any, user: CreateUser) -> None:
    await user("maria")
    api = await serve(session_idle_seconds=7200)
    assert (await sign_in(api, "maria")).status == 200
    assert await sql.fetchval("SELECT idle_limit = '2 hours' FROM sessions")


async def test_sessions_are_listed_and_ended_one_by_one(
    api: Api, sql: Any, user: CreateUser
) -> None:
    await user("maria")
    await user("peter")
    agents = [{"User-Agent": name} for name in ("phone", "till", "ma\xfcller")]
    tokens = [
        (await (await sign_in(api, "maria", headers=agent)).json())["access_token"]
        for agent in agents
    ]
    other = (await (await sign_in(api, "peter")).json())["access_token"]
    page = await (await api.get(SESSIONS, headers=bearer(tokens[1]))).json()
    listed = page["sessions"]
    assert [each["user_agent"] for each in listed] == ["phone", "till", "ma\xfcller"]
    assert [each["is_current"] for each in listed] == [False, True, False]
    assert {each["address"] for each in listed} == {"127.0.0.1"}
    assert page["next"] is None

    path = f"{SESSIONS}/{listed[0]['session_id']}"
    assert (await api.delete(path, headers=bearer(other))).status == 404
    for _ in range(2):
        assert (await api.delete(path, headers=bearer(tokens[1]))).status == 200
    assert [await status_of(api, token) for token in tokens] == [401, 200, 200]
    left = await (await api.get(f"{SESSIONS}?limit=1", headers=bearer(tokens[1]))).json()
    assert [each["user_agent"] for each in left["sessions"]] == ["till"]
    more = await api.get(f"{SESSIONS}?after={left['next']}", headers=bearer(tokens[1]))
    assert [each["user_agent"] for each in (await more.json())["sessions"]] == ["ma\xfcller"]


@pytest.mark.parametrize("agent", [b"\xff\xfe", b"\xd0\xb4", b"x" * 5000, b""])
async def test_whatever_a_client_calls_itself_it_signs_in(
    api: Api, sql: Any, user: CreateUser, agent: bytes
) -> None:
    await user("maria")
    body = json.dumps({"login": "maria", "password": PASSWORD}).encode()
    head = b"POST /api/v1/auth HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
    reader, writer = await asyncio.open_connection(str(api.host), api.port)
    writer.write(head + length + b"User-Agent: " + agent + b"\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(await sql.fetchval("SELECT user_agent FROM sessions")) <= 200


@pytest.mark.parametrize("session_id", ["4711", "0", "x", "-1", "9" * 30])
async def test_an_unknown_session_is_404(api: Api, token: str, session_id: str) -> None:
    response = await api.delete(f"{SESSIONS}/{session_id}", headers=bearer(token))
    assert (response.status, (await response.json())["code"]) == (404, "unknown_session")


async def test_an_admin_ends_every_session_of_a_user(
    api: Api, sql: Any, user: CreateUser, token: str
) -> None:
    admin = bearer(await token_of(sql, api, await user("root", role="admin")))
    user_id = await sql.fetchval("SELECT user_id FROM users WHERE login = 'maria'")
    assert (await api.delete(f"/api/v1/users/{user_id}/sessions", headers=admin)).status == 200
    assert await status_of(api, token) == 401
    unknown = await api.delete("/api/v1/users/4711/sessions", headers=admin)
    assert (unknown.status, (await unknown.json())["code"]) == (404, "unknown_user")


async def test_a_change_of_password_begins_a_session_of_its_own(
    api: Api, sql: Any, token: str
) -> None:
    change = {"current_password": PASSWORD, "password": OTHER}
    response = await api.post("/api/v1/users/me/password", json=change, headers=bearer(token))
    assert response.status == 200
    assert await sql.fetchval("SELECT count(*) FROM open_sessions") == 1
    assert await status_of(api, (await response.json())["access_token"]) == 200


async def test_sessions_that_are_over_are_swept(api: Api, sql: Any, user: CreateUser) -> None:
    maria, peter = await user("maria"), await user("peter")
    for user_id in (maria, maria, maria, peter, peter):
        await token_of(sql, api, user_id)
    await sql.execute("SELECT sign_out_user('main', $1, '::1', 'x')", peter)
    first = "(SELECT min(session_id) + $1 FROM sessions)"
    await sql.execute(
        f"UPDATE sessions SET used_at = used_at - idle_limit WHERE session_id = {first}", 0
    )
    await sql.execute(f"UPDATE sessions SET expires_at = now() WHERE session_id = {first}", 1)
    sweep = "SELECT document ->> 'done' FROM sweep_sessions('main', 3)"
    assert [await sql.fetchval(sweep) for _ in "123"] == ["3", "1", "0"]
    assert await sql.fetchval("SELECT count(*) FROM sessions") == 1


@pytest.fixture
async def gate(dsn: str) -> AsyncIterator[Auth]:
    """Who identifies callers, as in one process of the service."""
    database = Database(dsn)
    gate = Auth(Settings(jwt_secret=SECRET), database)
    yield gate
    await gate.close()
    await database.close()


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE users SET is_active = false WHERE user_id = $1",
        "SELECT set_user_active('main', $1, false, 'x')",
        "SELECT sign_out_user('main', $1, '::1', 'x')",
        "UPDATE sessions SET ended_at = now() WHERE user_id = $1",
        "UPDATE sessions SET expires_at = now() WHERE user_id = $1",
        "DELETE FROM users WHERE user_id = $1",
    ],
)
async def test_who_would_not_be_let_in_any_more_is_told_apart(
    serve: Any, gate: Auth, sql: Any, user: CreateUser, end: str
) -> None:
    """For connections that outlive their request, such as the feed's."""
    api = await serve(jwt_secret=SECRET)
    maria = await gate.identify(await token_of(sql, api, await user("maria")))
    peter = await gate.identify(await token_of(sql, api, await user("peter")))
    abroad = await gate.identify(await token_of(sql, api, await user("maria", store_id="north")))
    key, dead_key = [await gate.identify(await create_key(sql)) for _ in "12"]
    callers = [ANONYMOUS, maria, maria, peter, abroad, key, dead_key]
    assert await gate.ended(callers) == set()
    assert await gate.ended([]) == set()
    await sql.execute(end, maria.user_id)
    await sql.execute("SELECT revoke_api_key('main', $1, 'x')", dead_key.key_id)
    assert await gate.ended(callers) == {maria, dead_key}


async def test_a_token_that_has_expired_is_told_apart_and_a_refresh_ends_nobody(
    serve: Any, gate: Auth, sql: Any, user: CreateUser
) -> None:
    api = await serve(jwt_secret=SECRET)
    user_id = await user("maria")
    caller = await gate.identify(await token_of(sql, api, user_id))
    await sql.execute("SELECT refresh_session('main', $1, 1)", caller.session_id)
    await sql.execute("UPDATE sessions SET previous_until = clock_timestamp()")
    expired = caller._replace(expires_at=1_000_000_000)
    assert await gate.ended([caller, expired]) == {expired}


async def test_a_key_past_its_end_is_told_apart(gate: Auth, sql: Any) -> None:
    caller = await gate.identify(await create_key(sql))
    await sql.execute("UPDATE api_keys SET expires_at = clock_timestamp()")
    assert await gate.ended([caller]) == {caller}


async def test_while_the_database_is_away_nobody_is_told_apart() -> None:
    database = Database("postgresql://postgres@127.0.0.1:1/x")
    gate = Auth(Settings(), database)
    caller = ANONYMOUS._replace(store_id="main", key_id=1)
    with pytest.raises(Refusal, match="database_unavailable"):
        await gate.ended([caller])
    await gate.close()
    await database.close()


async def test_a_disabled_user_waits_for_who_signs_in_and_ends_that_session(
    api: Api, sql: Any, user: CreateUser, connect_as: Connect
) -> None:
    user_id = await user("maria")
    one, other = await connect_as("owner"), await connect_as("owner")
    complete = (
        "SELECT result_code FROM complete_sign_in('main', 'maria', $1, (SELECT password_hash FROM"
        " users WHERE user_id = $1), true, false, NULL, '::1', 'x', '1 day', '1 hour')"
    )
    async with one.transaction():
        assert await one.fetchval(complete, user_id) == "ok"
        disable = asyncio.create_task(
            other.fetchval("SELECT set_user_active('main', $1, false, 'x')", user_id)
        )
        waits = "SELECT cardinality(pg_blocking_pids($1)) > 0"
        await becomes(lambda: sql.fetchval(waits, other.get_server_pid()))
    await disable
    await sql.execute("SELECT set_user_active('main', $1, true, 'x')", user_id)
    assert await sql.fetchval("SELECT count(*) FROM open_sessions") == 0


async def test_signing_out_ends_the_session_that_asks(api: Api, token: str) -> None:
    assert (await api.post(SIGN_OUT, headers=bearer(token))).status == 200
    assert await status_of(api, token) == 401
