"""The survey of every rule on four networks: which runs it makes, their lines, that it is resumed, and its table."""

from __future__ import annotations

import pytest

from minifa import cli, data, rules
from minifa.bench import every_rule
from minifa.errors import DataFileError
from minifa.experiments import Experiment, survey_results, surveys
from minifa.experiments.experiment import run
from minifa.experiments.survey_results import Survey
from minifa.experiments.surveys import Lines, Task
from minifa.storage import csv_files

pytestmark = pytest.mark.usefixtures("draws_nothing")  # but for the survey of the fixture `made`
DIGITS = data.load("digits")
SHORT = ["survey", "--epochs", "1", "--jobs", "1", "--quiet"]


def lines_of(folder):
    return csv_files.read_table(folder / "survey.csv", surveys.COLUMNS)


def survey(folder, *options):
    return cli.main([*SHORT, "--out", str(folder), *options])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A survey of four rules on two networks with two seeds."""
    folder = tmp_path_factory.mktemp("surveys") / "one"
    assert survey(folder, "--rules", "bp,fa,pepita,fwdtp,gevb", "--networks", "mlp,cnn-batch-norm", "--seeds", "2") == 0
    return folder


def test_the_survey_has_every_rule_on_four_networks():
    base = Experiment(epochs=1)
    cells = surveys.plan(base, list(surveys.NETWORKS), list(rules.RULES), DIGITS)
    assert len(cells) == len(rules.RULES) * 4
    assert {cell.network: cell.experiment.model_options for cell in cells} == {
        "mlp": {},
        "deep-mlp": {"hidden": (64,) * 8},
        "cnn": {},
        "cnn-batch-norm": {"batch_norm": True},
    }
    never = {rule for rule in rules.RULES if all(cell.not_run for cell in cells if cell.rule == rule)}
    assert never == {"gevb", "mdfa", "burst", "recirculation"}
    for cell in cells:
        kind, _, reason = cell.not_run.partition(": ")
        assert kind in ("", "refused", "no rate") and bool(reason) == bool(kind)


def test_seeds_are_outermost_and_rates_are_the_rules_own():
    cells = surveys.plan(Experiment(seed=5), ["mlp", "cnn"], ["bp", "fa"], DIGITS)
    runs = [(t.name, t.experiment.rule, t.experiment.lr, t.experiment.seed) for t in surveys.tasks_of(cells, 2)]
    assert runs[:4] == [("mlp", "bp", 0.3, 5), ("cnn", "bp", 0.01, 5), ("mlp", "fa", 0.03, 5), ("cnn", "fa", 0.001, 5)]
    assert runs[4:] == [(network, rule, lr, 6) for network, rule, lr, _ in runs[:4]]


def test_a_rule_without_a_rate_of_its_own_is_not_run():
    (cell,) = surveys.plan(Experiment(), ["mlp"], ["fa:sparsity=0.5"], DIGITS)
    assert cell.not_run.startswith("no rate: ") and not surveys.tasks_of([cell], 3)


@pytest.mark.parametrize(("text", "names"), [("all", list(surveys.NETWORKS)), ("cnn, mlp", ["cnn", "mlp"])])
def test_networks_are_named(text, names):
    assert surveys.split(text) == names


@pytest.mark.parametrize(("text", "why"), [("deep", "deep-mlp"), ("mlp,mlp", "twice"), (",", "no network")])
def test_wrong_networks_are_refused(text, why, capsys):
    assert cli.main([*SHORT, "--networks", text]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.long
def test_a_run_has_the_score_of_the_experiment_and_the_numbers_of_its_rule(made):
    line = next(line for line in lines_of(made) if (line["network"], line["rule"], line["seed"]) == ("mlp", "fa", "1"))
    result, trainer = run(Experiment(model="mlp", rule="fa", epochs=1, seed=1), DIGITS)
    assert float(line["test_accuracy"]) == round(result.score, 4)
    assert float(line["true_angle"]) == pytest.approx(result.final["linear1.true_angle"], abs=1e-4)
    assert float(line["weight_angle"]) == pytest.approx(result.final["linear2.weight_angle"], abs=1e-4)
    assert int(line["feedback_numbers"]) == trainer.rule.B["linear2"].size
    assert line["products"] == "1.0" and line["diverged"] == "0"
    assert 80 < float(line["chance_low"]) < 90 < float(line["chance_high"]) < 100


def test_backpropagation_is_its_own_reference(made):
    for line in lines_of(made):
        if line["rule"] == "bp":
            assert (line["true_angle"], line["products"], line["feedback_numbers"]) == ("0.0", "1.0", "0")


def test_a_refusal_is_a_line_with_the_reason_of_attach(made):
    refused = {(line["network"], line["rule"]): line["not_run"] for line in lines_of(made) if line["not_run"]}
    assert set(refused) == {("cnn-batch-norm", "fwdtp"), ("mlp", "gevb"), ("cnn-batch-norm", "gevb")}
    assert "BatchNorm 'batchnorm1'" in refused["cnn-batch-norm", "fwdtp"]


def test_epochs_to_90_is_the_first_epoch_that_reaches_it(tmp_path):
    outcome = surveys.measure(Task(Experiment(model="mlp", epochs=3), name="mlp"))
    history = run(Experiment(model="mlp", epochs=3), DIGITS)[0].history
    reached = [row["epoch"] for row in history if row["test_accuracy"] >= 0.9]
    assert outcome.result["epochs_to_90"] == reached[0]
    assert surveys.measure(Task(Experiment(model="cnn", epochs=1, lr=1e-6), name="cnn")).result["epochs_to_90"] is None


@pytest.mark.parametrize("rule", ["weight_mirror", "pc", "di"])
def test_products_are_those_of_the_benchmark(rule):
    measured = every_rule._beside(rule, 8, 1)
    options = {"hidden": every_rule.HIDDEN}
    shaped = data.from_arrays(*(DIGITS.train.x.repeat(13, axis=2)[:, :, :98], DIGITS.train.y))
    counts = [
        surveys.step_products(Experiment(model="mlp", model_options=options, rule=name, batch_size=8), shaped)
        for name in (rule, "bp")
    ]
    assert counts[0] / counts[1] == pytest.approx(measured.products, rel=1e-9)


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [("usf", 0), ("bp", 0), ("fa", 5000), ("pepita", 640), ("product", 51000), ("frsf:normalise=init", 5000)],
)
def test_feedback_numbers_are_those_of_the_stored_arrays(rule, numbers):
    experiment = Experiment(model="mlp", rule=rule, epochs=1, lr=1e-3)
    assert surveys.measure(Task(experiment, name="mlp")).result["feedback_numbers"] == numbers


def test_an_interrupted_survey_is_resumed_without_making_a_run_twice(made, tmp_path):
    whole = (made / "survey.csv").read_bytes().splitlines(keepends=True)
    for name in ("survey.csv", "config.json"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    (tmp_path / "survey.csv").write_bytes(b"".join(whole[:-2]) + whole[-2][:20])  # killed while it wrote a line
    assert (
        survey(tmp_path, "--rules", "bp,fa,pepita,fwdtp,gevb", "--networks", "mlp,cnn-batch-norm", "--seeds", "2") == 0
    )
    timeless = [{key: cell for key, cell in line.items() if key != "seconds"} for line in lines_of(made)]
    assert [{key: cell for key, cell in line.items() if key != "seconds"} for line in lines_of(tmp_path)] == timeless
    before = (tmp_path / "survey.csv").read_bytes()
    assert survey(tmp_path, "--rules", "bp,gevb", "--networks", "mlp", "--seeds", "1") == 0
    assert (tmp_path / "survey.csv").read_bytes() == before


def test_another_survey_does_not_continue_in_the_folder(made, capsys):
    assert survey(made, "--epochs", "2", "--rules", "bp") == 2
    assert "holds another survey: epochs 2 (there: 1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: {**line, "true_angle": "steep"}, "true_angle must be a number, got 'steep'"),
        (lambda line: {**line, "test_accuracy": ""}, "it has no result"),
        (lambda line: {**line, "true_angle": "nan"}, "true_angle must be a number, got 'nan'"),
        (lambda line: {**line, "test_accuracy": "97.5"}, "test_accuracy must lie from 0 to 1, got '97.5'"),
        (lambda line: {**line, "chance_high": ""}, "chance_low and chance_high must both be given"),
        (lambda line: {**line, "lr": ""}, "a run needs a learning rate and a seed"),
    ],
)
def test_a_damaged_line_is_named(made, tmp_path, change, why):
    line = change(next(line for line in lines_of(made) if line["rule"] == "fa"))
    csv_files.write(tmp_path / "survey.csv", surveys.COLUMNS, [line])
    with pytest.raises(DataFileError, match=f"the line of fa on mlp, seed 0: {why}"):
        Lines(tmp_path / "survey.csv")


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"seed": "1.5"}, "seed must be an int from 0 up, got '1.5'"),
        ({"seed": ""}, "a run needs a learning rate and a seed"),
        ({"network": "rnn"}, "the network must be one of mlp, deep-mlp, cnn, cnn-batch-norm, got 'rnn'"),
    ],
)
def test_a_line_of_no_run_is_refused(made, tmp_path, cells, why):
    line = next(line for line in lines_of(made) if line["rule"] == "fa")
    csv_files.write(tmp_path / "survey.csv", surveys.COLUMNS, [{**line, **cells}])
    (tmp_path / "config.json").write_bytes((made / "config.json").read_bytes())
    with pytest.raises(DataFileError) as raised:
        survey_results.read(tmp_path)
    assert why in str(raised.value)


def test_a_failed_run_is_a_line_with_its_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(surveys, "measure", fail)
    assert survey(tmp_path, "--rules", "bp", "--networks", "mlp", "--seeds", "1") == 1
    (line,) = lines_of(tmp_path)
    assert line["error"] == "RuntimeError: no memory" and not line["test_accuracy"]
    printed = capsys.readouterr()
    assert "bp on mlp, seed 0: RuntimeError: no memory" in printed.err and "failed" in printed.out


def fail(task):
    raise RuntimeError("no\nmemory")


def line(lr="", seed="", accuracy="", rule="fa", **cells):
    empty = dict.fromkeys(surveys.COLUMNS, "")
    return {**empty, "network": "mlp", "rule": rule, "lr": lr, "seed": seed, "test_accuracy": accuracy, **cells}


def found(*lines, network="mlp", rule="fa"):
    return Survey(lines, 1, "digits", 360, 0.1).find(network, rule)


def test_the_last_rate_of_a_rule_counts():
    no_rate, old = line(not_run="no rate: none"), [line("0.1", "0", "0.5"), line("0.1", "1", "0.6")]
    assert found(no_rate).kind == "no rate" and not found(no_rate).runs
    assert found(no_rate, *old).accuracies == {0: 0.5, 1: 0.6}
    now = found(no_rate, *old, line("0.2", "1", "0.9"))
    assert now.accuracies == {1: 0.9} and not now.reason
    assert found(*old, network="cnn").reason == "" and not found(*old, network="cnn").runs


def test_a_mean_needs_the_number_of_every_seed():
    reached = [line("0.1", "0", "0.91", epochs_to_90="3"), line("0.1", "1", "0.95", epochs_to_90="6")]
    assert found(*reached).shown("epochs_to_90") == "4.5"
    assert found(*reached, line("0.1", "2", "0.8")).mean("epochs_to_90") is None
    assert found(*reached, line("0.1", "2", error="RuntimeError: gone")).mean("epochs_to_90") == 4.5


def test_fewer_seeds_than_the_others_have_are_told():
    """As in an interrupted survey, or after a failed run: the mean would otherwise look like that of all seeds."""
    bp = [line("0.3", str(seed), "0.9", "bp") for seed in range(3)]
    fa = [line("0.1", "0", "0.8"), line("0.1", "1", "0.7"), line("0.1", "2", error="RuntimeError: gone")]
    one = Survey([*bp, *fa], 1, "digits", 360, 0.1)
    assert one.seeds == 3 and "fa on mlp: 2 of 3 seeds" in survey_results.summary(one)
    assert "seeds\n" not in survey_results.summary(Survey(bp, 1, "digits", 360, 0.1))


def test_differences_from_backpropagation_are_paired_by_seed():
    bp = [line("0.3", str(seed), accuracy, "bp") for seed, accuracy in enumerate(("0.9", "0.8", "0.7"))]
    fa = [line("0.1", "0", "0.85"), line("0.1", "1", "0.77"), line("0.1", "7", "0.1")]
    one = Survey([*bp, *fa], 1, "digits", 360, 0.1).difference("mlp", "fa")
    assert (one.mean, one.n, one.standard_error) == (pytest.approx(-0.04), 2, pytest.approx(0.01))
    assert Survey(fa, 1, "digits", 360, 0.1).difference("mlp", "fa") is None


def test_rules_are_grouped_by_what_their_classes_declare(made):
    one = survey_results.read(made)
    assert one.by_way == {
        survey_results.FIXED: ["bp", "fa"],
        survey_results.DIRECT: ["gevb"],
        survey_results.TARGETS: ["fwdtp"],
        survey_results.PASSES: ["pepita"],
    }
    assert {survey_results.way_of(rules.make(rule)) for rule in rules.RULES} == set(survey_results.WAYS)


def test_a_folder_is_read_again(made, tmp_path):
    one = survey_results.read(made)
    assert (one.epochs, one.data, one.test_examples, one.networks) == (1, "digits", 360, ["mlp", "cnn-batch-norm"])
    assert one.chance == pytest.approx(37 / 360) and one.detailed == "mlp"
    assert (made / "table.txt").read_text(encoding="utf-8") == survey_results.summary(one) + "\n"
    (tmp_path / "survey.csv").write_bytes((made / "survey.csv").read_bytes())
    with pytest.raises(DataFileError, match="is not a folder of a survey"):
        survey_results.read(tmp_path)


def test_an_interrupt_keeps_the_finished_runs(tmp_path, capsys, monkeypatch):
    def interrupted(work, tasks, jobs, tick):
        yield work(tasks[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("minifa.experiments.study.run_all", interrupted)
        assert survey(tmp_path, "--rules", "bp,fa", "--networks", "mlp", "--seeds", "1") == 130
    assert [line["rule"] for line in lines_of(tmp_path)] == ["bp"]
    assert f"interrupted: 1 of 2 runs are in {tmp_path}" in capsys.readouterr().err
    assert survey(tmp_path, "--rules", "bp,fa", "--networks", "mlp", "--seeds", "1") == 0
    assert [line["rule"] for line in lines_of(tmp_path)] == ["bp", "fa"]


def test_the_folder_has_a_picture_and_a_page_which_are_drawn_again_by_minifa_figures(made, tmp_path, capsys):
    assert (made / "figures" / "survey.png").is_file()
    for name in ("survey.csv", "config.json"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    assert cli.main(["figures", str(tmp_path), "--dark"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "figures/survey-dark.png"), str(tmp_path / "index.html")]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'data-rule="gevb"' in page and 'href="survey.csv"' in page
    assert 'href="figures/survey.png"' in (made / "index.html").read_text(encoding="utf-8")


def test_the_table_has_a_row_for_each_rule_and_is_readable_at_120_columns(made):
    text = (made / "table.txt").read_text(encoding="utf-8")
    rows = {line.split()[0]: line for line in text.split("\n\n")[0].splitlines()}
    assert list(rows)[2:] == ["bp", "fa", "pepita", "fwdtp", "gevb"]
    assert max(map(len, text.splitlines())) <= 120
    assert rows["gevb"].split() == ["gevb", "refused", "refused", "-", "-", "-", "-"]
    accuracies = [
        float(line["test_accuracy"]) for line in lines_of(made) if (line["rule"], line["network"]) == ("bp", "mlp")
    ]
    assert rows["bp"].split()[1] == f"{sum(accuracies) / 2:.3f}"
    assert "fwdtp on cnn-batch-norm: refused: the rule 'fwdtp' can send no target" in text
    assert "gevb accepts vector networks (minifa.models.vector_mlp)" in text


def test_the_default_folder_is_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert cli.main([*SHORT, "--rules", "bp", "--networks", "mlp", "--quick"]) == 0
        assert len(lines_of(tmp_path / f"runs/survey-{number}")) == 1
