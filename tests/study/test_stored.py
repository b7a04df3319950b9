r"""Frames that are kept: as they were formed, part by part, with what they depend on, and nothing lost on the way."""

import json
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from vaelib.build.cli import app
from vaelib.study import evidence, fair
from vaelib.study.classifier import JUDGES
from vaelib.study.evidence import (
    Evidence,
    Frame,
    Part,
    add,
    depends,
    form,
    kept,
    load,
    load_all,
    missing,
    out_of_date,
    pieces,
    said_markdown,
)
from vaelib.study.reference import ResultsError
from vaelib.training import NonFiniteLossError

RESULTS = Path(__file__).parents[2] / "book" / "results" / "evidence"
over = pytest.mark.parametrize


# Frames whose pieces are made in no time


@dataclass(frozen=True)
class Tiny:
    """A piece of work that is done once; `WORLD` is the cache."""

    name: str
    seed: int
    of: str = "quick"

    @property
    def key(self):
        return f"{self.name} {self.seed} {WORLD.code}"

    def known(self, cache):
        return self.key in WORLD.answers

    def answer(self, cache):
        if self.name in WORLD.lost:
            raise WORLD.lost[self.name]
        WORLD.answers[self.key] = WORLD.done(self)


WORLD = SimpleNamespace()


def asked_one(profile, seed):
    return [Tiny("first", seed), Tiny("second", seed)]


def asked_other(profile, seed):
    return [Tiny("third", seed)]


def form_one(profile, seeds, *, cache):
    return pd.DataFrame([{"model": "a", "seed": seed, "value": seed + 1 / 3} for seed in seeds])


def form_other(profile, seeds, *, cache):
    return pd.DataFrame([{"model": "b", "value": 2.0}])


@pytest.fixture
def tiny(monkeypatch):
    """Two frames in the place of the book's: one under seeds, one that has none."""
    WORLD.code, WORLD.answers, WORLD.lost, WORLD.done = "code", {}, {}, lambda piece: piece.name
    monkeypatch.setattr(evidence, "FRAMES", {"one": Frame(form_one, asked_one)})
    evidence.FRAMES["other"] = Frame(form_other, asked_other, seeded=False)
    monkeypatch.setattr(evidence, "models", lambda name, profile, seed: [])


def part(name="one", seed=0, found=None, **said):
    found = form_one("quick", (seed,), cache=None) if found is None else found
    own = {"depends": depends(name, "quick", seed), "commit": "0123abc", "torch": "2.0"} | said
    return Part(name, seed, found=found, **own)


def call(file, *words):
    command = ["evidence", str(file), "--profile", "quick", "--jobs", "1", *words]
    return CliRunner(env={"NO_COLOR": "1", "COLUMNS": "200"}).invoke(app, command)


# What is kept


def test_what_is_kept_is_read_again_to_six_digits_with_what_json_has_no_word_for(tiny, tmp_path):
    row = {"model": "a", "seed": 3, "value": -1234.56789, "tiny": 1.23456789e-9, "none": nan, "bits": inf, "no": ""}
    found = pd.DataFrame([row, row | {"model": "b", "value": nan, "none": 0.5, "bits": -inf, "no": "ä"}])
    add(part(seed=3, found=found), tmp_path / "quick.json", "quick")
    [again] = load(tmp_path / "quick.json").parts
    assert again.found.columns.tolist() == found.columns.tolist() and again.found.dtypes.equals(found.dtypes)
    numbers = ["seed", "value", "tiny", "none", "bits"]
    np.testing.assert_allclose(again.found[numbers].to_numpy(float), found[numbers].to_numpy(float), rtol=5e-6)
    assert again.found["value"][0] == -1234.57 and again.found["no"].tolist() == ["", "ä"]
    assert again._replace(found=None) == part(seed=3, found=found)._replace(found=None)


def test_a_file_is_json_without_nan_with_a_line_for_each_row_and_is_the_same_when_written_again(tiny, tmp_path):
    file = tmp_path / "quick.json"
    found = pd.DataFrame([{"model": name, "value": value} for name, value in {"a": nan, "b": 0.1}.items()])
    add(part(found=found), file, "quick")
    add(part("other", found=form_other("quick", (0,), cache=None)), file, "quick")
    text = file.read_text()
    assert json.loads(text, parse_constant=pytest.fail)["parts"][0]["rows"] == [["a", None], ["b", 0.1]]
    assert '["b", 0.1]' in text.splitlines()
    add(load(file).parts[0], file, "quick")
    assert file.read_text() == text


def test_a_frame_of_no_rows_is_kept_as_such(tiny, tmp_path):
    add(part(found=pd.DataFrame([])), tmp_path / "quick.json", "quick")
    assert len(load(tmp_path / "quick.json").frame("one")) == 0


