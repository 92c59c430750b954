"""Recipes: read, validated completely before any run, changed from the command line; all shipped ones are valid."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from minifa import cli, data, experiments
from minifa.cli import pictures
from minifa.experiments import Experiment, recipes
from minifa.experiments.recipes import RecipeError
from minifa.optim import OPTIMIZERS

FULL = """
title = "All there is"
rule = "fa:sparsity=0.5"

[data]
name = "digits"
augmentation = "crop_flip:padding=1"
validation = 0.2

[model]
name = "mlp"
hidden = [30, 20]
freeze = "linear1"

[optimizer]
name = "adam"
lr = 0.01
weight_decay = 0.001
schedule = "cosine:epochs=4"
betas = [0.8, 0.9]

[training]
loss = "softmax_cross_entropy"
epochs = 4
batch_size = 32
seed = 7
alignment = false
targets = true
kernels = true
"""


def problems_of(text, *changes):
    with pytest.raises(RecipeError) as caught:
        recipes.parse(text, changes)
    return caught.value.problems


def test_every_setting_reaches_the_experiment():
    expected = Experiment(
        data="digits",
        augmentation="crop_flip:padding=1",
        validation=0.2,
        model="mlp",
        model_options={"hidden": (30, 20)},
        freeze="linear1",
        rule="fa:sparsity=0.5",
        loss="softmax_cross_entropy",
        optimizer="adam",
        optimizer_options={"betas": (0.8, 0.9)},
        schedule="cosine:epochs=4",
        lr=0.01,
        weight_decay=0.001,
        epochs=4,
        batch_size=32,
        seed=7,
        alignment=False,
        targets=True,
        kernels=True,
    )
    assert recipes.parse(FULL).experiment == expected


def test_omitted_settings_have_the_defaults_of_the_command_line():
    assert recipes.parse("").experiment == Experiment()


def test_changes_override_the_settings_of_the_file():
    changed = recipes.parse(FULL, ["optimizer.lr=0.5", "rule=usf:scale=init", "model.hidden=[9]", "training.seed=1"])
    e = changed.experiment
    assert (e.lr, e.rule, e.model_options, e.seed) == (0.5, "usf:scale=init", {"hidden": (9,)}, 1)
    assert e.epochs == 4


def test_all_problems_are_reported_at_once():
    problems = problems_of(
        'rule = "fo"\ntitel = "x"\n[data]\nvalidation = 1.0\n[model]\nname = "cnn"\ndepht = 3\n'
        '[optimizer]\nlr = "much"\nnestrov = true\n[training]\nepochs = 0\nalignment = 1\n',
        "optimizer.lr 3",
    )
    assert len(problems) == 9
    for words in (
        "rule: unknown rule 'fo': did you mean fa",
        "titel: unknown setting 'titel'",
        "data.validation: a number from 0 up and below 1 is expected, got 1.0",
        "model.depht: unknown option of the model 'cnn' 'depht': did you mean depth",
        "optimizer.lr: a number from 0 up is expected, got 'much'",
        "optimizer.nestrov: unknown option of the optimizer 'sgd' 'nestrov': did you mean nesterov",
        "training.epochs: a whole number from 1 up is expected, got 0",
        "training.alignment: true or false is expected, got 1",
        "a change is written NAME=VALUE, optimizer.lr=0.01, got 'optimizer.lr 3'",
    ):
        assert any(words in problem for problem in problems), words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rule = ", "not written in TOML"),
        ("a = " + "[" * 5000, "not written in TOML"),
        ("rule = 3", "rule: a word is expected, got 3"),
        ("data = 3", "data: unknown setting"),
        ("[training]\nepochs = true", "a whole number from 1 up is expected, got True"),
        ("[optimizer]\nlr = nan", "a number from 0 up is expected, got nan"),
        ("[optimizer]\nlr = inf", "a number from 0 up is expected, got inf"),
        ('[data]\nname = "mnits"', "unknown data set 'mnits': did you mean mnist"),
        ('[optimizer]\nschedule = "cosine"', "optimizer.schedule: the schedule 'cosine' needs epochs=, got 'cosine'"),
        ('[table]\nmeasure = "speed"\n[[row]]\nname = "a"', "table.measure: unknown measure 'speed'"),
        ("[table]", "it has no [[row]]"),
        ("[[row]]\npublished = 1", "row 1: it has no name"),
        ('[[row]]\nname = "../x"', "a row's name becomes a folder's"),
        ('[[row]]\nname = "a"\n[[row]]\nname = "a"', "2 rows are called 'a'"),
        ('[[row]]\nname = "a"\nset = {"optimizer.lrr" = 1}', "row a: optimizer.lrr: unknown option"),
        ('[[row]]\nname = "a"\nset = 3', "row a.set: settings by their names are expected"),
        ('[[row]]\nname = "a"\npublshed = 1', "row a.publshed: unknown entry 'publshed': did you mean published?"),
        ("row = 3", "a table is a section [table]"),
        ('[over]\n"training.seed" = [0, 1]', "a recipe with this section is a sweep"),
    ],
)
def test_invalid_settings_are_refused_with_a_message(text, words):
    assert any(words in problem for problem in problems_of(text)), problems_of(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[model]\nname = "lenett"\ninit = "xavier_uniform"', "model.name: unknown model 'lenett': did you mean lenet"),
        ('[optimizer]\nname = "amad"\neps = 1', "optimizer.name: unknown optimizer 'amad': did you mean adam"),
    ],
)
def test_options_of_an_unknown_name_are_not_validated_against_another(text, words):
    (problem,) = problems_of(text)
    assert problem.startswith(words)


def test_a_changed_row_has_no_published_number():
    text = '[[row]]\nname = "a"\npublished = 3.5\n[[row]]\nname = "b"\npublished = 4.5\nset = {rule = "fa"}'
    assert [row.published for row in recipes.parse(text, ["rule=usf"]).rows] == [None, 4.5]
    assert [row.published for row in recipes.parse(text, ["training.epochs=3"]).rows] == [3.5, 4.5]


def test_problems_of_the_base_are_reported_once_and_not_per_row():
    problems = problems_of('rule = "fo"\n[[row]]\nname = "a"\n[[row]]\nname = "b"\nset = {rule = "fb"}')
    assert [one.partition(":")[0] for one in problems] == ["rule", "row b"]


def test_a_row_is_the_base_with_its_own_settings():
    text = FULL + '\n[table]\nseeds = 3\n[[row]]\nname = "a"\n[[row]]\nname = "b"\nseeds = 1\npublished = 3.5\n'
    a, b = recipes.parse(text + 'set = {rule = "bp", "optimizer.lr" = 0.2}').rows
    assert (a.experiment.rule, a.experiment.lr, a.seeds, a.published) == ("fa:sparsity=0.5", 0.01, 3, None)
    assert (b.experiment.rule, b.experiment.lr, b.seeds, b.published) == ("bp", 0.2, 1, 3.5)


def test_missing_files_and_unsuitable_networks_are_reported_together_before_any_run(tmp_path):
    nowhere = Experiment(data="mnist", data_dir=str(tmp_path), weights=str(tmp_path / "none.safetensors"))
    no_images = Experiment(data="xor", model="cnn")
    too_small = Experiment(data="digits", model="lenet_cifar")
    valid = Experiment(data="digits", model="mlp")
    with pytest.raises(RecipeError) as caught:
        recipes.check([nowhere, no_images, too_small, valid], "the recipe")
    problems = caught.value.problems
    assert len(problems) == 4
    for words in ("none.safetensors", "data set 'mnist' not found", "cnn under bp on xor", "lenet_cifar under bp on"):
        assert any(words in problem for problem in problems), words
    assert set(recipes.check([valid], "the recipe")) == {("digits", None)}


def test_a_problem_of_every_rule_is_reported_once_with_indented_continuation_lines(tmp_path):
    rules = [Experiment(data="digits", model="lenet_cifar", rule=rule) for rule in ("bp", "fa", "usf")]
    with pytest.raises(RecipeError) as caught:
        recipes.check([*rules, Experiment(data="mnist", data_dir=str(tmp_path))], "the recipe")
    data_set, network = sorted(caught.value.problems)
    assert network.startswith("lenet_cifar under bp, fa, usf on digits: ") and "8 x 8 x 1" in network
    assert "\n" in data_set  # the folders that were searched
    first, *others = str(caught.value).splitlines()
    assert first == "the recipe has 2 problems:" and all(line.startswith("  ") for line in others)
    assert sum(line[2] != " " for line in others) == 2


def test_the_message_about_a_missing_recipe_lists_the_existing_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe '.*mnist_lente\.toml'; minifa ships .*mnist_lenet"):
        recipes.read(tmp_path / "mnist_lente.toml")


def test_an_empty_section_changes_nothing():
    assert recipes.parse("[optimizer]\n[model]\n").experiment == Experiment()


def test_a_file_that_is_not_text_or_far_too_large_is_refused(tmp_path):
    (tmp_path / "latin.toml").write_bytes('title = "Zürich"'.encode("latin-1"))
    with pytest.raises(RecipeError, match="not written in UTF-8"):
        recipes.read(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (recipes.LARGEST_FILE + 1))
    with pytest.raises(RecipeError, match="larger than"):
        recipes.read(tmp_path / "large.toml")
    (tmp_path / "marked.toml").write_bytes(
        b"\xef\xbb\xbf" + 'title = "Zürich"'.encode()
    )  # as written by Windows editors
    assert recipes.read(tmp_path / "marked.toml").title == "Zürich"


@pytest.mark.parametrize("name", recipes.shipped())
def test_every_shipped_recipe_is_valid_and_fits_its_data(name):
    recipe = recipes.read(name)
    assert recipe.title and recipe.source and recipe.rows
    shapes = {"mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3), "digits": (8, 8, 1)}
    for row in recipe.rows:
        name = row.experiment.data
        made = data.load(name) if name in ("lillicrap", "digits_parity") else stand_in(shapes[name])
        made = made.reconstruction() if row.experiment.data_options else made
        net, rule, _, _ = experiments.build(row.experiment, made)
        assert net.output_shape == (made.n_out,)
        assert rule.name == row.experiment.stages()[0].rule.partition(":")[0]


def stand_in(shape):
    """A data set of this shape, because the real files are not available in every test."""
    import numpy as np

    examples = data.validate(np.zeros((20, *shape), "float32"), np.arange(20) % 10, n_classes=10)
    return data.Dataset("stand-in", examples, examples, tuple("0123456789"))


def test_published_numbers_are_those_of_their_sources():
    """Lance & Kieu 2026, table of test accuracies; BioTorch's Benchmarks.md, test errors."""
    published = {name: {row.name: row.published for row in recipes.read(name).rows} for name in recipes.shipped()}
    of_paper = {key: value for key, value in published["cifar10_moskovitz"].items() if value is not None}
    kernel = {"fa-kernel": 40.07, "fa-kernel-1e-3": 40.07}
    assert of_paper == {"bp": 75.80, "usf-strict": 75.67, "frsf": 74.30, **kernel, "fa-dense": 35.77}
    rules = ("bp", "fa", "dfa", "usf", "brsf", "frsf")
    for name, errors in {
        "mnist_lenet": (0.91, 1.70, 1.61, 0.94, 0.91, 0.97),
        "cifar10_lenet": (14.23, 46.69, 54.21, 16.22, 16.02, 16.86),
        "cifar10_resnet20": (8.63, 32.16, 45.94, 10.05, 11.02, 11.20),
    }.items():
        expected = dict(zip(rules, errors, strict=True))
        if name == "mnist_lenet":  # its dfa has a rate chosen by minifa: BioTorch's number is for another broadcast
            del expected["dfa"]
            expected["dfa-stage"] = None
        assert published[name] == expected
    for name, errors in {
        "mnist_lenet_20": (0.91, 1.70, 0.94, 0.91, 0.97),
        "fashion_lenet_20": (9.20, 13.06, 9.69, 10.02, 9.61),
    }.items():
        expected = dict(zip(("bp", "fa", "usf", "brsf", "frsf"), errors, strict=True))
        assert published[name] == {**expected, "dfa-stage": None, "shallow": None}


