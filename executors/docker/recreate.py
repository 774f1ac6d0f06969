"""Replacing a container by another with a different image or environment, so that a failure leaves the old one.

The way of one container `web`, each step recognisable afterwards from names and labels alone:

    create web.uici-new    the engine refuses what it cannot create while nothing is changed yet
    stop web
    rename web             to web.uici-old
    rename web.uici-new    to web
    start web, wait until it is well
    remove web.uici-old    for a service only when all its containers are well

When the new one does not get well, the same way is gone back. A process that dies on the way leaves one of these
states, and `recover` goes on or back from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from executors.deadline import Deadline
from executors.docker.blueprint import Blueprint
from executors.docker.engine import Engine
from executors.docker.facts import Facts
from executors.docker.lookup import ASIDE, FRESH, Lookup, name_of
from executors.docker.settings import DockerBinding
from executors.docker.waiting import wait_until_well
from executors.probes import Probe
from uici.model.call import CallError, FailureKind

LABEL_BATCH = "io.uici.recreate"
LABEL_REPLACES = "io.uici.replaces"
LABEL_WAS_RUNNING = "io.uici.was-running"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Replacement:
    """One container and what shall take its place."""

    old: Facts
    new: Blueprint
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values that no message may repeat."""


class Terms(NamedTuple):
    """How to stop the old and to judge the new."""

    grace: int
    health_timeout: float
    probe: Probe | None


class _Pair(NamedTuple):
    """What of one replacement exists: by the container's own name, aside, and not yet renamed."""

    name: str
    current: Facts | None
    aside: Facts | None
    fresh: Facts | None


