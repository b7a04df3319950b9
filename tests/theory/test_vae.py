r"""The VAE holds three distributions."""

import math

import pytest
import torch
from torch import nn

from vaelib.likelihoods.gaussian import PixelwiseGaussian
from vaelib.networks import DecoderBody, Encoder
from vaelib.vae import VAE


@pytest.fixture
def vae() -> VAE:
    return VAE(
        encoder=Encoder(pixels=6, latent_dim=2, hidden=5),
        decoder=DecoderBody(latent_dim=2, hidden=5),
        head=PixelwiseGaussian(features=5, pixels=6),
        latent_dim=2,
    )


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
