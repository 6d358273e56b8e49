"""The shop's tables and its users'.

Revision ID: 0002
Revises: 0001
Create Date: 2026-01-05 09:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "category",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("slug", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_category"),
        sa.UniqueConstraint("slug", name="uq_category_slug"),
    )
    categories = sa.ForeignKey("category.id", name="fk_product_category_id_category")
    op.create_table(
        "product",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("slug", sa.String(80), nullable=False),
        sa.Column("price_cents", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.Column("category_id", sa.Integer(), categories, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price_cents >= 0", name=op.f("ck_product_price_cents_not_negative")),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_product_stock_not_negative")),
        sa.PrimaryKeyConstraint("id", name="pk_product"),
        sa.UniqueConstraint("slug", name="uq_product_slug"),
    )
    # What lists are sorted by, and the foreign key, which PostgreSQL does not index by itself.
    for column in ("name", "price_cents", "category_id", "updated_at"):
        op.create_index(f"ix_product_{column}", "product", [column])
    op.create_table(
        "user_account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_user_account"),
        sa.UniqueConstraint("name", name="uq_user_account_name"),
    )
    users = sa.ForeignKey(
        "user_account.id", name="fk_wish_user_id_user_account", ondelete="CASCADE"
    )
    products = sa.ForeignKey("product.id", name="fk_wish_product_id_product", ondelete="CASCADE")
    op.create_table(
        "wish",
        sa.Column("user_id", sa.Integer(), users, nullable=False),
        sa.Column("product_id", sa.Integer(), products, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "product_id", name="pk_wish"),
    )
    op.create_index("ix_wish_product_id", "wish", ["product_id"])


def downgrade() -> None:
    op.drop_table("wish")
    op.drop_table("user_account")
    op.drop_table("product")
    op.drop_table("category")
