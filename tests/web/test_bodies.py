"""Bodies: read within bounds, refused without repeating more than a caller may see of itself."""

import asyncio
import json
import sys
import time
from typing import Any

import msgspec
import pytest

from service.results import Refusal
from service.web import bodies
from service.web.bodies import OutsideId, decode, parse_custom, refuse_field
from tests.support.aliases import Api, Stocked
from tests.support.builders import RESERVE, callback


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    order_id: OutsideId
    quantity: int


ORDER = msgspec.json.Decoder(Order, dec_hook=parse_custom)


def refusal_of(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as raised:
        decode(body, ORDER)
    return raised.value


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    label: OutsideId | None = None
    orders: list[Order] = []


BODIES: dict[Any, list[bytes]] = {
    Order: [b'{"order_id": "a", "quantity": 1}'],
    list[Order]: [b"[]", b'[{"quantity":1,"order_id":"a"},{"order_id":"b","quantity":2}]'],
    Box: [b"{}", b'{"label":"a"}', b'{"orders":[{"order_id":"a","quantity":1}],"label":null}'],
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_repeated_key_is_malformed_wherever_it_is(kind: Any) -> None:
    decoder = msgspec.json.Decoder(kind, dec_hook=parse_custom)
    for body in BODIES[kind]:
        decode(body, decoder)
        for key in (b'"label":null', b'"orders":[]', b'"order_id":"a"', b'"quantity":1'):
            name = key.partition(b":")[0]
            if name in body:
                with pytest.raises(Refusal, match="malformed_json"):
                    decode(body.replace(name, key + b"," + name, 1), decoder)


@pytest.mark.parametrize("limit", [200, 1000, 20_000])
@pytest.mark.parametrize("depth", [64, 150, 990, 4000])
def test_deep_nesting_is_malformed_whatever_python_allows(limit: int, depth: int) -> None:
    bodies_ = (
        b'{"x":' + b"[" * depth + b"]" * depth + b"}",
        b'{"x":' + b'{"y":' * depth + b"1" + b"}" * (depth + 1),
        b'{"order_id":' + b"[" * depth + b'"\\u0000"' + b"]" * depth + b"}",
    )
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        codes = {refusal_of(body).code for body in bodies_}
    finally:
        sys.setrecursionlimit(before)
    assert codes == {"malformed_json"}


def test_nesting_within_bounds_is_looked_at() -> None:
    assert refusal_of(b'{"x":' + b"[" * 60 + b"]" * 60 + b"}").code == "invalid_body"
    refusal = refusal_of(b'{"x":[{"y":["\\u0000"]}]}')
    assert "NUL" in refusal.detail


def test_at_most_20_errors_are_told_and_the_known_fields_come_first() -> None:
    body = json.dumps({f"unknown{number}": number for number in range(20_000)}).encode()
    began = time.process_time()
    refusal = refusal_of(body)
    assert time.process_time() - began < 0.5
    errors = refusal.fields["errors"]
    assert len(errors) == 20
    assert [error["field"] for error in errors[:3]] == ["order_id", "quantity", "unknown0"]
    assert len(json.dumps(errors)) < 4096


@pytest.mark.parametrize("body", [{"x" * 100_000: 1}, {"order_id": 1, "q" * 5000: 1}])
def test_an_error_does_not_repeat_a_long_name(body: dict[str, Any]) -> None:
    refusal = refusal_of(json.dumps(body).encode())
    assert max(len(error["field"]) for error in refusal.fields["errors"]) <= bodies.MAX_ECHO + 1
    assert len(refusal.detail) < 1000


def test_an_error_does_not_repeat_a_long_value() -> None:
    refusal = refuse_field("name", "no such " + "x" * 100_000)
    assert len(refusal.detail) < 1000


class Slow:
    """A raw connection that sends a body piece by piece."""

    def __init__(self, api: Api, length: int) -> None:
        self._api, self._length = api, length

    async def send(self, piece: bytes) -> None:
        if not hasattr(self, "_writer"):
            self._reader, self._writer = await asyncio.open_connection(
                self._api.server.host, self._api.server.port
            )
            head = f"POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            self._writer.write(f"{head}Content-Length: {self._length}\r\n\r\n".encode())
        self._writer.write(piece)
        await self._writer.drain()

    async def answer(self) -> bytes:
        async with asyncio.timeout(15):
            return await self._reader.read(4096)

    def close(self) -> None:
        self._writer.close()


async def test_partial_bodies_share_a_bounded_room(
    api: Api, stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stocked({"7": 5})
    monkeypatch.setattr(bodies, "SHARED_BYTES", 1024 * 1024)
    senders = [Slow(api, 600_000) for _ in range(3)]
    for sender in senders:
        await sender.send(b" " * 500_000)
    refused = asyncio.create_task(senders[2].answer())
    answers = await asyncio.gather(refused)
    assert answers[0].startswith(b"HTTP/1.1 503")
    assert b'"overloaded"' in answers[0]
    small = await api.post(RESERVE, json=callback())
    assert small.status == 200, "an ordinary body needs no room"
    body = json.dumps(callback()).encode()
    await senders[0].send(b" " * (100_000 - len(body)) + body)
    assert (await senders[0].answer()).startswith(b"HTTP/1.1 200")
    for sender in senders:
        sender.close()
    async with asyncio.timeout(15):
        while bodies._Room.taken:
            await asyncio.sleep(0.01)


async def test_a_body_may_come_in_pieces(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    body = json.dumps(callback()).encode()
    sender = Slow(api, 200_000)
    await sender.send(b" " * 100_000)
    await asyncio.sleep(0.02)
    await sender.send(b" " * (100_000 - len(body)) + body)
    assert (await sender.answer()).startswith(b"HTTP/1.1 200")
    sender.close()


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_a_route_without_a_body_takes_nothing_or_an_empty_object(
    api: Api, stocked: Stocked, verb: str
) -> None:
    await stocked({"7": 5})
    await api.post(RESERVE, json=callback())
    path = f"/api/v1/reservations/1001/{verb}"
    for body, status in (({"quantity": 1}, 422), ([], 422), ({}, 200)):
        assert (await api.post(path, json=body)).status == status
    assert (await api.post(path)).status == 200
    assert (await api.post(path, data=b"{", headers={"Content-Type": "text/plain"})).status == 415
