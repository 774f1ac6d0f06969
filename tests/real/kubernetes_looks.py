"""Looks at a cluster over one connection: what is waited for is looked at often, and each kubectl is a process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from uici.model.base import JsonObject

_PATHS = {
    "node": ("api/v1", "nodes", "Node"),
    "pod": ("api/v1", "pods", "Pod"),
    "configmap": ("api/v1", "configmaps", "ConfigMap"),
    "serviceaccount": ("api/v1", "serviceaccounts", "ServiceAccount"),
    "deployment": ("apis/apps/v1", "deployments", "Deployment"),
    "replicaset": ("apis/apps/v1", "replicasets", "ReplicaSet"),
    "statefulset": ("apis/apps/v1", "statefulsets", "StatefulSet"),
    "daemonset": ("apis/apps/v1", "daemonsets", "DaemonSet"),
    "job": ("apis/batch/v1", "jobs", "Job"),
}
"""The kinds that tests look at, in every version of Kubernetes that they may meet -> where they are served."""


class Looks:
    """What the API server says of objects."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig

    def get(self, arguments: Sequence[str]) -> Any:
        """As `kubectl get ARGUMENTS -o json`; None where only kubectl knows how. Raises AssertionError."""
        namespace, words = ("", list(arguments))
        if words[0] == "-n":
            namespace, words = words[1], words[2:]
        kinds = [word.lower().removesuffix("s") for word in words[0].split(",")]
        name, labels = {1: ("", ""), 2: (words[-1], ""), 3: ("", words[-1])}[len(words)]
        if not set(kinds) <= set(_PATHS) or (len(words) == 3 and words[1] != "-l"):
            return None
        if name:
            return self._asked(kinds[0], namespace, f"/{name}", {})
        query = {"labelSelector": labels} if labels else {}
        return {"items": [one for kind in kinds for one in self._listed(kind, namespace, query)]}

    def _listed(self, kind: str, namespace: str, query: dict[str, str]) -> list[JsonObject]:
        listed = self._asked(kind, namespace, "", query)
        # A list says once what is true of all in it.
        said = {"apiVersion": listed["apiVersion"], "kind": _PATHS[kind][2]}
        return [{**said, **one} for one in listed["items"]]

    def _asked(self, kind: str, namespace: str, rest: str, query: dict[str, str]) -> Any:
        group, plural, _ = _PATHS[kind]
        place = f"namespaces/{namespace}/" if namespace and kind != "node" else ""
        path = f"/{group}/{place}{plural}{rest}"
        from kubernetes.client import ApiException  # here, because not everybody has the SDK

        try:
            answer = self._client.call_api(
                path,
                "GET",
                query_params=list(query.items()),
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=120,
            )
        except ApiException as error:
            raise AssertionError(f"GET {path}: {error.status} {error.reason}: {error.body}") from None
        return json.loads(answer.data)

    @cached_property
    def _client(self) -> Any:
        from kubernetes.config import new_client_from_config

        return new_client_from_config(self._kubeconfig)
