r"""Number a one-chapter book as chapter N of a thesis.

Sections are 5.1, 5.2, ..., figures, tables and equations are counted through the whole chapter (Figure 5.3, equation
(5.4)), algorithms through the whole thesis (Algorithm 6), and the pages of the appendix are lettered (A, A.1,
Figure A.1). Pages outside the numbered parts of the table of contents have no numbers at all.

It needs `numfig: true`, `numfig_secnum_depth: 1`, `math_numfig: true` and parts that are numbered each by itself
(`use_multitoc_numbering: false`).
"""

from __future__ import annotations

from string import ascii_uppercase

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.util.typing import ExtensionMetadata

Number = tuple[int | str, ...]


def thesis_number(env: BuildEnvironment, docname: str, number: Number) -> Number:
    """The number of a section as the thesis has it: (2, 1) is 5.2.1 in the chapter and B.1 in the appendix."""
    if docname.startswith(env.config.thesis_appendix):
        return (ascii_uppercase[int(number[0]) - 1], *number[1:])
    return (env.config.thesis_chapter, *number)


def renumber_sections(env: BuildEnvironment) -> None:
    """Rewrite the section numbers that Sphinx has just assigned: headings, page titles and tables of contents."""
    for docname, numbers in env.toc_secnumbers.items():
        for anchor, number in numbers.items():
            if number:
                numbers[anchor] = thesis_number(env, docname, number)
        titled = [env.titles[docname], *env.tocs[docname].findall(nodes.reference)]
        for node in titled:
            if node.get("secnumber"):
                node["secnumber"] = thesis_number(env, docname, tuple(node["secnumber"]))


def renumber_figures(env: BuildEnvironment) -> None:
    """Take the numbers off pages that are in no numbered part, and count algorithms through the thesis."""
    for docname in list(env.toc_fignumbers):
        if docname not in env.toc_secnumbers:
            del env.toc_fignumbers[docname]
    before = env.config.thesis_first_algorithm - 1
    for numbers in env.toc_fignumbers.values():
        algorithms = numbers.get("algorithm", {})
        for name, number in algorithms.items():
            if number[0] == env.config.thesis_chapter:
                algorithms[name] = (before + number[1],)


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Runs after Sphinx has numbered everything; figures are counted again, under the new sections."""
    renumber_sections(env)
    changed = TocTreeCollector().assign_figure_numbers(env)
    renumber_figures(env)
    return changed


def unnumber_equations(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """A labelled equation on a page without numbers shows none, rather than ()."""
    for equation in doctree.findall(nodes.math_block):
        if equation.get("docname", docname) not in app.env.toc_secnumbers:  # on a single page, that of its own page
            equation["number"] = None


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the settings and the renumbering."""
    app.add_config_value("thesis_chapter", 1, "env")
    app.add_config_value("thesis_first_algorithm", 1, "env")
    app.add_config_value("thesis_appendix", "appendix", "env")  # what the names of its pages begin with
    app.connect("env-get-updated", renumber, priority=600)  # Sphinx's own is at 500
    app.connect("doctree-resolved", unnumber_equations)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
