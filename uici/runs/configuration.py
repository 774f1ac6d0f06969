"""Following the configuration while UICI runs: looking at the files, and telling what came of a change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from uici.catalogue.diagnostics import Diagnostic
from uici.catalogue.live import InForce, LiveSite, Rejected, ReloadOutcome
from uici.events.log import EventLog
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.model.masking import mask
from uici.model.settings import MessageKind
from uici.model.site import Site
from uici.ports import Clock
from uici.store.outbox import enqueue

_log = structlog.get_logger(__name__)

_MOST_NAMES = 20
_MOST_PROBLEMS = 50
_MOST_SHOWN = 500
_REST = 19
"""Rests are so many times as long as a look took: looking takes at most a twentieth of a processor."""
_SHORT_DIGEST = 19
"""Characters of a digest that are enough to tell two contents apart by eye: `sha256:` and twelve digits."""


class Configuration:
    """The live configuration: a thread that looks at the files, and what people may ask about it."""

    def __init__(self, live: LiveSite, events: EventLog, clock: Clock) -> None:
        self._live = live
        self._events = events
        self._clock = clock
        self._seconds = live.site().platform.catalogue.reload_seconds
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._telling = threading.Lock()
        self._failure = ""
        self._thread = threading.Thread(target=self._work, name="uici-configuration", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End; a load that is under way changes nothing any more."""
        self._stopping.set()
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def ask(self) -> None:
        """Have it look at once, in its own thread. Safe in a signal handler."""
        self._asked.set()

    def reload(self, actor: str, reason: str = "") -> JsonObject:
        """Load what lies there now. Raises Problem (CONFLICT) with everything that is wrong when it is rejected."""
        outcome = self._settled(actor, reason)
        rejected = self._live.rejected
        if rejected is not None:
            problems = [_shown(each) for each in rejected.diagnostics[:_MOST_SHOWN]]
            raise Problem(
                ProblemKind.CONFLICT,
                "configuration_rejected",
                f"the configuration is broken, so the former one stays in force; {_count(rejected)}: "
                f"{problems[0]['detail']}",
                where=str(problems[0]["where"]),
                hint="`uici check` on these files prints the same problems",
                errors=tuple(problems),
            )
        if outcome is ReloadOutcome.UNSETTLED:
            raise Problem(
                ProblemKind.UNAVAILABLE,
                "configuration_unsettled",
                "the configuration is being written all the time, so no whole state of it could be loaded",
                hint="try again when nobody writes; nothing was changed",
            )
        return {"outcome": outcome.value, **self.show()}

    def show(self) -> JsonObject:
        """What is in force since when and from where, what waits for a restart, and what was rejected and why."""
        in_force, rejected = self._live.in_force, self._live.rejected
        directory = self._live.tree.directory
        document: JsonObject = {
            "digest": in_force.digest,
            "loaded_at": in_force.since.isoformat(),
            "directory": str(directory.absolute()) if directory is not None else None,
            "reload_seconds": self._seconds,
            "needs_restart": list(in_force.needs_restart),
            "rejected": None,
        }
        if rejected is not None:
            document["rejected"] = {
                "digest": rejected.digest,
                "since": rejected.since.isoformat(),
                "count": len(rejected.diagnostics),
                "problems": [_shown(each) for each in rejected.diagnostics[:_MOST_SHOWN]],
            }
        shown: JsonObject = mask(document)
        return shown

    def check(self) -> JsonObject:
        """The line of `/readyz`. A rejected content does not make UICI unready: the former one is in force."""
        in_force, rejected = self._live.in_force, self._live.rejected
        detail = f"{in_force.digest[:_SHORT_DIGEST]} in force since {in_force.since.isoformat(timespec='seconds')}"
        if in_force.needs_restart:
            detail += f"; waiting for a restart: {', '.join(in_force.needs_restart)}"
        if rejected is not None:
            detail += (
                f"; a newer one was rejected at {rejected.since.isoformat(timespec='seconds')}: "
                f"{_count(rejected)}, the first: {rejected.diagnostics[0]}"
            )
        if self._failure:
            detail += f"; newer ones cannot be looked at: {self._failure}"
        return {"name": "configuration", "ok": True, "detail": mask(detail)}

    def collect(self) -> Iterator[Metric]:
        """Metrics, as `prometheus_client` collects them."""
        in_force, rejected = self._live.in_force, self._live.rejected
        yield GaugeMetricFamily(
            "uici_configuration_loaded_timestamp_seconds",
            "When the configuration in force was loaded.",
            value=in_force.since.timestamp(),
        )
        yield GaugeMetricFamily(
            "uici_configuration_problems",
            "Problems of the newest configuration; above 0 it was rejected and an older one is in force.",
            value=len(rejected.diagnostics) if rejected is not None else 0,
        )
        yield GaugeMetricFamily(
            "uici_configuration_needs_restart",
            "Settings of platform.yml whose new values wait for the next start.",
            value=len(in_force.needs_restart),
        )

    def _work(self) -> None:
        took = 0.0
        while not self._stopping.is_set():
            # Looking at thousands of files must not become what the machine does.
            asked = self._asked.wait(max(self._seconds, _REST * took) or None)
            self._asked.clear()
            if self._stopping.is_set():
                return
            begun = time.monotonic()
            try:
                if asked:
                    self._settled("signal")
                else:
                    self._look()
                self._failure = ""
            except SQLAlchemyError as error:
                # The site is what it is; only its telling failed, and /readyz says what is wrong with the state.
                _log.error("configuration_not_told", error=str(getattr(error, "orig", error)))
            except Exception as error:  # a defect of ours must not end the following: /readyz says so until it is over
                failure = f"{type(error).__name__}: {error}"
                if failure != self._failure:  # once, not at each look
                    _log.exception("configuration_not_followed")
                self._failure = failure
            took = time.monotonic() - begun if self._seconds else 0.0

    def _settled(self, actor: str, reason: str = "") -> ReloadOutcome:
        with self._telling:
            before = self._live.in_force
            return self._told(self._live.reload(), before, actor, reason)

    def _look(self) -> None:
        with self._telling:
            before = self._live.in_force
            self._told(self._live.look(), before, "files")

    def _told(self, outcome: ReloadOutcome, before: InForce, actor: str, reason: str = "") -> ReloadOutcome:
        if outcome is ReloadOutcome.RELOADED:
            self._tell_reloaded(before, self._live.in_force, actor, reason)
        elif outcome is ReloadOutcome.REJECTED and self._live.rejected is not None:
            self._tell_rejected(self._live.rejected, self._live.in_force, actor)
        return outcome

    def _tell_reloaded(self, before: InForce, now: InForce, actor: str, reason: str) -> None:
        changes = differences(before.site, now.site)
        _log.info("configuration_reloaded", digest=now.digest, needs_restart=list(now.needs_restart), actor=actor)
        with self._events.writing() as connection:
            self._events.append(
                connection,
                "configuration_reloaded",
                digest=now.digest,
                former=before.digest,
                actor=actor,
                reason=reason,
                changes=changes,
                needs_restart=list(now.needs_restart),
            )

    def _tell_rejected(self, rejected: Rejected, in_force: InForce, actor: str) -> None:
        problems = [mask(str(each)) for each in rejected.diagnostics[:_MOST_PROBLEMS]]
        _log.warning(
            "configuration_rejected", digest=rejected.digest, problems=problems[:1], count=len(rejected.diagnostics)
        )
        since = in_force.since.isoformat(timespec="seconds")
        message: JsonObject = {
            "title": "UICI rejected a change of its configuration; the one before stays in force",
            "why": f"{_count(rejected)}; in force since {since} is {in_force.digest[:_SHORT_DIGEST]}",
            "problems": problems,
            "what_to_do": ["correct the files: UICI takes a sound change up by itself", "`uici check` shows the rest"],
        }
        now = self._clock.now()
        with self._events.writing() as connection:
            # Once for each content, also after a restart, and of several processes on one state by one.
            kind = MessageKind.CONFIGURATION_REJECTED
            if enqueue(connection, f"configuration:{rejected.digest}", kind, message, now, severity="warning"):
                self._events.append(
                    connection,
                    "configuration_rejected",
                    digest=rejected.digest,
                    in_force=in_force.digest,
                    actor=actor,
                    count=len(rejected.diagnostics),
                    problems=problems,
                )


