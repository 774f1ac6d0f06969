"""What people write: an environment's `connection` to Oracle Cloud, and a target's binding there."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from executors.diagnostics import DiagnosticName, LookLimits
from executors.probes import Probe
from uici.model.base import Frozen

KINDS = ("container_instance", "container_instances", "instance", "instance_pool", "function")
OCID = re.compile(r"^ocid1\.[a-z0-9]+\.[a-z0-9-]*(\.[a-z0-9-]*){1,3}\.[a-z0-9]+$")


def _printable(value: str) -> str:
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("a control character names nothing")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate names nothing") from None
    return value


def _ocid(value: str) -> str:
    if not OCID.match(value):
        raise ValueError("needs an OCID, such as ocid1.compartment.oc1..aaaa")
    return value


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("an endpoint is https://host[:port], without credentials")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("http:// reaches only this machine; use https:// for an endpoint elsewhere")
    return value.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]
"""A display name or an OCID."""
Ocid = Annotated[str, Field(max_length=255), AfterValidator(_ocid)]
Endpoint = Annotated[str, Field(max_length=300), AfterValidator(_endpoint)]
Argv = Annotated[
    tuple[Annotated[str, Field(max_length=4096), AfterValidator(_printable)], ...],
    Field(min_length=1, max_length=100),
]


class Auth(Frozen):
    """Who UICI is in Oracle Cloud. Key material stays in files that the SDK reads; nothing of it is shown."""

    kind: Literal["config_file", "session_token", "instance_principal", "resource_principal"] = Field(
        default="config_file",
        description="a profile with an API key; a profile with a session token; the instance UICI runs on; the "
        "function or container instance UICI runs in",
    )
    file: Annotated[str, AfterValidator(_printable)] = Field(
        default="~/.oci/config", max_length=1024, description="the SDK's configuration file, for the first two"
    )
    profile: Text = Field(default="DEFAULT", description="which part of `file`")


class OciSettings(Frozen):
    """An environment's `connection`. Durations in seconds."""

    auth: Auth = Auth()
    region: Annotated[str, Field(pattern=r"^[a-z]{2,}-[a-z]+(-[a-z]+)*-\d{1,2}$")] | None = Field(
        default=None, description="such as eu-frankfurt-1; default: the profile's, or where UICI itself runs"
    )
    compartment: Ocid | None = Field(
        default=None, description="where bindings look that name none; default: the tenancy's root"
    )
    endpoint: Endpoint | None = Field(
        default=None, description="one address for every service in the place of the region's: a simulator, a gateway"
    )
    endpoints: dict[Annotated[str, Field(pattern=r"^[a-z_]{2,64}$")], Endpoint] = Field(
        default_factory=dict,
        max_length=50,
        description="private endpoints, by the SDK's name of the service: {container_instances: https://...}; `auth` "
        "is who exchanges an instance's certificate for a token",
    )
    metadata: Endpoint | None = Field(
        default=None,
        description="the instance metadata service, to know which instance UICI itself is; asked for an "
        "instance_principal, or when it is given. Default: OCI_METADATA_BASE_URL, else http://169.254.169.254/opc/v2",
    )
    connect_seconds: float = Field(default=5.0, gt=0, le=60, description="longest wait for a connection")
    read_seconds: float = Field(default=30.0, gt=0, le=300, description="longest wait for one answer")
    attempts: int = Field(default=4, ge=1, le=10, description="of one look; a change is sent once")
    poll_seconds: float = Field(default=2.0, gt=0, le=30, description="between looks at work that goes on")
    limits: LookLimits = LookLimits()


class Group(Frozen):
    """Container instances that stand in for each other: all with these tags, or all whose names begin so."""

    tags: dict[Text, Annotated[str, Field(max_length=255), AfterValidator(_printable)]] | None = Field(
        default=None, min_length=1, max_length=10, description="freeform tags that each of them has"
    )
    name_prefix: Text | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Group:
        if (self.tags is None) is (self.name_prefix is None):
            raise ValueError("container_instances has exactly one of tags and name_prefix")
        return self

    def __str__(self) -> str:
        """What messages call it."""
        if self.tags is None:
            return f"named {self.name_prefix!r:.120}..."
        return "with " + ", ".join(f"{key}={value}" for key, value in sorted(self.tags.items()))[:200]


