"""A shop in tests: its orders, its customers with money, its staff."""

import json
from typing import Any

from tests.support.aliases import Api
from tests.support.builders import bearer, create_user, token_of
from tests.support.waits import certain

API = "/api/v1"
Answer = tuple[int, dict[str, Any]]
Headers = dict[str, str]
ANN = {"name": "Ann", "address": "Harbour 1"}


class Shop:
    """Requests about orders; each answers status and document."""

    def __init__(self, api: Api, sql: Any, staff: Headers) -> None:
        self.api, self.sql, self.staff = api, sql, staff

    async def send(
        self, method: str, path: str, headers: Headers | None = None, **how: Any
    ) -> Answer:
        """As staff, unless other headers are given."""
        sent = self.staff if headers is None else headers
        return await certain(lambda: self.api.request(method, API + path, headers=sent, **how))

    async def priced(self, prices: dict[str, int], on_hand: int = 10) -> None:
        """Products that are for sale."""
        for product_id, price in prices.items():
            await self.sql.execute(
                "INSERT INTO products (store_id, product_id, name, price)"
                " VALUES ('main', $1, $1, $2)",
                *(product_id, price),
            )
        await self.sql.execute(
            "UPDATE stock SET on_hand = $2 WHERE store_id = 'main' AND product_id = ANY ($1)",
            *(list(prices), on_hand),
        )

    async def account(self, user_id: int, balance: int = 1000) -> int:
        """A new account with money in it."""
        return int(
            await self.sql.fetchval(
                "INSERT INTO accounts (store_id, user_id, bill_id, balance)"
                " VALUES ('main', $1, gen_random_uuid(), $2) RETURNING account_id",
                *(user_id, balance),
            )
        )

    async def customer(self, login: str = "ann", balance: int = 1000) -> tuple[int, int, Headers]:
        """The ids of a user and of an account of theirs, and the headers of their requests."""
        user_id = await create_user(self.sql, login)
        headers = bearer(await token_of(self.sql, self.api, user_id))
        return user_id, await self.account(user_id, balance), headers

    async def order(self, headers: Headers | None = None, **lines: int) -> str:
        """The id of a new order with some lines."""
        body = {"client": ANN} if headers is None else {}
        status, order = await self.send("POST", "/orders", headers, json=body)
        assert (status, order["status"]) == (201, "open"), order
        for product_id, quantity in lines.items():
            status, line = await self.add(order["order_id"], product_id, quantity, headers)
            assert status == 201, line
        return str(order["order_id"])

    async def add(
        self, order_id: str, product_id: str, quantity: int = 1, headers: Headers | None = None
    ) -> Answer:
        body = {"order_id": order_id, "nomenclature_id": product_id, "quantity": quantity}
        return await self.send("POST", "/order", headers, json=body)

    async def set(
        self, order_id: str, product_id: str, quantity: int, headers: Headers | None = None
    ) -> Answer:
        path = f"/orders/{order_id}/lines/{product_id}"
        return await self.send("PUT", path, headers, json={"quantity": quantity})

    async def do(
        self, verb: str, order_id: str, headers: Headers | None = None, **body: Any
    ) -> Answer:
        how = {"json": body} if body else {}
        return await self.send("POST", f"/orders/{order_id}/{verb}", headers, **how)

    async def pay(self, order_id: str, headers: Headers | None = None, **how: Any) -> Answer:
        return await self.do("pay", order_id, headers, **(how or {"reference": "till 7"}))

    async def refund(self, order_id: str, *lines: tuple[str, int, bool]) -> Answer:
        names = ("product_id", "quantity", "restock")
        wanted = [dict(zip(names, line, strict=True)) for line in lines]
        return await self.do("refund", order_id, lines=wanted)

    async def read(self, order_id: str, headers: Headers | None = None) -> dict[str, Any]:
        status, order = await self.send("GET", f"/orders/{order_id}", headers)
        assert status == 200, order
        return order

    async def lapse(self, order_id: str) -> None:
        """Let the time of an order's hold be over, as if it had been taken long ago."""
        await self.sql.execute(
            "UPDATE reservations SET created_at = created_at - interval '1 day',"
            " expires_at = COALESCE(expires_at, clock_timestamp()) - interval '1 day'"
            " WHERE store_id = 'main' AND reservation_id = 'order:' || $1 AND status = 'held'",
            order_id,
        )

    async def sweep(self) -> int:
        """What the worker does: how many orders it has written down as expired."""
        return int(await self.sql.fetchval("SELECT lapsed_count FROM lapse_orders('main')"))

    async def levels(self) -> dict[str, tuple[int, int]]:
        """Per product: on hand, available."""
        rows = await self.sql.fetch("SELECT product_id, on_hand, available FROM stock_levels")
        return {row["product_id"]: (row["on_hand"], row["available"]) for row in rows}

    async def balance(self, account_id: int) -> int:
        query = "SELECT balance FROM accounts WHERE account_id = $1"
        return int(await self.sql.fetchval(query, account_id))

    async def events(self) -> list[str]:
        """What webhooks are told, in order."""
        rows = await self.sql.fetch(
            "SELECT payload FROM outbox WHERE channel = 'webhook' ORDER BY message_id"
        )
        return [json.loads(row["payload"])["type"] for row in rows]


async def own_holds(sql: Any) -> None:
    """Give holds that were made without an order the orders that they say they are of."""
    async with sql.transaction():
        await sql.execute("SELECT set_change_context('tests', 'order')")
        for statement in OWN_HOLDS:
            await sql.execute(statement)


OWN_HOLDS = (
    "INSERT INTO clients (store_id, name, address) VALUES ('main', 'Ann', '')",
    "INSERT INTO orders (store_id, order_id, client_id, total)"
    " SELECT store_id, substr(reservation_id, 7), 1, sum(quantity) * 5 FROM reservations"
    " WHERE kind = 'order' AND status IN ('held', 'committed') GROUP BY 1, 2",
    "INSERT INTO order_lines (store_id, order_id, product_id, quantity, price_at_purchase)"
    " SELECT store_id, substr(reservation_id, 7), product_id, quantity, 5 FROM reservations"
    " WHERE kind = 'order' AND status IN ('held', 'committed')",
    "UPDATE orders AS o SET status = 'paid', paid_from = 'outside', reference = 'till',"
    " paid_at = r.closed_at, closed_at = r.closed_at FROM reservations AS r"
    " WHERE r.reservation_id = 'order:' || o.order_id AND r.status = 'committed'",
    "SELECT count_sales('main', r.closed_at, ARRAY[product_id], ARRAY[quantity],"
    " ARRAY[quantity * 5.0]) FROM reservations AS r WHERE kind = 'order' AND status = 'committed'",
)


async def open_shop(api: Api, sql: Any) -> Shop:
    """The store main with tea at 100, milk at 30 and salt at 7, ten of each."""
    user_id = await create_user(sql, "clerk", "staff")
    shop = Shop(api, sql, bearer(await token_of(sql, api, user_id)))
    await shop.priced({"tea": 100, "milk": 30, "salt": 7})
    return shop


def code_of(answer: Answer) -> tuple[int, str]:
    """Status, and the code of a refusal or the state of the order."""
    status, document = answer
    return status, document["code"] if status >= 400 else document.get("status", "line")
