r"""Likelihoods fitted after training, in closed form: the residual of a model whose means are kept.

First the balance, then the covariance: encoder, prior and mean images :math:`\mu(z)` are those of a trained model, and
what is left, :math:`r = x - \mu(z)`, gets the likelihood that is greatest for training images and one draw of each
code. Nothing here needs a gradient. A `Means` holds the part of the model that makes :math:`\mu(z)`; a fit is handed
the mean images `[N, m]` and the images `[N, m]`, a head what the fit returned.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, constraints

from vaelib.data import DEQUANTISATION_STD, LEVELS, Bins, Shape
from vaelib.errors import positive_std
from vaelib.likelihoods.correlated import StructuredNormal, grey, mean_density_over_bins, shifted, window
from vaelib.likelihoods.discretised import DiscretisedNormal
from vaelib.networks import diagonal_normal

#: Steps of a function of the mean, each as wide as a 26th of the grey scale; images that are summed up at once.
STEPS, IMAGES = 26, 500


class Means(nn.Module):
    r""":math:`\mu(z) = \mathrm{sigmoid}(\cdot)` from the decoder's features, by the layer of a trained head.

    >>> layer = nn.Linear(4, 6)
    >>> Means(layer)(torch.randn(5, 4)).shape
    torch.Size([5, 6])
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, h: Tensor) -> Tensor:
        """Features `[..., hidden]` to mean images `[..., m]`."""
        return torch.sigmoid(self.layer(h))


def step_of(mu: Tensor, *, steps: int) -> Tensor:
    """Which of `steps` equal parts of [0, 1] each mean lies in, of any shape.

    >>> step_of(torch.tensor([0.0, 0.49, 0.5, 1.0]), steps=2)
    tensor([0, 0, 1, 1])
    """
    return (mu * steps).long().clamp(0, steps - 1)


def fit_scale(mu: Tensor, x: Tensor, *, steps: int = STEPS, floor: float = DEQUANTISATION_STD) -> Tensor:
    r"""The standard deviation as a step function of the mean, at its maximum of the likelihood, `[steps]`.

    .. math:: \sigma_k^2 = \operatorname{mean}\{(x_j - \mu_j)^2 : \mu_j \in [k, k + 1) / \mathrm{steps}\}

    over the pixels of all images; at least `floor`, and that of all pixels where a part of [0, 1] has none. With one
    step it is the calibrated sigma. Raises ValueError where floor is not positive.

    >>> fit_scale(torch.tensor([[0.1, 0.2, 0.8]]), torch.tensor([[0.2, 0.1, 0.5]]), steps=2)
    tensor([0.1000, 0.3000])
    """
    squared, step = (x - mu).double().square().flatten(), step_of(mu, steps=steps).flatten()
    total = squared.new_zeros(steps).index_add(0, step, squared)
    count = torch.bincount(step, minlength=steps)
    variance = torch.where(count > 0, total / count.clamp(min=1), squared.mean())
    return variance.sqrt().clamp(min=positive_std("floor", floor)).to(mu)


