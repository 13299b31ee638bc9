"""The live feed: a store's stock on open WebSockets, again whenever it changes, whoever changes it.

Triggers on `stock` NOTIFY which items of which store a statement changed. One connection per
process listens, while anyone watches. What has changed is read once, however many sockets watch
the store, encoded once for each mode, and the same bytes go to all of them.

* Bursts are folded: the first change goes out at once, what follows within FOLD_SECONDS together.
* A socket that has not taken the last message is behind: it is sent nothing until it has, and
  then what it missed as one message. So it holds one message at most; and if it takes nothing for
  PATIENCE_SECONDS it is cut off.
* The listening connection may be lost, or go silent, which a heartbeat finds out. Whenever it is
  opened, every watched store is read anew and what differs is sent: nothing is missed.

Frames are written to the transport itself: a task or a coroutine per socket and message would
cost the callers of a store with 2,000 watchers a good part of their reservations.
"""

import asyncio
import contextvars
import logging
import struct
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import msgspec
from aiohttp import WSCloseCode, web
from sqlalchemy import text

from service.database.connections import connected
from service.database.pool import Database
from service.results import Refusal
from service.web.boundary import begin
from service.web.context import DATABASE, STORE_ID
from service.web.origins import ORIGINS
from service.web.responses import CODE, ENCODER
from service.web.routing import API, OPERATORS, Routes

STORE_REPORT = text("SELECT * FROM store_report(:store_id, CAST(:product_ids AS text[]))")
CHANNEL = "holdfast.stock"
PROTOCOL = "holdfast"

FOLD_SECONDS = 0.25
PATIENCE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
"""Of the listening connection: one that has gone silent is given up after twice as long."""
LONGEST_PAUSE = 1.0
"""Between attempts to listen again."""
PING_SECONDS = 20.0
CLOSE_SECONDS = 2.0
LONGEST_MESSAGE = 4096
"""Of a client, which has nothing to say."""
LEEWAY = 16384
"""Bytes not yet sent that do not make a socket count as behind."""
TOLD_AT_ONCE = 100
"""Sockets, before others of this process have their turn."""
READS_AT_ONCE = 4
"""Each on a connection of its own."""

logger = logging.getLogger("holdfast.feed")


class Item(msgspec.Struct, frozen=True):
    """What a store has of one item, as in its report."""

    item_id: str
    quantity: int = 0
    reserved: int = 0
    available: int = 0


class Store(msgspec.Struct, frozen=True):
    """Some or all items of a store, by id."""

    store_id: str
    report: list[Item]


class Report(msgspec.Struct, frozen=True):
    """Every message of the feed."""

    store: Store


class FeedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /ws/stores/{id}: whether each message is the report, or only what has changed."""

    mode: Literal["report", "changes"] = "report"


REPORT = msgspec.json.Decoder(Report)
NOTIFICATION = msgspec.json.Decoder(list[str])

routes = Routes(API)


def set_up(app: web.Application) -> None:
    """Give the application its hub, which says goodbye to all sockets at the end."""
    app[HUB] = Hub(app[DATABASE])
    app.on_shutdown.append(_say_goodbye)


async def _say_goodbye(app: web.Application) -> None:
    await app[HUB].close()


@routes.get("/ws/stores/{store_id}", OPERATORS, scope="stock", query=FeedQuery, opens=True)
async def watch_store(request: web.Request, query: FeedQuery) -> web.StreamResponse:
    """The store's report, and again whenever its stock changes; `mode=changes`: what changed."""
    request.app[ORIGINS].check(request)
    _check_protocols(request)
    socket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        heartbeat=PING_SECONDS,
        protocols=(PROTOCOL,),
        compress=False,
        max_msg_size=LONGEST_MESSAGE,
    )
    if not socket.can_prepare(request):
        raise Refusal("bad_request", "This path speaks WebSocket, version 13.")
    hub = request.app[HUB]
    async with hub.watching(request[STORE_ID]) as store:
        try:
            await begin(request, socket)
        except ConnectionError:
            raise Refusal("bad_request", "The connection was lost.") from None
        if request.transport:
            watcher = _Watcher(socket, request.transport, query.mode)
            await hub.attend(store, watcher)
            socket[CODE] = f"closed_{watcher.code or socket.close_code}"
    return socket


def _check_protocols(request: web.Request) -> None:
    """Refuse who offers others than ours: aiohttp would log them, and a token is one of them."""
    offered = request.headers.get("Sec-WebSocket-Protocol")
    if offered is not None and PROTOCOL not in map(str.strip, offered.split(",")):
        raise Refusal("bad_request", f"The subprotocol to offer is {PROTOCOL}.")


