"""Servers of the monitoring: where they are, and how UICI shows who it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from uici.model.base import Frozen
from uici.model.secret import Secret


class BasicAuth(Frozen):
    """HTTP's basic authentication."""

    username: str = Field(min_length=1, max_length=256)
    password: Secret


class MonitoringServer(Frozen):
    """A server of the monitoring: where it is, and how UICI shows who it is. One kind of credentials at most."""

    url: str = Field(pattern=r"^https?://")
    bearer_token: Secret | None = None
    basic: BasicAuth | None = None
    timeout: Annotated[float, Field(gt=0, le=300)] = 5.0
    max_answer_bytes: int = Field(default=8_388_608, ge=1024, le=1_073_741_824)

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        if "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("a URL holds no user and no password; give basic or bearer_token, by reference")
        return value

    @model_validator(mode="after")
    def _one_kind_of_credentials(self) -> MonitoringServer:
        if self.bearer_token is not None and self.basic is not None:
            raise ValueError("give bearer_token or basic, not both: a request has one Authorization header")
        return self


class Prometheus(MonitoringServer):
    """Where to ask whether an alert still fires, and what `query_metrics` asks."""


class Alertmanager(MonitoringServer):
    """Where `silence_alert` and `expire_silence` act."""


class TrafficServer(MonitoringServer):
    """What splits requests between a service and its canary, as the council does: `set_traffic_weight` acts there."""
