r"""Pixels that depend on their neighbours and on the code, as levels: the whole image is drawn as one digit is written.

What `vaelib.likelihoods.correlated` has for a Normal, without its linearity: each pixel has a small mixture of
discretised logistics, whose parameters a network reads from two pictures, the decoder's mean image around the pixel, on
all sides, and the image itself, in the window of pixels before it in raster order. The product of these conditionals is
an exact distribution over images of 256 levels (van den Oord et al. 2016; with a code, Gulrajani et al. 2017).
"""

from collections.abc import Sequence
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import pad, relu

from vaelib.data import Bins, Shape
from vaelib.likelihoods.correlated import GreyShape, grey, near, shifted, surroundings, wavefronts, window
from vaelib.likelihoods.discretised import SMALLEST_SCALE, DiscretisedLogistic, quantise
from vaelib.networks import softplus
from vaelib.seeding import seeded

#: Components of a pixel's mixture, and hidden features of the network that reads the neighbourhood.
COMPONENTS, FEATURES = 3, 16
#: Draws behind the mean of an image, and the seed that they always have.
MEAN_DRAWS, MEAN_SEED = 16, 0
#: Images that are drawn at once.
IMAGES = 1_000


class Mixture(NamedTuple):
    """A mixture of C discretised logistics for each of any number of pixels, components first: `[C, ...]` each.

    >>> components = DiscretisedLogistic(loc=torch.tensor([[0.2], [0.8]]), scale=torch.tensor([[0.1], [0.1]]))
    >>> mixture = Mixture(torch.tensor([[0.25], [0.75]]).log(), components)
    >>> round(mixture.log_prob(torch.arange(256) / 255).exp().sum().item(), 4)
    1.0
    """

    log_weights: Tensor
    components: DiscretisedLogistic

    def log_prob(self, x: Tensor) -> Tensor:
        """ln P(x) of x `[...]`."""
        return (self.log_weights + self.components.log_prob(x)).logsumexp(dim=0)

    def draw(self) -> Tensor:
        """One draw for each pixel, `[...]`; the component is the one whose weight is largest under Gumbel noise."""
        gumbel = -(-torch.rand_like(self.log_weights).clamp(min=torch.finfo(torch.float32).tiny).log()).log()
        candidates = zip(self.log_weights + gumbel, self.components.loc, self.components.scale, strict=True)
        best, loc, scale = next(candidates)
        for other, other_loc, other_scale in candidates:  # much faster than argmax over so few
            better = other > best
            best, loc, scale = (
                torch.where(better, new, old) for new, old in ((other, best), (other_loc, loc), (other_scale, scale))
            )
        return quantise(loc + scale * self.components.noise(loc))


class LocalNetwork(nn.Module):
    """One hidden layer on the neighbourhood of a pixel, the same at every pixel. Features stand first.

    >>> network = LocalNetwork(radius=1)
    >>> said = network.from_guide(torch.rand(9, 5)) + network.from_image(torch.rand(4, 5))
    >>> network.mixture(said).draw().shape  # of five pixels, each with 9 pixels of the guide and 4 before it
    torch.Size([5])
    """

    def __init__(self, *, radius: int, features: int = FEATURES, components: int = COMPONENTS) -> None:
        super().__init__()
        self.radius, self.components = radius, components
        self.window, self.around = window(radius), surroundings(radius)
        self.image = nn.Parameter(torch.randn(features, len(self.window)) / len(self.window) ** 0.5)
        self.guide = nn.Parameter(torch.randn(features, len(self.around)) / len(self.around) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(features))
        self.out = nn.Parameter(torch.randn(3 * components, features) / features)
        # The components start side by side, from dark to bright.
        start = (torch.zeros(components), torch.linspace(0, 1, components), torch.full((components,), -2.0))
        self.out_bias = nn.Parameter(torch.cat(start))

    def from_guide(self, around: Tensor) -> Tensor:
        """What the pixels of the mean image around each pixel `[K, ...]` say to it, `[features, ...]`."""
        return torch.addmm(self.bias[:, None], self.guide, around.flatten(1)).unflatten(1, around.shape[1:])

    def from_image(self, preceding: Tensor) -> Tensor:
        """What the pixels before each pixel `[K, ...]` say to it, `[features, ...]`."""
        return (self.image @ preceding.flatten(1)).unflatten(1, preceding.shape[1:])

    def mixture(self, said: Tensor) -> Mixture:
        """The mixture of each pixel from the sum of what was said, `[features, ...]`."""
        out = torch.addmm(self.out_bias[:, None], self.out, relu(said).flatten(1)).unflatten(1, said.shape[1:])
        weights, loc, raw_scale = out.split(self.components)
        return Mixture(weights.log_softmax(dim=0), DiscretisedLogistic(loc, SMALLEST_SCALE + softplus(raw_scale)))


