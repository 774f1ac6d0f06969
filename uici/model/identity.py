"""What UICI itself is, and the one predicate that every layer of the self-target guard shares."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from uici.model.base import Frozen, JsonValue

_SHORTEST_ID = 12
"""Characters of a container's id that Docker shows, and takes for the whole."""


class SelfIdentity(Frozen):
    """Everything by which UICI can be reached: its own ids, its state store, and what contains it."""

    pids: frozenset[int] = frozenset()
    """UICI's own process id(s)."""
    names: frozenset[str] = frozenset()
    """Names, ids and aliases: target names declared as self, container id, pod name, program name. Lower case."""
    containers: frozenset[str] = frozenset()
    """Full ids of the container UICI runs in."""
    pods: frozenset[str] = frozenset()
    """`namespace/pod`."""
    ancestors: frozenset[int] = frozenset()
    """Process ids that contain UICI: stopping one of them stops UICI."""
    containing: frozenset[str] = frozenset()
    """Names of what contains UICI: compose project, namespace, node, supervisor's socket. Acting on them *as a whole*
    is denied."""
    state_paths: frozenset[str] = frozenset()
    """Files of UICI's state store."""
    state_addresses: frozenset[str] = frozenset()
    """`host:port` of the server that holds UICI's state."""

    def joined_with(self, others: Iterable[SelfIdentity]) -> SelfIdentity:
        """One for all of them: what any of them is."""
        whole = [self, *others]
        return SelfIdentity(**{name: frozenset().union(*[getattr(one, name) for one in whole]) for name in _FIELDS})

    def is_named_by(self, names: Iterable[str]) -> str | None:
        """The first of `names` that means UICI itself, else None. Container ids match by a prefix of 12 or more."""
        own, containers = self.names, self.containers
        for name in names:
            lowered = name.strip().lstrip("/").lower()
            if lowered and (
                lowered in own
                or (len(lowered) >= _SHORTEST_ID and any(container.startswith(lowered) for container in containers))
            ):
                return name
        return None

    def may_begin(self, text: str) -> bool:
        """Whether `text`, or what stands at its beginning, may be a name of UICI: a look that costs next to nothing."""
        return text.strip().lstrip("/").lower().startswith(self._beginnings)

    @cached_property
    def _beginnings(self) -> tuple[str, ...]:
        return (*self.names, *(container[:_SHORTEST_ID] for container in self.containers))

    def is_reached_by(self, value: JsonValue) -> str | None:
        """The first text anywhere in `value` (a binding, arguments) that names UICI or its state store, else None.

        A namespace tells where a thing is, and may well be called as UICI is: what stands beside it is not UICI.
        """
        for text in _texts(value):
            if self.is_named_by([text]) or text in self.state_paths | self.state_addresses | self.pods:
                return text
        return None

    def is_target(self, names: Iterable[str], binding: JsonValue) -> str | None:
        """The text by which a target (name, aliases, binding) is UICI or contains it as a whole, else None."""
        by_name = self.is_named_by(names) or self.is_reached_by(binding)
        if by_name is not None or not isinstance(binding, dict):
            return by_name
        if binding.get("kind") in _CONTAINING_KINDS and binding.get("name") in self.containing:
            return str(binding["name"])
        # A binding that says no more than the project or the node means all that runs there.
        said = {key: value for key, value in binding.items() if key not in SETTINGS_OF_BINDINGS}
        if set(said) <= _CONTAINERS_OF_SERVICES:
            return next((text for text in map(str, said.values()) if text in self.containing), None)
        return None


class Selves:
    """What UICI is, in all processes that work on one state. Called, it gives the same object until that changes."""

    def __init__(self, own: SelfIdentity) -> None:
        self.own = own
        self._whole = own

    def __call__(self) -> SelfIdentity:
        """All of them as one."""
        return self._whole

    def learn_others(self, others: Iterable[SelfIdentity]) -> None:
        """These are the others now."""
        whole = self.own.joined_with(others)
        if whole != self._whole:
            self._whole = whole


_FIELDS = tuple(SelfIdentity.model_fields)

SETTINGS_OF_BINDINGS = frozenset(
    {"health", "stop_seconds", "diagnostics", "reclaim", "backend", "gitops", "autoscaler"}
)
"""Keys of a binding, the same on every platform, that do not help to say which thing is meant."""

_CONTAINERS_OF_SERVICES = frozenset({"project", "namespace", "node", "host", "supervisor", "compartment", "cluster"})
_CONTAINING_KINDS = frozenset({"Node", "Namespace"})


def _texts(value: JsonValue) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "namespace":
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


class SelfGuardLayers(Frozen):
    """Which layers of the self-target guard are on. All of them, always; tests switch three off to prove the fourth."""

    intake: bool = True
    planning: bool = True
    translation: bool = True
    executor: bool = True
