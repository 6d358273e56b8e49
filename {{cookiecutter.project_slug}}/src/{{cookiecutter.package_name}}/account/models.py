"""Who shops, and what they wish for."""

from functools import cache

from sqlalchemy import Column, ForeignKey, String, Table
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash

from ..catalog.models import Product
from ..extensions import Model

MAX_USER_NAME_LENGTH = 80
MIN_PASSWORD_LENGTH = 8
#: Hashing a longer password takes more time and memory, so a visitor could waste both.
MAX_PASSWORD_LENGTH = 1000

# A wish has no columns but its two foreign keys, so it is a table and not a class.
wish = Table(
    "wish",
    Model.metadata,
    Column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "product_id", ForeignKey("product.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
)


class User(Model):
    """Somebody who can sign in."""

    # `user` is a reserved word of PostgreSQL.
    __tablename__ = "user_account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_USER_NAME_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))

    wishes: Mapped[set[Product]] = relationship(secondary=wish)

    def set_password(self, password: str) -> None:
        """Keep a password's scrypt hash (RFC 7914), never the password."""
        self.password_hash = generate_password_hash(password)


def password_is_right(user: User | None, password: str) -> bool:
    """Check a password; it takes as long without a user, so that time does not tell who exists."""
    too_long = len(password) > MAX_PASSWORD_LENGTH
    stored = user.password_hash if user else _nobodys_hash()
    return check_password_hash(stored, "" if too_long else password) and bool(user) and not too_long


@cache
def _nobodys_hash() -> str:
    return generate_password_hash("")
