"""Schema 3: which runs wait for what their target depends on, and where much fails at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations


def add_dependents(op: Operations) -> None:
    """The table of waiting runs."""
    op.create_table(
        "dependents",
        sa.Column("run_id", sa.String(40), primary_key=True),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("root_environment", sa.Text(), nullable=False),
        sa.Column("root_target", sa.Text(), nullable=False),
        sa.Column("root_incident", sa.String(40)),
        sa.Column("since", sa.String(27), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
    )
    op.create_index("dependents_by_root", "dependents", ["root_environment", "root_target"])


def add_brakes(op: Operations) -> None:
    """The brake of a mass failure, by environment."""
    op.create_table(
        "brakes",
        sa.Column("environment", sa.Text(), primary_key=True),
        sa.Column("engaged_at", sa.String(27)),
        sa.Column("failing", sa.Integer(), nullable=False),
        sa.Column("targets", sa.Integer(), nullable=False),
        sa.Column("below_since", sa.String(27)),
        sa.Column("lifted_until", sa.String(27)),
        sa.Column("lifted_by", sa.Text()),
        sa.Column("lifted_reason", sa.Text()),
    )
