"""Webhooks as a target sees them: signed, tried again, and never where they must not go."""

import asyncio
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web

from service.delivery import webhook
from service.delivery.webhook import Delivery, Webhook, signed_headers
from tests.support.aliases import Api, Hooked, Run, Stocked
from tests.support.builders import bearer, create_user, token_of
from tests.support.processes import Start
from tests.support.receiver import Receiver, receiver
from tests.support.waits import becomes
from tests.webhooks.conftest import SECRET

HURRY = "UPDATE outbox SET due_at = clock_timestamp() WHERE is_waiting"
ALL_SETTLED = "SELECT count(*) > 0 AND NOT bool_or(is_waiting) FROM hook_messages"
STATUS = "SELECT status FROM hook_deliveries ORDER BY delivery_id"


async def tell(sql: Any, *numbers: int, kind: str = "purchase.made") -> None:
    data = [json.dumps({"n": number}) for number in numbers]
    await sql.execute("SELECT emit_events('main', $1, $2::jsonb[])", kind, data)


async def statuses(sql: Any) -> list[str]:
    return [row["status"] for row in await sql.fetch(STATUS)]


async def become(sql: Any, *expected: str) -> None:
    """Wait until the deliveries have come to this."""

    async def is_so() -> bool:
        return await statuses(sql) == list(expected)

    await becomes(is_so)


