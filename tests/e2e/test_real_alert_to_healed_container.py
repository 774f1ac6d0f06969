"""The whole way with real components: Docker, Prometheus, Alertmanager, and `uici serve` in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import yaml

from tests.e2e.containers import Web, Yard
from tests.e2e.server import Server, write_site
from tests.real.alertmanager import Alertmanager, alertmanager
from tests.real.components import REPOSITORY
from tests.real.docker import DockerEngine
from tests.real.prometheus import Prometheus, prometheus, static_job
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

pytestmark = [
    pytest.mark.component("docker"),
    pytest.mark.component("prometheus"),
    pytest.mark.component("alertmanager"),
]

FOLDER = REPOSITORY / "build" / "e2e"
RULES = yaml.safe_dump(
    {
        "groups": [
            {
                "name": "services",
                "rules": [
                    {"alert": "InstanceDown", "expr": 'up{job=~"web|uici"} == 0', "labels": {"severity": "critical"}},
                    {
                        "alert": "ServiceUnhealthy",
                        "expr": 'up{job=~"cafe|bakery"} == 0',
                        "labels": {"severity": "critical"},
                    },
                    # Its labels are those of the exporter, whatever it speaks about.
                    {"alert": "ContainerDown", "expr": 'up{job="cadvisor"} == 0', "labels": {"severity": "critical"}},
                ],
            }
        ]
    },
    sort_keys=False,
)


@dataclass(frozen=True)
class Scene:
    """Everything that runs."""

    yard: Yard
    webs: dict[str, Web]
    prometheus: Prometheus
    alertmanager: Alertmanager
    uici: Server

    def incidents(self, alertname: str, label: str, value: str) -> list[JsonObject]:
        """Incidents of which an alert has this name and label, in detail."""
        listed = [self.uici.get(f"/incidents/{item['id']}") for item in self.uici.get("/incidents")["incidents"]]
        return [
            item
            for item in listed
            if any(a["labels"]["alertname"] == alertname and a["labels"].get(label) == value for a in item["alerts"])
        ]

    def closed(self, alertname: str, job: str) -> JsonObject:
        """The one incident of the job's alert, once it is closed."""

        def explain() -> str:
            return json.dumps(self.incidents(alertname, "job", job), indent=1)[-6000:] + self.uici.tail()

        def ended() -> bool:
            found = self.incidents(alertname, "job", job)
            return bool(found) and all(item["state"] == "closed" for item in found)

        until(ended, f"the end of the incident of {alertname}, job {job}", explain)
        (one,) = self.incidents(alertname, "job", job)
        return one

    def firing(self, job: str) -> bool:
        """Whether Prometheus fires an alert of the job."""
        return any(item["labels"]["job"] == job and item["state"] == "firing" for item in self.prometheus.alerts())


