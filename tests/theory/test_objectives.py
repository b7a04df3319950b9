r"""Bounds on the evidence, against the linear VAE whose evidence is exact, in float64."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaelib.linear import elbo_nats_exact, evidence_nats
from vaelib.objectives import beta_elbo_nats, elbo_nats, elbo_terms, iwae_bound_nats, limit_objective, log_weights


def within_error(draws, expected, errors=5):
    """Whether the mean over the first dimension is `expected` up to so many standard errors."""
    standard_error = draws.std(0) / len(draws) ** 0.5
    return ((draws.mean(0) - expected).abs() <= errors * standard_error).all()


def test_the_closed_form_kl_is_torchs_and_kingma_and_wellings(linear):
    qz_x, kl = linear.vae.posterior(linear.x), elbo_terms(linear.vae, linear.x).kl
    torch.testing.assert_close(kl, kl_divergence(Normal(qz_x.mean, qz_x.stddev), Normal(0.0, 1.0)).sum(-1))
    formula = (qz_x.mean**2 + qz_x.variance - 1 - qz_x.variance.log()).sum(-1) / 2
    torch.testing.assert_close(kl, formula)
    assert kl.shape == (8,) and (kl > 0).all()


def test_the_closed_form_kl_is_the_monte_carlo_one(linear):
    qz_x = linear.vae.posterior(linear.x)
    z = qz_x.sample((20_000,))
    draws = qz_x.log_prob(z) - linear.vae.prior.log_prob(z)
    assert within_error(draws, elbo_terms(linear.vae, linear.x).kl)


def test_the_sampled_elbo_has_the_exact_elbo_as_its_mean(linear):
    vae, W, b, sigma, x = linear
    draws = elbo_nats(vae, x.expand(20_000, 8, 6))
    assert within_error(draws, elbo_nats_exact(vae.posterior(x), x, W, b, sigma))


def test_the_sampled_elbo_has_the_exact_gradient_as_its_mean(linear):
    vae, W, b, sigma, x = linear
    parameters = list(vae.encoder.parameters())
    with torch.no_grad():
        vae.encoder.log_sigma.add_(1.0)
        vae.encoder.mu.bias.add_(1.0)
    exact = torch.autograd.grad(elbo_nats_exact(vae.posterior(x), x, W, b, sigma).sum(), parameters)
    sampled = torch.autograd.grad(elbo_nats(vae, x.expand(100_000, 8, 6)).mean(0).sum(), parameters)
    for mean, expected in zip(sampled, exact, strict=True):
        torch.testing.assert_close(mean, expected, rtol=0, atol=0.03 * expected.abs().max().item())


def test_the_elbo_is_the_difference_of_its_terms(linear):
    torch.manual_seed(1)
    terms = elbo_terms(linear.vae, linear.x)
    torch.manual_seed(1)
    z = linear.vae.posterior(linear.x).rsample()
    torch.testing.assert_close(terms.log_px_z, linear.vae.likelihood(z).log_prob(linear.x))
    torch.testing.assert_close(terms.elbo_nats, terms.log_px_z - terms.kl)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_beta_weighs_the_kl(beta, linear):
    torch.manual_seed(1)
    terms = elbo_terms(linear.vae, linear.x)
    torch.manual_seed(1)
    objective = beta_elbo_nats(linear.vae, linear.x, beta=beta)
    torch.testing.assert_close(objective, terms.log_px_z - beta * terms.kl)


def test_the_limit_objective_is_what_beta_zero_leaves_up_to_scale_and_constant(linear):
    torch.manual_seed(1)
    limit = limit_objective(linear.vae, linear.x)
    torch.manual_seed(1)
    log_px_z = elbo_terms(linear.vae, linear.x).log_px_z
    constant = -6 / 2 * math.log(2 * math.pi * linear.sigma**2)
    torch.testing.assert_close(log_px_z, limit / (2 * linear.sigma**2) + constant)


def test_iwae_with_one_sample_is_the_elbo_of_that_sample(linear):
    vae, x = linear.vae, linear.x
    torch.manual_seed(1)
    bound = iwae_bound_nats(vae, x, samples=1)
    torch.manual_seed(1)
    log_px_z = elbo_terms(vae, x).log_px_z
    torch.manual_seed(1)
    qz_x = vae.posterior(x)
    z = qz_x.rsample()
    torch.testing.assert_close(bound, log_px_z - (qz_x.log_prob(z) - vae.prior.log_prob(z)))


def test_iwae_grows_with_its_samples_up_to_the_evidence(linear):
    vae, W, b, sigma, x = linear
    bounds = torch.stack([iwae_bound_nats(vae, x.expand(500, 8, 6), samples=k).mean(0) for k in (1, 4, 16, 256)])
    evidence = evidence_nats(x, W, b, sigma)  # the bounds, [4, 8], have errors of about 0.02 nats or less
    assert (bounds.mean(-1).diff() > 0).all()
    assert (bounds[0] < evidence - 0.05).all()
    torch.testing.assert_close(bounds[-1], evidence, atol=0.02, rtol=0)


@pytest.mark.parametrize("samples", [1, 5])
def test_every_weight_is_the_evidence_at_the_true_posterior(samples, orthogonal_linear):
    vae, W, b, sigma, x = orthogonal_linear
    evidence = evidence_nats(x, W, b, sigma)
    torch.testing.assert_close(log_weights(vae, x, samples=samples), evidence.expand(samples, 8))
    torch.testing.assert_close(iwae_bound_nats(vae, x, samples=samples), evidence)


@pytest.mark.parametrize("samples", [0, -1])
def test_iwae_needs_a_sample(samples, linear):
    with pytest.raises(ValueError, match=f"samples must be at least 1, got {samples}"):
        iwae_bound_nats(linear.vae, linear.x, samples=samples)
