r"""The audit of public implementations as data: what each program does, counted and held against the theory."""

import inspect
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tabulate import tabulate
from torch import Tensor

from vaelib import practice
from vaelib.errors import MendableError
from vaelib.practice import implied_beta


class AuditError(MendableError, ValueError):
    """The table is malformed; the message names the file, the program and the entry."""


class Family(StrEnum):
    """What p(x|z) is on the path that runs when nothing is chosen."""

    GREY_BERNOULLI = "grey Bernoulli"
    FIXED_SIGMA = "fixed sigma"
    NATIVE = "native"
    LEARNED = "learned scale or other density"
    OTHER = "other"


class Samples(StrEnum):
    """What a program shows as samples of x."""

    MEAN = "mean"
    DRAW = "draw"
    BOTH = "both"
    OPTION = "option"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file of the program, and the lines, cells or functions in it."""

    path: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One loss of a program; what its fields mean stands at the top of the table."""

    default: bool
    gaussian: bool
    derivation: str
    name: str = ""
    effective_beta: float | None = None
    recipe: str = ""
    pixels: int = 784
    latents: int = 2
    batch: int = 2
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(not self.recipe or _recipe(self.recipe), f"vaelib.practice has no recipe {self.recipe!r}")
        positive = self.effective_beta is None or self.effective_beta > 0
        _check(positive, f"effective_beta is {self.effective_beta}; it must be positive")

    @property
    def implied_std(self) -> float | None:
        """Standard deviation of a pixel in the Gaussian ELBO that this loss is; None where it is none, or no number."""
        return self.effective_beta**0.5 if self.gaussian and self.effective_beta is not None else None


@dataclass(frozen=True, kw_only=True)
class Program:
    """One audited program; what its fields mean stands at the top of the table."""

    id: str
    in_tally: bool
    project: str
    commit: str
    places: tuple[Place, ...]
    family: Family
    scale_available: bool
    data: str
    samples: Samples
    maths_tested: bool
    remark: str
    objective: tuple[Objective, ...] = ()

    def __post_init__(self) -> None:
        commit, project = re.fullmatch(r"[0-9a-f]{40}", self.commit), re.fullmatch(r"[\w.-]+/[\w.-]+", self.project)
        _check(commit, f"commit is {self.commit!r}; it must be 40 hexadecimal digits")
        _check(project, f"project is {self.project!r}; it must be owner/repository")
        _check(self.places, "it needs at least one place")
        _check(sum(loss.default for loss in self.objective) < 2, "more than one objective is the default")

    @property
    def default(self) -> Objective | None:
        """The loss that runs when nothing is chosen, if there is one."""
        return next((objective for objective in self.objective if objective.default), None)

    @property
    def effective_beta(self) -> float | None:
        """Weight of the KL in the default loss; None where there is no such loss, or no number."""
        return self.default.effective_beta if self.default else None

    def url(self, place: Place) -> str:
        """Address of a place at the commit that was read."""
        lines = re.fullmatch(r"(\d+)(?:-(\d+))?", place.where)
        anchor = "#" + "-".join(f"L{line}" for line in lines.groups() if line) if lines else ""
        return f"https://github.com/{self.project}/blob/{self.commit}/{place.path}{anchor}"

    @property
    def link(self) -> str:
        """Markdown link from the project's name to the first place."""
        return f"[{self.project}]({self.url(self.places[0])})"

    @property
    def links(self) -> str:
        """Markdown links to all places."""
        names = [f"{place.path.rpartition('/')[2]} {place.where}".strip() for place in self.places]
        return ", ".join(f"[{name}]({self.url(place)})" for name, place in zip(names, self.places, strict=True))


#: What is counted over the programs of the tally, each by its default path unless the name says otherwise.
COUNTS: dict[str, Callable[[Program], bool]] = {
    "programs": lambda program: True,
    "grey_bernoulli": lambda program: program.family == Family.GREY_BERNOULLI,
    "fixed_sigma": lambda program: program.family == Family.FIXED_SIGMA,
    "native": lambda program: program.family == Family.NATIVE,
    "learned": lambda program: program.family == Family.LEARNED,
    "grey_or_fixed": lambda program: program.family in (Family.GREY_BERNOULLI, Family.FIXED_SIGMA),
    "kl_weight_not_one": lambda program: program.effective_beta not in (None, 1),
    "scale_available": lambda program: program.scale_available,
    "draws_shown": lambda program: program.samples in (Samples.DRAW, Samples.BOTH),
    "draws_on_request": lambda program: program.samples == Samples.OPTION,
    "means_only": lambda program: program.samples == Samples.MEAN,
    "nothing_shown": lambda program: program.samples == Samples.NONE,
    "maths_tested": lambda program: program.maths_tested,
}

