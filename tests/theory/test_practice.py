r"""Each recipe is the bound that its docstring names: value up to the stated constant, and gradient, in float64."""

import inspect
import math
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vaelib import practice
from vaelib.likelihoods.bernoulli import BernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian
from vaelib.networks import DecoderBody, Encoder, diagonal_normal
from vaelib.objectives import beta_elbo_nats, elbo_nats
from vaelib.practice import implied_beta
from vaelib.vae import VAE

B, M, D = 5, 12, 3  # images, pixels, latent dimensions
TOLERANCE = 1e-10

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize


class Outputs(NamedTuple):
    """What an implementation has before it computes its loss."""

    x_hat: Tensor
    kl: Tensor


def vae_with(head):
    """A small VAE; the same weights for every head with as many parameters."""
    torch.manual_seed(1)
    return VAE(
        encoder=Encoder(pixels=M, latent_dim=D, hidden=7),
        decoder=DecoderBody(latent_dim=D, hidden=7),
        head=head(features=7, shape=(M,)),
        latent_dim=D,
    )


def outputs(vae, x):
    """The decoder's means at one draw of z, and the KL of each latent dimension."""
    qz_x = vae.posterior(x)
    kl = kl_divergence(Normal(qz_x.mean, qz_x.stddev), Normal(0.0, 1.0))
    torch.manual_seed(2)
    return Outputs(vae.likelihood(qz_x.rsample()).mean, kl)


def bound(vae, x, *, beta=1.0):
    """The mean over the batch of equation 5.4 at the same draw of z."""
    torch.manual_seed(2)
    return beta_elbo_nats(vae, x, beta=beta).mean()


def gradient(value, vae):
    """The gradient with respect to all parameters, as one vector."""
    parameters = list(vae.parameters())
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, parameters, retain_graph=True)])


def relative_difference(one, other):
    """Of two vectors or two numbers."""
    return ((one - other).norm() / other.norm()).item()


def assert_same(loss, expected, vae):
    """The two are equal, and so are their gradients, which are not zero."""
    assert relative_difference(loss, expected) < TOLERANCE
    assert gradient(expected, vae).norm() > 1e-3
    assert relative_difference(gradient(loss, vae), gradient(expected, vae)) < TOLERANCE


GAUSSIAN = {  # implied variance, and the factor of the negative ELBO
    "half squared error": (practice.half_squared_error, 1.0, 1.0),
    "squared error": (partial(practice.squared_error, beta=0.3), 0.3 / 2, 0.3),
    "scaled squared error": (partial(practice.scaled_squared_error, beta=2), 2 / 510, 2.0),
    "mean squared error": (partial(practice.mean_squared_error, kl_weight=0.2), M * 0.2 / 2, 0.2),
    "both means": (partial(practice.mean_squared_error_with_mean_kl, kl_weight=0.1), M * 0.1 / (2 * D), 0.1 / D),
    "weighted mean": (partial(practice.weighted_mean_squared_error, weight=20), M / (2 * 20), 1.0),
    "mean beside sum": (practice.batch_mean_squared_error, B * M / 2, float(B)),
}
CROSS_ENTROPY = {  # beta, and the factor of the negative bound
    "all summed": (practice.summed_cross_entropy, 1.0, float(B)),
    "KL averaged": (practice.cross_entropy_with_mean_kl, 1 / D, 1.0),
    "both means": (partial(practice.mean_cross_entropy_with_mean_kl, kl_weight=0.1), M * 0.1 / D, 1 / M),
    "weighted mean": (partial(practice.weighted_mean_cross_entropy, weight=20), M / 20, 20 / M),
}


@over("name", GAUSSIAN)
def test_a_squared_error_is_the_elbo_of_the_variance_that_it_implies(name):
    recipe, variance, factor = GAUSSIAN[name]
    vae, x = vae_with(partial(FixedGaussian, sigma=variance**0.5)), torch.rand(B, M)
    constant = M / 2 * math.log(2 * math.pi * variance)
    assert_same(recipe(x, *outputs(vae, x)), factor * (-bound(vae, x) - constant), vae)


@over("name", GAUSSIAN)
def test_no_other_variance_has_that_gradient(name):
    recipe, variance, _ = GAUSSIAN[name]
    vae, x = vae_with(partial(FixedGaussian, sigma=(1.01 * variance) ** 0.5)), torch.rand(B, M)
    ours, theirs = gradient(recipe(x, *outputs(vae, x)), vae), gradient(-bound(vae, x), vae)
    assert relative_difference(ours / ours.norm(), theirs / theirs.norm()) > 1e-6


@over("name", CROSS_ENTROPY)
@over("grey", [True, False])
def test_a_cross_entropy_is_a_bernoulli_bound_with_a_weight_on_its_kl(name, grey):
    recipe, beta, factor = CROSS_ENTROPY[name]
    vae, x = vae_with(BernoulliPixels), torch.rand(B, M)
    x = x if grey else x.round()
    assert_same(recipe(x, *outputs(vae, x)), -factor * bound(vae, x, beta=beta), vae)


