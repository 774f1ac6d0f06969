"""What a model's answer means. Whatever is not exactly in the vocabulary is refused, with all that is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from uici.model.base import UNSTORABLE, JsonObject, JsonValue
from uici.model.errors import Problem, did_you_mean
from uici.model.masking import mask
from uici.model.operation import NAME
from uici.model.plan import Step
from uici.model.site import Site
from uici.planning.council.vocabulary import LONGEST_TEXT, MOST_STEPS, Vocabulary
from uici.planning.written import parse_plan

_KINDS = ("look", "act", "hand_over")
_MOST_LOOKS = 5
_TOLD = 20
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""All but the line feed: what would move a terminal's cursor, or mean something to it."""


@dataclass(frozen=True)
class Look:
    """Wants to see more first."""

    reasoning: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Act:
    """A plan. It is only a proposal: the guards judge it as any other."""

    reasoning: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class MissingVerb:
    """An operation that nobody has defined."""

    name: str
    summary: str
    how: str


@dataclass(frozen=True)
class HandOver:
    """Knows of nothing that would help."""

    reasoning: str
    because: str
    missing_verb: MissingVerb | None


Decision = Look | Act | HandOver


class UnusableAnswerError(Exception):
    """An answer that is no decision; `findings` say all that is wrong with it, in words that the model gets back."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("; ".join(findings))
        self.findings = tuple(findings[:_TOLD])


def decision_of(text: str, vocabulary: Vocabulary, site: Site, environment: str, *, may_look: bool) -> Decision:
    """The decision that a model's whole answer is. Raises UnusableAnswerError.

    Nothing is guessed: prose around the JSON, further keys and unknown names are refused.
    """
    document = _object(_parsed(text), ("reasoning", "decision"), "the answer")
    reasoning = _text(document["reasoning"], "reasoning")
    decision = document["decision"]
    kind = decision.get("kind") if isinstance(decision, dict) else None
    kinds = _KINDS if may_look else _KINDS[1:]
    if kind not in kinds:
        _refuse(f"decision.kind is {kind!r:.80}; it must be one of {', '.join(kinds)}")
    if kind == "look":
        asked = _object(decision, ("kind", "operations"), "decision")["operations"]
        return Look(reasoning, _looks(asked, vocabulary, site, environment))
    if kind == "act":
        steps = _object(decision, ("kind", "steps"), "decision")["steps"]
        return Act(reasoning, _steps(steps, vocabulary, site, environment))
    handed = _object(decision, ("kind", "because"), "decision", optional=("missing_verb",))
    missing = handed.get("missing_verb")
    return HandOver(
        reasoning, _text(handed["because"], "because"), None if missing is None else _missing(missing, vocabulary)
    )


def _parsed(text: str) -> JsonValue:
    try:
        # Servers that constrain their output let control characters stand in texts as they are.
        document = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        _refuse("the answer is not one JSON document and nothing else; no prose, no code fence")
    if any(UNSTORABLE.search(each) for each in _texts(document)):
        _refuse("the answer holds a NUL character, or half of a surrogate pair")
    return document


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        yield from _texts(item)


def _object(value: JsonValue, required: tuple[str, ...], what: str, *, optional: tuple[str, ...] = ()) -> JsonObject:
    if not isinstance(value, dict):
        _refuse(f"{what} must be an object with {', '.join(required)}; it is {type(value).__name__}")
    missing = [name for name in required if name not in value]
    unknown = [name for name in value if name not in (*required, *optional)]
    if missing or unknown:
        _refuse(
            *(f"{what} lacks {name!r}" for name in missing),
            *(f"{what} has the unknown key {name!r:.80}" for name in unknown),
        )
    return value


def _text(value: JsonValue, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        _refuse(f"{what} must be a text of 1 to {LONGEST_TEXT} characters")
    shown: str = mask(_CONTROL.sub(" ", value))
    return shown


def _looks(asked: JsonValue, vocabulary: Vocabulary, site: Site, environment: str) -> tuple[Step, ...]:
    steps = _known(asked, "operations", vocabulary, site, environment, targets=vocabulary.readable, most=_MOST_LOOKS)
    changing = [step.operation for step in steps if step.operation not in vocabulary.reading]
    if changing:
        _refuse(*(f"{name} may change something, so it is not for looking" for name in changing))
    return steps


def _steps(given: JsonValue, vocabulary: Vocabulary, site: Site, environment: str) -> tuple[Step, ...]:
    own = (vocabulary.target,)
    steps = _known(given, "steps", vocabulary, site, environment, targets=own, most=MOST_STEPS)
    if not any(step.operation in vocabulary.changing for step in steps):
        _refuse("a plan must hold a step that changes something; decide `look` to see more, or `hand_over`")
    return steps


def _known(
    given: JsonValue,
    what: str,
    vocabulary: Vocabulary,
    site: Site,
    environment: str,
    *,
    targets: tuple[str, ...],
    most: int,
) -> tuple[Step, ...]:
    """Steps of known operations on targets that are allowed, with parameters as their operations want them."""
    if not isinstance(given, list) or not 1 <= len(given) <= most:
        _refuse(f"decision.{what} must be a list of 1 to {most} steps")
    known = vocabulary.operations
    wrong = []
    for number, step in enumerate(given):
        name, target = (step.get("operation"), step.get("target")) if isinstance(step, dict) else (None, None)
        where = f"decision.{what}[{number}]"
        if name not in known:
            hint = did_you_mean(name, known) if isinstance(name, str) else ""
            wrong.append(f"{where}.operation: {name!r:.80} is none of the operations that you were given{hint}")
        if target not in targets:
            wrong.append(f"{where}.target: {target!r:.80} is not allowed here; only {', '.join(targets)}")
    if wrong:
        _refuse(*wrong)
    try:
        return parse_plan({"environment": environment, "steps": given}, site).steps
    except Problem as problem:
        _refuse(*(f"{_place(item, what)}: {item['detail']}" for item in problem.errors))


def _place(item: JsonObject, what: str) -> str:
    return f"decision.{what}{str(item['pointer']).removeprefix('/steps')}"


def _missing(value: JsonValue, vocabulary: Vocabulary) -> MissingVerb:
    verb = _object(value, ("name", "summary", "how"), "missing_verb")
    name = verb["name"]
    if not isinstance(name, str) or re.fullmatch(NAME, name) is None:
        _refuse(f"missing_verb.name must be lower case letters, digits and _, such as flush_cache; got {name!r:.80}")
    if name in vocabulary.operations:
        _refuse(f"missing_verb.name: {name} is one of the operations that you were given")
    return MissingVerb(name, _text(verb["summary"], "missing_verb.summary"), _text(verb["how"], "missing_verb.how"))


def _refuse(*findings: str) -> NoReturn:
    raise UnusableAnswerError(list(findings))
