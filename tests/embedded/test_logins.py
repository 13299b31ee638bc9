"""The embedded server's logins: whatever a session of the service sets, it stays a lesser one."""

from pathlib import Path
from typing import Any

import asyncpg

from service.database import migrate
from service.database.connections import connected
from service.database.embedded.server import Postgres
from tests.embedded.test_embedded import BINARIES, OPTIONS, each_version

SECRETS = "SELECT password_hash FROM holdfast.users"


async def refused(connection: Any, statement: str) -> bool:
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


@each_version
async def test_the_service_s_login_owns_nothing_and_cannot_become_more(
    data_dir: Path, bin_dir: Path
) -> None:
    async with Postgres(data_dir, bin_dir=bin_dir, options=OPTIONS) as server:
        await migrate.upgrade_in_thread(server.urls.owner)
        for role in ("holdfast_service", "holdfast_worker"):
            async with connected(server.urls.service, role) as session:
                assert await session.fetchval("SELECT current_user") == role
                for attempt in (
                    "SET ROLE NONE", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT",
                    "DISCARD ALL", "RESET ALL",
                ):  # fmt: skip
                    await session.execute(attempt)
                    assert await refused(session, SECRETS), attempt
                    assert await refused(session, "UPDATE holdfast.stock SET on_hand = 7")
                    assert await refused(session, "CREATE TABLE holdfast.mine ()")
                for role_ in ("postgres", "holdfast_owner", "holdfast_reader", "holdfast_admin"):
                    assert await refused(session, f"SET ROLE {role_}"), role_
                    assert await refused(session, f"SET SESSION AUTHORIZATION {role_}"), role_
                assert await refused(session, "COPY (SELECT 1) TO PROGRAM 'true'")
                assert await refused(session, "ALTER ROLE holdfast_login SUPERUSER")


async def test_the_owner_s_login_is_no_superuser_and_owns_no_table(data_dir: Path) -> None:
    async with Postgres(data_dir, bin_dir=BINARIES[0][1], options=OPTIONS) as server:
        await migrate.upgrade_in_thread(server.urls.owner)
        admin = await asyncpg.connect(server.urls.owner)
        owned = "SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) ~ 'admin|login'"
        assert await admin.fetch(owned) == []
        assert await admin.fetch("SELECT * FROM holdfast.stock_levels") == []
        assert await refused(admin, "CREATE ROLE more")
        assert await refused(admin, "SET ROLE postgres")
        assert await refused(admin, "SELECT pg_read_file('postgresql.conf')")
        await admin.close()


@each_version
async def test_the_reader_sees_which_statements_take_how_long(
    data_dir: Path, bin_dir: Path
) -> None:
    options = {name: value for name, value in OPTIONS.items() if "preload" not in name}
    async with Postgres(data_dir, bin_dir=bin_dir, options=options) as server:
        await migrate.upgrade_in_thread(server.urls.owner)
        async with connected(server.urls.service, "holdfast_service") as service:
            await service.fetch("SELECT * FROM reserve_stock('main', 'r', 'p', 1)")
            await service.execute("SET application_name = 'hush'")
        async with connected(server.urls.owner, "holdfast_reader") as reader:
            told = await reader.fetch("SELECT query, calls FROM public.pg_stat_statements")
    queries = [row["query"] for row in told]
    assert "SELECT * FROM reserve_stock($1, $2, $3, $4)" in queries
    assert not [query for query in queries if "hush" in query or "PASSWORD" in query]


async def test_a_folder_of_an_earlier_release_gets_its_logins(data_dir: Path) -> None:
    async with Postgres(data_dir, options=OPTIONS) as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute("ALTER DATABASE holdfast OWNER TO postgres")
        for login in ("holdfast_login", "holdfast_admin"):
            await admin.execute(f"DROP OWNED BY {login}; DROP ROLE {login}")
        await admin.close()
        file = data_dir / "pgpass"
        password = file.read_text().rpartition(":")[2]
        file.write_text(f"127.0.0.1:{server.port}:*:postgres:{password}")
    async with Postgres(data_dir, options=OPTIONS) as server:
        await migrate.upgrade_in_thread(server.urls.owner)
        async with connected(server.urls.service, "holdfast_service") as session:
            assert await session.fetchval("SELECT session_user") == "holdfast_login"
        tcp = server.psql_url.partition("?")[0] + f"?password={password.strip()}"
        admin = await asyncpg.connect(tcp)
        assert await admin.fetchval("SELECT user") == "holdfast_admin"
        await admin.close()
