r"""Measurements that answer one question each, made for the claims of sections 5.3 and 5.4 and remembered like panels.

Every function of the form `name(experiment, cache)` is measured on the test split and can be handed to
`vaelib.measurements.measured`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Independent, Normal

from vaelib import data
from vaelib.collapse import collapsed_dimensions, elbo_surgery, kl_per_dimension_nats
from vaelib.evaluation import features, frechet_distance
from vaelib.evidence import quadrature_evidence_nats
from vaelib.experiments import VaeExperiment
from vaelib.likelihoods import FixedGaussian
from vaelib.measurements import classifier
from vaelib.objectives import beta_elbo_nats, elbo_nats, iwae_bound_nats
from vaelib.sampling import quantile_images, reconstructions
from vaelib.seeding import seeded
from vaelib.trained import fetch
from vaelib.vae import VAE

Cache = Path | str | None

ALPHAS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
#: (epsilon, delta) of posterior collapse: the KL of a dimension is below epsilon nats for a share 1 - delta of images.
COLLAPSE_EPSILON, COLLAPSE_DELTA = 0.01, 0.01
#: Images and draws behind the numbers of `bound`.
BOUND_IMAGES, BOUND_DRAWS = 100, 64
#: Images and draws behind the check of the quadrature.
EVIDENCE_IMAGES, IWAE_SAMPLES = 100, 5_000


@torch.no_grad()
def alpha_frechet(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    r"""Frechet distance of :math:`\mu_x(z) + \alpha\,\sigma_x(z)`, cut to [0, 1], for each alpha and the same z."""
    vae, x = _trained(experiment, cache)
    judge = classifier(experiment.profile, cache=cache)
    real = features(judge, x)
    distances = {}
    for alpha in ALPHAS:
        with seeded(experiment.seed):
            images = quantile_images(vae, len(x), alpha=alpha).clamp(0, 1)
        distances[f"{alpha:g}"] = frechet_distance(real, features(judge, images))
    return distances


@torch.no_grad()
def latent(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    """The mean KL in nats and its parts, mutual information and mismatch of the aggregate posterior from p(z), over the
    test images; and the number of (epsilon, delta)-collapsed dimensions.
    """
    vae, x = _trained(experiment, cache)
    with seeded(experiment.seed):
        surgery = elbo_surgery(vae, x)
    return {
        "kl_nats": surgery.kl,
        "mutual_information_nats": surgery.mutual_information,
        "mutual_information_upper_nats": surgery.mutual_information_upper,
        "mismatch_nats": surgery.aggregate_mismatch,
        "collapsed": collapsed_dimensions(
            kl_per_dimension_nats(vae, x), epsilon=COLLAPSE_EPSILON, delta=COLLAPSE_DELTA
        ),
    }


def dial_gradient(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    r"""Relative distance of the gradients of :math:`\mathcal{L}_{\sqrt\beta,1}` and of
    :math:`\mathcal{L}_{1,\beta} / \beta` at the weights of a model with sigma = 1, in float64 on test images.
    """
    beta = weight(experiment)
    weighted = fetch(experiment, cache=cache, report=_silently).vae.double()
    twin = replace(experiment, head=partial(FixedGaussian, sigma=beta**0.5), objective=elbo_nats)
    other = twin.build().double()
    other.load_state_dict(weighted.state_dict())
    x = data.load(experiment.profile).test.images[:BOUND_IMAGES].double()
    gradients = []
    for model, objective in ((weighted, experiment.objective), (other, twin.objective)):
        with seeded(experiment.seed):
            value = objective(model, x).mean()
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(value, tuple(model.parameters()))]))
    difference = (gradients[0] / beta - gradients[1]).norm() / gradients[1].norm()
    return {"relative_difference": difference.item()}


@torch.no_grad()
def dial_arrival(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    r"""Where the twin with :math:`\sigma = \sqrt\beta`, :math:`\beta = 1` arrives from the same seed: root mean square
    difference of its test reconstructions, in grey levels of [0, 1].
    """
    twin = replace(
        experiment,
        name=f"{experiment.name}-twin",
        head=partial(FixedGaussian, sigma=weight(experiment) ** 0.5),
        objective=elbo_nats,
    )
    (vae, x), (other, _) = _trained(experiment, cache), _trained(twin, cache)
    difference = reconstructions(vae, x) - reconstructions(other, x)
    return {"rms_difference": difference.square().mean().sqrt().item()}


@torch.no_grad()
def bound(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    r"""The beta objective beside the exact evidence, d = 2, sigma = 1, means over test images in nats.

    `objective` is equation 5.4, `evidence` is ln p(x) with sigma = 1; `other_elbo` and `other_evidence` are those of
    the model with variance beta. The shares are those of images whose objective, or ELBO, exceeds their evidence by
    more than three standard errors of the draws of z.
    """
    beta = weight(experiment)
    vae, x = _trained(experiment, cache)
    vae, x = vae.double(), x[:BOUND_IMAGES].double()
    other = replace(experiment, head=partial(FixedGaussian, sigma=beta**0.5)).build().double()
    other.load_state_dict(vae.state_dict())
    objective = _draws(partial(beta_elbo_nats, beta=beta), vae, x, experiment.seed)
    other_elbo = _draws(elbo_nats, other, x, experiment.seed)
    evidence, other_evidence = quadrature_evidence_nats(vae, x), quadrature_evidence_nats(other, x)
    return {
        "objective": objective.mean().item(),
        "evidence": evidence.mean().item(),
        "share_above": _share_above(objective, evidence),
        "other_elbo": other_elbo.mean().item(),
        "other_evidence": other_evidence.mean().item(),
        "other_share_above": _share_above(other_elbo, other_evidence),
    }


@torch.no_grad()
def evidence(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    """ln p(x) of a model with d = 2, mean over test images in nats: by quadrature, and the IWAE bound below it."""
    vae, x = _trained(experiment, cache)
    x = x[:EVIDENCE_IMAGES]
    with seeded(experiment.seed):
        iwae = torch.cat([iwae_bound_nats(vae, few, samples=IWAE_SAMPLES) for few in x.split(5)]).double()
    quadrature = quadrature_evidence_nats(vae, x)
    return {
        "quadrature": quadrature.mean().item(),
        "iwae": iwae.mean().item(),
        "difference": (quadrature - iwae).mean().item(),
    }


@torch.no_grad()
def encoder_path(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    """Mean sigma_z on test images before training and after it, and the spread (standard deviation) of mu_z after."""
    with seeded(experiment.seed):
        untrained = experiment.build()
    vae, x = _trained(experiment, cache)
    qz_x = vae.posterior(x)
    return {
        "start": untrained.posterior(x).stddev.mean().item(),
        "end": qz_x.stddev.mean().item(),
        "spread": qz_x.mean.std(dim=0).mean().item(),
    }


@torch.no_grad()
def support(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    r"""Where p(x|z) puts its mass, at the mean codes of test images.

    For a Normal `mass_outside`, the mean probability that a pixel lies outside [0, 1]. For a Bernoulli `integral`, the
    mean over pixels of :math:`\int_0^1 \lambda^x (1 - \lambda)^{1-x} dx`, and `missing_nats`, minus the sum over pixels
    of its logarithm, mean over images: what the continuous Bernoulli adds.
    """
    vae, x = _trained(experiment, cache)
    px_z = vae.likelihood(vae.posterior(x).mean)
    assert isinstance(px_z, Independent)
    pixel = px_z.base_dist
    if isinstance(pixel, Normal):
        outside = pixel.cdf(torch.zeros_like(x)) + 1 - pixel.cdf(torch.ones_like(x))
        return {"mass_outside": outside.mean().item()}
    assert isinstance(pixel, Bernoulli)
    density = ContinuousBernoulli(logits=pixel.logits, validate_args=False)
    log_integral = (pixel.log_prob(x) - density.log_prob(x)).double()
    return {
        "integral": log_integral.exp().mean().item(),
        "missing_nats": -log_integral.sum(dim=-1).mean().item(),
    }


def weight(experiment: VaeExperiment) -> float:
    """The beta of an experiment: 1 for the ELBO."""
    objective = experiment.objective
    return objective.keywords["beta"] if isinstance(objective, partial) else 1.0


def _draws(objective: Callable[[VAE, Tensor], Tensor], vae: VAE, x: Tensor, seed: int) -> Tensor:
    """The objective of each image under independent draws of z, `[draws, B]`."""
    with seeded(seed):
        return torch.stack([objective(vae, x) for _ in range(BOUND_DRAWS)])


def _share_above(draws: Tensor, limit: Tensor) -> float:
    """Share of images whose mean over draws `[draws, B]` exceeds the limit `[B]` by more than three standard errors."""
    error = draws.std(dim=0) / len(draws) ** 0.5
    return (draws.mean(dim=0) - 3 * error > limit).double().mean().item()


def _trained(experiment: VaeExperiment, cache: Cache) -> tuple[VAE, Tensor]:
    """The model and the test images that it is about."""
    vae = fetch(experiment, cache=cache, report=_silently).vae
    return vae, data.load(experiment.profile).test.only(experiment.digit).images


def _silently(line: str) -> Any:
    """Reports nothing: what a measurement loads is not news."""
