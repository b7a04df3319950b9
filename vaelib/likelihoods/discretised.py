r"""Distributions over the 256 grey levels of a pixel, so that a model is one over images and not over real numbers.

A level l is the number l / 255, as in `vaelib.data`. A continuous density on the line is integrated over the bin of
each level, half a level to either side; the first and the last bin reach to infinity, so that the 256 masses sum to
one (Salimans et al. 2017).
"""

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints
from torch.special import log_ndtr

from vaelib.data import LEVELS, Bins, Shape
from vaelib.networks import softplus

#: Half the width of a bin, and the smallest scale of a head: with it 98 % and more of a density fit into one bin.
HALF_LEVEL = 0.5 / (LEVELS - 1)
SMALLEST_SCALE = HALF_LEVEL / 5


class Discretised(Distribution):
    r""":math:`P(x) = F\big(\tfrac{x + h - \mu}{s}\big) - F\big(\tfrac{x - h - \mu}{s}\big)`, h half a level.

    F is the distribution function of a symmetric density, 0 and 1 at the outer ends of the first and last bin. `loc`
    and `scale` are on the scale of x in [0, 1] and of any one shape; the event is one pixel.

    >>> levels = torch.arange(256) / 255
    >>> for family in (DiscretisedNormal, DiscretisedLogistic):
    ...     print(round(family(torch.tensor(0.9), torch.tensor(0.5)).log_prob(levels).exp().sum().item(), 4))
    1.0
    1.0
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=False)

    @staticmethod
    @abstractmethod
    def log_cdf(value: Tensor) -> Tensor:
        """ln F of a standardised value."""

    @staticmethod
    @abstractmethod
    def log_between(lower: Tensor, upper: Tensor) -> Tensor:
        """ln(F(upper) - F(lower)) of standardised values, stable in both tails."""

    @staticmethod
    @abstractmethod
    def noise(like: Tensor) -> Tensor:
        """Standardised draws of the density, in the shape of the argument."""

    def log_prob(self, value: Tensor) -> Tensor:
        """ln P(x) for x a level over 255, in nats; stable in both tails."""
        centre, half = (value - self.loc) / self.scale, HALF_LEVEL / self.scale
        lower = torch.where(value < HALF_LEVEL, -torch.inf, centre - half)
        upper = torch.where(value > 1 - HALF_LEVEL, torch.inf, centre + half)
        return self.log_between(lower, upper)

    def log_mass(self, x: Tensor, bins: Bins) -> Tensor:
        """ln P(x): levels need no bins."""
        return self.log_prob(x)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Levels over 255, `[*sample_shape, ...]`."""
        loc, scale = (part.expand(self._extended_shape(torch.Size(sample_shape))) for part in (self.loc, self.scale))
        return quantise(loc + scale * self.noise(loc))

    @property
    def mean(self) -> Tensor:
        r""":math:`E[x] = \frac{1}{255} \sum_{l < 255} P(x > l / 255)`."""
        return sum((self._above(level) for level in range(LEVELS - 1)), torch.zeros_like(self.loc)) / (LEVELS - 1)

    @property
    def variance(self) -> Tensor:
        r""":math:`E[x^2] - E[x]^2`, with :math:`E[x^2] = \frac{1}{255^2} \sum_{l < 255} (2l + 1) P(x > l / 255)`."""
        weighted = ((2 * level + 1) * self._above(level) for level in range(LEVELS - 1))
        second = sum(weighted, torch.zeros_like(self.loc)) / (LEVELS - 1) ** 2
        return (second - self.mean.square()).clamp(min=0)

    def _above(self, level: int) -> Tensor:
        return self.log_cdf((self.loc - (level + 0.5) / (LEVELS - 1)) / self.scale).exp()


class DiscretisedNormal(Discretised):
    """The Gaussian, integrated over bins.

    >>> px_z = DiscretisedNormal(loc=torch.tensor(0.0), scale=torch.tensor(0.5))
    >>> px_z.log_prob(torch.tensor(0.0)).exp() > 0.5  # all that lies below 0 is black
    tensor(True)
    """

    @staticmethod
    def log_cdf(value: Tensor) -> Tensor:
        r""":math:`\ln \Phi`."""
        return log_ndtr(value)

    @staticmethod
    def log_between(lower: Tensor, upper: Tensor) -> Tensor:
        """By the logarithms of F, mirrored into the lower tail, where they keep their digits."""
        mirrored = lower + upper > 0
        log_a = log_ndtr(torch.where(mirrored, -upper, lower))
        log_b = log_ndtr(torch.where(mirrored, -lower, upper))
        gap = (log_b - log_a).clamp(min=torch.finfo(lower.dtype).tiny)
        return log_b + (-torch.expm1(-gap)).log()

    @staticmethod
    def noise(like: Tensor) -> Tensor:
        """Normal draws."""
        return torch.randn_like(like)


class DiscretisedLogistic(Discretised):
    """The logistic, whose tails are heavier and whose F is elementary, integrated over bins.

    >>> x, loc, scale = torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.1)
    >>> bool(DiscretisedLogistic(loc, scale).log_prob(x) > DiscretisedNormal(loc, scale).log_prob(x))  # heavier tails
    True
    """

    @staticmethod
    def log_cdf(value: Tensor) -> Tensor:
        """The logarithm of the sigmoid."""
        return -softplus(-value)

    @staticmethod
    def log_between(lower: Tensor, upper: Tensor) -> Tensor:
        r""":math:`\ln F(b) + \ln F(-a) + \ln(1 - e^{a - b})`, an identity of the sigmoid."""
        return (-torch.expm1(lower - upper)).log() - softplus(-upper) - softplus(lower)

    @staticmethod
    def noise(like: Tensor) -> Tensor:
        """Logistic draws, from the inverse of the sigmoid."""
        return torch.logit(torch.rand_like(like), eps=torch.finfo(like.dtype).eps)


def quantise(x: Tensor) -> Tensor:
    """The nearest grey level over 255, in any shape; what lies beyond 0 and 1 is cut to them.

    >>> 255 * quantise(torch.tensor([-1.0, 0.001, 2.0]))
    tensor([  0.,   0., 255.])
    """
    return (x.clamp(0, 1) * (LEVELS - 1)).round() / (LEVELS - 1)


class DiscretisedPixels(nn.Module):
    r"""A discretised density per pixel, location and scale from the code: the simple VAE as a model of images.

    `family` is `DiscretisedNormal` or `DiscretisedLogistic`; `smallest` bounds the scale from below. A mass is at most
    1, so no likelihood grows without bound; but a surprise costs the square of its distance over the scale under the
    Normal, and training breaks where the scale may shrink to a small part of a bin. Raises ValueError where smallest is
    not positive.

    >>> px_z = DiscretisedPixels(features=4, shape=(2, 3), family=DiscretisedLogistic)(torch.randn(5, 4))
    >>> x = px_z.sample()
    >>> torch.equal(quantise(x), x), bool((px_z.log_prob(x) < 0).all())
    (True, True)
    """

    def __init__(
        self, *, features: int, shape: Shape, family: type[Discretised], smallest: float = SMALLEST_SCALE
    ) -> None:
        super().__init__()
        if not smallest > 0:
            raise ValueError(f"smallest must be a positive scale, got {smallest}")
        self.family, self.smallest = family, smallest
        self.loc = nn.Linear(features, prod(shape))
        self.scale = nn.Linear(features, prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        scale = self.smallest + softplus(self.scale(h))
        return Independent(self.family(torch.sigmoid(self.loc(h)), scale), 1, validate_args=False)
