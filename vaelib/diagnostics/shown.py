r"""The picture that is shown, as a distribution over the 256 grey levels, and what coding it costs.

A draw of a Gaussian is shown cut to [0, 1] and rounded to a level: whatever lies below the first bin becomes black, and
whatever lies above the last one white. The picture therefore has a distribution whose 256 masses sum to one for every
pixel, while the density of `vaelib.diagnostics.bits` loses its tails. Both are models of the same numbers; this one is
the model of the pictures.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from vaelib.data import LEVELS, Bins
from vaelib.diagnostics.bits import log_mass
from vaelib.likelihoods.discretised import HALF_LEVEL, DiscretisedNormal, quantise
from vaelib.vae import VAE

LogMass = Callable[[Distribution, Tensor, Bins], Tensor]
#: The share of its probability that a coder gives to an escape, a uniform distribution over all images.
ESCAPE = 2.0**-10


def gathered_ends(pixels: Normal, x: Tensor, bins: Bins) -> tuple[Tensor, Tensor]:
    r"""The standardised ends a, b of each pixel's bin; the first bin reaches down without end, the last one up.

    >>> lower, upper = gathered_ends(Normal(0.0, 1.0), torch.tensor([0.0, 1.0]), Bins(dequantised=True))
    >>> lower, 256 * upper
    (tensor([  -inf, 0.9961]), tensor([1., inf]))
    """
    lower = (bins.lower(x) - pixels.loc) / pixels.scale
    upper = lower + bins.width / pixels.scale
    return torch.where(x < HALF_LEVEL, -torch.inf, lower), torch.where(x > 1 - HALF_LEVEL, torch.inf, upper)


def shown_normal_log_mass(pixels: Normal, x: Tensor, bins: Bins) -> Tensor:
    r""":math:`\ln(\Phi(b) - \Phi(a))` in nats, a and b the standardised ends of each pixel's bin, tails gathered.

    >>> x, pixels = torch.arange(256) / 255, Normal(torch.zeros(256), torch.ones(256))
    >>> mass = shown_normal_log_mass(pixels, x, Bins(dequantised=True)).exp()
    >>> round(mass.sum().item(), 4), bool(mass[0] > 0.5)  # half of N(0, 1) is cut to black
    (1.0, True)
    """
    return DiscretisedNormal.log_between(*gathered_ends(pixels, x, bins))


def shown_log_mass(px_z: Distribution, x: Tensor, bins: Bins) -> Tensor:
    """ln P(x|z) of the picture that is shown, x `[B, m]` of levels over 255; batch shape, in nats.

    Independent Normals gather their tails. For all others that of `log_mass`: distributions over levels and the
    continuous Bernoulli have no tails to gather, and correlated Normals, whose masses are only estimated, go on losing
    theirs, which counts against them. Raises TypeError where there is no density on pixels.

    >>> x, px_z = torch.zeros(1, 6), PixelwiseGaussian(features=4, shape=(2, 3))(torch.randn(1, 4))
    >>> bins = Bins(dequantised=True)
    >>> bool(shown_log_mass(px_z, x, bins) > log_mass(px_z, x, bins))  # black pixels: what was lost below 0 is back
    True
    """
    if isinstance(px_z, Independent):
        return shown_log_mass(px_z.base_dist, x, bins).sum(dim=-1).to(x)
    if isinstance(px_z, Normal):
        return shown_normal_log_mass(px_z, x, bins)
    return log_mass(px_z, x, bins)


class Weighted(NamedTuple):
    """An importance-weighted probability of each image, `[B]`, and how many draws of z it rests on.

    >>> Weighted(log_px=torch.tensor([-3.0]), effective=torch.tensor([5.0])).log_px
    tensor([-3.])
    """

    log_px: Tensor
    """:math:`\\ln \\frac1k \\sum_i w_i`, in nats: on average a lower bound of ln P(x)."""
    effective: Tensor
    """The effective sample size of the weights, between 1 and k."""


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r""":math:`1 / \sum_i \tilde w_i^2` of normalised weights :math:`\tilde w_i = w_i / \sum_j w_j`, `[k, B]` to `[B]`.

    k where all weights are equal, as with q(z|x) = p(z|x); 1 where one draw has all the weight, and the estimate says
    little (Kong 1992).

    >>> effective_sample_size(torch.zeros(7, 1)).round(), effective_sample_size(torch.tensor([[0.0], [-100.0]]))
    (tensor([7.]), tensor([1.]))
    """
    return (2 * log_weights.logsumexp(dim=0) - (2 * log_weights).logsumexp(dim=0)).exp()


def weighted_probability(
    vae: VAE,
    x: Tensor,
    *,
    dequantised: bool,
    samples: int,
    mass: LogMass,
    posterior: Distribution | None = None,
) -> Weighted:
    r""":math:`\frac1k \sum_i \frac{p(z_i) P(x|z_i)}{q(z_i|x)}`, :math:`z_i \sim q(z|x)`, k = `samples`.

    `mass` is how P(x|z) is counted: `log_mass` for the density, `shown_log_mass` for the picture. x `[B, m]` are levels
    over 255; raises ValueError where they are none, and for samples below 1. A model of dequantised pixels encodes one
    dequantised copy of the image. `posterior`, in the place of the encoder's q(z|x), is one for these images, such as
    :func:`vaelib.readings.local_posterior` fits.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), quantise(torch.rand(5, 6))
    >>> with torch.no_grad():
    ...     found = weighted_probability(vae, x, dequantised=True, samples=50, mass=shown_log_mass)
    >>> found.log_px.shape, bool((found.effective <= 50.01).all())
    (torch.Size([5]), True)
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not torch.allclose(x, quantise(x), rtol=0, atol=1e-3 / LEVELS):
        raise ValueError(f"bits are those of 256 levels, got {x.min():g} to {x.max():g}; give quantise(x)")
    bins = Bins(dequantised=dequantised)
    qz_x = posterior or vae.posterior(bins.uniform(x) if dequantised else x)
    z = qz_x.sample((samples,))
    log_weights = vae.prior.log_prob(z) + mass(vae.likelihood(z), x, bins) - qz_x.log_prob(z)  # [k, B]
    return Weighted(log_weights.logsumexp(dim=0) - math.log(samples), effective_sample_size(log_weights))


