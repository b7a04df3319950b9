r"""The table of all models: which are in it, what they are called, and what is said where there is no number."""

from dataclasses import fields, replace

import pytest
from vaelib.study.probes import why_no_density

from vaelib.study import comparison as verdict
from vaelib.study.comparison import Family, Row, as_markdown, best, contenders, family, spread
from vaelib.study.models import PICTURED, experiments, find_vae
from vaelib.training import NonFiniteLossError


def row(name="a", kind=Family.COMMON, **values):
    """A row of two seeds whose every number is 1 and 3."""
    numbers = {f.name: (1.0, 3.0) for f in fields(Row) if f.name not in ("name", "family", "no_density", "models")}
    return Row(**(numbers | {"name": name, "family": kind, "no_density": ""} | values))


def test_every_vae_with_twenty_dimensions_and_all_digits_is_a_contender():
    names = {model.name for model in contenders("quick", seed=0)}
    expected = {name for name in experiments() if name.endswith("-d20") or name.startswith("floor-")}
    assert names == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("simple-d20", Family.SIMPLE),
        ("floor-0.1-grey", Family.SIMPLE),
        ("beta-0.1-d20", Family.COMMON),
        ("sigma-0.0001-d20", Family.COMMON),
        ("bernoulli-d20", Family.COMMON),
        ("shared-sigma-d20", Family.COMMON),
        ("autoencoder-d20", Family.COMMON),
        ("geco-d20", Family.COMMON),
        ("calibrated-d20", Family.PROPOSAL),
        ("calibrated-flow-d20", Family.PROPOSAL),
        ("structured-5x5-d20", Family.PROPOSAL),
        ("encoder-first-d20", Family.PROPOSAL),
        ("neighbourhood-kept-d20", Family.PROPOSAL),
        ("linear-d20", Family.PROPOSAL),
    ],
)
def test_a_model_belongs_to_the_papers_the_programs_or_the_proposals(name, kind):
    assert family(find_vae(name)) is kind


def test_what_has_no_likelihood_says_so_and_has_no_number():
    without = {model.name for model in contenders("quick", seed=0) if why_no_density(model)}
    assert without == {"bernoulli-d20", "limit-d20", "autoencoder-d20"}
    line = as_markdown([row(bits=(), no_density="no density")]).splitlines()[-1]
    assert "no density" in line
    assert "nan" not in line


def test_the_best_is_the_lowest_mean_among_those_that_have_a_value():
    table = [
        row("a", mse=(3.0, 3.0)),
        row("b", mse=(1.0, 4.0)),
        row("c", mse=()),
        row("d", Family.PROPOSAL, mse=(0.0, 0.0)),
    ]
    assert best(table, lambda r: r.mse, Family.COMMON).name == "b"
    assert best(table, lambda r: r.mse, Family.COMMON, Family.PROPOSAL).name == "d"


def test_a_spread_is_the_mean_and_the_standard_deviation_of_several_seeds_and_the_value_of_one():
    assert spread((1.0, 3.0), "{:.2f}") == "2.00 ± 1.41"
    assert spread((1.0,), "{:.2f}") == "1.00"


def test_models_under_one_seed_are_measured_under_that_of_the_build(monkeypatch):
    asked = []
    monkeypatch.setattr(verdict, "panel", lambda run, cache: asked.append((run.name, run.seed)) or row())
    monkeypatch.setattr(
        verdict,
        "measured",
        lambda probe, run, cache: {"bits": 1.0, "mismatch_nats": 0.0, "explained": 1.0, "noise": 1.0, "data": 2.0},
    )
    models = [replace(model, seed=4) for model in contenders("quick", seed=4)]
    monkeypatch.setattr(verdict, "contenders", lambda profile, seed: models)
    table = verdict.rows("quick", seed=4)
    assert [r.name for r in table] == [model.name for model in models]
    for model in models:
        seeds = [seed for name, seed in asked if name == model.name]
        assert seeds == ([4] if model.name in PICTURED else [4, 5, 6])
    assert table[0].explained[0] == 0.5


def test_a_row_leaves_out_the_seeds_under_which_its_model_cannot_be_trained(monkeypatch):
    def trained(run, cache):
        if run.seed in lost:
            raise NonFiniteLossError("the loss is nan")
        return row(mse=run.seed)

    budget = {"bits": 1.0, "mismatch_nats": 0.0, "explained": 1.0, "noise": 1.0, "data": 2.0}
    monkeypatch.setattr(verdict, "panel", trained)
    monkeypatch.setattr(verdict, "measured", lambda probe, run, cache: budget)
    monkeypatch.setattr(verdict, "contenders", lambda profile, seed: [find_vae("simple-d20")])
    lost = {1}
    (found,) = verdict.rows("quick", seed=0)
    assert found.mse == (0, 2) and len(found.bits) == len(found.noise) == 2
    lost = {0, 1, 2}
    with pytest.raises(NonFiniteLossError, match="simple-d20 cannot be trained under profile quick"):
        verdict.rows("quick", seed=0)


def test_a_model_that_cannot_be_trained_has_no_measurements_to_make_and_stops_no_others(monkeypatch):
    def lost(run, cache):
        raise NonFiniteLossError("the loss is nan")

    monkeypatch.setattr(verdict, "panel", lost)
    monkeypatch.setattr(verdict, "measured", lambda probe, run, cache: pytest.fail("it was measured"))
    verdict.measure(find_vae("simple-d20"))
