r"""Gaussian pixels that are independent given the code: which of their variances are learned, chosen, or calibrated."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from vaelib.data import DEQUANTISATION_STD, Shape
from vaelib.errors import MendableError, positive_std
from vaelib.networks import diagonal_normal, softplus

#: Weight of the newest batch in the running error of an adaptive head; step size of GECO's multiplier.
RUNNING_SHARE, GECO_RATE = 0.01, 0.02


class PixelwiseGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \mathrm{diag}\,\sigma_x(z)^2)`, both from the network: the simple VAE's likelihood.

    :math:`\mu_x = \mathrm{sigmoid}(\cdot)` and :math:`\sigma_x = \mathrm{floor} + \mathrm{softplus}(\cdot)`. Without a
    floor the likelihood has no maximum on pixels that never change (Mattei and Frellsen 2018). Raises ValueError where
    floor, a standard deviation in grey levels over 255, is not positive.

    >>> head = PixelwiseGaussian(features=4, shape=(2, 3), floor=0.1)
    >>> px_z = head(torch.randn(5, 4))
    >>> px_z.batch_shape, px_z.event_shape, bool((px_z.stddev > 0.1).all())
    (torch.Size([5]), torch.Size([6]), True)
    """

    def __init__(self, *, features: int, shape: Shape, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        self.floor = positive_std("floor", floor)
        self.mu = nn.Linear(features, math.prod(shape))
        self.sigma = nn.Linear(features, math.prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        return diagonal_normal(torch.sigmoid(self.mu(h)), self.floor + softplus(self.sigma(h)))


class FixedGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \sigma^2 I)` with one :math:`\sigma` chosen by hand; at 1 its log is -SSE/2 + constant.

    Raises ValueError where sigma is not positive.

    >>> px_z = FixedGaussian(features=4, shape=(2, 3), sigma=0.5)(torch.randn(5, 4))
    >>> px_z.stddev.unique()
    tensor([0.5000])
    """

    def __init__(self, *, features: int, shape: Shape, sigma: float) -> None:
        super().__init__()
        self.sigma = positive_std("sigma", sigma)
        self.mu = nn.Linear(features, math.prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu = torch.sigmoid(self.mu(h))
        return diagonal_normal(mu, torch.full_like(mu, self.sigma))


class SharedGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \sigma^2 I)` with one learned :math:`\sigma` for all pixels and all z (Rybkin et al. 2021).

    Maximised over sigma the likelihood is calibrated: :math:`\sigma^2` is the mean squared error. As in
    `PixelwiseGaussian`, :math:`\sigma = \mathrm{floor} + \mathrm{softplus}(\cdot)`, and floor must be positive.

    >>> head = SharedGaussian(features=4, shape=(2, 3))
    >>> head.sigma - head.floor, head(torch.randn(5, 4)).stddev.unique().shape  # it starts at ln 2 above the floor
    (tensor(0.6931, grad_fn=<SubBackward0>), torch.Size([1]))
    """

    def __init__(self, *, features: int, shape: Shape, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        self.floor = positive_std("floor", floor)
        self.mu = nn.Linear(features, math.prod(shape))
        self.raw_sigma = nn.Parameter(torch.zeros(()))

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, a scalar."""
        return self.floor + softplus(self.raw_sigma)

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu = torch.sigmoid(self.mu(h))
        return diagonal_normal(mu, self.sigma.expand_as(mu))


class PerPixelGaussian(nn.Module):
    r""":math:`N(\mu_x(z), \mathrm{diag}\,\sigma^2)`: a learned :math:`\sigma_j` for each pixel, the same for all z.

    Between `SharedGaussian` and `PixelwiseGaussian`; with a linear mean it is factor analysis. As there,
    :math:`\sigma_j = \mathrm{floor} + \mathrm{softplus}(\cdot)`, and floor must be positive.

    >>> head = PerPixelGaussian(features=4, shape=(2, 3))
    >>> sigma = head(torch.randn(5, 4)).stddev
    >>> sigma.shape, bool((sigma == sigma[0]).all())
    (torch.Size([5, 6]), True)
    """

    def __init__(self, *, features: int, shape: Shape, floor: float = DEQUANTISATION_STD) -> None:
        super().__init__()
        self.floor = positive_std("floor", floor)
        self.mu = nn.Linear(features, math.prod(shape))
        self.raw_sigma = nn.Parameter(torch.zeros(math.prod(shape)))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu = torch.sigmoid(self.mu(h))
        return diagonal_normal(mu, (self.floor + softplus(self.raw_sigma)).expand_as(mu))


class UncalibratedError(MendableError, RuntimeError):
    """A head that calibrates itself is trained by a loss that never shows it an image.

    >>> CalibratedGaussian(features=4, shape=(2, 3)).check_adapted()
    Traceback (most recent call last):
        ...
    vaelib.likelihoods.gaussian.UncalibratedError: CalibratedGaussian sets its sigma whenever ...
    """


class AdaptiveGaussian(nn.Module, ABC):
    r""":math:`N(\mu_x(z), \sigma^2 I)` with one :math:`\sigma` that no gradient moves: a rule sets it while training.

    The rule sees each batch's mean squared error per pixel as soon as :math:`\ln p(x|z)` has been evaluated in training
    mode with gradients on: under any objective that holds :math:`\ln p(x|z)`, steps in the variance and in the networks
    take turns. Nothing moves in evaluation.

    >>> class LastBatchGaussian(AdaptiveGaussian):
    ...     def adapt(self, error):
    ...         self.variance.copy_(error)
    >>> head = LastBatchGaussian(features=4, shape=(2, 3))
    >>> px_z = head(torch.randn(5, 4))
    >>> log_px_z = px_z.log_prob(px_z.mean + 0.5)
    >>> head.sigma
    tensor(0.5000)
    """

    def __init__(self, *, features: int, shape: Shape) -> None:
        super().__init__()
        self.mu = nn.Linear(features, math.prod(shape))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("running_error", torch.full((), math.nan))  # until an error has been seen
        self._adapted = False

    @abstractmethod
    def adapt(self, error: Tensor) -> None:
        """Move the variance after the mean squared error of a batch, a scalar, has been seen."""

    def average(self, error: Tensor) -> Tensor:
        """The running mean of the errors, over about the last 100 batches; the first one starts it."""
        self._adapted = True
        before = self.get_buffer("running_error")
        before.copy_(torch.where(before.isnan(), error, torch.lerp(before, error, RUNNING_SHARE)))
        return before

    def train(self, mode: bool = True) -> "AdaptiveGaussian":
        """As torch's; what was seen before does not count for :meth:`check_adapted`."""
        self._adapted = False
        return super().train(mode)

    def check_adapted(self) -> None:
        """Raise `UncalibratedError` if no error was seen since `train()`, as under an objective without ln p(x|z)."""
        if not self._adapted:
            raise UncalibratedError(
                f"{type(self).__name__} sets its sigma whenever ln p(x|z) is evaluated, which this loss never does; "
                "maximise an objective that contains it, as elbo_nats, or choose FixedGaussian"
            )

    @property
    def sigma(self) -> Tensor:
        """The standard deviation, a scalar."""
        return self.get_buffer("variance").sqrt()

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        mu = torch.sigmoid(self.mu(h))
        px_z = diagonal_normal(mu, self.sigma.expand_as(mu))
        return Watched(px_z, self.adapt) if self.training else px_z


class Watched(Independent):
    """A distribution over images that shows its mean squared error after each `log_prob` with gradients on.

    >>> shown = []
    >>> px_z = Watched(independent_pixels(torch.zeros(5, 6), floor=1.0), shown.append)
    >>> log_px_z = px_z.log_prob(torch.full((6,), 2.0))
    >>> shown
    [tensor(4.)]
    """

    def __init__(self, px_z: Independent, show: Callable[[Tensor], None]) -> None:
        super().__init__(px_z.base_dist, px_z.reinterpreted_batch_ndims, validate_args=False)
        self.show = show

    def log_prob(self, value: Tensor) -> Tensor:
        """ln p(x|z), batch shape, in nats."""
        log_px_z = super().log_prob(value)
        if torch.is_grad_enabled():
            self.show((value - self.mean).detach().square().mean())
        return log_px_z

    def expand(self, batch_shape: Sequence[int], _instance: None = None) -> "Watched":
        """The same distribution over a larger batch."""
        return Watched(Independent(self.base_dist, self.reinterpreted_batch_ndims).expand(batch_shape), self.show)


class CalibratedGaussian(AdaptiveGaussian):
    r""":math:`\sigma^2` at its closed-form optimum given the means: the mean squared error (Rybkin et al. 2021).

    .. math:: \arg\max_{\sigma^2} E\Big[-\frac{m}{2} \ln 2\pi\sigma^2 - \frac{\|x - \mu_x(z)\|^2}{2\sigma^2}\Big]
        = \frac1m E \|x - \mu_x(z)\|^2

    Updated as a running mean, so that training climbs the ELBO in the networks and in the variance by turns.

    >>> head = CalibratedGaussian(features=4, shape=(2, 3))
    >>> px_z = head(torch.randn(5, 4))
    >>> log_px_z = px_z.log_prob(px_z.mean + 0.5)
    >>> head.sigma, head.eval()(torch.randn(5, 4)).stddev.unique()
    (tensor(0.5000), tensor([0.5000]))
    """

    def adapt(self, error: Tensor) -> None:
        """Set the variance to the running mean squared error."""
        self.get_buffer("variance").copy_(self.average(error))


class ToleranceGaussian(AdaptiveGaussian):
    r"""GECO: a multiplier :math:`\lambda` holds the reconstruction's error at a tolerance (Rezende and Viola 2018).

    :math:`\lambda \|x - \mu\|^2 + KL` is the ELBO of the variance :math:`1 / 2\lambda`, so the multiplier is this
    variance. It falls while the mean squared error exceeds `tolerance` squared and rises below it. The tolerance, a
    standard deviation of a pixel, is chosen by hand; raises ValueError where it is not positive.

    >>> head = ToleranceGaussian(features=4, shape=(2, 3), tolerance=0.1)
    >>> px_z = head(torch.randn(5, 4))
    >>> log_px_z = px_z.log_prob(px_z.mean + 0.5)  # five times the tolerance: the variance falls
    >>> bool(head.sigma < 1)
    True
    """

    def __init__(self, *, features: int, shape: Shape, tolerance: float) -> None:
        super().__init__(features=features, shape=shape)
        self.tolerance = positive_std("tolerance", tolerance)

    def adapt(self, error: Tensor) -> None:
        """One multiplicative step."""
        excess = (self.average(error) / self.tolerance**2 - 1).clamp(-1, 1)
        self.get_buffer("variance").mul_((-GECO_RATE * excess).exp())


def independent_pixels(images: Tensor, *, floor: float) -> Independent:
    r"""The latent-free model :math:`\prod_j N(\bar x_j, \max(s_j, \mathrm{floor})^2)`, fitted to images `[N, m]`.

    One distribution, event `[m]`. On pixels that never change its likelihood is bounded by the floor alone (Mattei and
    Frellsen 2018). Raises ValueError where floor is not positive.

    >>> independent_pixels(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), floor=0.1).stddev
    tensor([0.5000, 0.1000])
    """
    sigma = images.std(dim=0, correction=0).clamp(min=positive_std("floor", floor))
    return diagonal_normal(images.mean(dim=0), sigma)
