r"""What real images score where a claim asks a model: each control is what its name says, and scores as it must."""

import math

import pytest
import torch
from torch import nn

from vaelib.data import Images
from vaelib.diagnostics.samples import features, frechet_distance
from vaelib.linear import evidence_nats
from vaelib.pca import active_directions, eigenvalues, optimal_decoder, spectrum
from vaelib.seeding import seeded
from vaelib.study.classifier import Classifier
from vaelib.study.measures import controls
from vaelib.study.measures.controls import (
    FEW,
    label_controls,
    linear_bound,
    linear_theory,
    recognised_controls,
    sample_controls,
    structure_controls,
)
from vaelib.study.measures.judged import judged_data, verdict


class Knows(nn.Module):
    """A judge that knows the label of every image, which its last pixel says, and has no other feature."""

    def labels(self, x):
        return (9 * x[:, -1].clamp(0, 1)).round().long()

    def features(self, x):
        return nn.functional.one_hot(self.labels(x), 10).float()


@pytest.fixture
def train(quick):
    """300 digits of the training split, as many of each label, which the last pixel, black in all, says."""
    rows = torch.cat([(quick.train.labels == label).nonzero()[:30, 0] for label in range(10)])
    return told(quick.train[rows[torch.randperm(300)]])


@pytest.fixture
def test(quick):
    """100 test digits in the same way."""
    return told(quick.test[:100])


@pytest.fixture
def judges():
    """Untrained ones of one kind, one that knows of another."""
    return {"clean": [Knows()], "spoiled": [Classifier((28, 28)), Classifier((28, 28))]}


def told(images):
    x = images.images.clone()
    x[:, -1] = images.labels / 9
    return Images(x, images.labels, images.shape)


# In the place of reconstructions


def test_another_image_has_the_same_edges_and_mostly_another_label_and_a_blurred_one_half_of_the_edges(
    train, test, judges
):
    found = recognised_controls(train=train, test=test, judges=judges)
    assert found.keys() == {"the image, blurred", "another image", "another image, blurred"}
    assert found["another image"]["edges"] == pytest.approx([1.0])
    assert found["the image, blurred"]["edges"] == pytest.approx(found["another image, blurred"]["edges"])
    assert found["the image, blurred"]["edges"][0] < 0.5
    assert found["another image"]["changed_clean"][0] > 0.7
    assert {len(found[name]["changed_spoiled"]) for name in found} == {2}


# In the place of samples


def test_few_images_repeated_have_no_recall_and_as_many_real_ones_have(train, test, judges):
    found = sample_controls(train=train, test=test, judges=judges)
    real = judged_data(train=train, test=test, judges=judges)["real"]
    assert found.keys() == {
        f"{FEW} images, repeated",
        "draws of a Normal",
        "half-way between images",
        "half-way by PCA",
    }
    repeated = found[f"{FEW} images, repeated"]
    assert max(repeated["recall_spoiled"]) == 0 and min(real["recall_spoiled"]) > 0.3
    assert min(repeated["frechet_spoiled"]) > max(real["frechet_spoiled"])
    with seeded(0):
        few = train.images[torch.randperm(len(train))[:FEW]]
    again = verdict(few[torch.arange(len(test)) % FEW], test.images, judges)
    assert all(repeated[name] == pytest.approx(values) for name, values in again.items())


def test_draws_of_a_normal_have_mean_and_covariance_of_the_images(train):
    x = train.images[:, 300:310]
    drawn = controls._normal_draws(x, 100_000)
    torch.testing.assert_close(drawn.mean(dim=0), x.mean(dim=0), rtol=0, atol=0.01)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(x.T), rtol=0, atol=0.01)


def test_with_all_components_half_way_by_pca_is_half_way_between_images_and_with_few_it_is_not(
    train, judges, monkeypatch
):
    def far():
        found = sample_controls(train=train, test=train[:100], judges=judges)
        return [found[f"half-way {how}"]["frechet_spoiled"] for how in ("by PCA", "between images")]

    few, pixels = far()
    assert few != pytest.approx(pixels, rel=0.01)
    monkeypatch.setattr(controls, "CODES_DIM", 299)
    everything, pixels = far()
    assert everything == pytest.approx(pixels, rel=1e-3)


