"""A load balancer's server that a binding may name, and HAProxy's runtime API; for every executor alike.

The commands, their answers and the bits of `srv_admin_state` are those of HAProxy's management guide, section 9.3:
https://docs.haproxy.org/2.6/management.html#9.3
"""

from __future__ import annotations

import csv
import ipaddress
import re
import socket
import time
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

MAX_WEIGHT = 256
_SOCKET_PATH_BYTES = 107
_ANSWER_BYTES = 4 * 1024 * 1024
_FORCED_MAINTENANCE = 0x01
_FORCED_DRAIN = 0x08
_SERVERS = 4  # the type of `show stat` that means servers
# Whatever could end a command and begin another, or reach a second server.
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]


class Traffic(StrEnum):
    """What an operator wants of a server: all traffic, only sessions that are there already, none."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Backend(Frozen):
    """Which server of which HAProxy is the target's."""

    haproxy: str = Field(
        max_length=300,
        description="its runtime socket: unix:/path, or host:port of loopback; with `level admin` to change anything",
    )
    backend: Name = Field(description="the backend's name in haproxy.cfg")
    server: Name = Field(description="the server's name in that backend")
    timeout: float = Field(default=2.0, gt=0, le=60, description="seconds for one command")

    @field_validator("haproxy")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value.startswith("unix:"):
            path = _path(value)
            if not path.startswith("/") or "\0" in path or len(path.encode()) > _SOCKET_PATH_BYTES:
                raise ValueError("haproxy: unix: needs an absolute path of at most 107 bytes")
        else:
            _loopback(value)
        return value

    def __str__(self) -> str:
        """What messages call it."""
        return f"server {self.backend}/{self.server} of HAProxy at {self.haproxy}"


class Seen(Frozen):
    """A server as HAProxy has it now."""

    state: Traffic
    weight: int
    """As it was configured or set; drained and stopped servers keep theirs."""
    sessions: int
    queued: int
    status: str
    check_status: str | None
    check_output: str | None

    def document(self, backend: Backend) -> JsonObject:
        """As get_backend_state reports it."""
        return {"backend": backend.backend, "server": backend.server, **self.model_dump(mode="json")}


STATE_RETURNS = {
    "state": "ready (gets traffic), drain (keeps its sessions, gets no new ones) or maint (gets none)",
    "weight": "its share of the traffic while it is ready, 0 to 256",
    "sessions": "sessions that run now",
    "queued": "requests that wait for it",
    "status": "HAProxy's own word: UP, DOWN, DRAIN, MAINT, no check, ...",
    "check_status": "of the last health check, such as L4OK or L7STS; null without checks",
    "check_output": "what the last health check said; null when it said nothing",
    "backend": "the backend's name",
    "server": "the server's name",
}
SET_RETURNS = {
    "changed": "whether anything was changed",
    "state": "the new state",
    "weight": "the new weight",
    "previous_state": "the state before",
    "previous_weight": "the weight before",
}


def backend_of(backend: Backend | None, what: object) -> Backend:
    """The binding's backend. Raises CallError(PERMANENT, `no_backend`) when `what`'s binding names none."""
    if backend is None:
        raise CallError(
            FailureKind.PERMANENT,
            "no_backend",
            f"{what} has no `backend` in its binding, so no load balancer is known for it; "
            "add backend: {haproxy: 'unix:/run/haproxy/admin.sock', backend: NAME, server: NAME}",
        )
    return backend


def look(backend: Backend) -> Seen:
    """The server's state. Raises CallError: TEMPORARY when HAProxy cannot be asked, PERMANENT when it has none such."""
    configured = _row(_ask(backend, f"show servers state {backend.backend}", mutates=False), backend)
    shown = _ask(backend, f"show stat {backend.backend} {_SERVERS} -1", mutates=False)
    rows = csv.DictReader(line for line in shown.removeprefix("# ").splitlines() if line)
    found = next((row for row in rows if row.get("svname") == backend.server), None)
    if found is None:
        raise _not_found(backend)
    admin = int(configured["srv_admin_state"])
    forced = Traffic.DRAIN if admin & _FORCED_DRAIN else Traffic.READY
    return Seen(
        state=Traffic.MAINT if admin & _FORCED_MAINTENANCE else forced,
        weight=int(configured["srv_uweight"]),
        sessions=int(found.get("scur") or 0),
        queued=int(found.get("qcur") or 0),
        status=found.get("status") or "unknown",
        check_status=(found.get("check_status") or "").lstrip("* ") or None,
        check_output=found.get("last_chk") or None,
    )


def change(backend: Backend, state: Traffic, weight: int | None) -> JsonObject:
    """Make the server `state`, and of this `weight` when one is given. What is so already is not sent.

    Raises CallError as `look`; UNKNOWN `haproxy_no_answer` when a change was sent and nothing came back.
    """
    before = look(backend)
    name = f"{backend.backend}/{backend.server}"
    changed = False
    if weight is not None and weight != before.weight:
        _tell(backend, f"set server {name} weight {int(weight)}")
        changed = True
    if state is not before.state:
        _tell(backend, f"set server {name} state {state.value}", already=changed)
        changed = True
    return {
        "changed": changed,
        "state": state.value,
        "weight": before.weight if weight is None else weight,
        "previous_state": before.state.value,
        "previous_weight": before.weight,
    }


