"""The loader over arbitrary input: it answers with a site or with diagnostics, and with nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uici.catalogue.diagnostics import CatalogueError, Diagnostic, Report
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.catalogue.locations import shipped_config, shipped_operations
from uici.catalogue.overlaying import FILES
from uici.catalogue.reading import read_bytes

EXECUTORS = discover_executors()
SHIPPED = {name: (shipped_config() / name).read_text() for name in FILES}

YAML_TEXT = st.text(alphabet=st.sampled_from("ab12 \n:-[]{}&*!|>'\"#%,?~.<\t\\\u00e9\x07"), max_size=60)
WORDS = st.sampled_from(
    [
        "on",
        "yes",
        "0x10",
        "1_000",
        "12e456789012",
        "2026-01-02",
        "null",
        "true",
        "~",
        "<<",
        "1.0",
        "017",
        "",
        "${x}",
        "=",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=12) | WORDS
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | WORDS, inner, max_size=4),
    max_leaves=12,
)


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every part of a document, as what holds it and the key or number there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places_of(value[key])


def outcome(folder: Path) -> list[str]:
    diagnostics: tuple[Diagnostic, ...] = ()
    try:
        load_site(folder, executors=EXECUTORS)
    except CatalogueError as error:
        diagnostics = error.diagnostics
        told = str(error)
    else:
        return []
    assert diagnostics
    assert told.count("\n") >= len(diagnostics) - 1
    assert all(each.line >= 1 and each.column >= 1 and each.code.isidentifier() for each in diagnostics)
    return [each.code for each in diagnostics]


@given(
    st.binary(max_size=80)
    | YAML_TEXT.map(str.encode)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
@example(b"a: &a [*a, *a]")
@example(b'a: "\\ud800"')
@example(b"? \n")
@example(b"\xff\xfea\x00")
def test_any_bytes_give_a_node_or_diagnostics(data: bytes) -> None:
    report = Report()
    node = read_bytes(data, "x.yml", report)
    assert node is not None or report
    if node is not None:
        json.dumps(node.plain(), allow_nan=False)


@given(st.sampled_from(sorted(FILES)), VALUES)
@settings(max_examples=60, deadline=None)
def test_any_value_in_any_file_gives_a_site_or_diagnostics(name: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(json.dumps(value))
        outcome(Path(folder))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_shipped_file_with_one_part_replaced_never_breaks_the_loader(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    document = yaml.safe_load(SHIPPED[name])
    # A copy without shared parts, of which one node is replaced by anything.
    document = json.loads(json.dumps(document, default=str))
    places = list(places_of(document))
    parent, key = data.draw(st.sampled_from(places))
    parent[key] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(json.dumps(document))
        outcome(Path(folder))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_verb_with_one_part_replaced_never_breaks_the_loader(data: st.DataObject) -> None:
    document = json.loads(json.dumps(yaml.safe_load((shipped_operations() / "reload_service.yml").read_text())))
    places = list(places_of(document))
    parent, key = data.draw(st.sampled_from(places))
    parent[key] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "operations").mkdir()
        (Path(folder) / "operations" / "other_verb.yml").write_text(json.dumps(document))
        outcome(Path(folder))


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=40, deadline=None)
def test_a_shipped_file_cut_anywhere_never_breaks_the_loader(name: str, data: st.DataObject) -> None:
    text = SHIPPED[name]
    cut = data.draw(st.integers(0, len(text)))
    inserted = data.draw(YAML_TEXT)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(text[:cut] + inserted)
        outcome(Path(folder))


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.integers(0, 9), min_size=1, max_size=6), st.data()
)
def test_a_key_written_twice_is_always_found(mapping: dict[str, int], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(mapping)))
    lines = [f"{name}: {value}" for name, value in mapping.items()]
    lines.insert(data.draw(st.integers(0, len(lines))), f"{key}: 1")
    report = Report()
    node = read_bytes("\n".join(lines).encode(), "x.yml", report)
    assert node is not None
    assert [diagnostic.code for diagnostic in report] == ["duplicate_key"]
    first, second = (number for number, line in enumerate(lines, start=1) if line.startswith(f"{key}:"))
    assert (report[0].line, f"line {first}," in report[0].text) == (second, True)


@given(VALUES.filter(lambda value: isinstance(value, dict)))
def test_json_is_read_as_json(value: dict[str, Any]) -> None:
    report = Report()
    node = read_bytes(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), "x.yml", report)
    if not report:
        assert node is not None
        assert node.plain() == value


@given(
    st.dictionaries(st.sampled_from(["max_concurrent", "max_per_hour"]), st.integers(1, 99)),
    st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_what_a_site_does_not_say_stays_shipped(limits: dict[str, int], cooldown: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        document: dict[str, Any] = {"blast_radius": limits}
        if cooldown:
            document["cooldown"] = {"seconds": 1}
        (Path(folder) / "policies.yml").write_text(json.dumps(document))
        policies = load_site(Path(folder), executors=EXECUTORS).policies
    shipped = load_site(None, executors=EXECUTORS).policies
    for name in ("max_concurrent", "max_per_hour", "min_healthy"):
        assert getattr(policies.blast_radius, name) == limits.get(name, getattr(shipped.blast_radius, name))
    assert policies.cooldown.seconds == (1 if cooldown else shipped.cooldown.seconds)
    assert (policies.risk, policies.approval, policies.autonomy) == (shipped.risk, shipped.approval, shipped.autonomy)
