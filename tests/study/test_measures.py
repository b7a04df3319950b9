r"""Measures: pure functions of a VAE, made once for each model, and equal to what the formulas say."""

import inspect
import math
import sys
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from functools import partial
from io import StringIO

import pytest
import torch

from vaelib import data
from vaelib.likelihoods import BernoulliPixels, FixedGaussian, PixelwiseGaussian, quantise
from vaelib.objectives import beta_elbo_nats, limit_objective
from vaelib.sampling import reconstructions, sampled_codes
from vaelib.study import measures, trained
from vaelib.study.classifier import JUDGES, classifier_experiment
from vaelib.study.experiment import LinearVaeExperiment, VaeExperiment
from vaelib.study.measures import (
    alpha_frechet,
    baselines,
    bits,
    bound,
    dial_arrival,
    dial_gradient,
    encoder_path,
    few_label_baselines,
    few_labels,
    fitted_prior,
    fitted_rungs,
    judged_by_all,
    latent,
    linear_optimum,
    linear_scale,
    measured,
    measurement_key,
    rung,
    rungs,
    summary,
    support,
    twin_judged,
    twin_read_bits,
    variance,
)
from vaelib.study.measures.codes import few_label_accuracies
from vaelib.study.measures.measured import classifier
from vaelib.study.trained import fetch, key, silently

pytestmark = pytest.mark.usefixtures("noise")

TINY = VaeExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)
WEIGHTED = replace(
    TINY, head=partial(FixedGaussian, sigma=1.0), objective=partial(beta_elbo_nats, beta=0.25), dequantised=False
)
LINEAR = LinearVaeExperiment(name="linear", purpose="a test", epochs=1, latent_dim=2, dequantised=False)
TWIN = replace(WEIGHTED, head=partial(FixedGaussian, sigma=0.5), objective=partial(beta_elbo_nats, beta=1.0))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """A classifier of one epoch, measures on few images, and posteriors that are fitted for a moment."""
    monkeypatch.setattr("vaelib.study.classifier.EPOCHS", {"quick": 1, "full": 1})
    for module, constants in {
        "bounds": {"BOUND_IMAGES": 10, "EVIDENCE_IMAGES": 5, "IWAE_SAMPLES": 50, "BITS_IMAGES": 20, "BITS_SAMPLES": 4},
        "readings": {"READ_IMAGES": 20, "READ_SAMPLES": 4},
        "profiles": {"SPLIT_IMAGES": 50, "SPLIT_DRAWS": 2, "BUDGET_IMAGES": 50},
        "structure": {"TWIN_DRAWS": 2, "SHAPE_IMAGES": 10, "SHAPE_DRAWS": 20},
        "codes": {"LABEL_COUNTS": (20, 100), "LABEL_DRAWS": 2, "RESIDUAL_PAIRS": 2},
    }.items():
        for name, value in constants.items():
            monkeypatch.setattr(f"vaelib.study.measures.{module}.{name}", value)
    monkeypatch.setattr("vaelib.readings.LOCAL_STEPS", 10)


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """The names of what is trained, in order."""
    names: list[str] = []
    train = trained.train

    def counted(experiment, *args, **options):
        names.append(experiment.name)
        return train(experiment, *args, **options)

    monkeypatch.setattr(trained, "train", counted)
    return names


def vae_and_images(experiment):
    """The trained model, and the test images."""
    return fetch(experiment, report=silently).vae, data.load("quick").test.images


# Made once


def test_a_measurement_is_made_once_and_again_for_another_seed(trainings):
    first = measured(summary, TINY)
    assert sorted(trainings) == ["classifier", "tiny"]
    assert measured(summary, TINY) == first
    assert measured(summary, replace(TINY, name="renamed")) == first
    assert len(trainings) == 2
    assert measured(summary, TINY.at(seed=1)) != first
    assert len(trainings) == 3


def counting(vae, *, test):
    """A measure of one's own."""
    CALLS.write(f"{len(test)} ")
    return {"calls": float(len(CALLS.getvalue().split()))}


CALLS = StringIO()  # unlike a list, no constant that counts


def test_what_was_measured_is_remembered_even_by_a_measure_of_ones_own():
    CALLS.seek(0), CALLS.truncate()
    assert [measured(counting, TINY) for _ in range(3)] == 3 * [{"calls": 1.0}]
    assert CALLS.getvalue() == "100 "
    assert measured(counting, replace(TINY, digit=4)) == {"calls": 2.0} and CALLS.getvalue() == "100 10 "


def test_a_measurement_belongs_to_its_measure_its_models_and_its_classifier(monkeypatch):
    keys = {
        measurement_key(summary, TINY),
        measurement_key(latent, TINY),
        measurement_key(summary, TINY.at(seed=1)),
        measurement_key(summary, TINY.at(profile="full")),
        measurement_key(dial_arrival, TINY, twin=TINY.at(seed=1)),
        measurement_key(dial_arrival, TINY, twin=TINY.at(seed=2)),
    }
    assert len(keys) == 6
    before = measurement_key(summary, TINY), measurement_key(latent, TINY), key(classifier_experiment("quick"))
    monkeypatch.setattr("vaelib.study.classifier.EPOCHS", {"quick": 2})
    after = measurement_key(summary, TINY), measurement_key(latent, TINY), key(classifier_experiment("quick"))
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True, False]


