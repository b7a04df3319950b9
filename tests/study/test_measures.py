r"""Panels and probes: computed once, and equal to what the measures say."""

import math
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from vaelib.study.measurements import measured, panel, reference, yardstick
from vaelib.study.probes import alpha_frechet, bound, dial_arrival, dial_gradient, encoder_path, latent, support, weight
from vaelib.study.uses import few_label_accuracy, mse_by_size

from vaelib import data
from vaelib.likelihoods.bernoulli import BernoulliPixels
from vaelib.likelihoods.gaussian import FixedGaussian, PixelwiseGaussian
from vaelib.objectives import beta_elbo_nats, limit_objective
from vaelib.sampling import reconstructions
from vaelib.study import measurements, probes, trained
from vaelib.study.experiment import VaeExperiment
from vaelib.study.trained import fetch

pytestmark = pytest.mark.usefixtures("noise")

TINY = VaeExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)
WEIGHTED = replace(
    TINY, head=partial(FixedGaussian, sigma=1.0), objective=partial(beta_elbo_nats, beta=0.25), dequantised=False
)


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """The names of what is trained, in order."""
    names: list[str] = []
    train = trained.train

    def counted(experiment, **options):
        names.append(experiment.name)
        return train(experiment, **options)

    monkeypatch.setattr(trained, "train", counted)
    return names


def test_a_panel_is_measured_once_and_again_for_another_seed(trainings):
    first = panel(TINY)
    assert trainings == ["tiny", "classifier"]
    assert panel(TINY) == first
    assert trainings == ["tiny", "classifier"]
    assert panel(TINY.at(seed=1)) != first
    assert trainings == ["tiny", "classifier", "tiny"]


def test_a_panel_holds_what_the_measures_say():
    found = panel(TINY)
    x = data.load("quick").test.images
    vae = fetch(TINY).vae
    assert found.mse == pytest.approx((x - reconstructions(vae, x)).square().mean().item())
    assert found.posterior_variance == pytest.approx(vae.posterior(x).variance.mean().item())
    assert found.aggregate_variance > found.posterior_variance
    assert 0 <= found.active_units <= 2
    shares = [value for name, value in asdict(found).items() if name.startswith(("precision", "recall", "label"))]
    assert len(shares) == 5
    assert all(0 <= share <= 1 for share in shares)


def test_references_need_no_vae_and_pca_gets_better_with_size(trainings, monkeypatch):
    monkeypatch.setattr(measurements, "PCA_DIMS", (1, 5, 20))
    found = reference("quick")
    assert trainings == ["classifier"]
    assert found.mse_mean_image > found.mse_pca["1"] > found.mse_pca["5"] > found.mse_pca["20"] > 0


def test_a_measurement_belongs_to_its_model_and_its_classifier():
    keys = {TINY.key, TINY.at(seed=1).key, yardstick("quick").key, yardstick("full").key}
    assert len(keys) == 4


def test_gradients_at_both_ends_of_the_dial_are_one():
    assert measured(dial_gradient, WEIGHTED)["relative_difference"] < 1e-10


def test_gradients_at_different_places_of_the_dial_are_not():
    elsewhere = replace(WEIGHTED, objective=partial(beta_elbo_nats, beta=0.5))
    fetch(elsewhere, report=lambda line: None)
    wrong = replace(WEIGHTED, head=partial(FixedGaussian, sigma=0.9))
    assert measured(dial_gradient, wrong)["relative_difference"] > 1e-3


def test_both_ends_of_the_dial_arrive_at_one_place():
    assert measured(dial_arrival, WEIGHTED)["rms_difference"] < 1e-3


def test_the_weighted_objective_exceeds_the_evidence_and_the_bound_of_the_other_model_does_not(monkeypatch):
    monkeypatch.setattr(probes, "BOUND_IMAGES", 10)
    found = measured(bound, replace(WEIGHTED, objective=partial(beta_elbo_nats, beta=0.0001), epochs=20))
    assert found["objective"] > found["evidence"]
    assert found["other_elbo"] < found["other_evidence"]


def test_the_rate_is_information_and_mismatch():
    found = measured(latent, TINY)
    assert found["kl_nats"] == pytest.approx(found["mutual_information_nats"] + found["mismatch_nats"])


def test_noise_in_the_code_is_driven_out_without_a_prior():
    path = measured(encoder_path, replace(WEIGHTED, objective=limit_objective, epochs=40, learning_rate=1e-2))
    assert path["end"] < path["start"]
    assert path["start"] == pytest.approx(math.log(2), rel=0.2)  # softplus(0)


def test_alpha_zero_is_the_deterministic_sample():
    assert measured(alpha_frechet, TINY)["0"] == pytest.approx(panel(TINY).frechet_deterministic)


def test_mass_outside_the_unit_interval_is_that_of_draws():
    model = replace(WEIGHTED, head=partial(FixedGaussian, sigma=0.3))
    vae, x = fetch(model).vae, data.load("quick").test.images
    draws = vae.likelihood(vae.posterior(x).mean).sample((200,))
    expected = ((draws < 0) | (draws > 1)).double().mean().item()
    assert measured(support, model)["mass_outside"] == pytest.approx(expected, abs=2e-3)


def test_the_integral_of_the_bernoulli_formula_is_that_of_a_fine_grid():
    model = replace(TINY, head=BernoulliPixels, dequantised=False)
    vae, x = fetch(model).vae, data.load("quick").test.images
    with torch.no_grad():
        probability = vae.likelihood(vae.posterior(x).mean).mean.double()
    grid = ((torch.arange(400) + 0.5) / 400).double()
    value = sum((probability**g * (1 - probability) ** (1 - g)) for g in grid) / 400
    found = measured(support, model)
    assert found["integral"] == pytest.approx(value.mean().item(), rel=1e-4)
    assert found["missing_nats"] == pytest.approx(-value.log().sum(dim=1).mean().item(), rel=1e-4)


def test_weight_is_beta():
    assert weight(TINY) == 1
    assert weight(WEIGHTED) == 0.25


def test_sizes_of_codes_group_the_runs():
    runs = [TINY, TINY.at(seed=1), replace(TINY, latent_dim=3)]
    grouped = mse_by_size(runs)
    assert {size: len(values) for size, values in grouped.items()} == {2: 2, 3: 1}
    assert grouped[3] == [panel(runs[2]).mse]


def test_separable_features_need_few_labels_and_noise_needs_more():
    labels = torch.arange(2_000) % 4
    features = torch.nn.functional.one_hot(labels, 4) + 0.1 * torch.randn(2_000, 4)
    noise = torch.randn(2_000, 4)
    arguments = {"labels": 40, "seed": 0}
    assert few_label_accuracy(features, labels, features, labels, **arguments) > 0.99
    assert few_label_accuracy(noise, labels, noise, labels, **arguments) < 0.4
