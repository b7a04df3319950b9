r"""Is the split of the variance identified, and is training long enough? Sweeps as frames, beside what is exact.

A profile is the highest bound for each value of what is asked about: a noise, a number of dimensions, a split. Where it
has a sharp top, the data say what the value is.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache as memoise
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from vaelib.data import dequantise
from vaelib.linear import evidence_nats
from vaelib.pca import Spectrum, optimal_decoder, ppca, spectrum
from vaelib.seeding import seeded
from vaelib.study import sweeps
from vaelib.study.comparison import Measure, frame, spreads
from vaelib.study.measures import (
    Asked,
    baselines,
    bounds_by_split,
    budget,
    linear_optimum,
    linear_scale,
    summary,
    variance,
)
from vaelib.study.models import find_vae
from vaelib.study.trained import images

Cache = Path | str | None
#: What sets a model of a sweep apart, by the names of the columns that say it.
Point = dict[str, Any]
#: x `[n]`, and the values of repeated runs `[runs, n]`.
Curve = tuple[list[float], list[list[float]]]
#: What the frames keep of the measures; shares of the variance of the data, bounds and KL in nats.
KEPT = ("train_bound", "test_bound", "test_bound_median", "kl_nats", "mse", "train_mse", "active_units")
SHARES = ("explained", "noise", "prior_explained", "prior_noise")
#: What is measured of the models of a sweep, and of linear ones.
SWEPT, LINEAR = (summary, variance, bounds_by_split), (linear_optimum, linear_scale)
#: Principal components whose squared error the squared errors of models are held against.
PCA_DIMS = "10"


def over_sigma(profile: str, seeds: Iterable[int], *, cache: Cache = None) -> pd.DataFrame:
    """The VAE with one fixed sigma, d = 20, beside pPCA with the same: a row for each sigma and seed."""
    found = _swept(sigma_points(), profile, seeds, cache)
    return found.join(pd.DataFrame([best_linear(profile, 20, sigma) for sigma in found["sigma"]]))


def over_dims(profile: str, seeds: Iterable[int], *, cache: Cache = None) -> pd.DataFrame:
    """The calibrated VAE for each d beside pPCA at its maximum: a row for each d and seed."""
    found = _swept(dims_points(), profile, seeds, cache)
    found["sigma"] = _sigma(found, profile)
    return found.join(pd.DataFrame([best_linear(profile, d, None) for d in found["d"]]))


def over_weights(profile: str, seeds: Iterable[int], *, cache: Cache = None) -> pd.DataFrame:
    """Models that learn their noise, by family and weight on the KL: the bound, without the weight, by the split.

    Of all models of a family whose KL is no larger, the one trained with a weight has the highest reconstruction term:
    the rows of a family are its profile over the split. A row for each model and seed.
    """
    return _swept(weight_points(), profile, seeds, cache)


def over_lengths(profile: str, seeds: Iterable[int], *, cache: Cache = None) -> pd.DataFrame:
    """Models by training length: bounds on images trained on, set aside and unseen; errors, over PCA's too; samples."""
    found = _swept(length_points(), profile, seeds, cache, "aside_bound", "aside_bound_median", "frechet_ancestral")
    return found.assign(mse_over_pca=found["mse"] / baselines(profile, cache=cache).mse_pca[PCA_DIMS])


def stopped(found: pd.DataFrame, *, bound: str = "aside_bound") -> pd.DataFrame:
    """For each model and seed of :func:`over_lengths` the row at which the bound on images set aside stopped rising.

    It is the shortest length after which the next one does not raise the mean bound; `still_rising` is true where
    every longer one did. The median can be asked for where single images rule the mean.
    """
    rows = [_first_top(group.sort_values("length"), bound) for _, group in found.groupby(["of", "seed"], sort=False)]
    return pd.DataFrame(rows).reset_index(drop=True)


def budgets(names: Iterable[str], profile: str, seeds: Iterable[int], *, cache: Cache = None) -> pd.DataFrame:
    """What the code explains beside one minus the squared error, for models of the book: a row for each and seed."""
    found = frame(names, profile, seeds, budget, cache=cache)
    return found.drop(columns=["family", "no_density"])


def linear(profile: str, seeds: Iterable[int], *, cache: Cache = None) -> pd.DataFrame:
    """Linear VAEs beside pPCA, as trained by Adam and as trained out: ratios, a gap in nats, an angle in degrees."""
    found = frame(linear_names(), profile, seeds, *LINEAR, cache=cache)
    gap, ratio = found["ppca_evidence"] - found["linear_evidence"], found["linear_sigma"] / found["ppca_sigma"]
    return found.assign(gap_nats=gap, sigma_ratio=ratio)[
        ["model", "seed", "trace_ratio", "gap_nats", "sigma_ratio", "angle_degrees"]
    ]


