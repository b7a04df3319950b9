r"""Samples under two kinds of judges, each under several seeds of its own, and what real images score there.

Every number is a list over the seeds of the judges: how far two of them differ is what the yardstick leaves open.
Distances are squared Frechet distances from the features of all test images; precision and recall, whose cost grows
with the square, take the first `NEIGHBOURS_AMONG` of either side.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from vaelib.data import Images
from vaelib.diagnostics.samples import features, frechet_distance, precision_recall
from vaelib.readings import twin, with_prior
from vaelib.sampling import ancestral_sampling, deterministic_sampling, sampled_codes
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier, blur
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures.samples import smoothed_prior
from vaelib.vae import VAE

Judges = Mapping[str, Sequence[Classifier]]
#: Images behind precision and recall, at most.
NEIGHBOURS_AMONG = 2_000
#: How real images are spoiled for reference: standard deviations of independent noise, widths of a blur in pixels.
REAL_NOISES, REAL_BLURS = (0.01, 0.03, 0.1, 0.3, 1.0), (0.5, 1.0, 2.0)


@torch.no_grad()
def verdict(samples: Tensor, real: Tensor, judges: Judges) -> dict[str, list[float]]:
    """Distance, precision and recall of samples `[N, m]` from real images under each kind of judge, by its seeds."""
    found: dict[str, list[float]] = {}
    for kind, several in judges.items():
        for judge in several:
            seen, true = features(judge, samples), features(judge, real)
            quality = precision_recall(true[:NEIGHBOURS_AMONG], seen[:NEIGHBOURS_AMONG])
            numbers = {"frechet": frechet_distance(true, seen), **quality._asdict()}
            for name, value in numbers.items():
                found.setdefault(f"{name}_{kind}", []).append(value)
    return found


@torch.no_grad()
def judged(
    vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, judges: Judges
) -> dict[str, list[float]]:
    r"""Samples from the model's own prior and from one fitted to its codes, each ancestral and deterministic.

    The second is `smoothed_prior`. Where pixels are Normal and independent given the code, `noisy` are real
    training images with noise of the model's own sigma, :math:`x + \sigma_x(z) \epsilon`, :math:`z \sim q(z|x)`: what
    ancestral samples would score if their mean images were real.
    """
    x = test.images
    with seeded(experiment.seed):
        fitted = with_prior(vae, smoothed_prior(vae, experiment=experiment, train=train))
    shown: dict[str, Tensor] = {}
    for prior, model in {"own": vae, "fitted": fitted}.items():
        for kind, sampling in {"ancestral": ancestral_sampling, "deterministic": deterministic_sampling}.items():
            with seeded(experiment.seed):
                shown[f"{prior}_{kind}"] = sampling(model, len(x))
    with seeded(experiment.seed):
        real = _sampled(train.images, len(x))
        px_z = vae.likelihood(sampled_codes(vae, experiment.pixels(real)))
        if isinstance(px_z, Independent) and isinstance(px_z.base_dist, Normal):
            shown["noisy"] = real + px_z.stddev * torch.randn_like(real)
    return {
        f"{samples}_{name}": values
        for samples, images in shown.items()
        for name, values in verdict(images, x, judges).items()
    }


def twin_judged(
    vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, judges: Judges
) -> dict[str, list[float]]:
    """`judged` of the twin by Proposition 1; the names begin with `twin`."""
    found = judged(twin(vae, beta=experiment.beta), experiment=experiment, train=train, test=test, judges=judges)
    return {f"twin_{name}": value for name, value in found.items()}


@torch.no_grad()
def codes_judged(
    vae: VAE, *, experiment: VaeExperiment, train: Images, test: Images, judges: Judges
) -> dict[str, list[float]]:
    r"""Samples whose codes are those of training images, :math:`z \sim q(z|x_n)`: what is left to blame on no prior.

    The names begin with `codes`. The aggregate posterior is the prior that is best for the images of training, and has
    learned them by heart, so this is a yardstick for the priors of `judged` and no model of its own.
    """
    with seeded(experiment.seed):
        px_z = vae.likelihood(sampled_codes(vae, experiment.pixels(_sampled(train.images, len(test)))))
        shown = {"ancestral": px_z.sample(), "deterministic": px_z.mean}
    return {
        f"codes_{kind}_{name}": values
        for kind, images in shown.items()
        for name, values in verdict(images, test.images, judges).items()
    }


@torch.no_grad()
def judged_data(*, train: Images, test: Images, judges: Judges) -> dict[str, dict[str, list[float]]]:
    """What real training images, as many as there are test images, score: as they are, with noise, and blurred."""
    with seeded(0):
        real = _sampled(train.images, len(test))
        noisy = {f"real, noise {sigma:g}": real + sigma * torch.randn_like(real) for sigma in REAL_NOISES}
    blurred = {f"real, blur {width:g}": blur(real, width=width, shape=test.shape) for width in REAL_BLURS}
    return {name: verdict(images, test.images, judges) for name, images in {"real": real, **noisy, **blurred}.items()}


def _sampled(images: Tensor, count: int) -> Tensor:
    """So many of them at random; all, if they are fewer."""
    return images[torch.randperm(len(images))[:count]]
