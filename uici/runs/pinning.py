"""The part of the catalogue that a run sees, from its first look to its end.

A reload of the configuration must not change a run under way, nor must a restart with another configuration. So a run
keeps what it may use: its strategy, the findings, the operations that these lead to, its environment. Runs of one
strategy share that part; it is stored once under its digest. Only the guards always read the configuration in force.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import select

from uici.diagnosis.findings import required_operations
from uici.model.base import digest
from uici.model.site import PoliciesFile, Site, Targeting
from uici.ports import Clock
from uici.store.database import Store
from uici.store.inserting import insert_or_renew
from uici.store.schema import catalogues

_TRUSTED = timedelta(hours=1)
"""How long a part counts as stored without being stored again; far shorter than `RENEWED_WITHIN`."""
_ALWAYS = ("get_service_status", "check_service_health")
"""Preconditions speak about the one, verdicts about the other."""


def part_of(site: Site, environment: str, strategy: str | None, operations: Iterable[str] = ()) -> Site:
    """The site reduced to one environment, one strategy, `operations`, and every operation that these lead to.

    Without targets, and without policies: those are read where they are in force. A name that the site does not have
    is left out.
    """
    chosen = site.strategies.get(strategy or "")
    open_names = [*_ALWAYS, *operations]
    if chosen is not None:
        open_names += [step.operation for step in required_operations(chosen, site.findings)]
        open_names += [step.operation for remedy in chosen.remedies for step in remedy.steps]
    found = set()
    while open_names:
        operation = site.operations.get(open_names.pop())
        if operation is None or operation.name in found:
            continue
        found.add(operation.name)
        further = (operation.before, operation.verification)
        open_names += [item.read for item in further if item is not None and item.read is not None]
        open_names += [operation.inverse.operation] if operation.inverse is not None else []
    return site.model_copy(
        update={
            "default_environment": environment,
            "default_because": "",
            "environments": {name: item for name, item in site.environments.items() if name == environment},
            "targeting": Targeting(),
            "targets": {},
            "operations": {name: site.operations[name] for name in sorted(found)},
            "strategies": {strategy: chosen} if strategy is not None and chosen is not None else {},
            "policies": PoliciesFile(),
            "verb_tests": {},
            "guides": {},
        }
    )


class Pins:
    """Parts of catalogues by digest: each is made, stored and read once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._source: Site | None = None
        self._made: dict[tuple[str, str | None, frozenset[str]], tuple[str, datetime]] = {}
        """By what it was made from: the digest, and when it was stored."""
        self._parts: dict[str, Site] = {}

    def pin(self, site: Site, environment: str, strategy: str | None, operations: Iterable[str] = ()) -> str:
        """Store the part of `site` that a run may use, as `part_of` says, and return its digest."""
        key = (environment, strategy, frozenset(operations))
        with self._lock:
            if self._source is not site:
                # The parts of a former configuration stay in the store, for the runs that are under way.
                self._source, self._made, self._parts = site, {}, {}
            known, stored_at = self._made.get(key, (None, None))
        now = self._clock.now()
        # Stored again now and then, since what nobody refers to is deleted in the end.
        if known is not None and stored_at is not None and abs(now - stored_at) < _TRUSTED:
            return known
        part = part_of(site, environment, strategy, operations=key[2])
        document = part.model_dump(mode="json", exclude_unset=True)
        made = digest(document)
        with self._store.write() as connection:
            insert_or_renew(connection, catalogues, "digest", {"digest": made, "document": document}, now)
        with self._lock:
            self._parts[made] = part
            if self._source is site:
                self._made[key] = (made, now)
        return made

    def part(self, made: str) -> Site:
        """The part of this digest, from memory or from the store."""
        with self._lock:
            known = self._parts.get(made)
        if known is None:
            with self._store.read() as connection:
                document = connection.execute(
                    select(catalogues.c.document).where(catalogues.c.digest == made)
                ).scalar_one()
            known = Site.model_validate(document)
            with self._lock:
                self._parts[made] = known
        return known
