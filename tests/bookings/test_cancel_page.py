"""The page of a guest's link: looking changes nothing, the button cancels once."""

import hashlib
import secrets
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from service.domains import bookings
from service.results import Refusal
from tests.support.bookings import Restaurant, at
from tests.support.browser import browsing, needs_browser

PAGE = "/api/v1/bookings/cancel"


async def linked(house: Restaurant, booking_id: int) -> str:
    """A link of a mail: its token."""
    token = secrets.token_urlsafe(32)
    await house.sql.execute(
        "INSERT INTO booking_links (store_id, token_hash, booking_id) VALUES ('main', $1, $2)",
        hashlib.sha256(token.encode()).digest(),
        booking_id,
    )
    return token


async def state(house: Restaurant, booking_id: int) -> str:
    _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
    return str(booking["status"])


async def test_a_crawler_that_follows_every_link_cancels_nothing(house: Restaurant) -> None:
    booking_id = await house.in_state(await house.table(), "confirmed", at(19), at(21))
    path = f"{PAGE}?token={await linked(house, booking_id)}"
    for prefix in ("", "/stores/main"):
        url = path.replace("/api/v1", "/api/v1" + prefix)
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            await house.api.request(method, url)
    assert await state(house, booking_id) == "confirmed"


@pytest.mark.parametrize("before", ["pending", "confirmed"])
async def test_the_button_cancels_once_and_a_second_press_says_so(
    house: Restaurant, before: str
) -> None:
    booking_id = await house.in_state(await house.table(), before, at(19), at(21))
    path = f"{PAGE}?token={await linked(house, booking_id)}"
    for prefix in ("", "/stores/main"):
        opened = await house.api.get(path.replace("/api/v1", "/api/v1" + prefix))
        assert opened.status == 200
    assert "Cancel your booking?" in await opened.text()
    assert opened.headers["Cache-Control"] == "no-store"
    assert opened.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in opened.headers["Content-Security-Policy"]
    first = await house.api.post(path, headers={"Origin": "null"})
    assert (first.status, "Your booking is cancelled" in await first.text()) == (200, True)
    told = await house.mails()
    second = await house.api.post(path)
    assert (second.status, "was cancelled before" in await second.text()) == (200, True)
    assert await house.mails() == told
    assert await state(house, booking_id) == "cancelled"


async def test_what_fails_around_the_button_has_cancelled_nothing(
    house: Restaurant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Refusal("database_unavailable")

    monkeypatch.setattr(bookings, "_linked", fail)
    booking_id = await house.in_state(await house.table(), "confirmed", at(19), at(21))
    response = await house.api.post(f"{PAGE}?token={await linked(house, booking_id)}")
    assert response.status == 503
    assert await state(house, booking_id) == "confirmed"


async def test_a_link_of_what_has_ended_says_so(house: Restaurant) -> None:
    booking_id = await house.in_state(await house.table(), "finished", at(19), at(21))
    path = f"{PAGE}?token={await linked(house, booking_id)}"
    for response in (await house.api.get(path), await house.api.post(path)):
        assert response.status in (409, 410)
        assert "This booking has ended" in await response.text()
    assert await state(house, booking_id) == "finished"


async def test_an_unknown_and_a_tampered_token_are_404_alike(house: Restaurant) -> None:
    booking_id = await house.asked(await house.table(), at(19), at(21))
    token = await linked(house, booking_id)
    tampered = ("A" if token[0] != "A" else "B") + token[1:]
    pages = []
    for wrong in (tampered, "x", "", "\u0416"):
        for method in ("GET", "POST"):
            response = await house.api.request(method, PAGE, params={"token": wrong})
            assert response.status == 404
            pages.append(await response.text())
    assert len(set(pages)) == 1
    assert await state(house, booking_id) == "pending"


async def test_a_tampered_token_takes_as_long_as_an_unknown_one(house: Restaurant) -> None:
    booking_id = await house.asked(await house.table(), at(19), at(21))
    token = await linked(house, booking_id)
    tampered = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    ratios: list[float] = []
    while not ratios or (len(ratios) < 5 and not 0.9 < ratios[-1] < 1.1):  # a busy machine
        took: dict[bool, list[float]] = {False: [], True: []}
        for number in range(400):
            is_tampered = number % 2 == 0
            wrong = tampered if is_tampered else secrets.token_urlsafe(32)
            began = time.perf_counter()
            response = await house.api.get(PAGE, params={"token": wrong})
            took[is_tampered].append(time.perf_counter() - began)
            assert response.status == 404
        ratios.append(statistics.median(took[True]) / statistics.median(took[False]))
    assert 0.9 < ratios[-1] < 1.1, ratios


async def test_a_guest_moves_what_is_pending_by_the_link(house: Restaurant) -> None:
    await house.rules(notice_minutes=60)
    booking_id = await house.asked(await house.table(), at(19), at(21))
    move = {"params": {"token": await linked(house, booking_id)}}
    status, moved = await house.send(
        "POST", "/bookings/move", json={"starts_at": at(20).isoformat()}, **move
    )
    assert (status, moved["starts_at"][11:16]) == (200, "20:00")
    status, answer = await house.send(
        "POST", "/bookings/move", json={"starts_at": "2020-01-01T00:00:00Z"}, **move
    )
    assert (status, answer["code"], answer["rule"]) == (422, "outside_rules", "past")
    status, answer = await house.send(
        "POST", "/bookings/move", json={"ends_at": at(45).isoformat()}, **move
    )
    assert (status, answer["code"], answer["rule"]) == (422, "outside_rules", "length")
    await house.do("confirm", booking_id)
    status, answer = await house.send(
        "POST", "/bookings/move", json={"starts_at": at(18).isoformat()}, **move
    )
    assert (status, answer["code"]) == (409, "wrong_state")
    unknown = {"params": {"token": "x"}, "json": {}}
    assert (await house.send("POST", "/bookings/move", **unknown))[0] == 404


async def test_names_cannot_write_into_the_page(house: Restaurant) -> None:
    name = "<script>alert(1)</script>"
    booking_id = await house.asked(await house.table(), at(19), at(21), name=name)
    response = await house.api.get(PAGE, params={"token": await linked(house, booking_id)})
    text = await response.text()
    assert "&lt;script&gt;" in text
    assert "<script" not in text


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
async def test_a_person_cancels_in_a_browser_without_a_script(
    house: Restaurant, scheme: str, width: int, tmp_path: Path
) -> None:
    booking_id = await house.in_state(await house.table(), "confirmed", at(19), at(21))
    url = str(house.api.make_url(PAGE)) + f"?token={await linked(house, booking_id)}"
    how: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    async with browsing(java_script_enabled=False, **how) as page:
        await page.goto(url)
        await page.screenshot(path=tmp_path / "ask.png")
        await page.keyboard.press("Tab")
        assert await page.locator("button:focus").count() == 1
        assert await state(house, booking_id) == "confirmed"
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Your booking is cancelled").wait_for()
        await page.screenshot(path=tmp_path / "done.png")
    assert await state(house, booking_id) == "cancelled"
