r"""Every model by name: unlike all others, of one family, and trained under every seed that its role asks for."""

from functools import partial
from typing import get_args

import pytest
import torch

from vaelib.data import DEQUANTISATION_STD, PROFILES
from vaelib.objectives import autoencoder_objective, copy_elbo_nats, elbo_nats, elbo_terms, limit_objective
from vaelib.seeding import seeded
from vaelib.study import models
from vaelib.study.experiment import VaeExperiment
from vaelib.study.models import (
    Family,
    Role,
    UnknownNameError,
    behind_the_book,
    build_seeds,
    contenders,
    experiments,
    find,
    find_vae,
    seeds_of,
)
from vaelib.study.trained import config, key

over = pytest.mark.parametrize
ALL = {name: model for name, model in experiments().items() if isinstance(model, VaeExperiment)}
VAES = {name: model for name, model in ALL.items() if model.role != Role.SWEPT}


def names(members: dict[str, VaeExperiment], **labels: object) -> set[str]:
    """Those of the models whose fields have these values."""
    return {name for name, model in members.items() if all(getattr(model, k) == v for k, v in labels.items())}


# Names


def test_there_are_fifty_four_models_beside_the_swept_whose_names_are_the_keys_and_no_two_are_one():
    found = experiments("quick")
    assert len(found) == 55 + len(names(ALL, role=Role.SWEPT)) and len(VAES) == 54
    assert all(model.name == name for name, model in found.items())
    assert len({key(model) for model in found.values()}) == len(found)


def test_profile_and_seed_make_another_model():
    keys = {key(find("simple-d2", profile, seed=seed)) for profile in PROFILES for seed in (0, 1)}
    assert len(keys) == 2 * len(PROFILES)


def test_every_profile_has_the_same_models_for_the_same_purposes():
    labels = [
        {(m.name, m.purpose, m.family, m.role, m.no_density) for m in experiments(profile).values()}
        for profile in PROFILES
    ]
    assert labels[0] == labels[1] == labels[2]


def test_the_classifier_is_the_same_under_every_seed():
    assert find("classifier", seed=0) == find("classifier", seed=7)


@over(
    "ask",
    [
        lambda: find("simple-d3"),
        lambda: models.chosen(["simple-d3*"]),
        lambda: experiments("medium"),
        lambda: find_vae("classifier"),
    ],
)
def test_unknown_names_are_refused_with_a_word_on_what_there_is(ask):
    with pytest.raises(UnknownNameError, match=r"simple-d20|quick, full|is no VAE"):
        ask()


def test_names_and_patterns_choose_each_model_once_and_no_name_chooses_the_book():
    asked = ["sigma-1-d*", "weighed-[13]-calibrated-d20", "sigma-1-d2", "classifier"]
    expected = ["sigma-1-d20", "sigma-1-d2", "weighed-3-calibrated-d20", "classifier"]
    found = models.chosen(asked, "full", seed=4)
    assert [key(model) for model in found] == [key(find(name, "full", seed=4)) for name in expected]
    assert [model.name for model in models.chosen(None)] == list(models.of_the_book()) == ["classifier", *VAES]


def test_the_command_line_knows_the_profiles_of_the_data():
    from vaelib.build.cli import Profile

    assert get_args(Profile) == PROFILES


# Roles decide the seeds


@over("count", [1, 3])
def test_a_model_of_the_book_is_trained_under_the_seeds_of_the_build_and_a_swept_one_under_none(count, monkeypatch):
    monkeypatch.setattr(models, "BUILD_SEEDS", count)
    assert build_seeds(3) == tuple(range(3, 3 + count))
    needed = behind_the_book("full", seed=3)
    seeds = {name: [m.seed for m in needed if m.name == name] for name in experiments()}
    assert {name for name, found in seeds.items() if not found} == names(ALL, role=Role.SWEPT)
    assert {tuple(seeds[name]) for name in VAES} == {build_seeds(3)} and seeds["classifier"] == [0]
    assert seeds_of(find("classifier"), seed=3) == (0,)


def test_a_build_trains_each_model_once():
    assert models.BUILD_SEEDS == 1 and set(Role) == {Role.BOOK, Role.SWEPT}


def test_what_is_swept_are_the_sweeps_the_copies_and_the_neighbourhood_alone():
    started = ("profile-", "weighed-", "length-", "calibrated-d", "per-pixel-", "copy-", "neighbourhood-alone-")
    fit = {name for name in ALL if name.startswith(started)}
    assert names(ALL, role=Role.SWEPT) == fit - {"calibrated-d20", "copy-0.2-d20"}


