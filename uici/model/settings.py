"""UICI's own settings: the shape of platform.yml. Every duration is in seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from uici.model.base import Frozen
from uici.model.council import CouncilSettings
from uici.model.credentials import AccessSettings, TlsSettings
from uici.model.retention import RetentionSettings
from uici.model.secret import Secret

_HIGHEST_PORT = 65535

Seconds = Annotated[float, Field(ge=0, le=31_536_000)]


def address(text: str) -> str:
    """`text`, which has to be HOST:PORT or [IPv6]:PORT. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and host.strip("[]")) or not port.isdecimal() or int(port) > _HIGHEST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT or [IPv6]:PORT with a port of 0 to {_HIGHEST_PORT}")
    return text


class ConnectionLimits(Frozen):
    """What connections may cost; a client that stays below it notices none of it."""

    most: int = Field(
        default=500, ge=4, le=65_536, description="open at once; beyond it the one that asks nothing longest is closed"
    )
    head_bytes: int = Field(default=32_768, ge=1024, le=1_048_576, description="a request's address and headers")
    head_seconds: float = Field(default=10.0, gt=0, le=600, description="how long a request's head may take to come")
    body_seconds: float = Field(default=60.0, gt=0, le=3600, description="how long its body may take to come")
    write_seconds: float = Field(default=60.0, gt=0, le=3600, description="how long an answer may wait to be read")
    look_seconds: float = Field(default=1.0, gt=0, le=60, description="how often it is looked whether any is too slow")


class ConnectionSettings(ConnectionLimits):
    """The same of a server with event streams."""

    streams: int = Field(default=100, ge=1, le=65_536, description="event streams open at once; beyond it: 503")


class ServiceSettings(Frozen):
    """The HTTP service."""

    listen: Annotated[str, AfterValidator(address)] = "127.0.0.1:8765"
    max_body_bytes: int = Field(default=33_554_432, ge=1024, le=1_073_741_824)
    body_bytes: int = Field(
        default=268_435_456,
        ge=1024,
        le=68_719_476_736,
        description="of all notifications that are read or wait for their commit; beyond it: 503",
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=67_108_864,
        description="with more in use no alerts are taken: 503; null: four fifths of what there is",
    )
    max_json_depth: int = Field(default=32, ge=4, le=200)
    shutdown_seconds: Seconds = 20.0
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="told to end, it still answers for so long while /readyz says 503, so that a load balancer notices",
    )
    connections: ConnectionSettings = ConnectionSettings()
    tls: TlsSettings | None = Field(default=None, description="null: plain HTTP, for what stands before it to encrypt")
    fleet_seconds: Seconds = Field(
        default=10.0, description="how long a look at the whole fleet waits for an environment's platform"
    )


class IntakeSettings(Frozen):
    """The webhook's limits."""

    queue_notifications: int = Field(default=2000, ge=1, le=1_000_000, description="waiting for commit; beyond it: 503")
    commit_seconds: Seconds = Field(default=10.0, description="an answer not committed by then is a 503")
    wait_seconds: float = Field(
        default=1.0,
        gt=0,
        le=600,
        description="so long what came before may wait for its commit, and an answer for its turn; beyond it: 503",
    )
    least_free_bytes: int = Field(
        default=8_388_608, ge=0, le=1_099_511_627_776, description="with less disk left for the state it is not ready"
    )
    basic_auth_user: str = Field(
        default="alertmanager", min_length=1, description="any user name with this one's token as password"
    )


