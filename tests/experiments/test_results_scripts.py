"""Scripts of tutorials/results: what the JPEG copy of CIFAR-10 costs, the peers of the long tables in PyTorch, and the
collection of runs."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa.data.cifar import CIFAR10
from minifa.experiments import Experiment, recipes, resume
from minifa.storage import csv_files

RESULTS = Path(__file__).parents[2] / "tutorials" / "results"
WHY = "the comparison with PyTorch needs the package torch"
COUNTS = {"train": 40, "test": 16}


def images(part: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(len(part))
    coarse = rng.integers(20, 236, (count, 8, 8, 3))
    return coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


def arrays() -> dict[str, np.ndarray]:
    found = {}
    for part, count in COUNTS.items():
        found |= {f"x_{part}": images(part, count), f"y_{part}": (np.arange(count) % 10).astype(np.uint8)}
    return found


def noisy(lossless: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a copy with losses has: pixels that are off by up to 8."""
    copy = dict(lossless)
    for part in COUNTS:
        x = lossless[f"x_{part}"]
        copy[f"x_{part}"] = (x + np.random.default_rng(0).integers(-8, 9, x.shape)).astype(np.uint8)
    return copy


def write_binary(folder: Path, given: dict[str, np.ndarray]) -> None:
    for name in CIFAR10.files:
        part = "test" if name.startswith("test") else "train"
        x, y = given[f"x_{part}"], given[f"y_{part}"]
        records = np.concatenate([y[:, None], x.transpose(0, 3, 1, 2).reshape(len(x), -1)], axis=1)
        (folder / name).write_bytes(records.astype(np.uint8).tobytes())


