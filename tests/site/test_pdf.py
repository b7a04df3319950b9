r"""The PDF of the chapter holds what its pages hold: each caption, and a picture for each."""

import re
import unicodedata

import pytest
from playwright.sync_api import Browser
from pypdf import PdfReader
from visits import PAGES, SITE

PDF = SITE / "variational-autoencoders.pdf"
BEGINNING = """captions => captions.map(caption => {
    const [number, text] = [".caption-number", ".caption-text"].map(part => caption.querySelector(part));
    const first = text.firstChild;
    return number.textContent + (first?.nodeType === Node.TEXT_NODE ? first.data : "");
})"""
CHAPTER = [name for name in PAGES if re.match(r"book/5_\d", name)]
pytestmark = pytest.mark.xdist_group("pdf")


@pytest.fixture(scope="module")
def pdf() -> PdfReader:
    assert PDF.is_file(), "this build has no PDF: make pdf"
    return PdfReader(PDF)


@pytest.fixture(scope="module")
def captions(browser: Browser) -> list[str]:
    """How those of all figures of the chapter begin on its pages: the number, and the words up to the first formula."""
    context, found = browser.new_context(java_script_enabled=False), []
    page = context.new_page()
    for name in CHAPTER:
        page.goto(f"{SITE.as_uri()}/{name}")
        found += page.locator("figure:has(img) figcaption").evaluate_all(BEGINNING)
    context.close()
    return found


def letters(text: str) -> str:
    """Text without spaces, soft hyphens and ligatures, which a PDF sets as it likes and as its fonts have them."""
    return re.sub(r"[\s\u00ad]+", "", unicodedata.normalize("NFKC", text))


def test_the_pages_have_captions(captions):
    assert len(captions) == len(set(captions)) > 15


def test_every_caption_is_in_the_pdf(pdf, captions):
    text = letters("".join(page.extract_text() for page in pdf.pages))
    assert [caption for caption in captions if letters(caption) not in text] == []


def test_every_figure_is_in_the_pdf(pdf, captions):
    assert sum(len(page.images) for page in pdf.pages) >= len(captions)
