r"""One trained model = one frozen configuration, and how it is trained."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from vaelib import data
from vaelib.data import Digits
from vaelib.diagnostics.latent import elbo_surgery
from vaelib.linear import SharedLinearGaussian, shared_linear_vae
from vaelib.networks import DecoderBody, Encoder
from vaelib.objectives import elbo_nats, elbo_terms
from vaelib.priors import StandardNormal
from vaelib.seeding import seeded
from vaelib.study.provenance import code_digest, digest, versions
from vaelib.training import NonFiniteLossError, fit
from vaelib.vae import VAE

#: How many training images `Experiment.watch` looks at.
WATCHED = 512


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
    decay: bool = False
    encoder_steps: int = 0
    start: "Experiment | None" = None

    def __post_init__(self) -> None:
        data.check_profile(self.profile)

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

    @abstractmethod
    def watch(self, model: nn.Module, train: Digits) -> dict[str, float]:
        """What the history keeps of the model after each epoch; must leave torch's global generator as it is."""

    def inner(self, model: nn.Module) -> Sequence[nn.Parameter]:
        """The parameters that take `encoder_steps` steps of their own before each step."""
        return ()

    def take_over(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Start the model from the weights of another."""
        model.load_state_dict(dict(weights))

    def at(self, *, profile: str | None = None, seed: int | None = None) -> Self:
        """The same experiment with another profile or seed."""
        return replace(
            self,
            profile=self.profile if profile is None else profile,
            seed=self.seed if seed is None else seed,
            start=self.start and self.start.at(profile=profile, seed=seed),
        )

    def config(self) -> dict[str, Any]:
        """The configuration as a JSON value, labels left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        labels = ("name", "purpose")
        return {"experiment": type(self).__name__} | {k: _plain(v) for k, v in values.items() if k not in labels}

    def _modules(self) -> set[str]:
        """The modules of the functions and classes that are fields."""
        values = (getattr(self, field.name) for field in fields(self))
        functions = (value.func if isinstance(value, partial) else value for value in values)
        return {type(self).__module__} | {function.__module__ for function in functions if callable(function)}

    @property
    def key(self) -> str:
        """Hash of the configuration, the data, the version of torch, and the code: of this module, of the modules of
        the likelihood and the objective, and of all that these import.

        The processor and the device change last digits only; they are in the record, not in the key.
        """
        return digest(
            {
                "config": self.config(),
                "data": data.CHECKSUMS[self.profile],
                "code": {module: code_digest(module) for module in sorted({__name__, *self._modules()})},
                "torch": versions()["torch"].split("+")[0],
            }
            | ({"start": self.start.key} if self.start else {})
        )


@dataclass(frozen=True, kw_only=True)
class VaeExperiment(Experiment):
    """A VAE of the chapter's one architecture: 784-400-d-400-784, ReLU.

    `head` makes the likelihood from `features` and `pixels`, `prior` the distribution of codes from `latent_dim`;
    `objective` is what is maximised, `[B]`; `dequantised` adds fresh uniform noise below one grey level to each batch;
    `digit` trains on one digit only; `encoder_steps` are further steps of the encoder alone before each step. `start`
    is a trained model whose parts `kept` are taken over and held, and whose other parts are where training starts
    from, as far as both models have them.
    """

    latent_dim: int
    head: Callable[..., nn.Module]
    objective: Callable[[VAE, Tensor], Tensor] = elbo_nats
    dequantised: bool = True
    digit: int | None = None
    hidden: int = 400
    prior: Callable[..., nn.Module] = StandardNormal
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {self.latent_dim}")
        if self.kept and self.start is None:
            raise ValueError(f"kept parts need a model to start from, got {self.kept} and none")

    def build(self) -> VAE:
        """Encoder, decoder and likelihood, initialised from torch's global generator."""
        return VAE(
            encoder=Encoder(pixels=data.PIXELS, latent_dim=self.latent_dim, hidden=self.hidden),
            decoder=DecoderBody(latent_dim=self.latent_dim, hidden=self.hidden),
            head=self.head(features=self.hidden, pixels=data.PIXELS),
            latent_dim=self.latent_dim,
            code_prior=self.prior(latent_dim=self.latent_dim),
        )

    def inner(self, model: nn.Module) -> Sequence[nn.Parameter]:
        """The encoder's parameters, for its steps alone."""
        assert isinstance(model, VAE)
        return tuple(model.encoder.parameters())

    def take_over(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Copy what both models have from the weights of `start`, and hold the parts that are kept."""
        own = model.state_dict()
        shared = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
        model.load_state_dict({**own, **shared})
        for part in self.kept:
            held = [name for name in own if name.startswith(f"{part}.")]
            if not held or not shared.keys() >= set(held):
                raise ValueError(f"{part!r} cannot be kept: {self.name} and its start have no such part in common")
            model.get_submodule(part).requires_grad_(False)

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
        return {
            "test_log_px_z_nats": terms.log_px_z.mean().item(),
            "test_kl_nats": terms.kl.mean().item(),
        }

    def watch(self, model: nn.Module, train: Digits) -> dict[str, float]:
        """Over the first training images: mean KL and mutual information in nats (at most ln N), and mean sigma_z."""
        assert isinstance(model, VAE)
        x = train.only(self.digit).images[:WATCHED]
        with seeded(self.seed):
            surgery = elbo_surgery(model, x)
        return {
            "train_kl_nats": surgery.kl,
            "train_mutual_information_nats": surgery.mutual_information,
            "train_sigma_z": model.posterior(x).stddev.mean().item(),
        }


@dataclass(frozen=True, kw_only=True)
class LinearVaeExperiment(VaeExperiment):
    """A VAE whose networks are linear: the code goes straight to the head, and `hidden` counts for nothing."""

    head: Callable[..., nn.Module] = SharedLinearGaussian

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head is not SharedLinearGaussian or self.prior is not StandardNormal:
            raise ValueError("the linear VAE has a head and a prior of its own; leave both fields as they are")

    def build(self) -> VAE:
        """The linear VAE that learns its sigma, initialised from torch's global generator."""
        return shared_linear_vae(pixels=data.PIXELS, latent_dim=self.latent_dim)


def train(
    experiment: Experiment,
    *,
    device: torch.device | str = "cpu",
    weights: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train on one thread, so that one seed gives the same weights bit for bit; model and record.

    `weights` are those of the experiment that this one starts from; raises ValueError if it has a start and they are
    missing, or the other way round.
    """
    if (weights is None) != (experiment.start is None):
        raise ValueError(f"{experiment.name}: give the weights of its start if and only if it has one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        digits = data.load(experiment.profile, device=device)
        with seeded(experiment.seed):
            started = time.perf_counter()
            model = experiment.build().to(device)
            if weights is not None:
                experiment.take_over(model, weights)
            history = _run(experiment, model, digits.train, on_epoch)
            seconds = time.perf_counter() - started
            with torch.no_grad():
                metrics = experiment.metrics(model, digits.test)
    finally:
        torch.set_num_threads(threads)
    if not all(math.isfinite(value) for value in metrics.values()):
        raise NonFiniteLossError(
            f"after the last step the test metrics are {metrics}; the likely cause is a learning rate of "
            f"{experiment.learning_rate:g} that is too large (lower it)"
        )
    record = {
        "name": experiment.name,
        "config": experiment.config(),
        "metrics": metrics,
        "history": history,
        "versions": versions(),
        "seconds": round(seconds, 2),
        "device": str(device),
    }
    return model, record


def _run(
    experiment: Experiment, model: nn.Module, train: Digits, on_epoch: Callable[[int], object]
) -> dict[str, list[float]]:
    """The history: the mean training loss of each epoch, and what the experiment watches after it."""
    history: dict[str, list[float]] = {}
    losses: list[Tensor] = []
    steps = fit(
        model,
        partial(experiment.loss, model),
        experiment.examples(train),
        epochs=experiment.epochs,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
        decay=experiment.decay,
        inner=experiment.inner(model),
        inner_steps=experiment.encoder_steps,
    )
    for step in steps:
        losses.append(step.loss)
        if step.ends_epoch:
            with torch.no_grad():
                watched = experiment.watch(model, train)
            for name, value in {"train_loss": torch.stack(losses).mean().item(), **watched}.items():
                history.setdefault(name, []).append(value)
            losses.clear()
            on_epoch(step.epoch)
    return history


def _plain(value: Any) -> Any:
    """A field of a configuration as a JSON value: functions and classes by name, partials with their arguments."""
    if isinstance(value, Experiment):
        return value.config()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, partial):
        keywords = {k: _plain(v) for k, v in value.keywords.items()}
        return {_named(value.func): [[_plain(v) for v in value.args], keywords]}
    if callable(value):
        return {_named(value): [[], {}]}
    return value


def _named(function: Callable[..., Any]) -> str:
    if "<" in function.__qualname__:
        raise ValueError(f"{function.__qualname__} has no name of its own; define it in a module or use partial")
    return f"{function.__module__}.{function.__qualname__}"
