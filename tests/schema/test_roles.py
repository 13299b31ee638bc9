"""Roles and logins: made where they may be, mended where they were lost, named where they miss."""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from aiohttp.test_utils import TestClient

from service.app import create_app
from service.database import migrate
from service.database.connections import connected
from service.database.embedded.server import Postgres
from service.database.pool import Database
from service.database.roles import OWNER, shortcomings
from service.database.sql_files import read_file
from service.settings import Settings
from tests.support.aliases import Api, RunProgram
from tests.support.databases import make_bare
from tests.support.processes import finish
from tests.support.servers import RealServer, with_database
from tests.support.snapshots import fetch, snapshot, until

ALL_FOUR_WAIT_FOR_LOCKS = "SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class BareCluster(NamedTuple):
    """A cluster without our roles."""

    url: str
    admin: Any

    async def login(self, name: str, attributes: str = "", database: str = "") -> str:
        """Make a login, and a database that it owns unless there is one; its URL."""
        await self.admin.execute(f"CREATE ROLE {name} LOGIN {attributes}")
        if not database:
            database = f"of_{name}"
            await self.admin.execute(f"CREATE DATABASE {database} OWNER {name}")
        return with_database(self.url.replace("postgres@", f"{name}@"), database)


@pytest.fixture(scope="module")
async def bare_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    bin_dir = os.environ.get("HOLDFAST_TEST_BIN_DIR")
    postgres = Postgres(
        tmp_path_factory.mktemp("bare"),
        bin_dir=Path(bin_dir) if bin_dir else None,
        options={"fsync": "off", "shared_buffers": "32MB", "max_connections": "40"},
    )
    async with postgres:
        yield postgres


@pytest.fixture
async def bare(bare_server: Postgres) -> AsyncIterator[BareCluster]:
    """The cluster, bare of our roles; what a test made in it goes afterwards."""
    admin = await asyncpg.connect(bare_server.url)
    await make_bare(admin)
    yield BareCluster(bare_server.url, admin)
    await make_bare(admin)
    await admin.close()


async def reserve(owner_url: str, service_url: str) -> tuple[str, str]:
    """Stock a product by the one login, reserve it by the other: role at work, result code."""
    async with connected(owner_url, OWNER) as owner:
        await owner.execute(
            "SELECT create_store('main');"
            "INSERT INTO products (store_id, product_id) VALUES ('main', '7')"
            " ON CONFLICT DO NOTHING;"
            "UPDATE stock SET on_hand = on_hand + 3"
        )
    async with connected(service_url, "holdfast_service") as service:
        reserved = await service.fetchrow(
            "SELECT current_user::text, result_code FROM reserve_stock('main', $1, '7', 3)",
            secrets.token_hex(4),
        )
    return tuple(reserved)


async def test_a_login_that_may_not_create_roles_goes_on_without(
    bare: BareCluster, caplog: pytest.LogCaptureFixture
) -> None:
    url = await bare.login("plain")
    await migrate.upgrade_in_thread(url)
    assert "There is no holdfast_owner, holdfast_reader, holdfast_service, holdfast" in caplog.text
    assert await reserve(url, url) == ("plain", "ok")

    # Later an administrator makes them: their rights are then granted, too.
    await bare.admin.execute(read_file("roles/roles.sql"))
    await migrate.upgrade_in_thread(url)
    as_admin = with_database(bare.url, "of_plain")
    assert await reserve(url, as_admin) == ("holdfast_service", "ok")
    await bare.admin.execute("GRANT holdfast_owner, holdfast_service TO plain")
    await migrate.upgrade_in_thread(url)
    await migrate.upgrade_in_thread(as_admin)
    await asyncio.to_thread(migrate.downgrade, as_admin, "base")
    assert "schema holdfast" not in await snapshot(url)


