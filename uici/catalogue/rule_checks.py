"""Stage three for findings, strategies and policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from uici.catalogue.diagnostics import Position, Report
from uici.catalogue.draft import Draft, Later, Lookup, check_texts, or_empty
from uici.catalogue.reading import Node
from uici.model.call import Risk
from uici.model.filling import ROOTS
from uici.model.site import FIRES_WHILE_HEALTHY, Remedy, RemedyStep
from uici.model.thresholds import thresholds, wanted


def check_rules(draft: Draft, lookup: Lookup) -> None:
    """Report what is wrong with findings, strategies and the council's operations among the verbs of `lookup`."""
    _findings(draft, lookup)
    _strategies(draft, lookup)
    _council(draft, lookup)


def _council(draft: Draft, lookup: Lookup) -> None:
    settings = draft.platform.council
    if settings is None:
        return
    node, what = draft.platform_node.at("council"), "the council"
    # What is not written there is the shape's own, of verbs that ship with UICI.
    if "triage" in settings.model_fields_set:
        for name, parameters in settings.triage.items():
            place = node.at("triage", name)
            operation = lookup.reader(name, _at(place), f"{what}: triage")
            if operation is not None:
                lookup.parameters(operation, parameters, _as_later(place), f"{what}: triage")
    for key in settings.model_fields_set & {"operations", "never"}:
        for index, name in enumerate(getattr(settings, key) or ()):
            lookup.operation(name, _at(node.at(key, index)), f"{what}: {key}")


def _findings(draft: Draft, lookup: Lookup) -> None:
    for name, rule in draft.findings.items():
        for index, evidence in enumerate(rule.when):
            place = draft.finding_entries.entry(name).at("when", index)
            operation = place.at("operation")
            reader = lookup.reader(evidence.operation, _at(operation), f"the finding {name!r}")
            check_texts(lookup.report, place, ())
            if reader is not None:
                lookup.conditions(evidence.all, reader, _as_later(place.at("all")))


def _strategies(draft: Draft, lookup: Lookup) -> None:
    for name, strategy in draft.strategies.items():
        node = draft.strategy_entries.entry(name)
        what = f"the strategy {name!r}"
        if strategy.fallback and draft.platform.council is None:
            lookup.report.add(
                node.at("fallback").position,
                "fallback_without_council",
                f"{what} is only for when the council gave no plan, and platform.yml names no council, so it would "
                "never be taken; drop `fallback` to have it taken like the others, or set `council`",
            )
        _steps(lookup, strategy.diagnose, node.at("diagnose"), f"{what}: diagnose", reading=True)
        seen: set[str] = set()
        for index, remedy in enumerate(strategy.remedies):
            place = node.at("remedies", index)
            if remedy.name in seen:
                lookup.report.add(
                    place.at("name").position, "duplicate_name", f"{what} has two remedies {remedy.name!r}"
                )
            seen.add(remedy.name)
            _steps(lookup, remedy.steps, place.at("steps"), f"{what}, {remedy.name}", reading=False)
            check_texts(lookup.report, or_empty(place, "requires"), ROOTS)
            _wanted(draft, lookup.report, remedy, place, what)
            _verify(lookup.report, remedy, place, what)
        _alternatives(lookup.report, strategy.remedies, node.at("remedies"), what)


def _steps(lookup: Lookup, steps: Iterable[RemedyStep], node: Node, what: str, *, reading: bool) -> None:
    for index, step in enumerate(steps):
        place = node.at(index)
        known = lookup.reader if reading else lookup.operation
        operation = known(step.operation, _at(place.at("operation")), what)
        if operation is not None:
            parameters = or_empty(place, "parameters")
            check_texts(lookup.report, parameters, ROOTS)
            lookup.parameters(operation, step.parameters, _as_later(parameters), what)


def _at(node: Node) -> Callable[[], Position]:
    return lambda: node.position


def _as_later(node: Node) -> Later:
    return lambda: node


def _wanted(draft: Draft, report: Report, remedy: Remedy, place: Node, what: str) -> None:
    for kind, names in (("any", remedy.when.any), ("all", remedy.when.all), ("none", remedy.when.none)):
        for index, name in enumerate(names):
            position = place.at("when", kind, index).position
            if name not in (*draft.finding_entries.names, FIRES_WHILE_HEALTHY):
                report.add(
                    position,
                    "unknown_finding",
                    f"{what}, {remedy.name}: no finding is called {name!r}",
                    choices=sorted((*draft.finding_entries.names, FIRES_WHILE_HEALTHY)),
                    given=name,
                )


def _verify(report: Report, remedy: Remedy, place: Node, what: str) -> None:
    verify = remedy.verify
    if verify.interval > verify.within:
        report.add(
            place.at("verify", "interval").position,
            "threshold_conflict",
            f"{what}, {remedy.name}: verify.interval ({verify.interval:g} s) is longer than within "
            f"({verify.within:g} s), so nobody would look a second time",
        )


def _alternatives(report: Report, remedies: tuple[Remedy, ...], node: Node, what: str) -> None:
    """Alternatives are at least two neighbours of one name: which is tried first is open, but not the group's place."""
    groups = [(key, list(found)) for key, found in groupby(enumerate(remedies), key=lambda pair: pair[1].alternative)]
    ended: set[str] = set()
    for key, found in groups:
        first, remedy = found[0]
        position = node.at(first, "alternative").position
        if key is None:
            for index, each in found:
                if each.prior is not None:
                    report.add(
                        node.at(index, "prior").position,
                        "prior_without_alternative",
                        f"{what}, {each.name}: only a remedy with `alternative` is chosen by what is believed of it; "
                        "give it one, or drop the prior",
                    )
        elif key in ended:
            report.add(
                position,
                "alternatives_apart",
                f"{what}, {remedy.name}: other remedies stand between the alternatives {key!r}; put them next to each "
                "other, or give the groups different names",
            )
        elif len(found) == 1 and sum(each.alternative == key for each in remedies) == 1:
            report.add(
                position,
                "lone_alternative",
                f"{what}, {remedy.name}: no other remedy is an alternative of the group {key!r}",
                choices=sorted({each.alternative for each in remedies if each.alternative not in (None, key)}),
                given=key,
            )
        if key is not None:
            ended.add(key)


def check_policies(draft: Draft) -> None:
    """Report what is wrong with the policies."""
    policies, node = draft.policies, draft.policies_node
    for path, kind in thresholds():
        found = node.at(*path)
        if found.value is None or found is node.at(*path[:-1]):
            draft.report.add(
                found.position,
                "missing_threshold",
                f"{'.'.join(path)} has no value, so everything would be denied; set {wanted(kind, path[-1])}",
            )
    if policies.risk.auto_approve_up_to is Risk.DESTRUCTIVE:
        draft.report.add(
            node.at("risk", "auto_approve_up_to").position,
            "destructive_never_automatic",
            "what is destructive always needs a person's approval",
            choices=tuple(risk.value for risk in Risk if risk is not Risk.DESTRUCTIVE),
        )
    cooldown, give_up = policies.cooldown.seconds, policies.give_up
    if cooldown is None or give_up.ineffective_runs is None or give_up.within_seconds is None:
        return
    least = cooldown * (give_up.ineffective_runs - 1)
    if give_up.within_seconds <= least:
        draft.report.add(
            node.at("give_up", "within_seconds").position,
            "threshold_conflict",
            f"with a cooldown of {cooldown:g} s, {give_up.ineffective_runs} runs take more than {least:g} s, "
            f"so giving up within {give_up.within_seconds:g} s would never happen",
        )
