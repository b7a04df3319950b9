r"""The propositions of the book, each checked where all is exact: on linear VAEs, and on Gaussians."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.diagnostics.variance import error_split
from vaelib.identifiability import profile_evidence_nats, split_of
from vaelib.linear import (
    beta_elbo_nats_exact,
    elbo_nats_exact,
    evidence_nats,
    exact_elbo_nats,
    optimal_posterior,
    shared_linear_vae,
)
from vaelib.networks import diagonal_normal
from vaelib.pca import optimal_decoder, optimal_kl_nats, optimal_linear_vae, ppca, spectrum, stand_ins

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize
EIGENVALUES = torch.tensor([9.0, 4.0, 0.9, 0.3, 0.1, 0.1], dtype=torch.float64)
BETAS = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
SIGMA = 0.7


@pytest.fixture
def images():
    """300 images of 6 pixels with exactly these eigenvalues."""
    x = torch.randn(300, 6)
    left = torch.linalg.svd(x - x.mean(0), full_matrices=False).U
    return torch.randn(6) + (300 * EIGENVALUES).sqrt() * left @ torch.linalg.qr(torch.randn(6, 6)).Q.T


def terms(vae, x, beta):
    """Reconstruction term, KL and objective of a linear VAE, exact, means over images."""
    decoder = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma
    elbo = elbo_nats_exact(vae.posterior(x), x, *decoder).mean().item()
    weighted = beta_elbo_nats_exact(vae.posterior(x), x, *decoder, beta=beta).mean().item()
    kl = kl_divergence(vae.posterior(x), vae.prior).mean().item()
    return elbo + kl, kl, weighted


def best(x, beta):
    """The terms at the optimum for beta, sigma fixed."""
    return terms(optimal_linear_vae(spectrum(x), latent_dim=3, sigma=SIGMA, beta=beta), x, beta)


# KL and reconstruction along the weight


def test_at_the_optimum_kl_and_reconstruction_fall_as_the_weight_rises(images):
    for (beta, (fit, kl, _)), (larger, (less_fit, less_kl, _)) in pairwise((b, best(images, b)) for b in BETAS):
        assert (larger - beta) * (kl - less_kl) >= 0
        assert fit - less_fit >= beta * (kl - less_kl) - 1e-12
        assert larger * (kl - less_kl) >= fit - less_fit - 1e-12
    assert best(images, 0.05)[1] > best(images, 5.0)[1] > best(images, 20.0)[1] == pytest.approx(0)


def test_the_kl_is_minus_the_slope_of_the_best_objective(images):
    """The envelope: d max L / d beta = -KL at the optimum, so the best objective is convex in beta."""
    step = 1e-5
    for beta in BETAS:
        slope = (best(images, beta + step)[2] - best(images, beta - step)[2]) / (2 * step)
        assert slope == pytest.approx(-best(images, beta)[1], abs=1e-6)


def test_a_reversed_order_is_no_larger_than_what_training_left_undone(images):
    """(b2 - b1)(K2 - K1) <= e1 + e2 for models whose objectives end e1, e2 below the best."""
    for beta, larger in pairwise(BETAS):
        for _ in range(20):
            off = [optimal_linear_vae(spectrum(images), latent_dim=3, sigma=SIGMA, beta=b) for b in (beta, larger)]
            for vae in off:
                with torch.no_grad():
                    for parameter in vae.parameters():
                        parameter.add_(0.2 * torch.randn_like(parameter))
            (_, kl, reached), (_, other_kl, other) = (
                terms(v, images, b) for v, b in zip(off, (beta, larger), strict=True)
            )
            undone = best(images, beta)[2] - reached + best(images, larger)[2] - other
            assert (larger - beta) * (other_kl - kl) <= undone + 1e-9


# The budget


def test_the_variance_is_what_is_explained_and_the_squared_error_for_a_conditional_mean():
    """x given z: two draws share their mean, and residuals are drawn in pairs, so that the sample is balanced."""
    mean, noise = torch.randn(50, 4), torch.randn(50, 4)
    x, mu = torch.cat([mean + noise, mean - noise]), torch.cat([mean, mean])
    split = error_split(x, mu)
    assert split.cross == pytest.approx(0, abs=1e-12) and split.bias == pytest.approx(0, abs=1e-12)
    assert split.explained == pytest.approx(x.var(dim=0, correction=0).sum().item() - split.squared_error)


def test_for_any_other_mean_the_cross_term_and_the_bias_are_what_is_off():
    """mu = E[x|z] + delta(z): they are -2 Cov(mu, delta) and |E delta|^2."""
    mean, noise, delta = torch.randn(50, 4), torch.randn(50, 4), 0.3 * torch.randn(50, 4) + 0.1
    x, mu = torch.cat([mean + noise, mean - noise]), torch.cat([mean + delta, mean + delta])
    split = error_split(x, mu)
    moved = mean + delta - (mean + delta).mean(0)
    assert split.cross == pytest.approx(-2 * (moved * delta).mean(0).sum().item())
    assert split.bias == pytest.approx(delta.mean(0).square().sum().item())
    assert split.total == pytest.approx(x.var(dim=0, correction=0).sum().item())


@over("scale", [1.0, 1.2, 0.5])
def test_at_the_optimum_of_the_linear_vae_the_code_explains_one_minus_the_squared_error(images, scale):
    """Exact moments over q(z|x): z has mean V(x - b) and variance D; off the optimum the cross term is what is off."""
    data = spectrum(images)
    W, b, sigma = ppca(data, latent_dim=3)
    qz_x = optimal_posterior(images, W, b, sigma)
    of_z = qz_x.mean.T @ qz_x.mean / len(images) + qz_x.variance.mean(0).diag()
    A = scale * W  # another decoder for the same codes
    with_x = (images - b).T @ qz_x.mean / len(images)
    explained = (A @ of_z @ A.T).trace()
    error = EIGENVALUES.sum() - 2 * (with_x @ A.T).trace() + explained
    cross = 2 * ((with_x @ A.T).trace() - explained)
    torch.testing.assert_close(EIGENVALUES.sum(), explained + error + cross)
    assert (abs(cross.item()) < 1e-10) == (scale == 1.0)
    if scale == 1:
        assert error.item() == pytest.approx(len(b) * sigma**2)  # calibrated: the noise is the rest of the budget
        assert explained.item() == pytest.approx(W.square().sum().item())  # q(z) has the prior's second moments


# Joint and kept


@over("other", [0.2, 0.5, 1.5])
def test_no_bound_with_a_kept_part_exceeds_that_of_all_trained_together(images, other):
    """The encoder of another sigma is kept, decoder and sigma are refitted in closed form; then the encoder is too."""
    data = spectrum(images)
    model = ppca(data, latent_dim=3)
    joint = evidence_nats(images, *model).mean().item()
    W, b = optimal_decoder(data, latent_dim=3, sigma=other)
    kept = optimal_posterior(images, W, b, other)
    of_z = kept.mean.T @ kept.mean / len(images) + kept.variance.mean(0).diag()
    A = (images - b).T @ kept.mean / len(images) @ torch.linalg.inv(of_z)
    error = EIGENVALUES.sum() - (A @ of_z @ A.T).trace()
    sigma = math.sqrt(error.item() / len(b))
    with_kept_encoder = elbo_nats_exact(kept, images, A, b, sigma).mean().item()
    refitted = elbo_nats_exact(optimal_posterior(images, A, b, sigma), images, A, b, sigma).mean().item()
    assert with_kept_encoder < refitted <= joint + 1e-9


# Is the split identified?


@over("latent_dim", [1, 2, 3])
def test_with_one_sigma_p_of_x_says_what_sigma_and_the_share_are(latent_dim):
    """The smallest eigenvalue of W W^T + sigma^2 I is sigma^2 for every W with fewer columns than pixels."""
    for _ in range(20):
        W, sigma = torch.randn(6, latent_dim), torch.rand(()).item() + 0.1
        covariance = W @ W.T + sigma**2 * torch.eye(6)
        found = torch.linalg.eigvalsh(covariance)[0]
        assert found.item() == pytest.approx(sigma**2)
        assert (covariance.trace() - 6 * found).item() == pytest.approx(W.square().sum().item())


@over("latent_dim", [1, 2, 3])
@over("sigma", [0.2, 0.6, 1.1, 2.5])
def test_the_profile_is_the_evidence_of_the_best_decoder(images, latent_dim, sigma):
    data = spectrum(images)
    W, b = optimal_decoder(data, latent_dim=latent_dim, sigma=sigma)
    profile = profile_evidence_nats(data, latent_dim=latent_dim, sigma=sigma)
    assert profile == pytest.approx(evidence_nats(images, W, b, sigma).mean().item())


@over("latent_dim", [1, 2, 3])
def test_the_profile_over_sigma_has_its_top_at_ppca_and_bends_by_twice_the_pixels_left_over(images, latent_dim):
    data, step = spectrum(images), 1e-3
    top = ppca(data, latent_dim=latent_dim).sigma
    less, at, more = (
        profile_evidence_nats(data, latent_dim=latent_dim, sigma=top * math.exp(s * step)) for s in (-1, 0, 1)
    )
    assert less < at > more
    assert (less - 2 * at + more) / step**2 == pytest.approx(-2 * (6 - latent_dim), rel=1e-4)


@over("share", [0.0, 0.3, 0.9, 1.0])
def test_with_dependent_pixels_one_p_of_x_has_every_split(share):
    """The same density, a tight bound with independent codes in q(z|x), and a share that moves."""
    factor = torch.randn(6, 6)
    covariance = factor @ factor.T + 0.1 * torch.eye(6)
    values, directions = torch.linalg.eigh(covariance)
    W = directions[:, -2:] * (0.9 * values[-2:]).sqrt()  # W^T covariance^-1 W is diagonal
    split = split_of(covariance, W, share=share)
    x = torch.randn(10, 6)
    log_px = MultivariateNormal(torch.zeros(6), covariance).log_prob(x)
    V = split.W.T @ torch.linalg.inv(covariance)
    posterior = torch.eye(2) - V @ split.W
    torch.testing.assert_close(posterior, posterior.diagonal().diag())
    qz_x = diagonal_normal(x @ V.T, posterior.diagonal().sqrt().expand(10, 2))
    z = qz_x.sample()
    prior = diagonal_normal(torch.zeros(2), torch.ones(2))
    px_z = MultivariateNormal(z @ split.W.T, split.Psi)
    torch.testing.assert_close(prior.log_prob(z) + px_z.log_prob(x) - qz_x.log_prob(z), log_px)
    assert split.explained == pytest.approx(share * W.square().sum().item())


@over("share", [0.0, 0.4, 0.99])
def test_a_spare_code_can_take_one_pixels_own_noise(share):
    W, psi = torch.cat([torch.randn(6, 2), torch.zeros(6, 1)], dim=1), torch.rand(6) + 0.2
    moved, left = W.clone(), psi.clone()
    moved[3, 2], left[3] = (share * psi[3]).sqrt(), (1 - share) * psi[3]
    torch.testing.assert_close(moved @ moved.T + left.diag(), W @ W.T + psi.diag())
    assert moved.square().sum().item() - W.square().sum().item() == pytest.approx(share * psi[3].item())


def test_a_split_that_leaves_no_noise_is_refused():
    for W, share in ((2 * torch.eye(2, 1), 1.0), (0.5 * torch.eye(2, 1), 1.5)):
        with pytest.raises(ValueError, match=r"exceeds the covariance|between 0 and 1"):
            split_of(torch.eye(2), W, share=share)


@over("t", [0.0, 0.25, 0.6, 1.0])
def test_a_free_p_of_x_given_z_gives_the_same_p_of_x_and_a_tight_bound_whatever_the_code_says(t):
    """Two images, x = +-1: q_t(z|x) by Bayes from a code whose aggregate is N(0, 1); p(x|z) = p(x) q(z|x) / p(z)."""
    z = torch.linspace(-9, 9, 200_001)
    prior = torch.distributions.Normal(0.0, 1.0)
    says = t / 2  # P(x = 1 | z) is 1/2 + says for z > 0 and 1/2 - says below
    px_z = 0.5 + torch.where(z > 0, says, -says)
    log_q = prior.log_prob(z) + px_z.log() - math.log(0.5)
    log_q = torch.where(px_z > 0, log_q, -torch.inf)
    weight = log_q.exp() * (z[1] - z[0])
    ratio = torch.where(px_z > 0, prior.log_prob(z) + px_z.log() - log_q, 0.0)
    assert weight.sum().item() == pytest.approx(1, abs=1e-4)
    assert (weight * ratio).sum().item() == pytest.approx(math.log(0.5), abs=1e-4)
    kl = (weight * torch.where(px_z > 0, log_q - prior.log_prob(z), 0.0)).sum().item()
    information = sum(p * math.log(2 * p) for p in (0.5 + says, 0.5 - says) if p > 0)
    assert kl == pytest.approx(information, abs=1e-4)  # from nothing at t = 0 to ln 2 at t = 1


# The scale of the linear VAE


@over("scale", [0.5, 0.9, 1.06, 2.0])
def test_only_the_kl_knows_the_scale_of_the_codes(images, scale):
    """W times a, codes over a: the reconstruction term stays and the KL rises by (a^-2 - 1 + ln a^2) / 2 a code."""
    vae = optimal_linear_vae(spectrum(images), latent_dim=2, sigma=SIGMA)
    fit, kl, _ = terms(vae, images, 1.0)
    with torch.no_grad():
        vae.head.mu.weight.mul_(scale)
        vae.encoder.mu.weight.div_(scale)
        vae.encoder.mu.bias.div_(scale)
        vae.encoder.log_sigma.sub_(math.log(scale))
    scaled_fit, scaled_kl, _ = terms(vae, images, 1.0)
    assert scaled_fit == pytest.approx(fit)
    assert scaled_kl - kl == pytest.approx(2 * (scale**-2 - 1 + math.log(scale**2)) / 2)
    assert kl == pytest.approx(optimal_kl_nats(EIGENVALUES[:2], beta=1.0, sigma=SIGMA).sum().item())


def test_the_exact_elbo_of_a_linear_vae_has_the_same_mean_over_few_images_of_the_same_moments(images):
    vae = shared_linear_vae(pixels=6, latent_dim=2)
    with torch.no_grad():
        vae.head.log_sigma.fill_(-0.3)
    few = stand_ins(spectrum(images))
    assert len(few) == 12
    torch.testing.assert_close(few.mean(0), images.mean(0))
    torch.testing.assert_close(torch.cov(few.T, correction=0), torch.cov(images.T, correction=0))
    torch.testing.assert_close(exact_elbo_nats(vae, few).mean(), exact_elbo_nats(vae, images).mean())
    decoder = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma.item()
    torch.testing.assert_close(exact_elbo_nats(vae, images), elbo_nats_exact(vae.posterior(images), images, *decoder))
