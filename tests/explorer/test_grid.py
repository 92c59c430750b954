"""The grid of finished runs that ships with the explorer: its numbers, its rates, and what the page says of it."""

import csv
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from minifa import data
from minifa.experiments import Experiment, run
from minifa.experiments.experiment import default_rate
from minifa.explorer import grid
from minifa.explorer.page import explore

RUNS = Path(__file__).parents[2] / "tutorials" / "results" / "explorer" / "runs.csv"
GRID = grid.read()
CELLS = {(cell["family"], cell["depth"], cell["rule"]): cell for cell in GRID["cells"]}
LISTS = ("accuracy", "true_angle", "weight_angle")
FEW_EXAMPLES = 4 / 360  # by which another machine's sums may change an accuracy after two epochs


def last(cell, name="accuracy"):
    return statistics.fmean(run[-1] for run in cell[name])


def numbers_in(value):
    if isinstance(value, (list, tuple)):
        return [number for one in value for number in numbers_in(one)]
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers_in(one)]
    return [value] if isinstance(value, (int, float)) else []


def test_every_number_is_finite_and_every_cell_is_there_once():
    numbers = numbers_in(GRID)
    assert len(numbers) > 3 * 72 * len(GRID["meta"]["seeds"]) and all(math.isfinite(number) for number in numbers)
    wanted = [
        (family, depth, rule) for family, one in grid.FAMILIES.items() for depth in one.depths for rule in grid.RULES
    ]
    assert [(cell["family"], cell["depth"], cell["rule"]) for cell in GRID["cells"]] == wanted
    assert [rule["name"] for rule in GRID["rules"]] == list(grid.RULES)
    assert [(one["name"], tuple(one["depths"])) for one in GRID["families"]] == [
        (name, one.depths) for name, one in grid.FAMILIES.items()
    ]


@pytest.mark.parametrize("cell", GRID["cells"], ids=lambda cell: f"{cell['family']}-{cell['depth']}-{cell['rule']}")
def test_a_cell_is_complete(cell):
    epochs, seeds = GRID["meta"]["epochs"], GRID["meta"]["seeds"]
    for name in LISTS:
        if cell[name] is not None:
            assert len(cell[name]) == len(seeds)
            assert cell["diverged"] or {len(run) for run in cell[name]} == {epochs + 1}, "before training, and epochs"
    assert all(0 <= one <= 1 for run in cell["accuracy"] for one in run)
    assert all(0 <= one <= 180 for name in LISTS[1:] for one in numbers_in(cell[name]))
    assert all(band is None or 0 < band[0] < 90 < band[1] < 180 for band in cell["chance"].values())


@pytest.mark.parametrize("key", CELLS, ids=lambda key: str(key))
def test_each_rate_is_the_best_of_a_search_on_held_out_examples_and_other_seeds(key):
    rate, is_searched = default_rate(grid.setting(*key))
    assert is_searched and CELLS[key]["lr"] == rate
    assert not set(GRID["meta"]["seeds"]) & set(GRID["meta"]["search_seeds"])


def test_the_file_has_the_numbers_of_the_table_of_runs():
    with open(RUNS, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    seen = 0
    for line in lines:
        cell = CELLS[line["family"], int(line["depth"]), line["rule"]]
        seed = GRID["meta"]["seeds"].index(int(line["seed"]))
        assert float(line["lr"]) == cell["lr"]
        if line["engine"] == "PyTorch":
            assert float(line["accuracy"].split()[-1]) == cell["peer"][seed]
            continue
        seen += 1
        for name in LISTS:
            known = [None if one == "-" else float(one) for one in line[name].split()]
            assert known == ([] if cell[name] is None else cell[name][seed])
    assert seen == len(CELLS) * len(GRID["meta"]["seeds"])


@pytest.mark.parametrize("key", [("mlp", 1, "fa"), ("mlp", 2, "usf"), ("cnn-batch-norm", 1, "dfa")])
def test_the_engine_repeats_the_first_epochs_of_a_cell(key):
    seed = GRID["meta"]["seeds"][0]
    result, _ = run(replace(grid.setting(*key, seed=seed), epochs=2))
    cell = CELLS[key]
    for epoch, row in enumerate(result.history):
        assert row["test_accuracy"] == pytest.approx(cell["accuracy"][0][epoch], abs=FEW_EXAMPLES)
        for name in LISTS[1:]:
            angle = row.get(f"{cell['layers'][name]}.{name}")
            assert (angle is None) == (cell[name] is None)
            assert angle is None or angle == pytest.approx(cell[name][0][epoch], abs=0.5)


def test_another_rate_or_seed_does_not_repeat_them():
    """The comparison above can fail."""
    cell = CELLS["mlp", 1, "fa"]
    result, _ = run(replace(grid.setting("mlp", 1, "fa", seed=3), epochs=2))
    assert abs(result.history[0]["linear2.weight_angle"] - cell["weight_angle"][0][0]) > 0.5


def test_the_chapter_says_in_its_first_sentences_what_the_runs_show():
    deepest = {family: one.depths[-1] for family, one in grid.FAMILIES.items()}
    for family, depth in deepest.items():
        at_one = [last(CELLS[family, 1, rule]) for rule in grid.RULES]
        assert max(at_one) - min(at_one) < 0.06, "with one hidden layer the rules hardly differ"
        assert last(CELLS[family, depth, "shallow"]) < last(CELLS[family, 1, "shallow"]) - 0.2, "the control falls"
        assert all(last(CELLS[family, depth, rule]) > 0.85 for rule in ("usf", "frsf"))
    for family in ("mlp", "cnn"):
        depth = deepest[family]
        assert last(CELLS[family, depth, "fa"]) < last(CELLS[family, depth, "bp"]) - 0.2
    assert last(CELLS["cnn-batch-norm", 6, "fa"]) > 0.9


def test_the_page_has_the_grid_and_it_is_small():
    page = explore(
        Experiment(data="xor", model="tiny", lr=0.5, batch_size=4), data.load("xor"), ["bp"], train_updates=1
    )
    text = json.dumps(GRID, separators=(",", ":"))
    assert len(text) <= 150_000 and f'"grid":{text}' in page


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("rnn", 1, "fa"), ValueError, "family"),
        (("cnn", 3, "fa"), ValueError, "1, 2, 4, 6, got 3"),
        (("cnn", "6", "fa"), TypeError, "depth"),
        (("cnn", 6, "pepita"), ValueError, "rule"),
    ],
)
def test_a_cell_that_the_grid_does_not_have_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        grid.setting(*arguments)
