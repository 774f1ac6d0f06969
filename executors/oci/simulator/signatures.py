"""Check the signature of a request as Oracle's gateway does.

Version 1 of the signature, the headers that must be signed and the allowed clock skew of five minutes:
https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm
A key is a user's API key (`tenancy/user/fingerprint`), or a token of the identity service (`ST$…`) that carries the
public key of the session, instance or resource that signs with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from executors.oci.simulator.refusals import not_authenticated

MAX_SKEW = timedelta(minutes=5)
_ALWAYS = {"(request-target)", "host"}
_WITH_BODY = {"content-length", "content-type", "x-content-sha256"}
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

KeyFinder = Callable[[str], rsa.RSAPublicKey | None]
"""The public key of a key id; None when there is none such, or its token has expired."""


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes


def authenticate(request: SignedRequest, keys: KeyFinder, now: datetime, *, with_host: bool = True) -> str:
    """The key id that signed the request; a `RefusedError` with 401 when anything is wrong.

    Only the federation of instance principals takes signatures that do not cover the host.
    """
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    given = dict(_PARAMETER.findall(rest))
    signed = given.get("headers", "date").lower().split()
    if (
        scheme.lower() != "signature"
        or given.get("version") != "1"
        or given.get("algorithm", "").lower() != "rsa-sha256"
        or not _covers_enough(request, set(signed) | (set() if with_host else {"host"}))
        or not _is_fresh(request, now)
        or not _is_whole(request, set(signed))
    ):
        raise not_authenticated()
    key = keys(given.get("keyId", ""))
    if key is None or not _verifies(key, request, signed, given.get("signature", "")):
        raise not_authenticated()
    return str(given["keyId"])


def _covers_enough(request: SignedRequest, signed: set[str]) -> bool:
    needed = _ALWAYS | (_WITH_BODY if request.method in {"POST", "PUT", "PATCH"} else set())
    return needed <= signed and bool({"date", "x-date"} & signed)


def _is_fresh(request: SignedRequest, now: datetime) -> bool:
    try:
        sent = parsedate_to_datetime(request.headers.get("x-date") or request.headers.get("date", ""))
    except ValueError:
        return False
    return sent.tzinfo is not None and abs(now - sent) <= MAX_SKEW


def _is_whole(request: SignedRequest, signed: set[str]) -> bool:
    if "x-content-sha256" not in signed:
        return True
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    return hmac.compare_digest(digest, request.headers.get("x-content-sha256", "")) and request.headers.get(
        "content-length"
    ) == str(len(request.body))


def _verifies(key: rsa.RSAPublicKey, request: SignedRequest, signed: list[str], signature: str) -> bool:
    lines = []
    for name in signed:
        value = (
            f"{request.method.lower()} {request.target}" if name == "(request-target)" else request.headers.get(name)
        )
        if value is None:
            return False
        lines.append(f"{name}: {value}")
    try:
        key.verify(
            base64.b64decode(signature, validate=True), "\n".join(lines).encode(), padding.PKCS1v15(), hashes.SHA256()
        )
    except (InvalidSignature, ValueError):
        return False
    return True
