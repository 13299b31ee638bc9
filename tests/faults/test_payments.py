"""A payment whose answer was lost: the repeat tells, and nothing is credited twice (35)."""

import asyncio
import signal
from typing import Any

import aiohttp

from tests.faults.test_link import becomes
from tests.support.aliases import NewUser
from tests.support.builders import KEY, WEBHOOK, signed
from tests.support.processes import Start
from tests.support.proxy import link_to
from tests.support.waits import certain


async def test_a_service_killed_between_commit_and_answer_credits_once(
    serve_process: Start, browser: aiohttp.ClientSession, dsn: str, new_user: NewUser, sql: Any
) -> None:
    user_id = await new_user("ann")
    first, lost = signed(user_id=user_id, transaction_id=1), signed(user_id=user_id)
    async with link_to(dsn) as link:
        service = await serve_process(database_url=link.url, payment_key=KEY)
        assert (await browser.post(service.url + WEBHOOK, json=first)).status == 200
        link.to_client.clear()
        waiting = asyncio.create_task(browser.post(service.url + WEBHOOK, json=lost))
        await becomes(sql, "SELECT count(*) = 2 FROM account_entries")
        await service.stop(signal.SIGKILL)
        answer = (await asyncio.gather(waiting, return_exceptions=True))[0]
        assert isinstance(answer, aiohttp.ClientError)

    service = await serve_process(payment_key=KEY)
    answers = await asyncio.gather(
        *(certain(lambda: browser.post(service.url + WEBHOOK, json=lost)) for _ in range(100))
    )
    assert {status for status, _ in answers} == {200}
    assert all(body == answers[0][1] for _, body in answers)
    assert await sql.fetchval("SELECT array_agg(balance) FROM accounts") == [200]
    assert await sql.fetchval("SELECT count(*) FROM account_entries") == 2
