r"""What section 5.5 rests on, as reference results: its frames on much data, kept beside the values of the claims.

A file `evidence/PROFILE.json` holds frames by name and seed, each part with a digest of what it depends on: the models
and measures that it is read from, and the code that forms it. A part whose digest is not today's is out of date, and no
other. Numbers have six significant digits there. A file may hold some frames under some seeds, and says which.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf, isinf, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from vaelib import data
from vaelib.study import comparison, fair, ladder, profiles
from vaelib.study.classifier import classifier_experiment, judge_experiments
from vaelib.study.experiment import Experiment, VaeExperiment
from vaelib.study.measures import Asked, budget, judged_data
from vaelib.study.measures.baselines import score_data
from vaelib.study.models import contenders
from vaelib.study.reach import code_digest, digest
from vaelib.study.reference import ResultsError, results_folder
from vaelib.study.trained import entry, key
from vaelib.training import NonFiniteLossError

Cache = Path | str | None
#: Significant digits of what is kept.
DIGITS = 6
#: What a part says of itself.
HEAD = ("frame", "seed", "depends", "commit", "torch")
#: Numbers that JSON has no word for.
INFINITE = {"inf": inf, "-inf": -inf}


class Frame(NamedTuple):
    """How a frame is made, of what, and by which code beside that of its own module."""

    form: Callable[..., pd.DataFrame]
    """From a profile, seeds and, by name, the cache."""
    asked: Callable[[str, int], list[Asked]]
    """All that it is read from under a profile and a seed."""
    by: tuple[Callable[..., Any], ...] = ()
    """Functions of other modules that form it; what they reach in their own counts."""
    exact: tuple[Callable[..., Any], ...] = ()
    """What computes numbers that are no measurements; all that is reached from it counts."""
    seeded: bool = True
    """Whether seeds make a difference; what is measured of images alone has seed 0."""


class Part(NamedTuple):
    """A frame under one seed, and where it comes from."""

    frame: str
    seed: int
    depends: str
    commit: str
    torch: str
    found: pd.DataFrame

    @property
    def place(self) -> tuple[str, int]:
        """Its frame and seed."""
        return self.frame, self.seed


class Evidence(NamedTuple):
    """All that one file holds."""

    profile: str
    parts: tuple[Part, ...]

    def frame(self, name: str) -> pd.DataFrame:
        """A frame over all seeds that there are; raises `ResultsError` if there are none."""
        if found := [part.found for part in self.parts if part.frame == name]:
            return pd.concat(found, ignore_index=True)
        raise ResultsError(f"{name} of profile {self.profile} is not stored; run: {_command(self.profile, name)}")

    def seeds(self, name: str) -> list[int]:
        """The seeds under which a frame is there."""
        return [part.seed for part in self.parts if part.frame == name]

    def fair(self) -> pd.DataFrame:
        """What is judged of all contenders, with codes and bits under the seeds for which there are any."""
        found = self.frame("fair")
        for more in ("codes", "fair_bits"):
            found = fair.joined(found, self.frame(more)) if self.seeds(more) else found
        return found


def _references(profile: str, seeds: Sequence[int], *, cache: Cache) -> pd.DataFrame:
    return fair.references(profile, cache=cache)


def _budgets(profile: str, seeds: Sequence[int], *, cache: Cache) -> pd.DataFrame:
    return profiles.budgets(_contenders(profile), profile, seeds, cache=cache)


def _contenders(profile: str) -> list[str]:
    return [model.name for model in contenders(profile, seed=0)]


def _swept(points: Callable[[], Mapping[str, Any]], profile: str, seed: int) -> list[Asked]:
    return profiles.asked(points(), profiles.SWEPT, profile, seed)


def _timed(profile: str, seed: int) -> list[Asked]:
    return [*_swept(profiles.length_points, profile, seed), Asked(score_data, profile)]


def _budgeted(profile: str, seed: int) -> list[Asked]:
    return profiles.asked(_contenders(profile), (budget,), profile, seed)


def _linear(profile: str, seed: int) -> list[Asked]:
    return profiles.asked(profiles.linear_names(), profiles.LINEAR, profile, seed)


def _over(form: Callable[..., pd.DataFrame], asked: Callable[[str, int], list[Asked]], *exact: Any) -> Frame:
    """A frame of `vaelib.study.profiles`."""
    return Frame(form, asked, (comparison.frame,), exact)


#: The frames by name, the quickest first.
FRAMES = {
    "references": Frame(
        _references, lambda profile, seed: [Asked(judged_data, profile)], (fair.references,), seeded=False
    ),
    "linear": _over(profiles.linear, _linear),
    "over_sigma": _over(profiles.over_sigma, partial(_swept, profiles.sigma_points), profiles.best_linear),
    "over_dims": _over(profiles.over_dims, partial(_swept, profiles.dims_points), profiles.best_linear),
    "over_weights": _over(profiles.over_weights, partial(_swept, profiles.weight_points)),
    "budgets": Frame(_budgets, _budgeted, (profiles.budgets, comparison.frame)),
    "ladder": Frame(ladder.ladder, ladder.asked),
    "fair": Frame(fair.judged_table, fair.asked_judged),
    "codes": Frame(fair.codes_table, fair.asked_codes),
    "over_lengths": _over(profiles.over_lengths, _timed),
    "fair_bits": Frame(fair.bits_table, fair.asked_bits),
}


def depends(name: str, profile: str, seed: int) -> str:
    """Digest of all that a part follows from: code, and each measurement with the names of its model."""
    frame = FRAMES[name]
    code = [code_digest(function, within=function.__module__) for function in (frame.form, *frame.by)]
    read = [[*_names(asked.of), asked.key] for asked in frame.asked(profile, seed)]
    return digest([code, code_digest(*frame.exact), read])


def _names(of: VaeExperiment | str) -> list[str]:
    return [of] if isinstance(of, str) else [of.name, str(of.family), of.no_density]


def out_of_date(evidence: Evidence) -> list[tuple[str, int]]:
    """The parts that were formed by other code, other measures or on other models than today's, as frame and seed."""
    return [p.place for p in evidence.parts if p.depends != depends(p.frame, evidence.profile, p.seed)]


