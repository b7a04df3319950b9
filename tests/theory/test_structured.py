r"""The Normal with a sparse factor of its precision: the factor, its inverse, its density and its draws agree."""

from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaelib.likelihoods.autoregressive import NeighbourhoodHead
from vaelib.likelihoods.correlated import (
    GAIN,
    StructuredGaussian,
    StructuredNormal,
    shifted,
    surroundings,
    wavefronts,
    window,
)

#: Higher than wide, so that lines and columns are not taken for one another.
SHAPE = HEIGHT, WIDTH = 12, 9
PIXELS = HEIGHT * WIDTH


def structured(radius, *, batch=3, filters=4):
    """A distribution with random parameters, its filters within the gain."""
    taps = torch.rand(filters, len(window(radius))) - 0.3
    return StructuredNormal(
        mu=torch.rand(batch, PIXELS),
        sigma=torch.rand(batch, PIXELS) + 0.1,
        gates=torch.randn(batch, filters, PIXELS).softmax(dim=1),
        filters=GAIN * taps / taps.abs().sum(dim=1, keepdim=True),
        radius=radius,
        shape=SHAPE,
    )


def factor(px_z):
    """L, written out pixel by pixel from the definition, `[m, m]`, for the first image."""
    L = torch.zeros(PIXELS, PIXELS)
    for j in range(PIXELS):
        row, column = divmod(j, WIDTH)
        sigma = px_z.sigma[0, j]
        L[j, j] = 1 / sigma
        coefficients = px_z.gates[0, :, j] @ px_z.filters
        for coefficient, (down, right) in zip(coefficients, window(px_z.radius), strict=True):
            if row + down >= 0 and 0 <= column + right < WIDTH:
                L[j, (row + down) * WIDTH + column + right] = -coefficient / sigma
    return L


@pytest.mark.parametrize(("radius", "count"), [(1, 4), (2, 12), (3, 24)])
def test_a_window_is_half_of_the_square_and_comes_before_the_pixel(radius, count):
    offsets = window(radius)
    assert len(offsets) == count
    assert all(row * WIDTH + column < 0 for row, column in offsets)
    mirrored = {(-row, -column) for row, column in offsets}
    assert mirrored | set(offsets) | {(0, 0)} == set(surroundings(radius))
    assert mirrored.isdisjoint(offsets)


def test_a_shifted_image_holds_the_neighbour_and_zero_beyond_the_border():
    x = torch.rand(2, *SHAPE)
    up_left, here = shifted(x, [(-1, -2), (0, 0)])
    assert torch.equal(here, x)
    assert torch.equal(up_left[:, 1:, 2:], x[:, :-1, :-2])
    assert (up_left[:, 0] == 0).all()
    assert (up_left[:, :, :2] == 0).all()


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_fronts_visit_every_pixel_once_and_after_its_window(radius):
    visited = torch.zeros(SHAPE, dtype=torch.bool)
    for rows, columns in wavefronts(radius, SHAPE):
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            needed = [(row + down, column + right) for down, right in window(radius)]
            inside = [(r, c) for r, c in needed if r >= 0 and 0 <= c < WIDTH]
            assert all(visited[place] for place in inside)
        assert not visited[rows, columns].any()
        visited[rows, columns] = True
    assert visited.all()


