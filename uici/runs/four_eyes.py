"""Who asked for something destructive does not allow it too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from uici.access.roles import same_person
from uici.model.call import Risk
from uici.model.errors import Problem, ProblemKind
from uici.store.schema import alerts


def refuse_requester(connection: Connection, run: Row[Any], risk: Risk, approver: str) -> None:
    """Raises Problem where the approver of a destructive plan is who brought it about.

    That is who gave the plan or started the run, and who reported an alert of its incident.
    """
    if risk is not Risk.DESTRUCTIVE:
        return
    for requester in _requesters(connection, run):
        if same_person(requester, approver):
            raise Problem(
                ProblemKind.FORBIDDEN,
                "four_eyes",
                f"{requester} asked for this destructive plan, so another person has to allow it",
                hint="have it approved by somebody else; credentials of one name or one subject are one person's",
            )


def _requesters(connection: Connection, run: Row[Any]) -> Iterator[str]:
    if run.actor:
        yield run.actor
    if run.incident_id is not None:
        found = connection.execute(select(alerts.c.sender).where(alerts.c.incident_id == run.incident_id).distinct())
        yield from (sender for sender in found.scalars() if sender)
