r"""One fair table: every contender as it is read, under every judge, from measurements that are made once.

All models get what is common practice for some: a prior fitted to their codes, samples without the observation's noise,
a posterior that is fitted to each image. Those with a weight on the KL have a second row, as the twin that Proposition
1 says they are. Nothing is left out because it scores badly.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vaelib.study.classifier import JUDGES
from vaelib.study.comparison import spreads
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures import (
    Asked,
    codes_judged,
    judged,
    judged_by_all,
    judged_data,
    measured,
    read_bits,
    summary,
    twin_judged,
    twin_read_bits,
    variance,
)
from vaelib.study.measures.measured import data_judged_by_all
from vaelib.study.models import Family, contenders, find_vae
from vaelib.training import NonFiniteLossError

Cache = Path | str | None
#: What a model's samples can be: from its own prior or one that was fitted, drawn from p(x|z) or its mean.
SAMPLES = ("own_ancestral", "own_deterministic", "fitted_ancestral", "fitted_deterministic")
#: Samples whose codes are those of training images.
CODES = ("codes_ancestral", "codes_deterministic")
#: How its bits can be counted, see `vaelib.study.measures.readings`.
READINGS = ("dense", "shown", "fitted")


class Row(NamedTuple):
    """A model under one seed, read as it states itself or as its twin."""

    run: VaeExperiment
    twin: bool

    @property
    def name(self) -> str:
        """The name of the model, with the reading where it is another."""
        return f"{self.run.name}, as its twin" if self.twin else self.run.name


def rows(profile: str, seeds: Sequence[int]) -> list[Row]:
    """All contenders under these seeds; a twin beside each weight but 0 and 1."""
    names = [model.name for model in contenders(profile, seed=seeds[0])]
    found = [find_vae(name, profile, seed=seed) for name in names for seed in seeds]
    return [Row(model, twin) for model in found for twin in _readings(model)]


def judged_table(profile: str, seeds: Sequence[int], *, cache: Cache = None) -> pd.DataFrame:
    """A row for each of `rows`: labels, `mse`, the shares `explained` and `noise`, and all of `judged`.

    What is judged stands as the mean over the seeds of the judges, and its standard deviation under the name with
    `_sd`. A model that cannot be trained under a seed has no row there.
    """
    return pd.DataFrame([found for row in rows(profile, seeds) if (found := _judgement(row, cache))])


def bits_table(profile: str, seeds: Sequence[int], *, cache: Cache = None) -> pd.DataFrame:
    """A row for each of `rows` that is a density : labels, and all of `read_bits`."""
    return pd.DataFrame([found for row in rows(profile, seeds) if (found := _bits(row, cache))])


def codes_table(profile: str, seeds: Sequence[int], *, cache: Cache = None) -> pd.DataFrame:
    """A row for each of `rows` that is no twin: labels, and all of `codes_judged`, as in `judged_table`."""
    found = [(row, _numbers(codes_judged, run=row.run, cache=cache)) for row in rows(profile, seeds) if not row.twin]
    return pd.DataFrame([_labels(row) | _over_judges(numbers) for row, numbers in found if numbers])


def joined(judgements: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Both tables as one, with the rows of the first; nan where the second has none for a model under a seed."""
    own = [column for column in more if column not in ("family", "no_density")]
    return judgements.merge(more[own], how="left", on=["model", "seed"]) if len(more) else judgements


def asked_judged(profile: str, seed: int) -> list[Asked]:
    """All that `judged_table` reads under a seed."""
    found = rows(profile, (seed,))
    common = [Asked(measure, row.run) for row in found if not row.twin for measure in (summary, variance)]
    return common + [Asked(twin_judged if row.twin else judged, row.run) for row in found]


def asked_codes(profile: str, seed: int) -> list[Asked]:
    """All that `codes_table` reads under a seed."""
    return [Asked(codes_judged, row.run) for row in rows(profile, (seed,)) if not row.twin]


def asked_bits(profile: str, seed: int) -> list[Asked]:
    """All that `bits_table` reads under a seed."""
    densities = [row for row in rows(profile, (seed,)) if not row.run.no_density]
    return [Asked(twin_read_bits if row.twin else read_bits, row.run) for row in densities]


def references(profile: str, *, cache: Cache = None) -> pd.DataFrame:
    """What real images score under the judges, as they are and spoiled: a row each, `model`, and columns as above."""
    found = data_judged_by_all(judged_data, profile, cache=cache)
    return pd.DataFrame([{"model": name} | _over_judges(numbers) for name, numbers in found.items()])


def least(found: pd.DataFrame, columns: Iterable[str], *families: Family) -> tuple[str, str, float]:
    """The lowest mean over seeds among these columns and families: the model, the column, the number."""
    among = found[found["family"].isin([str(family) for family in families])]
    means = among.groupby("model")[list(columns)].mean().stack()
    model, column = means.idxmin()
    return str(model), str(column), float(means.min())


def distances(judge: str, samples: Iterable[str] = SAMPLES) -> list[str]:
    """The columns of squared Frechet distances under one kind of judge."""
    return [f"{kind}_frechet_{judge}" for kind in samples]


class Contest(NamedTuple):
    """The best proposal against the best common recipe under one judge: each as `least` has it, and by seed."""

    proposal: tuple[str, str, float]
    recipe: tuple[str, str, float]
    ratios: dict[int, float]
    """The proposal's distance over the recipe's, these two, under each seed that has both."""

    @property
    def ratio(self) -> float:
        """The same over the means."""
        return self.proposal[2] / self.recipe[2]