# --- minifa train --recipe --------------------------------------------------------------------------------------------


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw", lambda *arguments: None)
    (tmp_path / "mine.toml").write_text('rule = "fa"\n[data]\nname = "xor"\n[model]\nname = "tiny"\n', encoding="utf-8")
    return tmp_path


def test_train_runs_a_recipe_with_changes(empty_folder, capsys):
    changes = ["--set", "optimizer.lr=0.5", "--set", "training.epochs=2"]
    assert cli.main(["train", "--recipe", "mine.toml", *changes, "--out", "run"]) == 0
    kept = json.loads((empty_folder / "run" / "config.json").read_text(encoding="utf-8"))["experiment"]
    assert (kept["rule"], kept["lr"], kept["epochs"], kept["data"]) == ("fa", 0.5, 2, "xor")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "mine.toml", "--epochs", "3"], "leave out --epochs"),
        (["--set", "training.epochs=3"], "goes with --recipe"),
        (["--recipe", "mine.toml", "--set", "training.epochs=many"], "a whole number from 1 up"),
        (["--recipe", "mine.toml", "--set", "model.name=cnn"], "cnn under fa on xor"),
        (["--recipe", "nothing"], "unknown recipe 'nothing'"),
    ],
)
def test_train_refuses_an_invalid_recipe_before_any_file_is_written(empty_folder, capsys, arguments, words):
    assert cli.main(["train", *arguments, "--out", "run"]) == 2
    assert words in capsys.readouterr().err
    assert not (empty_folder / "run").exists()


