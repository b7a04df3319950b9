r"""The committed notebooks are complete, thin, and show the figures that their code makes now."""

import ast
import base64
import io
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest

from vaelib.build.notebooks import picture
from vaelib.build.provenance import OURS, makes_figure
from vaelib.study.models import experiments

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
EXECUTED = ROOT / "_build" / "run" / "quick-0" / "book"

MAX_LINES = 15
#: Root mean square difference of two pictures, grey levels of 0 to 255, that other processors may cause.
FIGURE_TOLERANCE = 10.0

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def code_cells(path):
    """The code cells that are not empty, by their position in the notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return {index: cell for index, cell in enumerate(cells) if cell.cell_type == "code" and cell.source.strip()}


def pictures(cell):
    """The PNGs of a cell, `[height, width, 4]`, 0 to 255."""
    encoded = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [matplotlib.image.imread(io.BytesIO(base64.b64decode(png)), format="png") * 255.0 for png in encoded]


def rms(one, other):
    """Root mean square difference of two pictures of one size."""
    return np.sqrt(np.mean((one - other) ** 2))


def parameters(path):
    """The values that the cell tagged `parameters` assigns; any other statement in it fails."""
    (cell,) = (cell for cell in code_cells(path).values() if "parameters" in cell.metadata.get("tags", []))
    statements = ast.parse(cell.source).body
    assert all(isinstance(statement, ast.Assign) for statement in statements), "only assignments belong there"
    return {statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements}


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_every_cell_was_executed_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path).values()]
    assert counts == list(range(1, len(counts) + 1)), "store fresh outputs with: make refresh"


@each_notebook
def test_no_cell_holds_an_error(path):
    for index, cell in code_cells(path).items():
        assert all(output.output_type != "error" for output in cell.outputs), f"cell {index}"


@each_notebook
def test_the_parameters_are_the_default_profile_and_seed(path):
    assert parameters(path) == {"profile": "quick", "seed": 0}


@each_notebook
def test_cells_call_the_library_and_define_nothing(path):
    for index, cell in code_cells(path).items():
        lines = cell.source.splitlines()
        assert len(lines) <= MAX_LINES, f"cell {index} has {len(lines)} lines"
        assert not [line for line in lines if line.lstrip().startswith(("def ", "async def ", "class "))], (
            f"cell {index}"
        )


@each_notebook
def test_each_picture_has_a_name_a_caption_and_a_text_for_those_who_cannot_see_it(path):
    for index, cell in code_cells(path).items():
        if pictures(cell):
            shown = cell.metadata.get("mystnb", {})
            assert shown.get("figure", {}).get("name"), f"cell {index} has no figure name"
            assert shown["figure"].get("caption"), f"cell {index} has no caption"
            assert shown.get("image", {}).get("alt"), f"cell {index} has no alt text"
            assert len(pictures(cell)) == 1, f"cell {index}: one figure a cell, or two would share a number"


@each_notebook
def test_each_figure_says_which_models_of_the_catalogue_it_was_computed_from(path):
    for index, cell in code_cells(path).items():
        provenance = cell.metadata.get(OURS)
        assert (provenance is not None) == makes_figure(cell), f"cell {index}: store fresh outputs with: make refresh"
        if provenance:
            assert provenance["parameters"] == parameters(path)
            assert provenance["models"].keys() <= {"quick"}
            assert provenance["models"].get("quick", {}).keys() <= experiments("quick").keys()


def test_figures_name_the_models_that_they_show_and_no_others():
    def models(notebook, figure):
        cells = code_cells(ROOT / "book" / notebook).values()
        (cell,) = (cell for cell in cells if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == figure)
        return cell.metadata[OURS]["models"].get("quick", {})

    assert models("5_1_simple_vae.ipynb", "fig-vae-graph") == {}
    assert models("5_2_visualization.ipynb", "fig-pca") == {}
    assert models("5_2_visualization.ipynb", "fig-rec-simple-d20") == {"simple-d20": "0"}
    assert models("5_2_visualization.ipynb", "fig-gallery") == {f"bernoulli-d{d}": "0" for d in (2, 5, 10, 20)}
    assert models("5_4_issues.ipynb", "fig-plane-small-sigma") == {"sigma-0.0001-d2": "0"}
    assert models("5_5_proposals.ipynb", "fig-priors").keys() == {
        "calibrated-d20",
        "calibrated-mixture-d20",
        "calibrated-flow-d20",
    }
    assert models("appendix_measurements.ipynb", "fig-few-labels") == {"simple-d20": "0", "bernoulli-d20": "0"}
    assert models("appendix_audit.ipynb", "fig-implied-deviations") == {}
    assert models("appendix_measurements.ipynb", "fig-yardstick") == {"classifier": "0"}


@each_notebook
def test_the_stored_figures_are_what_the_code_makes_now(path):
    fresh_path = EXECUTED / path.name
    assert fresh_path.is_file(), f"{fresh_path.relative_to(ROOT)} is missing; run: make notebooks"
    stored_cells, fresh_cells = code_cells(path), code_cells(fresh_path)
    for index, stored in stored_cells.items():
        assert stored.source == fresh_cells[index].source, f"cell {index} was edited since; run: make notebooks"
        assert stored.metadata.get(OURS) == fresh_cells[index].metadata.get(OURS), f"cell {index}"
        old, new = pictures(stored), pictures(fresh_cells[index])
        assert len(old) == len(new), f"cell {index} showed {len(old)} pictures and now shows {len(new)}"
        for before, after in zip(old, new, strict=True):
            assert before.shape == after.shape, f"cell {index}: {before.shape} became {after.shape}"
            assert rms(before, after) <= FIGURE_TOLERANCE, f"cell {index}: differs by {rms(before, after):.1f}"


def test_the_comparison_of_figures_sees_a_difference():
    black = np.zeros((4, 5, 4))
    assert rms(black, black) == 0
    assert rms(black, black + FIGURE_TOLERANCE + 1) > FIGURE_TOLERANCE


def test_the_picture_of_the_readme_is_the_figure_of_the_book():
    file = "book/_static/planes.png"
    assert file in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / file).read_bytes() == picture(ROOT / "book" / "5_4_issues.ipynb", "fig-planes-beta")