@pytest.fixture
def script(monkeypatch):
    """Import a script of a folder of results; what it adds to the path is removed."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def load(folder: str, name: str):
        sys.path.insert(0, str(RESULTS / folder))
        spec = importlib.util.spec_from_file_location(name, RESULTS / folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def jpeg(script, monkeypatch, tmp_path):
    module = script("jpeg", "jpeg")
    for name in ("COUNTS", "QUICK"):
        monkeypatch.setattr(module, name, COUNTS)
    write_binary(tmp_path, noisy(arrays()))
    np.savez(tmp_path / "lossless.npz", **arrays())
    return module


def test_the_two_kinds_of_images_must_be_the_same_images(jpeg):
    lossless, copy = arrays(), noisy(arrays())
    psnr = jpeg.check_same_images(lossless, copy)
    error = (lossless["x_train"][3].astype(float) - copy["x_train"][3]) ** 2
    assert psnr.shape == (56,) and psnr[3] == pytest.approx(10 * np.log10(255**2 / error.mean()), abs=1e-3)
    swapped = copy["x_test"][[1, 0, *range(2, 16)]]
    with pytest.raises(SystemExit, match="test images in the order of the lossless ones, but 2 of 16"):
        jpeg.check_same_images(lossless, {**copy, "x_test": swapped})
    with pytest.raises(SystemExit, match="labels of the first train images"):
        jpeg.check_same_images(lossless, {**copy, "y_train": copy["y_train"][::-1]})
    with pytest.raises(SystemExit, match="no copy"):
        jpeg.check_same_images(lossless, lossless)


def test_lossless_images_from_a_file_or_the_publishers_folder(jpeg, monkeypatch, tmp_path):
    np.testing.assert_array_equal(
        jpeg.lossless_pixels(tmp_path / "lossless.npz", COUNTS)["x_train"], arrays()["x_train"]
    )
    with pytest.raises(SystemExit, match=r"must have x_train, uint8, of shape \(41, 32, 32, 3\)"):
        jpeg.lossless_pixels(tmp_path / "lossless.npz", {"train": 41, "test": 16})
    with pytest.raises(SystemExit, match="there is no 'nowhere.npz'"):
        jpeg.lossless_pixels(Path("nowhere.npz"), COUNTS)
    with pytest.raises(SystemExit, match="it is a copy itself"):
        jpeg.lossless_pixels(tmp_path, COUNTS)
    monkeypatch.setattr(jpeg, "note_of_copy", lambda *arguments: "")
    np.testing.assert_array_equal(jpeg.lossless_pixels(tmp_path, COUNTS)["x_test"], noisy(arrays())["x_test"])


def test_a_trial_of_the_copy_resumes(jpeg, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(jpeg, "ENGINES", {"minifa": (jpeg.in_minifa, ("bp", "usf"))})
    arguments = ["jpeg.py", "--lossless", str(tmp_path / "lossless.npz"), "--copy", str(tmp_path), "--quick"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path)])
    jpeg.main()
    out = tmp_path / "quick"
    runs, grid = ((out / name).read_text() for name in ("runs.csv", "rates.csv"))
    assert len(runs.splitlines()) == 5 and len(grid.splitlines()) == 9
    text = (out / "table.txt").read_text()
    assert "usf - bp, on the copy minus on lossless images" in text
    assert "weight decay of bp: 0.0001\nweight decay of usf: 0\n" in text
    capsys.readouterr()
    (out / "runs.csv").write_text("".join(runs.splitlines(keepends=True)[:-1]))
    jpeg.main()
    assert capsys.readouterr().out.count("minifa usf copy") == 1
    assert (out / "rates.csv").read_text() == grid
    again = csv_files.read_table(out / "runs.csv", jpeg.COLUMNS)
    assert [{**line, "seconds": ""} for line in again] == [
        {**dict(zip(jpeg.COLUMNS, line.split(","), strict=True)), "seconds": ""} for line in runs.splitlines()[1:]
    ]


def test_differences_of_sums_by_hand(jpeg):
    """With as many cells on both sides: usf - bp on the copy, minus the same on lossless images."""
    flags = {  # (engine, rule, trained, tested): by seed; 4 images
        jpeg.Cell("minifa", "usf", "copy", "copy"): {0: [1, 1, 1, 0], 1: [1, 1, 0, 0]},
        jpeg.Cell("minifa", "bp", "lossless", "lossless"): {0: [1, 0, 0, 0], 1: [1, 0, 0, 0]},
        jpeg.Cell("minifa", "bp", "copy", "copy"): {0: [1, 1, 1, 1], 1: [1, 1, 1, 0]},
        jpeg.Cell("minifa", "usf", "lossless", "lossless"): {0: [1, 1, 0, 0], 1: [0, 0, 0, 0]},
    }
    cells = {cell: {seed: np.array(one, bool) for seed, one in by_seed.items()} for cell, by_seed in flags.items()}
    (both,) = (one for one in jpeg.comparisons(list(cells)) if len(one.plus) == 2)
    found, of_images = jpeg.difference(both, cells)
    assert found.mean == pytest.approx((-25 - 25) / 2 - (25 - 25) / 2) and found.paired  # points
    by_image = np.array([1, 1, 0.5, 0]) - [1, 1, 1, 0.5] - ([0.5, 0.5, 0, 0] - np.array([1, 0, 0, 0]))
    assert of_images == pytest.approx(100 * by_image.std(ddof=1) / 2)
    one_digit = jpeg.as_digits(np.array([True, False, True]))
    assert one_digit == "a0" and jpeg.as_flags(one_digit, 3).tolist() == [True, False, True]


# Peers in PyTorch


@pytest.fixture
def torch_runs(script):
    torch = pytest.importorskip("torch", reason=WHY)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield script("peer", "torch_runs")
    torch.set_num_threads(before)


def of_cifar(script, recipe="cifar10_moskovitz"):
    (row,) = script("peer", "cifar").rows_of(recipes.read(recipe, ["training.alignment=false"]))
    return row


def with_small_batches(row):
    return row._replace(experiment=replace(row.experiment, batch_size=16))


def photographs(height: int = 32, channels: int = 3, count: int = 80) -> mf.data.Dataset:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((count, height, height, channels)).astype("f4")
    return mf.data.from_arrays(x, np.arange(count) % 10, name="photographs")


@pytest.mark.parametrize("recipe", ["cifar10_moskovitz", "cifar10_resnet20"])
def test_the_first_updates_on_cifar10_are_minifas(torch_runs, script, monkeypatch, recipe):
    row, data = with_small_batches(of_cifar(script, recipe)), photographs()
    assert torch_runs.difference_of_updates(row, data) < 1e-8
    make = torch_runs.optimizer_for
    slower = replace(row.experiment, lr=0.9 * row.experiment.rate())
    monkeypatch.setattr(torch_runs, "optimizer_for", lambda experiment, model: make(slower, model))
    with pytest.raises(SystemExit, match="must differ by less than 1e-05"):
        torch_runs.check_updates([row], data)


@pytest.mark.parametrize("name", ["mnist_lenet", "mnist_lenet_20", "fashion_lenet_20"])
def test_the_first_updates_of_lenet_are_minifas(torch_runs, script, name):
    recipe = recipes.read(name)
    (row,) = script("peer", "lenet").rows_of(recipe, ["bp"])
    assert row.experiment == recipe.rows[0].experiment  # with its rate, schedule and data
    assert torch_runs.difference_of_updates(with_small_batches(row), photographs(28, 1)) < 1e-8


def test_the_first_updates_of_biotorchs_layers_are_minifas(torch_runs, script):
    pytest.importorskip("biotorch", reason="needs BioTorch (pip install --no-deps biotorch==0.0.16)")
    recipe, data = recipes.read("mnist_lenet_20"), photographs(28, 1)
    rows = script("peer", "lenet").rows_of(recipe, ["usf", "frsf", "fa"])
    usf, frsf, fa = map(with_small_batches, rows)
    for row in (usf, frsf, fa):
        assert torch_runs.difference_of_updates(row, data) < 1e-8
    assert torch_runs.difference_of_updates(fa._replace(matrices=lambda B: -B), data) > 1e-3


def test_an_interrupted_run_of_a_peer_goes_on_as_it_would_have(torch_runs, script, tmp_path, capsys):
    row, data = of_cifar(script), photographs()

    def run(epochs: int, folder: str, seeds: range = range(1)) -> list[dict[str, str]]:
        chosen = row._replace(experiment=replace(row.experiment, epochs=epochs, batch_size=32))
        torch_runs.make_runs([chosen], seeds, data, tmp_path / folder)
        torch_runs.write_table("a title", [chosen], tmp_path / folder, ["a note"])
        lines = csv_files.read_table(tmp_path / folder / "epochs.csv", torch_runs.COLUMNS)
        return [{**line, "seconds": ""} for line in lines]

    whole = run(3, "whole")
    assert [line["epoch"] for line in whole] == ["1", "2", "3"]
    run(2, "parts")
    lines = (tmp_path / "parts" / "epochs.csv").read_text()
    last = lines.splitlines()[-1].replace(",2,", ",3,")
    (tmp_path / "parts" / "epochs.csv").write_text(f"{lines}{last}\n")  # killed before the state was written
    assert run(3, "parts") == whole
    assert "bp   bp    0.001      0" in (tmp_path / "parts" / "table.txt").read_text()
    with pytest.raises(SystemExit, match="choose another --out"):
        torch_runs.make_runs(
            [row._replace(experiment=replace(row.experiment, lr=0.01))], range(1), data, tmp_path / "parts"
        )


def test_updates_that_are_not_numbers_are_not_equal(torch_runs, script, monkeypatch):
    """A comparison with NaN is false, also with max."""
    row, images = with_small_batches(of_cifar(script)), torch_runs.images
    monkeypatch.setattr(torch_runs, "images", lambda x: images(x) * float("nan"))
    with pytest.raises(SystemExit, match="must differ by less than 1e-05"):
        torch_runs.check_updates([row], photographs())


def test_a_peers_table_has_runs_of_one_setting_and_as_many_epochs_as_it_says(torch_runs, script, tmp_path, capsys):
    row, held = of_cifar(script), ("0.5", "0.6", "0.9")
    lines = [
        ["bp", "photographs", "bp", "0.001", "0.0001", "0", str(epoch), "1.0", held[epoch - 1], f"0.{epoch}", "1.0"]
        for epoch in (1, 2, 3)
    ]
    (tmp_path / "epochs.csv").write_text(csv_files.text_of([torch_runs.COLUMNS, *lines]))
    shorter = row._replace(experiment=replace(row.experiment, epochs=2))
    torch_runs.write_table("2 epochs", [shorter], tmp_path, [])
    assert "  20.00 " in (tmp_path / "table.txt").read_text()
    slower = row._replace(experiment=replace(row.experiment, lr=0.01, epochs=3))
    with pytest.raises(SystemExit, match="choose another --out"):  # also from another seed: the table has one rate
        torch_runs.make_runs([slower], range(7, 8), photographs(), tmp_path)


@pytest.mark.parametrize(("size", "padding"), [(24, 0), (32, 4)])
def test_crops_are_parts_of_the_padded_images_mirrored_or_not(script, size, padding):
    torch = pytest.importorskip("torch", reason=WHY)
    x = 1 + torch.arange(200 * 3 * 32 * 32.0).reshape(200, 3, 32, 32)
    torch.manual_seed(0)
    crops = script("peer", "cifar").cropped(x, size, padding)
    padded, corners, middle = torch.nn.functional.pad(x, (padding,) * 4), set(), size // 2
    for image, crop in zip(padded, crops, strict=True):
        mirrored = bool(crop[0, middle, middle - 1] > crop[0, middle, middle])
        crop = crop.flip(2) if mirrored else crop
        row, column = divmod(int(crop[0, middle, middle] - image[0, padding, padding]), 32)
        top, left = padding + row - middle, padding + column - middle
        assert torch.equal(crop, image[:, top : top + size, left : left + size])
        corners.add((mirrored, top, left))
    assert {top for _, top, _ in corners} == {left for *_, left in corners} == set(range(9))
    assert {mirrored for mirrored, *_ in corners} == {True, False}


def test_the_peer_of_the_copy_uses_the_papers_network(jpeg, torch_runs):
    given = {kind: jpeg.dataset_of(one, kind) for kind, one in (("lossless", arrays()), ("copy", noisy(arrays())))}
    correct = jpeg.in_pytorch(jpeg.experiment_of("bp", 1), given, "copy")
    assert {kind: (one.shape, one.dtype) for kind, one in correct.items()} == {
        kind: ((16,), np.dtype(bool)) for kind in ("lossless", "copy")
    }


def test_the_runs_of_a_recipe_are_collected_without_paths_of_the_machine(script, tmp_path, monkeypatch, capsys):
    """One line for each finished run of a row of the table, in the order of the table. A damaged result is left out."""
    runs, target = tmp_path / "runs", tmp_path / "kept"
    for name in ("fa-seed0", "bp-seed1", "bp-seed0", "fa-seed1", "old-seed0"):
        rule, _, seed = name.replace("old", "bp").rpartition("-seed")
        experiment = Experiment("xor", str(tmp_path), model="tiny", rule=rule, lr=0.1, epochs=1, seed=int(seed))
        resume.run_in_folder(runs / name, experiment)
    damaged = runs / "fa-seed1" / "result.json"
    damaged.write_text(damaged.read_text().replace('"best_epoch": 1', '"best_epoch": 2'))
    (runs / "table.csv").write_text("row,seeds\nfa,1\nbp,2\n")
    monkeypatch.setattr(sys, "argv", ["collect.py", str(runs), str(target)])
    script(".", "collect").main()
    assert "3 runs of 2 rows" in capsys.readouterr().out
    columns, *lines = csv_files.read(target / "runs.csv")
    kept = [dict(zip(columns, line, strict=True)) for line in lines]
    assert [(one["row"], one["seed"]) for one in kept] == [("fa", "0"), ("bp", "0"), ("bp", "1")]
    for one in kept:
        result = resume.saved_run(runs / f"{one['row']}-seed{one['seed']}").result
        assert float(one["test_accuracy"]) == result["test_accuracy"]
        assert f"{int(one['correct'], 16):08b}".count("1") == 4 * result["test_accuracy"]
        assert len(one["classes"].split()) == 2 and one["date"] and one["machine"] and one["made_by"]
    assert (target / "table.csv").read_text() == (runs / "table.csv").read_text()
    assert str(tmp_path) not in (target / "runs.csv").read_text()
