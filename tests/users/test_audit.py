"""Who changed users, keys and prices is on record, also when it was done by hand."""

import json
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Api, Connect, CreateUser, Header, Stocked
from tests.support.builders import OTHER, bearer, create_key, sign_in

ME = "/api/v1/users/me/sessions"
LOG = "SELECT actor, subject, action, details FROM audit_log ORDER BY entry_id"
SECRETS = {
    "users": ["password_hash", "token_generation"],
    "user_links": ["token_hash"],
    "api_keys": ["key_hash"],
    "sign_in_attempts": ["attempts"],
}


async def log(sql: Any) -> list[tuple[Any, ...]]:
    rows = await sql.fetch(LOG)
    return [(row["actor"], row["subject"], row["action"], json.loads(row[3])) for row in rows]


async def test_what_an_admin_did_is_on_record(
    api: Api, sql: Any, user: CreateUser, header_of: Header
) -> None:
    admin, maria = await user("root", role="admin"), await user("maria")
    header, made = await header_of(admin), len(await log(sql))
    assert made == 3  # two users, one signed in
    await api.put(f"/api/v1/users/{maria}", json={"is_active": False}, headers=header)
    await api.post(f"/api/v1/users/{maria}/reset-link", headers=header)
    await api.post("/api/v1/auth/logout", headers=header)
    disabled, link, ended, out = (await log(sql))[made:]
    assert disabled == (
        f"user:{admin}",
        f"users/{maria}",
        "update",
        {"is_active": {"from": True, "to": False}, "token_generation": {"from": 0, "to": 1}},
    )
    assert link[:3] == (f"user:{admin}", f"user_links/{maria}", "insert")
    assert link[3]["token_hash"] == "not shown"
    assert ended[:3] == (f"user:{admin}", f"users/{admin}", "update")
    assert out == (
        f"user:{admin}",
        f"users/{admin}",
        "sign_out",
        {"login": "root", "address": "127.0.0.1"},
    )


async def test_what_is_done_by_hand_is_on_record_under_the_login_that_did_it(
    sql: Any, user: CreateUser, stocked: Stocked
) -> None:
    me = await sql.fetchval("SELECT session_user")
    await stocked({"7": 5})
    user_id = await user("maria")
    await sql.execute("UPDATE users SET password_hash = 'x'")
    await sql.execute("UPDATE products SET price = 250")
    await sql.execute("UPDATE products SET price = 250")  # nothing changed
    await sql.execute("DELETE FROM users")
    _, password, price, deleted = await log(sql)
    assert password == (me, f"users/{user_id}", "update", {"password_hash": "not shown"})
    assert price == (me, "products/7", "update", {"price": {"to": 250}})
    assert deleted[:3] == (me, f"users/{user_id}", "delete")
    assert deleted[3]["login"] == {"from": "maria"}


async def test_a_statement_after_a_function_is_not_taken_for_its_doing(
    sql: Any, user: CreateUser
) -> None:
    user_id = await user("maria")
    async with sql.transaction():
        await sql.execute("SELECT set_user_active('main', $1, false, 'user:1')", user_id)
        await sql.execute("UPDATE users SET role = 'staff'")
    me = await sql.fetchval("SELECT session_user")
    assert [entry[0] for entry in await log(sql)] == ["tests", "user:1", me]


async def test_keys_are_on_record_and_their_use_is_not(sql: Any) -> None:
    await create_key(sql)
    key_id = await sql.fetchval("SELECT key_id FROM api_keys")
    await sql.execute("SELECT use_api_key('main', key_hash) FROM api_keys")
    assert await sql.fetchval("SELECT last_used_at FROM api_keys") is not None
    await sql.execute("SELECT revoke_api_key('main', $1, 'boss')", key_id)
    entries = await log(sql)
    assert [entry[:3] for entry in entries] == [
        ("tests", f"api_keys/{key_id}", "insert"),
        ("boss", f"api_keys/{key_id}", "update"),
    ]
    assert entries[1][3].keys() == {"revoked_at"}


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET actor = 'x'", "TRUNCATE audit_log"])
async def test_the_log_is_only_added_to(sql: Any, user: CreateUser, statement: str) -> None:
    await user("maria")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await sql.execute(statement)


async def test_the_reader_sees_the_log_and_no_secret(
    sql: Any, user: CreateUser, connect_as: Connect
) -> None:
    await user("maria")
    await create_key(sql)
    reader = await connect_as("reader")
    assert len(await reader.fetch("SELECT * FROM audit_log")) == 2
    assert [row["login"] for row in await reader.fetch("SELECT * FROM user_list")] == ["maria"]
    assert [row["name"] for row in await reader.fetch("SELECT * FROM api_key_list")] == ["till"]
    for table, columns in SECRETS.items():
        for column in columns:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.fetch(f"SELECT {column} FROM {table}")


SIGNED = (
    "SELECT actor, subject, action, details FROM audit_log"
    " WHERE action LIKE 'sign%' ORDER BY entry_id"
)


async def test_who_signs_in_is_refused_and_signs_out_is_on_record(
    api: Api, sql: Any, user: CreateUser
) -> None:
    user_id = await user("maria")
    for _ in range(3):
        await sign_in(api, "maria", OTHER)
        await sign_in(api, "Nobody", OTHER)
    token = (await (await sign_in(api, "maria")).json())["access_token"]
    session = await (await api.get(ME, headers=bearer(token))).json()
    session_id = session["sessions"][0]["session_id"]
    await api.delete(f"{ME}/{session_id}", headers=bearer(token))
    entries = [(*row[:3], json.loads(row[3])) for row in await sql.fetch(SIGNED)]
    here = {"address": "127.0.0.1"}
    maria = {"login": "maria", **here, "session_id": session_id}
    nobody = {"login": "Nobody", **here}
    assert entries == [
        ("address 127.0.0.1", f"users/{user_id}", "sign_in_refused", {"login": "maria", **here}),
        ("address 127.0.0.1", "logins/nobody", "sign_in_refused", nobody),
        (f"user:{user_id}", f"users/{user_id}", "sign_in", maria),
        (f"user:{user_id}", f"users/{user_id}", "sign_out", maria),
    ]


async def test_refusals_are_one_row_for_each_login_address_and_window(
    serve: Any, sql: Any, user: CreateUser
) -> None:
    """So that nobody can fill the table; a right password in between begins no new row."""
    await user("maria")
    api = await serve(trusted_proxies="127.0.0.1")

    async def refused() -> int:
        count = "SELECT count(*) FROM audit_log WHERE action = 'sign_in_refused'"
        return int(await sql.fetchval(count))

    async def wrong(address: str) -> None:
        headers = {"X-Forwarded-For": address}
        assert (await sign_in(api, "maria", OTHER, headers=headers)).status in (401, 429)

    for _ in range(12):
        await wrong("203.0.113.1")
    assert await refused() == 1
    await wrong("203.0.113.2")
    assert await refused() == 2
    assert (await sign_in(api, "maria", headers={"X-Forwarded-For": "203.0.113.2"})).status == 200
    await wrong("203.0.113.2")
    assert await refused() == 2
    await sql.execute("UPDATE sign_in_attempts SET ends_at = clock_timestamp()")
    await wrong("203.0.113.2")
    assert await refused() == 3
