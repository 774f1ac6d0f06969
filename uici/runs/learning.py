"""What people ask of the learning, and say to it: the table, the comparison, feedback, vetoes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, Row, select

from uici.access.reach import require_place
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.learning import LearningPolicy, Outcome, PolicyName, Veto, finding_set
from uici.model.masking import mask
from uici.model.plan import Origin
from uici.model.scope import EVERYTHING, Scope
from uici.model.site import Strategy
from uici.planning.comparing import Logged, estimate
from uici.planning.evidence import Candidate, believe, candidates_of, priors_of
from uici.planning.policies import policy_of
from uici.runs import outcomes as rows
from uici.runs import reading
from uici.runs.services import Services
from uici.store.identifiers import new_id
from uici.store.inserting import insert_into
from uici.store.schema import feedback, outcomes, vetoes

_CONFIDENCE = 0.9
_UNSEEN = "any other"
"""Shown for a finding set of which nothing was seen yet. No key of a real one has a space."""


class Learning:
    """The table of what was learned, and the ways in which people take part in it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    # --- looking --------------------------------------------------------------------------------------------

    def table(self, strategy: str | None, findings: Sequence[str]) -> JsonObject:
        """What is believed of each alternative, and of each remedy that has outcomes, by finding set.

        With `findings` (names) only for that set, also where nothing was seen of it. Raises Problem for an unknown
        strategy.
        """
        site, now = self._services.site(), self._services.clock.now()
        if strategy is not None:
            self._known_strategy(strategy)
        settings = site.policies.learning
        key = finding_set(findings) if findings else None
        with self._services.store.read() as connection:
            in_force = rows.vetoes_in_force(connection)
            seen = {
                name: rows.outcomes_of(connection, name, settings, now)
                for name in ([strategy] if strategy is not None else site.strategies)
            }
        found = [
            line
            for name, log in seen.items()
            for line in _lines(name, site.strategies[name], log, in_force, settings, now, key)
        ]
        return _shown(
            {
                "policy": settings.policy,
                "half_life_seconds": settings.half_life_seconds,
                "human_weight": settings.human_weight,
                "borrowed_weight": settings.borrowed_weight,
                "confidence": _CONFIDENCE,
                "remedies": found,
                "vetoes": [veto.model_dump(mode="json") for veto in in_force],
            }
        )

    def comparison(self, strategy: str | None, limit: int) -> JsonObject:
        """For each policy, how often its first choice would have helped, estimated from what was chosen here.

        Looks at the newest `limit` first choices among at least two alternatives that have a counted outcome.
        """
        site = self._services.site()
        if strategy is not None:
            self._known_strategy(strategy)
        settings = site.policies.learning
        with self._services.store.read() as connection:
            log = rows.logged_choices(connection, strategy, limit)
            seen = {
                name: rows.outcomes_of(connection, name, settings, self._services.clock.now())
                for name in {item.strategy for item in log}
            }
        logged = [
            Logged(
                taken=item.choice.chosen,
                reward=item.reward,
                probabilities={each.name: each.probability for each in item.choice.candidates},
            )
            for item in log
        ]
        known = [_known_then(item, seen[item.strategy]) for item in log]
        policies = []
        for name in PolicyName:
            policy = policy_of(settings, name)
            wanted = [policy.probabilities(known[place], item.at) for place, item in enumerate(log)]
            found = estimate(logged, wanted, confidence=_CONFIDENCE)
            policies.append({"policy": name, "in_force": name is settings.policy, **asdict(found)})
        helped = sum(entry.reward for entry in logged)
        return _shown(
            {
                "choices": len(logged),
                "helped": helped / len(logged) if logged else None,
                "confidence": _CONFIDENCE,
                "policies": policies,
            }
        )

    # --- feedback -------------------------------------------------------------------------------------------

    def feedback(self, run_id: str, good: bool, comment: str, actor: str) -> JsonObject:
        """A person's word on the last remedy that a run carried out. Saying it again replaces it.

        Raises Problem where there is nothing to judge: the run changed nothing, is still at it, or is of no strategy.
        """
        now = self._services.clock.now()
        with self._services.events.writing() as connection:
            run = reading.run_row(connection, run_id)
            last = connection.execute(
                select(outcomes).where(outcomes.c.run_id == run_id).order_by(outcomes.c.rung.desc()).limit(1)
            ).one_or_none()
            if last is None or run.acted_at is None:
                raise _nothing_to_judge(run)
            before = connection.execute(
                select(feedback.c.good).where(feedback.c.run_id == run_id, feedback.c.actor == actor)
            ).scalar_one_or_none()
            values = {"rung": last.rung, "good": good, "comment": comment, "at": now}
            connection.execute(
                insert_into(connection, feedback)
                .values(run_id=run_id, actor=actor, **values)
                .on_conflict_do_update(index_elements=["run_id", "actor"], set_=values)
            )
            self._services.events.append(
                connection,
                "feedback_given",
                incident=run.incident_id,
                run=run_id,
                environment=run.environment,
                target=run.target,
                actor=actor,
                verdict="good" if good else "bad",
                replaces=None if before is None else ("good" if before else "bad"),
                remedy=last.remedy,
                comment=comment,
            )
            said = self._said(connection, run_id)
        return _shown({"run": run_id, "strategy": last.strategy, "remedy": last.remedy, "feedback": said})

    def _said(self, connection: Connection, run_id: str) -> list[JsonObject]:
        return [
            {
                "actor": row.actor,
                "good": row.good,
                "comment": row.comment,
                "at": row.at.isoformat(),
            }
            for row in connection.execute(select(feedback).where(feedback.c.run_id == run_id).order_by(feedback.c.at))
        ]

    # --- vetoes ---------------------------------------------------------------------------------------------

    def veto(
        self, strategy: str, remedy: str, environment: str | None, target: str | None, reason: str, actor: str
    ) -> JsonObject:
        """Forbid a remedy of a strategy, everywhere or on a target or in an environment, until somebody lifts it.

        Raises Problem for names that the configuration does not have, and where the same is vetoed already.
        """
        site, now = self._services.site(), self._services.clock.now()
        known = [item.name for item in self._known_strategy(strategy).remedies]
        for what, given, names in (
            ("remedy", remedy, known),
            ("environment", environment, list(site.environments)),
            ("target", target, list(site.targets)),
        ):
            if given is not None and given not in names:
                raise _unknown(what, given, names)
        wanted = Veto(
            id=new_id("veto", now), strategy=strategy, remedy=remedy, environment=environment, target=target,
            actor=actor, reason=reason, at=now,
        )  # fmt: skip
        with self._services.events.writing() as connection:
            for each in rows.vetoes_in_force(connection):
                same = (each.strategy, each.remedy, each.environment, each.target)
                if same == (strategy, remedy, environment, target):
                    detail = f"{each.id} of {each.actor} forbids exactly that already: {each.reason}"
                    raise Problem(ProblemKind.CONFLICT, "already_vetoed", detail)
            connection.execute(vetoes.insert().values(wanted.model_dump()))
            self._note(connection, "vetoed", wanted, actor, reason)
        return _shown(wanted.model_dump(mode="json"))

    def lift(self, veto_id: str, reason: str, actor: str, scope: Scope = EVERYTHING) -> JsonObject:
        """End a veto within the scope. Raises Problem when there is none of this id, or it was lifted already."""
        now = self._services.clock.now()
        with self._services.events.writing() as connection:
            row = connection.execute(select(vetoes).where(vetoes.c.id == veto_id)).one_or_none()
            if row is None:
                hint = "`uici learning show` lists those in force"
                raise Problem(ProblemKind.NOT_FOUND, "unknown_veto", f"there is no veto {veto_id!r}", hint=hint)
            require_place(scope, row.environment, row.target)
            if row.lifted_at is not None:
                detail = f"{row.lifted_by} lifted it at {row.lifted_at:%Y-%m-%d %H:%M:%S} UTC"
                raise Problem(ProblemKind.CONFLICT, "already_lifted", detail)
            connection.execute(
                vetoes.update()
                .where(vetoes.c.id == veto_id)
                .values(lifted_at=now, lifted_by=actor, lifted_reason=reason)
            )
            lifted = Veto.model_validate({name: getattr(row, name) for name in Veto.model_fields})
            self._note(connection, "veto_lifted", lifted, actor, reason)
        return _shown(lifted.model_dump(mode="json") | {"lifted_at": now.isoformat(), "lifted_by": actor})

    def _note(self, connection: Connection, type_: str, veto: Veto, actor: str, reason: str) -> None:
        self._services.events.append(
            connection,
            type_,
            environment=veto.environment,
            target=veto.target,
            veto=veto.id,
            strategy=veto.strategy,
            remedy=veto.remedy,
            actor=actor,
            reason=reason,
        )

    def _known_strategy(self, name: str) -> Strategy:
        known = self._services.site().strategies
        if name not in known:
            raise _unknown("strategy", name, list(known))
        return known[name]


