"""The commands user and key, the first admin of a development store, and shared secrets."""

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from service.commands import user
from service.commands.user import create_first_admin
from tests.support.aliases import Api
from tests.support.builders import SECRET, bearer, create_user, token_of
from tests.support.processes import Service, Start

AUTH, REFRESH = "/api/v1/auth", "/api/v1/auth/refresh"


@pytest.fixture(autouse=True)
async def _store(sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")


async def sign_in(browser: aiohttp.ClientSession, url: str, login: str, password: str) -> Any:
    body = {"login": login, "password": password}
    async with browser.post(url + AUTH, json=body) as response:
        return response.status, await response.json()


async def test_a_development_store_gets_one_admin_whose_password_is_told_once(
    serve_process: Start, browser: aiohttp.ClientSession
) -> None:
    service = await serve_process()
    (told,) = await service.says(r"sign in as (\w+) with the password (\S+),")
    status, _ = await sign_in(browser, service.url, told[1], told[2])
    assert status == 200
    assert await service.stop() == 0
    again = await serve_process()
    assert await again.stop() == 0
    assert not [line for line in again.log if "with the password" in line]


async def test_of_services_that_start_together_one_makes_the_admin(sql: Any, dsn: str) -> None:
    made = await asyncio.gather(
        *(create_first_admin(dsn, "main", "correct horse") for _ in range(6))
    )
    codes = [row["result_code"] for row in made]
    assert sorted(codes) == ["already_exists"] * 5 + ["created"]
    assert await sql.fetchval("SELECT count(*) FROM users") == 1


async def test_production_makes_no_admin(serve_process: Start, sql: Any) -> None:
    service = await serve_process(environment="production", jwt_secret=SECRET)
    await service.stop()
    assert await sql.fetchval("SELECT count(*) FROM users") == 0


async def test_processes_take_each_others_tokens_and_know_their_address(
    serve_process: Start, browser: aiohttp.ClientSession
) -> None:
    service = await serve_process(processes=2)
    (told,) = await service.says(r"sign in as (\w+) with the password (\S+),")
    _, answer = await sign_in(browser, service.url, told[1], told[2])
    header = {"Authorization": f"Bearer {answer['access_token']}"}
    for _ in range(12):  # each on a connection of its own, so that either process is asked
        async with browser.post(service.url + REFRESH, headers=header) as response:
            assert response.status == 200
    body = {"login": "maria", "password": "correct horse"}
    async with browser.post(f"{service.url}/api/v1/users", json=body) as response:
        link = (await response.json())["activation_link"]
    async with browser.get(link) as response:
        assert response.status == 200


async def test_an_operator_creates_a_user_who_signs_in(
    start: Start, serve_process: Start, browser: aiohttp.ClientSession, dsn: str, sql: Any
) -> None:
    command = await start("user", "create", "boss", "--role", "admin", database_url=dsn)
    assert await command.ends() == 0
    (password,) = await command.says(r"^Password, not shown again: (\S+)$")
    service = await serve_process(environment="production", jwt_secret=SECRET)
    status, _ = await sign_in(browser, service.url, "boss", password[1])
    assert status == 200
    assert await sql.fetchval("SELECT role FROM users WHERE login = 'boss'") == "admin"

    again = await start("user", "create", "BOSS", database_url=dsn)
    assert await again.ends() == 2
    assert await again.says("^holdfast: Login is taken")
    wrong = await start("user", "create", "two words", database_url=dsn)
    assert await wrong.ends() == 2
    assert await wrong.says(r"^holdfast: .*login")


async def test_an_operator_makes_lists_and_revokes_a_key(
    start: Start, serve_process: Start, browser: aiohttp.ClientSession, dsn: str
) -> None:
    make = await start("key", "create", "the till", database_url=dsn)
    assert await make.ends() == 0
    (made,) = await make.says(r"^Key (\d+) of main, not shown again: (hf_\S+)$")
    service = await serve_process(environment="production", jwt_secret=SECRET)
    url = f"{service.url}/api/v1/reservations/1"
    header = {"Authorization": f"Bearer {made[2]}"}
    async with browser.get(url, headers=header) as response:
        assert response.status == 404
        assert (await response.json())["code"] == "unknown_reservation"

    for verbs, said in (
        (
            ["list"],
            rf"^{made[1]}  the till  reserve,stock,orders,bookings  made .* last used .*  good$",
        ),
        (["revoke", made[1]], "opens nothing any more"),
        (["revoke", made[1]], "opens nothing any more"),
        (["list"], r"never used|last used .*  revoked "),
    ):
        command = await start("key", *verbs, database_url=dsn)
        assert await command.ends() == 0
        assert await command.says(said)
        assert not [line for line in command.log if re.search("hf_", line)]
    async with browser.get(url, headers=header) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "create", "x", "--store", "nowhere"], "no store nowhere"),
        (["user", "create", "x", "--store", "nowhere"], "no store nowhere"),
        (["key", "revoke", "4711"], "no key 4711"),
        (["key", "revoke", "9" * 30], "no key 999"),
    ],
)
async def test_what_is_refused_is_said_and_exits_2(
    start: Start, dsn: str, arguments: list[str], said: str
) -> None:
    command = await start(*arguments, database_url=dsn)
    assert await command.ends() == 2
    assert await command.says(f"^holdfast: .*{said}")


