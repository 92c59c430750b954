"""The pictures show the given numbers, and their appearance does not change.

Their appearance is compared with golden images in tests/golden: every picture without its text, which differs between
versions of matplotlib's font library and moves the panels. The text is tested separately. After a deliberate change to
a picture, look at it, then write its golden image again and look at that too:

    python tests/docs/test_figures.py            all of them
    python tests/docs/test_figures.py signs      the given ones
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.legend import Legend
from matplotlib.patches import ConnectionPatch
from matplotlib.testing.decorators import remove_ticks_and_titles
from matplotlib.text import Text
from PIL import Image

import minifa as mf
from minifa import Conv2d, Flatten, Linear, Network, ReLU, Residual, Tanh, cli, figures, metrics
from minifa.data import DataFileError
from minifa.experiments import Experiment, Result, run_folder, survey_results, surveys
from minifa.figures import style
from minifa.testing.examples import ALL_RULES, batch, model_for, network_for, small_convnet
from minifa.training import History

CE = mf.SoftmaxCrossEntropy()


def words(figure):
    """All text of a picture."""
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def images(figure):
    """The arrays shown as images, the colour bar's left out."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images and not is_bar(axes)]


def is_bar(axes):
    return hasattr(axes, "_colorbar")


def waves(*shape, shift=0.0):
    """Numbers between -1 and 1 that look irregular, the same everywhere."""
    return np.sin(1.7 * np.arange(math.prod(shape)) ** 1.1 + shift).reshape(shape)


def result(rule, seed, score, layers=("conv1", "linear1"), error=None):
    history = [
        {"epoch": 0, "test_loss": 2.3, "test_accuracy": 0.1, "linear1.weight_angle": 90.0, "linear1.true_angle": 0.0},
        {
            "epoch": 1,
            "train_loss": 1.0,
            "test_loss": 0.5,
            "test_accuracy": score,
            "linear1.weight_angle": 80.0 + seed,
            "conv1.true_angle": 70.0,
            "linear1.true_angle": 0.0,
            "seconds": 1.0,
            "images_per_second": 64.0,
        },
    ]
    return Result(small_experiment(rule, seed), history, score, "test", 1.0, layers, error=error)


def small_experiment(rule, seed):
    """With the layers conv1 and linear1."""
    return Experiment(rule=rule, seed=seed, model_options={"depth": 1, "channels": 4})


def small_net():
    return Network([Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(32, 6), Tanh(), Linear(6, 3)], input_shape=(6, 6, 1))


def errors_of(rule, net=None, n=8):
    """The arguments that the pictures of errors share."""
    net = net or small_net()
    x, y = batch(n, net.input_shape)
    return net, mf.rules.make(rule).attach(net), x, y, CE


# --- importing --------------------------------------------------------------------------------------------------------


def test_matplotlib_is_imported_only_when_a_picture_is_requested():
    code = (
        "import sys, minifa; assert 'matplotlib' not in sys.modules; "
        "minifa.figures.im2col(); assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_still_raise_an_error():
    with pytest.raises(AttributeError, match="module 'minifa' has no attribute 'figure'"):
        mf.figure  # noqa: B018


# --- style ------------------------------------------------------------------------------------------------------------


def test_colours_and_markers_differ_and_repeat_only_with_another_line_style():
    for dark in (False, True):
        looks = [tuple(sorted(figures.look(i, dark).items())) for i in range(24)]
        assert len(set(looks)) == 24
        pairs = {(look["color"], look["marker"]) for look in (figures.look(i, dark) for i in range(64))}
        assert len(pairs) == 64


def test_labels_are_apart_below_the_top_and_at_their_curve_where_there_is_space():
    assert style.apart([0.5, 0.1, 0.9], 0.1, top=1.0) == [0.5, 0.1, 0.9]
    assert style.apart([0.9, 0.98, 0.97], 0.125, top=1.0) == [0.75, 1.0, 0.875]  # as the curves are ordered
    assert style.apart([3.0, 3.0, 3.5], 1.0) == [3.0, 4.0, 5.0]  # without a top upwards only; of equal ends the first
    assert style.apart([], 0.1) == []
    rng = np.random.default_rng(0)
    for _ in range(200):
        ends = rng.uniform(0, 1, size=rng.integers(1, 12)).tolist()
        heights = sorted(style.apart(ends, 0.06, top=1.01))
        assert heights[-1] <= 1.01
        assert all(above - below > 0.06 - 1e-12 for below, above in zip(heights, heights[1:], strict=False))


def test_a_name_is_joined_to_the_end_of_its_curve():
    with style.drawing(2.0, dark=False) as figure:
        axes = figure.subplots()
        axes.set_ylim(0, 1)
        style.name_at_end(axes, "fa", 0.25, 0.75, "red")
    FigureCanvasAgg(figure).draw()
    (joint,) = axes.findobj(ConnectionPatch)
    assert (joint.xy1, joint.xy2) == ((1, 0.25), (1, 0.75))
    (name,) = axes.texts
    assert name.get_text() == "fa" and name.get_window_extent().x0 > axes.get_window_extent().x1


def lightness(colours):
    """CIE L* of sRGB colours, from 0 to 100."""
    c = np.asarray(colours)[..., :3]
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


@pytest.mark.parametrize("look", [figures.STYLE, figures.DARK])
def test_the_diverging_map_is_even_on_both_sides_of_a_zero_in_the_page_s_colour(look):
    """The lightness shows the size, so that neither sign looks larger and no reader depends on the hue."""
    with matplotlib.rc_context(look):
        colours, page = style.diverging(), to_rgba(matplotlib.rcParams["axes.facecolor"])
        below, above = (lightness(colours(0.5 + sign * np.linspace(0, 0.5, 64))) for sign in (-1, 1))
        assert colours(0.5) == pytest.approx(page, abs=0.01)
    assert np.abs(below - above).max() < 5
    for side in (below, above):
        steps = np.diff(side)
        assert (steps < 0.1).all() or (steps > -0.1).all()
        assert abs(side[-1] - side[0]) > 60


def test_drawing_does_not_change_the_settings_of_matplotlib():
    before = dict(matplotlib.rcParams)
    for dark in (False, True):
        figures.matrices(waves(3, 2), None, dark=dark)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("dark", [False, True])
def test_long_headings_wrap(dark):
    """A heading and the text below it stay on the page and do not overlap, however long the name of a rule is."""
    net = small_net()
    rule = mf.rules.FA().attach(net)
    rule.title, rule.needs = "the longest of all titles " * 6, "more than can be said in one line, " * 8
    figure = figures.broadcast(net, rule, dark=dark)
    figure.draw_without_rendering()
    heading = next(text for text in figure.findobj(Text) if text.get_text().startswith("the longest"))
    facts = next(text for text in figure.findobj(Text) if "more than can be said" in text.get_text())
    for text in (heading, facts):
        assert 0 < text.get_window_extent().x0 < text.get_window_extent().x1 < figure.bbox.width
    assert heading.get_window_extent().y0 <= facts.get_window_extent().y0
    assert facts.get_window_extent().y1 < heading.get_window_extent().y1 - 3 * 12 * figure.dpi / 72


def test_a_picture_shows_itself_in_a_notebook_without_pyplot():
    assert figures.im2col()._repr_png_().startswith(b"\x89PNG")


# --- W and B ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 9), (40, 4), (4, 40)])
def test_matrices_shows_the_numbers_on_one_scale_around_zero(shape):
    W, B = waves(*shape), 3 * waves(*shape, shift=1)
    figure = figures.matrices(W, B)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    long = rows > 3 * columns
    for shown, array in zip(images(figure), (W, B, W - B), strict=True):
        matrix = array.reshape(rows, columns)
        # Long ones are transposed, and the axis labels show it.
        np.testing.assert_array_equal(shown, matrix.T if long else matrix)
    assert (figure.axes[2].get_xlabel(), figure.axes[0].get_ylabel()) == (
        ("input", "output") if long else ("output", "input")
    )
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high and high == pytest.approx(np.abs(B).max())


def test_a_few_outliers_do_not_make_the_other_entries_pale():
    W = waves(60, 50)
    W[0, 0] = 1000
    figure = figures.matrices(W, None)
    assert figure.axes[0].images[0].get_clim()[1] <= 1
    assert figure.axes[-1]._colorbar.extend == "both"  # and the colour bar shows that larger values exist
    assert figures.matrices(waves(6, 5), None).axes[-1]._colorbar.extend == "neither"


@pytest.mark.parametrize(
    "B, expected",
    [
        (
            [[0.0, 2.0], [0.0, 0.0]],  # sd for four entries: 28.6 degrees, and 25 % of the signs
            "Angle 60.0° (chance: 90 ± 57°), 75 % of the signs agree (chance: 50 ± 50 %), norm(B) / norm",
        ),
        ([[0.0, 3.0], [0.0, 0.0]], "norm(B) / norm(W) = 1.50"),
        ([[-2.0, 0.0], [0.0, 0.0]], "Angle 150.0°"),
        ([[0.0, 0.0], [0.0, 0.0]], "Angle undefined"),
        ([[math.nan, 0.0], [0.0, 0.0]], "Angle undefined"),
    ],
)  # fmt: skip
def test_the_angle_and_further_facts_are_in_the_text(B, expected, engine):
    W = mf.asarray(np.array([[math.sqrt(3), 1.0], [0.0, 0.0]]))
    figure = figures.matrices(W, mf.asarray(np.array(B)), title="a title")
    assert expected in words(figure) and "a title" in words(figure)


@pytest.mark.parametrize("sides", [(4, 3), (90, 3)])
def test_without_a_matrix_to_compare_w_is_drawn_alone(sides):
    W = waves(*sides)
    for B, reason in ((None, "No B of W's shape: the rule uses none, or has not computed it yet."), (W, "B equals W.")):
        figure = figures.matrices(W, B)
        assert reason in words(figure).replace("\n", " ") and "angle" not in words(figure).lower()
        assert [len(axes.images) for axes in figure.axes[:-1]] == [1]  # the last one is the colour bar


def test_small_matrices_show_their_numbers_and_large_ones_do_not():
    assert "−0.50" in words(figures.matrices(np.full((8, 8), -0.5), None))
    assert "−0.50" not in words(figures.matrices(np.full((9, 8), -0.5), None))


@pytest.mark.parametrize("picture", [figures.matrices, figures.kernels, figures.signs])
def test_different_shapes_and_arrays_that_are_not_matrices_are_refused(picture):
    with pytest.raises(ValueError, match="must have the same shape, got 3 × 3 × 2 × 4 and 72 × 1"):
        picture(waves(3, 3, 2, 4), waves(72, 1))
    with pytest.raises(ValueError, match="got 5"):
        picture(waves(5), waves(5))


def test_signs_are_mapped_and_counted():
    W, B = np.array([[1.0, -1.0, 0.0], [2.0, 3.0, -4.0]]), np.array([[5.0, 1.0, 0.0], [-1.0, 0.5, -0.1]])
    figure = figures.signs(W, B)
    np.testing.assert_array_equal(images(figure)[0], [[1, -1, 0], [-1, 1, 1]])
    assert "66.7 % of 6 signs agree" in words(figure)  # zeros agree with zeros
    colours = figure.axes[0].images[0].to_rgba(np.array([-1.0, 0.0, 1.0]))
    legend = {text.get_text(): patch.get_facecolor() for axes in figure.axes for text, patch in
              zip(axes.get_legend().get_texts(), axes.get_legend().get_patches(), strict=True)}  # fmt: skip
    for kind, colour in zip(("disagree", "zero in W or B", "agree"), colours, strict=True):
        assert legend[kind] == pytest.approx(tuple(colour), abs=1e-3)
    assert "zero in W or B" not in words(figures.signs(W[:, :2], B[:, :2]))
    with pytest.raises(ValueError, match="None"):
        figures.signs(W, None)


@pytest.mark.parametrize("shape, rows", [((3, 3, 1, 8), 2), ((3, 2, 5, 4), 1), ((3, 3, 3, 16), 2)])
def test_kernels_lie_in_tiles_input_channels_down_and_output_channels_across(shape, rows):
    W, B = waves(*shape), waves(*shape, shift=1)
    figure = figures.kernels(W, B)
    height, width, c_in, c_out = shape
    shown_in, shown_out = min(c_in, 8), min(c_out, 8)
    for sheet, kernel in zip(images(figure), (W, B), strict=True):
        sheet = np.ma.filled(sheet, np.nan)
        assert sheet.shape == ((height + 1) * shown_in - 1, (width + 1) * shown_out - 1)
        for i in range(shown_in):
            for j in range(shown_out):
                top, left = i * (height + 1), j * (width + 1)
                np.testing.assert_array_equal(sheet[top : top + height, left : left + width], kernel[:, :, i, j])
        assert np.isnan(sheet[height :: height + 1]).all() and np.isnan(sheet[:, width :: width + 1]).all()  # the gaps
    numbers = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert numbers == [str(j) for j in range(shown_out)]
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == ((2, 1) if rows == 2 else (1, 2))
    assert len({axes.images[0].get_clim() for axes in figure.axes if axes.images}) == 1
    assert ("Shown" in words(figure)) == (c_out > 8)


def test_the_kernels_of_a_locally_connected_layer_lie_at_their_positions():
    W = np.zeros((9, 4, 2, 2, 3, 5))
    W[1, 2, 0, 1, 0, 0] = 1.0  # element (0, 1) of the kernel at row 1, column 2
    figure = figures.kernels(W)
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (8 * 3 - 1, 4 * 3 - 1) and sheet[1 * 3, 2 * 3 + 1] == 1 and np.nansum(sheet) == 1
    assert "input channel 0 to output channel 0, at 32 of 36 positions" in " ".join(words(figure).split())
    stacked = " ".join(words(figures.matrices(W, None)).split())
    assert "The matrices of 9 × 4 positions, 12 × 5 each, are shown one below the other" in stacked


def test_of_many_kernels_the_first_are_shown_with_a_note():
    figure = figures.kernels(waves(3, 3, 32, 64))
    assert images(figure)[0].shape == (8 * 4 - 1, 8 * 4 - 1)
    assert "Shown: 64 of 2,048 kernels" in words(figure)
    with pytest.raises(ValueError, match="W must be a kernel"):
        figures.kernels(waves(4, 3))


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["fa", "usf", "dfa", "dense", "stale:every=2"])
def test_errors_are_those_of_the_angles_of_alignment(rule, engine):
    net, rule, x, y, loss = errors_of(rule)
    pairs, expected = metrics.errors(net, rule, x, y, loss), metrics.alignment(net, rule, x, y, loss)
    assert list(pairs) == [layer.name for layer in net.weighted]
    for name, (own, true) in pairs.items():
        assert own.shape == true.shape == (len(x), *net[name].output_shape)
        angles = mf.to_host(metrics.sample_angles(own, true))
        assert angles.shape == (len(x),)
        assert np.nanmean(angles) == pytest.approx(expected[name]["true_angle"], abs=1e-3)


