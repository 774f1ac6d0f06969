"""Webhooks that their sender has signed: Standard Webhooks, symmetric (https://www.standardwebhooks.com).

The sender signs `id.timestamp.body` with HMAC-SHA256. A signature says nothing of when it arrives, so the timestamp has
to be near: an old request is refused. The same request again while it is near changes nothing, since the intake
takes an occurrence of an alert once; so senders may deliver again what they got no answer for.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from uici.access.roles import Principal, Role
from uici.access.secrets import resolve
from uici.model.base import Frozen
from uici.model.credentials import SignatureSettings
from uici.model.errors import Problem, ProblemKind

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
_ID = re.compile(r"[\x21-\x7e]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_MOST_SIGNATURES = 8


class Signed(Frozen):
    """The head of a signed request, in order as far as that can be told without its body."""

    id: str
    timestamp: str
    signatures: tuple[str, ...]


class Signatures:
    """The senders that sign, with their keys. Raises Problem for a secret that is missing or no such key."""

    def __init__(self, settings: SignatureSettings, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self._now = now
        self._senders = [
            (
                Principal(id=f"signed-{sender.name}", name=sender.name, role=Role.ALERTMANAGER, scope=sender.scope),
                [_key(reference, sender.name) for reference in sender.keys],
            )
            for sender in settings.senders
        ]

    def head(self, headers: Mapping[str, str]) -> Signed | None:
        """What the headers say; None where the request is not signed, or nobody here signs. Raises Problem."""
        if not self._senders or SIGNATURE not in headers:
            return None
        id_, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
        if not _ID.fullmatch(id_) or not _SECONDS.fullmatch(timestamp):
            raise _refused("malformed_signature", f"{ID} and {TIMESTAMP} have to stand beside {SIGNATURE}")
        away = abs(self._now().timestamp() - int(timestamp))
        if away > self.settings.tolerance_seconds:
            raise _refused(
                "signature_too_old",
                f"{TIMESTAMP} is {away:.0f} s away from UICI's clock; at most {self.settings.tolerance_seconds:g} s",
            )
        return Signed(id=id_, timestamp=timestamp, signatures=tuple(headers[SIGNATURE].split(" ")[:_MOST_SIGNATURES]))

    def sender(self, signed: Signed, body: bytes) -> Principal:
        """Who signed this. Raises Problem where it was nobody known."""
        content = f"{signed.id}.{signed.timestamp}.".encode() + body
        given = [each.removeprefix("v1,").encode() for each in signed.signatures if each.startswith("v1,")]
        found: Principal | None = None
        for principal, keys in self._senders:
            for key in keys:
                expected = base64.b64encode(hmac.digest(key, content, "sha256"))
                # All are compared: which one it was cannot be told from the time it takes.
                if any([hmac.compare_digest(each, expected) for each in given]):
                    found = found or principal
        if found is None:
            raise _refused("wrong_signature", "no key that is known here has signed this")
        return found


def _key(reference: str, sender: str) -> bytes:
    value = resolve(reference, where=f"platform.yml: access.signatures.senders: {sender}").reveal()
    try:
        key = base64.b64decode(value.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not value.startswith(_PREFIX) or len(key) not in _KEY_BYTES:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "not_a_signing_key",
            f"{reference} is no key of Standard Webhooks",
            where=f"platform.yml: access.signatures.senders: {sender}",
            allowed=("whsec_ and base64 of 24 to 64 random bytes",),
            hint='printf "whsec_%s" "$(openssl rand -base64 32)"',
        )
    return key


def _refused(code: str, detail: str) -> Problem:
    return Problem(
        ProblemKind.UNAUTHENTICATED,
        code,
        detail,
        where=f"header {SIGNATURE}",
        hint="sign `id.timestamp.body` by HMAC-SHA256 as https://www.standardwebhooks.com says",
    )
