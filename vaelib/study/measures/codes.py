r"""Measures of codes: what they say of the image, how the variance is split, and what can be learned from them."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vaelib.data import Images
from vaelib.diagnostics.latent import code_means, collapsed_dimensions, elbo_surgery, kl_per_dimension_nats
from vaelib.diagnostics.variance import covariance_share, residual_draws, variance_budget
from vaelib.priors import StandardNormal
from vaelib.sampling import sampled_codes
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.vae import VAE

#: (epsilon, delta) of posterior collapse: the KL of a dimension is below epsilon nats for a share 1 - delta of images.
COLLAPSE_EPSILON, COLLAPSE_DELTA = 0.01, 0.01
#: Test images whose residuals are held against their mean images, and pairs of draws for each in the model's own.
RESIDUAL_IMAGES, RESIDUAL_PAIRS = 1_000, 8
#: Labelled images, and random choices of them.
LABEL_COUNTS, LABEL_DRAWS = (100, 300, 1_000, 3_000), 5


@torch.no_grad()
def latent(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """The rate, which is the mean KL in nats, and its parts, mutual information and mismatch of the aggregate posterior
    from p(z), over the test images; and, under N(0, I), the number of (epsilon, delta)-collapsed dimensions.
    """
    with seeded(experiment.seed):
        surgery = elbo_surgery(vae, test.images)
    found = {
        "rate_nats": surgery.kl,
        "mutual_information_nats": surgery.mutual_information,
        "mutual_information_upper_nats": surgery.mutual_information_upper,
        "mismatch_nats": surgery.aggregate_mismatch,
    }
    if isinstance(vae.code_prior, StandardNormal):
        kl = kl_per_dimension_nats(vae, test.images)
        found["collapsed"] = collapsed_dimensions(kl, epsilon=COLLAPSE_EPSILON, delta=COLLAPSE_DELTA)
    return found


@torch.no_grad()
def encoder_path(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """Mean sigma_z on test images before training and after it, and the spread (standard deviation) of mu_z after."""
    with seeded(experiment.seed):
        untrained = experiment.build(test.shape)
    qz_x = vae.posterior(test.images)
    return {
        "start": untrained.posterior(test.images).stddev.mean().item(),
        "end": qz_x.stddev.mean().item(),
        "spread": qz_x.mean.std(dim=0).mean().item(),
    }


@torch.no_grad()
def variance(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """The variance budget under the prior and under the aggregate posterior, and the shares of equation 5.7.

    The residuals of the data are x minus the mean image of a code drawn from q(z|x), test images.
    """
    x = test.images
    with seeded(experiment.seed):
        z, prior = sampled_codes(vae, experiment.pixels(x)), vae.prior.sample((len(x),))
        aggregate, generated = variance_budget(vae, z), variance_budget(vae, prior)
        return {
            "explained": aggregate.explained,
            "noise": aggregate.noise,
            "prior_explained": generated.explained,
            "prior_noise": generated.noise,
            "covariance_residuals": covariance_share(x[:RESIDUAL_IMAGES] - vae.likelihood(z[:RESIDUAL_IMAGES]).mean),
            "covariance_model_residuals": covariance_share(
                residual_draws(vae, z[:RESIDUAL_IMAGES], pairs=RESIDUAL_PAIRS)
            ),
            "covariance_samples": covariance_share(vae.likelihood(prior).sample()),
            "covariance_data": covariance_share(x),
            "data": x.double().var(dim=0).sum().item(),
        }


@torch.no_grad()
def few_labels(vae: VAE, *, train: Images, test: Images) -> dict[str, list[list[float]]]:
    """Accuracies `[draws, counts]` of a classifier on mean codes, which were learned without labels."""
    codes, test_codes = (code_means(vae, part.images) for part in (train, test))
    return {"accuracy": few_label_accuracies(codes, test_codes, train, test)}


def few_label_accuracies(features: Tensor, test_features: Tensor, train: Images, test: Images) -> list[list[float]]:
    """Test accuracy of multinomial logistic regression on features `[N, k]`, by random choice and number of labels.

    The same labelled images serve all features. Raises ValueError where the images have no labels.
    """
    if train.labels is None or test.labels is None:
        raise ValueError("these images have no labels to learn from")
    return [
        [_accuracy(features, train.labels, test_features, test.labels, count, draw) for count in LABEL_COUNTS]
        for draw in range(LABEL_DRAWS)
    ]


def _accuracy(
    features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor, count: int, seed: int
) -> float:
    """From `count` examples, chosen so that each label has its share."""
    chosen, _ = train_test_split(np.arange(len(features)), train_size=count, stratify=labels, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # separable features: stopping early is a regulariser
        model.fit(features[chosen].numpy(), labels[chosen].numpy())
    return float(model.score(test_features.numpy(), test_labels.numpy()))
