r"""The verdict: all models with twenty latent dimensions side by side, on one yardstick, over seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tabulate import tabulate

from vaelib.likelihoods.bernoulli import BernoulliPixels, ContinuousBernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian, SharedGaussian, ToleranceGaussian
from vaelib.objectives import elbo_nats
from vaelib.priors import StandardNormal
from vaelib.study import lineage
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measurements import Panel, measured, panel
from vaelib.study.models import PICTURED, experiments, find_vae, table_seeds
from vaelib.study.probes import bits, fitted_prior, variance, why_no_density
from vaelib.training import NonFiniteLossError

LATENT_DIM = 20


class Family(StrEnum):
    """Where a model comes from."""

    SIMPLE = "the simple VAE"
    COMMON = "a common recipe"
    PROPOSAL = "a proposal of 5.5"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model over its seeds: a value for each, in the order of the seeds, but for those it cannot be trained under.

    Whoever reads one of its measurements has looked up its model, as far as `vaelib.study.lineage` is concerned: a figure
    that picks three rows from the table is computed from three models.
    """

    name: str
    family: Family
    mse: tuple[float, ...]
    bits: tuple[float, ...]
    """Bits per dimension; empty where there is no density."""
    no_density: str
    """Why there is none; empty where there is one."""
    active_units: tuple[float, ...]
    mismatch_nats: tuple[float, ...]
    frechet_ancestral: tuple[float, ...]
    frechet_deterministic: tuple[float, ...]
    precision_ancestral: tuple[float, ...]
    recall_ancestral: tuple[float, ...]
    precision_deterministic: tuple[float, ...]
    recall_deterministic: tuple[float, ...]
    explained: tuple[float, ...]
    """Variance that the code explains over that of the data, aggregate posterior, test images."""
    noise: tuple[float, ...]
    """Variance that the observation adds over that of the data."""
    models: tuple[lineage.Model, ...] = ()
    """What was looked up to make it."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if isinstance(value, tuple) and value and name != "models":
            lineage.note(*self.models)
        return value


def family(experiment: VaeExperiment) -> Family:
    """The simple VAE is that of the papers, at any floor; common is what public programs do, GECO's tolerance too."""
    heads = (FixedGaussian, BernoulliPixels, ContinuousBernoulliPixels)
    head = experiment.head.func if isinstance(experiment.head, partial) else experiment.head
    plain = experiment.prior is StandardNormal
    if plain and head is PixelwiseGaussian and experiment.objective is elbo_nats:
        return Family.SIMPLE
    if plain and head in (*heads, SharedGaussian, ToleranceGaussian) and not experiment.encoder_steps:
        return Family.COMMON
    return Family.PROPOSAL


def contenders(profile: str, *, seed: int) -> list[VaeExperiment]:
    """The models of the table: all VAEs with d = 20 that were trained on all digits."""
    return [
        model
        for model in experiments(profile, seed=seed).values()
        if isinstance(model, VaeExperiment) and model.latent_dim == LATENT_DIM and model.digit is None
    ]


def rows(profile: str, *, seed: int, cache: Path | str | None = None) -> list[Row]:
    """The table, in the order of the catalogue."""
    return [_row(model, seed, cache) for model in contenders(profile, seed=seed)]


def _row(model: VaeExperiment, seed: int, cache: Path | str | None) -> Row:
    seeds = (seed,) if model.name in PICTURED else table_seeds(seed)
    with lineage.gathered() as models:
        runs = [find_vae(model.name, model.profile, seed=repeat) for repeat in seeds]
    found = {run.key: measures for run in runs if (measures := _panel(run, cache))}
    if not found:
        raise NonFiniteLossError(f"{model.name} cannot be trained under profile {model.profile}, seeds {seeds}")
    runs, panels = [run for run in runs if run.key in found], list(found.values())
    budgets = [measured(variance, run, cache=cache) for run in runs]
    reason = why_no_density(model)
    return Row(
        name=model.name,
        family=family(model),
        bits=() if reason else tuple(measured(bits, run, cache=cache)["bits"] for run in runs),
        no_density=reason,
        mismatch_nats=tuple(measured(fitted_prior, run, cache=cache)["mismatch_nats"] for run in runs),
        explained=tuple(budget["explained"] / budget["data"] for budget in budgets),
        noise=tuple(budget["noise"] / budget["data"] for budget in budgets),
        models=tuple(models),
        mse=tuple(p.mse for p in panels),
        active_units=tuple(p.active_units for p in panels),
        frechet_ancestral=tuple(p.frechet_ancestral for p in panels),
        frechet_deterministic=tuple(p.frechet_deterministic for p in panels),
        precision_ancestral=tuple(p.precision_ancestral for p in panels),
        recall_ancestral=tuple(p.recall_ancestral for p in panels),
        precision_deterministic=tuple(p.precision_deterministic for p in panels),
        recall_deterministic=tuple(p.recall_deterministic for p in panels),
    )


def _panel(model: VaeExperiment, cache: Path | str | None) -> Panel | None:
    """None if it cannot be trained."""
    try:
        return panel(model, cache=cache)
    except NonFiniteLossError:
        return None


def best(table: Sequence[Row], value: Callable[[Row], tuple[float, ...]], *families: Family) -> Row:
    """The row of these families whose mean value is lowest; rows without one are passed over."""
    return min((r for r in table if r.family in families and value(r)), key=lambda r: mean(value(r)))


def as_markdown(table: Sequence[Row]) -> str:
    """A line per model: mean and, over several seeds, standard deviation."""
    cells = [
        (
            f"`{r.name}`",
            str(r.family),
            spread(r.mse, "{:.4f}"),
            spread(r.bits, "{:.3f}" if mean(r.bits) < 100 else "{:,.0f}") if r.bits else r.no_density,
            spread(r.active_units, "{:.0f}"),
            spread(r.mismatch_nats, "{:.1f}"),
            spread(r.frechet_ancestral, "{:.0f}"),
            f"{mean(r.precision_ancestral):.2f} / {mean(r.recall_ancestral):.2f}",
            spread(r.frechet_deterministic, "{:.0f}"),
            f"{mean(r.precision_deterministic):.2f} / {mean(r.recall_deterministic):.2f}",
        )
        for r in table
    ]
    headers = (
        "model",
        "what it is",
        "test MSE",
        "bits per dimension",
        "active units",
        "mismatch, nats, at least",
        "Fréchet, ancestral",
        "precision / recall",
        "Fréchet, deterministic",
        "precision / recall",
    )
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)


def spread(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation over seeds, the latter where there are several."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(mean(values))} ± {form.format(stdev(values))}"


def measure(model: VaeExperiment, *, cache: Path | str | None = None) -> None:
    """Make the measurements behind a row, if it can be trained, so that whoever asks later finds them in the cache."""
    if _panel(model, cache):
        for probe in (bits, variance, fitted_prior):
            measured(probe, model, cache=cache)
