"""Bare aiohttp: read the body, answer it. No validation, no log, no database: the ceiling."""

import sys

import uvloop
from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    """The body, as it came."""
    return web.Response(body=await request.read(), content_type="application/json")


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/api/v1/reserve", echo)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        reuse_port=True,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
