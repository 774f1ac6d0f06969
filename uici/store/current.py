"""The schema of this version: all tables, and the migrations that lead to it."""

from __future__ import annotations

from uici.store import audited, brakes, dependents, freezes, observed, schema, sums, workers
from uici.store.migrations import StateSchema, v3

MODULES = (schema, brakes, dependents, freezes, observed, audited, workers, sums)
"""Every module with tables: a table belongs to the schema once its module is imported."""

CURRENT = StateSchema(version=schema.SCHEMA_VERSION, metadata=schema.metadata, migrations=(v3.MIGRATION,))
