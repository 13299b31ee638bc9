"""Which plpgsql statements and branches the tests ran: what coverage.py is for Python.

plpgsql_check's profiler counts, per database and in shared memory, every execution of every
statement. Each test has a database of its own, so its counts are read before that is dropped,
and summed. Measured with `pytest --cov`; the result is printed and kept in reports/plpgsql.json.
"""

import base64
import json
import pickle
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.database import sql_files
from service.database.embedded.binaries import find_binaries
from service.database.embedded.files import EmbeddedError
from service.settings import ROOT

REPORT = ROOT / "reports" / "plpgsql.json"
EXTENSION_SCHEMA = "plpgsql_check"  # not ours: the guards look at all that is in "holdfast"
MISSING = "plpgsql_check is not in this PostgreSQL; Debian: postgresql-15-plpgsql-check"
NOT_PRELOADED = "the server does not have plpgsql_check in shared_preload_libraries"
NOT_ALLOWED = "the login may not create the extension plpgsql_check"
NOT_USED = "no test used a database"

# To list a function's statements is to compile it, without the settings of its own.
SEARCH_PATH = "SET LOCAL search_path = holdfast, pg_temp"

FUNCTIONS = """
SELECT p.proname AS name, md5(p.prosrc) AS digest, s.*
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
CROSS JOIN LATERAL plpgsql_check.plpgsql_profiler_function_statements_tb(p.oid) AS s
WHERE p.pronamespace = 'holdfast'::regnamespace
ORDER BY p.proname, s.stmtid
"""
COUNTS = """
SELECT p.proname AS name, md5(p.prosrc) AS digest, s.stmtid, s.exec_stmts, s.exec_stmts_err
FROM (SELECT DISTINCT funcoid::oid FROM plpgsql_check.plpgsql_profiler_functions_all())
    AS ran (oid)
JOIN pg_proc AS p USING (oid)
CROSS JOIN LATERAL plpgsql_check.plpgsql_profiler_function_statements_tb(p.oid) AS s
WHERE p.pronamespace = 'holdfast'::regnamespace AND s.exec_stmts > 0
"""
# All databases share the profiler's memory. It does not go with them; when full, the server hangs.
FORGET = """
SELECT plpgsql_check.plpgsql_profiler_reset(p.oid)
FROM (SELECT DISTINCT funcoid::oid FROM plpgsql_check.plpgsql_profiler_functions_all())
    AS ran (oid)
JOIN pg_proc AS p USING (oid)
"""


@dataclass
class Statement:
    """One statement of a function, and how often it began and failed by itself."""

    line: int  # in the file
    name: str
    parent: int | None
    note: str  # which part of the parent it stands in, such as "then body"
    runs: int = 0
    errors: int = 0


@dataclass
class Function:
    """One plpgsql function: its file, and its statements by the profiler's numbers."""

    path: Path
    digest: str
    statements: dict[int, Statement] = field(default_factory=dict)

    def branches(self) -> Iterator[tuple[int, str, bool]]:
        """(line, name, taken) of every way through: bodies of IF, CASE, loops and handlers.

        An IF without ELSE has one more: to run none of its bodies. A CASE without ELSE has
        not, because it raises. Each body is told by its first statement.
        """
        firsts: dict[tuple[int, str], Statement] = {}
        for statement in self.statements.values():
            if statement.parent is not None and statement.note != "body":
                firsts.setdefault((statement.parent, statement.note), statement)
        for (parent, note), first in firsts.items():
            yield self.statements[parent].line, note, first.runs > 0
        for number, statement in self.statements.items():
            bodies = {note: s.runs for (parent, note), s in firsts.items() if parent == number}
            if statement.name == "IF" and "else body" not in bodies:
                judged = statement.runs - statement.errors
                yield statement.line, "else", judged > sum(bodies.values())

    def summary(self) -> dict[str, Any]:
        """Counts, and what was missed: lines, and "12->else" for an IF that was always true."""
        branches = list(self.branches())
        never = [line for line, name, taken in branches if name == "else" and not taken]
        return {
            "path": self.path.relative_to(ROOT).as_posix(),
            "statements": len(self.statements),
            "statements_run": sum(s.runs > 0 for s in self.statements.values()),
            "branches": len(branches),
            "branches_taken": sum(taken for _, _, taken in branches),
            "missing": [*spans(self.statements.values()), *(f"{line}->else" for line in never)],
            "profile": [{"number": n, **asdict(s)} for n, s in self.statements.items()],
        }


@dataclass
class Profile:
    """All that was counted in this run; `reason` says why nothing was."""

    wanted: bool = False
    reason: str = NOT_USED
    functions: dict[str, Function] = field(default_factory=dict)


profile = Profile()


def is_available(bin_dir: Path | None) -> bool:
    """Whether the PostgreSQL in a folder, by default the one found, comes with plpgsql_check."""
    try:
        folder = bin_dir or find_binaries()
        command = [str(folder / "pg_config"), "--pkglibdir"]
        named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (EmbeddedError, OSError, subprocess.CalledProcessError):
        return False
    return any(Path(named).glob("plpgsql_check.*"))


async def prepare(url: str) -> None:
    """Add plpgsql_check to the template database where it can be had, and learn its functions."""
    connection = await asyncpg.connect(url)
    try:
        profile.reason = await _install(connection)
        if profile.wanted and not profile.reason:
            files = {path.stem: path for path in sql_files.SQL.glob("*/*.sql")}
            for row in await _fetch(connection, FUNCTIONS):
                function = profile.functions.setdefault(
                    row["name"], Function(files[row["name"]], row["digest"])
                )
                function.statements[row["stmtid"]] = Statement(
                    line=body_line(function.path.read_text()) + row["lineno"] - 1,
                    name=row["stmtname"],
                    parent=row["parent_stmtid"],
                    note=row["parent_note"] or "",
                )
    finally:
        await connection.close()


