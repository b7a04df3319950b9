r"""The reference has an entry for everything public, once; equations, algorithms and claims have links to it."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).parents[2]
EXTENSIONS = ROOT / "book" / "_ext"
PAGES = {page.stem: page.read_text() for page in (ROOT / "book").glob("api*.md")}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "vaelib").rglob("*.py")
}
ENTERED = {name for name in MODULES if not f"{name}.".startswith("vaelib.build.")}


def test_every_module_but_those_of_the_build_has_one_entry():
    listed = Counter(name for page in PAGES.values() for name in re.findall(r"automodule:: (\S+)", page))
    assert set(listed) == ENTERED
    assert [name for name, times in listed.items() if times > 1] == []


def test_every_page_of_the_reference_is_in_the_table_of_contents():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    [reference] = [part for part in parts if part["caption"] == "Reference"]
    assert {Path(page["file"]).name for page in reference["chapters"]} == set(PAGES)


@pytest.mark.parametrize("name", sorted(ENTERED))
def test_every_function_and_class_has_a_docstring(name):
    """Its entry would be empty."""
    tree = ast.parse(Path(importlib.import_module(name).__file__).read_text())
    public = [it for it in tree.body if isinstance(it, ast.FunctionDef | ast.ClassDef) and not it.name.startswith("_")]
    assert [it.name for it in public if not ast.get_docstring(it)] == []


# ---- a library and a book of few pages

LIBRARY = {
    "__init__": '"""A small library."""\nfrom small.model import Model, mean\nfrom small import rules\n',
    "model": '''"""Models."""
from pathlib import Path
from typing import NamedTuple
from dataclasses import dataclass, field

SIZE = 28
HERE = Path("/a/place/of/this/machine")

class Point(NamedTuple):
    """A point."""
    x: float
    """To the right."""
    y: float

@dataclass
class Model:
    """A model of `[B, m]`, see `mean` and `x`."""
    kind: type = int
    parts: list = field(default_factory=list)

def mean(model: Model, size: int = SIZE) -> Point:
    """The mean of a `Model`; not :func:`rule`."""
''',
    "rules": '''"""Rules."""
from small.model import SIZE

C01 = dict(claim="one")
C01["more"] = {"than": "a line has room for, so that it is shown as it is written"}

def rule() -> None:
    """A rule for a `Model` or a `point`."""
''',
}
TABLE = "| what | code |\n|---|---|\n| {eq}`eq-mean` | {py:func}`small.model.mean` |\n"
ALGORITHM = "| {prf:ref}`alg-rule` | {py:func}`small.rules.rule` |\n"
BOOK = {
    "index": "# Book\n\n"
    + "".join(
        f"```{{toctree}}\n:caption: {part}\n{pages}\n```\n\n"
        for part, pages in {"First": ":numbered:\nchapter", "Names": "notation\napi_more", "Reference": "api"}.items()
    ),
    "chapter": "# Chapter\n\n$$ x $$ (eq-mean)\n\n```{prf:algorithm} Rule\n:label: alg-rule\nDo it.\n```\n\n"
    "| claim | value |\n|---|---|\n| C01 | 1 |\n| C01 | 2 |\n",
    "api_more": "# More\n",
    "notation": f"# Notation\n\n{TABLE}{ALGORITHM}",
    "api": "# Reference\n\n```{eval-rst}\n"
    + "".join(f".. automodule:: {name}\n\n" for name in ("small", "small.model", "small.rules"))
    + "```\n",
}


def build(folder: Path, builder: str = "html", **pages: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The book, with some pages as given, built from a library in a process of its own."""
    (folder / "small").mkdir()
    for name, text in LIBRARY.items():
        (folder / "small" / f"{name}.py").write_text(text)
    for name, text in (BOOK | pages).items():
        (folder / f"{name}.md").write_text(text)
    extensions = ["myst_parser", "sphinx_proof", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
    ours = ["printed_book", "api_reference", "code_links"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    settings = {name: value for name, value in config.items() if name.startswith(("autodoc_", "default_role"))} | {
        "extensions": extensions + ours,
        "myst_enable_extensions": ["dollarmath"],
        "add_module_names": False,
        "numfig": True,
        "code_links_table": "notation",
        "code_links_claims": "small.rules",
        "printed_book_without": ["api"],
        "nitpick_ignore_regex": [("py:.*", "pathlib.*")],
    }
    values = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
    paths = f"import sys\nsys.path[:0] = [{str(folder)!r}, {str(EXTENSIONS)!r}]\n"
    (folder / "conf.py").write_text(paths + values)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "--keep-going", "-b", builder, folder, folder / "out"]
    return subprocess.run(command, capture_output=True, text=True), folder / "out"


def read(page: Path) -> Tag:
    return BeautifulSoup(page.read_text(), "html.parser").select_one("div.body")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, Tag]:
    """The pages of the site."""
    said, output = build(tmp_path_factory.mktemp("site"))
    assert said.returncode == 0, said.stderr
    return {name: read(output / f"{name}.html") for name in ("chapter", "notation", "api")}


