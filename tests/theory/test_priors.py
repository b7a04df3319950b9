r"""Learned priors are densities, their draws follow them, and bounds under them stay bounds; in float64."""

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from vaelib.diagnostics.evidence import quadrature_evidence_nats
from vaelib.diagnostics.latent import elbo_surgery, kl_per_dimension_nats
from vaelib.linear import evidence_nats
from vaelib.networks import diagonal_normal
from vaelib.objectives import elbo_nats, iwae_bound_nats, kl_nats
from vaelib.priors import LearnedFlow, LearnedMixture, SmoothedPosterior, StandardNormal, fit_neighbours
from vaelib.seeding import seeded
from vaelib.vae import VAE

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize


def mixture(latent_dim, components=3):
    """A learned mixture with weights, means and widths of its own."""
    prior = LearnedMixture(latent_dim=latent_dim, components=components)
    with torch.no_grad():
        prior.logits.copy_(torch.randn(components))
        prior.log_sigma.copy_(torch.randn(components, latent_dim) / 4 - 0.3)
    return prior


def flow(latent_dim):
    """A learned flow that is far from the identity."""
    prior = LearnedFlow(latent_dim=latent_dim, transforms=2, hidden=8)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(1.2)
    return prior


def smoothed(latent_dim):
    """A mixture with full covariances."""
    return fit_neighbours(posteriors(30, latent_dim), neighbours=12)


def posteriors(count, latent_dim):
    """Of so many images."""
    return diagonal_normal(torch.randn(count, latent_dim), torch.rand(count, latent_dim) / 2 + 0.2)


PRIORS = {
    "standard": lambda latent_dim: StandardNormal(latent_dim=latent_dim),
    "mixture": mixture,
    "flow": flow,
    "smoothed": smoothed,
}
LEARNED = ("mixture", "flow")


def within_error(draws, expected, *, errors=5, slack=0.0):
    """Whether the mean over the first dimension is `expected` up to so many standard errors and a slack."""
    return ((draws.mean(0) - expected).abs() <= errors * draws.std(0) / len(draws) ** 0.5 + slack).all()


def plane(radius=12.0, nodes=301):
    """Nodes of a square grid in the plane and the area of each."""
    axis = torch.linspace(-radius, radius, nodes)
    return torch.cartesian_prod(axis, axis), (axis[1] - axis[0]) ** 2


# Densities


@over("name", PRIORS)
@torch.no_grad()
def test_every_prior_integrates_to_one_over_the_line(name):
    z = torch.linspace(-30, 30, 20_001)
    integral = torch.trapezoid(PRIORS[name](1)().log_prob(z[:, None]).exp(), z)
    torch.testing.assert_close(integral, torch.tensor(1.0), rtol=0, atol=1e-5)


@over("name", PRIORS)
@torch.no_grad()
def test_every_prior_integrates_to_one_over_the_plane(name):
    z, area = plane()
    integral = PRIORS[name](2)().log_prob(z).exp().sum() * area
    torch.testing.assert_close(integral, torch.tensor(1.0), rtol=0, atol=1e-3)


@over("name", PRIORS)
@torch.no_grad()
def test_draws_have_the_moments_of_the_density(name):
    prior = PRIORS[name](2)()
    z, area = plane()
    weights = prior.log_prob(z).exp() * area
    draws = prior.sample((20_000,))
    assert draws.shape == (20_000, 2)
    for statistic in (lambda z: z, lambda z: z.square(), lambda z: z.prod(dim=1, keepdim=True), lambda z: z.sin()):
        exact = (weights[:, None] * statistic(z)).sum(dim=0)
        assert within_error(statistic(draws), exact, slack=1e-3)  # the slack is the quadrature's


def test_equal_components_are_one_component():
    one, three = LearnedMixture(latent_dim=2, components=1), mixture(2)
    with torch.no_grad():
        three.mu.copy_(one.mu.expand(3, 2))
        three.log_sigma.copy_(one.log_sigma.expand(3, 2))
    z = torch.randn(50, 2)
    torch.testing.assert_close(three().log_prob(z), one().log_prob(z))
    torch.testing.assert_close(one().log_prob(z), diagonal_normal(one.mu[0], one.log_sigma[0].exp()).log_prob(z))


# The divergence from them


def one_component():
    """A mixture of one Normal, which torch takes for a mixture, and the same Normal, whose divergence is closed."""
    prior = mixture(2, components=1)
    return prior, diagonal_normal(prior.mu[0], prior.log_sigma[0].exp())


def test_the_one_sample_divergence_from_a_learned_prior_has_the_closed_form_as_its_mean():
    prior, normal = one_component()
    qz_x = diagonal_normal(torch.randn(4, 2), torch.rand(4, 2) + 0.2)
    draws = kl_nats(qz_x, prior(), qz_x.rsample((20_000,)))
    assert draws.shape == (20_000, 4)
    assert (draws.std(dim=0) > 0.1).all()  # it is no closed form
    assert within_error(draws, kl_divergence(qz_x, normal))


