r"""What claims measure: formulas over measurements, so that all they need is known before anything is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from inspect import signature
from itertools import chain, pairwise
from math import nan
from operator import add, attrgetter, ge, getitem, gt, itemgetter, sub, truediv
from pathlib import Path
from statistics import mean
from typing import Any

from vaelib.study import audit
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures import baselines, judged_by_all, measured, measurement_key
from vaelib.study.measures.baselines import score_data
from vaelib.study.measures.codes import LABEL_COUNTS
from vaelib.study.measures.measured import (
    Measure,
    data_judged_by_all,
    data_judgement_key,
    data_key,
    judgement_key,
    measured_data,
)
from vaelib.study.models import experiments
from vaelib.study.reach import digest
from vaelib.study.trained import fetch, key, silently


@dataclass(frozen=True)
class Run:
    """One profile and one seed, under which claims are measured."""

    profile: str
    seed: int
    cache: Path | str | None = None

    def model(self, name: str) -> VaeExperiment:
        """The model of the catalogue with that name; no lookup that is noted, for no figure is made from it."""
        found = experiments(self.profile, seed=self.seed)[name]
        assert isinstance(found, VaeExperiment), name
        return found


@dataclass(frozen=True)
class Need:
    """What a quantity is read from: its name, the models behind it, the hash of all that it depends on, and itself.

    `read` takes it from the cache or makes it, and raises `NonFiniteLossError` if a model cannot be trained.
    """

    name: str
    models: tuple[str, ...]
    key: Callable[[Run], str]
    read: Callable[[Run], Any]


@dataclass(frozen=True)
class Quantity:
    """A number: its formula, all that it needs, and its value under a run."""

    formula: str
    needs: tuple[Need, ...]
    value: Callable[[Run], float]

    def __add__(self, other: "Quantity") -> "Quantity":
        return _combined(f"({self.formula} + {other.formula})", add, self, other)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return _combined(f"({self.formula} - {other.formula})", sub, self, other)

    def __truediv__(self, other: "Quantity") -> "Quantity":
        return _combined(f"({self.formula} / {other.formula})", truediv, self, other)

    def __pow__(self, exponent: int) -> "Quantity":
        return _combined(f"{self.formula}^{exponent}", lambda value: value**exponent, self)


def of(measure: Measure, model: str, field: str, **others: str) -> Quantity:
    """A field of a measurement of a model, and of others if the measure asks for them: `twin="sigma-0.1-d20"`."""

    def beside(run: Run) -> dict[str, VaeExperiment]:
        return {role: run.model(name) for role, name in others.items()}

    need = Need(
        f"{measure.__name__}({', '.join([model, *(f'{role}={name}' for role, name in others.items())])})",
        (model, *others.values()),
        key=lambda run: measurement_key(measure, run.model(model), **beside(run)),
        read=lambda run: measured(measure, run.model(model), cache=run.cache, **beside(run)),
    )
    return _read(need, f".{field}", itemgetter(field))


def asked(measure: Measure, model: str, field: str) -> Quantity:
    """A field of a measurement of a model by all judges: the mean over the seeds of a kind of judge."""
    need = Need(
        f"{measure.__name__}({model})",
        (model,),
        key=lambda run: judgement_key(measure, run.model(model)),
        read=lambda run: judged_by_all(measure, run.model(model), cache=run.cache),
    )
    return _read(need, f".{field}", lambda found: mean(found[field]))


def real(measure: Measure, *path: str) -> Quantity:
    """What the images of the profile score without a model, at this path; the mean over judges where there are some."""
    judging = "judges" in signature(measure).parameters
    hashed, made = (data_judgement_key, data_judged_by_all) if judging else (data_key, measured_data)
    need = Need(
        f"{measure.__name__}()",
        (),
        key=lambda run: hashed(measure, run.profile),
        read=lambda run: made(measure, run.profile, cache=run.cache),
    )

    def pick(found: Any) -> float:
        value = reduce(getitem, path, found)
        return mean(value) if isinstance(value, list) else float(value)

    return _read(need, f"[{', '.join(path)}]", pick)


def accuracy(measure: Measure, kind: str, count: int) -> Quantity:
    """Accuracy from so many labels, mean over random choices of them, on a model's codes or a kind of features."""
    at = LABEL_COUNTS.index(count)
    if "vae" in signature(measure).parameters:
        quantity = of(measure, kind, "accuracy")
        return replace(
            quantity,
            formula=f"{quantity.formula}[{count}]",
            value=lambda run: mean(draw[at] for draw in quantity.needs[0].read(run)["accuracy"]),
        )
    need = Need(
        f"{measure.__name__}()",
        (),
        key=lambda run: data_key(measure, run.profile),
        read=lambda run: measured_data(measure, run.profile, cache=run.cache),
    )
    return _read(need, f".{kind}[{count}]", lambda found: mean(draw[at] for draw in found[kind]))


