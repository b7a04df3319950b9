r"""Pictures hold the pixels they are given, in the places that the captions say."""

import subprocess
import sys
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from vaelib import plots
from vaelib.plots import Curves, Series
from vaelib.plots.images import PRIOR_MASS, label_colours
from vaelib.plots.theme import COLOURS, MARKERS, STYLE
from vaelib.sampling import Plane


@pytest.mark.parametrize("shape", [(28, 28), (6, 9), (9, 1), (3, 8, 8), (3, 5, 11), (1, 4, 7)])
def test_tiles_lie_row_by_row_with_a_white_line_between(shape):
    *channels, height, width = shape
    images = torch.rand(5, *shape) * 0.9
    picture = plots.tile(images.flatten(1), columns=3, shape=shape)
    assert picture.shape == (2 * height + 1, 3 * width + 2, *channels)
    is_line = np.zeros(picture.shape[:2], dtype=bool)
    is_line[height] = is_line[:, width :: width + 1] = True
    is_line[height:, 2 * width + 1 :] = True  # the place of a sixth image
    assert ((picture == 1).reshape(*is_line.shape, -1).all(axis=-1) == is_line).all()
    for place, image in enumerate(images):
        top, left = place // 3 * (height + 1), place % 3 * (width + 1)
        shown = picture[top : top + height, left : left + width]
        np.testing.assert_array_equal(shown, image.movedim((-2, -1), (0, 1)).numpy())


def test_grey_squares_need_no_shape():
    images = torch.rand(4, 81)
    np.testing.assert_array_equal(plots.tile(images, columns=2), plots.tile(images, columns=2, shape=(9, 9)))


@pytest.mark.parametrize("shape", [None, (8, 8), (3, 6, 6), (54,), (2, 3, 9)])
def test_images_that_do_not_have_the_shape_are_refused(shape):
    for picture in (plots.tile, plots.image_grid):
        with pytest.raises(ValueError, match=r"54 values .* give shape=\(height, width\)"):
            picture(torch.rand(2, 54), columns=1, shape=shape)


@pytest.mark.parametrize("shape", [(6, 9), (3, 6, 9)])
def test_every_picture_of_images_takes_their_shape(shape):
    images, ratio = torch.rand(8, torch.Size(shape).numel()), shape[-2] / shape[-1]
    plane = Plane(torch.randn(8, 2), torch.arange(8), images.reshape(2, 4, -1))
    expected = plots.tile(images, columns=4, shape=shape)
    for figure in (
        plots.image_grid(images, columns=4, shape=shape),
        plots.panels_of_images({"a": images}, columns=4, shape=shape),
        plots.latent_planes(plane, shape=shape),
    ):
        np.testing.assert_array_equal(figure.axes[-1].images[0].get_array(), expected)
    rows = plots.rows_of_images({"a": images[:4], "b": images[4:]}, shape=shape)
    assert [axis.images[0].get_array().shape[:2] for axis in rows.axes] == 2 * [(6, 39)]
    width, height = rows.get_size_inches()
    assert height / width == pytest.approx(2 / 4 * ratio * 1.05)


def test_values_outside_the_grey_levels_are_cut():
    picture = plots.tile(torch.tensor([[-1.0, 2.0] + [0.5] * 782]), columns=1)
    assert (picture[0, 0], picture[0, 1]) == (0, 1)


def test_rows_show_one_set_of_images_over_the_other():
    top, bottom = torch.zeros(4, 784), torch.ones(4, 784)
    figure = plots.rows_of_images({"top": top, "bottom": bottom})
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert [axis.get_ylabel() for axis in figure.axes] == ["top", "bottom"]
    assert shown[0][:, :28].max() == 0
    assert shown[1].min() == 1


def test_a_plane_shows_each_code_in_the_colour_of_its_digit():
    z, labels = torch.randn(30, 2), torch.arange(30) % 10
    figure = plots.latent_planes(Plane(z, labels, torch.rand(3, 3, 784)))
    scatters = figure.axes[0].collections
    assert len(scatters) == 10
    np.testing.assert_allclose(scatters[4].get_offsets(), z[labels == 4])
    assert {text.get_text() for text in figure.axes[0].texts} == {str(digit) for digit in range(10)}


def test_a_digit_has_its_colour_whatever_others_there_are():
    assert label_colours(torch.tensor([7, 2, 7])) == {2: COLOURS[2], 7: COLOURS[7]}