def remember(backend: Backend) -> JsonObject:
    """What a proof compares with."""
    seen = look(backend)
    return {"state": seen.state.value, "weight": seen.weight}


def prove(backend: Backend, state: Traffic, weight: int | None) -> Happened:
    """Whether the server is as a change wanted it. NO may be sent again: the same state twice is that state."""
    now = look(backend)
    return Happened.YES if now.state is state and weight in (None, now.weight) else Happened.NO


def _tell(backend: Backend, command: str, *, already: bool = False) -> None:
    said = _ask(backend, command, mutates=True).strip()
    if not said:
        return
    error = _refusal(backend, said)
    if already:
        # The weight was set before the state was refused.
        raise CallError(FailureKind.UNKNOWN, error.code, f"{error.message}; its weight was changed before")
    raise error


def _row(answer: str, backend: Backend) -> dict[str, str]:
    """The line of `show servers state` that is the server's, by the names in its heading."""
    lines = answer.splitlines()
    heading = next((line for line in lines if line.startswith("# ")), None)
    if heading is None:
        raise _refusal(backend, answer)
    names = heading.removeprefix("# ").split()
    rows = (dict(zip(names, line.split(), strict=False)) for line in lines[lines.index(heading) + 1 :])
    found = next((row for row in rows if row.get("srv_name") == backend.server), None)
    if found is None or not {"srv_admin_state", "srv_uweight"} <= found.keys():
        raise _not_found(backend)
    return found


def _ask(backend: Backend, command: str, *, mutates: bool) -> str:
    """Send one command over a connection of its own, and return all that HAProxy says until it closes."""
    if not all(_WORD.fullmatch(word) for word in re.split(r"[ /]", command)):
        raise CallError(FailureKind.PERMANENT, "bad_command", "a name holds what would begin another command")
    deadline = time.monotonic() + backend.timeout
    try:
        connection = _connected(backend)
    except (OSError, UnicodeError) as error:
        raise CallError(
            FailureKind.TEMPORARY,
            "haproxy_unreachable",
            f"{backend} does not answer ({getattr(error, 'strerror', None) or type(error).__name__}); check that it "
            "runs, that `stats socket` names this place, and that UICI may open it",
        ) from None
    answer = bytearray()
    with connection:
        try:
            connection.sendall(f"{command}\n".encode("ascii"))
            while part := connection.recv(65536):
                answer += part
                if len(answer) > _ANSWER_BYTES:
                    raise OSError("the answer does not end")
                connection.settimeout(max(0.01, deadline - time.monotonic()))
        except OSError as error:
            raise _no_answer(backend, mutates, type(error).__name__) from None
    if not answer.endswith(b"\n"):
        raise _no_answer(backend, mutates, "the connection was closed")
    return answer.decode("utf-8", "replace")


def _connected(backend: Backend) -> socket.socket:
    if not backend.haproxy.startswith("unix:"):
        return socket.create_connection(_loopback(backend.haproxy), timeout=backend.timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(backend.timeout)
        connection.connect(_path(backend.haproxy))
    except OSError:
        connection.close()
        raise
    return connection


def _no_answer(backend: Backend, mutates: bool, why: str) -> CallError:
    kind = FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY
    what = "whether it carried the command out must be read from its state" if mutates else "nothing was changed"
    return CallError(kind, "haproxy_no_answer", f"{backend} gave no whole answer ({why}); {what}")


def _refusal(backend: Backend, said: str) -> CallError:
    said = " ".join(said.split())[:300]
    if "ermission denied" in said:
        return CallError(
            FailureKind.PERMANENT,
            "haproxy_not_permitted",
            f"{backend} refused: {said}; the socket needs `level admin` in haproxy.cfg",
        )
    if re.search(r"(no such|can't find|unknown) (server|backend|proxy)", said, re.IGNORECASE):
        return _not_found(backend)
    return CallError(FailureKind.PERMANENT, "haproxy_refused", f"{backend} refused: {said or 'without a word'}")


def _not_found(backend: Backend) -> CallError:
    return CallError(
        FailureKind.PERMANENT,
        "backend_not_found",
        f"HAProxy at {backend.haproxy} has no server {backend.backend}/{backend.server}; "
        "correct `backend` in the target's binding to the names in haproxy.cfg",
    )


def _path(address: str) -> str:
    path = address.removeprefix("unix:")
    return path.removeprefix("//") if path.startswith("///") else path


def _loopback(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("haproxy: needs unix:/path or host:port, for example unix:/run/haproxy/admin.sock")
    if host == "localhost":
        return host, int(port)
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        # Whoever reaches that port commands the load balancer, and nothing of it is encrypted.
        raise ValueError("haproxy: a TCP address of the runtime API must be of loopback, such as 127.0.0.1:9999")
    return host, int(port)
