"""The contract between rules and the engine: activities and targets of every rule, passes that leave caches alone,
gradients from another presynaptic activity, constraints and their place in a step, and the size of the feedback."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import Linear, Listen, Network, Pass, Tanh
from minifa.layers.observer import Observer, observing
from minifa.rules import BP, make
from minifa.testing.examples import ALL_RULES, LAYERS, WITHOUT_BATCH_NORM, batch, inputs, mlp, network, network_for
from minifa.testing.examples import numbers as draw

CE = mf.SoftmaxCrossEntropy()


# --- activities and targets -------------------------------------------------------------------------------------------


class Errors(Observer):
    """Every output of the first pass and every error of the real pass, independently of `recorded_targets`."""

    def __init__(self):
        self.outputs, self.errors = {}, {}

    def on_forward(self, layer, x, y):
        self.outputs.setdefault(layer.name, y.copy())

    def on_teach(self, layer, delta, taught):
        if taught is not None:
            self.errors[layer.name] = taught.copy()


def arrays_in(value, name):
    """All arrays in nested tuples, lists and dictionaries, by path."""
    if isinstance(value, np.ndarray):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (tuple, list)) else ()
    return {path: array for key, one in items for path, array in arrays_in(one, f"{name}/{key}").items()}


def everything(net, rule):
    """Copies of all arrays of a network and its rule: parameters, statistics, gradients, caches, feedback, memory."""
    parts = {
        "state": net.state(),
        "gradients": net.gradients(),
        "caches": {layer.name: layer.cache for layer in net},
        "rule": {key: value for key, value in vars(rule).items() if key != "batch"},
        "B": dict(rule.B),
    }
    return {name: array.copy() for name, array in arrays_in(parts, "").items()}


@pytest.mark.parametrize("description", [one for one in ALL_RULES if one not in WITHOUT_BATCH_NORM])
def test_every_rule_has_activities_and_targets_and_reading_them_changes_nothing(description):
    net = network_for(description)
    rule, (x, y) = make(description, seed=1).attach(net), batch(shape=net.input_shape)
    with pytest.raises(RuntimeError, match="has not computed a batch yet: call rule.gradients first"):
        rule.targets  # noqa: B018
    with observing(seen := Errors()):
        rule.gradients(net, x, y, CE)
    before, held, learning = everything(net, rule), arrays_in(vars(rule), ""), net.learning_rule
    activities, targets = rule.activities, rule.targets
    assert_same_bits(everything(net, rule), before)
    assert all(array is held[name] for name, array in arrays_in(vars(rule), "").items())
    assert net.learning_rule == learning and net.step == 0
    assert list(activities) == list(targets) == [layer.name for layer in net if layer.name in targets]
    for name, target in targets.items():
        h = activities[name]
        np.testing.assert_array_equal(h, seen.outputs[name])
        if name in seen.errors:  # rules without a backward pass compute errors of weight gradients only
            np.testing.assert_array_equal(target, h - rule.eta * len(h) * seen.errors[name].reshape(h.shape))
    for name, sent in getattr(rule, "sent", {}).items():
        np.testing.assert_allclose(targets[name], sent, rtol=1e-5, atol=1e-6)
    mf.SGD(0.1).step(net, rule)
    with pytest.raises(RuntimeError, match="read activities and targets between rule.gradients and optimizer.step"):
        rule.activities  # noqa: B018


@pytest.mark.parametrize("description", [one for one in ALL_RULES if one not in WITHOUT_BATCH_NORM])
def test_measurements_do_not_depend_on_the_batch_before(description):
    """Training measures a batch of another size than its last one."""
    measured = []
    for size in (0, 8):
        net = network_for(description, batch_norm=False)
        rule, (x, y) = make(description, seed=1).attach(net), batch(5, net.input_shape)
        if size:
            rule.gradients(net, *batch(size, net.input_shape, seed=6), CE)
        measured.append(
            (mf.metrics.alignment(net, rule, x, y, CE), mf.metrics.gradient_signs(net, rule, x[:2], y[:2], CE))
        )
    np.testing.assert_equal(measured[1], measured[0])


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("bp", ["tanh1", "tanh2", "linear3"]),
        ("fa", ["tanh1", "tanh2", "linear3"]),
        ("shallow", ["linear3"]),
        ("dfa", ["tanh1", "tanh2", "linear3"]),
        ("fwdtp", ["tanh1", "tanh2", "linear3"]),
        ("pepita", ["linear1", "linear2", "linear3"]),
        ("node_perturbation", ["linear1", "linear2", "linear3"]),
        ("weight_perturbation", []),
    ],
)
def test_the_layers_with_targets(description, names):
    net = mlp()
    rule, (x, y) = make(description).attach(net), batch(shape=(4,))
    rule.gradients(net, x, y, CE)
    assert list(rule.targets) == list(rule.activities) == names


def test_the_targets_of_backpropagation_are_one_step_down_the_loss_of_each_example(float64):
    """t = h - n delta."""
    net = mlp()
    rule, (x, y) = BP().attach(net), batch(shape=(4,))
    rule.gradients(net, x, y, CE)
    h1, h2, h3 = rule.activities.values()
    e = rule.error
    delta2 = e @ net["linear3"].W.T
    delta1 = (delta2 * (1 - h2 * h2)) @ net["linear2"].W.T
    t1, t2, t3 = rule.targets.values()
    for h, t, delta in ((h1, t1, delta1), (h2, t2, delta2), (h3, t3, e)):
        np.testing.assert_allclose((h - t) / len(x), delta, rtol=1e-12, atol=1e-15)
    rule.eta = 0.5
    np.testing.assert_allclose(rule.targets["tanh1"], h1 - 0.5 * len(x) * delta1, rtol=1e-12)


def test_targets_of_an_untaught_network_and_of_a_layer_without_activation():
    net = Network([Linear(4, 5), Linear(5, 3), mf.Sigmoid()])
    rule, (x, y) = BP().attach(net), batch(shape=(4,))
    rule.gradients(net, x, y, CE)
    assert list(rule.targets) == ["linear1", "sigmoid1"]


# --- passes -----------------------------------------------------------------------------------------------------------


def backward_bits(name, between):
    """The gradients, errors and statistics of a layer after a training pass, ``between`` and the backward pass."""
    make_layers, shape = LAYERS[name]
    net = network(make_layers(), shape, input_error=True)
    y = net.forward(inputs(shape, 4), Pass(training=True, step=1))
    between(net, -0.5 * inputs(shape, 3, seed=1))
    return {"below": net.backward(draw(y.shape, seed=2), BP()), **net.gradients(), **net.state()}


@pytest.mark.parametrize("name", LAYERS)
def test_a_pass_may_leave_the_cache_of_every_layer_alone(name):
    def other_pass(net, x):
        net.forward(x, Pass(training=True, step=7, update_statistics=False, keep=False))

    assert_same_bits(backward_bits(name, other_pass), backward_bits(name, lambda net, x: None))


def test_a_pass_replaces_the_caches_unless_told_otherwise():
    with pytest.raises((ValueError, TypeError)):
        backward_bits("Linear", lambda net, x: net.forward(x, Pass(training=True)))
    with pytest.raises(TypeError, match="keep must be a bool"):
        Pass(keep=1)


def test_a_user_defined_layer_is_checked_against_the_pass_of_its_cache():
    class Double(mf.Layer):
        kind = "double"

        def forward(self, x, ctx):
            self.cache = x if ctx.training else None
            return 2 * x

        def backward(self, delta, rule):
            return 2 * delta * (self.cached() > 0)

    net = Network([Linear(4, 4), Double()], input_shape=(4,))
    net.forward(inputs((4,), 3), Pass(training=True))
    net.forward(inputs((4,), 2), Pass(training=True, keep=False))
    net.backward(draw((3, 4)), BP())
    assert net["linear1"].grads["W"].shape == (4, 4)


def test_a_listening_pass_records_the_named_outputs_and_keeps_or_leaves_caches(engine):
    net, x = mlp(), inputs((4,), 3)
    listen = Listen(["tanh1", "linear3"], training=True, keep=False)
    y = net.forward(x, listen)
    assert list(listen.outputs) == ["tanh1", "linear3"] and listen.outputs["linear3"] is y
    assert all(layer.cache is None for layer in net)
    again = Listen({"tanh1"}, training=True, step=3, update_statistics=False)
    assert (again.step, again.update_statistics, again.keep) == (3, False, True)
    net.forward(x, again)
    assert net["linear2"].cache is again.outputs["tanh1"]
    inside = Network([mf.Residual([Linear(4, 4), Tanh()])])
    listen = Listen({"residual1.body.tanh1"})
    inside.forward(x, listen)
    assert listen.outputs["residual1.body.tanh1"].shape == (3, 4)


# --- gradients from another activity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Linear", "Conv2d 3x3", "Conv2d 3x3, 2 groups"])
def test_gradients_from_another_presynaptic_activity(name, engine):
    make_layers, shape = LAYERS[name]
    net = network(make_layers(), shape)
    (layer,) = net
    x, other = inputs(shape, 4), inputs(shape, 4, seed=1)
    delta = draw(net.forward(x, Pass(training=True)).shape, seed=2)
    layer.store_gradients(delta, other)
    given, cached = dict(layer.grads), layer.cache
    assert cached is x
    net.forward(other, Pass(training=True))
    layer.store_gradients(delta)
    assert_same_bits(
        {key: mf.to_host(a) for key, a in given.items()}, {k: mf.to_host(a) for k, a in layer.grads.items()}
    )
    net.freeze(layer.name)
    layer.store_gradients(delta, other)
    assert layer.grads == {"W": None, "b": None}


# --- constraints ------------------------------------------------------------------------------------------------------


class Positive(mf.rules.KolenPollack):
    """Its weights are not negative; it keeps the order of events."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.events = []

    def constrain(self, net):
        self.events.append(("constrain", net.step, {layer.name: mf.to_host(layer.W).copy() for layer in net.weighted}))
        for layer in net.weighted:
            if not layer.frozen:
                layer.W[...] = mf.backend.xp.maximum(layer.W, 0)

    def update_feedback(self, net):
        self.events.append(("update_feedback", net.step, float(net["linear2"].W.min())))


