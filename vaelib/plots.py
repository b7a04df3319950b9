r"""Pictures: data in, a matplotlib Figure out. Captions and titles live in the book, colours and sizes here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from daft import PGM
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.transforms import Bbox
from torch import Tensor

from vaelib.sampling import Plane

SIDE = 28
WIDTH = 7.0
#: Ten colours chosen to stay apart for colour-blind readers (Petroff 2021).
DIGIT_COLOURS: list[str] = [entry["color"] for entry in plt.style.library["petroff10"]["axes.prop_cycle"]]
#: Shares of the prior that the circles of a latent plane hold.
PRIOR_MASS = (0.5, 0.99)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Noise, over the variance of the data, of the models that the inset of `budget_plane` magnifies.
MAGNIFIED = (1e-2, 5.0)
#: The least noise that `budget_plane` draws.
LEAST = 1e-7
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=DIGIT_COLOURS),
    "savefig.dpi": 130,
    "figure.dpi": 130,
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
    "legend.frameon": False,
}
plt.style.use(STYLE)
plt.switch_backend(mpl.get_backend())  # resolves the backend, so that a notebook shows a Figure that is returned


class Series(NamedTuple):
    """A curve with the spread of repeated runs: `x` `[n]`, `values` `[runs, n]`."""

    x: Sequence[float]
    values: Sequence[Sequence[float]]


class Curves(NamedTuple):
    """What one plot shows: labelled series, and labelled horizontal lines for reference."""

    ylabel: str
    series: Mapping[str, Series]
    lines: Mapping[str, float] = MappingProxyType({})
    log_y: bool = False


def rows_of_images(rows: Mapping[str, Tensor]) -> Figure:
    """One labelled row of images `[n, 784]` under another, e.g. originals over reconstructions."""
    n = len(next(iter(rows.values())))
    figure = Figure(figsize=(WIDTH, WIDTH / n * len(rows) * 1.05), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (label, images) in zip(axes, rows.items(), strict=True):
        _show(axis, tile(images, columns=n))
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


def image_grid(images: Tensor, *, columns: int, width: float = WIDTH / 2) -> Figure:
    """Images `[n, 784]` in rows of `columns`."""
    tiled = tile(images, columns=columns)
    figure = Figure(figsize=(width, width * tiled.shape[0] / tiled.shape[1]), layout="constrained")
    _show(figure.subplots(), tiled)
    return figure


def panels_of_images(panels: Mapping[str, Tensor], *, columns: int, across: int | None = None) -> Figure:
    """Several grids of images side by side, each with its label under it, `across` of them to a row."""
    across = across or len(panels)
    down = -(-len(panels) // across)
    tiles = {label: tile(images, columns=columns) for label, images in panels.items()}
    ratio = max(t.shape[0] / t.shape[1] for t in tiles.values())
    figure = Figure(figsize=(WIDTH, WIDTH / across * down * (ratio + 0.13)), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (label, tiled) in zip(axes, tiles.items(), strict=False):
        _show(axis, tiled)
        axis.set_xlabel(label)
    for axis in axes[len(tiles) :]:
        axis.set_axis_off()
    return figure


def latent_planes(*planes: Plane) -> Figure:
    """For each plane, (a) its codes, coloured by digit, with the prior as circles, and (b) the decoded grid."""
    figure = Figure(figsize=(WIDTH, WIDTH / 2 * 1.06 * len(planes)), layout="constrained")
    letters = iter("abcdef")
    axes = figure.subplots(len(planes), 2, squeeze=False)
    for (left, right), plane in zip(axes, planes, strict=True):
        _scatter_by_digit(left, plane.z, plane.labels)
        left.set_xlabel(f"$z_1$\n({next(letters)})")
        left.set_ylabel("$z_2$")
        _show(right, tile(plane.grid.flatten(0, 1), columns=plane.grid.shape[1]))
        right.set_xlabel(f"$z_1$ through the quantiles of N(0, 1)\n({next(letters)})")
        right.set_ylabel("$z_2$ through the quantiles")
    for (left, _), plane in zip(axes, planes, strict=True):
        _name_digits(figure, left, plane.z, plane.labels)
    return figure


def prior_radii() -> list[float]:
    r"""Radii of the circles that hold `PRIOR_MASS` of N(0, I) in the plane: :math:`\sqrt{-2 \ln(1 - p)}`."""
    return [float((-2 * np.log(1 - mass)) ** 0.5) for mass in PRIOR_MASS]


def _scatter_by_digit(axis: Axes, z: Tensor, labels: Tensor) -> None:
    """Codes z `[N, 2]`, one colour a digit, and the prior as circles."""
    points = z.cpu().numpy()
    for digit in sorted(set(labels.tolist())):
        chosen = points[(labels == digit).cpu().numpy()]
        axis.scatter(chosen[:, 0], chosen[:, 1], s=4, alpha=0.6, linewidths=0, color=DIGIT_COLOURS[digit])
    for radius in prior_radii():
        axis.add_patch(Circle((0, 0), radius, fill=False, linestyle=":", edgecolor="black", linewidth=1))
    limit = max(float(np.abs(points).max()), *prior_radii()) * 1.05
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def _name_digits(figure: Figure, axis: Axes, z: Tensor, labels: Tensor) -> None:
    """Each digit at the median of its codes, or near it where others are."""
    digits = sorted(set(labels.tolist()))
    medians = [tuple(np.median(z[labels == digit].cpu().numpy(), axis=0)) for digit in digits]
    circles = [{"boxstyle": "circle,pad=0.2", "fc": "white", "ec": DIGIT_COLOURS[digit], "lw": 1.5} for digit in digits]
    names = zip(map(str, digits), medians, circles, strict=True)
    _name_apart(figure, axis, names, padding=3.5, weight="bold")


def _name_apart(
    figure: Figure,
    axis: Axes,
    names: Iterable[tuple[str, tuple[float, float], dict[str, Any] | None]],
    *,
    padding: float,
    clear_of: Sequence[Sequence[float]] = (),
    **text: Any,
) -> None:
    """Write names at their points, or in the nearest place, joined to the point by a line, that is clear of the names
    before and of the points `clear_of`. The layout of the figure must be complete: it is final from here on.
    """
    figure.draw_without_rendering()
    scale = figure.dpi / 72  # pixels of a point, the unit of lengths in print
    marks = axis.transData.transform(np.reshape(clear_of, (-1, 2)))
    taken = [Bbox([mark, mark]).padded(3 * scale) for mark in marks]
    for name, point, box in names:
        style = {"ha": "center", "va": "center", "textcoords": "offset points", "bbox": box} | text
        probe = axis.annotate(name, point, (0, 0), **style)
        extent = probe.get_window_extent().padded(padding * scale)
        probe.remove()
        places = ((offset, extent.translated(scale * offset[0], scale * offset[1])) for offset in _places())
        fits = ((o, there) for o, there in places if _within(there, axis.bbox) and not there.count_overlaps(taken))
        offset, there = next(fits, ((0.0, 0.0), extent))
        taken.append(there)
        line = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        axis.annotate(name, point, offset, arrowprops=line if any(offset) else None, **style)


def _within(one: Bbox, other: Bbox) -> bool:
    return bool(other.contains(*one.p0) and other.contains(*one.p1))


def _places() -> Iterator[tuple[float, float]]:
    """Offsets in points, from none outwards in circles."""
    yield 0.0, 0.0
    for radius in range(2, 100, 2):
        for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
            yield radius * np.sin(angle), radius * np.cos(angle)


def curves(*panels: Curves, xlabel: str, log_x: bool = False, ticks_at_values: bool = False) -> Figure:
    """One plot per panel, side by side over a common x: means of repeated runs, and every run as a small dot.

    With `ticks_at_values` the x axis has a tick wherever a series has a value, and no others.
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
        axis.set(
            xlabel=f"{xlabel}\n({letter})" if len(panels) > 1 else xlabel,
            ylabel=panel.ylabel,
            xscale="log" if log_x else "linear",
            yscale="log" if panel.log_y else "linear",
        )
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
    """Eigenvalues `[m]` from the largest; the first d, the others, and the mean of the others as a line."""
    values = eigenvalues.cpu().numpy()
    rank = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(WIDTH * 0.75, WIDTH * 0.45), layout="constrained")
    axis = figure.subplots()
    share = values[:latent_dim].sum() / values.sum()
    parts = (
        (slice(0, latent_dim), f"to the code: {share:.0%} of the variance"),
        (slice(latent_dim, None), "left over"),
    )
    for (part, label), marker, colour in zip(parts, MARKERS, DIGIT_COLOURS, strict=False):
        axis.plot(rank[part], values[part], marker, markersize=3, color=colour, label=label)
    left = values[latent_dim:].mean()
    axis.axhline(left, color="0.3", linestyle="--", linewidth=1, label=rf"their mean, $\sigma^2 = {left:.4f}$")
    axis.set(xscale="log", yscale="log", xlabel="direction $i$", ylabel=r"eigenvalue $\lambda_i$", ylim=(1e-6, None))
    axis.legend()
    return figure


