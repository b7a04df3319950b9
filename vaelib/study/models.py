r"""Every trained model of the chapter by name. A model is added here and nowhere else."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import Any

from vaelib.data import DEQUANTISATION_STD, PROFILES
from vaelib.errors import MendableError
from vaelib.likelihoods import (
    BernoulliPixels,
    CalibratedGaussian,
    ContinuousBernoulliPixels,
    DiscretisedLogistic,
    DiscretisedNormal,
    DiscretisedPixels,
    FixedGaussian,
    LowRankGaussian,
    NeighbourhoodHead,
    PixelwiseGaussian,
    SharedGaussian,
    StructuredGaussian,
    ToleranceGaussian,
)
from vaelib.likelihoods.discretised import HALF_LEVEL
from vaelib.objectives import autoencoder_objective, beta_elbo_nats, elbo_nats, limit_objective
from vaelib.priors import LearnedFlow, LearnedMixture
from vaelib.study import lookups
from vaelib.study.classifier import classifier_experiment
from vaelib.study.experiment import Experiment, LinearVaeExperiment, VaeExperiment
from vaelib.study.trained import key

Schedule = dict[str, Any]


class Family(StrEnum):
    """Where a model comes from: the papers, at any floor; public programs, GECO's tolerance too; section 5.5."""

    SIMPLE = "the simple VAE"
    COMMON = "a common recipe"
    PROPOSAL = "a proposal of 5.5"


class Role(StrEnum):
    """Who needs a model, and so under which seeds it is trained."""

    CLAIMED = "a claim: the seeds of the claims"
    TABLED = "the tables: three seeds"
    PICTURED = "a picture: the seed of the build"


def _per_profile(*, quick: Schedule, full: Schedule) -> dict[str, Schedule]:
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
#: The latent dimension of the models that the tables compare.
TABLE_DIM = 20


class UnknownNameError(MendableError, LookupError):
    """No model, claim or profile has this name; the message lists those that exist."""


def table_seeds(seed: int) -> tuple[int, ...]:
    """The seeds that the tables and figures of a build are made over."""
    return tuple(range(seed, seed + TABLE_SEEDS))


def claim_seeds(profile: str, seed: int) -> tuple[int, ...]:
    """The seeds that a claim is measured over."""
    return tuple(range(seed, seed + CLAIM_SEEDS[profile]))


def experiments(profile: str = "quick", *, seed: int = 0) -> dict[str, Experiment]:
    """All models of the chapter under one profile and seed, by name; the classifier, a fixed judge, has seed 0."""
    if profile not in PROFILES:
        raise UnknownNameError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    vae = partial(VaeExperiment, profile=profile, seed=seed, role=Role.CLAIMED, latent_dim=TABLE_DIM)
    fast, patient = partial(vae, **FAST[profile]), partial(vae, **PATIENT[profile])
    models = (*_simple(patient), *_common(fast, patient), *_proposals(fast, patient, LINEAR[profile]))
    return {model.name: model for model in (classifier_experiment(profile), *models)}


def _simple(patient: partial[VaeExperiment]) -> Iterator[VaeExperiment]:
    """The model of the papers, and the sweep of its floor."""
    simple = partial(patient, family=Family.SIMPLE)
    own = partial(simple, head=partial(PixelwiseGaussian, floor=DEQUANTISATION_STD))
    for d in SIMPLE_DIMS:
        yield own(name=f"simple-d{d}", purpose="the simple VAE, all variances learned", latent_dim=d)
    for dequantised, floors in ((True, DEQUANTISED_FLOORS), (False, GREY_FLOORS)):
        for floor in floors:
            yield simple(
                name=floor_name(floor, dequantised=dequantised),
                purpose="the variance floor, swept",
                head=partial(PixelwiseGaussian, floor=floor),
                dequantised=dequantised,
            )
    twice = 2 * patient.keywords["epochs"]
    yield own(name="simple-long-d20", purpose="the simple VAE, trained twice as long", epochs=twice, role=Role.PICTURED)


