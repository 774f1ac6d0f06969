"""The scenes of the demo, and its closing table."""

from __future__ import annotations

import time

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from uici.cli.demo.grounds import ground_on
from uici.cli.demo.stage import SERVICES, DemoStage
from uici.cli.rendering import show_preview
from uici.cli.timeline import Timeline
from uici.model.base import JsonObject
from uici.model.errors import Problem
from uici.ports import DemoGround

_SHOWN = frozenset(
    "incident_opened incident_refused diagnosed planned guarded approval_requested approved slot_taken call_sent "
    "call_done call_failed step_failed undone alert_resolved verified run_ended".split()
)


def run(platform: str) -> int:
    """Play the whole story; 0 when every service is healed and every refusal held, else 1.

    Raises Problem when the platform has no demo.
    """
    out = Console(highlight=False)
    ground = ground_on(platform)
    began = time.monotonic()
    story = _Story(out, ground)
    story.label(
        "{} is simulated on this machine. A simulator speaks its API; UICI, its executor for it and the vendor's SDK "
        "are the real ones. Nothing leaves this machine, and nothing is changed anywhere else."
    )
    try:
        with DemoStage(ground) as stage:
            story.play(stage)
    except (Problem, httpx.HTTPError) as error:
        out.print(f"[red]the demo could not go on:[/] {error}")
        return 1
    out.print(story.table)
    out.print(f"ended after {time.monotonic() - began:.0f} s; nothing is left running")
    story.label("What you saw happened in a simulated {}. It does not replace a try against the real one.")
    return 0 if story.failures == 0 else 1


class _Story:
    def __init__(self, out: Console, ground: type[DemoGround]) -> None:
        self._out = out
        self._opening = ground.opening.format(count=len(SERVICES))
        self._simulation = ground.simulation
        self.failures = 0
        title = f"summary of a SIMULATION of {ground.simulation}" if ground.simulation else "summary"
        self.table = Table("what happened", "what UICI did", "outcome", "seconds", title=title)

    def label(self, text: str) -> None:
        """Say that this is a simulation, where it is one."""
        if self._simulation:
            text = text.format(self._simulation)
            self._out.print(Panel(text, title="SIMULATION", title_align="left", border_style="yellow", width=79))

    def play(self, stage: DemoStage) -> None:
        ground = stage.ground
        self._scene(self._opening)
        for service in SERVICES:
            if not ground.healthy(service):
                self._finished(stage, self._request(stage, service, "start_service"))
        stage.until("three healthy services", lambda: all(map(ground.healthy, SERVICES)))
        self._out.print(f"[green]{', '.join(SERVICES)} are healthy[/]")

        self._scene("shop is killed; first only a preview of what would be done")
        ground.kill("shop")
        alert = stage.alert("ServiceDown", "shop")
        show_preview(self._out, self._preview(stage, alert))

        self._scene("now the same alert for real, over HTTP in Alertmanager's format")
        self._heal(stage, "shop", alert, "shop was killed")

        self._scene("search hangs: it runs, but does not answer")
        ground.hang("search")
        self._heal(stage, "search", stage.alert("ServiceUnhealthy", "search"), "search hung")

        self._scene("version 2.0 of mail is deployed; its risk is high, so an approver decides")
        self._finished(stage, self._request(stage, "mail", "deploy_version", version="2.0"), approve=True)
        ground.order("mail")
        stage.until("mail to fail", lambda: not ground.healthy("mail"))
        self._out.print(
            "[yellow]2.0 was healthy, but its first order ended it. Rolling back needs an approval as well.[/]"
        )
        self._heal(stage, "mail", stage.alert("ServiceDown", "mail"), "mail got a bad configuration", approve=True)

        self._scene("an alert about UICI itself: it never remediates itself")
        began = time.monotonic()
        incident = stage.send(stage.alert("ServiceDown", "uici"))["incidents"][0]
        self._timeline(stage, incident["id"])
        self._row("alert about UICI itself", "nothing", incident["outcome"], "refused", began)

    def _preview(self, stage: DemoStage, alert: JsonObject) -> JsonObject:
        """Made as soon as the platform knows what happened: a supervisor, too, sees an ended process a moment later."""
        shown: JsonObject = {}

        def acts() -> bool:
            shown.update(stage.operator.post("/plans:preview", stage.payload(alert)))
            return any(preview.get("steps") for preview in shown["previews"])

        stage.until("a preview with a step", acts)
        return shown

    def _heal(self, stage: DemoStage, service: str, alert: JsonObject, what: str, *, approve: bool = False) -> None:
        began = time.monotonic()
        incident = stage.send(alert)["incidents"][0]["id"]
        run = stage.operator.get(f"/incidents/{incident}")["run"]
        if approve:
            self._approve(stage, run)
        # As Prometheus and Alertmanager would: once the service answers, the alert is resolved.
        stage.until(f"{service} to answer", lambda: stage.ground.healthy(service))
        healthy_after = time.monotonic() - began
        stage.send(stage.alert("", service, resolved=alert))
        ended = self._finished(stage, run)
        self._timeline(stage, incident)
        self._out.print(f"{service} answered {healthy_after:.1f} s after its alert")
        self._row(what, ", ".join(ended["tried"]), str(ended["outcome"]), "healed", began)

    def _request(self, stage: DemoStage, service: str, operation: str, **parameters: str) -> str:
        step = {"operation": operation, "target": service, "parameters": parameters}
        started = stage.operator.post("/runs", {"plan": {"steps": [step], "reason": "the demo asks for it"}})
        return str(started["id"])

    def _approve(self, stage: DemoStage, run: str) -> None:
        stage.until("the question", lambda: stage.operator.get(f"/runs/{run}")["waiting_for"] == "approval")
        cid = stage.operator.get(f"/runs/{run}")["cid"]
        decided = stage.approver.post(f"/runs/{run}:approve", {"cid": cid, "comment": "seen, go ahead"})
        approval = decided["approvals"][-1]
        self._out.print(f"[cyan]approved by {approval['decided_by']}[/] for exactly {cid[:19]}…")

    def _finished(self, stage: DemoStage, run: str, *, approve: bool = False) -> JsonObject:
        if approve:
            self._approve(stage, run)
        stage.until(f"the end of {run}", lambda: stage.operator.get(f"/runs/{run}")["state"] == "ended")
        return stage.operator.get(f"/runs/{run}")

    def _timeline(self, stage: DemoStage, incident: str) -> None:
        events = [
            event for event in stage.operator.get(f"/incidents/{incident}")["timeline"] if event["type"] in _SHOWN
        ]
        timeline = Timeline()
        for event in events:
            # Decisions and identifiers are in `uici incidents ID`; here one line is to fit a terminal.
            told = _TOLD | {"cid"} if event["type"] == "approval_requested" else _TOLD
            short = {name: value for name, value in event["data"].items() if name in told and value not in ("", None)}
            timeline.show(self._out, {**event, "data": short})

    def _row(self, what: str, did: str, outcome: str, wanted: str, began: float) -> None:
        self.failures += outcome != wanted
        colour = "green" if outcome == wanted else "red"
        self.table.add_row(what, did, f"[{colour}]{outcome}[/]", f"{time.monotonic() - began:.1f}")

    def _scene(self, title: str) -> None:
        self._out.print()
        self._out.rule(f"[bold]{title}[/]", align="left")


_TOLD = frozenset("alert findings remedy answer call outcome verdict layer reason".split())
