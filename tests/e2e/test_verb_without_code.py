"""A verb that is written while UICI runs: the next alert uses it; a broken one is told, and changes nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path

from tests.e2e.server import Server, alert, payload, write_site
from tests.real.docker import IMAGE, DockerEngine
from tests.real.kubernetes import RealCluster, deployment
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

POLICIES: JsonObject = {
    "autonomy": "auto",
    "cooldown": {"seconds": 0},
    "risk": {"auto_approve_up_to": "high"},
    "blast_radius": {"min_healthy": 0},
}
VERIFY: JsonObject = {"within": 20, "stable_for": 0, "confirm_within": 0, "interval": 0.1}
BODY = """
operation:
  summary: Leave a mark on the service, as only this test does
  risk: high
  mutates: true
  parameters: {mark: {type: string, pattern: "^[a-z0-9-]{1,40}$"}}
  required: [mark]
  reversible: false
  irreversible_because: a mark is left once and for all
translations:
"""
ON_DOCKER = """
  docker:
    calls:
      - {id: found, call: engine.request, arguments: {target: "${target}", method: GET, path: [containers, "${target.container}", json]}}
      - {call: container.exec, arguments: {target: "${target}", argv: [touch, "${parameters.mark}"], expect_exit: [0]}}
      - call: engine.request
        arguments: {target: "${target}", method: GET, path: [containers, "${calls.found.body.Id}", json]}
        until: [{field: body.State.Running, equals: true}]
        within_seconds: 20
  local: {unsupported: a program has no files of its own}
tests:
  - {name: a mark is needed, platform: docker, target: {container: web}, error: is required}
"""  # noqa: E501 - as people write it
ON_KUBERNETES = """
  kubernetes:
    calls:
      - {id: found, call: kubernetes.request, arguments: {target: "${target}", verb: get, kind: Deployment, name: "${target.name}"}}
      - call: kubernetes.request
        arguments:
          target: ${target}
          verb: patch
          kind: Deployment
          name: ${calls.found.body.metadata.name}
          body: {metadata: {annotations: {uici.dev/mark: "${parameters.mark}"}}}
      - call: kubernetes.request
        arguments: {target: "${target}", verb: get, kind: Deployment, name: "${target.name}"}
        until: [{field: 'body.metadata.annotations["uici.dev/mark"]', equals: "${parameters.mark}"}]
        within_seconds: 20
  local: {unsupported: a program has no annotations}
  docker: {unsupported: a container has no annotations}
tests:
  - {name: a mark is needed, platform: kubernetes, target: {kind: Deployment, name: web}, error: is required}
"""  # noqa: E501 - as people write it


def the_whole_promise(
    folder: Path, environment: JsonObject, binding: JsonObject, verb: str, seen: Callable[[], set[str]]
) -> None:
    config = write_site(
        folder / "site",
        platform={"catalogue": {"reload_seconds": 0.1}},
        environments={"default": "place", "environments": {"place": environment}},
        targets={"targets": {"web": {"bindings": {"place": binding}}}},
        policies=POLICIES,
    )
    with Server(config) as server:
        pid = server.process.pid
        assert "no rule" in fire(server)["reason"]
        assert seen() == set()

        # Written while it runs, posted nowhere.
        written = config / "operations" / "leave_mark.yml"
        written.parent.mkdir()
        written.write_text(BODY + verb)
        until(lambda: "leave_mark" in names(server), "the new verb", server.tail)
        (config / "strategies.yml").write_text(json.dumps({"strategies": {"stuck": strategy("first")}}))
        until(lambda: "stuck" in rules(server), "the new strategy", server.tail)
        incident = fire(server)
        assert incident["outcome"] == "healed", server.explain(incident["run"])
        assert seen() == {"first"}

        # Broken: told with file, line and column; what was in force stays so, and serves the next alert.
        line = 1 + next(number for number, text in enumerate((BODY + verb).splitlines()) if "until:" in text)
        written.write_text((BODY + verb).replace("until: [{field: ", "until: [{feld: "))
        until(lambda: server.get("/configuration")["rejected"] is not None, "the refusal", server.tail)
        places = [each["where"] for each in server.get("/configuration")["rejected"]["problems"]]
        assert any(place.startswith(f"{written}:{line}:") for place in places), places
        assert server.ready()
        again = fire(server)
        assert again["outcome"] == "healed", server.explain(again["run"])
        assert "leave_mark" in names(server)

        # Mended, and other than before: the alert after that has it.
        written.write_text((BODY + verb).replace("Leave a mark", "Leave the other mark"))
        (config / "strategies.yml").write_text(json.dumps({"strategies": {"stuck": strategy("second")}}))
        until(lambda: server.get("/configuration")["rejected"] is None, "the mended verb", server.tail)
        until(
            lambda: "other mark" in str(server.get("/operations/leave_mark")), "the mended verb in force", server.tail
        )
        assert fire(server)["outcome"] == "healed"
        assert "second" in seen()
        assert server.process.pid == pid


def strategy(mark: str) -> JsonObject:
    step = {"operation": "leave_mark", "parameters": {"mark": mark}}
    remedy = {"name": "mark_it", "steps": [step], "verify": VERIFY}
    return {"match": ['alertname="Stuck"'], "remedies": [remedy]}


def fire(server: Server) -> JsonObject:
    """The incident of one more alert, once it is closed."""
    sent = server.send(payload(alert("Stuck", "web", fingerprint=secrets.token_hex(8))))
    identifier = sent.json()["incidents"][0]["id"]
    until(lambda: server.get(f"/incidents/{identifier}")["state"] == "closed", "the incident's end", server.tail)
    found: JsonObject = server.get(f"/incidents/{identifier}")
    return found


def names(server: Server) -> set[str]:
    return {each["name"] for each in server.get("/operations")["operations"]}


def rules(server: Server) -> str:
    """What changed with the last configuration."""
    answer = server.http.get(
        "/api/v1/events", headers={**server.headers(Role.VIEWER), "Accept": "application/json"}, params={"limit": 500}
    )
    return str([each["data"] for each in answer.json()["events"] if each["type"] == "uici.configuration_reloaded"])


def test_on_docker(tmp_path: Path, docker_engine: DockerEngine) -> None:
    client = docker_engine.client()
    name = f"uici-marked-{secrets.token_hex(4)}"
    made = client.create_container(
        f"{IMAGE}:good", name=name, working_dir="/tmp/marks", host_config=client.create_host_config(network_mode="none")
    )["Id"]

    def seen() -> set[str]:
        listed = client.exec_create(made, ["ls", "/tmp/marks"])
        return set(client.exec_start(listed["Id"]).decode().split())

    try:
        client.start(made)
        place: JsonObject = {"platform": "docker", "connection": {"base_url": docker_engine.url}}
        the_whole_promise(tmp_path, place, {"container": name}, ON_DOCKER, seen)
    finally:
        client.remove_container(made, force=True)
        client.close()


def test_on_kubernetes(tmp_path: Path, real_cluster: RealCluster, namespace: str) -> None:
    real_cluster.apply(deployment(namespace, "web"))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=90s")
    marks: set[str] = set()

    def seen() -> set[str]:
        annotations = real_cluster.get("-n", namespace, "deployment", "web")["metadata"]["annotations"]
        marks.update({annotations["uici.dev/mark"]} if "uici.dev/mark" in annotations else ())
        return marks

    place = {"platform": "kubernetes", "connection": real_cluster.connection | {"namespace": namespace}}
    the_whole_promise(
        tmp_path, place, {"kind": "Deployment", "name": "web", "namespace": namespace}, ON_KUBERNETES, seen
    )
