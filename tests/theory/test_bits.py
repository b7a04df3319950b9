r"""Bits per dimension: bins tile the range, two routes lead to one number, and bounds close in on it; in float64."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import ContinuousBernoulli, Independent, LowRankMultivariateNormal

from vaelib.data import LEVELS, Bins, dequantise
from vaelib.diagnostics.bits import bits_per_dimension, log_mass
from vaelib.likelihoods.autoregressive import NeighbourhoodHead
from vaelib.likelihoods.bernoulli import BernoulliPixels
from vaelib.likelihoods.correlated import StructuredNormal, window
from vaelib.likelihoods.discretised import DiscretisedLogistic, DiscretisedPixels, quantise
from vaelib.linear import evidence_nats, linear_vae
from vaelib.networks import diagonal_normal
from vaelib.vae import VAE

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

SHAPE = 28, 28
PIXELS = 784
ALL = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
BOTH = [Bins(dequantised=True), Bins(dequantised=False)]
over_bins = over("bins", BOTH, ids=["dequantised", "grey"])


class Everywhere(nn.Module):
    """An encoder that gives every image the same Gaussian and remembers what it was shown."""

    def __init__(self, sigma=1.0):
        super().__init__()
        self.sigma, self.seen = sigma, []

    def forward(self, x):
        self.seen.append(x)
        mu = torch.zeros(len(x), 2)
        return diagonal_normal(mu, torch.full_like(mu, self.sigma))


class Uniform(nn.Module):
    """Whatever the code, every pixel is uniform on [0, 1]: a continuous Bernoulli whose parameter is a half."""

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels

    def forward(self, z):
        logits = torch.zeros(*z.shape[:-1], self.pixels)
        return Independent(ContinuousBernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def uniform(pixels=PIXELS, sigma=1.0):
    return VAE(encoder=Everywhere(sigma), decoder=nn.Identity(), head=Uniform(pixels), latent_dim=2)


def continuous(logits):
    """Independent continuous Bernoullis."""
    return Independent(ContinuousBernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def images(count):
    """Random levels over 255."""
    return quantise(torch.rand(count, PIXELS))


# Bins


@over_bins
def test_bins_lie_side_by_side(bins):
    torch.testing.assert_close(bins.lower(ALL)[1:], bins.lower(ALL)[:-1] + bins.width)


def test_dequantised_bins_tile_the_unit_interval_and_hold_what_is_dequantised():
    bins = Bins(dequantised=True)
    assert bins.lower(ALL[0]) == 0
    assert bins.lower(ALL[-1]) + bins.width == 1
    x = images(3)
    noisy = dequantise(x)
    assert ((bins.lower(x) <= noisy) & (noisy < bins.lower(x) + bins.width)).all()


def test_the_middle_of_a_grey_bin_is_its_level():
    bins = Bins(dequantised=False)
    torch.testing.assert_close(bins.lower(ALL) + bins.width / 2, ALL)


@over_bins
def test_points_are_uniform_in_their_bin(bins):
    x = ALL.expand(2_000, LEVELS)
    share = (bins.uniform(x) - bins.lower(x)) / bins.width
    assert 0 <= share.min() < 0.001 and 0.999 < share.max() <= 1 + 1e-9
    assert share.mean().item() == pytest.approx(1 / 2, abs=0.003)
    assert share.var().item() == pytest.approx(1 / 12, abs=0.001)


# The probability of an image given its code


@over_bins
@over("sigma", [0.001, 0.05, 2.0])
def test_the_masses_of_a_normal_are_what_it_has_between_the_first_and_the_last_bin(bins, sigma):
    mu = torch.tensor([0.0, 0.3, 0.98])
    px_z = diagonal_normal(mu[:, None], torch.full((3, 1), sigma))
    masses = torch.stack([log_mass(px_z, level.expand(3, 1), bins).exp() for level in ALL])
    normal = torch.distributions.Normal(mu, sigma)
    last = bins.lower(ALL[-1]) + bins.width
    torch.testing.assert_close(masses.sum(dim=0), normal.cdf(last) - normal.cdf(bins.lower(ALL[0])))


@over("logit", [-200.0, -50.0, -5.0, -0.1, 0.0, 3.0, 30.0, 300.0])
def test_a_level_of_the_continuous_bernoulli_is_a_constant_factor_likelier_than_the_one_before(logit):
    r"""Its density is exponential in x, so the masses of 256 bins of one width are a geometric series."""
    masses = log_mass(continuous(torch.full((LEVELS, 1), logit)), ALL[:, None], Bins(dequantised=True))
    torch.testing.assert_close(masses.diff(), torch.full((LEVELS - 1,), logit / LEVELS), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(masses.logsumexp(dim=0), torch.tensor(0.0), rtol=0, atol=1e-9)


@over_bins
@over("family", ["structured", "low rank"])
def test_the_estimate_from_points_of_the_bins_has_the_exact_mass_as_its_mean(bins, family):
    """Without taps or columns the correlated models have independent pixels, whose masses are known exactly."""
    x, draws = images(1), 3_000
    mu, sigma = x[0] + 0.05 * torch.randn(PIXELS), torch.full((PIXELS,), 0.08)
    exact = log_mass(diagonal_normal(mu[None], sigma[None]), x, bins)
    if family == "structured":
        neighbours = len(window(1))
        px_z = StructuredNormal(
            mu=mu.expand(draws, PIXELS),
            sigma=sigma.expand(draws, PIXELS),
            gates=torch.ones(draws, 1, PIXELS),
            filters=torch.zeros(1, neighbours),
            radius=1,
            shape=SHAPE,
        )
    else:
        px_z = LowRankMultivariateNormal(
            mu.expand(draws, PIXELS), torch.zeros(draws, PIXELS, 1), sigma.square().expand(draws, PIXELS)
        )
    shares = (log_mass(px_z, x, bins) - exact).exp()
    assert shares.std() > 0.1  # it is an estimate
    assert abs(shares.mean() - 1) < 5 * shares.std() / draws**0.5


@over_bins
def test_models_over_levels_need_no_bins(bins):
    h, x = torch.randn(4, 3), images(4)
    for head in (
        DiscretisedPixels(features=3, shape=SHAPE, family=DiscretisedLogistic),
        NeighbourhoodHead(features=3, shape=SHAPE, radius=1),
    ):
        torch.testing.assert_close(log_mass(head(h), x, bins), head(h).log_prob(x))


@over_bins
def test_a_bernoulli_has_no_mass_of_grey_levels(bins):
    with pytest.raises(TypeError, match="is no density on pixels"):
        log_mass(BernoulliPixels(features=3, shape=SHAPE)(torch.randn(2, 3)), images(2), bins)


# Bits


@over("samples", [1, 7])
def test_uniform_pixels_cost_eight_bits(samples):
    bits = bits_per_dimension(uniform(), images(5), dequantised=True, samples=samples)
    torch.testing.assert_close(bits, torch.full((5,), 8.0))


def test_bits_are_per_pixel_however_many_there_are():
    bits = bits_per_dimension(uniform(pixels=12), images(5)[:, :12], dequantised=True, samples=2)
    torch.testing.assert_close(bits, torch.full((5,), 8.0))


def test_a_code_that_says_nothing_and_departs_from_the_prior_costs_its_divergence():
    """One draw: on average the KL is added to the eight bits of each pixel, here for d = 2."""
    bits = bits_per_dimension(uniform(sigma=0.5), images(1).expand(3_000, -1), dequantised=True, samples=1)
    nats = (bits - 8) * PIXELS * math.log(2)
    kl = 2 * (0.25 - 1 - math.log(0.25)) / 2
    assert abs(nats.mean() - kl) < 5 * nats.std() / 3_000**0.5


def gaussian(*, correlated):
    """A linear VAE over 784 pixels with the best encoder there is, its exact bits, and images of it as levels."""
    sigma, b = 0.1, torch.full((PIXELS,), 0.5)
    W = torch.linalg.qr(torch.randn(PIXELS, 2)).Q * torch.tensor([1.0, 0.5])
    if correlated:
        W = W @ torch.tensor([[1.0, 0.5], [0.0, 0.8]])
    vae = linear_vae(pixels=PIXELS, latent_dim=2, sigma=sigma)
    with torch.no_grad():
        vae.head.mu.weight.copy_(W)
        vae.head.mu.bias.copy_(b)
    vae.encoder.set_optimal(W, b, sigma)
    x = quantise(b + torch.randn(10, 2) @ W.T + sigma * torch.randn(10, PIXELS))
    # The integral over a bin is its width times the density in the middle, up to terms in (width / sigma)^2 / 24.
    exact = (math.log(LEVELS - 1) - evidence_nats(x, W, b, sigma) / PIXELS) / math.log(2)
    return vae, exact, x


@torch.no_grad()
def test_with_the_true_posterior_one_draw_gives_the_exact_bits():
    vae, exact, x = gaussian(correlated=False)
    bits = bits_per_dimension(vae, x, dequantised=False, samples=1)
    torch.testing.assert_close(bits, exact, rtol=0, atol=5e-5)


@torch.no_grad()
def test_bits_fall_with_every_draw_to_the_exact_number_and_never_below():
    vae, exact, x = gaussian(correlated=True)
    means, errors = [], []
    for samples in (1, 4, 16, 64):
        draws = torch.stack([bits_per_dimension(vae, x, dequantised=False, samples=samples) for _ in range(30)])
        excess = (draws - exact).mean(dim=1) * PIXELS * math.log(2)  # nats per image
        means.append(excess.mean().item())
        errors.append(excess.std().item() / 30**0.5)
    assert means[0] > means[1] > means[2] > means[3] - 3 * errors[3]
    assert -5 * errors[3] - 0.02 < means[3] < means[0] / 2


@torch.no_grad()
def test_a_model_of_dequantised_pixels_encodes_a_point_of_the_bin_and_another_the_image_itself():
    vae, x = uniform(), images(3)
    for dequantised in (True, False):
        bits_per_dimension(vae, x, dequantised=dequantised, samples=2)
    noisy, itself = vae.encoder.seen
    assert torch.equal((noisy * LEVELS).floor(), (x * (LEVELS - 1)).round())
    assert torch.equal(itself, x)
    assert (noisy != x).any()


@over("samples", [0, -1])
def test_bits_need_a_draw(samples):
    with pytest.raises(ValueError, match=f"samples must be at least 1, got {samples}"):
        bits_per_dimension(uniform(), images(1), dequantised=True, samples=samples)


@over("bend", [lambda x: x + 0.3 / 255, lambda x: 255 * x, lambda x: 2 * x - 1, dequantise])
def test_bits_are_those_of_levels_and_what_is_none_is_refused_with_what_to_do(bend):
    with pytest.raises(ValueError, match=r"bits are those of 256 levels.*quantise\(x\)"):
        bits_per_dimension(uniform(), bend(images(2)), dequantised=True, samples=1)


def test_levels_in_single_precision_are_levels():
    x = (torch.arange(256) / 255).float().expand(2, 256)
    assert bits_per_dimension(uniform(pixels=256), x, dequantised=True, samples=1).shape == (2,)


class Halves(torch.distributions.Distribution):
    """A likelihood from elsewhere: each pixel is dark or bright with a half, then uniform in its half of the levels."""

    def log_mass(self, x, bins):
        return x.new_full((1, len(x)), -x.shape[-1] * math.log(LEVELS))


def test_another_likelihood_needs_a_method_and_no_entry():
    vae = uniform(pixels=12)
    vae.head = type("Head", (nn.Module,), {"forward": lambda self, z: Halves(validate_args=False)})()
    bits = bits_per_dimension(vae, images(3)[:, :12], dequantised=True, samples=1)
    torch.testing.assert_close(bits, torch.full((3,), 8.0))
