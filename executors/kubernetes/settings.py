"""What people write of a cluster and of a target in it: an environment's `connection`, and a binding."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from executors.diagnostics import DiagnosticName, LookLimits
from executors.haproxy import Backend
from executors.probes import Probe
from uici.model.base import Frozen

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""An object's name: a DNS subdomain, which is what the API server takes for the kinds that a binding may have."""
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A namespace's or a container's name: one DNS label."""


def _absolute(value: str) -> str:
    if not value.startswith(("/", "~/")) or "\0" in value:
        raise ValueError("needs an absolute path, or one that begins with ~/")
    return value


def _printable(value: str) -> str:
    if "\0" in value:
        raise ValueError("a NUL character is part of no argument")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate is part of no argument") from None
    return value


File = Annotated[str, Field(max_length=4096), AfterValidator(_absolute)]
Argv = Annotated[
    tuple[Annotated[str, Field(max_length=131_072), AfterValidator(_printable)], ...],
    Field(min_length=1, max_length=1000),
]


class Kind(StrEnum):
    """What a target may be bound to."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    JOB = "Job"
    CRON_JOB = "CronJob"
    POD = "Pod"
    NODE = "Node"


class KubernetesBinding(Frozen):
    """A target's binding in a Kubernetes environment: one object, by kind and name."""

    kind: Kind = Field(description="of the object that owns the pods, or Pod or Node itself")
    name: Name
    namespace: Label | None = Field(default=None, description="needed, but for a Node, which has none")
    container: Label | None = Field(
        default=None,
        description="which container of its pods is meant; default: the one that the annotation "
        "kubectl.kubernetes.io/default-container names, else the first",
    )
    health: Probe | None = None
    diagnostics: dict[DiagnosticName, Argv] = Field(
        default_factory=dict,
        max_length=50,
        description="programs that run_diagnostic may run in the container, by name: whole argument lists, no shell",
    )
    backend: Backend | None = None
    autoscaler: Literal["respect", "adjust"] = Field(
        default="respect",
        description="respect: a number of pods outside the bounds of its HorizontalPodAutoscaler is refused; adjust: "
        "the bounds are widened for it, and set back as soon as they hold the number",
    )
    gitops: Literal["respect", "override"] = Field(
        default="respect",
        description="respect: what Argo CD or Flux owns is not changed, and people are told; override: it is changed, "
        "although the owner may change it back",
    )

    @model_validator(mode="after")
    def _fits(self) -> KubernetesBinding:
        if self.kind is Kind.NODE and (self.namespace is not None or self.container is not None):
            raise ValueError("a Node has no namespace and no container")
        if self.kind is not Kind.NODE and self.namespace is None:
            # A name alone would also be what is called so in another namespace.
            raise ValueError(f"a {self.kind} needs its namespace")
        return self

    def __str__(self) -> str:
        """What messages call it."""
        where = f" in namespace {self.namespace!r}" if self.namespace else ""
        return f"{self.kind} {self.name!r:.120}{where}"


class KubernetesSettings(Frozen):
    """An environment's `connection`. Durations in seconds.

    The way to the cluster is one of: `kubeconfig` and/or `context`; `in_cluster`; `server`. Without any of them the
    kubeconfig that KUBECONFIG names or ~/.kube/config is taken, else the pod's own service account.
    """

    kubeconfig: File | None = Field(default=None, description="path of a kubeconfig file")
    context: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="a context of the kubeconfig; default: its current context"
    )
    in_cluster: bool = Field(default=False, description="true: the service account of the pod that UICI runs in")
    server: str | None = Field(default=None, description="the API server's address: https://host:port")
    token: str | None = Field(
        default=None, repr=False, max_length=65_536, description="for `server`, by reference: ${file:/path}"
    )
    token_file: File | None = Field(
        default=None, description="for `server`: a file with the token, read again every minute, so that it may change"
    )
    ca_file: File | None = Field(default=None, description="for `server`: who signed its certificate")
    client_certificate_file: File | None = Field(default=None, description="for `server`: UICI's own certificate")
    client_key_file: File | None = Field(default=None, description="of the certificate")
    insecure_skip_tls_verify: bool = Field(
        default=False, description="for `server`: true accepts any server that answers there"
    )
    namespace: Label | None = Field(
        default=None,
        description="of open calls that name none; default: the context's or the pod's own, else `default`",
    )
    requests_per_second: float = Field(
        default=20.0, gt=0, le=1000, description="UICI asks the API server at most so often, over a longer time"
    )
    burst: int = Field(default=40, ge=1, le=10_000, description="how many requests may go out at once")
    timeout_seconds: float = Field(default=10.0, gt=0, le=600, description="longest wait for one answer")
    limits: LookLimits = LookLimits()

    @field_validator("server")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https://[^\s/@?#]+(/[^\s?#]*)?", value):
            raise ValueError("server is https://host:port, without a user, a password and a query")
        try:
            _ = urlsplit(value).port
        except ValueError:
            raise ValueError("server has a port that is none: 1 to 65535") from None
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_way(self) -> KubernetesSettings:
        ways = {
            "kubeconfig": self.kubeconfig is not None or self.context is not None,
            "in_cluster": self.in_cluster,
            "server": self.server is not None,
        }
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"give one way to the cluster, not {' and '.join(given)}")
        of_server = ("token", "token_file", "ca_file", "client_certificate_file", "client_key_file")
        stray = [name for name in of_server if getattr(self, name) is not None]
        if self.server is None and (stray or self.insecure_skip_tls_verify):
            raise ValueError(f"{stray[0] if stray else 'insecure_skip_tls_verify'} goes with `server`")
        if self.token is not None and self.token_file is not None:
            raise ValueError("give one of token and token_file")
        if (self.client_certificate_file is None) is not (self.client_key_file is None):
            raise ValueError("client_certificate_file and client_key_file belong together; give both or neither")
        return self