def bits(log_px: Tensor, *, pixels: int) -> Tensor:
    r""":math:`-\log_2 P(x) / m`, `[B]`, from ln P(x) in nats and m = `pixels`.

    >>> bits(torch.tensor([-6 * math.log(256)]), pixels=6).round(decimals=3)
    tensor([8.])
    """
    return -log_px / (pixels * math.log(2))


def escape_bits(log_px: Tensor, *, pixels: int, escape: float = ESCAPE) -> Tensor:
    r""":math:`-\frac1m \log_2\big((1 - \epsilon) P(x) + \epsilon\, 256^{-m}\big)`, `[B]`, :math:`\epsilon` = `escape`.

    The bits of a coder that mixes the model with a uniform distribution over images, as any coder would: an image that
    the model did not expect costs :math:`8 - \log_2(\epsilon) / m` bits per pixel and no more, every other one
    :math:`-\log_2(1 - \epsilon) / m` more than under the model. Raises ValueError for a share outside of (0, 1).

    >>> escape_bits(torch.tensor([-torch.inf]), pixels=784)  # 8 + 10/784
    tensor([8.0128])
    """
    if not 0 < escape < 1:
        raise ValueError(f"escape must be a share between 0 and 1, got {escape}")
    uniform = torch.full_like(log_px, math.log(escape) - pixels * math.log(LEVELS))
    return bits(torch.logaddexp(log_px + math.log1p(-escape), uniform), pixels=pixels)
