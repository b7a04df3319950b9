r"""Section 5.5: what the issues come from, and proposals."""

from vaelib.study.claims.criteria import EQUIVALENT, NOTICEABLY, Case, Claim, at_least, at_most, between
from vaelib.study.claims.quantities import Quantity, constant, largest, of
from vaelib.study.measures import bits, linear_optimum, variance
from vaelib.study.models import DIAL, beta_name


def variance_ratio(model: str) -> Quantity:
    """Trained sigma^2 over that of probabilistic PCA."""
    return (of(linear_optimum, model, "linear_sigma") / of(linear_optimum, model, "ppca_sigma")) ** 2


def explained(model: str) -> Quantity:
    """Share of the variance of the test images that the code explains, under the aggregate posterior."""
    return of(variance, model, "explained") / of(variance, model, "data")


def off_budget(model: str) -> Quantity:
    """Explained plus noise variance over that of the data, or its inverse, whichever is larger."""
    ratio = (of(variance, model, "explained") + of(variance, model, "noise")) / of(variance, model, "data")
    return largest([ratio, constant(1) / ratio])


C18 = Claim("C18", "5.5", "in probabilistic PCA the observed variance is the mean of the left-over eigenvalues")
for d in (2, 20):
    C18.tested[f"d = {d}, the linear VAE trained by its ELBO"] = Case(
        {
            "trained sigma^2 over the mean of the left-over eigenvalues": between(
                0.98, 1.02, variance_ratio(f"linear-d{d}")
            )
        }
    )

C19 = Claim("C19", "5.5", "how variance splits between z and x given z is not identified; each fix only sets the split")
C19.tested["the fixes move the split: the dial with sigma = 1, beta from 0.0001 to 6"] = Case(
    {
        "share of the data's variance that the code explains, smallest beta minus largest": at_least(
            0.5, explained("beta-0.0001-d20") - explained("beta-6-d20")
        )
    }
)
C19.tested["they do nothing else: the total stays that of the data along the dial"] = Case(
    {
        "largest ratio of explained plus noise variance to the data's, or its inverse": at_most(
            EQUIVALENT[1], largest([off_budget(beta_name(beta, latent_dim=20)) for beta in DIAL])
        )
    }
)
C19.tested["a better likelihood does not fix the split: one decoder, two ways to train its code"] = Case(
    {
        "bits per dimension, code of the calibrated model over code trained jointly": between(
            0.95, 1.05, of(bits, "neighbourhood-kept-d20", "bits") / of(bits, "neighbourhood-d20", "bits")
        ),
        "noise variance, code trained jointly over code of the calibrated model": at_least(
            EQUIVALENT[1], of(variance, "neighbourhood-d20", "noise") / of(variance, "neighbourhood-kept-d20", "noise")
        ),
    }
)

C20 = Claim("C20", "5.5", "independent pixels cannot carry the data's covariance (equation 5.7)")
C20.tested["in the residuals of the simple VAE, d = 20"] = Case(
    {
        "share of Var(sum of pixels) that is covariance, residuals of test images": at_least(
            0.5, of(variance, "simple-d20", "covariance_residuals")
        ),
        "the same, residuals as the model has them": between(
            -0.1, 0.1, of(variance, "simple-d20", "covariance_model_residuals")
        ),
    }
)
C20.tested["in its ancestral samples, where the code is drawn too"] = Case(
    {
        "share of Var(sum of pixels) that is covariance, samples over data": at_most(
            NOTICEABLY, of(variance, "simple-d20", "covariance_samples") / of(variance, "simple-d20", "covariance_data")
        )
    }
)
