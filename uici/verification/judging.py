"""The verdict on a remedy, from the health seen since and from the alert. Pure; the caller looks and waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from uici.model.base import Frozen
from uici.model.plan import VerifySettings
from uici.model.verdict import Verdict


class HealthTrack(Frozen):
    """All that a verdict needs of the health seen so far, however long the looking takes."""

    healthy_since: datetime | None = None
    """Since when every look said healthy; None when the last one did not."""
    looked_at: datetime | None = None
    """The last look."""
    unhealthy_at: datetime | None = None
    """The last look that said unhealthy, later than any that said healthy; None while that is unknown."""

    def seen(self, at: datetime, healthy: bool | None) -> HealthTrack:
        """The track after one more look; `healthy` is None when the target's health could not be read."""
        if healthy:
            return HealthTrack(healthy_since=self.healthy_since or at, looked_at=at)
        # Unknown health is not health: it breaks the stable time, but it does not prove illness either.
        return HealthTrack(looked_at=at, unhealthy_at=at if healthy is False else self.unhealthy_at)

    def stable(self, settings: VerifySettings) -> bool:
        """Whether the target has been seen healthy, without a break, for `stable_for`."""
        if self.healthy_since is None or self.looked_at is None:
            return False
        return self.looked_at - self.healthy_since >= timedelta(seconds=settings.stable_for)


def judge(
    settings: VerifySettings,
    *,
    started_at: datetime,
    now: datetime,
    health_history: Iterable[tuple[datetime, bool | None]],
    alert_firing: bool | None,
) -> Verdict | None:
    """As `judge_track`, over all looks since `started_at` in the order of their times."""
    track = HealthTrack()
    for at, healthy in health_history:
        track = track.seen(at, healthy)
    return judge_track(settings, track, started_at=started_at, now=now, alert_firing=alert_firing)


def judge_track(
    settings: VerifySettings,
    track: HealthTrack,
    *,
    started_at: datetime,
    now: datetime,
    alert_firing: bool | None,
) -> Verdict | None:
    """What can be said at `now` of a remedy that ended at `started_at`; None means: keep looking.

    - Effective: the target became healthy `within` and stayed so for `stable_for`, and the alert is silent. With
      `confirm_within: 0` its silence is not awaited.
    - Ineffective: it was not healthy at the end of `within`, or fell ill again afterwards.
    - Inconclusive: it is stable, but `confirm_within` after it became healthy the alert still fires or nobody can
      tell; or its health could not be read, so that neither success nor failure is proved. This never undoes.

    `alert_firing` is None when it cannot be told.
    """
    if track.stable(settings):
        return _confirmed(settings, track, now=now, alert_firing=alert_firing)
    deadline = started_at + timedelta(seconds=settings.within)
    if track.healthy_since is not None and track.healthy_since <= deadline:
        # Healthy in time; whether it lasts is still open. A caller that stopped looking learns nothing by waiting.
        overdue = track.healthy_since + timedelta(seconds=settings.stable_for + settings.within)
        return None if now < overdue else Verdict.INCONCLUSIVE
    if now < deadline:
        return None
    if track.healthy_since is None and track.unhealthy_at is None:
        return Verdict.INCONCLUSIVE
    return Verdict.INEFFECTIVE


def _confirmed(
    settings: VerifySettings, track: HealthTrack, *, now: datetime, alert_firing: bool | None
) -> Verdict | None:
    if alert_firing is False or settings.confirm_within == 0:
        return Verdict.EFFECTIVE
    since = track.healthy_since or now
    return Verdict.INCONCLUSIVE if now >= since + timedelta(seconds=settings.confirm_within) else None
