"""Signed webhooks as https://www.standardwebhooks.com describes them."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from uici.access.roles import Role
from uici.access.signatures import Signatures
from uici.model.credentials import SignatureSettings
from uici.model.errors import Problem, ProblemKind

# The specification's own example.
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
AT = datetime.fromtimestamp(1614265330, UTC)
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
HEADERS = {"webhook-id": ID, "webhook-timestamp": "1614265330", "webhook-signature": SIGNATURE}


def sign(key: str, id_: str = ID, timestamp: str = "1614265330", body: bytes = BODY) -> str:
    secret = base64.b64decode(key.removeprefix("whsec_"))
    made = hmac.new(secret, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def signatures(tmp_path: Path, *keys: str, now: datetime = AT) -> Signatures:
    for number, key in enumerate(keys):
        (tmp_path / f"{number}").write_text(key)
    references = [f"${{file:{tmp_path / str(number)}}}" for number in range(len(keys))]
    settings = {"senders": [{"name": "ci", "keys": references, "scope": {"targets": ["shop"]}}]}
    return Signatures(SignatureSettings.model_validate(settings), lambda: now)


def code(believed: Signatures, headers: dict[str, str], body: bytes = BODY) -> str:
    try:
        head = believed.head(headers)
        assert head is not None
        believed.sender(head, body)
    except Problem as problem:
        return problem.code if problem.kind is ProblemKind.UNAUTHENTICATED else problem.kind
    return "believed"


def test_the_example_of_the_specification(tmp_path: Path) -> None:
    believed = signatures(tmp_path, KEY)
    head = believed.head(HEADERS)
    assert head is not None
    sender = believed.sender(head, BODY)
    assert (sender.name, sender.role, sender.scope.targets) == ("ci", Role.ALERTMANAGER, ("shop",))
    assert sign(KEY) == SIGNATURE


def test_one_key_follows_another(tmp_path: Path) -> None:
    believed = signatures(tmp_path, OTHER, KEY)
    for value in (SIGNATURE, sign(OTHER), f"v1a,unknown v1,AAAA {sign(OTHER)}", f"{sign(OTHER)} {SIGNATURE}"):
        head = believed.head(HEADERS | {"webhook-signature": value})
        assert head is not None
        assert believed.sender(head, BODY).name == "ci"


def test_what_is_not_believed(tmp_path: Path) -> None:
    believed = signatures(tmp_path, KEY)
    assert code(believed, HEADERS, BODY + b" ") == "wrong_signature"
    for value in ("", "v1,", "v1", "v1,AAAA", SIGNATURE[3:], "v2" + SIGNATURE[2:], sign(OTHER), "v1,\xff"):
        assert code(believed, HEADERS | {"webhook-signature": value}) == "wrong_signature", value
    assert code(believed, HEADERS | {"webhook-id": "msg_other"}) == "wrong_signature"
    assert code(believed, HEADERS | {"webhook-timestamp": "1614265331"}) == "wrong_signature"
    # A part of the id cannot become a part of the timestamp.
    moved = sign(KEY, f"{ID}.16142653", "30")
    assert code(believed, HEADERS | {"webhook-signature": moved, "webhook-id": "x"}) == "wrong_signature"
    for name, value in (
        ("webhook-id", ""), ("webhook-id", "a b"), ("webhook-timestamp", ""), ("webhook-timestamp", "-1"),
        ("webhook-timestamp", "1614265330.0"), ("webhook-timestamp", "9" * 13),
    ):  # fmt: skip
        assert code(believed, HEADERS | {name: value}) == "malformed_signature", (name, value)


@pytest.mark.parametrize(("seconds", "good"), [(-299, True), (300, True), (301, False), (-301, False), (86_400, False)])
def test_an_old_request_is_refused_and_so_is_one_to_come(tmp_path: Path, seconds: int, good: bool) -> None:
    believed = signatures(tmp_path, KEY, now=AT + timedelta(seconds=seconds))
    if good:
        assert believed.head(HEADERS) is not None
    else:
        assert code(believed, HEADERS) == "signature_too_old"


def test_who_does_not_sign_is_looked_at_otherwise(tmp_path: Path) -> None:
    assert signatures(tmp_path, KEY).head({}) is None
    assert Signatures(SignatureSettings(), lambda: AT).head(HEADERS) is None


@pytest.mark.parametrize("key", ["password", "whsec_", "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_%%%"])
def test_what_is_no_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(Problem) as caught:
        signatures(tmp_path, key)
    assert caught.value.code == "not_a_signing_key"
    assert caught.value.detail == f"${{file:{tmp_path}/0}} is no key of Standard Webhooks"
