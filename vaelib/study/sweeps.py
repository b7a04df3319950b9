r"""Models of the book with one thing changed: the noise, d, the weight on the KL, the length of training.

They are in no table of all models; `vaelib.study.profiles` reads them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import partial

from vaelib import likelihoods as heads
from vaelib.objectives import beta_elbo_nats
from vaelib.study.aside import AsideExperiment
from vaelib.study.experiment import Experiment, LinearVaeExperiment, VaeExperiment
from vaelib.study.polished import PolishedExperiment

#: One sigma, fixed, d = 20, dequantised pixels: the profile of the bound over it.
SIGMAS = (0.02, 0.03, 0.05, 0.07, 0.085, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0)
#: Latent dimensions of the calibrated Gaussian.
DIMS = (2, 5, 10, 20, 50, 100)
#: Weights on the KL: the bound is highest for the split that each of them asks for, and for no weight at 1.
WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
#: The families that are swept by them, from one sigma to dependent pixels; `per-pixel-d20` has no other use.
PER_PIXEL = "per-pixel-d20"
WEIGHED = ("calibrated-d20", PER_PIXEL, "simple-d20", "low-rank-d20", "structured-5x5-d20")
#: Training length, in schedules of the book.
LENGTHS = (0.25, 1.0, 4.0, 16.0)
#: Models whose training is made shorter and longer; the last starts from the one before it, trained as long.
TIMED = (
    "simple-d20",
    "floor-0.01-dequantised",
    "calibrated-d20",
    "discretised-normal-d20",
    "discretised-logistic-d20",
    "calibrated-flow-d20",
    "neighbourhood-kept-d20",
)

#: Linear VAEs that are trained out, and the iterations that they may take, each some 20 ms on one core.
POLISHED, ITERATIONS = ("linear-d2", "linear-d20"), 1_000


def sweeps(known: Mapping[str, VaeExperiment], *, role: str) -> Iterator[VaeExperiment]:
    """All swept models, made from those of the book, by name."""
    calibrated = known["calibrated-d20"]
    for sigma in SIGMAS:
        head = partial(heads.FixedGaussian, sigma=sigma)
        purpose = "one sigma, fixed: the profile of the bound"
        yield replace(calibrated, name=sigma_point(sigma), purpose=purpose, role=role, head=head)
    for d in DIMS:
        if (name := dims_point(d)) not in known:
            yield replace(calibrated, name=name, purpose="calibrated sigma, another d", role=role, latent_dim=d)
    per_pixel = replace(
        known["simple-d20"],
        name=PER_PIXEL,
        purpose="a learned sigma for each pixel",
        family=calibrated.family,
        role=role,
        head=heads.PerPixelGaussian,
    )
    yield per_pixel
    for name in WEIGHED:
        model = per_pixel if name == PER_PIXEL else known[name]
        for beta in WEIGHTS:
            if beta != 1:
                point, objective = weight_point(name, beta), partial(beta_elbo_nats, beta=beta)
                purpose = "a weight on the KL, sigma learned"
                yield replace(model, name=point, purpose=purpose, role=role, objective=objective)
    for length in LENGTHS:
        for name in TIMED:
            yield _timed(known[name], length, role)
    for name in POLISHED:
        yield _polished(known[name])


def sigma_point(sigma: float) -> str:
    """The name of the model with this sigma in the profile."""
    return f"profile-sigma-{sigma:g}-d20"


def dims_point(latent_dim: int) -> str:
    """The name of the calibrated model with this d."""
    return f"calibrated-d{latent_dim}"


def weight_point(name: str, beta: float) -> str:
    """The name of the model with this weight on the KL."""
    return name if beta == 1 else f"weighed-{beta:g}-{name}"


def length_point(name: str, length: float) -> str:
    """The name of the model that is trained so many schedules, on nine images of ten."""
    return f"length-{length:g}-{name}"


def polished_name(name: str) -> str:
    """The name of the linear VAE that goes on from this one."""
    return f"polished-{name}"


def _polished(model: VaeExperiment) -> VaeExperiment:
    assert isinstance(model, LinearVaeExperiment)
    settings = {field.name: getattr(model, field.name) for field in fields(model)}
    own = {"name": polished_name(model.name), "purpose": "the linear VAE, trained out", "start": model}
    return PolishedExperiment(**(settings | own | {"epochs": ITERATIONS}))


def _timed(model: Experiment, length: float, role: str) -> VaeExperiment:
    """The same, trained on nine images of ten and for another time, as is the model that it starts from."""
    assert isinstance(model, VaeExperiment)
    settings = {field.name: getattr(model, field.name) for field in fields(model)}
    own = {
        "name": length_point(model.name, length),
        "purpose": f"{model.purpose}; {length:g} times the training",
        "role": role,
        "epochs": max(1, round(length * model.epochs)),
        "start": model.start and _timed(model.start, length, role),
    }
    return AsideExperiment(**(settings | own))
