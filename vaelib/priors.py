r"""Priors over the code: the standard Normal of the source, and two that are learned as part of the model.

Each is a module without input whose call gives the distribution p(z), event `[d]`. A learned prior enters the same
bound as the fixed one: :math:`\ln p(x, z)` holds its density, and its parameters are maximised with all others.
"""

import warnings

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, MultivariateNormal, Normal

from vaelib.networks import diagonal_normal


class StandardNormal(nn.Module):
    """p(z) = N(0, I): nothing is learned.

    >>> prior = StandardNormal(latent_dim=2)()
    >>> prior.mean, prior.variance
    (tensor([0., 0.]), tensor([1., 1.]))
    """

    def __init__(self, *, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mu", torch.zeros(latent_dim))
        self.register_buffer("sigma", torch.ones(latent_dim))

    def forward(self) -> Independent:
        """The distribution, event `[d]`."""
        return diagonal_normal(self.get_buffer("mu"), self.get_buffer("sigma"))


class LearnedMixture(nn.Module):
    r""":math:`p(z) = \sum_c \pi_c\, N(z; m_c, \mathrm{diag}\,s_c^2)`, all of it learned with the model.

    >>> prior = LearnedMixture(latent_dim=2, components=3)()
    >>> prior.event_shape, prior.log_prob(torch.randn(5, 2)).shape
    (torch.Size([2]), torch.Size([5]))
    """

    def __init__(self, *, latent_dim: int, components: int = 100) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mu = nn.Parameter(torch.randn(components, latent_dim))
        self.log_sigma = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self) -> MixtureSameFamily:
        """The distribution, event `[d]`."""
        components = Independent(Normal(self.mu, self.log_sigma.exp(), validate_args=False), 1, validate_args=False)
        weights = Categorical(logits=self.logits, validate_args=False)
        return MixtureSameFamily(weights, components, validate_args=False)


class LearnedFlow(nn.Module):
    r""":math:`\ln p(z) = \ln N(f(z); 0, I) + \ln |\det f'(z)|` with an autoregressive flow f, learned with the model.

    A masked autoregressive flow (Papamakarios et al. 2017) from the library zuko.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, prior=LearnedFlow, hidden=4)
    >>> elbo_nats(vae, torch.rand(5, 6)).shape
    torch.Size([5])
    """

    def __init__(self, *, latent_dim: int, transforms: int = 3, hidden: int = 64) -> None:
        super().__init__()
        self.flow = zuko.flows.MAF(latent_dim, transforms=transforms, hidden_features=(hidden, hidden))

    def forward(self) -> Distribution:
        """The distribution, event `[d]`."""
        return self.flow()


class FittedMixture(nn.Module):
    """A mixture of Normals with full covariances that was fitted to codes after training: no part of the bound.

    >>> one = FittedMixture(weights=torch.ones(1), means=torch.zeros(1, 2), covariances=torch.eye(2)[None])
    >>> z = torch.randn(5, 2)
    >>> torch.allclose(one().log_prob(z), StandardNormal(latent_dim=2)().log_prob(z))
    True
    """

    def __init__(self, *, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        super().__init__()
        for name, value in (("weights", weights), ("means", means), ("factors", torch.linalg.cholesky(covariances))):
            self.register_buffer(name, value)

    def forward(self) -> MixtureSameFamily:
        """The distribution, event `[d]`."""
        return MixtureSameFamily(
            Categorical(self.get_buffer("weights"), validate_args=False),
            MultivariateNormal(self.get_buffer("means"), scale_tril=self.get_buffer("factors"), validate_args=False),
            validate_args=False,
        )


def fit_mixture(codes: Tensor, *, components: int, seed: int) -> FittedMixture:
    """The maximum likelihood mixture of `components` Normals for codes `[N, d]`, by scikit-learn's EM algorithm.

    >>> z = torch.randn(50, 2)
    >>> one = fit_mixture(z, components=1, seed=0)()
    >>> torch.allclose(one.mean, z.mean(dim=0), atol=1e-6)
    True
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, covariance_type="full", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop is a density as well
        fitted = mixture.fit(codes.cpu().double().numpy())
    values = (torch.from_numpy(value).to(codes) for value in (fitted.weights_, fitted.means_, fitted.covariances_))
    return FittedMixture(**dict(zip(("weights", "means", "covariances"), values, strict=True)))
