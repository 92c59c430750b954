"""What a newcomer reads in a terminal: help, lists and tables that fit, one-line answers to mistakes, hints that are
true, names of run folders, and the sentences that read a table."""

import ast
import dataclasses
import re
import shlex
from pathlib import Path

import pytest

import minifa as mf
from minifa import text
from minifa.bench import memory, step_time
from minifa.cli import compare, descriptions, options, program, rules, train
from minifa.experiments import Experiment, Result, reading, run_folder, tables
from minifa.training import History

CLI = Path(program.__file__).parent
RESULTS = Path(__file__).parents[2] / "tutorials" / "results"
XOR = ["--data", "xor", "--lr", "0.1", "--epochs", "1"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    """The exit code of a command, whether it returns or exits."""
    try:
        return program.main([*arguments])
    except SystemExit as stop:
        return stop.code


def too_wide(printed, width):
    """The lines that are too wide, without those of a single word, such as a path."""
    lines = (line.removeprefix("picture: ") for line in printed.splitlines())
    return [line for line in lines if len(line) > width and len(line.split()) > 1]


# --- the width of the terminal ----------------------------------------------------------------------------------------

SWEEP = """
[data]
name = "xor"
[model]
name = "tiny"
[training]
epochs = 1
[over]
"rule" = ["bp", "fa:normalise=strict"]
"optimizer.lr" = [0.1, 0.01]
"training.batch_size" = [2, 4]
"training.seed" = [0, 1]
"""
COMMANDS = [
    [],
    *([name, "--help"] for name in program.COMMANDS),
    ["rules"],
    *(["rules", name] for name in mf.rules.RULES),
    ["data", "--data-dir", "d"],
    ["info"],
    ["reproduce"],
    ["results"],
    ["results", "show", "digits-depth"],
    ["step", "--rule", "fa"],
    ["train", *XOR, "--rule", "fa:normalise=strict"],
    ["train", "--data", "digits", "--lr", "0.001", "--epochs", "1", "--batch-size", "512"],
    ["compare", *XOR, "--rules", "bp,fa:normalise=strict,dfa:at=stage,shallow", "--seeds", "2", "--jobs", "1"],
    ["sweep", "sweep.toml", "--dry-run"],
    ["sweep", "sweep.toml", "--jobs", "1"],
    ["reproduce", "lillicrap", "--seeds", "1", "--jobs", "1", "--rows", "bp", "--set", "training.epochs=1"],
]


@pytest.mark.parametrize("width", [pytest.param(80, marks=pytest.mark.long), 60])
def test_no_line_of_any_command_is_wider_than_the_terminal(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    Path("sweep.toml").write_text(SWEEP, encoding="utf-8")
    for arguments in COMMANDS if width == 80 else COMMANDS[:-5]:
        assert run(*arguments) == 0, arguments
        printed = capsys.readouterr().out
        assert printed and not too_wide(printed, width), arguments


def test_the_stepper_breaks_its_lines_between_words(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    assert run("step", "--rule", "fa") == 0
    printed = capsys.readouterr().out
    assert not too_wide(printed, 40)
    assert "<" not in printed.replace("<-", "").replace("y <", "")  # every matrix is shown, not its shape


@pytest.mark.parametrize("width", [80, 60])
def test_wide_tables_of_results_fit(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    layers = tuple(f"conv{i}" for i in range(1, 20))
    row = {"epoch": 1, "test_loss": 0.5, "test_accuracy": 0.5, "validation_loss": 0.5, "validation_accuracy": 0.5}
    row |= {"train_loss": 0.5, "train_accuracy": 0.5, "seconds": 1.0, "images_per_second": 64.0}
    row |= {f"{layer}.{key}": 90.0 for layer in layers for key in ("weight_angle", "true_angle")}
    result = Result(Experiment(rule="fa:normalise=strict,sparsity=0.5"), [row], 0.5, "test", 1.0, layers)
    rates = [{"rule": "fa", "lr": 10.0**-i, "mean": 0.5, "chosen": 0} for i in range(15)]
    timing = step_time.Timing("torch channels_last", [1.0], 1e9, 1 << 30)
    printed = [
        tables.summary_table([result]),
        tables.angle_table([result]),
        tables.history_table(History([row])),
        tables.grid_table(rates),
        step_time.table("mlp", [timing, timing], 128),
        memory.table({"dfa:recompute=true": dict.fromkeys(range(30), 1 << 30)}),
    ]
    assert not [line for one in printed for line in too_wide(one, width)]
    assert printed[1].count("true angle") > 1 and printed[1].count("90.0") == len(layers)  # nothing is left out


def test_a_table_breaks_its_header_before_its_cells():
    rows = [("set", "where it is", "score of it"), ("a b", "far away", "0.98 ± 0.01")]
    assert text.table(rows, 3, 26).splitlines() == [
        "set  where it  score of it",
        "     is",
        "---  --------  -----------",
        "a b  far away  0.98 ± 0.01",
    ]
    assert "0.98 ± 0.01" in text.table(rows, 3, 20)  # a mean and its sd stay together


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("comprae", "unknown command 'comprae': did you mean compare?"),
        ("version", "unknown command 'version': did you mean --version?"),
        ("predict", "unknown command 'predict': known: attack, bench, compare"),
        ("plot", "unknown command 'plot': known: attack, bench, compare"),
        ("train --epocs 3", "unknown option '--epocs': did you mean --epochs? ("),
        ("train --tune", "unknown option '--tune' (see minifa train --help)"),
        ("train --backend cupie", "--backend: unknown value 'cupie': did you mean cupy?"),
        ("train --epochs x", "--epochs: expected a whole number from 1 up, got x"),
        ("sweep", "the following arguments are required: SWEEP.toml"),
        ("info more", "unrecognized arguments: more"),
        ("rules ffa", "unknown rule 'ffa': did you mean fa"),
    ],
)
def test_a_usage_error_is_one_line(arguments, words, capsys):
    assert run(*arguments.split()) == 2
    printed, message = capsys.readouterr()
    assert not printed and words in message
    assert message.count("\n") == 1 and "usage:" not in message


def test_the_command_alone_prints_help_with_three_examples_that_can_be_parsed(capsys):
    assert run() == 0
    printed = capsys.readouterr().out
    examples = re.findall(r"^  minifa (.*?)  ", printed.partition("examples:")[2], re.M)
    assert len(examples) == 3
    for example in examples:
        program.make_parser().parse_args(example.split())


def options_of(name):
    (commands,) = (one for one in program.make_parser()._actions if one.dest == "command")
    return {option for action in commands.choices[name]._actions for option in action.option_strings}


def texts(path):
    """The texts of a file; those of an f-string with {} for its expressions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(one.value if isinstance(one, ast.Constant) else "{}" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def wrong_options(texts, here):
    """The options in messages that neither their own command has nor the one that the message names."""
    for message in texts:
        named = [name for name in program.COMMANDS if re.search(rf"minifa {name}\b", message)]
        known = here.union(*map(options_of, named), {"--version", "--help"})
        yield from set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", message)) - known


@pytest.mark.parametrize("name", program.COMMANDS)
def test_messages_of_a_command_name_options_that_it_has(name):
    shared = ("descriptions", "pictures") if name in ("train", "compare", "tune") else ()
    for found in (texts(CLI / f"{file.replace('-', '_')}.py") for file in (name, *shared)):
        assert not [*wrong_options(found, options_of(name))]


def test_a_hint_at_a_missing_option_is_found():
    assert [*wrong_options(["rate 0.1 (--tune runs one)"], options_of("train"))] == ["--tune"]
    assert not [*wrong_options(["minifa compare --tune", "--lr"], options_of("train"))]


# --- rules, defaults, folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", mf.rules.RULES)
def test_a_rule_is_described_with_every_option(name, capsys):
    assert run("rules", name) == 0
    printed = " ".join(capsys.readouterr().out.split())
    rule = mf.rules.RULES[name]
    names = [one for one in rules.option_names(rule) if one != "seed"]
    for part in (rule.title, rule.equation, rule.needs, *(f"{one} (default: " for one in names)):
        assert part in printed
    assert "see its class" not in printed  # every option has a text


@pytest.mark.parametrize(("name", "learns"), [("fa", "does not learn"), ("burst", "does not learn"), ("rdd", "learns")])
def test_a_rule_is_described_with_whether_its_feedback_learns_by_default(name, learns, capsys):
    assert run("rules", name) == 0
    assert f" feedback: {learns}; " in " ".join(capsys.readouterr().out.split())


def test_an_option_is_described_by_the_class_that_explains_it(capsys):
    assert run("rules", "usf") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert 'scale (default: strict): "strict" (B has the norm of the current W)' in printed
    assert "concordance (default: 1.0): probability p that an entry's sign agrees" in printed  # of its base class


def test_train_without_a_rule_shows_feedback_alignment_and_its_folder_counts(capsys):
    for number in (1, 2):
        assert run("train", *XOR) == 0
        printed = capsys.readouterr().out
        folder = Path(f"runs/xor-mlp-fa-{number}")
        assert run_folder.read_experiment(folder).rule == "fa"  # stored by name: another default does not change it
        assert printed.endswith(f"picture: {Path.cwd() / folder / 'figures' / 'training.png'}\n")
    assert "angle W,B" in printed and "--rule usf" in printed
    assert run("train", *XOR, "--rule", "bp") == 0
    printed = capsys.readouterr().out
    assert "angle W,B" not in printed and "B equals W in every layer" in " ".join(printed.split())
    assert options.make_experiment(program.make_parser().parse_args(["step"])).rule == Experiment().rule == "bp"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "digits-cnn-fa"),
        ({"model_options": {"depth": 2, "batch_norm": True}}, "digits-cnn-depth2-batch_norm-fa"),
        ({"model": "mlp", "model_options": {"hidden": (100, 50)}}, "digits-mlp-hidden100-50-fa"),
        ({"rule": "usf:scale=init,concordance=0.9"}, "digits-cnn-usf-scale-init-concordance-0.9"),
        ({"data": "a dir/mine: 2?.npz"}, "mine-2--cnn-fa"),
    ],
)
def test_run_folders_have_names_that_people_would_choose(given, name):
    experiment = dataclasses.replace(train.BASE, **given)
    assert f"{descriptions.label(experiment)}-{descriptions.as_file_name(experiment.rule)}" == name


@pytest.mark.usefixtures("draws_nothing")
def test_a_finished_run_says_how_it_continues(capsys):
    assert run("train", *XOR, "--out", "run") == 0
    assert run("train", "--resume", "run") == 0
    assert "finished already, with 1 epoch; --epochs 2 continues" in capsys.readouterr().out


# --- a quick comparison, and what a comparison shows ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "epochs", "seeds"),
    [
        ([], 15, 3),
        (["--quick"], compare.QUICK_EPOCHS, 1),
        (["--quick", "--seeds", "2"], compare.QUICK_EPOCHS, 2),
        (["--quick", "--epochs", "3"], 3, 1),
    ],
)
def test_quick_means_one_seed_and_few_epochs_unless_these_are_given(given, epochs, seeds, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        compare.experiments, "run_many", lambda grid, jobs, progress: (one for one in asked.extend(grid) or ())
    )
    assert run("compare", "--rules", "bp,fa", *given) == 0
    assert {one.epochs for one in asked} == {epochs} and len(asked) == 2 * seeds
    assert f"{2 * seeds} runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rule", "layers", "named"),
    [("fa", 7, ["bp", "usf", "mlp"]), ("fa", 2, ["bp", "usf"]), ("bp", 7, ["usf", "mlp"])],
)
def test_the_hint_beneath_a_slow_run_names_other_rules_and_a_smaller_network(rule, layers, named):
    assert re.findall(r"--(?:rule|model) (\w+)", train._slow(rule, layers)) == named


def test_mlp_has_the_layers_that_the_hint_counts():
    assert len(mf.Network(mf.models.mlp((4,), 2)).weighted) == train.MLP_LAYERS


def kept(name):
    return run_folder.read_results(RESULTS / name)


def test_the_lesson_is_that_of_the_kept_comparison():
    results = kept("compare-digits-cnn")
    lesson = reading.lesson(results, 10)
    assert lesson.startswith("What fails: fa, with 0.323 where bp has 0.980. Since when: bp is halfway")
    assert "fa in none of 15. Why: depth." in lesson and "90.2° at conv1" in lesson
    assert lesson.endswith("shallow, has 0.981, so that the layers below need to learn little.)")
    assert reading.lesson([one for one in results if one.experiment.rule != "fa"], 10) == ""
    assert reading.lesson([one for one in results if one.experiment.rule == "fa"], 10) == ""  # nothing learns
    assert reading.lesson(results, 0) == ""  # no classes


def test_the_hints_of_the_lesson_are_those_of_the_kept_table():
    """Its command is named beside them: minifa compare --depth 2."""
    table = (RESULTS / "compare-digits-cnn-depth-2" / "table.txt").read_text(encoding="utf-8")
    scores = re.findall(r"^(\w+) +[\d.]+ +([\d.]+) ±", table, re.M)
    assert {rule: float(score) for rule, score in scores} == reading.TWO_CONVOLUTIONS
    assert shlex.split("compare --depth 2")[1] in options_of("compare")


def test_the_sentences_beneath_a_comparison_follow_its_numbers():
    results = kept("compare-digits-cnn")
    assert reading.read_comparison(results, 360, True) == (
        "bp has the best score (0.980); usf (0.948) lies within two standard errors of it; frsf (0.947), shallow "
        "(0.700) and fa (0.323) lie further below (standard errors from seeds and test examples). At the lowest "
        "layer, conv1, the angle to backpropagation's error is usf: 60.7°, "
        "frsf: 77.8° and fa: 90.2°; chance is 90°."
    )
    more = reading.read_comparison(results, 36, True)  # fewer examples: frsf cannot be told from bp any more
    assert "usf (0.948) and frsf (0.947) lie within two standard errors of it; shallow" in more


def test_rules_whose_runs_diverged_are_named_and_not_ranked():
    def diverged(asked):
        return [dataclasses.replace(r, diverged=(r.experiment.rule, r.experiment.seed) in asked) for r in results]

    results = kept("compare-digits-cnn")
    some = diverged({("fa", 0), *(("bp", r.experiment.seed) for r in results)})
    sentences, lesson = reading.read_comparison(some, 360, True), reading.lesson(some, 10)
    seeds = len({r.experiment.seed for r in results})
    assert sentences.startswith(
        f"Training diverged under bp, fa (1 of {seeds} runs), where a smaller --lr may help. usf has the best score"
    )
    assert "fa (0" not in sentences and "fa: 90" not in sentences and "What fails: fa" not in lesson
    every = [dataclasses.replace(r, diverged=True) for r in results]
    assert reading.read_comparison(every, 360, True) == "Every run diverged; a smaller --lr may help."
    assert reading.lesson(every, 10) == ""


@pytest.mark.parametrize(
    ("angles", "learns", "words"),
    [
        ((90.0, 80.0), False, "W has turned towards B"),
        ((90.0, 80.0), True, "W and the learned B have become similar"),
        ((90.0, 89.5), False, "no measurable similarity"),
        ((37.0, 37.0), False, "this B depends on W from the start"),
        ((0.0, 0.0), False, "B equals W in every layer"),
        ((), False, "Under this rule no layer has an angle"),
    ],
)
def test_the_sentences_beneath_a_run_follow_its_angles(angles, learns, words):
    rows = [{"epoch": i, "test_accuracy": (0.1, 0.5)[i]} for i in range(2)]
    for row, angle in zip(rows, angles, strict=False):
        row["linear2.weight_angle"] = angle
    result = Result(Experiment(), rows, 0.5, "test", 1.0, ("linear2",))
    sentences = reading.read_training(result, 100, {"linear2": 1000}, learns)
    assert "0.100 before training and 0.500 after 1 epoch: 100 examples give it a standard error of 0.050" in sentences
    assert words in sentences
    if angles and max(angles) > 0:
        assert "(chance is 90° ± 3.6°)" in sentences  # 2 * 57.3 / sqrt(1000)


@pytest.mark.parametrize(
    ("measure", "best"),
    [("accuracy", "b has the best test accuracy, 2.00."), ("loss", "a has the best test loss, 1.00.")],
)
def test_the_sentences_beneath_a_published_table_follow_its_rows(measure, best):
    rows = [
        {"row": "a", "mean": 1.0, "difference": 0.5, "standard_error": 0.3},
        {"row": "b", "mean": 2.0, "difference": -3.0, "standard_error": 0.3},
        {"row": "c"},
    ]
    assert reading.read_table(rows, measure) == (
        f"{best} 1 of 2 rows lie within two standard errors of their published value; the largest difference is -3.00 "
        "(b)."
    )


def test_the_sentences_beneath_the_memory_of_a_step_follow_its_numbers():
    peaks = {"bp": {1: 1 << 20, 4: 4 << 20}, "dfa": {1: 1 << 20, 4: 2 << 20}}
    assert memory.read(peaks) == (
        "At depth 4 dfa needs the least memory, 2.0 MiB, and bp 2.0 times as much. From depth 1 to 4 the memory grows: "
        "bp 4.0 times, dfa 2.0 times."
    )


@pytest.mark.parametrize(
    ("losses", "words"), [((2.0, 1.0, 4.0), "rose from 1.00 in epoch 2 to 4.00"), ((2.0, 1.0), "")]
)
def test_a_loss_that_rises_again_is_reported(losses, words):
    rows = [{"epoch": epoch, "train_loss": loss} for epoch, loss in enumerate(losses, start=1)]
    sentence = reading.instability(Result(Experiment(), rows, 0.5, "test", 1.0, ("linear2",)))
    assert words in sentence and bool(sentence) == bool(words)