def _known_then(item: rows.LoggedChoice, seen: tuple[Outcome, ...]) -> tuple[Candidate, ...]:
    """The candidates of a logged choice, in the order of writing, with what had been seen of them by then."""
    offered = {each.name: each.prior for each in item.choice.candidates}
    priors = {name: offered[name] for name in item.choice.declared if name in offered}
    return candidates_of(priors, [past for past in seen if past.at < item.at], item.choice.findings)


def _lines(
    strategy_name: str,
    strategy: Strategy,
    log: tuple[Outcome, ...],
    in_force: tuple[Veto, ...],
    settings: LearningPolicy,
    now: datetime,
    key: str | None,
) -> Iterator[JsonObject]:
    """A strategy's lines: its alternatives by group and finding set, then the other remedies that have outcomes."""
    for group, found in groupby(strategy.remedies, key=lambda remedy: remedy.alternative):
        members = list(found)
        names = [remedy.name for remedy in members]
        seen = [outcome for outcome in log if outcome.remedy in names]
        keys = sorted({outcome.findings for outcome in seen})
        if key is not None:
            keys = [key]
        elif group is not None:
            keys.append(_UNSEEN)
        vetoed = {
            name: [veto for veto in in_force if (veto.strategy, veto.remedy) == (strategy_name, name)] for name in names
        }
        for findings in keys:
            candidates = candidates_of(priors_of(members), seen, findings)
            free = [item for item in candidates if not any(map(_everywhere, vetoed[item.name]))]
            shares = policy_of(settings).probabilities(free, now) if free and group is not None else {}
            for item in candidates:
                if group is None and not item.seen:
                    continue
                yield {
                    "strategy": strategy_name,
                    "group": group,
                    "findings": findings,
                    **_believed(item, settings, now),
                    "probability": None if group is None else shares.get(item.name, 0.0),
                    "vetoes": [veto.id for veto in vetoed[item.name]],
                }


