r"""Section 5.6: what related work says of collapse."""

from collections.abc import Callable

from vaelib.study.claims.criteria import EQUIVALENT, Case, Claim, Criterion, at_least, at_most, between
from vaelib.study.claims.quantities import Quantity, constant, history, of
from vaelib.study.measures import latent, linear_optimum, summary
from vaelib.study.models import ENCODER_STEPS


def collapsed(model: str) -> Quantity:
    """Dimensions whose KL is nearly 0 for nearly all images."""
    return of(latent, model, "collapsed")


def inactive(model: str) -> Quantity:
    """Dimensions of 20 whose mean hardly varies over images."""
    return constant(20) - of(summary, model, "active_units")


def collapse(count: Callable[[str], Quantity], *, large: str) -> dict[str, Criterion]:
    """Some dimensions are collapsed at the large sigma, and none at sigma = 0.1, which is beta = 0.01."""
    return {
        "collapsed dimensions, large sigma": at_least(1, count(large)),
        "collapsed dimensions, sigma = 0.1": at_most(0, count("beta-0.01-d20")),
    }


def evidence_gap(model: str) -> Quantity:
    """ln p(x) of probabilistic PCA minus that of the trained model."""
    return of(linear_optimum, model, "ppca_evidence") - of(linear_optimum, model, "linear_evidence")


def early_information(model: str) -> Quantity:
    """Mutual information of x and z in nats, early in training."""
    return history(model, "train_mutual_information_nats", part=10)


C21 = Claim("C21", "5.6", "the ELBO of a linear VAE has the optimum of the log-likelihood")
for d in (2, 20):
    C21.tested[f"d = {d}, trained by one-sample ELBO and Adam"] = Case(
        {
            "test ln p(x) of pPCA minus that of the trained model, nats": between(
                -0.5, 0.5, evidence_gap(f"linear-d{d}")
            ),
            "largest angle between the two subspaces, degrees": at_most(
                2, of(linear_optimum, f"linear-d{d}", "angle_degrees")
            ),
        }
    )

C22 = Claim("C22", "5.6", "a small sigma removes posterior collapse")
C22.tested["collapse as KL < 0.01 nats for 99 % of images; sigma = 0.1 against 1, d = 20"] = Case(
    collapse(collapsed, large="sigma-1-d20")
)
C22.explored["collapse as inactive units; sigma = 0.1 against 1, d = 20"] = collapse(inactive, large="sigma-1-d20")
C22.explored["collapse as KL < 0.01 nats for 99 % of images; sigma = 0.1 against sqrt 6, d = 20"] = collapse(
    collapsed, large="beta-6-d20"
)

C23 = Claim("C23", "5.6", "an encoder that lags behind explains early collapse")
C23.tested[f"sigma = 1, d = 20; {ENCODER_STEPS} further encoder steps before each step; early"] = Case(
    {
        "mutual information after 1/10 of training or 1 epoch, with over without further steps": at_least(
            EQUIVALENT[1], early_information("encoder-first-d20") / early_information("sigma-1-d20")
        )
    }
)
C23.tested["the same, at the end"] = Case(
    {
        "active units at the end, with minus without further steps": at_least(
            1, of(summary, "encoder-first-d20", "active_units") - of(summary, "sigma-1-d20", "active_units")
        )
    }
)