def missing(evidence: Evidence, names: Iterable[str], seeds: Iterable[int]) -> list[tuple[str, int]]:
    """Of these frames under these seeds what is not there or out of date, frame by frame in the order of the names."""
    seeds, old = tuple(seeds), out_of_date(evidence)
    there = {part.place for part in evidence.parts} - set(old)
    asked = [(name, seed) for name in names for seed in (seeds if FRAMES[name].seeded else (0,))]
    return [place for place in asked if place not in there]


def models(name: str, profile: str, seed: int, *, cache: Cache = None) -> list[Experiment]:
    """What has to be trained for a part: of all models behind it, with those that they start from, the missing ones."""
    needed: dict[str, Experiment] = {}
    asked = [found for found in FRAMES[name].asked(profile, seed) if not found.known(cache)]
    pending: list[Experiment | None] = [found.of for found in asked if isinstance(found.of, VaeExperiment)]
    pending += [judge for found in asked for judge in _judges(found, profile)]
    while pending:
        if (model := pending.pop()) and key(model) not in needed:
            needed[key(model)] = model
            pending.append(model.start)
    return [model for model in needed.values() if not entry(model, cache=cache).exists()]


def _judges(asked: Asked, profile: str) -> list[Experiment]:
    if asked.by_all:
        return [judge for several in judge_experiments(profile).values() for judge in several]
    return [classifier_experiment(profile)]


def pieces(name: str, profile: str, seed: int, *, cache: Cache = None) -> list[Callable[[], object]]:
    """The measurements behind a part that are not in the cache, one by one, for whoever makes them side by side."""
    return [partial(_answer, asked, cache) for asked in FRAMES[name].asked(profile, seed) if not asked.known(cache)]


def _answer(asked: Asked, cache: Cache) -> None:
    with suppress(NonFiniteLossError):
        asked.answer(cache)


def form(name: str, profile: str, seed: int, *, commit: str, cache: Cache = None) -> Part:
    """A part, from what is measured; measures and trains what is not."""
    told = depends(name, profile, seed)
    found = FRAMES[name].form(profile, (seed,), cache=cache)
    return Part(name, seed, told, commit, torch.__version__, found)


def kept(file: Path, profile: str) -> Evidence:
    """What a file holds, nothing if there is none; raises `ResultsError` for one of another profile, or of none."""
    found = load(file) if file.exists() else Evidence(profile, ())
    if found.profile != profile:
        raise ResultsError(f"{file} holds frames of profile {found.profile}; name another file for {profile}")
    return found


