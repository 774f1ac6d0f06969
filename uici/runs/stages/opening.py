"""The first stages: which target, may it be looked at now, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, select

from uici.diagnosis.findings import find, required_operations
from uici.intake.targeting import TargetIndex, index_of
from uici.model.alert import Alert, AlertOutcome
from uici.model.call import CallError, FailureKind
from uici.model.errors import Problem
from uici.model.filling import IncidentValues, MissingValueError
from uici.model.guide import Guide
from uici.model.incident import Finding, IncidentState, Observation
from uici.model.operation import BUILTIN
from uici.model.site import Site, Strategy
from uici.model.thresholds import usable
from uici.notify.messages import Further
from uici.runs import records
from uici.runs.consulting import consulted
from uici.runs.data import LOOK_AGAIN, RunData, RunState, Stage
from uici.runs.keeping import DIAGNOSIS, keep, kept_of
from uici.runs.platforms import Platforms
from uici.runs.services import Services
from uici.store.schema import alerts, incidents, runs

UNREACHABLE = "platform_unreachable"
"""Reason code: no look succeeded, and the way to the platform failed; also the event of a run that waits for it."""
LOOK_FAILED = "look_failed"
"""Reason code: no look succeeded, and none ever will: the platform, or the configuration, refuses."""

_MOST_GUIDES = 5
"""Of one incident; people read the first."""
_ERRORS_TOLD = 2
_SOON = timedelta(seconds=0.1)
_DIAGNOSED = (
    incidents.update()
    .where(incidents.c.id == bindparam("incident"))
    .values(strategy=bindparam("chosen"), findings=bindparam("known"))
)
_LOOKED = (
    runs.update()
    .where(runs.c.id == bindparam("run"), runs.c.first_call_at.is_(None))
    .values(first_call_at=bindparam("looked_at"))
)


def target(services: Services, data: RunData) -> RunData:
    """Find the target that labels alone did not name, by asking the platform; merge with its open incident."""
    if data.target is not None:
        return data.to(Stage.HOLD)
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
    site = services.site()
    index = index_of(site)
    why: list[str] = []
    failed: list[Failure] = []
    answered = False
    for alert in firing:
        targeted = index.resolve(alert, services.identity, services.layers)
        environment = targeted.environment
        name = targeted.target
        if name is None and targeted.needs_lookup and environment is not None:
            try:
                name, reason = _look_up(services, index, alert, environment)
                answered = True
            except (CallError, Problem) as error:
                failed.append(Failure.of(environment, error))
                reason = f"{environment} could not be asked: {error}"
            why.append(reason)
        if name is not None and environment is not None:
            return _adopt(services, data, environment, name)
        why.append(targeted.reason)
    patient = _patiently(services, data, failed)
    if patient is not None:
        return patient
    told = list(dict.fromkeys(text for text in why if text))
    more = f" (and {len(told) - 2} more like it)" if len(told) > 2 else ""
    reason = "no_target: " + "; ".join(told[:2]) + more
    if failed and not answered:
        reason = blind("which target it is about is not known", failed)
    return data.ending(AlertOutcome.ESCALATED, reason)


def _look_up(services: Services, index: TargetIndex, alert: Alert, environment: str) -> tuple[str | None, str]:
    """The target that the platform names, or why there is none. Raises CallError or Problem where it was not asked."""
    found = services.platforms.executor(environment).find(alert.labels)
    name = index.match_found(found, environment)
    return name, "" if name else f"{environment} knows {len(found)} things of these labels, none of them a target"


def _patiently(services: Services, data: RunData, failed: Sequence[Failure]) -> RunData | None:
    """The run, to ask the unreachable platform again; None when that is of no use, or its patience has ended."""
    passing = [failure for failure in failed if failure.passes]
    if not passing:
        return None
    settings = services.site().platform.runs
    now = services.clock.now()
    since = min(data.asking_since or now, now)  # a clock that was set back does not lengthen the wait
    if now >= since + timedelta(seconds=settings.lookup_seconds):
        return None
    if data.asking_since is None:
        services.note_alone(data, UNREACHABLE, because=passing[0].error)
    looks = 0 if data.asking_since is None else data.looks
    pause = timedelta(seconds=settings.retry_seconds * 2 ** min(looks, 16))
    return data.parked(now + min(pause, LOOK_AGAIN), "platform", asking_since=since, looks=looks + 1)


def _adopt(services: Services, data: RunData, environment: str, name: str) -> RunData:
    """Make the incident one of the real target, or hand its alerts to the incident that is open there."""
    key = f"{environment}/{name}"
    with services.writing() as connection:
        other = connection.execute(
            select(incidents.c.id).where(incidents.c.key == key, incidents.c.state == IncidentState.OPEN)
        ).scalar_one_or_none()
        if other is not None and other != data.incident_id:
            connection.execute(
                alerts.update().where(alerts.c.incident_id == data.incident_id).values(incident_id=other)
            )
            connection.execute(
                runs.update()
                .where(runs.c.incident_id == other, runs.c.state != RunState.ENDED)
                .values(due_at=services.clock.now())
            )
            services.events.append(connection, "incident_merged", incident=data.incident_id, into=other, target=name)
            # Closed at once: an alert that comes now finds no open incident here that is about to end unheard.
            reason = f"the same target has the open incident {other}"
            connection.execute(
                incidents.update()
                .where(incidents.c.id == data.incident_id)
                .values(
                    state=IncidentState.CLOSED,
                    outcome=AlertOutcome.SUPERSEDED,
                    superseded_by=other,
                    reason=reason,
                    closed_at=services.clock.now(),
                )
            )
            return data.ending(AlertOutcome.SUPERSEDED, reason)
        connection.execute(
            incidents.update()
            .where(incidents.c.id == data.incident_id)
            .values(key=key, environment=environment, target=name)
        )
        services.events.append(
            connection, "target_found", incident=data.incident_id, environment=environment, target=name
        )
    return data.to(Stage.HOLD, environment=environment, target=name, asking_since=None, looks=0)


def hold(services: Services, data: RunData) -> RunData:
    """Wait while the target rests after an earlier run; the alert is kept and looked at again, never dropped."""
    policy = services.site().policies.cooldown
    seconds = policy.seconds
    if data.environment is None or data.target is None or not usable(seconds, policy, "seconds"):
        return data.to(Stage.DEPEND)  # an unusable threshold is the cooldown guard's to deny
    with services.store.read() as connection:
        last = records.last_run_ended(connection, data.environment, data.target)
    now = services.clock.now()
    # A run that ended later than now: the clock was set back, which the ticker puts right. The guard denies until then.
    if last is None or (now - last).total_seconds() >= seconds:
        return data.to(Stage.DEPEND)
    until = max(min(last, now) + timedelta(seconds=seconds), now + _SOON)
    if data.held_until is None:
        services.note_alone(data, "held", because="cooldown", until=until.isoformat())
    # The policy may be shortened meanwhile, so not in one go.
    return data.parked(min(until, now + LOOK_AGAIN), "cooldown", held_until=until)


def diagnose(services: Services, data: RunData) -> RunData:
    """Choose the strategy, look at the target, and turn what is seen into findings."""
    environment, target_name = data.place
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
    # A ladder under way is gone on with as it was, unless it does not cover what fires any more, or comes last and
    # another covers what has joined.
    chosen = _chosen(services.platforms_of(data).site, firing, data) if data.tried else None
    if chosen is None or (chosen[1].fallback and choose_strategy(services.site(), firing) is not None):
        site = services.site()
        chosen = _chosen(site, firing, data)
        data = data.model_copy(
            update={
                "catalogue": services.pins.pin(site, environment, chosen[0]) if chosen is not None else None,
                "target_spec": site.targets.get(target_name),
                "impossible": (),
            }
        )
    if chosen is None:
        names = ", ".join(sorted({alert.name for alert in firing}))
        why = f"no_strategy: no rule of strategies.yml covers {names}"
        return consulted(services, data, why) or data.ending(AlertOutcome.ESCALATED, why)
    name, strategy = chosen
    if strategy.action == "escalate":
        return data.ending(AlertOutcome.ESCALATED, f"by_rule: strategy {name} asks for a human", strategy=name)
    first_call = services.clock.now()
    platforms = services.platforms_of(data)
    values = values_of(platforms.site, name, firing, environment, target_name)
    observations, findings = look(platforms, strategy, values)
    failed = unseen(platforms.site, environment, observations)
    patient = _patiently(services, data, failed)
    if patient is not None:
        return patient
    results = kept_of(services, data, observations)
    note_diagnosis(services, data, name, findings, observations, first_call)
    if results:
        services.later(lambda connection: keep(connection, services, data, DIAGNOSIS, results))
    why = blind(f"nothing could be seen of {target_name}", failed) if failed else ""
    since = data.asking_since if failed else None  # patience that has ended does not begin again with the next rung
    return data.to(Stage.PLAN, strategy=name, findings=findings, unseen=why, asking_since=since, looks=0)


def _chosen(site: Site, firing: list[Alert], data: RunData) -> tuple[str, Strategy] | None:
    """The strategy of a run: once the council gave it no plan a fallback, where still no other covers what fires."""
    gave_none = data.consultation is not None and data.consultation.fell_back
    return choose_strategy(site, firing) or (choose_fallback(site, firing) if gave_none else None)


def choose_fallback(site: Site, firing: list[Alert]) -> tuple[str, Strategy] | None:
    """The first fallback strategy, in order of writing, that covers any of the firing alerts."""
    return next(iter(_covering(site, firing, fallback=True)), None)


def choose_strategy(site: Site, firing: list[Alert]) -> tuple[str, Strategy] | None:
    """The strategy of an incident: of all that cover its firing alerts the first in order of writing that heals,
    else the first that escalates.
    """
    ordered = _covering(site, firing)
    healing = [pair for pair in ordered if pair[1].action == "heal"]
    escalating = [pair for pair in ordered if pair[1].action == "escalate"]
    return next(iter(healing + escalating), None)


def _covering(site: Site, firing: list[Alert], *, fallback: bool = False) -> list[tuple[str, Strategy]]:
    """The strategies of either kind that cover firing alerts, in order of writing."""
    names = {found[0] for alert in firing if (found := site.strategy_for(alert, fallback=fallback)) is not None}
    return [(name, strategy) for name, strategy in site.strategies.items() if name in names]


def guides_for(
    site: Site, its_alerts: list[Alert], findings: Iterable[str], target: str | None, strategy: str | None
) -> tuple[Guide, ...]:
    """The guides for an incident, the most fitting first; also where no strategy was chosen yet."""
    chosen = choose_strategy(site, its_alerts) if strategy is None else None
    return site.guides_for(
        [alert.labels for alert in its_alerts], findings, target, chosen[0] if chosen is not None else strategy
    )[:_MOST_GUIDES]


def further(services: Services, data: RunData, its_alerts: list[Alert]) -> list[Further]:
    """Where people read on. Unlike the run the guides may be others by now: they advise people, who read them now."""
    site = services.site()
    named = [finding.name for finding in data.findings]
    page = site.platform.notify.guide_url
    return [
        Further(name=each.name, title=each.title, url=page.format(guide=each.name) if page else None)
        for each in guides_for(site, its_alerts, named, data.target, data.strategy)
    ]


def values_of(site: Site, strategy: str, firing: Sequence[Alert], environment: str, target_name: str) -> IncidentValues:
    """What the strategy's parameters may refer to: of the alerts, the oldest for which it was chosen."""
    fallback = site.strategies[strategy].fallback
    found = ((alert, site.strategy_for(alert, fallback=fallback)) for alert in firing)
    own = (alert for alert, chosen in found if chosen is not None and chosen[0] == strategy)
    spec = site.targets.get(target_name)
    binding = spec.bindings.get(environment) if spec is not None else None
    return IncidentValues.of(next(own, None), binding, environment, target_name)


