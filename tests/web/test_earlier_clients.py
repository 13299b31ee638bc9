"""The very requests that clients of the older services send, and what they are answered."""

import asyncio
import base64
import hashlib
import secrets
from typing import Any

import pytest

from service.domains import stock
from service.results import Refusal
from service.web import earlier_clients
from service.web.earlier_clients import SAME
from tests.support.aliases import Api, Connect, Serve, Socket, Stocked
from tests.support.bookings import Restaurant, at
from tests.support.builders import (
    KEY,
    PASSWORD,
    SECRET,
    answer,
    bearer,
    create_key,
    create_user,
    sha1,
    token_of,
)
from tests.support.waits import becomes


def basic(login: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


def whole(**quantities: int) -> dict[str, Any]:
    """The report of the store main as the older service gives it."""
    report = [{"item_id": name, "quantity": count} for name, count in quantities.items()]
    return {"store": {"store_id": "main", "report": report}}


# Stores


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_stores_answers_are_the_report_of_the_whole_store_in_two_fields(
    api: Api, stocked: Stocked, slash: str
) -> None:
    await stocked({"1": 5, "2": 7, "3": 0})
    path = "/stores/main" + slash
    assert await answer(await api.get(path)) == (200, whole(**{"1": 5, "2": 7}))
    supply = {"operation": "supply", "item_id": "9", "quantity": 4}
    said = await answer(await api.post(path, json=supply))
    assert said == (200, whole(**{"1": 5, "2": 7, "9": 4}))
    group = {"operation": "demand", "items": [{"item_id": "1", "quantity": 5},
                                              {"item_id": "2", "quantity": 1}]}  # fmt: skip
    said = await answer(await api.post("/stores/main/group_op" + slash, json=group))
    assert said == (200, whole(**{"2": 6, "9": 4}))
    assert await answer(await api.post("/stores/main/clean" + slash)) == (200, whole())
    workbook = await api.get("/stores/main/xlsx_report" + slash)
    assert (workbook.status, (await workbook.read())[:2]) == (200, b"PK")


async def test_a_demand_beyond_what_is_there_changes_nothing_and_says_so(
    api: Api, stocked: Stocked
) -> None:
    await stocked({"1": 5})
    demand = {"operation": "demand", "item_id": "1", "quantity": 6}
    status, said = await answer(await api.post("/stores/main", json=demand))
    assert (status, said["status"], said["code"]) == (409, "error", "insufficient_stock")
    unknown = {"operation": "demand", "item_id": "nothing", "quantity": 1}
    assert (await api.post("/stores/main", json=unknown)).status == 404
    assert await answer(await api.get("/stores/main")) == (200, whole(**{"1": 5}))
    assert (await api.get("/stores/nowhere")).status == 404
    assert (await api.post("/stores/main", json={})).status == 422


async def test_a_store_too_large_to_be_told_is_not_changed(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5, "2": 5})
    await sql.execute(
        "CREATE OR REPLACE FUNCTION most_items() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2'"
    )
    supply = {"operation": "supply", "item_id": "3", "quantity": 1}
    status, said = await answer(await api.post("/stores/main", json=supply))
    assert (status, said["code"], said["most"]) == (422, "too_many_items", 2)
    assert await answer(await api.get("/stores/main")) == (200, whole(**{"1": 5, "2": 5}))


async def test_who_cannot_know_whether_units_were_moved_is_told_how_to_find_out(
    api: Api, stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_: object, **__: object) -> None:
        raise Refusal("outcome_unknown")

    await stocked({"1": 5})
    monkeypatch.setattr(earlier_clients, "call", lose)
    demand = {"operation": "demand", "item_id": "1", "quantity": 1}
    status, said = await answer(await api.post("/stores/main", json=demand))
    assert (status, said["detail"]) == (503, stock.MAY_HAVE_MOVED)


