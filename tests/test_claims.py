r"""From numbers to verdicts: what several seeds and several cases say together."""

import math

import pytest

from vaelib import claims, hypotheses
from vaelib.catalogue import claim_seeds
from vaelib.claims import Case, Claim, Criterion, Verdict, evaluate, judge
from vaelib.training import NonFiniteLossError

IN_SCOPE = [f"C{n:02d}" for n in range(1, 26)]


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ({"a": (True, True, True)}, Verdict.HOLDS),
        ({"a": (True, True), "b": (True, True)}, Verdict.HOLDS),
        ({"a": (False, False, False)}, Verdict.FAILS),
        ({"a": (False, False), "b": (False, False)}, Verdict.FAILS),
        ({"a": (True, False, True)}, Verdict.UNDECIDED),
        ({"a": (True, False), "b": (False, False)}, Verdict.UNDECIDED),
        ({"a": (True, True), "b": (False, False)}, Verdict.CONDITIONAL),
        ({"a": (True, True), "b": (True, False)}, Verdict.CONDITIONAL),
    ],
)
def test_verdicts_follow_from_cases_and_seeds(outcomes, verdict):
    assert judge(outcomes)[0] == verdict


def test_a_condition_names_the_cases_that_pass_under_every_seed():
    outcomes = {"low floor": (True, True), "high floor": (False, False), "middle": (True, False)}
    assert judge(outcomes) == (Verdict.CONDITIONAL, "low floor; not in 2 other cases")


def test_a_case_that_was_added_later_is_shown_and_not_judged():
    met, missed = (Criterion(metric="m", measure=lambda run: run.seed, low=low) for low in (0, 9))
    cases = (Case(condition="first", criteria=(missed,)), Case(condition="second", criteria=(met,), later=True))
    record = evaluate(Claim(id="C99", section="5", statement="a test", cases=cases), "quick", seeds=[0, 1])
    assert record.verdict == Verdict.FAILS
    assert [finding.condition for finding in record.findings] == ["first", "second (exploratory)"]


def test_an_undecided_claim_names_the_cases_on_which_seeds_differ():
    assert "middle" in judge({"middle": (True, False), "high": (False, False)})[1]


def claim(*criteria: Criterion) -> Claim:
    return Claim(id="C99", section="5", statement="a test", cases=(Case(condition="always", criteria=criteria),))


def test_a_seed_meets_a_case_only_if_it_meets_every_criterion():
    odd = Criterion(metric="odd", measure=lambda run: run.seed % 2, low=1)
    even = Criterion(metric="even", measure=lambda run: 1 - run.seed % 2, low=1)
    assert evaluate(claim(odd), "quick", seeds=[1, 3]).verdict == Verdict.HOLDS
    assert evaluate(claim(odd), "quick", seeds=[0, 1]).verdict == Verdict.UNDECIDED
    assert evaluate(claim(odd, even), "quick", seeds=[0, 1]).verdict == Verdict.FAILS


def test_spread_is_the_standard_deviation_over_seeds():
    finding = evaluate(claim(Criterion(metric="m", measure=lambda run: run.seed)), "quick", seeds=[1, 2, 6]).findings[0]
    assert (finding.mean, finding.spread) == (3, pytest.approx(math.sqrt(7)))


def test_a_number_that_is_not_a_number_meets_no_threshold():
    nan = Criterion(metric="m", measure=lambda run: math.nan)
    assert evaluate(claim(nan), "quick", seeds=[0, 1]).verdict == Verdict.FAILS


def test_a_model_that_cannot_be_trained_meets_no_threshold_and_spares_the_other_seeds():
    def measure(run):
        if run.seed:
            raise NonFiniteLossError("the loss is nan")
        return 1.0

    record = evaluate(claim(Criterion(metric="m", measure=measure, low=0)), "quick", seeds=[0, 1])
    assert record.findings[0].met == (True, False) and math.isnan(record.findings[0].values[1])
    assert math.isnan(record.findings[0].mean) and math.isnan(record.findings[0].spread)
    assert "nan ± nan" in claims.as_markdown([record])
    assert record.verdict == Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("bounds", "words"), [({"low": 2}, "at least 2"), ({"high": 0.8}, "at most 0.8"), ({"low": 1, "high": 3}, "1 to 3")]
)
def test_a_threshold_in_words_is_the_interval(bounds, words):
    criterion = Criterion(metric="m", measure=lambda run: 0.0, **bounds)
    assert criterion.threshold == words
    ends = list(bounds.values())
    assert all(criterion.met(end) for end in ends)


def test_each_claim_in_scope_is_there_once_and_every_criterion_can_fail():
    assert [found.id for found in hypotheses.CLAIMS] == IN_SCOPE
    for criterion in (c for found in hypotheses.CLAIMS for case in found.cases for c in case.criteria):
        assert math.isfinite(criterion.low) or math.isfinite(criterion.high), criterion.metric


def test_cases_of_a_claim_have_conditions_of_their_own():
    for found in hypotheses.CLAIMS:
        conditions = [case.condition for case in found.cases]
        assert len(conditions) == len(set(conditions)), found.id


def test_claims_are_measured_over_at_least_three_seeds_from_the_one_of_the_build():
    assert claim_seeds("quick", 4)[0] == 4
    assert len(set(claim_seeds("quick", 4))) >= 3


def test_tables_show_every_verdict_and_every_measurement():
    criterion = Criterion(metric="the metric", measure=lambda run: run.seed + 1, low=2)
    record = evaluate(claim(criterion), "quick", seeds=[0, 1])
    assert "undecided" in claims.verdicts_markdown([record])
    assert "Profile quick, seeds 0, 1." in claims.verdicts_markdown([record])
    table = claims.as_markdown([record])
    assert "the metric" in table
    assert "1.5 ± 0.7" in table
    assert "1 of 2" in table
