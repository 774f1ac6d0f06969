"""Whether a call that was sent has been carried out, told from the services' own state.

A container instance does not say when it was started, but its work requests are kept for a day: one that was not
there before is the proof of a restart. A compute instance's etag is another one after whatever happened to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from executors.deadline import Deadline
from executors.oci.arguments import Configure, Deploy, OnTarget, Recreate, Scale, Update
from executors.oci.containers import environment_fits, image_wanted, size_fits
from executors.oci.facts import Facts
from executors.oci.lookup import Lookup
from executors.oci.work import Work
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind, Happened

_SETTLE_SECONDS = 300.0
_RESTART = "RESTART_CONTAINER_INSTANCE"


class Proof:
    """Captures the state before a call and compares it with the state after. All methods raise CallError."""

    def __init__(self, lookup: Lookup, work: Work) -> None:
        self._lookup = lookup
        self._work = work

    def before(self, name: str, arguments: OnTarget, members: Sequence[Facts]) -> JsonObject:
        """What `happened` will compare with: of each its OCID, state, etag and image, and its work so far."""
        captured: JsonObject = {
            "members": [
                {"id": one.id, "state": one.state, "lifecycle": one.lifecycle, "etag": one.etag, "image": one.image}
                for one in members
            ]
        }
        if name == "oci.restart" and arguments.target.is_container:
            captured["restarts"] = {one.id: self._restarts(one) for one in members}
        if name == "oci.rollback":
            # Asked now, because after the rollback the record names the image that was rolled back.
            captured["wanted"] = [_image(one, cast(Recreate, arguments)) for one in members]
        return captured

    def happened(self, name: str, arguments: OnTarget, before: JsonObject) -> Happened:
        """YES only when everything shows it; NO only when nothing does, or doing it again does no harm."""
        then = before.get("members")
        if not isinstance(then, list):
            return Happened.UNKNOWN
        now = self._lookup.members(arguments.target)
        if not then:
            return Happened.NO if not now else Happened.UNKNOWN
        if arguments.target.is_container:
            ids = list(dict.fromkeys([*(one["id"] for one in then), *(one.id for one in now)]))
            compartment = self._lookup.compartment(arguments.target)
            if not self._work.settled(compartment, ids, Deadline(_SETTLE_SECONDS)):
                return Happened.UNKNOWN
            now = self._lookup.members(arguments.target)
        return self._rules()[name](arguments, before, now)

    def _rules(self) -> Mapping[str, Callable[[OnTarget, JsonObject, Sequence[Facts]], Happened]]:
        return {
            "oci.start": self._started,
            "oci.stop": self._stopped,
            "oci.restart": self._restarted,
            "oci.scale": self._scaled,
            "oci.update": self._updated,
            "oci.configure": self._configured,
            "oci.deploy": self._deployed,
            "oci.rollback": self._rolled_back,
        }

    def _started(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not _same(before, now):
            return Happened.UNKNOWN
        done = all(one.state in ("running", "starting", "restarting") for one in now)
        return Happened.YES if done else Happened.NO  # starting what runs changes nothing

    def _stopped(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not _same(before, now):
            return Happened.UNKNOWN
        done = all(one.lifecycle in ("INACTIVE", "STOPPED", "STOPPING") for one in now)
        return Happened.YES if done else Happened.NO  # stopping what is stopped changes nothing

    def _restarted(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not _same(before, now):
            return Happened.UNKNOWN
        if not arguments.target.is_container:
            etags = {one["id"]: one["etag"] for one in before["members"]}
            untouched = all(one.etag is not None and one.etag == etags[one.id] for one in now)
            # Another etag may also come from somebody's change of a name.
            return Happened.NO if untouched else Happened.UNKNOWN
        known: Mapping[str, JsonValue] = before.get("restarts") or {}
        states = {one["id"]: one["lifecycle"] for one in before["members"]}
        done = [
            bool(set(self._restarts(one)) - set(known.get(one.id) or ()))
            # What did not run is started instead.
            or (states[one.id] == "INACTIVE" and one.state in ("running", "starting"))
            for one in now
        ]
        if all(done):
            return Happened.YES
        # Some restarted and some not: doing it again would restart the former twice.
        return Happened.UNKNOWN if any(done) else Happened.NO

    def _scaled(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        wanted = cast(Scale, arguments).replicas
        if arguments.target.instance_pool is not None:
            pool = self._lookup.pool(arguments.target)
            if pool is None:
                return Happened.UNKNOWN
            return Happened.YES if int(pool[0]["size"]) == wanted else Happened.NO
        return Happened.YES if len(now) == wanted else Happened.NO

    def _updated(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        return _all(now, [size_fits(one, cast(Update, arguments)) for one in now])

    def _configured(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        return _all(now, [environment_fits(one, cast(Configure, arguments)) for one in now])

    def _deployed(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        return _all(now, [image_wanted(one, cast(Deploy, arguments)) == one.image for one in now])

    def _rolled_back(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        wanted = before.get("wanted") or []
        if now and all(wanted) and sorted(str(one.image) for one in now) == sorted(map(str, wanted)):
            return Happened.YES
        return Happened.NO if _same(before, now) else Happened.UNKNOWN

    def _restarts(self, one: Facts) -> list[str]:
        """Work requests that restarted it and did not fail."""
        return [
            str(work["id"])
            for work in self._work.of_containers(one.compartment, one.id)
            if work.get("operation_type") == _RESTART and work.get("status") == "SUCCEEDED"
        ]


def _all(now: Sequence[Facts], done: Sequence[bool]) -> Happened:
    if not now:
        return Happened.UNKNOWN
    return Happened.YES if all(done) else Happened.NO


def _same(before: JsonObject, now: Sequence[Facts]) -> bool:
    return {one["id"] for one in before["members"]} == {one.id for one in now}


def _image(one: Facts, arguments: Recreate) -> str | None:
    try:
        return image_wanted(one, arguments)
    except CallError as error:
        if error.kind is FailureKind.PERMANENT:
            return None  # the call itself will say why it cannot
        raise
