"""A real browser, of the machine: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the network is cut off
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium on the machine (Debian: chromium)"
)


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """A browser; one may serve many tests, each with a context of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield browser
        await browser.close()


@asynccontextmanager
async def browsing(
    browser: Browser | None = None, *, refusals: tuple[int, ...] = (), **context: Any
) -> AsyncIterator[Page]:
    """A new page; nothing that it logs as an error, and no foreign host that it asks, is let by.

    Chromium logs an answer of 4xx as an error, too: `refusals` are those that the test is about.
    """
    complaints: list[str] = []
    async with AsyncExitStack() as stack:
        if browser is None:
            browser = await stack.enter_async_context(started())
        opened = await browser.new_context(**context)
        page = await opened.new_page()

        def judge(request: Any) -> None:
            if "//127.0.0.1" not in request.url and not request.url.startswith(("data:", "blob:")):
                complaints.append(f"asks {request.url}")

        page.on("request", judge)
        page.on("pageerror", lambda error: complaints.append(f"throws {error}"))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if _is_error(said, refusals) else None,
        )
        yield page
        await opened.close()
    assert complaints == [], complaints


def _is_error(said: Any, refusals: tuple[int, ...]) -> bool:
    return said.type == "error" and not any(f"status of {code} " in said.text for code in refusals)


async def barriers_of(page: Page, *within: str) -> list[str]:
    """What axe-core finds that keeps people out, serious or critical: of a page, or parts of it."""
    await page.evaluate(_axe())
    look = "(where) => axe.run(where.length ? {include: where} : document).then(r => r.violations)"
    found = await page.evaluate(look, list(within))
    return [
        f"{each['id']}: {each['help']}: {[node['target'][0] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
