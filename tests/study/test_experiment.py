r"""An experiment determines its model bit for bit: the networks, the loss, and what is written down of the training."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import save

from vaelib.data import Dataset, Images
from vaelib.likelihoods import FixedGaussian, PixelwiseGaussian
from vaelib.objectives import beta_elbo_nats, elbo_nats
from vaelib.priors import LearnedFlow
from vaelib.seeding import seeded
from vaelib.study.experiment import LABELS, LinearVaeExperiment, VaeExperiment, train
from vaelib.training import NonFiniteLossError, Step
from vaelib.vae import VAE

SHAPE = (6, 5)
TINY = VaeExperiment(
    name="tiny", purpose="a test", epochs=2, batch_size=32, latent_dim=2, hidden=8, head=PixelwiseGaussian
)


def noise() -> Dataset:
    """64 images of noise to train and 32 to test."""
    levels = torch.randint(0, 256, (96, 30), generator=torch.Generator().manual_seed(1))
    both = Images(levels / 255, torch.arange(96) % 10, SHAPE)
    return Dataset(both[:64], both[64:], "noise", "quick", "noise", "0" * 64)


def weights(model) -> bytes:
    """All bits of a model's parameters."""
    return save(model.state_dict())


# One seed, one model


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    torch.manual_seed(1)
    first = train(TINY, noise())
    torch.manual_seed(2)
    second = train(TINY, noise())
    assert weights(first.model) == weights(second.model)
    assert (first.metrics, first.history) == (second.metrics, second.history)


def test_another_seed_gives_other_weights():
    assert weights(train(TINY, noise()).model) != weights(train(TINY.at(seed=1), noise()).model)


def test_labels_change_no_bit():
    renamed = replace(TINY, **dict.fromkeys(LABELS, "other"))
    assert weights(train(renamed, noise()).model) == weights(train(TINY, noise()).model)


def test_training_runs_on_one_thread_and_gives_the_others_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = []
        train(TINY, noise(), on_epoch=lambda epoch: seen.append((epoch, torch.get_num_threads())))
        assert (seen, torch.get_num_threads()) == ([(1, 1), (2, 1)], 3)
    finally:
        torch.set_num_threads(threads)


def test_training_leaves_the_callers_randomness_untouched():
    state = torch.get_rng_state()
    train(TINY, noise())
    assert torch.equal(torch.get_rng_state(), state)


def test_seeded_restores_the_state_even_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3):
        {}[torch.rand(3)]
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(3):
        draw = torch.rand(3)
    with seeded(3):
        assert torch.equal(torch.rand(3), draw)


# The loss, and what is written down


def test_the_loss_is_minus_the_objective_on_the_chosen_digit():
    experiment = replace(TINY, digit=7, dequantised=False)
    digits, vae = noise().train, experiment.build(SHAPE)
    (images,) = experiment.examples(digits)
    assert torch.equal(images, digits.images[digits.labels == 7])
    with seeded(1):
        loss = experiment.loss(vae, images)
    with seeded(1):
        assert torch.equal(loss, -elbo_nats(vae, images))


def test_dequantised_pixels_stay_within_their_grey_level_and_others_are_as_they_are():
    x = noise().train.images
    noisy = TINY.pixels(x)
    assert torch.equal((noisy * 256).floor(), (x * 255).round()) and not torch.equal(noisy, x)
    assert replace(TINY, dequantised=False).pixels(x) is x


def test_the_history_holds_the_mean_loss_of_each_epoch(monkeypatch):
    steps = [(1, 1, False, 1.0), (2, 1, True, 2.0), (3, 2, False, 3.0), (4, 2, True, 4.0)]
    monkeypatch.setattr(
        "vaelib.study.experiment.fit",
        lambda *args, **settings: (Step(*rest, torch.tensor(loss)) for *rest, loss in steps),
    )
    assert train(TINY, noise()).history["train_loss"] == [1.5, 3.5]


def test_the_history_follows_the_codes_over_the_epochs():
    found = train(replace(TINY, epochs=3), noise())
    assert {len(values) for values in found.history.values()} == {3}
    assert found.history["train_loss"][-1] < found.history["train_loss"][0]
    x = noise().train.images
    assert found.history["train_sigma_z"][-1] == pytest.approx(found.model.posterior(x).stddev.mean().item())


def test_the_metrics_are_the_two_terms_of_the_test_elbo():
    outcome = train(replace(TINY, dequantised=False, learning_rate=1e-9, epochs=1), noise())
    x = noise().test.images
    kl = torch.distributions.kl_divergence(outcome.model.posterior(x), outcome.model.prior).mean().item()
    assert outcome.metrics["test_kl_nats"] == pytest.approx(kl)
    assert outcome.metrics.keys() == {"test_log_px_z_nats", "test_kl_nats"}


# The networks


def test_a_vae_experiment_builds_the_one_architecture_at_any_size():
    experiment = VaeExperiment(name="a", purpose="b", epochs=1, latent_dim=3, head=PixelwiseGaussian)
    for shape, pixels in (((28, 28), 784), ((3, 4, 5), 60)):
        vae = experiment.build(shape)
        assert isinstance(vae, VAE)
        shapes = {name: tuple(tensor.shape) for name, tensor in vae.named_parameters() if name.endswith("weight")}
        assert shapes == {
            "encoder.body.0.weight": (400, pixels),
            "encoder.mu.weight": (3, 400),
            "encoder.sigma.weight": (3, 400),
            "decoder.body.0.weight": (400, 3),
            "head.mu.weight": (pixels, 400),
            "head.sigma.weight": (pixels, 400),
        }


def test_the_linear_vae_is_linear_and_has_the_head_and_prior_of_its_own():
    linear = LinearVaeExperiment(name="a", purpose="b", epochs=1, latent_dim=2)
    vae = linear.build(SHAPE)
    z = torch.randn(5, 2)
    mean = vae.likelihood(z).mean
    torch.testing.assert_close(vae.likelihood(2 * z).mean - mean, mean - vae.likelihood(0 * z).mean)
    for own in ({"head": PixelwiseGaussian}, {"prior": LearnedFlow}):
        with pytest.raises(ValueError, match="a head and a prior of its own"):
            replace(linear, **own)


def test_the_weight_of_the_kl_is_that_of_the_objective_and_one_where_it_has_none_to_set():
    assert TINY.beta == 1
    assert replace(TINY, objective=partial(beta_elbo_nats, beta=0.25)).beta == 0.25
    assert replace(TINY, objective=partial(elbo_nats)).beta == 1


# What cannot be


@pytest.mark.parametrize("latent_dim", [0, -1])
def test_a_code_has_a_dimension(latent_dim):
    with pytest.raises(ValueError, match=f"latent_dim must be at least 1, got {latent_dim}"):
        replace(TINY, latent_dim=latent_dim)


@pytest.mark.parametrize("learning_rate", [1e-3, 1e30], ids=["in the loss", "after the last step"])
def test_a_model_that_is_not_finite_is_an_error(learning_rate):
    broken = replace(TINY, epochs=1, batch_size=64, learning_rate=learning_rate)
    if learning_rate < 1:
        broken = replace(broken, head=partial(FixedGaussian, sigma=1e-30))
    with pytest.raises(NonFiniteLossError, match="the likely cause is"):
        train(broken, noise())


def test_the_weights_of_a_start_are_given_if_and_only_if_there_is_one():
    start = train(TINY, noise()).model.state_dict()
    for experiment, given in ((TINY, start), (replace(TINY, start=TINY), None)):
        with pytest.raises(ValueError, match="give the weights of its start if and only if it has one"):
            train(experiment, noise(), weights=given)
