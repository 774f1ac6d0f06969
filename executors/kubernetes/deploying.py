"""Changes of a workload's pod template: another image, the revision before, other variables, other limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

from executors.deadline import Deadline
from executors.images import repository_of, tag_of
from executors.kubernetes.changing import Changed, change
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.gitops import refuse_owned
from executors.kubernetes.possible import refuse_kind
from executors.kubernetes.publishing import Published
from executors.kubernetes.quantities import cores, whole_bytes
from executors.kubernetes.revisions import NOTE, Note, Revision, current, note_of, previous
from executors.kubernetes.rolling import Patience, Rollouts
from executors.kubernetes.rolling_calls import (
    CONFIGURE,
    DEPLOY,
    PUBLISHED,
    ROLLBACK,
    UPDATE,
    Configure,
    Deploy,
    Roll,
    Update,
)
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.templates import meant, template_digest, with_environment, with_image, with_resources
from executors.kubernetes.workloads import Workloads, container_of
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

_LEFT_AFTER_PROOF = 3.0


@dataclass(frozen=True)
class _Situation:
    """A workload as it was read, and what there is to go back to."""

    workload: JsonObject
    revisions: Sequence[Revision]
    container: Mapping[str, Any]
    note: Note
    """What is noted of the present template; empty when nothing is."""
    shown: str

    @property
    def template(self) -> JsonObject:
        template: JsonObject = self.workload["spec"]["template"]
        return template

    @property
    def previous_name(self) -> str:
        found = previous(self.workload, self.revisions)
        return found.name if found else ""


class Deploying:
    """The calls that roll out. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = PUBLISHED

    def __init__(self, cluster: Cluster, workloads: Workloads, guard: SelfGuard) -> None:
        self._cluster = cluster
        self._workloads = workloads
        self._guard = guard
        self._rollouts = Rollouts(cluster, workloads)

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Change the template, and wait until the pods are made of it and ready. Raises CallError."""
        roll = cast(Roll, arguments)
        binding = roll.target
        self._guard.check_binding(binding)
        refuse_kind(name, roll.target)
        resource, namespace = self._cluster.resource(binding.kind), self._workloads.namespace(binding)

        def how(found: JsonObject) -> JsonObject:
            self._guard.check_object(found)
            return self._wanted(name, roll, found, deadline)

        done = change(self._cluster, resource, namespace, binding.name, how, deadline)
        self._cluster.api.now_waits()
        self._rollouts.free(done.after, deadline)
        patience = Patience(roll.rollout_timeout_seconds, roll.stuck_seconds)
        progress = self._rollouts.wait(done.after, patience, deadline)
        pods = self._workloads.pods(done.after, deadline)
        return {
            "changed": done.changed,
            "instances": [pod["metadata"]["uid"] for pod in pods if not pod["metadata"].get("deletionTimestamp")],
            "rollout": progress.detail,
            **self._told(name, roll, done),
        }

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Which template there is, and which the call will make of it; null where there is none to go back to.

        Raises CallError where it would be refused for another reason.
        """
        roll = cast(Roll, arguments)
        refuse_kind(name, roll.target)
        found = self._workloads.required(roll.target, deadline)
        try:
            wanted = template_digest(self._wanted(name, roll, found, deadline)["spec"]["template"])
        except CallError as error:
            if error.code != "no_previous_version":
                raise
            wanted = None
        return {
            "uid": found["metadata"]["uid"],
            "template": template_digest(found["spec"]["template"]),
            "wanted": wanted,
        }

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Whether the template is the wanted one; then its rollout gets some time to end, which others judge."""
        roll = cast(Roll, arguments)
        found = self._workloads.required(roll.target, deadline)
        if found["metadata"]["uid"] != before.get("uid"):
            return Happened.UNKNOWN
        present = template_digest(found["spec"]["template"])
        if present == before["wanted"]:
            self._guard.check_object(found)
            with suppress(CallError):
                self._rollouts.free(found, deadline)
                seconds = min(roll.rollout_timeout_seconds, deadline.left() - _LEFT_AFTER_PROOF)
                self._rollouts.wait(found, Patience(seconds, roll.stuck_seconds), deadline)
            return Happened.YES
        return Happened.NO if present == before["template"] else Happened.UNKNOWN

    def _wanted(self, name: str, roll: Roll, found: JsonObject, deadline: Deadline) -> JsonObject:
        """The object as the call wants it; the same object when it is so already."""
        shown = self._workloads.shown(roll.target)
        refuse_owned(found, shown, self._cluster.where, overridden=roll.target.gitops == "override")
        _refuse_paused(found, shown)
        template = found["spec"]["template"]
        container, note = container_of(template, roll.target, shown), note_of(found)
        if note is None or note.template != template_digest(template):
            note = Note("")
        revisions = self._rollouts.revisions(found, deadline)
        situation = _Situation(found, revisions, container, note, shown)
        makers = {DEPLOY: _deployed, ROLLBACK: _rolled_back, CONFIGURE: _configured, UPDATE: _updated}
        wanted, noted = makers[name](situation, roll)
        if template_digest(wanted) == template_digest(template):
            # The same but for a restart in between: nothing to roll out.
            if (noted.previous, noted.deployed_at) == (situation.previous_name, note.deployed_at):
                return found
            wanted = template
        annotations = {**(found["metadata"].get("annotations") or {}), NOTE: noted.written()}
        metadata = {**found["metadata"], "annotations": annotations}
        return {**found, "metadata": metadata, "spec": {**found["spec"], "template": wanted}}

    def _told(self, name: str, roll: Roll, done: Changed) -> JsonObject:
        shown = self._workloads.shown(roll.target)
        old, new = (container_of(one["spec"]["template"], roll.target, shown) for one in (done.before, done.after))
        if name in (DEPLOY, ROLLBACK):
            before = old["image"] if done.changed else None
            return {"image": new["image"], "version": tag_of(new["image"]), "previous_image": before}
        if name == UPDATE:
            limits = (new.get("resources") or {}).get("limits") or {}
            return {
                "cpus": cores(limits.get("cpu")),
                "memory_bytes": whole_bytes(limits.get("memory")),
                "resources": _resources_changed(old.get("resources") or {}, new.get("resources") or {}),
            }
        return {}


def _deployed(now: _Situation, roll: Roll) -> tuple[JsonObject, Note]:
    deploy = cast(Deploy, roll)
    name, record = now.container["name"], deploy.record or {}
    image = deploy.image or record.get("image") or _image_of(now, str(deploy.version))
    kept = next((one for one in now.revisions if one.name == record.get("revision")), None)
    template = with_image(now.template, name, image)
    if kept is not None and any(
        (one["name"], one["image"]) == (name, image) for one in kept.template["spec"]["containers"]
    ):
        template = dict(kept.template)
    if deploy.record is not None:
        noted = Note(template_digest(template), record.get("previous_revision", ""), record.get("deployed_at", ""))
        return template, noted
    if template_digest(template) == template_digest(now.template):
        return template, _still(now, template, now.note.requests)
    return template, Note(template_digest(template), _present_name(now), _moment(), now.note.requests)


def _rolled_back(now: _Situation, roll: Roll) -> tuple[JsonObject, Note]:
    wanted = previous(now.workload, now.revisions)
    if wanted is None:
        raise CallError(
            FailureKind.PERMANENT,
            "no_previous_version",
            f"{now.shown} has no earlier revision to go back to: none was deployed, or its controller keeps too few "
            "(revisionHistoryLimit); deploy the wanted version by name",
        )
    return dict(wanted.template), Note(wanted.digest, _present_name(now), _moment())


def _configured(now: _Situation, roll: Roll) -> tuple[JsonObject, Note]:
    configure = cast(Configure, roll)
    name = now.container["name"]
    template = with_environment(now.template, name, configure.environment, configure.remove, now.shown)
    # What comes back by an undo comes back in its order, which has a meaning where a variable uses another.
    same = (one.template for one in now.revisions if _unordered(one.template, name) == _unordered(template, name))
    template = dict(next(same, template))
    return template, _still(now, template, now.note.requests)


def _unordered(template: Mapping[str, Any], container: str) -> JsonObject:
    """What the template means but for the order of the container's variables."""
    meaning = meant(template)
    for one in meaning["spec"]["containers"]:
        if one["name"] == container:
            one["env"] = sorted(one.get("env") or [], key=lambda variable: str(variable["name"]))
    return meaning


