"""What people may ask of the messages themselves: what waits, what is held, what could not be delivered; and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from uici.events.log import EventLog
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.masking import mask
from uici.model.settings import NotifySettings
from uici.notify.channels import Channel
from uici.notify.delivery import Sending
from uici.ports import Clock
from uici.store.database import Store
from uici.store.outbox import DeliveryState
from uici.store.schema import deliveries, outbox, telling_windows

_SHOWN = (DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.PENDING)


class Notifications:
    """The messages of one site. Every method raises Problem for what cannot be done."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        clock: Clock,
        channels: Sequence[Channel],
        settings: NotifySettings,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._channels = {channel.name: channel for channel in channels}
        self._settings = settings
        self._wake = wake

    def status(self, limit: int) -> JsonObject:
        """Each channel with its counts, and the messages that are dead, held or pending, oldest first of each state."""
        with self._store.read() as connection:
            counts = self._counts(connection)
            windows = connection.execute(select(telling_windows).order_by("channel", "kind")).all()
            last = {
                row.channel: row.at
                for row in connection.execute(
                    select(deliveries.c.channel, func.max(deliveries.c.settled_at).label("at"))
                    .where(deliveries.c.state == DeliveryState.SENT)
                    .group_by(deliveries.c.channel)
                )
            }
            messages = [
                item for state in _SHOWN for item in connection.execute(self._of_state(state).limit(limit)).all()
            ]
        now = self._clock.now()
        names = [*self._channels, *sorted({name for name, _ in counts} - set(self._channels))]
        return {
            "channels": [
                {
                    "name": name,
                    "configured": name in self._channels,
                    "kinds": sorted(self._channels[name].kinds) if name in self._channels else [],
                    "severity": self._channels[name].severity if name in self._channels else None,
                    **{state.value: counts.get((name, state), 0) for state in DeliveryState},
                    "last_accepted_at": last[name].isoformat() if name in last else None,
                }
                for name in names
            ],
            "windows": [
                {
                    "channel": row.channel,
                    "kind": row.kind,
                    "opened_at": row.opened_at.isoformat(),
                    "ends_at": row.ends_at.isoformat(),
                    "told": row.told,
                }
                for row in windows
                if row.opened_at <= now < row.ends_at
            ],
            "messages": [_shown(row) for row in messages],
        }

    def summary(self) -> str:
        """One sentence for whoever looks whether UICI is well."""
        with self._store.read() as connection:
            # Only what is not settled well: whoever asks here needs no token, and what was sent grows for ever.
            unsettled = select(deliveries.c.state, func.count()).where(deliveries.c.state.in_(_SHOWN))
            totals = {state: count for state, count in connection.execute(unsettled.group_by(deliveries.c.state))}
            oldest = connection.execute(
                select(func.min(deliveries.c.settled_at)).where(deliveries.c.state == DeliveryState.DEAD)
            ).scalar_one_or_none()
        said = []
        if totals.get(DeliveryState.DEAD):
            said.append(
                f"{totals[DeliveryState.DEAD]} could not be delivered, the first given up {oldest:%Y-%m-%d %H:%M} UTC; "
                "see: uici notify status"
            )
        if totals.get(DeliveryState.PENDING):
            said.append(f"{totals[DeliveryState.PENDING]} waiting to be sent")
        if totals.get(DeliveryState.HELD):
            said.append(f"{totals[DeliveryState.HELD]} held back for a summary")
        return "; ".join(said) or "all delivered"

    def retry(self, ids: Sequence[int] | None, actor: str) -> JsonObject:
        """Have dead messages tried again, as often as new ones: those named, or all for `None`."""
        now = self._clock.now()
        dead = deliveries.c.state == DeliveryState.DEAD
        with self._events.writing() as connection:
            if ids is not None:
                self._refuse_unknown(connection, ids)
                dead &= deliveries.c.message_id.in_(ids)
            dead &= deliveries.c.channel.in_(self._channels)
            rows = connection.execute(
                select(deliveries.c.message_id, deliveries.c.channel).where(dead).order_by(deliveries.c.message_id)
            ).all()
            if ids is not None and not rows:
                raise Problem(
                    ProblemKind.CONFLICT,
                    "nothing_dead",
                    "none of these messages was given up on a channel that there still is",
                    where="ids",
                    hint="uici notify status shows the state of each",
                )
            connection.execute(
                deliveries.update()
                .where(dead)
                .values(state=DeliveryState.PENDING, tries=0, next_at=now, settled_at=None)
            )
            again = [{"id": row.message_id, "channel": row.channel} for row in rows]
            if again:
                self._events.append(connection, "notifications_retried", actor=actor, messages=again)
        self._wake()
        return {"retried": again}

    def test(self, name: str | None, actor: str) -> JsonObject:
        """Send a message that wants nothing to one channel, or to all at once; says what each receiver made of it."""
        if name is not None and name not in self._channels:
            raise Problem(
                ProblemKind.NOT_FOUND,
                "unknown_channel",
                f"there is no channel {name!r}{did_you_mean(name, self._channels)}",
                where="channel",
                allowed=tuple(self._channels),
                hint="channels stand in platform.yml below notify.channels, and are read when uici starts",
            )
        chosen = [self._channels[name]] if name is not None else list(self._channels.values())
        sent_at = self._clock.now()
        message: JsonObject = mask(
            {
                "id": None,
                "kind": "test",
                "severity": "",
                "title": "this is a test of UICI's notifications",
                "why": f"{actor} asked for it",
                "what_to_do": ["nothing: whoever reads this would also be told at night"],
            }
        )
        under_way = [(channel, Sending(channel, message)) for channel in chosen]
        results = []
        for channel, sending in under_way:
            error = sending.result(self._settings.send_seconds)
            results.append({"channel": channel.name, "accepted": error is None, "error": error})
        with self._events.writing() as connection:
            self._events.append(connection, "notifications_tested", actor=actor, results=results)
        return {"sent_at": sent_at.isoformat(), "results": results}

    def _counts(self, connection: Connection) -> dict[tuple[str, str], int]:
        return {
            (row["channel"], row["state"]): row["count"]
            for row in connection.execute(
                select(deliveries.c.channel, deliveries.c.state, func.count().label("count")).group_by(
                    "channel", "state"
                )
            ).mappings().all()
        }  # fmt: skip

    def _of_state(self, state: DeliveryState) -> Any:
        return (
            select(deliveries, outbox.c.message, outbox.c.incident_id, outbox.c.severity)
            .join(outbox, outbox.c.id == deliveries.c.message_id)
            .where(deliveries.c.state == state)
            .order_by(deliveries.c.message_id, deliveries.c.channel)
        )

    def _refuse_unknown(self, connection: Connection, ids: Sequence[int]) -> None:
        known = set(connection.execute(select(outbox.c.id).where(outbox.c.id.in_(ids))).scalars())
        unknown = [str(each) for each in ids if each not in known]
        if unknown:
            raise Problem(
                ProblemKind.NOT_FOUND,
                "unknown_message",
                f"there is no message {', '.join(unknown)}",
                where="ids",
                hint="uici notify status lists the messages that were given up",
            )


def _shown(row: Any) -> JsonObject:
    shown: JsonObject = mask(
        {
            "id": row.message_id,
            "channel": row.channel,
            "kind": row.kind,
            "state": row.state,
            "severity": row.severity,
            "title": row.message.get("title", ""),
            "incident": row.incident_id,
            "created_at": row.created_at.isoformat(),
            "next_at": row.next_at.isoformat() if row.next_at is not None else None,
            "tries": row.tries,
            "error": row.error,
        }
    )
    return shown
