"""The house: what lies where, who imports whom, how long a function may be."""

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from service.settings import ROOT

LONGEST_FUNCTION = 70

# Who may import whom: those of their own level and of the levels below.
LEVELS = {
    "service.results": 0,
    "service.settings": 0,
    "service.logs": 0,
    "service.database": 1,
    "service.jobs": 2,
    "service.guest_pages": 2,
    "service.web": 3,
    "service.delivery": 3,
    "service.domains": 4,
    "service.web.earlier_clients": 5,  # puts handlers of domains at the paths of older services
    "service.app": 5,
    "service.worker": 5,
    "service.server": 6,
    "service.commands": 6,
    "service.__main__": 7,
}
APART = [{"service.web", "service.delivery"}, {"service.app", "service.worker"}]
"""Of one level, and strangers to each other."""


def sources(*folders: str) -> dict[str, str]:
    """The Python files that git knows below some folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {
        path: (ROOT / path).read_text()
        for path in listed.stdout.splitlines()
        if path.endswith(".py") and (ROOT / path).exists()
    }


def module_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imports_of(source: str, modules: set[str]) -> set[str]:
    """Which of these modules a source imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules


def level_of(module: str) -> str:
    parts = module.split(".")
    own = ".".join(parts[:3])
    return own if own in LEVELS else ".".join(parts[:2])


def imports_upwards(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Imports that go the wrong way."""
    for module, imported in graph.items():
        here = level_of(module)
        for other in imported:
            there = level_of(other)
            if "service" in (here, there):  # the package itself: its version
                continue
            is_stranger = here != there and {here, there} in APART
            if LEVELS[there] > LEVELS[here] or is_stranger:
                yield f"{module} imports {other}"


def circles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Modules that need each other, by whichever way."""
    for start in graph:
        seen: set[str] = set()
        ahead = set(graph[start])
        while ahead:
            module = ahead.pop()
            seen.add(module)
            ahead |= graph.get(module, set()) - seen
        if start in seen:
            yield start


def only_passes_on(source: str) -> bool:
    """Whether all that a module does is to import, and perhaps to rename what it imported."""
    body = ast.parse(source).body
    has_imports = any(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
            continue
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            continue
        return False
    return has_imports


def long_functions(source: str) -> Iterator[str]:
    """Functions that are too long, their decorators included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            length = (node.end_lineno or 0) - first + 1
            if length > LONGEST_FUNCTION:
                yield f"{node.name} has {length} lines"


def import_graph() -> dict[str, set[str]]:
    files = {module_of(path): source for path, source in sources("service").items()}
    return {module: imports_of(source, set(files)) for module, source in files.items()}


def test_imports_go_one_way() -> None:
    assert set(imports_upwards(import_graph())) == set()


def test_no_module_needs_itself_in_a_circle() -> None:
    assert set(circles(import_graph())) == set()


def test_no_module_only_passes_on_what_others_made() -> None:
    idle = [path for path, source in sources("service", "tests", "bench").items()
            if only_passes_on(source)]  # fmt: skip
    assert idle == []


def test_no_function_is_longer_than_a_page() -> None:
    files = sources("service", "tests", "alembic", "bench")
    found = {path: list(long_functions(source)) for path, source in files.items()}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"service.web.bodies": {"service.domains.stock"}}, True),
        ({"service.results": {"service.settings"}}, False),
        ({"service.database.pool": {"service.web.auth"}}, True),
        ({"service.web.auth": {"service.delivery.mail"}}, True),
        ({"service.app": {"service.worker"}}, True),
        ({"service.app": {"service.web.earlier_clients"}}, False),
        ({"service.web.auth": {"service.web.earlier_clients"}}, True),
        ({"service.web.earlier_clients": {"service.domains.feed"}}, False),
        ({"service.commands.serve": {"service.server"}}, False),
        ({"service.domains.feed": {"service.domains.stock", "service.web.auth"}}, False),
    ],
)
def test_an_import_upwards_is_found(graph: dict[str, set[str]], found: bool) -> None:
    assert bool(list(imports_upwards(graph))) == found


def test_a_circle_is_found() -> None:
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from a import b\n", True),
        ('"""Says."""\nfrom a import b\nb2 = b\n__all__ = ["b"]\n', True),
        ('"""A package."""\n', False),
        ("from a import b\nX = b()\n", False),
        ("from a import b\nclass C(b): ...\n", False),
    ],
)
def test_a_module_that_passes_things_on_is_found(source: str, found: bool) -> None:
    assert only_passes_on(source) == found


def test_a_long_function_is_found() -> None:
    lines = "    pass\n" * (LONGEST_FUNCTION - 1)
    assert list(long_functions(f"def page():\n{lines}")) == []
    assert list(long_functions(f"class C:\n  @property\n  async def f(self):\n{lines}")) == [
        "f has 71 lines"
    ]


# CONTRIBUTING says where things are: a line per folder, `<domain>` for each domain's own.
MAP_ROW = re.compile(r"^\| (`[^|]*`) \| (.+) \|$", re.M)
NO_CODE = {".ci", "docs"}


def folders() -> set[str]:
    """Every folder with a file of ours in it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]
    return {parent.as_posix() for file in files for parent in file.parents} - {"."} - NO_CODE


def domains() -> set[str]:
    names = {path.stem for path in (ROOT / "service" / "domains").glob("*.py")} - {"__init__"}
    return names | {path.name for path in (ROOT / "service" / "domains").iterdir() if path.is_dir()}


def mapped(text: str) -> list[str]:
    """The folders that the map names, those of domains as `<domain>`."""
    section = text.partition("## Where things are")[2].partition("\n## ")[0]
    cells = [row[1] for row in MAP_ROW.finditer(section)]
    return [name.strip("`/") for cell in cells for name in re.findall(r"`[^`]+`", cell)]


def map_errors(text: str, there: set[str], domains: set[str]) -> Iterator[str]:
    """Where the map and the tree differ."""
    names = mapped(text)
    yield from (f"{name} stands there twice" for name in names if names.count(name) > 1)
    patterns = {name: name.replace("<domain>", "([a-z_]+)") for name in names}
    for name in names:
        if "<domain>" not in name and name not in there and not (ROOT / name).is_file():
            yield f"{name} is not there"
    for folder in there:
        if folder in names:
            continue
        own = [found[1] for name, pattern in patterns.items()
               if "<domain>" in name and (found := re.fullmatch(pattern, folder))]  # fmt: skip
        if not set(own) & domains:
            yield f"{folder} is on no map"


def test_the_map_of_contributing_is_right_for_every_folder() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert sorted(map_errors(text, folders(), domains())) == []


def test_a_wrong_map_is_found() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    there = folders()
    assert list(map_errors(text, there | {"sql/cakes"}, domains())) == ["sql/cakes is on no map"]
    assert list(map_errors(text, there | {"sql/cakes"}, domains() | {"cakes"})) == []
    assert list(map_errors(text, there - {"sql/roles"}, domains())) == ["sql/roles is not there"]


def test_each_domain_has_tests_under_its_name() -> None:
    missing = {name for name in domains() if not (ROOT / "tests" / name).is_dir()}
    assert missing == set()