def _common(fast: partial[VaeExperiment], patient: partial[VaeExperiment]) -> Iterator[VaeExperiment]:
    """What public programs do: grey pixels as they are, a weight on the KL, a sigma fixed by hand, a Bernoulli."""
    grey = partial(fast, family=Family.COMMON, dequantised=False)
    for d in GALLERY_DIMS:
        yield grey(
            name=f"bernoulli-d{d}",
            purpose="Figure 5.8, Bernoulli on grey pixels",
            latent_dim=d,
            head=BernoulliPixels,
            no_density="Bernoulli on grey pixels, no density",
            role=Role.CLAIMED if d == TABLE_DIM else Role.PICTURED,
        )
    one = partial(grey, head=partial(FixedGaussian, sigma=1.0))
    for d, betas in ((20, DIAL), (2, (SMALL_BETA, 1.0, LARGE_BETA))):
        for beta in betas:
            yield one(
                name=beta_name(beta, latent_dim=d),
                purpose="a weight beta on the KL, sigma = 1",
                latent_dim=d,
                objective=elbo_nats if beta == 1 else partial(beta_elbo_nats, beta=beta),
            )
    for sigma, d in ((SMALL_SIGMA, 2), (SMALL_SIGMA, 20), (SMALL_BETA**0.5, 20)):
        schedule = patient.keywords if d == 2 else {}  # in haste its loss overflows on pictures of clothes
        yield grey(
            **schedule
            | {
                "name": sigma_name(sigma, latent_dim=d),
                "purpose": "sigma fixed by hand, beta = 1",
                "latent_dim": d,
                "head": partial(FixedGaussian, sigma=sigma),
            }
        )
    for beta in (SMALL_BETA, LARGE_BETA):
        yield one(
            name=f"digit-{ONE_DIGIT}-{beta_name(beta, latent_dim=2)}",
            purpose="one digit alone, for about as many updates as all ten",
            epochs=10 * fast.keywords["epochs"],
            latent_dim=2,
            objective=partial(beta_elbo_nats, beta=beta),
            digit=ONE_DIGIT,
        )
    squared = partial(one, no_density="squared error alone, no likelihood")
    yield squared(name="limit-d20", purpose="equation 5.6: no KL, no sigma", objective=limit_objective)
    yield squared(
        name="autoencoder-d20", purpose="a plain autoencoder", objective=autoencoder_objective, role=Role.TABLED
    )
    yield grey(
        name="continuous-bernoulli-d20",
        purpose="the Bernoulli with its constant",
        head=ContinuousBernoulliPixels,
        role=Role.TABLED,
    )
    common = partial(fast, family=Family.COMMON)
    yield common(name="shared-sigma-d20", purpose="one learned sigma", head=SharedGaussian)
    yield common(
        name="geco-d20",
        purpose="GECO: beta steered to a tolerance",
        head=partial(ToleranceGaussian, tolerance=TOLERANCE),
    )


