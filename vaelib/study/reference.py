r"""Reference results: the claims measured on much data and many seeds, kept in small files beside the text.

A file holds every value, so that verdicts are drawn anew from it whenever it is read; the thresholds are those of
today. It also says what it depends on: when models, measurements or claims have changed since, it is out of date.
"""

import ast
import inspect
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from math import isclose, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

from vaelib import data, linear
from vaelib.errors import MendableError
from vaelib.study import audit
from vaelib.study import claims as hypotheses
from vaelib.study import verdicts as claims
from vaelib.study.experiment import Experiment
from vaelib.study.measurements import reference
from vaelib.study.models import LARGE_BETA, PICTURED, TABLED, experiments
from vaelib.study.provenance import code_digest, digest, versions
from vaelib.study.trained import entry
from vaelib.study.verdicts import Claim, ClaimRecord, conclude, table

#: Modules whose code makes a value from a trained model.
MEASURING = ("vaelib.measurements", "vaelib.probes", "vaelib.audit")


class PublishedError(MendableError, ValueError):
    """A file of results cannot be read or written; the message names it and what to do."""


class Published(NamedTuple):
    """The records of one file, and what it says of itself."""

    records: list[ClaimRecord]
    origin: dict[str, Any]
    """Dataset, commit, versions, seconds of training and what the values depend on."""


def models(profile: str, seeds: Sequence[int]) -> list[Experiment]:
    """Every model that a claim needs under these seeds."""
    needed = {
        model.key: model
        for seed in seeds
        for model in experiments(profile, seed=seed).values()
        if model.name not in (*PICTURED, *TABLED)
    }
    return list(needed.values())


def depends(profile: str, seeds: Sequence[int]) -> dict[str, str]:
    """Digests of what the values of the claims depend on: the models, the code of the measures, and the claims."""
    return {
        "models": digest(sorted((model.name, model.seed, model.key) for model in models(profile, seeds))),
        "measurements": digest(
            [*(code_digest(module) for module in MEASURING), audit.TABLE.read_text(encoding="utf-8")]
        ),
        "claims": digest([_code(part) for part in (hypotheses, claims.Run, claims.value)]),
    }


def _code(part: Any) -> str:
    """Without comments and layout."""
    return ast.unparse(ast.parse(inspect.getsource(part)))


def origin(profile: str, seeds: Sequence[int]) -> dict[str, Any]:
    """What a file says of itself: data, seeds, commit, versions, and what the values depend on; ask before the run."""
    return {
        "profile": profile,
        "dataset": data.load(profile).dataset,
        "seeds": list(seeds),
        "commit": commit(),
        "versions": versions(),
        "depends": depends(profile, seeds),
    }


def kept(file: Path, profile: str, seeds: Sequence[int]) -> Published | None:
    """The results of a file that need not be measured again: of this profile and code, under some of these seeds."""
    try:
        found = load(file)
    except PublishedError:  # missing or damaged: measured anew, which costs little where the cache has the models
        return None
    stored, told = found.origin["seeds"], (found.origin["profile"], found.origin["depends"])
    return found if set(stored) <= set(seeds) and told == (profile, depends(profile, stored)) else None


def together(parts: Sequence[Sequence[ClaimRecord]], seeds: Sequence[int]) -> list[ClaimRecord]:
    """One record of each claim from records of the same claims under seeds of their own, in the order of `seeds`."""
    return [
        _together(claim, records, seeds)
        for claim, records in zip(hypotheses.CLAIMS, zip(*parts, strict=True), strict=True)
    ]


def _together(claim: Claim, records: Sequence[ClaimRecord], seeds: Sequence[int]) -> ClaimRecord:
    columns = zip(*(record.findings for record in records), strict=True)  # the same finding of each part
    by_seed = [
        {
            seed: value
            for r, f in zip(records, column, strict=True)
            for seed, value in zip(r.seeds, f.values, strict=True)
        }
        for column in columns
    ]
    values = iter([[found[seed] for seed in seeds] for found in by_seed])
    return _concluded(claim, values, records[0].profile, seeds)


