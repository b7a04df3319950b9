r"""Likelihoods are densities, or it is shown that they are not."""

import math
from functools import partial
from itertools import product

import pytest
import torch

from vaelib.data import DEQUANTISATION_STD
from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian, SharedGaussian
from vaelib.linear import LinearGaussian, SharedLinearGaussian

GAUSSIANS = {
    "pixelwise": PixelwiseGaussian,
    "pixelwise, floor 1": partial(PixelwiseGaussian, floor=1.0),
    "shared": SharedGaussian,
    "fixed": partial(FixedGaussian, sigma=0.1),
    "linear": partial(LinearGaussian, sigma=2.0),
    "shared linear": SharedLinearGaussian,
}
HEADS = GAUSSIANS | {"bernoulli": BernoulliPixels, "continuous bernoulli": ContinuousBernoulliPixels}

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize


@over("name", GAUSSIANS)
def test_every_gaussian_integrates_to_one_over_the_line(name):
    px_z = GAUSSIANS[name](features=3, shape=(1,))(torch.randn(3))
    x = px_z.mean + px_z.stddev * torch.linspace(-12, 12, 2001)[:, None]
    torch.testing.assert_close(torch.trapezoid(px_z.log_prob(x).exp(), x[:, 0]), torch.tensor(1.0))


def test_bernoulli_sums_to_one_over_black_and_white():
    px_z = BernoulliPixels(features=3, shape=(4,))(torch.randn(3))
    images = torch.tensor(list(product((0.0, 1.0), repeat=4)))
    torch.testing.assert_close(px_z.log_prob(images).exp().sum(), torch.tensor(1.0))


def test_bernoulli_on_grey_pixels_integrates_to_less_than_one():
    px_z = BernoulliPixels(features=3, shape=(1,))(torch.randn(3))
    mu, x = px_z.mean, torch.linspace(0, 1, 20001)[:, None]
    integral = torch.trapezoid(px_z.log_prob(x).exp(), x[:, 0])
    torch.testing.assert_close(integral, ((2 * mu - 1) / torch.logit(mu)).squeeze())
    assert integral < 0.51


def test_the_continuous_bernoulli_integrates_to_one_over_grey_pixels():
    px_z = ContinuousBernoulliPixels(features=3, shape=(1,))(torch.randn(3))
    x = torch.linspace(0, 1, 20001)[:, None]
    torch.testing.assert_close(torch.trapezoid(px_z.log_prob(x).exp(), x[:, 0]), torch.tensor(1.0))


def test_fixed_sigma_one_is_minus_half_the_squared_error_minus_a_constant():
    px_z, x = FixedGaussian(features=3, shape=(5,), sigma=1.0)(torch.randn(8, 3)), torch.rand(8, 5)
    squared_error = (x - px_z.mean).square().sum(-1)
    torch.testing.assert_close(px_z.log_prob(x), -squared_error / 2 - 5 / 2 * math.log(2 * math.pi))


@over("floor", [DEQUANTISATION_STD, 0.1])
def test_sigma_never_goes_below_its_floor_and_reaches_it(floor):
    head = PixelwiseGaussian(features=3, shape=(5,), floor=floor)
    assert (head(100 * torch.randn(1000, 3)).stddev >= floor).all()
    torch.nn.init.constant_(head.sigma.bias, -1e3)
    torch.testing.assert_close(head(torch.randn(3)).stddev, torch.full((5,), floor), atol=0, rtol=0)


def test_the_default_floor_is_the_noise_of_dequantisation():
    assert PixelwiseGaussian(features=3, shape=(5,)).floor == DEQUANTISATION_STD


@over("name", HEADS)
def test_one_log_probability_per_image_and_it_is_the_sum_over_pixels(name):
    px_z, x = HEADS[name](features=3, shape=(5,))(torch.randn(4, 7, 3)), torch.rand(7, 5).round()
    log_px_z = px_z.log_prob(x)
    assert (log_px_z.shape, px_z.event_shape) == ((4, 7), (5,))
    torch.testing.assert_close(log_px_z, px_z.base_dist.log_prob(x).sum(-1))


@over("setting", [0.0, -0.1])
def test_a_standard_deviation_must_be_positive(setting):
    for learned in (PixelwiseGaussian, SharedGaussian):
        with pytest.raises(ValueError, match=f"floor must be a positive standard deviation, got {setting}"):
            learned(features=3, shape=(5,), floor=setting)
    with pytest.raises(ValueError, match=f"sigma must be a positive standard deviation, got {setting}"):
        FixedGaussian(features=3, shape=(5,), sigma=setting)
