"""The authentication matrix: every route of the API, with every role, and with every credential that is no good.

The routes come from the application itself: one that has no entry here fails.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest

from tests.integration.service_rig import DEADLINE, Served, alert, notification, serving
from uici.access.roles import PERMISSIONS, Permission, Role
from uici.catalogue.locations import GUIDES
from uici.model.call import Risk
from uici.model.scope import Scope
from uici.service.app import create_app


class Limit(Enum):
    """What a credential for other environments and targets gets."""

    NONE = "the same as everybody: it is about nothing that has a place"
    FILTERED = "an answer in which nothing outside of its scope is"
    PLACE = "403: the one thing asked about is outside"
    WHOLE = "403: it is about the whole installation"
    KEPT = "202, with the alert kept and refused"


@dataclass(frozen=True)
class Entry:
    permission: Permission
    limit: Limit
    path: str = ""
    """Where the template has a parameter; {run} and {incident} are of the target `web`."""
    body: Any = None


PLAN = {"environment": "local", "steps": [{"operation": "restart_service", "target": "web"}]}
VIEW, START, APPROVE, FREEZE = Permission.VIEW, Permission.START, Permission.APPROVE, Permission.FREEZE
ADMINISTER = Permission.ADMINISTER
API = "/api/v1"
ENTRIES: dict[tuple[str, str], Entry] = {
    ("POST", "/webhooks/alertmanager"): Entry(
        Permission.WEBHOOK, Limit.KEPT, body=notification(alert("Matrix", service="web"))
    ),
    ("GET", f"{API}/operations"): Entry(VIEW, Limit.NONE),
    ("GET", f"{API}/operations/{{name}}"): Entry(VIEW, Limit.NONE, f"{API}/operations/restart_service"),
    ("GET", f"{API}/guides"): Entry(VIEW, Limit.FILTERED, f"{API}/guides?q=matrix"),
    ("GET", f"{API}/guides/{{name}}"): Entry(VIEW, Limit.PLACE, f"{API}/guides/matrix"),
    ("GET", f"{API}/targets"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/targets/{{name}}"): Entry(VIEW, Limit.PLACE, f"{API}/targets/web"),
    ("GET", f"{API}/fleet"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/environments"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/workers"): Entry(VIEW, Limit.WHOLE),
    ("GET", f"{API}/incidents"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/incidents/{{incident_id}}"): Entry(VIEW, Limit.PLACE, f"{API}/incidents/{{incident}}"),
    ("GET", f"{API}/incidents/{{incident_id}}/bundle"): Entry(
        VIEW, Limit.PLACE, f"{API}/incidents/{{incident}}/bundle"
    ),
    ("GET", f"{API}/runs"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/runs/{{run_id}}"): Entry(VIEW, Limit.PLACE, f"{API}/runs/{{run}}"),
    ("GET", f"{API}/runs/{{run_id}}/events"): Entry(VIEW, Limit.PLACE, f"{API}/runs/{{run}}/events"),
    ("GET", f"{API}/events"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/notifications"): Entry(VIEW, Limit.WHOLE),
    ("POST", f"{API}/notifications:test"): Entry(ADMINISTER, Limit.WHOLE, body={"channel": "none"}),
    ("POST", f"{API}/notifications:retry"): Entry(START, Limit.WHOLE, body={"ids": [999_999]}),
    ("POST", f"{API}/plans:preview"): Entry(Permission.PREVIEW, Limit.PLACE, body={"plan": PLAN}),
    ("POST", f"{API}/runs"): Entry(START, Limit.PLACE, body={"plan": PLAN}),
    ("POST", f"{API}/runs/{{run_id}}:approve"): Entry(
        APPROVE, Limit.PLACE, f"{API}/runs/{{run}}:approve", {"cid": "x"}
    ),
    ("POST", f"{API}/runs/{{run_id}}:reject"): Entry(APPROVE, Limit.PLACE, f"{API}/runs/{{run}}:reject", {"cid": "x"}),
    ("POST", f"{API}/runs/{{run_id}}:cancel"): Entry(START, Limit.PLACE, f"{API}/runs/{{run}}:cancel", {}),
    ("GET", f"{API}/learning"): Entry(VIEW, Limit.WHOLE),
    ("GET", f"{API}/learning/comparison"): Entry(VIEW, Limit.WHOLE),
    ("POST", f"{API}/runs/{{run_id}}/feedback"): Entry(
        APPROVE, Limit.PLACE, f"{API}/runs/{{run}}/feedback", {"good": True}
    ),
    ("POST", f"{API}/learning/vetoes"): Entry(
        FREEZE, Limit.PLACE, body={"strategy": "nothing", "remedy": "x", "target": "web", "reason": "y"}
    ),
    ("POST", f"{API}/learning/vetoes/{{veto_id}}:lift"): Entry(
        FREEZE, Limit.PLACE, f"{API}/learning/vetoes/{{veto}}:lift", {}
    ),
    ("GET", f"{API}/freeze"): Entry(VIEW, Limit.NONE),
    ("POST", f"{API}/freeze"): Entry(FREEZE, Limit.NONE, body={"frozen": False}),
    ("GET", f"{API}/brakes"): Entry(VIEW, Limit.FILTERED),
    ("POST", f"{API}/brakes/{{environment}}:lift"): Entry(FREEZE, Limit.WHOLE, f"{API}/brakes/nowhere:lift", {}),
    ("GET", f"{API}/configuration"): Entry(VIEW, Limit.WHOLE),
    ("POST", f"{API}/configuration:reload"): Entry(ADMINISTER, Limit.WHOLE, body={}),
    ("GET", f"{API}/autonomy/report"): Entry(VIEW, Limit.FILTERED),
    ("GET", f"{API}/autonomy/runs/{{run_id}}"): Entry(VIEW, Limit.PLACE, f"{API}/autonomy/runs/{{run}}"),
    ("GET", f"{API}/tokens"): Entry(ADMINISTER, Limit.WHOLE),
    ("POST", f"{API}/tokens"): Entry(ADMINISTER, Limit.WHOLE, body={"role": "viewer"}),
    ("POST", f"{API}/tokens/{{token_id}}:rotate"): Entry(ADMINISTER, Limit.WHOLE, f"{API}/tokens/nobody:rotate", {}),
    ("POST", f"{API}/tokens/{{token_id}}:revoke"): Entry(ADMINISTER, Limit.WHOLE, f"{API}/tokens/nobody:revoke"),
    ("GET", f"{API}/audit"): Entry(Permission.AUDIT, Limit.WHOLE),
    ("GET", f"{API}/audit/head"): Entry(Permission.AUDIT, Limit.WHOLE),
    ("GET", "/metrics"): Entry(VIEW, Limit.WHOLE),
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
JSON = {"Accept": "application/json"}
ELSEWHERE = Scope(environments=("elsewhere",), targets=("other-*",))

STRATEGY = """
strategies:
  matrix:
    match: ['alertname="Matrix"']
    remedies: [{name: restart, steps: [restart_service]}]
