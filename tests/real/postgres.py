"""A real PostgreSQL server of our own, on a free port of loopback; it can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from tests.real.components import free_port, postgres_programs, require_component
from tests.real.process import STOP_SECONDS, ServerStartError, tail
from tests.waiting import until

_USER = "uici"
_OWNER = "postgres"
"""The server refuses to run as root; Debian's package makes this user."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "32MB",
    # A test's data is gone with its folder, and a crash of the server alone loses nothing of what the kernel has.
    "fsync": "off",
    "wal_level": "replica",
    "max_wal_senders": "5",
    "hot_standby": "on",
    "log_min_messages": "warning",
}


class Postgres:
    """One server with its data."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None, port: int | None = None) -> None:
        """`folder` lies where the server's own user can reach it; see `postgres_folder`."""
        self.folder = folder
        self.port = port or free_port()
        self._settings = _SETTINGS | (settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The state's URL in platform.yml."""
        return self.database("uici")

    def database(self, name: str) -> str:
        """The URL of another database of this server."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    @property
    def pid(self) -> int:
        """Of the server's first process. Raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    def create(self) -> None:
        """Make the data and the empty database, and start."""
        _run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE uici")

    def copy_of(self, primary: Postgres) -> None:
        """Become a streaming standby of `primary`, and start."""
        source = f"host=127.0.0.1 port={primary.port} user={_USER} application_name=standby"
        _run("pg_basebackup", "-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", source)
        self.start()

    def start(self) -> None:
        """Start, and return when it answers. Raises ServerStartError."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self._data, "-p", str(self.port), "-k", self.folder, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=_owner(),
                group=_owner(),
            )
        try:
            until(self._answers, "the PostgreSQL server's answer")
        except Exception as error:
            raise ServerStartError(f"PostgreSQL: {error}:\n{tail(log)}") from error

    def wait_for_standby(self) -> None:
        """From now on a commit is acknowledged when the standby has it, too."""
        with self.connect("postgres") as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            connection.execute("SELECT pg_reload_conf()")
        until(self._waits_for_standby, "the standby to be in step")

    def _waits_for_standby(self) -> bool:
        with self.connect("postgres") as connection:
            return (
                connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone() is not None
            )

    def start_again(self) -> None:
        """Start it if it has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def promote(self) -> None:
        """Make a standby the primary."""
        _run("pg_ctl", "promote", "-D", str(self._data), "-w")

    def stop(self) -> None:
        """Stop in order, ending all connections."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill all its processes at once, as a power cut does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop every process of the server, as a host that hangs does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def cut_connections(self) -> int:
        """End every connection but ours; how many there were."""
        with self.connect("postgres") as connection:
            cut = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
        return int(cut[0]) if cut else 0

    def connect(self, database: str = "uici") -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(self.database(database), autocommit=True, connect_timeout=5)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ServerStartError(f"it ended with status {self._process.returncode}")
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        for one in _family(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):  # a connection that has ended just now
                one.send_signal(number)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        if how is signal.SIGKILL:
            for one in _family(process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(how)
        else:
            process.send_signal(how)
        process.wait(STOP_SECONDS)


@contextmanager
def postgres_folder() -> Iterator[Path]:
    """A folder that the server's own user may use, which those of the tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="uici-postgres-", dir=_base()))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _OWNER)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(**settings: str) -> Iterator[Postgres]:
    """A fresh server until the block ends; skips or fails the test where PostgreSQL is not installed."""
    require_component("postgres")
    with postgres_folder() as folder:
        server = Postgres(folder, settings)
        try:
            server.create()
            yield server
        finally:
            server.kill()


def _base() -> Path:
    """Where folders of tests are made; the machine's own place for them where the server's user cannot get there."""
    base = Path(tempfile.gettempdir())
    closed = any(not folder.stat().st_mode & stat.S_IXOTH for folder in (base, *base.parents))
    return Path("/tmp") if closed and os.geteuid() == 0 else base


def _program(name: str) -> str:
    folder = postgres_programs()
    if folder is None:
        raise RuntimeError("PostgreSQL is not installed")
    return str(folder / name)


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [_program(name), *arguments], capture_output=True, text=True, check=False, cwd="/", user=_owner()
    )
    if done.returncode:
        raise ServerStartError(f"{name}: {done.stderr}")


def _family(pid: int) -> list[psutil.Process]:
    """The server's first process and its others, each of which is the leader of a group of its own."""
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def _owner() -> str | None:
    """As whom the programs are started: somebody else, where we are root."""
    return _OWNER if os.geteuid() == 0 else None
