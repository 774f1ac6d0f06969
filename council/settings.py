"""The council's own settings: the shape of agents.yml. Durations are in seconds, prices in US dollars."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import snowballstemmer
from pydantic import AfterValidator, Field, field_validator, model_validator

from uici.model.base import Frozen
from uici.model.patterns import pattern
from uici.model.secret import Secret
from uici.model.settings import ConnectionLimits, address

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Expression = Annotated[str, Field(max_length=1000), AfterValidator(lambda text: pattern(text).text)]
Feature = Literal["tools", "json_schema", "logprobs", "embeddings", "completions"]

EMBEDDINGS: Literal["embeddings"] = "embeddings"
"""Under this name, as under a route's, `/v1/embeddings` is counted and has its budget."""


class ListeningSettings(Frozen):
    """The HTTP service."""

    listen: Annotated[str, AfterValidator(address)] = "127.0.0.1:8310"
    max_body_bytes: int = Field(default=8_388_608, ge=1024, le=1_073_741_824)
    requests_at_once: int = Field(default=256, ge=1, le=65_536, description="beyond it: 503 with Retry-After")
    shutdown_seconds: float = Field(default=20.0, ge=0, le=3600)
    connections: ConnectionLimits = ConnectionLimits()


class Caller(Frozen):
    """Who may come in: the key as its sender shows it, and whose requests these are."""

    key: Secret
    tenant: Name | None = None
    """Whose budget and memory; None means the caller's own name."""
    administers: bool = False
    """Whether weights of the canary may be changed with it, and what is remembered of all tenants be seen."""


class Price(Frozen):
    """What a backend costs; all zero for what runs on one's own machines."""

    input_per_million: Decimal = Field(default=Decimal(0), ge=0, le=1_000_000)
    output_per_million: Decimal = Field(default=Decimal(0), ge=0, le=1_000_000)
    request: Decimal = Field(default=Decimal(0), ge=0, le=1000)

    @property
    def free(self) -> bool:
        """Whether requests cost nothing."""
        return not (self.input_per_million or self.output_per_million or self.request)


class BreakerSettings(Frozen):
    """When a backend is left alone."""

    failures: int = Field(default=5, ge=1, le=1000, description="one after the other")
    open_seconds: float = Field(default=10.0, gt=0, le=3600, description="then one request tries it")


class Backend(Frozen):
    """A server with an OpenAI-compatible API, or what answers from memory."""

    kind: Literal["openai", "recall"] = "openai"
    url: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$", description="up to and with /v1")
    key: Secret | None = None
    model: str | None = Field(default=None, min_length=1, max_length=256, description="what the server calls it")
    embedding_model: str | None = Field(default=None, min_length=1, max_length=256)
    features: frozenset[Feature] = frozenset({"tools", "json_schema", "logprobs", "embeddings", "completions"})
    price: Price = Price()
    at_once: int = Field(default=64, ge=1, le=10_000, description="connections to it")
    connect_seconds: float = Field(default=2.0, gt=0, le=300)
    first_seconds: float = Field(default=60.0, gt=0, le=3600, description="until its first content")
    idle_seconds: float = Field(default=30.0, gt=0, le=3600, description="between two pieces of a stream")
    breaker: BreakerSettings = BreakerSettings()

    @model_validator(mode="after")
    def _complete(self) -> Backend:
        if self.kind == "openai" and (self.url is None or self.model is None):
            raise ValueError("a backend of the kind openai needs url and model")
        if self.kind == "recall" and (self.url, self.key, self.model) != (None, None, None):
            raise ValueError("a backend of the kind recall has no url, key or model: it answers from memory")
        return self


class When(Frozen):
    """For which requests a stage is meant; all that is given has to hold."""

    matches: Expression | None = Field(default=None, description="RE2, searched in the last message of the user")
    most_input_tokens: int | None = Field(default=None, ge=1)
    tools: bool | None = None


class Stage(Frozen):
    """One step of a cascade: a pool of backends of which one answers."""

    name: Name
    backends: dict[Name, Annotated[float, Field(ge=0, le=100)]] = Field(min_length=1)
    """Backend -> its weight."""
    when: When = When()
    gate: float | None = Field(default=None, ge=0, le=1, description="instead of the route's")
    prior: float = Field(
        default=0.5, ge=0, le=1, description="how probably right an answer is of which nothing else is known"
    )
    skip_below: float | None = Field(
        default=None, ge=0, le=1, description="left out when the question alone makes a right answer less probable"
    )
    attempts: int = Field(default=3, ge=1, le=10, description="before the first content")
    backoff_seconds: float = Field(
        default=0.25, ge=0, le=60, description="at most before the first retry, then doubled"
    )
    hedge_seconds: float | None = Field(
        default=None, gt=0, le=600, description="without content by then a second attempt begins beside the first"
    )

    @model_validator(mode="after")
    def _some_weight(self) -> Stage:
        if not any(self.backends.values()):
            raise ValueError("all weights are 0, so nothing would ever answer")
        return self


