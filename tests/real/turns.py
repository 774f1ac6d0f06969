"""Whose turn it is on the cluster's one node: many tests at a time, or one that takes it from all."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def on_the_node(folder: Path, *, alone: bool) -> Iterator[None]:
    """Have the node, together with others unless `alone`; across processes. Who wants it alone is not overtaken."""
    with (folder / "uici-node-door").open("w") as door, (folder / "uici-node").open("w") as node:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(node, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
