r"""Sentences of the text that state a finding: each is true of the stored reference results, or a test says which is not.

The sentence carries `<!-- finding: NAME -->`; `TRUE` says what of the results it rests on. All of them speak of the
results of the profile `full`.
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from vaelib.study import reference
from vaelib.study.findings import finding, quoted
from vaelib.study.judging import Verdict

BOOK = Path(__file__).parents[2] / "book"
RESULTS = BOOK / "results" / "full.json"
MARK = re.compile(r"<!-- finding: (\S+) -->")
#: 'About the same': within a tenth.
ALIKE = 0.1
JUDGES = ("spoiled", "clean")


class Found:
    """The stored results, as the sentences ask for them."""

    def __init__(self, records):
        self.records = records
        self.by_id = {record.id: record for record in records}

    def verdict(self, claim):
        return self.by_id[claim].verdict

    def value(self, claim, *words, control=""):
        """The mean over the seeds."""
        return finding(self.records, claim, *words, control=control).mean

    def values(self, claim, *words):
        return finding(self.records, claim, *words).values

    def met(self, claim, *words):
        """Whether the criterion is met under every seed; None if under some only."""
        met = set(finding(self.records, claim, *words).met)
        return met.pop() if len(met) == 1 else None


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
}


@pytest.fixture(scope="module")
def found():
    records = reference.load(RESULTS).records
    if {"C26", "C31"} - {record.id for record in records}:
        pytest.skip("book/results/full.json is the first edition's")
    return Found(records)


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
