r"""From measured claims to verdicts: several cases, several seeds, one word and its condition.

How to read a verdict: each claim is tested in one or more *cases*, the choices that the source leaves open. A case
passes if every criterion is met under every seed, fails if under every seed some criterion is missed, and is mixed
otherwise. All cases pass: the claim holds. All fail: it does not. Some pass: it holds under their condition. None
passes and some are mixed: undecided. Cases that were added after a first run are shown as exploratory and not judged.

A case has no outcome under a seed where a model could not be trained, or where what it needs to be `measurable` is
missed or unknown: one without an outcome under some seeds is mixed, and one without any is not judged. A case is also
not judged, under no seed, if one of its controls fails under any: a real thing that must meet the criteria misses one,
or one that must miss meets all. A criterion that its controls contradict is none. The words say which control failed.

A theorem or identity is proved, not found; its checks agree or disagree. What is checked beside a measurement is shown
and enters no verdict. A tally counts claims of one kind, by default measurements.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import floor, isnan, log10, nan
from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any, NamedTuple

from tabulate import tabulate

from vaelib.study import claims
from vaelib.study.claims.criteria import ASIDE, Claim, Criterion, Kind, Role
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
    AGREES = "proved; the check agrees"
    DISAGREES = "proved; the check disagrees"


@dataclass(frozen=True)
class Finding:
    """One number measured, and what for: its value under each seed, nan where a model could not be trained."""

    condition: str
    metric: str
    criterion: Criterion
    role: Role
    control: str
    values: tuple[float, ...]

    @property
    def met(self) -> tuple[bool | None, ...]:
        """Whether the value lies in the interval of the criterion under each seed, None where there is no value."""
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


class Control(NamedTuple):
    """A real thing beside a case: its name, what it must do, and all that was measured of it."""

    name: str
    role: Role
    findings: tuple[Finding, ...]

    @property
    def agrees(self) -> list[bool | None]:
        """Whether it does what it must under each seed, None where that is unknown."""
        met = _together(self.findings)
        return met if self.role == Role.MUST_MEET else [None if m is None else not m for m in met]


class Outcome(NamedTuple):
    """Whether a case is met under each seed, None where it has no outcome; and why, if not for want of a model."""

    met: tuple[bool | None, ...]
    lacks: str = ""


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
    return [evaluate(claim, profile, seeds=claim_seeds(profile, seed), cache=cache) for claim in chosen]


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
        found = check({condition: _together(those(condition + ASIDE[Role.CHECKED])) for condition in claim.checked})
    else:
        outcomes = {condition: outcome(those(condition)) for condition in claim.tested}
        lacks = {condition: case.lacks for condition, case in outcomes.items() if case.lacks}
        found = judge({condition: case.met for condition, case in outcomes.items()}, lacks)
    return ClaimRecord(claim, profile, tuple(seeds), findings, *found)


def controls(findings: Sequence[Finding]) -> list[Control]:
    """The controls among the findings of one case."""
    named = dict.fromkeys((f.control, f.role) for f in findings if f.control)
    return [Control(*name, tuple(f for f in findings if (f.control, f.role) == name)) for name in named]


def outcome(findings: Sequence[Finding]) -> Outcome:
    """What the findings of one case say: whether it is met under each seed, unless controls or instrument forbid it."""
    beside = controls(findings)
    met = _together([f for f in findings if f.role == Role.CRITERION])
    if failed := [f"{control.name} ({control.role})" for control in beside if False in control.agrees]:
        return Outcome((None,) * len(met), f"control failed: {', '.join(failed)}")
    limits = [f for f in findings if f.role == Role.MEASURABLE]
    required = [*(control.agrees for control in beside), *(f.met for f in limits)]
    spoken = [None if any(each[seed] is not True for each in required) else found for seed, found in enumerate(met)]
    reasons = {
        "beyond what can be measured: ": [f.metric for f in limits if False in f.met],
        "control without a value: ": [control.name for control in beside if None in control.agrees],
    }
    return Outcome(tuple(spoken), "; ".join(said + ", ".join(names) for said, names in reasons.items() if names))


def _together(findings: Sequence[Finding]) -> list[bool | None]:
    """Whether all of them are met under each seed."""
    return [_all(met) for met in zip(*(finding.met for finding in findings), strict=True)]


def _all(met: Sequence[bool | None]) -> bool | None:
    """Whether all are met: no if one is missed, unknown if one is unknown."""
    return False if False in met else None if None in met else True


def check(outcomes: Mapping[str, Sequence[bool | None]]) -> tuple[Verdict, str]:
    """What the checks of a theorem say, from the outcome of each per seed."""
    wrong = [condition for condition, met in outcomes.items() if False in met]
    unknown = [condition for condition, met in outcomes.items() if None in met]
    if wrong:
        return Verdict.DISAGREES, "; ".join(wrong)
    if not any(True in met for met in outcomes.values()):
        return Verdict.UNMEASURED, ""
    return Verdict.AGREES, f"not checked under some seeds: {'; '.join(unknown)}" if unknown else ""


def judge(outcomes: Mapping[str, Sequence[bool | None]], lacks: Mapping[str, str] = NONE) -> tuple[Verdict, str]:
    """The verdict and its condition from each case's outcome per seed, None where it has none.

    `lacks` says of a case why it has none, if not because a model could not be trained.
    """

    def those(*kind: bool | None) -> list[str]:
        return [condition for condition, met in outcomes.items() if set(met) == set(kind)]

    def why(cases: Sequence[str]) -> str:
        reasons = dict.fromkeys(lacks[condition] for condition in cases if condition in lacks)
        return f" ({'; '.join(reasons)})" if reasons else ""

    passing, failing, mixed, missing = those(True), those(False), those(True, False), those(None)
    partly = [condition for condition in outcomes if condition not in (*passing, *failing, *mixed, *missing)]
    unheard = [condition for condition in partly if condition in lacks]
    lacking = [condition for condition in partly if condition not in lacks]
    if passing and len(passing) == len(outcomes):
        return Verdict.HOLDS, ""
    if passing:
        counts = {"not in": failing, "seeds differ in": mixed, "not trained under some seeds in": lacking}
        counts |= {"not measurable under some seeds in": unheard, "not measured in": missing}
        others = [f"{words} {_number(cases, 'other case')}{why(cases)}" for words, cases in counts.items() if cases]
        return Verdict.CONDITIONAL, "; ".join(passing + others)
    unmeasured = f"not measured in {_number(missing, 'case')}{why(missing)}"
    words = {"differs between seeds: ": mixed, "could not be trained under some seeds: ": lacking}
    words["could not be measured under some seeds: "] = unheard
    if mixed or partly:
        said = [said + "; ".join(cases) + why(cases) for said, cases in words.items() if cases]
        return Verdict.UNDECIDED, "; ".join([*said, unmeasured] if why(missing) else said)
    if failing:
        return Verdict.FAILS, unmeasured if missing else ""
    return Verdict.UNMEASURED, why(missing)[2:-1]


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
    """One row per claim: what the source says, what this build finds, and what was found elsewhere."""
    elsewhere = [{r.id: str(r.verdict) for r in other} for other in others.values()]
    rows = []
    for r in records:
        said = r.words.replace(r.verdict, f"**{r.verdict}**", 1)
        of = f"{r.id}, {r.claim.section}"
        beside = dict.fromkeys(_beside(f, [r.findings]) for f in r.criteria)
        names = [e.get(r.id, NOT_MEASURED) for e in elsewhere]
        rows.append([of, r.claim.statement, said, *names, "<br>".join(filter(None, beside))])
    headers = ["claim, section", "the source says", "this build finds", *(f"profile {name}" for name in others)]
    return _origin(records, others) + _with_controls(rows, headers)


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
                        found.setdefault((control.name, control.role), []).append((f"{f.mean:.3g}", does))
    return "<br>".join(
        f"{name}: {' / '.join(mean for mean, _ in said)}, {role}: {' / '.join(dict.fromkeys(does for _, does in said))}"
        for (name, role), said in found.items()
    )


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


def _number(things: Sequence[str], of: str) -> str:
    return f"{len(things)} {of}" if len(things) == 1 else f"{len(things)} {of}s"
