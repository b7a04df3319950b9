r"""A trained model is made once, by its configuration alone, bit for bit."""

import hashlib
import importlib
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from vaelib import data
from vaelib.data import Digits, Mnist
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian
from vaelib.objectives import elbo_nats, iwae_bound_nats
from vaelib.seeding import seeded
from vaelib.study.cache import DamagedEntryError, UnwritableCacheError, cache_folder
from vaelib.study.classifier import ClassifierExperiment
from vaelib.study.experiment import VaeExperiment, train
from vaelib.study.provenance import code_digest
from vaelib.study.trained import entry, fetch
from vaelib.training import NonFiniteLossError, Step
from vaelib.vae import VAE

TINY = VaeExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)


def few_digits() -> Mnist:
    """96 images of noise in the place of the digits."""
    noise = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (96, 784), generator=noise) / 255
    labels = torch.arange(96) % 10
    return Mnist(
        Digits(images[:64], labels[:64]), Digits(images[64:], labels[64:]), "noise", "quick", "noise", "0" * 64
    )


@pytest.fixture(autouse=True)
def loads(monkeypatch) -> list[torch.device]:
    """The quick profile is a few digits; each training adds a line to this list."""
    calls: list[torch.device] = []

    def load(device):
        calls.append(device)
        return few_digits()

    monkeypatch.setitem(data.PROFILES, "quick", load)
    return calls


def weights(model) -> str:
    """Checksum of all bits of a model's parameters."""
    return hashlib.sha256(save(model.state_dict())).hexdigest()


# One seed, one model


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    torch.manual_seed(1)
    first, record = train(TINY)
    torch.manual_seed(2)
    second, again = train(TINY)
    assert weights(first) == weights(second)
    assert (record["metrics"], record["history"]) == (again["metrics"], again["history"])


def test_another_seed_gives_other_weights():
    assert weights(train(TINY)[0]) != weights(train(TINY.at(seed=1))[0])


def test_training_runs_on_one_thread_and_gives_the_others_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = []
        train(TINY, on_epoch=lambda epoch: seen.append((epoch, torch.get_num_threads())))
        assert (seen, torch.get_num_threads()) == ([(1, 1), (2, 1)], 3)
    finally:
        torch.set_num_threads(threads)


def test_training_and_loading_leave_the_callers_randomness_untouched(tmp_path):
    state = torch.get_rng_state()
    for expected in ("trained", "loaded"):
        lines = []
        fetch(TINY, cache=tmp_path, report=lines.append)
        assert expected in lines[0]
        assert torch.equal(torch.get_rng_state(), state)


def test_seeded_restores_the_state_even_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3):
        {}[torch.rand(3)]
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(3):
        draw = torch.rand(3)
    with seeded(3):
        assert torch.equal(torch.rand(3), draw)


# From other processes

ORDINARY = replace(TINY, latent_dim=20, hidden=400)


def train_in_a_child(threads: int) -> str:
    data.PROFILES["quick"] = lambda device: few_digits()
    torch.set_num_threads(threads)
    return weights(train(ORDINARY)[0])