"""


@dataclass
class Ground:
    """A service with one incident and one run of the target `web`, and a veto of its remedy."""

    served: Served
    names: dict[str, str]

    def path(self, template: str, entry: Entry) -> str:
        return (entry.path or template).format(**self.names)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "config" / GUIDES).mkdir(parents=True)
    (folder / "config" / GUIDES / "matrix.md").write_text("---\ntitle: For one target\ntargets: [web]\n---\n")
    with serving(folder, strategies=STRATEGY) as served:
        (incident,) = served.alert(notification(alert("Matrix", service="web"))).json()["incidents"]
        run = served.as_admin("GET", f"{API}/incidents/{incident['id']}").json()["run"]
        veto = {"strategy": "matrix", "remedy": "restart", "target": "web", "reason": "it is looked at"}
        lifted = served.as_admin("POST", f"{API}/learning/vetoes", json=veto).json()["id"]
        yield Ground(served, {"incident": incident["id"], "run": run, "veto": lifted})


def described(served: Served) -> dict[tuple[str, str], Any]:
    paths = served.client.get("/openapi.json").json()["paths"]
    return {
        (method.upper(), path): operation for path, methods in paths.items() for method, operation in methods.items()
    }


def test_every_route_has_an_entry(ground: Ground) -> None:
    assert set(described(ground.served)) == set(ENTRIES) | OPEN


def test_the_documents_say_which_routes_need_no_credential(ground: Ground) -> None:
    free = {route for route, operation in described(ground.served).items() if not operation.get("security")}
    assert free == OPEN


def test_a_route_that_nobody_described_is_found_missing(ground: Ground) -> None:
    settings = ground.served.application.site.platform
    app = create_app(ground.served.application.control, settings.service, settings.intake)
    app.add_api_route("/api/v1/forgotten", lambda: {}, methods=["GET"])
    found = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert found - set(ENTRIES) - OPEN == {("GET", "/api/v1/forgotten")}


EVERY = pytest.mark.parametrize(
    ("route", "entry"), ENTRIES.items(), ids=[f"{method} {path}" for method, path in ENTRIES]
)
Route = tuple[str, str]


@EVERY
def test_each_role(ground: Ground, route: Route, entry: Entry) -> None:
    for role in Role:
        response = ground.served.request(
            route[0], ground.path(route[1], entry), ground.served.tokens[role], json=entry.body, headers=JSON
        )
        if entry.permission in PERMISSIONS[role]:
            assert response.status_code in (200, 201, 202, 404, 409, 422), (role, response.text)
        else:
            assert response.status_code == 403, (role, response.text)
            problem = response.json()
            assert problem["code"] == "permission_missing"
            assert entry.permission.value in problem["detail"]
            assert problem["allowed"] == [each.value for each in Role if entry.permission in PERMISSIONS[each]]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


NO_GOOD: dict[str, Callable[[Served], str | None]] = {
    "absent": lambda served: None,
    "empty": lambda served: "",
    "a scheme alone": lambda served: "Bearer",
    "no scheme": lambda served: served.tokens[Role.ADMIN],
    "another scheme": lambda served: f"Token {served.tokens[Role.ADMIN]}",
    "malformed": lambda served: "Bearer nonsense",
    "wrong": lambda served: f"Bearer {served.tokens[Role.ADMIN][:-4]}AAAA",
    "expired": lambda served: f"Bearer {served.expired}",
    "revoked": lambda served: f"Bearer {served.revoked}",
    "a wrong password": lambda served: basic("alertmanager", "wrong"),
    "an expired password": lambda served: basic("alertmanager", served.expired),
    "no base64": lambda served: "Basic %%%",
}


@EVERY
def test_no_credential_and_no_good_one(ground: Ground, route: Route, entry: Entry) -> None:
    served = ground.served
    for what, made in NO_GOOD.items():
        header = made(served)
        # The body is hopeless on purpose: nobody unknown learns anything about it.
        content = b"[" * 100_000 if route[0] == "POST" else None
        response = served.client.request(
            route[0],
            ground.path(route[1], entry),
            headers={} if header is None else {"Authorization": header},
            content=content,
        )
        assert response.status_code == 401, (what, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["www-authenticate"].startswith('Bearer realm="uici"')
        assert served.tokens[Role.ADMIN] not in response.text


@EVERY
def test_a_credential_for_elsewhere(ground: Ground, route: Route, entry: Entry) -> None:
    token = ground.served.application.control.tokens.create(Role.ADMIN, "elsewhere", scope=ELSEWHERE)
    response = ground.served.request(
        route[0], ground.path(route[1], entry), token, json=entry.body, headers=JSON, timeout=DEADLINE
    )
    if entry.limit in (Limit.PLACE, Limit.WHOLE):
        assert response.status_code == 403, response.text
        assert response.json()["code"] == "out_of_scope"
        assert response.json()["allowed"] == ["environments elsewhere; targets other-*"]
        return
    assert response.status_code in (200, 202), response.text
    if entry.limit is Limit.FILTERED:
        # The same answer to somebody without limits names what is held back here.
        whole = ground.served.as_admin(route[0], ground.path(route[1], entry), headers=JSON).json()
        shown = response.json()
        assert all(not items for items in shown.values() if isinstance(items, list)), shown
        assert any(items for items in whole.values()) or route[1].endswith(("/report", "/brakes")), whole
    elif entry.limit is Limit.KEPT:
        assert response.json()["refused"] == 1


def test_a_credential_for_here_but_not_for_that_risk(ground: Ground) -> None:
    tokens = ground.served.application.control.tokens
    plan = {"environment": "local", "steps": [{"operation": "restart_service", "target": "web"}]}
    careful = tokens.create(Role.OPERATOR, "careful", scope=Scope(highest_risk=Risk.LOW))
    refused = ground.served.request("POST", f"{API}/runs", careful, json={"plan": plan})
    assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
    assert "medium" in refused.json()["detail"]
    bold = tokens.create(
        Role.OPERATOR, "bold", scope=Scope(environments=("loc*",), targets=("w?b",), highest_risk=Risk.MEDIUM)
    )
    started = ground.served.request("POST", f"{API}/runs", bold, json={"plan": plan})
    assert started.status_code == 202, started.text
    listed = ground.served.request("GET", f"{API}/runs", bold).json()["runs"]
    assert started.json()["id"] in [run["id"] for run in listed]


def test_what_somebody_may_not_have_is_in_the_audit_log(ground: Ground) -> None:
    tokens = ground.served.application.control.tokens
    ground.served.application.control.denials.write()
    before = ground.served.as_admin("GET", f"{API}/audit/head").json()["seq"]
    token = tokens.create(Role.VIEWER, "curious", by="ann#1")
    assert ground.served.request("POST", f"{API}/freeze", token, json={}).status_code == 403
    tokens.rotate(token.split("_")[1], timedelta(hours=1), by="ann#1")
    tokens.revoke(token.split("_")[1], by="ann#1", reason="a test")
    ground.served.application.control.denials.write()
    entries = ground.served.as_admin("GET", f"{API}/audit?after={before}").json()["entries"]
    found = [each for each in entries if each["actor"].split("#")[0] in ("ann", "curious")]
    assert [(each["kind"], each["actor"].split("#")[0]) for each in found] == [
        ("token_created", "ann"), ("token_rotated", "ann"), ("token_revoked", "ann"), ("permission_denied", "curious"),
    ]  # fmt: skip
    told = found[-1]["data"]
    assert (told["route"], told["code"], told["count"]) == (f"POST {API}/freeze", "permission_missing", 1)
    assert token.split("_", 2)[2] not in str(found)
