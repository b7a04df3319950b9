r"""Models that start from another: what is taken over, what is held, and the steps that are taken from there."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from vaelib import mnist
from vaelib.data import load
from vaelib.likelihoods import FixedGaussian, PixelwiseGaussian, StructuredGaussian
from vaelib.networks import DecoderBody, Encoder
from vaelib.objectives import elbo_nats
from vaelib.priors import LearnedFlow, LearnedMixture
from vaelib.study.experiment import LABELS, VaeExperiment, train
from vaelib.study.trained import entry, fetch, key, silently
from vaelib.training import NonFiniteLossError, fit
from vaelib.vae import VAE

over = pytest.mark.parametrize

START = VaeExperiment(
    name="first", purpose="a test", epochs=1, batch_size=64, latent_dim=2, hidden=8, head=PixelwiseGaussian
)
NEXT = replace(START, name="second", epochs=2, start=START, kept=("encoder", "head.mu"))
FLOW = partial(LearnedFlow, transforms=1, hidden=4)
MIXTURE = partial(LearnedMixture, components=3)


def quietly(experiment):
    """The fetched model."""
    return fetch(experiment, report=silently).vae


# Configurations


def test_another_seed_or_profile_is_one_for_the_start_too():
    moved = NEXT.at(seed=7)
    assert (moved.seed, moved.start.seed) == (7, 7)
    assert moved.start == START.at(seed=7)
    full = NEXT.at(profile="full")
    assert (full.profile, full.start.profile, full.start.seed) == ("full", "full", 0)
    chain = replace(NEXT, start=NEXT).at(seed=3)
    assert chain.start.start.seed == 3
    assert NEXT.at() == NEXT


def test_the_key_depends_on_the_start_and_on_all_that_makes_it():
    starts = [None, START, replace(START, epochs=3), START.at(seed=1), replace(START, hidden=9), NEXT]
    assert len({key(replace(START, start=start)) for start in starts}) == len(starts)
    assert key(replace(NEXT, start=replace(START, **dict.fromkeys(LABELS, "other")))) == key(NEXT)


def test_the_key_depends_on_code_that_only_the_start_uses(monkeypatch):
    structured = partial(StructuredGaussian, radius=1)
    following = replace(NEXT, start=replace(START, head=structured), kept=("encoder",))
    keys = []
    for edition in ("first", "first", "second"):
        code = lambda *roots, edition=edition: edition if structured in roots else "same"  # noqa: E731
        monkeypatch.setattr("vaelib.study.trained.code_digest", code)
        keys.append(key(following))
    assert keys[0] == keys[1] != keys[2]


def test_the_key_depends_on_what_is_kept_and_on_how_steps_are_taken():
    changes = [
        {},
        {"kept": ()},
        {"kept": ("encoder",)},
        {"decay": True},
        {"encoder_steps": 1},
        {"encoder_steps": 2},
        {"prior": FLOW},
        {"prior": MIXTURE},
        {"prior": LearnedMixture},
    ]
    assert len({key(replace(NEXT, **change)) for change in changes}) == len(changes)


@pytest.mark.usefixtures("noise")
def test_the_record_holds_the_configuration_of_the_start():
    record = fetch(NEXT, report=silently).record
    assert record["config"] == NEXT.config()
    assert record["config"]["start"] == START.config()


def test_nothing_can_be_kept_without_a_start():
    with pytest.raises(ValueError, match=r"kept parts need a model to start from, got \('encoder',\) and none"):
        replace(START, kept=("encoder",))


# What is taken over


@pytest.mark.usefixtures("noise")
def test_the_start_is_trained_first_and_once():
    lines = []
    for _ in range(2):
        fetch(NEXT, report=lines.append)
    fetch(START, report=lines.append)
    said = [line.split(" in ")[0].replace(" (quick, seed 0)", "") for line in lines]
    assert said == ["first: trained", "second: trained", "second: loaded", "first: loaded"]


@pytest.mark.usefixtures("noise")
@over("kept", [("encoder",), ("decoder",), ("head",), ("head.mu", "encoder.body"), ("encoder", "decoder", "head.mu")])
def test_what_is_kept_is_the_starts_bit_for_bit_and_all_else_moves(kept):
    before, after = (quietly(replace(experiment)).state_dict() for experiment in (START, replace(NEXT, kept=kept)))
    for name, value in after.items():
        if name.startswith(tuple(f"{part}." for part in kept)):
            assert torch.equal(value, before[name])
        elif not name.startswith("code_prior."):
            assert not torch.equal(value, before[name])


@pytest.mark.usefixtures("noise")
def test_what_is_not_kept_starts_from_where_the_start_ended():
    before = quietly(START).state_dict()
    hardly = replace(NEXT, kept=(), learning_rate=1e-9, epochs=1)
    for name, value in quietly(hardly).state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-7)
    afresh = quietly(replace(hardly, start=None, seed=1)).state_dict()
    assert not torch.allclose(afresh["encoder.mu.weight"], before["encoder.mu.weight"], atol=1e-3)


def test_a_part_that_only_one_model_has_starts_afresh():
    weights = {name: torch.full_like(value, 0.5) for name, value in START.build(mnist.SHAPE).state_dict().items()}
    other = replace(NEXT, head=partial(StructuredGaussian, radius=1), kept=("decoder",), prior=FLOW)
    vae = other.build(mnist.SHAPE)
    fresh = {name: value.clone() for name, value in vae.state_dict().items()}
    other.take_over(vae, weights)
    for name, value in vae.state_dict().items():
        expected = weights[name] if name in weights else fresh[name]
        assert torch.equal(value, expected)
    held = {name for name, parameter in vae.named_parameters() if not parameter.requires_grad}
    assert held == {"decoder.body.0.weight", "decoder.body.0.bias"}


@over(
    ("change", "part"),
    [
        ({"kept": ("head.gates",)}, "head.gates"),
        ({"kept": ("nothing",)}, "nothing"),
        ({"kept": ("head",), "head": partial(StructuredGaussian, radius=1)}, "head"),
        ({"kept": ("head.gates",), "head": partial(StructuredGaussian, radius=1)}, "head.gates"),
        ({"kept": ("head.sigma",), "head": partial(FixedGaussian, sigma=1.0)}, "head.sigma"),
        ({"kept": ("encoder",), "hidden": 9}, "encoder"),
        ({"kept": ("encoder", "decoder"), "latent_dim": 3}, "encoder"),
        ({"kept": ("code_prior",), "prior": MIXTURE}, "code_prior"),
    ],
    ids=str,
)
def test_a_part_that_both_models_do_not_have_cannot_be_kept(change, part):
    experiment = replace(NEXT, **change)
    with pytest.raises(ValueError, match=f"'{part}' cannot be kept: second and its start have no such part in common"):
        experiment.take_over(experiment.build(mnist.SHAPE), START.build(mnist.SHAPE).state_dict())


@pytest.mark.usefixtures("noise")
def test_a_start_that_does_not_fit_leaves_nothing():
    unfit = replace(NEXT, hidden=9)
    with pytest.raises(ValueError, match="cannot be kept"):
        fetch(unfit, report=silently)
    assert not entry(unfit).exists()


@pytest.mark.usefixtures("noise")
@over("prior", [MIXTURE, FLOW], ids=["mixture", "flow"])
def test_a_learned_prior_is_trained_and_comes_back_from_the_cache(prior):
    experiment = replace(START, prior=prior)
    model = train(experiment, load("quick")).model
    fetched = [quietly(experiment).state_dict() for _ in range(2)]
    for name, value in model.state_dict().items():
        assert torch.equal(fetched[0][name], value) and torch.equal(fetched[1][name], value)
    torch.manual_seed(experiment.seed)
    untrained = experiment.build(mnist.SHAPE).code_prior.state_dict()
    assert any(not torch.equal(value, model.code_prior.state_dict()[name]) for name, value in untrained.items())


# Steps of the encoder alone


def small_vae():
    """Six pixels, two latent dimensions."""
    return VAE(
        encoder=Encoder(pixels=6, latent_dim=2, hidden=5),
        decoder=DecoderBody(latent_dim=2, hidden=5),
        head=FixedGaussian(features=5, shape=(2, 3), sigma=0.3),
        latent_dim=2,
    )


def flat(module):
    """All parameters in one vector, a copy."""
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


@over("inner_steps", [1, 3])
def test_between_two_steps_only_the_encoder_moves(inner_steps):
    vae, seen = small_vae(), []

    def loss(x):
        seen.append((len(x), flat(vae.encoder), torch.cat([flat(vae.decoder), flat(vae.head)])))
        return -elbo_nats(vae, x)

    settings = {"epochs": 2, "batch_size": 10, "inner": tuple(vae.encoder.parameters()), "inner_steps": inner_steps}
    steps = list(fit(vae, loss, (torch.rand(25, 6),), **settings))
    assert len(steps) == 6
    own = [10] * inner_steps
    assert [count for count, _, _ in seen] == 2 * [*own, 10, *own, 10, *own, 5]
    for number, ((_, encoder, rest), (_, next_encoder, next_rest)) in enumerate(pairwise(seen), start=1):
        assert not torch.equal(encoder, next_encoder)
        assert torch.equal(rest, next_rest) == (number % (inner_steps + 1) != 0)


def test_without_steps_of_its_own_nothing_is_drawn_for_the_encoder():
    results = []
    for inner in (False, True):
        torch.manual_seed(1)
        vae = small_vae()
        settings = {"inner": tuple(vae.encoder.parameters())} if inner else {}
        list(fit(vae, lambda x: -elbo_nats(vae, x), (torch.rand(20, 6),), epochs=2, batch_size=10, **settings))  # noqa: B023
        results.append(flat(vae))
    assert torch.equal(*results)


def test_an_experiment_gives_its_encoder_the_steps(noise, monkeypatch):
    calls = []
    monkeypatch.setattr("vaelib.study.experiment.fit", lambda *args, **settings: calls.append(settings) or iter(()))
    experiment = replace(START, encoder_steps=4, decay=True)
    model = train(experiment, load("quick")).model
    (settings,) = calls
    assert (settings["inner_steps"], settings["decay"]) == (4, True)
    assert [id(p) for p in settings["inner"]] == [id(p) for p in model.encoder.parameters()]


def test_further_steps_of_the_encoder_close_the_gap_that_one_leaves():
    """A decoder that is fixed: with k inner steps for each step the encoder has come further."""
    elbos = []
    for inner_steps in (0, 10):
        torch.manual_seed(1)
        vae, x = small_vae(), torch.rand(64, 6)
        with torch.no_grad():
            vae.decoder.body[0].weight.mul_(3)
            vae.head.mu.weight.mul_(3)
        for part in (vae.decoder, vae.head):
            part.requires_grad_(False)
        settings = {"inner": tuple(vae.encoder.parameters()), "inner_steps": inner_steps}
        list(fit(vae, lambda x: -elbo_nats(vae, x), (x,), epochs=10, batch_size=32, **settings))  # noqa: B023
        elbos.append(elbo_nats(vae, x.expand(200, 64, 6)).mean().item())
    assert elbos[1] > elbos[0] + 0.1


def test_a_bad_step_of_the_encoder_is_not_taken():
    vae = small_vae()
    before = flat(vae)
    x = torch.full((20, 6), torch.nan)
    settings = {"inner": tuple(vae.encoder.parameters()), "inner_steps": 1}
    with pytest.raises(NonFiniteLossError, match=r"at step 1 \(epoch 1\).*training data"):
        list(fit(vae, lambda x: -elbo_nats(vae, x), (x,), epochs=1, **settings))
    assert torch.equal(flat(vae), before)


# Decay


def positions(**settings):
    """Where the weight is after each step down a line: Adam's step is then exactly the learning rate."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    steps = fit(model, lambda x: model(x).sum(-1), (torch.ones(20, 1),), batch_size=5, learning_rate=0.1, **settings)
    return torch.tensor([0.0, *(model.weight.item() for _ in steps)])


def test_with_decay_step_k_of_n_takes_what_is_left_of_the_learning_rate():
    steps = -positions(epochs=3, decay=True).diff()
    torch.testing.assert_close(steps, 0.1 * (1 - torch.arange(12) / 12), rtol=1e-4, atol=1e-6)


def test_without_decay_all_steps_are_of_one_size():
    torch.testing.assert_close(-positions(epochs=3).diff(), torch.full((12,), 0.1), rtol=1e-4, atol=1e-6)


def test_the_model_of_few_and_of_many_steps_ends_as_small_as_its_number_says():
    for epochs in (1, 10):
        last = -positions(epochs=epochs, decay=True).diff()[-1]
        torch.testing.assert_close(last, torch.tensor(0.1 / (4 * epochs)), rtol=1e-3, atol=1e-6)
