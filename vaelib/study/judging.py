r"""From measured numbers to a verdict: several cases, several seeds, one word and its condition.

How to read a verdict: each claim is tested in one or more *cases*, the choices that the source leaves open. A case
passes if every criterion is met under every seed, fails if under every seed some criterion is missed, and is mixed
otherwise. All cases pass: the claim holds. All fail: it does not. Some pass: it holds under their condition. None
passes and some are mixed: undecided. Cases that were added after a first run are shown as exploratory and not judged.

A case has no outcome under a seed where a model could not be trained, or where what it needs to be `measurable` is
missed or unknown: one without an outcome under some seeds is mixed, and one without any is not judged. A case is also
not judged, under no seed, if one of its controls fails under any: a real thing that must meet the criteria misses one,
or one that must miss meets all. A criterion that its controls contradict is none. The words say which control failed.

A theorem or identity is proved, not found; its checks agree or disagree. What is checked beside a measurement is shown
and enters no verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan, nan
from statistics import mean, stdev
from types import MappingProxyType
from typing import NamedTuple

from vaelib.study.claims.criteria import Criterion, Role

NO_REASONS: Mapping[str, str] = MappingProxyType({})


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
        met = together(self.findings)
        return met if self.role == Role.MUST_MEET else [None if m is None else not m for m in met]


class Outcome(NamedTuple):
    """Whether a case is met under each seed, None where it has no outcome; and why, if not for want of a model."""

    met: tuple[bool | None, ...]
    lacks: str = ""


def controls(findings: Sequence[Finding]) -> list[Control]:
    """The controls among the findings of one case."""
    named = dict.fromkeys((f.control, f.role) for f in findings if f.control)
    return [Control(*name, tuple(f for f in findings if (f.control, f.role) == name)) for name in named]


def outcome(findings: Sequence[Finding]) -> Outcome:
    """What the findings of one case say: whether it is met under each seed, unless controls or instrument forbid it."""
    beside = controls(findings)
    met = together([f for f in findings if f.role == Role.CRITERION])
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


def together(findings: Sequence[Finding]) -> list[bool | None]:
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


def judge(outcomes: Mapping[str, Sequence[bool | None]], lacks: Mapping[str, str] = NO_REASONS) -> tuple[Verdict, str]:
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


def _number(things: Sequence[str], of: str) -> str:
    return f"{len(things)} {of}" if len(things) == 1 else f"{len(things)} {of}s"
