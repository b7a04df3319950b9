r"""Images as tensors, the profiles of the book or a visitor's own; their grey levels, and the noise between these."""

import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaelib.errors import MendableError

LEVELS = 256
#: Standard deviation of the uniform noise that :func:`dequantise` adds: the width of one grey level over sqrt(12).
DEQUANTISATION_STD = 1 / (LEVELS * 12**0.5)

#: Noise below this leaves a level what it is: in float32, 255 + u would otherwise be rounded up to 256 now and then.
BELOW_ONE = 1 - 2**-16

#: What `vaelib.mnist` provides by name.
PROFILES = ("quick", "full", "fashion")

#: Share and seed of the test images that are split off where a visitor's data have none.
TEST_SHARE, SPLIT_SEED = 0.2, 0

#: (height, width) of grey images, (channels, height, width) of coloured ones.
Shape = tuple[int, ...]

#: Suffixes of the pictures that are read from a folder.
PICTURES = (".png", ".jpg", ".jpeg")

#: A profile, the path of an .npz file or of a folder of pictures, or the images themselves.
Source = str | Path | np.ndarray | Tensor


class DataError(MendableError, RuntimeError):
    """The images are missing, damaged or not what they should be; the message says what was found and what mends it.

    >>> load(torch.rand(5, 784))
    Traceback (most recent call last):
        ...
    vaelib.data.DataError: images of the tensor have the shape (5, 784); expected [N, H, W], ...
    """


@dataclass(frozen=True)
class Images:
    """Flat images, float32, grey level / 255 in [0, 1].

    >>> images = Images(torch.rand(4, 6), labels=torch.tensor([3, 1, 3, 1]), shape=(2, 3))
    >>> len(images), len(images.only(3)), images.one_of_each().labels
    (4, 2, tensor([1, 3]))
    """

    images: Tensor
    """`[N, m]`, m the product of `shape`."""
    labels: Tensor | None
    """`[N]`, int64."""
    shape: Shape
    """Of one image, as a picture."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> "Images":
        """Some of the images with their labels."""
        return Images(self.images[rows], None if self.labels is None else self.labels[rows], self.shape)

    def only(self, label: int | None) -> "Images":
        """The images of one label, or all of them for None; raises ValueError where there are none."""
        if label is None:
            return self
        labels = self._labels()
        keep = labels == label
        if not keep.any():
            raise ValueError(f"no image is labelled {label!r}; the labels are {sorted(set(labels.tolist()))}")
        return self[keep]

    def one_of_each(self) -> "Images":
        """The first image of each label, in the order of the labels: the same in every figure that shows examples."""
        labels = self._labels()
        return self[torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])]

    def _labels(self) -> Tensor:
        if self.labels is None:
            raise ValueError("these images have no labels; give `labels` beside `images`, or a subfolder per label")
        return self.labels


@dataclass(frozen=True)
class Dataset:
    """Images to train on and to test with, where they came from, and the checksum of :func:`fingerprint`.

    >>> dataset = load(torch.rand(10, 2, 3))
    >>> len(dataset.train), len(dataset.test), dataset.profile
    (8, 2, 'own')
    """

    train: Images
    test: Images
    name: str
    profile: str
    source: str
    sha256: str


class Bins:
    """The bin of each level on the scale on which a model sees pixels.

    >>> black_and_white = torch.tensor([0.0, 1.0])
    >>> 256 * Bins(dequantised=True).lower(black_and_white)
    tensor([  0., 255.])
    >>> Bins(dequantised=False).lower(black_and_white).mean()  # a bin to each side of 0 and 1
    tensor(0.4980)
    """

    def __init__(self, *, dequantised: bool) -> None:
        #: Dequantised pixels are (level + u) / 256; others are level / 255, the middle of their bin.
        self.width = 1 / LEVELS if dequantised else 1 / (LEVELS - 1)
        self.first = 0.0 if dequantised else -self.width / 2

    def lower(self, x: Tensor) -> Tensor:
        """The lower end of each pixel's bin, for images x of levels over 255."""
        return self.first + (x * (LEVELS - 1)).round() * self.width

    def uniform(self, x: Tensor) -> Tensor:
        """A uniform point of each pixel's bin."""
        return self.lower(x) + self.width * torch.rand_like(x)


