r"""What real images score where a claim asks a model: the things that a criterion must accept, and must not.

Noise, blur, other images in the place of reconstructions, few images in the place of many, codes that are linear or
random: a criterion that real images meet, or that what is plainly so misses, says nothing of a model.
"""

import torch
from torch import Tensor

from vaelib.data import Images
from vaelib.diagnostics.latent import mean_absolute_correlation
from vaelib.diagnostics.samples import features
from vaelib.diagnostics.variance import neighbour_correlation, pixel_covariance
from vaelib.linear import beta_elbo_nats_exact, evidence_nats, optimal_posterior
from vaelib.pca import (
    active_directions,
    eigenvalues,
    fit_pca,
    optimal_decoder,
    optimal_kl_nats,
    pca_codes,
    pca_reconstructions,
    spectrum,
)
from vaelib.sampling import sampled_codes
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier, blur
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures.baselines import CODES_DIM
from vaelib.study.measures.codes import few_label_accuracies
from vaelib.study.measures.judged import Judges, verdict
from vaelib.study.measures.structure import edges_over, label_changes, pairs
from vaelib.vae import VAE

#: The width of a blur that nobody overlooks, in pixels; how many images stand for all where there is no variety.
BLUR, FEW = 1.0, 10


@torch.no_grad()
def recognised_controls(*, train: Images, test: Images, judges: Judges) -> dict[str, dict[str, list[float]]]:
    """`recognised` of what stands in the place of a reconstruction: the image blurred, another one, another blurred."""
    x, other = pairs(test, seed=0)
    assert len(test.shape) == 2
    stand_ins = {
        "the image, blurred": blur(x, width=BLUR, shape=test.shape),
        "another image": other,
        "another image, blurred": blur(other, width=BLUR, shape=test.shape),
    }
    return {
        name: label_changes(x, images, judges) | {"edges": [edges_over(images, test)]}
        for name, images in stand_ins.items()
    }


@torch.no_grad()
def sample_controls(*, train: Images, test: Images, judges: Judges) -> dict[str, dict[str, list[float]]]:
    """What `judged` says of images that are no samples of a model: few real ones repeated; draws of one Normal with
    the mean and covariance of the images; half-way between two images, and between their codes by PCA.
    """
    with seeded(0):
        few = train.images[torch.randperm(len(train))[:FEW]].repeat(-(-len(test) // FEW), 1)[: len(test)]
        drawn = _normal_draws(train.images, len(test))
    one, other = pairs(test, seed=0)
    pca = fit_pca(train.images, latent_dim=CODES_DIM)
    shown = {
        f"{FEW} images, repeated": few,
        "draws of a Normal": drawn,
        "half-way between images": (one + other) / 2,
        "half-way by PCA": pca_reconstructions(pca, (one + other) / 2),
    }
    return {name: verdict(images, test.images, judges) for name, images in shown.items()}


@torch.no_grad()
def blurred_and_noisy(
    vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, judges: Judges
) -> dict[str, list[float]]:
    """What `judged` says of images half-way between two, by PCA, with noise of the model's own sigma: poor images, as
    the model would draw them. Raises AttributeError for a likelihood without a standard deviation of its own.
    """
    one, other = pairs(test, seed=0)
    images = pca_reconstructions(fit_pca(train.images, latent_dim=CODES_DIM), (one + other) / 2)
    with seeded(experiment.seed):
        sigma = vae.likelihood(sampled_codes(vae, experiment.pixels(one))).stddev
        found = verdict(images + sigma * torch.randn_like(images), test.images, judges)
    return {f"blurred_and_noisy_{name}": values for name, values in found.items()}


def _normal_draws(images: Tensor, count: int) -> Tensor:
    """From the Normal with mean and covariance of images `[N, m]`."""
    x = images.double()
    weights = torch.randn(count, len(x), dtype=torch.double) / (len(x) - 1) ** 0.5
    return (x.mean(dim=0) + weights @ (x - x.mean(dim=0))).float()


@torch.no_grad()
def structure_controls(*, train: Images, test: Images) -> dict[str, float]:
    """Correlation of neighbours, and sum of covariances over that of the images, of the images themselves and of images
    whose pixels come from different ones each; correlation of codes by PCA, and of these turned at random.
    """
    x = test.images
    with seeded(0):
        apart = torch.stack([column[torch.randperm(len(x))] for column in x.T], dim=1)
        turn = torch.linalg.qr(torch.randn(CODES_DIM, CODES_DIM)).Q
        noise = 0.3 * torch.randn_like(x)
    codes = pca_codes(fit_pca(train.images, latent_dim=CODES_DIM), x)
    return {
        "neighbours": neighbour_correlation(x, shape=test.shape),
        "neighbours_apart": neighbour_correlation(apart, shape=test.shape),
        "covariance_apart": pixel_covariance(apart) / pixel_covariance(x),
        "covariance_noisy": pixel_covariance(x + noise) / pixel_covariance(x),
        "codes_pca": mean_absolute_correlation(codes),
        "codes_turned": mean_absolute_correlation(codes @ turn),
    }


@torch.no_grad()
def linear_theory(*, train: Images, test: Images) -> dict[str, dict[str, float]]:
    """What the best linear VAE with sigma = 1 has at each weight: KL in nats, active directions, both of at most 20."""
    found = eigenvalues(train.images)
    return {
        f"{beta:g}": {
            "kl_nats": optimal_kl_nats(found[:CODES_DIM], beta=beta, sigma=1.0).sum().item(),
            "active": float(min(CODES_DIM, active_directions(found, beta=beta, sigma=1.0))),
            "largest_over_beta": (found[0] / beta).item(),
        }
        for beta in (0.01, 0.1, 0.5, 1.0, 6.0)
    }


@torch.no_grad()
def linear_bound(*, train: Images, test: Images) -> dict[str, float]:
    """Share of test images whose objective exceeds ln p(x) with sigma = 1 by more than rounding, at the best linear VAE
    with d = 2, for two weights: without a weight it never does.
    """
    x, data = test.images.double(), spectrum(train.images.double())
    found = {}
    for beta in (0.01, 1.0):
        W, b = optimal_decoder(data, latent_dim=2, sigma=1.0, beta=beta)
        qz_x = optimal_posterior(x, W, b, beta**0.5)
        above = beta_elbo_nats_exact(qz_x, x, W, b, 1.0, beta=beta) - evidence_nats(x, W, b, 1.0)
        found[f"{beta:g}"] = (above > 1e-6).double().mean().item()
    return found


@torch.no_grad()
def label_controls(*, train: Images, test: Images, classifier: Classifier) -> dict[str, list[list[float]]]:
    """`few_labels` on features that were learned from all labels, and on as many random projections of the pixels."""
    learned = [torch.from_numpy(features(classifier, part.images)) for part in (train, test)]
    with seeded(0):
        turn = torch.randn(train.images.shape[1], CODES_DIM)
    random = [part.images @ turn for part in (train, test)]
    return {
        "learned from labels": few_label_accuracies(learned[0], learned[1], train, test),
        "random projections": few_label_accuracies(random[0], random[1], train, test),
    }
