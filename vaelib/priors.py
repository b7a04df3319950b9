r"""Priors over the code: the standard Normal of the source, two that are learned, and one that is fitted to codes.

Each is a module without input whose call gives the distribution p(z), event `[d]`. A learned prior enters the same
bound as the fixed one: :math:`\ln p(x, z)` holds its density, and its parameters are maximised with all others. The
fitted one is another step up this bound, in p(z) alone, after training.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    constraints,
)

from vaelib.networks import diagonal_normal

#: Codes at a time where each meets tens of thousands of others.
AT_ONCE = 200


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


class ManyNormals(Distribution):
    r""":math:`p(z) = \frac1N \sum_n N(z; m_n, L_n L_n^\top)` with tens of thousands of components, event `[d]`.

    `means` is `[N, d]`, `scale_tril` `[N, d, d]`. The logarithm of a component is a quadratic function of z, so that
    all of them at many z are one product of matrices. `coefficients` are those of the functions, and are computed where
    they are not given.

    >>> one = ManyNormals(torch.zeros(1, 2), torch.eye(2)[None])
    >>> z = torch.randn(5, 2)
    >>> torch.allclose(one.log_prob(z), StandardNormal(latent_dim=2)().log_prob(z), atol=1e-6)
    True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, means: Tensor, scale_tril: Tensor, coefficients: Tensor | None = None) -> None:
        self.means, self.scale_tril = means, scale_tril
        self.coefficients = _quadratic(means, scale_tril) if coefficients is None else coefficients
        super().__init__(torch.Size(), means.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """`[d]`."""
        return self.means.mean(dim=0)

    def log_prob(self, value: Tensor) -> Tensor:
        """ln p(z) for z `[..., d]`, in nats."""
        around = (value - self.mean).flatten(end_dim=-2)
        return torch.cat([self._log_prob(z) for z in around.split(AT_ONCE)]).view(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, `[*sample_shape, d]`."""
        which = torch.randint(len(self.means), tuple(sample_shape), device=self.means.device)
        noise = torch.randn(*which.shape, *self.event_shape, dtype=self.means.dtype, device=self.means.device)
        return self.means[which] + (self.scale_tril[which] @ noise[..., None])[..., 0]

    def _log_prob(self, z: Tensor) -> Tensor:
        rows, columns = torch.tril_indices(*(2 * self.event_shape), device=z.device)
        terms = torch.cat([z[:, rows] * z[:, columns], z, torch.ones_like(z[:, :1])], dim=1)
        return (terms @ self.coefficients).logsumexp(dim=1) - math.log(len(self.means))


def _quadratic(means: Tensor, scale_tril: Tensor) -> Tensor:
    """Of the ln of each Normal, `[d (d + 1) / 2 + d + 1, N]`: products of codes less the mean of all, codes, one."""
    kind, means, factor = means, (means - means.mean(dim=0)).double(), scale_tril.double()
    inverse = torch.linalg.solve_triangular(factor, torch.eye(means.shape[1]).to(factor), upper=False)
    precision = inverse.mT @ inverse
    rows, columns = torch.tril_indices(*precision.shape[1:], device=means.device)
    squares = torch.where(rows == columns, -0.5, -1.0) * precision[:, rows, columns]
    linear = (precision @ means[..., None])[..., 0]
    at_zero = MultivariateNormal(means, scale_tril=factor, validate_args=False).log_prob(torch.zeros_like(means))
    return torch.cat([squares, linear, at_zero[:, None]], dim=1).T.contiguous().to(kind)


class SmoothedPosterior(nn.Module):
    """The aggregate posterior of images, made smooth, see :func:`fit_neighbours`: no part of the bound in training.

    >>> one = SmoothedPosterior(means=torch.zeros(1, 2), scale_tril=torch.eye(2)[None])()
    >>> one.sample((5,)).shape
    torch.Size([5, 2])
    """

    def __init__(self, *, means: Tensor, scale_tril: Tensor) -> None:
        super().__init__()
        parts = {"means": means, "scale_tril": scale_tril, "coefficients": _quadratic(means, scale_tril)}
        for name, value in parts.items():
            self.register_buffer(name, value)

    def forward(self) -> ManyNormals:
        """The distribution, event `[d]`."""
        return ManyNormals(*(self.get_buffer(name) for name in ("means", "scale_tril", "coefficients")))


@torch.no_grad()
def fit_neighbours(qz_x: Distribution, *, neighbours: int) -> SmoothedPosterior:
    r"""A prior from the codes of a trained model: the aggregate posterior of its images, smoothed.

    The prior that maximises the bound on N images, all else held, is their aggregate posterior
    :math:`\frac1N \sum_n q(z|x_n)` (Tomczak and Welling 2018), which has learned them by heart. Here each of its terms
    is replaced by the Normal that has the mean and the covariance of the mixture of the k posteriors nearest to it,

    .. math:: m_n = \frac1k \sum_{i \in k(n)} \mu_i, \qquad
        C_n = \frac1k \sum_{i \in k(n)} \big[(\mu_i - m_n)(\mu_i - m_n)^\top + \mathrm{diag}\,\sigma_i^2\big]

    (a manifold Parzen window, Vincent and Bengio 2003, around the mean of the neighbours). With k = 1 it is the
    aggregate posterior, with k = N a single Normal. `qz_x` are the posteriors of images, batch shape `[N]`, event
    `[d]`, with a `mean` and a `variance`; k = `neighbours`. Raises ValueError where k is not between 1 and N.

    >>> qz_x = diagonal_normal(torch.randn(50, 2), torch.full((50, 2), 0.1))
    >>> aggregate, normal = (fit_neighbours(qz_x, neighbours=k)() for k in (1, 50))
    >>> aggregate.log_prob(qz_x.mean).mean() > normal.log_prob(qz_x.mean).mean()
    tensor(True)
    """
    from sklearn.neighbors import NearestNeighbors

    mu, variance = qz_x.mean.double(), qz_x.variance.double()
    if not 1 <= neighbours <= len(mu):
        raise ValueError(f"neighbours must be between 1 and the number of codes, {len(mu)}, got {neighbours}")
    codes = mu.float().cpu().numpy()
    search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(codes)
    nearest = torch.from_numpy(search.kneighbors(codes, return_distance=False)).to(mu.device)
    means, factors = [], []
    for near in nearest.split(AT_ONCE):
        among = mu[near]
        means.append(among.mean(dim=1))
        away = among - means[-1][:, None]
        covariance = away.mT @ away / neighbours + variance[near].mean(dim=1).diag_embed()
        factors.append(torch.linalg.cholesky(covariance))
    return SmoothedPosterior(means=torch.cat(means).to(qz_x.mean), scale_tril=torch.cat(factors).to(qz_x.mean))