def history(model: str, field: str, *, part: int) -> Quantity:
    """What training recorded after 1/`part` of its epochs, and after one at least."""

    def read(run: Run) -> Any:
        return fetch(run.model(model), cache=run.cache, report=silently).record["history"]

    need = Need(f"history({model})", (model,), key=lambda run: key(run.model(model)), read=read)
    return _read(need, f".{field}[1/{part}]", lambda found: found[field][max(1, len(found[field]) // part) - 1])


def baseline(field: str, at: str = "") -> Quantity:
    """What the data score without a model; where this is several numbers, one of them."""
    need = Need(
        "baselines",
        (),
        lambda run: data_key(score_data, run.profile),
        lambda run: baselines(run.profile, cache=run.cache),
    )
    value = attrgetter(field)
    return _read(need, f".{field}[{at}]", lambda found: value(found)[at]) if at else _read(need, f".{field}", value)


def audited(field: str) -> Quantity:
    """What the audit of public programs counts."""

    def tally(run: Run) -> dict[str, int]:
        return audit.tally(audit.load())

    need = Need("audit", (), key=lambda run: digest(tally(run)), read=tally)
    return _read(need, f".{field}", itemgetter(field))


def constant(value: float) -> Quantity:
    """The same number under every run."""
    return Quantity(f"{value:g}", (), lambda run: value)


def largest(quantities: Sequence[Quantity]) -> Quantity:
    """The largest of them."""
    return _combined(f"max({_listed(quantities)})", max, *quantities)


def least(quantities: Sequence[Quantity]) -> Quantity:
    """The least of them."""
    return _combined(f"min({_listed(quantities)})", min, *quantities)


def rises(quantities: Sequence[Quantity], *, strictly: bool) -> Quantity:
    """How often one of them is greater than the one before, or not less."""
    above = gt if strictly else ge
    name = "rises" if strictly else "stays"
    return _combined(f"{name}({_listed(quantities)})", lambda *v: sum(above(b, a) for a, b in pairwise(v)), *quantities)


def least_loss(base: Quantity, others: Sequence[tuple[Quantity, Quantity]], share: Quantity, *, by: float) -> Quantity:
    """The least of `base` minus the first of each pair, among those whose second is `by` or more from `share`; nan
    where none is.
    """

    def value(base: float, share: float, *flat: float) -> float:
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return min((base - bound for bound, moved in pairs if abs(moved - share) >= by), default=nan)

    flat = list(chain.from_iterable(others))
    name = f"least_loss({base.formula}, {share.formula}, by={by:g}, {_listed(flat)})"
    return _combined(name, value, base, share, *flat)


def _read(need: Need, field: str, pick: Callable[[Any], float]) -> Quantity:
    return Quantity(need.name + field, (need,), lambda run: pick(need.read(run)))


def _combined(formula: str, function: Callable[..., float], *quantities: Quantity) -> Quantity:
    needs = {need.name: need for need in chain.from_iterable(quantity.needs for quantity in quantities)}
    return Quantity(formula, tuple(needs.values()), lambda run: function(*(q.value(run) for q in quantities)))


def _listed(quantities: Sequence[Quantity]) -> str:
    return ", ".join(quantity.formula for quantity in quantities)
