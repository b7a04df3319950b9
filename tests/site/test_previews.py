r"""What a link leads to is shown where the link is, to the mouse and to the keyboard, from the site alone."""

import pytest
from visits import opened

PAGE = "book/5_3_solutions.html"
PREVIEW = ".tippy-box"
#: What a link of the page leads to, and what its preview must hold.
KINDS = {
    "figure of another page": ("5_2_visualization.html#fig-ancestral", "figure img"),
    "figure of this page": ("#fig-beta", "figure img"),
    "equation": ("#equation-eq-beta", "mjx-container"),
    "algorithm of another page": ("5_1_simple_vae.html#alg-ancestral", ".proof"),
    "source": ("references.html#id", ".citation, p"),
}


def link(page, target):
    """The first link of the text whose address begins or ends with the target."""
    return page.locator(f'.bd-article a.reference.internal[href^="{target}"]').first


@pytest.mark.parametrize(("target", "content"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_link_shows_what_it_leads_to(browser, by, target, content):
    with opened(browser, PAGE) as visit:
        visit.page.set_default_timeout(5000)
        found = link(visit.look(), target)
        found.hover() if by == "mouse" else found.focus()
        shown = visit.page.locator(PREVIEW)
        shown.locator(content).first.wait_for()
        assert shown.count() == 1
        assert not visit.page.locator(f"{PREVIEW} :is(mjx-merror)").count()
        for picture in shown.locator("img").all():
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        visit.page.keyboard.press("Escape")
        shown.wait_for(state="hidden")
        assert not visit.outside and not visit.failed and not visit.errors
