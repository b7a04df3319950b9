"""Every code cell can be folded away, and is open at first; the tag `hide-input` folds a cell from the start."""

from __future__ import annotations

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, depart_HideCellInput, visit_HideCellInput
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator


class OpenCode(HideCodeCellNode):
    """myst-nb's foldable box, open."""


class FoldCode(SphinxPostTransform):
    """Put the source of each code cell that is shown as it is into an open foldable box."""

    default_priority = 200  # after myst-nb has folded the tagged cells, at 199
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        """Wrap the sources."""
        for source in list(self.document.findall(nodes.container)):
            if source.get("nb_element") == "cell_code_source" and not isinstance(source.parent, HideCodeCellNode):
                box = OpenCode(prompt_show="Show code", prompt_hide="Hide code", classes=["above-input"])
                source.parent.replace(source, box)
                box += source


def visit_open_code(self: HTML5Translator, node: OpenCode) -> None:
    """As myst-nb writes it, with the attribute that opens it."""
    visit_HideCellInput(self, node)
    start = next(i for i in reversed(range(len(self.body))) if self.body[i].startswith("<details"))
    self.body[start] = self.body[start].replace("<details", "<details open", 1)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the box and the transform."""
    app.add_node(OpenCode, html=(visit_open_code, depart_HideCellInput))
    app.add_post_transform(FoldCode)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
