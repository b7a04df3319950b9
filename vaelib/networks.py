r"""The networks of the chapter: one hidden layer each way, the same for every model."""

from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.functional import softplus

HIDDEN = 400


class Encoder(nn.Module):
    r""":math:`q_\varphi(z|x) = N(\mu_z(x), \mathrm{diag}\,\sigma_z(x)^2)` from one hidden layer of ReLU units."""

    def __init__(self, *, pixels: int, latent_dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
        self.mu = nn.Linear(hidden, latent_dim)
        self.sigma = nn.Linear(hidden, latent_dim)

    def forward(self, x: Tensor) -> Independent:
        """x `[B, pixels]` to a distribution over z `[B, d]`."""
        h = self.body(x)
        return diagonal_normal(self.mu(h), softplus(self.sigma(h)))


class DecoderBody(nn.Module):
    """z `[..., d]` to the features `[..., hidden]` from which a likelihood of `vaelib.likelihoods` reads x."""

    def __init__(self, *, latent_dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU())

    def forward(self, z: Tensor) -> Tensor:
        """z `[..., d]` to features `[..., hidden]`."""
        return self.body(z)


def diagonal_normal(mu: Tensor, sigma: Tensor) -> Independent:
    """N(mu, diag sigma^2) with the last dimension as the event, so that `log_prob` sums over it."""
    return Independent(Normal(mu, sigma, validate_args=False), 1, validate_args=False)
