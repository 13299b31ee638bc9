"""The mixed load: what it asks for, and how it is told."""

from collections import Counter
from typing import Any

from bench.mixed import LARGEST_BATCH, PRODUCTS, VERBS, Client, table

TOLD = {"verb": "hold", "answered": 1200, "unavailable": 3, "p50_ms": 41.2, "max_ms": 700.0}


def asked(verb: str, times: int) -> list[tuple[str, Any]]:
    client = Client(7, 0)
    return [client._request(verb) for _ in range(times)]


def test_ids_never_repeat_and_products_are_few() -> None:
    bodies = [body for _, batch in asked("batch", 20) for body in batch]
    assert {body["product_id"] for body in bodies} == set(PRODUCTS)
    assert max(Counter(body["reservation_id"] for body in bodies).values()) == 1
    assert {len(batch) for _, batch in asked("batch", 500)} == set(range(1, LARGEST_BATCH + 1))


def test_what_is_resolved_was_held_before_and_is_resolved_once() -> None:
    client = Client(1, 0)
    held = [client._request("hold")[1]["reservation_id"] for _ in range(3)]
    assert client._request("extend")[0] == f"/api/v1/reservations/{held[0]}/extend"
    ended = [client._request(verb)[0] for verb in ("commit", "release", "commit")]
    verbs = ("commit", "release", "commit")
    assert ended == [
        f"/api/v1/reservations/{each}/{verb}" for each, verb in zip(held, verbs, strict=True)
    ]
    path, body = client._request("commit")  # nothing is held any more
    assert path == "/api/v1/reservations"
    assert body["lines"]


def test_each_verb_has_a_path() -> None:
    assert all(asked(verb, 1)[0][0].startswith("/api/v1/") for verb in VERBS)


def test_the_table_tells_the_slowest_and_who_waited() -> None:
    document = {"told": [{**TOLD, "p99_ms": 500.0}], "waits": {"change_stock, tuple": 2.25}}
    lines = table(document).splitlines()
    assert lines[2] == "| hold | 1,200 | 3 | 41 ms | 500 ms | 700 ms |"
    assert lines[-3] == "| change_stock, tuple | 2.2 |"
    assert lines[-1].endswith(" met.")
    slow = {**document, "told": [{**TOLD, "p99_ms": 501.0}]}
    assert table(slow).splitlines()[-1].endswith("**not met**.")
