r"""Models over seeds as one frame, and the table of all models with twenty latent dimensions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures import bits, fitted_prior, measured, summary, variance
from vaelib.study.models import Family, build_seeds, contenders, find_vae
from vaelib.training import NonFiniteLossError

Measure = Callable[..., dict[str, Any]]
#: What the table of section 5.5 is made of.
TABLED: tuple[Measure, ...] = (summary, variance, fitted_prior, bits)
#: The columns of the table: their heads, and how means and standard deviations are written; pairs share a cell.
COLUMNS = {
    "mse": ("test MSE", "{:.4f}"),
    "bits": ("bits per dimension", "{:.3f}"),
    "active_units": ("active units", "{:.0f}"),
    "fitted_mismatch_nats": ("mismatch, nats, at least", "{:.1f}"),
    "frechet_ancestral": ("Fréchet, ancestral", "{:.0f}"),
    "frechet_deterministic": ("Fréchet, deterministic", "{:.0f}"),
}


def frame(
    names: Iterable[str], profile: str, seeds: Iterable[int], *measures: Measure, cache: Path | str | None = None
) -> pd.DataFrame:
    """A row for each model and seed: `model`, `seed`, `family`, `no_density`, and every number of the measures.

    Without measures those of `summary`. A model that cannot be trained under a seed has no row there, and one whose
    likelihood is no density no bits.
    """
    seeds = tuple(seeds)
    runs = [find_vae(name, profile, seed=seed) for name in names for seed in seeds]
    return _frame(runs, measures or (summary,), cache)


def table(profile: str, *, seed: int, cache: Path | str | None = None) -> pd.DataFrame:
    """The frame of all contenders under the seeds of the tables, with shares of the variance of the data.

    Raises `NonFiniteLossError` where one of them cannot be trained at all.
    """
    runs = [find_vae(run.name, profile, seed=run.seed) for run in _runs(profile, seed)]
    found = _frame(runs, TABLED, cache)
    if lost := sorted({run.name for run in runs} - set(found.get("model", ()))):
        raise NonFiniteLossError(f"{', '.join(lost)} cannot be trained under profile {profile}, from seed {seed}")
    return found.assign(**{part: found[part] / found["data"] for part in ("explained", "noise")})


def pieces(profile: str, *, seed: int, cache: Path | str | None = None) -> list[Callable[[], object]]:
    """The measurements behind the table, one by one, for whoever makes them side by side; the longest first."""
    return [partial(_row, run, TABLED, cache) for run in reversed(_runs(profile, seed))]


def _runs(profile: str, seed: int) -> list[VaeExperiment]:
    """The contenders in their order, each under its seeds."""
    models = contenders(profile, seed=seed)
    return [m.at(seed=s) for m in models for s in build_seeds(seed)]


def _frame(runs: Sequence[VaeExperiment], measures: Sequence[Measure], cache: Path | str | None) -> pd.DataFrame:
    return pd.DataFrame([row for run in runs if (row := _row(run, measures, cache))])


def _row(run: VaeExperiment, measures: Sequence[Measure], cache: Path | str | None) -> dict[str, Any]:
    """Empty if the model cannot be trained."""
    row = {"model": run.name, "seed": run.seed, "family": str(run.family), "no_density": run.no_density}
    try:
        for measure in measures:
            if not (measure is bits and run.no_density):
                row |= measured(measure, run, cache=cache)
    except NonFiniteLossError:
        return {}
    return row


def runs_of(found: pd.DataFrame, column: str, names: Sequence[str]) -> np.ndarray:
    """One column as curves over models, `[seeds, names]`."""
    return found.pivot(index="seed", columns="model", values=column)[list(names)].to_numpy()


def values_of(found: pd.DataFrame, name: str, column: str) -> list[float]:
    """One column of one model, a value for each seed."""
    return found.loc[found["model"] == name, column].dropna().tolist()


def best(found: pd.DataFrame, column: str, *families: Family) -> str:
    """The model of these families whose mean over seeds is lowest; those without a value are passed over."""
    among = found[found["family"].isin([str(family) for family in families])]
    return str(among.groupby("model")[column].mean().idxmin())


def spread(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation over seeds, the latter where there are several."""
    mean = form.format(np.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(np.std(values, ddof=1))}"


def spreads(rows: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Cells by their heads, from columns that have a head and a form each; empty where a column has no value."""
    values = {head: (rows[column].dropna().tolist(), form) for column, (head, form) in columns.items()}
    return {head: spread(some, form) if some else "" for head, (some, form) in values.items()}


def as_markdown(found: pd.DataFrame) -> str:
    """A line per model: mean and, over several seeds, standard deviation."""
    return pd.DataFrame([_cells(str(name), rows) for name, rows in found.groupby("model", sort=False)]).to_markdown(
        index=False, disable_numparse=True
    )


def _cells(name: str, rows: pd.DataFrame) -> dict[str, str]:
    cells = {"model": f"`{name}`", "what it is": rows["family"].iloc[0]}
    for column, (head, form) in COLUMNS.items():
        values = rows[column].dropna().tolist()
        wide = column == "bits" and bool(values) and np.mean(values) >= 100
        cells[head] = spread(values, "{:,.0f}" if wide else form) if values else rows["no_density"].iloc[0]
        if column.startswith("frechet_"):
            kind = column.removeprefix("frechet_")
            quality = (rows[f"{part}_{kind}"].mean() for part in ("precision", "recall"))
            cells[f"precision / recall, {kind}"] = " / ".join(f"{share:.2f}" for share in quality)
    return cells
