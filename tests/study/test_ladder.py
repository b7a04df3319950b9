r"""The ladder: a row for each rung and seed, from the kept split to the models that are trained without it."""

from types import SimpleNamespace

import pytest

from vaelib.study import ladder as module
from vaelib.study.ladder import BASE, TRAINED, as_markdown, ladder
from vaelib.study.models import find_vae

NUMBERS = {"bits": 2.0, "bits_median": 1.5, "frechet_spoiled": 30.0, "frechet_clean": 5.0, "explained": 0.8}


@pytest.fixture
def made(monkeypatch):
    """In the place of trainings and measurements, numbers that tell models and seeds apart."""

    def judged_by_all(measure, run, *, cache):
        numbers = NUMBERS | {"frechet_spoiled": 30.0 + run.seed}
        if measure.__name__ == "rung":
            return {"rung": numbers}
        fitted = {"one sigma": numbers | {"seconds": 0.1}, "its mean images": {"frechet_clean": 9.0}}
        return {"fitted_rungs": fitted}

    def fetch(run, *, cache, report):
        return SimpleNamespace(record={"seconds": 7.0 + run.seed})

    monkeypatch.setattr(module, "judged_by_all", judged_by_all)
    monkeypatch.setattr(module, "fetch", fetch)


def test_the_ladder_has_a_row_for_each_rung_and_seed_and_the_seconds_of_each(made):
    found = ladder("quick", (0, 2))
    assert len(found) == 2 * (2 + len(TRAINED))
    assert found["rung"].tolist() == 2 * ["one sigma", "its mean images", *TRAINED.values()]
    assert found["model"].tolist() == 2 * [BASE, BASE, *TRAINED]
    joint = found[(found["model"] == "neighbourhood-d20") & (found["seed"] == 2)].iloc[0]
    assert (joint["seconds"], joint["frechet_spoiled"]) == (9.0, 32.0)


def test_the_table_has_a_line_for_each_rung_from_the_bottom_and_no_number_where_there_is_none(made):
    lines = as_markdown(ladder("quick", (0, 2))).splitlines()
    assert "Fréchet, spoiled judges" in lines[0]
    assert len(lines) == 2 + 2 + len(TRAINED)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[2] == [
        "one sigma",
        "2.000 ± 0.000",
        "1.500 ± 0.000",
        "31.0 ± 1.4",
        "5.0 ± 0.0",
        "0.80 ± 0.00",
        "0.1 ± 0.0",
    ]
    assert cells[3] == ["its mean images", "", "", "", "9.0 ± 0.0", "", ""]


@pytest.mark.parametrize("name", [BASE, *TRAINED])
def test_every_rung_is_a_density_over_images_with_as_many_latent_dimensions(name):
    model = find_vae(name)
    assert model.latent_dim == find_vae(BASE).latent_dim
    assert not model.no_density


def test_the_first_trained_rung_keeps_the_split_and_no_other_keeps_anything():
    first, *others = (find_vae(name) for name in TRAINED)
    assert first.start == find_vae(BASE) and set(first.kept) == {"encoder", "decoder", "head.mu"}
    assert not any(model.kept or model.start for model in others)
