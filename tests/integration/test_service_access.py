"""Who may do what: every route with every role, with none, and with tokens that are no good."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.service_rig import Served, alert, notification, serving
from uici.access.roles import PERMISSIONS, Permission, Role

ROUTES: list[tuple[str, str, str, Any, Permission]] = [
    ("POST", "/webhooks/alertmanager", "/webhooks/alertmanager", notification(alert()), Permission.WEBHOOK),
    ("GET", "/api/v1/operations", "/api/v1/operations", None, Permission.VIEW),
    ("GET", "/api/v1/operations/{name}", "/api/v1/operations/restart_service", None, Permission.VIEW),
    ("GET", "/api/v1/targets", "/api/v1/targets", None, Permission.VIEW),
    ("GET", "/api/v1/targets/{name}", "/api/v1/targets/web", None, Permission.VIEW),
    ("GET", "/api/v1/fleet", "/api/v1/fleet", None, Permission.VIEW),
    ("GET", "/api/v1/environments", "/api/v1/environments", None, Permission.VIEW),
    ("GET", "/api/v1/incidents", "/api/v1/incidents", None, Permission.VIEW),
    ("GET", "/api/v1/incidents/{incident_id}", "/api/v1/incidents/nothing", None, Permission.VIEW),
    ("GET", "/api/v1/incidents/{incident_id}/bundle", "/api/v1/incidents/nothing/bundle", None, Permission.VIEW),
    ("GET", "/api/v1/runs", "/api/v1/runs", None, Permission.VIEW),
    ("GET", "/api/v1/runs/{run_id}", "/api/v1/runs/nothing", None, Permission.VIEW),
    ("GET", "/api/v1/runs/{run_id}/events", "/api/v1/runs/nothing/events", None, Permission.VIEW),
    ("GET", "/api/v1/events", "/api/v1/events", None, Permission.VIEW),
    ("GET", "/api/v1/notifications", "/api/v1/notifications", None, Permission.VIEW),
    ("POST", "/api/v1/notifications:test", "/api/v1/notifications:test", {"channel": "none"}, Permission.ADMINISTER),
    ("POST", "/api/v1/notifications:retry", "/api/v1/notifications:retry", {"ids": [999_999]}, Permission.START),
    ("POST", "/api/v1/plans:preview", "/api/v1/plans:preview", {"incident": "nothing"}, Permission.PREVIEW),
    ("POST", "/api/v1/runs", "/api/v1/runs", {"plan": {"steps": []}}, Permission.START),
    ("POST", "/api/v1/runs/{run_id}:approve", "/api/v1/runs/nothing:approve", {"cid": "x"}, Permission.APPROVE),
    ("POST", "/api/v1/runs/{run_id}:reject", "/api/v1/runs/nothing:reject", {"cid": "x"}, Permission.APPROVE),
    ("POST", "/api/v1/runs/{run_id}:cancel", "/api/v1/runs/nothing:cancel", {}, Permission.START),
    ("GET", "/api/v1/learning", "/api/v1/learning", None, Permission.VIEW),
    ("GET", "/api/v1/learning/comparison", "/api/v1/learning/comparison", None, Permission.VIEW),
    ("POST", "/api/v1/runs/{run_id}/feedback", "/api/v1/runs/nothing/feedback", {"good": True}, Permission.APPROVE),
    (
        "POST",
        "/api/v1/learning/vetoes",
        "/api/v1/learning/vetoes",
        {"strategy": "nothing", "remedy": "x", "reason": "y"},
        Permission.FREEZE,
    ),
    (
        "POST",
        "/api/v1/learning/vetoes/{veto_id}:lift",
        "/api/v1/learning/vetoes/nothing:lift",
        {},
        Permission.FREEZE,
    ),
    ("GET", "/api/v1/freeze", "/api/v1/freeze", None, Permission.VIEW),
    ("POST", "/api/v1/freeze", "/api/v1/freeze", {"frozen": False}, Permission.FREEZE),
    ("GET", "/api/v1/configuration", "/api/v1/configuration", None, Permission.VIEW),
    ("POST", "/api/v1/configuration:reload", "/api/v1/configuration:reload", {}, Permission.ADMINISTER),
    ("GET", "/api/v1/autonomy/report", "/api/v1/autonomy/report", None, Permission.VIEW),
    ("GET", "/api/v1/autonomy/runs/{run_id}", "/api/v1/autonomy/runs/nothing", None, Permission.VIEW),
    ("GET", "/api/v1/audit", "/api/v1/audit", None, Permission.AUDIT),
    ("GET", "/api/v1/audit/head", "/api/v1/audit/head", None, Permission.AUDIT),
    ("GET", "/metrics", "/metrics", None, Permission.VIEW),
]
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
JSON = {"Accept": "application/json"}
IDS = [f"{method} {template}" for method, template, *_ in ROUTES]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("access")) as served:
        yield served


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_the_matrix_below_knows_every_route(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == {(method, template) for method, template, *_ in ROUTES} | OPEN


@pytest.mark.parametrize(("method", "template", "path", "body", "permission"), ROUTES, ids=IDS)
def test_each_role(served: Served, method: str, template: str, path: str, body: Any, permission: Permission) -> None:
    for role in Role:
        response = served.request(method, path, served.tokens[role], json=body, headers=JSON)
        if permission in PERMISSIONS[role]:
            assert response.status_code in (200, 202, 404, 422), (role, response.text)
        else:
            assert response.status_code == 403, (role, response.text)
            problem = response.json()
            assert problem["code"] == "permission_missing"
            assert permission.value in problem["detail"]
            assert problem["allowed"] == [each.value for each in Role if permission in PERMISSIONS[each]]


@pytest.mark.parametrize(("method", "template", "path", "body", "permission"), ROUTES, ids=IDS)
def test_no_token_and_no_good_token(
    served: Served, method: str, template: str, path: str, body: Any, permission: Permission
) -> None:
    good = served.tokens[Role.ADMIN]
    headers = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": good},
        {"Authorization": f"Token {good}"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer {good[:-4]}AAAA"},
        {"Authorization": f"Bearer {served.expired}"},
        {"Authorization": f"Bearer {served.revoked}"},
        basic("alertmanager", "wrong"),
    ]
    for given in headers:
        # The body is hopeless on purpose: nobody unknown learns anything about it.
        content = b"[" * 100_000 if method == "POST" else None
        response = served.client.request(method, path, headers=given, content=content)
        assert response.status_code == 401, (given, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["www-authenticate"].startswith('Bearer realm="uici"')
        assert good not in response.text


def test_basic_authentication_is_for_the_webhook(served: Served) -> None:
    token = served.tokens[Role.ALERTMANAGER]
    url = "/webhooks/alertmanager"
    body = notification(alert())
    assert served.client.post(url, json=body, headers=basic("alertmanager", token)).status_code == 202
    assert served.client.post(url, json=body, headers=basic("somebody", token)).status_code == 401
    assert served.client.post(url, json=body, headers=basic("", token)).status_code == 401
    assert served.client.post(url, json=body, headers={"Authorization": "Basic %%%"}).status_code == 401
    assert served.client.post(url, json=body, headers=basic("alertmanager", served.expired)).status_code == 401
    admin = served.tokens[Role.ADMIN]
    assert served.client.get("/api/v1/runs", headers=basic("alertmanager", admin)).status_code == 401
    refused = served.client.post(url, json=body)
    assert [each.split()[0] for each in refused.headers.get_list("www-authenticate")] == ["Bearer", "Basic"]


def test_health_needs_no_token(served: Served) -> None:
    assert served.client.get("/healthz").json() == {"ok": True}
    ready = served.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["ok"] is True
    assert {"state", "engine"} <= {check["name"] for check in ready.json()["checks"]}


def test_revoking_counts_at_once(served: Served) -> None:
    tokens = served.application.control.tokens
    token = tokens.create(Role.VIEWER)
    assert served.request("GET", "/api/v1/runs", token).status_code == 200
    tokens.revoke(token.split("_")[1])
    assert served.request("GET", "/api/v1/runs", token).status_code == 401


def test_who_froze_is_recorded(served: Served) -> None:
    token = served.tokens[Role.OPERATOR]
    frozen = served.request("POST", "/api/v1/freeze", token, json={"reason": "a test"}).json()
    assert (frozen["frozen"], frozen["reason"]) == (True, "a test")
    assert frozen["actor"] == f"the operator#{token.split('_')[1]}"
    assert served.as_admin("GET", "/api/v1/freeze").json() == frozen
    assert served.request("POST", "/api/v1/freeze", token, json={"frozen": False}).json()["frozen"] is False


def test_metrics_are_prometheus_text(served: Served) -> None:
    response = served.request("GET", "/metrics", served.tokens[Role.VIEWER])
    assert response.headers["content-type"].startswith("text/plain")
    assert "# TYPE" in response.text
