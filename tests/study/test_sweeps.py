r"""Sweeps: each model is one of the book with one thing changed, and what is read from them is what is exact."""

from dataclasses import fields, replace

import pandas as pd
import pytest
import torch

from vaelib import data
from vaelib.diagnostics.variance import error_split
from vaelib.likelihoods import CalibratedGaussian, FixedGaussian, PerPixelGaussian, PixelwiseGaussian
from vaelib.linear import evidence_nats, exact_elbo_nats
from vaelib.objectives import elbo_nats
from vaelib.pca import optimal_decoder, ppca, spectrum
from vaelib.sampling import sampled_codes
from vaelib.seeding import seeded
from vaelib.study import profiles, sweeps
from vaelib.study.aside import EVERY, AsideExperiment, set_aside, trained_on
from vaelib.study.experiment import LABELS, LinearVaeExperiment, VaeExperiment, train
from vaelib.study.measures import bounds_by_split, budget, linear_optimum, linear_scale, measured
from vaelib.study.models import COPY_NOISES, Role, copy_name, experiments, find_vae
from vaelib.study.polished import PolishedExperiment
from vaelib.study.trained import fetch, key, silently

over = pytest.mark.parametrize
SWEPT = {name for name, model in experiments().items() if model.role == Role.SWEPT}
#: Models that no build trains either, each beside others of section 5.5.
BESIDE = {"neighbourhood-alone-d20", *map(copy_name, COPY_NOISES[1:])}
TINY = AsideExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)
LINEAR = LinearVaeExperiment(
    name="linear", purpose="a test", epochs=20, latent_dim=2, dequantised=False, learning_rate=1e-2, decay=True
)
POLISHED = PolishedExperiment(
    name="polished", purpose="a test", epochs=400, latent_dim=2, dequantised=False, start=LINEAR
)


def differs(model, other):
    """The fields that are not labels and in which two models differ, but for what they start from."""
    names = {field.name for field in fields(VaeExperiment)} - {*LABELS, "start"}
    return {name for name in names if str(getattr(model, name)) != str(getattr(other, name))}


# The models


def test_every_swept_model_is_another_and_has_its_name_from_what_is_changed():
    assert len({key(model) for model in experiments().values()}) == len(experiments())
    points = {sweeps.sigma_point(s) for s in sweeps.SIGMAS} | {sweeps.dims_point(d) for d in sweeps.DIMS}
    points |= {sweeps.weight_point(name, beta) for name in sweeps.WEIGHED for beta in sweeps.WEIGHTS}
    points |= {sweeps.length_point(name, length) for name in sweeps.TIMED for length in sweeps.LENGTHS}
    assert SWEPT - points == BESIDE and BESIDE | points <= set(experiments())


def test_linear_models_that_are_trained_out_are_made_with_the_sweeps_and_are_of_the_book():
    for name in sweeps.POLISHED:
        model, before = find_vae(sweeps.polished_name(name), seed=3), find_vae(name, seed=3)
        assert model.role == before.role == Role.BOOK and key(model.start) == key(before)
        assert differs(model, before) == {"epochs"} and isinstance(model, PolishedExperiment)


@over("profile", data.PROFILES)
def test_one_thing_is_changed(profile):
    known = experiments(profile)
    for sigma in sweeps.SIGMAS:
        model = known[sweeps.sigma_point(sigma)]
        assert differs(model, known["calibrated-d20"]) == {"head"}
        assert isinstance(model.build((2, 3)).head, FixedGaussian) and model.head.keywords == {"sigma": sigma}
    for d in sweeps.DIMS:
        model = known[sweeps.dims_point(d)]
        assert differs(model, known["calibrated-d20"]) == (set() if d == 20 else {"latent_dim"})
        assert model.latent_dim == d and model.head is CalibratedGaussian
    for name in sweeps.WEIGHED:
        for beta in sweeps.WEIGHTS:
            model = known[sweeps.weight_point(name, beta)]
            assert differs(model, known[name]) == (set() if beta == 1 else {"objective"}) and model.beta == beta
    for name in sweeps.TIMED:
        for length in sweeps.LENGTHS:
            model = known[sweeps.length_point(name, length)]
            assert differs(model, known[name]) == ({"epochs"} if length != 1 else set())
            assert model.epochs == max(1, round(length * known[name].epochs))


