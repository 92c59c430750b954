"""Every public callable, called with an invalid value for one argument, works or raises an error of minifa's own (see
`audit`). Three invalid values of each parameter here, all of them under ``-m fuzz``."""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path

import pytest
from audit import WRONG, Target, audit, modules, sample, targets, unfit

from minifa import checkpoints, data, experiments
from minifa.storage import atomic
from minifa.tracing import stepper

TARGETS = targets()
FEW = 3


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_wrong_values(name, tmp_path):
    wrong = audit(TARGETS[name], tmp_path, FEW)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_every_wrong_value(name, tmp_path):
    wrong = audit(TARGETS[name], tmp_path)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("name", TARGETS)
def test_every_public_callable_works_with_valid_arguments(name, tmp_path):
    """Otherwise an error could have another cause than the invalid value."""
    assert unfit(TARGETS[name], tmp_path) is None


def test_every_module_lists_its_public_names():
    """The list of an internal module is empty."""
    assert [module.__name__ for module in modules() if not hasattr(module, "__all__")] == []
    assert [f"{module.__name__}.{name}" for module in modules() for name in module.__all__ if name[0] == "_"] == []


def test_the_public_callables_are_audited():
    assert {
        "network.Network",
        "data.load",
        "training.trainer.Trainer.fit",
        "layers.weighted.Weighted.W",
    } <= TARGETS.keys()
    assert len(TARGETS) >= 220 and len(WRONG) >= 20


def test_the_audit_finds_internal_errors_and_printed_output(tmp_path):
    def unchecked(count: int = 3) -> int:
        return len(range(count)) if count != 0.5 else 0

    def printing(count: int = 3) -> None:
        print(count)

    for function, message in ((unchecked, "cannot be interpreted as an integer"), (printing, "printed")):
        one = Target("mine", lambda objects, function=function: function, dict(inspect.signature(function).parameters))
        assert any(message in line for line in audit(one, tmp_path / message.split()[0]))


def test_a_sample_is_always_the_same():
    target = TARGETS["data.load"]
    assert (
        sample(target, "scale", FEW) == sample(target, "scale", FEW) and len(set(sample(target, "scale", FEW))) == FEW
    )
    assert sorted(sample(target, "scale", len(WRONG))) == sorted(WRONG)


def test_numbers_that_would_disable_a_check_are_refused(tmp_path):
    xor = data.load("xor")
    with pytest.raises(TypeError, match="n_classes must be an int, got nan"):
        data.validate([[0.5], [1.5]], [0, 1], n_classes=float("nan"))
    with pytest.raises(TypeError, match="every_steps must be an int, got nan"):
        checkpoints.SaveCheckpoints(tmp_path, every_steps=float("nan"))
    with pytest.raises(ValueError, match="number of updates must be at least 0, got -1"):
        stepper.Replay(experiments.Experiment(data="xor", model="tiny", lr=0.1), xor, updates=-1)


@pytest.mark.parametrize(
    "use",
    [
        lambda number: atomic.append(number, "text"),
        lambda number: atomic.write_atomic(number, "text"),
        atomic.read_bytes,
        atomic.digest,
    ],
    ids=["append", "write_atomic", "read_bytes", "digest"],
)
def test_a_file_descriptor_is_not_accepted_as_a_path(use):
    """Python's ``open`` accepts one, and closes that file afterwards."""
    reading, writing = os.pipe()
    with pytest.raises(TypeError, match="a path must be a str"):
        use(writing)
    os.close(reading)
    os.close(writing)  # it was still open


def test_the_reference_lists_the_public_names():
    text = (Path(__file__).parents[2] / ".ci" / "reference.py").read_text(encoding="utf-8")
    pages = next(node for node in ast.parse(text).body if isinstance(node, ast.Assign)).value.func.value.value.split()
    listed = {module.__name__.split(".")[1] for module in modules() if "." in module.__name__ and module.__all__}
    assert listed - {"cli"} == set(pages)