def sigma_points() -> dict[str, Point]:
    """The models of :func:`over_sigma`, each with what sets it apart."""
    return {sweeps.sigma_point(sigma): {"sigma": sigma} for sigma in sweeps.SIGMAS}


def dims_points() -> dict[str, Point]:
    """The models of :func:`over_dims`."""
    return {sweeps.dims_point(d): {"d": d} for d in sweeps.DIMS}


def weight_points() -> dict[str, Point]:
    """The models of :func:`over_weights`."""
    pairs = [(name, beta) for name in sweeps.WEIGHED for beta in sweeps.WEIGHTS]
    return {sweeps.weight_point(name, beta): {"of": name, "beta": beta} for name, beta in pairs}


def length_points() -> dict[str, Point]:
    """The models of :func:`over_lengths`."""
    pairs = [(name, length) for name in sweeps.TIMED for length in sweeps.LENGTHS]
    return {sweeps.length_point(name, length): {"of": name, "length": length} for name, length in pairs}


def linear_names() -> list[str]:
    """The models of :func:`linear`: each as trained by Adam, then trained out."""
    return [name for model in sweeps.POLISHED for name in (model, sweeps.polished_name(model))]


def asked(names: Iterable[str], measures: Iterable[Measure], profile: str, seed: int) -> list[Asked]:
    """All that a frame of these models and measures reads under a seed."""
    measures = tuple(measures)
    return [Asked(measure, find_vae(name, profile, seed=seed)) for name in names for measure in measures]


def curve(found: pd.DataFrame, over: str, column: str) -> Curve:
    """One column as a curve over another: x `[n]`, and values `[seeds, n]` under the seeds that have them all."""
    runs = found.pivot(index="seed", columns=over, values=column).dropna()
    return runs.columns.tolist(), runs.to_numpy().tolist()


def below_the_top(found: pd.DataFrame, over: str, column: str) -> Curve:
    """A column as in :func:`curve`, as what is missing in each run to its highest value there."""
    x, runs = curve(found, over, column)
    return x, [[max(run) - value for value in run] for run in runs]


def as_markdown(found: pd.DataFrame, over: str, columns: Mapping[str, tuple[str, str]]) -> str:
    """A line per point: means over seeds and, where there are several, after ± their standard deviation.

    `columns` have a head each and say how their numbers are written, as `("explained", "{:.2f}")`.
    """
    points = [name for name in ("of", over) if name in found]
    lines = []
    for point, rows in found.groupby(points, sort=False):
        lines.append(dict(zip(points, map(str, point), strict=True)) | spreads(rows, columns))
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _swept(names: dict[str, Point], profile: str, seeds: Iterable[int], cache: Cache, *more: str) -> pd.DataFrame:
    found = frame(names, profile, seeds, *SWEPT, cache=cache)
    shares = {part: found[part] / found["data"] for part in SHARES}
    points = pd.DataFrame([names[name] for name in found["model"]])
    kept = found.assign(**shares)[["model", "seed", *KEPT, *more, *SHARES]]
    return pd.concat([points, kept], axis=1)


def _sigma(found: pd.DataFrame, profile: str) -> pd.Series:
    """The standard deviation of a pixel given the code, from the share of noise."""
    pixels, total = _split(profile)[1].shape[1], images(profile).test.images.double().var(dim=0).sum().item()
    return (found["noise"] * total / pixels) ** 0.5


def _first_top(rows: pd.DataFrame, bound: str) -> pd.Series:
    values: Sequence[float] = rows[bound].tolist()
    top = next((i for i, (now, later) in enumerate(pairwise(values)) if later <= now), None)
    return pd.concat([rows.iloc[-1 if top is None else top], pd.Series({"still_rising": top is None})])


@memoise
def _split(profile: str) -> tuple[Tensor, Tensor]:
    """Training and test images as a model of dequantised pixels sees them, float64."""
    split = images(profile)
    with seeded(0):
        return dequantise(split.train.images).double(), dequantise(split.test.images).double()


@memoise
def _spectrum(profile: str) -> Spectrum:
    return spectrum(_split(profile)[0])


@memoise
def best_linear(profile: str, latent_dim: int, sigma: float | None) -> dict[str, float]:
    """The best linear model with this sigma, or with its own: mean ln p(x), nats, and the share that it explains."""
    data, (train, test) = _spectrum(profile), _split(profile)
    sigma = ppca(data, latent_dim=latent_dim).sigma if sigma is None else sigma
    W, b = optimal_decoder(data, latent_dim=latent_dim, sigma=sigma)
    return {
        "ppca_train": evidence_nats(train, W, b, sigma).mean().item(),
        "ppca_test": evidence_nats(test, W, b, sigma).mean().item(),
        "ppca_explained": (W.square().sum() / data.eigenvalues.sum()).item(),
        "ppca_sigma": sigma,
    }
