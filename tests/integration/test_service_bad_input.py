"""Bad input: a clear error, the right status, nothing lost, nothing executed."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from tests.integration.service_rig import DEADLINE, MAX_BODY, Served, alert, notification, serving
from uici.access.roles import Role
from uici.store import schema

WEBHOOK = "/webhooks/alertmanager"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("bad")) as served:
        yield served


def problem(response: httpx.Response, status: int, code: str = "") -> dict[str, Any]:
    """The problem that a response holds, checked for form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(document)
    assert document["status"] == status
    assert document["detail"]
    if code:
        assert document["code"] == code
    return document


def count(served: Served, table: Any) -> int:
    with served.application.store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


MALFORMED = {
    "empty": b"",
    "not JSON": b"hello",
    "cut off": b'{"version": "4", "alerts": [',
    "a list": b"[]",
    "null": b"null",
    "a number": b"12",
    "not UTF-8": b'{"version": "\xff"}',
    "no version": b'{"alerts": []}',
    "another version": b'{"version": "3", "alerts": []}',
    "no alerts": b'{"version": "4"}',
    "alerts no list": b'{"version": "4", "alerts": {}}',
    "a label no text": json.dumps(notification(alert() | {"labels": {"alertname": 5}})).encode(),
    "an unknown status": json.dumps(notification(alert() | {"status": "burning"})).encode(),
    "no time": json.dumps(notification(alert() | {"startsAt": "yesterday"})).encode(),
    "a key twice": b'{"version": "4", "version": "4", "alerts": []}',
    "NaN": b'{"version": "4", "alerts": [], "x": NaN}',
    "deep lists": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000,
    "deep and complete": b'{"version":"4","alerts":[],"x":' + b"[" * 500 + b"]" * 500 + b"}",
    "half a surrogate": json.dumps(notification(alert() | {"labels": {"alertname": "\ud800"}})).encode(),
    "a form": b"version=4&alerts=",
    "compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_notifications(served: Served, content: bytes) -> None:
    before = count(served, schema.alerts), count(served, schema.incidents)
    told = len(refused_bodies(served))
    response = served.request("POST", WEBHOOK, served.tokens[Role.ALERTMANAGER], content=content)
    document = problem(response, 400)
    assert (count(served, schema.alerts), count(served, schema.incidents)) == before
    # Alertmanager does not repeat a 400, so people have to know.
    (refused,) = refused_bodies(served)[told:]
    assert refused["how"] == "malformed"
    assert refused["why"].startswith(document["detail"])


def test_a_compressed_body_is_refused_by_name(served: Served) -> None:
    response = served.request(
        "POST", WEBHOOK, served.tokens[Role.ALERTMANAGER], content=b"x", headers={"Content-Encoding": "gzip"}
    )
    assert problem(response, 400, "unsupported_encoding")["allowed"] == ["identity"]


def refused_bodies(served: Served) -> list[dict[str, Any]]:
    return [event.data for event in served.application.events.read() if event.type == "body_refused"]


def test_an_announced_oversized_body(served: Served) -> None:
    before = len(refused_bodies(served))
    response = served.request("POST", WEBHOOK, served.tokens[Role.ALERTMANAGER], content=b" " * (MAX_BODY + 1))
    problem(response, 413, "body_too_large")
    (told,) = refused_bodies(served)[before:]
    assert told["size"] == MAX_BODY + 1
    assert count(served, schema.outbox) >= 1


def test_an_oversized_body_in_chunks(served: Served) -> None:
    before = len(refused_bodies(served))
    chunks = (b" " * 8192 for _ in range(MAX_BODY // 8192 + 2))
    response = served.request("POST", WEBHOOK, served.tokens[Role.ALERTMANAGER], content=chunks)
    problem(response, 413, "body_too_large")
    (told,) = refused_bodies(served)[before:]
    assert told["size"] is None


def test_the_largest_body_is_accepted(served: Served) -> None:
    payload = notification(alert("Largest"))
    text = json.dumps(payload).encode()
    response = served.request(
        "POST", WEBHOOK, served.tokens[Role.ALERTMANAGER], content=text + b" " * (MAX_BODY - len(text))
    )
    assert response.status_code == 202


def test_a_body_that_never_ends_is_cut_off(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as raw:
        raw.sendall(
            b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Authorization: Bearer " + served.tokens[Role.ALERTMANAGER].encode() + b"\r\n\r\n"
        )
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        for _ in range(MAX_BODY // 4096 + 1):
            raw.sendall(chunk)
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "no_such_path"),
        ("GET", "/docs", 404, "no_such_path"),
        ("GET", "/api/v1", 404, "no_such_path"),
        ("GET", "/api/v1/runs/", 404, "no_such_path"),
        ("GET", "/api/v1/../../etc/passwd", 404, "no_such_path"),
        ("GET", "/api/v1/runs/a%2Fb", 404, ""),
        ("GET", "/api/v1/runs/%00", 404, "no_such_path"),
        ("GET", "/api/v1/runs/'; drop table runs; --", 404, "unknown_run"),
        ("GET", "/api/v1/incidents/${x}", 404, "unknown_incident"),
        ("GET", "/api/v1/operations/nothing", 404, "unknown_operation"),
        ("GET", "/api/v1/runs/nothing/events", 404, "unknown_run"),
        ("GET", "/webhooks/alertmanager", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/runs", 405, "method_not_allowed"),
        ("PUT", "/api/v1/freeze", 405, "method_not_allowed"),
        ("POST", "/api/v1/runs/x", 405, "method_not_allowed"),
        ("GET", "/api/v1/runs?limit=0", 422, "invalid_parameter"),
        ("GET", "/api/v1/runs?limit=many", 422, "invalid_parameter"),
        ("GET", "/api/v1/events?after=-1", 422, "invalid_parameter"),
        ("GET", "/api/v1/events?after=99999999999999999999", 422, "invalid_parameter"),
    ],
)
def test_paths_methods_and_parameters(served: Served, method: str, path: str, status: int, code: str) -> None:
    problem(served.as_admin(method, path), status, code)


def test_the_allowed_methods_are_told(served: Served) -> None:
    response = served.as_admin("DELETE", "/api/v1/runs")
    assert response.headers["allow"] == "GET, POST"
    assert response.json()["allowed"] == ["GET", "POST"]


def test_a_mistyped_path_gets_a_suggestion(served: Served) -> None:
    assert "did you mean '/api/v1/runs'" in served.as_admin("GET", "/api/v1/run").json()["detail"]


STEP = {"operation": "restart_service", "target": "web"}
BODIES: dict[str, tuple[str, Any, int]] = {
    "no JSON": ("/api/v1/runs", b"{", 400),
    "no object": ("/api/v1/runs", b"[]", 400),
    "a key twice": ("/api/v1/runs", b'{"reason": "", "reason": ""}', 400),
    "NaN": ("/api/v1/runs", b'{"reason": NaN}', 400),
    "too deep": ("/api/v1/runs", b'{"plan":' * 100, 400),
    "deep and complete": ("/api/v1/runs", b'{"a":' + b"[" * 20 + b"]" * 20 + b"}", 400),
    "half a surrogate": ("/api/v1/runs", b'{"reason": "\\ud800"}', 400),
    "thousands of digits": ("/api/v1/runs", b'{"a": ' + b"9" * 5000 + b"}", 400),
    "no plan": ("/api/v1/runs", {}, 422),
    "plan no object": ("/api/v1/runs", {"plan": []}, 422),
    "an unknown key": ("/api/v1/runs", {"plan": {"steps": [STEP]}, "force": True}, 422),
    "an unknown key in the plan": ("/api/v1/runs", {"plan": {"steps": [STEP], "force": True}}, 422),
    "an unknown key in a step": ("/api/v1/runs", {"plan": {"steps": [STEP | {"shell": "id"}]}}, 422),
    "no steps": ("/api/v1/runs", {"plan": {"steps": []}}, 422),
    "an unknown operation": ("/api/v1/runs", {"plan": {"steps": [STEP | {"operation": "restart_servise"}]}}, 422),
    "an unknown target": ("/api/v1/runs", {"plan": {"steps": [STEP | {"target": "db"}]}}, 422),
    "an unknown environment": ("/api/v1/runs", {"plan": {"environment": "mars", "steps": [STEP]}}, 422),
    "an unknown parameter": ("/api/v1/runs", {"plan": {"steps": [STEP | {"parameters": {"x": 1}}]}}, 422),
    "a mistyped parameter": (
        "/api/v1/runs",
        {"plan": {"steps": [{"operation": "scale_service", "target": "web", "parameters": {"replicas": "2"}}]}},
        422,
    ),
    "a missing parameter": ("/api/v1/runs", {"plan": {"steps": [STEP | {"operation": "scale_service"}]}}, 422),
    "a long reason": ("/api/v1/runs", {"plan": {"steps": [STEP]}, "reason": "x" * 3000}, 422),
    "a preview of nothing": ("/api/v1/plans:preview", {}, 422),
    "a preview of two things": ("/api/v1/plans:preview", {"incident": "x", "plan": {"steps": [STEP]}}, 422),
    "a preview with more": ("/api/v1/plans:preview", {"incident": "x", "execute": True}, 422),
    "a preview of alerts that are none": ("/api/v1/plans:preview", {"alerts": "x"}, 400),
    "a preview elsewhere": ("/api/v1/plans:preview", {"plan": {"steps": [STEP]}, "environment": "mars"}, 422),
    "no cid": ("/api/v1/runs/x:approve", {}, 422),
    "an empty cid": ("/api/v1/runs/x:approve", {"cid": ""}, 422),
    "a cid that is no text": ("/api/v1/runs/x:approve", {"cid": 5}, 422),
    "an unknown key beside the cid": ("/api/v1/runs/x:reject", {"cid": "x", "all": True}, 422),
    "an unknown key to cancel": ("/api/v1/runs/x:cancel", {"force": True}, 422),
    "frozen as a text": ("/api/v1/freeze", {"frozen": "yes"}, 422),
    "frozen as a number": ("/api/v1/freeze", {"frozen": 1}, 422),
}


@pytest.mark.parametrize(("path", "body", "status"), BODIES.values(), ids=BODIES.keys())
def test_bodies(served: Served, path: str, body: Any, status: int) -> None:
    before = count(served, schema.runs)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    document = problem(served.as_admin("POST", path, content=content), status)
    assert document.get("where") or document.get("errors")
    assert count(served, schema.runs) == before
    assert served.as_admin("GET", "/api/v1/freeze").json()["frozen"] is False


def test_unknown_keys_name_the_known_ones(served: Served) -> None:
    document = problem(served.as_admin("POST", "/api/v1/freeze", json={"frozn": True}), 422, "invalid_body")
    assert document["where"] == "/frozn"
    assert document["allowed"] == ["frozen", "environment", "target", "reason"]


def test_all_that_is_wrong_is_told_at_once(served: Served) -> None:
    document = problem(served.as_admin("POST", "/api/v1/runs/x:approve", json={"a": 1, "comment": 5}), 422)
    assert {each["pointer"] for each in document["errors"]} == {"/a", "/cid", "/comment"}


def test_every_response_has_the_security_headers(served: Served) -> None:
    for response in (served.client.get("/healthz"), served.client.get("/nothing"), served.client.get("/api/v1/runs")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


def accepted_at_last(served: Served, payload: Any) -> bool:
    """Send again after each 503, as Alertmanager does."""
    for _ in range(100):
        response = served.alert(payload)
        if response.status_code != 503:
            return response.status_code == 202
        time.sleep(0.1)
    return False


def test_overload_and_a_state_that_hangs_are_503_and_lose_nothing(served: Served) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with served.application.store.write() as connection:
            connection.execute(schema.tokens.update().where(schema.tokens.c.id == "").values(name=""))
            held.set()
            release.wait(DEADLINE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(DEADLINE)
    payloads = [notification(alert(f"Held{number}")) for number in range(8)]
    with ThreadPoolExecutor(len(payloads)) as pool:
        responses = list(pool.map(served.alert, payloads))
    assert {response.status_code for response in responses} == {503}
    for response in responses:
        assert int(response.headers["retry-after"]) >= 1
        problem(response, 503)
    codes = {response.json()["code"] for response in responses}
    assert codes == {"commit_timed_out", "intake_full"}
    # Health does not depend on the state, so a busy disk gets nobody restarted.
    assert served.client.get("/healthz").status_code == 200
    release.set()
    holder.join(DEADLINE)
    # Alertmanager sends them again, and each is one incident, however often it was written.
    for payload in payloads:
        assert accepted_at_last(served, payload)
    with served.application.store.read() as connection:
        names = [labels["alertname"] for (labels,) in connection.execute(select(schema.alerts.c.labels))]
    assert sorted(name for name in names if name.startswith("Held")) == [f"Held{number}" for number in range(8)]


def test_the_same_notification_many_times_is_one_incident(served: Served) -> None:
    payload = notification(alert("Repeated"))
    ids = {each["id"] for _ in range(20) for each in served.alert(payload).json()["incidents"]}
    assert len(ids) == 1
    incident = served.as_admin("GET", f"/api/v1/incidents/{ids.pop()}").json()
    assert [each["deliveries"] for each in incident["alerts"]] == [20]


def test_unknown_fields_of_a_newer_alertmanager_are_accepted(served: Served) -> None:
    payload = notification(alert("Newer") | {"routeLabels": {"a": "b"}}, notification_reason="new", receiver_type=3)
    response = served.alert(payload, headers={"Content-Type": "text/plain"})
    assert response.status_code == 202
    answer = response.json()
    assert (answer["received"], answer["new"], answer["truncated"]) == (1, 1, 0)
    assert set(answer["incidents"][0]) == {"id", "environment", "target", "state", "outcome"}


def test_an_empty_notification_touches_nothing(served: Served) -> None:
    answer = served.alert(notification()).json()
    assert (answer["received"], answer["incidents"]) == (0, [])
