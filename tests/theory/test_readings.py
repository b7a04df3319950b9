r"""Readings of one model: what is read otherwise changes and nothing else; a refitted encoder is the better one."""

import math
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, kl_divergence

from vaelib.diagnostics.shown import effective_sample_size
from vaelib.likelihoods import CalibratedGaussian, FixedGaussian, PixelwiseGaussian
from vaelib.objectives import beta_elbo_nats, elbo_nats, log_weights
from vaelib.priors import LearnedFlow, LearnedMixture, StandardNormal
from vaelib.readings import refit_encoder, twin, with_prior
from vaelib.sampling import deterministic_sampling
from vaelib.seeding import seeded
from vaelib.vae import mlp_vae

over = pytest.mark.parametrize


def small(head=PixelwiseGaussian, prior=StandardNormal):
    """A VAE of six pixels."""
    return mlp_vae(shape=(2, 3), latent_dim=2, head=head, hidden=4, prior=prior)


def gradients(value, model):
    """Of all weights in one vector."""
    return torch.cat([part.flatten() for part in torch.autograd.grad(value.mean(), tuple(model.parameters()))])


@over("beta", [1e-3, 0.5, 6.0])
def test_the_objective_of_a_weight_is_that_of_the_twin_up_to_a_factor_and_a_constant(float64, beta):
    weighted, x = small(partial(FixedGaussian, sigma=0.7)), torch.rand(50, 6)
    other = twin(weighted, beta=beta)
    with seeded(0):
        objective = beta_elbo_nats(weighted, x, beta=beta)
    with seeded(0):
        elbo = elbo_nats(other, x)
    difference = objective - beta * elbo
    torch.testing.assert_close(difference, difference[0].expand(50))
    torch.testing.assert_close(gradients(objective, weighted), beta * gradients(elbo, other))


def test_a_twin_states_another_sigma_and_has_the_same_means_and_codes():
    vae, x = small(partial(FixedGaussian, sigma=2.0)), torch.rand(5, 6)
    other = twin(vae, beta=0.25)
    assert other.likelihood(torch.zeros(1, 2)).stddev.unique().item() == 1.0
    assert vae.likelihood(torch.zeros(1, 2)).stddev.unique().item() == 2.0
    assert torch.equal(other.posterior(x).mean, vae.posterior(x).mean)
    with seeded(0):
        means = deterministic_sampling(vae, 5)
    with seeded(0):
        assert torch.equal(deterministic_sampling(other, 5), means)


def test_without_a_weight_or_a_fixed_sigma_there_is_no_twin():
    with pytest.raises(ValueError, match="beta must be a positive"):
        twin(small(partial(FixedGaussian, sigma=1.0)), beta=0.0)
    with pytest.raises(TypeError, match="this model has a PixelwiseGaussian"):
        twin(small(), beta=0.5)


def test_another_prior_leaves_the_model_that_it_was_given_to_as_it_is():
    vae, z = small(), torch.randn(5, 2)
    other = with_prior(vae, LearnedMixture(latent_dim=2, components=3))
    assert type(vae.code_prior) is StandardNormal
    assert not torch.equal(other.prior.log_prob(z), vae.prior.log_prob(z))
    assert torch.equal(other.likelihood(z).mean, vae.likelihood(z).mean)


def test_a_refitted_encoder_arrives_at_the_best_of_its_family(linear):
    r"""For a linear decoder p(z|x) is Normal and known; of diagonal ones the best has its mean, and
    :math:`1 / \Lambda_{jj}` for variances, :math:`\Lambda` the precision.
    """
    vae, W, b, sigma, _ = linear
    start = deepcopy(vae)
    with torch.no_grad():
        for parameter in start.encoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = b + torch.randn(2_000, 2) @ W.T + sigma * torch.randn(2_000, 6)
    refitted = refit_encoder(start, elbo_nats, [x], images=200_000)
    precision = torch.eye(2) + W.T @ W / sigma**2
    posterior = MultivariateNormal((x - b) @ W @ torch.linalg.inv(precision) / sigma**2, precision_matrix=precision)

    def gap(model):
        q = model.posterior(x)
        full = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
        return kl_divergence(full, posterior).mean()

    best = (precision.diagonal().log().sum() - precision.logdet()) / 2
    assert gap(start) > best + 0.5
    assert best - 1e-9 < gap(refitted) < best + 0.02
    before, after = (effective_sample_size(log_weights(m, x[:100], samples=100)).mean() for m in (start, refitted))
    assert after > 2 * before  # nearer to p(z|x), more draws count


@over("head", [PixelwiseGaussian, CalibratedGaussian, partial(FixedGaussian, sigma=0.1)], ids=["own", "rule", "fixed"])
@over("prior", [StandardNormal, LearnedFlow], ids=["normal", "flow"])
def test_nothing_but_the_encoder_is_refitted_and_of_a_copy(head, prior):
    vae, x = small(head, prior), torch.rand(100, 6)
    elbo_nats(vae, x)  # a head that sets its own sigma has seen an image
    vae.eval()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    refitted = refit_encoder(vae, elbo_nats, [x], images=500)
    for name, value in refitted.state_dict().items():
        torch.testing.assert_close(vae.state_dict()[name], before[name], rtol=0, atol=0, equal_nan=True)
        same = torch.equal(value.nan_to_num(), before[name].nan_to_num())
        assert same is not name.startswith("encoder.")
    assert not refitted.training and all(p.requires_grad for p in vae.parameters())


def test_the_last_pass_is_completed():
    seen = []

    def objective(vae, x):
        seen.append(len(x))
        return elbo_nats(vae, x)

    refit_encoder(small(), objective, [torch.rand(100, 6)], images=150)
    assert seen == [64, 36, 64, 36]
    assert math.isclose(sum(seen), 200) and isinstance(small().posterior(torch.rand(1, 6)), Independent)