def entry(page: Tag, name: str) -> Tag:
    return page.find(id=name).parent


def test_shapes_are_code_and_names_are_links(site):
    told = entry(site["api"], "small.model.Model").dd.p
    assert [code.get_text() for code in told.find_all("code")] == ["[B, m]", "mean", "x"]
    assert [link["href"] for link in told.find_all("a")] == ["#small.model.mean"]


def test_a_class_of_another_module_is_a_link_and_a_word_is_none(site):
    told = entry(site["api"], "small.rules.rule").dd.p
    assert [link["href"] for link in told.find_all("a")] == ["#small.model.Model"]


def test_a_function_of_another_module_needs_no_module(site):
    links = entry(site["api"], "small.model.mean").dd.p.find_all("a")
    assert [link["href"] for link in links] == ["#small.model.Model", "#small.rules.rule"]


def test_types_of_our_own_are_links(site):
    signature = site["api"].find(id="small.model.mean")
    assert {link["href"] for link in signature.select("a.reference") if "#small" in link["href"]} >= {
        "#small.model.Model",
        "#small.model.Point",
    }


def test_constants_have_an_entry_where_they_are_assigned_alone(site):
    assert site["api"].find(id="small.model.SIZE").get_text().strip().startswith("SIZE = 28")
    assert site["api"].find(id="small.rules.SIZE") is None


def test_a_value_that_is_no_short_literal_is_shown_as_it_is_written(site):
    assert 'HERE = Path("/a/place' in entry(site["api"], "small.model.HERE").dd.get_text()
    claim = entry(site["api"], "small.rules.C01").dd.get_text()
    assert 'C01 = dict(claim="one")' in claim and 'C01["more"]' in claim


def test_a_field_has_an_entry_if_it_is_documented(site):
    assert "To the right." in entry(site["api"], "small.model.Point.x").dd.get_text()
    assert site["api"].find(id="small.model.Point.y") is None


def test_defaults_are_names(site):
    assert re.search(r"kind: type = int, parts: list = factory", site["api"].find(id="small.model.Model").get_text())


def test_what_a_package_offers_is_listed_and_has_one_entry(site):
    [offers] = [text for text in site["api"].find_all("p") if text.get_text().startswith("It offers")]
    assert [link["href"] for link in offers.find_all("a")] == ["#small.model.Model", "#small.model.mean"]
    assert len(site["api"].find_all(id=re.compile(r"\.Model$"))) == 1


def test_equations_algorithms_and_claims_lead_to_their_code(site):
    lines = [[link["href"] for link in line.find_all("a")] for line in site["chapter"].select(".code-link")]
    assert lines == [["api.html#small.model.mean"], ["api.html#small.rules.rule"], ["api.html#small.rules.C01"]]
    assert site["chapter"].select_one("div.math + p.code-link").get_text() == "code: mean"
    assert site["chapter"].select_one("div.algorithm p.code-link")
    assert [cell.get_text() for cell in site["chapter"].select("td:first-child")] == ["C01 code", "C01"]


def test_a_link_that_is_missing_or_leads_nowhere_fails_the_build(tmp_path):
    table = TABLE.replace("eq-mean", "eq-none").replace("model.mean", "model.none")  # and no row for the algorithm
    said, _ = build(tmp_path, notation=f"# Notation\n\n{table}", chapter=BOOK["chapter"].replace("C01", "C02"))
    assert said.returncode != 0
    for complaint in ("alg-rule has no code", "eq-mean has no code", "not found: small.model.none", "C02 has no entry"):
        assert complaint in said.stderr


def test_the_printed_book_names_the_code_and_leaves_the_reference_out(tmp_path):
    said, output = build(tmp_path, "singlehtml")
    assert said.returncode == 0, said.stderr
    page = read(output / "printed.html")
    assert not re.search("Reference|More", page.get_text()) and page.find(id="small.model.mean") is None
    assert [part.get_text() for part in page.select(".printed-contents p.caption")] == ["First", "Names"]
    assert [line.get_text() for line in page.select(".code-link")] == ["code: mean", "code: rule", "code"]
    assert [a["href"] for a in page.select("a[href]") if not page.find(id=a["href"].removeprefix("#"))] == []