async def next_report(socket: Socket) -> Any:
    return await socket.receive_json(timeout=60)


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_socket_gets_the_whole_report_at_each_change(
    api: Api, stocked: Stocked, sql: Any, slash: str
) -> None:
    await stocked({"1": 5, "2": 7})
    origin = {"Origin": "chrome-extension://pfdhoblngboilpfeibdedpjgfnlcodoo"}
    socket = await api.ws_connect("/ws/stores/main" + slash, headers=origin)
    assert await next_report(socket) == whole(**{"1": 5, "2": 7})
    async with sql.transaction():
        await sql.execute("UPDATE stock SET on_hand = 0 WHERE product_id = '1'")
    assert await next_report(socket) == whole(**{"2": 7})
    await api.post("/stores/main", json={"operation": "supply", "item_id": "3", "quantity": 2})
    assert await next_report(socket) == whole(**{"2": 7, "3": 2})
    await socket.close()


async def test_production_asks_for_a_key_of_the_store(
    serve: Serve, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5})
    api = await serve(environment="production", jwt_secret=SECRET)
    assert (await api.get("/stores/main")).status == 401
    keys = {
        await create_key(sql): 200,
        await create_key(sql, "north"): 404,
        await create_key(sql, scopes=["orders"]): 403,
    }
    for key, status in keys.items():
        assert (await api.get("/stores/main", headers=bearer(key))).status == status


# Users and money


async def test_a_user_registers_pays_in_and_buys(serve: Serve, stocked: Stocked, sql: Any) -> None:
    await stocked({"1": 5})
    await sql.execute("UPDATE products SET price = 40")
    api = await serve(payment_key=KEY)
    new = {"login": "ann", "password": "battery staple 9"}
    status, said = await answer(await api.post("/users", json=new))
    assert (status, said["login"]) == (201, "ann")
    link = "/api/v1" + said["activation_link"].partition("/api/v1")[2]
    assert (await api.get(link)).status == 200
    status, said = await answer(await api.post("/auth", json=new))
    assert (status, said["token_type"]) == (200, "bearer")
    header = bearer(said["access_token"])
    user_id = (await (await api.get("/users/me", headers=header)).json())["user_id"]
    paid = {"transaction_id": 1234567, "user_id": user_id, "bill_id": 123456, "amount": 100}
    status, said = await answer(
        await api.post("/payment/webhook", json=paid | {"signature": sha1(paid)})
    )
    assert (status, said["balance_after"]) == (200, 100)
    purchase = {"product_id": "1", "account_id": said["account_id"]}
    status, said = await answer(await api.post("/products/buy", json=purchase, headers=header))
    assert (status, said["balance"]) == (200, 60)
    assert (await api.get("/products")).status == (await api.get("/products/1")).status == 200
    boss = bearer(await token_of(sql, api, await create_user(sql, "boss", "admin")))
    off = {"is_active": False}
    assert (await api.put(f"/users/{user_id}", json=off, headers=boss)).status == 200
    assert (await api.get("/users/me", headers=header)).status == 401
    assert (await api.get("/users", headers=boss)).status == 200


def test_the_same_paths_are_all_there() -> None:
    assert {"/users", "/users/me", "/auth", "/products/buy", "/payment/webhook"} <= set(SAME)


async def test_a_product_is_added_to_an_order(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"1": 5})
    await sql.execute("UPDATE products SET price = 40")
    order = {"order_id": "7", "client": {"name": "Ann", "address": ""}}
    assert (await api.post("/api/v1/orders", json=order)).status == 201
    line = {"order_id": "7", "nomenclature_id": "1", "quantity": 3}
    status, said = await answer(await api.post("/order", json=line))
    assert (status, said["quantity"], said["price_at_purchase"]) == (201, 3, 40)
    for change, status, detail in (
        ({"order_id": "8"}, 404, "Order with specified ID does not exist"),
        ({"nomenclature_id": "9"}, 404, "Nomenclature with specified ID does not exist"),
        ({"quantity": 9}, 409, "Not enough stock in stock"),
    ):
        response = await api.post("/order/", json=line | change)
        assert (response.status, (await response.json())["detail"]) == (status, detail)