async def _install(connection: Any) -> str:
    """Why the extension cannot be used, empty if it can."""
    extension = "SELECT FROM pg_available_extensions WHERE name = 'plpgsql_check'"
    if not await connection.fetch(extension):
        return MISSING
    try:
        await connection.execute(
            f"CREATE SCHEMA {EXTENSION_SCHEMA};"
            f"CREATE EXTENSION plpgsql_check SCHEMA {EXTENSION_SCHEMA}"
        )
    except asyncpg.InsufficientPrivilegeError:
        return NOT_ALLOWED
    preloaded = await connection.fetchval("SHOW shared_preload_libraries")
    return "" if "plpgsql_check" in re.split(r"[\s,]+", preloaded) else NOT_PRELOADED


async def _fetch(connection: Any, query: str) -> list[Any]:
    async with connection.transaction():
        await connection.execute(SEARCH_PATH)
        return list(await connection.fetch(query))


async def watch(admin: Any, database: str) -> None:
    """Count what runs in a database from here on; its template's settings did not come along."""
    if profile.wanted and not profile.reason:
        await admin.execute(f"ALTER DATABASE {database} SET plpgsql_check.profiler = on")


async def collect(connection: Any) -> None:
    """Add what was counted in this database, and let its memory go.

    A function that a test has replaced is not the one of the files, and counts for nothing.
    """
    if not profile.wanted or profile.reason:
        return
    for row in await _fetch(connection, COUNTS):
        function = profile.functions.get(row["name"])
        if function and function.digest == row["digest"]:
            statement = function.statements[row["stmtid"]]
            statement.runs += row["exec_stmts"]
            statement.errors += row["exec_stmts_err"]
    await connection.execute(FORGET)


def body_line(text: str) -> int:
    """The line of a file where the function's body begins: plpgsql's line 1."""
    return text[: text.index("$$")].count("\n") + 1


def spans(statements: Iterable[Statement]) -> list[str]:
    """Lines with something missed, as "3" and "7-9": between those no line was run."""
    lines: dict[int, bool] = {}
    for statement in sorted(statements, key=lambda s: s.line):
        lines[statement.line] = lines.get(statement.line, True) and statement.runs > 0
    missed = [list(group) for was_run, group in groupby(lines, lines.__getitem__) if not was_run]
    return [f"{g[0]}-{g[-1]}" if len(g) > 1 else str(g[0]) for g in missed]


def report() -> dict[str, Any]:
    """What reports/plpgsql.json holds."""
    functions = [function.summary() for function in profile.functions.values()]
    functions.sort(key=lambda row: row["path"])
    kinds = ("statements", "statements_run", "branches", "branches_taken")
    return {
        "reason": profile.reason,
        "totals": {kind: sum(row[kind] for row in functions) for kind in kinds},
        "functions": functions,
    }


def percent(row: dict[str, Any]) -> float:
    """Statements and branches together, as coverage.py counts."""
    whole = row["statements"] + row["branches"]
    return 100 * (row["statements_run"] + row["branches_taken"]) / whole if whole else 100.0


def table(result: dict[str, Any]) -> Iterator[str]:
    """The lines of the summary: functions with something missing, then all together."""
    gaps = [row for row in result["functions"] if row["missing"]]
    width = max((len(row["path"]) for row in gaps), default=0)
    yield f"{'Name':{width}}   Stmts   Miss Branch BrMiss  Cover   Missing"
    for row in [*gaps, {"path": "TOTAL", "missing": [], **result["totals"]}]:
        yield (
            f"{row['path']:{width}}  {row['statements']:6}"
            f" {row['statements'] - row['statements_run']:6} {row['branches']:6}"
            f" {row['branches'] - row['branches_taken']:6} {int(percent(row)):5}%"
            f"   {', '.join(row['missing'])}"
        ).rstrip()
    yield f"{len(result['functions']) - len(gaps)} functions skipped due to complete coverage."


def pytest_configure(config: pytest.Config) -> None:
    """Measure when Python is measured."""
    asked = config.getoption("cov_source", default=None)
    profile.wanted = bool(asked) and not config.getoption("no_cov", default=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what one of several test processes counted to the one that reports."""
    if profile.wanted and hasattr(session.config, "workeroutput"):
        counted = base64.b64encode(pickle.dumps((profile.reason, profile.functions))).decode()
        session.config.workeroutput["plpgsql"] = counted


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a test process counted (pytest-xdist)."""
    if counted := getattr(node, "workeroutput", {}).get("plpgsql"):
        reason, functions = pickle.loads(base64.b64decode(counted))
        if profile.reason:
            profile.reason = reason
        for name, function in functions.items():
            known = profile.functions.setdefault(name, function)
            if known is not function:
                for number, statement in function.statements.items():
                    known.statements[number].runs += statement.runs
                    known.statements[number].errors += statement.errors


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the report, and print it."""
    if not profile.wanted:
        return
    result = report()
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(result, indent=1) + "\n")
    terminalreporter.section("coverage: plpgsql")
    if profile.reason:
        terminalreporter.line(f"Not measured: {profile.reason}.")
        return
    for line in table(result):
        terminalreporter.line(line)
