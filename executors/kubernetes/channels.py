"""Programs in containers over a websocket, each stream of theirs a channel. Imports the SDK's websocket library."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from typing import Any

import websocket

from executors.deadline import Deadline
from executors.diagnostics import Output
from executors.kubernetes.api import Api
from executors.kubernetes.failures import lost, refused
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
_CLOSE = 255
_V4, _V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
"""Only v5 (Kubernetes 1.30) can say that the input has ended."""


def run(
    api: Api,
    path: Sequence[str],
    container: str,
    argv: Sequence[str],
    deadline: Deadline,
    stdin: bytes | None,
    limit: int,
    mutates: bool,
) -> Output:
    """See `Cluster.exec`."""
    query: JsonObject = {
        "container": container,
        "command": list(argv),
        "stdin": stdin is not None,
        "stdout": True,
        "stderr": True,
        "tty": False,
    }
    connection = _connected(api, path, query, deadline)
    try:
        if stdin is not None:
            _write(connection, stdin, api.where)
        return _collected(connection, deadline, limit)
    except (websocket.WebSocketException, OSError) as error:
        raise lost(api.where, error, mutates) from None
    finally:
        connection.shutdown()


def _connected(api: Api, path: Sequence[str], query: JsonObject, deadline: Deadline) -> Any:
    client = api.client()
    settings = client.configuration
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if settings.verify_ssl else ssl.CERT_NONE}
    if settings.verify_ssl:
        options["ca_certs"] = settings.ssl_ca_cert
    else:
        options["check_hostname"] = False
    if settings.cert_file:
        options |= {"certfile": settings.cert_file, "keyfile": settings.key_file}
    if settings.tls_server_name:
        options["server_hostname"] = settings.tls_server_name
    connection: Any = websocket.WebSocket(sslopt={key: value for key, value in options.items() if value is not None})
    connection.settimeout(max(0.05, min(api.settings.timeout_seconds, deadline.left())))
    try:
        connection.connect(
            "ws" + api.url(path, query).removeprefix("http"),
            header=[f"{name}: {value}" for name, value in client.headers().items()],
            subprotocols=[_V5, _V4],
            suppress_origin=True,
            http_no_proxy=["*"] if not settings.proxy else (settings.no_proxy or "").split(","),
        )
    except websocket.WebSocketBadStatusException as error:
        # The stream was refused, so nothing has been started.
        body = error.resp_body if isinstance(error.resp_body, bytes) else str(error.resp_body or "").encode()
        raise refused(api.where, f"an exec in /{'/'.join(path)}", int(error.status_code), body, False) from None
    except (websocket.WebSocketException, OSError) as error:
        # Until the server has agreed to the stream no program was started.
        raise lost(api.where, error, False) from None
    return connection


def _write(connection: Any, content: bytes, where: str) -> None:
    if connection.getsubprotocol() != _V5:
        raise CallError(
            FailureKind.PERMANENT,
            "not_supported",
            f"{where} cannot end a program's input (it speaks {connection.getsubprotocol()}, {_V5} is needed, which "
            "Kubernetes has since 1.30); give what it needs as arguments",
        )
    for start in range(0, len(content), 32_768):
        connection.send_binary(bytes([_STDIN]) + content[start : start + 32_768])
    connection.send_binary(bytes([_CLOSE, _STDIN]))


def _collected(connection: Any, deadline: Deadline, limit: int) -> Output:
    content = bytearray()
    while deadline.left() > 0:
        connection.settimeout(deadline.left())
        try:
            frame = connection.recv_data()
        except websocket.WebSocketTimeoutException:
            break
        opcode, data = frame
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise ConnectionResetError("the stream ended before the program's exit code came")
        if not data:
            continue
        if data[0] in (_STDOUT, _STDERR):
            content += data[1:]
            if len(content) > limit:
                return Output(content=bytes(content[:limit]), exit_code=None, cut=True)
        elif data[0] == _ERROR:
            code = _exit_code(data[1:])
            if code in (126, 127) and b"runtime exec failed" in content:
                # Docker as the runtime tells so as if the program had said it.
                raise _not_started(" ".join(content.decode("utf-8", "replace").split())[:300])
            return Output(content=bytes(content), exit_code=code)
    return Output(content=bytes(content), exit_code=None, timed_out=True)


def _exit_code(said: bytes) -> int:
    """Of the Status object that ends a program's streams. Raises CallError when the program was not started."""
    status: JsonObject = json.loads(said)
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    code = next((str(cause.get("message")) for cause in causes if cause.get("reason") == "ExitCode"), "")
    if code.isdigit():
        return int(code)
    raise _not_started(" ".join(str(status.get("message") or "no reason given").split())[:300])


def _not_started(why: str) -> CallError:
    return CallError(
        FailureKind.PERMANENT,
        "program_not_started",
        f"the program could not be started: {why}; check that the container's image has it and that it may be run",
    )
