"""Random histories of requests, confirms, moves, cancels, places and closures equal a model.

The model is told nothing of SQL: a list of bookings, and the states verb by verb.
"""

import asyncio
import random
from typing import Any

import pytest

from tests.support.bookings import Restaurant, at

VERBS = {
    "confirm": ({"pending"}, "confirmed"),
    "decline": ({"pending"}, "declined"),
    "cancel": ({"pending", "confirmed"}, "cancelled"),
    "seat": ({"confirmed"}, "seated"),
    "finish": ({"seated"}, "finished"),
}
ENDED = {"declined", "cancelled", "finished", "no_show"}
Key = tuple[int, int, int]


class Model:
    """What the house's bookings should be: by id, [table, start, end, state, declined as rival]."""

    def __init__(self, tables: list[int]) -> None:
        self.open = dict.fromkeys(tables, True)
        self.bookings: dict[int, list[Any]] = {}

    def is_taken(self, table: int, start: int, end: int, but: int | None = None) -> bool:
        return any(
            held == table and first < end and start < last
            for number, (held, first, last, state, _) in self.bookings.items()
            if state in ("confirmed", "seated") and number != but
        )

    def ask(self, table: int) -> str:
        return "pending" if self.open[table] else "table_closed"

    def place(self, table: int, start: int, end: int) -> str:
        if self.is_taken(table, start, end):
            return "table_taken"
        return "confirmed" if self.open[table] else "table_closed"

    def do(self, verb: str, number: int) -> str:
        """The state that a verb leads to, or the code of its refusal."""
        booking = self.bookings[number]
        table, start, end, state, is_rival = booking
        allowed, reached = VERBS[verb]
        if state == reached:
            return reached
        if state not in allowed:
            if verb == "confirm" and state == "declined" and is_rival:
                return "table_taken"
            return "booking_closed" if state in ENDED else "wrong_state"
        if verb == "confirm":
            if self.is_taken(table, start, end, but=number):
                return "table_taken"
            if not self.open[table]:
                return "table_closed"
        seated = {each[0] for each in self.bookings.values() if each[3] == "seated"}
        if verb == "seat" and table in seated:
            return "table_taken"
        booking[3] = reached
        if verb == "confirm":
            for other, rival in self.bookings.items():
                meets = rival[0] == table and rival[1] < end and start < rival[2]
                if other != number and rival[3] == "pending" and meets:
                    rival[3:] = ["declined", True]
        return reached

    def move(self, number: int, table: int, start: int, end: int) -> str:
        booking = self.bookings[number]
        state = booking[3]
        if state not in ("pending", "confirmed", "seated"):
            return "booking_closed" if state in ENDED else "wrong_state"
        if [table, start, end] == booking[:3]:
            return str(state)
        seated = {
            n for n, each in self.bookings.items() if each[0] == table and each[3] == "seated"
        }
        if state == "seated" and seated - {number}:
            return "table_taken"
        if state != "pending" and self.is_taken(table, start, end, but=number):
            return "table_taken"
        if not self.open[table]:
            return "table_closed"
        booking[:3] = [table, start, end]
        return str(state)


class History:
    """One run: the same steps for the house and for the model."""

    def __init__(self, house: Restaurant, tables: list[int], seed: int) -> None:
        self.house, self.tables, self.model = house, tables, Model(tables)
        self.random = random.Random(seed)

    def slot(self) -> Key:
        start = self.random.randrange(8, 20)
        return self.random.choice(self.tables), start, start + self.random.randrange(1, 4)

    async def step(self) -> None:
        known = list(self.model.bookings)
        kinds = ["ask", "place", "close", *(["move", *VERBS, *VERBS] if known else [])]
        kind = self.random.choice(kinds)
        if kind == "ask":
            table, start, end = self.slot()
            status, answer = await self.house.ask(table, at(start), at(end))
            self.compare(self.model.ask(table), status, answer)
            self.keep(status, answer, [table, start, end, "pending", False])
        elif kind == "place":
            table, start, end = self.slot()
            body = {
                "table_id": table,
                "starts_at": at(start).isoformat(),
                "ends_at": at(end).isoformat(),
            }
            status, answer = await self.house.as_staff("POST", "/bookings/place", json=body)
            self.compare(self.model.place(table, start, end), status, answer)
            self.keep(status, answer, [table, start, end, "confirmed", False])
        elif kind == "close":
            table = self.random.choice(self.tables)
            self.model.open[table] = not self.model.open[table]
            change = {"is_open": self.model.open[table]}
            await self.house.as_staff("PATCH", f"/tables/{table}", json=change)
        elif kind == "move":
            number, (table, start, end) = self.random.choice(known), self.slot()
            body = {
                "table_id": table,
                "starts_at": at(start).isoformat(),
                "ends_at": at(end).isoformat(),
            }
            status, answer = await self.house.do("move", number, **body)
            self.compare(self.model.move(number, table, start, end), status, answer)
        else:
            number = self.random.choice(known)
            status, answer = await self.house.do(kind, number)
            self.compare(self.model.do(kind, number), status, answer)

    def compare(self, expected: str, status: int, answer: dict[str, Any]) -> None:
        assert (answer["code"] if status >= 400 else answer["status"]) == expected, answer

    def keep(self, status: int, answer: dict[str, Any], booking: list[Any]) -> None:
        if status == 201:
            self.model.bookings[answer["booking_id"]] = booking

    async def states(self) -> dict[int, tuple[int, str]]:
        rows = await self.house.sql.fetch("SELECT booking_id, table_id, status FROM bookings")
        return {row["booking_id"]: (row["table_id"], row["status"]) for row in rows}


@pytest.mark.parametrize("seed", range(6))
async def test_a_history_equals_the_model(house: Restaurant, seed: int) -> None:
    history = History(house, [await house.table() for _ in range(3)], seed)
    for _ in range(120):
        await history.step()
    expected = {number: (kept[0], kept[3]) for number, kept in history.model.bookings.items()}
    assert await history.states() == expected


async def test_histories_beside_each_other_leave_a_sound_house(house: Restaurant) -> None:
    """Nobody knows who came first; what is left has to be sound, and each verb's answer true."""
    tables = [await house.table() for _ in range(2)]
    ids = [await house.asked(tables[n % 2], at(8 + n % 12), at(10 + n % 12)) for n in range(40)]
    rng = random.Random(7)
    verbs = [(rng.choice(["confirm", "cancel", "decline", "seat", "move"]), n) for n in ids * 4]

    async def act(verb: str, number: int) -> tuple[int, str]:
        body = {"table_id": rng.choice(tables)} if verb == "move" else {}
        while (answer := await house.code(verb, number, **body))[0] == 503:
            await asyncio.sleep(0.05)
        return answer

    answers = await asyncio.gather(*(act(*each) for each in verbs))
    assert {status for status, _ in answers} <= {200, 409}
    overlaps = await house.sql.fetchval("SELECT count(*) FROM booking_violations")
    assert overlaps == 0
