"""The verbs that are only YAML, on real servers: what they do, and that no parameter becomes a command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from executors.docker import DockerExecutor
from executors.local import LocalExecutor
from tests.contract.local_rig import make_call
from tests.integration.test_reload_service import EXECUTORS, perform
from tests.real.components import NGINX_BINARIES, binary, free_port, require_component
from tests.real.docker import DockerEngine
from tests.real.images import NGINX_CONF, nginx_image, postgres_image, redis_image
from tests.real.web import web
from tests.waiting import until
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.errors import Problem
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, Plan, Step
from uici.model.site import Site, TargetSpec
from uici.ports import ExecutorContext
from uici.translation.translating import prepare

INJECTIONS = [
    "; FLUSHALL", "0; FLUSHALL", "0\nFLUSHALL", "0\r\nFLUSHALL\r\n", "$(touch /tmp/evil)", "`touch /tmp/evil`",
    "--help", "-n 1", "../../etc/passwd", "${target}", "{{7*7}}", "' OR 1=1; --", '"; DROP TABLE orders; --',
    "orders; DROP TABLE x", "\\! touch /tmp/evil", ":'schema'", "host=127.0.0.1 dbname=x", "postgresql://127.0.0.1/x",
    "a\x00b", "\ud800", "", "x" * 5000, "\u202eorders",
]  # fmt: skip


class Ground:
    """Real containers, raw access to them, and operations from the shipped catalogue."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.client = engine.client()
        self.site: Site = load_site(None, executors=EXECUTORS)
        context = ExecutorContext(environment="docker", settings={"base_url": engine.url}, identity=SelfIdentity())
        self.executor = DockerExecutor(context)

    def start(self, name: str, image: str) -> None:
        host = self.client.create_host_config(network_mode="none")
        self.client.create_container(image, name=name, host_config=host)
        self.client.start(name)

    def run(self, name: str, *argv: str) -> str:
        """Run a program behind the executor's back, and what it wrote."""
        made = self.client.exec_create(name, list(argv))
        return str(self.client.exec_start(made["Id"]).decode())

    def until(self, condition: Callable[[], bool], what: str) -> None:
        until(condition, what, lambda: self.client.logs("uici-pack").decode()[-2000:])

    def do(self, operation: str, binding: JsonObject, **parameters: object) -> JsonObject:
        return perform(self.executor, prepared_step(self.site, "docker", operation, binding, parameters))

    def close(self) -> None:
        self.executor.close()
        for container in self.client.containers(all=True, filters={"name": "uici-pack"}):
            self.client.remove_container(container["Id"], force=True, v=True)
        self.client.close()


def prepared_step(site: Site, environment: str, operation: str, binding: JsonObject, parameters: JsonObject) -> Any:
    place = site.model_copy(update={"targets": {"it": TargetSpec(bindings={environment: binding})}})
    step = Step(operation=operation, target="it", parameters=parameters)
    plan = Plan(environment=environment, steps=(step,), origin=Origin.HUMAN, reason="a test")
    specs = {name: executor.call_specs for name, executor in EXECUTORS.items()}
    classify = {name: executor.classify for name, executor in EXECUTORS.items()}
    return prepare(plan, place, specs, classify, SelfIdentity(), SelfGuardLayers()).steps[0]


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    ground = Ground(docker_engine)
    try:
        yield ground
    finally:
        ground.close()


BINDING: JsonObject = {"container": "uici-pack"}


def test_redis_loses_one_database_and_keeps_the_others(ground: Ground) -> None:
    ground.start("uici-pack", redis_image(ground.engine))

    def cli(*words: str) -> str:
        return ground.run("uici-pack", "redis-cli", *words).strip()

    ground.until(lambda: cli("PING") == "PONG", "Redis answers")
    for database in ("0", "1", "2"):
        cli("-n", database, "SET", "key", "value")
    result = ground.do("flush_redis_cache", BINDING, database="1")
    assert result == {"keys_left": "0\n"}
    assert [cli("-n", database, "DBSIZE") for database in ("0", "1", "2")] == ["1", "0", "1"]
    assert ground.do("flush_redis_cache", BINDING, mode="SYNC")["keys_left"] == "0\n"
    cli("SET", "key", "value")
    with pytest.raises(CallError, match="out of range") as caught:
        ground.do("flush_redis_cache", BINDING, database="77")
    assert cli("DBSIZE") == "1", "redis-cli falls back to database 0"
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "unexpected_exit")
    for text in INJECTIONS:
        for parameter in ("database", "mode", "port"):
            with pytest.raises(Problem):
                ground.do("flush_redis_cache", BINDING, **{parameter: text})
    assert cli("-n", "2", "DBSIZE") == "1"
    assert "evil" not in ground.run("uici-pack", "ls", "/tmp")


