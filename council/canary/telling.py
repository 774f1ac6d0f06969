"""A verdict is told to UICI as Alertmanager would tell it, at once: a group's wait alone can take half a minute."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp
import structlog
from pydantic_core import to_json

from council.canary.canary import Canary
from council.canary.judging import Gate, Verdict
from council.canary.keeping import Setting
from council.settings import Told
from uici.model.base import JsonObject

ALERT = "CouncilCanaryFailed"
_SECONDS = 10.0
_log = structlog.get_logger(__name__)


class Telling:
    """Looks at the gates while there is a canary. What fails is told again until the weight is 0, then as resolved."""

    def __init__(self, canary: Canary, told: Told, key: str | None) -> None:
        self._canary = canary
        self._told = told
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look(self) -> None:
        firing: tuple[Setting, datetime, list[Gate]] | None = None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session:
            while True:
                setting = await self._canary.look()
                if setting.weight and (firing is None or firing[0].number != setting.number):
                    verdict, gates = await asyncio.to_thread(self._canary.judged)
                    if verdict is Verdict.FAIL:
                        firing = setting, datetime.now(UTC), gates
                if firing is not None and await self._send(session, self._alert(*firing, over=not setting.weight)):
                    if not setting.weight:
                        firing = None
                await asyncio.sleep(self._told.again_seconds)

    async def _send(self, session: aiohttp.ClientSession, notification: JsonObject) -> bool:
        try:
            async with session.post(self._told.url, data=to_json(notification), headers=self._headers) as answer:
                if answer.status < 300:
                    return True
                _log.error("verdict_not_taken", status=answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.error("verdict_not_told", error=str(error) or type(error).__name__)
        return False

    def _alert(self, setting: Setting, since: datetime, gates: list[Gate], *, over: bool) -> JsonObject:
        """A notification as in https://prometheus.io/docs/alerting/latest/configuration/#webhook_config ."""
        labels = {"severity": "critical", **self._told.labels, "alertname": ALERT, "setting": str(setting.number)}
        why = "; ".join(f"{gate.name}: {gate.reason}" for gate in gates if gate.verdict is Verdict.FAIL)
        status = "resolved" if over else "firing"
        alert = {
            "status": status,
            "labels": labels,
            "annotations": {"summary": f"the canary {self._canary.settings.backend} fails: {why}"},
            "startsAt": since.isoformat(),
            "endsAt": datetime.now(UTC).isoformat() if over else "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": f"{setting.number:016x}",
        }
        return {
            "version": "4",
            "groupKey": f"{{}}:{{alertname={ALERT!r}, setting={setting.number}}}",
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "council",
            "groupLabels": {"alertname": ALERT},
            "commonLabels": labels,
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": [alert],
        }