def test_the_one_sample_divergence_has_the_gradient_of_the_closed_form_as_its_mean():
    prior, normal = one_component()
    mu, sigma = (torch.randn(2).requires_grad_(), (torch.rand(2) + 0.2).requires_grad_())
    qz_x = diagonal_normal(mu, sigma)
    learned = (mu, sigma, prior.mu, prior.log_sigma)
    exact = torch.autograd.grad(kl_divergence(qz_x, normal), learned)
    sampled = torch.autograd.grad(kl_nats(qz_x, prior(), qz_x.rsample((200_000,))).mean(), learned)
    for mean, expected in zip(sampled, exact, strict=True):
        torch.testing.assert_close(mean, expected, rtol=0, atol=0.03 * max(1.0, expected.abs().max().item()))


@over("name", PRIORS)
def test_the_divergence_of_a_learned_prior_from_itself_is_zero_at_every_draw(name):
    prior = PRIORS[name](2)()
    assert kl_nats(prior, prior, prior.sample((20,))).abs().max() < 1e-12


@over("name", LEARNED)
def test_a_learned_prior_has_no_divergence_per_dimension(name, linear):
    linear.vae.code_prior = PRIORS[name](2)
    with pytest.raises(ValueError, match="no divergence per dimension"):
        kl_per_dimension_nats(linear.vae, linear.x)


# Bounds


def mixture_evidence(prior, linear):
    r""":math:`\ln \sum_c \pi_c\, N(x; W m_c + b, W S_c W^T + \sigma^2 I)`, `[B]`."""
    components = []
    for mu, log_sigma in zip(prior.mu, prior.log_sigma, strict=True):
        W = linear.W * log_sigma.exp()
        components.append(evidence_nats(linear.x, W, linear.b + linear.W @ mu, linear.sigma))
    return (prior.logits.log_softmax(dim=0)[:, None] + torch.stack(components)).logsumexp(dim=0)


@torch.no_grad()
def test_the_evidence_under_a_mixture_is_closed_and_the_quadrature_finds_it(linear):
    linear.vae.code_prior = mixture(2)
    exact = mixture_evidence(linear.vae.code_prior, linear)
    torch.testing.assert_close(quadrature_evidence_nats(linear.vae, linear.x), exact, rtol=0, atol=1e-3)


@over("name", LEARNED)
@torch.no_grad()
def test_bounds_under_a_learned_prior_stay_below_the_evidence_and_reach_it(name, linear):
    vae, x = linear.vae, linear.x
    vae.code_prior = PRIORS[name](2)
    evidence = quadrature_evidence_nats(vae, x)
    elbo = elbo_nats(vae, x.expand(4_000, 8, 6))
    assert (elbo.mean(0) < evidence + 4 * elbo.std(0) / 4_000**0.5).all()
    assert elbo.mean() < evidence.mean()
    tighter = iwae_bound_nats(vae, x.expand(4_000, 8, 6), samples=8)
    assert (tighter.mean(0) < evidence + 4 * tighter.std(0) / 4_000**0.5).all()
    assert elbo.mean() < tighter.mean() < evidence.mean() + 0.01
    tight = iwae_bound_nats(vae, x, samples=100_000)
    torch.testing.assert_close(tight, evidence, rtol=0, atol=0.1)


@over("name", LEARNED)
def test_the_elbo_moves_every_parameter_of_a_learned_prior(name, linear):
    linear.vae.code_prior = PRIORS[name](2)
    elbo_nats(linear.vae, linear.x).sum().backward()
    for parameter in linear.vae.code_prior.parameters():
        assert parameter.grad is not None
    assert sum(parameter.grad.abs().sum() for parameter in linear.vae.code_prior.parameters()) > 0.1


# Elbo surgery


class Codes(nn.Module):
    """An encoder that gives the n-th image the n-th of these Gaussians."""

    def __init__(self, mu, sigma):
        super().__init__()
        self.mu, self.sigma = mu, sigma

    def forward(self, x):
        return diagonal_normal(self.mu, self.sigma)


def codes(mu, sigma, prior):
    """A VAE with these codes."""
    return VAE(
        encoder=Codes(mu, sigma), decoder=nn.Identity(), head=nn.Identity(), latent_dim=mu.shape[1], code_prior=prior
    )


def test_with_the_aggregate_posterior_as_prior_nothing_is_left_but_information():
    mu, sigma = 2 * torch.randn(40, 3), torch.rand(40, 3) + 0.2
    aggregate = fit_neighbours(diagonal_normal(mu, sigma), neighbours=1)
    surgery = elbo_surgery(codes(mu, sigma, aggregate), torch.zeros(40, 1))
    assert surgery.kl == pytest.approx(surgery.mutual_information)
    assert surgery.aggregate_mismatch == pytest.approx(0, abs=1e-9)
    assert surgery.kl > 0.5


def test_surgery_with_a_mixture_of_one_agrees_with_the_closed_form_of_the_normal():
    mu, sigma = torch.randn(400, 2), torch.rand(400, 2) + 0.2
    normal = LearnedMixture(latent_dim=2, components=1)
    torch.nn.init.zeros_(normal.mu)
    exact = kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0)).sum(dim=1).mean()
    sampled = torch.tensor([elbo_surgery(codes(mu, sigma, normal), torch.zeros(400, 1)).kl for _ in range(50)])
    assert sampled.std() > 1e-3
    assert within_error(sampled, exact)


