r"""Practical uses of section 5.1.2, measured: compression, and classification from few labels."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vaelib import data
from vaelib.diagnostics.latent import code_means
from vaelib.pca import fit_pca, pca_codes
from vaelib.study.cache import Entry, cache_folder, remembered
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measurements import panel
from vaelib.study.provenance import code_digest, digest
from vaelib.study.trained import fetch

#: Labelled images, and random choices of them.
LABEL_COUNTS = (100, 300, 1_000, 3_000)
LABEL_DRAWS = 5


def mse_by_size(experiments: Iterable[VaeExperiment], *, cache: Path | str | None = None) -> dict[int, list[float]]:
    """Test MSE per pixel of each run, grouped by latent dimension: what a code of that many numbers leaves over."""
    grouped: dict[int, list[float]] = {}
    for experiment in experiments:
        grouped.setdefault(experiment.latent_dim, []).append(panel(experiment, cache=cache).mse)
    return grouped


def few_label_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    labels: int,
    seed: int,
) -> float:
    """Test accuracy of multinomial logistic regression on features `[N, k]`, fitted to `labels` stratified examples."""
    chosen, _ = train_test_split(
        np.arange(len(train)),
        train_size=labels,
        stratify=train_labels,
        random_state=seed,
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # separable features: stopping early is a regulariser
        model.fit(train[chosen].numpy(), train_labels[chosen].numpy())
    return float(model.score(test.numpy(), test_labels.numpy()))


def few_label_curves(
    experiments: Sequence[VaeExperiment], *, cache: Path | str | None = None
) -> dict[str, list[list[float]]]:
    """Accuracies `[draws, counts]` on raw pixels, on PCA codes and on the mean codes of each VAE, by name.

    The codes are learned from all training images without labels; PCA has as many components as the first VAE. The
    same labelled images serve all features. Remembered in the cache.
    """
    keys = [experiment.key for experiment in experiments]
    entry = Entry(
        cache_folder(cache) / "measurements",
        digest({"few labels": keys, "code": code_digest(__name__)}),
    )
    return remembered(entry, lambda: {"accuracy": _measure(experiments, cache)})["accuracy"]


def _measure(experiments: Sequence[VaeExperiment], cache: Path | str | None) -> dict[str, list[list[float]]]:
    digits = data.load(experiments[0].profile)
    pca = fit_pca(digits.train.images, latent_dim=experiments[0].latent_dim)
    features: dict[str, tuple[Tensor, Tensor]] = {
        "pixels": (digits.train.images, digits.test.images),
        "PCA": (
            pca_codes(pca, digits.train.images),
            pca_codes(pca, digits.test.images),
        ),
    }
    for experiment in experiments:
        vae = fetch(experiment, cache=cache, report=lambda line: None).vae
        with torch.no_grad():
            features |= {
                experiment.name: (
                    code_means(vae, digits.train.images),
                    code_means(vae, digits.test.images),
                )
            }
    return {
        name: [
            [
                few_label_accuracy(
                    train,
                    digits.train.labels,
                    test,
                    digits.test.labels,
                    labels=count,
                    seed=draw,
                )
                for count in LABEL_COUNTS
            ]
            for draw in range(LABEL_DRAWS)
        ]
        for name, (train, test) in features.items()
    }
