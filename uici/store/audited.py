"""The tables of the audit log: a chain of entries that are only ever added, and its head.

The database itself refuses to change an entry, and to delete one that was not cut off on purpose: see `uici.audit`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, Text, event

from uici.store.schema import metadata

_Number = BigInteger().with_variant(Integer(), "sqlite")

audit = Table(
    "audit",
    metadata,
    # Without a gap, counted by who writes: a number that is missing is an entry that is missing.
    Column("seq", _Number, primary_key=True, autoincrement=False),
    # As `uici.store.times` writes them, but read as it stands: what is verified must not have been interpreted.
    Column("at", String(27), nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("incident_id", String(40)),
    Column("run_id", String(40)),
    Column("environment", Text),
    Column("target", Text),
    # Canonical JSON as text, so that what is hashed is what is stored.
    Column("data", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", _Number, nullable=False),
    Column("hash", String(64), nullable=False),
    # The last entry that retention has cut off, 0 for none.
    Column("cut_seq", _Number, nullable=False),
    Column("cut_hash", String(64), nullable=False),
    # Of sequence number and hash under a key that the database does not have; null without a key.
    Column("seal", String(64)),
    Column("key_id", String(16)),
)

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

PROTECTION = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
"""What refuses to change the log, by the database's name."""


def protect(connection: Connection) -> None:
    """Have the database refuse to change the log; done where its tables are made."""
    for statement in PROTECTION[connection.dialect.name]:
        connection.exec_driver_sql(statement)


@event.listens_for(audit_head, "after_create")
def _protect(table: object, connection: Connection, **more: object) -> None:
    # The head is made after the log, in the order of their names, and the triggers name both.
    protect(connection)
