"""LISTEN: one connection that hears what others NOTIFY, however often it is lost."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from service.database.connections import connected

LONGEST_PAUSE = 1.0
"""Between attempts to connect again."""

logger = logging.getLogger("holdfast.listen")


class Listener:
    """Hears a channel while somebody wants it.

    A connection that has gone silent, which the network may not tell, is found out by a heartbeat
    and given up after twice as long.
    """

    def __init__(
        self,
        name: str,
        channel: str,
        *,
        heartbeat: float,
        on_begin: Callable[[], None],
        on_payload: Callable[[str], None],
    ) -> None:
        self._name, self._channel, self._heartbeat = name, channel, heartbeat
        self._on_begin, self._on_payload = on_begin, on_payload
        self.is_heard = False
        """Whether what is notified now will be heard."""

    async def listen(self, dsn: str, role: str, is_wanted: Callable[[], bool]) -> None:
        """Hear as long as it is wanted. Whenever that begins, `on_begin`: something was missed."""
        pause = 0.0
        while is_wanted():
            began = time.monotonic()
            try:
                async with connected(dsn, role, seconds=self._heartbeat) as connection:
                    await self._hear(connection, is_wanted)
            except Exception as error:
                if time.monotonic() - began > 5 * LONGEST_PAUSE:
                    pause = 0.0
                if not pause:
                    said = str(error) or repr(error)
                    logger.warning("The %s's connection is lost: %s", self._name, said)
                await asyncio.sleep(pause)
                pause = min(pause * 2 + 0.05, LONGEST_PAUSE)
            finally:
                self.is_heard = False

    async def _hear(self, connection: Any, is_wanted: Callable[[], bool]) -> None:
        is_lost = asyncio.Event()
        connection.add_termination_listener(lambda _: is_lost.set())
        await connection.execute(f"SET application_name = 'holdfast {self._name}'")
        await connection.add_listener(
            self._channel, lambda _connection, _pid, _channel, payload: self._on_payload(payload)
        )
        logger.info("The %s listens", self._name)
        self.is_heard = True
        self._on_begin()
        while is_wanted() and not is_lost.is_set():
            try:
                async with asyncio.timeout(self._heartbeat):
                    await is_lost.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
        if is_lost.is_set():
            raise ConnectionError("closed by the server")
