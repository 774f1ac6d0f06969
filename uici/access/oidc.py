"""Bearer tokens of OpenID Connect providers: of people, and of service accounts such as those of Kubernetes.

A token is believed when a key of its issuer signed it, by an algorithm that is allowed for that issuer, for UICI as its
audience, and it is neither over nor to come. Nothing in a token says where keys are got: only the configuration does.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
import jwt
import structlog

from uici.access.roles import Principal
from uici.model.base import JsonObject, JsonValue
from uici.model.credentials import ClaimRule, IssuerSettings
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import matches

_MOST_BYTES = 16_384
_MOST_KEYS_BYTES = 1_048_576
_CACHE_ENTRIES = 1024
_CACHE_SECONDS = 30.0
_NAME_LENGTH = 64
_NEVER = float("-inf")

_log = structlog.get_logger(__name__)


class IssuerKeys:
    """The signing keys of one issuer, asked for when they are old or when a token names an unknown one.

    Whatever happens, the issuer is asked at most once in `pause_seconds`. While it does not answer, the last keys count
    for `keep_seconds`.
    """

    def __init__(self, settings: IssuerSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._asked_at = _NEVER
        self._failure = ""

    def key(self, id_: str) -> jwt.PyJWK:
        """The key of this id. Raises Problem: unauthenticated for an unknown one, unavailable without usable keys."""
        settings = self._settings
        if self._wanted(id_):
            # Who has a key meanwhile goes on with it; the others wait for who asks.
            if self._lock.acquire(blocking=id_ not in self._usable()):
                try:
                    if self._wanted(id_):
                        self._ask()
                finally:
                    self._lock.release()
        keys = self._usable()
        if not keys:
            raise Problem(
                ProblemKind.UNAVAILABLE,
                "issuer_unreachable",
                f"the keys of {settings.issuer} cannot be had: {self._failure or 'not asked yet'}",
                where="platform.yml: access.issuers",
                hint="try again later, or use a token of UICI's own",
            )
        if id_ not in keys:
            more = f"; it does not answer: {self._failure}" if self._failure else ""
            raise _refused("unknown_key", f"{settings.issuer} has no such key as the token names{more}")
        return keys[id_]

    def _usable(self) -> dict[str, jwt.PyJWK]:
        return self._keys if self._monotonic() - self._fetched_at < self._settings.keep_seconds else {}

    def _wanted(self, id_: str) -> bool:
        now = self._monotonic()
        if now - self._asked_at < self._settings.pause_seconds:
            return False
        return id_ not in self._keys or now - self._fetched_at >= self._settings.refresh_seconds

    def _ask(self) -> None:
        self._asked_at = self._monotonic()
        try:
            self._keys = self._fetch()
        except (httpx.HTTPError, OSError, ValueError, jwt.PyJWTError) as error:
            self._failure = str(error)[:300] or type(error).__name__
            _log.warning("issuer_unreachable", issuer=self._settings.issuer, error=self._failure)
        else:
            self._fetched_at, self._failure = self._monotonic(), ""

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        settings = self._settings
        trusted = ssl.create_default_context(cafile=settings.ca_file)
        with httpx.Client(verify=trusted, timeout=settings.timeout_seconds, trust_env=False) as client:
            uri = settings.jwks_uri or self._discovered(client)
            found = jwt.PyJWKSet.from_dict(_document(client, uri))
        return {key.key_id: key for key in found.keys if key.key_id and key.public_key_use in ("sig", None)}

    def _discovered(self, client: httpx.Client) -> str:
        document = _document(client, f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self._settings.issuer:
            raise ValueError("its discovery document is another issuer's")
        uri = document.get("jwks_uri")
        if not isinstance(uri, str):
            raise ValueError("its discovery document names no jwks_uri")
        return uri


def _document(client: httpx.Client, uri: str) -> JsonObject:
    body = bytearray()
    with client.stream("GET", uri) as response:  # redirects are not followed
        response.raise_for_status()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > _MOST_KEYS_BYTES:
                raise ValueError(f"{uri} answered more than {_MOST_KEYS_BYTES} bytes")
    document = httpx.Response(200, content=bytes(body)).json()
    if not isinstance(document, dict):
        raise ValueError(f"{uri} did not answer a JSON object")
    return document


@dataclass(frozen=True)
class _Issuer:
    settings: IssuerSettings
    keys: IssuerKeys


class Issuers:
    """All issuers that are configured; safe to use from several threads."""

    def __init__(self, settings: tuple[IssuerSettings, ...], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._issuers = {each.issuer: _Issuer(each, IssuerKeys(each, monotonic)) for each in settings}
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def concerns(self, token: str) -> bool:
        """Whether this may be a token of an issuer: three parts of base64, which UICI's own never are."""
        return bool(self._issuers) and token.count(".") == 2

    def cached(self, token: str) -> Principal | None:
        """The principal of a token that was verified a moment ago. No I/O."""
        known = self._known.get(_digest(token))
        return known[1] if known is not None and self._monotonic() < known[0] else None

    def authenticate(self, token: str) -> Principal:
        """Who bears this token. May ask the issuer. Raises Problem where it is not believed."""
        principal = self.cached(token)
        if principal is None:
            principal, seconds = self._verified(token)
            with self._lock:
                self._known[_digest(token)] = self._monotonic() + min(seconds, _CACHE_SECONDS), principal
                while len(self._known) > _CACHE_ENTRIES:
                    self._known.popitem(last=False)
        return principal

    def _verified(self, token: str) -> tuple[Principal, float]:
        """Who bears it, and for how many seconds more it counts."""
        if len(token) > _MOST_BYTES:
            raise _refused("malformed_jwt", f"the token has more than {_MOST_BYTES} bytes")
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _refused("malformed_jwt", "the token is no JSON Web Token") from None
        issuer = self._issuers.get(claimed["iss"]) if isinstance(claimed.get("iss"), str) else None
        if issuer is None:
            raise _refused("unknown_issuer", "the token's issuer is none of those in platform.yml: access.issuers")
        settings, algorithm, key_id = issuer.settings, header.get("alg"), header.get("kid")
        if algorithm not in settings.algorithms:
            raise _refused("wrong_algorithm", f"the token is not signed by {', '.join(settings.algorithms)}")
        if not isinstance(key_id, str):
            raise _refused("unknown_key", "the token does not name its key")
        claims = self._claims(token, issuer, key_id)
        rule = next((each for each in settings.rules if _fits(each, claims)), None)
        if rule is None:
            raise Problem(
                ProblemKind.FORBIDDEN,
                "no_role",
                "no rule in platform.yml: access.issuers gives this token's bearer a role",
                where="header Authorization",
                hint="add a rule for one of the token's claims, such as its groups",
            )
        left = float(claims["exp"]) + settings.leeway_seconds - time.time()
        return _principal(settings, rule, claims), left

    @staticmethod
    def _claims(token: str, issuer: _Issuer, key_id: str) -> JsonObject:
        settings = issuer.settings
        key = issuer.keys.key(key_id)
        try:
            return jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("expired_jwt", "the token is expired") from None
        except jwt.ImmatureSignatureError:
            raise _refused("immature_jwt", "the token counts only later: compare the clocks") from None
        except jwt.InvalidAudienceError:
            raise _refused("wrong_audience", f"the token is not for {settings.audience}") from None
        except jwt.PyJWTError as error:
            raise _refused("invalid_token", f"the token is not believed: {type(error).__name__}") from None


def _fits(rule: ClaimRule, claims: Mapping[str, JsonValue]) -> bool:
    for name, wanted in rule.claims.items():
        patterns = (wanted,) if isinstance(wanted, str) else wanted
        value = claims.get(name)
        values = value if isinstance(value, list) else [value]
        if not any(isinstance(each, str) and matches(patterns, each) for each in values):
            return False
    return True


def _principal(settings: IssuerSettings, rule: ClaimRule, claims: JsonObject) -> Principal:
    subject = str(claims["sub"])
    given = claims.get(settings.name_claim)
    name = given if isinstance(given, str) and given else subject
    printable = "".join(each if each.isprintable() else "?" for each in name)[:_NAME_LENGTH]
    # One subject is one person, whatever it is called.
    id_ = hashlib.sha256(f"{settings.issuer}\0{subject}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Principal(id=f"oidc-{id_}", name=printable, role=rule.role, scope=rule.scope)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _refused(code: str, detail: str) -> Problem:
    return Problem(
        ProblemKind.UNAUTHENTICATED,
        code,
        detail,
        where="header Authorization",
        hint="get a new token from the issuer; docs/access.md says what it has to hold",
    )
