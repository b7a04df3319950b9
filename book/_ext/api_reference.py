r"""The reference: what Sphinx's autodoc leaves to be done for a library whose docstrings name code in single backticks.

`[B, d]` is code. A name that the library has, `elbo_nats` or `vaelib.vae`, is code and a link to its entry. Constants
have entries, documented or not, and one whose value does not fit a line is shown as it is written. What a package
offers from its modules is listed by the package and has its entry in the module.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils import unescape
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc import DataDocumenter, ModuleDocumenter
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

#: Values of more characters are shown as they are written, below the name.
LONGEST = 60


def code(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: object = None, content: object = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role of single backticks: code, and if it is a name, perhaps a link."""
    text, env = unescape(text), inliner.document.settings.env
    literal = nodes.literal(rawtext, text)
    if not re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return [literal], []
    place = {key: env.ref_context.get(key) for key in ("py:module", "py:class")}
    return [
        addnodes.pending_xref(
            rawtext, literal, refdoc=env.docname, refdomain="py", reftype="obj", reftarget=text, maybe=True, **place
        )
    ], []


def link_unique(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """A reference to a name of another module: a link if only one has it; in single backticks, only to a class."""
    kinds = {"obj": ("class",), "func": ("function",), "class": ("class", "exception")}
    name, kind = node["reftarget"], kinds.get(node["reftype"], ())
    objects = env.domaindata["py"]["objects"].items()
    found = [(full, entry) for full, entry in objects if full.endswith(f".{name}") and entry.objtype in kind]
    if len(found) != 1:
        return content if node.get("maybe") else None
    [(full, entry)] = found
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, full)


@cache
def assignments(module: str) -> dict[str, str]:
    """The names that a module assigns, each with its statement, and those right below that fill it, as written."""
    source = ModuleAnalyzer.for_module(module).code
    lines, found = source.splitlines(), {}
    statements = ast.parse(source).body
    for place, statement in enumerate(statements):
        last = statement
        for following in statements[place + 1 :]:
            if following.lineno > (last.end_lineno or 0) + 1 or not fills(following):
                break
            last = following
        written = "\n".join(lines[statement.lineno - 1 : last.end_lineno])
        found |= {target.id: written for target in targets(statement) if isinstance(target, ast.Name)}
    return found


def targets(statement: ast.stmt) -> list[ast.expr]:
    """What a statement assigns."""
    assigned = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [part for one in assigned for part in (one.elts if isinstance(one, ast.Tuple) else [one]) if part]


def fills(statement: ast.stmt) -> bool:
    """Whether a statement assigns to parts of what there is, perhaps in a loop."""
    if isinstance(statement, ast.For):
        return all(map(fills, statement.body))
    return any(isinstance(target, ast.Subscript | ast.Attribute) for target in targets(statement))


def list_offers(app: Sphinx, what: str, name: str, package: Any, options: object, lines: list[str]) -> None:
    """Add to what a package says of itself the names that it offers from its modules."""
    if what == "module" and hasattr(package, "__path__"):
        offers = [
            f":py:obj:`~{member.__module__}.{member.__qualname__}`"
            for key, member in sorted(vars(package).items())
            if not key.startswith("_") and getattr(member, "__module__", "").startswith(f"{name}.")
        ]
        lines += ["", f"It offers {', '.join(offers)}.", ""] if offers else []


class ModuleWithConstants(ModuleDocumenter):
    """autodoc's module, in which a constant needs no comment to have an entry."""

    def filter_members(self, members: Any, want_all: bool) -> list[tuple[str, Any, bool]]:
        """Members, and whether each is an attribute: what the module assigns is, what it imports is not."""
        assigned, found = assignments(self.modname), super().filter_members(members, want_all)
        return [(name, member, attribute or name in assigned) for name, member, attribute in found]


class Constant(DataDocumenter):
    """autodoc's constant, without the docstring of its type, and as it is written where its value is long."""

    @property
    def long(self) -> bool:
        """Whether the value does not fit beside the name."""
        return len(repr(self.object)) > LONGEST

    def should_suppress_value_header(self) -> bool:
        """Whether the value is not shown beside the name."""
        return self.long or super().should_suppress_value_header()

    def get_doc(self) -> list[list[str]]:
        """The comment or docstring in the module, never that of int."""
        comment = self.get_module_comment(self.objpath[-1])
        return [comment] if comment else []

    def update_content(self, more_content: StringList) -> None:
        """Add the source of a long value."""
        super().update_content(more_content)
        if self.long:
            written = assignments(self.modname)[self.objpath[-1]].splitlines()
            for line in (".. code-block:: python", "", *(f"   {line}" for line in written), ""):
                more_content.append(line, "")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the role, the links and the documenters."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_role("maybe", code)
    app.connect("missing-reference", link_unique)
    app.connect("autodoc-process-docstring", list_offers)
    app.add_autodocumenter(ModuleWithConstants, override=True)
    app.add_autodocumenter(Constant, override=True)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
