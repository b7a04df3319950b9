r"""Controls and limits: what was measured tells something only where real things come out as they must."""

import json
import math

import pytest

from vaelib.study import claims, reference, verdicts
from vaelib.study.claims.criteria import Case, Claim, ControlError, Kind, Role, at_least, at_most
from vaelib.study.claims.quantities import Quantity, Run, baseline, constant, of
from vaelib.study.judging import Verdict, judge
from vaelib.study.measures import bits, summary
from vaelib.study.reference import Results, depends, load, origin, save
from vaelib.study.verdicts import evaluate, tally

SEEDS = [0, 1, 2]
ABOVE = {"a": at_least(1, constant(2)), "b": at_least(1, constant(2))}


def of_seed(*values):
    """A quantity with these values under the seeds 0, 1, ..."""
    return Quantity("of the seed", (), lambda run: values[run.seed])


def measured(case, **more):
    claim = Claim("C99", "5", "a test", tested={"here": case}, **more)
    return evaluate(claim, "quick", seeds=SEEDS)


def test_a_case_whose_controls_come_out_as_they_must_is_judged_by_its_criteria():
    controls = {"must_meet": {"good": {"a": constant(3)}}, "must_miss": {"bad": {"a": constant(0)}}}
    assert measured(Case(ABOVE, **controls)).verdict == Verdict.HOLDS
    low = {"a": at_least(1, constant(0)), "b": at_least(1, constant(2))}
    assert measured(Case(low, **controls)).verdict == Verdict.FAILS


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        ({"must_meet": {"clean": {"a": of_seed(2, 0, 2)}}}, "control failed: clean (must meet)"),
        ({"must_miss": {"noise": {"a": of_seed(0, 0, 2)}}}, "control failed: noise (must miss)"),
        (
            {"must_miss": {"noise": {"a": constant(2)}, "blur": {"a": constant(2)}}},
            "noise (must miss), blur (must miss)",
        ),
    ],
)
def test_a_control_that_fails_under_any_seed_voids_the_case_and_is_named(controls, words):
    record = measured(Case(ABOVE, **controls))
    assert record.verdict == Verdict.UNMEASURED and record.condition.endswith(words)


def test_a_control_must_meet_every_criterion_but_miss_only_one():
    one_of_two = {"real": {"a": constant(2), "b": constant(0)}}
    assert measured(Case(ABOVE, must_miss=one_of_two)).verdict == Verdict.HOLDS
    assert measured(Case(ABOVE, must_meet=one_of_two)).verdict == Verdict.UNMEASURED


def test_a_control_without_a_value_leaves_its_seed_without_an_outcome():
    for role in ("must_meet", "must_miss"):
        value = 2 if role == "must_meet" else 0
        record = measured(Case(ABOVE, **{role: {"real": {"a": of_seed(value, math.nan, value)}}}))
        assert record.verdict == Verdict.UNDECIDED
        assert record.condition == "could not be measured under some seeds: here (control without a value: real)"


@pytest.mark.parametrize("stopped", [0.0, math.nan])
def test_where_the_instrument_cannot_speak_there_is_no_outcome(stopped):
    record = measured(Case(ABOVE, measurable={"range": at_least(1, of_seed(2, stopped, 2))}))
    assert record.verdict == Verdict.UNDECIDED
    assert measured(Case(ABOVE, measurable={"range": at_least(1, constant(stopped))})).verdict == Verdict.UNMEASURED
    missed = {"a": at_least(9, constant(2))}
    nowhere = measured(Case(missed, measurable={"range": at_least(1, constant(stopped))}))
    assert nowhere.verdict == Verdict.UNMEASURED, "a miss out of range is no evidence either"


def test_an_instrument_at_its_stop_is_named():
    record = measured(Case(ABOVE, measurable={"precision of real digits": at_least(0.5, constant(0))}))
    assert record.words == "could not be measured (beyond what can be measured: precision of real digits)"


def test_why_a_case_was_not_measured_is_said_whatever_the_others_say():
    reason = {"void": "control failed: noise (must miss)"}
    void = {"void": (None, None)}
    for other, verdict in (
        ((True, True), Verdict.CONDITIONAL),
        ((False, False), Verdict.FAILS),
        ((True, False), Verdict.UNDECIDED),
        ((None, True), Verdict.UNDECIDED),
        ((None, None), Verdict.UNMEASURED),
    ):
        found = judge(void | {"other": other}, reason)
        assert found[0] == verdict and reason["void"] in found[1], found


