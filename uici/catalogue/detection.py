"""Which environment `default: auto` means: by looking where UICI itself runs. Reads files, asks no network."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import structlog

from uici.model.base import Frozen
from uici.model.site import Environment

_log = structlog.get_logger(__name__)

_POD_TOKEN = "var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path, not a secret
_DOCKER_SOCKET = "var/run/docker.sock"
# The mark that cloud-init looks for too: https://docs.cloud-init.io/en/latest/reference/datasources/oracle.html
_OCI_ASSET_TAG, _OCI_MARK = "sys/class/dmi/id/chassis_asset_tag", "OracleCloud.com"


class Detected(Frozen):
    """A platform, and what showed that UICI runs on it."""

    platform: str
    evidence: str


def detect_platform(root: Path = Path("/"), variables: Mapping[str, str] | None = None) -> tuple[Detected, ...]:
    """The platforms that this machine shows, the most telling first; `local` is always the last."""
    environment = os.environ if variables is None else variables
    found: list[Detected] = []
    if environment.get("KUBERNETES_SERVICE_HOST"):
        found.append(
            Detected(platform="kubernetes", evidence="the variable KUBERNETES_SERVICE_HOST is set, as in a pod")
        )
    elif (root / _POD_TOKEN).exists():
        found.append(Detected(platform="kubernetes", evidence=f"/{_POD_TOKEN} exists, as in a pod"))
    try:
        tag = (root / _OCI_ASSET_TAG).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        tag = ""
    if tag == _OCI_MARK:
        found.append(Detected(platform="oci", evidence=f"/{_OCI_ASSET_TAG} says {_OCI_MARK}"))
    try:
        if stat.S_ISSOCK((root / _DOCKER_SOCKET).stat().st_mode):
            found.append(Detected(platform="docker", evidence=f"/{_DOCKER_SOCKET} is a socket"))
    except OSError:
        pass  # no socket there, or none that UICI may see: then it could not use it either
    found.append(Detected(platform="local", evidence="nothing shows a pod, a cloud instance or a Docker socket"))
    return tuple(found)


def choose_environment(
    environments: Mapping[str, Environment], detected: tuple[Detected, ...]
) -> tuple[str, Detected] | None:
    """The first environment of the most telling platform that the site has one of; None when it has none of any."""
    for found in detected:
        for name, environment in environments.items():
            if environment.platform == found.platform:
                _log.info("environment_detected", environment=name, platform=found.platform, evidence=found.evidence)
                return name, found
    return None
