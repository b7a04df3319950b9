r"""Theory imports theory; plots and study import theory; the build imports both; nobody imports the build."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PLOTS = ("plots", "interactives")


def room(module):
    """The room of a module of the library, by its dotted name."""
    _, *rest = module.split(".")
    return rest[0] if rest and rest[0] in ("study", "build", *PLOTS) else "theory"


def imported(source):
    """The modules of the library that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "vaelib")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "vaelib":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in ROOT.glob("vaelib/**/*.py")
}
ADMITTED = {
    "theory": {"theory"},
    "plots": {"theory", "plots"},
    "interactives": {"theory", *PLOTS},
    "study": {"theory", "study"},
    "build": {"theory", "study", "build"},
}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_room_and_those_below(module):
    wrong = [name for name in imported(MODULES[module]) if room(name) not in ADMITTED[room(module)]]
    assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("book/*.ipynb")), ids=lambda path: path.stem)
def test_no_notebook_imports_the_build(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    code = re.sub(r"^\s*[%!].*$", "", "\n".join(cells), flags=re.MULTILINE)
    assert not [name for name in imported(code) if room(name) == "build"]
