"""Identifiers that sort by time of making."""

from __future__ import annotations

import secrets
from datetime import datetime


def new_id(prefix: str, now: datetime) -> str:
    """`<prefix>_` and 20 hexadecimal digits: milliseconds since 1970, then 36 random bits."""
    return f"{prefix}_{int(now.timestamp() * 1000):011x}{secrets.randbits(36):09x}"
