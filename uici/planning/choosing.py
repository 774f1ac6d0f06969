"""One of several alternatives: what speaks for each, and which is taken. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime

from uici.model.learning import Choice, LearningPolicy, Masked, Offered
from uici.planning.evidence import Candidate, believe
from uici.planning.policies import policy_of

_LEAST = 1e-12


def weigh(
    candidates: Sequence[Candidate], masked: Mapping[str, str], settings: LearningPolicy, now: datetime
) -> tuple[Offered, ...]:
    """Each candidate that is not masked, in the declared order, with its probability to be taken first."""
    free = [candidate for candidate in candidates if candidate.name not in masked]
    if not free:
        return ()
    probabilities = policy_of(settings).probabilities(free, now)
    offered = []
    for candidate in free:
        belief = believe(candidate, now, settings)
        offered.append(
            Offered(
                name=candidate.name,
                prior=candidate.prior,
                good=belief.own.for_it + belief.borrowed.for_it,
                bad=belief.own.against_it + belief.borrowed.against_it,
                mean=belief.posterior.mean,
                probability=probabilities[candidate.name],
            )
        )
    return tuple(offered)


def choose(
    candidates: Sequence[Candidate],
    masked: Mapping[str, str],
    settings: LearningPolicy,
    now: datetime,
    *,
    alternative: str,
    findings: str,
    position: int,
    seed: str,
    otherwise: str | None = None,
) -> Choice:
    """Draw one of the candidates (at least one); the same seed and evidence give the same choice.

    What is masked is never drawn. When everything is, `otherwise` is taken, for its denial to be the reason; without
    one the first as declared.
    """
    offered = {item.name: item for item in weigh(candidates, masked, settings, now)}
    free = [candidate for candidate in candidates if candidate.name in offered]
    # Not for secrecy: a replay has to draw the same.
    drawn = policy_of(settings).order(free, now, random.Random(seed)) if free else ()  # noqa: S311  # drawn, not secret
    ordered = tuple(offered[item.name].model_copy(update={"value": item.value}) for item in drawn)
    first = ordered[0] if ordered else None
    return Choice(
        alternative=alternative,
        findings=findings,
        policy=settings.policy,
        position=position,
        chosen=first.name if first else otherwise or candidates[0].name,
        # What was drawn was possible, however the quadrature rounds.
        propensity=max(first.probability, _LEAST) if first else 1.0,
        declared=tuple(candidate.name for candidate in candidates),
        candidates=ordered,
        masked=tuple(Masked(name=name, why=why) for name, why in masked.items()),
    )