def _updated(now: _Situation, roll: Roll) -> tuple[JsonObject, Note]:
    update, name = cast(Update, roll), now.container["name"]
    down = now.note.requests.get(name, {})
    template, down = with_resources(now.template, name, update.cpus, update.memory_bytes, down)
    others = {one: requests for one, requests in now.note.requests.items() if one != name}
    return template, _still(now, template, {**others, **({name: down} if down else {})})


def _still(now: _Situation, template: JsonObject, requests: Mapping[str, Mapping[str, str]]) -> Note:
    """No new version: what was the one before still is."""
    return Note(template_digest(template), now.previous_name, now.note.deployed_at, requests)


def _image_of(now: _Situation, version: str) -> str:
    repository = repository_of(now.container["image"])
    if repository is None:
        raise CallError(
            FailureKind.PERMANENT,
            "no_repository",
            f"container {now.container['name']!r} of {now.shown} runs an image without a name, so version "
            f"{version!r} means nothing; deploy by `image`",
        )
    return f"{repository}:{version}"


def _present_name(now: _Situation) -> str:
    found = current(now.workload, now.revisions)
    if found is None:
        raise CallError(
            FailureKind.TEMPORARY,
            "not_observed",
            f"the controller of {now.shown} has not seen its present template yet; nothing was changed. Check that "
            "the controller manager runs",
        )
    return found.name


def _refuse_paused(found: Mapping[str, Any], shown: str) -> None:
    if found["spec"].get("paused"):
        raise CallError(
            FailureKind.PERMANENT,
            "rollout_paused",
            f"the rollout of {shown} is paused (spec.paused), so a change would not reach its pods; nothing was "
            f"changed. Somebody paused it on purpose: ask, or resume it with `kubectl rollout resume`",
        )


def _resources_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> JsonObject:
    changed: JsonObject = {}
    for section in ("requests", "limits"):
        before, after = old.get(section) or {}, new.get(section) or {}
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                changed[f"{section}.{name}"] = {"before": before.get(name), "now": after.get(name)}
    return changed


def _moment() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
