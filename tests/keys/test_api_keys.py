"""Keys of other systems: role service, for one store, shown once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from service.database.pool import Database
from service.results import Refusal
from service.settings import Settings
from service.web import auth
from service.web.auth import Auth
from tests.support.aliases import Api, Stocked
from tests.support.builders import SECRET, bearer, callback, create_key


@pytest.fixture
async def gate(dsn: str) -> AsyncIterator[Auth]:
    """Who identifies callers, as in one process of the service."""
    database = Database(dsn)
    gate = Auth(Settings(), database)
    yield gate
    await gate.close()
    await database.close()


async def revoke(sql: Any) -> None:
    revoked = "SELECT revoke_api_key(store_id, key_id, NULL) FROM api_keys"
    assert await sql.fetchval(revoked) == "ok"
    assert await sql.fetchval(revoked) == "already_revoked"


async def test_a_key_reserves_in_its_store(serve: Any, sql: Any, stocked: Stocked) -> None:
    api: Api = await serve(environment="production", jwt_secret=SECRET)
    await stocked({"7": 5})
    key = bearer(await create_key(sql))
    assert (await api.post("/api/v1/reserve", json=callback())).status == 401
    assert (await api.post("/api/v1/reserve", json=callback(), headers=key)).status == 200
    await stocked({"7": 5}, "north")
    response = await api.post("/api/v1/stores/north/reserve", json=callback(), headers=key)
    assert (response.status, (await response.json())["code"]) == (404, "not_found")


@pytest.mark.parametrize("store_id", ["main", "склад", "x" * 64, "a/b.c_d-e"])
async def test_a_key_names_its_store_and_is_kept_as_a_hash(
    gate: Auth, sql: Any, store_id: str
) -> None:
    key = await create_key(sql, store_id)
    caller = await gate.identify(key)
    assert (caller.role, caller.store_id, caller.user_id) == ("service", store_id, None)
    assert caller.name == f"key:{await sql.fetchval('SELECT key_id FROM api_keys')}"
    assert key.partition(".")[2] not in str(await sql.fetch("SELECT * FROM api_keys"))


async def test_a_revoked_key_opens_nothing_within_two_seconds(gate: Auth, sql: Any) -> None:
    key = await create_key(sql)
    await gate.identify(key)
    await revoke(sql)
    revoked = time.monotonic()
    with suppress(Refusal):
        while time.monotonic() - revoked < auth.BELIEVED_SECONDS:  # in use all the time
            await gate.identify(key)
            await asyncio.sleep(0.01)
    with pytest.raises(Refusal, match="unauthorized"):
        await gate.identify(key)


async def test_a_known_key_is_looked_up_beside_the_request(
    gate: Auth, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await create_key(sql)
    await asyncio.gather(*(gate.identify(key) for _ in range(50)))
    known = gate._keys[key]
    assert await gate.identify(key) is known.caller
    assert gate._keys[key] is known  # fresh: nobody asks

    monkeypatch.setattr(auth, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(auth, "BELIEVED_SECONDS", 3600.0)
    assert await gate.identify(key) is known.caller
    (lookup,) = gate._lookups.values()
    await lookup
    assert gate._keys[key].at > known.at

    monkeypatch.setattr(auth, "BELIEVED_SECONDS", 0.0)  # too old to be believed
    await revoke(sql)
    with pytest.raises(Refusal, match="unauthorized"):
        await gate.identify(key)
    assert key not in gate._keys


async def test_one_look_up_serves_all_who_wait(
    gate: Auth, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await create_key(sql)
    waiting = [asyncio.create_task(gate.identify(key)) for _ in range(20)]
    await asyncio.sleep(0)
    assert len(gate._lookups) == 1
    waiting[0].cancel()  # a client that goes away takes nobody along
    callers = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({caller for caller in callers if isinstance(caller, tuple)}) == 1
    assert isinstance(callers[0], asyncio.CancelledError)


async def test_the_last_use_is_written_once_a_minute(gate: Auth, sql: Any) -> None:
    key = await create_key(sql)
    seen = "SELECT last_used_at, xmin::text FROM api_keys"
    assert (await sql.fetchrow(seen))["last_used_at"] is None
    await gate._ask(key)
    first = await sql.fetchrow(seen)
    assert first["last_used_at"] is not None
    await gate._ask(key)
    assert await sql.fetchrow(seen) == first
    await sql.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 s'")
    await gate._ask(key)
    assert (await sql.fetchrow(seen))["last_used_at"] > first["last_used_at"]


async def test_a_use_waits_for_nobody_who_holds_the_key(
    gate: Auth, sql: Any, connect_as: Any
) -> None:
    key = await create_key(sql)
    other = await connect_as("owner")
    async with other.transaction():
        await other.execute("SELECT FROM api_keys FOR UPDATE")
        async with asyncio.timeout(1.5):
            assert (await gate.identify(key)).role == "service"


async def test_a_key_needs_a_store_and_a_name(sql: Any) -> None:
    create = "SELECT result_code FROM create_api_key($1, $2, $3, NULL, NULL, NULL)"
    await sql.execute("SELECT create_store('main')")
    assert await sql.fetchval(create, "nowhere", "till", b"x" * 32) == "unknown_store"
    assert await sql.fetchval(create, "main", "", b"x" * 32) == "invalid_request"
    assert await sql.fetchval(create, "main", "till", b"short") == "invalid_request"
    assert await sql.fetchval("SELECT revoke_api_key('main', 1, NULL)") == "unknown_key"
