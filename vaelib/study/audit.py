r"""The audit of public implementations as data: what each program does, counted and held against the theory."""

import inspect
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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

    @property
    def default(self) -> Objective | None:
        """The loss that runs when nothing is chosen, if there is one."""
        return next((objective for objective in self.objective if objective.default), None)

    def url(self, place: Place) -> str:
        """Address of a place at the commit that was read."""
        lines = re.fullmatch(r"(\d+)(?:-(\d+))?", place.where)
        anchor = (
            "".join(f"{mark}L{line}" for mark, line in zip("#-", lines.groups(), strict=True) if line) if lines else ""
        )
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


class Tally(NamedTuple):
    """Counts over the programs that are in the tally, each by its default path unless its name says otherwise."""

    programs: int
    grey_bernoulli: int
    fixed_sigma: int
    native: int
    learned: int
    grey_or_fixed: int
    kl_weight_not_one: int
    scale_available: int
    draws_shown: int
    draws_on_request: int
    means_only: int
    nothing_shown: int
    maths_tested: int


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
        objectives = tuple(_record(Objective, loss, f"{where}, objective") for loss in entry.get("objective", ()))
        program = _record(Program, {**entry, "places": places, "objective": objectives}, where)
        _check(program, where)
        programs.append(program)
    repeated = [name for name, count in Counter(program.id for program in programs).items() if count > 1]
    if repeated:
        raise AuditError(f"{path}: more than one program has the id {', '.join(repeated)}")
    return tuple(programs)


def tally(programs: Sequence[Program]) -> Tally:
    """Count what the table says."""
    counted = [program for program in programs if program.in_tally]
    families = Counter(program.family for program in counted)
    samples = Counter(program.samples for program in counted)
    weights = [program.default.effective_beta for program in counted if program.default]
    return Tally(
        programs=len(counted),
        grey_bernoulli=families[Family.GREY_BERNOULLI],
        fixed_sigma=families[Family.FIXED_SIGMA],
        native=families[Family.NATIVE],
        learned=families[Family.LEARNED],
        grey_or_fixed=families[Family.GREY_BERNOULLI] + families[Family.FIXED_SIGMA],
        kl_weight_not_one=sum(weight is not None and weight != 1 for weight in weights),
        scale_available=sum(program.scale_available for program in counted),
        draws_shown=samples[Samples.DRAW] + samples[Samples.BOTH],
        draws_on_request=samples[Samples.OPTION],
        means_only=samples[Samples.MEAN],
        nothing_shown=samples[Samples.NONE],
        maths_tested=sum(program.maths_tested for program in counted),
    )


def as_markdown(programs: Sequence[Program]) -> str:
    """One row per program: the weight of its KL by default, its pixels, what it shows as samples."""
    rows = [(program.link, _weight(program.default), program.data, program.samples) for program in programs]
    headers = ("program", "weight of the KL", "pixels", "samples are")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def notes_markdown(programs: Sequence[Program]) -> str:
    """One row per program: the places that were read, how each weight of the KL comes about, and what else was seen."""
    rows = []
    for program in programs:
        losses = (f"{loss.name}: {loss.derivation}" if loss.name else loss.derivation for loss in program.objective)
        rows.append((program.project, program.links, "; ".join(losses), program.remark))
    return tabulate(rows, ("program", "read", "objective", "remark"), tablefmt="github", disable_numparse=True)


def _weight(loss: Objective | None) -> str:
    return "-" if loss is None or loss.effective_beta is None else f"{loss.effective_beta:.3g}"


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


_T = TypeVar("_T", Place, Objective, Program)


def _record(kind: type[_T], entry: Mapping[str, Any], where: str) -> _T:
    """The entry as a record, with every field of the right type."""
    known = {spec.name: spec for spec in fields(kind)}
    unknown = [name for name in entry if name not in known]
    required = (name for name, spec in known.items() if spec.default is spec.default_factory is MISSING)
    missing = [name for name in required if name not in entry]
    if unknown:
        raise AuditError(f"{where}: unknown {', '.join(unknown)}")
    if missing:
        raise AuditError(f"{where}: missing {', '.join(missing)}")
    values = {}
    for name, value in entry.items():
        wanted = known[name].type
        if isinstance(wanted, type) and issubclass(wanted, StrEnum):
            choices = ", ".join(f"'{choice}'" for choice in wanted)
            if value not in list(wanted):
                raise AuditError(f"{where}: {name} is {value!r}; it must be one of {choices}")
            value = wanted(value)
        elif wanted in (bool, str, int) and type(value) is not wanted:
            raise AuditError(f"{where}: {name} is {value!r}; it must be {wanted.__name__}")
        elif wanted == float | None and type(value) not in (int, float):
            raise AuditError(f"{where}: {name} is {value!r}; it must be a number")
        values[name] = value
    return kind(**values)


def _check(program: Program, where: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{40}", program.commit):
        raise AuditError(f"{where}: commit is {program.commit!r}; it must be 40 hexadecimal digits")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", program.project):
        raise AuditError(f"{where}: project is {program.project!r}; it must be owner/repository")
    if not program.places:
        raise AuditError(f"{where}: it needs at least one place")
    if sum(objective.default for objective in program.objective) > 1:
        raise AuditError(f"{where}: more than one objective is the default")
    for objective in program.objective:
        if objective.recipe and _recipe(objective.recipe) is None:
            raise AuditError(f"{where}: vaelib.practice has no recipe {objective.recipe!r}")
        if objective.effective_beta is not None and not objective.effective_beta > 0:
            raise AuditError(f"{where}: effective_beta is {objective.effective_beta}; it must be positive")
