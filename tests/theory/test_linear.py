r"""The linear VAE: closed forms against each other, in float64."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.linear import LinearGaussian, elbo_nats_exact, evidence_nats, exact_posterior, linear_vae, optimal_posterior
from vaelib.networks import diagonal_normal


def dense(q):
    """The same Gaussian with a full covariance matrix."""
    return MultivariateNormal(q.mean, torch.diag_embed(q.variance))


def test_the_evidence_is_the_marginal_gaussian(linear):
    _, W, b, sigma, x = linear
    marginal = MultivariateNormal(b, W @ W.T + sigma**2 * torch.eye(len(b)))
    torch.testing.assert_close(evidence_nats(x, W, b, sigma), marginal.log_prob(x))


def test_bayes_theorem_holds_at_every_z(linear):
    vae, W, b, sigma, x = linear
    z = torch.randn(8, 2)
    joint = vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x)
    posterior = exact_posterior(x, W, b, sigma).log_prob(z)
    torch.testing.assert_close(joint - posterior, evidence_nats(x, W, b, sigma))


def test_evidence_minus_elbo_is_the_divergence_from_the_true_posterior(linear):
    _, W, b, sigma, x = linear
    qz_x = diagonal_normal(torch.randn(8, 2), torch.rand(8, 2) + 0.1)
    gap = kl_divergence(dense(qz_x), exact_posterior(x, W, b, sigma))
    assert (gap > 0).all()
    torch.testing.assert_close(elbo_nats_exact(qz_x, x, W, b, sigma) + gap, evidence_nats(x, W, b, sigma))


def test_elbo_meets_the_evidence_at_the_true_posterior(orthogonal_linear):
    _, W, b, sigma, x = orthogonal_linear
    qz_x, pz_x = optimal_posterior(x, W, b, sigma), exact_posterior(x, W, b, sigma)
    torch.testing.assert_close(dense(qz_x).covariance_matrix, pz_x.covariance_matrix)
    torch.testing.assert_close(elbo_nats_exact(qz_x, x, W, b, sigma), evidence_nats(x, W, b, sigma))


def test_no_diagonal_posterior_meets_the_evidence_where_codes_are_correlated(linear):
    _, W, b, sigma, x = linear
    elbo = elbo_nats_exact(optimal_posterior(x, W, b, sigma), x, W, b, sigma)
    assert (elbo < evidence_nats(x, W, b, sigma) - 1e-3).all()


def test_the_elbo_is_stationary_at_the_optimal_posterior(linear):
    _, W, b, sigma, x = linear
    best = optimal_posterior(x, W, b, sigma)
    mu_z, sigma_z = best.mean.clone().requires_grad_(), best.stddev.clone().requires_grad_()
    elbo_nats_exact(diagonal_normal(mu_z, sigma_z), x, W, b, sigma).sum().backward()
    for gradient in (mu_z.grad, sigma_z.grad):
        torch.testing.assert_close(gradient, torch.zeros(8, 2), atol=1e-12, rtol=0)


def test_the_modules_compute_the_same_distributions_as_the_formulas(linear):
    vae, W, b, sigma, x = linear
    z = torch.randn(3, 8, 2)
    best, qz_x, px_z = optimal_posterior(x, W, b, sigma), vae.posterior(x), vae.likelihood(z)
    torch.testing.assert_close(qz_x.mean, best.mean)
    torch.testing.assert_close(qz_x.stddev, best.stddev)
    torch.testing.assert_close(px_z.mean, z @ W.T + b)
    torch.testing.assert_close(px_z.stddev, torch.full((3, 8, 6), sigma))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_positive(sigma, linear):
    _, W, b, _, x = linear
    for formula in (evidence_nats, exact_posterior, optimal_posterior):
        with pytest.raises(ValueError, match="sigma must be a positive standard deviation"):
            formula(x, W, b, sigma)
    with pytest.raises(ValueError, match="sigma must be a positive standard deviation"):
        elbo_nats_exact(linear.vae.posterior(x), x, W, b, sigma)
    with pytest.raises(ValueError, match="sigma must be a positive standard deviation"):
        linear_vae(pixels=6, latent_dim=2, sigma=sigma)
    with pytest.raises(ValueError, match="sigma must be a positive standard deviation"):
        LinearGaussian(features=2, shape=(6,), sigma=sigma)
