r"""Reference results: what is stored is what was measured, verdicts follow from it, and it says what of it is old."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

from vaelib import data
from vaelib.study import claims, reference, speed, verdicts
from vaelib.study.claims import quantities
from vaelib.study.claims.criteria import Case, Claim, at_least
from vaelib.study.claims.quantities import Quantity, of
from vaelib.study.judging import Verdict
from vaelib.study.measures import bits, summary
from vaelib.study.reference import (
    Results,
    ResultsError,
    carried_over_markdown,
    comparison_markdown,
    completed,
    depends,
    kept,
    load,
    load_all,
    missing,
    origin,
    out_of_date,
    save,
)
from vaelib.study.verdicts import evaluate
from vaelib.training import NonFiniteLossError

RESULTS = Path(__file__).parents[2] / "book" / "results"
NOTHING = Results([], {})


def claim(id: str, low: float, *, later: bool = False, formula: str = "seed / 3") -> Claim:
    """A claim that holds under the seeds from `low` on."""
    criteria = {"the seed": at_least(low / 3, Quantity(formula, (), lambda run: run.seed / 3))}
    cases = {"always": Case(criteria)} | ({} if later else {"too": Case(criteria)})
    return Claim(id, "5", "a test", tested=cases, explored={"too": criteria} if later else {})


def said(seeds):
    return origin("quick", seeds, commit="0123abc")


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Records of two claims under two seeds, and the file that they were saved to."""
    monkeypatch.setattr(claims, "CLAIMS", (claim("C98", 1, later=True), claim("C99", 4)))
    monkeypatch.setattr(reference, "settings", lambda profile, cache: {})
    monkeypatch.setattr(claims, "models", lambda tasks: {})
    records = [evaluate(found, "quick", seeds=[4, 1]) for found in claims.CLAIMS]
    save(records, tmp_path / "quick.json", began=said([4, 1]), before=NOTHING)
    return records, tmp_path / "quick.json"


def test_what_is_saved_is_loaded_to_the_last_digit_with_its_origin(measured):
    records, file = measured
    found, told = load(file)
    assert found == records
    assert [record.verdict for record in found] == [Verdict.HOLDS, Verdict.UNDECIDED]
    assert (told["profile"], told["dataset"], told["seeds"]) == ("quick", "MNIST", [4, 1])
    assert told["depends"] == depends("quick", [4, 1])
    assert {"torch", "python"} <= told["versions"].keys() and told["commit"] == "0123abc"


def test_verdicts_follow_from_the_values_and_the_thresholds_of_today(measured, monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", (claim("C98", 5, later=True), claim("C99", 1)))
    assert [record.verdict for record in load(measured[1]).records] == [Verdict.FAILS, Verdict.HOLDS]


def renamed(content):
    content["claims"]["C98"][0]["metric"] = "another"


def shortened(content):
    content["claims"]["C98"].pop()


def without_one(content):
    del content["claims"]["C99"]


@pytest.mark.parametrize(("change", "lost"), [(renamed, "C98"), (shortened, "C98"), (without_one, "C99")])
def test_a_claim_that_was_measured_otherwise_or_not_at_all_is_left_out_and_shown_as_such(change, lost, measured):
    records, file = measured
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    found = load(file).records
    assert [record.id for record in found] == [record.id for record in records if record.id != lost]
    for table in (verdicts.verdicts_markdown(records, {"full": found}), verdicts.as_markdown(records, {"full": found})):
        assert all((verdicts.NOT_MEASURED in line) == (lost in line) for line in table.splitlines()[5:])


def test_a_value_that_was_changed_by_hand_is_found(measured):
    _, file = measured
    content = json.loads(file.read_text())
    content["claims"]["C98"][0]["values"] = [3 * value for value in content["claims"]["C98"][0]["values"]]
    file.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="the values of C98, the seed, are not those of its mean"):
        load(file)


def test_a_model_that_could_not_be_trained_is_stored_as_null_and_read_as_nan(measured, monkeypatch):
    def measure(run):
        if run.seed == 1:
            raise NonFiniteLossError("the loss is nan")
        return 1.0

    case = {"always": Case({"m": at_least(0, Quantity("m", (), measure))})}
    monkeypatch.setattr(claims, "CLAIMS", (Claim("C98", "5", "a test", tested=case),))
    records, file = [evaluate(claims.CLAIMS[0], "quick", seeds=[0, 1])], measured[1]
    save(records, file, began=said([0, 1]), before=NOTHING)
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["claims"]["C98"][0]["values"] == [1.0, None]
    assert load(file).records[0].findings[0].met == (True, None)


