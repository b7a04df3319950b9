r"""Measures have the values that theory gives them where theory gives one."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchvision.transforms.functional import gaussian_blur

from vaelib.diagnostics.latent import active_units, aggregate_variance, code_means
from vaelib.diagnostics.samples import (
    CHUNK,
    edge_energy,
    features,
    frechet_distance,
    label_change_rate,
    mse_per_pixel,
    precision_recall,
)

over = pytest.mark.parametrize


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


class Brightest:
    """Labels an image by the first of its pixels that is the brightest, and sees it in all but the last."""

    def labels(self, x):
        return x.argmax(dim=-1)

    def features(self, x):
        return x[:, :-1]


def test_labels_change_for_the_images_that_change():
    x = torch.eye(10).repeat(4, 1)
    x_hat = x.clone()
    x_hat[:6] = x[1:7]
    assert label_change_rate(Brightest(), x, x) == 0
    assert label_change_rate(Brightest(), x, x_hat) == pytest.approx(6 / 40)


def test_features_are_those_of_the_classifier_however_many_images():
    x = torch.rand(2 * CHUNK + 7, 5)
    found = features(Brightest(), x)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, x[:, :-1].double().numpy())


# Edges


def test_edge_energy_is_the_mean_over_pairs_across_and_down():
    images = torch.tensor([[[0.0, 0.5, 1.0], [0.0, 0.5, 0.0]], [[0.2, 0.2, 0.2], [0.2, 0.2, 0.2]]])
    across, down = 3 * 0.5**2 + 0.5**2, 1.0**2  # of 8 and of 6 pairs, those of the second image without a difference
    assert edge_energy(images.flatten(1), shape=(2, 3)) == pytest.approx((across + down) / 14)


def test_edge_energy_does_not_see_a_shift_of_grey_and_grows_with_the_square_of_contrast():
    x = torch.rand(5, 12 * 9).double()
    energy = edge_energy(x, shape=(12, 9))
    assert edge_energy(0.3 * x + 0.2, shape=(12, 9)) == pytest.approx(0.09 * energy)


@over("sigma", [0.3, 1.0])
def test_noise_raises_the_energy_of_edges_by_twice_its_variance(sigma):
    x = torch.rand(500, 12 * 9).double()
    noisy = edge_energy(x + sigma * torch.randn_like(x), shape=(12, 9))
    assert noisy - edge_energy(x, shape=(12, 9)) == pytest.approx(2 * sigma**2, rel=0.1)


def test_a_wider_blur_leaves_less_of_the_energy_of_edges(quick):
    x = quick.test.images[:200]
    blurred = [gaussian_blur(x.reshape(-1, 1, 28, 28), [9, 9], [width, width]).flatten(1) for width in (0.5, 1.0, 2.0)]
    energies = [edge_energy(images, shape=(28, 28)) for images in (x, *blurred)]
    assert energies == sorted(energies, reverse=True) and energies[2] < energies[0] / 2


@over("shape", [(12,), (2, 2, 3)])
def test_neighbours_are_those_of_grey_images(shape):
    with pytest.raises(ValueError, match="neighbours are those of grey images with two sides"):
        edge_energy(torch.rand(2, 12), shape=shape)
