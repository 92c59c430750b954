"""Errors in user-defined rules, layers, passes, losses and optimizers are reported where they occur, with the method,
the expected value and the value received."""

from __future__ import annotations

import copy
import re
import warnings

import numpy as np
import pytest

import minifa as mf
from minifa import Linear, Network, ReLU, Tanh, backend
from minifa.backend import xp
from minifa.experiments import Experiment
from minifa.rules import FA, Rule
from minifa.testing.examples import batch

CE = mf.SoftmaxCrossEntropy()


def mlp(*behind, middle=()):
    return Network([Linear(4, 6), *middle, Tanh(), Linear(6, 5), ReLU(), *behind, Linear(5, 3)])


def step(rule=None, net=None, loss=CE, optimizer=None):
    """One training step under this rule, or backpropagation."""
    net = net or mlp()
    rule = (rule or mf.rules.BP()).attach(net)
    value = rule.gradients(net, *batch(shape=(4,)), loss)
    (optimizer or mf.SGD(0.1)).step(net, rule)
    return value


def subclass(base, name, function, **others):
    """A user-defined class that overrides one method."""
    return type("Mine", (base,), {"__module__": __name__, name: function, **others})


def message_of(call):
    """The message of the error that the call raises; its type is one of the documented ones."""
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as caught:
        call()
    assert str(caught.value) == " ".join(str(caught.value).split()) != ""
    return str(caught.value)


# --- rules ------------------------------------------------------------------------------------------------------------

FEEDBACK = {
    "transposed": (
        lambda self, layer: layer.W.T,
        r"feedback of the rule 'Mine' for Linear 'linear3' returned an array of shape \(3, 5\), expected \(5, 3\), W's "
        r"shape \(fan_in, fan_out\): did you return W.T\?",
    ),
    "another shape": (
        lambda self, layer: layer.W[:1],
        r"'linear3' returned .* \(1, 3\), expected \(5, 3\), W's shape \(f.*\)$",
    ),
    "a row that could be broadcast": (lambda self, layer: layer.W[0], r"an array of shape \(3,\), expected \(5, 3\)"),
    "a list": (
        lambda self, layer: layer.W.tolist(),
        "returned list, expected an array of shape .*: convert it with minifa.asarray",
    ),
    "a number": (lambda self, layer: 0.5, "returned float, expected an array of shape .* on the backend"),
    "a number of NumPy": (lambda self, layer: np.float32(0.5), "returned numpy.float32, expected an array of shape"),
    "text": (lambda self, layer: "W", "returned str, expected an array of shape"),
    "float64": (
        lambda self, layer: layer.W.astype("float64"),
        r"an array of dtype float64, expected float32: convert it with .astype\('float32'\)",
    ),
    "integers": (lambda self, layer: (layer.W > 0).astype(int), "an array of dtype int64, expected float32"),
    "nothing": (
        lambda self, layer: None,
        "returned None, and no error would reach the layers below.*requires_errors = False",
    ),
}


@pytest.mark.parametrize("kind", FEEDBACK)
def test_feedback_without_the_shape_of_the_weights_is_refused(kind, engine):
    method, message = FEEDBACK[kind]
    net = Network([Linear(4, 5), Tanh(), Linear(5, 3, name="linear3")])  # one layer through which an error goes
    assert re.search(message, message_of(lambda: step(subclass(Rule, "feedback", method)(), net)))


def test_the_full_message_for_a_transposed_matrix():
    message = message_of(lambda: step(subclass(Rule, "feedback", lambda self, layer: layer.W.T)()))
    assert message == (
        "feedback of the rule 'Mine' for Linear 'linear2' returned an array of shape (5, 6), expected (6, 5), W's "
        "shape (fan_in, fan_out): did you return W.T?"
    )


def test_feedback_of_a_convolution_must_have_the_shape_of_its_kernel(engine):
    layers = [mf.Conv2d(1, 2, 3), mf.Tanh(), mf.Conv2d(2, 4, 3), mf.Flatten(), mf.Linear(16, 3)]
    net = Network(layers, input_shape=(6, 6, 1))
    for answer, message in (
        (
            lambda self, layer: layer.W.reshape(-1, layer.W.shape[-1]),
            r"\(18, 4\), expected \(3, 3, 2, 4\), W's shape: reshape it",
        ),
        (
            lambda self, layer: layer.W.reshape(-1, layer.W.shape[-1]).T,
            r"\(4, 18\), .*: reshape it to layer.weight_shape",
        ),
        (lambda self, layer: layer.W.T, r"\(4, 2, 3, 3\), .*: did you return W.T\?"),
    ):
        assert re.search(message, message_of(lambda answer=answer: subclass(Rule, "feedback", answer)().attach(net)))


