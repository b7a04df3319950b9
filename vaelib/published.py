r"""Reference results: the claims measured once on much data and many seeds, kept in small files beside the text.

A file holds every value, so that verdicts are drawn anew from it whenever it is read; the thresholds are those of
today. It also says what it depends on: when models, measurements or claims have changed since, it is out of date.
"""

import ast
import inspect
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaelib import data, hypotheses
from vaelib.catalogue import PICTURED, TABLED, experiments
from vaelib.claims import ClaimRecord, conclude
from vaelib.errors import MendableError
from vaelib.experiments import Experiment
from vaelib.provenance import code_digest, digest, versions
from vaelib.trained import entry

#: Modules whose code makes a value from a trained model.
MEASURING = ("vaelib.measurements", "vaelib.probes", "vaelib.audit")


class PublishedError(MendableError, ValueError):
    """A file of results cannot be read, or belongs to other claims; the message names it and the command to run."""


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
        "models": digest(sorted(model.key for model in models(profile, seeds))),
        "measurements": digest([code_digest(module) for module in MEASURING]),
        "claims": digest(ast.unparse(ast.parse(inspect.getsource(hypotheses)))),  # without comments and layout
    }


def save(records: Sequence[ClaimRecord], file: Path, *, cache: Path | str | None = None) -> None:
    """Write the records of all claims, with where they come from, as JSON."""
    profile, seeds = records[0].profile, records[0].seeds
    content = {
        "profile": profile,
        "dataset": data.load(profile).dataset,
        "seeds": list(seeds),
        "commit": _commit(),
        "versions": versions(),
        "training_seconds": round(_seconds(profile, seeds, cache)),
        "depends": depends(profile, seeds),
        "claims": {
            record.id: [
                {"condition": f.condition, "metric": f.metric, "values": list(f.values), "mean": f.mean, "sd": f.spread}
                for f in record.findings
            ]
            for record in records
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(file: Path) -> Published:
    """Read a file; raises `PublishedError` if it is no such file or its claims are not those of today."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found, profile, seeds = content.pop("claims"), content["profile"], content["seeds"]
        records = []
        for claim in hypotheses.CLAIMS:
            findings = iter(found[claim.id])
            values = [[next(findings)["values"] for _ in case.criteria] for case in claim.cases]
            record = conclude(claim, profile, seeds=seeds, values=values)
            told = [(f["condition"], f["metric"]) for f in found[claim.id]]
            if told != [(f.condition, f.metric) for f in record.findings]:
                raise ValueError(f"{claim.id} was measured otherwise")
            records.append(record)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise PublishedError(f"{file} does not hold the claims of today ({error!r}); run: make reference") from error
    return Published(records, content)


def load_all(folder: Path) -> list[Published]:
    """The results of every profile whose file is in the folder, in the order of the profiles."""
    return [load(file) for profile in data.PROFILES if (file := folder / f"{profile}.json").is_file()]


def comparison_markdown(records: Sequence[ClaimRecord], references: Sequence[Published]) -> str:
    """A line for each set of reference results: where it comes from, and which verdicts differ from these."""
    lines = []
    for found, origin in references:
        pairs = [(here, there) for here, there in zip(records, found, strict=True) if here.verdict != there.verdict]
        differ = "; ".join(f"{there.id} {there.verdict}, here {here.verdict}" for here, there in pairs) or "none"
        lines.append(
            f"- **{origin['profile']}**: {origin['dataset']}, {len(origin['seeds'])} seeds, "
            f"{origin['training_seconds'] / 3600:.1f} hours of training on one core, torch "
            f"{origin['versions']['torch']}, commit `{origin['commit'][:12]}`. {len(records) - len(pairs)} of "
            f"{len(records)} verdicts are those of this build; different: {differ}."
        )
    return "\n".join(lines) or "No reference results are stored with this text."


def _seconds(profile: str, seeds: Sequence[int], cache: Path | str | None) -> float:
    """Seconds of training of all models behind the claims, each on one core."""
    return sum(entry(model, cache=cache).read()[0]["seconds"] for model in models(profile, seeds))


def _commit() -> str:
    """The commit of the checkout, marked where it was changed; 'unknown' outside of one."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
