r"""What claims ask of codes, pixels and bounds: on models and judges of which the answer is known."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from vaelib.data import dequantise
from vaelib.diagnostics.samples import features, frechet_distance
from vaelib.diagnostics.variance import neighbour_correlation, pixel_covariance
from vaelib.likelihoods import FixedGaussian, PixelwiseGaussian
from vaelib.linear import linear_vae
from vaelib.objectives import beta_elbo_nats, elbo_nats
from vaelib.readings import twin
from vaelib.sampling import quantile_images, reconstructions
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier, blur
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures import structure
from vaelib.study.measures.structure import (
    QUANTILES,
    as_stated,
    code_correlation,
    distances,
    edges_over,
    label_changes,
    midpoints_judged,
    pairs,
    pixel_structure,
    posterior_correlation,
    quantiles_judged,
    recognised,
    twin_bound,
)
from vaelib.vae import mlp_vae

over = pytest.mark.parametrize
SIGMA = 0.2
PLAIN = VaeExperiment(
    name="plain",
    purpose="a test",
    epochs=1,
    latent_dim=2,
    hidden=8,
    dequantised=False,
    head=partial(FixedGaussian, sigma=SIGMA),
)
WEIGHTED = replace(PLAIN, head=partial(FixedGaussian, sigma=1.0), objective=partial(beta_elbo_nats, beta=SIGMA**2))


class Halves(nn.Module):
    """A judge that calls an image by whether it is bright, and whose only features are the four quarters' means."""

    def labels(self, x):
        return (x.mean(dim=1) > 0.5).long()

    def features(self, x):
        return x.clamp(0, 1).reshape(len(x), 4, -1).mean(dim=2)


@pytest.fixture
def test(quick):
    """200 digits."""
    return quick.test[:200]


@pytest.fixture
def judges():
    """A judge of one kind, and two of another."""
    return {"clean": [Halves()], "spoiled": [Classifier((28, 28)), Classifier((28, 28))]}


def vae_of(sigma):
    """A VAE of digits with this sigma, whose mean images are plainly different for different codes."""
    vae = mlp_vae(shape=(28, 28), latent_dim=2, head=partial(FixedGaussian, sigma=sigma), hidden=8).eval()
    with torch.no_grad():
        vae.head.mu.weight.mul_(5)
    return vae


# Pictures


def test_labels_and_edges_of_the_images_themselves_do_not_change(test, judges):
    found = label_changes(test.images, test.images, judges)
    assert found == {"changed_clean": [0.0], "changed_spoiled": [0.0, 0.0]}
    assert edges_over(test.images, test) == 1


def test_labels_change_where_the_judge_says_so_and_edges_are_those_of_what_is_shown(test):
    dark, bright = torch.zeros(4, 784), torch.ones(4, 784)
    x_hat = torch.cat([dark[:1], bright[1:]])
    assert label_changes(dark, x_hat, {"clean": [Halves()]}) == {"changed_clean": [0.75]}
    assert edges_over(1 + test.images, test) == 0 == edges_over(-test.images, test), "all white, all black"
    assert edges_over(blur(test.images, width=1.0, shape=(28, 28)), test) < 0.5


def test_what_is_recognised_are_reconstructions_of_mean_codes(test, judges):
    vae = vae_of(SIGMA)
    with torch.no_grad():
        x_hat = vae.likelihood(vae.posterior(test.images).mean).mean
    expected = label_changes(test.images, x_hat, judges) | {"edges": [edges_over(x_hat, test)]}
    assert recognised(vae, test=test, judges=judges) == expected and len(expected) == 3


# Samples


def test_without_noise_all_quantiles_are_the_mean_and_other_codes_or_a_blur_are_not(test, judges):
    found = quantiles_judged(vae_of(1e-7), experiment=PLAIN, test=test, judges=judges)
    kinds = [f"quantile_{name}_{kind}" for name in ("0.5", "1", "2", "other", "blurred") for kind in judges]
    assert sorted(found) == sorted(kinds)
    for kind, several in judges.items():
        for alpha in QUANTILES:
            assert found[f"quantile_{alpha:g}_{kind}"] == pytest.approx([1.0] * len(several), rel=1e-3)
        for name in ("other", "blurred"):
            assert len(found[f"quantile_{name}_{kind}"]) == len(several)
    for name in ("other_clean", "other_spoiled", "blurred_spoiled"):  # means of quarters hardly see a blur
        assert all(value != pytest.approx(1, rel=1e-3) for value in found[f"quantile_{name}"])