def load(file: Path) -> Evidence:
    """Read a file; frames that are no longer known are left out. Raises `ResultsError` if it is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        parts = [_loaded(part) for part in content["parts"] if part["frame"] in FRAMES]
        return Evidence(content["profile"], tuple(parts))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{file} holds no frames ({error!r:.100}); restore it, or remove it and run: {_command(file.stem)}"
        ) from error


def load_all(folder: Path | None = None) -> dict[str, Evidence]:
    """What is stored of each profile, by default beside the results of the claims, in their order."""
    folder = folder or results_folder() / "evidence"
    return {profile: load(file) for profile in data.PROFILES if (file := folder / f"{profile}.json").is_file()}


def add(part: Part, file: Path, profile: str) -> None:
    """Put a part in its place in a file, which holds all of it or is as it was; the other parts stay as they are.

    Raises what `kept` does, and `ResultsError` if it cannot be written.
    """
    parts = {found.place: found for found in kept(file, profile).parts} | {part.place: part}
    names = list(FRAMES)
    order = sorted(parts, key=lambda place: (names.index(place[0]), place[1]))
    text = _written(profile, [parts[place] for place in order])
    partial_file = file.with_name(f".{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial_file.write_text(text, encoding="utf-8")
        partial_file.replace(file)
    except OSError as error:
        raise ResultsError(
            f"{file} cannot be written ({error}) and is as it was; what was measured is kept, so free some space or "
            "choose another place and run the same command again"
        ) from error
    finally:
        partial_file.unlink(missing_ok=True)


def said_markdown(evidence: Mapping[str, Evidence]) -> str:
    """A line for each profile: which frames are stored under which seeds, which are not, and what is out of date."""
    lines = []
    for profile, found in evidence.items():
        there = [f"`{name}` ({_seeds(name, found.seeds(name))})" for name in FRAMES if found.seeds(name)]
        lacks = ", ".join(f"`{name}`" for name in FRAMES if not found.seeds(name))
        old: dict[str, list[int]] = {}
        for name, seed in out_of_date(found):
            old.setdefault(name, []).append(seed)
        late = ", ".join(f"`{name}` ({_seeds(name, seeds)})" for name, seeds in old.items())
        commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(part.commit for part in found.parts))
        lines.append(
            f"- **{profile}**: {', '.join(there) or 'nothing'}; commit {commits or 'none'}."
            + (f" Not measured: {lacks}." if lacks else "")
            + (f" **Out of date**: {late}." if late else "")
        )
    return "\n".join(lines) or "No frames are stored with this text."


def _seeds(name: str, seeds: Sequence[int]) -> str:
    if not FRAMES[name].seeded:
        return "no seed"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _command(profile: str, *names: str) -> str:
    return f"make reference REFERENCE={profile}" + (f" FRAMES={','.join(names)}" if names else "")


def _written(profile: str, parts: Iterable[Part]) -> str:
    """JSON with a line for each row, so that differences are those of rows."""
    texts = []
    for part in parts:
        head = {name: getattr(part, name) for name in HEAD} | {"columns": list(part.found)}
        rows = part.found.astype(object).to_numpy().tolist()
        texts.append(_with_lines(head, "rows", (json.dumps(list(map(_plain, row)), allow_nan=False) for row in rows)))
    return _with_lines({"profile": profile, "significant_digits": DIGITS}, "parts", texts) + "\n"


def _with_lines(head: Mapping[str, Any], name: str, values: Iterable[str]) -> str:
    """A JSON object whose last field is an array with a line for each value."""
    return json.dumps(head).removesuffix("}") + f', "{name}": [\n' + ",\n".join(values) + "\n]}"


def _loaded(part: Mapping[str, Any]) -> Part:
    rows = [[_number(cell) for cell in row] for row in part["rows"]]
    found = pd.DataFrame(rows, columns=part["columns"])
    return Part(found=found, **{name: part[name] for name in HEAD})


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: no nan, and numbers with so many digits."""
    if not isinstance(cell, float):
        return cell
    if isnan(cell):
        return None
    return str(cell) if isinf(cell) else float(f"{cell:.{DIGITS}g}")


def _number(cell: Any) -> Any:
    return nan if cell is None else INFINITE.get(cell, cell)
