r"""One measure for every model that is a distribution: bits per dimension of 8-bit images.

An image is m levels of 256. Its probability under a model is

- that of its levels, where the likelihood is one over levels;
- the mass of its bins, where p(x|z) is a density with independent pixels: exact given z. What the density puts beyond
  the first and the last bin is lost to it;
- where pixels are correlated, the mean density over its bins, estimated at one uniform point of each pixel's bin: a
  lower bound once the logarithm is taken (Theis et al. 2016, Ho et al. 2019).

The integral over z, and over these points, is importance-weighted with q(z|x) (Burda et al. 2016): with k draws the
number is an upper bound on the bits, tighter with every draw.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Distribution, Independent, LowRankMultivariateNormal, Normal

from vaelib.data import LEVELS, Bins
from vaelib.likelihoods.correlated import mean_density_over_bins
from vaelib.likelihoods.discretised import DiscretisedNormal, quantise
from vaelib.vae import VAE


def normal_log_mass(pixels: Normal, x: Tensor, bins: Bins) -> Tensor:
    r""":math:`\ln(\Phi(b) - \Phi(a))` in nats, a and b the standardised ends of each pixel's bin; of any shape.

    >>> x, pixels = torch.arange(256) / 255, Normal(torch.zeros(256), torch.ones(256))
    >>> mass = normal_log_mass(pixels, x, Bins(dequantised=True)).exp()
    >>> round(mass.sum().item(), 4)  # of N(0, 1) between 0 and 1
    0.3413
    """
    lower = (bins.lower(x) - pixels.loc) / pixels.scale
    return DiscretisedNormal.log_between(lower, lower + bins.width / pixels.scale)


def continuous_bernoulli_log_mass(pixels: ContinuousBernoulli, x: Tensor, bins: Bins) -> Tensor:
    """ln of the integral over one of 256 bins of [0, 1], its support, whatever `bins`, of each pixel; in float64.

    Its density is exponential in x: the mass of a bin by its distance from the likelier end, stable everywhere.

    >>> x, bins = torch.arange(256) / 255, Bins(dequantised=True)
    >>> pixels = ContinuousBernoulli(logits=torch.tensor(3.0))
    >>> round(continuous_bernoulli_log_mass(pixels, x, bins).exp().sum().item(), 6)
    1.0
    """
    unit = Bins(dequantised=True)
    logits, lower = pixels.logits.double(), unit.lower(x.double())
    rate = logits.abs().clamp(min=1e-9)
    distance = torch.where(logits > 0, 1 - unit.width - lower, lower)
    return (torch.expm1(-rate * unit.width) / torch.expm1(-rate)).log() - rate * distance


#: The masses of torch's own distributions; ours have a method `log_mass`, as another likelihood's may.
LOG_MASS: dict[type[Distribution], Callable[..., Tensor]] = {
    Normal: normal_log_mass,
    ContinuousBernoulli: continuous_bernoulli_log_mass,
    LowRankMultivariateNormal: mean_density_over_bins,
}


def log_mass(px_z: Distribution, x: Tensor, bins: Bins) -> Tensor:
    """ln P(x|z) of images x `[B, m]` of levels over 255, or an unbiased estimate of P(x|z); batch shape, in nats.

    Raises TypeError for a likelihood that is no density on the pixels, as the Bernoulli on grey levels.

    >>> x, head = torch.zeros(5, 6), ContinuousBernoulliPixels(features=4, shape=(2, 3))
    >>> with torch.no_grad():
    ...     _ = [parameter.zero_() for parameter in head.parameters()]  # every pixel uniform on [0, 1]
    ...     nats = -log_mass(head(torch.randn(5, 4)), x, Bins(dequantised=True))
    >>> (nats / 6 / math.log(2)).round(decimals=3)  # bits of a pixel
    tensor([8., 8., 8., 8., 8.])
    """
    if isinstance(px_z, Independent):
        return log_mass(px_z.base_dist, x, bins).sum(dim=-1).to(x)
    if hasattr(px_z, "log_mass"):
        return px_z.log_mass(x, bins)
    if type(px_z) in LOG_MASS:
        return LOG_MASS[type(px_z)](px_z, x, bins)
    raise TypeError(f"{px_z} is no density on pixels: it has no method log_mass(x, bins), and no entry in LOG_MASS")


def bits_per_dimension(vae: VAE, x: Tensor, *, dequantised: bool, samples: int) -> Tensor:
    r""":math:`-\frac{1}{m \ln 2} \ln \frac1k \sum_{i=1}^k \frac{p(z_i) P(x|z_i)}{q(z_i|x)}`, `[B]`, in bits per pixel.

    For images x `[B, m]` of levels over 255 and k = `samples` draws :math:`z_i \sim q(z|x)`; the expected value is an
    upper bound on the bits of ln P(x). A model of dequantised pixels encodes one dequantised copy of the image. Raises
    ValueError where x are no levels over 255, and TypeError where p(x|z) is no density on pixels.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=ContinuousBernoulliPixels, hidden=4)
    >>> with torch.no_grad():
    ...     _ = [parameter.zero_() for parameter in vae.head.parameters()]  # every pixel uniform on [0, 1]
    ...     bits = bits_per_dimension(vae, quantise(torch.rand(5, 6)), dequantised=True, samples=1000)
    >>> bits.round()
    tensor([8., 8., 8., 8., 8.])
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not torch.allclose(x, quantise(x), rtol=0, atol=1e-3 / LEVELS):
        raise ValueError(
            f"bits are those of 256 levels, got {x.min():g} to {x.max():g}; give x before dequantise, or quantise(x)"
        )
    bins = Bins(dequantised=dequantised)
    qz_x = vae.posterior(bins.uniform(x) if dequantised else x)
    z = qz_x.sample((samples,))
    log_weights = vae.prior.log_prob(z) + log_mass(vae.likelihood(z), x, bins) - qz_x.log_prob(z)  # [k, B]
    log_px = torch.logsumexp(log_weights, dim=0) - math.log(samples)
    return -log_px / (x.shape[-1] * math.log(2))
