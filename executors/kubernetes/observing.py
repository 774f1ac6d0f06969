"""Looks at a bound object with as few requests as it takes, and puts what was seen together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.conditions import Seen, event_problems, live_members, own_problems, status_of
from executors.kubernetes.facts import Facts, Problem
from executors.kubernetes.settings import KubernetesBinding
from executors.kubernetes.workloads import Workloads
from uici.model.base import JsonObject
from uici.model.call import CallError

_EVENTS_SINCE = timedelta(minutes=15)
_MAX_EVENTS = 2000


class Observing:
    """What is there of a binding. Safe for several threads."""

    def __init__(self, cluster: Cluster, workloads: Workloads) -> None:
        self._cluster = cluster
        self._workloads = workloads

    def seen(self, binding: KubernetesBinding, deadline: Deadline) -> Seen:
        """The object, its pods, and what is wrong with them."""
        thing = self._workloads.found(binding, deadline)
        return Seen(None) if thing is None else self.look(thing, deadline)

    def look(self, thing: JsonObject, deadline: Deadline) -> Seen:
        """As `seen`, of an object that was read already."""
        if thing["kind"] == "Node":
            return Seen(thing, problems=tuple(own_problems(thing)))
        jobs: list[JsonObject] = []
        if thing["kind"] == "CronJob":
            jobs = self._workloads.owned(thing, "Job", deadline)
            pods = self._workloads.pods(jobs[-1], deadline) if jobs else []
        else:
            pods = self._workloads.pods(thing, deadline)
        facts = [Facts.of(pod) for pod in pods]
        members = live_members(thing, facts)
        problems = [*own_problems(thing), *(problem for one in members for problem in one.problems)]
        problems += [problem for job in jobs[-1:] for problem in own_problems(job)]
        before = Seen(thing, tuple(members), tuple(jobs), tuple(problems))
        if _is_well(before):
            return before
        names = [thing["metadata"]["name"], *(one.name for one in facts), *self._owners(thing, pods, deadline)]
        problems += self._events(thing["metadata"]["namespace"], names, deadline)
        return Seen(thing, tuple(members), tuple(jobs), tuple(dict.fromkeys(problems)))

    def status(self, binding: KubernetesBinding, deadline: Deadline) -> JsonObject:
        """As get_service_status reports it."""
        return status_of(self.seen(binding, deadline))

    def _owners(self, thing: JsonObject, pods: Sequence[JsonObject], deadline: Deadline) -> list[str]:
        """Names of the ReplicaSets whose events tell why there are no pods."""
        if thing["kind"] != "Deployment" or pods:
            return []
        return [one["metadata"]["name"] for one in self._workloads.owned(thing, "ReplicaSet", deadline)]

    def _events(self, namespace: str, names: Sequence[str], deadline: Deadline) -> list[Problem]:
        since = (datetime.now(UTC) - _EVENTS_SINCE).strftime("%Y-%m-%dT%H:%M:%SZ")
        resource = self._cluster.resource("Event")
        found = []
        try:
            for event in self._cluster.list(resource, namespace, fields="type=Warning", deadline=deadline):
                found.append(event)
                if len(found) >= _MAX_EVENTS:
                    break
        except CallError as error:
            # What is wrong is told as far as it can be seen; that something could not be seen is part of it.
            return [Problem("events_unseen", namespace, error.message[:300])]
        return list(event_problems(found, names, since))


def _is_well(seen: Seen) -> bool:
    status = status_of(seen)
    return (
        status["state"] in ("running", "stopped")
        and status["health"] in ("healthy", "none")
        and not status["restart_count"]
        and not seen.problems
        and (status["running"] >= status["desired"])
    )
