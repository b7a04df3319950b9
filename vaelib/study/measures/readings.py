r"""Bits of a model in several readings: the density, the picture that is shown, with a prior that was fitted to codes.

Each is importance-weighted, and beside each stands the effective sample size of its weights. `dense` has the encoder as
it was trained. `shown` and `fitted` are other distributions than the one that the encoder was trained for, so each has
an encoder that was refitted to it, for all models alike, by the schedule of `vaelib.readings`.
"""

from functools import partial

import torch

from vaelib.data import Images
from vaelib.diagnostics.bits import log_mass
from vaelib.diagnostics.samples import mse_per_pixel
from vaelib.diagnostics.shown import (
    LogMass,
    bits,
    escape_bits,
    shown_elbo_nats,
    shown_log_mass,
    weighted_probability,
)
from vaelib.diagnostics.variance import variance_budget
from vaelib.priors import fit_mixture
from vaelib.readings import refit_encoder, twin, with_prior
from vaelib.sampling import reconstructions, sampled_codes
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures.samples import CODES_PER_COMPONENT, FITTED_IMAGES
from vaelib.vae import VAE

#: Test images and draws behind each number, and images at a time.
READ_IMAGES, READ_SAMPLES, READ_CHUNK = 100, 1_024, 2


def read_bits(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images) -> dict[str, float]:
    """Bits per dimension of the first test images, by reading; `dense`, `shown` and `fitted`.

    Of each the mean with an escape (`escape`), its standard error over images (`error`), the median, the mean without
    an escape (`mean`) and the mean effective sample size (`draws`, of `READ_SAMPLES`). `refitted_mse` and
    `refitted_explained` are those of the encoder of `shown`. Raises TypeError for a likelihood that is no density.
    """
    with seeded(experiment.seed), torch.no_grad():
        codes = sampled_codes(vae, experiment.pixels(train.images[:FITTED_IMAGES]))
    mixture = fit_mixture(codes, components=max(1, len(codes) // CODES_PER_COMPONENT), seed=experiment.seed)
    objective = partial(shown_elbo_nats, dequantised=experiment.dequantised)
    with seeded(experiment.seed), torch.enable_grad():
        shown = refit_encoder(vae, objective, [train.images])
    with seeded(experiment.seed), torch.enable_grad():
        fitted = refit_encoder(with_prior(vae, mixture), objective, [train.images])
    x = test.images
    with seeded(experiment.seed), torch.no_grad():
        budget = variance_budget(shown, sampled_codes(shown, experiment.pixels(x)))
    return {
        **_bits("dense", vae, experiment, test, log_mass),
        **_bits("shown", shown, experiment, test, shown_log_mass),
        **_bits("fitted", fitted, experiment, test, shown_log_mass),
        "refitted_mse": mse_per_pixel(x, reconstructions(shown, x)),
        "refitted_explained": budget.explained / x.double().var(dim=0).sum().item(),
    }


def twin_read_bits(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images) -> dict[str, float]:
    """`read_bits` of the twin by Proposition 1; the names begin with `twin`."""
    found = read_bits(twin(vae, beta=experiment.beta), experiment=experiment, train=train, test=test)
    return {f"twin_{name}": value for name, value in found.items()}


@torch.no_grad()
def _bits(reading: str, vae: VAE, experiment: VaeExperiment, test: Images, mass: LogMass) -> dict[str, float]:
    of = partial(weighted_probability, vae, dequantised=experiment.dequantised, samples=READ_SAMPLES, mass=mass)
    with seeded(experiment.seed):
        found = [of(few) for few in test.images[:READ_IMAGES].split(READ_CHUNK)]
    log_px, draws = (torch.cat([getattr(part, name) for part in found]).double() for name in ("log_px", "effective"))
    pixels = test.images.shape[-1]
    plain, escape = bits(log_px, pixels=pixels), escape_bits(log_px, pixels=pixels)
    return {
        f"{reading}_escape": escape.mean().item(),
        f"{reading}_error": (escape.std() / len(escape) ** 0.5).item(),
        f"{reading}_median": plain.median().item(),
        f"{reading}_mean": plain.mean().item(),
        f"{reading}_draws": draws.mean().item(),
    }
