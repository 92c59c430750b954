"""The doctor must find faults on NumPy and on a device, and must check every kind of layer and every rule."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CUPY

import minifa as mf
from minifa import backend, cli, layers
from minifa.losses import LOSSES
from minifa.optim import OPTIMIZERS
from minifa.rules import RULES
from minifa.testing import doctor


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # its import fails


@pytest.fixture
def device(monkeypatch):
    """The stand-in instead of CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", CUPY)
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)


@pytest.fixture
def only(monkeypatch):
    """Run only these checks: ``only("Tanh", "fa")``."""
    everything = doctor.checks

    def choose(*names):
        monkeypatch.setattr(doctor, "checks", lambda: [check for check in everything() if check.name in names])

    return choose


def problems_of(report):
    return {(finding.backend, finding.name): finding.wrong for finding in report.findings if finding.wrong}


# The list of checks


def test_every_kind_of_layer_is_examined():
    known = {one for one in vars(layers).values() if isinstance(one, type) and issubclass(one, mf.Layer)}
    examined = {type(layer) for make, _ in doctor.LAYERS.values() for layer in make()}
    assert known - {mf.Layer, mf.Weighted} == examined


def test_every_rule_loss_and_optimizer_is_examined(monkeypatch):
    class New(mf.rules.FA):
        name = "new"

    monkeypatch.setitem(RULES, "new", New)
    examined = {(check.kind, check.name) for check in doctor.checks()}
    registered = [("rule", RULES), ("loss", LOSSES), ("optimizer", OPTIMIZERS)]
    assert {(kind, name) for kind, names in registered for name in names} <= examined


def test_every_plain_reference_function_is_examined():
    """They are counted by name, so a new one fails this test until a check is added."""
    folder = Path(layers.__file__).parent
    plain = {
        name for file in folder.glob("*.py") for name in re.findall(r"^def (\w+_plain)", file.read_text("utf-8"), re.M)
    }
    examined = re.findall(r"(\w+_plain)\(", Path(doctor.__file__).read_text(encoding="utf-8"))
    assert plain and plain == set(examined)


# A machine without faults


@pytest.mark.long
def test_numpy_by_itself(no_gpu):
    seen = []
    report = doctor.examine(["numpy"], lambda: seen.append(1))
    assert problems_of(report) == {} and report.healthy
    assert len(seen) == len(report.findings) == len(doctor.checks())
    for finding in report.findings:
        expected = {"layer": {"slopes", "float32", "again"}, "loss": {"slopes", "float32", "again"}, "twin": {"plain"}}
        assert set(finding.differences) == expected.get(finding.kind, {"float32", "again"}), finding
        assert (finding.seconds is None) == (finding.kind == "twin")
    text = report.text()
    assert "not usable: the backend 'cupy' needs the package CuPy" in text and text.endswith("everything agrees")
    assert "plain    the fast form" in text and "float64  beside" not in text, (
        "the output must list only the comparisons made"
    )
    assert backend.name() == "numpy" and str(backend.dtype()) == "float32"


@pytest.mark.long
def test_the_device_beside_numpy(device):
    before = CUPY.counters.h2d
    report = doctor.examine(["cupy"])
    assert problems_of(report) == {} and CUPY.counters.h2d > before, "nothing was computed on the device"
    assert {one.kind for one in report.findings} == {"layer", "rule", "loss", "optimizer", "net"}
    assert all(set(one.differences) == {"float64", "float32", "again"} for one in report.findings)
    assert "stand-in, compute capability 0.0" in report.text() and "driver for 0.0" in report.text()
    assert backend.name() == "numpy"


def test_the_large_batch_is_cut(only, monkeypatch):
    """Otherwise the comparison of one thread with all threads would compare nothing."""
    cuts = []
    run = backend._pool.run
    monkeypatch.setattr(backend._pool, "run", lambda tasks: (cuts.append(len(tasks)), run(tasks)))
    only("large batch")
    assert doctor.examine(["numpy"]).healthy
    assert max(cuts) > 4


# A machine with a fault


def test_a_wrong_derivative_is_found_without_a_gpu(only, monkeypatch):
    def times_slope(self, below, delta, y):
        below[...] = delta * (1 - y)  # should be 1 - y^2

    monkeypatch.setattr(mf.Tanh, "times_slope", times_slope)
    only("Tanh", "Sigmoid", "Residual")
    report = doctor.examine(["numpy"])
    assert set(problems_of(report)) == {("numpy", "Tanh"), ("numpy", "Residual")}
    assert "slopes: the input differs by" in report.text()


