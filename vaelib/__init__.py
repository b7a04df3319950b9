"""Variational autoencoders, theory and implementations: the library behind the executable chapter."""

from vaelib.data import DataError, Dataset, Images, dequantise, load
from vaelib.diagnostics import *
from vaelib.likelihoods import *
from vaelib.objectives import autoencoder_objective, beta_elbo_nats, elbo_nats, elbo_terms, iwae_bound_nats
from vaelib.priors import LearnedFlow, LearnedMixture, SmoothedPosterior, StandardNormal, fit_neighbours
from vaelib.sampling import ancestral_sampling, deterministic_sampling, quantile_images, reconstructions, sampled_codes
from vaelib.seeding import seeded
from vaelib.training import fit
from vaelib.vae import VAE, mlp_vae

__version__ = "0.1.0"