def dequantise(images: Tensor) -> Tensor:
    r"""(256 levels + uniform noise) / 256: :math:`(255 x + u) / 256`, :math:`u \sim U(0, 1)`, shape kept.

    The noise makes the pixels continuous, so that no density can grow without bound on a repeated value
    (Theis, van den Oord and Bethge 2016). Draws from torch's global generator.

    >>> y = dequantise(torch.tensor([0.0, 1.0]))
    >>> (256 * y).floor(), bool((y < 1).all())
    (tensor([  0., 255.]), True)
    """
    noise = torch.rand_like(images) * BELOW_ONE
    return ((images * (LEVELS - 1)).round() + noise) / LEVELS


def load(source: Source = "quick", *, device: torch.device | str = "cpu") -> Dataset:
    """The images of a profile, `quick`, `full` or `fashion`, or of your own.

    Your own are an array or tensor `[N, H, W]`, `[N, H, W, 3]` or `[N, 3, H, W]`; the path of an .npz file that holds
    such an array as `images` and, if you like, `labels` `[N]`, `test_images` and `test_labels`; or the path of a folder
    of PNG or JPEG pictures of one size, whose subfolders, if any, are the labels 0, 1, ... in alphabetical order. The
    pixels are uint8, or floats in [0, 1]. Without test images a fifth is split off, by label where possible, always the
    same.

    Raises `ValueError` for an unknown profile and `DataError` for images that are missing, damaged or unsuitable.

    >>> dataset = load(torch.rand(10, 3, 8, 8))
    >>> dataset.train.images.shape, dataset.train.shape
    (torch.Size([8, 192]), (3, 8, 8))
    """
    if not isinstance(source, str) or source not in PROFILES:
        return _own(source, torch.device(device))
    from vaelib import mnist

    try:
        mnist.provide(source)
        return mnist.LOADERS[source](torch.device(device))
    except ModuleNotFoundError as error:
        raise DataError(f"profile {source!r} needs {error.name}; run: pip install 'vaelib[study]'") from error


def fingerprint(source: Source) -> str:
    """SHA-256 of a profile's pixels, as in `vaelib.mnist.CHECKSUMS`, or of all that your own source holds.

    >>> fingerprint("quick")[:12]
    '2913c6b65271'
    >>> images = torch.rand(10, 2, 3)
    >>> fingerprint(images) == load(images).sha256
    True
    """
    if not isinstance(source, str) or source not in PROFILES:
        return load(source).sha256
    from vaelib import mnist

    return mnist.CHECKSUMS[source]


def _own(source: Source, device: torch.device) -> Dataset:
    """A visitor's images, checked and split."""
    arrays, name = _arrays(source)
    images, given = _images(arrays, "", name, least=2, device=device), "test_images" in arrays
    train, test = (images, _images(arrays, "test_", name, least=1, device=device)) if given else _split(images)
    if test.shape != train.shape:
        raise DataError(f"test_images of {name} have the shape {test.shape}, images {train.shape}; make them alike")
    parts = (train.images, train.labels, test.images, test.labels)
    sha256 = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in parts if part is not None)).hexdigest()
    return Dataset(train, test, name, "own", str(source) if isinstance(source, str | Path) else name, sha256)


def _arrays(source: Source) -> tuple[Mapping[str, np.ndarray], str]:
    """What a source holds, `images` and perhaps `labels`, `test_images`, `test_labels`; and a name for it."""
    if isinstance(source, Tensor):
        exact = source.float() if source.is_floating_point() else source  # numpy has no bfloat16
        return {"images": exact.detach().cpu().numpy()}, "the tensor"
    if isinstance(source, np.ndarray):
        return {"images": source}, "the array"
    if not isinstance(source, str | Path):
        raise DataError(f"images cannot be read from a {type(source).__name__}; give an array: np.stack(images)")
    try:
        path = Path(source).expanduser()
        folder, there = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{source} cannot be read ({error}); give the path of a folder or file that can be") from error
    if folder and source:
        return _pictures(path), path.name
    if path.suffix == ".npz":
        return _npz(path), path.name
    if isinstance(source, str) and not (source and there):
        raise ValueError(f"unknown profile {source!r}; choose one of {', '.join(PROFILES)}, or a path that exists")
    raise DataError(f"{path} is neither a folder of pictures nor an .npz file, as np.savez(file, images=images) writes")


