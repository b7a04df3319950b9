r"""ln p(x) by quadrature against closed forms, and what is and is not a bound on it."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from vaelib.diagnostics import evidence
from vaelib.diagnostics.evidence import QuadratureError, quadrature_evidence_nats
from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian
from vaelib.linear import (
    LinearEncoder,
    LinearGaussian,
    beta_elbo_nats_exact,
    elbo_nats_exact,
    evidence_nats,
    linear_vae,
    optimal_posterior,
)
from vaelib.networks import diagonal_normal
from vaelib.objectives import beta_elbo_nats, elbo_nats, elbo_terms, iwae_bound_nats
from vaelib.training import fit
from vaelib.vae import VAE, mlp_vae

over = pytest.mark.parametrize


def network(head, *, pixels=10, latent_dim=2, hidden=16, steepness=1.0):
    """A VAE with random weights; a steep decoder bends the plane of codes into several modes."""
    vae = mlp_vae(shape=(pixels,), latent_dim=latent_dim, head=head, hidden=hidden)
    with torch.no_grad():
        for parameter in (*vae.decoder.parameters(), *vae.head.parameters()):
            parameter.mul_(steepness)
    return vae


def gradient(objective, vae):
    """The gradient with respect to all parameters, as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(objective.sum(), list(vae.parameters()))])


def relative_difference(a, b):
    return ((a - b).norm() / b.norm()).item()


# The quadrature


@over("sigma", [2.0, 0.5, 0.05, 0.005])
@over("columns", ["correlated", "orthogonal", "of unequal length"])
def test_quadrature_is_the_evidence_of_a_linear_vae(columns, sigma, float64):
    W = {
        "correlated": torch.randn(6, 2) + 2 * torch.randn(6, 1),
        "orthogonal": torch.linalg.qr(torch.randn(6, 2)).Q,
        "of unequal length": torch.randn(6, 2) * torch.tensor([2.0, 0.2]),
    }[columns]
    vae, b = linear_vae(pixels=6, latent_dim=2, sigma=sigma), torch.randn(6)
    with torch.no_grad():
        vae.head.mu.weight.copy_(W)
        vae.head.mu.bias.copy_(b)
    x = b + torch.randn(20, 2) @ W.T + sigma * torch.randn(20, 6)
    exact = evidence_nats(x, W, b, sigma)
    torch.testing.assert_close(quadrature_evidence_nats(vae, x), exact, atol=1e-6, rtol=0)


@over("distance", [12.0, 40.0])
def test_quadrature_finds_codes_far_outside_the_prior(distance, float64):
    vae, W, b = linear_vae(pixels=6, latent_dim=2, sigma=0.1), torch.randn(6, 2), torch.zeros(6)
    with torch.no_grad():
        vae.head.mu.weight.copy_(W)
        vae.head.mu.bias.zero_()
        vae.encoder.mu.weight.zero_()  # the encoder knows nothing of it
        vae.encoder.mu.bias.zero_()
    x = distance * torch.tensor([[1.0, 0.0], [0.6, -0.8]]) @ W.T
    exact = evidence_nats(x, W, b, 0.1)
    torch.testing.assert_close(quadrature_evidence_nats(vae, x), exact, atol=1e-6, rtol=0)


class Folded(nn.Module):
    """|z|: four codes for each image, and x_j skew normal."""

    def forward(self, z):
        return z.abs()


@over("sigma", [1.0, 0.3, 0.02])
def test_quadrature_sums_over_all_modes(sigma, float64):
    w, b = torch.tensor([1.5, 0.7]), torch.tensor([0.2, -0.4])
    head = LinearGaussian(features=2, shape=(2,), sigma=sigma)
    with torch.no_grad():
        head.mu.weight.copy_(torch.diag(w))
        head.mu.bias.copy_(b)
    vae = VAE(encoder=LinearEncoder(pixels=2, latent_dim=2), decoder=Folded(), head=head, latent_dim=2)
    x = b + w * torch.randn(50, 2).abs() + sigma * torch.randn(50, 2)
    scale = (w**2 + sigma**2).sqrt()
    skewness = Normal(0.0, 1.0).cdf(w * (x - b) / (sigma * scale))
    exact = (math.log(2) + Normal(b, scale).log_prob(x) + skewness.log()).sum(-1)
    log_px = quadrature_evidence_nats(vae, x)
    torch.testing.assert_close(log_px, exact, atol=0.03 / 4, rtol=0)
    smooth = ((x - b) / w > 8 * sigma / w).all(-1)  # no posterior reaches the folds
    torch.testing.assert_close(log_px[smooth], exact[smooth], atol=1e-6, rtol=0)