@over("alpha", QUANTILES)
def test_a_distance_is_that_of_the_worse_side_over_that_of_the_mean(alpha, test, judges):
    vae = vae_of(SIGMA)
    found = quantiles_judged(vae, experiment=PLAIN, test=test, judges=judges)
    for judge, value in zip(judges["spoiled"], found[f"quantile_{alpha:g}_spoiled"], strict=True):
        far = []
        for side in (-alpha, 0, alpha):
            with seeded(0):
                images = quantile_images(vae, 200, alpha=side).clamp(0, 1)
            far.append(frechet_distance(features(judge, test.images), features(judge, images)))
        assert value == pytest.approx(max(far[0], far[2]) / far[1])


def test_a_pair_is_two_images_and_each_image_stands_once_on_either_side(test):
    one, other = pairs(test, seed=3)
    assert not (one == other).all(dim=1).any()
    for side in (one, other):
        assert torch.equal(side.sum(dim=1).sort().values, test.images.sum(dim=1).sort().values)
    assert torch.equal(pairs(test, seed=3)[0], one) and not torch.equal(pairs(test, seed=4)[0], one)


def test_half_way_between_equal_codes_is_the_one_image_that_they_all_have(test, judges):
    vae = vae_of(SIGMA)
    with torch.no_grad():
        vae.encoder.mu.weight.zero_()
        image = vae.likelihood(vae.encoder.mu.bias).mean.expand(200, 784)
    found = midpoints_judged(vae, experiment=PLAIN, test=test, judges=judges)
    for kind, several in judges.items():
        assert found[f"midpoints_{kind}"] == pytest.approx(distances(image, test, several), rel=1e-4)


def test_half_way_is_decoded_from_the_mean_of_two_codes(test, judges):
    """Of a linear decoder that is half-way between two reconstructions."""
    vae = linear_vae(pixels=784, latent_dim=2, sigma=1.0)
    middle = sum(reconstructions(vae, images) for images in pairs(test, seed=0)) / 2
    found = midpoints_judged(vae, experiment=PLAIN, test=test, judges=judges)
    assert found["midpoints_clean"] == pytest.approx(distances(middle, test, judges["clean"]), rel=1e-4)


# Pixels


@over("sigma", [0.1, 0.5])
def test_the_noise_of_a_fixed_sigma_is_its_square_and_its_pixels_know_nothing_of_each_other(sigma, test):
    vae = vae_of(sigma)
    with torch.no_grad():
        vae.encoder.sigma.weight.zero_(), vae.encoder.sigma.bias.fill_(-30)  # a code is its mean
        residuals = test.images - vae.likelihood(vae.posterior(test.images).mean).mean
    found = pixel_structure(vae, experiment=PLAIN, test=test)
    assert found["stated_noise"] == pytest.approx(sigma**2 / residuals.square().mean().item(), rel=0.02)
    assert found["neighbours_model"] == pytest.approx(0, abs=0.01)
    assert found["neighbours_data"] == pytest.approx(neighbour_correlation(residuals, shape=(28, 28)), rel=1e-3)
    assert found["neighbours_data"] > 0.3


def test_a_decoder_that_ignores_the_code_has_samples_without_covariance(test):
    vae = vae_of(SIGMA)
    with torch.no_grad():
        vae.head.mu.weight.zero_()
    found = pixel_structure(vae, experiment=PLAIN, test=test)
    assert found["samples_covariance"] == pytest.approx(0, abs=0.05)
    assert found["neighbours_data"] == pytest.approx(neighbour_correlation(test.images, shape=(28, 28)), rel=1e-4)


def test_the_covariance_of_samples_is_that_of_codes_from_the_prior_wherever_the_encoder_puts_its_own(test):
    vae = linear_vae(pixels=784, latent_dim=2, sigma=SIGMA)
    with torch.no_grad():
        vae.encoder.mu.weight.zero_(), vae.encoder.log_sigma.fill_(-10)  # every image has one code
        W = vae.head.mu.weight.abs_()
        exact = W.sum(dim=0).square().sum() - W.square().sum()  # of W W^T, off its diagonal
    found = pixel_structure(vae, experiment=PLAIN, test=test)["samples_covariance"]
    assert found == pytest.approx(exact.item() / pixel_covariance(test.images), rel=0.15)


