"""From an alert's labels to the target that is really broken. Pure: labels and configuration only.

`job`, `instance` and `service` often name the exporter that told us, not the victim. So the site's rules are tried in
their order, rules marked `messenger` are skipped where the alert came from an exporter or names its victim, and a rule
that means several targets decides nothing. Who finds no target tells a human; nothing is guessed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from uici.intake.pod_names import owners_of_pod
from uici.intake.strategies import StrategyIndex
from uici.model.alert import Alert
from uici.model.base import JsonObject, JsonValue
from uici.model.condition import select
from uici.model.errors import did_you_mean
from uici.model.identity import SETTINGS_OF_BINDINGS, SelfGuardLayers, SelfIdentity
from uici.model.masking import hide_known
from uici.model.matching import Matcher, all_match
from uici.model.site import Site, TargetingRule

ENVIRONMENT_LABEL = "uici_environment"
"""An alert that carries it says itself where its target lives."""

_Place = tuple[str, str]
"""A target and one environment in which it is bound."""

_MOST_NAMINGS = 4096
_NAMING_LABELS = (
    "uici_target",
    "container",
    "container_id",
    "container_name",
    "name",
    "pod",
    "deployment",
    "statefulset",
    "daemonset",
    "program",
)
"""Labels that may name UICI itself, whatever the site's rules use; those of the rules come on top."""


class Targeted(NamedTuple):
    """What an alert is about, as far as its labels tell."""

    environment: str | None
    target: str | None
    rule: str | None
    """The rule that named the target."""
    candidates: tuple[str, ...]
    """Targets that rules named without naming exactly one."""
    needs_lookup: tuple[TargetingRule, ...]
    """Rules that ask the platform; only when labels alone named no target."""
    is_self: bool
    reason: str


class _Naming(NamedTuple):
    """The targets that a rule names; of exactly one also where it lives, or why that cannot be told."""

    names: tuple[str, ...]
    target: str | None
    environment: str | None
    reason: str