def test_an_array_of_another_backend_is_refused(engine):
    """On NumPy it is an array like the others."""
    rule = subclass(Rule, "feedback", lambda self, layer: np.ones(layer.weight_shape, "f4"))()
    if engine == "numpy":
        step(rule)
    else:
        message = message_of(lambda: step(rule))
        assert (
            "returned numpy.ndarray, expected an array of shape" in message
            and "minifa.backend.xp instead of" in message
        )


TEACH = {
    "None": (lambda self, layer, delta: None, "returned None where an error arrived.*return delta"),
    "transposed": (
        lambda self, layer, delta: delta.T,
        r"of shape \(3, 8\), expected \(8, 3\), that of the layer's output",
    ),
    "one row": (lambda self, layer, delta: delta[:1], r"of shape \(1, 3\), expected \(8, 3\)"),
    "a list": (lambda self, layer, delta: delta.tolist(), "returned list"),
    "float64": (lambda self, layer, delta: delta.astype("float64"), "dtype float64, expected float32"),
    "a number": (lambda self, layer, delta: delta.sum(), r"returned (numpy.float32|an array of shape \(\))"),
}


@pytest.mark.parametrize("kind", TEACH)
def test_teach_must_return_an_error_of_the_shape_of_the_output(kind, engine):
    method, message = TEACH[kind]
    assert re.search(
        "^teach of the rule 'Mine' for Linear 'linear3' returned",
        message_of(lambda: step(subclass(FA, "teach", method)())),
    )
    assert re.search(message, message_of(lambda: step(subclass(FA, "teach", method)())))


def test_teach_without_an_arriving_error_must_return_the_shape_of_the_layer(engine):
    class Direct(Rule):
        name, crosses_weights = "direct", False

        def teaches(self, layer):
            return isinstance(layer, (Tanh, ReLU))

        def teach(self, layer, delta):
            return xp.ones((len(self.error), self.width), "f4") if self.teaches(layer) else delta

        def feedback(self, layer):
            return None

    rule = Direct()
    rule.width = 5
    assert message_of(lambda: step(rule)).endswith(
        "returned an array of shape (8, 5), expected (8, 6), that of the layer's output"
    )


def nothing_taken(self, *given):
    return {}