# The prior that is fitted afterwards


def as_mixture(means, covariances):
    """The mixture of these Normals, by torch."""
    weights = Categorical(logits=torch.zeros(len(means)))
    return MixtureSameFamily(weights, MultivariateNormal(means, covariances))


def test_with_one_neighbour_it_is_the_aggregate_posterior():
    qz_x, z = posteriors(40, 3), torch.randn(20, 3)
    aggregate = as_mixture(qz_x.mean, qz_x.variance.diag_embed())
    torch.testing.assert_close(fit_neighbours(qz_x, neighbours=1)().log_prob(z), aggregate.log_prob(z))


def test_with_all_neighbours_it_is_the_normal_with_the_moments_of_all_codes():
    qz_x, z = posteriors(40, 3), torch.randn(20, 3)
    covariance = qz_x.mean.T.cov(correction=0) + qz_x.variance.mean(dim=0).diag()
    normal = MultivariateNormal(qz_x.mean.mean(dim=0), covariance)
    torch.testing.assert_close(fit_neighbours(qz_x, neighbours=40)().log_prob(z), normal.log_prob(z))


def test_between_them_every_component_has_the_moments_of_the_posteriors_around_one():
    qz_x = posteriors(700, 2)  # in more than one batch
    means, covariances = [], []
    for mu in qz_x.mean:
        near = (qz_x.mean - mu).norm(dim=1).argsort()[:9]
        among = as_mixture(qz_x.mean[near], qz_x.variance[near].diag_embed())
        means.append(among.mean)
        draws = qz_x.mean[near].T.cov(correction=0) + qz_x.variance[near].mean(dim=0).diag()
        torch.testing.assert_close(draws.diagonal(), among.variance)
        covariances.append(draws)
    found = fit_neighbours(qz_x, neighbours=9)()
    torch.testing.assert_close(found.means, torch.stack(means), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.scale_tril @ found.scale_tril.mT, torch.stack(covariances), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.mean, torch.stack(means).mean(dim=0))


def test_the_density_is_that_of_torch_near_and_far_from_narrow_components():
    qz_x = diagonal_normal(3 * torch.randn(300, 5) + 10, torch.rand(300, 5) / 100 + 1e-3)
    found = fit_neighbours(qz_x, neighbours=4)()
    z = torch.cat([found.sample((200,)), 30 * torch.randn(50, 5)])
    exact = as_mixture(found.means, found.scale_tril @ found.scale_tril.mT).log_prob(z)
    torch.testing.assert_close(found.log_prob(z), exact, rtol=1e-6, atol=1e-5)
    single = fit_neighbours(diagonal_normal(qz_x.mean.float(), qz_x.stddev.float()), neighbours=4)()
    error = single.log_prob(z[:200].float()) - exact[:200]  # where codes are, in single precision
    assert error.abs().max() < 0.2
    assert error.abs().mean() < 0.03


def test_the_density_has_a_gradient_in_the_code():
    prior = smoothed(2)()
    z = torch.randn(3, 4, 2, requires_grad=True)
    assert torch.autograd.gradcheck(prior.log_prob, z)


def test_smoothing_is_more_likely_on_codes_that_were_set_aside_than_learning_them_by_heart():
    mu = torch.randn(2_000, 4) @ torch.randn(4, 4)
    seen = diagonal_normal(mu[:1_000], torch.full((1_000, 4), 0.05))
    aside = mu[1_000:] + 0.05 * torch.randn(1_000, 4)
    heart, smooth, normal = (fit_neighbours(seen, neighbours=k)().log_prob(aside).mean() for k in (1, 30, 1_000))
    assert smooth > heart + 1
    assert normal > smooth > normal - 0.5  # the codes are Normal, so that nothing is better than the last


@over("neighbours", [0, -1, 41])
def test_the_number_of_neighbours_is_between_one_and_that_of_the_codes(neighbours):
    with pytest.raises(ValueError, match="between 1 and the number of codes, 40"):
        fit_neighbours(posteriors(40, 2), neighbours=neighbours)


def test_fitting_draws_nothing_and_keeps_the_precision_of_the_codes():
    qz_x = diagonal_normal(torch.randn(200, 2).float(), torch.full((200, 2), 0.1).float())
    state = torch.get_rng_state()
    prior = fit_neighbours(qz_x, neighbours=10)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(prior, SmoothedPosterior)
    assert prior().sample((3,)).dtype == prior().log_prob(qz_x.mean).dtype == torch.float32


def test_a_prior_travels_with_the_weights_of_its_model():
    for make in PRIORS.values():
        first, second = make(2), make(2)
        second.load_state_dict(first.state_dict())
        z = torch.randn(20, 2)
        torch.testing.assert_close(second().log_prob(z), first().log_prob(z))
        with seeded(1):
            draw = first().sample()
        with seeded(1):
            torch.testing.assert_close(second().sample(), draw)