class TargetIndex:
    """A site's targets, arranged so that one alert costs a few dictionary look-ups. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self.strategies = StrategyIndex(site)
        self._targets = site.targets
        self._environments = tuple((name, env.match) for name, env in site.environments.items() if env.match)
        self._known_environments = frozenset(site.environments)
        self._default = site.default_environment
        self._targeting = site.targeting
        self._places = {name: tuple((name, env) for env in spec.bindings) for name, spec in site.targets.items()}
        self._by_path = {
            path: self._index_of(path) for path in {rule.equals for rule in site.targeting.rules if rule.use == "label"}
        }
        self._by_equality: dict[tuple[str, str], list[str]] = {}
        self._by_presence: dict[str, list[str]] = {}
        self._by_trying: list[str] = []
        for name, spec in site.targets.items():
            if spec.match:
                self._file_under_matchers(name, spec.match)
        messengers = {rule.label for rule in site.targeting.rules if rule.messenger}
        said = {rule.label for rule in site.targeting.rules if rule.label} | set(site.targeting.victim_labels)
        self._naming = frozenset((said | set(_NAMING_LABELS)) - messengers)
        self._naming_or_messenger = self._naming | {label for label in messengers if label}
        self._namings: dict[tuple[str, str, str | None, frozenset[str] | None], _Naming] = {}
        self._judged_for: SelfIdentity | None = None
        self._judged: dict[tuple[str, str | None], str | None] = {}
        self._owned = frozenset(rule.label for rule in site.targeting.rules if rule.owner_of_pod) | {"pod"}

    def resolve(self, alert: Alert, identity: SelfIdentity, layers: SelfGuardLayers | None = None) -> Targeted:
        """The target that the alert's labels name, where it lives, and whether it is UICI itself."""
        labels = alert.labels
        where, complaint = self._declared_environments(labels)
        messenger_because = self._messenger_because(labels)
        naming, rule, ambiguous, lookups = self._try_rules(labels, where, messenger_because)
        if naming is None:
            target, environment = None, self._environment_without_target(where)
            reason = self._no_target(labels, where, complaint, ambiguous, messenger_because)
        else:
            lookups = ()
            target, environment, reason = naming.target, naming.environment, naming.reason
            if target is None:
                ambiguous = {**ambiguous, rule.name if rule else "": naming.names}
                rule = None
        is_self = False
        if (layers or SelfGuardLayers()).intake:
            by = self._names_self(labels, target, environment, identity, messenger_because)
            if by is not None:
                is_self, reason = True, f"the alert is about UICI itself: {by}. {reason}"
        return Targeted(
            environment=environment,
            target=target,
            rule=rule.name if rule else None,
            candidates=() if target else tuple(dict.fromkeys(name for names in ambiguous.values() for name in names)),
            needs_lookup=lookups,
            is_self=is_self,
            reason=reason,
        )

    def match_found(self, bindings: tuple[JsonObject, ...], environment: str) -> str | None:
        """The one target of `environment` to which the bindings that a platform's look-up gave belong; None if not one.

        A found binding and a target's belong together when all keys that both have agree, and one of the two says
        nothing that the other leaves open: a shared `project` alone makes no match.
        """
        names = {
            name
            for name, spec in self._targets.items()
            for found in bindings
            if environment in spec.bindings and _same_thing(spec.bindings[environment], found)
        }
        return names.pop() if len(names) == 1 else None

    # --- environments ---

    def _declared_environments(self, labels: Mapping[str, str]) -> tuple[frozenset[str] | None, str]:
        """The environments the alert says it is from; None when it says nothing. An unknown one is no environment."""
        matching = [name for name, match in self._environments if all_match(match, labels)]
        if matching:
            return frozenset(matching), ""
        named = labels.get(ENVIRONMENT_LABEL)
        if not named:
            return None, ""
        if named in self._known_environments:
            return frozenset({named}), ""
        return frozenset(), f"{ENVIRONMENT_LABEL}={named!r} names no environment of environments.yml"

    def _environment_without_target(self, where: frozenset[str] | None) -> str | None:
        if where is None:
            return self._default if self._default in self._known_environments else None
        return next(iter(where)) if len(where) == 1 else None

    def _place(
        self, found: tuple[_Place, ...], said: str, where: frozenset[str] | None
    ) -> tuple[str | None, str | None, str]:
        target = found[0][0]
        environments = [environment for _, environment in found]
        if len(environments) == 1:
            environment = environments[0]
        elif self._default in environments and where is None:
            environment = self._default
        else:
            listed = ", ".join(sorted(environments))
            why = (
                f"{said} means target {target!r}, but it is bound in {listed} and the alert does not say which; "
                f"add `match` to these in environments.yml, or a label {ENVIRONMENT_LABEL} to the alert"
            )
            return None, None, why
        return target, environment, f"{said} means target {target!r} in environment {environment!r}"

    # --- rules ---

    def _try_rules(
        self, labels: Mapping[str, str], where: frozenset[str] | None, messenger_because: str | None
    ) -> tuple[_Naming | None, TargetingRule | None, dict[str, tuple[str, ...]], tuple[TargetingRule, ...]]:
        ambiguous: dict[str, tuple[str, ...]] = {}
        lookups: list[TargetingRule] = []
        for rule in self._targeting.rules:
            if rule.messenger and messenger_because is not None:
                continue
            if rule.label is not None and not labels.get(rule.label):
                continue
            if rule.when and not all_match(rule.when, labels):
                continue
            if rule.use == "lookup":
                lookups.append(rule)
                continue
            naming = self._asked(rule, labels, where)
            if len(naming.names) == 1:
                return naming, rule, ambiguous, ()
            if naming.names:
                ambiguous[rule.name] = naming.names
        return None, None, ambiguous, tuple(lookups)

    def _asked(self, rule: TargetingRule, labels: Mapping[str, str], where: frozenset[str] | None) -> _Naming:
        """What a rule says of these labels; remembered where it reads no others, since alerts repeat themselves."""
        if rule.label is None:
            return self._ask(rule, labels, where)
        key = (rule.name, labels[rule.label], labels.get(rule.namespace_label or ""), where)
        naming = self._namings.get(key)
        if naming is None:
            if len(self._namings) >= _MOST_NAMINGS:
                self._namings.clear()
            naming = self._namings[key] = self._ask(rule, labels, where)
        return naming

    def _ask(self, rule: TargetingRule, labels: Mapping[str, str], where: frozenset[str] | None) -> _Naming:
        places = tuple(place for place in self._named_by(rule, labels) if where is None or place[1] in where)
        names = tuple(dict.fromkeys(name for name, _ in places))
        return _Naming(
            names, *(self._place(places, _said(rule, labels), where) if len(names) == 1 else (None, None, ""))
        )

    def _named_by(self, rule: TargetingRule, labels: Mapping[str, str]) -> Iterable[_Place]:
        if rule.label is None:
            return (place for name in self._matched_targets(labels) for place in self._places[name])
        index = self._by_path[rule.equals]
        value = labels[rule.label]
        named = index.get(value, ())
        if rule.owner_of_pod:
            named = (*named, *(place for owner in owners_of_pod(value) for place in index.get(owner, ())))
        namespace = labels.get(rule.namespace_label, "") if rule.namespace_label else ""
        if namespace:
            named = tuple(place for place in named if self._namespace_of(place) in (None, namespace))
        return dict.fromkeys(named)

    def _namespace_of(self, place: _Place) -> str | None:
        namespace = self._targets[place[0]].bindings[place[1]].get("namespace")
        return namespace if isinstance(namespace, str) else None

    def _matched_targets(self, labels: Mapping[str, str]) -> list[str]:
        tried = list(self._by_trying)
        for item in labels.items():
            tried += self._by_equality.get(item, ())
            tried += self._by_presence.get(item[0], ())
        return [name for name in tried if all_match(self._targets[name].match, labels)]

    def _messenger_because(self, labels: Mapping[str, str]) -> str | None:
        """Why labels that may name the messenger are not to be believed; None when they are."""
        for label in self._targeting.victim_labels:
            if labels.get(label):
                return f"label {label} names the victim"
        for matcher in self._targeting.exporters:
            if matcher.matches(labels):
                return f"it came from an exporter ({matcher.text})"
        return None

    # --- self ---

    def _names_self(
        self,
        labels: Mapping[str, str],
        target: str | None,
        environment: str | None,
        identity: SelfIdentity,
        messenger_because: str | None,
    ) -> str | None:
        if target is not None:
            by = self._self_as(target, environment, identity)
            if by is not None:
                return f"target {target!r} is reached as {by!r}"
        believed = self._naming if messenger_because is not None else self._naming_or_messenger
        for label in sorted([label for label in believed & labels.keys() if identity.may_begin(labels[label])]):
            value = labels[label]
            names = (value, *owners_of_pod(value)) if label in self._owned else (value,)
            if identity.is_named_by(names) is not None:
                return f"label {label}={value!r}"
        if f"{labels.get('namespace', '')}/{labels.get('pod', '')}" in identity.pods:
            return f"pod {labels['pod']!r} in namespace {labels.get('namespace', '')!r}"
        return None

    def _self_as(self, target: str, environment: str | None, identity: SelfIdentity) -> str | None:
        """By what a target is UICI itself; asked once for each, since neither changes while the index lives."""
        if self._judged_for is not identity:
            self._judged_for, self._judged = identity, {}
        place = (target, environment)
        if place not in self._judged:
            spec = self._targets[target]
            self._judged[place] = identity.is_target((target, *spec.aliases), spec.bindings.get(environment or ""))
        return self._judged[place]

    # --- words and indices ---

    def _no_target(
        self,
        labels: Mapping[str, str],
        where: frozenset[str] | None,
        complaint: str,
        ambiguous: Mapping[str, tuple[str, ...]],
        messenger_because: str | None,
    ) -> str:
        tried = []
        for rule in self._targeting.rules:
            if rule.name in ambiguous:
                outcome = "several: " + ", ".join(ambiguous[rule.name][:10])
            elif rule.messenger and messenger_because is not None:
                outcome = f"not asked, since {messenger_because}"
            elif rule.label is not None and not labels.get(rule.label):
                continue  # some twenty labels that an alert could have and has not help nobody
            elif rule.when and not all_match(rule.when, labels):
                outcome = "its `when` does not match"
            elif rule.use == "lookup":
                outcome = "asks the platform"
            else:
                outcome = "no target" + (self._named(rule, labels) if rule.label else "")
            tried.append(f"{rule.name} ({outcome})")
        seen = ", ".join(f"{name}={hide_known(value)!r:.60}" for name, value in list(sorted(labels.items()))[:12])
        parts = ["No target is named by this alert."]
        if complaint:
            parts.append(complaint + ".")
        elif where is not None and len(where) > 1:
            parts.append(f"Several environments match it: {', '.join(sorted(where))}.")
        elif where:
            parts.append(f"Only targets bound in environment {next(iter(where))!r} were considered.")
        parts.append(f"Rules that found something to go by: {'; '.join(tried) or 'none'}.")
        parts.append(f"Labels: {seen or 'none'}{', …' if len(labels) > 12 else ''}.")
        parts.append("In targets.yml, add the name seen here to a target's `aliases`, or labels of it to its `match`.")
        return " ".join(parts)

    def _named(self, rule: TargetingRule, labels: Mapping[str, str]) -> str:
        value = labels[rule.label or ""]
        return f" for {hide_known(value)!r:.100}{did_you_mean(value, self._index_of(rule.equals))}"

    def _index_of(self, path: str) -> dict[str, tuple[_Place, ...]]:
        index: dict[str, list[_Place]] = {}
        for name, spec in self._targets.items():
            if path == "name":
                for text in dict.fromkeys((name, *spec.aliases)):
                    index.setdefault(text, []).extend(self._places[name])
                continue
            for environment, binding in spec.bindings.items():
                value = select(binding, path)
                if isinstance(value, str):
                    index.setdefault(value, []).append((name, environment))
        return {text: tuple(places) for text, places in index.items()}

    def _file_under_matchers(self, name: str, match: Iterable[Matcher]) -> None:
        needs = [matcher for matcher in match if not matcher.matches({})]
        for matcher in needs:
            if matcher.operator == "=":
                self._by_equality.setdefault((matcher.label, matcher.value), []).append(name)
                return
        if needs:
            self._by_presence.setdefault(needs[0].label, []).append(name)
        else:
            self._by_trying.append(name)


