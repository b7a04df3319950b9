r"""The source's claims as hypotheses: a metric, a threshold, several seeds, one verdict.

How to read a verdict: each claim is tested in one or more *cases*, the choices that the source leaves open. A case
passes if every criterion is met under every seed, fails if under every seed some criterion is missed, and is mixed
otherwise. All cases pass: the claim holds. All fail: it does not. Some pass: it holds under their condition. None
passes and some are mixed: undecided. Cases that were added after a first run are shown as exploratory and not judged.
A model that could not be trained is no evidence either way: a case that lacks it under some seeds is mixed, and one
that lacks it under all of them is not judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import floor, isnan, log10, nan
from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

from tabulate import tabulate

from vaelib.study.experiment import VaeExperiment
from vaelib.study.measurements import Panel, Reference, measured, panel, reference
from vaelib.study.models import claim_seeds, find_vae
from vaelib.study.trained import fetch
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
class Run:
    """One profile and one seed, and the measurements made under them."""

    profile: str
    seed: int
    cache: Path | str | None = None

    def panel(self, name: str) -> Panel:
        """The measurements of a model of the catalogue."""
        return panel(find_vae(name, self.profile, seed=self.seed), cache=self.cache)

    def measured(self, measure: Callable[[VaeExperiment, Path | str | None], dict[str, float]], name: str) -> Any:
        """One of the measurements of `vaelib.study.probes`, made on a model of the catalogue."""
        return measured(measure, find_vae(name, self.profile, seed=self.seed), cache=self.cache)

    def history(self, name: str) -> dict[str, list[float]]:
        """What the training of a model recorded after each epoch."""
        model = find_vae(name, self.profile, seed=self.seed)
        return fetch(model, cache=self.cache, report=lambda line: None).record["history"]

    @property
    def reference(self) -> Reference:
        """The yardsticks of the profile."""
        return reference(self.profile, cache=self.cache)


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A number and the closed interval in which it must lie; infinite ends say 'at least' and 'at most'."""

    metric: str
    measure: Callable[[Run], float]
    low: float = float("-inf")
    high: float = float("inf")

    def met(self, value: float) -> bool | None:
        """Whether the value lies in the interval; None for nan, where there is no value."""
        return None if isnan(value) else self.low <= value <= self.high

    @property
    def threshold(self) -> str:
        """The interval in words."""
        if self.high == float("inf"):
            return f"at least {self.low:g}"
        if self.low == float("-inf"):
            return f"at most {self.high:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One reading of a claim: the condition under which it is tested and all criteria that it must meet."""

    condition: str
    criteria: tuple[Criterion, ...]
    later: bool = False
    """Added after a first run had been seen: exploratory, not judged."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the source in our words, and how it is tested."""

    id: str
    section: str
    statement: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One criterion measured: its value under each seed, nan and None where a model could not be trained."""

    condition: str
    criterion: Criterion
    values: tuple[float, ...]

    @property
    def metric(self) -> str:
        """What was measured."""
        return self.criterion.metric

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


@dataclass(frozen=True, kw_only=True)
class ClaimRecord:
    """A claim with its measurements and its verdict."""

    id: str
    section: str
    statement: str
    profile: str
    seeds: tuple[int, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict
    condition: str


#: For each case and each of its criteria, the value under each seed.
Values = Sequence[Sequence[Sequence[float]]]


def evaluate(claim: Claim, profile: str, *, seeds: Sequence[int], cache: Path | str | None = None) -> ClaimRecord:
    """Measure a claim under each seed and give its verdict.

    Where a model cannot be trained, because its loss is not finite, the value is nan.
    """
    runs = [Run(profile, seed, cache) for seed in seeds]
    values = [[[value(criterion, run) for run in runs] for criterion in case.criteria] for case in claim.cases]
    return conclude(claim, profile, seeds=seeds, values=values)


def _all(met: Sequence[bool | None]) -> bool | None:
    """Whether all are met: no if one is missed, unknown if one is unknown."""
    return False if False in met else None if None in met else True


def value(criterion: Criterion, run: Run) -> float:
    """What a criterion measures under one seed, nan where a model cannot be trained."""
    try:
        return criterion.measure(run)
    except NonFiniteLossError:
        return nan


def conclude(claim: Claim, profile: str, *, seeds: Sequence[int], values: Values) -> ClaimRecord:
    """The findings and the verdict that follow from measured values."""
    findings: list[Finding] = []
    outcomes: dict[str, tuple[bool | None, ...]] = {}
    for case, measured_case in zip(claim.cases, values, strict=True):
        condition = f"{case.condition} (exploratory)" if case.later else case.condition
        found = [
            Finding(condition=condition, criterion=criterion, values=tuple(under))
            for criterion, under in zip(case.criteria, measured_case, strict=True)
        ]
        findings += found
        if not case.later:
            outcomes[case.condition] = tuple(_all(met) for met in zip(*(f.met for f in found), strict=True))
    verdict, condition = judge(outcomes)
    return ClaimRecord(
        id=claim.id,
        section=claim.section,
        statement=claim.statement,
        profile=profile,
        seeds=tuple(seeds),
        findings=tuple(findings),
        verdict=verdict,
        condition=condition,
    )


def judge(outcomes: Mapping[str, Sequence[bool | None]]) -> tuple[Verdict, str]:
    """The verdict and its condition from each case's outcome per seed, None where a model could not be trained."""

    def those(*kind: bool | None) -> list[str]:
        return [condition for condition, met in outcomes.items() if set(met) == set(kind)]

    passing, failing, mixed, missing = those(True), those(False), those(True, False), those(None)
    lacking = [condition for condition in outcomes if condition not in (*passing, *failing, *mixed, *missing)]
    if len(passing) == len(outcomes):
        return Verdict.HOLDS, ""
    counts = {"not in": failing, "seeds differ in": mixed, "not trained under some seeds in": lacking}
    counts["not measured in"] = missing
    others = [f"{words} {_number(cases, 'other case')}" for words, cases in counts.items() if cases]
    if passing:
        return Verdict.CONDITIONAL, "; ".join(passing + others)
    words = {"differs between seeds: ": mixed, "could not be trained under some seeds: ": lacking}
    if mixed or lacking:
        return Verdict.UNDECIDED, "; ".join(said + "; ".join(cases) for said, cases in words.items() if cases)
    if failing:
        return Verdict.FAILS, f"not measured in {_number(missing, 'case')}" if missing else ""
    return Verdict.UNMEASURED, ""


