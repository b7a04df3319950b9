r"""Pictures hold the pixels they are given, in the places that the captions say."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from vaelib import plots
from vaelib.plots import Curves, Series
from vaelib.sampling import Plane


def test_tiles_lie_row_by_row_with_a_white_line_between():
    images = torch.rand(5, 784)
    picture = plots.tile(images, columns=3)
    assert picture.shape == (2 * 29 - 1, 3 * 29 - 1)
    np.testing.assert_array_equal(picture[:28, 29 : 29 + 28], images[1].reshape(28, 28).numpy())
    np.testing.assert_array_equal(picture[29:, :28], images[3].reshape(28, 28).numpy())
    assert (picture[28] == 1).all()
    assert (picture[29:, 58:] == 1).all()


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


def test_circles_of_a_plane_hold_their_share_of_the_prior():
    figure = plots.latent_planes(Plane(torch.randn(10, 2), torch.zeros(10, dtype=torch.int64), torch.rand(2, 2, 784)))
    radii = [patch.radius for patch in figure.axes[0].patches]
    lengths = torch.randn(200_000, 2).norm(dim=1)
    for radius, share in zip(radii, plots.PRIOR_MASS, strict=True):
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
    assert nearest(plots.DIGIT_COLOURS, cones) > 15


def test_the_usual_ten_colours_would_not():
    tab10 = [f"C{i}" for i in range(10)]
    with plt.style.context("default"):
        assert nearest(tab10, CONES["protanopia"]) < 5


def test_curves_differ_in_grey_too():
    """By their markers, whatever their colour."""
    series = {str(i): Series([1, 2], [[i, i + 1]]) for i in range(len(plots.MARKERS))}
    axis = plots.curves(Curves("y", series, {"a": 1.0, "b": 2.0}), xlabel="x").axes[0]
    markers = [line.get_marker() for line in axis.lines[: len(series)]]
    assert len(set(markers)) == len(series)
    assert len({line.get_linestyle() for line in axis.lines[len(series) :]}) == 2
