"""What the mutating calls do with container instances that were found and may be touched."""

from __future__ import annotations

import re
from collections.abc import Sequence

from executors.deadline import Deadline
from executors.oci.arguments import Configure, Deploy, Recreate, Scale, Update
from executors.oci.balancer import Balancing
from executors.oci.blueprint import blueprint, environment_wanted
from executors.oci.connection import Cloud, token
from executors.oci.facts import TAG_DEPLOYED_AT, TAG_PREVIOUS_IMAGE, Facts, repository_of, tag_of
from executors.oci.lookup import Lookup
from executors.oci.possible import refuse_unscalable
from executors.oci.recreate import TAG_STAMP, Recreation, Replacement, Terms, state_marks
from executors.oci.work import Work, each
from uici.model.base import JsonObject, digest
from uici.model.call import CallError, FailureKind

_NUMBERED = re.compile(r"^(.*[-_])(\d{1,6})$")
_MOST_TAG = 256


class ContainerChanges:
    """One method for each mutating call. All raise CallError."""

    def __init__(self, cloud: Cloud, lookup: Lookup, work: Work, recreation: Recreation, balancing: Balancing) -> None:
        self._balancing = balancing
        self._cloud = cloud
        self._lookup = lookup
        self._work = work
        self._recreation = recreation

    def start(self, members: Sequence[Facts], deadline: Deadline) -> JsonObject:
        """Start those that do not run."""

        def act(member: Facts) -> bool:
            if member.lifecycle == "ACTIVE" and member.state in ("exited", "failed", "stopped"):
                return self._again(member, deadline)  # the container has ended, what it is in has not
            return self._recreation.start(member, deadline)

        return {"changed": any(each(members, act)), "instances": [member.id for member in members]}

    def stop(self, members: Sequence[Facts], deadline: Deadline) -> JsonObject:
        """Stop those that run."""
        changed = any(each(members, lambda member: self._recreation.stop(member, deadline)))
        return {"changed": changed, "instances": [member.id for member in members]}

    def restart(self, members: Sequence[Facts], deadline: Deadline) -> JsonObject:
        """One after another; one that does not run is started."""

        def act(member: Facts) -> bool:
            return self._recreation.start(member, deadline) or self._again(member, deadline)

        return {"changed": any(each(members, act)), "instances": [member.id for member in members]}

    def scale(self, members: Sequence[Facts], arguments: Scale, key: str, deadline: Deadline) -> JsonObject:
        """Make or delete container instances until there are as many as wanted."""
        before, changed = len(members), False
        refuse_unscalable(arguments.target, arguments.replicas)
        if arguments.replicas > before:
            changed = self._add(members, arguments, key, deadline)
        elif arguments.replicas < before:
            newest = sorted(members, key=lambda member: (member.created, member.name))[arguments.replicas :]

            def end(member: Facts) -> bool:
                self._balancing.leave(arguments.target, member, deadline)
                answer = self._cloud.tell("containers", "delete_container_instance", member.id, if_match=member.etag)
                self._work.done("containers", answer, f"delete container instance {member.name!r}", deadline)
                return True

            changed = any(each(list(reversed(newest)), end))
        now = self._lookup.members(arguments.target)
        return {
            "changed": changed,
            "instances": [member.id for member in now],
            "replicas": len(now),
            "previous_replicas": before,
        }

    def update(self, members: Sequence[Facts], arguments: Update, terms: Terms) -> JsonObject:
        """Replace those whose shape has another size than wanted."""
        replacements = [
            Replacement(one, blueprint(self._cloud, one, cpus=arguments.cpus, memory_bytes=arguments.memory_bytes))
            for one in members
            if not size_fits(one, arguments)
        ]
        self._replace(replacements, arguments, terms)
        wanted = {"cpus": arguments.cpus, "memory_bytes": arguments.memory_bytes}
        return {**self._outcome(arguments, bool(replacements)), **wanted}

    def configure(self, members: Sequence[Facts], arguments: Configure, terms: Terms) -> JsonObject:
        """Replace those whose environment is another than wanted."""
        replacements = [
            Replacement(
                one,
                blueprint(
                    self._cloud, one, environment=environment_wanted(one, arguments.environment, arguments.remove)
                ),
            )
            for one in members
            if not environment_fits(one, arguments)
        ]
        self._replace(replacements, arguments, terms)
        return self._outcome(arguments, bool(replacements))

    def deploy(self, members: Sequence[Facts], arguments: Deploy | Recreate, terms: Terms) -> JsonObject:
        """Replace those that run another image than wanted: a deploy's, or for a rollback the recorded one."""
        wanted = [image_wanted(one, arguments) for one in members]  # all of them before anything is touched
        replacements = [
            Replacement(one, blueprint(self._cloud, one, image=image), version_tags(one, arguments))
            for one, image in zip(members, wanted, strict=True)
            if image != one.image
        ]
        self._replace(replacements, arguments, terms)
        return {
            **self._outcome(arguments, bool(replacements)),
            "image": wanted[0],
            "version": tag_of(wanted[0]),
            "previous_image": replacements[0].old.image if replacements else None,
        }

    def _again(self, member: Facts, deadline: Deadline) -> bool:
        answer = self._cloud.tell("containers", "restart_container_instance", member.id)
        self._work.done("containers", answer, f"restart container instance {member.name!r}", deadline)
        return True

    def _replace(self, replacements: Sequence[Replacement], arguments: Recreate, terms: Terms) -> None:
        if not replacements:
            return
        binding = arguments.target
        if binding.is_ocid:
            raise CallError(
                FailureKind.PERMANENT,
                "bound_by_id",
                f"{binding} is bound by OCID, which its replacement would not have; bind it by name "
                f"({replacements[0].old.name!r})",
            )
        batch = digest([[one.old.id, one.details] for one in replacements]).removeprefix("sha256:")
        self._recreation.replace(binding, replacements, batch, terms)

    def _outcome(self, arguments: Recreate, changed: bool) -> JsonObject:
        members = self._lookup.members(arguments.target)
        return {"changed": changed, "instances": [member.id for member in members]}

    def _add(self, members: Sequence[Facts], arguments: Scale, key: str, deadline: Deadline) -> bool:
        model = members[-1]
        details = blueprint(self._cloud, model)
        taken = {str(one.get("display_name")) for one in self._lookup.listed(model.compartment)}
        numbered = _NUMBERED.match(model.name)
        stem = numbered[1] if numbered else f"{model.name}-"

        def make(number: int) -> bool:
            name = next(f"{stem}{n}" for n in range(1, 1_000_000) if f"{stem}{n}" not in taken)
            taken.add(name)
            named = {**details, "display_name": name, "freeform_tags": state_marks(model.tags)}
            # Where it is in the whole, not its name: a repetition may find other names taken.
            once = token(key, f"scale/{len(members) + number + 1}")
            made = self._recreation.create(arguments.target, named, once, deadline)
            self._balancing.join(arguments.target, made, model, deadline)
            return True

        return any(each(range(arguments.replicas - len(members)), make))