@over(
    "head",
    [
        partial(FixedGaussian, sigma=1.0),
        partial(FixedGaussian, sigma=0.05),
        partial(PixelwiseGaussian, floor=0.1),
        BernoulliPixels,
        ContinuousBernoulliPixels,
    ],
)
def test_quadrature_is_one_fine_sum_over_the_plane(head, float64):
    vae, axis = network(head, pixels=6, steepness=2.0), torch.linspace(-6, 6, 601)
    x = vae.likelihood(torch.randn(4, 2)).sample()
    h = axis[1] - axis[0]
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        px_z, log_pz = vae.likelihood(z), vae.prior.log_prob(z)
        fine = torch.stack([(log_pz + px_z.log_prob(image)).logsumexp(dim=0) for image in x]) + 2 * h.log()
    torch.testing.assert_close(quadrature_evidence_nats(vae, x), fine, atol=5e-3, rtol=0)


def test_quadrature_owes_nothing_to_the_encoder(float64):
    vae = network(partial(FixedGaussian, sigma=0.1), steepness=2.0)
    other, x = copy.deepcopy(vae), torch.rand(10, 10)
    with torch.no_grad():
        other.encoder.mu.bias.add_(3.0)
        other.encoder.sigma.bias.sub_(9.0)
    torch.testing.assert_close(quadrature_evidence_nats(other, x), quadrature_evidence_nats(vae, x), atol=0, rtol=0)


def test_quadrature_does_not_depend_on_the_company_of_an_image(float64):
    vae, x = network(partial(FixedGaussian, sigma=0.1), steepness=2.0), torch.rand(10, 10)
    torch.testing.assert_close(quadrature_evidence_nats(vae, x, chunk=3), quadrature_evidence_nats(vae, x))


def test_quadrature_leaves_the_model_as_it_was():
    vae, x = network(partial(FixedGaussian, sigma=1.0)), torch.rand(3, 10)
    before = copy.deepcopy(vae.state_dict())
    log_px = quadrature_evidence_nats(vae, x)
    assert (log_px.shape, log_px.dtype, log_px.requires_grad) == ((3,), torch.float64, False)
    assert all(tensor.dtype == torch.float32 and tensor.equal(before[k]) for k, tensor in vae.state_dict().items())


@over("latent_dim", [1, 3])
def test_quadrature_is_for_the_plane(latent_dim):
    vae = network(partial(FixedGaussian, sigma=1.0), latent_dim=latent_dim)
    with pytest.raises(ValueError, match=f"latent dimension 2, this model has {latent_dim}"):
        quadrature_evidence_nats(vae, torch.rand(3, 10))


def test_a_tolerance_must_be_positive():
    with pytest.raises(ValueError, match="tolerance must be positive, got 0"):
        quadrature_evidence_nats(network(partial(FixedGaussian, sigma=1.0)), torch.rand(3, 10), tolerance=0)


@over(("limit", "value", "spacing"), [("LEVELS", 1, "0.03"), ("CELLS", 0, "0.1")])
def test_an_integral_that_does_not_settle_is_an_error(limit, value, spacing, linear, monkeypatch):
    monkeypatch.setattr(evidence, limit, value)
    linear.vae.head.sigma = 0.01
    with pytest.raises(QuadratureError, match=rf"8 of 8 integrals over z have not settled at a spacing of {spacing};"):
        quadrature_evidence_nats(linear.vae, linear.x)


def test_the_evidence_is_above_the_elbo_and_is_what_iwae_tends_to(quick):
    vae, x = network(partial(FixedGaussian, sigma=1.0), pixels=784, hidden=64), quick.test.images[:24]
    for _ in fit(vae, lambda batch: -elbo_nats(vae, batch), [quick.train.images], epochs=5):
        pass
    log_px = quadrature_evidence_nats(vae, x)
    with torch.no_grad():
        elbo = torch.stack([elbo_nats(vae, x) for _ in range(200)]).mean(dim=0)
        iwae = torch.cat([iwae_bound_nats(vae, images, samples=5_000) for images in x.split(2)])
    assert elbo.mean() < iwae.mean() < log_px.mean() + 0.01
    assert (log_px - iwae).abs().mean() < 0.1
    assert (elbo < log_px + 0.3).all()


# beta and sigma are one dial