#: The table of the book, beside this module.
TABLE = Path(__file__).with_suffix(".toml")


def load(path: Path | str = TABLE) -> tuple[Program, ...]:
    """Read the table, by default the book's; raises AuditError where it is malformed."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AuditError(f"{path}: {error}") from error
    if set(content) != {"program"} or not isinstance(content["program"], list):
        raise AuditError(f"{path}: it must hold [[program]] entries and nothing else")
    programs = []
    for number, entry in enumerate(content["program"], start=1):
        where = f"{path}, program {entry.get('id', f'number {number}')}"
        places = tuple(_record(Place, place, f"{where}, place") for place in entry.get("places", ()))
        losses = tuple(_record(Objective, loss, f"{where}, objective") for loss in entry.get("objective", ()))
        programs.append(_record(Program, {**entry, "places": places, "objective": losses}, where))
    repeated = [name for name, count in Counter(program.id for program in programs).items() if count > 1]
    if repeated:
        raise AuditError(f"{path}: more than one program has the id {', '.join(repeated)}")
    return tuple(programs)


def tally(programs: Sequence[Program]) -> dict[str, int]:
    """How many programs of the tally each of `COUNTS` holds for."""
    counted = [program for program in programs if program.in_tally]
    return {name: sum(holds(program) for program in counted) for name, holds in COUNTS.items()}


def as_markdown(programs: Sequence[Program]) -> str:
    """One row per program: the weight of its KL by default, its pixels, what it shows as samples."""
    weights = ["-" if p.effective_beta is None else f"{p.effective_beta:.3g}" for p in programs]
    rows = [(p.link, weight, p.data, p.samples) for p, weight in zip(programs, weights, strict=True)]
    headers = ("program", "weight of the KL", "pixels", "samples are")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def notes_markdown(programs: Sequence[Program]) -> str:
    """One row per program: the places that were read, how each weight of the KL comes about, and what else was seen."""
    rows = []
    for program in programs:
        losses = (f"{loss.name}: {loss.derivation}" if loss.name else loss.derivation for loss in program.objective)
        rows.append((program.project, program.links, "; ".join(losses), program.remark))
    return tabulate(rows, ("program", "read", "objective", "remark"), tablefmt="github", disable_numparse=True)


def implied_deviations(programs: Sequence[Program]) -> dict[str, list[tuple[float, bool]]]:
    """Per program with a squared error at a fixed scale: each implied standard deviation, and whether it is default."""
    marks: dict[str, list[tuple[float, bool]]] = {}
    for program in programs:
        for objective in program.objective:
            if objective.implied_std is not None:
                marks.setdefault(program.project, []).append((objective.implied_std, objective.default))
    return marks


def derived_beta(objective: Objective) -> float:
    """The effective beta of an objective from its recipe, not from the table; raises ValueError without a recipe."""
    recipe = _recipe(objective.recipe)
    if recipe is None:
        raise ValueError(f"vaelib.practice has no recipe {objective.recipe!r}")
    return implied_beta(
        partial(recipe, **objective.constants),
        gaussian=objective.gaussian,
        pixels=objective.pixels,
        latents=objective.latents,
        batch=objective.batch,
    )


def _recipe(name: str) -> Callable[..., Tensor] | None:
    """The function of `vaelib.practice` with this name, if it is defined there."""
    return dict(inspect.getmembers(practice, lambda found: inspect.getmodule(found) is practice)).get(name)


def _check(fact: object, complaint: str) -> None:
    if not fact:
        raise ValueError(complaint)


_T = TypeVar("_T", Place, Objective, Program)


def _record(kind: type[_T], entry: Mapping[str, Any], where: str) -> _T:
    """The entry as a record; raises AuditError for a field too many, too few, of another type or value."""
    types = {spec.name: spec.type for spec in fields(kind)}
    try:
        return kind(**{name: _typed(types.get(name), name, value) for name, value in entry.items()})
    except (TypeError, ValueError) as error:
        raise AuditError(f"{where}: {str(error).partition('__init__() ')[2] or error}") from error


def _typed(wanted: Any, name: str, value: Any) -> Any:
    """The value of a field, words as members of their enumeration; raises ValueError where it is of another type."""
    said = f"{name} is {value!r}; it must be "
    if wanted in (Family, Samples):
        _check(value in list(wanted), said + "one of " + ", ".join(f"'{choice}'" for choice in wanted))
        return wanted(value)
    _check(wanted not in (bool, str, int) or type(value) is wanted, said + getattr(wanted, "__name__", ""))
    _check(wanted != float | None or type(value) in (int, float), said + "a number")
    return value
