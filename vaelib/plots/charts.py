r"""Curves, dots and points of one run or of repeated ones."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vaelib.plots.names import name_apart
from vaelib.plots.theme import COLOURS, MARKERS, WIDTH

#: Noise, over the variance of the data, of the models that the inset of `budget_plane` magnifies.
MAGNIFIED = (1e-2, 5.0)
#: The least noise that `budget_plane` draws.
LEAST = 1e-7


class Series(NamedTuple):
    """A curve with the spread of repeated runs: `x` `[n]`, `values` `[runs, n]`.

    >>> runs = Series(x=[1, 2, 3], values=[[0.1, 0.4, 0.5], [0.3, 0.4, 0.7]])  # two runs of three values
    >>> figure = curves(Curves("share", {"VAE": runs}), xlabel="epoch")
    >>> len(figure.axes[0].lines)  # their mean, and each of them as dots
    3
    """

    x: Sequence[float]
    values: Sequence[Sequence[float]]


class Curves(NamedTuple):
    """What one plot shows: labelled series, and labelled horizontal lines for reference.

    >>> panel = Curves("nats", {"VAE": Series([1, 10], [[0.1, 1.0]])}, lines={"least": 0.05}, log_y=True)
    >>> curves(panel, xlabel="beta", log_x=True).axes[0].get_yscale()
    'log'
    """

    ylabel: str
    series: Mapping[str, Series]
    lines: Mapping[str, float] = MappingProxyType({})
    log_y: bool = False


def curves(*panels: Curves, xlabel: str, log_x: bool = False, ticks_at_values: bool = False) -> Figure:
    """One plot per panel, side by side over a common x: means of repeated runs, and every run as a small dot.

    With `ticks_at_values` the x axis has a tick wherever a series has a value, and no others.

    >>> panel = Curves("nats", {"VAE": Series([1, 2, 4], [[0.1, 0.4, 0.5]])})
    >>> figure = curves(panel, panel, xlabel="beta", ticks_at_values=True)
    >>> len(figure.axes), figure.axes[0].get_xticks().tolist()
    (2, [1, 2, 4])
    """
    width = WIDTH if len(panels) > 1 else WIDTH * 0.75
    entries = max(len(panel.series) + len(panel.lines) for panel in panels)
    figure = Figure(figsize=(width, WIDTH * 0.43 + 0.17 * entries), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel, letter in zip(axes, panels, "abcdef", strict=False):
        for number, (label, (x, values)) in enumerate(panel.series.items()):
            runs = np.asarray(values, dtype=float)
            line = axis.plot(x, runs.mean(axis=0), marker=MARKERS[number % len(MARKERS)], markersize=4, label=label)[0]
            for run in runs if len(runs) > 1 else ():
                axis.plot(x, run, ".", color=line.get_color(), alpha=0.5, markersize=3)
        for style, (label, value) in zip((":", "--", "-."), panel.lines.items(), strict=False):
            axis.axhline(value, color="0.3", linestyle=style, linewidth=1, label=label)
        axis.set(xlabel=f"{xlabel}\n({letter})" if len(panels) > 1 else xlabel, ylabel=panel.ylabel)
        axis.set(xscale="log" if log_x else "linear", yscale="log" if panel.log_y else "linear")
        if ticks_at_values:
            axis.set_xticks(sorted({value for series in panel.series.values() for value in series.x}))
    for axis in axes:
        _legend_above(figure, axis)
    return figure


def _legend_above(figure: Figure, axis: Axes) -> None:
    """The legend over the axes, where it hides nothing, in as many columns as are no wider than the axes."""
    for columns in (3, 2, 1):
        legend = axis.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=columns)
        legend.set_in_layout(False)  # one that is too wide would squeeze the axes
        figure.draw_without_rendering()
        if legend.get_window_extent().width <= axis.bbox.width:
            break
    legend.set_in_layout(True)


def split_spectrum(eigenvalues: Tensor, *, latent_dim: int) -> Figure:
    """Eigenvalues `[m]` from the largest; the first d, the others, and the mean of the others as a line.

    >>> import torch
    >>> figure = split_spectrum(torch.tensor([3.0, 0.5, 0.5]), latent_dim=1)
    >>> figure.axes[0].lines[0].get_label()
    'to the code: 75% of the variance'
    """
    values = eigenvalues.cpu().numpy()
    rank = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(WIDTH * 0.75, WIDTH * 0.45), layout="constrained")
    axis = figure.subplots()
    share = values[:latent_dim].sum() / values.sum()
    parts = {f"to the code: {share:.0%} of the variance": slice(latent_dim), "left over": slice(latent_dim, None)}
    for (label, part), marker, colour in zip(parts.items(), MARKERS, COLOURS, strict=False):
        axis.plot(rank[part], values[part], marker, markersize=3, color=colour, label=label)
    left = values[latent_dim:].mean()
    axis.axhline(left, color="0.3", linestyle="--", linewidth=1, label=rf"their mean, $\sigma^2 = {left:.4f}$")
    axis.set(xscale="log", yscale="log", xlabel="direction $i$", ylabel=r"eigenvalue $\lambda_i$", ylim=(1e-6, None))
    axis.legend()
    return figure


class Point(NamedTuple):
    """One model on the plane of the variance budget.

    >>> figure = budget_plane({"models": [Point("autoencoder", explained=0.9, noise=0.1)]})
    >>> figure.axes[0].get_yscale()
    'log'
    """

    label: str
    explained: float
    noise: float


def budget_plane(groups: Mapping[str, Sequence[Point]], *, joined: Sequence[str] = ()) -> Figure:
    """Noise over explained variance, both as shares of the data's; the line is where their sum is the data's.

    The points of the groups in `joined` are joined in their order. Those whose noise is `MAGNIFIED` are named in an
    inset, where there are any.

    >>> weak, strong = Point("beta = 1", 0.8, 0.2), Point("beta = 10", 0.1, 0.9)
    >>> figure = budget_plane({"VAE": [weak, strong]}, joined=["VAE"])
    >>> figure.axes[0].lines[-1].get_label()
    'VAE'
    """
    figure = Figure(figsize=(WIDTH, WIDTH * 0.8), layout="constrained")
    axis = figure.subplots()
    _draw_budget(axis, groups, joined)
    axis.set(yscale="log", xlabel="variance that the code explains, over that of the data")
    axis.set_ylabel("variance that the observation adds,\nover that of the data")
    figure.legend(loc="outside upper center", ncols=2)
    points = [point for several in groups.values() for point in several]
    near = [point for point in points if MAGNIFIED[0] <= point.noise <= MAGNIFIED[1]]
    views = {axis: [point for point in points if point not in near]}
    if near:
        inset = axis.inset_axes((0.06, 0.05, 0.72, 0.57))
        _draw_budget(inset, groups, joined)
        x, y = [point.explained for point in near], [point.noise for point in near]
        inset.set(yscale="log", xlim=(min(x) - 0.08, min(1.0, max(x) + 0.08)), ylim=(min(y) / 2, max(y) * 2))
        inset.tick_params(labelsize=7)
        inset.spines[:].set_visible(True)
        axis.indicate_inset_zoom(inset, edgecolor="0.5")
        views[inset] = near
    line = np.linspace(0, 0.999, 400)
    marks = [(point.explained, max(point.noise, LEAST)) for point in points] + list(zip(line, 1 - line, strict=True))
    for view, named in views.items():
        names = [(p.label, (p.explained, max(p.noise, LEAST)), None) for p in named if p.label]
        name_apart(figure, view, names, padding=1, clear_of=marks, fontsize=7)
    return figure


def _draw_budget(axis: Axes, groups: Mapping[str, Sequence[Point]], joined: Sequence[str]) -> None:
    explained = np.linspace(0, 0.999, 400)
    axis.plot(explained, 1 - explained, color="0.3", linewidth=1, label="explained + noise = variance of the data")
    for (group, points), marker, colour in zip(groups.items(), MARKERS, COLOURS, strict=False):
        x, y = [p.explained for p in points], [max(p.noise, LEAST) for p in points]
        style = "-" if group in joined else "none"
        axis.plot(x, y, marker, linestyle=style, linewidth=0.7, color=colour, markersize=5, label=group)


def dots(
    rows: Mapping[str, Mapping[str, float | Sequence[float]]], *, xlabel: str, lines: Mapping[str, float] | None = None
) -> Figure:
    """One line of dots per row, a marker for each kind of value; labelled vertical lines for reference.

    The marker of repeated runs stands at their mean, and every run is a small dot.

    >>> rows = {"VAE": {"test": [1.0, 1.2], "train": 0.9}, "PCA": {"test": 1.5}}
    >>> figure = dots(rows, xlabel="bits per dimension", lines={"uniform": 8.0})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['VAE', 'PCA']
    """
    kinds = list(dict.fromkeys(kind for values in rows.values() for kind in values))
    figure = Figure(figsize=(WIDTH, 0.24 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    for kind, marker, colour in zip(kinds, MARKERS, COLOURS, strict=False):
        runs = {row: np.atleast_1d(values[kind]) for row, values in enumerate(rows.values()) if kind in values}
        means = [several.mean() for several in runs.values()]
        axis.plot(means, list(runs), marker, color=colour, markersize=5, label=kind, linestyle="none")
        for row, several in runs.items():
            if len(several) > 1:
                axis.plot(several, [row] * len(several), ".", color="black", markersize=3, zorder=1.9)  # under the mark
    axis.set(xlabel=xlabel)
    _finish_rows(figure, axis, rows, lines or {})
    return figure


def implied_deviations(marks: Mapping[str, Sequence[tuple[float, bool]]], lines: Mapping[str, float]) -> Figure:
    """One row per program: its standard deviations, filled where they are the default; labelled vertical lines.

    >>> figure = implied_deviations({"program": [(1.0, True), (0.1, False)]}, lines={"of the images": 0.3})
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure = Figure(figsize=(WIDTH, 0.28 * len(marks) + 1.4), layout="constrained")
    axis = figure.subplots()
    for row, deviations in enumerate(marks.values()):
        for deviation, is_default in deviations:
            face = COLOURS[0] if is_default else "white"
            axis.plot(deviation, row, "o", color=COLOURS[0], markerfacecolor=face, markersize=7, zorder=3)
    axis.plot([], [], "o", color=COLOURS[0], label="default")
    axis.plot([], [], "o", color=COLOURS[0], markerfacecolor="white", label="option")
    axis.set(xscale="log", xlabel="standard deviation of a pixel")
    _finish_rows(figure, axis, marks, lines)
    return figure


def _finish_rows(figure: Figure, axis: Axes, rows: Collection[str], lines: Mapping[str, float]) -> None:
    """The labels of the rows, the first on top, vertical lines for reference, and the legend over all."""
    for style, (label, value) in zip((":", "--", "-.", "-"), lines.items(), strict=False):
        axis.axvline(value, color="0.3", linestyle=style, linewidth=1, label=label)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.grid(axis="y", color="0.9")
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3)
