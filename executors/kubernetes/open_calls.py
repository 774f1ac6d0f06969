"""Calls that reach anything: any object by any verb, and any program in a container; importable without the SDK."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from executors.kubernetes.publishing import OnTarget, declared, publish
from executors.kubernetes.settings import Argv, Label
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import Risk

REQUEST, EXEC = "kubernetes.request", "workload.exec"
LIVE = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources that reach into what runs, also by GET, and that know no dry run."""
_READS = frozenset({"get", "list"})
_ESSENTIAL = frozenset(
    {
        "Namespace", "Node", "PersistentVolume", "CustomResourceDefinition",
        "namespaces", "nodes", "persistentvolumes", "customresourcedefinitions",
    }
)  # fmt: skip
"""Deleting one of these takes others along, or data that nobody can make again."""
_SEGMENT = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$"


class KubernetesRequest(Frozen):
    """Arguments of kubernetes.request."""

    target: JsonValue = Field(default=None, description="the target's binding, for what the guards look at; not sent")
    verb: Literal["get", "list", "create", "update", "patch", "apply", "delete", "deletecollection"]
    kind: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,62}$")] | None = Field(
        default=None, description="Deployment; exactly one of kind and resource"
    )
    resource: Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]{0,252}$")] | None = Field(
        default=None, description="the plural: deployments"
    )
    api_version: Annotated[str, Field(pattern=r"^([a-z0-9.-]{1,253}/)?v[a-z0-9]{1,20}$")] | None = Field(
        default=None, description="apps/v1, or v1; default: the newest that the cluster serves"
    )
    group: Annotated[str, Field(pattern=r"^([a-z0-9.-]{1,253})?$")] | None = Field(
        default=None, description="apps; in its newest version; empty for the core group"
    )
    namespace: Label | None = Field(default=None, description="default: the connection's; some kinds have none")
    all_namespaces: bool = Field(default=False, description="list in all of them")
    name: Annotated[str, Field(pattern=_SEGMENT)] | None = None
    subresource: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,62}$")] | None = Field(
        default=None, description="scale, status, eviction, log, …; for programs there is workload.exec"
    )
    labels: str | dict[str, str] | None = Field(
        default=None, description='a label selector, or labels that all have to be there: {"app": "web"}'
    )
    fields: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="a field selector: spec.nodeName=node-1"
    )
    limit: int = Field(default=100, ge=1, le=1000, description="of a list, how many objects at most")
    query: dict[Annotated[str, Field(pattern=r"^[A-Za-z]{1,40}$")], str | int | bool] = Field(
        default_factory=dict, description='of a get, what the API knows beside: {"tailLines": 100, "container": "web"}'
    )
    body: JsonValue = Field(default=None, description="the object, the patch, or a list of JSON patch operations")
    patch_type: Literal["merge", "strategic", "json"] = "merge"
    force: bool = Field(default=False, description="of apply: take over fields that others manage")
    dry_run: bool = Field(default=False, description="the API server only says what it would do")
    grace_seconds: int | None = Field(default=None, ge=0, le=86_400, description="of delete; 0: at once")
    propagation: Literal["Background", "Foreground", "Orphan"] | None = Field(
        default=None, description="of delete: what becomes of the objects that it owns"
    )
    uid: Annotated[str, Field(pattern=_SEGMENT)] | None = Field(
        default=None, description="of delete: only this very one"
    )
    resource_version: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")] | None = Field(
        default=None, description="of delete: only if it is as it was then; of a patch or update it stands in the body"
    )
    expect_status: tuple[Annotated[int, Field(ge=200, le=499)], ...] | None = Field(
        default=None, min_length=1, max_length=20, description="HTTP; with any other answer the call has failed"
    )

    @model_validator(mode="after")
    def _consistent(self) -> KubernetesRequest:
        if (self.kind is None) is (self.resource is None):
            raise ValueError("give exactly one of kind and resource")
        if self.api_version is not None and self.group is not None:
            raise ValueError("give at most one of api_version and group")
        if self.subresource in LIVE:
            raise ValueError(f"{self.subresource} is not reached by a request; run programs with {EXEC}")
        if self.verb in _NAMED and self.name is None:
            raise ValueError(f"{self.verb} needs a name")
        if self.verb in ("list", "deletecollection") and (self.name or self.subresource):
            raise ValueError(f"{self.verb} takes no name and no subresource; select by labels or fields")
        if self.verb == "deletecollection" and not (self.labels or self.fields):
            raise ValueError("deletecollection needs labels or fields, which say what is deleted")
        if self.verb in _BODIED and self.body is None:
            raise ValueError(f"{self.verb} needs a body")
        if self.verb == "create" and self.subresource is not None and self.name is None:
            raise ValueError("a subresource needs the name of its object")
        if self.verb in ("create", "update", "apply") and not isinstance(self.body, dict):
            raise ValueError(f"the body of {self.verb} is an object")
        if self.query and self.verb != "get":
            raise ValueError("query goes with get")
        return self


_NAMED = frozenset({"get", "update", "patch", "apply", "delete"})
_BODIED = frozenset({"create", "update", "patch", "apply"})


class Exec(OnTarget):
    """Arguments of workload.exec."""

    argv: Argv = Field(description="the program and its arguments; no shell reads them")
    stdin: Annotated[str, Field(max_length=1_048_576)] | None = Field(
        default=None, description="what the program reads from its standard input; needs Kubernetes 1.30"
    )
    expect_exit: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = Field(
        default=None, min_length=1, max_length=256, description="with any other exit code the call has failed"
    )


_CALLS = (
    declared(
        EXEC,
        "Run a program in the bound container of the first pod that is ready, and wait for its end",
        {
            "exit_code": "its exit code",
            "output": "both outputs, cut at 65536 characters",
            "truncated": "more was written",
        },
        Exec,
        risk=Risk.HIGH,
        timeout=300,
        in_flight=300,
        provable=False,
    ),
    declared(
        REQUEST,
        "Any object of the Kubernetes API, by any verb",
        {
            "status": "the HTTP status",
            "body": "the answer: an object, a list with `items`, or text; what a Secret holds is hidden",
            "truncated": "whether there is more: objects of a list, or text beyond 1 MiB",
        },
        KubernetesRequest,
        risk=Risk.DESTRUCTIVE,
        timeout=60,
        in_flight=60,
        provable=False,
        is_open=True,
    ),
)
PUBLISHED = publish(_CALLS)


def classify(arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether a request changes something, and its risk: what is not known yet counts as the worst."""
    verb, subresource = arguments.get("verb"), arguments.get("subresource")
    told = isinstance(verb, str) and isinstance(subresource, str | None)
    if told and verb in _READS and subresource not in LIVE:
        return False, Risk.LOW
    kinds = [arguments[name] for name in ("kind", "resource") if arguments.get(name) is not None]
    told = told and all(isinstance(kind, str) for kind in kinds)
    deletes = verb in ("delete", "deletecollection") and not subresource
    if told and not (deletes and _ESSENTIAL.intersection(kinds)):
        return True, Risk.HIGH
    return True, Risk.DESTRUCTIVE