def test_the_batch_log_error_is_the_elbo_at_the_mean_squared_error_of_the_batch():
    vae, x = vae_with(partial(FixedGaussian, sigma=1.0)), torch.rand(B, M)
    vae.head.sigma = (x - outputs(vae, x).x_hat).square().mean().sqrt().item()
    assert_same(practice.batch_log_error(x, *outputs(vae, x)), -B * bound(vae, x), vae)


@over("factor", [0.9, 1.1])
def test_no_other_variance_gives_a_smaller_batch_log_error(factor):
    vae, x = vae_with(partial(FixedGaussian, sigma=1.0)), torch.rand(B, M)
    vae.head.sigma = factor * (x - outputs(vae, x).x_hat).square().mean().sqrt().item()
    assert practice.batch_log_error(x, *outputs(vae, x)) < -B * bound(vae, x) - 0.1


def image_bound(x, x_hat, kl, variance, *, beta):
    """Equation 5.4 with one variance per image, `[B]`."""
    sigma = variance.detach().sqrt()[:, None].expand_as(x)
    return (diagonal_normal(x_hat, sigma).log_prob(x) - beta * kl.sum(-1)).mean()


def test_the_image_log_error_is_the_bound_at_the_mean_squared_error_of_each_image():
    vae, x = vae_with(partial(FixedGaussian, sigma=1.0)), torch.rand(B, M)
    x_hat, kl = outputs(vae, x)
    expected = -image_bound(x, x_hat, kl, (x - x_hat).square().mean(-1), beta=3)
    assert_same(practice.image_log_error(x, x_hat, kl, beta=3, epsilon=0), expected, vae)


def test_the_epsilon_of_the_image_log_error_is_a_floor_of_the_variance():
    vae, x = vae_with(partial(FixedGaussian, sigma=1.0)), torch.rand(B, M)
    x_hat, kl = outputs(vae, x)
    floored = (x - x_hat).square().mean(-1) + 0.1 / (2 * math.pi)
    loss, expected = practice.image_log_error(x, x_hat, kl, epsilon=0.1), -image_bound(x, x_hat, kl, floored, beta=1)
    assert relative_difference(gradient(loss, vae), gradient(expected, vae)) < TOLERANCE


def test_the_rule_of_the_module_holds_for_any_weights():
    c, w = 0.7, 3.0
    vae, x = vae_with(partial(FixedGaussian, sigma=(w / (2 * c)) ** 0.5)), torch.rand(B, M)
    x_hat, kl = outputs(vae, x)
    loss = c * (x - x_hat).square().sum(-1).mean() + w * kl.sum(-1).mean()
    torch.manual_seed(2)
    negative_elbo = -elbo_nats(vae, x).mean()
    assert_same(loss, w * (negative_elbo - M / 2 * math.log(2 * math.pi * w / (2 * c))), vae)


@over("recipe", [practice.mean_squared_error, practice.mean_squared_error_with_mean_kl])
def test_a_mean_over_pixels_implies_a_variance_that_grows_with_the_image(recipe):
    small, large = (implied_beta(recipe, gaussian=True, pixels=pixels) for pixels in (784, 4 * 784))
    assert large == pytest.approx(4 * small)


@over("recipe", [practice.half_squared_error, partial(practice.squared_error, beta=4), practice.scaled_squared_error])
def test_a_sum_over_pixels_implies_the_same_variance_for_every_image(recipe):
    small, large = (implied_beta(recipe, gaussian=True, pixels=pixels) for pixels in (784, 4 * 784))
    assert large == pytest.approx(small)


def test_a_mean_over_the_batch_beside_a_sum_implies_a_variance_that_grows_with_the_batch():
    small, large = (
        implied_beta(practice.batch_mean_squared_error, gaussian=True, pixels=M, batch=batch) for batch in (2, 8)
    )
    assert large == pytest.approx(4 * small)
    others = [recipe for recipe, _, _ in GAUSSIAN.values() if recipe is not practice.batch_mean_squared_error]
    for recipe in others:
        small, large = (implied_beta(recipe, gaussian=True, pixels=M, batch=batch) for batch in (2, 8))
        assert large == pytest.approx(small)


def test_a_mean_over_latents_implies_a_weight_that_falls_with_their_number():
    few, many = (
        implied_beta(practice.cross_entropy_with_mean_kl, gaussian=False, pixels=M, latents=latents)
        for latents in (2, 20)
    )
    assert (few, many) == (pytest.approx(1 / 2), pytest.approx(1 / 20))


def test_a_variance_that_differs_between_images_is_no_single_number():
    with pytest.raises(ValueError, match="is no weighted sum of a log-likelihood and a KL"):
        implied_beta(practice.image_log_error, gaussian=True, pixels=M)


def test_every_recipe_is_tested_here():
    tabled = [recipe for table in (GAUSSIAN, CROSS_ENTROPY) for recipe, _, _ in table.values()]
    tested = {getattr(recipe, "func", recipe) for recipe in tabled} | {
        practice.batch_log_error,
        practice.image_log_error,
    }
    public = {f for _, f in inspect.getmembers(practice, inspect.isfunction) if f.__module__ == practice.__name__}
    public -= {practice.implied_beta}
    assert public == tested
