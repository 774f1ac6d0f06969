"""UICI's own settings: the shape of platform.yml. Every duration is in seconds."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from uici.model.base import Frozen
from uici.model.secret import SecretReference

_HIGHEST_PORT = 65535

Secret = Annotated[str, AfterValidator(lambda text: str(SecretReference(text)))]
Seconds = Annotated[float, Field(ge=0, le=31_536_000)]


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (colon and host.strip("[]")) or not port.isdecimal() or int(port) > _HIGHEST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT or [IPv6]:PORT with a port of 0 to {_HIGHEST_PORT}")
    return text


class ServiceSettings(Frozen):
    """The HTTP service."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8765"
    max_body_bytes: int = Field(default=33_554_432, ge=1024, le=1_073_741_824)
    max_json_depth: int = Field(default=32, ge=4, le=200)
    shutdown_seconds: Seconds = 20.0


class IntakeSettings(Frozen):
    """The webhook's limits."""

    queue_notifications: int = Field(default=2000, ge=1, le=1_000_000, description="waiting for commit; beyond it: 503")
    commit_seconds: Seconds = Field(default=10.0, description="an answer not committed by then is a 503")
    basic_auth_user: str = Field(
        default="alertmanager", min_length=1, description="any user name with this one's token as password"
    )


class RunSettings(Frozen):
    """The durable runs."""

    threads: int = Field(default=32, ge=2, le=512)
    sweep_seconds: float = Field(
        default=1.0, gt=0, le=60, description="how often waiting runs and lost incidents are looked for"
    )
    max_recovery_attempts: int = Field(default=10, ge=1, le=1000)
    read_attempts: int = Field(default=3, ge=1, le=20)
    retry_seconds: float = Field(default=0.5, gt=0, le=60)
    journal_seconds: float = Field(
        default=3600.0, ge=60, le=31_536_000, description="how long the engine's entries of an ended part are kept"
    )


class NotifySettings(Frozen):
    """Telling people: always the log and the event stream; a webhook when given."""

    webhook: Secret | None = Field(default=None, description="URL that gets a JSON document per message")
    timeout: Seconds = 10.0


class SelfSettings(Frozen):
    """What UICI is called on this site, beyond what it finds out by itself."""

    names: tuple[str, ...] = ("uici",)


class CatalogueSettings(Frozen):
    """How the configuration itself is followed."""

    reload_seconds: float = Field(
        default=1.0, ge=0, le=3600, description="how often the files are looked at; 0 means only when told to"
    )


class PlatformFile(Frozen):
    """What stands in platform.yml."""

    state: str = Field(
        default="sqlite:///uici.db",
        pattern=r"^(sqlite|postgresql)(\+\w+)?://",
        description="a relative SQLite file lies in the configuration's folder",
    )
    service: ServiceSettings = ServiceSettings()
    intake: IntakeSettings = IntakeSettings()
    runs: RunSettings = RunSettings()
    notify: NotifySettings = NotifySettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    self: SelfSettings = SelfSettings()
