"""Checks of what documents show, as functions from a fenced block to its problems.

The kinds of blocks, and which tests use these, are told in `tests/unit/test_documents.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import typer.main
import yaml
from typer.core import TyperGroup

from council.configuration import FILE as AGENTS
from council.configuration import load as load_agents
from tests.real.components import REPOSITORY
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.catalogue.locations import shipped_config
from uici.catalogue.overlaying import FILES

KINDS = ("yaml", "console", "console test", "json", "text")
# Commands that are not ours and that a reader of a walk through may be told to type.
FOREIGN = frozenset(
    "apt-get cat cd cp curl docker echo export git jq kill kubectl ls mkdir pip printf python3 rm sleep sudo".split()
)
# What a file refers to lies on the reader's machine.
CHECKERS = {
    "alertmanager.yml": ("amtool", "check-config"),
    "prometheus.yml": ("promtool", "check", "config", "--syntax-only"),
}
# Words of the shell before a command: a walk may wait in a loop.
_SHELL = frozenset("until while do done".split())
_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
_VERB = re.compile(r"^operations/[a-z][a-z0-9_]*\.yml$")
_FILE = re.compile(r"^# file: (?P<name>[\w./-]+\.yml)$")


@dataclass(frozen=True)
class Commands:
    """What a command line offers: options, and the commands below it."""

    options: dict[str, bool]
    """Option -> whether a value follows it."""
    below: dict[str, Commands]

    @classmethod
    def of(cls, app: typer.Typer) -> Commands:
        """The commands that a typer app registers."""
        return cls._of(typer.main.get_command(app))

    @classmethod
    def _of(cls, command: Any) -> Commands:
        # Whether typer's commands are click's own or a vendored copy depends on its version, hence no type.
        options = {"--help": False} | {
            option: not getattr(parameter, "is_flag", False)
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-")
        }
        below = command.commands if isinstance(command, TyperGroup) else {}
        return cls(options, {name: cls._of(each) for name, each in below.items()})


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    kind: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that a yaml block shows."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found["name"] if found else None


def blocks_of(document: str, text: str) -> Iterator[Block]:
    """The fenced blocks of a document. Raises ValueError when one is never closed."""
    opened: tuple[int, str, str, int] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if opened is None:
            if found:
                opened, body = (number, found["marks"], found["info"].strip(), len(found["indent"])), []
        elif found and not found["info"].strip() and found["marks"].startswith(opened[1]):
            yield Block(document, opened[0], opened[2], "".join(f"{each}\n" for each in body))
            opened = None
        else:
            body.append(line[opened[3] :] if line[: opened[3]].isspace() else line)
    if opened is not None:
        raise ValueError(f"{document}:{opened[0]}: this block is never closed")


DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCKS = [
    block
    for path in DOCUMENTS
    for block in blocks_of(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))
]


# --- the checks, as functions from a block to its problems -----------------------------------------------------------


def problems_of_kind(block: Block) -> list[str]:
    if block.kind not in KINDS:
        return [
            f"{block.where}: a block of kind {block.kind!r} is not checked by any test; kinds are {', '.join(KINDS)}"
        ]
    if block.kind == "yaml" and block.file is None:
        return [f"{block.where}: the first line of a yaml block is `# file: NAME.yml`, so that it can be loaded"]
    if block.file is not None and block.file not in (*FILES, AGENTS, *CHECKERS) and not _VERB.match(block.file):
        known = ", ".join((*FILES, AGENTS, "operations/<verb>.yml", *CHECKERS))
        return [f"{block.where}: nothing reads a file {block.file!r}; known are {known}"]
    return []


def problems_of_configuration(block: Block, earlier: list[Block], folder: Path) -> list[str]:
    """Load the site that a reader has who copied the document up to and including this block."""
    folder.mkdir(exist_ok=True)
    for each in (*earlier, block):
        if each.file is not None and each.file not in CHECKERS:
            path = folder / each.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(each.text)
    try:
        if block.file == AGENTS:
            load_agents(folder)
        else:
            load_site(folder, executors=discover_executors())
    except CatalogueError as error:
        return [f"{block.where}: {problem}" for problem in error.diagnostics]
    return []


def commands_of(block: Block) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, command and the lines shown below it. A final backslash continues a command."""
    current: tuple[int, str, list[str]] | None = None
    continues = False
    for offset, line in enumerate(block.text.splitlines(), start=1):
        if continues and current is not None:
            current = (current[0], current[1] + " " + line.removeprefix("> ").strip().removesuffix("\\"), current[2])
            continues = line.endswith("\\")
        elif line.startswith("$ "):
            if current is not None:
                yield current
            current = (block.line + offset, line[2:].removesuffix("\\"), [])
            continues = line.endswith("\\")
        elif current is not None:
            current[2].append(line)
    if current is not None:
        yield current