class _Watcher:
    """One socket, and how far behind it is."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, mode: str
    ) -> None:
        self.socket = socket
        self.only_changes = mode == "changes"
        self.code: WSCloseCode | None = None
        """What we have closed it with."""
        self.missed = set[str]()
        """Items that changed since it fell behind; only kept for those who want changes."""
        self._transport = transport
        self._left = 0
        self._since = 0.0

    @property
    def is_gone(self) -> bool:
        return self.socket.closed or self._transport.is_closing()

    @property
    def is_behind(self) -> bool:
        return self._transport.get_write_buffer_size() > LEEWAY

    def write(self, frame: bytes) -> None:
        self._left = 0
        self._transport.write(frame)

    def is_stalled(self, patience: float) -> bool:
        """Whether it has taken nothing for so many seconds that it was seen to be behind."""
        left, now = self._transport.get_write_buffer_size(), time.monotonic()
        if not self._left or left < self._left:
            self._since = now
        self._left = left
        return now - self._since > patience

    async def close(self, code: WSCloseCode, reason: str) -> None:
        self.code = code
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.socket.close(code=code, message=reason.encode(), drain=False)

    def leave(self) -> None:
        """Not even the goodbye may wait for ever in a buffer that nobody empties."""
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._abort)

    def _abort(self) -> None:
        if self._transport.get_write_buffer_size():
            self._transport.abort()


class _Watched:
    """A store that somebody watches: its items, its watchers, and what has to be read again."""

    def __init__(self, store_id: str) -> None:
        self.store_id = store_id
        self.users = 0
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watchers = set[_Watcher]()
        self.behind = set[_Watcher]()
        self.woken = asyncio.Event()
        self._changed: set[str] | None = set()
        self._items: dict[str, Item] = {}
        self._report: bytes | None = None

    def mark(self, item_ids: Collection[str] | None) -> None:
        """These items have changed; None: nobody knows which."""
        if item_ids is None or self._changed is None:
            self._changed = None
        else:
            self._changed.update(item_ids)
        self.woken.set()

    def take_marks(self) -> set[str] | None:
        """What has been marked since the last time."""
        changed, self._changed = self._changed, set()
        self.woken.clear()
        return changed

    def patch(self, item_ids: Collection[str] | None, read: Iterable[Item]) -> set[str]:
        """Take over what was read of these items (None: of all); those that are different now."""
        found = {item.item_id: item for item in read if item.quantity}
        different = set[str]()
        for item_id in self._items.keys() | found.keys() if item_ids is None else item_ids:
            item = found.get(item_id)
            if item == self._items.get(item_id):
                continue
            different.add(item_id)
            if item:
                self._items[item_id] = item
            else:
                del self._items[item_id]
        if different:
            self._report = None
        return different

    def report(self) -> bytes:
        """The frame of all items, encoded once."""
        if self._report is None:
            self._report = self.changes(self._items)
        return self._report

    def changes(self, item_ids: Iterable[str]) -> bytes:
        """The frame of some items, at zero where the store has none left."""
        items = [self._items.get(item_id) or Item(item_id) for item_id in sorted(item_ids)]
        return _frame(ENCODER.encode(Report(Store(self.store_id, items))))


class Hub:
    """All watched stores of a process."""

    def __init__(
        self,
        database: Database,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._database = database.share(READS_AT_ONCE)
        self._heartbeat = heartbeat
        self._patience = patience
        self._stores: dict[str, _Watched] = {}
        self._tasks = set[asyncio.Task[None]]()
        self._listening: asyncio.Task[None] | None = None
        self._is_heard = False
        self._is_closing = False
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    @asynccontextmanager
    async def watching(self, store_id: str) -> AsyncIterator[_Watched]:
        """A store, loaded and kept up to date as long as someone is in here. Raises Refusal."""
        if self._is_closing:
            raise Refusal("shutting_down")
        store = self._stores.get(store_id)
        if store is None:
            store = self._stores[store_id] = _Watched(store_id)
            self._start(self._follow(store))
        store.users += 1
        try:
            await asyncio.shield(store.loaded)
            yield store
        finally:
            store.users -= 1
            if not store.users:  # who follows it sees that, too
                del self._stores[store_id]
                store.woken.set()

    async def attend(self, store: _Watched, watcher: _Watcher) -> None:
        """Send a socket the report, then whatever changes, until it is closed."""
        watcher.write(store.report())
        store.watchers.add(watcher)
        try:
            if self._is_closing:
                await watcher.close(WSCloseCode.GOING_AWAY, "shutting down")
            async for _ in watcher.socket:
                pass
        finally:
            store.watchers.discard(watcher)
            store.behind.discard(watcher)
            watcher.leave()

    async def close(self) -> None:
        """Say goodbye to every socket; nobody comes in any more."""
        self._is_closing = True
        watchers = [each for store in self._stores.values() for each in store.watchers]
        await asyncio.gather(
            *(each.close(WSCloseCode.GOING_AWAY, "shutting down") for each in watchers)
        )
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run it apart from the request that happened to be the first to need it."""
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("A task of the feed failed", exc_info=error)

    async def _follow(self, store: _Watched) -> None:
        """Load a store, then tell its watchers what changes, at most once in FOLD_SECONDS."""
        try:
            store.patch(None, await self._read(store.store_id, None))
        except Exception as error:
            store.loaded.set_exception(error)
            return
        store.loaded.set_result(None)
        if self._listening is None:
            self._listening = self._start(self._listen())
        while store.users:
            if not store.behind:
                await store.woken.wait()
            different = set[str]()
            if store.woken.is_set() and self._is_heard:
                different = await self._refresh(store)
            await self._tell(store, different)
            await asyncio.sleep(FOLD_SECONDS)

    async def _refresh(self, store: _Watched) -> set[str]:
        """Read what is marked; the items that are different now."""
        marked = store.take_marks()
        try:
            return store.patch(marked, await self._read(store.store_id, marked))
        except Exception as error:
            if not isinstance(error, Refusal):
                logger.exception("Store %s cannot be read", store.store_id)
            store.mark(marked)
            return set()

    async def _read(self, store_id: str, item_ids: Collection[str] | None) -> list[Item]:
        product_ids = None if item_ids is None else list(item_ids)
        async with self._reads:
            row = await self._database.read(
                STORE_REPORT, store_id=store_id, product_ids=product_ids
            )
        if row.result_code != "ok":
            raise Refusal(row.result_code, store_id=store_id)
        return REPORT.decode(row.document).store.report

    async def _tell(self, store: _Watched, different: set[str]) -> None:
        """Send each watcher what is different, or keep it for who is behind."""
        changes = store.changes(different)
        for number, watcher in enumerate(list(store.watchers if different else store.behind), 1):
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
            if watcher.is_gone:
                continue
            if watcher.is_behind:
                store.behind.add(watcher)
                if watcher.only_changes:
                    watcher.missed |= different
                if watcher.is_stalled(self._patience):
                    self._start(watcher.close(WSCloseCode.TRY_AGAIN_LATER, "too slow"))
                continue
            frame = changes if watcher.only_changes else store.report()
            if watcher in store.behind:
                store.behind.discard(watcher)
                if watcher.only_changes:
                    frame = store.changes(watcher.missed | different)
                watcher.missed.clear()
            watcher.write(frame)

    async def _listen(self) -> None:
        """Hear of changes while any store is watched; connect again, however often it takes."""
        pause = 0.0
        while self._stores:
            began = time.monotonic()
            try:
                dsn = self._database.listen_dsn
                async with connected(
                    dsn, "holdfast_service", seconds=self._heartbeat
                ) as connection:
                    try:
                        await self._hear(connection)
                    finally:
                        self._is_heard = False
            except Exception as error:
                if time.monotonic() - began > 5 * LONGEST_PAUSE:
                    pause = 0.0
                if not pause:
                    logger.warning("The feed's connection is lost: %s", str(error) or repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2 + 0.05, LONGEST_PAUSE)
        self._listening = None

    async def _hear(self, connection: Any) -> None:
        """Listen on a connection until it is lost, or nobody watches any more."""
        is_lost = asyncio.Event()
        connection.add_termination_listener(lambda _: is_lost.set())
        await connection.execute("SET application_name = 'holdfast feed'")
        await connection.add_listener(CHANNEL, self._on_notification)
        logger.info("The feed listens")
        self._is_heard = True
        for store in self._stores.values():
            store.mark(None)
        while self._stores and not is_lost.is_set():
            try:
                async with asyncio.timeout(self._heartbeat):
                    await is_lost.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
        if is_lost.is_set():
            raise ConnectionError("closed by the server")

    def _on_notification(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        """A statement has changed items of a store; a store without items: too many to name."""
        try:
            store_id, *item_ids = NOTIFICATION.decode(str(payload))
        except (msgspec.DecodeError, ValueError):
            logger.warning("Not a notification of ours: %r", payload)
            return
        if store := self._stores.get(store_id):
            store.mark(item_ids or None)


HUB = web.AppKey("HUB", Hub)


def _frame(message: bytes) -> bytes:
    """A whole text message as RFC 6455 has it: not masked, not compressed."""
    length = len(message)
    if length < 126:
        return struct.pack("!BB", 0x81, length) + message
    if length < 65536:
        return struct.pack("!BBH", 0x81, 126, length) + message
    return struct.pack("!BBQ", 0x81, 127, length) + message
