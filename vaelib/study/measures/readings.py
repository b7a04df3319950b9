r"""Bits of a model in several readings: the density, the picture that is shown, with a prior that was fitted to codes.

Each is importance-weighted with a posterior that is fitted to every image by itself
(:func:`vaelib.readings.local_posterior`), since no encoder was trained for all of these, and beside each stands the
effective sample size of its weights.
"""

from functools import partial

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vaelib.data import Bins, Images
from vaelib.diagnostics.bits import log_mass
from vaelib.diagnostics.shown import LogMass, Weighted, bits, escape_bits, shown_log_mass, weighted_probability
from vaelib.readings import local_posterior, twin, with_prior
from vaelib.seeding import seeded
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures.samples import smoothed_prior
from vaelib.vae import VAE

#: Test images and draws behind each number, and images at a time.
READ_IMAGES, READ_SAMPLES, READ_CHUNK = 50, 1_024, 2


def read_bits(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images) -> dict[str, float]:
    """Bits per dimension of the first test images, by reading; `dense`, `shown` and `fitted`.

    Of each the mean with an escape (`escape`), its standard error over images (`error`), the median, the mean without
    an escape (`mean`), and the mean effective sample size (`draws`, of `READ_SAMPLES`); `encoder_nats` and
    `encoder_draws` are mean ln p(x) and effective sample size of `dense` with the draws of the encoder. `fitted` rests
    on the draws of `shown`, with another density of the code. Raises TypeError for a likelihood that is no density.
    """
    with seeded(experiment.seed), torch.no_grad():
        fitted = with_prior(vae, smoothed_prior(vae, experiment=experiment, train=train))
    x = test.images[:READ_IMAGES]
    encoder = evidence_of(vae, experiment, x, log_mass, posterior=None)
    of_density, of_picture = (posterior_of(vae, experiment, x, mass) for mass in (log_mass, shown_log_mass))
    return {
        "encoder_nats": encoder.log_px.mean().item(),
        "encoder_draws": encoder.effective.mean().item(),
        **_bits("dense", x, evidence_of(vae, experiment, x, log_mass, posterior=of_density)),
        **_bits("shown", x, evidence_of(vae, experiment, x, shown_log_mass, posterior=of_picture)),
        **_bits("fitted", x, evidence_of(fitted, experiment, x, shown_log_mass, posterior=of_picture)),
    }


def twin_read_bits(vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images) -> dict[str, float]:
    """`read_bits` of the twin by Proposition 1; the names begin with `twin`."""
    found = read_bits(twin(vae, beta=experiment.beta), experiment=experiment, train=train, test=test)
    return {f"twin_{name}": value for name, value in found.items()}


def local_evidence(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """Mean ln P(x) of the first test images in nats, and effective sample sizes of `READ_SAMPLES` draws: by the encoder
    that was trained with the model, and by a posterior that is fitted to each image.
    """
    x = test.images[:READ_IMAGES]
    posteriors = {"encoder": None, "local": posterior_of(vae, experiment, x, log_mass)}
    found = {name: evidence_of(vae, experiment, x, log_mass, posterior=q) for name, q in posteriors.items()}
    return {f"{name}_nats": each.log_px.mean().item() for name, each in found.items()} | {
        f"{name}_draws": each.effective.mean().item() for name, each in found.items()
    }


def posterior_of(vae: VAE, experiment: VaeExperiment, x: Tensor, mass: LogMass) -> MultivariateNormal:
    """The posterior fitted to each image `[N, m]` for a likelihood that is counted so; batch shape `[N]`."""
    bins = Bins(dequantised=experiment.dequantised)
    with seeded(experiment.seed):
        start = vae.posterior(bins.uniform(x) if experiment.dequantised else x)
        return local_posterior(vae, lambda px_z: mass(px_z, x, bins), start=start)


@torch.no_grad()
def evidence_of(
    vae: VAE, experiment: VaeExperiment, x: Tensor, mass: LogMass, *, posterior: MultivariateNormal | None
) -> Weighted:
    """Importance-weighted ln P(x) of images `[N, m]`, float64, and the effective sample sizes of the weights.

    The draws are those of `posterior`, and of the encoder without one.
    """
    of = partial(weighted_probability, vae, dequantised=experiment.dequantised, samples=READ_SAMPLES, mass=mass)
    few = x.split(READ_CHUNK)
    several: list[Distribution | None] = [None] * len(few)
    if posterior:
        parts = zip(posterior.loc.split(READ_CHUNK), posterior.scale_tril.split(READ_CHUNK), strict=True)
        several = [MultivariateNormal(mu, scale_tril=L, validate_args=False) for mu, L in parts]
    with seeded(experiment.seed):
        found = [of(images, posterior=q) for images, q in zip(few, several, strict=True)]
    return Weighted(*(torch.cat(part).double() for part in zip(*found, strict=True)))


def _bits(reading: str, x: Tensor, found: Weighted) -> dict[str, float]:
    pixels = x.shape[-1]
    plain, escape = bits(found.log_px, pixels=pixels), escape_bits(found.log_px, pixels=pixels)
    return {
        f"{reading}_escape": escape.mean().item(),
        f"{reading}_error": (escape.std() / len(escape) ** 0.5).item(),
        f"{reading}_median": plain.median().item(),
        f"{reading}_mean": plain.mean().item(),
        f"{reading}_draws": found.effective.mean().item(),
    }
