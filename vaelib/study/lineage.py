r"""Which models a figure was computed from: lookups are noted while a notebook runs, and followed through its names.

A lookup counts for the statement of the cell that was running, however deep in the library it was made. From there
on it is followed as a statement says: what a statement writes depends on all that it reads, on the lookups made while
it ran, and on what decided that it ran. Two ways are not followed, and the book does not go them: a change of an object
through a second name for it, and through a call whose result is used.
"""

import ast
import json
import os
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import NamedTuple

#: The environment variable that names the file of notes; lookups are noted only where it is set.
NOTES = "VAELIB_LINEAGE"


class Model(NamedTuple):
    """What names one trained model."""

    name: str
    profile: str
    seed: int


class Note(NamedTuple):
    """A lookup: the model, and the execution count and the line of the cell that was running."""

    model: Model
    cell: int
    line: int


Models = frozenset[Model]
NONE: Models = frozenset()

_gathered: ContextVar[list[Model] | None] = ContextVar("gathered", default=None)


@contextmanager
def recorded(file: Path) -> Iterator[Path]:
    """Kernels that are started within note their lookups in `file`."""
    before = os.environ.get(NOTES)
    os.environ[NOTES] = str(file)
    try:
        yield file
    finally:
        os.environ.pop(NOTES)
        if before is not None:
            os.environ[NOTES] = before


@contextmanager
def gathered() -> Iterator[list[Model]]:
    """The models that are looked up within. They count for no cell: who hands the results out notes them then."""
    models: list[Model] = []
    token = _gathered.set(models)
    try:
        yield models
    finally:
        _gathered.reset(token)


def note(*models: Model) -> None:
    """Count the models for the running cell of a notebook; outside of a recorded notebook this does nothing."""
    if (gathering := _gathered.get()) is not None:
        gathering.extend(models)
    elif (file := os.environ.get(NOTES)) and (where := _running_cell()):
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps([*model, *where]) + "\n" for model in models)


def notes(file: Path) -> list[Note]:
    """The lookups of a run in their order, each once; none if the file is not there."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = (json.loads(line) for line in dict.fromkeys(lines))
    return [Note(Model(name, profile, seed), cell, line) for name, profile, seed, cell, line in rows]


def _running_cell() -> tuple[int, int] | None:
    """Execution count and line of the outermost frame that is code of an IPython cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if not shell:
        return None
    line = None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is shell.user_global_ns:
            line = frame.f_lineno
        frame = frame.f_back
    if line is None:
        return None
    return len(shell.history_manager.input_hist_parsed) - 1, line  # shell.execution_count may be one ahead


def follow(
    cells: Iterable[tuple[int, str]], lookups: Iterable[Note], *, attributes: Mapping[str, Model] | None = None
) -> dict[int, Models]:
    """The models that each cell's figure depends on, by execution count; `cells` are counts and sources, in order.

    The figure is the expression that a cell ends with; the cell's every statement if it ends with something else.
    `attributes` are models that are not looked up by name: who reads an attribute of that name depends on the model.
    """
    state = _State(attributes or {})
    figures = {}
    at: dict[int, list[Note]] = {}
    for lookup in lookups:
        at.setdefault(lookup.cell, []).append(lookup)
    for count, source in cells:
        state.lookups = at.get(count, [])
        statements = ast.parse(source).body
        found = [state.run(statement, NONE) for statement in statements]
        ends = statements and isinstance(statements[-1], ast.Expr)
        figures[count] = found[-1] if ends else NONE.union(*found)
    return figures


def seed_ranges(seeds: Iterable[int]) -> str:
    """Seeds as a text such as 0-2,7."""
    runs = groupby(enumerate(sorted(set(seeds))), key=lambda pair: pair[1] - pair[0])
    ends = [[seed for _, seed in run] for _, run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


class _State:
    """What each name of a notebook depends on, as its statements are followed one after the other."""

    def __init__(self, attributes: Mapping[str, Model]) -> None:
        self.attributes = attributes
        self.names: dict[str, Models] = {}
        self.imported: set[str] = set()
        self.lookups: list[Note] = []

    def run(self, node: ast.stmt, control: Models) -> Models:
        """Follow a statement; what it depends on. `control` is what decided that it runs."""
        match node:
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    name = alias.asname or alias.name.split(".")[0]
                    self.names[name] = NONE
                    self.imported.add(name)
                return NONE
            case ast.For() | ast.While():
                for _ in range(2):  # what one round writes the next one reads
                    inside = self._step(_head(node), node.lineno, node.body[0].lineno - 1, control)
                    found = self._block(node.body, inside)
                return found | self._block(node.orelse, inside)
            case ast.With():
                inside = self._step(_head(node), node.lineno, node.body[0].lineno - 1, control)
                return inside | self._block(node.body, control)
            case ast.If():
                inside = self._step(ast.Expr(node.test), node.lineno, node.body[0].lineno - 1, control)
                before = dict(self.names)
                found = self._block(node.body, inside)
                after, self.names = self.names, before
                found |= self._block(node.orelse, inside)
                for name, models in after.items():
                    self.names[name] = self.names.get(name, NONE) | models
                return found
        return self._step(node, node.lineno, node.end_lineno or node.lineno, control)

    def _block(self, statements: Iterable[ast.stmt], control: Models) -> Models:
        return control.union(*(self.run(statement, control) for statement in statements))

    def _step(self, node: ast.stmt, first: int, last: int, control: Models) -> Models:
        """One statement on these lines, or the head of one."""
        lines = range(first, max(first, last) + 1)
        table = symtable.symtable(ast.unparse(ast.fix_missing_locations(node)), "cell", "exec")
        changed = {name for name in _changed(node) if name not in self.imported}
        reads = _reads(table) | changed
        models = control.union(
            (lookup.model for lookup in self.lookups if lookup.line in lines),
            (self.attributes[name] for name in _attributes(node) & self.attributes.keys()),
            *(self.names.get(name, NONE) for name in reads),
        )
        written = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()}
        for name in written | changed:
            self.names[name] = models
        self.imported -= written
        return models


def _head(node: ast.For | ast.While | ast.With) -> ast.stmt:
    """The statement without what it contains."""
    match node:
        case ast.For():
            return ast.For(node.target, node.iter, [ast.Pass()], [])
        case ast.While():
            return ast.Expr(node.test)
    return ast.With(node.items, [ast.Pass()])


def _reads(table: symtable.SymbolTable) -> set[str]:
    """The names of the notebook that a statement reads, without those that its comprehensions have to themselves."""
    top = table.get_type() == "module"
    own = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return own.union(*map(_reads, table.get_children()))


def _attributes(node: ast.AST) -> set[str]:
    """The names of the attributes that a statement reads."""
    return {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def _changed(node: ast.AST) -> set[str]:
    """The names whose objects a statement changes: parts that it sets, methods whose result it throws away, `+=`."""
    places: list[ast.expr] = []
    for part in ast.walk(node):
        match part:
            case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
                places.append(value)
            case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
                places.append(value)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=value))):
                places.append(value)
            case ast.AugAssign(target=target):
                places.append(target)
    return {name for place in places if (name := _root(place))}


def _root(place: ast.expr) -> str:
    """The name that `a` in `a.b[0].c` is; empty if there is none."""
    while isinstance(place, ast.Attribute | ast.Subscript):
        place = place.value
    return place.id if isinstance(place, ast.Name) else ""
