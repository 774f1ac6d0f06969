"""More verbs that are only YAML, on real servers in containers: what they end, and what they leave alone."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator

import pytest

from tests.integration.test_packs import BINDING, INJECTIONS, Ground, prepared_step
from tests.integration.test_reload_service import perform
from tests.real.docker import IMAGE, DockerEngine
from tests.real.images import (
    HAPROXY_CONF,
    NGINX_CONF,
    haproxy_image,
    nginx_image,
    postgres_image,
    redis_image,
)
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.errors import Problem
from uici.translation.selections import operation_result
from uici.translation.translating import inverse_step

SLEEPING = "SELECT pg_sleep(600)"
REPLICATION: JsonObject = {
    "container": "uici-pack",
    "diagnostics": {"replication": ["redis-cli", "INFO", "replication"]},
}


class Postgres:
    """PostgreSQL in a container, and sessions that stay open in it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        ground.start("uici-pack", postgres_image(ground.engine))
        ground.until(lambda: self.sql("SELECT 1") == "1", "PostgreSQL answers")

    def sql(self, text: str, *more: str) -> str:
        words = (text, *more)
        commands = [word for each in words for word in ("-c", each)]
        return self.ground.run("uici-pack", "psql", "-X", "-q", "-A", "-t", "-U", "postgres", *commands).strip()

    def session(self, *statements: str) -> None:
        """A session of its own that does these, one after another."""
        commands = [word for each in statements for word in ("-c", each)]
        argv = ["psql", "-X", "-q", "-U", "postgres", *commands]
        made = self.ground.client.exec_create("uici-pack", argv, stdin=True)
        self.ground.client.exec_start(made["Id"], detach=True)

    def pids(self, what: str = "state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()") -> list[str]:
        return self.sql(f"SELECT pid FROM pg_stat_activity WHERE {what} ORDER BY pid").split()

    def refused(self, operation: str, **parameters: object) -> str:
        with pytest.raises(CallError) as caught:
            self.ground.do(operation, BINDING, **parameters)
        assert caught.value.code == "unexpected_exit"
        return caught.value.message


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    ground = Ground(docker_engine)
    try:
        yield ground
    finally:
        ground.close()


def test_one_runaway_query_is_ended_and_no_other(ground: Ground) -> None:
    database = Postgres(ground)
    database.session(SLEEPING)
    database.session(SLEEPING)
    ground.until(lambda: len(database.pids()) == 2, "two queries")
    runaway, other = database.pids()
    assert "no client with this process id" in database.refused("kill_postgres_query", pid=runaway)
    assert database.pids() == [runaway, other], "a young query is left alone"
    ground.until(lambda: database.sql("SELECT now() - min(query_start) > '2 s' FROM pg_stat_activity WHERE query LIKE "
                                      "'SELECT pg_sleep%'") == "t", "two seconds of it")  # fmt: skip
    checkpointer = database.pids("backend_type = 'checkpointer'")[0]
    assert "nothing was ended" in database.refused("kill_postgres_query", pid=checkpointer, older_than_seconds="1")
    result = ground.do("kill_postgres_query", BINDING, pid=runaway, older_than_seconds="1")
    assert result == {"ended": f"{runaway}\n"}
    assert database.pids() == [other]
    for text in INJECTIONS:
        for parameter in ("pid", "older_than_seconds", "database", "user"):
            with pytest.raises(Problem):
                ground.do("kill_postgres_query", BINDING, **({"pid": other} | {parameter: text}))
    assert database.pids() == [other]


def test_sessions_that_hold_a_transaction_open_are_ended(ground: Ground) -> None:
    database = Postgres(ground)
    idle = "state = 'idle in transaction'"
    database.sql("CREATE TABLE orders AS SELECT 1 AS n")
    forgotten = "(echo 'BEGIN; LOCK TABLE orders;'; sleep 600) | psql -X -q -U postgres"
    ground.client.exec_start(ground.client.exec_create("uici-pack", ["sh", "-c", forgotten])["Id"], detach=True)
    database.session(SLEEPING)
    ground.until(lambda: len(database.pids(idle)) == len(database.pids()) == 1, "one forgotten, one busy")
    assert ground.do("end_idle_postgres_sessions", BINDING)["ended"] == "0\n"
    ground.until(lambda: database.pids(f"{idle} AND state_change < now() - interval '1 s'") != [], "a second")
    assert ground.do("end_idle_postgres_sessions", BINDING, older_than_seconds="1")["ended"] == "1\n"
    assert (database.pids(idle), len(database.pids())) == ([], 1)


def test_an_index_is_built_anew_under_whatever_name(ground: Ground) -> None:
    database = Postgres(ground)
    odd = 'o"dd; DROP TABLE orders; --'
    database.sql("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS n")
    database.sql('CREATE INDEX "{}" ON orders (n)'.format(odd.replace('"', '""')))
    file = "SELECT relfilenode FROM pg_class WHERE relkind = 'i' AND relname LIKE 'o\"dd%'"
    before = database.sql(file)
    assert ground.do("reindex_postgres_index", BINDING, index=odd)["said"].endswith("valid\n")
    assert database.sql(file) != before
    assert "does not exist" in database.refused("reindex_postgres_index", index="no_such_index")
    assert database.sql("SELECT count(*) FROM orders") == "1000"


def test_postgres_reads_its_configuration_only_when_that_is_sound(ground: Ground) -> None:
    database = Postgres(ground)
    write = 'echo "{}" >>/data/c/postgresql.conf'
    ground.run("uici-pack", "sh", "-c", write.format("work_mem = '7MB'"))
    assert ground.do("reload_postgres", BINDING) == {"pending": "0\n"}
    assert database.sql("SHOW work_mem") == "7MB"
    ground.run("uici-pack", "sh", "-c", write.format("work_mem = '9MB'"))
    ground.run("uici-pack", "sh", "-c", write.format("work_mem = 'nine'"))
    assert "nothing was reloaded" in database.refused("reload_postgres")
    assert database.sql("SHOW work_mem") == "7MB"


