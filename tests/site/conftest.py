r"""The built site in a real browser: one browser for all tests of a process, one visit for all tests of a page.

`BOOK_HTML` names another site than `_build/html`, and `CHROMIUM` another browser than the first that is found.
"""

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

SITE = Path(os.environ.get("BOOK_HTML") or Path(__file__).parents[2] / "_build" / "html").resolve()
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if not any(part.startswith("_") for part in path.relative_to(SITE).parts)
)
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 667}
#: What tests record and the last lines of the output tell.
MEASURES = {"first view, kB gzipped": "heaviest page", "input to picture, ms": "slowest interactive"}


def pytest_configure(config: pytest.Config) -> None:
    if not PAGES:
        raise pytest.UsageError(f"there is no site in {SITE}; `make book` builds it")


def chromium() -> str | None:
    """The browser that `CHROMIUM` names, else that of the system, else None: that of playwright."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(autouse=True)
def apart() -> None:
    """No test here needs a seed or a cache."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False)
        yield browser
        browser.close()


class Visit:
    """A page of the site, opened from the disk, and all that happened meanwhile."""

    def __init__(self, context: BrowserContext, name: str) -> None:
        self.name = name
        self.requested: list[str] = []
        self.failed: list[str] = []
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{SITE.as_uri()}/{name}")
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("window.MathJax?.startup?.promise.then(() => null)")
        self.at_first = frozenset(self.requested)

    @property
    def outside(self) -> list[str]:
        """Requests for what is not in the site."""
        inside = (f"{SITE.as_uri()}/", "data:", "blob:")
        return [url for url in self.requested if not url.startswith(inside)]

    @cached_property
    def weight(self) -> int:
        """Bytes of all files of the first view, each gzipped."""
        files = {unquote(urlparse(url).path) for url in self.at_first if url.startswith("file:")}
        return sum(len(gzip.compress(Path(file).read_bytes())) for file in files)

    def look(self, *, theme: str = "light", size: dict[str, int] = DESKTOP) -> Page:
        """The page in a theme and size, with everything unfolded."""
        self.page.set_viewport_size(size)
        self.page.evaluate(
            """async theme => {
                Object.assign(document.documentElement.dataset, {theme, mode: theme});
                for (const box of document.querySelectorAll("details")) box.open = true;
                for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
            }""",
            theme,
        )
        return self.page


@contextmanager
def opened(browser: Browser, name: str, **options: Any) -> Iterator[Visit]:
    """A page in a fresh profile, in daylight and with nothing that moves by itself."""
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", color_scheme="light", **options)
    try:
        yield Visit(context, name)
    finally:
        context.close()


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PAGES])
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Each page in turn."""
    with opened(browser, request.param) as visit:
        yield visit


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for measure, title in MEASURES.items():
        values = [(value, report.nodeid) for report in reports for key, value in report.user_properties if key == measure]
        if values:
            value, test = max(values)
            terminalreporter.write_line(f"{title}: {value:.1f} ({measure}), {test.partition('[')[2].rstrip(']')}")
