"""How the tests are spread over workers: what shares a rig stays together, and what takes long comes first.

A file is one worker's, so that what its tests share is started once. The contract's files are taken apart by platform,
because a rig is of one platform; and some files by test, which take long and share nothing but what a worker has.

What waits for real things goes first and the quick tests last, so that no worker ends with a long one while the others
have nothing to do. Every other one is about the cluster, as long as there is such: its one node starts few pods at a
time, and while it does the processors have time for the rest.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

APART = re.compile(
    r"tests/(mutation|integration/test_kubernetes_|e2e/test_(crashes|broken_yaml|kubernetes|learning|backends|engine))"
)
"""Files whose tests share nothing."""
_LONGEST_FIRST = (
    "tests/mutation/",
    "tests/e2e/test_chaos",
    "tests/contract/",
    "tests/integration/test_kubernetes_",
    "tests/e2e/",
    "tests/property/",
    "tests/unit/test_documents",
    "tests/integration/",
)
_PLATFORM = re.compile(r"\[(local|docker|oci|kubernetes|tls|ssh)\b")


def together(nodeid: str) -> str:
    """The name of what one worker runs as a whole."""
    file, _, test = nodeid.partition("::")
    if APART.match(file):
        return nodeid
    platform = _PLATFORM.search(test) if file.startswith("tests/contract/") else None
    return f"{file}[{platform[1]}]" if platform else file


def turn(name: str) -> int:
    """When it is due: the lower, the earlier."""
    return next((at for at, prefix in enumerate(_LONGEST_FIRST) if re.match(prefix, name)), len(_LONGEST_FIRST))


class LongestFirst(OrderedDict[str, dict[str, bool]]):
    """A scheduler's queue: what one worker runs as a whole -> its tests."""

    _of_cluster = False

    def popitem(self, last: bool = True) -> tuple[str, dict[str, bool]]:
        """What is due next."""
        self._of_cluster = not self._of_cluster
        first = min(self, key=lambda name: (("kubernetes" in name) is not self._of_cluster, turn(name)))
        return first, self.pop(first)


def scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler of `--dist loadfile`, with our wholes and our order."""
    made = LoadFileScheduling(config, log)
    made._split_scope = together
    made.workqueue = LongestFirst()
    return made
