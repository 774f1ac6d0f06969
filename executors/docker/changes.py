"""What the mutating calls do, on containers that were found and may be touched."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from executors.deadline import Deadline
from executors.docker.arguments import Configure, Deploy, Scale, Update
from executors.docker.arguments import Recreate as RecreateArguments
from executors.docker.blueprint import another, blueprint, has_fixed_ports
from executors.docker.engine import Engine
from executors.docker.facts import LABEL_DEPLOYED_AT, LABEL_PREVIOUS_IMAGE, LABEL_PREVIOUS_IMAGE_ID, Facts
from executors.docker.lookup import Lookup, Reference, name_of
from executors.docker.possible import refuse_unscalable
from executors.docker.recreate import Recreation, Replacement, Terms, state_marks
from executors.docker.settings import LABEL_NUMBER
from executors.images import repository_of, tag_of
from uici.model.base import JsonObject, digest
from uici.model.call import CallError, FailureKind

_Member = TypeVar("_Member")
_NUMBERED = re.compile(r"^(.*[-_])(\d{1,6})$")


@dataclass(frozen=True)
class Wanted:
    """The image that a deploy or rollback shall bring."""

    image: str
    image_id: str


class Changes:
    """One method for each mutating call. All raise CallError."""

    def __init__(self, engine: Engine, lookup: Lookup, recreation: Recreation) -> None:
        self._engine = engine
        self._lookup = lookup
        self._recreation = recreation

    def signal(self, verb: str, members: Sequence[Reference], grace: int, deadline: Deadline) -> JsonObject:
        """Start, stop or restart: one request for each container."""
        query: JsonObject = {} if verb == "start" else {"t": grace}
        extra = 0 if verb == "start" else grace

        def act(member: Reference) -> bool:
            path = ("containers", member.id, verb)
            status = self._engine.post(path, query, deadline=deadline, extra_seconds=extra).status
            return status != HTTPStatus.NOT_MODIFIED

        return {"changed": any(_each(members, act)), "instances": [member.id for member in members]}

    def update(self, members: Sequence[Facts], arguments: Update, deadline: Deadline) -> JsonObject:
        """Set limits; the engine takes no 0 for "none", so no limit is a limit of the whole machine."""
        cpus, memory = self._engine.totals()
        wanted = limits_wanted(arguments, cpus, memory)

        def act(member: Facts) -> bool:
            if all(getattr(member, key) == value for key, value in wanted.items()):
                return False
            body: JsonObject = {}
            if "nano_cpus" in wanted:
                body["NanoCpus"] = wanted["nano_cpus"]
            if "memory" in wanted:
                # Swap is part of MemorySwap: as much of it as before, or as Docker gives by itself.
                swap = member.memory_swap - member.memory if member.memory and member.memory_swap > 0 else None
                unlimited = member.memory_swap == -1
                total = wanted["memory"] + (wanted["memory"] if swap is None else swap)
                body |= {"Memory": wanted["memory"], "MemorySwap": -1 if unlimited else total}
            self._engine.post(("containers", member.id, "update"), body=body, deadline=deadline)
            return True

        changed = any(_each(members, act)) if wanted else False
        return {
            "changed": changed,
            "instances": [member.id for member in members],
            "cpus": arguments.cpus,
            "memory_bytes": arguments.memory_bytes,
        }

    def scale(self, inspected: Sequence[dict[str, Any]], arguments: Scale, deadline: Deadline) -> JsonObject:
        """Make or remove containers until there are as many as wanted."""
        members = [Facts.of(found) for found in inspected]
        before, changed = len(members), False
        if not arguments.target.is_group:
            refuse_unscalable(arguments.target, arguments.replicas)
        elif arguments.replicas > before:
            changed = self._add(inspected, arguments.replicas - before, deadline)
        elif arguments.replicas < before:
            newest = sorted(members, key=lambda member: (member.created, member.name))[arguments.replicas :]

            def end(member: Facts) -> bool:
                grace = arguments.target.stop_seconds
                path = ("containers", member.id)
                self._engine.post((*path, "stop"), {"t": grace}, deadline=deadline, extra_seconds=grace)
                self._engine.delete(path, {"force": True})
                return True

            changed = any(_each(list(reversed(newest)), end))
        else:
            # A process that died between create and start left one that has never run.
            new = [Reference(member.id, member.name) for member in members if member.status == "created"]
            changed = bool(new) and bool(self.signal("start", new, 0, deadline)["changed"])
        self._lookup.forget()
        now = self._lookup.references(arguments.target)
        return {
            "changed": changed,
            "instances": [member.id for member in now],
            "replicas": len(now),
            "previous_replicas": before,
        }

    def configure(self, inspected: Sequence[dict[str, Any]], arguments: Configure) -> JsonObject:
        """Replace containers whose environment is another than wanted."""
        self._refuse_short_lived(inspected)
        replacements = []
        for found in inspected:
            facts = Facts.of(found)
            if environment_fits(facts, arguments):
                continue
            image = self.image(facts.image_id)
            # The name may mean another image by now: changing the environment must not deploy it.
            named = self._image_or_none(facts.image)
            name = facts.image if named is not None and named["Id"] == facts.image_id else facts.image_id
            plan = blueprint(
                found,
                image.get("Config") or {},
                image=name,
                labels=state_marks(facts.labels),
                environment=arguments.environment,
                remove=arguments.remove,
            )
            secrets = (*facts.environment.values(), *arguments.environment.values())
            replacements.append(Replacement(facts, plan, secrets))
        self._replace(replacements, arguments)
        return self._outcome(arguments, bool(replacements))

    def deploy(self, inspected: Sequence[dict[str, Any]], arguments: Deploy | RecreateArguments) -> JsonObject:
        """Replace containers that run another image than wanted: a deploy's, or for a rollback the recorded one."""
        self._refuse_short_lived(inspected)
        members = [Facts.of(found) for found in inspected]
        targets = [self.wanted(facts, arguments) for facts in members]  # all of them before anything is touched
        replacements = []
        for found, facts, target in zip(inspected, members, targets, strict=True):
            if (target.image, target.image_id) == (facts.image, facts.image_id):
                continue
            image = self.image(facts.image_id)
            labels = {**state_marks(facts.labels), **_records(facts, arguments)}
            plan = blueprint(found, image.get("Config") or {}, image=target.image, labels=labels)
            replacements.append(Replacement(facts, plan, tuple(facts.environment.values())))
        self._replace(replacements, arguments)
        return {
            **self._outcome(arguments, bool(replacements)),
            "image": targets[0].image,
            "version": tag_of(targets[0].image),
            "previous_image": replacements[0].old.image if replacements else None,
        }

    def wanted(self, facts: Facts, arguments: Deploy | RecreateArguments) -> Wanted:
        """Which image a deploy or rollback shall bring. Raises PERMANENT `image_not_found`, `no_previous_version`."""
        if isinstance(arguments, Deploy):
            record = arguments.record or {}
            reference = arguments.image or record.get("image")
            if reference is None:
                repository = repository_of(facts.image)
                if repository is None:
                    raise CallError(
                        FailureKind.PERMANENT,
                        "no_repository",
                        f"container {facts.name!r} runs an image without a name, so version {arguments.version!r} "
                        "means nothing; deploy by `image`",
                    )
                reference = f"{repository}:{arguments.version}"
            return self._exactly(reference, record.get("image_id"))
        reference = facts.labels.get(LABEL_PREVIOUS_IMAGE)
        if not reference:
            raise CallError(
                FailureKind.PERMANENT,
                "no_previous_version",
                f"container {facts.name!r} on {self._engine.where} has no record of an earlier image: "
                "nothing was deployed by UICI yet; deploy the wanted version by name",
            )
        return self._exactly(reference, facts.labels.get(LABEL_PREVIOUS_IMAGE_ID))

    def _exactly(self, reference: str, recorded: str | None) -> Wanted:
        image = self._image_or_none(reference)
        if image is not None and (not recorded or image["Id"] == recorded):
            return Wanted(reference, str(image["Id"]))
        # The name means another image by now, or none; the one that ran is wanted.
        return Wanted(recorded or reference, str(self.image(recorded or reference)["Id"]))

    def image(self, reference: str) -> dict[str, Any]:
        """What the engine says of an image that it has. Raises PERMANENT `image_not_found`."""
        found = self._image_or_none(reference)
        if found is None:
            raise CallError(
                FailureKind.PERMANENT,
                "image_not_found",
                f"{self._engine.where} has no image {reference!r:.200}; nothing was touched. "
                "Pull or build it there first",
            )
        return found

    def _image_or_none(self, reference: str) -> dict[str, Any] | None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*", reference) or ".." in reference:
            return None
        try:
            # The engine's route takes a name with slashes as one segment, quoted or not.
            return dict(self._engine.get(("images", reference, "json")).json())
        except CallError as error:
            if error.kind is FailureKind.PERMANENT:
                return None
            raise

    def _refuse_short_lived(self, inspected: Sequence[dict[str, Any]]) -> None:
        for found in inspected:
            facts = Facts.of(found)
            if facts.auto_remove:
                raise CallError(
                    FailureKind.PERMANENT,
                    "auto_remove",
                    f"container {facts.name!r} on {self._engine.where} is removed when it stops (--rm), so it could "
                    "not come back; create it without --rm to let UICI replace it",
                )

    def _replace(self, replacements: Sequence[Replacement], arguments: RecreateArguments) -> None:
        if not replacements:
            return
        binding = arguments.target
        reference = (binding.container or "").lstrip("/")
        if binding.container is not None and reference != replacements[0].old.name:
            raise CallError(
                FailureKind.PERMANENT,
                "bound_by_id",
                f"{binding} is bound by id, which its replacement would not have; bind it by name "
                f"({replacements[0].old.name!r})",
            )
        terms = Terms(binding.stop_seconds, arguments.health_timeout_seconds, binding.health)
        batch = digest([[one.old.id, one.new.body["Image"], digest(one.new.body["Env"])] for one in replacements])
        self._recreation.replace(replacements, batch, terms)

    def _outcome(self, arguments: RecreateArguments, changed: bool) -> JsonObject:
        members = self._lookup.references(arguments.target)
        return {"changed": changed, "instances": [member.id for member in members]}

    def _add(self, inspected: Sequence[dict[str, Any]], count: int, deadline: Deadline) -> bool:
        model = inspected[-1]
        facts = Facts.of(model)
        if has_fixed_ports(model):
            raise CallError(
                FailureKind.PERMANENT,
                "fixed_host_port",
                f"container {facts.name!r} on {self._engine.where} publishes a fixed port of the host, which only one "
                "container can have; publish none, or let Docker choose the port",
            )
        image = self.image(facts.image_id)
        taken = {name_of(entry) for entry in self._lookup.listed({})}
        numbered = _NUMBERED.match(facts.name)
        stem = numbered[1] if numbered else f"{facts.name}-"
        numbers = {int(found["Config"]["Labels"].get(LABEL_NUMBER) or 0) for found in inspected}

        def make(_: int) -> bool:
            number = next(n for n in range(1, 1_000_000) if n not in numbers and f"{stem}{n}" not in taken)
            numbers.add(number)
            plan = another(model, image.get("Config") or {}, number)
            secrets = tuple(facts.environment.values())
            query: JsonObject = {"name": f"{stem}{number}"}
            body = {
                **plan.body,
                "Labels": {
                    key: value for key, value in plan.body["Labels"].items() if key not in state_marks(facts.labels)
                },
            }
            made = self._engine.post(("containers", "create"), query, body, deadline=deadline, secrets=secrets).json()
            try:
                for network, endpoint in plan.networks.items():
                    joined: JsonObject = {"Container": made["Id"], "EndpointConfig": endpoint}
                    self._engine.post(("networks", network, "connect"), body=joined, deadline=deadline)
                self._engine.post(("containers", made["Id"], "start"), deadline=deadline, secrets=secrets)
            except CallError as error:
                if error.kind is FailureKind.PERMANENT:
                    self._engine.delete(("containers", made["Id"]), {"force": True})
                raise
            return True

        return any(_each(range(count), make))


