"""`python -m tests.coverage_summary`: docs/coverage.md from reports/, failing below the bars.

It reads coverage.py's reports/coverage.json and reports/plpgsql.json, both of one test run.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from service.settings import ROOT

REPORTS = ROOT / "reports"
PAGE = ROOT / "docs" / "coverage.md"
LOWEST_PYTHON = 95.0  # percent, lines and branches together
LOWEST_PLPGSQL = 100.0  # percent of the statements

HEAD = """\
# Coverage

What the tests run of the Python and of the plpgsql code; `make coverage` measures it, on a
PostgreSQL with plpgsql_check, and writes this page.
"""


class Row(NamedTuple):
    """One file, or all of them."""

    name: str
    statements: int
    statements_run: int
    branches: int
    branches_taken: int


def percent(part: int, whole: int) -> float:
    """100 where there is nothing to run."""
    return 100 * part / whole if whole else 100.0


def python_row(name: str, summary: dict[str, Any]) -> Row:
    """From the "summary" or "totals" of coverage.py."""
    keys = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    return Row(name, *(summary[key] for key in keys))


def plpgsql_row(name: str, summary: dict[str, Any]) -> Row:
    """From one function or the "totals" of reports/plpgsql.json."""
    keys = ("statements", "statements_run", "branches", "branches_taken")
    return Row(name, *(summary[key] for key in keys))


def table(title: str, what: str, total: Row, rows: Iterable[Row]) -> Iterator[str]:
    """A table in Markdown, all together first; percentages are never rounded up."""
    yield f"\n## {title}\n\n| | {what} | run | branches | taken | covered |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in (total, *sorted(rows)):
        covered = row.statements_run + row.branches_taken
        name = f"**{row.name}**" if row is total else f"`{row.name}`"
        cells = [name, *row[1:], f"{int(percent(covered, row.statements + row.branches))} %"]
        yield f"| {' | '.join(map(str, cells))} |"


def page(python: dict[str, Any], plpgsql: dict[str, Any]) -> str:
    """The whole page. It names no time and no machine: it changes when the coverage does."""
    files = [python_row(path, file["summary"]) for path, file in python["files"].items()]
    functions = [plpgsql_row(row["path"], row) for row in plpgsql["functions"]]
    lines = [
        HEAD.rstrip(),
        *table("Python", "lines", python_row("all", python["totals"]), files),
        *table("plpgsql", "statements", plpgsql_row("all", plpgsql["totals"]), functions),
    ]
    return "\n".join(lines) + "\n"


def complaints(python: dict[str, Any], plpgsql: dict[str, Any]) -> Iterator[str]:
    """What is not as it must be, a sentence each."""
    if plpgsql["reason"]:
        yield f"The plpgsql code was not measured: {plpgsql['reason']}."
    all_python = python_row("all", python["totals"])
    all_plpgsql = plpgsql_row("all", plpgsql["totals"])
    covered = percent(
        all_python.statements_run + all_python.branches_taken,
        all_python.statements + all_python.branches,
    )
    if covered < LOWEST_PYTHON:
        yield f"Python: {covered:.2f} % of lines and branches, below {LOWEST_PYTHON:g} %."
    covered = percent(all_plpgsql.statements_run, all_plpgsql.statements)
    if covered < LOWEST_PLPGSQL:
        yield f"plpgsql: {covered:.2f} % of statements, below {LOWEST_PLPGSQL:g} %."


def main() -> int:
    """Write the page where both were measured; 1 if something is missing."""
    try:
        python = json.loads((REPORTS / "coverage.json").read_text())
        plpgsql = json.loads((REPORTS / "plpgsql.json").read_text())
    except FileNotFoundError as error:
        print(f"{error.filename} is missing: run `make coverage`", file=sys.stderr)
        return 1
    if not plpgsql["reason"]:
        PAGE.write_text(page(python, plpgsql))
    wrong = list(complaints(python, plpgsql))
    for complaint in wrong:
        print(complaint, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
