"""Executors, and the calls of the monitoring, as the runs see them: whatever one raises, it is a `CallError`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import structlog

from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Happened
from uici.model.masking import mask
from uici.model.rehearsal import Rehearsal
from uici.ports import ConnectionReport, Executor

log = structlog.get_logger(__name__)


class Performer(Protocol):
    """Whoever carries out calls: an executor, or the monitoring."""

    @property
    def rehearses(self) -> bool:
        """See `uici.ports.Executor.rehearses`."""

    def perform(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.perform`."""

    def before(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.before`."""

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """See `uici.ports.Executor.happened`."""

    def rehearse(self, call: Call) -> Rehearsal | None:
        """See `uici.ports.Executor.rehearse`."""


class BoundedCalls:
    """Carrying out calls in one environment. A defect, or an SDK that is not installed, is a failed call."""

    def __init__(self, performer: Performer, environment: str) -> None:
        self._performer = performer
        self._environment = environment
        self._lock = threading.Lock()
        self._inside = 0
        self._closing = False

    @property
    def rehearses(self) -> bool:
        """See `uici.ports.Executor.rehearses`."""
        with self._bounded(f"the rehearsals of {self._environment}"):
            return self._performer.rehearses

    def perform(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.perform`."""
        with self._bounded(f"{call.name} in {self._environment}", mutates=call.mutates):
            return self._performer.perform(call)

    def before(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.before`."""
        with self._bounded(f"looking before {call.name} in {self._environment}"):
            return self._performer.before(call)

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """See `uici.ports.Executor.happened`."""
        with self._bounded(f"proving {call.name} in {self._environment}"):
            return self._performer.happened(call, before)

    def rehearse(self, call: Call) -> Rehearsal | None:
        """See `uici.ports.Executor.rehearse`."""
        with self._bounded(f"rehearsing {call.name} in {self._environment}"):
            return self._performer.rehearse(call)

    @contextmanager
    def _bounded(self, what: str, *, mutates: bool = False) -> Iterator[None]:
        with self._lock:
            self._inside += 1
        try:
            yield
        except CallError as error:
            if (message := mask(error.message)) == error.message:
                raise
            # A platform quotes what it was sent. From here on the text is kept, sent on and cut.
            raise CallError(error.kind, error.code, message, detail=mask(error.detail)) from None
        except ImportError as error:
            # Nothing can be sent without the SDK.
            message = f"{what}: {error}; install what the executor needs beside UICI"
            raise CallError(FailureKind.PERMANENT, "sdk_missing", message) from error
        except Exception as error:
            log.exception("executor_failed", environment=self._environment, what=what)
            # Of a change nobody knows how far it came, so its effect is looked for before anything else.
            kind = FailureKind.UNKNOWN if mutates else FailureKind.PERMANENT
            message = str(mask(f"{what}: the executor failed: {type(error).__name__}: {error}"))
            raise CallError(kind, "executor_failed", message) from error
        finally:
            with self._lock:
                self._inside -= 1
                last = self._closing and self._inside == 0
            if last:
                self._close()

    def _close(self) -> None:
        """Release what carrying out calls needs; nothing, unless there is more to it."""


class BoundedExecutor(BoundedCalls):
    """One environment's executor."""

    def __init__(self, executor: Executor, environment: str) -> None:
        super().__init__(executor, environment)
        self._executor = executor

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """See `uici.ports.Executor.find`."""
        with self._bounded(f"looking labels up in {self._environment}"):
            return self._executor.find(labels)

    def check(self) -> ConnectionReport:
        """See `uici.ports.Executor.check`; raises CallError where that one breaks its promise."""
        with self._bounded(f"the check of {self._environment}"):
            return self._executor.check()

    def close(self) -> None:
        """See `uici.ports.Executor.close`. What is under way ends first: a reload may replace an executor in use."""
        with self._lock:
            self._closing = True
            idle = self._inside == 0
        if idle:
            self._close()

    def _close(self) -> None:
        self._executor.close()
