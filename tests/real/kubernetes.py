"""A real Kubernetes cluster for tests: one that is given, with a namespace of its own for each test.

`UICI_TEST_KUBECONFIG`, else `KUBECONFIG`, names a kubeconfig whose user may do everything. Its node's container
runtime has to be this machine's Docker engine (`UICI_TEST_DOCKER_HOST`, else its usual socket), because images are
made there and never pulled. `UICI_TEST_NAMESPACES` begins the names of the namespaces, so that several people can
share one cluster.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.real.components import require
from tests.real.docker import DockerEngine, images_digest
from tests.real.kubernetes_looks import Looks
from tests.waiting import until
from uici.model.base import JsonObject

REPOSITORY = f"uici-test/web-{images_digest()}"
"""Of the images `good`, `bad` and `late`; the same name never means another content, so that tests can share them."""
_DOCKER = "unix:///var/run/docker.sock"


class RealCluster:
    """A cluster, driven behind the executor's back with kubectl."""

    def __init__(self, kubeconfig: str, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self.folder = folder
        self._looks = Looks(kubeconfig)

    @property
    def connection(self) -> JsonObject:
        """An environment's `connection` as a user who may do everything."""
        return {"kubeconfig": self.kubeconfig, "requests_per_second": 200, "burst": 200}

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl writes. Raises AssertionError with its errors when it fails."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """`kubectl get` as JSON."""
        seen = self._looks.get(arguments)
        return json.loads(self.kubectl("get", *arguments, "-o", "json")) if seen is None else seen

    def resource_versions(self, namespace: str) -> dict[str, str]:
        """Every object of the namespace that is no event -> its resourceVersion, another after any change."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
        return {
            f"{one['apiVersion']} {one['kind']} {one['metadata']['name']}": str(one["metadata"]["resourceVersion"])
            for one in self.get("-n", namespace, wanted)["items"]
        }

    def apply(self, *things: JsonObject) -> None:
        """Make objects as they are written."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(things)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def make_images(self) -> None:
        """The test service's images, on the engine that the kubelet uses; kept for the next tests."""
        engine = DockerEngine(url=engine_url())
        client = engine.client()
        try:
            tags = {tag for image in client.images(REPOSITORY) for tag in image.get("RepoTags") or ()}
        finally:
            client.close()
        if len(tags) < 3:
            engine.make_images(REPOSITORY)

    def account(self, namespace: str, rules: list[JsonObject], cluster_rules: list[JsonObject]) -> JsonObject:
        """The `connection` of a new service account that has exactly these rights, its token in a file."""
        name = f"account-{secrets.token_hex(4)}"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        rbac = "rbac.authorization.k8s.io"
        unique = f"{namespace}-{name}"
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "Role",
                "metadata": {"name": name, "namespace": namespace},
                "rules": rules,
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": namespace},
                "subjects": [subject],
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": unique, "labels": {"uici-test": namespace}},
                "rules": cluster_rules,
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": unique, "labels": {"uici-test": namespace}},
                "subjects": [subject],
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": unique},
            },
        )
        return {**self.server(), "token": self.token(namespace, name), "namespace": namespace}

    def token(self, namespace: str, account: str) -> str:
        """A token of a service account."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": None}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        made = json.loads(self.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request)))
        return str(made["status"]["token"])

    def server(self) -> JsonObject:
        """The address and the authority of the API server, as a `connection` has them."""
        seen = json.loads(self.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        cluster = seen["clusters"][0]["cluster"]
        if "certificate-authority-data" not in cluster:
            return {"server": cluster["server"], "ca_file": cluster["certificate-authority"]}
        file = Path(self.folder, "ca.crt")
        file.write_bytes(b64decode(cluster["certificate-authority-data"]))
        return {"server": cluster["server"], "ca_file": str(file)}

    def new_namespace(self, name: str) -> None:
        """Make a namespace, and return when pods can be made in it."""
        self.kubectl("create", "namespace", name)
        until(lambda: self.get("-n", name, "serviceaccounts")["items"], "the namespace has its service account")

    def clear(self, namespace: str) -> None:
        """Delete a namespace with all that is in it, its pods first: they may stay for as long as they like else."""
        workloads = "deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs"
        self.kubectl("-n", namespace, "delete", workloads, "--all", "--wait=false", "--cascade=background")
        self.kubectl("-n", namespace, "delete", "pods", "--all", "--force", "--grace-period=0", check=False)
        self.kubectl("delete", "clusterroles,clusterrolebindings", "-l", f"uici-test={namespace}", check=False)
        self.kubectl("delete", "namespace", namespace, "--wait=false")


def deployment(namespace: str, name: str, *, image: str = f"{REPOSITORY}:good", **spec: Any) -> JsonObject:
    """A Deployment of the test service in one replica; `spec` is more of its pods' spec."""
    labels = {"app": name}
    container = {"name": "web", "image": image, "imagePullPolicy": "Never"}
    pods: JsonObject = {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pods},
        },
    }


def engine_url() -> str:
    """The Docker engine that the kubelet uses."""
    return os.environ.get("UICI_TEST_DOCKER_HOST") or _DOCKER


def given_kubeconfig() -> str | None:
    """The kubeconfig that the tests are given."""
    return os.environ.get("UICI_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG") or None


def why_no_cluster() -> str | None:
    """Why no cluster can be used; None when one can."""
    if find_spec("kubernetes") is None:
        return "the Kubernetes SDK is not installed: pip install 'uici[kubernetes]'"
    if which("kubectl") is None:
        return "kubectl is not installed"
    named = given_kubeconfig()
    if named is None:
        return "neither UICI_TEST_KUBECONFIG nor KUBECONFIG names a cluster's kubeconfig"
    return None if Path(named).is_file() else f"{named} is no file"


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> RealCluster:
    """The cluster, with a node that is ready and the test images. Skips without one."""
    reason = why_no_cluster()
    require("kubernetes", reason is None, reason or "")
    cluster = RealCluster(given_kubeconfig() or "", tmp_path_factory.mktemp("kubernetes"))
    nodes = cluster.kubectl("get", "nodes", "-o", "json", "--request-timeout=10s", check=False)
    conditions = [one for node in json.loads(nodes or "{}").get("items", ()) for one in node["status"]["conditions"]]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    require("kubernetes", ready, f"{cluster.kubeconfig} answers with no node that is ready")
    cluster.make_images()
    return cluster


@pytest.fixture
def namespace(real_cluster: RealCluster) -> Iterator[str]:
    """A namespace for one test, gone after it."""
    name = f"{os.environ.get('UICI_TEST_NAMESPACES', 'uici-test')}-{secrets.token_hex(4)}"
    real_cluster.new_namespace(name)
    yield name
    real_cluster.clear(name)
