r"""The VAE holds three distributions."""

import inspect
import math
import re
import textwrap
from functools import partial

import pytest
import torch
from torch import nn

from vaelib.likelihoods.autoregressive import NeighbourhoodHead
from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.correlated import LowRankGaussian, StructuredGaussian
from vaelib.likelihoods.discretised import DiscretisedLogistic, DiscretisedNormal, DiscretisedPixels
from vaelib.likelihoods.gaussian import (
    CalibratedGaussian,
    FixedGaussian,
    PixelwiseGaussian,
    SharedGaussian,
    ToleranceGaussian,
)
from vaelib.linear import LinearGaussian, SharedLinearGaussian
from vaelib.networks import DecoderBody, Encoder, diagonal_normal
from vaelib.objectives import elbo_nats, iwae_bound_nats
from vaelib.priors import LearnedFlow, LearnedMixture, StandardNormal
from vaelib.sampling import ancestral_sampling, reconstructions
from vaelib.seeding import seeded
from vaelib.vae import VAE, mlp_vae


@pytest.fixture
def vae() -> VAE:
    return mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=5)


def test_the_prior_is_standard_normal(vae):
    z = torch.randn(4, 2)
    torch.testing.assert_close(vae.prior.log_prob(z), -z.square().sum(-1) / 2 - math.log(2 * math.pi))


def test_the_prior_follows_the_precision_of_the_model(vae):
    assert vae.double().prior.sample().dtype == torch.float64


def test_posterior_and_likelihood_have_codes_and_images_as_events(vae):
    qz_x = vae.posterior(torch.rand(7, 6))
    px_z = vae.likelihood(qz_x.sample((3,)))
    assert (qz_x.batch_shape, qz_x.event_shape) == ((7,), (2,))
    assert (px_z.batch_shape, px_z.event_shape) == ((3, 7), (6,))


@pytest.mark.parametrize("latent_dim", [0, -1])
def test_a_code_has_at_least_one_dimension(latent_dim):
    with pytest.raises(ValueError, match=f"latent_dim must be at least 1, got {latent_dim}"):
        VAE(encoder=nn.Identity(), decoder=nn.Identity(), head=nn.Identity(), latent_dim=latent_dim)


# The networks of the chapter at any size

APART = {
    "pixelwise": PixelwiseGaussian,
    "fixed": partial(FixedGaussian, sigma=0.1),
    "shared": SharedGaussian,
    "calibrated": CalibratedGaussian,
    "tolerance": partial(ToleranceGaussian, tolerance=0.1),
    "bernoulli": BernoulliPixels,
    "continuous bernoulli": ContinuousBernoulliPixels,
    "discretised normal": partial(DiscretisedPixels, family=DiscretisedNormal),
    "discretised logistic": partial(DiscretisedPixels, family=DiscretisedLogistic),
    "low rank": partial(LowRankGaussian, rank=2),
    "linear": partial(LinearGaussian, sigma=0.1),
    "shared linear": SharedLinearGaussian,
}
NEIGHBOURS = {
    "structured": partial(StructuredGaussian, radius=1),
    "neighbourhood": partial(NeighbourhoodHead, radius=1),
}
CASES = [(name, shape) for name in APART for shape in ((5, 7), (3, 4, 5))] + [(name, (5, 7)) for name in NEIGHBOURS]


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_every_head_takes_images_of_any_size(name, shape):
    vae, m = mlp_vae(shape=shape, latent_dim=2, head=(APART | NEIGHBOURS)[name], hidden=8), math.prod(shape)
    x = torch.randint(0, 256, (4, m)) / 255
    assert elbo_nats(vae, x).isfinite().all()
    assert iwae_bound_nats(vae, x, samples=3).shape == (4,)
    assert ancestral_sampling(vae.eval(), 6).shape == (6, m)
    assert reconstructions(vae, x).shape == (4, m)


@pytest.mark.parametrize("prior", [StandardNormal, LearnedFlow, partial(LearnedMixture, components=3)])
def test_the_parts_are_drawn_in_one_order(prior):
    """Encoder, decoder, likelihood, prior: one seed gives the same weights as building them by hand."""
    with seeded(1):
        whole = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, prior=prior, hidden=5)
    with seeded(1):
        encoder, decoder = Encoder(pixels=6, latent_dim=2, hidden=5), DecoderBody(latent_dim=2, hidden=5)
        head, code_prior = PixelwiseGaussian(features=5, shape=(2, 3)), prior(latent_dim=2)
    parts = VAE(encoder=encoder, decoder=decoder, head=head, latent_dim=2, code_prior=code_prior).state_dict()
    assert whole.state_dict().keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.state_dict().items())


def test_the_example_of_foreign_modules_does_what_the_text_says():
    code = re.search(r"code-block:: python\n(.*)", inspect.getdoc(VAE), flags=re.DOTALL)[1]
    names = {"nn": nn, "VAE": VAE, "PixelwiseGaussian": PixelwiseGaussian, "diagonal_normal": diagonal_normal}
    exec(textwrap.dedent(code), names)
    vae, x = names["vae"], torch.rand(4, 3 * 32 * 32)
    assert vae.posterior(x).event_shape == (10,)
    assert elbo_nats(vae, x).shape == iwae_bound_nats(vae, x, samples=3).shape == (4,)
    assert ancestral_sampling(vae, 6).shape == (6, 3 * 32 * 32)
