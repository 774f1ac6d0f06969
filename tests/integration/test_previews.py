"""Previews: always of what is in force now, whatever earlier ones have left in memory, and of what can be read."""

from __future__ import annotations

from pathlib import Path

from tests.doubles.memory_executor import World
from tests.e2e.server import payload
from tests.integration import runs_rig as rig
from uici.bootstrap import Application
from uici.model.base import JsonObject
from uici.model.call import Call
from uici.runs.guarding import seen_now

PAYLOAD = payload(
    {
        "status": "firing",
        "labels": {"alertname": "Down", "uici_target": "web"},
        "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z",
    }
)


def preview(application: Application) -> JsonObject:
    (shown,) = application.control.preview(PAYLOAD, None)["previews"]
    return dict(shown)


def guards(shown: JsonObject) -> dict[str, tuple[str, str]]:
    return {item["guard"]: (item["answer"], item["rule"]) for item in shown["guards"]}


def test_each_follows_the_configuration(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", "web")
    with rig.running(config, World()) as application:
        first, again = preview(application), preview(application)
        assert (first["outcome"], again) == ("would run", first)

        targets = config / "targets.yml"
        targets.write_text(targets.read_text().replace("/bin/true", "/bin/false"))
        application.control.configuration.reload("test")
        bound = preview(application)
        assert bound["steps"][0]["calls"][0]["arguments"]["target"]["command"] == ["/bin/false"]
        assert bound["cid"] != first["cid"]

        strategies = config / "strategies.yml"
        strategies.write_text(strategies.read_text().replace("[restart_service]", "[stop_service]"))
        application.control.configuration.reload("test")
        assert preview(application)["steps"][0]["operation"] == "stop_service"

        policies = config / "policies.yml"
        policies.write_text(policies.read_text().replace("autonomy: auto", "autonomy: approve"))
        application.control.configuration.reload("test")
        assert preview(application)["outcome"] == "would wait for approval"

        targets.write_text(targets.read_text().replace("/bin/false", "/bin/true"))
        strategies.write_text(strategies.read_text().replace("[stop_service]", "[restart_service]"))
        policies.write_text(policies.read_text().replace("autonomy: approve", "autonomy: auto"))
        application.control.configuration.reload("test")
        assert preview(application) == first


def test_each_follows_the_state_and_the_platform(tmp_path: Path) -> None:
    world = World()
    with rig.running(rig.site(tmp_path / "site", "web"), world) as application:
        first = preview(application)
        application.control.freeze(True, "ann", "storm")
        assert guards(preview(application))["freeze"] == ("deny", "frozen")
        application.control.freeze(False, "ann", "over")
        veto = application.control.learning.veto("down", "restart", None, None, "it loses orders", "ann")["id"]
        assert guards(preview(application))["veto"] == ("deny", "vetoed")
        application.control.learning.lift(veto, "mended", "ann")
        assert preview(application) == first
        world.service("web").state = "running"
        assert preview(application)["findings"] != first["findings"]


def test_a_guard_that_cannot_read_its_own_denies_and_the_others_answer(tmp_path: Path) -> None:
    with rig.running(rig.site(tmp_path / "site", "web"), World()) as application:
        plan = {"steps": [{"operation": "restart_service", "target": "web"}]}
        with application.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE freezes RENAME TO away")
        (shown,) = application.control.preview({"plan": plan}, None)["previews"]
        with application.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO freezes")
            connection.exec_driver_sql("ALTER TABLE vetoes RENAME TO away")
        seen = seen_now(application.services, "local", "web", "")
        with application.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO vetoes")
        denials = {name: answer for name, answer in guards(shown).items() if answer[0] == "deny"}
        assert denials == {"freeze": ("deny", "unreadable")}
        assert (seen.vetoes, seen.freeze_known, seen.standing.acting) == (None, True, 0)


def test_the_diagnosis_of_a_preview_is_its_look_at_the_target(tmp_path: Path) -> None:
    world = World()
    looks: list[str] = []

    def looked(moment: str, environment: str, call: Call) -> None:
        if moment == "perform":
            looks.append(call.name)

    with rig.running(rig.site(tmp_path / "site", "web"), world) as application:
        world.hook = looked
        shown = preview(application)
        assert shown["steps"][0]["changes"][0]["now"] == "exited"
        assert len(looks) == 1, looks
        plan = {"steps": [{"operation": "restart_service", "target": "web"}]}
        application.control.preview({"plan": plan}, None)
        assert len(looks) == 2, looks  # without a diagnosis the comparison looks by itself
