"""What the mutating calls do with compute instances, instance pools and functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from executors.deadline import Deadline
from executors.images import tag_of
from executors.oci.arguments import Configure, Deploy, Recreate, Scale, Stop, Update
from executors.oci.blueprint import environment_wanted
from executors.oci.connection import Cloud, token
from executors.oci.containers import environment_fits, image_wanted, size_fits, version_tags
from executors.oci.facts import GIB, TAG_DEPLOYED_AT, Facts
from executors.oci.lookup import Lookup
from executors.oci.models import build
from executors.oci.recreate import TAG_STAMP
from executors.oci.work import Work, each
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_MIB = 1024**2


class MachineChanges:
    """Compute instances and pools of them. All methods raise CallError."""

    def __init__(self, cloud: Cloud, lookup: Lookup, work: Work) -> None:
        self._cloud = cloud
        self._lookup = lookup
        self._work = work

    def power(
        self, verb: str, arguments: Stop | None, members: Sequence[Facts], key: str, deadline: Deadline
    ) -> JsonObject:
        """Start, stop or restart instances one after another, and wait until each is so."""
        hard = arguments is not None and arguments.hard

        def act(member: Facts) -> bool:
            runs = member.lifecycle == "RUNNING"
            if verb == "start" or (verb == "restart" and not runs):
                action, wanted, needed = "START", "RUNNING", not runs
            elif verb == "stop":
                action, wanted, needed = "STOP" if hard else "SOFTSTOP", "STOPPED", member.lifecycle != "STOPPED"
            else:
                action, wanted, needed = "RESET" if hard else "SOFTRESET", "RUNNING", True
            if needed:
                once = token(key, f"{action}/{member.id}")
                self._cloud.tell(
                    "compute", "instance_action", member.id, action, if_match=member.etag, opc_retry_token=once
                )
                self._wait(member, wanted, action, deadline)
            return needed

        return {"changed": any(each(members, act)), "instances": [member.id for member in members]}

    def power_of_pool(
        self, verb: str, pool: JsonObject, arguments: Stop | None, key: str, deadline: Deadline
    ) -> JsonObject:
        """Start, stop or restart a whole pool by the pool's own action."""
        hard = arguments is not None and arguments.hard
        operation = {
            "start": "start_instance_pool",
            "stop": "stop_instance_pool" if hard else "softstop_instance_pool",
            "restart": "reset_instance_pool" if hard else "softreset_instance_pool",
        }[verb]
        wanted = "STOPPED" if verb == "stop" else "RUNNING"
        before = self._lookup.of_pool(pool)
        if verb != "restart" and before and all(one.lifecycle == wanted for one in before):
            return {"changed": False, "instances": [one.id for one in before]}
        self._cloud.tell("pools", operation, pool["id"], opc_retry_token=token(key, operation))
        self._settle(pool, wanted, operation, deadline)
        return {"changed": True, "instances": [one.id for one in self._lookup.of_pool(pool)]}

    def scale(self, pool: JsonObject, etag: str | None, arguments: Scale, key: str, deadline: Deadline) -> JsonObject:
        """Set a pool's size and wait for its instances."""
        before = int(pool["size"])
        if arguments.replicas != before:
            details = build("core", "UpdateInstancePoolDetails", {"size": arguments.replicas})
            once = token(key, "size")
            self._cloud.tell("pools", "update_instance_pool", pool["id"], details, if_match=etag, opc_retry_token=once)

            def whole() -> bool:
                return len(self._lookup.of_pool(pool)) == arguments.replicas

            self._settle(pool, "RUNNING", f"scale to {arguments.replicas}", deadline)
            self._work.until(whole, f"the pool gets its {arguments.replicas} instances", deadline)
        return {
            "changed": arguments.replicas != before,
            "instances": [one.id for one in self._lookup.of_pool(pool)],
            "replicas": arguments.replicas,
            "previous_replicas": before,
        }

    def update(self, member: Facts, arguments: Update, key: str, deadline: Deadline) -> JsonObject:
        """Give an instance's flexible shape another size; Oracle Cloud restarts it for that."""
        changed = not size_fits(member, arguments)
        if changed:
            shape = dict(member.raw.get("shape_config") or {})
            cpus = shape.get("ocpus") if arguments.cpus is None else arguments.cpus
            memory = shape.get("memory_in_gbs") if arguments.memory_bytes is None else arguments.memory_bytes / GIB
            details = build("core", "UpdateInstanceDetails", {"shape_config": {"ocpus": cpus, "memory_in_gbs": memory}})
            answer = self._cloud.tell(
                "compute",
                "update_instance",
                member.id,
                details,
                if_match=member.etag,
                opc_retry_token=token(key, "shape"),
            )
            self._work.done("compute", answer, f"change the shape of instance {member.name!r}", deadline)
        wanted = {"cpus": arguments.cpus, "memory_bytes": arguments.memory_bytes}
        return {"changed": changed, "instances": [member.id], **wanted}

    def _wait(self, member: Facts, wanted: str, action: str, deadline: Deadline) -> None:
        def so() -> bool:
            seen = self._cloud.ask("compute", "get_instance", member.id).data
            if seen.get("lifecycle_state") in ("TERMINATING", "TERMINATED"):
                raise CallError(FailureKind.UNKNOWN, "instance_gone", f"instance {member.name!r} is being terminated")
            return bool(seen.get("lifecycle_state") == wanted)

        self._work.until(so, f"instance {member.name!r} becomes {wanted} after {action}", deadline)

    def _settle(self, pool: JsonObject, wanted: str, what: str, deadline: Deadline) -> None:
        def so() -> bool:
            seen = self._cloud.ask("pools", "get_instance_pool", pool["id"]).data
            members = self._lookup.of_pool(pool)
            return bool(seen.get("lifecycle_state") == wanted) and all(one.lifecycle == wanted for one in members)

        self._work.until(so, f"pool {pool.get('display_name')!r}: {what}", deadline)


