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
from vaelib.diagnostics.variance import covariance_share, residual_draws, variance_budget

# fmt: off
__all__ = [
    "active_units", "aggregate_variance", "bits_per_dimension", "code_means", "collapsed_dimensions",
    "covariance_share", "elbo_surgery", "frechet_distance", "kl_per_dimension_nats",
    "label_change_rate", "log_mass", "mse_per_pixel", "precision_recall", "quadrature_evidence_nats",
    "residual_draws", "variance_budget",
]
# fmt: on
