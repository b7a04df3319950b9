r"""One trained model, read in more than one way: with another prior, as its twin, with a posterior for each image.

Weights say less than a model. A weight :math:`\beta` on the KL is a statement on the observation's variance; codes have
a distribution that p(z) need not be; and an encoder bounds a p(x) that it was not trained for badly, and any p(x) less
well than a posterior that is fitted to the image at hand.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.errors import positive_std
from vaelib.likelihoods.gaussian import FixedGaussian
from vaelib.vae import VAE

#: The schedule of :func:`local_posterior`, and the least standard deviation that it starts from.
LOCAL_STEPS, LOCAL_DRAWS, LOCAL_RATE, LEAST_STD = 300, 4, 0.1, 1e-4


def with_prior(vae: VAE, code_prior: nn.Module) -> VAE:
    r"""A copy with another p(z), such as one that was fitted to its codes; :math:`p(x|z)` and q(z|x) are the same.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> other = with_prior(vae, fit_neighbours(vae.posterior(torch.rand(50, 6)), neighbours=10))
    >>> type(vae.code_prior).__name__, type(other.code_prior).__name__
    ('StandardNormal', 'SmoothedPosterior')
    """
    other = copy.deepcopy(vae)
    other.code_prior = code_prior
    return other


def twin(vae: VAE, *, beta: float) -> VAE:
    r"""The model with :math:`\beta = 1` that a model of fixed sigma and a weight beta was trained as (Proposition 1).

    .. math:: \mathcal{L}_{\sigma,\beta} = \beta\, \mathcal{L}_{\sqrt\beta\,\sigma,\,1}
        - \frac{m}{2}\big(\ln 2\pi\sigma^2 - \beta \ln 2\pi\beta\sigma^2\big)

    so both objectives have the same maxima: the same networks, read with the standard deviation
    :math:`\sqrt\beta\,\sigma` in the place of sigma. For this model the objective was a bound of ln p(x), and the
    encoder was fitted to it. Raises ValueError where beta is not positive, and TypeError for another likelihood than
    `FixedGaussian`, which states no sigma that could be read otherwise.

    >>> from functools import partial
    >>> from math import log, pi
    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=partial(FixedGaussian, sigma=1.0), hidden=4), torch.rand(5, 6)
    >>> with seeded(0):
    ...     weighted = beta_elbo_nats(vae, x, beta=0.01)
    >>> with seeded(0):
    ...     elbo = elbo_nats(twin(vae, beta=0.01), x)
    >>> constant = 6 / 2 * (log(2 * pi) - 0.01 * log(2 * pi * 0.01))
    >>> torch.allclose(weighted, 0.01 * elbo - constant)
    True
    """
    positive_std("beta", beta)
    if not isinstance(vae.head, FixedGaussian):
        raise TypeError(f"only a FixedGaussian has a twin, this model has a {type(vae.head).__name__}")
    other = copy.deepcopy(vae)
    other.head.sigma = beta**0.5 * vae.head.sigma
    return other


def local_posterior(
    vae: VAE, log_likelihood: Callable[[Distribution], Tensor], *, start: Distribution
) -> MultivariateNormal:
    r"""For each image its own :math:`q(z) = N(\mu, L L^T)`, fitted to :math:`E_q[\ln p(x|z) + \ln p(z) - \ln q(z)]`.

    An encoder is one function for all images and, here, has a diagonal covariance; what it loses by that
    (Cremer et al. 2018) is charged to the model by any number that rests on its draws, and more of it to a model that
    it was not trained for. This q starts at `start`, that of the encoder for x `[B, m]`, and takes `LOCAL_STEPS` steps
    of Adam with `LOCAL_DRAWS` draws each at a rate that falls from `LOCAL_RATE` to 0: q is fitted, the model is not.
    `log_likelihood` maps p(x|z) for z `[k, B, d]` to ln P(x|z) of these images, `[k, B]`. An image for which this leads
    to numbers that are none keeps its start.

    >>> from torch.distributions import Normal
    >>> from vaelib.pca import optimal_linear_vae, spectrum
    >>> x = torch.randn(50, 3).double()
    >>> vae = optimal_linear_vae(spectrum(x), latent_dim=2, sigma=0.5)
    >>> away = Normal(vae.posterior(x).mean + 0.1, torch.full((50, 2), 0.3).double())
    >>> q = local_posterior(vae, lambda px_z: px_z.log_prob(x), start=away)
    >>> bool((q.mean - vae.posterior(x).mean).abs().mean() < 0.02)  # p(z|x) is known here
    True
    """
    with torch.no_grad():
        mu, sigma = start.mean.clone(), start.stddev.clamp(min=LEAST_STD)
    rows, columns = torch.tril_indices(mu.shape[-1], mu.shape[-1], offset=-1)
    free = [torch.zeros_like(mu), torch.zeros_like(mu), torch.zeros_like(mu[:, :1]).repeat(1, len(rows))]
    learned = [part.requires_grad_(True) for part in free]

    def q() -> MultivariateNormal:
        """In units of the start, row by row."""
        shift, log_scale, below = learned
        scale = sigma * log_scale.exp()
        unit = torch.diag_embed(torch.ones_like(scale))
        unit[:, rows, columns] = below
        return MultivariateNormal(mu + sigma * shift, scale_tril=scale[..., None] * unit, validate_args=False)

    optimiser = torch.optim.Adam(learned, lr=LOCAL_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, LOCAL_STEPS)
    with torch.enable_grad(), _frozen(vae):
        for _ in range(LOCAL_STEPS):
            now = q()
            z = now.rsample((LOCAL_DRAWS,))
            bound = log_likelihood(vae.likelihood(z)) + vae.prior.log_prob(z) - now.log_prob(z)  # [k, B]
            optimiser.zero_grad()
            (-bound.mean(dim=0).sum()).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        fine = torch.cat(learned, dim=-1).isfinite().all(dim=-1, keepdim=True)
        for part in learned:
            part.copy_(torch.where(fine, part, 0.0))
        return q()


@contextmanager
def _frozen(vae: VAE) -> Iterator[None]:
    """Without gradients of its parameters."""
    before = [(parameter, parameter.requires_grad) for parameter in vae.parameters()]
    vae.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)
