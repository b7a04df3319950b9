r"""What public implementations minimise, each a few lines; the theory is in `vaelib.objectives`.

Each recipe takes images x and decoder means x_hat, both `[B, m]`, and the closed-form KL of each latent dimension,
`kl` `[B, d]` in nats, and returns the scalar that its program minimises. A docstring names the program and place (the
commits are in `vaelib/study/audit.toml`) and the bound behind it. There :math:`\bar L(\sigma^2, \beta)` is the mean
over the batch of :math:`\ln p(x|z) - \beta\, KL` (equation 5.4) with the Gaussian N(x_hat, sigma^2 I),
:math:`\bar L_B(\beta)` the same with cross-entropy for the logarithm, and :math:`\bar L(\sigma^2) = \bar L(\sigma^2,
1)` the ELBO. The rule behind all of them: :math:`c \cdot SSE + w\, KL` per image is
:math:`w (-L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2)` with :math:`\sigma^2 = w / (2c)`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, mse_loss

from vaelib.seeding import seeded

# Cross-entropy: no variance is implied, and on grey pixels no density is (Loaiza-Ganem and Cunningham 2019).


def summed_cross_entropy(x: Tensor, x_hat: Tensor, kl: Tensor) -> Tensor:
    r"""Everything summed, :math:`-B \bar L_B(1)`.

    pytorch/examples, vae/main.py:80-89; keras-team/keras-io, examples/generative/vae.py, which divides by B.

    >>> implied_beta(summed_cross_entropy, gaussian=False, pixels=784)
    1.0
    """
    return binary_cross_entropy(x_hat, x, reduction="sum") + kl.sum()


def cross_entropy_with_mean_kl(x: Tensor, x_hat: Tensor, kl: Tensor) -> Tensor:
    r"""Pixels summed, KL averaged over latents too: :math:`-\bar L_B(1/d)`.

    fchollet/deep-learning-with-python-notebooks, second_edition/chapter12_part04, `train_step`: d = 2, so 1/2.

    >>> implied_beta(cross_entropy_with_mean_kl, gaussian=False, pixels=784, latents=2)
    0.5
    """
    return binary_cross_entropy(x_hat, x, reduction="sum") / len(x) + kl.mean()


def mean_cross_entropy_with_mean_kl(x: Tensor, x_hat: Tensor, kl: Tensor, *, kl_weight: float = 0.1) -> Tensor:
    r"""Means over pixels and over latents: :math:`-\bar L_B(m w / d) / m`, w the weight.

    google/flax, examples/nnx_toy_examples/05_vae.py:66-70, 134-137: m = 784, d = 32 and w = 0.1, so 2.45. With
    w = 0.001 and d = 2, fchollet/deep-learning-with-python-notebooks, first_edition/8.4: 0.392.

    >>> round(implied_beta(mean_cross_entropy_with_mean_kl, gaussian=False, pixels=784, latents=32), 6)
    2.45
    """
    return binary_cross_entropy(x_hat, x) + kl_weight * kl.mean()


def weighted_mean_cross_entropy(x: Tensor, x_hat: Tensor, kl: Tensor, *, weight: float = 500) -> Tensor:
    r"""A weight on the mean over pixels: :math:`-\frac{w}{m} \bar L_B(m / w)`, w the weight.

    davidADSP/Generative_Deep_Learning_2nd_Edition, notebooks/03_vae/02_vae_fashion: m = 1024, so 2.048. The program
    calls the weight BETA: it is large where beta is small.

    >>> round(implied_beta(weighted_mean_cross_entropy, gaussian=False, pixels=1024), 6)
    2.048
    """
    return weight * binary_cross_entropy(x_hat, x) + kl.sum(dim=-1).mean()


# Squared error at a fixed scale: the Gaussian ELBO of the variance that the weights imply.


def half_squared_error(x: Tensor, x_hat: Tensor, kl: Tensor) -> Tensor:
    r"""Half the squared error: :math:`-\bar L(1) - \frac{m}{2} \ln 2\pi`, so sigma^2 = 1.

    clementchadebec/benchmark_VAE (pythae), src/pythae/models/vae/vae_model.py:99-116, 124-190.

    >>> round(implied_beta(half_squared_error, gaussian=True, pixels=784), 6)
    1.0
    """
    return mse_loss(x_hat, x, reduction="sum") / 2 / len(x) + kl.sum(dim=-1).mean()


def squared_error(x: Tensor, x_hat: Tensor, kl: Tensor, *, beta: float) -> Tensor:
    r"""Squared error without its half: :math:`\beta (-\bar L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2)`.

    It implies sigma^2 = beta / 2. 1Konny/Beta-VAE, solver.py:21-33, 164-168 (beta = 4, or 10 for CelebA: 2 and 5);
    overnap/BS-VAE, model.py:168-186; ParthaEth/Regularized_autoencoders-RAE-, models/std_vae/loss_functions.py:22-36
    (0.312: 0.156).

    >>> from functools import partial
    >>> round(implied_beta(partial(squared_error, beta=4), gaussian=True, pixels=784), 6)
    2.0
    """
    return mse_loss(x_hat, x, reduction="sum") / len(x) + beta * kl.sum(dim=-1).mean()


def scaled_squared_error(x: Tensor, x_hat: Tensor, kl: Tensor, *, beta: float = 1) -> Tensor:
    r"""255 times the squared error: :math:`\beta (-\bar L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2)`.

    It implies sigma^2 = beta / 510. YannDubs/disentangling-vae, disvae/models/losses.py:394-449, option 'gaussian'.

    >>> round(510 * implied_beta(scaled_squared_error, gaussian=True, pixels=784), 6)
    1.0
    """
    return mse_loss(255 * x_hat, 255 * x, reduction="sum") / 255 / len(x) + beta * kl.sum(dim=-1).mean()


def mean_squared_error(x: Tensor, x_hat: Tensor, kl: Tensor, *, kl_weight: float = 0.00025) -> Tensor:
    r"""A mean over pixels: :math:`w (-\bar L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2)`, w the weight.

    It implies sigma^2 = m w / 2: the same weight is another variance for each size of image. AntixK/PyTorch-VAE,
    models/vanilla_vae.py:139-146, configs/vae.yaml: m = 12288, so 1.536; its validation has w = 1, so 6144.

    >>> round(implied_beta(mean_squared_error, gaussian=True, pixels=12_288), 6)
    1.536
    """
    return mse_loss(x_hat, x) + kl_weight * kl.sum(dim=-1).mean()


def mean_squared_error_with_mean_kl(x: Tensor, x_hat: Tensor, kl: Tensor, *, kl_weight: float = 0.1) -> Tensor:
    r"""Means over pixels and latents: :math:`\frac{w}{d} (-\bar L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2)`.

    It implies sigma^2 = m w / (2 d). Lightning-Universe/lightning-bolts,
    src/pl_bolts/models/autoencoders/basic_vae/basic_vae_module.py:131-148: m = 3072, w = 0.1 and d = 256, so 0.6.

    >>> round(implied_beta(mean_squared_error_with_mean_kl, gaussian=True, pixels=3072, latents=256), 6)
    0.6
    """
    return mse_loss(x_hat, x) + kl_weight * kl.mean()


def weighted_mean_squared_error(x: Tensor, x_hat: Tensor, kl: Tensor, *, weight: float = 2000) -> Tensor:
    r"""A weight on the mean over pixels: :math:`-\bar L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2`.

    It implies sigma^2 = m / (2 w), w the weight. davidADSP/Generative_Deep_Learning_2nd_Edition,
    notebooks/03_vae/03_vae_faces: m = 3072, so 0.768.

    >>> round(implied_beta(weighted_mean_squared_error, gaussian=True, pixels=3072), 6)
    0.768
    """
    return weight * mse_loss(x_hat, x) + kl.sum(dim=-1).mean()


def batch_mean_squared_error(x: Tensor, x_hat: Tensor, kl: Tensor) -> Tensor:
    r"""A mean over the batch beside a sum: :math:`B (-\bar L(\sigma^2) - \frac{m}{2} \ln 2\pi\sigma^2)`.

    It implies sigma^2 = B m / 2, which grows with the batch. orybkin/sigma-vae-pytorch, model.py:107-149, `mse_vae`,
    there to show what goes wrong: B = 128 and m = 2352, so 150528.

    >>> [round(implied_beta(batch_mean_squared_error, gaussian=True, pixels=2352, batch=B), 3) for B in (1, 128)]
    [1176.0, 150528.0]
    """
    return mse_loss(x_hat, x) + kl.sum()


# Squared error at its best scale: the variance is a statistic of the batch or of the image.


def batch_log_error(x: Tensor, x_hat: Tensor, kl: Tensor) -> Tensor:
    r""":math:`-B \bar L(\sigma^2)` at its maximum over sigma^2, the mean squared error of the batch.

    orybkin/sigma-vae-pytorch, model.py:107-149, `optimal_sigma_vae`, without its soft clip of ln sigma at -6 (Rybkin et
    al. 2021). Its gradient is that of the ELBO with this sigma^2 held constant.

    >>> x, x_hat, kl = torch.rand(2, 6), torch.rand(2, 6), torch.rand(2, 3)
    >>> sigma = (x - x_hat).square().mean().sqrt()
    >>> log_px_z = torch.distributions.Normal(x_hat, sigma).log_prob(x)
    >>> torch.allclose(batch_log_error(x, x_hat, kl), -log_px_z.sum() + kl.sum())
    True
    """
    return x.numel() / 2 * (1 + (2 * math.pi * mse_loss(x_hat, x)).log()) + kl.sum()


def image_log_error(x: Tensor, x_hat: Tensor, kl: Tensor, *, beta: float = 1, epsilon: float = 1e-5) -> Tensor:
    r""":math:`-\bar L(\sigma^2, \beta)` at its maximum over one sigma^2 per image, if epsilon is 0.

    overnap/BS-VAE, model.py:168-186. Its gradient is that of the bound with :math:`\sigma^2 = MSE + \epsilon / 2\pi`
    held constant, MSE that of the image: epsilon is a floor.

    >>> x, x_hat, kl = torch.rand(2, 6), torch.rand(2, 6), torch.rand(2, 3)
    >>> sigma = (x - x_hat).square().mean(dim=-1, keepdim=True).sqrt()
    >>> elbo = torch.distributions.Normal(x_hat, sigma).log_prob(x).sum(dim=-1) - kl.sum(dim=-1)
    >>> torch.allclose(image_log_error(x, x_hat, kl, epsilon=0), -elbo.mean())
    True
    """
    mse = (x - x_hat).square().mean(dim=-1)  # [B]
    return x.shape[-1] / 2 * (1 + (2 * math.pi * mse + epsilon).log()).mean() + beta * kl.sum(dim=-1).mean()


def implied_beta(
    recipe: Callable[[Tensor, Tensor, Tensor], Tensor], *, gaussian: bool, pixels: int, latents: int = 2, batch: int = 2
) -> float:
    r"""The weight of the KL beside a negative log-likelihood, read off the gradients of a recipe in float64.

    For a Gaussian likelihood that is :math:`\frac12 SSE`, so the weight is also the implied variance. Raises ValueError
    where the loss is not such a sum.

    >>> def loss(x, x_hat, kl):
    ...     return (x - x_hat).square().sum() + kl.sum()
    >>> round(implied_beta(loss, gaussian=True, pixels=784), 6)  # sigma is 1 / sqrt(2), whoever chose it
    0.5
    """
    with seeded(0):
        x, x_hat = torch.rand(2, batch, pixels, dtype=torch.float64)
    x_hat, kl = x_hat.requires_grad_(), torch.ones(batch, latents, dtype=torch.float64, requires_grad=True)
    by_x_hat, by_kl = torch.autograd.grad(recipe(x, x_hat, kl), (x_hat, kl))
    slope = (x_hat - x) / (1 if gaussian else x_hat * (1 - x_hat))  # of the negative log-likelihood
    scale = (by_x_hat * slope).sum() / slope.square().sum()
    if not torch.allclose(by_x_hat, scale * slope, rtol=1e-9) or not torch.allclose(by_kl, by_kl[0, 0], rtol=1e-9):
        raise ValueError(f"{recipe} is no weighted sum of a log-likelihood and a KL")
    return (by_kl[0, 0] / scale).item()