@pytest.mark.parametrize(
    "measure", [fitted_prior, fitted_rungs, bound, dial_gradient, linear_optimum], ids=lambda m: m.__name__
)
def test_a_measure_leaves_the_model_as_it_is(measure):
    """Another prior, and weights in double precision, are those of a copy."""
    model = {fitted_prior: TINY, linear_optimum: LINEAR}.get(measure, WEIGHTED)
    split = data.load("quick")
    given = {"experiment": model, "train": split.train, "test": split.test, "classifier": classifier("quick")}
    given["judges"] = {kind: [given["classifier"]] for kind in JUDGES}
    vae = fetch(model, report=silently).vae
    before, prior = deepcopy(vae.state_dict()), vae.code_prior
    measure(vae, **{name: given[name] for name in inspect.signature(measure).parameters if name != "vae"})
    after = vae.state_dict()
    assert vae.code_prior is prior and after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) and after[name].dtype == torch.float32 for name in before)


def test_a_measure_asks_for_what_there_is_and_no_two_say_different_things_by_one_name():
    model = {
        support: WEIGHTED,
        bound: WEIGHTED,
        dial_gradient: WEIGHTED,
        linear_optimum: LINEAR,
        twin_judged: WEIGHTED,
        twin_read_bits: WEIGHTED,
        linear_scale: LINEAR,
    }
    functions = filter(inspect.isfunction, vars(measures).values())
    found = [measure for measure in functions if "vae" in inspect.signature(measure).parameters]
    assert len(found) == 33
    fields: dict[str, list[object]] = defaultdict(list)
    for measure in found:
        needs = inspect.signature(measure).parameters
        assert set(needs) <= {"vae", "experiment", "train", "test", "classifier", "judges", "twin"}
        assert all(p.kind is p.KEYWORD_ONLY for name, p in needs.items() if name != "vae")
        ask = judged_by_all if "judges" in needs else measured
        told = ask(measure, model.get(measure, TINY), **({"twin": TWIN} if "twin" in needs else {}))
        for name, value in told.items():
            fields[name].append(value)
    twice = {name for name, values in fields.items() if len(values) > 1}
    assert twice == {"encoder_nats", "encoder_draws"}, "of read_bits and local_evidence, by the same draws"
    assert all(value == values[0] for values in fields.values() for value in values)


# What they say


def test_a_summary_holds_what_the_formulas_say():
    found = measured(summary, TINY)
    vae, x = vae_and_images(TINY)
    assert found["mse"] == pytest.approx((x - reconstructions(vae, x)).square().mean().item())
    assert found["posterior_variance"] == pytest.approx(vae.posterior(x).variance.mean().item())
    assert found["aggregate_variance"] > found["posterior_variance"]
    assert 0 <= found["active_units"] <= 2
    shares = [value for name, value in found.items() if name.startswith(("precision", "recall", "label"))]
    assert len(shares) == 5
    assert all(0 <= share <= 1 for share in shares)


def test_baselines_need_no_vae_and_pca_gets_better_with_size(trainings, monkeypatch):
    monkeypatch.setattr(sys.modules[baselines.__module__], "PCA_DIMS", (1, 5, 20))
    found = [baselines("quick") for _ in range(2)]
    assert trainings == ["classifier"] and found[0] == found[1]
    assert found[0].mse_mean_image > found[0].mse_pca["1"] > found[0].mse_pca["5"] > found[0].mse_pca["20"] > 0


def test_gradients_at_both_ends_of_the_dial_are_one():
    assert measured(dial_gradient, WEIGHTED)["relative_difference"] < 1e-10


def test_gradients_at_different_places_of_the_dial_are_not():
    wrong = replace(WEIGHTED, head=partial(FixedGaussian, sigma=0.9))
    assert measured(dial_gradient, wrong)["relative_difference"] > 1e-3


def test_both_ends_of_the_dial_arrive_at_one_place_and_others_elsewhere():
    assert measured(dial_arrival, WEIGHTED, twin=TWIN)["rms_difference"] < 1e-3
    assert measured(dial_arrival, WEIGHTED, twin=TWIN.at(seed=1))["rms_difference"] > 1e-2


def test_the_weighted_objective_exceeds_the_evidence_and_the_bound_of_the_other_model_does_not():
    found = measured(bound, replace(WEIGHTED, objective=partial(beta_elbo_nats, beta=0.0001), epochs=20))
    assert found["objective"] > found["evidence"] and found["share_above"] > 0.9
    assert found["other_elbo"] < found["other_evidence"] and found["other_share_above"] == 0


def test_the_rate_is_information_and_mismatch():
    found = measured(latent, TINY)
    assert found["rate_nats"] == pytest.approx(found["mutual_information_nats"] + found["mismatch_nats"])
    vae, x = vae_and_images(TINY)
    kl = torch.distributions.kl_divergence(vae.posterior(x), vae.prior).mean().item()
    assert found["rate_nats"] == pytest.approx(kl)


