from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sites import alert, site
from uici.intake.targeting import TargetIndex
from uici.model.identity import SelfIdentity
from uici.model.matching import all_match
from uici.model.site import Site

NAMES = ("a", "b", "c")
VALUES = st.sampled_from(["a", "b", "c", "x-0", "", "uici"])
LABELS = st.dictionaries(
    st.sampled_from(["deployment", "pod", "job", "namespace", "uici_environment", "app", "container"]), VALUES
)
MATCHERS = st.builds(
    lambda label, operator, value: f'{label}{operator}"{value}"',
    st.sampled_from(["app", "job"]),
    st.sampled_from(["=", "!=", "=~", "!~"]),
    st.sampled_from(["a", "b", "", "a|b", ".+"]),
)


@st.composite
def _sites(draw: st.DrawFn) -> Site:
    targets: dict[str, Any] = {
        name: {
            "aliases": draw(st.lists(st.sampled_from(["x", "a"]), max_size=1)),
            "match": draw(st.lists(MATCHERS, max_size=2)),
            "bindings": {
                environment: {"container": draw(VALUES)}
                for environment in draw(st.sets(st.sampled_from(["local", "far"]), min_size=1))
            },
        }
        for name in NAMES
    }
    rules = [
        {"name": "own", "use": "target_matchers"},
        {"name": "deployment", "use": "label", "label": "deployment", "namespace_label": "namespace"},
        {"name": "pod", "use": "label", "label": "pod", "owner_of_pod": True},
        {"name": "container", "use": "label", "label": "container", "equals": "container"},
        {"name": "job", "use": "label", "label": "job", "messenger": True},
    ]
    return site(
        environments={
            "local": {"platform": "local"},
            "far": {"platform": "docker", "match": draw(st.lists(MATCHERS, max_size=1))},
        },
        targeting={"exporters": ['job="b"'], "victim_labels": ["pod"], "rules": draw(st.permutations(rules))},
        targets=targets,
    )


@given(_sites(), LABELS)
def test_a_target_that_is_named_exists_and_is_bound_where_the_alert_is_from(
    where: Site, labels: dict[str, str]
) -> None:
    found = TargetIndex(where).resolve(alert(**labels), SelfIdentity(names=frozenset({"uici"})))
    assert found.reason
    if found.target is None:
        assert found.rule is None
        return
    assert found.environment in where.targets[found.target].bindings
    assert found.candidates == ()
    assert found.needs_lookup == ()
    if labels.get("uici_environment") and not where.environments["far"].match:
        assert found.environment == labels["uici_environment"]


@given(_sites(), LABELS)
def test_the_index_of_matchers_finds_what_trying_every_target_finds(where: Site, labels: dict[str, str]) -> None:
    index = TargetIndex(where)
    tried = {name for name, spec in where.targets.items() if spec.match and all_match(spec.match, labels)}
    assert set(index._matched_targets(labels)) == tried


@given(_sites(), LABELS.map(lambda labels: {**labels, "container": "uici"}))
def test_a_label_that_names_uici_is_never_overlooked(where: Site, labels: dict[str, str]) -> None:
    assert TargetIndex(where).resolve(alert(**labels), SelfIdentity(names=frozenset({"uici"}))).is_self
