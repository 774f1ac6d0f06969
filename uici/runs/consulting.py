"""What a model is asked about: when it is asked at all, and everything that it is told."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select

from uici.model.alert import Alert
from uici.model.background import Background
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.council import CouncilSettings
from uici.model.errors import Problem
from uici.model.incident import Observation
from uici.model.masking import mask
from uici.model.plan import Step
from uici.model.shortening import shortened
from uici.model.site import Site
from uici.planning.council.vocabulary import vocabulary_of
from uici.runs import records
from uici.runs.consultation import Consultation
from uici.runs.data import RunData, RunState, Stage
from uici.runs.precedents import precedents
from uici.runs.services import Services
from uici.store.schema import runs

BY_COUNCIL = "council-"
"""How the remedies of a model are called: council-1, council-2."""
WAITING = "council"
"""What a run waits for that waits for its turn to ask, or for a council that is away."""
_MOST_ALERTS = 10
_LONGEST_GUIDE = 8000
COUNT_WAITING = (
    select(func.count()).select_from(runs).where(runs.c.state == RunState.WAITING, runs.c.waiting_for == WAITING)
)


def consults(site: Site, environment: str, target: str) -> bool:
    """Whether a model is asked about alerts of this target that no strategy covers."""
    spec = site.targets.get(target)
    return (
        site.platform.council is not None and spec is not None and environment in spec.bindings and not spec.watch_only
    )


def consulted(services: Services, data: RunData, because: str, *, after_ladder: bool = False) -> RunData | None:
    """The run on its way to ask a model, instead of ending for this reason; None where nobody is to be asked."""
    site = services.site()
    settings = site.platform.council
    environment, target = data.place
    if settings is None or not consults(site, environment, target):
        return None
    if (after_ladder and not settings.after_ladder) or planned(data) >= settings.plans:
        return None
    before = data.consultation
    if before is not None and before.fell_back:
        return None
    words = vocabulary_of(site, environment, target, settings)
    now = services.clock.now()
    return data.to(
        Stage.CONSULT,
        catalogue=services.pins.pin(site, environment, data.strategy, words.operations),
        target_spec=site.targets[target],
        consultation=Consultation(
            because=because,
            since=now,
            requests=before.requests if before is not None else 0,
            tokens=before.tokens if before is not None else 0,
            proposed=before.proposed if before is not None else (),
        ),
    )


def waiting(services: Services) -> int:
    """How many runs wait to ask."""
    with services.store.read() as connection:
        return connection.execute(COUNT_WAITING).scalar_one()


def planned(data: RunData) -> int:
    """How many plans of a model this run has carried out, or has before it."""
    return sum(name.startswith(BY_COUNCIL) for name in data.tried)


def looked(services: Services, data: RunData, steps: Iterable[Step]) -> tuple[Observation, ...]:
    """What is seen by these steps; a look that fails is a fact too."""
    environment, _ = data.place
    seen = []
    for step in steps:
        result: JsonObject | None = None
        wrong: str | None = None
        try:
            result = services.platforms.read(environment, step.target, step.operation, step.parameters)
        except (CallError, Problem) as error:
            wrong = str(error)
        parameters = {**step.parameters, "target": step.target} if step.target != data.target else step.parameters
        seen.append(Observation(operation=step.operation, parameters=parameters, result=result, error=wrong))
    return tuple(seen)


def as_facts(seen: Iterable[Observation], settings: CouncilSettings) -> tuple[Observation, ...]:
    """Observations as a model gets them, and a run keeps them until then: masked and shortened."""
    return tuple(
        one.model_copy(
            update={
                "result": None if one.result is None else shortened(mask(one.result), settings.result_bytes)[0],
                "error": None if one.error is None else str(mask(one.error)),
            }
        )
        for one in seen
    )


def remembered(services: Services, data: RunData, settings: CouncilSettings) -> tuple[JsonObject, ...]:
    """Similar past incidents, by what was found this time; masked, since a run keeps them."""
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
        past = precedents(
            connection,
            incident_id=data.incident_id,
            names={alert.name for alert in firing},
            place=data.place,
            findings={finding.name for finding in data.findings},
            most=settings.past_incidents,
        )
    return tuple(mask(past))


def told(services: Services, data: RunData, talk: Consultation, settings: CouncilSettings) -> JsonObject:
    """All that is known of the incident, as the model gets it; masked where it is put into the question."""
    environment, target = data.place
    site = services.site()
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
    spec = site.targets[target]
    background = Background.of(firing)
    return {
        "why_you_are_asked": talk.because,
        "target": {
            "name": target,
            "summary": spec.summary,
            "environment": environment,
            "platform": site.environments[environment].platform,
            "group": spec.group,
            "depends_on": list(spec.depends_on),
        },
        "alerts": [_alert(alert) for alert in firing[:_MOST_ALERTS]],
        "links": [link.model_dump() for link in background.links],
        "findings": [finding.model_dump(mode="json") for finding in data.findings],
        "observations": [fact.model_dump(mode="json", exclude={"failure"}) for fact in talk.facts],
        "tried_without_help": _tried(services, data, talk),
        "past_incidents": list(talk.past),
        "guides": [
            {"title": guide.title, "text": guide.text[:_LONGEST_GUIDE]}
            for guide in site.guides_for(
                [alert.labels for alert in firing], [item.name for item in data.findings], target, data.strategy
            )[: settings.guides]
        ],
    }


def _alert(alert: Alert) -> JsonObject:
    return {
        "name": alert.name,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "since": alert.starts_at.isoformat(),
    }


def _tried(services: Services, data: RunData, talk: Consultation) -> list[JsonObject]:
    """The remedies of this run so far, those of its strategy as they are written there."""
    steps: dict[str, list[JsonObject]] = {
        item.remedy: [step.model_dump(mode="json") for step in item.steps] for item in talk.proposed
    }
    strategy = services.platforms_of(data).site.strategies.get(data.strategy or "")
    for remedy in strategy.remedies if strategy is not None else ():
        steps[remedy.name] = [
            {"operation": step.operation, "target": data.target, "parameters": step.parameters} for step in remedy.steps
        ]
    return [{"remedy": name, "steps": steps.get(name)} for name in data.tried]
