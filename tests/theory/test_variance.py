r"""The variance budget and the shares of covariance, against closed forms, in float64."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelib.diagnostics.variance import (
    covariance_share,
    neighbour_correlation,
    pixel_covariance,
    residual_draws,
    variance_budget,
)
from vaelib.likelihoods.correlated import LowRankGaussian, StructuredNormal, window
from vaelib.vae import VAE

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

DRAWS = 100_000
#: Higher than wide, so that lines and columns are not taken for one another.
SHAPE = HEIGHT, WIDTH = 12, 9
PIXELS = HEIGHT * WIDTH


def decoder(head, latent_dim=2):
    """A VAE of which only the prior and the likelihood are used."""
    return VAE(encoder=nn.Identity(), decoder=nn.Identity(), head=head, latent_dim=latent_dim)


# The budget


def test_the_code_of_a_linear_model_explains_the_trace_of_w_and_the_rest_is_sigma(linear):
    vae, W, _, sigma, _ = linear
    budget = variance_budget(vae, vae.prior.sample((DRAWS,)))
    explained, noise = W.square().sum().item(), 6 * sigma**2
    assert budget.explained == pytest.approx(explained, rel=0.02)
    assert budget.noise == pytest.approx(noise, rel=0.01)
    assert budget.total == budget.explained + budget.noise


def test_the_parts_add_up_to_the_variance_of_the_samples(linear):
    z = linear.vae.prior.sample((DRAWS,))
    total = linear.vae.likelihood(z).sample().var(dim=0).sum().item()
    assert variance_budget(linear.vae, z).total == pytest.approx(total, rel=0.02)


def test_one_code_explains_nothing(linear):
    budget = variance_budget(linear.vae, torch.ones(DRAWS, 2))
    assert budget.explained == pytest.approx(0, abs=6 * 0.25 * 5 / DRAWS**0.5)
    assert budget.noise == pytest.approx(6 * 0.25, rel=0.01)


def test_without_noise_all_is_explained(linear):
    linear.vae.head.sigma = 1e-9
    z = linear.vae.prior.sample((1_000,))
    budget = variance_budget(linear.vae, z)
    exact = linear.vae.likelihood(z).mean.var(dim=0, correction=0).sum().item()
    assert budget.explained == pytest.approx(exact, rel=1e-6)
    assert budget.noise == pytest.approx(0, abs=1e-15)


def test_correlated_pixels_have_the_noise_of_their_variances(linear):
    linear.vae.head = LowRankGaussian(features=2, shape=(6,), rank=2)
    z = linear.vae.prior.sample((DRAWS,))
    px_z = linear.vae.likelihood(z)
    budget = variance_budget(linear.vae, z)
    assert budget.noise == pytest.approx(px_z.variance.mean(dim=0).sum().item(), rel=0.02)
    assert budget.explained == pytest.approx(px_z.mean.var(dim=0).sum().item(), abs=0.03 * budget.total)


# The share of covariance


def test_the_share_is_that_of_the_matrix_outside_its_diagonal():
    x = torch.randn(50, 6) @ torch.randn(6, 6)
    covariance = x.T.cov()
    outside = covariance.sum() - covariance.trace()
    assert covariance_share(x) == pytest.approx((outside / covariance.sum()).item())


def test_draws_have_the_share_of_their_covariance():
    factor = torch.randn(6, 6)
    covariance = factor @ factor.T + factor.square().sum() / 6
    exact = 1 - (covariance.trace() / covariance.sum()).item()
    assert exact > 0.5
    x = MultivariateNormal(torch.randn(6), covariance).sample((DRAWS,))
    assert covariance_share(x) == pytest.approx(exact, abs=0.01)


def test_independent_pixels_share_nothing():
    x = torch.randn(DRAWS, 6) * torch.linspace(0.1, 3, 6)
    assert covariance_share(x) == pytest.approx(0, abs=5 * math.sqrt(2 / DRAWS) * 2)


@over("pixels", [2, 10, 100])
def test_equal_pixels_share_all_but_one_part_in_so_many(pixels):
    assert covariance_share(torch.randn(100, 1).expand(100, pixels)) == pytest.approx(1 - 1 / pixels)


def test_pixels_that_make_up_for_one_another_have_a_negative_share():
    x = torch.randn(100, 1)
    # Variances 1 and 1/4, variance of the sum 1/4: the share is 1 - 5.
    assert covariance_share(torch.cat([x, -x / 2], dim=1)) == pytest.approx(-4)


def test_the_share_depends_neither_on_scale_nor_on_the_mean_image():
    x = torch.randn(50, 6) @ torch.randn(6, 6)
    assert covariance_share(3 * x + torch.randn(6)) == pytest.approx(covariance_share(x))


# Residuals


class Structured(nn.Module):
    """A mean that moves with the code, and one covariance for all codes."""

    def __init__(self):
        super().__init__()
        self.filters = torch.tensor([[0.1, 0.4, -0.2, 0.25]])
        self.sigma = torch.rand(PIXELS) + 0.1

    def forward(self, z):
        mu = z.sum(dim=-1, keepdim=True).expand(*z.shape[:-1], PIXELS)
        gates = torch.ones(*z.shape[:-1], 1, PIXELS)
        return StructuredNormal(
            mu=mu, sigma=self.sigma.expand_as(mu), gates=gates, filters=self.filters, radius=1, shape=SHAPE
        )

    def covariance(self):
        """(L^T L)^-1, L written out pixel by pixel."""
        L = torch.zeros(PIXELS, PIXELS)
        for j in range(PIXELS):
            row, column = divmod(j, WIDTH)
            L[j, j] = 1 / self.sigma[j]
            for tap, (down, right) in zip(self.filters[0], window(1), strict=True):
                if row + down >= 0 and 0 <= column + right < WIDTH:
                    L[j, (row + down) * WIDTH + column + right] = -tap / self.sigma[j]
        return torch.linalg.inv(L.T @ L)


def test_residuals_have_the_covariance_of_correlated_pixels_whatever_the_code():
    head, draws = Structured(), 3_000
    residuals = residual_draws(decoder(head), 5 * torch.randn(draws, 2))
    covariance = head.covariance()
    variances = covariance.diagonal()
    error = ((variances[:, None] * variances + covariance.square()) / draws).sqrt()
    z_scores = (residuals.T.cov() - covariance) / error
    assert z_scores.abs().max() < 6
    assert 0.8 < z_scores.square().mean() < 1.25
    assert (residuals.mean(dim=0) / (variances / draws).sqrt()).abs().max() < 5


def test_residuals_have_the_covariance_averaged_over_the_codes():
    head = LowRankGaussian(features=2, shape=(4,), rank=2)
    codes = torch.tensor([[-3.0, 1.0], [4.0, 2.0]])
    residuals = residual_draws(decoder(head), codes.repeat(DRAWS // 2, 1))
    exact = head(codes).covariance_matrix.mean(dim=0)
    torch.testing.assert_close(residuals.T.cov(), exact, rtol=0, atol=0.03 * exact.abs().max().item())


def test_residuals_of_independent_pixels_share_nothing_while_the_samples_share_what_the_code_explains(linear):
    vae, W, _, sigma, _ = linear
    z = vae.prior.sample((DRAWS,))
    assert covariance_share(residual_draws(vae, z)) == pytest.approx(0, abs=0.03)
    covariance = W @ W.T + sigma**2 * torch.eye(6)
    exact = 1 - (covariance.trace() / covariance.sum()).item()
    samples = vae.likelihood(z).sample()
    assert 1 - covariance_share(samples) == pytest.approx(1 - exact, rel=0.03)


# Covariances themselves


def test_the_sum_of_covariances_is_the_variance_of_the_sum_less_the_sum_of_variances():
    x = torch.randn(200, 5) @ torch.randn(5, 5) + 3
    covariance = torch.cov(x.T)
    outside = covariance.sum() - covariance.trace()
    assert pixel_covariance(x) == pytest.approx(outside.item())
    assert pixel_covariance(x) == pytest.approx(covariance_share(x) * x.sum(dim=1).var().item())


def test_independent_noise_adds_no_covariance_and_one_brightness_for_all_adds_its_own():
    """m (m - 1) times its variance."""
    x, noise, brightness = torch.rand(DRAWS, 4), torch.randn(DRAWS, 4), torch.randn(DRAWS, 1)
    exact = brightness.var().item() * 4 * 3
    assert pixel_covariance(x + noise) == pytest.approx(0, abs=exact / 50)
    assert pixel_covariance(x + brightness) == pytest.approx(exact, rel=0.02)


def test_neighbours_in_independent_pixels_are_uncorrelated_and_in_pixels_that_are_one_correlated():
    x = torch.randn(1_000, PIXELS) * torch.linspace(0.1, 3, PIXELS)
    assert neighbour_correlation(x, shape=SHAPE) == pytest.approx(0, abs=5 / math.sqrt(1_000 * PIXELS))
    assert neighbour_correlation(torch.randn(50, 1).expand(50, PIXELS), shape=SHAPE) == pytest.approx(1)


def test_a_chessboard_that_flips_has_neighbours_that_are_opposites():
    board = (torch.arange(HEIGHT)[:, None] + torch.arange(WIDTH)) % 2 * 2.0 - 1
    assert neighbour_correlation(torch.randn(50, 1) * board.flatten(), shape=SHAPE) == pytest.approx(-1)


def test_the_correlation_of_neighbours_is_that_across_and_down_by_hand():
    """Rows that are constant, and independent of each other: across 1, down 0."""
    x = torch.randn(DRAWS // 10, HEIGHT, 1).expand(-1, HEIGHT, WIDTH).flatten(1)
    across, down = HEIGHT * (WIDTH - 1), (HEIGHT - 1) * WIDTH
    assert neighbour_correlation(x, shape=SHAPE) == pytest.approx(across / (across + down), abs=0.01)
    assert neighbour_correlation(x, shape=(1, PIXELS)) > 0.8, "and the shape counts"


def test_the_correlation_of_neighbours_does_not_see_mean_or_contrast():
    x = torch.randn(100, PIXELS).cumsum(dim=1)
    moved = neighbour_correlation(0.2 * x + torch.rand(PIXELS), shape=SHAPE)
    assert moved == pytest.approx(neighbour_correlation(x, shape=SHAPE))


@over("shape", [(PIXELS,), (HEIGHT, 3, 3)])
def test_the_correlation_of_neighbours_is_that_of_grey_images(shape):
    with pytest.raises(ValueError, match="neighbours are those of grey images with two sides"):
        neighbour_correlation(torch.rand(2, PIXELS), shape=shape)
