r"""What is maximised: per-example terms in nats, reduced once, by the caller."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaelib.vae import VAE


class ElboTerms(NamedTuple):
    """The two terms of the ELBO, each `[B]`, in nats.

    >>> terms = ElboTerms(log_px_z=torch.tensor([-3.0]), kl=torch.tensor([2.0]))
    >>> terms.elbo_nats
    tensor([-5.])
    """

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

    >>> from vaelib.networks import diagonal_normal
    >>> prior = diagonal_normal(torch.zeros(2), torch.ones(2))
    >>> qz_x = diagonal_normal(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.ones(2, 2))
    >>> kl_nats(qz_x, prior, qz_x.sample())  # half the squared norm of the mean
    tensor([ 0.0000, 12.5000])
    """
    try:
        return kl_divergence(qz_x, prior)
    except NotImplementedError:
        return qz_x.log_prob(z) - prior.log_prob(z)


def elbo_terms(vae: VAE, x: Tensor) -> ElboTerms:
    r""":math:`E_{q(z|x)}[\ln p(x|z)] - KL(q(z|x) \| p(z))`, equation 5.1, with one reparameterised draw of z.

    x `[B, m]` to two terms `[B]` in nats.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> log_px_z, kl = elbo_terms(vae, torch.rand(5, 6))
    >>> log_px_z.shape, kl.shape, bool((kl > 0).all())
    (torch.Size([5]), torch.Size([5]), True)
    """
    qz_x = vae.posterior(x)
    z = qz_x.rsample()
    return ElboTerms(log_px_z=vae.likelihood(z).log_prob(x), kl=kl_nats(qz_x, vae.prior, z))


def elbo_nats(vae: VAE, x: Tensor) -> Tensor:
    """The evidence lower bound of each example of x `[B, m]`, `[B]` in nats (equation 5.1), with one draw of z.

    >>> from vaelib.linear import evidence_nats, linear_vae
    >>> vae, x = linear_vae(pixels=3, latent_dim=2, sigma=0.1), torch.randn(100, 3)
    >>> log_px = evidence_nats(x, W=vae.head.mu.weight, b=vae.head.mu.bias, sigma=0.1)
    >>> bool(elbo_nats(vae, x).mean() < log_px.mean())
    True
    """
    return elbo_terms(vae, x).elbo_nats


def beta_elbo_nats(vae: VAE, x: Tensor, *, beta: float) -> Tensor:
    r""":math:`E_q[\ln p(x|z)] - \beta\, KL(q(z|x) \| p(z))`, `[B]` in nats (equation 5.4); the ELBO at beta = 1.

    With a Gaussian likelihood of fixed sigma it is :math:`\beta` times the ELBO of the model with variance
    :math:`\beta \sigma^2`, up to a constant. Raises ValueError for a negative beta.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), torch.rand(5, 6)
    >>> with seeded(0):
    ...     elbo = elbo_nats(vae, x)
    >>> with seeded(0):
    ...     lower = beta_elbo_nats(vae, x, beta=4.0)
    >>> bool((lower < elbo).all())
    True
    """
    if not beta >= 0:
        raise ValueError(f"beta must not be negative, got {beta}")
    terms = elbo_terms(vae, x)
    return terms.log_px_z - beta * terms.kl


