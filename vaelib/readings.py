r"""One trained model, read in more than one way: with another prior, as its twin, with an encoder that is fitted to it.

Weights say less than a model. A weight :math:`\beta` on the KL is a statement on the observation's variance; codes have
a distribution that p(z) need not be; and an encoder that was trained for one p(x) bounds another one badly.
"""

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from vaelib.errors import positive_std
from vaelib.likelihoods.gaussian import FixedGaussian
from vaelib.training import fit
from vaelib.vae import VAE

#: The schedule of :func:`refit_encoder`: images seen, over as many passes as that is; images a step; learning rate.
REFIT_IMAGES, REFIT_BATCH, REFIT_RATE = 64_000, 64, 1e-3


def with_prior(vae: VAE, code_prior: nn.Module) -> VAE:
    r"""A copy with another p(z), such as one that was fitted to its codes; :math:`p(x|z)` and q(z|x) are the same.

    >>> vae = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    >>> other = with_prior(vae, fit_mixture(torch.randn(50, 2), components=1, seed=0))
    >>> type(vae.code_prior).__name__, type(other.code_prior).__name__
    ('StandardNormal', 'FittedMixture')
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


def refit_encoder(
    vae: VAE, objective: Callable[[VAE, Tensor], Tensor], data: Sequence[Tensor], *, images: int = REFIT_IMAGES
) -> VAE:
    r"""A copy whose encoder alone was fitted: :math:`\max_\varphi E[\text{objective}]`, p(z) and p(x|z) as they are.

    For a p(x) that the encoder was not trained for the ELBO is a bound, and importance weights are few, through no
    fault of p(x). `objective(vae, x)` `[B]` is what is maximised over `data`, one tensor of training images; training
    starts from the encoder as it is, takes batches of `REFIT_BATCH` and ends when `images` were seen, the last pass
    completed, at a learning rate that falls from `REFIT_RATE` to 0. A likelihood that calibrates itself stands still.

    >>> vae, x = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4), torch.rand(100, 6)
    >>> refitted = refit_encoder(vae, elbo_nats, [x], images=2_000)
    >>> bool(elbo_nats(refitted, x).mean() > elbo_nats(vae, x).mean())
    True
    >>> all(torch.equal(a, b) for a, b in zip(vae.head.parameters(), refitted.head.parameters()))
    True
    """
    refitted = copy.deepcopy(vae).eval().requires_grad_(False)
    encoder = refitted.encoder.requires_grad_(True)
    steps = fit(
        encoder,  # the loop sets nothing else to training mode
        lambda *batch: -objective(refitted, *batch),
        data,
        epochs=-(-images // len(data[0])),
        batch_size=REFIT_BATCH,
        learning_rate=REFIT_RATE,
        decay=True,
    )
    for _ in steps:
        pass
    return refitted.requires_grad_(False)