async def test_a_login_with_createrole_needs_no_superuser(
    bare: BareCluster, caplog: pytest.LogCaptureFixture
) -> None:
    url = await bare.login("keeper", "CREATEROLE")
    with caplog.at_level(logging.WARNING):
        await migrate.upgrade_in_thread(url)
        assert await reserve(url, url) == ("holdfast_service", "ok")
    assert caplog.text == ""
    owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = $1"
    schema = (await fetch(url, "SELECT 'holdfast'::regnamespace::oid"))[0][0]
    assert await fetch(url, owners, schema) == [("holdfast_owner",)]
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "schema holdfast" not in await snapshot(url)


async def test_separate_logins_for_the_owner_and_the_service(bare: BareCluster) -> None:
    await bare.admin.execute(read_file("roles/roles.sql"))
    owner_url = await bare.login("releases", "IN ROLE holdfast_owner")
    service_url = await bare.login("web", "IN ROLE holdfast_service", database="of_releases")
    await migrate.upgrade_in_thread(owner_url)
    assert await reserve(owner_url, service_url) == ("holdfast_service", "ok")
    with pytest.raises(migrate.NotOwner):
        await migrate.upgrade_in_thread(service_url)


async def test_four_databases_of_a_cluster_without_roles_at_once(
    bare: BareCluster, run: RunProgram
) -> None:
    keeper = await bare.login("keeper", "CREATEROLE")
    urls = [with_database(keeper, f"of_four_{number}") for number in range(4)]
    for number in range(4):
        await bare.admin.execute(f"CREATE DATABASE of_four_{number} OWNER keeper")
    async with bare.admin.transaction():
        await bare.admin.execute("LOCK TABLE pg_authid IN SHARE MODE")  # stops CREATE ROLE
        processes = [
            await run("alembic", "upgrade", "head", HOLDFAST_DATABASE_URL=url) for url in urls
        ]
        await until(bare.url, ALL_FOUR_WAIT_FOR_LOCKS)
    for status, output in await asyncio.gather(*map(finish, processes)):
        assert (status, output) == (0, "")
    first, *others = [await snapshot(url) for url in urls]
    assert all(other == first for other in others)


async def said_by(connection: Any) -> str:
    return "\n".join(await shortcomings(connection))


