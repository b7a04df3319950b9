r"""The variance budget of a model: what the code explains, what the observation adds, and how much of it is shared.

Law of total variance, summed over pixels: :math:`\sum_j \mathrm{Var}\,x_j = \sum_j \mathrm{Var}_z\,E[x_j|z] + \sum_j
E_z\,\mathrm{Var}[x_j|z]`. Both parts are measured on pairs of draws from each p(x|z), which needs no closed form: two
draws with one code share what the code explains, and nothing else.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.vae import VAE


class Budget(NamedTuple):
    """Variances, summed over pixels, on the scale of grey levels in [0, 1].

    >>> Budget(explained=3.0, noise=1.0).total
    4.0
    """

    explained: float
    """:math:`\\sum_j \\mathrm{Var}_z\\,E[x_j|z]`."""
    noise: float
    """:math:`\\sum_j E_z\\,\\mathrm{Var}[x_j|z]`."""

    @property
    def total(self) -> float:
        """All the variance that the model has."""
        return self.explained + self.noise


@torch.no_grad()
def variance_budget(vae: VAE, z: Tensor) -> Budget:
    r"""The budget over codes z `[N, d]`, drawn from the prior or from the aggregate posterior.

    With two draws x, x' for each code, :math:`E_z \mathrm{Var}[x_j|z] = \frac12 E (x_j - x'_j)^2` and
    :math:`\mathrm{Var}_z E[x_j|z] = \mathrm{Cov}(x_j, x'_j)`.

    >>> from vaelib.linear import linear_vae
    >>> vae = linear_vae(pixels=6, latent_dim=2, sigma=0.5)
    >>> budget = variance_budget(vae, torch.randn(10_000, 2))
    >>> round(budget.noise, 1)  # 6 pixels of variance 0.25
    1.5
    """
    first, second = vae.likelihood(z).sample((2,)).double()
    noise = (first - second).square().mean(dim=0).sum() / 2
    explained = ((first - first.mean(dim=0)) * (second - second.mean(dim=0))).mean(dim=0).sum()
    return Budget(explained=explained.item(), noise=noise.item())


class ErrorSplit(NamedTuple):
    """What the variance of the images is made of, summed over pixels, for one mean image each.

    >>> ErrorSplit(explained=3.0, squared_error=2.0, cross=1.0, bias=1.0).total  # the bias is in the squared error
    5.0
    """

    explained: float
    """:math:`\\sum_j \\mathrm{Var}\\, \\mu_j`."""
    squared_error: float
    """:math:`E \\|x - \\mu\\|^2`."""
    cross: float
    """:math:`2 \\sum_j \\mathrm{Cov}(\\mu_j, x_j - \\mu_j)`, 0 where mu is a conditional mean."""
    bias: float
    """:math:`\\|E (x - \\mu)\\|^2`, 0 there too."""

    @property
    def total(self) -> float:
        """The variance of the images."""
        return self.explained + self.squared_error + self.cross - self.bias


def error_split(x: Tensor, mean: Tensor) -> ErrorSplit:
    r"""The variance of images x `[N, m]` by their mean images `[N, m]`: an identity, whatever these are.

    .. math:: \sum_j \mathrm{Var}\, x_j = \sum_j \mathrm{Var}\, \mu_j + E \|x - \mu\|^2
        + 2 \sum_j \mathrm{Cov}(\mu_j, x_j - \mu_j) - \|E(x - \mu)\|^2

    With :math:`\mu = E[x|z]` the last two vanish: what is explained is the variance less the squared error.

    >>> x, mean = torch.randn(50, 3).double(), torch.randn(50, 3).double()
    >>> torch.isclose(torch.tensor(error_split(x, mean).total).double(), x.var(dim=0, correction=0).sum())
    tensor(True)
    """
    x, mean = x.double(), mean.double()
    residual, centred = x - mean, mean - mean.mean(dim=0)
    return ErrorSplit(
        explained=centred.square().mean(dim=0).sum().item(),
        squared_error=residual.square().mean(dim=0).sum().item(),
        cross=2 * (centred * residual).mean(dim=0).sum().item(),
        bias=residual.mean(dim=0).square().sum().item(),
    )


def covariance_share(x: Tensor) -> float:
    r"""Share of :math:`\mathrm{Var}(\sum_j x_j)` that is covariance of pixels, for images `[N, m]` (equation 5.7).

    .. math:: \frac{\sum_{i \neq j} \mathrm{Cov}(x_i, x_j)}{\mathrm{Var}(\sum_j x_j)}
        = 1 - \frac{\sum_j \mathrm{Var}(x_j)}{\mathrm{Var}(\sum_j x_j)}

    0 for independent pixels, below 1, and negative where pixels make up for one another.

    >>> covariance_share(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # one pixel, twice
    0.5
    >>> covariance_share(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))  # independent
    0.0
    """
    x = x.double()
    return (1 - x.var(dim=0).sum() / x.sum(dim=1).var()).item()


def pixel_covariance(x: Tensor) -> float:
    r""":math:`\sum_{i \neq j} \mathrm{Cov}(x_i, x_j)`, the second sum of equation 5.7, for images `[N, m]`.

    >>> pixel_covariance(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # one pixel, twice: 2 * 0.5
    1.0
    """
    x = x.double()
    return (x.sum(dim=1).var() - x.var(dim=0).sum()).item()


def neighbour_correlation(x: Tensor, *, shape: tuple[int, ...]) -> float:
    r"""Covariance of neighbouring pixels, across and down, over their variance, for grey images `[N, m]`.

    .. math:: \frac{2 \sum_{i \sim j} \mathrm{Cov}(x_i, x_j)}{\sum_{i \sim j} (\mathrm{Var}\,x_i + \mathrm{Var}\,x_j)}

    0 for independent pixels, 1 where all are equal. Raises ValueError for images of another shape than two sides.

    >>> neighbour_correlation(torch.tensor([[0.0] * 4, [1.0] * 4]), shape=(2, 2))
    1.0
    """
    if len(shape) != 2:
        raise ValueError(f"neighbours are those of grey images with two sides, not of the shape {shape}")
    picture = (x.double() - x.double().mean(dim=0)).reshape(-1, *shape)
    pairs = [(picture[:, 1:], picture[:, :-1]), (picture[:, :, 1:], picture[:, :, :-1])]
    shared = sum((one * other).sum().item() for one, other in pairs)
    return shared / sum((one.square() + other.square()).sum().item() / 2 for one, other in pairs)


@torch.no_grad()
def residual_draws(vae: VAE, z: Tensor, *, pairs: int = 1) -> Tensor:
    r"""Residuals as the model has them, `[pairs * N, m]`: :math:`(x - x') / \sqrt 2` of two draws for a code.

    Their covariance is that of p(x|z), averaged over the codes z `[N, d]`. More pairs for each code leave less Monte
    Carlo error, which is large where a few codes have most of the noise.

    >>> from vaelib.linear import linear_vae
    >>> residuals = residual_draws(linear_vae(pixels=6, latent_dim=2, sigma=0.5), torch.randn(10, 2), pairs=1000)
    >>> residuals.shape, round(residuals.std().item(), 1)
    (torch.Size([10000, 6]), 0.5)
    """
    first, second = vae.likelihood(z.repeat(pairs, 1)).sample((2,))
    return (first - second) / 2**0.5
