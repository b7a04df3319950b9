r"""Measurements that answer one question each, made for the claims of sections 5.3 and 5.4 and remembered like panels.

Every function of the form `name(experiment, cache)` is measured on the test split and can be handed to
`vaelib.study.measurements.measured`.
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
from vaelib.diagnostics.bits import bits_per_dimension
from vaelib.diagnostics.evidence import quadrature_evidence_nats
from vaelib.diagnostics.latent import collapsed_dimensions, elbo_surgery, kl_per_dimension_nats
from vaelib.diagnostics.samples import features, frechet_distance
from vaelib.diagnostics.variance import covariance_share, residual_draws, variance_budget
from vaelib.likelihoods.bernoulli import BernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian
from vaelib.linear import SharedLinearGaussian, evidence_nats
from vaelib.objectives import autoencoder_objective, beta_elbo_nats, elbo_nats, iwae_bound_nats, limit_objective
from vaelib.pca import largest_principal_angle_degrees, ppca, spectrum
from vaelib.priors import StandardNormal, fit_mixture
from vaelib.sampling import (
    ancestral_sampling,
    deterministic_sampling,
    quantile_images,
    reconstructions,
    sampled_codes,
)
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measurements import classifier
from vaelib.study.trained import fetch
from vaelib.vae import VAE

Cache = Path | str | None

ALPHAS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
#: (epsilon, delta) of posterior collapse: the KL of a dimension is below epsilon nats for a share 1 - delta of images.
COLLAPSE_EPSILON, COLLAPSE_DELTA = 0.01, 0.01
#: Images and draws behind the numbers of `bound`.
BOUND_IMAGES, BOUND_DRAWS = 100, 64
#: Images and draws behind the check of the quadrature.
EVIDENCE_IMAGES, IWAE_SAMPLES = 100, 5_000
#: Test images and draws behind bits per dimension, and images at a time.
BITS_IMAGES, BITS_SAMPLES, BITS_CHUNK = 500, 64, 20
#: Test images whose residuals are held against their mean images, and pairs of draws for each in the model's own.
RESIDUAL_IMAGES, RESIDUAL_PAIRS = 1_000, 8
#: The mixture that is fitted to codes after training: from so many images at most, a component for so many codes.
FITTED_IMAGES, CODES_PER_COMPONENT = 8_000, 400


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
    test images; and, under N(0, I), the number of (epsilon, delta)-collapsed dimensions.
    """
    vae, x = _trained(experiment, cache)
    with seeded(experiment.seed):
        surgery = elbo_surgery(vae, x)
    measured = {
        "kl_nats": surgery.kl,
        "mutual_information_nats": surgery.mutual_information,
        "mutual_information_upper_nats": surgery.mutual_information_upper,
        "mismatch_nats": surgery.aggregate_mismatch,
    }
    if experiment.prior is StandardNormal:
        kl = kl_per_dimension_nats(vae, x)
        measured["collapsed"] = collapsed_dimensions(kl, epsilon=COLLAPSE_EPSILON, delta=COLLAPSE_DELTA)
    return measured


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


