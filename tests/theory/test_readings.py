r"""Readings of one model: what is read otherwise changes and nothing else; a posterior for each image is p(z|x)."""

import math
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.diagnostics.shown import effective_sample_size
from vaelib.likelihoods import CalibratedGaussian, FixedGaussian, PixelwiseGaussian
from vaelib.linear import evidence_nats, linear_vae
from vaelib.networks import diagonal_normal
from vaelib.objectives import beta_elbo_nats, elbo_nats
from vaelib.priors import LearnedFlow, LearnedMixture, StandardNormal
from vaelib.readings import local_posterior, twin, with_prior
from vaelib.sampling import deterministic_sampling
from vaelib.seeding import seeded
from vaelib.vae import mlp_vae

over = pytest.mark.parametrize


def small(head=PixelwiseGaussian, prior=StandardNormal):
    """A VAE of six pixels."""
    return mlp_vae(shape=(2, 3), latent_dim=2, head=head, hidden=4, prior=prior)


def gradients(value, model):
    """Of all weights in one vector."""
    return torch.cat([part.flatten() for part in torch.autograd.grad(value.mean(), tuple(model.parameters()))])


@over("beta", [1e-3, 0.5, 6.0])
def test_the_objective_of_a_weight_is_that_of_the_twin_up_to_a_factor_and_a_constant(float64, beta):
    weighted, x = small(partial(FixedGaussian, sigma=0.7)), torch.rand(50, 6)
    other = twin(weighted, beta=beta)
    with seeded(0):
        objective = beta_elbo_nats(weighted, x, beta=beta)
    with seeded(0):
        elbo = elbo_nats(other, x)
    difference = objective - beta * elbo
    torch.testing.assert_close(difference, difference[0].expand(50))
    torch.testing.assert_close(gradients(objective, weighted), beta * gradients(elbo, other))


def test_a_twin_states_another_sigma_and_has_the_same_means_and_codes():
    vae, x = small(partial(FixedGaussian, sigma=2.0)), torch.rand(5, 6)
    other = twin(vae, beta=0.25)
    assert other.likelihood(torch.zeros(1, 2)).stddev.unique().item() == 1.0
    assert vae.likelihood(torch.zeros(1, 2)).stddev.unique().item() == 2.0
    assert torch.equal(other.posterior(x).mean, vae.posterior(x).mean)
    with seeded(0):
        means = deterministic_sampling(vae, 5)
    with seeded(0):
        assert torch.equal(deterministic_sampling(other, 5), means)


def test_without_a_weight_or_a_fixed_sigma_there_is_no_twin():
    with pytest.raises(ValueError, match="beta must be a positive"):
        twin(small(partial(FixedGaussian, sigma=1.0)), beta=0.0)
    with pytest.raises(TypeError, match="this model has a PixelwiseGaussian"):
        twin(small(), beta=0.5)


def test_another_prior_leaves_the_model_that_it_was_given_to_as_it_is():
    vae, z = small(), torch.randn(5, 2)
    other = with_prior(vae, LearnedMixture(latent_dim=2, components=3))
    assert type(vae.code_prior) is StandardNormal
    assert not torch.equal(other.prior.log_prob(z), vae.prior.log_prob(z))
    assert torch.equal(other.likelihood(z).mean, vae.likelihood(z).mean)


# A posterior for each image


def exact(W, b, sigma, x):
    """p(z|x) of a linear Gaussian model."""
    precision = torch.eye(W.shape[1]) + W.T @ W / sigma**2
    return MultivariateNormal((x - b) @ W @ torch.linalg.inv(precision) / sigma**2, precision_matrix=precision)


def away(qz_x):
    """A start that is off by a standard deviation, and half as wide."""
    return diagonal_normal(qz_x.mean + qz_x.stddev, qz_x.stddev / 2)


def fitted(vae, x, *, start=None):
    """The posterior that is fitted to each image of the density."""
    return local_posterior(vae, lambda px_z: px_z.log_prob(x), start=start or away(vae.posterior(x)))


