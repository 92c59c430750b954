"""The calls of a training step that a GPU would launch, counted on the stand-in for CuPy."""

import csv
from pathlib import Path

import numpy as np
import pytest
from standin import launches, make_cupy

TABLE = Path(__file__).parents[2] / "tutorials" / "results" / "gpu" / "launches.csv"
cupy = make_cupy()


@pytest.fixture
def names():
    """Device arrays x (3, 4), v (4,), i (2,) and mask (3, 4), all float32 but the integers i."""
    x = cupy.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    return {"xp": cupy, "np": np, "x": x, "v": x[0].copy(), "i": cupy.asarray([2, 0]), "mask": x > 3}


def logged(code, names):
    """The calls of a statement."""
    return launches.logged(lambda: exec(code, names)).calls


@pytest.mark.parametrize(
    "code",
    ["x[1:]", "x[0]", "x.T", "x.reshape(4, 3)", "x[:, None]", "x.astype('float32', copy=False)", "xp.empty((3, 4))",
     "xp.empty_like(x)", "xp.ascontiguousarray(x)", "xp.asarray(x)", "xp.broadcast_to(v, (3, 4))", "x.ravel()",
     "xp.lib.stride_tricks.as_strided(x, (2, 2), (4, 4))", "x.shape", "len(x)", "x[...]"],
)  # fmt: skip
def test_views_and_allocations_launch_nothing(code, names):
    assert logged(code, names) == []


@pytest.mark.parametrize(
    "code, function, size",  # bytes read and written
    [
        ("x + 1", "add", 48 + 48),
        ("x + v", "add", 48 + 16 + 48),
        ("2 - x", "subtract", 96),
        ("np.float32(2) * x", "multiply", 4 + 96),
        ("-x", "negative", 96),
        ("x += v", "add", 48 + 16 + 48),
        ("x > 3", "greater", 48 + 12),
        ("x @ x.T", "matmul", 48 + 48 + 36),
        ("xp.exp(x, out=x)", "exp", 96),
        ("xp.matmul(x, x.T, out=xp.empty((3, 3), 'float32'))", "matmul", 48 + 48 + 36),
        ("x.sum(axis=0)", "sum", 48 + 16),
        ("xp.add.reduce(x, axis=0)", "add.reduce", 48 + 16),
        ("xp.einsum('ij,ij->j', x, x)", "einsum", 48 + 48 + 16),
        ("x.copy()", "copy", 96),
        ("x.T.reshape(-1)", "reshape", 96),
        ("xp.ascontiguousarray(x.T)", "array", 96),
        ("x.astype('float64')", "astype", 48 + 96),
        ("xp.zeros((3, 4), 'float32')", "zeros", 48),
        ("xp.zeros_like(x)", "zeros_like", 48),
        ("x[:] = 0", "setitem", 48),
        ("x[1:] = v", "setitem", 16 + 32),
        ("x[:, i]", "getitem", 24 + 16 + 24),
        ("xp.copyto(x, 0, where=mask)", "copyto", 12 + 48),
        ("xp.where(mask, x, 0)", "where", 12 + 48 + 48),
        ("xp.stack([v, v])", "stack", 16 + 16 + 32),
        ("xp.add.at(v, i, 1)", "add.at", 8 + 16 + 8),
        ("xp.broadcast_to(v, (3, 4)) * x", "multiply", 16 + 48 + 48),
    ],
)
def test_a_function_or_operator_is_one_call(code, function, size, names):
    (call,) = logged(code, names)
    assert (call.function, call.bytes) == (function, size)


def read_table():
    """The number of calls by network, rule and optimizer."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {tuple(row[key] for key in launches.HEAD[:3]): int(row["calls"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.long] * (name == "resnet20")) for name in launches.SHAPES]
)
def test_a_step_makes_no_more_calls_than_in_the_table(model):
    """After a change that saves calls, write the table again: its command is in tutorials/results/gpu/launches.md."""
    most = {key: calls for key, calls in read_table().items() if key[0] == model}
    assert len(most) == len(launches.RULES) * len(launches.OPTIMIZERS_USED)
    for key, calls in most.items():
        step = launches.counted(*key, batch_size=launches.SMALL[0])
        assert 0 < len(step.calls) <= calls, f"{key}: {launches.places(step)}"
        assert (step.from_host, sum(step.reads.values())) == (1, 0)  # the targets; nothing is read


def test_calls_do_not_depend_on_the_batch_and_bytes_grow_with_it():
    eight, many = launches.count("cnn", "dfa", "sgd", 8), launches.counted("cnn", "dfa", "sgd", 24)
    assert len(eight.calls) == len(many.calls) and eight.megabytes < many.megabytes
    assert launches.count("cnn", "dfa", "sgd", 24).megabytes == many.megabytes  # computed; counted


def test_calls_are_those_of_layers_loss_and_optimizer():
    where = {row[:2]: int(row[2]) for row in launches.places(launches.counted("mlp", "bp", "sgd", 4))}
    assert {("Linear", "forward"), ("Linear", "backward"), ("ReLU", "forward"), ("optimizer", "")} < {*where}
    assert "other" not in {place for place, _ in where}
    adam = {row[:2]: int(row[2]) for row in launches.places(launches.counted("mlp", "bp", "adam", 4))}
    assert adam["optimizer", ""] > where["optimizer", ""] and adam["loss", ""] == where["loss", ""]


def test_the_tables_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launches, "operators_of", lambda pairs: (dict.fromkeys(pairs, 31), "as a test"))
    launches.main(["--models", "mlp", "--rules", "bp", "--optimizers", "sgd", "--lines", "1", "--out", str(tmp_path)])
    calls = len(launches.counted("mlp", "bp", "sgd", 4).calls)
    (row,) = csv.DictReader((tmp_path / "launches.csv").read_text().splitlines())
    assert int(row["calls"]) == calls and row["calls / operators"] == f"{calls / 31:.2f}"
    places = list(csv.DictReader((tmp_path / "places.csv").read_text().splitlines()))
    assert sum(int(one["calls"]) for one in places) == calls
    text = (tmp_path / "launches.md").read_text()
    assert f"| mlp | bp | sgd | {calls} |" in text and "as a test" in text
    assert "optim.py" in capsys.readouterr().out


def test_pytorchs_operators_are_the_leaves_that_work():
    pytest.importorskip("torch")
    from standin import operators

    found = operators.count("mlp", "adam")
    assert found["aten::addmm"] + found["aten::copy_"] == 3 and found["aten::mm"] == 5  # addmm copies its bias first
    assert sum(n for name, n in found.items() if name.startswith("aten::_foreach_")) == 7  # of 8: one on step numbers
    assert not {*found} & operators.NO_WORK and sum(found.values()) == sum(operators.count("mlp", "adam", 3).values())
