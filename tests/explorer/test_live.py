"""The engine in the page (web/src/live.ts) against minifa: weights, biases and feedback after one update and after 100
under each of its rules, at rates at which training is stable; angles, loss and accuracy. The playground's settings in
the address, its Python, and the images of what a reader draws."""

from __future__ import annotations

import base64
import copy
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
from minifa.explorer.arrays import ArrayTable
from minifa.explorer.live_start import live_start, wrong_labels

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


def ask(command, argument):
    """The answer of the page's script to a command of live_runner.js, in node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    program = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ main }} from {json.dumps(RUNNER.as_uri())};
        await main(readFileSync(0, "utf8"));
    """
    request = json.dumps({"bundle": BUNDLE.as_uri(), "command": command, "argument": argument})
    arguments = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(arguments, input=request, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_in_page(runs):
    """The states of these runs after they were repeated by the engine of the page."""
    data = {"x": as_text(digits().train.x), "y": digits().train.y.tolist(), "cases": [run.case for run in runs]}
    return [{int(update): state for update, state in one.items()} for one in ask("runCases", data)]


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


# The page


@pytest.fixture(scope="module")
def content():
    """The JSON of a page, without the step and the stored runs."""
    table = ArrayTable()
    live = live_start(Experiment(), digits(), table)
    empty = {"films": {}, "runs": {}, "at": [], "facts": [], "classes": [], "rules": [], "layers": [], "chance": {}}
    return {"version": "1.2.3", **empty, "live": live, "arrays": table.packed()}


def test_a_page_compares_its_engine_with_minifa_when_it_opens(content):
    (found,) = ask("open", {"content": content, "starts": [content["live"]]})
    assert found["agrees"] and 0 < found["worst"] <= 1e-5
    assert found["text"] == f"agrees with minifa 1.2.3 to {found['worst']:.0e}".replace("e-0", "e-")


def test_a_page_that_differs_from_minifa_under_any_rule_does_not_train(content):
    arrays, starts = list(content["arrays"]), []
    for place in range(len(content["live"]["checks"]["rules"])):
        starts.append(copy.deepcopy(content["live"]))
        after = starts[-1]["checks"]["rules"][place]["after"][1]
        shape, kind, text = arrays[after["W"][0]][:3]
        W = np.frombuffer(base64.b64decode(text), f"<{kind}") * np.float32(1 + 1e-4)
        after["W"][0] = len(arrays)
        arrays.append([shape, kind, as_text(W)])
    found = ask("open", {"content": {**content, "arrays": arrays}, "starts": starts})
    assert len(found) >= len(RULES) and all("differs from minifa 1.2.3 by 1e-4" in one["reason"] for one in found)


def test_a_page_without_a_start_that_it_can_read_says_so(content):
    without, other = ask("open", {"content": content, "starts": [None, {**content["live"], "format": 99}]})
    assert without["reason"] == "This page was written without the start of a network that it may train itself."
    assert "reads format 1 of its start, and this page has 99" in other["reason"]


def test_wrong_labels_are_those_of_minifa(content):
    cases = [{"seed": seed, "noise": share} for seed in (0, 2) for share in (0, 0.05, 0.3, 1)]
    for case, found in zip(cases, ask("labels", {"content": content, "cases": cases}), strict=True):
        order = Batches(digits().train, 8, case["seed"], epoch=1).order
        expected = wrong_labels(digits().train.y, 10, case["seed"], case["noise"])[order]
        assert found == expected.tolist(), case


# The playground

RUN = {
    "rule": "fa",
    "lr": 0.02,
    "hidden": [16, 16],
    "seed": 0,
    "updates": 180,
    "noise": 0,
    "angle": None,
    "feedback": {},
}
CELLS = [[0, 0.35], [1, 0], [25, -0.35], [26, 0.35], [40, -0.35], [41, -0.35], [42, 0], [77, 0.35], [159, 0]]
SCRIPTS = [
    {},
    {"rule": "bp", "hidden": [8], "seed": 2},
    {"rule": "usf", "lr": 0.01, "noise": 0.15, "seed": 1},
    {"rule": "frsf", "lr": 0.01, "hidden": [32, 32, 32]},
    {"rule": "dfa", "hidden": [16], "feedback": {"relu1": CELLS}},
    {"rule": "kolen_pollack", "feedback": {"linear3": CELLS}},
    {"angle": 120, "hidden": [16], "lr": 0.01, "noise": 0.5},
    {"angle": 0, "feedback": {"linear2": CELLS, "linear3": CELLS}},
]


@pytest.mark.long
def test_the_python_of_a_run_makes_the_same_run(content, capsys):
    runs = [{"params": {**RUN, **one}, "epochs": 1} for one in SCRIPTS]
    for run, page in zip(runs, ask("scripts", {"content": content, "runs": runs}), strict=True):
        names = {}
        exec(page["python"], names)
        net, accuracy = names["net"], names["trainer"].evaluate(digits().test)["accuracy"]
        assert net.step == page["update"] == 180, run
        errors = {
            key: float(
                np.linalg.norm(as_array(there, net.state()[key]) - net.state()[key]) / np.linalg.norm(net.state()[key])
            )
            for key, there in page["arrays"].items()
        }
        print(run["params"]["rule"], max(errors.values()))
        assert max(errors.values()) <= 1e-5, (run, errors)
        assert page["accuracy"] == accuracy
        assert f"{accuracy:.4f} of the test digits are right" in capsys.readouterr().out


CHOICES = {"rules": ["bp", "fa", "dfa"], "depths": [1, 2, 3], "widths": [8, 16, 32], "seeds": [0, 1], "epochs": [1, 6]}
STANDARD = {
    **{"rule": "fa", "rate": 0.02, "depth": 2, "width": 16, "noise": 0, "seed": 0, "epochs": 6, "angle": None},
    "painted": {},
}


@pytest.mark.parametrize(
    "parts",
    [
        [],
        ["", "/", "rule", "=", "rule=", "rate=-1", "rate=1e99", "rate=x", "hidden=16,16,16,16", "hidden=5", "seed=9"],
        ["rule=<img src=x onerror=alert(1)>", "noise=NaN", "angle=999", "epochs=0", "epochs=1.5", "__proto__=1"],
        [
            "paint.linear2=0.35",
            "paint.linear2=:",
            "paint.=1:1p",
            "paint.a b=1:1p",
            "paint.linear2=-1:2p",
            "rate=Infinity",
        ],
    ],
)
def test_rubbish_in_the_address_gives_the_standard_settings(parts):
    (found,) = ask("settings", {"parts": [parts], "choices": CHOICES})
    painted = {name: one for name, one in found["settings"].pop("painted").items() if one["cells"]}
    assert {**found["settings"], "painted": painted} == STANDARD
    assert found["address"] == "chapter-5"


def test_settings_survive_the_address():
    parts = ["rule=fa", "rate=0.13", "hidden=8,8,8", "noise=0.25", "seed=1", "epochs=1", "angle=30"]
    parts.append("paint.linear2=0.35:0p3z17n")
    (found,) = ask("settings", {"parts": [parts], "choices": CHOICES})
    assert found["address"] == "/".join(["chapter-5", *parts])
    assert found["settings"] == {
        **{"rule": "fa", "rate": 0.13, "depth": 3, "width": 8, "noise": 0.25, "seed": 1, "epochs": 1, "angle": 30},
        "painted": {"linear2": {"size": 0.35, "cells": {"0": 1, "3": 0, "17": -1}}},
    }


def test_a_drawing_fills_the_image_as_the_digits_do():
    line, dot, ring = (
        [[[5, 10], [5, 90]]],
        [[[3, 3]]],
        [[[50 + 40 * np.cos(a), 50 + 40 * np.sin(a)] for a in np.linspace(0, 6.3, 40)]],
    )
    images = [
        np.reshape(one, (8, 8)) for one in ask("images", [line, [[[x * 7, y * 7] for x, y in line[0]]], dot, ring])
    ]
    assert np.array_equal(images[0], images[1])  # whatever its size and place
    assert images[0][:, [0, 1, 2, 5, 6, 7]].sum() == 0 and images[0][1:7, 3:5].min() == 8  # 4 dots wide, in the middle
    assert images[2].sum() == images[2][3:5, 3:5].sum() > 0
    assert images[3][3:5, 3:5].max() == 0 and images[3][0].sum() > 0 and images[3].max() <= 16
    assert ask("images", [[]]) == [[]]
