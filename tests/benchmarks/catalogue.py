"""The catalogue of a large site: 10,000 verbs with translations and tests, 1,000 targets; and what importing takes.

Baselines of the same run: `yaml.load` of the same files by PyYAML's C loader, and importing pydantic.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Figure, Ratio, Result

VERBS, TARGETS = 10_000, 1_000
ROUNDS = 3
_RELOADS = 20
_IMPORTS = 10

_VERB = """\
operation:
  summary: Verb {number} of a large site, which changes one setting of a service
  risk: high
  mutates: true
  parameters:
    level: {{type: integer, minimum: 0, maximum: {limit}, default: 1, description: level {number}}}
    mode: {{enum: [fast, slow, mode_{number}], default: fast, description: how it is done}}
    note: {{type: string, maxLength: 200, pattern: "^[a-z ]*$", description: why}}
  required: [level]
  returns: {{signalled: what the signal was sent to}}
  preconditions: [{{field: state, equals: running}}]
  reversible: false
  irreversible_because: what the service has read it cannot forget
  verification:
    read: get_service_status
    expect: [{{field: state, equals: running}}]
    within_seconds: 15

translations:
  docker:
    calls:
      - id: found
        call: engine.request
        arguments: {{target: "${{target}}", method: GET, path: [containers, "${{target.container}}", json]}}
      - call: engine.request
        arguments:
          target: "${{target}}"
          method: POST
          path: [containers, "${{calls.found.body.Id}}", kill]
          query: {{signal: "${{parameters.mode}}"}}
    result: {{signalled: "${{calls.found.body.Id}}"}}
  local:
    calls:
      - id: found
        call: program.status
        arguments: {{target: "${{target}}"}}
      - call: supervisor.rpc
        arguments:
          target: "${{target}}"
          method: signalProcess
          params: ["${{calls.found.instances.0.id}}", "${{parameters.mode}}"]
    result: {{signalled: "${{calls.found.instances.0.id}}"}}

tests:
  - name: a container is told
    platform: docker
    target: {{container: web}}
    parameters: {{level: 2}}
    expect:
      - {{call: engine.request, arguments: {{target: {{container: web}}, method: GET, path: [containers, web, json]}}}}
      - call: engine.request
        arguments:
          target: {{container: web}}
          method: POST
          path: [containers, {{$select: calls.found.body.Id}}, kill]
          query: {{signal: fast}}
  - name: a program is told
    platform: local
    target: {{program: web}}
    parameters: {{level: 2, mode: slow}}
    expect:
      - {{call: program.status, arguments: {{target: {{program: web}}}}}}
      - call: supervisor.rpc
        arguments:
          target: {{program: web}}
          method: signalProcess
          params: [{{$select: calls.found.instances.0.id}}, slow]
"""
_TARGET = """\
  target-{number}:
    summary: Service {number}
    aliases: [alias-{number}]
    match: ['job="job-{number}"']
    bindings: {{docker: {{service: service-{number}}}, local: {{program: service-{number}, command: [/bin/true]}}}}
"""

# Each in a process of its own, so that memory and caches of one are not the other's.
_PRELUDE = """
import json, sys, time
from pathlib import Path
from uici.catalogue.cache import SiteCache
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import Catalogue
from uici.catalogue.tree import Tree
from uici.translation.verb_tests import VerbProver
site, cache = Path(sys.argv[1]), Path(sys.argv[2])
executors = discover_executors()
catalogue = Catalogue(Tree(site), executors=executors, cache=SiteCache(cache, site, executors))
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
begun = time.perf_counter()
look = catalogue.tree.look()
def since():
    return (time.perf_counter() - begun) * 1000
