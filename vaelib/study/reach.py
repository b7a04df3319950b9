r"""What a result depends on: the definitions that are reached from the code that makes it.

From a function or class every name and every `module.attribute` is followed through this package, base classes,
defaults and constants included. What counts is the code of what is found, without comments, docstrings, the types of
arguments and the wording of errors, and its short name, so that definitions can move between files; what the names of
other packages stand for; and statements that change an object at the top of its module. What is reached through
`getattr` or a registry is not seen: hand it over as a root.
"""

import ast
import hashlib
import importlib.util
import inspect
import json
import symtable
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache as memoise
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib.errors import MendableError
from vaelib.study.syntax import Bare, changed, dotted, free

PACKAGE = __name__.partition(".")[0]


class UnreachableCodeError(MendableError, ValueError):
    """The code of a function or class cannot be read; the message says how to define it instead."""


class Place(NamedTuple):
    """A definition of this package: its module and its name."""

    module: str
    name: str


#: Values that count where a visitor's code reads them by a name.
PLAIN = (int, float, complex, str, bytes, type(None))
#: What the names of a module mean: a definition, or a module by its name.
Names = Mapping[str, Place | str]


def digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form, first 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(*roots: Any, within: str = "") -> str:
    """Digest of what is reached from functions, classes and partials of them; see :func:`reached`."""
    return digest(sorted(reached(*roots, within=within)))


def source_digest(source: str) -> str:
    """Digest of what a piece of code reaches in this package, such as the cells of a notebook."""
    tree = Bare().visit(ast.parse(source))
    return digest(sorted(_follow(_read(tree, *_imports(tree)))))


def reached(*roots: Any, within: str = "") -> list[tuple[str, str]]:
    """The short name and the bare code of each definition that is reached from functions, classes and partials.

    Of this package only definitions of the module `within` count, if one is named.

    They may be a visitor's own, defined in a notebook or in a file: these count as well, with what they read of the
    visitor's other files, numbers, texts, tensors, and containers of these. Installed packages do not. Raises
    `UnreachableCodeError` for what has no source or holds a state, as a bound method does.
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
            for name, value in _values(root, tree):
                found[name, _constant(value)] = None
                pending += [part for part in _unpacked([value]) if _is_visitors(part) or _is_ours(part.__module__)]
    return [*found, *_follow(places, within)]


def _unpacked(roots: Iterable[Any]) -> Iterator[Any]:
    """The functions and classes, those within partials and containers too, decorators taken off."""
    for root in roots:
        if isinstance(root, partial):
            yield from _unpacked((root.func, *root.args, *root.keywords.values()))
        elif isinstance(root, tuple | list | dict):
            yield from _unpacked(root.values() if isinstance(root, dict) else root)
        elif inspect.isclass(root) or inspect.isfunction(inner := inspect.unwrap(root) if callable(root) else None):
            yield root if inspect.isclass(root) else inner
        elif inspect.ismethod(root) or (callable(root) and _is_visitors(type(root))):
            raise UnreachableCodeError(
                f"{root!r} holds a state, which cannot be told from another: give a function that is defined by `def`, "
                "a class, or functools.partial of one"
            )


def _is_visitors(thing: Any) -> bool:
    """Whether a function or class is neither ours, nor Python's, nor an installed package's."""
    module = sys.modules.get(str(thing.__module__))
    file = getattr(module, "__file__", None)
    installed = (sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
    if file is None:
        return thing.__module__ == "__main__"
    return not _is_ours(thing.__module__) and not any(Path(file).is_relative_to(folder) for folder in installed)


def _constant(value: Any) -> str:
    """A value that code reads, as a text; empty for what is followed or an installed package's."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray):
        return hashlib.sha256(np.asarray(torch.as_tensor(value).detach().cpu()).tobytes()).hexdigest()
    if isinstance(value, dict):
        return str([(_constant(name), _constant(part)) for name, part in value.items()])
    if isinstance(value, tuple | list):
        return str([_constant(part) for part in value])
    return str(sorted(map(_constant, value))) if isinstance(value, set | frozenset) else ""


def _follow(places: Iterable[Place], within: str = "") -> list[tuple[str, str]]:
    found: dict[Place, str] = {}
    pending = list(places)
    while pending:
        place = pending.pop()
        if place not in found and within in ("", place.module):
            found[place], read = _definition(place)
            pending += read
    return [(place.name, code) for place, code in found.items()]


