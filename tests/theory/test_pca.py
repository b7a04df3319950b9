r"""PCA and the latent-free model: what they leave over is known."""

import pytest
import torch

from vaelib.likelihoods.gaussian import independent_pixels
from vaelib.pca import fit_pca, pca_codes, pca_reconstructions


@pytest.fixture
def images(float64) -> torch.Tensor:
    """300 correlated images of 12 pixels."""
    return torch.randn(300, 12) @ torch.randn(12, 12) + 2


def test_pca_leaves_over_the_discarded_eigenvalues(images):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(images.T, correction=0)).flip(0)
    for d in (1, 5, 11):
        error = (images - pca_reconstructions(fit_pca(images, latent_dim=d), images)).square().sum(dim=1).mean()
        assert error.item() == pytest.approx(eigenvalues[d:].sum().item())


def test_pca_with_all_components_loses_nothing(images):
    assert torch.allclose(pca_reconstructions(fit_pca(images, latent_dim=12), images), images)


def test_pca_codes_have_the_leading_eigenvalues_as_variances(images):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(images.T)).flip(0)
    codes = pca_codes(fit_pca(images, latent_dim=4), images)
    assert torch.allclose(torch.cov(codes.T), torch.diag(eigenvalues[:4]), atol=1e-9)


@pytest.mark.parametrize("latent_dim", [0, 13])
def test_pca_of_an_impossible_size_is_refused(images, latent_dim):
    with pytest.raises(ValueError, match="between 1 and 12"):
        fit_pca(images, latent_dim=latent_dim)


def test_independent_pixels_reach_the_entropy_of_their_data(images):
    model = independent_pixels(images, floor=1e-6)
    per_pixel = images.var(dim=0, correction=0)
    expected = -0.5 * (2 * torch.pi * torch.e * per_pixel).log().sum()
    assert model.log_prob(images).mean().item() == pytest.approx(expected.item())


def test_a_constant_pixel_gains_ln_10_nats_with_each_floor_ten_times_lower(images):
    images = torch.cat([images, torch.zeros(300, 1)], dim=1)
    high, low = (independent_pixels(images, floor=floor).log_prob(images).mean().item() for floor in (1e-3, 1e-4))
    assert low - high == pytest.approx(torch.tensor(10.0).log().item())


def test_a_floor_that_is_not_positive_is_refused(images):
    with pytest.raises(ValueError, match="floor must be a positive"):
        independent_pixels(images, floor=0)