def test_frames_of_other_seeds_join_those_that_are_there_and_the_same_seed_takes_its_place(tiny, tmp_path):
    file = tmp_path / "quick.json"
    for seed in (4, 0, 2):
        add(part(seed=seed), file, "quick")
    add(part(seed=2, commit="later"), file, "quick")
    found = load(file)
    assert found.seeds("one") == [0, 2, 4] and found.frame("one")["seed"].tolist() == [0, 2, 4]
    assert [one.commit for one in found.parts] == ["0123abc", "later", "0123abc"]


def test_what_is_not_there_is_named_with_the_command_that_measures_it(tiny):
    with pytest.raises(
        ResultsError, match=r"other of profile full is not stored.*make reference REFERENCE=full FRAMES"
    ):
        Evidence("full", (part(),)).frame("other")


def test_a_file_of_another_profile_is_neither_read_nor_written(tiny, tmp_path):
    add(part(), tmp_path / "quick.json", "quick")
    before = (tmp_path / "quick.json").read_bytes()
    for refused in (lambda file: kept(file, "full"), lambda file: add(part(), file, "full")):
        with pytest.raises(ResultsError, match="holds frames of profile quick; name another file for full"):
            refused(tmp_path / "quick.json")
    assert (tmp_path / "quick.json").read_bytes() == before


@over("text", ["", "[]", "{}", '{"profile": "quick", "parts": [{"frame": "one"}]}'])
def test_a_file_that_holds_no_frames_is_named_and_left_as_it_is(text, tiny, tmp_path):
    (tmp_path / "full.json").write_text(text)
    with pytest.raises(ResultsError, match=r"holds no frames.*restore it, or remove it.*REFERENCE=full"):
        add(part(), tmp_path / "full.json", "quick")
    assert (tmp_path / "full.json").read_text() == text


def test_a_file_that_cannot_be_written_is_as_it_was(tiny, tmp_path, monkeypatch):
    file = tmp_path / "quick.json"
    add(part(), file, "quick")
    before = file.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResultsError, match=r"No space left.*as it was"):
        add(part(seed=1), file, "quick")
    assert [path.name for path in tmp_path.iterdir()] == ["quick.json"] and file.read_bytes() == before


def test_a_frame_that_is_no_longer_known_is_left_out(tiny, tmp_path, monkeypatch):
    add(part(), tmp_path / "quick.json", "quick")
    add(part("other"), tmp_path / "quick.json", "quick")
    monkeypatch.delitem(evidence.FRAMES, "one")
    assert [one.frame for one in load(tmp_path / "quick.json").parts] == ["other"]


def test_all_that_is_stored_is_found_by_profile(tiny, tmp_path):
    assert load_all(tmp_path) == {}
    add(part(), tmp_path / "quick.json", "quick")
    assert load_all(tmp_path)["quick"].seeds("one") == [0]


# What is to be done


def test_what_is_missing_is_asked_for_frame_by_frame_and_once_where_seeds_make_no_difference(tiny):
    there = Evidence("quick", (part(seed=1),))
    assert missing(there, ("other", "one"), (0, 1, 2)) == [("other", 0), ("one", 0), ("one", 2)]


def test_what_is_out_of_date_is_missing_where_it_is_asked_for(tiny):
    there = Evidence("quick", (part(seed=0), part(seed=1, depends="something else"), part("other", depends="too")))
    assert out_of_date(there) == [("one", 1), ("other", 0)]
    assert missing(there, ["one"], (0, 1)) == [("one", 1)]


def test_a_part_names_the_code_of_before_it_was_measured(tiny, monkeypatch):
    def edits(profile, seeds, *, cache):
        WORLD.code = "edited meanwhile"
        return form_one(profile, seeds, cache=cache)

    monkeypatch.setitem(evidence.FRAMES, "one", Frame(edits, asked_one))
    told = depends("one", "quick", 0)
    found = form("one", "quick", 0, commit="0123abc")
    assert found.depends == told != depends("one", "quick", 0)


def test_a_run_that_ends_early_loses_nothing_and_goes_on_where_it_was(tiny, tmp_path):
    file, done = tmp_path / "full" / "quick.json", []
    WORLD.done = done.append
    WORLD.lost = {"second": OSError("the power is gone")}
    assert isinstance(call(file, "--seeds", "0,1", "--frames", "other,one").exception, OSError)
    assert [one.place for one in load(file).parts] == [("other", 0)], "what was finished is in the file"
    assert [(piece.name, piece.seed) for piece in done] == [("third", 0), ("first", 0)]
    done.clear()
    WORLD.lost = {}
    again = call(file, "--seeds", "0,1", "--frames", "other,one")
    assert again.exit_code == 0, again.output
    assert [(piece.name, piece.seed) for piece in done] == [("second", 0), ("first", 1), ("second", 1)]
    assert [one.place for one in load(file).parts] == [("one", 0), ("one", 1), ("other", 0)]
    assert "2 frames, 2 parts of them added" in again.output
    assert "2 frames, 0 parts of them added" in call(file, "--seeds", "0,1").output


