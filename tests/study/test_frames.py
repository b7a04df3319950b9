r"""The frames of the book: what each depends on is all that it reads, and what is stored is of the code as it is."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from vaelib.study import comparison, evidence, fair, ladder, profiles
from vaelib.study.classifier import judge_experiments
from vaelib.study.evidence import FRAMES, Frame, depends, load, models, out_of_date
from vaelib.study.measures import Asked, summary
from vaelib.study.models import find_vae
from vaelib.study.trained import key

RESULTS = Path(__file__).parents[2] / "book" / "results" / "evidence"
over = pytest.mark.parametrize


@pytest.fixture
def reads(monkeypatch):
    """In the place of measurements, numbers; and what is asked for."""
    seen = set()
    columns = ("mse", "kl_nats", "active_units", "explained", "noise", "data", "prior_explained", "prior_noise")
    columns += tuple(f"{kind}_bound{more}" for kind in ("train", "test", "aside") for more in ("", "_median"))
    columns += ("train_mse", "frechet_ancestral", "ppca_evidence", "linear_evidence", "linear_sigma", "ppca_sigma")
    numbers = dict.fromkeys((*columns, "trace_ratio", "angle_degrees"), 1.0)

    def measured(measure, run, *, cache):
        seen.add((measure.__name__, run.name, run.seed))
        if measure.__name__.endswith("judged"):
            return {"own_ancestral_frechet_clean": [1.0, 2.0]}
        return {"fitted_rungs": {"one sigma": {}}, "rung": {}} if "rung" in measure.__name__ else numbers

    def of_data(measure, profile, *, cache):
        seen.add((measure.__name__, profile, None))
        return {"real": {"frechet_clean": [1.0, 2.0]}}

    def baselines(profile, *, cache):
        seen.add(("score_data", profile, None))
        return SimpleNamespace(mse_pca={profiles.PCA_DIMS: 1.0})

    for module in (comparison, fair):
        monkeypatch.setattr(module, "measured", measured)
    for module in (fair, ladder):
        monkeypatch.setattr(module, "judged_by_all", measured)
    monkeypatch.setattr(fair, "data_judged_by_all", of_data)
    monkeypatch.setattr(profiles, "baselines", baselines)
    monkeypatch.setattr(profiles, "best_linear", lambda *given: {"ppca_train": 1.0})
    monkeypatch.setattr(profiles, "_sigma", lambda found, profile: 1.0)
    monkeypatch.setattr(ladder, "fetch", lambda run, **given: SimpleNamespace(record={"seconds": 1.0}))
    return seen


@over("name", FRAMES)
def test_what_a_frame_depends_on_is_all_that_it_reads_and_no_more(name, reads):
    found = FRAMES[name].form("quick", (4,), cache=None)
    asked = {
        (one.measure.__name__, *((one.of, None) if isinstance(one.of, str) else (one.of.name, one.of.seed)))
        for one in FRAMES[name].asked("quick", 4)
    }
    assert asked == reads and len(found)
    assert len(FRAMES[name].asked("quick", 4)) == len(asked), "nothing is asked twice"


def test_a_part_is_out_of_date_when_a_measure_that_it_reads_is_another_and_no_other_part_is(monkeypatch):
    before = {name: depends(name, "quick", 0) for name in FRAMES}
    module = sys.modules[Asked.__module__]
    digest = module.code_digest
    monkeypatch.setattr(module, "code_digest", lambda *roots: digest(*roots) + "edited" * (summary in roots))
    after = {name: depends(name, "quick", 0) for name in FRAMES}
    old = {name for name in FRAMES if after[name] != before[name]}
    assert old == {"over_sigma", "over_dims", "over_weights", "over_lengths", "fair"}


def test_a_part_depends_on_the_code_that_forms_it_on_what_its_rows_are_called_and_on_its_seed(monkeypatch):
    before = depends("ladder", "quick", 0)
    assert depends("ladder", "quick", 1) != before
    with monkeypatch.context() as patch:
        patch.setitem(ladder.TRAINED, "simple-d20", "another rung")
        assert depends("ladder", "quick", 0) != before
    exact = FRAMES["over_sigma"]._replace(exact=())
    before = depends("over_sigma", "quick", 0)
    monkeypatch.setitem(evidence.FRAMES, "over_sigma", exact)
    assert depends("over_sigma", "quick", 0) != before, "pPCA's curve is no measurement, so its code counts"


def test_models_behind_a_part_come_with_their_start_and_their_judges(monkeypatch):
    found = {key(model) for model in models("ladder", "quick", 0)}
    assert {key(find_vae(name)) for name in (ladder.BASE, *ladder.TRAINED)} <= found
    judges = {key(judge) for several in judge_experiments("quick").values() for judge in several}
    assert judges == {key(model) for model in models("references", "quick", 0)}
    polished = find_vae("polished-linear-d2")
    alone = Frame(lambda profile, seeds, *, cache: pd.DataFrame(), lambda profile, seed: [Asked(summary, polished)])
    monkeypatch.setitem(evidence.FRAMES, "one", alone)
    assert {key(polished), key(polished.start)} <= {key(model) for model in models("one", "quick", 0)}


@over("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_the_committed_frames_are_those_of_the_code_as_it_is(file):
    there = load(file)
    assert there.profile == file.stem
    old = sorted({name for name, _ in out_of_date(there)})
    assert not old, f"{', '.join(old)} changed since; run: make reference REFERENCE={file.stem} FRAMES={','.join(old)}"
    assert all(len(one.commit) == 40 for one in there.parts), "run it from a checkout without changes"
