r"""Section 5.1: what a VAE is used for."""

from vaelib.study.claims.criteria import NOTICEABLY, Case, Claim, at_least, at_most
from vaelib.study.claims.quantities import accuracy, asked, real
from vaelib.study.classifier import JUDGES
from vaelib.study.measures import few_labels, judged_data, label_controls, midpoints_judged, sample_controls
from vaelib.study.measures.baselines import label_data
from vaelib.study.measures.codes import LABEL_COUNTS

#: What a few labelled images more would bring: two images in a hundred.
GAINED = 0.02
C30 = Claim("C30", "5.1.2", "codes that were learned without labels help a classifier that has few")
GAIN = "accuracy on codes minus that on pixels"
for count in LABEL_COUNTS:
    on_pixels = accuracy(label_data, "pixels", count)
    C30.tested[f"{count:,} labels; simple VAE, d = 20"] = Case(
        {GAIN: at_least(GAINED, accuracy(few_labels, "simple-d20", count) - on_pixels)},
        must_meet={
            "features that were learned from all labels": {
                GAIN: accuracy(label_controls, "learned from labels", count) - on_pixels
            }
        },
        must_miss={"random projections": {GAIN: accuracy(label_controls, "random projections", count) - on_pixels}},
    )

C31 = Claim("C31", "5.1.2", "between two codes lie images: the codes follow the manifold of the data")
BETWEEN = {
    judge: f"Fréchet distance half-way between two codes over half-way between two images, {judge} judges"
    for judge in JUDGES
}


for words, model in (("simple VAE", "simple-d20"), ("sigma = 0.1", "sigma-0.1-d20")):
    C31.tested[f"{words}, d = 20"] = Case(
        {
            metric: at_most(
                NOTICEABLY,
                asked(midpoints_judged, model, f"midpoints_{judge}")
                / real(sample_controls, "half-way between images", f"frechet_{judge}"),
            )
            for judge, metric in BETWEEN.items()
        },
        must_meet={
            "real images": {
                metric: real(judged_data, "real", f"frechet_{judge}")
                / real(sample_controls, "half-way between images", f"frechet_{judge}")
                for judge, metric in BETWEEN.items()
            }
        },
        must_miss={
            "half-way between codes of PCA, d = 20": {
                metric: real(sample_controls, "half-way by PCA", f"frechet_{judge}")
                / real(sample_controls, "half-way between images", f"frechet_{judge}")
                for judge, metric in BETWEEN.items()
            }
        },
    )
