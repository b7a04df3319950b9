"""How models are trained side by side."""

from functools import partial
from itertools import count

import pytest
import torch
from torch import nn

from vaelib.build import jobs
from vaelib.study import models as catalogue
from vaelib.study.trained import key
from vaelib.training import NonFiniteLossError, fit


def subnormal(values: torch.Tensor) -> bool:
    """Whether any of them is; by its bits, for where subnormals count as 0 a comparison sees none."""
    bits = values.view(torch.int32)
    exponents, rest = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    return bool(((exponents == 0) & (rest != 0)).any())


def trained(monkeypatch) -> tuple[torch.Tensor, bool]:
    """The weights of a regression on pixels half of which turn black after the first step, and whether any of Adam's
    averages became subnormal.
    """
    optimisers, step = [], count()

    class Adam(torch.optim.Adam):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            optimisers.append(self)

    def loss(x, y):
        return (model(x if next(step) == 0 else x * (torch.arange(10) < 5))[:, 0] - y).square()

    monkeypatch.setattr("torch.optim.Adam", Adam)
    torch.manual_seed(0)
    x, model = torch.rand(64, 10), nn.Linear(10, 1)
    for _ in fit(model, loss, [x, x.sum(dim=1)], epochs=450, batch_size=32):
        pass
    return model.weight.detach(), subnormal(optimisers[0].state[model.weight]["exp_avg"])


def test_subnormal_averages_taken_for_zero_leave_every_weight_as_it_is_bit_for_bit(monkeypatch):
    weights, are = trained(monkeypatch)
    with jobs.subnormals_as_zero():
        same, remain = trained(monkeypatch)
    assert are
    assert not remain
    assert torch.equal(weights.view(torch.int32), same.view(torch.int32))


def test_a_job_trains_with_subnormals_as_zero_and_measures_with_them(monkeypatch):
    kept = []

    def look(*arguments, **options):
        kept.append(bool(torch.full((1,), 1e-39) * 1 > 0))

    monkeypatch.setattr(jobs, "fetch", look)
    monkeypatch.setattr(jobs, "measured", look)
    assert list(jobs.run_all([catalogue.find("simple-d2")], jobs=1))
    assert kept == [False, True]


def test_an_error_in_training_leaves_subnormals_as_they_are():
    with pytest.raises(NonFiniteLossError), jobs.subnormals_as_zero():
        raise NonFiniteLossError
    assert torch.full((1,), 1e-39) * 1 > 0


def test_the_yardstick_goes_first_and_the_last_of_the_catalogue_next(monkeypatch):
    names = ["simple-d2", "classifier", "calibrated-d20"]
    monkeypatch.setattr(jobs, "fetch", lambda *arguments, **options: None)
    monkeypatch.setattr(jobs, "measured", lambda *arguments, **options: None)
    done = jobs.run_all([catalogue.find(name) for name in names], jobs=1)
    assert [job.experiment.name for job in done] == ["classifier", "calibrated-d20", "simple-d2"]


def test_a_process_of_its_own_has_the_keys_of_its_parent():
    models = [catalogue.find(name) for name in ("classifier", "simple-d2")]
    assert list(jobs.side_by_side([partial(key, model) for model in models * 2], jobs=2)).count(key(models[0])) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_work_side_by_side_is_all_done_and_settled_first(workers, monkeypatch):
    done = list(jobs.side_by_side([partial(pow, 2, n) for n in range(6)] + [torch.get_num_threads], jobs=workers))
    assert {1, 2, 4, 8, 16, 32} <= set(done) and len(done) == 7
    if workers > 1:
        assert done.count(1) == 2, "a process of its own has one thread"


def test_an_error_in_one_piece_ends_all():
    with pytest.raises(ZeroDivisionError):
        list(jobs.side_by_side([partial(pow, 0, -1)], jobs=1))
