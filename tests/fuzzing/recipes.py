"""The entrances that describe runs and store their results: recipes, tables and sweeps in TOML, changes to them, a
sweep's table and configuration, and the folder of a resumed run."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from fuzzing import Case, MakeCase, bound, files, mutations
from minifa import checkpoints, experiments
from minifa.data.base import DataFileError
from minifa.experiments import recipes, resume, study, sweep_results, sweeps
from minifa.experiments.recipes import RecipeError
from minifa.storage import csv_files

SMALL = """title = "Two bits"
rule = "usf:scale=init"

[data]
name = "xor"

[model]
name = "tiny"
hidden = 3

[optimizer]
name = "sgd"
lr = 0.1
momentum = 0.9
schedule = "cosine:epochs=3"

[training]
epochs = 1
batch_size = 4
seed = 0
alignment = false
"""
PHASES = """
[[phase]]
name = "first"
epochs = 1
rule = "kolen_pollack"

[[phase]]
name = "second"
epochs = 1
rule = "fa"
model.freeze = "linear1"
optimizer.name = "adam"
"""
IN_PHASES = SMALL.replace("epochs = 1\n", "") + PHASES

TABLE = """
[table]
measure = "loss"
published_by = "Someone"
seeds = 2

[[row]]
name = "bp"
published = 0.5
set = { rule = "bp" }

[[row]]
name = "fa"
seeds = 1
set = { "optimizer.lr" = 0.01, rule = "fa" }
"""
GRID = """
[over]
"rule" = ["bp", "fa"]
"model.hidden" = [2, 3]
training.batch_size = [2, 4]
"""
RANDOM = """
[sweep]
method = "random"
runs = 6
seed = 1

