"""What the peers of the long tables share: settings from minifa's recipes, training in PyTorch that resumes after every
epoch, the comparison of the first updates with minifa's, and the command line.

Layers, losses, optimizers and all random draws are PyTorch's. A draw depends on seed and epoch only, so that a resumed
run goes on as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import minifa as mf
from minifa.data.base import Dataset, Examples
from minifa.data.batches import Batches
from minifa.experiments import Experiment, recipes
from minifa.experiments.experiment import augmentation_of, build, parts
from minifa.experiments.tables import mean_sd
from minifa.registry import unknown
from minifa.storage import csv_files, npz
from minifa.storage.atomic import write_atomic
from minifa.text import table

COLUMNS = (
    *("row", "data", "rule", "lr", "weight_decay", "seed", "epoch"),
    *("train_loss", "validation_accuracy", "test_accuracy", "seconds"),
)
UPDATES, TOLERANCE = 3, 1e-5
Augment = Callable[[torch.Tensor], torch.Tensor]


class Row(NamedTuple):
    """A row of a table: the settings of minifa's row with a seed, and the network in PyTorch, drawn when called.

    ``matrices`` maps minifa's B of a layer, in PyTorch's layout, to the layer's ``weight_backward``; None: the layers
    have none. ``augment`` makes training batches; None: the images themselves.
    """

    name: str
    experiment: Experiment
    network: Callable[[], nn.Module]
    matrices: Callable[[torch.Tensor], torch.Tensor] | None = None
    augment: Augment | None = None


def images(x: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) as PyTorch has them, (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def optimizer_for(experiment: Experiment, model: nn.Module) -> torch.optim.Optimizer:
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[experiment.optimizer]
    trained = [one for one in model.parameters() if one.requires_grad]
    return make(trained, experiment.rate(), weight_decay=experiment.decay(), **experiment.optimizer_options)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    experiment: Experiment,
    epoch: int,
    augment: Augment | None = None,
) -> float:
    """Train for one epoch, counted from 1, and return the mean loss of its examples."""
    torch.manual_seed(1_000_000 * (experiment.seed + 1) + epoch)
    schedule, x, y = mf.schedules.make(experiment.schedule), images(train.x), torch.from_numpy(train.y)
    batches, total = torch.randperm(len(x)).split(experiment.batch_size), 0.0
    model.train()
    for i, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = experiment.rate() * schedule(epoch - 1 + i / len(batches))
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(augment(x[rows]) if augment else x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        total += len(rows) * loss.item()
    return total / len(x)


def correct(model: nn.Module, examples: Examples, experiment: Experiment) -> np.ndarray:
    """Whether the answer to each example is correct, (N,) bool."""
    augmentation = augmentation_of(experiment)
    x = examples.x if augmentation is None else augmentation.centre_crop(examples.x)
    model.eval()
    with torch.no_grad():
        answers = [model(part).argmax(dim=1) for part in images(x).split(500)]
    return torch.cat(answers).numpy() == examples.y


def new_model(row: Row, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return row.network()


# The first updates beside minifa's


def difference_of_updates(row: Row, data: Dataset) -> float:
    """The largest difference between the parameters here and in minifa during the first updates, in float64 with
    minifa's initial weights, feedback, and augmented batches; in units of the largest change of the same array."""
    with mf.using("numpy", "float64"):
        net, rule, loss, optimizer = build(row.experiment, data)
        model = new_model(row, 0).double()
        modules = _adopt(model, net, rule, row.matrices)
        peers, start = optimizer_for(row.experiment, model), mf.weights.to_torch(net, modules)
        train, _ = parts(row.experiment, data)
        seed, augmentation = row.experiment.seed, augmentation_of(row.experiment)
        batches, worst = Batches(train, row.experiment.batch_size, seed, 1, "", augmentation, np.float64), 0.0
        for i in range(UPDATES):
            x, y = batches.make(i)
            rule.gradients(net, x, y, loss)
            optimizer.step(net, rule)
            peers.zero_grad()
            functional.cross_entropy(model(images(x)), torch.from_numpy(y)).backward()
            peers.step()
            theirs = model.state_dict()
            for name, array in mf.weights.to_torch(net, modules).items():
                change = abs(array - start[name]).max()
                worst = np.maximum(worst, abs(theirs[name].numpy() - array).max() / change)  # NaN remains
    return float(worst)


