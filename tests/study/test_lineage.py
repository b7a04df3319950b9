r"""A figure depends on the models that were looked up for it, and on no others."""

from dataclasses import fields

import nbformat
import pytest

from vaelib.build import notebooks
from vaelib.study import comparison as verdict
from vaelib.study import lineage
from vaelib.study.lineage import Model, Note, follow, seed_ranges
from vaelib.study.measurements import Reference, yardstick
from vaelib.study.models import UnknownNameError, find, table_seeds

A, B, C = (Model(name, "quick", 0) for name in "abc")


def followed(*cells, attributes=None):
    """Names of the models behind the figure of the last cell; `find_a()` on a line of a cell looks up model a."""
    models = {"find_a": A, "find_b": B, "find_c": C}
    lookups = [
        Note(model, count, number)
        for count, cell in enumerate(cells, 1)
        for number, line in enumerate(cell.splitlines(), 1)
        for call, model in models.items()
        if f"{call}()" in line
    ]
    figures = follow(enumerate(cells, 1), lookups, attributes=attributes)
    return "".join(sorted(model.name for model in figures[len(cells)]))


@pytest.mark.parametrize(
    ("cells", "models"),
    [
        (("show(find_a())",), "a"),
        (("x = find_a()", "show(x)"), "a"),
        (("x = find_a()", "y = find_b()", "show(y)"), "b"),
        (("x = find_a()", "y = x + 1\nshow(y, find_b())"), "ab"),
        (("x = find_a()\nx = 1", "show(x)"), ""),
        (("x = find_a()\nshow(1)",), ""),
        (("x, y = find_a(), 1", "show(y)"), "a"),
        (("show(\n    1,\n    find_a(),\n)",), "a"),
        (("x = {}\nfor d in (1, 2):\n    y = find_a()\n    x[d] = y", "show(x)"), "a"),
        (("x = []\nfor d in (1, 2):\n    x.append(find_a())", "show(x)"), "a"),
        (("x = find_a()", "x |= 1", "show(x)"), "a"),
        (("x = find_a()\nwith seeded():\n    y = draw(x)", "show(y)"), "a"),
        (("y = 1", "with find_a() as x:\n    y = 2", "show(x)"), "a"),
        (("x = find_a()", "y = [1 for x in (1, 2)]", "show(y)"), ""),
        (("s = find_a()", "y = {s: t for s, t in z}", "show(y)"), ""),
        (("f = lambda: find_b()", "x = 1", "show(x)"), ""),
        (("for name in find_a():\n    v = 1\nfor name in other:\n    v = name", "show(v)"), ""),
        (("a, b = 1, 1\nfor d in (1, 2, 3):\n    b = a\n    a = find_c()", "show(b)"), "c"),
        (("x = 1\nif find_a():\n    x = 2", "show(x)"), "a"),
        (("x = find_a()\nif test:\n    x = find_b()\nelse:\n    pass", "show(x)"), "ab"),
        (("digits = 1\nx = find_a()\nwidth = digits.only(x)", "show(digits)"), ""),
        (("import plots\nplots.use(find_a())", "plots.show(1)"), ""),
        (("import x\nx = []\nx.append(find_a())", "show(x)"), "a"),
        (("x = find_a()", "for y in x:\n    show(y)"), "a"),
        (("x = find_a()\ndef f():\n    return x", "show(f())"), "a"),
    ],
)
def test_a_figure_depends_on_what_its_last_expression_reads(cells, models):
    assert followed(*cells) == models


def test_a_model_can_be_behind_an_attribute():
    cells = ("yard = reference()\ny = yard.distance\nz = yard.error", "show({})")
    attributes = {"distance": C}
    assert followed(cells[0], "show(y)", attributes=attributes) == "c"
    assert followed(cells[0], "show(z)", attributes=attributes) == ""
    assert followed("show(yard.distance['0.1'])", attributes=attributes) == "c"


def test_seeds_are_written_as_ranges():
    assert seed_ranges([0]) == "0"
    assert seed_ranges([2, 0, 1, 1]) == "0-2"
    assert seed_ranges([7, 0, 1, 3]) == "0-1,3,7"


def test_outside_of_a_recorded_notebook_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find("simple-d2")
    with lineage.recorded(tmp_path / "lookups") as file:
        find("simple-d2")
    assert lineage.notes(file) == []
    assert not list(tmp_path.glob("lookups"))


def test_the_record_ends_where_it_ends(monkeypatch, tmp_path):
    monkeypatch.delenv(lineage.NOTES, raising=False)
    with lineage.recorded(tmp_path / "outer"):
        with lineage.recorded(tmp_path / "inner"):
            pass
        assert lineage.os.environ[lineage.NOTES] == str(tmp_path / "outer")
    assert lineage.NOTES not in lineage.os.environ


