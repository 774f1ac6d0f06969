"""`${vault:mount/path#field}`: one field of a secret in HashiCorp Vault's KV engine, version 2.

Where Vault is and who asks is said as its own tools are told: VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, and
VAULT_TOKEN, VAULT_TOKEN_FILE or VAULT_KUBERNETES_ROLE (with VAULT_KUBERNETES_MOUNT, by default `kubernetes`).
"""

from __future__ import annotations

import errno
import importlib
import os
from pathlib import Path
from typing import Any

_SECONDS = 5.0
_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - where a token lies


def from_vault(locator: str) -> str:
    """The text of a field. Raises LookupError, OSError and ValueError, none with a value."""
    place, _, field = locator.partition("#")
    mount, _, path = place.strip("/").partition("/")
    if not (mount and path and field):
        raise ValueError(f"{locator!r} is not mount/path#field")
    try:
        hvac: Any = importlib.import_module("hvac")
    except ImportError:
        raise ValueError("the package hvac is not installed; pip install 'uici[vault]'") from None
    requests: Any = importlib.import_module("requests")
    try:
        client = _client(hvac)
        answer = client.secrets.kv.v2.read_secret_version(path=path, mount_point=mount, raise_on_deleted_version=True)
        value = answer["data"]["data"].get(field)
    except hvac.exceptions.InvalidPath:
        raise LookupError(f"Vault has no secret {mount}/{path} (404), or its newest version was deleted") from None
    except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
        raise PermissionError(
            errno.EACCES, f"Vault refuses to read {mount}/{path} (403): look at its policies"
        ) from None
    except hvac.exceptions.VaultDown:
        raise OSError(errno.EAGAIN, "Vault is sealed, or does not serve (503)") from None
    except hvac.exceptions.VaultError as error:
        raise OSError(errno.EIO, f"Vault answered with {type(error).__name__}") from None
    except requests.exceptions.RequestException as error:
        raise OSError(errno.EIO, f"Vault cannot be asked: {type(error).__name__}") from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"what Vault answers about {mount}/{path} is not a secret of KV version 2") from None
    if value is None or value == "":
        raise LookupError(f"the secret {mount}/{path} has no field {field}, or it is empty")
    if not isinstance(value, str):
        raise ValueError(f"the field {field} of {mount}/{path} is no text")
    return value


def _client(hvac: Any) -> Any:
    address = os.environ.get("VAULT_ADDR")
    if not address:
        raise ValueError("VAULT_ADDR does not say where Vault is")
    client = hvac.Client(
        url=address,
        token="",
        namespace=os.environ.get("VAULT_NAMESPACE") or None,
        verify=os.environ.get("VAULT_CACERT") or True,
        timeout=_SECONDS,
        # Where a token would be sent to is for the address to say, not for who answers there.
        allow_redirects=False,
    )
    role = os.environ.get("VAULT_KUBERNETES_ROLE")
    if role:
        token = _read(os.environ.get("VAULT_KUBERNETES_TOKEN_FILE") or _ACCOUNT_TOKEN)
        mount = os.environ.get("VAULT_KUBERNETES_MOUNT") or "kubernetes"
        client.auth.kubernetes.login(role=role, jwt=token, mount_point=mount)
        return client
    file = os.environ.get("VAULT_TOKEN_FILE")
    client.token = _read(file) if file else os.environ.get("VAULT_TOKEN") or ""
    if not client.token:
        raise ValueError("none of VAULT_TOKEN, VAULT_TOKEN_FILE and VAULT_KUBERNETES_ROLE says who asks")
    return client


def _read(path: str) -> str:
    """The token in a file, read each time: agents renew it there."""
    return Path(path).read_text(encoding="ascii").strip()