def differences(before: Site, now: Site) -> JsonObject:
    """What was added, removed and changed, by section; at most some names of each, with the count of all."""
    found: JsonObject = {}
    for section in ("environments", "targets", "operations", "findings", "strategies", "guides"):
        changed = _section(getattr(before, section), getattr(now, section))
        if changed:
            found[section] = changed
    for section in ("policies", "targeting", "default_environment"):
        if getattr(before, section) != getattr(now, section):
            found[section] = "changed"
    return found


def _section(before: Mapping[str, object], now: Mapping[str, object]) -> JsonObject:
    groups = {
        "added": [name for name in now if name not in before],
        "removed": [name for name in before if name not in now],
        "changed": [name for name, entry in now.items() if name in before and _differs(before[name], entry)],
    }
    if list(before) != list(now) and not groups["added"] and not groups["removed"]:
        groups["reordered"] = list(now)
    return {
        kind: names[:_MOST_NAMES] + ([f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])
        for kind, names in groups.items()
        if names
    }


def _differs(before: object, now: object) -> bool:
    return before is not now and before != now


def _shown(diagnostic: Diagnostic) -> JsonObject:
    shown: JsonObject = mask(
        {
            "where": f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}",
            "code": diagnostic.code,
            "detail": str(diagnostic).split(": ", 2)[2],
        }
    )
    return shown


def _count(rejected: Rejected) -> str:
    number = len(rejected.diagnostics)
    return f"{number} problem{'s' if number != 1 else ''}"
