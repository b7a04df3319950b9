r"""Names beside their points, none over another."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

Spot = tuple[float, float]
#: A name, the point that it belongs to, and the box that it is written in, if any.
Name = tuple[str, Spot, dict[str, Any] | None]


def name_apart(
    figure: Figure, axis: Axes, names: Iterable[Name], *, padding: float, clear_of: Sequence[Spot], **text: Any
) -> None:
    """Write names at their points, or in the nearest place, joined to the point by a line, that is clear of the names
    before and of the points `clear_of`. The layout of the figure must be complete: it is final from here on.

    >>> figure = Figure()
    >>> axis = figure.subplots()
    >>> twice = [("one", (0.5, 0.5), None), ("other", (0.5, 0.5), None)]
    >>> name_apart(figure, axis, twice, padding=1, clear_of=())
    >>> [any(text.xyann) for text in axis.texts]  # the second has moved
    [False, True]
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


def _places() -> Iterator[Spot]:
    """Offsets in points, from none outwards in circles."""
    yield 0.0, 0.0
    for radius in range(2, 100, 2):
        for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
            yield radius * np.sin(angle), radius * np.cos(angle)