def copy_elbo_nats(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`E \ln P(x|y) - KL(q(y|x) \| p(y|z)) - KL(q(z|x) \| p(z))`, `[B]` in nats: the ELBO with a noisy copy y.

    The bound on :math:`\ln P(x)` of :math:`p(z)\,p(y|z)\,P(x|y)` under :math:`q(z|x)\,q(y|x)`, with one draw of z and
    of y, for a `NoisyCopyHead`: in

    .. math:: \ln P(x) \ge E_q \ln \frac{p(z)\, p(y|z)\, P(x|y)}{q(z|x)\, q(y|x)}
        = E_q \ln P(x|y) - E_{q(z|x)} KL(q(y|x) \| p(y|z)) - KL(q(z|x) \| p(z))

    the divergence of the two Normals of y is in closed form. With the variance :math:`v + s^2` of p(y|z) at its optimum
    it is :math:`\frac m2 \ln(1 + v / s^2)` on average over images, v the mean squared error of :math:`\mu(z)`.
    :func:`elbo_nats` has the same expected value and more noise.

    >>> from functools import partial
    >>> from vaelib.likelihoods.copies import NoisyCopyHead
    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=partial(NoisyCopyHead, radius=1, noise=0.3), hidden=4)
    >>> copy_elbo_nats(vae, torch.rand(5, 6)).shape
    torch.Size([5])
    """
    qz_x = vae.posterior(x)
    z = qz_x.rsample()
    return vae.likelihood(z).bound_nats(x) - kl_nats(qz_x, vae.prior, z)  # type: ignore[attr-defined]


def limit_objective(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`-\sum_j (x_j - \mu_{x,j}(z))^2`, :math:`z \sim q(z|x)`, `[B]`: equation 5.6 with the sign to maximise it.

    What is left of the ELBO at beta = 0 with a fixed sigma, up to a positive factor and a constant: squared grey
    levels, not nats.

    >>> from functools import partial
    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=partial(FixedGaussian, sigma=1.0), hidden=4)
    >>> x = torch.rand(5, 6)
    >>> with seeded(0):
    ...     at_beta_0 = beta_elbo_nats(vae, x, beta=0.0)
    >>> with seeded(0):
    ...     limit = limit_objective(vae, x)
    >>> torch.allclose(at_beta_0, limit / 2 - 6 / 2 * math.log(2 * math.pi))
    True
    """
    z = vae.posterior(x).rsample()
    return -(x - vae.likelihood(z).mean).square().sum(dim=-1)


def autoencoder_objective(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`-\sum_j (x_j - \mu_{x,j}(\mu_z(x)))^2`, `[B]`: the plain autoencoder, with no draw at all.

    Squared grey levels, for x `[B, m]`.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), torch.rand(5, 6)
    >>> squared_error = (x - reconstructions(vae, x)).square().sum(dim=-1)
    >>> torch.allclose(autoencoder_objective(vae, x), -squared_error)
    True
    """
    return -(x - vae.likelihood(vae.posterior(x).mean).mean).square().sum(dim=-1)


def log_weights(vae: VAE, x: Tensor, *, samples: int) -> Tensor:
    r""":math:`\ln w_k = \ln p(z_k) + \ln p(x|z_k) - \ln q(z_k|x)`, :math:`z_k \sim q(z|x)`, as `[K, B]` in nats.

    x is `[B, m]`, K = `samples`; the mean of :math:`w_k` is an unbiased estimate of p(x) (Burda et al. 2016).

    >>> from vaelib.pca import optimal_linear_vae, spectrum
    >>> x = torch.randn(50, 3).double()
    >>> vae = optimal_linear_vae(spectrum(x), latent_dim=2, sigma=0.5)
    >>> log_w = log_weights(vae, x, samples=4)
    >>> log_w.shape, torch.allclose(log_w, log_w[0])  # q(z|x) is p(z|x): each weight is p(x)
    (torch.Size([4, 50]), True)
    """
    qz_x = vae.posterior(x)
    z = qz_x.rsample((samples,))
    return vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x) - qz_x.log_prob(z)


def iwae_bound_nats(vae: VAE, x: Tensor, *, samples: int) -> Tensor:
    r""":math:`\ln \frac1K \sum_k w_k`, `[B]` in nats: the ELBO at K = 1 (Burda et al. 2016).

    x is `[B, m]`, K = `samples`; raises ValueError for K below 1.

    >>> from vaelib.linear import evidence_nats, linear_vae
    >>> vae, x = linear_vae(pixels=3, latent_dim=1, sigma=1.0), torch.rand(10, 3)
    >>> log_px = evidence_nats(x, W=vae.head.mu.weight, b=vae.head.mu.bias, sigma=1.0)
    >>> torch.allclose(iwae_bound_nats(vae, x, samples=10_000), log_px, atol=0.3)  # tight as K grows
    True
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    return torch.logsumexp(log_weights(vae, x, samples=samples), dim=0) - math.log(samples)