def evaluate_all(
    claims: Sequence[Claim], profile: str, *, seed: int, cache: Path | str | None = None
) -> list[ClaimRecord]:
    """The records of the claims over the seeds that start at `seed`."""
    return [evaluate(claim, profile, seeds=claim_seeds(profile, seed), cache=cache) for claim in claims]


def as_markdown(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]] = NONE) -> str:
    """One row per measured criterion: condition, metric, threshold, mean and standard deviation, seeds that met it.

    `others` are claims measured elsewhere, by profile, see `vaelib.study.reference`; they stand in columns of their own.
    """
    elsewhere = [{r.id: r.findings for r in other} for other in others.values()]
    rows = [
        (
            r.id,
            f.condition,
            f.metric,
            f.criterion.threshold,
            *_measured(f),
            *_in_order(number, [e.get(r.id) for e in elsewhere]),
        )
        for r in records
        for number, f in enumerate(r.findings)
    ]
    columns = [(f"mean ± sd{where}", f"seeds that meet it{where}") for where in _where(others)]
    headers = ("claim", "condition", "what is measured", "threshold", *(c for pair in columns for c in pair))
    return _origin(records, others) + table(rows, *headers)


def verdicts_markdown(records: Sequence[ClaimRecord], others: Mapping[str, Sequence[ClaimRecord]] = NONE) -> str:
    """One row per claim: what the source says, what this build finds, and what was found elsewhere."""
    elsewhere = [{r.id: str(r.verdict) for r in other} for other in others.values()]
    rows = [
        (
            r.id,
            r.section,
            r.statement,
            f"**{r.verdict}**{_in_brackets(r.condition)}",
            *(verdicts.get(r.id, NOT_MEASURED) for verdicts in elsewhere),
        )
        for r in records
    ]
    headers = ("claim", "section", "the source says", "this build finds", *(f"profile {name}" for name in others))
    return _origin(records, others) + table(rows, *headers)


def _in_order(number: int, found: Sequence[Sequence[Finding] | None]) -> list[str]:
    """The cells of one criterion in the columns of the others."""
    return [cell for findings in found for cell in (_measured(findings[number]) if findings else (NOT_MEASURED, ""))]


def _measured(finding: Finding) -> tuple[str, str]:
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


def _where(others: Mapping[str, Sequence[ClaimRecord]]) -> list[str]:
    """What the columns of this build and of the others are told apart by; nothing where there are no others."""
    return [", this build" if others else "", *(f", {name}" for name in others)]


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


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