@over("sigma", [0.01, 0.1, 0.5, 2.0])
@over("seed", [0, 1])
def test_sigma_with_beta_one_is_sigma_one_with_beta_sigma_squared(seed, sigma, float64):
    torch.manual_seed(seed)
    narrow, unit = network(partial(FixedGaussian, sigma=sigma)), network(partial(FixedGaussian, sigma=1.0))
    unit.load_state_dict(narrow.state_dict())
    x = torch.rand(7, 10)
    torch.manual_seed(seed)
    elbo = elbo_nats(narrow, x)
    torch.manual_seed(seed)
    beta_elbo = beta_elbo_nats(unit, x, beta=sigma**2)
    constant = 10 / 2 * (math.log(2 * math.pi) / sigma**2 - math.log(2 * math.pi * sigma**2))
    torch.testing.assert_close(elbo, beta_elbo / sigma**2 + constant)
    assert relative_difference(gradient(beta_elbo, unit) / sigma**2, gradient(elbo, narrow)) < 1e-10


@over("beta", [0.1, 4.0])
@over("sigma", [0.1, 1.0])
def test_the_beta_objective_is_the_elbo_of_the_model_with_variance_beta_sigma_squared(sigma, beta, float64):
    vae, other = (network(partial(FixedGaussian, sigma=s)) for s in (sigma, beta**0.5 * sigma))
    other.load_state_dict(vae.state_dict())
    x = vae.likelihood(torch.randn(7, 2)).sample()
    torch.manual_seed(1)
    beta_elbo = beta_elbo_nats(vae, x, beta=beta)
    torch.manual_seed(1)
    elbo = elbo_nats(other, x)
    constant = 10 / 2 * (beta * math.log(2 * math.pi * beta * sigma**2) - math.log(2 * math.pi * sigma**2))
    torch.testing.assert_close(beta_elbo, beta * elbo + constant)
    assert relative_difference(gradient(beta_elbo, vae), beta * gradient(elbo, other)) < 1e-10


def test_the_dial_does_not_exist_for_a_bernoulli(float64):
    vae, x = network(BernoulliPixels), torch.rand(7, 10).round()
    torch.manual_seed(1)
    one = gradient(elbo_nats(vae, x), vae)
    torch.manual_seed(1)
    other = gradient(beta_elbo_nats(vae, x, beta=0.1), vae)
    assert relative_difference(other / other.norm(), one / one.norm()) > 1e-3


def test_at_sigma_one_the_elbo_is_minus_half_the_squared_error_minus_the_kl(float64):
    vae, x = network(partial(FixedGaussian, sigma=1.0)), torch.rand(7, 10)
    torch.manual_seed(1)
    elbo, kl = elbo_nats(vae, x), kl_divergence(vae.posterior(x), vae.prior)
    torch.manual_seed(1)
    squared_error = (x - vae.likelihood(vae.posterior(x).rsample()).mean).square().sum(-1)
    torch.testing.assert_close(elbo, -squared_error / 2 - kl - 10 / 2 * math.log(2 * math.pi))


# beta and the bound


@over("beta", [0.0, 0.1, 0.9])
def test_below_beta_one_the_objective_exceeds_the_evidence(beta, orthogonal_linear):
    _, W, b, sigma, x = orthogonal_linear
    qz_x = optimal_posterior(x, W, b, sigma)
    objective = beta_elbo_nats_exact(qz_x, x, W, b, sigma, beta=beta)
    kl = kl_divergence(qz_x, diagonal_normal(torch.zeros(8, 2), torch.ones(8, 2)))
    log_px = evidence_nats(x, W, b, sigma)
    assert (objective > log_px).all()
    torch.testing.assert_close(objective - log_px, (1 - beta) * kl)


@over("beta", [1.0, 1.1, 5.0])
def test_from_beta_one_on_the_objective_never_exceeds_the_evidence(beta, orthogonal_linear):
    _, W, b, sigma, x = orthogonal_linear
    log_px = evidence_nats(x, W, b, sigma)
    best = optimal_posterior(x, W, b, sigma)
    for spread in (0.0, 0.01, 0.1, 1.0, 3.0):
        noise = spread * torch.randn(8, 2)
        qz_x = diagonal_normal(best.mean + noise, best.stddev * (spread * torch.randn(8, 2)).exp())
        assert (beta_elbo_nats_exact(qz_x, x, W, b, sigma, beta=beta) <= log_px + 1e-12).all()


@over("beta", [0.1, 0.5])
def test_below_beta_one_the_objective_is_a_bound_of_the_other_models_evidence(beta, linear):
    vae, W, b, sigma, x = linear
    other = beta**0.5 * sigma
    constant = 6 / 2 * (beta * math.log(2 * math.pi * other**2) - math.log(2 * math.pi * sigma**2))
    qz_x = vae.posterior(x)
    objective = beta_elbo_nats_exact(qz_x, x, W, b, sigma, beta=beta)
    torch.testing.assert_close(objective, beta * elbo_nats_exact(qz_x, x, W, b, other) + constant)
    assert (objective <= beta * evidence_nats(x, W, b, other) + constant).all()


