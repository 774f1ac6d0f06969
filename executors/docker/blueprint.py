"""From an existing container to the request that creates another like it.

What a container inherited from its image is left out, so that the new image's own values apply; what was given
for this container is kept. Both look the same in `inspect`, so the old image's configuration decides.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executors.docker.facts import variables
from executors.docker.settings import LABEL_NUMBER
from uici.model.base import JsonObject

_NO_ENDPOINTS = ("host", "none")
_DEFAULT_NETWORKS = ("default", "bridge")
_ENDPOINT_KEYS = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority")


@dataclass(frozen=True)
class Blueprint:
    """What to create, and the networks to join before the start beside the one that it is created with."""

    body: JsonObject = field(repr=False)
    networks: Mapping[str, JsonObject] = field(repr=False)


def blueprint(
    inspected: Mapping[str, Any],
    old_image: Mapping[str, Any],
    *,
    image: str,
    labels: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    remove: Sequence[str] = (),
) -> Blueprint:
    """Another container like `inspected`, on `image`.

    `old_image` is the image's own `Config`; `labels` are added, those with an empty value taken away; `environment`
    and `remove` change the variables.
    """
    config, host = copy.deepcopy(dict(inspected["Config"])), copy.deepcopy(dict(inspected["HostConfig"]))
    mode = str(host.get("NetworkMode") or "default")
    _leave_out_inherited(config, old_image)
    config["Image"] = image
    config["Env"] = changed_environment(config.get("Env") or (), old_image.get("Env") or (), environment or {}, remove)
    merged = {**(config.get("Labels") or {}), **labels}
    config["Labels"] = {key: value for key, value in merged.items() if value or key not in labels}
    if config.get("Hostname") == inspected["Id"][:12] or mode.startswith("container:"):
        config.pop("Hostname", None)  # Docker's own choice, not anybody's
    if mode.startswith("container:"):
        config.pop("ExposedPorts", None)
    host["Links"] = _links(host.get("Links"))
    _name_anonymous_volumes(host, inspected.get("Mounts") or (), config)
    endpoints = _endpoints(inspected, mode)
    primary = _primary(inspected, endpoints, mode)
    first = {primary: endpoints.pop(primary)} if primary is not None else {}
    return Blueprint(
        body={**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": first}}, networks=endpoints
    )


def another(inspected: Mapping[str, Any], old_image: Mapping[str, Any], number: int) -> Blueprint:
    """One more member of the same service: like `inspected`, but nothing that only one container can have."""
    lone = copy.deepcopy(dict(inspected))
    lone["Mounts"] = []  # anonymous volumes are each container's own
    lone["Config"].pop("MacAddress", None)
    for endpoint in (lone["NetworkSettings"].get("Networks") or {}).values():
        endpoint["IPAMConfig"] = None
    had_number = LABEL_NUMBER in (lone["Config"].get("Labels") or {})
    labels = {LABEL_NUMBER: str(number)} if had_number else {}
    return blueprint(lone, old_image, image=str(lone["Config"]["Image"]), labels=labels)


def has_fixed_ports(inspected: Mapping[str, Any]) -> bool:
    """Whether a second container like this one could not get its ports."""
    bindings = (inspected["HostConfig"].get("PortBindings") or {}).values()
    return any((entry.get("HostPort") or "0") != "0" for entries in bindings for entry in entries or ())


def changed_environment(
    entries: Sequence[str], inherited: Sequence[str], environment: Mapping[str, str], remove: Sequence[str]
) -> list[str]:
    """The `Env` to create with; a variable of the image is taken away by its bare name, as Docker wants it."""
    own = {entry.split("=", 1)[0]: entry for entry in entries}
    for name in remove:
        own.pop(name, None)
        if name in variables(inherited):
            own[name] = name
    own.update({name: f"{name}={value}" for name, value in environment.items()})
    return list(own.values())


def _leave_out_inherited(config: dict[str, Any], image: Mapping[str, Any]) -> None:
    inherited_env = set(image.get("Env") or ())
    config["Env"] = [entry for entry in config.get("Env") or () if entry not in inherited_env]
    image_labels = image.get("Labels") or {}
    config["Labels"] = {
        key: value for key, value in (config.get("Labels") or {}).items() if image_labels.get(key) != value
    }
    for key in ("ExposedPorts", "Volumes"):
        given = set(config.get(key) or ()) - set(image.get(key) or ())
        config[key] = {name: {} for name in sorted(given)}
    for key in ("WorkingDir", "User", "StopSignal", "Healthcheck", "Shell"):
        if config.get(key) == image.get(key) or not config.get(key):
            config.pop(key, None)
    config.pop("OnBuild", None)
    entrypoint, from_image = config.get("Entrypoint"), image.get("Entrypoint")
    if (entrypoint or None) == (from_image or None):
        config.pop("Entrypoint", None)
        if config.get("Cmd") == image.get("Cmd"):
            config.pop("Cmd", None)
    elif not entrypoint:
        config["Entrypoint"] = [""]  # how a container is told to have none although its image has one


def _links(links: Sequence[str] | None) -> list[str] | None:
    # inspect says /other:/me/alias where create wants other:alias
    if links is None:
        return None
    pairs = (link.split(":", 1) for link in links)
    return [f"{source.lstrip('/')}:{alias.rsplit('/', 1)[-1]}" for source, alias in pairs]


def _name_anonymous_volumes(host: dict[str, Any], mounts: Sequence[Mapping[str, Any]], config: dict[str, Any]) -> None:
    """Let the new container have the old one's anonymous volumes: they hold its data."""
    volumes = {mount["Destination"]: mount for mount in mounts if mount.get("Type") == "volume" and mount.get("Name")}
    given = {bind.split(":")[1] for bind in host.get("Binds") or () if bind.count(":") >= 1}
    for mount in host.get("Mounts") or ():
        given.add(mount.get("Target"))
        if mount.get("Type") == "volume" and not mount.get("Source") and mount.get("Target") in volumes:
            mount["Source"] = volumes[mount["Target"]]["Name"]
    added = [
        f"{volume['Name']}:{path}" + ("" if volume.get("RW", True) else ":ro")
        for path, volume in volumes.items()
        if path not in given
    ]
    if added:
        host["Binds"] = [*(host.get("Binds") or ()), *added]
        config["Volumes"] = {path: {} for path in config.get("Volumes") or {} if path not in volumes}


def _endpoints(inspected: Mapping[str, Any], mode: str) -> dict[str, JsonObject]:
    if mode in _NO_ENDPOINTS or mode.startswith("container:"):
        return {}
    endpoints: dict[str, JsonObject] = {}
    for name, found in ((inspected.get("NetworkSettings") or {}).get("Networks") or {}).items():
        kept = {key: found[key] for key in _ENDPOINT_KEYS if found.get(key)}
        # The engine adds the short id itself, and the default bridge knows no aliases.
        aliases = [alias for alias in kept.pop("Aliases", ()) if alias != inspected["Id"][:12]]
        if aliases and name not in _DEFAULT_NETWORKS:
            kept["Aliases"] = aliases
        endpoints[name] = kept
    return endpoints


def _primary(inspected: Mapping[str, Any], endpoints: Mapping[str, JsonObject], mode: str) -> str | None:
    """The network that the container is created with; the engine attaches it by the mode alone."""
    if mode in _DEFAULT_NETWORKS:
        return "bridge" if "bridge" in endpoints else None
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    return next(
        (name for name in endpoints if mode == name or str(networks[name].get("NetworkID", "-")).startswith(mode)), None
    )
