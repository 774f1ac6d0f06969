"""Limits of credentials, as schema 3 adds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations


def add_access(op: Operations) -> None:
    """How far a token reaches and which one it follows; what is frozen without everything being so."""
    op.add_column("tokens", sa.Column("scope", sa.JSON(none_as_null=True)))
    op.add_column("tokens", sa.Column("replaces", sa.String(40)))
    op.create_table(
        "partial_freezes",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("environments", sa.JSON(), nullable=False),
        sa.Column("targets", sa.JSON(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
    )
