"""A flood of alerts without a target, and quiet targets beside it: how long those wait, in turns, not in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from uici.runs.due import due_runs
from uici.store.database import Store
from uici.store.schema import runs

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ROOM = 4


def row(name: str, target: str | None, due: datetime) -> dict[str, object]:
    return {
        "id": name,
        "environment": "local",
        "target": target,
        "origin": "rule",
        "state": "waiting",
        "stage": "target",
        "part": 0,
        "due_at": due,
        "data": {},
        "created_at": due,
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flood=st.integers(0, 60), quiet=st.integers(1, 8), joining=st.integers(0, 12))
def test_a_quiet_target_waits_only_for_the_targets_before_it(
    tmp_path: Path, flood: int, quiet: int, joining: int
) -> None:
    """In each round `joining` more of the flood come, and who was served is due again, as those that look do."""
    store = Store(f"sqlite:///{tmp_path / 'fair.db'}")
    store.migrate()
    now = BEGIN
    with store.write() as connection:
        connection.execute(delete(runs))
        rows = [row(f"flood{number}", None, BEGIN - timedelta(hours=1)) for number in range(flood)]
        rows += [row(f"quiet{number}", f"svc{number}", BEGIN) for number in range(quiet)]
        connection.execute(runs.insert(), rows)
    served: dict[str, int] = {}
    for turn in range(1, quiet + 2):
        now += timedelta(seconds=1)
        with store.write() as connection:
            chosen = [due.id for _, due in zip(range(ROOM), due_runs(connection, now, "local", ROOM), strict=False)]
            for name in chosen:
                served.setdefault(name, turn)
                connection.execute(update(runs).where(runs.c.id == name).values(due_at=now))
            more = [row(f"flood{turn}-{number}", None, BEGIN - timedelta(hours=1)) for number in range(joining)]
            if more:
                connection.execute(runs.insert(), more)
    store.close()
    for number in range(quiet):
        bound = number // (ROOM // 2) + 1
        assert served[f"quiet{number}"] <= bound, f"{number} targets were due before it, of which {ROOM // 2} a turn go"
