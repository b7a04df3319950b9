r"""Samples under several judges and bits in several readings: two routes lead to one number."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from vaelib import data
from vaelib.likelihoods import (
    BernoulliPixels,
    CalibratedGaussian,
    DiscretisedNormal,
    DiscretisedPixels,
    FixedGaussian,
    PixelwiseGaussian,
)
from vaelib.objectives import beta_elbo_nats
from vaelib.seeding import seeded
from vaelib.study.classifier import JUDGE_SEEDS, JUDGES
from vaelib.study.experiment import VaeExperiment
from vaelib.study.measures import (
    codes_judged,
    judged,
    judged_by_all,
    judged_data,
    local_evidence,
    measured,
    measurement_key,
    read_bits,
    summary,
    twin_judged,
    twin_read_bits,
)
from vaelib.study.measures import readings as readings_module
from vaelib.study.measures.judged import verdict
from vaelib.study.measures.measured import data_judged_by_all, data_judgement_key, judgement_key, judges
from vaelib.study.trained import fetch, silently

pytestmark = pytest.mark.usefixtures("noise")

TINY = VaeExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)
FIXED = replace(TINY, head=partial(FixedGaussian, sigma=0.2), dequantised=False)
WEIGHTED = replace(FIXED, head=partial(FixedGaussian, sigma=1.0), objective=partial(beta_elbo_nats, beta=0.04))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Judges of one epoch under two seeds, few images and draws, posteriors that are fitted for a moment."""
    monkeypatch.setattr("vaelib.study.classifier.EPOCHS", {"quick": 1})
    monkeypatch.setattr("vaelib.study.classifier.JUDGE_SEEDS", (0, 1))
    for name, value in {"READ_IMAGES": 20, "READ_SAMPLES": 8, "READ_CHUNK": 10}.items():
        monkeypatch.setattr(readings_module, name, value)
    monkeypatch.setattr("vaelib.readings.LOCAL_STEPS", 30)


# Judges


def test_the_first_spoiled_judge_is_the_classifier_of_the_summary():
    found, expected = judged_by_all(judged, TINY), measured(summary, TINY)
    for kind in ("ancestral", "deterministic"):
        for ground in ("frechet", "precision", "recall"):
            assert found[f"own_{kind}_{ground}_spoiled"][0] == pytest.approx(expected[f"{ground}_{kind}"])


def test_every_number_is_one_for_each_seed_of_the_judges_and_seeds_differ():
    found = judged_by_all(judged, TINY)
    assert len(found) == 5 * 2 * 3 and {len(values) for values in found.values()} == {2}
    assert all(
        found[f"own_ancestral_frechet_{kind}"][0] != found[f"own_ancestral_frechet_{kind}"][1] for kind in JUDGES
    )
    assert len(JUDGE_SEEDS) == 3


def test_codes_of_images_are_drawn_from_the_posterior_and_decoded_in_both_ways():
    found = judged_by_all(codes_judged, FIXED)
    assert {name.split("_")[1] for name in found} == {"ancestral", "deterministic"}
    vae, digits = fetch(FIXED, report=silently).vae, data.load("quick")
    with seeded(FIXED.seed), torch.no_grad():
        x = digits.train.images[torch.randperm(len(digits.train))[: len(digits.test)]]
        px_z = vae.likelihood(vae.posterior(x).sample())
        for kind, shown in (("ancestral", px_z.sample()), ("deterministic", px_z.mean)):
            for name, values in verdict(shown, digits.test.images, judges("quick")).items():
                assert found[f"codes_{kind}_{name}"] == pytest.approx(values)


def test_the_data_themselves_are_perfect_under_every_judge():
    x = data.load("quick").test.images
    found = verdict(x, x, judges("quick"))
    for kind in JUDGES:
        assert max(found[f"frechet_{kind}"]) < 1e-6
        assert found[f"precision_{kind}"] == found[f"recall_{kind}"] == [1.0, 1.0]


def test_real_images_with_hardly_any_noise_of_the_model_score_as_real_ones():
    faint = replace(FIXED, head=partial(FixedGaussian, sigma=1e-5))
    found = judged_by_all(judged, faint)
    real = data_judged_by_all(judged_data, "quick")["real"]
    assert found["noisy_frechet_spoiled"] == pytest.approx(real["frechet_spoiled"], rel=1e-2)
    loud = judged_by_all(judged, replace(FIXED, head=partial(FixedGaussian, sigma=1.0)))
    assert loud["noisy_frechet_spoiled"] != pytest.approx(real["frechet_spoiled"], rel=0.1)


