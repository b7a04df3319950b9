r"""The claims of the source, C01 to C25: what each says in our words, its metric and its threshold.

Thresholds were written down before the runs that they judge and are not changed afterwards; a case that was added after
a first run is marked `later` and does not enter the verdict. Where the source leaves a
choice open, each value of the choice is a case of its own (see `vaelib.study.verdicts` for how cases make a verdict).
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from vaelib.study import audit
from vaelib.study.models import (
    DIAL,
    ENCODER_STEPS,
    LARGE_BETA,
    ONE_DIGIT,
    SIMPLE_DIMS,
    SMALL_BETA,
    SMALL_SIGMA,
    beta_name,
    floor_sweep,
    sigma_name,
)
from vaelib.study.probes import (
    ALPHAS,
    alpha_frechet,
    bits,
    bound,
    dial_arrival,
    dial_gradient,
    encoder_path,
    latent,
    linear_optimum,
    support,
    variance,
)
from vaelib.study.verdicts import Case, Claim, ClaimRecord, Criterion, Run, evaluate_all

SMALL_D2, SMALL_D20 = beta_name(SMALL_BETA, latent_dim=2), beta_name(SMALL_BETA, latent_dim=20)
LARGE_D2, LARGE_D20 = beta_name(LARGE_BETA, latent_dim=2), beta_name(LARGE_BETA, latent_dim=20)
ONE_D2, ONE_D20 = sigma_name(1.0, latent_dim=2), sigma_name(1.0, latent_dim=20)
TINY_D2, TINY_D20 = sigma_name(SMALL_SIGMA, latent_dim=2), sigma_name(SMALL_SIGMA, latent_dim=20)
DIAL_D20 = tuple(beta_name(beta, latent_dim=20) for beta in DIAL)
BOOK_FLOOR = "dequantised pixels, floor 1/(256 sqrt 12)"
JOINT, KEPT, ENCODER_FIRST = "neighbourhood-d20", "neighbourhood-kept-d20", "encoder-first-d20"
DIGIT_SMALL, DIGIT_LARGE = f"digit-{ONE_DIGIT}-{SMALL_D2}", f"digit-{ONE_DIGIT}-{LARGE_D2}"

#: 'About as good as': the interval of bioequivalence. 'Noticeably': by a fifth at least.
EQUIVALENT = (0.8, 1.25)
NOTICEABLY = 0.8


def records(
    profile: str, *, seed: int, ids: Sequence[str] | None = None, cache: Path | str | None = None
) -> list[ClaimRecord]:
    """The measured claims with these ids, by default all."""
    return evaluate_all([c for c in CLAIMS if ids is None or c.id in ids], profile, seed=seed, cache=cache)


def _floor_cases(criterion: Callable[[str], Criterion], *, later: bool = False) -> tuple[Case, ...]:
    """One case for each floor of the sweep with d = 20, on dequantised and on grey pixels."""
    return tuple(
        Case(
            condition=f"{'dequantised' if dequantised else 'grey'} pixels, floor {floor:.2g}",
            criteria=(criterion(name),),
            later=later,
        )
        for dequantised in (True, False)
        for floor, name in floor_sweep(dequantised=dequantised).items()
    )


def _mse_ratio(name: str, other: str, *, metric: str, high: float, low: float = float("-inf")) -> Criterion:
    """Test MSE of one model over that of another."""
    return Criterion(metric=metric, measure=lambda run: run.panel(name).mse / run.panel(other).mse, low=low, high=high)


def _panel_value(run: Run, name: str, field: str) -> float:
    return getattr(run.panel(name), field)


def _rises_of_kl(run: Run) -> float:
    kl = [run.panel(name).kl_nats for name in DIAL_D20]
    return sum(after >= before for before, after in pairwise(kl))


def _rises_of_active_units(run: Run) -> float:
    active = [run.panel(name).active_units for name in DIAL_D20]
    return sum(after > before for before, after in pairwise(active))


def _frechet_ratio(run: Run, name: str) -> float:
    return run.panel(name).frechet_deterministic / run.panel(name).frechet_ancestral


def _prior_over_reconstructions(run: Run, name: str) -> float:
    return run.panel(name).frechet_deterministic / run.panel(name).frechet_reconstructions


def _worst_alpha(run: Run, limit: float) -> float:
    distances = run.measured(alpha_frechet, "simple-d20")
    return max(distances[f"{alpha:g}"] for alpha in ALPHAS if abs(alpha) <= limit) / distances["0"]


def _distance_from_mean(run: Run, name: str) -> float:
    return run.panel(name).prior_mean_distance / run.reference.mse_mean_image


def _variance_over_codes(run: Run, name: str) -> float:
    return run.panel(name).prior_mean_variance / run.reference.mse_mean_image


def _precision_gap(run: Run, small: str, large: str) -> float:
    return run.panel(large).precision_deterministic - run.panel(small).precision_deterministic


def _sameness(run: Run, small: str, large: str) -> float:
    return run.panel(large).prior_mean_variance / run.panel(small).prior_mean_variance


def _sigma_z_kept(run: Run) -> float:
    path = run.measured(encoder_path, "limit-d20")
    return path["end"] / path["start"]


def _collapsed(run: Run, name: str) -> float:
    return run.measured(latent, name)["collapsed"]


def _inactive(run: Run, name: str) -> float:
    return 20 - run.panel(name).active_units


def _collapse(large: str, count: Callable[[Run, str], float]) -> tuple[Criterion, ...]:
    """Some dimensions of 20 are collapsed at the large sigma, and none at sigma = 0.1, which is beta = 0.01."""
    return (
        Criterion(metric="collapsed dimensions, large sigma", measure=lambda run: count(run, large), low=1),
        Criterion(metric="collapsed dimensions, sigma = 0.1", measure=lambda run: count(run, SMALL_D20), high=0),
    )


def _over_best(run: Run, name: str) -> float:
    return run.panel(name).mse / min(run.panel(name).mse for name in DIAL_D20)


def _learned_samples_over_best(run: Run) -> float:
    best = min(run.panel(name).frechet_deterministic for name in DIAL_D20)
    return run.panel("shared-sigma-d20").frechet_deterministic / best


def _linear_gap(run: Run, name: str) -> float:
    optimum = run.measured(linear_optimum, name)
    return optimum["ppca_evidence"] - optimum["evidence"]


def _linear_angle(run: Run, name: str) -> float:
    return run.measured(linear_optimum, name)["angle_degrees"]


def _linear_variance_ratio(run: Run, name: str) -> float:
    optimum = run.measured(linear_optimum, name)
    return (optimum["sigma"] / optimum["ppca_sigma"]) ** 2


def _explained(run: Run, name: str) -> float:
    """Share of the variance of the test images that the code explains, under the aggregate posterior."""
    budget = run.measured(variance, name)
    return budget["explained"] / budget["data"]


def _off_budget(run: Run, name: str) -> float:
    budget = run.measured(variance, name)
    ratio = (budget["explained"] + budget["noise"]) / budget["data"]
    return max(ratio, 1 / ratio)


def _early_information_ratio(run: Run) -> float:
    first, other = (run.history(name)["train_mutual_information_nats"] for name in (ENCODER_FIRST, ONE_D20))
    tenth = max(1, len(other) // 10) - 1
    return first[tenth] / other[tenth]


def _c02_criterion(name: str) -> Criterion:
    return Criterion(
        metric="test MSE over that of PCA with d = 10",
        measure=lambda run: run.panel(name).mse / run.reference.mse_pca["10"],
        low=0.8,
        high=1.25,
    )


def _c03_criteria(name: str) -> tuple[Criterion, ...]:
    return (
        Criterion(
            metric="Fréchet distance of ancestral samples over that of as many training images",
            measure=lambda run: run.panel(name).frechet_ancestral / run.reference.frechet_train,
            low=10,
        ),
        Criterion(
            metric="precision of ancestral samples",
            measure=lambda run: run.panel(name).precision_ancestral,
            high=0.5,
        ),
        Criterion(
            metric="recall of ancestral samples",
            measure=lambda run: run.panel(name).recall_ancestral,
            high=0.5,
        ),
    )


CLAIMS = (
    Claim(
        id="C01",
        section="5.2",
        statement="with two latent dimensions, reconstructions are blurry and some become another digit",
        cases=(
            Case(
                condition=f"d = 2, {BOOK_FLOOR}",
                criteria=(
                    Criterion(
                        metric="test MSE over that of the mean image",
                        measure=lambda run: run.panel("simple-d2").mse / run.reference.mse_mean_image,
                        low=0.5,
                    ),
                    Criterion(
                        metric="share of reconstructions that the classifier takes for another digit",
                        measure=lambda run: run.panel("simple-d2").label_change_rate,
                        low=0.1,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C02",
        section="5.2",
        statement="the simple VAE with d = 20 reconstructs about as well as PCA with d = 10",
        cases=_floor_cases(_c02_criterion),
    ),
    Claim(
        id="C03",
        section="5.2",
        statement="ancestral samples are poor and lack diversity",
        cases=(
            Case(condition=f"d = 20, {BOOK_FLOOR}", criteria=_c03_criteria("simple-d20")),
            Case(condition=f"d = 2, {BOOK_FLOOR}", criteria=_c03_criteria("simple-d2")),
        ),
    ),
    Claim(
        id="C04",
        section="5.3.1",
        statement="a small beta reconstructs better than beta = 1",
        cases=(
            Case(
                condition=f"d = 20, sigma = 1; simple VAE: {BOOK_FLOOR}",
                criteria=(
                    _mse_ratio(SMALL_D20, ONE_D20, metric="test MSE, beta = 0.01 over beta = 1", high=NOTICEABLY),
                    _mse_ratio(
                        SMALL_D20,
                        "simple-d20",
                        metric="test MSE, beta = 0.01 over the simple VAE",
                        high=NOTICEABLY,
                    ),
                ),
            ),
            *_floor_cases(
                lambda name: _mse_ratio(
                    SMALL_D20, name, metric="test MSE, beta = 0.01 over the simple VAE", high=NOTICEABLY
                ),
                later=True,
            ),
        ),
    ),
    Claim(
        id="C05",
        section="5.3.1",
        statement="a larger beta pulls q(z|x) towards the prior",
        cases=(
            Case(
                condition="d = 20, sigma = 1, beta from 0.0001 to 6",
                criteria=(
                    Criterion(metric="steps of the sweep at which the KL does not fall", measure=_rises_of_kl, high=0),
                    Criterion(
                        metric="steps of the sweep at which the number of active units grows",
                        measure=_rises_of_active_units,
                        high=0,
                    ),
                    Criterion(
                        metric="KL at beta = 6, nats", measure=lambda run: run.panel(LARGE_D20).kl_nats, high=0.1
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C06",
        section="5.3.2",
        statement="sigma = 1 reconstructs noticeably better than a learned sigma",
        cases=(
            Case(
                condition=f"d = 2, {BOOK_FLOOR}",
                criteria=(_mse_ratio(ONE_D2, "simple-d2", metric="test MSE, sigma = 1 over learned", high=NOTICEABLY),),
            ),
            *_floor_cases(
                lambda name: _mse_ratio(
                    ONE_D20, name, metric="test MSE, sigma = 1 over learned, d = 20", high=NOTICEABLY
                )
            ),
        ),
    ),
    Claim(
        id="C07",
        section="5.3.3",
        statement="deterministic samples look better than ancestral ones of the same model and the same z",
        cases=(
            *(
                Case(
                    condition=condition,
                    criteria=(
                        Criterion(
                            metric="Fréchet distance, deterministic over ancestral",
                            measure=partial(_frechet_ratio, name=name),
                            high=NOTICEABLY,
                        ),
                    ),
                )
                for condition, name in (
                    (f"simple VAE, d = 20, {BOOK_FLOOR}", "simple-d20"),
                    (f"simple VAE, d = 2, {BOOK_FLOOR}", "simple-d2"),
                    ("sigma = 1, d = 20", ONE_D20),
                    ("beta = 0.01, sigma = 1, d = 20", SMALL_D20),
                )
            ),
            *_floor_cases(
                lambda name: Criterion(
                    metric="Fréchet distance, deterministic over ancestral, simple VAE",
                    measure=partial(_frechet_ratio, name=name),
                    high=NOTICEABLY,
                ),
                later=True,
            ),
        ),
    ),
    Claim(
        id="C08",
        section="5.3.4",
        statement="sigma = 0.0001 reconstructs as well as a small beta",
        cases=(
            Case(
                condition="d = 20, standard deviation 0.0001, beta = 0.01",
                criteria=(
                    _mse_ratio(
                        TINY_D20,
                        SMALL_D20,
                        metric="test MSE, sigma = 0.0001 over beta = 0.01",
                        low=EQUIVALENT[0],
                        high=EQUIVALENT[1],
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C09",
        section="5.3.4",
        statement="fixing sigma and choosing beta are the same dial",
        cases=(
            Case(
                condition="beta = 0.01, sigma = 1 against beta = 1, sigma = 0.1; d = 20",
                criteria=(
                    Criterion(
                        metric="relative difference of the scaled gradients, float64 (an identity, checked)",
                        measure=lambda run: run.measured(dial_gradient, SMALL_D20)["relative_difference"],
                        high=1e-6,
                    ),
                    Criterion(
                        metric="root mean square difference of reconstructions after training, grey levels of [0, 1]",
                        measure=lambda run: run.measured(dial_arrival, SMALL_D20)["rms_difference"],
                        high=0.05,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C10",
        section="5.3.4",
        statement="mu + alpha sigma is equally good for any alpha",
        cases=tuple(
            Case(
                condition=f"simple VAE, d = 20, |alpha| up to {limit:g}",
                criteria=(
                    Criterion(
                        metric="largest Fréchet distance over that at alpha = 0",
                        measure=partial(_worst_alpha, limit=limit),
                        high=EQUIVALENT[1],
                    ),
                ),
            )
            for limit in (2.0, 1.0, 0.5)
        ),
    ),
    Claim(
        id="C11",
        section="5.4.1",
        statement="a small beta or sigma spreads the aggregate posterior, and decoded prior samples are poor",
        cases=tuple(
            Case(
                condition=condition,
                criteria=(
                    Criterion(
                        metric="variance of the aggregate posterior, prior = 1",
                        measure=partial(_panel_value, name=name, field="aggregate_variance"),
                        low=2,
                    ),
                    Criterion(
                        metric="Fréchet distance, decoded prior samples over reconstructions",
                        measure=partial(_prior_over_reconstructions, name=name),
                        low=2,
                    ),
                ),
            )
            for condition, name in (
                ("beta = 0.01, d = 20", SMALL_D20),
                ("beta = 0.01, d = 2", SMALL_D2),
                ("sigma = 0.0001, d = 20", TINY_D20),
                ("sigma = 0.0001, d = 2", TINY_D2),
            )
        ),
    ),
    Claim(
        id="C12",
        section="5.4.1",
        statement="a large beta collapses the posterior, and the decoder returns the mean image",
        cases=tuple(
            Case(
                condition=f"beta = 6, sigma = 1, d = {d}",
                criteria=(
                    Criterion(metric="KL, nats", measure=partial(_panel_value, name=name, field="kl_nats"), high=0.1),
                    Criterion(
                        metric="active units", measure=partial(_panel_value, name=name, field="active_units"), high=0
                    ),
                    Criterion(
                        metric="mean squared distance of mu_x(z) from the mean image, per pixel, over its MSE",
                        measure=partial(_distance_from_mean, name=name),
                        high=0.01,
                    ),
                    Criterion(
                        metric="variance of mu_x(z) over z, over the MSE of the mean image",
                        measure=partial(_variance_over_codes, name=name),
                        high=0.01,
                    ),
                ),
            )
            for d, name in ((2, LARGE_D2), (20, LARGE_D20))
        ),
    ),
    Claim(
        id="C13",
        section="5.4.1",
        statement="on one digit, imperfect samples (small beta) and sameness (large beta) are easier to see",
        cases=(
            Case(
                condition=f"digit {ONE_DIGIT}, d = 2, beta = 0.01 and 6, by precision",
                criteria=(
                    Criterion(
                        metric="precision of mu_x(z) at the large beta minus that at the small one",
                        measure=lambda run: _precision_gap(run, DIGIT_SMALL, DIGIT_LARGE),
                        low=0.1,
                    ),
                    Criterion(
                        metric="the same gap minus that on all digits",
                        measure=lambda run: (
                            _precision_gap(run, DIGIT_SMALL, DIGIT_LARGE) - _precision_gap(run, SMALL_D2, LARGE_D2)
                        ),
                        low=0,
                    ),
                    Criterion(
                        metric="variance of mu_x(z) over z, large beta over small",
                        measure=lambda run: _sameness(run, DIGIT_SMALL, DIGIT_LARGE),
                        high=0.05,
                    ),
                ),
            ),
            Case(
                condition=f"digit {ONE_DIGIT}, d = 2, beta = 0.01 and 6, by the measures of C11 and C12",
                later=True,
                criteria=(
                    Criterion(
                        metric="Fréchet distance of decoded prior samples over reconstructions, one digit over all",
                        measure=lambda run: (
                            _prior_over_reconstructions(run, DIGIT_SMALL) / _prior_over_reconstructions(run, SMALL_D2)
                        ),
                        low=EQUIVALENT[1],
                    ),
                    Criterion(
                        metric="variance of mu_x(z) over z, large beta over small, one digit over all",
                        measure=lambda run: (
                            _sameness(run, DIGIT_SMALL, DIGIT_LARGE) / _sameness(run, SMALL_D2, LARGE_D2)
                        ),
                        high=1,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C14",
        section="5.4.1",
        statement="with sigma = 0.0001 and d = 2, q(z|x) has a high variance",
        cases=(
            Case(
                condition="read as the width of each q(z|x)",
                criteria=(
                    Criterion(
                        metric="mean variance of q(z|x), prior = 1",
                        measure=lambda run: run.panel(TINY_D2).posterior_variance,
                        low=1,
                    ),
                ),
            ),
            Case(
                condition="read as the spread of the aggregate q(z)",
                criteria=(
                    Criterion(
                        metric="variance of the aggregate posterior, prior = 1",
                        measure=lambda run: run.panel(TINY_D2).aggregate_variance,
                        low=2,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C15",
        section="5.4.2",
        statement="with beta < 1 the objective is no lower bound of ln p(x)",
        cases=(
            Case(
                condition="d = 2, beta = 0.01, p(x) read as that of the model with sigma = 1",
                criteria=(
                    Criterion(
                        metric="share of test images whose objective exceeds ln p(x) beyond Monte Carlo error",
                        measure=lambda run: run.measured(bound, SMALL_D2)["share_above"],
                        low=0.5,
                    ),
                ),
            ),
            Case(
                condition="p(x) read as that of the model with variance beta, and the objective scaled to match",
                criteria=(
                    Criterion(
                        metric="share of test images whose ELBO exceeds ln p(x) beyond Monte Carlo error",
                        measure=lambda run: run.measured(bound, SMALL_D2)["other_share_above"],
                        low=0.5,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C16",
        section="5.4.2",
        statement="with beta = 0 the parameters of q are not estimated",
        cases=(
            Case(
                condition="equation 5.6, d = 20",
                criteria=(
                    Criterion(
                        metric="mean sigma_z after training over before",
                        measure=_sigma_z_kept,
                        low=EQUIVALENT[0],
                        high=EQUIVALENT[1],
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C17",
        section="5.4.2",
        statement="a Bernoulli on grey pixels is not a density on (0, 1)",
        cases=(
            Case(
                condition="Bernoulli VAE, d = 20",
                criteria=(
                    Criterion(
                        metric="mean integral of the pixel's formula over (0, 1) (at most 1/2 in theory)",
                        measure=lambda run: run.measured(support, "bernoulli-d20")["integral"],
                        high=0.9,
                    ),
                    Criterion(
                        metric="what the missing constant adds to an image, nats (at least 784 ln 2 in theory)",
                        measure=lambda run: run.measured(support, "bernoulli-d20")["missing_nats"],
                        low=10,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C18",
        section="5.5",
        statement="in probabilistic PCA the observed variance is the mean of the left-over eigenvalues",
        cases=tuple(
            Case(
                condition=f"d = {d}, the linear VAE trained by its ELBO",
                criteria=(
                    Criterion(
                        metric="trained sigma^2 over the mean of the left-over eigenvalues",
                        measure=partial(_linear_variance_ratio, name=f"linear-d{d}"),
                        low=0.98,
                        high=1.02,
                    ),
                ),
            )
            for d in SIMPLE_DIMS
        ),
    ),
    Claim(
        id="C19",
        section="5.5",
        statement="how variance splits between z and x given z is not identified; each fix only sets the split",
        cases=(
            Case(
                condition="the fixes move the split: the dial with sigma = 1, beta from 0.0001 to 6",
                criteria=(
                    Criterion(
                        metric="share of the data's variance that the code explains, smallest beta minus largest",
                        measure=lambda run: _explained(run, DIAL_D20[0]) - _explained(run, DIAL_D20[-1]),
                        low=0.5,
                    ),
                ),
            ),
            Case(
                condition="they do nothing else: the total stays that of the data along the dial",
                criteria=(
                    Criterion(
                        metric="largest ratio of explained plus noise variance to the data's, or its inverse",
                        measure=lambda run: max(_off_budget(run, name) for name in DIAL_D20),
                        high=EQUIVALENT[1],
                    ),
                ),
            ),
            Case(
                condition="a better likelihood does not fix the split: one decoder, two ways to train its code",
                criteria=(
                    Criterion(
                        metric="bits per dimension, code of the calibrated model over code trained jointly",
                        measure=lambda run: run.measured(bits, KEPT)["bits"] / run.measured(bits, JOINT)["bits"],
                        low=0.95,
                        high=1.05,
                    ),
                    Criterion(
                        metric="noise variance, code trained jointly over code of the calibrated model",
                        measure=lambda run: (
                            run.measured(variance, JOINT)["noise"] / run.measured(variance, KEPT)["noise"]
                        ),
                        low=EQUIVALENT[1],
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C20",
        section="5.5",
        statement="independent pixels cannot carry the data's covariance (equation 5.7)",
        cases=(
            Case(
                condition="in the residuals of the simple VAE, d = 20",
                criteria=(
                    Criterion(
                        metric="share of Var(sum of pixels) that is covariance, residuals of test images",
                        measure=lambda run: run.measured(variance, "simple-d20")["covariance_residuals"],
                        low=0.5,
                    ),
                    Criterion(
                        metric="the same, residuals as the model has them",
                        measure=lambda run: run.measured(variance, "simple-d20")["covariance_model_residuals"],
                        low=-0.1,
                        high=0.1,
                    ),
                ),
            ),
            Case(
                condition="in its ancestral samples, where the code is drawn too",
                criteria=(
                    Criterion(
                        metric="share of Var(sum of pixels) that is covariance, samples over data",
                        measure=lambda run: (
                            run.measured(variance, "simple-d20")["covariance_samples"]
                            / run.measured(variance, "simple-d20")["covariance_data"]
                        ),
                        high=NOTICEABLY,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C21",
        section="5.6",
        statement="the ELBO of a linear VAE has the optimum of the log-likelihood",
        cases=tuple(
            Case(
                condition=f"d = {d}, trained by one-sample ELBO and Adam",
                criteria=(
                    Criterion(
                        metric="test ln p(x) of pPCA minus that of the trained model, nats",
                        measure=partial(_linear_gap, name=f"linear-d{d}"),
                        low=-0.5,
                        high=0.5,
                    ),
                    Criterion(
                        metric="largest angle between the two subspaces, degrees",
                        measure=partial(_linear_angle, name=f"linear-d{d}"),
                        high=2,
                    ),
                ),
            )
            for d in SIMPLE_DIMS
        ),
    ),
    Claim(
        id="C22",
        section="5.6",
        statement="a small sigma removes posterior collapse",
        cases=(
            Case(
                condition="collapse as KL < 0.01 nats for 99 % of images; sigma = 0.1 against 1, d = 20",
                criteria=_collapse(ONE_D20, _collapsed),
            ),
            Case(
                condition="collapse as inactive units; sigma = 0.1 against 1, d = 20",
                later=True,
                criteria=_collapse(ONE_D20, _inactive),
            ),
            Case(
                condition="collapse as KL < 0.01 nats for 99 % of images; sigma = 0.1 against sqrt 6, d = 20",
                later=True,
                criteria=_collapse(LARGE_D20, _collapsed),
            ),
        ),
    ),
    Claim(
        id="C23",
        section="5.6",
        statement="an encoder that lags behind explains early collapse",
        cases=(
            Case(
                condition=f"sigma = 1, d = 20; {ENCODER_STEPS} further encoder steps before each step; early",
                criteria=(
                    Criterion(
                        metric="mutual information after 1/10 of training or 1 epoch, with over without further steps",
                        measure=_early_information_ratio,
                        low=EQUIVALENT[1],
                    ),
                ),
            ),
            Case(
                condition="the same, at the end",
                criteria=(
                    Criterion(
                        metric="active units at the end, with minus without further steps",
                        measure=lambda run: run.panel(ENCODER_FIRST).active_units - run.panel(ONE_D20).active_units,
                        low=1,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C24",
        section="5.3.3",
        statement="no public implementation samples from p(x|z)",
        cases=(
            Case(
                condition="the programs of the audit",
                criteria=(
                    Criterion(
                        metric="programs that show draws from p(x|z) by default",
                        measure=lambda run: audit.tally(audit.load()).draws_shown,
                        high=0,
                    ),
                ),
            ),
        ),
    ),
    Claim(
        id="C25",
        section="5.4.1",
        statement="there is no automatic way to choose beta or sigma",
        cases=(
            Case(
                condition="one learned sigma, dequantised pixels, against the best of the dial, grey pixels; d = 20",
                criteria=(
                    Criterion(
                        metric="test MSE, learned sigma over the lowest of all hand-chosen beta",
                        measure=partial(_over_best, name="shared-sigma-d20"),
                        low=EQUIVALENT[1],
                    ),
                ),
            ),
            *(
                Case(
                    condition=condition,
                    criteria=(
                        Criterion(
                            metric="test MSE over the lowest of all hand-chosen beta",
                            measure=partial(_over_best, name=name),
                            low=EQUIVALENT[1],
                        ),
                    ),
                    later=True,
                )
                for condition, name in (
                    ("sigma at its closed-form optimum, the same comparison", "calibrated-d20"),
                    ("GECO, which needs a tolerance, the same comparison", "geco-d20"),
                )
            ),
            Case(
                condition="the same as the first, by deterministic samples",
                criteria=(
                    Criterion(
                        metric="Fréchet distance of mu_x(z), learned sigma over the lowest of all hand-chosen beta",
                        measure=_learned_samples_over_best,
                        low=EQUIVALENT[1],
                    ),
                ),
                later=True,
            ),
        ),
    ),
)
