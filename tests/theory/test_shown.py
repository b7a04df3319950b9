r"""The picture that is shown is a distribution over levels, and its bits are those of a coder with an escape."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal

from vaelib.data import LEVELS, Bins
from vaelib.diagnostics.bits import bits_per_dimension, log_mass
from vaelib.diagnostics.shown import (
    ESCAPE,
    bits,
    effective_sample_size,
    escape_bits,
    shown_log_mass,
    weighted_probability,
)
from vaelib.likelihoods import BernoulliPixels, ContinuousBernoulliPixels, DiscretisedNormal, PixelwiseGaussian
from vaelib.likelihoods.discretised import quantise
from vaelib.linear import evidence_nats
from vaelib.networks import diagonal_normal
from vaelib.seeding import seeded
from vaelib.vae import mlp_vae

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize
ALL = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
BOTH = [Bins(dequantised=True), Bins(dequantised=False)]
over_bins = over("bins", BOTH, ids=["dequantised", "grey"])


def small(head=PixelwiseGaussian):
    """A VAE of six pixels."""
    return mlp_vae(shape=(2, 3), latent_dim=2, head=head, hidden=4)


@over_bins
@over("sigma", [1e-3, 0.05, 1.0, 30.0])
def test_the_masses_of_what_is_shown_sum_to_one(bins, sigma):
    mu = torch.tensor([-0.2, 0.0, 0.3, 0.999])
    px_z = diagonal_normal(mu[:, None], torch.full((4, 1), sigma))
    masses = torch.stack([shown_log_mass(px_z, level.expand(4, 1), bins).exp() for level in ALL])
    torch.testing.assert_close(masses.sum(dim=0), torch.ones(4))


@over("dequantised", [True, False])
def test_the_masses_are_the_shares_of_pictures_that_are_cut_and_rounded(dequantised):
    mu, sigma, bins = 0.1, 0.2, Bins(dequantised=dequantised)
    y = (mu + sigma * torch.randn(400_000)).clamp(0, 1)
    level = (LEVELS * y).floor().clamp(max=LEVELS - 1) if dequantised else (255 * y).round()
    shares = torch.bincount(level.long(), minlength=LEVELS) / len(y)
    px_z = diagonal_normal(torch.full((LEVELS, 1), mu), torch.full((LEVELS, 1), sigma))
    masses = shown_log_mass(px_z, ALL[:, None], bins).exp()
    assert masses[0] > 0.3 and (shares - masses).abs().max() < 5 * (masses.max() / len(y)) ** 0.5


def test_on_grey_pixels_what_is_shown_is_the_discretised_normal():
    loc, scale = torch.rand(LEVELS), 0.01 + torch.rand(LEVELS)
    shown = shown_log_mass(Normal(loc, scale), ALL, Bins(dequantised=False))
    torch.testing.assert_close(shown, DiscretisedNormal(loc, scale).log_prob(ALL))


@over_bins
def test_only_the_first_and_the_last_level_gain_on_the_density_and_by_its_tails(bins):
    px_z = diagonal_normal(torch.full((LEVELS, 1), 0.2), torch.full((LEVELS, 1), 0.3))
    gained = shown_log_mass(px_z, ALL[:, None], bins).exp() - log_mass(px_z, ALL[:, None], bins).exp()
    torch.testing.assert_close(gained[1:-1], torch.zeros(LEVELS - 2))
    normal = Normal(0.2, 0.3)
    torch.testing.assert_close(gained[0], normal.cdf(bins.lower(ALL[0])))
    torch.testing.assert_close(gained[-1], 1 - normal.cdf(bins.lower(ALL[-1]) + bins.width))


@over_bins
def test_what_has_no_tails_is_shown_as_it_is(bins):
    px_z, x = ContinuousBernoulliPixels(features=4, shape=(2, 3))(torch.randn(5, 4)), quantise(torch.rand(5, 6))
    torch.testing.assert_close(shown_log_mass(px_z, x, bins), log_mass(px_z, x, bins))


def test_a_bernoulli_is_no_density_of_grey_pictures():
    with pytest.raises(TypeError, match="is no density on pixels"):
        shown_log_mass(BernoulliPixels(features=4, shape=(2, 3))(torch.randn(5, 4)), torch.rand(5, 6), BOTH[0])


def test_gradients_of_what_is_shown_are_finite_at_black_and_white():
    """To the code, which is what a posterior is fitted by, and to the weights."""
    vae, x = small(), quantise(torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.5, 0.0]]))
    z = vae.posterior(x).rsample()
    z.retain_grad()
    shown_log_mass(vae.likelihood(z), x, BOTH[1]).sum().backward()
    assert z.grad.isfinite().all() and (z.grad != 0).any()
    assert all(parameter.grad.isfinite().all() for parameter in vae.parameters())


# Importance weights


def test_with_the_true_posterior_every_draw_counts(orthogonal_linear):
    """Each weight is p(x), up to the width of a bin beside sigma; and the mean of the weights is the evidence."""
    x = quantise(orthogonal_linear.x.clamp(0.2, 0.8))
    found = weighted_probability(orthogonal_linear.vae, x, dequantised=False, samples=50, mass=log_mass)
    torch.testing.assert_close(found.effective, torch.full((8,), 50.0), rtol=1e-3, atol=0)
    _, W, b, sigma, _ = orthogonal_linear
    exact = evidence_nats(x, W, b, sigma) - 6 * math.log(LEVELS - 1)
    torch.testing.assert_close(found.log_px, exact, rtol=0, atol=1e-3)


def test_few_draws_count_where_q_is_not_the_posterior(linear):
    x = quantise(linear.x.clamp(0.2, 0.8))
    found = weighted_probability(linear.vae, x, dequantised=False, samples=500, mass=log_mass)
    assert (found.effective >= 1).all() and (found.effective < 499).all()


def test_the_effective_sample_size_of_n_equal_weights_among_none_is_n_whatever_their_scale():
    log_weights = torch.full((10, 3), -math.inf)
    for column, count in enumerate((1, 4, 10)):
        log_weights[:count, column] = 700.0 * column
    torch.testing.assert_close(effective_sample_size(log_weights), torch.tensor([1.0, 4.0, 10.0]))


@over("dequantised", [True, False])
def test_the_bits_of_the_density_are_those_of_bits_per_dimension(dequantised):
    vae, x = small(), quantise(torch.rand(5, 6))
    with seeded(0):
        found = weighted_probability(vae, x, dequantised=dequantised, samples=7, mass=log_mass)
    with seeded(0):
        expected = bits_per_dimension(vae, x, dequantised=dequantised, samples=7)
    torch.testing.assert_close(bits(found.log_px, pixels=6), expected)


def test_the_encoders_own_posterior_is_what_is_taken_where_none_is_given():
    vae, x = small(), quantise(torch.rand(5, 6))
    with torch.no_grad():
        given = [None, vae.posterior(x), diagonal_normal(torch.full((5, 2), 9.0), torch.ones(5, 2))]
    found = []
    for posterior in given:
        with seeded(0):
            found.append(
                weighted_probability(
                    vae, x, dequantised=False, samples=50, mass=shown_log_mass, posterior=posterior
                ).log_px
            )
    torch.testing.assert_close(found[0], found[1])
    assert (found[2] < found[0]).all()


@over("bad", [lambda x: x + 0.3 / 255, lambda x: 255 * x])
def test_what_is_no_level_is_refused(bad):
    with pytest.raises(ValueError, match=r"256 levels.*quantise\(x\)"):
        weighted_probability(small(), bad(quantise(torch.rand(2, 6))), dequantised=True, samples=1, mass=log_mass)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        weighted_probability(small(), quantise(torch.rand(2, 6)), dequantised=True, samples=0, mass=log_mass)


# An escape


def test_an_escape_turns_any_model_into_one_whose_probabilities_still_sum_to_one():
    log_px = torch.randn(LEVELS).log_softmax(dim=0)  # of the 256 images of one pixel
    escaped = -escape_bits(log_px, pixels=1) * math.log(2)
    torch.testing.assert_close(escaped.logsumexp(dim=0), torch.tensor(0.0))


@over("escape", [ESCAPE, 0.5])
def test_with_an_escape_no_image_costs_more_than_it_and_none_much_more_than_without(escape):
    log_px = torch.linspace(-1e6, 0, 1_000)
    escaped, plain = escape_bits(log_px, pixels=784, escape=escape), bits(log_px, pixels=784)
    assert (escaped <= 8 - math.log2(escape) / 784 + 1e-9).all()
    assert (escaped <= plain - math.log2(1 - escape) / 784 + 1e-9).all()
    assert (escaped >= torch.minimum(plain, torch.tensor(8.0)) - 1e-9).all()  # a mixture is at most its larger part


@over("escape", [0.0, 1.0, -0.1])
def test_an_escape_is_a_share(escape):
    with pytest.raises(ValueError, match="escape must be a share between 0 and 1"):
        partial(escape_bits, pixels=6, escape=escape)(torch.zeros(1))