# Tables


TABLE = {"table_type": "cabin", "seats": 6, "price": "500.00", "can_be_booked": True}


@pytest.fixture
async def house(api: Api, sql: Any) -> Restaurant:
    """The store main, whose waiter signs in with a password."""
    user_id = await create_user(sql, "waiter", "staff")
    return Restaurant(api, sql, bearer(await token_of(sql, api, user_id)))


async def customer(sql: Any, login: str, email: str | None = None) -> dict[str, str]:
    """What a customer of that login sends along."""
    user_id = await create_user(sql, login)
    await sql.execute("UPDATE users SET email = $2 WHERE user_id = $1", user_id, email)
    return basic(login)


async def book(api: Api, table_id: int, who: dict[str, str]) -> tuple[int, dict[str, Any]]:
    path = f"/api/customer/book_table/?id={table_id}"
    return await answer(await api.post(path, headers=who))


async def test_a_token_is_shown_and_renewed_as_often_as_one_likes(api: Api, sql: Any) -> None:
    await create_user(sql, "waiter", "staff")
    given = {"username": "waiter", "password": PASSWORD}
    status, pair = await answer(await api.post("/api/token/", json=given))
    assert (status, set(pair)) == (200, {"access", "refresh"})
    accesses = [pair["access"]]
    for _ in range(3):
        again = {"refresh": pair["refresh"]}
        status, said = await answer(await api.post("/api/token/refresh/", json=again))
        assert (status, set(said)) == (200, {"access"})
        accesses.append(said["access"])
    for access in accesses:
        listed = await api.get("/api/admin/view_active_bookings/", headers=bearer(access))
        assert (listed.status, await listed.json()) == (200, [])


async def test_tokens_are_good_for_what_they_are_for_and_end_with_the_session(
    api: Api, sql: Any
) -> None:
    user_id = await create_user(sql, "waiter", "staff")
    given = {"username": "waiter", "password": PASSWORD}
    _, pair = await answer(await api.post("/api/token", json=given))
    path = "/api/admin/view_active_bookings/"
    assert (await api.get(path, headers=bearer(pair["refresh"]))).status == 401
    wrong = await api.post("/api/token/refresh/", json={"refresh": pair["access"]})
    assert (wrong.status, (await wrong.json())["code"]) == (401, "unauthorized")
    await sql.execute("SELECT * FROM sign_out_user('main', $1, 'test', NULL)", user_id)
    again = {"refresh": pair["refresh"]}
    assert (await api.post("/api/token/refresh/", json=again)).status == 401
    assert (await api.get(path, headers=bearer(pair["access"]))).status == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"username": "waiter", "password": "wrong"}, 401, "wrong_credentials"),
        ({"username": "nobody", "password": PASSWORD}, 401, "wrong_credentials"),
        ({"username": "waiter"}, 422, "invalid_body"),
        ({}, 422, "invalid_body"),
        (None, 422, "invalid_body"),
        ([], 422, "invalid_body"),
    ],
)
async def test_who_cannot_sign_in_is_told_in_the_shape_of_today(
    api: Api, sql: Any, body: Any, status: int, code: str
) -> None:
    await create_user(sql, "waiter", "staff")
    how = {"json": body} if body is not None else {}
    response = await api.post("/api/token/", **how)
    said = await response.json()
    assert (response.status, said["status"], said["code"]) == (status, "error", code)


