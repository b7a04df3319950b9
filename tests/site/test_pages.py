r"""Every page, opened from the disk as readers open it, is complete, readable by all, and fits a phone."""

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from visits import DESKTOP, PAGES, PHONE, SITE, Visit, opened

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
STRUCTURE = {
    "runOnly": {"type": "rule", "values": ["heading-order", "duplicate-id", "empty-heading", "label-title-only"]}
}
#: Bytes that the first view of a page may weigh, gzipped.
HEAVIEST = 1_500_000


class _Ids(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str | None] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.update(value for key, value in attributes if key in ("id", "name"))


@cache
def ids(path: Path) -> set[str | None]:
    return _Ids(path.read_text()).found


def notebook(page: str) -> Path:
    """Where the notebook of a page is, if it is one."""
    return SITE / "_sources" / Path(page).with_suffix(".ipynb")


def test_nothing_is_missing_and_nothing_comes_from_outside(visit: Visit):
    assert visit.failed == []
    assert visit.outside == []


def test_the_console_is_silent(visit: Visit):
    assert visit.errors == []


def test_the_first_view_is_light(visit: Visit, record_property):
    record_property("first view, kB gzipped", visit.weight / 1000)
    assert visit.weight <= HEAVIEST


def test_formulas_are_set(visit: Visit):
    page = visit.look()
    written = page.locator(".math").count()
    assert page.locator("mjx-container").count() == written
    assert page.locator("mjx-merror").count() == 0
    empty = """boxes => boxes.filter(box => box.checkVisibility()
        && !(box.querySelector("mjx-math")?.getBoundingClientRect().width > 0)).map(box => box.outerHTML)"""
    assert page.locator("mjx-container").evaluate_all(empty) == []
    raw = r"""() => {
        const literal = "pre, code, script, style, mjx-container";
        const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
        const found = [];
        while (walk.nextNode()) {
            const {data, parentElement} = walk.currentNode;
            if (/\$\$|\\\(|\\\[|\\begin\{/.test(data) && !parentElement.closest(literal))
                found.push(data);
        }
        return found;
    }"""
    assert page.evaluate(raw) == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["1280", "375"])
def test_nothing_sticks_out(visit: Visit, size):
    page = visit.look(size=size)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    sticking_out = """() => {
        const width = document.documentElement.clientWidth;
        const scrolls = box => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
        const inScrollBox = item => {
            for (let box = item.parentElement; box; box = box.parentElement)
                if (scrolls(box) && box.getBoundingClientRect().right <= width + 1) return true;
            return false;
        };
        return [...document.querySelectorAll("main *")]
            .filter(item => item.checkVisibility({visibilityProperty: true})
                && item.getBoundingClientRect().right > width + 1
                && !item.closest("mjx-assistive-mml, .bd-sidebar-secondary") && !inScrollBox(item))
            .map(item => item.outerHTML.slice(0, 200));
    }"""
    assert page.evaluate(sticking_out) == []


#: The boxes with a table, formula or program that is wider than they are, by more than a pixel, and of each: on which
#: sides it is cut and on which it is shaded, left and right, at its start, in its middle and at its end; and rows that
#: would hide the shade.
CUT = """async () => {
    const wide = [...document.querySelectorAll(".bd-article :is(table, mjx-container[display='true'], pre)")]
        .map(item => { // the box that it scrolls in
            let box = item;
            while (box && !["auto", "scroll"].includes(getComputedStyle(box).overflowX)) box = box.parentElement;
            return box;
        })
        .filter(box => box?.matches(".bd-article *") && box.checkVisibility() && box.scrollWidth > box.clientWidth + 1);
    const seen = new Map(wide.map(box => [box, {html: box.outerHTML.slice(0, 200), cut: [], shaded: []}]));
    for (const part of [0, 0.5, 1]) {
        for (const box of wide) box.scrollLeft = part * (box.scrollWidth - box.clientWidth);
        for (const _ of [1, 2, 3]) await new Promise(requestAnimationFrame);
        for (const box of wide) {
            const shadows = [...getComputedStyle(box).boxShadow.matchAll(/(-?[0-9.]+)px 0px [^,]* inset/g)];
            const across = shadows.map(shadow => Number(shadow[1]));
            seen.get(box).cut.push([part > 0, part < 1]);
            seen.get(box).shaded.push([across.some(x => x > 0), across.some(x => x < 0)]);
            seen.get(box).opaque = [...box.querySelectorAll("tr, tr > *")].map(cell => getComputedStyle(cell))
                .map(style => style.backgroundColor).filter(colour => !/^rgba[(].*, 0([.][0-9]+)?[)]$/.test(colour));
        }
    }
    return [...seen.values()];
}"""


@pytest.mark.parametrize(("theme", "size"), [("light", PHONE), ("dark", DESKTOP)], ids=["light", "dark"])
def test_what_is_cut_at_an_edge_is_shaded_there(visit: Visit, theme, size):
    """And nowhere else: at its end it is not."""
    for box in visit.look(theme=theme, size=size).evaluate(CUT):
        assert box["shaded"] == box["cut"], box["html"]
        assert box["opaque"] == [], box["html"]


@pytest.mark.parametrize("visit", ["book/notation.html", "book/appendix_corrections.html"], indirect=True)
def test_a_phone_cuts_wide_tables_and_formulas(visit: Visit):
    """So that the test before this one has something to look at."""
    assert visit.look(size=PHONE).evaluate(CUT) != []


