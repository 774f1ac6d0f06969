"""The canary as a whole: its weight, its split, what is measured of both sides, and what follows from that."""

from __future__ import annotations

import asyncio
import threading
import time

import structlog

from council.canary.judging import Gate, Verdict, judge
from council.canary.keeping import Setting, Weights
from council.canary.samples import Samples
from council.canary.splitting import Split
from council.canary.statistics import Pairs
from council.settings import Canary as Settings
from uici.model.base import JsonObject

_log = structlog.get_logger(__name__)


class Canary:
    """One new backend beside the one whose place it may take."""

    def __init__(self, settings: Settings, weights: Weights) -> None:
        self.settings = settings
        self.main, self.canary = Samples(), Samples()
        self._weights = weights
        self._split = Split()
        self._lock = threading.Lock()
        self._setting = Setting(-1, 0.0, 0.0, "", "")
        self._pairs = Pairs(0, 0, 0, 0)
        self._looked_at = float("-inf")
        self._take(weights.now())

    @property
    def weight(self) -> float:
        """The share of requests that the canary should get, as this process knows it."""
        return self._split.weight

    @property
    def share(self) -> float | None:
        """The share that it got since its weight was set; None before any request."""
        return self._split.measured

    def is_canarys(self, backend: str, tenant: str, session: str | None) -> bool:
        """Whether the next request that would go to `backend` goes to the canary in its place."""
        if backend != self.settings.main or not self._split.weight:
            return False
        return self._split.side(tenant, session) == "canary"

    async def look(self) -> Setting:
        """Take up what another process has set; asked at most once in `look_seconds`."""
        now = time.monotonic()
        if now - self._looked_at >= self.settings.look_seconds:
            self._looked_at = now
            self._take(await asyncio.to_thread(self._weights.now))
        return self._setting

    def read(self) -> None:
        """Take up what another process has set, at once. Blocks. Raises sqlite3.Error."""
        self._take(self._weights.now())

    async def put(self, weight: float, actor: str, because: str) -> tuple[Setting, bool]:
        """Set the weight; True when it was another one before."""
        setting, fresh = await asyncio.to_thread(self._weights.put, weight, actor, because)
        self._take(setting)
        if fresh:
            _log.info("canary_weight_set", weight=weight, actor=actor, because=because)
        return setting, fresh

    def replayed(self, *, main_right: bool, canary_right: bool) -> None:
        """Both sides answered one question of the hold-out."""
        with self._lock:
            pairs = self._pairs
            self._pairs = Pairs(
                pairs.both + (main_right and canary_right),
                pairs.only_main + (main_right and not canary_right),
                pairs.only_canary + (canary_right and not main_right),
                pairs.neither + (not main_right and not canary_right),
            )

    def judged(self) -> tuple[Verdict, list[Gate]]:
        """What the gates say now."""
        return judge(self.main.seen(), self.canary.seen(), self._pairs, self.settings.gates)

    async def document(self) -> JsonObject:
        """As people and UICI see it."""
        setting = await self.look()
        verdict, gates = await asyncio.to_thread(self.judged)
        history = await asyncio.to_thread(self._weights.history, 20)
        return {
            "main": self.settings.main,
            "canary": self.settings.backend,
            "weight": setting.weight,
            "measured_share": self._split.measured,
            "setting": setting.number,
            "verdict": verdict.value,
            "gates": [gate.document() for gate in gates],
            "history": [
                {"weight": each.weight, "set_at": each.set_at, "set_by": each.set_by, "because": each.because}
                for each in history
                if each.number
            ],
        }

    def _take(self, setting: Setting) -> None:
        with self._lock:
            if setting.number == self._setting.number:
                return
            before, self._setting = self._setting, setting
            self._split.set_weight(setting.weight)
            if not before.weight:
                # What was measured of the last canary says nothing of this one.
                self._pairs = Pairs(0, 0, 0, 0)
                self.main.clear()
                self.canary.clear()
