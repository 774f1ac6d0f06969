"""Asking a provider for a secret: within a deadline, not more often than is of use, and not in vain again at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from uici.model.masking import mask

_log = structlog.get_logger(__name__)

SECONDS = 10.0
"""The longest that one secret is waited for."""
FRESH_SECONDS = 30.0
"""How long what a service answered is used again: a secret that changes there is taken up at the latest then."""
STALE_SECONDS = 3600.0
"""How long the last answer is used while the service cannot be asked. A secret that is gone is gone at once."""
_REST_SECONDS = 5.0
"""How long a service that did not answer is left alone."""

AT_HAND = frozenset({"env", "file"})
"""Providers that cost nothing: they are asked each time."""


@dataclass(frozen=True)
class _Known:
    value: str
    at: float


class Fetcher:
    """Remembers answers by provider and locator. Thread-safe."""

    def __init__(self, *, seconds: float = SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    def fetch(self, name: str, provider: Callable[[str], str], locator: str) -> str:
        """The secret. Raises LookupError, OSError and ValueError as providers do; TimeoutError after the deadline."""
        if name in AT_HAND:
            return self._asked(name, provider, locator)
        key, now = (name, locator), self._now()
        with self._lock:
            known, failed = self._known.get(key), self._failed.get(name)
        if known is not None and now < known.at + FRESH_SECONDS:
            return known.value
        try:
            if failed is not None and now < failed[0] + _REST_SECONDS:
                raise OSError(5, failed[1])
            value = self._asked(name, provider, locator)
        except LookupError:
            with self._lock:
                self._known.pop(key, None)
            raise
        except OSError as error:
            with self._lock:
                self._failed.setdefault(name, (now, error.strerror or str(error)))
                if now >= self._failed[name][0] + _REST_SECONDS:
                    self._failed[name] = (now, error.strerror or str(error))
            if known is None or now >= known.at + STALE_SECONDS:
                raise
            _log.warning("secret_not_asked", provider=name, locator=locator, error=mask(str(error)))
            return known.value
        with self._lock:
            self._known[key] = _Known(value, now)
            self._failed.pop(name, None)
        return value

    def _asked(self, name: str, provider: Callable[[str], str], locator: str) -> str:
        if name == "env":
            return provider(locator)
        found: list[str] = []
        failed: list[Exception] = []

        def ask() -> None:
            try:
                found.append(provider(locator))
            except Exception as error:  # raised again by who waits, if anybody still does
                failed.append(error)

        thread = threading.Thread(target=ask, name=f"uici-secret-{name}", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if failed:
            raise failed[0]
        if not found:
            raise TimeoutError(110, f"no answer within {self._seconds:g} s")
        return found[0]