def test_only_what_has_changed_is_formed_again(tiny, tmp_path, monkeypatch):
    file = tmp_path / "quick.json"
    assert call(file, "--seeds", "0,1").exit_code == 0
    monkeypatch.setattr(evidence, "_names", lambda of: ["another name"])
    assert "2 frames, 3 parts of them added" in call(file, "--seeds", "0,1").output
    WORLD.code = "another"
    assert "1 frames, 1 parts of them added" in call(file, "--seeds", "0", "--frames", "one").output
    assert out_of_date(load(file)) == [("one", 1), ("other", 0)], "what was not asked for is as it was"


def test_what_cannot_be_trained_is_passed_over(tiny):
    WORLD.lost = {"first": NonFiniteLossError("the loss is nan")}
    for piece in pieces("one", "quick", 0):
        piece()
    assert list(WORLD.answers) == ["second 0 code"]


@over("words", [("--frames", "one,three"), ("--frames", "")])
def test_a_frame_that_is_none_is_refused(words, tiny, tmp_path):
    refused = call(tmp_path / "quick.json", *words)
    assert refused.exit_code == 2 and "is none of one, other" in refused.output
    assert not list(tmp_path.glob("*.json"))


def test_the_page_says_which_frames_are_there_which_are_not_and_which_are_old(tiny, monkeypatch):
    there = Evidence("quick", (part(seed=0), part(seed=2, depends="old", commit="another")))
    line = said_markdown({"quick": there})
    assert "`one` (seeds 0, 2); commit `0123abc`, `another`." in line
    assert "Not measured: `other`." in line and "**Out of date**: `one` (seed 2)." in line
    fresh = said_markdown({"quick": Evidence("quick", (part(), part("other")))})
    assert "Not measured" not in fresh and "Out of date" not in fresh and "`other` (no seed)" in fresh
    assert "No frames" in said_markdown({})


# What is read from them


def judged(rows):
    columns = ("model", "seed", "family", *(f"{kind}_frechet_{judge}" for kind in fair.SAMPLES for judge in JUDGES))
    return pd.DataFrame([dict.fromkeys(columns, 9.0) | row for row in rows])


def test_the_best_of_each_side_is_read_from_what_is_kept(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(evidence.FRAMES, "fair", Frame(form_one, asked_one))
    for seed, ours in ((0, 1.0), (1, 3.0)):
        rows = [
            {"model": "a", "family": str(fair.Family.COMMON), "fitted_deterministic_frechet_clean": 4.0 + seed},
            {"model": "b", "family": str(fair.Family.PROPOSAL), "own_ancestral_frechet_clean": ours},
            {"model": "c", "family": str(fair.Family.PROPOSAL), "fitted_ancestral_frechet_clean": 0.5},
        ]
        add(part("fair", seed, judged([row | {"seed": seed} for row in rows])), tmp_path / "quick.json", "quick")
    found = load(tmp_path / "quick.json").fair()
    best = fair.contest(found, "clean")
    assert best.proposal == ("b", "own_ancestral_frechet_clean", 2.0)
    assert best.recipe == ("a", "fitted_deterministic_frechet_clean", 4.5)
    assert best.ratios == {0: 1 / 4, 1: 3 / 5} and best.ratio == pytest.approx(2 / 4.5)
    assert fair.contest(found, "clean", samples=fair.SAMPLES).proposal[0] == "c"
    assert fair.contest(found, "clean", models=["c"]).proposal == ("c", "own_ancestral_frechet_clean", 9.0)
    assert fair.contest(found, "clean", against=["own_ancestral"]).recipe[2] == 9.0


def test_bits_that_were_measured_under_some_seeds_stand_beside_the_rest(monkeypatch):
    scores = pd.DataFrame([{"model": "a", "seed": seed, "mse": 1.0} for seed in (0, 1)])
    bits = pd.DataFrame([{"model": "a", "seed": 1, "dense_escape": 2.0, "family": "x", "no_density": ""}])
    said = {"depends": "", "commit": "", "torch": ""}
    there = Evidence("quick", (Part("fair", 0, found=scores, **said),))
    assert there.fair().equals(scores)
    both = Evidence("quick", (*there.parts, Part("fair_bits", 1, found=bits, **said)))
    assert both.fair()["dense_escape"].isna().tolist() == [True, False]
