"""How things ended is told to those who asked for it, and to nobody else."""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.notify_rig import Heard, listening
from tests.integration.runs_rig import POLICIES, alert, closed, running, send, site, told
from tests.waiting import until
from uici.store.outbox import DeliveryState
from uici.store.schema import deliveries

LADDER = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - name: restart
        steps: [restart_service]
        verify: {within: 0.5, stable_for: 0.1, confirm_within: 0, interval: 0.1}
"""


def channels(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PEOPLE", f"json://127.0.0.1:{heard.port}/people")
    monkeypatch.setenv("STATISTICS", f"json://127.0.0.1:{heard.port}/statistics")
    return """
notify:
  channels:
    people: {url: "${env:PEOPLE}"}
    statistics: {url: "${env:STATISTICS}", kinds: [outcome]}
    both: {url: "${env:STATISTICS}", kinds: [outcome, escalation]}
"""


def test_outcomes_go_to_those_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.service("bad").healthy_when_running = False
    with listening() as heard:
        platform = channels(heard, monkeypatch)
        config = site(tmp_path / "c", "good", "bad", strategies=LADDER, policies=POLICIES, platform=platform)
        with running(config, world) as application:
            healed = closed(application, send(application, alert("good")))
            assert healed["outcome"] == "healed", healed["reason"]
            failed = closed(application, send(application, alert("bad")))
            assert failed["outcome"] == "escalated", failed["reason"]

            def sent() -> dict[str, list[str]] | None:
                with application.store.read() as connection:
                    rows = connection.execute(select(deliveries).order_by("message_id")).all()
                assert {row.state for row in rows} <= {DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.HELD}
                if any(row.state == DeliveryState.PENDING for row in rows):
                    return None
                names = "people", "statistics", "both", "log"
                found = {name: [row.kind for row in rows if row.channel == name] for name in names}
                return found if found["statistics"] == ["outcome"] * 2 else None

            kinds = until(sent, "both outcomes to be sent")
    assert kinds == {
        "people": ["escalation"],
        "statistics": ["outcome", "outcome"],
        "both": ["outcome", "escalation"],
        "log": ["escalation"],
    }
    titles = [request.json()["title"] for request in heard.requests if request.path == "/statistics"]
    assert any("UICI healed it with restart, after" in title for title in titles)


def test_without_a_wish_no_outcome_is_written(tmp_path: Path) -> None:
    with running(site(tmp_path / "c", "good", strategies=LADDER), World()) as application:
        assert closed(application, send(application, alert("good")))["outcome"] == "healed"
        assert told(application) == []
