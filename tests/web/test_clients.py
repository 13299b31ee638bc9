"""Addresses: as proxies tell them, as limits count them, and to whom health is told."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from service.logs import RequestLine
from service.settings import Settings, SettingsError, read_settings
from service.web.clients import Clients, network_of, parse_address
from tests.support.aliases import Serve


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ("unknown", "None"),
        ("_hidden", "None"),
        ("", "None"),
        ("203.0.113.7:port:more", "None"),
        ("\udcff", "None"),
    ],
)
def test_an_address_is_read_as_proxies_write_it(written: str, address: str) -> None:
    assert str(parse_address(written)) == address


def test_limits_count_an_address_or_a_network_of_64_bits() -> None:
    assert network_of("203.0.113.7") == "203.0.113.7"
    assert network_of("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert network_of("") == "None"


def request_from(peer: str, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("GET", "/", headers=named)
    request._transport_peername = (peer, 1)
    return request


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7:1", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2:80", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("198.51.100.9", "203.0.113.7", "198.51.100.9"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_client_is_the_nearest_that_is_no_proxy(
    peer: str, forwarded: str, address: str
) -> None:
    clients = Clients(Settings(trusted_proxies="10.0.0.0/8"))
    assert clients.address(request_from(peer, X_Forwarded_For=forwarded)) == address


@pytest.mark.parametrize(
    ("peer", "headers", "proxies", "is_told"),
    [
        ("127.0.0.1", {}, "", True),
        ("::1", {}, "", True),
        ("192.0.2.10", {}, "", True),
        ("198.51.100.9", {}, "", False),
        ("", {}, "", False),
        ("127.0.0.1", {"X_Forwarded_For": "198.51.100.9"}, "", False),
        ("127.0.0.1", {"X_Real_IP": "198.51.100.9"}, "", False),
        ("127.0.0.1", {"Forwarded": "for=198.51.100.9"}, "10.0.0.1", False),
        ("127.0.0.1", {"X_Forwarded_For": "198.51.100.9"}, "127.0.0.1", False),
        ("127.0.0.1", {"X_Forwarded_For": "192.0.2.10"}, "127.0.0.1", True),
    ],
)
def test_health_is_told_on_this_machine_and_to_monitors(
    peer: str, headers: dict[str, str], proxies: str, is_told: bool
) -> None:
    clients = Clients(Settings(trusted_proxies=proxies, monitors="192.0.2.0/24"))
    assert clients.may_monitor(request_from(peer, **headers)) is is_told


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_health_is_not_told_to_others(serve: Serve, path: str) -> None:
    api = await serve(trusted_proxies="127.0.0.1", monitors="192.0.2.0/24")
    for address, status in [("198.51.100.9", 403), ("192.0.2.10:99", 200)]:
        response = await api.get(path, headers={"X-Forwarded-For": address})
        assert response.status == status
        assert status == 200 or (await response.json())["code"] == "forbidden"


async def test_the_log_names_the_client_behind_a_proxy(
    serve: Serve, request_lines: list[RequestLine]
) -> None:
    api = await serve(trusted_proxies="127.0.0.1")
    for forwarded in ("203.0.113.7:4711", "[2001:db8::7]:1"):
        await api.get("/nothing", headers={"X-Forwarded-For": forwarded})
    assert [line.remote for line in request_lines] == ["203.0.113.7", "2001:db8::7"]


def test_a_wrong_network_is_named() -> None:
    with pytest.raises(SettingsError, match="HOLDFAST_MONITORS"):
        read_settings({"HOLDFAST_MONITORS": "everybody"})