class FunctionChanges:
    """Functions: their configuration, memory and image. All methods raise CallError."""

    def __init__(self, cloud: Cloud, work: Work) -> None:
        self._cloud = cloud
        self._work = work

    def configure(self, one: Facts, arguments: Configure, deadline: Deadline) -> JsonObject:
        """Set and remove keys of its configuration."""
        changed = not environment_fits(one, arguments)
        if changed:
            self._update(one, {"config": environment_wanted(one, arguments.environment, arguments.remove)}, deadline)
        return {"changed": changed, "instances": [one.id]}

    def update(self, one: Facts, arguments: Update, deadline: Deadline) -> JsonObject:
        """Set its memory. Raises CallError(PERMANENT, `not_possible`) for processors, which follow the memory."""
        if arguments.cpus is not None:
            raise CallError(
                FailureKind.PERMANENT, "not_possible", "a function's processors follow its memory; give memory_bytes"
            )
        wanted = arguments.memory_bytes
        changed = wanted is not None and wanted != one.memory_bytes
        if wanted is not None and changed:
            self._update(one, {"memory_in_mbs": wanted // _MIB}, deadline)
        return {"changed": changed, "instances": [one.id], "cpus": None, "memory_bytes": wanted}

    def deploy(self, one: Facts, arguments: Deploy | Recreate, deadline: Deadline) -> JsonObject:
        """Set its image, and remember the one before."""
        image = image_wanted(one, arguments)
        changed = image != one.image
        if changed:
            given = version_tags(one, arguments)
            if given.pop(TAG_STAMP, None):
                given[TAG_DEPLOYED_AT] = datetime.now(UTC).isoformat(timespec="seconds")
            tags = {name: text for name, text in {**one.tags, **given}.items() if text}
            source = {"source_details": {"source_type": "CONTAINER_IMAGE", "image": image}}
            self._update(one, {**source, "freeform_tags": tags}, deadline)
        return {
            "changed": changed,
            "instances": [one.id],
            "image": image,
            "version": tag_of(image),
            "previous_image": one.image if changed else None,
        }

    def _update(self, one: Facts, wanted: JsonObject, deadline: Deadline) -> None:
        details = build("functions", "UpdateFunctionDetails", wanted)
        answer = self._cloud.tell("functions", "update_function", one.id, details, if_match=one.etag)
        self._work.done("functions", answer, f"change function {one.name!r}", deadline)
