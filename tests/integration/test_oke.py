"""A cluster of Container Engine: a real API server that takes Oracle's tokens only, judged by the simulated cloud."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from executors.kubernetes import KubernetesExecutor
from executors.oci.simulator import Simulator
from tests.integration.kubernetes_ground import make_call, proved
from tests.real.components import REPOSITORY, faketime_library
from tests.real.control_plane import ControlPlane
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfIdentity
from uici.ports import ExecutorContext

pytestmark = pytest.mark.component("control-plane")
REGION = "us-phoenix-1"


@dataclass
class Cluster:
    """An API server whose users are those of a simulated tenancy."""

    simulator: Simulator
    server: ControlPlane
    id: str
    folder: Path

    def executor(
        self,
        config_file: Path,
        *,
        cluster: str | None = None,
        plugin: tuple[str, ...] = ("-m", "executors.oci.oke"),
        **environment: str,
    ) -> KubernetesExecutor:
        """One whose kubeconfig runs the plugin."""
        wanted: JsonObject = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": sys.executable,
            "args": [
                *plugin, "--cluster-id", cluster or self.id, "--region", REGION, "--config-file", str(config_file),
            ],
            "env": [{"name": name, "value": text} for name, text in environment.items()],
            "interactiveMode": "Never",
        }  # fmt: skip
        connection: JsonObject = {"kubeconfig": str(self.server.kubeconfig({"exec": wanted}))}
        return KubernetesExecutor(ExecutorContext(environment="oke", settings=connection, identity=SelfIdentity()))

    def another_key(self, name: str) -> Path:
        """A configuration file whose key is not the one that the user has uploaded."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = self.folder / f"{name}.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        parser = configparser.ConfigParser()
        parser.read(self.simulator.credentials.config_file)
        parser["DEFAULT"]["key_file"] = str(private)
        written = self.folder / name
        with written.open("w") as file:
            parser.write(file)
        return written


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("oke")
    (folder / "server").mkdir()
    with Simulator(folder / "cloud") as simulator:
        # Its address is known only when it runs, and its OCID is part of the webhook's address.
        id_ = simulator.add_cluster("shop", "https://127.0.0.1:6443")
        with ControlPlane(folder / "server", f"{simulator.admin_url}/tokenreviews/{id_}") as server:
            server.apply(*things(simulator.credentials.user_id))
            yield Cluster(simulator, server, id_, folder)


def things(user: str) -> list[JsonObject]:
    """A node, a schedule, and a user of Oracle Cloud who may change both."""
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch", "update"]},
        {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["get", "patch", "update"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},
    ]
    container = {"name": "main", "image": "web:1"}
    pods = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}},
        {
            "apiVersion": "batch/v1beta1",
            "kind": "CronJob",
            "metadata": {"name": "nightly", "namespace": "default"},
            "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": pods}}},
        },
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "healer"}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "healer"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": rbac}],
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "healer"},
        },
    ]


NODE = {"kind": "Node", "name": "node-1"}
NIGHTLY = {"kind": "CronJob", "name": "nightly", "namespace": "default"}


def refusal(executor: KubernetesExecutor) -> CallError:
    with pytest.raises(CallError) as caught:
        executor.perform(make_call("node.cordon", target=NODE))
    executor.close()
    return caught.value


def test_it_reads_and_changes_as_the_user_whose_key_signed_the_token(cluster: Cluster) -> None:
    executor = cluster.executor(cluster.simulator.credentials.config_file)
    assert executor.check().ok
    assert executor.perform(make_call("schedule.state", target=NIGHTLY))["suspended"] is False
    assert proved(executor, "schedule.suspend", target=NIGHTLY) == {"changed": True}
    assert cluster.server.get("cronjob", "nightly")["spec"]["suspend"] is True
    assert proved(executor, "node.cordon", target=NODE)["changed"]
    assert cluster.server.get("node", "node-1")["spec"]["unschedulable"] is True
    assert proved(executor, "node.uncordon", target=NODE)["changed"]
    # It is let in as that user, and may no more than that user may.
    with pytest.raises(CallError) as caught:
        executor.perform(make_call("kubernetes.request", verb="list", kind="Secret"))
    assert caught.value.code == "forbidden"
    assert cluster.simulator.credentials.user_id in caught.value.message
    executor.close()


def test_a_key_that_the_user_has_not_uploaded_is_refused_and_the_right_one_is_found_without_a_restart(
    cluster: Cluster,
) -> None:
    wrong = cluster.another_key("wrong")
    executor = cluster.executor(wrong)
    for _ in range(2):
        with pytest.raises(CallError) as caught:
            executor.perform(make_call("node.cordon", target=NODE))
        assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "unauthorized")
        assert "credentials" in caught.value.message
        assert "Bearer" not in str(caught.value)
    assert "unschedulable" not in cluster.server.get("node", "node-1")["spec"]
    report = executor.check()
    assert not report.ok
    wrong.write_text(cluster.simulator.credentials.config_file.read_text())
    assert executor.perform(make_call("schedule.state", target=NIGHTLY))["schedule"] == "0 0 * * *"
    executor.close()


def test_a_token_for_another_cluster_is_refused(cluster: Cluster) -> None:
    other = cluster.simulator.add_cluster("other", "https://127.0.0.1:6443")
    executor = cluster.executor(cluster.simulator.credentials.config_file, cluster=other)
    assert refusal(executor).code == "unauthorized"


@pytest.mark.component("faketime")
@pytest.mark.parametrize("skew", ["-10m", "+10m"])
def test_a_clock_that_is_ten_minutes_off_is_refused_and_what_to_look_at_is_said(cluster: Cluster, skew: str) -> None:
    library = str(faketime_library())
    executor = cluster.executor(
        cluster.simulator.credentials.config_file, LD_PRELOAD=library, FAKETIME=skew, FAKETIME_DONT_RESET="1"
    )
    error = refusal(executor)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unauthorized")
    assert "clock" in error.message


def test_what_the_plugin_says_reaches_people(cluster: Cluster) -> None:
    error = refusal(cluster.executor(Path("/nowhere/config")))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "bad_credentials")
    assert "profile 'DEFAULT' of /nowhere/config gives no credentials (there is no such file)" in error.message


def test_a_token_serves_more_than_one_request(cluster: Cluster) -> None:
    """The plugin writes down each of its runs, as a wrapper of the real one."""
    runs = cluster.folder / "runs"
    wrapper = cluster.folder / "plugin.py"
    wrapper.write_text(
        f"import sys\nopen({str(runs)!r}, 'a').write('run\\n')\nfrom executors.oci.oke import main\nsys.exit(main())\n"
    )
    executor = cluster.executor(cluster.simulator.credentials.config_file, plugin=(str(wrapper),))
    for _ in range(3):
        executor.perform(make_call("schedule.state", target=NIGHTLY))
    executor.close()
    assert runs.read_text().splitlines() == ["run"]


def test_the_plugin_is_found_from_any_folder(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cluster.folder)
    assert os.getcwd() != str(REPOSITORY)
    executor = cluster.executor(cluster.simulator.credentials.config_file)
    assert executor.perform(make_call("schedule.state", target=NIGHTLY))["schedule"] == "0 0 * * *"
    executor.close()
