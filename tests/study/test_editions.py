r"""What changed since the first edition is derived from it: nothing is missing, nothing is there without a reason."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vaelib.study import claims, editions, reference
from vaelib.study.claims.criteria import Case, Claim, Criterion, Kind, at_least, at_most
from vaelib.study.claims.quantities import Quantity, constant
from vaelib.study.editions import NOT_YET, Asked, First, changes, changes_markdown, first_edition
from vaelib.study.judging import Verdict, judge
from vaelib.study.reference import Results, ResultsError
from vaelib.study.verdicts import evaluate

RESULTS = Path(__file__).parents[2] / "book" / "results"


def named(formula, value=0.0):
    return Quantity(formula, (), lambda run: value)


CLAIM = Claim(
    "C98",
    "5.1",
    "a test",
    tested={
        "one": Case({"m": at_least(1, named("f")), "n": at_most(2, named("g"))}),
        "two": Case({"m": at_least(1, named("h"))}),
    },
    changed="Because.",
)


@pytest.fixture
def compared(monkeypatch):
    """The differences between CLAIM, as it was in the first edition with this verdict, and another that is now."""

    def differences(now, then="does not hold", *, measured=True):
        first = {"full": {"C98": First(editions.asked(CLAIM), then)}}
        monkeypatch.setattr(claims, "CLAIMS", (now,))
        monkeypatch.setattr(editions, "out_of_date", lambda results: [] if measured else ["C98"])
        records = [evaluate(now, "full", seeds=[0])]
        (change,) = changes(first, {"full": Results(records, {})})
        return change.differences

    return differences


def changed(**cases):
    return replace(CLAIM, tested=CLAIM.tested | cases)


def test_a_claim_that_asks_the_same_and_comes_out_the_same_is_no_change(compared):
    assert compared(CLAIM) == []
    assert (
        compared(replace(CLAIM, statement="in other words", explored={"later": {"m": at_least(0, named("x"))}})) == []
    )
    assert compared(changed(one=Case(CLAIM.tested["one"].criteria, must_miss={"bad": {"m": constant(0)}}))) == []


def test_another_formula_is_another_instrument(compared):
    assert compared(changed(two=Case({"m": at_least(1, named("h / 2"))}))) == ["instrument"]
    assert compared(changed(three=Case({"m": at_least(1, named("x"))}))) == ["instrument"]


def test_the_same_formulas_in_other_cases_are_another_instrument(compared):
    together = Case(CLAIM.tested["one"].criteria | {"o": at_least(1, named("h"))})
    assert compared(replace(CLAIM, tested={"one": together})) == ["instrument"]
    explored = replace(CLAIM, tested={"one": CLAIM.tested["one"]}, explored={"two": CLAIM.tested["two"].criteria})
    assert compared(explored) == ["instrument"]


def test_a_limit_of_what_can_be_measured_is_another_instrument_and_no_other_threshold(compared):
    limited = Case(CLAIM.tested["two"].criteria, measurable={"h": at_least(-9, named("h"))})
    assert compared(changed(two=limited)) == ["instrument"]
    (limit,) = (one for one in editions.asked(changed(two=limited)) if one.limit)
    assert limit.words == "two: only where h, at least -9: `h`"


def test_another_interval_of_the_same_formula_is_another_threshold(compared):
    assert compared(changed(two=Case({"m": at_least(3, named("h"))}))) == ["threshold"]
    assert compared(changed(two=Case({"m": Criterion(named("h"), 1, 9)}))) == ["threshold"]


def test_another_verdict_or_condition_counts_where_it_was_measured(compared):
    assert compared(CLAIM, "holds") == ["verdict"]
    assert compared(CLAIM, "does not hold (not measured in 1 case)") == ["verdict"]
    assert compared(CLAIM, "holds", measured=False) == []


def test_a_claim_that_became_a_theorem_has_another_verdict_measured_or_not(compared):
    checked = {condition: case.criteria for condition, case in CLAIM.tested.items()}
    assert compared(replace(CLAIM, kind=Kind.THEOREM, tested={}, checked=checked), measured=False) == ["verdict"]


def test_a_claim_that_the_first_edition_lacks_is_new_and_no_change(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", (replace(CLAIM, id="C99"),))
    (change,) = changes({"full": {"C98": First(editions.asked(CLAIM), "holds")}}, {})
    assert change.new and change.differences == [] and change.verdicts == {"full": ("", NOT_YET)}


def test_the_page_has_every_claim_that_differs_with_both_verdicts_and_the_reason(monkeypatch):
    now = changed(two=Case({"m": at_least(3, named("h"))}))
    same, new = replace(CLAIM, id="C97"), replace(CLAIM, id="C99", statement="a new one")
    monkeypatch.setattr(claims, "CLAIMS", (same, now, new))
    monkeypatch.setattr(editions, "out_of_date", lambda results: [])
    before = First(editions.asked(CLAIM), "holds")
    first = {profile: {"C97": before, "C98": before} for profile in ("full", "fashion")}
    first["full"]["C97"] = first["full"]["C97"]._replace(verdict="does not hold")
    first["fashion"]["C97"] = first["full"]["C97"]
    records = [evaluate(claim, "full", seeds=[0]) for claim in (same, now)]
    text = changes_markdown(changes(first, {"full": Results(records, {})}))
    assert "1 of 2 claims of the first edition differ: instrument 0, threshold 1, verdict 1. As they were: C97." in text
    assert "threshold, verdict. Because." in text
    assert "| profile full    | holds           | does not hold    |" in text
    assert "| profile fashion | holds           | not measured yet |" in text
    assert "- two: m, at least 1: `h`" in text and "- two: m, at least 3: `h`" in text
    assert "| C99     | 5.1       | a new one         | not measured yet | not measured yet  |" in text
    assert "## C97" not in text and "## C99" not in text


def test_every_difference_has_a_reason_and_every_reason_a_difference():
    known = [change for change in changes(first_edition(), reference.load_all()) if not change.new]
    assert len(known) == 25
    lacking = [c.claim.id for c in known if c.differences and not c.claim.changed]
    assert not lacking, f"{', '.join(lacking)} differ from the first edition; say why in Claim.changed"
    idle = [c.claim.id for c in known if c.claim.changed and not c.differences]
    assert not idle, f"{', '.join(idle)} say why they differ from the first edition, and do not"


@pytest.mark.parametrize("profile", ["full", "fashion"])
def test_the_verdicts_of_the_first_edition_follow_from_its_values_and_thresholds(profile):
    for id, told in json.loads((RESULTS / "first_edition" / f"{profile}.json").read_text())["claims"].items():
        cases = {}
        for one in (one for one in told["criteria"] if not one["explored"]):
            low, high = (
                end if end is not None else sign * float("inf") for end, sign in ((one["low"], -1), (one["high"], 1))
            )
            met = [None if value is None else low <= value <= high for value in one["values"]]
            cases.setdefault(one["condition"], []).append(met)
            assert Criterion(constant(0), low, high).threshold == one["threshold"]
        outcomes = {
            condition: [False if False in m else None if None in m else True for m in zip(*met, strict=True)]
            for condition, met in cases.items()
        }
        verdict, condition = judge(outcomes)
        assert (verdict, f"{verdict} ({condition})" if condition else verdict) == (told["verdict"], told["words"]), id


def test_both_profiles_asked_the_same_in_the_first_edition_and_every_claim_of_it_is_still_there():
    full, fashion = (first_edition()[profile] for profile in ("full", "fashion"))
    assert {id: told.asked for id, told in full.items()} == {id: told.asked for id, told in fashion.items()}
    assert full.keys() <= {claim.id for claim in claims.CLAIMS} and len(full) == 25
    assert any(Asked(*one).low == 0.5 for one in full["C01"].asked)
    assert {told.verdict.split(" (")[0] for told in full.values()} <= set(Verdict)


def test_a_damaged_first_edition_is_named(tmp_path):
    assert first_edition(tmp_path) == {}
    assert changes_markdown(changes({}, {})) == "The first edition is not stored with this text."
    (tmp_path / "first_edition").mkdir()
    (tmp_path / "first_edition" / "full.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"full\.json does not hold the first edition.*restore it"):
        first_edition(tmp_path)


def test_the_first_edition_does_not_stand_among_the_results():
    assert reference.load_all().keys() == {"full", "fashion"} == first_edition().keys()
    assert reference.results_folder() == RESULTS
