"""What the `oci` SDK itself says of each operation: method, path, query names, headers and types.

Nothing of a service's protocol is written down here a second time. An operation is read from the source of the SDK's
client method (its `resource_path`, `query_params`, `header_params`, `response_type`), its API version from the client's
base path, its types from the client's own table of models.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import linecache
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TypeTable = Mapping[str, Any]
"""A type's name in the SDK -> its class."""


@dataclass(frozen=True)
class SdkOperation:
    """One operation of one client of the SDK."""

    name: str
    """Such as `container_instances.ContainerInstanceClient.get_container`."""
    method: str
    path: str
    """With the API's version: `/20210415/containers/{containerId}`."""
    queries: frozenset[str]
    required_queries: frozenset[str]
    headers: frozenset[str]
    body: str | None
    """The type of the request's body; None where there is none."""
    response: str | None
    """The type of the answer's body; `stream` is bytes, None is no body."""
    types: TypeTable

    @property
    def service(self) -> str:
        """Such as `container_instances`."""
        return self.name.split(".", 1)[0]

    @property
    def mutates(self) -> bool:
        """Whether its method says that it may change something."""
        return self.method != "GET"


@functools.cache
def _client(path: str) -> tuple[Any, str, TypeTable]:
    """A client class, its base path and its types, by `service.Class`."""
    from oci.auth.signers import KeyPairSigner
    from oci.circuit_breaker import NoCircuitBreakerStrategy

    service, name = path.split(".")
    made = getattr(importlib.import_module(f"oci.{service}"), name)
    base = made(
        {"region": "simulator"},
        signer=KeyPairSigner.__new__(KeyPairSigner),  # made only to be read: it never signs
        service_endpoint="http://127.0.0.1",
        circuit_breaker_strategy=NoCircuitBreakerStrategy(),
    ).base_client
    return made, str(base._base_path), base.type_mappings


@functools.cache
def operation(name: str) -> SdkOperation:
    """Read one operation, named `service.Client.method`, from the SDK."""
    client, method = name.rsplit(".", 1)
    made, base, types = _client(client)
    function = getattr(made, method)
    source = _Source(ast.parse(textwrap.dedent(_text(function))))
    path = str(source.value("resource_path"))
    queries = frozenset(source.keys("query_params"))
    body = source.keyword("body")
    return SdkOperation(
        name=name,
        method=str(source.value("method")),
        path=base.rstrip("/") + path,
        queries=queries,
        required_queries=frozenset(source.value("required_arguments")) & queries,
        headers=frozenset(source.keys("header_params")),
        body=_body_type(inspect.getdoc(function) or "", body) if body else None,
        response=source.keyword("response_type"),
        types=types,
    )


def _text(function: Any) -> str:
    """A function's source. `inspect.getsource` looks through all loaded modules first, and the SDK has thousands."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename)
    return "".join(inspect.getblock(lines[code.co_firstlineno - 1 :]))


def _body_type(document: str, argument: str) -> str:
    found = re.search(rf":param (?:\S*\.)?([\w(), \[\]]+) {re.escape(argument)}: \(", document)
    if found is None:
        raise LookupError(f"the SDK does not say of which type {argument} is")
    return found.group(1)


class _Source:
    """The assignments and the call in a client method's source."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree

    def _assigned(self, name: str) -> Iterator[ast.expr]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                yield node.value

    def value(self, name: str) -> Any:
        return ast.literal_eval(next(self._assigned(name)))

    def keys(self, name: str) -> list[str]:
        for value in self._assigned(name):
            if isinstance(value, ast.Dict):
                return [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
        return []

    def keyword(self, name: str) -> str | None:
        """What the call to the service passes as `name`: a literal, an argument, or an optional argument."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.keyword) and node.arg == name:
                if isinstance(node.value, ast.Constant):
                    return str(node.value.value)
                if isinstance(node.value, ast.Name):
                    return node.value.id
                if isinstance(node.value, ast.Call) and isinstance(node.value.args[0], ast.Constant):
                    return str(node.value.args[0].value)
        return None
