"""Find a piece of Python on the syntax tree of a file, and put another piece in its place.

Format, comments and quotes do not count. In a pattern `___` is any expression, or any number of
statements, elements or arguments; `___a`, `___b`, ... are the same with names. In the new piece
such a name stands for what it has matched.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from typing import Any

WILDCARD = "___"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Fields that say nothing about what the code does
_UNREAD = ("ctx", "kind", "type_comment", "type_ignores")

# What each wildcard has matched
Caught = list[tuple[str, list[ast.AST]]]
# The nodes that a pattern has matched
Match = tuple[Sequence[ast.AST], Caught]


class Misfit(ValueError):
    """A piece does not stand exactly once where it should."""


@functools.cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def replace(text: str, name: str, old: str, new: str) -> str:
    """Replace the one `old` in the function or class of this qualified name, else in the file."""
    scopes = _named(parsed(text), name)
    if not scopes:
        raise Misfit(f"there is no {name}")
    pattern, pieces = ast.parse(old).body, ast.parse(new).body
    if one := _expression(pattern) if _expression(pieces) else None:
        found = [match for scope in scopes for match in _expressions(scope, one)]
    else:
        found = [match for scope in scopes for match in _statements(scope, pattern)]
    if len(found) != 1:
        raise Misfit(f"the old piece stands {len(found)} times in {name or 'the file'}")
    nodes, caught = found[0]
    filled = [_Fill(caught).visit(piece) for piece in pieces]
    return _spliced(text, nodes, ast.unparse(ast.Module(_flat(filled), [])))


def _named(tree: ast.AST, name: str) -> list[ast.AST]:
    found = [tree]
    for part in filter(None, name.split(".")):
        found = [one for node in found for one in _definitions(node) if one.name == part]
    return found


def _definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES):
            yield child
        elif not isinstance(child, ast.expr):
            yield from _definitions(child)


def _expression(body: list[ast.stmt]) -> ast.expr | None:
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None


def _expressions(scope: ast.AST, pattern: ast.expr) -> Iterator[Match]:
    for node in _walk(scope):
        caught: Caught = []
        if isinstance(node, ast.expr) and _fits(pattern, node, caught):
            yield [node], caught


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    # Python 3.11 gives what stands within an f-string no true place.
    if not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from _walk(child)


def _statements(scope: ast.AST, pattern: list[ast.stmt]) -> Iterator[Match]:
    bodies = [[scope]]
    for node in ast.walk(scope):
        bodies += [
            value
            for _, value in ast.iter_fields(node)
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt)
        ]
    longest = max(map(len, bodies)) if any(map(_wildcard, pattern)) else len(pattern)
    for body in bodies:
        for start in range(len(body)):
            for end in range(start + len(pattern), min(start + longest, len(body)) + 1):
                caught: Caught = []
                if _fits(pattern, body[start:end], caught):
                    yield body[start:end], caught


def _fits(pattern: object, code: object, caught: Caught) -> bool:
    """Compare two nodes, lists or values; add what wildcards match to `caught`."""
    if isinstance(pattern, list):
        return isinstance(code, list) and _list_fits(pattern, code, caught)
    if not isinstance(pattern, ast.AST):
        return type(pattern) is type(code) and pattern == code
    if not isinstance(code, ast.AST):
        return False
    if name := _wildcard(pattern):
        caught.append((name, [code]))
        return True
    if type(pattern) is not type(code):
        return False
    if isinstance(pattern, ast.Call) and isinstance(code, ast.Call):
        return _call_fits(pattern, code, caught)
    return all(
        _fits(getattr(pattern, field), getattr(code, field), caught)
        for field in pattern._fields
        # A definition's decorators stay.
        if field not in (*_UNREAD, "decorator_list")
    )


def _list_fits(pattern: list[Any], code: list[Any], caught: Caught) -> bool:
    if not pattern:
        return not code
    first, rest = pattern[0], pattern[1:]
    name = _wildcard(first)
    for length in range(len(code) + 1) if name else (1,):
        more: Caught = [(name, code[:length])] if name else []
        here = bool(name) or (bool(code) and _fits(first, code[0], more))
        if here and _list_fits(rest, code[length:], more):
            caught += more
            return True
    return False


def _call_fits(pattern: ast.Call, code: ast.Call, caught: Caught) -> bool:
    """`f(___, x=1)`: the wildcard stands for keywords, too."""
    wildcard = next(filter(None, map(_wildcard, pattern.args)), "")
    named = {keyword.arg for keyword in pattern.keywords}
    chosen = [one for one in code.keywords if not wildcard or one.arg in named]
    mine: Caught = []
    if not (
        _fits(pattern.func, code.func, mine)
        and _fits(pattern.args, code.args, mine)
        and _fits(pattern.keywords, chosen, mine)
    ):
        return False
    for name, nodes in mine:
        if name == wildcard:
            # Of what the pattern names the place alone
            nodes += [_Place(one.arg) if one in chosen else one for one in code.keywords]
            break
    caught += mine
    return True


class _Place(ast.keyword):
    """The place of a keyword in the pattern."""

    def __init__(self, arg: str | None) -> None:
        super().__init__(arg, ast.Constant(None))


def _wildcard(node: object) -> str:
    """The name of a wildcard: as an expression, a statement or all parameters of a function."""
    if isinstance(node, ast.arguments):
        alone = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        name = alone[0].arg if len(alone) == 1 else ""
    else:
        node = node.value if isinstance(node, ast.Expr) else node
        name = node.id if isinstance(node, ast.Name) else ""
    return name if name.startswith(WILDCARD) else ""


class _Fill(ast.NodeTransformer):
    """Put what wildcards have matched into a new piece."""

    def __init__(self, caught: Caught) -> None:
        self._caught = caught

    def visit(self, node: ast.AST) -> Any:
        if not (name := _wildcard(node)):
            return super().visit(node)
        found = [nodes for other, nodes in self._caught if other == name]
        if len(found) != 1:
            raise Misfit(f"{name} has matched {len(found)} times")
        return found[0][0] if len(found[0]) == 1 else found[0]

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        given = {one.arg: one for one in node.keywords}
        caught = [one for one in node.args if isinstance(one, ast.keyword)]
        node.args = [one for one in node.args if not isinstance(one, ast.keyword)]
        kept = [given.pop(one.arg, None) if isinstance(one, _Place) else one for one in caught]
        node.keywords = [*filter(None, kept), *given.values()]
        return node


def _flat(pieces: list[Any]) -> list[Any]:
    return [one for piece in pieces for one in (piece if isinstance(piece, list) else [piece])]


def _spliced(text: str, nodes: Sequence[Any], new: str) -> str:
    """The text with other code where the nodes stand; nothing else of it changes."""
    first, last = nodes[0], nodes[-1]
    lines = text.encode().split(b"\n")
    head = [*lines[: first.lineno - 1], lines[first.lineno - 1][: first.col_offset]]
    tail = [lines[last.end_lineno - 1][last.end_col_offset :], *lines[last.end_lineno :]]
    if isinstance(first, ast.expr):
        new = f"({new})"
    elif lines[first.lineno - 1][first.col_offset :].startswith(b"elif"):
        new = f"el{new}" if new else ""
    indented = new.replace("\n", "\n" + " " * first.col_offset)
    return (b"\n".join(head) + indented.encode() + b"\n".join(tail)).decode()
