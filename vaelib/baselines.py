r"""What the VAE is held against: principal components from scikit-learn, and pixels without any code."""

import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.distributions import Independent

from vaelib.networks import diagonal_normal


def fit_pca(images: Tensor, *, latent_dim: int) -> PCA:
    """PCA of images `[N, pixels]` with `latent_dim` components, by the exact solver; at most min(N, pixels)."""
    limit = min(images.shape)
    if not 1 <= latent_dim <= limit:
        raise ValueError(f"latent_dim must be between 1 and {limit} for images of shape {tuple(images.shape)}")
    return PCA(n_components=latent_dim, svd_solver="covariance_eigh").fit(images.cpu().double().numpy())


def pca_codes(pca: PCA, images: Tensor) -> Tensor:
    """Codes `[B, d]` of images `[B, pixels]`."""
    return torch.from_numpy(pca.transform(images.cpu().double().numpy())).to(images)


def pca_reconstructions(pca: PCA, images: Tensor) -> Tensor:
    """Images `[B, pixels]` decoded from their codes; not confined to [0, 1]."""
    return torch.from_numpy(pca.inverse_transform(pca.transform(images.cpu().double().numpy()))).to(images)


def independent_pixels(images: Tensor, *, floor: float) -> Independent:
    r"""The latent-free model :math:`\prod_j N(\bar x_j, \max(s_j, \mathrm{floor})^2)`, fitted to images `[N, pixels]`.

    On pixels that never change its likelihood is bounded by the floor alone (Mattei and Frellsen 2018).
    """
    if not floor > 0:
        raise ValueError(f"floor must be a positive standard deviation, got {floor}")
    return diagonal_normal(images.mean(dim=0), images.std(dim=0, correction=0).clamp(min=floor))
