r"""The optimum of the linear VAE for given sigma and beta: closed form, threshold and KL, in float64."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import kl_divergence

from vaelib.diagnostics.latent import aggregate_variance, kl_per_dimension_nats
from vaelib.linear import beta_elbo_nats_exact, elbo_nats_exact, evidence_nats, optimal_posterior
from vaelib.pca import (
    Spectrum,
    active_directions,
    eigenvalues,
    optimal_decoder,
    optimal_kl_nats,
    optimal_linear_vae,
    spectrum,
)

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize
#: (sigma, beta) with 0.09, 0.36, 1 and 30 as the product beta sigma^2, against the eigenvalues of `images`.
DIALS = over(("sigma", "beta"), [(0.3, 1.0), (1.0, 0.36), (0.5, 4.0), (1.0, 30.0)])
EIGENVALUES = (9.0, 4.0, 0.9, 0.3, 0.04)


@pytest.fixture
def images():
    """200 images of 5 pixels whose covariance has exactly the eigenvalues above."""
    x = torch.randn(200, 5)
    left = torch.linalg.svd(x - x.mean(0), full_matrices=False).U
    directions = torch.linalg.qr(torch.randn(5, 5)).Q
    return torch.randn(5) + (200 * torch.tensor(EIGENVALUES)).sqrt() * left @ directions.T


def objective(vae, x, *, beta):
    """Equation 5.4, exact, mean over images."""
    W, b = vae.head.mu.weight, vae.head.mu.bias
    return beta_elbo_nats_exact(vae.posterior(x), x, W, b, vae.head.sigma, beta=beta).mean()


def test_the_spectrum_is_that_of_the_maximum_likelihood_covariance(images):
    b, values, directions = spectrum(images)
    torch.testing.assert_close(values, torch.tensor(EIGENVALUES))
    torch.testing.assert_close(eigenvalues(images), values)
    torch.testing.assert_close(directions * values @ directions.T, torch.cov(images.T, correction=0))
    torch.testing.assert_close(directions.T @ directions, torch.eye(5))
    torch.testing.assert_close(b, images.mean(0))


def test_the_spectrum_is_scikit_learns_up_to_its_denominator(quick):
    images = quick.train.images
    values, pca = eigenvalues(images), PCA(n_components=20, svd_solver="covariance_eigh").fit(images.double().numpy())
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values[:20] * len(images) / (len(images) - 1), pca.explained_variance_)


@over(("beta", "sigma", "active"), [(1, 3.1, 0), (1, 1, 2), (4, 0.5, 2), (0.5, 1, 3), (1, 0.1, 5), (0.02, 1, 5)])
def test_directions_are_active_where_their_eigenvalue_exceeds_beta_sigma_squared(beta, sigma, active):
    assert active_directions(torch.tensor(EIGENVALUES), beta=beta, sigma=sigma) == active


def test_at_the_threshold_itself_a_direction_is_not_active():
    assert active_directions(torch.tensor([4.0, 2.0, 1.0]), beta=2.0, sigma=1.0) == 1
    assert active_directions(torch.tensor([4.0, 2.0, 1.0]), beta=2.0 - 1e-12, sigma=1.0) == 2


def test_digits_have_fewer_active_directions_the_larger_beta(quick):
    values = eigenvalues(quick.train.images)
    active = [active_directions(values, beta=beta, sigma=1.0) for beta in (0.1, 0.5, 1, 6)]
    assert active == [69, 23, 12, 0]


@DIALS
@over("latent_dim", [1, 4, 5])
def test_the_gradient_of_the_exact_objective_vanishes_at_the_closed_form(latent_dim, sigma, beta, images):
    vae = optimal_linear_vae(spectrum(images), latent_dim=latent_dim, sigma=sigma, beta=beta)
    objective(vae, images, beta=beta).backward()
    for parameter in vae.parameters():
        torch.testing.assert_close(parameter.grad, torch.zeros_like(parameter), atol=1e-10, rtol=0)


@DIALS
@over("scale", [1e-3, 1e-2, 0.1, 1.0])
def test_no_perturbation_improves_on_the_closed_form(scale, sigma, beta, images):
    vae = optimal_linear_vae(spectrum(images), latent_dim=4, sigma=sigma, beta=beta)
    optimum = objective(vae, images, beta=beta).item()
    weights = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    parameters = {name for name, _ in vae.named_parameters()}
    for _ in range(20):
        moved = {name: w + scale * torch.randn_like(w) * (name in parameters) for name, w in weights.items()}
        vae.load_state_dict(moved)
        assert objective(vae, images, beta=beta).item() < optimum


@over(("margin", "better"), [(0.99, True), (1.01, False)])
@over(("sigma", "beta"), [(1.0, 1.0), (0.3, 2.0)])
def test_a_direction_pays_only_below_its_eigenvalue(sigma, beta, margin, better, images):
    """From nothing, a small column along the first direction helps if and only if beta sigma^2 is below lambda_1."""
    data = spectrum(images)
    sigma = sigma * (margin * EIGENVALUES[0] / (beta * sigma**2)) ** 0.5
    elbos = []
    for length in (0.0, 1e-3):
        W = length * data.directions[:, :1]
        qz_x = optimal_posterior(images, W, data.mean, beta**0.5 * sigma)
        elbos.append(beta_elbo_nats_exact(qz_x, images, W, data.mean, sigma, beta=beta).mean())
    assert (elbos[1] > elbos[0]).item() == better


@DIALS
def test_inactive_columns_are_zero_and_active_ones_carry_what_is_left_of_their_variance(sigma, beta, images):
    data = spectrum(images)
    W, b = optimal_decoder(data, latent_dim=4, sigma=sigma, beta=beta)
    left = (torch.tensor(EIGENVALUES[:4]) - beta * sigma**2).clamp(min=0)
    torch.testing.assert_close(W.T @ W, torch.diag(left))
    torch.testing.assert_close(b, images.mean(0))
    active = active_directions(data.eigenvalues[:4], beta=beta, sigma=sigma)
    assert (W[:, active:] == 0).all() and (W[:, :active] != 0).any(0).all()


@DIALS
def test_the_kl_of_a_direction_at_the_optimum_is_half_the_log_of_its_eigenvalue(sigma, beta, images):
    data = spectrum(images)
    vae = optimal_linear_vae(data, latent_dim=5, sigma=sigma, beta=beta)
    kl, expected = kl_per_dimension_nats(vae, images), optimal_kl_nats(data.eigenvalues, beta=beta, sigma=sigma)
    torch.testing.assert_close(kl.mean(0), expected)
    formula = [max(0.0, 0.5 * math.log(value / (beta * sigma**2))) for value in EIGENVALUES]
    torch.testing.assert_close(expected, torch.tensor(formula))
    assert (kl[:, expected == 0] == 0).all()


@DIALS
def test_at_the_optimum_the_codes_have_the_variance_of_the_prior(sigma, beta, images):
    vae = optimal_linear_vae(spectrum(images), latent_dim=5, sigma=sigma, beta=beta)
    torch.testing.assert_close(aggregate_variance(vae, images), torch.ones(5))


@DIALS
@over("latent_dim", [1, 3, 5])
def test_at_the_optimum_the_elbo_is_the_evidence_of_variance_beta_sigma_squared(latent_dim, sigma, beta, images):
    data, s = spectrum(images), beta**0.5 * sigma
    W, b = optimal_decoder(data, latent_dim=latent_dim, sigma=sigma, beta=beta)
    log_px = evidence_nats(images, W, b, s)
    torch.testing.assert_close(elbo_nats_exact(optimal_posterior(images, W, b, s), images, W, b, s), log_px)
    kept = data.eigenvalues[:latent_dim].clamp(min=s**2)
    left_over = data.eigenvalues.sum() - kept[kept > s**2].sum()
    logs = 5 * math.log(2 * math.pi) + kept.log().sum() + (5 - latent_dim) * math.log(s**2)
    expected = -(logs + (kept > s**2).sum() + left_over / s**2) / 2
    torch.testing.assert_close(log_px.mean(), expected)


@DIALS
def test_no_other_decoder_has_a_higher_evidence(sigma, beta, images):
    s = beta**0.5 * sigma
    W, b = optimal_decoder(spectrum(images), latent_dim=3, sigma=sigma, beta=beta)
    best = evidence_nats(images, W, b, s).mean()
    for scale in (1e-3, 0.1, 1.0):
        for _ in range(20):
            assert evidence_nats(images, W + scale * torch.randn(5, 3), b, s).mean() < best


def test_a_rotation_of_the_codes_keeps_the_evidence_and_lowers_the_elbo(images):
    W, b = optimal_decoder(spectrum(images), latent_dim=2, sigma=1.0)
    rotated = W @ torch.linalg.qr(torch.randn(2, 2)).Q
    log_px = evidence_nats(images, W, b, 1.0)
    torch.testing.assert_close(evidence_nats(images, rotated, b, 1.0), log_px)
    elbo = elbo_nats_exact(optimal_posterior(images, rotated, b, 1.0), images, rotated, b, 1.0)
    assert elbo.mean() < log_px.mean() - 1e-3


def test_the_model_is_the_formulas(images):
    data = spectrum(images)
    vae = optimal_linear_vae(data, latent_dim=3, sigma=0.5, beta=2.0)
    W, b = optimal_decoder(data, latent_dim=3, sigma=0.5, beta=2.0)
    z, best = torch.randn(7, 3), optimal_posterior(images, W, b, 0.5 * 2**0.5)
    torch.testing.assert_close(vae.likelihood(z).mean, z @ W.T + b)
    torch.testing.assert_close(vae.likelihood(z).stddev, torch.full((7, 5), 0.5))
    torch.testing.assert_close(kl_divergence(vae.posterior(images), best), torch.zeros(200))
    assert all(tensor.dtype == torch.float64 for tensor in vae.state_dict().values())


def test_the_model_is_in_double_precision_whatever_the_default(images):
    data = spectrum(images)
    torch.set_default_dtype(torch.float32)
    vae = optimal_linear_vae(data, latent_dim=3, sigma=0.5)
    W, b = optimal_decoder(data, latent_dim=3, sigma=0.5)
    mu_z = optimal_posterior(images, W, b, 0.5).mean
    torch.testing.assert_close(vae.posterior(images).mean, mu_z)
    torch.testing.assert_close(vae.likelihood(mu_z).mean, mu_z @ W.T + b)
    assert spectrum(images.float()).eigenvalues.dtype == torch.float64


@over("latent_dim", [0, 6])
def test_latent_dim_is_between_one_and_the_number_of_pixels(latent_dim, images):
    with pytest.raises(ValueError, match=f"latent_dim must be between 1 and 5, got {latent_dim}"):
        optimal_decoder(spectrum(images), latent_dim=latent_dim, sigma=1.0)


@over(("beta", "sigma", "name"), [(0.0, 1.0, "beta"), (-1.0, 1.0, "beta"), (1.0, 0.0, "sigma"), (1.0, -1.0, "sigma")])
def test_beta_and_sigma_must_be_positive(beta, sigma, name):
    data = Spectrum(torch.zeros(2), torch.ones(2), torch.eye(2))
    for formula in (active_directions, optimal_kl_nats):
        with pytest.raises(ValueError, match=f"{name} must be"):
            formula(data.eigenvalues, beta=beta, sigma=sigma)
    for model in (optimal_decoder, optimal_linear_vae):
        with pytest.raises(ValueError, match=f"{name} must be"):
            model(data, latent_dim=1, beta=beta, sigma=sigma)
