"""The executor's layer of the self-target guard: what UICI itself runs in, or holds its state, is never changed.

Named calls compare the containers that a binding resolved to. Open calls can reach a container by any unique
beginning of its id, through an exec, a network, a volume or the whole engine, so they are looked through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from executors.docker.arguments import EngineRequest
from executors.docker.engine import Engine
from executors.docker.lookup import Lookup, name_of
from executors.docker.settings import DockerBinding
from executors.docker.state_server import StateServer
from uici.model.base import JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfIdentity

_WHOLE_ENGINE = frozenset({"swarm", "nodes"})


class SelfGuard:
    """Raises CallError(PERMANENT, `self_target`); does nothing when `active` is false."""

    def __init__(self, engine: Engine, lookup: Lookup, identity: Callable[[], SelfIdentity], active: bool) -> None:
        self._engine = engine
        self._lookup = lookup
        self._identity_now = identity
        self._active = active
        self._state = StateServer(engine, lookup, identity)

    @property
    def _identity(self) -> SelfIdentity:
        return self._identity_now()

    def check_binding(self, binding: DockerBinding) -> None:
        """Refuse a binding whose own text names UICI."""
        if self._active:
            named = self._identity.is_reached_by(binding.model_dump(mode="json", exclude={"health"}))
            if named is not None:
                raise self._refusal(f"{binding} names UICI itself ({named!r:.100})")

    def check_container(self, container_id: str, name: str) -> None:
        """Refuse a container that is UICI's own, whatever it was reached by."""
        if not self._active:
            return
        shown = f"container {name!r:.100} ({container_id[:12]})"
        if self._identity.is_named_by((container_id, container_id[:12], name)) is not None:
            raise self._refusal(f"{shown} is what UICI itself runs in")
        server = self._state.server_of(container_id)
        if server is not None:
            raise self._refusal(f"{shown} is, or may be, {server}, the server of UICI's state")

    def check_request(self, request: EngineRequest) -> None:
        """Refuse an open call that changes something of UICI's own, or of what contains it."""
        if not self._active:
            return
        sent: JsonValue = [list(request.path), dict(request.query), request.body, request.target]
        named = self._identity.is_reached_by(sent)
        text = json.dumps(sent, ensure_ascii=False)
        for container in self._identity.containers:
            if len(container) >= 12 and container[:12] in text.lower():
                named = named or container[:12]
        if named is not None:
            raise self._refusal(f"the request names UICI itself ({named!r:.100})")
        own = self._own_containers()
        if own:
            self._check_reach(request, own)

    def _own_containers(self) -> list[dict[str, Any]]:
        if not self._identity.containers and not self._identity.names and not self._identity.state_addresses:
            return []
        listed = self._lookup.listed({})
        holding = self._state.holders(listed)
        return [
            entry
            for entry in listed
            if entry["Id"] in holding
            or self._identity.is_named_by((entry["Id"], entry["Id"][:12], name_of(entry))) is not None
        ]

    def _check_reach(self, request: EngineRequest, own: Sequence[Mapping[str, Any]]) -> None:
        kind, rest = request.path[0].lower(), request.path[1:]
        if kind in _WHOLE_ENGINE or "prune" in rest:
            raise self._refusal(f"/{'/'.join(request.path)[:100]} acts on the whole engine that UICI itself runs on")
        ids = {str(entry["Id"]) for entry in own}
        for reference in self._containers_of(kind, rest, request.body):
            # Asked of the engine, which also answers to names with a slash and to short beginnings of ids.
            if self._resolved(reference) in ids:
                raise self._refusal(f"{reference!r:.100} is the container that UICI itself runs in, or its state")
        if kind == "networks" and len(rest) > 1:
            return  # to connect or disconnect another container of the same network is that container's matter
        used = {name.lower() for entry in own for name in _used_by(kind, entry)}
        if rest and rest[0].lower() in used:
            raise self._refusal(f"/{'/'.join(request.path)[:100]} is what UICI's own container uses or belongs to")

    def _containers_of(self, kind: str, rest: Sequence[str], body: JsonValue) -> Iterable[str]:
        if kind == "containers" and rest:
            yield rest[0]
        if kind == "exec" and rest:
            try:
                yield str(self._engine.get(("exec", rest[0], "json")).json().get("ContainerID", ""))
            except CallError as error:
                if error.kind is not FailureKind.PERMANENT:
                    raise
        if kind == "networks" and isinstance(body, dict):
            yield from (str(value) for key, value in body.items() if key.lower() == "container")

    def _resolved(self, reference: str) -> str | None:
        reference = reference.lstrip("/")
        if not reference:
            return None
        try:
            found = self._engine.get(("containers", reference, "json")).json()
        except CallError as error:
            if error.code == "container_not_found":
                return None  # there is no such container, so it is not ours
            if error.kind is FailureKind.PERMANENT:
                raise self._refusal(f"the engine cannot say what {reference!r:.100} is") from None
            raise
        return str(found["Id"])

    def _refusal(self, why: str) -> CallError:
        return CallError(
            FailureKind.PERMANENT,
            "self_target",
            f"refused in environment {self._engine.environment!r}: {why}; UICI never changes itself. "
            "A person may do it by hand",
        )


def _used_by(kind: str, entry: Mapping[str, Any]) -> Iterable[str]:
    """Names and ids, of the kind that a path begins with, that this container uses or belongs to."""
    if kind == "volumes":
        yield from (str(mount["Name"]) for mount in entry.get("Mounts") or () if mount.get("Name"))
    elif kind == "networks":
        for name, endpoint in ((entry.get("NetworkSettings") or {}).get("Networks") or {}).items():
            yield name
            yield str(endpoint.get("NetworkID", ""))
    elif kind == "images":
        yield str(entry.get("ImageID", ""))
        yield str(entry.get("ImageID", "")).removeprefix("sha256:")[:12]
        yield str(entry.get("Image", ""))
    elif kind in ("services", "tasks"):
        labels = entry.get("Labels") or {}
        yield from (
            str(labels[f"com.docker.swarm.{key}"])
            for key in ("service.id", "service.name", "task.id", "task.name")
            if f"com.docker.swarm.{key}" in labels
        )