class Recreation:
    """Carries replacements out, and takes up those that were left unfinished."""

    def __init__(self, engine: Engine, lookup: Lookup) -> None:
        self._engine = engine
        self._lookup = lookup

    def replace(self, replacements: Sequence[Replacement], batch: str, terms: Terms) -> list[str]:
        """Replace one after another; all or none. Returns the new ids.

        Raises CallError: PERMANENT `unhealthy_after_recreate` when one did not get well, or what the engine refused,
        and then all old containers are back; UNKNOWN `recreate_interrupted` when they could not be brought back.
        """
        begun: list[str] = []
        created: list[str] = []
        try:
            for replacement in replacements:
                begun.append(replacement.old.name)
                created.append(self._replace_one(replacement, batch, terms))
        except CallError as error:
            raise self._taken_back(error, begun, terms) from None
        for name in begun:
            self._finish(self._pair(name))
        self._lookup.forget()
        return created

    def unfinished(self, binding: DockerBinding) -> list[str]:
        """Names of the binding's containers whose replacement was begun and not ended."""
        if binding.container is not None:
            name = binding.container.lstrip("/")
            listed = self._lookup.listed({"name": [f"^/{_escaped(name)}\\.uici-(old|new)$"]})
        else:
            listed = self._lookup.listed({"label": list(binding.label_filters())})
        names = (name_of(entry) for entry in listed)
        return sorted({name.removesuffix(ASIDE).removesuffix(FRESH) for name in names if name.endswith((ASIDE, FRESH))})

    def recover(self, binding: DockerBinding, terms: Terms) -> bool:
        """End what an earlier process left unfinished: forward when all new containers are up and get well, else back.

        Returns whether there was anything. Raises CallError when the engine cannot be asked or does not follow.
        """
        names = self.unfinished(binding)
        if not names:
            return False
        self._lookup.forget()
        pairs = [self._pair(name) for name in names]
        forward = all(self._is_up(pair) for pair in pairs) and self._batch_is_whole(binding, pairs)
        if forward:
            deadline = Deadline(terms.health_timeout)
            currents = [pair.current for pair in pairs if pair.current is not None]
            forward = all(wait_until_well(self._lookup, one.id, terms.probe, deadline) is None for one in currents)
        for name in names:
            if forward:
                self._finish(self._pair(name))
            else:
                self._back(name, terms)
        self._lookup.forget()
        _log.info(
            "docker_recreate_recovered",
            environment=self._engine.environment,
            target=str(binding),
            outcome="finished" if forward else "reverted",
        )
        return True

    def _replace_one(self, replacement: Replacement, batch: str, terms: Terms) -> str:
        old = replacement.old
        was_running = old.state in ("running", "starting", "restarting", "paused")
        marks = {LABEL_BATCH: batch, LABEL_REPLACES: old.id, LABEL_WAS_RUNNING: str(was_running).lower()}
        body = {**replacement.new.body, "Labels": {**replacement.new.body["Labels"], **marks}}
        answer = self._engine.post(
            ("containers", "create"), {"name": old.name + FRESH}, body, secrets=replacement.secrets
        ).json()
        new_id = str(answer["Id"])
        for network, endpoint in replacement.new.networks.items():
            self._engine.post(("networks", network, "connect"), body={"Container": new_id, "EndpointConfig": endpoint})
        self._stop(old.id, terms.grace)
        self._rename(old.id, old.name + ASIDE)
        self._rename(new_id, old.name)
        self._engine.post(("containers", new_id, "start"), secrets=replacement.secrets)
        why = wait_until_well(self._lookup, new_id, terms.probe, Deadline(terms.health_timeout))
        if why is not None:
            raise CallError(
                FailureKind.PERMANENT,
                "unhealthy_after_recreate",
                f"the new container {old.name!r} on {self._engine.where} is not well: {why}",
            )
        return new_id

    def _taken_back(self, error: CallError, begun: Sequence[str], terms: Terms) -> CallError:
        """Undo everything begun, and say with which error the whole ends."""
        try:
            for name in reversed(begun):
                self._back(name, terms)
        except CallError as trouble:
            return CallError(
                FailureKind.UNKNOWN,
                "recreate_interrupted",
                f"{error.message}; and the old container could not be brought back yet: {trouble.message}. "
                "The next look at this call ends it",
            )
        finally:
            self._lookup.forget()
        kind = FailureKind.PERMANENT if error.kind is FailureKind.PERMANENT else FailureKind.TEMPORARY
        message = f"{error.message}; the old container is back as it was"
        return CallError(kind, error.code, message, detail=error.detail)

    def _pair(self, name: str) -> _Pair:
        found = (self._lookup.inspect(name + ending) for ending in ("", ASIDE, FRESH))
        current, aside, fresh = (None if one is None else Facts.of(one) for one in found)
        return _Pair(name, current, aside, fresh)

    def _is_up(self, pair: _Pair) -> bool:
        return (
            pair.fresh is None
            and pair.current is not None
            and pair.aside is not None
            and pair.current.labels.get(LABEL_REPLACES) == pair.aside.id
            and pair.current.state in ("running", "starting")
        )

    def _batch_is_whole(self, binding: DockerBinding, pairs: Sequence[_Pair]) -> bool:
        """Whether every container of the binding belongs to the replacement that was begun."""
        batches = {pair.current.labels.get(LABEL_BATCH) for pair in pairs if pair.current is not None}
        members = self._lookup.members(binding)
        return len(batches) == 1 and all(member.labels.get(LABEL_BATCH) in batches for member in members)

    def _finish(self, pair: _Pair) -> None:
        if pair.aside is not None:
            # Volumes stay: the new container uses them.
            self._remove(pair.aside.id)

    def _back(self, name: str, terms: Terms) -> None:
        """Bring the old container back under its name; each step may have been done already."""
        pair = self._pair(name)
        fresh, aside, old_has_name = pair.fresh, pair.aside, False
        if fresh is None and pair.current is not None and aside is not None:
            if pair.current.labels.get(LABEL_REPLACES) != aside.id:
                return  # somebody else made the present one; it is not ours to take away
            fresh = pair.current
            self._stop(fresh.id, terms.grace)
            self._rename(fresh.id, name + FRESH)
        elif aside is None:
            old_has_name, aside = True, pair.current
        if aside is not None:
            replaced = fresh is None or fresh.labels.get(LABEL_REPLACES) == aside.id
            if replaced and (fresh is None or fresh.labels.get(LABEL_WAS_RUNNING) == "true"):
                if not old_has_name or fresh is not None:
                    self._engine.post(("containers", aside.id, "start"))
            if not old_has_name:
                self._rename(aside.id, name)
        if fresh is not None:
            self._remove(fresh.id)

    def _stop(self, container_id: str, grace: int) -> None:
        self._engine.post(("containers", container_id, "stop"), {"t": grace}, extra_seconds=grace)

    def _rename(self, container_id: str, name: str) -> None:
        self._engine.post(("containers", container_id, "rename"), {"name": name})

    def _remove(self, container_id: str) -> None:
        try:
            self._engine.delete(("containers", container_id), {"force": True})
        except CallError as error:
            if error.code != "container_not_found":
                raise


def state_marks(labels: Mapping[str, Any]) -> dict[str, str]:
    """These labels, to be taken away from a container that is copied."""
    return {mark: "" for mark in (LABEL_BATCH, LABEL_REPLACES, LABEL_WAS_RUNNING) if mark in labels}


def _escaped(name: str) -> str:
    return "".join(character if character.isalnum() or character in "_-" else f"\\{character}" for character in name)