def test_a_model_that_starts_from_another_starts_from_one_that_was_trained_as_long():
    for length in sweeps.LENGTHS:
        kept = find_vae(sweeps.length_point("neighbourhood-kept-d20", length))
        assert key(kept.start) == key(find_vae(sweeps.length_point("calibrated-flow-d20", length)))


def test_a_sigma_for_each_pixel_does_not_depend_on_the_code():
    px_z = PerPixelGaussian(features=4, shape=(2, 3), floor=0.1)(torch.randn(5, 4))
    assert torch.equal(px_z.stddev, px_z.stddev[:1].expand(5, 6)) and (px_z.stddev > 0.1).all()
    assert not torch.equal(px_z.mean, px_z.mean[:1].expand(5, 6))


# Images set aside


def test_what_is_set_aside_and_what_is_trained_on_are_all_images_once():
    x = torch.arange(25.0)[:, None]
    images = data.Images(x, torch.arange(25), (1, 1))
    aside, rest = set_aside(images), trained_on(images)
    assert aside.labels.tolist() == [9, 19] and len(rest) == 23
    assert sorted([*aside.labels.tolist(), *rest.labels.tolist()]) == list(range(25))
    assert torch.equal(TINY.examples(images)[0], rest.images)


@pytest.mark.usefixtures("noise")
def test_images_set_aside_change_no_weight():
    split = data.load("quick")
    first = fetch(TINY, report=silently)
    other = replace(split.train, images=split.train.images.clone())
    other.images[EVERY - 1 :: EVERY] = 0.5
    again = train(TINY, replace(split, train=other))
    weights = first.vae.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in again.model.state_dict().items())
    assert again.history["aside_elbo_nats"] != first.record["history"]["aside_elbo_nats"]
    assert len(again.history["aside_elbo_nats"]) == TINY.epochs


# Measures


@pytest.mark.usefixtures("noise")
def test_the_bound_is_measured_on_what_was_trained_on_set_aside_and_never_seen(monkeypatch):
    monkeypatch.setattr("vaelib.study.measures.profiles.SPLIT_DRAWS", 1)
    found, split = measured(bounds_by_split, TINY), data.load("quick")
    vae = fetch(TINY, report=silently).vae
    for kind, images in (
        ("train", trained_on(split.train)),
        ("aside", set_aside(split.train)),
        ("test", split.test),
    ):
        with torch.no_grad(), seeded(0):
            values = elbo_nats(vae, TINY.pixels(images.images)).double()
        assert found[f"{kind}_bound"] == pytest.approx(values.mean().item())
        assert found[f"{kind}_bound_median"] == pytest.approx(values.median().item())
    plain = VaeExperiment(**{field.name: getattr(TINY, field.name) for field in fields(TINY)})
    assert not any(name.startswith("aside") for name in measured(bounds_by_split, plain))


@pytest.mark.usefixtures("noise")
def test_the_budget_adds_up_and_the_stated_noise_is_held_against_the_squared_error():
    found, split = measured(budget, TINY), data.load("quick")
    assert found["code_explains"] + found["cross"] - found["bias"] == pytest.approx(found["left_over"])
    vae, x = fetch(TINY, report=silently).vae, TINY.pixels(trained_on(split.train).images)
    px_z = vae.likelihood(sampled_codes(vae, x))
    error = error_split(x, px_z.mean).squared_error
    stated = px_z.variance.mean(0).sum().item()
    assert found["stated_over_error"] == pytest.approx(stated / error, rel=0.05)


