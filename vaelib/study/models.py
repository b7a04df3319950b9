r"""Every trained model of the chapter by name. A model is added here and nowhere else."""

import fnmatch
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import Any

from vaelib import likelihoods as heads
from vaelib.data import DEQUANTISATION_STD, PROFILES
from vaelib.errors import MendableError
from vaelib.likelihoods.discretised import HALF_LEVEL
from vaelib.objectives import autoencoder_objective, beta_elbo_nats, copy_elbo_nats, elbo_nats, limit_objective
from vaelib.priors import LearnedFlow, LearnedMixture, StandardNormal
from vaelib.study import lookups
from vaelib.study.classifier import classifier_experiment
from vaelib.study.experiment import Experiment, LinearVaeExperiment, VaeExperiment
from vaelib.study.sweeps import sweeps
from vaelib.study.trained import key

#: Fields of an experiment.
Settings = dict[str, Any]


class Family(StrEnum):
    """Where a model comes from: the papers, at any floor; public programs, GECO's tolerance too; section 5.5."""

    SIMPLE = "the simple VAE"
    COMMON = "a common recipe"
    PROPOSAL = "a proposal of 5.5"


class Role(StrEnum):
    """Who needs a model."""

    BOOK = "the book: every build trains it, under the seed of the build"
    SWEPT = "a sweep: trained under the seeds that are asked for, and by no build"


def _per_profile(*, quick: Settings, full: Settings) -> dict[str, Settings]:
    """A schedule for each profile: one for few images, one for 60,000, whatever they show."""
    return {profile: quick if profile == "quick" else full for profile in PROFILES}


#: About 1,000 updates on 4,000 images and 2,800 on 60,000, at a rate that falls to 0; chosen on training images that
#: were set aside. On 60,000 images the objectives end no lower than after ten epochs at a constant rate of 0.001. On
#: 4,000 there is no such gift: after forty epochs of larger batches, which take nearly twice as long, the Bernoulli's
#: and that of the shared sigma are 2.5 nats higher, others less or not.
FAST = _per_profile(
    quick={"epochs": 16, "batch_size": 64, "learning_rate": 6e-3, "decay": True},
    full={"epochs": 6, "batch_size": 128, "learning_rate": 4e-3, "decay": True},
)
#: Scales that each pixel has to itself, and networks within the likelihood, bear no such rate.
PATIENT = _per_profile(
    quick={"epochs": 16, "batch_size": 64, "learning_rate": 3e-3, "decay": True},
    full={"epochs": 10, "batch_size": 128, "learning_rate": 1e-3, "decay": False},
)
#: A network within the likelihood, a code and a copy between them, all at once.
LONG = _per_profile(
    quick={"epochs": 32, "batch_size": 64, "learning_rate": 3e-3, "decay": True},
    full={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3, "decay": True},
)
#: The linear VAE has an exact optimum to reach, so it is trained until it does; chosen on training images.
LINEAR = _per_profile(
    quick={"epochs": 200, "batch_size": 256, "learning_rate": 1e-2, "decay": True},
    full={"epochs": 30, "batch_size": 512, "learning_rate": 1e-2, "decay": True},
)

#: Latent dimensions of the simple VAE (Figures 5.3 to 5.5) and of the gallery in the literature's style (5.8).
SIMPLE_DIMS = (2, 20)
GALLERY_DIMS = (2, 5, 10, 20)
#: Floors of sigma_x in the sweep of section 5.2, as standard deviations of a pixel in [0, 1], on pixels as they are
#: and on dequantised ones, where the simple VAE's own floor stands between the last two.
GREY_FLOORS = (1e-1, 1e-2, 1e-3, 1e-4)
DEQUANTISED_FLOORS = (1e-1, 1e-2, 1e-4)
#: Runs behind the tables and verdicts of a build; what is said over seeds are the stored reference results.
BUILD_SEEDS = 1
#: The weights of section 5.3.1, chosen before any run. In the linear VAE direction i is active if and only if its
#: eigenvalue exceeds beta sigma^2. At 0.01 (sigma = 1) all of 20 directions are, with room to spare; 6 exceeds the
#: largest eigenvalue of MNIST, so that none is.
SMALL_BETA, LARGE_BETA = 0.01, 6.0
#: The dial: beta with sigma = 1, or sigma = sqrt(beta) with beta = 1, which is the same.
DIAL = (1e-4, 1e-3, SMALL_BETA, 0.1, 0.5, 1.0, 2.0, LARGE_BETA)
#: The standard deviation of section 5.3.4.
SMALL_SIGMA = 1e-4
#: The digit that the models of Figure 5.17 are trained on.
ONE_DIGIT = 4
#: Section 5.5: the tolerance of GECO, a standard deviation of a pixel; radii of the window of the structured Gaussian,
#: and of the neighbourhood; rank of the low-rank Gaussian; further encoder steps.
TOLERANCE, RADII, RADIUS, RANK, ENCODER_STEPS = 0.1, (1, 2, 3), 2, 8, 4
#: Standard deviations of the noisy copy between code and pixels; the first is the book's.
COPY_NOISES = (0.2, 0.4, 0.8)
#: Smallest scale of the discretised Gaussian, half a bin: with less its training ends in numbers that are none.
DISCRETISED_FLOOR = HALF_LEVEL
#: The latent dimension of the models that the tables compare.
TABLE_DIM = 20