def test_errors_equal_those_by_hand_and_leave_no_side_effects(float64):
    net = Network([Linear(2, 3), Tanh(), Linear(3, 2)])
    rule, (x, y) = mf.rules.FA().attach(net), batch(4, (2,), classes=2)
    own, true = metrics.errors(net, rule, x, y, CE)["linear1"]
    h = np.tanh(x @ net["linear1"].W)
    a = h @ net["linear2"].W
    e = (np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) - np.eye(2)[y]) / 4
    np.testing.assert_allclose(own, e @ rule.B["linear2"].T * (1 - h**2), atol=1e-15)
    np.testing.assert_allclose(true, e @ net["linear2"].W.T * (1 - h**2), atol=1e-15)
    assert rule.error is None and set(net.gradients().values()) == {None}


def test_rules_without_a_backward_pass_have_no_errors_to_show():
    for picture in (figures.deltas, figures.angle_histogram):
        with pytest.raises(ValueError, match="'pepita' has no backward pass"):
            picture(*errors_of("pepita"))


def test_deltas_shows_the_first_examples_each_with_one_scale_for_both_errors():
    arguments = errors_of("fa", n=20)
    figure = figures.deltas(*arguments, title="errors")
    pairs, bands = metrics.errors(*arguments), mf.chance.error_bands(*arguments)
    panels = iter(figure.axes)
    for name, both in reversed(pairs.items()):  # the output layer on top
        row = [next(panels), next(panels)]
        assert row[0].get_ylabel().startswith(name)
        both = [errors.transpose(0, 3, 1, 2) if errors.ndim == 4 else errors for errors in both]  # channel by channel
        expected = [errors.reshape(len(errors), -1)[:16] for errors in both]
        largest = np.maximum(*(abs(errors).max(axis=1, keepdims=True) for errors in expected))
        for axes, errors in zip(row, expected, strict=True):
            np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), errors / largest, rtol=1e-5)
            assert axes.images[0].get_clim() == (-1, 1)
        angle = metrics.alignment(*arguments)[name]["true_angle"]
        size = np.linalg.norm(both[0]) / np.linalg.norm(both[1])
        band = bands.get(name)
        by_chance = f"chance {band.mean:.1f} ± {2 * band.sd:.1f}°\n" if band else ""
        assert bool(band) == (name != "linear2")  # at the output layer no B takes part
        assert f"{angle:.1f}°\n{by_chance}norm × {size:#.2g}" in words(figure)


def test_of_large_maps_whole_channels_are_shown():
    errors = waves(2, 8, 8, 5)
    from minifa.figures.errors import flattened

    np.testing.assert_array_equal(flattened(errors), errors[..., :2].transpose(0, 3, 1, 2).reshape(2, 128))
    assert flattened(waves(2, 20, 20, 3)).shape == flattened(waves(2, 500)).shape == (2, 128)


def test_layers_without_an_error_have_a_note():
    for picture in (figures.deltas, figures.angle_histogram):
        assert words(picture(*errors_of("shallow"))).count("no error arrives") == 2  # conv1 and linear1


def test_dead_layers_have_no_angle():
    net, rule, x, y, loss = errors_of("fa")
    net["conv1"].b[...] = -100
    assert "angle undefined: zero or not finite" in words(figures.angle_histogram(net, rule, x, y, loss))
    assert "angle undefined: zero\nor not finite" in words(figures.deltas(net, rule, x, y, loss))


def test_the_histogram_counts_every_example_once():
    arguments = errors_of("usf", n=30)
    figure = figures.angle_histogram(*arguments)
    expected = metrics.alignment(*arguments)
    assert [axes.get_ylabel() for axes in figure.axes] == ["linear2", "linear1", "conv1"]
    for axes in figure.axes:
        bars = [(bar.get_x(), bar.get_height()) for bar in axes.containers[0]]
        own, true = metrics.errors(*arguments)[axes.get_ylabel()]
        heights = np.histogram(metrics.sample_angles(own, true), bins=np.arange(0, 181, 2))[0]
        assert [height for _, height in bars] == heights.tolist() and heights.sum() == 30
        assert f"mean {expected[axes.get_ylabel()]['true_angle']:.1f}°" in words(axes.figure)
        assert list(axes.lines[0].get_xdata()) == [90, 90]


# --- curves -----------------------------------------------------------------------------------------------------------


def test_comparison_draws_means_bands_and_every_seed():
    results = [result("bp", 0, 0.9), result("bp", 1, 0.7), result("fa", 0, 0.2), result("fa", 1, 0.4)]
    results.append(result("usf", 0, 0.0, error="ValueError: broken"))
    figure = figures.comparison(results, title="two rules")
    curves, scores, weights, errors = figure.axes
    assert [line.get_label() for line in curves.get_lines()] == ["bp", "fa", "chance"]  # a failed rule has no curve
    assert list(curves.get_lines()[0].get_ydata()) == pytest.approx([0.1, 0.8])
    assert [label.get_text() for label in scores.get_yticklabels()] == ["bp", "fa"]
    assert sorted(x for c in scores.collections for x, _ in c.get_offsets()) == pytest.approx([0.2, 0.4, 0.7, 0.9])
    assert list(weights.get_lines()[1].get_ydata())[1] == pytest.approx(80.5)  # the mean over seeds, at linear1
    assert list(weights.get_lines()[1].get_ydata())[0] != 80.5  # conv1 has no feedback
    assert list(errors.get_lines()[0].get_ydata()) == pytest.approx([70.0, 0.0])
    assert "two rules" in figure.get_suptitle()


