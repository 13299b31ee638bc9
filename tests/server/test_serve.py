"""`python -m service serve` as an operator sees it: logs, settings, signals, several processes."""

import asyncio
import base64
import json
import os
import secrets
import signal
import socket
from collections import Counter
from typing import Any

import aiohttp
import asyncpg
import pytest

from service.database.migrate import LOCK
from tests.support.aliases import Stocked
from tests.support.builders import RESERVE, SECRET, SUCCESS, callback, create_user
from tests.support.processes import Service, Start, is_alive, open_files
from tests.support.proxy import link_to
from tests.support.servers import with_database
from tests.support.waits import becomes

Browser = aiohttp.ClientSession


SLOW = "/api/v1/stores/slow/reserve"
SLEEP = """
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock(39), pg_sleep(2);
    RETURN NEW;
END $$;
CREATE TRIGGER sleep BEFORE INSERT ON reservations
    FOR EACH ROW WHEN (NEW.store_id = 'slow') EXECUTE FUNCTION sleep();
"""
SOMEONE_SLEEPS = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 39)"


async def test_it_serves_and_logs_each_request_as_json(
    serve_process: Start, browser: Browser, stocked: Stocked
) -> None:
    service = await serve_process(log_format="json", prot=8080)
    assert await service.says("HOLDFAST_PROT is no setting of Holdfast")
    assert await service.says("Store main has no products yet.* import-stock FILE.csv")
    assert await service.says("Development: .* needs no credentials for /order, .*/reserve, ")
    await stocked({"7": 5})
    headers = {"X-Request-ID": "abc-1"}
    async with browser.post(service.url + RESERVE, json=callback(), headers=headers) as response:
        assert (response.status, await response.json()) == (200, SUCCESS)
        assert response.headers["X-Request-ID"] == "abc-1"
    too_many = callback(reservation_id="2")
    async with browser.post(service.url + RESERVE, json=too_many) as response:
        assert response.status == 409
        made_here = response.headers["X-Request-ID"]
    assert await service.stop() == 0
    lines = [json.loads(line) for line in service.log]
    requests = [line for line in lines if line["message"] == "request"]
    assert [(line["request_id"], line["status"], line["code"]) for line in requests] == [
        ("abc-1", 200, "ok"),
        (made_here, 409, "insufficient_stock"),
    ]
    for line in requests:
        assert (line["level"], line["method"], line["path"]) == ("info", "POST", RESERVE)
        assert 0 < line["ms"] < 5000


async def test_a_server_that_refuses_is_named_with_the_cause_and_nothing_serves(
    start: Start, dsn: str
) -> None:
    async with link_to(dsn) as link:
        login = link.url.replace("postgres@", "holdfast_nobody:hush@")
        service = await start("serve", database_url=login, port=0)
        await service.listens()
        await service.says('Waiting for PostgreSQL: PostgreSQL at .*"holdfast_nobody"')
        assert await service.stop() == 0
    assert not [line for line in service.log if "Serving on" in line or "hush" in line]


async def test_production_loads_no_demonstration(start: Start, dsn: str, sql: Any) -> None:
    settings = {"environment": "Production", "jwt_secret": SECRET, "port": 0}
    service = await (await start("serve", "--demo", database_url=dsn, **settings)).serves()
    assert await service.says("--demo is for development: no demonstration stock is loaded")
    assert await service.stop() == 0
    assert await sql.fetchval("SELECT count(*) FROM products") == 0
    assert await sql.fetchval("SELECT count(*) FROM users") == 0


async def test_demo_fills_an_empty_store_and_people_read_text(
    serve_process: Start, browser: Browser, sql: Any
) -> None:
    service = await serve_process("--demo", log_format="text")
    await becomes(lambda: sql.fetchval("SELECT count(*) FROM products"))
    product_id = await sql.fetchval("SELECT min(product_id) FROM stock WHERE on_hand > 2")
    body = callback(product_id=product_id)
    async with browser.post(
        service.url + RESERVE, json=body, headers={"X-Request-ID": "abc-1"}
    ) as response:
        assert response.status == 200
    assert await service.stop() == 0
    (line,) = [line for line in service.log if "request_id=abc-1" in line]
    assert "info" in line
    assert " status=200 code=ok ms=" in line
    assert not [line for line in service.log if "no products" in line]


