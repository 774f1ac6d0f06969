"""Mutants of decisions, made from the source by its syntax tree: each flips exactly one decision.

What is flipped: a guard's answer, a comparison (negated, and its edge moved), an operand of and/or (left out), a test
(negated), a condition of a comprehension (left out), a refusal (not raised), a check (not asked), a loop (over
nothing), an element of a list of things to look at (left out), a found name (not returned), a switch's default.
A decision of a shape that is not known here is an error: it would be taken for tested without being so.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

_ANSWERS = {"allow": "deny", "deny": "allow", "needs_approval": "allow"}
_MEMBERS = {"ALLOW": "DENY", "DENY": "ALLOW", "NEEDS_APPROVAL": "ALLOW"}
_EDGES: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_UNKNOWN = (ast.Match, ast.While, ast.Assert, ast.AsyncFunctionDef, ast.TryStar)
_OTHER_ANSWER = (
    "given.model_copy(update={'answer': type(given.answer)('deny' if given.answer == 'allow' else 'allow')})"
)

Function = ast.FunctionDef
Change = tuple[str, Callable[[ast.AST], ast.AST | None]]
"""What is flipped in words, and how."""


class UnknownShapeError(Exception):
    """A decision is written in a way that no mutant is known for."""


@dataclass(frozen=True)
class Flip:
    """One change of one node: `where` counts the function's nodes in the order of `ast.walk`."""

    line: int
    what: str
    where: int
    change: Callable[[ast.AST], ast.AST | None]
    """The node that stands in its place; None removes it from the list it is an element of."""


def flips(function: Function, wanted: Callable[[ast.AST], bool] | None = None) -> list[Flip]:
    """All mutants of a function. With `wanted` only those inside statements for which it is true.

    Raises UnknownShapeError.
    """
    numbers = {id(node): number for number, node in enumerate(ast.walk(function))}
    within = _within(function, wanted) if wanted is not None else None
    for node in ast.walk(function):
        if isinstance(node, _UNKNOWN) and (within is None or id(node) in within):
            raise UnknownShapeError(f"line {node.lineno}: {type(node).__name__} in {function.name}: {_said(node)}")
    found = []
    for node, parent in _nodes(function):
        if within is None or id(node) in within:
            for what, change in _changes(node, parent, function):
                found.append(Flip(getattr(node, "lineno", function.lineno), what, numbers[id(node)], change))
    return found


def mutated(function: Function, flip: Flip) -> Function:
    """A copy of the function with this one change."""
    mutant = copy.deepcopy(function)
    target = next(node for number, node in enumerate(ast.walk(mutant)) if number == flip.where)
    replacement = flip.change(target)
    for parent in ast.walk(mutant):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, replacement)
            elif isinstance(value, list) and any(item is target for item in value):
                index = next(number for number, item in enumerate(value) if item is target)
                value[index : index + 1] = [] if replacement is None else [replacement]
    return ast.fix_missing_locations(mutant)


def _within(function: Function, wanted: Callable[[ast.AST], bool]) -> set[int]:
    """Nodes of the smallest statements that are wanted; of a compound statement only its head."""
    inside: set[int] = set()
    for statement in ast.walk(function):
        if not isinstance(statement, ast.stmt) or statement is function:
            continue
        head: list[ast.AST] = (
            [statement.test]
            if isinstance(statement, ast.If | ast.While)
            else [statement.iter]
            if isinstance(statement, ast.For)
            else [item.context_expr for item in statement.items]
            if isinstance(statement, ast.With)
            else []
            if isinstance(statement, ast.Try | ast.FunctionDef)
            else [statement]
        )
        if any(wanted(part) for part in head):
            if isinstance(statement, ast.If | ast.For | ast.While):
                inside.add(id(statement))
            inside.update(id(node) for part in head for node in ast.walk(part))
    return inside


