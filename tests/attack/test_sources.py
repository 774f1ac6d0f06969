"""What the sources must not hold, read from the sources: each rule closes one door for good."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from tests.real.components import REPOSITORY

Trees: TypeAlias = dict[str, ast.Module]
SECRET = re.compile(r"(^|_)(token|password|passphrase|secret|signature|hmac|mac|hash|hashed)$", re.IGNORECASE)
GUARDED = ("uici/access/", "uici/service/", "uici/model/secret", "uici/store/", "executors/oci/simulator/signatures")
FORBIDDEN_CALLS = frozenset(
    "eval exec compile __import__ os.system os.popen pickle.load pickle.loads pickle.Unpickler marshal.loads "
    "shelve.open dill.loads jsonpickle.decode yaml.load yaml.load_all yaml.full_load yaml.unsafe_load "
    "tempfile.mktemp os.tempnam subprocess.getoutput subprocess.getstatusoutput xml.etree.ElementTree.parse".split()
)
# Who may speak HTTP or open connections, and to whom. None of it goes to an address that an alert names.
SPEAKERS = {
    "council/canary/telling.py": "UICI's webhook of agents.yml",
    "council/routing/remote.py": "the backends of agents.yml",
    "executors/docker/state_server.py": "the name of the state's server, resolved",
    "executors/docker/stream.py": "the Docker engine of environments.yml",
    "executors/docker/transport.py": "the Docker engine of environments.yml",
    "executors/docker/tunnel.py": "the Docker engine of environments.yml, over ssh",
    "executors/haproxy.py": "HAProxy's runtime API of environments.yml",
    "executors/kubernetes/channels.py": "the API server of the kubeconfig",
    "executors/local/demo.py": "the demonstration's own service",
    "executors/local/supervisor.py": "supervisord's own socket",
    "executors/oci/self_guard.py": "OCI's metadata service, at its one address, to learn who we are",
    "executors/oci/simulator/demo.py": "the demonstration's own service",
    "executors/oci/simulator/endpoints.py": "the simulator listens",
    "executors/oci/simulator/simulator.py": "the simulator listens",
    "executors/probes.py": "health probes of targets.yml",
    "uici/access/oidc.py": "the issuers of platform.yml, and where they say that their keys are",
    "uici/bootstrap/checkup.py": "our own /readyz",
    "uici/bootstrap/identity.py": "our own name",
    "uici/bootstrap/serving.py": "we listen",
    "uici/cli/client.py": "the service that the person names",
    "uici/cli/completing.py": "the service that the person names",
    "uici/cli/demo/stage.py": "the demonstration's own service",
    "uici/cli/demo/story.py": "the demonstration's own service",
    "uici/monitoring/http.py": "Prometheus and Alertmanager of environments.yml",
    "uici/notify/notifiers.py": "the webhook of platform.yml",
    "uici/runs/workers.py": "our own name",
}


@pytest.fixture(scope="module")
def trees() -> Trees:
    return {
        path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text())
        for package in ("uici", "executors", "council")
        for path in sorted((REPOSITORY / package).rglob("*.py"))
    }


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        inner = name_of(node.value)
        return f"{inner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def offenders(wrong: Callable[[str, ast.Module], Iterator[int]], trees: Trees) -> list[str]:
    return [f"{path}:{line}" for path, tree in trees.items() for line in wrong(path, tree)]


def compared_secrets(path: str, tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree) if path.startswith(GUARDED) else ():
        if isinstance(node, ast.Compare) and any(isinstance(how, ast.Eq | ast.NotEq) for how in node.ops):
            sides = [node.left, *node.comparators]
            # A column in a query is compared by the database, and only with what is public.
            named = [name for side in sides if (name := name_of(side)) and not re.search(r"(^|\.)c\.", name)]
            if any(SECRET.search(name.rpartition(".")[2]) for name in named):
                yield node.lineno


def dangerous_calls(path: str, tree: ast.Module) -> Iterator[int]:
    for call in calls(tree):
        shell = any(word.arg == "shell" and getattr(word.value, "value", True) is not False for word in call.keywords)
        if name_of(call.func) in FORBIDDEN_CALLS or shell:
            yield call.lineno


def careless_requests(path: str, tree: ast.Module) -> Iterator[int]:
    for call in calls(tree):
        for word in call.keywords:
            value = getattr(word.value, "value", None)
            if (word.arg == "follow_redirects" and value is not False) or (word.arg == "verify" and value is False):
                yield call.lineno


# SQL whose text is put together, and of what.
COMPOSED = {
    "uici/runs/records.py": "values of our own enumerations",
    "uici/store/copies.py": "names of our own tables and columns",
    "uici/store/migrations/upgrading.py": "a number of our own",
    "uici/store/postgres.py": "a number of our own",
}


def composed_sql(path: str, tree: ast.Module) -> Iterator[int]:
    for call in calls(tree) if path not in COMPOSED else ():
        if name_of(call.func).rpartition(".")[2] in ("text", "exec_driver_sql", "literal_column") and call.args:
            imported = "sqlalchemy" in ast.unparse(tree)
            if imported and not isinstance(call.args[0], ast.Constant | ast.Name | ast.Attribute):
                yield call.lineno


RULES = {
    "a secret is compared in constant time (hmac.compare_digest)": compared_secrets,
    "nothing is run, loaded or named that a text says": dangerous_calls,
    "no redirect is followed and no certificate taken on trust": careless_requests,
    "no SQL is put together from texts": composed_sql,
}


@pytest.mark.parametrize("wrong", RULES.values(), ids=RULES.keys())
def test_no_source_breaks_the_rule(wrong: Callable[[str, ast.Module], Iterator[int]], trees: Trees) -> None:
    assert offenders(wrong, trees) == []


BROKEN = {
    compared_secrets: "def f(a, token): return a.token == token",
    dangerous_calls: "import subprocess\nsubprocess.run('x', shell=True)",
    careless_requests: "import httpx\nhttpx.get('x', follow_redirects=True)",
    composed_sql: "from sqlalchemy import text\nx = text(f'select {1}')",
}


@pytest.mark.parametrize(("wrong", "source"), BROKEN.items(), ids=[each.__name__ for each in BROKEN])
def test_each_rule_finds_what_breaks_it(wrong: Callable[[str, ast.Module], Iterator[int]], source: str) -> None:
    assert list(wrong("uici/access/x.py", ast.parse(source)))


def test_who_speaks_to_the_network_is_known(trees: Trees) -> None:
    """A new module here has to say to whom it speaks, and that no alert can choose it."""
    speaking = {
        path
        for path, tree in trees.items()
        if any(
            isinstance(node, ast.Import | ast.ImportFrom)
            and {"httpx", "requests", "urllib.request", "http.client", "socket", "aiohttp", "websocket", "paramiko"}
            & ({alias.name for alias in node.names} | {getattr(node, "module", None) or ""})
            for node in ast.walk(tree)
        )
    }
    assert speaking == set(SPEAKERS)
