"""The results archive: its files are those of tutorials/results, its tables have the numbers of the results page, and
one's own CSV files, of any origin, are compared with it or refused with a sentence."""

import importlib.util
import json
import math
import os
import random
import re
import statistics
from pathlib import Path

import pytest
from result_tables import made_by

from minifa.cli import main
from minifa.errors import DataFileError
from minifa.experiments import differences, results_archive, score_files
from minifa.experiments.results_archive import MEASURES, RowScores, Table
from minifa.storage import csv_files

RESULTS = Path(__file__).parents[2] / "tutorials" / "results"
FACTS = {
    "name",
    "title",
    "measure",
    "measured",
    "data",
    "network",
    "command",
    "version",
    "machine",
    "date",
    "judgement",
}
OPTIONAL = {"epochs", "commit", "added", "wall_time", "training", "peer", "reference", "seeds"}
ACCURACY, PERCENT, ERROR, LOSS = MEASURES.values()


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("archive", RESULTS / "archive.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="my.csv"):
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


def rows_of(path):
    columns, *lines = csv_files.read(path)
    return [dict(zip(columns, cells, strict=True)) for cells in lines]


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", results_archive.names())
def test_the_shipped_file_is_what_the_script_makes(name, script):
    assert (results_archive.FOLDER / f"{name}.csv").read_text(encoding="utf-8") == script.text_of(name)


def test_the_script_notices_a_file_that_differs(script, monkeypatch, tmp_path, capsys):
    text = script.text_of("digits-cnn")
    (tmp_path / "digits-cnn.csv").write_text(text.replace("0.983333", "0.983334"), encoding="utf-8")
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    monkeypatch.setattr(script, "catalogue", lambda: {"digits-cnn": results_archive.catalogue()["digits-cnn"]})
    monkeypatch.setattr("sys.argv", ["archive.py", "--check"])
    assert script.main() == 1 and capsys.readouterr().out == "digits-cnn.csv differs\n"
    monkeypatch.setattr("sys.argv", ["archive.py"])
    assert script.main() == 0 and (tmp_path / "digits-cnn.csv").read_text(encoding="utf-8") == text


def test_the_archive_is_small_and_complete():
    files = {path.name for path in results_archive.FOLDER.iterdir()}
    assert files == {"catalogue.toml", *(f"{name}.csv" for name in results_archive.names())}
    assert sum(path.stat().st_size for path in results_archive.FOLDER.glob("*.csv")) <= 150_000


@pytest.mark.parametrize("name", results_archive.names())
def test_every_entry_has_its_facts(name, script):
    """No key is misspelt, every source exists, and the seconds of training are those of the runs."""
    entry = results_archive.catalogue()[name]
    assert entry.keys() >= FACTS and entry.keys() <= FACTS | OPTIONAL | {"source"}
    assert all(value or key == "epochs" for key, value in entry.items())
    assert all((RESULTS / source["file"]).exists() for source in entry["source"])
    assert len(entry["judgement"].split(". ")) <= 2
    seconds = [line.get("seconds") for line in script.runs_of(name) if line["engine"] == "minifa"]
    assert ("training" in entry) == (None not in seconds)
    if "training" in entry:
        assert float(entry["training"].split()[0]) == pytest.approx(sum(seconds) / 60, abs=0.05, rel=0.01)
    scores = results_archive.load(name).scores()
    assert entry.get("reference", "bp") in {row for _, row in scores}


@pytest.mark.parametrize("name", results_archive.names())
def test_facts_agree_with_the_configuration_of_the_runs(name):
    """Commit, date and version where config.json or table.csv has them."""
    entry = results_archive.catalogue()[name]
    folder = RESULTS / entry["source"][0]["file"].partition("/")[0]
    if (folder / "config.json").is_file():
        recorded = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        made = recorded["environment"]
        commit = entry["commit"].split()[0] if "commit" in entry else None  # others follow it, with what they made
        assert (made["minifa"], made.get("commit")) == (entry["version"], commit)
        assert made["date"].startswith(entry["date"]) and f"Python {made['python']}" in entry["machine"]
        experiments = recorded.get("experiments") or [recorded["survey"]]
        assert {one["epochs"] for one in experiments} == {entry["epochs"]}
    elif (folder / "table.csv").is_file():
        rows = rows_of(folder / "table.csv")
        assert {row["epochs"] for row in rows} == {str(entry["epochs"])}
        for version, commit in {one for row in rows for one in made_by(row)}:
            assert version == entry["version"] and commit in entry["commit"]


@pytest.mark.parametrize("name", [name for name in results_archive.names() if name.startswith(("digits-cnn", "mnist"))])
def test_means_are_those_of_the_published_tables(name, script):
    """Computed here from the histories, or read from table.csv."""
    table = results_archive.load(name)
    for source in table.facts["source"]:
        path = RESULTS / source["file"]
        if path.is_dir():
            for row in rows_of(path / "table.csv"):
                if row["row"] in source.get("rows", [row["row"]]):
                    assert table.scores()["", row["row"]].mean == pytest.approx(float(row["mean"]), rel=1e-5)
        elif path.name == "runs.csv":
            rows = rows_of(path)
            for rule in {row["rule"] for row in rows}:
                last = max(int(row["epoch"]) for row in rows)
                scores = [
                    float(row["test_accuracy"]) for row in rows if (row["rule"], row["epoch"]) == (rule, f"{last}")
                ]
                assert table.scores()["", rule].mean == pytest.approx(statistics.fmean(scores), rel=1e-5)
                assert table.scores()["", rule].sd == pytest.approx(statistics.stdev(scores), rel=1e-3)


def test_numbers_of_the_results_page():
    """As printed there: a score per seed, a mean and sd only, a peer, a published number."""
    cnn, cifar = results_archive.load("digits-cnn"), results_archive.load("cifar10-20-epochs")
    assert {row: one.shown(ACCURACY) for (_, row), one in cnn.scores().items()} == {
        "bp": "0.976 ± 0.007",
        "usf": "0.954 ± 0.019",
        "frsf": "0.943 ± 0.009",
        "fa": "0.348 ± 0.083",
        "shallow": "0.706 ± 0.029",
    }
    assert cnn.scores("PyTorch")["", "usf"].shown(ACCURACY) == "0.968 ± 0.012"
    bp, alone = cifar.scores()["", "bp"], cifar.scores()["", "usf-init"]
    assert (bp.shown(PERCENT), bp.n, bp.by_seed) == ("70.14 ± 1.31", 2, {})
    assert alone.by_seed == {0: 68.81} and cifar.scores("published")["", "bp"].mean == 75.8
    assert results_archive.load("digits-depth").scores()["mlp-8", "fa"].shown(ACCURACY) == "0.379 ± 0.100"
    assert results_archive.load("digits-untied").scores()["conv, shifted", "fa"].shown(ACCURACY) == "0.466 ± 0.034"
    assert results_archive.load("digits-cnn-150-epochs").value(("", "fa"), "epochs_to_90") == "52"
    assert results_archive.load("digits-deep-mlp-local").diverged(("", "synthetic")) == 2


def test_seeds_of_a_folder_with_results(script, tmp_path):
    """Scores at the best epoch are in runs.csv; those of curves.csv would be others."""
    columns, cells = (
        "row,rule,lr,weight_decay,epochs,seeds,published,mean,sd,seconds,diverged",
        "0.1,0,2,2,,60,14.1,7,0",
    )
    (tmp_path / "table.csv").write_text(f"{columns}\nbp,bp,{cells}\n", encoding="utf-8")
    curves = "row,seed,epoch,validation_accuracy\n" + "".join(f"bp,{seed},{e},0.5\n" for seed in (3, 4) for e in (0, 1))
    (tmp_path / "curves.csv").write_text(curves, encoding="utf-8")
    (line,) = script.of_reproduce(tmp_path, PERCENT)
    assert (line["score"], line["sd"], line["n"], line["seconds"]) == (60, 14.1, 2, 14) and "seed" not in line
    runs = "row,seed,test_accuracy\nbp,3,0.5\nbp,4,{}\nfa,3,0.1\n"
    (tmp_path / "runs.csv").write_text(runs.format(0.7), encoding="utf-8")
    lines = list(script.of_reproduce(tmp_path, PERCENT))
    assert [(line["seed"], line["score"]) for line in lines] == [(3, 50), (4, pytest.approx(70))]
    (tmp_path / "runs.csv").write_text(runs.format(0.8), encoding="utf-8")
    with pytest.raises(ValueError, match=r"row bp: the scores of the runs do not have the mean of table.csv"):
        list(script.of_reproduce(tmp_path, PERCENT))


def test_lines_of_a_survey(script):
    survey = [
        {
            "network": "cnn",
            "rule": "bp",
            "lr": "0.1",
            "seed": "3",
            "test_accuracy": "0.9",
            "seconds": "2",
            "not_run": "",
        },
        {"network": "cnn", "rule": "gevb", "lr": "", "seed": "", "test_accuracy": "", "seconds": "", "not_run": "no"},
    ]
    (line,) = script.of_runs(survey, {"network": "{network}"}, PERCENT)
    assert (line["network"], line["row"], line["seed"], line["score"], line["seconds"]) == ("cnn", "bp", 3, 90, 2)


def test_the_run_of_a_peer_counts_at_its_best_epoch_on_held_out_examples_else_at_its_last(script):
    def scores(*validation):
        shared = {"row": "bp", "rule": "bp", "lr": "0.1", "seed": "3", "seconds": "2"}
        accuracies = zip(validation, ("0.5", "0.7", "0.6"), strict=True)
        epochs = [
            {**shared, "epoch": str(i), "validation_accuracy": one, "test_accuracy": test}
            for i, (one, test) in enumerate(accuracies, 1)
        ]
        (line,) = script.of_runs(script.runs_in(epochs), {}, PERCENT)
        return line["score"], line["epochs"], line["seconds"]

    assert scores("0.4", "0.6", "0.6") == (70, 3, 6) and scores("", "", "") == (60, 3, 6)


def test_a_peers_table(script):
    text = (
        "PyTorch 2.13.0: digits, depth 2, seeds 0 to 2\n\nrule    lr          score      scores  epochs to 0.9\n"
        "----  ----  -------------  ----------  ---------\nbp    0.03  0.983 ± 0.003  0.98 0.9 1      1 - 1\n"
        "PyTorch 2.13.0+cpu: test error in %, seed 4\nfa       7.5\n"
    )
    (one,) = script.of_peer(text, {"block": "depth 2"}, ERROR)
    assert (one["row"], one["engine"], one["score"], one["sd"]) == (
        "bp",
        "PyTorch",
        pytest.approx(1.7),
        pytest.approx(0.3),
    )
    assert (one["n"], one["lr"]) == (3, 0.03)
    (other,) = script.of_peer(text, {"block": "seed 4"}, ERROR)
    assert (other["row"], other["score"], other["sd"], other["n"]) == ("fa", 7.5, None, 1)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_measures():
    assert [one.name for one in MEASURES.values()] == [*MEASURES]
    assert (
        ACCURACY.from_accuracy(0.25) == 0.25 and PERCENT.from_accuracy(0.25) == 25 and ERROR.from_accuracy(0.25) == 75
    )
    assert (PERCENT.shown(-0.001, "+"), LOSS.shown(1.23456)) == ("+0.00", "1.235")
    assert [one.higher_is_better for one in MEASURES.values()] == [True, True, False, False]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_mean_and_sd_give_the_interval_of_the_runs(n):
    rng = random.Random(n)
    values, others = [rng.gauss(70, 2) for _ in range(n)], [68.0, 69.0, 71.5]
    known = RowScores({}, statistics.fmean(values), statistics.stdev(values), n)
    assert len(known.sample()) == n
    one, other = differences.unpaired(known.sample(), others), differences.unpaired(values, others)
    assert [one.mean, one.standard_error, one.df, one.low] == pytest.approx(
        [other.mean, other.standard_error, other.df, other.low]
    )


def test_differences_from_the_reference():
    """Paired by seed where seeds are known, within the row's own network."""
    lines = [
        {"network": network, "row": row, "engine": "minifa", "seed": f"{seed}", "score": f"{score}", "sd": "", "n": ""}
        for network, shift in (("a", 0.0), ("b", 0.5))
        for row, scores in (("bp", (0.4, 0.5)), ("fa", (0.3, 0.45)))
        for seed, score in enumerate(scores, start=1)
        for score in [score + shift * (row == "fa")]
    ]
    lines.append({"network": "a", "row": "x", "engine": "minifa", "seed": "", "score": "0.2", "sd": "0.1", "n": "3"})
    found = Table("t", {"measure": "accuracy"}, lines).from_reference()
    assert found.keys() == {("a", "fa"), ("b", "fa"), ("a", "x")}
    assert found["a", "fa"].mean == pytest.approx(-0.075) and found["b", "fa"].mean == pytest.approx(0.425)
    assert found["a", "fa"].paired and not found["a", "x"].paired


@pytest.mark.parametrize(
    ("mine", "measure", "verdict"),
    [
        ([0.97, 0.98, 0.975], "accuracy", "higher by 0.472 (better)"),
        ([0.1, 0.11, 0.12], "accuracy", "lower by 0.393 (worse)"),
        ([0.1, 0.11, 0.12], "loss", "lower by 0.393 (better)"),
        ([0.4, 0.5, 0.7], "accuracy", "no difference shown"),
        ([0.9], "accuracy", "one run: no interval"),
        ([0.5033333], "accuracy", "one run: no interval"),
        ([0.5, 0.51, 0.5000001], "accuracy", "the same under every seed"),
        ([0.5033333, 0.5033333, 0.5033333], "accuracy", "no difference shown"),  # the archive has six digits
    ],
)
def test_a_verdict(mine, measure, verdict):
    lines = [{"row": "fa", "engine": "minifa", "seed": f"{i}", "score": f"{s}"} for i, s in enumerate((0.5, 0.51, 0.5))]
    table = Table("t", {"measure": measure}, lines)
    found = results_archive.compare({"fa": dict(enumerate(mine))}, table)
    assert [one.verdict for one in found.common] == [verdict] and not found.only_mine and not found.only_archived


def test_what_is_not_in_a_table_is_refused():
    table, survey = results_archive.load("digits-cnn"), results_archive.load("digits-survey")
    for call, said in (
        (lambda: table.scores("TensorFlow"), "engine of the table 'digits-cnn'"),
        (lambda: table.value(("", "pc"), "lr"), "'digits-cnn' has no row ('', 'pc')"),
        (lambda: table.diverged(("mlp", "fa")), "'digits-cnn' has no row ('mlp', 'fa')"),
        (lambda: results_archive.compare({"fa": {}}, table), "the score of at least one seed"),
        (lambda: ACCURACY.from_accuracy(75), "an accuracy must be between 0 and 1, got 75"),
        (lambda: LOSS.from_accuracy(0.5), "a loss does not follow from an accuracy"),
        (lambda: results_archive.compare({"fa": {0: 75.0, 1: 80.0}}, table), "from 0 to 1; row 'fa' has 75"),
        (lambda: results_archive.compare({"fa": {0: math.nan, 1: 0.5}}, table), "from 0 to 1; row 'fa' has nan"),
        (lambda: results_archive.compare({"fa": {0: 0.5}, ("", "fa"): {0: 0.5}}, table), "is given twice"),
        (lambda: results_archive.compare({"fa": {0: 0.5}}, survey), "'digits-survey' has the networks mlp, "),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            call()
    for wrong in ({("a", "b", "c"): {0: 1.0}}, {1: {0: 1.0}}, [0.5], {"fa": [0.5]}, {"fa": {"0": 0.5}}):
        with pytest.raises(TypeError, match="must be (a mapping|ints)"):
            results_archive.compare(wrong, table)


def test_rows_of_a_table_with_several_networks_are_named_with_their_network():
    survey = results_archive.load("digits-survey")
    network = survey.networks[1]
    found = results_archive.compare({(network, "fa"): {0: 0.4, 1: 0.5}}, survey)
    assert [one.key for one in found.common] == [(network, "fa")] and not found.only_mine


def test_a_loss_that_is_not_finite_is_named():
    lines = [{"row": "fa", "engine": "minifa", "seed": f"{i}", "score": "0.5"} for i in range(3)]
    found = results_archive.compare({"fa": {0: math.inf, 1: 0.4}}, Table("t", {"measure": "loss"}, lines))
    assert found.common[0].verdict == "a score is not finite"


def test_without_any_spread_nothing_is_shown():
    """Runs that diverged all have chance as their score, here and there another one."""
    lines = [{"row": "fa", "engine": "minifa", "seed": f"{i}", "score": "0.1"} for i in range(3)]
    table = Table("t", {"measure": "accuracy"}, lines)
    for score, verdict in ((0.0972, "no spread: no interval"), (0.1000001, "no difference shown")):
        found = results_archive.compare({"fa": {3: score, 4: score}}, table)
        assert [one.verdict for one in found.common] == [verdict]


def test_rows_are_found_by_name_and_else_by_a_rule_that_is_the_only_one():
    table = results_archive.load("cifar10-20-epochs")
    rules = ["bp", "usf:scale=strict", "fa:init=gaussian(0.01)", "usf"]  # the third is in two rows
    found = results_archive.compare({("", one): RowScores.of({0: 70}) for one in rules}, table)
    assert [one.key[1] for one in found.common] == ["bp", "usf-strict"]
    assert [key[1] for key in found.only_mine] == rules[2:]
    assert len(found.only_archived) == len(table.scores()) - 2


# --- one's own files --------------------------------------------------------------------------------------------------


def scores_in(path, measure=ACCURACY, **options):
    return score_files.read_scores(path, measure, **options)


def test_a_file_of_runs(write):
    read = scores_in(write("rule,seed,test_accuracy,error\nbp,0,0.9,\nbp,1,0.8,\nfa,0.0,0.5,\nfa,1,,it failed\n"))
    assert {key: dict(one.by_seed) for key, one in read.scores.items()} == {
        ("", "bp"): {0: 0.9, 1: 0.8},
        ("", "fa"): {0: 0.5},
    }
    assert (read.column, read.unit, read.epochs) == ("test_accuracy", "share", [])
    assert read.notes == ["left out: 1 line of runs that failed or were refused"]


def test_in_a_history_the_last_epoch_counts(write):
    text = "row,seed,epoch,test_accuracy,diverged\nbp,0,0,0.1,0\nbp,0,2,0.9,0\nbp,0,1,0.5,0\nbp,1,1,0.7,1\n"
    read = scores_in(write(text), PERCENT)
    assert read.scores["", "bp"].by_seed == {0: pytest.approx(90), 1: pytest.approx(70)}
    assert read.epochs == [1, 2]
    assert read.notes == ["of each run the last epoch in the file counts", "1 run diverged"]


def test_a_table_of_means_and_a_sweep(write):
    read = scores_in(write("row,rule,epochs,seeds,mean,sd,error\nbp,bp,5,3,97,0.5,\nfa,fa,5,1,90,,seed 1: no\n"), ERROR)
    bp, fa = read.scores.values()
    assert (bp.mean, bp.sd, bp.n, fa.sd, read.column, read.epochs) == (97, 0.5, 3, None, "mean", [5])
    assert scores_in("my.csv").scores["", "bp"].sd == pytest.approx(0.005)  # shares
    sweep = "run,id,rule,training.seed,test_accuracy,error\n0,a,bp,0,0.9,\n1,b,bp,1,,ValueError: no\n"
    assert scores_in(write(sweep)).scores["", "bp"].by_seed == {0: 0.9}


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("rule,lr,seed,accuracy\nfa,0.1,0,0.5\nfa,0.1,1,0.6\n", "0.1"),
        ("rule,lr,seed,accuracy\nfa,0.1,0,0.5\nfa,0.2,1,0.6\n", ""),
        ("rule,optimizer.lr,seed,accuracy\nfa,0.1,0,0.5\n", "0.1"),
        ("rule,seed,rate,epoch,lr,accuracy\nfa,0,0.1,0,,0.5\nfa,0,0.1,1,0.05,0.5\n", "0.1"),
        ("row,seed,epoch,lr,accuracy\nfa,0,1,0.05,0.5\n", ""),  # of this epoch, by the schedule
        ("row,lr,seeds,mean\nfa,0.1 then 0.01,1,50\n", "0.1 then 0.01"),
        ("rule,seed,accuracy\nfa,0,0.5\n", ""),
    ],
)
def test_the_learning_rate_of_a_row(text, rate, write):
    assert scores_in(write(text)).scores["", "fa"].rate == rate


