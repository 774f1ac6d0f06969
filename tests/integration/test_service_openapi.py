"""The API's own description is complete: what it shows is true, and nothing is left undescribed."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.integration.service_rig import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("openapi")) as served:
        yield served


@pytest.fixture(scope="module")
def document(served: Served) -> dict[str, Any]:
    described: dict[str, Any] = served.client.get("/openapi.json").json()
    return described


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = [each["$ref"] for each in walk(document) if isinstance(each.get("$ref"), str)]
    assert references
    assert {each.rsplit("/", 1)[1] for each in references} <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        if operation["security"]:
            assert {"401", "403", "503"} <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            if status.startswith("4"):
                assert list(response["content"]) == ["application/problem+json"], (name, status)


def test_examples_of_bodies_satisfy_their_schemas(document: dict[str, Any]) -> None:
    seen = 0
    for name, operation in operations(document):
        if "requestBody" not in operation:
            assert not name.startswith("post"), name
            continue
        content = operation["requestBody"]["content"]["application/json"]
        assert content["examples"], name
        schema = content["schema"] | {"components": document["components"]}
        for example in content["examples"].values():
            if "alerts" in example["value"] and name.endswith("plans:preview"):
                continue  # the sender's own format, beside the described one
            jsonschema.Draft202012Validator(schema).validate(example["value"])
            seen += 1
    assert seen >= 8


def test_a_problem_is_as_described(served: Served, document: dict[str, Any]) -> None:
    problem = served.client.get("/api/v1/runs").json()
    jsonschema.Draft202012Validator(document["components"]["schemas"]["Problem"]).validate(problem)


def test_no_page_that_loads_code_from_elsewhere(served: Served) -> None:
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert served.client.get(path).status_code == 404
