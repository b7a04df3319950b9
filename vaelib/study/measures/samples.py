r"""Measures of reconstructions and samples: what every model is measured by, and what changes the samples."""

import torch
from torch import Tensor

from vaelib.data import Images
from vaelib.diagnostics.latent import active_units, aggregate_variance, code_means
from vaelib.diagnostics.samples import (
    features,
    frechet_distance,
    label_change_rate,
    mse_per_pixel,
    precision_recall,
)
from vaelib.objectives import elbo_terms
from vaelib.priors import SmoothedPosterior, fit_neighbours
from vaelib.readings import with_prior
from vaelib.sampling import (
    ancestral_sampling,
    deterministic_sampling,
    quantile_images,
    reconstructions,
    sampled_codes,
)
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier
from vaelib.study.experiment import VaeExperiment
from vaelib.vae import VAE

ALPHAS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
#: Of the prior that is fitted to codes after training: how many codes a component is made of. With so many, codes of
#: training images that were set aside were within 0.1 nats of the most likely, for four models and in both profiles.
NEIGHBOURS = 50


@torch.no_grad()
def summary(
    vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, classifier: Classifier
) -> dict[str, float]:
    """What is measured of every VAE; test split, and as many samples as test images.

    `mse` and the two `prior_mean` numbers are per pixel; the variances of codes are means over dimensions;
    `prior_mean_variance` is the variance of mu_x(z) over z from the prior, `prior_mean_distance` its mean squared
    distance from the mean training image. Terms of the ELBO are one-sample estimates in nats.
    """
    x = test.images
    x_hat = reconstructions(vae, x)
    with seeded(experiment.seed):
        terms = elbo_terms(vae, experiment.pixels(x))
    with seeded(experiment.seed):
        ancestral = features(classifier, ancestral_sampling(vae, len(x)))
    with seeded(experiment.seed):
        means = deterministic_sampling(vae, len(x))
    deterministic, real = features(classifier, means), features(classifier, x)
    quality = {"ancestral": precision_recall(real, ancestral), "deterministic": precision_recall(real, deterministic)}
    return {
        "mse": mse_per_pixel(x, x_hat),
        "label_change_rate": label_change_rate(classifier, x, x_hat),
        "log_px_z_nats": terms.log_px_z.mean().item(),
        "median_log_px_z_nats": terms.log_px_z.median().item(),
        "kl_nats": terms.kl.mean().item(),
        "active_units": active_units(code_means(vae, x)),
        "posterior_variance": vae.posterior(x).variance.mean().item(),
        "aggregate_variance": aggregate_variance(vae, x).mean().item(),
        "prior_mean_variance": means.var(dim=0).mean().item(),
        "prior_mean_distance": mse_per_pixel(means, train.images.mean(dim=0)),
        "frechet_ancestral": frechet_distance(real, ancestral),
        "frechet_deterministic": frechet_distance(real, deterministic),
        "frechet_reconstructions": frechet_distance(real, features(classifier, x_hat)),
        **{f"precision_{kind}": found.precision for kind, found in quality.items()},
        **{f"recall_{kind}": found.recall for kind, found in quality.items()},
    }


@torch.no_grad()
def alpha_frechet(vae: VAE, *, experiment: VaeExperiment, test: Images, classifier: Classifier) -> dict[str, float]:
    r"""Frechet distance of :math:`\mu_x(z) + \alpha\,\sigma_x(z)`, cut to [0, 1], for each alpha and the same z."""
    real = features(classifier, test.images)

    def draw(alpha: float) -> Tensor:
        with seeded(experiment.seed):
            return quantile_images(vae, len(test), alpha=alpha).clamp(0, 1)

    return {f"{alpha:g}": frechet_distance(real, features(classifier, draw(alpha))) for alpha in ALPHAS}


def smoothed_prior(vae: VAE, *, experiment: VaeExperiment, train: Images) -> SmoothedPosterior:
    """The prior that is fitted to the codes of all training images, the same way for every model."""
    return fit_neighbours(vae.posterior(experiment.pixels(train.images)), neighbours=min(NEIGHBOURS, len(train)))


@torch.no_grad()
def fitted_prior(
    vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, classifier: Classifier
) -> dict[str, float]:
    r"""A prior r(z) fitted to the codes of training images, see `smoothed_prior`, beside and in the place of p(z).

    `fitted_mismatch_nats` is :math:`E_{q(z)}[\ln r(z) - \ln p(z)]` over codes of test images: at most
    :math:`KL(q(z) \| p(z))` of the aggregate posterior of all images that might have been drawn, whatever r is, and as
    close to it as r is to q(z). The Frechet distances are those of samples with r as the prior.
    """
    x = test.images
    real = features(classifier, x)
    with seeded(experiment.seed):
        fitted = with_prior(vae, smoothed_prior(vae, experiment=experiment, train=train))
        test_codes = sampled_codes(vae, experiment.pixels(x))
        mismatch = fitted.prior.log_prob(test_codes) - vae.prior.log_prob(test_codes)
        ancestral = features(classifier, ancestral_sampling(fitted, len(x)))
        deterministic = features(classifier, deterministic_sampling(fitted, len(x)))
    return {
        "fitted_mismatch_nats": mismatch.mean().item(),
        "fitted_frechet_ancestral": frechet_distance(real, ancestral),
        "fitted_frechet_deterministic": frechet_distance(real, deterministic),
    }
