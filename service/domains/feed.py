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
* Who watches is asked about every second: the sockets of a disabled user, of a session that has
  ended and of a revoked or expired key or token are closed.
"""

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
from aiohttp import WSCloseCode, web
from sqlalchemy import text

from service.database.listen import Listener
from service.database.pool import Database
from service.results import Refusal
from service.web.auth import AUTH, Auth
from service.web.boundary import begin
from service.web.context import CALLER, DATABASE, STORE_ID
from service.web.metrics import METRICS
from service.web.origins import ORIGINS
from service.web.responses import CODE, ENCODER
from service.web.routing import API, OPERATORS, Caller, Routes
from service.web.sockets import CLOSE_SECONDS, PushSocket, text_frame

STORE_REPORT = text("SELECT * FROM store_report(:store_id, CAST(:product_ids AS text[]))")
CHANNEL = "holdfast.stock"
PROTOCOL = "holdfast"

FOLD_SECONDS = 0.25
PATIENCE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
"""Of the listening connection: one that has gone silent is given up after twice as long."""
CHECK_SECONDS = 1.0
"""Between looks whether those who watch may still do so."""
PING_SECONDS = 20.0
LONGEST_MESSAGE = 4096
"""Of a client, which has nothing to say."""
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


Mode = Literal["report", "changes", "quantities"]
"""What a socket is sent. Quantities: the report as the older service sent it, in two fields."""


class FeedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /ws/stores/{id}: whether each message is the report, or only what has changed."""

    mode: Literal["report", "changes"] = "report"


REPORT = msgspec.json.Decoder(Report)
NOTIFICATION = msgspec.json.Decoder(list[str])

routes = Routes(API)


def set_up(app: web.Application) -> None:
    """Give the application its hub, which says goodbye to all sockets at the end."""
    hub = app[HUB] = Hub(app[DATABASE], app[AUTH])
    app[METRICS].gauge(
        "holdfast_feed_sockets", "Open sockets of the feed.", (), lambda: {(): hub.watchers}
    )
    app.on_shutdown.append(_say_goodbye)


async def _say_goodbye(app: web.Application) -> None:
    await app[HUB].close()


@routes.get(
    "/ws/stores/{store_id}",
    OPERATORS,
    scope="stock",
    query=FeedQuery,
    opens=True,
    is_socket=True,
    also=("unknown_store", "too_many_items", "forbidden_origin"),
)
async def watch_store(request: web.Request, query: FeedQuery) -> web.StreamResponse:
    """The store's report, and again whenever its stock changes; `mode=changes`: what changed."""
    return await watch(request, query.mode)


async def watch(request: web.Request, mode: Mode) -> web.StreamResponse:
    """A socket of a store, open until one of the two closes it."""
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
            watcher = _Watcher(socket, request.transport, mode, request[CALLER])
            await hub.attend(store, watcher)
            socket[CODE] = f"closed_{watcher.code or socket.close_code}"
    return socket


def _check_protocols(request: web.Request) -> None:
    """Refuse who offers others than ours: aiohttp would log them, and a token is one of them."""
    offered = request.headers.get("Sec-WebSocket-Protocol")
    if offered is not None and PROTOCOL not in map(str.strip, offered.split(",")):
        raise Refusal("bad_request", f"The subprotocol to offer is {PROTOCOL}.")


