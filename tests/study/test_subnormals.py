r"""Numbers that a processor handles slowly are taken for 0 while a model is trained, and no weight is another."""

from itertools import count

import pytest
import torch
from torch import nn

from vaelib.study.experiment import _one_thread
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
    with _one_thread():
        same, remain = trained(monkeypatch)
    assert are
    assert not remain
    assert torch.equal(weights.view(torch.int32), same.view(torch.int32))


def test_an_error_in_training_leaves_threads_and_subnormals_as_they_are():
    threads = torch.get_num_threads()
    with pytest.raises(NonFiniteLossError), _one_thread():
        raise NonFiniteLossError
    assert torch.get_num_threads() == threads and torch.full((1,), 1e-39) * 1 > 0
