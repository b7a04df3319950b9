r"""Draws from the model have the moments that the model says."""

import math

import pytest
import torch
from torch.distributions import Normal

from vaelib.likelihoods.bernoulli import BernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian
from vaelib.linear import linear_vae
from vaelib.networks import DecoderBody, Encoder
from vaelib.sampling import ancestral_sampling, decoded_grid, deterministic_sampling, quantile_images, reconstructions
from vaelib.vae import VAE

N = 100_000


def small_vae(head):
    return VAE(
        encoder=Encoder(pixels=4, latent_dim=2, hidden=5),
        decoder=DecoderBody(latent_dim=2, hidden=5),
        head=head,
        latent_dim=2,
    )


@pytest.mark.parametrize("head", [PixelwiseGaussian, BernoulliPixels], ids=["pixelwise gaussian", "bernoulli"])
def test_ancestral_samples_have_the_mean_and_variance_that_the_decoder_says(head, float64):
    vae = small_vae(head(features=5, shape=(4,)))
    x = ancestral_sampling(vae, N)
    px_z = vae.likelihood(vae.prior.sample((N,)))
    variance = px_z.variance.mean(0) + px_z.mean.var(0)  # the law of total variance
    torch.testing.assert_close(x.mean(0), px_z.mean.mean(0), rtol=0, atol=5 * (2 * variance.max() / N).sqrt().item())
    torch.testing.assert_close(x.var(0), variance, rtol=0.03, atol=0)


def test_ancestral_samples_of_the_linear_vae_have_the_covariance_of_its_evidence(linear):
    vae, W, b, sigma, _ = linear
    covariance = W @ W.T + sigma**2 * torch.eye(6)
    x = ancestral_sampling(vae, N)
    largest = covariance.diagonal().max().item()  # tolerances: five standard errors of the largest element
    torch.testing.assert_close(x.mean(0), b, rtol=0, atol=5 * (largest / N) ** 0.5)
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0, atol=5 * largest * (2 / N) ** 0.5)


def test_deterministic_samples_are_means_and_vary_less(linear):
    x = deterministic_sampling(linear.vae, N)
    torch.testing.assert_close(x.T.cov(), linear.W @ linear.W.T, rtol=0.05, atol=0.05)


def test_both_algorithms_draw_the_same_codes_after_one_seed():
    vae = small_vae(FixedGaussian(features=5, shape=(4,), sigma=1e-6))
    torch.manual_seed(3)
    x = ancestral_sampling(vae, 16)
    torch.manual_seed(3)
    mu_x = deterministic_sampling(vae, 16)
    torch.testing.assert_close(x, mu_x, rtol=0, atol=1e-5)
    assert not torch.equal(x, mu_x)
    assert mu_x.std(0).min() > 1e-3


def test_every_pixel_of_a_quantile_image_sits_at_the_same_quantile(float64):
    vae = small_vae(PixelwiseGaussian(features=5, shape=(4,)))
    torch.manual_seed(3)
    px_z = vae.likelihood(vae.prior.sample((16,)))
    for alpha in (-1.0, 0.0, 2.0):
        torch.manual_seed(3)
        quantiles = px_z.base_dist.cdf(quantile_images(vae, 16, alpha=alpha))
        torch.testing.assert_close(quantiles, torch.full((16, 4), 0.5 * (1 + math.erf(alpha / 2**0.5))))


def test_a_reconstruction_is_the_mean_image_of_the_mean_code(linear):
    vae, W, b, sigma, x = linear
    M = W.T @ W + sigma**2 * torch.eye(2)
    torch.testing.assert_close(reconstructions(vae, x), b + (x - b) @ W @ torch.linalg.inv(M) @ W.T)


def test_the_grid_runs_through_the_quantiles_with_z1_to_the_right_and_z2_up(float64):
    vae = linear_vae(pixels=2, latent_dim=2, sigma=1.0)
    vae.head.mu.weight.data, vae.head.mu.bias.data = torch.eye(2), torch.zeros(2)  # the image is the code
    grid = Normal(0.0, 1.0).cdf(decoded_grid(vae, side=4))  # [row, column, (z_1, z_2)]
    shares = torch.tensor([1, 3, 5, 7]) / 8
    torch.testing.assert_close(grid[..., 0], shares.expand(4, 4))
    torch.testing.assert_close(grid[..., 1], shares.flip(0)[:, None].expand(4, 4))


def test_a_grid_needs_two_latent_dimensions():
    with pytest.raises(ValueError, match="latent dimension 2, this model has 3"):
        decoded_grid(linear_vae(pixels=2, latent_dim=3, sigma=1.0), side=4)


@pytest.mark.parametrize("draw", [ancestral_sampling, deterministic_sampling], ids=lambda draw: draw.__name__)
def test_sampling_tracks_no_gradient(draw, linear):
    assert not draw(linear.vae, 3).requires_grad
