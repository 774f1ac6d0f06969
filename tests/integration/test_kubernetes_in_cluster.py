"""The service account of a pod, as a program in it finds it: its files at their own place, in a mount of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.real.kubernetes import RealCluster

_PROGRAM = """
from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesSettings
from uici.model.call import CallError
for settings in (KubernetesSettings(in_cluster=True), KubernetesSettings()):
    cluster = Cluster(settings, "inside")
    pods = cluster.resource("Pod")
    assert cluster.api.client().source == "the pod's own service account"
    assert list(cluster.list(pods, cluster.namespace, deadline=Deadline(10))) == []
    try:
        cluster.delete(pods, cluster.namespace, "it", Deadline(10))
    except CallError as error:
        print(cluster.namespace, error.code)
"""


@pytest.mark.component("tmpfs")
def test_the_pods_own_account(real_cluster: RealCluster, namespace: str, tmp_path: Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    connection = real_cluster.account(namespace, rules, [])
    (tmp_path / "token").write_text(connection["token"])
    (tmp_path / "namespace").write_text(namespace)
    (tmp_path / "ca.crt").write_bytes(Path(connection["ca_file"]).read_bytes())
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = f'mount -t tmpfs uici-test /var/run && mkdir -p {place} && cp "$1"/* {place} && exec "$2" -c "$3"'
    server = urlsplit(connection["server"])
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment |= {
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, _PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{namespace} forbidden"] * 2
