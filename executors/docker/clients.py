"""The SDK's client, with a transport of ours for each way to an engine. The SDK is imported with the first one."""

from __future__ import annotations

import importlib
from typing import Any

from executors.docker.connection import DockerSettings, TlsSettings
from uici.model.call import CallError, FailureKind

_POOL = 16


def new_client(settings: DockerSettings, environment: str, where: str) -> Any:
    """A client of the SDK over the way that the settings name; nothing is sent yet.

    Raises CallError(PERMANENT): `docker_sdk_missing`, `bad_settings`.
    """
    try:
        docker: Any = importlib.import_module("docker")
    except ImportError:
        raise CallError(
            FailureKind.PERMANENT,
            "docker_sdk_missing",
            f"environment {environment!r} needs the Docker SDK, which is not installed: pip install 'uici[docker]'",
        ) from None
    address, seconds = settings.base_url, settings.timeout_seconds
    # The SDK's own way through ssh is not taken, see executors.docker.tunnel; its client is only the frame.
    framed = "unix:///var/run/docker.sock" if settings.scheme == "ssh" else address
    try:
        # With a fixed version it sends nothing yet; ours is asked for below.
        client = docker.APIClient(
            base_url=framed, version="1.41", timeout=seconds, tls=settings.uses_tls and framed == address
        )
    except docker.errors.DockerException as error:
        raise CallError(
            FailureKind.PERMANENT, "bad_settings", f"{where} cannot be addressed: {str(error)[:200]}"
        ) from None
    # An engine is reached directly: proxies and netrc are meant for the web, and looking for them takes time.
    client.trust_env = False
    if settings.scheme == "unix":
        adapter = importlib.import_module("executors.docker.transport").OnePoolAdapter
        client.mount("http+docker://", adapter(f"http+{address}", seconds, pool_connections=1, max_pool_size=_POOL))
    elif settings.scheme == "ssh":
        tunnel = importlib.import_module("executors.docker.tunnel").TunnelAdapter
        client.mount("http+docker://", tunnel(settings, _POOL))
    elif settings.uses_tls:
        secured = importlib.import_module("executors.docker.tls").TlsAdapter
        client.mount("https://", secured(settings.tls or TlsSettings(), _POOL, where))
    return client
