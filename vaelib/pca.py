r"""Principal components, probabilistic PCA, and the linear VAE at its optimum: all in closed form."""

import math
from typing import NamedTuple

import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import Tensor, nn

from vaelib.errors import positive_std
from vaelib.linear import LinearEncoder, LinearGaussian
from vaelib.vae import VAE


class Spectrum(NamedTuple):
    """Mean and eigendecomposition of the covariance of images, float64, the largest eigenvalue first.

    >>> data = Spectrum(mean=torch.zeros(2), eigenvalues=torch.tensor([3.0, 1.0]), directions=torch.eye(2))
    >>> ppca(data, latent_dim=1).sigma
    1.0
    """

    mean: Tensor
    """`[m]`."""
    eigenvalues: Tensor
    """Variances along the principal directions, `[m]`, at least 0."""
    directions: Tensor
    """Orthonormal, in columns, `[m, m]`."""


def spectrum(images: Tensor) -> Spectrum:
    """Spectrum of images `[N, m]`; the covariance divides by N, as maximum likelihood does.

    >>> data = spectrum(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> data.eigenvalues
    tensor([2.0000, 0.5000], dtype=torch.float64)
    """
    x = images.double()
    b = x.mean(dim=0)
    eigenvalues, directions = torch.linalg.eigh((x - b).T @ (x - b) / len(x))
    return Spectrum(b, eigenvalues.flip(0).clamp(min=0), directions.flip(1))


def eigenvalues(images: Tensor) -> Tensor:
    """Eigenvalues of the covariance of images `[N, m]`, `[m]`, the largest first: see :func:`spectrum`.

    >>> eigenvalues(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    tensor([2.0000, 0.5000], dtype=torch.float64)
    """
    return spectrum(images).eigenvalues


def stand_ins(data: Spectrum) -> Tensor:
    r"""Images `[2 r, m]` with the mean and the covariance of the data, whose rank is r.

    They are :math:`\bar x \pm \sqrt{r \lambda_i}\, u_i`, with eigenvalues and directions of the covariance. Whatever is
    quadratic in x has the same mean over them as over the data, however many these are. Eigenvalues that are 0 but for
    rounding are left out.

    >>> x = torch.randn(50, 3)
    >>> few = stand_ins(spectrum(x))
    >>> few.shape, torch.allclose(eigenvalues(few), eigenvalues(x))
    (torch.Size([6, 3]), True)
    """
    varies = data.eigenvalues > data.eigenvalues[0] * 1e-12
    steps = (data.directions * (varies.sum() * data.eigenvalues).sqrt())[:, varies].T  # [r, m]
    return torch.cat([data.mean + steps, data.mean - steps])


def active_directions(eigenvalues: Tensor, *, beta: float, sigma: float) -> int:
    r"""Number of directions with :math:`\lambda_i > \beta \sigma^2`: those that an optimal linear VAE encodes.

    As many as the data offer; a model with d latent dimensions encodes at most d of them (Tipping and Bishop 1999,
    Lucas et al. 2019). Raises ValueError where beta or sigma is not positive.

    >>> variances = torch.tensor([4.0, 2.0, 0.5])
    >>> [active_directions(variances, beta=beta, sigma=1.0) for beta in (0.1, 1.0, 3.0, 5.0)]
    [3, 2, 1, 0]
    """
    return int((eigenvalues > _implied_variance(beta, sigma)).sum())


def optimal_kl_nats(eigenvalues: Tensor, *, beta: float, sigma: float) -> Tensor:
    r""":math:`\max(0, \tfrac12 \ln (\lambda_i / \beta\sigma^2))`, `[d]`: mean KL of each direction at the optimum.

    The mean is over the images that the eigenvalues come from. At the optimum (:func:`optimal_linear_vae`)
    :math:`q(z_i|x)` has variance :math:`\beta\sigma^2 / \lambda_i`, and its mean has variance
    :math:`1 - \beta\sigma^2 / \lambda_i` over the images: the aggregate posterior has that of the prior, 1, and of
    the KL only the logarithm is left. Raises ValueError where beta or sigma is not positive.

    >>> optimal_kl_nats(torch.tensor([4.0, 1.0, 0.5]), beta=1.0, sigma=1.0)  # ln 2, and two that collapse
    tensor([0.6931, 0.0000, 0.0000])
    """
    return (eigenvalues / _implied_variance(beta, sigma)).clamp(min=1).log() / 2