@pytest.mark.parametrize("visit", ["book/appendix_audit.html"], indirect=True)
def test_a_phone_shows_notes_on_programs_in_full(visit: Visit):
    """One below the other, and each says what it is."""
    tables = visit.look(size=PHONE).locator("#notes-on-single-programs table")
    assert tables.count() > 0
    told = """tables => tables.map(table => ({
        fits: table.scrollWidth <= table.parentElement.clientWidth,
        heads: [...table.querySelectorAll("th")].map(head => head.textContent),
        notes: [...table.tBodies[0].rows].map(row => [...row.cells].slice(1).filter(cell => cell.textContent)
            .map(cell => [cell.cellIndex, getComputedStyle(cell, "::before").content, cell.checkVisibility()])),
    }))"""
    for table in tables.evaluate_all(told):
        assert table["fits"]
        for note in (note for row in table["notes"] for note in row):
            assert note == [note[0], f'"{table["heads"][note[0]]}"', True]


@pytest.mark.parametrize(("theme", "size"), [("light", PHONE), ("dark", DESKTOP)], ids=["light", "dark"])
def test_axe_finds_nothing(visit: Visit, theme, size):
    found = Axe().run(visit.look(theme=theme, size=size), options=WCAG).response["violations"]
    assert [told(violation) for violation in found] == []


def test_headings_and_ids_are_in_order(visit: Visit):
    found = Axe().run(visit.look(), options=STRUCTURE).response["violations"]
    assert [told(violation) for violation in found] == []
    twice = """() => {
        const ids = [...document.querySelectorAll("[id]:not(svg *, mjx-container *)")].map(item => item.id);
        return ids.filter((id, place) => ids.indexOf(id) < place);
    }"""
    assert visit.page.evaluate(twice) == []


def told(violation: dict) -> str:
    """What axe has found, in a few lines."""
    where = [f"{node['html'][:150]}\n    {node['failureSummary']}" for node in violation["nodes"][:3]]
    return f"{violation['id']}, {len(violation['nodes'])} times:\n" + "\n".join(where)


def test_pictures_say_what_they_show(visit: Visit):
    silent = "pictures => pictures.filter(picture => !picture.alt.trim()).map(picture => picture.outerHTML)"
    assert visit.page.locator("main img").evaluate_all(silent) == []


def test_pictures_are_there(visit: Visit):
    """Those that load late, too."""
    broken = """async pictures => {
        for (const picture of pictures) picture.loading = "eager";
        const failed = picture => picture.decode().then(() => null, () => picture.src);
        return (await Promise.all(pictures.map(failed))).filter(Boolean);
    }"""
    assert visit.look().locator("main img").evaluate_all(broken) == []


def test_pictures_stand_on_light_ground_in_the_dark(visit: Visit):
    """Their lines and letters are black."""
    grounds = """pictures => pictures.filter(picture => !picture.closest(".only-light, .dark-light")).map(picture =>
        getComputedStyle(picture).backgroundColor.match(/[\\d.]+/g).map(Number))"""
    for red, green, blue, *alpha in visit.look(theme="dark").locator("main img").evaluate_all(grounds):
        assert min(red, green, blue) > 200 and alpha in ([], [1])


def test_links_lead_somewhere(visit: Visit):
    dangling = []
    for href in set(visit.page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")):
        address, anchor = urldefrag(href)
        if not address.startswith("file:"):
            continue
        path = Path(unquote(urlparse(address).path))
        path = path / "index.html" if path.is_dir() else path
        there = path.is_file() and path.is_relative_to(SITE)
        if not there or (anchor and path.suffix == ".html" and unquote(anchor) not in ids(path)):
            dangling.append(href)
    assert dangling == []


@pytest.mark.parametrize("visit", [name for name in PAGES if notebook(name).is_file()], indirect=True)
def test_a_notebook_can_be_taken_along(visit: Visit):
    source = notebook(visit.name)
    addresses = visit.page.locator("a[href$='.ipynb']").evaluate_all("links => links.map(link => link.href)")
    assert source.as_uri() in addresses
    assert json.loads(source.read_text())["cells"]


@pytest.mark.xdist_group("search")
def test_search_finds_posterior_collapse(browser):
    with opened(browser, "search.html?q=posterior+collapse") as visit:
        results = visit.page.locator("#search-results li a")
        results.first.wait_for()
        addresses = results.evaluate_all("links => links.map(link => link.href)")
        assert visit.failed == visit.outside == visit.errors == []
        visit.page.goto(addresses[0])
        assert "posterior collapse" in visit.page.locator("main").inner_text().lower()


@pytest.mark.xdist_group("search")
def test_a_reader_chooses_the_theme_and_keeps_it(browser):
    with opened(browser, "book/index.html") as visit:
        chosen = "[document.documentElement.dataset.mode, document.documentElement.dataset.theme]"
        for _ in range(3):
            visit.page.locator(".theme-switch-button:visible").first.click()
            if visit.page.evaluate(chosen) == ["dark", "dark"]:
                break
        for _ in range(10):  # a busy browser may write what it is to keep only after the page was left
            visit.page.reload()
            if visit.page.evaluate(chosen) == ["dark", "dark"]:
                break
            visit.page.wait_for_timeout(500)
        assert visit.page.evaluate(chosen) == ["dark", "dark"]