class RunSettings(Frozen):
    """The durable runs."""

    threads: int = Field(default=32, ge=2, le=512)
    sweep_seconds: float = Field(
        default=1.0, gt=0, le=60, description="how often waiting runs and lost incidents are looked for"
    )
    takeover_seconds: float = Field(
        default=10.0,
        ge=2,
        le=600,
        description="when several processes share the state: after so long without a sign of life the others take over",
    )
    max_recovery_attempts: int = Field(default=10, ge=1, le=1000)
    read_attempts: int = Field(default=3, ge=1, le=20)
    retry_seconds: float = Field(default=0.5, gt=0, le=60)
    lookup_seconds: Seconds = Field(
        default=300.0, description="how long an unreachable platform is asked again about an alert and its target"
    )
    rehearsal_seconds: float = Field(
        default=10.0,
        ge=0,
        le=120,
        description="how long a preview waits for what the platform says; 0: it is not asked",
    )
    journal_seconds: float = Field(
        default=3600.0, ge=60, le=31_536_000, description="how long the engine's entries of an ended part are kept"
    )


class MessageKind(StrEnum):
    """What a message wants of its reader."""

    ESCALATION = "escalation"  # UICI cannot go on: a human has to
    REFUSED = "refused"  # a guard or a person said no, so nothing was done
    PROPOSAL = "proposal"  # what would have been done, where UICI may only propose
    APPROVAL = "approval"  # a plan waits for an answer, and expires
    CONFIGURATION_REJECTED = "configuration_rejected"  # a change of UICI's own configuration is not in force
    OUTCOME = "outcome"  # how something ended of which nobody has to do anything


ASKING = (
    MessageKind.ESCALATION,
    MessageKind.REFUSED,
    MessageKind.PROPOSAL,
    MessageKind.APPROVAL,
    MessageKind.CONFIGURATION_REJECTED,
)
"""The kinds that everybody gets who did not choose: whatever may want something of a person."""


class MessageLimit(Frozen):
    """At most so many messages in a window, which begins with the first; the rest is summarised when it has passed."""

    messages: int = Field(default=1, ge=1, le=1000)
    seconds: float = Field(default=3600.0, ge=1, le=604_800)


class MessageLimits(Frozen):
    """The limit of each kind of message, for each channel by itself; `null` for none."""

    escalation: MessageLimit | None = MessageLimit()
    refused: MessageLimit | None = MessageLimit()
    proposal: MessageLimit | None = MessageLimit()
    approval: MessageLimit | None = Field(default=None, description="a question expires, so it is not held by default")
    configuration_rejected: MessageLimit | None = MessageLimit()
    outcome: MessageLimit | None = MessageLimit()

    def of(self, kind: MessageKind) -> MessageLimit | None:
        """The limit of a kind."""
        limit: MessageLimit | None = getattr(self, kind.value)
        return limit


class ChannelSettings(Frozen):
    """One way to people through Apprise, and which messages go there."""

    url: Secret = Field(description="an Apprise URL (https://appriseit.com/services/)")
    kinds: tuple[MessageKind, ...] = Field(default=ASKING, min_length=1)
    severity: str | None = Field(default=None, description="the least severe that is told here; null for all")
    format: Literal["text", "markdown"] = "text"


class RetrySettings(Frozen):
    """How long a receiver that does not accept is asked again: with growing pauses, of which chance decides a part."""

    tries: int = Field(default=450, ge=1, le=100_000, description="about three days: the longest weekend")
    first_seconds: float = Field(default=2.0, gt=0, le=3600)
    longest_seconds: float = Field(default=600.0, gt=0, le=86_400)


