"""A restaurant in tests: its tables, its bookings, its staff."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.aliases import Api

API = "/api/v1"
Answer = tuple[int, dict[str, Any]]


def at(hours: float, *, days: int = 2) -> datetime:
    """A moment some days from now, so many hours after midnight in UTC."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=days, hours=hours)


class Restaurant:
    """Requests of guests and of staff; each answers status and document."""

    def __init__(self, api: Api, sql: Any, staff: dict[str, str]) -> None:
        self.api, self.sql, self.staff = api, sql, staff

    async def send(self, method: str, path: str, **how: Any) -> Answer:
        response = await self.api.request(method, API + path, **how)
        return response.status, await response.json()

    async def as_staff(self, method: str, path: str, **how: Any) -> Answer:
        return await self.send(method, path, headers=self.staff, **how)

    async def table(self, **fields: Any) -> int:
        """A new table's id."""
        content = {"kind": "regular", "seats": 4, "price": 500} | fields
        status, table = await self.as_staff("POST", "/tables", json=content)
        assert status == 201, table
        return int(table["table_id"])

    async def ask(
        self, table_id: int, starts: datetime, ends: datetime | None = None, **fields: Any
    ) -> Answer:
        """POST /bookings of somebody with an address of their own, if none is given."""
        times = {"starts_at": starts.isoformat()} | ({"ends_at": ends.isoformat()} if ends else {})
        number = await self.sql.fetchval("SELECT count(*) FROM guests")
        contact = {} if "phone" in fields else {"email": f"guest{number}@example.org"}
        content = {"table_id": table_id, **times, **contact, **fields}
        return await self.send("POST", "/bookings", json=content)

    async def asked(self, table_id: int, starts: datetime, ends: datetime, **fields: Any) -> int:
        """The id of a pending booking."""
        status, booking = await self.ask(table_id, starts, ends, **fields)
        assert (status, booking["status"]) == (201, "pending"), booking
        return int(booking["booking_id"])

    async def do(self, verb: str, booking_id: int, **body: Any) -> Answer:
        """POST /bookings/{booking_id}/verb, as staff."""
        how = {"json": body} if body else {}
        return await self.as_staff("POST", f"/bookings/{booking_id}/{verb}", **how)

    async def code(self, verb: str, booking_id: int, **body: Any) -> tuple[int, str]:
        """Status, and the code of a refusal or the state that it led to."""
        status, answer = await self.do(verb, booking_id, **body)
        return status, answer["code"] if status >= 400 else answer["status"]

    async def in_state(self, table_id: int, state: str, starts: datetime, ends: datetime) -> int:
        """A booking that has come into a state by its verbs."""
        booking_id = await self.asked(table_id, starts, ends)
        ways = {
            "confirmed": ["confirm"],
            "seated": ["confirm", "seat"],
            "finished": ["confirm", "seat", "finish"],
            "no_show": ["confirm", "no-show"],
            "declined": ["decline"],
            "cancelled": ["cancel"],
        }
        for verb in ways.get(state, []):
            if verb == "no-show":
                await self.sql.execute(
                    "UPDATE bookings SET starts_at = clock_timestamp() - interval '1 minute'"
                    " WHERE booking_id = $1",
                    booking_id,
                )
            status, answer = await self.do(verb, booking_id)
            assert status == 200, answer
        return booking_id

    async def rules(self, **rules: Any) -> Answer:
        return await self.as_staff("PUT", "/bookings/rules", json=rules)

    async def events(self) -> list[str]:
        """What webhooks are told, in order."""
        rows = await self.sql.fetch(
            "SELECT payload ->> 'type' AS type FROM outbox WHERE channel = 'webhook'"
            " ORDER BY message_id"
        )
        return [row["type"].removeprefix("booking.") for row in rows]

    async def mails(self) -> list[str]:
        """To whom which mail is due at once, in order."""
        rows = await self.sql.fetch(
            "SELECT format('%s:%s', payload ->> 'to', payload ->> 'mail') AS mail FROM outbox"
            " WHERE channel = 'mail' AND due_at <= clock_timestamp() ORDER BY message_id"
        )
        return [row["mail"] for row in rows]
