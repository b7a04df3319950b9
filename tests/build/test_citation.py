r"""The page on how to cite says what CITATION.cff says, and both are of this version."""

import re
from pathlib import Path

import pytest
import yaml

import vaelib

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "book" / "cite.md").read_text(encoding="utf-8")
FIELDS = {name: value.strip("{}") for name, value in re.findall(r"^  (\w+) += (\{.*\}),$", PAGE, re.MULTILINE)}


def test_the_version_is_that_of_the_library():
    assert CITATION["version"] == FIELDS["version"] == vaelib.__version__


def test_title_author_and_year_are_those_of_citation_and_site():
    (author,) = CITATION["authors"]
    assert (FIELDS["title"], FIELDS["author"]) == (CITATION["title"], author["name"])
    assert (FIELDS["title"], FIELDS["author"]) == (CONFIG["title"], CONFIG["author"])
    assert FIELDS["year"] == CONFIG["copyright"]


@pytest.mark.parametrize("field", ["author", "title", "version", "year"])
def test_the_reference_in_words_says_the_same(field):
    (words,) = (line for line in PAGE.splitlines() if line.startswith("> "))
    assert FIELDS[field] in words


def test_both_licences_are_named():
    assert CITATION["license"] == ["MIT", "CC-BY-4.0"]
    assert "MIT licence" in PAGE
    assert "CC BY 4.0" in PAGE
