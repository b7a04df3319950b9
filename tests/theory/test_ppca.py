r"""Probabilistic PCA: the maximum of the likelihood in closed form, by scikit-learn, and by training a linear VAE."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from vaelib.linear import SharedLinearGaussian, elbo_nats_exact, evidence_nats, shared_linear_vae
from vaelib.objectives import elbo_nats
from vaelib.pca import Spectrum, largest_principal_angle_degrees, optimal_decoder, ppca, spectrum
from vaelib.training import fit

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize
PIXELS = 12


@pytest.fixture
def images():
    """500 images of 12 pixels: three directions that stand out of noise of standard deviation 0.5."""
    directions = torch.linalg.qr(torch.randn(PIXELS, 3)).Q
    z = torch.randn(500, 3) * torch.tensor([3.0, 2.0, 1.5])
    return torch.randn(PIXELS) + z @ directions.T + 0.5 * torch.randn(500, PIXELS)


def log_likelihood(images, W, b, sigma):
    """Mean of ln p(x) over images, in nats."""
    return evidence_nats(images, W, b, sigma).mean().item()


@over("latent_dim", [1, 3, 11])
def test_the_closed_form_is_scikit_learns_up_to_its_denominator(latent_dim, images):
    """There the covariance divides by N - 1: the noise variance is rescaled, the scores are of the rescaled data."""
    data, pca = spectrum(images), PCA(n_components=latent_dim, svd_solver="full").fit(images.numpy())
    unbiased = len(images) / (len(images) - 1)
    assert ppca(data, latent_dim=latent_dim).sigma ** 2 * unbiased == pytest.approx(pca.noise_variance_, rel=1e-8)
    model = ppca(data._replace(eigenvalues=unbiased * data.eigenvalues), latent_dim=latent_dim)
    np.testing.assert_allclose(evidence_nats(images, *model), pca.score_samples(images.numpy()), rtol=1e-8)
    np.testing.assert_allclose(model.W @ model.W.T + model.sigma**2 * torch.eye(PIXELS), pca.get_covariance())


def test_on_digits_the_closed_form_is_scikit_learns(quick):
    x, test = quick.train.images.double(), quick.test.images.double()
    data, pca = spectrum(x), PCA(n_components=20, svd_solver="covariance_eigh").fit(x.numpy())
    unbiased = len(x) / (len(x) - 1)
    assert ppca(data, latent_dim=20).sigma ** 2 * unbiased == pytest.approx(pca.noise_variance_, rel=1e-8)
    model = ppca(data._replace(eigenvalues=unbiased * data.eigenvalues), latent_dim=20)
    np.testing.assert_allclose(evidence_nats(test, *model), pca.score_samples(test.numpy()), rtol=1e-8)


@over("latent_dim", [1, 2, 4])
def test_sigma_squared_is_the_mean_of_the_eigenvalues_left_over(latent_dim):
    values = [8.0, 5.0, 0.7, 0.3, 0.2]
    directions = torch.linalg.qr(torch.randn(5, 5)).Q
    W, b, sigma = ppca(Spectrum(torch.arange(5.0), torch.tensor(values), directions), latent_dim=latent_dim)
    left_over = values[latent_dim:]
    assert sigma**2 == pytest.approx(sum(left_over) / len(left_over))
    covariance = W @ W.T + sigma**2 * torch.eye(5)
    kept = torch.tensor(values[:latent_dim] + [sigma**2] * len(left_over))
    torch.testing.assert_close(covariance, directions * kept @ directions.T)
    torch.testing.assert_close(b, torch.arange(5.0))


@over("latent_dim", [1, 3, 5])
def test_w_and_b_are_the_optimal_decoder_for_its_sigma(latent_dim, images):
    data = spectrum(images)
    W, b, sigma = ppca(data, latent_dim=latent_dim)
    expected = optimal_decoder(data, latent_dim=latent_dim, sigma=sigma)
    assert torch.equal(W, expected.W) and torch.equal(b, expected.b)


@over("scale", [1e-3, 1e-2, 0.1])
@over("latent_dim", [1, 3, 5])
def test_every_perturbation_lowers_the_likelihood(latent_dim, scale, images):
    W, b, sigma = ppca(spectrum(images), latent_dim=latent_dim)
    best = log_likelihood(images, W, b, sigma)
    for factor in (math.exp(scale), math.exp(-scale)):
        assert log_likelihood(images, W, b, sigma * factor) < best
        assert log_likelihood(images, W * factor, b, sigma) < best
    for _ in range(20):
        dW, db = scale * torch.randn_like(W), scale * torch.randn_like(b)
        for moved in ((W + dW, b, sigma), (W, b + db, sigma), (W + dW, b + db, sigma * math.exp(scale * db[0]))):
            assert log_likelihood(images, *moved) < best


@over("latent_dim", [1, 3, 5])
def test_the_gradient_of_the_likelihood_vanishes_at_the_closed_form(latent_dim, images):
    W, b, sigma = ppca(spectrum(images), latent_dim=latent_dim)
    parameters = [tensor.requires_grad_() for tensor in (W, b, torch.tensor(sigma))]

    def negative(W, b, sigma):
        covariance = W @ W.T + sigma**2 * torch.eye(PIXELS)
        return -torch.distributions.MultivariateNormal(b, covariance).log_prob(images).mean()

    for gradient in torch.autograd.grad(negative(*parameters), parameters):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


@over("latent_dim", [0, PIXELS])
def test_latent_dim_leaves_at_least_one_eigenvalue_over(latent_dim, images):
    with pytest.raises(ValueError, match=f"latent_dim must be between 1 and 11, got {latent_dim}"):
        ppca(spectrum(images), latent_dim=latent_dim)


def test_without_variance_left_over_there_is_no_maximum():
    data = Spectrum(torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]), torch.eye(3))
    with pytest.raises(ValueError, match="sigma must be a positive standard deviation, got 0"):
        ppca(data, latent_dim=1)


@over("degrees", [0.0, 0.001, 1.0, 30.0, 90.0])
def test_the_largest_principal_angle_is_that_of_the_vector_farthest_from_the_other_space(degrees):
    """Two planes that share one axis, turned around it; how their bases are chosen does not matter."""
    turn, basis = math.radians(degrees), torch.linalg.qr(torch.randn(5, 5)).Q
    A, B = basis[:, :2], torch.stack([basis[:, 0], math.cos(turn) * basis[:, 1] + math.sin(turn) * basis[:, 2]], dim=1)
    angle = largest_principal_angle_degrees(A @ torch.randn(2, 2), (B @ torch.randn(2, 2)).float())
    assert angle == pytest.approx(degrees, abs=1e-4)
    assert largest_principal_angle_degrees(A, B) == pytest.approx(degrees, abs=1e-6)


def test_the_likelihood_with_a_learned_sigma_is_the_formula():
    head = SharedLinearGaussian(features=3, shape=(5,))
    assert head.sigma.item() == 1.0
    torch.nn.init.constant_(head.log_sigma, math.log(0.3))
    z = torch.randn(4, 7, 3)
    px_z = head(z)
    torch.testing.assert_close(px_z.mean, z @ head.mu.weight.T + head.mu.bias)
    torch.testing.assert_close(px_z.stddev, torch.full((4, 7, 5), 0.3))
    assert {name for name, _ in head.named_parameters()} == {"mu.weight", "mu.bias", "log_sigma"}


def test_the_likelihood_is_highest_where_sigma_squared_is_the_mean_squared_error():
    head, z, x = SharedLinearGaussian(features=3, shape=(5,)), torch.randn(9, 3), torch.randn(9, 5)
    torch.nn.init.constant_(head.log_sigma, (x - head(z).mean).square().mean().log().item() / 2)
    head(z).log_prob(x).mean().backward()
    torch.testing.assert_close(head.log_sigma.grad, torch.tensor(0.0), atol=1e-12, rtol=0)


@over("latent_dim", [2, 3])
def test_a_trained_linear_vae_is_probabilistic_pca(latent_dim, images):
    """The objective and the loop of the library, no closed form: likelihood, sigma, subspace and ELBO arrive at it."""
    best = ppca(spectrum(images), latent_dim=latent_dim)
    vae = shared_linear_vae(pixels=PIXELS, latent_dim=latent_dim)
    training = fit(
        vae, lambda x: -elbo_nats(vae, x), (images,), epochs=150, batch_size=50, learning_rate=0.02, decay=True
    )
    for _ in training:
        pass
    with torch.no_grad():
        W, b, sigma = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma.item()
        log_px = log_likelihood(images, W, b, sigma)
        elbo = elbo_nats_exact(vae.posterior(images), images, W, b, sigma).mean().item()
    assert log_likelihood(images, *best) - 0.05 < log_px < log_likelihood(images, *best)
    assert log_px - 0.05 < elbo < log_px
    assert sigma == pytest.approx(best.sigma, rel=0.01)
    assert largest_principal_angle_degrees(W, best.W) < 1
