r"""What visitors bring: images of their own, and an objective or a likelihood from a notebook or a file of theirs."""

import os
import sys
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch

from vaelib.likelihoods import FixedGaussian, PixelwiseGaussian
from vaelib.objectives import elbo_nats
from vaelib.study import trained
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures import bits, few_labels, latent, measured, measurement_key, summary, variance
from vaelib.study.trained import fetch, key, silently

FACTOR = 0.5
TINY = VaeExperiment(
    name="mine", purpose="a test", epochs=1, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch):
    """A classifier of one epoch."""
    monkeypatch.setattr("vaelib.study.classifier.EPOCHS", {"quick": 1})


def write(file, *shape, **arrays):
    """Images of noise, all of them the same for the same shape; and the experiment on them."""
    images = np.random.default_rng(0).integers(0, 256, (60, *shape), dtype=np.uint8)
    np.savez(file, **({"images": images} | arrays))
    return replace(TINY, profile=str(file))


@pytest.fixture
def grey(tmp_path):
    """An experiment on 60 labelled grey images of 20 x 20 pixels."""
    return write(tmp_path / "grey.npz", 20, 20, labels=np.arange(60) % 4)


@pytest.fixture
def colour(tmp_path):
    """An experiment on 60 colour images of 16 x 16 pixels."""
    own = write(tmp_path / "colour.npz", 16, 16, 3)
    return replace(own, head=partial(FixedGaussian, sigma=0.1), dequantised=False)


# Images


def test_labelled_grey_images_of_ones_own_are_trained_on_and_measured_as_digits_are(grey):
    found = fetch(grey, report=silently)
    assert found.record["shape"] == [20, 20] and found.vae.likelihood(torch.zeros(1, 2)).mean.shape == (1, 400)
    assert measured(summary, grey)["mse"] > 0 and measured(bits, grey)["bits"] > 0
    assert measured(latent, replace(grey, digit=3))["rate_nats"] >= 0


def test_colour_images_are_trained_on_and_measured_by_all_that_asks_for_no_classifier(colour):
    assert fetch(colour, report=silently).record["shape"] == [3, 16, 16]
    assert measured(latent, colour)["rate_nats"] > 0
    assert measured(variance, colour)["noise"] == pytest.approx(768 * 0.1**2, rel=0.1)


def test_what_the_classifier_cannot_judge_is_refused_before_anything_is_trained(colour, tmp_path):
    few = write(tmp_path / "small.npz", 12, 12, labels=np.arange(60) % 4)
    named = write(tmp_path / "named.npz", 20, 20, labels=np.arange(60))
    blank = write(tmp_path / "blank.npz", 20, 20)
    for experiment, why in (
        (colour, r"grey images of at least 13 by 13 pixels, not of the shape \(3, 16, 16\)"),
        (few, r"grey images of at least 13 by 13 pixels, not of the shape \(12, 12\)"),
        (named, r"labels from 0 to 9, and those of these images are from 0 to 5[0-9]"),
        (blank, "labels from 0 to 9, and those of these images are none"),
    ):
        with pytest.raises(ValueError, match=f"{why}; leave out the measures that need it"):
            measured(summary, experiment)
        assert not trained.entry(experiment).exists()


def test_without_labels_there_is_no_digit_and_nothing_to_learn_from_few(colour):
    with pytest.raises(ValueError, match="no labels; give `labels` beside `images`"):
        fetch(replace(colour, digit=3))
    with pytest.raises(ValueError, match="no labels to learn from"):
        measured(few_labels, colour)


def test_models_of_ones_own_images_belong_to_their_pixels_their_labels_and_their_tests(tmp_path):
    file, labels = tmp_path / "mine.npz", np.arange(60) % 4
    images, tests = np.random.default_rng(1).integers(0, 256, (2, 60, 20, 20), dtype=np.uint8)
    editions = [
        {"labels": labels},
        {"images": images, "labels": labels},
        {"images": images, "labels": (labels + 1) % 4},
        {"images": images, "labels": labels, "test_images": tests, "test_labels": labels},
        {"images": images, "labels": labels, "test_images": 255 - tests, "test_labels": labels},
        {"images": images, "labels": labels, "test_images": tests, "test_labels": (labels + 1) % 4},
    ]
    keys = []
    for second, arrays in enumerate([*editions, editions[0]]):
        experiment = write(file, 20, 20, **arrays)
        os.utime(file, (second, second))  # as if they were written one after the other
        keys.append((key(experiment), measurement_key(latent, experiment)))
    assert len(set(keys)) == len({one for one, _ in keys}) == len({one for _, one in keys}) == len(editions)
    assert keys[-1] == keys[0]


