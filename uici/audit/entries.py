"""The form of an entry, and its hash: SHA-256 over the entry as canonical JSON (RFC 8785), its own hash left out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring

from pydantic import Field

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.masking import mask
from uici.model.shortening import shortened
from uici.store.times import utc_text

NOTHING = "0" * 64
"""What stands in the first entry in the place of the previous one's hash."""

MOST_BYTES = 4096
"""Of an entry's data. More is shortened, which the data then say; the whole is in the event, the run or the plan."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_LONGEST_NAME = 256
_LARGEST_EXACT = 2**53 - 1

FIELDS = ("seq", "at", "kind", "actor", "incident", "run", "environment", "target", "data", "previous", "hash")
"""Of an entry as it is shown and exported."""


class Entry(Frozen):
    """One decision, before it has its place in the chain."""

    at: datetime
    kind: str
    actor: str = "uici"
    """Who decided: a caller as its token says, or UICI itself."""
    incident: str | None = None
    run: str | None = None
    environment: str | None = None
    target: str | None = None
    data: JsonObject = Field(default_factory=dict)


def stored(entry: Entry, seq: int, previous: str) -> JsonObject:
    """The row of an entry at its place in the chain. What looks like a secret is masked before it is hashed."""
    data = canonical(mask(entry.data))
    if len(data.encode()) > MOST_BYTES:
        # Its own JSON again: only what is exact in every language is shortened.
        data = canonical(shortened(json.loads(data), MOST_BYTES - 64)[0])
    row: JsonObject = {
        "seq": seq,
        "at": utc_text(entry.at),
        "kind": entry.kind,
        "actor": _text(mask(entry.actor))[:_LONGEST_NAME],
        "incident_id": entry.incident,
        "run_id": entry.run,
        "environment": _optional(entry.environment),
        "target": _optional(entry.target),
        "data": data,
        "previous": previous,
    }
    row["hash"] = hash_of(row)
    return row


def hash_of(row: Mapping[str, JsonValue]) -> str:
    """The hash that a stored row has to have."""
    # The members in the order of their names, as the canonical form demands; the data are canonical already.
    text = (
        f'{{"actor":{_quoted(row["actor"])},"at":{_quoted(row["at"])},"data":{row["data"]},'
        f'"environment":{_quoted(row["environment"])},"incident":{_quoted(row["incident_id"])},'
        f'"kind":{_quoted(row["kind"])},"previous":"{row["previous"]}","run":{_quoted(row["run_id"])},'
        f'"seq":{row["seq"]},"target":{_quoted(row["target"])}}}'
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shown(row: Mapping[str, JsonValue]) -> JsonObject:
    """An entry as it is shown and exported: everything that its hash is made of, and the hash."""
    return {
        "seq": row["seq"],
        "at": row["at"],
        "kind": row["kind"],
        "actor": row["actor"],
        "incident": row["incident_id"],
        "run": row["run_id"],
        "environment": row["environment"],
        "target": row["target"],
        "data": json.loads(row["data"]),
        "previous": row["previous"],
        "hash": row["hash"],
    }


def read_back(document: JsonObject) -> JsonObject:
    """The stored row of an exported entry. Raises ValueError for what is none."""
    if not isinstance(document, dict) or set(document) != set(FIELDS):
        raise ValueError(f"it does not have exactly the members {', '.join(FIELDS)}")
    texts = ("at", "kind", "actor", "previous", "hash")
    optional = ("incident", "run", "environment", "target")
    if (
        type(document["seq"]) is not int
        or not all(isinstance(document[name], str) for name in texts)
        or not all(document[name] is None or isinstance(document[name], str) for name in optional)
        or not isinstance(document["data"], dict)
    ):
        raise ValueError("a member has another type than an entry's")
    row = {name: value for name, value in document.items() if name not in ("incident", "run", "data")}
    data = canonical(document["data"])
    return row | {"incident_id": document["incident"], "run_id": document["run"], "data": data}


def canonical(value: JsonValue) -> str:
    """RFC 8785 of a JSON value, of which what not every language reads alike is made text first.

    That is: numbers other than whole ones of at most 53 bits, and halves of surrogate pairs.
    """
    return _encode(_exact(value))


def _exact(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _LARGEST_EXACT else str(value)
    if isinstance(value, float):
        whole = math.isfinite(value) and value.is_integer() and abs(value) <= _LARGEST_EXACT
        return int(value) if whole else repr(value)
    if isinstance(value, Mapping):
        members = {_text(name): _exact(item) for name, item in value.items()}
        plain = all(map(str.isascii, members))
        return {name: members[name] for name in (sorted(members) if plain else sorted(members, key=_utf16))}
    if isinstance(value, list | tuple | set | frozenset):
        return [_exact(item) for item in value]
    return _text(value)


def _text(value: object) -> str:
    """Without halves of surrogate pairs, and as plain `str` where it is an enumeration's."""
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _optional(text: str | None) -> str | None:
    return None if text is None else _text(text)[:_LONGEST_NAME]


def _quoted(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)
