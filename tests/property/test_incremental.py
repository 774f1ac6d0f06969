"""Loading again what changed gives the same as loading everything: the same site, or the same diagnostics."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uici.catalogue.diagnostics import CatalogueError, Diagnostic
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import Catalogue, load_site
from uici.catalogue.tree import Tree
from uici.model.site import Site
from uici.translation.verb_tests import VerbProver, run_verb_tests

EXECUTORS = discover_executors()

READER = """
operation: {{summary: it looks, risk: low, mutates: false, returns: {{{field}: what}}}}
translations:
  local: {{calls: [{{call: program.status, arguments: {{target: "${{target}}"}}}}]}}
  docker: {{calls: [{{call: container.status, arguments: {{target: "${{target}}"}}}}]}}
tests:
  - {{name: t, platform: local, target: {{program: p}}, expect: [{{call: program.status, arguments: {{target: {{program: {seen}}}}}}}]}}
"""  # noqa: E501 - a file as people write it
CHANGER = """
operation:
  summary: it changes
  risk: medium
  mutates: true
  parameters: {{level: {{type: integer, maximum: {maximum}}}}}
  reversible: false
  irreversible_because: it is only a test
  verification: {{read: {reads}, expect: [{{field: {field}, equals: 1}}]}}
translations:
  local: {{calls: [{{call: program.restart, arguments: {{target: "${{target}}"}}}}]}}
  docker: {{calls: [{{call: container.restart, arguments: {{target: "${{target}}"}}}}]}}
tests:
  - {{name: t, platform: local, target: {{program: p}}, expect: [{{call: program.restart, arguments: {{target: {{program: p}}}}}}]}}
"""  # noqa: E501 - a file as people write it
BROKEN = ["operation: [", "operation: {summary: it looks}\n", "a: 1\na: 2\n", ""]
TABLED = "translations: {look: {kubernetes: {unsupported: there is no cluster here}}}\n"
CHOICES: dict[str, list[str]] = {
    "operations/look.yml": [
        *(READER.format(field=field, seen=seen) for field, seen in (("one", "p"), ("two", "p"), ("one", "q"))),
        *BROKEN,
    ],
    "operations/turn.yml": [
        *(
            CHANGER.format(reads=reads, field=field, maximum=maximum)
            for reads, field, maximum in (
                ("look", "one", 3),
                ("look", "two", 3),
                ("gaze", "one", 3),
                ("get_service_status", "state", 9),
                ("turn", "one", 3),
            )
        ),
        BROKEN[0],
    ],
    "operations/restart_service.yml": [READER.format(field="one", seen="p")],
    "operations/Wrong-Name.yml": [READER.format(field="one", seen="p")],
    "operations.yml": [
        "operations: {gaze: {summary: it gazes, risk: low, mutates: false, returns: {one: what}}}\n",
        "operations: {get_service_status: null}\n",
        "operations: {look: {summary: it gazes, risk: low, mutates: false}}\n",
        "operation: {}\n",
    ],
    "command_translations.yml": [
        TABLED,
        "translations: {look: {local: {unsupported: it is written twice now}}}\n",
        "translations: {nowhere: {local: {unsupported: it is nowhere at all}}}\n",
    ],
    "strategies.yml": [
        *(
            f"strategies: {{s: {{match: [a=b], remedies: [{{name: r, steps: [{{operation: turn, {level}}}]}}]}}}}\n"
            for level in ("parameters: {level: 2}", "parameters: {level: 5}")
        ),
        "strategies: {s: {match: ['a=b'], diagnose: [look], remedies: [{name: r, steps: [restart_service]}]}}\n",
    ],
    "findings.yml": ["findings: {f: {summary: s, when: [{operation: look, all: [{field: two, equals: 1}]}]}}\n"],
    "environments.yml": ["environments: {docker: null}\n", "environments: {cluster: {platform: kubernetes}}\n"],
    "targets.yml": ["targets: {t: {bindings: {local: {program: p, command: [a]}}}}\n", "targets: {t: {}}\n"],
    "targts.yml": ["targets: {}\n"],
    "guides/mine.md": [
        "---\ntitle: Mine\n---\nRead this.\n",
        "---\ntitle: Mine\nfindings: [f]\nstrategies: [s]\ntargets: [t]\n---\nRead that.\n",
        "---\n",
        "",
    ],
}
CHANGES = st.lists(
    st.sampled_from(sorted(CHOICES)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from([*CHOICES[name], None]))
    ),
    min_size=1,
    max_size=3,
)


def all_of(folder: Path) -> Site | tuple[Diagnostic, ...]:
    try:
        return load_site(folder, executors=EXECUTORS)
    except CatalogueError as error:
        return error.diagnostics


def again(catalogue: Catalogue) -> Site | tuple[Diagnostic, ...]:
    try:
        return catalogue.load()
    except CatalogueError as error:
        return error.diagnostics


LOOK, TURN, RULE = (CHOICES[name] for name in ("operations/look.yml", "operations/turn.yml", "strategies.yml"))


@pytest.mark.timeout(600)  # it loads the whole catalogue some hundred times, which is half a minute of a processor
@given(st.lists(CHANGES, min_size=1, max_size=8))
@example(  # a rule that a change of its verb breaks, a verb that a change of its reader breaks, and both mended
    [
        [("operations/look.yml", LOOK[0]), ("operations/turn.yml", TURN[3]), ("strategies.yml", RULE[1])],
        [("operations/turn.yml", TURN[0])],
        [("operations/look.yml", LOOK[1])],
        [("strategies.yml", None), ("operations/look.yml", LOOK[0])],
    ]
)
@settings(max_examples=30, deadline=None)
def test_loading_again_is_loading_everything(rounds: list[list[tuple[str, str | None]]]) -> None:
    numbers = count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "operations").mkdir()
        (folder / "guides").mkdir()
        catalogue, prover = Catalogue(Tree(folder), executors=EXECUTORS), VerbProver(EXECUTORS)
        assert again(catalogue) == all_of(folder)
        for changes in rounds:
            for file, text in changes:
                if text is None:
                    (folder / file).unlink(missing_ok=True)
                else:
                    # A new file in the place of the old one, as editors write, so that no change is too quick to see.
                    fresh = folder / f"fresh{next(numbers)}"
                    fresh.write_text(text)
                    fresh.replace(folder / file)
            whole, part = all_of(folder), again(catalogue)
            assert part == whole
            if isinstance(whole, Site) and isinstance(part, Site):
                assert prover.failures(part) == run_verb_tests(whole, EXECUTORS)
                assert list(part.operations) == list(whole.operations)


def test_what_did_not_change_is_not_read_again() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "operations").mkdir()
        for verb in ("look", "gaze"):
            (folder / "operations" / f"{verb}.yml").write_text(READER.format(field="one", seen="p"))
        catalogue = Catalogue(Tree(folder), executors=EXECUTORS)
        before = catalogue.load()
        (folder / "operations" / "gaze.yml").write_text(READER.format(field="three", seen="p"))
        after = catalogue.load()
        assert after.operations["look"] is before.operations["look"]
        assert after.operations["gaze"] is not before.operations["gaze"]
        assert after.strategies is before.strategies
