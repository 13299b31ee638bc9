"""What README and the docs print is what happens: requests, queries."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.settings import ROOT
from tests.support.processes import Start

FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
DEMO = ["--demo"]


def blocks(file: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(file.read_text("utf-8"))


def queries(file: Path) -> list[str]:
    text = "\n".join(body for kind, body in blocks(file) if kind == "sql")
    bare = re.sub(r"--[^\n]*", "", text)
    return [each.strip() for each in bare.split(";") if each.strip()]


async def test_each_request_of_readme_gets_the_answer_that_it_prints(serve_process: Start) -> None:
    service = await serve_process(*DEMO)
    told = blocks(ROOT / "README.md")
    asked = [(n, body) for n, (kind, body) in enumerate(told) if kind == "sh" and "curl" in body]
    assert len(asked) >= 2
    for number, command in asked:
        kind, answer = told[number + 1]
        assert kind == "json"
        command = command.replace("http://127.0.0.1:8080", service.url)
        process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        assert json.loads(said) == json.loads(answer)


@pytest.mark.parametrize("file", [each for each in FILES if queries(each)], ids=lambda f: f.name)
async def test_each_query_of_the_docs_runs(sql: Any, file: Path) -> None:
    for query in queries(file):
        transaction = sql.transaction()
        await transaction.start()
        try:
            await sql.execute(query)
        finally:
            await transaction.rollback()
