"""The API as pages: ReDoc at /docs, Swagger UI at /docs/swagger, from files on this machine."""

import gzip
import hashlib
from asyncio import to_thread
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from service.results import Refusal
from service.web.routing import EVERYONE, Routes

PAGES = Path(__file__).with_name("pages")
PACKAGE = "drf_spectacular_sidecar"
"""Holds the bundles (pages/requirements.txt). It is looked up, never imported: it wants Django."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; worker-src blob:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Both bundles write styles into the page, Swagger UI has its icons as data:, and ReDoc searches in
a worker that it makes."""
CACHE = "public, max-age=3600"
LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
"""ReDoc asks another host for its maker's logo; where it cannot be had, ReDoc leaves it out."""
EMPTY_IMAGE = "data:,"

routes = Routes("")


class File(NamedTuple):
    """A file that a page loads."""

    content: bytes
    compressed: bytes
    tag: str
    """Another one for other content."""


@routes.get("/docs", EVERYONE, media="text/html", also=("not_found",))
async def redoc_page(request: web.Request) -> web.Response:
    """The API to read: ReDoc."""
    return _page("redoc.html")


@routes.get("/docs/swagger", EVERYONE, media="text/html", also=("not_found",))
async def swagger_page(request: web.Request) -> web.Response:
    """The API to try: Swagger UI."""
    return _page("swagger.html")


@routes.get("/docs/redoc.js", EVERYONE, media="text/javascript", also=("not_found",))
async def redoc_script(request: web.Request) -> web.Response:
    """ReDoc itself."""
    return await _answer(request, "redoc/bundles/redoc.standalone.js", "text/javascript")


@routes.get("/docs/swagger-ui.js", EVERYONE, media="text/javascript", also=("not_found",))
async def swagger_bundle(request: web.Request) -> web.Response:
    """Swagger UI itself."""
    return await _answer(request, "swagger-ui-dist/swagger-ui-bundle.js", "text/javascript")


@routes.get("/docs/swagger.css", EVERYONE, media="text/css", also=("not_found",))
async def swagger_style(request: web.Request) -> web.Response:
    """How Swagger UI looks."""
    return await _answer(request, "swagger-ui-dist/swagger-ui.css", "text/css")


@routes.get("/docs/swagger.js", EVERYONE, media="text/javascript")
async def swagger_start(request: web.Request) -> web.Response:
    """Starts Swagger UI on this service's document."""
    text = PAGES.joinpath("swagger.js").read_text("utf-8")
    return web.Response(text=text, content_type="text/javascript")


def _page(name: str) -> web.Response:
    _bundles()
    text = PAGES.joinpath(name).read_text("utf-8")
    headers = {"Content-Security-Policy": POLICY}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def _answer(request: web.Request, name: str, kind: str) -> web.Response:
    """A file of the package, compressed where the client takes that, or 304 where it has it."""
    file = await to_thread(_read, name)
    headers = {"Cache-Control": CACHE, "ETag": file.tag, "Vary": "Accept-Encoding"}
    if request.headers.get("If-None-Match") == file.tag:
        return web.Response(status=304, headers=headers)
    body = file.content
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = file.compressed, "gzip"
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)


@cache
def _read(name: str) -> File:
    content = _bundles().joinpath(name).read_bytes()
    content = content.replace(LOGO.encode(), EMPTY_IMAGE.encode())
    return File(content, gzip.compress(content), f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@cache
def _bundles() -> Path:
    """The folder of the bundles; Refusal where their package is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise Refusal(
            "not_found",
            "These pages need files that are not installed: pip install --no-deps"
            " --require-hashes -r service/web/pages/requirements.txt",
        )
    return Path(found.origin).with_name("static") / PACKAGE
