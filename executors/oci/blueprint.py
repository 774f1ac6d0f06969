"""What a new container instance is made of when it takes the place of another, or joins it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from executors.oci.connection import Cloud
from executors.oci.facts import GIB, Facts
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_KEPT = (
    "compartment_id",
    "availability_domain",
    "fault_domain",
    "shape",
    "shape_config",
    "volumes",
    "dns_config",
    "graceful_shutdown_timeout_in_seconds",
    "container_restart_policy",
    "security_context",
)
_KEPT_OF_VNIC = ("display_name", "skip_source_dest_check", "nsg_ids", "subnet_id", "freeform_tags")
_OWN_NAMESPACE = "Oracle-Tags"
"""Tags that Oracle Cloud itself puts on whatever is made."""


def blueprint(
    cloud: Cloud,
    old: Facts,
    *,
    image: str | None = None,
    environment: Mapping[str, str] | None = None,
    cpus: float | None = None,
    memory_bytes: int | None = None,
) -> JsonObject:
    """The details of a container instance like `old`, with these differences. Without a name and its own tags.

    Raises CallError(PERMANENT, `pull_secret_unreadable`) where what is needed cannot be read back.
    """
    details: JsonObject = {name: old.raw[name] for name in _KEPT if old.raw.get(name) is not None}
    shape = dict(details.get("shape_config") or {})
    if cpus is not None:
        shape["ocpus"] = cpus
    if memory_bytes is not None:
        shape["memory_in_gbs"] = memory_bytes / GIB
    details["shape_config"] = {name: shape[name] for name in ("ocpus", "memory_in_gbs") if name in shape}
    details["containers"] = [_container(one, old, image, environment) for one in old.containers]
    details["vnics"] = [_vnic(cloud, one) for one in old.raw.get("vnics") or ()]
    details["defined_tags"] = _without_own(old.raw.get("defined_tags"))
    secrets = old.raw.get("image_pull_secrets") or ()
    if any(one.get("secret_type") != "VAULT" for one in secrets):
        raise CallError(
            FailureKind.PERMANENT,
            "pull_secret_unreadable",
            f"container instance {old.name!r} pulls its image with a password that cannot be read back, so no other "
            "can be made like it; keep the password in a vault and name that secret (secretType VAULT)",
        )
    details["image_pull_secrets"] = list(secrets)
    return details


def _container(
    container: JsonObject, old: Facts, image: str | None, environment: Mapping[str, str] | None
) -> JsonObject:
    made = dict(container)
    made.pop("system_tags", None)
    made["defined_tags"] = _without_own(made.get("defined_tags"))
    if container.get("id") == old.container_id:
        if image is not None:
            made["image_url"] = image
        if environment is not None:
            made["environment_variables"] = dict(environment)
    return made


def _vnic(cloud: Cloud, attached: JsonObject) -> JsonObject:
    """Another network card in the same subnet and security groups; see `left_behind` for what it cannot have."""
    seen: JsonObject = cloud.ask("network", "get_vnic", attached["vnic_id"]).data
    return {
        **{name: seen[name] for name in _KEPT_OF_VNIC if seen.get(name) is not None},
        "defined_tags": _without_own(seen.get("defined_tags")),
        "is_public_ip_assigned": bool(seen.get("public_ip")),
    }


def left_behind(vnic: JsonObject) -> Iterator[str]:
    """What of a network card another one cannot have: what two cannot have at once, or what is set only later."""
    yield f"its private address {vnic.get('private_ip')} is another one afterwards"
    if vnic.get("public_ip"):
        yield f"its public address {vnic['public_ip']} is another one afterwards"
    if vnic.get("hostname_label"):
        yield f"its hostname label {vnic['hostname_label']!r} goes with it; who finds it by that name does not any more"
    for name, shown in (
        ("ipv6_addresses", "IPv6 addresses"),
        ("route_table_id", "own route table"),
        ("security_attributes", "security attributes"),
    ):
        if vnic.get(name):
            yield f"its {shown} are not carried over"


def _without_own(tags: Mapping[str, JsonObject] | None) -> JsonObject:
    return {space: content for space, content in (tags or {}).items() if space != _OWN_NAMESPACE}


def environment_wanted(old: Facts, given: Mapping[str, str], remove: Sequence[str]) -> dict[str, str]:
    """Variables of `old` with those set and those removed; what is both is set."""
    kept = {name: value for name, value in old.environment.items() if name not in remove}
    return {**kept, **given}
