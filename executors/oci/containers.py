"""What the mutating calls do with container instances that were found and may be touched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from executors.deadline import Deadline
from executors.images import repository_of, tag_of
from executors.oci.arguments import Configure, Deploy, Recreate, Scale, Update
from executors.oci.balancer import Balancing
from executors.oci.blueprint import blueprint, environment_wanted, left_behind
from executors.oci.connection import Cloud, token
from executors.oci.facts import TAG_DEPLOYED_AT, TAG_PREVIOUS_IMAGE, Facts
from executors.oci.lookup import Lookup
from executors.oci.possible import refuse_unscalable
from executors.oci.recreate import TAG_STAMP, Recreation, Replacement, Terms, state_marks
from executors.oci.settings import OciBinding
from executors.oci.work import Work, each
from uici.model.base import JsonObject, digest
from uici.model.call import CallError, FailureKind
from uici.model.rehearsal import Rehearsal

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

    def replacements(self, members: Sequence[Facts], arguments: Recreate) -> list[Replacement]:
        """Which of them are replaced, and by what: those that are not as wanted. Raises CallError, and only looks."""
        if isinstance(arguments, Update):
            cpus, memory = arguments.cpus, arguments.memory_bytes
            return [
                Replacement(one, blueprint(self._cloud, one, cpus=cpus, memory_bytes=memory))
                for one in members
                if not size_fits(one, arguments)
            ]
        if isinstance(arguments, Configure):
            wanted = {one.id: environment_wanted(one, arguments.environment, arguments.remove) for one in members}
            return [
                Replacement(one, blueprint(self._cloud, one, environment=wanted[one.id]))
                for one in members
                if not environment_fits(one, arguments)
            ]
        images = [image_wanted(one, arguments) for one in members]  # all of them before anything is touched
        return [
            Replacement(one, blueprint(self._cloud, one, image=image), version_tags(one, arguments))
            for one, image in zip(members, images, strict=True)
            if image != one.image
        ]

    def recreate(self, members: Sequence[Facts], arguments: Recreate, terms: Terms) -> JsonObject:
        """Replace those that are not as wanted."""
        replacements = self.replacements(members, arguments)
        self._replace(replacements, arguments, terms)
        outcome = self._outcome(arguments, bool(replacements))
        if isinstance(arguments, Update):
            return {**outcome, "cpus": arguments.cpus, "memory_bytes": arguments.memory_bytes}
        if isinstance(arguments, Configure):
            return outcome
        image = image_wanted(members[0], arguments)
        previous = replacements[0].old.image if replacements else None
        return {**outcome, "image": image, "version": tag_of(image), "previous_image": previous}

    def rehearse(self, members: Sequence[Facts], arguments: Recreate) -> Rehearsal:
        """What of each replaced one does not follow to the one in its place. Oracle Cloud itself is only looked at."""
        replacements = self.replacements(members, arguments)
        refuse_bound_by_id(arguments.target, replacements)
        told = [f"container instance {one.old.name!r}: {text}" for one in replacements for text in self._lost(one.old)]
        return Rehearsal(accepted=None, reason="Oracle Cloud knows no dry run", warnings=tuple(told))

    def _lost(self, old: Facts) -> Iterator[str]:
        for attached in old.raw.get("vnics") or ():
            yield from left_behind(self._cloud.ask("network", "get_vnic", attached["vnic_id"]).data)

    def _again(self, member: Facts, deadline: Deadline) -> bool:
        answer = self._cloud.tell("containers", "restart_container_instance", member.id)
        self._work.done("containers", answer, f"restart container instance {member.name!r}", deadline)
        return True

    def _replace(self, replacements: Sequence[Replacement], arguments: Recreate, terms: Terms) -> None:
        if not replacements:
            return
        refuse_bound_by_id(arguments.target, replacements)
        batch = digest([[one.old.id, one.details] for one in replacements]).removeprefix("sha256:")
        self._recreation.replace(arguments.target, replacements, batch, terms)

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


def refuse_bound_by_id(binding: OciBinding, replacements: Sequence[Replacement]) -> None:
    """What is replaced has another OCID. Raises CallError(PERMANENT, `bound_by_id`)."""
    if replacements and binding.is_ocid:
        raise CallError(
            FailureKind.PERMANENT,
            "bound_by_id",
            f"{binding} is bound by OCID, which its replacement would not have; bind it by name "
            f"({replacements[0].old.name!r})",
        )


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
    """Which image a deploy or rollback shall bring.

    Raises CallError(PERMANENT): `no_previous_version`, `no_repository`.
    """
    if isinstance(arguments, Deploy):
        named = arguments.image or (arguments.record or {}).get("image")
        if named is not None:
            return named
        repository = repository_of(facts.image or "")
        if not repository:
            raise CallError(
                FailureKind.PERMANENT,
                "no_repository",
                f"{facts.name!r} runs an image without a name, so version {arguments.version!r} means nothing; deploy "
                "by `image`",
            )
        return f"{repository}:{arguments.version}"
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
