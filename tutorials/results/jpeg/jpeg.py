"""What does a JPEG copy of CIFAR-10 cost? Networks trained on lossless images and on the same images of the copy.

    python tutorials/results/jpeg/jpeg.py --lossless cifar10_lossless_5000.npz --out tutorials/results/jpeg

The images are the first 4,000 training and 1,000 test images of CIFAR-10, which the copy must have in the same order.
bp and usf train as in `minifa reproduce cifar10_moskovitz` (its network, crops, optimizer, weight decay and batches) on
either kind of images, and every network is tested on both. PyTorch's side, bp only, is tutorials/results/peer/cifar.py;
it has minifa's rate and needs ``pip install torch==2.13.0``. Without it its rows are missing.

    --lossless  the publisher's images: the folder of CIFAR-10's binary version (https://www.cs.toronto.edu/~kriz/), or
                a .npz file of the first of them: x_train (4000, 32, 32, 3) and x_test (1000, 32, 32, 3), uint8, with
                y_train and y_test
    --copy      the folder of the copy's binary version (default: cifar10 in $MINIFA_DATA, else in minifa's cache)

Rates: the best of --rates on 500 held-out images of the 4,000, seeds 100 and 101, both kinds of images together
(rates.csv). runs.csv has a line for each run, with the accuracies and, for each test image, whether the answer is
correct (hexadecimal digits, the first image in the highest bit). The same command resumes. table.txt has the means and
differences.csv the differences, paired by seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minifa as mf
from minifa.data.base import Dataset, Examples
from minifa.data.cifar import CIFAR10, CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD, CITATION
from minifa.data.downloads.checksums import note_of_copy
from minifa.data.downloads.sources import locate
from minifa.data.idx import unpacked
from minifa.data.scaling import normalisation
from minifa.environment import __version__
from minifa.experiments import Experiment, differences, recipes, run
from minifa.experiments.experiment import augmentation_of
from minifa.experiments.tables import mean_sd
from minifa.losses import classes_of
from minifa.storage import csv_files, npz
from minifa.storage.atomic import write_atomic
from minifa.text import table

HERE = Path(__file__).parent
KINDS = ("lossless", "copy")
COUNTS = {"train": 4000, "test": 1000}
ROWS = {"bp": "bp", "usf": "usf-strict"}  # of the recipe
RATES, RATE_SEEDS, HELD_OUT = (3e-4, 1e-3, 3e-3), (100, 101), 0.125
QUICK = {"train": 256, "test": 100}
KEYS = ("engine", "rule", "images", "lr", "weight_decay", "epochs", "seed")
COLUMNS = (*KEYS, *KINDS, *(f"correct_{kind}" for kind in KINDS), "seconds")
RATE_COLUMNS = ("rule", "images", "lr", "epochs", "seed", "accuracy", "seconds")
Arrays = dict[str, np.ndarray]
Line = dict[str, str]
Correct = dict[str, np.ndarray]  # by the kind of test images: (N,) bool


# Images


def pixels_of_folder(folder: str | Path | None, counts: dict[str, int]) -> Arrays:
    """The first images of the binary version, under the names of the .npz file."""
    paths, arrays = locate(CIFAR10, folder), {}
    for part, name in (("train", "data_batch_1.bin"), ("test", "test_batch.bin")):
        with unpacked(paths[name]) as (stream, _):
            content = stream.read(counts[part] * 3073)
        if len(content) < counts[part] * 3073:
            raise SystemExit(f"'{paths[name]}' must have at least {counts[part]:,} records of 3,073 bytes")
        records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        arrays[f"y_{part}"] = records[:, 0]
        arrays[f"x_{part}"] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return arrays


def lossless_pixels(place: Path, counts: dict[str, int]) -> Arrays:
    """The first images of the publisher."""
    if place.is_dir():
        if note_of_copy("CIFAR-10", CIFAR10, locate(CIFAR10, place)):
            raise SystemExit(f"'{place}' has not the publisher's files, byte for byte: it is a copy itself")
        return pixels_of_folder(place, counts)
    if not place.is_file():
        raise SystemExit(f"--lossless must be a folder or .npz file of the publisher's images, there is no '{place}'")
    arrays = npz.read_arrays(place)
    for part, count in counts.items():
        x, y = (arrays.get(f"{name}_{part}", np.empty(0)) for name in "xy")
        if x.dtype != np.uint8 or x.shape[1:] != (32, 32, 3) or len(x) < count or len(y) < count:
            raise SystemExit(
                f"'{place}' must have x_{part}, uint8, of shape ({count}, 32, 32, 3) or longer, and y_{part}, got "
                f"{x.dtype} of shape {x.shape} and labels of shape {y.shape}"
            )
        arrays |= {f"x_{part}": x[:count], f"y_{part}": y[:count]}
    return arrays


def check_same_images(lossless: Arrays, copy: Arrays) -> np.ndarray:
    """The PSNR of every image of the copy in dB, training images first. Raises SystemExit unless labels and order
    agree: every image of the copy must be nearer to its own original than to any other."""
    psnr = []
    for part in COUNTS:
        if not np.array_equal(lossless[f"y_{part}"], copy[f"y_{part}"]):
            raise SystemExit(f"the labels of the first {part} images of the copy must be those of the lossless images")
        own, other = (one[f"x_{part}"].reshape(len(one[f"x_{part}"]), -1) / np.float32(255) for one in (lossless, copy))
        distances = (own**2).sum(1) + (other**2).sum(1)[:, None] - 2 * other @ own.T
        wrong = int((distances.argmin(axis=1) != np.arange(len(own))).sum())
        if wrong:
            raise SystemExit(
                f"the copy must have the {part} images in the order of the lossless ones, but {wrong} of "
                f"{len(own):,} are nearer to another one"
            )
        error = ((own - other) ** 2).mean(axis=1)
        if not error.any():
            raise SystemExit(f"the {part} images of the copy are equal to the lossless ones, pixel by pixel: no copy")
        psnr.append(-10 * np.log10(np.maximum(error, 1e-12)))
    return np.concatenate(psnr)


def dataset_of(arrays: Arrays, kind: str) -> Dataset:
    scaling = normalisation(CIFAR10_MEAN, CIFAR10_STD)
    parts = (
        Examples(scaling(arrays[f"x_{part}"] / np.float32(255)), arrays[f"y_{part}"].astype(np.int64))
        for part in COUNTS
    )
    return Dataset(f"cifar10-{kind}", *parts, CIFAR10_CLASSES, citation=CITATION, pixel_scaling=scaling)


# Runs


def experiment_of(rule: str, epochs: int) -> Experiment:
    row = next(row for row in recipes.read("cifar10_moskovitz").rows if row.name == ROWS[rule])
    return replace(row.experiment, validation=0.0, alignment=False, epochs=epochs)


def in_minifa(experiment: Experiment, data: dict[str, Dataset], kind: str) -> Correct:
    _, trainer = run(experiment, data[kind])
    augmentation = augmentation_of(experiment)
    assert augmentation is not None
    x = {tested: augmentation.centre_crop(data[tested].test.x) for tested in KINDS}
    outputs = {tested: trainer.net.predict(x[tested], 250, trainer.rule) for tested in KINDS}
    return {tested: classes_of(outputs[tested]) == data[tested].test.y for tested in KINDS}


def in_pytorch(experiment: Experiment, data: dict[str, Dataset], kind: str) -> Correct:
    sys.path.append(str(HERE.parent / "peer"))
    import cifar
    import torch
    import torch_runs

    torch.set_num_threads(1)
    (row,) = cifar.rows_of(recipes.read("cifar10_moskovitz"))
    model = torch_runs.new_model(row, experiment.seed)
    optimizer = torch_runs.optimizer_for(experiment, model)
    for epoch in range(1, experiment.epochs + 1):
        torch_runs.train_epoch(model, optimizer, data[kind].train, experiment, epoch, row.augment)
    return {tested: torch_runs.correct(model, data[tested].test, experiment) for tested in KINDS}


ENGINES: dict[str, tuple[Callable[..., Correct], tuple[str, ...]]] = {
    "minifa": (in_minifa, tuple(ROWS)),
    "PyTorch": (in_pytorch, ("bp",)),
}


def searched_rates(
    path: Path, data: dict[str, Dataset], rates: Sequence[float], epochs: int
) -> dict[str, dict[str, float]]:
    """By rule and rate: the mean accuracy on held-out images, over seeds and both kinds of images."""
    keys = RATE_COLUMNS[:-2]
    done = {tuple(line[key] for key in keys): line for line in csv_files.open_table(path, RATE_COLUMNS)}
    accuracies: dict[str, dict[str, list[float]]] = {rule: {f"{rate:g}": [] for rate in rates} for rule in ROWS}
    for rule, rate, seed, kind in itertools.product(ROWS, rates, RATE_SEEDS, KINDS):
        key = rule, kind, f"{rate:g}", str(epochs), str(seed)
        if key not in done:
            started = time.perf_counter()
            experiment = replace(experiment_of(rule, epochs), lr=rate, seed=seed, validation=HELD_OUT)
            result, _ = run(experiment, data[kind])
            line = [*key, f"{result.score:.4f}", f"{time.perf_counter() - started:.1f}"]
            csv_files.append(path, line)
            done[key] = dict(zip(RATE_COLUMNS, line, strict=True))
            print(*line, flush=True)
        accuracies[rule][f"{rate:g}"].append(float(done[key]["accuracy"]))
    return {
        rule: {rate: float(np.mean(some)) for rate, some in by_rate.items()} for rule, by_rate in accuracies.items()
    }


def make_runs(path: Path, data: dict[str, Dataset], rates: dict[str, str], epochs: int, seeds: int) -> list[Line]:
    """Make the runs that the table lacks, seed by seed; the lines of all runs with these settings."""
    done = {tuple(line[key] for key in KEYS): line for line in csv_files.open_table(path, COLUMNS)}
    wanted = []
    for seed in range(seeds):
        for engine, (make, rules) in ENGINES.items():
            if engine == "PyTorch" and importlib.util.find_spec("torch") is None:
                continue
            for rule in rules:
                experiment = replace(experiment_of(rule, epochs), lr=float(rates[rule]), seed=seed)
                for kind in KINDS:
                    key = engine, rule, kind, rates[rule], f"{experiment.decay():g}", str(epochs), str(seed)
                    if key not in done:
                        started = time.perf_counter()
                        correct = make(experiment, data, kind)
                        seconds = f"{time.perf_counter() - started:.1f}"
                        accuracies = [f"{correct[tested].mean():.4f}" for tested in KINDS]
                        line = [*key, *accuracies, *(as_digits(correct[tested]) for tested in KINDS), seconds]
                        csv_files.append(path, line)
                        done[key] = dict(zip(COLUMNS, line, strict=True))
                        print(*key, *accuracies, seconds, flush=True)
                    wanted.append(done[key])
    return wanted


def as_digits(flags: np.ndarray) -> str:
    return np.packbits(flags).tobytes().hex()


def as_flags(digits: str, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=count).astype(bool)


# Differences


class Cell(NamedTuple):
    """Runs by seed that were trained on one kind of images and tested on one."""

    engine: str
    rule: str
    trained: str
    tested: str


class Comparison(NamedTuple):
    """The sum of the accuracies of some cells minus that of as many others."""

    name: str
    plus: tuple[Cell, ...]
    minus: tuple[Cell, ...]


def comparisons(cells: Sequence[Cell]) -> list[Comparison]:
    found = []
    for engine, rule in dict.fromkeys((cell.engine, cell.rule) for cell in cells):
        label, plain = f"{rule}, {engine}", Cell(engine, rule, "lossless", "lossless")
        for name, trained, tested in (
            ("trained and tested on the copy", "copy", "copy"),
            ("trained on the copy", "copy", "lossless"),
            ("tested on the copy", "lossless", "copy"),
        ):
            found.append(Comparison(f"{label}: {name}", (Cell(engine, rule, trained, tested),), (plain,)))
    usf, bp = ({kind: Cell("minifa", rule, kind, kind) for kind in KINDS} for rule in ("usf", "bp"))
    found += [Comparison(f"usf - bp, {kind} images", (usf[kind],), (bp[kind],)) for kind in KINDS]
    both = (usf["copy"], bp["lossless"]), (bp["copy"], usf["lossless"])
    found.append(Comparison("usf - bp, on the copy minus on lossless images", *both))
    found += [
        Comparison(f"bp: PyTorch - minifa, {kind} images", (Cell("PyTorch", "bp", kind, kind),), (bp[kind],))
        for kind in KINDS
    ]
    return [one for one in found if {*one.plus, *one.minus} <= set(cells)]


def cells_of(lines: Sequence[Line], count: int) -> dict[Cell, dict[int, np.ndarray]]:
    """For each cell and seed: whether each of the ``count`` test images is classified correctly."""
    cells: dict[Cell, dict[int, np.ndarray]] = {}
    for line in lines:
        for tested in KINDS:
            cell = Cell(line["engine"], line["rule"], line["images"], tested)
            cells.setdefault(cell, {})[int(line["seed"])] = as_flags(line[f"correct_{tested}"], count)
    return cells


def difference(one: Comparison, cells: dict[Cell, dict[int, np.ndarray]]) -> tuple[differences.Difference, float]:
    """(the difference in points, its standard error from the test images in points). Seeds are paired, except those of
    different engines, which have no draws in common."""
    seeds = sorted(set.intersection(*(set(cells[cell]) for cell in (*one.plus, *one.minus))))
    sums = [{seed: sum(100 * cells[cell][seed].mean() for cell in side) for seed in seeds} for side in one[1:]]
    flags = [np.array([cells[cell][seed] for cell in side for seed in seeds]) for side in one[1:]]
    engines = {cell.engine for cell in (*one.plus, *one.minus)}
    if len(engines) == 1:
        found = differences.paired(*sums)
    else:
        found = differences.unpaired(*(list(side.values()) for side in sums))
    return found, 100 * len(one.plus) * differences.image_error(*flags)


def write_tables(lines: Sequence[Line], count: int, out: Path, title: str, notes: Sequence[str]) -> str:
    """Write table.txt and differences.csv; the text of the table."""
    cells = cells_of(lines, count)
    rates = {(line["engine"], line["rule"]): line["lr"] for line in lines}
    means = [["rule", "engine", "rate", "trained on", "seeds", *(f"tested on {kind}" for kind in KINDS)]]
    for engine, rule in rates:
        for kind in KINDS:
            runs = [cells[Cell(engine, rule, kind, tested)] for tested in KINDS]
            scores = [mean_sd([100 * flags.mean() for flags in one.values()], 2) for one in runs]
            means.append([rule, engine, rates[engine, rule], kind, str(len(runs[0])), *scores])
    rows: list[dict[str, Any]] = []
    for one in comparisons(list(cells)):
        found, of_images = difference(one, cells)
        rows.append({"difference": one.name, **vars(found), "image_error": of_images})
    columns = ["difference", "mean", "n", "sd", "standard_error", "df", "low", "high", "paired", "image_error"]
    csv_files.write(
        out / "differences.csv", columns, [{k: "" if v is None else v for k, v in row.items()} for row in rows]
    )
    shown = [["difference in points", "mean", "s.e. seeds", "s.e. images", "95 % interval", "df"]]
    for row in rows:
        has_interval = row["df"] is not None
        interval = f"{row['low']:+.1f} to {row['high']:+.1f}" if has_interval else "-"
        by_seeds, df = (f"{row['standard_error']:.2f}", f"{row['df']:.3g}") if has_interval else ("-", "-")
        shown.append([row["difference"], f"{row['mean']:+.2f}", by_seeds, f"{row['image_error']:.2f}", interval, df])
    blocks = [title, table(means, right_from=4, width=120), table(shown, right_from=1, width=120), "\n".join(notes)]
    text = "\n\n".join(blocks)
    write_atomic(out / "table.txt", f"{text}\n")
    return text


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lossless", type=Path, required=True, help="the publisher's images: a folder or .npz file")
    parser.add_argument("--copy", help="folder of the copy (default: as for every data set of minifa)")
    parser.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES), help="comma-separated")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/jpeg"))
    parser.add_argument("--quick", action="store_true", help="256 images, one rate, one epoch and one seed: a trial")
    return parser.parse_args()


def main() -> None:
    given = options()
    mf.use("numpy", threads=1)
    counts, rates = COUNTS, [float(rate) for rate in given.rates.split(",")]
    if given.quick:
        counts, rates, given.epochs, given.seeds, given.out = QUICK, rates[:1], 1, 1, given.out / "quick"
    arrays = {"lossless": lossless_pixels(given.lossless, counts), "copy": pixels_of_folder(given.copy, counts)}
    psnr = check_same_images(arrays["lossless"], arrays["copy"])
    data = {kind: dataset_of(arrays[kind], kind) for kind in KINDS}
    given.out.mkdir(parents=True, exist_ok=True)
    grid = searched_rates(given.out / "rates.csv", data, rates, given.epochs)
    chosen = {rule: max(by_rate, key=by_rate.__getitem__) for rule, by_rate in grid.items()}
    experiment = experiment_of("bp", given.epochs)
    epochs = f"{given.epochs} epoch{'s' * (given.epochs > 1)}"
    title = (
        f"CIFAR-10's first {counts['train']:,} training and {counts['test']:,} test images: test accuracy in %, mean ± "
        f"sd over seeds\nmodel {experiment.model}, {experiment.augmentation}, {epochs}, batch "
        f"{experiment.batch_size}, {experiment.optimizer}; minifa {__version__}"
    )
    notes = [
        f"PSNR of the copy's images: mean {psnr.mean():.1f} dB, from {psnr.min():.1f} to {psnr.max():.1f}; labels and "
        "order agree",
        *(
            f"{rule}: accuracy on held-out images in %: "
            + ", ".join(f"{100 * accuracy:.1f} at {rate}" for rate, accuracy in by_rate.items())
            for rule, by_rate in grid.items()
        ),
        "differences within a rule: from its networks that are trained and tested on lossless images; paired by seed, "
        "between engines not (Welch)",
        "s.e. seeds and 95 % interval: other weights, orders and crops; s.e. images: other test images; tested on the "
        "copy: one network with both kinds",
        *(f"weight decay of {rule}: {experiment_of(rule, given.epochs).decay():g}" for rule in ROWS),
    ]
    text = ""
    for seeds in range(1, given.seeds + 1):  # the tables are there after every seed
        lines = make_runs(given.out / "runs.csv", data, chosen, given.epochs, seeds)
        text = write_tables(lines, counts["test"], given.out, title, notes)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
