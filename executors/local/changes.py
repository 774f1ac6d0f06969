"""What changes a program: each method is one named call, carried out under the program's lock."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import structlog

from executors.local.launch import CANNOT_START
from executors.local.observe import Instance, not_found, observe, ticks_of
from executors.local.possible import refuse_unknown_version
from executors.local.program import ProgramFiles, Specification, changed_environment
from executors.local.proofs import unfinished
from executors.local.selfguard import SelfGuard
from executors.local.settings import LocalBinding, LocalSettings
from executors.local.supervisor import Supervisor
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_LOG = structlog.get_logger(__name__)

_POLL_SECONDS = 0.02
_NOTICE_SECONDS = 1.0
_STOP_MARGIN_SECONDS = 5.0  # between supervisord's SIGKILL and the kernel's last word


class ProgramChanges:
    """One mutating named call; make a new one for the next. Every method raises CallError."""

    def __init__(self, files: ProgramFiles, supervisor: Supervisor, settings: LocalSettings, guard: SelfGuard) -> None:
        self._files = files
        self._supervisor = supervisor
        self._settings = settings
        self._guard = guard
        self._acted = False

    def start(self, binding: LocalBinding, deadline: float) -> JsonObject:
        """program.start."""
        with self._changing(binding, deadline) as specification:
            present = self._install(specification)
            asleep = tuple(instance.id for instance in present if not instance.running)
            self._start(asleep, deadline)
            return {"changed": bool(asleep), "instances": list(asleep)}

    def stop(self, binding: LocalBinding, deadline: float) -> JsonObject:
        """program.stop."""
        with self._changing(binding, deadline) as specification:
            present = self._observe(specification)
            awake = tuple(instance.id for instance in present if instance.running)
            if awake:
                self._install(specification.model_copy(update={"pending": ()}))
                self._stop(specification, awake, deadline)
            elif specification.pending:
                self._save(specification.model_copy(update={"pending": ()}))
            return {"changed": bool(awake), "instances": list(awake)}

    def restart(self, binding: LocalBinding, deadline: float) -> JsonObject:
        """program.restart."""
        with self._changing(binding, deadline) as specification:
            self._install(specification)
            self._stop(specification, specification.instances, deadline)
            self._install(specification.model_copy(update={"pending": ()}))
            self._start(specification.instances, deadline)
            return {"changed": bool(specification.instances), "instances": list(specification.instances)}

    def scale(self, binding: LocalBinding, replicas: int, deadline: float) -> JsonObject:
        """program.scale: what was stopped or has ended stays so; only instances that never ran are started."""
        with self._changing(binding, deadline) as specification:
            former = specification.replicas
            wanted = specification.model_copy(
                update={"replicas": replicas, "sequence": specification.sequence + (replicas != former)}
            )
            present = self._observe(specification)
            surplus = tuple(name for name in specification.instances if name not in wanted.instances)
            alive = not present or any(instance.running for instance in present)
            self._stop(specification, surplus, deadline)
            # The number is written first: after a crash in between, the same call finds what is still to be started.
            arrived = self._install(wanted)
            fresh = tuple(instance.id for instance in arrived if alive and instance.identity is None)
            fresh = tuple(name for name in fresh if name not in specification.instances or replicas == former)
            try:
                self._start(fresh, deadline)
            except CallError as error:
                if error.kind is not FailureKind.PERMANENT or replicas == former:
                    raise
                self._stop(wanted, fresh, deadline)
                self._install(wanted.model_copy(update={"replicas": former, "sequence": wanted.sequence + 1}))
                raise _restored(error, f"there are {former} instances again") from None
            return {
                "changed": replicas != former or bool(fresh),
                "instances": [*surplus, *fresh],
                "replicas": replicas,
                "previous_replicas": former,
            }

    def configure(
        self, binding: LocalBinding, environment: dict[str, str], remove: tuple[str, ...], deadline: float
    ) -> JsonObject:
        """program.configure."""
        with self._changing(binding, deadline) as specification:
            wanted = changed_environment(specification, environment, remove)
            return self._apply(specification, wanted, deadline)

    def deploy(
        self, binding: LocalBinding, version: str, record: Mapping[str, str] | None, deadline: float
    ) -> JsonObject:
        """program.deploy."""
        with self._changing(binding, deadline) as specification:
            return self._deploy(specification, version, record, deadline)

    def rollback(self, binding: LocalBinding, deadline: float) -> JsonObject:
        """program.rollback."""
        with self._changing(binding, deadline) as specification:
            if specification.previous_version is None:
                raise CallError(
                    FailureKind.PERMANENT,
                    "no_previous_version",
                    f"program {binding.program!r} has had no other version before {specification.version!r}; "
                    "deploy a version by name",
                )
            return self._deploy(specification, specification.previous_version, None, deadline)

    def _deploy(
        self, specification: Specification, version: str, record: Mapping[str, str] | None, deadline: float
    ) -> JsonObject:
        refuse_unknown_version(specification.program, version, specification.binding.versions)
        wanted = specification
        if version != specification.version:
            wanted = specification.model_copy(
                update={"version": version, "previous_version": specification.version, "deployed_at": _now()}
            )
        if record is not None:
            known = {name: record.get(name) for name in ("previous_version", "deployed_at")}
            wanted = wanted.model_copy(update=known)
        result = self._apply(specification, wanted, deadline)
        return {**result, "version": wanted.version, "previous_version": wanted.previous_version}

    def _apply(self, former: Specification, wanted: Specification, deadline: float) -> JsonObject:
        """Make `wanted` run; when it does not start, `former` runs again and the failure is raised."""
        same = wanted == former
        if same and not former.pending:
            if self._files.read(former.program) is None:
                self._install(former)
            return {"changed": False, "instances": []}
        present = self._observe(former)
        # What was stopped on purpose stays stopped; what ended by itself is what a new configuration may cure. The
        # same change again, after its sender died, goes on where that one ended.
        affected = (
            unfinished(former, present)
            if same
            else tuple(
                instance.id for instance in present if instance.state != "stopped" or instance.id in former.pending
            )
        )
        running = tuple(instance.id for instance in present if instance.running)
        wanted = wanted.model_copy(update={"sequence": former.sequence + (not same), "pending": affected})
        self._install(wanted)
        try:
            self._stop(wanted, affected, deadline)
            self._install(wanted)
            self._start(affected, deadline)
        except CallError as error:
            if error.kind is not FailureKind.PERMANENT or same:
                raise
            self._restore(former, wanted, affected, running, error)
        self._save(wanted.model_copy(update={"pending": ()}))
        return {"changed": bool(affected) or not same, "instances": list(affected)}

    def _restore(
        self,
        former: Specification,
        failed: Specification,
        affected: tuple[str, ...],
        running: tuple[str, ...],
        error: CallError,
    ) -> None:
        # The clean-up gets time of its own: the failed attempt may have used up the call's.
        deadline = time.monotonic() + former.binding.stop_seconds + _STOP_MARGIN_SECONDS + self._settings.settle_seconds
        back = former.model_copy(update={"sequence": failed.sequence + 1, "pending": running})
        try:
            self._stop(failed, affected, deadline)
            self._install(back)
            self._start(running, deadline)
        except CallError as second:
            _LOG.warning("program_restore_failed", program=former.program, code=second.code)
            raise CallError(
                error.kind, error.code, f"{error.message}; the former configuration was restored, but {second.message}"
            ) from None
        self._save(back.model_copy(update={"pending": ()}))
        raise _restored(error, "the former configuration is in force again") from None

    @contextlib.contextmanager
    def _changing(self, binding: LocalBinding, deadline: float) -> Iterator[Specification]:
        if not binding.command and self._files.read(binding.program) is None:
            raise not_found(binding.program)
        self._guard.check_program(binding.program, (), ())
        with self._supervisor.lock(f"program-{binding.program}", max(0.0, deadline - time.monotonic())):
            stored = self._files.read(binding.program)
            if stored is not None:
                specification = stored.rebound(binding)
            elif binding.command:
                specification = Specification.initial(binding)
                if specification.version is not None:
                    specification = specification.model_copy(update={"deployed_at": _now()})
            else:
                raise not_found(binding.program)
            self._supervisor.ensure()
            try:
                present = self._observe(specification)
            except CallError as error:
                raise self._classed(error) from None
            self._guard.check_program(
                binding.program,
                specification.instances,
                [instance.pid for instance in present if instance.pid is not None],
            )
            try:
                yield specification
            except CallError as error:
                raise self._classed(error) from None

    def _classed(self, error: CallError) -> CallError:
        """What one request to supervisord may say of itself is not what the whole call may say."""
        kind = error.kind
        if kind is FailureKind.TEMPORARY and self._acted:
            kind = FailureKind.UNKNOWN  # a stop was sent before the start could not be
        elif kind is FailureKind.UNKNOWN and not self._acted:
            kind = FailureKind.TEMPORARY  # no process was touched yet, and files and reloads bear repeating
        return CallError(kind, error.code, error.message, detail=error.detail)

    def _observe(self, specification: Specification) -> tuple[Instance, ...]:
        return observe(self._files, self._supervisor, specification.instances, manage=False)

    def _save(self, specification: Specification) -> None:
        try:
            self._files.write(specification)
        except OSError as error:
            raise CallError(
                FailureKind.UNKNOWN,
                "specification_not_written",
                f"the specification of {specification.program!r} could not be written: {error.strerror}",
            ) from None

    def _install(self, specification: Specification) -> tuple[Instance, ...]:
        """Write the files and let supervisord know; a running instance keeps its old ini until it is stopped."""
        self._save(specification)
        (answer,) = self._supervisor.call("supervisor.reloadConfig")
        changed, removed = set(answer[1]), set(answer[2])
        prefix = f"{specification.program}-"
        gone = [name for name in removed if name.startswith(prefix) and name.removeprefix(prefix).isdigit()]
        for name in [*gone, *(name for name in specification.instances if name in changed)]:
            with _allowing("still_running", "program_not_found"):
                self._supervisor.call("supervisor.removeProcessGroup", name)
        present = self._observe(specification)
        unknown = [instance.id for instance in present if not instance.known]
        for name in unknown:
            with _allowing("already_added"):
                self._supervisor.call("supervisor.addProcessGroup", name)
        return self._observe(specification) if unknown else present

    def _start(self, instances: tuple[str, ...], deadline: float) -> None:
        while any(one.unburied for one in observe(self._files, self._supervisor, instances, manage=False)):
            if time.monotonic() > deadline:
                raise _timeout("end", instances)
            time.sleep(_POLL_SECONDS)
        for name in instances:
            self._acted = True
            with _allowing("already_started"):
                self._supervisor.call("supervisor.startProcess", name, False)
        settled = time.monotonic() + self._settings.settle_seconds
        noticed = settled + _NOTICE_SECONDS
        while instances:
            present = observe(self._files, self._supervisor, instances, manage=False)
            failed = [instance for instance in present if not instance.running]
            # How it ended supervisord says once it has looked, a moment after the process has gone.
            unnoticed = any(one.state == "exited" and one.exit_code is None for one in failed)
            if failed and (not unnoticed or time.monotonic() >= noticed):
                ends = ", ".join(f"{one.id} ended with {_exit_text(one.exit_code)}" for one in failed)
                unstartable = any(one.exit_code == CANNOT_START for one in failed)
                why = "its command could not be started, see `command` in targets.yml" if unstartable else "see its log"
                log = self._files.log_path(failed[0].id)
                raise CallError(
                    FailureKind.PERMANENT, "start_failed", f"{ends} right after its start: {why} (check_logs, or {log})"
                )
            if time.monotonic() >= settled and not failed:
                return
            if time.monotonic() > deadline and not failed:
                raise _timeout("start", instances)
            time.sleep(_POLL_SECONDS)

    def _stop(self, specification: Specification, instances: tuple[str, ...], deadline: float) -> None:
        grace = math.ceil(specification.binding.stop_seconds)
        deadline = min(deadline, time.monotonic() + grace + _STOP_MARGIN_SECONDS)
        kill_at = time.monotonic() + grace
        asked: set[str] = set()
        while instances:
            present = observe(self._files, self._supervisor, instances, manage=False)
            running = [instance for instance in present if instance.running or instance.unburied]
            if not running:
                break
            for instance in running:
                if instance.id not in asked:
                    asked.add(instance.id)
                    self._ask_to_end(instance)
                elif time.monotonic() >= kill_at and not instance.supervised:
                    _signal_orphan(instance, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise _timeout("stop", tuple(instance.id for instance in running))
            time.sleep(_POLL_SECONDS)
        for name in instances:
            self._files.forget(name)

    def _ask_to_end(self, instance: Instance) -> None:
        self._acted = True
        if not instance.supervised:
            _signal_orphan(instance, signal.SIGTERM)
        elif not instance.stopping:
            with _allowing("not_running"):
                self._supervisor.call("supervisor.stopProcess", instance.id, False)


@contextlib.contextmanager
def _allowing(*codes: str) -> Iterator[None]:
    """Between a look and an act the state may have become what was wanted."""
    try:
        yield
    except CallError as error:
        if error.code not in codes:
            raise


def _signal_orphan(instance: Instance, number: signal.Signals) -> None:
    """Supervisord had made it the leader of a process group, so the whole group is meant."""
    if instance.pid is None or ticks_of(instance.pid) != instance.ticks:
        return
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(instance.pid) == instance.pid:
            os.killpg(instance.pid, number)
        else:
            os.kill(instance.pid, number)


def _restored(error: CallError, now: str) -> CallError:
    return CallError(error.kind, error.code, f"{error.message}; {now}", detail={"restored": True})


def _timeout(what: str, instances: tuple[str, ...]) -> CallError:
    return CallError(
        FailureKind.UNKNOWN, f"{what}_timeout", f"the {what} of {', '.join(instances)} has not come to its end in time"
    )


def _exit_text(code: int | None) -> str:
    return "an unknown status" if code is None else f"signal {code - 128}" if code > 128 else f"exit status {code}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
