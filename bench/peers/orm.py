"""FastAPI and SQLAlchemy's ORM, as their documentation shows: lock the row, check, write.

One session a request from a pool, `with_for_update()` on the stock row, the id looked up first
and unique in the table. It keeps what a minimal reservation needs: no lines, no ledger.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NumericId = Annotated[str, Field(pattern="^[1-9][0-9]{0,18}$")]

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
    requested_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Callback(BaseModel):
    """POST /reserve: hold `quantity` units of a product."""

    model_config = ConfigDict(extra="forbid")
    reservation_id: NumericId
    product_id: NumericId
    quantity: Annotated[int, Field(ge=1, le=2147483647, strict=True)]
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


def _answer(status: int, callback: Callback) -> JSONResponse:
    outcome = "success" if status == 200 else "error"
    return JSONResponse({"status": outcome, "reservation_id": callback.reservation_id}, status)