class Compress(Frozen):
    """How a conversation is made shorter, where it is too long."""

    tokens: int = Field(ge=64, description="of a request's input, estimated as for most_input_tokens")
    by: Name | None = Field(default=None, description="the backend that summarises; null: the sentences that say most")
    facts: int = Field(default=8, ge=0, le=100, description="as many remembered facts are given with it, at most")


class Recall(Frozen):
    """What is known of a question, given to models that answer it: what was told, and what guides say."""

    tokens: int = Field(default=800, ge=64, le=100_000, description="of all that is given, at most")
    facts: int = Field(default=4, ge=0, le=100, description="so many remembered facts, at most")
    passages: int = Field(default=3, ge=0, le=20, description="so many sections of guides, at most")


class Route(Frozen):
    """What a request's `model` names."""

    stages: tuple[Stage, ...] = Field(min_length=1, max_length=16)
    gate: float = Field(default=0.65, ge=0, le=1, description="how probably right an answer has to be")
    most_input_tokens: int = Field(default=32_768, ge=1)
    most_output_tokens: int = Field(default=4096, ge=1)
    bytes_per_token: float = Field(
        default=3.0, ge=1, le=16, description="by which the input's tokens are estimated before a backend counts them"
    )
    deadline_seconds: float = Field(default=120.0, gt=0, le=3600, description="until the first content of a stream")
    compress: Compress | None = Field(default=None, description="null: what is longer than the route takes is refused")

    recall: Recall | None = Field(
        default=Recall(), description="null: models are given nothing beside the conversation, unless it is compressed"
    )

    @model_validator(mode="after")
    def _compresses(self) -> Route:
        if self.compress is not None and self.compress.tokens > self.most_input_tokens:
            raise ValueError("compress.tokens exceeds most_input_tokens: nothing would ever be compressed in time")
        return self

    @model_validator(mode="after")
    def _stages_once(self) -> Route:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        return self


class Budget(Frozen):
    """US dollars of one day (UTC). None means no limit of this kind."""

    day: Decimal | None = Field(default=None, ge=0)
    routes: dict[Name, Decimal] = Field(default_factory=dict)
    tenants: dict[Name, Decimal] = Field(default_factory=dict)
    pools: dict[Name, Decimal] = Field(default_factory=dict)
    lease_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="a reservation of a process that died counts as spent after it"
    )


class VectorSettings(Frozen):
    """Recall by what texts mean, with the embeddings of the backend that `embeddings` names."""

    least_cosine: float = Field(default=0.75, gt=0, le=1, description="from which agent-0 answers with a fact")
    alike_cosine: float = Field(default=0.97, gt=0, le=1, description="from which two facts are the same")
    exact_to: int = Field(
        default=100_000, ge=100, description="vectors of one session; above it only near ones are compared"
    )
    least_recall: float = Field(
        default=0.98, gt=0, le=1, description="the part of the ten nearest that is found then; else all are compared"
    )
    wait_seconds: float = Field(default=2.0, gt=0, le=60, description="for embeddings; then words alone are used")
    retry_seconds: float = Field(default=5.0, gt=0, le=3600, description="until missing vectors are tried again")


class MemorySettings(Frozen):
    """What is remembered, and for how long."""

    state: str = Field(default="state/memory.db", min_length=1, description="relative to the configuration's folder")
    redis: Secret | None = Field(
        default=None, description="URL of a Redis for it instead of the file, for councils on several hosts"
    )
    flush_seconds: float = Field(default=0.5, gt=0, le=5, description="what a crash takes at most")
    flush_count: int = Field(default=200, ge=1, le=100_000)
    most_waiting: int = Field(default=10_000, ge=1, le=1_000_000)
    most_per_tenant: int = Field(default=100_000, ge=1)
    longest: int = Field(default=4000, ge=1, le=1_000_000, description="characters of one fact")
    alike: float = Field(default=0.9, gt=0, le=1, description="Jaccard's index of stems from which two are the same")
    archive_days: float = Field(default=30.0, gt=0)
    archive_every_seconds: float = Field(default=3600.0, gt=0, le=86_400, description="how often that is looked after")
    vectors: VectorSettings | None = Field(default=None, description="null: recall by words alone")
    suspicious: tuple[Expression, ...] = Field(default=(), description="what looks like an order to a model")
    language: str = Field(default="english", description="one of Snowball's stemmers")
    empty_words: tuple[str, ...] = ()
    kinds: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="words that ask for one of several values"
    )

    @field_validator("language")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in (known := snowballstemmer.algorithms()):
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return value


