r"""Pictures: data in, a matplotlib Figure out. Captions and titles live in the book, colours and sizes here.

To import them sets nothing: :func:`style` gives all Figures the look of the book, and has a notebook show them.
"""

from vaelib.plots.charts import Curves, Point, Series, budget_plane, curves, dots, implied_deviations, split_spectrum
from vaelib.plots.graphs import generative_and_inference_graphs, vae_graph
from vaelib.plots.images import image_grid, latent_planes, panels_of_images, rows_of_images, tile
from vaelib.plots.theme import style
