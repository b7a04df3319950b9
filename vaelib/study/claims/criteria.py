r"""A claim as hypotheses: the cases that its wording leaves open, and the interval in which each metric must lie.

A case has *controls*: real things of which it is known whether they should meet its criteria. If they come out
otherwise, what was measured is no evidence. It may also say where its instrument can speak at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isnan
from types import MappingProxyType
from typing import NamedTuple

from vaelib.errors import MendableError
from vaelib.study.claims.quantities import Need, Quantity

#: 'About as good as': the interval of bioequivalence. 'Noticeably': by a fifth at least.
EQUIVALENT = (0.8, 1.25)
NOTICEABLY = 0.8


class Criterion(NamedTuple):
    """A quantity and the closed interval in which it must lie."""

    quantity: Quantity
    low: float = -inf
    high: float = inf

    def met(self, value: float) -> bool | None:
        """Whether the value lies in the interval; None for nan, where there is no value."""
        return None if isnan(value) else self.low <= value <= self.high

    @property
    def threshold(self) -> str:
        """The interval in words."""
        if self.high == inf:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low == -inf else f"{self.low:g} to {self.high:g}"


def at_least(limit: float, quantity: Quantity) -> Criterion:
    """From the limit on."""
    return Criterion(quantity, low=limit)


def at_most(limit: float, quantity: Quantity) -> Criterion:
    """Up to the limit."""
    return Criterion(quantity, high=limit)


def between(low: float, high: float, quantity: Quantity) -> Criterion:
    """From one limit to the other."""
    return Criterion(quantity, low, high)


#: What a case must meet, by metric.
Criteria = dict[str, Criterion]
#: Real things by name, each with its value of some metrics of a case.
Controls = dict[str, dict[str, Quantity]]


class ControlError(MendableError, ValueError):
    """A control has a value of no metric of its case; the message names both and what to do."""


class Kind(StrEnum):
    """What a claim rests on."""

    THEOREM = "theorem or identity"
    AUDIT = "audit"
    MEASUREMENT = "measurement"


class Role(StrEnum):
    """What a number is measured for."""

    CRITERION = "criterion"
    MUST_MEET = "must meet"
    MUST_MISS = "must miss"
    MEASURABLE = "measurable"
    CHECKED = "checked"
    EXPLORED = "explored"


#: What is added to the name of a condition whose criteria do not enter the verdict.
ASIDE: Mapping[Role, str] = MappingProxyType({Role.CHECKED: " (checked)", Role.EXPLORED: " (exploratory)"})


class Measurand(NamedTuple):
    """One number to be measured: where, what, the interval in which it is to lie or not, and what for."""

    condition: str
    metric: str
    criterion: Criterion
    role: Role = Role.CRITERION
    control: str = ""


@dataclass(frozen=True)
class Case:
    """Criteria that are met together, with the controls that say whether they tell anything.

    Of a control in `must_meet` every value must lie in the interval of its metric, of one in `must_miss` at least one
    outside. `measurable` is where the instrument can speak at all. Raises `ControlError` if a control names no metric,
    or one that is not among the criteria.
    """

    criteria: Criteria
    must_meet: Controls = field(default_factory=dict)
    must_miss: Controls = field(default_factory=dict)
    measurable: Criteria = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in (*self.must_meet.items(), *self.must_miss.items()):
            known = ", ".join(map(repr, self.criteria))
            if not values:
                raise ControlError(f"the control {name!r} has no value; give it one of: {known}")
            for metric in values.keys() - self.criteria.keys():
                raise ControlError(f"the control {name!r} is given {metric!r}, no metric of its case; it has: {known}")

    def measurands(self, condition: str) -> Iterator[Measurand]:
        """The criteria, then what stands beside them, in the order in which they are measured and stored."""
        yield from (Measurand(condition, *named) for named in self.criteria.items())
        for role, controls in ((Role.MUST_MEET, self.must_meet), (Role.MUST_MISS, self.must_miss)):
            for name, values in controls.items():
                for metric, quantity in values.items():
                    yield Measurand(condition, metric, self.criteria[metric]._replace(quantity=quantity), role, name)
        yield from (Measurand(condition, *named, Role.MEASURABLE) for named in self.measurable.items())


@dataclass(frozen=True)
class Claim:
    """A statement of the source in our words, and how it is tested: in each case by all of its criteria.

    A case is named by its condition. What is `checked` is an identity or follows from a theorem; it is verified and
    does not enter a verdict on what was measured: a theorem has nothing else. Cases that were added after a first run
    had been seen are `explored`, not judged. `changed` says why a claim is tested otherwise, or came out otherwise,
    than in the first edition (`vaelib.study.editions`).
    """

    id: str
    section: str
    statement: str
    kind: Kind = Kind.MEASUREMENT
    tested: dict[str, Case] = field(default_factory=dict)
    checked: dict[str, Criteria] = field(default_factory=dict)
    explored: dict[str, Criteria] = field(default_factory=dict)
    changed: str = ""

    @property
    def measurands(self) -> list[Measurand]:
        """All that is measured of it, in the order in which it is measured and stored."""
        found = [measurand for condition, case in self.tested.items() for measurand in case.measurands(condition)]
        for role, cases in ((Role.CHECKED, self.checked), (Role.EXPLORED, self.explored)):
            for condition, case in cases.items():
                found += [Measurand(condition + ASIDE[role], *named, role) for named in case.items()]
        return found

    @property
    def needs(self) -> list[Need]:
        """All that its quantities are read from, each once."""
        return list({need.name: need for m in self.measurands for need in m.criterion.quantity.needs}.values())