def test_long_names_of_rules_leave_the_panels_of_a_comparison_their_width():
    names = ["bp", "local:loss=pred,heads=fixed,dim_in_decoder=40", "fa:normalise=init,sparsity=0.5"]
    figure = figures.comparison([result(name, seed, 0.9) for name in names for seed in (0, 1)])
    figure.draw_without_rendering()
    shown = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert [text.replace("\n", "") for text in shown] == names and max(map(len, "\n".join(shown).split("\n"))) <= 24
    assert min(axes.get_position().width for axes in figure.axes) > 0.3


def test_survey_shows_every_rule_and_leaves_missing_cells_empty():
    names = [f"rule{i}" for i in range(12)]
    figure = figures.survey([result(name, seed, 0.5 + seed / 10) for name in names for seed in (0, 1)])
    scores, weights, errors, _ = figure.axes
    assert [label.get_text() for label in scores.get_yticklabels()] == names
    assert [t.get_text() for t in errors.texts[:2]] == ["70.0", "0.0"]
    assert [t.get_text() for t in weights.texts] == ["80.5"] * 12
    assert "hatched: no B of W's shape" in words(figure)  # conv1 has no feedback: its cells stay empty


def test_rules_below_the_control_that_trains_only_the_output_layer_are_named():
    def scored(**scores):
        return [result(rule, seed, score) for rule, pair in scores.items() for seed, score in enumerate(pair)]

    def text(results):
        return words(figures.comparison(results)).replace("\n", " ")

    assert "fa (0.300) scores below shallow (0.650), which trains only the output layer" in text(
        scored(bp=(0.9, 0.9), fa=(0.2, 0.4), shallow=(0.6, 0.7))
    )
    assert "below shallow" not in text(scored(fa=(0.2, 0.65), shallow=(0.6, 0.7)))  # not under every seed
    worse = {rule: (0.1, 0.1) for rule in ("fa", "dfa", "usf")}
    assert "3 of 4 rules score below shallow" in text(scored(**worse, shallow=(0.6, 0.7)))


def test_training_curves_show_every_layer():
    figure = figures.training_curves(result("fa", 0, 0.5))
    loss, accuracy, angles = figure.axes
    assert {line.get_label() for line in loss.get_lines()} == {"test", "train"}
    assert list(accuracy.get_lines()[0].get_ydata()) == pytest.approx([0.1, 0.5])
    assert list(angles.get_lines()[0].get_ydata()) == pytest.approx([90.0, 80.0])


def test_training_curves_name_the_quantities_that_were_not_measured():
    history = [{"epoch": 0, "test_loss": 1.0}]
    figure = figures.training_curves(Result(Experiment(data="lillicrap"), history, -1.0, "test", 0.0))
    assert words(figure).count("not measured") == 2  # accuracy and angles


def test_training_curves_accept_a_history():
    one = result("fa", 0, 0.5)
    titles = [[axes.get_title("left") for axes in figures.training_curves(h).axes] for h in (History(one.history), one)]
    assert titles[0] == titles[1] and len(titles[0]) == 3
    with pytest.raises(ValueError, match="no epoch to draw"):
        figures.training_curves(History())


def test_a_history_plots_its_loss_and_accuracy_or_the_given_columns():
    history = History(result("fa", 0, 0.5).history)
    loss, accuracy = history.plot(title="A title").axes
    assert [axes.get_title("left") for axes in (loss, accuracy)] == ["Loss", "Accuracy"]
    assert {line.get_label(): list(line.get_ydata()) for line in loss.get_lines()} == {
        "test": [2.3, 0.5],
        "train": pytest.approx([math.nan, 1.0], nan_ok=True),
    }
    (angles,) = history.plot(["linear1.true_angle"]).axes
    assert angles.get_lines()[0].get_label() == "linear1" and "chance" in words(angles)
    assert len(history.plot(["true_angle", "seconds", "loss", "accuracy"]).get_axes()) == 6  # two rows of three
    with pytest.raises(ValueError, match="unknown column 'true_angel': did you mean true_angle"):
        history.plot(["true_angel"])


@pytest.mark.parametrize("wrong", [[], {}, [History()], {"bp": History([{"epoch": 0}])}])
def test_histories_without_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="to draw"):
        figures.history_curves(wrong)


def test_several_histories_differ_by_colour_and_their_columns_by_line_style():
    figure = figures.history_curves(list(histories().values()))
    lines = figure.axes[0].get_lines()
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-"]  # fa has no train_loss
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0", "1"]


def test_learning_curves_have_bands_from_the_lowest_to_the_highest_seed():
    figure = figures.learning_curves([result("fa", 0, 0.2), result("fa", 1, 0.6), result("bp", 0, 0.9)])
    accuracy, loss = figure.axes
    assert [list(line.get_ydata()) for line in accuracy.get_lines()] == [
        pytest.approx([0.1, 0.4]),
        pytest.approx([0.1, 0.9]),
        pytest.approx([37 / 360] * 2),  # the share of the most frequent digit in the test set
    ]
    (band,) = accuracy.collections  # one seed has none
    corners = band.get_paths()[0].vertices
    assert sorted(set(corners[corners[:, 0] == 1][:, 1])) == pytest.approx([0.2, 0.6])
    assert list(loss.get_lines()[0].get_ydata()) == pytest.approx([2.3, 0.5])
    legend = [text.get_text() for text in figure.findobj(Legend)[0].get_texts()]
    assert legend == ["fa", "bp", "band: lowest to highest seed", "dashed: chance"]


def test_a_diverged_run_ends_with_a_cross_and_the_others_continue():
    losses = [[2.0, 1e30], [2.0, 1.0, 0.5]]
    results = [
        Result(
            small_experiment("fa", seed),
            [{"epoch": i, "test_loss": value} for i, value in enumerate(values)]
            + [{"epoch": 9, "test_loss": math.nan}],
            -values[-1],
            "test",
            0.0,
            diverged=seed == 0,
        )
        for seed, values in enumerate(losses)
    ]
    figure = figures.learning_curves(results)
    (axes,) = figure.axes
    assert list(axes.get_lines()[0].get_xdata()) == [0, 1, 2]  # values that are not numbers are not drawn
    (cross,) = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert cross.get_offsets().tolist() == [[1.0, 1e30]]
    assert axes.get_ylim() == (0, 3)  # the start stays readable
    assert "cut: losses up to 1e+30" in words(figure)
    assert "cut" not in words(figures.learning_curves([result("fa", 0, 0.5)]))
    assert "diverged: from there, the mean of the other seeds" in words(figure)
    assert "diverged" not in words(figures.learning_curves([result("fa", 0, 0.5)]))
    (alone,) = (one for one in results if one.diverged)
    assert "diverged" in words(figures.learning_curves([alone])).splitlines()  # no other seed continues


def test_alignment_curves_show_every_quantity_of_every_layer_with_its_start():
    results = [result("usf", 0, 0.9), result("usf", 1, 0.9), result("shallow", 0, 0.9)]
    for r in results[:2]:
        r.history[0]["linear1.norm_ratio"] = 1.2
    figure = figures.alignment_curves(results, title="a title")
    panels = np.array(figure.axes).reshape(3, 2)
    assert [axes.get_title(loc="left") for axes in panels[0]] == ["conv1", "linear1"]
    assert [axes.get_ylabel().split("\n")[0] for axes in panels[:, 0]] == ["angle of", "norm(B) /", "angle of error"]
    curve = panels[0, 1].get_lines()[0]
    assert curve.get_label() == "usf" and list(curve.get_ydata()) == pytest.approx([90.0, 80.5])
    diamonds = [line for axes in panels[0] for line in axes.get_lines() if line.get_marker() == "D"]
    assert [(list(d.get_xdata()), list(d.get_ydata())) for d in diamonds[:1]] == [
        ([pytest.approx(-0.08)], [pytest.approx(37.07, abs=0.01)])  # left of epoch 0, so that it covers no point
    ]
    assert words(panels[0, 0].figure).count("none") == 2  # conv1 has neither B nor its norm
    assert "start, by theory" in words(figure)
    for r in results[:2]:
        r.history[0]["linear1.norm_ratio"] = 1.04
    figure = figures.alignment_curves(results)
    assert len(figure.axes) == 4 and "norm(B) / norm(W) stays within 5 % of 1." in words(figure).replace("\n", " ")


def test_alignment_curves_of_many_layers_show_a_selection_with_a_note():
    layers = [f"residual{i}.body.conv1" for i in range(20)]
    history = [{"epoch": 0, **{f"{layer}.true_angle": float(i) for i, layer in enumerate(layers)}}]
    figure = figures.alignment_curves([Result(small_experiment("dfa", 0), history, 0.5, "test", 0.0, tuple(layers))])
    assert "8 of 20 layers" in words(figure) and len(figure.axes) == 8
    assert [float(axes.get_lines()[0].get_ydata()[0]) for axes in figure.axes][::7] == [0, 19]


def with_targets(rule, layers):
    """A result with the angles 10, 20 and the size 0.5 at the first of these layers, and so on."""
    rows = []
    for epoch in range(2):
        angles = {f"{layer}.bp_angle": 10.0 + i for i, layer in enumerate(layers)}
        angles |= {f"{layer}.gn_angle": 20.0 + i for i, layer in enumerate(layers)}
        rows.append({"epoch": epoch, "test_accuracy": 0.5, "test_loss": 1.0, **angles})
        rows[-1] |= {f"{layer}.target_size": 0.5 for layer in layers}
    return Result(small_experiment(rule, 0), rows, 0.5, "test", 1.0, ("conv1", "linear1"))


