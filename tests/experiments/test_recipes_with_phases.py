"""Experiments and recipes with phases: reading, running, interrupting and resuming them, and what shows them."""

import json

import numpy as np
import pytest

import minifa as mf
from minifa import cli
from minifa.checkpoints import CheckpointError
from minifa.errors import DataFileError
from minifa.experiments import (
    Experiment,
    load_run,
    recipes,
    resume,
    run,
    run_folder,
    sweep_results,
    sweeps,
    trainer_for,
)
from minifa.experiments.experiment import train_phases
from minifa.experiments.recipes import RecipeError
from minifa.training import Callback, History

RECIPE = """
[data]
name = "mine.npz"
scale = 1.0

[model]
name = "mlp"
hidden = [6, 5]
batch_norm = true

[optimizer]
lr = 0.1

[training]
batch_size = 8
alignment = false

[[phase]]
name = "learned"
epochs = 2
rule = "kolen_pollack"

[[phase]]
name = "fixed"
epochs = 2
rule = "fa"
model.freeze = "linear1"
optimizer.name = "adam"
optimizer.lr = 0.01
optimizer.schedule = "cosine:epochs=2"
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((24, 4)).astype("float32")
    np.savez("mine.npz", x=x, y=np.arange(24) % 3, x_test=x[:9], y_test=np.arange(9) % 3)
    (tmp_path / "two.toml").write_text(RECIPE)


def two(**changes):
    experiment = recipes.parse(RECIPE).experiment
    return Experiment(**{**vars(experiment), **changes})


def rows(folder):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
        for row in History.read_csv(folder / "history.csv")
    ]


def arrays(folder):
    return dict(np.load(folder / "network.npz"))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_recipe_has_phases():
    experiment = recipes.parse(RECIPE, ["phase.learned.epochs=3", "phase.fixed.optimizer.eps=0.1"]).experiment
    learned, fixed = experiment.stages()
    assert (experiment.epochs, experiment.label) == (5, "kolen_pollack then fa")
    assert (learned.rule, learned.epochs, learned.rate(), learned.decay()) == ("kolen_pollack", 3, 0.1, 0.01)
    assert learned.optimizer_options == {"momentum": 0.9} and learned.freeze is None
    assert (fixed.rule, fixed.freeze, fixed.optimizer, fixed.rate()) == ("fa", "linear1", "adam", 0.01)
    assert fixed.optimizer_options == {"eps": 0.1} and fixed.schedule == "cosine:epochs=2"
    assert [stage.batch_size for stage in experiment.stages()] == [8, 8]
    config = json.loads(json.dumps(experiment.as_config()))
    assert json.loads(json.dumps(Experiment(**config).as_config())) == config
    assert [phase["lr"] for phase in config["phases"]] == [0.1, 0.01]  # in force
    assert "phases" not in Experiment().as_config() and Experiment().stages() == [Experiment()]


def test_a_phase_that_changes_the_optimizer_has_its_own_rate_and_options():
    phases = [{"name": "a", "epochs": 1}, {"name": "b", "epochs": 1, "optimizer": "adam"}]
    one, other = Experiment(lr=0.3, phases=phases).stages()
    assert one.lr == 0.3 and other.lr is None and other.optimizer_options == {}


@pytest.mark.parametrize(
    "change, problem",
    [
        (('name = "fixed"', 'name = "learned"'), "phase: two phases are called 'learned'"),
        (('name = "fixed"\n', ""), "phase 2: it has no name"),
        (('name = "fixed"', 'name = "2"'), "phase 2: the name of a phase must begin with a letter"),
        (("epochs = 2\n", ""), "phase.learned: it has no epochs"),
        (("epochs = 2\n", "epochs = 0\n"), "phase.learned.epochs: a whole number from 1 up is expected, got 0"),
        (('rule = "fa"', 'rule = "fo"'), "phase.fixed.rule: unknown rule 'fo': did you mean fa?"),
        (("model.freeze", "model.name"), "phase.fixed.model.name: unknown setting 'model.name'"),
        (('rule = "fa"', 'data.name = "xor"'), "phase.fixed.data.name: unknown setting 'data.name'"),
        (("optimizer.schedule", "optimizer.momentum"), "optimizer.momentum: unknown option of the optimizer 'adam'"),
        (("batch_size = 8", "epochs = 8"), "training.epochs: each phase has its own epochs: phase.learned.epochs"),
        (("[[phase]]", "[phase]"), "it is not written in TOML"),
    ],
)
def test_mistakes_in_phases_are_reported(change, problem):
    assert change[0] in RECIPE
    with pytest.raises(RecipeError) as refused:
        recipes.parse(RECIPE.replace(*change, 1))
    assert problem in str(refused.value)


def test_mistakes_in_settings_of_phases_are_reported():
    for change, problem in (
        ("phase.fxed.epochs=3", "phase.fxed: unknown phase 'fxed': did you mean fixed?"),
        ("phase.fixed.epoch=3", "phase.fixed.epoch: unknown setting 'epoch': did you mean epochs?"),
        ("phase=3", "phase: unknown setting 'phase'"),
        ("phase.fixed=3", "phase.fixed: a setting of a phase has its name and that of the setting"),
    ):
        with pytest.raises(RecipeError) as refused:
            recipes.parse(RECIPE, [change])
        assert problem in str(refused.value)
    with pytest.raises(RecipeError, match="phase.a: the recipe has no phases"):
        recipes.parse("", ["phase.a.epochs=3"])
    with pytest.raises(RecipeError, match="with two brackets on each side"):
        recipes.parse('[phase]\nname = "a"')


def test_mistakes_in_phases_of_an_experiment_are_reported():
    good = {"name": "a", "epochs": 1}
    for phases, error, problem in (
        ([{"epochs": 1}], ValueError, "needs a name and a number of epochs"),
        ([good, good], ValueError, "needs a name of its own, got a, a"),
        ([{**good, "epochs": 0}], ValueError, "must be at least 1"),
        ([{**good, "model": "mlp"}], ValueError, "unknown field of the phase 'a' 'model'"),
        ([{**good, "lr": "fast"}], TypeError, "lr of an experiment must be a number or None"),
        (["a"], TypeError, "a phase of an experiment"),
        ("a", TypeError, "phases of an experiment must be a list of mappings"),
    ):
        with pytest.raises(error, match=problem):
            Experiment(phases=phases)


def test_all_phases_are_checked_before_the_first_one_is_trained():
    with pytest.raises(ValueError, match="phase 'fixed': unknown layer to freeze 'linear9'"):
        run(two(phases=[two().phases[0], {**two().phases[1], "freeze": "linear9"}]))
    phases = [{"name": "a", "epochs": 1}, {"name": "b", "epochs": 1, "augmentation": "crop24:size=6"}]
    with pytest.raises(ValueError, match="phase 'b' has inputs of 6 x 6 x 1 and the first phase of 8 x 8 x 1"):
        run(Experiment(phases=phases, model="mlp"))
    with pytest.raises(ValueError, match="phase 'a': early stopping"):
        run(two(phases=[{"name": "a", "epochs": 1, "patience": 2}]))


# --- running and resuming ---------------------------------------------------------------------------------------------


class StopAt(Callback):
    """Stops training after an update, or after the last one of an epoch."""

    def __init__(self, step, at_epoch=False):
        self.step, self.at_epoch = step, at_epoch

    def on_step(self, trainer, examples):
        if trainer.net.step == self.step and not self.at_epoch:
            trainer.stop()

    def on_recorded(self, trainer):
        if trainer.net.step == self.step and self.at_epoch:
            trainer.stop()


def run_in(folder, experiment, stop=None):
    """One process's part of a run, from its checkpoint to the end or to the update at which it is stopped."""
    folder.mkdir(exist_ok=True)
    data = mf.data.load(experiment.data, **experiment.data_options)
    trainer = trainer_for(experiment, data)
    resume.resume_training(folder, experiment, data, trainer)
    resume.attach_callbacks(folder, experiment, trainer)
    trainer.callbacks += [] if stop is None else [stop]
    train_phases(experiment, data, trainer)
    run_folder.save(folder, experiment, trainer.history, trainer.net, trainer.rule)
    return trainer


