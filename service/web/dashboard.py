"""The dashboard at `/`: a page and its files, as they are, without a build step.

It reads the same API and the same feed as everybody else. The files are read once, when the
process starts, and lie in pages/dashboard/; browsers ask each time whether they are still the same.
"""

import gzip
import hashlib
import html
import mimetypes
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from service import __version__
from service.results import Refusal
from service.web.context import SETTINGS
from service.web.responses import CODE
from service.web.routing import EVERYONE, Routes

FOLDER = Path(__file__).with_name("pages") / "dashboard"
PAGE = "index.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types lit-html"
)
"""lit-html makes its templates by the one policy of that name, from text of the page's own."""
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    """A file of the page."""

    content: bytes
    compressed: bytes
    kind: str
    tag: str
    """Names its content (ETag)."""


def _read(path: Path) -> File:
    return _file(path.read_bytes(), TYPES.get(path.suffix) or mimetypes.types_map[path.suffix])


def _file(content: bytes, kind: str) -> File:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return File(content, gzip.compress(content, mtime=0), f"{kind}; charset=utf-8", tag)


FILES = {
    path.relative_to(FOLDER).as_posix(): _read(path)
    for path in sorted(FOLDER.rglob("*"))
    if path.suffix in TYPES and path.name != PAGE
}
TEMPLATE = (FOLDER / PAGE).read_text("utf-8")

routes = Routes("")


@routes.get("/", EVERYONE, media="text/html")
async def dashboard(request: web.Request) -> web.Response:
    """The page; it says which store is the default one, and what amounts are in."""
    settings = request.app[SETTINGS]
    facts = {
        "store": settings.store,
        "currency": settings.currency,
        "environment": settings.environment,
        "version": __version__,
    }
    page = TEMPLATE
    for name, value in facts.items():
        page = page.replace("{{" + name + "}}", html.escape(value))
    return _answer(request, _file(page.encode(), TYPES[".html"]))


@routes.get("/dashboard/{file:.+}", EVERYONE, is_file=True)
async def dashboard_file(request: web.Request) -> web.Response:
    """A file of the page."""
    file = FILES.get(request.match_info["file"])
    if file is None:
        raise Refusal("not_found")
    return _answer(request, file)


def _answer(request: web.Request, file: File) -> web.Response:
    """A file, compressed where the browser takes that, or 304 where it has it."""
    headers = {**HEADERS, "Content-Type": file.kind, "ETag": file.tag, "Vary": "Accept-Encoding"}
    body, status = file.content, 200
    if request.headers.get("If-None-Match") == file.tag:
        body, status = b"", 304
    elif "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = file.compressed, "gzip"
    response = web.Response(body=body, status=status, headers=headers)
    response[CODE] = "ok"
    return response