def test_a_posterior_that_is_fitted_to_each_image_arrives_at_that_of_a_linear_model(linear):
    """Correlated codes: no q(z|x) of the encoder's family is p(z|x), this one is."""
    vae, W, b, sigma, x = linear
    posterior, q = exact(W, b, sigma, x), fitted(vae, x)
    std = posterior.variance.sqrt()
    assert ((q.mean - posterior.mean) / std).abs().max() < 0.1
    rho, found = (p.covariance_matrix / (p.stddev[:, :, None] * p.stddev[:, None]) for p in (posterior, q))
    assert rho[0, 0, 1].abs() > 0.3
    torch.testing.assert_close(found, rho, rtol=0, atol=0.1)
    torch.testing.assert_close(q.variance, posterior.variance, rtol=0.2, atol=0)
    encoder = vae.posterior(x)
    diagonal = MultivariateNormal(encoder.mean, torch.diag_embed(encoder.variance))
    gap, best = (kl_divergence(p, posterior).mean() for p in (q, diagonal))
    assert best > 0.05 and gap < best / 10


def test_with_it_nearly_every_draw_counts_and_the_weights_are_the_evidence(linear):
    vae, W, b, sigma, x = linear

    def weights(q):
        z = q.sample((2_000,))
        return vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x) - q.log_prob(z)

    own, encoders = weights(fitted(vae, x)), weights(vae.posterior(x))
    evidence = own.logsumexp(dim=0) - math.log(2_000)
    torch.testing.assert_close(evidence, evidence_nats(x, W, b, sigma), rtol=0, atol=0.02)
    assert effective_sample_size(own).min() > 0.95 * 2_000 > effective_sample_size(encoders).max()


def test_one_dimension_has_no_correlations_to_find(float64):
    W, b, sigma, x = torch.randn(6, 1), torch.randn(6), 0.5, torch.randn(8, 6)
    vae = linear_vae(pixels=6, latent_dim=1, sigma=sigma)
    with torch.no_grad():
        vae.head.mu.weight.copy_(W), vae.head.mu.bias.copy_(b)
    posterior, q = exact(W, b, sigma, x), fitted(vae, x)
    assert q.scale_tril.shape == (8, 1, 1)
    assert ((q.mean - posterior.mean) / posterior.stddev).abs().max() < 0.1
    torch.testing.assert_close(q.variance, posterior.variance, rtol=0.2, atol=0)


@over("head", [PixelwiseGaussian, CalibratedGaussian, partial(FixedGaussian, sigma=0.1)], ids=["own", "rule", "fixed"])
@over("prior", [StandardNormal, LearnedFlow], ids=["normal", "flow"])
def test_q_gains_on_the_encoder_and_the_model_stays_as_it_is(head, prior):
    vae, x = small(head, prior), torch.rand(20, 6)
    elbo_nats(vae, x)  # a head that sets its own sigma has seen an image
    vae.eval().encoder.requires_grad_(False)
    before, required = deepcopy(vae.state_dict()), [p.requires_grad for p in vae.parameters()]
    with torch.no_grad():
        q, encoder = fitted(vae, x, start=vae.posterior(x)), vae.posterior(x)

    def bound(q):
        z = q.sample((500,))
        return (vae.likelihood(z).log_prob(x) + vae.prior.log_prob(z) - q.log_prob(z)).mean()

    assert bound(q) > bound(encoder)
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    assert [p.requires_grad for p in vae.parameters()] == required and len(set(required)) == 2
    assert all(p.grad is None for p in vae.parameters()) and not q.mean.requires_grad


def test_where_the_fit_ends_in_an_error_the_model_can_still_be_trained():
    def no_likelihood(px_z):
        raise TypeError("no density")

    vae = small()
    with pytest.raises(TypeError, match="no density"):
        local_posterior(vae, no_likelihood, start=vae.posterior(torch.rand(3, 6)))
    assert all(p.requires_grad for p in vae.parameters())


def test_an_image_whose_fit_leads_to_numbers_that_are_none_keeps_its_start(linear):
    start, wrong = away(linear.vae.posterior(linear.x)), linear.x.clone()
    wrong[2] = math.nan
    q, others = fitted(linear.vae, wrong, start=start), [0, 1, *range(3, 8)]
    torch.testing.assert_close(q.mean[2], start.mean[2])
    torch.testing.assert_close(q.covariance_matrix[2], torch.diag(start.variance[2]))
    posterior = exact(*linear[1:])
    assert ((q.mean - posterior.mean) / posterior.stddev)[others].abs().max() < 0.1
