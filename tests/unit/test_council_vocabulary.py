"""The closed vocabulary of a model, made from the shipped catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.unit.test_catalogue_loading import problems
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject, JsonValue
from uici.model.council import CouncilSettings
from uici.model.operation import BUILTIN
from uici.model.site import Site
from uici.planning.council.answers import HandOver, decision_of
from uici.planning.council.prompt import question
from uici.planning.council.vocabulary import Vocabulary, vocabulary_of

SETTINGS = CouncilSettings(url="http://127.0.0.1:1/v1")
KEYWORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"}
KEYWORDS |= {"maxLength", "minItems", "maxItems"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "targets.yml").write_text(
        """
targets:
  shop: {group: shops, depends_on: [db], bindings: {kubernetes: {kind: Deployment, name: shop, namespace: shop}}}
  shop2: {group: shops, bindings: {kubernetes: {kind: Deployment, name: shop2, namespace: shop}}}
  db: {bindings: {kubernetes: {kind: StatefulSet, name: db, namespace: shop}}}
  other: {bindings: {kubernetes: {kind: Deployment, name: other, namespace: shop}}}
"""
    )
    return load_site(folder, executors=discover_executors())


def words_of(site: Site, **settings: Any) -> Vocabulary:
    return vocabulary_of(site, "kubernetes", "shop", SETTINGS.model_copy(update=settings))


def keywords(schema: JsonValue) -> Iterator[str]:
    """Every keyword of a schema; names of properties are none."""
    if isinstance(schema, list):
        for each in schema:
            yield from keywords(each)
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        yield key
        yield from keywords(list(value.values()) if key == "properties" else value if key != "enum" else None)


def answer(kind: str, **more: object) -> JsonObject:
    return {"reasoning": "because", "decision": {"kind": kind, **more}}


def step(operation: str, target: str = "shop", **parameters: object) -> JsonObject:
    return {"operation": operation, "target": target, "parameters": parameters}


def test_every_operation_that_the_platform_has_is_offered_but_for_those_that_never_are(site: Site) -> None:
    expected = {
        name
        for name, operation in site.operations.items()
        if any(key in operation.translations and operation.translations[key].calls for key in ("kubernetes", BUILTIN))
    }
    assert set(words_of(site).operations) == expected - set(SETTINGS.never)
    assert set(SETTINGS.never) <= expected
    assert set(SETTINGS.triage) <= set(words_of(site).reading)
    assert set(words_of(site, operations=("restart_service", "silence_alert")).operations) == {"restart_service"}


def test_only_the_target_is_acted_on_and_its_neighbours_are_looked_at(site: Site) -> None:
    words = words_of(site)
    assert (words.target, set(words.readable)) == ("shop", {"shop", "shop2", "db"})


ALLOWED = [
    answer("act", steps=[step("restart_service")]),
    answer("act", steps=[step("scale_service", replicas=3), step("restart_service")]),
    answer("look", operations=[step("check_logs", "db")]),
    answer("hand_over", because="I do not know"),
    answer("hand_over", because="no verb", missing_verb={"name": "flush", "summary": "s", "how": "h"}),
]
REFUSED = [
    answer("act", steps=[step("restart_service", "db")]),
    answer("act", steps=[step("restart_service", "other")]),
    answer("act", steps=[step("silence_alert")]),
    answer("act", steps=[step("no_such_verb")]),
    answer("act", steps=[step("restart_service", command="sh")]),
    answer("act", steps=[]),
    answer("act", steps=[step("restart_service")], confidence=1),
    answer("look", operations=[step("restart_service")]),
    answer("look", operations=[step("check_logs", "other")]),
    answer("approve"),
    {**answer("hand_over", because="x"), "approved": True},
]


def test_the_schema_holds_what_may_be_said_in_keywords_that_servers_take(site: Site) -> None:
    schema = words_of(site).schema(may_look=True)
    Draft202012Validator.check_schema(schema)
    assert set(keywords(schema)) <= KEYWORDS
    validator: Any = Draft202012Validator(schema)
    for allowed in ALLOWED:
        validator.validate(allowed)
    for refused in REFUSED:
        with pytest.raises(ValidationError):
            validator.validate(refused)


def test_once_all_looks_are_used_up_there_is_no_word_for_looking(site: Site) -> None:
    validator: Any = Draft202012Validator(words_of(site).schema(may_look=False))
    with pytest.raises(ValidationError):
        validator.validate(ALLOWED[2])
    validator.validate(ALLOWED[0])


def test_control_characters_that_a_server_lets_through_are_no_part_of_what_people_read(site: Site) -> None:
    text = '{"reasoning": "a\x07b\x1b[2Jc\nd", "decision": {"kind": "hand_over", "because": "\\u009bx"}}'
    decision = decision_of(text, words_of(site), site, "kubernetes", may_look=True)
    assert isinstance(decision, HandOver)
    assert (decision.reasoning, decision.because) == ("a b [2Jc\nd", " x")


def test_a_question_has_its_size_and_keeps_every_operation(site: Site) -> None:
    words = words_of(site)
    flood: JsonObject = {"observations": [{"result": {"lines": ["x" * 1000] * 3000}}]}
    asked = question(words, SETTINGS, flood, looks_left=3)
    text = asked.messages[1]["content"]
    assert len(json.dumps(json.loads(text))) < 2 * SETTINGS.prompt_bytes
    assert {item["operation"] for item in json.loads(text)["operations"]} == set(words.operations)
    again = question(words, SETTINGS, flood, looks_left=3)
    other = question(words, SETTINGS, flood, looks_left=2)
    assert asked.digest == again.digest != other.digest
    with pytest.raises(ValueError, match=r"raise it, or name fewer in council\.operations"):
        question(words, SETTINGS.model_copy(update={"prompt_bytes": 16_384}), flood, looks_left=3)


def test_wrong_names_are_told_where_they_stand(tmp_path: Path) -> None:
    written = """
council:
  url: http://127.0.0.1:8310/v1
  triage:
    restart_service: {}
    check_logs: {lines: many}
  operations: [restart_servise]
  never: [no_such_verb]
"""
    found = problems(tmp_path, platform=written)
    assert [(item.line, item.code) for item in found] == [
        (5, "not_read_only"),
        (6, "wrong_type"),
        (7, "unknown_operation"),
        (8, "unknown_operation"),
    ]
    assert "did you mean 'restart_service'?" in str(found[2])
