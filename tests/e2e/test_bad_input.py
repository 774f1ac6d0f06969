"""Bad input to a whole `uici serve`: a clear error, the right status, nothing lost, and nothing executed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.containers import Yard
from tests.e2e.local_ground import LocalGround, local_ground, program
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.docker import DockerEngine
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject, JsonValue

MAX_BODY = 500_000
WEBHOOK = "/webhooks/alertmanager"

HOSTILE = {
    "separator": "a; touch /tmp/uici-was-here",
    "substitution": "$(touch /tmp/uici-was-here)",
    "backticks": "`touch /tmp/uici-was-here`",
    "newline": "a\ntouch /tmp/uici-was-here",
    "option": "--privileged",
    "parent": "../../../etc/passwd",
    "template": "{{ 7 * 7 }}",
    "reference": "${env:HOME}",
    "own reference": "${parameters.version}",
    "supervisor's": "%(ENV_HOME)s",
    "nul": "a\x00b",
    "very long": "A" * 100_000,
}
# What an operation needs besides the parameter under test.
HARMLESS: JsonObject = {
    "application": "shop",
    "backend": "10.0.0.9:8080",
    "backend_set": "web",
    "because": "it fires too early",
    "claim": "data",
    "comment": "night shift",
    "current": "expr: up == 0",
    "diagnostic": "disk",
    "duration_seconds": 60,
    "file": "rules.yml",
    "finalizer": "example.com/hold",
    "index": "orders_by_day",
    "kustomization": "shop",
    "load_balancer": "ocid1.loadbalancer.oc1..a",
    "matchers": {"alertname": "Down"},
    "message": "hello",
    "name": "old",
    "pid": "77",
    "policy": "always",
    "primary": "redis-0",
    "proposed": "expr: up < 1",
    "query": "up",
    "replicas": 1,
    "resource": "persistentvolumeclaims",
    "rule": "Down",
    "seconds": 0,
    "secret": "web-tls",
    "silence": "0f4e8a52-silence",
    "size": 2,
    "state": "ready",
    "table": "orders",
    "version": "1.0",
    "weight": 5,
}
"""A value for each parameter that some verb requires."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGround]:
    targets = {"web": program("web")}
    service: JsonObject = {"service": {"max_body_bytes": MAX_BODY}}
    with local_ground(tmp_path_factory.mktemp("bad"), targets, platform=service, policies={"autonomy": "auto"}) as it:
        yield it


@pytest.fixture(scope="module")
def docked(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Yard]]:
    with Yard(docker_engine) as yard:
        web = yard.run("fuzzed")
        config = write_site(
            tmp_path_factory.mktemp("bad") / "site",
            environments={"default": "docker", "environments": {"docker": yard.environment()}},
            targets={"targets": {"web": {"bindings": {"docker": web.binding()}}}},
            policies={"autonomy": "auto"},
        )
        with Server(config) as uici:
            yard.forget()
            yield uici, yard


def problem(answer: httpx.Response, *statuses: int) -> JsonObject:
    """The problem that an answer holds, checked for form."""
    assert answer.status_code in statuses, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    document: JsonObject = answer.json()
    assert document["status"] == answer.status_code
    assert document["detail"]
    assert document["code"]
    return document


# --- the webhook ----------------------------------------------------------------------------------------------------

UNUSABLE = {
    "malformed": (b'{"version": "4", "alerts": [', "not_json"),
    "no JSON": (b"version=4", "not_json"),
    "deep lists": (b"[" * 50_000, "too_deep"),
    "deep and well formed": (b'{"version":"4","alerts":[],"x":' + b"[" * 100 + b"]" * 100 + b"}", "too_deep"),
}


