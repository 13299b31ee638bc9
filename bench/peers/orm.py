"""FastAPI and SQLAlchemy's ORM, as their documentation shows: lock the row, check, write.

One session a request from a pool, `with_for_update()` on the stock row, the id looked up first
and unique in the table. It keeps what a minimal reservation needs: no lines, no ledger. Holds have
one line and lapse; supply, demand and purchases write a ledger row each; a buyer is who a token,
looked up in its table, says.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NumericId = Annotated[str, Field(pattern="^[1-9][0-9]{0,18}$")]

PRICE = 100

engine = create_async_engine(os.environ["BENCH_DATABASE_URL"], pool_size=20, max_overflow=10)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """What the tables share."""


class Stock(Base):
    """Units of a product."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("0 <= reserved AND reserved <= on_hand"),)
    product_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    on_hand: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger)


class Reservation(Base):
    """Units promised."""

    __tablename__ = "reservations"
    reservation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    product_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("stock.product_id"))
    quantity: Mapped[int] = mapped_column(BigInteger)
    requested_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Movement(Base):
    """A change of what is on hand."""

    __tablename__ = "stock_movements"
    movement_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    product_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("stock.product_id"))
    delta: Mapped[int] = mapped_column(BigInteger)
    on_hand_after: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Account(Base):
    """Money of whoever has its token."""

    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("balance >= 0"),)
    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    token: Mapped[str] = mapped_column(unique=True)
    balance: Mapped[int] = mapped_column(BigInteger)


class Purchase(Base):
    """Units that left for money."""

    __tablename__ = "purchases"
    purchase_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("accounts.account_id"))
    product_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("stock.product_id"))
    quantity: Mapped[int] = mapped_column(BigInteger)
    balance_after: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


Quantity = Annotated[int, Field(ge=1, le=2147483647, strict=True)]


class Line(BaseModel):
    """Units of a product."""

    model_config = ConfigDict(extra="forbid")
    product_id: NumericId
    quantity: Quantity


class Hold(BaseModel):
    """POST /reservations: hold a line for a time."""

    model_config = ConfigDict(extra="forbid")
    reservation_id: NumericId
    lines: Annotated[list[Line], Field(min_length=1, max_length=1)]
    ttl_seconds: Annotated[int, Field(ge=1)]


class Change(BaseModel):
    """POST /stores/main: bring units in, or take them out."""

    model_config = ConfigDict(extra="forbid")
    operation: Literal["supply", "demand"]
    item_id: NumericId
    quantity: Quantity


class Wish(BaseModel):
    """POST /products/buy: units of a product for money of an account."""

    model_config = ConfigDict(extra="forbid")
    product_id: NumericId
    account_id: int
    quantity: Quantity


