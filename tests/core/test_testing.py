"""`check_layer` and `check_rule` pass for minifa's own layers and rules, and fail for layers and rules with one mistake
each."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from conftest import install

import minifa as mf
from minifa import Layer, backend
from minifa.backend import xp
from minifa.rules import FA, RULES, Rule, make
from minifa.testing import check_layer, check_rule
from minifa.testing.examples import GEOMETRIES, IN_OWN_NETWORKS, mlp, network_for, small_convnet

# Layers


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if " network" not in name])
def test_every_layer_passes(name, engine):
    make_layers, shape = GEOMETRIES[name]
    (layer,) = make_layers()
    check_layer(layer, shape)
    assert not layer.in_network and layer.cache is None, "the layer itself is used"


class Scale(Layer):
    """y = gain * x + shift, and a running mean that evaluation subtracts."""

    kind = "scale"
    parameter_names = ("gain", "shift")
    buffer_names = ("mean",)

    def initialise(self, seed):
        self.gain, self.shift, self.mean = (mf.asarray(np.full(4, number)) for number in (1.0, 0.0, 0.0))

    def forward(self, x, ctx):
        if ctx.update_statistics:
            self.mean = self.mean / 2 + x.mean(axis=0) / 2
        self.cache = x if ctx.training else None
        return self.gain * x + self.shift if ctx.training else self.gain * (x - self.mean) + self.shift

    def backward(self, delta, rule):
        self.grads = {"gain": (delta * self.cached()).sum(axis=0), "shift": delta.sum(axis=0)}
        return self.gain * delta


def test_a_user_defined_layer_passes(engine):
    check_layer(Scale(), (4,))
    check_layer(Scale(name="mine"), [4], batch=7, seed=3)


class WrongGradient(Scale):
    def backward(self, delta, rule):
        return super().backward(delta, rule) * 1.001


class HiddenFactor(Scale):
    """Right as long as gain is 1."""

    def backward(self, delta, rule):
        super().backward(delta, rule)
        return delta


class ForgottenShift(Scale):
    def backward(self, delta, rule):
        below = super().backward(delta, rule)
        self.grads["shift"] = xp.zeros_like(self.shift)
        return below


class NoGradient(Scale):
    def backward(self, delta, rule):
        below = super().backward(delta, rule)
        self.grads["gain"] = None
        return below


class WritesInput(Scale):
    def forward(self, x, ctx):
        x -= 1
        return super().forward(x, ctx)


class WritesError(Scale):
    def backward(self, delta, rule):
        super().backward(delta, rule)
        delta *= self.gain
        return delta


class WritesOutput(Scale):
    def forward(self, x, ctx):
        self.output = super().forward(x, ctx)
        return self.output

    def backward(self, delta, rule):
        self.output *= 0
        return super().backward(delta, rule)


class Float64(Scale):
    def forward(self, x, ctx):
        return super().forward(x, ctx).astype("float64")


class Float64Gradient(Scale):
    def backward(self, delta, rule):
        below = super().backward(delta, rule)
        self.grads["gain"] = self.grads["gain"].astype("float64")
        return below


class WrongInfer(Scale):
    def infer(self, shape):
        return (shape[0] + 1,)


class NotFinite(Scale):
    def forward(self, x, ctx):
        return super().forward(x, ctx) * np.inf


class ForgottenBuffer(Scale):
    buffer_names = ()
    mean = None  # not an array of the layer


class LearnsInEvaluation(Scale):
    def forward(self, x, ctx):
        self.mean = self.mean + 1
        return super().forward(x, ctx)


class Noisy(Scale):
    rng = np.random.default_rng(0)

    def forward(self, x, ctx):
        return super().forward(x, ctx) + xp.asarray(self.rng.random(x.shape).astype(x.dtype))


class NoisyWeights(Scale):
    rng = np.random.default_rng(0)

    def initialise(self, seed):
        super().initialise(seed)
        self.gain = self.rng.random(4)


class Counts(Scale):
    """Its output depends on the number of previous calls."""

    passes = 0

    def forward(self, x, ctx):
        self.passes += 1
        return super().forward(x, ctx) * self.passes


class Fails(Scale):
    def backward(self, delta, rule):
        return self.gains * delta


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (WrongGradient, r"the gradient check of WrongGradient 'scale': wrong gradient of input, .* ratio 1\.001000"),
        (HiddenFactor, "the gradient check of .* wrong gradient of input"),
        (ForgottenShift, "the gradient check of .* wrong gradient of scale1.shift"),
        (
            NoGradient,
            "the passes in float32 of .* the gradient of scale1.gain is None, expected an array: backward stores it",
        ),
        (WritesInput, "the passes in float32 of WritesInput 'scale': .*read-only.*compute a new array instead"),
        (WritesError, "the passes in float32 of WritesError 'scale': .*read-only"),
        (WritesOutput, "the passes in float32 of WritesOutput 'scale': .*read-only"),
        (Float64, "the passes in float32 of .* dtype float64, expected float32"),
        (Float64Gradient, r"the passes in float32 of .* grads\['gain'\], returned an array of dtype float64"),
        (WrongInfer, r"the passes in float32 of .* shape \(4, 4\), expected \(4, 5\)"),
        (
            NotFinite,
            "the passes in float32 of .* the output in evaluation has entries that are not finite: avoid overflow",
        ),
        (
            ForgottenBuffer,
            "the state in float32 of .* output when evaluated differs .* parameter_names or buffer_names",
        ),
        (LearnsInEvaluation, "scale1.mean differs by .* only a pass with ctx.update_statistics changes a buffer"),
        (Noisy, "the repetition in float32 of .* differs by .*, expected the same bits: a second pass; draw random"),
        (NoisyWeights, "scale1.gain differs by .*, expected the same bits: two networks of one seed; draw random"),
        (Counts, "the repetition in float32 of .* a second pass"),
        (Fails, "the passes in float32 of Fails 'scale': AttributeError: .*no attribute 'gains'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_in_a_layer_is_found(layer, message):
    with pytest.raises(AssertionError, match=f"(?s){message}") as raised:
        check_layer(layer(), (4,))
    assert re.match(r"the (passes|repetition|state|gradient check)\b.* of ", str(raised.value))


def test_an_output_of_another_dtype_or_shape_is_found_without_the_checks_of_extensions(monkeypatch):
    """minifa's own layers are not validated at run time."""
    forward = mf.Tanh.forward
    for corrupt, message in (
        (lambda y: y.astype("float64"), "the output in evaluation is float64, expected float32"),
        (lambda y: y[:, :3], r"the output in evaluation has shape \(4, 3\), expected \(4, 5\): infer"),
    ):
        monkeypatch.setattr(mf.Tanh, "forward", lambda *given, corrupt=corrupt: corrupt(forward(*given)))
        with pytest.raises(AssertionError, match=message):
            check_layer(mf.Tanh(), (5,))


