"""Which side a request goes to: sessions stay where they are, and the measured share follows the weight."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Literal

Side = Literal["main", "canary"]
_MOST_SESSIONS = 100_000
"""The one that was seen longest ago is forgotten first, and then counts as new."""


class Split:
    """Safe from several threads.

    A new session goes to the side that has had less than its share so far, so that the measured share stays near
    the weight however unequal the sessions are. It cannot where few long sessions make most of the requests: a session
    is never moved, but by a weight of 0, which holds for all at once.
    """

    def __init__(self, weight: float = 0.0) -> None:
        """`weight` is the canary's share, from 0 to 1."""
        self._lock = threading.Lock()
        self._sessions: OrderedDict[tuple[str, str], Side] = OrderedDict()
        self._weight = weight
        self._total = 0
        self._canary = 0

    @property
    def weight(self) -> float:
        """The canary's share as it should be."""
        return self._weight

    @property
    def measured(self) -> float | None:
        """Its share since the weight was set; None before any request."""
        with self._lock:
            return self._canary / self._total if self._total else None

    def set_weight(self, weight: float) -> None:
        """Set the share. The measuring begins anew."""
        with self._lock:
            self._weight, self._total, self._canary = weight, 0, 0
            if weight == 0:
                self._sessions.clear()

    def side(self, tenant: str, session: str | None) -> Side:
        """Where the next request of a session goes; without a session each request is one of its own."""
        with self._lock:
            known = None if session is None else self._sessions.get((tenant, session))
            side = known or self._due()
            self._total += 1
            self._canary += side == "canary"
            if session is not None and self._weight:
                self._sessions[tenant, session] = side
                self._sessions.move_to_end((tenant, session))
                if len(self._sessions) > _MOST_SESSIONS:
                    self._sessions.popitem(last=False)
            return side

    def _due(self) -> Side:
        return "canary" if self._canary + 1 <= self._weight * (self._total + 1) else "main"