def test_a_rule_constrains_after_the_optimizer_and_before_its_feedback_learns(engine):
    net = mlp()
    net.freeze("linear1")
    frozen = mf.to_host(net["linear1"].W).copy()
    rule, (x, y) = Positive().attach(net), batch(shape=(4,))
    norm = float((net["linear2"].W ** 2).sum())
    rule.gradients(net, x, y, CE)
    assert rule.events == []  # neither when it is attached nor in a pass
    mf.SGD(0.1, constrain_weights=True).step(net, rule)
    (first, before, weights), (second, after, least) = rule.events
    assert (first, before, second, after) == ("constrain", 0, "update_feedback", 1)
    np.testing.assert_allclose((weights["linear2"] ** 2).sum(), norm, rtol=1e-5)  # the optimizer has restored the norm
    assert weights["linear2"].min() < 0 <= least
    np.testing.assert_array_equal(mf.to_host(net["linear1"].W), frozen)
    assert not mf.rules.FA.constrains and not mf.rules.DTP.constrains


def test_a_trace_shows_the_constraint_of_a_rule_and_a_step_without_one_has_none(engine):
    net = mlp()
    rule, (x, y) = Positive().attach(net), batch(shape=(4,))
    moments = mf.trace(net, rule, x, y, CE, mf.SGD(0.1, constrain_weights=True))
    titles = [moment.title for moment in moments if moment.kind == "constrain"]
    assert titles == ["Weights are constrained", "The rule constrains the weights"]
    (moment,) = (moment for moment in moments if moment.title == titles[1])
    assert "linear2.W" in moment.new and moment.arrays["linear2.W"].min() == 0 and "requires" in moment.why
    assert "constrain" not in vars(rule)
    rule.gradients(net, x, y, CE)
    mf.SGD(1e-9).step(net, rule)
    kinds = [moment.kind for moment in mf.trace(net, make("fa").attach(net), x, y, CE, mf.SGD(0.1))]
    assert "constrain" not in kinds


