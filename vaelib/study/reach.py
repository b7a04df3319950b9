r"""What a result depends on: the definitions that are reached from the code that makes it.

From a function or class every name and every `module.attribute` is followed through this package, base classes,
defaults and constants included. What counts is the code of what is found, without comments, docstrings, the types of
arguments and the wording of errors, and its short name, so that definitions can move between files. What is reached
through `getattr` or a registry is not seen: hand it over as a root.
"""

import ast
import hashlib
import importlib.util
import inspect
import json
import symtable
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache as memoise
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vaelib.errors import MendableError

PACKAGE = __name__.partition(".")[0]


class UnreachableCodeError(MendableError, ValueError):
    """The code of a function or class cannot be read; the message says how to define it instead."""


class Place(NamedTuple):
    """A definition of this package: its module and its name."""

    module: str
    name: str


#: Values that count where a visitor's code reads them by a name.
PLAIN = (int, float, str, tuple, type(None))
#: What the names of a module mean: a definition, or a module by its name.
Names = Mapping[str, Place | str]


def digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form, first 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(*roots: Any) -> str:
    """Digest of what is reached from functions, classes and partials of them; see :func:`reached`."""
    return digest(sorted(reached(*roots)))


def source_digest(source: str) -> str:
    """Digest of what a piece of code reaches in this package, such as the cells of a notebook."""
    tree = _Bare().visit(ast.parse(source))
    return digest(sorted(_follow(_read(tree, _imports(tree)))))


def reached(*roots: Any) -> list[tuple[str, str]]:
    """The short name and the bare code of each definition that is reached from functions, classes and partials.

    They may be a visitor's own, defined in a notebook or in another package: these count as well, with the numbers and
    texts that they read. Raises `UnreachableCodeError` where their source cannot be read.
    """
    found: dict[tuple[str, str], None] = {}
    places: list[Place] = []
    pending = list(_unpacked(roots))
    while pending:
        root = pending.pop()
        if _is_ours(root.__module__):
            places.append(Place(root.__module__, root.__qualname__.partition(".")[0]))
        elif (code := (root.__qualname__, ast.unparse(tree := _foreign(root)))) not in found:
            found[code] = None
            read = {name: value for name, value in _globals(root).items() if name in _free(tree)}
            modules = {name: value.__name__ for name, value in read.items() if isinstance(value, ModuleType)}
            places += _read(tree, {name: module for name, module in modules.items() if _is_ours(module)})
            pending += [
                v for v in _unpacked(read.values()) if v.__module__ == root.__module__ or _is_ours(v.__module__)
            ]
            found |= {(name, repr(value)): None for name, value in read.items() if isinstance(value, PLAIN)}
    return [*found, *_follow(places)]


def _unpacked(roots: Iterable[Any]) -> Iterator[Any]:
    """The functions and classes, those within partials too."""
    for root in roots:
        if isinstance(root, partial):
            yield from _unpacked((root.func, *root.args, *root.keywords.values()))
        elif inspect.isfunction(root) or inspect.isclass(root):
            yield root


def _follow(places: Iterable[Place]) -> list[tuple[str, str]]:
    found: dict[Place, str] = {}
    pending = list(places)
    while pending:
        place = pending.pop()
        if place not in found:
            found[place], read = _definition(place)
            pending += read
    return [(place.name, code) for place, code in found.items()]


@memoise
def _definition(place: Place) -> tuple[str, tuple[Place, ...]]:
    """The bare code of a definition, and the definitions that it reads."""
    module = _module(place.module)
    tree = ast.Module(module.definitions[place.name], [])
    return ast.unparse(tree), tuple(_read(tree, module.names))


class _Module(NamedTuple):
    definitions: dict[str, list[ast.stmt]]
    """The statements at the top of the module that bind each name."""
    names: dict[str, Place | str]


