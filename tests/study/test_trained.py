r"""A trained model is made once, under a key of all that makes it and of nothing else."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from vaelib import data, mnist
from vaelib.likelihoods import FixedGaussian, PixelwiseGaussian
from vaelib.objectives import iwae_bound_nats
from vaelib.study.cache import DamagedEntryError, UnwritableCacheError, cache_folder
from vaelib.study.classifier import ClassifierExperiment
from vaelib.study.experiment import LABELS, VaeExperiment, train
from vaelib.study.trained import config, entry, fetch, key, silently, versions
from vaelib.training import NonFiniteLossError

TINY = VaeExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)


def few_digits() -> data.Dataset:
    """96 images of noise."""
    levels = torch.randint(0, 256, (96, 784), generator=torch.Generator().manual_seed(1))
    both = data.Images(levels / 255, torch.arange(96) % 10, mnist.SHAPE)
    return data.Dataset(both[:64], both[64:], "noise", "quick", "noise", "0" * 64)


@pytest.fixture(autouse=True)
def loads(in_place_of_quick) -> list[torch.device]:
    """The quick profile is a few digits; each reading of it adds its device to this list."""
    calls = []

    def load(device):
        calls.append(device)
        return few_digits()

    in_place_of_quick(load)
    return calls


@pytest.fixture(autouse=True)
def trainings(monkeypatch) -> list[str]:
    """The names of what is trained, in order."""
    names = []

    def counted(experiment, *args, **options):
        names.append(experiment.name)
        return train(experiment, *args, **options)

    monkeypatch.setattr("vaelib.study.trained.train", counted)
    return names


def quietly(experiment, **options):
    """What is fetched."""
    return fetch(experiment, report=silently, **options)


def same(one, two) -> bool:
    """Whether two models have the same parameters, bit for bit."""
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Made once


def test_what_has_not_changed_is_never_trained_again(trainings):
    lines = []
    first, second = (fetch(TINY, report=lines.append) for _ in range(2))
    assert trainings == ["tiny"] and entry(TINY).exists()
    assert lines == ["tiny (quick, seed 0): trained in 0 s", "tiny (quick, seed 0): loaded"]
    assert same(first.model, second.model) and same(first.model, train(TINY, few_digits()).model)
    assert first.record == second.record
    assert not first.model.training and not second.model.training


def test_what_has_changed_is_trained_again_and_only_then(trainings):
    for experiment in (TINY, replace(TINY, epochs=1), TINY.at(seed=1), TINY, replace(TINY, name="renamed")):
        quietly(experiment)
    assert len(trainings) == 3


def test_retrain_trains_again(trainings):
    for _ in range(2):
        quietly(TINY, retrain=True)
    assert len(trainings) == 2


def test_training_and_loading_leave_the_callers_randomness_untouched(trainings):
    state = torch.get_rng_state()
    for _ in range(2):
        quietly(TINY)
        assert torch.equal(torch.get_rng_state(), state)
    assert len(trainings) == 1


def test_whoever_measures_may_have_switched_gradients_off():
    with torch.no_grad():
        quietly(TINY)
        assert not torch.is_grad_enabled()


def test_the_images_are_read_once_for_many_models(loads):
    for seed in (0, 1):
        quietly(TINY.at(seed=seed))
    assert len(loads) == 1


def test_each_epoch_of_a_training_is_reported():
    epochs = []
    for _ in range(2):
        quietly(TINY, on_epoch=epochs.append)
    assert epochs == [1, 2]


# From other processes

ORDINARY = replace(TINY, latent_dim=20, hidden=400)


def train_in_a_child(threads: int) -> bytes:
    torch.set_num_threads(threads)
    return save(train(ORDINARY, few_digits()).model.state_dict())


def fetch_in_a_child(folder: Path) -> tuple[str, bytes]:
    """What is said of a model that is fetched when the other child is ready too, and takes a while; and its weights."""
    mnist.LOADERS["quick"] = lambda device: few_digits()
    (folder / f"ready-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("ready-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = []
    found = fetch(TINY, cache=folder / "cache", report=lines.append, on_epoch=lambda epoch: time.sleep(0.3))
    return lines[0].split()[4], save(found.model.state_dict())


@pytest.fixture(scope="module")
def children() -> Iterator[ProcessPoolExecutor]:
    """Two fresh processes."""
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        yield pool


def test_another_process_with_other_threads_gives_the_same_weights_bit_for_bit(children):
    one, two = (children.submit(train_in_a_child, threads) for threads in (1, 2))
    assert one.result(timeout=120) == two.result(timeout=120) == save(train(ORDINARY, few_digits()).model.state_dict())


def test_two_processes_that_want_one_model_train_it_once(children, tmp_path):
    first, second = (children.submit(fetch_in_a_child, tmp_path) for _ in range(2))
    (one, weights), (two, others) = first.result(timeout=120), second.result(timeout=120)
    assert {one, two} == {"trained", "loaded"} and weights == others


# The record


def test_the_record_says_what_was_trained_and_how_it_went():
    record = quietly(TINY).record
    assert record["name"] == "tiny" and record["config"] == config(TINY) and record["shape"] == [28, 28]
    assert record["metrics"].keys() == {"test_log_px_z_nats", "test_kl_nats"}
    outcome = train(TINY, few_digits())
    assert (record["metrics"], record["history"]) == (outcome.metrics, outcome.history)
    assert record["versions"] == versions() and record["versions"]["torch"] == torch.__version__
    assert record["seconds"] >= 0


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")], ids=repr)
def test_the_device_is_a_name_or_a_torch_device(device, loads):
    assert quietly(TINY, device=device).record["device"] == "cpu"
    assert loads == [torch.device("cpu")]


def test_the_classifier_is_cached_like_any_other_model(trainings):
    experiment = ClassifierExperiment(name="classifier", purpose="a test", epochs=1)
    first, second = (quietly(experiment) for _ in range(2))
    assert same(first.model, second.model) and len(trainings) == 1
    assert 0 <= first.record["metrics"]["test_accuracy"] <= 1
    with pytest.raises(TypeError, match="classifier is a Classifier, not a VAE"):
        _ = second.vae


# What cannot be loaded or kept


def test_a_damaged_model_is_neither_loaded_nor_trained_over(trainings):
    quietly(TINY)
    file = entry(TINY).file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedEntryError, match=f"{file} is damaged.*"):
        quietly(TINY)
    assert len(trainings) == 1


def test_a_finished_model_is_loaded_from_a_cache_that_cannot_be_locked(trainings):
    quietly(TINY)
    lock = entry(TINY).file.with_suffix(".lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    quietly(TINY)
    assert len(trainings) == 1


def test_a_cache_that_cannot_be_written_says_how_to_move_it_before_training(tmp_path, trainings):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableCacheError, match="set VAELIB_CACHE"):
        quietly(TINY, cache=tmp_path / "file")
    assert not trainings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs, batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate positive"),
        ({"digit": 11}, "no image is labelled 11"),
        ({"head": partial(PixelwiseGaussian, floor=0.0)}, "floor must be a positive"),
        ({"head": partial(FixedGaussian, sigma=-1.0)}, "sigma must be a positive"),
        ({"profile": "tiny"}, "unknown profile 'tiny'; choose one of quick, full"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_and_leave_nothing(setting, message):
    with pytest.raises(ValueError, match=message):
        quietly(replace(TINY, **setting))
    assert not list(cache_folder().rglob("*.safetensors"))


def test_a_model_that_is_not_finite_is_never_kept():
    broken = replace(TINY, head=partial(FixedGaussian, sigma=1e-30))
    with pytest.raises(NonFiniteLossError):
        quietly(broken)
    assert not entry(broken).exists()


# The key


def test_the_key_is_that_of_no_label():
    assert LABELS == ("name", "purpose", "family", "role", "no_density")
    assert {key(replace(TINY, **{label: "other"})) for label in LABELS} == {key(TINY)}


def other_head(*, features: int, shape: tuple[int, ...]) -> PixelwiseGaussian:
    return PixelwiseGaussian(features=features, shape=shape, floor=0.1)


class One:
    class Head(PixelwiseGaussian):
        pass


class Another:
    class Head(PixelwiseGaussian):
        pass


CHANGES = [
    {"epochs": 3},
    {"profile": "full"},
    {"seed": 1},
    {"batch_size": 16},
    {"learning_rate": 1e-4},
    {"decay": True},
    {"encoder_steps": 1},
    {"latent_dim": 3},
    {"hidden": 9},
    {"dequantised": False},
    {"digit": 7},
    {"head": partial(PixelwiseGaussian, floor=0.1)},
    {"head": partial(PixelwiseGaussian, floor=0.01)},
    {"head": partial(FixedGaussian, sigma=0.1)},
    {"head": other_head},
    {"head": partial(other_head, 1)},
    {"head": partial(other_head, 2)},
    {"head": One.Head},
    {"head": Another.Head},
    {"objective": partial(iwae_bound_nats, samples=5)},
    {"objective": partial(iwae_bound_nats, samples=6)},
]


def test_every_change_of_the_configuration_changes_the_key():
    keys = {key(TINY), *(key(replace(TINY, **change)) for change in CHANGES)}
    assert len(keys) == 1 + len(CHANGES)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("code_digest", lambda *roots: "changed"),
        ("mnist.CHECKSUMS", {"quick": "changed"}),
        ("torch", SimpleNamespace(__version__="0.0.0+cpu")),
    ],
    ids=["code", "data", "torch"],
)
def test_the_key_depends_on_the_code_the_data_and_torch(name, changed, monkeypatch, in_place_of_quick):
    before = key(TINY)
    monkeypatch.setattr(f"vaelib.study.trained.{name}", changed)
    in_place_of_quick(mnist.LOADERS["quick"])
    assert key(TINY) != before


def test_the_key_does_not_depend_on_how_torch_was_built(monkeypatch):
    release = torch.__version__.split("+")[0]
    builds = (release, f"{release}+cpu", f"{release}+cu126")
    keys = set()
    for build in builds:
        monkeypatch.setattr("vaelib.study.trained.torch", SimpleNamespace(__version__=build))
        keys.add(key(TINY))
    assert len(keys) == 1


@pytest.mark.parametrize("field", ["head", "objective"])
def test_a_function_without_a_name_is_refused_with_the_way_out(field):
    with pytest.raises(ValueError, match=r"<lambda> has no name of its own.*define it by `def`.*functools.partial"):
        key(replace(TINY, **{field: lambda *args, **options: None}))
