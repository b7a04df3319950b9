r"""The same measures without a VAE: what the data, the mean image and PCA score."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from vaelib.data import Images
from vaelib.diagnostics.samples import features, frechet_distance, label_change_rate, mse_per_pixel, precision_recall
from vaelib.pca import fit_pca, pca_codes, pca_reconstructions
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier, blur
from vaelib.study.measures.codes import few_label_accuracies
from vaelib.study.measures.measured import Cache, measured_data

#: Sizes of the linear codes that the models are held against, and that of the codes with few labels.
PCA_DIMS, CODES_DIM = (1, 2, 5, 10, 20, 50, 100, 250), 20
#: How much real images are spoiled to see whether the classifier sees it: noise, and blur in pixels.
NOISES, BLURS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0), (0.5, 0.7, 1.0, 1.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What the data, the mean image and PCA score on the test split.

    The Frechet distances are those of as many training images as there are test images: as they are, with independent
    noise of a standard deviation, and blurred by a width in pixels; so are the precisions and the label changes.
    """

    test_accuracy: float
    frechet_train: float
    precision_train: float
    recall_train: float
    frechet_noise: dict[str, float]
    frechet_blur: dict[str, float]
    precision_noise: dict[str, float]
    label_change_blur: dict[str, float]
    mse_mean_image: float
    mse_pca: dict[str, float]


def baselines(profile: str, *, cache: Cache = None) -> Baselines:
    """The baselines of a profile, from the cache or computed."""
    return Baselines(**measured_data(score_data, profile, cache=cache))


def few_label_baselines(profile: str, *, cache: Cache = None) -> dict[str, list[list[float]]]:
    """Accuracies `[draws, counts]` on raw pixels and on PCA codes, as `few_labels` has them on those of a VAE."""
    return measured_data(label_data, profile, cache=cache)


@torch.no_grad()
def score_data(*, train: Images, test: Images, classifier: Classifier) -> dict[str, Any]:
    """The fields of `Baselines`."""
    x, labels, shape = test.images, test.labels, test.shape
    assert labels is not None
    with seeded(0):
        real = train.images[torch.randperm(len(train))[: len(test)]]
        noisy = {f"{sigma:g}": real + sigma * torch.randn_like(real) for sigma in NOISES}
    blurred = {f"{width:g}": blur(real, width=width, shape=shape) for width in BLURS}
    seen, as_they_are = features(classifier, x), features(classifier, real)
    pcas = {d: fit_pca(train.images, latent_dim=d) for d in PCA_DIMS}
    quality = precision_recall(seen, as_they_are)
    return asdict(
        Baselines(
            test_accuracy=(classifier.labels(x) == labels).double().mean().item(),
            frechet_train=frechet_distance(seen, as_they_are),
            precision_train=quality.precision,
            recall_train=quality.recall,
            frechet_noise={name: frechet_distance(seen, features(classifier, im)) for name, im in noisy.items()},
            frechet_blur={name: frechet_distance(seen, features(classifier, im)) for name, im in blurred.items()},
            precision_noise={n: precision_recall(seen, features(classifier, im)).precision for n, im in noisy.items()},
            label_change_blur={name: label_change_rate(classifier, real, im) for name, im in blurred.items()},
            mse_mean_image=mse_per_pixel(x, train.images.mean(dim=0)),
            mse_pca={str(d): mse_per_pixel(x, pca_reconstructions(pca, x)) for d, pca in pcas.items()},
        )
    )


def label_data(*, train: Images, test: Images) -> dict[str, list[list[float]]]:
    """Few labels on raw pixels and on PCA codes."""
    pca = fit_pca(train.images, latent_dim=CODES_DIM)
    kinds = {
        "pixels": (train.images, test.images),
        "PCA": (pca_codes(pca, train.images), pca_codes(pca, test.images)),
    }
    return {name: few_label_accuracies(*pair, train, test) for name, pair in kinds.items()}
