r"""A figure says what it is made from, and the run that makes it checks that."""

import json
import os
import subprocess

import nbformat
import pytest

from vaelib.build import provenance
from vaelib.build.notebooks import NotebookError, check_outputs
from vaelib.build.provenance import ProvenanceError, attribute, seed_ranges

FIGURE = {"mystnb": {"figure": {"name": "fig-a", "caption": "A."}}}
LOOKUPS = [
    ("one", "quick", 0, 1),
    ("one", "quick", 1, 1),
    ("two", "full", 3, 2),
    ("one", "quick", 7, 2),
    ("late", "quick", 0, 3),
]


@pytest.fixture
def attributed(tmp_path):
    """The metadata of a figure's cell, the second of three, after a run with these lookups."""

    def attributed(declared=None, lookups=LOOKUPS, metadata=FIGURE):
        cells = [nbformat.v4.new_code_cell("x", execution_count=count) for count in (1, 2, 3)]
        cells[1].metadata = nbformat.from_dict(
            metadata | ({"vaelib": {"made_from": declared}} if declared is not None else {})
        )
        notes = tmp_path / "notes"
        notes.write_text("".join(json.dumps(look) + "\n" for look in lookups))
        attribute(nbformat.v4.new_notebook(cells=cells), notes, {"profile": "quick"})
        return cells[1].metadata.get("vaelib")

    return attributed


def test_without_a_declaration_a_figure_is_made_from_what_its_cell_looked_up_under_its_seeds(attributed):
    models = {"full": {"two": "3"}, "quick": {"one": "7"}}
    assert attributed() == {"models": models, "parameters": {"profile": "quick"}}


def test_a_declared_model_may_have_been_looked_up_before(attributed):
    found = attributed(["one", "two"], [look for look in LOOKUPS if look != ("one", "quick", 7, 2)])
    assert found["models"] == {"full": {"two": "3"}, "quick": {"one": "0-1"}}
    assert found["made_from"] == ["one", "two"]


def test_a_figure_may_be_made_from_none(attributed):
    assert attributed([], [LOOKUPS[0]])["models"] == {}


@pytest.mark.parametrize(
    ("declared", "lookups", "message"),
    [
        (None, LOOKUPS[:2], r"cell 1 \(fig-a\) looks up no model: say in its metadata"),
        (["one"], LOOKUPS, r"cell 1 \(fig-a\) looks up two, which its made_from does not name"),
        (["one", "two", "late", "never"], LOOKUPS, r"cell 1 \(fig-a\) is made_from late, never, which no cell"),
    ],
)
def test_what_is_not_as_it_is_declared_ends_the_run(declared, lookups, message, attributed):
    with pytest.raises(ProvenanceError, match=message):
        attributed(declared, lookups)


def test_a_cell_without_a_figure_says_nothing(attributed):
    assert attributed(["one"], metadata={}) is None


def test_a_run_without_lookups_has_none(tmp_path):
    cell = nbformat.v4.new_code_cell("x", execution_count=1, metadata=FIGURE | {"vaelib": {"made_from": []}})
    attribute(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "missing", {})
    assert cell.metadata["vaelib"]["models"] == {}


def test_a_figure_without_a_picture_is_named():
    cell = nbformat.v4.new_code_cell("x", metadata=FIGURE)
    with pytest.raises(NotebookError, match="cell 0 is to make the figure fig-a and shows no picture"):
        check_outputs(nbformat.v4.new_notebook(cells=[cell]))
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "x"})]
    check_outputs(nbformat.v4.new_notebook(cells=[cell]))


@pytest.mark.parametrize(("seeds", "text"), [([0], "0"), ([2, 0, 1, 1], "0-2"), ([7, 0, 1], "0-1,7")])
def test_seeds_are_told_as_ranges(seeds, text):
    assert seed_ranges(seeds) == text


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, and the code in it."""
    git = ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.org"]
    (tmp_path / "file").write_text("one")
    (tmp_path / "book" / "results").mkdir(parents=True)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path.resolve())
    return tmp_path


def test_the_commit_is_that_of_the_checkout_and_says_what_was_changed(checkout):
    clean = provenance.commit()
    assert len(clean) == 40 and provenance.commit_in_words().startswith(f"`{clean}` of 20")
    (checkout / "file").write_text("two")
    assert provenance.commit() == f"{clean}-dirty"
    assert provenance.commit_in_words().endswith(", with files changed since")


def test_a_repository_around_the_checkout_or_named_by_the_environment_is_not_asked(checkout, monkeypatch):
    clean = provenance.commit()
    monkeypatch.setenv("GIT_DIR", os.devnull)
    assert provenance.commit() == clean
    monkeypatch.setattr(provenance, "CHECKOUT", (checkout / "book").resolve())
    assert provenance.commit() == "unknown"
    assert provenance.commit_in_words() == "unknown: the book was built outside of a git checkout"


def test_without_git_the_commit_is_unknown(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == "unknown"


def test_the_processor_is_named_where_the_system_tells(monkeypatch, tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nmodel name\t: Abacus 3000\nmodel name\t: other\n")
    monkeypatch.setattr(provenance, "CPU_INFO", told)
    assert provenance.processor() == "Abacus 3000"


def test_versions_are_those_installed_and_tools_that_only_check_are_left_out():
    found = provenance.versions()
    assert found.keys() >= {"python", "vaelib", "torch", "numpy", "jupyter-book"}
    assert not found.keys() & {"pytest", "ruff", "distributed"}
