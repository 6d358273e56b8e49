"""The cache's outbox: invalidations that its server could not take yet.

Revision ID: 0001
Revises: nothing
Create Date: 2026-01-05 09:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cache_note",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("noted_at", sa.Float(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cache_note"),
    )


def downgrade() -> None:
    op.drop_table("cache_note")
