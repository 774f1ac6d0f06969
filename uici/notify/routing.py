"""Deciding who is told what and when, in the database: each message once for each channel, in the order of writing.

A channel is told at most so many messages of a kind in a window. What is more is held, and when the window has passed
it is told in one summary, which opens the next window. A message that is more severe than all that the window has told
goes out at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, exists, func, literal, or_, select, union_all

from uici.model.base import JsonObject
from uici.model.settings import MessageKind, NotifySettings
from uici.notify.channels import Channel
from uici.store.outbox import DeliveryState
from uici.store.schema import deliveries, incidents, outbox, telling_windows

_AT_ONCE = 50
"""Messages of one transaction: the intake waits for the lock meanwhile."""
_LISTED = 20

# Built once: they are asked whenever a run has done something, and building one costs more than carrying it out.
_OVER = and_(
    deliveries.c.state == DeliveryState.HELD,
    or_(deliveries.c.next_at <= bindparam("now"), deliveries.c.created_at > bindparam("now")),
)
"""What is held, and whose window has passed; or the clock was set back."""
_ANY = union_all(
    select(literal(1)).where(exists().where(outbox.c.routed_at.is_(None))),
    select(literal(1)).where(exists().where(_OVER)),
)
_KINDS_OVER = select(deliveries.c.channel, deliveries.c.kind).where(_OVER).distinct().order_by(deliveries.c.channel)


class Router:
    """Turns messages into deliveries. There is one, so that two messages never pass a limit together."""

    def __init__(self, settings: NotifySettings, channels: Sequence[Channel]) -> None:
        self._settings = settings
        self._channels = {channel.name: channel for channel in channels}

    def waits(self, connection: Connection, now: datetime) -> bool:
        """Whether there is anything to decide; only reads."""
        return connection.execute(_ANY, {"now": now}).first() is not None

    def forget_removed(self, connection: Connection, now: datetime) -> None:
        """Give up what waits for a channel that the site does not have any more."""
        connection.execute(
            deliveries.update()
            .where(
                deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.HELD]),
                deliveries.c.channel.not_in(self._channels),
            )
            .values(state=DeliveryState.DEAD, next_at=None, settled_at=now, error="platform.yml has no such channel")
        )

    def route(self, connection: Connection, now: datetime) -> None:
        """Release what was held long enough, then decide about new messages. All in the caller's transaction."""
        for channel, kind in connection.execute(_KINDS_OVER, {"now": now}).all():
            self._release(connection, channel, MessageKind(kind), now)
        fresh = connection.execute(
            select(outbox).where(outbox.c.routed_at.is_(None)).order_by(outbox.c.id).limit(_AT_ONCE)
        ).all()
        new = [delivery for row in fresh for delivery in self._route_one(connection, row, now)]
        if new:
            connection.execute(deliveries.insert(), new)
        connection.execute(outbox.update().where(outbox.c.id.in_([row.id for row in fresh])).values(routed_at=now))

    def _route_one(self, connection: Connection, row: Row[Any], now: datetime) -> Iterator[JsonObject]:
        kind, rank = MessageKind(row.kind), self._settings.rank(row.severity)
        for channel in self._channels.values():
            if row.channel in (None, channel.name) and channel.takes(kind, rank, row.message):
                held_until = self._held_until(connection, channel, kind, rank, now) if channel.limited else None
                state = DeliveryState.PENDING if held_until is None else DeliveryState.HELD
                yield _delivery(row.id, channel.name, kind, state, now, held_until or now)

    def _held_until(
        self, connection: Connection, channel: Channel, kind: MessageKind, rank: int, now: datetime
    ) -> datetime | None:
        limit = self._settings.limits.of(kind)
        if limit is None:
            return None
        here = and_(telling_windows.c.channel == channel.name, telling_windows.c.kind == kind)
        window = connection.execute(select(telling_windows).where(here)).one_or_none()
        # A window that opens later than now: the clock was set back.
        if window is None or now >= window.ends_at or now < window.opened_at:
            self._open(connection, channel.name, kind, rank, now)
            return None
        if window.told < limit.messages or rank > window.highest:
            connection.execute(
                telling_windows.update().where(here).values(told=window.told + 1, highest=max(window.highest, rank))
            )
            return None
        ends_at: datetime = window.ends_at
        return ends_at

    def _open(self, connection: Connection, channel: str, kind: MessageKind, rank: int, now: datetime) -> None:
        limit = self._settings.limits.of(kind)
        here = and_(telling_windows.c.channel == channel, telling_windows.c.kind == kind)
        connection.execute(telling_windows.delete().where(here))
        if limit is not None:
            ends_at = now + timedelta(seconds=limit.seconds)
            connection.execute(
                telling_windows.insert().values(
                    channel=channel, kind=kind, opened_at=now, ends_at=ends_at, told=1, highest=rank
                )
            )

    def _release(self, connection: Connection, channel: str, kind: MessageKind, now: datetime) -> None:
        """Tell of what was held: one message as it is, several in a summary; either opens the next window."""
        held = and_(
            deliveries.c.state == DeliveryState.HELD, deliveries.c.channel == channel, deliveries.c.kind == kind
        )
        both = deliveries.join(outbox, outbox.c.id == deliveries.c.message_id)
        rows = connection.execute(
            select(outbox, incidents.c.outcome)
            .select_from(both.outerjoin(incidents, incidents.c.id == outbox.c.incident_id))
            .where(held)
            .order_by(outbox.c.id)
            .limit(_LISTED)
        ).all()
        count = connection.execute(select(func.count()).select_from(deliveries).where(held)).scalar_one()
        severities = connection.execute(select(outbox.c.severity).select_from(both).where(held).distinct()).scalars()
        severity = max(severities, key=self._settings.rank)
        self._open(connection, channel, kind, self._settings.rank(severity), now)
        if count == 1:
            connection.execute(deliveries.update().where(held).values(state=DeliveryState.PENDING, next_at=now))
            return
        summary = connection.execute(
            outbox.insert()
            .values(
                key=f"held:{channel}:{kind}:{rows[0].id}:{now.isoformat()}",
                kind=kind,
                severity=severity,
                channel=channel,
                message=_summary(kind, severity, rows, count, self._settings.incident_url),
                created_at=now,
                routed_at=now,
            )
            .returning(outbox.c.id)
        ).scalar_one()
        connection.execute(
            deliveries.update()
            .where(held)
            .values(state=DeliveryState.SUMMARISED, summary_id=summary, next_at=None, settled_at=now)
        )
        connection.execute(
            deliveries.insert().values(_delivery(summary, channel, kind, DeliveryState.PENDING, now, now))
        )


