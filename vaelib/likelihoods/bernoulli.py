r"""Pixels as Bernoulli variables: the cross-entropy of the repositories, and the constant that makes it a density."""

from math import prod

from torch import Tensor, nn
from torch.distributions import Bernoulli, ContinuousBernoulli, Independent

from vaelib.data import Shape
from vaelib.networks import softplus


class LogitBernoulli(Bernoulli):
    """torch's Bernoulli of given logits, with a faster logarithm.

    >>> LogitBernoulli(logits=torch.zeros(2)).log_prob(torch.tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.5000])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        r""":math:`x l - \mathrm{softplus}(l)`, minus the cross-entropy of x and the sigmoid of the logit l."""
        return value * self.logits - softplus(self.logits)


class BernoulliPixels(nn.Module):
    r"""A Bernoulli per pixel. On grey pixels its log-probability is cross-entropy, not the log of a density.

    Its support is {0, 1}; the check is off because public implementations evaluate it between (Loaiza-Ganem and
    Cunningham 2019).

    >>> x = torch.linspace(0, 1, 1001)[:, None]
    >>> px_z = BernoulliPixels(features=4, shape=(1, 1))(torch.zeros(1001, 4))
    >>> bool(torch.trapezoid(px_z.log_prob(x).exp(), x[:, 0]) < 0.51)  # no density: its integral is at most 1/2
    True
    """

    def __init__(self, *, features: int, shape: Shape) -> None:
        super().__init__()
        self.logits = nn.Linear(features, prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        return Independent(LogitBernoulli(logits=self.logits(h), validate_args=False), 1, validate_args=False)


class ContinuousBernoulliPixels(nn.Module):
    """The Bernoulli's formula with the constant that makes it a density on [0, 1] (Loaiza-Ganem and Cunningham 2019).

    Its parameter is not its mean.

    >>> x = torch.linspace(0, 1, 1001)[:, None]
    >>> px_z = ContinuousBernoulliPixels(features=4, shape=(1, 1))(torch.zeros(1001, 4))
    >>> round(torch.trapezoid(px_z.log_prob(x).exp(), x[:, 0]).item(), 3)
    1.0
    """

    def __init__(self, *, features: int, shape: Shape) -> None:
        super().__init__()
        self.logits = nn.Linear(features, prod(shape))

    def forward(self, h: Tensor) -> Independent:
        """Features `[..., hidden]` to a distribution over x `[..., m]`."""
        pixels = ContinuousBernoulli(logits=self.logits(h), validate_args=False)
        return Independent(pixels, 1, validate_args=False)
