"""Texts that a database cannot keep: PostgreSQL has no character NUL, and neither database has halves of characters."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.service_rig import Served, alert, notification, serving
from tests.real.postgres import postgres

STEP = {"operation": "restart_service", "target": "web"}
NUL = "a\0b"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("unstorable")
    if request.param == "sqlite":
        with serving(folder) as served:
            yield served
    else:
        with postgres() as server, serving(folder, state=server.url) as served:
            yield served


SENT: dict[str, dict[str, Any]] = {
    "in a label": {"alerts": [alert("NulInLabel", service=NUL)]},
    "in the alert's name": {"alerts": [alert(f"Nul{NUL}")]},
    "in a label's name": {"alerts": [alert("NulInName", **{NUL: "x"})]},
    "in an annotation": {"alerts": [alert("NulInAnnotation") | {"annotations": {NUL: NUL}}]},
    "in an address": {"alerts": [alert("NulInAddress") | {"generatorURL": NUL}]},
    "in the notification": {"alerts": [alert("NulOutside")], "receiver": NUL, "groupKey": NUL, "externalURL": NUL},
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT.keys())
def test_an_alert_with_nul_is_accepted_and_so_are_its_neighbours(served: Served, sent: dict[str, Any]) -> None:
    neighbour = alert("Neighbour", number=str(len(json.dumps(sent))))
    answer = served.alert(notification() | sent | {"alerts": [*sent["alerts"], neighbour]})
    assert answer.status_code == 202, answer.text
    assert answer.json()["received"] == 2
    for incident in answer.json()["incidents"]:
        shown = served.as_admin("GET", f"/api/v1/incidents/{incident['id']}")
        assert shown.status_code == 200, shown.text
        assert "\\u0000" not in shown.text


ASKED: dict[str, tuple[str, str, Any]] = {
    "a path": ("GET", "/api/v1/runs/a%00b", None),
    "a path of two parts": ("GET", "/api/v1/incidents/%00/bundle", None),
    "a state": ("GET", "/api/v1/runs?state=%00", None),
    "a page": ("GET", "/api/v1/incidents?before=%00", None),
    "an incident of events": ("GET", "/api/v1/events?incident=%00&after=0", None),
    "a strategy": ("GET", "/api/v1/learning?strategy=%00&findings=%00", None),
    "a target": ("GET", "/api/v1/autonomy/report?target=%00&environment=%00", None),
    "an environment": ("GET", "/api/v1/fleet?environment=%00", None),
    "a reason": ("POST", "/api/v1/freeze", {"frozen": False, "reason": NUL}),
    "a run's reason": ("POST", "/api/v1/runs", {"plan": {"steps": [STEP]}, "reason": NUL}),
    "a parameter": ("POST", "/api/v1/runs", {"plan": {"steps": [STEP | {"parameters": {"x": NUL}}]}}),
    "a key": ("POST", "/api/v1/runs", {"plan": {"steps": [STEP | {"parameters": {NUL: 1}}]}}),
    "a comment": ("POST", "/api/v1/runs/x:approve", {"cid": NUL, "comment": NUL}),
    "a veto": ("POST", "/api/v1/learning/vetoes", {"strategy": NUL, "remedy": NUL, "reason": NUL}),
    "a preview": ("POST", "/api/v1/plans:preview", {"incident": NUL}),
}


@pytest.mark.parametrize(("method", "path", "body"), ASKED.values(), ids=ASKED.keys())
def test_a_question_with_nul_is_refused_and_no_failure_of_ours(
    served: Served, method: str, path: str, body: Any
) -> None:
    headers = {"Accept": "application/json"}
    answer = served.as_admin(method, path, headers=headers, **({} if body is None else {"json": body}))
    assert answer.status_code in (400, 404, 422), answer.text


@pytest.mark.parametrize("token", ["a\0b", "uici_\0_x", ""])
def test_a_password_with_nul_is_a_wrong_one(served: Served, token: str) -> None:
    basic = base64.b64encode(f"alertmanager:{token}".encode()).decode()
    answer = served.client.post("/webhooks/alertmanager", headers={"Authorization": f"Basic {basic}"}, json={})
    assert answer.status_code == 401


def test_half_a_character_is_refused(served: Served) -> None:
    for path in ("/api/v1/runs/%ff", "/api/v1/runs?state=%ff", "/api/v1/runs/%ed%a0%80"):
        assert served.as_admin("GET", path).status_code in (200, 404, 422), path
