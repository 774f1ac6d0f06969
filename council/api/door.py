"""Who may come in: bearer keys, compared by their digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from council.errors import RefusalError


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks."""

    name: str
    tenant: str
    administers: bool


class Door:
    """The keys that let somebody in."""

    def __init__(self, visitors: Mapping[str, Visitor]) -> None:
        """`visitors` by their keys."""
        self._visitors = tuple((_digest(key), visitor) for key, visitor in visitors.items())

    def visitor(self, request: Request) -> Visitor:
        """Whoever shows a known key. Raises RefusalError (401)."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        digest = _digest(key.strip())
        found = None
        for known, visitor in self._visitors:
            # All are compared, so that the time tells nothing.
            if hmac.compare_digest(known, digest):
                found = visitor
        if found is None or scheme.lower() != "bearer":
            raise RefusalError(401, "invalid_api_key", "a known key is needed: `Authorization: Bearer …`")
        return found

    def administrator(self, request: Request) -> Visitor:
        """As `visitor`; who may not administer is refused with 403."""
        found = self.visitor(request)
        if not found.administers:
            raise RefusalError(403, "permission_missing", "this needs a key of somebody who administers")
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
