"""Through the whole machinery, on a real cluster: what never gets ready or done, owners in Git, and kill -9."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from tests.e2e.crashing import BOUNDARY
from tests.e2e.server import Server, alert, payload, write_site
from tests.integration.kubernetes_ground import binding, workload
from tests.integration.test_kubernetes_nodes import budget, on_node, running
from tests.real.components import REPOSITORY
from tests.real.kubernetes import RealCluster
from tests.real.kubernetes_node import played_node
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

ENTRY = "from tests.e2e.crashing import main; main()"
POLICIES: JsonObject = {"autonomy": "auto", "cooldown": {"seconds": 0}, "risk": {"auto_approve_up_to": "high"}}
QUICK = {"within": 30, "stable_for": 1, "confirm_within": 0, "interval": 0.2}


def site(folder: Path, cluster: RealCluster, target: JsonObject, **more: JsonObject) -> Path:
    environment = {"platform": "kubernetes", "connection": cluster.connection}
    return write_site(
        folder,
        environments={"default": "k8s", "environments": {"k8s": environment}},
        targets={"targets": {"web": {"bindings": {"k8s": target}}}},
        policies=POLICIES,
        **more,
    )


def described(server: Server) -> JsonObject:
    """The configuration by UICI's own look, without what only a moment has."""
    run = server.run_step("web", "describe_service", "k8s")
    headers = {**server.headers(Role.VIEWER), "Accept": "application/json"}
    answer = server.http.get("/api/v1/events", params={"run": run["id"]}, headers=headers)
    done = next(event for event in answer.json()["events"] if event["type"] == "uici.step_done")
    found: JsonObject = {name: value for name, value in done["data"]["result"].items() if name != "status"}
    return found


def started(server: Server, operation: str, **parameters: object) -> str:
    step = {"operation": operation, "target": "web", "parameters": parameters}
    plan = {"environment": "k8s", "steps": [step], "reason": "a change", "verify": QUICK}
    answer = server.post("/api/v1/runs", {"plan": plan})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def web(real_cluster: RealCluster, namespace: str) -> JsonObject:
    real_cluster.apply(workload("Deployment", namespace, "web", env=[{"name": "COLOUR", "value": "blue"}]))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=90s")
    return binding("Deployment", namespace, "web")


def image(cluster: RealCluster, target: JsonObject) -> str:
    found = cluster.get("-n", str(target["namespace"]), "deployment", "web")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_version_that_never_gets_ready_is_rolled_back(
    real_cluster: RealCluster, web: JsonObject, tmp_path: Path
) -> None:
    with Server(site(tmp_path / "site", real_cluster, web)) as server:
        before, good = described(server), image(real_cluster, web)
        run = server.ended(started(server, "deploy_version", version="absent"))
        assert run["verdict"] == "ineffective", server.explain(run["id"])
        assert "rollout_failed" in run["reason"]
        assert "ErrImageNeverPull" in run["reason"]
        assert [call["call"] for call in run["calls"]] == ["workload.deploy", "workload.deploy"]
        assert image(real_cluster, web) == good
        assert described(server) == before, json.dumps(run["changes"])
        assert server.run_step("web", "check_service_health", "k8s")["verdict"] == "effective"


@pytest.mark.timeout(400)
def test_a_sender_that_is_killed_while_it_waits_for_the_rollout_is_followed_to_the_end(
    real_cluster: RealCluster, web: JsonObject, tmp_path: Path
) -> None:
    server = Server(site(tmp_path / "site", real_cluster, web))
    try:
        server.start()
        good = image(real_cluster, web)
        run_id = started(server, "deploy_version", version="absent")
        until(lambda: image(real_cluster, web).endswith(":absent"), "the new version is being rolled out", server.tail)
        server.kill()
        server.start()
        # What it had sent is seen to have happened; that it does no good is judged as if nobody had died.
        until(lambda: bool(server.get(f"/runs/{run_id}")["calls"][0]["outcome"]), "the proof", server.tail)
        run = server.ended(run_id)
        assert run["verdict"] == "ineffective", server.explain(run_id)
        assert [call["outcome"] for call in run["calls"]] == ["proved_done", "done"], server.explain(run_id)
        assert image(real_cluster, web) == good
    finally:
        server.stop()
        server.http.close()


