"""A line under each computed figure: by which models, and links to its code and to the models' configurations.

It reads what `vaelib notebook run` wrote into the metadata of the figure's cell, and links to labels `model-NAME`,
one for each model, on the page that `provenance_models` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

#: What `vaelib.study.trained.fetch` says of a model that it found: nothing that the line does not say.
FOUND = re.compile(r"\S+ \(\w+, seed \d+\): loaded")
#: Of more models than this the line says how many they are, and names them in a box that is closed at first.
NAMED_IN_LINE = 4

Inline = list[nodes.Node]


class MoreModels(nodes.General, nodes.Element):
    """A box that is closed at first, with a text to open it."""


class FigureProvenance(SphinxPostTransform):
    """Put the line below the caption of each figure whose cell says what it was computed from.

    An output without a caption, such as an interactive one, has the line below it.
    """

    default_priority = 201  # after myst-nb has chosen what a cell shows, at 4, and sources are folded, at 200
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        """Look at each cell with such metadata."""
        for cell in self.document.findall(nodes.container):
            metadata = cell.get("cell_metadata", {})
            provenance = metadata.get("vaelib")
            if provenance:
                figure = next(cell.findall(nodes.figure), None)
                name = figure["ids"][0] if figure and figure["ids"] else f"cell-{cell['cell_index']}"
                anchor = self.code_anchor(cell, f"code-{name}")
                legend = self.legend(provenance, anchor, stored=metadata.get("measured_by", ""))
                if figure:
                    figure += nodes.legend("", *legend)
                else:
                    cell += legend
                self.drop_found(cell)

    def drop_found(self, cell: nodes.container) -> None:
        """Take away printed text that says no more than that models were found."""
        for printed in list(cell.findall(nodes.literal_block)):
            lines = printed.astext().splitlines()
            if "stream" in printed["classes"] and all(FOUND.fullmatch(line) for line in lines):
                printed.parent.remove(printed)

    def code_anchor(self, cell: nodes.container, anchor: str) -> str:
        """The anchor, given to the cell's source as its id; empty if the page does not show the source.

        The id is inside the foldable box, so that browsers open the box for who follows the link.
        """
        for part in cell.findall(nodes.container):
            if part.get("nb_element") == "cell_code_source":
                part["ids"].append(anchor)
                return anchor
        return ""

    def legend(self, provenance: dict, anchor: str, *, stored: str = "") -> list[nodes.Node]:
        """The line, and the box if there are many models; `stored` is the command that measured what the cell reads."""
        groups: dict[tuple[str, str], list[str]] = {}
        for profile, models in provenance["models"].items():
            for name, seeds in models.items():
                groups.setdefault((profile, seeds), []).append(name)
        names = sorted({name for group in groups.values() for name in group}, key=_natural)
        many = len(names) > NAMED_IN_LINE
        if stored:
            items = [[nodes.Text("Measured by "), nodes.literal("", stored), nodes.Text(", stored with the text")]]
        else:
            items = list(self.how(groups, names, provenance["parameters"], many=many))
        if anchor:
            items.append([nodes.reference("", "code", refid=anchor, internal=True)])
        if len(names) == 1:
            items.append([self.link(f"model-{names[0]}", "configuration")])
        elif names:
            items.append([self.link("", "all configurations")])
        legend: list[nodes.Node] = [nodes.paragraph("", "", *_joined(items, " · "), classes=["figure-provenance"])]
        if many:
            box = MoreModels(prompt=f"The {len(names)} models")
            box += [self.group(*key, group) for key, group in groups.items()]
            legend.append(box)
        return legend

    def how(
        self, groups: dict[tuple[str, str], list[str]], names: list[str], parameters: dict, *, many: bool
    ) -> Iterable[Inline]:
        """By which models, and under which profile and seeds."""
        profiles = {profile for profile, _ in groups} or {str(parameters.get("profile"))}
        each = len(groups) > 1 and not many  # few models, some under other seeds
        if many:
            yield [nodes.Text(f"Computed by {len(names)} models")]
        elif each:
            parts = [[*self.links(group), nodes.Text(f" ({_seeds(key[1])})")] for key, group in groups.items()]
            yield [nodes.Text("Computed by "), *_joined(parts, ", ")]
        elif names:
            yield [nodes.Text("Computed by "), *self.links(names)]
        else:
            yield [nodes.Text("Computed by no model")]
        yield [nodes.Text(f"profile {' and '.join(sorted(profiles))}")]
        if not each:
            yield [nodes.Text(_seeds(_union(seeds for _, seeds in groups) or str(parameters.get("seed"))))]

    def group(self, profile: str, seeds: str, names: list[str]) -> nodes.paragraph:
        """Models that were run under the same seeds."""
        said = nodes.Text(f"Profile {profile}, {_seeds(seeds)}: ")
        return nodes.paragraph("", "", said, *self.links(names), classes=["figure-provenance"])

    def links(self, names: list[str]) -> Inline:
        """The models by name, each with a link to its entry."""
        return _joined([[self.link(f"model-{name}", name)] for name in sorted(names, key=_natural)], ", ")

    def link(self, label: str, text: str) -> nodes.Node:
        """A link to an entry of the page of models, or to the page itself; plain text, and a warning, without it."""
        page, anchor = self.app.config.provenance_models, ""
        if label:
            labels = self.env.domaindata["std"]["anonlabels"]
            page, anchor = labels.get(nodes.fully_normalize_name(label), ("", ""))
        if page not in self.env.found_docs:
            logger.warning("a figure was computed by a model without an entry: %s", label, type="provenance")
            return nodes.Text(text)
        return make_refnode(self.app.builder, self.env.docname, page, anchor, nodes.Text(text))


def _seeds(ranges: str) -> str:
    """0-2,7 as words: seeds 0 to 2, 7."""
    word = "seed" if ranges.isdecimal() else "seeds"
    return f"{word} {ranges.replace('-', ' to ').replace(',', ', ')}"


def _union(ranges: Iterable[str]) -> str:
    """The seeds of all texts as one: 0 and 0-2 are 0-2."""
    ends = [part.partition("-") for text in ranges for part in text.split(",")]
    runs: list[list[int]] = []
    for first, last in sorted((int(first), int(last or first)) for first, _, last in ends):
        if runs and first <= runs[-1][1] + 1:
            runs[-1][1] = max(last, runs[-1][1])
        else:
            runs.append([first, last])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _natural(name: str) -> list[tuple[float, str]]:
    """Sort key that has d2 before d20 and 0.5 before 2."""
    return [(float(part), "") if part[0].isdigit() else (-1.0, part) for part in re.findall(r"\d+(?:\.\d+)?|\D+", name)]


def _joined(parts: list[Inline], separator: str) -> Inline:
    joined: Inline = []
    for part in parts:
        joined += [nodes.Text(separator), *part] if joined else part
    return joined


def visit_more_models(self: HTML5Translator, node: MoreModels) -> None:
    """The box and what opens it."""
    self.body.append(f'<details class="figure-provenance"><summary>{node["prompt"]}</summary>\n')


def depart_more_models(self: HTML5Translator, node: MoreModels) -> None:
    """The end of the box."""
    self.body.append("</details>\n")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the setting, the box and the transform."""
    app.add_config_value("provenance_models", "models", "env")  # the page with an entry for each model
    app.add_node(MoreModels, html=(visit_more_models, depart_more_models))
    app.add_post_transform(FigureProvenance)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
