"""Names of what fixtures give."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from aiohttp import ClientWebSocketResponse, web
from aiohttp.test_utils import TestClient

Api: TypeAlias = "TestClient[web.Request, web.Application]"
Connect = Callable[..., Awaitable[Any]]
NewUser = Callable[..., Awaitable[int]]
Stocked = Callable[..., Awaitable[None]]
Serve = Callable[..., Awaitable[Api]]


NewAccount = Callable[..., Awaitable[int]]


CreateUser = Callable[..., Awaitable[int]]
Header = Callable[..., Awaitable[dict[str, str]]]


Run = Callable[..., AbstractAsyncContextManager[None]]
Emit = Callable[..., Awaitable[list[int]]]
Hooked = Callable[..., Awaitable[int]]


Socket: TypeAlias = "ClientWebSocketResponse"
Watch = Callable[..., Awaitable[Socket]]
ServeFeed = Callable[..., Awaitable[Api]]
Levels = dict[str, tuple[int, int, int]]


NewDatabase = Callable[..., Awaitable[str]]
RunProgram = Callable[..., Awaitable[asyncio.subprocess.Process]]
