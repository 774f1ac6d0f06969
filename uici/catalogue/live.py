"""The site in force, and how another one takes its place: only whole, only sound, at one moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from uici.catalogue.diagnostics import CatalogueError, Diagnostic
from uici.catalogue.tree import Look, Tree
from uici.model.settings import PlatformFile
from uici.model.site import Site
from uici.ports import Clock

_SETTLE_SECONDS = 0.05
_SETTLE_LOOKS = 100


class ReloadOutcome(StrEnum):
    """What came of a look at the files."""

    UNCHANGED = "unchanged"  # the content in force, or one that was judged before
    UNSETTLED = "unsettled"  # somebody is writing: looked at again soon
    RELOADED = "reloaded"  # new content is in force
    REJECTED = "rejected"  # new content is broken; the old one stays in force


@dataclass(frozen=True, slots=True)
class InForce:
    """The content that is in force."""

    site: Site
    digest: str
    since: datetime
    needs_restart: tuple[str, ...] = ()
    """Keys of platform.yml whose new values wait for the next start, dotted."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Newer content that is not in force, with everything that is wrong with it."""

    digest: str
    since: datetime
    diagnostics: tuple[Diagnostic, ...]


class LiveSite:
    """The one place that knows which site is in force. Thread-safe; `site` never blocks."""

    def __init__(self, tree: Tree, load: Callable[[Look], Site], clock: Clock) -> None:
        """Load for the first time. Raises CatalogueError with every problem: nothing is in force then.

        `load` reads the tree as it lay at a look, and raises CatalogueError for what is unsound.
        """
        self._tree = tree
        self._load = load
        self._clock = clock
        self._reloading = threading.Lock()
        found = tree.look()
        self._judged: Look | None = found
        self._last: Look | None = found
        digest = tree.digest(found)
        self._in_force = InForce(load(found), digest, clock.now())
        self._rejected: Rejected | None = None
        if tree.look() != found:
            # Written to while it was read: what is in force is sound, but of no content that can be named.
            self._judged = None
            self._in_force = replace(self._in_force, digest="")

    @property
    def tree(self) -> Tree:
        """The files that are followed."""
        return self._tree

    @property
    def in_force(self) -> InForce:
        """What is in force now."""
        return self._in_force

    @property
    def rejected(self) -> Rejected | None:
        """The newest content, when it is broken; None when the newest content is in force."""
        return self._rejected

    def site(self) -> Site:
        """The site in force now."""
        return self._in_force.site

    def look(self) -> ReloadOutcome:
        """Look once, and load what changed if two consecutive looks agree: whoever writes a file may be half done."""
        with self._reloading:
            found = self._tree.look()
            if found == self._judged:
                self._last = self._judged
                return ReloadOutcome.UNCHANGED
            if found != self._last:
                self._last = found
                return ReloadOutcome.UNSETTLED
            return self._judge(found)

    def reload(self) -> ReloadOutcome:
        """Look until two consecutive looks agree, a few seconds at most, and load what changed since the last time."""
        for _ in range(_SETTLE_LOOKS):
            outcome = self.look()
            if outcome is not ReloadOutcome.UNSETTLED:
                return outcome
            time.sleep(_SETTLE_SECONDS)
        return ReloadOutcome.UNSETTLED

    def _judge(self, found: Look) -> ReloadOutcome:
        digest = self._tree.digest(found)
        if digest == self._in_force.digest:
            # Touched, or put back as it was.
            self._judged, self._rejected = found, None
            return ReloadOutcome.UNCHANGED
        if self._rejected is not None and digest == self._rejected.digest:
            self._judged = found
            return ReloadOutcome.UNCHANGED
        site: Site | None = None
        diagnostics: tuple[Diagnostic, ...] = ()
        try:
            site = self._load(found)
        except CatalogueError as error:
            diagnostics = error.diagnostics
        if self._tree.look() != found:
            self._last = None
            return ReloadOutcome.UNSETTLED
        self._judged = found
        if site is None:
            self._rejected = Rejected(digest, self._clock.now(), diagnostics)
            return ReloadOutcome.REJECTED
        platform = self._in_force.site.platform
        waiting = tuple(changed_keys(platform, site.platform))
        # The settings that were read once at the start and those that are read each time stay of one piece.
        kept = site.model_copy(update={"platform": platform})
        self._in_force = InForce(kept, digest, self._clock.now(), waiting)
        self._rejected = None
        return ReloadOutcome.RELOADED


def changed_keys(old: PlatformFile, new: PlatformFile) -> list[str]:
    """The dotted keys in which two platform.yml differ; never their values."""

    def walk(left: object, right: object, path: tuple[str, ...]) -> list[str]:
        if isinstance(left, dict) and isinstance(right, dict):
            return [
                found
                for key in sorted({*left, *right})
                for found in walk(left.get(key), right.get(key), (*path, str(key)))
            ]
        return [] if left == right else [".".join(path)]

    return walk(old.model_dump(mode="json"), new.model_dump(mode="json"), ())
