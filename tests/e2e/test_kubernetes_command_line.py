"""At the command line, on a real cluster: the rights that `uici rbac` prints, and what a preview says of refusals."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.server import Server, write_site
from tests.integration.kubernetes_ground import binding, workload
from tests.real.https import Answer, Asked, Https, https
from tests.real.kubernetes import RealCluster
from uici.access.roles import Role
from uici.model.base import JsonObject

POLICIES: JsonObject = {"autonomy": "auto", "cooldown": {"seconds": 0}, "risk": {"auto_approve_up_to": "high"}}
WOULD_CHANGE, WOULD_BE_REFUSED = 10, 11


def uici(*arguments: str, server: Server | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; as an operator of `server`, where there is one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UICI_")}
    if server is not None:
        environment |= {"UICI_URL": server.url, "UICI_TOKEN": server.tokens[Role.OPERATOR]}
    command = [sys.executable, "-c", "from uici.cli import main; main()", *arguments]
    done = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def previewed(server: Server, operation: str, **parameters: object) -> subprocess.CompletedProcess[str]:
    """`uici preview` of one step on the target `web`."""
    step = {"operation": operation, "target": "web", "parameters": parameters}
    plan = {"environment": "k8s", "steps": [step], "reason": "a change"}
    return uici("preview", "--plan", "-", "--exit-code", server=server, stdin=json.dumps(plan))


def site(folder: Path, connection: JsonObject, namespace: str) -> Path:
    return write_site(
        folder,
        environments={"default": "k8s", "environments": {"k8s": {"platform": "kubernetes", "connection": connection}}},
        targets={"targets": {"web": {"bindings": {"k8s": binding("Deployment", namespace, "web")}}}},
        policies=POLICIES,
    )


@pytest.fixture(autouse=True)
def web(real_cluster: RealCluster, namespace: str) -> None:
    real_cluster.apply(workload("Deployment", namespace, "web"))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=90s")


def test_what_rbac_prints_suffices_and_a_preview_names_the_rule_that_is_missing(
    real_cluster: RealCluster, namespace: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    connection = {**real_cluster.server(), "token_file": str(token)}
    config = site(tmp_path / "site", connection, namespace)
    account = f"uici-{secrets.token_hex(3)}"
    printed = uici(
        "rbac", "--environment", "k8s", "--namespace", namespace, "--account", account, "--config", str(config)
    )
    assert printed.returncode == 0, printed.stderr
    rules: list[Any] = list(yaml.safe_load_all(printed.stdout))
    real_cluster.kubectl("apply", "-f", "-", stdin=printed.stdout)
    try:
        token.write_text(real_cluster.token(namespace, account))
        with Server(config) as server:
            before = real_cluster.resource_versions(namespace)
            shown = previewed(server, "scale_service", replicas=3)
            assert shown.returncode == WOULD_CHANGE, shown.stdout + shown.stderr
            assert "replicas" in shown.stdout
            assert real_cluster.resource_versions(namespace) == before
            assert server.run_step("web", "scale_service", "k8s", replicas=2)["verdict"] == "effective"

            # Without this very right the same is refused, and the preview says which rule would allow it.
            role = next(one for one in rules if one["kind"] == "Role")
            for rule in role["rules"]:
                if "deployments" in rule["resources"]:
                    rule["verbs"] = [verb for verb in rule["verbs"] if verb != "patch"]
            real_cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(role))
            before = real_cluster.resource_versions(namespace)
            shown = previewed(server, "scale_service", replicas=3)
            assert shown.returncode == WOULD_BE_REFUSED, shown.stdout + shown.stderr
            told = " ".join(shown.stdout.split())
            assert "may not patch deployments" in told, shown.stdout
            assert "verbs: [patch]" in told, shown.stdout
            assert real_cluster.resource_versions(namespace) == before
    finally:
        real_cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=printed.stdout)


class Policy:
    """A validating webhook that lets nothing pass."""

    reason = "shop is frozen until the audit is over"

    def __init__(self) -> None:
        self.rehearsed: list[bool] = []
        """Of each question, whether it was about a dry run."""

    def __call__(self, asked: Asked) -> Answer:
        review = json.loads(asked.body)
        self.rehearsed.append(bool(review["request"].get("dryRun")))
        response = {"uid": review["request"]["uid"], "allowed": False, "status": {"code": 403, "message": self.reason}}
        return 200, json.dumps({**review, "request": None, "response": response}).encode()


@contextmanager
def asked(cluster: RealCluster, namespace: str, server: Https) -> Iterator[None]:
    """While inside, the API server asks this webhook about every change of a Deployment of the namespace."""
    cluster.kubectl("label", "namespace", namespace, f"uici-test={namespace}")
    webhook = {
        "name": "policy.uici.test",
        "clientConfig": {"url": f"https://127.0.0.1:{server.port}/", "caBundle": server.ca_bundle},
        "namespaceSelector": {"matchLabels": {"uici-test": namespace}},
        "rules": [
            {
                "operations": ["UPDATE"],
                "apiGroups": ["apps"],
                "apiVersions": ["*"],
                "resources": ["deployments", "deployments/scale"],
            }
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    }
    kind = "ValidatingWebhookConfiguration"
    cluster.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": namespace},
            "webhooks": [webhook],
        }
    )
    try:
        yield
    finally:
        cluster.kubectl("delete", kind, namespace)


def test_a_preview_shows_what_an_admission_webhook_denies(
    real_cluster: RealCluster, namespace: str, tmp_path: Path
) -> None:
    policy = Policy()
    with https(tmp_path, policy) as webhook, asked(real_cluster, namespace, webhook):
        _reached(real_cluster, namespace, policy)
        with Server(site(tmp_path / "site", real_cluster.connection, namespace)) as server:
            before = real_cluster.resource_versions(namespace)
            shown = previewed(server, "scale_service", replicas=3)
            assert shown.returncode == WOULD_BE_REFUSED, shown.stdout + shown.stderr
            told = " ".join(shown.stdout.split())
            assert policy.reason in told, shown.stdout
            assert "would be refused by the platform" in told, shown.stdout
            assert all(policy.rehearsed), "nothing but dry runs was sent"
            assert real_cluster.resource_versions(namespace) == before
            # And the change itself ends with the same reason.
            run = server.run_step("web", "scale_service", "k8s", replicas=3)
            assert "admission_denied" in run["reason"], server.explain(run["id"])
            assert policy.reason in run["reason"]
        assert not policy.rehearsed[-1]


def _reached(cluster: RealCluster, namespace: str, policy: Policy) -> None:
    """Return once the API server asks the webhook. Skips where it cannot reach this machine's loopback."""
    for _ in range(100):
        patch = ("patch", "deployment", "web", "-p", '{"spec": {"replicas": 4}}', "--dry-run=server")
        said = cluster.kubectl("-n", namespace, *patch, check=False)
        if policy.rehearsed:
            return
        if not said:
            break
    pytest.skip("the API server runs where 127.0.0.1 is not this machine")
