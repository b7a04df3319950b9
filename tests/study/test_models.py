r"""Every model by name: frozen, unlike all others, and trained under every seed that a claim needs."""

import pytest

from vaelib.build.cli import Profile
from vaelib.data import DEQUANTISATION_STD, PROFILES
from vaelib.study import models as catalogue
from vaelib.study.models import UnknownNameError, behind_the_book, claim_seeds, experiments, find, find_vae


def test_names_are_the_keys_and_no_two_models_are_one():
    models = experiments("quick")
    assert all(model.name == name for name, model in models.items())
    assert len({model.key for model in models.values()}) == len(models)


def test_profile_and_seed_make_another_model():
    keys = {find("simple-d2", profile, seed=seed).key for profile in PROFILES for seed in (0, 1)}
    assert len(keys) == 2 * len(PROFILES)


def test_the_yardstick_is_the_same_under_every_seed():
    assert find("classifier", seed=0).key == find("classifier", seed=7).key


def test_the_book_needs_every_model_once_and_the_claims_theirs_under_every_seed():
    needed = behind_the_book("quick", seed=3)
    assert len({model.key for model in needed}) == len(needed)
    assert {model.name for model in needed} == set(experiments("quick"))
    assert {m.seed for m in needed if m.name == "simple-d20"} == set(claim_seeds("quick", 3))


def test_all_models_share_one_architecture():
    vaes = [find_vae(name) for name in experiments() if name != "classifier"]
    assert {vae.hidden for vae in vaes} == {400}


def test_the_simple_vae_has_the_floor_of_the_dequantisation_noise():
    simple = find_vae("simple-d20")
    assert simple.dequantised
    assert simple.config()["head"] == {"vaelib.likelihoods.PixelwiseGaussian": [[], {"floor": DEQUANTISATION_STD}]}


def test_sweeps_name_models_that_exist_in_the_order_of_their_floors():
    for dequantised in (True, False):
        sweep = catalogue.floor_sweep(dequantised=dequantised)
        assert list(sweep) == sorted(sweep)
        for floor, name in sweep.items():
            assert find_vae(name).head.keywords == {"floor": floor}
            assert find_vae(name).dequantised is dequantised


def test_every_point_of_the_dial_is_a_model():
    for beta in catalogue.DIAL:
        assert find_vae(catalogue.beta_name(beta, latent_dim=20)).latent_dim == 20


@pytest.mark.parametrize(
    "ask", [lambda: find("simple-d3"), lambda: experiments("medium"), lambda: find_vae("classifier")]
)
def test_unknown_names_are_refused_with_a_word_on_what_there_is(ask):
    with pytest.raises(UnknownNameError, match=r"simple-d20|quick, full|is no VAE"):
        ask()


def test_the_command_line_knows_the_profiles_of_the_data():
    assert {profile.value for profile in Profile} == set(PROFILES)
