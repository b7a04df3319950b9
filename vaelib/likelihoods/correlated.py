r"""Pixels that are correlated given the code: a sparse triangular factor of the precision over neighbouring pixels.

Pixels are read in raster order, line by line. The *window* of a pixel are those of its neighbours, at most `radius`
lines above it or `radius` columns beside it, that come before it. Everything here is built from that order: a pixel
needs nothing but its window, so the likelihood of a whole image is one parallel pass, and a sample is drawn front by
front (:func:`wavefronts`).
"""

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, LowRankMultivariateNormal, constraints
from torch.nn.functional import pad

from vaelib.data import DEQUANTISATION_STD, Bins, Shape
from vaelib.errors import positive_std
from vaelib.networks import softplus

#: Largest sum of absolute coefficients of a window: below 1, so that no sample can grow from pixel to pixel.
GAIN = 0.95
#: Prediction filters of an image, and features of the code that choose among them.
FILTERS, CHOICES = 8, 16
#: Height and width of a grey image.
GreyShape = tuple[int, int]


def grey(shape: Shape) -> GreyShape:
    """Height and width of grey images; raises ValueError for any other shape: neighbours are those of one picture.

    >>> grey((28, 20))
    (28, 20)
    >>> grey((3, 28, 20))
    Traceback (most recent call last):
        ...
    ValueError: neighbouring pixels need grey images (height, width), got shape (3, 28, 20); ...
    """
    if len(shape) != 2:
        raise ValueError(
            f"neighbouring pixels need grey images (height, width), got shape {tuple(shape)}; for colour choose a head "
            "that treats pixels apart, as PixelwiseGaussian, or LowRankGaussian, whose correlations know no neighbours"
        )
    height, width = shape
    return height, width


class Offset(NamedTuple):
    """Where a neighbour stands, relative to the pixel.

    >>> Offset(row=-1, column=0) in window(radius=1)  # the pixel above
    True
    """

    row: int
    column: int


def window(radius: int) -> list[Offset]:
    r"""The :math:`((2r + 1)^2 - 1) / 2` offsets of the neighbours that come before a pixel, in raster order.

    Raises ValueError for a radius below 1.

    >>> [tuple(offset) for offset in window(radius=1)]
    [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    """
    if radius < 1:
        raise ValueError(f"radius must be at least 1, got {radius}; without neighbours use independent pixels")
    return [offset for offset in surroundings(radius) if offset < (0, 0)]


def surroundings(radius: int) -> list[Offset]:
    """The offsets of the whole square around a pixel, itself included.

    >>> len(surroundings(radius=1)), len(surroundings(radius=2))
    (9, 25)
    """
    return [Offset(row, column) for row in range(-radius, radius + 1) for column in range(-radius, radius + 1)]