def test_trained_out_the_linear_vae_is_ppca():
    """500 images of 30 pixels, two directions that stand out of noise."""
    x = torch.randn(500, 2) * torch.tensor([3.0, 2.0]) @ torch.linalg.qr(torch.randn(30, 2)).Q.T
    images = data.Images(x + 0.5 * torch.randn(500, 30), torch.arange(500) % 10, (5, 6))
    split = data.Dataset(images, images[:100], "two directions", "quick", "noise", "0" * 64)
    start = train(LINEAR, split).model
    outcome = POLISHED.polished(split, start.state_dict())
    course, given = outcome.history["train_loss"], {"train": images, "test": split.test}
    before, after = (
        linear_optimum(vae, experiment=LINEAR, **given) | linear_scale(vae, train=images)
        for vae in (start, outcome.model)
    )
    assert course[0] == pytest.approx(-exact_elbo_nats(start, images.images).mean().item(), rel=1e-4)
    assert course[-1] < course[0] and len(course) <= 2 * POLISHED.epochs
    assert abs(after["trace_ratio"] - 1) < 0.01 < abs(before["trace_ratio"] - 1)
    assert abs(after["ppca_evidence"] - after["linear_evidence"]) < 0.1
    assert after["linear_sigma"] == pytest.approx(after["ppca_sigma"], rel=1e-3)
    assert after["angle_degrees"] < 1


def test_a_polished_model_needs_a_start_and_pixels_without_noise():
    for wrong in ({"start": None}, {"dequantised": True}):
        with pytest.raises(ValueError, match="needs one to start from"):
            replace(POLISHED, **wrong)


# The frames


def test_training_stops_at_the_first_length_that_the_next_does_not_better():
    rows = [
        {"of": name, "seed": 0, "length": length, "aside_bound": bound}
        for name, bounds in {"a": (1, 3, 2, 4), "b": (1, 2, 3, 4), "c": (5, 5, 6, 7)}.items()
        for length, bound in zip(sweeps.LENGTHS, bounds, strict=True)
    ]
    found = profiles.stopped(pd.DataFrame(rows).sample(frac=1, random_state=0)).set_index("of")
    assert found["length"].to_dict() == {"a": 1.0, "b": 16.0, "c": 0.25}
    assert found["still_rising"].to_dict() == {"a": False, "b": True, "c": False}


@over(("d", "sigma"), [(2, 0.3), (2, None)])
@pytest.mark.usefixtures("noise")
def test_beside_the_networks_stands_the_best_linear_model(d, sigma):
    for remembered in (profiles._split, profiles._spectrum, profiles.best_linear):
        remembered.cache_clear()
    found = profiles.best_linear("quick", d, sigma)
    train, test = profiles._split("quick")
    model = ppca(spectrum(train), latent_dim=d)
    other = model.sigma if sigma is None else sigma
    decoder = optimal_decoder(spectrum(train), latent_dim=d, sigma=other)
    assert found["ppca_test"] == pytest.approx(evidence_nats(test, *decoder, other).mean().item())
    total = train.var(dim=0, correction=0).sum().item()
    assert found["ppca_explained"] == pytest.approx(decoder.W.square().sum().item() / total)
    for remembered in (profiles._split, profiles._spectrum, profiles.best_linear):
        remembered.cache_clear()


def test_profiles_are_curves_over_the_seeds_that_have_them_all_and_tables_have_a_line_for_each_point():
    rows = [{"of": "a", "beta": beta, "seed": s, "bound": beta + s} for beta in (1.0, 0.1) for s in (0, 1, 2)]
    found = pd.DataFrame(rows[:-1])
    x, runs = profiles.curve(found, "beta", "bound")
    assert x == [0.1, 1.0] and runs == [[0.1, 1.0], [1.1, 2.0]]
    assert profiles.below_the_top(found, "beta", "bound") == (x, [[0.9, 0.0], [pytest.approx(0.9), 0.0]])
    lines = profiles.as_markdown(found, "beta", {"bound": ("bound, nats", "{:.1f}")}).splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]] == [
        ["a", "1.0", "2.0 ± 1.0"],
        ["a", "0.1", "0.6 ± 0.7"],
    ]