def fetch_in_a_child(folder: Path) -> str:
    """Fetch when the other child is ready too; each training leaves a line in a file and takes a while."""

    def load(device):
        with (folder / "trainings").open("a") as file:
            file.write("trained\n")
        time.sleep(0.5)
        return few_digits()

    data.PROFILES["quick"] = load
    (folder / f"ready-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("ready-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return weights(fetch(TINY, cache=folder / "cache", report=lambda line: None).model)


@pytest.fixture(scope="module")
def children():
    """Two fresh processes."""
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        yield pool


def test_another_process_with_other_threads_gives_the_same_weights_bit_for_bit(children):
    one, two = (children.submit(train_in_a_child, threads) for threads in (1, 2))
    assert one.result(timeout=60) == two.result(timeout=60) == weights(train(ORDINARY)[0])


def test_two_processes_that_want_one_model_train_it_once(children, tmp_path):
    first, second = [children.submit(fetch_in_a_child, tmp_path) for _ in range(2)]
    assert first.result(timeout=60) == second.result(timeout=60)
    assert (tmp_path / "trainings").read_text().splitlines() == ["trained"]


# The cache


def test_what_has_not_changed_is_never_trained_again(loads):
    lines = []
    first, second = (fetch(TINY, report=lines.append) for _ in range(2))
    assert len(loads) == 1
    assert entry(TINY).exists()
    assert lines == ["tiny (quick, seed 0): trained in 0 s", "tiny (quick, seed 0): loaded"]
    assert weights(first.model) == weights(second.model) == weights(train(TINY)[0])
    assert first.record == second.record
    assert not first.model.training and not second.model.training


def test_what_has_changed_is_trained_again_and_only_then(loads):
    for experiment in (TINY, replace(TINY, epochs=1), TINY.at(seed=1), TINY, replace(TINY, name="renamed")):
        fetch(experiment, report=lambda line: None)
    assert len(loads) == 3


def test_a_finished_model_is_loaded_from_a_cache_that_cannot_be_locked():
    fetch(TINY, report=lambda line: None)
    lock = entry(TINY).record_file.with_suffix(".lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    fetch(TINY, report=lambda line: None)


def test_retrain_trains_again(loads):
    for _ in range(2):
        fetch(TINY, retrain=True, report=lambda line: None)
    assert len(loads) == 2


def test_the_record_says_what_was_trained_and_how_it_went():
    record = fetch(TINY, report=lambda line: None).record
    assert record["name"] == "tiny" and record["config"] == TINY.config()
    assert record["metrics"].keys() == {"test_log_px_z_nats", "test_kl_nats"}
    history = record["history"]["train_loss"]
    assert len(history) == TINY.epochs and history[1] < history[0]
    assert record["versions"]["torch"] == torch.__version__ and record["seconds"] >= 0


def test_the_loss_is_minus_the_objective_on_the_chosen_digit():
    experiment = replace(TINY, digit=7, dequantised=False)
    digits, vae = few_digits().train, experiment.build()
    (images,) = experiment.examples(digits)
    assert torch.equal(images, digits.images[digits.labels == 7])
    with seeded(1):
        loss = experiment.loss(vae, images)
    with seeded(1):
        assert torch.equal(loss, -elbo_nats(vae, images))


def test_the_history_holds_the_mean_loss_of_each_epoch(monkeypatch):
    steps = [(1, 1, False, 1.0), (2, 1, True, 2.0), (3, 2, False, 3.0), (4, 2, True, 4.0)]
    monkeypatch.setattr(
        "vaelib.experiments.fit",
        lambda *args, **settings: (Step(*rest, torch.tensor(loss)) for *rest, loss in steps),
    )
    assert train(TINY)[1]["history"]["train_loss"] == [1.5, 3.5]


def test_the_classifier_is_cached_like_any_other_model(loads):
    experiment = ClassifierExperiment(name="classifier", purpose="a test", epochs=1)
    first, second = (fetch(experiment, report=lambda line: None) for _ in range(2))
    assert weights(first.model) == weights(second.model) and len(loads) == 1
    assert 0 <= first.record["metrics"]["test_accuracy"] <= 1
    with pytest.raises(TypeError, match="classifier is a Classifier, not a VAE"):
        _ = second.vae


def test_damaged_weights_are_neither_loaded_nor_trained_over(loads):
    fetch(TINY, report=lambda line: None)
    file = entry(TINY).weights_file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedEntryError, match=f"{file} is damaged.*"):
        fetch(TINY, report=lambda line: None)
    assert len(loads) == 1


def test_a_cache_that_cannot_be_written_says_how_to_move_it_before_training(tmp_path, loads):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableCacheError, match="set VAELIB_CACHE"):
        fetch(TINY, cache=tmp_path / "file")
    assert not loads


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")], ids=repr)
def test_the_device_is_a_name_or_a_torch_device(device, loads):
    assert fetch(TINY, device=device, report=lambda line: None).record["device"] == "cpu"
    assert loads == [torch.device("cpu")]


# The key


def test_the_key_ignores_name_and_purpose():
    assert replace(TINY, name="other", purpose="other").key == TINY.key


