r"""Collapse, mutual information and the aggregate posterior, against closed forms, in float64."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, kl_divergence

from vaelib.diagnostics import latent as collapse
from vaelib.diagnostics.latent import (
    collapsed_dimensions,
    elbo_surgery,
    kl_per_dimension_nats,
    mean_absolute_correlation,
)
from vaelib.networks import diagonal_normal
from vaelib.objectives import elbo_terms
from vaelib.pca import optimal_linear_vae, spectrum
from vaelib.seeding import seeded
from vaelib.vae import VAE

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize


class Codes(nn.Module):
    """An encoder that gives the n-th image the n-th of these Gaussians."""

    def __init__(self, mu, sigma):
        super().__init__()
        self.mu, self.sigma = mu, sigma.expand_as(mu)

    def forward(self, x):
        return diagonal_normal(self.mu, self.sigma)


def codes(mu, sigma):
    """A VAE with these codes, and as many images."""
    vae = VAE(encoder=Codes(mu, sigma), decoder=nn.Identity(), head=nn.Identity(), latent_dim=mu.shape[1])
    return vae, torch.zeros(len(mu), 1)


def surgery(mu, sigma):
    return elbo_surgery(*codes(mu, sigma))


# Collapse


def test_the_kl_of_the_elbo_is_the_sum_over_dimensions(linear):
    kl = kl_per_dimension_nats(linear.vae, linear.x)
    assert kl.shape == (8, 2)
    torch.testing.assert_close(kl.sum(-1), elbo_terms(linear.vae, linear.x).kl)


@over(("epsilon", "delta", "collapsed"), [(0.01, 0.0, 1), (0.01, 0.04, 1), (0.01, 0.05, 2), (0.3, 0.0, 2), (9, 0, 3)])
def test_a_dimension_is_collapsed_if_its_kl_is_below_epsilon_for_all_but_delta_of_the_images(epsilon, delta, collapsed):
    kl = torch.tensor([0.0, 0.0, 5.0]).repeat(100, 1)
    kl[:5, 1] = 0.2
    assert collapsed_dimensions(kl, epsilon=epsilon, delta=delta) == collapsed


def test_a_kl_of_epsilon_is_not_below_it_and_a_kl_that_is_not_a_number_is_no_collapse():
    assert collapsed_dimensions(torch.full((4, 1), 0.01), epsilon=0.01, delta=0.0) == 0
    assert collapsed_dimensions(torch.full((4, 1), math.nan), epsilon=0.01, delta=0.0) == 0


@over(("sigma", "active"), [(0.05, 4), (0.5, 3), (1.0, 2), (4.0, 0)])
def test_the_collapsed_dimensions_of_an_optimal_linear_vae_are_the_inactive_ones(sigma, active):
    images = torch.randn(500, 6) * torch.tensor([3.0, 2.0, 0.8, 0.3, 0.02, 0.01])
    vae = optimal_linear_vae(spectrum(images), latent_dim=4, sigma=sigma)
    kl = kl_per_dimension_nats(vae, images)
    assert 4 - collapsed_dimensions(kl, epsilon=0.01, delta=0.01) == active


@over(("epsilon", "delta", "message"), [(0, 0, "epsilon must be"), (1, -0.1, "delta must be"), (1, 1, "delta must be")])
def test_epsilon_is_positive_and_delta_a_share(epsilon, delta, message):
    with pytest.raises(ValueError, match=message):
        collapsed_dimensions(torch.zeros(3, 2), epsilon=epsilon, delta=delta)


# The two parts of the KL


def test_the_mean_kl_is_mutual_information_plus_mismatch(linear):
    parts = elbo_surgery(linear.vae, linear.x)
    assert parts.kl == pytest.approx(elbo_terms(linear.vae, linear.x).kl.mean().item(), rel=1e-12)
    assert parts.mutual_information + parts.aggregate_mismatch == pytest.approx(parts.kl, rel=1e-12)
    assert parts.mutual_information_upper + parts.aggregate_mismatch_lower == pytest.approx(parts.kl, rel=1e-12)


def test_the_mixture_is_that_of_all_images():
    mu, sigma, z = torch.randn(20, 3), torch.rand(20, 3) + 0.1, torch.randn(20, 3)
    log_qz_x, log_qz, log_qz_others = collapse._log_densities(z, mu, sigma)
    torch.testing.assert_close(log_qz_x, diagonal_normal(mu, sigma).log_prob(z))
    mixture = MixtureSameFamily(Categorical(torch.ones(20)), diagonal_normal(mu, sigma))
    torch.testing.assert_close(log_qz, mixture.log_prob(z))
    others = MixtureSameFamily(Categorical(torch.ones(19)), diagonal_normal(mu[1:], sigma[1:]))
    torch.testing.assert_close(log_qz_others[0], others.log_prob(z[0]))


def test_without_dependence_on_the_image_there_is_no_information():
    parts = surgery(torch.ones(50, 3), torch.full((3,), 0.5))
    exact = 3 * 0.5 * (1 + 0.25 - 1 - math.log(0.25))
    assert parts.mutual_information == pytest.approx(0, abs=1e-12)
    assert parts.mutual_information_upper == pytest.approx(0, abs=1e-12)
    assert parts.aggregate_mismatch == pytest.approx(exact)


def test_under_collapse_all_parts_vanish():
    for shift in (0.1, 0.01, 0.0):
        parts = surgery(shift * torch.randn(500, 3), torch.ones(3))
        bound = 3 * shift**2 + 1e-12
        assert max(abs(value) for value in (*parts, parts.aggregate_mismatch)) <= bound


@over("count", [1, 2, 100])
def test_information_is_at_most_the_log_of_the_number_of_images_and_reaches_it(count):
    apart = surgery(1e3 * torch.arange(count)[:, None] * torch.ones(2), torch.full((2,), 0.1))
    assert apart.mutual_information == pytest.approx(math.log(count), abs=1e-9)
    for width in (0.01, 0.1, 1.0, 10.0):
        assert surgery(torch.randn(count, 2), torch.tensor(width)).mutual_information <= math.log(count) + 1e-12


def test_the_mismatch_of_one_image_is_the_divergence_of_its_gaussian():
    mu, sigma = torch.randn(1, 3), torch.rand(3) + 0.1
    exact = kl_divergence(diagonal_normal(mu, sigma), diagonal_normal(torch.zeros(3), torch.ones(3))).item()
    parts = surgery(mu, sigma)
    assert parts.aggregate_mismatch == pytest.approx(exact)
    assert (parts.mutual_information, parts.mutual_information_upper) == (pytest.approx(0, abs=1e-12), parts.kl)


def test_the_mismatch_is_unbiased_for_the_mixture_of_these_images():
    mu, sigma = torch.tensor([[-2.0], [0.3], [1.0], [4.0]]), torch.tensor([[0.5], [0.2], [1.0], [0.7]])
    z = torch.linspace(-15, 15, 30_001)
    log_qz = MixtureSameFamily(Categorical(torch.ones(4)), diagonal_normal(mu, sigma)).log_prob(z[:, None])
    log_pz = diagonal_normal(torch.zeros(1), torch.ones(1)).log_prob(z[:, None])
    exact = torch.trapezoid(log_qz.exp() * (log_qz - log_pz), z)
    vae, x = codes(mu, sigma)
    draws = torch.tensor([elbo_surgery(vae, x).aggregate_mismatch for _ in range(2000)])
    assert abs(draws.mean() - exact) < 4 * draws.std() / 2000**0.5


@over("width", [0.7, 0.3, 0.1])
def test_the_two_estimates_bracket_the_information_in_the_population(width):
    """mu ~ N(0, I) and z ~ N(mu, width^2 I): I = d/2 ln(1 + 1 / width^2); mismatch that of N(0, (1 + width^2) I)."""
    information = math.log1p(width**-2)  # d = 2
    mismatch = 2 * 0.5 * (width**2 - math.log1p(width**2))
    runs = [surgery(torch.randn(1000, 2), torch.tensor(width)) for _ in range(20)]
    lower = torch.tensor([run.mutual_information for run in runs])
    upper = torch.tensor([run.mutual_information_upper for run in runs])
    assert lower.mean() < information + 3 * lower.std() / 20**0.5
    assert upper.mean() > information - 3 * upper.std() / 20**0.5
    assert 0 < upper.mean() - lower.mean() < 0.2
    assert torch.tensor([run.aggregate_mismatch for run in runs]).mean() == pytest.approx(mismatch, abs=0.2)


def test_the_upper_estimate_is_never_above_the_kl():
    parts = surgery(5 * torch.randn(50, 2), torch.tensor(0.01))
    assert parts.mutual_information_upper == parts.kl
    assert parts.aggregate_mismatch_lower == 0


def test_the_parts_do_not_depend_on_how_many_codes_are_compared_at_once(monkeypatch):
    mu, sigma = torch.randn(50, 3), torch.rand(50, 3) + 0.1
    with seeded(1):
        whole = surgery(mu, sigma)
    monkeypatch.setattr(collapse, "CODES", 7)
    with seeded(1):
        assert surgery(mu, sigma) == pytest.approx(whole)


# Correlation of dimensions


def test_the_mean_absolute_correlation_is_that_of_every_pair_once():
    z = torch.randn(100, 4) @ torch.randn(4, 4)
    rho = torch.corrcoef(z.T).abs()
    assert mean_absolute_correlation(z) == pytest.approx(((rho.sum() - 4) / 12).item())


def test_the_mean_absolute_correlation_does_not_see_sign_scale_mean_or_order_of_dimensions():
    z = torch.randn(100, 3) @ torch.randn(3, 3)
    other = z[:, [2, 0, 1]] * torch.tensor([-1.0, 20.0, 1e-3]) + 5
    assert mean_absolute_correlation(other) == pytest.approx(mean_absolute_correlation(z))


def test_independent_dimensions_are_uncorrelated_and_a_turn_correlates_those_of_other_variances():
    z = torch.randn(20_000, 2) * torch.tensor([1.0, 10.0])
    turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5
    assert mean_absolute_correlation(z) == pytest.approx(0, abs=5 / math.sqrt(20_000))
    assert mean_absolute_correlation(z @ turn) == pytest.approx(99 / 101, abs=1e-2)
    assert mean_absolute_correlation(z[:, :1].repeat(1, 3)) == pytest.approx(1)
