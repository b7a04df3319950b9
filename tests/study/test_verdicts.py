r"""From numbers to verdicts: what several seeds and several cases say together."""

import math
from dataclasses import replace

import pytest

from vaelib.study import claims, verdicts
from vaelib.study.claims.criteria import Case, Claim, Criterion, at_least
from vaelib.study.claims.quantities import Quantity
from vaelib.study.judging import Verdict, judge
from vaelib.study.models import build_seeds
from vaelib.study.verdicts import evaluate
from vaelib.training import NonFiniteLossError


def of_seed(function):
    """A quantity that is a function of the seed."""
    return Quantity("of the seed", (), lambda run: function(run.seed))


SEED = of_seed(lambda seed: seed)


def claim(criteria: dict[str, Criterion]) -> Claim:
    return Claim("C99", "5", "a test", tested={"always": Case(criteria)})


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
    missed, met = ({"m": at_least(low, SEED)} for low in (9, 0))
    both = Claim("C99", "5", "a test", tested={"first": Case(missed)}, explored={"second": met})
    record = evaluate(both, "quick", seeds=[0, 1])
    assert record.verdict == Verdict.FAILS
    assert [finding.condition for finding in record.findings] == ["first", "second (exploratory)"]


def test_an_undecided_claim_names_the_cases_on_which_seeds_differ():
    outcomes = {"middle": (True, False), "high": (False, False), "wide": (True, None)}
    assert judge(outcomes)[1] == "differs between seeds: middle; could not be trained under some seeds: wide"


def test_a_seed_meets_a_case_only_if_it_meets_every_criterion():
    odd, even = at_least(1, of_seed(lambda seed: seed % 2)), at_least(1, of_seed(lambda seed: 1 - seed % 2))
    assert evaluate(claim({"odd": odd}), "quick", seeds=[1, 3]).verdict == Verdict.HOLDS
    assert evaluate(claim({"odd": odd}), "quick", seeds=[0, 1]).verdict == Verdict.UNDECIDED
    assert evaluate(claim({"odd": odd, "even": even}), "quick", seeds=[0, 1]).verdict == Verdict.FAILS


def test_spread_is_the_standard_deviation_over_seeds():
    finding = evaluate(claim({"m": at_least(0, SEED)}), "quick", seeds=[1, 2, 6]).findings[0]
    assert (finding.mean, finding.spread) == (3, pytest.approx(math.sqrt(7)))


def test_a_model_that_cannot_be_trained_is_no_evidence_and_spares_the_other_seeds():
    def measure(seed):
        if seed == 1:
            raise NonFiniteLossError("the loss is nan")
        return 1.0 + seed

    positive = claim({"m": at_least(0, of_seed(measure))})
    record = evaluate(positive, "quick", seeds=[0, 1, 2])
    assert record.findings[0].met == (True, None, True) and math.isnan(record.findings[0].values[1])
    assert (record.findings[0].mean, record.findings[0].spread) == (2, pytest.approx(math.sqrt(2)))
    assert "| 2.0 ± 1.4" in verdicts.as_markdown([record])
    assert "(2 of 2, 1 not trained" in verdicts.as_markdown([record])
    assert record.verdict == Verdict.UNDECIDED
    nowhere = evaluate(positive, "quick", seeds=[1])
    assert nowhere.verdict == Verdict.UNMEASURED
    assert "| could not be trained" in verdicts.as_markdown([nowhere])
    assert "nan" not in verdicts.as_markdown([nowhere])


def test_one_missed_criterion_settles_a_case_whatever_is_unknown_of_the_others():
    def untrained(seed):
        raise NonFiniteLossError("the loss is nan")

    unknown, missed, met = at_least(0, of_seed(untrained)), at_least(9, SEED), at_least(0, SEED)
    assert evaluate(claim({"a": unknown, "b": missed}), "quick", seeds=[0, 1]).verdict == Verdict.FAILS
    assert evaluate(claim({"a": unknown, "b": met}), "quick", seeds=[0, 1]).verdict == Verdict.UNMEASURED


@pytest.mark.parametrize(("seeds", "close"), [([0, 2, 4], True), ([3, 5, 7], False)])
def test_what_is_within_two_standard_deviations_of_a_threshold_is_called_close(seeds, close):
    record = evaluate(claim({"m": at_least(-1, SEED)}), "quick", seeds=seeds)
    assert record.findings[0].close == close
    assert ("(3 of 3, close)" in verdicts.as_markdown([record])) == close


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
    positive = claim({"m": at_least(0, of_seed(lambda seed: values[seed]))})
    table = verdicts.as_markdown([evaluate(positive, "quick", seeds=range(len(values)))])
    assert f"| {words} " in table


def test_records_are_of_the_claims_that_are_asked_for_over_the_seeds_of_the_build(monkeypatch):
    one, other = (replace(claim({"m": at_least(0, SEED)}), id=id) for id in ("C98", "C99"))
    monkeypatch.setattr(claims, "CLAIMS", (one, other))
    assert [record.id for record in verdicts.records("quick", seed=4)] == ["C98", "C99"]
    (record,) = verdicts.records("quick", seed=4, ids=["C99"])
    assert record.id == "C99" and record.findings[0].values == record.seeds == build_seeds(4)


def test_tables_show_every_verdict_and_every_measurement():
    shifted = claim({"the metric": at_least(2, of_seed(lambda seed: seed + 1))})
    record = evaluate(shifted, "quick", seeds=[0, 1])
    assert "| **undecided** (differs between seeds: always)" in verdicts.verdicts_markdown([record])
    assert "Profile quick, seeds 0, 1." in verdicts.verdicts_markdown([record])
    assert "| C99     | a test (5) " in verdicts.verdicts_markdown([record]), "the number alone, for it becomes a link"
    table = verdicts.as_markdown([record])
    assert all(said in table for said in ("the metric", "at least 2", "1.50 ± 0.71", "1 of 2"))