@pytest.mark.parametrize(
    ("column", "values", "measure", "unit", "converted"),
    [
        ("accuracy", (0.9, 0.8), ERROR, None, (10, 20)),
        ("accuracy", (90, 80), ACCURACY, None, (0.9, 0.8)),
        ("error", (10, 0.5), ACCURACY, None, (0.9, 0.995)),
        ("error", (0.9, 0.5), ERROR, "percent", (0.9, 0.5)),
        ("error", (0.9, 0.5), ERROR, "share", (90, 50)),
        ("score", (0.9, 0.5), PERCENT, None, (90, 50)),
        ("score", (91, 3), ERROR, None, (91, 3)),
        ("accuracy", (0.9, 0), PERCENT, "percent", (0.9, 0)),
        ("test_loss", (0.3, 250), LOSS, None, (0.3, 250)),
    ],
)
def test_percent_and_shares(column, values, measure, unit, converted, write):
    lines = "".join(f"bp,{seed},{value}\n" for seed, value in enumerate(values))
    read = scores_in(write(f"rule,seed,{column}\n{lines}"), measure, unit=unit)
    assert list(read.scores["", "bp"].by_seed.values()) == pytest.approx(list(converted))


HEAD = "rule,seed,accuracy\n"
REFUSED = [
    ("", "'my.csv' has 0 lines; expected the names of the columns and a line for every run"),
    (HEAD, "has 1 lines"),
    ("rule;seed;accuracy\nbp;0;1\n", "has the single column rule;seed;accuracy: expected columns separated by commas"),
    ("rule,seed,seed\nbp,0,1\n", "has more than one column named 'seed': remove all but one"),
    ("a,b\n1,2\n", "has no column row or case or rule; expected the columns rule (or row), seed and score, got a, b"),
    ("rule,accuracy\nbp,1\n", "has no column seed or training.seed"),
    ("rule,seed\nbp,1\n", "name the column of the scores (accuracy) with --score"),
    (f"{HEAD}bp,0\n", "'my.csv', line 2, must have 3 cells, as the header, got 2: correct or remove the line"),
    (f"{HEAD}bp,0,0.5\n\nbp,0,0.5\n", "lines 2 and 4, both have rule bp and seed 0; expected one line for each"),
    (f"{HEAD}bp,x,0.5\n", "line 2: seed must be a whole number from 0 up, got 'x'"),
    (f"{HEAD}bp,0.5,0.5\n", "line 2: seed must be a whole number from 0 up, got '0.5'"),
    (f"{HEAD}bp,-1,0.5\n", "line 2: seed must be a whole number from 0 up, got '-1'"),
    (f"{HEAD}bp,0,good\n", "line 2: accuracy must be a finite number, got 'good': correct or remove the line"),
    (f"{HEAD}bp,0,nan\n", "line 2: accuracy must be a finite number, got 'nan'"),
    (f"{HEAD}bp,0,1e308\n", "line 2: accuracy must be a finite number, got '1e308'"),
    (f"{HEAD}bp,0,\n", "has no line with a value in the column accuracy: there is nothing to compare"),
    (f"{HEAD}bp,0,-0.1\n", "line 2: accuracy (share) must lie between 0 and 1, got -0.1"),
    (f"{HEAD}bp,0,120\n", "line 2: accuracy (percent) must lie between 0 and 100, got 120"),
    (f"{HEAD}bp,0,0.9\nbp,1,97\n", "accuracy is 0.9 in line 2 and 97 in line 3; expected only shares"),
    (
        "rule,seed,error\nbp,0,0.9\n",
        "no error is above 1, which may be a share or percent: give --unit share or --unit",
    ),
    (f"{HEAD},0,0.9\n", "line 2, must have a name of at most 200 characters in the column rule, got none"),
    (f"{HEAD}{'b' * 300},0,0.9\n", "got one of 300 characters"),
    (
        "row,seeds,mean,sd\nbp,3,97,\n",
        "line 2: expected seeds from 1 to 10,000, and sd from 0 up with more than one, got seeds 3",
    ),
    ("row,seeds,mean,sd\nbp,3,97,-1\n", "got seeds 3 and sd '-1'"),
    (  # two settings one after the other, the second with fewer epochs
        "rule,seed,epoch,accuracy\nbp,0,1,0.5\nbp,0,2,0.9\nbp,0,1,0.7\n",
        "lines 2 and 4, both have rule bp and seed 0, epoch 1; expected one line for each",
    ),
    ("row,seeds,mean,sd\nbp,1000000000,97,1\n", "line 2: expected seeds from 1 to 10,000"),
    ("row,seeds,mean,sd\nbp,2,97,1\nbp,2,97,1\n", "lines 2 and 3, both have row bp"),
    ('rule,seed,accuracy\n"bp,0,1\n', "'my.csv' is not a table in CSV"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_file_is_refused_with_a_sentence(text, message, write):
    with pytest.raises(DataFileError) as raised:
        scores_in(write(text))
    assert message in str(raised.value)


def test_unsuitable_options_and_files(write, monkeypatch, tmp_path):
    path = write(f"{HEAD}bp,0,0.9\n")
    for options, message in (
        ({"column": "acuracy"}, "unknown column 'acuracy': did you mean accuracy?"),
        ({"unit": "permille"}, "a unit must be share or percent, got 'permille'"),
        ({"measure": LOSS, "unit": "share"}, "a loss has no unit, got 'share': leave --unit out"),
        ({"measure": LOSS, "column": "accuracy"}, "those of the column 'accuracy' are not: name another column"),
    ):
        with pytest.raises(ValueError, match="'") as raised:
            scores_in(path, **options)
        assert message in str(raised.value)
    with pytest.raises(FileNotFoundError):
        scores_in("no.csv")
    with pytest.raises(OSError, match="is a folder"):
        scores_in(tmp_path)
    monkeypatch.setattr(score_files, "LARGEST_FILE", 10)
    with pytest.raises(DataFileError, match="has 28 bytes; expected at most 10: keep the last epoch of every run only"):
        scores_in(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes as POSIX has them")
def test_a_pipe_is_not_waited_for_and_a_link_is_followed(write):
    os.mkfifo("pipe.csv")
    with pytest.raises(OSError, match="is a pipe"):
        scores_in("pipe.csv")
    os.symlink(write(f"{HEAD}bp,0,0.9\n"), "link.csv")
    assert scores_in("link.csv").scores["", "bp"].mean == 0.9


def test_no_content_makes_it_crash(write):
    """Mutations of a good file are read or refused, and so is their comparison with a table."""
    rng, table = random.Random(0), results_archive.load("digits-cnn")
    good = "row,seed,epoch,test_accuracy,network,engine,mean,sd,seeds\nbp,0,1,0.9,,minifa,0.9,0.1,2\nfa,1,1,0.5,,,,,\n"
    cells = ["", "nan", "-inf", "1e999", "bp", "0", "1", "97", "é", '"', ",", "\n", "\r", "\0", "\x1b[2J", "9" * 30]
    read = 0
    for _ in range(400):
        text = list(good)
        for _ in range(rng.randrange(1, 5)):
            text[rng.randrange(len(text))] = rng.choice(cells)
        try:
            mine = scores_in(write("".join(text)))
            results_archive.compare(results_archive.of_network(mine.scores, table), table)
            read += 1
        except ValueError as error:
            assert str(error)
    assert 20 < read < 380


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments):
    return main(["results", *arguments])


def test_the_list(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert run() == 0 and run("list") == 0
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines() if line)
    assert results_archive.names() == [name for name in lines if name in results_archive.names()]
    assert lines["digits-cnn"] == "Five rules on six convolutions: accuracy, 5 rows, 5 seeds"
    assert lines["mnist-lenet"].endswith(": error in %, 6 rows, 1 to 3 seeds")


@pytest.mark.parametrize("name", results_archive.names())
def test_every_table_is_shown(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run("show", name) == 0
    printed = capsys.readouterr().out
    facts = results_archive.catalogue()[name]
    assert facts["title"] in printed and facts["command"] in " ".join(printed.split()) and "nan" not in printed
    assert ("not recorded" in printed) == (not {"commit", "wall_time", "training", "peer", "epochs"} <= facts.keys())
    assert all(word in printed for word in facts["judgement"].split())


@pytest.mark.parametrize("action", ["show digits-untied", "compare my.csv digits-untied"])
def test_every_line_of_a_narrow_table_names_its_row(action, write, capsys, monkeypatch):
    """Also in the columns that follow below, and with several networks."""
    monkeypatch.setenv("COLUMNS", "70")
    write((results_archive.FOLDER / "digits-untied.csv").read_text(encoding="utf-8"))
    assert run(*action.split()) == 0
    printed = capsys.readouterr().out.split("\n\nscore: ")[0].split("\n\nmine: ")[0]
    networks = results_archive.load("digits-untied").networks
    assert [block for block in printed.split("\n\n") if block in networks] == networks
    lines = [line.split() for line in printed.splitlines() if "to " in line or "±" in line]
    assert len(lines) >= 14 and {line[0] for line in lines} == {"bp", "fa"}


def test_a_shown_difference_is_the_paired_one(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert run("show", "digits-cnn") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("usf "))
    scores = results_archive.load("digits-cnn").scores()
    by_hand = [scores["", "usf"].by_seed[seed] - scores["", "bp"].by_seed[seed] for seed in range(5)]
    error = statistics.stdev(by_hand) / math.sqrt(5)
    low, high = (statistics.fmean(by_hand) + sign * 2.776 * error for sign in (-1, 1))
    assert line.split()[:9] == [
        *"usf 0.01 5 0.954 ± 0.019".split(),
        f"{statistics.fmean(by_hand):+.3f}",
        f"{error:.3f}",
        f"{low:+.3f}",
    ]
    assert f"{low:+.3f} to {high:+.3f}   4  0.968 ± 0.012" in line


def test_what_show_prints_as_csv_can_be_compared(write, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert run("show", "digits-cnn", "--csv") == 0
    printed = capsys.readouterr().out
    assert printed == (results_archive.FOLDER / "digits-cnn.csv").read_text(encoding="utf-8")
    assert run("compare", write(printed), "digits-cnn") == 0
    printed = capsys.readouterr().out
    assert printed.count("the same under every seed") == 5
    assert "left out: 5 lines of other engines than minifa" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("compare-digits-cnn/runs.csv digits-cnn", "no difference shown"),
        ("compare-digits-cnn/runs.csv digits-depth --network cnn-6", "\nfa       0.323 ± 0.074 (3)"),
        ("reproduce-digits_targets/table.csv digits-targets", "2.67 ± 0.32 (5)"),
        ("reproduce-digits_targets/curves.csv digits-targets", "the same under every seed"),
        ("attacks/training.csv cifar10-20-epochs", "epochs: 10 in the file, 20 in the archive"),
        ("reproduce-cifar10_moskovitz/curves.csv cifar10-20-epochs --score validation_accuracy", "70.04 ± 1.64 (2)"),
        ("compare-local-digits-mlp/runs.csv digits-cnn", "only in the archive: usf, frsf"),
    ],
)
def test_the_projects_own_files_are_compared(arguments, words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path, *others = arguments.split()
    assert run("compare", str(RESULTS / path), *others) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("show", "expected minifa results show NAME, got nothing"),
        ("list digits-cnn", "expected minifa results list, got digits-cnn"),
        ("compare digits-cnn", "expected minifa results compare MY.csv NAME, got digits-cnn"),
        ("show digits-cn", "unknown table of the results archive 'digits-cn': did you mean digits-cnn"),
        ("list --csv", "--csv belongs to minifa results show, not to list"),
        ("show digits-cnn --score x", "--score belongs to minifa results compare, not to show"),
        ("shwo digits-cnn", "unknown value 'shwo': did you mean show?"),
        ("compare my.csv digits-depth", "'digits-depth' has several networks: give --network one of mlp-1, mlp-2"),
        ("compare my.csv digits-depth --network mlp", "unknown network 'mlp': did you mean mlp-8"),
        ("compare my.csv digits-cnn --network cnn", "unknown network 'cnn': known: none"),
        ("compare two.csv digits-depth --network mlp-8", "the file has no network 'mlp-8', only a, b: name it in the"),
        ("compare two.csv digits-cnn", "the file several: give --network one of a, b"),
        (
            "compare other.csv digits-cnn",
            "and the table digits-cnn have no row in common: x in the file, bp, usf, frsf",
        ),
        ("compare no.csv digits-cnn", "No such file"),
    ],
)
def test_wrong_use_is_refused(arguments, words, write, capsys):
    write(f"{HEAD}bp,0,0.9\n")
    write("rule,seed,accuracy,network\nbp,0,0.9,a\nbp,0,0.9,b\n", "two.csv")
    write(f"{HEAD}x,0,0.9\n", "other.csv")
    try:
        code = run(*arguments.split())
    except SystemExit as error:
        code = error.code
    printed, message = capsys.readouterr()
    assert code in (1, 2) and not printed and words in message


def test_seeds_of_both_are_named_because_the_interval_takes_runs_as_independent(write, capsys):
    def printed(*seeds):
        path = write(HEAD + "".join(f"bp,{seed},{0.9 + seed / 100}\n" for seed in seeds))
        assert run("compare", path, "digits-cnn") == 0
        return " ".join(capsys.readouterr().out.split())

    assert "seeds in both: 1, 3. Under one seed minifa starts from the same weights" in printed(1, 3, 5)
    assert "seeds in both" not in printed(5, 6, 7)


def test_a_network_of_the_file_is_chosen(write, capsys):
    path = write("rule,seed,accuracy,network\nbp,0,0.9,a\nbp,0,0.8,b\n")
    assert run("compare", path, "digits-cnn", "--network", "b") == 0
    assert "0.800 (1)" in capsys.readouterr().out


def test_lines_without_a_network_do_not_replace_those_of_the_chosen_one(write):
    table = results_archive.load("digits-cnn")
    read = scores_in(write("network,rule,seed,accuracy\na,bp,0,0.9\n,bp,0,0.5\n"))
    assert results_archive.of_network(read.scores, table, "a")["", "bp"].mean == 0.9


def test_other_learning_rates_are_said(write, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path = write("rule,lr,seed,accuracy\nbp,1e-2,0,0.9\nfa,0.1,0,0.8\nfa,0.1,1,0.9\n")
    assert run("compare", path, "digits-cnn") == 0
    printed = capsys.readouterr().out
    assert "other learning rates, which may explain a difference: fa 0.1 (archive: 0.001)\n" in printed
    assert run("compare", str(RESULTS / "compare-digits-cnn" / "runs.csv"), "digits-cnn") == 0
    assert "other learning rates" not in capsys.readouterr().out


def test_a_loss_of_any_size_is_compared(write, capsys):
    assert run("compare", write("rule,seed,test_loss\nfa,0,1e99\nfa,1,1\n"), "digits-autoencoder") == 0
    assert "no difference shown" in " ".join(capsys.readouterr().out.split()).replace("\u00a0", " ")


def test_remarks_on_a_file_of_several_networks_say_what_they_count(write, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path = write("network,rule,seed,accuracy,diverged\na,bp,0,0.9,0\nb,bp,0,0.1,1\n")
    assert run("compare", path, "digits-cnn", "--network", "a") == 0
    assert "in the whole file, 1 run diverged\n" in capsys.readouterr().out


def test_a_limit_just_below_zero_keeps_its_sign(write, capsys, monkeypatch):
    """Else the verdict "lower" would stand beside an interval up to +0.000."""
    monkeypatch.setenv("COLUMNS", "160")
    scores = results_archive.load("digits-cnn").scores()["", "bp"].by_seed
    shift = differences.unpaired(list(scores.values()), list(scores.values())).high + 2e-4
    lines = "".join(f"bp,{seed + 10},{score - shift}\n" for seed, score in scores.items())
    assert run("compare", write(f"rule,seed,accuracy\n{lines}"), "digits-cnn") == 0
    assert "lower by" in (printed := capsys.readouterr().out) and " to -0.000" in printed


def test_the_legend_explains_what_is_there_and_nothing_else(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    marks = (
        "-: one pair or one run",
        "*: not paired",
        "published: scores from elsewhere",
        "A run that diverged counts",
        "no width: the difference is the same under every seed",
    )
    shown = {}
    for name in ("digits-cnn", "mnist-lenet", "cifar10-20-epochs", "digits-all-rules"):
        assert run("show", name) == 0
        printed = capsys.readouterr().out
        shown[name] = [mark in printed for mark in marks]
    assert shown == {
        "digits-cnn": [False, False, False, False, False],
        "mnist-lenet": [True, False, True, False, False],
        "cifar10-20-epochs": [True, True, True, False, False],
        "digits-all-rules": [False, False, False, True, True],  # sham
    }
