"""Guides: read, checked, laid over what ships, followed, and found for an incident."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from council.cli import app as council_app
from tests.documents import Commands, problems_of_command
from uici.catalogue.diagnostics import CatalogueError, Diagnostic
from uici.catalogue.executors import discover_executors
from uici.catalogue.listing import counted
from uici.catalogue.loading import Catalogue, load_site
from uici.catalogue.locations import GUIDES, shipped_config
from uici.catalogue.schema import GUIDE_FILE, json_schema
from uici.catalogue.tree import Tree
from uici.cli.app import app as uici_app
from uici.model.guide import MAX_BYTES, Guide
from uici.model.matching import Matcher
from uici.model.site import Site

EXECUTORS = discover_executors()
SHIPPED = sorted((shipped_config() / GUIDES).glob("*.md"))
WHOLE = """---
title: Payment is slow
alerts: ['alertname=~"Payment.*"']
findings: [hanging]
targets: [pay*]
strategies: [latency]
tags: [money]
---
# First

Then *this*.
---
The line above is a rule.
"""


class Sites:
    """One site whose guides are others each time: only they are read anew, as in a server that follows its files."""

    def __init__(self, folder: Path) -> None:
        self.guides = folder / GUIDES
        self.guides.mkdir()
        self._catalogue = Catalogue(Tree(folder), executors=EXECUTORS)
        self._times = count(1)

    def load(self, **guides: str | bytes) -> Site:
        for path in self.guides.iterdir():
            path.unlink()
        for name, text in guides.items():
            self.write(name, text)
        return self._catalogue.load()

    def write(self, name: str, text: str | bytes) -> None:
        path = self.guides / f"{name}.md"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        os.utime(path, ns=(time := next(self._times), time))  # no two alike, however quick they come

    def again(self) -> Site:
        return self._catalogue.load()

    def problems(self, **guides: str | bytes) -> list[Diagnostic]:
        with pytest.raises(CatalogueError) as caught:
            self.load(**guides)
        return list(caught.value.diagnostics)

    def titled(self, **heads: str) -> Site:
        return self.load(**{name: f"---\ntitle: {name}\n{head}\n---\n" for name, head in heads.items()})


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    return Sites(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def shipped(sites: Sites) -> Site:
    return sites.load()


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_guide_is_read_whole(sites: Sites) -> None:
    guide = sites.load(payment=WHOLE).guides["payment"]
    assert (guide.name, guide.title, guide.tags) == ("payment", "Payment is slow", ("money",))
    assert guide.text == "# First\n\nThen *this*.\n---\nThe line above is a rule.\n"


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_windows_writes_guides_too(sites: Sites, change: Callable[[str], str]) -> None:
    assert sites.load(payment=change(WHOLE)).guides == sites.load(payment=WHOLE).guides


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("# No head\n", "no_head", (1, 1)),
        ("---\ntitle: Open\n", "no_head", (1, 1)),
        ("---\n---\nNothing in it.\n", "missing_key", (1, 1)),
        ("---\ntitle: T\ntitel: T\n---\n", "unknown_key", (3, 1)),
        ("---\ntitle: T\nalerts: [Down]\n---\n", "wrong_value", (3, 10)),
        ("---\ntitle: [T\n---\n", "bad_yaml", (3, 1)),
        ("---\ntitle: T\nfindings: [hanging, hangin]\n---\n", "unknown_finding", (3, 21)),
        ("---\ntitle: T\nstrategies: [service_downs]\n---\n", "unknown_strategy", (3, 14)),
        ("---\ntitle: T\ntargets: [nobody, no*]\n---\n", "unknown_target", (3, 11)),
        (b"---\ntitle: T\n---\nfine\n\xff\n", "not_utf8", (5, 1)),
        (b"---\ntitle: \xff\n---\n", "not_utf8", (2, 8)),
        ("---\ntitle: T\n---\n" + "x" * MAX_BYTES, "file_too_large", (1, 1)),
        ("", "nothing_to_remove", (1, 1)),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(
    sites: Sites, text: str | bytes, code: str, place: tuple[int, int]
) -> None:
    (found,) = sites.problems(mine=text)
    assert (found.code, (found.line, found.column)) == (code, place)
    assert found.file == str(sites.guides / "mine.md")


def test_a_name_that_is_nearly_right_is_suggested(sites: Sites) -> None:
    (found,) = sites.problems(mine="---\ntitle: T\nstrategies: [service_downs]\n---\n")
    assert found.suggestion == "service_down"
    assert "crash_loop" in found.choices


def test_a_folder_that_is_none_and_a_name_that_is_none_are_told(sites: Sites, tmp_path: Path) -> None:
    (found,) = sites.problems(**{"a b": WHOLE})
    assert found.code == "wrong_name"
    (tmp_path / GUIDES).write_text("")
    with pytest.raises(CatalogueError) as caught:
        load_site(tmp_path, executors=EXECUTORS)
    assert [each.code for each in caught.value.diagnostics] == ["unreadable_folder"]


# --- over what ships ------------------------------------------------------------------------------------------------


def test_a_sites_guide_lies_over_the_shipped_one_and_an_empty_one_takes_it_away(sites: Sites, shipped: Site) -> None:
    site = sites.load(**{"disk-full": "---\ntitle: Ours\n---\n", "replica-lag": "", ".#edited": "half"})
    assert site.guides["disk-full"].title == "Ours"
    assert set(shipped.guides) - set(site.guides) == {"replica-lag"}


def test_a_site_may_take_away_what_a_shipped_guide_names(tmp_path: Path) -> None:
    (tmp_path / "strategies.yml").write_text("strategies: {replica_lag: null}")
    assert "replica-lag" in load_site(tmp_path, executors=EXECUTORS).guides


def test_only_what_changed_is_read_again(sites: Sites) -> None:
    before = sites.titled(one="", two="").guides
    sites.write("two", "---\ntitle: Other\n---\n")
    after = sites.again().guides
    assert after["one"] is before["one"]
    assert after["two"].title == "Other"
    (sites.guides / "two.md").unlink()
    assert "two" not in sites.again().guides


# --- found for an incident ------------------------------------------------------------------------------------------


def test_the_more_of_it_applies_the_earlier_it_comes(sites: Sites) -> None:
    site = sites.titled(
        a_alert="alerts: ['alertname=\"Odd\"']",
        b_both="alerts: ['alertname=\"Odd\"']\nstrategies: [latency]",
        c_all="alerts: ['alertname=\"Odd\"']\nstrategies: [latency]\ntargets: ['pay*']",
        d_elsewhere="alerts: ['alertname=\"Odd\"']\ntargets: ['shop*']",
        e_target="targets: ['pay*']",
        f_nothing="tags: [odd]",
        g_severe="alerts: ['alertname=\"Odd\"', severity=critical]",
    )

    def found(
        labels: Iterable[dict[str, str]] = (), target: str | None = None, strategy: str | None = None
    ) -> list[str]:
        return [guide.name for guide in site.guides_for(labels, target=target, strategy=strategy)]

    odd = [{"alertname": "Even"}, {"alertname": "Odd"}]
    assert found(labels=odd, target="payment", strategy="latency") == ["c_all", "b_both", "a_alert", "e_target"]
    assert found(labels=odd) == ["a_alert", "b_both"]
    # Both matchers hold, but of no one alert.
    assert found(labels=[{"alertname": "Odd"}, {"severity": "critical"}]) == ["a_alert", "b_both"]
    assert found(target="payment") == ["e_target"]
    assert found(labels=[{"alertname": "Odd", "severity": "critical"}])[-1] == "g_severe"
    assert found() == []


def test_findings_count_each(sites: Sites) -> None:
    site = sites.titled(one="findings: [oom_killed]", two="findings: [oom_killed, hanging]")
    found = [guide.name for guide in site.guides_for(findings=["oom_killed", "hanging"])]
    assert found[:2] == ["two", "one"]
    assert "out-of-memory" in found


# --- what ships -----------------------------------------------------------------------------------------------------


def test_the_guides_are_counted(shipped: Site) -> None:
    assert f"{len(SHIPPED)} guides" in counted(shipped)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_guide_is_for_something_and_its_commands_are_right(path: Path, shipped: Site) -> None:
    guide = shipped.guides[path.stem]
    assert guide.alerts or guide.findings or guide.strategies
    cli = {"uici": Commands.of(uici_app), "council": Commands.of(council_app)}
    for command in re.findall(r"`(uici [^`]+)`", guide.text):
        assert problems_of_command(command, cli, frozenset()) == []
        words = shlex.split(command)
        if words[1] == "run":
            operation = shipped.operations[words[2]]
            given = [words[index + 1].partition("=")[0] for index, word in enumerate(words) if word == "-p"]
            assert set(operation.required) <= set(given) <= operation.parameters.keys()


@pytest.mark.usefixtures("lone_shell")
def test_a_terminal_shows_the_guides_of_the_configuration(sites: Sites) -> None:
    sites.load(odd="---\ntitle: Odd\ntags: [strange]\n---\nFirst <b>this</b>.\n\x1b[2J\n")

    def uici(*arguments: str) -> str:
        done = CliRunner().invoke(uici_app, ["guides", *arguments, "--config", str(sites.guides.parent)])
        assert done.exit_code == 0, done.output
        return done.output

    assert {"Odd", "disk-full"} <= set(uici("list").split())
    assert "disk-full" not in uici("list", "--search", "strange")
    assert "no guide has all these words" in uici("list", "-s", "strange disk")
    shown = uici("show", "odd")
    assert "First <b>this</b>.\n\\x1b[2J\n" in shown
    assert json.loads(uici("show", "odd", "-o", "json"))["tags"] == ["strange"]


def test_the_schema_helps_to_write_a_head() -> None:
    validator = Draft202012Validator(json_schema(GUIDE_FILE))
    assert list(validator.iter_errors({"title": "T", "alerts": ['alertname="A"'], "targets": ["a*"]})) == []
    assert list(validator.iter_errors({"alerts": []}))
    assert list(validator.iter_errors({"title": "T", "alerts": ["Down"]}))


def test_a_guide_reads_itself_back() -> None:
    guide = Guide(name="n", title="t", text="x", alerts=(Matcher('a="b"'),))
    assert Guide.model_validate(guide.model_dump(mode="json")) == guide
    assert os.sep not in repr(guide)
