"""What the dashboard is made of: its files, its policy, its words."""

import hashlib
import json
import re

import pytest
from yarl import URL

from service.results import RESULTS
from service.settings import ROOT
from service.web.dashboard import FILES, FOLDER
from tests.support.aliases import Api, Serve

# lit-html 3.3.3, as npm has it (https://www.npmjs.com/package/lit-html): how its SHA-256 begins.
VENDORED = {
    "vendor/lit-html.js": "b878e7f95dec8a9b6e9b217faca6b6a1",
    "vendor/directive.js": "3344c4f41c69cd0701d3937e8f9ef90b",
    "vendor/directive-helpers.js": "f7fb1154b8f72ed2cc08b05eaeed71c9",
    "vendor/directives/live.js": "b305f9066319d838db797abd5a4d8715",
    "vendor/directives/repeat.js": "083140026ecd8665fedd15b17769f9d5",
}
SOURCES = {name: file.content.decode() for name, file in FILES.items() if name.startswith("js/")}
WORDS = {
    name.removeprefix("languages/").removesuffix(".json"): json.loads(file.content)
    for name, file in FILES.items()
    if name.startswith("languages/")
}
FORMS = {"en": 2, "ru": 3}


async def test_the_page_says_its_store_and_loads_only_from_here(serve: Serve) -> None:
    api = await serve(store="a&b", currency="RUB")
    response = await api.get("/")
    text = await response.text()
    assert (response.status, response.content_type) == (200, "text/html")
    assert 'data-store="a&amp;b" data-currency="RUB" data-environment="development"' in text
    assert re.findall(r"<script>|<style|\sstyle=|\son\w+=|https?://|\{\{", text) == []
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy


async def test_each_file_is_sent_small_and_once(api: Api) -> None:
    for name in FILES:
        path, sent = f"/dashboard/{name}", FOLDER.joinpath(name).read_bytes()
        whole = await api.get(path, headers={"Accept-Encoding": "identity"})
        assert (whole.status, await whole.read()) == (200, sent)
        packed = await api.get(path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert await packed.read() == sent
        known = await api.get(path, headers={"If-None-Match": whole.headers["ETag"]})
        assert (known.status, await known.read()) == (304, b"")


async def test_nothing_else_is_sent(api: Api) -> None:
    for name in ("nothing.js", "../reset.html", "..%2freset.html", "%2e%2e/reset.html", "js"):
        url = api.make_url("/").join(URL(f"/dashboard/{name}", encoded=True))
        assert (await api.session.get(url)).status == 404


@pytest.mark.parametrize("name", VENDORED)
def test_what_others_wrote_is_as_they_released_it(name: str) -> None:
    assert hashlib.sha256(FILES[name].content).hexdigest().startswith(VENDORED[name])


def test_every_import_is_there() -> None:
    for name, source in SOURCES.items():
        for found in re.findall(r'from "([^"]+)"', source):
            assert (FOLDER / name).parent.joinpath(found).resolve().is_file(), (name, found)


def test_languages_say_the_same_things() -> None:
    first, *others = WORDS.values()
    for other in others:
        assert other.keys() == first.keys()
    for language, words in WORDS.items():
        for key, text in words.items():
            assert text.count("|") in (0, FORMS[language] - 1), key
            gaps = {frozenset(re.findall(r"\{\w+\}", form)) for form in text.split("|")}
            same = set(re.findall(r"\{\w+\}", first[key]))
            assert set().union(*gaps) == same, key


def test_every_word_that_the_page_asks_for_is_there() -> None:
    words = WORDS["en"]
    for name, source in SOURCES.items():
        for key in re.findall(r'\bt\("([^"]+)"', source):
            assert key in words, (name, key)
        for condition in re.findall(r"\bt\([^()`]*?\? (\"[^)]*)\)", source):
            for key in re.findall(r'"([\w.-]+)"', condition):
                assert key in words, (name, key)


def test_errors_in_words_are_errors_that_there_are() -> None:
    own = {"other", "nothing", "unreachable", "not_staff"}
    said = {key.split(".")[1] for key in WORDS["en"] if key.startswith("error.")} - own
    assert said <= set(RESULTS)
    for language, words in WORDS.items():
        for code in said:
            assert f"error.{code}" in words, language


def test_the_green_zero_counts_every_invariant() -> None:
    views = "\n".join(path.read_text() for path in (ROOT / "sql").glob("*/*_violations.sql"))
    there = set(re.findall(r"SELECT\s+'([a-z_]+)'", views))
    shown = SOURCES["js/views/overview.js"].partition("const OF_RULE = {")[2].partition("};")[0]
    assert set(re.findall(r'"([a-z_]+)"', shown)) == there