@torch.no_grad()
def bits(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    """Bits per dimension of the first test images, importance-weighted: mean with its standard error, and median.

    Empty for a model without a density, see :func:`why_no_density`.
    """
    if why_no_density(experiment):
        return {}
    vae, x = _trained(experiment, cache)
    x = x[:BITS_IMAGES]
    with seeded(experiment.seed):
        values = torch.cat(
            [
                bits_per_dimension(vae, few, dequantised=experiment.dequantised, samples=BITS_SAMPLES)
                for few in x.split(BITS_CHUNK)
            ]
        ).double()
    return {
        "bits": values.mean().item(),
        "standard_error": (values.std() / len(values) ** 0.5).item(),
        "median": values.median().item(),
    }


def why_no_density(experiment: VaeExperiment) -> str:
    """Why the likelihood of a model is no density on its pixels; empty where it is one."""
    if experiment.objective in (limit_objective, autoencoder_objective):
        return "squared error alone, no likelihood"
    if experiment.head is BernoulliPixels:
        return "Bernoulli on grey pixels, no density"
    return ""


@torch.no_grad()
def variance(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    """The variance budget under the prior and under the aggregate posterior, and the shares of equation 5.7.

    The residuals of the data are x minus the mean image of a code drawn from q(z|x), test images.
    """
    vae, x = _trained(experiment, cache)
    with seeded(experiment.seed):
        z, prior = sampled_codes(vae, experiment.pixels(x)), vae.prior.sample((len(x),))
        aggregate, generated = variance_budget(vae, z), variance_budget(vae, prior)
        return {
            "explained": aggregate.explained,
            "noise": aggregate.noise,
            "prior_explained": generated.explained,
            "prior_noise": generated.noise,
            "covariance_residuals": covariance_share(x[:RESIDUAL_IMAGES] - vae.likelihood(z[:RESIDUAL_IMAGES]).mean),
            "covariance_model_residuals": covariance_share(
                residual_draws(vae, z[:RESIDUAL_IMAGES], pairs=RESIDUAL_PAIRS)
            ),
            "covariance_samples": covariance_share(vae.likelihood(prior).sample()),
            "covariance_data": covariance_share(x),
            "data": x.double().var(dim=0).sum().item(),
        }


@torch.no_grad()
def fitted_prior(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    r"""A mixture of Normals r(z) fitted to codes of training images, after training, beside and in the place of p(z).

    `mismatch_nats` is :math:`E_{q(z)}[\ln r(z) - \ln p(z)]` over codes of test images: at most :math:`KL(q(z) \| p(z))`
    of the aggregate posterior of all images that might have been drawn, whatever r is, and as close to it as r is to
    q(z). The Frechet distances are those of samples with r as the prior.
    """
    vae, x = _trained(experiment, cache)
    train = data.load(experiment.profile).train.only(experiment.digit).images[:FITTED_IMAGES]
    judge = classifier(experiment.profile, cache=cache)
    real = features(judge, x)
    with seeded(experiment.seed):
        codes, test_codes = (sampled_codes(vae, experiment.pixels(images)) for images in (train, x))
        components = max(1, len(codes) // CODES_PER_COMPONENT)
        log_prior = vae.prior.log_prob(test_codes)
        vae.code_prior = fit_mixture(codes, components=components, seed=experiment.seed)
        return {
            "components": components,
            "mismatch_nats": (vae.prior.log_prob(test_codes) - log_prior).mean().item(),
            "frechet_ancestral": frechet_distance(real, features(judge, ancestral_sampling(vae, len(x)))),
            "frechet_deterministic": frechet_distance(real, features(judge, deterministic_sampling(vae, len(x)))),
        }


@torch.no_grad()
def linear_optimum(experiment: VaeExperiment, cache: Cache = None) -> dict[str, float]:
    """A trained linear VAE against probabilistic PCA of the same training images, test split, nats per image."""
    vae, x = _trained(experiment, cache)
    train = data.load(experiment.profile).train.images
    exact = ppca(spectrum(train), latent_dim=experiment.latent_dim)
    vae, x = vae.double(), x.double()
    assert isinstance(vae.head, SharedLinearGaussian)
    W, b, sigma = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma.item()
    with seeded(experiment.seed):
        elbo = torch.stack([elbo_nats(vae, x).mean() for _ in range(BOUND_DRAWS)]).mean()
    return {
        "evidence": evidence_nats(x, W, b, sigma).mean().item(),
        "elbo": elbo.item(),
        "ppca_evidence": evidence_nats(x, exact.W, exact.b, exact.sigma).mean().item(),
        "angle_degrees": largest_principal_angle_degrees(W, exact.W),
        "sigma": sigma,
        "ppca_sigma": exact.sigma,
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
