r"""Sentences of the text that state a finding: each is true of the stored results, or a test says which is not.

The sentence carries `<!-- finding: NAME -->`; `TRUE` says what of the results it rests on. All of them speak of the
results of the profile `full`.
"""

import json
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from vaelib.study import evidence, fair, ladder, reference
from vaelib.study.findings import finding, quoted, shown
from vaelib.study.judging import Verdict
from vaelib.study.models import COPY_NOISES, copy_name
from vaelib.study.verdicts import tally

BOOK = Path(__file__).parents[2] / "book"
RESULTS, EVIDENCE = (BOOK / "results" / name for name in ("full.json", "evidence/full.json"))
MARK = re.compile(r"<!-- finding: (\S+) -->")
#: 'About the same': within a tenth.
ALIKE = 0.1
DIAL = ("beta = 0.01", "sigma = 0.0001")
KINDS = ("ancestral", "deterministic")
JUDGES = ("spoiled", "clean")
#: Models of the verdict, and ways to sample them.
COPY, KEPT = copy_name(COPY_NOISES[0]), "neighbourhood-kept-d20"
AUTOENCODED, OWN, MEANS = "sigma-0.0001-d20", "own_ancestral", "fitted_deterministic_frechet_clean"
#: Rungs of the ladder.
COPIES = tuple(ladder.TRAINED[copy_name(noise)] for noise in COPY_NOISES)
KEPT_RUNG, ALONE = ladder.TRAINED[KEPT], ladder.TRAINED["neighbourhood-alone-d20"]
#: The same, as conditions name them.
IN_JUDGES = tuple(f"{judge} judges; " for judge in JUDGES)
BOOK_FLOOR, LOWEST = "dequantised pixels, floor 0.0011", "grey pixels, floor 0.0001"
GREY = tuple(f"floor {floor};" for floor in ("0.1", "0.01", "0.001", "0.0001"))
FLOORS = (
    *(f"dequantised pixels, floor {floor};" for floor in ("0.1", "0.01", "0.0011", "0.0001")),
    *(f"grey pixels, {floor}" for floor in GREY),
)


class Found:
    """The stored results, as the sentences ask for them."""

    def __init__(self, records, stored):
        self.records = records
        self.by_id = {record.id: record for record in records}
        self.stored = stored

    def mean(self, frame, model, column):
        """Of a column of a stored frame for one model, over the seeds."""
        found = self.stored.fair() if frame == "fair" else self.stored.frame(frame)
        return found.loc[found["model"] == model, column].mean()

    def profile(self, frame, column):
        """Over what is swept, the mean over the seeds."""
        return self.stored.frame(frame).groupby(frame.removeprefix("over_").replace("dims", "d"))[column].mean()

    def below(self, frame, value):
        """Nats that are missing to the highest bound there."""
        bound = self.profile(frame, "train_bound")
        return bound.max() - bound[value]

    def rung(self, name, column):
        """Of a rung of the ladder, over the seeds."""
        found = self.stored.frame("ladder")
        return found.loc[found["rung"] == name, column].mean()

    def real(self, judge):
        """The distance of real training images."""
        return self.mean("references", "real", f"frechet_{judge}")

    def contest(self, judge, *models, samples="fitted_ancestral"):
        """These models, by these samples, against the best of all common recipes."""
        return fair.contest(self.stored.fair(), judge, samples=(samples,), models=models)

    def verdict(self, claim):
        return self.by_id[claim].verdict

    def count(self, verdict):
        """How many measurements have it."""
        return tally(self.records)[verdict]

    def value(self, claim, *words, control=""):
        """The mean over the seeds."""
        return finding(self.records, claim, *words, control=control).mean

    def values(self, claim, *words):
        return finding(self.records, claim, *words).values

    def met(self, claim, *words, control=""):
        """Whether the criterion is met under every seed with a value; None if under some only."""
        met = set(finding(self.records, claim, *words, control=control).met) - {None}
        return met.pop() if len(met) == 1 else None


def rises(values):
    return all(low < high for low, high in pairwise(values))


