"""Which addresses are connected to on somebody's behalf."""

import socket
from ipaddress import ip_network

import pytest

from service.delivery.addresses import ForbiddenAddress, Guard

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808",
          "::ffff:8.8.8.8", "2002:808:808::1"]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.7",
    "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::1",
    "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_connected_to(address: str) -> None:
    Guard(is_open=False).check(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_and_ways_to_them_are_not(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        Guard(is_open=False).check(address)
    Guard(is_open=True).check(address)


def test_networks_of_ones_own_are_connected_to_as_they_are_written() -> None:
    guard = Guard(is_open=False, networks=[ip_network("10.1.0.0/16"), ip_network("fd12::/32")])
    guard.check("10.1.2.3")
    guard.check("fd12::1")
    for address in ("10.2.0.1", "fd13::1", "::ffff:10.1.2.3", "64:ff9b::a01:203"):
        with pytest.raises(ForbiddenAddress):
            guard.check(address)


def test_a_socket_is_made_for_an_address_that_is_admitted_alone() -> None:
    def found(address: str) -> object:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80)

    guard = Guard(is_open=False)
    guard.open_socket(found("8.8.8.8")).close()
    with pytest.raises(ForbiddenAddress, match=r"^127\.0\.0\.1 is no public address$"):
        guard.open_socket(found("127.0.0.1"))
