r"""The line under a figure names its models, and links to where they are described and to the code."""

import re
from pathlib import Path

import nbformat
import pytest
from docutils.nodes import make_id
from sphinx.application import Sphinx

from vaelib.build import notebooks, pages
from vaelib.study.models import experiments, find, of_the_book
from vaelib.study.trained import entry

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

ENTRIES = "simple-d2", "floor-0.1-grey", "a", "b", "c"


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Build a page with one figure for each of these models, and one that does not say; its HTML and the warnings."""
    monkeypatch.syspath_prepend(str(EXTENSIONS))

    def build(*models, tags=(), caption=True, printed="", stored="", described=""):
        cells = [nbformat.v4.new_markdown_cell("# Page\n")]
        for index, used in enumerate([*models, None]):
            cell = nbformat.v4.new_code_cell("draw()", metadata={"tags": list(tags)})
            if caption:
                figure = {"name": f"fig-{index}", "caption": f"Caption {index}."}
                cell.metadata["mystnb"] = {"figure": figure, "image": {"alt": "dot"}}
            cell.outputs = [nbformat.v4.new_output("execute_result", {"image/png": DOT}, execution_count=1)]
            if stored:
                cell.metadata["measured_by"] = stored
            if printed:
                cell.outputs.insert(0, nbformat.v4.new_output("stream", text=printed))
            if used is not None:
                cell.metadata[notebooks.OURS] = {"models": used, "parameters": {"profile": "quick", "seed": 4}}
            cells.append(cell)
        source = tmp_path / "source"
        source.mkdir()
        (source / "index.md").write_text("# Book\n\n```{toctree}\npage\nmodels\n```\n")
        described = described or "".join(f"\n(model-{e})=\n## {e}\n" for e in ENTRIES)
        (source / "models.md").write_text(f"# Models\n{described}")
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=notebooks.METADATA), source / "page.ipynb")
        said = (tmp_path / "log").open("w+")
        app = Sphinx(
            source,
            None,
            tmp_path / "html",
            tmp_path / "trees",
            "html",
            confoverrides={
                "extensions": ["myst_nb", "foldable_code", "figure_provenance"],
                "nb_execution_mode": "off",
                "html_theme": "basic",
                "html_permalinks": False,
            },
            status=None,
            warning=said,
        )
        app.build()
        said.seek(0)
        again = "already registered"  # what a second Sphinx in one process warns of
        warnings = "".join(line for line in said if again not in line)
        html = (tmp_path / "html" / "page.html").read_text()
        return re.findall(r"<figcaption>.*?</figcaption>", html, re.DOTALL), html, warnings

    return build


def text(html):
    """What a reader sees of it."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split()).replace(" ,", ",").replace("( ", "(")


def test_the_line_names_models_profile_and_seeds(built):
    captions, _, warnings = built(
        {"quick": {"simple-d2": "0"}},
        {"quick": {"simple-d2": "0-2", "floor-0.1-grey": "0-2"}},
        {"full": {"simple-d2": "0-2,7", "floor-0.1-grey": "0"}},
        {},
    )
    assert [text(caption) for caption in captions] == [
        "Caption 0. Computed by simple-d2 · profile quick · seed 0 · code · configuration",
        "Caption 1. Computed by floor-0.1-grey, simple-d2 · profile quick · seeds 0 to 2 · code · all configurations",
        "Caption 2. Computed by floor-0.1-grey (seed 0), simple-d2 (seeds 0 to 2, 7) · profile full · code · "
        "all configurations",
        "Caption 3. Computed by no model · profile quick · seed 4 · code",
        "Caption 4.",
    ]
    assert "<details" not in "".join(captions)
    assert not warnings


def test_many_models_are_counted_in_the_line_and_named_in_a_closed_box(built):
    (caption, _), *_ = built({"quick": dict.fromkeys(["simple-d2", "a", "b", "c"], "0") | {"floor-0.1-grey": "1-2"}})
    line, box = re.fullmatch(r"(.*)(<details.*</details>).*", caption, re.DOTALL).groups()
    assert text(line) == "Caption 0. Computed by 5 models · profile quick · seeds 0 to 2 · code · all configurations"
    assert 'details class="figure-provenance">' in box
    assert text(box) == (
        "The 5 models Profile quick, seed 0: a, b, c, simple-d2 Profile quick, seeds 1 to 2: floor-0.1-grey"
    )


def test_each_name_links_to_the_entry_of_the_model(built, tmp_path):
    (caption, _), *_ = built({"quick": {"simple-d2": "0", "floor-0.1-grey": "0"}})
    models = (tmp_path / "html" / "models.html").read_text()
    for name in ("simple-d2", "floor-0.1-grey"):
        anchor = make_id(f"model-{name}")
        assert f'href="models.html#{anchor}">{name}</a>' in caption
        assert f'id="{anchor}"' in models
    assert 'href="models.html">all configurations</a>' in caption


@pytest.mark.parametrize("tags", [(), ("hide-input",)])
def test_the_code_is_linked_at_a_place_within_its_foldable_box(built, tags):
    (caption, _), html, _ = built({"quick": {"simple-d2": "0"}}, tags=tags)
    assert 'href="#code-fig-0">code</a>' in caption
    before = html[: html.index('id="code-fig-0"')]
    assert before.count("<details") == before.count("</details>") + 1


def test_a_figure_whose_code_is_not_shown_has_no_link_to_it(built):
    (caption, _), *_ = built({"quick": {"simple-d2": "0"}}, tags=("remove-input",))
    assert text(caption) == "Caption 0. Computed by simple-d2 · profile quick · seed 0 · configuration"


def test_an_output_without_a_caption_has_the_line_below_it(built):
    _, html, warnings = built({"quick": {"simple-d2": "0"}}, caption=False)
    assert text(html).count("Computed by simple-d2 · profile quick · seed 0 · code · configuration") == 1
    assert html.index("cell_output") < html.index("Computed by")
    anchor = re.search(r'href="#(code-cell-\d+)">code', html)[1]
    assert html.count(f'id="{anchor}"') == 1
    assert not warnings


def test_a_model_without_an_entry_is_named_and_warned_of(built):
    (caption, _), _, warnings = built({"quick": {"gone": "0"}})
    assert "Computed by gone · profile quick" in text(caption)
    assert "without an entry: model-gone" in warnings


def test_the_page_of_models_has_a_label_for_each_and_says_what_is_not_trained():
    page = pages.models_markdown("quick", seed=3)
    labels = re.findall(r"^\(model-(.*)\)=\n## (.*)$", page, re.MULTILINE)
    assert labels == [(name, name) for name in of_the_book("quick")]
    assert page.count("Not in the cache of this build, so") == len(labels)
    assert "likelihood `PixelwiseGaussian(floor=0.1)`; objective `elbo_nats`; prior `StandardNormal`" in page
    assert "starts from {ref}`calibrated-flow-d20 <model-calibrated-flow-d20>`" in page


def test_models_of_sweeps_have_a_line_if_they_are_trained_and_labels_in_any_case(built, tmp_path):
    place = entry(find("length-4-simple-d20", seed=3))
    with place.lock():
        place.write({"seconds": 7.0, "device": "cpu", "metrics": {"test_kl_nats": 25.04}})
    page = pages.models_markdown("quick", seed=3)
    swept = [name for name in experiments("quick") if name not in of_the_book("quick")]
    lines = page[page.index("## Models of sweeps") :]
    assert sorted(re.findall(r"^\(model-(.*)\)=$", lines, re.MULTILINE)) == sorted(swept)
    assert "4 times the training. Trained in 7 s on cpu; on the test images mean KL 25.0 nats." in lines
    assert "dropdown" not in lines and lines.count("Not in the cache") == 1

    (line, _), _, warnings = built({"quick": dict.fromkeys(swept, "3")}, described=lines)
    targets = dict(re.findall(r'href="models.html#([^"]*)">([^<]*)</a>', line))
    described = (tmp_path / "html" / "models.html").read_text()
    assert not warnings and sorted(targets.values()) == sorted(swept)
    assert all(described.count(f'id="{anchor}"') == 1 for anchor in targets)


@pytest.mark.parametrize(("more", "shown"), [("", False), ("a, b (quick, seed 0): trained in 9 s\n", True)])
def test_that_models_were_found_is_said_once(more, shown, built):
    found = "simple-d2 (quick, seed 4): loaded\n"
    _, html, _ = built({"quick": {"simple-d2": "4"}}, printed=found + more)
    figure, other = html.split("Caption 0.")
    assert ("seed 4): loaded" in figure) == shown
    assert "seed 4): loaded" in other, "the cell that does not say what it used keeps what it printed"


def test_what_was_measured_before_the_build_says_by_what(built):
    (line, _), _, warnings = built({}, stored="make bench")
    assert "Measured by make bench, stored with the text · code" in text(line)
    assert "profile" not in text(line) and not warnings