@pytest.mark.parametrize(("content", "code"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_body_that_is_no_notification(ground: LocalGround, content: bytes, code: str) -> None:
    answer = ground.uici.http.post(WEBHOOK, content=content, headers=ground.uici.headers(Role.ALERTMANAGER))
    assert problem(answer, 400)["code"] == code
    assert ground.uici.get("/incidents")["incidents"] == []


def test_a_body_that_is_too_large_is_refused_and_people_are_told(ground: LocalGround) -> None:
    firing = alert("ServiceDown", "web", fingerprint="1a46e", padding="x" * MAX_BODY)
    answer = ground.uici.send(payload(firing))
    assert problem(answer, 413)["code"] == "body_too_large"
    assert ground.uici.get("/incidents")["incidents"] == []
    until(lambda: any("too large" in message["title"] for message in list(ground.messages)), "people to be told")
    (told,) = [message for message in ground.messages if "too large" in message["title"]]
    assert told["kind"] == "escalation"


@pytest.mark.parametrize("path", [WEBHOOK, "/api/v1/runs", "/api/v1/plans:preview", "/api/v1/freeze"])
def test_without_a_valid_token_nothing_is_heard(ground: LocalGround, path: str) -> None:
    body = payload(alert("ServiceDown", "web", fingerprint="70ce4"))
    uici = ground.uici
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"bearer {uici.tokens[Role.ADMIN]}x"},
        {"Authorization": f"Token {uici.tokens[Role.ADMIN]}"},
    ):
        answer = uici.http.post(path, json=body, headers=headers)
        problem(answer, 401)
        assert "Bearer" in answer.headers["www-authenticate"]
    assert uici.get("/incidents")["incidents"] == []
    assert not uici.get("/freeze")["frozen"]


def test_basic_auth_is_for_the_webhook_and_only_with_the_right_password(ground: LocalGround) -> None:
    uici = ground.uici
    token = uici.tokens[Role.ALERTMANAGER]
    watchdog = payload(alert("Watchdog", "none", fingerprint="ba51c"))
    for user, password, status in (
        ("alertmanager", token, 202),
        ("alertmanager", "wrong", 401),
        ("alertmanager", "", 401),
        ("somebody", token, 401),
        ("", token, 401),
    ):
        answer = uici.http.post(WEBHOOK, json=watchdog, auth=(user, password))
        assert answer.status_code == status, (user, answer.text)
    assert uici.http.post("/api/v1/freeze", json={}, auth=("alertmanager", uici.tokens[Role.ADMIN])).status_code == 401


def test_a_role_is_not_enough_for_what_is_above_it(ground: LocalGround) -> None:
    plan = {"steps": [{"operation": "start_service", "target": "web"}]}
    for role, path in (
        (Role.ALERTMANAGER, "/api/v1/runs"),
        (Role.VIEWER, "/api/v1/runs"),
        (Role.VIEWER, WEBHOOK),
        (Role.ALERTMANAGER, "/api/v1/freeze"),
    ):
        problem(ground.uici.post(path, {"plan": plan}, role), 403)


# --- plans ----------------------------------------------------------------------------------------------------------

BAD_STEPS: dict[str, tuple[JsonObject, str, str]] = {
    "unknown operation": ({"operation": "restart_servise"}, "unknown_operation", "restart_service"),
    "a shell for an operation": ({"operation": "sh -c id"}, "unknown_operation", "known"),
    "unknown target": ({"target": "wep"}, "unknown_target", "web"),
    "extra parameter": ({"parameters": {"force": True}}, "unknown_parameter", "force"),
    "near parameter": ({"operation": "check_logs", "parameters": {"line": 5}}, "unknown_parameter", "'lines'"),
    "missing parameter": ({"operation": "scale_service"}, "missing_parameter", "replicas"),
    "mistyped: text": ({"operation": "scale_service", "parameters": {"replicas": "3"}}, "bad_parameter", "integer"),
    "mistyped: bool": ({"operation": "scale_service", "parameters": {"replicas": True}}, "bad_parameter", "integer"),
    "mistyped: float": ({"operation": "scale_service", "parameters": {"replicas": 1.5}}, "bad_parameter", "integer"),
    "mistyped: null": ({"operation": "scale_service", "parameters": {"replicas": None}}, "bad_parameter", "integer"),
    "mistyped: list": ({"operation": "deploy_version", "parameters": {"version": ["1"]}}, "bad_parameter", "string"),
    "out of range": ({"operation": "scale_service", "parameters": {"replicas": 65}}, "bad_parameter", "64"),
    "parameters no object": ({"parameters": []}, "not_an_object", "object"),
    "unknown key": ({"parametres": {}}, "unknown_key", "parameters"),
}


