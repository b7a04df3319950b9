r"""One panel of numbers per model, on the test split, computed once and kept beside the weights."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

from vaelib import data
from vaelib.diagnostics.latent import active_units, aggregate_variance, code_means
from vaelib.diagnostics.samples import features, frechet_distance, label_change_rate, mse_per_pixel, precision_recall
from vaelib.objectives import elbo_terms
from vaelib.pca import fit_pca, pca_reconstructions
from vaelib.sampling import ancestral_sampling, deterministic_sampling, reconstructions
from vaelib.seeding import seeded
from vaelib.study.cache import Entry, cache_folder, remembered
from vaelib.study.classifier import Classifier, ClassifierExperiment, blur
from vaelib.study.experiment import VaeExperiment
from vaelib.study.provenance import code_digest, digest
from vaelib.study.trained import fetch


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What is measured of every VAE; test split, and as many samples as test images.

    `mse` and the two `prior_mean` numbers are per pixel; the variances of codes are means over dimensions;
    `prior_mean_variance` is the variance of mu_x(z) over z from the prior, `prior_mean_distance` its mean squared
    distance from the mean training image. Terms of the ELBO are one-sample estimates in nats.
    """

    mse: float
    label_change_rate: float
    log_px_z_nats: float
    median_log_px_z_nats: float
    kl_nats: float
    active_units: int
    posterior_variance: float
    aggregate_variance: float
    prior_mean_variance: float
    prior_mean_distance: float
    frechet_ancestral: float
    frechet_deterministic: float
    frechet_reconstructions: float
    precision_ancestral: float
    recall_ancestral: float
    precision_deterministic: float
    recall_deterministic: float


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The same yardsticks without a VAE: what the data, the mean image and PCA score on the test split.

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


#: Sizes of the linear codes that the models are held against.
PCA_DIMS = (1, 2, 5, 10, 20, 50, 100, 250)
#: How much real images are spoiled to see whether the yardstick sees it: noise, and blur in pixels.
NOISES, BLURS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0), (0.5, 0.7, 1.0, 1.5, 2.0)
CLASSIFIER_EPOCHS = {"quick": 40, "full": 8, "fashion": 8}


def yardstick(profile: str) -> ClassifierExperiment:
    """The experiment behind the classifier of a profile: one for all models, so its seed is always 0."""
    return ClassifierExperiment(
        name="classifier",
        purpose="the yardstick of samples",
        profile=profile,
        epochs=CLASSIFIER_EPOCHS[profile],
    )


def panel(experiment: VaeExperiment, *, cache: Path | str | None = None) -> Panel:
    """The measurements of one model, from the cache or computed; trains the model if it is not there."""
    return Panel(**measured(_panel, experiment, cache=cache))


def measured(
    measure: Callable[[VaeExperiment, Path | str | None], dict[str, Any]],
    experiment: VaeExperiment,
    *,
    cache: Path | str | None = None,
) -> dict[str, Any]:
    """`measure(experiment, cache)`, a JSON value, remembered until the model or the code of the measure changes."""
    depends = {
        "measure": measure.__name__,
        "code": code_digest(measure.__module__),
        "model": experiment.key,
        "classifier": yardstick(experiment.profile).key,
    }
    entry = Entry(cache_folder(cache) / "measurements", digest(depends))
    return remembered(entry, lambda: {"name": experiment.name, "value": measure(experiment, cache)})["value"]


def reference(profile: str, *, cache: Path | str | None = None) -> Reference:
    """The yardsticks of a profile, from the cache or computed."""
    depends = {"reference": profile, "code": code_digest(__name__), "classifier": yardstick(profile).key}
    entry = Entry(cache_folder(cache) / "measurements", digest(depends))
    return Reference(**remembered(entry, lambda: {"value": asdict(_refer(profile, cache))})["value"])


def classifier(profile: str, *, cache: Path | str | None = None) -> Classifier:
    """The fixed classifier of a profile, loaded or trained."""
    return cast(
        Classifier,
        fetch(yardstick(profile), cache=cache, report=_silently).model,
    )


@torch.no_grad()
def _panel(experiment: VaeExperiment, cache: Path | str | None) -> dict[str, Any]:
    vae = fetch(experiment, cache=cache, report=_silently).vae
    judge = classifier(experiment.profile, cache=cache)
    digits = data.load(experiment.profile)
    train, x = digits.train.only(experiment.digit).images, digits.test.only(experiment.digit).images
    x_hat = reconstructions(vae, x)
    with seeded(experiment.seed):
        terms = elbo_terms(vae, experiment.pixels(x))
    with seeded(experiment.seed):
        ancestral = features(judge, ancestral_sampling(vae, len(x)))
    with seeded(experiment.seed):
        means = deterministic_sampling(vae, len(x))
    deterministic = features(judge, means)
    real = features(judge, x)
    quality_ancestral = precision_recall(real, ancestral)
    quality_deterministic = precision_recall(real, deterministic)
    return asdict(
        Panel(
            mse=mse_per_pixel(x, x_hat),
            label_change_rate=label_change_rate(judge, x, x_hat),
            log_px_z_nats=terms.log_px_z.mean().item(),
            median_log_px_z_nats=terms.log_px_z.median().item(),
            kl_nats=terms.kl.mean().item(),
            active_units=active_units(code_means(vae, x)),
            posterior_variance=vae.posterior(x).variance.mean().item(),
            aggregate_variance=aggregate_variance(vae, x).mean().item(),
            prior_mean_variance=means.var(dim=0).mean().item(),
            prior_mean_distance=mse_per_pixel(means, train.mean(dim=0)),
            frechet_ancestral=frechet_distance(real, ancestral),
            frechet_deterministic=frechet_distance(real, deterministic),
            frechet_reconstructions=frechet_distance(real, features(judge, x_hat)),
            precision_ancestral=quality_ancestral.precision,
            recall_ancestral=quality_ancestral.recall,
            precision_deterministic=quality_deterministic.precision,
            recall_deterministic=quality_deterministic.recall,
        )
    )


@torch.no_grad()
def _refer(profile: str, cache: Path | str | None) -> Reference:
    digits = data.load(profile)
    judge = classifier(profile, cache=cache)
    with seeded(0):
        real = digits.train.images[torch.randperm(len(digits.train))[: len(digits.test)]]
        noisy = {f"{sigma:g}": real + sigma * torch.randn_like(real) for sigma in NOISES}
    blurred = {f"{width:g}": blur(real, width=width) for width in BLURS}
    test, train = features(judge, digits.test.images), features(judge, real)
    x = digits.test.images
    pcas = {d: fit_pca(digits.train.images, latent_dim=d) for d in PCA_DIMS}
    return Reference(
        test_accuracy=(judge.labels(x) == digits.test.labels).double().mean().item(),
        frechet_train=frechet_distance(test, train),
        precision_train=precision_recall(test, train).precision,
        recall_train=precision_recall(test, train).recall,
        frechet_noise={name: frechet_distance(test, features(judge, images)) for name, images in noisy.items()},
        frechet_blur={name: frechet_distance(test, features(judge, images)) for name, images in blurred.items()},
        precision_noise={
            name: precision_recall(test, features(judge, images)).precision for name, images in noisy.items()
        },
        label_change_blur={name: label_change_rate(judge, real, images) for name, images in blurred.items()},
        mse_mean_image=mse_per_pixel(x, digits.train.images.mean(dim=0)),
        mse_pca={str(d): mse_per_pixel(x, pca_reconstructions(pca, x)) for d, pca in pcas.items()},
    )


def _silently(line: str) -> None:
    """Reports nothing: what a measurement loads is not news."""
