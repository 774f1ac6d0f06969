"""An API server of Kubernetes at the process boundary: it has the objects it is given, and takes no change.

For tests that try one decision a hundred times; what a cluster really does is tried on real ones.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_GROUPS = {
    "/api/v1": {"Pod": "pods", "Node": "nodes", "Namespace": "namespaces", "Secret": "secrets",
                "ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts",
                "PersistentVolumeClaim": "persistentvolumeclaims"},
    "/apis/apps/v1": {"Deployment": "deployments", "ReplicaSet": "replicasets"},
    "/apis/batch/v1": {"Job": "jobs", "CronJob": "cronjobs"},
}  # fmt: skip
_CLUSTERWIDE = ("Node", "Namespace")


class ApiServer:
    """Use it as a context. `seen` has each request as `METHOD path`."""

    def __init__(self, folder: Path, *objects: dict[str, Any]) -> None:
        self._objects = {_path(one): one for one in objects}
        self.seen: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece, so that none of it waits for an acknowledgement

            def do_GET(self) -> None:  # the base class gives the name
                parts = urlsplit(self.path)
                server.seen.append(f"GET {parts.path}")
                found = server._answer(parts.path, {key: one[0] for key, one in parse_qs(parts.query).items()})
                self._send(404 if found is None else 200, found or _status(404, "NotFound"))

            def do_POST(self) -> None:  # the base class gives the name
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.seen.append(f"{self.command} {urlsplit(self.path).path}")
                self._send(403, _status(403, "Forbidden"))

            def do_PUT(self) -> None:  # the base class gives the name
                self.do_POST()

            def do_PATCH(self) -> None:  # the base class gives the name
                self.do_POST()

            def do_DELETE(self) -> None:  # the base class gives the name
                self.do_POST()

            def _send(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(_kubeconfig(f"http://127.0.0.1:{self._server.server_address[1]}")))

    def __enter__(self) -> ApiServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def changes(self) -> list[str]:
        """What was sent that would change something."""
        return [one for one in self.seen if not one.startswith("GET ")]

    def _answer(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            names = [root.split("/")[2] for root in _GROUPS if root.startswith("/apis/")]
            return {"groups": [{"name": name, "versions": [{"version": "v1"}]} for name in names]}
        if path in _GROUPS:
            verbs = ["get", "list", "create", "update", "patch", "delete", "deletecollection"]
            served = [
                {"name": plural, "kind": kind, "namespaced": kind not in _CLUSTERWIDE, "verbs": verbs}
                for kind, plural in _GROUPS[path].items()
            ]
            return {"resources": served}
        if path in self._objects:
            return self._objects[path]
        root, _, plural = path.rpartition("/")
        if plural in {name for group in _GROUPS.values() for name in group.values()}:
            inside = [one for at, one in sorted(self._objects.items()) if at.startswith(root) and f"/{plural}/" in at]
            return {"kind": "List", "metadata": {}, "items": [one for one in inside if _selected(one, query)]}
        return None


def thing(kind: str, name: str, *, owner: dict[str, Any] | None = None, **content: Any) -> dict[str, Any]:
    """One object; its uid is made of its kind and name."""
    root = next(root for root, kinds in _GROUPS.items() if kind in kinds)
    metadata: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{kind}-{name}".lower(),
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": name},
    }
    if kind not in _CLUSTERWIDE:
        metadata["namespace"] = "shop"
    if owner is not None:
        above = {name: owner["metadata"][name] for name in ("name", "uid")}
        controls = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        metadata["ownerReferences"] = [{**above, **controls}]
    return {
        "apiVersion": root.removeprefix("/apis/").removeprefix("/api/"),
        "kind": kind,
        "metadata": metadata,
        **content,
    }


def _kubeconfig(server: str) -> dict[str, Any]:
    named = {"clusters": {"server": server}, "users": {"token": "t"}, "contexts": {"cluster": "a", "user": "a"}}
    lists = {plural: [{"name": "a", plural.removesuffix("s"): content}] for plural, content in named.items()}
    return {"apiVersion": "v1", "kind": "Config", "current-context": "a", **lists}


def _path(one: dict[str, Any]) -> str:
    root, plural = next((root, kinds[one["kind"]]) for root, kinds in _GROUPS.items() if one["kind"] in kinds)
    place = "" if one["kind"] in _CLUSTERWIDE else f"/namespaces/{one['metadata']['namespace']}"
    return f"{root}{place}/{plural}/{one['metadata']['name']}"


def _selected(one: dict[str, Any], query: dict[str, str]) -> bool:
    labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
    fields = dict(pair.split("=") for pair in query.get("fieldSelector", "").split(",") if pair)
    node = fields.get("spec.nodeName")
    fits = node is None or one.get("spec", {}).get("nodeName") == node
    return bool(fits and labels.items() <= one["metadata"]["labels"].items())


def _status(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "the double takes none"}
