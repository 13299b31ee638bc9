"""Two who come together: the second waits for the first, and is judged by what that one left."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.support.aliases import Connect, CreateUser
from tests.support.builders import PASSWORD_HASH, create_key

HASH = b"h" * 32
OTHER_HASH = "$argon2id$other"
Race = Callable[[str, str], Awaitable[list[str]]]


@pytest.fixture
async def race(connect_as: Connect, sql: Any) -> Race:
    """race(first, second): the codes of two calls, the second sent while the first is open."""

    async def run(first: str, second: str) -> list[str]:
        one, other = await connect_as("owner"), await connect_as("owner")
        transaction = one.transaction()
        await transaction.start()
        codes = [await one.fetchval(f"SELECT result_code FROM {first}")]
        call = asyncio.create_task(other.fetchval(f"SELECT result_code FROM {second}"))
        waits = "SELECT cardinality(pg_blocking_pids($1)) > 0"
        while not call.done() and not await sql.fetchval(waits, other.get_server_pid()):
            await asyncio.sleep(0.005)
        await transaction.commit()
        return [*codes, await call]

    return run


async def give_link(sql: Any, user_id: int, purpose: str) -> None:
    await sql.execute(
        "INSERT INTO user_links VALUES ('main', $1, $2, $3, now(), now() + $4)",
        *(HASH, user_id, purpose, timedelta(days=1)),
    )


RESET = f"reset_password('main', '{HASH.decode()}', '{OTHER_HASH}')"
ACTIVATE = f"activate_user('main', '{HASH.decode()}')"


@pytest.mark.parametrize(
    ("purpose", "call", "codes"),
    [
        ("reset", RESET, ["ok", "unknown_link"]),
        ("activation", ACTIVATE, ["ok", "already_activated"]),
    ],
)
async def test_a_link_is_followed_once(
    race: Race, sql: Any, user: CreateUser, purpose: str, call: str, codes: list[str]
) -> None:
    await give_link(sql, await user("maria", is_active=False), purpose)
    assert await race(call, call) == codes


async def test_whoever_is_disabled_while_activating_is_out(
    race: Race, sql: Any, user: CreateUser
) -> None:
    user_id = await user("maria", is_active=False)
    await give_link(sql, user_id, "activation")
    disable = f"set_user_active('main', {user_id}, false, NULL)"
    assert await race(ACTIVATE, disable) == ["ok", "ok"]
    assert await sql.fetchval("SELECT token_generation FROM users WHERE NOT is_active") == 1


async def test_whoever_activates_while_being_disabled_stays_out(
    race: Race, sql: Any, user: CreateUser
) -> None:
    user_id = await user("maria", is_active=False)
    await give_link(sql, user_id, "activation")
    disable = f"set_user_active('main', {user_id}, false, NULL)"
    assert await race(disable, ACTIVATE) == ["ok", "unknown_link"]
    assert not await sql.fetchval("SELECT is_active FROM users")


async def test_one_of_two_changes_of_a_password_wins(
    race: Race, sql: Any, user: CreateUser
) -> None:
    user_id = await user("maria")
    change = (
        f"replace_password('main', {user_id}, 1, '{PASSWORD_HASH}', true, '{{}}', '::1', 'x',"
        " '1 day', '1 hour')"
    )
    codes = await race(change.format("$argon2id$1"), change.format("$argon2id$2"))
    assert codes == ["ok", "wrong_credentials"]
    assert await sql.fetchval("SELECT password_hash FROM users") == "$argon2id$1"


async def test_a_store_gets_one_first_admin(race: Race, sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")
    create = f"create_first_admin('main', '{{}}', '{PASSWORD_HASH}')"
    assert await race(create.format("one"), create.format("two")) == ["created", "already_exists"]
    assert await sql.fetchval("SELECT array_agg(login) FROM users") == ["one"]


async def test_a_key_is_revoked_once(race: Race, sql: Any) -> None:
    await create_key(sql)
    revoke = f"revoke_api_key('main', {await sql.fetchval('SELECT key_id FROM api_keys')}, NULL)"
    assert await race(revoke, revoke) == ["ok", "already_revoked"]


async def test_of_two_tries_when_one_is_left_one_is_let_in(race: Race, sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")
    begin = "start_sign_in('main', 'nobody', '::1')"
    for _ in range(9):
        await sql.execute(f"SELECT {begin}")
    assert await race(begin, begin) == ["ok", "too_many_requests"]


async def test_of_two_admins_who_disable_each_other_one_stays(
    race: Race, sql: Any, user: CreateUser
) -> None:
    one, other = await user("one", role="admin"), await user("other", role="admin")
    codes = await race(
        f"set_user_active('main', {one}, false, 'user:{other}')",
        f"set_user_active('main', {other}, false, 'user:{one}')",
    )
    assert codes == ["ok", "last_admin"]
    assert await sql.fetchval("SELECT array_agg(user_id) FROM users WHERE is_active") == [other]
