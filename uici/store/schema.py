"""The tables."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from uici.store.times import UtcText

SCHEMA_VERSION = 3

metadata = MetaData()

meta = Table("uici_meta", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("key", Text, nullable=False),
    Column("environment", Text),
    Column("target", Text),
    Column("state", String(16), nullable=False),
    Column("outcome", String(24)),
    Column("reason", Text, nullable=False, default=""),
    Column("opened_at", UtcText, nullable=False),
    Column("closed_at", UtcText),
    Column("severity", Text, nullable=False, default=""),
    Column("title", Text, nullable=False, default=""),
    Column("strategy", Text),
    Column("findings", JSON, nullable=False, default=list),
    Column("run_id", String(40)),
    Column("superseded_by", String(40)),
    Column("truncated", Integer, nullable=False, default=0),
    # One target has one open incident: the database itself says so, whatever races above it.
    Index(
        "incidents_open_key",
        "key",
        unique=True,
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index("incidents_by_time", "opened_at"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("starts_at", UtcText, primary_key=True),
    Column("incident_id", String(40)),
    Column("status", String(16), nullable=False),
    Column("outcome", String(24)),
    Column("labels", JSON, nullable=False),
    Column("annotations", JSON, nullable=False),
    Column("ends_at", UtcText),
    Column("generator_url", Text, nullable=False, default=""),
    Column("receiver", Text, nullable=False, default=""),
    Column("sender", Text, nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("first_seen", UtcText, nullable=False),
    Column("last_seen", UtcText, nullable=False),
    Column("deliveries", Integer, nullable=False, default=1),
    Index("alerts_by_incident", "incident_id"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("incident_id", String(40)),
    Column("environment", Text),
    Column("target", Text),
    Column("origin", String(16), nullable=False),
    Column("actor", Text, nullable=False, default=""),
    Column("state", String(16), nullable=False),
    Column("stage", String(24), nullable=False),
    Column("part", Integer, nullable=False, default=0),
    Column("due_at", UtcText),
    Column("waiting_for", Text, nullable=False, default=""),
    Column("cid", String(80)),
    Column("data", JSON, nullable=False),
    Column("created_at", UtcText, nullable=False),
    Column("first_call_at", UtcText),
    Column("acted_at", UtcText),
    Column("ended_at", UtcText),
    Column("verdict", String(16)),
    Column("outcome", String(24)),
    Column("reason", Text, nullable=False, default=""),
    Column("cancel_by", Text),
    Column("cancel_reason", Text),
    # Whose part is at work: nobody else may write for it.
    Column("worker", String(120)),
    Index("runs_due", "state", "due_at"),
    Index("runs_by_target", "environment", "target", "ended_at"),
    Index("runs_by_incident", "incident_id"),
    Index("runs_acted", "environment", "acted_at"),
    Index(
        "runs_queued",
        "environment",
        "created_at",
        sqlite_where=text("waiting_for = 'slot'"),
        postgresql_where=text("waiting_for = 'slot'"),
    ),
)

plans = Table(
    "plans",
    metadata,
    Column("cid", String(80), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("created_at", UtcText, nullable=False),
)

# The part of a configuration that runs under way see, whatever is loaded since.
catalogues = Table(
    "catalogues",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("created_at", UtcText, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("run_id", String(40), nullable=False),
    Column("cid", String(80), nullable=False),
    Column("state", String(16), nullable=False),
    Column("requested_at", UtcText, nullable=False),
    Column("expires_at", UtcText, nullable=False),
    Column("decided_at", UtcText),
    Column("decided_by", Text),
    Column("comment", Text, nullable=False, default=""),
    UniqueConstraint("run_id", "cid", name="approvals_one_per_rung"),
)

slots = Table(
    "slots",
    metadata,
    Column("environment", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    # Counts up at every taking and is never reset, so a holder that was declared dead cannot act any more.
    Column("fence", Integer, nullable=False),
    Column("run_id", String(40)),
    Column("acting", Boolean, nullable=False, default=False),
    Column("taken_at", UtcText),
    Index("slots_by_run", "run_id"),
    Index(
        "slots_held",
        "environment",
        "acting",
        sqlite_where=text("run_id IS NOT NULL"),
        postgresql_where=text("run_id IS NOT NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(40), nullable=False),
    Column("position", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("call", Text, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("mutates", Boolean, nullable=False),
    Column("fence", Integer),
    Column("before", JSON, nullable=False),
    Column("sent_at", UtcText, nullable=False),
    Column("settled_at", UtcText),
    Column("outcome", String(24)),
    Column("detail", Text, nullable=False, default=""),
    Column("result", JSON),
    UniqueConstraint("run_id", "position", "number", name="attempts_once"),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("strategy", Text, primary_key=True),
    # Of the alert that always fires; empty for one that is expected although it was never seen.
    Column("fingerprint", Text, primary_key=True),
    Column("labels", JSON, nullable=False),
    # Counted, so that a clock that is set neither makes nor hides an absence.
    Column("beats", Integer, nullable=False, default=0),
    # Whether it came again in time, so that its absence means something.
    Column("paced", Boolean, nullable=False, default=False),
    Column("last_seen", UtcText),
    Column("missing_since", UtcText),
    Column("missing_beats", Integer),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    # One message per key: an escalation repeated after a crash is the same escalation.
    Column("key", Text, nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("severity", Text, nullable=False, default=""),
    Column("incident_id", String(40)),
    Column("run_id", String(40)),
    # Set for the summary of what was held back from one channel; null for everybody.
    Column("channel", Text),
    Column("message", JSON, nullable=False),
    Column("created_at", UtcText, nullable=False),
    # Null until it is decided which channels get it, and when.
    Column("routed_at", UtcText),
    Index("outbox_by_routing", "routed_at", "id"),
    Index("outbox_by_incident", "incident_id"),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("message_id", Integer, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("created_at", UtcText, nullable=False),
    # When it is tried next; of one that is held, when its window has passed.
    Column("next_at", UtcText),
    Column("tried_at", UtcText),
    # The worker that is sending it; when that one is gone, another tries again.
    Column("claimed_by", String(120)),
    Column("settled_at", UtcText),
    Column("error", Text, nullable=False, default=""),
    # The message that told of this one, when it was held back.
    Column("summary_id", Integer),
    Index("deliveries_due", "state", "channel", "next_at"),
)

telling_windows = Table(
    "telling_windows",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("opened_at", UtcText, nullable=False),
    Column("ends_at", UtcText, nullable=False),
    Column("told", Integer, nullable=False),
    # The highest rank of severity that was told in this window.
    Column("highest", Integer, nullable=False),
)

kept_results = Table(
    "kept_results",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("incident_id", String(40), nullable=False),
    Column("run_id", String(40), nullable=False),
    Column("at", UtcText, nullable=False),
    Column("operation", String(64), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("digest", String(80), nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("shortened", Boolean, nullable=False, default=False),
    Column("result", JSON, nullable=False),
    Index("kept_results_by_incident", "incident_id", "id"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcText, nullable=False),
    Column("type", Text, nullable=False),
    Column("incident_id", String(40)),
    Column("run_id", String(40)),
    Column("environment", Text),
    Column("target", Text),
    Column("data", JSON, nullable=False),
    Index("events_by_run", "run_id", "seq"),
    Index("events_by_incident", "incident_id", "seq"),
    sqlite_autoincrement=True,
)

freezes = Table(
    "freezes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("frozen", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcText, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", Text, nullable=False, default=""),
    Column("role", String(16), nullable=False),
    Column("hash", String(80), nullable=False),
    Column("created_at", UtcText, nullable=False),
    Column("expires_at", UtcText),
    Column("revoked_at", UtcText),
    # Null: without limits.
    Column("scope", JSON(none_as_null=True)),
    # The token that this one was made to follow.
    Column("replaces", String(40)),
)

# What came of each rung of each run: what learning learns from.
outcomes = Table(
    "outcomes",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("rung", Integer, primary_key=True),
    Column("at", UtcText, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("findings", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("catalogue", Text),
    Column("verdict", String(16)),
    Column("reward", Float),
    Column("reason", Text, nullable=False, default=""),
    # Of a remedy that was chosen among alternatives, else null.
    Column("alternative", Text),
    Column("policy", String(16)),
    Column("propensity", Float),
    Column("position", Integer),
    Index("outcomes_by_strategy", "strategy", "at"),
)

# How an alternative was chosen, before it was acted on.
choices = Table(
    "choices",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("rung", Integer, primary_key=True),
    Column("at", UtcText, nullable=False),
    Column("document", JSON, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("rung", Integer, nullable=False),
    Column("good", Boolean, nullable=False),
    Column("comment", Text, nullable=False, default=""),
    Column("at", UtcText, nullable=False),
)

vetoes = Table(
    "vetoes",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("strategy", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("environment", Text),
    Column("target", Text),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcText, nullable=False),
    Column("lifted_at", UtcText),
    Column("lifted_by", Text),
    Column("lifted_reason", Text, nullable=False, default=""),
)
