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
for words, model in (("simple VAE", "simple-d20"), ("Bernoulli on grey pixels", "bernoulli-d20")):
    for count in LABEL_COUNTS:
        on_pixels = accuracy(label_data, "pixels", count)
        C30.tested[f"{words}, d = 20; {count:,} labels"] = Case(
            {GAIN: at_least(GAINED, accuracy(few_labels, model, count) - on_pixels)},
            must_meet={
                "features that were learned from all labels": {
                    GAIN: accuracy(label_controls, "learned from labels", count) - on_pixels
                }
            },
            must_miss={"random projections": {GAIN: accuracy(label_controls, "random projections", count) - on_pixels}},
        )

C31 = Claim("C31", "5.1.2", "between two codes lie images: the codes follow the manifold of the data")
BETWEEN = "Fréchet distance half-way between two codes over half-way between two images"
for words, model in (("simple VAE", "simple-d20"), ("sigma = 0.1", "sigma-0.1-d20")):
    for judge in JUDGES:
        field = f"frechet_{judge}"
        in_pixels = real(sample_controls, "half-way between images", field)
        C31.tested[f"{words}, d = 20; {judge} judges"] = Case(
            {BETWEEN: at_most(NOTICEABLY, asked(midpoints_judged, model, f"midpoints_{judge}") / in_pixels)},
            must_meet={"real images": {BETWEEN: real(judged_data, "real", field) / in_pixels}},
            must_miss={
                "half-way between codes of PCA, d = 20": {
                    BETWEEN: real(sample_controls, "half-way by PCA", field) / in_pixels
                }
            },
        )