def look(
    platforms: Platforms, strategy: Strategy, values: IncidentValues
) -> tuple[tuple[Observation, ...], tuple[Finding, ...]]:
    """Perform the read-only operations that the strategy names and its findings need.

    One that fails is an observation with an error, not an end.
    """
    rules = platforms.site.findings
    observations: list[Observation] = []
    for step in required_operations(strategy, rules):
        parameters = step.parameters
        try:
            parameters = values.fill(step.parameters)
            result = platforms.read(values.environment, values.target, step.operation, parameters)
        except (CallError, Problem, MissingValueError) as error:
            failure = error.kind if isinstance(error, CallError) else None
            observations.append(
                Observation(
                    operation=step.operation, parameters=parameters, result=None, error=str(error), failure=failure
                )
            )
        else:
            observations.append(Observation(operation=step.operation, parameters=parameters, result=result))
    return tuple(observations), find(observations, rules)


@dataclass(frozen=True)
class Failure:
    """A look that failed."""

    environment: str
    error: str
    passes: bool
    """The same look may succeed later."""

    @classmethod
    def of(cls, environment: str, error: CallError | Problem) -> Failure:
        """What was raised instead of an answer."""
        return cls(environment, str(error), isinstance(error, CallError) and error.kind is not FailureKind.PERMANENT)