class NeighbourhoodPixels(Distribution):
    r""":math:`P(x) = \prod_j P(x_j \mid \text{window of } x_j, \text{guide around } j)` over images of 256 levels.

    `guide` `[..., m]` is the decoder's mean image; the event is the image, flat, of height and width `shape`. The mean
    has no closed form: it is that of `MEAN_DRAWS` draws under a fixed seed, so its squared error is too high by a
    sixteenth of the pixel's variance.

    >>> levels = (torch.arange(256) / 255)[:, None]
    >>> px_z = NeighbourhoodPixels(torch.zeros(256, 1), LocalNetwork(radius=1), shape=(1, 1))
    >>> round(px_z.log_prob(levels).exp().sum().item(), 4)
    1.0
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, guide: Tensor, network: LocalNetwork, *, shape: GreyShape) -> None:
        self.guide, self.network, self.shape = guide, network, shape
        super().__init__(guide.shape[:-1], guide.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """ln P(x), batch shape, in nats."""
        shape = torch.broadcast_shapes(value.shape, self.guide.shape)
        x, guide = (part.expand(shape).reshape(-1, *self.shape) for part in (value, self.guide))
        network = self.network
        said = network.from_guide(shifted(guide, network.around)) + network.from_image(shifted(x, network.window))
        return network.mixture(said).log_prob(x).flatten(1).sum(dim=1).reshape(shape[:-1])

    def log_mass(self, x: Tensor, bins: Bins) -> Tensor:
        """ln P(x): levels need no bins."""
        return self.log_prob(x)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Exact draws, `[*sample_shape, ..., m]`, front by front."""
        guides = self.guide.expand(self._extended_shape(torch.Size(sample_shape)))
        drawn = [self._draw(few) for few in guides.reshape(-1, *self.shape).split(IMAGES)]
        return torch.cat(drawn).reshape(guides.shape)

    @property
    def mean(self) -> Tensor:
        """The mean of `MEAN_DRAWS` draws, `[..., m]`."""
        with seeded(MEAN_SEED):
            return sum((self.sample() for _ in range(MEAN_DRAWS)), torch.zeros_like(self.guide)) / MEAN_DRAWS

    def _draw(self, guide: Tensor) -> Tensor:
        network, reach = self.network, self.network.radius
        border = (0, 0, reach, reach, reach, reach)
        x = pad(guide.new_zeros(*self.shape, len(guide)), border)  # images last
        guide = pad(guide.movedim(0, -1), border)
        for rows, columns in wavefronts(reach, self.shape):
            said = network.from_guide(near(guide, rows, columns, network.around))
            said += network.from_image(near(x, rows, columns, network.window))
            x[rows + reach, columns + reach] = network.mixture(said).draw()
        return x[reach:-reach, reach:-reach].movedim(-1, 0)


class NeighbourhoodHead(nn.Module):
    """`NeighbourhoodPixels` whose guide is a mean image from the code, as in the Gaussian heads.

    Raises ValueError for images in colour and a radius below 1.

    >>> px_z = NeighbourhoodHead(features=4, shape=(3, 3), radius=1)(torch.randn(5, 4))
    >>> x = px_z.sample()
    >>> torch.equal(quantise(x), x), px_z.log_prob(x).shape
    (True, torch.Size([5]))
    """

    def __init__(self, *, features: int, shape: Shape, radius: int) -> None:
        super().__init__()
        self.shape = grey(shape)
        self.mu = nn.Linear(features, prod(shape))
        self.network = LocalNetwork(radius=radius)

    def forward(self, h: Tensor) -> NeighbourhoodPixels:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        return NeighbourhoodPixels(torch.sigmoid(self.mu(h)), self.network, shape=self.shape)


class CodelessHead(nn.Module):
    """`NeighbourhoodPixels` whose guide is one learned image, the same for every code: what the pixels say alone.

    Raises ValueError for images in colour and a radius below 1.

    >>> px_z = CodelessHead(features=4, shape=(3, 3), radius=1)(torch.randn(5, 4))
    >>> torch.equal(px_z.guide[0], px_z.guide[4])
    True
    """

    def __init__(self, *, features: int, shape: Shape, radius: int) -> None:
        super().__init__()
        self.shape = grey(shape)
        self.guide = nn.Parameter(torch.zeros(prod(shape)))
        self.network = LocalNetwork(radius=radius)

    def forward(self, h: Tensor) -> NeighbourhoodPixels:
        """Features `[..., hidden]`, of which only the shape counts, to a distribution over x `[..., m]`."""
        guide = torch.sigmoid(self.guide).expand(*h.shape[:-1], -1)
        return NeighbourhoodPixels(guide, self.network, shape=self.shape)