class Bent(Scale):
    """It computes another function on the stand-in."""

    def forward(self, x, ctx):
        return super().forward(x, ctx) * (1.01 if mf.backend.name() == "cupy" else 1.0)


class OnTheHost(Scale):
    def forward(self, x, ctx):
        return np.add(super().forward(x, ctx), 1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Bent, "output.* differs by .*, expected at most 0.001: compute with minifa.backend.xp instead of numpy"),
        (OnTheHost, "TypeError: numpy.add was handed a device array"),
    ],
)
def test_a_layer_that_differs_on_the_other_backend_is_found(layer, message):
    check_layer(layer(), (4,))
    install("standin")
    with pytest.raises(AssertionError, match=f"the comparison of cupy with NumPy of .*: {message}"):
        check_layer(layer(), (4,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_layer(mf.Linear, (4,)), "the layer must be a minifa.Layer.*pass an instance, Linear"),
        (lambda: check_layer(mf.Linear(4, 3), 4), "input_shape must be the shape of one example"),
        (lambda: check_layer(mf.Linear(4, 3), (5,)), "expects 4 inputs per example, got 5"),
        (lambda: check_layer(mf.Linear(4, 3), (4,), batch=0), "the batch must be at least 1, got 0"),
        (lambda: check_layer(mlp()["linear1"], (4,)), "is already in a network"),
        (lambda: check_rule(FA()), "the rule must be a class derived from minifa.rules.Rule, or a function"),
        (lambda: check_rule(dict), "the rule must be a class derived from"),
        (lambda: check_rule(lambda seed: None), "the rule must be a class derived from .* got None"),
        (lambda: check_rule(FA, net=mlp()), "net must be a function that makes a minifa.Network"),
        (lambda: check_rule(FA, net=lambda: None), "net must be a function that makes a minifa.Network, got None"),
        (lambda: check_rule(FA, formula={}), "formula must be a function of"),
        (lambda: check_rule(FA, net=lambda: mf.Network([mf.Flatten(), mf.Linear(4, 3)])), "must know its input_shape"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


# Rules


@pytest.mark.parametrize("name", RULES)
def test_every_rule_passes(name, monkeypatch):
    """On the default networks, or on the one that the rule accepts; checks on NumPy, and the stand-in beside it."""
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 30)
    install("standin")
    own = {one.partition(":")[0] for one in IN_OWN_NETWORKS}
    check_rule(partial(make, name), net=partial(network_for, name) if name in own else None)


def test_a_rule_passes_on_a_given_network_with_batch_norm():
    check_rule(lambda seed: FA(seed, normalise="strict"), net=small_convnet, seed=3)


def formula_with(matrix):
    """Every dW and db of a rule that carries errors with ``matrix(rule, layer)``, from the products of the layers:
    dW = columns(x).T @ d, d_below = d @ B.T."""

    def formula(net, rule, x, y, loss):
        result = {}

        def back(layers, delta):
            for layer in reversed(layers):
                if isinstance(layer, mf.Residual):
                    delta = sum(back(branch, delta) for _, branch in layer.children())
                elif isinstance(layer, mf.Weighted):
                    result[layer.name] = layer.weight_gradient(layer.cache, delta)
                    result[f"{layer.name}.b"] = delta.reshape(-1, delta.shape[-1]).sum(axis=0)
                    delta = layer.carry(delta, matrix(rule, layer)) if layer.needs_input_gradient else None
                elif delta is not None:
                    delta = layer.backward(delta, rule)
            return delta

        back(net.layers, rule.error)
        return result

    return formula


FA_FORMULA = formula_with(lambda rule, layer: rule.B[layer.name])
BP_FORMULA = formula_with(lambda rule, layer: layer.W)


def test_a_rule_is_compared_with_its_formula():
    for name in ("fa", "usf", "kolen_pollack"):
        check_rule(partial(make, name), formula=FA_FORMULA)
    check_rule(mf.rules.BP, formula=BP_FORMULA)
    for name in ("fa", "usf", "dfa", "shallow"):
        with pytest.raises(AssertionError, match="the formula of .* on a dense network in float64: .* differs by"):
            check_rule(partial(make, name), formula=BP_FORMULA)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({}, ValueError, r"by the names of layers, linear1, linear2, linear3; got \[\]"),
        ({"linear7": 0}, ValueError, r"linear1, linear2, linear3; got \['linear7'\]"),
        ({"linear1": "x"}, TypeError, "the formula of linear1 must be real numbers"),
        (None, TypeError, "the result of formula must be a dict with str keys, got None"),
        ({"linear1": np.zeros((5, 4))}, AssertionError, r"the formula of FA 'fa' .*linear1\.W differs by inf"),
    ],
)
def test_an_invalid_formula_is_refused(answer, error, message):
    with pytest.raises(error, match=message):
        check_rule(FA, formula=lambda *given: answer)


