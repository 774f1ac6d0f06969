"""`${oci:OCID of a secret}` and `${oci:OCID of a vault/name}`: the current version of a secret in Oracle Cloud's Vault.

Who asks is said as Oracle's own tools are told: OCI_CLI_AUTH (api_key, security_token, instance_principal,
resource_principal), OCI_CLI_CONFIG_FILE, OCI_CLI_PROFILE, OCI_CLI_REGION and OCI_CLI_ENDPOINT.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import threading
from typing import Any

from pydantic import ValidationError

from executors.oci.connection import Cloud
from executors.oci.settings import OCID, OciSettings
from uici.model.base import JsonObject
from uici.model.call import CallError

_KINDS = {"api_key": "config_file", "security_token": "session_token"}
_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 5.0

_lock = threading.Lock()
_clouds: dict[str, Cloud] = {}


def from_oci(locator: str) -> str:
    """The text of a secret. Raises LookupError, OSError and ValueError, none with a value."""
    vault, _, name = locator.partition("/")
    if not OCID.match(vault):
        raise ValueError(f"{locator!r} is neither the OCID of a secret nor the OCID of a vault, a slash and a name")
    operation, arguments = ("get_secret_bundle_by_name", (name, vault)) if name else ("get_secret_bundle", (vault,))
    try:
        answer = _cloud().send("secrets", "SecretsClient", operation, arguments, {"stage": "CURRENT"}, mutates=False)
    except CallError as error:
        if error.code == "oci_not_found":
            raise LookupError(f"there is no secret {locator}, or it may not be read") from None
        raise OSError(errno.EIO, error.message) from None
    content: Any = answer.data.get("secret_bundle_content") if isinstance(answer.data, dict) else None
    try:
        value = base64.b64decode(content["content"], validate=True).decode().rstrip("\r\n")
    except (TypeError, KeyError, ValueError, binascii.Error):
        raise ValueError(f"the secret {locator} is not UTF-8 text") from None
    if not value:
        raise LookupError(f"the secret {locator} is empty")
    return value


def _cloud() -> Cloud:
    """One for each way of asking that the environment has named."""
    given = os.environ.get("OCI_CLI_AUTH", "api_key")
    auth: JsonObject = {"kind": _KINDS.get(given, given)}
    for variable, member in (("OCI_CLI_CONFIG_FILE", "file"), ("OCI_CLI_PROFILE", "profile")):
        if os.environ.get(variable):
            auth[member] = os.environ[variable]
    settings: JsonObject = {
        "auth": auth,
        "connect_seconds": _CONNECT_SECONDS,
        "read_seconds": _ANSWER_SECONDS,
        "attempts": 1,
    }
    for variable, member in (("OCI_CLI_REGION", "region"), ("OCI_CLI_ENDPOINT", "endpoint")):
        if os.environ.get(variable):
            settings[member] = os.environ[variable]
    try:
        made = OciSettings.model_validate(settings)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors(include_input=False))
        raise ValueError(f"the variables OCI_CLI_… do not name a way to ask ({wrong})") from None
    with _lock:
        return _clouds.setdefault(made.model_dump_json(), Cloud(made, "secrets"))
