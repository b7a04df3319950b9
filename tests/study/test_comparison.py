r"""The frame of models over seeds, and the table: what is in them, and what is said where there is no number."""

import numpy as np
import pandas as pd
import pytest

from vaelib.study import comparison, models
from vaelib.study.comparison import as_markdown, best, frame, pieces, runs_of, spread, table, values_of
from vaelib.study.measures import bits, latent, summary
from vaelib.study.models import Family, contenders
from vaelib.training import NonFiniteLossError

NUMBERS = ("precision_ancestral", "recall_ancestral", "precision_deterministic", "recall_deterministic")


def rows(name="a", family=Family.COMMON, seeds=(0, 1), no_density="", **values):
    """A row for each of the seeds, whose every number is 1 and 3 where nothing else is given."""
    columns = dict.fromkeys((*comparison.COLUMNS, *NUMBERS), (1.0, 3.0)) | values
    labels = {"model": name, "family": str(family), "no_density": no_density}
    return [labels | {"seed": s, **{c: v[n] for c, v in columns.items()}} for n, s in enumerate(seeds)]


def given(*models):
    """The frame of some rows."""
    return pd.DataFrame([row for model in models for row in model])


@pytest.fixture
def made(monkeypatch):
    """In the place of measurements their names, and a number that tells models and seeds apart; `lost` fail."""
    calls, lost = [], set()

    def measured(measure, run, *, cache):
        if (run.name, run.seed) in lost:
            raise NonFiniteLossError("the loss is nan")
        calls.append((run.name, run.seed, measure.__name__))
        return {f"{measure.__name__}_number": run.seed + run.latent_dim / 100} | (
            {"explained": 1.0, "noise": 3.0, "data": 2.0} if measure.__name__ == "variance" else {}
        )

    monkeypatch.setattr(comparison, "measured", measured)
    return calls, lost


# The frame


def test_a_frame_has_a_row_for_each_model_and_seed_and_a_column_for_each_number(made):
    found = frame(["simple-d2", "bernoulli-d20"], "quick", (0, 2), summary, latent)
    assert found[["model", "seed"]].to_numpy().tolist() == [
        ["simple-d2", 0],
        ["simple-d2", 2],
        ["bernoulli-d20", 0],
        ["bernoulli-d20", 2],
    ]
    assert found["family"].tolist() == 2 * [Family.SIMPLE] + 2 * [Family.COMMON]
    assert found["summary_number"].tolist() == [0.02, 2.02, 0.2, 2.2] == found["latent_number"].tolist()


def test_a_frame_without_measures_is_the_summary(made):
    calls, _ = made
    frame(["simple-d2"], "quick", iter([0]))
    assert calls == [("simple-d2", 0, "summary")]


def test_a_model_that_cannot_be_trained_under_a_seed_has_no_row_there(made):
    _, lost = made
    lost |= {("simple-d2", 1)}
    assert frame(["simple-d2"], "quick", (0, 1, 2))["seed"].tolist() == [0, 2]
    lost |= {("simple-d2", 0)}
    assert frame(["simple-d2"], "quick", (0, 1)).empty


def test_what_is_no_density_has_no_bits_and_is_not_asked_for_them(made):
    calls, _ = made
    found = frame(["simple-d20", "bernoulli-d20", "limit-d20"], "quick", [0], summary, bits)
    assert found["bits_number"].notna().tolist() == [True, False, False]
    assert found["no_density"].tolist() == [
        "",
        "Bernoulli on grey pixels, no density",
        "squared error alone, no likelihood",
    ]
    assert [name for name, _, measure in calls if measure == "bits"] == ["simple-d20"]


def test_a_column_is_read_as_curves_over_models_or_as_the_values_of_one():
    found = given(rows("a", mse=(1, 2)), rows("b", mse=(3, 4)), rows("c", mse=(5, np.nan)))
    assert runs_of(found, "mse", ["b", "a"]).tolist() == [[3, 1], [4, 2]]
    assert values_of(found, "b", "mse") == [3, 4] and values_of(found, "c", "mse") == [5]


