"""What people get beside the bare facts: advice, words and links of the alert, and a proposed change as a patch."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, closed, run_of, running, send, site, told
from tests.waiting import until

STRATEGIES = """
strategies:
  busy:
    match: ['alertname="Busy"']
    diagnose: [get_service_status, check_service_health]
    remedies:
      - name: restart
        when: {all: [not_running]}
        steps: [restart_service]
      - name: ask_later
        when: {all: [fires_while_healthy]}
        steps:
          - operation: propose_change
            parameters:
              file: rules/services.yml
              rule: "${labels.alertname}"
              current: "for: 5m"
              proposed: "for: 15m"
              because: it was well all the time
  ask:
    match: ['alertname="Odd"']
    action: escalate
    advice: ["look at the third shelf", "then call Bob"]
  anywhere:
    match: ['alertname="Lost"']
    diagnose: [get_service_status]
    remedies: [{name: restart, steps: [restart_service]}]
    advice: ["find out whose it is"]
"""


class Clock:
    """The machine's clock, some time ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def test_an_alert_that_fires_while_all_is_well_ends_in_a_proposal(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    world.service("web").state = "running"
    with running(site(tmp_path / "site", "web", strategies=STRATEGIES), world, clock) as application:
        accepted = send(application, alert("web", "Busy", starts=clock.now()))
        until(lambda: run_of(application, accepted)["waiting_for"] == "silence", "the wait for silence")
        assert told(application) == []
        clock.ahead += timedelta(minutes=11)
        incident = closed(application, accepted)
        (message,) = told(application)
    assert (incident["outcome"], world.changes("web")) == ("escalated", [])
    assert message["kind"] == "proposal"
    patch = "--- a/rules/services.yml\n+++ b/rules/services.yml\n@@ -1 +1 @@\n-for: 5m\n+for: 15m\n"
    assert message["patch"] == patch
    (event,) = [item["data"] for item in incident["timeline"] if item["type"] == "change_proposed"]
    assert (event["patch"], event["rule"], event["because"]) == (patch, "Busy", "it was well all the time")


def test_advice_and_links_come_with_the_message(tmp_path: Path) -> None:
    hostile = "\x1b[2Jpage me" + "!" * 100_000
    annotations = {
        "summary": "the shelf is odd",
        "description": hostile,
        "runbook_url": "https://wiki/odd",
        "dashboard": "javascript:alert(1)",
    }
    with running(site(tmp_path / "site", "web", strategies=STRATEGIES), World()) as application:
        odd = alert("web", "Odd", starts=datetime.now(UTC))
        odd = dataclasses.replace(odd, annotations=annotations, generator_url="http://p:9090/graph?g0.expr=odd")
        incident = closed(application, send(application, odd))
        # People are told what to do also where no target was found, so that no strategy was ever chosen.
        lost = closed(application, send(application, alert("nobody", "Lost", starts=datetime.now(UTC))))
        first, second = told(application)
    links = [
        {"name": "runbook", "url": "https://wiki/odd"},
        {"name": "query", "url": "http://p:9090/graph?g0.expr=odd"},
    ]
    assert first["what_to_do"][:2] == ["look at the third shelf", "then call Bob"]
    for shown in (first, incident):
        assert shown["links"] == links
        assert shown["annotations"]["summary"] == "the shelf is odd"
        assert shown["annotations"]["description"].startswith("[2Jpage me!!!")
        assert len(shown["annotations"]["description"]) <= 1000
    assert all(len(value) <= 1000 for value in incident["alerts"][0]["annotations"].values())
    assert lost["reason"].startswith("no_target")
    assert second["what_to_do"][0] == "find out whose it is"
