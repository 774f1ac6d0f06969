"""The call that reaches anything: any method of any client of the SDK, its arguments from plain JSON."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from executors.oci.arguments import OciRequest
from executors.oci.connection import Answer, Cloud
from executors.oci.models import build
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.errors import did_you_mean

MAX_BODY = 8 * 1024 * 1024
_PARAMETER = re.compile(r":param\s+(?P<type>[^\n:]+?)\s+(?P<name>[a-z_0-9]+):")
_MODEL = re.compile(r"^oci\.(?P<package>[a-z_0-9]+)\.models\.(?P<model>\w+)$")
_RESERVED = frozenset({"retry_strategy", "allow_control_chars", "enable_strict_url_encoding", "self", "kwargs"})


def oci_request(cloud: Cloud, request: OciRequest, mutates: bool) -> JsonObject:
    """Send it. Raises CallError; PERMANENT for a service, client, operation or argument that the SDK does not have."""
    client = _client(request)
    method = _method(client, request)
    types = {found["name"]: found["type"] for found in _PARAMETER.finditer(inspect.getdoc(method) or "")}
    needed = [
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in _RESERVED
    ]
    where = f"{request.service}.{request.operation}"
    missing = [name for name in needed if name not in request.arguments]
    if missing:
        raise _bad(f"{where} needs {', '.join(missing)}")
    unknown = [name for name in request.arguments if name not in types or name in _RESERVED]
    if unknown:
        known = sorted(set(types) - _RESERVED)
        guess = did_you_mean(unknown[0], known)
        raise _bad(f"{where} has no argument {unknown[0]!r:.60}{guess}; it has {', '.join(known)}")
    given = {name: _value(types[name], value, name) for name, value in request.arguments.items()}
    answer = cloud.send(
        request.service,
        client.__name__,
        request.operation,
        tuple(given.pop(name) for name in needed),
        given,
        mutates=mutates,
    )
    return {
        "status": answer.status,
        "body": _body(answer),
        "etag": answer.etag,
        "work_request": answer.work_request,
        "next_page": answer.headers.get("opc-next-page"),
        "request_id": answer.headers.get("opc-request-id"),
    }


def _client(request: OciRequest) -> type[Any]:
    try:
        module = importlib.import_module(f"oci.{request.service}")
    except ImportError:
        raise CallError(
            FailureKind.PERMANENT,
            "oci_no_such_operation",
            f"the SDK has no service {request.service!r}, or is not installed; services are packages of oci, such as "
            "core, container_instances, load_balancer",
        ) from None
    clients = {
        name: kind
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and name.endswith("Client") and not name.endswith("CompositeOperationsClient")
    }
    if request.client is None and len(clients) != 1:
        having = [name for name, kind in clients.items() if hasattr(kind, request.operation)]
        if len(having) == 1:
            return clients[having[0]]
        raise _bad(f"{request.service} has several clients; say `client`: {', '.join(sorted(clients))}")
    name = request.client or next(iter(clients))
    if name not in clients:
        raise _bad(f"{request.service} has no client {name!r}; it has {', '.join(sorted(clients)) or 'none'}")
    return clients[name]


def _method(client: type[Any], request: OciRequest) -> Any:
    method = getattr(client, request.operation, None)
    # Only what the class itself defines and sends: no helpers, nothing inherited, no attributes.
    if not inspect.isfunction(method) or request.operation not in vars(client):
        known = [name for name, kind in vars(client).items() if inspect.isfunction(kind) and not name.startswith("_")]
        guess = did_you_mean(request.operation, known)
        raise CallError(
            FailureKind.PERMANENT,
            "oci_no_such_operation",
            f"{client.__name__} has no operation {request.operation!r:.60}{guess}",
        )
    return method


def _value(kind: str, value: JsonValue, name: str) -> Any:
    found = _MODEL.match(kind)
    if found is not None:
        return build(found["package"], found["model"], value)
    if inner := re.match(r"^list\[oci\.(?P<package>[a-z_0-9]+)\.models\.(?P<model>\w+)\]$", kind):
        if not isinstance(value, list):
            raise _bad(f"{name}: a list is wanted")
        return [build(inner["package"], inner["model"], one) for one in value]
    if kind == "datetime" and isinstance(value, str):
        from datetime import datetime

        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise _bad(f"{name}: a time is wanted, such as 2026-01-31T12:00:00Z") from None
    return value


def _body(answer: Answer) -> JsonValue:
    data: Any = answer.data
    if data is None or isinstance(data, dict | list | str | int | float | bool):
        return data
    return answer.content[:MAX_BODY].decode("utf-8", "replace")


def _bad(why: str) -> CallError:
    return CallError(FailureKind.PERMANENT, "bad_arguments", f"oci.request: {why}")
