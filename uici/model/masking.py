"""Masking for display: what is shown never holds a secret's value, while everything else stays as it is sent."""

from __future__ import annotations

import re

from uici.model.base import JsonValue
from uici.model.secret import is_reference

MASK = "******"

_SECRET_KEY = re.compile(
    r"passw(or)?d|passphrase|secret|token|api[_-]?key|credential|authorization|private[_-]?key|access[_-]?key|cookie",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
_ASSIGNMENT = re.compile(r"^([A-Za-z_][A-Za-z0-9_.-]*)=(.*)$", re.DOTALL)


def is_secret_key(key: str) -> bool:
    """Whether values under this key are not shown, by the key's name alone."""
    return _SECRET_KEY.search(key) is not None


def mask(value: JsonValue) -> JsonValue:
    """A copy of `value` in which whatever stands under a secret's key is `******`.

    Texts `NAME=value`, as container platforms write environments, are masked by name, and so is the password in an
    URL. Booleans, null and references to secrets (`${env:NAME}`) tell nothing and stay.
    """
    if isinstance(value, dict):
        return {key: _hide(item) if is_secret_key(str(key)) else mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    if isinstance(value, str):
        found = _ASSIGNMENT.match(value)
        if found is not None and found[2] and is_secret_key(found[1]):
            return f"{found[1]}={MASK}"
        return _URL_PASSWORD.sub(rf"\1:{MASK}@", value)
    return value


def _hide(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _hide(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value]
    if isinstance(value, bool) or value is None or value == "" or (isinstance(value, str) and is_reference(value)):
        return value
    return MASK
