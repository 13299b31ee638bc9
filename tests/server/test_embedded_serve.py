"""`serve` on its own PostgreSQL, as it is without any setting: the folder is all there is."""

import asyncio
import shutil
import signal
from pathlib import Path

import aiohttp

from tests.support.builders import RESERVE, SECRET, callback
from tests.support.processes import Start


async def test_the_first_user_may_come_before_the_first_start(
    start: Start, browser: aiohttp.ClientSession, data_dir: Path
) -> None:
    create = await start("user", "create", "boss", "--role", "admin", data_dir=data_dir)
    assert await create.ends() == 0
    assert await create.says("^Setting up the database in ")
    (password,) = await create.says(r"^Password, not shown again: (\S+)$")
    production = {"environment": "production", "jwt_secret": SECRET}
    service = await (await start("serve", data_dir=data_dir, port=0, **production)).serves()
    body = {"login": "boss", "password": password[1]}
    async with browser.post(service.url + "/api/v1/auth", json=body) as response:
        assert response.status == 200
    assert await service.stop() == 0
    again = await start("key", "list", data_dir=data_dir)
    assert await again.ends() == 0
    assert not [line for line in again.log if "Setting up" in line]


async def test_the_service_and_its_postgresql_live_and_die_together(
    start: Start, browser: aiohttp.ClientSession, data_dir: Path
) -> None:
    settings = {"data_dir": data_dir, "port": 0}

    async def reserve(url: str, number: int) -> int:
        body = callback(reservation_id=str(number), product_id="1", quantity=1)
        async with browser.post(url + RESERVE, json=body) as response:
            return response.status

    service = await (await start("serve", "--demo", **settings)).serves()
    assert await reserve(service.url, 1) == 200

    second = await start("serve", **settings)
    assert await second.ends() == 2
    assert await second.says(f"{data_dir} is in use by process {service.process.pid}")

    check, psql = await start("check", **settings), await start("psql", "--url", **settings)
    assert await check.ends() == 0
    assert check.log == ["Healthy: no invariant is broken."]
    assert await psql.ends() == 0
    if libpq := shutil.which("psql"):
        ask = "SELECT current_user, reserved FROM stock_levels WHERE product_id = '1'"
        process = await asyncio.create_subprocess_exec(
            *(libpq, "-AtX", psql.log[0], "-c", ask), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert said.decode() == "holdfast_reader|1\n"

    await service.stop(signal.SIGKILL)
    service = await (await start("serve", "--demo", **settings)).serves()
    assert await reserve(service.url, 1) == 200
    assert await reserve(service.url, 2) == 200
    assert await service.stop() == 0

    check = await start("check", **settings)
    assert await check.ends() == 0
    assert check.log == ["Healthy: no invariant is broken."]
    # Not beside the check, whose borrowed server it would find.
    psql = await start("psql", "--url", **settings)
    assert await psql.ends() == 2
    assert await psql.says("PostgreSQL is not running")