class SteppedGaussian(nn.Module):
    r""":math:`N(\mu(z), \mathrm{diag}\,\sigma(\mu)^2)`: independent pixels whose spread is a step function of the mean.

    >>> head = SteppedGaussian(Means(nn.Linear(4, 6)), scale=torch.tensor([0.1, 0.3]))
    >>> bool((head(torch.randn(5, 4)).stddev <= 0.3).all())
    True
    """

    def __init__(self, means: nn.Module, *, scale: Tensor) -> None:
        super().__init__()
        self.means = means
        self.register_buffer("scale", scale)

    def parts(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each pixel, `[..., m]`."""
        mu, scale = self.means(h), self.get_buffer("scale")
        return mu, scale[step_of(mu, steps=len(scale))]

    def forward(self, h: Tensor) -> Distribution:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        return diagonal_normal(*self.parts(h))


class SteppedLevels(SteppedGaussian):
    """The same Gaussian over the bins of levels: what lies beyond black and white is black and white.

    >>> px_z = SteppedLevels(Means(nn.Linear(4, 6)), scale=torch.tensor([0.1, 0.3]))(torch.randn(5, 4))
    >>> bool((px_z.log_prob(px_z.sample()) < 0).all())
    True
    """

    def forward(self, h: Tensor) -> Distribution:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        return Independent(DiscretisedNormal(*self.parts(h)), 1, validate_args=False)


class ResidualNormal(Distribution):
    r""":math:`x = \mu + \sigma e`, pixel by pixel, e from a Normal `base` of mean 0 with the image as its event.

    `mu` and `sigma` are `[..., m]`, of any batch shape; that of `base` is empty.

    >>> base = diagonal_normal(torch.zeros(6), torch.ones(6))
    >>> px_z = ResidualNormal(torch.rand(5, 6), sigma=torch.full((5, 6), 0.3), base=base)
    >>> x = px_z.sample((2,))
    >>> torch.allclose(px_z.log_prob(x), diagonal_normal(px_z.mean, px_z.sigma).log_prob(x), atol=1e-4)
    True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, mu: Tensor, *, sigma: Tensor, base: Distribution) -> None:
        self.mu, self.sigma, self.base = mu, sigma, base
        super().__init__(mu.shape[:-1], mu.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, `[..., m]`."""
        return self.mu

    def log_prob(self, value: Tensor) -> Tensor:
        """ln p(x), batch shape, in nats."""
        return self.base.log_prob((value - self.mu) / self.sigma) - self.sigma.log().sum(dim=-1)

    def log_mass(self, x: Tensor, bins: Bins) -> Tensor:
        """ln of an unbiased estimate of P(x), see :func:`vaelib.likelihoods.correlated.mean_density_over_bins`."""
        return mean_density_over_bins(self, x, bins)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Exact draws, `[*sample_shape, ..., m]`."""
        shape = (*sample_shape, *self.batch_shape)
        return self.mu + self.sigma * self.base.sample(torch.Size(shape))


class Prediction(NamedTuple):
    """A stationary autoregression: a coefficient for each pixel of the window, and the spread of what is left.

    >>> Prediction(coefficients=torch.tensor([0.1, 0.2, 0.1, 0.5]), innovation=torch.tensor(0.8)).innovation
    tensor(0.8000)
    """

    coefficients: Tensor
    """`[K]`, in the order of `vaelib.likelihoods.correlated.window`."""
    innovation: Tensor
    """A standard deviation, a scalar."""


def fit_prediction(e: Tensor, *, radius: int, shape: Shape) -> Prediction:
    r"""The stationary Gaussian autoregression of greatest likelihood for standardised residuals e `[N, m]`.

    .. math:: e_j = \sum_{k \in N(j)} a_k e_k + \tau \epsilon_j,\quad
        a = \arg\min \operatorname{mean} (e_j - \sum_k a_k e_k)^2,\quad \tau^2 = \text{the minimum}

    over all pixels of all images, residuals beyond the border 0: the density is the product of the conditionals, so
    least squares is maximum likelihood (Whittle 1954, for one side of the plane). A larger window holds the smaller
    ones, so the likelihood does not fall. Raises ValueError for images in colour and a radius below 1.

    >>> e = torch.randn(100, 36)
    >>> bool(fit_prediction(e, radius=1, shape=(6, 6)).coefficients.abs().max() < 0.2)  # nothing to predict
    True
    """
    offsets = window(radius)
    moments = torch.zeros(len(offsets) + 1, len(offsets) + 1, dtype=torch.float64, device=e.device)
    for few in e.split(IMAGES):
        images = few.reshape(-1, *grey(shape)).double()
        both = torch.cat((shifted(images, offsets), images[None])).flatten(1)  # neighbours, then the pixel
        moments += both @ both.T / e.numel()
    coefficients = torch.linalg.lstsq(moments[:-1, :-1], moments[:-1, -1:], driver="gelsd").solution[:, 0]
    variance = moments[-1, -1] - coefficients @ moments[:-1, -1]
    return Prediction(coefficients.to(e), variance.sqrt().to(e))


class PredictedGaussian(SteppedGaussian):
    r"""`SteppedGaussian` whose standardised residual :math:`(x - \mu) / \sigma` is a stationary autoregression.

    >>> prediction = Prediction(coefficients=torch.tensor([0.1, 0.2, 0.1, 0.5]), innovation=torch.tensor(0.8))
    >>> means, scale = Means(nn.Linear(4, 6)), torch.tensor([0.1, 0.3])
    >>> head = PredictedGaussian(means, scale=scale, prediction=prediction, radius=1, shape=(2, 3))
    >>> px_z = head(torch.randn(5, 4))
    >>> px_z.log_prob(px_z.sample()).shape
    torch.Size([5])
    """

    def __init__(self, means: nn.Module, *, scale: Tensor, prediction: Prediction, radius: int, shape: Shape) -> None:
        super().__init__(means, scale=scale)
        self.radius, self.shape = radius, grey(shape)
        self.register_buffer("coefficients", prediction.coefficients)
        self.register_buffer("innovation", prediction.innovation)

    def forward(self, h: Tensor) -> ResidualNormal:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu, sigma = self.parts(h)
        base = StructuredNormal(
            mu=mu.new_zeros(mu.shape[-1]),
            sigma=self.get_buffer("innovation").expand(mu.shape[-1]),
            gates=mu.new_ones(1, mu.shape[-1]),
            filters=self.get_buffer("coefficients")[None],
            radius=self.radius,
            shape=self.shape,
        )
        return ResidualNormal(mu, sigma=sigma, base=base)


class FactorGaussian(SteppedGaussian):
    r"""`SteppedGaussian` whose standardised residual has the covariance :math:`W W^T + \tau^2 I`, the same for all z.

    `factors` is W `[m, rank]` and `innovation` :math:`\tau`, from :func:`fit_factors`.

    >>> means, scale = Means(nn.Linear(4, 6)), torch.tensor([0.1, 0.3])
    >>> factors, innovation = fit_factors(torch.randn(50, 6), rank=2)
    >>> px_z = FactorGaussian(means, scale=scale, factors=factors, innovation=innovation)(torch.randn(5, 4))
    >>> px_z.log_prob(px_z.sample()).shape
    torch.Size([5])
    """

    def __init__(self, means: nn.Module, *, scale: Tensor, factors: Tensor, innovation: Tensor) -> None:
        super().__init__(means, scale=scale)
        self.register_buffer("factors", factors)
        self.register_buffer("innovation", innovation)

    def forward(self, h: Tensor) -> ResidualNormal:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu, sigma = self.parts(h)
        factors, variance = self.get_buffer("factors"), self.get_buffer("innovation").square()
        zero = mu.new_zeros(mu.shape[-1])
        base = LowRankMultivariateNormal(zero, factors, variance.expand_as(zero), validate_args=False)
        return ResidualNormal(mu, sigma=sigma, base=base)


def fit_factors(e: Tensor, *, rank: int) -> tuple[Tensor, Tensor]:
    r"""W `[m, rank]` and :math:`\tau` of :math:`N(0, W W^T + \tau^2 I)` at the maximum of the likelihood.

    For standardised residuals e `[N, m]`: probabilistic PCA about the mean 0, from the eigenvectors u and eigenvalues
    :math:`\lambda` of :math:`\operatorname{mean} e e^T`. :math:`\tau^2` is the mean of all eigenvalues but the `rank`
    largest, for each of which W has a column :math:`u\sqrt{\lambda - \tau^2}` (Tipping and Bishop 1999). Raises
    ValueError for a rank that is not from 1 to m - 1.

    >>> factors, innovation = fit_factors(torch.randn(50, 6), rank=2)
    >>> factors.shape, innovation.shape
    (torch.Size([6, 2]), torch.Size([]))
    """
    if not 1 <= rank < e.shape[-1]:
        raise ValueError(f"rank must be at least 1 and below the {e.shape[-1]} pixels, got {rank}")
    second_moments = e.double().T @ e.double() / len(e)
    eigenvalues, directions = torch.linalg.eigh(second_moments)  # the smallest first
    variance = eigenvalues[:-rank].mean()
    factors = directions[:, -rank:] * (eigenvalues[-rank:] - variance).sqrt()
    return factors.to(e), variance.sqrt().to(e)


class HistogramPixels(Distribution):
    """A pixel of 256 levels by the masses of the part of [0, 1] that its mean lies in.

    `step` says which, of any shape, and `masses` are `[steps, 256]`; the event is one pixel.

    >>> masses = torch.zeros(2, 256)
    >>> masses[0, 0], masses[1, 255] = 1.0, 1.0
    >>> HistogramPixels(torch.tensor([0, 1]), masses).sample()
    tensor([0., 1.])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, step: Tensor, masses: Tensor) -> None:
        self.step, self.masses = step, masses
        super().__init__(step.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """ln P(x) for x a level over 255, in nats."""
        return self.masses.log()[self.step, (value * (LEVELS - 1)).round().long()]

    def log_mass(self, x: Tensor, bins: Bins) -> Tensor:
        """ln P(x): levels need no bins."""
        return self.log_prob(x)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Levels over 255, `[*sample_shape, ...]`."""
        step = self.step.expand(self._extended_shape(torch.Size(sample_shape)))
        drawn = self.masses.new_empty(step.shape)
        for number, masses in enumerate(self.masses):
            here = step == number
            if count := int(here.sum()):
                drawn[here] = masses.multinomial(count, replacement=True).to(drawn) / (LEVELS - 1)
        return drawn

    @property
    def mean(self) -> Tensor:
        """The mean of each pixel."""
        return (self.masses @ torch.linspace(0, 1, LEVELS).to(self.masses))[self.step]


class SteppedHistogram(nn.Module):
    r""":math:`P(x_j|z)` a histogram over 256 levels for each part of [0, 1] that the mean may lie in.

    All that independent pixels which know their mean alone can say, no Gaussian needed. `masses` are those of
    :func:`fit_histogram`.

    >>> masses = fit_histogram(torch.rand(50, 6), torch.zeros(50, 6), steps=1, pseudo=0.0)
    >>> px_z = SteppedHistogram(Means(nn.Linear(4, 6)), masses=masses)(torch.randn(5, 4))
    >>> px_z.sample().max()  # no pixel was ever brighter
    tensor(0.)
    """

    def __init__(self, means: nn.Module, *, masses: Tensor) -> None:
        super().__init__()
        self.means = means
        self.register_buffer("masses", masses)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        masses = self.get_buffer("masses")
        pixels = HistogramPixels(step_of(self.means(h), steps=len(masses)), masses)
        return Independent(pixels, 1, validate_args=False)


def fit_histogram(mu: Tensor, x: Tensor, *, steps: int = STEPS, pseudo: float = 0.1) -> Tensor:
    r"""Shares of the 256 levels among pixels whose mean lies in each of `steps` parts of [0, 1], `[steps, 256]`.

    For mean images `[N, m]` and images `[N, m]` of levels over 255. With `pseudo` = 0 it is the maximum of the
    likelihood; `pseudo` counts are added to each level, so that none that was not seen is impossible.

    >>> masses = fit_histogram(torch.tensor([[0.1, 0.2, 0.9]]), torch.tensor([[0.0, 1.0, 1.0]]), steps=2, pseudo=0.0)
    >>> masses[:, [0, 255]]
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    cell = step_of(mu, steps=steps) * LEVELS + (x * (LEVELS - 1)).round().long()
    counts = torch.bincount(cell.flatten(), minlength=steps * LEVELS).reshape(steps, LEVELS) + pseudo
    empty = counts.sum(dim=1, keepdim=True) == 0
    return ((counts + empty) / (counts + empty).sum(dim=1, keepdim=True)).to(mu)
