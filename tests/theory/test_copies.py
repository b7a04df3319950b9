r"""A noisy copy between code and pixels: its bound by two routes, below the evidence, its limits and its draws."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal

from vaelib.data import LEVELS
from vaelib.likelihoods.autoregressive import LocalNetwork
from vaelib.likelihoods.copies import MEAN_DRAWS, NoisyCopyHead, NoisyCopyPixels
from vaelib.likelihoods.correlated import surroundings
from vaelib.likelihoods.discretised import quantise
from vaelib.objectives import copy_elbo_nats, elbo_nats
from vaelib.training import fit
from vaelib.vae import mlp_vae

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

ALL = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
#: Wider than high, so that lines and columns are not taken for one another.
SHAPE = HEIGHT, WIDTH = 4, 5
PIXELS = HEIGHT * WIDTH
NOISE, VARIANCE = 0.3, 0.01


def copies(*batch, shape=SHAPE, noise=NOISE, variance=VARIANCE, local=None):
    """The distribution for random means, and a network that listens."""
    network = local or LocalNetwork(radius=1, features=6)
    with torch.no_grad():
        network.out.mul_(2)
    mu = torch.rand(*batch, math.prod(shape))
    return NoisyCopyPixels(mu, network, shape=shape, noise=noise, variance=torch.tensor(variance))


def copying():
    """A network that gives each pixel the level of its copy, all but surely."""
    local = LocalNetwork(radius=1, features=1, components=1)
    with torch.no_grad():
        for parameter in local.parameters():
            parameter.zero_()
        local.guide[0, surroundings(1).index((0, 0))] = 1
        local.bias[0], local.out[1, 0], local.out_bias[1] = 10, 0.5, -10  # a ReLU that is never 0; out doubles above
        local.out_bias[2] = -100
    return local


def line(centre, width, nodes=401):
    """Nodes of a variable and the weight of each, for sums in the place of integrals."""
    at = centre + width * torch.linspace(-8, 8, nodes)
    return at, (at[1] - at[0]).expand(nodes)


@torch.no_grad()
def masses_of_one_pixel(px_z):
    """P(x|z) of an image of one pixel, by quadrature over its copy, `[256]`."""
    total = px_z.copy.stddev[0]
    y, weight = line(px_z.mu[0], total)
    each = px_z.pixels(y[:, None]).log_prob(ALL[:, None, None]).exp()  # [256, nodes]
    return each @ (weight * Normal(px_z.mu[0], total).log_prob(y).exp())


def tiny(noise=NOISE):
    """A VAE of images of one pixel with one latent dimension, its variance set, in evaluation."""
    vae = mlp_vae(
        shape=(1, 1), latent_dim=1, head=partial(NoisyCopyHead, radius=1, noise=noise, local=4), hidden=5
    ).eval()
    vae.head.variance.fill_(VARIANCE)
    return vae


def mean_and_error(draws):
    """Of draws, first dimension, their mean and its standard error."""
    return draws.mean(dim=0), draws.std(dim=0) / len(draws) ** 0.5


# The bound


@torch.no_grad()
def test_the_closed_form_and_the_definition_have_one_expected_value():
    px_z, x = copies(3), quantise(torch.rand(3, PIXELS))
    draws = torch.stack([torch.stack((px_z.bound_nats(x), px_z.log_prob(x))) for _ in range(2_000)])
    (closed, direct), error = mean_and_error(draws)
    assert ((closed - direct).abs() < 5 * error.norm(dim=0)).all()
    assert (draws[:, 0].std(dim=0) < draws[:, 1].std(dim=0)).all()  # and the closed form has less noise


@torch.no_grad()
def test_the_objective_is_the_mean_of_the_log_ratio_of_the_joint_densities():
    vae, x = tiny(), torch.tensor([[0.2], [0.9]])
    x = quantise(x)
    objective, error = mean_and_error(torch.stack([copy_elbo_nats(vae, x) for _ in range(2_000)]))

    def log_ratio():
        qz_x, qy_x = vae.posterior(x), Normal(x, NOISE)
        z, y = qz_x.sample(), qy_x.sample()
        mu = torch.sigmoid(vae.head.mu(vae.decoder(z)))
        joint = vae.prior.log_prob(z) + Normal(mu, (VARIANCE + NOISE**2) ** 0.5).log_prob(y).sum(dim=-1)
        joint += vae.likelihood(z).pixels(y).log_prob(x)
        return joint - qz_x.log_prob(z) - qy_x.log_prob(y).sum(dim=-1)

    direct, other_error = mean_and_error(torch.stack([log_ratio() for _ in range(2_000)]))
    assert ((objective - direct).abs() < 5 * (error + other_error)).all()


@torch.no_grad()
def test_the_objective_lies_below_the_evidence_and_the_probabilities_of_all_images_sum_to_one():
    vae = tiny()
    z, weight = line(0.0, 1.0, nodes=41)
    given_z = torch.stack([masses_of_one_pixel(vae.likelihood(code)) for code in z[:, None]])  # [nodes, 256]
    evidence = (weight * Normal(0.0, 1.0).log_prob(z).exp()) @ given_z
    torch.testing.assert_close(evidence.sum(), torch.tensor(1.0), rtol=0, atol=1e-6)
    objective, error = mean_and_error(torch.stack([copy_elbo_nats(vae, ALL[:, None]) for _ in range(500)]))
    assert (objective - 5 * error < evidence.log()).all()
    assert (evidence.log() - objective).mean() > 0.01


@torch.no_grad()
def test_the_probability_given_the_code_is_the_mean_of_its_estimates_and_above_the_bound():
    px_z = copies(shape=(1, 1))
    exact, draws = masses_of_one_pixel(px_z), 2_000
    estimate, error = mean_and_error(torch.stack([px_z.log_prob(ALL[:, None]).exp() for _ in range(draws)]))
    z_scores = (estimate - exact) / error
    assert z_scores.abs().max() < 6
    assert z_scores.square().mean() < 2
    bound, error = mean_and_error(torch.stack([px_z.bound_nats(ALL[:, None]) for _ in range(draws)]))
    assert (bound - 5 * error < exact.log()).all()


def test_the_bound_is_greatest_where_the_variance_is_the_squared_error_and_there_it_has_the_short_form():
    px_z, x = copies(50), torch.rand(50, PIXELS)
    v = (x - px_z.mu).square().mean()
    px_z.copy_variance = v.clone().requires_grad_()
    cost = px_z.divergence_nats(x).mean()
    torch.testing.assert_close(cost, PIXELS / 2 * (1 + v / NOISE**2).log())
    (gradient,) = torch.autograd.grad(cost, px_z.copy_variance)
    assert abs(gradient) < 1e-9
    for other in (0.9 * v, 1.1 * v):
        px_z.copy_variance = other
        assert px_z.divergence_nats(x).mean() > cost


def test_with_the_variance_held_at_its_optimum_the_gradient_is_that_of_the_short_form():
    px_z, x = copies(50), torch.rand(50, PIXELS)
    px_z.mu.requires_grad_()
    error = (x - px_z.mu).square().mean()
    px_z.copy_variance = error.detach()
    (held,) = torch.autograd.grad(px_z.divergence_nats(x).mean(), px_z.mu)
    (short,) = torch.autograd.grad(PIXELS / 2 * (1 + error / NOISE**2).log(), px_z.mu)
    torch.testing.assert_close(held, short)


# Limits


@torch.no_grad()
def test_with_little_noise_a_copy_costs_what_the_calibrated_gaussian_does():
    """KL + (m/2) ln(2 pi e s^2), the entropy of q(y|x), tends to -ln N(x; mu, v I)."""
    gaussian = -Normal(px_mu := torch.rand(3, PIXELS), VARIANCE**0.5).log_prob(x := torch.rand(3, PIXELS)).sum(dim=1)
    for noise, within in ((1e-3, 0.1), (1e-5, 1e-5)):
        px_z = copies(3, noise=noise)
        px_z.mu = px_mu
        cost = px_z.divergence_nats(x) + PIXELS / 2 * math.log(2 * math.pi * math.e * noise**2)
        torch.testing.assert_close(cost, gaussian, rtol=0, atol=within)


@torch.no_grad()
def test_with_much_noise_a_copy_costs_nothing_and_says_nothing_of_the_code():
    px_z, x = copies(noise=1e4), torch.rand(3, PIXELS)
    assert px_z.divergence_nats(x).abs().max() < 1e-6
    elsewhere = NoisyCopyPixels(1 - px_z.mu, px_z.network, shape=SHAPE, noise=1e4, variance=px_z.copy_variance)
    torch.manual_seed(1)
    one = px_z.sample((50,))
    torch.manual_seed(1)
    assert (elsewhere.sample((50,)) != one).double().mean() < 0.01


# Draws


@torch.no_grad()
def test_a_pixel_is_drawn_with_its_masses():
    px_z, draws = copies(shape=(1, 1)), 10_000
    masses = masses_of_one_pixel(px_z).reshape(32, 8).sum(dim=1)
    levels = (px_z.sample((draws,))[:, 0] * (LEVELS - 1)).round().long()
    counts = torch.bincount(levels // 8, minlength=32)
    frequent = masses * draws > 10
    chi_squared = ((counts - masses * draws).square() / (masses * draws))[frequent].sum()
    assert frequent.sum() > 10
    assert chi_squared < frequent.sum() + 5 * (2 * frequent.sum()) ** 0.5


@over("shape", [(4, 5), (7, 3), (1, 1)])
@torch.no_grad()
def test_draws_of_a_network_that_copies_are_levels_of_the_copy(shape):
    px_z = copies(2, shape=shape, noise=0.05, variance=0.0025, local=copying())
    px_z.mu.mul_(0.2).add_(0.4)
    draws = px_z.sample((1_000,))
    assert draws.shape == (1_000, 2, math.prod(shape))
    torch.testing.assert_close(draws, quantise(draws))
    torch.testing.assert_close(draws.mean(dim=0), px_z.mu, rtol=0, atol=0.01)
    torch.testing.assert_close(draws.std(dim=0), px_z.copy.stddev, rtol=0.1, atol=0)
    torch.testing.assert_close(px_z.mean, px_z.mu, rtol=0, atol=6 * (0.005 / MEAN_DRAWS) ** 0.5)


@torch.no_grad()
def test_the_mean_is_the_same_each_time_and_leaves_the_callers_randomness_untouched():
    px_z, state = copies(2), torch.get_rng_state()
    first, second = px_z.mean, px_z.mean
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)


@torch.no_grad()
def test_each_draw_of_the_code_has_a_copy_of_its_own():
    px_z, x = copies(4, 2), quantise(torch.rand(2, PIXELS))
    px_z.mu = px_z.mu[:1].expand(4, 2, PIXELS)
    for value in (px_z.log_prob(x), px_z.bound_nats(x)):
        assert value.shape == (4, 2)
        assert len(value[:, 0].unique()) == 4


# The head


@over("objective", [copy_elbo_nats, elbo_nats])
def test_the_variance_is_calibrated_by_either_objective_and_all_is_trained(objective):
    vae = mlp_vae(shape=SHAPE, latent_dim=2, head=partial(NoisyCopyHead, radius=1, noise=NOISE), hidden=8)
    x = quantise(torch.rand(200, 1).expand(200, PIXELS).clone())
    steps = list(fit(vae, lambda batch: -objective(vae, batch), [x], epochs=20, learning_rate=1e-2))
    assert steps[-1].loss < steps[0].loss
    vae.train()
    objective(vae, x).mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in vae.parameters())
    errors = []
    for _ in range(600):  # the networks held, the variance follows
        objective(vae, x)
        errors.append((x - vae.likelihood(vae.posterior(x).sample()).mu).square().mean().item())
    assert vae.head.variance.item() == pytest.approx(sum(errors) / 600, rel=0.02)
    vae.eval()
    before = vae.head.variance.clone()
    objective(vae, 1 - x)
    assert torch.equal(vae.head.variance, before)


@over("wrong", [{"noise": 0.0}, {"radius": 0}, {"shape": (3, 4, 5)}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"noise|radius|grey images"):
        NoisyCopyHead(**{"features": 3, "shape": SHAPE, "radius": 1, "noise": 0.3} | wrong)
