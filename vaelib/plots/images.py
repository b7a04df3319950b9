r"""Pictures of images, and of the plane of codes that images are decoded from.

Images are flat, `[n, m]`. Their `shape` is `(height, width)` for grey and `(channels, height, width)` for colour; grey
squares need none.
"""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from vaelib.plots.names import name_apart
from vaelib.plots.theme import COLOURS, WIDTH
from vaelib.sampling import Plane

#: Shares of the prior that the circles of a latent plane hold.
PRIOR_MASS = (0.5, 0.99)

Shape = tuple[int, ...]


def rows_of_images(rows: Mapping[str, Tensor], *, shape: Shape | None = None) -> Figure:
    """One labelled row of images `[n, m]` under another, e.g. originals over reconstructions.

    >>> figure = rows_of_images({"original": torch.rand(5, 784), "mean": torch.rand(5, 784)})
    >>> [axis.get_ylabel() for axis in figure.axes]
    ['original', 'mean']
    """
    first = next(iter(rows.values()))
    n, (*_, height, width) = len(first), image_shape(first, shape)
    figure = Figure(figsize=(WIDTH, WIDTH / n * len(rows) * 1.05 * (height / width)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (label, images) in zip(axes, rows.items(), strict=True):
        _show(axis, tile(images, columns=n, shape=shape))
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


def image_grid(images: Tensor, *, columns: int, width: float = WIDTH / 2, shape: Shape | None = None) -> Figure:
    """Images `[n, m]` in rows of `columns`.

    >>> figure = image_grid(torch.rand(6, 192), columns=3, shape=(3, 8, 8))
    >>> figure.axes[0].images[0].get_array().shape  # two rows of three, a pixel between them
    (17, 26, 3)
    """
    tiled = tile(images, columns=columns, shape=shape)
    figure = Figure(figsize=(width, width * tiled.shape[0] / tiled.shape[1]), layout="constrained")
    _show(figure.subplots(), tiled)
    return figure


def panels_of_images(
    panels: Mapping[str, Tensor], *, columns: int, across: int | None = None, shape: Shape | None = None
) -> Figure:
    """Several grids of images side by side, each with its label under it, `across` of them to a row.

    >>> figure = panels_of_images({"0.1": torch.rand(4, 784), "1": torch.rand(4, 784)}, columns=2)
    >>> [axis.get_xlabel() for axis in figure.axes]
    ['0.1', '1']
    """
    across = across or len(panels)
    down = -(-len(panels) // across)
    tiles = {label: tile(images, columns=columns, shape=shape) for label, images in panels.items()}
    ratio = max(t.shape[0] / t.shape[1] for t in tiles.values())
    figure = Figure(figsize=(WIDTH, WIDTH / across * down * (ratio + 0.13)), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (label, tiled) in zip(axes, tiles.items(), strict=False):
        _show(axis, tiled)
        axis.set_xlabel(label)
    for axis in axes[len(tiles) :]:
        axis.set_axis_off()
    return figure


def latent_planes(*planes: Plane, shape: Shape | None = None) -> Figure:
    """For each plane, (a) its codes, coloured by label, with the prior as circles, and (b) the decoded grid.

    >>> plane = Plane(z=torch.randn(9, 2), labels=torch.arange(9) % 3, grid=torch.rand(4, 4, 6))
    >>> len(latent_planes(plane, plane, shape=(2, 3)).axes)
    4
    """
    figure = Figure(figsize=(WIDTH, WIDTH / 2 * 1.06 * len(planes)), layout="constrained")
    letters = iter("abcdef")
    axes = figure.subplots(len(planes), 2, squeeze=False)
    for (left, right), plane in zip(axes, planes, strict=True):
        _scatter(left, plane)
        left.set_xlabel(f"$z_1$\n({next(letters)})")
        left.set_ylabel("$z_2$")
        _show(right, tile(plane.grid.flatten(0, 1), columns=plane.grid.shape[1], shape=shape))
        right.set_xlabel(f"$z_1$ through the quantiles of N(0, 1)\n({next(letters)})")
        right.set_ylabel("$z_2$ through the quantiles")
    for (left, _), plane in zip(axes, planes, strict=True):
        _name_labels(figure, left, plane)
    return figure


def prior_radii() -> list[float]:
    r"""Radii of the circles that hold `PRIOR_MASS` of N(0, I) in the plane: :math:`\sqrt{-2 \ln(1 - p)}`.

    >>> [round(radius, 2) for radius in prior_radii()]
    [1.18, 3.03]
    """
    return [float((-2 * np.log(1 - mass)) ** 0.5) for mass in PRIOR_MASS]


def label_colours(labels: Tensor | None) -> dict[int, str]:
    """A colour for each label: digits have the same in every picture, others take turns; none where labels are None.

    >>> label_colours(torch.tensor([7, 7, 1])) == {1: COLOURS[1], 7: COLOURS[7]}
    True
    """
    found = [] if labels is None else sorted(set(labels.tolist()))
    places = found if set(found) <= set(range(len(COLOURS))) else range(len(found))
    return {label: COLOURS[place % len(COLOURS)] for label, place in zip(found, places, strict=True)}


def _scatter(axis: Axes, plane: Plane) -> None:
    """The codes, one colour a label, and the prior as circles."""
    for _, points, colour in _by_label(plane.z, plane.labels):
        axis.scatter(points[:, 0], points[:, 1], s=4, alpha=0.6, linewidths=0, color=colour)
    for radius in prior_radii():
        axis.add_patch(Circle((0, 0), radius, fill=False, linestyle=":", edgecolor="black", linewidth=1))
    limit = max(plane.z.abs().max().item(), *prior_radii()) * 1.05
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def _name_labels(figure: Figure, axis: Axes, plane: Plane) -> None:
    """Each label at the median of its codes, or near it where others are."""
    circle = {"boxstyle": "circle,pad=0.2", "fc": "white", "lw": 1.5}
    groups = [group for group in _by_label(plane.z, plane.labels) if group[0]]
    names = [(name, tuple(np.median(points, axis=0)), circle | {"ec": colour}) for name, points, colour in groups]
    name_apart(figure, axis, names, padding=3.5, clear_of=(), weight="bold")


def _by_label(z: Tensor, labels: Tensor | None) -> list[tuple[str, np.ndarray, str]]:
    """Name, codes `[n, 2]` and colour of each label; where there are no labels, of all codes, without a name."""
    if labels is None:
        return [("", z.cpu().numpy(), COLOURS[0])]
    return [(str(label), z[labels == label].cpu().numpy(), colour) for label, colour in label_colours(labels).items()]


def image_shape(images: Tensor, shape: Shape | None = None) -> Shape:
    """The shape of flat images `[..., m]`: the one given, else that of a grey square.

    Raises `ValueError` where m values do not fill it, and where there are neither one channel nor three.

    >>> image_shape(torch.rand(5, 784)), image_shape(torch.rand(5, 192), (3, 8, 8))
    ((28, 28), (3, 8, 8))
    """
    m = images.shape[-1]
    shape = shape or (math.isqrt(m), math.isqrt(m))
    if math.prod(shape) != m or len(shape) < 2 or shape[:-2] not in ((), (1,), (3,)):
        raise ValueError(
            f"images of {m} values do not have the shape {shape}; give shape=(height, width) of grey ones, or "
            "shape=(channels, height, width), with three channels, of ones in colour"
        )
    return shape


def tile(images: Tensor, *, columns: int, shape: Shape | None = None) -> np.ndarray:
    """Images `[n, m]` as one picture of `columns` images a row, one white pixel between them, clipped to [0, 1].

    The picture is `[rows, columns]`, and `[rows, columns, channels]` of images in colour.

    >>> tile(torch.zeros(3, 4), columns=2)[:2]  # a white pixel between two black images
    array([[0., 0., 1., 0., 0.],
           [0., 0., 1., 0., 0.]])
    """
    *channels, height, width = image_shape(images, shape)
    pixels = images.detach().clamp(0, 1).reshape(-1, *channels, height, width).movedim((-2, -1), (1, 2)).cpu().numpy()
    rows = -(-len(images) // columns)
    canvas = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, *channels))
    for place, image in enumerate(pixels):
        row, column = divmod(place, columns)
        top, left = row * (height + 1), column * (width + 1)
        canvas[top : top + height, left : left + width] = image
    return canvas


def _show(axis: Axes, picture: np.ndarray) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
