r"""The claims measured, each with its verdict (`vaelib.study.judging` says how one is drawn), and their tables.

A tally counts claims of one kind, by default measurements: a theorem is no finding, and an audit counts programs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tabulate import tabulate

from vaelib.study import claims
from vaelib.study.claims.criteria import ASIDE, Claim, Kind, Role
from vaelib.study.claims.quantities import Quantity, Run
from vaelib.study.judging import Finding, Verdict, check, controls, judge, outcome, together
from vaelib.study.models import build_seeds
from vaelib.training import NonFiniteLossError

#: In the place of others, where there are none; and of a claim that is not among theirs.
NONE: Mapping[str, Any] = MappingProxyType({})
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class ClaimRecord:
    """A claim with its measurements and its verdict."""

    claim: Claim
    profile: str
    seeds: tuple[int, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict
    condition: str

    @property
    def id(self) -> str:
        """That of the claim."""
        return self.claim.id

    @property
    def words(self) -> str:
        """The verdict and its condition."""
        return f"{self.verdict} ({self.condition})" if self.condition else str(self.verdict)

    @property
    def criteria(self) -> list[Finding]:
        """The findings that a verdict is drawn from where the controls allow it."""
        return [finding for finding in self.findings if finding.role == Role.CRITERION]


def records(
    profile: str, *, seed: int, ids: Sequence[str] | None = None, cache: Path | str | None = None
) -> list[ClaimRecord]:
    """The measured claims with these ids, by default all, over the seeds that start at `seed`."""
    chosen = [claim for claim in claims.CLAIMS if ids is None or claim.id in ids]
    return [evaluate(claim, profile, seeds=build_seeds(seed), cache=cache) for claim in chosen]


def tally(records: Sequence[ClaimRecord], kind: Kind = Kind.MEASUREMENT) -> dict[Verdict, int]:
    """How many claims of a kind have each verdict."""
    count = Counter(record.verdict for record in records if record.claim.kind == kind)
    return {verdict: count[verdict] for verdict in Verdict}


def evaluate(claim: Claim, profile: str, *, seeds: Sequence[int], cache: Path | str | None = None) -> ClaimRecord:
    """Measure a claim under each seed and give its verdict.

    Where a model cannot be trained, because its loss is not finite, the value is nan.
    """
    runs = [Run(profile, seed, cache) for seed in seeds]
    values = [[_value(measurand.criterion.quantity, run) for run in runs] for measurand in claim.measurands]
    return conclude(claim, profile, seeds=seeds, values=values)


def _value(quantity: Quantity, run: Run) -> float:
    try:
        return quantity.value(run)
    except NonFiniteLossError:
        return nan


def conclude(claim: Claim, profile: str, *, seeds: Sequence[int], values: Sequence[Sequence[float]]) -> ClaimRecord:
    """The findings and the verdict that follow from the values of each measurand under each seed."""
    findings = tuple(Finding(*named, tuple(under)) for named, under in zip(claim.measurands, values, strict=True))

    def those(condition: str) -> list[Finding]:
        return [finding for finding in findings if finding.condition == condition]

    if claim.kind == Kind.THEOREM:
        found = check({condition: together(those(condition + ASIDE[Role.CHECKED])) for condition in claim.checked})
    else:
        outcomes = {condition: outcome(those(condition)) for condition in claim.tested}
        lacks = {condition: case.lacks for condition, case in outcomes.items() if case.lacks}
        found = judge({condition: case.met for condition, case in outcomes.items()}, lacks)
    return ClaimRecord(claim, profile, tuple(seeds), findings, *found)


def as_markdown(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]] = NONE) -> str:
    """One row per measured criterion: condition, metric, threshold, mean and standard deviation, seeds that met it.

    `others` are claims measured elsewhere, by profile (`vaelib.study.reference`); they stand in columns of their own.
    If there are controls, the last column holds their means in the same order.
    """
    where = [", this build" if others else "", *(f", {name}" for name in others)]
    headers = ["claim", "condition", "what is measured", "threshold"]
    headers += [f"mean ± sd (seeds that meet it){place}" for place in where]
    elsewhere = [{r.id: r.findings for r in other} for other in others.values()]
    rows = []
    for r in records:
        places = [r.findings, *(found[r.id] for found in elsewhere if r.id in found)]
        columns = [r.findings, *(found.get(r.id, [None] * len(r.findings)) for found in elsewhere)]
        for f, *same in zip(r.findings, *columns, strict=True):
            if not f.control:
                metric = f"{f.metric} (or it cannot be measured)" if f.role == Role.MEASURABLE else f.metric
                said = [_measured(found) for found in same]
                rows.append([r.id, f.condition, metric, f.criterion.threshold, *said, _beside(f, places)])
    return _origin(records, others) + _with_controls(rows, headers)


def verdicts_markdown(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]] = NONE) -> str:
    """One row per claim: what the source says, what this build finds, and what was found elsewhere.

    If there are controls, the last column counts those of all cases that come out as they must here.
    """
    elsewhere = [{r.id: str(r.verdict) for r in other} for other in others.values()]
    rows = []
    for r in records:
        said = r.words.replace(r.verdict, f"**{r.verdict}**", 1)
        source = f"{r.claim.statement} ({r.claim.section})"
        rows.append([r.id, source, said, *(e.get(r.id, NOT_MEASURED) for e in elsewhere), _as_they_must(r)])
    headers = ["claim", "the source says (section)", "this build finds", *(f"profile {name}" for name in others)]
    return _origin(records, others) + _with_controls(rows, headers)


def _as_they_must(record: ClaimRecord) -> str:
    """How many controls meet or miss what they must, of how many; bold if not all do, empty if there are none."""
    cases = dict.fromkeys(f.condition for f in record.findings)
    found = [c for case in cases for c in controls([f for f in record.findings if f.condition == case])]
    agreeing = sum(False not in control.agrees for control in found)
    said = f"{agreeing} of {len(found)}" if found else ""
    return said if agreeing == len(found) else f"**{said}**"


def _with_controls(rows: Sequence[list[str]], headers: Sequence[str]) -> str:
    """A table whose last cells are those of the controls, without them if there are none."""
    if any(row[-1] for row in rows):
        return table(rows, *headers, "controls")
    return table([row[:-1] for row in rows], *headers)


def _beside(finding: Finding, places: Sequence[Sequence[Finding]]) -> str:
    """The controls of a criterion: in each place the mean, then what it must do and what it does, bold if it failed."""
    found: dict[tuple[str, Role], list[tuple[str, str]]] = {}
    if finding.role == Role.CRITERION:
        for place in places:
            for control in controls([f for f in place if f.condition == finding.condition]):
                for f in control.findings:
                    if f.metric == finding.metric:
                        does = f"**{_does(f)}**" if False in control.agrees else _does(f)
                        found.setdefault((control.name, control.role), []).append(
                            (f"{f.mean:.3g}" if f.known else "-", does)
                        )
    lines = []
    for (name, role), said in found.items():
        means, words = zip(*said, strict=True)
        lines.append(f"{name}: {' / '.join(means)}, {role}: {' / '.join(words if len(set(words)) > 1 else words[:1])}")
    return "<br>".join(lines)


def _does(finding: Finding) -> str:
    """Whether a control meets the criterion or misses it."""
    met = [met for met in finding.met if met is not None]
    if not met:
        return "no value"
    return "meets" if all(met) else f"meets under {met.count(True)} of {len(met)} seeds" if any(met) else "misses"


def _measured(finding: Finding | None) -> str:
    if finding is None:
        return NOT_MEASURED
    if not finding.known:
        return "could not be trained"
    met, lost = finding.met.count(True), len(finding.met) - len(finding.known)
    said = f"{met} of {len(finding.known)}" + (f", {lost} not trained" if lost else "")
    return f"{_rounded(finding.mean, finding.spread)} ({said}{', close' if finding.close else ''})"


def _rounded(value: float, spread: float) -> str:
    """Mean ± standard deviation, both to the place of the second digit of the latter, if that is not too far out."""
    places = 1 - floor(log10(spread)) if spread else 0
    if not spread or places > 5:
        return f"{value:.3g} ± {spread:.1g}"
    return f"{value:,.{max(places, 0)}f} ± {spread:,.{max(places, 0)}f}"


def _origin(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]]) -> str:
    """Profile and seeds of each set of records, as lines above their table."""
    sets = [("This build: profile" if others else "Profile", records)]
    sets += [("Reference: profile", other) for other in others.values()]
    lines = [f"{whose} {r[0].profile}, seeds {', '.join(map(str, r[0].seeds))}." for whose, r in sets if r]
    return "\n".join(lines) + "\n\n"


def table(rows: Sequence[Sequence[str]], *headers: str) -> str:
    """A Markdown table; a bar within a cell is escaped, for it would end the cell."""
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)
