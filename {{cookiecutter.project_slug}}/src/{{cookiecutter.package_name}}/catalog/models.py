"""What the shop sells."""

from datetime import UTC, datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..extensions import Model

#: The largest value of PostgreSQL's ``integer``; the columns hold no more, so neither do requests.
MAX_INTEGER = 2_147_483_647
MAX_NAME_LENGTH = 120
MAX_SLUG_LENGTH = 80


def utc_now() -> datetime:
    return datetime.now(UTC)


class Category(Model):
    """A shelf of the shop; every product stands on one."""

    __tablename__ = "category"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH))
    slug: Mapped[str] = mapped_column(String(MAX_SLUG_LENGTH), unique=True)

    products: Mapped[list["Product"]] = relationship(back_populates="category")


class Product(Model):
    """A thing for sale. Money is whole cents: floats round, and one currency needs no decimals."""

    __tablename__ = "product"
    __table_args__ = (
        CheckConstraint("price_cents >= 0", name="price_cents_not_negative"),
        CheckConstraint("stock >= 0", name="stock_not_negative"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH), index=True)
    slug: Mapped[str] = mapped_column(String(MAX_SLUG_LENGTH), unique=True)
    price_cents: Mapped[int] = mapped_column(index=True)
    stock: Mapped[int] = mapped_column(default=0)
    category_id: Mapped[int] = mapped_column(ForeignKey("category.id"), index=True)
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=utc_now, onupdate=utc_now, index=True
    )

    category: Mapped[Category] = relationship(back_populates="products")