async def test_an_operator_lists_users_and_lets_them_in_and_out(
    start: Start, dsn: str, sql: Any, api: Api
) -> None:
    user_id = await create_user(sql, "maria")
    await create_user(sql, "root", "admin")
    token = await token_of(sql, api, user_id)

    async def run(*arguments: str) -> Service:
        command = await start("user", *arguments, database_url=dsn)
        await command.ends()
        return command

    me = "/api/v1/users/me/sessions"
    listed = await run("list")
    assert await listed.says(rf"^{user_id}  maria  customer  active  last here 20\d\d-")
    assert await listed.says("^2 users of main")
    assert (await api.get(me, headers=bearer(token))).status == 200
    assert await (await run("sign-out", "MARIA")).says("^Every session of MARIA is over")
    assert (await api.get(me, headers=bearer(token))).status == 401

    assert await (await run("disable", "maria")).says("^maria may no longer sign in")
    assert await (await run("list")).says("maria  customer  not active")
    assert await (await run("enable", "maria")).says("^maria may sign in")
    refused = await run("disable", "root")
    assert (await refused.ends(), bool(await refused.says("^holdfast: Last admin"))) == (2, True)

    (link,) = await (await run("reset-link", "maria")).says(
        r"(/api/v1/stores/main/\S+)#token=(\S+)$"
    )
    body = {"token": link[2], "password": "battery staple"}
    assert (await api.post(link[1], json=body)).status == 200

    await sql.execute(
        "INSERT INTO user_totp (store_id, user_id, secret, confirmed_at)"
        " VALUES ('main', $1, repeat('A', 32), now())",
        user_id,
    )
    assert await (await run("list")).says("maria .* signs in with a code")
    assert await (await run("reset-totp", "maria")).says("^maria signs in by the password alone")
    for verb in ("reset-totp", "sign-out", "enable", "disable", "reset-link"):
        unknown = await run(verb, "nobody")
        assert await unknown.ends() == 2
        assert await unknown.says("^holdfast: Unknown user. The store has no user nobody")


async def test_a_key_is_made_with_scopes_and_an_end(start: Start, dsn: str) -> None:
    make = ("key", "create", "hook", "--scope", "bookings", "--scope", "orders", "--expires")
    command = await start(*make, "2099-01-31", database_url=dsn)
    assert await command.ends() == 0
    assert await command.says(r"^It may: bookings, orders, until 2099-01-31T23:59:59\.999999Z")
    listing = await start("key", "list", database_url=dsn)
    assert await listing.says("hook  bookings,orders  made .*  never used  ends 2099-01-31 23:59")
    for wrong, said in (("2020-01-01", "out of range"), ("soon", "invalid"), ("2099-13-01", "inv")):
        command = await start(*make, wrong, database_url=dsn)
        assert await command.ends() == 2
        assert await command.says(said)


async def test_a_password_that_is_common_is_refused(
    dsn: str, sql: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(user, "_ask_password", lambda: "qwertyuiop")
    assert await user.create_user(dsn, "main", "boss", "admin") == 2
    assert "Password is too common" in capsys.readouterr().err
    assert await sql.fetchval("SELECT count(*) FROM users") == 0
