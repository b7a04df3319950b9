r"""The VAE: a prior over z, a likelihood of x given z, and an approximate posterior of z given x."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from vaelib.networks import diagonal_normal


class VAE(nn.Module):
    r"""Three distributions: :math:`p(z) = N(0, I)`, :math:`p_\theta(x|z)`, :math:`q_\varphi(z|x)` (Figure 5.2).

    `encoder` maps x to q(z|x); `decoder` maps z to features and `head` the features to p(x|z).
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        latent_dim: int,
    ) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.latent_dim = latent_dim
        self.register_buffer("prior_mu", torch.zeros(latent_dim))
        self.register_buffer("prior_sigma", torch.ones(latent_dim))

    @property
    def prior(self) -> Independent:
        """p(z), event `[d]`."""
        return diagonal_normal(self.get_buffer("prior_mu"), self.get_buffer("prior_sigma"))

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) for x `[B, pixels]`, batch `[B]`, event `[d]`."""
        return self.encoder(x)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) for z `[..., d]`, batch `[...]`, event `[pixels]`."""
        return self.head(self.decoder(z))
