r"""Measures of one ladder: a trained split is kept, and the likelihood of what is left is made richer, rung by rung."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from vaelib.data import Images
from vaelib.diagnostics.variance import variance_budget
from vaelib.likelihoods.fitted import (
    FactorGaussian,
    Means,
    PredictedGaussian,
    SteppedGaussian,
    SteppedHistogram,
    SteppedLevels,
    fit_factors,
    fit_histogram,
    fit_prediction,
    fit_scale,
    step_of,
)
from vaelib.sampling import ancestral_sampling, deterministic_sampling, sampled_codes
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures.bounds import bits
from vaelib.study.measures.judged import Judges, verdict
from vaelib.vae import VAE

#: Windows of the autoregression, as radii, and columns of the low rank: those of the models of section 5.5.
RADII, RANK = (1, 2, 3), 8
#: Heads that are distributions over levels, and see pixels as they are.
OF_LEVELS = (SteppedLevels, SteppedHistogram)


@torch.no_grad()
def rung(vae: VAE, *, experiment: VaeExperiment, test: Images, judges: Judges) -> dict[str, dict[str, float]]:
    """One rung, on the test split: the three numbers of `bits`, the squared Frechet distance of ancestral samples under
    either kind of judges, the mean over their seeds, and the share of the variance of the data that the code explains,
    over codes of test images.
    """
    x = test.images
    with seeded(experiment.seed):
        budget = variance_budget(vae, sampled_codes(vae, experiment.pixels(x)))
    with seeded(experiment.seed):
        samples = ancestral_sampling(vae, len(x))
    explained = {"explained": budget.explained / x.double().var(dim=0).sum().item()}
    return {"rung": bits(vae, experiment=experiment, test=test) | _distances(samples, x, judges) | explained}


@torch.no_grad()
def fitted_rungs(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, judges: Judges) -> dict[str, Any]:
    """The rungs that are fitted in closed form to the residual of a model with a layer `head.mu`, by name: see
    :func:`rung`, and `seconds`, what the fit took. 'its mean images' are those of the codes, without a likelihood.
    """
    rungs = {}
    for name, fit in _fits(vae, experiment, train).items():
        other, started = deepcopy(vae), time.perf_counter()
        other.head = fit()
        seconds = time.perf_counter() - started
        of = replace(experiment, dequantised=not isinstance(other.head, OF_LEVELS))
        rungs[name] = rung(other, experiment=of, test=test, judges=judges)["rung"] | {"seconds": seconds}
    with seeded(experiment.seed):
        rungs["its mean images"] = _distances(deterministic_sampling(vae, len(test)), test.images, judges)
    return {"fitted_rungs": rungs}


def _distances(samples: Tensor, real: Tensor, judges: Judges) -> dict[str, float]:
    found = verdict(samples, real, judges)
    return {f"frechet_{kind}": mean(found[f"frechet_{kind}"]) for kind in judges}


def _fits(vae: VAE, experiment: VaeExperiment, train: Images) -> dict[str, Callable[[], nn.Module]]:
    """What fits the head of each rung; all that follow 'sigma of the mean' are handed its fit or build on their own."""
    assert isinstance(vae.head.mu, nn.Module)
    means, levels, shape = Means(vae.head.mu), train.images, train.shape
    with seeded(experiment.seed):
        x = replace(experiment, dequantised=True).pixels(levels)
        mu, mu_levels = (means(vae.decoder(sampled_codes(vae, seen))) for seen in (x, levels))
    scale = fit_scale(mu, x)
    e = (x - mu) / scale[step_of(mu, steps=len(scale))]

    def predicted(radius: int) -> nn.Module:
        prediction = fit_prediction(e, radius=radius, shape=shape)
        return PredictedGaussian(means, scale=scale, prediction=prediction, radius=radius, shape=shape)

    def factored() -> nn.Module:
        factors, innovation = fit_factors(e, rank=RANK)
        return FactorGaussian(means, scale=scale, factors=factors, innovation=innovation)

    return {
        "one sigma": lambda: SteppedGaussian(means, scale=fit_scale(mu, x, steps=1)),
        "sigma of the mean": lambda: SteppedGaussian(means, scale=fit_scale(mu, x)),
        **{f"autoregression {2 * radius + 1} x {2 * radius + 1}": partial(predicted, radius) for radius in RADII},
        f"rank {RANK}": factored,
        "sigma of the mean, as levels": lambda: SteppedLevels(means, scale=fit_scale(mu_levels, levels)),
        "histogram of levels": lambda: SteppedHistogram(means, masses=fit_histogram(mu_levels, levels)),
    }
