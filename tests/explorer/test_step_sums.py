"""The sums that chapter 2 shows behind a number (web/src/step/arithmetic.ts), in node: which entries they use, that
they are shown for every layer, and that they are withheld where they do not add up."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa.explorer.arrays import ArrayTable
from minifa.explorer.films import film

BUNDLE = Path(mf.__file__).parent / "explorer" / "bundle" / "explorer.js"
RUNNER = """
globalThis.document = { getElementById: () => null }; // the script draws nothing when there is no element for it
globalThis.DOMParser = class {};
const { readFileSync } = await import("node:fs");
const { decodeFilm, tableOf, work } = await import(process.argv[1]);
const { film, arrays, questions } = JSON.parse(readFileSync(0, "utf8"));
const moments = decodeFilm(film, tableOf(arrays));
const inOrder = (cells) => [...new Set(cells)].sort((a, b) => a - b);
const answers = questions.map(([at, symbol, index]) => {
  const { sum, note, marks } = work(moments[at], symbol, index);
  return { sum, note, marks: Object.fromEntries([...marks].map(([name, cells]) => [name, inOrder(cells)])) };
});
console.log(JSON.stringify(answers));
"""


class Step:
    """One step of a network as the page gets it, and questions about its numbers."""

    def __init__(self, layers, shape, rule="fa", seed=0):
        rng = np.random.default_rng(seed)
        self.net = mf.Network(layers, seed=seed, input_shape=shape[1:])
        self.x = rng.standard_normal(shape).astype("f4")
        targets = rng.integers(0, 2, shape[0])
        attached = mf.rules.make(rule).attach(self.net)
        self.trace = mf.trace(self.net, attached, self.x, targets, mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1))
        self.table = ArrayTable()
        self.film = film(self.trace, {}, self.table)

    def place(self, kind, layer):
        return next(i for i, one in enumerate(self.trace) if (one.kind, one.layer) == (kind, layer))

    def results(self):
        """(moment, symbol, size, equation) of every equation whose left side is an array."""
        for at, moment in enumerate(self.trace):
            for line in moment.equation.split("\n"):
                left, _, right = line.partition(" = ")
                if right and np.ndim(moment.terms.get(left)) > 0:
                    yield at, left, moment.terms[left].size, line

    def ask(self, *questions, arrays=None):
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        request = json.dumps(
            {"film": self.film, "arrays": arrays or self.table.packed(), "questions": questions}, allow_nan=False
        )
        command = ["node", "--input-type=module", "--eval", RUNNER, BUNDLE.as_uri()]
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def convolutional(rule="fa", **options):
    layers = [
        mf.Conv2d(2, 3, 3, **options), mf.BatchNorm(3), mf.ReLU(), mf.MaxPool(2), mf.Conv2d(3, 4, 3, padding=1),
        mf.Tanh(), mf.Flatten(), mf.Linear(4 * 3 * 3, 2),
    ]  # fmt: skip
    size = 6 * options.get("stride", 1)
    return Step(layers, (3, size, size, 2), rule)


NOT_SUMS = re.compile(r"drawn|^L = ")  # neither a sum nor a number of one entry


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa"])
@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": 1, "stride": 2}])
def test_every_number_of_a_convolutional_step_is_worked_out(rule, options):
    step = convolutional(rule, **options)
    asked = [
        (at, symbol, index, line)
        for at, symbol, size, line in step.results()
        if not NOT_SUMS.search(line)
        for index in sorted({0, size // 3, size - 1})
    ]
    answers = step.ask(*[one[:3] for one in asked])
    missing = {line for (*_, line), answer in zip(asked, answers, strict=True) if answer["sum"] is None}
    assert len(asked) > 50 and not missing


@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": 1, "stride": 2}])
def test_a_number_below_a_convolution_uses_the_errors_of_its_windows(options):
    """The marked errors are those that change it: found by sending every error down alone."""
    step = convolutional(**options)
    at = step.place("carry", "conv2")
    terms = step.trace[at].terms
    below, delta, B = terms["delta_below"], terms["delta"], np.ones_like(terms["B"])
    index = np.ravel_multi_index((1, 0, 2, 1), below.shape)
    reaching = []
    for place in range(delta.size):
        alone = np.zeros(delta.size, "f4")
        alone[place] = 1
        if step.net["conv2"].carry(alone.reshape(delta.shape), B).ravel()[index]:
            reaching.append(place)
    (answer,) = step.ask((at, "delta_below", int(index)))
    assert answer["marks"]["delta"] == reaching
    assert len(answer["marks"]["B"]) == len(reaching)


def test_an_output_of_a_convolution_uses_its_window_and_its_kernel():
    step = convolutional(padding=1, stride=2)
    at = step.place("forward", "conv1")
    terms = step.trace[at].terms
    index = np.ravel_multi_index((2, 1, 0, 2), terms["y"].shape)
    (answer,) = step.ask((at, "y", int(index)))
    used = np.zeros(terms["x"].shape, bool)
    used[2, 1:4, 0:2] = True  # rows 2 * 1 - 1 to 2 * 1 + 1, columns -1 to 1 without the border
    assert answer["marks"]["x"] == np.flatnonzero(used).tolist()
    kernel = np.zeros(terms["W"].shape, bool)
    kernel[:, 1:, :, 2] = True
    assert answer["marks"]["W"] == np.flatnonzero(kernel).tolist()
    assert answer["marks"]["b"] == [2]


def test_a_product_names_its_factors():
    step = Step([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 2)], (5, 3))
    at = step.place("carry", "linear2")
    terms = step.trace[at].terms
    (answer,) = step.ask((at, "delta_below", 7))  # example 1, unit 3
    numbers = [float(one) for one in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", answer["sum"].replace("−", "-"))]
    factors = [float(one[k]) for k in range(2) for one in (terms["delta"][1], terms["B"][3])]
    assert sorted(numbers) == pytest.approx(sorted(factors), abs=6e-4)
    assert answer["marks"] == {"delta": [2, 3], "B": [6, 7]}


ENTRIES = [("forward", "linear1", "y"), ("gradients", "linear1", "dW"), ("gradients", "linear1", "db")]
ENTRIES += [("backward", "tanh1", "delta_below"), ("update", "linear1", "W_new")]


@pytest.mark.parametrize("kind, layer, symbol", ENTRIES)
def test_a_sum_that_does_not_add_up_is_withheld(kind, layer, symbol):
    step = Step([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 2)], (5, 3))
    at = step.place(kind, layer)
    question = (at, symbol, 1)
    (right,) = step.ask(question)
    place = step.film[at]["terms"][symbol]["array"]
    packed = [list(one) for one in step.table.packed()]
    array = np.frombuffer(base64.b64decode(packed[place][2]), "<f4").copy()
    array[1] += 0.01
    packed[place][2] = base64.b64encode(array.tobytes()).decode()
    (wrong,) = step.ask(question, arrays=packed)
    assert right["sum"] and wrong["sum"] is None and "not worked out" in wrong["note"]


def test_a_convolution_that_does_not_add_up_is_withheld_whatever_its_border():
    step = convolutional(padding=1)
    at = step.place("forward", "conv2")
    place = step.film[at]["terms"]["W"]["array"]
    packed = [list(one) for one in step.table.packed()]
    packed[place][2] = base64.b64encode(
        np.random.default_rng(1).standard_normal(27 * 4).astype("<f4").tobytes()
    ).decode()
    (answer,) = step.ask((at, "y", 5), arrays=packed)
    assert answer["sum"] is None and answer["marks"] == {}


def test_an_operand_marks_what_depends_on_it():
    step = Step([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 2)], (5, 3))
    at = step.place("carry", "linear2")
    answers = step.ask((at, "delta", 3), (at, "B", 5))  # delta[1, 1] and B[2, 1]
    assert answers[0]["marks"] == {"delta_below": [4, 5, 6, 7], "B": [1, 3, 5, 7]}
    assert answers[1]["marks"] == {"delta_below": [2, 6, 10, 14, 18], "delta": [1, 3, 5, 7, 9]}
    assert all(answer["sum"] is None and "depend on it" in answer["note"] for answer in answers)