@memoise
def _module(name: str) -> _Module:
    tree = _Bare().visit(ast.parse(_source(name)))
    definitions: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            table = symtable.symtable(ast.unparse(statement), name, "exec")
            for symbol in table.get_symbols():
                if symbol.is_assigned():
                    definitions.setdefault(symbol.get_name(), []).append(statement)
    return _Module(definitions, _imports(tree) | {defined: Place(name, defined) for defined in definitions})


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin, module
    return Path(spec.origin).read_text(encoding="utf-8")


def _imports(tree: ast.AST) -> dict[str, Place | str]:
    """What is imported from this package, anywhere in the tree."""
    names: dict[str, Place | str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or PACKAGE: a.name if a.asname else PACKAGE for a in node.names if _is_ours(a.name)}
        elif isinstance(node, ast.ImportFrom) and _is_ours(str(node.module)):
            for alias in node.names:
                names[alias.asname or alias.name] = Place(str(node.module), alias.name)
    return names


def _attribute(module: str, name: str) -> Place | str:
    """A submodule, or a definition, by way of the modules that only hand it on."""
    names = _module(module).names
    if name in names:
        target = names[name]
        return target if target == Place(module, name) or isinstance(target, str) else _attribute(*target)
    return f"{module}.{name}"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _read(tree: ast.AST, names: Names) -> Iterator[Place]:
    """The definitions that code reads by a name, or as an attribute of a module."""
    free = _free(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            target: Place | str | None = None
            for part in _dotted(node):
                if target is None and part in free:
                    target = names.get(part)
                    target = _attribute(*target) if isinstance(target, Place) else target
                elif isinstance(target, str):
                    target = _attribute(target, part)
                if target is None:
                    break
            if isinstance(target, Place):
                yield target


def _dotted(node: ast.expr) -> list[str]:
    """`a.b.c` as its names; empty for the attribute of anything but a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*inner, node.attr] if inner and isinstance(node, ast.Attribute) else []


def _free(tree: ast.AST) -> set[str]:
    """The names that code reads from outside of its functions."""

    def reads(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        own = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
        return own.union(*map(reads, table.get_children()))

    return reads(symtable.symtable(ast.unparse(tree), PACKAGE, "exec"))


def _foreign(root: Any) -> ast.AST:
    """The bare code of a function or class from outside of this package."""
    try:
        return _Bare().visit(ast.parse(textwrap.dedent(_text(root))))
    except (OSError, TypeError, SyntaxError) as error:
        raise UnreachableCodeError(
            f"the code of {root.__qualname__} cannot be read, so what is computed with it could not be told from what "
            "is computed with another: define it by `def`, or by `class` with a method of its own, in a cell of a "
            "notebook or in a file"
        ) from error


def _text(root: Any) -> str:
    """The source of a function or class; a class of a notebook, which has no file, stands where its methods do."""
    if inspect.isclass(root) and not getattr(sys.modules.get(root.__module__), "__file__", None):
        for method in map(inspect.unwrap, filter(inspect.isfunction, vars(root).values())):
            with suppress(OSError):  # a method that a decorator made has no source
                for node in ast.walk(ast.parse("".join(inspect.findsource(method)[0]))):
                    if isinstance(node, ast.ClassDef) and node.name == root.__name__ and _holds(node, method):
                        return ast.unparse(node)
    return inspect.getsource(root)


def _holds(node: ast.ClassDef, method: Any) -> bool:
    return node.lineno <= method.__code__.co_firstlineno <= (node.end_lineno or 0)


def _globals(root: Any) -> dict[str, Any]:
    """What names mean in the code of a function or class."""
    return getattr(root, "__globals__", None) or vars(sys.modules[root.__module__])


class _Bare(ast.NodeTransformer):
    """Code without docstrings, types of arguments and the wording of errors."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(body := getattr(node, "body", None), list):
            code = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = code if code or isinstance(node, ast.Module) else [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(ast.unparse(node.annotation))  # kept as a text, not followed
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return self.generic_visit(node)
