r"""Variances that a rule sets while the networks learn; in float64."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal

from vaelib.likelihoods.gaussian import (
    GECO_RATE,
    RUNNING_SHARE,
    CalibratedGaussian,
    ToleranceGaussian,
    UncalibratedError,
)
from vaelib.objectives import (
    autoencoder_objective,
    beta_elbo_nats,
    elbo_nats,
    elbo_terms,
    iwae_bound_nats,
    limit_objective,
)
from vaelib.seeding import seeded
from vaelib.training import fit
from vaelib.vae import mlp_vae

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

SHAPE, PIXELS, FEATURES = (2, 3), 6, 5


def calibrated():
    return CalibratedGaussian(features=FEATURES, shape=SHAPE)


def tolerant(tolerance=0.1):
    return ToleranceGaussian(features=FEATURES, shape=SHAPE, tolerance=tolerance)


def vae_with(head):
    """A small VAE with this head."""
    return mlp_vae(shape=SHAPE, latent_dim=2, head=lambda features, shape: head, hidden=FEATURES)


# The calibrated variance


@torch.no_grad()
def test_the_calibrated_variance_maximises_the_likelihood():
    head, h, x = calibrated(), torch.randn(200, FEATURES), torch.rand(200, PIXELS)
    error = (x - head(h).mean).square().mean()
    head.adapt(error)
    torch.testing.assert_close(head.sigma.square(), error)
    best = head(h).log_prob(x).mean()
    grid = head.sigma * torch.logspace(-1, 1, 401)
    others = torch.stack([Normal(head(h).mean, sigma).log_prob(x).sum(dim=1).mean() for sigma in grid])
    assert (others <= best + 1e-12).all()
    torch.testing.assert_close(others[200], best)  # the middle of the grid is sigma itself
    torch.testing.assert_close(best, -PIXELS / 2 * (1 + (2 * math.pi * error).log()))


def test_the_running_error_forgets_geometrically():
    head, first, second = calibrated(), torch.tensor(0.7), torch.tensor(0.2)
    head.adapt(first)
    torch.testing.assert_close(head.sigma.square(), first)  # nothing is left of what the variance was before
    for number in range(1, 300):
        head.adapt(second)
        expected = second + (first - second) * (1 - RUNNING_SHARE) ** number
        torch.testing.assert_close(head.sigma.square(), expected)


def test_the_calibrated_variance_converges_to_the_mean_squared_error_of_unequal_batches():
    head, errors = calibrated(), 0.1 + 0.2 * torch.rand(3_000)
    seen = []
    for error in errors:
        head.adapt(error)
        seen.append(head.sigma.square().item())
    # The running mean of independent errors has their variance times s / (2 - s), s the share of the newest.
    spread = (0.2**2 / 12 * RUNNING_SHARE / (2 - RUNNING_SHARE)) ** 0.5
    late = torch.tensor(seen[500:])
    assert late.mean().item() == pytest.approx(0.2, abs=0.003)
    assert late.std().item() == pytest.approx(spread, rel=0.3)


# What the head sees


@over("make", [calibrated, tolerant])
def test_the_head_sees_the_error_of_the_batch_once_its_probability_is_known(make):
    vae, x = vae_with(make()), torch.rand(40, PIXELS)
    variance = vae.head.sigma.square().item()
    with seeded(1):
        exact = elbo_nats(vae.eval(), x)
    with seeded(1):
        torch.testing.assert_close(elbo_nats(vae.train(), x), exact)
    with seeded(1):
        error = (x - vae.likelihood(vae.posterior(x).rsample()).mean).square().mean()
    torch.testing.assert_close(vae.head.running_error, error.detach())
    assert vae.head.sigma.square().item() != variance


def mixed(vae, x):
    """An objective that is not in the library."""
    terms = elbo_terms(vae, x)
    return terms.log_px_z - terms.kl.clamp(min=0.1)


OBJECTIVES = {
    "elbo": elbo_nats,
    "beta": partial(beta_elbo_nats, beta=2.0),
    "iwae": partial(iwae_bound_nats, samples=3),
    "own": mixed,
}


@over("name", OBJECTIVES)
@over("make", [calibrated, tolerant])
def test_the_head_sees_one_error_a_step_under_every_objective_and_loop(make, name):
    vae, x = vae_with(make()), torch.rand(64, PIXELS)
    seen, adapt = [], vae.head.adapt
    vae.head.adapt = lambda error: adapt(error) or seen.append(error)
    list(fit(vae, lambda batch: -OBJECTIVES[name](vae, batch), (x,), epochs=1, batch_size=16))
    optimiser = torch.optim.SGD(vae.train().parameters(), lr=1e-3)
    for batch in x.split(16):
        optimiser.zero_grad()
        (-OBJECTIVES[name](vae, batch)).mean().backward()
        optimiser.step()
    assert len(seen) == 8
    assert all(error.shape == () and 0 < error < 1 and not error.requires_grad for error in seen)


def test_the_error_of_several_draws_is_their_mean():
    vae, x = vae_with(calibrated()), torch.rand(40, PIXELS)
    with seeded(1):
        iwae_bound_nats(vae, x, samples=5)
    with seeded(1):
        mean = vae.likelihood(vae.posterior(x).rsample((5,))).mean
    torch.testing.assert_close(vae.head.sigma.square(), (x - mean).square().mean().detach())


def test_a_batch_that_is_expanded_still_shows_its_error():
    head, x = calibrated(), torch.rand(4, PIXELS)
    px_z = head(torch.randn(FEATURES)).expand((4,))
    assert px_z.batch_shape == (4,)
    px_z.log_prob(x)
    torch.testing.assert_close(head.sigma.square(), (x - px_z.mean).square().mean().detach())


@over("objective", [limit_objective, autoencoder_objective])
@over("make", [calibrated, tolerant])
def test_an_objective_that_never_shows_the_head_an_image_is_refused_before_the_first_step(make, objective):
    vae = vae_with(make())
    weights = vae.head.mu.weight.clone()
    with pytest.raises(UncalibratedError, match=f"{type(vae.head).__name__} sets its sigma whenever .* elbo_nats"):
        list(fit(vae, lambda batch: -objective(vae, batch), (torch.rand(64, PIXELS),), epochs=1))
    assert torch.equal(vae.head.mu.weight, weights)


def test_a_head_that_is_calibrated_already_is_refused_as_well():
    vae, x = vae_with(calibrated()), torch.rand(64, PIXELS)
    list(fit(vae, lambda batch: -elbo_nats(vae, batch), (x,), epochs=1))
    with pytest.raises(UncalibratedError):
        list(fit(vae, lambda batch: -limit_objective(vae, batch), (x,), epochs=1))


def test_who_stops_early_has_a_model_in_evaluation_mode_that_no_image_moves():
    vae, x = vae_with(calibrated()), torch.rand(64, PIXELS)
    steps = fit(vae, lambda batch: -elbo_nats(vae, batch), (x,), epochs=9)
    next(steps)
    steps.close()
    before = vae.head.sigma
    elbo_nats(vae, 1 - x)
    assert not vae.training and vae.head.sigma == before


@over("make", [calibrated, tolerant])
def test_nothing_adapts_in_evaluation(make):
    vae = vae_with(make()).eval()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    elbo_nats(vae, torch.rand(40, PIXELS))
    with torch.no_grad():
        elbo_nats(vae.train(), torch.rand(40, PIXELS))
    assert all(torch.equal(value, before[name]) or value.isnan() for name, value in vae.state_dict().items())
    assert vae.head.running_error.isnan()


@over("make", [calibrated, tolerant])
def test_no_gradient_reaches_the_variance_and_the_weights_carry_it(make):
    head = make()
    head.adapt(torch.tensor(0.03))
    assert {name for name, _ in head.named_parameters()} == {"mu.weight", "mu.bias"}
    assert not head.sigma.requires_grad
    other, h, x = make(), torch.randn(3, FEATURES), torch.rand(3, PIXELS)
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(h).log_prob(x), head(h).log_prob(x))


def test_training_ends_calibrated():
    x = 0.5 + 0.1 * torch.randn(256, PIXELS)
    vae = vae_with(calibrated())
    settings = {"epochs": 150, "batch_size": 64, "learning_rate": 1e-2}
    list(fit(vae, lambda batch: -elbo_nats(vae, batch), (x,), **settings))
    with torch.no_grad():
        means = vae.likelihood(vae.posterior(x).sample((200,))).mean
    assert vae.head.sigma.square().item() == pytest.approx((x - means).square().mean().item(), rel=0.1)
    assert vae.head.sigma.item() == pytest.approx(0.1, rel=0.15)


# The tolerance


@over(("excess", "power"), [(5.0, -1.0), (2.0, -1.0), (1.5, -0.5), (1.0, 0.0), (0.75, 0.25), (0.0, 1.0)])
def test_the_variance_falls_above_the_tolerance_rises_below_it_and_never_jumps(excess, power):
    head = tolerant(tolerance=0.1)
    head.adapt(torch.tensor(excess * 0.1**2))
    assert head.sigma.square().log().item() == pytest.approx(GECO_RATE * power, abs=1e-12)


@over("tolerance", [0.2, 0.4, 0.6])
def test_the_tolerance_finds_the_water_level_of_the_optimal_linear_model(tolerance):
    """The optimal linear model of variance v leaves min(v, lambda_i) of direction i: the mean of it is its error."""
    eigenvalues = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.1, 0.02])
    head = tolerant(tolerance)
    for _ in range(5_000):
        head.adapt(torch.minimum(head.sigma.square(), eigenvalues).mean())
    level = head.sigma.square()
    assert torch.minimum(level, eigenvalues).mean().item() == pytest.approx(tolerance**2, rel=1e-3)
    assert 0.01 < level < 1


@over("tolerance", [0.0, -0.1])
def test_a_tolerance_must_be_positive(tolerance):
    with pytest.raises(ValueError, match=f"tolerance must be a positive standard deviation, got {tolerance}"):
        tolerant(tolerance)
