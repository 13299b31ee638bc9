"""The embedded PostgreSQL where something is wrong: real servers, real obstacles."""

import asyncio
import fcntl
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.database.embedded import postmaster
from service.database.embedded.account import ENVIRONMENT
from service.database.embedded.binaries import find_binaries, installed_binaries
from service.database.embedded.files import EmbeddedError, read_pid_file
from service.database.embedded.installation import LARGEST_LOG
from service.database.embedded.server import AlreadyRunning, Postgres, borrowed, running_urls
from tests.embedded.test_embedded import (
    BINARIES,
    OPTIONS,
    as_root,
    ask,
    becomes,
    is_alive,
    mode_of,
    running,
    status_of,
)

NOBODY = 65534
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture(scope="module")
async def cluster_to_copy() -> AsyncIterator[Path]:
    """A data folder with a cluster, nobody's."""
    parent = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    parent.chmod(0o711)
    try:
        async with running(parent / "data"):
            pass
        yield parent / "data"
    finally:
        shutil.rmtree(parent)


@pytest.fixture
def made(data_dir: Path, cluster_to_copy: Path) -> Path:
    """The data folder with a cluster in it, whose server does not run."""
    subprocess.run(["cp", "-a", cluster_to_copy, data_dir], check=True)
    return data_dir


