"""Replacing a container instance by another with a different image, environment or shape.

A container instance cannot be changed. The way of one named `web`, each step recognisable from names and tags alone:

    create web.uici-new    it starts at once, tagged with what it replaces; what cannot be made changes nothing else
    stop web               kept as it is
    wait until the new one is well, and let it join the load balancer's backend set where the binding says so
    rename web             to web.uici-old: from here on the way leads forward only
    rename web.uici-new    to web, and take its marks away
    delete web.uici-old    after it has left the backend set

For a group the renaming begins when all new ones are well, and all are renamed before any is deleted. When one does
not get well, the new ones are deleted and the old ones started. A process that dies on the way leaves one of these
states, and `recover` goes on or back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from executors.deadline import Deadline
from executors.oci.balancer import Balancing
from executors.oci.connection import Cloud, token
from executors.oci.facts import TAG_DEPLOYED_AT, Facts
from executors.oci.lookup import ASIDE, FRESH, Lookup
from executors.oci.models import build
from executors.oci.settings import OciBinding
from executors.oci.work import Work
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

TAG_BATCH = "uici-batch"
TAG_REPLACES = "uici-replaces"
TAG_STAMP = "uici-stamp"
"""Its time of creation is to be remembered as that of a deployment."""
TAG_WAS_IDLE = "uici-was-idle"
"""What it replaces did not run, so that is not started when the way leads back."""
MARKS = frozenset({TAG_BATCH, TAG_REPLACES, TAG_STAMP, TAG_WAS_IDLE})
_BACK_SECONDS = 300.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Replacement:
    """One container instance, and what shall take its place."""

    old: Facts
    details: JsonObject = field(repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)


class Terms(NamedTuple):
    """How to judge the new one, and how long the whole may take."""

    health_seconds: float
    deadline: Deadline
    key: str = ""


class Recreation:
    """Carries replacements out, and takes up those that were left unfinished."""

    def __init__(self, cloud: Cloud, lookup: Lookup, work: Work, balancing: Balancing) -> None:
        self._balancing = balancing
        self._cloud = cloud
        self._lookup = lookup
        self._work = work

    def replace(self, binding: OciBinding, replacements: Sequence[Replacement], batch: str, terms: Terms) -> None:
        """Replace one after another; all or none.

        Raises CallError: PERMANENT `unhealthy_after_recreate` when one did not get well, or what the service refused,
        and then all old ones are back; UNKNOWN `recreate_interrupted` when they could not be brought back.
        """
        made: list[Facts] = []
        try:
            for replacement in replacements:
                made.append(self._made(binding, replacement, batch, terms))
                self.stop(replacement.old, terms.deadline)
                why = self.well(made[-1].id, binding, terms.health_seconds)
                if why is not None:
                    raise CallError(
                        FailureKind.PERMANENT,
                        "unhealthy_after_recreate",
                        f"the container instance in the place of {replacement.old.name!r} on {self._cloud.where} did "
                        f"not get well: {why}",
                    )
        except CallError as error:
            raise self._taken_back(error, replacements) from None
        pairs = [(one.old, new) for one, new in zip(replacements, made, strict=True)]
        self._commit(binding, pairs, terms.deadline)

    def recover(self, binding: OciBinding, terms: Terms) -> bool:
        """End what an earlier process left unfinished: forward when all new ones are well, else back.

        Returns whether there was anything. Raises CallError when the service cannot be asked or does not follow.
        """
        fresh, aside = self._left(binding)
        if not fresh and not aside:
            return False
        forward = bool(aside) or self._can_go_on(binding, fresh, terms)
        if forward:
            pairs = [(self._lookup.container(new.tags[TAG_REPLACES], binding), new) for new in fresh]
            self._commit(binding, pairs, terms.deadline)
        else:
            for new in fresh:
                self._back(binding, new, Deadline(_BACK_SECONDS))
        for one in self._left(binding)[1]:
            self._end(binding, one, terms.deadline)
        _log.info(
            "oci_recreate_recovered",
            environment=self._cloud.environment,
            target=str(binding),
            outcome="finished" if forward else "reverted",
        )
        return True

    def stop(self, one: Facts, deadline: Deadline) -> bool:
        """Stop a container instance; whether it had to be. Raises CallError."""
        if one.lifecycle != "ACTIVE":
            return False
        answer = self._cloud.tell("containers", "stop_container_instance", one.id)
        self._work.done("containers", answer, f"stop container instance {one.name!r}", deadline)
        return True

    def start(self, one: Facts, deadline: Deadline) -> bool:
        """Start a container instance; whether it had to be. Raises CallError."""
        if one.lifecycle != "INACTIVE":
            return False
        answer = self._cloud.tell("containers", "start_container_instance", one.id)
        self._work.done("containers", answer, f"start container instance {one.name!r}", deadline)
        return True

    def well(self, instance_id: str, binding: OciBinding, seconds: float) -> str | None:
        """Wait until it runs and every check passes; None then, else what is wrong."""
        deadline = Deadline(seconds)
        while True:
            seen = self._lookup.container(instance_id, binding)
            why = _trouble(seen)
            if why is None and seen is not None:
                failed = [one for one in self._lookup.probed(binding, [seen]) if not one["ok"]]
                why = f"{failed[0]['name']}: {failed[0]['detail']}" if failed else None
            if why is None or seen is None or seen.state in ("failed", "exited") or deadline.left() == 0:
                return why
            self._work.pause(deadline, "its health")

    def _made(self, binding: OciBinding, replacement: Replacement, batch: str, terms: Terms) -> Facts:
        old = replacement.old
        tags = {name: text for name, text in {**old.tags, **replacement.tags}.items() if text and name not in MARKS}
        if TAG_STAMP in replacement.tags:
            tags[TAG_STAMP] = replacement.tags[TAG_STAMP]
        if old.lifecycle != "ACTIVE":
            tags[TAG_WAS_IDLE] = "true"
        details = {
            **replacement.details,
            "display_name": old.name + FRESH,
            "freeform_tags": {**tags, TAG_BATCH: batch, TAG_REPLACES: old.id},
        }
        return self.create(binding, details, token(terms.key, f"replace/{old.id}"), terms.deadline)

    def create(self, binding: OciBinding, details: JsonObject, once: str | None, deadline: Deadline) -> Facts:
        """Make a container instance and wait until it is there. Raises CallError; then it is deleted again."""
        name = details["display_name"]
        model = build("container_instances", "CreateContainerInstanceDetails", details, drop_unknown=True)
        answer = self._cloud.tell("containers", "create_container_instance", model, opc_retry_token=once)
        new_id = str(answer.data["id"])
        try:
            self._work.done("containers", answer, f"create container instance {name!r}", deadline)
        except CallError as error:
            if error.kind is FailureKind.PERMANENT:
                self._delete(new_id)
            raise
        found = self._lookup.container(new_id, binding)
        if found is None:
            raise CallError(
                FailureKind.PERMANENT, "create_failed", f"container instance {name!r} went away as it was made"
            )
        return found

    def _commit(self, binding: OciBinding, pairs: Sequence[tuple[Facts | None, Facts]], deadline: Deadline) -> None:
        """Each step for all of them before the next one: what is left of any tells that the way leads forward."""
        for old, new in pairs:
            if old is not None:
                self._balancing.join(binding, new, old, deadline)
        for old, new in pairs:
            name = new.name.removesuffix(FRESH)
            if old is not None and old.name == name:
                self._rename(old, name + ASIDE, dict(old.tags), deadline)
        for _, new in pairs:
            tags = {tag: text for tag, text in new.tags.items() if tag not in MARKS}
            if TAG_STAMP in new.tags:
                tags[TAG_DEPLOYED_AT] = new.created
            self._rename(new, new.name.removesuffix(FRESH), tags, deadline)
        for old, _ in pairs:
            if old is not None:
                self._end(binding, old, deadline)

    def _end(self, binding: OciBinding, old: Facts, deadline: Deadline) -> None:
        self._balancing.leave(binding, old, deadline)
        self._delete(old.id)

    def _rename(self, one: Facts, name: str, tags: Mapping[str, str], deadline: Deadline) -> None:
        details = build(
            "container_instances",
            "UpdateContainerInstanceDetails",
            {"display_name": name, "freeform_tags": dict(tags)},
        )
        etag = self._cloud.ask("containers", "get_container_instance", one.id).etag
        answer = self._cloud.tell("containers", "update_container_instance", one.id, details, if_match=etag)
        self._work.done("containers", answer, f"rename container instance {one.name!r} to {name!r}", deadline)

    def _delete(self, instance_id: str) -> None:
        try:
            self._cloud.tell("containers", "delete_container_instance", instance_id)
        except CallError as error:
            if error.code != "oci_not_found":
                raise

    def _taken_back(self, error: CallError, replacements: Sequence[Replacement]) -> CallError:
        """Bring the old ones back, and return what is to be raised."""
        try:
            for replacement in reversed(replacements):
                fresh = [
                    one
                    for one in self._lookup.listed(
                        replacement.old.compartment, display_name=replacement.old.name + FRESH
                    )
                    if (one.get("freeform_tags") or {}).get(TAG_REPLACES) == replacement.old.id
                ]
                for one in fresh:
                    self._delete(str(one["id"]))
                if replacement.old.lifecycle == "ACTIVE":
                    self._start_again(replacement.old.id, Deadline(_BACK_SECONDS))
        except CallError as trouble:
            return CallError(
                FailureKind.UNKNOWN,
                "recreate_interrupted",
                f"{error.message}; and the old container instance could not be brought back yet: {trouble.message}. "
                "The next look at this call ends it",
            )
        if error.kind is FailureKind.UNKNOWN:
            return error
        return CallError(error.kind, error.code, f"{error.message}; the old one is as it was", detail=error.detail)

    def _back(self, binding: OciBinding, new: Facts, deadline: Deadline) -> None:
        self._end(binding, new, deadline)
        if TAG_WAS_IDLE not in new.tags:
            self._start_again(new.tags[TAG_REPLACES], deadline)

    def _start_again(self, old_id: str, deadline: Deadline) -> None:
        seen = self._cloud.find("containers", "get_container_instance", old_id)
        if seen is not None and seen.data.get("lifecycle_state") == "INACTIVE":
            answer = self._cloud.tell("containers", "start_container_instance", old_id)
            self._work.done("containers", answer, "start the old container instance again", deadline)

    def _left(self, binding: OciBinding) -> tuple[list[Facts], list[Facts]]:
        """New ones that have not got their names, and old ones that wait for their end."""
        if binding.is_ocid:
            return [], []
        compartment, group = self._lookup.compartment(binding), binding.container_instances
        if group is None:
            listed = [
                one
                for ending in (FRESH, ASIDE)
                for one in self._lookup.listed(compartment, display_name=binding.name + ending)
            ]
        else:
            listed = [one for one in self._lookup.listed(compartment) if _belongs(one, group.tags, group.name_prefix)]
        named = [one for one in listed if str(one.get("display_name")).endswith((FRESH, ASIDE))]
        facts = [found for one in named if (found := self._lookup.container(str(one["id"]), binding)) is not None]
        return (
            [one for one in facts if one.name.endswith(FRESH) and TAG_REPLACES in one.tags],
            [one for one in facts if one.name.endswith(ASIDE)],
        )

    def _can_go_on(self, binding: OciBinding, fresh: Sequence[Facts], terms: Terms) -> bool:
        """Whether every one of the binding has its successor of one replacement, and all of those get well."""
        members = self._lookup.members(binding)
        old = {one.id for one in members if one.id not in {new.id for new in fresh}}
        if {new.tags[TAG_REPLACES] for new in fresh} != old or len({new.tags.get(TAG_BATCH) for new in fresh}) != 1:
            return False
        for new in fresh:
            self._work.until(
                lambda new=new: self._created(new.id, binding),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                f"container instance {new.name!r} is being made",
                terms.deadline,
            )
        for one in members:
            if one.id in old:
                self.stop(one, terms.deadline)
        return all(self.well(new.id, binding, terms.health_seconds) is None for new in fresh)

    def _created(self, instance_id: str, binding: OciBinding) -> bool:
        found = self._lookup.container(instance_id, binding)
        return found is None or found.lifecycle not in ("CREATING", "UPDATING")


def state_marks(tags: Mapping[str, str]) -> dict[str, str]:
    """These tags without the marks of a replacement."""
    return {name: text for name, text in tags.items() if name not in MARKS}


def _belongs(one: JsonObject, tags: Mapping[str, str] | None, prefix: str | None) -> bool:
    if tags is None:
        return str(one.get("display_name")).startswith(prefix or "")
    return tags.items() <= (one.get("freeform_tags") or {}).items()


def _trouble(seen: Facts | None) -> str | None:
    if seen is None:
        return "it is gone"
    if seen.state != "running":
        ended = "" if seen.exit_code is None else f" with exit code {seen.exit_code}"
        return f"it is {seen.state}{ended}"
    if seen.health in ("unhealthy", "starting"):
        return f"its health check says {seen.health} {seen.health_output}".rstrip()
    return None
