"""Bodies that the service refuses: their senders do not send them again, so people are told."""

from __future__ import annotations

from uici.model.errors import Problem
from uici.model.settings import MessageKind
from uici.notify.messages import body_message
from uici.runs.services import Services
from uici.store.outbox import enqueue


class Refusals:
    """Tells people of bodies that were refused."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def oversized(self, sender: str, size: int | None) -> None:
        """A body was refused for its size, so its alerts are unknown to us: people are told."""
        self._body_refused(
            sender,
            "too large",
            f"it has {size or 'an unknown number of'} bytes; set max_alerts in Alertmanager's receiver, or raise "
            "service.max_body_bytes in platform.yml",
            size,
        )

    def malformed(self, sender: str, problem: Problem) -> None:
        """A body could not be understood. Its sender does not send it again after a 400: people are told."""
        self._body_refused(sender, "malformed", f"{problem.detail}{f' (at {problem.where})' if problem.where else ''}")

    def _body_refused(self, sender: str, how: str, why: str, size: int | None = None) -> None:
        now = self._services.clock.now()
        with self._services.events.writing() as connection:
            self._services.events.append(connection, "body_refused", sender=sender, how=how, why=why, size=size)
            enqueue(
                connection,
                f"body:{how}:{sender}:{now:%Y-%m-%dT%H}",  # once an hour: a sender that is wrong is wrong often
                MessageKind.ESCALATION,
                body_message(sender, how, why),
                now,
            )
