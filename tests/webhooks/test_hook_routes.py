"""The routes of hooks: staff name targets, read their log, and get each secret once."""

import base64
import json
from typing import Any, get_args

import pytest

from service.domains.webhooks import EventType
from tests.support.aliases import Api, Hooked, Serve
from tests.support.builders import answer, bearer, create_key, create_user, token_of

HOOKS = "/api/v1/hooks"
URL = "https://example.org/events?a=b"


@pytest.fixture
async def staff(api: Api, sql: Any) -> dict[str, str]:
    """Headers of somebody of the store main."""
    user_id = await create_user(sql, "waiter", "staff")
    return bearer(await token_of(sql, api, user_id))


@pytest.fixture
def send(api: Api, staff: dict[str, str]) -> Any:
    """send("POST", "/1/rotate", json=…): status and document."""

    async def request(method: str, path: str = "", **how: Any) -> tuple[int, Any]:
        return await answer(await api.request(method, HOOKS + path, headers=staff, **how))

    return request


async def test_the_types_of_events_are_those_of_the_database(sql: Any) -> None:
    assert list(get_args(EventType)) == await sql.fetchval("SELECT event_types()")


async def test_a_target_is_made_and_its_secret_told_once(send: Any, sql: Any) -> None:
    status, made = await send("POST", json={"url": URL, "events": ["stock.low"]})
    secret = made.pop("secret")
    assert (status, made["url"], made["events"]) == (201, URL, ["stock.low"])
    assert (made["is_active"], made["failing_since"], made["off_reason"]) == (True, None, None)
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret[6:], validate=True)) == 32

    status, everything = await send("POST", json={"url": URL})
    assert (status, everything["events"]) == (201, None)
    status, listed = await send("GET")
    assert status == 200
    assert [hook["hook_id"] for hook in listed["hooks"]] == [made["hook_id"], everything["hook_id"]]
    assert listed["hooks"][0] == made
    status, page = await send("GET", "?limit=1")
    assert page["next"] == made["hook_id"]
    status, page = await send("GET", f"?after={page['next']}")
    assert [hook["hook_id"] for hook in page["hooks"]] == [everything["hook_id"]]
    assert secret not in str(await sql.fetch("SELECT * FROM audit_log"))
    logged = "SELECT count(*) FROM audit_log WHERE subject LIKE 'hooks/%' AND actor LIKE 'user:%'"
    assert await sql.fetchval(logged) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://example.org/"}, "url"),
        ({"url": "HTTP://example.org/"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https:///path"}, "url"),
        ({"url": "https://example.org:0/"}, "url"),
        ({"url": "https://example.org:99999/"}, "url"),
        ({"url": "https://[::1/"}, "url"),
        ({"url": "https://user:word@example.org/"}, "url"),
        ({"url": "https://example.org/#part"}, "url"),
        ({"url": "https://example.org/a b"}, "url"),
        ({"url": "https://example.org/\r\nX: y"}, "url"),
        ({"url": "https://пример.рф/"}, "url"),
        ({"url": "https://example.org/" + "x" * 2000}, "url"),
        ({"url": 7}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["stock.high"]}, "events"),
        ({"url": URL, "events": "stock.low"}, "events"),
        ({"url": URL, "secret": "whsec_AAAA"}, "secret"),
    ],
)
async def test_what_is_no_target_is_422(send: Any, sql: Any, body: Any, field: str) -> None:
    status, document = await send("POST", json=body)
    assert (status, document["code"]) == (422, "invalid_body")
    assert document["errors"][0]["field"].startswith(field)
    assert await sql.fetchval("SELECT count(*) FROM hooks") == 0


async def test_production_refuses_private_addresses(serve: Serve, sql: Any) -> None:
    api = await serve(environment="production", jwt_secret="s" * 32, hook_networks="10.9.0.0/16")
    admin = bearer(await token_of(sql, api, await create_user(sql, "root", "admin")))
    for host in ("127.0.0.1", "10.0.0.1", "[::1]", "169.254.169.254", "[fe80::1]"):
        response = await api.post(HOOKS, json={"url": f"http://{host}/"}, headers=admin)
        assert response.status == 422
        assert "is no public address" in (await response.json())["detail"]
    for host in ("10.9.0.1", "8.8.8.8", "localhost", "kitchen.example"):
        response = await api.post(HOOKS, json={"url": f"http://{host}/"}, headers=admin)
        assert response.status == 201


async def test_a_target_is_switched_and_told_of_other_events(send: Any, hooked: Hooked) -> None:
    path = f"/{await hooked()}"
    status, off = await send("PATCH", path, json={"is_active": False})
    assert (status, off["is_active"], off["off_reason"]) == (200, False, "staff")
    status, same = await send("PATCH", path, json={})
    assert (status, same) == (200, off)
    status, changed = await send("PATCH", path, json={"events": ["order.paid"], "is_active": True})
    assert (status, changed["events"]) == (200, ["order.paid"])
    assert (changed["is_active"], changed["off_at"]) == (True, None)
    status, changed = await send("PATCH", path, json={"events": None})
    assert (status, changed["events"]) == (200, None)
    wrong: list[Any] = [{"events": []}, {"is_active": None}, {"url": URL}, {"events": ["x"]}]
    for body in wrong:
        assert (await send("PATCH", path, json=body))[0] == 422