class Own(Rule):
    """Feedback that is drawn, and learns."""

    def draw(self, net):
        self.memory = {layer.name: self.draw_matrix(layer) for layer in self.layers_with_feedback(net)}

    def feedback(self, layer):
        return self.memory[layer.name]

    def update_feedback(self, net):
        for layer in self.layers_with_feedback(net):
            self.memory[layer.name] = 0.9 * self.memory[layer.name] + 0.1 * layer.W


class WritesWeights(Own):
    def feedback(self, layer):
        layer.W *= 0.5
        return self.memory[layer.name]


class WritesErrors(Own):
    def teach(self, layer, delta):
        delta *= 2
        return delta


class WritesInputs(Own):
    def gradients(self, net, x, y, loss):
        x *= 2
        return super().gradients(net, x, y, loss)


class WritesTargets(Own):
    def gradients(self, net, x, y, loss):
        y[:] = 0
        return super().gradients(net, x, y, loss)


class Float64Feedback(Own):
    def feedback(self, layer):
        return self.memory[layer.name].astype("float64")


class Float64Memory(Own):
    def draw(self, net):
        super().draw(net)
        self.memory = {name: array.astype("float64") for name, array in self.memory.items()}

    def feedback(self, layer):
        return self.memory[layer.name].astype(layer.W.dtype)


class Transposed(Own):
    def feedback(self, layer):
        return self.memory[layer.name].T


class NoReturn(Own):
    def attach(self, net):
        super().attach(net)


class Silent(Own):
    def teach(self, layer, delta):
        return None if layer.kind == "tanh" else delta


class Explodes(Own):
    def update_feedback(self, net):
        for array in self.memory.values():
            array *= np.inf


class Grows(Own):
    def update_feedback(self, net):
        self.memory["extra"] = xp.zeros(net.step, net.dtype)


class Random(Own):
    rng = np.random.default_rng(0)

    def feedback(self, layer):
        return self.memory[layer.name] * mf.asarray(self.rng.random(layer.W.shape), layer.W.dtype)


class DrawsOnce(Own):
    drawn = None

    def draw(self, net):
        if self.drawn is None or self.drawn.keys() != {layer.name for layer in self.layers_with_feedback(net)}:
            super().draw(net)
            self.drawn = self.memory
        self.memory = self.drawn


class Averages(Own):
    """A measurement changes its feedback."""

    def gradients(self, net, x, y, loss):
        value = super().gradients(net, x, y, loss)
        for array in self.memory.values():
            array *= 0.9
        return value


