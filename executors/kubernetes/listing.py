"""What runs in a namespace: its workloads, and pods that belong to none."""

from __future__ import annotations

from collections.abc import Iterable

from executors.deadline import Deadline
from executors.images import repository_of, tag_of
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.conditions import Seen, live_members, own_problems, status_of
from executors.kubernetes.facts import Facts
from executors.kubernetes.read_calls import ListAll
from executors.kubernetes.workloads import controller, owner_uid, template
from uici.model.base import JsonObject

_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def services_of(cluster: Cluster, namespace: str | None, wanted: ListAll, deadline: Deadline) -> JsonObject:
    """All workloads of the namespace by name (of the whole cluster for a Node); one list for each kind, no more."""
    above = {one["metadata"]["uid"]: owner_uid(one) for one in _listed(cluster, "ReplicaSet", namespace, deadline)}
    owned: dict[str, list[Facts]] = {}
    found: list[JsonObject] = []
    for pod in _listed(cluster, "Pod", namespace, deadline):
        owner = owner_uid(pod)
        if owner is None:
            found.append(_entry(pod, [Facts.of(pod)]))
        else:
            owned.setdefault(above.get(owner) or owner, []).append(Facts.of(pod))
    for kind in _KINDS:
        for thing in _listed(cluster, kind, namespace, deadline):
            if controller(thing) is None:
                found.append(_entry(thing, owned.get(thing["metadata"]["uid"], [])))
    if wanted.state is not None:
        found = [one for one in found if one["state"] == wanted.state]
    found.sort(key=lambda one: str(one["name"]))
    return {
        "services": found[: wanted.limit],
        "total": len(found),
        "running": sum(one["state"] == "running" for one in found),
        "truncated": len(found) > wanted.limit,
    }


def _entry(thing: JsonObject, pods: list[Facts]) -> JsonObject:
    members = tuple(live_members(thing, pods))
    problems = (*own_problems(thing), *(problem for one in members for problem in one.problems))
    image = str(template(thing)["spec"]["containers"][0]["image"])
    return {
        "id": thing["metadata"]["uid"],
        "name": f"{thing['kind']}/{thing['metadata']['name']}",
        "state": status_of(Seen(thing, members, (), problems))["state"],
        "image": repository_of(image) or image,
        "version": tag_of(image),
    }


def _listed(cluster: Cluster, kind: str, namespace: str | None, deadline: Deadline) -> Iterable[JsonObject]:
    return cluster.list(cluster.resource(kind), namespace, deadline=deadline)
