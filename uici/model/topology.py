"""What depends on what: the graph that `depends_on` of targets.yml declares. Pure.

Its nodes are places: a target in an environment. A dependency without an environment is meant where the target is.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from uici.model.site import Site, TargetSpec


class Place(NamedTuple):
    """A target where it lives."""

    environment: str
    target: str

    def __str__(self) -> str:
        return f"{self.environment}/{self.target}"


def dependency_of(written: str, environment: str) -> Place:
    """What one entry of `depends_on` means for the target as it is in `environment`."""
    where, slash, name = written.rpartition("/")
    return Place(where if slash else environment, name)


class Topology:
    """The dependencies of a site, each place with all that it needs, what is needed by others first."""

    def __init__(self, targets: Mapping[str, TargetSpec]) -> None:
        """Raises CycleError, whose second argument are the places of a cycle, each the dependency of the next."""
        self._direct: dict[Place, tuple[Place, ...]] = {}
        for name, spec in targets.items():
            for environment in spec.bindings if spec.depends_on else ():
                wanted = (dependency_of(written, environment) for written in spec.depends_on)
                here = tuple(dict.fromkeys(place for place in wanted if _exists(targets, place)))
                if here:
                    self._direct[Place(environment, name)] = here
        order = tuple(TopologicalSorter(self._direct).static_order())
        self._all: dict[Place, tuple[Place, ...]] = {}
        for place in order:
            needed = self._direct.get(place, ())
            far = dict.fromkeys(each for direct in needed for each in self._all.get(direct, ()))
            if needed:
                self._all[place] = tuple(dict.fromkeys((*far, *needed)))

    @property
    def any(self) -> bool:
        """Whether anything depends on anything."""
        return bool(self._direct)

    def direct(self, place: Place) -> tuple[Place, ...]:
        """What a place itself declares to need."""
        return self._direct.get(place, ())

    def needs(self, place: Place) -> tuple[Place, ...]:
        """All that a place needs, directly or not; nothing stands before what it needs itself."""
        return self._all.get(place, ())

    def ordered(self, places: Iterable[Place]) -> list[Place]:
        """The same places, what others of them need first."""
        return sorted(places, key=lambda place: len(self.needs(place)))

    def roots(self, failing: Iterable[Place]) -> tuple[Place, ...]:
        """Of the places that fail those which need none of the others: what may be the cause of the rest."""
        known = dict.fromkeys(failing)
        return tuple(place for place in known if not any(needed in known for needed in self.needs(place)))


def cycle_of(targets: Mapping[str, TargetSpec]) -> tuple[Place, ...]:
    """Places of which each needs the next, the last the first; empty where there are none."""
    try:
        Topology(targets)
    except CycleError as error:
        return tuple(reversed(error.args[1][1:]))
    return ()


def topology_of(site: Site) -> Topology:
    """The topology of a site, made once and kept as long as the site lives."""
    kept = _topologies.get(id(site))
    if kept is None or kept[0]() is not site:
        kept = (weakref.ref(site, _forget(id(site))), Topology(site.targets))
        _topologies[id(site)] = kept
    return kept[1]


def _exists(targets: Mapping[str, TargetSpec], place: Place) -> bool:
    spec = targets.get(place.target)
    return spec is not None and place.environment in spec.bindings


def _forget(key: int) -> Callable[[weakref.ref[Site]], None]:
    def forget(gone: weakref.ref[Site]) -> None:
        kept = _topologies.get(key)
        if kept is not None and kept[0] is gone:
            del _topologies[key]

    return forget


_topologies: dict[int, tuple[weakref.ref[Site], Topology]] = {}
