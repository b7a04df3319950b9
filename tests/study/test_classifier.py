r"""The classifier that serves as measure of samples, and what it is shown beside digits."""

import numpy as np
import pytest
import torch

from vaelib.diagnostics.samples import features
from vaelib.mnist import SHAPE
from vaelib.study.classifier import (
    DIGITS,
    FEATURES,
    JUDGE_SEEDS,
    JUDGES,
    Classifier,
    blur,
    classifier_experiment,
    judge_experiments,
    spoil,
)
from vaelib.study.trained import key


def test_features_are_what_the_logits_are_made_from():
    judge, x = Classifier(SHAPE).eval(), torch.rand(7, 784)
    found = features(judge, x)
    assert found.shape == (7, FEATURES)
    with torch.no_grad():
        expected = judge(x).double().numpy()
    np.testing.assert_allclose(
        found @ judge.logits.weight.detach().double().numpy().T + judge.logits.bias.detach().double().numpy(),
        expected,
        atol=1e-5,
    )


def test_the_classifier_cuts_values_that_no_pixel_can_show():
    judge, x = Classifier(SHAPE).eval(), torch.randn(5, 784)
    assert torch.equal(judge.features(x), judge.features(x.clamp(0, 1)))


def test_spoiled_images_are_images_and_every_one_is_changed():
    x = torch.rand(200, 784)
    spoiled = spoil(x, shape=SHAPE)
    assert spoiled.shape == x.shape
    assert 0 <= spoiled.min() <= spoiled.max() <= 1
    assert (spoiled != x).any(dim=1).sum() > 195  # a mixture may be with itself


def test_blur_keeps_the_sum_of_a_spot_and_spreads_it_by_its_width():
    spot = torch.zeros(1, 28, 28)
    spot[0, 14, 14] = 1
    blurred = blur(spot.flatten(1), width=1.2, shape=SHAPE).reshape(28, 28)
    offsets = torch.arange(28) - 14.0
    assert blurred.sum().item() == pytest.approx(1, abs=1e-4)
    assert (blurred.sum(dim=1) * offsets.square()).sum().item() == pytest.approx(1.2**2, rel=0.02)


def test_judges_are_two_kinds_under_several_seeds_and_the_first_is_the_classifier():
    judges = judge_experiments("quick")
    assert tuple(judges) == JUDGES and {len(several) for several in judges.values()} == {len(JUDGE_SEEDS)}
    assert key(judges["spoiled"][0]) == key(classifier_experiment("quick"))
    assert len({key(judge) for several in judges.values() for judge in several}) == 2 * len(JUDGE_SEEDS)
    assert len({judge.epochs for several in judges.values() for judge in several}) == 1


def test_a_clean_judge_learns_nothing_of_spoiled_images():
    """Its loss draws nothing, and the logit of the eleventh class has no part in it."""
    spoiled, clean = (judge_experiments("quick")[kind][0] for kind in JUDGES)
    model, x, labels = Classifier(SHAPE), torch.rand(20, 784), torch.arange(20) % DIGITS
    losses = {
        experiment.name: [experiment.loss(model, x, labels).sum() for _ in range(2)] for experiment in (spoiled, clean)
    }
    first, second = losses["classifier-clean"]
    assert torch.equal(first, second) and not torch.equal(*losses["classifier"])
    first.backward()
    slope = model.logits.bias.grad
    assert slope[DIGITS] == 0 and (slope[:DIGITS] != 0).all()
