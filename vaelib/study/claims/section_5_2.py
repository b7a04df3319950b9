r"""Section 5.2: the simple VAE."""

from vaelib.study.claims.criteria import EQUIVALENT, Case, Claim, at_least, at_most, between
from vaelib.study.claims.quantities import Quantity, baseline, of
from vaelib.study.measures import summary
from vaelib.study.models import floor_sweep

BOOK_FLOOR = "dequantised pixels, floor 1/(256 sqrt 12)"
#: The simple VAE with d = 20 over the floors of its sigma, by condition.
FLOORS = {
    f"{'dequantised' if dequantised else 'grey'} pixels, floor {floor:.2g}": model
    for dequantised in (True, False)
    for floor, model in floor_sweep(dequantised=dequantised).items()
}


def mse(model: str) -> Quantity:
    """Test MSE per pixel."""
    return of(summary, model, "mse")


C01 = Claim("C01", "5.2", "with two latent dimensions, reconstructions are blurry and some become another digit")
C01.tested[f"d = 2, {BOOK_FLOOR}"] = Case(
    {
        "test MSE over that of the mean image": at_least(0.5, mse("simple-d2") / baseline("mse_mean_image")),
        "share of reconstructions that the classifier takes for another digit": at_least(
            0.1, of(summary, "simple-d2", "label_change_rate")
        ),
    }
)

C02 = Claim("C02", "5.2", "the simple VAE with d = 20 reconstructs about as well as PCA with d = 10")
for condition, model in FLOORS.items():
    C02.tested[condition] = Case(
        {"test MSE over that of PCA with d = 10": between(*EQUIVALENT, mse(model) / baseline("mse_pca", "10"))}
    )

C03 = Claim("C03", "5.2", "ancestral samples are poor and lack diversity")
for d in (20, 2):
    C03.tested[f"d = {d}, {BOOK_FLOOR}"] = Case(
        {
            "Fréchet distance of ancestral samples over that of as many training images": at_least(
                10, of(summary, f"simple-d{d}", "frechet_ancestral") / baseline("frechet_train")
            ),
            "precision of ancestral samples": at_most(0.5, of(summary, f"simple-d{d}", "precision_ancestral")),
            "recall of ancestral samples": at_most(0.5, of(summary, f"simple-d{d}", "recall_ancestral")),
        }
    )
