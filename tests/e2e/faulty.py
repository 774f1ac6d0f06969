"""A `uici serve` that suffers a fault of the process at one moment of a run, once: killed or stopped by the kernel.

UICI_TEST_FAULT is `<moment>:<signal>`; moments are `announced` (a mutating call stands in the state and is about to be
sent) and `performed` (the platform has answered, and the state does not know). UICI_TEST_VERSION is the version that
the process believes to be, UICI_TEST_SCHEMA one of `tests.newer_schema` that it brings along.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import time
from typing import Any

_STRUCK_SECONDS = 0.5
"""By when a signal has stopped all threads; the one that sent it may go on for a moment."""
FAULT, VERSION, SCHEMA = "UICI_TEST_FAULT", "UICI_TEST_VERSION", "UICI_TEST_SCHEMA"


def main() -> None:
    """Arm the fault, then be `uici`."""
    moment, _, name = os.environ.get(FAULT, "").partition(":")
    if VERSION in os.environ:
        _pretend(os.environ[VERSION])

    from tests.newer_schema import SCHEMAS
    from uici.cli import main as uici
    from uici.runs.stages import acting
    from uici.runs.workers import Workers
    from uici.store.database import Store

    if SCHEMA in os.environ:
        Store.migrate.__defaults__ = (SCHEMAS[os.environ[SCHEMA]],)
    left = [name] if moment else []

    def suffer() -> None:
        if left:
            os.kill(os.getpid(), signal.Signals[left.pop()])
            time.sleep(_STRUCK_SECONDS)

    may_send, settle = Workers.may_send, acting._settle

    def before_sending(self: Workers, announced: float) -> bool:
        if moment == "announced":
            suffer()
        return may_send(self, announced)

    def before_settling(*arguments: Any, **more: Any) -> None:
        if moment == "performed":
            suffer()
        settle(*arguments, **more)

    Workers.may_send = before_sending  # type: ignore[method-assign]  # a fault, injected
    acting._settle = before_settling
    uici()


def _pretend(wanted: str) -> None:
    true = importlib.metadata.version

    def version(distribution_name: str) -> str:
        return wanted if distribution_name == "uici" else true(distribution_name)

    importlib.metadata.version = version