@pytest.mark.parametrize("boundary", ["call:announced", "call:performed"])
def test_a_change_that_was_cut_off_is_made_once(
    boundary: str, real_cluster: RealCluster, web: JsonObject, tmp_path: Path
) -> None:
    server = Server(site(tmp_path / "site", real_cluster, web), entry=ENTRY)
    try:
        server.start({BOUNDARY: boundary, "PYTHONPATH": str(REPOSITORY)})
        run_id = started(server, "set_configuration", environment={"COLOUR": "red"})
        until(lambda: server.process.poll() is not None, f"the crash at {boundary}", server.tail)
        server.start({"PYTHONPATH": str(REPOSITORY)})
        run = server.ended(run_id)
        expected = ["proved_done"] if boundary == "call:performed" else ["not_done", "done"]
        assert [call["outcome"] for call in run["calls"]] == expected, server.explain(run_id)
        assert run["verdict"] == "effective", server.explain(run_id)
        sets = real_cluster.get("-n", str(web["namespace"]), "replicasets")["items"]
        assert len(sets) == 2, "one for each configuration, so it was rolled out once"
    finally:
        server.stop()
        server.http.close()


def test_what_git_owns_is_left_to_people_with_the_reason(
    real_cluster: RealCluster, web: JsonObject, tmp_path: Path
) -> None:
    label = {"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}}
    real_cluster.kubectl("-n", str(web["namespace"]), "patch", "deployment", "web", "-p", json.dumps(label))
    configure = {"operation": "set_configuration", "parameters": {"environment": {"COLOUR": "red"}}}
    remedies = [
        {"name": "configure", "steps": [configure], "verify": QUICK},
        {"name": "roll_back", "steps": ["rollback_version"], "verify": QUICK},
    ]
    strategies = {"wrong": {"match": ['alertname="Wrong"'], "remedies": remedies}}
    before = real_cluster.get("-n", str(web["namespace"]), "deployment", "web")["metadata"]["generation"]
    with Server(site(tmp_path / "site", real_cluster, web, strategies={"strategies": strategies})) as server:
        sent = server.send(payload(alert("Wrong", "web", fingerprint=secrets.token_hex(8))))
        incident = sent.json()["incidents"][0]["id"]
        until(lambda: server.get(f"/incidents/{incident}")["state"] == "closed", "the incident is closed", server.tail)
        seen = server.get(f"/incidents/{incident}")
        run = server.ended(seen["run"])
    assert seen["outcome"] == "escalated"
    assert "gitops_owned" in seen["reason"]
    assert "Flux (Kustomization apps)" in seen["reason"]
    assert run["calls"] == [], "nothing was sent, neither this nor another remedy"
    assert real_cluster.get("-n", str(web["namespace"]), "deployment", "web")["metadata"]["generation"] == before


def test_a_drain_that_a_budget_blocks_is_undone(real_cluster: RealCluster, namespace: str, tmp_path: Path) -> None:
    with played_node(real_cluster, f"{namespace}-node") as node:
        real_cluster.apply(
            on_node(workload("Deployment", namespace, "web", 2), node), budget(namespace, real_cluster, 2)
        )
        until(lambda: len(running(node)) == 2, "both pods run")
        where = ("-n", namespace, "pdb", "keep")
        until(
            lambda: real_cluster.get(*where).get("status", {}).get("currentHealthy") == 2, "the budget has counted them"
        )
        with Server(site(tmp_path / "site", real_cluster, {"kind": "Node", "name": node.name})) as server:
            run = server.run_step("web", "drain_node", "k8s", timeout_seconds=4)
        assert "drain_blocked" in run["reason"], server.explain(run["id"])
        assert "disruption budget keep needs 2 healthy pods" in run["reason"]
        assert [call["call"] for call in run["calls"]] == ["node.drain", "node.uncordon"]
        # It had been cordoned for good when the drain was given up.
        assert [row["what"] for row in run["changes"]] == ["changed", "restored"]
        assert not real_cluster.get("node", node.name)["spec"].get("unschedulable", False)
        assert len(running(node)) == 2
