"""What a platform's own access control has to allow."""

from __future__ import annotations

from uici.model.base import Frozen, JsonObject


class Account(Frozen):
    """For whom it is allowed."""

    environment: str
    name: str
    namespace: str
    """Where the account lives, and of bindings that name no namespace."""


class Grants(Frozen):
    """Documents for the platform's own tools, which allow exactly what is needed."""

    documents: tuple[JsonObject, ...]
    notes: tuple[str, ...] = ()
    """What cannot be known beforehand, and has to be allowed by hand."""