def save(
    records: Sequence[ClaimRecord],
    file: Path,
    *,
    began: dict[str, Any],
    before: Published | None = None,
    cache: Path | str | None = None,
) -> None:
    """Write the records with their origin, as it was when the run `began`, as JSON.

    `before` are results that were `kept` and are among the records. Raises `PublishedError` if the code was edited
    while it ran.
    """
    profile, seeds = began["profile"], began["seeds"]
    done, seconds = (before.origin["seeds"], before.origin["training_seconds"]) if before else ([], 0)
    if depends(profile, seeds) != began["depends"]:
        raise PublishedError(
            f"the code was edited while the claims were measured, so {file} was not written; run the same command "
            "again, it measures only what has changed"
        )
    findings = {
        record.id: [
            {"condition": f.condition, "metric": f.metric}
            | {"values": [_stored(v) for v in f.values], "mean": _stored(f.mean), "sd": _stored(f.spread)}
            for f in record.findings
        ]
        for record in records
    }
    new = [seed for seed in seeds if seed not in done]
    content = {
        **began,
        "training_seconds": seconds + round(_seconds(profile, new, cache)),
        "settings": settings(profile, cache=cache),
        "claims": findings,
    }
    partial = file.with_name(f".{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise PublishedError(
            f"{file} cannot be written ({error}) and is as it was; the models are kept, so free some space or choose "
            "another place and run the same command again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def settings(profile: str, *, cache: Path | str | None = None) -> dict[str, Any]:
    """What the settings of the claims, chosen on the digits, amount to on these data.

    The number of directions whose eigenvalue exceeds the largest weight (`vaelib.pca.active_directions`), and the
    precision of real images with noise of each standard deviation (`vaelib.study.measurements.Reference`).
    """
    eigenvalues = linear.eigenvalues(data.load(profile).train.images)
    return {
        "directions_above_large_beta": linear.active_directions(eigenvalues, beta=LARGE_BETA, sigma=1.0),
        "precision_noise": reference(profile, cache=cache).precision_noise,
    }


def load(file: Path) -> Published:
    """Read a file; claims that are not in it as they are today are left out.

    Raises `PublishedError` if it is no such file, or if means are not those of the values beside them.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found, profile, seeds = content.pop("claims"), content["profile"], content["seeds"]
        told = [_record(claim, found.get(claim.id, []), profile, seeds) for claim in hypotheses.CLAIMS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        command = f"make reference REFERENCE={file.stem}"
        raise PublishedError(f"{file} holds no results ({error!r}); restore it, or run: {command}") from error
    return Published([record for record in told if record], content)


def load_all(folder: Path) -> dict[str, Published]:
    """The results of every profile whose file is in the folder, in the order of the profiles."""
    return {profile: load(file) for profile in data.PROFILES if (file := folder / f"{profile}.json").is_file()}


def comparison_markdown(references: Mapping[str, Published]) -> str:
    """A line for each set of reference results: where it comes from, what it lacks, and whether it is out of date."""
    lines = []
    for profile, (records, told) in references.items():
        without = [record.id for record in records if any(isnan(value) for f in record.findings for value in f.values)]
        lacks = f" Some values of {', '.join(without)} are missing: a model could not be trained." if without else ""
        now = depends(profile, told["seeds"])
        changed = [name for name in now if now[name] != told["depends"].get(name)]
        old = f" **Out of date**: {', '.join(changed)} changed since." if changed else ""
        lines.append(
            f"- **{profile}**: {told['dataset']}, seeds {', '.join(map(str, told['seeds']))}, "
            f"{told['training_seconds'] / 3600:.1f} hours of training on one core, torch {told['versions']['torch']}, "
            f"commit `{told['commit']}`.{lacks}{old}"
        )
    return "\n".join(lines) or "No reference results are stored with this text."


def carried_over_markdown(one: Sequence[ClaimRecord], other: Sequence[ClaimRecord]) -> str:
    """How many verdicts two sets of records share, and the others, each with its condition."""
    by_id = {record.id: record for record in other}
    pairs = [(record, by_id[record.id]) for record in one if record.id in by_id]
    different = [(a, b) for a, b in pairs if (a.verdict, a.condition) != (b.verdict, b.condition)]
    rows = [(a.id, a.statement, _in_words(a), _in_words(b)) for a, b in different]
    same = f"{len(pairs) - len(different)} of {len(pairs)} verdicts are the same, with their conditions.\n\n"
    return same + table(rows, "claim", "the source says", one[0].profile, other[0].profile)


def _in_words(record: ClaimRecord) -> str:
    return f"{record.verdict} ({record.condition})" if record.condition else str(record.verdict)


def _record(claim: Claim, found: Sequence[dict[str, Any]], profile: str, seeds: Sequence[int]) -> ClaimRecord | None:
    """The record that follows from stored findings; None if they are those of another form of the claim."""
    values = iter([[nan if value is None else value for value in finding["values"]] for finding in found])
    if len(found) != sum(len(case.criteria) for case in claim.cases):
        return None
    record = _concluded(claim, values, profile, seeds)
    same = [(f["condition"], f["metric"]) for f in found] == [(f.condition, f.metric) for f in record.findings]
    if not same:
        return None
    for stored, finding in zip(found, record.findings, strict=True):
        if not all(_same(stored[name], value) for name, value in (("mean", finding.mean), ("sd", finding.spread))):
            raise ValueError(f"the values of {claim.id}, {finding.metric}, are not those of its mean")
    return record


def _same(stored: float | None, value: float) -> bool:
    return isnan(value) if stored is None else isclose(stored, value, rel_tol=1e-9, abs_tol=1e-12)


def _stored(value: float) -> float | None:
    """JSON has no nan."""
    return None if isnan(value) else value


def _concluded(claim: Claim, values: Iterator[Sequence[float]], profile: str, seeds: Sequence[int]) -> ClaimRecord:
    """The record of a claim from the values of its criteria, one after the other."""
    return conclude(claim, profile, seeds=seeds, values=[[next(values) for _ in case.criteria] for case in claim.cases])


def _seconds(profile: str, seeds: Sequence[int], cache: Path | str | None) -> float:
    """Seconds of training of all models behind the claims that could be trained, each on one core."""
    places = [entry(model, cache=cache) for model in models(profile, seeds)]
    return sum(place.read()[0]["seconds"] for place in places if place.exists())


def commit() -> str:
    """The commit of the checkout, marked where more than results was changed; 'unknown' outside of one."""
    try:
        said = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)book/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{said}-dirty" if changed else said


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()
