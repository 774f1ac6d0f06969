"""What a preview says of a step's effect, against what the step then really does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import running, site
from uici.bootstrap import Application
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind


def changes(application: Application, *steps: tuple[str, JsonObject]) -> list[Any]:
    plan = {"steps": [{"operation": name, "target": "web", "parameters": given} for name, given in steps]}
    (preview,) = application.control.preview({"plan": plan}, None)["previews"]
    return [
        None if step["changes"] is None
        else {change["field"]: (change["effect"], change["now"], change["after"]) for change in step["changes"]}
        for step in preview["steps"]
    ]  # fmt: skip


def test_now_against_after(tmp_path: Path) -> None:
    world = World()
    service = world.service("web")
    service.environment = {"COLOUR": "blue", "OLD": "1", "API_TOKEN": "first"}
    sent: list[Call] = []
    world.hook = lambda moment, environment, call: sent.append(call) if moment == "perform" else None
    with running(site(tmp_path / "config", "web"), world) as application:
        (scale,) = changes(application, ("scale_service", {"replicas": 3}))
        assert scale["configuration.replicas"] == ("changed", 1, 3)
        (same,) = changes(application, ("scale_service", {"replicas": 1}))
        assert same["configuration.replicas"] == ("unchanged", 1, 1)
        new = {"environment": {"COLOUR": "red", "NEW": "x", "API_TOKEN": "second"}, "remove": ["OLD"]}
        (configured,) = changes(application, ("set_configuration", new))
        assert configured["configuration.environment.COLOUR"] == ("changed", "blue", "red")
        assert configured["configuration.environment.NEW"] == ("changed", None, "x")
        assert configured["configuration.environment.OLD"] == ("changed", "1", None)
        effect, now, after = configured["configuration.environment.API_TOKEN"]
        assert (effect, now == after, "first" in now) == ("changed", True, False)  # masked, and a change all the same
        (rolled,) = changes(application, ("rollback_version", {}))
        assert rolled["configuration.version"] == ("unknown", "good", None)
        (started,) = changes(application, ("start_service", {}))
        assert started["state"] == ("changed", "exited", "running")
        service.state = "running"
        (restarted,) = changes(application, ("restart_service", {}))
        assert restarted == {"state": ("unchanged", "running", "running"), "the target": ("unknown", None, None)}
        # Reads only, and each step begins where the one before it ends.
        one, two, look = changes(
            application, ("scale_service", {"replicas": 3}), ("scale_service", {"replicas": 5}), ("check_logs", {})
        )
        assert one["configuration.replicas"] == ("changed", 1, 3)
        assert two["configuration.replicas"] == ("changed", 3, 5)
        assert look is None
    assert world.done == []
    assert sent
    assert not any(call.mutates for call in sent)


def test_what_cannot_be_read_is_unknown_and_says_why(tmp_path: Path) -> None:
    world = World()

    def unreachable(moment: str, environment: str, call: Call) -> None:
        raise CallError(FailureKind.PERMANENT, "gone", "the platform is away")

    world.hook = unreachable
    with running(site(tmp_path / "config", "web"), world) as application:
        plan = {"steps": [{"operation": "scale_service", "target": "web", "parameters": {"replicas": 3}}]}
        (preview,) = application.control.preview({"plan": plan}, None)["previews"]
        (replicas, _) = preview["steps"][0]["changes"]
        assert (replicas["effect"], replicas["now"], replicas["after"]) == ("unknown", None, 3)
        assert "the platform is away" in replicas["why"]
