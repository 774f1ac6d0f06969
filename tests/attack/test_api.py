"""The whole API under requests drawn from its own description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.service_rig import MAX_BODY, Served, alert, notification, serving

EXAMPLES = 3
"""Of each operation; `make attack` sends far more."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("api")) as served:
        yield served


# The service is a thread of this process; what it draws is not drawn by a strategy.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_every_answer_is_foretold(served: Served) -> None:
    from tests.attack.api import attack  # here, because what it draws with takes two seconds of each worker to load

    (incident,) = served.alert(notification(alert())).json()["incidents"]
    known = {"incident_id": [incident["id"]], "name": ["web", "restart_service"]}
    seen, wrong = attack(served, known, examples=EXAMPLES, number=0)
    assert not wrong, "\n\n".join(wrong)
    assert {200, 400, 404, 422} <= set(seen), f"the requests reached too little: {seen}"


def test_every_operation_that_takes_a_body_refuses_what_is_too_large_and_says_so(served: Served) -> None:
    from tests.attack.api import sharpest  # here, as above

    description: dict[str, Any] = served.client.get("/openapi.json").json()
    taking = [
        (path, operation)
        for path, methods in description["paths"].items()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    assert len(taking) > 10
    for path, operation in taking:
        assert {"400", "413"} <= set(operation["responses"]), path
        answer = served.request("POST", path, sharpest(served, path), content=b" " * (MAX_BODY + 1))
        assert answer.status_code == 413, path
        answer = served.request("POST", path, sharpest(served, path), content=b"{")
        assert answer.status_code == 400, path


def test_the_allowed_methods_are_those_of_the_path(served: Served) -> None:
    for path, methods in (("/api/v1/runs/x:approve", "POST"), ("/api/v1/runs/x", "GET"), ("/api/v1/runs/x:y", "GET")):
        assert served.as_admin("DELETE", path).headers["allow"] == methods, path
