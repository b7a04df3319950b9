"""What the writers of pages leave to be mended before a page is light, and readable by all.

Pictures of a page are fetched when they come near the screen and have their place until then; sources are a list to a
screen reader; no two elements of a page share an id.
"""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator


class DistinctProofs(SphinxPostTransform):
    """sphinx-proof calls the content of every proof and algorithm `proof-content`."""

    default_priority = 200
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        """Number them."""
        numbers = count(1)
        for section in self.document.findall(nodes.section):
            if section["ids"] == ["proof-content"]:
                section["ids"] = [f"proof-content-{next(numbers)}"]


def visit_citation(self: HTML5Translator, node: nodes.citation) -> None:
    """As docutils writes it, but with the role of an item: `doc-biblioentry` is deprecated."""
    if not isinstance(node.previous_sibling(), nodes.citation):
        self.body.append('<div role="list" class="citation-list">\n')
    self.body.append(self.starttag(node, "div", classes=["citation"], role="listitem"))


def depart_citation(self: HTML5Translator, node: nodes.citation) -> None:
    """As docutils writes it."""
    self.body.append("</div>\n")
    if not isinstance(node.next_node(descend=False, siblings=True), nodes.citation):
        self.body.append("</div>\n")


def fetch_pictures_late(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Add to each picture of the page its size and that it may wait."""
    sources = {name: Path(app.srcdir, source) for source, name in app.builder.images.items()}

    def late(tag: re.Match[str]) -> str:
        with Image.open(sources[tag["name"]]) as picture:
            width, height = picture.size
        return f'{tag[0]}loading="lazy" width="{width}" height="{height}" '

    context["body"] = re.sub(r'<img (?=[^>]*src="[^"]*_images/(?P<name>[^"/]+\.png)")', late, context.get("body", ""))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform, the writer of sources and what is done to a written page."""
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    app.add_post_transform(DistinctProofs)
    app.connect("html-page-context", fetch_pictures_late, priority=400)  # before previews copy them, at 450
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
