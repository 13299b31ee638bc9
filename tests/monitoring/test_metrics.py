"""Metrics: right, for all processes at once, and without a label that a caller can invent."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.web.metrics import Metrics
from tests.support.aliases import Api, Serve, Stocked
from tests.support.builders import FEED, RESERVE, callback
from tests.support.processes import Start
from tests.support.proxy import link_to
from tests.support.waits import becomes

Samples = dict[tuple[str, tuple[str, ...]], float]


def parsed(text: str) -> Samples:
    """Each sample's value by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(api: Api) -> Samples:
    response = await api.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return parsed(await response.text())


COUNT = "holdfast_request_seconds_count"


async def test_requests_are_counted_by_route_and_result(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    for number in range(3):
        await api.post(RESERVE, json=callback(reservation_id=str(number + 1)))
    await api.get("/api/v1/stores/main/reserve/1")
    samples = await scrape(api)
    assert samples[COUNT, ("ok", "POST", "/reserve")] == 1
    assert samples[COUNT, ("insufficient_stock", "POST", "/reserve")] == 2
    assert samples[COUNT, ("ok", "GET", "/reserve/{reservation_id}")] == 1
    buckets = [
        value
        for (name, labels), value in samples.items()
        if name == "holdfast_request_seconds_bucket" and {*labels} >= {"ok", "POST", "/reserve"}
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1
    assert 0 < samples["holdfast_request_seconds_sum", ("ok", "POST", "/reserve")] < 10


async def test_no_label_is_of_a_callers_making(api: Api) -> None:
    for path in ("/a", "/b", "/api/v1/c?d=e", "/api/v1/stores/f/reserve/g"):
        await api.get(path, headers={"X-Request-ID": "h", "User-Agent": "i"})
    await api.request("INVENTED", "/api/v1/reserve")
    await api.delete("/api/v1/reserve")
    samples = await scrape(api)
    ours = {labels for name, labels in samples if name == COUNT}
    assert ours == {
        ("bad_request", "", ""),
        ("method_not_allowed", "", ""),
        ("not_found", "", ""),
        ("unknown_store", "GET", "/reserve/{reservation_id}"),
    }


async def test_batches_connections_and_sockets_are_measured(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 500})
    bodies = [callback(reservation_id=str(number + 1), quantity=1) for number in range(40)]
    await asyncio.gather(*(api.post(RESERVE, json=body) for body in bodies))
    sockets = [await api.ws_connect(FEED + "main") for _ in range(3)]
    for socket in sockets:
        await socket.receive()
    samples = await scrape(api)
    assert samples["holdfast_batch_size_sum", ()] == 40
    assert 1 <= samples["holdfast_batch_size_count", ()] <= 40
    assert samples["holdfast_batch_waiting", ()] == 0
    assert samples["holdfast_feed_sockets", ()] == 3
    assert samples["holdfast_connections", ("open",)] >= 4
    assert samples["holdfast_connections", ("most",)] > 16
    assert samples["holdfast_unsent_bytes", ()] == 0
    used, most = (samples["holdfast_database_connections", ("calls", s)] for s in ("used", "most"))
    assert 0 <= used <= most
    assert samples["holdfast_database_connections", ("shares", "most")] >= 1
    assert samples["holdfast_processes", ()] == 1
    assert samples["holdfast_resident_bytes", ()] > 10_000_000
    assert samples["holdfast_open_files", ()] > 5


async def test_the_outbox_tells_how_far_behind_it_is(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({})
    assert ("holdfast_outbox_waiting", ("telegram",)) not in await scrape(api)
    emit = "SELECT emit_message('main', 'telegram', '{}')"
    for _ in range(4):
        await sql.execute(emit)
    await sql.execute(
        "UPDATE outbox SET due_at = due_at - interval '90 s' WHERE message_id = ("
        " SELECT min(message_id) FROM outbox)"
    )
    await sql.execute(
        "UPDATE outbox SET dead_at = due_at WHERE message_id = (SELECT max(message_id) FROM outbox)"
    )
    samples = await scrape(api)
    assert samples["holdfast_outbox_waiting", ("telegram",)] == 3
    assert samples["holdfast_outbox_dead", ("telegram",)] == 1
    assert 90 <= samples["holdfast_outbox_lag_seconds", ("telegram",)] < 120


async def test_without_a_database_the_rest_is_told(serve: Serve, dsn: str) -> None:
    async with link_to(dsn) as link:
        link.is_refusing = True
        samples = await scrape(await serve(link.url))
    assert samples["holdfast_processes", ()] == 1
    assert not [name for name, _ in samples if name.startswith("holdfast_outbox")]


async def test_metrics_are_told_to_monitors_alone(serve: Serve) -> None:
    api = await serve(trusted_proxies="127.0.0.1", monitors="192.0.2.0/24")
    for address, status in [("198.51.100.9", 403), ("192.0.2.10", 200)]:
        response = await api.get("/metrics", headers={"X-Forwarded-For": address})
        assert response.status == status


def test_processes_are_added_up_and_the_dead_still_count(tmp_path: Path) -> None:
    processes = [Metrics(tmp_path) for _ in range(3)]
    for number, metrics in enumerate(processes):
        seconds = metrics.histogram("seconds", "How long.", ("route",), (1.0, 2.0))
        seconds.observe(("a",), 0.5 + number)
        seconds.observe((f"only-{number}",), 5)
        metrics.gauge("open", "How many.", ("what",), lambda: {("x",): 2.0})
    living, dead = os.getppid(), 2**22 + 1  # no process has the second number
    for metrics, process_id in zip(processes[1:], (living, dead), strict=True):
        snapshot = metrics._snapshot()
        metrics._write(type(snapshot)(process_id, snapshot.histograms, snapshot.gauges))
    samples = parsed(asyncio.run(processes[0].text()).decode())
    assert samples["seconds_bucket", ("1.0", "a")] == 1
    assert samples["seconds_bucket", ("2.0", "a")] == 2
    assert samples["seconds_bucket", ("+Inf", "a")] == 3
    assert samples["seconds_sum", ("a",)] == 0.5 + 1.5 + 2.5
    assert samples["seconds_count", ("only-2",)] == 1
    assert samples["open", ("x",)] == 4


@pytest.mark.parametrize("processes", [1, 2])
async def test_whichever_process_is_asked_answers_for_all(
    serve_process: Start, stocked: Stocked, browser: aiohttp.ClientSession, processes: int
) -> None:
    await stocked({"7": 500})
    service = await serve_process(processes=processes)
    reserved = (COUNT, ("ok", "POST", "/reserve"))

    async def ask() -> Samples:
        response = await browser.get(service.url + "/metrics")
        return parsed(await response.text())

    sent = 0
    for _ in range(3):
        for _ in range(10):
            sent += 1
            body = callback(reservation_id=str(sent), quantity=1)
            assert (await browser.post(service.url + RESERVE, json=body)).status == 200

        async def are_counted(expected: int = sent) -> bool:
            samples = [await ask() for _ in range(6)]
            counts = [each.get(reserved, 0) for each in samples]
            assert counts == sorted(counts), "a counter never falls"
            return set(counts) == {expected}

        await becomes(are_counted)
    assert (await ask())["holdfast_processes", ()] == processes
    if processes == 2:
        os.kill(service.children[0], signal.SIGKILL)
        await service.says("API process ended")

        async def is_whole() -> bool:
            try:
                samples = await ask()
            except aiohttp.ClientError:
                return False
            assert samples[reserved] == sent
            return samples["holdfast_processes", ()] == 2

        await becomes(is_whole)
