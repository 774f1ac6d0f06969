"""What the tables get: JSON as text, and many rows in one statement, as SQLAlchemy itself would write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from uici.model.base import JsonObject
from uici.store.database import Store
from uici.store.inserting import insert_many
from uici.store.json import json_text
from uici.store.schema import events


@pytest.mark.parametrize(
    "value", [{"a": [1, None, True, 0.5]}, "grüß", 2**70, "\x00", {"half": "\ud800"}, ["\udfff", 1]]
)
def test_json_is_read_back_as_it_was(value: object) -> None:
    assert json.loads(json_text(value)) == value


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError):
        json_text({"a": object()})


def test_many_rows_are_written_as_one_by_one(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    store.migrate()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[JsonObject] = [
        {"at": at, "type": f"t{number}", "incident_id": None, "run_id": "r", "environment": None, "target": "ü",
         "data": {"number": number}}
        for number in range(3)
    ]  # fmt: skip
    with store.write() as connection:
        insert_many(connection, events, rows)
        connection.execute(events.insert(), rows)
    with store.read() as connection:
        found = [dict(row) for row in connection.execute(select(events).order_by(events.c.seq)).mappings()]
    for row in found:
        del row["seq"]
    assert found == rows + rows
    store.close()
