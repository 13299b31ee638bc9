"""The Python client: its README's example, and repeats that happen once."""

import contextlib
import io
import re
import textwrap
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clients.python import holdfast_client
from clients.python.holdfast_client import Holdfast, Refused
from service.settings import ROOT
from tests.support.aliases import Api, Stocked
from tests.support.builders import stock
from tests.support.processes import Start


async def test_the_example_of_its_readme_prints_what_it_says(serve_process: Start) -> None:
    service = await serve_process("--demo")
    text = (ROOT / "clients" / "python" / "README.md").read_text()
    code, printed = re.findall(r"```(?:python)?\n(.*?)```", text, re.S)
    code = code.replace("http://127.0.0.1:8080", service.url)
    code = code.replace("from holdfast_client", "from clients.python.holdfast_client")
    scope: dict[str, Any] = {}
    exec("async def example():\n" + textwrap.indent(code, "    "), scope)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        await scope["example"]()
    assert said.getvalue() == printed


async def test_a_repeat_after_a_lost_answer_happens_once(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    """Every answer of the service is lost once, by a proxy between."""
    await stocked({"7": 10})
    lost: set[bytes] = set()

    async def lose(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: request.headers[name] for name in request.headers if name != "Host"}
        async with api.request(
            request.method, request.path_qs, data=body, headers=headers
        ) as answer:
            if (known := request.path.encode() + body) not in lost:
                lost.add(known)
                assert request.transport
                request.transport.abort()
            return web.Response(
                body=await answer.read(), status=answer.status, content_type="application/json"
            )

    between = web.Application()
    between.router.add_route("*", "/{path:.*}", lose)
    async with TestServer(between) as server, Holdfast(str(server.make_url(""))) as holdfast:
        await holdfast.reserve("1", "7", 2)
        held = await holdfast.hold([{"product_id": "7", "quantity": 3}], ttl_seconds=60)
        assert (await holdfast.commit(held["reservation_id"]))["status"] == "committed"
        change = {"operation": "supply", "item_id": "7", "quantity": 5}
        await holdfast.call("POST", "/stores/main", change)
        with pytest.raises(Refused) as refused:
            await holdfast.reserve("2", "8", 1)
    assert (refused.value.status, refused.value.code) == (404, "unknown_product")
    assert await stock(sql) == {"7": (12, 2)}
    assert len(lost) == 5


async def test_a_503_is_repeated_after_the_seconds_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | None] = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Idempotency-Key"))
        if len(asked) < 3:
            answer = {"status": "error", "code": "outcome_unknown", "message": "", "detail": ""}
            return web.json_response(answer, status=503, headers={"Retry-After": "0"})
        return web.json_response({"done": True})

    app = web.Application()
    app.router.add_post("/api/v1/products/buy", busy)
    async with TestServer(app) as server, Holdfast(str(server.make_url(""))) as holdfast:
        assert await holdfast.call("POST", "/products/buy", {}) == {"done": True}
        assert len(asked) == 3
        assert len(set(asked)) == 1
        assert asked[0] is not None
        asked.clear()
        monkeypatch.setattr(holdfast_client, "PATIENCE_SECONDS", -1)
        with pytest.raises(Refused, match="outcome_unknown"):
            await holdfast.call("POST", "/products/buy", {})
