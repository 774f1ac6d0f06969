"""`${kubernetes:namespace/name/key}`: one key of a Secret, read as the pod's service account or by the kubeconfig."""

from __future__ import annotations

import base64
import binascii
import errno
import importlib
import json
import threading
from typing import Any
from urllib.parse import quote

from executors.kubernetes.clients import Client, new_client
from executors.kubernetes.settings import KubernetesSettings
from uici.model.call import CallError

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 5.0

_lock = threading.Lock()
_clients: list[Client] = []


def from_kubernetes(locator: str) -> str:
    """The text under a key of a Secret. Raises LookupError, OSError and ValueError, none with a value."""
    namespace, _, rest = locator.partition("/")
    name, _, key = rest.partition("/")
    if not (namespace and name and key):
        raise ValueError(f"{locator!r} is not namespace/name/key")
    status, body = _asked(f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}")
    if status == 404:
        raise LookupError(f"there is no Secret {name} in the namespace {namespace}")
    if status in (401, 403):
        reason = f"the cluster refuses it ({status}): allow `get` of the Secret {name} in the namespace {namespace}"
        raise PermissionError(errno.EACCES, reason)
    if status != 200:
        raise OSError(errno.EIO, f"the cluster answered {status}")
    try:
        data = json.loads(body).get("data") or {}
        if key not in data:
            raise LookupError(f"the Secret {namespace}/{name} has no key {key}")
        value = base64.b64decode(data[key], validate=True).decode().rstrip("\r\n")
    except (ValueError, binascii.Error, AttributeError, TypeError):
        raise ValueError(f"the key {key} of the Secret {namespace}/{name} is not UTF-8 text") from None
    if not value:
        raise LookupError(f"the key {key} of the Secret {namespace}/{name} is empty")
    return value


def _asked(path: str) -> tuple[int, bytes]:
    client = _client()
    urllib3: Any = importlib.import_module("urllib3")
    patience = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS)
    try:
        answer = client.pool.request(
            "GET", client.host + path, headers=client.headers(), timeout=patience, retries=False, redirect=False
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        _forget()
        raise OSError(errno.EIO, f"the cluster at {client.host} cannot be asked: {type(error).__name__}") from None
    if answer.status == 401:
        _forget()  # renewed credentials are found by the next call
    return int(answer.status), bytes(answer.data)


def _client() -> Client:
    with _lock:
        if not _clients:
            try:
                _clients.append(new_client(KubernetesSettings(), "secrets"))
            except CallError as error:
                raise OSError(errno.EIO, error.message) from None
        return _clients[0]


def _forget() -> None:
    with _lock:
        for client in _clients:
            client.close()
        _clients.clear()
