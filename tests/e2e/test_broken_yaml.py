# ruff: noqa: E501 - a case is one line of YAML, as people write it
"""Every file of a site, broken in every way: `uici check` says what and where, and `uici serve` does not start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from council.configuration import FILE as AGENTS
from tests.real.components import REPOSITORY, free_port
from uici.cli.app import app

SHIPPED = (REPOSITORY / "infrastructure" / "config").glob("*.yml")
FILES = sorted(path.name for path in SHIPPED if path.name != AGENTS)  # that is read by the council
VERB = "operations/say_hello.yml"
_LINE = re.compile(r"(?P<file>.+):(?P<line>\d+):(?P<column>\d+): (?P<code>[a-z_]+): (?P<text>.+)")

_VERB = """\
operation: {summary: say hello, risk: low, mutates: false}
translations:
  local: {calls: [{call: program.status, arguments: {target: "${target}"}}]}
  docker: {unsupported: nothing to say there}
tests:
  - {name: works, platform: local, target: {program: web}, expect: [{call: program.status, arguments: {target: {program: web}}}]}
"""


class Defect(NamedTuple):
    """A broken text, and how it must be reported: position, code, and a word of the explanation."""

    text: str
    where: str
    code: str
    says: str


DEFECTS: dict[str, dict[str, Defect]] = {
    "platform.yml": {
        "syntax": Defect("service:\n  listen: [1\nself: {}\n", "3:5", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect("service: {}\nservice: {}\n", "2:1", "duplicate_key", "service"),
        "unknown key": Defect("service:\n  lisen: 127.0.0.1:1\n", "2:3", "unknown_key", "did you mean 'listen'?"),
        "wrong type": Defect("service:\n  max_body_bytes: many\n", "2:19", "wrong_type", "whole number"),
        "inline secret": Defect("notify:\n  webhook: https://people.example/key\n", "2:12", "inline_secret", "${env:"),
        "out of range": Defect("runs: {threads: 1}\n", "1:17", "wrong_value", "equal to 2"),
        "bad state": Defect("state: mysql://here\n", "1:8", "wrong_value", "sqlite"),
    },
    "environments.yml": {
        "syntax": Defect("environments: {\n", "2:1", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect(
            "environments:\n  a: {platform: local}\n  a: {platform: docker}\n", "3:3", "duplicate_key", "a"
        ),
        "unknown key": Defect(
            "environments:\n  a: {platform: local, promtheus: {}}\n",
            "2:24",
            "unknown_key",
            "did you mean 'prometheus'?",
        ),
        "wrong type": Defect("environments:\n  a: {platform: local, summary: 5}\n", "2:33", "wrong_type", "text"),
        "inline secret": Defect(
            "environments:\n  a: {platform: local, prometheus: {url: 'http://p', bearer_token: hunter2}}\n",
            "2:68",
            "inline_secret",
            "${env:",
        ),
        "bad regex": Defect(
            "environments:\n  a: {platform: local, match: ['env=~\"(\"']}\n",
            "2:32",
            "wrong_value",
            "not a regular expression",
        ),
        "unknown reference": Defect(
            "environments:\n  a: {platform: dokcer}\n", "2:17", "unknown_platform", "did you mean 'docker'?"
        ),
        "unknown default": Defect("default: lokal\n", "1:10", "unknown_environment", "did you mean 'local'?"),
        "unknown setting": Defect(
            "environments:\n  a: {platform: docker, connection: {base: 'unix:///x'}}\n", "2:38", "unknown_key", "base"
        ),
    },
    "targets.yml": {
        "syntax": Defect("targets:\n\tweb: {}\n", "2:1", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect(
            "targets:\n  w: {bindings: {local: {program: w}}, bindings: {}}\n", "2:40", "duplicate_key", "bindings"
        ),
        "unknown key": Defect(
            "targets:\n  w: {bindings: {local: {program: w}}, alias: [x]}\n",
            "2:40",
            "unknown_key",
            "did you mean 'aliases'?",
        ),
        "wrong type": Defect(
            "targets:\n  w: {bindings: {local: {program: w}}, aliases: x}\n", "2:49", "wrong_type", "list"
        ),
        "bad regex": Defect(
            "targets:\n  w: {bindings: {local: {program: w}}, match: ['a=~\"[\"']}\n",
            "2:48",
            "wrong_value",
            "not a regular expression",
        ),
        "unknown reference": Defect(
            "targets:\n  w: {bindings: {lokal: {program: w}}}\n", "2:18", "unknown_environment", "did you mean 'local'?"
        ),
        "bad binding": Defect(
            "targets:\n  w: {bindings: {local: {program: '../w'}}}\n", "2:35", "wrong_value", "program"
        ),
        "a reference in a binding": Defect(
            "targets:\n  w: {bindings: {local: {program: w, environment: {A: '${env:HOME}'}}}}\n",
            "2:55",
            "reference_in_binding",
            "references",
        ),
    },
    "operations.yml": {
        "syntax": Defect("operations:\n  a: {summary: 'x}\n", "3:1", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect(
            "operations:\n  hello: {summary: greets, summary: greets, risk: low, mutates: false}\n",
            "2:28",
            "duplicate_key",
            "summary",
        ),
        "unknown key": Defect(
            "operations:\n  stop_service: {summary: stops, risks: low, mutates: true}\n",
            "2:34",
            "unknown_key",
            "did you mean 'risk'?",
        ),
        "wrong type": Defect(
            "operations:\n  stop_service: {summary: stops, risk: low, mutates: perhaps}\n",
            "2:54",
            "wrong_type",
            "true or false",
        ),
        "bad regex": Defect(
            "operations:\n  check_logs: {summary: reads, risk: low, mutates: false, parameters: {lines: {type: string, pattern: '('}}}\n",
            "2:72",
            "bad_schema",
            "(",
        ),
        "unknown reference": Defect(
            "operations:\n  stop_service: {summary: stops, risk: low, mutates: true, reversible: false, irreversible_because: it is stopped, verification: {read: get_state, expect: [{field: a, equals: b}]}}\n",
            "2:137",
            "unknown_operation",
            "get_state",
        ),
    },
    "command_translations.yml": {
        "syntax": Defect("translations: ]\n", "1:15", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect("translations: {wait: {}, wait: {}}\n", "1:26", "duplicate_key", "wait"),
        "unknown key": Defect(
            "translations:\n  stop_service: {local: {cals: []}}\n", "2:26", "unknown_key", "did you mean 'calls'?"
        ),
        "wrong type": Defect(
            "translations:\n  stop_service: {local: {calls: program.stop}}\n", "2:33", "wrong_type", "list"
        ),
        "unknown reference": Defect(
            "translations:\n  stop_service: {local: {calls: [{call: program.stopp, arguments: {target: '${target}'}}]}}\n",
            "2:41",
            "unknown_call",
            "did you mean 'program.stop'?",
        ),
        "unknown parameter": Defect(
            "translations:\n  stop_service: {local: {calls: [{call: program.stop, arguments: {target: '${parameters.wich}'}}]}}\n",
            "2:75",
            "unknown_reference",
            "wich",
        ),
        "pasted reference": Defect(
            "translations:\n  stop_service: {local: {calls: [{call: program.stop, arguments: {target: 'a ${target} b'}}]}}\n",
            "2:75",
            "partial_reference",
            "whole",
        ),
        "unknown operation": Defect(
            "translations:\n  stop_servise: {local: {unsupported: x}}\n",
            "2:3",
            "unknown_operation",
            "did you mean 'stop_service'?",
        ),
    },
    "strategies.yml": {
        "syntax": Defect("strategies:\n  a: {match: [}\n", "2:15", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect(
            "strategies:\n  a: {action: ignore, action: escalate, match: ['a=\"b\"']}\n",
            "2:23",
            "duplicate_key",
            "action",
        ),
        "unknown key": Defect(
            "strategies:\n  a: {match: ['a=\"b\"'], actoin: ignore}\n", "2:25", "unknown_key", "did you mean 'action'?"
        ),
        "wrong type": Defect("strategies:\n  a: {match: 'a=\"b\"', action: ignore}\n", "2:14", "wrong_type", "list"),
        "bad regex": Defect(
            "strategies:\n  a: {match: ['alertname=~\"*\"'], action: ignore}\n",
            "2:15",
            "wrong_value",
            "not a regular expression",
        ),
        "unknown reference": Defect(
            "strategies:\n  a: {match: ['a=\"b\"'], diagnose: [check_log], remedies: [{name: r, steps: [start_service]}]}\n",
            "2:36",
            "unknown_operation",
            "did you mean 'check_logs'?",
        ),
        "unknown finding": Defect(
            "strategies:\n  a: {match: ['a=\"b\"'], diagnose: [get_service_status], remedies: [{name: r, when: {all: [runing]}, steps: [start_service]}]}\n",
            "2:91",
            "unknown_finding",
            "did you mean 'running'?",
        ),
    },
    "findings.yml": {
        "syntax": Defect("findings:\n- {\n", "3:1", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect("findings: {}\nfindings: {}\n", "2:1", "duplicate_key", "findings"),
        "unknown key": Defect(
            "findings:\n  a: {sumary: x, when: [{operation: check_logs, all: [{field: lines, matches: x}]}]}\n",
            "2:7",
            "unknown_key",
            "did you mean 'summary'?",
        ),
        "wrong type": Defect("findings:\n  a: {summary: x, when: never}\n", "2:25", "wrong_type", "list"),
        "bad regex": Defect(
            "findings:\n  a: {summary: x, when: [{operation: check_logs, all: [{field: lines, matches: '(a'}]}]}\n",
            "2:80",
            "wrong_value",
            "not a regular expression",
        ),
        "unknown reference": Defect(
            "findings:\n  a: {summary: x, when: [{operation: check_blogs, all: [{field: lines, matches: x}]}]}\n",
            "2:38",
            "unknown_operation",
            "did you mean 'check_logs'?",
        ),
    },
    "policies.yml": {
        "syntax": Defect("autonomy: auto: x\n", "1:15", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect("autonomy: auto\nautonomy: observe\n", "2:1", "duplicate_key", "autonomy"),
        "unknown key": Defect("cooldwon: {seconds: 1}\n", "1:1", "unknown_key", "did you mean 'cooldown'?"),
        "wrong type": Defect("cooldown: {seconds: soon}\n", "1:21", "wrong_type", "number"),
        "unknown choice": Defect("autonomy: atuo\n", "1:11", "wrong_value", "did you mean 'auto'?"),
        "no share": Defect("blast_radius: {min_healthy: 1.5}\n", "1:29", "wrong_value", "equal to 1"),
    },
    VERB: {
        "syntax": Defect(_VERB + "  - {\n", "8:1", "bad_yaml", "not valid YAML"),
        "duplicate key": Defect(_VERB + "tests: []\n", "7:1", "duplicate_key", "tests"),
        "unknown key": Defect(_VERB + "test: []\n", "7:1", "unknown_key", "did you mean 'tests'?"),
        "wrong type": Defect(_VERB.replace("mutates: false", "mutates: 'no'"), "1:53", "wrong_type", "true or false"),
        "bad regex": Defect(
            _VERB.replace("mutates: false", "mutates: false, parameters: {a: {pattern: '['}}"),
            "1:73",
            "bad_schema",
            "[",
        ),
        "unknown reference": Defect(
            _VERB.replace('"${target}"', '"${targets}"'), "3:62", "unknown_reference", "targets"
        ),
    },
}


class Ended(NamedTuple):
    """A process that has ended."""

    status: int
    out: str
    err: str


def _uici(*arguments: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-c", "from uici.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _check(site: Path) -> Ended:
    return _uici("check", "--config", str(site))


def _check_here(site: Path) -> Ended:
    """The same command in this process, which need not load everything anew."""
    done = CliRunner().invoke(app, ["check", "--config", str(site)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)


def _serve(site: Path) -> Ended:
    return _uici("serve", "--config", str(site), "--listen", f"127.0.0.1:{free_port()}")


def _problems(ended: Ended) -> list[re.Match[str]]:
    """What a refusal says: one problem per line on standard output, and no traceback."""
    assert ended.status == 1, ended
    assert "Traceback" not in ended.err, ended.err
    found = [_LINE.fullmatch(line) for line in ended.out.splitlines()]
    assert all(found), ended.out
    return [match for match in found if match]


def _write(site: Path, file: str, text: str) -> None:
    (site / file).parent.mkdir(parents=True, exist_ok=True)
    (site / file).write_text(text)


def test_every_shipped_file_is_broken_here() -> None:
    assert sorted(DEFECTS.keys() - {VERB}) == FILES
    for file, kinds in DEFECTS.items():
        assert {"syntax", "duplicate key", "unknown key", "wrong type"} <= kinds.keys(), file


def test_the_unbroken_verb_is_good_and_a_failing_test_of_it_is_told(tmp_path: Path) -> None:
    _write(tmp_path, VERB, _VERB)
    checked = _check(tmp_path)
    assert checked.status == 0, checked
    _write(tmp_path, VERB, _VERB.replace("{target: {program: web}}", "{target: {program: other}}"))
    checked = _check(tmp_path)
    assert checked.status == 1, checked
    assert "say_hello" in checked.out + checked.err
    assert "Traceback" not in checked.err


@pytest.mark.usefixtures("lone_shell")
@pytest.mark.parametrize("file", DEFECTS)
def test_a_broken_file_is_named_with_line_and_column(tmp_path: Path, file: str) -> None:
    sites = {kind: tmp_path / kind.replace(" ", "-") for kind in DEFECTS[file]}
    for kind, site in sites.items():
        _write(site, file, DEFECTS[file][kind].text)
    checked = {kind: _check_here(site) for kind, site in sites.items()}
    # A process says the same, and serving goes through the same door: one way to break it is enough here, and another
    # one is in the last test.
    assert _check(sites["syntax"])[:2] == checked["syntax"][:2]
    served = {"syntax": _serve(sites["syntax"])}
    for kind, site in sites.items():
        defect = DEFECTS[file][kind]
        found = _problems(checked[kind])
        named = [match for match in found if (f"{match['line']}:{match['column']}", match["code"]) == defect[1:3]]
        assert len(named) == 1, f"{kind}: {checked[kind].out}"
        assert defect.says in named[0]["text"], kind
        assert {match["file"] for match in found} == {str(site / file)}, kind
        assert "hunter2" not in checked[kind].out, kind
    for kind, ended in served.items():
        # Serving says the same, and does not begin: there is no state.
        assert (ended.status, ended.out) == (1, checked[kind].out), kind
        assert "Traceback" not in ended.err, kind
        assert not (sites[kind] / "state").exists(), kind


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    wanted = set()
    for file, kinds in DEFECTS.items():
        defect = kinds["unknown key"]
        _write(tmp_path, file, defect.text)
        wanted.add((str(tmp_path / file), defect.where, defect.code))
    checked = _check(tmp_path)
    told = {(match["file"], f"{match['line']}:{match['column']}", match["code"]) for match in _problems(checked)}
    assert wanted - told == set()
    assert _serve(tmp_path).out == checked.out
