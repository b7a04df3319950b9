r"""Drawing images from the model, and decoding given codes. All draws come from torch's global generator."""

from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.data import Images
from vaelib.vae import VAE


@torch.no_grad()
def ancestral_sampling(vae: VAE, n: int) -> Tensor:
    r"""Algorithm 6: x `[n, m]` drawn from p(x) by way of p(z) and p(x|z).

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> ancestral_sampling(vae, 5).shape
    torch.Size([5, 6])
    """
    z = vae.prior.sample((n,))  # 1) sample z from N(0, I)
    theta = vae.likelihood(z)  # 2) process z through the network to get mu_x(z) and sigma_x(z)
    x = theta.sample()  # 3) sample x from N(mu_x(z), sigma_x(z))
    return x  # 4) return x


@torch.no_grad()
def deterministic_sampling(vae: VAE, n: int) -> Tensor:
    r"""Algorithm 7: the means :math:`\mu_x(z)`, `[n, m]`; after one seed, of the z that Algorithm 6 draws.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> with seeded(0):
    ...     noisy = ancestral_sampling(vae, 1000)
    >>> with seeded(0):
    ...     means = deterministic_sampling(vae, 1000)
    >>> bool(means.var(dim=0).sum() < noisy.var(dim=0).sum())  # what the observation adds is missing
    True
    """
    z = vae.prior.sample((n,))  # 1) sample z from N(0, I)
    theta = vae.likelihood(z)  # 2) process z through the network to get mu_x(z) and sigma_x(z)
    return theta.mean  # 3) return mu_x(z)


@torch.no_grad()
def quantile_images(vae: VAE, n: int, *, alpha: float) -> Tensor:
    r""":math:`\mu_x(z) + \alpha\,\sigma_x(z)`, `[n, m]`: every pixel at its quantile :math:`\Phi(\alpha)`.

    Algorithm 7 at alpha = 0; after one seed, of the same z for every alpha. Not confined to [0, 1].

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> with seeded(0):
    ...     medians = quantile_images(vae, 5, alpha=0.0)
    >>> with seeded(0):
    ...     brighter = quantile_images(vae, 5, alpha=1.0)
    >>> bool((medians < brighter).all())
    True
    """
    theta = vae.likelihood(vae.prior.sample((n,)))
    return theta.mean + alpha * theta.stddev


@torch.no_grad()
def reconstructions(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`\mu_x(\mu_z(x))`, `[B, m]`: the mean image of the mean code of x `[B, m]`.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), torch.rand(5, 6)
    >>> torch.equal(reconstructions(vae, x), reconstructions(vae, x))  # nothing is drawn
    True
    """
    return vae.likelihood(vae.posterior(x).mean).mean


@torch.no_grad()
def sampled_codes(vae: VAE, x: Tensor) -> Tensor:
    r""":math:`z \sim q(z|x)`, `[B, d]`, one draw for each image of x `[B, m]`.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), torch.rand(5, 6)
    >>> sampled_codes(vae, x).shape
    torch.Size([5, 2])
    """
    return vae.posterior(x).sample()


class Plane(NamedTuple):
    """What a two-dimensional latent space looks like: codes and labels of images, and the decoded plane.

    >>> plane = Plane(z=torch.randn(5, 2), labels=None, grid=torch.rand(4, 4, 6))
    >>> plane.grid[0, 0].shape  # the image at the top left: z_1 low, z_2 high
    torch.Size([6])
    """

    z: Tensor
    """Codes `[N, 2]`, one draw from each q(z|x)."""
    labels: Tensor | None
    """`[N]`."""
    grid: Tensor
    """`decoded_grid`, `[side, side, m]`."""


def latent_plane(vae: VAE, images: Images, *, side: int = 15) -> Plane:
    """Codes of the images and the decoded plane, `side` images to a side; latent dimension 2 only.

    Raises ValueError for another.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> plane = latent_plane(vae, load(torch.rand(10, 2, 3)).test, side=4)
    >>> plane.z.shape, plane.grid.shape
    (torch.Size([2, 2]), torch.Size([4, 4, 6]))
    """
    return Plane(sampled_codes(vae, images.images), images.labels, decoded_grid(vae, side=side))


@torch.no_grad()
def decoded_grid(vae: VAE, *, side: int) -> Tensor:
    r""":math:`\mu_x(z)` `[side, side, m]` on a grid of z in the plane; latent dimension 2 only.

    The grid runs through the quantiles of N(0, 1), 1/(2 side), 3/(2 side), ..., so that each node stands for an equal
    share of the prior; the first axis is z_2 from high to low, the second z_1 from low to high. Raises ValueError for
    another latent dimension.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> at_0 = vae.likelihood(torch.zeros(2)).mean
    >>> torch.allclose(decoded_grid(vae, side=5)[2, 2], at_0)  # in the middle stands the median of the prior
    True
    """
    if vae.latent_dim != 2:
        raise ValueError(f"a grid in the plane needs latent dimension 2, this model has {vae.latent_dim}")
    shares = (torch.arange(side) + 0.5) / side
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(shares).to(next(vae.parameters()))
    z_2, z_1 = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return vae.likelihood(torch.stack((z_1, z_2), dim=-1)).mean
