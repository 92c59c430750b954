"""The same seed gives the same bits: in another process, with another number of threads, resumed or not, in worker
processes, on NumPy and on the stand-in; and on other machines nearly the same numbers.

tests/golden/losses.json holds the first 10 losses under every rule, and under options with other random draws. Another
build of BLAS, or another processor, sums in another order and changes the last digits: over five of OpenBLAS's kernels
(Prescott to SkylakeX) and NumPy 2.0 to 2.5 by at most 5e-5 of a loss, where a sign or the maximum of a pooling window
changed, and by less than 1e-6 under most rules.
`TOLERANCE` is the allowed difference. The perturbation rules divide the difference of two losses by a small number: in
float32 rounding changes their losses by 2%, so theirs are computed in float64. After an intended change of the losses,
regenerate the file and review the differences:

    python tests/core/test_determinism.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import install

import minifa as mf
from minifa import (
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
    Trainer,
    UnitLength,
    backend,
    checkpoints,
)
from minifa.experiments import Experiment, run_many
from minifa.initialisers import find
from minifa.layers.weighted import Weighted
from minifa.rules import RULES
from minifa.testing.examples import (
    AUTOENCODER_RULES,
    LINEAR_RULES,
    MONOTONE_RULES,
    SIGMOID_RULES,
    UNIT_LENGTH_RULES,
    VECTOR_RULES,
    model_for,
)
from minifa.training import Callback

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.json"
UPDATES = 10
ELSEWHERE = 3  # updates in another process
TOLERANCE = 2e-4  # relative
VARIANTS = (  # options whose draws occur under no rule's defaults
    "fa:sparsity=0.5",
    "fa:conv=dense",
    "usf:concordance=0.75",
    "frsf:normalise=init,concordance=0.75",
    "dfa:at=activation",
    "dfa:shared=true,family=gaussian",
    "product:fixed=orthogonal",
    "pepita:output=second",
)
DESCRIPTIONS = (
    *("pc:steps=4" if name == "pc" else name for name in RULES),
    *VARIANTS,
)  # 20 steps take seconds
IN_DOUBLE = ("node_perturbation", "weight_perturbation")


class StopAt(Callback):
    """Stops after this number of updates since the network was built."""

    def __init__(self, updates):
        self.updates = updates

    def on_step(self, trainer, examples):
        if trainer.net.step == self.updates:
            trainer.stop()


def trainer_of(rule_name, stop_at, losses, lr=0.005):
    """A convolutional net on digits, in batches so large that threads share the work, or its linear layers alone, or a
    vector network. Losses are appended to the list."""
    layers = [Conv2d(1, 8, 3, padding=1), ReLU(), Conv2d(8, 16, 3, padding=1), Tanh(), MaxPool(2), Flatten()]
    if rule_name in LINEAR_RULES:
        layers = [Flatten(), Linear(64, 256), Tanh()]
    if rule_name in UNIT_LENGTH_RULES:
        layers = [Conv2d(1, 16, 3, padding=1), Tanh(), MaxPool(2), UnitLength(), Flatten()]
    layers += [Linear(256, 32), ReLU(), Linear(32, 10)]
    if rule_name in SIGMOID_RULES:
        layers = [Sigmoid() if isinstance(layer, (ReLU, Tanh)) else layer for layer in layers]
    if rule_name in VECTOR_RULES:
        layers = mf.models.vector_mlp((8, 8, 1), 10, hidden=(64, 32))
    if rule_name in MONOTONE_RULES:
        for layer in [layer for layer in layers if isinstance(layer, Weighted)][1:]:
            layer.init = find("nonnegative_normal")
    if rule_name in AUTOENCODER_RULES:
        layers = mf.models.autoencoder((8, 8, 1), 64, hidden=(32,))
    net = Network(layers, seed=1, input_shape=(8, 8, 1))
    rule = mf.rules.make(rule_name, seed=1).attach(net)
    gradients = rule.gradients

    def recording(*arguments):
        losses.append(gradients(*arguments))
        return losses[-1]

    rule.gradients = recording
    optimizer = mf.SGD(lr=lr, momentum=0.9, weight_decay=rule.weight_decay)
    return Trainer(net, rule, mf.SoftmaxCrossEntropy(), optimizer, seed=1, callbacks=[StopAt(stop_at)])


def losses_of(rule_name, stops=(UPDATES,), folder=None, **options):
    """The losses of the first updates. At every stop but the last, a new trainer resumes from a checkpoint."""
    data, losses, before = mf.data.load("digits"), [], None
    for stop in stops:
        trainer = trainer_of(rule_name, stop, losses, **options)
        if before is not None:
            checkpoints.save(folder / "one.ckpt", before)
            checkpoints.load(folder / "one.ckpt", trainer)
        trainer.fit(data.train, epochs=9, batch_size=256)
        before = trainer
    return [float(loss) for loss in losses]


def all_losses(updates=UPDATES):
    """In the dtype that the golden file has for each rule."""
    result = {}
    for name in DESCRIPTIONS:
        with mf.using("numpy", "float64" if name in IN_DOUBLE else "float32"):
            result[name] = losses_of(name, stops=(updates,))
    return result


@pytest.fixture(scope="module")
def losses_here():
    """The losses in this process, on three threads."""
    before = backend.threads()
    backend.use("numpy", "float32", threads=3)
    yield all_losses()
    backend.use("numpy", "float32", threads=before)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def largest_difference(losses, reference):
    """The largest relative difference of two lists of losses."""
    return float(np.max(np.abs(np.array(losses) / np.array(reference) - 1)))


def test_the_losses_equal_the_golden_losses(losses_here, golden):
    assert [*losses_here] == [*golden] == [*DESCRIPTIONS]
    moved = {name: f"{largest_difference(losses_here[name], golden[name]):.1e}" for name in DESCRIPTIONS}
    assert all(float(distance) <= TOLERANCE for distance in moved.values()), moved


@pytest.mark.parametrize("rule_name", ["bp", "shallow", "pepita", "usf"])
def test_a_learning_rate_off_by_two_per_cent_exceeds_the_tolerance(rule_name, golden):
    assert largest_difference(losses_of(rule_name, lr=0.005 * 1.02), golden[rule_name]) > 2 * TOLERANCE


def test_another_process_with_another_number_of_threads_gives_the_same_bits(losses_here):
    threads = {"MINIFA_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **threads}
    command = [sys.executable, __file__, "-"]
    there = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120).stdout)
    assert {name for name in DESCRIPTIONS if there[name] != losses_here[name][:ELSEWHERE]} == set()
    assert {len(losses) for losses in there.values()} == {ELSEWHERE}


@pytest.mark.long
@pytest.mark.parametrize("rule_name", DESCRIPTIONS)
def test_resumed_twice_on_the_stand_in_the_bits_are_the_same(rule_name, losses_here, tmp_path, monkeypatch):
    """Both at once, because most of the time is training; `test_backend` and `test_checkpoints` have them alone."""
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)
    install("standin", "float64" if rule_name in IN_DOUBLE else "float32")
    stops = (3, 7, 8)  # the second is in epoch 2
    assert losses_of(rule_name, stops, tmp_path) == losses_here[rule_name][: stops[-1]]


@pytest.mark.long
def test_worker_processes_give_the_same_bits():
    """For any number of --jobs: here 1, and 2 with half as many threads each."""
    experiments = [
        Experiment(
            rule=name,
            lr=0.01,
            epochs=1,
            model=model,
            model_options={**options, "hidden": (24, 16)},
            data_options={"reconstruct": True} if name in AUTOENCODER_RULES else {},
        )
        for name in RULES
        for model, options in [model_for(name)]
    ]
    times = {"seconds", "images_per_second"}

    def measured(jobs):
        results = {result.experiment.rule: result for result in run_many(experiments, jobs)}
        assert {name: result.error for name, result in results.items() if result.error} == {}
        rows = {name: result.history for name, result in results.items()}
        return {name: [{k: v for k, v in row.items() if k not in times} for row in rows[name]] for name in rows}

    assert measured(1) == measured(2)


if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        print(json.dumps(all_losses(ELSEWHERE)))
    else:
        lines = [
            f'"{name}": {json.dumps([round(loss, 6) for loss in losses])}' for name, losses in all_losses().items()
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(GOLDEN)
