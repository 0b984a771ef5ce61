"""Hashes of upstream code, computed from its source text: nothing of it is imported or run.

Alike on every Python release, and blind to what changes nothing: comments,
docstrings, annotations and layout.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

DATA, FUNCTION, CLASS, MODULE = "data", "function", "class", "module"
KINDS = (DATA, FUNCTION, CLASS, MODULE)

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BLOCKS = ("body", "orelse", "finalbody", "handlers")


def code_hash(text: str, attribute: str, kind: str) -> str:
    """Return the hash of what ``attribute`` (a dotted path) is in a module's source.

    A function or a class: its body. Data: the expressions assigned to it, or
    the whole statements that bind it in another way. A module (``attribute``
    is not looked at): its public names, with the arguments they take.

    :raises LookupError: there is no such thing in the source
    :raises SyntaxError: the text is not Python
    """
    tree = ast.parse(text)
    if kind == MODULE:
        return _digest(tuple(_public_names(tree.body)))
    *holders, name = attribute.split(".")
    body: Sequence[ast.stmt] = tree.body
    for holder in holders:
        classes = [node for _, node in _bindings(body, holder) if isinstance(node, ast.ClassDef)]
        if not classes:
            raise LookupError(attribute)
        body = classes[-1].body
    found = list(_bindings(body, name))
    nodes: list[ast.AST]
    if kind == DATA:
        nodes = [_value(outer, node) for outer, node in found]
    else:
        nodes = [node for _, node in found if isinstance(node, _DEFINITIONS)]
    if not nodes:
        raise LookupError(attribute)
    for node in nodes:
        _strip(node)
    return _digest(_shape(ast.Module(body=nodes, type_ignores=[])))  # type: ignore[arg-type]


def _bindings(body: Sequence[ast.AST], name: str, outer: ast.stmt | None = None) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """Give each statement that binds a name in a body, with the outermost statement around it."""
    for statement in body:
        around = outer or statement
        if isinstance(statement, _DEFINITIONS):
            if statement.name == name:
                yield around, statement  # type: ignore[misc]
            continue
        if name in _bound(statement):
            yield around, statement  # type: ignore[misc]
        for block in _BLOCKS:
            yield from _bindings(getattr(statement, block, ()), name, around)  # type: ignore[arg-type]


def _bound(statement: ast.AST) -> set[str]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign) or (isinstance(statement, ast.AnnAssign) and statement.value):
        targets = [statement.target]
    return {
        node.id for target in targets for node in ast.walk(target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }  # fmt: skip


def _value(outer: ast.stmt, node: ast.AST) -> ast.AST:
    if outer is node and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        return ast.Expr(value=node.value)
    # Under a condition it is the condition that a porter wants to hear of.
    return outer


def _public_names(body: Sequence[ast.stmt]) -> Iterator[Any]:
    names: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, _DEFINITIONS):
            names[statement.name] = _signature(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            names.update(dict.fromkeys(_bound(statement), "data"))
    return ((name, names[name]) for name in sorted(names) if not name.startswith("_"))


def _signature(node: ast.AST) -> Any:
    if isinstance(node, ast.ClassDef):
        return "class"
    _strip(node)
    return type(node).__name__, _shape(getattr(node, "args", None))


def _strip(tree: ast.AST) -> None:
    """Take docstrings and annotations out."""
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None


def _shape(item: Any) -> Any:
    """Return a syntax tree as nested tuples, alike on every Python release: empty fields are left out."""
    if isinstance(item, ast.AST):
        fields = [(name, _shape(value)) for name, value in ast.iter_fields(item) if value not in (None, [])]
        return (type(item).__name__, tuple(fields))
    if isinstance(item, list):
        return tuple(_shape(element) for element in item)
    return item


def _digest(shape: Any) -> str:
    return hashlib.sha256(repr(shape).encode()).hexdigest()[:16]
