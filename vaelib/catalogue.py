r"""Every trained model of the chapter by name. A model is added here and nowhere else."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from vaelib.data import DEQUANTISATION_STD, PROFILES
from vaelib.experiments import Experiment, VaeExperiment
from vaelib.likelihoods import BernoulliPixels, PixelwiseGaussian
from vaelib.measurements import yardstick


class Schedule(NamedTuple):
    """How long a model is trained."""

    epochs: int
    batch_size: int


#: About 2,500 updates on 4,000 images, 4,700 on 60,000; chosen on a part of the training images that was set aside.
SCHEDULES = {
    "quick": Schedule(epochs=40, batch_size=64),
    "full": Schedule(epochs=10, batch_size=128),
}

#: Latent dimensions of the simple VAE (Figures 5.3 to 5.5) and of the gallery in the literature's style (5.8).
SIMPLE_DIMS = (2, 20)
GALLERY_DIMS = (2, 5, 10, 20)
#: Floors of sigma_x in the sweep of section 5.2, as standard deviations of a pixel in [0, 1], on pixels as they are
#: and on dequantised ones, where the simple VAE's own floor stands between the last two.
GREY_FLOORS = (1e-1, 1e-2, 1e-3, 1e-4)
DEQUANTISED_FLOORS = (1e-1, 1e-2, 1e-4)
#: Runs behind every claim: the build's seed and the ones that follow it.
CLAIM_SEEDS = 3


#: Models whose claims are measured over several seeds, by the beginning of their names.
REPEATED = ("simple", "floor")


class UnknownNameError(KeyError):
    """No model, claim or profile has this name; the message lists those that exist."""

    def __str__(self) -> str:
        return str(self.args[0])


def claim_seeds(seed: int) -> tuple[int, ...]:
    """The seeds that a claim is measured over."""
    return tuple(range(seed, seed + CLAIM_SEEDS))


def experiments(profile: str = "quick", *, seed: int = 0) -> dict[str, Experiment]:
    """All models of the chapter under one profile and seed, by name; the classifier, a fixed yardstick, has seed 0."""
    if profile not in PROFILES:
        raise UnknownNameError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    vae = partial(VaeExperiment, profile=profile, seed=seed, **SCHEDULES[profile]._asdict())
    models: list[Experiment] = [yardstick(profile)]
    models += [
        vae(
            name=f"simple-d{d}",
            purpose="the simple VAE, all variances learned",
            latent_dim=d,
            head=partial(PixelwiseGaussian, floor=DEQUANTISATION_STD),
        )
        for d in SIMPLE_DIMS
    ]
    models += [
        vae(
            name=f"bernoulli-d{d}",
            purpose="Figure 5.8, Bernoulli on grey pixels",
            latent_dim=d,
            head=BernoulliPixels,
            dequantised=False,
        )
        for d in GALLERY_DIMS
    ]
    models += [
        vae(
            name=floor_name(floor, dequantised=dequantised),
            purpose="the variance floor, swept",
            latent_dim=20,
            head=partial(PixelwiseGaussian, floor=floor),
            dequantised=dequantised,
        )
        for dequantised, floors in ((True, DEQUANTISED_FLOORS), (False, GREY_FLOORS))
        for floor in floors
    ]
    return {model.name: model for model in models}


def floor_name(floor: float, *, dequantised: bool) -> str:
    """The name of the model of the sweep with this floor."""
    return f"floor-{floor:g}-{'dequantised' if dequantised else 'grey'}"


def find(name: str, profile: str = "quick", *, seed: int = 0) -> Experiment:
    """The experiment of that name; raises `UnknownNameError`, which lists the names."""
    known = experiments(profile, seed=seed)
    if name not in known:
        raise UnknownNameError(f"no model is called {name!r}; the models are: {', '.join(known)}")
    return known[name]


def find_vae(name: str, profile: str = "quick", *, seed: int = 0) -> VaeExperiment:
    """`find` for those who need a VAE."""
    experiment = find(name, profile, seed=seed)
    if not isinstance(experiment, VaeExperiment):
        raise UnknownNameError(f"{name!r} is no VAE")
    return experiment


def behind_the_book(profile: str, *, seed: int) -> list[Experiment]:
    """Every model that a build needs: the catalogue under its seed, and what the claims need under theirs."""
    needed: dict[str, Experiment] = {}
    for model in _all_seeds(profile, seed):
        needed.setdefault(model.key, model)
    return list(needed.values())


def _all_seeds(profile: str, seed: int) -> Iterable[Experiment]:
    for repeat in claim_seeds(seed):
        models = experiments(profile, seed=repeat).values()
        yield from (model for model in models if repeat == seed or model.name.startswith(REPEATED))