def test_a_claim_without_a_case_holds_of_nothing():
    assert judge({}) == (Verdict.UNMEASURED, "")


@pytest.mark.parametrize("role", ["must_meet", "must_miss"])
@pytest.mark.parametrize(("values", "said"), [({"c": constant(0)}, "'c', no metric of its case"), ({}, "no value")])
def test_a_control_of_no_metric_is_an_error(role, values, said):
    with pytest.raises(ControlError, match=f"control 'real' .*{said}.*: 'a', 'b'"):
        Case(ABOVE, **{role: {"real": values}})


def theorem(*values):
    checked = {"d = 2": {"m": at_most(1, of_seed(*values))}, "d = 20": {"m": at_most(1, constant(0))}}
    return evaluate(Claim("C98", "5", "a theorem", Kind.THEOREM, checked=checked), "quick", seeds=SEEDS)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 0, 0), "proved; the check agrees"),
        ((0, 2, 0), "proved; the check disagrees (d = 2)"),
        ((0, math.nan, 0), "proved; the check agrees (not checked under some seeds: d = 2)"),
    ],
)
def test_a_theorem_is_proved_and_its_check_agrees_or_not(values, words):
    assert theorem(*values).words == words


def test_a_theorem_that_was_never_checked_is_not_called_agreed_with():
    checked = {"d = 2": {"m": at_most(1, constant(math.nan))}}
    claim = Claim("C98", "5", "a theorem", Kind.THEOREM, checked=checked)
    assert evaluate(claim, "quick", seeds=SEEDS).verdict == Verdict.UNMEASURED


def test_a_tally_counts_measurements_and_leaves_theorems_and_audits_apart():
    holds = measured(Case(ABOVE))
    records = [holds, theorem(0, 0, 0), measured(Case(ABOVE), kind=Kind.AUDIT)]
    assert {verdict: n for verdict, n in tally(records).items() if n} == {Verdict.HOLDS: 1}
    assert {verdict: n for verdict, n in tally(records, Kind.THEOREM).items() if n} == {Verdict.AGREES: 1}
    assert sum(tally(records, Kind.AUDIT).values()) == 1
    assert "1 of 1 verdicts on measurements" in reference.carried_over_markdown(records, records)


def test_what_is_checked_beside_a_measurement_enters_no_verdict():
    record = measured(Case(ABOVE), checked={"an identity": {"m": at_most(0, constant(1))}})
    assert record.verdict == Verdict.HOLDS
    assert [(f.condition, f.role) for f in record.findings][-1] == ("an identity (checked)", Role.CHECKED)
    assert "| an identity (checked) | m " in verdicts.as_markdown([record])


def test_criteria_are_findings_without_what_stands_beside_them():
    case = Case(ABOVE, must_miss={"bad": {"a": constant(0)}}, measurable={"range": at_least(1, constant(2))})
    record = measured(case, explored={"later": ABOVE})
    assert [(f.condition, f.metric) for f in record.criteria] == [("here", "a"), ("here", "b")]


def test_controls_stand_in_the_row_of_their_criterion_with_their_means():
    later = {"later": {"a": at_least(0, constant(1))}}
    faint, fainter = ({"real digits, faint noise": {"a": value}} for value in (of_seed(0.3, 0.4, 0.5), constant(0.1)))
    record, other = (measured(Case(ABOVE, must_miss=noise), explored=later) for noise in (faint, fainter))
    said = "real digits, faint noise: 0.4, must miss: misses"
    rows = verdicts.as_markdown([record]).splitlines()
    assert [line for line in rows if said in line] == [line for line in rows if "| here " in line and "| a " in line]
    assert len([line for line in rows if line.startswith("| C99")]) == 3, "and has no row of its own"
    assert verdicts.verdicts_markdown([record]).endswith("| 1 of 1     |")
    assert "faint noise: 0.4 / 0.1, must miss: misses |" in verdicts.as_markdown([record], {"full": [other]})
    loud = measured(Case(ABOVE, must_miss={"real digits, faint noise": {"a": constant(4)}}), explored=later)
    three = verdicts.as_markdown([record], {"full": [other], "fashion": [loud]})
    assert "faint noise: 0.4 / 0.1 / 4, must miss: misses / misses / **meets** |" in three


