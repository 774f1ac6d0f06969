"""What the stages work with, handed to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from uici.events.log import EventLog
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.site import Site
from uici.ports import Clock
from uici.runs.platforms import Platforms
from uici.store.database import Store


@dataclass(frozen=True)
class Services:
    """The collaborators of a run. `site` gives the catalogue in force now, which may change between two calls."""

    store: Store
    events: EventLog
    clock: Clock
    site: Callable[[], Site]
    platforms: Platforms
    identity: SelfIdentity
    layers: SelfGuardLayers
    wake: Callable[[], None]
    """Tell the ticker that a waiting run may be due."""