def _believed(candidate: Candidate, settings: LearningPolicy, now: datetime) -> JsonObject:
    belief = believe(candidate, now, settings)
    return {
        "remedy": candidate.name,
        "outcomes": sum(seen.same_findings and seen.reward is not None for seen in candidate.seen),
        "prior": {"good": belief.prior.good, "bad": belief.prior.bad},
        "good": belief.own.good,
        "bad": belief.own.bad,
        "human_good": belief.own.human_good,
        "human_bad": belief.own.human_bad,
        "borrowed_good": belief.borrowed.for_it,
        "borrowed_bad": belief.borrowed.against_it,
        "mean": belief.posterior.mean,
        "interval": list(belief.posterior.interval(_CONFIDENCE)),
    }


def _everywhere(veto: Veto) -> bool:
    return veto.environment is None and veto.target is None


def _nothing_to_judge(run: Row[tuple[object, ...]]) -> Problem:
    if run.acted_at is None:
        ended = f"it ended as {run.outcome}: {run.reason}" if run.outcome else "it has not acted yet"
        return Problem(
            ProblemKind.CONFLICT,
            "run_never_acted",
            f"{run.id} changed nothing, so there is no remedy to judge; {ended}",
        )
    if run.origin != Origin.RULE:
        return Problem(
            ProblemKind.CONFLICT,
            "not_by_rule",
            f"{run.id} carried out a plan of {run.actor or run.origin}; what is learned of are a strategy's remedies",
        )
    return Problem(
        ProblemKind.CONFLICT,
        "no_verdict_yet",
        f"{run.id} is still at stage {run.stage}",
        hint=f"say it once a remedy has its verdict: uici watch {run.id}",
    )


def _unknown(what: str, given: str, known: Sequence[str]) -> Problem:
    return Problem(
        ProblemKind.UNPROCESSABLE,
        f"unknown_{what}",
        f"there is no {what} {given!r}{did_you_mean(given, known)}",
        where=what,
        allowed=sorted(known),
    )


def _shown(document: JsonObject) -> JsonObject:
    masked: JsonObject = mask(document)
    return masked