[over]
"rule" = ["bp", "fa:conv=dense", "usf"]
"optimizer.weight_decay" = { low = 1e-4, high = 0.1, log = true }
"model.hidden" = { low = 1, high = 4, whole = true }
"""
SETTINGS = (
    *recipes.SETTINGS,
    *("model.hidden", "model.depth", "model.x", "optimizer.momentum", "optimizer.eps", "optimizer.clip_norm"),
    *(
        "optimizer.decay_bias",
        "optimizer.lr_factors",
        "optimizer.nesterov",
        "optimizer",
        "x",
        "",
        ".",
        "model.",
        "table.seeds",
        "row",
        "over",
        "rule.x",
        "é",
    ),
)
# Valid and invalid values of TOML, as written after an equals sign.
VALUES = (
    *("", "0", "1", "-1", "2", "3", "1_000", "9" * 30, "9" * 400, "9" * 5000, "0x" + "f" * 16, "0x" + "f" * 5000),
    *("9223372036854775807", "-9223372036854775808", "9223372036854775808", "0b1", "+1", "01", "0.5", "-0.0", "1e308"),
    *("1e309", "5e-324", "nan", "inf", "-inf", "true", "false", '""', '" "', '"x"', '"bp"', '"fa:conv=dense"'),
    *('"usf:scale=nan"', '"adam"', '"mlp"', '"cnn"', '"digits"', '"no.npz"', '"\\u0000.npz"', '"\\u0000"', '"\\ud800"'),
    *('"../.."', "'é'", '"""a\nb"""', '"a\\nb"', "[]", "[[]]", "[1, 2]", '["bp", "bp"]', "[0, 0]", "[nan, nan]"),
    *('[1, "x", {}]', "[10, 5]", "{}", "{ x = 1 }", "{ low = 1, high = 2 }", "{ low = 2, high = 1 }"),
    *("{ low = 5e-324, high = 1e308, log = true }", "{ low = -1e308, high = 1e308 }", "{ low = 0, high = 1, log = 1 }"),
    *("{ low = 1, high = 9223372036854775807, whole = true }", "{ low = 1, high = " + "9" * 400 + ", log = true }"),
    *("{ low = 1, high = 9223372036854775807, whole = true, log = true }", "{ low = 1.5, high = 2, whole = true }"),
    *("1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "1979-13-40", "[" * 600 + "]" * 600, "[" * 9000, "{a=" * 900),
    *('"' + "x" * 30_000 + '"', "[" + ", ".join(map(str, range(5000))) + "]", '"cosine:epochs=0"', '"crop_flip"'),
    *('"constant"', '"cross_entropy"', '"mean_squared_error"', '"half_squared_error"', '"linear1"', '"linear1,,"'),
)  # fmt: skip
HEADS = (
    *("[data]", "[model]", "[optimizer]", "[training]", "[table]", "[[row]]", "[sweep]", "[over]", "[x]", "[[data]]"),
    *("[row]", "[[table]]", "[[over]]", "[over.x]", "[model.hidden]", "[[row.set]]", "[", "[]", "[a.b.c.d]"),
)
VARIED = ("rule", "hidden", "batch_size")
SHARED = "".join(line for line in SMALL.splitlines(True) if line.partition(" ")[0] not in VARIED)
READING = (RecipeError,)


def mutate_toml(random: Random, good: bytes) -> bytes:
    """Other values, names and sections; removed, repeated or moved lines; very many lines."""
    lines = good.decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(lines)) if lines else 0
        change = random.randrange(9)
        if change == 0 and lines:
            del lines[at]
        elif change == 1 and lines:
            lines.insert(random.randrange(len(lines)), lines[at])
        elif change == 2:
            lines.insert(at, random.choice(HEADS))
        elif change == 3:
            lines.insert(at, f'"{random.choice(SETTINGS)}" = {random.choice(VALUES)}')
        elif change == 4 and random.random() < 0.1:
            lines += [random.choice(("[[row]]", "[[row]]\nname = 1"))] * random.choice((50, 800))
        elif change == 4 and random.random() < 0.1:
            lines += ["[over]", *(f'"x{i}" = [1, 2]' for i in range(random.choice((20, 500, 3500))))]
        elif lines and "=" in lines[at]:
            lines[at] = lines[at].partition("=")[0] + "= " + random.choice(VALUES)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


TOML = (*mutations.ANY, *(mutate_toml,) * 30)


def check_experiment(one: Any) -> None:
    assert isinstance(one, experiments.Experiment)
    assert one.epochs >= 1 and one.batch_size >= 1 and one.seed >= 0 and 0 <= one.validation < 1
    for rate in (one.rate(), one.decay()):
        assert math.isfinite(rate) and rate >= 0, f"a rate or a decay of {rate}"
    json.loads(json.dumps(one.as_config(), default=str))


def check_recipe(recipe: Any) -> None:
    check_experiment(recipe.experiment)
    names = [row.name for row in recipe.rows]
    assert len(set(names)) == len(names), "two rows of one name"
    for row in recipe.rows:
        check_experiment(row.experiment)
        assert row.seeds >= 1 and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", row.name), row.name
        assert row.published is None or math.isfinite(row.published)


def check_sweep(sweep: Any) -> None:
    assert 0 < len(sweep.runs) <= sweeps.LARGEST
    assert len({run.id for run in sweep.runs}) == len(sweep.runs), "an experiment twice"
    for run in sweep.runs:
        check_experiment(run.experiment)
        assert set(run.settings) == set(sweep.varied)
        for value in run.settings.values():
            assert "\n" not in recipes.write_value(value)
        json.dumps(run.settings, default=str)


def recipe(random: Random) -> bytes:
    shipped = [path.read_bytes() for path in recipes.shipped().values()]
    return random.choice([SMALL.encode(), IN_PHASES.encode(), *2 * [(SMALL + TABLE).encode()], *shipped])


def sweep(random: Random) -> bytes:
    return (SHARED + random.choice((GRID, RANDOM))).encode()


# Values of each setting at the limits of its range and slightly beyond.
FITTING = {
    "rule": ('"bp"', '"dfa"', '"usf:scale=nan"', '"fa:sparsity=0.999"', '"kolen_pollack"', '"pepita"'),
    "data.name": ('"xor"', '"no.npz"', '"digits.npz"', '"\\u0000.npz"', '"../x.npz"'),
    "data.folder": ('"."', '"\\u0000"', '"é"', '"/"'),
    "data.augmentation": ('"crop_flip"', '"crop24"', '"crop_flip:padding=9"', '"jitter:pixels=9"', '"none"'),
    "data.validation": ("0", "0.25", "0.5", "0.999", "5e-324", "0.99999999999999999"),
    "model.name": ('"tiny"', '"mlp"', '"cnn"', '"lenet"', '"resnet20"'),
    "model.hidden": ("1", "[1]", "[2, 3]", "[]", "0", "true", "2.0", "9223372036854775807", '"3"', "[[2]]", "1000000"),
    "model.depth": ("1", "2", "0", "9223372036854775807", "[1]"),
    "model.batch_norm": ("true", "false", "1", "[]", '"x"'),
    "model.init": ('"he_normal"', '"xavier_uniform"', '"x"', "1", "[]", "{ x = 1 }"),
    "model.weights": ('"none"', '"."', '"\\u0000"'),
    "model.freeze": ('"linear1"', '"linear1,linear2"', '"linear1,,"', '"x"', '","'),
    "optimizer.name": ('"sgd"', '"adam"', '"rmsprop"'),
    "optimizer.lr": ("0", "1e-320", "1e308", "1.7976931348623157e308", "3"),
    "optimizer.weight_decay": ("0", "1e-320", "1e308"),
    "optimizer.schedule": ('"cosine:epochs=1"', '"cosine:epochs=1e308"', '"step:size=1,gamma=0"', '"x then y"'),
    "optimizer.momentum": ("0", "0.999", "1", "-1", "nan", "true", '"x"', "[0.9]"),
    "optimizer.clip_norm": ("1", "1e-320", "0", "inf", "nan", "[]", "true"),
    "optimizer.nesterov": ("true", "false", "1", '"x"', "[]"),
    "optimizer.manhattan": ("true", "1", "[]", '"false"'),
    "optimizer.decay_bias": ("true", "false", "1", '"x"'),
    "optimizer.lr_factors": ('{ "linear*" = 0.5 }', "{ x = 1 }", "{ linear1 = -1 }", "{}", "[]", "1", '{ "*" = "x" }'),
    "optimizer.eps": ("0", "1e-320", "1e308", "nan", "[]"),
    "phase.second.rule": ('"bp"', '"dfa"', '"x"', "1"),
    "phase.second.epochs": ("1", "0", "9223372036854775807"),
    "phase.second.optimizer.lr": ("0", "1e308", "nan"),
    "phase.second.optimizer.momentum": ("0.5",),
    "phase.third.epochs": ("1",),
    "training.loss": ('"mean_squared_error"', '"half_squared_error"', '"softmax_cross_entropy"', '"x"'),
    "training.epochs": ("1", "9223372036854775807"),
    "training.batch_size": ("1", "3", "2147483648", "9223372036854775807"),
    "training.seed": ("0", "4294967296", "9223372036854775807"),
    "training.alignment": ("true", "false"),
    "training.targets": ("true", "false"),
    "training.kernels": ("true", "false"),
    "training.drop_last": ("true", "false", "1"),
    "training.patience": ("0", "1", "9223372036854775807", "true"),
}  # fmt: skip


def setting(random: Random) -> tuple[str, str]:
    """A name and the value after the equals sign, which is unrelated to the name in one case of four."""
    if random.random() < 0.25:
        return random.choice(SETTINGS), random.choice(VALUES)
    name = random.choice(list(FITTING))
    return name, random.choice(FITTING[name])


def changed(random: Random, folder: Path) -> Case:
    """`--set`, one or a few of them, of a recipe and of a sweep."""
    changes = []
    for _ in range(random.choice((1, 1, 2, 3))):
        name, value = setting(random)
        value = random.choice((value, value, value.strip('"')))
        odd = random.choice(
            (value, f" {name} = {value} ", f"{name}=\udcff", f"{name}=a\nb", f"{name}=\0", f"{name}=1 # x")
        )
        changes.append(odd if random.random() < 0.2 else f"{name}={value}")
    if random.random() < 0.5:
        return Case(f"--set {changes}", lambda: recipes.parse(SMALL + TABLE, changes), READING, check_recipe)
    return Case(f"--set {changes}", lambda: sweeps.parse(SHARED + RANDOM, changes), READING, check_sweep)


def built(random: Random, folder: Path) -> Case:
    """Experiments that pass the check before a run can be run; here for one epoch, or one in each phase."""
    text = random.choice((SMALL, SMALL, IN_PHASES))
    changes = ["{}={}".format(*setting(random)) for _ in range(random.choice((1, 1, 2)))]

    def call() -> Any:
        experiment = recipes.parse(text, changes).experiment
        recipes.check([experiment], "the recipe")
        phases = [{**phase, "epochs": 1} for phase in experiment.phases]
        try:
            return experiments.run(replace(experiment, epochs=1, phases=phases))[0]
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise AssertionError(f"it passed the check, and could not be run: {message}") from error

    return Case(f"--set {changes}", call, READING)


# A sweep's folder


@functools.cache
def _sweep() -> sweeps.Sweep:
    return sweeps.parse(SHARED + GRID)


@functools.cache
def _sweep_folder() -> Path:
    """A finished sweep with one failed run; made once, and every case uses a copy."""
    folder = Path(tempfile.mkdtemp(prefix="minifa-fuzz-"))
    with sweep_results.opened(_sweep(), folder) as results:
        for run in _sweep().runs[:-1]:
            results.add(study.attempt(sweep_results.measure, sweep_results.task_of(run)))
        last = sweep_results.task_of(_sweep().runs[-1])
        results.add(study.Outcome(last, error='ValueError: a "word", or two'))
    return folder


def resumed(place: Path) -> Any:
    with sweep_results.opened(_sweep(), place) as results:
        results.left(True)
        lines = results.of_sweep()
    return lines, sweep_results.summary(_sweep(), lines)


def shown(place: Path) -> Any:
    lines = {line["id"]: line for line in sweep_results.lines_in(_sweep(), place)}.values()
    return list(lines), sweep_results.summary(_sweep(), [line for line in lines if line["id"] in _ids()])


@functools.cache
def _ids() -> set[str]:
    return {run.id for run in _sweep().runs}


def check_lines(result: Any) -> None:
    lines, text = result
    assert isinstance(text, str)
    for line in lines:
        assert list(line) == sweep_results.columns(_sweep()), "other columns"
        for key in sweep_results.RESULTS[:-1]:
            assert _is_number(line[key] or "0"), f"{key} is {line[key]!r}"
    assert len({line["id"] for line in lines}) == len(lines), "a run twice"


def _is_number(cell: str) -> bool:
    try:
        return isinstance(float(cell), float)
    except ValueError:
        return False


def sweep_case(file: str, ways: Sequence[mutations.Bytes]) -> MakeCase:
    def case(random: Random, folder: Path) -> Case:
        place = _copy(_sweep_folder(), folder / "sweep")
        description = files._corrupt(random, place / file, ways)
        call = random.choice((resumed, shown))
        size = (place / file).stat().st_size
        return Case(
            f"{call.__name__}, {description}",
            lambda: call(place),
            (DataFileError, ValueError, OSError),
            check_lines,
            memory=bound(size, files.OF_TEXT),
            folder=folder,
        )

    return case


def _copy(source: Path, place: Path) -> Path:
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(source, place)
    return place


# The folder of a resumed run

ASKED = experiments.Experiment(
    data="xor", model="tiny", model_options={"hidden": 3}, rule="fa", lr=0.1, epochs=2, batch_size=4
)


@functools.cache
def _run_in_folder(validation: bool) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="minifa-fuzz-"))
    resume.run_in_folder(folder, _experiment(validation))
    return folder


def _experiment(validation: bool) -> experiments.Experiment:
    return replace(ASKED, validation=0.25 if validation else 0.0)


def run_in_case(names: Sequence[str], ways: dict[str, Sequence[mutations.Bytes]]) -> MakeCase:
    """A file is corrupted and the same run requested again: its result is correct, or it is refused."""

    def case(random: Random, folder: Path) -> Case:
        validation = random.random() < 0.5
        place = _copy(_run_in_folder(validation), folder / "kept")
        right = json.loads((place / resume.RESULT).read_text(encoding="utf-8"))["result"]
        name = random.choice([name for name in names if (place / name).exists()])
        description = files._corrupt(random, place / name, ways.get(name, mutations.ANY))
        if name != resume.RESULT:
            (place / resume.RESULT).unlink()
        corrupted = _values_of(place / name) if name == resume.RESULT else None

        def check(result: Any) -> None:
            assert isinstance(result, dict) and result.keys() == right.keys(), f"the result {result}"
            for key, value in right.items():
                # A number changed into another valid one cannot be detected.
                numbers = corrupted is not None and key != "note" and type(value) is not bool
                same = type(result[key]) is type(value) if numbers else result[key] == value
                assert same or key in ("seconds", "note", "diverged"), f"{key} is {result[key]!r}, not {value!r}"
                if numbers and result[key] != value and key != "seconds":
                    assert result[key] == corrupted.get(key), f"{key} is {result[key]!r} and is not in the original"
            assert isinstance(result["note"], str) and isinstance(result["diverged"], bool)
            assert 0 <= result["test_accuracy"] <= 1 and 0 <= result["best_epoch"] <= result["epochs"] <= ASKED.epochs

        return Case(
            f"{name}, validation {validation}: {description}",
            lambda: resume.run_in_folder(place, _experiment(validation)),
            (checkpoints.CheckpointError, DataFileError, OSError),
            check,
            folder=folder,
        )

    return case


def _values_of(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["result"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


RUN_FILES = ("config.json", "last.ckpt", "best.ckpt", "history.csv", "log.jsonl", "network.npz")
WAYS: dict[str, Sequence[mutations.Bytes]] = {
    "config.json": files.JSON,
    resume.RESULT: files.JSON,
    "history.csv": files.TABLE,
    "last.ckpt": (*mutations.ANY, *(files.made_up,) * 8),
    "best.ckpt": (*mutations.ANY, *(files.made_up,) * 8),
}


def ledger(path: Path) -> Any:
    return csv_files.read_table(path, sweep_results.columns(_sweep()))


ENTRANCES: dict[str, tuple[MakeCase, float]] = {
    "recipe": (files.of_file(recipe, TOML, recipes.read, READING, check_recipe, files.OF_TEXT, "recipe.toml"), 8),
    "sweep": (files.of_file(sweep, TOML, sweeps.read, READING, check_sweep, 4 * files.OF_TEXT, "sweep.toml"), 8),
    "changes of a recipe": (changed, 6),
    "recipe, built": (built, 6),
    "sweep.csv": (sweep_case("sweep.csv", files.TABLE), 6),
    "config.json of a sweep": (sweep_case("config.json", files.JSON), 3),
    "result.json": (run_in_case((resume.RESULT,), WAYS), 4),
    "run_in_folder": (run_in_case(RUN_FILES, WAYS), 4),
}
