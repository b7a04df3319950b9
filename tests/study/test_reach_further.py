r"""What is reached by ways that are easily missed: claims, changed objects, other packages, a visitor's own files."""

import ast
import functools
import sys
from functools import partial
from pathlib import Path

import nbformat
import pytest

import vaelib
from vaelib.study import reach, reference

ROOT = Path(__file__).parents[2]
VERDICTS = {"5_2_visualization", "5_3_solutions", "5_4_issues", "5_5_proposals", "5_6_related", "5_7_conclusion"}


@pytest.fixture
def edited(monkeypatch):
    """Reads a module of the package as if one text in it were another."""
    read, memories = reach._source, (reach._module, reach._definition)

    def edit(module, old, new):
        assert old in read(module)
        monkeypatch.setattr(reach, "_source", lambda m: read(m).replace(old, new, 1) if m == module else read(m))
        for memory in memories:
            memory.cache_clear()

    yield edit
    monkeypatch.undo()
    for memory in memories:
        memory.cache_clear()


def notebooks():
    """The digest of the cells of each notebook."""
    found = {}
    for path in (ROOT / "book").glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        source = "\n".join(line for cell in cells for line in cell.splitlines() if not line.strip().startswith("%pip"))
        found[path.stem] = reach.source_digest(source)
    return found


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("vaelib.study.claims.section_5_4", 'at_most(0.05, sameness("digit', 'at_most(0.06, sameness("digit'),
        (
            "vaelib.study.claims.criteria",
            "return Criterion(quantity, low=limit)",
            "return Criterion(quantity, low=limit + 1)",
        ),
        ("vaelib.study.claims.quantities", "gt if strictly else ge", "ge if strictly else gt"),
        ("vaelib.study.measures.bounds", "draws.mean(dim=0) - 3 * error", "draws.mean(dim=0) - 2 * error"),
    ],
)
def test_verdicts_on_a_page_depend_on_thresholds_formulas_and_measures(edited, module, old, new):
    before = notebooks()
    edited(module, old, new)
    changed = {name for name, digest in notebooks().items() if digest != before[name]}
    assert changed >= VERDICTS | {"appendix_claims"} and "appendix_speed" not in changed


def test_a_changed_combinator_puts_its_reference_results_out_of_date(edited):
    before = reference.depends("quick", [0])
    edited("vaelib.study.claims.quantities", "gt if strictly else ge", "ge if strictly else gt")
    assert reference.depends("quick", [0])["C05"] != before["C05"]


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("vaelib.data", "mnist.LOADERS[source]", "mnist.LOADERS.get(source)"),
        ("vaelib.study.cache", 'beside.open("xb")', 'beside.open("wb")'),
        ("vaelib.study.trained", "how = ", "way = how = "),
    ],
)
def test_how_images_are_found_and_results_kept_puts_no_reference_results_out_of_date(edited, module, old, new):
    before = reference.depends("quick", [0])
    edited(module, old, new)
    assert reference.depends("quick", [0]) == before


def test_a_name_of_another_package_counts_for_what_it_stands_for(edited):
    before = reach.code_digest(vaelib.elbo_nats)
    edited("vaelib.objectives", "Distribution, kl_divergence", "Distribution, register_kl as kl_divergence")
    assert reach.code_digest(vaelib.elbo_nats) != before


@pytest.mark.parametrize(
    "name", [name for name in dir(vaelib) if not name.startswith("_") and callable(getattr(vaelib, name))]
)
def test_every_name_of_the_face_is_followed(name):
    by_object = dict(reach.reached(getattr(vaelib, name)))
    (place,) = reach._read(ast.parse(f"v.{name}"), {"v": "vaelib"})
    assert place.name == name and name in by_object
    assert reach.source_digest(f"from vaelib import *\n{name}") == reach.source_digest(f"import vaelib as v\nv.{name}")


@pytest.fixture
def visitor(tmp_path, monkeypatch):
    """A visitor's package, written anew and imported for each text of its helper."""

    def load(helper="x * 2", constants="LAYERS = [1, 2]", objective="helper(x) + LAYERS[0]"):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        (folder / "util.py").write_text(f"def helper(x):\n    return {helper}\n")
        (folder / "heads.py").write_text(
            "import functools\nimport torch\nimport mine.util as util\nfrom mine.util import helper\n"
            f"{constants}\n"
            f"def plain(vae, x):\n    return {objective}\n"
            f"def by_module(vae, x):\n    return util.helper(x) + LAYERS[0]\n"
            f"def inside(vae, x):\n    from mine.util import helper as h\n    return h(x) + LAYERS[0]\n"
            f"@torch.no_grad()\ndef decorated(vae, x):\n    return {objective}\n"
            f"@functools.lru_cache\ndef remembered(x):\n    return {objective}\n"
        )
        for name in ("mine", "mine.util", "mine.heads"):
            sys.modules.pop(name, None)
        import importlib
        import linecache

        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("mine.heads")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield load
    for name in ("mine", "mine.util", "mine.heads"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["plain", "by_module", "inside", "decorated", "remembered"])
@pytest.mark.parametrize("change", [{"helper": "x * 3"}, {"constants": "LAYERS = [1, 3]"}])
def test_a_visitors_other_files_and_constants_count(visitor, name, change):
    before = reach.code_digest(getattr(visitor(), name))
    assert reach.code_digest(getattr(visitor(), name)) == before
    assert reach.code_digest(getattr(visitor(**change), name)) != before


def test_a_visitors_tensor_counts_by_its_values(visitor):
    digests = [
        reach.code_digest(visitor(constants=f"LAYERS = torch.tensor([1.0, {end}])").plain) for end in (2.0, 2.0, 3.0)
    ]
    assert digests[0] == digests[1] != digests[2]


class State:
    def method(self, vae, x):
        return x

    def __call__(self, vae, x):
        return x


@pytest.mark.parametrize("root", [State().method, partial(State().method, 1)])
def test_what_holds_a_state_is_refused_with_a_way_out(root):
    with pytest.raises(reach.UnreachableCodeError, match="give a function that is defined by `def`"):
        reach.code_digest(root)


def test_classes_within_the_arguments_of_a_partial_count():
    names = {name for name, _ in reach.reached(partial(functools.reduce, [vaelib.FixedGaussian], {"a": vaelib.VAE}))}
    assert {"FixedGaussian", "VAE"} <= names
