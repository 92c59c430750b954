"""The search for a rate: its runs, their order, the chosen rate, and that it can be resumed."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

import minifa as mf
from minifa import cli, experiments
from minifa.experiments import Experiment, Result, study, tuning
from minifa.experiments.tuning import Trial

BASE = Experiment(model="mlp", model_options={"hidden": (4,)}, epochs=1)


def search(score, first=None, rules=("bp",)):
    """A search whose runs score the value of a function of (exponent, seed); None: the run fails."""
    trials = []
    while True:
        wanted = [one for rule in rules for one in tuning.next_runs(BASE, rule, trials, first)]
        if not wanted:
            return trials
        for one in wanted:
            score_of_run = score(tuning.EXPONENTS[one.lr], one.seed)
            trials.append(Trial(one, math.nan, error="gone") if score_of_run is None else Trial(one, score_of_run))


def seeds_by_exponent(trials):
    return {k: sorted(t.experiment.seed for t in runs) for k, runs in tuning.by_exponent("bp", trials).items()}


def chosen(trials):
    return [row["lr"] for row in tuning.rate_table(trials) if row["chosen"]]


def test_the_rates_are_half_a_decade_apart():
    rates = [tuning.rate(k) for k in tuning.RATES]
    assert rates[0] == 1e-5 and rates[-1] == 1 and len(rates) == 11
    assert all(2.9 < b / a < 3.4 for a, b in zip(rates, rates[1:], strict=False))


def test_every_rate_has_two_seeds_and_the_best_with_its_neighbours_five():
    seeds_of = seeds_by_exponent(search(lambda k, seed: -abs(k + 4)))
    assert {k: len(seeds) for k, seeds in seeds_of.items()} == {k: 5 if k in (-5, -4, -3) else 2 for k in tuning.RATES}
    assert seeds_of[-4] == [100, 101, 102, 103, 104] and seeds_of[0] == [100, 101]


@pytest.mark.parametrize("best", [-12, 2])
def test_the_range_is_widened_while_the_best_is_at_its_edge(best):
    trials = search(lambda k, seed: -abs(k - best))
    seeds_of = seeds_by_exponent(trials)
    assert chosen(trials) == [tuning.rate(best)]
    assert min(seeds_of) == min(-10, best - 1) and max(seeds_of) == max(0, best + 1)


@pytest.mark.parametrize("better", [1, -1])
def test_an_unbounded_search_stops_at_the_widest_range(better):
    seeds_of = seeds_by_exponent(search(lambda k, seed: better * k))
    assert (max if better > 0 else min)(seeds_of) == (tuning.WIDEST[-1] if better > 0 else tuning.WIDEST[0])


def test_a_rate_that_was_best_by_chance_on_two_seeds_is_replaced():
    lucky = {100: 1.0, 101: 1.0}  # the further seeds show its true score
    trials = search(lambda k, seed: lucky.get(seed, 0.0) if k == -4 else 0.9 - 0.1 * abs(k + 3))
    assert chosen(trials) == [tuning.rate(-3)]
    assert {k for k, seeds in seeds_by_exponent(trials).items() if len(seeds) == 5} == {-5, -4, -3, -2}


def test_in_a_tie_the_smaller_rate_is_chosen():
    assert chosen(search(lambda k, seed: 0.5 if k in (-4, -3) else 0.1)) == [tuning.rate(-4)]


def test_a_narrower_range_is_tried_first_and_widened_too():
    seeds_of = seeds_by_exponent(search(lambda k, seed: -abs(k + 2), first=range(-8, -5)))
    assert min(seeds_of) == -8 and max(seeds_of) == -1 and seeds_of[-7] == [100, 101]


def test_failed_runs_are_not_run_again_and_a_rule_that_always_fails_has_no_rate():
    calls = []

    def score(k, seed):
        calls.append((k, seed))
        return None

    assert tuning.rate_table(search(score)) == [] and len(calls) == len(set(calls)) == 22


def test_a_loss_that_is_not_a_number_is_the_worst_score():
    trials = search(lambda k, seed: math.nan if k > -4 else float(k))  # -5 is the best finite one
    row = next(row for row in tuning.rate_table(trials) if row["lr"] == 0.1)
    assert chosen(trials) == [tuning.rate(-4)] and row["mean"] == -math.inf and row["sd"] == ""


def test_one_seed_has_no_sd():
    trial = Trial(tuning.run_of(BASE, "bp", -4, 100), 0.5, diverged=True)
    (row,) = tuning.rate_table([trial])
    assert (row["sd"], row["seeds"], row["diverged"], row["momentum"]) == ("", 1, 1, 0.9)


def test_the_table_has_mean_and_sd_of_the_sample():
    trials = search(lambda k, seed: (seed - 100) / 10 - abs(k + 4))
    row = next(row for row in tuning.rate_table(trials) if row["chosen"])
    assert row["mean"] == pytest.approx(0.2) and row["sd"] == pytest.approx(0.158114)
    assert (row["optimizer"], row["batch_size"], row["epochs"], row["options"]) == ("sgd", 64, 1, "hidden=4")


def test_all_runs_hold_out_the_same_examples_and_measure_no_test_set():
    one, other = tuning.run_of(BASE, "bp", -4, 100), tuning.run_of(BASE, "fa", -3, 104)
    data = mf.data.load("digits")
    assert (experiments.experiment.parts(one, data)[1].x == experiments.experiment.parts(other, data)[1].x).all()
    history = experiments.run(one, data)[0].history
    assert "validation_accuracy" in history[-1] and not any(key.startswith("test") for key in history[-1])


# On the command line

GIVEN = ["--model", "mlp", "--hidden", "4", "--epochs", "1", "--rules", "bp,fa", "--jobs", "1"]


@pytest.fixture
def completed(monkeypatch, tmp_path):
    """Runs without cost; each is appended to the list."""
    monkeypatch.chdir(tmp_path)
    made = []

    def run(experiment):
        made.append((experiment.rule, experiment.lr, experiment.seed))
        row = {"epoch": 1, "validation_accuracy": 1 - abs(math.log10(experiment.lr) + 2) / 10}
        return Result(experiment, [row], row["validation_accuracy"], "validation", 0.0), None

    monkeypatch.setattr(study, "run", run)
    return made


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_prints_and_saves_the_grid(completed, capsys):
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 0
    printed = capsys.readouterr().out
    assert "1.000*" in printed and printed.splitlines()[0].split()[:3] == ["held-out", "score", "1e-05"]
    assert len(rows_of("t/trials.csv")) == len(completed) == 2 * 31
    chosen = [(row["rule"], row["lr"]) for row in rows_of("t/rates.csv") if row["chosen"] == "1"]
    assert chosen == [("bp", "0.01"), ("fa", "0.01")]
    assert Path("t/table.txt").read_text(encoding="utf-8") in printed


def test_the_same_command_resumes_and_a_finished_search_runs_nothing(completed, capsys):
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 0
    whole, lines = rows_of("t/rates.csv"), Path("t/trials.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    completed.clear()
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 0 and completed == []
    Path("t/trials.csv").write_text("".join(lines[:30]) + "bp,0.0", encoding="utf-8")  # killed in the middle of a line
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 0
    assert len(completed) == 2 * 31 - 29 and rows_of("t/rates.csv") == whole


def test_a_range_of_rates(completed, capsys):
    assert cli.main(["tune", *GIVEN, "--rates", "1e-3:3e-2", "--out", "t"]) == 0
    assert {lr for _, lr, _ in completed} == {1e-3, 3e-3, 1e-2, 3e-2}
    with pytest.raises(SystemExit):
        cli.main(["tune", *GIVEN, "--rates", "0.002:0.1"])
    assert "expected two rates as 1e-4:3e-2" in capsys.readouterr().err


def test_fewer_seeds_for_the_best(completed):
    assert cli.main(["tune", *GIVEN, "--rates", "1e-3:1e-1", "--seeds", "3", "--out", "t"]) == 0
    assert {row["lr"]: row["seeds"] for row in rows_of("t/rates.csv") if row["rule"] == "fa"} == {
        "0.001": "2", "0.003": "3", "0.01": "3", "0.03": "3", "0.1": "2"
    }  # fmt: skip


def test_another_setting_does_not_continue_a_search(completed, capsys):
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 0
    assert cli.main(["tune", *GIVEN, "--batch-size", "32", "--out", "t"]) == 2
    assert "batch_size 32 (there: 64)" in capsys.readouterr().err


def test_a_damaged_table_is_refused(completed, capsys):
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 0
    with open("t/trials.csv", "a", encoding="utf-8") as file:
        file.write("bp,0.123,100,0.5,0,\n")
    assert cli.main(["tune", *GIVEN, "--out", "t"]) == 2
    assert "has a line that is not a trial" in capsys.readouterr().err


def test_rules_that_cannot_be_attached_are_left_out(completed, capsys):
    given = ["tune", "--model", "mlp", "--batch-norm", "--epochs", "1", "--jobs", "1", "--out", "t"]
    assert cli.main([*given, "--rates", "1e-2:1e-2"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "left out node_perturbation: under node perturbation the examples must be independent" in printed
    assert {rule for rule, _, _ in completed} == {
        name for name, rule in mf.rules.RULES.items() if not rule.accepts or name in ("di", "pbp")
    }  # all that accept batch norm
    assert cli.main([*given, "--rules", "node_perturbation"]) == 2


# The rates that ship with the package


def test_the_stored_rate_is_that_of_the_nearest_setting_and_the_differences_are_named():
    row = experiments.experiment.shipped_rate(Experiment(rule="fa"))
    assert experiments.experiment.rate_differences(Experiment(rule="fa"), row) == []
    other = Experiment(
        rule="fa", epochs=7, batch_size=32, optimizer_options={"momentum": 0.5, "manhattan": True},
        schedule="cosine:epochs=7", augmentation="crop_flip",
    )  # fmt: skip
    assert experiments.experiment.rate_differences(other, row) == [
        f"{row['epochs']} epochs", "batch size 64", "momentum 0.9", "no manhattan", "a constant schedule",
        "no augmentation",
    ]  # fmt: skip


def test_where_several_grids_were_run_the_epochs_decide(monkeypatch):
    one = experiments.experiment.shipped_rate(Experiment(rule="fa"))
    grids = [{**one, "epochs": epochs, "lr": lr} for epochs, lr in (("15", "0.1"), ("60", "0.2"))]
    key = tuple(one[column] for column in experiments.experiment.OF_A_RATE)
    monkeypatch.setattr("minifa.experiments.experiment.shipped_rates", lambda: {key: grids})
    rates = [
        experiments.experiment.default_rate(Experiment(rule="fa", epochs=epochs))[0] for epochs in (10, 15, 29, 31, 500)
    ]
    assert rates == [0.1, 0.1, 0.1, 0.2, 0.2]


def test_an_option_at_its_default_finds_the_stored_rate():
    assert experiments.experiment.default_rate(
        Experiment(rule="fa", model_options={"depth": 6})
    ) == experiments.experiment.default_rate(Experiment(rule="fa"))


GRIDS = Path(__file__).parents[2] / "tutorials/results/rates/grid.csv"


def test_every_rule_has_one_chosen_rate_in_every_grid_and_it_ships():
    if not GRIDS.exists():
        pytest.skip("the tutorials are not here, as in a source distribution")
    grids = {}
    for row in rows_of(GRIDS):
        chosen = row.pop("chosen")
        key = tuple(row[k] for k in ("data", "model", "options", "optimizer", "epochs", "rule"))
        grids.setdefault(key, {}).setdefault(chosen, []).append(row)
    assert all(len(grid["1"]) == 1 and grid["0"] for grid in grids.values())
    assert {key[-1].partition(":")[0] for key in grids} == set(mf.rules.RULES)
    shipped = [row for rows in experiments.experiment.shipped_rates().values() for row in rows]
    assert sorted(map(str, shipped)) == sorted(str(grid["1"][0]) for grid in grids.values())
