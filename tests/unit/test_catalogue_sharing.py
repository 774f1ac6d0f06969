"""Verbs that several processes read are those that one reads, and so is what is wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.catalogue import write_site

_VERBS = 40
# In a process of its own: one with several threads, as a test runner is, shares nothing.
_LOAD = """
import json, os, sys
from pathlib import Path
from uici.catalogue import sharing
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import Catalogue
from uici.catalogue.tree import Tree

way, site = sys.argv[1], Path(sys.argv[2])
here, read = [], sharing.read_verb_file
main = os.getpid()

def reading(path, *more):
    if os.getpid() == main:
        here.append(path)
    elif way == "dying":
        os._exit(1)
    elif way == "failing":
        raise RuntimeError("a defect")
    return read(path, *more)

sharing.read_verb_file = reading
sharing._WORTH_SHARING = 10**9 if way == "alone" else 10
os.sched_getaffinity = lambda process: set(range(3))
catalogue = Catalogue(Tree(site), executors=discover_executors())
try:
    loaded = catalogue.load()
    found = loaded.model_dump_json()
except CatalogueError as error:
    found = [str(each) for each in error.diagnostics]
verbs = [(verb.name, verb.key, dict(verb.translations), verb.node().position) for verb in catalogue.verbs.values()]
print(json.dumps({"found": found, "verbs": verbs, "here": len(here)}))
"""


def test_what_several_processes_read_is_what_one_reads(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", _VERBS, 3)
    alone, shared = _load("alone", site), _load("shared", site)
    assert shared["found"] == alone["found"]
    assert shared["verbs"] == alone["verbs"]
    assert "verb_39" in alone["found"]
    assert 0 < shared["here"] < alone["here"] / 2
    # A process that ends early costs time and nothing else.
    assert _load("dying", site) == alone
    assert _load("failing", site) == alone


def test_what_is_wrong_is_said_in_the_same_words_and_places(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", _VERBS, 3)
    operations = site / "operations"
    for number in range(0, 18, 3):  # each share gets some
        for offset, (old, new) in enumerate(
            (("risk: high", "risk: hihg"), ("platform: docker\n", "platform: dokcer\n"), ("summary:", "summary: ["))
        ):
            path = operations / f"verb_{number + offset}.yml"
            path.write_text(path.read_text().replace(old, new, 1))
    (operations / "Wrong Name.yml").write_text("operation: {}\n")
    (operations / "restart_service.yml").write_text((operations / "verb_39.yml").read_text())
    alone = _load("alone", site)
    assert len(alone["found"]) > 18
    assert _load("shared", site)["found"] == alone["found"]


def _load(way: str, site: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", _LOAD, way, str(site)]
    answered = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(answered.stdout)
    return answer