"""
_COLD = """
loaded = catalogue.load(look)
cold = since()
prover = VerbProver(executors)
begun = time.perf_counter()
assert prover.failures(loaded) == []
tests = since()
catalogue.keep(look, loaded)
reloads, looks = [], []
path = site / "operations" / "verb_7.yml"
text = path.read_text()
for number in range(int(sys.argv[3])):
    path.write_text(text.replace("Verb 7 ", f"Verb {number} "))
    begun = time.perf_counter()
    look = catalogue.tree.look()
    looks.append(since())
    begun = time.perf_counter()
    digest = catalogue.tree.digest(look)
    assert prover.failures(catalogue.load(look)) == []
    reloads.append(since())
path.write_text(text)
print(json.dumps({"cold": cold, "tests": tests, "looks": looks, "reloads": reloads, "rss": resident()}))
"""
_KEPT = """
assert catalogue.restore(look) is not None
print(json.dumps({"kept": since(), "rss": resident()}))
"""
_BASELINE = """
import json, sys, time, yaml
from pathlib import Path
begun = time.perf_counter()
for path in [Path(sys.argv[1]) / "targets.yml", *sorted((Path(sys.argv[1]) / "operations").glob("*.yml"))]:
    yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
print(json.dumps({"yaml": (time.perf_counter() - begun) * 1000}))
"""
_IMPORT = """
import time
begun = time.perf_counter()
import {module}
print((time.perf_counter() - begun) * 1000)
"""


def measure(folder: Path) -> Result:
    """Generate the tree, then load it cold, from the cache, and again after single changes."""
    site = write_site(folder / "site", VERBS, TARGETS)
    rows = []
    for number in range(ROUNDS):
        cache = folder / f"cache-{number}"
        row = _run(_BASELINE, site) | _run(_PRELUDE + _COLD, site, cache, _RELOADS)
        kept = _run(_PRELUDE + _KEPT, site, cache)
        rows.append(row | {"kept": kept["kept"], "kept rss": kept["rss"]})
    figures = [
        Figure.of("yaml.load of the same files", [row["yaml"] for row in rows]),
        Figure.of("cold load", [row["cold"] for row in rows]),
        Figure.of("the verbs' own tests", [row["tests"] for row in rows]),
        Figure.of("restored from the cache", [row["kept"] for row in rows]),
        Figure.of("one look at the files", [value for row in rows for value in row["looks"]]),
        Figure.of("one reload after a change of one file", [value for row in rows for value in row["reloads"]]),
        Figure.of(
            "one reload with its look",
            [sum(each) for row in rows for each in zip(row["looks"], row["reloads"], strict=True)],
        ),
        Figure.of("memory after cold load", [row["rss"] for row in rows], unit="MiB"),
        Figure.of("memory after restoring", [row["kept rss"] for row in rows], unit="MiB"),
    ]
    for module in ("pydantic", "uici", "uici.model.site"):
        values = [float(_output(_IMPORT.format(module=module))) for _ in range(_IMPORTS)]
        figures.append(Figure.of(f"import {module}", values))
    named = {figure.name: figure for figure in figures}
    ratios = tuple(
        Ratio(name, named[name].median, beside, named[beside].median, named[name].unit, goal)
        for name, beside, goal in (
            ("cold load", "yaml.load of the same files", 20_000),
            ("restored from the cache", "yaml.load of the same files", 2_000),
            ("one reload with its look", "one look at the files", 50),
            ("memory after cold load", "memory after restoring", 300),
            ("import uici", "import pydantic", 300),
        )
    )
    facts: dict[str, str | int | float] = {"verbs": VERBS, "targets": TARGETS}
    return Result(name="catalogue", figures=tuple(figures), ratios=ratios, facts=facts)


def write_site(folder: Path, verbs: int, targets: int) -> Path:
    """A site with so many verbs and targets."""
    (folder / "operations").mkdir(parents=True)
    for number in range(verbs):
        (folder / "operations" / f"verb_{number}.yml").write_text(_VERB.format(number=number, limit=number + 10))
    written = "".join(_TARGET.format(number=number) for number in range(targets))
    (folder / "targets.yml").write_text(f"targets:\n{written}")
    return folder


def _run(code: str, *arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_output(code, *arguments))
    return answer


def _output(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
