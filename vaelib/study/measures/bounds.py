r"""Measures of likelihoods and bounds: bits, ln p(x), what a weight on the KL does to the bound, and what is exact."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Independent, Normal

from vaelib.data import Images
from vaelib.diagnostics.bits import bits_per_dimension
from vaelib.diagnostics.evidence import quadrature_evidence_nats
from vaelib.likelihoods.gaussian import FixedGaussian
from vaelib.linear import SharedLinearGaussian, evidence_nats
from vaelib.objectives import beta_elbo_nats, elbo_nats, iwae_bound_nats
from vaelib.pca import largest_principal_angle_degrees, ppca, spectrum
from vaelib.sampling import reconstructions
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.vae import VAE

#: Images and draws behind the numbers of `bound`.
BOUND_IMAGES, BOUND_DRAWS = 100, 64
#: Images and draws behind the check of the quadrature.
EVIDENCE_IMAGES, IWAE_SAMPLES = 100, 5_000
#: Test images and draws behind bits per dimension, and images at a time.
BITS_IMAGES, BITS_SAMPLES, BITS_CHUNK = 500, 64, 20


@torch.no_grad()
def bits(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """Bits per dimension of the first test images, importance-weighted: mean with its standard error, and median.

    Raises TypeError for a likelihood that is no density.
    """
    x = test.images[:BITS_IMAGES]
    of = partial(bits_per_dimension, vae, dequantised=experiment.dequantised, samples=BITS_SAMPLES)
    with seeded(experiment.seed):
        values = torch.cat([of(few) for few in x.split(BITS_CHUNK)]).double()
    return {
        "bits": values.mean().item(),
        "bits_error": (values.std() / len(values) ** 0.5).item(),
        "bits_median": values.median().item(),
    }


@torch.no_grad()
def bound(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    r"""The beta objective beside the exact evidence, d = 2, sigma = 1, means over test images in nats.

    `objective` is equation 5.4, `evidence` is ln p(x) with sigma = 1; `other_elbo` and `other_evidence` are those of
    the model with variance beta. The shares are those of images whose objective, or ELBO, exceeds their evidence by
    more than three standard errors of the draws of z.
    """
    vae, x = deepcopy(vae).double(), test.images[:BOUND_IMAGES].double()
    other = _with_sigma(experiment, experiment.beta**0.5, vae, test.shape)
    objective = _draws(partial(beta_elbo_nats, beta=experiment.beta), vae, x, experiment.seed)
    other_elbo = _draws(elbo_nats, other, x, experiment.seed)
    log_px, other_log_px = quadrature_evidence_nats(vae, x), quadrature_evidence_nats(other, x)
    return {
        "objective": objective.mean().item(),
        "evidence": log_px.mean().item(),
        "share_above": _share_above(objective, log_px),
        "other_elbo": other_elbo.mean().item(),
        "other_evidence": other_log_px.mean().item(),
        "other_share_above": _share_above(other_elbo, other_log_px),
    }


@torch.no_grad()
def evidence(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """ln p(x) of a model with d = 2, mean over test images in nats: by quadrature, and the IWAE bound below it."""
    x = test.images[:EVIDENCE_IMAGES]
    with seeded(experiment.seed):
        iwae = torch.cat([iwae_bound_nats(vae, few, samples=IWAE_SAMPLES) for few in x.split(5)]).double()
    quadrature = quadrature_evidence_nats(vae, x)
    return {
        "quadrature": quadrature.mean().item(),
        "iwae": iwae.mean().item(),
        "iwae_gap": (quadrature - iwae).mean().item(),
    }


@torch.no_grad()
def support(vae: VAE, *, test: Images) -> dict[str, float]:
    r"""Where p(x|z) puts its mass, at the mean codes of test images.

    For a Normal `mass_outside`, the mean probability that a pixel lies outside [0, 1]. For a Bernoulli `integral`, the
    mean over pixels of :math:`\int_0^1 \lambda^x (1 - \lambda)^{1-x} dx`, and `missing_nats`, minus the sum over pixels
    of its logarithm, mean over images: what the continuous Bernoulli adds.
    """
    x = test.images
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


def dial_gradient(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    r"""Relative distance of the gradients of :math:`\mathcal{L}_{\sqrt\beta,1}` and of
    :math:`\mathcal{L}_{1,\beta} / \beta` at the weights of a model with sigma = 1, in float64 on test images.
    """
    beta, x = experiment.beta, test.images[:BOUND_IMAGES].double()
    weighted = deepcopy(vae).double()
    other = _with_sigma(experiment, beta**0.5, weighted, test.shape)
    gradients = []
    for model, objective in ((weighted, experiment.objective), (other, elbo_nats)):
        with seeded(experiment.seed):
            value = objective(model, x).mean()
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(value, tuple(model.parameters()))]))
    difference = (gradients[0] / beta - gradients[1]).norm() / gradients[1].norm()
    return {"relative_difference": difference.item()}


@torch.no_grad()
def dial_arrival(vae: VAE, *, test: Images, twin: VAE) -> dict[str, float]:
    r"""Where the twin with :math:`\sigma = \sqrt\beta`, :math:`\beta = 1` arrives from the same seed: root mean square
    difference of its test reconstructions, in grey levels of [0, 1].
    """
    difference = reconstructions(vae, test.images) - reconstructions(twin, test.images)
    return {"rms_difference": difference.square().mean().sqrt().item()}


@torch.no_grad()
def linear_optimum(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images) -> dict[str, float]:
    """A trained linear VAE against probabilistic PCA of the same training images, test split, nats per image."""
    exact = ppca(spectrum(train.images), latent_dim=vae.latent_dim)
    vae, x = deepcopy(vae).double(), test.images.double()
    assert isinstance(vae.head, SharedLinearGaussian)
    W, b, sigma = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma.item()
    with seeded(experiment.seed):
        elbo = torch.stack([elbo_nats(vae, x).mean() for _ in range(BOUND_DRAWS)]).mean()
    return {
        "linear_evidence": evidence_nats(x, W, b, sigma).mean().item(),
        "linear_elbo": elbo.item(),
        "ppca_evidence": evidence_nats(x, exact.W, exact.b, exact.sigma).mean().item(),
        "angle_degrees": largest_principal_angle_degrees(W, exact.W),
        "linear_sigma": sigma,
        "ppca_sigma": exact.sigma,
    }


def _with_sigma(experiment: VaeExperiment, sigma: float, vae: VAE, shape: tuple[int, ...]) -> VAE:
    """The model with other weights than its own, those of `vae`, and sigma fixed; float64."""
    other = replace(experiment, head=partial(FixedGaussian, sigma=sigma)).build(shape).double()
    other.load_state_dict(vae.state_dict())
    return other


def _draws(objective: Callable[[VAE, Tensor], Tensor], vae: VAE, x: Tensor, seed: int) -> Tensor:
    """The objective of each image under independent draws of z, `[draws, B]`."""
    with seeded(seed):
        return torch.stack([objective(vae, x) for _ in range(BOUND_DRAWS)])


def _share_above(draws: Tensor, limit: Tensor) -> float:
    """Share of images whose mean over draws `[draws, B]` exceeds the limit `[B]` by more than three standard errors."""
    error = draws.std(dim=0) / len(draws) ** 0.5
    return (draws.mean(dim=0) - 3 * error > limit).double().mean().item()