TRUE = {
    "labels-few": lambda f: (
        f.met("C30", "simple VAE", "; 100 labels") is True
        and f.met("C30", "simple VAE", "1,000 labels") is False
        and f.met("C30", "simple VAE", "3,000 labels") is False
    ),
    "labels-bernoulli": lambda f: all(
        f.value("C30", "Bernoulli", f"; {n} labels") < 0.02 for n in ("100", "300", "1,000", "3,000")
    ),
    "manifold-simple": lambda f: all(0.8 < f.value("C31", "simple VAE", judge) < 1 for judge in JUDGES),
    "manifold-sigma": lambda f: all(f.met("C31", "sigma = 0.1", judge) for judge in JUDGES),
    # 5.2
    "pca-full": lambda f: f.value("C02", BOOK_FLOOR) < f.value("C02", BOOK_FLOOR, control="PCA with d = 20") < 1,
    "pca-lowest": lambda f: [f.met("C02", floor) for floor in FLOORS].count(True) == 1 and f.met("C02", LOWEST) is True,
    "blurred": lambda f: (
        f.verdict("C01") == Verdict.HOLDS
        and f.value("C01", "edges") < f.value("C01", "edges", control="the image, blurred")
        and f.value("C01", "label") > 5 * f.value("C01", "label", control="the image, blurred")
    ),
    "poor-samples": lambda f: all(f.value("C03", "d = 20", judge, "own noise") > 5 for judge in IN_JUDGES),
    "noise-innocent": lambda f: all(
        abs(f.value("C07", "simple VAE, d = 20", judge) - 1) < 2 * ALIKE for judge in IN_JUDGES
    ),
    "diversity": lambda f: all(f.met("C03", "d = 20", judge, "; recall") for judge in IN_JUDGES),
    "floor-grey": lambda f: rises([f.value("C02", f"grey pixels, {floor}") for floor in GREY]),
    "floor-dequantised": lambda f: (
        abs(f.value("C02", "dequantised pixels, floor 0.0001") / f.value("C02", BOOK_FLOOR) - 1) < ALIKE
        and 0.5 < f.value("C02", "dequantised pixels, floor 0.01") / f.value("C02", BOOK_FLOOR) < 0.65
    ),
    "controls-tell": lambda f: f.verdict("C03") == Verdict.HOLDS,
    # 5.3
    "small-beta": lambda f: f.value("C04", "d = 20") < 0.5,
    "fixed-worse": lambda f: (
        1.1 < f.value("C06", f"d = 20, {BOOK_FLOOR}") < f.value("C06", "dequantised pixels, floor 0.1")
    ),
    "fixed-lowest": lambda f: (
        [f.met("C06", f"d = 20, {floor}") for floor in FLOORS].count(True) == 1 and f.met("C06", LOWEST) is True
    ),
    "fixed-two": lambda f: 0.7 < f.value("C06", "d = 2,") < 1,
    "means-simple": lambda f: all(f.met("C07", "simple VAE, d = 20", judge) is False for judge in IN_JUDGES),
    "means-two": lambda f: (
        2.5 < f.value("C07", "simple VAE, d = 2,", IN_JUDGES[0]) < 3.5
        and f.value("C07", "simple VAE, d = 2,", IN_JUDGES[1]) > 1
    ),
    "means-beta": lambda f: all(f.met("C07", "beta = 0.01", judge) for judge in IN_JUDGES),
    "means-one": lambda f: (
        f.value("C07", "; sigma = 1, d = 20; spoiled") > 1 and f.met("C07", "; sigma = 1, d = 20; clean") is True
    ),
    "quantiles": lambda f: all(
        f.met("C10", f"alpha = -{alpha} and", judge) is False for alpha in ("0.5", "1", "2") for judge in IN_JUDGES
    ),
    "moved-fitted": lambda f: all(
        f.met("C26", f"{kind} samples", "a mixture", judge) for kind in KINDS for judge in IN_JUDGES
    ),
    "moved-own": lambda f: (
        f.met("C26", "deterministic samples", "N(0, I)", IN_JUDGES[0]) is True
        and f.value("C26", "deterministic samples", "N(0, I)", IN_JUDGES[1]) > 1
    ),
    "correlated": lambda f: f.met("C28", "d = 20;") is True and f.met("C28", "d = 2;") is not True,
    "independent": lambda f: f.verdict("C29") == Verdict.HOLDS,
    # 5.4
    "automatic": lambda f: all(f.value("C25", words, "nats") < 0 for words in ("one sigma, learned;", "closed form")),
    "geco": lambda f: f.value("C25", "GECO") > 10,
    "widths": lambda f: f.value("C14", "spread") > 2 and f.value("C14", "width") < 0.001,
    "collapse": lambda f: f.verdict("C12") == Verdict.HOLDS,
    "small-sigma-collapse": lambda f: f.verdict("C22") == Verdict.HOLDS,
    "misplaced": lambda f: all(
        f.value("C11", dial, "d = 20", "clean judges; Fréchet")
        > 2 * f.value("C11", dial, "d = 20", "spoiled judges; Fr")
        > 4
        for dial in DIAL
    ),
    "misplaced-two": lambda f: all(f.value("C11", dial, "d = 2;", "spoiled judges; Fréchet") < 1.5 for dial in DIAL),
    "shape-not-spread": lambda f: (
        1.5 < f.value("C11", "beta", "d = 20", "clean judges; variance") < 2.5
        and f.value("C11", "beta", "d = 2;", "clean judges; variance") > 4
        and all(
            f.value("C11", "beta", "d = 20", f"{judge}Fréchet")
            > 2 * f.value("C11", "beta", "d = 2;", f"{judge}Fréchet")
            for judge in IN_JUDGES
        )
    ),
    "sameness": lambda f: f.met("C13", "variance") is True,
    "at-its-stop": lambda f: (
        f.verdict("C13") == Verdict.UNMEASURED
        and all(f.value("C13", f"precision of mu_x(z), digit-4-beta-{beta}") < 0.02 for beta in ("0.01", "6"))
    ),
    "no-bound": lambda f: f.value("C15", "share of test images whose objective") > 0.8,
    "limit": lambda f: (
        f.value("C16", "sigma_z") < 0.01 < 0.5 * f.value("C16", "sigma_z", control="beta = 0.01")
        and abs(f.value("C16", "sigma_z", control="a plain autoencoder, which never asks sigma_z") - 1) < ALIKE
    ),
    # 5.5
    "scale": lambda f: abs(f.value("C21", "d = 20", "tr W") - 1) < 0.01,
    "stated": lambda f: (
        f.met("C27", "squared error") is True
        and f.value("C27", "squared error", control="one sigma at its optimum") < 1.25
    ),
    "stated-window": lambda f: 1 < f.value("C27", "window") < f.value("C27", "squared error"),
    "neighbours": lambda f: f.met("C20", "residuals of test images") is True,
    "carried": lambda f: f.value("C20", "simple VAE", "sum") < 0.5 and f.value("C20", "flow as prior") > 0.8,
    "kept-and-joint": lambda f: (
        abs(f.value("C19", "nats that the code")) < min(30, f.value("C19", "nats that the bound") / 20)
        and all(f.met("C19", f"size, neighbourhood{name}") for name in ("-d20", "-kept-d20"))
    ),
    "split-free": lambda f: f.value("C19", "noise variance") > 2,
    "split-fixed": lambda f: f.value("C19", "nats that the bound") > 100,
    "sigma-sharp": lambda f: (
        0.05 < f.profile("over_sigma", "train_bound").idxmax() < 0.15
        and f.below("over_sigma", 0.3) > 100
        and f.profile("over_sigma", "explained")[0.3] < f.profile("over_sigma", "explained")[0.1] - 0.03
    ),
    "dims-dial": lambda f: (
        f.profile("over_dims", "explained")[2] < 0.5 and f.profile("over_dims", "explained")[100] > 0.85
    ),
    "dims-nats": lambda f: f.profile("over_dims", "train_bound").idxmax() > 20 and f.below("over_dims", 20) > 100,
    "copy-dial": lambda f: (
        max(f.rung(copy, "bits") for copy in COPIES) - min(f.rung(copy, "bits") for copy in COPIES) < 0.05
        and f.rung(COPIES[0], "explained") > 0.8 > 0.4 > f.rung(COPIES[2], "explained")
        and f.rung(COPIES[1], "bits") == min(f.rung(copy, "bits") for copy in COPIES)
    ),
    "copy-informs": lambda f: abs(f.rung(COPIES[0], "explained") / f.rung("one sigma", "explained") - 1) < ALIKE,
    "ladder-shape": lambda f: (
        f.rung("one sigma", "bits") - f.rung("sigma of the mean", "bits") > 1
        and f.rung("sigma of the mean, as levels", "bits") < 0.6 * f.rung("sigma of the mean", "bits")
        and f.rung("histogram of levels", "bits") < 0.6 * f.rung("sigma of the mean, as levels", "bits")
        and 0 < f.rung("sigma of the mean", "bits") - f.rung("autoregression 5 x 5", "bits") < 0.2
    ),
    "ladder-dependent": lambda f: (
        f.rung(KEPT_RUNG, "bits") < f.rung("histogram of levels", "bits")
        and f.rung(KEPT_RUNG, "frechet_spoiled") < 0.6 * f.rung("histogram of levels", "frechet_spoiled")
        and f.rung(KEPT_RUNG, "frechet_clean") < 0.8 * f.rung("histogram of levels", "frechet_clean")
    ),
    "ladder-alone": lambda f: (
        f.rung(ALONE, "bits") - f.rung(KEPT_RUNG, "bits") < 0.03
        and all(f.rung(ALONE, f"frechet_{judge}") > 5 * f.rung(KEPT_RUNG, f"frechet_{judge}") for judge in JUDGES)
    ),
    "prior-first": lambda f: (
        f.mean("fair", AUTOENCODED, "own_deterministic_frechet_clean")
        > 20 * f.mean("fair", AUTOENCODED, "fitted_deterministic_frechet_clean")
    ),
    "win-spoiled": lambda f: (
        f.contest("spoiled", COPY).ratio < 0.2 and f.contest("spoiled", COPY, samples=OWN).ratio < 0.5
    ),
    "win-clean": lambda f: 0.5 < f.contest("clean", COPY).ratio < 0.75 and f.contest("clean", COPY).recipe[1] == MEANS,
    "kept-near": lambda f: f.contest("spoiled", KEPT).ratio < 0.2 and f.contest("clean", KEPT).ratio < 0.75,
    "own-behind": lambda f: f.contest("clean", COPY, samples=OWN).ratio > 1,
    "missing-prior": lambda f: (
        2 * (f.mean("fair", COPY, "codes_ancestral_frechet_clean") - f.real("clean"))
        < f.mean("fair", COPY, "fitted_ancestral_frechet_clean") - f.real("clean")
    ),
    "no-room": lambda f: f.mean("fair", AUTOENCODED, "codes_deterministic_frechet_clean") < 2 * f.real("clean"),
    "win-mse": lambda f: f.stored.frame("fair").groupby("model")["mse"].mean().idxmin() == COPY,
    # 5.6
    "no-lag": lambda f: f.met("C23", "early") is False,
    "linear": lambda f: f.verdict("C21") == Verdict.AGREES,
    # 5.7
    "con-floor": lambda f: f.value("C02", LOWEST) > 3 * f.value("C02", "grey pixels, floor 0.1;"),
    "con-means": lambda f: TRUE["noise-innocent"](f),
    "con-moved": lambda f: TRUE["moved-fitted"](f) and TRUE["moved-own"](f),
    "con-automatic": lambda f: TRUE["automatic"](f),
    "con-split": lambda f: TRUE["split-fixed"](f) and TRUE["split-free"](f) and TRUE["kept-and-joint"](f),
    "con-win": lambda f: all(TRUE[name](f) for name in ("win-spoiled", "win-clean", "win-mse")),
    "con-prior": lambda f: TRUE["missing-prior"](f),
    "con-conditional": lambda f: f.count(Verdict.CONDITIONAL) + f.count(Verdict.UNDECIDED) > f.count(Verdict.HOLDS),
    "con-pixels": lambda f: TRUE["stated"](f) and TRUE["carried"](f),
    # the front page
    "index-noise": lambda f: TRUE["noise-innocent"](f),
    "index-floor": lambda f: TRUE["con-floor"](f),
    "index-automatic": lambda f: TRUE["automatic"](f),
    "index-covariance": lambda f: TRUE["carried"](f),
    "index-split": lambda f: TRUE["con-split"](f) and 2.5 < f.value("C19", "noise variance") < 3.5,
    "index-win": lambda f: f.contest("spoiled", COPY).ratio < 0.2 and f.contest("clean", COPY).ratio < 0.75,
    # corrections and propositions
    "corrections-limit": lambda f: TRUE["limit"](f),
    "corrections-noise": lambda f: TRUE["noise-innocent"](f),
    "corrections-covariance": lambda f: f.value("C20", "flow as prior") > 0.9,
    "propositions-joint": lambda f: TRUE["kept-and-joint"](f),
    # the appendix of claims
    "dial-falls": lambda f: f.verdict("C05") == Verdict.AGREES,
}