async def test_staff_add_and_change_tables_by_basic(house: Restaurant) -> None:
    api, who = house.api, basic("waiter")
    full = TABLE | {"waiter": "unknown fields are let pass", "id": 4711}
    status, table = await answer(await api.post("/api/admin/add_table/", json=full, headers=who))
    assert (status, table) == (201, {"id": table["id"], **TABLE})
    status, least = await answer(await api.post("/api/admin/add_table/", headers=who))
    assert (status, least["price"], least["table_type"]) == (201, "0.00", "regular")
    for method, change, price in (
        ("POST", {"id": table["id"], "price": 750.5}, "750.50"),
        ("PATCH", {"id": str(table["id"]), "price": "10"}, "10.00"),
        ("PUT", {"id": table["id"], "seats": 2, "price": None}, "10.00"),
    ):
        response = await api.request(method, "/api/admin/update_table/", json=change, headers=who)
        status, changed = await answer(response)
        assert (status, changed["price"], changed["table_type"]) == (200, price, "cabin")
    assert changed["seats"] == 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": 999999, "seats": 2}, 404, "unknown_table"),
        ({"seats": 2}, 422, "invalid_body"),
        ({"id": "x"}, 422, "invalid_body"),
        ({"id": True}, 422, "invalid_body"),
        ({"id": 1, "price": "0.001"}, 422, "invalid_body"),
        ({"id": 1, "price": -1}, 422, "invalid_body"),
        ({"id": 1, "price": "9" * 30}, 422, "invalid_body"),
        ({"id": 1, "price": True}, 422, "invalid_body"),
        ({"id": 1, "seats": 0}, 422, "invalid_body"),
        ({"id": 1, "table_type": "balcony"}, 422, "invalid_body"),
    ],
)
async def test_what_is_no_table_is_refused(
    house: Restaurant, body: Any, status: int, code: str
) -> None:
    path = "/api/admin/update_table/"
    response = await house.api.patch(path, json=body, headers=basic("waiter"))
    assert (response.status, (await response.json())["code"]) == (status, code)


async def test_free_tables_are_found_by_body_or_query(house: Restaurant) -> None:
    small = await house.table(kind="regular", seats=2, price=10000)
    cabin = await house.table(kind="cabin", seats=4, price=50050)
    room = await house.table(kind="room", seats=12, price=200000)
    await house.table(kind="room", seats=12, is_open=False)
    taken = await house.table(kind="room", seats=12)
    place = {"table_id": taken, "starts_at": at(0, days=1).isoformat(), "ends_at": None}
    assert (await house.as_staff("POST", "/bookings/place", json=place))[0] == 201
    await house.sql.execute("UPDATE bookings SET starts_at = now() - interval '1 hour'")
    for filters, found in (
        ({}, [small, cabin, room]),
        ({"table_type": "cabin"}, [cabin]),
        ({"seats": 4}, [cabin]),
        ({"seats_min": 3}, [cabin, room]),
        ({"seats_max": "4"}, [small, cabin]),
        ({"price_min": "500.50", "price_max": 2000}, [cabin, room]),
        ({"price_max": 99.99, "unknown": "let pass"}, []),
    ):
        for how in ({"json": filters}, {"params": {k: str(v) for k, v in filters.items()}}):
            for method in ("GET", "POST"):
                response = await house.api.request(method, "/api/customer/view_tables/", **how)
                assert response.status == 200, await response.text()
                listed = await response.json()
                assert [table["id"] for table in listed] == found, (method, how)
    first = (await (await house.api.get("/api/customer/view_tables/")).json())[0]
    assert first == {"id": small, "table_type": "regular", "seats": 2, "price": "100.00",
                     "can_be_booked": True}  # fmt: skip
    as_json = {"Content-Type": "application/json"}
    empty = await house.api.post("/api/customer/view_tables", headers=as_json, data=b"")
    assert empty.status == 200
    wrong = await house.api.get("/api/customer/view_tables/?seats=many")
    assert wrong.status == 422


