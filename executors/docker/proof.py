"""Whether a call that was sent has been carried out, told from the platform's own state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from executors.docker.arguments import Configure, Deploy, OnTarget, Recreate, Scale, Stop, Update
from executors.docker.calls import PROVABLE_GRACE
from executors.docker.changes import Changes, environment_fits, limits_wanted
from executors.docker.engine import Engine
from executors.docker.facts import Facts
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind, Happened


class Proof:
    """Captures the state before a call and compares it with the state after."""

    def __init__(self, engine: Engine, changes: Changes) -> None:
        self._engine = engine
        self._changes = changes

    def before(self, name: str, arguments: OnTarget, members: Sequence[Facts]) -> JsonObject:
        """What `happened` will compare with: of each container its id, name, start, state, image and limits."""
        captured: JsonObject = {
            "containers": [
                {
                    "id": member.id,
                    "name": member.name,
                    "state": member.state,
                    "started_at": member.started_at,
                    "image": member.image,
                    "image_id": member.image_id,
                }
                for member in members
            ]
        }
        if name == "container.rollback":
            # Asked now, because after the rollback the record names the image that was rolled back.
            captured["wanted"] = {member.name: self._wanted(member, cast(Recreate, arguments)) for member in members}
        return captured

    def happened(self, name: str, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        """YES only when every container shows it; NO only when none does, or doing it again does no harm."""
        then = before.get("containers")
        if not isinstance(then, list):
            return Happened.UNKNOWN
        if not then:
            return Happened.NO if not now else Happened.UNKNOWN
        return self._rules()[name](arguments, before, now)

    def _rules(self) -> Mapping[str, Callable[[OnTarget, JsonObject, Sequence[Facts]], Happened]]:
        return {
            "container.start": self._started,
            "container.stop": self._stopped,
            "container.restart": self._restarted,
            "container.scale": self._scaled,
            "container.update": self._updated,
            "container.configure": self._configured,
            "container.deploy": self._deployed,
            "container.rollback": self._rolled_back,
        }

    def _started(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not _same(before, now):
            return Happened.UNKNOWN
        starts = _starts(before)
        done = [one.state in ("running", "starting", "restarting") or one.started_at != starts[one.id] for one in now]
        return Happened.YES if all(done) else Happened.NO  # starting what runs changes nothing

    def _stopped(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not _same(before, now):
            return Happened.UNKNOWN
        if all(one.state in ("exited", "stopped", "failed") for one in now):
            return Happened.YES
        return _not_done(cast(Stop, arguments))

    def _restarted(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not _same(before, now):
            return Happened.UNKNOWN
        starts = _starts(before)
        done = [one.started_at != starts[one.id] for one in now]
        if all(done):
            return Happened.YES
        # Some restarted and some not: doing it again would restart the former twice.
        return Happened.UNKNOWN if any(done) else _not_done(cast(Stop, arguments))

    def _scaled(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        whole = len(now) == cast(Scale, arguments).replicas and all(one.status != "created" for one in now)
        return Happened.YES if whole else Happened.NO

    def _updated(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        wanted = limits_wanted(cast(Update, arguments), *self._engine.totals())
        if not now:
            return Happened.UNKNOWN
        fits = all(getattr(one, key) == value for one in now for key, value in wanted.items())
        return Happened.YES if fits else Happened.NO

    def _configured(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not now:
            return Happened.UNKNOWN
        return Happened.YES if all(environment_fits(one, cast(Configure, arguments)) for one in now) else Happened.NO

    def _deployed(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        if not now:
            return Happened.UNKNOWN
        try:
            wanted = [self._changes.wanted(one, cast(Deploy, arguments)) for one in now]
        except CallError as error:
            if error.kind is FailureKind.PERMANENT:
                return Happened.NO  # an image that is not there cannot have been deployed
            raise
        fits = all((w.image, w.image_id) == (one.image, one.image_id) for w, one in zip(wanted, now, strict=True))
        return Happened.YES if fits else Happened.NO

    def _rolled_back(self, arguments: OnTarget, before: JsonObject, now: Sequence[Facts]) -> Happened:
        wanted = before.get("wanted") or {}
        if now and all(one.name in wanted and one.image_id == wanted[one.name] for one in now):
            return Happened.YES
        return Happened.NO if _same(before, now) else Happened.UNKNOWN

    def _wanted(self, member: Facts, arguments: Recreate) -> JsonValue:
        try:
            return self._changes.wanted(member, arguments).image_id
        except CallError as error:
            if error.kind is FailureKind.PERMANENT:
                return None  # the call itself will say why it cannot
            raise


def _starts(before: JsonObject) -> dict[str, JsonValue]:
    return {one["id"]: one["started_at"] for one in before["containers"]}


def _same(before: JsonObject, now: Sequence[Facts]) -> bool:
    return _starts(before).keys() == {one.id for one in now}


def _not_done(arguments: Stop) -> Happened:
    # With a longer grace the engine may still be waiting when the call's time in flight has passed.
    return Happened.NO if arguments.grace <= PROVABLE_GRACE else Happened.UNKNOWN
