"""The live feed as a client sees it: the report, and whatever changes it."""

import asyncio
import time
from typing import Any

from aiohttp import WSMsgType

from tests.support.aliases import Api, Connect, ServeFeed, Socket, Stocked, Watch
from tests.support.builders import FEED, HANDSHAKE, callback, told, told_until
from tests.support.waits import LISTENERS, becomes, listens


async def is_silent(socket: Socket, seconds: float = 0.4) -> bool:
    try:
        await socket.receive(timeout=seconds)
    except TimeoutError:
        return True
    return False


async def test_the_report_comes_on_connect(watch: Watch, stocked: Stocked, sql: Any) -> None:
    await stocked({"b": 3, "a": 5, "z": 0, "B": 1})
    await sql.execute("SELECT reserve_stock('main', 'r', 'a', 2)")
    socket = await watch()
    assert await socket.receive_json() == {
        "store": {
            "store_id": "main",
            "report": [
                {"item_id": "B", "quantity": 1, "reserved": 0, "available": 1},
                {"item_id": "a", "quantity": 5, "reserved": 2, "available": 3},
                {"item_id": "b", "quantity": 3, "reserved": 0, "available": 3},
            ],
        }
    }
    await sql.execute("SELECT create_store('empty')")
    assert await told(await watch("empty")) == {}


async def test_a_reservation_reaches_the_socket(api: Api, watch: Watch, stocked: Stocked) -> None:
    await stocked({"7": 5, "8": 1})
    socket = await watch()
    assert await told(socket) == {"7": (5, 0, 5), "8": (1, 0, 1)}
    await api.post("/api/v1/reserve", json=callback())
    assert await told(socket) == {"7": (5, 3, 2), "8": (1, 0, 1)}
    await api.post("/api/v1/reservations/1001/commit")
    assert await told(socket) == {"7": (2, 0, 2), "8": (1, 0, 1)}


async def test_what_a_dba_does_in_psql_reaches_the_socket(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5, "2": 5})
    socket = await watch()
    await told(socket)
    await sql.execute("UPDATE stock SET on_hand = 9 WHERE product_id = '1'")
    assert await told(socket) == {"1": (9, 0, 9), "2": (5, 0, 5)}
    await stocked({"10": 4})
    await told_until(socket, {"1": (9, 0, 9), "10": (4, 0, 4), "2": (5, 0, 5)})
    await sql.execute("DELETE FROM stock WHERE product_id = '1'")
    await sql.execute("INSERT INTO stock (store_id, product_id) VALUES ('main', '1')")
    assert await told(socket) == {"10": (4, 0, 4), "2": (5, 0, 5)}


async def test_changes_are_the_items_changed_at_zero_too(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5, "2": 5, "3": 0})
    socket = await watch(mode="changes")
    assert await told(socket) == {"1": (5, 0, 5), "2": (5, 0, 5)}
    await sql.execute("UPDATE stock SET on_hand = 4 WHERE product_id = '2'")
    assert await told(socket) == {"2": (4, 0, 4)}
    await sql.execute("UPDATE stock SET on_hand = 0 WHERE product_id = '1'")
    assert await told(socket) == {"1": (0, 0, 0)}
    await sql.execute("UPDATE stock SET on_hand = 2 WHERE product_id = '3'")
    assert await told(socket) == {"3": (2, 0, 2)}
    await sql.execute("UPDATE stock SET on_hand = on_hand + 1 WHERE product_id = '3'")
    await sql.execute("UPDATE stock SET on_hand = on_hand - 1 WHERE product_id = '3'")
    assert await told(await watch(mode="changes")) == {"2": (4, 0, 4), "3": (2, 0, 2)}


async def test_a_change_elsewhere_and_one_that_is_none_send_nothing(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5})
    await stocked({"1": 5}, "other")
    socket = await watch()
    await told(socket)
    await listens(sql)
    await sql.execute("UPDATE stock SET on_hand = 9 WHERE store_id = 'other'")
    await sql.execute("UPDATE stock SET on_hand = on_hand")
    await sql.execute("""SELECT pg_notify('holdfast.stock', '["main","1"]')""")
    for not_ours in ("", "main", "[]", "{}", '["main", 1]', '["nowhere"]', "[1]", '["\\ud800"]'):
        await sql.execute("SELECT pg_notify('holdfast.stock', $1)", not_ours)
    assert await is_silent(socket)
    await sql.execute("UPDATE stock SET on_hand = 6 WHERE store_id = 'main'")
    assert await told(socket) == {"1": (6, 0, 6)}


