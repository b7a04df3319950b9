r"""The first edition of the claims beside this one: which are tested otherwise, which came out otherwise, and why.

The first edition is kept in `book/results/first_edition` as it was measured, with its formulas, thresholds and
verdicts. What differs is derived from it: the *instrument*, if the formulas of the cases are others, or the limits
within which they speak; the *threshold*, if a formula of both editions must lie in another interval; the *verdict*, if
its words are others in some profile, or if the claim has become a theorem. Controls, and what is explored, make no
difference by themselves. Why it differs is said by the claim.
"""

import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from vaelib import data
from vaelib.study import claims
from vaelib.study.claims.criteria import Claim, Criterion, Kind, Role
from vaelib.study.claims.quantities import constant
from vaelib.study.reference import Results, ResultsError, out_of_date, results_folder
from vaelib.study.verdicts import table

NOT_YET = "not measured yet"


class Asked(NamedTuple):
    """What one criterion asks that enters a verdict, or the check of a theorem, or the limit of an instrument."""

    condition: str
    metric: str
    formula: str
    low: float
    high: float
    limit: bool = False

    @property
    def words(self) -> str:
        """All of it in a line."""
        threshold = Criterion(constant(0), self.low, self.high).threshold
        return f"{self.condition}: {'only where ' if self.limit else ''}{self.metric}, {threshold}: `{self.formula}`"


class First(NamedTuple):
    """A claim in the first edition: what it asked, and its verdict with its condition."""

    asked: tuple[Asked, ...]
    verdict: str


class Change(NamedTuple):
    """A claim in both editions; the first asked nothing if the claim is new. Verdicts by profile: then, now."""

    claim: Claim
    before: tuple[Asked, ...]
    now: tuple[Asked, ...]
    verdicts: Mapping[str, tuple[str, str]]

    @property
    def new(self) -> bool:
        """Whether the claim is not in the first edition."""
        return not self.before

    @property
    def differences(self) -> list[str]:
        """What is not that of the first edition: instrument, threshold, verdict; nothing of a new claim."""
        pairs = [pair for pair in self.verdicts.values() if NOT_YET not in pair]
        found = {
            "instrument": _instrument(self.before) != _instrument(self.now),
            "threshold": any(
                _intervals(self.before, formula) != _intervals(self.now, formula)
                for formula in _formulas(self.before) & _formulas(self.now)
            ),
            "verdict": self.claim.kind == Kind.THEOREM or any(then != now for then, now in pairs),
        }
        return [] if self.new else [name for name, differs in found.items() if differs]


def asked(claim: Claim) -> tuple[Asked, ...]:
    """What a claim asks as it is today."""
    judged = Role.CHECKED if claim.kind == Kind.THEOREM else Role.CRITERION
    found = [(m, m.criterion) for m in claim.measurands if m.role in (judged, Role.MEASURABLE)]
    return tuple(
        Asked(m.condition, m.metric, c.quantity.formula, c.low, c.high, m.role == Role.MEASURABLE) for m, c in found
    )


def _formulas(asked: Sequence[Asked]) -> set[tuple[str, bool]]:
    """The formulas, and whether each is a limit."""
    return {(one.formula, one.limit) for one in asked}


def _intervals(asked: Sequence[Asked], formula: tuple[str, bool]) -> set[tuple[float, float]]:
    return {(one.low, one.high) for one in asked if (one.formula, one.limit) == formula}


def _instrument(asked: Sequence[Asked]) -> set[frozenset[tuple[str, bool]]]:
    """The formulas of each case."""
    return {frozenset(_formulas([o for o in asked if o.condition == one.condition])) for one in asked}


def first_edition(folder: Path | None = None) -> dict[str, dict[str, First]]:
    """The claims of the first edition by profile, from the results in a folder, by default those of the book.

    Raises `ResultsError` if a file cannot be read.
    """
    places = {profile: (folder or results_folder()) / "first_edition" / f"{profile}.json" for profile in data.PROFILES}
    return {profile: _read(place) for profile, place in places.items() if place.is_file()}


def _read(file: Path) -> dict[str, First]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["claims"]
        return {id: First(_asked(told["criteria"]), told["words"]) for id, told in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{file} does not hold the first edition ({error!r:.100}); restore it") from error


def _asked(stored: Sequence[dict[str, Any]]) -> tuple[Asked, ...]:
    def end(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    return tuple(
        Asked(one["condition"], one["metric"], one["formula"], end(one["low"], -inf), end(one["high"], inf))
        for one in stored
        if not one["explored"]
    )


def changes(first: Mapping[str, Mapping[str, First]], second: Mapping[str, Results]) -> list[Change]:
    """Every claim of today with what it was in the first edition; a verdict that is out of date is none."""
    now = {}
    for profile in first:
        results = second.get(profile, Results([], {}))
        old = out_of_date(results) if results.records else []
        now[profile] = {record.id: record.words for record in results.records if record.id not in old}
    nothing = First((), "")
    found = []
    for claim in claims.CLAIMS:
        then = {profile: before.get(claim.id, nothing) for profile, before in first.items()}
        verdicts = {profile: (then[profile].verdict, now[profile].get(claim.id, NOT_YET)) for profile in first}
        before = next((told.asked for told in then.values() if told.asked), ())
        found.append(Change(claim, before, asked(claim), verdicts))
    return found


def changes_markdown(changes: Sequence[Change]) -> str:
    """How many claims differ, an entry for each that does, and the new ones."""
    known = [change for change in changes if not change.new]
    if not known:
        return "The first edition is not stored with this text."
    differ = [change for change in known if change.differences]
    same = [change.claim.id for change in known if not change.differences]
    counts = [f"{name} {sum(name in c.differences for c in differ)}" for name in ("instrument", "threshold", "verdict")]
    said = f"{len(differ)} of {len(known)} claims of the first edition differ: {', '.join(counts)}."
    parts = [said + (f" As they were: {', '.join(same)}." if same else ""), *map(_entry, differ)]
    if new := [change for change in changes if change.new]:
        rows = [(c.claim.id, c.claim.section, c.claim.statement, *(n for _, n in c.verdicts.values())) for c in new]
        headers = ("claim", "section", "the source says", *(f"profile {profile}" for profile in new[0].verdicts))
        parts.append(f"## New claims\n\n{table(rows, *headers)}")
    return "\n\n".join(parts)


def _entry(change: Change) -> str:
    """A claim that differs: what, why, both verdicts in each profile, and all that was and is asked."""
    rows = [(f"profile {profile}", *pair) for profile, pair in change.verdicts.items()]
    lists = {"In the first edition:": change.before, "Now:": change.now}
    told = "\n\n".join("\n".join([title, "", *(f"- {one.words}" for one in of)]) for title, of in lists.items())
    return (
        f"## {change.claim.id}\n\n*{change.claim.statement}* (section {change.claim.section}). "
        f"Not that of the first edition: {', '.join(change.differences)}. {change.claim.changed}".rstrip()
        + "\n\n"
        f"{table(rows, '', 'first edition', 'this edition')}\n\n"
        f":::{{dropdown}} What decides, before and now\n{told}\n:::"
    )