class LinearDecoder(NamedTuple):
    """p(x|z) = N(Wz + b, sigma^2 I) but for its sigma.

    >>> decoder = LinearDecoder(W=torch.eye(3, 2), b=torch.ones(3))
    >>> torch.tensor([2.0, 3.0]) @ decoder.W.T + decoder.b  # the mean image of a code
    tensor([3., 4., 1.])
    """

    W: Tensor
    """`[m, d]`."""
    b: Tensor
    """`[m]`."""


def optimal_decoder(data: Spectrum, *, latent_dim: int, sigma: float, beta: float = 1.0) -> LinearDecoder:
    r""":math:`W = U_d\, (\Lambda_d - \beta\sigma^2 I)_+^{1/2}`, :math:`b = \bar x`: the global optimum for fixed sigma.

    :math:`U_d, \Lambda_d` are the first d directions and eigenvalues; a column with :math:`\lambda_i \le \beta\sigma^2`
    is zero. W maximises ln p(x) for variance :math:`\beta\sigma^2` (Tipping and Bishop 1999, appendix A) and, since its
    columns are orthogonal and q(z|x) can equal p(z|x), equation 5.4 too (Lucas et al. 2019). Another rotation of z
    gives the same ln p(x), not the same ELBO. Raises ValueError where beta or sigma is not positive, or latent_dim not
    between 1 and m.

    >>> data = Spectrum(mean=torch.zeros(2), eigenvalues=torch.tensor([5.0, 1.0]), directions=torch.eye(2))
    >>> optimal_decoder(data, latent_dim=2, sigma=1.0).W  # of the second variance nothing is left
    tensor([[2., 0.],
            [0., 0.]])
    """
    if not 1 <= latent_dim <= len(data.mean):
        raise ValueError(f"latent_dim must be between 1 and {len(data.mean)}, got {latent_dim}")
    left = (data.eigenvalues[:latent_dim] - _implied_variance(beta, sigma)).clamp(min=0)
    return LinearDecoder(W=data.directions[:, :latent_dim] * left.sqrt(), b=data.mean)


def optimal_linear_vae(data: Spectrum, *, latent_dim: int, sigma: float, beta: float = 1.0) -> VAE:
    r"""The linear VAE, float64, that maximises equation 5.4 on the data: :func:`optimal_decoder` and its encoder.

    The encoder is :func:`optimal_posterior` for variance :math:`\beta\sigma^2`. Raises what :func:`optimal_decoder`
    raises.

    >>> from vaelib.linear import elbo_nats_exact, evidence_nats
    >>> x = torch.randn(50, 3).double()
    >>> vae = optimal_linear_vae(spectrum(x), latent_dim=2, sigma=0.5)
    >>> decoder = vae.head.mu.weight, vae.head.mu.bias, vae.head.sigma
    >>> torch.allclose(elbo_nats_exact(vae.posterior(x), x, *decoder), evidence_nats(x, *decoder))
    True
    """
    W, b = optimal_decoder(data, latent_dim=latent_dim, sigma=sigma, beta=beta)
    decoder = LinearGaussian(features=latent_dim, shape=b.shape, sigma=sigma).double()
    encoder = LinearEncoder(pixels=len(b), latent_dim=latent_dim).double()
    with torch.no_grad():
        decoder.mu.weight.copy_(W)
        decoder.mu.bias.copy_(b)
    encoder.set_optimal(W, b, math.sqrt(beta) * sigma)
    return VAE(encoder=encoder, decoder=nn.Identity(), head=decoder, latent_dim=latent_dim).double()


class ProbabilisticPca(NamedTuple):
    """p(x|z) = N(Wz + b, sigma^2 I); ln p(x) is :func:`evidence_nats` of the three.

    >>> from vaelib.linear import evidence_nats
    >>> x = torch.randn(50, 3).double()
    >>> W, b, sigma = ppca(spectrum(x), latent_dim=1)
    >>> bool(evidence_nats(x, W, b, sigma).mean() > evidence_nats(x, W, b, 1.1 * sigma).mean())
    True
    """

    W: Tensor
    """`[m, d]`."""
    b: Tensor
    """`[m]`."""
    sigma: float