def test_the_mean_of_two_images_is_further_from_images_than_they_are(train, test, judges):
    found = sample_controls(train=train, test=test, judges=judges)["half-way between images"]["frechet_spoiled"]
    judge = judges["spoiled"][0]
    assert found[0] > frechet_distance(features(judge, test.images), features(judge, train.images[:100]))


# Pixels and codes


def test_pixels_of_different_images_are_uncorrelated_and_noise_adds_no_covariance(train, test):
    found = structure_controls(train=train, test=test)
    assert found["neighbours"] > 0.5 and found["neighbours_apart"] == pytest.approx(0, abs=0.02)
    assert found["covariance_apart"] == pytest.approx(0, abs=0.05)
    assert found["covariance_noisy"] == pytest.approx(1, abs=0.1)


def test_codes_of_pca_are_uncorrelated_where_it_was_fitted_until_they_are_turned(train, test):
    fitted = structure_controls(train=train, test=train)
    assert fitted["codes_pca"] == pytest.approx(0, abs=1e-4) and fitted["codes_turned"] > 0.05
    elsewhere = structure_controls(train=train, test=test)
    assert elsewhere["codes_pca"] > 0


# Linear VAEs by their formulas


def test_the_best_linear_vaes_have_the_active_directions_and_the_kl_of_their_eigenvalues(train, test):
    found, data = linear_theory(train=train, test=test), eigenvalues(train.images)
    assert list(found) == ["0.01", "0.1", "0.5", "1", "6"]
    for name, told in found.items():
        beta = float(name)
        above = [value for value in data[:20].tolist() if value > beta]
        assert told["active"] == len(above) == min(20, active_directions(data, beta=beta, sigma=1.0))
        assert told["kl_nats"] == pytest.approx(sum(math.log(value / beta) for value in above) / 2, rel=1e-4, abs=1e-9)
        assert (told["active"] == 0) == (told["kl_nats"] == 0) == (told["largest_over_beta"] <= 1)
        assert told["largest_over_beta"] == pytest.approx(data[0].item() / beta)
    kl = [told["kl_nats"] for told in found.values()]
    assert kl == sorted(kl, reverse=True) and found["0.01"]["active"] == 20


def test_a_small_weight_lifts_every_objective_above_the_evidence_and_no_weight_none(train, test):
    assert linear_bound(train=train, test=test) == {"0.01": 1.0, "1": 0.0}


def test_without_a_weight_the_objective_of_the_best_linear_vae_is_the_evidence_itself(train):
    """Which is what leaves no image above: a tolerance of a hundredth of what the weight brings is far from needed."""
    x, data = train.images.double(), spectrum(train.images.double())
    W, b = optimal_decoder(data, latent_dim=2, sigma=1.0)
    qz_x = controls.optimal_posterior(x, W, b, 1.0)
    gap = controls.beta_elbo_nats_exact(qz_x, x, W, b, 1.0, beta=1.0) - evidence_nats(x, W, b, 1.0)
    assert gap.abs().max() < 1e-8


# Labels


def test_features_that_know_the_label_need_few_labels_and_random_projections_more(train, test, monkeypatch):
    monkeypatch.setattr("vaelib.study.measures.codes.LABEL_COUNTS", (50, 200))
    monkeypatch.setattr("vaelib.study.measures.codes.LABEL_DRAWS", 2)
    found = label_controls(train=train, test=test, classifier=Knows())
    assert found["learned from labels"] == [[1.0, 1.0], [1.0, 1.0]]
    random = torch.tensor(found["random projections"])
    assert random.shape == (2, 2) and random.max() < 0.9
    assert random[:, 1].mean() > random[:, 0].mean(), "but they do learn from more"
