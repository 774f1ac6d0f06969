"""A dead database with four dependents, real programs under supervisord: only the database is acted on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.local_ground import LocalGround, local_ground, program
from tests.e2e.server import alert, payload, resolved
from tests.real.components import free_port
from tests.waiting import until
from uici.model.base import JsonObject

LISTENER = "import socket as s, time; l = s.create_server(('127.0.0.1', {port})); time.sleep(10000)"
DEPENDENTS = ("shop", "checkout", "search", "mail")
# The shipped ladders are not what this is about: here everything that fires is started or restarted at once.
STRATEGIES: JsonObject = {
    "strategies": {
        "down": {
            "match": ['alertname="Down"'],
            "diagnose": ["get_service_status"],
            "remedies": [
                {
                    "name": "restart",
                    "steps": ["restart_service"],
                    "verify": {"within": 30, "stable_for": 0.1, "interval": 0.1, "confirm_within": 120},
                }
            ],
        }
    }
}
POLICIES: JsonObject = {
    "autonomy": "auto",
    "cooldown": {"seconds": 0},
    "blast_radius": {"max_concurrent": 100, "max_per_hour": 1000, "min_healthy": 0},
    "dependencies": {"correlation_seconds": 1, "wait_seconds": 600, "recover_seconds": 60},
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGround]:
    folder = tmp_path_factory.mktemp("dependents")
    port = free_port()
    targets = {"database": program("database")}
    targets["database"]["bindings"]["local"]["command"] = [sys.executable, "-S", "-c", LISTENER.format(port=port)]
    # Healthy only while the database answers, as a service that asks it for everything.
    probe = {"tcp": f"127.0.0.1:{port}"}
    targets["database"]["bindings"]["local"]["health"] = probe
    for name in DEPENDENTS:
        targets[name] = program(name, depends_on=["database"])
        targets[name]["bindings"]["local"]["health"] = probe
    # A dependent of a dependent.
    targets["checkout"]["depends_on"] = ["shop"]
    with local_ground(folder, targets, policies=POLICIES, strategies=STRATEGIES) as ground:
        ground.start("database", *DEPENDENTS)
        yield ground


def _waits(ground: LocalGround, run: str) -> bool:
    return str(ground.uici.get(f"/runs/{run}")["waiting_for"] or "").startswith("dependency ")


def _closed(ground: LocalGround, incident: str) -> bool:
    return bool(ground.uici.get(f"/incidents/{incident}")["state"] == "closed")


def test_only_the_database_is_acted_on(ground: LocalGround) -> None:
    spawned = {name: ground.spawned(name) for name in DEPENDENTS}
    processes = {name: ground.process(name) for name in DEPENDENTS}
    before = ground.spawned("database")
    ground.kill("database")
    # The alerts of the services come first, as they often do.
    firing = {name: alert("Down", name, fingerprint=f"{number:016x}") for number, name in enumerate(DEPENDENTS, 0xD0)}
    answer = ground.uici.send(payload(*firing.values()))
    assert answer.status_code == 202, answer.text
    incidents = {incident["target"]: incident["id"] for incident in answer.json()["incidents"]}
    runs = {name: ground.uici.get(f"/incidents/{incidents[name]}")["run"] for name in DEPENDENTS}
    for name, run in runs.items():
        until(partial(_waits, ground, run), f"{name} to wait", partial(ground.uici.explain, run))
    root = alert("Down", "database", fingerprint="00000000000000dd")
    (database,) = ground.uici.send(payload(root)).json()["incidents"]
    run = ground.uici.get(f"/incidents/{database['id']}")["run"]
    until(lambda: ground.process("database"), "the database's new process", partial(ground.uici.explain, run))
    ended = payload(resolved(root), *(resolved(each) for each in firing.values()))
    assert ground.uici.send(ended).status_code == 202
    assert ground.uici.ended(run)["outcome"] == "healed"
    for name in DEPENDENTS:
        until(partial(_closed, ground, incidents[name]), f"the end of {name}", partial(ground.uici.explain, runs[name]))
        document = ground.uici.get(f"/incidents/{incidents[name]}")
        assert document["outcome"] == "self_resolved", json.dumps(document, indent=1)
        assert "nothing was done here" in document["reason"]
    # The supervisor's own word: nothing but the database was started, and every other process is the one it was.
    assert ground.spawned("database") == before + 1
    assert {name: ground.spawned(name) for name in DEPENDENTS} == spawned
    assert {name: ground.process(name) for name in DEPENDENTS} == processes
    assert [message for message in ground.messages if message["kind"] == "escalation"] == []


def test_the_documents_example_loads_and_orders(tmp_path: Path) -> None:
    """docs/storms.md shows a chain of three; what it means is held here."""
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import load_site
    from uici.model.topology import Place, topology_of

    text = (Path(__file__).parents[2] / "docs/storms.md").read_text()
    (tmp_path / "targets.yml").write_text(text.split("```yaml\n")[1].split("```")[0])
    topology = topology_of(load_site(tmp_path, executors=discover_executors()))
    names = [place.target for place in topology.needs(Place("local", "checkout"))]
    assert names == ["database", "shop"]
