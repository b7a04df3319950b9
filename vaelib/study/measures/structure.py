r"""What claims ask of codes, pixels and bounds beside the common measures, with counterparts on real images.

The counterparts, which say what a criterion must and must not accept, are in `vaelib.study.measures.controls`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vaelib.data import Images, dequantise
from vaelib.diagnostics.latent import code_means, mean_absolute_correlation
from vaelib.diagnostics.samples import edge_energy, features, frechet_distance, label_change_rate
from vaelib.diagnostics.shown import effective_sample_size
from vaelib.diagnostics.variance import neighbour_correlation, pixel_covariance, residual_draws
from vaelib.objectives import elbo_nats
from vaelib.readings import twin
from vaelib.sampling import ancestral_sampling, quantile_images, reconstructions, sampled_codes
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier, blur
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures.codes import RESIDUAL_IMAGES, RESIDUAL_PAIRS
from vaelib.vae import VAE

Judges = Mapping[str, Sequence[Classifier]]
#: Distances of the quantiles from the mean image, in standard deviations, and the blur that must not pass for one.
QUANTILES, QUANTILE_BLUR = (0.5, 1.0, 2.0), 2.0
#: Draws of code and noise behind a bound; images and draws behind the shape of p(z|x).
TWIN_DRAWS, SHAPE_IMAGES, SHAPE_DRAWS = 8, 200, 4_096


@torch.no_grad()
def recognised(vae: VAE, *, test: Images, judges: Judges) -> dict[str, list[float]]:
    """Reconstructions of test images: the share whose label changes under each judge, and the energy of their edges
    over that of the images.
    """
    x_hat = reconstructions(vae, test.images)
    return label_changes(test.images, x_hat, judges) | {"edges": [edges_over(x_hat, test)]}


def label_changes(x: Tensor, x_hat: Tensor, judges: Judges) -> dict[str, list[float]]:
    """Share of images `[N, m]` with another label after reconstruction, under each judge."""
    return {f"changed_{kind}": [label_change_rate(j, x, x_hat) for j in each] for kind, each in judges.items()}


def edges_over(images: Tensor, test: Images) -> float:
    """Energy of the edges of images `[N, m]`, cut to [0, 1], over that of the test images."""
    assert len(test.shape) == 2
    return edge_energy(images.clamp(0, 1), shape=test.shape) / edge_energy(test.images, shape=test.shape)


@torch.no_grad()
def quantiles_judged(vae: VAE, *, experiment: VaeExperiment, test: Images, judges: Judges) -> dict[str, list[float]]:
    r"""Squared Frechet distance of :math:`\mu_x(z) \pm \alpha\,\sigma_x(z)`, cut to [0, 1], the worse of the two, over
    that of :math:`\mu_x(z)` with the same z; and the same for other z, and for the mean images under a blur.
    """

    def draw(alpha: float, *, seed: int = experiment.seed) -> Tensor:
        with seeded(seed):
            return quantile_images(vae, len(test), alpha=alpha).clamp(0, 1)

    mean = draw(0)
    shown = {f"quantile_{alpha:g}": [draw(-alpha), draw(alpha)] for alpha in QUANTILES}
    shown["quantile_other"] = [draw(0, seed=experiment.seed + 1_000)]
    assert len(test.shape) == 2
    shown["quantile_blurred"] = [blur(mean, width=QUANTILE_BLUR, shape=test.shape)]
    found: dict[str, list[float]] = {}
    for kind, several in judges.items():
        for judge in several:
            real = features(judge, test.images)
            least = frechet_distance(real, features(judge, mean))
            for name, images in shown.items():
                worst = max(frechet_distance(real, features(judge, each)) for each in images)
                found.setdefault(f"{name}_{kind}", []).append(worst / least)
    return found


@torch.no_grad()
def midpoints_judged(vae: VAE, *, experiment: VaeExperiment, test: Images, judges: Judges) -> dict[str, list[float]]:
    """Squared Frechet distance from test images of what is decoded half-way between the mean codes of two of them."""
    one, other = (code_means(vae, images) for images in pairs(test, seed=experiment.seed))
    between = vae.likelihood((one + other) / 2).mean
    return {f"midpoints_{kind}": distances(between, test, several) for kind, several in judges.items()}


def pairs(test: Images, *, seed: int) -> tuple[Tensor, Tensor]:
    """Every test image, and another one beside each."""
    with seeded(seed):
        order = torch.randperm(len(test))
    return test.images[order], test.images[order.roll(1)]


def distances(images: Tensor, test: Images, judges: Sequence[Classifier]) -> list[float]:
    """Squared Frechet distance of images `[N, m]` from the test images under each judge."""
    return [frechet_distance(features(judge, test.images), features(judge, images)) for judge in judges]


@torch.no_grad()
def pixel_structure(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    r"""What pixels have in common, test images, codes from q(z|x).

    `neighbours_data` and `neighbours_model` are the correlation of neighbouring pixels in the residuals
    :math:`x - E[x|z]` and in the model's own; `samples_covariance` the sum of covariances (equation 5.7) of ancestral
    samples over that of the images; `stated_noise` the noise that the model states over its squared error.
    """
    x = test.images
    with seeded(experiment.seed):
        z = sampled_codes(vae, experiment.pixels(x))
        px_z = vae.likelihood(z)
        residuals, (first, second) = x - px_z.mean, px_z.sample((2,))
        own = residual_draws(vae, z[:RESIDUAL_IMAGES], pairs=RESIDUAL_PAIRS)
        samples = ancestral_sampling(vae, len(x))
    noise = (first - second).double().square().mean() / 2
    return {
        "neighbours_data": neighbour_correlation(residuals, shape=test.shape),
        "neighbours_model": neighbour_correlation(own, shape=test.shape),
        "samples_covariance": pixel_covariance(samples) / pixel_covariance(x),
        "stated_noise": (noise / residuals.double().square().mean()).item(),
    }


@torch.no_grad()
def code_correlation(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """Mean absolute correlation of the dimensions of codes drawn from the aggregate posterior of the test images."""
    with seeded(experiment.seed):
        z = sampled_codes(vae, experiment.pixels(test.images))
    return {"code_correlation": mean_absolute_correlation(z)}


@torch.no_grad()
def posterior_correlation(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    r"""Mean absolute correlation of two codes under p(z|x) itself, d = 2, of the model that the weight stands for.

    By importance weights of draws from q(z|x), which factorises whatever the weight is; `posterior_repeated` is the
    same from other draws, `posterior_draws` the effective sample size, of `SHAPE_DRAWS`.
    """
    model, x = as_stated(vae, experiment), test.images[:SHAPE_IMAGES]
    found = {}
    for name, seed in {"posterior_correlation": experiment.seed, "posterior_repeated": experiment.seed + 1_000}.items():
        with seeded(seed):
            several = [_correlation(model, few) for few in x.split(10)]
        rho, draws = (torch.cat(part) for part in zip(*several, strict=True))
        found[name], found["posterior_draws"] = rho.mean().item(), draws.mean().item()
    return found


def _correlation(vae: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute correlation under p(z|x), and effective sample size, `[B]` each."""
    qz_x = vae.posterior(x)
    z = qz_x.sample((SHAPE_DRAWS,))
    log_weights = vae.prior.log_prob(z) + vae.likelihood(z).log_prob(x) - qz_x.log_prob(z)
    weights = log_weights.double().softmax(dim=0)[..., None]
    centred = z.double() - (weights * z).sum(dim=0)
    cov = torch.einsum("kbi,kbj->bij", weights * centred, centred)
    rho = cov[:, 0, 1] / (cov[:, 0, 0] * cov[:, 1, 1]).sqrt().clamp(min=1e-30)
    return rho.abs(), effective_sample_size(log_weights.double())


def as_stated(vae: VAE, experiment: VaeExperiment) -> VAE:
    """The model whose bound the objective was: the twin of Proposition 1 where there is a weight."""
    return vae if experiment.beta == 1 else twin(vae, beta=experiment.beta)


@torch.no_grad()
def twin_bound(vae: VAE, *, experiment: VaeExperiment, test: Images) -> dict[str, float]:
    """The ELBO on dequantised test images, mean in nats, of the model that the weight stands for: one yardstick for a
    weight, a sigma that is fixed and one that is learned.
    """
    model = as_stated(vae, experiment)
    with seeded(experiment.seed):
        bounds = [elbo_nats(model, dequantise(test.images)).mean() for _ in range(TWIN_DRAWS)]
    return {"twin_bound_nats": torch.stack(bounds).mean().item()}
