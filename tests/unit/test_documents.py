"""What the documents show is true: configuration loads, commands exist, and marked walks through are walked.

Every fenced block of README.md and docs/ is one of these kinds; any other kind fails, so nothing is shown unchecked.

| first line of the fence | what is checked |
|---|---|
| `yaml` | the block's first line is `# file: NAME.yml`: loaded over the shipped configuration, together with the \
earlier blocks of the same document; `# file: alertmanager.yml` and `prometheus.yml` are checked by those programs |
| `console` | every line that begins with `$ ` is a command that exists, with options that exist |
| `console test` | the same, and it is run in an empty folder; the lines below a command must be in its output, \
in this order (a line of `...` stands for any) |
| `json` | parses |
| `text` | nothing: drawings, trees, shapes of messages |
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from council.cli import app as council
from tests.documents import (
    BLOCKS,
    CHECKERS,
    DOCUMENTS,
    Block,
    Commands,
    blocks_of,
    commands_of,
    problems_of_command,
    problems_of_configuration,
    problems_of_kind,
    problems_of_walk,
)
from tests.real.components import REPOSITORY, binary, require
from uici.cli.app import app


def of_kind(*kinds: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind in kinds]


@pytest.fixture(scope="module")
def cli() -> dict[str, Commands]:
    return {"uici": Commands.of(app), "council": Commands.of(council)}


@pytest.fixture(scope="module")
def targets() -> frozenset[str]:
    text = (REPOSITORY / "Makefile").read_text()
    return frozenset(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    problems = [problem for block in BLOCKS for problem in problems_of_kind(block)]
    assert not problems, "\n".join(problems)


def test_configuration_loads(tmp_path: Path) -> None:
    problems = []
    for number, block in enumerate(of_kind("yaml")):
        if block.file in CHECKERS:
            continue
        earlier = [each for each in of_kind("yaml") if each.document == block.document and each.line < block.line]
        problems += problems_of_configuration(block, earlier, tmp_path / str(number))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("file", sorted(CHECKERS))
def test_configuration_of_the_monitoring_loads(file: str, tmp_path: Path) -> None:
    for block in of_kind("yaml"):
        if block.file != file:
            continue
        program, *arguments = CHECKERS[file]
        found = binary((program,))
        require(file.removesuffix(".yml"), found is not None, f"{program} is not installed")
        path = tmp_path / file
        path.write_text(block.text)
        done = subprocess.run(
            [str(found), *arguments, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{block.where}: {done.stdout}{done.stderr}"


def test_json_parses() -> None:
    for block in of_kind("json"):
        try:
            json.loads(block.text)
        except ValueError as error:
            pytest.fail(f"{block.where}: {error}")


def test_commands_exist(cli: dict[str, Commands], targets: frozenset[str]) -> None:
    problems = []
    for block in of_kind("console", "console test"):
        commands = list(commands_of(block))
        if not commands:
            problems.append(f"{block.where}: a console block shows at least one line that begins with `$ `")
        problems += [
            f"{block.document}:{line}: {problem}"
            for line, command, _ in commands
            for problem in problems_of_command(command, cli, targets)
        ]
    assert not problems, "\n".join(problems)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", of_kind("console test"), ids=lambda block: block.where)
def test_walks_can_be_walked(block: Block, tmp_path: Path) -> None:
    problems = problems_of_walk(block, tmp_path)
    assert not problems, "\n".join(problems)


def test_there_are_walks() -> None:
    assert len(of_kind("console test")) >= 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [
        link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link and not link.startswith("mailto:")
    ]
    broken = [link for link in links if not (document.parent / link).exists()]
    assert not broken, f"{document.name}: nothing at {', '.join(broken)}"


# --- the checks themselves -------------------------------------------------------------------------------------------

EXAMPLE = """
```yaml
# file: policies.yml
autonomy: auto
```
text
   ```console
   $ uici check
   all well
   ```
"""


def test_blocks_are_found_with_their_lines_and_indents() -> None:
    first, second = blocks_of("x.md", EXAMPLE)
    assert (first.where, first.kind, first.file) == ("x.md:2", "yaml", "policies.yml")
    assert list(commands_of(second)) == [(8, "uici check", ["all well"])]


def test_an_unclosed_block_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"x\.md:1: this block is never closed"):
        list(blocks_of("x.md", "```text\n"))


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("", "x", "not checked by any test"),
        ("bash", "make test", "not checked by any test"),
        ("yaml", "autonomy: auto\n", "first line of a yaml block"),
        ("yaml", "# file: polices.yml\nautonomy: auto\n", "nothing reads a file 'polices.yml'"),
    ],
)
def test_a_block_that_is_not_covered_is_told(kind: str, text: str, told: str) -> None:
    (problem,) = problems_of_kind(Block("x.md", 1, kind, text))
    assert told in problem


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("uici chekc", "uici has no command 'chekc'"),
        ("uici check --bogus x", "uici check has no option --bogus"),
        ("make demo && make dmeo", "no target 'dmeo'"),
        ("cat x | frobnicate", "'frobnicate' is not a command"),
        ("until uici chekc; do sleep 1; done", "uici has no command 'chekc'"),
        ("echo 'open", "is not a command line"),
    ],
)
def test_a_wrong_command_is_told(command: str, told: str, cli: dict[str, Commands], targets: frozenset[str]) -> None:
    (problem,) = problems_of_command(command, cli, targets)
    assert told in problem


@pytest.mark.parametrize(
    "command",
    [
        "uici check",
        "uici check --output json",
        "uici --output json check",
        "A=b uici check > out.txt",
        "make PYTHON=python3.12 test",
        "git clone x y; cd y # then",
        "until uici targets; do sleep 1; done",
    ],
)
def test_a_right_command_is_accepted(command: str, cli: dict[str, Commands], targets: frozenset[str]) -> None:
    assert problems_of_command(command, cli, targets) == []


def test_wrong_configuration_is_told(tmp_path: Path) -> None:
    block = Block("x.md", 1, "yaml", "# file: policies.yml\nautonmy: auto\n")
    problems = problems_of_configuration(block, [], tmp_path)
    assert any("autonmy" in problem for problem in problems), problems


def test_a_walk_tells_a_failing_command_and_a_missing_line(tmp_path: Path) -> None:
    block = Block("x.md", 1, "console test", "$ cd / && pwd\n/\n$ pwd\n/\n$ echo one\ntwo\n$ false\n")
    wrong_line, wrong_status = problems_of_walk(block, tmp_path)
    assert wrong_line.startswith("x.md:6: `echo one` did not print 'two'")
    assert wrong_status.startswith("x.md:8: `false` ended with status 1")
