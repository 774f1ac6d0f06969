"""Recall by meaning: exact, of one's own session alone, rebuilt from the store, and forgotten with the fact."""

from __future__ import annotations

import sqlite3
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from council.configuration import load
from council.memory.fact_store import SHARED
from council.memory.facts import Facts, NotKeptError
from council.memory.vectors import Vectors
from tests.council.fact_places import Place, place
from tests.council.ground import Ground, council
from tests.waiting import until
from uici.catalogue.diagnostics import CatalogueError

SHIPPED = load(None).memory
__all__ = ["place"]
EAST, NORTH, SOUTH = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]


def opened(place: Place, model: str = "m", length: int = 3) -> Facts:
    made = place.facts(vectors=Vectors())
    made.packed(model, [[1.0] * length])
    return made


@pytest.fixture
def facts(place: Place) -> Facts:
    return opened(place)


def tell(facts: Facts, session: str, text: str, vector: list[float], tenant: str = "a") -> str:
    return facts.tell(tenant, session, text, facts.packed("m", [vector])[0]).id


def near(facts: Facts, session: str, vector: list[float], tenant: str = "a", model: str = "m") -> list[str]:
    found = facts.near(tenant, session, facts.packed(model, [vector])[0], 10)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    return [fact.text for fact, cosine in found if cosine > 0.5]


def test_the_nearest_of_one_s_own_session_and_of_what_is_shared(facts: Facts) -> None:
    tell(facts, "one", "Ships sail.", EAST)
    tell(facts, SHARED, "Planes fly.", [0.9, 0.4, 0.0])
    tell(facts, "two", "Others sail.", EAST)
    tell(facts, "one", "Strangers sail.", EAST, tenant="b")
    tell(facts, "one", "Moles dig.", NORTH)
    assert near(facts, "one", EAST) == ["Ships sail.", "Planes fly."]
    assert near(facts, "two", EAST) == ["Others sail.", "Planes fly."]
    assert near(facts, "one", EAST, tenant="b") == ["Strangers sail."]
    assert near(facts, "one", EAST, tenant="c") == []


def test_what_means_the_same_in_other_words_is_not_kept_again(facts: Facts) -> None:
    tell(facts, "one", "My bike is turquoise.", EAST)
    with pytest.raises(NotKeptError) as caught:
        tell(facts, "one", "The bicycle of mine has a blueish green.", [1.0, 0.01, 0.0])
    assert caught.value.code == "duplicate"
    tell(facts, "two", "The bicycle of mine has a blueish green.", [1.0, 0.01, 0.0])
    tell(facts, "one", "My boat is turquoise and old.", [1.0, 0.5, 0.0])


@pytest.mark.parametrize("flushed", [False, True])
def test_what_is_forgotten_has_no_vector_either(place: Place, flushed: bool) -> None:
    facts = opened(place)
    kept = tell(facts, "one", "Ships sail.", [0.123, 0.456, 0.789])
    tell(facts, "one", "Moles dig.", SOUTH)
    if flushed:
        facts.flush()
    assert facts.forget("a", fact=kept) == 1
    assert near(facts, "one", [0.123, 0.456, 0.789]) == []
    assert near(facts, "one", SOUTH) == ["Moles dig."]
    vector = facts.packed("m", [[0.123, 0.456, 0.789]])[0]
    place.close(facts)
    until(lambda: vector not in place.left(), "the disk to have it no more")
    assert struct.pack("<3f", *SOUTH) in place.left()
    again = opened(place)
    assert near(again, "one", [0.123, 0.456, 0.789]) == []
    assert near(again, "one", SOUTH) == ["Moles dig."], "rebuilt from the store"
    assert again.forget("a") == 1
    assert near(again, "one", SOUTH) == []


@pytest.mark.parametrize(("model", "length"), [("m", 4), ("other", 3)])
def test_another_model_or_length_makes_all_vectors_anew(place: Place, model: str, length: int) -> None:
    facts = opened(place)
    tell(facts, "one", "Ships sail.", EAST)
    place.close(facts)
    again = opened(place, model, length)
    vector = [1.0] + [0.0] * (length - 1)
    assert near(again, "one", vector, model=model) == []
    assert [fact.text for fact in again.lacking(10)] == ["Ships sail."]
    again.keep([(fact, again.packed(model, [vector])[0]) for fact in again.lacking(10)])
    assert again.lacking(10) == []
    assert near(again, "one", vector, model=model) == ["Ships sail."]


def test_what_another_process_writes_and_forgets_is_seen(place: Place) -> None:
    one, other = opened(place), opened(place)
    kept = tell(one, "one", "Ships sail.", EAST)
    one.flush()
    assert near(other, "one", EAST) == ["Ships sail."]
    other.forget("a", fact=kept)
    tell(other, "one", "Moles dig.", SOUTH)
    other.flush()
    assert near(one, "one", EAST) == []
    assert near(one, "one", SOUTH) == ["Moles dig."]


