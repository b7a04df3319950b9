r"""The networks return distributions that declare their event."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaelib.networks import DecoderBody, Encoder, diagonal_normal

pytestmark = pytest.mark.usefixtures("float64")


def test_diagonal_normal_is_the_multivariate_normal_with_diagonal_covariance():
    mu, sigma, x = torch.randn(4, 3), torch.rand(4, 3) + 0.1, torch.randn(5, 4, 3)
    full = MultivariateNormal(mu, torch.diag_embed(sigma**2))
    torch.testing.assert_close(diagonal_normal(mu, sigma).log_prob(x), full.log_prob(x))


def test_the_encoder_gives_one_posterior_per_image():
    qz_x = Encoder(pixels=6, latent_dim=2, hidden=5)(20 * torch.randn(100, 6))
    assert (qz_x.batch_shape, qz_x.event_shape) == ((100,), (2,))
    assert (qz_x.base_dist.scale > 0).all()


def test_the_encoder_sees_each_image_alone():
    encoder, x = Encoder(pixels=6, latent_dim=2, hidden=5), torch.randn(7, 6)
    torch.testing.assert_close(encoder(x).mean[3], encoder(x[3:4]).mean[0])
    torch.testing.assert_close(encoder(x).stddev[3], encoder(x[3:4]).stddev[0])


def test_the_decoder_keeps_the_dimensions_before_the_code():
    assert DecoderBody(latent_dim=2, hidden=5)(torch.randn(4, 7, 2)).shape == (4, 7, 5)
