r"""What the likelihood says of the split between code and noise: the profile over sigma, and a family where it is free.

The proofs are on the page of propositions; here are the formulas that they speak of.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.errors import positive_std
from vaelib.pca import Spectrum


def profile_evidence_nats(data: Spectrum, *, latent_dim: int, sigma: float) -> float:
    r"""Highest mean :math:`\ln p(x)` of the images over W and b with this sigma, in nats: a function of eigenvalues.

    .. math:: -\frac{m}{2} \ln 2\pi - \frac12 \sum_{i \le d,\ \lambda_i > \sigma^2} (\ln \lambda_i + 1)
        - \frac12 \sum_{\mathrm{others}} \Big(\ln \sigma^2 + \frac{\lambda_i}{\sigma^2}\Big)

    It is that of :func:`vaelib.pca.optimal_decoder`, highest at the sigma of :func:`vaelib.pca.ppca`, where its second
    derivative in :math:`\ln \sigma` is :math:`-2 (m - d)` nats an image. Raises ValueError where sigma is not positive.

    >>> data = Spectrum(mean=torch.zeros(3), eigenvalues=torch.tensor([5.0, 2.0, 1.0]), directions=torch.eye(3))
    >>> best = profile_evidence_nats(data, latent_dim=1, sigma=1.5**0.5)  # the mean of what is left over
    >>> all(profile_evidence_nats(data, latent_dim=1, sigma=sigma) < best for sigma in (0.5, 1.2, 1.3, 3.0))
    True
    """
    variance = positive_std("sigma", sigma) ** 2
    coded = data.eigenvalues.new_zeros(len(data.eigenvalues), dtype=torch.bool)
    coded[:latent_dim] = data.eigenvalues[:latent_dim] > variance
    of_code = (data.eigenvalues[coded].log() + 1).sum()
    of_noise = (math.log(variance) + data.eigenvalues[~coded] / variance).sum()
    return -(len(coded) * math.log(2 * math.pi) + of_code + of_noise).item() / 2


class Split(NamedTuple):
    """p(x|z) = N(Wz + b, Psi) with z from N(0, I) and any covariance Psi of the noise; b is left out.

    >>> Split(W=torch.eye(2, 1), Psi=torch.eye(2)).explained
    1.0
    """

    W: Tensor
    """`[m, d]`."""
    Psi: Tensor
    """`[m, m]`."""

    @property
    def explained(self) -> float:
        r""":math:`\mathrm{tr}\, W W^T`, the variance of the mean image, summed over pixels."""
        return self.W.square().sum().item()


def split_of(covariance: Tensor, W: Tensor, *, share: float) -> Split:
    r"""The model with :math:`W_s = \sqrt{s}\, W`, :math:`\Psi_s = \Sigma - s\, W W^T`: the same p(x) for every share s.

    For s from 0 to 1 and :math:`\Sigma - W W^T` positive definite it is a path in the family of Gaussians with
    dependent pixels along which :math:`p(x) = N(b, \Sigma)` stays and the code explains s times
    :math:`\mathrm{tr}\, W W^T`. The covariance is `[m, m]`, W `[m, d]`. Raises ValueError where the share is not in
    [0, 1], and where what is left is no covariance.

    >>> half, all_of_it = (split_of(torch.eye(2), torch.tensor([[0.9], [0.0]]), share=s) for s in (0.5, 1.0))
    >>> round(all_of_it.explained / half.explained, 3)
    2.0
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    Psi = covariance - share * W @ W.T
    if torch.linalg.eigvalsh(Psi).min() <= 0:
        raise ValueError("W W^T exceeds the covariance in some direction: nothing is left for the noise")
    return Split(W=share**0.5 * W, Psi=Psi)
