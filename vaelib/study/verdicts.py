r"""From measured claims to verdicts: several cases, several seeds, one word and its condition.

How to read a verdict: each claim is tested in one or more *cases*, the choices that the source leaves open. A case
passes if every criterion is met under every seed, fails if under every seed some criterion is missed, and is mixed
otherwise. All cases pass: the claim holds. All fail: it does not. Some pass: it holds under their condition. None
passes and some are mixed: undecided. Cases that were added after a first run are shown as exploratory and not judged.
A model that could not be trained is no evidence either way: a case that lacks it under some seeds is mixed, and one
that lacks it under all of them is not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import floor, isnan, log10, nan
from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

from tabulate import tabulate

from vaelib.study import claims
from vaelib.study.claims.criteria import Claim, Criterion
from vaelib.study.claims.quantities import Quantity, Run
from vaelib.study.models import claim_seeds
from vaelib.training import NonFiniteLossError

#: In the place of others, where there are none; and of a claim that is not among theirs.
NONE: Mapping[str, Any] = MappingProxyType({})
NOT_MEASURED = "not measured"


class Verdict(StrEnum):
    """What several seeds say of a claim."""

    HOLDS = "holds"
    CONDITIONAL = "holds under a stated condition"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    UNMEASURED = "could not be measured"


@dataclass(frozen=True)
class Finding:
    """One criterion measured: its value under each seed, nan and None where a model could not be trained."""

    condition: str
    metric: str
    criterion: Criterion
    values: tuple[float, ...]

    @property
    def met(self) -> tuple[bool | None, ...]:
        """Whether the criterion is met under each seed."""
        return tuple(self.criterion.met(value) for value in self.values)

    @property
    def known(self) -> list[float]:
        """The values that there are."""
        return [value for value in self.values if not isnan(value)]

    @property
    def mean(self) -> float:
        """Mean over the seeds with a value, nan without one."""
        return mean(self.known) if self.known else nan

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds with a value, 0 for a single one, nan without one."""
        return stdev(self.known) if len(self.known) > 1 else 0 * self.mean

    @property
    def close(self) -> bool:
        """Whether the mean is within two standard deviations of an end of the interval."""
        return min(abs(self.mean - end) for end in (self.criterion.low, self.criterion.high)) < 2 * self.spread


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


def records(
    profile: str, *, seed: int, ids: Sequence[str] | None = None, cache: Path | str | None = None
) -> list[ClaimRecord]:
    """The measured claims with these ids, by default all, over the seeds that start at `seed`."""
    chosen = [claim for claim in claims.CLAIMS if ids is None or claim.id in ids]
    return [evaluate(claim, profile, seeds=claim_seeds(profile, seed), cache=cache) for claim in chosen]


def evaluate(claim: Claim, profile: str, *, seeds: Sequence[int], cache: Path | str | None = None) -> ClaimRecord:
    """Measure a claim under each seed and give its verdict.

    Where a model cannot be trained, because its loss is not finite, the value is nan.
    """
    runs = [Run(profile, seed, cache) for seed in seeds]
    values = [[_value(criterion.quantity, run) for run in runs] for *_, criterion in claim.criteria]
    return conclude(claim, profile, seeds=seeds, values=values)


def _value(quantity: Quantity, run: Run) -> float:
    try:
        return quantity.value(run)
    except NonFiniteLossError:
        return nan


def conclude(claim: Claim, profile: str, *, seeds: Sequence[int], values: Sequence[Sequence[float]]) -> ClaimRecord:
    """The findings and the verdict that follow from the values of each criterion under each seed."""
    findings = tuple(Finding(*named, tuple(under)) for named, under in zip(claim.criteria, values, strict=True))
    outcomes = {
        condition: [_all(met) for met in zip(*(f.met for f in findings if f.condition == condition), strict=True)]
        for condition in claim.tested
    }
    return ClaimRecord(claim, profile, tuple(seeds), findings, *judge(outcomes))


def _all(met: Sequence[bool | None]) -> bool | None:
    """Whether all are met: no if one is missed, unknown if one is unknown."""
    return False if False in met else None if None in met else True


def judge(outcomes: Mapping[str, Sequence[bool | None]]) -> tuple[Verdict, str]:
    """The verdict and its condition from each case's outcome per seed, None where a model could not be trained."""

    def those(*kind: bool | None) -> list[str]:
        return [condition for condition, met in outcomes.items() if set(met) == set(kind)]

    passing, failing, mixed, missing = those(True), those(False), those(True, False), those(None)
    lacking = [condition for condition in outcomes if condition not in (*passing, *failing, *mixed, *missing)]
    if len(passing) == len(outcomes):
        return Verdict.HOLDS, ""
    if passing:
        counts = {"not in": failing, "seeds differ in": mixed, "not trained under some seeds in": lacking}
        counts["not measured in"] = missing
        others = [f"{words} {_number(cases, 'other case')}" for words, cases in counts.items() if cases]
        return Verdict.CONDITIONAL, "; ".join(passing + others)
    words = {"differs between seeds: ": mixed, "could not be trained under some seeds: ": lacking}
    if mixed or lacking:
        return Verdict.UNDECIDED, "; ".join(said + "; ".join(cases) for said, cases in words.items() if cases)
    if failing:
        return Verdict.FAILS, f"not measured in {_number(missing, 'case')}" if missing else ""
    return Verdict.UNMEASURED, ""


def as_markdown(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]] = NONE) -> str:
    """One row per measured criterion: condition, metric, threshold, mean and standard deviation, seeds that met it.

    `others` are claims measured elsewhere, by profile (`vaelib.study.reference`); they stand in columns of their own.
    """
    where = [", this build" if others else "", *(f", {name}" for name in others)]
    headers = ["claim", "condition", "what is measured", "threshold"]
    headers += [f"{column}{place}" for place in where for column in ("mean ± sd", "seeds that meet it")]
    elsewhere = [{r.id: r.findings for r in other} for other in others.values()]
    rows = []
    for r in records:
        columns = [r.findings, *(found.get(r.id, [None] * len(r.findings)) for found in elsewhere)]
        for f, *same in zip(r.findings, *columns, strict=True):
            rows.append([r.id, f.condition, f.metric, f.criterion.threshold, *(c for s in same for c in _measured(s))])
    return _origin(records, others) + table(rows, *headers)


def verdicts_markdown(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]] = NONE) -> str:
    """One row per claim: what the source says, what this build finds, and what was found elsewhere."""
    elsewhere = [{r.id: str(r.verdict) for r in other} for other in others.values()]
    rows = []
    for r in records:
        said = r.words.replace(r.verdict, f"**{r.verdict}**", 1)
        rows.append([r.id, r.claim.section, r.claim.statement, said, *(e.get(r.id, NOT_MEASURED) for e in elsewhere)])
    headers = ("claim", "section", "the source says", "this build finds", *(f"profile {name}" for name in others))
    return _origin(records, others) + table(rows, *headers)


def _measured(finding: Finding | None) -> tuple[str, str]:
    if finding is None:
        return NOT_MEASURED, ""
    if not finding.known:
        return "could not be trained", ""
    met, lost = finding.met.count(True), len(finding.met) - len(finding.known)
    said = f"{met} of {len(finding.known)}" + (f", {lost} not trained" if lost else "")
    return _rounded(finding.mean, finding.spread), said + (", close" if finding.close else "")


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


def _number(things: Sequence[str], of: str) -> str:
    return f"{len(things)} {of}" if len(things) == 1 else f"{len(things)} {of}s"
