r"""Digests: of values, and of the code that is reached in a small package, but not of its prose."""

import importlib
import json
import sys

import pytest

from vaelib.study import reach
from vaelib.study.reach import code_digest, digest


def test_a_digest_ignores_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"b": 1}, {"a": [1]}, [1, 2], [2, 1]]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(json.loads('{"a": 1e-3}')) == digest({"a": 0.001})


SOURCE = '''"""A module."""
from fakelib.inner import g

def f(x):
    """A docstring."""
    return g(x) + 1  # a comment
'''
PROSE = [
    ("A module.", "Another text."),
    ('    """A docstring."""\n', ""),
    ("  # a comment", ""),
    ("g(x) + 1", "(\n        g(x)\n        + 1\n    )"),
]
CODE = [("+ 1", "+ 2"), ("g(x)", "g(-x)"), ("def f(x)", "def f(x, y=0)"), ("g(x) + 1", "g(x) + 1, 'text'")]


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Digest of what `fakelib.outer.f` reaches, through the other modules one by one, after one edit of one."""
    memories = (reach._module, reach._definition)
    sources = {
        "__init__": "",
        "outer": SOURCE,
        "inner": "import fakelib.innermost\n\ndef g(x):\n    return fakelib.innermost.h(x)\n\nunused = 1\n",
        "innermost": "from fakelib import deepest\n\ndef h(x):\n    return 2 * deepest.A\n",
        "deepest": "from fakelib.outer import f\nA = 1\nB = 1\n",
        "elsewhere": "A = 1\n",
    }

    def f(x):
        """Stands for `fakelib.outer.f`, whose text alone is read."""

    f.__module__, f.__qualname__ = "fakelib.outer", "f"

    def digest_after(module="outer", old="", new=""):
        assert old in sources[module]
        for name, source in sources.items():
            text = source.replace(old, new) if name == module and old else source
            (tmp_path / "fakelib" / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        for memory in memories:
            memory.cache_clear()
        return code_digest(f)

    monkeypatch.delitem(sys.modules, "fakelib", raising=False)
    monkeypatch.setattr(reach, "PACKAGE", "fakelib")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fakelib").mkdir()
    yield digest_after
    for memory in memories:
        memory.cache_clear()


@pytest.mark.parametrize(("old", "new"), PROSE, ids=["module", "docstring", "comment", "layout"])
def test_prose_does_not_change_the_digest_of_code(old, new, edited):
    assert edited("outer", old, new) == edited()


@pytest.mark.parametrize(("old", "new"), CODE)
def test_an_edit_of_the_code_changes_its_digest(old, new, edited):
    assert edited("outer", old, new) != edited()


def test_an_edit_of_what_is_reached_through_other_modules_changes_the_digest(edited):
    edits = [("inner", "h(x)", "h(-x)"), ("innermost", "2 *", "3 *"), ("deepest", "A = 1", "A = 2")]
    assert len({edited(), *(edited(*edit) for edit in edits)}) == 4


@pytest.mark.parametrize(
    "edit", [("elsewhere", "1", "2"), ("inner", "unused = 1", "unused = 2"), ("deepest", "B = 1", "B = 2")], ids=str
)
def test_an_edit_of_what_is_not_reached_does_not(edit, edited):
    assert edited(*edit) == edited()
