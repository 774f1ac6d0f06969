"""The audit log, as schema 3 adds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

_SQLITE = (
    """CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_kept BEFORE DELETE ON audit
    WHEN OLD.seq > COALESCE((SELECT cut_seq FROM audit_head WHERE id = 1), 0)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_head_forwards BEFORE UPDATE ON audit_head
    WHEN NEW.seq < OLD.seq OR NEW.cut_seq < OLD.cut_seq OR NEW.id <> OLD.id
    BEGIN SELECT RAISE(ABORT, 'the head of the audit log only moves forwards'); END""",
    """CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head
    BEGIN SELECT RAISE(ABORT, 'the head of the audit log is kept'); END""",
)

_POSTGRESQL = (
    """CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'""",
    """CREATE FUNCTION audit_refuse_uncut() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN
      IF OLD.seq > COALESCE((SELECT cut_seq FROM audit_head WHERE id = 1), 0) THEN
        RAISE EXCEPTION ''the audit log is append-only'';
      END IF;
      RETURN OLD;
    END'""",
    """CREATE FUNCTION audit_refuse_backwards() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN
      IF NEW.seq < OLD.seq OR NEW.cut_seq < OLD.cut_seq OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION ''the head of the audit log only moves forwards'';
      END IF;
      RETURN NEW;
    END'""",
    "CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_whole BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_kept BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse_uncut()",
    """CREATE TRIGGER audit_head_forwards BEFORE UPDATE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_backwards()""",
    "CREATE TRIGGER audit_head_kept BEFORE DELETE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_head_whole BEFORE TRUNCATE ON audit_head FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
)


def add_audit(op: Operations) -> None:
    """The log, its head, and what refuses to change them."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "audit",
        sa.Column("seq", number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.String(40)),
        sa.Column("run_id", sa.String(40)),
        sa.Column("environment", sa.Text()),
        sa.Column("target", sa.Text()),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seq", number, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("cut_seq", number, nullable=False),
        sa.Column("cut_hash", sa.String(64), nullable=False),
        sa.Column("seal", sa.String(64)),
        sa.Column("key_id", sa.String(16)),
    )
    for statement in {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}[op.get_context().dialect.name]:
        op.execute(statement)
