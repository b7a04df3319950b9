r"""From numbers to verdicts: what several seeds and several cases say together."""

import math

import pytest

from vaelib.study import claims as hypotheses
from vaelib.study import verdicts as claims
from vaelib.study.models import claim_seeds
from vaelib.study.verdicts import Case, Claim, Criterion, Verdict, evaluate, judge
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
        ({"a": (None, None)}, Verdict.UNMEASURED),
        ({"a": (None, None), "b": (None, None)}, Verdict.UNMEASURED),
        ({"a": (True, None)}, Verdict.UNDECIDED),
        ({"a": (False, None)}, Verdict.UNDECIDED),
        ({"a": (False, False), "b": (False, None)}, Verdict.UNDECIDED),
        ({"a": (False, False), "b": (None, None)}, Verdict.FAILS),
        ({"a": (True, True), "b": (None, None)}, Verdict.CONDITIONAL),
        ({"a": (True, True), "b": (True, None)}, Verdict.CONDITIONAL),
    ],
)
def test_verdicts_follow_from_cases_and_seeds(outcomes, verdict):
    assert judge(outcomes)[0] == verdict


def test_a_condition_names_the_cases_that_pass_under_every_seed_and_counts_the_others_by_their_kind():
    outcomes = {"low floor": (True, True), "high floor": (False, False), "highest": (False, False)}
    assert judge(outcomes) == (Verdict.CONDITIONAL, "low floor; not in 2 other cases")
    others = {"middle": (True, False), "narrow": (None, None), "wide": (None, True)}
    assert judge(outcomes | others)[1] == (
        "low floor; not in 2 other cases; seeds differ in 1 other case; not trained under some seeds in 1 other case; "
        "not measured in 1 other case"
    )


def test_a_case_that_was_added_later_is_shown_and_not_judged():
    met, missed = (Criterion(metric="m", measure=lambda run: run.seed, low=low) for low in (0, 9))
    cases = (Case(condition="first", criteria=(missed,)), Case(condition="second", criteria=(met,), later=True))
    record = evaluate(Claim(id="C99", section="5", statement="a test", cases=cases), "quick", seeds=[0, 1])
    assert record.verdict == Verdict.FAILS
    assert [finding.condition for finding in record.findings] == ["first", "second (exploratory)"]


def test_an_undecided_claim_names_the_cases_on_which_seeds_differ():
    outcomes = {"middle": (True, False), "high": (False, False), "wide": (True, None)}
    assert judge(outcomes)[1] == "differs between seeds: middle; could not be trained under some seeds: wide"


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


def test_a_model_that_cannot_be_trained_is_no_evidence_and_spares_the_other_seeds():
    def measure(run):
        if run.seed == 1:
            raise NonFiniteLossError("the loss is nan")
        return 1.0 + run.seed

    record = evaluate(claim(Criterion(metric="m", measure=measure, low=0)), "quick", seeds=[0, 1, 2])
    assert record.findings[0].met == (True, None, True) and math.isnan(record.findings[0].values[1])
    assert (record.findings[0].mean, record.findings[0].spread) == (2, pytest.approx(math.sqrt(2)))
    assert "| 2.0 ± 1.4" in claims.as_markdown([record]) and "| 2 of 2, 1 not trained" in claims.as_markdown([record])
    assert record.verdict == Verdict.UNDECIDED
    nowhere = evaluate(claim(Criterion(metric="m", measure=measure, low=0)), "quick", seeds=[1])
    assert nowhere.verdict == Verdict.UNMEASURED
    assert "| could not be trained" in claims.as_markdown([nowhere]) and "nan" not in claims.as_markdown([nowhere])


@pytest.mark.parametrize(("seeds", "close"), [([0, 2, 4], True), ([3, 5, 7], False)])
def test_what_is_within_two_standard_deviations_of_a_threshold_is_called_close(seeds, close):
    criterion = Criterion(metric="m", measure=lambda run: run.seed, low=-1)
    record = evaluate(claim(criterion), "quick", seeds=seeds)
    assert record.findings[0].close == close
    assert ("3 of 3, close" in claims.as_markdown([record])) == close


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([190, 211, 232], "211 ± 21"),
        ([0.8311, 0.8322], "0.83165 ± 0.00078"),
        ([1400, 1500, 1600], "1,500 ± 100"),
        ([5, 5], "5 ± 0"),
        ([1, 1 + 1e-15], "1 ± 8e-16"),
    ],
)
def test_a_mean_ends_where_its_standard_deviation_does(values, words):
    criterion = Criterion(metric="m", measure=lambda run: values[run.seed], low=0)
    table = claims.as_markdown([evaluate(claim(criterion), "quick", seeds=range(len(values)))])
    assert f"| {words} " in table


@pytest.mark.parametrize(
    ("bounds", "words"), [({"low": 2}, "at least 2"), ({"high": 0.8}, "at most 0.8"), ({"low": 1, "high": 3}, "1 to 3")]
)
def test_a_threshold_in_words_is_the_interval(bounds, words):
    criterion = Criterion(metric="m", measure=lambda run: 0.0, **bounds)
    assert criterion.threshold == words
    ends = list(bounds.values())
    assert all(criterion.met(end) for end in ends)


def test_each_claim_in_scope_is_there_once_and_every_criterion_has_an_end():
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
    assert "1.50 ± 0.71" in table
    assert "1 of 2" in table