def _nodes(function: Function) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node of the body with its parent; annotations and texts are left out."""
    waiting: list[tuple[ast.AST, ast.AST]] = [(statement, function) for statement in function.body]
    while waiting:
        node, parent = waiting.pop(0)
        yield node, parent
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
                continue
            children = value if isinstance(value, list) else [value]
            waiting += [(child, node) for child in children if isinstance(child, ast.AST)]


def _changes(node: ast.AST, parent: ast.AST, function: Function) -> Iterator[Change]:
    if isinstance(node, ast.Return):
        yield from _returned(node, function)
    elif isinstance(node, ast.Compare | ast.BoolOp | ast.If | ast.IfExp):
        yield from _tested(node)
    elif isinstance(node, ast.comprehension | ast.For):
        yield from _gone_through(node)
    elif isinstance(node, ast.Raise | ast.Expr):
        yield from _done(node)
    elif isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "Answer" and not isinstance(parent, ast.Compare):
            yield f"Answer.{node.attr} -> Answer.{_MEMBERS[node.attr]}", partial(_set, attr=_MEMBERS[node.attr])
    elif isinstance(node, ast.Tuple | ast.List | ast.Set) and _looked_through(node, parent):
        for number, element in enumerate(node.elts):
            yield f"without {_said(element)} in {_said(node)}", partial(_without, name="elts", at=number)


def _tested(node: ast.Compare | ast.BoolOp | ast.If | ast.IfExp) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        yield f"not ({_said(node)})", _negated
        for number, operator in enumerate(node.ops):
            if type(operator) in _EDGES:
                yield f"the edge of {_said(node)}", partial(_edge, at=number, to=_EDGES[type(operator)])
    elif isinstance(node, ast.BoolOp):
        for number, operand in enumerate(node.values):
            yield f"without {_said(operand)} in {_said(node)}", partial(_shorter, at=number)
    elif not isinstance(node.test, ast.Compare):
        yield f"if not ({_said(node.test)})", _test_negated


def _gone_through(node: ast.comprehension | ast.For) -> Iterator[Change]:
    yield f"over nothing instead of {_said(node.iter)}", partial(_set, iter=ast.Tuple([], ast.Load()))
    if isinstance(node, ast.comprehension):
        for number, test in enumerate(node.ifs):
            yield f"without `if {_said(test)}`", partial(_without, name="ifs", at=number)


def _done(node: ast.Raise | ast.Expr) -> Iterator[Change]:
    if isinstance(node, ast.Raise) or isinstance(node.value, ast.Call):
        yield f"without {_said(node)}", lambda _: ast.Pass()
    elif isinstance(node.value, ast.Yield | ast.YieldFrom):
        yield f"without {_said(node)}", lambda _: ast.parse("yield from ()").body[0]


def _returned(node: ast.Return, function: Function) -> Iterator[Change]:
    value, declared = node.value, _said(function.returns) if function.returns is not None else ""
    if declared == "Decision":
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _ANSWERS:
            other = _ANSWERS[value.func.id]
            yield f"return {value.func.id} -> {other}", partial(_answering, other=other)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Decision":
            if not any(
                isinstance(word.value, ast.Attribute | ast.Name) for word in value.keywords if word.arg == "answer"
            ):
                raise UnknownShapeError(f"line {node.lineno}: a Decision without a plain answer in {function.name}")
            yield f"the other answer than {_said(value)}", _answering_otherwise
        elif isinstance(value, ast.Name) or (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
            yield f"the other answer than {_said(value)}", _answering_otherwise
        else:
            raise UnknownShapeError(f"line {node.lineno}: `{_said(node)}` in {function.name} is no known decision")
    elif value is None or (isinstance(value, ast.Constant) and value.value is None):
        return
    elif declared.endswith("| None"):
        yield f"return None instead of {_said(value)}", partial(_set, value=ast.Constant(None))
    elif declared == "bool" and not isinstance(value, ast.Compare):
        yield f"return not ({_said(value)})", _value_negated


def _looked_through(node: ast.Tuple | ast.List | ast.Set, parent: ast.AST) -> bool:
    """Whether the display is a list of things that are gone through, not a pair or a target of an assignment."""
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or not node.elts:
        return False
    if isinstance(parent, ast.Assign | ast.Return | ast.Subscript | ast.Tuple | ast.BinOp):
        return isinstance(parent, ast.Assign) and not any(isinstance(item, ast.Tuple) for item in parent.targets)
    return not (isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id == "isinstance")


# Each takes the copied node, so that the original stays as it is.


def _set(node: ast.AST, **fields: object) -> ast.AST:
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def _without(node: ast.AST, name: str, at: int) -> ast.AST:
    del getattr(node, name)[at]
    return node


def _test_negated(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.If | ast.IfExp)
    return _set(node, test=_negated(node.test))


def _value_negated(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.Return)
    assert node.value is not None
    return _set(node, value=_negated(node.value))


def _negated(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    assert isinstance(node, ast.expr)
    return ast.copy_location(ast.UnaryOp(ast.Not(), node), node)


def _edge(node: ast.AST, at: int, to: type[ast.cmpop]) -> ast.AST:
    assert isinstance(node, ast.Compare)
    node.ops[at] = to()
    return node


def _shorter(node: ast.AST, at: int) -> ast.AST:
    assert isinstance(node, ast.BoolOp)
    node.values = [value for number, value in enumerate(node.values) if number != at]
    return node if len(node.values) > 1 else node.values[0]


def _answering(node: ast.AST, other: str) -> ast.AST:
    assert isinstance(node, ast.Return)
    call = node.value
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    if call.func.id == "needs_approval":
        call.args = call.args[1:]
    call.func = ast.Name(other, ast.Load())
    return node


def _answering_otherwise(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.Return)
    flip = ast.parse(f"(lambda given: {_OTHER_ANSWER})(None)", mode="eval").body
    assert isinstance(flip, ast.Call)
    assert node.value is not None
    flip.args = [node.value]
    node.value = flip
    return node


def _said(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:87]}..."
