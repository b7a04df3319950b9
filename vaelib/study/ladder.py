r"""The ladder: on one split of the variance, the likelihood of what is left made richer, one thing at a time.

The lower rungs keep the split of the calibrated model with a flow as prior and are fitted to its residual in closed
form, the next is trained on the kept split, the last ones are trained without it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from vaelib.study.comparison import spreads
from vaelib.study.measures import Asked, fitted_rungs, judged_by_all, rung
from vaelib.study.models import COPY_NOISES, copy_name, find_vae
from vaelib.study.trained import fetch, silently

#: The model whose split is kept.
BASE = "calibrated-flow-d20"
#: The rungs that are trained, by the name of their model.
TRAINED = {
    "neighbourhood-kept-d20": "local network, split kept",
    "neighbourhood-alone-d20": "local network, no code",
    "neighbourhood-d20": "local network, trained jointly",
    **{copy_name(noise): f"noisy copy, s = {noise:g}, trained jointly" for noise in COPY_NOISES},
}
#: The columns of the table: their heads, and how means and standard deviations are written.
COLUMNS = {
    "bits": ("bits per dimension", "{:.3f}"),
    "bits_median": ("median", "{:.3f}"),
    "frechet_spoiled": ("Fréchet, spoiled judges", "{:.1f}"),
    "frechet_clean": ("Fréchet, clean judges", "{:.1f}"),
    "explained": ("explained", "{:.2f}"),
    "seconds": ("seconds", "{:.1f}"),
}


def ladder(profile: str, seeds: Iterable[int], *, cache: Path | str | None = None) -> pd.DataFrame:
    """A row for each rung and seed: `rung`, `model`, `seed`, and the numbers of `vaelib.study.measures.rung`.

    `seconds` are those of the rung alone: the fit of its likelihood, or the training of all that is not kept. Trains
    the models and raises what `fetch` does.
    """
    return pd.DataFrame([row for seed in seeds for row in _rows(profile, seed, cache)])


def asked(profile: str, seed: int) -> list[Asked]:
    """All that the ladder reads under a seed."""
    trained = [Asked(rung, find_vae(model, profile, seed=seed)) for model in TRAINED]
    return [Asked(fitted_rungs, find_vae(BASE, profile, seed=seed)), *trained]


def _rows(profile: str, seed: int, cache: Path | str | None) -> Iterator[dict[str, Any]]:
    base = find_vae(BASE, profile, seed=seed)
    for name, numbers in judged_by_all(fitted_rungs, base, cache=cache)["fitted_rungs"].items():
        yield {"rung": name, "model": BASE, "seed": seed} | numbers
    for model, name in TRAINED.items():
        run = find_vae(model, profile, seed=seed)
        seconds = fetch(run, cache=cache, report=silently).record["seconds"]
        numbers = judged_by_all(rung, run, cache=cache)["rung"]
        yield {"rung": name, "model": model, "seed": seed} | numbers | {"seconds": seconds}


def as_markdown(found: pd.DataFrame) -> str:
    """A line per rung, from the bottom: mean and, over several seeds, standard deviation."""
    lines = [{"rung": str(name)} | spreads(rows, COLUMNS) for name, rows in found.groupby("rung", sort=False)]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