def contest(
    found: pd.DataFrame,
    judge: str,
    *,
    samples: Iterable[str] = ("own_ancestral",),
    against: Iterable[str] = SAMPLES,
    models: Collection[str] = (),
) -> Contest:
    """Who is nearer to real images: a proposal by these samples, or a common recipe by whichever suits it best.

    By default the proposal has its own prior and p(x|z), and the recipe everything. With `models` only these proposals
    count.
    """
    proposals = found[found["model"].isin(models)] if models else found
    ours = least(proposals, distances(judge, samples), Family.PROPOSAL)
    theirs = least(found, distances(judge, against), Family.COMMON)
    (mine, other) = (found[found["model"] == name].set_index("seed")[column] for name, column, _ in (ours, theirs))
    ratios = {int(seed): float(mine[seed] / other[seed]) for seed in mine.index.intersection(other.index)}
    return Contest(ours, theirs, ratios)


def judged_markdown(found: pd.DataFrame, judge: str) -> str:
    """A line per model under one judge: means over seeds and, where there are several, after ± their deviation."""
    heads = {"mse": ("test MSE", "{:.4f}"), "explained": ("explained", "{:.2f}")}
    kinds = (*SAMPLES, *(kind for kind in CODES if f"{kind}_frechet_{judge}" in found), "noisy")
    heads |= {f"{kind}_frechet_{judge}": (kind.replace("_", ", "), "{:.1f}") for kind in kinds}
    return _written(found, heads)


def bits_markdown(found: pd.DataFrame) -> str:
    """The same for bits per dimension, of models that have any: by reading, with medians and effective draws."""
    heads = {"mse": ("test MSE", "{:.4f}")} if "mse" in found else {}
    for reading in READINGS:
        heads[f"{reading}_escape"] = (f"bits, {reading}", "{:.3f}")
        heads[f"{reading}_median"] = (f"{reading}, median", "{:.3f}")
        heads[f"{reading}_draws"] = (f"{reading}, draws", "{:.0f}")
    return _written(found.dropna(subset=[f"{READINGS[0]}_escape"]), heads)


def _written(found: pd.DataFrame, heads: Mapping[str, tuple[str, str]]) -> str:
    lines = []
    for name, group in found.groupby("model", sort=False):
        lines.append({"model": f"`{name}`", "seeds": str(group["seed"].nunique())} | spreads(group, heads))
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def references_as_markdown(found: pd.DataFrame) -> str:
    """A line per kind of real images; after ± the standard deviation over the seeds of the judges."""
    grounds = {"frechet": "Fréchet", "precision": "precision", "recall": "recall"}
    kinds = {f"{ground}_{judge}": f"{head}, {judge}" for judge in JUDGES for ground, head in grounds.items()}
    rows = found.to_dict("records")
    lines = [{"images": row["model"]} | {head: _judged(row, kind) for kind, head in kinds.items()} for row in rows]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _readings(model: VaeExperiment) -> Iterator[bool]:
    yield False
    if model.beta not in (0, 1):
        yield True


def _judgement(row: Row, cache: Cache) -> dict[str, Any]:
    """Empty if the model cannot be trained."""
    numbers = partial(_numbers, run=row.run, cache=cache)
    if not (common := numbers(summary)):
        return {}
    budget = numbers(variance)
    shares = {part: budget[part] / budget["data"] for part in ("explained", "noise")}
    if row.twin:
        shares["noise"] *= row.run.beta
    own = _over_judges(numbers(twin_judged if row.twin else judged))
    return _labels(row) | {"mse": common["mse"]} | shares | _unnamed(own)


def _bits(row: Row, cache: Cache) -> dict[str, Any]:
    """Empty if the model is no density, or cannot be trained, or read in finite numbers."""
    if row.run.no_density:
        return {}
    found = _numbers(twin_read_bits if row.twin else read_bits, run=row.run, cache=cache)
    return _labels(row) | _unnamed(found) if found else {}


def _labels(row: Row) -> dict[str, Any]:
    return {
        "model": row.name,
        "seed": row.run.seed,
        "family": str(row.run.family),
        "no_density": row.run.no_density,
    }


def _unnamed(numbers: dict[str, float]) -> dict[str, float]:
    """A twin's numbers under the names that all have."""
    return {name.removeprefix("twin_"): value for name, value in numbers.items()}


def _numbers(measure: Callable[..., dict[str, Any]], *, run: VaeExperiment, cache: Cache) -> dict[str, Any]:
    try:
        by_all = measure in (judged, twin_judged, codes_judged)
        return (judged_by_all if by_all else measured)(measure, run, cache=cache)
    except NonFiniteLossError:
        return {}


def _over_judges(numbers: dict[str, list[float]]) -> dict[str, float]:
    means = {name: float(np.mean(values)) for name, values in numbers.items()}
    return means | {f"{name}_sd": float(np.std(values, ddof=1)) for name, values in numbers.items()}


def _judged(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column, np.nan)
    form = "{:.2f}" if column.startswith(("precision", "recall")) else "{:.1f}"
    return "" if np.isnan(value) else f"{form.format(value)} ± {form.format(row[f'{column}_sd'])}"
