"""Databases at head, and copies of what migrations read, for a test to change."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.database import migrate, sql_files
from service.database.connections import connected
from service.database.roles import OWNER
from service.settings import ROOT
from tests.support.aliases import NewDatabase, RunProgram
from tests.support.databases import copied_database, empty_database
from tests.support.snapshots import fetch, snapshot


@pytest.fixture
async def new_database(cluster: str) -> AsyncIterator[NewDatabase]:
    """new_database(): URL of an empty database of this test's own, or of a copy of a template."""
    async with AsyncExitStack() as stack:

        async def create(template: str = "template1") -> str:
            return await stack.enter_async_context(copied_database(cluster, template))

        yield create


@pytest.fixture(scope="session")
async def by_hand(
    cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A database made from the revisions and every file of sql/, and its snapshot.

    The files are run one by one as they are, without what `install_objects` makes of them.
    """
    async with empty_database(cluster) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sql_files, "SQL", copy_of_sql(tmp_path_factory.mktemp("sql")))
            (sql_files.SQL / "manifest.txt").write_text("")
            await migrate.upgrade_in_thread(url)
        async with connected(url, OWNER, seconds=None) as owner:
            for path in sql_files.manifest():
                await owner.execute((sql_files.SQL / path).read_text())
        yield url.partition("?")[0].rpartition("/")[2], await snapshot(url)


@pytest.fixture
def reference(by_hand: tuple[str, dict[str, str]]) -> dict[str, str]:
    """What a database at head must hold."""
    return by_hand[1]


@pytest.fixture
async def made(new_database: NewDatabase, by_hand: tuple[str, dict[str, str]]) -> str:
    """URL of a database at head, for statements that try to spoil it."""
    url = await new_database(by_hand[0])
    name = url.partition("?")[0].rpartition("/")[2]
    # A copy has lost it.
    await fetch(url, f'ALTER DATABASE {name} SET search_path = "$user", public, holdfast')
    return url


@pytest.fixture
def sql_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that migrations use during this test."""
    monkeypatch.setattr(sql_files, "SQL", copy_of_sql(tmp_path / "sql"))
    return sql_files.SQL


@pytest.fixture
def revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of alembic/versions that migrations use during this test."""
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic")
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    monkeypatch.setattr(migrate, "ROOT", tmp_path)
    return tmp_path / "alembic" / "versions"


@pytest.fixture
async def run() -> AsyncIterator[RunProgram]:
    """run("alembic", …, HOLDFAST_…=…): a Python program with these settings only."""
    processes = []

    async def start_program(*command: str, **settings: str) -> asyncio.subprocess.Process:
        others = {name: text for name, text in os.environ.items() if "HOLDFAST" not in name}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            cwd=ROOT,
            env=others | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        processes.append(process)
        return process

    yield start_program
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def copy_of_sql(target: Path) -> Path:
    return Path(shutil.copytree(ROOT / "sql", target, dirs_exist_ok=True))