def test_a_batch_size_that_leaves_no_batch_is_refused_before_a_run():
    """Only the experiments that drop a smaller last batch are of different kinds by their batch size."""
    base = experiments.Experiment(data="xor", model="tiny", batch_size=3, drop_last=True)
    sizes = [replace(base, batch_size=size, drop_last=drop) for drop in (False, True) for size in (3, 5, 7)]
    assert len(recipes.of_each_kind(sizes)) == 4
    recipes.check([base], "the recipe")
    with pytest.raises(RecipeError, match="4 examples in batches of 5 leave no batch with drop_last=True"):
        recipes.check(sizes[:5], "the recipe")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_that_all_optimizers_share_are_settings(name):
    """Regression: they were unknown, and the internal ``options`` was known."""
    shared = {
        "clip_norm": 1.5,
        "manhattan": False,
        "constrain_weights": True,
        "freeze_signs": True,
        "decay_bias": False,
    }
    lines = [f"optimizer.{key}={str(value).lower()}" for key, value in shared.items()]
    shared["lr_factors"] = {"conv*": 0.5}
    lines.append('optimizer.lr_factors={"conv*" = 0.5}')
    experiment = recipes.parse("", [f"optimizer.name={name}", *lines]).experiment
    assert experiment.optimizer_options.items() >= shared.items()
    made = experiments.trainer_for(replace(experiment, epochs=1), data.load(experiment.data)).optimizer
    assert {key: getattr(made, key) for key in shared} == shared
    with pytest.raises(RecipeError, match="unknown option of the optimizer"):
        recipes.parse("", [f"optimizer.name={name}", "optimizer.options=1"])
