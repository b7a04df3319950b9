r"""Measures behind the profiles: the bound on images that were trained on, set aside, and never seen, and the scale."""

from contextlib import suppress

import torch
from torch import Tensor

from vaelib.data import Images
from vaelib.diagnostics.samples import mse_per_pixel
from vaelib.diagnostics.variance import error_split
from vaelib.linear import SharedLinearGaussian
from vaelib.objectives import elbo_nats
from vaelib.pca import ppca, spectrum
from vaelib.sampling import reconstructions, sampled_codes
from vaelib.seeding import seeded
from vaelib.study.aside import AsideExperiment, set_aside
from vaelib.study.experiment import VaeExperiment
from vaelib.vae import VAE

#: Images of each kind at most, evenly over all of them, and draws of the code for each.
SPLIT_IMAGES, SPLIT_DRAWS = 1_000, 8
#: Images behind the budget; the mean image of some likelihoods has to be drawn.
BUDGET_IMAGES = 1_000


@torch.no_grad()
def bounds_by_split(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images) -> dict[str, float]:
    """The ELBO on images trained on and on test images, with weight 1 on the KL, nats: mean and median over images.

    Where a tenth was set aside, on these too. `train_mse` is that of reconstructions of images trained on, per pixel.
    """
    kinds = {"train": experiment.examples(train)[0], "test": test.images}
    if isinstance(experiment, AsideExperiment):
        kinds["aside"] = set_aside(train).images
    few = {kind: images[:: max(1, len(images) // SPLIT_IMAGES)] for kind, images in kinds.items()}
    found = {"train_mse": mse_per_pixel(few["train"], reconstructions(vae, few["train"]))}
    for kind, images in few.items():
        values = _bound(vae, experiment, images)
        found |= {f"{kind}_bound": values.mean().item(), f"{kind}_bound_median": values.median().item()}
    return found


@torch.no_grad()
def budget(vae: VAE, *, experiment: VaeExperiment, train: Images) -> dict[str, float]:
    """The variance of images trained on by the mean images of codes drawn from q(z|x), as shares of it.

    `code_explains` is the variance of the mean images, `left_over` one minus the squared error; they differ by `cross`
    and `bias`, which are 0 for a conditional mean. `stated_over_error` is the noise that the likelihood states over the
    squared error that it makes; a likelihood without a closed variance has none.
    """
    images = experiment.examples(train)[0]
    x = experiment.pixels(images[:: max(1, len(images) // BUDGET_IMAGES)])
    with seeded(experiment.seed):
        px_z = vae.likelihood(sampled_codes(vae, x))
    split = error_split(x, px_z.mean)
    found = {
        "code_explains": split.explained / split.total,
        "left_over": 1 - split.squared_error / split.total,
        "cross": split.cross / split.total,
        "bias": split.bias / split.total,
    }
    with suppress(NotImplementedError):
        found["stated_over_error"] = px_z.variance.double().mean(dim=0).sum().item() / split.squared_error
    return found


@torch.no_grad()
def linear_scale(vae: VAE, *, train: Images) -> dict[str, float]:
    r""":math:`\mathrm{tr}\, W W^T`, the variance that a trained linear VAE gives to the code, over that of pPCA."""
    exact = ppca(spectrum(train.images), latent_dim=vae.latent_dim)
    assert isinstance(vae.head, SharedLinearGaussian)
    return {"trace_ratio": (vae.head.mu.weight.double().square().sum() / exact.W.square().sum()).item()}


def _bound(vae: VAE, experiment: VaeExperiment, images: Tensor) -> Tensor:
    """The ELBO of each image, mean over draws of its code and of its noise, `[N]`."""
    with seeded(experiment.seed):
        return torch.stack([elbo_nats(vae, experiment.pixels(images)) for _ in range(SPLIT_DRAWS)]).double().mean(dim=0)
