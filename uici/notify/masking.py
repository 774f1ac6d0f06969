"""Secrets never leave in a message, whichever log line or label they came from."""

from __future__ import annotations

import re
from collections.abc import Collection

from uici.model.base import JsonValue

MASK = "***"

_NAMES_OF_SECRETS = r"(?:pass(?:word|wd|phrase)?|secret|token|(?:api|access|private)[_-]?key|credentials?)"
# Each pattern starts with fixed text, so that a log line of megabytes costs no more than its length.
_NAMED = re.compile(
    rf"""(?P<name>{_NAMES_OF_SECRETS}["']?\s{{0,8}}[=:]\s{{0,8}})(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&"']+)""",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b(?P<name>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_USERINFO = re.compile(r"://[^\s/@:]*:[^\s/@]+@")
_SECRET_KEY = re.compile(rf"(?:{_NAMES_OF_SECRETS}|authorization)$", re.IGNORECASE)


def masked(value: JsonValue, secrets: Collection[str] = ()) -> JsonValue:
    """`value` with every known secret, and what looks like one, replaced by `***`, in texts at any depth and in keys.

    `secrets` are values that must never be shown; texts shorter than four characters are ignored, since masking them
    would make everything unreadable.
    """
    known = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)
    return _masked(value, known)


def _masked(value: JsonValue, known: list[str]) -> JsonValue:
    if isinstance(value, str):
        return _masked_text(value, known)
    if isinstance(value, dict):
        return {
            _masked_text(str(key), known): MASK
            if isinstance(item, str) and _SECRET_KEY.search(str(key))
            else _masked(item, known)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, known) for item in value]
    return value


def _masked_text(text: str, known: list[str]) -> str:
    for secret in known:
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(f"://{MASK}@", text)
    text = _AUTHORIZATION.sub(rf"\g<name> {MASK}", text)
    return _NAMED.sub(rf"\g<name>{MASK}", text)