def test_a_file_that_cannot_be_written_is_as_it_was(measured, monkeypatch):
    records, file = measured
    before = file.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResultsError, match=r"No space left.*as it was.*run the same command again"):
        save(records[:1], file, began=said([4, 1]), before=NOTHING)
    assert [path.name for path in file.parent.iterdir()] == ["quick.json"] and file.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_a_file_that_holds_no_results_is_measured_anew(text, tmp_path):
    (tmp_path / "full.json").write_text(text)
    assert kept(tmp_path / "full.json", "full", [0]) == NOTHING


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_a_file_that_holds_no_results_is_named_with_the_command_that_mends_it(text, tmp_path):
    (tmp_path / "full.json").write_text(text)
    with pytest.raises(ResultsError, match=r"full\.json holds no results.*make reference REFERENCE=full"):
        load_all(tmp_path)


def test_the_books_results_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_all() == load_all(RESULTS) and "full" in load_all()
    assert speed.load_all() == speed.load_all(RESULTS / "speed")


def test_where_the_library_is_installed_they_are_found_beside_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "__file__", str(tmp_path / "site-packages" / "vaelib" / "study" / "reference.py"))
    monkeypatch.chdir(RESULTS.parent)
    assert load_all() == load_all(RESULTS)
    assert speed.load_all() == speed.load_all(RESULTS / "speed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultsError, match=rf"neither .*book/results nor {tmp_path}/results holds reference results"):
        load_all()


def test_a_folder_of_results_that_is_none_is_named(tmp_path):
    with pytest.raises(ResultsError, match=f"{tmp_path / 'none'} is no folder"):
        load_all(tmp_path / "none")


@pytest.mark.parametrize("notebook", sorted(RESULTS.parent.glob("*.ipynb")), ids=lambda path: path.name)
def test_no_notebook_reads_results_from_the_folder_that_it_happens_to_run_in(notebook):
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    assert not [source for source in cells if "results" in source and "Path(" in source]


def test_seeds_that_are_added_give_what_a_run_under_all_of_them_gives(measured):
    _, file = measured
    before = kept(file, "quick", [1, 2, 4])
    assert [(found.id, run.seed) for found, run in missing(before, "quick", [1, 2, 4])] == [("C98", 2), ("C99", 2)]
    records = completed(before, "quick", [1, 2, 4])
    assert records == [evaluate(found, "quick", seeds=[1, 2, 4]) for found in claims.CLAIMS]
    save(records, file, began=said([1, 2, 4]), before=before)
    assert load(file).records == records


def test_only_a_claim_that_has_changed_is_measured_again(measured, monkeypatch):
    _, file = measured
    other = Quantity("1 + seed / 3", (), lambda run: 1 + run.seed / 3)
    case = Case({"the seed": at_least(0, other)})
    changed = Claim("C99", "5", "a test", tested={"always": case, "too": case})
    monkeypatch.setattr(claims, "CLAIMS", (claims.CLAIMS[0], changed, claim("C97", 0)))
    assert out_of_date(load(file)) == ["C99"], "and what is not there is not old"
    before = kept(file, "quick", [1, 4])
    assert [record.id for record in before.records] == ["C98"]
    work = [(found.id, run.seed) for found, run in missing(before, "quick", [1, 4])]
    assert work == [("C99", 1), ("C99", 4), ("C97", 1), ("C97", 4)]
    assert completed(before, "quick", [1, 4]) == [evaluate(found, "quick", seeds=[1, 4]) for found in claims.CLAIMS]


def test_what_is_kept_is_not_measured(measured, monkeypatch):
    records, file = measured
    before = kept(file, "quick", [1, 4])

    def measure(run):
        pytest.fail("it is in the file")

    kind = Quantity("seed / 3", (), measure)
    for found in claims.CLAIMS:
        for criteria in (*(case.criteria for case in found.tested.values()), *found.explored.values()):
            criteria["the seed"] = at_least(0, kind)
    assert [record.findings[0].values for record in completed(before, "quick", [4, 1])] == [
        record.findings[0].values for record in records
    ]


def test_seconds_of_training_are_added_up_and_those_of_a_model_once(measured, monkeypatch):
    _, file = measured
    seconds = {"shared": 5, "seed 2": 10}
    entries = {
        name: SimpleNamespace(exists=lambda: True, read=lambda spent=spent: ({"seconds": spent}, {}))
        for name, spent in seconds.items()
    }
    monkeypatch.setattr(reference, "entry", lambda model, cache: entries[model])
    monkeypatch.setattr(
        claims,
        "models",
        lambda tasks: {n: n for _, run in tasks for n in ("shared", f"seed {run.seed}") if n in seconds},
    )
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "training_seconds": 7}))
    before = kept(file, "quick", [4, 1, 2])
    save(completed(before, "quick", [4, 1, 2]), file, began=said([4, 1, 2]), before=before)
    assert load(file).origin["training_seconds"] == 7 + 10


def test_results_of_another_profile_or_of_other_seeds_are_not_kept(measured, monkeypatch, tmp_path):
    _, file = measured
    assert kept(file, "quick", [1, 4]) == load(file)
    assert kept(file, "full", [1, 4]) == NOTHING
    assert kept(file, "quick", [1, 2]) == NOTHING
    assert kept(tmp_path / "none.json", "quick", [1, 4]) == NOTHING
    monkeypatch.setattr(claims, "CLAIMS", [claim(id, 0, formula="another") for id in ("C98", "C99")])
    assert kept(file, "quick", [1, 4]) == NOTHING


