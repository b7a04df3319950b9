r"""What can be measured of a trained VAE: a model and images in, numbers out."""

from vaelib.diagnostics.bits import bits_per_dimension, log_mass
from vaelib.diagnostics.evidence import quadrature_evidence_nats
from vaelib.diagnostics.latent import (
    active_units,
    aggregate_variance,
    code_means,
    collapsed_dimensions,
    elbo_surgery,
    kl_per_dimension_nats,
)
from vaelib.diagnostics.samples import frechet_distance, label_change_rate, mse_per_pixel, precision_recall
from vaelib.diagnostics.variance import covariance_share, error_split, residual_draws, variance_budget
