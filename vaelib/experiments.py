r"""One trained model = one frozen configuration; its weights are made once and fetched ever after."""

import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy
import safetensors
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vaelib import data
from vaelib.classifier import Classifier
from vaelib.data import Digits
from vaelib.networks import DecoderBody, Encoder
from vaelib.objectives import elbo_nats, elbo_terms
from vaelib.seeding import seeded
from vaelib.store import Entry, cache_folder, code_digest, digest
from vaelib.training import Step, fit
from vaelib.vae import VAE


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """All that determines one trained model. `name` and `purpose` are labels; every other field enters the key."""

    name: str
    purpose: str
    epochs: int
    profile: str = "quick"
    seed: int = 0
    batch_size: int = 128
    learning_rate: float = 1e-3

    @abstractmethod
    def build(self) -> nn.Module:
        """The untrained model."""

    @abstractmethod
    def examples(self, digits: Digits) -> tuple[Tensor, ...]:
        """The tensors that mini-batches are drawn from."""

    @abstractmethod
    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """The loss of each example, `[B]`."""

    @abstractmethod
    def metrics(self, model: nn.Module, test: Digits) -> dict[str, float]:
        """What the record says of the trained model on the test split."""

    def at(self, *, profile: str | None = None, seed: int | None = None) -> Self:
        """The same experiment with another profile or seed."""
        return replace(
            self,
            profile=self.profile if profile is None else profile,
            seed=self.seed if seed is None else seed,
        )

    def config(self) -> dict[str, Any]:
        """The configuration as a JSON value, labels left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        labels = ("name", "purpose")
        return {"experiment": type(self).__name__} | {k: _plain(v) for k, v in values.items() if k not in labels}

    @property
    def key(self) -> str:
        """Hash of the configuration, the data, this code with all that it imports, and the version of torch.

        The processor and the device change last digits only; they are in the record, not in the key.
        """
        return digest(
            {
                "config": self.config(),
                "data": data.CHECKSUMS[self.profile],
                "code": code_digest(__name__),
                "torch": torch.__version__.split("+")[0],
            }
        )


@dataclass(frozen=True, kw_only=True)
class VaeExperiment(Experiment):
    """A VAE of the chapter's one architecture: 784-400-d-400-784, ReLU.

    `head` makes the likelihood from `features` and `pixels`; `objective` is what is maximised, `[B]`; `dequantised`
    adds fresh uniform noise below one grey level to each batch; `digit` trains on one digit only.
    """

    latent_dim: int
    head: Callable[..., nn.Module]
    objective: Callable[[VAE, Tensor], Tensor] = elbo_nats
    dequantised: bool = True
    digit: int | None = None
    hidden: int = 400

    def build(self) -> VAE:
        """Encoder, decoder and likelihood, initialised from torch's global generator."""
        return VAE(
            encoder=Encoder(pixels=data.PIXELS, latent_dim=self.latent_dim, hidden=self.hidden),
            decoder=DecoderBody(latent_dim=self.latent_dim, hidden=self.hidden),
            head=self.head(features=self.hidden, pixels=data.PIXELS),
            latent_dim=self.latent_dim,
        )

    def pixels(self, images: Tensor) -> Tensor:
        """The images as this model sees them: with fresh noise, or as they are."""
        return data.dequantise(images) if self.dequantised else images

    def examples(self, digits: Digits) -> tuple[Tensor, ...]:
        """The images, of one digit or of all."""
        return (digits.only(self.digit).images,)

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Minus the objective, per example."""
        assert isinstance(model, VAE)
        return -self.objective(model, self.pixels(batch[0]))

    def metrics(self, model: nn.Module, test: Digits) -> dict[str, float]:
        """The two terms of the ELBO on the test split, mean over images, in nats."""
        assert isinstance(model, VAE)
        terms = elbo_terms(model, self.pixels(test.only(self.digit).images))
        return {"test_log_px_z_nats": terms.log_px_z.mean().item(), "test_kl_nats": terms.kl.mean().item()}


@dataclass(frozen=True, kw_only=True)
class ClassifierExperiment(Experiment):
    """The classifier behind the Frechet distance and the label-change rate."""

    def build(self) -> Classifier:
        """The untrained classifier."""
        return Classifier()

    def examples(self, digits: Digits) -> tuple[Tensor, ...]:
        """Images and labels."""
        return digits.images, digits.labels

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Cross-entropy, per example."""
        images, labels = batch
        return cross_entropy(model(images), labels, reduction="none")

    def metrics(self, model: nn.Module, test: Digits) -> dict[str, float]:
        """Accuracy on the test split."""
        assert isinstance(model, Classifier)
        return {"test_accuracy": (model.labels(test.images) == test.labels).float().mean().item()}


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
    label = f"{experiment.name} ({experiment.profile}, seed {experiment.seed})"
    if retrain or not place.exists():
        with place.lock():
            if retrain or not place.exists():
                model, record = train(experiment, device=device, on_epoch=on_epoch)
                place.write(record, model.state_dict())
                report(f"{label}: trained in {record['seconds']:.0f} s")
                return Trained(model, record)
    record, weights = place.read()
    model = experiment.build().to(device)
    model.load_state_dict(weights)
    report(f"{label}: loaded")
    return Trained(model.eval(), record)


def train(
    experiment: Experiment,
    *,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train from scratch on one thread, so that one seed gives the same weights bit for bit; model and record."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        digits = data.load(experiment.profile, device=device)
        with seeded(experiment.seed):
            started = time.perf_counter()
            model = experiment.build().to(device)
            history = _run(experiment, model, digits.train, on_epoch)
            seconds = time.perf_counter() - started
            with torch.no_grad():
                metrics = experiment.metrics(model, digits.test)
    finally:
        torch.set_num_threads(threads)
    record = {
        "name": experiment.name,
        "config": experiment.config(),
        "metrics": metrics,
        "history": {"train_loss": history},
        "versions": versions(),
        "seconds": round(seconds, 2),
        "device": str(device),
    }
    return model, record


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "safetensors": safetensors.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _run(experiment: Experiment, model: nn.Module, train: Digits, on_epoch: Callable[[int], object]) -> list[float]:
    """The mean training loss of each epoch."""
    history: list[float] = []
    losses: list[Tensor] = []
    steps = fit(
        model,
        partial(experiment.loss, model),
        experiment.examples(train),
        epochs=experiment.epochs,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
    )
    step: Step
    for step in steps:
        losses.append(step.loss)
        if step.ends_epoch:
            history.append(torch.stack(losses).mean().item())
            losses.clear()
            on_epoch(step.epoch)
    return history


def _plain(value: Any) -> Any:
    """A field of a configuration as a JSON value: functions and classes by name, partials with their keywords."""
    if isinstance(value, partial):
        return {value.func.__name__: {k: _plain(v) for k, v in value.keywords.items()}}
    if callable(value):
        return {value.__name__: {}}
    return value
