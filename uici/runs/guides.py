"""Guides for those who ask the service: within their scope, searched, and those for an incident."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from uici.access.reach import out_of_scope
from uici.catalogue.guide_search import GuideIndex, listed_guide, shown_guide
from uici.model.base import JsonObject
from uici.model.guide import Guide
from uici.model.masking import mask
from uici.model.scope import EVERYTHING, Scope, matches
from uici.model.site import Site
from uici.runs import reading, records
from uici.runs.services import Services
from uici.runs.stages.opening import guides_for


class Guides:
    """The guides of the configuration in force."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._indexed: tuple[Mapping[str, Guide], GuideIndex] | None = None

    def listed(self, query: str | None, scope: Scope = EVERYTHING) -> list[JsonObject]:
        """All guides within the scope by name; with a query those that have its words, the best first."""
        site = self._services.site()
        found: Iterable[Guide] = site.guides.values() if query is None else self._index(site.guides).found(query)
        return [mask(listed_guide(guide)) for guide in found if _within(site, guide, scope)]

    def one(self, name: str, scope: Scope = EVERYTHING) -> JsonObject:
        """One guide with its Markdown. Raises Problem where there is none, or none within the scope."""
        site = self._services.site()
        within = {each: guide for each, guide in site.guides.items() if _within(site, guide, scope)}
        if name in site.guides and name not in within:
            what = f"the guide {name!r} is for targets that are not within the scope of this credential"
            raise out_of_scope(what, scope)
        document: JsonObject = mask(shown_guide(within, name))
        return document

    def incident(self, id_: str) -> JsonObject:
        """One incident as people see it, with its guides."""
        services = self._services
        document = reading.one_incident(services.store, services.events, id_)
        found = of_incident(services, document)
        # Beside what else people read about it; the timeline is long, and stays last.
        timeline = document.pop("timeline")
        guides = [{"name": each.name, "title": each.title, "path": f"/api/v1/guides/{each.name}"} for each in found]
        return {**document, "guides": mask(guides), "timeline": timeline}

    def _index(self, guides: Mapping[str, Guide]) -> GuideIndex:
        with self._lock:
            if self._indexed is None or self._indexed[0] is not guides:
                self._indexed = (guides, GuideIndex(guides))
            return self._indexed[1]


def of_incident(services: Services, document: JsonObject) -> tuple[Guide, ...]:
    """The guides for an incident as people see it, the most fitting first."""
    with services.store.read() as connection:
        its_alerts = records.alerts_of(connection, document["id"])
    named = (finding["name"] for finding in document["findings"] or ())
    return guides_for(services.site(), its_alerts, named, document["target"], document["strategy"])


def _within(site: Site, guide: Guide, scope: Scope) -> bool:
    """Whether a caller may read it: one that is for certain targets only if one of them is within the scope."""
    if scope.everywhere or not guide.targets:
        return True
    return any(
        scope.covers(environment, name)
        for name, target in site.targets.items()
        if matches(guide.targets, name)
        for environment in target.bindings
    )