class Callback(BaseModel):
    """POST /reserve: hold `quantity` units of a product."""

    model_config = ConfigDict(extra="forbid")
    reservation_id: NumericId
    product_id: NumericId
    quantity: Quantity
    timestamp: datetime


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session of the pool, for one request."""
    async with sessions() as session:
        yield session


@app.post("/api/v1/reserve")
async def reserve(
    callback: Callback, session: Annotated[AsyncSession, Depends(get_session)]
) -> JSONResponse:
    """Reserve stock, once per reservation id."""
    reservation_id, product_id = int(callback.reservation_id), int(callback.product_id)
    known = await session.get(Reservation, reservation_id)
    if known:
        same = (known.product_id, known.quantity) == (product_id, callback.quantity)
        return _answer(200 if same else 409, callback)
    stock = await session.scalar(
        select(Stock).where(Stock.product_id == product_id).with_for_update()
    )
    if stock is None:
        return _answer(404, callback)
    if stock.on_hand - stock.reserved < callback.quantity:
        return _answer(409, callback)
    stock.reserved += callback.quantity
    session.add(
        Reservation(
            reservation_id=reservation_id,
            product_id=product_id,
            quantity=callback.quantity,
            requested_at=callback.timestamp,
        )
    )
    try:
        await session.commit()
    except IntegrityError:  # a twin came first
        return _answer(409, callback)
    return _answer(200, callback)


@app.post("/api/v1/reservations")
async def hold(
    wanted: Hold, session: Annotated[AsyncSession, Depends(get_session)]
) -> JSONResponse:
    """Hold a line for a time."""
    (line,) = wanted.lines
    if await session.get(Reservation, int(wanted.reservation_id)):
        return _tell(409, reservation_id=wanted.reservation_id)
    stock = await _locked(session, line.product_id)
    if stock is None or stock.on_hand - stock.reserved < line.quantity:
        return _tell(404 if stock is None else 409, reservation_id=wanted.reservation_id)
    stock.reserved += line.quantity
    reservation = Reservation(
        reservation_id=int(wanted.reservation_id),
        product_id=stock.product_id,
        quantity=line.quantity,
        expires_at=func.now() + timedelta(seconds=wanted.ttl_seconds),
    )
    session.add(reservation)
    try:
        await session.commit()
    except IntegrityError:
        return _tell(409, reservation_id=wanted.reservation_id)
    await session.refresh(reservation)
    return _tell(
        201,
        reservation_id=wanted.reservation_id,
        lines=[line.model_dump()],
        created_at=str(reservation.requested_at),
        expires_at=str(reservation.expires_at),
    )


@app.post("/api/v1/stores/main")
async def change(
    wanted: Change, session: Annotated[AsyncSession, Depends(get_session)]
) -> JSONResponse:
    """Bring units in, or take them out; the ledger tells of it."""
    stock = await _locked(session, wanted.item_id)
    if stock is None:
        return _tell(404, item_id=wanted.item_id)
    delta = wanted.quantity if wanted.operation == "supply" else -wanted.quantity
    if stock.on_hand + delta < stock.reserved:
        return _tell(409, item_id=wanted.item_id)
    stock.on_hand += delta
    session.add(Movement(product_id=stock.product_id, delta=delta, on_hand_after=stock.on_hand))
    await session.commit()
    return _tell(200, item_id=wanted.item_id, quantity=stock.on_hand, reserved=stock.reserved)


@app.post("/api/v1/products/buy")
async def buy(
    wanted: Wish,
    session: Annotated[AsyncSession, Depends(get_session)],
    authorization: Annotated[str, Header()],
) -> JSONResponse:
    """Take units and money together."""
    token = authorization.removeprefix("Bearer ")
    stock = await _locked(session, wanted.product_id)
    account = await session.scalar(select(Account).where(Account.token == token).with_for_update())
    if stock is None or account is None or account.account_id != wanted.account_id:
        return _tell(404, product_id=wanted.product_id)
    total = PRICE * wanted.quantity
    if stock.on_hand - stock.reserved < wanted.quantity or account.balance < total:
        return _tell(409, product_id=wanted.product_id)
    stock.on_hand -= wanted.quantity
    account.balance -= total
    purchase = Purchase(
        account_id=account.account_id,
        product_id=stock.product_id,
        quantity=wanted.quantity,
        balance_after=account.balance,
    )
    session.add(purchase)
    session.add(
        Movement(product_id=stock.product_id, delta=-wanted.quantity, on_hand_after=stock.on_hand)
    )
    await session.commit()
    return _tell(200, purchase_id=purchase.purchase_id, total=total, balance=account.balance)


async def _locked(session: AsyncSession, product_id: str) -> Stock | None:
    return await session.scalar(
        select(Stock).where(Stock.product_id == int(product_id)).with_for_update()
    )


def _tell(status: int, **fields: object) -> JSONResponse:
    return JSONResponse({"status": "success" if status < 300 else "error", **fields}, status)


def _answer(status: int, callback: Callback) -> JSONResponse:
    outcome = "success" if status == 200 else "error"
    return JSONResponse({"status": outcome, "reservation_id": callback.reservation_id}, status)
