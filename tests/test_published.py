r"""Reference results: what is stored is what was measured, verdicts follow from it, and it says when it is old."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vaelib import claims, hypotheses, published
from vaelib.claims import Case, Claim, Criterion, Verdict
from vaelib.data import PROFILES
from vaelib.published import PublishedError, comparison_markdown, depends, load, load_all, save

RESULTS = Path(__file__).parents[1] / "book" / "results"
FILES = sorted(file for profile in PROFILES for file in RESULTS.glob(f"{profile}.json"))


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
    records = [claims.evaluate(found, "quick", seeds=[4, 1]) for found in hypotheses.CLAIMS]
    save(records, tmp_path / "quick.json")
    return records, tmp_path / "quick.json"


def test_what_is_saved_is_loaded_to_the_last_digit_with_its_origin(measured):
    records, file = measured
    found, origin = load(file)
    assert found == records
    assert [record.verdict for record in found] == [Verdict.HOLDS, Verdict.UNDECIDED]
    assert (origin["profile"], origin["dataset"], origin["seeds"]) == ("quick", "MNIST", [4, 1])
    assert origin["depends"] == depends("quick", [4, 1])
    assert {"torch", "python"} <= origin["versions"].keys() and origin["commit"]


def test_verdicts_follow_from_the_values_and_the_thresholds_of_today(measured, monkeypatch):
    monkeypatch.setattr(hypotheses, "CLAIMS", (claim("C98", 5, later=True), claim("C99", 1)))
    assert [record.verdict for record in load(measured[1]).records] == [Verdict.FAILS, Verdict.HOLDS]


def renamed(content):
    content["claims"]["C98"][0]["metric"] = "another"


def shortened(content):
    content["claims"]["C98"].pop()


def without_one(content):
    del content["claims"]["C99"]


@pytest.mark.parametrize("change", [renamed, shortened, without_one])
def test_results_of_other_claims_are_refused_with_the_command_that_mends_them(change, measured):
    _, file = measured
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(PublishedError, match=f"{file} does not hold the claims of today.*make reference"):
        load(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing"])
def test_a_file_that_holds_no_results_is_named(text, tmp_path):
    (tmp_path / "quick.json").write_text(text)
    with pytest.raises(PublishedError, match=r"quick\.json does not hold"):
        load_all(tmp_path)


def test_what_the_values_depend_on_changes_with_models_measures_and_claims(monkeypatch):
    before = depends("quick", [0])
    assert depends("quick", [0]) == before
    assert depends("quick", [1])["models"] != before["models"]
    some = published.models("quick", [0])
    monkeypatch.setattr(published, "models", lambda profile, seeds: [*some[1:], replace(some[0], epochs=99)])
    assert depends("quick", [0])["models"] != before["models"]
    monkeypatch.setattr(published, "code_digest", lambda module: "other code")
    assert depends("quick", [0])["measurements"] != before["measurements"]
    monkeypatch.setattr(published.inspect, "getsource", lambda module: "CLAIMS = ()")
    assert depends("quick", [0])["claims"] != before["claims"]


def test_comments_in_the_claims_do_not_put_results_out_of_date(monkeypatch):
    before, source = depends("quick", [0]), published.inspect.getsource(hypotheses)
    monkeypatch.setattr(published.inspect, "getsource", lambda module: source + "\n# a comment\n")
    assert depends("quick", [0]) == before


def test_a_comparison_counts_what_is_the_same_and_names_what_is_not(measured):
    records, file = measured
    others = [replace(records[0], verdict=Verdict.FAILS), records[1]]
    text = comparison_markdown(others, [load(file)])
    assert "1 of 2 verdicts are those of this build; different: C98 holds, here does not hold." in text
    assert "different: none" in comparison_markdown(records, [load(file)])


def test_tables_have_a_column_for_each_reference(measured):
    records, file = measured
    reference = load(file).records
    assert "profile quick" in claims.verdicts_markdown(records, reference)
    assert "mean ± sd, quick" in claims.as_markdown(records, reference)
    assert "Reference: profile quick, seeds 4, 1." in claims.as_markdown(records, reference)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_committed_results_are_those_of_the_code_as_it_is(file):
    records, origin = load(file)
    assert origin["profile"] == file.stem
    assert [record.id for record in records] == [found.id for found in hypotheses.CLAIMS]
    now = depends(origin["profile"], origin["seeds"])
    changed = [name for name in now if now[name] != origin["depends"][name]]
    assert not changed, f"{', '.join(changed)} changed since {file.name} was measured; run: make reference"