async def test_a_customer_books_from_now_on_without_a_contact(house: Restaurant, sql: Any) -> None:
    josh = await customer(sql, "josh")
    table_id = await house.table()
    status, said = await book(house.api, table_id, josh)
    assert (status, said["status"]) == (201, "success")
    assert set(said) == {"status", "message", "detail", "booking_id"}
    _, booking = await house.as_staff("GET", f"/bookings/{said['booking_id']}")
    assert (booking["status"], booking["ends_at"], booking["email"]) == ("pending", None, None)
    assert await book(house.api, table_id, josh) == (200, said)
    assert await house.events() == ["requested"]
    assert await house.mails() == ["staff:requested"]
    active = await (await house.api.get(
        "/api/admin/view_active_bookings/", headers=basic("waiter"))).json()  # fmt: skip
    table = {"id": table_id, "table_type": "regular", "seats": 4, "price": "5.00",
             "can_be_booked": True}  # fmt: skip
    assert active == [{"id": said["booking_id"], "table": table, "customer_email": None,
                       "status": "pending"}]  # fmt: skip


async def test_a_customer_with_an_address_is_written_to(house: Restaurant, sql: Any) -> None:
    mike = await customer(sql, "mike", "mike@example.org")
    await book(house.api, await house.table(), mike)
    assert await house.mails() == ["guest:received", "staff:requested"]


async def test_twins_make_one_booking_and_nobody_more_than_the_limit(
    house: Restaurant, sql: Any
) -> None:
    user_id = await create_user(sql, "josh")
    who = bearer(await token_of(sql, house.api, user_id))
    tables = [await house.table() for _ in range(7)]
    twins = await asyncio.gather(*(book(house.api, tables[0], who) for _ in range(8)))
    assert sorted(status for status, _ in twins) == [200] * 7 + [201]
    assert len({said["booking_id"] for _, said in twins}) == 1
    others = await asyncio.gather(*(book(house.api, each, who) for each in tables[1:]))
    assert sorted(status for status, _ in others) == [201] * 4 + [429] * 2
    assert {said["code"] for status, said in others if status == 429} == {"too_many_bookings"}