def _adopt(
    model: nn.Module, net: mf.Network, rule: mf.rules.Rule, matrices: Callable[[torch.Tensor], torch.Tensor] | None
) -> dict[str, str]:
    """Give the model minifa's weights and feedback; the layers by the names of its modules."""
    with_parameters = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    named = [name for name, module in model.named_modules() if isinstance(module, with_parameters)]
    modules = dict(zip(named, (layer.name for layer in net if layer.parameter_names), strict=True))
    state = {name: torch.from_numpy(array) for name, array in mf.weights.to_torch(net, modules).items()}
    for module, layer in modules.items() if matrices else ():
        if layer in rule.B:
            B = rule.B[layer]
            theirs = torch.tensor(B.transpose(3, 2, 0, 1) if B.ndim == 4 else B.T)
            state[f"{module}.weight_backward"] = matrices(theirs)
    unknown = model.load_state_dict(state, strict=False)
    missing = [
        one for one in unknown.missing_keys if "_backward" not in one and not one.endswith("num_batches_tracked")
    ]
    if unknown.unexpected_keys or missing:
        raise ValueError(f"the model and minifa's network differ: {unknown}")
    return modules


def check_updates(rows: Sequence[Row], data: Dataset) -> list[str]:
    """A sentence for each row. Raises SystemExit if the updates differ from minifa's."""
    sentences = []
    for row in rows:
        difference = difference_of_updates(row, data)
        sentences.append(f"{row.name}: first {UPDATES} updates equal to minifa's up to {difference:.0e} of their size")
        print(sentences[-1], flush=True)
        if not difference < TOLERANCE:
            raise SystemExit(f"the updates of the row {row.name} must differ by less than {TOLERANCE:g}")
    return sentences


# Runs that resume


def make_runs(rows: Sequence[Row], seeds: Sequence[int], data: Dataset, out: Path) -> None:
    """Train every row from every seed; ``epochs.csv`` gets a line for each epoch. A run that was ended resumes after
    its last finished epoch."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for row in rows:
            _run(row._replace(experiment=replace(row.experiment, seed=seed)), data, out)


def _run(row: Row, data: Dataset, out: Path) -> None:
    experiment, path = row.experiment, out / "epochs.csv"
    settings = [row.name, data.name, experiment.rule, f"{experiment.rate():g}", f"{experiment.decay():g}"]
    settings.append(str(experiment.seed))
    model = new_model(row, experiment.seed)
    optimizer = optimizer_for(experiment, model)
    state = out / f"{row.name}-seed{experiment.seed}.npz"
    done = _load(model, optimizer, state) if state.exists() else 0
    _keep_lines_to(done, path, settings)
    train, held_out = parts(experiment, data)
    for epoch in range(done + 1, experiment.epochs + 1):
        started = time.perf_counter()
        loss = train_epoch(model, optimizer, train, experiment, epoch, row.augment)
        validation = "" if held_out is None else f"{correct(model, held_out, experiment).mean():.4f}"
        test = f"{correct(model, data.test, experiment).mean():.4f}"
        seconds = f"{time.perf_counter() - started:.1f}"
        line = [*settings, str(epoch), f"{loss:.5f}", validation, test, seconds]
        csv_files.append(path, line)
        _save(model, optimizer, state, epoch)
        print(" ".join(line), flush=True)


def _keep_lines_to(epoch: int, path: Path, settings: Sequence[str]) -> None:
    """The state is written after the line: a run that was ended between the two makes this epoch again. Raises
    SystemExit if the row has runs with other settings, from whatever seed: a row of the table has one setting."""
    lines = csv_files.open_table(path, COLUMNS)
    *shared, seed = settings
    of_row = [line for line in lines if line["row"] == settings[0]]
    other = next((line for line in of_row if list(line.values())[: len(shared)] != shared), None)
    if other is not None:
        raise SystemExit(f"'{path}' has a run of {settings[0]} with other settings ({other}): choose another --out")
    dropped = [line for line in of_row if line["seed"] == seed and int(line["epoch"]) > epoch]
    if dropped:
        csv_files.write(path, COLUMNS, [line for line in lines if line not in dropped])


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, epoch: int) -> None:
    arrays = {f"model/{name}": one.numpy() for name, one in model.state_dict().items()}
    for i, of_parameter in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{i}/{key}": np.asarray(one) for key, one in of_parameter.items() if one is not None}
    npz.write_arrays(path, {**arrays, "epoch": np.array(epoch)})


def _load(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    arrays = npz.read_arrays(path)
    epoch, state = int(arrays.pop("epoch")), optimizer.state_dict()
    model.load_state_dict(
        {name.removeprefix("model/"): torch.tensor(one) for name, one in arrays.items() if name.startswith("model/")}
    )
    for name, array in arrays.items():
        if name.startswith("optimizer/"):
            _, i, key = name.split("/")
            state["state"].setdefault(int(i), {})[key] = torch.tensor(array)
    optimizer.load_state_dict(state)
    return epoch


# Tables


def write_table(title: str, rows: Sequence[Row], out: Path, notes: Sequence[str], errors: bool = False) -> None:
    """Write ``table.txt`` from the lines of all finished runs: the test accuracy or error, in per cent, at the epoch
    that is best on held-out examples; without held-out examples, at the last one."""
    lines = csv_files.read_table(out / "epochs.csv", COLUMNS)
    cells = [["row", "rule", "rate", "seeds", "here", "seconds per epoch"]]
    for row in rows:
        runs = _finished(lines, row)
        scores = [100 * (1 - _score(run) if errors else _score(run)) for run in runs.values()]
        seconds = np.median([float(line["seconds"]) for run in runs.values() for line in run]) if runs else math.nan
        seeds = " ".join(runs) or "-"
        rate = f"{row.experiment.rate():g}"
        cells.append(
            [row.name, row.experiment.rule, rate, seeds, mean_sd(scores, 2) if scores else "", f"{seconds:.1f}"]
        )
    version = f"PyTorch {torch.__version__.partition('+')[0]}"
    text = "\n".join([title, version, "", table(cells, right_from=2), "", *notes])
    write_atomic(out / "table.txt", f"{text}\n")
    print(f"\n{text}")


def _finished(lines: Sequence[Mapping[str, str]], row: Row) -> dict[str, list[Mapping[str, str]]]:
    """By seed: the first epochs of a row's runs, as many as the row has."""
    runs: dict[str, list[Mapping[str, str]]] = {}
    for line in lines:
        if line["row"] == row.name and int(line["epoch"]) <= row.experiment.epochs:
            runs.setdefault(line["seed"], []).append(line)
    return {seed: run for seed, run in runs.items() if len(run) == row.experiment.epochs}


