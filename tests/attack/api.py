"""Requests made from the API's own description, and what every answer to them must be.

Schemathesis draws requests that fit the description and others that break it in one place. An answer is good when the
description foretells its status, its type and its content, and when it is no failure of the server's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from tests.integration.service_rig import DEADLINE, Served
from uici.access.roles import Role

load_all_checks()

_CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# A stream never ends; its document does.
ACCEPT = "application/json, application/problem+json"


def attack(
    served: Served, known: Mapping[str, list[str]], *, examples: int, number: int
) -> tuple[Counter[int], list[str]]:
    """Send `examples` requests to every operation; the statuses of the answers, and what was wrong with any.

    `known` are values of path parameters under which there is something. The same `number` draws the same requests.
    """
    description = served.client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description)
    seen: Counter[int] = Counter()
    wrong: list[str] = []
    with requests.Session() as session:
        session.trust_env = False
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            try:
                _attack(served, operation, known, session, examples, number, seen)
            except (AssertionError, FailureGroup) as failure:
                wrong.append(f"{operation.label}: {failure}")
    return seen, wrong


def _attack(
    served: Served,
    operation: APIOperation[Any, Any, Any, Any],
    known: Mapping[str, list[str]],
    session: requests.Session,
    examples: int,
    number: int,
    seen: Counter[int],
) -> None:
    headers = {"Authorization": f"Bearer {sharpest(served, operation.path)}", "Accept": ACCEPT}
    cases = operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE)

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases, st.data())
    def attack_operation(case: Case[Any], data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            if known.get(name) and data.draw(st.booleans()):
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
        answer = case.call(served.url, session=session, headers=headers, timeout=DEADLINE)
        seen[answer.status_code] += 1
        if answer.status_code >= 500:
            assert answer.status_code == 503, answer.text
            assert "retry-after" in answer.headers, answer.text
        case.validate_response(answer, checks=_CHECKS)

    try:
        attack_operation()
    except SystemError as error:
        # Hypothesis parses its own source while the service's thread parses some for a traceback, which CPython could
        # not do at the same time (https://github.com/python/cpython/issues/106905).
        if "recursion depth mismatch" not in str(error):
            raise
        attack_operation()


def sharpest(served: Served, path: str) -> str:
    """The token that gets furthest at a path."""
    return served.tokens[Role.ALERTMANAGER if path.startswith("/webhooks/") else Role.ADMIN]