def other_head(*, features: int, pixels: int) -> PixelwiseGaussian:
    return PixelwiseGaussian(features=features, pixels=pixels, floor=0.1)


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
    {"latent_dim": 3},
    {"hidden": 9},
    {"dequantised": False},
    {"digit": 7},
    {"head": partial(PixelwiseGaussian, floor=0.1)},
    {"head": partial(PixelwiseGaussian, floor=0.01)},
    {"head": partial(FixedGaussian, sigma=0.1)},
    {"head": other_head},
    {"objective": partial(iwae_bound_nats, samples=5)},
    {"objective": partial(iwae_bound_nats, samples=6)},
]


def test_every_change_of_the_configuration_changes_the_key():
    keys = {TINY.key, *(replace(TINY, **change).key for change in CHANGES)}
    assert len(keys) == 1 + len(CHANGES)


@pytest.mark.parametrize(
    ("attribute", "changed"),
    [
        ("code_digest", lambda module: "changed"),
        ("data.CHECKSUMS", {"quick": "changed"}),
        ("versions", lambda: {"torch": "0.0.0"}),
    ],
    ids=["code", "data", "torch"],
)
def test_the_key_depends_on_the_code_the_data_and_torch(attribute, changed, monkeypatch):
    before = TINY.key
    monkeypatch.setattr(f"vaelib.experiments.{attribute}", changed)
    assert TINY.key != before


@pytest.mark.parametrize("field", ["head", "objective"])
def test_the_key_depends_on_the_code_of_the_module_that_a_function_comes_from(field, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / f"a_{field}.py"
    keys = []
    for code in ("A = 1", "A = 2", "A = 2  # and a comment"):
        source.write_text(f"{code}\n\n\ndef function(*args):\n    return A\n")
        importlib.invalidate_caches()
        code_digest.cache_clear()
        function = importlib.import_module(source.stem).function
        keys += [replace(TINY, **{field: partial(function)}).key]
    del sys.modules[source.stem]
    code_digest.cache_clear()
    assert keys[0] != keys[1] == keys[2]


def test_no_two_functions_share_a_key():
    functions = [partial(other_head, 1), partial(other_head, 2), One.Head, Another.Head]
    assert len({replace(TINY, head=function).key for function in functions}) == len(functions)


def test_a_function_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r"lambda.* has no name"):
        _ = replace(TINY, head=lambda features, pixels: PixelwiseGaussian(features=features, pixels=pixels)).key


# What cannot be


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        ({"latent_dim": -1}, "latent_dim must be at least 1, got -1"),
        ({"epochs": 0}, "epochs and batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate positive"),
        ({"digit": 11}, "no image is labelled 11"),
        ({"head": partial(PixelwiseGaussian, floor=0.0)}, "floor must be a positive"),
        ({"head": partial(FixedGaussian, sigma=-1.0)}, "sigma must be a positive"),
        ({"profile": "tiny"}, "unknown profile 'tiny'; choose one of quick, full"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_impossible_settings_are_refused_and_leave_nothing(setting, message):
    with pytest.raises(ValueError, match=message):
        fetch(replace(TINY, **setting))
    assert not list(cache_folder().rglob("*.json"))


@pytest.mark.parametrize("learning_rate", [1e-3, 1e30], ids=["in the loss", "after the last step"])
def test_a_model_that_is_not_finite_is_never_kept(learning_rate, monkeypatch):
    broken = replace(TINY, epochs=1, batch_size=64, learning_rate=learning_rate)
    if learning_rate < 1:
        monkeypatch.setattr(data, "dequantise", lambda images: images / 0)
    with pytest.raises(NonFiniteLossError):
        fetch(broken)
    assert not entry(broken).exists()


def test_a_vae_experiment_builds_the_one_architecture():
    vae = VaeExperiment(name="a", purpose="b", epochs=1, latent_dim=3, head=PixelwiseGaussian).build()
    assert isinstance(vae, VAE)
    shapes = {name: tuple(tensor.shape) for name, tensor in vae.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "encoder.body.0.weight": (400, 784),
        "encoder.mu.weight": (3, 400),
        "encoder.sigma.weight": (3, 400),
        "decoder.body.0.weight": (400, 3),
        "head.mu.weight": (784, 400),
        "head.sigma.weight": (784, 400),
    }
