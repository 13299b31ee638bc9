"""Messages that were given up: listed without their content, tried again once."""

from typing import Any

import pytest

from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import answer

PATH = "/api/v1/dead-letters"


@pytest.fixture
async def staff(user: CreateUser, header_of: Header) -> dict[str, str]:
    return await header_of(await user("waiter", role="staff"))


async def dead(sql: Any, channel: str = "mail", target: str = "") -> int:
    return int(
        await sql.fetchval(
            "INSERT INTO outbox (store_id, channel, target, payload, dead_at, attempts)"
            ' VALUES (\'main\', $1, $2, \'{"mail": "received", "to": "a@b.example"}\', now(), 40)'
            " RETURNING message_id",
            *(channel, target),
        )
    )


async def test_they_are_listed_newest_first_without_their_content(
    api: Api, sql: Any, staff: dict[str, str]
) -> None:
    first, second = await dead(sql), await dead(sql, "telegram")
    status, page = await answer(await api.get(PATH, headers=staff, params={"limit": 1}))
    assert status == 200
    assert [each["message_id"] for each in page["dead_letters"]] == [second]
    _, rest = await answer(await api.get(PATH, headers=staff, params={"after": page["next"]}))
    assert [(each["message_id"], each["type"]) for each in rest["dead_letters"]] == [
        (first, "received")
    ]
    assert "a@b.example" not in str(rest)


async def test_one_is_tried_again_by_name_and_only_once(
    api: Api, sql: Any, staff: dict[str, str]
) -> None:
    message = await dead(sql)
    path = f"{PATH}/{message}/resend"
    assert (await answer(await api.post(path, headers=staff)))[0] == 200
    row = await sql.fetchrow("SELECT * FROM outbox")
    assert (row["is_waiting"], row["max_attempts"], row["revived_by"]) == (True, 80, "user:1")
    assert (await answer(await api.post(path, headers=staff)))[1]["code"] == "not_dead"
    unknown = await api.post(f"{PATH}/{message + 1}/resend", headers=staff)
    assert (await answer(unknown))[1]["code"] == "unknown_message"


async def test_a_webhook_waits_until_its_target_is_on(
    api: Api, sql: Any, staff: dict[str, str]
) -> None:
    hook = await sql.fetchval(
        "SELECT document ->> 'hook_id' FROM create_hook('main', 'https://example.org/events',"
        " NULL, 'whsec_' || repeat('A', 44), 'tests')"
    )
    message = await dead(sql, "webhook", hook)
    await api.patch(f"/api/v1/hooks/{hook}", json={"is_active": False}, headers=staff)
    refused = await answer(await api.post(f"{PATH}/{message}/resend", headers=staff))
    assert (refused[0], refused[1]["code"]) == (409, "hook_off")
    _, page = await answer(await api.get(PATH, headers=staff))
    assert page["dead_letters"][0]["url"] == "https://example.org/events"


async def test_an_unknown_store_and_strangers(
    api: Api, sql: Any, user: CreateUser, header_of: Header, staff: dict[str, str]
) -> None:
    assert (await api.get(PATH)).status == 401
    customer = await header_of(await user("guest"))
    assert (await api.get(PATH, headers=customer)).status == 403
    for query in ("list_dead_letters('nowhere', NULL, 1)", "resend_dead_letter('nowhere', 1, 'x')"):
        assert await sql.fetchval(f"SELECT result_code FROM {query}") == "unknown_store"
