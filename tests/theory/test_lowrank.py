r"""The low-rank covariance: its density, its draws, and the bound on its columns; in float64."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from vaelib.likelihoods.correlated import LARGEST, LowRankGaussian
from vaelib.likelihoods.gaussian import PixelwiseGaussian

pytestmark = pytest.mark.usefixtures("float64")
over = pytest.mark.parametrize

SHAPE, PIXELS, FEATURES = (3, 1, 2), 6, 5


def low_rank(rank=2):
    return LowRankGaussian(features=FEATURES, shape=SHAPE, rank=rank)


@over("rank", [1, 3])
def test_the_covariance_is_that_of_the_columns_and_of_the_pixels(rank):
    head, h, x = low_rank(rank), torch.randn(4, FEATURES), torch.rand(4, PIXELS)
    px_z = head(h)
    sigma = head.floor + torch.nn.functional.softplus(head.sigma(h))
    columns = LARGEST * sigma[:, :, None] * head.columns(h).reshape(4, PIXELS, rank).tanh()
    covariance = columns @ columns.mT + sigma.square().diag_embed()
    torch.testing.assert_close(px_z.covariance_matrix, covariance)
    dense = MultivariateNormal(torch.sigmoid(head.mu(h)), covariance)
    torch.testing.assert_close(px_z.log_prob(x), dense.log_prob(x))
    correlated = torch.linalg.eigvalsh(covariance / (sigma[:, :, None] * sigma[:, None, :])) > 1 + 1e-9
    assert (correlated.sum(dim=1) == rank).all()


def test_draws_have_the_covariance_of_the_low_rank_model_within_monte_carlo_error():
    px_z, draws = low_rank()(3 * torch.randn(FEATURES)), 20_000
    covariance, variances = px_z.covariance_matrix, px_z.variance
    error = ((variances[:, None] * variances + covariance.square()) / draws).sqrt()
    assert ((px_z.sample((draws,)).T.cov() - covariance) / error).abs().max() < 5


def test_without_columns_it_is_the_simple_likelihood():
    head, simple = low_rank(), PixelwiseGaussian(features=FEATURES, shape=SHAPE)
    simple.load_state_dict({k: v for k, v in head.state_dict().items() if not k.startswith("columns")})
    with torch.no_grad():
        head.columns[1].weight.zero_()
        head.columns[1].bias.zero_()
    h, x = torch.randn(4, FEATURES), torch.rand(4, PIXELS)
    torch.testing.assert_close(head(h).log_prob(x), simple(h).log_prob(x))


def test_gradients_reach_every_parameter_of_the_low_rank_model():
    head = low_rank()
    head(torch.randn(4, FEATURES)).log_prob(torch.rand(4, PIXELS)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


@over("setting", [{"rank": 0}, {"rank": 2, "floor": 0.0}])
def test_impossible_ranks_and_floors_are_refused(setting):
    with pytest.raises(ValueError, match="rank must be at least 1 and floor a positive standard deviation"):
        LowRankGaussian(features=FEATURES, shape=SHAPE, **setting)


def test_a_column_is_bounded_in_units_of_sigma_whatever_the_weights():
    head = low_rank()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(100)
    px_z = head(torch.randn(8, FEATURES))
    ratio = px_z.cov_factor.abs() / px_z.cov_diag.sqrt().unsqueeze(-1)
    assert ratio.max() <= LARGEST * (1 + 1e-9)
    assert ratio.max() > 0.99 * LARGEST
