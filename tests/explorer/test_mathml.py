"""Equations as MathML: every line of every rule, layer, loss and optimizer, and texts that are no equations."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import minifa as mf
from minifa import backend, rules
from minifa.explorer.mathml import NAMESPACE, lines, mathml
from minifa.losses import LOSSES
from minifa.optim import OPTIMIZERS
from minifa.testing import examples

# The elements that the page accepts (MathLine in web/src/symbols.tsx).
ALLOWED = set("math mrow mi mn mo mtext msub msup msubsup mfrac msqrt mover mspace mtable mtr mtd".split())
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</math><script>alert(1)</script>",
    '" onmouseover="x',
    "a & b",
    "\x00\x08 y",
]


def parsed(line, symbols=()):
    return ElementTree.fromstring(mathml(line, symbols))


def names(root):
    return [one.get("data-symbol") for one in root.iter() if one.get("data-symbol")]


def elements(root):
    return {one.tag.removeprefix(f"{{{NAMESPACE}}}") for one in root.iter()}


def texts(root):
    return [one.text for one in root.iter(f"{{{NAMESPACE}}}mtext")]


def lines_of_rules():
    """(line, terms) of all moments of a step under every rule."""
    for description in examples.ALL_RULES:
        net = examples.network_for(description)
        x, y = examples.batch(4, net.input_shape, int(np.prod(net.output_shape)))
        loss = mf.SoftmaxCrossEntropy()
        if description.startswith("recirculation"):
            loss, y = mf.HalfSquaredError(), backend.asarray(np.asarray(x).reshape(4, -1))
        rule = rules.make(description).attach(net)
        yield from ((line, ()) for line in rule.equation.split("\n"))
        optimizer = mf.SGD(lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1)
        for moment in mf.trace(net, rule, x, y, loss, optimizer):
            yield from ((line, tuple(moment.terms)) for line in moment.equation.split("\n"))


def lines_of_others():
    for loss in LOSSES.values():
        yield from (loss().equation + "\n" + loss().error_equation).split("\n")
    for make, shape in examples.GEOMETRIES.values():
        layers = make()
        end = [] if any(layer.parameters() for layer in layers) else [mf.Flatten(), mf.Linear(1, 1)]
        for layer in mf.Network([*layers, *end], input_shape=None if end else shape):
            yield from layer.equation.split("\n") + layer.error_equation.split("\n")
            yield from getattr(layer, "gradient_equation", "").split("\n")
    for make, decay, manhattan in itertools.product(OPTIMIZERS.values(), (0, 0.1), (False, True)):
        yield from make(lr=0.1, weight_decay=decay, manhattan=manhattan).equation.split("\n")
    yield from mf.SGD(lr=0.1, momentum=0.9, nesterov=True).equation.split("\n")
    yield "every g = g * min(1, clip_norm / norm_of_all)"
    yield "W_p = mean of W_q over the positions q of p's group"
    yield "signs and norms kept by the options"


@pytest.fixture(scope="module")
def all_lines():
    return sorted({*lines_of_rules(), *((line, ()) for line in lines_of_others())})


def test_every_line_is_mathematics_without_python(all_lines):
    assert len(all_lines) > 250
    for line, symbols in all_lines:
        if not line:
            assert mathml(line) == ""
            continue
        root = parsed(line, symbols)
        assert elements(root) <= ALLOWED, line
        text = "".join(root.itertext())
        assert not re.search(r"[@*_]|\.T\b", text), (line, text)
        for words in texts(root):
            assert not re.search(r"[=/^()\[\]*]|\bsqrt\b", words), (line, words)


def test_every_term_of_an_equation_can_be_highlighted(all_lines):
    for line, symbols in all_lines:
        found = names(parsed(line, symbols)) if line else []
        for symbol in symbols:
            # not where it is the name of a function, or a word of a sentence
            if re.search(rf"(?<![\w.]){re.escape(symbol)}(?![\w'(+-]| of )", line) and symbol != "a":
                assert symbol in found, (line, symbol)


@pytest.mark.parametrize(
    "line, inner",
    [
        ("y = x @ W + b", "y = x W + b"),
        ("delta_below = delta @ B.T", "δ_below = δ B^T"),
        ("delta = t / n @ F.T", "δ = (t)/(n) F^T"),
        ("e = 2 * (a - t) / n_out / n", "e = (2 ⋅ ( a − t ))/(n_out n)"),
        ("dB = eta (x^T (s - mean s) / (r (1 - r) g) - B), s spikes", None),
        ("xhat = (x - mu) / sqrt(var + eps)", "hat(x) = (x − μ)/(root(var + ε))"),
        ("B = M @ inv(W.T @ M + leak * I)", "B = M ( W^T M + leak ⋅ I )^− 1"),
        ("B = abs(M_t) sign(W)", "B = | M_t | sign ( W )"),
        ("delta_l = sum_k delta_k B_lk^T, later k", "δ_l = ∑_k δ_k B_l k^T , later k"),
        ("B = M * norm(W_0) / norm(M)", "B = (M ⋅ ‖ W_0 ‖)/(‖ M ‖)"),
        ("W_new = W - lr * (dW + weight_decay * W)", "W_new = W − lr ⋅ ( d W + weight decay ⋅ W )"),
        ("m = 1 - beta1^k", "m = 1 − β_1^k"),
        ("dB = -rate (1e-3 * 2B)", "d B = − rate ( 0.001 ⋅ 2 B )"),
        ("y = (u >= theta) W", "y = ( u ≥ θ ) W"),
        ("delta = (z- - z+) / (n beta)", "δ = (z^− − z^+)/(n β)"),
    ],
)
def test_a_formula_is_written_as_in_a_paper(line, inner):
    """``inner``: indices as _, powers as ^, fractions as (top)/(bottom)."""

    def spelled(node):
        tag = node.tag.removeprefix(f"{{{NAMESPACE}}}")
        parts = [text for child in node if (text := spelled(child))]
        joined = " ".join(parts)
        return {
            "mfrac": lambda: "({})/({})".format(*parts),
            "msub": lambda: "{}_{}".format(*parts),
            "msup": lambda: "{}^{}".format(*parts),
            "msqrt": lambda: f"root({joined})",
            "mover": lambda: f"hat({parts[0]})",
            "mspace": lambda: "",
        }.get(tag, lambda: joined or (node.text or "").strip())()

    result = spelled(parsed(line))
    assert inner is None or result == inner


def test_cases_have_a_row_each():
    root = parsed("y = where(x > 0, x, a * x)")
    rows = ["".join(row.itertext()) for row in root.iter(f"{{{NAMESPACE}}}mtr")]
    assert [row.replace("\u00a0", " ") for row in rows] == ["xif x>0", "a⋅xotherwise"]


def test_a_transposed_symbol_has_its_name():
    assert names(parsed("delta_below = uncolumns(delta @ B.T)")) == ["delta_below", "delta", "B"]
    assert names(parsed("velocity_new = momentum * velocity + dW")) == ["velocity_new", "momentum", "velocity", "dW"]


def test_words_are_text_and_symbols_in_them_are_not():
    root = parsed("y = mean of each window of x")
    assert names(root) == ["y", "x"] and [one.strip() for one in texts(root)] == ["mean of each window of"]
    assert names(parsed("wires = 2", ["wires"])) == ["wires"]  # a name of several letters that has a value


@pytest.mark.parametrize(
    "line", ["y = (x", "= = =", "W[", "the error of my own rule!", "x ** 2", "ünïcödé = 3", ")(", "1 2 ^"]
)
def test_what_is_no_formula_becomes_text(line):
    root = parsed(line)
    assert elements(root) <= ALLOWED
    assert re.sub(r"\W", "", line) == re.sub(r"\W", "", "".join(root.itertext()))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("pattern", ["{}", "y = {} @ W", "y = x, {}", "x_{} = 1"])
def test_names_cannot_become_markup(text, pattern):
    line = pattern.format(text)
    for symbols in ((), (text,)):
        made = mathml(line, symbols)
        root = ElementTree.fromstring(made)  # valid XML, also with characters that XML does not have
        assert elements(root) <= ALLOWED
        assert {name for one in root.iter() for name in one.attrib} <= {"data-symbol", "displaystyle", "width"}
        assert "<script" not in made and "<img" not in made


def test_lines_of_an_equation():
    assert lines("s = x\ny = s") == [mathml("s = x"), mathml("y = s")] and lines("") == [""]
    with pytest.raises(TypeError, match="a line of an equation must be a str"):
        mathml(3)