def test_the_signature_is_that_of_the_vector_of_standard_webhooks() -> None:
    """Of the library's own tests: libraries/python/tests/test_webhooks.py, test_sign_function."""
    vector = Delivery(
        url="https://example.org/",
        secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        sent_at=1614265330,
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        type="test",
        timestamp="",
        data=msgspec.Raw(b""),
    )
    headers = signed_headers(vector, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers["webhook-timestamp"] == "1614265330"


async def test_a_target_is_told_of_an_event_with_its_signature(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    await hooked(target.url)
    async with working():
        await tell(sql, 9007199254740993)
        (told,) = await target.gets(1)
        await become(sql, "delivered")
    assert told.is_signed(SECRET)
    assert set(told.body) == {"type", "timestamp", "store_id", "data"}
    assert told.body["data"] == {"n": 9007199254740993}
    assert (told.body["type"], told.body["store_id"]) == ("purchase.made", "main")
    age = datetime.now(UTC) - datetime.fromisoformat(told.body["timestamp"])
    assert 0 <= age.total_seconds() < 60
    assert told.headers["content-type"] == "application/json"
    assert told.headers["user-agent"].startswith("Holdfast/")
    row = await sql.fetchrow("SELECT reply_code, attempts FROM hook_deliveries")
    assert tuple(row) == (204, 1)


async def test_low_stock_and_what_becomes_of_orders_are_delivered_once(
    api: Api, stocked: Stocked, target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    await stocked({"7": 5})
    admin = bearer(await token_of(sql, api, await create_user(sql, "boss", "admin")))
    watched = {"name": "Tea", "price": 100, "low_at": 3}
    assert (await api.put("/api/v1/products/7", json=watched, headers=admin)).status == 200
    await hooked(target.url)
    async with working():
        order = {"order_id": "o", "client": {"name": "Ann"}}
        assert (await api.post("/api/v1/orders", json=order)).status == 201
        line = {"order_id": "o", "nomenclature_id": "7", "quantity": 2}
        assert (await api.post("/api/v1/order", json=line)).status == 201
        (low,) = await target.gets(1)
        assert (low.body["type"], low.body["data"]["available"]) == ("stock.low", 3)
        cash = {"reference": "cash"}
        paid = await api.post("/api/v1/orders/o/pay", json=cash, headers=admin)
        assert paid.status == 200
        assert [each.body["type"] for each in await target.gets(2)][1] == "order.paid"
        demand = {"operation": "demand", "item_id": "7", "quantity": 1}
        assert (await api.post("/api/v1/stores/main", json=demand)).status == 200
        supply = demand | {"operation": "supply", "quantity": 9}
        assert (await api.post("/api/v1/stores/main", json=supply)).status == 200
        above = "SELECT NOT EXISTS (SELECT FROM low_stock)"
        await becomes(lambda: sql.fetchval(above))
        refund = {"lines": [{"product_id": "7", "quantity": 2, "restock": False}]}
        await api.post("/api/v1/orders/o/refund", json=refund, headers=admin)
        again = demand | {"quantity": 9}
        assert (await api.post("/api/v1/stores/main", json=again)).status == 200
        told = [each.body["type"] for each in await target.gets(4)]
    assert sorted(told) == ["order.paid", "order.refunded", "stock.low", "stock.low"]
    assert all(each.is_signed(SECRET) for each in await target.gets(4))


async def test_each_try_has_the_same_id_and_a_time_and_signature_of_its_own(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    await hooked(target.url)
    target.answers = [500, 404, 302]
    async with working():
        await tell(sql, 1)
        for count in range(2, 5):
            await target.gets(count - 1)
            await becomes(lambda: sql.fetchval("SELECT reply_code FROM hook_deliveries"))
            await sql.execute("UPDATE outbox SET reply_code = NULL, due_at = clock_timestamp()")
            await target.gets(count)
        await become(sql, "delivered")
    assert len({told.event_id for told in target.told}) == 1
    assert all(told.is_signed(SECRET) for told in target.told)
    assert await sql.fetchval("SELECT last_error FROM outbox") == (
        "NotDelivered: The target answered 302."
    )


async def test_after_a_rotation_both_secrets_sign(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    hook_id = await hooked(target.url)
    new = "whsec_" + "bmV3" * 8
    await sql.execute("SELECT rotate_hook_secret('main', $1, $2, 'tests')", hook_id, new)
    async with working():
        await tell(sql, 1)
        (told,) = await target.gets(1)
    assert told.is_signed(SECRET)
    assert told.is_signed(new)


async def test_redirects_are_not_followed(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    await hooked(target.url)
    elsewhere = {"Location": target.url + "/elsewhere"}
    target.answers = [lambda: web.Response(status=307, headers=elsewhere)]
    async with working():
        await tell(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT reply_code = 307 FROM hook_deliveries"))
    assert len(target.told) == 1
    assert await statuses(sql) == ["waiting"]


async def test_a_target_that_is_gone_is_told_nothing_more_and_that_is_said(
    target: Receiver, hooked: Hooked, working: Run, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hook_id = await hooked(target.url)
    target.answers = [410]
    async with working():
        await tell(sql, 1)
        await become(sql, "failed")
        await tell(sql, 2)
        await becomes(lambda: sql.fetchval("SELECT count(*) = 1 FROM outbox"))
    assert len(target.told) == 1
    said = [record for record in caplog.records if "is switched off" in record.message]
    assert vars(said[0])["fields"] == {
        "store_id": "main",
        "hook_id": str(hook_id),
        "reason": "gone",
    }
    assert await sql.fetchval("SELECT count(*) FROM dead_letters WHERE reply_code = 410") == 1


async def test_what_waits_for_a_target_that_is_off_is_skipped(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    hook_id = await hooked(target.url)
    await tell(sql, 1)
    await sql.execute("SELECT split_events('main', 9)")
    await sql.execute("SELECT change_hook('main', $1, '{\"is_active\": false}', 'tests')", hook_id)
    async with working():
        await become(sql, "skipped")
    assert target.told == []
    assert await sql.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_target_that_never_answers_holds_up_no_other_and_is_tried_again(
    target: Receiver, hooked: Hooked, working: Run, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver() as stuck:
        stuck.may_answer.clear()
        await hooked(stuck.url)
        quick = await hooked(target.url)
        async with working():
            await tell(sql, *range(20))
            await target.gets(20)
            delivered = "SELECT count(*) = 20 FROM hook_deliveries WHERE status = 'delivered'"
            await becomes(lambda: sql.fetchval(delivered))
            assert len(stuck.told) == Webhook.concurrency
            stuck.may_answer.set()
            await stuck.gets(20)
    assert {told.body["data"]["n"] for told in target.told} == set(range(20))
    assert quick


async def test_an_answer_that_takes_too_long_is_a_failure(
    target: Receiver, hooked: Hooked, working: Run, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert webhook.SECONDS == 10
    monkeypatch.setattr(webhook, "SECONDS", 0.2)
    target.may_answer.clear()
    await hooked(target.url)
    async with working():
        await tell(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT last_error FROM hook_deliveries"))
    assert "No answer within" in await sql.fetchval("SELECT last_error FROM hook_deliveries")


async def test_retry_after_is_honoured_for_that_target(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    await hooked(target.url)
    target.answers = [lambda: web.Response(status=429, headers={"Retry-After": "900"})]
    async with working():
        await tell(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT last_error FROM hook_deliveries"))
    wait = "SELECT due_at - clock_timestamp() > interval '10 min' FROM outbox"
    assert await sql.fetchval(wait)


async def test_nobody_at_the_address_is_a_failure_that_tells_no_secret(
    hooked: Hooked, working: Run, sql: Any
) -> None:
    await hooked("http://127.0.0.1:9/?token=hidden")
    async with working():
        await tell(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT last_error FROM hook_deliveries"))
    error = await sql.fetchval("SELECT last_error FROM hook_deliveries")
    assert error.startswith("NotDelivered: Not connected: ")
    assert "hidden" not in error


async def test_an_endless_answer_is_not_read(
    hooked: Hooked, working: Run, sql: Any, target: Receiver
) -> None:
    body = b"x" * 2**20

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        try:
            while True:
                writer.write(body)
                await writer.drain()
        except ConnectionError:
            closed.set()
        finally:
            writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(endless, "127.0.0.1")
    await hooked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    async with working():
        await tell(sql, 1)
        await become(sql, "delivered")
        async with asyncio.timeout(60):
            await closed.wait()
    server.close()


async def test_a_worker_killed_while_it_tells_tells_again_with_the_same_id(
    start: Start, target: Receiver, hooked: Hooked, working: Run, sql: Any, dsn: str
) -> None:
    await hooked(target.url)
    target.may_answer.clear()
    worker = await start("worker", database_url=dsn)
    await tell(sql, 1)
    await target.gets(1)
    assert await worker.stop(signal.SIGKILL) == -signal.SIGKILL
    target.may_answer.set()
    assert await statuses(sql) == ["waiting"]
    await sql.execute(HURRY)
    async with working():
        await become(sql, "delivered")
    first, second = target.told
    assert (first.event_id, first.raw) == (second.event_id, second.raw)


class Resolver:
    """A name server that says something else each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


PRODUCTION = {"environment": "production", "jwt_secret": "s" * 32}
Deliver = Callable[..., Any]


@pytest.fixture
def in_production(monkeypatch: pytest.MonkeyPatch) -> Deliver:
    """in_production(resolver, hook_networks=…): the settings of a worker that resolves so."""

    def use(resolver: Resolver, **settings: str) -> dict[str, str]:
        made = Webhook.__init__
        monkeypatch.setattr(Webhook, "__init__", lambda self, known: made(self, known, resolver))
        return PRODUCTION | settings

    return use


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]])
async def test_a_name_of_a_private_address_is_not_connected_to(
    target: Receiver, hooked: Hooked, working: Run, sql: Any, in_production: Deliver, answers: Any
) -> None:
    resolver = Resolver(answers)
    await hooked(target.url.replace("127.0.0.1", "public.example"))
    async with working(**in_production(resolver)):
        await tell(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT last_error FROM hook_deliveries"))
    assert "is no public address" in await sql.fetchval("SELECT last_error FROM hook_deliveries")
    assert (target.told, resolver.asked) == ([], 1)


async def test_a_resolver_that_rebinds_finds_no_second_question(
    target: Receiver, hooked: Hooked, working: Run, sql: Any, in_production: Deliver
) -> None:
    """The first answer is public: it is judged, and it alone is connected to; there is nobody."""
    resolver = Resolver(["192.88.99.1", "255.255.255.255"], ["127.0.0.1"])
    await hooked(target.url.replace("127.0.0.1", "rebinding.example"))
    async with working(**in_production(resolver)):
        await tell(sql, 1)
        first = "SELECT last_error FROM hook_deliveries"
        await becomes(lambda: sql.fetchval(first))
        assert resolver.asked == 1
        await sql.execute("UPDATE outbox SET last_error = NULL, due_at = clock_timestamp()")
        await becomes(lambda: sql.fetchval(first))
    assert "127.0.0.1 is no public address" in await sql.fetchval(first)
    assert target.told == []


async def test_a_url_with_a_private_address_is_not_connected_to(
    target: Receiver, hooked: Hooked, working: Run, sql: Any
) -> None:
    for host in ("127.0.0.1", "[::1]", "127.1", "2130706433", "0x7f.1", "[::ffff:7f00:1]"):
        await hooked(target.url.replace("127.0.0.1", host))
    async with working(**PRODUCTION):
        await tell(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT count(last_error) = 6 FROM hook_deliveries"))
    assert target.told == []


async def test_networks_of_ones_own_may_be_allowed(
    target: Receiver, hooked: Hooked, working: Run, sql: Any, in_production: Deliver
) -> None:
    await hooked(target.url.replace("127.0.0.1", "kitchen.example"))
    settings = in_production(Resolver(["127.0.0.1"]), hook_networks="10.0.0.0/8 127.0.0.0/8")
    async with working(**settings):
        await tell(sql, 1)
        (told,) = await target.gets(1)
    assert told.headers["host"].startswith("kitchen.example:")
