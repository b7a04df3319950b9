r"""A claim as hypotheses: the cases that its wording leaves open, and the interval in which each metric must lie."""

from dataclasses import dataclass, field
from math import inf, isnan
from typing import NamedTuple

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


@dataclass(frozen=True)
class Claim:
    """A statement of the source in our words, and how it is tested: in each case by all of its criteria.

    A case is named by its condition. Those that were added after a first run had been seen are `explored`, not judged.
    """

    id: str
    section: str
    statement: str
    tested: dict[str, Criteria] = field(default_factory=dict)
    explored: dict[str, Criteria] = field(default_factory=dict)

    @property
    def criteria(self) -> list[tuple[str, str, Criterion]]:
        """Condition, metric and criterion, in the order in which they are measured and stored."""
        cases = self.tested | {f"{condition} (exploratory)": case for condition, case in self.explored.items()}
        return [(condition, *named) for condition, case in cases.items() for named in case.items()]

    @property
    def needs(self) -> list[Need]:
        """All that its quantities are read from, each once."""
        return list({need.name: need for *_, c in self.criteria for need in c.quantity.needs}.values())
