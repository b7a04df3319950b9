r"""The single page from which the PDF is printed has the numbers of the site, and each link leads to its own target."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"

PAGES = {
    "index": "# Book\n\n{ref}`one`, {ref}`two`\n\n```{toctree}\n:numbered:\none\ntwo\n```\n",
    "one": "(one)=\n# One\n\n(fig-one)=\n```{figure} dot.png\nDot.\n```\n\n$$ x $$ (eq-one)\n\n[^n]\n\n[^n]: First.\n",
    "two": "(two)=\n# Two\n\n## Same\n\n{numref}`fig-one`, {eq}`eq-one` [^n]\n\n[^n]: Second.\n",
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The single page of a book of two, read."""
    source = tmp_path_factory.mktemp("book")
    for name, text in PAGES.items():
        (source / f"{name}.md").write_text(text)
    (source / "dot.png").touch()
    settings = {
        "extensions": ["myst_parser", "thesis_numbering", "printed_book"],
        "myst_enable_extensions": ["dollarmath"],
        "numfig": True,
        "numfig_secnum_depth": 1,
        "math_numfig": True,
        "thesis_chapter": 5,
    }
    values = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
    (source / "conf.py").write_text(f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\n{values}")
    output = source / "out"
    # In a process of its own: Sphinx keeps what extensions have registered.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "singlehtml", source, output]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return BeautifulSoup((output / "printed.html").read_text(), "html.parser")


def test_each_link_within_the_book_leads_to_an_anchor_of_this_page(page):
    links = [a["href"] for a in page.select("div.body a[href]")]
    assert links
    assert all(link.startswith("#") and page.find(id=link[1:]) for link in links), links


def test_each_anchor_is_there_once(page):
    anchors = [tag["id"] for tag in page.find_all(id=True)]
    assert len(anchors) == len(set(anchors)), sorted(anchors)


def test_a_note_leads_to_the_note_of_its_own_page(page):
    notes = [page.find(id=a["href"][1:]).get_text() for a in page.select("a.footnote-reference")]
    assert [re.search(r"First|Second", note)[0] for note in notes] == ["First", "Second"]


def test_numbers_are_those_of_the_thesis(page):
    titles = [title.get_text().rstrip("¶") for title in page.select("div.body h2, div.body h3")]
    assert titles == ["5.1. One", "5.2. Two", "5.2.1. Same"]
    assert page.select_one(".caption-number").get_text() == "Fig. 5.1 "
    assert page.select_one(".eqno").get_text().startswith("(5.1)")
    assert "Fig. 5.1, (5.1)" in page.get_text()


def test_contents_come_first_with_numbers(page):
    assert [a.get_text() for a in page.select(".printed-contents a")] == ["5.1. One", "5.2. Two", "5.2.1. Same"]
