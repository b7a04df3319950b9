r"""Trained models: made once, fetched ever after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from vaelib.seeding import seeded
from vaelib.study.cache import Entry, cache_folder
from vaelib.study.experiment import Experiment, train
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


def entry(experiment: Experiment, *, cache: Path | str | None = None) -> Entry:
    """Where the experiment's weights and record are kept."""
    return Entry(cache_folder(cache) / "models", experiment.key)


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
    label = f"{experiment.name} ({experiment.profile}, seed {experiment.seed})"
    if retrain or not place.exists():
        with place.lock():
            if retrain or not place.exists():
                start = experiment.start
                weights = fetch(start, cache=cache, device=device, report=report).model.state_dict() if start else None
                with torch.enable_grad():  # whoever measures may have switched gradients off
                    model, record = train(experiment, device=device, weights=weights, on_epoch=on_epoch)
                model.zero_grad()
                place.write(record, model.state_dict())
                how = f"trained in {record['seconds']:.0f} s"
    record, weights = place.read()
    with seeded(experiment.seed):  # the initial weights, thrown away, must not move the caller's generator
        model = experiment.build().to(device)
    model.load_state_dict(weights)
    report(f"{label}: {how}")
    return Trained(model.eval(), record)
