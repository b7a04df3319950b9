r"""Section 5.3: common solutions, a weight on the KL, a fixed sigma, samples without noise."""

from vaelib.study.claims.criteria import EQUIVALENT, NOTICEABLY, Case, Claim, at_most, between
from vaelib.study.claims.quantities import Quantity, audited, largest, of, rises
from vaelib.study.claims.section_5_2 import BOOK_FLOOR, FLOORS, mse
from vaelib.study.measures import alpha_frechet, dial_arrival, dial_gradient, summary
from vaelib.study.measures.samples import ALPHAS
from vaelib.study.models import DIAL, beta_name


def along_dial(field: str) -> list[Quantity]:
    """A field of the summary with sigma = 1 and d = 20, from the smallest beta to the largest."""
    return [of(summary, beta_name(beta, latent_dim=20), field) for beta in DIAL]


def frechet_ratio(model: str) -> Quantity:
    """Frechet distance of deterministic samples over that of ancestral ones."""
    return of(summary, model, "frechet_deterministic") / of(summary, model, "frechet_ancestral")


def largest_over_alpha(limit: float) -> Quantity:
    """Largest Frechet distance of mu + alpha sigma with alpha up to the limit either way."""
    return largest([of(alpha_frechet, "simple-d20", f"{alpha:g}") for alpha in ALPHAS if abs(alpha) <= limit])


C04 = Claim("C04", "5.3.1", "a small beta reconstructs better than beta = 1")
C04.tested[f"d = 20, sigma = 1; simple VAE: {BOOK_FLOOR}"] = Case(
    {
        "test MSE, beta = 0.01 over beta = 1": at_most(NOTICEABLY, mse("beta-0.01-d20") / mse("sigma-1-d20")),
        "test MSE, beta = 0.01 over the simple VAE": at_most(NOTICEABLY, mse("beta-0.01-d20") / mse("simple-d20")),
    }
)
for condition, model in FLOORS.items():
    C04.explored[condition] = {
        "test MSE, beta = 0.01 over the simple VAE": at_most(NOTICEABLY, mse("beta-0.01-d20") / mse(model))
    }

C05 = Claim("C05", "5.3.1", "a larger beta pulls q(z|x) towards the prior")
C05.tested["d = 20, sigma = 1, beta from 0.0001 to 6"] = Case(
    {
        "steps of the sweep at which the KL does not fall": at_most(0, rises(along_dial("kl_nats"), strictly=False)),
        "steps of the sweep at which the number of active units grows": at_most(
            0, rises(along_dial("active_units"), strictly=True)
        ),
        "KL at beta = 6, nats": at_most(0.1, of(summary, "beta-6-d20", "kl_nats")),
    }
)

C06 = Claim("C06", "5.3.2", "sigma = 1 reconstructs noticeably better than a learned sigma")
C06.tested[f"d = 2, {BOOK_FLOOR}"] = Case(
    {"test MSE, sigma = 1 over learned": at_most(NOTICEABLY, mse("sigma-1-d2") / mse("simple-d2"))}
)
for condition, model in FLOORS.items():
    C06.tested[condition] = Case(
        {"test MSE, sigma = 1 over learned, d = 20": at_most(NOTICEABLY, mse("sigma-1-d20") / mse(model))}
    )

C07 = Claim("C07", "5.3.3", "deterministic samples look better than ancestral ones of the same model and the same z")
for condition, model in (
    (f"simple VAE, d = 20, {BOOK_FLOOR}", "simple-d20"),
    (f"simple VAE, d = 2, {BOOK_FLOOR}", "simple-d2"),
    ("sigma = 1, d = 20", "sigma-1-d20"),
    ("beta = 0.01, sigma = 1, d = 20", "beta-0.01-d20"),
):
    C07.tested[condition] = Case(
        {"Fréchet distance, deterministic over ancestral": at_most(NOTICEABLY, frechet_ratio(model))}
    )
for condition, model in FLOORS.items():
    C07.explored[condition] = {
        "Fréchet distance, deterministic over ancestral, simple VAE": at_most(NOTICEABLY, frechet_ratio(model))
    }

C08 = Claim("C08", "5.3.4", "sigma = 0.0001 reconstructs as well as a small beta")
C08.tested["d = 20, standard deviation 0.0001, beta = 0.01"] = Case(
    {"test MSE, sigma = 0.0001 over beta = 0.01": between(*EQUIVALENT, mse("sigma-0.0001-d20") / mse("beta-0.01-d20"))}
)

C09 = Claim("C09", "5.3.4", "fixing sigma and choosing beta are the same dial")
C09.tested["beta = 0.01, sigma = 1 against beta = 1, sigma = 0.1; d = 20"] = Case(
    {
        "relative difference of the scaled gradients, float64 (an identity, checked)": at_most(
            1e-06, of(dial_gradient, "beta-0.01-d20", "relative_difference")
        ),
        "root mean square difference of reconstructions after training, grey levels of [0, 1]": at_most(
            0.05, of(dial_arrival, "beta-0.01-d20", "rms_difference", twin="sigma-0.1-d20")
        ),
    }
)

C10 = Claim("C10", "5.3.4", "mu + alpha sigma is equally good for any alpha")
for limit in (2.0, 1.0, 0.5):
    C10.tested[f"simple VAE, d = 20, |alpha| up to {limit:g}"] = Case(
        {
            "largest Fréchet distance over that at alpha = 0": at_most(
                EQUIVALENT[1], largest_over_alpha(limit) / of(alpha_frechet, "simple-d20", "0")
            )
        }
    )

C24 = Claim("C24", "5.3.3", "no public implementation samples from p(x|z)")
C24.tested["the programs of the audit"] = Case(
    {"programs that show draws from p(x|z) by default": at_most(0, audited("draws_shown"))}
)
