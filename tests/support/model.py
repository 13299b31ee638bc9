"""The sequential model: what one request after another should be answered."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass
class Reservation:
    """What was promised, and what became of it."""

    units: dict[str, int]
    lapses: bool
    kind: str = "hold"
    status: str = "held"
    ttl: timedelta | None = None
    """As it was first asked for, where a test has several."""
    is_swept: bool = False


def sum_lines(lines: list[tuple[str, int]]) -> dict[str, int]:
    """Units per product."""
    return {product: sum(q for p, q in lines if p == product) for product, _ in lines}


class Model:
    """One store, without locks, batches or time: result codes in, result codes out."""

    def __init__(self, on_hand: dict[str, int]) -> None:
        self.on_hand = on_hand
        self.reservations: dict[str, Reservation] = {}

    def reserved(self, product: str) -> int:
        live = (each for each in self.reservations.values() if each.status == "held")
        return sum(each.units.get(product, 0) for each in live)

    def available(self, product: str) -> int:
        return self.on_hand[product] - self.reserved(product)

    def levels(self) -> dict[str, tuple[int, int]]:
        """Per product: on hand, reserved."""
        return {product: (units, self.reserved(product)) for product, units in self.on_hand.items()}

    def reserve(
        self,
        reservation_id: str,
        lines: list[tuple[str, int]],
        *,
        lapses: bool = False,
        kind: str = "hold",
    ) -> str:
        units = sum_lines(lines)
        if known := self.reservations.get(reservation_id):
            if (known.units, known.lapses, known.kind) != (units, lapses, kind):
                return "reservation_id_reused"
            is_good = known.status in ("held", "committed")
            return "already_reserved" if is_good else "reservation_closed"
        if not units.keys() <= self.on_hand.keys():
            return "unknown_product"
        if self.short(units):
            return "insufficient_stock"
        self.reservations[reservation_id] = Reservation(units, lapses, kind)
        return "ok"

    def short(self, units: dict[str, int]) -> list[tuple[str, int, int]]:
        """The products in the way: id, wanted, available."""
        return [
            (product, quantity, self.available(product))
            for product, quantity in sorted(units.items())
            if product in self.on_hand and self.available(product) < quantity
        ]

    def resolve(self, reservation_id: str, verb: str) -> str:
        """What `commit`, `release` and `extend` are answered."""
        known = self.reservations.get(reservation_id)
        if known is None:
            return "unknown_reservation"
        done = {"commit": "committed", "release": "released"}.get(verb)
        if known.status != "held":
            return f"already_{done}" if known.status == done else "reservation_closed"
        if done is None:
            return "ok" if known.lapses else "no_expiry"
        if verb == "commit":
            for product, quantity in known.units.items():
                self.on_hand[product] -= quantity
        known.status = done
        return "ok"

    def may_lapse(self) -> list[str]:
        """The held reservations that have an expiry."""
        return sorted(
            reservation_id
            for reservation_id, known in self.reservations.items()
            if known.lapses and known.status == "held"
        )

    def lapse(self, reservation_id: str) -> None:
        """The time of a hold is over."""
        if reservation_id in self.may_lapse():
            self.reservations[reservation_id].status = "expired"

    def sweep(self) -> int:
        """How many lapsed holds are yet to be written down."""
        lapsed = [
            each
            for each in self.reservations.values()
            if each.status == "expired" and not each.is_swept
        ]
        for each in lapsed:
            each.is_swept = True
        return len(lapsed)