class Forgetful(Own):
    """Its learned state is not in memory."""

    def draw(self, net):
        self.kept = {layer.name: self.draw_matrix(layer) for layer in self.layers_with_feedback(net)}

    def feedback(self, layer):
        return self.kept[layer.name]

    def update_feedback(self, net):
        for layer in self.layers_with_feedback(net):
            self.kept[layer.name] = 0.9 * self.kept[layer.name] + 0.1 * layer.W


class Centred(Own):
    def predict_batch(self, net, x):
        outputs = net.forward(x)
        return outputs - outputs.mean(axis=0)


class ConstrainsAll(Own):
    def constrain(self, net):
        for layer in net.weighted:
            layer.W[...] = xp.maximum(layer.W, 0)


class WrongLocal(Own):
    def gradients(self, net, x, y, loss):
        value = super().gradients(net, x, y, loss)
        self.local["tanh1"] = {"losses": 1.0}
        return value


class NoLoss(Own):
    def gradients(self, net, x, y, loss):
        return super().gradients(net, x, y, loss) * np.nan


class WrongPair(Own):
    def parameters(self):
        return {name: (array, array[:1]) for name, array in self.memory.items()}


def test_a_user_defined_rule_passes(engine):
    check_rule(Own, formula=FA_FORMULA)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (WritesWeights, "the gradients .* differs by .* gradients leaves the weights as they are"),
        (WritesErrors, "the gradients .*read-only.*compute a new array instead"),
        (WritesInputs, "the gradients .*read-only"),
        (WritesTargets, "the gradients .*read-only"),
        (Float64Feedback, "attach .* dtype float64, expected float32"),
        (Float64Memory, "attach .* memory of linear2 is float64, expected float32"),
        (Transposed, r"attach .* shape \(6, 5\), expected \(5, 6\).*did you return W.T"),
        (NoReturn, "attach .* returned another object, expected the rule: end it with return self"),
        (Silent, "the gradients .* returned None where an error arrived"),
        (Explodes, "the gradients .* entries that are not finite"),
        (Grows, "the gradients .* changed the names or shapes in memory: draw all of its arrays in draw"),
        (Random, "the repetition .* a second rule of the same seed; draw random numbers"),
        (DrawsOnce, "the repetition .* a second attach; draw sets everything"),
        (Averages, "measuring .* must be replaced by a new one, not written to"),
        (Forgetful, "the state .* keep learned feedback in self.memory"),
        (Centred, "the predictions .* predict differs by .* must not depend on the others in its batch"),
        (ConstrainsAll, "the constraints .* must leave the weights of frozen layers: skip Linear 'linear1'"),
        (WrongLocal, "the gradients .* local of the rule 'WrongLocal' must have"),
        (NoLoss, "the gradients .* gradients returned the loss nan, expected a finite number"),
        (WrongPair, r"the gradients .* parameters .* gradient of 'linear2', returned an array of shape"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_in_a_rule_is_found(rule, message):
    with pytest.raises(AssertionError, match=f"(?s)^{message}") as raised:
        check_rule(rule)
    assert f" of {rule.__name__} '{rule.__name__}' on a dense network in float32: " in str(raised.value)


def test_feedback_of_a_wrong_shape_is_found_without_the_checks_of_extensions(monkeypatch):
    """minifa's own rules are not validated at run time."""
    feedback = FA.feedback
    for corrupt, message in (
        (lambda B: B[:1], r"B of linear2 has shape \(1, 6\), expected \(5, 6\): it carries the error"),
        (lambda B: B.astype("float64"), "B of linear2 is float64, expected float32: compute in the dtype"),
        (lambda B: B * np.nan, "B of linear2 has entries that are not finite"),
    ):
        monkeypatch.setattr(FA, "feedback", lambda *given, corrupt=corrupt: corrupt(feedback(*given)))
        with pytest.raises(AssertionError, match=f"attach of FA 'fa' on a dense network in float32: {message}"):
            check_rule(FA)


def test_a_layer_without_gradient_is_found(monkeypatch):
    monkeypatch.setattr(mf.rules.Shallow, "requires_errors", True)
    monkeypatch.setattr(mf.rules.Shallow, "_unreached", lambda self, net: [])
    with pytest.raises(AssertionError, match=r"gradient of linear1\.W is None.*an error must reach every layer"):
        check_rule(mf.rules.Shallow)


def test_a_rule_that_differs_on_the_other_backend_is_found(monkeypatch):
    feedback = FA.feedback
    monkeypatch.setattr(FA, "feedback", lambda *given: feedback(*given) * (2 if mf.backend.name() == "cupy" else 1))
    check_rule(FA)
    install("standin")
    with pytest.raises(
        AssertionError, match="the comparison with NumPy of FA 'fa' on a dense network on the backend cupy: "
    ):
        check_rule(FA)
