r"""The loop: every example once an epoch, records with numbers, and no step on a loss that is not finite."""

from itertools import islice, pairwise

import pytest
import torch
from torch import nn

from vaelib.networks import diagonal_normal
from vaelib.training import NonFiniteLossError, fit


@pytest.fixture
def model():
    return nn.Linear(1, 1)


@pytest.fixture
def squared_error(model):
    return lambda x, y: (model(x) - y).square().sum(-1)


def line(n=10):
    """Points of y = 3x - 1."""
    x = torch.linspace(-1, 1, n)[:, None]
    return x, 3 * x - 1


def test_steps_are_numbered_and_say_where_an_epoch_ends(model, squared_error):
    steps = list(fit(model, squared_error, line(), epochs=2, batch_size=4))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.epoch for step in steps] == [1, 1, 1, 2, 2, 2]
    assert [step.ends_epoch for step in steps] == [False, False, True] * 2


def test_every_example_is_seen_once_an_epoch_in_another_order(model):
    seen = []

    def loss(x, index):
        seen.extend(index.tolist())
        return model(x).sum(-1)

    list(fit(model, loss, (line()[0], torch.arange(10)), epochs=2, batch_size=4))
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:] != list(range(10))


def test_the_loss_of_a_step_is_the_batch_mean_before_the_update(model, squared_error):
    before = squared_error(*line()).mean()
    step = next(fit(model, squared_error, line(), epochs=1, batch_size=10))
    torch.testing.assert_close(step.loss, before)
    assert not step.loss.requires_grad
    assert squared_error(*line()).mean() < before


def test_training_finds_the_minimum(model, squared_error):
    list(fit(model, squared_error, line(), epochs=200, batch_size=5, learning_rate=0.05))
    torch.testing.assert_close(model.weight.item(), 3.0, atol=1e-3, rtol=0)
    torch.testing.assert_close(model.bias.item(), -1.0, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("decay", "rates"),
    [(False, [1.0] * 6), (True, [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])],
    ids=["constant", "decay"],
)
def test_with_decay_the_learning_rate_falls_linearly_to_the_last_step(decay, rates, model):
    """Adam moves a parameter whose gradient is always 1 by the learning rate."""
    seen = [model.bias.item()]
    for _ in fit(
        model, lambda x, y: model.bias.expand(len(x)), line(), epochs=2, batch_size=4, learning_rate=0.5, decay=decay
    ):
        seen.append(model.bias.item())
    moves = [before - after for before, after in pairwise(seen)]
    assert moves == pytest.approx([0.5 * rate for rate in rates], rel=1e-5)


def test_the_model_is_in_training_mode_until_the_end(model, squared_error):
    steps = fit(model.eval(), squared_error, line(), epochs=1, batch_size=5)
    assert next(steps) and model.training
    assert list(steps) and not model.training


def test_whoever_iterates_may_stop(model, squared_error):
    assert len(list(islice(fit(model, squared_error, line(), epochs=10**9), 3))) == 3


def test_data_that_are_not_finite_are_named_and_no_step_is_taken(model, squared_error):
    x, y = line()
    y[3] = torch.nan
    before = model.weight.clone()
    with pytest.raises(NonFiniteLossError, match=r"nan at step 1 \(epoch 1\).*training data.*\(tensor 1\)"):
        list(fit(model, squared_error, (x, y), epochs=1))
    assert torch.equal(model.weight, before)


def test_a_learning_rate_that_is_too_large_is_named_with_its_step(model, squared_error):
    with pytest.raises(NonFiniteLossError, match=r"at step 2 \(epoch 2\).*learning rate of 1e\+30 that is too large"):
        list(fit(model, squared_error, line(), epochs=5, learning_rate=1e30))
    assert model.weight.isfinite().all()


def test_a_standard_deviation_that_shrank_to_zero_is_named(model):
    def neg_log_px(x, y):
        return -diagonal_normal(model(x), torch.zeros_like(y)).log_prob(y)

    with pytest.raises(NonFiniteLossError, match=r"at step 1 .*standard deviation that shrank to 0"):
        list(fit(model, neg_log_px, line(), epochs=1))


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": -1.0}])
def test_impossible_settings_are_refused(setting, model, squared_error):
    with pytest.raises(
        ValueError, match=f"must be at least 1, learning_rate positive: .*{next(iter(setting.values()))}"
    ):
        list(fit(model, squared_error, line(), **({"epochs": 1} | setting)))