def _score(run: Sequence[Mapping[str, str]]) -> float:
    best = max(run, key=lambda line: float(line["validation_accuracy"])) if run[0]["validation_accuracy"] else run[-1]
    return float(best["test_accuracy"])


# The command line


def command(
    description: str,
    names: Sequence[str],
    rows_of: Callable[[recipes.Recipe, Sequence[str]], list[Row]],
    rules: Sequence[str],
    default: str,
    incomparable: Sequence[str] = (),
) -> None:
    """Compare updates, make the runs and write the table of a recipe.

    Args:
        description: text of --help.
        names: of the recipes; the first is the default.
        rows_of: the rows of a recipe with these names.
        rules: names of the rows that there are.
        default: those that are made without --rules, separated by commas.
        incomparable: rows whose updates are not compared with minifa's.
    """

    def listed(text: str) -> list[str]:
        for rule in text.split(","):
            if rule not in rules:
                raise argparse.ArgumentTypeError(unknown(rules, rule, "rule"))
        return text.split(",")

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=names[0], choices=names)
    parser.add_argument("--rules", type=listed, default=default, help=f"of {', '.join(rules)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe's setting")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data-dir", help="where the data set is looked for (default: $MINIFA_DATA, else the cache)")
    parser.add_argument("--out", type=Path, help="default: runs/peer-RECIPE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    mf.use("numpy", threads=1)
    out = given.out or Path(f"runs/peer-{given.recipe}")
    recipe = recipes.read(given.recipe, [*given.set, "training.alignment=false"])
    rows = rows_of(recipe, given.rules)
    one = rows[0].experiment
    data = mf.data.load(one.data, given.data_dir)
    notes = check_updates([row for row in rows if row.name not in incomparable], data)
    if given.seeds:
        make_runs(rows, range(given.seed, given.seed + given.seeds), data, out)
        settings = ", ".join(filter(None, (data.name, f"model {one.model}", one.augmentation)))
        title = f"{settings}, {one.epochs} epochs, batch {one.batch_size}, {one.optimizer}: test {recipe.measure} in %"
        best = "at the epoch that was best on held-out images" if one.validation else "at the last epoch"
        notes = [f"here: {best}, mean ± sd over seeds", *notes, *([data.note] if data.note else [])]
        write_table(title, rows, out, notes, errors=recipe.measure == "error")
