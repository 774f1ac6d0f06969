"""Which kinds a cluster has, and in which versions: asked of the cluster, never assumed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from executors.deadline import Deadline
from executors.kubernetes.api import Api
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.errors import did_you_mean

# The groups of the kinds that every cluster has: asking for one of these needs no look at all groups.
_GROUPS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "Pod",
                "Node",
                "Namespace",
                "Event",
                "Secret",
                "ConfigMap",
                "Service",
                "PersistentVolumeClaim",
                "PersistentVolume",
                "ReplicationController",
                "ResourceQuota",
                "ServiceAccount",
            ),
            "",
        ),
        **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ControllerRevision"), "apps"),
        **dict.fromkeys(("Job", "CronJob"), "batch"),
        "HorizontalPodAutoscaler": "autoscaling",
        "PodDisruptionBudget": "policy",
    }
)
_VERSION = re.compile(r"^v(\d+)(?:(alpha|beta)(\d+))?$")
_STABILITY = {"alpha": 0, "beta": 1, None: 2}
_ASK_AGAIN_SECONDS = 10.0
"""A kind that was not there is looked for again after this; what is there is kept until a request shows otherwise."""


@dataclass(frozen=True)
class Resource:
    """One kind of object as one version serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str] = frozenset()
    subresources: frozenset[str] = frozenset()

    @property
    def api_version(self) -> str:
        """As objects have it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> tuple[str, ...]:
        """Segments of the address of an object, or of all."""
        root = ("apis", self.group, self.version) if self.group else ("api", self.version)
        place = ("namespaces", namespace) if self.namespaced and namespace else ()
        rest = tuple(part for part in (name, *(subresource or "").split("/")) if part)
        return (*root, *place, self.plural, *rest)


class Discovery:
    """What the cluster serves, asked once for each group. Safe for several threads."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._groups: tuple[float, dict[str, tuple[str, ...]]] | None = None
        self._served: dict[tuple[str, str], tuple[Resource, ...]] = {}

    def resource(
        self, kind: str, group: str | None = None, version: str | None = None, deadline: Deadline | None = None
    ) -> Resource:
        """The newest version of a kind that the cluster serves, or the named one.

        Raises CallError(PERMANENT): `kind_not_served`, `ambiguous_kind` when several groups have one by that name.
        """
        wanted = group if group is not None else _GROUPS.get(kind)
        found = self._look(kind, wanted, version, deadline)
        if found is None and self.forget(older_than=_ASK_AGAIN_SECONDS):
            found = self._look(kind, wanted, version, deadline)
        if found is None:
            raise self._missing(kind, wanted, version)
        return found

    def has(self, kind: str, group: str | None = None) -> bool:
        """Whether the cluster serves such a kind. Raises CallError when it cannot be asked."""
        try:
            self.resource(kind, group)
        except CallError as error:
            if error.code == "kind_not_served":
                return False
            raise
        return True

    def forget(self, older_than: float = 0.0) -> bool:
        """Ask again next time, unless it was asked within these seconds; whether something was forgotten."""
        with self._lock:
            if self._groups is None or time.monotonic() - self._groups[0] < older_than:
                return False
            self._groups = None
            self._served.clear()
            return True

    def groups(self, deadline: Deadline | None = None) -> dict[str, tuple[str, ...]]:
        """Group -> its versions, newest first; the core group is the empty text."""
        with self._lock:
            if self._groups is not None:
                return self._groups[1]
        core = self._api.get(("api",), deadline=deadline).json()
        listed = self._api.get(("apis",), deadline=deadline).json()
        found = {"": newest_first(core.get("versions") or ())}
        for entry in listed.get("groups") or ():
            found[str(entry["name"])] = newest_first(one["version"] for one in entry["versions"])
        with self._lock:
            self._groups = (time.monotonic(), found)
        return found

    def of(self, group: str, version: str, deadline: Deadline | None = None) -> tuple[Resource, ...]:
        """All kinds of one version of a group. Empty when its own server does not answer."""
        with self._lock:
            known = self._served.get((group, version))
        if known is not None:
            return known
        path = ("apis", group, version) if group else ("api", version)
        try:
            listed = self._api.get(path, deadline=deadline).json()
        except CallError as error:
            # An aggregated API whose server is down takes away its own kinds, not everybody's.
            if error.code in ("kind_not_served", "object_not_found", "kubernetes_error") and "." in group:
                return ()
            raise
        found = tuple(_resources(group, version, listed.get("resources") or ()))
        with self._lock:
            self._served[(group, version)] = found
        return found

    def _look(self, kind: str, group: str | None, version: str | None, deadline: Deadline | None) -> Resource | None:
        groups = self.groups(deadline)
        found = []
        for name in groups if group is None else [group]:
            versions = [one for one in groups.get(name, ()) if version in (None, one)]
            served = (one for each in versions for one in self.of(name, each, deadline) if one.kind == kind)
            first = next(served, None)
            if first is not None:
                found.append(first)
        if len(found) > 1:
            # Where kinds lived before they got groups of their own.
            found = [one for one in found if one.group != "extensions"]
        if len(found) > 1:
            names = ", ".join(repr(one.group) for one in found)
            raise CallError(
                FailureKind.PERMANENT,
                "ambiguous_kind",
                f"{self._api.where} has {kind!r:.100} in several groups: {names}; name one with `group`",
            )
        return found[0] if found else None

    def _missing(self, kind: str, group: str | None, version: str | None) -> CallError:
        groups = self.groups()
        names = groups if group is None else [group]
        with self._lock:
            kinds = sorted({one.kind for (own, _), served in self._served.items() if own in names for one in served})
        what = f"{kind!r:.100}" + (f" in group {group!r:.100}" if group else "")
        what += f" in version {version!r:.50}" if version else ""
        hint = did_you_mean(kind, kinds) or ("" if group is None or group in groups else did_you_mean(group, groups))
        return CallError(
            FailureKind.PERMANENT,
            "kind_not_served",
            f"{self._api.where} serves no kind {what}{hint}; install its CustomResourceDefinition, or correct the name",
        )


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """As Kubernetes orders versions: stable before beta before alpha, then the higher number."""

    def rank(version: str) -> tuple[int, int, int]:
        parts = _VERSION.match(version)
        return (-1, 0, 0) if parts is None else (_STABILITY[parts[2]], int(parts[1]), int(parts[3] or 0))

    return tuple(sorted(versions, key=rank, reverse=True))


def _resources(group: str, version: str, listed: Iterable[JsonObject]) -> Iterable[Resource]:
    entries = list(listed)
    below: dict[str, set[str]] = {}
    for entry in entries:
        plural, _, sub = str(entry["name"]).partition("/")
        if sub:
            below.setdefault(plural, set()).add(sub)
    for entry in entries:
        plural = str(entry["name"])
        if "/" not in plural:
            yield Resource(
                group=group,
                version=version,
                kind=str(entry["kind"]),
                plural=plural,
                namespaced=bool(entry.get("namespaced")),
                verbs=frozenset(entry.get("verbs") or ()),
                subresources=frozenset(below.get(plural, ())),
            )
