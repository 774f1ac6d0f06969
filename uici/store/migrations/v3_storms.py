"""Schema 3: which runs wait for what their target depends on."""

from __future__ import annotations

import sqlalchemy as sa
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
