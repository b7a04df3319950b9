r"""Reference results: the claims measured on much data and many seeds, kept in small files beside the text.

A file holds every value, so that verdicts are drawn anew from it whenever it is read; the thresholds are those of
today. It also says, for each claim, what its values depend on: when a formula, a measure or a model behind it has
changed since, that claim is out of date, and no other.
"""

import json
from collections.abc import Mapping, Sequence
from math import isclose, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

from vaelib import data
from vaelib.errors import MendableError
from vaelib.pca import active_directions, eigenvalues
from vaelib.study import claims
from vaelib.study.claims import Task, quantities
from vaelib.study.claims.criteria import Claim, Kind
from vaelib.study.claims.quantities import Run
from vaelib.study.measures import baselines
from vaelib.study.models import LARGE_BETA
from vaelib.study.reach import code_digest, digest
from vaelib.study.trained import entry, images, versions
from vaelib.study.verdicts import ClaimRecord, Finding, conclude, evaluate, table

#: What formulas are made by: their code counts as their text does. What they read has keys of its own.
FORMULAS = (
    quantities.of,
    quantities.asked,
    quantities.real,
    quantities.accuracy,
    quantities.least_loss,
    quantities.history,
    quantities.baseline,
    quantities.audited,
    quantities.largest,
    quantities.least,
    quantities.rises,
)


class ResultsError(MendableError, ValueError):
    """A file of results cannot be read or written; the message names it and what to do."""


class Results(NamedTuple):
    """The records of one file, and what it says of itself."""

    records: list[ClaimRecord]
    origin: dict[str, Any]
    """Dataset, commit, versions, seconds of training and what the values depend on."""

    def has(self, task: Task) -> bool:
        """Whether a claim is there under a seed."""
        claim, run = task
        return any(record.id == claim.id and run.seed in record.seeds for record in self.records)


def depends(profile: str, seeds: Sequence[int]) -> dict[str, str]:
    """For each claim a digest of its formulas, and under each seed of all that these are read from."""
    runs = [Run(profile, seed) for seed in seeds]
    return {claim.id: digest([_depends(claim, run) for run in runs]) for claim in claims.CLAIMS}


def _depends(claim: Claim, run: Run) -> list[list[str]]:
    code = code_digest(*FORMULAS, within=Run.__module__)
    found = [measurand.criterion.quantity for measurand in claim.measurands]
    return [[code, quantity.formula, *(need.key(run) for need in quantity.needs)] for quantity in found]


def out_of_date(results: Results) -> list[str]:
    """The claims whose values were measured by another formula, by other measures or on other models than today's."""
    told, now = results.origin["depends"], depends(results.origin["profile"], results.origin["seeds"])
    return [record.id for record in results.records if told.get(record.id) != now[record.id]]


def origin(profile: str, seeds: Sequence[int], *, commit: str) -> dict[str, Any]:
    """What a file says of itself: data, seeds, commit, versions, and what the values depend on; ask before the run."""
    return {
        "profile": profile,
        "dataset": images(profile).name,
        "seeds": list(seeds),
        "commit": commit,
        "versions": versions(),
        "depends": depends(profile, seeds),
    }


def kept(file: Path, profile: str, seeds: Sequence[int]) -> Results:
    """What need not be measured again: of this profile, under some of these seeds, and not out of date."""
    nothing = Results([], {})
    try:
        found = load(file)
    except ResultsError:  # missing or damaged: measured anew, which costs little where the cache has the models
        return nothing
    if found.origin["profile"] != profile or not set(found.origin["seeds"]) <= set(seeds):
        return nothing
    old = out_of_date(found)
    records = [record for record in found.records if record.id not in old]
    return Results(records, found.origin) if records else nothing


def missing(before: Results, profile: str, seeds: Sequence[int], *, cache: Path | str | None = None) -> list[Task]:
    """The claims and seeds that are not among the results."""
    return [task for task in claims.tasks(profile, seeds, cache) if not before.has(task)]