_indices: dict[int, tuple[weakref.ref[Site], TargetIndex]] = {}


def _same_thing(bound: JsonObject, found: JsonObject) -> bool:
    bound_keys, found_keys = bound.keys() - SETTINGS_OF_BINDINGS, found.keys() - SETTINGS_OF_BINDINGS
    shared = bound_keys & found_keys
    return (
        bool(shared)
        and (bound_keys <= found_keys or found_keys <= bound_keys)
        and all(_agrees(bound[key], found[key]) for key in shared)
    )


def _agrees(bound: JsonValue, found: JsonValue) -> bool:
    if isinstance(bound, dict) and isinstance(found, dict):
        # A selector of labels names some of what the thing found carries.
        return bool(bound) and all(key in found and _agrees(value, found[key]) for key, value in bound.items())
    return type(bound) is type(found) and bool(bound == found)


def _said(rule: TargetingRule, labels: Mapping[str, str]) -> str:
    if rule.label is None:
        return f"rule {rule.name}: the target's own matchers match, which"
    return f"rule {rule.name}: label {rule.label}={labels.get(rule.label, '')!r:.100}"


def index_of(site: Site) -> TargetIndex:
    """The index of a site, made once and kept as long as the site lives."""
    kept = _indices.get(id(site))
    if kept is None or kept[0]() is not site:
        kept = (weakref.ref(site, _forget(id(site))), TargetIndex(site))
        _indices[id(site)] = kept
    return kept[1]


def _forget(key: int) -> Callable[[weakref.ref[Site]], None]:
    def forget(gone: weakref.ref[Site]) -> None:
        kept = _indices.get(key)
        if kept is not None and kept[0] is gone:
            del _indices[key]

    return forget
