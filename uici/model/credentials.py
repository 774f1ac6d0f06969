"""Who may come in, beside those with a token of UICI's own: the part `access` of platform.yml."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from uici.model.base import Frozen
from uici.model.scope import EVERYTHING, Scope
from uici.model.secret import Secret

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$")]
_NAMED = Field(description="shown wherever it acts")


class Role(StrEnum):
    """What a credential is for. viewer < operator < approver < admin; `alertmanager`, `auditor` stand beside them."""

    ALERTMANAGER = "alertmanager"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class SenderSettings(Frozen):
    """One sender that signs what it sends to the webhook (https://www.standardwebhooks.com)."""

    name: _Name = _NAMED
    keys: tuple[Secret, ...] = Field(
        min_length=1,
        max_length=4,
        description="each `whsec_` and base64 of 24 to 64 bytes; several while one follows another",
    )
    scope: Scope = EVERYTHING


class SignatureSettings(Frozen):
    """Signed webhooks."""

    senders: tuple[SenderSettings, ...] = Field(default=(), max_length=50)
    tolerance_seconds: float = Field(
        default=300.0, ge=10, le=3600, description="how far a sender's timestamp may be from UICI's clock"
    )
    most_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        le=33_554_432,
        description="a body has to be read before its signature can be checked",
    )
    at_once: int = Field(default=32, ge=1, le=1000, description="such bodies are held at once; beyond it: 503")


class ClaimRule(Frozen):
    """Which tokens of an issuer get which role. The first rule that matches counts."""

    claims: dict[str, tuple[str, ...] | str] = Field(
        min_length=1,
        description="every claim has to be one of the values, or a list that holds one; `*` any text, `?` one",
    )
    role: Role
    scope: Scope = EVERYTHING


class IssuerSettings(Frozen):
    """One OpenID Connect provider, for people and for service accounts."""

    issuer: str = Field(pattern=r"^https?://[^\s]+$", description="exactly as in the claim `iss`")
    audience: str = Field(min_length=1, description="has to be in the claim `aud`")
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(default=("RS256", "ES256"), min_length=1)
    jwks_uri: str | None = Field(
        default=None, pattern=r"^https?://[^\s]+$", description="null: what the issuer's discovery document says"
    )
    ca_file: str | None = Field(default=None, description="null: the system's authorities")
    name_claim: str = Field(default="sub", description="what its bearer is called; one subject is one person anyway")
    leeway_seconds: float = Field(default=30.0, ge=0, le=300, description="between the issuer's clock and UICI's")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    refresh_seconds: float = Field(
        default=300.0, ge=1, le=86_400, description="how old keys may be before new ones are asked for"
    )
    pause_seconds: float = Field(
        default=30.0, ge=0.1, le=3600, description="the issuer is asked at most so often, whatever keys tokens name"
    )
    keep_seconds: float = Field(
        default=86_400.0, ge=1, le=2_592_000, description="so long the last keys count while the issuer does not answer"
    )
    rules: tuple[ClaimRule, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _consistent(self) -> IssuerSettings:
        if self.keep_seconds < self.refresh_seconds:
            raise ValueError("keep_seconds: keys cannot be kept for less time than refresh_seconds")
        return self


class CertificateRule(Frozen):
    """Which client certificates get which role, by one of their names. The client's authority is in `service.tls`."""

    common_name: str | None = Field(default=None, min_length=1, description="of the subject")
    san: str | None = Field(default=None, min_length=1, description="a subject alternative name: of DNS, URI or e-mail")
    role: Role
    scope: Scope = EVERYTHING

    @model_validator(mode="after")
    def _one_name(self) -> CertificateRule:
        if (self.common_name is None) is (self.san is None):
            raise ValueError("give exactly one of common_name and san")
        return self


class RateSettings(Frozen):
    """How often one client may ask, in each process by itself."""

    requests_per_minute: int = Field(default=6000, ge=1, le=10_000_000, description="of one caller; beyond it: 429")
    webhook_per_minute: int = Field(default=120_000, ge=1, le=10_000_000, description="of one sender; beyond it: 503")
    wrong_per_minute: int = Field(
        default=60, ge=1, le=10_000_000, description="wrong credentials from one address; right ones are let in anyway"
    )
    clients: int = Field(default=10_000, ge=16, le=1_000_000, description="counted at once; the oldest is forgotten")


class AccessSettings(Frozen):
    """Credentials beside tokens, and how often one may ask."""

    signatures: SignatureSettings = SignatureSettings()
    issuers: tuple[IssuerSettings, ...] = Field(default=(), max_length=20)
    certificates: tuple[CertificateRule, ...] = Field(default=(), max_length=200)
    rates: RateSettings = RateSettings()

    @model_validator(mode="after")
    def _each_once(self) -> AccessSettings:
        for what, names in (
            ("signatures.senders", [each.name for each in self.signatures.senders]),
            ("issuers", [each.issuer for each in self.issuers]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: each may be named once")
        return self


class TlsSettings(Frozen):
    """HTTPS, and certificates of clients."""

    certificate: str = Field(description="PEM file: UICI's own, with those between it and its authority")
    key: str = Field(description="PEM file, readable for UICI alone")
    client_ca: str | None = Field(default=None, description="PEM file of the authorities of clients' certificates")
    client_certificates: Literal["optional", "required"] = Field(
        default="optional", description="required: without one no connection is made, /healthz included"
    )

    @model_validator(mode="after")
    def _checkable(self) -> TlsSettings:
        if self.client_certificates == "required" and self.client_ca is None:
            raise ValueError("client_certificates: required needs client_ca, which says whose certificates count")
        return self
