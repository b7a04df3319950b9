r"""Trained models: made once, fetched ever after."""

import platform
from collections.abc import Callable
from dataclasses import fields
from functools import cache as memoise
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import safetensors
import torch
from torch import nn

from vaelib import data, mnist
from vaelib.seeding import seeded
from vaelib.study.cache import Entry, cache_folder
from vaelib.study.experiment import Experiment, train
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
            "config": experiment.config(),
            "data": images_digest(experiment.profile),
            "code": code_digest(train, type(experiment), *parts),
            "torch": torch.__version__.split("+")[0],
        }
        | ({"start": key(experiment.start)} if experiment.start else {})
    )


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
    with seeded(experiment.seed):  # the initial weights, thrown away, must not move the caller's generator
        model = experiment.build(tuple(record["shape"])).to(device)
    model.load_state_dict(weights)
    report(f"{experiment.name} ({experiment.profile}, seed {experiment.seed}): {how}")
    return Trained(model.eval(), record)


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
        outcome = train(experiment, seen, weights=weights, on_epoch=on_epoch)
    record = {
        "name": experiment.name,
        "config": experiment.config(),
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
