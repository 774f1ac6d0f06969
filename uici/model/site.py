"""A site's configuration as frozen types: the shape of every file in the configuration tree but platform.yml.

The catalogue builds these from YAML, and the JSON Schema of each file is derived from them. Every duration is
in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from uici.model.alert import HEARTBEAT_MISSING, Alert
from uici.model.base import Frozen, JsonObject
from uici.model.condition import Condition
from uici.model.guide import Guide, relevant
from uici.model.learning import LearningPolicy, Prior
from uici.model.matching import Matcher, all_match
from uici.model.operation import NAME, REFERENCE, Operation, OperationBody, Translation
from uici.model.plan import VerifySettings
from uici.model.policies import (
    ApprovalPolicy,
    BlastRadiusPolicy,
    CooldownPolicy,
    DependencyPolicy,
    GiveUpPolicy,
    MassFailurePolicy,
    RiskPolicy,
)
from uici.model.servers import Alertmanager, Prometheus, TrafficServer
from uici.model.settings import PlatformFile


class Autonomy(StrEnum):
    """How far UICI may go by itself. Ordered: observe < propose < approve < auto."""

    OBSERVE = "observe"
    PROPOSE = "propose"
    APPROVE = "approve"
    AUTO = "auto"


# --- environments.yml -----------------------------------------------------------------------------------------


class Environment(Frozen):
    """A place where targets live."""

    platform: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    summary: str = ""
    match: tuple[Matcher, ...] = Field(default=(), description="alerts with these labels belong here")
    connection: JsonObject = Field(default_factory=dict, description="the executor's own settings")
    prometheus: Prometheus | None = None
    alertmanager: Alertmanager | None = None
    traffic: TrafficServer | None = None
    autonomy: Autonomy | None = None


class EnvironmentsFile(Frozen):
    """What stands in environments.yml."""

    default: str = "local"
    environments: dict[str, Environment] = Field(default_factory=dict)


# --- targets.yml ----------------------------------------------------------------------------------------------


class TargetingRule(Frozen):
    """One way from an alert's labels to a target. Rules are tried in order; the first that names one target wins."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    use: Literal["target_matchers", "label", "lookup"]
    label: str | None = None
    equals: str = Field(default="name", description="`name` (or an alias), or a dotted path into the target's binding")
    namespace_label: str | None = Field(
        default=None, description="must equal the binding's `namespace` where the alert and the binding have one"
    )
    owner_of_pod: bool = Field(
        default=False,
        description="the label names a pod: what owns it (deployment, stateful or daemon set) is meant too",
    )
    messenger: bool = Field(
        default=False, description="the label often names the exporter: skipped when `exporters` match"
    )
    when: tuple[Matcher, ...] = ()

    @model_validator(mode="after")
    def _label_given(self) -> TargetingRule:
        if (self.use == "target_matchers") is (self.label is not None):
            raise ValueError("use: label and use: lookup need a label; use: target_matchers takes none")
        if self.owner_of_pod and self.use != "label":
            raise ValueError("owner_of_pod goes with use: label only")
        return self


class Targeting(Frozen):
    """How targets are found."""

    exporters: tuple[Matcher, ...] = Field(
        default=(), description="an alert that matches any of these came from a messenger"
    )
    victim_labels: tuple[str, ...] = Field(
        default=(), description="labels that name the victim; with one present messenger labels are never used"
    )
    rules: tuple[TargetingRule, ...] = ()


class TargetSpec(Frozen):
    """A managed service: one name, bound to a concrete thing in each environment."""

    summary: str = ""
    aliases: tuple[str, ...] = ()
    group: str | None = Field(default=None, description="members of a group stand in for each other; see min_healthy")
    match: tuple[Matcher, ...] = Field(default=(), description="alerts with all these labels are about this target")
    autonomy: Autonomy | None = None
    watch_only: bool = Field(default=False, description="watched and escalated, never acted on")
    depends_on: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="targets that this one cannot do without, where it is itself; ENVIRONMENT/TARGET for one elsewhere",
    )
    bindings: dict[str, JsonObject] = Field(min_length=1, description="environment -> the executor's binding")


class TargetsFile(Frozen):
    """What stands in targets.yml."""

    targeting: Targeting = Targeting()
    targets: dict[str, TargetSpec] = Field(default_factory=dict)


# --- operations.yml, command_translations.yml, operations/<verb>.yml ------------------------------------------


