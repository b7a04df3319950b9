r"""The look of the book: a width, colours and markers that stay apart, and the style of every Figure."""

from typing import Any

import matplotlib as mpl
import matplotlib.style
from cycler import cycler

WIDTH = 7.0
#: Ten colours chosen to stay apart for colour-blind readers (Petroff 2021).
COLOURS: list[str] = [entry["color"] for entry in mpl.style.library["petroff10"]["axes.prop_cycle"]]
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "savefig.dpi": 130,
    "figure.dpi": 130,
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
    "legend.frameon": False,
}


def style() -> None:
    """Give all Figures from here on the look of the book, and let a notebook show a Figure that a cell returns.

    The pictures are made without pyplot, which alone loads the backend that knows how a notebook shows them.

    >>> with mpl.rc_context():
    ...     style()
    ...     print(mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"])
    9.0 False
    """
    import matplotlib.pyplot as plt

    plt.style.use(STYLE)
    plt.switch_backend(mpl.get_backend())