class _Watcher(PushSocket):
    """One socket of the feed, whose it is, and what it has missed."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        mode: Mode,
        caller: Caller,
    ) -> None:
        super().__init__(socket, transport)
        self.mode = mode
        self.only_changes = mode == "changes"
        self.caller = caller
        self.missed = set[str]()
        """Items that changed since it fell behind; only kept for those who want changes."""


class _Items:
    """What a store has, as it was last read, and the frames that tell it."""

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id
        self._items: dict[str, Item] = {}
        self._reports: dict[Mode, bytes] = {}

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
            self._reports.clear()
        return different

    def report(self, mode: Mode = "report") -> bytes:
        """The frame of all items, encoded once for each mode."""
        if mode not in self._reports:
            is_older = mode == "quantities"
            self._reports[mode] = self._quantities() if is_older else self.changes(self._items)
        return self._reports[mode]

    def changes(self, item_ids: Iterable[str]) -> bytes:
        """The frame of some items, at zero where the store has none left."""
        items = [self._items.get(item_id) or Item(item_id) for item_id in sorted(item_ids)]
        return text_frame(ENCODER.encode(Report(Store(self._store_id, items))))

    def _quantities(self) -> bytes:
        counts = sorted((item.item_id, item.quantity) for item in self._items.values())
        report = [{"item_id": item_id, "quantity": quantity} for item_id, quantity in counts]
        store = {"store_id": self._store_id, "report": report}
        return text_frame(ENCODER.encode({"store": store}))


class _Watched:
    """A store that somebody watches: its items, its watchers, and what has to be read again."""

    def __init__(self, store_id: str) -> None:
        self.store_id = store_id
        self.items = _Items(store_id)
        self.users = 0
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watchers = set[_Watcher]()
        self.behind = set[_Watcher]()
        self.woken = asyncio.Event()
        self._changed: set[str] | None = set()

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

    async def tell(self, different: set[str], patience: float) -> list[_Watcher]:
        """Send each watcher what is different, or keep it for who is behind; who is stalled."""
        stalled = list[_Watcher]()
        changes = self.items.changes(different)
        for number, watcher in enumerate(list(self.watchers if different else self.behind), 1):
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
            if watcher.is_gone:
                continue
            if watcher.is_behind:
                self.behind.add(watcher)
                if watcher.only_changes:
                    watcher.missed |= different
                if watcher.is_stalled(patience):
                    stalled.append(watcher)
                continue
            frame = changes if watcher.only_changes else self.items.report(watcher.mode)
            if watcher in self.behind:
                self.behind.discard(watcher)
                if watcher.only_changes:
                    frame = self.items.changes(watcher.missed | different)
                watcher.missed.clear()
            watcher.write(frame)
        return stalled


class _Tasks:
    """What goes on beside requests, apart from the one that happened to be the first to need it."""

    def __init__(self) -> None:
        self._running = set[asyncio.Task[None]]()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends or `close`."""
        task = asyncio.create_task(work, context=contextvars.Context())
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("A task of the feed failed", exc_info=error)

    async def close(self) -> None:
        """End all that runs."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


class Hub:
    """All watched stores of a process."""

    def __init__(
        self,
        database: Database,
        auth: Auth,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._database, self._auth = database.share(READS_AT_ONCE), auth
        self._patience = patience
        self._stores: dict[str, _Watched] = {}
        self._tasks = _Tasks()
        self._is_attended = False
        self._is_closing = False
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._listener = Listener(
            "feed",
            CHANNEL,
            heartbeat=heartbeat,
            on_begin=self._mark_all,
            on_payload=self._mark,
        )

    @property
    def watchers(self) -> int:
        """How many sockets are told of changes."""
        return sum(len(store.watchers) for store in self._stores.values())

    @asynccontextmanager
    async def watching(self, store_id: str) -> AsyncIterator[_Watched]:
        """A store, loaded and kept up to date as long as someone is in here. Raises Refusal."""
        if self._is_closing:
            raise Refusal("shutting_down")
        store = self._stores.get(store_id)
        if store is None:
            store = self._stores[store_id] = _Watched(store_id)
            self._tasks.start(self._follow(store))
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
        watcher.write(store.items.report(watcher.mode))
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
        goodbyes = [each.close(WSCloseCode.GOING_AWAY, "shutting down") for each in self._watchers]
        await asyncio.gather(*goodbyes)
        await self._tasks.close()

    @property
    def _watchers(self) -> list[_Watcher]:
        return [watcher for store in self._stores.values() for watcher in store.watchers]

    async def _follow(self, store: _Watched) -> None:
        """Load a store, then tell its watchers what changes, at most once in FOLD_SECONDS."""
        try:
            store.items.patch(None, await self._read(store.store_id, None))
        except Exception as error:
            store.loaded.set_exception(error)
            return
        store.loaded.set_result(None)
        if not self._is_attended:
            self._is_attended = True
            self._tasks.start(self._attend_all())
        while store.users:
            if not store.behind:
                await store.woken.wait()
            different = set[str]()
            if store.woken.is_set() and self._listener.is_heard:
                different = await self._refresh(store)
            for watcher in await store.tell(different, self._patience):
                self._tasks.start(watcher.close(WSCloseCode.TRY_AGAIN_LATER, "too slow"))
            await asyncio.sleep(FOLD_SECONDS)

    async def _refresh(self, store: _Watched) -> set[str]:
        """Read what is marked; the items that are different now."""
        marked = store.take_marks()
        try:
            return store.items.patch(marked, await self._read(store.store_id, marked))
        except Exception as error:
            if isinstance(error, Refusal) and error.code == "too_many_items":
                for watcher in store.watchers:
                    self._tasks.start(watcher.close(WSCloseCode.MESSAGE_TOO_BIG, error.code))
                return set()
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
            facts = msgspec.json.decode(row.document) if row.document else {}
            raise Refusal(row.result_code, store_id=store_id, **facts)
        return REPORT.decode(row.document).store.report

    async def _attend_all(self) -> None:
        """Hear of changes, and see to it that nobody watches any more who may not."""
        checking = asyncio.create_task(self._check_callers())
        try:
            await self._listener.listen(
                self._database.listen_dsn, "holdfast_service", lambda: bool(self._stores)
            )
        finally:
            self._is_attended = False
            checking.cancel()

    async def _check_callers(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            watchers = self._watchers
            try:
                ended = await self._auth.ended(watcher.caller for watcher in watchers)
            except Exception as error:
                if not isinstance(error, Refusal):  # else the database has said why in the log
                    logger.exception("Nobody knows who may still watch")
                continue
            for watcher in watchers:
                if watcher.caller in ended and watcher.code is None:
                    goodbye = watcher.close(WSCloseCode.POLICY_VIOLATION, "credentials ended")
                    self._tasks.start(goodbye)

    def _mark_all(self) -> None:
        for store in self._stores.values():
            store.mark(None)

    def _mark(self, payload: str) -> None:
        """A statement has changed items of a store; a store without items: too many to name."""
        try:
            store_id, *item_ids = NOTIFICATION.decode(payload)
        except (msgspec.DecodeError, ValueError):
            logger.warning("Not a notification of ours: %r", payload)
            return
        if store := self._stores.get(store_id):
            store.mark(item_ids or None)


HUB = web.AppKey("HUB", Hub)
