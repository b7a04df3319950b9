r"""One yardstick for every model that is a distribution: bits per dimension of the 8-bit images.

An image is 784 levels of 256. Its probability under a model is

- that of its levels, where the likelihood is one over levels;
- the mass of its bins, where p(x|z) is a density with independent pixels: exact given z. What the density puts beyond
  the first and the last bin is lost to it;
- where pixels are correlated, the mean density over its bins, estimated at one uniform point of each pixel's bin: a
  lower bound once the logarithm is taken (Theis et al. 2016, Ho et al. 2019).

The integral over z, and over these points, is importance-weighted with q(z|x) (Burda et al. 2016): with k draws the
number is an upper bound on the bits, tighter with every draw.
"""

import math

import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Distribution, Independent, LowRankMultivariateNormal, Normal

from vaelib.data import LEVELS
from vaelib.likelihoods.autoregressive import NeighbourhoodPixels
from vaelib.likelihoods.correlated import StructuredNormal
from vaelib.likelihoods.discretised import Discretised, DiscretisedNormal
from vaelib.vae import VAE


class Bins:
    """The bin of each level on the scale on which a model sees pixels."""

    def __init__(self, *, dequantised: bool) -> None:
        #: Dequantised pixels are (level + u) / 256; others are level / 255, the middle of their bin.
        self.width = 1 / LEVELS if dequantised else 1 / (LEVELS - 1)
        self.first = 0.0 if dequantised else -self.width / 2

    def lower(self, x: Tensor) -> Tensor:
        """The lower end of each pixel's bin, for images x of levels over 255."""
        return self.first + (x * (LEVELS - 1)).round() * self.width

    def uniform(self, x: Tensor) -> Tensor:
        """A uniform point of each pixel's bin."""
        return self.lower(x) + self.width * torch.rand_like(x)


def log_mass(px_z: Distribution, x: Tensor, bins: Bins) -> Tensor:
    """ln P(x|z) of images x `[B, m]` of levels over 255, or an unbiased estimate of P(x|z); batch shape, in nats.

    Raises TypeError for a likelihood that is no density on the pixels, as the Bernoulli on grey levels.
    """
    if isinstance(px_z, NeighbourhoodPixels) or (
        isinstance(px_z, Independent) and isinstance(px_z.base_dist, Discretised)
    ):
        return px_z.log_prob(x)
    if isinstance(px_z, StructuredNormal | LowRankMultivariateNormal):
        y = bins.uniform(x.expand(*px_z.batch_shape, -1))
        return px_z.log_prob(y) + x.shape[-1] * math.log(bins.width)
    if isinstance(px_z, Independent) and isinstance(px_z.base_dist, Normal):
        loc, scale = px_z.base_dist.loc, px_z.base_dist.scale
        lower = (bins.lower(x) - loc) / scale
        return DiscretisedNormal.log_mass(lower, lower + bins.width / scale).sum(dim=-1)
    if isinstance(px_z, Independent) and isinstance(px_z.base_dist, ContinuousBernoulli):
        unit = Bins(dequantised=True)  # its support is [0, 1], cut into 256 bins
        # Its density is exponential in x: the mass of a bin by its distance from the likelier end, stable everywhere.
        logits, lower = px_z.base_dist.logits.double(), unit.lower(x.double())
        rate = logits.abs().clamp(min=1e-9)
        distance = torch.where(logits > 0, 1 - unit.width - lower, lower)
        log_share = (torch.expm1(-rate * unit.width) / torch.expm1(-rate)).log()
        return (log_share - rate * distance).sum(dim=-1).to(x)
    raise TypeError(f"{px_z} is no density on pixels")


def bits_per_dimension(vae: VAE, x: Tensor, *, dequantised: bool, samples: int) -> Tensor:
    r""":math:`-\frac{1}{m \ln 2} \ln \frac1k \sum_{i=1}^k \frac{p(z_i) P(x|z_i)}{q(z_i|x)}`, `[B]`, in bits per pixel.

    For images x `[B, m]` of levels over 255 and k = `samples` draws :math:`z_i \sim q(z|x)`; the expected value is an
    upper bound on the bits of ln P(x). A model of dequantised pixels encodes one dequantised copy of the image.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    bins = Bins(dequantised=dequantised)
    qz_x = vae.posterior(bins.uniform(x) if dequantised else x)
    z = qz_x.sample((samples,))
    log_weights = vae.prior.log_prob(z) + log_mass(vae.likelihood(z), x, bins) - qz_x.log_prob(z)  # [k, B]
    log_px = torch.logsumexp(log_weights, dim=0) - math.log(samples)
    return -log_px / (x.shape[-1] * math.log(2))
