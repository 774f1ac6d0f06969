"""Times as the tables hold them: UTC texts of fixed width, so that they sort as they are on every database."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, String
from sqlalchemy.types import TypeDecorator


@lru_cache(maxsize=4096)
def utc_text(value: datetime) -> str:
    """A time as the tables hold it. Raises ValueError for one without zone."""
    if value.tzinfo is None:
        raise ValueError("a stored time needs a time zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def stored_time(value: datetime | None) -> str | None:
    """As `utc_text`, of a time that may be missing."""
    return None if value is None else utc_text(value)


class UtcText(TypeDecorator[datetime]):
    """An aware UTC time as text with microseconds. Naive times are refused."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write: raises ValueError for a time without zone."""
        return stored_time(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read back as an aware time."""
        return None if value is None else datetime.fromisoformat(value)