class UnknownNameError(MendableError, LookupError):
    """No model, claim or profile has this name; the message lists those that exist."""


def build_seeds(seed: int) -> tuple[int, ...]:
    """The seeds that the tables, figures and verdicts of a build are made over: its own, and those that follow it."""
    return tuple(range(seed, seed + BUILD_SEEDS))


def experiments(profile: str = "quick", *, seed: int = 0) -> dict[str, Experiment]:
    """All models of the chapter under one profile and seed, by name; the classifier, a fixed judge, has seed 0."""
    if profile not in PROFILES:
        raise UnknownNameError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    each = {"profile": profile, "seed": seed, "role": Role.BOOK, "latent_dim": TABLE_DIM}
    fast, patient, linear, long = (each | schedule[profile] for schedule in (FAST, PATIENT, LINEAR, LONG))
    models = (*_simple(patient), *_common(fast, patient), *_proposals(fast, patient, linear), *_copies(long))
    known = {model.name: model for model in models}
    swept = {model.name: model for model in sweeps(known, role=Role.SWEPT)}
    return {"classifier": classifier_experiment(profile), **known, **swept}


def of_the_book(profile: str = "quick", *, seed: int = 0) -> dict[str, Experiment]:
    """The same without the models of sweeps: what a build trains."""
    return {name: model for name, model in experiments(profile, seed=seed).items() if model.role != Role.SWEPT}


class _Kind:
    """Models that share some settings; called with a name, a purpose and what is not shared, it makes one."""

    def __init__(self, *shared: Settings, make: type[VaeExperiment] = VaeExperiment, **more: Any) -> None:
        self.settings, self.make = {key: value for part in (*shared, more) for key, value in part.items()}, make

    def __call__(self, name: str, purpose: str, **own: Any) -> VaeExperiment:
        return self.make(name=name, purpose=purpose, **self.settings | own)


def _fixed(sigma: float) -> partial[heads.FixedGaussian]:
    return partial(heads.FixedGaussian, sigma=sigma)


def _simple(patient: Settings) -> Iterator[VaeExperiment]:
    """The model of the papers, and the sweep of its floor."""
    simple = _Kind(patient, family=Family.SIMPLE, head=partial(heads.PixelwiseGaussian, floor=DEQUANTISATION_STD))
    for d in SIMPLE_DIMS:
        yield simple(f"simple-d{d}", "the simple VAE, all variances learned", latent_dim=d)
    for dequantised, floors in ((True, DEQUANTISED_FLOORS), (False, GREY_FLOORS)):
        for floor in floors:
            name, head = floor_name(floor, dequantised=dequantised), partial(heads.PixelwiseGaussian, floor=floor)
            yield simple(name, "the variance floor, swept", head=head, dequantised=dequantised)
    yield simple("simple-long-d20", "the simple VAE, trained twice as long", epochs=2 * patient["epochs"])