def _npz(path: Path) -> dict[str, np.ndarray]:
    mend = f"np.savez({path.name!r}, images=images) writes it"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except (OSError, EOFError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {mend}") from error
    if "images" not in arrays:
        raise DataError(f"{path} holds {sorted(arrays)} and no `images`; {mend}")
    return arrays


def _pictures(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of a folder, grey if all of them are, and labels if they lie in subfolders."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); make it readable, or move it away")

    inside = (Path(place, name) for place, _, names in os.walk(folder, onerror=refuse) for name in names)
    files = sorted(f for f in inside if f.suffix.lower() in PICTURES and not f.name.startswith("."))
    if not files:
        raise DataError(f"{folder} and its subfolders hold no picture ({', '.join(PICTURES)})")
    if len({file.parent == folder for file in files}) == 2:
        raise DataError(f"{folder} has pictures in subfolders and beside them; move all into subfolders, or none")
    pictures = [_picture(file) for file in files]
    sizes = [picture.shape[:2] for picture in pictures]
    size, _ = Counter(sizes).most_common(1)[0]
    for file, other in zip(files, sizes, strict=True):
        if other != size:
            raise DataError(f"{file} is of size {other}, others are of {size}; give all of them one size")
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1) for picture in pictures]
    labels = np.unique([str(file.parent) for file in files], return_inverse=True)[1]
    return {"images": np.stack(pictures)} | ({"labels": labels} if files[0].parent != folder else {})


def _picture(file: Path) -> np.ndarray:
    """Levels `[H, W]`, or `[H, W, 3]` of a coloured picture; transparency is ignored."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.mode.startswith(("I", "F")):
                raise DataError(f"{file} has more than 256 levels (mode {picture.mode}); save it with 8 bits")
            return np.asarray(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} is no picture that can be read ({error}); remove or replace it") from error


def _images(arrays: Mapping[str, np.ndarray], prefix: str, name: str, *, least: int, device: torch.device) -> Images:
    """The images that `prefix` names, flat, in [0, 1], with their labels; at least so many."""
    values, labels, where = arrays[f"{prefix}images"], arrays.get(f"{prefix}labels"), f"{prefix}images of {name}"
    if values.ndim == 4 and values.shape[-1] in (1, 3):
        values = np.moveaxis(values, -1, 1)
    if not (values.ndim == 3 or (values.ndim == 4 and values.shape[1] in (1, 3))):
        expected = "[N, H, W], [N, H, W, 3] or [N, 3, H, W]; if they are flat: images.reshape(len(images), H, W)"
        raise DataError(f"{where} have the shape {values.shape}; expected {expected}")
    if len(values) < least or values.size == 0:
        raise DataError(f"{where} have the shape {values.shape}; expected at least {least} images that are not empty")
    pixels = torch.from_numpy(_unit(values, where)).flatten(1).to(device)
    shape = values.shape[2:] if values.shape[1] == 1 and values.ndim == 4 else values.shape[1:]
    if labels is None:
        return Images(pixels, None, shape)
    if labels.shape != (len(values),) or not np.issubdtype(labels.dtype, np.integer):
        found = f"{labels.dtype} of shape {labels.shape}, expected {len(values)} integers"
        raise DataError(f"{prefix}labels of {name} are {found}; np.unique(labels, return_inverse=True)[1] makes them")
    return Images(pixels, torch.from_numpy(labels.astype(np.int64)).to(device), shape)


#: What takes pixels of a range to [0, 1].
MENDS = {"images / 255": (0, LEVELS - 1), "(images + 1) / 2": (-1, 1)}


def _unit(values: np.ndarray, where: str) -> np.ndarray:
    """Levels or floats as float32 in [0, 1]; raises DataError where they are neither."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(LEVELS - 1)
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"{where} are {values.dtype}, neither levels nor floats; levels are images.astype(np.uint8)")
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"{where} hold values that are not finite, first in image {int(finite.argmin())}; leave it out")
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        mends = [line for line, (least, most) in MENDS.items() if least <= low and high <= most]
        mend = [*mends, "(images - images.min()) / np.ptp(images)"][0]
        raise DataError(f"{where} are floats from {low:g} to {high:g}; expected [0, 1]; to mend it: {mend}")
    return values.astype(np.float32)


def _split(images: Images) -> tuple[Images, Images]:
    """A part to train and one to test, by label where each label has images for both."""
    from sklearn.model_selection import train_test_split

    tests = max(1, round(TEST_SHARE * len(images)))
    labels = None if images.labels is None else images.labels.cpu()
    if labels is not None:
        counts = labels.unique(return_counts=True)[1]
        labels = labels if counts.min() >= 2 and len(counts) <= min(tests, len(images) - tests) else None
    train, test = train_test_split(torch.arange(len(images)), test_size=tests, stratify=labels, random_state=SPLIT_SEED)
    return images[train], images[test]