def _delivery(
    message: int, channel: str, kind: MessageKind, state: DeliveryState, now: datetime, next_at: datetime
) -> JsonObject:
    return {
        "message_id": message,
        "channel": channel,
        "kind": kind,
        "state": state,
        "tries": 0,
        "created_at": now,
        "next_at": next_at,
    }


_WANTED = {
    MessageKind.ESCALATION: "that want a human",
    MessageKind.REFUSED: "of something that UICI may not do",
    MessageKind.PROPOSAL: "with a proposal",
    MessageKind.APPROVAL: "that ask for approval",
    MessageKind.CONFIGURATION_REJECTED: "of a configuration that was rejected",
    MessageKind.OUTCOME: "of how something ended",
}


def _summary(
    kind: MessageKind, severity: str, rows: Sequence[Row[Any]], count: int, incident_url: str | None
) -> JsonObject:
    since = f"{rows[0].created_at:%H:%M} UTC"
    return {
        "kind": kind,
        "severity": severity,
        "title": f"{count} more messages since {since} {_WANTED[kind]}",
        "why": "they were held back, so that one message does not hide among many",
        "held": [
            {
                "id": row.id,
                "at": f"{row.created_at:%H:%M}",
                "title": row.message.get("title", ""),
                "incident": row.incident_id,
                "place": (row.message.get("where") or {}).get("place", ""),
                "outcome": row.outcome,
                "run": row.run_id,
                "url": incident_url.format(incident=row.incident_id) if incident_url and row.incident_id else None,
            }
            for row in rows
        ],
        "held_count": count,
        "held_more": count - len(rows),
        "what_to_do": ["see all that is open: uici incidents --state open", "see what was held: uici notify status"],
    }
