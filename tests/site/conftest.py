r"""The built site in a real browser: one browser for all tests of a process, one visit for all tests of a page.

`BOOK_HTML` names another site than `_build/html`, and `CHROMIUM` another browser than the first that is found.
"""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from visits import PAGES, SITE, Visit, opened

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


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PAGES])
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Each page in turn."""
    with opened(browser, request.param) as visit:
        yield visit


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for measure, title in MEASURES.items():
        values = [
            (value, report.nodeid) for report in reports for key, value in report.user_properties if key == measure
        ]
        if values:
            value, test = max(values)
            terminalreporter.write_line(f"{title}: {value:.1f} ({measure}), {test.partition('[')[2].rstrip(']')}")
