"""Browsers: which pages may call, and what theirs are told."""

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from service.results import Refusal
from service.settings import Settings
from service.web import responses

READING = frozenset({"GET", "HEAD", "OPTIONS"})
READABLE = "Retry-After, X-Request-ID"
PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Request-ID",
    "Access-Control-Max-Age": "7200",  # seconds; no browser remembers it longer
}


class Origins:
    """Pages of our own and of HOLDFAST_CORS_ORIGINS may call; others may not.

    Only pages of the web are judged, by `http(s)` and `null`: a browser's extension names itself
    by a scheme of its own, and whoever is no browser names nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(settings.cors_origins.lower().split())
        public = urlsplit(settings.public_url)
        self._own = public.netloc.lower() or None
        self._names = {public.hostname}
        self._is_development = settings.environment == "development"

    def check(self, request: web.Request) -> None:
        """Refuse the pages of other sites."""
        origin = request.headers.get("Origin", "").lower()
        is_judged = origin == "null" or origin.startswith(("http://", "https://"))
        if not is_judged or origin in self._allowed:
            return
        if origin.partition("://")[2] not in (request.host.lower(), self._own):
            raise Refusal("forbidden_origin", origin=origin)

    def check_write(self, request: web.Request) -> None:
        """In development, where no credentials are asked for: refuse writes of other sites."""
        if self._is_development and request.method not in READING and "Origin" in request.headers:
            self.check(request)

    def check_host(self, request: web.Request) -> None:
        """In development: refuse names that a foreign page may have pointed at this machine."""
        if self._is_development:
            name = host_name(request.headers.get("Host", ""))
            if "." in name and name not in self._names:
                raise Refusal("forbidden_host", host=name)

    def headers(self, request: web.Request) -> dict[str, str]:
        """What lets a page of another site read an answer, where it may."""
        origin = request.headers["Origin"]
        if origin.lower() not in self._allowed:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": READABLE,
            "Vary": "Origin",
        }

    def preflight(self, request: web.Request, methods: str) -> web.Response | None:
        """The answer to a browser that asks what a page may send; None for any other OPTIONS."""
        headers = request.headers
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in headers:
            return None
        if headers.get("Origin", "").lower() not in self._allowed:
            return responses.respond_code("forbidden_origin", origin=headers.get("Origin"))
        response = web.Response(status=204, headers=PREFLIGHT)
        response.headers["Access-Control-Allow-Methods"] = methods
        return response


ORIGINS = web.AppKey("ORIGINS", Origins)


@lru_cache(maxsize=256)
def host_name(host: str) -> str:
    """The name of a Host header without its port; empty for an IP address, which needs no name."""
    name, _, _ = host.rpartition(":") if re.search(r":\d*\Z", host) else (host, "", "")
    is_bracketed = name.startswith("[") and name.endswith("]")
    try:
        ip_address(name[1:-1] if is_bracketed else name)
    except ValueError:
        return name.lower()
    return ""
