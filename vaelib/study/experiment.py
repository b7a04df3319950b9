r"""One trained model = one frozen configuration, and how it is trained."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from vaelib.data import Dataset, Images, dequantise
from vaelib.diagnostics.latent import elbo_surgery
from vaelib.linear import SharedLinearGaussian, shared_linear_vae
from vaelib.objectives import elbo_nats, elbo_terms
from vaelib.priors import StandardNormal
from vaelib.seeding import seeded
from vaelib.training import NonFiniteLossError, fit
from vaelib.vae import VAE, mlp_vae

#: How many training images `Experiment.watch` looks at.
WATCHED = 512
#: Fields that say what a model is for and determine nothing.
LABELS = ("name", "purpose", "family", "role", "no_density")


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """All that determines one trained model; the fields in `LABELS` enter neither configuration nor key.

    `profile` is what `vaelib.data.load` takes: a profile, or the path of a visitor's images. `family` says where the
    model comes from and `role` who needs it (`vaelib.study.models`); `no_density` why its likelihood is no density on
    the pixels, empty where it is one.
    """

    name: str
    purpose: str
    family: str = ""
    role: str = ""
    no_density: str = ""
    epochs: int
    profile: str = "quick"
    seed: int = 0
    batch_size: int = 128
    learning_rate: float = 1e-3
    decay: bool = False
    encoder_steps: int = 0
    start: "Experiment | None" = None

    @abstractmethod
    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """The untrained model for images of a shape, from torch's global generator."""

    @abstractmethod
    def examples(self, images: Images) -> tuple[Tensor, ...]:
        """The tensors that mini-batches are drawn from."""

    @abstractmethod
    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """The loss of each example, `[B]`."""

    @abstractmethod
    def metrics(self, model: nn.Module, test: Images) -> dict[str, float]:
        """What the record says of the trained model on the test split."""

    @abstractmethod
    def watch(self, model: nn.Module, train: Images) -> dict[str, float]:
        """What the history keeps of the model after each epoch; must leave torch's global generator as it is."""

    def inner(self, model: nn.Module) -> Sequence[nn.Parameter]:
        """The parameters that take `encoder_steps` steps of their own before each step."""
        return ()

    def take_over(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Start the model from the weights of another."""
        model.load_state_dict(dict(weights))

    def at(self, *, profile: str | None = None, seed: int | None = None) -> Self:
        """The same experiment with another profile or seed."""
        profile, seed = self.profile if profile is None else profile, self.seed if seed is None else seed
        return replace(self, profile=profile, seed=seed, start=self.start and self.start.at(profile=profile, seed=seed))


@dataclass(frozen=True, kw_only=True)
class VaeExperiment(Experiment):
    """A VAE with the chapter's networks: m-400-d-400-m, ReLU.

    `head` makes the likelihood from `features` and `shape`, `prior` the distribution of codes from `latent_dim`;
    `objective` is what is maximised, `[B]`; `dequantised` adds fresh uniform noise below one grey level to each batch;
    `digit` trains on one label only; `encoder_steps` are further steps of the encoder alone before each step. `start`
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
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {self.latent_dim}")
        if self.kept and self.start is None:
            raise ValueError(f"kept parts need a model to start from, got {self.kept} and none")

    @property
    def beta(self) -> float:
        """The weight of the KL in the objective, 1 where it has none to set."""
        return self.objective.keywords.get("beta", 1.0) if isinstance(self.objective, partial) else 1.0

    def build(self, shape: tuple[int, ...]) -> VAE:
        """Encoder, decoder, likelihood and prior, initialised from torch's global generator."""
        return mlp_vae(shape=shape, latent_dim=self.latent_dim, head=self.head, prior=self.prior, hidden=self.hidden)

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
        return dequantise(images) if self.dequantised else images

    def examples(self, images: Images) -> tuple[Tensor, ...]:
        """The images, of one label or of all."""
        return (images.only(self.digit).images,)

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Minus the objective, per example."""
        assert isinstance(model, VAE)
        return -self.objective(model, self.pixels(batch[0]))

    def metrics(self, model: nn.Module, test: Images) -> dict[str, float]:
        """The two terms of the ELBO on the test split, mean over images, in nats."""
        assert isinstance(model, VAE)
        terms = elbo_terms(model, self.pixels(test.only(self.digit).images))
        return {"test_log_px_z_nats": terms.log_px_z.mean().item(), "test_kl_nats": terms.kl.mean().item()}

    def watch(self, model: nn.Module, train: Images) -> dict[str, float]:
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

    def build(self, shape: tuple[int, ...]) -> VAE:
        """The linear VAE that learns its sigma, initialised from torch's global generator."""
        return shared_linear_vae(pixels=math.prod(shape), latent_dim=self.latent_dim)


class Outcome(NamedTuple):
    """What training made."""

    model: nn.Module
    metrics: dict[str, float]
    history: dict[str, list[float]]
    """After each epoch: the mean training loss, and what the experiment watches."""
    seconds: float


def train(
    experiment: Experiment,
    images: Dataset,
    *,
    weights: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> Outcome:
    """Train on the device of the images and on one thread, so that one seed gives the same weights bit for bit.

    `weights` are those of the experiment that this one starts from; raises ValueError if it has a start and they are
    missing, or the other way round.
    """
    if (weights is None) != (experiment.start is None):
        raise ValueError(f"{experiment.name}: give the weights of its start if and only if it has one")
    with _one_thread(), seeded(experiment.seed):
        started = time.perf_counter()
        model = experiment.build(images.train.shape).to(images.train.images.device)
        if weights is not None:
            experiment.take_over(model, weights)
        history = _run(experiment, model, images.train, on_epoch)
        seconds = time.perf_counter() - started
        with torch.no_grad():
            metrics = experiment.metrics(model, images.test)
    if not all(math.isfinite(value) for value in metrics.values()):
        raise NonFiniteLossError(
            f"after the last step the test metrics are {metrics}; the likely cause is a learning rate of "
            f"{experiment.learning_rate:g} that is too large (lower it)"
        )
    return Outcome(model, metrics, history, seconds)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, which takes numbers below 1e-38, that a processor handles slowly, for 0.

    Adam's averages get there after some 800 steps without a gradient, as at pixels that are always black. Weights do
    not: they are the same bit for bit, up to a third sooner.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _run(
    experiment: Experiment, model: nn.Module, train: Images, on_epoch: Callable[[int], object]
) -> dict[str, list[float]]:
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
