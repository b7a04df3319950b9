r"""Trained models: made once, fetched ever after."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache as memoise
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import safetensors
import torch
from torch import Tensor, nn

from vaelib import data, mnist
from vaelib.seeding import seeded
from vaelib.study.cache import Entry, cache_folder
from vaelib.study.experiment import LABELS, Experiment, train
from vaelib.study.polished import PolishedExperiment
from vaelib.study.reach import code_digest, digest
from vaelib.vae import VAE


class Trained(NamedTuple):
    """A trained model, in evaluation mode, and its record."""

    model: nn.Module
    record: dict[str, Any]

    @property
    def vae(self) -> VAE:
        """The model as a VAE; raises TypeError for any other."""
        if not isinstance(self.model, VAE):
            raise TypeError(f"{self.record['name']} is a {type(self.model).__name__}, not a VAE")
        return self.model


def key(experiment: Experiment) -> str:
    """Hash of what determines a model: configuration, images, version of torch, and the code that training reaches.

    The processor and the device change last digits only; they are in the record, not in the key.
    """
    parts = [getattr(experiment, field.name) for field in fields(experiment)]
    return digest(
        {
            "config": config(experiment),
            "data": images_digest(experiment.profile),
            "code": code_digest(train, type(experiment), *parts),
            "torch": torch.__version__.split("+")[0],
        }
        | ({"start": key(experiment.start)} if experiment.start else {})
    )


def config(experiment: Experiment) -> dict[str, Any]:
    """The configuration as a JSON value, labels left out."""
    values = {field.name: getattr(experiment, field.name) for field in fields(experiment) if field.name not in LABELS}
    return {"experiment": type(experiment).__name__} | {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """A field of a configuration as a JSON value: functions and classes by short name, partials with arguments."""
    if isinstance(value, Experiment):
        return config(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, partial):
        return {named(value.func): [_plain(value.args), {k: _plain(v) for k, v in value.keywords.items()}]}
    return named(value) if callable(value) else value


def named(function: Callable[..., Any]) -> str:
    """The name of a function or class in a key; raises ValueError for a lambda, and within another function."""
    if "<" in (name := getattr(function, "__qualname__", f"<{type(function).__name__}>")):
        raise ValueError(
            f"{name} has no name of its own, so no place in a cache; define it by `def` at the top "
            "of a module or of a cell, or use functools.partial of one that is"
        )
    return name


@memoise
def _kept(profile: str, device: str) -> data.Dataset:
    return data.load(profile, device=device)


def images(profile: str, device: str = "cpu") -> data.Dataset:
    """The images of a profile, read and verified once in a process; a visitor's own, which may change, each time."""
    return (_kept if profile in data.PROFILES else data.load)(profile, device=device)


def images_digest(profile: str) -> str:
    """Hash of the images of a profile, and of the code that reads them."""
    return digest([data.fingerprint(profile), code_digest(mnist.LOADERS.get(profile))])


def entry(experiment: Experiment, *, cache: Path | str | None = None) -> Entry:
    """Where the experiment's weights and record are kept."""
    return Entry(cache_folder(cache) / "models", key(experiment))


def fetch(
    experiment: Experiment,
    *,
    cache: Path | str | None = None,
    device: torch.device | str = "cpu",
    retrain: bool = False,
    report: Callable[[str], object] = print,
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> Trained:
    """Load the model from the cache, or train it and keep it; `report` gets the line that says which.

    `on_epoch` is called after each epoch of training. Raises `DamagedEntryError`, `DataError`, `NonFiniteLossError`.
    """
    place = entry(experiment, cache=cache)
    how = "loaded"
    if retrain or not place.exists():
        with place.lock():
            if retrain or not place.exists():
                record = _train(experiment, place, cache, device, report, on_epoch)
                how = f"trained in {record['seconds']:.0f} s"
    record, weights = place.read()
    model = restored(experiment, tuple(record["shape"]), weights).to(device)
    report(f"{experiment.name} ({experiment.profile}, seed {experiment.seed}): {how}")
    return Trained(model, record)


def restored(experiment: Experiment, shape: tuple[int, ...], weights: Mapping[str, Tensor]) -> nn.Module:
    """The model with its weights, in evaluation mode."""
    with seeded(experiment.seed):  # the initial weights, thrown away, must not move the caller's generator
        model = experiment.build(shape)
    model.load_state_dict(dict(weights))
    return model.eval()


def silently(line: str) -> None:
    """A report for :func:`fetch` that says nothing."""


def _train(
    experiment: Experiment,
    place: Entry,
    cache: Path | str | None,
    device: torch.device | str,
    report: Callable[[str], object],
    on_epoch: Callable[[int], object],
) -> dict[str, Any]:
    start = experiment.start
    weights = fetch(start, cache=cache, device=device, report=report).model.state_dict() if start else None
    seen = images(experiment.profile, str(device))
    with torch.enable_grad():  # whoever measures may have switched gradients off
        if isinstance(experiment, PolishedExperiment):
            assert weights is not None
            outcome = experiment.polished(seen, weights)
        else:
            outcome = train(experiment, seen, weights=weights, on_epoch=on_epoch)
    record = {
        "name": experiment.name,
        "config": config(experiment),
        "shape": seen.train.shape,
        "metrics": outcome.metrics,
        "history": outcome.history,
        "versions": versions(),
        "seconds": round(outcome.seconds, 2),
        "device": str(device),
    }
    place.write(record, outcome.model.state_dict())
    return record


def versions() -> dict[str, str]:
    """What numbers are computed with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