class OperationsFile(Frozen):
    """What stands in operations.yml."""

    operations: dict[str, OperationBody] = Field(default_factory=dict)


class TranslationsFile(Frozen):
    """What stands in command_translations.yml."""

    translations: dict[str, dict[str, Translation]] = Field(
        default_factory=dict, description="operation -> platform -> translation"
    )


class ExpectedCall(Frozen):
    """One call that a test of a verb expects."""

    call: str
    arguments: JsonObject = Field(default_factory=dict)


class VerbTest(Frozen):
    """A test that a verb's file carries: translating these parameters gives exactly these calls, or this error."""

    name: str
    platform: str
    target: JsonObject = Field(default_factory=dict, description="a binding")
    parameters: JsonObject = Field(default_factory=dict)
    expect: tuple[ExpectedCall, ...] = ()
    error: str | None = Field(default=None, description="text that the refusal contains")


class VerbFile(Frozen):
    """operations/<verb>.yml: one verb, complete."""

    operation: OperationBody
    translations: dict[str, Translation] = Field(min_length=1)
    tests: tuple[VerbTest, ...] = Field(
        min_length=1,
        description=(
            "a list of at least one test of the verb: name, platform, target, parameters, and the calls to expect or "
            "the error"
        ),
    )


# --- findings.yml ---------------------------------------------------------------------------------------------


class Evidence(Frozen):
    """Conditions on the result of one read-only operation."""

    operation: str = Field(pattern=NAME)
    all: tuple[Condition, ...] = Field(min_length=1)


class FindingRule(Frozen):
    """A finding and the observations that establish it: any one of `when` suffices."""

    summary: str
    when: tuple[Evidence, ...] = Field(min_length=1)


class FindingsFile(Frozen):
    """What stands in findings.yml."""

    findings: dict[str, FindingRule] = Field(default_factory=dict)


# --- strategies.yml -------------------------------------------------------------------------------------------


FIRES_WHILE_HEALTHY = "fires_while_healthy"
"""The one finding without a rule: the target was found healthy for as long as a silence is awaited, and yet the alert
fires. Only a rung that asks for it is taken then."""


def _operation_or_name(value: Any) -> Any:
    return {"operation": value} if isinstance(value, str) else value


class RemedyStep(Frozen):
    """One step of a remedy; the target is the incident's."""

    operation: str = Field(pattern=NAME)
    parameters: JsonObject = Field(default_factory=dict)


StepText = Annotated[
    RemedyStep,
    BeforeValidator(_operation_or_name, json_schema_input_type=Annotated[str, Field(pattern=NAME)] | RemedyStep),
]


class FindingsWanted(Frozen):
    """Which findings a rung needs."""

    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def satisfied_by(self, findings: frozenset[str]) -> bool:
        """Whether the named findings allow the rung; without conditions every set does."""
        return (
            (not self.any or bool(findings & set(self.any)))
            and set(self.all) <= findings
            and not findings & set(self.none)
        )


class Remedy(Frozen):
    """One rung of a ladder."""

    name: str = Field(pattern=NAME)
    when: FindingsWanted = FindingsWanted()
    requires: tuple[Annotated[str, Field(pattern=REFERENCE.pattern)], ...] = Field(
        default=(),
        max_length=20,
        description="references such as ${target.reclaim}: without a value for each the rung is passed over",
    )
    steps: tuple[StepText, ...] = Field(min_length=1, max_length=20)
    verify: VerifySettings = VerifySettings()
    alternative: str | None = Field(
        default=None,
        pattern=NAME,
        description="neighbouring remedies of the same name are alternatives: what helped before is tried first",
    )
    prior: Prior | None = Field(default=None, description="what is believed of an alternative before it was tried")


