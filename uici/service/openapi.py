"""What the OpenAPI document says beyond the routes' signatures: bodies, examples, problems, ways to log in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from uici.model.base import JsonObject, JsonValue
from uici.service.problems import MEDIA_TYPE
from uici.service.requests import TokenBody, WrittenPlan

_REFERENCE: Final = "#/components/schemas/{model}"
Responses = dict[int | str, dict[str, Any]]

CID: Final = "sha256:" + "4f" * 32
STEP: Final[JsonObject] = {"operation": "restart_service", "target": "web", "parameters": {}}
PLAN: Final[JsonObject] = {"environment": "local", "steps": [STEP]}
NOTIFICATION: Final[JsonObject] = {
    "version": "4",
    "groupKey": '{}:{alertname="ServiceDown"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "uici",
    "groupLabels": {"alertname": "ServiceDown"},
    "commonLabels": {"alertname": "ServiceDown", "service": "web"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "ServiceDown", "service": "web", "severity": "critical"},
            "annotations": {"summary": "web does not answer"},
            "startsAt": "2026-01-02T03:04:05.678Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph",
            "fingerprint": "9c1f2a7b3d4e5f60",
        }
    ],
}
INCIDENT: Final[JsonObject] = {
    "id": "inc_01",
    "environment": "local",
    "target": "web",
    "state": "open",
    "outcome": None,
}
PREVIEWS: Final[JsonObject] = {
    "previews": [
        {
            "environment": "cluster",
            "target": "web",
            "outcome": "would be refused by the platform",
            "steps": [
                {
                    "operation": "scale_service",
                    "calls": [
                        {
                            "id": "scale",
                            "name": "workload.scale",
                            "rehearsal": {
                                "answer": "refused",
                                "code": "forbidden",
                                "reason": "exceeded quota: pods, requested: 3, used: 4, limited: 5",
                                "changes": [],
                                "warnings": [],
                            },
                        }
                    ],
                }
            ],
        }
    ]
}
"""Members left out where they say nothing of the platform's answer to a call."""
ACCEPTED: Final[JsonObject] = {"received": 1, "new": 1, "truncated": 0, "refused": 0, "incidents": [INCIDENT]}
_PROBLEM: Final[JsonObject] = {
    "type": "urn:uici:problem:unknown_operation",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "there is no operation 'restart_servise'; did you mean 'restart_service'?",
    "instance": "/api/v1/plans:preview",
    "code": "unknown_operation",
    "where": "/steps/0/operation",
    "allowed": ["restart_service", "start_service"],
}
_PROBLEM_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "urn:uici:problem: and the code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was wrong"},
        "instance": {"type": "string", "description": "the path of the request"},
        "code": {"type": "string", "description": "stable name, for programs"},
        "where": {"type": "string", "description": "JSON pointer, header, parameter, or file:line:column"},
        "allowed": {"type": "array", "items": {"type": "string"}, "description": "what would be right"},
        "hint": {"type": "string", "description": "what to do"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "all that is wrong, at once"},
    },
}
_SECURITY_SCHEMES: Final[JsonObject] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a token from `uici token create`"},
    "basic": {"type": "http", "scheme": "basic", "description": "a token's id or name, and the token as password"},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks, with webhook-id and webhook-timestamp",
    },
    "certificate": {"type": "mutualTLS", "description": "a client certificate to which platform.yml gives a role"},
}


def problems(*statuses: int) -> Responses:
    """The problem responses that a route documents; a route with a token has 401, 403 and 429 anyway."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": _PROBLEM}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 401, 403, 429, 503})
    }


def json_answer(status: int, description: str, example: JsonValue) -> Responses:
    """A JSON response with an example."""
    return {status: {"description": description, "content": {"application/json": {"example": example}}}}


def json_request(schema: JsonObject | type[BaseModel], *examples: JsonObject) -> JsonObject:
    """A JSON body, which the routes read by themselves so that nobody without a token makes them parse."""
    if not isinstance(schema, dict):
        schema = schema.model_json_schema(ref_template=_REFERENCE)
        if "plan" in schema["properties"]:
            schema["properties"]["plan"] = {"$ref": _REFERENCE.format(model=WrittenPlan.__name__)}
    named = {f"example {number}": {"value": example} for number, example in enumerate(examples, 1)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": named}}}}


def security(*schemes: str) -> JsonObject:
    """The ways to log in that a route accepts."""
    return {"security": [{scheme: []} for scheme in schemes]}


TOKEN: Final = security("bearer")


def describe(app: FastAPI) -> None:
    """Let the application's OpenAPI document name problems, ways to log in, and the types inside bodies."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=_TAGS
            )
            components = document.setdefault("components", {})
            components["securitySchemes"] = _SECURITY_SCHEMES
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = _PROBLEM_SCHEMA
            schemas |= _definitions(WrittenPlan) | _definitions(TokenBody)
            for path in document["paths"].values():
                for operation in path.values():
                    if "requestBody" in operation:
                        operation["responses"] |= {str(status): problems(status)[status] for status in (400, 413)}
                    # The framework documents a body of its own for 422; ours are problems.
                    if operation["responses"].get("422", {}).get("content", {}).get("application/json"):
                        operation["responses"]["422"] = problems(422)[422]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _definitions(model: type[BaseModel]) -> JsonObject:
    schema = model.model_json_schema(ref_template=_REFERENCE)
    definitions: JsonObject = schema.pop("$defs", {})
    return definitions | {model.__name__: schema}


_TAGS: Final = [
    {"name": "webhooks", "description": "Where alerts come in."},
    {"name": "catalogue", "description": "What UICI knows: operations, targets, environments."},
    {"name": "incidents", "description": "What is wrong, and what was done about it."},
    {"name": "runs", "description": "Plans, their previews and their durable executions."},
    {"name": "notifications", "description": "Messages to people: what waits, what was given up, and tests."},
    {"name": "learning", "description": "What was learned of remedies, and what people say of them."},
    {"name": "tokens", "description": "Who may do what, and where."},
    {"name": "brake", "description": "Stopping everything new."},
    {"name": "system", "description": "How UICI itself is."},
]
