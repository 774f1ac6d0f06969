"""The executor's layer of the self-target guard: what UICI itself runs in is never changed.

Named calls compare what a binding resolved to. An open call can reach anything by OCID, or a whole compartment or
pool, so everything that it sends is looked through.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import structlog

from executors.oci.arguments import OciRequest
from executors.oci.connection import Cloud
from executors.oci.facts import Facts
from executors.oci.lookup import Lookup
from executors.oci.settings import OCID, OciBinding
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfIdentity

_METADATA = "http://169.254.169.254/opc/v2"
_METADATA_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class SelfGuard:
    """Raises CallError(PERMANENT, `self_target`); does nothing when `active` is false."""

    def __init__(self, cloud: Cloud, lookup: Lookup, identity: Callable[[], SelfIdentity], active: bool) -> None:
        self._cloud = cloud
        self._lookup = lookup
        self._given = identity
        self._active = active
        self._lock = threading.Lock()

    def check_binding(self, binding: OciBinding) -> None:
        """Refuse a binding whose own text names UICI."""
        if self._active:
            named = self._identity.is_reached_by(binding.model_dump(mode="json", exclude={"health", "diagnostics"}))
            if named is not None:
                raise self._refusal(f"{binding} names UICI itself ({named!r:.100})")

    def check_members(self, members: Sequence[Facts]) -> None:
        """Refuse what is UICI's own, whatever it was reached by; a pool with UICI's instance in it, too."""
        if self._active:
            for one in members:
                if self._is_own(one):
                    raise self._refusal(f"{one.name!r:.100} ({one.id}) is what UICI itself runs in")

    def check_request(self, request: OciRequest) -> None:
        """Refuse an open call that changes something of UICI's own, or what contains it."""
        if not self._active:
            return
        sent: JsonValue = [dict(request.arguments), request.target]
        named = self._identity.is_reached_by(sent)
        if named is not None:
            raise self._refusal(f"the request names UICI itself ({named!r:.100})")
        for text in _texts(sent):
            # To make something in UICI's own compartment is no act on the compartment.
            if request.service == "identity" and text in self._identity.containing:
                raise self._refusal(f"{text!r:.100} contains what UICI itself runs in")
            if OCID.match(text):
                self._check_ocid(text)

    def _check_ocid(self, ocid: str) -> None:
        """An OCID may be of a container instance or instance known by its name, or of a pool."""
        kinds = {
            "computecontainerinstance": "container_instance",
            "instance": "instance",
            "instancepool": "instance_pool",
        }
        kind = kinds.get(ocid.split(".")[1])
        if ocid.startswith("ocid1.computecontainer."):
            found = self._cloud.find("containers", "get_container", ocid)
            if found is not None:
                self._check_ocid(str(found.data.get("container_instance_id")))
        elif kind is not None:
            for one in self._named(OciBinding.model_validate({kind: ocid})):
                if self._is_own(one):
                    raise self._refusal(f"{ocid} is, or has in it, what UICI itself runs in")

    def _named(self, binding: OciBinding) -> Sequence[Facts]:
        try:
            return self._lookup.members(binding)
        except CallError as error:
            if error.code != "oci_ambiguous":
                raise
            # Several containers in one instance: the instance is what counts.
            found = self._cloud.ask("containers", "get_container_instance", binding.name).data
            return [Facts(str(found["id"]), str(found.get("display_name")), "", "", "", "", None, None)]

    def _is_own(self, one: Facts) -> bool:
        return self._identity.is_named_by((one.id, one.name)) is not None

    @cached_property
    def _here(self) -> tuple[frozenset[str], frozenset[str]]:
        """OCIDs and names of what UICI runs in, and of what contains that, as Oracle Cloud itself says."""
        auth, metadata = self._cloud.settings.auth.kind, self._cloud.settings.metadata
        own, containing = set[str](), set[str]()
        if claims := self._cloud.claims():
            own, containing = _told(claims, ("res_id",), "res_compartment")
        if auth == "instance_principal" or metadata is not None:
            told = self._metadata(_address(metadata))
            here = _told(told, ("id", "displayName"), "compartmentId")
            own, containing = own | here[0], containing | here[1]
        return frozenset(text.lower() for text in own), frozenset(containing)

    def _metadata(self, base: str) -> JsonObject:
        import httpx  # costs some 100 ms to load

        try:
            with httpx.Client(timeout=_METADATA_SECONDS, trust_env=False) as client:
                answer = client.get(f"{base.rstrip('/')}/instance/", headers={"Authorization": "Bearer Oracle"})
                return dict(answer.raise_for_status().json())
        except (httpx.HTTPError, ValueError) as error:
            # Fail closed: without knowing what it is, UICI cannot know what is not itself.
            _log.warning("oci_metadata_unreadable", environment=self._cloud.environment, error=type(error).__name__)
            raise CallError(
                FailureKind.TEMPORARY,
                "self_unknown",
                f"the instance metadata service at {base} does not say which instance UICI runs on, so nothing is "
                "changed; check that it can be reached from here",
            ) from None

    @property
    def _identity(self) -> SelfIdentity:
        with self._lock:
            own, containing = self._here
        given = self._given()
        return given.model_copy(update={"names": given.names | own, "containing": given.containing | containing})

    def _refusal(self, why: str) -> CallError:
        return CallError(
            FailureKind.PERMANENT,
            "self_target",
            f"refused in environment {self._cloud.environment!r}: {why}; UICI never changes itself. "
            "A person may do it by hand",
        )


def _address(given: str | None) -> str:
    return given or os.environ.get("OCI_METADATA_BASE_URL") or _METADATA


def _told(document: Mapping[str, object], names: Sequence[str], compartment: str) -> tuple[set[str], set[str]]:
    """What UICI runs in, and what contains it, as far as the document says."""
    own = {str(document[name]) for name in names if document.get(name)}
    return own, {str(document[compartment])} if document.get(compartment) else set()


def _texts(value: JsonValue) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return []