def ppca(data: Spectrum, *, latent_dim: int) -> ProbabilisticPca:
    r"""The maximum of the likelihood over W, b and sigma, float64 (Tipping and Bishop 1999, equations 7 and 8).

    .. math:: \sigma^2 = \frac{1}{m - d} \sum_{i > d} \lambda_i, \qquad
        W = U_d\, (\Lambda_d - \sigma^2 I)^{1/2}, \qquad b = \bar x

    W and b are :func:`optimal_decoder` at this sigma; W times any rotation of z is as likely. Raises ValueError where
    latent_dim is not between 1 and m - 1, or where the eigenvalues after the first d are all 0: then no maximum exists.

    >>> data = Spectrum(mean=torch.zeros(3), eigenvalues=torch.tensor([5.0, 2.0, 0.0]), directions=torch.eye(3))
    >>> W, b, sigma = ppca(data, latent_dim=1)
    >>> W.T, sigma  # the variance of a pixel outside of the code is the mean of what is left
    (tensor([[2., 0., 0.]]), 1.0)
    """
    if not 1 <= latent_dim < len(data.mean):
        raise ValueError(f"latent_dim must be between 1 and {len(data.mean) - 1}, got {latent_dim}")
    sigma = math.sqrt(data.eigenvalues[latent_dim:].mean().item())
    return ProbabilisticPca(*optimal_decoder(data, latent_dim=latent_dim, sigma=sigma), sigma)


def largest_principal_angle_degrees(A: Tensor, B: Tensor) -> float:
    r"""Largest principal angle between the column spaces of A `[m, d]` and B `[m, k]`, in degrees from 0 to 90.

    For d = k it is the angle :math:`\max_{a} \min_{b} \angle(a, b)` over vectors of the two spaces, and 0 if and only
    if they are one (Bjorck and Golub 1973). Columns that are linearly dependent span the smaller space.

    >>> first_two, last_two = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
    >>> round(largest_principal_angle_degrees(first_two, last_two), 3)
    90.0
    >>> round(largest_principal_angle_degrees(first_two, first_two @ torch.tensor([[1.0, 2.0], [3.0, 4.0]])), 3)
    0.0
    """
    return math.degrees(subspace_angles(A.detach().double().cpu().numpy(), B.detach().double().cpu().numpy())[0])


def fit_pca(images: Tensor, *, latent_dim: int) -> PCA:
    """PCA of images `[N, m]` with `latent_dim` components, by the exact solver.

    Raises ValueError where latent_dim is not between 1 and min(N, m).

    >>> fit_pca(torch.rand(50, 6), latent_dim=2).components_.shape
    (2, 6)
    """
    limit = min(images.shape)
    if not 1 <= latent_dim <= limit:
        raise ValueError(f"latent_dim must be between 1 and {limit} for images of shape {tuple(images.shape)}")
    return PCA(n_components=latent_dim, svd_solver="covariance_eigh").fit(images.cpu().double().numpy())


def pca_codes(pca: PCA, images: Tensor) -> Tensor:
    """Codes `[B, d]` of images `[B, m]`.

    >>> x = torch.rand(50, 6)
    >>> z = pca_codes(fit_pca(x, latent_dim=2), x)
    >>> z.shape, torch.allclose(z.mean(dim=0), torch.zeros(2), atol=1e-6)
    (torch.Size([50, 2]), True)
    """
    return torch.from_numpy(pca.transform(images.cpu().double().numpy())).to(images)


def pca_reconstructions(pca: PCA, images: Tensor) -> Tensor:
    """Images `[B, m]` decoded from their codes; not confined to [0, 1].

    >>> x = torch.rand(50, 6)
    >>> torch.allclose(pca_reconstructions(fit_pca(x, latent_dim=6), x), x, atol=1e-6)
    True
    """
    return torch.from_numpy(pca.inverse_transform(pca.transform(images.cpu().double().numpy()))).to(images)


def _implied_variance(beta: float, sigma: float) -> float:
    r""":math:`\beta \sigma^2`: the variance of the model whose ELBO equation 5.4 is."""
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    return beta * positive_std("sigma", sigma) ** 2