def test_the_result_of_constrain_is_checked():
    class Mine(mf.rules.FA):
        def constrain(self, net):
            return net

    net = mlp()
    rule, (x, y) = Mine().attach(net), batch(shape=(4,))
    rule.gradients(net, x, y, CE)
    with pytest.raises(
        TypeError, match="constrain of the rule 'Mine' must return None, got .*Network: change .* W in pl"
    ):
        mf.SGD(0.1).step(net, rule)


# --- attaching, and feedback that the optimizer updates ---------------------------------------------------------------


def test_a_teacher_needs_two_methods_only(float64):
    """As `minifa.layers.Teacher` has: one that watches a rule need not know its other attributes."""

    class Watching:
        def teach(self, layer, delta):
            return delta

        def carry(self, layer, delta):
            return layer.carry(delta, layer.W)

    net, (x, y) = mlp(), batch(shape=(4,))
    rule = BP().attach(net)
    rule.gradients(net, x, y, CE)
    expected = {name: gradient.copy() for name, gradient in net.gradients().items()}
    net.backward(rule.error, Watching())
    assert_same_bits(expected, net.gradients())


@pytest.mark.parametrize("description", ALL_RULES)
def test_attaching_a_rule_changes_nothing_in_the_network(description):
    net = network_for(description)
    before = net.state()
    make(description, seed=1).attach(net)
    assert_same_bits(net.state(), before)