def _proposals(
    fast: partial[VaeExperiment], patient: partial[VaeExperiment], linear: dict[str, Any]
) -> Iterator[VaeExperiment]:
    """The models of sections 5.5 and 5.6, d = 20 but for one of the two linear ones."""
    fast, patient = partial(fast, family=Family.PROPOSAL), partial(patient, family=Family.PROPOSAL)
    for d in SIMPLE_DIMS:
        yield LinearVaeExperiment(
            **fast.keywords
            | linear
            | {
                "name": f"linear-d{d}",
                "purpose": "the linear VAE, sigma learned",
                "latent_dim": d,
                "dequantised": False,
            }
        )
    yield fast(
        name="encoder-first-d20",
        purpose="sigma = 1, further encoder steps before each step",
        head=partial(FixedGaussian, sigma=1.0),
        dequantised=False,
        encoder_steps=ENCODER_STEPS,
    )
    calibrated = partial(fast, head=CalibratedGaussian)
    yield calibrated(name="calibrated-d20", purpose="one sigma at its closed-form optimum")
    yield calibrated(
        name="calibrated-mixture-d20",
        purpose="calibrated sigma, a mixture as prior",
        prior=LearnedMixture,
        role=Role.TABLED,
    )
    flow = calibrated(name="calibrated-flow-d20", purpose="calibrated sigma, a flow as prior", prior=LearnedFlow)
    yield flow
    for radius in RADII:
        yield patient(
            name=structured_name(radius),
            purpose="correlated pixels: sparse factor of the precision",
            head=partial(StructuredGaussian, radius=radius),
            role=Role.TABLED,
        )
    yield patient(
        name="low-rank-d20",
        purpose="correlated pixels: low rank",
        head=partial(LowRankGaussian, rank=RANK),
        role=Role.PICTURED,
    )
    levels = partial(patient, dequantised=False)
    for family, smallest in (
        ("normal", partial(DiscretisedPixels, family=DiscretisedNormal, smallest=DISCRETISED_FLOOR)),
        ("logistic", partial(DiscretisedPixels, family=DiscretisedLogistic)),
    ):
        yield levels(
            name=f"discretised-{family}-d20",
            purpose=f"levels: the {family} density over bins",
            head=smallest,
            role=Role.TABLED,
        )
    neighbourhood = partial(levels, head=partial(NeighbourhoodHead, radius=RADIUS), prior=LearnedFlow)
    yield neighbourhood(name="neighbourhood-d20", purpose="levels, correlated pixels, a flow as prior")
    yield neighbourhood(
        name="neighbourhood-kept-d20",
        purpose="the same, with the code of the calibrated model",
        epochs=patient.keywords["epochs"] // 2,
        start=flow,
        kept=("encoder", "decoder", "head.mu"),
    )


def structured_name(radius: int) -> str:
    """The name of the model whose pixels depend on a window of this radius; without one it is the simple VAE."""
    return f"structured-{2 * radius + 1}x{2 * radius + 1}-d20" if radius else "simple-d20"


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
    """The experiment of that name; raises `UnknownNameError`, which lists the names.

    While a notebook is run for the book, the lookup is noted for the figure that it serves (`vaelib.study.lookups`).
    """
    known = experiments(profile, seed=seed)
    if name not in known:
        raise UnknownNameError(f"no model is called {name!r}; the models are: {', '.join(known)}")
    lookups.note(name, profile, known[name].seed)
    return known[name]


def find_vae(name: str, profile: str = "quick", *, seed: int = 0) -> VaeExperiment:
    """`find` for those who need a VAE."""
    experiment = find(name, profile, seed=seed)
    if not isinstance(experiment, VaeExperiment):
        raise UnknownNameError(f"{name!r} is no VAE")
    return experiment


def contenders(profile: str, *, seed: int) -> list[VaeExperiment]:
    """The models of the tables: all VAEs with d = 20 that were trained on all digits."""
    vaes = (model for model in experiments(profile, seed=seed).values() if isinstance(model, VaeExperiment))
    return [model for model in vaes if model.latent_dim == TABLE_DIM and model.digit is None]


def seeds_of(model: Experiment, *, seed: int) -> tuple[int, ...]:
    """The seeds under which a build with this seed trains a model, by its role."""
    if not isinstance(model, VaeExperiment):
        return (model.seed,)
    if model.role == Role.PICTURED:
        return (seed,)
    return claim_seeds(model.profile, seed) if model.role == Role.CLAIMED else table_seeds(seed)


def behind_the_book(profile: str, *, seed: int) -> list[Experiment]:
    """Every model that a build needs, each under the seeds of its role."""
    models = experiments(profile, seed=seed).values()
    return _once(model.at(seed=repeat) for model in models for repeat in seeds_of(model, seed=seed))


def behind_the_claims(profile: str, seeds: Iterable[int]) -> list[Experiment]:
    """Every model that a claim needs under these seeds."""
    found = (model for seed in seeds for model in experiments(profile, seed=seed).values())
    return _once(model for model in found if model.role in ("", Role.CLAIMED))


def _once(models: Iterable[Experiment]) -> list[Experiment]:
    return list({key(model): model for model in models}.values())
