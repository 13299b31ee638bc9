"""The other commands: migrate, check, psql, and what they say when asked for help."""

import asyncio
import secrets
import shutil
import tomllib
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from service.__main__ import parser
from service.settings import ROOT
from tests.support.databases import empty_database
from tests.support.processes import Start
from tests.support.servers import with_database


async def test_check_is_quiet_about_a_healthy_store_and_prints_what_is_broken(
    start: Start, cluster: str, dsn: str, template: str
) -> None:
    healthy = await start("check", database_url=dsn)
    assert await healthy.ends() == 0
    assert healthy.log == ["Healthy: no invariant is broken."]

    # A copy of its own, so that the one that every test is judged by stays whole.
    admin = await asyncpg.connect(cluster)
    name = f"holdfast_broken_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        broken = await asyncpg.connect(with_database(cluster, name))
        await broken.execute(
            "SET search_path = holdfast; SELECT create_store('main');"
            "INSERT INTO products (store_id, product_id) VALUES ('main', '7');"
            "UPDATE stock SET on_hand = 5;"
            "UPDATE stock SET reserved = 3 WHERE product_id = '7'"
        )
        await broken.close()
        check = await start("check", database_url=with_database(cluster, name))
        assert await check.ends() == 1
        assert await check.says("main.*7")
        assert check.log[-1] == "1 broken invariants"
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_migrate_says_where_the_schema_stands(start: Start, dsn: str) -> None:
    for _ in range(2):
        migrate = await start("migrate", database_url=dsn)
        assert await migrate.ends() == 0
        assert await migrate.says(r"^The schema is at revision \d{4}, sql/ is installed\.$")


@pytest.mark.parametrize(
    ("role", "outcome"),
    [("reader", "cannot execute INSERT in a read-only transaction"), ("owner", "INSERT 0 1")],
)
async def test_psql_url_is_for_libpq_and_of_the_role_asked_for(
    start: Start, dsn: str, role: str, outcome: str
) -> None:
    if not (psql := shutil.which("psql")):
        pytest.skip("needs psql")
    command = await start("psql", "--url", "--as", role, database_url=dsn)
    assert await command.ends() == 0
    (url,) = command.log
    script = "SELECT current_user, count(*) FROM stock_levels; INSERT INTO stores VALUES ('new');"
    process = await asyncio.create_subprocess_exec(
        *(psql, "-AtX", url, "-c", script),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert f"holdfast_{role}|0\n" in said.decode()
    assert outcome in said.decode()


async def test_psql_hands_the_rest_to_psql_as_the_reader(start: Start, dsn: str) -> None:
    if not shutil.which("psql"):
        pytest.skip("needs psql")
    script = "SELECT current_user, current_setting('search_path')"
    command = await start("psql", "--", "-AtX", "-c", script, database_url=dsn)
    assert await command.ends() == 0
    assert command.log == ["holdfast_reader|holdfast,pg_temp"]


async def test_help_names_every_command(start: Start) -> None:
    command = await start("--help")
    assert await command.ends() == 0
    commands = "serve worker migrate check psql import-stock report outbox user key"
    for name in commands.split():
        assert await command.says(rf"^ +{name}\b")
    assert await command.says("HOLDFAST_")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("serve", "--demo"),
        ("migrate", "newest schema"),
        ("check", "1 if"),
        ("psql", "--as"),
        ("user", "create"),
        ("key", "revoke"),
        ("import-stock", "product_id and quantity"),
    ],
)
def test_a_command_says_what_it_is_for(
    capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args([command, "--help"])
    assert end.value.code == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["sell"], ["psql", "--as", "root"]])
def test_a_slip_in_the_command_line_is_misuse(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(arguments)
    assert end.value.code == 2
    assert "usage: python -m service" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["check"], ["psql", "--", "-c", "SELECT 1"], ["migrate"]])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://postgres:hush@127.0.0.1:1/x", "PostgreSQL at 127.0.0.1:1/x: .*refused"),
        ("{cluster}", 'PostgreSQL at .*/holdfast_nowhere: database "holdfast_nowhere" does not'),
    ],
)
async def test_a_command_that_cannot_reach_the_server_says_where_and_why(
    start: Start, cluster: str, url: str, said: str, arguments: list[str]
) -> None:
    missing = url.format(cluster=with_database(cluster, "holdfast_nowhere"))
    command = await start(*arguments, database_url=missing)
    assert await command.ends() == 2
    assert await command.says(f"^holdfast: {said}")
    assert len(command.log) == 1
    assert "hush" not in command.log[0]


async def test_a_command_on_a_database_without_the_schema_says_what_to_do(
    start: Start, cluster: str
) -> None:
    async with empty_database(cluster) as url:
        for arguments in (["check"], ["user", "create", "boss"], ["key", "list"]):
            command = await start(*arguments, database_url=url)
            assert await command.ends() == 2
            assert await command.says("^holdfast: .*python -m service migrate$")


async def test_a_login_that_may_not_be_the_reader_is_told_who_can_help(
    start: Start, dsn: str, sql: Any
) -> None:
    admin = await asyncpg.connect(dsn)
    login = f"holdfast_login_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'hush' IN ROLE holdfast_service")
    try:
        parts = urlsplit(dsn)
        host = parts.netloc.rpartition("@")[2]
        url = urlunsplit(parts._replace(netloc=f"{login}:hush@{host}"))
        command = await start("psql", "--", "-c", "SELECT 1", database_url=url)
        assert await command.ends() == 2
        assert await command.says("^holdfast: This login may not work as holdfast_reader .*GRANT")
    finally:
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def test_the_version_is_told_and_is_that_of_the_project(start: Start) -> None:
    command = await start("--version")
    assert await command.ends() == 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert command.log == [f"Holdfast {project['version']}"]