def judged(quantity, *, low=0.0, metric="m"):
    return Claim("C99", "5", "a test", tested={"always": Case({metric: at_least(low, quantity)})})


def test_what_a_claim_depends_on_are_its_formula_its_seeds_and_the_models_and_measures_behind_it(monkeypatch):
    mse, kl = (of(summary, "geco-d20", field) for field in ("mse", "kl_nats"))

    def now(found, seeds=(0,)):
        monkeypatch.setattr(claims, "CLAIMS", (found,))
        return depends("quick", seeds)["C99"]

    before = now(judged(mse))
    assert now(judged(mse)) == now(judged(mse, low=1, metric="another word")) == before, "thresholds are today's"
    assert now(judged(kl)) != before
    assert now(judged(of(bits, "geco-d20", "mse"))) != before
    assert now(judged(mse), (1,)) != before
    known = quantities.experiments
    longer = {name: replace(model, epochs=99) for name, model in known("quick").items()}
    monkeypatch.setattr(quantities, "experiments", lambda *a, **k: longer)
    assert now(judged(mse)) != before


def test_a_claim_depends_on_no_other(monkeypatch):
    one = judged(of(summary, "geco-d20", "mse"))
    monkeypatch.setattr(claims, "CLAIMS", (one,))
    before = depends("quick", [0])
    monkeypatch.setattr(claims, "CLAIMS", (one, claim("C98", 0)))
    assert depends("quick", [0])["C99"] == before["C99"]


def test_what_carries_over_is_counted_and_the_rest_named_with_its_condition(measured):
    records, _ = measured
    others = [replace(records[0], verdict=Verdict.CONDITIONAL, condition="at noon"), records[1]]
    text = carried_over_markdown(records, others)
    assert "1 of 2 verdicts on measurements are the same" in text
    assert "holds under a stated condition (at noon)" in text and "C98" in text and "C99" not in text
    assert "2 of 2 verdicts" in carried_over_markdown(records, records)
    moved = [replace(others[0], condition="at night"), records[1]]
    assert "1 of 2 verdicts" in carried_over_markdown(others, moved), "another condition is another result"


def test_a_value_that_is_missing_is_said(measured):
    records, told = load(measured[1])
    assert "missing" not in comparison_markdown({"quick": Results(records, told)})
    finding = replace(records[1].findings[0], values=(math.nan, 1.0))
    lacking = [records[0], replace(records[1], findings=(finding,))]
    assert "Some values of C99 are missing" in comparison_markdown({"quick": Results(lacking, told)})


def test_results_that_are_out_of_date_are_shown_as_such(measured, monkeypatch):
    results = {"quick": load(measured[1])}
    assert "Out of date" not in comparison_markdown(results)
    monkeypatch.setattr(claims, "CLAIMS", (claims.CLAIMS[0], claim("C99", 4, formula="another")))
    assert "**Out of date**: C99." in comparison_markdown(results)


def test_tables_have_a_column_for_each_reference(measured):
    records, file = measured
    others = {"quick": load(file).records}
    assert "profile quick" in verdicts.verdicts_markdown(records, others)
    assert "mean ± sd (seeds that meet it), quick" in verdicts.as_markdown(records, others)
    assert "Reference: profile quick, seeds 4, 1." in verdicts.as_markdown(records, others)


@pytest.mark.parametrize("beta", [0.5, 2.0, 50.0])
def test_settings_count_the_directions_of_the_data_beyond_the_weight(beta, monkeypatch):
    monkeypatch.setattr(reference, "LARGE_BETA", beta)
    monkeypatch.setattr(reference, "baselines", lambda profile, cache: SimpleNamespace(precision_noise={"0": 1.0}))
    variances = np.linalg.eigvalsh(np.cov(data.load("quick").train.images.numpy().T))
    assert reference.settings("quick") == {
        "directions_above_large_beta": (variances > beta).sum(),
        "precision_noise": {"0": 1.0},
    }


@pytest.mark.parametrize("profile", sorted(file.stem for file in RESULTS.glob("*.json")))
def test_the_committed_results_are_those_of_the_code_as_it_is(profile):
    results, stored = load(RESULTS / f"{profile}.json"), json.loads((RESULTS / f"{profile}.json").read_text())
    told = results.origin
    assert told["profile"] == profile
    assert [record.id for record in results.records] == list(stored["claims"]), "a claim reads otherwise than is stored"
    old = out_of_date(results)
    assert not old, f"{', '.join(old)} changed since; run: make reference REFERENCE={profile}"
    assert len(set(told["seeds"])) >= {"full": 5}.get(profile, 3)
    assert len(told["commit"]) == 40, "run it from a checkout without changes"