# The table


def test_the_table_has_each_contender_under_each_seed_of_the_build(made, monkeypatch):
    for seeds in ([4], [4, 5, 6]):
        monkeypatch.setattr(models, "BUILD_SEEDS", len(seeds))
        found = table("quick", seed=4)
        assert list(dict.fromkeys(found["model"])) == [model.name for model in contenders("quick", seed=4)]
        assert {tuple(each) for _, each in found.groupby("model")["seed"]} == {tuple(seeds)}


def test_shares_are_those_of_the_variance_of_the_data(made):
    found = table("quick", seed=0)
    assert set(found["explained"]) == {0.5} and set(found["noise"]) == {1.5}


def test_the_table_leaves_out_seeds_but_no_model(made, monkeypatch):
    monkeypatch.setattr(models, "BUILD_SEEDS", 3)
    _, lost = made
    lost |= {("simple-d20", 1)}
    assert values_of(table("quick", seed=0), "simple-d20", "summary_number") == [0.2, 2.2]
    lost |= {("simple-d20", 0), ("simple-d20", 2)}
    with pytest.raises(NonFiniteLossError, match=r"^simple-d20 cannot be trained under profile quick, from seed 0"):
        table("quick", seed=0)


def test_a_table_of_nothing_is_an_error_that_names_all(made):
    _, lost = made
    lost |= {(model.name, seed) for model in contenders("quick", seed=0) for seed in range(3)}
    with pytest.raises(NonFiniteLossError, match=r"autoencoder-d20, .*structured-7x7-d20 cannot be trained"):
        table("quick", seed=0)


def test_the_pieces_are_the_measurements_of_the_table_and_what_cannot_be_trained_stops_no_others(made):
    calls, lost = made
    lost |= {("simple-d20", 1)}
    table("quick", seed=0)
    needed = set(calls)
    calls.clear()
    for piece in pieces("quick", seed=0):
        piece()
    assert set(calls) == needed


# What is read from it


def test_the_best_is_the_lowest_mean_among_those_that_have_a_value():
    found = given(
        rows("a", mse=(3.0, 3.0)),
        rows("b", mse=(1.0, 4.0)),
        rows("c", mse=(np.nan, np.nan)),
        rows("d", Family.PROPOSAL, mse=(0.0, 0.0)),
    )
    assert best(found, "mse", Family.COMMON) == "b"
    assert best(found, "mse", Family.COMMON, Family.PROPOSAL) == "d"


def test_a_spread_is_the_mean_and_the_standard_deviation_of_several_seeds_and_the_value_of_one():
    assert spread((1.0, 3.0), "{:.2f}") == "2.00 ± 1.41"
    assert spread((1.0,), "{:.2f}") == "1.00"


def test_the_written_table_has_a_line_per_model_in_their_order():
    head, _, first, second = as_markdown(given(rows("b"), rows("a", Family.SIMPLE))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, first, second)]
    assert cells[0][:4] == ["model", "what it is", "test MSE", "bits per dimension"]
    assert cells[0][-2:] == ["Fréchet, deterministic", "precision / recall, deterministic"]
    assert cells[1][:4] == ["`b`", "a common recipe", "2.0000 ± 1.4142", "2.000 ± 1.414"]
    assert cells[1][-2:] == ["2 ± 1", "2.00 / 2.00"] and cells[2][:2] == ["`a`", "the simple VAE"]


def test_what_is_no_density_says_so_in_the_place_of_its_bits():
    line = as_markdown(given(rows(bits=(np.nan, np.nan), no_density="no density"))).splitlines()[-1]
    assert "no density" in line and "nan" not in line


def test_bits_in_the_hundreds_are_written_without_decimals():
    assert "1,200" in as_markdown(given(rows(bits=(1200.0, 1200.0))))
