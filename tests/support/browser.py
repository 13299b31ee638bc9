"""A real browser, of the machine: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium on the machine (Debian: chromium)"
)


@asynccontextmanager
async def browsing(**context: Any) -> AsyncIterator[Page]:
    """A new page; nothing that it logs as an error, and no foreign host that it asks, is let by."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        opened = await browser.new_context(**context)
        page = await opened.new_page()

        def judge(request: Any) -> None:
            if "//127.0.0.1" not in request.url and not request.url.startswith(("data:", "blob:")):
                complaints.append(f"asks {request.url}")

        page.on("request", judge)
        page.on("pageerror", lambda error: complaints.append(f"throws {error}"))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        yield page
        await browser.close()
    assert complaints == []
