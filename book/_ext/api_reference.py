r"""The reference: what Sphinx's autodoc leaves to be done for a library whose docstrings name code in single backticks.

`[B, d]` is code. A name that the library has, `elbo_nats` or `vaelib.vae`, is code and a link to its entry. Constants
have entries, documented or not, and one whose value is no short literal is shown as it is written. A field has one if
it says more than the signature of its class. What a package offers from its modules is listed by the package and has
its entry in the module.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils import unescape
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc import ClassDocumenter, DataDocumenter, ModuleDocumenter
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import isgenericalias
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

#: Values of more characters are shown as they are written, below the name.
LONGEST = 60
#: What Python prints of a default that is a class, a function, a member of an enumeration, or made anew each time.
PRINTED = re.compile(r"<(?:class '(?:\w+\.)*|function )?([\w.]+)(?:'|: [^>]*| at 0x\w+)?>")


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
    assigned = statement.targets if isinstance(statement, ast.Assign) else []
    assigned += [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return [part for one in assigned for part in (one.elts if isinstance(one, ast.Tuple) else [one])]


def fills(statement: ast.stmt) -> bool:
    """Whether a statement assigns to parts of what there is, perhaps in a loop."""
    if isinstance(statement, ast.For):
        return all(map(fills, statement.body))
    return any(isinstance(target, ast.Subscript | ast.Attribute) for target in targets(statement))


def name_defaults(
    app: Sphinx, what: str, name: str, it: Any, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Give defaults that Python can only print a name, so that the signature is read as Python."""
    return signature and PRINTED.sub(r"\1", signature), returned


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


class ClassWithoutBareFields(ClassDocumenter):
    """autodoc's class, without fields of which there is no more to say than its signature says, nor `object`."""

    def add_directive_header(self, sig: str) -> None:
        """The signature, and bases if there are any."""
        self.options = self.options.copy()
        self.options["show-inheritance"] = self.object.__bases__ != (object,)
        super().add_directive_header(sig)

    def filter_members(self, members: Any, want_all: bool) -> list[tuple[str, Any, bool]]:
        """Members but those that are annotated and not documented."""
        documented = {name for _, name in self.analyzer.attr_docs} if self.analyzer else set()
        bare = inspect.get_annotations(self.object).keys() - documented
        return [member for member in super().filter_members(members, want_all) if member[0] not in bare]


class Constant(DataDocumenter):
    """autodoc's constant, without its type's docstring, and as it is written where its value is no short literal."""

    @property
    def long(self) -> bool:
        """Whether the value is not to be shown beside the name."""
        printed = repr(self.object)
        try:
            ast.literal_eval(printed)
        except (SyntaxError, ValueError):
            return True
        return len(printed) > LONGEST

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
        if self.long and not isgenericalias(self.object):  # of which autodoc says what it is short for
            written = assignments(self.modname)[self.objpath[-1]].splitlines()
            for line in (".. code-block:: python", "", *(f"   {line}" for line in written), ""):
                more_content.append(line, "")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the role, the links and the documenters."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_role("maybe", code)
    app.connect("missing-reference", link_unique)
    app.connect("autodoc-process-docstring", list_offers)
    app.connect("autodoc-process-signature", name_defaults)
    app.add_autodocumenter(ModuleWithConstants, override=True)
    app.add_autodocumenter(ClassWithoutBareFields, override=True)
    app.add_autodocumenter(Constant, override=True)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