async def test_without_the_lock_of_the_user_twins_make_two_bookings(
    house: Restaurant, sql: Any, connect_as: Connect
) -> None:
    user_id = await create_user(sql, "josh")
    table_id = await house.table()
    body = await sql.fetchval("SELECT pg_get_functiondef('book_table'::regproc)")
    await sql.execute(
        body.replace("holdfast.book_table", "holdfast.hasty_book_table")
        .replace("PERFORM lock_contact(p_store_id, v_contact);", "")
        .replace("-- Write.", "PERFORM pg_advisory_xact_lock_shared(4711);")
    )
    gate = await connect_as("owner", is_patient=True)
    await gate.execute("SELECT pg_advisory_lock(4711)")
    hasty = "SELECT result_code FROM hasty_book_table('main', $1, $2, 5, $3, 'tests')"
    defaults = '{"time_zone": "UTC", "reminder_hours": 0, "booking_minutes": 120}'
    callers = [await connect_as("owner", is_patient=True) for _ in range(2)]
    both = [asyncio.create_task(c.fetchval(hasty, table_id, user_id, defaults)) for c in callers]

    async def wait() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(await sql.fetchval(waiting) == 2)

    await becomes(wait)
    await gate.execute("SELECT pg_advisory_unlock(4711)")
    assert await asyncio.gather(*both) == ["created", "created"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_staff_accept_and_take_back(house: Restaurant, sql: Any, method: str) -> None:
    josh, mike = await customer(sql, "josh"), await customer(sql, "mike")
    table_id = await house.table()
    first = (await book(house.api, table_id, josh))[1]["booking_id"]
    second = (await book(house.api, table_id, mike))[1]["booking_id"]

    async def do(verb: str, booking_id: object) -> tuple[int, str]:
        response = await house.api.request(
            method, f"/api/admin/{verb}/?id={booking_id}", headers=basic("waiter")
        )
        said = await response.json()
        return response.status, said.get("detail" if response.status == 200 else "code")

    assert await do("accept_booking", first) == (200, f"Booking {first} is confirmed.")
    assert await do("accept_booking", first) == (200, f"Booking {first} is confirmed.")
    assert await do("accept_booking", second) == (409, "table_taken")
    assert await do("cancel_booking", first) == (200, f"Booking {first} is cancelled.")
    assert await do("cancel_booking", first) == (200, f"Booking {first} is cancelled.")
    third = (await book(house.api, table_id, mike))[1]["booking_id"]
    assert await do("cancel_booking", third) == (200, f"Booking {third} is declined.")
    assert await do("cancel_booking", third) == (200, f"Booking {third} is declined.")
    assert await do("cancel_booking", 999999) == (404, "unknown_booking")
    assert await do("accept_booking", "x" * 43) == (422, "invalid_query")


async def test_what_is_taken_for_good_and_booked_for_later_do_not_go_together(
    house: Restaurant, sql: Any
) -> None:
    table_id = await house.table()
    later = await house.in_state(table_id, "confirmed", at(19), at(21))
    mine = (await book(house.api, table_id, await customer(sql, "josh")))[1]["booking_id"]
    response = await house.api.post(
        f"/api/admin/accept_booking/?id={mine}", headers=basic("waiter")
    )
    said = await response.json()
    assert (response.status, said["code"], said["taken_by"]) == (409, "table_taken", later)


async def test_house_rules_hold_for_earlier_clients_too(house: Restaurant, sql: Any) -> None:
    josh = await customer(sql, "josh")
    await house.rules(hours={})
    status, said = await book(house.api, await house.table(), josh)
    assert (status, said["code"], said["rule"]) == (422, "outside_rules", "hours")
    closed = await house.table(is_open=False)
    assert (await book(house.api, closed, josh))[1]["code"] == "table_closed"
    assert (await book(house.api, 999999, josh))[1]["code"] == "unknown_table"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "add_table"), ("PUT", "update_table"), ("GET", "accept_booking"),
        ("POST", "accept_booking"), ("GET", "cancel_booking"), ("GET", "view_active_bookings"),
    ],
)  # fmt: skip
async def test_staffs_paths_are_for_staff_in_development_too(
    house: Restaurant, sql: Any, method: str, path: str
) -> None:
    josh = await customer(sql, "josh")
    url = f"/api/admin/{path}/?id=1"
    for who, status in (
        ({}, 401), (basic("waiter", "wrong"), 401), (basic("nobody"), 401), (josh, 403),
        ({"Authorization": "Basic ????"}, 401), ({"Authorization": "Basic"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"\xff").decode()}, 401),
    ):  # fmt: skip
        response = await house.api.request(method, url, headers=who)
        assert response.status == status, who
        assert "WWW-Authenticate" not in response.headers or (
            "Basic" not in response.headers["WWW-Authenticate"]  # no browser keeps passwords
        )


async def test_basic_begins_no_session_and_is_taken_nowhere_else(
    house: Restaurant, sql: Any
) -> None:
    await sql.execute("DELETE FROM sessions")
    path = "/api/admin/view_active_bookings/"
    for _ in range(12):
        assert (await house.api.get(path, headers=basic("waiter"))).status == 200
    assert await sql.fetchval("SELECT count(*) FROM sessions") == 0
    assert (await house.api.get("/api/v1/bookings", headers=basic("waiter"))).status == 401
    for _ in range(10):
        assert (await house.api.get(path, headers=basic("waiter", "guess"))).status == 401
    guessed = await house.api.get(path, headers=basic("waiter", "guess"))
    assert (guessed.status, (await guessed.json())["code"]) == (429, "too_many_requests")
    assert int(guessed.headers["Retry-After"]) > 0


async def test_who_has_an_authenticator_is_not_let_in_by_the_password_alone(
    house: Restaurant, sql: Any, serve: Serve
) -> None:
    await sql.execute(
        "INSERT INTO user_totp (store_id, user_id, secret, confirmed_at, last_step)"
        " SELECT store_id, user_id, 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', now(), 0 FROM users"
    )
    response = await house.api.get("/api/admin/view_active_bookings/", headers=basic("waiter"))
    assert (response.status, (await response.json())["code"]) == (401, "otp_required")
    await sql.execute("DELETE FROM user_totp")
    strict = await serve(require_totp="staff")
    response = await strict.get("/api/admin/view_active_bookings/", headers=basic("waiter"))
    assert (response.status, (await response.json())["code"]) == (403, "totp_required")


