r"""Every trained model of the chapter by name. A model is added here and nowhere else."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from vaelib.data import DEQUANTISATION_STD, PROFILES
from vaelib.errors import MendableError
from vaelib.likelihoods.autoregressive import NeighbourhoodHead
from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.correlated import LowRankGaussian, StructuredGaussian
from vaelib.likelihoods.discretised import HALF_LEVEL, DiscretisedLogistic, DiscretisedNormal, DiscretisedPixels
from vaelib.likelihoods.gaussian import (
    CalibratedGaussian,
    FixedGaussian,
    PixelwiseGaussian,
    SharedGaussian,
    ToleranceGaussian,
)
from vaelib.objectives import (
    adaptive_elbo_nats,
    autoencoder_objective,
    beta_elbo_nats,
    elbo_nats,
    limit_objective,
)
from vaelib.priors import LearnedFlow, LearnedMixture
from vaelib.study import lineage
from vaelib.study.experiment import Experiment, LinearVaeExperiment, VaeExperiment
from vaelib.study.measurements import yardstick


class Schedule(NamedTuple):
    """How a model is trained."""

    epochs: int
    batch_size: int
    learning_rate: float
    decay: bool = False


def _per_profile(*, quick: Any, full: Any) -> dict[str, Any]:
    """A setting for each profile: one for few images, one for 60,000, whatever they show."""
    return {profile: quick if profile == "quick" else full for profile in PROFILES}


#: About 1,000 updates on 4,000 images and 2,800 on 60,000, at a rate that falls to 0; chosen on training images that
#: were set aside. On 60,000 images the objectives end no lower than after ten epochs at a constant rate of 0.001. On
#: 4,000 there is no such gift: after forty epochs of larger batches, which take nearly twice as long, the Bernoulli's
#: and that of the shared sigma are 2.5 nats higher, others less or not.
SCHEDULES = _per_profile(
    quick=Schedule(epochs=16, batch_size=64, learning_rate=6e-3, decay=True),
    full=Schedule(epochs=6, batch_size=128, learning_rate=4e-3, decay=True),
)

#: Scales that each pixel has to itself, and networks within the likelihood, bear no such rate.
PATIENT_SCHEDULES = _per_profile(
    quick=Schedule(epochs=16, batch_size=64, learning_rate=3e-3, decay=True),
    full=Schedule(epochs=10, batch_size=128, learning_rate=1e-3),
)

#: The linear VAE has an exact optimum to reach, so it is trained until it does; chosen on training images.
LINEAR_SCHEDULES = _per_profile(
    quick=Schedule(epochs=200, batch_size=256, learning_rate=1e-2, decay=True),
    full=Schedule(epochs=30, batch_size=512, learning_rate=1e-2, decay=True),
)

#: Latent dimensions of the simple VAE (Figures 5.3 to 5.5) and of the gallery in the literature's style (5.8).
SIMPLE_DIMS = (2, 20)
GALLERY_DIMS = (2, 5, 10, 20)
#: Floors of sigma_x in the sweep of section 5.2, as standard deviations of a pixel in [0, 1], on pixels as they are
#: and on dequantised ones, where the simple VAE's own floor stands between the last two.
GREY_FLOORS = (1e-1, 1e-2, 1e-3, 1e-4)
DEQUANTISED_FLOORS = (1e-1, 1e-2, 1e-4)
#: Runs behind every table, and behind every claim: the build's seed and the ones that follow it.
TABLE_SEEDS = 3
CLAIM_SEEDS = {"quick": 3, "full": 5, "fashion": 3}


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
#: Smallest scale of the discretised Gaussian, half a bin: with less its training ends in numbers that are none.
DISCRETISED_FLOOR = HALF_LEVEL
#: Models that no claim needs: under the seed of the build alone, and under the seeds of the tables.
PICTURED = (*(f"bernoulli-d{d}" for d in GALLERY_DIMS if d != 20), "low-rank-d20", "simple-long-d20")
TABLED = (
    "autoencoder-d20",
    "continuous-bernoulli-d20",
    "calibrated-mixture-d20",
    *(f"structured-{2 * radius + 1}x{2 * radius + 1}-d20" for radius in RADII),
    "discretised-normal-d20",
    "discretised-logistic-d20",
)


class UnknownNameError(MendableError, LookupError):
    """No model, claim or profile has this name; the message lists those that exist."""


def table_seeds(seed: int) -> tuple[int, ...]:
    """The seeds that the tables and figures of a build are made over."""
    return tuple(range(seed, seed + TABLE_SEEDS))


def claim_seeds(profile: str, seed: int) -> tuple[int, ...]:
    """The seeds that a claim is measured over."""
    return tuple(range(seed, seed + CLAIM_SEEDS[profile]))


def experiments(profile: str = "quick", *, seed: int = 0) -> dict[str, Experiment]:
    """All models of the chapter under one profile and seed, by name; the classifier, a fixed yardstick, has seed 0."""
    if profile not in PROFILES:
        raise UnknownNameError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    vae = partial(VaeExperiment, profile=profile, seed=seed, **SCHEDULES[profile]._asdict())
    patient = partial(VaeExperiment, profile=profile, seed=seed, **PATIENT_SCHEDULES[profile]._asdict())
    models: list[Experiment] = [yardstick(profile)]
    models += [
        patient(
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
        patient(
            name=floor_name(floor, dequantised=dequantised),
            purpose="the variance floor, swept",
            latent_dim=20,
            head=partial(PixelwiseGaussian, floor=floor),
            dequantised=dequantised,
        )
        for dequantised, floors in ((True, DEQUANTISED_FLOORS), (False, GREY_FLOORS))
        for floor in floors
    ]
    models += [
        vae(
            name=beta_name(beta, latent_dim=d),
            purpose="a weight beta on the KL, sigma = 1",
            latent_dim=d,
            head=partial(FixedGaussian, sigma=1.0),
            objective=elbo_nats if beta == 1 else partial(beta_elbo_nats, beta=beta),
            dequantised=False,
        )
        for d, betas in ((20, DIAL), (2, (SMALL_BETA, 1.0, LARGE_BETA)))
        for beta in betas
    ]
    models += [
        schedule(
            name=sigma_name(sigma, latent_dim=d),
            purpose="sigma fixed by hand, beta = 1",
            latent_dim=d,
            head=partial(FixedGaussian, sigma=sigma),
            dequantised=False,
        )
        for sigma, d, schedule in (
            (SMALL_SIGMA, 2, patient),  # in haste its loss overflows on pictures of clothes
            (SMALL_SIGMA, 20, vae),
            (SMALL_BETA**0.5, 20, vae),
        )
    ]
    models += [
        vae(
            name=f"digit-{ONE_DIGIT}-{beta_name(beta, latent_dim=2)}",
            purpose="one digit alone, for about as many updates as all ten",
            epochs=10 * SCHEDULES[profile].epochs,
            latent_dim=2,
            head=partial(FixedGaussian, sigma=1.0),
            objective=partial(beta_elbo_nats, beta=beta),
            dequantised=False,
            digit=ONE_DIGIT,
        )
        for beta in (SMALL_BETA, LARGE_BETA)
    ]
    models += [
        vae(
            name=name,
            purpose=purpose,
            latent_dim=20,
            head=partial(FixedGaussian, sigma=1.0),
            objective=objective,
            dequantised=False,
        )
        for name, purpose, objective in (
            ("limit-d20", "equation 5.6: no KL, no sigma", limit_objective),
            ("autoencoder-d20", "a plain autoencoder", autoencoder_objective),
        )
    ]
    models += [
        vae(
            name="continuous-bernoulli-d20",
            purpose="the Bernoulli with its constant",
            latent_dim=20,
            head=ContinuousBernoulliPixels,
            dequantised=False,
        ),
        vae(name="shared-sigma-d20", purpose="one learned sigma", latent_dim=20, head=SharedGaussian),
    ]
    return {model.name: model for model in [*models, *_proposals(profile, seed=seed)]}


def _proposals(profile: str, *, seed: int) -> list[Experiment]:
    """The models of section 5.5, d = 20 but for one of the two linear ones."""
    schedule, patient_schedule = SCHEDULES[profile], PATIENT_SCHEDULES[profile]
    base = partial(VaeExperiment, profile=profile, seed=seed, latent_dim=20)
    vae, patient = partial(base, **schedule._asdict()), partial(base, **patient_schedule._asdict())
    calibrated = partial(vae, head=CalibratedGaussian, objective=adaptive_elbo_nats)
    flow = calibrated(name="calibrated-flow-d20", purpose="calibrated sigma, a flow as prior", prior=LearnedFlow)
    neighbourhood = partial(
        patient, head=partial(NeighbourhoodHead, radius=RADIUS), prior=LearnedFlow, dequantised=False, start=None
    )
    models: list[Experiment] = [
        LinearVaeExperiment(
            name=f"linear-d{d}",
            purpose="the linear VAE, sigma learned",
            profile=profile,
            seed=seed,
            latent_dim=d,
            dequantised=False,
            **LINEAR_SCHEDULES[profile]._asdict(),
        )
        for d in SIMPLE_DIMS
    ]
    models += [
        calibrated(name="calibrated-d20", purpose="one sigma at its closed-form optimum"),
        vae(
            name="geco-d20",
            purpose="GECO: beta steered to a tolerance",
            head=partial(ToleranceGaussian, tolerance=TOLERANCE),
            objective=adaptive_elbo_nats,
        ),
        calibrated(name="calibrated-mixture-d20", purpose="calibrated sigma, a mixture as prior", prior=LearnedMixture),
        flow,
    ]
    models += [
        patient(
            name=structured_name(radius),
            purpose="correlated pixels: sparse factor of the precision",
            head=partial(StructuredGaussian, radius=radius),
        )
        for radius in RADII
    ]
    models += [
        patient(name="low-rank-d20", purpose="correlated pixels: low rank", head=partial(LowRankGaussian, rank=RANK)),
        patient(
            name="discretised-normal-d20",
            purpose="levels: the Gaussian over bins",
            head=partial(DiscretisedPixels, family=DiscretisedNormal, smallest=DISCRETISED_FLOOR),
            dequantised=False,
        ),
        patient(
            name="discretised-logistic-d20",
            purpose="levels: the logistic over bins",
            head=partial(DiscretisedPixels, family=DiscretisedLogistic),
            dequantised=False,
        ),
        neighbourhood(name="neighbourhood-d20", purpose="levels, correlated pixels, a flow as prior"),
        neighbourhood(
            name="neighbourhood-kept-d20",
            purpose="the same, with the code of the calibrated model",
            epochs=patient_schedule.epochs // 2,
            start=flow,
            kept=("encoder", "decoder", "head.mu"),
        ),
        patient(
            name="simple-long-d20",
            purpose="the simple VAE, trained twice as long",
            head=partial(PixelwiseGaussian, floor=DEQUANTISATION_STD),
            epochs=2 * patient_schedule.epochs,
        ),
        vae(
            name="encoder-first-d20",
            purpose="sigma = 1, further encoder steps before each step",
            head=partial(FixedGaussian, sigma=1.0),
            dequantised=False,
            encoder_steps=ENCODER_STEPS,
        ),
    ]
    return models


def structured_name(radius: int) -> str:
    """The name of the model whose pixels depend on a window of this radius; without one it is the simple VAE."""
    return f"structured-{2 * radius + 1}x{2 * radius + 1}-d20" if radius else "simple-d20"


def beta_name(beta: float, *, latent_dim: int) -> str:
    """The name of the model with this weight on the KL and sigma = 1."""
    return sigma_name(1.0, latent_dim=latent_dim) if beta == 1 else f"beta-{beta:g}-d{latent_dim}"


def sigma_name(sigma: float, *, latent_dim: int) -> str:
    """The name of the model with this sigma, fixed by hand, and beta = 1."""
    return f"sigma-{sigma:g}-d{latent_dim}"


def floor_sweep(*, dequantised: bool) -> dict[float, str]:
    """The names of the simple VAEs with d = 20 by their floor, from the lowest; the book's own is one of them."""
    floors = DEQUANTISED_FLOORS if dequantised else GREY_FLOORS
    names = {floor: floor_name(floor, dequantised=dequantised) for floor in floors}
    return dict(sorted((names | ({DEQUANTISATION_STD: "simple-d20"} if dequantised else {})).items()))


def floor_name(floor: float, *, dequantised: bool) -> str:
    """The name of the model of the sweep with this floor."""
    return f"floor-{floor:g}-{'dequantised' if dequantised else 'grey'}"


def find(name: str, profile: str = "quick", *, seed: int = 0) -> Experiment:
    """The experiment of that name; raises `UnknownNameError`, which lists the names.

    While a notebook is run for the book, the lookup is noted for the figure that it serves (`vaelib.study.lineage`).
    """
    known = experiments(profile, seed=seed)
    if name not in known:
        raise UnknownNameError(f"no model is called {name!r}; the models are: {', '.join(known)}")
    found = known[name]
    lineage.note(lineage.Model(found.name, found.profile, found.seed))
    return found


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
    for repeat in claim_seeds(profile, seed):
        passed_over = () if repeat == seed else PICTURED if repeat in table_seeds(seed) else PICTURED + TABLED
        models = experiments(profile, seed=repeat).values()
        yield from (model for model in models if model.name not in passed_over)