def test_a_file_that_is_written_again_is_read_again(grey):
    before = fetch(grey, report=silently)
    file = grey.profile
    write(file, 24, 24, labels=np.arange(60) % 4)
    after = fetch(grey, report=silently)
    assert [before.record["shape"], after.record["shape"]] == [[20, 20], [24, 24]]


def test_a_folder_that_gets_another_picture_is_read_again(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    experiment = replace(TINY, profile=str(folder))
    keys = []
    for number in range(4):
        Image.fromarray(np.full((8, 8), 60 * number, dtype=np.uint8)).save(folder / f"{number}.png")
        if number >= 2:
            keys.append(key(experiment))
    assert keys[0] != keys[1]


# Code


def own_objective(vae, x):
    return FACTOR * elbo_nats(vae, x)


class OwnHead(FixedGaussian):
    def __init__(self, *, features, shape):
        super().__init__(features=features, shape=shape, sigma=FACTOR)


def own_measure(vae, *, test):
    return {"sigma": vae.likelihood(torch.zeros(1, vae.latent_dim)).stddev.mean().item()}


def assert_it_serves(objective, head, measure, folder):
    """An experiment with them has a key, is trained, loaded and measured."""
    own = write(folder / "mine.npz", 4, 5)
    for experiment in (replace(own, objective=objective), replace(own, head=head, objective=partial(objective))):
        lines = []
        for _ in range(2):
            fetch(experiment, report=lines.append)
        assert ["trained" in line for line in lines] == [True, False]
    assert measured(measure, experiment) == {"sigma": pytest.approx(0.5)}
    assert measured(latent, experiment)["rate_nats"] >= 0
    assert len({key(own), key(replace(own, objective=objective)), key(replace(own, head=head))}) == 3


def test_what_a_file_defines_serves(tmp_path, monkeypatch):
    assert_it_serves(own_objective, OwnHead, own_measure, tmp_path)
    experiment = replace(TINY, objective=own_objective)
    before = key(experiment)
    monkeypatch.setitem(globals(), "FACTOR", 0.25)
    assert key(experiment) != before


CELL = """
import torch
from vaelib.likelihoods import FixedGaussian
from vaelib.objectives import elbo_nats

FACTOR = 0.5


def objective(vae, x):
    return FACTOR * elbo_nats(vae, x)


class Head(FixedGaussian):
    def __init__(self, *, features, shape):
        super().__init__(features=features, shape=shape, sigma=FACTOR)


class Bare(FixedGaussian):
    pass


def measure(vae, *, test):
    return {"sigma": vae.likelihood(torch.zeros(1, vae.latent_dim)).stddev.mean().item()}
"""


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs a cell as Jupyter does, in a main module without a file, and gives the names that are defined there."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    main = ModuleType("__main__")
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}), user_module=main, user_ns=vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)

    def run(cell):
        shell.run_cell(cell).raise_error()
        return vars(main)

    return run


def test_what_the_cell_of_a_notebook_defines_serves(notebook, tmp_path):
    defined = notebook(CELL)
    assert_it_serves(defined["objective"], defined["Head"], defined["measure"], tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("sigma=FACTOR", "sigma=2 * FACTOR", False),
        ("FACTOR = 0.5", "FACTOR = 0.25", False),
        ("import torch", "import torch\n# a comment", True),
        ("shape=shape, sigma", "shape=shape,  sigma", True),
        ("    def __init__", '    """A head."""\n    def __init__', True),
    ],
)
def test_a_cell_that_is_edited_and_run_again_makes_another_model_if_the_code_has_changed(old, new, same, notebook):
    before = key(replace(TINY, head=notebook(CELL)["Head"]))
    assert old in CELL
    assert (key(replace(TINY, head=notebook(CELL.replace(old, new))["Head"])) == before) is same


def test_what_cannot_be_told_from_others_is_refused_with_the_way_out(notebook):
    with pytest.raises(ValueError, match="by `class` with a method of its own, in a cell of a notebook or in a file"):
        key(replace(TINY, head=notebook(CELL)["Bare"]))
    with pytest.raises(ValueError, match="define it by `def` at the top of a module or of a cell"):
        key(replace(TINY, objective=notebook("mine = lambda vae, x: x")["mine"]))
    with pytest.raises(ValueError, match="<lambda> has no name of its own"):
        measured(lambda vae, *, test: {}, TINY)