def completed(
    before: Results, profile: str, seeds: Sequence[int], *, cache: Path | str | None = None
) -> list[ClaimRecord]:
    """Every claim under all of these seeds: what is among the results as it is there, what is `missing` measured."""
    there = {record.id: record for record in before.records}
    return [_completed(there.get(claim.id), claim, profile, seeds, cache) for claim in claims.CLAIMS]


def _completed(
    before: ClaimRecord | None, claim: Claim, profile: str, seeds: Sequence[int], cache: Path | str | None
) -> ClaimRecord:
    there = _by_seed(before) if before else {}
    added = evaluate(claim, profile, seeds=[seed for seed in seeds if seed not in there], cache=cache)
    found = there | _by_seed(added)
    return conclude(claim, profile, seeds=seeds, values=list(zip(*(found[seed] for seed in seeds), strict=True)))


def _by_seed(record: ClaimRecord) -> dict[int, tuple[float, ...]]:
    """The values of all criteria under each seed."""
    columns = zip(*(finding.values for finding in record.findings), strict=True)
    return dict(zip(record.seeds, columns, strict=True))


def save(
    records: Sequence[ClaimRecord],
    file: Path,
    *,
    began: dict[str, Any],
    before: Results,
    cache: Path | str | None = None,
) -> None:
    """Write the records with their origin, as it was when the run `began`, as JSON; `before` is what was `kept`.

    What the values depend on is read from the code once, before the run, and is what they were looked up by: whoever
    edits the code meanwhile leaves a file that is out of date, not one that is wrong.
    """
    profile, seeds = began["profile"], began["seeds"]
    seconds = before.origin.get("training_seconds", 0) + round(_seconds(before, profile, seeds, cache))
    found = {record.id: [_stored(finding) for finding in record.findings] for record in records}
    more = {"training_seconds": seconds, "settings": settings(profile, cache=cache), "claims": found}
    partial = file.with_name(f".{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(began | more, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise ResultsError(
            f"{file} cannot be written ({error}) and is as it was; the models are kept, so free some space or choose "
            "another place and run the same command again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def settings(profile: str, *, cache: Path | str | None = None) -> dict[str, Any]:
    """What the settings of the claims, chosen on the digits, amount to on these data.

    The number of directions whose eigenvalue exceeds the largest weight (`vaelib.pca.active_directions`), and the
    precision of real images with noise of each standard deviation (`vaelib.study.measures.baselines`).
    """
    spectrum = eigenvalues(images(profile).train.images)
    return {
        "directions_above_large_beta": active_directions(spectrum, beta=LARGE_BETA, sigma=1.0),
        "precision_noise": baselines(profile, cache=cache).precision_noise,
    }


def load(file: Path) -> Results:
    """Read a file; claims that are not in it as they are today are left out.

    Raises `ResultsError` if it is no such file, or if means are not those of the values beside them.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found, profile, seeds = content.pop("claims"), content["profile"], content["seeds"]
        records = [_loaded(claim, found.get(claim.id, []), profile, seeds) for claim in claims.CLAIMS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        command = f"make reference REFERENCE={file.stem}"
        raise ResultsError(f"{file} holds no results ({error!r:.100}); restore it, or run: {command}") from error
    return Results([record for record in records if record], content)


def results_folder() -> Path:
    """`book/results` of the checkout that this code is in, else (installed) `results` beside the notebook.

    Raises `ResultsError` if neither holds results.
    """
    places = Path(__file__).resolve().parents[2] / "book" / "results", Path("results").resolve()
    for place in places:
        if any(place.glob("*.json")):
            return place
    mend = "restore the first, or open the notebook in the folder book/ of its repository"
    raise ResultsError(f"neither {places[0]} nor {places[1]} holds reference results; {mend}")


def load_all(folder: Path | None = None) -> dict[str, Results]:
    """The results of every profile whose file is in the folder, by default :func:`results_folder`, in their order.

    Raises `ResultsError` if there is no such folder.
    """
    folder = folder or results_folder()
    if not folder.is_dir():
        raise ResultsError(f"{folder} is no folder; the reference results are in book/results of the repository")
    return {profile: load(file) for profile in data.PROFILES if (file := folder / f"{profile}.json").is_file()}


def comparison_markdown(references: Mapping[str, Results]) -> str:
    """A line for each set of reference results: where it comes from, what it lacks, and what of it is out of date."""
    lines = []
    for profile, results in references.items():
        told, old = results.origin, out_of_date(results)
        without = [r.id for r in results.records if any(len(f.known) < len(f.values) for f in r.findings)]
        lacks = f" Some values of {', '.join(without)} are missing: a model could not be trained." if without else ""
        lines.append(
            f"- **{profile}**: {told['dataset']}, seeds {', '.join(map(str, told['seeds']))}, "
            f"{told['training_seconds'] / 3600:.1f} hours of training on one core, torch {told['versions']['torch']}, "
            f"commit `{told['commit']}`.{lacks}" + (f" **Out of date**: {', '.join(old)}." if old else "")
        )
    return "\n".join(lines) or "No reference results are stored with this text."


def carried_over_markdown(one: Sequence[ClaimRecord], other: Sequence[ClaimRecord]) -> str:
    """How many verdicts on measurements two sets of records share, and all that differ, each with its condition."""
    by_id = {record.id: record for record in other}
    pairs = [(record, by_id[record.id]) for record in one if record.id in by_id]
    rows = [(a.id, a.claim.statement, a.words, b.words) for a, b in pairs if a.words != b.words]
    agree = [a.words == b.words for a, b in pairs if a.claim.kind == Kind.MEASUREMENT]
    same = f"{sum(agree)} of {len(agree)} verdicts on measurements are the same, with their conditions.\n\n"
    return same + table(rows, "claim", "the source says", one[0].profile, other[0].profile)


def _stored(finding: Finding) -> dict[str, Any]:
    """A finding as JSON, which has no nan."""
    values = [None if isnan(value) else value for value in (*finding.values, finding.mean, finding.spread)]
    said = {"condition": finding.condition, "metric": finding.metric, "role": str(finding.role)}
    said |= {"control": finding.control} if finding.control else {}
    return said | {"values": values[:-2], "mean": values[-2], "sd": values[-1]}


def _loaded(claim: Claim, stored: Sequence[dict[str, Any]], profile: str, seeds: Sequence[int]) -> ClaimRecord | None:
    """The record that follows from stored findings; None if they are those of another form of the claim."""
    there = [(found["condition"], found["metric"], found["role"], found.get("control", "")) for found in stored]
    if there != [(m.condition, m.metric, m.role, m.control) for m in claim.measurands]:
        return None
    values = [[nan if value is None else value for value in found["values"]] for found in stored]
    record = conclude(claim, profile, seeds=seeds, values=values)
    for told, finding in zip(stored, record.findings, strict=True):
        if not (_same(told["mean"], finding.mean) and _same(told["sd"], finding.spread)):
            raise ValueError(f"the values of {claim.id}, {finding.metric}, are not those of its mean")
    return record


def _same(stored: float | None, value: float) -> bool:
    return isnan(value) if stored is None else isclose(stored, value, rel_tol=1e-9, abs_tol=1e-12)


def _seconds(before: Results, profile: str, seeds: Sequence[int], cache: Path | str | None) -> float:
    """Seconds of training of the models that only the claims and seeds beyond `before` need, each on one core."""
    tasks = claims.tasks(profile, seeds, cache)
    done = claims.models(task for task in tasks if before.has(task))
    added = claims.models(task for task in tasks if not before.has(task))
    places = [entry(model, cache=cache) for key, model in added.items() if key not in done]
    return sum(place.read()[0]["seconds"] for place in places if place.exists())