def test_target_curves_show_every_quantity_of_every_layer_with_the_band_of_chance():
    every = [with_targets("bp", ["relu1", "linear1"]), with_targets("fa", ["relu1"]), with_targets("usf", ["conv1"])]
    figure = figures.target_curves(every)
    panels = np.array(figure.axes).reshape(3, 3)
    assert [axes.get_title(loc="left") for axes in panels[0]] == ["conv1", "relu1", "linear1"]  # as in the network
    curves = [line.get_ydata()[-1] for axes in panels[:, 1] for line in axes.get_lines() if line.get_label() == "fa"]
    assert curves == [10.0, 20.0, 0.5]
    band = panels[0, 2].patches[0]  # of the 10 units of linear1
    lowest = np.reshape(band.get_xy(), (-1, 2))[
        :, 1
    ].min()  # a Polygon in older versions of matplotlib, then a Rectangle
    assert lowest == pytest.approx(90 - 2 * mf.chance.angle_sd(10))
    assert not panels[2, 0].patches and "as many unrelated entries as the layer has units" in words(figure)
    assert words(figure).count("unrelated entries") == 1
    with pytest.raises(ValueError, match="must contain targets: these runs measured none"):
        figures.target_curves([result("fa", 0, 0.9)])


def with_kernels(rule, seed=0, layers=("relu1", "relu2")):
    """A result whose nHSIC with the inputs grows from 20 to 22, with the labels from 4 to 6."""
    rows = [{"epoch": epoch, "test_accuracy": 0.5, "test_loss": 1.0} for epoch in range(3)]
    for row in rows:
        for i, layer in enumerate(layers):
            kernels = {"nhsic_input": 20.0 + row["epoch"] + i + seed, "nhsic_label": 4.0 + row["epoch"] + i}
            row |= {f"{layer}.{key}": value for key, value in {**kernels, "cka_label": 0.5}.items()}
    return Result(small_experiment(rule, seed), rows, 0.5, "test", 1.0, ("conv1", "linear1"))


def test_the_information_plane_has_a_panel_for_each_rule_and_a_line_for_each_layer():
    figure = figures.information_plane([with_kernels(rule, seed) for rule in RULES_OF_5 for seed in (0, 2)])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == list(RULES_OF_5) and len(figure.axes) == 6
    paths = [line for line in panels[1].get_lines() if len(line.get_xdata()) == 3]
    assert np.array([line.get_xydata() for line in paths]).tolist() == [
        [[21, 4], [22, 5], [23, 6]],  # the means over seeds
        [[22, 5], [23, 6], [24, 7]],
    ]
    first, last = (line for line in panels[0].get_lines()[1:3])
    assert (first.get_xdata()[0], last.get_xdata()[0]) == (21, 23)
    assert first.get_markerfacecolor() == panels[0].get_facecolor() != last.get_markerfacecolor()
    assert "before training" in legend_words(figure) and "relu2" in legend_words(figure)
    many = figures.information_plane([with_kernels("bp", layers=[f"relu{i}" for i in range(20)])])
    assert "8 of 20 layers" in words(many)


def test_the_information_plane_does_not_magnify_small_changes():
    runs = with_kernels("bp")
    for row in runs.history:
        row |= {"relu1.nhsic_input": 40 + 0.01 * row["epoch"], "relu1.nhsic_label": 7.0}
        row |= {"relu2.nhsic_input": 40.0, "relu2.nhsic_label": 7 + 0.01 * row["epoch"]}
    axes = figures.information_plane([runs]).axes[0]
    for (low, high), largest in ((axes.get_xlim(), 40), (axes.get_ylim(), 7)):
        assert low < largest < high and 0.1 * largest < high - low < 0.11 * largest


RULES_OF_5 = ("bp", "fa", "dfa", "usf", "shallow")


def legend_words(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_kernel_curves_show_what_each_layer_depends_on():
    figure = figures.kernel_curves([with_kernels("bp"), with_kernels("fa", 1)])
    panels = np.array(figure.axes).reshape(3, 2)
    assert [axes.get_title(loc="left") for axes in panels[0]] == ["relu1", "relu2"]
    ends = [line.get_ydata()[-1] for axes in panels[:, 1] for line in axes.get_lines() if line.get_label() == "fa"]
    assert ends == [24, 7, 0.5]
    for draw in (figures.kernel_curves, figures.information_plane):
        with pytest.raises(
            ValueError, match=r"must contain kernels: these runs measured none \(the setting training.ke"
        ):
            draw([result("fa", 0, 0.9)])


def test_the_similarities_of_examples_are_sorted_by_class():
    net, (x, y) = small_net(), batch(9, (6, 6, 1))
    y = np.array([2, 0, 1, 0, 2, 2, 1, 0, 1])
    figure = figures.similarities(net, x, y, mf.SoftmaxCrossEntropy())
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title(loc="left") for axes in panels] == ["inputs", "relu1  4 × 4 × 2", "tanh1  6", "targets"]
    same = np.kron(np.eye(3), np.ones((3, 3)))
    np.testing.assert_allclose(panels[-1].get_images()[0].get_array(), 1.5 * same - 0.5, atol=1e-6)
    np.testing.assert_allclose(np.diag(panels[1].get_images()[0].get_array()), 1, rtol=1e-5)
    one = Network([Linear(36, 4), Tanh(), Linear(4, 1)])
    numbers = figures.similarities(one, x.reshape(9, -1), np.arange(9.0)[:, None], mf.HalfSquaredError())
    picture = [axes for axes in numbers.axes if axes.get_images()][-1].get_images()[0].get_array()
    assert (np.diff(picture[0]) < 0).all() and "sorted by target" in words(numbers)


def test_local_losses_below_zero_have_a_linear_axis():
    rows = [{"epoch": i, "test_loss": 1.0, "relu1.local_loss": value} for i, value in enumerate((0.5, -0.5))]
    assert figures.training_curves(History(rows)).axes[-1].get_yscale() == "linear"


def test_local_losses_have_a_logarithmic_axis_where_they_differ_by_orders_of_magnitude():
    for values, scale in (((0.5, 0.1), "linear"), ((0.5, 0.01), "log")):
        rows = [{"epoch": i, "test_loss": 1.0, "relu1.local_loss": value} for i, value in enumerate(values)]
        assert figures.training_curves(History(rows)).axes[-1].get_yscale() == scale


def test_a_rule_that_predicts_by_itself_says_so_beside_its_training_curves():
    for rule, expected in (("forward_forward", True), ("local", False)):
        text = " ".join(words(figures.training_curves(result(rule, 0, 0.9))).split())
        assert ("Test: of what the rule predicts; train: of the output layer." in text) is expected


def test_runs_without_anything_to_draw_are_refused():
    broken = [result("fa", 0, 0.0, error="ValueError: broken")]
    for picture in (figures.learning_curves, figures.alignment_curves, figures.comparison, figures.survey):
        with pytest.raises(ValueError, match="must contain a finished run"):
            picture(broken)
    with pytest.raises(ValueError, match="must contain an alignment"):
        figures.alignment_curves([Result(Experiment(), [{"epoch": 0, "test_loss": 1.0}], -1.0, "test", 0.0)])


@pytest.mark.parametrize("init", ["he_normal", "xavier_uniform"])
@pytest.mark.parametrize(
    "rule, normal, uniform",
    [
        ("bp", 0, 0),
        ("sham", 0, 0),
        ("fa", 90, 90),
        ("fa:normalise=strict", 90, 90),
        ("fa:correlation=0.5", 60, 60),
        ("fa:correlation=-0.5,sparsity=0.36", 113.58, 113.58),  # cos = rho sqrt(1 - q) = -0.4
        ("usf", 37.07, 30.00),
        ("usf:scale=init", 37.07, 30.00),
        ("usf:concordance=0.75", 66.49, 64.34),  # half the cosine
        ("frsf", 50.46, 41.41),
        ("brsf", 50.46, 41.41),
        ("kolen_pollack", 90, 90),
        ("product", 90, 90),
        ("symmetric_alignment", 90, 90),
        ("stale", 0, 0),
    ],
)
def test_rules_start_at_the_theoretical_start(rule, init, normal, uniform):
    net = Network([Linear(3, 400), Linear(400, 500, init=init)])
    attached, layer = mf.rules.make(rule).attach(net), net["linear2"]
    measured = float(metrics.angle(layer.W, attached.B["linear2"]))
    assert attached.start_angle(layer) == pytest.approx(normal if init == "he_normal" else uniform, abs=0.01)
    assert measured == pytest.approx(attached.start_angle(layer), abs=0.5)  # 4 sd of 200,000 entries


def test_fa_with_its_own_initialiser_starts_at_the_theoretical_start():
    net = Network([Linear(3, 400), Linear(400, 500, init="he_normal")])
    rule, layer = mf.rules.FA(init="torch", correlation=0.5).attach(net), net["linear2"]
    assert rule.start_angle(layer) == pytest.approx(float(metrics.angle(layer.W, rule.B["linear2"])), abs=0.5)
    assert abs(rule.start_angle(layer) - 60) > 10


def test_without_a_theoretical_angle_none_is_shown():
    net = small_convnet()
    assert mf.rules.make("fa:conv=dense").start_angle(net["conv1"]) is None
    assert mf.rules.make("dfa").start_angle(net["linear1"]) is None
    zero = Linear(3, 4, init="zero")
    assert mf.rules.make("fa").start_angle(zero) is None
    assert mf.rules.make("usf").start_angle(zero) is None