def test_a_control_that_failed_stands_out_and_one_that_only_meets_a_part_does_not():
    failed = measured(Case(ABOVE, must_miss={"noise": {"a": of_seed(0, 2, 2)}}))
    assert "must miss: **meets under 2 of 3 seeds**" in verdicts.as_markdown([failed])
    assert verdicts.verdicts_markdown([failed]).endswith("| **0 of 1** |")
    partly = measured(Case(ABOVE, must_miss={"noise": {"a": constant(2), "b": constant(0)}}))
    assert "noise: 2, must miss: meets " in verdicts.as_markdown([partly])
    assert "noise: 0, must miss: misses " in verdicts.as_markdown([partly])


def test_a_table_without_controls_has_no_column_for_them():
    plain, controlled = measured(Case(ABOVE)), measured(Case(ABOVE, must_miss={"bad": {"a": constant(0)}}))
    for written in (verdicts.as_markdown, verdicts.verdicts_markdown):
        assert "controls" not in written([plain]) and "controls" in written([plain, controlled])


def test_controls_and_limits_are_needed_and_depended_on_like_criteria(monkeypatch):
    criteria = {"m": at_least(0, of(summary, "geco-d20", "mse"))}
    control = {"real": {"m": of(bits, "geco-d20", "bits")}}
    limit = {"range": at_least(0, baseline("mse_mean_image"))}
    found = []
    for case in (
        Case(criteria),
        Case(criteria, control),
        Case(criteria, {}, control),
        Case(criteria, measurable=limit),
    ):
        claim = Claim("C99", "5", "a test", tested={"here": case})
        monkeypatch.setattr(claims, "CLAIMS", (claim,))
        found.append(({need.name for need in claim.needs}, depends("quick", [0])["C99"]))
    needs, digests = zip(*found, strict=True)
    assert needs == (
        {"summary(geco-d20)"},
        {"summary(geco-d20)", "bits(geco-d20)"},
        {"summary(geco-d20)", "bits(geco-d20)"},
        {"summary(geco-d20)", "baselines"},
    )
    assert len({digests[0], digests[1], digests[3]}) == 3
    assert len(claims.measurements([(claim, Run("quick", 0))])) == 2


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """A claim with all roles, measured and saved; and the file."""
    case = Case(
        ABOVE,
        must_meet={"good": {"a": of_seed(2, 3, 4)}},
        must_miss={"bad": {"a": constant(0), "b": constant(5)}},
        measurable={"range": at_least(1, constant(2))},
    )
    one = Claim("C99", "5", "a test", tested={"here": case}, checked={"too": ABOVE}, explored={"later": ABOVE})
    monkeypatch.setattr(claims, "CLAIMS", (one,))
    monkeypatch.setattr(reference, "settings", lambda profile, cache: {})
    monkeypatch.setattr(claims, "models", lambda tasks: {})
    records = [evaluate(one, "quick", seeds=SEEDS)]
    file = tmp_path / "quick.json"
    save(records, file, began=origin("quick", SEEDS, commit="0123abc"), before=Results([], {}))
    return records, file


def test_controls_limits_and_checks_are_stored_and_loaded(stored):
    records, file = stored
    assert load(file).records == records
    told = json.loads(file.read_text())["claims"]["C99"]
    assert {one["role"] for one in told} == set(Role)
    assert [one["control"] for one in told if "control" in one] == ["good", "bad", "bad"]


def edited(file, change):
    content = json.loads(file.read_text())
    change(next(one for one in content["claims"]["C99"] if one.get("control") == "good"))
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [{"control": "another"}, {"role": "must miss"}])
def test_a_claim_that_was_stored_with_other_controls_is_left_out(change, stored):
    edited(stored[1], lambda one: one.update(change))
    assert load(stored[1]).records == []


def test_a_control_that_was_changed_by_hand_is_found(stored):
    edited(stored[1], lambda one: one.update(values=[2, 3, 5]))
    with pytest.raises(reference.ResultsError, match="the values of C99, a, are not those of its mean"):
        load(stored[1])
