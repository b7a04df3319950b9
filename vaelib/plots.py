r"""Pictures: data in, a matplotlib Figure out. Captions and titles live in the book, colours and sizes here."""

from collections.abc import Mapping, Sequence
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
from torch import Tensor

from vaelib.sampling import Plane

SIDE = 28
WIDTH = 7.0
#: Ten colours chosen to stay apart for colour-blind readers (Petroff 2021).
DIGIT_COLOURS: list[str] = [entry["color"] for entry in plt.style.library["petroff10"]["axes.prop_cycle"]]
#: Shares of the prior that the circles of a latent plane hold.
PRIOR_MASS = (0.5, 0.99)
MARKERS = ("o", "s", "^", "D", "v", "P")
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
    for (left, right), plane in zip(figure.subplots(len(planes), 2, squeeze=False), planes, strict=True):
        _scatter_by_digit(left, plane.z, plane.labels)
        left.set_xlabel(f"$z_1$\n({next(letters)})")
        left.set_ylabel("$z_2$")
        _show(right, tile(plane.grid.flatten(0, 1), columns=plane.grid.shape[1]))
        right.set_xlabel(f"$z_1$ through the quantiles of N(0, 1)\n({next(letters)})")
        right.set_ylabel("$z_2$ through the quantiles")
    return figure


def prior_radii() -> list[float]:
    r"""Radii of the circles that hold `PRIOR_MASS` of N(0, I) in the plane: :math:`\sqrt{-2 \ln(1 - p)}`."""
    return [float((-2 * np.log(1 - mass)) ** 0.5) for mass in PRIOR_MASS]


def _scatter_by_digit(axis: Axes, z: Tensor, labels: Tensor) -> None:
    """Codes z `[N, 2]`, one colour a digit, the digit itself written at the median of its codes; circles: the prior."""
    points = z.cpu().numpy()
    for digit in sorted(set(labels.tolist())):
        chosen = points[(labels == digit).cpu().numpy()]
        axis.scatter(chosen[:, 0], chosen[:, 1], s=4, alpha=0.6, linewidths=0, color=DIGIT_COLOURS[digit])
        axis.annotate(
            str(digit),
            np.median(chosen, axis=0),
            ha="center",
            va="center",
            weight="bold",
            bbox={"boxstyle": "circle,pad=0.2", "fc": "white", "ec": DIGIT_COLOURS[digit], "lw": 1.5},
        )
    for radius in prior_radii():
        axis.add_patch(Circle((0, 0), radius, fill=False, linestyle=":", edgecolor="black", linewidth=1))
    limit = max(float(np.abs(points).max()), *prior_radii()) * 1.05
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def curves(*panels: Curves, xlabel: str, log_x: bool = False) -> Figure:
    """One plot per panel, side by side over a common x: means of repeated runs, and every run as a small dot."""
    width = WIDTH if len(panels) > 1 else WIDTH * 0.75
    figure = Figure(figsize=(width, WIDTH * 0.45), layout="constrained")
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
        axis.legend()
    return figure


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

    The points of the groups in `joined` are joined in their order.
    """
    figure = Figure(figsize=(WIDTH, WIDTH * 0.62), layout="constrained")
    axis = figure.subplots()
    explained = np.linspace(0, 0.999, 400)
    axis.plot(explained, 1 - explained, color="0.3", linewidth=1, label="explained + noise = variance of the data")
    for (group, points), marker, colour in zip(groups.items(), MARKERS, DIGIT_COLOURS, strict=False):
        x, y = [p.explained for p in points], [max(p.noise, 1e-7) for p in points]
        style = "-" if group in joined else "none"
        axis.plot(x, y, marker, linestyle=style, linewidth=0.7, color=colour, markersize=5, label=group)
        for point, noise in zip(points, y, strict=True):
            axis.annotate(point.label, (point.explained, noise), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axis.set(
        yscale="log",
        xlabel="variance that the code explains, over that of the data",
        ylabel="variance that the observation adds,\nover that of the data",
    )
    axis.legend(loc="lower left")
    return figure


def dots(rows: Mapping[str, Mapping[str, float]], *, xlabel: str, lines: Mapping[str, float] | None = None) -> Figure:
    """One line of dots per row, a marker for each kind of value; labelled vertical lines for reference."""
    kinds = list(dict.fromkeys(kind for values in rows.values() for kind in values))
    figure = Figure(figsize=(WIDTH, 0.24 * len(rows) + 1.2), layout="constrained")
    axis = figure.subplots()
    for kind, marker, colour in zip(kinds, MARKERS, DIGIT_COLOURS, strict=False):
        places = [(values[kind], row) for row, values in enumerate(rows.values()) if kind in values]
        axis.plot(*zip(*places, strict=True), marker, color=colour, markersize=5, label=kind, linestyle="none")
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