def test_a_wrong_kernel_of_the_device_is_found(only, device, monkeypatch):
    right = mf.Sigmoid.f

    def f(self, y, x):
        right(self, y, x)
        if backend.name() == "cupy":
            y *= 1.01

    monkeypatch.setattr(mf.Sigmoid, "f", f)
    only("Tanh", "Sigmoid")
    findings = problems_of(doctor.examine(["numpy", "cupy"]))
    assert set(findings) == {("cupy", "Sigmoid")}
    assert [text.split(":")[0] for text in findings["cupy", "Sigmoid"]] == ["float64", "float32"]


def test_a_rule_that_carries_another_matrix_on_the_device_is_found(only, device, monkeypatch):
    right = mf.rules.FA.feedback
    monkeypatch.setattr(mf.rules.FA, "feedback", lambda *one: right(*one) * (2 if backend.name() == "cupy" else 1))
    only("fa", "usf")
    assert set(problems_of(doctor.examine(["cupy"]))) == {("cupy", "fa")}


def test_a_rule_with_other_memory_on_the_device_is_found(only, device, monkeypatch):
    right = mf.rules.FA.gradients

    def gradients(self, *arguments):
        if backend.name() == "cupy":
            self.memory["extra"] = backend.xp.zeros(1)
        return right(self, *arguments)

    monkeypatch.setattr(mf.rules.FA, "gradients", gradients)
    only("fa", "usf")
    findings = problems_of(doctor.examine(["cupy"]))
    assert set(findings) == {("cupy", "fa")} and any(
        "the list of arrays (extra, step 1" in text for text in findings["cupy", "fa"]
    )


def test_a_fast_form_that_differs_from_its_plain_reference_is_found(only, monkeypatch):
    right = layers.windows.columns
    monkeypatch.setattr(layers.windows, "columns", lambda *arguments: right(*arguments)[:, ::-1])
    only("windows", "pooling")
    assert set(problems_of(doctor.examine(["numpy"]))) == {("numpy", "windows")}


def test_random_draws_that_do_not_repeat_are_found(only, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(mf.layers.dropout, "generator", lambda *key: rng)
    only("Dropout", "ReLU")
    report = doctor.examine(["numpy"])
    assert any(text.startswith("again: ") for text in problems_of(report)["numpy", "Dropout"])
    assert set(problems_of(report)) == {("numpy", "Dropout")}


@pytest.mark.parametrize(
    "corrupt, message",
    [
        (lambda y: y.astype("float64"), "float32: TypeError: output is float64"),
        (lambda y: y * np.nan, "differs by inf"),
        (lambda y: 1 // 0, "ZeroDivisionError: "),
    ],
    ids=["promoted", "not finite", "an error"],
)
def test_an_exception_in_a_check_is_reported_and_the_next_check_runs(corrupt, message, only, monkeypatch):
    right = mf.ReLU.forward
    monkeypatch.setattr(mf.ReLU, "forward", lambda *arguments: corrupt(right(*arguments)))
    only("ReLU", "PadChannels")
    report = doctor.examine(["numpy"])
    assert any(message in text for text in report.findings[0].wrong), report.findings[0].wrong
    assert report.findings[1].wrong == [] and not report.healthy
    json.dumps(report.as_dict(), allow_nan=False)


# The command


def test_the_command_writes_what_it_prints(only, no_gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    only("Tanh", "fa")
    assert cli.main(["doctor", "--out", "report.txt"]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "report.txt").read_text(encoding="utf-8").strip() in printed and "report.txt" in printed
    assert cli.main(["doctor", "--out", "report.json"]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["healthy"] and {"numpy", "python", "blas", "cupy"} <= report["facts"].keys()
    assert [(one["name"], one["backend"]) for one in report["findings"]] == [("Tanh", "numpy"), ("fa", "numpy")]


def test_the_command_fails_where_something_differs(only, no_gpu, monkeypatch, capsys):
    monkeypatch.setattr(mf.Tanh, "f", lambda self, y, x: y.fill(backend.dtype().itemsize))
    only("Tanh")
    assert cli.main(["doctor"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_the_command_examines_the_available_backends(only, device, capsys):
    only("ReLU")
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "on numpy" in printed and "on cupy" in printed
    assert cli.main(["doctor", "--backend", "cupy"]) == 0
    printed = capsys.readouterr().out
    assert "on numpy" not in printed and "on cupy" in printed


def test_the_command_fails_without_the_requested_gpu(no_gpu, capsys):
    assert cli.main(["doctor", "--backend", "cupy"]) == 1
    assert "needs the package CuPy" in capsys.readouterr().err


def test_the_command_refuses_an_unwritable_file_before_any_check(only, capsys):
    only()
    assert cli.main(["doctor", "--out", "report.pdf"]) == 2
    assert ".txt or .json, got 'report.pdf'" in capsys.readouterr().err
