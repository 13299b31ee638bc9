"""What changed one item's stock, newest first."""

from typing import Any

from tests.support.aliases import Api, Stocked
from tests.support.builders import answer

ITEM = "/api/v1/stores/main/items/tea/movements"


async def test_the_newest_come_first_page_by_page(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"tea": 5, "oil": 5})
    for quantity in (1, 2):
        body = {"operation": "supply", "item_id": "tea", "quantity": quantity}
        await api.post("/api/v1/stores/main", json=body)
    _, first = await answer(await api.get(ITEM, params={"limit": 2}))
    assert [(m["delta"], m["quantity_after"]) for m in first["movements"]] == [(2, 8), (1, 6)]
    _, rest = await answer(await api.get(ITEM, params={"limit": 2, "after": first["next"]}))
    assert [(m["delta"], m["reason"]) for m in rest["movements"]] == [(5, "adjustment")]
    assert rest["next"] is None


async def test_an_unknown_item_or_store_is_404(api: Api, main: None) -> None:
    assert (await answer(await api.get(ITEM)))[1]["code"] == "unknown_product"
    other = await api.get(ITEM.replace("main", "nowhere"))
    assert (await answer(other))[1]["code"] == "unknown_store"