def test_up_to_ten_labels_of_any_value_have_colours_of_their_own_and_more_take_turns():
    assert list(label_colours(torch.tensor([300, -5, 10, 20])).values()) == COLOURS[:4]
    assert list(label_colours(torch.arange(100, 123)).values()) == (COLOURS * 3)[:23]


def test_labels_above_nine_are_named():
    labels = torch.arange(60) % 12 + 95
    axis = plots.latent_planes(Plane(torch.randn(60, 2), labels, torch.rand(2, 2, 16))).axes[0]
    assert {text.get_text() for text in axis.texts} == {str(label) for label in range(95, 107)}


def test_codes_without_labels_have_one_colour_and_no_name():
    z = torch.randn(30, 2)
    axis = plots.latent_planes(Plane(z, None, torch.rand(2, 2, 16))).axes[0]
    (scatter,) = axis.collections
    np.testing.assert_array_equal(scatter.get_offsets(), z)
    assert not axis.texts


def test_circles_of_a_plane_hold_their_share_of_the_prior():
    figure = plots.latent_planes(Plane(torch.randn(10, 2), torch.zeros(10, dtype=torch.int64), torch.rand(2, 2, 784)))
    radii = [patch.radius for patch in figure.axes[0].patches]
    lengths = torch.randn(200_000, 2).norm(dim=1)
    for radius, share in zip(radii, PRIOR_MASS, strict=True):
        assert (lengths < radius).double().mean().item() == pytest.approx(share, abs=0.005)


def test_curves_go_through_the_mean_of_the_runs():
    figure = plots.curves(
        Curves("y", {"a": Series([1, 2], [[0, 2], [4, 4]])}, {"line": 7.0}),
        Curves("w", {"b": Series([1], [[1]])}),
        xlabel="x",
    )
    left, right = figure.axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [2, 3])
    assert left.lines[-1].get_ydata()[0] == 7
    assert left.get_xlabel() == "x\n(a)"
    assert right.get_xlabel() == "x\n(b)"


def test_graphs_point_up_to_x_and_down_to_z():
    (axis,) = plots.vae_graph().axes
    labels = [text.get_text() for text in axis.texts]
    assert any("p_\\theta" in label for label in labels)
    assert any("q_\\varphi" in label for label in labels)
    assert len(plots.generative_and_inference_graphs().axes[0].patches) > 4


def test_a_split_spectrum_draws_the_mean_of_what_is_left_over():
    values = torch.tensor([5.0, 3.0, 1.0, 0.5, 0.0])
    axis = plots.split_spectrum(values, latent_dim=2).axes[0]
    code, left, line = axis.lines
    np.testing.assert_array_equal(code.get_ydata(), [5, 3])
    np.testing.assert_array_equal(left.get_xdata(), [3, 4, 5])
    assert line.get_ydata()[0] == pytest.approx(0.5)
    assert "84%" in code.get_label()


def test_the_line_of_the_budget_is_where_the_two_parts_are_the_variance_of_the_data():
    groups = {"dial": [plots.Point("1", 0.2, 15.0), plots.Point("6", 0.0, 15.0)], "other": [plots.Point("a", 0.9, 0.1)]}
    axis = plots.budget_plane(groups, joined=["dial"]).axes[0]
    line, dial, other = axis.lines
    np.testing.assert_allclose(line.get_xdata() + line.get_ydata(), 1)
    np.testing.assert_array_equal(dial.get_ydata(), [15, 15])
    assert dial.get_linestyle() == "-"
    assert other.get_linestyle() == "None"
    (inset,) = axis.child_axes
    assert {text.get_text() for text in axis.texts} == {"1", "6"}
    assert {text.get_text() for text in inset.texts} == {"a"}


