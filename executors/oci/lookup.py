"""From a binding, or an alert's labels, to the things that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from executors.oci.connection import Answer, Cloud
from executors.oci.facts import GONE, Facts, container_facts, function_facts, instance_facts
from executors.oci.settings import OCID, OciBinding
from executors.probes import Probe, ProbeResult, run_probe
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

ASIDE, FRESH = ".uici-old", ".uici-new"
"""What the names of container instances end with while one is being replaced."""
_KIND_OF_OCID = {
    "computecontainerinstance": "container_instance",
    "instance": "instance",
    "instancepool": "instance_pool",
    "fnfunc": "function",
}
_ID_LABELS = ("resource_id", "resourceId", "instance_id", "instance_ocid", "ocid", "id", "instance")
_NAME_LABELS = {
    "container_instance": "container_instance",
    "instance_name": "instance",
    "instance_display_name": "instance",
    "instance_pool": "instance_pool",
    "resource_display_name": "",
    "display_name": "",
    "name": "",
}
_SERVICES: Mapping[str, tuple[str, str, str]] = {
    "container_instance": ("containers", "get_container_instance", "list_container_instances"),
    "instance": ("compute", "get_instance", "list_instances"),
    "instance_pool": ("pools", "get_instance_pool", "list_instance_pools"),
    "function": ("functions", "get_function", "list_functions"),
}


class Lookup:
    """Finds things. Safe for several threads; remembers nothing."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def compartment(self, binding: OciBinding) -> str:
        """Where the binding's things are looked for."""
        return self._cloud.compartment(binding.compartment)

    def members(self, binding: OciBinding) -> list[Facts]:
        """All that the binding means, oldest first; none when it is missing. Raises CallError."""
        if binding.is_container:
            return [self._facts(one, binding) for one in self._containers(binding)]
        if binding.instance_pool is not None:
            pool = self.pool(binding)
            return [] if pool is None else self.of_pool(pool[0])
        found = self._one(binding)
        if found is None:
            return []
        make = instance_facts if binding.kind == "instance" else function_facts
        return [make(found.data, found.etag)]

    def pool(self, binding: OciBinding) -> tuple[JsonObject, str | None] | None:
        """The instance pool and its etag; None when it is missing."""
        found = self._one(binding)
        return None if found is None else (found.data, found.etag)

    def of_pool(self, pool: JsonObject) -> list[Facts]:
        """The instances of a pool, oldest first."""
        listed = self._cloud.all("pools", "list_instance_pool_instances", pool["compartment_id"], pool["id"])
        found = []
        for one in sorted(listed, key=lambda one: (str(one.get("time_created")), str(one["id"]))):
            # The list says `Running` and the like; the instance itself says all of it.
            answer = self._cloud.find("compute", "get_instance", one.get("id"))
            if answer is not None and answer.data.get("lifecycle_state") not in GONE:
                found.append(instance_facts(answer.data, answer.etag))
        return found

    def container(self, instance_id: str, binding: OciBinding) -> Facts | None:
        """One container instance by its OCID; None when it is gone."""
        answer = self._cloud.find("containers", "get_container_instance", instance_id)
        if answer is None or answer.data.get("lifecycle_state") in GONE:
            return None
        return self._facts(answer, binding)

    def listed(self, compartment: str, **wanted: str) -> list[JsonObject]:
        """Container instances of a compartment that still exist, oldest first."""
        found = self._cloud.all("containers", "list_container_instances", compartment, **wanted)
        alive = [one for one in found if one.get("lifecycle_state") not in GONE]
        return sorted(alive, key=lambda one: (str(one.get("time_created")), str(one["id"])))

    def address(self, one: Facts) -> str | None:
        """The private address of a container instance or compute instance; None when it has none to be seen."""
        cards = [str(card["vnic_id"]) for card in one.raw.get("vnics") or ()]
        if not cards and one.id.startswith("ocid1.instance."):
            attached = self._cloud.all("compute", "list_vnic_attachments", one.compartment, instance_id=one.id)
            cards = [str(card["vnic_id"]) for card in attached if card.get("lifecycle_state") == "ATTACHED"]
        for card in cards:
            answer = self._cloud.find("network", "get_vnic", card)
            if answer is not None and answer.data.get("private_ip"):
                return str(answer.data["private_ip"])
        return None

    def probed(self, binding: OciBinding, members: Sequence[Facts]) -> list[ProbeResult]:
        """What the binding's own probe says: of each member at its address, or of the one place that it names."""
        if binding.health is None:
            return []
        if isinstance(binding.health, Probe):
            return [run_probe(binding.health)]
        found: list[ProbeResult] = []
        for one in members:
            address = self.address(one)
            if address is None:
                found.append({"name": f"{one.name} answers", "ok": False, "detail": "it has no address to be seen"})
            else:
                found.append(run_probe(binding.health.at(address)))
        return found

    def missing(self, binding: OciBinding) -> CallError:
        """The error for a call on something that does not exist."""
        return CallError(
            FailureKind.PERMANENT,
            "oci_target_missing",
            f"{binding} does not exist on {self._cloud.where}, or no policy lets UICI see it; create it, correct the "
            "target's binding (name, compartment), or write the policy",
        )

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of what an alert's labels name: by OCID, then by display name."""
        for text in dict.fromkeys(labels.get(label, "") for label in _ID_LABELS):
            if OCID.match(text) and (kind := _KIND_OF_OCID.get(text.split(".")[1])):
                if self._one(OciBinding.model_validate({kind: text})) is not None:
                    return ({kind: text},)
        for label, only in _NAME_LABELS.items():
            name = labels.get(label, "")
            for kind in (only,) if only else ("container_instance", "instance", "instance_pool"):
                if name and self._is_there(kind, name):
                    return ({kind: name},)
        return ()

    def _is_there(self, kind: str, name: str) -> bool:
        try:
            return self._one(OciBinding.model_validate({kind: name})) is not None
        except ValueError:
            return False  # no binding can have this text
        except CallError as error:
            # Of several none is meant; and what UICI may not even list is none of its things.
            if error.code not in ("oci_ambiguous", "oci_not_found"):
                raise
            return False

    def _containers(self, binding: OciBinding) -> Iterable[Answer]:
        group = binding.container_instances
        if group is None:
            found = self._one(binding)
            return [] if found is None else [found]
        listed = [
            one
            for one in self.listed(self.compartment(binding))
            if not str(one.get("display_name")).endswith((ASIDE, FRESH))
            and (
                str(one.get("display_name")).startswith(group.name_prefix or "")
                if group.tags is None
                else group.tags.items() <= (one.get("freeform_tags") or {}).items()
            )
        ]
        answers = (self._cloud.find("containers", "get_container_instance", one["id"]) for one in listed)
        return [one for one in answers if one is not None and one.data.get("lifecycle_state") not in GONE]

    def _facts(self, answer: Answer, binding: OciBinding) -> Facts:
        instance: JsonObject = answer.data
        containers = []
        for one in instance.get("containers") or ():
            found = self._cloud.find("containers", "get_container", one["container_id"])
            if found is not None:
                containers.append(found.data)
        return container_facts(instance, containers, self._chosen(instance, containers, binding), answer.etag)

    def _chosen(self, instance: JsonObject, containers: Sequence[JsonObject], binding: OciBinding) -> int:
        names = [str(one.get("display_name")) for one in containers]
        if binding.container is None:
            if len(containers) > 1:
                raise CallError(
                    FailureKind.PERMANENT,
                    "oci_ambiguous",
                    f"container instance {instance.get('display_name')!r} has several containers; name one with "
                    f"`container` in the target's binding: {', '.join(names)[:300]}",
                )
            return 0
        if binding.container not in names:
            raise CallError(
                FailureKind.PERMANENT,
                "oci_target_missing",
                f"container instance {instance.get('display_name')!r} has no container {binding.container!r:.120}; it "
                f"has {', '.join(names)[:300]}",
            )
        return names.index(binding.container)

    def _one(self, binding: OciBinding) -> Answer | None:
        """The thing of a binding that means one."""
        service, get, list_ = _SERVICES[binding.kind]
        if binding.is_ocid:
            found = self._cloud.find(service, get, binding.name)
            return None if found is None or found.data.get("lifecycle_state") in GONE else found
        where = self._application(binding) if binding.kind == "function" else self.compartment(binding)
        if where is None:
            return None
        named = self._named(service, list_, where, binding.name)
        if not named and binding.kind == "container_instance":
            # Between two renames of a replacement there is none by the name itself.
            named = self._named(service, list_, where, binding.name + FRESH)
        if len(named) > 1:
            raise CallError(
                FailureKind.PERMANENT,
                "oci_ambiguous",
                f"there are {len(named)} by the name of {binding} on {self._cloud.where}; bind one by its OCID, or "
                "all of them as container_instances",
            )
        return self._cloud.find(service, get, named[0]["id"]) if named else None

    def _named(self, service: str, operation: str, where: str, name: str) -> list[JsonObject]:
        found = self._cloud.all(service, operation, where, display_name=name)
        return [one for one in found if one.get("display_name") == name and one.get("lifecycle_state") not in GONE]

    def _application(self, binding: OciBinding) -> str | None:
        name = binding.application or ""
        if OCID.match(name):
            return name
        found = self._named("functions", "list_applications", self.compartment(binding), name)
        return str(found[0]["id"]) if found else None