# Codes


def test_codes_are_drawn_before_they_are_correlated(test):
    """Two dimensions with one mean, and noise beside it of as much variance: half of it is shared."""
    vae = vae_of(SIGMA)
    with torch.no_grad():
        vae.encoder.mu.weight.copy_(vae.encoder.mu.weight[:1].repeat(2, 1))
        vae.encoder.sigma.weight.zero_()
        for spread, rho in ((1e-4, 1.0), (vae.posterior(test.images).mean[:, 0].std().item(), 0.5)):
            vae.encoder.sigma.bias.fill_(math.log(math.expm1(spread)))
            found = code_correlation(vae, experiment=PLAIN, test=test)["code_correlation"]
            assert found == pytest.approx(rho, abs=0.15 if rho < 1 else 1e-3)


def test_the_correlation_under_the_posterior_of_a_linear_model_is_that_of_its_covariance(test):
    """One covariance for all images; an encoder's q(z|x) has none."""
    vae, W = linear_vae(pixels=784, latent_dim=2, sigma=SIGMA), 0.02 * (torch.randn(784, 2) + torch.randn(784, 1))
    with torch.no_grad():
        vae.head.mu.weight.copy_(W)
        vae.encoder.set_optimal(W, vae.head.mu.bias, SIGMA)
    cov = torch.linalg.inv(torch.eye(2) + W.T @ W / SIGMA**2)
    rho = (cov[0, 1] / (cov[0, 0] * cov[1, 1]).sqrt()).abs().item()
    found = posterior_correlation(vae, experiment=PLAIN, test=test)
    assert rho > 0.2 and found["posterior_correlation"] == pytest.approx(rho, abs=0.03)
    assert found["posterior_repeated"] == pytest.approx(rho, abs=0.03)
    assert found["posterior_repeated"] != found["posterior_correlation"]
    assert 0.9 * structure.SHAPE_DRAWS < found["posterior_draws"] <= structure.SHAPE_DRAWS


def test_a_weight_has_the_posterior_of_the_model_that_it_stands_for(test, monkeypatch):
    monkeypatch.setattr(structure, "SHAPE_IMAGES", 10)
    vae = vae_of(1.0)
    stated = posterior_correlation(twin(vae, beta=SIGMA**2), experiment=PLAIN, test=test)
    assert posterior_correlation(vae, experiment=WEIGHTED, test=test) == stated
    assert posterior_correlation(vae, experiment=PLAIN, test=test) != stated


# Bounds


@over("draws", [1, 3])
def test_the_bound_of_a_weight_is_that_of_its_twin_by_proposition_1_on_dequantised_pixels(draws, test, monkeypatch):
    monkeypatch.setattr(structure, "TWIN_DRAWS", draws)
    vae, beta = vae_of(1.0), SIGMA**2
    constant = 784 / 2 * (math.log(2 * math.pi) - beta * math.log(2 * math.pi * beta))
    with torch.no_grad(), seeded(0):
        objective = sum(beta_elbo_nats(vae, dequantise(test.images), beta=beta).mean() for _ in range(draws)) / draws
    found = twin_bound(vae, experiment=WEIGHTED, test=test)["twin_bound_nats"]
    assert found == pytest.approx((objective.item() + constant) / beta, rel=1e-4)


def test_without_a_weight_the_bound_is_the_models_own(test, monkeypatch):
    monkeypatch.setattr(structure, "TWIN_DRAWS", 1)
    vae = vae_of(SIGMA)
    with torch.no_grad(), seeded(0):
        expected = elbo_nats(vae, dequantise(test.images)).mean().item()
    assert twin_bound(vae, experiment=PLAIN, test=test)["twin_bound_nats"] == pytest.approx(expected)


def test_without_a_weight_a_model_is_read_as_it_is_and_a_weight_on_another_likelihood_stands_for_none():
    vae = vae_of(SIGMA)
    assert as_stated(vae, PLAIN) is vae
    assert as_stated(vae, WEIGHTED).head.sigma == pytest.approx(SIGMA**2)
    other = mlp_vae(shape=(2, 3), latent_dim=2, head=PixelwiseGaussian, hidden=4)
    assert as_stated(other, PLAIN) is other
    with pytest.raises(TypeError, match="only a FixedGaussian has a twin"):
        as_stated(other, WEIGHTED)
