r"""The networks return distributions that declare their event."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaelib.networks import DecoderBody, Encoder, diagonal_normal, softplus

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


def test_softplus_is_that_of_torch_up_to_the_rounding_of_one():
    x = torch.cat([torch.linspace(-50, 50, 2001), torch.tensor([-1e30, 1e30, -torch.inf, torch.inf, torch.nan])])
    for dtype in (torch.float32, torch.float64):
        exact = torch.nn.functional.softplus(x.double(), threshold=100).to(dtype)
        torch.testing.assert_close(
            softplus(x.to(dtype)), exact, atol=torch.finfo(dtype).eps, rtol=4 * torch.finfo(dtype).eps, equal_nan=True
        )


def test_softplus_has_the_derivatives_of_its_formula():
    x = torch.tensor([-30.0, -1.0, 0.0, 0.5, 40.0], requires_grad=True)
    assert torch.autograd.gradcheck(softplus, x)
    assert torch.autograd.gradgradcheck(softplus, x)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(softplus))(x), torch.sigmoid(x))


def test_softplus_at_infinity_stops_the_gradient_below_and_lets_it_through_above():
    x = torch.tensor([-torch.inf, torch.inf], requires_grad=True)
    (slope,) = torch.autograd.grad(softplus(x).sum(), x)
    assert slope.tolist() == [0, 1]
