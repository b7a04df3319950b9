"""Variational autoencoders, theory and implementations: the library behind the executable chapter."""

from vaelib import diagnostics, likelihoods
from vaelib.data import DataError, Dataset, Images, dequantise, load
from vaelib.diagnostics import *  # noqa: F403
from vaelib.likelihoods import *  # noqa: F403
from vaelib.objectives import autoencoder_objective, beta_elbo_nats, elbo_nats, elbo_terms, iwae_bound_nats
from vaelib.priors import FittedMixture, LearnedFlow, LearnedMixture, StandardNormal, fit_mixture
from vaelib.sampling import ancestral_sampling, deterministic_sampling, quantile_images, reconstructions, sampled_codes
from vaelib.seeding import seeded
from vaelib.training import fit
from vaelib.vae import VAE, mlp_vae

__version__ = "0.1.0"
# fmt: off
__all__ = [
    "DataError", "Dataset", "FittedMixture", "Images", "LearnedFlow", "LearnedMixture", "StandardNormal", "VAE",
    "ancestral_sampling", "autoencoder_objective", "beta_elbo_nats", "dequantise", "deterministic_sampling",
    "elbo_nats", "elbo_terms", "fit", "fit_mixture", "iwae_bound_nats", "load",
    "mlp_vae", "quantile_images", "reconstructions", "sampled_codes", "seeded",
    *diagnostics.__all__, *likelihoods.__all__,
]
# fmt: on
