r"""The cache: complete or absent, verified when read, and keyed by code but not by prose."""

import errno
import importlib
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from vaelib.study.provenance import code_digest, digest

from vaelib.study import cache as store
from vaelib.study import provenance
from vaelib.study.cache import DamagedEntryError, Entry, UnwritableCacheError, cache_folder, remembered

RECORD = {"name": "a model", "metrics": {"mse": 0.0123}}
WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}


@pytest.fixture
def entry(tmp_path) -> Entry:
    """A place in a folder that exists."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return Entry(folder, "0123")


@pytest.fixture
def other(entry) -> Entry:
    """A finished neighbour with other content."""
    place = Entry(entry.folder, "4567")
    place.write({"name": "another"}, {"w": torch.zeros(2, 3), "n": torch.tensor(3)})
    return place


# What is written is what is read


def test_what_is_written_is_read_bit_for_bit(entry):
    assert not entry.exists()
    entry.write(RECORD, WEIGHTS)
    record, weights = entry.read()
    assert entry.exists() and record.items() >= RECORD.items()
    assert weights.keys() == WEIGHTS.keys() and all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_record_without_weights_has_none(entry):
    entry.write(RECORD)
    assert entry.read()[1] == {} and not entry.weights_file.exists()


def test_a_record_is_sealed_as_json_holds_it(entry):
    entry.write({"mse": {300: 0.2, 1000: 0.1}, "dims": (2, 20), "worst": float("nan")})
    record = entry.read()[0]
    assert record["mse"] == {"300": 0.2, "1000": 0.1} and record["dims"] == [2, 20]


def test_what_is_remembered_is_computed_once(entry):
    calls = []
    for _ in range(2):
        assert remembered(entry, lambda: calls.append(1) or RECORD)["metrics"] == RECORD["metrics"]
    assert calls == [1]


def test_who_waited_for_another_reads_what_it_wrote(entry):
    with ThreadPoolExecutor(1) as pool, entry.lock():
        waiting = pool.submit(remembered, entry, lambda: pytest.fail("computed again"))
        time.sleep(0.1)
        entry.write(RECORD)
    assert waiting.result()["metrics"] == RECORD["metrics"]


# Damage


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def swap(file, with_file):
    mine, other = file.read_bytes(), with_file.read_bytes()
    file.write_bytes(other)
    with_file.write_bytes(mine)


WEIGHT_DAMAGES = {
    "truncated": lambda entry, other: entry.weights_file.write_bytes(entry.weights_file.read_bytes()[:-1]),
    "truncated to nothing": lambda entry, other: entry.weights_file.write_bytes(b""),
    "altered by one bit": lambda entry, other: flip(entry.weights_file),
    "missing": lambda entry, other: entry.weights_file.unlink(),
    "swapped": lambda entry, other: swap(entry.weights_file, other.weights_file),
}
RECORD_DAMAGES = {
    "truncated": lambda entry, other: entry.record_file.write_bytes(entry.record_file.read_bytes()[:-20]),
    "truncated to nothing": lambda entry, other: entry.record_file.write_bytes(b""),
    "altered": lambda entry, other: entry.record_file.write_text(entry.record_file.read_text().replace(".0123", ".0")),
    "not text": lambda entry, other: entry.record_file.write_bytes(b"\xff\xfe\xfd"),
    "a list": lambda entry, other: entry.record_file.write_text("[]"),
    "a number": lambda entry, other: entry.record_file.write_text("1"),
    "no record": lambda entry, other: entry.record_file.write_text("{}"),
    "swapped": lambda entry, other: swap(entry.record_file, other.record_file),
    "swapped with its weights": lambda entry, other: (
        swap(entry.record_file, other.record_file),
        swap(entry.weights_file, other.weights_file),
    ),
}


def assert_nothing_is_loaded(entry, file, monkeypatch):
    """Reading names the file and the command that mends it, and unpacks no weights."""
    monkeypatch.setattr(store, "tensors_from_bytes", lambda content: pytest.fail("weights were loaded"))
    with pytest.raises(DamagedEntryError, match=re.escape(f"{file} is damaged")) as caught:
        entry.read()
    assert f"rm {entry.record_file} {entry.weights_file}" in str(caught.value)


@pytest.mark.parametrize("damage", WEIGHT_DAMAGES)
def test_damaged_weights_are_never_loaded(damage, entry, other, monkeypatch):
    entry.write(RECORD, WEIGHTS)
    WEIGHT_DAMAGES[damage](entry, other)
    assert_nothing_is_loaded(entry, entry.weights_file, monkeypatch)


@pytest.mark.parametrize("damage", RECORD_DAMAGES)
def test_weights_of_a_damaged_record_are_never_loaded(damage, entry, other, monkeypatch):
    entry.write(RECORD, WEIGHTS)
    RECORD_DAMAGES[damage](entry, other)
    assert_nothing_is_loaded(entry, entry.record_file, monkeypatch)


def test_what_was_remembered_is_verified_too(entry):
    entry.write(RECORD)
    RECORD_DAMAGES["altered"](entry, None)
    with pytest.raises(DamagedEntryError):
        remembered(entry, lambda: pytest.fail("computed again"))


# Writing is atomic, or an error says what to do


@pytest.mark.parametrize("failing", [1, 2], ids=["in the weights", "in the record"])
@pytest.mark.parametrize(
    ("failure", "error"),
    [(OSError(errno.ENOSPC, "No space left"), UnwritableCacheError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["a full disk", "ctrl-c"],
)
def test_a_failure_in_the_middle_leaves_no_entry_and_no_temporary_file(failing, failure, error, entry, monkeypatch):
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == failing:
            raise failure

    monkeypatch.setattr(store.os, "fsync", fsync)
    with pytest.raises(error):
        entry.write(RECORD, WEIGHTS)
    assert not entry.exists()
    assert {file.name for file in entry.folder.iterdir()} <= {entry.weights_file.name}
    entry.write(RECORD, WEIGHTS)
    assert entry.read()[0].items() >= RECORD.items()


def test_a_record_that_json_cannot_hold_leaves_nothing(entry):
    with pytest.raises(TypeError):
        entry.write({"mse": torch.tensor(1.0)}, WEIGHTS)
    assert not list(entry.folder.iterdir())


def in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    return Entry(tmp_path / "file", "0123")


def below_a_file(tmp_path):
    return Entry(in_place_of_the_folder(tmp_path).folder / "cache", "0123")


def in_place_of_the_lock(tmp_path):
    (tmp_path / "0123.lock").mkdir()
    return Entry(tmp_path, "0123")


@pytest.mark.parametrize("obstacle", [in_place_of_the_folder, below_a_file, in_place_of_the_lock])
def test_a_cache_that_cannot_be_locked_says_how_to_move_it(obstacle, tmp_path):
    entry = obstacle(tmp_path)
    with pytest.raises(UnwritableCacheError, match=re.escape(f"{entry.folder} (")) as caught, entry.lock():
        pytest.fail("locked")
    caught.match("set VAELIB_CACHE")


def test_a_folder_that_cannot_be_written_says_how_to_move_it(tmp_path):
    with pytest.raises(UnwritableCacheError, match="set VAELIB_CACHE"):
        in_place_of_the_folder(tmp_path).write(RECORD, WEIGHTS)


def test_a_finished_entry_is_read_without_its_lock(entry):
    entry.write(RECORD)
    in_place_of_the_lock(entry.folder)
    assert remembered(entry, lambda: pytest.fail("computed again")).items() >= RECORD.items()


# Where it is


def test_the_cache_is_where_one_says_else_where_vaelib_cache_says_else_in_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("VAELIB_CACHE", str(tmp_path / "b"))
    assert cache_folder(tmp_path / "a") == tmp_path / "a"
    assert cache_folder() == tmp_path / "b"
    monkeypatch.delenv("VAELIB_CACHE")
    monkeypatch.setattr(store, "__file__", str(tmp_path / "checkout" / "vaelib" / "store.py"))
    monkeypatch.setattr(store.platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    assert cache_folder() == tmp_path / "user" / "vaelib"
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "pyproject.toml").touch()
    assert cache_folder() == tmp_path / "checkout" / "_cache"


# Keys


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
    """Digest of `fakelib.outer`, which imports the others one by another, after one edit of one."""
    sys.modules.pop("fakelib", None)
    monkeypatch.setattr(provenance, "PACKAGE", "fakelib")
    monkeypatch.syspath_prepend(tmp_path)
    sources = {
        "__init__": "",
        "outer": SOURCE,
        "inner": "import fakelib.innermost\n\ndef g(x):\n    return fakelib.innermost.h(x)\n",
        "innermost": "from fakelib import deepest\n\ndef h(x):\n    return 2 * deepest.A\n",
        "deepest": "from fakelib.outer import f\nA = 1\n",
        "elsewhere": "A = 1\n",
    }
    (tmp_path / "fakelib").mkdir()

    def digest_after(module="outer", old="", new=""):
        assert old in sources[module]
        for name, source in sources.items():
            text = source.replace(old, new) if name == module and old else source
            (tmp_path / "fakelib" / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        code_digest.cache_clear()
        return code_digest("fakelib.outer")

    yield digest_after
    code_digest.cache_clear()


@pytest.mark.parametrize(("old", "new"), PROSE, ids=["module", "docstring", "comment", "layout"])
def test_prose_does_not_change_the_digest_of_code(old, new, edited):
    assert edited("outer", old, new) == edited()


@pytest.mark.parametrize(("old", "new"), CODE)
def test_an_edit_of_the_code_changes_its_digest(old, new, edited):
    assert edited("outer", old, new) != edited()


def test_an_edit_of_a_module_that_is_imported_indirectly_changes_the_digest(edited):
    assert (
        len(
            {
                edited(),
                edited("inner", "h(x)", "h(-x)"),
                edited("innermost", "2 *", "3 *"),
                edited("deepest", "A = 1", "A = 2"),
            }
        )
        == 4
    )


def test_an_edit_of_a_module_that_is_not_imported_does_not(edited):
    assert edited("elsewhere", "1", "2") == edited()