class Strategy(Frozen):
    """Which alerts, which diagnosis, and a ladder of remedies to try in order."""

    summary: str = ""
    match: tuple[Matcher, ...] = Field(min_length=1)
    action: Literal["heal", "ignore", "escalate", "heartbeat"] = "heal"
    fallback: bool = Field(
        default=False,
        description="taken only where no other strategy covers the incident and the council gave no plan in time",
    )
    within_seconds: Annotated[float, Field(gt=0, le=604_800)] | None = Field(
        default=None, description="heartbeat: its absence for longer than this is an incident"
    )
    expected: Literal["after_first", "always"] | None = Field(
        default=None,
        description="heartbeat: missed once it has come twice in time (after_first, the default), or always",
    )
    advice: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        default=(), max_length=10, description="what people should do when they are told; comes first in the message"
    )
    diagnose: tuple[StepText, ...] = ()
    remedies: tuple[Remedy, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Strategy:
        if self.action == "heal" and not self.remedies:
            raise ValueError("action: heal needs remedies; use action: ignore or action: escalate otherwise")
        if (self.action == "heartbeat") is (self.within_seconds is None):
            raise ValueError("within_seconds belongs to action: heartbeat, which needs it")
        if self.action != "heartbeat" and self.expected is not None:
            raise ValueError("expected belongs to action: heartbeat")
        if self.action in ("ignore", "heartbeat") and self.advice:
            raise ValueError(f"action: {self.action} tells nobody, so it takes no advice")
        if self.action != "heal" and self.remedies:
            raise ValueError(f"action: {self.action} takes no remedies")
        if self.action != "heal" and self.fallback:
            raise ValueError("fallback belongs to action: heal; what no strategy heals goes to people anyway")
        return self


class StrategiesFile(Frozen):
    """strategies.yml: tried in order of writing; the first whose matchers all match an alert is taken.

    Those with `fallback` are tried after all others and after the council, in order of writing too.
    """

    strategies: dict[str, Strategy] = Field(default_factory=dict)


# --- policies.yml ---------------------------------------------------------------------------------------------


class PoliciesFile(Frozen):
    """What stands in policies.yml."""

    autonomy: Autonomy | None = None
    council_autonomy: Autonomy | None = Field(
        default=None, description="of plans that a model wrote; the lowest of all counts for these"
    )
    risk: RiskPolicy = RiskPolicy()
    cooldown: CooldownPolicy = CooldownPolicy()
    give_up: GiveUpPolicy = GiveUpPolicy()
    blast_radius: BlastRadiusPolicy = BlastRadiusPolicy()
    dependencies: DependencyPolicy = DependencyPolicy()
    mass_failure: MassFailurePolicy = MassFailurePolicy()
    approval: ApprovalPolicy = ApprovalPolicy()
    learning: LearningPolicy = LearningPolicy()


# --- the whole ------------------------------------------------------------------------------------------------


class Site(Frozen):
    """The whole configuration, loaded and checked: what the other rooms are given."""

    platform: PlatformFile
    default_environment: str
    default_because: str = ""
    """Who chose the default: the file, or what `auto` found here."""
    environments: dict[str, Environment]
    targeting: Targeting
    targets: dict[str, TargetSpec]
    operations: dict[str, Operation]
    findings: dict[str, FindingRule]
    strategies: dict[str, Strategy]
    policies: PoliciesFile
    verb_tests: dict[str, tuple[VerbTest, ...]] = Field(default_factory=dict)
    guides: dict[str, Guide] = Field(default_factory=dict)

    def strategy_for(self, alert: Alert, *, fallback: bool = False) -> tuple[str, Strategy] | None:
        """The first strategy whose matchers all match the alert's labels, with its name; None when there is none.

        Those for when a model gave no plan are asked for by `fallback`, and are alone then. The absence of a heartbeat
        bears the labels of its beats, and is none.
        """
        for name, strategy in self.strategies.items():
            if strategy.fallback is not fallback:
                continue
            if strategy.action == "heartbeat" and alert.name == HEARTBEAT_MISSING:
                continue
            if all_match(strategy.match, alert.labels):
                return name, strategy
        return None

    def guides_for(
        self,
        labels: Iterable[Mapping[str, str]] = (),
        findings: Iterable[str] = (),
        target: str | None = None,
        strategy: str | None = None,
    ) -> tuple[Guide, ...]:
        """The guides for an incident, the most fitting first: `labels` are its alerts', the rest what is known yet."""
        return relevant(self.guides.values(), labels, findings, target, strategy)

    def autonomy_of(self, target: str, environment: str) -> Autonomy | None:
        """The lowest autonomy that target, environment and site declare; None when the site's own is missing."""
        whole = self.policies.autonomy
        if not isinstance(whole, Autonomy):
            return whole
        own = self.targets[target].autonomy if target in self.targets else None
        place = self.environments[environment].autonomy if environment in self.environments else None
        return min((level for level in (own, place, whole) if level is not None), key=list(Autonomy).index)
