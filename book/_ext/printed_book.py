r"""The whole book as one HTML page, `printed.html`, from which a browser prints the PDF.

Sphinx's own single page writes links to `index.html`, and anchors that several pages have (`id1`, the first citation of
each) lead to the first of them. Here links stay within the page, and such anchors are told apart by their document.

Documents whose names begin with `printed_book_without` are left out, and what would lead to them is no link: a
reference is looked up, not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.singlehtml import SingleFileHTMLBuilder
from sphinx.environment.adapters.toctree import global_toctree_for_doc
from sphinx.util.typing import ExtensionMetadata

Anchor = tuple[str, str]  # a document and an id within it


def by_document(node: nodes.Element, docname: str) -> Iterator[tuple[str, nodes.Element]]:
    """Each element below `node` with the document from which it comes."""
    for child in node.children:
        if isinstance(child, nodes.Element):
            home = child["docname"] if isinstance(child, addnodes.start_of_file) else docname
            yield home, child
            yield from by_document(child, home)


def ambiguous(tree: nodes.Element, docname: str) -> dict[Anchor, str]:
    """The anchors that more than one document has, and names of which there is one each."""
    homes = defaultdict(set)
    for home, node in by_document(tree, docname):
        for anchor in node.get("ids", []):
            homes[anchor].add(home)
    return {
        (home, anchor): f"{nodes.make_id(home)}-{anchor}"
        for anchor, found in homes.items()
        if len(found) > 1
        for home in found
    }


class PrintedBook(SingleFileHTMLBuilder):
    """Sphinx's single page, with links and anchors that hold; it keeps the name, by which Sphinx's writers know it."""

    def init(self) -> None:
        """A picture leads to no file beside the page: on paper there is none."""
        self.config.html_scaled_image_link = False
        super().init()

    def get_outfilename(self, pagename: str) -> str:
        """One file, whatever the page is called."""
        return str(Path(self.outdir) / "printed.html")

    def assemble_doctree(self) -> nodes.document:
        """The inlined book below its table of contents, once its ambiguous anchors have new names."""
        self.renamed: dict[Anchor, str] = {}
        tree = super().assemble_doctree()
        for home, node in list(by_document(tree, self.config.root_doc)):
            for key in ("ids", "backrefs"):
                if key in node:
                    node[key] = [self.renamed.get((home, anchor), anchor) for anchor in node[key]]
            if "refid" in node:
                node["refid"] = self.renamed.get((home, node["refid"]), node["refid"])
        contents = global_toctree_for_doc(self.env, self.config.root_doc, self, collapse=False, maxdepth=2)
        if contents is not None:
            self.fix_refuris(contents)
            for part in list(contents.findall(nodes.bullet_list)):
                part.children = [item for item in part if next(item.findall(nodes.reference), None)]
                if not part.children:  # it goes, with its caption
                    place = part.parent.index(part)
                    del part.parent[place - isinstance(part.parent[place - 1], nodes.title) : place + 1]
            tree[0].insert(1, nodes.container("", contents, classes=["printed-contents"]))
        return tree

    def fix_refuris(self, tree: nodes.Node) -> None:
        """Turn `#document-DOCUMENT#ANCHOR` into the anchor's name on this page."""
        if isinstance(tree, nodes.document):
            for part in list(tree.findall(addnodes.start_of_file)):
                if self.left_out(part["docname"]):
                    part.parent.remove(part)
            self.renamed = ambiguous(tree, self.config.root_doc)
        for reference in list(tree.findall(nodes.reference)):
            document, found, anchor = reference.get("refuri", "").removeprefix("#document-").partition("#")
            if not reference.get("refuri", "").startswith("#document-"):
                continue
            if self.left_out(document):
                reference.replace_self(reference.children)
            elif found:
                reference["refuri"] = "#" + self.renamed.get((document, anchor), anchor)

    def left_out(self, document: str) -> bool:
        """Whether a document is not printed."""
        return document.startswith(tuple(self.config.printed_book_without))

    def assemble_toc_secnumbers(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The numbers of sections, under the new names of their anchors."""
        numbers = {
            f"{document}/{'#' if anchor else ''}{self.renamed.get((document, anchor[1:]), anchor[1:])}": number
            for document, found in self.env.toc_secnumbers.items()
            for anchor, number in found.items()
        }
        return {self.config.root_doc: numbers}

    def assemble_toc_fignumbers(self) -> dict[str, dict[str, dict[str, tuple[int, ...]]]]:
        """The numbers of figures, tables and algorithms, under the new names of their anchors."""
        numbers = {
            f"{document}/{kind}": {
                self.renamed.get((document, anchor), anchor): number for anchor, number in found.items()
            }
            for document, kinds in self.env.toc_fignumbers.items()
            for kind, found in kinds.items()
        }
        return {self.config.root_doc: numbers}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Put this builder in the place of Sphinx's."""
    app.add_config_value("printed_book_without", [], "")
    app.add_builder(PrintedBook, override=True)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
