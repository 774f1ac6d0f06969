"""Executors as the runs see them: whatever one raises, it is a `CallError`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Happened
from uici.ports import ConnectionReport, Executor

log = structlog.get_logger(__name__)


class BoundedExecutor:
    """One environment's executor. A third party's defect, or an SDK that is not installed, is a failed call."""

    def __init__(self, executor: Executor, environment: str) -> None:
        self._executor = executor
        self._environment = environment
        self._lock = threading.Lock()
        self._inside = 0
        self._closing = False

    def perform(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.perform`."""
        with self._bounded(f"{call.name} in {self._environment}", mutates=call.mutates):
            return self._executor.perform(call)

    def before(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.before`."""
        with self._bounded(f"looking before {call.name} in {self._environment}"):
            return self._executor.before(call)

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """See `uici.ports.Executor.happened`."""
        with self._bounded(f"proving {call.name} in {self._environment}"):
            return self._executor.happened(call, before)

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
            self._executor.close()

    @contextmanager
    def _bounded(self, what: str, *, mutates: bool = False) -> Iterator[None]:
        with self._lock:
            self._inside += 1
        try:
            yield
        except CallError:
            raise
        except ImportError as error:
            # Nothing can be sent without the SDK.
            message = f"{what}: {error}; install what the executor needs beside UICI"
            raise CallError(FailureKind.PERMANENT, "sdk_missing", message) from error
        except Exception as error:
            log.exception("executor_failed", environment=self._environment, what=what)
            # Of a change nobody knows how far it came, so its effect is looked for before anything else.
            kind = FailureKind.UNKNOWN if mutates else FailureKind.PERMANENT
            message = f"{what}: the executor failed: {type(error).__name__}: {error}"
            raise CallError(kind, "executor_failed", message) from error
        finally:
            with self._lock:
                self._inside -= 1
                last = self._closing and self._inside == 0
            if last:
                self._executor.close()