def overlaps(texts):
    """Pairs of texts of which one covers a part of the other; the lines that lead to them may."""
    boxes = [Text.get_window_extent(text) for text in texts]
    return sum(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_names_of_points_that_lie_on_each_other_stand_apart():
    labels = torch.arange(30) % 10
    figure = plots.latent_planes(Plane(torch.randn(30, 2) / 100, labels, torch.rand(2, 2, 784)))
    budget = plots.budget_plane({"one": [plots.Point(str(i), 0.8, 0.2) for i in range(5)]})
    for shown, axis in ((figure, figure.axes[0]), (budget, budget.axes[0].child_axes[0])):
        shown.draw_without_rendering()
        assert overlaps(axis.texts) == 0


def test_legends_of_curves_hide_nothing():
    series = {f"a series with a long name, {i}": Series([1, 2], [[i, i + 1]]) for i in range(4)}
    figure = plots.curves(Curves("y", series), Curves("w", series), xlabel="x")
    figure.draw_without_rendering()
    for axis in figure.axes:
        legend = axis.get_legend().get_window_extent()
        assert legend.y0 >= axis.bbox.y1
        assert legend.width <= axis.bbox.width


def test_ticks_stand_at_the_values_of_their_own_panel():
    one, two = Series([3, 5, 7], [[1, 2, 3]]), Series([1, 3], [[1, 2]])
    figure = plots.curves(Curves("y", {"a": one}), Curves("w", {"b": two}), xlabel="x", ticks_at_values=True)
    assert [list(axis.get_xticks()) for axis in figure.axes] == [[3, 5, 7], [1, 3]]


def test_dots_stand_in_the_row_of_their_label():
    axis = plots.dots({"a": {"p": 1.0, "q": 2.0}, "b": {"q": 3.0}}, xlabel="x", lines={"limit": 8.0}).axes[0]
    p, q, limit = axis.lines
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert (list(p.get_xdata()), list(p.get_ydata())) == ([1], [0])
    assert (list(q.get_xdata()), list(q.get_ydata())) == ([2, 3], [0, 1])
    assert limit.get_xdata()[0] == 8


def test_dots_of_repeated_runs_stand_at_their_mean_with_a_dot_for_each():
    axis = plots.dots({"a": {"p": (1.0, 3.0)}}, xlabel="x").axes[0]
    mark, runs = axis.lines
    assert list(mark.get_xdata()) == [2]
    assert list(runs.get_xdata()) == [1, 3]
    assert runs.get_zorder() < mark.get_zorder()


#: What is left of linear RGB to who lacks one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1).
CONES = {
    "all": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def lab(colours, cones):
    """CIE L*a*b* `[n, 3]` of colours under the white of sRGB."""
    srgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ np.array(cones).T).clip(0, 1) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def nearest(colours, cones):
    """The smallest distance between two of them."""
    seen = lab(colours, cones)
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("cones", CONES.values(), ids=CONES)
def test_colours_stay_apart_for_every_kind_of_sight(cones):
    assert nearest(COLOURS, cones) > 15


def test_the_usual_ten_colours_would_not():
    tab10 = [f"C{i}" for i in range(10)]
    with plt.style.context("default"):
        assert nearest(tab10, CONES["protanopia"]) < 5


def test_curves_differ_in_grey_too():
    """By their markers, whatever their colour."""
    series = {str(i): Series([1, 2], [[i, i + 1]]) for i in range(len(MARKERS))}
    axis = plots.curves(Curves("y", series, {"a": 1.0, "b": 2.0}), xlabel="x").axes[0]
    markers = [line.get_marker() for line in axis.lines[: len(series)]]
    assert len(set(markers)) == len(series)
    assert len({line.get_linestyle() for line in axis.lines[len(series) :]}) == 2


def in_another_process(program):
    """The words that a program prints."""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_importing_plots_sets_nothing_and_loads_neither_pyplot_nor_daft():
    found = in_another_process(
        """import sys, matplotlib as mpl
before = mpl.rcParams.copy()
import vaelib.plots, vaelib.interactives
print(dict.__eq__(mpl.rcParams, before), *({"matplotlib.pyplot", "daft"} & set(sys.modules)))"""
    )
    assert found == ["True"]


def test_style_sets_what_the_book_looks_like():
    with plt.style.context("default"):
        unlike = [name for name, value in STYLE.items() if plt.rcParams[name] != value]
        plots.style()
        assert [name for name, value in STYLE.items() if plt.rcParams[name] != value] == []
        assert plots.image_grid(torch.rand(1, 4), columns=1).dpi == 130
    assert "axes.prop_cycle" in unlike and "figure.dpi" in unlike


def test_a_notebook_shows_a_figure_once_the_style_is_set():
    """Only the loaded backend tells IPython how a Figure is shown, and a Figure made without pyplot loads none."""
    found = in_another_process(
        """import os, torch
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
from IPython.core.interactiveshell import InteractiveShell
from vaelib import plots
format = InteractiveShell.instance().display_formatter.format
print("image/png" in format(plots.image_grid(torch.rand(1, 4), columns=1))[0])
plots.style()
print("image/png" in format(plots.image_grid(torch.rand(1, 4), columns=1))[0])"""
    )
    assert found == ["False", "True"]
