r"""What the theme cannot be told in `_config.yml`: links in the header, buttons that launch, whether there is a PDF.

Theme options are added to those that Jupyter Book makes; set in `_config.yml` they would replace them. The address of
the repository is taken from the first of these that has one: BOOK_REPOSITORY, the variables of GitHub Actions, the
remote `origin`, and `Repository` under `[project.urls]` in pyproject.toml. Without an address no button needs one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError
from sphinx.util.typing import ExtensionMetadata

from vaelib.build.provenance import git

ROOT = Path(__file__).parents[2]
BRANCH = "main"
BINDER = "https://mybinder.org"
COLAB = "https://colab.research.google.com"


def github(address: str) -> str | None:
    """The address of a repository on GitHub as browsers know it, for any of the forms that git knows."""
    found = re.fullmatch(
        r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", address
    )
    return f"https://github.com/{found[1]}" if found else None


def declared(root: Path) -> str | None:
    """The address in pyproject.toml, which the first cell of each notebook holds too."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return github(project.get("urls", {}).get("Repository", ""))


def origin(root: Path) -> str | None:
    """The remote `origin` of the checkout, if it is on GitHub."""
    return github(git("remote", "get-url", "origin", root=root) or "")


def repository(environment: Mapping[str, str], root: Path = ROOT) -> str | None:
    """The address of the repository, or None; raises ConfigError if BOOK_REPOSITORY is none on GitHub."""
    if given := environment.get("BOOK_REPOSITORY"):
        if address := github(given):
            return address
        raise ConfigError(f"BOOK_REPOSITORY is {given!r}; it must be https://github.com/OWNER/NAME")
    actions = f"{environment.get('GITHUB_SERVER_URL', '')}/{environment.get('GITHUB_REPOSITORY', '')}"
    return github(actions) or origin(root) or declared(root)


def theme_options(environment: Mapping[str, str], root: Path = ROOT) -> dict[str, object]:
    """What the theme is told beside what Jupyter Book tells it."""
    options: dict[str, object] = {"article_header_start": ["toggle-primary-sidebar.html", "book-links.html"]}
    if address := repository(environment, root):
        # Colab fetches a notebook alone, so the notebook itself must know where the library is.
        launch = {"notebook_interface": "jupyterlab", "binderhub_url": BINDER}
        options |= {
            "repository_url": address,
            "repository_branch": BRANCH,
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": launch | ({"colab_url": COLAB} if declared(root) else {}),
        }
    return options


def set_up_site(app: Sphinx, config: Config) -> None:
    """Complete the theme's options, and set the tag `pdf` if the build promises one."""
    config.html_theme_options.update(theme_options(os.environ))
    if os.environ.get("BOOK_PDF"):
        app.tags.add("pdf")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Run once the configuration is read."""
    app.connect("config-inited", set_up_site)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
