"""HOLDFAST_PUBLIC_LIMIT: how often an address may POST to what is open to all."""

from collections import Counter
from typing import Any

import pytest

from service.web import limits
from service.web.limits import Limiter
from tests.support.aliases import CreateUser
from tests.support.builders import sign_in

REGISTER, RESET = "/api/v1/users", "/api/v1/users/reset"
WEBHOOK = "/api/v1/payment/webhook"


class Clock:
    """A clock that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_calls_are_counted_in_windows_for_each_subject() -> None:
    clock = Clock()
    limiter = Limiter(3, 60, clock=clock)
    assert [limiter.take("a") for _ in range(5)] == [0, 0, 0, 60, 60]
    clock.now += 20.5
    assert limiter.take("a") == 40
    assert limiter.take("b") == 0
    clock.now += 39.5
    assert [limiter.take("a") for _ in range(4)] == [0, 0, 0, 60]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_KNOWN", 10)
    clock = Clock()
    limiter = Limiter(1, 60, clock=clock)
    for number in range(1000):
        limiter.take(f"address {number}")
    assert len(limiter._windows) == 10
    assert limiter.take("address 999") == 60  # the oldest are forgotten, not the newest
    clock.now += 60
    limiter.take("another")
    assert list(limiter._windows) == ["another"]


def test_a_limit_of_zero_is_none() -> None:
    limiter = Limiter(0, 60)
    assert [limiter.take("a") for _ in range(1000)] == [0] * 1000
    assert not limiter._windows


@pytest.mark.usefixtures("main")
async def test_an_address_is_stopped_refused_requests_count_too(
    serve: Any, user: CreateUser
) -> None:
    api = await serve(public_limit=5)
    await user("maria")
    bodies = [{}, {"login": "x"}, {"token": "t", "password": "a long one"}] * 3
    responses = [await api.post(RESET, json=body) for body in bodies]
    assert Counter(response.status for response in responses) == {422: 4, 404: 1, 429: 4}
    refused = responses[-1]
    assert (await refused.json())["code"] == "too_many_requests"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert (await api.post(REGISTER, json={})).status == 429  # one budget for all routes

    assert (await api.get(f"{REGISTER}/activation?token=x")).status == 404
    assert (await sign_in(api, "maria")).status == 200  # has a limit of its own
    assert (await api.post(WEBHOOK, json={})).status == 401  # is signed
    assert (await api.post("/api/v1/reserve", json={})).status == 422  # is not open to all


@pytest.mark.usefixtures("main")
async def test_addresses_behind_a_proxy_are_told_apart(serve: Any) -> None:
    api = await serve(public_limit=1, trusted_proxies="127.0.0.1")
    for address in ("203.0.113.9", "203.0.113.10", "2001:db8::1"):
        headers = {"X-Forwarded-For": address}
        statuses = [(await api.post(REGISTER, json={}, headers=headers)).status for _ in "12"]
        assert statuses == [422, 429]