async def test_a_migrated_database_lacks_nothing(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    assert await shortcomings(connection) == []
    await connection.close()


async def test_each_missing_role_and_right_is_named_with_its_remedy(bare: BareCluster) -> None:
    url = await bare.login("keeper", "CREATEROLE")
    await migrate.upgrade_in_thread(url)
    admin = await asyncpg.connect(with_database(bare.url, "of_keeper"))
    for statement, said in (
        ("REVOKE ALL ON SCHEMA holdfast FROM holdfast_reader", "holdfast_reader lacks 1 rights"),
        (
            "REVOKE EXECUTE ON FUNCTION holdfast.reserve_stock FROM holdfast_service",
            "holdfast_service lacks 1 rights, such as EXECUTE on FUNCTION reserve_stock.",
        ),
        ("REVOKE SELECT ON holdfast.stock FROM holdfast_reader", "SELECT on TABLE stock."),
        ("ALTER TABLE holdfast.stock OWNER TO postgres", "1 objects are not holdfast_owner's"),
        ("DROP OWNED BY holdfast_worker; DROP ROLE holdfast_worker", "no role holdfast_worker."),
    ):
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute(statement)
        assert said in await said_by(admin)
        assert "To mend it: python -m service migrate" in await said_by(admin)
        await transaction.rollback()
    assert await said_by(admin) == ""
    await admin.close()


async def restored_without_roles(bare: BareCluster, server: Postgres, folder: Path) -> str:
    """A database with stock, dumped and restored after all our roles have gone; its URL."""
    url = await bare.login("first", "SUPERUSER")
    await migrate.upgrade_in_thread(url)
    assert await reserve(url, url) == ("holdfast_service", "ok")
    dump = folder / "dump"
    await run_to_end(server.bin_dir / "pg_dump", "-Fc", f"--file={dump}", url)
    await make_bare(bare.admin)
    url = await bare.login("second", "SUPERUSER")
    await run_to_end(server.bin_dir / "pg_restore", f"--dbname={url}", dump, may_fail=True)
    return url


async def run_to_end(*command: Any, may_fail: bool = False) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert may_fail or process.returncode == 0, said.decode()


async def test_a_dump_restored_without_its_roles_is_named_and_mended(
    bare: BareCluster, bare_server: Postgres, tmp_path: Path, run: RunProgram
) -> None:
    url = await restored_without_roles(bare, bare_server, tmp_path)
    status, output = await finish(await run("service", "check", HOLDFAST_DATABASE_URL=url))
    assert status == 1
    for role in ("owner", "service", "worker", "reader"):
        assert f"There is no role holdfast_{role}." in output
    assert "To mend it: python -m service migrate" in output

    # As long as it is not mended, nothing answers 500, and ready says what is to be done.
    await bare.admin.execute(read_file("roles/roles.sql"))
    client: Api = TestClient(RealServer(create_app(Settings(), Database(url))))
    async with client:
        answers = [await client.get("/health/ready"), await client.get("/api/v1/reservations/r")]
        assert [response.status for response in answers] == [503, 503]
        ready = await answers[0].json()
        assert ready["code"] == "database_unavailable"
        assert "python -m service migrate" in ready["detail"]
        status, output = await finish(await run("service", "check", HOLDFAST_DATABASE_URL=url))
        assert status == 2
        assert "objects are not holdfast_owner's" in output
        assert "permission denied for schema holdfast" in output

        status, output = await finish(await run("service", "migrate", HOLDFAST_DATABASE_URL=url))
        assert (status, output.count("\n")) == (0, 1)
        assert (await client.get("/health/ready")).status == 200
    status, output = await finish(await run("service", "check", HOLDFAST_DATABASE_URL=url))
    assert (status, output) == (0, "Healthy: no invariant is broken.\n")
    fresh = await bare.login("third", "SUPERUSER")
    await migrate.upgrade_in_thread(fresh)
    assert owners_and_rights(await snapshot(url)) == owners_and_rights(await snapshot(fresh))


def owners_and_rights(found: dict[str, str]) -> dict[str, list[str]]:
    """Of all that is ours; a dump writes the brackets of a constraint or trigger in its own way."""
    ours = {name: text for name, text in found.items() if "holdfast" in name}
    return {name: re.findall("^(?:owner|rights): .*", text, re.M) for name, text in ours.items()}


async def test_what_an_administrator_runs_makes_logins_that_do(
    bare: BareCluster, run: RunProgram
) -> None:
    status, script = await finish(await run("service", "migrate", "--sql-roles"))
    assert status == 0
    await bare.admin.execute("CREATE DATABASE of_two")
    database = with_database(bare.url, "of_two")
    for _ in range(2):
        admin = await asyncpg.connect(database, server_settings={"holdfast.password": "it's"})
        await admin.execute(script)
        await admin.close()
    owner = database.replace("postgres@", "holdfast_admin@")
    service = database.replace("postgres@", "holdfast_login@")
    status, output = await finish(
        await run(
            *("service", "migrate"), HOLDFAST_MIGRATION_URL=owner, HOLDFAST_DATABASE_URL=service
        )
    )
    assert (status, output.count("\n")) == (0, 1)
    assert await reserve(owner, service) == ("holdfast_service", "ok")
    hashed = "SELECT rolname::text FROM pg_authid WHERE rolpassword ~ 'SCRAM' ORDER BY 1"
    logins = [("holdfast_admin",), ("holdfast_login",), ("postgres",)]
    assert await fetch(bare.url, hashed) == logins
    with pytest.raises(migrate.NotOwner):
        await migrate.upgrade_in_thread(service)
    psql = ("service", "psql", "--url", "--as", "owner")
    status, output = await finish(
        await run(*psql, HOLDFAST_MIGRATION_URL=owner, HOLDFAST_DATABASE_URL=service)
    )
    assert "holdfast_admin@" in output


async def path_of(url: str) -> Any:
    """The search_path of a plain session, and whether it finds our tables."""
    rows = await fetch(url, "SELECT current_setting('search_path'), to_regclass('stock_levels')")
    return rows[0][0], rows[0][1] is not None


async def test_a_plain_session_finds_the_tables_after_each_migration(
    bare: BareCluster, caplog: pytest.LogCaptureFixture
) -> None:
    url = await bare.login("keeper", "CREATEROLE CREATEDB")
    usual = await path_of(url)
    await migrate.upgrade_in_thread(url)
    assert await path_of(url) == ('"$user", public, holdfast', True)
    await bare.admin.execute("CREATE DATABASE of_copy OWNER keeper TEMPLATE of_keeper")
    copy = with_database(url, "of_copy")
    assert await path_of(copy) == usual
    await migrate.upgrade_in_thread(copy)
    assert await path_of(copy) == ('"$user", public, holdfast', True)

    # What the DBA has chosen stays; ours comes last.
    await bare.admin.execute("ALTER DATABASE of_copy SET search_path = 'of the DBA', public")
    await migrate.upgrade_in_thread(copy)
    assert await path_of(copy) == ('"of the DBA", public, holdfast', True)
    await asyncio.to_thread(migrate.downgrade, copy, "base")
    assert await path_of(copy) == ('"of the DBA", public', False)
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert await path_of(url) == usual
    assert caplog.text == ""

    await bare.admin.execute("CREATE ROLE guest LOGIN IN ROLE holdfast_owner")
    await bare.admin.execute("GRANT CREATE ON DATABASE of_copy TO guest")
    await migrate.upgrade_in_thread(copy.replace("keeper@", "guest@"))
    assert "ALTER DATABASE of_copy SET search_path" in caplog.text


async def test_a_login_that_may_make_no_extension_is_told_who_can(
    bare: BareCluster, run: RunProgram
) -> None:
    await bare.admin.execute(read_file("roles/roles.sql"))
    await bare.admin.execute("CREATE DATABASE of_the_admin")
    url = await bare.login("poor", "IN ROLE holdfast_owner", database="of_the_admin")
    as_admin = with_database(bare.url, "of_the_admin")
    await fetch(as_admin, "CREATE SCHEMA holdfast AUTHORIZATION holdfast_owner")
    made: list[str] = []
    while len(made) < 5:
        command_line = (("alembic", "upgrade", "head"), ("service", "migrate"))[len(made) % 2]
        status, output = await finish(await run(*command_line, HOLDFAST_DATABASE_URL=url))
        if status == 0:
            break
        assert "Traceback" not in output
        said = re.search(
            r"This login may not make the extension (\w+)\. An administrator can, in this"
            r" database: (CREATE EXTENSION .*)\. Then migrate again\.$",
            output.strip(),
        )
        assert said, output
        made.append(said[1])
        await fetch(as_admin, said[2])
    assert made == ["btree_gist", "btree_gin", "pg_trgm"]
    assert await reserve(url, as_admin) == ("holdfast_service", "ok")
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "extension pg_trgm" in await snapshot(url), "it is not ours to take away"


async def test_an_extension_that_is_elsewhere_is_taken_as_it_is(bare: BareCluster) -> None:
    url = await bare.login("plain")
    await fetch(url, 'CREATE SCHEMA "of the DBA"')
    await fetch(url, 'CREATE EXTENSION pg_trgm SCHEMA "of the DBA"')
    await migrate.upgrade_in_thread(url)
    index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'products_by_trigrams'"
    assert '"of the DBA".gin_trgm_ops' in (await fetch(url, index))[0][0]
    await fetch(url, "CREATE TABLE of_the_dba (a text)")
    await fetch(url, 'CREATE INDEX ON of_the_dba USING gin (a "of the DBA".gin_trgm_ops)')
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "extension pg_trgm" in await snapshot(url), "the DBA's index needs it"