class GuideSettings(Frozen):
    """Guides that agent-0 quotes, beside what it was told."""

    folder: str = Field(min_length=1, description="of Markdown files; relative to the configuration's folder")
    state: str = Field(default="state/guides.db", min_length=1, description="their index, made of the files")
    redis: Secret | None = Field(default=None, description="URL of a Redis for the index instead, for several hosts")


class LearningSettings(Frozen):
    """How outcomes change what is expected of a stage."""

    least_outcomes: int = Field(default=50, ge=20, description="before them a stage is taken as it declares itself")
    isotonic_from: int = Field(default=1000, ge=100, description="fewer are fitted by a sigmoid")
    most_outcomes: int = Field(default=20_000, ge=100, description="older ones no longer count")
    keeps_questions: bool = Field(
        default=False, description="keep what was asked beside its outcome, so that stages learn what they can answer"
    )
    learn_every: int = Field(default=20, ge=1, description="new outcomes until a stage is calibrated anew")


class CanaryGates(Frozen):
    """When a canary is taken back."""

    most_drop: float = Field(default=0.03, ge=0, lt=1, description="of the share of right answers")
    found_drop: float = Field(default=0.05, gt=0, lt=1, description="a true drop that has to be found")
    power: float = Field(default=0.8, gt=0, lt=1, description="how probably it has to be found")
    significance: float = Field(default=0.05, gt=0, lt=0.5, description="how probably chance alone may fail a canary")
    least_discordance: float = Field(
        default=0.05, gt=0, lt=1, description="the share of differing answers that is reckoned with at the least"
    )
    least_requests: int = Field(default=200, ge=20, description="of each side, for latency, errors and cost")
    most_slower: float = Field(default=1.25, ge=1, description="its p95 as a multiple of main's")
    most_errors: float = Field(default=0.01, ge=0, lt=1, description="its error rate above main's")
    most_dearer: float = Field(default=1.5, ge=1, description="its cost of a request as a multiple of main's")

    @model_validator(mode="after")
    def _can_be_found(self) -> CanaryGates:
        if self.found_drop <= self.most_drop:
            raise ValueError("found_drop has to exceed most_drop: a drop that is allowed cannot be found")
        return self


class Told(Frozen):
    """Where a verdict is pushed to: UICI's webhook, as Alertmanager would."""

    url: str = Field(pattern=r"^https?://[^\s@]+$")
    key: Secret | None = None
    labels: dict[str, str] = Field(
        default_factory=lambda: {"uici_target": "council-canary"},
        description="beside alertname and severity: they lead to the target that stands for the canary",
    )
    again_seconds: float = Field(default=5.0, gt=0, le=60)


class Canary(Frozen):
    """A new backend in the place of another one for a share of the requests."""

    main: Name
    backend: Name
    steps: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.05, 0.25, 1.0), description="the shares that it is promoted to, one after the other"
    )
    gates: CanaryGates = CanaryGates()
    look_seconds: float = Field(default=1.0, gt=0, le=30, description="until another process's weight is taken up")
    tell: Told | None = None


class AgentsFile(Frozen):
    """All of agents.yml."""

    service: ListeningSettings = ListeningSettings()
    state: str = Field(default="state/council.db", min_length=1, description="relative to the configuration's folder")
    reload_seconds: float = Field(default=2.0, gt=0, le=3600, description="how often it is looked whether this changed")
    callers: dict[Name, Caller] = Field(default_factory=dict)
    backends: dict[Name, Backend] = Field(default_factory=dict)
    routes: dict[Name, Route] = Field(default_factory=dict)
    default_route: Name = "council"
    embeddings: Name | None = None
    """Whose embeddings `/v1/embeddings` gives."""
    budget: Budget = Budget()
    memory: MemorySettings = MemorySettings()
    guides: GuideSettings | None = None
    learning: LearningSettings = LearningSettings()
    canary: Canary | None = None

    @property
    def counted(self) -> tuple[str, ...]:
        """Under which names requests are counted, and have budgets."""
        return (*self.routes, *((EMBEDDINGS,) if self.embeddings is not None else ()))
