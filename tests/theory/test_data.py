r"""Images: what is read of one's own, what is refused and how it is mended; the noise between levels."""

import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vaelib import data
from vaelib.data import DEQUANTISATION_STD, DataError, Images, dequantise, load

GREY_LEVELS = torch.arange(256)
GREY, COLOUR = (5, 7), (3, 5, 7)
over = pytest.mark.parametrize


def levels(*shape):
    """Random levels, uint8, in numpy."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def flat(pixels):
    """Levels as the library holds them."""
    return torch.from_numpy(pixels).flatten(1).float() / 255


# Images


def test_only_keeps_the_images_of_one_digit(quick):
    sevens = quick.test.only(7)
    assert len(sevens) == 100 and (sevens.labels == 7).all()
    assert torch.equal(sevens.images, quick.test.images[quick.test.labels == 7])
    assert (quick.test.only(0).labels == 0).all()
    assert quick.test.only(None) is quick.test


@pytest.mark.parametrize("digit", [10, -1])
def test_an_absent_digit_is_refused(digit):
    with pytest.raises(ValueError, match=rf"no image is labelled {digit}; the labels are \[0, 3\]"):
        Images(torch.rand(2, 784), torch.tensor([3, 0]), (28, 28)).only(digit)


def test_one_of_each_label_is_the_first_of_it():
    images = Images(torch.rand(5, 6), torch.tensor([2, 0, 2, 1, 0]), (2, 3)).one_of_each()
    assert images.labels.tolist() == [0, 1, 2]
    assert images.shape == (2, 3)


def test_some_of_the_images_keep_their_labels_and_shape():
    images = Images(torch.rand(5, 6), torch.arange(5), (2, 3))[1:3]
    assert (len(images), images.labels.tolist(), images.shape) == (2, [1, 2], (2, 3))


@over("choose", [lambda images: images.only(1), Images.one_of_each])
def test_what_needs_labels_says_so_where_there_are_none(choose):
    with pytest.raises(ValueError, match=r"have no labels; .*`labels` beside `images`.*subfolder"):
        choose(Images(torch.rand(2, 6), None, (2, 3)))


# Dequantisation


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24], ids=["the smallest noise", "the largest noise"])
def test_dequantise_keeps_the_level_and_stays_below_one(noise, monkeypatch):
    monkeypatch.setattr(torch, "rand_like", lambda images: torch.full_like(images, noise))
    y = dequantise(GREY_LEVELS / 255)
    assert torch.equal((256 * y).floor(), GREY_LEVELS.float())
    assert y.min() >= 0 and y.max() < 1


def test_dequantisation_adds_uniform_noise_of_the_named_standard_deviation():
    noise = (dequantise(GREY_LEVELS.expand(4_000, 256) / 255) - GREY_LEVELS / 256).double()
    assert noise.std().item() == pytest.approx(DEQUANTISATION_STD, rel=0.01)
    assert noise.mean().item() == pytest.approx(1 / 512, rel=0.01)
    assert pytest.approx(0.00112764, rel=1e-5) == DEQUANTISATION_STD


def test_dequantisation_is_fresh_each_time_and_follows_the_seed():
    x = torch.zeros(4, 784)
    torch.manual_seed(1)
    first, second = dequantise(x), dequantise(x)
    torch.manual_seed(1)
    assert torch.equal(dequantise(x), first)
    assert not torch.equal(first, second)


# One's own images


@over(
    ("pixels", "shape"),
    [
        (levels(10, 5, 7), GREY),
        (levels(10, 5, 7, 1), GREY),
        (levels(10, 1, 5, 7), GREY),
        (levels(10, 5, 7, 3), COLOUR),
        (levels(10, 3, 5, 7), COLOUR),
    ],
)
@over("read", [lambda pixels: pixels, torch.from_numpy], ids=["array", "tensor"])
def test_an_array_or_tensor_becomes_flat_images_a_fifth_of_them_to_test(pixels, shape, read):
    images = load(read(pixels))
    assert (len(images.train), len(images.test)) == (8, 2)
    assert images.train.shape == images.test.shape == shape
    assert images.train.labels is None
    channels_first = np.moveaxis(pixels, -1, 1) if pixels.shape[-1] == 3 else pixels
    expected = {tuple(row) for row in flat(channels_first).tolist()}
    assert {tuple(row) for part in (images.train, images.test) for row in part.images.tolist()} == expected
    assert images.train.images.dtype == torch.float32


def test_levels_and_the_floats_that_they_stand_for_are_the_same_images():
    pixels = levels(10, *GREY)
    whole, real = load(pixels), load(pixels / 255)
    torch.testing.assert_close(whole.train.images, real.train.images, rtol=0, atol=1e-7)


def test_the_split_is_the_same_each_time_and_the_fingerprint_that_of_the_pixels():
    pixels = levels(10, *GREY)
    assert torch.equal(load(pixels).test.images, load(pixels.copy()).test.images)
    assert data.fingerprint(pixels) == load(pixels).sha256 == data.fingerprint(torch.from_numpy(pixels))
    other = pixels.copy()
    other[:, 0, 0] ^= 1
    assert data.fingerprint(other) != data.fingerprint(pixels)


def test_an_npz_file_gives_images_labels_and_test_images(tmp_path):
    pixels, labels = levels(12, *GREY), np.arange(12) % 3
    arrays = {"images": pixels[:8], "labels": labels[:8], "test_images": pixels[8:], "test_labels": labels[8:]}
    np.savez(tmp_path / "own.npz", **arrays)
    own = load(str(tmp_path / "own.npz"))
    assert torch.equal(own.train.images, flat(pixels[:8]))
    assert torch.equal(own.test.images, flat(pixels[8:]))
    assert own.train.labels.tolist() == labels[:8].tolist()
    assert own.test.only(2).labels.tolist() == [2, 2]
    assert own.train.labels.dtype == torch.int64
    assert own.name == "own.npz"


def test_the_split_is_by_label_where_each_label_has_enough_images(tmp_path):
    np.savez(tmp_path / "own.npz", images=levels(50, *GREY), labels=np.arange(50) % 5)
    own = load(tmp_path / "own.npz")
    assert own.train.labels.bincount().tolist() == [8] * 5
    assert own.test.labels.bincount().tolist() == [2] * 5
    np.savez(tmp_path / "own.npz", images=levels(20, *GREY), labels=np.arange(20))
    assert len(load(tmp_path / "own.npz").test) == 4


def write(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def test_a_folder_of_pictures_is_read_with_subfolders_as_labels(tmp_path):
    pixels = levels(10, *GREY)
    for number, picture in enumerate(pixels):
        write(tmp_path / "pictures" / ("cat", "dog")[number % 2] / f"{number}.png", picture)
    own = load(tmp_path / "pictures")
    assert own.train.shape == GREY
    cats = {tuple(row) for part in (own.train, own.test) for row in part.only(0).images.tolist()}
    assert cats == {tuple(row) for row in flat(pixels[::2]).tolist()}


@over("suffix", ["png", "JPG", "jpeg"])
def test_one_coloured_picture_makes_all_of_a_folder_coloured(tmp_path, suffix):
    for number in range(4):
        write(tmp_path / "pictures" / f"{number}.{suffix}", levels(*GREY))
    assert load(tmp_path / "pictures").train.shape == GREY
    write(tmp_path / "pictures" / f"4.{suffix}", levels(5, 7, 3))
    own = load(tmp_path / "pictures")
    assert (own.train.shape, own.train.labels, len(own.train) + len(own.test)) == (COLOUR, None, 5)


def test_the_pixels_of_a_picture_are_those_of_its_file(tmp_path):
    pixels = levels(2, 5, 7, 3)
    for number in range(2):
        write(tmp_path / "pictures" / f"{number}.png", pixels[number])
    own = load(tmp_path / "pictures")
    assert {tuple(row) for part in (own.train, own.test) for row in part.images.tolist()} == {
        tuple(row) for row in flat(np.moveaxis(pixels, -1, 1)).tolist()
    }


# What is refused


def with_nan():
    pixels = levels(10, *GREY) / 255
    pixels[3, 1, 1] = np.nan
    return pixels


UNSUITABLE = {
    "floats to 255": (levels(10, *GREY).astype(float), r"floats from 0 to 255; expected \[0, 1\]; .*: images / 255"),
    "floats from -1": (levels(10, *GREY) / 127.5 - 1, r"floats from -1 to 1; .*: \(images \+ 1\) / 2"),
    "floats beyond": (levels(10, *GREY) * 10.0 - 5, r"floats from -5 to .*np.ptp\(images\)"),
    "not a number": (with_nan(), "not finite, first in image 3"),
    "integers": (levels(10, *GREY).astype(int), r"are int64, neither .* images.astype\(np.uint8\)"),
    "objects": (np.full((10, *GREY), None), "are object, neither levels nor floats"),
    "flat": (levels(10, 35), r"shape \(10, 35\); expected \[N, H, W\].*images.reshape\(len\(images\), H, W\)"),
    "four channels": (levels(10, 5, 7, 4), r"shape \(10, 5, 7, 4\); expected"),
    "five dimensions": (levels(10, 5, 7, 3, 2), r"shape \(10, 5, 7, 3, 2\); expected"),
    "none": (levels(0, *GREY), "expected at least 2 images"),
    "one": (levels(1, *GREY), "expected at least 2 images"),
    "no pixels": (levels(10, 0, 7), "expected at least 2 images that are not empty"),
    "a list": ([levels(*GREY)], r"cannot be read from a list; .*np.stack\(images\)"),
}


@over("name", UNSUITABLE)
def test_unsuitable_images_are_refused_with_what_was_seen_and_what_mends_it(name):
    images, message = UNSUITABLE[name]
    with pytest.raises(DataError, match=message):
        load(images)


@over("name", ["floats to 255", "floats from -1", "floats beyond", "integers", "flat"])
def test_the_line_that_mends_them_mends_them(name):
    images, _ = UNSUITABLE[name]
    with pytest.raises(DataError) as caught:
        load(images)
    mend = re.search(r"images\.astype.*|\(?images [^;]*$|images\.reshape.*", str(caught.value))[0]
    assert len(load(eval(mend, {"images": images, "np": np, "H": 5, "W": 7})).train) == 8


@over(
    ("labels", "message"),
    [
        (np.arange(9), r"labels of own.npz are int64 of shape \(9,\), expected 10 integers"),
        (np.zeros((10, 2), int), r"shape \(10, 2\), expected 10 integers"),
        (np.array(["cat", "dog"] * 5), r"labels of own.npz are <U3 .* np.unique"),
        (np.zeros(10), "labels of own.npz are float64"),
    ],
)
def test_labels_are_one_integer_for_each_image(labels, message, tmp_path):
    np.savez(tmp_path / "own.npz", images=levels(10, *GREY), labels=labels)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "own.npz")


def test_test_images_have_the_shape_of_the_others(tmp_path):
    np.savez(tmp_path / "own.npz", images=levels(10, *GREY), test_images=levels(4, 6, 7))
    with pytest.raises(DataError, match=r"test_images of own.npz have the shape \(6, 7\), images \(5, 7\)"):
        load(tmp_path / "own.npz")


def test_a_missing_a_damaged_and_a_nameless_file_are_named(tmp_path):
    file = tmp_path / "own.npz"
    with pytest.raises(
        DataError, match=r"own.npz cannot be read .*No such file.*; np.savez\('own.npz', images=images\)"
    ):
        load(file)
    np.savez(file, images=levels(10, *GREY))
    whole = file.read_bytes()
    for damaged in (b"", whole[:200], whole[:-30], b"no zip", flipped(whole, 150)):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"own.npz cannot be read"):
            load(file)
    np.savez(file, pictures=levels(10, *GREY))
    with pytest.raises(DataError, match=r"own.npz holds \['pictures'\] and no `images`"):
        load(file)
    np.savez(file, images=np.array([{}] * 3, dtype=object))
    with pytest.raises(DataError, match=r"own.npz cannot be read"):
        load(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images", "text")
    with pytest.raises(DataError, match=r"own.npz"):
        load(file)


def flipped(content, position):
    content = bytearray(content)
    content[position] ^= 0xFF
    return bytes(content)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "own.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"own.csv is neither a folder of pictures nor an .npz"):
        load(tmp_path / "own.csv")


@over("path", ["", "~nobody-of-that-name/own.npz", "x" * 300, "a\0b"])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises((DataError, ValueError), match=r"cannot be read|unknown profile") as caught:
        load(path)
    assert caught.traceback[-1].path.name == "data.py"


def test_a_picture_of_another_size_is_named(tmp_path):
    for number in range(3):
        write(tmp_path / "pictures" / f"{number}.png", levels(*GREY))
    write(tmp_path / "pictures" / "odd.png", levels(6, 7))
    with pytest.raises(DataError, match=r"odd.png is of size \(6, 7\), others are of \(5, 7\)"):
        load(tmp_path / "pictures")


@over(
    ("name", "make", "message"),
    [
        ("broken.png", lambda file: file.write_bytes(b"no picture"), "broken.png is no picture that can be read"),
        (
            "deep.png",
            lambda file: Image.new("I;16", (7, 5)).save(file),
            r"deep.png has more than 256 levels \(mode I;16",
        ),
        (
            "huge.png",
            lambda file: Image.new("1", (20_000, 20_000)).save(file),
            "huge.png is no picture that can be read .*decompression bomb",
        ),
        ("cat/1.png", lambda file: write(file, levels(*GREY)), "has pictures in subfolders and beside them"),
    ],
)
def test_a_picture_that_does_not_fit_is_named(name, make, message, tmp_path):
    for number in range(3):
        write(tmp_path / "pictures" / f"{number}.png", levels(*GREY))
    make(tmp_path / "pictures" / name)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "pictures")


def test_a_truncated_picture_is_named(tmp_path):
    for number in range(3):
        write(tmp_path / "pictures" / f"{number}.png", levels(40, 40))
    file = tmp_path / "pictures" / "2.png"
    file.write_bytes(file.read_bytes()[:-600])
    with pytest.raises(DataError, match=r"2.png is no picture that can be read"):
        load(tmp_path / "pictures")


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path} and its subfolders hold no picture"):
        load(tmp_path)


# What importing costs


def test_importing_the_library_loads_no_dataset_and_no_plots():
    code = "import sys, vaelib; print(*{'mlxtend', 'torchvision', 'matplotlib', 'PIL'} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