def test_postgres_vacuums_the_table_that_was_named(ground: Ground) -> None:
    ground.start("uici-pack", postgres_image(ground.engine))

    def sql(text: str) -> str:
        return ground.run("uici-pack", "psql", "-X", "-q", "-A", "-t", "-U", "postgres", "-c", text).strip()

    ground.until(lambda: sql("SELECT 1") == "1", "PostgreSQL answers")
    odd = 'o"dd; DROP TABLE orders; --'
    quoted = odd.replace('"', '""')
    sql("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS n")
    sql('CREATE SCHEMA "Shop"')
    sql(f'CREATE TABLE "Shop"."{quoted}" AS SELECT 1 AS n')
    sql("DELETE FROM orders WHERE n > 10")

    def vacuumed() -> list[str]:
        return sql("SELECT relname FROM pg_stat_user_tables WHERE last_vacuum IS NOT NULL ORDER BY 1").splitlines()

    assert ground.do("vacuum_postgres_table", BINDING, table="orders") == {"said": "vacuumed\n"}
    assert vacuumed() == ["orders"]
    assert sql("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'orders'") == "0"
    # A name that looks like SQL is a name.
    ground.do("vacuum_postgres_table", BINDING, schema="Shop", table=odd)
    assert vacuumed() == sorted(["orders", odd])
    with pytest.raises(CallError, match="does not exist") as caught:
        ground.do("vacuum_postgres_table", BINDING, table="no_such_table")
    assert caught.value.code == "unexpected_exit"
    sql("CREATE ROLE reader LOGIN")
    with pytest.raises(CallError, match="the role may not vacuum it"):
        ground.do("vacuum_postgres_table", BINDING, table="orders", user="reader")
    before = sql("SELECT count(*) FROM pg_class")
    for text in INJECTIONS:
        for parameter in ("schema", "table", "database", "user"):
            with pytest.raises((Problem, CallError)) as refused:
                ground.do("vacuum_postgres_table", BINDING, **({"table": "orders"} | {parameter: text}))
            if isinstance(refused.value, CallError):
                assert parameter in ("schema", "table")
                assert "does not exist" in refused.value.message
    assert sql("SELECT count(*) FROM pg_class") == before
    assert sql("SELECT count(*) FROM orders") == "10"
    assert "evil" not in ground.run("uici-pack", "ls", "/tmp")


def test_nginx_is_reloaded_only_when_its_configuration_is_sound(ground: Ground) -> None:
    ground.start("uici-pack", nginx_image(ground.engine))

    def answer() -> str:
        return ground.run("uici-pack", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").strip()

    def write(text: str) -> None:
        ground.run("uici-pack", "sh", "-c", f"cat >/etc/nginx/nginx.conf <<'END'\n{text}\nEND")

    ground.until(lambda: answer() == "first", "nginx answers")
    write(NGINX_CONF.replace("first", "second"))
    assert "syntax is ok" in ground.do("reload_nginx", BINDING)["tested"]
    ground.until(lambda: answer() == "second", "the new configuration")
    write(NGINX_CONF.replace("first", "third").replace("events {}", "evnts {}"))
    seen = ground.client.logs("uici-pack")
    with pytest.raises(CallError, match='unknown directive "evnts"') as caught:
        ground.do("reload_nginx", BINDING)
    assert caught.value.kind is FailureKind.PERMANENT
    assert ground.client.logs("uici-pack") == seen, "nginx was not told"
    assert answer() == "second"


def test_nginx_as_a_local_program_is_tested_by_what_its_binding_allows(tmp_path: Path) -> None:
    require_component("nginx")
    nginx, port, folder = str(binary(NGINX_BINARIES)), free_port(), tmp_path / "n"
    folder.mkdir()
    conf = folder / "nginx.conf"
    sound = re.sub("/(run|tmp)/", f"{folder}/", NGINX_CONF.replace("8080", str(port)))
    conf.write_text(sound)
    binding: JsonObject = {
        "program": "edge",
        "command": [nginx, "-c", str(conf), "-g", "daemon off; user root;"],
        "diagnostics": {"nginx_test": [nginx, "-t", "-c", str(conf), "-g", "user root;"]},
        "stop_seconds": 2,
    }
    site = load_site(None, executors=EXECUTORS)
    settings = {"directory": str(tmp_path / "s"), "settle_seconds": 0.1}
    executor = LocalExecutor(ExecutorContext(environment="local", settings=settings, identity=SelfIdentity()))

    def do(operation: str) -> JsonObject:
        return perform(executor, prepared_step(site, "local", operation, binding, {}))

    def until_answered(text: str) -> None:
        def answered() -> bool:
            try:
                return web.get(f"http://127.0.0.1:{port}/").text.strip() == text
            except httpx.TransportError:
                return False

        until(answered, f"the answer {text}", lambda: str(do("check_logs")))

    try:
        do("start_service")
        until_answered("first")
        conf.write_text(sound.replace("first", "second"))
        assert any("syntax is ok" in line for line in do("reload_nginx")["tested"])
        until_answered("second")
        conf.write_text(sound.replace("first", "third").replace("events {}", "evnts {}"))
        with pytest.raises(CallError, match='unknown directive "evnts"') as caught:
            do("reload_nginx")
        assert caught.value.code == "diagnostic_failed"
        until_answered("second")
    finally:
        executor.perform(make_call("supervisor.rpc", method="shutdown"))
        executor.close()
