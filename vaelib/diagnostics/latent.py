r"""Posterior collapse: which dimensions of q(z|x) say nothing of x, and what the codes as a whole say of it."""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from vaelib.networks import diagonal_normal
from vaelib.objectives import kl_nats
from vaelib.vae import VAE

#: Codes that are held against all images at once.
CODES = 500
#: Variance of its mean code from which on a dimension is active.
ACTIVE_VARIANCE = 1e-2


@torch.no_grad()
def code_means(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`\mu_z(x)`, the means of q(z|x), `[B, d]` for x `[B, m]`.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> code_means(vae, torch.rand(5, 6)).shape
    torch.Size([5, 2])
    """
    return vae.posterior(x).mean


def active_units(mu_z: Tensor) -> int:
    r"""Number of dimensions of `[N, d]` with :math:`\mathrm{Var}_x\,E_q[z_i] > 10^{-2}` (Burda et al. 2016).

    >>> active_units(torch.tensor([[-1.0, 0.01], [1.0, -0.01]]))
    1
    """
    return int((mu_z.var(dim=0) > ACTIVE_VARIANCE).sum())


@torch.no_grad()
def aggregate_variance(vae: VAE, x: Tensor) -> Tensor:
    r"""Variance of q(z), the aggregate posterior of x `[N, m]`, `[d]`: :math:`\mathrm{Var}_x\,\mu_z + E_x\,\sigma_z^2`.

    >>> from vaelib.pca import optimal_linear_vae, spectrum
    >>> x = torch.randn(50, 3).double()
    >>> vae = optimal_linear_vae(spectrum(x), latent_dim=2, sigma=0.1)
    >>> torch.allclose(aggregate_variance(vae, x), torch.ones(2).double())  # at the optimum, that of the prior
    True
    """
    qz_x = vae.posterior(x)
    return qz_x.mean.var(dim=0, correction=0) + qz_x.variance.mean(dim=0)


def mean_absolute_correlation(codes: Tensor) -> float:
    r"""Mean of :math:`|\rho_{ij}|` over pairs of dimensions :math:`i < j` of codes `[N, d]`, d at least 2.

    >>> round(mean_absolute_correlation(torch.tensor([[-1.0, -2.0], [1.0, 2.0]])), 6)
    1.0
    """
    rho = torch.corrcoef(codes.double().T).clamp(-1, 1)
    rows, columns = torch.triu_indices(len(rho), len(rho), offset=1)
    return rho[rows, columns].abs().mean().item()


@torch.no_grad()
def kl_per_dimension_nats(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`KL(q(z_i|x) \| p(z_i))`, `[B, d]` in nats, for x `[B, m]`; its sum over i is the KL of the ELBO.

    Raises ValueError for a learned prior, which does not factorise over dimensions.

    >>> from vaelib.pca import optimal_kl_nats, optimal_linear_vae, spectrum
    >>> x = torch.randn(50, 3).double()
    >>> vae = optimal_linear_vae(spectrum(x), latent_dim=2, sigma=0.1)
    >>> kl = optimal_kl_nats(spectrum(x).eigenvalues[:2], beta=1.0, sigma=0.1)
    >>> torch.allclose(kl_per_dimension_nats(vae, x).mean(dim=0), kl)
    True
    """
    qz_x, prior = vae.posterior(x), vae.prior
    if not isinstance(prior, Independent):
        raise ValueError("a learned prior has no divergence per dimension: it does not factorise over them")
    prior = diagonal_normal(prior.mean.double(), prior.stddev.double())
    return kl_divergence(diagonal_normal(qz_x.mean.double(), qz_x.stddev.double()).base_dist, prior.base_dist)


def collapsed_dimensions(kl: Tensor, *, epsilon: float, delta: float) -> int:
    r"""Number of :math:`(\epsilon, \delta)`-collapsed dimensions, from :func:`kl_per_dimension_nats` `[N, d]`.

    Dimension i is collapsed if :math:`KL(q(z_i|x) \| p(z_i)) < \epsilon` for a share of at least :math:`1 - \delta` of
    the images (Lucas et al. 2019). Raises ValueError where epsilon is not positive or delta not in [0, 1).

    >>> kl = torch.tensor([[0.0, 2.0], [0.0, 0.0], [0.0, 3.0]])
    >>> collapsed_dimensions(kl, epsilon=0.01, delta=0.05), collapsed_dimensions(kl, epsilon=0.01, delta=0.7)
    (1, 2)
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be a positive number of nats, got {epsilon}")
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be a share in [0, 1), got {delta}")
    used = ~(kl < epsilon)
    return int((used.double().mean(dim=0) <= delta).sum())


class ElboSurgery(NamedTuple):
    r"""The mean KL in two parts, in nats: :math:`I(x; z) + KL(q(z) \| p(z))` (Hoffman and Johnson 2016).

    >>> surgery = ElboSurgery(kl=3.0, mutual_information=2.0, mutual_information_upper=2.5)
    >>> surgery.aggregate_mismatch, surgery.aggregate_mismatch_lower
    (1.0, 0.5)
    """

    kl: float
    r"""Mean of :math:`KL(q(z|x) \| p(z))` over the images, in closed form for N(0, I)."""
    mutual_information: float
    r"""I(x; z) under q over these N images; at most ln N."""
    mutual_information_upper: float
    """The same with each image left out of its own mixture; at most the mean KL."""

    @property
    def aggregate_mismatch(self) -> float:
        r""":math:`KL(q(z) \| p(z))` of the aggregate posterior of these N images."""
        return self.kl - self.mutual_information

    @property
    def aggregate_mismatch_lower(self) -> float:
        """The same with each image left out of its own mixture; at least 0."""
        return self.kl - self.mutual_information_upper


@torch.no_grad()
def elbo_surgery(vae: VAE, x: Tensor) -> ElboSurgery:
    r"""Mean KL, mutual information and aggregate mismatch over N images `[N, m]`, one draw of z each.

    .. math:: I = \frac1N \sum_n \ln \frac{q(z_n|x_n)}{q(z_n)},\quad q(z) = \frac1N \sum_m q(z|x_m),\quad
        z_n \sim q(z|x_n)

    :math:`I` is unbiased where these N images are the population, and never above ln N. Where they are a sample of it,
    :math:`I` is too low on average and the mismatch too high, since each image is in the mixture that it is held
    against. With it left out, :math:`q(z_n) = \sum_{m \neq n} q(z_n|x_m) / (N - 1)`, the estimate is too high on
    average: the two bracket the population's (Poole et al. 2019), closely while it is well below ln N, hardly at all
    near it. The mean KL needs no draw; by the draws of the two parts a mismatch near 0 can come out negative, by no
    more than about :math:`\sqrt{d / 2N}`, 0.03 nats for d = 20 and N = 10,000.

    The encoder's Gaussians must be diagonal. Draws from torch's global generator.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> surgery = elbo_surgery(vae, torch.rand(50, 6))
    >>> surgery.mutual_information < math.log(50), surgery.mutual_information_upper <= surgery.kl
    (True, True)
    """
    qz_x = vae.posterior(x)
    mu_z, sigma_z = qz_x.mean.double(), qz_x.stddev.double()
    z = mu_z + sigma_z * torch.randn_like(mu_z)
    prior = copy.deepcopy(vae.code_prior).double()()
    kl = kl_nats(diagonal_normal(mu_z, sigma_z), prior, z).mean().item()
    log_qz_x, log_qz, log_qz_others = _log_densities(z, mu_z, sigma_z)  # each [N]
    return ElboSurgery(
        kl=kl,
        mutual_information=(log_qz_x - log_qz).mean().item(),
        mutual_information_upper=min((log_qz_x - log_qz_others).mean().item(), kl),
    )


def _log_densities(z: Tensor, mu_z: Tensor, sigma_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln q(z_n|x_n), ln q(z_n), and ln q(z_n) with the n-th component left out, `[N]` each."""
    images, own, with_all, with_others = len(z), [], [], []
    for first in range(0, images, CODES):
        log_prob = _log_prob_of_all(z[first : first + CODES], mu_z, sigma_z)  # [CODES, N]
        own.append(log_prob.diagonal(offset=first).clone())
        with_all.append(log_prob.logsumexp(dim=1) - math.log(images))
        log_prob.diagonal(offset=first).fill_(-math.inf)
        with_others.append(log_prob.logsumexp(dim=1) - math.log(max(images - 1, 1)))
    return torch.cat(own), torch.cat(with_all), torch.cat(with_others)


def _log_prob_of_all(z: Tensor, mu_z: Tensor, sigma_z: Tensor) -> Tensor:
    """ln N(z_k; mu_n, diag sigma_n^2) for all pairs, `[K, N]`, by two matrix products."""
    precision = sigma_z.pow(-2)
    constant = (mu_z.square() * precision - precision.log() + math.log(2 * math.pi)).sum(dim=1)  # [N]
    return z @ (mu_z * precision).T - (z.square() @ precision.T + constant) / 2
