r"""The two Bayesian networks of the model, drawn with daft, which is loaded when one is drawn: it loads pyplot."""

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

if TYPE_CHECKING:
    from daft import PGM


def vae_graph() -> Figure:
    """Code z below, image x above: the generative arrow p goes up, the inference arrow q, dashed, goes down.

    >>> len(vae_graph().axes[0].texts)  # z, x, and the names of the two arrows
    4
    """
    from daft import PGM

    pgm = PGM(shape=(5, 3), origin=(-2.5, -0.5))
    _code_and_image(pgm, at=0, observed=True)
    pgm.add_text(-1.85, 0.95, r"$p_\theta(\mathbf{x} \mid \mathbf{z})$")
    pgm.add_text(0.75, 0.95, r"$q_\varphi(\mathbf{z} \mid \mathbf{x})$")
    figure = _rendered(pgm)
    bent: dict[str, Any] = {"connectionstyle": "arc3,rad=-0.35", "arrowstyle": "-|>", "mutation_scale": 12}
    for start, end, style in (((-0.2, 0.3), (-0.2, 1.7), "-"), ((0.2, 1.7), (0.2, 0.3), "--")):
        here, there = pgm._ctx.convert(*start), pgm._ctx.convert(*end)
        figure.axes[0].add_patch(FancyArrowPatch(here, there, linestyle=style, color="black", **bent))
    return figure


def generative_and_inference_graphs() -> Figure:
    """(a) the generative model p(z) p(x|z); (b) the inference model q(z|x): two Bayesian networks.

    >>> len(generative_and_inference_graphs().axes[0].texts)  # z and x, twice, and a line below each graph
    6
    """
    from daft import PGM

    pgm = PGM(shape=(6, 3.8), origin=(-1.5, -1.3))
    _code_and_image(pgm, at=0, observed=False)
    pgm.add_edge("z0", "x0")
    pgm.add_text(-0.9, -1.0, r"(a) $p(\mathbf{z})\,p_\theta(\mathbf{x} \mid \mathbf{z})$")
    _code_and_image(pgm, at=3, observed=True)
    pgm.add_edge("x3", "z3", plot_params={"linestyle": "--"})
    pgm.add_text(2.4, -1.0, r"(b) $q_\varphi(\mathbf{z} \mid \mathbf{x})$")
    return _rendered(pgm)


def _code_and_image(pgm: "PGM", *, at: float, observed: bool) -> None:
    pgm.add_node(f"z{at}", r"$\mathbf{z}$", at, 0)
    pgm.add_node(f"x{at}", r"$\mathbf{x}$", at, 2, observed=observed)


def _rendered(pgm: "PGM") -> Figure:
    import matplotlib.pyplot as plt

    figure = pgm.render(dpi=mpl.rcParams["figure.dpi"]).figure
    plt.close(figure)
    return figure