def test_what_another_process_forgot_may_be_told_again(place: Place) -> None:
    one, other = opened(place), opened(place)
    kept = tell(one, "one", "Ships sail.", EAST)
    assert near(one, "one", EAST) == near(other, "one", EAST) == ["Ships sail."]
    other.forget("a", fact=kept)
    tell(one, "one", "Vessels are under canvas.", EAST)
    assert near(one, "one", EAST) == ["Vessels are under canvas."]


def test_what_is_forgotten_while_it_waits_elsewhere_has_no_vector_there(place: Place) -> None:
    now = [1_800_000_000.0]
    one = place.facts(clock=lambda: now[0], vectors=Vectors(), flush_seconds=60.0)
    other = place.facts(clock=lambda: now[0], flush_seconds=60.0)
    tell(one, "one", "Moles dig.", [0.9, 0.4, 0.0])
    assert near(one, "one", EAST) == ["Moles dig."]
    kept = tell(one, "one", "Ships sail.", EAST)
    now[0] += 1
    other.forget("a", fact=kept)
    vector = one.packed("m", [EAST])[0]
    assert [fact.text for fact, _ in one.near("a", "one", vector, 1)] == ["Moles dig."]


def means(text: str) -> list[float]:
    """What a model would say of these texts."""
    plain = text.lower()
    if "bike" in plain or "bicycle" in plain or "two-wheeler" in plain:
        return EAST
    return NORTH if "dig" in plain else SOUTH


def served(folder: Path, **memory: Any) -> Any:
    vectors = {"retry_seconds": 0.1, "wait_seconds": 30, **memory.pop("vectors", {})}
    backends = {"agent-0": {"kind": "recall"}}
    stages = [{"name": "agent-0", "backends": {"agent-0": 1}}]
    memory = {"state": str(folder / "memory.db"), "vectors": vectors, "empty_words": SHIPPED.empty_words, **memory}
    return council(folder, "one", stages=stages, memory=memory, also=backends)


def chat(ground: Ground, message: str) -> str:
    answer = ground.http().post("/chat", json={"message": message, "session": "s"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["answer"])


def test_agent_0_answers_by_meaning_and_survives_embeddings_that_fail(tmp_path: Path) -> None:
    with served(tmp_path) as ground:
        server = ground.servers["one"]
        server.embeds = means
        chat(ground, "My bike is turquoise.")
        assert chat(ground, "Any idea which shade the two-wheeler has?") == "My bike is turquoise."
        assert chat(ground, "Where is Paris?") == "I don't know."
        server.embeds = lambda text: []
        chat(ground, "Moles dig at night.")
        assert chat(ground, "When do moles dig?") == "Moles dig at night.", "words alone are enough"
        server.embeds = means
        # Made up for beside the requests.
        until(lambda: chat(ground, "Who would be digging here?") == "Moles dig at night.", "the missing vector")


def test_vectors_of_another_length_replace_those_before_while_it_serves(tmp_path: Path) -> None:
    with served(tmp_path) as ground:
        server = ground.servers["one"]
        server.embeds = means
        chat(ground, "My bike is turquoise.")
        server.embeds = lambda text: [*means(text), 0.0, 0.0]
        question = "Any idea which shade the two-wheeler has?"
        until(lambda: chat(ground, question) == "My bike is turquoise.", "all vectors to be made anew")


def test_what_is_old_is_archived_while_it_serves(tmp_path: Path) -> None:
    with served(tmp_path, archive_every_seconds=0.1) as ground:
        ground.servers["one"].embeds = means
        http = ground.http()
        for text in ("My bike is turquoise.", "Moles dig at night."):
            http.post("/memory", json={"text": text}).raise_for_status()
        assert len(http.get("/memory").json()["facts"]) == 2
        with sqlite3.connect(tmp_path / "memory.db", timeout=30) as other:
            other.execute("UPDATE facts SET told_at = ? WHERE text LIKE 'Moles%'", (time.time() - 31 * 86_400,))
        until(lambda: len(http.get("/memory").json()["facts"]) == 1, "what is old to be archived")
        assert chat(ground, "Who would be digging here?") == "I don't know."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("memory: {vectors: {}}", "no_embeddings"),
        (
            "memory: {vectors: {}}\nembeddings: b\n"
            "backends: {b: {url: 'http://x/v1', model: m, embedding_model: e, price: {request: 1}}}",
            "embeddings_cost",
        ),
    ],
)
def test_vectors_need_somebody_who_makes_them_for_nothing(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "agents.yml").write_text(text)
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path)
    assert [each.code for each in caught.value.diagnostics] == [code]
