r"""Every public function and class of theory and of the plots has an example in its docstring, and it holds."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import vaelib

ROOMS = ("vaelib.study", "vaelib.build")
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(vaelib.__path__, "vaelib.")
    if not found.name.startswith(ROOMS)
]
FINDER = doctest.DocTestFinder(recurse=False)
PUBLIC = {
    f"{module.__name__}.{name}": thing
    for module in MODULES
    for name, thing in vars(module).items()
    if (inspect.isfunction(thing) or inspect.isclass(thing))
    and thing.__module__ == module.__name__
    and not name.startswith("_")
}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_holds(name, tmp_path, monkeypatch):
    """With nothing but torch, the face of the library and the public names of its module."""
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(f"import torch\nfrom vaelib import *\nfrom {PUBLIC[name].__module__} import *", names)
    (example,) = FINDER.find(PUBLIC[name], name, globs=names) or [None]
    assert example and example.examples, f"{name} has no example: show in its docstring what it is for"
    said = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not failed, "".join(said)
