"""Ways to show who one is, beside a bearer token, at a service that really listens; and how often one may ask."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from starlette.types import ASGIApp

from tests.integration.service_rig import DEADLINE, Served, alert, notification, serving
from tests.real.alertmanager import Alertmanager, alertmanager
from tests.real.issuer import Issuer, issuer
from tests.real.remote import Authority, Pair
from tests.unit.test_signatures import OTHER, sign
from tests.waiting import until
from uici.access.roles import Role
from uici.service import webhook
from uici.service.app import create_app
from uici.service.callers import Caller
from uici.service.context import Context

WEBHOOK = "/webhooks/alertmanager"
ACCESS = """
access:
  rates: {{requests_per_minute: 40, webhook_per_minute: 30, wrong_per_minute: 10}}
  signatures: {{senders: [{{name: ci, keys: ["${{file:{key}}}"]}}], most_bytes: 4096}}
  issuers:
    - issuer: {issuer}
      audience: uici
      rules: [{{claims: {{groups: sre}}, role: viewer}}]
  certificates:
    - {{common_name: sender, role: alertmanager}}
    - {{common_name: reader, role: viewer}}
"""
TLS = "service: {{tls: {{certificate: {certificate}, key: {key}, client_ca: {ca}}}}}\n"


@pytest.fixture(scope="module")
def provider() -> Iterator[Issuer]:
    with issuer() as running:
        yield running


def platform(folder: Path, provider: Issuer) -> str:
    (folder / "key").write_text(OTHER)
    return ACCESS.format(key=folder / "key", issuer=provider.url)


@pytest.fixture
def served(tmp_path: Path, provider: Issuer) -> Iterator[Served]:
    with serving(tmp_path, platform=platform(tmp_path, provider)) as served:
        yield served


def signed(body: bytes, at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    return {"webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": sign(OTHER, "m1", stamp, body)}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_signed_webhooks_and_their_repetition(served: Served) -> None:
    body = json.dumps(notification(alert("Signed"))).encode()
    headers = signed(body)
    first = served.client.post(WEBHOOK, content=body, headers=headers)
    assert (first.status_code, first.json()["new"]) == (202, 1)
    # The sender repeats what it got no answer for, and whoever replays it meanwhile gains nothing.
    again = served.client.post(WEBHOOK, content=body, headers=headers)
    assert (again.status_code, again.json()["new"]) == (202, 0)
    assert [each["id"] for each in again.json()["incidents"]] == [each["id"] for each in first.json()["incidents"]]
    old = served.client.post(WEBHOOK, content=body, headers=signed(body, time.time() - 3600))
    assert (old.status_code, old.json()["code"]) == (401, "signature_too_old")
    changed = served.client.post(WEBHOOK, content=body + b" ", headers=headers)
    assert (changed.status_code, changed.json()["code"]) == (401, "wrong_signature")
    large = b" " * 5000
    assert served.client.post(WEBHOOK, content=large, headers=signed(large)).status_code == 413
    # A signature is for the webhook, and a wrong credential beside it is not made good by it.
    assert served.client.get("/api/v1/runs", headers=headers).status_code == 401
    beside = served.client.post(WEBHOOK, content=body, headers=headers | {"Authorization": "Bearer x"})
    assert beside.status_code == 401


def test_basic_names_the_token(served: Served) -> None:
    tokens = served.application.control.tokens
    token = tokens.create(Role.ALERTMANAGER, "peer one")
    other = tokens.create(Role.ALERTMANAGER, "peer two")
    body = notification(alert("Basic"))
    for user in ("peer one", token.split("_")[1], "alertmanager"):
        assert served.client.post(WEBHOOK, json=body, headers=basic(user, token)).status_code == 202, user
    for user, password in (("peer one", other), ("", token), ("peer one", ""), ("peer one", "x")):
        assert served.client.post(WEBHOOK, json=body, headers=basic(user, password)).status_code == 401


def test_a_token_of_an_issuer(served: Served, provider: Issuer) -> None:
    assert served.request("GET", "/api/v1/runs", provider.token()).status_code == 200
    assert served.request("POST", "/api/v1/freeze", provider.token(), json={}).status_code == 403
    refused = served.request("GET", "/api/v1/runs", provider.token(aud="another"))
    assert (refused.status_code, refused.json()["code"]) == (401, "wrong_audience")
    nobody = served.request("GET", "/api/v1/runs", provider.token(groups=["visitors"]))
    assert (nobody.status_code, nobody.json()["code"]) == (403, "no_role")


def test_who_asks_too_often_is_told_when_to_come_back(served: Served) -> None:
    viewer, sender = served.tokens[Role.VIEWER], served.tokens[Role.ALERTMANAGER]
    answers = [served.request("GET", "/api/v1/freeze", viewer) for _ in range(41)]
    assert [answer.status_code for answer in answers[:40]] == [200] * 40
    last = answers[-1]
    assert (last.status_code, last.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(last.headers["retry-after"]) <= 60
    assert served.as_admin("GET", "/api/v1/freeze").status_code == 200, "each by itself"
    reports = [served.request("POST", WEBHOOK, sender, json=notification(alert("Often"))) for _ in range(31)]
    assert reports[-1].status_code == 503, "Alertmanager sends again after 5xx only"
    assert 1 <= int(reports[-1].headers["retry-after"]) <= 60


def test_wrong_credentials_lock_nobody_out_who_has_the_right_one(served: Served) -> None:
    wrong = [served.request("GET", "/api/v1/freeze", "uici_nonsense") for _ in range(12)]
    assert [answer.status_code for answer in wrong] == [401] * 10 + [429] * 2
    assert served.request("POST", WEBHOOK, "uici_nonsense", json={}).status_code == 503
    assert served.as_admin("GET", "/api/v1/freeze").status_code == 200


def _defect() -> None:
    raise RuntimeError("a defect")


async def _asked(app: ASGIApp, path: str, method: str = "GET", *, raised: bool = False) -> httpx.Response:
    inside = httpx.ASGITransport(app, raise_app_exceptions=raised)
    async with httpx.AsyncClient(transport=inside, base_url="http://uici") as client:
        return await client.request(method, path)


def test_a_defect_at_the_door_for_alerts_is_answered_and_raised(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(request: Request, context: Context) -> Caller:
        raise RuntimeError("a defect")

    monkeypatch.setattr(webhook, "_reporter", fails)
    control, settings = served.application.control, served.application.site.platform
    app = create_app(control, settings.service, settings.intake)
    answer = asyncio.run(_asked(app, WEBHOOK, "POST"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-content-type-options"] == "nosniff"
    with pytest.raises(RuntimeError, match="a defect"):
        asyncio.run(_asked(app, WEBHOOK, "POST", raised=True))


def test_every_answer_has_the_security_headers(served: Served) -> None:
    control, settings = served.application.control, served.application.site.platform
    app = create_app(control, settings.service, settings.intake)
    app.add_api_route("/defect", _defect, methods=["GET"])
    found = [served.client.get(path) for path in ("/healthz", "/api/v1/runs", "/nowhere", "/openapi.json")]
    found += [served.client.get("/healthz", headers={"x": "y" * 40_000}), asyncio.run(_asked(app, "/defect"))]
    assert [answer.status_code for answer in found] == [200, 401, 404, 200, 431, 500]
    for answer in found:
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
        assert "strict-transport-security" not in headers, "only TLS may say so"


# --- client certificates --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "a")


@pytest.fixture
def secured(tmp_path: Path, provider: Issuer, authority: Authority) -> Iterator[Served]:
    pair = authority.issue("uici", host="IP:127.0.0.1")
    tls = TLS.format(certificate=pair.certificate, key=pair.key, ca=authority.file)
    with serving(tmp_path, trusted=trusting(authority), platform=tls + platform(tmp_path, provider)) as served:
        yield served


def trusting(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def test_client_certificates(secured: Served, authority: Authority, tmp_path: Path) -> None:
    body = notification(alert("Certified"))

    def answer(pair: Pair | None, method: str, path: str, **more: object) -> httpx.Response:
        with httpx.Client(verify=trusting(authority, pair), base_url=secured.url, trust_env=False) as client:
            return client.request(method, path, **more)  # type: ignore[arg-type] # handed on as they are

    sender, reader = authority.issue("sender"), authority.issue("reader")
    assert answer(sender, "POST", WEBHOOK, json=body).json()["new"] == 1
    assert answer(sender, "POST", WEBHOOK, json=body).json()["new"] == 0
    assert answer(sender, "GET", "/api/v1/runs").status_code == 403
    assert answer(reader, "GET", "/api/v1/runs").status_code == 200
    assert answer(reader, "POST", WEBHOOK, json=body).status_code == 403
    unknown = answer(authority.issue("somebody"), "POST", WEBHOOK, json=body)
    assert (unknown.status_code, unknown.json()["code"]) == (401, "unknown_certificate")
    plain = answer(None, "POST", WEBHOOK, json=body)
    assert (plain.status_code, plain.json()["code"]) == (401, "no_token")
    assert plain.headers["strict-transport-security"].startswith("max-age=")
    # What a client writes never gets to where the certificate is kept.
    forged = answer(
        None, "GET", "/api/v1/runs", headers={"uici_peer_certificate": "reader", "x-ssl-client-cn": "reader"}
    )
    assert forged.status_code == 401
    # A browser shows its certificate whatever page makes it ask.
    for page in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        foreign = answer(reader, "GET", "/api/v1/runs", headers=page)
        assert (foreign.status_code, foreign.json()["code"]) == (401, "foreign_page"), page
    token = {"Authorization": f"Bearer {secured.tokens[Role.ADMIN]}"}
    assert answer(None, "GET", "/api/v1/runs", headers=token).status_code == 200
    assert answer(reader, "GET", "/api/v1/runs", headers={"Authorization": "Bearer x"}).status_code == 401
    stranger = Authority(tmp_path / "stranger")
    for pair in (stranger.issue("sender"), authority.issue("sender", expired=True)):
        with pytest.raises(httpx.TransportError):
            answer(pair, "GET", "/healthz")


def test_a_certificate_can_be_required(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("uici", host="IP:127.0.0.1")
    tls = TLS.format(certificate=pair.certificate, key=pair.key, ca=authority.file)
    required = tls.replace("client_ca", "client_certificates: required, client_ca")
    with serving(tmp_path, trusted=trusting(authority, authority.issue("sender")), platform=required) as served:
        assert served.client.get("/healthz").status_code == 200
        with pytest.raises(httpx.TransportError), httpx.Client(verify=trusting(authority), trust_env=False) as client:
            client.get(f"{served.url}/healthz")


@pytest.mark.component("alertmanager")
@pytest.mark.parametrize("way", ["bearer", "basic", "certificate"])
def test_a_real_alertmanager(way: str, tmp_path: Path, secured: Served, authority: Authority) -> None:
    secret = tmp_path / "token"
    secret.write_text(secured.application.control.tokens.create(Role.ALERTMANAGER, "am"))
    config = Alertmanager.config_for(
        f"{secured.url}{WEBHOOK}",
        token_file=secret if way == "bearer" else None,
        basic_auth=("am", secret) if way == "basic" else None,
        certificate=authority.issue("sender") if way == "certificate" else None,
        ca_file=authority.file,
    )
    with alertmanager(tmp_path / "am", config) as running:
        running.post_alerts([{"labels": {"alertname": "Real", "way": way}}])
        admin = secured.tokens[Role.ADMIN]
        until(lambda: secured.application.control.incidents(None, 10, None), f"the alert by {way}", seconds=DEADLINE)
        (found,) = secured.application.control.incidents(None, 10, None)
        (kept,) = secured.request("GET", f"/api/v1/incidents/{found['id']}", admin).json()["alerts"]
    assert kept["labels"]["way"] == way
