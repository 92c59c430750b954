"""The pictures show the numbers they are given; how they look is for eyes."""

import matplotlib

matplotlib.use("Agg")

import pytest

from minifa import figures
from minifa.experiments import Experiment, Result


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
    return Result(Experiment(rule=rule, seed=seed), history, score, "test", 1.0, layers, error=error)


def test_comparison_draws_means_bands_and_every_seed():
    runs = [result("bp", 0, 0.9), result("bp", 1, 0.7), result("fa", 0, 0.2), result("fa", 1, 0.4)]
    runs.append(result("usf", 0, 0.0, error="ValueError: broken"))
    figure = figures.comparison(runs, title="two rules")
    curves, scores, weights, errors = figure.axes
    assert [line.get_label() for line in curves.get_lines()] == ["bp", "fa"]  # a failed rule has no curve
    assert list(curves.get_lines()[0].get_ydata()) == pytest.approx([0.1, 0.8])
    assert [label.get_text() for label in scores.get_yticklabels()] == ["bp", "fa"]
    assert sorted(x for c in scores.collections for x, _ in c.get_offsets()) == pytest.approx([0.2, 0.4, 0.7, 0.9])
    assert list(weights.get_lines()[1].get_ydata())[1] == pytest.approx(80.5)  # the mean over seeds, at linear1
    assert list(weights.get_lines()[1].get_ydata())[0] != 80.5  # conv1 has no feedback
    assert list(errors.get_lines()[0].get_ydata()) == pytest.approx([70.0, 0.0])
    assert "two rules" in figure.get_suptitle()


def test_colours_and_markers_differ_and_repeat_only_with_another_line():
    looks = [tuple(sorted(figures.look(i).items())) for i in range(24)]
    assert len(set(looks)) == 24


def test_survey_shows_every_rule_and_leaves_empty_what_does_not_exist():
    names = [f"rule{i}" for i in range(12)]
    figure = figures.survey([result(name, seed, 0.5 + seed / 10) for name in names for seed in (0, 1)])
    scores, weights, errors, _ = figure.axes
    assert [label.get_text() for label in scores.get_yticklabels()] == names
    assert [t.get_text() for t in errors.texts[:2]] == ["70", "0"]
    assert [t.get_text() for t in weights.texts] == ["80"] * 12  # conv1 has no feedback: its cells stay empty


def test_training_curves_show_every_layer():
    figure = figures.training_curves(result("fa", 0, 0.5))
    loss, accuracy, angles = figure.axes
    assert {line.get_label() for line in loss.get_lines()} == {"test", "train"}
    assert list(accuracy.get_lines()[0].get_ydata()) == pytest.approx([0.1, 0.5])
    assert list(angles.get_lines()[0].get_ydata()) == pytest.approx([90.0, 80.0])
