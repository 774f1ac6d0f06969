"""Everything that people and senders can ask of UICI, in one place: what the service and the tests talk to."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import IO, Any

from sqlalchemy import Connection, Row, select

from uici.access.reach import require_place, require_risk
from uici.access.tokens import TokenStore
from uici.audit.denials import Denials
from uici.audit.reading import AuditLog
from uici.catalogue.listing import listed_operations, shown_operation
from uici.events.log import Event
from uici.intake.confining import confined
from uici.intake.payload import parse_notification
from uici.intake.targeting import index_of
from uici.intake.writer import Accepted, IntakeWriter
from uici.model.alert import Notification
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, unknown_environment
from uici.model.masking import mask, register_named
from uici.model.plan import Origin, Plan
from uici.model.scope import EVERYTHING, Scope
from uici.model.verdict import Answer
from uici.notify.notifications import Notifications
from uici.planning.ladder import refuse_self
from uici.planning.written import parse_plan
from uici.runs import metrics, preview, reading, records
from uici.runs.autonomy import AutonomyRecord
from uici.runs.bundle import make_bundle
from uici.runs.configuration import Configuration
from uici.runs.data import RunData, RunState, Stage
from uici.runs.engine import Engine
from uici.runs.fleet import fleet, one_target
from uici.runs.four_eyes import refuse_requester
from uici.runs.freezing import Freezes
from uici.runs.guides import Guides
from uici.runs.learning import Learning
from uici.runs.places import listed_environments
from uici.runs.refusals import Refusals
from uici.runs.services import Services
from uici.runs.workers import list_workers
from uici.store.identifiers import new_id
from uici.store.schema import approvals, runs


class Control:
    """The powers of UICI. Every method raises Problem for what cannot be done, with what to do instead."""

    def __init__(
        self,
        services: Services,
        intake: IntakeWriter,
        engine: Engine | None,
        tokens: TokenStore,
        configuration: Configuration,
        notifications: Notifications,
    ) -> None:
        self._services = services
        self.autonomy = AutonomyRecord(services)
        self.refusals = Refusals(services)
        self.freezes = Freezes(services)
        self.guides = Guides(services)
        self._intake = intake
        self._engine = engine
        self.tokens = tokens
        self.audit = AuditLog(services.store)
        self.denials = Denials(services.store, services.clock)
        self.learning = Learning(services)
        self.configuration = configuration
        self.notifications = notifications

    def now(self) -> datetime:
        """The time by which everything is judged."""
        return self._services.clock.now()

    # --- alerts ---------------------------------------------------------------------------------------------

    def submit(self, notification: Notification, sender: str, scope: Scope = EVERYTHING) -> Future[Accepted]:
        """Hand over a notification; the future is done when it is on disk. What is outside of the sender's scope is
        kept and refused, and people are told.
        """
        if not scope.everywhere:
            given = self._services
            notification = confined(notification, sender, scope, index_of(given.site()), given.identity, given.layers)
        return self._intake.submit(notification, sender)

    def give_way(self, pressed: Callable[[], bool]) -> None:
        """Start few parts of runs at once while `pressed` says that requests wait for this process, or in a storm."""
        if self._engine is not None:
            self._engine.give_way(lambda: self._intake.storming() or pressed())

    # --- looking --------------------------------------------------------------------------------------------

    def incidents(
        self, state: str | None, limit: int, before: str | None, scope: Scope = EVERYTHING
    ) -> list[JsonObject]:
        """Incidents within the scope, newest first."""
        return reading.list_incidents(self._services.store, state, limit, before, scope)

    def incident(self, id_: str) -> JsonObject:
        """One incident with its alerts, findings, guides, runs and timeline."""
        return self.guides.incident(id_)

    def bundle(self, id_: str) -> IO[bytes]:
        """Everything known of one incident as a zip file, which the caller closes."""
        return make_bundle(self._services, id_, configuration=str(self.configuration.show()["digest"]))

    def runs(self, state: str | None, limit: int, before: str | None, scope: Scope = EVERYTHING) -> list[JsonObject]:
        """Runs within the scope, newest first."""
        return reading.list_runs(self._services.store, state, limit, before, scope)

    def run(self, id_: str) -> JsonObject:
        """One run with its plan, approvals and calls."""
        return reading.one_run(self._services.store, self._services.events, id_)

    def place_of(self, *, run: str | None = None, incident: str | None = None) -> tuple[str | None, str | None]:
        """The environment and the target of a run or of an incident."""
        if run is not None:
            return reading.place_of_run(self._services.store, run)
        return reading.place_of_incident(self._services.store, incident or "")

    def events(
        self, *, run: str | None, incident: str | None, after: int, limit: int, scope: Scope = EVERYTHING
    ) -> list[Event]:
        """Events within the scope that are later than `after`, oldest first."""
        return self._services.events.read(run=run, incident=incident, after=after, limit=limit, scope=scope)

    def latest_event(self, but: int = 0) -> int:
        """The position of the newest event but so many, 0 before the first."""
        return self._services.events.latest(but)

    def wait_for_events(self, after: int, timeout: float) -> None:
        """Block until something later than `after` exists, or `timeout` seconds have passed."""
        self._services.events.wait(after, timeout)

    def operations(self) -> list[JsonObject]:
        """All verbs, without their translations."""
        return listed_operations(self._services.site())

    def operation(self, name: str) -> JsonObject:
        """One verb, complete."""
        return shown_operation(self._services.site(), name)

    def targets(self, scope: Scope = EVERYTHING) -> list[JsonObject]:
        """The managed services within the scope."""
        return reading.list_targets(self._services.site(), scope)

    def fleet(self, environment: str | None, scope: Scope = EVERYTHING) -> JsonObject:
        """How every target within the scope stands in every environment, or in one, by looking now."""
        return fleet(self._services, environment, scope=scope)

    def target(self, name: str, scope: Scope = EVERYTHING) -> JsonObject:
        """One target as it stands in each of its environments within the scope, by looking now."""
        return one_target(self._services, name, scope)

    def workers(self) -> list[JsonObject]:
        """The processes that share the state, each with the runs that it holds."""
        return list_workers(self._services.store)

    def environments(self, scope: Scope = EVERYTHING) -> list[JsonObject]:
        """The environments within the scope, each with whether its platform answers now."""
        return listed_environments(self._services, scope)

    # --- previews and plans ---------------------------------------------------------------------------------

    def preview(self, document: JsonObject, environment: str | None, scope: Scope = EVERYTHING) -> JsonObject:
        """What would be done about a payload, an incident or a plan within the scope. Changes nothing."""
        site = self._services.site()
        if environment is not None and environment not in site.environments:
            raise unknown_environment(environment, site.environments, "environment")
        if "alerts" in document:
            # The parser takes what arrives at the webhook: bytes, so that both roads refuse the same things.
            notification = parse_notification(
                json.dumps(document).encode(), max_depth=site.platform.service.max_json_depth
            )
            return preview.of_notification(self._services, notification, environment, scope)
        if "incident" in document:
            return preview.of_incident(self._services, document["incident"], environment, scope)
        return preview.of_plan(self._services, self._plan(document.get("plan"), environment, scope))

    def start(self, document: JsonObject, actor: str, scope: Scope = EVERYTHING) -> JsonObject:
        """Start a run from a hand-written plan within the scope. The guards judge it inside the run."""
        plan = self._plan(document.get("plan"), None, scope)
        if document.get("reason"):
            plan = plan.model_copy(update={"reason": document["reason"]})
        own = refuse_self(plan, self._services.site(), self._services.identity, self._services.layers)
        if own.answer is Answer.DENY:
            raise Problem(ProblemKind.FORBIDDEN, "self_target", own.reason, hint="UICI never acts on itself")
        site = self._services.site()
        prepared = self._services.platforms.seen_through(site).prepare(plan)
        require_risk(scope, prepared.risk)
        operations = [step.operation for step in plan.steps]
        catalogue = self._services.pins.pin(site, plan.environment, None, operations)
        now = self._services.clock.now()
        run_id = new_id("run", now)
        target, cid = plan.steps[0].target, prepared.cid
        with self._services.events.writing() as connection:
            records.keep_plan(connection, cid, prepared, now)
            data = RunData(
                run_id=run_id,
                part=0,
                stage=Stage.GUARD,
                origin=Origin.HUMAN,
                actor=actor,
                environment=plan.environment,
                target=target,
                catalogue=catalogue,
                target_spec=site.targets[target],
                cid=cid,
            )
            connection.execute(
                runs.insert().values(
                    id=run_id,
                    environment=plan.environment,
                    target=target,
                    origin=Origin.HUMAN,
                    actor=actor,
                    state=RunState.WAITING,
                    stage=Stage.GUARD,
                    part=0,
                    due_at=now,
                    waiting_for="start",
                    cid=cid,
                    data=data.model_dump(mode="json", exclude_defaults=True),
                    created_at=now,
                    reason=plan.reason,
                )
            )
            self._services.events.append(
                connection,
                "run_requested",
                run=run_id,
                environment=plan.environment,
                target=target,
                actor=actor,
                cid=cid,
                steps=operations,
                reason=plan.reason,
            )
        self._services.wake()
        return self.run(run_id)

    def _plan(self, document: object, environment: str | None, scope: Scope) -> Plan:
        if environment is not None and isinstance(document, dict):
            document = {**document, "environment": environment}
        plan = parse_plan(document, self._services.site())
        for step in plan.steps:
            register_named(step.parameters)
        plan = plan.model_copy(update={"reason": mask(plan.reason)})
        others = sorted({step.target for step in plan.steps[1:]} - {plan.steps[0].target})
        if others:
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "several_targets",
                f"a plan acts on one target; this one names {plan.steps[0].target} and {', '.join(others)}",
                where="/steps",
                hint="hand in one plan for each target, so that each has its own lock, verdict and undo",
            )
        require_place(scope, plan.environment, plan.steps[0].target)
        return plan

    # --- decisions ------------------------------------------------------------------------------------------

    def approve(self, run_id: str, cid: str, actor: str, comment: str, scope: Scope = EVERYTHING) -> JsonObject:
        """Allow the plan of this `cid`, and its undo. Who asked for a destructive one may not."""

        def check(connection: Connection, run: Row[Any]) -> None:
            risk = self._services.plan(cid).risk
            require_risk(scope, risk)
            refuse_requester(connection, run, risk, actor)

        return self._decide(run_id, cid, actor, comment, "approved", check)

    def reject(self, run_id: str, cid: str, actor: str, comment: str) -> JsonObject:
        """Refuse the plan of this `cid`."""
        return self._decide(run_id, cid, actor, comment, "rejected", lambda *_: None)

    def cancel(self, run_id: str, actor: str, reason: str) -> JsonObject:
        """Ask a run to stop; a call that was sent is settled first."""
        now = self._services.clock.now()
        with self._services.events.writing() as connection:
            row = reading.run_row(connection, run_id)
            if row.state == RunState.ENDED:
                raise Problem(ProblemKind.CONFLICT, "run_has_ended", f"{run_id} ended as {row.outcome or row.verdict}")
            connection.execute(
                runs.update().where(runs.c.id == run_id).values(cancel_by=actor, cancel_reason=reason, due_at=now)
            )
            self._decision(connection, "cancel_requested", run_id, row, actor=actor, reason=reason)
        self._services.wake()
        return self.run(run_id)

    def _decide(
        self,
        run_id: str,
        cid: str,
        actor: str,
        comment: str,
        decision: str,
        check: Callable[[Connection, Row[Any]], None],
    ) -> JsonObject:
        now = self._services.clock.now()
        with self._services.events.writing() as connection:
            row = reading.run_row(connection, run_id)
            asked = connection.execute(
                select(approvals).where(approvals.c.run_id == run_id).order_by(approvals.c.requested_at.desc())
            ).first()
            if asked is None:
                raise Problem(ProblemKind.CONFLICT, "nothing_to_decide", f"{run_id} has not asked for approval")
            if asked.cid != cid:
                raise Problem(
                    ProblemKind.CONFLICT,
                    "other_plan",
                    f"{run_id} asks about another plan than {cid}",
                    where="cid",
                    allowed=(asked.cid,),
                    hint="look at the plan again before you decide about it",
                )
            if asked.state != "pending" or now >= asked.expires_at:
                state = asked.state if asked.state != "pending" else "expired"
                by = f" by {asked.decided_by}" if asked.decided_by else ""
                raise Problem(ProblemKind.CONFLICT, "already_decided", f"the question is closed: {state}{by}")
            check(connection, row)
            connection.execute(
                approvals.update()
                .where(approvals.c.id == asked.id)
                .values(state=decision, decided_at=now, decided_by=actor, comment=comment)
            )
            connection.execute(runs.update().where(runs.c.id == run_id).values(due_at=now))
            self._decision(connection, decision, run_id, row, actor=actor, cid=cid, comment=comment)
        self._services.wake()
        return self.run(run_id)

    def _decision(self, connection: Connection, type_: str, run_id: str, row: object, **more: object) -> None:
        self._services.events.append(
            connection,
            type_,
            incident=getattr(row, "incident_id", None),
            run=run_id,
            environment=getattr(row, "environment", None),
            target=getattr(row, "target", None),
            **more,
        )

    def freeze(self, frozen: bool, actor: str, reason: str) -> JsonObject:
        """One call freezes all: no plan that changes anything passes the guards until it is lifted."""
        return self.freezes.set(frozen, actor, reason)

    def freeze_state(self) -> JsonObject:
        """As `Freezes.state`."""
        return self.freezes.state()

    def brakes(self) -> JsonObject:
        """Where UICI acts only on a person's word, because much of the environment fails at once."""
        return {"brakes": self._services.brakes.listed()}

    def lift_brake(self, environment: str, actor: str, reason: str) -> JsonObject:
        """Let UICI act there by itself again."""
        self._services.brakes.lift(self._services.events, self._services.site(), environment, actor, reason)
        self._services.wake()
        return self.brakes()

    # --- UICI itself ----------------------------------------------------------------------------------------

    def ready(self) -> JsonObject:
        """Whether alerts are accepted and runs are started. Environments are shown, and do not make UICI unready."""
        state = self._services.store.reachable(self._services.site().platform.intake.least_free_bytes)
        engine = self._engine.problem() if self._engine is not None else "the engine is not started"
        checks = [
            {"name": "state", "ok": state is None, "detail": mask(state or "writable")},
            {"name": "engine", "ok": engine is None, "detail": mask(engine or "running")},
            self._intake.check(),
            self.configuration.check(),
            # People who are not told are no reason to take no alerts, so this never makes UICI unready.
            {"name": "messages", "ok": True, "detail": self.notifications.summary() if state is None else "unknown"},
        ]
        return {"ok": all(check["ok"] for check in checks), "checks": checks}

    def free_bytes(self) -> int | None:
        """The room that is left where the state lies; None where that cannot be seen. Raises OSError."""
        return self._services.store.free_bytes()

    def metrics(self) -> bytes:
        """Metrics in Prometheus' text format."""
        store, clock, waiting = self._services.store, self._services.clock, self._intake.waiting()
        return metrics.render(
            store,
            clock.now(),
            waiting=waiting,
            refused=self._intake.refused(),
            ready=bool(self.ready()["ok"]),
            active=self._engine.active() if self._engine is not None else 0,
            configuration=self.configuration,
            questions=self._services.questions,
        )
