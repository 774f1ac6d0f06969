"""Changes of a pod template: what a limit does to its request, what happens to variables, and which patch comes out."""

from __future__ import annotations

from typing import Any

import pytest

from executors.kubernetes.quantities import cores, whole_bytes, worth, written_bytes, written_cores
from executors.kubernetes.templates import (
    RESTARTED_AT,
    literals,
    merge_patch,
    template_digest,
    with_environment,
    with_image,
    with_resources,
)
from uici.model.call import CallError

MI = 1024 * 1024


def template(**container: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:1", **container}]},
    }


def resources(limits: dict[str, str] | None = None, requests: dict[str, str] | None = None) -> dict[str, Any]:
    return template(resources={"limits": limits or {}, "requests": requests or {}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2", 2.0),
        ("1e3", 1000.0),
        ("1E3", 1000.0),
        ("250u", 0.00025),
        (3, 3.0),
    ],
)
def test_what_a_quantity_of_processor_is_worth(text: Any, value: float) -> None:
    assert cores(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("128Mi", 128 * MI),
        ("1G", 10**9),
        ("1.5Ki", 1536),
        ("129e6", 129_000_000),
        ("1E", 10**18),
        ("1500m", 2),
        ("0", 0),
    ],
)
def test_what_a_quantity_of_memory_is_worth(text: str, value: int) -> None:
    assert whole_bytes(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "Mi", "1GiB", "0x10", "1.2.3", "one"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(CallError, match="no quantity"):
        worth(text)


def test_a_written_quantity_is_worth_what_it_was_made_of() -> None:
    assert [written_cores(number) for number in (0.5, 2, 0.0001, 0.1)] == ["500m", "2", "1m", "100m"]
    assert [written_bytes(number) for number in (128 * MI, 1000, 1536, 3 * 1024**3)] == ["128Mi", "1000", "1536", "3Gi"]


@pytest.mark.parametrize(
    ("limits", "requests", "cpus", "expected_limits", "expected_requests"),
    [
        ({"cpu": "500m"}, {"cpu": "100m"}, 0.25, {"cpu": "250m"}, {"cpu": "100m"}),
        ({"cpu": "500m"}, {"cpu": "500m"}, 0.25, {"cpu": "250m"}, {"cpu": "250m"}),  # guaranteed stays guaranteed
        ({"cpu": "500m"}, {"cpu": "400m"}, 0.25, {"cpu": "250m"}, {"cpu": "250m"}),  # none may be above its limit
        ({"cpu": "500m"}, {"cpu": "400m"}, 0, {}, {"cpu": "400m"}),
        ({}, {}, 0.25, {"cpu": "250m"}, {}),
        ({"cpu": "0.25"}, {}, 0.25, {"cpu": "0.25"}, {}),  # the same worth is no change
    ],
)
def test_what_a_limit_does_to_its_request(
    limits: dict[str, str],
    requests: dict[str, str],
    cpus: float,
    expected_limits: dict[str, str],
    expected_requests: dict[str, str],
) -> None:
    changed, _ = with_resources(resources(limits, requests), "web", cpus, None, {})
    found = changed["spec"]["containers"][0]["resources"]
    assert (found.get("limits", {}), found.get("requests", {})) == (expected_limits, expected_requests)


@pytest.mark.parametrize(
    ("limit", "request_", "low"),
    [("500m", "100m", 0.05), ("500m", "500m", 0.05), ("500m", None, 0.05), (None, "100m", 0.05), (None, None, 0.05)],
)
def test_a_limit_that_comes_back_brings_its_request_back(limit: str | None, request_: str | None, low: float) -> None:
    old = resources({"cpu": limit} if limit else {}, {"cpu": request_} if request_ else {})
    old, _ = with_resources(old, "web", None, None, {})
    lowered, down = with_resources(old, "web", low, None, {})
    back, down = with_resources(lowered, "web", cores(limit) or 0, None, down)
    assert (back, down) == (old, {})


def test_a_request_comes_back_over_two_lower_limits() -> None:
    old = resources({"memory": "128Mi"}, {"memory": "100Mi"})
    lowered, down = with_resources(old, "web", None, 64 * MI, {})
    lowest, down = with_resources(lowered, "web", None, 32 * MI, down)
    assert lowest["spec"]["containers"][0]["resources"]["requests"] == {"memory": "32Mi"}
    back, down = with_resources(lowest, "web", None, 128 * MI, down)
    assert (back, down) == (old, {})


def test_variables_are_set_removed_and_added() -> None:
    old = template(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "$(A)"}])
    new = with_environment(old, "web", {"A": "one", "D": "4", "E": "$(A)"}, ["B", "absent"], "it")
    assert new["spec"]["containers"][0]["env"] == [
        {"name": "D", "value": "4"},
        {"name": "A", "value": "one"},
        {"name": "C", "value": "$(A)"},
        {"name": "E", "value": "$(A)"},
    ]
    assert old["spec"]["containers"][0]["env"][0] == {"name": "A", "value": "1"}


@pytest.mark.parametrize(("set_to", "remove"), [({"PASSWORD": "x"}, []), ({}, ["PASSWORD"])])
def test_a_variable_that_comes_from_a_secret_is_left_alone(set_to: dict[str, str], remove: list[str]) -> None:
    reference = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    old = template(env=[reference, {"name": "A", "value": "1"}])
    with pytest.raises(CallError, match="PASSWORD of container 'web' of it takes its value from a Secret"):
        with_environment(old, "web", set_to, remove, "it")
    changed = with_environment(old, "web", {"A": "2"}, [], "it")["spec"]["containers"][0]
    assert changed["env"] == [reference, {"name": "A", "value": "2"}]
    assert literals(changed) == {"A": "2"}


def test_only_what_means_something_makes_another_template() -> None:
    plain = template()
    marked = {
        "metadata": {
            "creationTimestamp": None,
            "labels": {"app": "web", "pod-template-hash": "abc"},
            "annotations": {RESTARTED_AT: "2026-01-01T00:00:00Z"},
        },
        "spec": plain["spec"],
    }
    assert template_digest(plain) == template_digest(marked)
    assert template_digest(plain) != template_digest(with_image(plain, "web", "web:2"))


def test_the_patch_has_what_differs_and_no_more() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": [1], "f": 4, "same": {"x": 1}}
    new = {"a": 1, "b": {"c": 5}, "e": [1, 2], "g": {}, "same": {"x": 1}}
    assert merge_patch(old, new) == {"b": {"c": 5, "d": None}, "e": [1, 2], "f": None, "g": {}}
    assert merge_patch(old, old) == {}