@over("profile", PROFILES)
def test_the_book_needs_each_of_its_models_once(profile):
    needed = behind_the_book(profile, seed=3)
    assert len(needed) == len({key(model) for model in needed}) == 55
    assert {model.name for model in needed} == {"classifier", *VAES}


def test_what_a_model_starts_from_is_of_the_book_too():
    started = {model.start.name for model in VAES.values() if model.start}
    assert started <= VAES.keys() and {"linear-d2", "linear-d20"} <= started


# Families


def test_the_simple_vae_is_that_of_the_papers_at_any_floor():
    assert names(VAES, family=Family.SIMPLE) == {name for name in VAES if name.startswith(("simple-", "floor-"))}


def test_common_is_what_public_programs_do():
    started = ("bernoulli-", "beta-", "sigma-", "digit-", "limit-", "autoencoder-", "continuous-", "shared-", "geco-")
    assert names(VAES, family=Family.COMMON) == {name for name in VAES if name.startswith(started)}


def test_all_others_are_proposals():
    started = (
        "linear-",
        "polished-",
        "encoder-first-",
        "calibrated-",
        "structured-",
        "low-rank-",
        "discretised-",
        "neighbourhood-",
        "copy-",
    )
    assert names(VAES, family=Family.PROPOSAL) == {name for name in VAES if name.startswith(started)}


def test_what_has_no_likelihood_says_why():
    squared = "squared error alone, no likelihood"
    bernoulli = dict.fromkeys((f"bernoulli-d{d}" for d in models.GALLERY_DIMS), "Bernoulli on grey pixels, no density")
    without = {name: model.no_density for name, model in VAES.items() if model.no_density}
    assert without == bernoulli | {"limit-d20": squared, "autoencoder-d20": squared}


# What they are


@over("name", ALL)
def test_the_weight_of_each_model_is_what_its_objective_puts_on_the_kl(name):
    """L = E ln p(x|z) - beta KL, with one draw of z; the squared errors have no KL to weigh."""
    model, x = ALL[name], torch.rand(3, 36)
    vae = model.build((6, 6))
    elbo_nats(vae, x)  # a head that sets its own sigma has seen an image
    vae.eval()
    with seeded(1):
        objective = model.objective(vae, x)
    if model.objective in (limit_objective, autoencoder_objective):
        assert model.beta == 1 and "squared error" in model.no_density
        return
    if model.objective is copy_elbo_nats:  # has another draw to make than the two terms; tests/theory/test_copies.py
        assert model.beta == 1 and name.startswith("copy-")
        return
    with seeded(1):
        terms = elbo_terms(vae, x)
    torch.testing.assert_close(objective, terms.log_px_z - model.beta * terms.kl)
    assert f"{model.beta:g}" in name or model.beta == 1


def test_all_models_share_one_architecture():
    assert {model.hidden for model in ALL.values()} == {400}


def test_the_simple_vae_has_the_floor_of_the_dequantisation_noise():
    simple = find_vae("simple-d20")
    assert simple.dequantised
    assert config(simple)["head"] == {"PixelwiseGaussian": [[], {"floor": DEQUANTISATION_STD}]}


def test_sweeps_name_models_that_exist_in_the_order_of_their_floors():
    for dequantised in (True, False):
        sweep = models.floor_sweep(dequantised=dequantised)
        assert list(sweep) == sorted(sweep) and len(sweep) == 4
        for floor, name in sweep.items():
            assert find_vae(name).head.keywords == {"floor": floor}
            assert find_vae(name).dequantised is dequantised


def test_every_point_of_the_dial_is_a_model():
    for beta in models.DIAL:
        model = find_vae(models.beta_name(beta, latent_dim=20))
        assert (model.latent_dim, model.beta) == (20, beta)
        assert isinstance(model.head, partial) and model.head.keywords == {"sigma": 1.0}


def test_structured_names_are_those_of_their_windows():
    for radius in models.RADII:
        assert find_vae(models.structured_name(radius)).head.keywords == {"radius": radius}
    assert models.structured_name(0) == "simple-d20"


def test_every_vae_with_twenty_dimensions_and_all_digits_is_a_contender():
    expected = {name for name in VAES if name.endswith("-d20") or name.startswith("floor-")}
    assert {model.name for model in contenders("quick", seed=0)} == expected
    assert {model.seed for model in contenders("quick", seed=4)} == {4}