# --- diagrams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), (4, 5, (2, 3)), (5, 6, 3, 2), (3, 3, 2, 1, 1), (4, 4, 2, 1, "same")])
def test_im2col_shows_the_numbers_of_the_engine(arguments, engine):
    height, width, kernel, stride, padding = (*arguments, *(4, 4, 3, 1, 0)[len(arguments) :])
    layer = Conv2d(1, 1, kernel, stride, padding)
    x = np.arange(1.0, height * width + 1).reshape(1, height, width, 1)
    patches = mf.to_host(layer.columns(mf.asarray(x)))
    figure = figures.im2col(*arguments)
    written = [text for text in figure.axes[0].texts if text.get_text().replace("−", "-").lstrip("-").isdigit()]
    by_row: dict[float, list[tuple[float, int]]] = {}
    left, right = grid_of(figure, "columns(x)"), grid_of(figure, "W")
    for text in written:
        x_place, y_place = text.get_position()
        if left <= x_place < right - 1:
            by_row.setdefault(y_place, []).append((x_place, int(text.get_text())))
    shown = [[number for _, number in sorted(row)] for _, row in sorted(by_row.items())]
    kept = list(range(len(patches))) if len(patches) <= 9 else [0, 1, 2, 3, *range(len(patches) - 4, len(patches))]
    assert shown == patches[kept].astype(int).tolist()
    assert f"{len(patches)} × {patches.shape[1]}" in words(figure)
    assert ("⋮" in words(figure)) == (len(patches) > 9)
    # The product: the sum of a window, and its right column minus its left one.
    kh, kw = layer.kernel
    windows = patches.reshape(len(patches), kh, kw)
    for number in (0, -1):
        total, difference = windows[number].sum(), windows[number][:, -1].sum() - windows[number][:, 0].sum()
        texts = [text.get_text() for text in written]
        assert f"{total:g}" in texts and f"{difference:g}".replace("-", "−") in texts


def grid_of(figure, name):
    """Where the grid of that heading begins."""
    return next(text.xy[0] for text in figure.axes[0].texts if text.get_text() == f"{name}\n")


def test_im2col_frames_the_same_window_in_the_image_and_in_the_matrix():
    figure = figures.im2col(5, 5, 3, 2)
    frames = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
    first, last = ([f for f in frames if f.get_edgecolor() == to_rgba(figures.COLOURS[i])] for i in (1, 2))
    assert [(f.get_width(), f.get_height()) for f in last[:2]] == [(3, 3), (9, 1)]
    assert np.subtract(last[0].get_xy(), first[0].get_xy()).tolist() == [2, 2]  # one stride further
    assert last[1].get_y() - first[1].get_y() == 3  # the last of four rows
    assert len(first) == len(last) == 5


def test_im2col_refuses_the_same_arguments_as_a_convolution():
    with pytest.raises(ValueError, match="must be at most the padded input"):
        figures.im2col(2, 2, 3)


@pytest.mark.long
@pytest.mark.parametrize("description", ALL_RULES)
def test_the_matrices_of_every_rule_are_in_its_picture(description):
    net = network_for(description)
    rule = mf.rules.make(description).attach(net)
    figure = figures.broadcast(net, rule)
    drawn = words(figure)
    assert all(one in drawn.replace("\n", " ") for one in (rule.title, style.typeset(rule.equation)))
    for layer in net.weighted:
        assert layer.name.rsplit(".", 1)[-1] in drawn
    by_target: dict[str, list[str]] = {}
    for key in rule.B:
        if "/" not in key:
            by_target.setdefault(key.partition("<-")[0], []).append(key)
            continue
        layer, module = key.split("/")  # "relu1   $A$ 64 × 64, $C$ 3 × 64"
        line = next(line for line in drawn.split("\n") if line.startswith(f"{layer.rsplit('.', 1)[-1]}   "))
        assert f"${module}$ {' × '.join(map(str, rule.B[key].shape))}" in line
    for target, keys in by_target.items():
        size = " × ".join(map(str, rule.B[keys[0]].shape))
        if rule.B_corresponds_to_W:
            assert ("$B$ = $W$" if rule.B[target] is net[target].W else f"$B$  {size}") in drawn
        else:  # the symbol of the rule's equation
            symbol = next((f"${one}$" for one in "FQ" if f" {one}" in rule.equation), "$B$")
            what = f"{symbol}  {size}" if len(keys) == 1 else f"{len(keys)} matrices"
            assert f"{target.rsplit('.', 1)[-1]}   {what}" in drawn
    received = "the true error" if rule.gives_output_error else "the target"
    assert (received in drawn) == (rule.one_backward_pass or bool(rule.B))


def arrows(figure, colour):
    """Start and end of every arrow of this colour."""
    return [
        (text.xyann, text.xy)
        for text in figure.axes[0].texts
        if getattr(text, "arrow_patch", None) is not None and text.arrow_patch.get_edgecolor() == to_rgba(colour)
    ]


def test_a_user_defined_direct_rule_broadcasts_its_matrices():
    """Of no weight, although the matrix of linear2 has the shape of its W."""

    class Direct(mf.rules.Rule):
        equation, crosses_weights = "delta = e F^T", False

        def draw(self, net):
            self._B |= {name: mf.asarray(np.ones((net[name].W.shape[1], 3))) for name in ("linear1", "linear2")}

        def teaches(self, layer):
            return layer.name in self._B

        def teach(self, layer, delta):
            return self.error @ self._B[layer.name].T if self.teaches(layer) else delta

        def feedback(self, layer):
            return None

    net = Network([Linear(4, 3), ReLU(), Linear(3, 3), ReLU(), Linear(3, 3)])
    rule = Direct().attach(net)
    drawn = words(figures.broadcast(net, rule))
    assert "linear1   $F$  3 × 3" in drawn and "target, " not in drawn
    aligned = mf.metrics.alignment(net, rule, mf.asarray(np.eye(4)), [0, 1, 2, 0], CE)
    assert aligned["linear2"]["weight_angle"] is None


@pytest.mark.parametrize("rule, received", [("bp", "the true error"), ("zil", "the true error"), ("pc", "the target")])
def test_the_output_receives_the_true_error_or_a_target(rule, received):
    net = network_for("dfc")
    drawn = words(figures.broadcast(net, mf.rules.make(rule).attach(net))).splitlines()
    assert [line for line in drawn if line in ("the true error", "the target")] == [received]


def test_a_layerwise_rule_steps_down_and_a_direct_rule_broadcasts():
    net = Network([Linear(4, 5), ReLU(), Linear(5, 6), ReLU(), Linear(6, 3)])
    layerwise = arrows(figures.broadcast(net, mf.rules.FA().attach(net)), figures.COLOURS[1])
    assert len(layerwise) == 3 and all(start[0] == end[0] and start[1] > end[1] for start, end in layerwise)
    targets = figures.broadcast(net, mf.rules.FWDTP().attach(net))
    assert arrows(targets, figures.COLOURS[1]) == layerwise and words(targets).count("target, $B$") == 2
    direct = arrows(figures.broadcast(net, mf.rules.DFA().attach(net)), figures.COLOURS[1])
    across = [(start, end) for start, end in direct if start[1] == end[1]]
    assert len(across) == 2 and len(direct) == 3  # two layers are taught; the output layer gets the true error
    assert len({start[0] for start, _ in across}) == 1  # from one line: the broadcast error is the same
    shallow = arrows(figures.broadcast(net, mf.rules.Shallow().attach(net)), figures.COLOURS[1])
    assert len(shallow) == 1


def test_residual_blocks_have_a_separate_line_for_their_shortcut():
    net = Network([Linear(4, 4), ReLU(), Residual([Linear(4, 4), Residual([Tanh(), Linear(4, 4)])], [Linear(4, 4)]),
                   Linear(4, 3)])  # fmt: skip
    figure = figures.broadcast(net, mf.rules.BP().attach(net))
    assert words(figure).count("body + shortcut") == 2
    # The rule's equation; three on the main path and one on a shortcut line.
    assert words(figure).count("$B$ = $W$") == 1 + 4
    blue = [
        line for line in figure.axes[0].lines if line.get_color() == figures.COLOURS[0] and line.get_marker() != "o"
    ]
    inner, outer = sorted(blue, key=lambda line: -line.get_xdata()[1])
    assert inner.get_xdata()[1] > outer.get_xdata()[1]  # the line of the outer block is further out, and longer
    assert outer.get_ydata()[0] < inner.get_ydata()[0] and inner.get_ydata()[-1] < outer.get_ydata()[-1]


def test_a_rule_attached_to_another_network_is_refused():
    net = small_net()
    with pytest.raises(ValueError, match="not attached to this network"):
        figures.broadcast(net, mf.rules.FA())
    with pytest.raises(ValueError, match="not attached to this network"):
        figures.broadcast(net, mf.rules.FA().attach(small_net()))


# --- memory -----------------------------------------------------------------------------------------------------------


def test_memory_is_drawn_in_mib_from_zero_with_every_name_at_its_line():
    figure = figures.activation_memory(peaks(), "Memory", "batch 32")
    axes = figure.axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn[0] == ([8, 16, 32, 64], [18, 26, 42, 74]) and drawn[2][1] == 4 * [4]
    assert axes.get_ylim()[0] == 0 and axes.get_xlim()[0] == 0
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == 3  # overlapping curves stay visible
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert set(names) == {"bp  74.0", "dfa  73.0", "dfa:recompute=true  4.0"}
    assert names["bp  74.0"] - names["dfa  73.0"] > 3  # not overlapping
    assert "Memory" in words(figure) and "batch 32" in words(figure)


def test_without_measurements_no_picture_is_drawn():
    with pytest.raises(ValueError, match="peaks must contain a measurement"):
        figures.activation_memory({"bp": {}})


# --- a finished run ---------------------------------------------------------------------------------------------------


def test_a_history_is_read_as_it_was_written(tmp_path):
    history = History([{"epoch": 0, "test_loss": 2.5, "rule": "fa:init=torch"}, {"epoch": 1, "test_loss": math.inf}])
    history[1]["conv1.weight_angle"] = 90.0
    history.save_csv(tmp_path / "history.csv")
    read = History.read_csv(tmp_path / "history.csv")
    assert read == history and isinstance(read, History)
    assert [type(value) for value in read[0].values()] == [int, float, str]


