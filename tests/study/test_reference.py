r"""Reference results: what is stored is what was measured, verdicts follow from it, and it says when it is old."""

import json
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vaelib import data
from vaelib.study import claims as hypotheses
from vaelib.study import reference as published
from vaelib.study import verdicts as claims
from vaelib.study.models import claim_seeds
from vaelib.study.reference import (
    PublishedError,
    carried_over_markdown,
    comparison_markdown,
    depends,
    kept,
    load,
    load_all,
    origin,
    save,
    together,
)
from vaelib.study.verdicts import Case, Claim, Criterion, Verdict
from vaelib.training import NonFiniteLossError

RESULTS = Path(__file__).parents[2] / "book" / "results"


def claim(id: str, low: float, *, later: bool = False) -> Claim:
    """A claim that holds under the seeds from `low` on."""
    criterion = Criterion(metric="the seed", measure=lambda run: run.seed / 3, low=low / 3)
    cases = (Case(condition="always", criteria=(criterion,)), Case(condition="too", criteria=(criterion,), later=later))
    return Claim(id=id, section="5", statement="a test", cases=cases)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Records of two claims under two seeds, and the file that they were saved to."""
    monkeypatch.setattr(hypotheses, "CLAIMS", (claim("C98", 1, later=True), claim("C99", 4)))
    monkeypatch.setattr(published, "models", lambda profile, seeds: [])
    monkeypatch.setattr(published, "settings", lambda profile, cache: {})
    records = [claims.evaluate(found, "quick", seeds=[4, 1]) for found in hypotheses.CLAIMS]
    save(records, tmp_path / "quick.json", began=origin("quick", [4, 1]))
    return records, tmp_path / "quick.json"


def test_what_is_saved_is_loaded_to_the_last_digit_with_its_origin(measured):
    records, file = measured
    found, told = load(file)
    assert found == records
    assert [record.verdict for record in found] == [Verdict.HOLDS, Verdict.UNDECIDED]
    assert (told["profile"], told["dataset"], told["seeds"]) == ("quick", "MNIST", [4, 1])
    assert told["depends"] == depends("quick", [4, 1])
    assert {"torch", "python"} <= told["versions"].keys() and told["commit"]


def test_verdicts_follow_from_the_values_and_the_thresholds_of_today(measured, monkeypatch):
    monkeypatch.setattr(hypotheses, "CLAIMS", (claim("C98", 5, later=True), claim("C99", 1)))
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
    for table in (claims.verdicts_markdown(records, {"full": found}), claims.as_markdown(records, {"full": found})):
        assert all((claims.NOT_MEASURED in line) == (lost in line) for line in table.splitlines()[5:])


def test_a_value_that_was_changed_by_hand_is_found(measured):
    _, file = measured
    content = json.loads(file.read_text())
    content["claims"]["C98"][0]["values"] = [3 * value for value in content["claims"]["C98"][0]["values"]]
    file.write_text(json.dumps(content))
    with pytest.raises(PublishedError, match="the values of C98, the seed, are not those of its mean"):
        load(file)


def test_a_model_that_could_not_be_trained_is_stored_as_null_and_read_as_nan(monkeypatch, tmp_path):
    def measure(run):
        if run.seed == 1:
            raise NonFiniteLossError("the loss is nan")
        return 1.0

    case = Case(condition="always", criteria=(Criterion(metric="m", measure=measure, low=0),))
    monkeypatch.setattr(hypotheses, "CLAIMS", (Claim(id="C98", section="5", statement="a test", cases=(case,)),))
    monkeypatch.setattr(published, "models", lambda profile, seeds: [])
    monkeypatch.setattr(published, "settings", lambda profile, cache: {})
    records, file = [claims.evaluate(hypotheses.CLAIMS[0], "quick", seeds=[0, 1])], tmp_path / "quick.json"
    save(records, file, began=origin("quick", [0, 1]))
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["claims"]["C98"][0]["values"] == [1.0, None]
    assert load(file).records[0].findings[0].met == (True, None)


def test_a_file_that_cannot_be_written_is_as_it_was(measured, monkeypatch):
    records, file = measured
    before = file.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PublishedError, match=r"No space left.*as it was.*run the same command again"):
        save(records[:1], file, began=origin("quick", [4, 1]))
    assert [path.name for path in file.parent.iterdir()] == ["quick.json"] and file.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_a_file_that_holds_no_results_is_measured_anew(text, tmp_path):
    (tmp_path / "full.json").write_text(text)
    assert kept(tmp_path / "full.json", "full", [0]) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_a_file_that_holds_no_results_is_named_with_the_command_that_mends_it(text, tmp_path):
    (tmp_path / "full.json").write_text(text)
    with pytest.raises(PublishedError, match=r"full\.json holds no results.*make reference REFERENCE=full"):
        load_all(tmp_path)


def test_what_was_measured_while_the_code_was_edited_is_not_written(measured, tmp_path, monkeypatch):
    records, _ = measured
    began = origin("quick", [4, 1])
    monkeypatch.setattr(published, "code_digest", lambda module: "edited")
    with pytest.raises(PublishedError, match="the code was edited while the claims were measured"):
        save(records, tmp_path / "late.json", began=began)
    assert not (tmp_path / "late.json").exists()


def test_seeds_that_are_added_give_what_a_run_under_all_of_them_gives(measured):
    _, file = measured
    before = kept(file, "quick", [1, 2, 4])
    added = [claims.evaluate(found, "quick", seeds=[2]) for found in hypotheses.CLAIMS]
    records = together([before.records, added], [1, 2, 4])
    assert records == [claims.evaluate(found, "quick", seeds=[1, 2, 4]) for found in hypotheses.CLAIMS]
    save(records, file, began=origin("quick", [1, 2, 4]), before=before)
    assert load(file).records == records


def test_seconds_of_training_are_added_up(measured, monkeypatch):
    _, file = measured
    monkeypatch.setattr(published, "_seconds", lambda profile, seeds, cache: 10 * len(seeds))
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "training_seconds": 7}))
    before = kept(file, "quick", [4, 1, 2])
    save(before.records, file, began=origin("quick", [4, 1, 2]), before=before)
    assert load(file).origin["training_seconds"] == 17


def test_results_of_another_profile_or_code_or_of_other_seeds_are_not_kept(measured, monkeypatch, tmp_path):
    _, file = measured
    assert kept(file, "quick", [1, 4]) == load(file)
    assert kept(file, "full", [1, 4]) is None
    assert kept(file, "quick", [1, 2]) is None
    assert kept(tmp_path / "none.json", "quick", [1, 4]) is None
    monkeypatch.setattr(published, "code_digest", lambda module: "edited")
    assert kept(file, "quick", [1, 4]) is None


def test_what_the_values_depend_on_changes_with_models_measures_and_claims(monkeypatch):
    before = depends("quick", [0])
    assert depends("quick", [0]) == before
    assert depends("quick", [1])["models"] != before["models"]
    some = published.models("quick", [0])
    monkeypatch.setattr(published, "models", lambda profile, seeds: [*some[1:], replace(some[0], epochs=99)])
    assert depends("quick", [0])["models"] != before["models"]
    monkeypatch.setattr(published, "code_digest", lambda module: "other code")
    assert depends("quick", [0])["measurements"] != before["measurements"]
    swapped = [replace(some[0], name=some[1].name), replace(some[1], name=some[0].name), *some[2:]]
    monkeypatch.setattr(published, "models", lambda profile, seeds: swapped)
    assert depends("quick", [0])["models"] != before["models"], "a model under the name of another is another"
    source = published.inspect.getsource
    for changed in (hypotheses, claims.Run, claims.value):
        monkeypatch.setattr(published.inspect, "getsource", lambda p, c=changed: "x = 1" if p is c else source(p))
        assert depends("quick", [0])["claims"] != before["claims"], changed


def test_comments_in_the_claims_do_not_put_results_out_of_date(monkeypatch):
    before, source = depends("quick", [0]), published.inspect.getsource
    monkeypatch.setattr(published.inspect, "getsource", lambda part: source(part) + "\n# a comment\n")
    assert depends("quick", [0]) == before


def test_what_carries_over_is_counted_and_the_rest_named_with_its_condition(measured):
    records, _ = measured
    others = [replace(records[0], verdict=Verdict.CONDITIONAL, condition="at noon"), records[1]]
    text = carried_over_markdown(records, others)
    assert "1 of 2 verdicts are the same" in text
    assert "holds under a stated condition (at noon)" in text and "C98" in text and "C99" not in text
    assert "2 of 2 verdicts" in carried_over_markdown(records, records)
    moved = [replace(others[0], condition="at night"), records[1]]
    assert "1 of 2 verdicts" in carried_over_markdown(others, moved), "another condition is another result"


def test_a_value_that_is_missing_is_said(measured):
    records, told = load(measured[1])
    assert "missing" not in comparison_markdown({"quick": published.Published(records, told)})
    finding = replace(records[1].findings[0], values=(math.nan, 1.0))
    lacking = [records[0], replace(records[1], findings=(finding,))]
    said = comparison_markdown({"quick": published.Published(lacking, told)})
    assert "Some values of C99 are missing" in said


def test_results_that_are_out_of_date_are_shown_as_such(measured, monkeypatch):
    references = {"quick": load(measured[1])}
    assert "Out of date" not in comparison_markdown(references)
    monkeypatch.setattr(published, "code_digest", lambda module: "edited")
    assert "**Out of date**: measurements changed since." in comparison_markdown(references)


def test_tables_have_a_column_for_each_reference(measured):
    records, file = measured
    reference = {"quick": load(file).records}
    assert "profile quick" in claims.verdicts_markdown(records, reference)
    assert "mean ± sd, quick" in claims.as_markdown(records, reference)
    assert "Reference: profile quick, seeds 4, 1." in claims.as_markdown(records, reference)


@pytest.mark.parametrize("beta", [0.5, 2.0, 50.0])
def test_settings_count_the_directions_of_the_data_beyond_the_weight(beta, monkeypatch):
    monkeypatch.setattr(published, "LARGE_BETA", beta)
    monkeypatch.setattr(published, "reference", lambda profile, cache: SimpleNamespace(precision_noise={"0": 1.0}))
    variances = np.linalg.eigvalsh(np.cov(data.load("quick").train.images.numpy().T))
    assert published.settings("quick") == {
        "directions_above_large_beta": (variances > beta).sum(),
        "precision_noise": {"0": 1.0},
    }


@pytest.mark.parametrize("profile", ["full", "fashion"])
def test_the_committed_results_are_those_of_the_code_as_it_is(profile):
    records, told = load(RESULTS / f"{profile}.json")
    assert told["profile"] == profile
    assert [record.id for record in records] == [found.id for found in hypotheses.CLAIMS]
    now = depends(profile, told["seeds"])
    changed = [name for name in now if now[name] != told["depends"][name]]
    assert not changed, f"{', '.join(changed)} changed since; run: make reference REFERENCE={profile}"
    assert len(told["seeds"]) >= max(len(claim_seeds(profile, 0)), 5 if profile == "full" else 0)
    assert re.fullmatch("[0-9a-f]{40}", told["commit"]), "run it from a checkout without changes"


def test_results_are_not_among_the_changes_that_mark_a_commit(monkeypatch, tmp_path):
    package, results = tmp_path / "vaelib", tmp_path / "book" / "results"
    for folder in (package, results):
        folder.mkdir(parents=True)
        (folder / "file").write_text("before")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(published, "__file__", str(package / "published.py"))
    assert re.fullmatch("[0-9a-f]{40}", clean := published.commit())
    (results / "file").write_text("after")
    assert published.commit() == clean
    (package / "file").write_text("after")
    assert published.commit() == f"{clean}-dirty"
