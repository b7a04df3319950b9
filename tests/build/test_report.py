r"""The page that says how the book was computed repeats what was recorded, and guesses nothing."""

from dataclasses import replace
from importlib.metadata import version

import nbformat
import pytest

from vaelib import data
from vaelib.build import report
from vaelib.study import models as catalogue
from vaelib.study import reference as published
from vaelib.study.trained import entry


def cells(markdown):
    """The rows of a Markdown table below its header, as texts."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


@pytest.fixture
def trained(tmp_path):
    """Four experiments: one model under two seeds, another under one, and one that was never trained."""
    models = [
        catalogue.find("simple-d2"),
        catalogue.find("simple-d2", seed=1),
        catalogue.find("simple-d20"),
        catalogue.find("linear-d2"),
    ]
    for model, seconds in zip(models[:3], (10.04, 12.5, 30.0), strict=True):
        place = entry(model, cache=tmp_path)
        with place.lock():
            place.write({"seconds": seconds})
    return models


def test_seconds_are_summed_over_the_seeds_of_a_model_and_over_all(trained, tmp_path):
    assert cells(report.models_markdown(trained, cache=tmp_path)) == [
        ("`simple-d2`", "2", "23", "10.0 to 12.5"),
        ("`simple-d20`", "1", "30", "30.0"),
        ("all", "3", "53", "10.0 to 30.0"),
    ]


def test_seconds_of_notebooks_are_those_that_papermill_noted(tmp_path):
    paths = [tmp_path / name for name in ("one.ipynb", "two.ipynb")]
    for path, seconds in zip(paths, (1.25, 3.5), strict=True):
        nbformat.write(nbformat.v4.new_notebook(metadata={"papermill": {"duration": seconds}}), path)
    assert cells(report.notebooks_markdown(paths)) == [("{doc}`one`", "1.2"), ("{doc}`two`", "3.5"), ("all", "4.8")]


@pytest.mark.parametrize(
    ("commit", "words"),
    [
        ("unknown", "unknown: the book was built outside of a git checkout"),
        ("0123abc", "`0123abc` of 2026-01-02"),
        ("0123abc-dirty", "`0123abc` of 2026-01-02, with files changed since"),
    ],
)
def test_the_commit_is_told_with_its_date_and_whether_files_changed(commit, words):
    assert report.commit_in_words(commit, "2026-01-02") == words


def test_outside_of_a_checkout_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no git
    assert published.commit() == report.commit_date() == "unknown"


def test_the_data_are_told_with_their_whole_checksum():
    rows = dict(cells(report.origin_markdown("quick", seed=3)))
    assert rows["SHA-256 of all pixels"] == f"`{data.QUICK_SHA256}`"
    assert rows["profile and seed"].startswith("quick, seed 3")


def test_versions_are_those_installed_and_tools_that_only_check_are_left_out():
    rows = dict(cells(report.versions_markdown()))
    assert {name: rows[name] for name in ("torch", "torchvision", "numpy", "jupyter-book")} == {
        name: version(name) for name in ("torch", "torchvision", "numpy", "jupyter-book")
    }
    assert not rows.keys() & {"pytest", "ruff", "distributed"}


def test_the_processor_is_named_where_the_system_tells(monkeypatch, tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nmodel name\t: Abacus 3000\nmodel name\t: other\n")
    monkeypatch.setattr(report, "CPU_INFO", told)
    assert report.processor() == "Abacus 3000"


def test_the_page_has_all_of_it(monkeypatch, trained, tmp_path):
    monkeypatch.setattr(report, "behind_the_book", lambda profile, seed: [replace(m, seed=seed) for m in trained])
    text = report.computed_markdown("quick", seed=0, notebooks=[], cache=tmp_path)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## What was built",
        "## The machine",
        "## Versions",
        "## Seconds for each notebook",
        "## Seconds for each model",
    ]
    assert "Traceback" not in text and str(tmp_path) not in text