@pytest.fixture(scope="module")
def scene(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with ExitStack() as stack:
        yard = stack.enter_context(Yard(docker_engine))
        # One is called as UICI is; one stands for an exporter.
        webs = {name: yard.run(name) for name in ("web", "cafe", "bakery", "uici", "exporter")}
        config = write_site(
            folder / "site",
            environments={"default": "docker", "environments": {"docker": yard.environment()}},
            # `web` and `bakery` are found by the names of their jobs, the other by a matcher of its own.
            targets={
                "targets": {
                    "web": {"bindings": {"docker": webs["web"].binding()}},
                    "coffee": {"match": ['job="cafe"'], "bindings": {"docker": webs["cafe"].binding()}},
                    "bakery": {"bindings": {"docker": webs["bakery"].binding()}},
                }
            },
            policies={"autonomy": "auto", "cooldown": {"seconds": 0}},
        )
        uici = Server(config)
        token = folder / "token"
        token.write_text(uici.tokens[Role.ALERTMANAGER])
        am = stack.enter_context(
            alertmanager(
                folder / "alertmanager",
                Alertmanager.config_for(f"{uici.url}/webhooks/alertmanager", token_file=token),
            )
        )
        jobs = {"cadvisor" if name == "exporter" else name: web for name, web in webs.items()}
        prom = stack.enter_context(
            prometheus(
                folder / "prometheus",
                rules=RULES,
                scrape=[static_job(job, web.address, metrics_path="/health") for job, web in jobs.items()],
                alertmanagers=[am.address],
            )
        )
        environment = yard.environment(prometheus={"url": prom.url})
        (config / "environments.yml").write_text(
            json.dumps({"default": "docker", "environments": {"docker": environment}})
        )
        stack.enter_context(uici)
        until(lambda: len(prom.query("up == 1")) == len(webs), "the first scrapes", lambda: str(prom.query("up")))
        yield Scene(yard, webs, prom, am, uici)


def test_a_killed_container_is_healed(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    web = scene.webs["web"]
    scene.yard.forget()
    web.kill()
    incident = scene.closed("InstanceDown", "web")

    assert incident["outcome"] == "healed", scene.uici.explain(incident["run"])
    assert (incident["environment"], incident["target"]) == ("docker", "web")
    assert {"killed_by_signal", "not_running"} <= {finding["name"] for finding in incident["findings"]}
    assert len(incident["runs"]) == 1
    (alert,) = incident["alerts"]
    assert alert["outcome"] == "healed"
    until(
        lambda: scene.closed("InstanceDown", "web")["alerts"][0]["status"] == "resolved",
        "Alertmanager to say that the alert is resolved",
    )
    run = scene.uici.get(f"/runs/{incident['run']}")
    assert (run["outcome"], run["verdict"], run["tried"]) == ("healed", "effective", ["start"])
    (call,) = run["calls"]
    assert call["outcome"] == "done"
    # The engine's own word: it died once and was started once.
    assert web.healthy()
    (died,) = scene.yard.times("die", "web")
    (started,) = scene.yard.times("start", "web")
    assert scene.yard.times("restart", "web") == []
    assert {event.container for event in scene.yard.events()} == {"web"}

    when = {event["type"]: _seconds(event["at"]) for event in incident["timeline"]}
    breakdown = _breakdown(
        died=died,
        fires=_seconds(alert["starts_at"]),
        accepted=_seconds(alert["first_seen"]),
        looked=_seconds(run["first_call_at"]),
        sent=when["call_sent"],
        started=started,
        answered=when["call_done"],
        ended=when["run_ended"],
    )
    # A scrape that began before the death may notice it, so the first part alone may be a little below nothing.
    assert all(seconds >= 0 for seconds in list(breakdown.values())[1:]), breakdown
    _publish(breakdown, capsys)


def test_an_unhealthy_container_is_restarted(scene: Scene) -> None:
    cafe = scene.webs["cafe"]
    scene.yard.forget()
    cafe.sicken()
    incident = scene.closed("ServiceUnhealthy", "cafe")

    assert (incident["target"], incident["outcome"]) == ("coffee", "healed"), scene.uici.explain(incident["run"])
    assert {"running", "hanging"} <= {finding["name"] for finding in incident["findings"]}
    assert scene.uici.get(f"/runs/{incident['run']}")["tried"] == ["restart"]
    assert cafe.healthy()
    assert len(scene.yard.times("restart", "cafe")) == len(scene.yard.times("start", "cafe")) == 1
    assert {event.container for event in scene.yard.events()} == {"cafe"}


def test_a_bad_deployment_is_rolled_back_once_a_person_agrees(scene: Scene) -> None:
    bakery = scene.webs["bakery"]
    # People's deployments are of high risk, so they wait for a second person as well.
    step = {"operation": "deploy_version", "target": "bakery", "parameters": {"version": "late"}}
    # Healthy for a moment is enough for this deployment, so that the bad version is what the alert finds.
    gate = {"within": 60, "stable_for": 0}
    deployment = scene.uici.post("/api/v1/runs", {"plan": {"environment": "docker", "steps": [step], "verify": gate}})
    assert deployment.status_code == 202, deployment.text
    _approve(scene, deployment.json()["id"])
    scene.uici.ended(deployment.json()["id"])
    until(lambda: scene.firing("bakery"), "the alert of the bad version", scene.uici.tail)

    def asking() -> list[JsonObject]:
        """Incidents that wait for a person. The deployment's own short gap may have made one that resolved itself."""
        found = scene.incidents("ServiceUnhealthy", "job", "bakery")
        return [item for item in found if scene.uici.get(f"/runs/{item['run']}")["stage"] == "approval"]

    until(lambda: bool(asking()), "the question about the rollback", scene.uici.tail)
    (opened,) = asking()
    _approve(scene, opened["run"])
    scene.uici.ended(opened["run"])
    incident = scene.uici.get(f"/incidents/{opened['id']}")

    assert incident["outcome"] == "healed", scene.uici.explain(incident["run"])
    assert {"config_error", "recently_deployed"} <= {finding["name"] for finding in incident["findings"]}
    assert scene.uici.get(f"/runs/{incident['run']}")["tried"] == ["roll_back_the_deployment"]
    assert bakery.healthy()
    configuration = bakery.inspected()["Config"]
    assert configuration["Image"].endswith(":good")
    assert "COLOUR=blue" in configuration["Env"]


def test_an_alert_that_names_only_the_exporter_is_escalated(scene: Scene) -> None:
    scene.yard.forget()
    scene.webs["exporter"].kill()
    incident = scene.closed("ContainerDown", "cadvisor")

    assert (incident["target"], incident["outcome"]) == (None, "escalated")
    assert "no_target" in incident["reason"]
    assert "exporter" in incident["reason"]
    assert scene.uici.get(f"/runs/{incident['run']}")["calls"] == []
    assert {event.action for event in scene.yard.events()} == {"kill", "die"}


def test_an_alert_about_uici_itself_is_refused(scene: Scene) -> None:
    scene.yard.forget()
    scene.webs["uici"].kill()
    incident = scene.closed("InstanceDown", "uici")

    assert (incident["outcome"], incident["runs"]) == ("refused", [])
    assert "self_target" in incident["reason"]
    assert {event.action for event in scene.yard.events()} == {"kill", "die"}


def _approve(scene: Scene, run: str) -> None:
    def asks() -> bool:
        return bool(scene.uici.get(f"/runs/{run}")["stage"] == "approval")

    until(asks, f"{run} to ask for approval", lambda: scene.uici.explain(run))
    answer = scene.uici.post(
        f"/api/v1/runs/{run}:approve", {"cid": scene.uici.get(f"/runs/{run}")["cid"]}, Role.APPROVER
    )
    assert answer.status_code == 200, answer.text


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _breakdown(
    *,
    died: float,
    fires: float,
    accepted: float,
    looked: float,
    sent: float,
    started: float,
    answered: float,
    ended: float,
) -> dict[str, float]:
    """Seconds of each part, from the clocks of those who did it; all of them are of this machine."""
    return {
        "detection: death -> Prometheus fires": fires - died,
        "Alertmanager: fires -> webhook committed": accepted - fires,
        "UICI: committed -> first look at the platform": looked - accepted,
        "UICI: first look -> remedy sent": sent - looked,
        "Docker: remedy sent -> container up": started - sent,
        "Docker: container up -> its answer": answered - started,
        "verification: answer -> healed": ended - answered,
        "all: death -> container up": started - died,
    }


def _publish(breakdown: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = {"measured_at": datetime.now(UTC).isoformat(), "seconds": breakdown}
    (FOLDER / "time_to_repair.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [f"  {name:<48} {seconds * 1000:9.1f} ms" for name, seconds in breakdown.items()]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", "time to repair", *lines, ""]))
