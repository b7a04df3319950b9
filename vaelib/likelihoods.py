r"""Decoder heads: each turns the decoder's features into a distribution p(x|z) with the pixels as its event."""

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, ContinuousBernoulli, Independent
from torch.nn.functional import softplus

from vaelib.data import DEQUANTISATION_STD
from vaelib.networks import diagonal_normal


class PixelwiseGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \mathrm{diag}\,\sigma_x(z)^2)`, both from the network: the simple VAE's likelihood.

    :math:`\mu_x = \mathrm{sigmoid}(\cdot)` and :math:`\sigma_x = \mathrm{floor} + \mathrm{softplus}(\cdot)`. Without a
    floor the likelihood has no maximum on pixels that never change (Mattei and Frellsen 2018).
    """

    def __init__(self, *, features: int, pixels: int, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"floor must be a positive standard deviation, got {floor}; without it sigma_x can be 0")
        self.floor = floor
        self.mu = nn.Linear(features, pixels)
        self.sigma = nn.Linear(features, pixels)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., pixels]`."""
        return diagonal_normal(torch.sigmoid(self.mu(h)), self.floor + softplus(self.sigma(h)))


class FixedGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \sigma^2 I)` with one :math:`\sigma` chosen by hand; at 1 its log is -SSE/2 + constant."""

    def __init__(self, *, features: int, pixels: int, sigma: float) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma must be a positive standard deviation, got {sigma}")
        self.sigma = sigma
        self.mu = nn.Linear(features, pixels)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., pixels]`."""
        mu = torch.sigmoid(self.mu(h))
        return diagonal_normal(mu, torch.full_like(mu, self.sigma))


class SharedGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \sigma^2 I)` with one learned :math:`\sigma` for all pixels and all z (Rybkin et al. 2021).

    Maximised over sigma the likelihood is calibrated: :math:`\sigma^2` is the mean squared error. As in
    `PixelwiseGaussian`, :math:`\sigma = \mathrm{floor} + \mathrm{softplus}(\cdot)`.
    """

    def __init__(self, *, features: int, pixels: int, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"floor must be a positive standard deviation, got {floor}")
        self.floor = floor
        self.mu = nn.Linear(features, pixels)
        self.raw_sigma = nn.Parameter(torch.zeros(()))

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, a scalar."""
        return self.floor + softplus(self.raw_sigma)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., pixels]`."""
        mu = torch.sigmoid(self.mu(h))
        return diagonal_normal(mu, self.sigma.expand_as(mu))


class BernoulliPixels(nn.Module):
    r"""A Bernoulli per pixel. On grey pixels its log-probability is cross-entropy, not the log of a density.

    Its support is {0, 1}; the check is off because public implementations evaluate it between (Loaiza-Ganem and
    Cunningham 2019).
    """

    def __init__(self, *, features: int, pixels: int) -> None:
        super().__init__()
        self.logits = nn.Linear(features, pixels)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., pixels]`."""
        return Independent(
            Bernoulli(logits=self.logits(h), validate_args=False),
            1,
            validate_args=False,
        )


class ContinuousBernoulliPixels(nn.Module):
    """The Bernoulli's formula with the constant that makes it a density on [0, 1] (Loaiza-Ganem and Cunningham 2019).

    Its parameter is not its mean.
    """

    def __init__(self, *, features: int, pixels: int) -> None:
        super().__init__()
        self.logits = nn.Linear(features, pixels)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., pixels]`."""
        pixels = ContinuousBernoulli(logits=self.logits(h), validate_args=False)
        return Independent(pixels, 1, validate_args=False)
