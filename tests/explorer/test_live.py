"""The engine in the page (web/src/live.ts) against minifa: weights, biases and feedback after one update and after 100
under each of its rules, at rates at which training is stable; angles, loss and accuracy."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import experiments, metrics
from minifa.data.batches import Batches
from minifa.experiments import Experiment

BUNDLE = Path(mf.__file__).parent / "explorer" / "bundle" / "explorer.js"
RUNNER = Path(__file__).with_name("live_runner.js")
TOLERANCE = {0: 1e-7, 1: 2e-6, 100: 1e-5}  # maximum relative error of every array, by number of updates
MEASURED = list(range(64))  # training examples of which angles, loss and accuracy are measured
RULES = ("bp", "fa", "usf", "frsf", "brsf", "dfa", "kolen_pollack")


def as_text(array):
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()


def as_array(text, like):
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(like.shape)


@functools.cache
def digits():
    return mf.data.load("digits")


def orthogonal(W):
    """A random matrix orthogonal to W, of W's norm."""
    drawn = np.random.default_rng(7).standard_normal(W.shape)
    drawn -= (drawn * W).sum() / (W * W).sum() * W
    return (drawn * np.linalg.norm(W) / np.linalg.norm(drawn)).astype("f4")


class Run:
    """A run of minifa, and the same run as a case for the engine in the page."""

    def __init__(self, rule, hidden=(16, 12), seed=0, lr=0.02, activation="relu", angle=None, painted=None):
        options = {"hidden": hidden, "activation": activation}
        experiment = Experiment(
            model="mlp", model_options=options, rule=rule, seed=seed, lr=lr, batch_size=8, optimizer_options={}
        )
        self.net, self.rule, self.loss, self.optimizer = experiments.build(experiment, digits())
        self.layers, self.seed = self.net.weighted, seed
        N = [orthogonal(layer.W) for layer in self.layers]
        drawn, direct = ([*made(seed=seed).attach(self.net).B.values()] for made in (mf.rules.FA, mf.rules.DFA))
        arrays = {
            "W": [layer.W for layer in self.layers],
            "b": [layer.b for layer in self.layers],
            "M": [[], *drawn],
            "N": N,
            "F": [*direct, []],
        }
        start = {key: list(map(as_text, one)) for key, one in arrays.items()}
        sizes = [64, *hidden, 10]
        self.redrawn = [[] for _ in self.layers]  # magnitudes of brsf, by layer and update
        self.case = {
            "start": {**start, "sizes": sizes, "activation": activation, "redrawn": self.redrawn},
            **{"rule": rule, "lr": lr, "angle": angle, "painted": painted, "batches": [], "measured": MEASURED},
        }
        if angle is not None:
            a = np.radians(angle)
            for layer, other in zip(self.layers[1:], N[1:], strict=True):
                self.rule.set_feedback(layer.name, np.cos(a) * np.float64(layer.W) + np.sin(a) * other)
        names = list(self.rule.memory) if not self.rule.crosses_weights else [layer.name for layer in self.layers]
        for place, cells in (painted or {}).items():
            matrix = self.rule.memory[names[place]].copy()
            for index, value in cells:
                matrix.flat[index] = value
            self.rule.set_feedback(names[place], matrix)

    def train(self, updates):
        """Train, and return the state after 0, 1 and all updates."""
        after, order = {0: self.state()}, Batches(digits().train, 8, self.seed, epoch=1).order.tolist()
        for update in range(1, updates + 1):
            rows = order[8 * (update - 1) : 8 * update]
            self.case["batches"].append(rows)
            self._keep_magnitudes()
            self.rule.gradients(self.net, mf.asarray(digits().train.x[rows]), digits().train.y[rows], self.loss)
            self.optimizer.step(self.net, self.rule)
            if update in (1, updates):
                after[update] = self.state()
        self._keep_magnitudes()
        self.case["at"] = list(after)
        return after

    def _keep_magnitudes(self):
        for layer, magnitudes in zip(self.layers, self.redrawn, strict=True):
            is_drawn = isinstance(self.rule, mf.rules.BRSF) and layer.name in self.rule.memory
            magnitudes.append(as_text(self.rule.magnitude(layer)) if is_drawn else "")

    def state(self):
        x, y = mf.asarray(digits().train.x[MEASURED]), digits().train.y[MEASURED]
        output = mf.asarray(self.net.predict(x))
        values, _ = self.loss(output, self.loss.target(y, output))
        keys = ("weight_angle", "true_angle", "sign_agreement")
        aligned = metrics.alignment(self.net, self.rule, x, y, self.loss)
        with self.rule.preserved():
            B = [np.array(self.rule.feedback(layer)) for layer in self.layers[1:]] if self.rule.crosses_weights else []
        return {
            "W": [np.array(layer.W) for layer in self.layers],
            "b": [np.array(layer.b) for layer in self.layers],
            "B": B,
            "alignment": [{key: aligned[layer.name][key] for key in keys} for layer in self.layers],
            "score": {"loss": float(values.mean()), "accuracy": float((output.argmax(1) == y).mean())},
        }