def _common(fast: Settings, patient: Settings) -> Iterator[VaeExperiment]:
    """What public programs do: grey pixels as they are, a weight on the KL, a sigma fixed by hand, a Bernoulli."""
    grey = _Kind(fast, family=Family.COMMON, dequantised=False)
    bernoulli = {"head": heads.BernoulliPixels, "no_density": "Bernoulli on grey pixels, no density"}
    for d in GALLERY_DIMS:
        yield grey(f"bernoulli-d{d}", "Figure 5.8, Bernoulli on grey pixels", latent_dim=d, **bernoulli)
    one = _Kind(grey.settings, head=_fixed(1.0))
    for d, betas in ((20, DIAL), (2, (SMALL_BETA, 1.0, LARGE_BETA))):
        for beta in betas:
            objective = elbo_nats if beta == 1 else partial(beta_elbo_nats, beta=beta)
            name = beta_name(beta, latent_dim=d)
            yield one(name, "a weight beta on the KL, sigma = 1", latent_dim=d, objective=objective)
    for d in (20, 2):  # beside the simple VAE, whose schedule is the patient one
        yield one(
            f"sigma-1-patient-d{d}", "sigma = 1, with the schedule of the simple VAE", **patient | {"latent_dim": d}
        )
    for sigma, d, schedule in (
        (SMALL_SIGMA, 2, patient),  # in haste its loss overflows on pictures of clothes
        (SMALL_SIGMA, 20, fast),
        (SMALL_BETA**0.5, 20, fast),
    ):
        own = schedule | {"latent_dim": d, "head": _fixed(sigma)}
        yield grey(sigma_name(sigma, latent_dim=d), "sigma fixed by hand, beta = 1", **own)
    digit = _Kind(one.settings, latent_dim=2, digit=ONE_DIGIT, epochs=10 * fast["epochs"])
    for beta in (SMALL_BETA, LARGE_BETA):
        name = f"digit-{ONE_DIGIT}-{beta_name(beta, latent_dim=2)}"
        purpose = "one digit alone, for about as many updates as all ten"
        yield digit(name, purpose, objective=partial(beta_elbo_nats, beta=beta))
    squared = _Kind(one.settings, no_density="squared error alone, no likelihood")
    yield squared("limit-d20", "equation 5.6: no KL, no sigma", objective=limit_objective)
    yield squared("autoencoder-d20", "a plain autoencoder", objective=autoencoder_objective)
    yield grey("continuous-bernoulli-d20", "the Bernoulli with its constant", head=heads.ContinuousBernoulliPixels)
    noisy = _Kind(fast, family=Family.COMMON)
    yield noisy("shared-sigma-d20", "one learned sigma", head=heads.SharedGaussian)
    tolerant = partial(heads.ToleranceGaussian, tolerance=TOLERANCE)
    yield noisy("geco-d20", "GECO: beta steered to a tolerance", head=tolerant)