def test_noise_in_the_code_is_driven_out_without_a_prior():
    path = measured(encoder_path, replace(WEIGHTED, objective=limit_objective, epochs=40, learning_rate=1e-2))
    assert path["end"] < path["start"]
    assert path["start"] == pytest.approx(math.log(2), rel=0.2)  # softplus(0)


def test_alpha_zero_is_the_deterministic_sample():
    assert measured(alpha_frechet, TINY)["0"] == pytest.approx(measured(summary, TINY)["frechet_deterministic"])


def test_mass_outside_the_unit_interval_is_that_of_draws():
    model = replace(WEIGHTED, head=partial(FixedGaussian, sigma=0.3))
    vae, x = vae_and_images(model)
    draws = vae.likelihood(vae.posterior(x).mean).sample((200,))
    expected = ((draws < 0) | (draws > 1)).double().mean().item()
    assert measured(support, model)["mass_outside"] == pytest.approx(expected, abs=2e-3)


def test_the_integral_of_the_bernoulli_formula_is_that_of_a_fine_grid():
    model = replace(TINY, head=BernoulliPixels, dequantised=False)
    vae, x = vae_and_images(model)
    with torch.no_grad():
        probability = vae.likelihood(vae.posterior(x).mean).mean.double()
    grid = ((torch.arange(400) + 0.5) / 400).double()
    value = sum((probability**g * (1 - probability) ** (1 - g)) for g in grid) / 400
    found = measured(support, model)
    assert found["integral"] == pytest.approx(value.mean().item(), rel=1e-4)
    assert found["missing_nats"] == pytest.approx(-value.log().sum(dim=1).mean().item(), rel=1e-4)


def test_the_variance_of_the_data_is_that_of_the_test_images():
    found = measured(variance, TINY)
    assert found["data"] == pytest.approx(vae_and_images(TINY)[1].double().var(dim=0).sum().item())
    assert found["noise"] > 0 and found["explained"] >= 0


def test_a_bernoulli_on_grey_pixels_has_no_bits():
    with pytest.raises(TypeError, match="Bernoulli"):
        measured(bits, replace(TINY, head=BernoulliPixels, dequantised=False))


# Few labels


def test_separable_features_need_few_labels_and_noise_needs_more(monkeypatch):
    monkeypatch.setattr("vaelib.study.measures.codes.LABEL_COUNTS", (40,))
    labels = torch.arange(2_000) % 4
    images = data.Images(torch.rand(2_000, 1), labels, (1, 1))
    features = torch.nn.functional.one_hot(labels, 4) + 0.1 * torch.randn(2_000, 4)
    noise = torch.randn(2_000, 4)
    clear, blind = (few_label_accuracies(part, part, images, images) for part in (features, noise))
    assert [len(clear), len(clear[0])] == [2, 1]
    assert min(draw[0] for draw in clear) > 0.99
    assert max(draw[0] for draw in blind) < 0.4


def test_few_labels_are_tried_on_codes_pixels_and_pca_alike():
    found = few_label_baselines("quick") | {"codes": measured(few_labels, TINY)["accuracy"]}
    assert found.keys() == {"pixels", "PCA", "codes"}
    for draws in found.values():
        assert torch.tensor(draws).shape == (2, 2)


def test_without_labels_there_are_none_to_learn_from():
    images = data.Images(torch.rand(20, 1), None, (1, 1))
    with pytest.raises(ValueError, match="these images have no labels to learn from"):
        few_label_accuracies(images.images, images.images, images, images)


# The ladder


def test_each_rung_is_fitted_to_the_kept_split_and_measured_like_a_trained_model():
    found = judged_by_all(fitted_rungs, TINY)["fitted_rungs"]
    fields = judged_by_all(rung, TINY)["rung"].keys()
    *likelihoods, means = found.values()
    assert all(numbers.keys() == fields | {"seconds"} for numbers in likelihoods)
    assert means.keys() == {"frechet_spoiled", "frechet_clean"}
    of_gaussians = [found[name]["explained"] for name in ("one sigma", "sigma of the mean", "autoregression 7 x 7")]
    assert of_gaussians == pytest.approx(3 * [judged_by_all(rung, TINY)["rung"]["explained"]], abs=0.1)


def test_the_first_rung_is_the_calibrated_model_and_a_rung_of_levels_is_one_over_levels():
    vae, _ = vae_and_images(TINY)
    split = data.load("quick")
    fits = rungs._fits(vae, TINY, split.train)
    first = fits["one sigma"]()
    with torch.no_grad():
        z = sampled_codes(vae, TINY.pixels(split.train.images))
        error = (split.train.images - vae.likelihood(z).mean).square().mean()
        samples = fits["histogram of levels"]()(vae.decoder(z)).sample()
    assert first.scale.square().item() == pytest.approx(error.item(), rel=0.02)
    assert torch.equal(samples, quantise(samples))
