r"""The cache: complete or absent, verified when read."""

import errno
import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch

from vaelib.study import cache
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
    assert entry.read()[1] == {}


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


def parts(file):
    """Where the header of a safetensors file ends, and its bytes."""
    content = bytearray(file.read_bytes())
    return 8 + int.from_bytes(content[:8], "little"), content


def flip(file, place):
    """One bit, counted from the start of the file or, below 0, from its end."""
    _, content = parts(file)
    content[place] ^= 1
    file.write_bytes(content)


def alter(file, old, new):
    content = file.read_bytes()
    assert old in content and len(old) == len(new)
    file.write_bytes(content.replace(old, new, 1))


def swap_tensors(file, with_file):
    """The header of one file, and so its record and its checksum, before the tensors of another."""
    (mine, content), (other, others) = parts(file), parts(with_file)
    assert content[mine:] != others[other:]
    file.write_bytes(content[:mine] + others[other:])


def sealed(file, record):
    """A file whose record is another, with its checksum beside it, as a program of another kind might write it."""
    safetensors.torch.save_file({}, file, metadata={"record": record, "sha256": "0" * 64})


DAMAGES = {
    "truncated": lambda file, other: file.write_bytes(file.read_bytes()[:-1]),
    "truncated to the header": lambda file, other: file.write_bytes(file.read_bytes()[: parts(file)[0]]),
    "truncated within the header": lambda file, other: file.write_bytes(file.read_bytes()[:20]),
    "truncated to nothing": lambda file, other: file.write_bytes(b""),
    "a byte too long": lambda file, other: file.write_bytes(file.read_bytes() + b"0"),
    "a weight altered by one bit": lambda file, other: flip(file, -1),
    "its length altered by one bit": lambda file, other: flip(file, 0),
    "a number of the record altered": lambda file, other: alter(file, b".0123", b".0124"),
    "the shape of a weight altered": lambda file, other: alter(file, b"[2,3]", b"[3,2]"),
    "the checksum altered": lambda file, other: alter(file, b'"sha256":"', b'"sha257":"'),
    "swapped": lambda file, other: file.write_bytes(other.read_bytes()),
    "swapped weights": swap_tensors,
    "not text": lambda file, other: file.write_bytes(b"\xff\xfe\xfd"),
    "zeros": lambda file, other: file.write_bytes(bytes(100)),
    "no metadata": lambda file, other: safetensors.torch.save_file({}, file),
    "the record a list": lambda file, other: sealed(file, "[]"),
    "the record a number": lambda file, other: sealed(file, "1"),
    "the record empty": lambda file, other: sealed(file, "{}"),
    "missing": lambda file, other: file.unlink(),
}


def test_who_waits_for_another_says_so(entry, caplog, monkeypatch):
    monkeypatch.setattr(cache, "PATIENCE", 0)

    def let_go(record):
        entry.write(RECORD)
        holder.__exit__(None, None, None)
        return True

    caplog.handler.addFilter(let_go)
    holder = entry.lock()
    with ThreadPoolExecutor(1) as other:
        other.submit(holder.__enter__).result()
        assert remembered(entry, dict)["name"] == "a model"
    assert f"waiting for another process, which holds {entry.folder / '0123.lock'}" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_entry_nothing_is_loaded(damage, entry, other, monkeypatch):
    """Reading names the file and the command that mends it, and unpacks no weights."""
    entry.write(RECORD, WEIGHTS)
    DAMAGES[damage](entry.file, other.file)
    monkeypatch.setattr(cache, "load", lambda content: pytest.fail("weights were loaded"))
    with pytest.raises(DamagedEntryError, match=re.escape(f"{entry.file} is damaged")) as caught:
        entry.read()
    assert str(caught.value).endswith(f"\n  rm {entry.file}")


def test_no_byte_of_a_file_can_be_altered_unseen(entry):
    entry.write({"name": "a"}, {"w": torch.ones(2)})
    content = entry.file.read_bytes()
    for place in range(len(content)):
        flip(entry.file, place)
        with pytest.raises(DamagedEntryError):
            entry.read()
        entry.file.write_bytes(content)
    assert entry.read()[0]["name"] == "a"


def test_what_was_remembered_is_verified_too(entry):
    entry.write(RECORD)
    alter(entry.file, b".0123", b".0124")
    with pytest.raises(DamagedEntryError):
        remembered(entry, lambda: pytest.fail("computed again"))


# Writing is atomic, or an error says what to do


@pytest.mark.parametrize("before", [None, {"name": "before"}], ids=["of nothing", "of what was there before"])
@pytest.mark.parametrize(
    ("failure", "error"),
    [(OSError(errno.ENOSPC, "No space left"), UnwritableCacheError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["a full disk", "ctrl-c"],
)
def test_a_failure_in_the_middle_leaves_no_temporary_file_and_no_change(before, failure, error, entry, monkeypatch):
    if before:
        entry.write(before)

    def fsync(handle):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "fsync", fsync)
        with pytest.raises(error):
            entry.write(RECORD, WEIGHTS)
    assert entry.exists() is bool(before) and (not before or entry.read()[0]["name"] == "before")
    assert {file.name for file in entry.folder.iterdir()} <= {entry.file.name}
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


def test_a_file_that_may_not_be_read_says_how_to_move_and_is_not_called_damaged(entry, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    entry.write(RECORD)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnwritableCacheError, match=r"Permission denied.*set VAELIB_CACHE"):
        entry.read()


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077], ids=oct)
def test_who_may_read_an_entry_and_lock_it_is_left_to_the_umask(umask, entry):
    """A cache may be shared by a group, or by nobody."""
    before = os.umask(umask)
    try:
        with entry.lock():
            entry.write(RECORD, WEIGHTS)
        assert os.umask(umask) == umask  # looked up, and given back
    finally:
        os.umask(before)
    modes = {file.suffix: stat.S_IMODE(file.stat().st_mode) for file in entry.folder.iterdir()}
    assert modes == dict.fromkeys((".safetensors", ".lock"), 0o666 & ~umask)


def test_who_gets_the_lock_removes_what_a_holder_that_died_left_half_written(entry, other):
    half, others = entry.folder / f".{entry.key}.half", entry.folder / f".{other.key}.half"
    half.touch(), others.touch()
    with entry.lock():
        assert not half.exists() and others.exists() and other.exists()


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
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "checkout" / "vaelib" / "study" / "cache.py"))
    monkeypatch.setattr(cache.platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    assert cache_folder() == tmp_path / "user" / "vaelib"
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "pyproject.toml").touch()
    assert cache_folder() == tmp_path / "checkout" / "_cache"