def _proposals(fast: Settings, patient: Settings, linear: Settings) -> Iterator[VaeExperiment]:
    """The models of sections 5.5 and 5.6, d = 20 but for one of the two linear ones."""
    proposal, grey = {"family": Family.PROPOSAL}, {"dequantised": False}
    exact = _Kind(linear, proposal, grey, make=LinearVaeExperiment)
    for d in SIMPLE_DIMS:
        yield exact(f"linear-d{d}", "the linear VAE, sigma learned", latent_dim=d)
    ahead = _Kind(fast, proposal, grey, head=_fixed(1.0), encoder_steps=ENCODER_STEPS)
    yield ahead("encoder-first-d20", "sigma = 1, further encoder steps before each step")
    calibrated = _Kind(fast, proposal, head=heads.CalibratedGaussian)
    yield calibrated("calibrated-d20", "one sigma at its closed-form optimum")
    yield calibrated("calibrated-mixture-d20", "calibrated sigma, a mixture as prior", prior=LearnedMixture)
    flow = calibrated("calibrated-flow-d20", "calibrated sigma, a flow as prior", prior=LearnedFlow)
    yield flow
    correlated = _Kind(patient, proposal)
    for radius in RADII:
        head = partial(heads.StructuredGaussian, radius=radius)
        yield correlated(structured_name(radius), "correlated pixels: sparse factor of the precision", head=head)
    yield correlated("low-rank-d20", "correlated pixels: low rank", head=partial(heads.LowRankGaussian, rank=RANK))
    levels = _Kind(patient, proposal, grey)
    normal = partial(heads.DiscretisedPixels, family=heads.DiscretisedNormal, smallest=DISCRETISED_FLOOR)
    logistic = partial(heads.DiscretisedPixels, family=heads.DiscretisedLogistic)
    yield levels("discretised-normal-d20", "levels: the Gaussian over bins", head=normal)
    yield levels("discretised-logistic-d20", "levels: the logistic over bins", head=logistic)
    local = partial(heads.NeighbourhoodHead, radius=RADIUS)
    neighbourhood = _Kind(patient, proposal, grey, head=local, prior=LearnedFlow)
    yield neighbourhood("neighbourhood-d20", "levels, correlated pixels, a flow as prior")
    kept = {"start": flow, "kept": ("encoder", "decoder", "head.mu"), "epochs": patient["epochs"] // 2}
    yield neighbourhood("neighbourhood-kept-d20", "the same, with the code of the calibrated model", **kept)
    alone = {"head": partial(heads.CodelessHead, radius=RADIUS), "prior": StandardNormal, "role": Role.SWEPT}
    yield neighbourhood("neighbourhood-alone-d20", "the same, with a code that says nothing", **alone)


def _copies(long: Settings) -> Iterator[VaeExperiment]:
    """The models of section 5.5 whose noise is a level of its own."""
    prior = {"prior": LearnedFlow, "objective": copy_elbo_nats}
    copies = _Kind(long, prior, family=Family.PROPOSAL, dequantised=False)
    for noise in COPY_NOISES:
        head = partial(heads.NoisyCopyHead, radius=RADIUS, noise=noise)
        role = Role.BOOK if noise == COPY_NOISES[0] else Role.SWEPT
        yield copies(copy_name(noise), "a noisy copy of the image between code and pixels", head=head, role=role)


def structured_name(radius: int) -> str:
    """The name of the model whose pixels depend on a window of this radius; without one it is the simple VAE."""
    return f"structured-{2 * radius + 1}x{2 * radius + 1}-d20" if radius else "simple-d20"


def copy_name(noise: float) -> str:
    """The name of the model whose copy has noise of this standard deviation."""
    return f"copy-{noise:g}-d20"


def beta_name(beta: float, *, latent_dim: int) -> str:
    """The name of the model with this weight on the KL and sigma = 1."""
    return sigma_name(1.0, latent_dim=latent_dim) if beta == 1 else f"beta-{beta:g}-d{latent_dim}"


def sigma_name(sigma: float, *, latent_dim: int) -> str:
    """The name of the model with this sigma, fixed by hand, and beta = 1."""
    return f"sigma-{sigma:g}-d{latent_dim}"


def floor_name(floor: float, *, dequantised: bool) -> str:
    """The name of the model of the sweep with this floor."""
    return f"floor-{floor:g}-{'dequantised' if dequantised else 'grey'}"


def floor_sweep(*, dequantised: bool) -> dict[float, str]:
    """The names of the simple VAEs with d = 20 by their floor, from the lowest; the book's own is one of them."""
    floors = DEQUANTISED_FLOORS if dequantised else GREY_FLOORS
    names = {floor: floor_name(floor, dequantised=dequantised) for floor in floors}
    return dict(sorted((names | ({DEQUANTISATION_STD: "simple-d20"} if dequantised else {})).items()))


def find(name: str, profile: str = "quick", *, seed: int = 0) -> Experiment:
    """The experiment of that name; raises `UnknownNameError`, which lists the names of the book.

    While a notebook is run for the book, the lookup is noted for the figure that it serves (`vaelib.study.lookups`).
    """
    known = experiments(profile, seed=seed)
    if name not in known:
        names = ", ".join(of_the_book(profile, seed=seed))
        raise UnknownNameError(
            f"no model is called {name!r}; the models are: {names}; those of sweeps: vaelib list --all"
        )
    lookups.note(name, profile, known[name].seed)
    return known[name]


def chosen(names: Iterable[str] | None, profile: str = "quick", *, seed: int = 0) -> list[Experiment]:
    """The experiments of these names, and those that fit a pattern such as `weighed-*`; without a name the book's.

    Raises `UnknownNameError` for a name of none and for a pattern that none fits.
    """
    known = experiments(profile, seed=seed)
    found: dict[str, Experiment] = {}
    for name in names or of_the_book(profile, seed=seed):
        found |= {fit: known[fit] for fit in fnmatch.filter(known, name)} or {name: find(name, profile, seed=seed)}
    return list(found.values())


def find_vae(name: str, profile: str = "quick", *, seed: int = 0) -> VaeExperiment:
    """`find` for those who need a VAE."""
    experiment = find(name, profile, seed=seed)
    if not isinstance(experiment, VaeExperiment):
        raise UnknownNameError(f"{name!r} is no VAE")
    return experiment


def contenders(profile: str, *, seed: int) -> list[VaeExperiment]:
    """The models of the tables: all VAEs with d = 20 that were trained on all digits, but for those of sweeps."""
    vaes = (model for model in of_the_book(profile, seed=seed).values() if isinstance(model, VaeExperiment))
    return [model for model in vaes if model.latent_dim == TABLE_DIM and model.digit is None]


def seeds_of(model: Experiment, *, seed: int) -> tuple[int, ...]:
    """The seeds under which a build with this seed trains a model: those of a sweep are in none."""
    if not isinstance(model, VaeExperiment):
        return (model.seed,)
    if model.role == Role.SWEPT:
        return ()
    return build_seeds(seed)


def behind_the_book(profile: str, *, seed: int) -> list[Experiment]:
    """Every model that a build needs, each under the seeds of its role."""
    models = experiments(profile, seed=seed).values()
    return _once(model.at(seed=repeat) for model in models for repeat in seeds_of(model, seed=seed))


def _once(models: Iterable[Experiment]) -> list[Experiment]:
    return list({key(model): model for model in models}.values())
