r"""Pixels that depend on their neighbours: the product of the conditionals, its draws and its reach, in float64."""

import pytest
import torch

from vaelib.data import LEVELS
from vaelib.likelihoods import autoregressive as neighbourhood
from vaelib.likelihoods.autoregressive import MEAN_DRAWS, LocalNetwork, NeighbourhoodHead, NeighbourhoodPixels
from vaelib.likelihoods.correlated import surroundings, window
from vaelib.likelihoods.discretised import SMALLEST_SCALE, DiscretisedLogistic, quantise

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

ALL = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
#: Wider than high, so that lines and columns are not taken for one another.
SHAPE = HEIGHT, WIDTH = 10, 13
PIXELS = HEIGHT * WIDTH
CENTRE = (HEIGHT // 2, WIDTH // 2)
MIDDLE = CENTRE[0] * WIDTH + CENTRE[1]
PLACES = [(row, column) for row in range(HEIGHT) for column in range(WIDTH)]


def network(radius=1, features=6):
    """A network that listens to its neighbourhood."""
    local = LocalNetwork(radius=radius, features=features)
    with torch.no_grad():
        local.out.mul_(2)
        local.bias.copy_(torch.randn(features))
    return local


def pixels(*batch, radius=1):
    """The distribution for random guides."""
    with torch.no_grad():
        return NeighbourhoodPixels(torch.rand(*batch, PIXELS), network(radius), shape=SHAPE)


def copying(radius=1):
    """A network that gives each pixel the level of its guide, all but surely."""
    local = LocalNetwork(radius=radius, features=1, components=1)
    with torch.no_grad():
        for parameter in local.parameters():
            parameter.zero_()
        local.guide[0, surroundings(radius).index((0, 0))] = 1
        local.out[1, 0] = 1
        local.out_bias[2] = -100
    return local


def at(image, row, column):
    """A pixel of an image `[HEIGHT, WIDTH]`, 0 beyond the border."""
    return image[row, column] if 0 <= row < HEIGHT and 0 <= column < WIDTH else image.new_zeros(())


@torch.no_grad()
def conditional(px_z, x, row, column):
    """The 256 masses of one pixel given its window, from the definition, for images `[HEIGHT, WIDTH]`."""
    local, guide = px_z.network, px_z.guide.reshape(SHAPE)
    before = torch.stack([at(x, row + down, column + right) for down, right in window(local.radius)])
    around = torch.stack([at(guide, row + down, column + right) for down, right in surroundings(local.radius)])
    h = (local.image @ before + local.guide @ around + local.bias).relu()
    weights, loc, raw_scale = (local.out @ h + local.out_bias).reshape(3, -1)
    components = DiscretisedLogistic(loc, SMALLEST_SCALE + torch.nn.functional.softplus(raw_scale))
    return components.log_prob(ALL[:, None]).exp() @ weights.softmax(dim=0)


def image():
    """Random levels, `[PIXELS]`."""
    return quantise(torch.rand(PIXELS))


def elsewhere(x):
    """For each pixel, the image in which it alone has another level, `[PIXELS, PIXELS]`."""
    return torch.where(torch.eye(PIXELS, dtype=torch.bool), quantise((x + 0.5) % 1), x)


def reach_of(place, offsets_of_pixel):
    """The places that share a conditional with `place`, which its pixel sees at any of these offsets."""
    readers = [(place[0] - down, place[1] - right) for down, right in offsets_of_pixel]
    both = {(row + down, column + right) for row, column in readers for down, right in [*window(1), (0, 0)]}
    return {(row, column) for row, column in both if 0 <= row < HEIGHT and 0 <= column < WIDTH}


# The distribution


@over("radius", [1, 2])
@torch.no_grad()
def test_the_probability_of_an_image_is_the_product_of_its_conditionals(radius):
    px_z, x = pixels(radius=radius), image()
    levels = (x * (LEVELS - 1)).round().long().reshape(SHAPE)
    masses = [conditional(px_z, x.reshape(SHAPE), *place)[levels[place]] for place in PLACES]
    torch.testing.assert_close(px_z.log_prob(x), torch.stack(masses).log().sum())


@torch.no_grad()
def test_the_images_that_differ_in_the_last_pixel_have_the_probability_of_the_others_together():
    px_z, x = pixels(), image()
    images = x.repeat(LEVELS, 1)
    images[:, -1] = ALL
    masses = (px_z.log_prob(images) - px_z.log_prob(images).logsumexp(dim=0)).exp()
    exact = conditional(px_z, x.reshape(SHAPE), HEIGHT - 1, WIDTH - 1)
    torch.testing.assert_close(exact.sum(), torch.tensor(1.0))
    torch.testing.assert_close(masses, exact)
    others = px_z.log_prob(x) - exact[(x[-1] * (LEVELS - 1)).round().long()].log()
    torch.testing.assert_close(px_z.log_prob(images).logsumexp(dim=0), others)


@torch.no_grad()
def test_the_probabilities_of_another_model_over_those_of_this_have_mean_one_over_its_draws():
    """The sum over all images of the other model: both are normalised, and draws are draws from this one."""
    px_z, draws = pixels(), 2_000
    guide = px_z.guide.clone()
    guide[60:70] += 0.03
    x = px_z.sample((draws,))
    ratios = (NeighbourhoodPixels(guide, px_z.network, shape=SHAPE).log_prob(x) - px_z.log_prob(x)).exp()
    assert ratios.std() > 0.05
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / draws**0.5


# Its reach


@torch.no_grad()
def test_two_pixels_that_no_conditional_holds_together_contribute_each_on_its_own():
    px_z, x = pixels(), image()
    others = elsewhere(x)
    one = others[MIDDLE]
    both = torch.where(others != x, others, one)
    mixed = px_z.log_prob(both) - px_z.log_prob(others) - px_z.log_prob(one) + px_z.log_prob(x)
    together = {place for place, value in zip(PLACES, mixed.tolist(), strict=True) if abs(value) > 1e-9}
    expected = reach_of(CENTRE, [*window(1), (0, 0)])
    assert together <= expected
    seen = {(CENTRE[0] + down, CENTRE[1] + right) for down, right in window(1)}
    assert together >= seen | {CENTRE}


@torch.no_grad()
def test_the_guide_speaks_to_the_pixels_around_it_and_to_no_other():
    px_z, x = pixels(), image()
    guide = px_z.guide.clone()
    guide[MIDDLE] += 0.5
    changed = NeighbourhoodPixels(guide, px_z.network, shape=SHAPE)
    others = elsewhere(x)
    mixed = changed.log_prob(others) - px_z.log_prob(others) - changed.log_prob(x) + px_z.log_prob(x)
    together = {place for place, value in zip(PLACES, mixed.tolist(), strict=True) if abs(value) > 1e-9}
    assert together <= reach_of(CENTRE, surroundings(1))
    assert together >= {(CENTRE[0] + down, CENTRE[1] + right) for down, right in surroundings(1)}


@torch.no_grad()
def test_a_draw_does_not_depend_on_what_comes_after():
    px_z = pixels(radius=2)
    guide = px_z.guide.clone()
    guide[CENTRE[0] * WIDTH :] = 1 - guide[CENTRE[0] * WIDTH :]
    draws = []
    for distribution in (px_z, NeighbourhoodPixels(guide, px_z.network, shape=SHAPE)):
        torch.manual_seed(1)
        draws.append(distribution.sample((20,)))
    before = (CENTRE[0] - 2) * WIDTH  # the first line whose surroundings hold a changed pixel
    assert torch.equal(draws[0][:, :before], draws[1][:, :before])
    assert (draws[0][:, before:] != draws[1][:, before:]).any(dim=0).double().mean() > 0.5


def test_gradients_reach_every_parameter_and_the_code():
    head, h = NeighbourhoodHead(features=3, shape=SHAPE, radius=2), torch.randn(4, 3, requires_grad=True)
    head(h).log_prob(quantise(torch.rand(4, PIXELS))).sum().backward()
    assert h.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


# Draws


def test_the_score_has_mean_zero_over_draws():
    """The identity E[grad ln P(x)] = 0 holds for every parameter if draws and probabilities are of one model."""
    px_z, groups = pixels(), 40
    parameters = list(px_z.network.parameters())
    scores = []
    for x in px_z.sample((groups * 150,)).split(150):
        gradients = torch.autograd.grad(px_z.log_prob(x).mean(), parameters)
        scores.append(torch.cat([gradient.flatten() for gradient in gradients]))
    scores = torch.stack(scores)
    scores = scores[:, scores.std(dim=0) > 1e-9]
    z_scores = scores.mean(dim=0) / (scores.std(dim=0) / groups**0.5)
    assert scores.shape[1] > 50
    assert z_scores.abs().max() < 6
    assert z_scores.square().mean() < 2


@torch.no_grad()
def test_the_first_pixel_is_drawn_with_its_masses():
    px_z, draws = pixels(), 2_000
    masses = conditional(px_z, torch.zeros(SHAPE), 0, 0).reshape(16, 16).sum(dim=1)
    levels = (px_z.sample((draws,))[:, 0] * (LEVELS - 1)).round().long()
    counts = torch.bincount(levels // 16, minlength=16)
    frequent = masses * draws > 10
    chi_squared = ((counts - masses * draws).square() / (masses * draws))[frequent].sum()
    assert frequent.sum() > 5
    assert chi_squared < 40


@torch.no_grad()
def test_the_mean_of_draws_is_the_mean_of_the_masses_where_there_is_no_window():
    px_z = pixels()
    px_z.network.image.zero_()
    masses = torch.stack([conditional(px_z, torch.zeros(SHAPE), *place) for place in PLACES])
    means = masses @ ALL
    spreads = (masses @ ALL.square() - means.square()).clamp(min=1e-4).sqrt()
    draws = px_z.sample((1_000,))
    z_scores = (draws.mean(dim=0) - means) / (spreads / 1_000**0.5)
    assert z_scores.abs().max() < 5
    assert 0.8 < z_scores.square().mean() < 1.25


@torch.no_grad()
def test_draws_are_levels():
    levels = pixels(3).sample() * (LEVELS - 1)
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)
    assert 0 <= levels.min() < levels.max() <= LEVELS - 1


@over("batch", [(), (3,), (2, 3)])
@torch.no_grad()
def test_each_image_is_drawn_and_judged_with_its_own_guide(batch, monkeypatch):
    monkeypatch.setattr(neighbourhood, "IMAGES", 4)  # fewer than are drawn: they come in parts
    guide = quantise(torch.rand(*batch, PIXELS))
    px_z = NeighbourhoodPixels(guide, copying(), shape=SHAPE)
    draws = px_z.sample((5,))
    assert (px_z.batch_shape, px_z.event_shape, draws.shape) == (batch, (PIXELS,), (5, *batch, PIXELS))
    # A logistic of this scale leaves its bin once in 150.
    assert ((draws - guide).abs() < 0.5 / (LEVELS - 1)).double().mean() > 0.98
    assert px_z.log_prob(guide).shape == batch
    assert (px_z.log_prob(guide) > -0.03 * PIXELS).all()
    assert (px_z.log_prob(quantise(1 - guide)) < -100 * PIXELS).all()
    torch.testing.assert_close(px_z.mean, guide, rtol=0, atol=0.01)
    assert px_z.mean.shape == (*batch, PIXELS)


@torch.no_grad()
def test_one_image_is_judged_by_every_model_of_a_batch():
    px_z, x = pixels(2, 3), image()
    alone = [
        [NeighbourhoodPixels(guide, px_z.network, shape=SHAPE).log_prob(x) for guide in guides] for guides in px_z.guide
    ]
    torch.testing.assert_close(px_z.log_prob(x), torch.tensor(alone))
    torch.testing.assert_close(px_z.log_prob(x.expand(3, PIXELS)), torch.tensor(alone))


@torch.no_grad()
def test_the_mean_is_the_same_each_time_and_leaves_the_callers_randomness_untouched():
    px_z, state = pixels(2), torch.get_rng_state()
    first, second = px_z.mean, px_z.mean
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(px_z.mean, first)


@torch.no_grad()
def test_the_squared_error_of_the_mean_is_a_share_of_the_variance():
    px_z = pixels()
    draws = px_z.sample((1_000,))
    excess = (px_z.mean - draws.mean(dim=0)).square().sum() / draws.var(dim=0).sum()
    assert excess.item() == pytest.approx(1 / MEAN_DRAWS + 1 / 1_000, rel=0.25)
