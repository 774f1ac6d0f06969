"""Tokens of an issuer that really answers over HTTP: which are believed, and what happens when it does not answer."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.real.issuer import Issuer, issuer
from uici.access.oidc import Issuers
from uici.access.roles import Role, same_person
from uici.model.credentials import IssuerSettings
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import Scope

RULES: Any = [
    {"claims": {"groups": "sre"}, "role": "operator", "scope": {"environments": ["prod"]}},
    {"claims": {"sub": "system:serviceaccount:monitoring:*"}, "role": "alertmanager"},
]


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def provider() -> Iterator[Issuer]:
    with issuer() as running:
        yield running


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def issuers(provider: Issuer, ticks: Ticks | None = None, **more: Any) -> Issuers:
    settings = {"issuer": provider.url, "audience": "uici", "rules": RULES, "name_claim": "email", **more}
    return Issuers((IssuerSettings.model_validate(settings),), ticks or Ticks())


def refusal(believed: Issuers, token: str) -> str:
    with pytest.raises(Problem) as caught:
        believed.authenticate(token)
    assert token not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("key", ["rsa-1", "ec-1"])
def test_who_bears_a_good_token(provider: Issuer, key: str) -> None:
    principal = issuers(provider).authenticate(provider.token(key))
    assert (principal.name, principal.role) == ("ann@example.com", Role.OPERATOR)
    assert principal.scope == Scope(environments=("prod",))
    assert principal.id.startswith("oidc-")


def test_one_subject_is_one_person_whatever_it_is_called(provider: Issuer) -> None:
    believed = issuers(provider)
    one = believed.authenticate(provider.token())
    renamed = believed.authenticate(provider.token(email="somebody@example.com"))
    other = believed.authenticate(provider.token(sub="other", email="bob@example.com"))
    assert same_person(one.actor, renamed.actor)
    assert not same_person(one.actor, other.actor)


def test_a_service_account(provider: Issuer) -> None:
    token = provider.token(sub="system:serviceaccount:monitoring:alertmanager", groups=None, email=None)
    principal = issuers(provider).authenticate(token)
    assert (principal.role, principal.name) == (Role.ALERTMANAGER, "system:serviceaccount:monitoring:alertmanager")


def text(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_tokens_that_are_not_believed(provider: Issuer) -> None:
    believed = issuers(provider)
    now = int(time.time())
    good = provider.token()
    head, claims, signature = good.split(".")
    public = provider.private["rsa-1"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    confused = f"{text({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa-1'})}.{claims}"
    mac = base64.urlsafe_b64encode(hmac.new(public, confused.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    with issuer() as stranger:
        foreign = stranger.token(iss=provider.url)
        unknown = stranger.token()
    wrong = {
        f"{text({'alg': 'none', 'kid': 'rsa-1'})}.{claims}.": "wrong_algorithm",
        f"{text({'alg': 'NONE', 'kid': 'rsa-1'})}.{claims}.{signature}": "wrong_algorithm",
        f"{confused}.{mac}": "wrong_algorithm",
        f"{text({'alg': 'ES256', 'kid': 'rsa-1'})}.{claims}.{signature}": "invalid_token",
        f"{head}.{text(provider.claims(groups=['admin']))}.{signature}": "invalid_token",
        f"{head}.{claims}.{signature[:-8]}AAAAAAAA": "invalid_token",
        f"{head}.{claims}.": "invalid_token",
        f"{head}.x.{signature}": "malformed_jwt",
        "a.b.c": "malformed_jwt",
        "..": "malformed_jwt",
        good + "A" * 20_000: "malformed_jwt",
        foreign: "invalid_token",
        unknown: "unknown_issuer",
        provider.token(headers={"kid": "nobody"}): "unknown_key",
        f"{text({'alg': 'RS256'})}.{claims}.{signature}": "unknown_key",
        provider.token(aud="another"): "wrong_audience",
        provider.token(aud=None): "invalid_token",
        provider.token(iss=provider.url + "/"): "unknown_issuer",
        provider.token(iss=None): "unknown_issuer",
        provider.token(exp=now - 60, nbf=now - 600): "expired_jwt",
        provider.token(exp=None): "invalid_token",
        provider.token(sub=None): "invalid_token",
        provider.token(nbf=now + 600): "immature_jwt",
        provider.token(groups=["visitors"], sub="system:serviceaccount:other:x"): "no_role",
        provider.token(groups="sr"): "no_role",
        provider.token(groups={"sre": True}): "no_role",
        # A token says nothing about where keys are got.
        provider.token(headers={"kid": "nobody", "jku": f"{provider.url}/keys"}): "unknown_key",
    }
    assert {token: refusal(believed, token) for token in wrong} == wrong
    assert believed.authenticate(good).role is Role.OPERATOR


def test_clocks_may_differ_by_the_leeway(provider: Issuer) -> None:
    now = int(time.time())
    assert issuers(provider, leeway_seconds=60).authenticate(provider.token(exp=now - 20, nbf=now - 600))
    assert refusal(issuers(provider, leeway_seconds=0), provider.token(exp=now - 20, nbf=now - 600)) == "expired_jwt"


def test_a_key_that_is_new_is_found_and_one_that_went_counts_no_more(provider: Issuer, ticks: Ticks) -> None:
    believed = issuers(provider, ticks, refresh_seconds=300, pause_seconds=30)
    provider.add_rsa("old")
    old = provider.token("old")
    assert believed.authenticate(old)
    provider.add_ec("new")
    assert refusal(believed, provider.token("new")) == "unknown_key", "the issuer was asked a moment ago"
    ticks.now += 31
    assert believed.authenticate(provider.token("new"))
    del provider.private["old"]
    ticks.now += 301
    assert refusal(believed, old) == "unknown_key"


def test_unknown_keys_do_not_hammer_the_issuer(provider: Issuer, ticks: Ticks) -> None:
    believed = issuers(provider, ticks)
    believed.authenticate(provider.token())
    asked = provider.asked
    floods = [provider.token(headers={"kid": f"key {number}"}) for number in range(60)]
    threads = [threading.Thread(target=refusal, args=(believed, token)) for token in floods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.asked == asked
    ticks.now += 31
    for token in floods:
        assert refusal(believed, token) == "unknown_key"
    assert provider.asked == asked + 1


def test_known_keys_go_on_for_their_time_while_the_issuer_is_down(provider: Issuer, ticks: Ticks) -> None:
    believed = issuers(provider, ticks, refresh_seconds=300, keep_seconds=3600, pause_seconds=30)
    assert believed.authenticate(provider.token())
    provider.down = True
    try:
        for _ in range(11):
            ticks.now += 320
            assert believed.authenticate(provider.token())
        assert refusal(believed, provider.token(headers={"kid": "unknown"})) == "unknown_key"
        asked = provider.asked
        ticks.now += 320
        with pytest.raises(Problem) as caught:
            believed.authenticate(provider.token())
        assert (caught.value.kind, caught.value.code) == (ProblemKind.UNAVAILABLE, "issuer_unreachable")
        for _ in range(20):
            assert refusal(believed, provider.token()) == "issuer_unreachable"
        assert provider.asked <= asked + 1, "an issuer that is down is asked no oftener"
    finally:
        provider.down = False
    ticks.now += 31
    assert believed.authenticate(provider.token())


def test_an_issuer_that_was_never_reached() -> None:
    with issuer() as gone:
        token = gone.token()
    assert refusal(issuers(gone, timeout_seconds=2), token) == "issuer_unreachable"


def test_what_was_verified_is_remembered_only_as_long_as_it_counts(provider: Issuer, ticks: Ticks) -> None:
    believed = issuers(provider, ticks, leeway_seconds=0)
    token = provider.token(exp=int(time.time()) + 5)
    assert believed.authenticate(token)
    assert believed.cached(token) is not None
    ticks.now += 6
    assert believed.cached(token) is None