@pytest.mark.parametrize("radius", [1, 2])
def test_whitening_is_the_factor_and_colouring_its_inverse(float64, radius):
    px_z = structured(radius)
    x = torch.randn(3, PIXELS)
    epsilon = px_z.whiten(x)
    torch.testing.assert_close(epsilon[0], factor(px_z) @ (x[0] - px_z.mu[0]))
    torch.testing.assert_close(px_z.colour(epsilon), x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(px_z.whiten(px_z.colour(x)), x, rtol=1e-10, atol=1e-10)


def test_the_density_is_that_of_the_dense_normal(float64):
    px_z = structured(2)
    x = torch.rand(PIXELS)
    L = factor(px_z)
    dense = MultivariateNormal(px_z.mu[0], precision_matrix=L.T @ L)
    torch.testing.assert_close(px_z.log_prob(x)[0], dense.log_prob(x), rtol=1e-9, atol=1e-7)


def test_draws_have_the_covariance_of_the_model_within_monte_carlo_error(float64):
    px_z = structured(2, batch=1)
    L = factor(px_z)
    covariance = torch.linalg.inv(L.T @ L)
    draws = 4_000
    x = px_z.sample((draws,))[:, 0]
    empirical = x.T.cov()
    # The standard error of a covariance of Normals is sqrt((c_ii c_jj + c_ij^2) / n).
    variances = covariance.diagonal()
    error = ((variances[:, None] * variances + covariance.square()) / draws).sqrt()
    z_scores = (empirical - covariance) / error
    assert z_scores.abs().max() < 6
    assert 0.8 < z_scores.square().mean() < 1.25
    assert ((x.mean(dim=0) - px_z.mean[0]) / (variances / draws).sqrt()).abs().max() < 5
    neighbours = covariance.diagonal(1)
    assert (neighbours > 5 * error.diagonal(1)).double().mean() > 0.5  # there is something to be found


def test_one_front_at_a_time_gives_each_distribution_of_a_batch_its_own_draw(float64):
    px_z = structured(1, batch=2)
    epsilon = torch.randn(5, 2, PIXELS)
    together = px_z.colour(epsilon)
    for number in range(2):
        alone = StructuredNormal(
            mu=px_z.mu[number],
            sigma=px_z.sigma[number],
            gates=px_z.gates[number],
            filters=px_z.filters,
            radius=1,
            shape=SHAPE,
        )
        torch.testing.assert_close(alone.colour(epsilon[:, number]), together[:, number])


@pytest.mark.parametrize("radius", [1, 3])
def test_no_residual_exceeds_the_bound_whatever_the_weights(radius):
    head = StructuredGaussian(features=8, shape=SHAPE, radius=radius)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(50)
    px_z = head(torch.randn(16, 8))
    epsilon = torch.randn(16, PIXELS)
    residual = px_z.colour(epsilon) - px_z.mean
    largest = (px_z.sigma * epsilon).abs().amax(dim=1)
    assert (residual.abs().amax(dim=1) <= largest / (1 - GAIN) * (1 + 1e-5)).all()
    assert (px_z.filters.abs().sum(dim=1) < GAIN).all()


def test_without_taps_it_is_the_simple_likelihood(float64):
    head = StructuredGaussian(features=8, shape=SHAPE, radius=2)
    with torch.no_grad():
        head.taps.zero_()
    h, x = torch.randn(4, 8), torch.rand(4, PIXELS)
    px_z = head(h)
    independent = torch.distributions.Normal(px_z.mean, px_z.sigma).log_prob(x).sum(dim=-1)
    torch.testing.assert_close(px_z.log_prob(x), independent)


def test_gradients_reach_every_parameter_and_no_pixel_after():
    head = StructuredGaussian(features=8, shape=SHAPE, radius=2)
    x = torch.rand(4, PIXELS, requires_grad=True)
    px_z = head(torch.randn(4, 8))
    px_z.log_prob(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    middle = HEIGHT // 2 * WIDTH + WIDTH // 2
    (gradient,) = torch.autograd.grad(head(torch.randn(4, 8)).whiten(x)[:, middle].sum(), x)
    assert (gradient[:, middle + 1 :] == 0).all()
    assert (gradient[:, : middle + 1] != 0).sum() == 4 * (len(window(2)) + 1)


@pytest.mark.parametrize(
    ("options", "message"), [({"radius": 0}, "radius must be at least 1"), ({"radius": 1, "floor": 0.0}, "floor")]
)
def test_impossible_windows_and_floors_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StructuredGaussian(features=8, shape=SHAPE, **options)


@pytest.mark.parametrize("head", [partial(StructuredGaussian, radius=1), partial(NeighbourhoodHead, radius=1)])
@pytest.mark.parametrize("shape", [(3, 12, 9), (1, 12, 9), (108,)])
def test_neighbours_need_a_grey_image_and_the_error_names_heads_that_do_not(head, shape):
    with pytest.raises(ValueError, match=r"grey images \(height, width\), got shape .*PixelwiseGaussian"):
        head(features=8, shape=shape)