def test_the_exact_beta_objective_is_the_mean_of_the_sampled_one(linear):
    vae, W, b, sigma, x = linear
    draws = beta_elbo_nats(vae, x.expand(20_000, 8, 6), beta=0.3)
    exact = beta_elbo_nats_exact(vae.posterior(x), x, W, b, sigma, beta=0.3)
    assert ((draws.mean(0) - exact).abs() < 5 * draws.std(0) / 20_000**0.5).all()


def test_a_beta_below_one_exceeds_the_evidence_of_a_network_too(float64):
    vae = network(partial(FixedGaussian, sigma=0.3), steepness=2.0)
    x = vae.likelihood(torch.randn(200, 2)).sample()
    for _ in fit(vae, lambda batch: -beta_elbo_nats(vae, batch, beta=0.1), [x], epochs=200, learning_rate=1e-2):
        pass
    with torch.no_grad():
        log_px, terms = quadrature_evidence_nats(vae, x), elbo_terms(vae, x)
    assert (terms.log_px_z - 0.1 * terms.kl).mean() > log_px.mean() + 0.1
    assert terms.elbo_nats.mean() < log_px.mean()


@over("beta", [-0.1, -1.0])
def test_beta_must_not_be_negative(beta, linear):
    vae, W, b, sigma, x = linear
    with pytest.raises(ValueError, match=f"beta must not be negative, got {beta}"):
        beta_elbo_nats_exact(vae.posterior(x), x, W, b, sigma, beta=beta)


# Where densities put their mass


def integral(px_z):
    """Over [0, 1], of each of a batch of distributions of one pixel."""
    x = torch.linspace(0, 1, 20_001)[:, None, None]
    return torch.trapezoid(px_z.log_prob(x).exp(), x[..., 0], dim=0)


@over("logit", [-12.0, -2.0, -1e-3, 0.0, 1e-3, 0.5, 12.0])
def test_a_continuous_bernoulli_integrates_to_one_and_a_bernoulli_to_less(logit, float64):
    heads = [Head(features=1, shape=(1,)) for Head in (ContinuousBernoulliPixels, BernoulliPixels)]
    for head in heads:
        nn.init.constant_(head.logits.bias, logit)
    density, cross_entropy = (integral(head(torch.zeros(1, 1))) for head in heads)
    torch.testing.assert_close(density, torch.ones(1), atol=1e-6, rtol=0)
    closed_form = 0.5 if logit == 0 else math.tanh(logit / 2) / logit
    torch.testing.assert_close(cross_entropy, torch.tensor([closed_form]), atol=1e-6, rtol=0)
    assert cross_entropy < 0.5 + 1e-6


def test_the_bernoullis_missing_constant_is_the_same_for_every_grey_pixel(float64):
    heads = [Head(features=1, shape=(1,)) for Head in (ContinuousBernoulliPixels, BernoulliPixels)]
    for head in heads:
        nn.init.constant_(head.logits.bias, 3.0)
    x = torch.linspace(0, 1, 11)[:, None]
    density, cross_entropy = (head(torch.zeros(11, 1)).log_prob(x) for head in heads)
    mean = torch.sigmoid(torch.tensor(3.0))
    constant = 2 * torch.atanh(1 - 2 * mean) / (1 - 2 * mean)
    torch.testing.assert_close(density - cross_entropy, constant.log().expand(11))


@over("sigma", [1.0, 0.3, 0.05])
def test_the_mass_of_a_normal_outside_the_pixels_range_has_a_closed_form(sigma, float64):
    px_z = FixedGaussian(features=3, shape=(1,), sigma=sigma)(3 * torch.randn(20, 3))
    mu, standard = px_z.mean[:, 0], Normal(0.0, 1.0)
    outside = standard.cdf(-mu / sigma) + standard.cdf((mu - 1) / sigma)
    torch.testing.assert_close(1 - integral(px_z), outside, atol=1e-6, rtol=0)
    if sigma == 1:  # between 2 Phi(-1/2), at mu = 1/2, and 1/2 + Phi(-1), at mu = 0 or 1
        assert (outside >= 2 * standard.cdf(torch.tensor(-0.5))).all()
        assert (outside <= 0.5 + standard.cdf(torch.tensor(-1.0))).all()