def shifted(x: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """For images `[N, H, W]`, the neighbour of each pixel at each of K offsets, `[K, N, H, W]`; beyond the border 0.

    >>> x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> shifted(x, [Offset(row=0, column=-1)])  # of each pixel the one to its left
    tensor([[[[0., 1.],
              [0., 3.]]]])
    """
    reach, (height, width) = _reach(offsets), x.shape[-2:]
    padded = pad(x, (reach, reach, reach, reach))
    corners = [(row + reach, column + reach) for row, column in offsets]
    return torch.stack([padded[:, top : top + height, left : left + width] for top, left in corners])


def wavefronts(radius: int, shape: GreyShape) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns of the pixels of each front: those of one front need only pixels of the fronts before it.

    >>> for rows, columns in wavefronts(radius=1, shape=(2, 3)):
    ...     print(list(zip(rows.tolist(), columns.tolist())))
    [(0, 0)]
    [(0, 1)]
    [(0, 2), (1, 0)]
    [(1, 1)]
    [(1, 2)]
    """
    rows, columns = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
    front = columns + (radius + 1) * rows
    for number in range(int(front.max()) + 1):
        yield (front == number).nonzero(as_tuple=True)  # type: ignore[misc]


def near(padded: Tensor, rows: Tensor, columns: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """For P pixels, the neighbours at K offsets, `[K, P, N]`: as `shifted`, from images with N last and zeros around.

    `padded` is `[H + 2 r, W + 2 r, N]`, r the reach of the offsets.

    >>> padded = torch.nn.functional.pad(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), (1, 1, 1, 1))[..., None]
    >>> near(padded, rows=torch.tensor([1]), columns=torch.tensor([1]), offsets=[Offset(-1, 0), Offset(0, -1)])
    tensor([[[2.]],
    <BLANKLINE>
            [[3.]]])
    """
    reach = _reach(offsets)
    down, right = torch.tensor(offsets).T[..., None]  # each [K, 1]
    return padded[rows + reach + down, columns + reach + right]


def _reach(offsets: Sequence[Offset]) -> int:
    """The most lines or columns that an offset goes."""
    return max(abs(part) for offset in offsets for part in offset)


class StructuredNormal(Distribution):
    r"""A Normal over images whose precision has a sparse triangular factor.

    With residual :math:`r = x - \mu` and the coefficients a of a pixel's window N(j),

    .. math:: r_j = \sum_{k \in N(j)} a_{jk} r_k + \sigma_j \epsilon_j,\quad \epsilon \sim N(0, I),
        \qquad L_{jj} = 1 / \sigma_j,\quad L_{jk} = -a_{jk} / \sigma_j

    so that :math:`\epsilon = L r` and the precision is :math:`L^T L`; its log-determinant is
    :math:`-2 \sum_j \ln \sigma_j` (Dorta et al. 2018). Each pixel mixes the R prediction filters of the model,
    :math:`a_{j} = \sum_c g_{jc} f_c`. `mu`, `sigma` `[..., m]`, `gates` `[..., R, m]`, `filters` `[R, r + 1, 2r + 1]`
    that are 0 outside the window. Where gates are shares and each filter's absolute values sum to at most
    :math:`\rho < 1`, no residual exceeds :math:`\max_j |\sigma_j \epsilon_j| / (1 - \rho)`.

    >>> px_z = StructuredGaussian(features=4, shape=(3, 3), radius=1)(torch.randn(5, 4))
    >>> epsilon = torch.randn(5, 9)
    >>> torch.allclose(px_z.whiten(px_z.colour(epsilon)), epsilon, atol=1e-4)  # one is the inverse of the other
    True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False

    def __init__(
        self, *, mu: Tensor, sigma: Tensor, gates: Tensor, filters: Tensor, radius: int, shape: GreyShape
    ) -> None:
        self.mu, self.sigma, self.gates, self.filters = mu, sigma, gates, filters
        self.radius, self.shape = radius, shape
        super().__init__(mu.shape[:-1], mu.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, `[..., m]`."""
        return self.mu

    def whiten(self, x: Tensor) -> Tensor:
        r""":math:`\epsilon = L (x - \mu)`, `[..., m]`, by shifted products."""
        residual = x - self.mu
        neighbours = shifted(residual.reshape(-1, *self.shape), window(self.radius))
        responses = (self.filters @ neighbours.flatten(1)).unflatten(1, (*residual.shape[:-1], -1))  # [R, ..., m]
        predicted = (self.gates * responses.movedim(0, -2)).sum(dim=-2)
        return (residual - predicted) / self.sigma

    def colour(self, epsilon: Tensor) -> Tensor:
        r""":math:`x = \mu + L^{-1} \epsilon`, `[..., m]`, by back-substitution in raster order."""
        shape = torch.broadcast_shapes(epsilon.shape, self.mu.shape)
        scaled = (epsilon * self.sigma).expand(shape).reshape(-1, *self.shape).movedim(0, -1).contiguous()
        gates = self.gates.expand(*shape[:-1], *self.gates.shape[-2:]).reshape(scaled.shape[-1], -1, *self.shape)
        gates = gates.permute(2, 3, 1, 0).contiguous()  # pixels first, images last: what a front reads lies together
        reach = self.radius
        residual = pad(scaled.new_zeros(scaled.shape), (0, 0, reach, reach, reach, reach))
        for rows, columns in wavefronts(reach, self.shape):
            responses = self.filters @ near(residual, rows, columns, window(self.radius)).flatten(1)
            predicted = (gates[rows, columns] * responses.unflatten(1, (len(rows), -1)).movedim(0, 1)).sum(dim=1)
            residual[rows + reach, columns + reach] = scaled[rows, columns] + predicted
        return self.mu + residual[reach:-reach, reach:-reach].movedim(-1, 0).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """ln p(x), batch shape, in nats."""
        epsilon = self.whiten(value)
        normal = -epsilon.square() / 2 - math.log(2 * math.pi) / 2
        return (normal - self.sigma.log()).sum(dim=-1)

    def log_mass(self, x: Tensor, bins: Bins) -> Tensor:
        """ln of an unbiased estimate of P(x), see :func:`mean_density_over_bins`."""
        return mean_density_over_bins(self, x, bins)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Exact draws, `[*sample_shape, ..., m]`."""
        return self.colour(
            torch.randn(self._extended_shape(torch.Size(sample_shape)), dtype=self.mu.dtype, device=self.mu.device)
        )


def mean_density_over_bins(px_z: Distribution, x: Tensor, bins: Bins) -> Tensor:
    r""":math:`\ln p(y) + m \ln w` at a uniform point y of the pixels' bins of width w: ln of an estimate of their mass.

    The estimate is unbiased for :math:`\int p(y)\, dy` over the bins of x `[B, m]`; batch shape, in nats.

    >>> px_z = independent_pixels(torch.zeros(1, 6), floor=1.0)
    >>> estimate = mean_density_over_bins(px_z, torch.zeros(6), Bins(dequantised=True))
    >>> torch.allclose(estimate, px_z.log_prob(torch.zeros(6)) - 6 * math.log(256), atol=1e-3)
    True
    """
    y = bins.uniform(x.expand(*px_z.batch_shape, -1))
    return px_z.log_prob(y) + x.shape[-1] * math.log(bins.width)


class StructuredGaussian(nn.Module):
    r"""`StructuredNormal` with :math:`\mu_x`, :math:`\sigma_x` and the gates from the code; the filters are shared.

    At radius 0 it would be the simple VAE's `PixelwiseGaussian`, whose floor it shares. Gates are a softmax over the
    filters, and a filter is :math:`\rho\, w / (1 + \|w\|_1)`, :math:`\rho` = `GAIN`: samples are bounded. Raises
    ValueError for images in colour, a radius below 1 and a floor that is not positive.

    >>> head = StructuredGaussian(features=4, shape=(3, 3), radius=1)
    >>> head(torch.randn(5, 4)).sample((2,)).shape
    torch.Size([2, 5, 9])
    """

    def __init__(
        self, *, features: int, shape: Shape, radius: int, filters: int = FILTERS, floor: float = DEQUANTISATION_STD
    ) -> None:
        super().__init__()
        self.shape = grey(shape)
        self.floor, self.filters = positive_std("floor", floor), filters
        self.mu = nn.Linear(features, math.prod(shape))
        self.sigma = nn.Linear(features, math.prod(shape))
        self.gates = nn.Sequential(nn.Linear(features, CHOICES), nn.Linear(CHOICES, filters * math.prod(shape)))
        self.radius, neighbours = radius, len(window(radius))
        self.taps = nn.Parameter(torch.randn(filters, neighbours) / neighbours)

    def forward(self, h: Tensor) -> StructuredNormal:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        return StructuredNormal(
            mu=torch.sigmoid(self.mu(h)),
            sigma=self.floor + softplus(self.sigma(h)),
            gates=self.gates(h).unflatten(-1, (self.filters, -1)).softmax(dim=-2),
            filters=GAIN * self.taps / (1 + self.taps.abs().sum(dim=1, keepdim=True)),
            radius=self.radius,
            shape=self.shape,
        )


#: Largest entry of a column, in units of the pixel's own sigma: a precaution, which keeps the matrix that has to be
#: inverted well conditioned in float32.
LARGEST = 5.0


class LowRankGaussian(nn.Module):
    r""":math:`N(\mu_x(z), F(z) F(z)^T + \mathrm{diag}\,\sigma_x(z)^2)`, F of `rank` columns.

    The columns come from a few features of the code, which keeps their cost down, and an entry is at most `LARGEST`
    times the sigma of its pixel: :math:`F_{jc} = \mathrm{LARGEST}\, \sigma_j \tanh(\cdot)`. Raises ValueError for a
    rank below 1 and a floor that is not positive.

    >>> px_z = LowRankGaussian(features=4, shape=(2, 3), rank=2)(torch.randn(5, 4))
    >>> px_z.covariance_matrix.shape, px_z.cov_factor.shape
    (torch.Size([5, 6, 6]), torch.Size([5, 6, 2]))
    """

    def __init__(self, *, features: int, shape: Shape, rank: int, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        if rank < 1 or not floor > 0:
            raise ValueError(f"rank must be at least 1 and floor a positive standard deviation, got {rank} and {floor}")
        self.floor, self.rank = floor, rank
        self.mu = nn.Linear(features, math.prod(shape))
        self.sigma = nn.Linear(features, math.prod(shape))
        self.columns = nn.Sequential(nn.Linear(features, CHOICES), nn.Linear(CHOICES, math.prod(shape) * rank))

    def forward(self, h: Tensor) -> LowRankMultivariateNormal:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        sigma = self.floor + softplus(self.sigma(h))
        columns = LARGEST * torch.tanh(self.columns(h)).unflatten(-1, (-1, self.rank)) * sigma.unsqueeze(-1)
        return LowRankMultivariateNormal(torch.sigmoid(self.mu(h)), columns, sigma.square(), validate_args=False)