def unseen(site: Site, environment: str, observations: Sequence[Observation]) -> list[Failure]:
    """The looks of a diagnosis that saw nothing at all of the platform; empty when at least one succeeded.

    What the monitoring says counts only where nothing else was to be looked at.
    """
    at_platform = [one for one in observations if BUILTIN not in site.operations[one.operation].translations]
    looks = at_platform or observations
    if any(one.result is not None for one in looks):
        return []
    passing = (FailureKind.TEMPORARY, FailureKind.UNKNOWN)
    return [Failure(environment, one.error or "", one.failure in passing) for one in looks]


def blind(what: str, failed: Sequence[Failure]) -> str:
    """The reason of who could not see, its code first, with what to do. `failed` holds at least one."""
    passing = [failure for failure in failed if failure.passes]
    code, meant = (UNREACHABLE, passing) if passing else (LOOK_FAILED, failed)
    where = meant[0].environment
    errors = list(dict.fromkeys(failure.error.rstrip(".") for failure in meant))[:_ERRORS_TOLD]
    return f"{code}: {what}, {where} could not be asked: {'; '.join(errors)}. Look with `uici doctor -e {where}`"


def note_diagnosis(
    services: Services,
    data: RunData,
    strategy: str | None,
    findings: tuple[Finding, ...],
    observations: tuple[Observation, ...],
    first_call: datetime,
) -> None:
    """Tell of what was found, and keep it with the incident."""
    known = [finding.model_dump(mode="json") for finding in findings]

    def write(connection: Connection) -> None:
        connection.execute(_DIAGNOSED, {"incident": data.incident_id, "chosen": strategy, "known": known})
        connection.execute(_LOOKED, {"run": data.run_id, "looked_at": first_call})

    services.later(write)
    services.note_alone(
        data,
        "diagnosed",
        strategy=strategy,
        findings=[finding.name for finding in findings],
        failed={item.operation: item.error for item in observations if item.error},
    )