@pytest.fixture
def executed(tmp_path):
    """Run a notebook of these cells, each a figure; what the metadata say of each."""

    def run(*sources, profile="quick", seed=0):
        parameters = nbformat.v4.new_code_cell(
            'profile = "quick"\nseed = 0', metadata={"tags": [notebooks.PARAMETERS_TAG]}
        )
        figures = [
            nbformat.v4.new_code_cell(source, metadata={"mystnb": {"figure": {"name": f"fig-{i}"}}})
            for i, source in enumerate(sources)
        ]
        source, target = tmp_path / "source.ipynb", tmp_path / "run" / "target.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[parameters, *figures], metadata=notebooks.METADATA)
        nbformat.write(notebook, source)
        notebooks.run(source, target, parameters={"profile": profile, "seed": seed}, timeout=120)
        cells = nbformat.read(target, as_version=4).cells
        assert notebooks.PROVENANCE not in cells[0].metadata
        assert [cell.source for cell in cells[1:]] == list(sources)
        return [cell.metadata[notebooks.PROVENANCE] for cell in cells[1:]]

    return run


def test_a_notebook_that_is_run_says_which_models_its_figures_used(executed):
    first, second, third, fourth, fifth = executed(
        "from vaelib.study.models import find, find_vae\nmodel = find('classifier', profile)\nmodel.name",
        "runs = [\n    find_vae(f'simple-d{d}', profile, seed=s)\n    for d in (2, 20)\n    for s in (5, 6)\n]",
        "len(runs)",
        "1",
        "yard = lambda: reference.frechet_train\n(len(runs), yard)",
        profile="full",
        seed=5,
    )
    assert first == {"models": {"full": {"classifier": "0"}}, "parameters": {"profile": "full", "seed": 5}}
    assert second["models"] == third["models"] == {"full": {"simple-d2": "5-6", "simple-d20": "5-6"}}
    assert fourth == {"models": {}, "parameters": {"profile": "full", "seed": 5}}
    assert fifth["models"] == {"full": {"classifier": "0", "simple-d2": "5-6", "simple-d20": "5-6"}}


def test_an_interactive_output_is_a_figure_and_a_table_is_none():
    output, stream = nbformat.v4.new_output, nbformat.v4.new_output("stream", text="3")
    html, table = ({kind: "x", "text/plain": "x"} for kind in ("text/html", "text/markdown"))
    outputs = [output("execute_result", html), output("execute_result", table), stream]
    found = [notebooks.makes_figure(nbformat.v4.new_code_cell(outputs=[one])) for one in outputs]
    assert found == [True, False, False]


def test_a_lookup_deep_in_the_library_counts_for_the_cell_that_was_running(executed):
    (claim,) = executed(
        "from vaelib.study.comparison import find_vae as deep\nlist(map(deep, ['simple-d2', 'bernoulli-d2']))"
    )
    assert claim["models"] == {"quick": {"bernoulli-d2": "0", "simple-d2": "0"}}


def test_a_row_of_the_verdict_counts_where_it_is_read(executed):
    _, one, none, every = executed(
        "from vaelib.study.lineage import Model\n"
        "from vaelib.study.comparison import Family, Row\n"
        "from dataclasses import fields\n"
        "values = {f.name: (1.0,) for f in fields(Row)} | {'family': Family.SIMPLE, 'no_density': ''}\n"
        "table = [Row(**values | {'name': n, 'models': (Model(n, profile, 0),)}) for n in ('simple-d2', 'simple-d20')]",
        "[row.mse for row in table if row.name == 'simple-d2']",
        "[(row.name, row.family) for row in table]",
        "[row.bits for row in table]",
    )
    assert one["models"] == {"quick": {"simple-d2": "0"}}
    assert none["models"] == {}
    assert every["models"] == {"quick": {"simple-d2": "0", "simple-d20": "0"}}


def test_the_rows_of_the_verdict_hold_their_models_and_count_them_for_no_cell(monkeypatch):
    noted = []
    (model,) = (m for m in verdict.contenders("quick", seed=0) if m.name == "simple-d20")
    panel = dict.fromkeys(verdict.panel.__annotations__, 1.0)
    monkeypatch.setattr(lineage, "_running_cell", lambda: noted.append(1))
    monkeypatch.setenv(lineage.NOTES, "unused")
    monkeypatch.setattr(verdict, "panel", lambda run, cache: Values(panel))
    monkeypatch.setattr(verdict, "measured", lambda measure, run, cache: Values(panel))
    row = verdict._row(model, 0, None)
    assert noted == []
    assert row.models == tuple(Model("simple-d20", "quick", seed) for seed in table_seeds(0))
    assert row.mse == (1.0,) * len(table_seeds(0))
    assert noted


class Values(dict):
    """A measurement of which every field is one."""

    def __getattr__(self, name):
        return 1.0

    def __missing__(self, name):
        return 1.0


def test_the_yardsticks_of_the_classifier_are_all_but_those_of_pca():
    assert set(notebooks.CLASSIFIED) == {f.name for f in fields(Reference) if not f.name.startswith("mse_")}
    assert find(notebooks.CLASSIFIER, "full", seed=7) == yardstick("full")
    assert find(notebooks.CLASSIFIER).seed == 0


def test_a_lookup_that_fails_is_not_noted(monkeypatch, tmp_path):
    with lineage.gathered() as models:
        with pytest.raises(UnknownNameError):
            find("no-such-model")
        find("simple-d2", seed=3)
    assert models == [Model("simple-d2", "quick", 3)]
