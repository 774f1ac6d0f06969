"""Python's search for unreachable cycles, kept out of what makes a great many objects that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(*, to_stay: bool) -> Iterator[None]:
    """No search for cycles within: while thousands of verbs are loaded it quadruples the time, and takes a sixth of the
    time of imports; neither leaves cycles that could be freed.

    Those of a large site, and of modules, are `to_stay`. To look through them again and again for what has become
    unreachable would hold all threads up; what a reload replaces is freed all the same.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if to_stay:
            gc.freeze()
        if was:
            gc.enable()
