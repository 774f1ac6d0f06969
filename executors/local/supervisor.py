"""supervisord: its daemon, and its XML-RPC interface over a unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import psutil
import structlog

from executors.local.program import ProgramFiles, write_atomically
from executors.local.settings import LocalSettings
from uici.model.base import JsonValue
from uici.model.call import CallError, FailureKind

_LOG = structlog.get_logger(__name__)

_SOCKET_PATH_LIMIT = 95  # 107 bytes, less the `.<pid>` that supervisord appends while it binds
_FORBIDDEN_IN_DIRECTORY = set("\"'`;#%,")

# What a service inherits. Not UICI's own environment: that holds UICI's secrets.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")

_FAULTS = {
    1: ("unknown_method", "supervisord has no such method"),
    2: ("bad_arguments", "supervisord does not take these parameters"),
    3: ("bad_arguments", "supervisord does not take these parameters"),
    4: ("bad_arguments", "supervisord does not take these parameters"),
    10: ("program_not_found", "supervisord knows no program of this name"),
    11: ("bad_arguments", "there is no such signal"),
    20: ("start_failed", "the file does not exist"),
    21: ("start_failed", "the file cannot be executed"),
    30: ("supervisor_failed", "supervisord could not do it; its log says why"),
    40: ("start_failed", "the program ended while it was started"),
    50: ("start_failed", "the program could not be started"),
    60: ("already_started", "the program runs already"),
    70: ("not_running", "the program does not run"),
    90: ("already_added", "supervisord has this program already"),
    91: ("still_running", "the program still runs"),
    92: ("configuration_broken", "supervisord cannot read its configuration again"),
}
_SHUTTING_DOWN = 6

_NO_XML = {code: "\ufffd" for code in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)}


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, connect_seconds: float, answer_seconds: float) -> None:
        super().__init__("localhost", timeout=answer_seconds)
        self._path = path
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._connect_seconds)
        self.sock.connect(str(self._path))
        self.sock.settimeout(self._answer_seconds)


class Supervisor:
    """One supervisord. Every call uses a connection of its own, so it may be used from any thread."""

    def __init__(self, files: ProgramFiles, settings: LocalSettings) -> None:
        self._files = files
        self._settings = settings
        self.root = files.root
        self.log = self.root / "supervisord.log"
        self.pidfile = self.root / "supervisord.pid"
        self.configuration = self.root / "supervisord.conf"
        self.socket = _socket_path(self.root)

    def call(self, method: str, *parameters: JsonValue, answer_seconds: float | None = None) -> Any:
        """Send one request and return the answer.

        Raises CallError: TEMPORARY `supervisor_unreachable` when nothing was sent, UNKNOWN `supervisor_no_answer`
        when it was sent and no answer came, PERMANENT with the fault's code when supervisord refused.
        """
        try:
            body = xmlrpc.client.dumps(tuple(parameters), method, encoding="utf-8").encode("utf-8")
        except (TypeError, OverflowError, ValueError, UnicodeEncodeError) as error:
            raise CallError(
                FailureKind.PERMANENT,
                "bad_arguments",
                f"the parameters of {method} cannot be sent to supervisord: {type(error).__name__}; "
                "it takes texts, numbers of 32 bits, booleans and lists, but no null",
            ) from None
        wait = self._settings.answer_seconds if answer_seconds is None else answer_seconds
        connection = _Connection(self.socket, self._settings.connect_seconds, wait)
        try:
            with contextlib.closing(connection):
                try:
                    connection.connect()
                except OSError as error:
                    raise self.unreachable(error) from None
                return _exchange(connection, method, body)
        except xmlrpc.client.Fault as fault:
            raise _refused(method, fault) from None
        except (OSError, http.client.HTTPException, ExpatError, xmlrpc.client.Error) as error:
            raise CallError(
                FailureKind.UNKNOWN,
                "supervisor_no_answer",
                f"supervisord at {self.socket} was asked for {method} and gave no answer "
                f"({type(error).__name__}); whether it was carried out must be read from the program's state",
            ) from None

    def unreachable(self, error: OSError) -> CallError:
        """The failure of a connection: nothing was sent."""
        what = (
            "it is started at the next change"
            if self._settings.manage
            else f"start it: supervisord -c {self.configuration}"
        )
        return CallError(
            FailureKind.TEMPORARY,
            "supervisor_unreachable",
            f"supervisord does not answer at {self.socket} ({error.strerror or type(error).__name__}); {what}",
        )

    def answers(self) -> bool:
        """Whether somebody listens at the socket."""
        connection = _Connection(self.socket, self._settings.connect_seconds, self._settings.answer_seconds)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except OSError:
                return False
        return True

    @contextlib.contextmanager
    def lock(self, name: str, seconds: float) -> Iterator[None]:
        """One at a time, over threads and processes. Raises CallError(TEMPORARY, `program_busy`)."""
        self._files.make()
        descriptor = os.open(self.root / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise CallError(
                            FailureKind.TEMPORARY,
                            "program_busy",
                            f"another change of {name} has been under way for {seconds:g} s; try again later",
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def ensure(self) -> None:
        """A supervisord answers when this returns: started when it is ours to start.

        Raises CallError(TEMPORARY) when it does not come up.
        """
        if self.answers():
            return
        with self.lock("supervisord", self._settings.startup_seconds):
            if self.answers():
                return
            self._write_configuration()
            if not self._settings.manage:
                raise self.unreachable(ConnectionRefusedError(111, "Connection refused"))
            running = self._running_pid()
            if running is not None:
                raise CallError(
                    FailureKind.TEMPORARY,
                    "supervisor_unreachable",
                    f"supervisord runs as process {running} but does not listen at {self.socket}; "
                    "it is about to end, or has lost its socket and has to be ended by hand",
                )
            self._start()

    def _start(self) -> None:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with (self.root / "supervisord.out").open("wb") as output:
            # It makes a daemon of itself (own session, own parent), so it survives whatever ends us. When this
            # command returns with 0 it listens already.
            process = subprocess.Popen(  # noqa: S603 - fixed arguments and our own path
                [sys.executable, "-I", "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(self.configuration)],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            status = process.wait(self._settings.startup_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        deadline = time.monotonic() + self._settings.startup_seconds
        while status == 0 and time.monotonic() < deadline:
            if self.pidfile.exists() and self.answers():
                _LOG.info("supervisor_started", socket=str(self.socket), configuration=str(self.configuration))
                return
            time.sleep(0.01)
        raise CallError(
            FailureKind.TEMPORARY,
            "supervisor_start_failed",
            f"supervisord could not be started (exit status {status}); "
            f"{self.root / 'supervisord.out'} and {self.log} say why",
        )

    def _running_pid(self) -> int | None:
        """The process of a supervisord with our configuration, by its pid file; a stale file means none."""
        try:
            pid = int(self.pidfile.read_text())
            command = psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if str(self.configuration) in command else None

    def _write_configuration(self) -> None:
        text = (
            "; Written by UICI; changes are overwritten.\n"
            "[unix_http_server]\n"
            f"file={self.socket}\n"
            "chmod=0600\n\n"
            "[supervisord]\n"
            f"logfile={self.log}\n"
            "logfile_maxbytes=10MB\n"
            "logfile_backups=1\n"
            "loglevel=info\n"
            f"pidfile={self.pidfile}\n"
            f"childlogdir={self._files.logs}\n"
            "nocleanup=true\n"
            "minfds=1024\n\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\n"
            "[include]\n"
            "files = programs/*.ini\n"  # relative to this file, since a list is split at spaces
        )
        if not self.configuration.exists() or self.configuration.read_text() != text:
            write_atomically(self.configuration, text.encode())


def _exchange(connection: _Connection, method: str, body: bytes) -> Any:
    connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml", "Connection": "close"})
    response = connection.getresponse()
    answer = response.read()
    if response.status == 400:
        raise CallError(
            FailureKind.PERMANENT, "bad_arguments", f"supervisord could not read the request {method}: 400 Bad Request"
        )
    if response.status != 200:
        raise xmlrpc.client.ProtocolError("supervisord", response.status, response.reason, {})
    parser, unmarshaller = xmlrpc.client.getparser()
    # A program's output may hold control characters that XML does not know; supervisord passes them on.
    parser.feed(answer.decode("utf-8", "replace").translate(_NO_XML).encode("ascii", "xmlcharrefreplace"))
    parser.close()
    values = unmarshaller.close()
    return values[0] if len(values) == 1 else list(values)


def _refused(method: str, fault: xmlrpc.client.Fault) -> CallError:
    # A fault's text may quote the parameters, which may be secret; its code says enough.
    if fault.faultCode == _SHUTTING_DOWN:
        return CallError(
            FailureKind.TEMPORARY, "supervisor_shutting_down", f"supervisord is shutting down and refused {method}"
        )
    code, text = _FAULTS.get(fault.faultCode, ("supervisor_fault", f"supervisord refused, fault {fault.faultCode}"))
    return CallError(FailureKind.PERMANENT, code, f"{method}: {text}")


def _socket_path(root: Path) -> Path:
    """Where the socket is: in `root`, or in a short folder of ours when the kernel's limit forbids that.

    Raises CallError(PERMANENT, `bad_directory`).
    """
    text = str(root)
    if any(character in _FORBIDDEN_IN_DIRECTORY or not character.isprintable() for character in text):
        raise CallError(
            FailureKind.PERMANENT,
            "bad_directory",
            f"supervisord cannot work in {text!r:.200}: choose a directory without quotes, commas, "
            "`;`, `#`, `%` and control characters",
        )
    path = root / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    short = Path(tempfile.gettempdir()) / f"uici-{os.getuid()}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        status = short.lstat()
    except OSError as error:
        raise CallError(
            FailureKind.PERMANENT, "bad_directory", f"no folder for supervisord's socket: {error.strerror} {short}"
        ) from None
    # Anybody may create things in a shared temporary folder: what is not ours alone is not used.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise CallError(
            FailureKind.PERMANENT,
            "bad_directory",
            f"{short} exists and is not a folder of ours alone; choose a shorter supervisor directory than {text:.200}",
        )
    path = short / "supervisor.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise CallError(
            FailureKind.PERMANENT, "bad_directory", f"{path} is too long for a socket; choose a shorter TMPDIR"
        )
    return path