class Recording:
    """Takes the place of a rule's `parameters`: keeps copies of the gradients and gives the arrays in any order."""

    def __init__(self, rule, order):
        self.original, self.order, self.gradients = rule.parameters, order, []

    def __call__(self):
        pairs = self.original()
        self.gradients.append({name: gradient.copy() for name, (_, gradient) in pairs.items()})
        return {name: pairs[name] for name in self.order(pairs)}


@pytest.mark.parametrize(
    "description",
    [
        one
        for one in ALL_RULES
        if type(make(one)).parameters is not mf.rules.Rule.parameters and make(one).feedback_learns
    ],
)
def test_two_steps_of_momentum_on_learned_feedback_by_hand_in_any_order(description, float64):
    """v = mu v + g + decay B, B = B - lr v: the optimizer keeps a state of its own for each array."""
    states, lr, mu, decay = [], 0.1, 0.9, 0.05
    for order in (list, lambda pairs: list(pairs)[::-1]):
        net = network_for(description)
        rule, optimizer = make(description, seed=1).attach(net), mf.SGD(lr, momentum=mu, weight_decay=decay)
        rule.parameters = recording = Recording(rule, order)
        expected, speed = {}, {}
        for step in range(2):
            rule.gradients(net, *batch(shape=net.input_shape, seed=step), CE)
            expected = expected or {name: array.copy() for name, (array, _) in recording.original().items()}
            optimizer.step(net, rule)
            for name, gradient in recording.gradients[-1].items():
                speed[name] = mu * speed.get(name, 0) + gradient + decay * expected[name]
                expected[name] = expected[name] - lr * speed[name]
        for name, (array, _) in recording.original().items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-12, atol=1e-14, err_msg=name)
        states.append({**net.state(), **{f"feedback {name}": array for name, array in rule.state().items()}})
    assert_same_bits(*states)


# --- the size of the feedback -----------------------------------------------------------------------------------------


def test_arrays_that_are_statistics_are_saved_and_not_counted_as_feedback():
    class Averages(mf.rules.FA):
        statistics = (*mf.rules.Rule.statistics, "/mean")

        def draw(self, net):
            super().draw(net)
            for layer in self.layers_with_feedback(net):
                self.memory[f"{layer.name}/mean"] = mf.backend.xp.zeros(layer.fans[0], layer.W.dtype)

    net = mlp()
    rule, plain = Averages().attach(net), mf.rules.FA().attach(net)
    assert rule.state().keys() > plain.state().keys() and "linear2/mean" in rule.state()
    assert [rule.feedback_size(layer) for layer in net] == [plain.feedback_size(layer) for layer in net]
    Averages.statistics = ()
    assert rule.feedback_size(net["linear2"]) == plain.feedback_size(net["linear2"]) + 5