async def test_a_link_opens_a_page_and_only_a_post_cancels(house: Restaurant, sql: Any) -> None:
    booking_id = await house.in_state(await house.table(), "confirmed", at(19), at(21))
    token = secrets.token_urlsafe(32)
    await sql.execute(
        "INSERT INTO booking_links (store_id, token_hash, booking_id) VALUES ('main', $1, $2)",
        *(hashlib.sha256(token.encode()).digest(), booking_id),
    )
    path = f"/api/customer/cancel_booking/?id={token}"
    for method in ("GET", "HEAD", "OPTIONS"):
        await house.api.request(method, path)
    staff = await house.api.get(f"/api/admin/cancel_booking/?id={token}", headers=basic("waiter"))
    assert staff.status == 422
    opened = await house.api.get(path)
    assert (opened.status, "<button" in await opened.text()) == (200, True)
    assert "default-src 'none'" in opened.headers["Content-Security-Policy"]
    _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
    assert booking["status"] == "confirmed"
    for _ in range(2):
        status, said = await answer(await house.api.post(path))
        assert (status, said["status"]) == (200, "success")
        assert said["detail"] == f"Booking {booking_id} is cancelled."
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "null"}
    pressed = await house.api.post(path, headers=form)
    assert "was cancelled before" in await pressed.text()
    status, said = await answer(await house.api.post("/api/customer/cancel_booking/?id=none"))
    assert (status, said["code"]) == (404, "unknown_link")


async def test_ended_bookings_are_not_active(house: Restaurant, sql: Any) -> None:
    states = ("pending", "confirmed", "seated", "finished", "declined", "cancelled", "no_show")
    ids = {}
    for state in states:
        ids[state] = await house.in_state(await house.table(), state, at(19), at(21))
    past = await house.in_state(await house.table(), "confirmed", at(19), at(21))
    await sql.execute(
        "UPDATE bookings SET starts_at = $2, ends_at = $3 WHERE booking_id = $1",
        *(past, at(1, days=-2), at(2, days=-2)),
    )
    response = await house.api.post("/api/admin/view_active_bookings/", headers=basic("waiter"))
    listed = {each["id"]: each["status"] for each in await response.json()}
    assert listed == {ids[state]: state for state in ("pending", "confirmed", "seated")}


async def test_a_list_too_long_to_be_told_says_so(house: Restaurant, sql: Any) -> None:
    await sql.execute(
        "INSERT INTO dining_tables (store_id, kind, seats, price)"
        " SELECT 'main', 'regular', 2, 0 FROM generate_series(1, 10001)"
    )
    status, said = await answer(await house.api.get("/api/customer/view_tables/"))
    assert (status, said["code"], said["most"]) == (422, "too_many_items", 10000)


async def test_refusals_are_of_the_one_shape_and_write_nothing(house: Restaurant, sql: Any) -> None:
    before = await sql.fetchval("SELECT count(*) FROM dining_tables")
    as_json = basic("waiter") | {"Content-Type": "application/json"}
    for body, headers, status in (
        (b"{", as_json, 400),
        (b'{"seats": 1, "seats": 2}', as_json, 400),
        (b'{"seats": 1e999}', as_json, 400),
        (b'{"table_type": "\\u0000"}', as_json, 422),
        (b"seats=1", basic("waiter"), 415),
    ):
        response = await house.api.post("/api/admin/add_table/", data=body, headers=headers)
        said = await response.json()
        assert (response.status, said["status"]) == (status, "error"), body
    assert await sql.fetchval("SELECT count(*) FROM dining_tables") == before
