r"""The aggregate posterior as a density: a mixture of Normals that is fitted to codes after training."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal


class FittedMixture(nn.Module):
    """A mixture of Normals with full covariances that was fitted to codes after training: no part of the bound."""

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
    """The maximum likelihood mixture of `components` Normals for codes `[N, d]`, by scikit-learn's EM algorithm."""
    mixture = GaussianMixture(components, covariance_type="full", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop is a density as well
        fitted = mixture.fit(codes.cpu().double().numpy())
    values = (torch.from_numpy(value).to(codes) for value in (fitted.weights_, fitted.means_, fitted.covariances_))
    return FittedMixture(**dict(zip(("weights", "means", "covariances"), values, strict=True)))