def train(tmp_path, rule, *more, epochs=2, model="tiny"):
    """The folder of a run without pictures, and the exit code."""
    given = ["--epochs", str(epochs), "--model", model, "--rule", rule, "--out", str(tmp_path / "run"), "--lr", "0.05"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("minifa.cli.pictures.draw", lambda *arguments: None)
        return tmp_path / "run", cli.main(["train", *given, *more])


LAYERWISE = {"matrices-linear1", "matrices-linear2", "signs-linear2"}
CURVES = {"training", "alignment"}
ERRORS = {"network", "deltas", "angles"}


@pytest.mark.long
@pytest.mark.parametrize(
    "rule, expected",
    [
        ("usf", CURVES | ERRORS | LAYERWISE),
        ("product", CURVES | ERRORS | LAYERWISE),
        ("fwdtp", CURVES | ERRORS | LAYERWISE),
        ("dfa", CURVES | ERRORS | LAYERWISE - {"signs-linear2"}),
        ("bp", {"training", "network"} | LAYERWISE - {"signs-linear2"}),  # B is W, and the errors are equal
        ("synthetic", CURVES | ERRORS | LAYERWISE - {"signs-linear2"}),  # B is W, and the errors differ
        ("pepita", {"training", "network"} | LAYERWISE - {"signs-linear2"}),
        ("weight_perturbation", {"training", "network"} | LAYERWISE - {"signs-linear2"}),
    ],
)
def test_a_run_draws_all_its_pictures(rule, expected, tmp_path):
    assert set(figures.of_run(train(tmp_path, rule)[0])) == expected


def test_a_run_with_targets_draws_them(tmp_path):
    folder, _ = train(tmp_path, "fwdtp", "--targets", epochs=1)
    assert "targets" in figures.of_run(folder)
    assert "tanh1.gn_angle" in History.read_csv(folder / "history.csv").columns()


def test_a_run_with_kernels_draws_them(tmp_path):
    folder, _ = train(tmp_path, "phsic", "--kernels", epochs=1)
    assert {"dependence", "information", "similarities"} < figures.of_run(folder).keys()
    assert "tanh1.nhsic_label" in History.read_csv(folder / "history.csv").columns()


def test_the_command_writes_the_pictures_into_the_run(tmp_path, capsys):
    folder, _ = train(tmp_path, "fa", epochs=1)
    capsys.readouterr()
    assert cli.main(["figures", str(folder)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert written.pop() == folder / "index.html"
    assert set(written) == {folder / "figures" / f"{name}.png" for name in CURVES | ERRORS | LAYERWISE}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_the_matrices_of_a_run_are_those_after_training(tmp_path):
    """A rule that derives its B must derive it from the trained weights: the angle is the history's last."""
    folder, _ = train(tmp_path, "usf", epochs=1)
    last = History.read_csv(folder / "history.csv")[-1]
    drawn = figures.of_run(folder)
    assert f"Angle {last['linear2.weight_angle']:.1f}°" in words(drawn["matrices-linear2"])
    assert f"mean {last['linear1.true_angle']:.1f}°" in words(drawn["angles"])
    net, _, _ = run_folder.open_run(folder)
    np.testing.assert_array_equal(images(drawn["matrices-linear1"])[0], net["linear1"].W.T)


def test_a_convolutional_run_shows_kernels_and_no_b_of_another_shape(tmp_path):
    folder, _ = train(tmp_path, "fa:conv=dense", "--depth", "2", epochs=1, model="cnn")
    drawn = figures.of_run(folder, dark=True)
    assert {"kernels-conv1", "kernels-conv2", "signs-linear1"} <= drawn.keys() and "signs-conv2" not in drawn
    assert "No B of W's shape" in words(drawn["matrices-conv2"])
    assert drawn["training"].get_facecolor() == to_rgba(figures.DARK["figure.facecolor"])


def test_a_run_that_diverged_shows_its_curves(tmp_path):
    folder, code = train(tmp_path, "fa", "--lr", "1e20", model="mlp")
    assert code != 0
    assert set(figures.of_run(folder)) == {"training", "alignment"}
    assert "diverged" in words(figures.of_run(folder)["alignment"])


def test_a_comparison_draws_its_rules_side_by_side(tmp_path, capsys):
    folder = tmp_path / "both"
    setting = ["--model", "tiny", "--epochs", "1", "--lr", "0.05", "--jobs", "1", "--out", str(folder)]
    assert cli.main(["compare", "--rules", "fa,dfa", "--seeds", "2", *setting]) == 0
    capsys.readouterr()
    assert cli.main(["figures", str(folder), "--format", "svg", "--dark"]) == 0
    names = ["comparison", "learning", "survey", "alignment"]
    written = [str(folder / "figures" / f"{name}-dark.svg") for name in names]
    assert capsys.readouterr().out.splitlines() == [*written, str(folder / "index.html")]
    assert (folder / "figures" / "learning-dark.svg").read_text(encoding="utf-8").startswith("<?xml")
    results = run_folder.read_results(folder)
    assert [(r.experiment.rule, r.experiment.seed) for r in results] == [("fa", 0), ("dfa", 0), ("fa", 1), ("dfa", 1)]
    assert results[0].layers == ("linear1", "linear2") and not results[0].diverged
    assert results[0].score == results[0].history[-1]["test_accuracy"]


@pytest.mark.parametrize(
    "rules, pictures",
    [
        (
            [name for name in mf.rules.RULES if model_for(name) == ("mlp", {})],
            ["comparison", "learning", "alignment"],
        ),  # the comparison is the survey
        (["node_perturbation"], ["comparison", "learning", "survey"]),  # it sends no error, so it has no angle
    ],
    ids=["many", "without angles"],
)
@pytest.mark.long
def test_a_comparison_draws_the_quantities_of_its_rules(rules, pictures, tmp_path):
    folder = tmp_path / "some"
    setting = ["--data", "xor", "--model", "tiny", "--epochs", "1", "--lr", "0.05", "--seeds", "1", "--jobs", "1"]
    assert cli.main(["compare", "--rules", ",".join(rules), *setting, "--out", str(folder)]) == 0
    drawn = figures.of_run(folder)
    assert list(drawn) == pictures
    assert all(name in words(drawn["comparison"]) for name in rules)


def test_curves_of_deleted_data_are_drawn_without_the_theoretical_start(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.eye(20, 5, dtype="float32"), y=np.arange(20) % 2)
    layers = ("linear1", "linear2")
    history = [{"epoch": 0, "linear2.weight_angle": 90.0, "linear2.true_angle": 0.0}]
    one = Result(Experiment(rule="usf", data=str(path), model="mlp"), history, 0.5, "test", 0.0, layers)
    assert "start, by theory" in words(figures.alignment_curves([one]))
    path.unlink()
    assert "start, by theory" not in words(figures.alignment_curves([one]))


def test_folders_that_are_not_runs_are_refused_with_a_message(tmp_path, capsys):
    assert cli.main(["figures", str(tmp_path / "nowhere")]) != 0
    assert "is not a folder of a finished run: it has no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"experiments": [{"data": "digits"}]}', encoding="utf-8")
    assert cli.main(["figures", str(tmp_path)]) != 0
    assert "it has no runs.csv" in capsys.readouterr().err
    (tmp_path / "runs.csv").write_text("rule,seed,epoch\nbp,0,0\n", encoding="utf-8")
    with pytest.raises(DataFileError, match="no column 'test_loss'"):
        run_folder.read_results(tmp_path)
    (tmp_path / "runs.csv").write_text("rule,seed,epoch\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must contain a finished run"):
        figures.of_run(tmp_path)
    (tmp_path / "config.json").write_text('{"experiment": {"colour": 1}}', encoding="utf-8")
    with pytest.raises(DataFileError, match="not the configuration of a run"):
        figures.of_run(tmp_path)


# --- classes ----------------------------------------------------------------------------------------------------------

COUNTS = np.array([[5, 1, 0], [2, 6, 0], [0, 0, 0]])


def test_confusion_shows_the_share_of_each_true_class_and_the_counts():
    figure = figures.confusion(COUNTS, ["cat", "dog", "emu"], "pets")
    assert np.allclose(images(figure)[0], [[5 / 6, 1 / 6, 0], [0.25, 0.75, 0], [0, 0, 0]])
    text = words(figure)
    assert "accuracy 0.786, 14 examples" in text and "pets" in text and text.count("emu") == 2
    assert [one.get_text() for one in figure.axes[0].texts] == ["5", "1", "2", "6"]
    many = figures.confusion(np.eye(50, dtype=int))
    assert not many.axes[0].texts and len(many.axes[0].get_xticks()) == 25


@pytest.mark.parametrize(
    ("matrix", "names", "sentence"),
    [
        (np.ones((2, 3)), (), "must have shape"),
        (np.zeros((2, 2)), (), "counts of at least one example"),
        (-np.eye(2), (), "none below 0"),
        (np.eye(2), ["cat"], "of 2 classes needs 2 names, got 1"),
    ],
)
def test_matrices_that_are_no_counts_are_refused(matrix, names, sentence):
    with pytest.raises(ValueError, match=sentence):
        figures.confusion(matrix, names)


def drawn_images():
    """A network that halves its inputs, and three images."""
    net = mf.Network([mf.Flatten(), mf.Linear(20, 20)], input_shape=(5, 4, 1))
    net["linear1"].W = np.eye(20) / 2
    return net, np.stack([waves(5, 4, shift=i)[..., None] for i in range(3)])


def test_the_pictures_of_an_autoencoder_say_how_good_it_is():
    net, x = drawn_images()
    x -= x.mean(axis=0)  # outputs of half the inputs leave a quarter of their variance
    drawn = words(figures.reconstructions(net, x, "A title"))
    assert "Unexplained variance of 3 examples: 0.250." in drawn and "originals" in drawn
    W = waves(20, 14)
    drawn = words(figures.unit_weights(W, (5, 4, 1), W.T))
    assert "12 of 14 units." in drawn and "Angle of decoder and encoder: 0°." in drawn
    assert "decoder" not in words(figures.unit_weights(W, (5, 4, 1)))
    for call, message in (
        (lambda: figures.reconstructions(net, np.ones((3, 20))), "x must hold images"),
        (lambda: figures.reconstructions(Network([Flatten(), Linear(20, 3)]), x), "as many outputs as inputs, 20"),
        (lambda: figures.unit_weights(W, (5, 5, 1)), r"W must have shape \(25, units\)"),
        (lambda: figures.unit_weights(W, (5, 4)), r"must be \(height, width, channels\)"),
        (lambda: figures.unit_weights(W, (5, 4, 1), W), "the transpose of W's"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def split_rows():
    sets = ("weights", "all"), ("both", "all"), ("both", "first and last")
    values = iter(0.5 + 0.3 * waves(12))
    return [
        {
            "features": kind, "points": points, "split": split, "sd": 0.1, "merged_sd": 0.1,
            "accuracy": next(values), "merged_accuracy": next(values),
        }
        for kind, points in sets
        for split in ("75/25", "unseen seed")
    ]  # fmt: skip


def test_split_accuracies_have_a_panel_for_all_and_one_for_merged_classes():
    rows = split_rows()
    figure = figures.split_accuracies(rows, [0.25, 0.5], "which rule")
    assert len(figure.axes) == 2 and "both, first and last points" in words(figure) and "unseen seed" in words(figure)
    for axes, key, chance in zip(figure.axes, ("accuracy", "merged_accuracy"), (0.25, 0.5), strict=True):
        lines = {line.get_label(): line.get_xdata() for line in axes.get_lines()}
        assert list(lines["weights"]) == [row[key] for row in rows if row["features"] == "weights"]
        assert list(lines["chance"]) == [chance, chance]
    assert len(figures.split_accuracies(rows, [0.25]).axes) == 1


@pytest.mark.parametrize(
    ("rows", "chances", "sentence"),
    [
        ([], [0.25], "rows and one or two accuracies of chance are needed, got 0 and 1"),
        ([{"features": "both"}], [0.25], "a row must have features, points, split, accuracy; one has no points"),
        (split_rows(), [1.5], "an accuracy of chance"),
    ],
)
def test_rows_without_accuracies_are_refused(rows, chances, sentence):
    with pytest.raises(ValueError, match=sentence):
        figures.split_accuracies(rows, chances)


# --- golden images ----------------------------------------------------------------------------------------------------


def curves():
    """Two rules with two seeds, and one that diverged."""
    results = []
    for rule, start, step in (("bp", 0.0, 0.0), ("usf", 37.0, 1.5), ("fa", 90.0, 4.0)):
        for seed in (0, 1):
            history = [
                {
                    "epoch": i,
                    "test_loss": 2.3 / (1 + i * (seed + 1) / (1 + start / 40)),
                    "test_accuracy": 1 - 0.9 / (1 + i * (seed + 1) / (1 + start / 40)),
                    "linear1.weight_angle": start - i * step + seed,
                    "linear1.norm_ratio": 1 - i * step / 60,
                    "conv1.true_angle": start - i * step / 2 + 3 * seed,
                    "linear1.true_angle": 0.0,
                }
                for i in range(4 if rule == "fa" and seed else 9)
            ]
            score = history[-1]["test_accuracy"]
            diverged = len(history) == 4
            results.append(
                Result(small_experiment(rule, seed), history, score, "test", 1.0, ("conv1", "linear1"), diverged)
            )
    return results


def peaks():
    """The peak memory of three rules at four depths, two of them nearly equal."""
    slopes = {"bp": (10, 8), "dfa": (9, 8), "dfa:recompute=true": (4, 0)}
    return {name: {8 * n: (start + slope * n) << 20 for n in (1, 2, 4, 8)} for name, (start, slope) in slopes.items()}


def attacked():
    """Two networks, one with a rule that carries no error to the inputs, under two sizes of two attacks."""
    report = mf.attacks.AttackReport(mf.attacks.Units("units of the inputs"), "bp")
    for run, own in (("bp", 0.8), ("dfa", None)):
        for eps in (0.1, 0.2):
            row = {"run": run, "eps": eps, "examples": 100, "clean": 0.95, "noise": 0.94, "cosine": own}
            scores = {"own": own, "true": 0.9 - eps, "margin": 0.8 - 2 * eps, "transfer": own and 0.9}
            row |= {f"{attack}_{kind}": score for attack in ("fgsm", "pgd") for kind, score in scores.items()}
            report.rows.append({**row, "zero_gradients": 0.25})
    return report


def test_a_figure_of_attacks_shows_every_quantity_at_its_value_and_the_share_of_zero_gradients():
    figure = figures.robustness(attacked(), "under attack")
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == [
        f"{attack}, eps {eps}" for eps in ("0.1", "0.2") for attack in ("FGSM", "PGD")
    ]
    for axes, eps in zip(figure.axes[::2], (0.1, 0.2), strict=True):
        marks = sorted((round(float(y)), float(x)) for line in axes.get_lines() for x, y in [line.get_xydata()[0]])
        bp, dfa = [0.95, 0.94, 0.8, 0.9 - eps, 0.8 - 2 * eps, 0.9], [0.95, 0.94, 0.9 - eps, 0.8 - 2 * eps]
        assert marks == [(0, x) for x in sorted(bp)] + [(1, x) for x in sorted(dfa)]
        assert [text.get_text() for text in axes.texts] == ["25 % zero"] * 2
    assert {"from bp", "true gradient of the margin"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    with pytest.raises(ValueError, match="the report has no rows to draw"):
        figures.robustness(mf.attacks.AttackReport(mf.attacks.Units("inputs")))


def surveyed():
    """Two networks: one rule without a rate on the second one, one that both networks refuse, one with a diverged
    run."""
    empty = dict.fromkeys(surveys.COLUMNS, "")
    made = {"bp": (0.9, 0.95), "fa": (0.8, 0.3), "dfa": (0.5, None)}
    lines = [
        {**empty, "network": network, "rule": rule, "lr": "0.1", "seed": str(seed), "diverged": str(int(rule == "fa"))}
        | {"test_accuracy": str(scores[place] + 0.02 * seed)}
        for place, network in enumerate(("mlp", "cnn"))
        for rule, scores in made.items()
        if scores[place] is not None
        for seed in (0, 1)
    ]
    lines.append({**empty, "network": "cnn", "rule": "dfa", "not_run": "no rate: none was searched"})
    lines += [{**empty, "network": name, "rule": "gevb", "not_run": "refused: units"} for name in ("mlp", "cnn")]
    return survey_results.Survey(lines, 5, "digits", 360, 0.1)


def test_a_survey_has_a_panel_for_each_network_a_dot_for_each_seed_and_words_for_rules_that_were_not_run():
    figure = figures.survey_of_networks(surveyed(), "two networks")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mlp", "cnn"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["bp", "fa", "dfa", "gevb"]
    rows = dict(zip(labels, figure.axes[0].get_yticks(), strict=True))
    expected = {"mlp": {"bp": 0.9, "fa": 0.8, "dfa": 0.5}, "cnn": {"bp": 0.95, "fa": 0.3}}
    for axes, scores in zip(figure.axes, expected.values(), strict=True):
        dots = [tuple(dot) for one in axes.findobj(PathCollection) for dot in np.asarray(one.get_offsets())]
        assert dots == [
            pytest.approx((score + 0.02 * seed, rows[rule])) for rule, score in scores.items() for seed in (0, 1)
        ]
    assert [text.get_text() for text in figure.axes[1].texts] == ["no rate", "refused"]
    assert "Error straight to each layer, or to none" in words(figure)
    with pytest.raises(ValueError, match="the survey has no lines to draw"):
        figures.survey_of_networks(survey_results.Survey([], 5, "digits", 360, 0.1))
    with pytest.raises(TypeError, match="must be a minifa.experiments.survey_results.Survey"):
        figures.survey_of_networks([])


def test_names_with_dollar_signs_in_a_survey_are_drawn_as_they_are():
    """A formula that matplotlib cannot read would stop the picture."""
    name = r"$\x_$"
    lines = [{**dict.fromkeys(surveys.COLUMNS, ""), "network": "mlp", "rule": name, "not_run": f"{name}: {name}"}]
    figure = figures.survey_of_networks(survey_results.Survey(lines, 5, "digits", 360, 0.1))
    FigureCanvasAgg(figure).draw()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [name.replace("$", r"\$")]


QUANTITIES = ["loss", "accuracy", "weight_angle"]


def histories():
    """The histories of two of the rules, one of which has a loss on the training examples, too."""
    some = {one.experiment.rule: History(one.history) for one in curves()[::2]}
    some["usf"] = History({**row, "train_loss": row["test_loss"] / 2} for row in some["usf"])
    return {rule: some[rule] for rule in ("usf", "fa")}


def drawn_network(rule, net):
    return net, mf.rules.make(rule).attach(net)


@pytest.mark.parametrize("dark", [False, True])
def test_products_draw_every_factor_to_scale_with_its_shape(dark):
    names, arrays = equations()
    figure = figures.products(names, arrays, "Products", dark=dark)
    x, W, h = (arrays[name] for name in "xWh")
    drawn = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    for image, expected in zip(drawn, (h, x, W, arrays["dW"], x.T, h), strict=True):
        np.testing.assert_array_equal(image, expected)
    cells = {
        tuple(np.round(np.diff(np.reshape(image.get_extent(), (2, 2))).ravel() / image.get_array().shape[::-1], 6))
        for image in figure.axes[0].images
    }
    assert len(cells) == 1, "one scale"
    assert all(text in words(figure) for text in ("Products", "forward", "h\n12 × 9", "xᵀ\n40 × 12", "=", "@"))


def test_snapshots_have_a_row_for_each_matrix_and_a_column_for_each_time():
    matrices, times, notes = film()
    figure = figures.snapshots(matrices, times, notes, "Film")
    for image, expected in zip(images(figure), (*matrices["W"], *matrices["Bᵀ"]), strict=True):
        np.testing.assert_array_equal(image, expected)
    for axes in figure.axes:  # each picture has its own colour scale
        (image,) = axes.images
        assert image.get_clim()[1] == np.abs(image.get_array()).max()
    assert all(text in words(figure) for text in ("Film", "start", "end", "90°", "30°", "W\n5 × 3", "Bᵀ\n5 × 7"))


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: figures.products({"a": "h = y @ h"}, {"h": np.eye(2)}), "unknown name in an equation 'y'"),
        (lambda: figures.products({}, {"h": np.eye(2)}), "at least one equation"),
        (lambda: figures.products({"a": "= @"}, {"h": np.eye(2)}), "at least one matrix"),
        (lambda: figures.products({"a": "h"}, {"h": np.ones(3)}), r"must be a matrix \(rows, columns\)"),
        (lambda: figures.products({"a": "h"}, {"h": np.ones((2, 4000))}), "do not fit on a page"),
        (lambda: figures.snapshots({}, ["now"]), "at least one matrix and one time"),
        (lambda: figures.snapshots({"W": [np.eye(2)]}, ["now", "then"]), "1 entries for 2 times"),
        (lambda: figures.snapshots({"W": [np.eye(2), np.eye(3)]}, ["now", "then"]), "must have one shape"),
        (lambda: figures.snapshots({"W": [np.eye(2)]}, ["now"], {"V": ["x"]}), "unknown matrix 'V'"),
    ],
)  # fmt: skip
def test_pictures_for_teaching_refuse_what_they_cannot_draw(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def equations():
    x, W = waves(12, 40), waves(40, 9)
    return {"forward": "h = x @ W", "learn": "dW = x.T @ h"}, {"x": x, "W": W, "h": x @ W, "dW": x.T @ (x @ W)}


def film():
    return {"W": [waves(5, 3), waves(5, 3, shift=1)], "Bᵀ": [waves(5, 7)] * 2}, ["start", "end"], {"W": ["90°", "30°"]}


# By name: the drawing function, and the tolerance (root mean square over the pixels, 0 to 255) to the golden image.
# Lines and filled areas are equal bit for bit under matplotlib 3.8.4 and 3.11.2. Images are not: a pixel at the edge of
# a cell is assigned to one or the other neighbour, a difference of up to 9.5. The defects to detect (below) differ by
# at least 1.2 in pictures with lines only, and by 17 in pictures with cells.
LINES, CELLS = 1, 13
PICTURES = {
    "matrices": (CELLS, lambda dark: figures.matrices(waves(5, 6), waves(5, 6, shift=1), "W, B", dark=dark)),
    "matrices-long": (CELLS, lambda dark: figures.matrices(waves(16, 3), waves(16, 3, shift=1), dark=dark)),
    "matrices-none": (CELLS, lambda dark: figures.matrices(waves(5, 6), None, dark=dark)),
    "kernels": (CELLS, lambda dark: figures.kernels(waves(3, 3, 3, 4), waves(3, 3, 3, 4, shift=1), dark=dark)),
    "kernels-row": (CELLS, lambda dark: figures.kernels(waves(3, 3, 1, 6), dark=dark)),
    "signs": (CELLS, lambda dark: figures.signs(waves(7, 12), waves(7, 12, shift=1).round(1), dark=dark)),
    "confusion": (CELLS, lambda dark: figures.confusion(COUNTS, ["cat", "dog", "emu"], dark=dark)),
    "splits": (LINES, lambda dark: figures.split_accuracies(split_rows(), [0.25, 0.5], dark=dark)),
    "deltas": (CELLS, lambda dark: figures.deltas(*errors_of("fa"), dark=dark)),
    "histogram": (LINES, lambda dark: figures.angle_histogram(*errors_of("usf", n=64), dark=dark)),
    "learning": (LINES, lambda dark: figures.learning_curves(curves(), dark=dark)),
    "alignment": (LINES, lambda dark: figures.alignment_curves(curves(), dark=dark)),
    "comparison": (LINES, lambda dark: figures.comparison(curves(), dark=dark)),
    "survey": (CELLS, lambda dark: figures.survey(curves(), dark=dark)),
    "dependence": (LINES, lambda dark: figures.kernel_curves([with_kernels("bp"), with_kernels("fa", 1)], dark=dark)),
    "information": (
        LINES,
        lambda dark: figures.information_plane([with_kernels("bp"), with_kernels("fa", 1)], dark=dark),
    ),
    "similarities": (
        CELLS,
        lambda dark: figures.similarities(small_net(), *batch(9, (6, 6, 1)), mf.SoftmaxCrossEntropy(), dark=dark),
    ),
    "training": (LINES, lambda dark: figures.training_curves(curves()[-2], dark=dark)),
    "history": (LINES, lambda dark: figures.history_curves(histories(), QUANTITIES, dark=dark)),
    "memory": (LINES, lambda dark: figures.activation_memory(peaks(), dark=dark)),
    "robustness": (LINES, lambda dark: figures.robustness(attacked(), dark=dark)),
    "networks": (LINES, lambda dark: figures.survey_of_networks(surveyed(), dark=dark)),
    "products": (CELLS, lambda dark: figures.products(*equations(), dark=dark)),
    "snapshots": (CELLS, lambda dark: figures.snapshots(*film(), dark=dark)),
    "im2col": (LINES, lambda dark: figures.im2col(4, 4, 3, 1, 1, dark=dark)),
    "reconstructions": (CELLS, lambda dark: figures.reconstructions(*drawn_images(), dark=dark)),
    "unit-weights": (
        CELLS,
        lambda dark: figures.unit_weights(waves(20, 5), (5, 4, 1), waves(5, 20, shift=1), dark=dark),
    ),
    "broadcast": (LINES, lambda dark: figures.broadcast(*drawn_network("dfa", small_convnet()), dark=dark)),
    "layerwise": (LINES, lambda dark: figures.broadcast(*drawn_network("fa", small_convnet()), dark=dark)),
}
GOLDEN = Path(__file__).parents[1] / "golden"
DARK_TOO = ("matrices", "alignment", "broadcast")
CASES = [(name, False) for name in PICTURES] + [(name, True) for name in DARK_TOO]
DPI, REDUCED = 100, 2  # drawn at the first and reduced by the second, so that a pixel at an edge has little weight


def without_letters(figure):
    """The picture without its text, in whole pixels."""
    for legend in figure.findobj(Legend):
        legend.remove()
    remove_ticks_and_titles(figure)
    for axes in figure.axes:
        axes.set(xlabel="", ylabel="")
    for text in figure.findobj(Text):
        text.set_in_layout(False)
        if getattr(text, "arrow_patch", None) is None:
            text.set_visible(False)
    figure.set_size_inches(*(np.round(figure.get_size_inches() * DPI) + 0.01) / DPI)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").reduce(REDUCED)


def distance(name, dark, figure):
    """From the golden image, as a root mean square over the pixels."""
    with Image.open(golden_path(name, dark)) as golden:
        expected = np.asarray(golden.convert("RGB"), dtype=float)
    drawn = np.asarray(without_letters(figure), dtype=float)
    return np.sqrt(((drawn - expected) ** 2).mean()) if drawn.shape == expected.shape else np.inf


def golden_path(name, dark):
    return GOLDEN / f"{name}{'-dark' if dark else ''}.png"


@pytest.mark.parametrize("name, dark", CASES)
def test_pictures_equal_their_golden_images(name, dark):
    tolerance, draw = PICTURES[name]
    assert distance(name, dark, draw(dark)) <= tolerance


def test_golden_images_are_small_and_all_used():
    files = set(GOLDEN.glob("*.png"))
    assert files == {golden_path(name, dark) for name, dark in CASES}
    assert max(path.stat().st_size for path in files) < 30_000


def wrong_colours(figure):
    for axes in figure.axes:
        for image in axes.images:
            image.set_cmap("viridis")


def wrong_scale(figure):
    image = figure.axes[1].images[0]
    image.set_clim(3 * image.get_clim()[0], 3 * image.get_clim()[1])


def missing_panel(figure):
    figure.axes[1].remove()


def swapped(figure):
    W, B = (axes.images[0] for axes in figure.axes[:2])
    shown = W.get_array()
    W.set_data(B.get_array())
    B.set_data(shown)


def missing_line(figure):
    figure.axes[0].get_lines()[-1].remove()


def missing_band(figure):
    figure.axes[0].collections[0].remove()


def another_colour(figure):
    figure.axes[0].get_lines()[0].set_color("red")


WITH_LINES = ("learning", "alignment", "comparison", "training", "history", "memory")
ONE_PANEL = (
    "signs",
    "kernels-row",
    "matrices-none",
    "memory",
    "im2col",
    "broadcast",
    "layerwise",
    "products",
    "confusion",
)


def missing_arrow(figure):
    next(text for text in figure.axes[0].texts if getattr(text, "arrow_patch", None) is not None).remove()


SPOILED = [
    *((name, wrong_colours) for name, (tolerance, _) in PICTURES.items() if tolerance == CELLS),
    *((name, missing_panel) for name in PICTURES if name not in ONE_PANEL),
    *((name, wrong_scale) for name in ("matrices", "matrices-long", "kernels")),
    *((name, swapped) for name in ("matrices", "matrices-long", "kernels")),
    *((name, missing_line) for name in WITH_LINES),
    *((name, another_colour) for name in WITH_LINES),
    *((name, missing_band) for name in ("learning", "comparison")),
    *((name, missing_arrow) for name in ("broadcast", "layerwise")),
]
FIRST = set({name: (name, spoil) for name, spoil in reversed(SPOILED)}.values())  # one for each picture


@pytest.mark.parametrize(
    "name, spoil",
    [pytest.param(*one, marks=() if one in FIRST else pytest.mark.long) for one in SPOILED],  # together 11 seconds
)
def test_a_wrong_picture_is_detected(name, spoil):
    tolerance, draw = PICTURES[name]
    figure = draw(False)
    spoil(figure)
    assert tolerance < distance(name, False, figure) < np.inf


@pytest.mark.long
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_readable_at_the_width_of_a_notebook_and_dark_ones_too(name):
    """A dark picture differs from the light one, and has the same text of the same size."""
    tolerance, draw = PICTURES[name]
    light, dark = draw(False), draw(True)
    assert words(dark) == words(light)
    assert [text.get_fontsize() for text in dark.findobj(Text)] == [text.get_fontsize() for text in light.findobj(Text)]
    dark.draw_without_rendering()  # makes the labels of ticks
    assert dark.get_figwidth() == light.get_figwidth() <= 9
    sizes = {text.get_text(): text.get_fontsize() for text in dark.findobj(Text) if text.get_text()}
    assert min(sizes.values()) >= 8, sizes
    for axes in dark.axes:
        for text in (axes.title, axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            assert lightness(to_rgba(text.get_color())) > 60
    assert 2 * tolerance < distance(name, False, dark) < np.inf


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, dark in CASES:
        if name in (sys.argv[1:] or PICTURES):
            without_letters(PICTURES[name][1](dark)).save(golden_path(name, dark), optimize=True)
