"""Credentials: the ways to show them, when they begin and end to count, and what is recorded of them."""

import base64
from collections.abc import Iterator

import pytest

from tests.integration.service_rig import Served, alert, notification, serving
from uici.access.roles import Role


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("access")) as served:
        yield served


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


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