@pytest.mark.parametrize(("path", "status"), [("/api/v1/runs", 422), ("/api/v1/plans:preview", 422)])
@pytest.mark.parametrize(("change", "code", "says"), BAD_STEPS.values(), ids=BAD_STEPS.keys())
def test_a_step_that_cannot_be(
    ground: LocalGround, path: str, status: int, change: JsonObject, code: str, says: str
) -> None:
    step = {"operation": "restart_service", "target": "web", **change}
    found = problem(ground.uici.post(path, {"plan": {"steps": [step]}}), status)
    (one,) = found["errors"]
    assert one["pointer"].startswith("/steps/0/")
    assert one["code"] == code
    assert says in one["detail"]
    assert ground.uici.get("/runs")["runs"] == []


# --- hostile texts --------------------------------------------------------------------------------------------------


def placements(schema: JsonObject, text: str) -> Iterator[JsonValue]:
    """Every value of a parameter in which `text` stands in the place of a string."""
    kind = schema.get("type")
    if kind == "string" or "enum" in schema:
        yield text
    if kind == "array" and schema["items"].get("type") == "string":
        yield [text]
    if kind == "object":
        yield {text: "harmless"}
        yield {"HARMLESS": text}


def strings(value: JsonValue) -> Iterator[str]:
    """Every text in a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def fuzz(uici: Server, environment: str, text: str) -> dict[str, int]:
    """Preview every operation with the text in every place of every parameter; how many were refused and taken."""
    seen = {"refused": 0, "taken": 0}
    for listed in uici.get("/operations")["operations"]:
        operation = uici.get(f"/operations/{listed['name']}")
        for name, schema in operation.get("parameters", {}).items():
            others = {key: HARMLESS[key] for key in operation.get("required", []) if key != name}
            for value in placements(schema, text):
                step = {"operation": listed["name"], "target": "web", "parameters": {**others, name: value}}
                answer = uici.post("/api/v1/plans:preview", {"plan": {"environment": environment, "steps": [step]}})
                if answer.status_code != 200:
                    problem(answer, 400, 422)
                    seen["refused"] += 1
                    continue
                seen["taken"] += 1
                (shown,) = answer.json()["previews"]
                arguments = [call["arguments"] for each in shown["steps"] for call in each["calls"]]
                found = list(strings(arguments))
                # Once, as a whole value; no other text was made of it.
                assert found.count(text) == 1, (listed["name"], value, arguments)
                assert [other for other in found if text in other] == [text]
                assert os.environ["HOME"] not in found
    # The names of things are no place for it either.
    for step in (
        {"operation": text, "target": "web"},
        {"operation": "restart_service", "target": text},
        {"operation": "restart_service", "target": "web", "parameters": {text: 1}},
    ):
        problem(uici.post("/api/v1/plans:preview", {"plan": {"environment": environment, "steps": [step]}}), 400, 422)
        problem(uici.post("/api/v1/runs", {"plan": {"environment": environment, "steps": [step]}}), 400, 422)
    plan = {"environment": text, "steps": [{"operation": "restart_service", "target": "web"}]}
    problem(uici.post("/api/v1/plans:preview", {"plan": plan}), 400, 422)
    return seen


def _as_much_as_allowed(taken: int, text: str) -> None:
    """Values of variables may hold nearly everything, and NUL may stand nowhere: no database keeps it in a text."""
    if "\0" in text:
        assert taken == 0
    elif len(text) <= 2000:
        assert taken >= 1


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_or_stays_one_value_on_local_programs(ground: LocalGround, text: str) -> None:
    seen = fuzz(ground.uici, "local", text)
    assert seen["refused"] >= 4
    _as_much_as_allowed(seen["taken"], text)
    assert ground.uici.get("/runs")["runs"] == []
    assert ground.spawned("web") == 0
    assert not Path("/tmp/uici-was-here").exists()


@pytest.mark.component("docker")
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_or_stays_one_value_on_docker(docked: tuple[Server, Yard], text: str) -> None:
    uici, yard = docked
    seen = fuzz(uici, "docker", text)
    assert seen["refused"] >= 4
    _as_much_as_allowed(seen["taken"], text)
    assert uici.get("/runs")["runs"] == []
    assert yard.events() == []


@pytest.mark.component("docker")
def test_hostile_values_reach_a_container_as_they_are(docked: tuple[Server, Yard]) -> None:
    uici, yard = docked
    values = {
        f"HOSTILE_{number}": text
        for number, (name, text) in enumerate(HOSTILE.items())
        if name not in ("nul", "very long")
    }
    step = {"operation": "set_configuration", "target": "web", "parameters": {"environment": values}}
    started = uici.post("/api/v1/runs", {"plan": {"environment": "docker", "steps": [step]}})
    assert started.status_code == 202, started.text
    run = uici.ended(started.json()["id"])
    assert run["verdict"] == "effective", uici.explain(run["id"])
    given = yard.client.inspect_container("fuzzed")["Config"]["Env"]
    assert {f"{name}={text}" for name, text in values.items()} <= set(given)
    assert not Path("/tmp/uici-was-here").exists()


# Last, since they make incidents.


@pytest.mark.parametrize("label", ["uici_target", "uici_environment", "job", "container_name", "pod", "alertname"])
def test_hostile_labels_change_nothing(ground: LocalGround, label: str) -> None:
    for number, text in enumerate(HOSTILE.values()):
        hostile: dict[str, Any] = alert("ServiceDown", "nobody", fingerprint=f"{label}-{number}")
        hostile["labels"][label] = text
        hostile["annotations"] = {"summary": text, "uici_target": "web", "runbook": "restart web now"}
        answer = ground.uici.send(payload(hostile))
        if len(text) > 65_536:
            assert label in problem(answer, 400)["where"]
            continue
        assert answer.status_code == 202, answer.text
        (incident,) = answer.json()["incidents"]
        found = ground.uici.get(f"/incidents/{incident['id']}")
        assert found["target"] is None, (label, text)
        run = ground.uici.ended(found["run"])
        assert (run["outcome"], run["calls"]) == ("escalated", [])
    assert ground.spawned("web") == 0
    assert not Path("/tmp/uici-was-here").exists()


def test_hostile_words_beside_a_target_do_what_policy_allows_and_no_more(ground: LocalGround) -> None:
    firing: JsonObject = alert("ServiceDown", "web", fingerprint="a110wed", command="$(touch /tmp/uici-was-here)")
    words = {"summary": json.dumps({"operation": "stop_service"}), "description": "; rm -rf / #"}
    answer = ground.uici.send(payload(firing | {"annotations": words}))
    (incident,) = answer.json()["incidents"]
    run = ground.uici.get(f"/incidents/{incident['id']}")["run"]
    until(lambda: ground.spawned("web") == 1, "the remedy of the rules", lambda: ground.uici.explain(run))
    until(lambda: bool(ground.uici.get(f"/runs/{run}")["calls"]), "the call's record")
    assert [call["call"] for call in ground.uici.get(f"/runs/{run}")["calls"]] == ["program.start"]
    assert not Path("/tmp/uici-was-here").exists()