@pytest.mark.parametrize(
    "stops",
    [
        [StopAt(4)],  # in the middle of the first phase
        [StopAt(6)],  # after its last update
        [StopAt(6, at_epoch=True)],  # after its last epoch
        [StopAt(7), StopAt(11)],  # in the second phase, twice
    ],
)
@pytest.mark.parametrize("patience", [None, 1])
def test_an_interrupted_run_ends_with_the_same_bits(stops, patience, tmp_path):
    """Three updates in an epoch, two epochs in each of two phases; with early stopping the second phase may start
    earlier, from the best network of the first one."""
    experiment = two(validation=0.0 if patience is None else 0.2, patience=patience)
    whole = run_in(tmp_path / "whole", experiment)
    for stop in [*stops, None]:
        stopped = run_in(tmp_path / "parts", experiment, stop)
    assert stopped.phase == "fixed" and stopped.net.step == whole.net.step
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    expected = arrays(tmp_path / "whole")
    assert arrays(tmp_path / "parts").keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(arrays(tmp_path / "parts")[key], array, err_msg=key)


def test_the_second_phase_begins_with_the_network_and_the_learned_feedback_of_the_first(tmp_path):
    alone = Experiment(**{**vars(two().stages()[0])})
    first = run_in(tmp_path / "one", alone)
    both = run_in(tmp_path / "both", two())
    assert [row.get("phase") for row in rows(tmp_path / "both")] == ["learned"] * 3 + ["fixed"] * 2
    without = [{key: value for key, value in row.items() if key != "phase"} for row in rows(tmp_path / "both")]
    assert without[:3] == rows(tmp_path / "one")
    assert both.history.column("lr")[3:] == pytest.approx([0.01 * (1 + np.cos(np.pi * k / 6)) / 2 for k in (2, 5)])
    np.testing.assert_array_equal(both.net.state()["linear1.W"], first.net.state()["linear1.W"])  # frozen
    assert not np.array_equal(both.net.state()["linear2.W"], first.net.state()["linear2.W"])
    np.testing.assert_array_equal(both.rule.state()["linear3"], first.rule.state()["linear3"])  # B of kolen_pollack
    events = [json.loads(line) for line in (tmp_path / "both" / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events if event["event"] != "epoch"] == ["start", "end", "phase", "end"]
    (begun,) = [event for event in events if event["event"] == "phase"]
    assert (begun["phase"], begun["rule"], begun["epoch"]) == ("fixed", "fa", 2)
    assert begun["carried"]["rule"] == ["linear2", "linear3"] and begun["carried"]["drawn"] == []
    assert "batchnorm1.running_mean" in begun["carried"]["network"]
    net, rule, history, experiment = load_run(tmp_path / "both")
    assert rule.label == "fa" and net["linear1"].frozen and len(history) == 5 and experiment == two_as_saved()
    net, rule, _ = run_folder.open_run(tmp_path / "both")
    np.testing.assert_array_equal(rule.state()["linear3"], first.rule.state()["linear3"])


def test_a_folder_with_an_unknown_phase_is_refused(tmp_path):
    run_in(tmp_path / "run", two())
    table = (tmp_path / "run" / "history.csv").read_text()
    for name in ("other", "7"):
        (tmp_path / "run" / "history.csv").write_text(table.replace("fixed", name))
        for read in (run_folder.read_results, run_folder.open_run):
            with pytest.raises(DataFileError, match="do not belong to its experiment: .*phase"):
                read(tmp_path / "run")
    phases = [{**phase, "name": f"{phase['name']}-2"} for phase in two().phases]
    (tmp_path / "run" / "config.json").write_text(json.dumps({"experiment": two(phases=phases).as_config()}))
    with pytest.raises(CheckpointError, match="of another experiment|unknown phase"):
        run_in(tmp_path / "run", two(phases=phases))


def two_as_saved():
    return Experiment(**json.loads(json.dumps(two().as_config())))


def test_a_phase_draws_the_arrays_of_its_rule_anew_on_request():
    recipe = recipes.parse(RECIPE, ["phase.fixed.carry=false"])
    learned, drawn = (run(one)[1].rule.state() for one in (two(), recipe.experiment))
    fa = trainer_for(two(phases=(), rule="fa", freeze="linear1"), mf.data.load("mine.npz", scale=1.0)).rule.state()
    assert learned.keys() == drawn.keys() == fa.keys()
    for name in fa:
        np.testing.assert_array_equal(drawn[name], fa[name])
        assert not np.array_equal(learned[name], fa[name])
    with pytest.raises(TypeError, match="carry of the phase 'a' must be"):
        Experiment(phases=[{"name": "a", "epochs": 1, "carry": "no"}])


def test_early_stopping_ends_its_phase_only(tmp_path):
    """At a rate of 0 nothing improves, so that the first phase ends after ``patience`` epochs."""
    phases = [{"name": "still", "epochs": 9, "lr": 0.0, "patience": 2}, {"name": "moving", "epochs": 2, "lr": 0.1}]
    experiment = two(phases=phases, validation=0.2)
    result = run(experiment)[0]
    assert [row["phase"] for row in result.history] == ["still"] * 3 + ["moving"] * 2
    assert [row.get("stopped_early") for row in result.history] == [None, None, 1, None, None]
    assert result.measured == "test" and result.final["epoch"] == 4
    made = resume.run_in_folder(tmp_path / "run", experiment)
    assert made["epochs"] == 4 and made["best_epoch"] in (3, 4)  # of the last phase
    _, rule, _, _ = load_run(tmp_path / "run", "best")
    assert rule.label == "bp"


def test_a_phase_that_diverges_ends_the_run(tmp_path):
    phases = [{"name": "wild", "epochs": 2, "lr": 1e30}, {"name": "calm", "epochs": 2}]
    result, trainer = run(two(phases=phases, model_options={"hidden": [6]}, optimizer_options={}))
    assert result.diverged and trainer.phase == "wild" and result.history[-1]["phase"] == "wild"
    phases = [{**phases[1], "rule": "kolen_pollack"}, {**phases[0], "rule": "kolen_pollack"}]
    made = resume.run_in_folder(tmp_path / "run", two(phases=phases, validation=0.2, optimizer_options={}))
    assert made["diverged"] and made["best_epoch"] <= 2 and np.isfinite(made["test_loss"])  # of the phase before


def test_the_commands_show_and_resume_phases(capsys, tmp_path):
    assert cli.main(["train", "--recipe", "two.toml", "--out", "run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "model mlp batch_norm=True hidden=6,5, 4 epochs in 2 phases phase 1, learned: rule kolen_pollack," in shown
    assert "after epoch 2, phase fixed: carried over: all 14 arrays of the network; of the rule linear2, lin" in shown
    assert cli.main(["train", "--resume", "run"]) == 0
    assert "finished already, with 4 epochs\n" in capsys.readouterr().out
    assert cli.main(["train", "--resume", "run", "--epochs", "9"]) == 2
    assert "--epochs 9 (kept: 4, the sum of its phases)" in capsys.readouterr().err
    page = (tmp_path / "run" / "index.html").read_text()
    assert "finished, 4 epochs" in page and "<th>phase fixed</th><td>epochs 2, rule fa, freeze linear1" in page
    (tmp_path / "run" / "figures" / "training.png").unlink()
    (tmp_path / "run" / "last.ckpt").unlink()
    (tmp_path / "run" / "last.ckpt.previous").unlink(missing_ok=True)
    assert load_run("run").rule.label == "fa"  # from network.npz
    few = ["--set", "phase.fixed.epochs=1", "--set", "training.targets=true", "--set", "model.batch_norm=false"]
    assert cli.main(["train", "--recipe", "two.toml", *few, "--out", "few", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "carried over" not in shown and "minifa figures few draws the targets of every layer\n" in shown


def test_figures_mark_the_phases(tmp_path):
    run_in(tmp_path / "run", two(alignment=True))
    (result,) = run_folder.read_results(tmp_path / "run")
    several = mf.figures.history_curves({"a": History(result.history), "b": History(result.history)}, ["loss"])
    for figure in (
        mf.figures.training_curves(result),
        mf.figures.history_curves(History(result.history)),
        mf.figures.learning_curves([result]),
        mf.figures.alignment_curves([result]),
        several,
    ):
        axes = figure.axes[0]
        assert sum(list(line.get_xdata()) == [2, 2] for line in axes.lines) == 1
        assert ("fixed" in [text.get_text() for text in axes.texts]) == (len(figure.axes) <= 4)
    assert several.axes[0].get_legend() is not None
    other = History([{**row, "phase": "fixed"} for row in result.history])
    mixed = mf.figures.history_curves({"a": History(result.history), "b": other}, ["loss"])
    assert not any(list(line.get_xdata()) == [2, 2] for line in mixed.axes[0].lines)


def test_errors_are_drawn_where_the_lowest_layers_are_frozen():
    net = mf.Network([mf.Linear(4, 3), mf.Tanh(), mf.Linear(3, 2)])
    net.freeze("linear1")
    x = mf.asarray(np.random.default_rng(0).standard_normal((5, 4)))
    rule = mf.rules.FA().attach(net)
    figure = mf.figures.deltas(net, rule, x, [0, 1, 0, 1, 1], mf.SoftmaxCrossEntropy())
    assert "no error arrives" in [text.get_text() for axes in figure.axes for text in axes.texts]


def test_sweeps_and_tables_have_phases(tmp_path):
    over = '[over]\n"phase.fixed.rule" = ["fa", "bp"]\n"phase.fixed.epochs" = [1, 2]\n'
    text = RECIPE.replace('rule = "fa"\n', "").replace("epochs = 2\nmodel", "model") + over
    sweep = sweeps.parse(text)
    found = [[stage.epochs for stage in one.experiment.stages()] for one in sweep.runs]
    assert found == [[2, 1], [2, 2]] * 2 and len({one.id for one in sweep.runs}) == 4
    sweeps.check(sweep)
    last = sweep.runs[-1]
    in_memory = sweep_results.measure(sweep_results.task_of(last, None)).result
    in_folder = sweep_results.measure(sweep_results.task_of(last, tmp_path / "kept")).result
    times = {"seconds"}
    assert {k: in_memory[k] for k in in_memory.keys() - times} == {k: in_folder[k] for k in in_memory.keys() - times}
    table = RECIPE + '[table]\nseeds = 1\n[[row]]\nname = "short"\nset = { "phase.fixed.epochs" = 1 }\n'
    (tmp_path / "table.toml").write_text(table)
    assert cli.main(["reproduce", "table.toml", "--jobs", "1", "--out", "out", "--quiet"]) == 0
    written = (tmp_path / "out" / "table.txt").read_text()
    assert "kolen_pollack then fa" in written and "0.1 then 0.01" in written
