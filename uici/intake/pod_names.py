"""What the name of a pod tells of its owner."""

from __future__ import annotations

import re
from functools import lru_cache

# The alphabet of Kubernetes' generated names: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/rand/rand.go
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_POD_NAMES = (
    re.compile(rf"(?P<owner>.+)-{_SAFE}{{1,10}}-{_SAFE}{{5}}"),  # deployment
    re.compile(r"(?P<owner>.+)-\d+", re.ASCII),  # stateful set
    re.compile(rf"(?P<owner>.+)-{_SAFE}{{5}}"),  # daemon set
)

_LONGEST_POD_NAME = 253


def owners_of_pod(pod: str) -> tuple[str, ...]:
    """What may own a pod of this name: a deployment, a stateful set, a daemon set, by how Kubernetes names pods."""
    return _owners_of_pod(pod) if len(pod) <= _LONGEST_POD_NAME else ()


@lru_cache(maxsize=4096)
def _owners_of_pod(pod: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found["owner"] for pattern in _POD_NAMES if (found := pattern.fullmatch(pod))))
