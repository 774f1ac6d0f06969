"""Where the guards decide: found in the source, so that a new guard, layer or call site need not be listed.

Whole modules: those of `uici.guard`, the self-target guard's predicate, and each that defines one of `_GUARDS`.
Of the thresholds, what says whether one is usable.
Elsewhere: functions that are about self by their name, and in all others the statements that ask the predicate, a
`SelfGuard`, a layer's switch, or go by such an answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.mutation.flips import Flip, UnknownShapeError, flips
from tests.real.components import REPOSITORY

_PREDICATE = REPOSITORY / "uici/model/identity.py"
_THRESHOLDS = REPOSITORY / "uici/model/thresholds.py"
_ABOUT_SELF = re.compile(r"(^|_)self(_|$)")
_GUARDS = frozenset({"SelfGuard", "OpenGuard"})
"""Classes of executors that refuse what would hit UICI itself."""
_ALWAYS = frozenset({"is_self", "self_target"})
"""What targeting says of an alert, and the code of every refusal."""


@dataclass(frozen=True)
class Place:
    """A function or a module-level value that decides."""

    path: Path
    qualname: str
    node: ast.FunctionDef | ast.Assign | ast.AnnAssign
    tree: ast.Module
    flips: tuple[Flip, ...]

    @property
    def file(self) -> str:
        """The path from the repository's root."""
        return self.path.relative_to(REPOSITORY).as_posix()

    @property
    def module(self) -> str:
        """The dotted name."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def guard_modules() -> list[Path]:
    """The modules of guards: each has a function of its own name's guard, except the two that serve them all."""
    return sorted((REPOSITORY / "uici/guard").glob("*.py"))


def places() -> list[Place]:
    """Every place where a guard decides. Raises UnknownShapeError, naming the file."""
    trees = {path: ast.parse(path.read_text()) for path in _sources()}
    vocabulary = _vocabulary(trees)
    found: list[Place] = []
    for path, tree in trees.items():
        whole = path.parent.name == "guard" or path == _PREDICATE or _defines(tree, _GUARDS)
        try:
            found += _of_module(path, tree, vocabulary, whole=whole)
        except UnknownShapeError as error:
            raise UnknownShapeError(f"{path.relative_to(REPOSITORY)}: {error}") from None
    return found


def _sources() -> list[Path]:
    return sorted(path for room in ("uici", "executors") for path in (REPOSITORY / room).rglob("*.py"))


def _of_module(path: Path, tree: ast.Module, vocabulary: frozenset[str], *, whole: bool) -> Iterator[Place]:
    if whole:
        for statement in tree.body:
            _known_statement(statement)
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                yield from _values(path, tree, "", statement)
            if isinstance(statement, ast.ClassDef):
                for inner in statement.body:
                    if isinstance(inner, ast.AnnAssign):
                        yield from _values(path, tree, f"{statement.name}.", inner)
    for qualname, function in _functions(tree):
        if whole or _ABOUT_SELF.search(function.name) or (path == _THRESHOLDS and function.name == "usable"):
            changes = flips(function)
        else:
            asked = _Asked(function, vocabulary)
            changes = flips(function, asked.concerns) if asked.any else []
        if changes:
            yield Place(path, qualname, function, tree, tuple(changes))


def _known_statement(statement: ast.stmt) -> None:
    known = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom)
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    if not isinstance(statement, known) and not text:
        raise UnknownShapeError(f"line {statement.lineno}: {type(statement).__name__} at the top of a guard's module")


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            yield statement.name, statement
        elif isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{statement.name}.{inner.name}", inner


def _values(path: Path, tree: ast.Module, prefix: str, statement: ast.Assign | ast.AnnAssign) -> Iterator[Place]:
    """Collections without one of their elements, and switches the other way round."""
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    if not isinstance(target, ast.Name) or statement.value is None:
        return
    value = statement.value
    changes: list[Flip] = []
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        to = not value.value
        changes.append(Flip(statement.lineno, f"{target.id} = {to}", 0, partial(_constant, value=to)))
    for number, node in enumerate(ast.walk(value)):
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and not isinstance(value, ast.Subscript):
            for at, element in enumerate(node.elts):
                what = f"without {ast.unparse(element)} in {target.id}"
                changes.append(Flip(element.lineno, what, number, partial(_without, at=at)))
    if changes:
        yield Place(path, prefix + target.id, statement, tree, tuple(changes))


def _constant(_: ast.AST, value: bool) -> ast.AST:
    return ast.Constant(value)


def _without(node: ast.AST, at: int) -> ast.AST:
    assert isinstance(node, ast.Tuple | ast.List | ast.Set)
    del node.elts[at]
    return node


def _defines(tree: ast.Module, names: frozenset[str]) -> bool:
    return any(isinstance(statement, ast.ClassDef) and statement.name in names for statement in tree.body)


def _vocabulary(trees: dict[Path, ast.Module]) -> frozenset[str]:
    """Names whose mention means that the self-target guard is asked, or a layer's switch is looked at."""
    words = set(_ALWAYS)
    for path, tree in trees.items():
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef) and _ABOUT_SELF.search(statement.name):
                words.add(statement.name)
            if not isinstance(statement, ast.ClassDef):
                continue
            methods = {item.name for item in statement.body if isinstance(item, ast.FunctionDef)}
            words |= {name for name in methods if _ABOUT_SELF.search(name)}
            if path == _PREDICATE:
                words |= {name for name in methods if not name.startswith("_")}
            if statement.name in _GUARDS:
                words |= {f"guard.{name}" for name in methods if not name.startswith("_")}
            if statement.name == "SelfGuardLayers":
                words |= {
                    f"layers.{item.target.id}"
                    for item in statement.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
    return frozenset(words)


class _Asked:
    """Which statements of a function ask the guard, or go by an answer that is kept in a local name."""

    def __init__(self, function: ast.FunctionDef, vocabulary: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self._names: set[str] = set()
        # Names that hold an answer; what is worked out from one of them is no answer of the guard any more.
        holding = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and self.concerns(node.value)]
        self._names |= {target.id for node in holding for target in node.targets if isinstance(target, ast.Name)}
        self.any = any(self.concerns(statement) for statement in function.body)

    def concerns(self, node: ast.AST) -> bool:
        """Whether the node mentions the guard; what is only said in a message does not count."""
        if isinstance(node, ast.JoinedStr):
            return False
        if isinstance(node, ast.Attribute):
            if node.attr in self._vocabulary:
                return True
            owner = ast.unparse(node.value)
            if f"layers.{node.attr}" in self._vocabulary and "ayers" in owner:
                return True
            if f"guard.{node.attr}" in self._vocabulary and "guard" in owner:
                return True
        if isinstance(node, ast.Name) and (node.id in self._names or node.id in self._vocabulary - _ALWAYS):
            return True
        if isinstance(node, ast.Compare) and any(
            isinstance(item, ast.Constant) and item.value in self._vocabulary for item in node.comparators
        ):
            return True
        return any(self.concerns(child) for child in ast.iter_child_nodes(node))
