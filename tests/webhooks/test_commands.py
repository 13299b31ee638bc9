"""python -m service hooks."""

import json
from typing import Any

from tests.support import builders
from tests.support.aliases import Hooked
from tests.support.processes import Start

URL = "https://example.org/events"


async def test_hooks_are_added_listed_and_removed(start: Start, dsn: str, sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")
    add = await start("hooks", "add", URL, "--events", "stock.low,order.paid", database_url=dsn)
    assert await add.ends() == 0
    hook_id, secret, events = await sql.fetchrow("SELECT hook_id, secret, events FROM hooks")
    assert add.log == [f"Hook {hook_id} of main: {URL}", f"Its secret, not shown again: {secret}"]
    assert events == ["stock.low", "order.paid"]
    listing = await start("hooks", "list", database_url=dsn)
    assert await listing.ends() == 0
    assert listing.log == [f"{hook_id}  {URL}  stock.low,order.paid  good", "1 hooks of main."]
    rotate = await start("hooks", "rotate", str(hook_id), database_url=dsn)
    assert await rotate.ends() == 0
    assert rotate.log[0].endswith(await sql.fetchval("SELECT secret FROM hooks"))
    remove = await start("hooks", "remove", str(hook_id), database_url=dsn)
    assert await remove.ends() == 0
    assert remove.log == [f"Hook {hook_id} is gone; 0 deliveries are not made."]
    again = await start("hooks", "remove", str(hook_id), database_url=dsn)
    assert await again.ends() == 2
    assert again.log == [f"holdfast: Unknown hook. The store has no hook {hook_id}."]


async def test_the_log_is_read_and_deliveries_are_sent_again(
    start: Start, dsn: str, hooked: Hooked, sql: Any
) -> None:
    hook_id = await hooked(URL)
    await sql.execute("SELECT emit_event('main', 'stock.low', $1)", json.dumps({"secret": "x"}))
    await sql.execute("SELECT split_events('main', 9)")
    delivery_id = await sql.fetchval("UPDATE outbox SET dead_at = now() RETURNING message_id")
    log = await start("hooks", "log", str(hook_id), "--limit", "5", database_url=dsn)
    assert await log.ends() == 0
    assert log.log[0].startswith(f"{delivery_id}  created_at=")
    assert "status=failed" in log.log[0]
    assert log.log[1].startswith("1 deliveries")
    ids = (str(delivery_id), str(delivery_id + 9))
    resend = await start("hooks", "resend", str(hook_id), *ids, database_url=dsn)
    assert await resend.ends() == 2
    assert resend.log[0] == f"{delivery_id}: sent again as {delivery_id}, at once"
    assert resend.log[1].startswith("holdfast: Unknown delivery.")
    assert await sql.fetchval("SELECT is_waiting FROM outbox")


async def test_what_is_no_target_is_refused(start: Start, dsn: str, sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")
    production = {"environment": "production", "jwt_secret": builders.SECRET}
    for arguments, settings, said in (
        (["ftp://example.org"], {}, "Expected http://HOST"),
        ([URL, "--events", "stock.high"], {}, "stock.high"),
        (["http://10.0.0.1/"], production, "10.0.0.1 is no public address"),
        ([URL, "--store", "nowhere"], {}, "There is no store nowhere"),
    ):
        add = await start("hooks", "add", *arguments, database_url=dsn, **settings)
        assert await add.ends() == 2
        assert await add.says(said)
    assert await sql.fetchval("SELECT count(*) FROM hooks") == 0
