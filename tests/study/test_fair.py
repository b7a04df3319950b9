r"""The fair table: which rows it has, what stands in them, and what is best of it."""

import numpy as np
import pandas as pd
import pytest

from vaelib.study import fair
from vaelib.study.classifier import JUDGES
from vaelib.study.fair import (
    READINGS,
    bits_table,
    distances,
    joined,
    judged_table,
    least,
    references,
    references_as_markdown,
    rows,
)
from vaelib.study.models import Family, contenders
from vaelib.training import NonFiniteLossError


def table(profile, seeds):
    """What is judged and the bits, as one."""
    return joined(judged_table(profile, seeds), bits_table(profile, seeds))


@pytest.fixture
def made(monkeypatch):
    """In the place of measurements numbers that tell readings apart; `lost` are measures that fail for a model."""
    calls, lost = [], set()

    def measured(measure, run, *, cache):
        name = measure.__name__
        calls.append((run.name, run.seed, name))
        if (run.name, name) in lost:
            raise NonFiniteLossError("the loss is nan")
        if name == "summary":
            return {"mse": run.seed + 0.5}
        if name == "variance":
            return {"explained": 1.0, "noise": 3.0, "data": 2.0}
        own = "twin_" if name.startswith("twin_") else ""
        shift = 10.0 if own else 0.0
        if name.endswith("judged"):
            return {f"{own}{column}": [1.0 + shift, 3.0 + shift] for judge in JUDGES for column in distances(judge)}
        fields = ("escape", "median", "draws", "error")
        return {f"{own}{reading}_{field}": 2.0 + shift for reading in READINGS for field in fields}

    monkeypatch.setattr(fair, "measured", measured)
    monkeypatch.setattr(fair, "judged_by_all", measured)
    return calls, lost


def test_every_contender_has_a_row_and_each_weight_a_second_as_its_twin():
    found = rows("quick", (4,))
    names = [model.name for model in contenders("quick", seed=4)]
    assert [row.run.name for row in found if not row.twin] == names
    twins = {row.run.name for row in found if row.twin}
    assert twins == {name for name in names if name.startswith("beta-")} and len(twins) == 7
    assert {row.name for row in found if row.twin} == {f"{name}, as its twin" for name in twins}
    assert len({row.name for row in found}) == len(found)


def test_every_row_is_read_under_every_seed():
    seeds = {}
    for row in rows("quick", (4, 7)):
        seeds.setdefault(row.name, []).append(row.run.seed)
    assert all(found == [4, 7] for found in seeds.values())


def test_a_row_holds_shares_means_over_judges_and_their_deviation(made):
    row = table("quick", (0, 1)).set_index(["model", "seed"]).loc["simple-d20", 1]
    assert row["mse"] == 1.5 and row["explained"] == 0.5 and row["noise"] == 1.5
    for judge in JUDGES:
        for column in distances(judge):
            assert row[column] == 2.0 and row[f"{column}_sd"] == pytest.approx(2**0.5)
    assert row["shown_escape"] == 2.0


def test_a_twin_has_its_own_numbers_under_the_same_names_and_beta_times_the_noise(made):
    found = table("quick", (0,)).set_index("model")
    stated, twin = found.loc["beta-0.01-d20"], found.loc["beta-0.01-d20, as its twin"]
    assert twin["shown_escape"] == 12.0 and twin["own_ancestral_frechet_clean"] == 12.0
    assert twin["noise"] == pytest.approx(0.01 * stated["noise"]) and twin["explained"] == stated["explained"]
    assert not [column for column in found if column.startswith("twin_")]


def test_what_is_no_density_has_no_bits_and_is_not_asked_for_them(made):
    calls, _ = made
    found = table("quick", (0,)).set_index("model")
    assert np.isnan(found.loc["bernoulli-d20", "shown_escape"])
    assert not [name for name, _, measure in calls if measure == "read_bits" and name == "bernoulli-d20"]


def test_a_model_that_cannot_be_trained_has_no_row_and_one_whose_bits_are_no_numbers_none(made):
    _, lost = made
    lost |= {("geco-d20", "summary"), ("simple-d20", "read_bits")}
    found = table("quick", (0,)).set_index("model")
    assert "geco-d20" not in found.index
    assert np.isnan(found.loc["simple-d20", "shown_escape"]) and found.loc["simple-d20", "mse"] == 0.5


def test_codes_of_images_are_asked_of_every_model_and_not_again_of_its_twin(made):
    calls, lost = made
    lost |= {("geco-d20", "codes_judged")}
    found = fair.codes_table("quick", (0,))
    asked = [(a.measure.__name__, a.of.name) for a in fair.asked_codes("quick", 0)]
    assert [(measure, name) for name, _, measure in calls] == asked
    assert found["model"].tolist() == [name for _, name in asked if name != "geco-d20"]
    assert not any("twin" in name for name in found["model"])
    both = joined(judged_table("quick", (0,)), found[["model", "seed", "family"]].assign(codes=1.0))
    assert both.set_index("model").loc["simple-d20", "codes"] == 1.0


def test_the_least_is_that_of_the_mean_over_seeds_among_columns_and_families():
    found = pd.DataFrame(
        [
            {"model": "a", "family": str(Family.COMMON), "x": 1.0, "y": 9.0},
            {"model": "a", "family": str(Family.COMMON), "x": 5.0, "y": 9.0},
            {"model": "b", "family": str(Family.COMMON), "x": 4.0, "y": 2.0},
            {"model": "c", "family": str(Family.PROPOSAL), "x": 0.0, "y": 0.0},
            {"model": "d", "family": str(Family.COMMON), "x": np.nan, "y": np.nan},
        ]
    )
    assert least(found, ["x"], Family.COMMON) == ("a", "x", 3.0)
    assert least(found, ["x", "y"], Family.COMMON) == ("b", "y", 2.0)
    assert least(found, ["x", "y"], Family.COMMON, Family.PROPOSAL)[0] == "c"


def test_references_are_written_with_all_that_judges_say(monkeypatch):
    grounds = ("frechet", "precision", "recall")
    real = {f"{ground}_{judge}": [0.25, 0.75] for judge in JUDGES for ground in grounds}
    monkeypatch.setattr(fair, "data_judged_by_all", lambda measure, profile, *, cache: {"real": real})
    found = references("quick")
    assert found.loc[0, "frechet_clean"] == 0.5
    assert references_as_markdown(found).splitlines()[-1].count("±") == 6


def test_tables_have_a_line_for_each_model_with_the_deviation_over_seeds():
    rows = [{"model": m, "seed": s, "family": "x", "mse": 0.5 + s, "explained": 0.5} for m in "ab" for s in (0, 2)]
    extra = dict.fromkeys(fair.distances("clean", (*fair.SAMPLES, "noisy")), 1.0)
    found = pd.DataFrame([row | extra for row in rows])
    found.loc[found["model"] == "b", "noisy_frechet_clean"] = np.nan
    for reading in fair.READINGS:
        for field in ("escape", "median", "draws"):
            found[f"{reading}_{field}"] = [2.0, np.nan, np.nan, np.nan]
    head, _, *lines = fair.judged_markdown(found, "clean").splitlines()
    assert "own, ancestral" in head and len(lines) == 2 and "nan" not in "".join(lines)
    assert [cell.strip() for cell in lines[1].split("|")[1:5]] == ["`b`", "2", "1.5000 ± 1.4142", "0.50 ± 0.00"]
    [line] = fair.bits_markdown(found).splitlines()[2:]
    assert line.split("|")[2].strip() == "1", "of the seeds only those that have bits"