async def test_demo_makes_the_users_and_tables_of_the_older_service_and_says_how_to_try_them(
    serve_process: Start, browser: Browser, sql: Any
) -> None:
    service = await serve_process("--demo", log_format="text")
    (told,) = await service.says(r"curl -u (josh):(1) -X POST '\S*(/api/customer/\S+id=\d+)'")
    guest, boss = ({"Authorization": "Basic " + base64.b64encode(who.encode()).decode()}
                   for who in (f"{told[1]}:{told[2]}", "admin:1"))  # fmt: skip
    async with browser.post(service.url + told[3], headers=guest) as response:
        booked = await response.json()
    assert (response.status, booked["status"]) == (201, "success")
    accept = f"{service.url}/api/admin/accept_booking/?id={booked['booking_id']}"
    async with browser.get(accept, headers=boss) as response:
        assert response.status == 200
    for login in ("cutomer", "mike"):
        body = {"username": login, "password": "1"}
        async with browser.post(service.url + "/api/token/", json=body) as response:
            assert response.status == 200
    kinds = await sql.fetch("SELECT DISTINCT kind FROM dining_tables ORDER BY 1")
    assert [row["kind"] for row in kinds] == ["cabin", "regular", "room"]
    assert await service.stop() == 0
    again = await serve_process("--demo", log_format="text")
    assert await again.says("sign in with the password 1")
    assert await again.stop() == 0
    assert await sql.fetchval("SELECT count(*) FROM users") == 4


async def test_demo_makes_no_users_where_there_are_some(serve_process: Start, sql: Any) -> None:
    await create_user(sql, "boss", "admin")
    service = await serve_process("--demo")
    await service.stop()
    assert not [line for line in service.log if "Demonstration" in line]
    assert await sql.fetchval("SELECT array_agg(login) FROM users") == ["boss"]


async def test_production_holds_callbacks_back_and_health_is_open(
    serve_process: Start, browser: Browser, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    service = await serve_process("--demo", environment="production", jwt_secret=SECRET)
    async with browser.post(service.url + RESERVE, json=callback()) as response:
        assert response.status == 401
        assert (await response.json())["code"] == "unauthorized"
    for path in ("/health/live", "/health/ready"):
        async with browser.get(service.url + path) as response:
            assert response.status == 200
    assert await service.stop() == 0
    # A store that has products is none for the demonstration.
    assert await sql.fetchval("SELECT array_agg(product_id) FROM products") == ["7"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": "http"}, "HOLDFAST_PORT='http'"),
        ({"processes": "0"}, "HOLDFAST_PROCESSES='0'"),
        ({"environment": "production"}, "HOLDFAST_JWT_SECRET: .*of at least 32 bytes"),
        ({"port": "{taken}"}, "Cannot listen on 127.0.0.1:{taken}.*in use.*HOLDFAST_PORT"),
    ],
)
async def test_what_a_person_has_to_mend_is_named_and_exits_2(
    start: Start, dsn: str, settings: dict[str, str], message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = str(listener.getsockname()[1])
        given = {name: value.format(taken=taken) for name, value in settings.items()}
        service = await start("serve", **{"database_url": dsn, "port": 0, **given})
        assert await service.ends() == 2
    assert len(service.log) == 1
    assert await service.says("holdfast: .*" + message.format(taken=taken))


async def keep_reserving(
    url: str, product_ids: list[str], numbers: "Any", answers: Counter[Any]
) -> None:
    """One caller on a connection it keeps, until nobody listens any more."""
    async with aiohttp.ClientSession() as session:
        while True:
            number = next(numbers)
            product_id = product_ids[number % len(product_ids)]
            body = callback(reservation_id=str(number), product_id=product_id, quantity=1)
            try:
                async with session.post(url + RESERVE, json=body) as response:
                    answers[response.status] += 1
                    await response.read()
            except aiohttp.ClientConnectorError:
                answers["refused"] += 1
                return
            except aiohttp.ClientError as error:
                answers[repr(error)] += 1


async def is_closed(service: Service) -> bool:
    """Whether nobody listens at its address."""
    try:
        _, writer = await asyncio.open_connection(service.host, service.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize("processes", [1, 2])
async def test_sigterm_under_load_resets_nobody(
    serve_process: Start, browser: Browser, stocked: Stocked, sql: Any, processes: int
) -> None:
    products = [str(product) for product in range(1, 8)]
    await stocked(dict.fromkeys(products, 10**6))
    await stocked({"7": 5}, "slow")
    await sql.execute(SLEEP)
    service = await serve_process(processes=processes)
    numbers = iter(range(1, 10**6))
    answers: Counter[Any] = Counter()
    callers = [
        asyncio.create_task(keep_reserving(service.url, products, numbers, answers))
        for _ in range(16)
    ]
    await becomes(lambda: asyncio.sleep(0.05, answers[200] > 100))
    slow = asyncio.create_task(browser.post(service.url + SLOW, json=callback()))
    await becomes(lambda: sql.fetchval(SOMEONE_SLEEPS))

    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0.1)
    async with browser.get(service.url + "/health/ready") as response:
        assert response.status == 503
        assert (await response.json())["code"] == "shutting_down"
    await becomes(lambda: is_closed(service))
    assert not slow.done()
    assert (await slow).status == 200
    await asyncio.gather(*callers)
    assert await stopping == 0
    assert answers.keys() == {200, "refused"}, answers
    assert await sql.fetchval("SELECT count(*) FROM reservations") == answers[200] + 1
    assert not [line for line in service.log if " error " in line]


async def test_two_processes_share_the_port_and_a_killed_one_is_replaced(
    serve_process: Start, browser: Browser, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 10**6})
    service = await serve_process(processes=2)
    children = service.children
    idle = [*map(open_files, children)]
    kept = [await asyncio.open_connection(service.host, service.port) for _ in range(40)]
    await becomes(lambda: asyncio.sleep(0, sum(map(open_files, children)) >= sum(idle) + 40))
    assert all(open_files(child) > files for child, files in zip(children, idle, strict=True))
    for _, writer in kept:
        writer.close()

    killed, survivor = children
    os.kill(killed, signal.SIGKILL)
    statuses = Counter[int]()
    for number in range(1, 41):  # also those whose connection waits for the new process
        async with browser.post(
            service.url + RESERVE, json=callback(reservation_id=str(number))
        ) as response:
            statuses[response.status] += 1
    assert statuses == {200: 40}
    assert await service.says("An API process ended with status -9; starting another")
    (*_, replacement) = await service.says(r"API process (\d+) listens", times=3)
    assert is_alive(survivor)
    assert int(replacement[1]) not in children

    # The parent leaves nothing behind, however it ends.
    service.process.kill()
    orphans = survivor, int(replacement[1])
    await becomes(lambda: asyncio.sleep(0, not any(map(is_alive, orphans))))
    assert await is_closed(service)


