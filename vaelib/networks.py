r"""The networks of the chapter: one hidden layer each way, the same for every model."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

HIDDEN = 400


class Encoder(nn.Module):
    r""":math:`q_\varphi(z|x) = N(\mu_z(x), \mathrm{diag}\,\sigma_z(x)^2)` from one hidden layer of ReLU units.

    >>> qz_x = Encoder(pixels=6, latent_dim=2, hidden=4)(torch.rand(5, 6))
    >>> qz_x.batch_shape, qz_x.event_shape
    (torch.Size([5]), torch.Size([2]))
    """

    def __init__(self, *, pixels: int, latent_dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
        self.mu = nn.Linear(hidden, latent_dim)
        self.sigma = nn.Linear(hidden, latent_dim)

    def forward(self, x: Tensor) -> Independent:
        """x `[B, m]` to a distribution over z `[B, d]`."""
        h = self.body(x)
        return diagonal_normal(self.mu(h), nn.functional.softplus(self.sigma(h)))


class DecoderBody(nn.Module):
    """z `[..., d]` to the features `[..., hidden]` from which a head of `vaelib.likelihoods` reads p(x|z).

    >>> DecoderBody(latent_dim=2, hidden=4)(torch.randn(3, 5, 2)).shape
    torch.Size([3, 5, 4])
    """

    def __init__(self, *, latent_dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU())

    def forward(self, z: Tensor) -> Tensor:
        """z `[..., d]` to features `[..., hidden]`."""
        return self.body(z)


def diagonal_normal(mu: Tensor, sigma: Tensor) -> Independent:
    """N(mu, diag sigma^2) with the last dimension as the event, so that `log_prob` sums over it.

    >>> qz_x = diagonal_normal(torch.zeros(5, 2), torch.ones(5, 2))
    >>> qz_x.log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    return Independent(Normal(mu, sigma, validate_args=False), 1, validate_args=False)


def softplus(x: Tensor) -> Tensor:
    r""":math:`\ln(1 + e^x) = \max(x, 0) + \ln(1 + e^{-|x|})`, of any shape, for sums that contain more than it.

    On a processor several times as fast as torch's, which takes a good part of training where it is a function of every
    pixel. The price: what is below the rounding error of 1, about 1e-7 in float32, is rounded away, so where a small
    result stands alone, as the encoder's sigma does, torch's is used.

    >>> softplus(torch.tensor([-100.0, 0.0, 100.0]))
    tensor([  0.0000,   0.6931, 100.0000])
    """
    return _Softplus.apply(x)


class _Softplus(torch.autograd.Function):
    """The sum above, and its derivative, the sigmoid."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.abs().neg_().exp_().add_(1).log_().add_(x.clamp(min=0))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * torch.sigmoid(x)
