r"""Measures have the values that theory gives them where theory gives one."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from vaelib.diagnostics.latent import active_units, aggregate_variance, code_means
from vaelib.diagnostics.samples import features, frechet_distance, label_change_rate, mse_per_pixel, precision_recall
from vaelib.study.classifier import FEATURES, Classifier, blur, spoil


@pytest.fixture
def draws() -> np.ndarray:
    """400 points of a correlated Normal in 5 dimensions."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5))


def test_frechet_distance_of_a_set_from_itself_is_zero(draws):
    assert frechet_distance(draws, draws) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_a_shift_is_its_squared_length(draws):
    shift = np.arange(5.0)
    assert frechet_distance(draws, draws + shift) == pytest.approx(np.square(shift).sum())


def test_frechet_distance_of_a_scaled_set_is_the_variance_of_the_difference_of_scales(draws):
    centred = draws - draws.mean(axis=0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * np.trace(np.cov(centred, rowvar=False)))


def test_frechet_distance_is_symmetric_and_agrees_with_the_matrix_square_root(draws):
    other = np.random.default_rng(1).normal(size=(300, 5)) ** 2
    product = np.cov(draws, rowvar=False) @ np.cov(other, rowvar=False)
    gap = np.square(draws.mean(0) - other.mean(0)).sum()
    traces = np.trace(np.cov(draws, rowvar=False)) + np.trace(np.cov(other, rowvar=False))
    assert frechet_distance(draws, other) == pytest.approx(gap + traces - 2 * np.trace(sqrtm(product)).real)
    assert frechet_distance(draws, other) == pytest.approx(frechet_distance(other, draws))


def test_frechet_distance_is_finite_where_features_are_dead(draws):
    dead = np.hstack([draws, np.zeros((len(draws), 3))])
    assert frechet_distance(dead, dead + 1) == pytest.approx(8)


def test_precision_and_recall_of_a_set_against_itself_are_one(draws):
    assert precision_recall(draws, draws) == (1, 1)


def test_far_samples_have_neither_precision_nor_recall(draws):
    assert precision_recall(draws, draws + 1e3) == (0, 0)


def test_samples_of_half_the_data_are_precise_and_recall_half():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 100
    quality = precision_recall(np.vstack([left, right]), np.vstack([left, rng.permutation(left)]))
    assert quality.precision == 1
    assert 0.45 < quality.recall <= 0.5


def test_noise_around_the_data_costs_precision_before_recall(draws):
    noisy = np.vstack([draws[:200], draws[:200] + 50])
    quality = precision_recall(draws, noisy)
    assert quality.precision == pytest.approx(0.5)
    assert quality.recall > quality.precision


def test_mse_is_the_mean_over_images_and_pixels():
    assert mse_per_pixel(torch.zeros(3, 4), torch.tensor([[1.0], [2.0], [3.0]]).expand(3, 4)) == pytest.approx(14 / 3)


def test_a_unit_is_active_when_its_mean_varies_by_more_than_a_hundredth():
    spread = torch.tensor([0.0, 0.09, 0.11, 1.0])
    codes = torch.randn(20_000, 4) * spread + 5
    assert active_units(codes) == 2


def test_variance_of_the_aggregate_posterior_is_that_of_its_draws(linear):
    x = linear.b + torch.randn(200, 6)
    draws = linear.vae.posterior(x).sample((2_000,)).flatten(0, 1)
    assert torch.allclose(aggregate_variance(linear.vae, x), draws.var(dim=0), rtol=0.02)


def test_code_means_are_those_of_the_posterior(linear):
    assert torch.equal(code_means(linear.vae, linear.x), linear.vae.posterior(linear.x).mean)


class Brightest(Classifier):
    """Labels an image by the first of its ten leading pixels that is the brightest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :10]


def test_labels_change_for_the_images_that_change():
    x = torch.nn.functional.pad(torch.eye(10).repeat(4, 1), (0, 774))
    x_hat = x.clone()
    x_hat[:6] = x[1:7]
    assert label_change_rate(Brightest(), x, x) == 0
    assert label_change_rate(Brightest(), x, x_hat) == pytest.approx(6 / 40)


def test_features_are_what_the_logits_are_made_from():
    judge, x = Classifier().eval(), torch.rand(7, 784)
    found = features(judge, x)
    assert found.shape == (7, FEATURES)
    with torch.no_grad():
        expected = judge(x).double().numpy()
    np.testing.assert_allclose(
        found @ judge.logits.weight.detach().double().numpy().T + judge.logits.bias.detach().double().numpy(),
        expected,
        atol=1e-5,
    )


def test_the_classifier_cuts_values_that_no_pixel_can_show():
    judge, x = Classifier().eval(), torch.randn(5, 784)
    assert torch.equal(judge.features(x), judge.features(x.clamp(0, 1)))


def test_spoiled_images_are_images_and_every_one_is_changed():
    x = torch.rand(200, 784)
    spoiled = spoil(x)
    assert spoiled.shape == x.shape
    assert 0 <= spoiled.min() <= spoiled.max() <= 1
    assert (spoiled != x).any(dim=1).sum() > 195  # a mixture may be with itself


def test_blur_keeps_the_sum_of_a_spot_and_spreads_it_by_its_width():
    spot = torch.zeros(1, 28, 28)
    spot[0, 14, 14] = 1
    blurred = blur(spot.flatten(1), width=1.2).reshape(28, 28)
    offsets = torch.arange(28) - 14.0
    assert blurred.sum().item() == pytest.approx(1, abs=1e-4)
    assert (blurred.sum(dim=1) * offsets.square()).sum().item() == pytest.approx(1.2**2, rel=0.02)
