"""The way to an engine through ssh. Imports the SDK: load it with the first connection.

The system's own client is used, as `docker -H ssh://` does: it knows the user's configuration, agent, jump hosts and
known hosts, and it is what an administrator can try by hand. The SDK's ways are not: with paramiko it accepts hosts
whose key it does not know, and its own call of the client has no time limits and may ask for a password.

Each connection is one client that runs `docker system dial-stdio` at the other end
(https://docs.docker.com/engine/security/protect-access/#use-ssh-to-protect-the-docker-daemon-socket). The engine has to
answer through it before anything else is sent, so that what goes wrong on the way is known not to have been sent.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import IO, Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection

from executors.docker.connection import DockerSettings, SshSettings
from executors.docker.transport import OnePoolAdapter
from uici.model.call import CallError, FailureKind

_PING = b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"
_MOST_ANSWER = 65_536
_END_SECONDS = 5.0
_ALIVE_SECONDS = 5
_MOST_SAID = 600
# What the client, or the docker command at the other end, says of its failure: (sign, kind, code, what to do).
_SIGNS = (
    ("has changed and you have requested", FailureKind.PERMANENT, "ssh_host_key_changed",
     "the machine has another key than known_hosts says: find out why before you change that file"),
    ("host key verification failed", FailureKind.PERMANENT, "ssh_host_key_unknown",
     "compare the machine's key with what its administrator says, and add it to known_hosts (ssh-keyscan reads it)"),
    ("permission denied (", FailureKind.PERMANENT, "ssh_refused",
     "the machine accepts none of the keys: add the public key to its authorized_keys, or name it by ssh.identity"),
    ("too many authentication failures", FailureKind.PERMANENT, "ssh_refused", "name the key by ssh.identity"),
    ("bad configuration option", FailureKind.PERMANENT, "ssh_configuration", "correct the ssh client's configuration"),
    ("can't open user config file", FailureKind.PERMANENT, "ssh_configuration", "correct ssh.config"),
    ("not found", FailureKind.PERMANENT, "docker_command_missing",
     "install Docker's command line, 18.09 or newer, on that machine"),
    ("permission denied", FailureKind.PERMANENT, "docker_socket_refused",
     "the user at the other end may not open the engine's socket: add it to the group docker there"),
)  # fmt: skip


def command(settings: DockerSettings, connect_seconds: float) -> tuple[str, ...]:
    """The argument list of one connection's client. It asks nothing and trusts only hosts that are known."""
    parts = urlsplit(settings.base_url)
    ssh = settings.ssh or SshSettings()
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"ConnectTimeout={max(1, round(connect_seconds))}",
        f"ServerAliveInterval={_ALIVE_SECONDS}",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
    ]
    if ssh.known_hosts is not None:
        options += [f"UserKnownHostsFile={ssh.known_hosts}", "GlobalKnownHostsFile=none"]
    if ssh.identity is not None:
        options += [f"IdentityFile={ssh.identity}", "IdentitiesOnly=yes"]
    argv = ["ssh", "-T"]
    argv += ["-F", ssh.config] if ssh.config is not None else []
    argv += [part for option in options for part in ("-o", option)]
    argv += ["-l", parts.username] if parts.username else []
    argv += ["-p", str(parts.port)] if parts.port else []
    # The other side's shell reads these words; the path was checked to hold nothing that means anything to it.
    place = ["--host", f"unix://{parts.path}"] if parts.path not in ("", "/") else []
    return (*argv, "--", parts.hostname or "", "docker", *place, "system", "dial-stdio")


class TunnelAdapter(OnePoolAdapter):
    """Mounted on the SDK's client for an engine behind ssh."""

    def __init__(self, settings: DockerSettings, max_pool_size: int) -> None:
        self._argv = command(settings, settings.timeout_seconds)
        super().__init__(
            "http+unix:///", max(1, round(settings.timeout_seconds)), pool_connections=1, max_pool_size=max_pool_size
        )

    def new_pool(self) -> Any:
        """The pool, empty."""
        return _Pool(self._argv, self.timeout, self.max_pool_size)


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, argv: tuple[str, ...], timeout: float, maxsize: int) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=maxsize)
        self._argv = argv

    def _new_conn(self) -> Any:
        return _Connection(self._argv, self.timeout.connect_timeout)


class _Connection(HTTPConnection):
    """One client, its input and output one end of a socket pair whose other end is spoken HTTP through."""

    def __init__(self, argv: tuple[str, ...], timeout: Any) -> None:
        super().__init__("localhost", timeout=timeout)
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # an argument list of ours, from checked settings
                self._argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._said, start_new_session=True
            )
            theirs.close()
            _answers(ours, float(self.timeout) if self.timeout else _END_SECONDS)
        except OSError as error:
            theirs.close()
            ours.close()
            failure = self._failure(error)
            self.close()
            raise urllib3.exceptions.NewConnectionError(self, failure.message) from failure
        self.sock = ours

    def close(self) -> None:
        super().close()
        process, self._process = self._process, None
        if process is not None:
            # It ends by itself when its input does; what hangs is not waited for.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._said is not None:
            self._said.close()
            self._said = None

    def _failure(self, error: OSError) -> CallError:
        """What went wrong, in the client's words. Nothing of a call has been sent."""
        if self._process is None:
            return CallError(
                FailureKind.PERMANENT,
                "ssh_missing",
                f"the ssh client cannot be started: {error.strerror or error}; install it (Debian: openssh-client)",
            )
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        said = self._last_words()
        for sign, kind, code, hint in _SIGNS:
            if sign in said.lower():
                return CallError(kind, code, f"{said}; {hint}")
        reason = said or str(error) or type(error).__name__
        return CallError(FailureKind.TEMPORARY, "docker_unreachable", f"{reason}; try `ssh` to it by hand")

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        text = self._said.read(_MOST_ANSWER).decode("utf-8", "replace")
        # The frame around a warning is no word.
        lines = [line.strip() for line in text.splitlines() if line.strip("@ \t\r")]
        return " ".join(lines)[-_MOST_SAID:]


def _answers(connection: socket.socket, seconds: float) -> None:
    """Wait for the engine's answer to a ping. Raises OSError when there is none."""
    deadline = time.monotonic() + seconds
    connection.settimeout(seconds)
    connection.sendall(_PING)
    answer = b""
    while b"\r\n\r\n" not in answer:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        part = connection.recv(4096)
        answer += part
        if not part or len(answer) > _MOST_ANSWER or not b"HTTP/1.".startswith(answer[:7]):
            raise ConnectionError("the engine did not answer through ssh")
