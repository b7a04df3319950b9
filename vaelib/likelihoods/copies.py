r"""A noisy copy of the image between the code and the pixels: z says what the copy is, the copy what each pixel is.

A mean image with noise around it is a poor picture, and noise that everybody leaves out when pictures are shown is no
model of what is left out. Here the noisy image is a latent variable y of its own, of the size of the image:

.. math:: p(z)\; p(y|z)\; P(x|y),\qquad p(y|z) = N(\mu(z), (v + s^2) I),
    \qquad q(y, z|x) = q(z|x)\; N(y; x, s^2 I)

q says that y is the image under noise of a fixed standard deviation s; P(x|y) is the network of
`vaelib.likelihoods.autoregressive` on the neighbourhood of each pixel in y, which takes the noise away again.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from vaelib.data import Bins, Shape
from vaelib.errors import positive_std
from vaelib.likelihoods.autoregressive import FEATURES, LocalNetwork, NeighbourhoodPixels
from vaelib.likelihoods.correlated import GreyShape, grey
from vaelib.likelihoods.gaussian import CalibratedGaussian
from vaelib.networks import diagonal_normal
from vaelib.seeding import seeded

#: Draws behind the mean of an image, and the seed that they always have.
MEAN_DRAWS, MEAN_SEED = 64, 0
#: Where the raw scales of the mixture start: at four grey levels. From wider ones, training ends now and then without a
#: component for the narrow peak at white, 100 nats an image lower.
NARROW = -4.0


class NoisyCopyPixels(Distribution):
    r""":math:`P(x|z) = \int p(y|z)\, P(x|y)\, dy` over images of 256 levels, y a noisy copy of x.

    With y drawn from :math:`q(y|x) = N(x, s^2 I)`, one draw gives

    - :meth:`log_prob`, :math:`\ln P(x|y) + \ln p(y|z) - \ln q(y|x)`: the logarithm of an unbiased estimate of P(x|z),
      so below :math:`\ln P(x|z)` on average, and what importance weights need; they have a variance where
      :math:`s^2 > v`, whatever P(x|y) is;
    - :meth:`bound_nats`, the same with the last two terms averaged over y, which has less noise, and less of it in its
      gradient. They are minus the divergence of two Normals (:meth:`divergence_nats`),

    .. math:: -KL(q(y|x) \| p(y|z)) = -\frac m2 \ln\Big(1 + \frac{v}{s^2}\Big)
        - \frac{m s^2 + \|x - \mu\|^2}{2 (v + s^2)} + \frac m2

    Its mean over images and codes is greatest, in v, where v is the mean squared error of a pixel,
    :math:`v = E \|x - \mu\|^2 / m`, and there the last two terms cancel: what a copy costs is
    :math:`\frac m2 \ln(1 + v / s^2)` nats an image.

    `mu` is `[..., m]`; the event is the image, flat, of height and width `shape`. The mean has no closed form: it is
    that of `MEAN_DRAWS` draws under a fixed seed, so its squared error is too high by a 64th of the variance.

    >>> levels = (torch.arange(256) / 255)[:, None]
    >>> px_z = NoisyCopyPixels(
    ...     torch.full((1,), 0.5), LocalNetwork(radius=1), shape=(1, 1), noise=0.3, variance=torch.tensor(0.01)
    ... )
    >>> mass = torch.stack([px_z.log_prob(levels) for _ in range(500)]).exp().mean(dim=0)  # estimates of P(x|z)
    >>> abs(mass.sum().item() - 1) < 0.05
    True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        mu: Tensor,
        network: LocalNetwork,
        *,
        shape: GreyShape,
        noise: float,
        variance: Tensor,
        show: Callable[[Tensor], object] = lambda error: None,
    ) -> None:
        self.mu, self.network, self.shape = mu, network, shape
        self.noise, self.copy_variance, self.show = noise, variance, show
        super().__init__(mu.shape[:-1], mu.shape[-1:], validate_args=False)

    @property
    def copy(self) -> Independent:
        """p(y|z), batch shape, event `[m]`."""
        return diagonal_normal(self.mu, (self.copy_variance + self.noise**2).sqrt().expand_as(self.mu))

    def pixels(self, y: Tensor) -> NeighbourhoodPixels:
        """P(x|y) for copies y `[..., m]`."""
        return NeighbourhoodPixels(y, self.network, shape=self.shape)

    def divergence_nats(self, x: Tensor) -> Tensor:
        """KL(q(y|x) || p(y|z)), batch shape, in nats."""
        error = (x - self.mu).square()
        if torch.is_grad_enabled():
            self.show(error.detach().mean())
        total = self.copy_variance + self.noise**2
        return (((self.noise**2 + error) / total - 1 + (total / self.noise**2).log()) / 2).sum(dim=-1)

    def bound_nats(self, x: Tensor) -> Tensor:
        """ln P(x|y) - KL(q(y|x) || p(y|z)), y one draw of q(y|x), batch shape, in nats."""
        return self.pixels(self._noisy(x)).log_prob(x) - self.divergence_nats(x)

    def log_prob(self, value: Tensor) -> Tensor:
        """ln of an unbiased estimate of P(x|z), batch shape, in nats."""
        if torch.is_grad_enabled():
            self.show((value - self.mu).detach().square().mean())
        y = self._noisy(value)
        qy_x = diagonal_normal(value, torch.full_like(value, self.noise))
        return self.pixels(y).log_prob(value) + self.copy.log_prob(y) - qy_x.log_prob(y)

    def log_mass(self, x: Tensor, bins: Bins) -> Tensor:
        """ln of an unbiased estimate of P(x|z): levels need no bins."""
        return self.log_prob(x)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Exact draws, `[*sample_shape, ..., m]`: a copy, then the pixels given it."""
        return self.pixels(self.copy.sample(torch.Size(sample_shape))).sample()

    @property
    def mean(self) -> Tensor:
        """The mean of `MEAN_DRAWS` draws, `[..., m]`."""
        with seeded(MEAN_SEED):
            return sum((self.sample() for _ in range(MEAN_DRAWS)), torch.zeros_like(self.mu)) / MEAN_DRAWS

    def _noisy(self, x: Tensor) -> Tensor:
        """One y for each image and each distribution of the batch."""
        x = x.expand(torch.broadcast_shapes(x.shape, self.mu.shape))
        return x + self.noise * torch.randn_like(x)


class NoisyCopyHead(CalibratedGaussian):
    r"""`NoisyCopyPixels`: :math:`\mu(z)` from the code, v at its closed-form optimum, the rest learned with them.

    `noise` is s, a standard deviation in grey levels over 255. v is the running mean squared error over batches, as in
    `CalibratedGaussian`, and stored: every image is held against one model, and since v is the optimum, the gradient in
    the networks is the one that :math:`-\frac m2 \ln(1 + v / s^2)` has. As s falls the code is worth more, and the copy
    says more of the pixels: at 0 all but the copy is that of the calibrated Gaussian. As s grows the copy says nothing.

    Raises ValueError for images in colour, a radius below 1 and a noise that is not positive.

    >>> head = NoisyCopyHead(features=4, shape=(3, 3), radius=1, noise=0.3)
    >>> px_z = head(torch.randn(5, 4))
    >>> px_z.sample((2,)).shape, px_z.bound_nats(px_z.sample()).shape
    (torch.Size([2, 5, 9]), torch.Size([5]))
    """

    def __init__(self, *, features: int, shape: Shape, radius: int, noise: float, local: int = FEATURES) -> None:
        super().__init__(features=features, shape=shape)
        self.shape, self.noise = grey(shape), positive_std("noise", noise)
        self.network = LocalNetwork(radius=radius, features=local)
        with torch.no_grad():
            self.network.out_bias[-self.network.components :] = NARROW

    def forward(self, h: Tensor) -> NoisyCopyPixels:  # type: ignore[override]
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        watched = {"show": self.adapt} if self.training else {}
        return NoisyCopyPixels(
            torch.sigmoid(self.mu(h)),
            self.network,
            shape=self.shape,
            noise=self.noise,
            variance=self.get_buffer("variance"),
            **watched,
        )
