"""LoRA adapters beside their model, each a route by its own name; the double and a real vLLM say the same of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.council.ground import Ground, council
from tests.doubles.model_server import Said, model_server
from tests.real.vllm import Vllm

ASKED: Any = [{"role": "user", "content": "Is it down?"}]


@dataclass
class Server:
    """A server with a model and one adapter beside it."""

    url: str
    base: str
    adapter: str


@pytest.fixture(params=["double", pytest.param("vllm", marks=[pytest.mark.component("vllm"), pytest.mark.vllm])])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "vllm":
        real: Vllm = request.getfixturevalue("vllm_server")
        yield Server(real.url, real.model, real.adapter)
        return

    def says(body: dict[str, Any]) -> Said:
        if body["model"] in ("tiny", "care"):
            return Said(f"I am {body['model']}.")
        # What vLLM 0.32 says.
        told = f"The model `{body['model']}` does not exist. Valid aliases: tiny."
        return Said(status=404, error={"message": told, "type": "NotFoundError", "param": "model", "code": 404})

    with model_server() as double:
        double.says = double.said_of_embeddings = says
        yield Server(double.url, "tiny", "care")


@pytest.fixture
def ground(server: Server, tmp_path: Path) -> Iterator[Ground]:
    models = {"base": server.base, "care": server.adapter, "lost": "never-loaded"}
    stages = {name: {"name": name, "backends": {name: 1}, "prior": 0.9} for name in models}
    routes = {
        "council": {"stages": [stages["base"]]},
        "care": {"stages": [stages["care"]]},
        "lost": {"stages": [stages["lost"]]},
        "careful": {"stages": [stages["lost"], stages["care"]]},
    }
    backends = {name: {"url": server.url, "model": model, "connect_seconds": 60} for name, model in models.items()}
    backends["care"]["embedding_model"] = "never-embedded"
    with council(tmp_path, "unused", backends=backends, routes=routes, embeddings="care") as ground:
        yield ground


def said(ground: Ground, route: str, **more: Any) -> Any:
    asked = {"model": route, "messages": ASKED, "max_tokens": 8, "temperature": 0, **more}
    return ground.http().post("/v1/chat/completions", json=asked)


def test_a_request_goes_to_the_adapter_that_its_route_names(ground: Ground, server: Server) -> None:
    assert [each.id for each in ground.client().models.list()] == ["council", "care", "lost", "careful"]
    base, adapted = said(ground, "council").json(), said(ground, "care").json()
    assert (base["model"], adapted["model"]) == (server.base, server.adapter)
    assert [each["backend"] for each in adapted["council"]["stages"]] == ["care"]
    # It is not the model beside it that answers.
    assert base["choices"][0]["message"]["content"] != adapted["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_adapter_that_is_not_loaded_is_said_clearly_and_the_next_stage_is_asked(
    ground: Ground, server: Server, stream: bool
) -> None:
    refused = said(ground, "lost", stream=stream)
    assert refused.status_code == 502
    error = refused.json()["error"]
    assert error["code"] == "backend_lacks_model"
    assert "lost does not serve the model 'never-loaded'; load it there" in error["message"]
    assert "backends.lost.model in agents.yml" in error["message"]
    if stream:
        return
    answered = said(ground, "careful").json()
    lost, care = answered["council"]["stages"]
    assert (lost["accepted"], care["backend"], answered["model"]) == (False, "care", server.adapter)
    assert lost["reason"].startswith("lost does not serve the model 'never-loaded'")


@pytest.mark.parametrize("server", ["double"], indirect=True)
def test_a_model_for_embeddings_that_is_not_loaded_is_the_one_that_is_named(ground: Ground) -> None:
    refused = ground.http().post("/v1/embeddings", json={"model": "any", "input": "Ships sail."})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (502, "backend_lacks_model"), refused.text
    assert "care does not serve the model 'never-embedded'; load it there" in error["message"]
    assert "backends.care.embedding_model in agents.yml" in error["message"]