async def test_a_burst_is_folded_to_four_messages_a_second(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 1, "2": 1})
    report, changes = await watch(), await watch(mode="changes")
    await told(report)
    await told(changes)
    await listens(sql)
    began = time.monotonic()
    for on_hand in range(2, 102):
        await sql.execute("UPDATE stock SET on_hand = $1 WHERE product_id = '1'", on_hand)
    final = (101, 0, 101)
    messages = await told_until(report, {"1": final, "2": (1, 0, 1)})
    seconds = time.monotonic() - began
    assert len(messages) <= 2 + seconds * 4
    assert len(await told_until(changes, {"1": final})) <= 2 + seconds * 4
    assert await is_silent(report)


async def test_a_change_is_read_once_however_many_watch(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5})
    await sql.execute("CREATE SEQUENCE reads")
    await sql.execute("ALTER FUNCTION store_report RENAME TO read_store_report")
    await sql.execute(
        """
        CREATE FUNCTION store_report(
            p_store_id text, p_product_ids text[], OUT result_code text, OUT document jsonb
        ) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$ BEGIN
            PERFORM nextval('reads');
            SELECT * INTO result_code, document FROM read_store_report(p_store_id, p_product_ids);
        END $$
        """
    )
    await sql.execute("GRANT EXECUTE ON FUNCTION store_report TO holdfast_service")
    modes = ["report", "changes"] * 25
    sockets = await asyncio.gather(*(watch(mode=mode) for mode in modes))
    for socket in sockets:
        assert await told(socket) == {"1": (5, 0, 5)}
    reads = 2  # to begin with, and once it listens
    await becomes(lambda: sql.fetchval("SELECT last_value = $1 FROM reads", reads))
    for change in range(1, 4):
        await sql.execute("UPDATE stock SET on_hand = on_hand + 1")
        for socket in sockets:
            assert await told(socket) == {"1": (5 + change, 0, 5 + change)}
    assert await sql.fetchval("SELECT last_value FROM reads") == reads + 3


async def test_units_of_a_lapsed_hold_are_available_again_on_the_feed(
    watch: Watch, stocked: Stocked, sql: Any, connect_as: Connect
) -> None:
    await stocked({"1": 5})
    await sql.execute(
        "SELECT reserve_stock('main', 'r', '1', 3, p_ttl => interval '200 milliseconds')"
    )
    socket = await watch()
    assert await told(socket) == {"1": (5, 3, 2)}
    worker = await connect_as("worker")
    await becomes(lambda: worker.fetchval("SELECT expired_count FROM expire_reservations('main')"))
    assert await told(socket) == {"1": (5, 0, 5)}


async def test_messages_of_every_length_arrive_whole(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await sql.execute("SELECT create_store('x')")
    assert await told(await watch("x")) == {}  # 36 bytes
    await stocked({str(item): 5 for item in range(1, 11)}, "medium")
    assert len(await told(await watch("medium"))) == 10
    await stocked({str(item): 5 for item in range(1, 3001)}, "large")
    socket = await watch("large")
    assert len(await told(socket)) == 3000  # more than 64 KiB
    await sql.execute("UPDATE stock SET on_hand = 6 WHERE store_id = 'large'")
    assert set((await told(socket)).values()) == {(6, 0, 6)}


async def test_whoever_comes_later_has_the_present_report(
    watch: Watch, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5})
    first = await watch()
    await told(first)
    await listens(sql)
    await sql.execute("UPDATE stock SET on_hand = 6")
    await told_until(first, {"1": (6, 0, 6)})
    assert await told(await watch()) == {"1": (6, 0, 6)}


async def test_what_nobody_watches_is_forgotten(
    serve_feed: ServeFeed, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 5})
    api = await serve_feed(heartbeat=0.1)
    assert (await api.get(FEED + "nowhere", headers=HANDSHAKE)).status == 404
    assert await sql.fetchval(LISTENERS) == 0
    for on_hand in (6, 7):
        async with api.ws_connect(FEED + "main") as socket:
            await told(socket)
            await listens(sql)
            await sql.execute("UPDATE stock SET on_hand = $1", on_hand)
            await told_until(socket, {"1": (on_hand, 0, on_hand)})
        assert socket.close_code == 1000
        await becomes(lambda: sql.fetchval(f"SELECT ({LISTENERS}) = 0"))
        await sql.execute("UPDATE stock SET on_hand = 100")


async def test_the_end_of_the_service_is_a_goodbye(
    api: Api, watch: Watch, stocked: Stocked
) -> None:
    await stocked({"1": 5})
    sockets = [await watch(), await watch(mode="changes")]
    for socket in sockets:
        await told(socket)
    closing = asyncio.create_task(api.server.close())
    for socket in sockets:
        message = await socket.receive(timeout=60)
        assert (message.type, message.data, message.extra) == (
            WSMsgType.CLOSE, 1001, "shutting down"
        )  # fmt: skip
    await closing
