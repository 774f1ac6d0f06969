"""Mutants, and how one is put in force in a running process: by exchanging code, so that every import sees it."""

from __future__ import annotations

import ast
import copy
import gc
import importlib
import inspect
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any

from tests.mutation.flips import Flip, mutated
from tests.mutation.places import Place, places


@dataclass(frozen=True)
class Mutant:
    """One flipped decision."""

    place: Place
    flip: Flip
    number: int
    """Which of several of the same words in this place."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What names it as long as its source says the same: no line number."""
        return self.place.file, self.place.qualname, self.flip.what, self.number

    @cached_property
    def lines(self) -> range:
        """Those of the smallest statement that it changes; of a compound statement those of its head."""
        nodes = list(ast.walk(self.place.node))
        changed = nodes[self.flip.where]
        holding = (node for node in nodes if isinstance(node, ast.stmt) and changed in ast.walk(node))
        statement = list(holding)[-1]
        body = getattr(statement, "body", None)
        after = body[0].lineno if body else (statement.end_lineno or statement.lineno) + 1
        return range(statement.lineno, max(after, statement.lineno + 1))

    def __str__(self) -> str:
        return f"{self.place.file}:{self.flip.line}: {self.place.qualname}: {self.flip.what}"


def mutants() -> list[Mutant]:
    """All of them, in the order of the source."""
    found = []
    for place in places():
        seen: Counter[str] = Counter()
        for flip in place.flips:
            found.append(Mutant(place, flip, seen[flip.what]))
            seen[flip.what] += 1
    return found


def put_in_force(mutant: Mutant) -> None:
    """Change this process; there is no way back."""
    module = importlib.import_module(mutant.place.module)
    node = mutant.place.node
    if not isinstance(node, ast.FunctionDef):
        _exchange_value(module, mutant)
        return
    changed = mutated(node, mutant.flip)
    tree = copy.copy(mutant.place.tree)
    tree.body = [_replaced(statement, node, changed) for statement in tree.body]
    compiled = compile(ast.fix_missing_locations(tree), str(mutant.place.path), "exec", dont_inherit=True)
    _function(module, mutant.place.qualname).__code__ = _code(compiled, mutant.place.qualname)


def _replaced(statement: ast.stmt, old: ast.FunctionDef, new: ast.FunctionDef) -> ast.stmt:
    if statement is old:
        return new
    if isinstance(statement, ast.ClassDef) and old in statement.body:
        changed = copy.copy(statement)
        changed.body = [new if item is old else item for item in statement.body]
        return changed
    return statement


def _code(compiled: CodeType, qualname: str) -> CodeType:
    for constant in compiled.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == qualname:
                return constant
            if qualname.startswith(f"{constant.co_qualname}."):
                return _code(constant, qualname)
    raise LookupError(qualname)


def _function(module: Any, qualname: str) -> FunctionType:
    found: Any = module
    for name in qualname.split("."):
        found = found.__dict__[name]
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, cached_property):
        found = found.func
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    function = inspect.unwrap(found)
    assert isinstance(function, FunctionType)
    return function


def _exchange_value(module: Any, mutant: Mutant) -> None:
    statement = copy.deepcopy(mutant.place.node)
    assert isinstance(statement, ast.Assign | ast.AnnAssign)
    assert statement.value is not None
    nodes = list(ast.walk(statement.value))
    replacement = mutant.flip.change(nodes[mutant.flip.where])
    value = replacement if mutant.flip.where == 0 else statement.value
    assert isinstance(value, ast.expr)
    new = eval(compile(ast.fix_missing_locations(ast.Expression(value)), "mutant", "eval"), vars(module))
    *owner, name = mutant.place.qualname.split(".")
    if owner:
        _exchange_default(vars(module)[owner[0]], name, new)
        return
    old = vars(module)[name]
    for holder in list(sys.modules.values()):
        for key, value_there in list(vars(holder).items()):
            if value_there is old:
                setattr(holder, key, new)
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__defaults__:
            function.__defaults__ = tuple(new if item is old else item for item in function.__defaults__)


def _exchange_default(owner: Any, name: str, new: object) -> None:
    if hasattr(owner, "model_fields"):
        owner.model_fields[name].default = new
        owner.model_rebuild(force=True)
    else:
        owner.__init__.__kwdefaults__[name] = new
