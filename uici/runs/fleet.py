"""The whole fleet at once: how every target stands in every environment, by looking now.

One thread looks for each environment, so one that does not answer costs its own targets their answer and no other's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from sqlalchemy import select

from uici.access.reach import require_place
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.errors import Problem, ProblemKind, did_you_mean, unknown_environment
from uici.model.masking import mask
from uici.model.scope import EVERYTHING, Scope
from uici.model.site import Site
from uici.runs.services import Services
from uici.store.schema import incidents

_Place = tuple[str, str]
UNKNOWN = "unknown"


def fleet(
    services: Services, environment: str | None = None, target: str | None = None, scope: Scope = EVERYTHING
) -> JsonObject:
    """How the targets within the scope stand, by environment and target; and of each environment whether its platform
    answered.

    An environment that does not answer within `service.fleet_seconds` is shown as unknown, with the reason. Raises
    Problem for an environment or a target that does not exist.
    """
    site = services.site()
    if environment is not None and environment not in site.environments:
        raise unknown_environment(environment, site.environments, "environment")
    if target is not None and target not in site.targets:
        raise Problem(
            ProblemKind.NOT_FOUND,
            "unknown_target",
            f"there is no target {target!r}{did_you_mean(target, site.targets)}",
            where="target",
            allowed=sorted(site.targets),
        )
    places = [
        (where, name)
        for where in _preferred(site)
        for name in sorted(site.targets)
        if where in site.targets[name].bindings and environment in (None, where) and target in (None, name)
        if scope.covers(where, name)
    ]
    looked = _look(services, places)
    troubled = _incidents(services)
    services_shown: list[JsonObject] = [
        {
            "environment": where,
            "target": name,
            "platform": site.environments[where].platform,
            **looked[where].rows[name],
            "incident": troubled.get((where, name)),
        }
        for where, name in places
    ]
    return {
        "services": services_shown,
        "environments": [
            {
                "name": where,
                "platform": site.environments[where].platform,
                "reachable": look.reachable,
                "detail": look.detail,
            }
            for where, look in looked.items()
        ],
    }


def one_target(services: Services, name: str, scope: Scope = EVERYTHING) -> JsonObject:
    """A target as it stands in each of its environments; `seen_in` is the first that answered, the default first.

    Raises Problem for a target that does not exist, or is nowhere within the scope.
    """
    spec = services.site().targets.get(name)
    if spec is not None and not any(scope.covers(place, name) for place in spec.bindings):
        require_place(scope, None, name)
    found = fleet(services, target=name, scope=scope)
    answered = [row["environment"] for row in found["services"] if row["state"] != UNKNOWN]
    target = services.site().targets[name]
    return {
        "name": name,
        "summary": target.summary,
        "group": target.group,
        "aliases": list(target.aliases),
        "watch_only": target.watch_only,
        "seen_in": answered[0] if answered else None,
        "environments": found["services"],
    }


class _Look:
    """One environment, looked at by a thread of its own."""

    def __init__(self, services: Services, environment: str, names: Iterable[str], until: float) -> None:
        self.reachable: bool | None = None
        self.detail = ""
        self.rows: dict[str, JsonObject] = {}
        self._services = services
        self._environment = environment
        self._names = tuple(names)
        self._until = until
        # A platform's client may hang beyond every limit that it was given; nobody waits for this thread then.
        self.thread = threading.Thread(target=self._work, name=f"uici-fleet-{environment}", daemon=True)

    def close(self, late: str) -> None:
        """Wait for the thread, and say of what it did not get to that it is unknown."""
        self.thread.join(max(0.0, self._until - time.monotonic()))
        if self.reachable is None:
            self.reachable, self.detail = False, late
        because = late if self.reachable else self.detail
        # A copy: the thread may still be at it.
        self.rows = {name: self.rows.get(name) or _row(UNKNOWN, because) for name in self._names}

    def _work(self) -> None:
        platforms = self._services.platforms
        ok, detail = platforms.check(self._environment)
        self.detail = str(mask(detail))
        self.reachable = ok
        if not ok:
            return
        for name in self._names:
            if time.monotonic() >= self._until:
                return
            try:
                status = platforms.read(self._environment, name, "get_service_status")
            except (CallError, Problem) as error:
                self.rows[name] = _row(UNKNOWN, str(mask(str(error))))
            else:
                self.rows[name] = _row(status.get("state", UNKNOWN), "", status)


def _look(services: Services, places: list[_Place]) -> dict[str, _Look]:
    seconds = services.site().platform.service.fleet_seconds
    until = time.monotonic() + seconds
    looks = {
        where: _Look(services, where, [name for place, name in places if place == where], until)
        for where in dict.fromkeys(where for where, _ in places)
    }
    for look in looks.values():
        look.thread.start()
    for look in looks.values():
        look.close(f"no answer within {seconds:g} s")
    return looks


def _row(state: str, detail: str, status: JsonObject | None = None) -> JsonObject:
    seen = status or {}
    shown: JsonObject = {key: seen.get(key) for key in ("running", "desired", "version", "health", "restart_count")}
    return shown | {"state": state, "detail": detail}


def _preferred(site: Site) -> list[str]:
    """The environments, the default first."""
    return sorted(site.environments, key=lambda name: (name != site.default_environment, name))


def _incidents(services: Services) -> dict[_Place, str]:
    with services.store.read() as connection:
        rows = connection.execute(
            select(incidents.c.environment, incidents.c.target, incidents.c.id).where(incidents.c.state == "open")
        )
        return {(row.environment, row.target): row.id for row in rows}