def size_fits(facts: Facts, arguments: Update) -> bool:
    """Whether a shape has the size that `update` wants."""
    cpus = arguments.cpus is None or facts.cpus == arguments.cpus
    return cpus and (arguments.memory_bytes is None or facts.memory_bytes == arguments.memory_bytes)


def environment_fits(facts: Facts, arguments: Configure) -> bool:
    """Whether the variables are as `configure` wants them."""
    have = facts.environment
    set_so = all(have.get(name) == value for name, value in arguments.environment.items())
    return set_so and not any(name in have for name in arguments.remove if name not in arguments.environment)


def image_wanted(facts: Facts, arguments: Deploy | Recreate) -> str:
    """Which image a deploy or rollback shall bring. Raises CallError(PERMANENT, `no_previous_version`)."""
    if isinstance(arguments, Deploy):
        recorded = (arguments.record or {}).get("image")
        return arguments.image or recorded or f"{repository_of(facts.image or '')}:{arguments.version}"
    previous = facts.tags.get(TAG_PREVIOUS_IMAGE)
    if not previous:
        raise CallError(
            FailureKind.PERMANENT,
            "no_previous_version",
            f"{facts.name!r} has no record of an earlier image: nothing was deployed by UICI yet; deploy the wanted "
            "version by name",
        )
    return previous


def version_tags(facts: Facts, arguments: Deploy | Recreate) -> dict[str, str]:
    """Tags that say what was deployed before; an empty one is taken away."""
    record = arguments.record if isinstance(arguments, Deploy) else None
    if record is not None:
        return {
            TAG_PREVIOUS_IMAGE: record.get("previous_image", ""),
            TAG_DEPLOYED_AT: record.get("deployed_at", ""),
        }
    image = facts.image or ""
    return {TAG_PREVIOUS_IMAGE: image if len(image) <= _MOST_TAG else "", TAG_STAMP: "true"}
