r"""Pages of the built site, and what happens when one is opened in a browser."""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from playwright.sync_api import Browser, BrowserContext, Page

SITE = Path(os.environ.get("BOOK_HTML") or Path(__file__).parents[2] / "_build" / "html").resolve()
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if not any(part.startswith("_") for part in path.relative_to(SITE).parts)
)
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 667}


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