def deployment_of(facts: Facts) -> dict[str, str]:
    """What a later deploy needs to bring exactly this back."""
    kept = {
        "image": facts.image,
        "image_id": facts.image_id,
        "previous_image": facts.labels.get(LABEL_PREVIOUS_IMAGE),
        "previous_image_id": facts.labels.get(LABEL_PREVIOUS_IMAGE_ID),
        "deployed_at": facts.labels.get(LABEL_DEPLOYED_AT),
    }
    return {name: value for name, value in kept.items() if value}


def _records(facts: Facts, arguments: Deploy | RecreateArguments) -> dict[str, str]:
    """Labels that say what was deployed before; those without a value are taken away."""
    record = arguments.record if isinstance(arguments, Deploy) else None
    if record is not None:
        return {
            LABEL_PREVIOUS_IMAGE: record.get("previous_image", ""),
            LABEL_PREVIOUS_IMAGE_ID: record.get("previous_image_id", ""),
            LABEL_DEPLOYED_AT: record.get("deployed_at", ""),
        }
    return {
        LABEL_PREVIOUS_IMAGE: facts.image,
        LABEL_PREVIOUS_IMAGE_ID: facts.image_id,
        LABEL_DEPLOYED_AT: datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def limits_wanted(arguments: Update, cpus: int, memory: int) -> dict[str, int]:
    """Field of `Facts` -> the value that an update asks for; 0 becomes the whole machine."""
    wanted = {}
    if arguments.cpus is not None:
        wanted["nano_cpus"] = round(arguments.cpus * 1_000_000_000) or cpus * 1_000_000_000
    if arguments.memory_bytes is not None:
        wanted["memory"] = arguments.memory_bytes or memory
    return wanted


def environment_fits(facts: Facts, arguments: Configure) -> bool:
    """Whether a container's variables are as `configure` wants them."""
    have = facts.environment
    set_so = all(have.get(name) == value for name, value in arguments.environment.items())
    return set_so and not any(name in have for name in arguments.remove if name not in arguments.environment)


def _each(members: Sequence[_Member], act: Callable[[_Member], bool]) -> list[bool]:
    """Act on one after another. When a later one fails, the call as a whole is no longer "not carried out"."""
    done: list[bool] = []
    for member in members:
        try:
            done.append(act(member))
        except CallError as error:
            if not any(done):
                raise
            raise CallError(
                FailureKind.UNKNOWN,
                error.code,
                f"{error.message}; {len(done)} of {len(members)} containers were done before",
                detail=error.detail,
            ) from None
    return done
