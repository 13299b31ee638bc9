"""What orders have sold: per client, and the five most sold products."""

from tests.support.orders import Shop


async def test_clients_are_told_with_what_they_paid_less_refunds(shop: Shop) -> None:
    for client, units, refunded in (("Ann", 3, 1), ("Bob", 2, 0), ("Ann", 1, 0)):
        body = {"client": {"name": client, "address": "Harbour"}}
        order_id = (await shop.send("POST", "/orders", json=body))[1]["order_id"]
        await shop.add(order_id, "tea", units)
        await shop.pay(order_id)
        if refunded:
            await shop.refund(order_id, ("tea", refunded, False))
    await shop.order(salt=1)  # not paid
    _, report = await shop.send("GET", "/reports/clients")
    found = [(each["name"], each["orders"], each["total"]) for each in report["clients"]]
    assert found == [("Ann", 2, 300), ("Bob", 1, 200)]
    _, page = await shop.send("GET", "/reports/clients?limit=1")
    _, rest = await shop.send("GET", f"/reports/clients?after={page['next']}")
    assert [each["name"] for each in rest["clients"]] == ["Bob"]


async def test_the_most_sold_products_come_with_their_first_level_category(shop: Shop) -> None:
    await shop.sql.execute("INSERT INTO categories VALUES ('main', 'food', 'Food')")
    await shop.sql.execute("INSERT INTO categories VALUES ('main', 'hot', 'Hot', 'food')")
    await shop.sql.execute("UPDATE products SET category_id = 'hot' WHERE product_id = 'tea'")
    await shop.priced({f"p{n}": 10 for n in range(4)})
    lines = {"tea": 7, "milk": 8, "salt": 1, "p0": 2, "p1": 3, "p2": 4, "p3": 5}
    order_id = await shop.order(None, **lines)
    await shop.pay(order_id)
    await shop.refund(order_id, ("milk", 7, True))
    _, report = await shop.send("GET", "/reports/top-products")
    found = [(each["product_id"], each["units"], each["amount"]) for each in report["products"]]
    assert found == [("tea", 7, 700), ("p3", 5, 50), ("p2", 4, 40), ("p1", 3, 30), ("p0", 2, 20)]
    assert report["products"][0]["category"] == {"category_id": "food", "name": "Food"}
    assert report["products"][1]["category"] is None
    rows = await shop.sql.fetch("SELECT product_id, category_id FROM top_products ORDER BY rank")
    assert [tuple(row) for row in rows][:2] == [("tea", "food"), ("p3", None)]
    assert len(rows) == 5


async def test_the_report_is_of_so_many_days_by_utc(shop: Shop) -> None:
    for days in (0, 1, 29, 30):
        await shop.sql.execute("SELECT set_change_context('tests', 'order')")
        order_id = await shop.order(tea=1)
        await shop.pay(order_id)
        async with shop.sql.transaction():
            await shop.sql.execute("ALTER TABLE orders DISABLE TRIGGER ended_stays_as_it_is")
            await shop.sql.execute(
                "UPDATE orders SET paid_at = paid_at - make_interval(days => $2)"
                " WHERE order_id = $1",
                *(order_id, days),
            )
            await shop.sql.execute("SELECT set_change_context('tests', 'order')")
            await shop.sql.execute(
                "SELECT count_sales('main', clock_timestamp(), '{tea}', '{-1}', '{-100}'),"
                " count_sales('main', clock_timestamp() - make_interval(days => $1),"
                " '{tea}', '{1}', '{100}')",
                days,
            )
            await shop.sql.execute("ALTER TABLE orders ENABLE TRIGGER ended_stays_as_it_is")
    for query, units in (("?days=1", 1), ("?days=2", 2), ("", 3), ("?days=31", 4)):
        _, report = await shop.send("GET", f"/reports/top-products{query}")
        assert report["products"][0]["units"] == units, query
