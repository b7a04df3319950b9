r"""The linear VAE: its evidence, its posterior and its ELBO have closed forms, so that theory can be tested exactly.

Throughout: x `[B, m]`, W `[m, d]`, b `[m]`, and one standard deviation sigma > 0 of p(x|z) = N(Wz + b, sigma^2 I).
Use float64 where sigma is small against the columns of W.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, kl_divergence

from vaelib.data import Shape
from vaelib.errors import positive_std
from vaelib.networks import diagonal_normal
from vaelib.vae import VAE


def evidence_nats(x: Tensor, W: Tensor, b: Tensor, sigma: float) -> Tensor:
    r""":math:`\ln p(x) = \ln N(x; b, W W^T + \sigma^2 I)`, `[B]` in nats (Tipping and Bishop 1999).

    Raises ValueError where sigma is not positive.

    >>> x, W, b = torch.randn(5, 3), torch.eye(3, 2), torch.zeros(3)
    >>> log_px = sum(torch.distributions.Normal(0.0, s).log_prob(x_j) for x_j, s in zip(x.T, (2**0.5, 2**0.5, 1.0)))
    >>> torch.allclose(evidence_nats(x, W, b, sigma=1.0), log_px)  # the code adds 1 to two variances of 1
    True
    """
    return LowRankMultivariateNormal(b, W, torch.full_like(b, positive_std("sigma", sigma) ** 2)).log_prob(x)


def exact_posterior(x: Tensor, W: Tensor, b: Tensor, sigma: float) -> MultivariateNormal:
    r""":math:`p(z|x) = N(M^{-1} W^T (x - b), \sigma^2 M^{-1})`, batch `[B]`, event `[d]`.

    With :math:`M = W^T W + \sigma^2 I` (Tipping and Bishop 1999, section 3.2). Raises ValueError where sigma is not
    positive.

    >>> pz_x = exact_posterior(torch.tensor([[2.0, 4.0]]), W=torch.eye(2), b=torch.zeros(2), sigma=1.0)
    >>> pz_x.mean, pz_x.variance  # halfway to the prior's mean
    (tensor([[1., 2.]]), tensor([[0.5000, 0.5000]]))
    """
    M = _posterior_matrix(W, sigma)
    return MultivariateNormal((x - b) @ torch.linalg.solve(M, W.T).T, precision_matrix=M / sigma**2)


def optimal_posterior(x: Tensor, W: Tensor, b: Tensor, sigma: float) -> Independent:
    r"""The diagonal Gaussian q(z|x) of the highest ELBO, :math:`N(M^{-1} W^T (x - b), \sigma^2 \mathrm{diag}(M)^{-1})`.

    Batch `[B]`, event `[d]`. It is p(z|x) itself if and only if :math:`W^T W` is diagonal (Lucas et al. 2019, section
    4.2). Raises ValueError where sigma is not positive.

    >>> x, W, b = torch.randn(5, 3), torch.eye(3, 2), torch.zeros(3)  # orthogonal columns
    >>> qz_x, pz_x = optimal_posterior(x, W, b, sigma=0.5), exact_posterior(x, W, b, sigma=0.5)
    >>> torch.allclose(qz_x.mean, pz_x.mean), torch.allclose(qz_x.variance, pz_x.variance)
    (True, True)
    """
    M = _posterior_matrix(W, sigma)
    mu_z = (x - b) @ torch.linalg.solve(M, W.T).T
    return diagonal_normal(mu_z, (sigma / M.diagonal().sqrt()).expand_as(mu_z))


def elbo_nats_exact(qz_x: Independent, x: Tensor, W: Tensor, b: Tensor, sigma: float) -> Tensor:
    r"""Equation 5.1 without sampling, `[B]` in nats, for a diagonal Gaussian q(z|x) = N(mu_z, diag sigma_z^2).

    .. math:: -\frac{m}{2} \ln 2\pi\sigma^2
        - \frac{\|x - b - W\mu_z\|^2 + \sum_j \sigma_{z,j}^2 \|W_j\|^2}{2\sigma^2} - KL(q(z|x) \| p(z))

    :math:`W_j` are the columns of W (Lucas et al. 2019, appendix). Raises ValueError where sigma is not positive.

    >>> x, W, b = torch.randn(5, 3), torch.eye(3, 2), torch.zeros(3)
    >>> elbo = elbo_nats_exact(optimal_posterior(x, W, b, sigma=0.5), x, W, b, sigma=0.5)
    >>> torch.allclose(elbo, evidence_nats(x, W, b, sigma=0.5), atol=1e-4)  # tight, since q(z|x) is p(z|x)
    True
    """
    mu_z, var_z = qz_x.mean, qz_x.variance
    squared_error = (x - b - mu_z @ W.T).square().sum(-1) + var_z @ W.square().sum(0)  # [B]
    constant = -len(b) / 2 * math.log(2 * math.pi * positive_std("sigma", sigma) ** 2)
    log_px_z = constant - squared_error / (2 * sigma**2)  # [B]
    return log_px_z - kl_divergence(qz_x, diagonal_normal(torch.zeros_like(mu_z), torch.ones_like(mu_z)))


def exact_elbo_nats(vae: VAE, x: Tensor) -> Tensor:
    r""":func:`elbo_nats_exact` of a :func:`shared_linear_vae` with its own encoder, `[B]` in nats: no draw, no noise.

    Its mean over images is a function of their mean and covariance alone (`vaelib.pca.stand_ins`).

    >>> vae, x = shared_linear_vae(pixels=6, latent_dim=2), torch.rand(5, 6)
    >>> decoder = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma.item()
    >>> torch.allclose(exact_elbo_nats(vae, x), elbo_nats_exact(vae.posterior(x), x, *decoder))
    True
    """
    assert isinstance(vae.head, SharedLinearGaussian)
    qz_x, W, sigma = vae.posterior(x), vae.head.mu.weight, vae.head.sigma
    squared_error = (x - vae.likelihood(qz_x.mean).mean).square().sum(-1) + qz_x.variance @ W.square().sum(0)  # [B]
    log_px_z = -len(W) / 2 * (2 * math.pi * sigma.square()).log() - squared_error / (2 * sigma.square())
    return log_px_z - kl_divergence(qz_x, vae.prior)


def beta_elbo_nats_exact(qz_x: Independent, x: Tensor, W: Tensor, b: Tensor, sigma: float, *, beta: float) -> Tensor:
    r"""Equation 5.4 without sampling, `[B]` in nats: :func:`elbo_nats_exact` plus :math:`(1 - \beta)\, KL`.

    For beta < 1 it can exceed ln p(x). It is :math:`\beta` times the ELBO of the model with variance
    :math:`\beta \sigma^2`, up to a constant (Lucas et al. 2019). Raises ValueError for a negative beta or a sigma that
    is not positive.

    >>> x, W, b = torch.randn(5, 3), torch.eye(3, 2), torch.zeros(3)
    >>> qz_x = optimal_posterior(x, W, b, sigma=0.5)
    >>> bool((beta_elbo_nats_exact(qz_x, x, W, b, sigma=0.5, beta=0.1) > evidence_nats(x, W, b, sigma=0.5)).all())
    True
    """
    if beta < 0:
        raise ValueError(f"beta must not be negative, got {beta}")
    prior = diagonal_normal(torch.zeros_like(qz_x.mean), torch.ones_like(qz_x.mean))
    return elbo_nats_exact(qz_x, x, W, b, sigma) + (1 - beta) * kl_divergence(qz_x, prior)


class LinearEncoder(nn.Module):
    r""":math:`q(z|x) = N(Vx + c, \mathrm{diag}\,\sigma_z^2)`, :math:`\sigma_z` the same for every x.

    >>> encoder = LinearEncoder(pixels=3, latent_dim=2)
    >>> encoder.set_optimal(W=torch.eye(3, 2), b=torch.zeros(3), sigma=1.0)
    >>> encoder(torch.ones(1, 3)).mean.tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, *, pixels: int, latent_dim: int) -> None:
        super().__init__()
        self.mu = nn.Linear(pixels, latent_dim)
        self.log_sigma = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x: Tensor) -> Independent:
        """x `[B, m]` to a distribution over z `[B, d]`."""
        mu_z = self.mu(x)
        return diagonal_normal(mu_z, self.log_sigma.exp().expand_as(mu_z))

    @torch.no_grad()
    def set_optimal(self, W: Tensor, b: Tensor, sigma: float) -> None:
        """Set the parameters so that q(z|x) is :func:`optimal_posterior` of this decoder for every x."""
        V = torch.linalg.solve(_posterior_matrix(W, sigma), W.T)
        self.mu.weight.copy_(V)
        self.mu.bias.copy_(-V @ b)
        self.log_sigma.copy_(math.log(sigma) - _posterior_matrix(W, sigma).diagonal().log() / 2)


