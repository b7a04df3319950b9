r"""Section 5.6: what related work says of collapse."""

from vaelib.study.claims.criteria import EQUIVALENT, Case, Claim, Kind, at_least, at_most, between
from vaelib.study.claims.quantities import Quantity, constant, history, of, real
from vaelib.study.measures import latent, linear_optimum, linear_scale, linear_theory, summary
from vaelib.study.models import ENCODER_STEPS
from vaelib.study.sweeps import polished_name


def collapsed(model: str) -> Quantity:
    """Dimensions whose KL is nearly 0 for nearly all images."""
    return of(latent, model, "collapsed")


def inactive(model: str) -> Quantity:
    """Dimensions of 20 whose mean hardly varies over images."""
    return constant(20) - of(summary, model, "active_units")


def inactive_in_theory(beta: str) -> Quantity:
    """Directions of 20 that the best linear VAE with sigma = 1 and this weight leaves out."""
    return constant(20) - real(linear_theory, beta, "active")


def evidence_gap(model: str) -> Quantity:
    """ln p(x) of probabilistic PCA minus that of the trained model."""
    return of(linear_optimum, model, "ppca_evidence") - of(linear_optimum, model, "linear_evidence")


def early_information(model: str) -> Quantity:
    """Mutual information of x and z in nats, early in training."""
    return history(model, "train_mutual_information_nats", part=10)


C21 = Claim(
    "C21",
    "5.6",
    "the ELBO of a linear VAE has the optimum of the log-likelihood",
    kind=Kind.THEOREM,
    changed="A theorem (Lucas et al. 2019), checked on a linear VAE that was trained to the end, scale and all.",
)
for d in (2, 20):
    model = polished_name(f"linear-d{d}")
    C21.checked[f"d = {d}, trained by Adam, then to the end by L-BFGS on the bound without draws"] = {
        "tr W W^T over that of pPCA": between(0.99, 1.01, of(linear_scale, model, "trace_ratio")),
        "test ln p(x) of pPCA minus that of the trained model, nats": between(-0.1, 0.1, evidence_gap(model)),
        "trained sigma over that of pPCA": between(
            0.999, 1.001, of(linear_optimum, model, "linear_sigma") / of(linear_optimum, model, "ppca_sigma")
        ),
        "largest angle between the two subspaces, degrees": at_most(1, of(linear_optimum, model, "angle_degrees")),
    }

C22 = Claim("C22", "5.6", "a small sigma removes posterior collapse")
MANY, NONE = "collapsed dimensions, large sigma", "collapsed dimensions, sigma = 0.1"
C22.tested["collapse as KL < 0.01 nats for 99 % of images; sigma = 0.1 against 1, d = 20"] = Case(
    {MANY: at_least(1, collapsed("sigma-1-d20")), NONE: at_most(0, collapsed("beta-0.01-d20"))},
    must_meet={
        "the best linear VAEs, by their formulas": {MANY: inactive_in_theory("1"), NONE: inactive_in_theory("0.01")}
    },
    must_miss={"sigma = 1 on both sides": {MANY: collapsed("sigma-1-d20"), NONE: collapsed("sigma-1-d20")}},
)
C22.explored["collapse as inactive units; sigma = 0.1 against 1, d = 20"] = {
    MANY: at_least(1, inactive("sigma-1-d20")),
    NONE: at_most(0, inactive("beta-0.01-d20")),
}
C22.explored["collapse as KL < 0.01 nats for 99 % of images; sigma = 0.1 against sqrt 6, d = 20"] = {
    MANY: at_least(1, collapsed("beta-6-d20")),
    NONE: at_most(0, collapsed("beta-0.01-d20")),
}

C23 = Claim("C23", "5.6", "an encoder that lags behind explains early collapse")
EARLY = "mutual information after 1/10 of training or 1 epoch, with over without further steps"
C23.tested[f"sigma = 1, d = 20; {ENCODER_STEPS} further encoder steps before each step; early"] = Case(
    {EARLY: at_least(EQUIVALENT[1], early_information("encoder-first-d20") / early_information("sigma-1-d20"))},
    must_meet={
        "beta = 0.1 over beta = 1": {EARLY: early_information("beta-0.1-d20") / early_information("sigma-1-d20")}
    },
    must_miss={
        "one model, trained twice": {EARLY: early_information("sigma-0.1-d20") / early_information("beta-0.01-d20")}
    },
)


def units(one: str, other: str) -> Quantity:
    """Active units at the end, of one model minus another."""
    return of(summary, one, "active_units") - of(summary, other, "active_units")


LATE = "active units at the end, with minus without further steps"
C23.tested["the same, at the end"] = Case(
    {LATE: at_least(1, units("encoder-first-d20", "sigma-1-d20"))},
    must_meet={"beta = 0.5 minus beta = 1": {LATE: units("beta-0.5-d20", "sigma-1-d20")}},
    must_miss={"one model, trained twice": {LATE: units("sigma-0.1-d20", "beta-0.01-d20")}},
)