class NotifySettings(Frozen):
    """Telling people: always the log and the event stream; a webhook and channels when given."""

    webhook: Secret | None = Field(default=None, description="URL that gets a JSON document per message")
    outcomes: bool = Field(default=False, description="tell the log and the webhook of good ends too")
    timeout: Seconds = Field(default=10.0, description="how long a receiver may be silent")
    send_seconds: float = Field(default=30.0, gt=0, le=600, description="how long one delivery may take in all")
    channels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")], ChannelSettings] = Field(
        default_factory=dict
    )
    limits: MessageLimits = MessageLimits()
    severities: dict[str, int] = Field(
        default_factory=lambda: {"info": 1, "warning": 2, "critical": 4},
        description="the values of the label `severity`, each with its rank; an unknown one counts as the highest",
    )
    retry: RetrySettings = RetrySettings()
    incident_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s{}]*\{incident\}[^\s{}]*$",
        description="a page of your own about an incident, with {incident} for its id; messages link it",
    )
    guide_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s{}]*\{guide\}[^\s{}]*$",
        description="where people read a guide, with {guide} for its name; messages link it",
    )

    @model_validator(mode="after")
    def _consistent(self) -> NotifySettings:
        for name, channel in self.channels.items():
            if name in BUILTIN_CHANNELS:
                raise ValueError(f"channels.{name}: this name is taken by UICI's own {name}; choose another")
            if channel.severity is not None and channel.severity not in self.severities:
                known = ", ".join(sorted(self.severities, key=lambda each: self.severities[each]))
                raise ValueError(f"channels.{name}.severity: {channel.severity!r} is not in severities: {known}")
        return self

    @property
    def outcomes_wanted(self) -> bool:
        """Whether anybody is told how things ended."""
        return self.outcomes or any(MessageKind.OUTCOME in channel.kinds for channel in self.channels.values())

    def rank(self, severity: str) -> int:
        """How severe that is. What is not listed counts as the highest: telling too much is the lesser evil."""
        return self.severities.get(
            severity, self.severities.get(severity.lower(), max(self.severities.values(), default=0))
        )


BUILTIN_CHANNELS = ("log", "webhook")
"""Told of everything, without a limit: they are for machines and for reading back."""


class SelfSettings(Frozen):
    """What UICI is called on this site, beyond what it finds out by itself."""

    names: tuple[str, ...] = ("uici",)


class CatalogueSettings(Frozen):
    """How the configuration itself is followed."""

    reload_seconds: float = Field(
        default=1.0, ge=0, le=3600, description="how often the files are looked at; 0 means only when told to"
    )


class RecordSettings(Frozen):
    """What is kept with an incident, and how much of it is handed out."""

    result_bytes: int = Field(
        default=262_144, ge=1024, le=16_777_216, description="of one result; longer ones are shortened, and say so"
    )
    incident_bytes: int = Field(
        default=4_194_304, ge=1024, le=268_435_456, description="of all kept results of one incident"
    )
    bundle_bytes: int = Field(default=67_108_864, ge=65_536, le=1_073_741_824, description="of a bundle, unpacked")


class AuditSettings(Frozen):
    """The audit log."""

    seal: Secret | None = Field(
        default=None, description="a key that the head of the log is sealed with; who can write only the state lacks it"
    )


class DoctorSettings(Frozen):
    """When `uici doctor` warns."""

    clock_skew_seconds: Seconds = Field(default=2.0, description="between UICI's clock and another's")
    free_bytes: int = Field(default=1_073_741_824, ge=0, description="free room where the state lies; a tenth fails")
    journal_bytes: int = Field(default=4_294_967_296, ge=0, description="size of the state with its journal")
    file_descriptors: int = Field(default=1024, ge=64, description="how many the process may open")


class PlatformFile(Frozen):
    """What stands in platform.yml."""

    state: str = Field(
        default="sqlite:///uici.db",
        pattern=r"^(sqlite|postgresql)(\+\w+)?://",
        description="a relative SQLite file lies in the configuration's folder; postgresql://user@host/database lets "
        "several processes share it",
    )
    service: ServiceSettings = ServiceSettings()
    access: AccessSettings = AccessSettings()
    intake: IntakeSettings = IntakeSettings()
    runs: RunSettings = RunSettings()
    notify: NotifySettings = NotifySettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    records: RecordSettings = RecordSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    council: CouncilSettings | None = Field(
        default=None, description="a model that is asked for plans where no rule has one; null: nobody is asked"
    )
    self: SelfSettings = SelfSettings()
    doctor: DoctorSettings = DoctorSettings()