@contextmanager
def ordinary_user(folder: Path) -> Iterator[int]:
    """This very process as a user without rights, who owns the folder; yields the user's id."""
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    os.chown(folder, NOBODY, NOBODY)
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield NOBODY
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """The data folder in the hands of someone who starts no server."""
    data_dir.mkdir(exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def start_by_hand(
    spawned: list[subprocess.Popen[str]], server: Postgres, **settings: str
) -> subprocess.Popen[str]:
    """A server on the same cluster and address that is no business of the service."""
    settings |= {
        "port": str(server.port),
        "listen_addresses": "",
        "unix_socket_directories": str(server.installation.socket_dir),
        "shared_buffers": "16MB",
    }
    here = server.installation
    words = [word for item in settings.items() for word in ("-c", "=".join(item))]
    process = subprocess.Popen(
        [*here.wrapper, here.bin_dir / "postgres", "-D", here.pgdata, *words],
        cwd="/",
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    spawned.append(process)
    return process


def is_ready(data_dir: Path, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None
    state = read_pid_file(data_dir / "postgres")
    return state is not None and state.pid == process.pid and state.is_ready


async def test_a_data_folder_that_is_a_file_is_refused(data_dir: Path) -> None:
    data_dir.write_text("Chapter one")
    with pytest.raises(EmbeddedError, match="no use"):
        await Postgres(data_dir).start()
    with pytest.raises(EmbeddedError, match="no use"):
        running_urls(data_dir)
    with pytest.raises(EmbeddedError, match="cannot be read"):
        find_binaries(data_dir)
    assert data_dir.read_text() == "Chapter one"


async def test_what_the_system_refuses_is_told_and_the_folder_let_go(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "run").write_text("in the socket folder's place")
    for _ in range(2):
        with pytest.raises(EmbeddedError, match="Not a directory"):
            await Postgres(data_dir).start()


async def test_a_version_nobody_can_read_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("fifteen\n")
    with pytest.raises(EmbeddedError, match=r"cannot be read: .*fifteen"):
        await Postgres(data_dir).start()


async def test_a_long_log_is_set_aside(made: Path) -> None:
    log, aside = made / "postgres.log", made / "postgres.log.1"
    assert not aside.exists()
    os.truncate(log, LARGEST_LOG + 1)
    async with running(made) as server:
        assert await ask(server.url, "SELECT 1") == 1
    assert aside.stat().st_size == LARGEST_LOG + 1
    assert 0 < log.stat().st_size < 10**6
    assert mode_of(log) == 0o600


async def test_initdb_that_runs_out_of_space_leaves_nothing_half_done(data_dir: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limit[1]))  # a segment of WAL has 16 MB
    try:
        with pytest.raises(EmbeddedError, match=r"initdb failed:\n.*"):
            await Postgres(data_dir, options=OPTIONS).start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(data_dir.glob("initdb-*"))
    assert not (data_dir / "postgres").exists()


async def test_an_administrator_who_locked_us_out_is_told(made: Path) -> None:
    rules = made / "postgres" / "pg_hba.conf"
    mine = rules.read_text()
    rules.write_text("local all all reject\n")
    server = Postgres(made, options=OPTIONS)
    with pytest.raises(EmbeddedError, match=r"refuses our connection.*pg_hba\.conf rejects"):
        await server.start()
    assert server.pid is None
    rules.write_text(mine)
    async with running(made) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_port_taken_meanwhile_is_given_up_for_another(made: Path) -> None:
    def noted() -> int:
        return int((made / "pgpass").read_text().split(":")[1])

    before = noted()
    with socket.create_server(("127.0.0.1", before)):
        async with running(made) as server:
            assert noted() != before
            assert f":{noted()}/" in server.psql_url
            assert await ask(server.url, "SHOW port") == str(noted())


async def test_a_port_that_was_asked_for_and_stays_taken_is_reported(
    made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postmaster, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        server = Postgres(made, options={**OPTIONS, "port": port})
        with pytest.raises(EmbeddedError, match="could not create any TCP/IP sockets"):
            await server.start()
    assert server.pid is None
    log = (made / "postgres.log").read_text()
    assert log.count("could not create any TCP/IP sockets") > 1  # it tried again meanwhile
    assert caplog.text.count("an earlier PostgreSQL still uses") == 1


@linux_only
async def test_a_server_started_by_hand_is_left_alone(
    made: Path,
    spawned: list[subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(made) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    other = start_by_hand(spawned, server)
    await becomes(lambda: is_ready(made, other))
    with monkeypatch.context() as impatient:
        impatient.setattr(postmaster, "PATIENCE", 0.3)
        with pytest.raises(EmbeddedError, match=r"Another PostgreSQL runs on .* stop it first"):
            await Postgres(made, options=OPTIONS).start()
    assert caplog.text.count("an earlier PostgreSQL still uses") == 1
    assert is_ready(made, other)
    assert await ask(server.url, "SELECT answer FROM kept") == 42
    assert running_urls(made) is None  # it is none of ours

    starting = asyncio.create_task(server.start())
    await becomes(lambda: caplog.text.count("an earlier PostgreSQL still uses") == 2)
    other.send_signal(signal.SIGINT)
    await starting
    assert await ask(server.url, "SELECT answer FROM kept") == 42
    await server.stop()


@linux_only
async def test_a_dead_server_is_tried_again_until_it_can_start_and_never_beside_another(
    made: Path,
    spawned: list[subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(postmaster, "PAUSES", (0.0, 0.1))

    def deaths() -> int:
        return caplog.text.count("ended by itself")

    def failures() -> int:
        return caplog.text.count("PostgreSQL did not start")

    async with running(made) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        pgdata = server.installation.pgdata
        settings, good = pgdata / "postgresql.conf", pgdata / "good.conf"
        shutil.copy(settings, good)
        os.chown(good, *server.installation.account)
        settings.write_text(good.read_text() + "max_wal_size = plenty\n")
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        await becomes(lambda: failures() >= 2)
        assert 'invalid value for parameter "max_wal_size": "plenty"' in caplog.text
        assert server.pid is None

        other = start_by_hand(spawned, server, config_file=str(good))
        await becomes(lambda: is_ready(made, other))
        seen = deaths()
        await becomes(lambda: deaths() >= seen + 2)  # the try that was under way is over
        tries, seen = failures(), deaths()
        await becomes(lambda: deaths() >= seen + 2)
        assert failures() == tries
        assert is_ready(made, other)

        good.replace(settings)
        other.send_signal(signal.SIGINT)
        await becomes(lambda: other.poll() is not None)
        await becomes(lambda: server.pid and running_urls(made) == server.urls)
        assert await ask(server.url, "SELECT answer FROM kept") == 42


async def test_a_frozen_server_is_killed_in_the_end(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = tuple((sign, min(seconds, 0.3)) for sign, seconds in postmaster.SHUTDOWN[:-1])
    monkeypatch.setattr(postmaster, "SHUTDOWN", (*patience, postmaster.SHUTDOWN[-1]))
    async with running(made) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = server.pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
    assert server.pid is None
    assert not is_alive(pid)
    async with running(made) as server:
        assert await ask(server.url, "SELECT answer FROM kept") == 42


async def test_a_command_does_not_wait_for_ever_for_whoever_holds_the_folder(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "PATIENCE", 0.3)
    with locked(data_dir):
        with pytest.raises(AlreadyRunning, match="in use by process unknown"):
            async with borrowed(data_dir):
                pytest.fail("there is nothing to borrow")


def test_a_server_that_died_under_its_service_is_not_borrowed(data_dir: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (data_dir / "postgres").mkdir(parents=True)
    notes = "{pid}\n" + f"{data_dir}/postgres\n1700000000\n5433\n{data_dir}/run\n\n\n"
    pid_file = data_dir / "postgres" / "postmaster.pid"
    with locked(data_dir):
        for pid, state, is_there in (
            (gone.pid, "ready   ", False),
            (os.getpid(), "starting", False),
            (os.getpid(), "ready   ", True),
        ):
            pid_file.write_text(notes.format(pid=pid) + state + "\n")
            assert (running_urls(data_dir) is not None) == is_there
        assert "port=5433" in str(running_urls(data_dir))
    pid_file.unlink()


def test_programs_named_by_pg_config_count_if_they_bring_btree_gist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_dir, path = tmp_path / "pgsql" / "bin", tmp_path / "path"
    control = tmp_path / "pgsql" / "share" / "extension" / "btree_gist.control"
    for folder in (bin_dir, path, control.parent):
        folder.mkdir(parents=True)
    for program, said in (
        (bin_dir / "postgres", "postgres (PostgreSQL) 99.1"),
        (bin_dir / "initdb", "initdb (PostgreSQL) 99.1"),
        (path / "pg_config", bin_dir),
    ):
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(path))
    assert 99 not in dict(installed_binaries())
    control.touch()
    assert installed_binaries()[0] == (99, bin_dir)
    assert find_binaries() == bin_dir

    (path / "pg_config").unlink()
    found = installed_binaries()
    assert set(found) <= set(BINARIES)
    assert all(pair in found for pair in BINARIES if pair[1].is_relative_to("/usr/lib/postgresql"))


async def test_programs_that_the_account_cannot_run_are_reported(data_dir: Path) -> None:
    programs = data_dir.parent / "bin"
    programs.mkdir()
    (programs / "postgres").symlink_to(BINARIES[0][1] / "postgres")
    (programs / "initdb").write_text("not executable")
    with pytest.raises(EmbeddedError, match=rf"User \d+ cannot run {programs} .*ermission denied"):
        await Postgres(data_dir, bin_dir=programs).start()
    with ordinary_user(data_dir.parent) as user:
        folder = data_dir.with_name("another")
        with pytest.raises(EmbeddedError, match=f"User {user} cannot run .*ermission denied"):
            await Postgres(folder, bin_dir=programs).start()


@pytest.mark.parametrize("setpriv", [True, False])
async def test_an_ordinary_user_s_server_is_the_user_s(
    data_dir: Path, setpriv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not setpriv:
        monkeypatch.setenv("PATH", "/nowhere")
    with ordinary_user(data_dir.parent) as user:
        async with running(data_dir, BINARIES[0][1]) as server:
            assert server.pid
            has_setpriv = setpriv and shutil.which("setpriv") is not None
            assert bool(server.installation.wrapper) == has_setpriv
            assert status_of(server.pid, "Uid") == [str(user)] * 4
            assert (data_dir / "postgres").stat().st_uid == user
            assert await ask(server.url, "SELECT 1") == 1


@as_root
async def test_root_without_setpriv_is_told_what_to_install(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedError, match=r"setpriv \(util-linux\) is missing"):
        await Postgres(data_dir, bin_dir=BINARIES[0][1]).start()
    assert not (data_dir / "postgres").exists()


@as_root
async def test_root_s_data_are_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    with pytest.raises(EmbeddedError, match="is root's, but PostgreSQL does not run as root"):
        await Postgres(data_dir).start()


@as_root
async def test_a_socket_folder_of_another_user_is_refused(data_dir: Path) -> None:
    (data_dir / "run").mkdir(parents=True)
    os.chown(data_dir / "run", 54321, 54321)
    with pytest.raises(EmbeddedError, match="run belongs to another user"):
        await Postgres(data_dir).start()
    assert (data_dir / "run").stat().st_uid == 54321
