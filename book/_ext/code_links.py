r"""A small link to the code beside each numbered equation, each algorithm, and each claim in a table.

Which function computes an equation is said once, in the tables of the page `code_links_table`: each row that holds
references to objects of the library gives them to the equations and algorithms that its first cell refers to. A
numbered equation or an algorithm without a row is a warning. A claim, C01 alone in the first cell of a row, leads to
the object C01 in `code_links_claims` or below; without one it is a warning too, of the type `code_links.claim`.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

CLAIM = re.compile(r"C\d\d")


def code_of(env: BuildEnvironment) -> dict[str, list[str]]:
    """For the label of each equation and algorithm the full names of the objects that its row gives."""
    found: dict[str, list[str]] = {}
    if env.config.code_links_table in env.found_docs:
        for row in env.get_doctree(env.config.code_links_table).findall(nodes.row):
            objects = [link["reftarget"] for link in row.findall(addnodes.pending_xref) if link["refdomain"] == "py"]
            if objects:
                found |= {link["reftarget"]: objects for link in row[0].findall(addnodes.pending_xref)}
    return found


def numbered(env: BuildEnvironment) -> dict[str, str]:
    """The label of each numbered equation and of each algorithm, and the page where it is."""
    equations = env.domaindata["math"]["objects"].items()
    found = {label: page for label, (page, _) in equations if page in env.toc_secnumbers}
    proofs = getattr(env, "proof_list", {}).items()
    return found | {label: proof["docname"] for label, proof in proofs if proof["realtype"] == "algorithm"}


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each that has no row."""
    known = code_of(env)
    for label, page in numbered(env).items():
        if label not in known:
            logger.warning("%s has no code in the table of %s", label, env.config.code_links_table, location=page)


class CodeLinks(SphinxPostTransform):
    """Put the links where they belong."""

    default_priority = 5  # before references are resolved, at 10

    def run(self, **kwargs: object) -> None:
        """Equations and algorithms by their labels, claims by their place in a table."""
        known = code_of(self.env)
        for node in list(self.document.findall(nodes.Element)):
            if isinstance(node, nodes.math_block) and node.get("label") in known:
                node.parent.insert(node.parent.index(node) + 1, self.line(known[node["label"]]))
            elif node.tagname == "algorithm_node" and node.get("label") in known:
                node += self.line(known[node["label"]])
            elif isinstance(node, nodes.tbody):
                self.link_claims(node)

    def line(self, objects: list[str]) -> nodes.paragraph:
        """The word, and each object by the last part of its name."""
        line = nodes.paragraph("", "code: ", classes=["code-link"])
        for number, name in enumerate(objects):
            line += [nodes.Text(", ")] * bool(number) + [self.link(name, nodes.literal("", name.rpartition(".")[2]))]
        return line

    def link(self, name: str, content: nodes.Node) -> addnodes.pending_xref:
        """A reference to an object, to be resolved with all others."""
        place = {"refdoc": self.env.docname, "refdomain": "py", "reftype": "obj", "reftarget": name, "refwarn": True}
        return addnodes.pending_xref("", content, **place)

    def link_claims(self, body: nodes.tbody) -> None:
        """A link in the first row of each claim."""
        seen = set()
        for row in body.findall(nodes.row):
            claim = row[0].astext().strip()
            if CLAIM.fullmatch(claim) and claim not in seen and (name := self.claim(claim)):
                link = nodes.inline("", "", self.link(name, nodes.inline("", "code")), classes=["code-link"])
                place = next(row[0].findall(nodes.paragraph), row[0])
                place += [nodes.Text(" "), link]
            seen.add(claim)

    def claim(self, claim: str) -> str | None:
        """The full name of the claim's object, or None and a warning."""
        claims = self.env.config.code_links_claims
        for name in self.env.domaindata["py"]["objects"]:
            if name.startswith(f"{claims}.") and name.endswith(f".{claim}"):
                return name
        where = {"location": self.env.docname, "type": "code_links", "subtype": "claim"}
        logger.warning("%s has no entry below %s", claim, claims, **where)
        return None


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the settings, the check and the links."""
    app.add_config_value("code_links_table", "notation", "env")
    app.add_config_value("code_links_claims", "claims", "env")
    app.connect("env-check-consistency", check)
    app.add_post_transform(CodeLinks)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