class LinearGaussian(nn.Module):
    r""":math:`N(Wz + b, \sigma^2 I)` with one :math:`\sigma` chosen by hand: the likelihood of the linear VAE.

    Raises ValueError where sigma is not positive.

    >>> px_z = LinearGaussian(features=2, shape=(2, 3), sigma=0.5)(torch.randn(5, 2))
    >>> px_z.event_shape, px_z.stddev.unique()
    (torch.Size([6]), tensor([0.5000]))
    """

    def __init__(self, *, features: int, shape: Shape, sigma: float) -> None:
        super().__init__()
        self.sigma = positive_std("sigma", sigma)
        self.mu = nn.Linear(features, math.prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]`, here z itself, to a distribution over x `[..., m]`."""
        mu = self.mu(h)
        return diagonal_normal(mu, torch.full_like(mu, self.sigma))


class SharedLinearGaussian(nn.Module):
    r""":math:`N(Wz + b, \sigma^2 I)` with one learned :math:`\sigma`, as :math:`\ln \sigma`: the likelihood of pPCA.

    It has no floor and needs none while the images fill more than d dimensions (Tipping and Bishop 1999, equation 8).

    >>> head = SharedLinearGaussian(features=2, shape=(2, 3))
    >>> head.sigma.item(), head(torch.randn(5, 2)).event_shape
    (1.0, torch.Size([6]))
    """

    def __init__(self, *, features: int, shape: Shape) -> None:
        super().__init__()
        self.mu = nn.Linear(features, math.prod(shape))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, a scalar."""
        return self.log_sigma.exp()

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]`, here z itself, to a distribution over x `[..., m]`."""
        mu = self.mu(h)
        return diagonal_normal(mu, self.sigma.expand_as(mu))


def linear_vae(*, pixels: int, latent_dim: int, sigma: float) -> VAE:
    """A VAE whose networks are linear: W is `head.mu.weight`, b is `head.mu.bias`; raises ValueError for sigma <= 0.

    >>> vae = linear_vae(pixels=6, latent_dim=2, sigma=0.5)
    >>> z = torch.randn(5, 2)
    >>> torch.allclose(vae.likelihood(z).mean, z @ vae.head.mu.weight.T + vae.head.mu.bias)
    True
    """
    encoder = LinearEncoder(pixels=pixels, latent_dim=latent_dim)
    head = LinearGaussian(features=latent_dim, shape=(pixels,), sigma=sigma)
    return VAE(encoder=encoder, decoder=nn.Identity(), head=head, latent_dim=latent_dim)


def shared_linear_vae(*, pixels: int, latent_dim: int) -> VAE:
    """A :func:`linear_vae` that learns its sigma, which starts at 1 and is `head.sigma`.

    >>> vae = shared_linear_vae(pixels=6, latent_dim=2)
    >>> vae.head.mu.weight.shape, vae.head.sigma.item()
    (torch.Size([6, 2]), 1.0)
    """
    encoder = LinearEncoder(pixels=pixels, latent_dim=latent_dim)
    head = SharedLinearGaussian(features=latent_dim, shape=(pixels,))
    return VAE(encoder=encoder, decoder=nn.Identity(), head=head, latent_dim=latent_dim)


def _posterior_matrix(W: Tensor, sigma: float) -> Tensor:
    r""":math:`M = W^T W + \sigma^2 I`, `[d, d]`."""
    return W.T @ W + positive_std("sigma", sigma) ** 2 * torch.eye(W.shape[1], dtype=W.dtype, device=W.device)
