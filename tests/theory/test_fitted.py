r"""Likelihoods fitted in closed form: each is at the maximum of the likelihood, and a richer one is not below it."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from vaelib.data import Bins
from vaelib.diagnostics.bits import log_mass
from vaelib.likelihoods.correlated import window
from vaelib.likelihoods.discretised import quantise
from vaelib.likelihoods.fitted import (
    FactorGaussian,
    PredictedGaussian,
    Prediction,
    SteppedGaussian,
    SteppedHistogram,
    SteppedLevels,
    fit_factors,
    fit_histogram,
    fit_prediction,
    fit_scale,
    step_of,
)
from vaelib.pca import ppca, spectrum

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

#: Wider than high, so that lines and columns are not taken for one another.
SHAPE = HEIGHT, WIDTH = 5, 7
PIXELS, IMAGES, STEPS = HEIGHT * WIDTH, 80, 4
#: Heads whose features are the mean image itself.
MEANS = nn.Identity()


@pytest.fixture
def images():
    """Mean images, and images whose residual is smooth and larger where the mean is bright."""
    mu = torch.rand(IMAGES, PIXELS)
    white = torch.randn(IMAGES, HEIGHT + 1, WIDTH + 1)
    smooth = (white[:, 1:, 1:] + white[:, :-1, 1:] + 0.5 * white[:, 1:, :-1]).flatten(1)
    return mu, mu + (0.05 + 0.2 * mu) * smooth


@pytest.fixture
def residuals(images):
    """The scale of these images, and their standardised residuals."""
    mu, x = images
    scale = fit_scale(mu, x, steps=STEPS)
    return scale, (x - mu) / scale[step_of(mu, steps=STEPS)]


def mean_log_px(head, images):
    """Mean of ln p(x) over the images."""
    mu, x = images
    return head(mu).log_prob(x).mean()


def is_a_maximum(value, *parameters):
    """The gradient of a mean log-likelihood is 0, and steps to either side lead down."""
    parameters = [parameter.clone().requires_grad_() for parameter in parameters]
    for gradient in torch.autograd.grad(value(*parameters), parameters):
        assert gradient.abs().max() < 1e-8 * PIXELS
    with torch.no_grad():
        for number, parameter in enumerate(parameters):
            for factor in (0.97, 1.03):
                moved = [*parameters[:number], factor * parameter, *parameters[number + 1 :]]
                assert value(*moved) < value(*parameters)


# At the maximum


def test_the_scale_is_at_the_maximum_of_the_likelihood(images):
    scale = fit_scale(*images, steps=STEPS)
    is_a_maximum(lambda values: mean_log_px(SteppedGaussian(MEANS, scale=values), images), scale)


def test_with_one_step_the_scale_is_the_calibrated_sigma(images):
    mu, x = images
    torch.testing.assert_close(fit_scale(mu, x, steps=1)[0], (x - mu).square().mean().sqrt())


@over("radius", [1, 2])
def test_the_prediction_is_at_the_maximum_of_the_likelihood(images, residuals, radius):
    scale, e = residuals
    head = partial(PredictedGaussian, MEANS, scale=scale, radius=radius, shape=SHAPE)
    is_a_maximum(
        lambda *values: mean_log_px(head(prediction=Prediction(*values)), images),
        *fit_prediction(e, radius=radius, shape=SHAPE),
    )


def test_the_factors_are_at_the_maximum_of_the_likelihood(images, residuals):
    scale, e = residuals
    is_a_maximum(
        lambda *values: mean_log_px(
            FactorGaussian(MEANS, scale=scale, factors=values[0], innovation=values[1]), images
        ),
        *fit_factors(e, rank=3),
    )


def test_the_factors_are_those_of_probabilistic_pca_where_the_mean_is_zero(residuals):
    _, e = residuals
    exact = ppca(spectrum(torch.cat((e, -e))), latent_dim=3)
    factors, innovation = fit_factors(e, rank=3)
    torch.testing.assert_close(factors @ factors.T, exact.W @ exact.W.T)
    assert innovation.item() == pytest.approx(exact.sigma)


def test_no_other_masses_are_as_likely_as_the_shares(images):
    mu, x = images[0], quantise(images[1])
    masses = fit_histogram(mu, x, steps=STEPS, pseudo=0)
    best = SteppedHistogram(MEANS, masses=masses)(mu).log_prob(x).mean()
    for _ in range(5):
        other = masses * (1 + 0.1 * torch.rand_like(masses))
        other = SteppedHistogram(MEANS, masses=other / other.sum(dim=1, keepdim=True))(mu).log_prob(x).mean()
        assert other < best


# Each holds the one before


def test_more_steps_do_not_lower_the_likelihood(images):
    values = [mean_log_px(SteppedGaussian(MEANS, scale=fit_scale(*images, steps=k)), images) for k in (1, 2, 4, 8)]
    assert values == sorted(values)
    assert values[1] > values[0] + 1


def test_a_larger_window_does_not_lower_the_likelihood_and_none_is_the_scale_alone(images, residuals):
    scale, e = residuals
    none = Prediction(torch.zeros(len(window(1))), torch.tensor(1.0))
    predictions = {1: none} | {radius: fit_prediction(e, radius=radius, shape=SHAPE) for radius in (2, 3)}
    head = partial(PredictedGaussian, MEANS, scale=scale, shape=SHAPE)
    values = [mean_log_px(head(prediction=found, radius=radius), images) for radius, found in predictions.items()]
    torch.testing.assert_close(values[0], mean_log_px(SteppedGaussian(MEANS, scale=scale), images))
    first = mean_log_px(head(prediction=fit_prediction(e, radius=1, shape=SHAPE), radius=1), images)
    assert values[0] + 1 < first <= values[1] <= values[2]


def test_more_factors_do_not_lower_the_likelihood(images, residuals):
    scale, e = residuals
    heads = [dict(zip(("factors", "innovation"), fit_factors(e, rank=rank), strict=True)) for rank in (1, 2, 8)]
    values = [mean_log_px(FactorGaussian(MEANS, scale=scale, **fitted), images) for fitted in heads]
    assert values == sorted(values)


def test_a_histogram_is_at_least_as_likely_as_the_gaussian_over_the_same_levels(images):
    mu, x = images[0], quantise(images[1])
    gaussian = SteppedLevels(MEANS, scale=fit_scale(mu, x, steps=STEPS))(mu).log_prob(x).mean()
    histogram = SteppedHistogram(MEANS, masses=fit_histogram(mu, x, steps=STEPS, pseudo=0))(mu).log_prob(x).mean()
    assert histogram > gaussian


# What they are


def test_a_known_autoregression_is_found():
    coefficients = torch.tensor([0.1, 0.2, -0.1, 0.5])
    truth = PredictedGaussian(
        MEANS, scale=torch.ones(1), prediction=Prediction(coefficients, torch.tensor(0.7)), radius=1, shape=SHAPE
    )
    found = fit_prediction(truth(torch.zeros(20_000, PIXELS)).sample(), radius=1, shape=SHAPE)
    torch.testing.assert_close(found.coefficients, coefficients, rtol=0, atol=0.01)
    assert found.innovation.item() == pytest.approx(0.7, rel=0.01)


@over("kind", ["prediction", "factors"])
def test_density_and_draws_are_those_of_one_normal(images, residuals, kind):
    """The covariance of draws is that of the Normal with the same density, written out."""
    (mu, x), (scale, e) = images, residuals
    if kind == "factors":
        factors, innovation = fit_factors(e, rank=3)
        head = FactorGaussian(MEANS, scale=scale, factors=factors, innovation=innovation)
        covariance = factors @ factors.T + innovation.square() * torch.eye(PIXELS)
    else:
        prediction = fit_prediction(e, radius=1, shape=SHAPE)
        head = PredictedGaussian(MEANS, scale=scale, prediction=prediction, radius=1, shape=SHAPE)
        px_0 = head(torch.zeros(PIXELS)).base
        L = torch.stack([px_0.whiten(unit) for unit in torch.eye(PIXELS)], dim=1)
        covariance = torch.linalg.inv(L.T @ L)
    sigma = scale[step_of(mu[0], steps=STEPS)]
    exact = MultivariateNormal(mu[0], sigma[:, None] * covariance * sigma)
    px_z = head(mu[0])
    torch.testing.assert_close(px_z.log_prob(x), exact.log_prob(x))
    draws = px_z.sample((20_000,))
    torch.testing.assert_close(draws.mean(dim=0), mu[0], rtol=0, atol=0.02)
    torch.testing.assert_close(draws.T.cov() / sigma / sigma[:, None], covariance, rtol=0, atol=0.1)


@torch.no_grad()
def test_levels_of_a_mean_are_drawn_with_their_shares():
    mu, x = torch.rand(400, PIXELS), quantise(torch.rand(400, PIXELS).square())
    px_z = SteppedHistogram(MEANS, masses=fit_histogram(mu, x, steps=2, pseudo=0))(mu)
    draws = px_z.sample((20,))
    dark = (mu < 0.5).expand_as(draws)
    share = (draws[dark] < 0.1).double().mean()
    assert share.item() == pytest.approx((x[mu < 0.5] < 0.1).double().mean().item(), abs=0.01)
    torch.testing.assert_close(px_z.mean[0, 0], x[(mu < 0.5) == (mu[0, 0] < 0.5)].mean())
    assert draws.shape == (20, 400, PIXELS)


def test_a_level_that_was_never_seen_is_possible_and_a_part_without_pixels_uniform():
    masses = fit_histogram(torch.full((1, 3), 0.1), torch.zeros(1, 3), steps=2)
    assert (masses > 0).all()
    torch.testing.assert_close(masses.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(
        fit_histogram(torch.full((1, 3), 0.1), torch.zeros(1, 3), steps=2, pseudo=0)[1, 0] * 256, torch.tensor(1.0)
    )


def test_a_part_without_pixels_has_the_scale_of_all(images):
    mu, x = images
    scale = fit_scale(0.4 * mu, x, steps=2)
    torch.testing.assert_close(scale[1], (x - 0.4 * mu).square().mean().sqrt())


@torch.no_grad()
def test_every_head_gives_images_a_mass_and_keeps_the_batch(images, residuals):
    (mu, x), (scale, e) = images, residuals
    factors, innovation = fit_factors(e, rank=2)
    prediction = fit_prediction(e, radius=2, shape=SHAPE)
    levels, codes = quantise(x[:3]), mu[:6].reshape(2, 3, PIXELS)
    for head in (
        SteppedGaussian(MEANS, scale=scale),
        SteppedLevels(MEANS, scale=scale),
        PredictedGaussian(MEANS, scale=scale, prediction=prediction, radius=2, shape=SHAPE),
        FactorGaussian(MEANS, scale=scale, factors=factors, innovation=innovation),
        SteppedHistogram(MEANS, masses=fit_histogram(mu, quantise(x))),
    ):
        px_z = head(codes)
        assert log_mass(px_z, levels, Bins(dequantised=False)).shape == (2, 3)
        assert px_z.sample((5,)).shape == (5, 2, 3, PIXELS)
        assert px_z.mean.shape == (2, 3, PIXELS)


def test_the_density_of_the_stepped_gaussian_is_the_product_over_its_pixels(images):
    mu, x = images
    scale = fit_scale(mu, x, steps=STEPS)
    by_hand = Normal(mu, scale[(mu * STEPS).floor().long()]).log_prob(x).sum(dim=1)
    torch.testing.assert_close(SteppedGaussian(MEANS, scale=scale)(mu).log_prob(x), by_hand)


@over(
    "wrong",
    [
        lambda e: fit_factors(e, rank=0),
        lambda e: fit_factors(e, rank=PIXELS),
        lambda e: fit_prediction(e, radius=0, shape=SHAPE),
        lambda e: fit_prediction(e, radius=1, shape=(1, *SHAPE)),
        lambda e: fit_scale(e, e, floor=0.0),
    ],
)
def test_what_cannot_be_fitted_is_refused(wrong):
    with pytest.raises(ValueError, match=r"rank|radius|grey images|floor"):
        wrong(torch.rand(IMAGES, PIXELS))