def test_noise_of_the_model_is_that_of_independent_normal_pixels_only():
    found = judged_by_all(judged, replace(TINY, head=BernoulliPixels, dequantised=False))
    assert not [name for name in found if name.startswith("noisy")] and "own_ancestral_frechet_clean" in found


def test_a_measure_that_asks_for_judges_depends_on_all_of_them(monkeypatch):
    def keys():
        return [judgement_key(judged, TINY), data_judgement_key(judged_data, "quick"), measurement_key(summary, TINY)]

    before = keys()
    monkeypatch.setattr("vaelib.study.classifier.JUDGE_SEEDS", (0, 2))
    assert [a == b for a, b in zip(before, keys(), strict=True)] == [False, False, True]


def test_the_samples_of_a_twin_have_the_same_means_and_other_noise():
    stated, twin = judged_by_all(judged, WEIGHTED), judged_by_all(twin_judged, WEIGHTED)
    assert twin.keys() == {f"twin_{name}" for name in stated}
    for name in stated:
        same = twin[f"twin_{name}"] == pytest.approx(stated[name], rel=1e-6)
        if "frechet" in name:
            assert same is ("deterministic" in name)


# Readings


def test_all_bits_are_bounded_by_the_escape_and_all_draws_by_their_number():
    found = measured(read_bits, TINY)
    for reading in ("dense", "shown", "fitted"):
        assert 0 < found[f"{reading}_escape"] <= min(8.02, found[f"{reading}_mean"] + 1e-4)
        assert 1 <= found[f"{reading}_draws"] <= 8
    assert 1 <= found["encoder_draws"] <= 8


def test_a_posterior_that_is_fitted_to_each_image_finds_more_evidence_than_the_encoder_and_more_draws_count():
    found, both = measured(local_evidence, TINY), measured(read_bits, TINY)
    assert found["local_nats"] > found["encoder_nats"] and found["local_draws"] > found["encoder_draws"]
    assert {name: both[name] for name in ("encoder_nats", "encoder_draws")} == {
        name: found[name] for name in ("encoder_nats", "encoder_draws")
    }
    assert -found["local_nats"] / (784 * math.log(2)) == pytest.approx(both["dense_mean"]), "in bits per dimension"


def test_how_many_images_are_read_at_a_time_changes_no_draw_of_the_fit(monkeypatch):
    """It changes those of the weights: the numbers agree as far as draws go."""
    one = measured(local_evidence, FIXED)
    monkeypatch.setattr(readings_module, "READ_CHUNK", 20)
    other = local_evidence(fetch(FIXED, report=silently).vae, experiment=FIXED, test=data.load("quick").test)
    assert other["local_nats"] == pytest.approx(one["local_nats"], rel=1e-2)


@pytest.mark.parametrize("head", [FIXED.head, CalibratedGaussian], ids=["fixed", "calibrated"])
def test_what_is_shown_costs_less_than_the_density(head):
    """Tails come back."""
    found = measured(read_bits, replace(FIXED, head=head))
    assert found["shown_mean"] < found["dense_mean"]


def test_levels_are_shown_as_they_are():
    found = measured(read_bits, replace(FIXED, head=partial(DiscretisedPixels, family=DiscretisedNormal)))
    assert found["shown_mean"] == pytest.approx(found["dense_mean"], rel=1e-6)


def test_a_weight_read_as_its_twin_is_the_model_that_was_trained_with_its_sigma():
    """Proposition 1, from one seed, with Adam: beta = 0.04 and sigma = 1 is sigma = 0.2."""
    twin, other = measured(twin_read_bits, WEIGHTED), measured(read_bits, FIXED)
    stated = measured(read_bits, WEIGHTED)
    for reading in ("dense", "shown"):
        assert twin[f"twin_{reading}_mean"] == pytest.approx(other[f"{reading}_mean"], abs=2e-3)
        assert abs(stated[f"{reading}_mean"] - other[f"{reading}_mean"]) > 0.1


def test_a_bernoulli_on_grey_pixels_has_no_bits_in_any_reading():
    with pytest.raises(TypeError, match="no density on pixels"):
        measured(read_bits, replace(TINY, head=BernoulliPixels, dequantised=False))


def test_reading_leaves_the_model_as_it_is():
    split = data.load("quick")
    vae = TINY.build((28, 28)).eval()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    read_bits(vae, experiment=TINY, train=split.train, test=split.test)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
