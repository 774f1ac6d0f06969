"""Previewing every verb changes nothing, by each platform's own word: its event stream, log, or objects' versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.contract.rig import Rig, fresh
from uici.bootstrap import Application
from uici.model.base import JsonObject
from uici.model.errors import Problem

TARGET = "web"
PARAMETERS: dict[str, Callable[[Rig], JsonObject]] = {
    # of those that need some, or change something only with some
    "scale_service": lambda rig: {"replicas": 3},
    "update_resources": lambda rig: {"memory_bytes": 128 * 2**20},
    "set_configuration": lambda rig: {"environment": {"COLOUR": "red"}},
    "deploy_version": lambda rig: {"version": rig.version("bad")},
    "set_backend_state": lambda rig: {"state": "maint"},
    "silence_alert": lambda rig: {"matchers": {"alertname": "Down"}, "duration_seconds": 60, "comment": "a test"},
    "expire_silence": lambda rig: {"silence": "0b7e1c0e-7a7d-4f0e-8f5e-0d6c6f6e1a11"},
    "clear_stuck_finalizer": lambda rig: {
        "resource": "persistentvolumeclaims", "name": "data", "finalizer": "example.com/protect",
    },
    "end_idle_postgres_sessions": lambda rig: {"older_than_seconds": "600"},
    "expand_volume_claim": lambda rig: {"claim": "data-db-0", "size": "20Gi"},
    "kill_postgres_query": lambda rig: {"pid": "4711"},
    "reconcile_flux": lambda rig: {"kustomization": "web"},
    "refresh_argo_application": lambda rig: {"application": "web"},
    "reindex_postgres_index": lambda rig: {"index": "orders_pkey"},
    "reset_redis_replica": lambda rig: {"primary": "10.0.0.2"},
    "resize_instance_pool": lambda rig: {"size": 2},
    "rotate_certificate_secret": lambda rig: {"secret": "web-tls"},
    "set_backend_drain": lambda rig: {
        "load_balancer": "ocid1.loadbalancer.oc1..aaaa", "backend_set": "web", "backend": "10.0.0.2:8080",
    },
    "set_restart_policy": lambda rig: {"policy": "always"},
    "set_traffic_weight": lambda rig: {"weight": 0.25, "because": "a test"},
    "rollback_canary": lambda rig: {"because": "a test"},
    "vacuum_postgres_table": lambda rig: {"table": "orders"},
}  # fmt: skip
DIAGNOSTICS = ("haproxy_test", "nginx_test", "replication")
"""Asked of the service first by verbs that would change it."""
SERVICES = {name: {"url": "http://127.0.0.1:9"} for name in ("prometheus", "alertmanager", "traffic")}
"""Nobody listens there."""


def others(rig: Rig) -> list[JsonObject]:
    """What verbs are about that the rig's own binding does not name; a preview shows the calls for what is missing,
    too.
    """
    if rig.platform == "docker":
        shared = {key: value for key, value in fresh(rig).items() if key not in ("service", "project")}
        return [{**shared, "container": next(iter(rig.configuration())).lstrip("/")}]
    if rig.platform == "kubernetes":
        place = fresh(rig)["namespace"]
        return [
            {"kind": "Node", "name": rig.node()},  # type: ignore[attr-defined]  # no other platform has one
            {"kind": "CronJob", "name": "nightly", "namespace": place},
            {"kind": "Job", "name": "once", "namespace": place},
        ]
    return []


@pytest.fixture
def application(rig: Rig, tmp_path: Path) -> Iterator[Application]:
    place = {"platform": rig.platform, "connection": rig.connection(), **SERVICES}
    own = fresh(rig)
    bound = [own, *others(rig)]
    for binding in bound:
        if "diagnostics" in binding:
            greet = binding["diagnostics"]["greet"]
            binding["diagnostics"] = {**binding["diagnostics"], **dict.fromkeys(DIAGNOSTICS, greet)}
    files = {
        "targets": {
            "targets": {f"{TARGET}{number}": {"bindings": {rig.platform: one}} for number, one in enumerate(bound)}
        },
        "environments": {"default": rig.platform, "environments": {rig.platform: place}},
    }
    for name, document in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(document))
    made = Application(tmp_path, f"sqlite:///{tmp_path / 'state' / 'uici.db'}")
    made.start()
    yield made
    made.stop()


def marks(rig: Rig) -> JsonObject:
    """All by which a change would be seen."""
    seen: JsonObject = {
        "changes": rig.mutations(),
        "instances": rig.instances(),
        "configuration": rig.configuration(),
        "answers": rig.answers(),
    }
    if rig.platform == "kubernetes":
        seen["versions"] = rig.resource_versions()  # type: ignore[attr-defined]  # no other platform has them
    return seen


def previewed(application: Application, rig: Rig, verb: str) -> tuple[bool, set[str]]:
    """Whether calls were shown for any target, and the codes of the refusals."""
    refused = set()
    parameters = PARAMETERS[verb](rig) if verb in PARAMETERS else {}
    for target in application.site.targets:
        step = {"operation": verb, "target": target, "parameters": parameters}
        try:
            answer = application.control.preview({"plan": {"steps": [step], "reason": "a test"}}, rig.platform)
        except Problem as problem:
            refused.add(problem.code)
            continue
        (preview,) = answer["previews"]
        assert any(each["calls"] for each in preview["steps"]), (verb, target, preview["outcome"])
        return True, refused
    return False, refused


def test_previewing_every_verb_changes_nothing(rig: Rig, application: Application) -> None:
    before = marks(rig)
    verbs = [name for name, operation in application.site.operations.items() if operation.mutates]
    without_calls = {verb: codes for verb in verbs for shown, codes in [previewed(application, rig, verb)] if not shown}
    assert marks(rig) == before
    # All others have shown the calls that would change something.
    assert set().union(*without_calls.values()) <= {"unsupported_on_platform"}, without_calls


def test_what_the_marks_are_worth(rig: Rig) -> None:
    fresh(rig)
    before = marks(rig)
    rig.stop()
    assert marks(rig) != before
