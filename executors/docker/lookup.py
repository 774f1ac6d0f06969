"""From a binding, or an alert's labels, to the containers that exist."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from executors.deadline import Deadline
from executors.docker.engine import Engine
from executors.docker.facts import Facts
from executors.docker.settings import LABEL_ONEOFF, LABEL_PROJECT, LABEL_SERVICE, DockerBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

ASIDE, FRESH = ".uici-old", ".uici-new"
"""What the names of containers end with while one is being replaced."""
_NAME = re.compile(r"^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
_ID = re.compile(r"^[0-9a-f]{12,64}$")
_ID_IN_CGROUP = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?$")
_REMEMBERED_SECONDS = 5.0


@dataclass(frozen=True)
class Reference:
    """A container that was there when it was looked at."""

    id: str
    name: str


class Lookup:
    """Finds containers. Safe for several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._recent: dict[str, tuple[float, Reference]] = {}
        self._lock = threading.Lock()

    def inspect(self, reference: str, deadline: Deadline | None = None) -> dict[str, Any] | None:
        """What the engine says of a container, by name or by 12 or more digits of its id; None when it is missing."""
        if not _NAME.match(reference) or len(reference) > 255:
            return None  # no container can be called so; the engine need not see hostile text
        reference = reference.lstrip("/")
        try:
            found = self._engine.get(("containers", reference, "json"), deadline=deadline).json()
        except CallError as error:
            if error.code == "container_not_found":
                return None
            raise
        # The engine also answers to any unique beginning of an id, which a name like `cafe` is by accident.
        by_id = bool(_ID.match(reference)) and found["Id"].startswith(reference)
        if not by_id and found["Name"].lstrip("/") != reference:
            return None
        self._remember(reference, Reference(found["Id"], found["Name"].lstrip("/")))
        return dict(found)

    def inspected(self, binding: DockerBinding, deadline: Deadline | None = None) -> list[dict[str, Any]]:
        """All containers of the binding, oldest first; none when it is missing."""
        if binding.container is not None:
            found = self.inspect(binding.container, deadline)
            return [] if found is None else [found]
        looked = (self.inspect(reference.id, deadline) for reference in self.references(binding, deadline))
        return [found for found in looked if found is not None]

    def members(self, binding: DockerBinding, deadline: Deadline | None = None) -> list[Facts]:
        """As `inspected`, parsed."""
        return [Facts.of(found) for found in self.inspected(binding, deadline)]

    def references(self, binding: DockerBinding, deadline: Deadline | None = None) -> list[Reference]:
        """Ids and names of the binding's containers, with as few requests as possible; oldest first.

        A container that was looked at within the last seconds is not looked at again: acting on its id is the same
        as acting at once, since an id never means another container.
        """
        if binding.container is not None:
            remembered = self._recall(binding.container.lstrip("/"))
            if remembered is not None:
                return [remembered]
            found = self.inspect(binding.container, deadline)
            return [] if found is None else [Reference(found["Id"], found["Name"].lstrip("/"))]
        listed = self.listed({"label": list(binding.label_filters())}, deadline)
        if binding.service is not None and binding.project is None:
            projects = sorted({str(entry["Labels"].get(LABEL_PROJECT, "")) for entry in listed})
            if len(projects) > 1:
                raise CallError(
                    FailureKind.PERMANENT,
                    "ambiguous_service",
                    f"{binding} exists in several compose projects of {self._engine.where}: {', '.join(projects)}; "
                    "name one with `project` in the target's binding",
                )
        return [
            Reference(entry["Id"], name)
            for entry in sorted(listed, key=lambda entry: (entry["Created"], entry["Names"]))
            if entry["Labels"].get(LABEL_ONEOFF, "False").lower() != "true"
            and not (name := name_of(entry)).endswith((ASIDE, FRESH))
        ]

    def listed(self, filters: Mapping[str, list[str]], deadline: Deadline | None = None) -> list[dict[str, Any]]:
        """The engine's list of containers, stopped ones included."""
        query: JsonObject = {"all": True, "filters": dict(filters)}
        entries = self._engine.get(("containers", "json"), query, deadline=deadline).json()
        return [{**entry, "Labels": entry.get("Labels") or {}} for entry in entries]

    def missing(self, binding: DockerBinding) -> CallError:
        """The error for a call on something that does not exist."""
        return CallError(
            FailureKind.PERMANENT,
            "container_not_found",
            f"{binding} does not exist on {self._engine.where}; create it, or correct the target's binding",
        )

    def forget(self) -> None:
        """Look again next time: names have moved."""
        with self._lock:
            self._recent.clear()

    def was_stopped(self, facts: Facts) -> bool:
        """Whether the engine still remembers that an ended container was stopped on request.

        Its events are kept in memory, some hundreds of them; without one the container counts as ended by itself.
        """
        if facts.started_at is None or facts.finished_at is None:
            return False
        # The event follows the end by milliseconds. The engine waits for a time that is still to come, so for what
        # ended just now our own clock is the bound; a stop of ours has its event before its answer.
        until = min(_moment(facts.finished_at) + timedelta(seconds=0.5), datetime.now(UTC))
        query: JsonObject = {
            "since": f"{_moment(facts.started_at).timestamp():.6f}",
            "until": f"{until.timestamp():.6f}",
            "filters": {"type": ["container"], "container": [facts.id], "event": ["stop"]},
        }
        return b'"stop"' in self._engine.get(("events",), query).content

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of what an alert's labels name; see `Executor.find`."""
        for reference in _candidates(labels):
            found = self.inspect(reference)
            if found is not None:
                return ({"container": found["Name"].lstrip("/")},)
        service = labels.get(f"container_label_{LABEL_SERVICE.replace('.', '_')}")
        project = labels.get(f"container_label_{LABEL_PROJECT.replace('.', '_')}")
        if service:
            binding: JsonObject = {"service": service, **({"project": project} if project else {})}
            try:
                parsed = DockerBinding.model_validate(binding)
                return (binding,) if self.references(parsed) else ()
            except ValueError:
                return ()
            except CallError as error:
                if error.code != "ambiguous_service":
                    raise
        return ()

    def _remember(self, text: str, reference: Reference) -> None:
        with self._lock:
            if len(self._recent) > 1000:
                self._recent.clear()
            self._recent[text] = (time.monotonic(), reference)

    def _recall(self, text: str) -> Reference | None:
        with self._lock:
            at, reference = self._recent.get(text, (0.0, None))
        return reference if reference is not None and time.monotonic() - at < _REMEMBERED_SECONDS else None


def name_of(entry: Mapping[str, Any]) -> str:
    """The name of an entry of the engine's list; links add names with a second slash."""
    names = [str(name).lstrip("/") for name in entry.get("Names") or ()]
    return next((name for name in names if "/" not in name), str(entry["Id"])[:12])


def _candidates(labels: Mapping[str, str]) -> list[str]:
    """Texts that may name a container, the surest first; those of other exporters name nothing here."""
    ids = []
    for label in ("container_id", "id"):
        value = labels.get(label, "").removeprefix("docker://")
        in_cgroup = _ID_IN_CGROUP.search(value)
        if in_cgroup is not None:
            ids.append(in_cgroup[1])
        elif _ID.match(value):
            ids.append(value)
    names = [labels.get(label, "") for label in ("container_name", "container", "name")]
    return [*dict.fromkeys([*ids, *(name for name in names if name)])]


def _moment(text: str) -> datetime:
    # Nanoseconds, which Python does not parse, are cut to microseconds.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))
