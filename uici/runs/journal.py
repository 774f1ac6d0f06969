"""The engine's journal: how it is written, and when it is forgotten."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from dbos import DBOS, Serializer

_AT_ONCE = 200


def forget_ended_parts(after_seconds: float) -> int:
    """Delete the journal of parts that ended longer ago than that; returns how many. At most a few hundred at once.

    A run's row has moved on by then, and a part that is started again by mistake finds so and does nothing; what
    happened stays in our own tables.
    """
    before = (datetime.now(UTC) - timedelta(seconds=after_seconds)).isoformat()
    ended = DBOS.list_workflows(
        status=["SUCCESS", "ERROR", "CANCELLED"],
        completed_before=before,
        limit=_AT_ONCE,
        load_input=False,
        load_output=False,
    )
    if ended:
        DBOS.delete_workflows([item.workflow_id for item in ended])
    return len(ended)


class JsonSerializer(Serializer):
    """Journal as JSON: readable, and never a way to run code from a database."""

    def serialize(self, data: Any) -> str:
        """As JSON; an exception as its type and text. Raises TypeError for what does not belong there."""
        return json.dumps(data, default=_portable)

    def deserialize(self, serialized_data: str) -> Any:
        """Back from JSON."""
        value = json.loads(serialized_data)
        if isinstance(value, dict) and value.get("__error__"):
            return RuntimeError(value["__error__"])
        return value

    def name(self) -> str:
        """Kept with every entry, so that another reader is refused."""
        return "uici_json"


def _portable(value: object) -> object:
    if isinstance(value, BaseException):
        return {"__error__": f"{type(value).__name__}: {value}"}
    raise TypeError(f"{type(value).__name__} does not belong in the journal")