class Backend(Frozen):
    """Which backend of which load balancer is the target's: one by its name, or each instance's own."""

    load_balancer: Ocid
    backend_set: Text
    backend: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] | None = Field(
        default=None, description="its name, address:port, which never changes"
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="the port at each instance's private address: what is replaced or scaled joins and leaves the set",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Backend:
        if (self.backend is None) is (self.port is None):
            raise ValueError("backend has exactly one of backend (a name) and port")
        return self

    def __str__(self) -> str:
        """What messages call it."""
        return f"{self.backend_set} at {self.load_balancer}"


class OwnProbe(Frozen):
    """A health probe of each instance at its own private address, which a replacement changes."""

    port: int = Field(ge=1, le=65535)
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=1024)] | None = Field(
        default=None, description="asked over HTTP; without it a connection is enough"
    )
    expect_status: int = Field(default=200, ge=100, le=599)
    timeout: float = Field(default=2.0, gt=0, le=60, description="seconds for each wait: to connect, for the answer")

    def at(self, address: str) -> Probe:
        """The probe of one address."""
        host = f"[{address}]" if ":" in address else address
        if self.path is None:
            return Probe(tcp=f"{host}:{self.port}", timeout=self.timeout)
        url = f"http://{host}:{self.port}{self.path}"
        return Probe(http=url, expect_status=self.expect_status, timeout=self.timeout)


class OciBinding(Frozen):
    """A target's binding in Oracle Cloud: exactly one kind of thing, by display name or by OCID."""

    container_instance: Text | None = Field(default=None, description="one container instance")
    container_instances: Group | None = Field(default=None, description="a group of them, which can be scaled")
    instance: Text | None = Field(default=None, description="one compute instance")
    instance_pool: Text | None = Field(default=None, description="a pool of compute instances")
    function: Text | None = Field(default=None, description="a function; by name it needs `application`")
    application: Text | None = Field(default=None, description="the application of `function`, by name or OCID")
    compartment: Ocid | None = Field(default=None, description="where to look; default: the connection's")
    container: Text | None = Field(
        default=None, description="which container of a container instance is meant; needed when it has several"
    )
    health: OwnProbe | Probe | None = Field(
        default=None, description="port and path: of each instance at its own address; http or tcp: one fixed place"
    )
    diagnostics: dict[DiagnosticName, Argv] = Field(
        default_factory=dict,
        max_length=50,
        description="programs that run_diagnostic may run on a compute instance by Run Command, by name: whole "
        "argument lists",
    )
    log: Ocid | None = Field(
        default=None, description="a log of the Logging service with what it writes; default: the platform's own"
    )
    log_group: Ocid | None = Field(default=None, description="the log group of `log`")
    backend: Backend | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> OciBinding:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a binding has exactly one of {', '.join(KINDS)}, not {', '.join(given) or 'none'}")
        if self.application is not None and self.function is None:
            raise ValueError("application belongs to function")
        if self.function is not None and self.application is None and not OCID.match(self.function):
            raise ValueError("a function by name needs its application")
        if self.container is not None and not self.is_container:
            raise ValueError("container belongs to container_instance and container_instances")
        if (self.log is None) is not (self.log_group is None):
            raise ValueError("log and log_group belong together")
        return self

    @property
    def kind(self) -> str:
        """Which of KINDS."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def is_container(self) -> bool:
        """Whether it means container instances."""
        return self.container_instance is not None or self.container_instances is not None

    @property
    def name(self) -> str:
        """The display name or OCID; empty for a group."""
        value = getattr(self, self.kind)
        return value if isinstance(value, str) else ""

    @property
    def is_ocid(self) -> bool:
        """Whether it is bound by OCID."""
        return bool(OCID.match(self.name))

    def __str__(self) -> str:
        """What messages call it."""
        if self.container_instances is not None:
            return f"container instances {self.container_instances}"
        return f"{self.kind.replace('_', ' ')} {self.name!r:.120}"
