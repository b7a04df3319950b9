r"""What is maximised: per-example terms in nats, reduced once, by the caller."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaelib.vae import VAE


class ElboTerms(NamedTuple):
    """The two terms of the ELBO, each `[B]`, in nats."""

    log_px_z: Tensor
    """Reconstruction: one-sample estimate of E_q[ln p(x|z)]."""
    kl: Tensor
    """Regularisation: KL(q(z|x) || p(z)), see :func:`kl_nats`."""

    @property
    def elbo_nats(self) -> Tensor:
        """The evidence lower bound, `[B]`, equation 5.1."""
        return self.log_px_z - self.kl


def kl_nats(qz_x: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    r""":math:`KL(q(z|x) \| p(z))`, `[B]` in nats: exact where torch knows the closed form, as for two Normals.

    Else, for a learned prior, its estimate from the draw z of q(z|x), :math:`\ln q(z|x) - \ln p(z)`: unbiased, and
    below 0 now and then (Kingma and Welling 2014, appendix B, and equation 7).
    """
    try:
        return kl_divergence(qz_x, prior)
    except NotImplementedError:
        return qz_x.log_prob(z) - prior.log_prob(z)


def elbo_terms(vae: VAE, x: Tensor) -> ElboTerms:
    r""":math:`E_{q(z|x)}[\ln p(x|z)] - KL(q(z|x) \| p(z))`, equation 5.1, with one reparameterised draw of z.

    x `[B, m]` to two terms `[B]` in nats.
    """
    qz_x = vae.posterior(x)
    z = qz_x.rsample()
    return ElboTerms(log_px_z=vae.likelihood(z).log_prob(x), kl=kl_nats(qz_x, vae.prior, z))


def elbo_nats(vae: VAE, x: Tensor) -> Tensor:
    """The evidence lower bound of each example, `[B]`, in nats (equation 5.1)."""
    return elbo_terms(vae, x).elbo_nats


def beta_elbo_nats(vae: VAE, x: Tensor, *, beta: float) -> Tensor:
    r""":math:`E_q[\ln p(x|z)] - \beta\, KL(q(z|x) \| p(z))`, `[B]` in nats (equation 5.4); the ELBO at beta = 1.

    With a Gaussian likelihood of fixed sigma it is :math:`\beta` times the ELBO of the model with variance
    :math:`\beta \sigma^2`, up to a constant. Raises ValueError for a negative beta.
    """
    if not beta >= 0:
        raise ValueError(f"beta must not be negative, got {beta}")
    terms = elbo_terms(vae, x)
    return terms.log_px_z - beta * terms.kl


def limit_objective(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`-\sum_j (x_j - \mu_{x,j}(z))^2`, :math:`z \sim q(z|x)`, `[B]`: equation 5.6 with the sign to maximise it.

    What is left of the ELBO at beta = 0 with a fixed sigma, up to a positive factor and a constant.
    """
    z = vae.posterior(x).rsample()
    return -(x - vae.likelihood(z).mean).square().sum(dim=-1)


def autoencoder_objective(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`-\sum_j (x_j - \mu_{x,j}(\mu_z(x)))^2`, `[B]`: the plain autoencoder, with no draw at all."""
    return -(x - vae.likelihood(vae.posterior(x).mean).mean).square().sum(dim=-1)


def log_weights(vae: VAE, x: Tensor, *, samples: int) -> Tensor:
    r""":math:`\ln w_k = \ln p(z_k) + \ln p(x|z_k) - \ln q(z_k|x)`, :math:`z_k \sim q(z|x)`, as `[K, B]` in nats."""
    qz_x = vae.posterior(x)
    z = qz_x.rsample((samples,))
    return vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x) - qz_x.log_prob(z)


def iwae_bound_nats(vae: VAE, x: Tensor, *, samples: int) -> Tensor:
    r""":math:`\ln \frac1K \sum_k w_k`, `[B]` in nats: the ELBO at K = 1 (Burda et al. 2016)."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    return torch.logsumexp(log_weights(vae, x, samples=samples), dim=0) - math.log(samples)
