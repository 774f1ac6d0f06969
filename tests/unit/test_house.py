"""The house rules that a linter does not know: every room says what belongs in it, and files stay small."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

from tests.real.components import REPOSITORY

PACKAGES = ("uici", "executors", "council")
ROOMS = (
    "access",
    "catalogue",
    "cli",
    "diagnosis",
    "events",
    "guard",
    "intake",
    "model",
    "notify",
    "planning",
    "runs",
    "service",
    "store",
    "translation",
    "verification",
)
MAX_LINES = 400
FORBIDDEN_MODULES = {"utils", "util", "helpers", "helper", "misc", "common"}
FORBIDDEN_SUFFIXES = ("Manager", "Helper", "Utils", "Util")

SOURCES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
INITS = [path for path in SOURCES if path.name == "__init__.py"]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def tree_of(path: Path) -> ast.Module:
    """Not kept, and not made by the workers that only collect these tests: all of them are millions of objects."""
    return ast.parse(path.read_text(), str(path))


def test_every_room_is_there() -> None:
    assert [room for room in ROOMS if not (REPOSITORY / "uici" / room / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", INITS, ids=name_of)
def test_every_package_says_what_belongs_in_it(path: Path) -> None:
    said = " ".join((ast.get_docstring(tree_of(path)) or "").split())
    assert "Belongs here: " in said, f"{name_of(path)}: the docstring says `Belongs here: …`"
    assert "Does not belong here: " in said, f"{name_of(path)}: the docstring says `Does not belong here: …`"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_is_small_and_well_named(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines; more than {MAX_LINES} is more than one room"
    assert path.stem not in FORBIDDEN_MODULES, f"{name_of(path)}: a module is named after what it holds"
    vague = [
        node.name
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(FORBIDDEN_SUFFIXES)
    ]
    assert not vague, f"{name_of(path)}: {', '.join(vague)} says nothing of its role; use an exact noun"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_handler_swallows_everything(path: Path) -> None:
    silent = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and all(map(_does_nothing, node.body))
    ]
    assert not silent, f"{name_of(path)}: lines {silent} catch everything and go on as if nothing had happened"


def test_only_the_catalogue_reads_yaml() -> None:
    readers = {
        name_of(path)
        for path, tree in zip(SOURCES, map(tree_of, SOURCES), strict=True)
        if any("yaml" in imported for imported in _imports(tree)) and "catalogue" not in path.parts
    }
    # Other rooms may print YAML for people; reading it is the catalogue's alone.
    loading = {name for name in readers if re.search(r"yaml\.\w*load", (REPOSITORY / name).read_text())}
    assert loading == set()


def test_vendor_sdks_are_named_by_executors_only() -> None:
    sdks = {"docker", "kubernetes", "oci", "supervisor"}
    offenders = {
        name_of(path): sorted(named)
        for path, tree in zip(SOURCES, map(tree_of, SOURCES), strict=True)
        if path.is_relative_to(REPOSITORY / "uici") and (named := sdks & _imports(tree))
    }
    assert offenders == {}


def test_entry_points_name_things_that_exist() -> None:
    for group in ("uici.executors", "uici.secrets"):
        points = importlib.metadata.entry_points(group=group)
        assert {point.name for point in points} >= {
            "uici.executors": {"local", "docker"},
            "uici.secrets": {"env", "file"},
        }[group]
        for point in points:
            assert callable(point.load()), point


def _imports(tree: ast.Module) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    return {name.partition(".")[0] for name in names}


def _catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass | ast.Continue) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
