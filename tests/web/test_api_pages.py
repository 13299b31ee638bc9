"""The pages of the API: whole without a network, under a strict policy, for everybody."""

import re
from pathlib import Path

import pytest

from service.web import api_pages
from tests.support.aliases import Api
from tests.support.browser import barriers_of, browsing, needs_browser

FILES = ["redoc.js", "swagger-ui.js", "swagger.css", "swagger.js"]


@pytest.mark.parametrize("page", ["/docs", "/docs/swagger"])
async def test_a_page_may_load_and_ask_this_host_alone(api: Api, page: str) -> None:
    response = await api.get(page)
    assert (response.status, response.content_type) == (200, "text/html")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self' ")
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    text = await response.text()
    assert re.findall(r"<script>|\son\w+=|https?://", text) == []


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_sent_small_and_once(api: Api, name: str) -> None:
    whole = await api.get(f"/docs/{name}", headers={"Accept-Encoding": "identity"})
    assert whole.status == 200
    assert "Content-Encoding" not in whole.headers
    if name == "swagger.js":  # our own
        return
    packed = await api.get(f"/docs/{name}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert await packed.read() == await whole.read()
    again = await api.get(f"/docs/{name}", headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")


async def test_where_the_files_are_not_installed_it_is_said_how(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_pages._bundles.cache_clear()
    monkeypatch.setattr(api_pages, "PACKAGE", "holdfast_has_no_such_package")
    answer = await (await api.get("/docs")).json()
    assert answer["code"] == "not_found"
    assert "service/web/pages/requirements.txt" in answer["detail"]


@needs_browser
async def test_redoc_shows_every_operation(api: Api, tmp_path: Path) -> None:
    async with browsing(viewport={"width": 1440, "height": 900}) as page:
        await page.goto(str(api.make_url("/docs")))
        await page.get_by_role("heading", name="Holdfast").first.wait_for()
        document = await (await api.get("/api/v1/openapi.json")).json()
        operations = [each for path in document["paths"].values() for each in path.values()]
        sections = page.locator("[data-section-id*='/operation/'], [id*='/operation/']")
        await sections.nth(len(operations) - 1).wait_for(state="attached")
        await page.screenshot(path=tmp_path / "redoc.png")
        # Of 40,000 elements these: axe-core takes minutes for all.
        assert await barriers_of(page, ".menu-content", "[id='tag/reservations']") == []


@needs_browser
async def test_swagger_ui_sends_a_request_and_shows_its_answer(api: Api, tmp_path: Path) -> None:
    async with browsing(viewport={"width": 1440, "height": 900}) as page:
        await page.goto(str(api.make_url("/docs/swagger")))
        # It draws what is to be seen, no more; the filter brings the others.
        await page.get_by_placeholder("Filter by tag").fill("around")
        await page.locator("#operations-around-live .opblock-summary-control").click()
        await page.get_by_role("button", name="Try it out").click()
        await page.get_by_role("button", name="Execute").click()
        await page.locator(".live-responses-table").get_by_text('"live"').first.wait_for()
        await page.screenshot(path=tmp_path / "swagger.png")
        found = await barriers_of(page, "#swagger .info", "#operations-tag-around", ".auth-wrapper")
        # Swagger UI's own: each operation's head is a button that holds others.
        assert [each for each in found if not each.startswith("nested-interactive")] == []
