"""How models are trained side by side."""

from functools import partial

import pytest
import torch

from vaelib.build import jobs
from vaelib.study import models as catalogue
from vaelib.study.trained import key


def test_the_classifier_goes_first_and_the_last_of_the_catalogue_next(monkeypatch):
    names = ["simple-d2", "classifier", "calibrated-d20"]
    monkeypatch.setattr(jobs, "fetch", lambda *arguments, **options: None)
    monkeypatch.setattr(jobs, "measured", lambda *arguments, **options: None)
    done = jobs.run_all([catalogue.find(name) for name in names], jobs=1)
    assert [job.experiment.name for job in done] == ["classifier", "calibrated-d20", "simple-d2"]


@pytest.mark.parametrize("workers", [1, 2])
def test_work_side_by_side_is_all_done_and_settled_first(workers, monkeypatch):
    done = list(jobs.side_by_side([partial(pow, 2, n) for n in range(6)] + [torch.get_num_threads], jobs=workers))
    assert {1, 2, 4, 8, 16, 32} <= set(done) and len(done) == 7
    if workers > 1:
        assert done.count(1) == 2, "a process of its own has one thread"


def test_an_error_in_one_piece_ends_all():
    with pytest.raises(ZeroDivisionError):
        list(jobs.side_by_side([partial(pow, 0, -1)], jobs=1))


def test_a_process_of_its_own_has_the_keys_of_its_parent():
    models = [catalogue.find(name) for name in ("classifier", "simple-d2")]
    assert list(jobs.side_by_side([partial(key, model) for model in models * 2], jobs=2)).count(key(models[0])) == 2