OTHERS = {
    "update_feedback": (
        nothing_taken,
        r"update_feedback of the rule 'Mine' must return None, got dict: update .*memory",
    ),
    "draw": (nothing_taken, "draw of the rule 'Mine' must return None, got dict: store .* in self.memory"),
    "parameters": (
        lambda self: None,
        r"parameters of the rule 'Mine' returned NoneType, expected a dictionary \{name: \(a",
    ),
    "parameters, no pair": (lambda self: {"linear2": self.memory["linear2"]}, "for 'linear2', expected a pair"),
    "parameters, no gradient": (
        lambda self: {"linear2": (self.memory["linear2"], None)},
        "parameters of the rule 'Mine', gradient of 'linear2', returned None",
    ),
    "parameters, transposed": (
        lambda self: {"linear2": (self.memory["linear2"], self.memory["linear2"].T)},
        r"gradient of 'linear2', returned an array of shape \(5, 6\), expected \(6, 5\), that of its array",
    ),
    "parameters, float64": (
        lambda self: {"linear2": (self.memory["linear2"].astype("f8"), self.memory["linear2"])},
        "array 'linear2', returned an array of dtype float64, expected float32",
    ),
    "carry": (
        lambda self, layer, delta: delta,
        r"carry of the rule 'Mine' for Linear 'linear3' .* \(8, 3\), expected \(8, 5\)",
    ),
    "gradients": (
        lambda self, net, x, y, loss: FA.gradients(self, net, x, y, loss) and None,
        "gradients of the rule 'Mine' returned NoneType, expected a number: the batch's mean loss",
    ),
    "gradients, no output": (lambda self, net, x, y, loss: 0.5, "must set the output and target of the pass"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_invalid_return_values_of_a_rule_are_refused(kind, engine):
    method, message = OTHERS[kind]
    assert re.search(message, message_of(lambda: step(subclass(FA, kind.partition(",")[0], method)())))


def test_a_missing_required_method_raises_a_clear_error(engine):
    with pytest.warns(RuntimeWarning, match="Mine.feedbak is never called: did you mean feedback?"):
        cls = subclass(Rule, "feedbak", lambda self, layer: layer.W)
    assert re.fullmatch(
        r"Mine must define feedback\(self, layer\): the matrix.* \(is feedbak a misspelling of it\?\)",
        message_of(lambda: step(cls())),
    )
    assert "must define feedback(self, layer)" in message_of(
        lambda: step(subclass(Rule, "teach", lambda self, layer, delta: delta)())
    )
    x = mf.asarray(np.ones((2, 4)))
    assert "Mine must define forward(self, x, ctx)" in message_of(
        lambda: Network([subclass(mf.Layer, "kind", "mine")()]).forward(x)
    )
    own = subclass(mf.Layer, "forward", lambda self, x, ctx: x)
    assert "Mine must define backward(self, delta, rule)" in message_of(lambda: step(net=mlp(own())))
    with pytest.warns(RuntimeWarning, match="Mine.backwards is never called: did you mean backward"):
        own = subclass(own, "backwards", lambda self, delta, rule: delta)
    assert "is backwards a misspelling of it?" in message_of(lambda: step(net=mlp(own())))
    assert "Mine must define f(self, y, x)" in message_of(
        lambda: Network([subclass(mf.layers.activations.Activation, "a", 1)()]).forward(x)
    )
    assert "must define __call__(self, output, target)" in message_of(
        lambda: step(loss=subclass(mf.losses.Loss, "name", "mine")())
    )
    assert "must define change(self, count, W, gradient" in message_of(
        lambda: step(optimizer=subclass(mf.optim.Optimizer, "name", "mine")(0.1))
    )


@pytest.mark.parametrize("misspelling", ["teech", "update_fedback", "paramters", "feedbacks", "parameter"])
def test_a_misspelled_method_name_raises_a_warning(misspelling):
    expected = misspelling != "teech"  # too short to be sure
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subclass(FA, misspelling, lambda self, *given: None)
    assert len(caught) == expected and all(str(one.filename) == __file__ for one in caught)


@pytest.mark.filterwarnings("error")
def test_other_method_names_raise_no_warning():
    class Mine(FA):
        def draw_all(self):
            """Something else."""

        def teacher_of(self, layer):
            return self

        def _feedback(self):
            return 1

        @staticmethod
        def carries():
            return True

    class More(Mine):
        def draw_all(self):
            return 2

    step(More())


SIGNATURES = [
    (
        Rule,
        "feedback",
        lambda self: None,
        r"Mine.feedback must accept the arguments \(self, layer\), got the signature \(self\)",
    ),
    (FA, "teach", lambda self, layer: None, r"must accept the arguments \(self, layer, delta\)"),
    (FA, "update_feedback", lambda self: None, r"must accept the arguments \(self, net\)"),
    (FA, "parameters", lambda self, net: {}, r"must accept the arguments \(self\)"),
    (FA, "draw", lambda self: None, r"must accept the arguments \(self, net\)"),
]


@pytest.mark.parametrize(("base", "name", "method", "message"), SIGNATURES, ids=[one[1] for one in SIGNATURES])
def test_a_method_with_a_wrong_signature_is_refused(base, name, method, message, engine):
    assert re.search(message, message_of(lambda: step(subclass(base, name, method)())))


def test_a_method_may_have_additional_parameters():
    class Mine(FA):
        def feedback(self, layer, scale=2.0, *, shift=0.0):
            return scale * super().feedback(layer) + shift

        def teach(self, *given):
            return super().teach(*given)

    step(Mine())


@pytest.mark.parametrize("kind", ["rule", "layer", "optimizer"])
def test_a_constructor_that_does_not_call_its_base_is_refused(kind):
    forgotten = {"__init__": lambda self: None}
    calls = {
        "rule": lambda: step(type("Mine", (FA,), {"__module__": __name__, **forgotten})()),
        "layer": lambda: mlp(type("Mine", (ReLU,), {"__module__": __name__, **forgotten})()),
        "optimizer": lambda: step(optimizer=type("Mine", (mf.SGD,), {"__module__": __name__, **forgotten})()),
    }
    assert message_of(calls[kind]) == "Mine.__init__ must call super().__init__() first"


def test_methods_that_may_return_none_can_do_so(engine):
    """None means that no error crosses the layer, which a rule that teaches layers, or need not reach all of them, may
    return."""
    assert float(step(subclass(Rule, "feedback", lambda self, layer: None, requires_errors=False)())) > 0
    net = mlp()
    step(subclass(FA, "teach", lambda self, layer, delta: None, requires_errors=False)(), net)
    assert set(net.gradients().values()) == {None}

    class Taught(Rule):
        def feedback(self, layer):
            return None

        def teach(self, layer, delta):
            width = (layer.output_shape or (0,))[-1]
            return xp.ones((len(self.error), width), self.error.dtype) if delta is None else delta

    step(Taught(), net)
    assert all(gradient is not None for gradient in net.gradients().values())


def test_a_rule_that_overrides_carry_may_have_feedback_of_any_shape(engine):
    class Flat(Rule):
        def feedback(self, layer):
            return layer.W.reshape(-1)

        def carry(self, layer, delta):
            return layer.carry(delta, self.record_feedback(layer).reshape(layer.weight_shape))

    class Dense(FA):
        def feedback(self, layer):
            return 2 * super().feedback(layer)

    net = mlp()
    step(Flat(), net)
    layers = [mf.Conv2d(1, 2, 3), mf.Tanh(), mf.Conv2d(2, 4, 3), mf.Flatten(), mf.Linear(16, 3)]
    net = Network(layers, input_shape=(6, 6, 1))
    rule = Dense(conv="dense").attach(net)
    rule.gradients(net, *batch(shape=(6, 6, 1)), CE)
    assert rule.B["conv2"].shape == (4 * 4 * 2, 2 * 2 * 4)


def test_methods_inherited_from_a_mixin_are_checked(engine):
    class Turned:
        def feedback(self, layer):
            return layer.W.T

    assert "for Linear 'linear2' returned" in message_of(
        lambda: step(type("Mine", (Turned, Rule), {"__module__": __name__})())
    )


def test_minifa_s_own_classes_are_not_checked():
    for cls in (mf.rules.FA, mf.rules.DFA, mf.Linear, mf.BatchNorm, mf.Pass, mf.SoftmaxCrossEntropy, mf.SGD):
        assert not any(hasattr(one, "is_checked") for one in vars(cls).values()), cls


# --- layers -----------------------------------------------------------------------------------------------------------


def layer(**methods):
    """A user-defined identity layer with these methods overridden."""
    default = {
        "kind": "mine",
        "forward": lambda self, x, ctx: x,
        "backward": lambda self, delta, rule: delta,
    }
    return type("Mine", (mf.Layer,), {"__module__": __name__, **default, **methods})()


LAYERS = {
    "forward without return": (
        {"forward": lambda self, x, ctx: None},
        "^forward of Mine 'mine1' returned None, expected an",
    ),
    "forward of another shape": (
        {"forward": lambda self, x, ctx: x[:, :3]},
        r"^forward of Mine 'mine1' returned an array of shape \(8, 3\), expected \(8, 5\), as returned by its inf",
    ),
    "forward of fewer examples": ({"forward": lambda self, x, ctx: x[:1]}, r"\(1, 5\), expected \(8, 5\)"),
    "forward of float64": ({"forward": lambda self, x, ctx: x.astype("f8")}, "dtype float64, expected float32"),
    "forward of a list": ({"forward": lambda self, x, ctx: x.tolist()}, "^forward of Mine 'mine1' returned list"),
    "forward without walk": (
        {"forward": lambda self, x: x},
        r"^Mine.forward must accept the arguments .*, got the signature \(self, x\)",
    ),
    "backward without return": (
        {"backward": lambda self, delta, rule: None},
        r"^backward of Mine 'mine1' returned None, so no layer below it would learn: return dL/d\(its input\), or",
    ),
    "backward of another shape": (
        {"backward": lambda self, delta, rule: delta[:, :2]},
        r"^backward of Mine 'mine1' returned an array of shape \(8, 2\), expected \(8, 5\), that of its input",
    ),
    "backward of float64": (
        {"backward": lambda self, delta, rule: delta.astype("f8")},
        "dtype float64, expected float32",
    ),
    "backward of a number": ({"backward": lambda self, delta, rule: 1.0}, "^backward of Mine 'mine1' returned float"),
    "backward without rule": (
        {"backward": lambda self, delta: delta},
        r"must accept the arguments \(self, delta, rule\)",
    ),
    "infer without return": (
        {"infer": lambda self, shape: None},
        "^infer of Mine 'mine1' returned None, expected the shape",
    ),
    "infer as a list": (
        {"infer": lambda self, shape: list(shape)},
        r"^infer of Mine 'mine1' returned \[5\], .* a tuple of sizes",
    ),
    "infer with a half": ({"infer": lambda self, shape: (shape[0] / 2,)}, r"^infer of Mine 'mine1' returned \(2.5,\)"),
    "infer without shape": ({"infer": lambda self: (5,)}, r"must accept the arguments \(self, shape\)"),
    "a gradient of another shape": (
        {
            "parameter_names": ("gain",),
            "initialise": lambda self, seed: setattr(self, "gain", np.ones(5)),
            "backward": lambda self, delta, rule: self.grads.update(gain=delta) or delta,
        },
        r"^backward of Mine 'mine1', grads\['gain'\], returned an array of shape \(8, 5\), expected \(5,\), that of g",
    ),
    "an array that is not there": (
        {"parameter_names": ("gain",)},
        "^the array 'gain' of Mine 'mine1' .* assign self.gain in initialise",
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_invalid_return_values_of_a_user_defined_layer_are_refused(kind, engine):
    methods, message = LAYERS[kind]
    assert re.search(message, message_of(lambda: step(net=mlp(layer(**methods)))))


@pytest.mark.parametrize("where", ["inside a block", "behind it"])
def test_the_message_names_a_nested_layer(where, engine):
    own = layer(forward=lambda self, x, ctx: x.astype("f8"))
    block = mf.Residual([Linear(5, 5), own]) if where == "inside a block" else own
    name = "mine1" if block is own else "residual1.body.mine1"
    assert message_of(lambda: step(net=mlp(block))).startswith(f"forward of Mine '{name}' returned")


def test_a_numpy_array_from_a_layer_on_a_device_is_refused(engine):
    own = layer(forward=lambda self, x, ctx: np.ones(x.shape, "f4"))
    if engine == "numpy":
        step(net=mlp(own))
    else:
        assert "forward of Mine 'mine1' returned numpy.ndarray" in message_of(lambda: step(net=mlp(own)))


def test_an_activation_must_write_into_its_output_array(engine):
    """Its return value was ignored, and its output array stayed uninitialised."""

    class Cube(mf.layers.activations.Activation):
        def f(self, y, x):
            return x**3

        def times_slope(self, below, delta, y):
            xp.multiply(delta, 3 * xp.abs(y) ** (2 / 3), out=below)

    assert message_of(lambda: step(net=mlp(Cube()))) == (
        "f of Cube 'layer1' must return None, got an array of the backend: write into y, y[...] = ..."
    ).replace(
        "an array of the backend", "numpy.ndarray" if engine == "numpy" else type(xp.ones(1)).__module__ + ".ndarray"
    )

    class Right(Cube):
        def f(self, y, x):
            return xp.power(x, 3, out=y)

    step(net=mlp(Right()))


def test_a_user_defined_weighted_layer_is_checked(engine):
    """Also if only its geometry is overridden, its return values are checked."""

    class Half(mf.Linear):
        def project(self, x, matrix, bias=None):
            return super().project(x, matrix, bias)[:, :2]

    class Up(mf.Linear):
        def carry(self, delta, matrix):
            return delta

    class Wide(mf.Linear):
        def weight_and_bias_gradients(self, x, delta):
            return super().weight_and_bias_gradients(x, delta)[0].T, delta.sum(axis=0)

    for cls, message in (
        (Half, r"^forward of Half 'linear3' returned an array of shape \(8, 2\), expected \(8, 5\)"),
        (Up, r"^backward of Up 'linear3' returned an array of shape \(8, 5\), expected \(8, 7\), that of its input"),
        (Wide, r"^backward of Wide 'linear3', grads\['W'\], returned an array of shape \(5, 7\), expected \(7, 5\)"),
    ):
        net = mlp(Linear(5, 7), cls(7, 5), middle=())
        net = Network([Linear(4, 7), Tanh(), Linear(7, 7), cls(7, 5), Linear(5, 3)])
        assert re.search(message, message_of(lambda net=net: step(net=net)))


def test_a_layer_may_return_none_if_the_rule_carries_no_error(engine):
    class Mine(mf.Linear):
        def backward(self, delta, rule):
            return super().backward(delta, rule)

    net = Network([Linear(4, 5), Tanh(), Mine(5, 6), Tanh(), Linear(6, 3)])
    step(mf.rules.DFA(), net)
    assert all(gradient is not None for gradient in net.gradients().values())


def test_a_gradient_that_a_layer_leaves_out_was_not_computed(engine):
    class Two(mf.Layer):
        kind, parameter_names = "two", ("gain", "shift")

        def initialise(self, seed):
            self.gain, self.shift = np.ones(5), np.zeros(5)

        def forward(self, x, ctx):
            self.cache = x
            return self.gain * x + self.shift

        def backward(self, delta, rule):
            self.grads = {"gain": (delta * self.cache).sum(axis=0)}
            return delta * self.gain

    net = mlp(Two())
    step(net=net)
    assert net.gradients()["two1.shift"] is None and float(xp.abs(net["two1"].shift).max()) == 0


# --- passes, losses, optimizers, callbacks ----------------------------------------------------------------------------


def test_a_user_defined_pass_must_return_a_valid_output(engine):
    net, x = mlp(), batch(shape=(4,))[0]
    for after, message in (
        (lambda self, layer, y: None, "^after of the Mine for Linear 'linear1' returned None, expected an array"),
        (lambda self, layer, y: y[:, :1], r"returned an array of shape \(8, 1\), expected \(8, 6\), that of y"),
        (lambda self, y: y, r"must accept the arguments \(self, layer, y\)"),
    ):
        assert re.search(message, message_of(lambda after=after: net.forward(x, subclass(mf.Pass, "after", after)())))


def test_invalid_return_values_of_a_user_defined_loss_are_refused(engine):
    for call, message in (
        (lambda self, output, target: output - target, "^the loss Mine returned .*, expected a pair: values"),
        (lambda self, output, target: (output.mean(), output), "^the loss Mine, values, returned"),
        (lambda self, output, target: (output, output), r"values, returned .* \(8, 3\), expected \(8,\), one for each"),
        (lambda self, output, target: (output[:, 0], output[:, 0]), r"errors, returned .*\(8,\), expected \(8, 3\)"),
    ):
        assert re.search(message, message_of(lambda call=call: step(loss=subclass(mf.losses.Loss, "__call__", call)())))


def test_a_user_defined_optimizer_must_update_in_place(engine):
    """Its return value was ignored, and no weight changed."""
    own = subclass(mf.optim.Optimizer, "change", lambda self, count, W, gradient: W - self.lr * gradient)
    assert re.search(
        "^change of .* must return None, got .*: write into W", message_of(lambda: step(optimizer=own(0.1)))
    )

    class Plain(mf.optim.Optimizer):
        def change(self, count, W, gradient):
            W -= self.lr * gradient

    plain, net, other = Plain(0.1), mlp(), mlp()
    step(net=net, optimizer=plain)
    step(net=other, optimizer=mf.SGD(0.1))
    for key, array in net.state().items():
        np.testing.assert_array_equal(array, other.state()[key])


def test_a_user_defined_callback_is_checked():
    with pytest.warns(RuntimeWarning, match="Mine.on_epochs is never called: did you mean on_epoch?"):
        subclass(mf.training.Callback, "on_epochs", lambda self, trainer, row: None)
    own = subclass(mf.training.Callback, "on_epoch", lambda self, trainer: None)
    net, data = Network([Linear(2, 2)]), mf.data.load("xor")
    trainer = mf.Trainer(net, mf.rules.BP().attach(net), CE, mf.SGD(), callbacks=[own()])
    assert "must accept the arguments (self, trainer, row)" in message_of(lambda: trainer.fit(data.train, 1))


# --- other values instead of an object --------------------------------------------------------------------------------


def trained(**changes):
    data, net = mf.data.load("xor"), Network([Linear(2, 2)])
    given = {"net": net, "rule": FA().attach(net), "train": data.train, "loss": CE, "optimizer": mf.SGD(), "epochs": 1}
    return mf.train(**{**given, "progress": True, **changes})


IN_PLACE = [
    (
        lambda: trained(rule="fa"),
        "^the rule must be a minifa.rules.Rule, for example minifa.rules.make.'fa'., got 'fa'$",
    ),
    (
        lambda: trained(rule=FA),
        r"^the rule must be a minifa.rules.Rule.*, got <class .*FA'>: pass an instance, FA\(...\)$",
    ),
    (
        lambda: trained(loss=mf.SoftmaxCrossEntropy),
        r"^the loss must be .*: pass an instance, SoftmaxCrossEntropy\(...\)$",
    ),
    (
        lambda: trained(optimizer="sgd"),
        r"^the optimizer must be a minifa.optim.Optimizer, for example minifa.SGD\(lr=0.1\), got 'sgd'$",
    ),
    (lambda: trained(net=[Linear(2, 2)]), r"^the network must be a minifa.Network, got \["),
    (
        lambda: trained(train=mf.data.load("xor")),
        "^the examples must be one part of a data set, data.train .*all of 'xor'$",
    ),
    (
        lambda: trained(train=(np.zeros((4, 2)), np.zeros(4))),
        r"as minifa.data.from_arrays\(x, y\).train, got arrays of shape \(4, 2\) and \(4,\)$",
    ),
    (lambda: trained(train=np.zeros((4, 2))), r"got arrays of shape \(4, 2\)$"),
    (lambda: trained(train="digits"), "got 'digits'$"),
    (lambda: mf.training.RecordAlignment(mf.data.load("xor")), "^the examples must be one part of a data set"),
    (
        lambda: Network([Linear(2, 2), ReLU]),
        r"^each layer must be a minifa.layers.Layer, got <class .*ReLU'>: pass an instance, ReLU\(...\)$",
    ),
    (lambda: FA(seeed=0), "^unknown option of FA 'seeed': did you mean seed"),
    (lambda: mf.SGD(nesterow=True), "^unknown option of SGD 'nesterow': did you mean nesterov"),
    (lambda: mf.AdamW(clip_nrm=1.0), "^unknown option of AdamW 'clip_nrm': did you mean clip_norm"),
    (lambda: mf.Conv2d(1, 2, 3, stide=2), "^unknown option of Conv2d 'stide': did you mean stride"),
    (lambda: mf.BatchNorm(3, epsilon=1), "^unknown option of BatchNorm 'epsilon': did you mean eps"),
    (
        lambda: mf.SoftmaxCrossEntropy(smoothing=1),
        "^unknown option of SoftmaxCrossEntropy 'smoothing': did you mean label_smo",
    ),
    (
        lambda: Network([Linear(2, 2)], input_shap=(2,)),
        "^unknown option of Network 'input_shap': did you mean input_shape",
    ),
    (lambda: Experiment(rul="fa"), "^unknown option of Experiment 'rul': did you mean rule"),
    (lambda: mf.rules.BP(scale=1), "^unknown option of BP 'scale': known: seed"),
]


@pytest.mark.parametrize(("call", "message"), IN_PLACE)
def test_a_string_a_class_or_arrays_instead_of_an_object_are_refused(call, message):
    assert re.search(message, message_of(call))


def test_options_of_a_user_defined_class():
    class Mine(FA):
        def __init__(self, seed=0, speed=1.0, **others):
            super().__init__(seed, **others)
            self.speed = speed

    assert Mine(speed=2.0, sparsity=0.5).sparsity == 0.5

    class Eager(FA):
        def __init__(self, seed=0, **others):
            self.gain = others.pop("gain", 1.0)  # an option without a parameter
            super().__init__(seed, **others)

    assert Eager(gain=2.0, sparsity=0.5).gain == 2.0
    for copied in (copy.copy(Mine()), copy.deepcopy(mf.SGD(momentum=0.5)), copy.deepcopy(mlp())):
        assert type(copied)


def test_a_registered_rule_must_be_a_class_with_a_seed(monkeypatch):
    class Mine(FA):
        def __init__(self, speed=1.0):
            super().__init__()

    monkeypatch.setitem(mf.rules.RULES, "mine", Mine)
    assert (
        message_of(lambda: mf.rules.make("mine"))
        == "the rule 'mine' must have the parameter seed=, which every rule gets"
    )
    monkeypatch.setitem(mf.rules.RULES, "mine", Mine())
    assert "the rule 'mine' must be registered as a class or function, got <Mine" in message_of(
        lambda: mf.rules.make("mine")
    )


def test_the_backend_is_restored():
    assert backend.name() == "numpy"