def problems_of_command(command: str, cli: Mapping[str, Commands], targets: frozenset[str]) -> list[str]:
    """Whether every program of a command line is known, and ours are given what they take."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError as error:
        return [f"{command!r} is not a command line: {error}"]
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token.startswith("#"):
            break
        if set(token) <= set("|&;()") and token:
            parts.append([])
        else:
            parts[-1].append(token)
    problems: list[str] = []
    for part in parts:
        words = _without_redirections(part)
        while words and (words[0] in _SHELL or re.match(r"^[A-Za-z_]\w*=", words[0])):
            words.pop(0)
        if words:
            problems += _problems_of_words(words, cli, targets)
    return problems


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word and set(word) <= set("<>"):
            skip = True
        else:
            kept.append(word)
    return kept


def _problems_of_words(words: list[str], cli: Mapping[str, Commands], targets: frozenset[str]) -> list[str]:
    program = words[0].removeprefix(".venv/bin/")
    if program in cli:
        return _problems_of_ours(program, words[1:], cli[program])
    if program == "make":
        named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        return [
            f"the Makefile has no target {word!r}; it has {', '.join(sorted(targets))}"
            for word in named
            if word not in targets
        ]
    ours = ", ".join(cli)
    if program in FOREIGN:
        return []
    return [
        f"{program!r} is not a command that documents may show; ours are {ours} and make, others "
        + ", ".join(sorted(FOREIGN))
    ]


def _problems_of_ours(program: str, words: list[str], command: Commands) -> list[str]:
    path = program
    # Global options may stand before or after the command's name.
    known = dict(command.options)
    unknown: list[str] = []
    rest = list(words)
    while rest and (word := rest.pop(0)) != "--":
        if word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            if name not in known:
                unknown.append(f"{path} has no option {name}; it has {', '.join(sorted(known))}")
            elif known[name] and not equals and rest:
                rest.pop(0)
        elif command.below:
            if word not in command.below:
                return [*unknown, f"{path} has no command {word!r}; it has {', '.join(sorted(command.below))}"]
            command, path = command.below[word], f"{path} {word}"
            known |= command.options
    return unknown


def problems_of_walk(block: Block, folder: Path) -> list[str]:
    """Run a block's commands one after another in `folder`, with this environment's programs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UICI_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "HOME": str(folder),
    }
    # Where servers listen that the reader starts. Another walk's may not have gone yet.
    until(_nobody_listens, "the ports of the shipped configuration to be free")
    # One shell for all commands, as a reader has, so that `cd` and `export` last; marks part their outputs.
    commands = list(commands_of(block))
    script = "".join(f'{command}\necho "@@$?"\n' for _, command, _ in commands)
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed, _ = shell.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            # The server of the walk listens where the next one's will.
            os.killpg(shell.pid, signal.SIGKILL)
            printed, _ = shell.communicate()
            printed += "(ended after 150 s)"
        finally:
            # A walk that went wrong has not come to where it ends its servers.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
            end_supervisors(folder)
    outputs = re.findall(r"(.*?)@@(\d+)\n", printed, re.DOTALL)
    problems: list[str] = []
    for (line, command, shown), (output, status) in zip(commands, outputs, strict=False):
        if status != "0":
            problems.append(f"{block.document}:{line}: `{command}` ended with status {status}:\n{output}")
        missing = _first_missing(shown, output)
        if missing is not None:
            problems.append(f"{block.document}:{line}: `{command}` did not print {missing!r}, but:\n{output}")
    if len(outputs) < len(commands):
        problems.append(f"{block.where}: the shell ended early:\n{printed}")
    return problems


def _nobody_listens() -> bool:
    return all(map(_is_free, ("platform.yml", AGENTS)))


def _is_free(file: str) -> bool:
    shipped = yaml.safe_load((shipped_config() / file).read_text())
    host, _, port = shipped["service"]["listen"].rpartition(":")
    with socket.socket() as probe:
        # As servers do: connections of the former one that still linger are nobody's.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def _first_missing(shown: list[str], output: str) -> str | None:
    lines = iter(line.rstrip() for line in output.splitlines())
    for wanted in shown:
        if wanted.strip() in ("", "...", "…"):
            continue
        if not any(line == wanted.rstrip() for line in lines):
            return wanted
    return None