@memoise
def _definition(place: Place) -> tuple[str, tuple[Place, ...]]:
    """The bare code of a definition with what its names from other packages are, and the definitions that it reads."""
    module = _module(place.module)
    tree = ast.Module(module.definitions[place.name], [])
    others = [f"{name} is {module.others[name]}" for name in sorted(free(tree) & module.others.keys())]
    return "\n".join([ast.unparse(tree), *others]), tuple(_read(tree, module.names, module.stars))


class _Module(NamedTuple):
    definitions: dict[str, list[ast.stmt]]
    """The statements at the top of the module that bind each name, or change what it is bound to."""
    names: dict[str, Place | str]
    stars: list[str]
    """Modules of which everything is imported."""
    others: dict[str, str]
    """What is imported from other packages, by the name that it has here."""


@memoise
def _module(name: str) -> _Module:
    tree = Bare().visit(ast.parse(_source(name)))
    statements = [part for part in tree.body if not isinstance(part, ast.Import | ast.ImportFrom)]
    definitions: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        table = symtable.symtable(ast.unparse(statement), name, "exec")
        for bound in (symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()):
            definitions.setdefault(bound, []).append(statement)
    for statement in statements:
        for name_of in changed(statement) & definitions.keys():
            if statement not in definitions[name_of]:
                definitions[name_of].append(statement)
    names, stars = _imports(tree)
    own: dict[str, Place | str] = {defined: Place(name, defined) for defined in definitions}
    return _Module(definitions, names | own, stars, _others(tree))


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin, module
    return Path(spec.origin).read_text(encoding="utf-8")


def _imports(tree: ast.AST) -> tuple[dict[str, Place | str], list[str]]:
    """What is imported from this package, anywhere in the tree: by name, and the modules of which everything is."""
    names: dict[str, Place | str] = {}
    stars: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or PACKAGE: a.name if a.asname else PACKAGE for a in node.names if _is_ours(a.name)}
        elif isinstance(node, ast.ImportFrom) and _is_ours(str(node.module)):
            stars += [str(node.module) for alias in node.names if alias.name == "*"]
            names |= {a.asname or a.name: Place(str(node.module), a.name) for a in node.names if a.name != "*"}
    return names, stars


def _others(tree: ast.AST) -> dict[str, str]:
    """What is imported from other packages."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.partition(".")[0]: a.name for a in node.names if not _is_ours(a.name)}
        elif isinstance(node, ast.ImportFrom) and not _is_ours(str(node.module)):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _attribute(module: str, name: str) -> Place | str:
    """A submodule, or a definition, by way of the modules that only hand it on; raises where it is neither."""
    found = _module(module)
    target = found.names.get(name)
    if name in found.definitions:
        return Place(module, name)
    if isinstance(target, str):
        return target
    if target and target != (module, name):
        return _attribute(*target)
    for star in found.stars:
        with suppress(UnreachableCodeError):
            return _attribute(star, name)
    with suppress(ModuleNotFoundError):
        if importlib.util.find_spec(f"{module}.{name}"):
            return f"{module}.{name}"
    raise UnreachableCodeError(f"{module} has no {name} that can be followed; import it from where it is defined")


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _read(tree: ast.AST, names: Names, stars: Iterable[str] = ()) -> Iterator[Place]:
    """The definitions that code reads by a name or as an attribute of a module; all of a module that it hands on."""
    outside = free(tree)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute) or not (parts := dotted(node)) or parts[0] not in outside:
            continue
        target = _meaning(parts[0], names, stars)
        for part in parts[1:]:
            target = _attribute(target, part) if isinstance(target, str) else target
        if isinstance(target, Place):
            yield target
        elif target and id(node) not in inner:
            yield from (Place(target, name) for name in _module(target).definitions)


def _meaning(name: str, names: Names, stars: Iterable[str]) -> Place | str | None:
    if name in names:
        target = names[name]
        return _attribute(*target) if isinstance(target, Place) else target
    for star in stars:
        with suppress(UnreachableCodeError):
            return _attribute(star, name)
    return None


def _foreign(root: Any) -> ast.AST:
    """The bare code of a function or class from outside of this package."""
    try:
        return Bare().visit(ast.parse(textwrap.dedent(_text(root))))
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


def _values(root: Any, tree: ast.AST) -> Iterator[tuple[str, Any]]:
    """What a visitor's code reads: each name, or attribute of a module, with its value."""
    known = dict(getattr(root, "__globals__", None) or vars(sys.modules[root.__module__]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):  # within the function
            exec(compile(ast.Module([node], []), root.__qualname__, "exec"), known)
    outside = free(tree) & known.keys()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (names := dotted(node)) and names[0] in outside:
            value = known[names[0]]
            for name in names[1:]:
                value = getattr(value, name, None) if isinstance(value, ModuleType) else value
            yield ".".join(names), value
