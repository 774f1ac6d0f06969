"""The rules about Redis ask for what its real exporter tells, and nothing of them is there when Redis is not."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.real.components import REDIS_EXPORTER_BINARIES, REPOSITORY, binary, free_port, require_component
from tests.real.process import stop
from tests.real.redis import redis_server
from tests.waiting import until

RULES = REPOSITORY / "infrastructure" / "monitoring" / "prometheus" / "council.rules.yml"


def asked_for() -> set[str]:
    """The metrics in the expressions about Redis."""
    groups = {group["name"]: group["rules"] for group in yaml.safe_load(RULES.read_text())["groups"]}
    return {name for rule in groups["redis"] for name in re.findall(r"\bredis_[a-z_]+", rule["expr"])}


@contextmanager
def exporter(redis: str) -> Iterator[str]:
    """The address of an exporter of this Redis."""
    program, port = binary(REDIS_EXPORTER_BINARIES), free_port()
    assert program is not None
    with tempfile.TemporaryFile() as output:
        argv = [program, "-redis.addr", redis, "-web.listen-address", f"127.0.0.1:{port}"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            stop(process)


def figures(url: str) -> dict[str, tuple[str, float]]:
    """Labels and value of each metric; nothing while it does not answer."""
    try:
        text = httpx.get(url, trust_env=False).text
    except httpx.HTTPError:
        return {}
    found = re.findall(r"^(redis_\w+)(\{.*\})? (\S+)$", text, re.MULTILINE)
    return {name: (labels, float(value)) for name, labels, value in found}


@pytest.mark.component("redis-exporter")
def test_the_rules_about_redis_ask_for_what_its_exporter_tells(tmp_path: Path) -> None:
    require_component("redis-exporter")
    assert asked_for() == {"redis_up", "redis_memory_used_bytes", "redis_memory_max_bytes"}
    with redis_server(tmp_path, "--maxmemory", "50mb") as url, exporter(url) as metrics:
        told = until(lambda: figures(metrics), "the exporter")
        assert asked_for() <= told.keys()
        # Only where both have the same labels does one of them divide the other.
        assert {told[name][0] for name in asked_for()} == {""}
        assert told["redis_up"][1] == 1
        assert told["redis_memory_max_bytes"][1] == 50 * 2**20
        assert 0 < told["redis_memory_used_bytes"][1] < 50 * 2**20
    with redis_server(tmp_path) as url, exporter(url) as metrics:
        told = until(lambda: figures(metrics), "the exporter")
        assert told["redis_memory_max_bytes"][1] == 0, "without a limit it says none, which the rule leaves out"
    with exporter(url) as metrics:
        told = until(lambda: figures(metrics), "the exporter")
        assert told["redis_up"][1] == 0
        assert not {"redis_memory_used_bytes", "redis_memory_max_bytes"} & told.keys()
