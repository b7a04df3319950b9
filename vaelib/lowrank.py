r"""Pixels that are correlated given the code: a covariance of low rank, and independent noise beside it."""

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from vaelib.data import DEQUANTISATION_STD
from vaelib.networks import softplus

#: Largest entry of a column, in units of the pixel's own sigma: a precaution, which keeps the matrix that has to be
#: inverted well conditioned in float32.
LARGEST = 5.0
#: Features of the code that the columns are linear in.
CHOICES = 16


class LowRankGaussian(nn.Module):
    r""":math:`N(\mu_x(z), F(z) F(z)^T + \mathrm{diag}\,\sigma_x(z)^2)`, F of `rank` columns.

    The columns come from a few features of the code, which keeps their cost down, and an entry is at most `LARGEST`
    times the sigma of its pixel: :math:`F_{jc} = \mathrm{LARGEST}\, \sigma_j \tanh(\cdot)`.
    """

    def __init__(self, *, features: int, pixels: int, rank: int, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        if rank < 1 or not floor > 0:
            raise ValueError(f"rank must be at least 1 and floor a positive standard deviation, got {rank} and {floor}")
        self.floor, self.rank = floor, rank
        self.mu = nn.Linear(features, pixels)
        self.sigma = nn.Linear(features, pixels)
        self.columns = nn.Sequential(nn.Linear(features, CHOICES), nn.Linear(CHOICES, pixels * rank))

    def forward(self, h: Tensor) -> LowRankMultivariateNormal:
        """Features `[..., hidden]` to a distribution over x `[..., pixels]`."""
        sigma = self.floor + softplus(self.sigma(h))
        columns = LARGEST * torch.tanh(self.columns(h)).unflatten(-1, (-1, self.rank)) * sigma.unsqueeze(-1)
        return LowRankMultivariateNormal(torch.sigmoid(self.mu(h)), columns, sigma.square(), validate_args=False)