@pytest.fixture(scope="module")
def found():
    return Found(reference.load(RESULTS).records, evidence.load(EVIDENCE))


def texts():
    """Each page of the book with its prose."""
    for page in sorted(BOOK.glob("*.md")):
        yield page.name, page.read_text(encoding="utf-8")
    for page in sorted(BOOK.glob("*.ipynb")):
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        yield page.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_every_sentence_that_is_marked_has_a_condition_and_the_other_way_round():
    marked = {name for _, text in texts() for name in MARK.findall(text)}
    assert marked == set(TRUE)


@pytest.mark.parametrize("name", TRUE)
def test_a_sentence_of_the_text_is_true_of_the_stored_results(found, name):
    assert TRUE[name](found)


def record(*findings):
    return SimpleNamespace(id="C98", findings=findings)


def one(condition, metric, *values, control=""):
    known = [value for value in values if value == value]
    mean = sum(known) / len(known) if known else float("nan")
    return SimpleNamespace(
        condition=condition, metric=metric, control=control, known=known, mean=mean, spread=0.5, values=values
    )


def test_a_number_is_quoted_with_its_deviation_where_there_are_several_seeds():
    records = [
        record(one("d = 2", "error", 1.0), one("d = 20", "error", 1.0, 2.0), one("d = 2", "error", 7, control="c"))
    ]
    assert quoted(records, "C98", "d = 2;", "error") == "1.00"
    assert quoted(records, "C98", "d = 20", form="{:.1f}", factor=-1) == "-1.5 ± 0.5"
    assert quoted(records, "C98", "d = 2", control="c", form="{:.0f}") == "7"


def test_a_number_that_is_not_stored_says_so():
    assert quoted([], "C98", "d = 2") == "not measured"
    assert quoted([record(one("d = 2", "error", float("nan")))], "C98", "d = 2") == "not measured"


def test_words_that_fit_no_finding_or_several_are_an_error_that_names_what_there_is():
    records = [record(one("d = 2", "error", 1.0), one("d = 20", "error", 2.0))]
    for words in (("d = 2",), ("d = 3",)):
        with pytest.raises(LookupError, match="d = 20; error"):
            finding(records, "C98", *words)


def test_a_number_of_a_stored_frame_is_that_of_one_model_with_its_deviation_where_there_are_several_seeds():
    found = pd.DataFrame({"model": ["a", "a", "b"], "seed": [0, 1, 0], "mse": [1.0, 2.0, 5.0], "bits": [None] * 3})
    assert shown(found, "a", "mse") == "1.50 ± 0.71"
    assert shown(found, "b", "mse", form="{:.0f}") == "5"
    for model, column in (("c", "mse"), ("a", "bits")):
        with pytest.raises(LookupError, match=f"no {column} of {model} is stored; there are: a, b"):
            shown(found, model, column)