def test_a_replica_is_reset_and_a_primary_never(ground: Ground) -> None:
    ground.start("uici-pack", redis_image(ground.engine))

    def cli(*words: str) -> str:
        return ground.run("uici-pack", "redis-cli", *words).strip()

    ground.until(lambda: cli("PING") == "PONG", "Redis answers")
    ground.run("uici-pack", "redis-server", "--port", "6380", "--daemonize", "yes", "--save", "", "--dir", "/tmp")
    ground.until(lambda: cli("-p", "6380", "PING") == "PONG", "the primary answers")
    cli("SET", "mine", "1")
    with pytest.raises(CallError, match=r"container\.diagnose") as caught:
        ground.do("reset_redis_replica", REPLICATION, primary="127.0.0.1", primary_port="6380")
    assert caught.value.code == "not_yet"
    assert cli("GET", "mine") == "1", "a primary keeps what it has"
    cli("REPLICAOF", "127.0.0.1", "1")
    cli("-p", "6380", "SET", "key", "value")
    result = ground.do("reset_redis_replica", REPLICATION, primary="127.0.0.1", primary_port="6380")
    assert "master_link_status:up" in result["replication"]
    assert (cli("GET", "key"), cli("GET", "mine")) == ("value", "")
    for text in INJECTIONS:
        with pytest.raises(Problem):
            ground.do("reset_redis_replica", REPLICATION, primary=text)


def test_haproxy_is_reloaded_only_when_its_configuration_is_sound(ground: Ground) -> None:
    ground.start("uici-pack", haproxy_image(ground.engine))

    def answer() -> str:
        return ground.run("uici-pack", "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/").strip()

    def write(text: str) -> None:
        ground.run("uici-pack", "sh", "-c", f"cat >/usr/local/etc/haproxy/haproxy.cfg <<'END'\n{text}\nEND")

    ground.until(lambda: answer() == "first", "HAProxy answers")
    write(HAPROXY_CONF.replace("first", "second"))
    ground.do("reload_haproxy", BINDING)
    ground.until(lambda: answer() == "second", "the new configuration")
    write(HAPROXY_CONF.replace("first", "third").replace("mode http", "mode htp"))
    with pytest.raises(CallError, match="htp"):
        ground.do("reload_haproxy", BINDING)
    assert answer() == "second"


def test_a_log_is_put_aside_and_nginx_writes_a_new_one(ground: Ground) -> None:
    ground.start("uici-pack", nginx_image(ground.engine))
    logged = re.sub("access_log off", "access_log /var/log/nginx/access.log", NGINX_CONF)
    ground.run("uici-pack", "sh", "-c", f"cat >/etc/nginx/nginx.conf <<'END'\n{logged}\nEND")
    ground.do("reload_nginx", BINDING)

    def ask(path: str) -> str:
        return ground.run("uici-pack", "busybox", "wget", "-q", "-O", "-", f"http://127.0.0.1:8080/{path}").strip()

    def lines(file: str) -> str:
        return ground.run("uici-pack", "cat", f"/var/log/nginx/{file}")

    def seen(path: str, file: str) -> bool:
        ask(path)
        return path in lines(file)

    ground.until(lambda: seen("early", "access.log"), "a line")
    assert ground.do("rotate_nginx_log", BINDING) == {"left": "/var/log/nginx/access.log.1"}
    ground.until(lambda: seen("late", "access.log"), "a line in the new file")
    assert "early" in lines("access.log.1")
    assert "early" not in lines("access.log")


def old_image(name: str) -> bytes:
    """An archive of an image that was made long ago."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    config = {
        "created": "2020-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:old"], "Layers": ["layer.tar"]}]
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for file, content in (
            ("manifest.json", json.dumps(manifest).encode()),
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
        ):
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def test_only_old_images_that_nobody_uses_are_removed(ground: Ground) -> None:
    def tags() -> set[str]:
        return {tag for image in ground.client.images() for tag in image["RepoTags"] or ()}

    ground.start("uici-pack", f"{IMAGE}:good")
    young = tags()
    for name in ("uici-test/unused", "uici-test/used"):
        list(ground.client.load_image(old_image(name)))
    ground.client.create_container("uici-test/used:old", ["sh"], name="uici-pack-two")
    assert ground.do("prune_docker_images", BINDING, older_than="1h")["reclaimed_bytes"] >= 0
    assert tags() == young | {"uici-test/used:old"}
    for text in INJECTIONS:
        with pytest.raises(Problem):
            ground.do("prune_docker_images", BINDING, older_than=text)
    ground.client.remove_container("uici-pack-two")
    ground.client.remove_image("uici-test/used:old")


def test_a_restart_policy_is_set_and_goes_back(ground: Ground) -> None:
    ground.start("uici-pack", f"{IMAGE}:good")

    def policy() -> str:
        return str(ground.client.inspect_container("uici-pack")["HostConfig"]["RestartPolicy"]["Name"])

    step = prepared_step(ground.site, "docker", "set_restart_policy", BINDING, {"policy": "always"})
    (seen,) = step.before.calls
    before = operation_result(step.before, {seen.id: ground.executor.perform(seen)})
    assert before == {"policy": policy()} == {"policy": ""}
    perform(ground.executor, step)
    assert policy() == "always"
    back = inverse_step(step, before)
    assert back is not None
    ground.do(back.operation, BINDING, **back.parameters)
    assert policy() == "no"
