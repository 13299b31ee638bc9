"""The docs know every route, code, setting and command, and name none that is not there."""

import argparse
import re
import shlex

import pytest

from service.__main__ import parser
from service.commands import EXAMPLES
from service.results import RESULTS
from service.server import whereabouts
from service.settings import ROOT, Settings
from tests.api_reference import reference

PAGES = {path.name: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text("utf-8")
ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \| (.+) \| (.+) \|$", re.M)
COMMANDS = {
    name
    for action in parser()._actions
    if isinstance(action, argparse._SubParsersAction)
    for name in action.choices
}


def test_the_reference_is_what_the_document_says() -> None:
    assert PAGES["api.md"] == reference(), "make docs"


def test_every_error_has_its_status_a_cause_and_a_cure() -> None:
    told = {row[2]: int(row[1]) for row in ROW.finditer(PAGES["errors.md"])}
    assert told == {code: each.status for code, each in RESULTS.items() if each.status >= 400}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_lead_somewhere(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]+))?\)", PAGES[name]):
        file = folder / target if target else folder / name
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            heads = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in slugs, (target, anchor)


def test_settings_that_the_docs_name_are_there() -> None:
    known = {f"HOLDFAST_{name.upper()}" for name in Settings.__struct_fields__}
    known |= {f"{name}_FILE" for name in known}
    for name, text in PAGES.items():
        named = set(re.findall(r"HOLDFAST_[A-Z_]*[A-Z]\b", text))
        of_tests = {each for each in named if "_TEST_" in each or "_DB_" in each}
        assert named - known - of_tests - {"HOLDFAST_ENV_FILE"} == set(), name


def test_every_setting_is_told_with_its_default() -> None:
    example = (ROOT / ".env.example").read_text()
    missing = {n for n in Settings.__struct_fields__ if f"HOLDFAST_{n.upper()}=" not in example}
    assert missing == set()
    assert ".env.example" in PAGES["README.md"]


def test_every_command_is_told() -> None:
    told = set(re.findall(r"python -m\s+service\s+([a-z-]+)", " ".join(PAGES.values())))
    assert COMMANDS
    assert COMMANDS - told == set()
    assert told - COMMANDS == set()


def test_the_help_of_every_command_and_verb_ends_with_an_example_that_can_be_run() -> None:
    top = parser()
    for words, example in EXAMPLES.items():
        assert example.startswith(words)
        arguments = top.parse_args(shlex.split(example))
        assert callable(arguments.run)
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                told = " ".join(command.format_help().split())
                assert told.endswith(f"Example: python -m service {EXAMPLES[name]}")


def test_a_start_ends_with_where_everything_is_and_colours_on_a_terminal_alone() -> None:
    told = whereabouts("http://127.0.0.1:8080", is_terminal=False)
    assert "\033" not in told
    for place in (
        "http://127.0.0.1:8080/ ",
        "http://127.0.0.1:8080/docs",
        "service psql",
        "README",
    ):
        assert place in told
    assert max(map(len, told.splitlines())) <= 100
    assert "\033[1m" in whereabouts("http://127.0.0.1:8080", is_terminal=True)
