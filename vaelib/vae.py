r"""The VAE: a prior over z, a likelihood of x given z, and an approximate posterior of z given x."""

from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.priors import StandardNormal


class VAE(nn.Module):
    r"""Three distributions: :math:`p(z)`, :math:`p_\theta(x|z)`, :math:`q_\varphi(z|x)` (Figure 5.2).

    `encoder` maps x to q(z|x); `decoder` maps z to features and `head` the features to p(x|z); `code_prior`, called
    without arguments, is p(z), by default N(0, I).
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
        """q(z|x) for x `[B, pixels]`, batch `[B]`, event `[d]`."""
        return self.encoder(x)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) for z `[..., d]`, batch `[...]`, event `[pixels]`."""
        return self.head(self.decoder(z))