def run_in_page(runs):
    """The states of these runs after they were repeated by the engine of the page, in node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    program = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ Net }} from {json.dumps(BUNDLE.as_uri())};
        import {{ runCases }} from {json.dumps(RUNNER.as_uri())};
        console.log(JSON.stringify(runCases(Net, JSON.parse(readFileSync(0, "utf8")))));
    """
    data = {"x": as_text(digits().train.x), "y": digits().train.y.tolist(), "cases": [run.case for run in runs]}
    arguments = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(arguments, input=json.dumps(data), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [{int(update): state for update, state in one.items()} for one in json.loads(done.stdout)]


def relative_errors(engine, page):
    """norm(page - engine) / norm(engine) of all arrays of two states."""
    pairs = [
        (array, as_array(text, array))
        for key in ("W", "b", "B")
        for array, text in zip(engine[key], page[key], strict=True)
    ]
    return [float(np.linalg.norm(there - here) / (np.linalg.norm(here) or 1)) for here, there in pairs]


def without_painting(run):
    run.train(100)
    run.case["painted"] = {}
    return run


def compare(run):
    """The states of a run of 100 updates, by minifa and by the page, checked against the tolerance."""
    engine = run.train(100)
    (page,) = run_in_page([run])
    worst = {update: max(relative_errors(engine[update], page[update])) for update in TOLERANCE}
    assert all(worst[update] <= most for update, most in TOLERANCE.items()), worst
    assert engine[100]["score"]["loss"] < engine[0]["score"]["loss"]  # it learns
    return engine, page


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed, hidden", [(0, (16, 12)), (1, (8,)), (2, (32, 32, 32))])
def test_every_rule_agrees_with_the_engine(rule, seed, hidden):
    compare(Run(rule, hidden, seed))


@pytest.mark.parametrize("angle", [0, 45, 90, 150, 180])
def test_feedback_at_an_angle_to_the_weights_agrees(angle):
    engine, page = compare(Run("fa", angle=angle, lr=0.01))
    assert [one["weight_angle"] for one in page[0]["alignment"]][1:] == pytest.approx([angle, angle], abs=1e-3)


@pytest.mark.parametrize("rule", ["fa", "kolen_pollack", "dfa"])
def test_painted_cells_of_B_agree(rule):
    place = 0 if rule == "dfa" else 1
    painted = {place: [[0, 0.0], [5, 0.7], [17, -0.7]]}
    engine, page = compare(Run(rule, painted=painted))
    changed, (unchanged,) = page[100], run_in_page([without_painting(Run(rule, painted=painted))])
    assert changed["W"][0] != unchanged[100]["W"][0]


def test_tanh_agrees():
    compare(Run("fa", activation="tanh"))


@pytest.mark.parametrize("rule", RULES)
def test_angles_loss_and_accuracy_agree(rule):
    engine, page = compare(Run(rule))
    for update in TOLERANCE:
        there, here = page[update], engine[update]
        assert there["score"] == pytest.approx(here["score"], rel=1e-5)
        for layer, expected in zip(there["alignment"], here["alignment"], strict=True):
            assert layer == {
                key: value if value is None else pytest.approx(value, abs=2e-3) for key, value in expected.items()
            }


def test_the_comparison_can_fail():
    """A weight that is wrong by 0.1 %, and another rate."""
    run = Run("fa")
    engine = run.train(100)
    W = np.array(engine[0]["W"][1])
    W[3, 4] *= 1.001
    run.case["start"]["W"][1] = as_text(W)
    (page,) = run_in_page([run])
    assert max(relative_errors(engine[1], page[1])) > 2e-6
    run = Run("fa")
    engine = run.train(100)
    run.case["lr"] *= 1.001
    (page,) = run_in_page([run])
    assert max(relative_errors(engine[1], page[1])) > 2e-6 and max(relative_errors(engine[100], page[100])) > 1e-5
