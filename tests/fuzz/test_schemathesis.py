"""Schemathesis, with all its checks, finds nothing in the running service."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from service.settings import ROOT
from service.web.auth import Grant, Tokens
from tests.support.aliases import Stocked
from tests.support.builders import SECRET
from tests.support.processes import Start

pytestmark = pytest.mark.fuzz

EXAMPLES = os.environ.get("HOLDFAST_FUZZ_EXAMPLES", "200")
ADMINS = 3000
HERE = Path(__file__).parent
OF_A_STORE = r"/stores/\{store_id\}"
PARTS = {"default": "--exclude-path-regex", "named": "--include-path-regex"}
"""The routes as they are without a store, and those that name one: two halves, for two runs."""
PROGRAM = ROOT / ".venv-fuzz" / "bin" / "schemathesis"


@pytest.fixture
async def tokens(sql: Any, tmp_path: Path) -> Path:
    """A file with the tokens of ADMINS admins, each signed in."""
    await sql.execute("SELECT create_store('main')")
    rows = await sql.fetch(
        "INSERT INTO users (store_id, login, password_hash, role, is_active)"
        " SELECT 'main', 'admin' || n, '', 'admin', true FROM generate_series(1, $1) AS n"
        " RETURNING user_id",
        ADMINS,
    )
    await sql.execute(
        "INSERT INTO sessions (store_id, session_id, user_id, generation, has_totp, address,"
        " user_agent, idle_limit, expires_at) OVERRIDING SYSTEM VALUE"
        " SELECT 'main', 1000000000 + id, id, 0, false, '192.0.2.1', 'tests', '1 day',"
        " now() + '1 day' FROM unnest($1::bigint[]) AS id",
        [row["user_id"] for row in rows],
    )
    now = int(time.time())
    signer = Tokens([SECRET], 86400)
    grants = [
        Grant(1_000_000_000 + row["user_id"], 1, row["user_id"], "admin", now, now, now + 86400)
        for row in rows
    ]
    file = tmp_path / "tokens"
    file.write_text("\n".join(signer.answer("main", each)["access_token"] for each in grants))
    return file


@pytest.mark.parametrize("mode", ["development", "production"])
@pytest.mark.parametrize("part", ["default", "named"])
async def test_schemathesis_finds_nothing(
    mode: str, part: str, serve_process: Start, stocked: Stocked, tokens: Path
) -> None:
    await stocked({"1": 1_000_000, "tea": 1_000_000})
    service = await serve_process(
        environment=mode,
        jwt_secret=SECRET,
        public_limit=1_000_000,
        guest_limit=1000,
        monitors="127.0.0.1",
    )
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--config-file", HERE / "schemathesis.toml"),
        *("run", f"{service.url}/api/v1/openapi.json", "--checks=all", "--workers=1"),
        *(PARTS[part], OF_A_STORE),
        *("--max-examples", EXAMPLES, "--no-color", *os.environ.get("HOLDFAST_FUZZ", "").split()),
        cwd=ROOT,
        env={**os.environ, "HOLDFAST_FUZZ_TOKENS": str(tokens)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert [line for line in service.log if " ERROR " in line] == []
