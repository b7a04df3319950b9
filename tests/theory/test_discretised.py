r"""Distributions over levels: their masses sum to one, are those of the bins, and draws follow them."""

import pytest
import torch
from torch.distributions import Normal

from vaelib.data import LEVELS
from vaelib.likelihoods.discretised import (
    HALF_LEVEL,
    DiscretisedLogistic,
    DiscretisedNormal,
    DiscretisedPixels,
    quantise,
)

FAMILIES = (DiscretisedNormal, DiscretisedLogistic)
ALL = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)


def cases():
    """Locations within and beyond [0, 1] and scales from a tenth of a level to far more than the range."""
    return torch.cartesian_prod(torch.tensor([-0.5, 0.0, 0.31, 0.5, 1.0, 1.4]), torch.tensor([4e-4, 0.01, 0.2, 5.0]))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_masses_of_all_levels_sum_to_one(family, float64):
    loc, scale = cases().double().T
    masses = family(loc, scale).log_prob(ALL[:, None]).exp().sum(dim=0)
    torch.testing.assert_close(masses, torch.ones_like(masses), rtol=1e-9, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mass_is_finite_with_a_finite_gradient_however_far_the_level(family):
    loc, scale = (part.clone().requires_grad_() for part in cases().T)
    log_mass = family(loc, scale).log_prob(ALL.float()[:, None])
    assert log_mass.isfinite().all()
    assert (log_mass <= 1e-6).all()
    log_mass.sum().backward()
    assert loc.grad.isfinite().all()
    assert scale.grad.isfinite().all()


def test_the_normal_mass_is_the_integral_of_its_density(float64):
    loc, scale, level = 0.4, 0.05, 120 / 255
    grid = torch.linspace(level - HALF_LEVEL, level + HALF_LEVEL, 2001)
    integral = torch.trapezoid(Normal(loc, scale).log_prob(grid).exp(), grid)
    mass = DiscretisedNormal(torch.tensor(loc), torch.tensor(scale)).log_prob(torch.tensor(level)).exp()
    torch.testing.assert_close(mass, integral, rtol=1e-6, atol=0)


def test_the_logistic_mass_is_a_difference_of_sigmoids(float64):
    loc, scale, level = torch.tensor(0.4), torch.tensor(0.05), torch.tensor(120 / 255)
    upper, lower = ((level + side * HALF_LEVEL - loc) / scale for side in (1, -1))
    mass = DiscretisedLogistic(loc, scale).log_prob(level).exp()
    torch.testing.assert_close(mass, upper.sigmoid() - lower.sigmoid())


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_and_variance_are_those_of_the_masses(family, float64):
    loc, scale = cases().double().T
    pixel, levels = family(loc, scale), ALL[:, None]
    masses = pixel.log_prob(levels).exp()
    mean = (masses * levels).sum(dim=0)
    torch.testing.assert_close(pixel.mean, mean)
    torch.testing.assert_close(pixel.variance, (masses * (levels - mean).square()).sum(dim=0), atol=1e-12, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_follow_the_masses(family):
    pixel = family(torch.tensor(0.3), torch.tensor(0.2))
    draws, n = pixel.sample((200_000,)), 200_000
    counts = torch.bincount((draws * (LEVELS - 1)).round().long(), minlength=LEVELS)
    expected = pixel.log_prob(ALL.float()).exp() * n
    frequent = expected > 20
    chi_squared = ((counts - expected).square() / expected)[frequent].sum() / frequent.sum()
    assert 0.6 < chi_squared < 1.5
    assert counts[0] > 5_000  # the tail below 0 is gathered in the first level


def test_quantised_values_are_levels_and_levels_stay():
    torch.testing.assert_close(quantise(ALL), ALL, rtol=0, atol=0)
    assert quantise(torch.tensor([-3.0, 7.0])).tolist() == [0, 1]


def test_the_head_declares_pixels_as_its_event():
    head = DiscretisedPixels(features=5, shape=(12,), family=DiscretisedLogistic)
    px_z = head(torch.randn(3, 4, 5))
    assert px_z.batch_shape == (3, 4)
    assert px_z.event_shape == (12,)
    assert px_z.log_prob(quantise(torch.rand(12))).shape == (3, 4)


def test_the_scale_stays_above_the_smallest_whatever_the_weights():
    head = DiscretisedPixels(features=5, shape=(12,), family=DiscretisedNormal, smallest=0.1)
    with torch.no_grad():
        head.scale.bias.fill_(-100)
        assert head(torch.randn(3, 5)).base_dist.scale.min().item() == pytest.approx(0.1)
    with pytest.raises(ValueError, match="smallest must be a positive scale"):
        DiscretisedPixels(features=5, shape=(12,), family=DiscretisedNormal, smallest=0.0)