class Point(NamedTuple):
    """One model on the plane of the variance budget."""

    label: str
    explained: float
    noise: float


def budget_plane(groups: Mapping[str, Sequence[Point]], *, joined: Sequence[str] = ()) -> Figure:
    """Noise over explained variance, both as shares of the data's; the line is where their sum is the data's.

    The points of the groups in `joined` are joined in their order. Those whose noise is `MAGNIFIED` are named in an
    inset, where there are any.
    """
    figure = Figure(figsize=(WIDTH, WIDTH * 0.8), layout="constrained")
    axis = figure.subplots()
    _draw_budget(axis, groups, joined)
    axis.set(
        yscale="log",
        xlabel="variance that the code explains, over that of the data",
        ylabel="variance that the observation adds,\nover that of the data",
    )
    figure.legend(loc="outside upper center", ncols=2)
    points = [point for several in groups.values() for point in several]
    near = [point for point in points if MAGNIFIED[0] <= point.noise <= MAGNIFIED[1]]
    views = {axis: [point for point in points if point not in near]}
    if near:
        inset = axis.inset_axes((0.06, 0.05, 0.72, 0.57))
        _draw_budget(inset, groups, joined)
        (left, right), (low, high) = (
            (min(v), max(v)) for v in zip(*((p.explained, p.noise) for p in near), strict=True)
        )
        inset.set(yscale="log", xlim=(left - 0.08, min(1.0, right + 0.08)), ylim=(low / 2, high * 2))
        inset.tick_params(labelsize=7)
        inset.spines[:].set_visible(True)
        axis.indicate_inset_zoom(inset, edgecolor="0.5")
        views[inset] = near
    line = np.linspace(0, 0.999, 400)
    marks = [(point.explained, max(point.noise, LEAST)) for point in points] + list(zip(line, 1 - line, strict=True))
    for view, named in views.items():
        names = [(p.label, (p.explained, max(p.noise, LEAST)), None) for p in named if p.label]
        _name_apart(figure, view, names, padding=1, clear_of=marks, fontsize=7)
    return figure


