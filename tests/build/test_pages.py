r"""The page that says how the book was computed repeats what was recorded, and guesses nothing."""

import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from vaelib import mnist
from vaelib.build import pages
from vaelib.study import claims
from vaelib.study import models as catalogue
from vaelib.study.claims.criteria import Case, Claim, at_least
from vaelib.study.claims.quantities import constant
from vaelib.study.trained import entry

BOOK = Path(__file__).parents[2] / "book"


def cells(markdown):
    """The rows of a Markdown table below its header, as texts."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


@pytest.fixture
def trained():
    """Four experiments: one model under two seeds, another under one, and one that was never trained."""
    models = [
        catalogue.find("simple-d2"),
        catalogue.find("simple-d2", seed=1),
        catalogue.find("simple-d20"),
        catalogue.find("linear-d2"),
    ]
    for model, seconds in zip(models[:3], (10.04, 12.5, 30.0), strict=True):
        place = entry(model)
        with place.lock():
            place.write({"seconds": seconds})
    return models


def test_seconds_are_summed_over_the_seeds_of_a_model_and_over_all(trained):
    assert cells(pages.model_seconds(trained)) == [
        ("`simple-d2`", "2", "23", "10.0 to 12.5"),
        ("`simple-d20`", "1", "30", "30.0"),
        ("all", "3", "53", "10.0 to 30.0"),
    ]


def test_seconds_of_notebooks_are_those_that_papermill_noted(tmp_path):
    paths = [tmp_path / name for name in ("one.ipynb", "two.ipynb")]
    for path, seconds in zip(paths, (1.25, 3.5), strict=True):
        nbformat.write(nbformat.v4.new_notebook(metadata={"papermill": {"duration": seconds}}), path)
    assert cells(pages.notebook_seconds(paths)) == [("{doc}`one`", "1.2"), ("{doc}`two`", "3.5"), ("all", "4.8")]


def test_every_page_that_the_book_includes_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", ())
    pages.write(tmp_path / "_generated", profile="quick", seed=0)
    texts = [page.read_text(encoding="utf-8") for page in BOOK.glob("*.md")]
    included = {name for text in texts for name in re.findall(r"```{include} _generated/(.*)", text)}
    assert included == {page.name for page in (tmp_path / "_generated").iterdir()}


def test_the_page_of_changes_compares_with_the_first_edition_beside_the_results(tmp_path, monkeypatch):
    case = Case({"m": at_least(0, constant(1))})
    changed = Claim("C01", "5.2", "said otherwise", tested={"nowhere": case})
    monkeypatch.setattr(claims, "CLAIMS", (changed,))
    monkeypatch.setattr(pages.verdicts, "records", lambda profile, seed: [])
    pages.write(tmp_path, profile="quick", seed=0)
    text = (tmp_path / "what_changed.md").read_text(encoding="utf-8")
    assert "1 of 1 claims of the first edition differ: instrument 1" in text and "*said otherwise*" in text
    assert "| profile full    | holds           | not measured yet |" in text
    assert "d = 2, dequantised pixels" in text and "- nowhere: m, at least 0: `1`" in text


def test_the_data_are_told_with_their_whole_checksum():
    rows = pages.origin("quick", seed=3)
    assert rows["SHA-256 of all pixels"] == f"`{mnist.CHECKSUMS['quick']}`"
    assert rows["profile and seed"].startswith("quick, seed 3")


def test_the_page_has_all_of_it(monkeypatch, trained, tmp_path):
    monkeypatch.setattr(pages.models, "behind_the_book", lambda profile, seed: [replace(m, seed=seed) for m in trained])
    text = pages.computed_markdown("quick", seed=0, notebooks=[])
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## What was built",
        "## The machine",
        "## Versions",
        "## Seconds for each notebook",
        "## Seconds for each model",
    ]
    assert "Traceback" not in text and str(tmp_path) not in text