async def test_it_starts_without_postgresql_and_heals_by_itself(
    start: Start, browser: Browser, cluster: str
) -> None:
    admin = await asyncpg.connect(cluster)
    name = f"holdfast_late_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        async with link_to(with_database(cluster, name)) as link:
            link.is_refusing = True
            service = await start("serve", database_url=link.url, port=0)
            await service.listens()
            assert not [line for line in service.log if "Serving on" in line]
            place = link.url.partition("@")[2]
            await service.says(f"not serving yet: PostgreSQL at {place}: ")
            answers = {}
            for method, path, body in (
                ("GET", "/health/live", None),
                ("GET", "/health/ready", None),
                ("POST", RESERVE, callback()),
            ):
                async with browser.request(method, service.url + path, json=body) as response:
                    answers[path] = response.status
                    assert (response.status == 503) == ("Retry-After" in response.headers)
            assert answers == {"/health/live": 200, "/health/ready": 503, RESERVE: 503}
            await service.says("Waiting for PostgreSQL")
            link.heal()

            async def is_ready() -> bool:
                async with browser.get(service.url + "/health/ready") as response:
                    return response.status == 200

            await becomes(is_ready)
            async with browser.post(service.url + RESERVE, json=callback()) as response:
                assert (await response.json())["code"] in ("unknown_product", "unknown_store")
            await service.says("Store main has no products yet")
            await service.serves()
            assert await service.stop() == 0
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_sigterm_is_heard_while_another_one_migrates(
    start: Start, browser: Browser, stocked: Stocked, dsn: str
) -> None:
    await stocked({"7": 5})
    other = await asyncpg.connect(dsn)
    await other.execute("SELECT pg_advisory_lock($1)", LOCK)
    service = await (await start("serve", database_url=dsn, port=0)).listens()
    assert await service.says("not serving yet: the database is being prepared")
    async with browser.post(service.url + RESERVE, json=callback()) as response:
        assert response.status == 200
    is_waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name <> 'holdfast' AND pid <> pg_backend_pid())"
    )
    await becomes(lambda: other.fetchval(is_waiting))
    assert await service.stop(seconds=10) == 0
    await other.close()