def _draw_budget(axis: Axes, groups: Mapping[str, Sequence[Point]], joined: Sequence[str]) -> None:
    explained = np.linspace(0, 0.999, 400)
    axis.plot(explained, 1 - explained, color="0.3", linewidth=1, label="explained + noise = variance of the data")
    for (group, points), marker, colour in zip(groups.items(), MARKERS, DIGIT_COLOURS, strict=False):
        x, y = [p.explained for p in points], [max(p.noise, LEAST) for p in points]
        style = "-" if group in joined else "none"
        axis.plot(x, y, marker, linestyle=style, linewidth=0.7, color=colour, markersize=5, label=group)


def dots(
    rows: Mapping[str, Mapping[str, float | Sequence[float]]], *, xlabel: str, lines: Mapping[str, float] | None = None
) -> Figure:
    """One line of dots per row, a marker for each kind of value; labelled vertical lines for reference.

    The marker of repeated runs stands at their mean, and every run is a small dot.
    """
    kinds = list(dict.fromkeys(kind for values in rows.values() for kind in values))
    figure = Figure(figsize=(WIDTH, 0.24 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    for kind, marker, colour in zip(kinds, MARKERS, DIGIT_COLOURS, strict=False):
        runs = {row: np.atleast_1d(values[kind]) for row, values in enumerate(rows.values()) if kind in values}
        means = [several.mean() for several in runs.values()]
        axis.plot(means, list(runs), marker, color=colour, markersize=5, label=kind, linestyle="none")
        for row, several in runs.items():
            if len(several) > 1:
                axis.plot(several, [row] * len(several), ".", color="black", markersize=3, zorder=1.9)  # under the mark
    for style, (label, value) in zip((":", "--", "-."), (lines or {}).items(), strict=False):
        axis.axvline(value, color="0.3", linestyle=style, linewidth=1, label=label)
    axis.set(xlabel=xlabel, yticks=range(len(rows)), yticklabels=list(rows))
    axis.grid(axis="y", color="0.9")
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def vae_graph() -> Figure:
    """Code z below, image x above: the generative arrow p goes up, the inference arrow q, dashed, goes down."""
    pgm = PGM(shape=(5, 3), origin=(-2.5, -0.5))
    _code_and_image(pgm, at=0, observed=True)
    pgm.add_text(-1.85, 0.95, r"$p_\theta(\mathbf{x} \mid \mathbf{z})$")
    pgm.add_text(0.75, 0.95, r"$q_\varphi(\mathbf{z} \mid \mathbf{x})$")
    figure = _rendered(pgm)
    for start, end, style in (
        ((-0.2, 0.3), (-0.2, 1.7), "-"),
        ((0.2, 1.7), (0.2, 0.3), "--"),
    ):
        arrow = FancyArrowPatch(
            pgm._ctx.convert(*start),
            pgm._ctx.convert(*end),
            connectionstyle="arc3,rad=-0.35",
            arrowstyle="-|>",
            mutation_scale=12,
            linestyle=style,
            color="black",
        )
        figure.axes[0].add_patch(arrow)
    return figure


def generative_and_inference_graphs() -> Figure:
    """(a) the generative model p(z) p(x|z); (b) the inference model q(z|x): two Bayesian networks."""
    pgm = PGM(shape=(6, 3.8), origin=(-1.5, -1.3))
    _code_and_image(pgm, at=0, observed=False)
    pgm.add_edge("z0", "x0")
    pgm.add_text(-0.9, -1.0, r"(a) $p(\mathbf{z})\,p_\theta(\mathbf{x} \mid \mathbf{z})$")
    _code_and_image(pgm, at=3, observed=True)
    pgm.add_edge("x3", "z3", plot_params={"linestyle": "--"})
    pgm.add_text(2.4, -1.0, r"(b) $q_\varphi(\mathbf{z} \mid \mathbf{x})$")
    return _rendered(pgm)


def _code_and_image(pgm: PGM, *, at: float, observed: bool) -> None:
    pgm.add_node(f"z{at}", r"$\mathbf{z}$", at, 0)
    pgm.add_node(f"x{at}", r"$\mathbf{x}$", at, 2, observed=observed)


def _rendered(pgm: PGM) -> Figure:
    figure = pgm.render(dpi=mpl.rcParams["figure.dpi"]).figure
    plt.close(figure)
    return figure


def tile(images: Tensor, *, columns: int) -> np.ndarray:
    """Images `[n, 784]` as one picture of `columns` images a row, one white pixel between them, clipped to [0, 1]."""
    n = len(images)
    rows = -(-n // columns)
    canvas = np.ones((rows * (SIDE + 1) - 1, columns * (SIDE + 1) - 1))
    for place, image in enumerate(images.detach().clamp(0, 1).reshape(n, SIDE, SIDE).cpu().numpy()):
        row, column = divmod(place, columns)
        top, left = row * (SIDE + 1), column * (SIDE + 1)
        canvas[top : top + SIDE, left : left + SIDE] = image
    return canvas


def _show(axis: Axes, picture: np.ndarray) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def implied_deviations(marks: Mapping[str, Sequence[tuple[float, bool]]], lines: Mapping[str, float]) -> Figure:
    """One row per program: its standard deviations, filled where they are the default; labelled vertical lines."""
    figure = Figure(figsize=(WIDTH, 0.28 * len(marks) + 1.4), layout="constrained")
    axis = figure.subplots()
    for row, deviations in enumerate(marks.values()):
        for deviation, is_default in deviations:
            face = DIGIT_COLOURS[0] if is_default else "white"
            axis.plot(deviation, row, "o", color=DIGIT_COLOURS[0], markerfacecolor=face, markersize=7, zorder=3)
    axis.plot([], [], "o", color=DIGIT_COLOURS[0], label="default")
    axis.plot([], [], "o", color=DIGIT_COLOURS[0], markerfacecolor="white", label="option")
    for style, (label, value) in zip((":", "--", "-.", "-"), lines.items(), strict=False):
        axis.axvline(value, color="0.3", linestyle=style, linewidth=1, label=label)
    axis.set(xscale="log", xlabel=r"standard deviation of a pixel", yticks=range(len(marks)), yticklabels=list(marks))
    axis.grid(axis="y", color="0.9")
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3)
    return figure
