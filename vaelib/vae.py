r"""The VAE: a prior over z, a likelihood of x given z, and an approximate posterior of z given x."""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.data import Shape
from vaelib.networks import HIDDEN, DecoderBody, Encoder
from vaelib.priors import StandardNormal

#: What makes a module from numbers that it takes by keyword: its class, or a `partial` of it.
Maker = Callable[..., nn.Module]


class VAE(nn.Module):
    r"""Three distributions: :math:`p(z)`, :math:`p_\theta(x|z)`, :math:`q_\varphi(z|x)` (Figure 5.2).

    `encoder` maps x to q(z|x); `decoder` maps z to features and `head` the features to p(x|z); `code_prior`, called
    without arguments, is p(z), by default N(0, I). Raises ValueError for a latent_dim below 1.

    >>> from vaelib.networks import DecoderBody, Encoder
    >>> encoder, decoder = Encoder(pixels=6, latent_dim=2, hidden=4), DecoderBody(latent_dim=2, hidden=4)
    >>> head = PixelwiseGaussian(features=4, shape=(2, 3))
    >>> vae = VAE(encoder=encoder, decoder=decoder, head=head, latent_dim=2)
    >>> z = vae.posterior(torch.rand(5, 6)).rsample()
    >>> z.shape, vae.likelihood(z).log_prob(torch.rand(5, 6)).shape
    (torch.Size([5, 2]), torch.Size([5]))

    Any modules will do. Images are flat, x `[B, m]`. The encoder returns a distribution over z with event `[d]`
    (`vaelib.networks.diagonal_normal` makes one), the head one over x with event `[m]`, the decoder whatever the head
    reads. Decoder and head keep the dimensions before z, which with K draws is `[K, B, d]`; convolutions want one, so a
    convolutional decoder folds them:

    .. code-block:: python

        class ConvEncoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(
                    nn.Unflatten(-1, (3, 32, 32)), nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(), nn.Flatten(-3)
                )
                self.out = nn.Linear(16 * 8 * 8, 2 * 10)

            def forward(self, x):
                mu, raw_sigma = self.out(self.body(x)).chunk(2, dim=-1)
                return diagonal_normal(mu, nn.functional.softplus(raw_sigma))


        class ConvDecoder(nn.Sequential):
            def __init__(self):
                super().__init__(
                    nn.Linear(10, 16 * 8 * 8), nn.Unflatten(-1, (16, 8, 8)), nn.ConvTranspose2d(16, 8, 4, stride=4),
                    nn.ReLU(), nn.Flatten(-3),
                )

            def forward(self, z):
                return super().forward(z.flatten(0, -2)).unflatten(0, z.shape[:-1])


        head = PixelwiseGaussian(features=8 * 32 * 32, shape=(3, 32, 32))
        vae = VAE(encoder=ConvEncoder(), decoder=ConvDecoder(), head=head, latent_dim=10)
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        latent_dim: int,
        code_prior: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.code_prior = code_prior or StandardNormal(latent_dim=latent_dim)
        self.latent_dim = latent_dim

    @property
    def prior(self) -> Distribution:
        """p(z), event `[d]`."""
        return self.code_prior()

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) for x `[B, m]`, batch `[B]`, event `[d]`."""
        return self.encoder(x)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) for z `[..., d]`, batch `[...]`, event `[m]`."""
        return self.head(self.decoder(z))


def mlp_vae(*, shape: Shape, latent_dim: int, head: Maker, prior: Maker = StandardNormal, hidden: int = HIDDEN) -> VAE:
    """The networks of the chapter, m-hidden-d-hidden-m with ReLU, for images of any shape.

    `shape` is (height, width) for grey images and (channels, height, width) for colour, m its product. `head` makes the
    likelihood from `features` and `shape`, `prior` the distribution of codes from `latent_dim`: classes of
    `vaelib.likelihoods` and `vaelib.priors`, or a `partial` of one that takes more. Weights come from torch's global
    generator. Raises ValueError for a latent_dim below 1, and where the head does not take images of this shape.

    >>> vae = mlp_vae(shape=(3, 8, 8), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> vae.likelihood(vae.prior.sample((5,))).event_shape
    torch.Size([192])
    """
    return VAE(
        encoder=Encoder(pixels=math.prod(shape), latent_dim=latent_dim, hidden=hidden),
        decoder=DecoderBody(latent_dim=latent_dim, hidden=hidden),
        head=head(features=hidden, shape=shape),
        latent_dim=latent_dim,
        code_prior=prior(latent_dim=latent_dim),
    )
