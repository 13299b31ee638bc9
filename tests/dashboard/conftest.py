"""A store that is open in a browser."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.aliases import Api
from tests.support.bookings import Restaurant
from tests.support.browser import browsing, started
from tests.support.builders import PASSWORD, bearer, create_user, token_of

Open = Callable[..., AbstractAsyncContextManager[Page]]
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1440, "height": 900}


async def sign_in(page: Page, login: str, password: str = PASSWORD) -> None:
    """Fill in the form, and send it by the keyboard."""
    await page.get_by_label("Login").fill(login)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.keyboard.press("Enter")


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of the dashboard."""
    async with started() as browser:
        yield browser


@pytest.fixture
async def open_dashboard(api: Api, sql: Any, chromium: Browser) -> Open:
    """open_dashboard("stock", role="admin", …): signed in, at a view, with its feed open."""

    @asynccontextmanager
    async def opened(
        view: str = "overview", *, role: str = "admin", **how: Any
    ) -> AsyncIterator[Page]:
        await create_user(sql, "boss", role)
        async with browsing(chromium, **{"viewport": WIDE, "locale": "en-GB", **how}) as page:
            page.set_default_timeout(120_000)
            await page.goto(str(api.make_url("/")))
            await sign_in(page, "boss")
            await page.get_by_text("Live", exact=True).first.wait_for(state="attached")
            if view != "overview":
                await page.goto(str(api.make_url(f"/#{view}")))
            yield page

    return opened


@pytest.fixture
async def house(api: Api, sql: Any) -> Restaurant:
    """The store main, as its staff serve it."""
    user_id = await create_user(sql, "waiter", "staff")
    return Restaurant(api, sql, bearer(await token_of(sql, api, user_id)))