async def test_a_new_secret_is_told_once_and_the_old_one_has_a_day(
    send: Any, hooked: Hooked, sql: Any
) -> None:
    hook_id = await hooked()
    status, rotated = await send("POST", f"/{hook_id}/rotate")
    assert status == 200
    assert rotated["secret"] == await sql.fetchval("SELECT secret FROM hooks")
    day = "SELECT old_secret_until - clock_timestamp() BETWEEN '23 h' AND '24 h' FROM hooks"
    assert await sql.fetchval(day)
    status, listed = await send("GET")
    assert "secret" not in listed["hooks"][0]


async def test_a_target_is_removed(send: Any, hooked: Hooked, sql: Any) -> None:
    hook_id = await hooked()
    assert await send("DELETE", f"/{hook_id}") == (200, {"hook_id": hook_id, "skipped": 0})
    status, document = await send("DELETE", f"/{hook_id}")
    assert (status, document["code"]) == (404, "unknown_hook")
    assert await sql.fetchval("SELECT count(*) FROM hooks") == 0


async def test_the_log_of_a_target_has_no_contents(send: Any, hooked: Hooked, sql: Any) -> None:
    hook_id, other = await hooked(), await hooked()
    data = [json.dumps({"n": n, "secret": "contents"}) for n in range(3)]
    await sql.execute("SELECT emit_events('main', 'purchase.made', $1::jsonb[])", data)
    await sql.execute("SELECT split_events('main', 100)")
    status, log = await send("GET", f"/{hook_id}/deliveries?limit=2")
    assert (status, len(log["deliveries"])) == (200, 2)
    assert "contents" not in str(log)
    newest = log["deliveries"][0]
    assert (newest["type"], newest["status"], newest["attempts"]) == ("purchase.made", "waiting", 0)
    assert newest["delivery_id"] > log["deliveries"][1]["delivery_id"] == log["next"]
    status, rest = await send("GET", f"/{hook_id}/deliveries?after={log['next']}")
    assert (len(rest["deliveries"]), rest["next"]) == (1, None)
    events = {each["event_id"] for each in log["deliveries"] + rest["deliveries"]}
    status, others = await send("GET", f"/{other}/deliveries")
    assert {each["event_id"] for each in others["deliveries"]} == events


async def test_a_delivery_is_sent_again(send: Any, hooked: Hooked, sql: Any) -> None:
    hook_id = await hooked()
    await sql.execute("SELECT emit_event('main', 'purchase.made', '{}')")
    await sql.execute("SELECT split_events('main', 100)")
    delivery_id = await sql.fetchval("UPDATE outbox SET dead_at = now() RETURNING message_id")
    path = f"/{hook_id}/deliveries/{delivery_id}/resend"
    status, again = await send("POST", path)
    assert (status, again["delivery_id"], again["status"]) == (200, delivery_id, "waiting")
    await sql.execute("UPDATE outbox SET delivered_at = now()")
    status, again = await send("POST", path)
    assert (status, again["status"]) == (201, "waiting")
    assert again["delivery_id"] != delivery_id
    status, document = await send("POST", f"/{hook_id}/deliveries/{delivery_id + 9}/resend")
    assert (status, document["code"]) == (404, "unknown_delivery")
    await send("PATCH", f"/{hook_id}", json={"is_active": False})
    status, document = await send("POST", path)
    assert (status, document["code"]) == (409, "hook_off")


@pytest.mark.parametrize("path", ["/0", "/17", "/-1", "/x", "/9223372036854775808", "/%00"])
async def test_a_target_that_there_is_not_is_404(send: Any, path: str) -> None:
    for method, rest in (("DELETE", ""), ("POST", "/rotate"), ("GET", "/deliveries")):
        status, document = await send(method, path + rest)
        expected = {"/%00": (422, "invalid_path")}.get(path, (404, "unknown_hook"))
        assert (status, document["code"]) == expected


async def test_targets_belong_to_one_store(send: Any, hooked: Hooked, api: Api, sql: Any) -> None:
    others = await hooked(store_id="other")
    assert (await send("GET"))[1]["hooks"] == []
    assert (await send("DELETE", f"/{others}"))[0] == 404
    key = bearer(await create_key(sql, "other"))
    response = await api.get("/api/v1/stores/main/hooks", headers=key)
    assert response.status in (403, 404)


async def test_customers_and_keys_without_the_scope_have_no_business_here(
    api: Api, sql: Any
) -> None:
    customer = bearer(await token_of(sql, api, await create_user(sql, "ann")))
    assert (await api.get(HOOKS)).status == 401
    assert (await api.get(HOOKS, headers=customer)).status == 403
    assert (await api.get(HOOKS, headers=bearer(await create_key(sql)))).status == 403
