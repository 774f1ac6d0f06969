"""What can be told of a cluster by looking: its version, UICI's rights in it, its clock, how safe the way to it is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.checkup import Check, fail, ok, warn
from uici.ports import ConnectionReport

_SECONDS = 30.0
_OLDEST = (1, 19)
_LOOKED_AT = (
    ("", "pods", "list"),
    ("", "pods/log", "get"),
    ("", "events", "list"),
    ("apps", "deployments", "get"),
    ("apps", "replicasets", "list"),
)
"""Without one of these next to nothing can be seen; what the enabled operations need is listed by `uici rbac`."""
_CHANGED = (("apps", "deployments", "patch"), ("", "pods/exec", "create"))
_ADVICE = {
    "kubernetes_sdk_missing": "pip install 'uici[kubernetes]'",
    "kubernetes_unreachable": "start the API server, or correct the connection in environments.yml",
    "bad_credentials": "correct the connection in environments.yml",
    "unauthorized": "renew the credentials",
    "tls_refused": "correct the CA of the connection",
}


def report(cluster: Cluster) -> ConnectionReport:
    """Ask the API server. Never raises, and changes nothing: a review of rights is kept nowhere."""
    deadline = Deadline(_SECONDS)
    try:
        answer = cluster.api.get(("version",), deadline=deadline)
        said = answer.json()
        checks = (_version(said), _rights(cluster, deadline), _way(cluster))
    except CallError as error:
        told = fail("API server", error.message, _ADVICE.get(error.code, "see what was seen; nothing can be healed"))
        return ConnectionReport(ok=False, detail=error.message, checks=(told,))
    version = str(said.get("gitVersion", ""))
    answers = f"{cluster.where} answers, by {cluster.api.client().source}"
    return ConnectionReport(
        ok=True,
        detail=answers,
        version=version,
        at=_time(answer.headers.get("Date") or answer.headers.get("date")),
        checks=(ok("API server", answers), *checks),
    )


def _version(said: JsonObject) -> Check:
    name, shown = "Kubernetes version", str(said.get("gitVersion", "?"))
    digits = ["".join(one for one in str(said.get(part, "")) if one.isdigit()) for part in ("major", "minor")]
    number = tuple(int(one or 0) for one in digits)
    if number < _OLDEST:
        return warn(name, f"{shown}; UICI is tried with 1.19 and newer", "update the cluster")
    return ok(name, shown)


def _rights(cluster: Cluster, deadline: Deadline) -> Check:
    name, namespace = "rights", cluster.namespace
    blind = _missing(cluster, namespace, _LOOKED_AT, deadline)
    powerless = _missing(cluster, namespace, _CHANGED, deadline)
    advice = "grant what `uici rbac --environment` prints for the operations that you use"
    if blind:
        return fail(name, f"in namespace {namespace!r} UICI may not {', '.join(blind)}", advice)
    if powerless:
        return warn(name, f"in namespace {namespace!r} UICI may not {', '.join(powerless)}", advice)
    return ok(name, f"UICI may look at and change workloads in namespace {namespace!r}")


def _missing(cluster: Cluster, namespace: str, wanted: Iterable[tuple[str, str, str]], deadline: Deadline) -> list[str]:
    resource = cluster.resource("SelfSubjectAccessReview", "authorization.k8s.io")
    found = []
    for group, plural, verb in wanted:
        kind, _, below = plural.partition("/")
        attributes = {"group": group, "resource": kind, "subresource": below, "verb": verb, "namespace": namespace}
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "spec": {"resourceAttributes": attributes},
        }
        review = cluster.api.request("POST", resource.path(None), None, body, deadline=deadline).json()
        if not (review.get("status") or {}).get("allowed"):
            found.append(f"{verb} {plural}" + (f" of {group}" if group else ""))
    return found


def _way(cluster: Cluster) -> Check:
    name = "way to the API server"
    if not cluster.api.client().configuration.verify_ssl:
        return warn(name, "TLS without verification: any machine may answer", "give the CA, and verify")
    return ok(name, "TLS, verified")


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None
