"""The processes that share a state, as schema 3 adds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations


def add_workers(op: Operations) -> None:
    """Who is at work, on which run, and on which message."""
    op.create_table(
        "workers",
        sa.Column("id", sa.String(120), primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("seen_at", sa.String(27), nullable=False),
        sa.Column("beats", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("identity", sa.JSON()),
    )
    op.add_column("runs", sa.Column("worker", sa.String(120)))
    op.add_column("deliveries", sa.Column("claimed_by", sa.String(120)))
