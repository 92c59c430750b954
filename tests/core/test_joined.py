"""Small parameters that an optimizer updates in one operation: the same bits as when each is updated alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import joined
from minifa.optim import OPTIMIZERS
from minifa.testing.examples import batch

MAKERS = {
    **OPTIMIZERS,
    "nesterov": lambda: mf.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=0.1),
    "rmsprop with momentum": lambda: mf.RMSprop(momentum=0.5, weight_decay=0.01),
    "manhattan": lambda: mf.SGD(0.01, momentum=0.5, manhattan=True),
    "groups": lambda: mf.AdamW(decay_bias=False, lr_factors={"linear1": 0.1, "*.b": 2.0}),
    "frozen signs": lambda: mf.Adam(freeze_signs=True, constrain_weights=True),
}
LOSS = mf.SoftmaxCrossEntropy()


def network():
    layers = [mf.Linear(4, 6), mf.BatchNorm(6), mf.Tanh(), mf.Linear(6, 900), mf.BatchNorm(900), mf.Tanh()]
    return mf.Network([*layers, mf.Linear(900, 3)], seed=1)  # linear2.W is too large to be joined


def alone(monkeypatch, make):
    """What ``make`` returns, with networks whose parameters are not joined."""
    with monkeypatch.context() as patch:
        patch.setattr(joined, "SMALL", 0)
        return make()


def parts(optimizer, rule="fa"):
    net = network()
    return net, mf.rules.make(rule).attach(net), MAKERS[optimizer]()


def step(net, rule, optimizer, seed):
    rule.gradients(net, *batch(shape=(4,), seed=seed), LOSS)
    optimizer.step(net, rule)


def assert_equal(one, other):
    """The same bits of parameters and optimizers."""
    assert_same_bits(one[0].state(), other[0].state())
    assert_same_bits(one[2].state(), other[2].state())


@pytest.mark.parametrize("rule", ["bp", "kolen_pollack"])
@pytest.mark.parametrize("optimizer", MAKERS)
def test_joined_parameters_get_the_same_bits(optimizer, rule, engine, monkeypatch):
    together, each = parts(optimizer, rule), alone(monkeypatch, lambda: parts(optimizer, rule))
    assert "linear1.W" in together[0].joined.places and not each[0].joined.places
    assert "linear2.W" not in together[0].joined.places
    for i in range(4):
        for one in (together, each):
            step(*one, seed=i)
        assert_equal(together, each)


def events(optimizer):
    """Steps in which a parameter is assigned, drawn again, frozen, without a gradient, or updated by itself, in
    networks of one optimizer each."""

    def without_gradient(net, rule, optimizer):
        rule.gradients(net, *batch(shape=(4,), seed=9), LOSS)
        net["batchnorm1"].grads["beta"] = net["linear3"].grads["W"] = None
        optimizer.step(net, rule)

    def assigned(net, rule, optimizer):
        net["linear1"].b = np.arange(6.0)

    def frozen(net, rule, optimizer):
        net.freeze("linear1")
        rule.attach(net)

    def unfrozen(net, rule, optimizer):
        net.unfreeze("linear1")
        rule.attach(net)

    def moved(net, rule, optimizer):
        layer = net["batchnorm2"]
        optimizer.move("batchnorm2.beta", layer.beta, layer.grads["beta"])

    def loaded(net, rule, optimizer):
        optimizer.load_state(optimizer.state(), net, rule)

    def slower(net, rule, optimizer):
        optimizer.lr_factors = {"linear3": 0.0}

    def drawn_again(net, rule, optimizer):
        net["linear3"].initialise(7)

    def replaced(net, rule, optimizer):
        net["batchnorm1"]._gamma = mf.asarray(np.full(6, 0.5))  # as a layer's own method may do

    return without_gradient, moved, frozen, unfrozen, loaded, slower, assigned, drawn_again, replaced


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nesterov", "groups"])
def test_parameters_whose_counts_or_settings_differ_are_not_updated_together(optimizer, engine, monkeypatch):
    together, each = parts(optimizer), alone(monkeypatch, lambda: parts(optimizer))
    for i, event in enumerate(events(optimizer)):
        for one in (together, each):
            step(*one, seed=i)
            event(*one)
            step(*one, seed=i + 20)
        assert_equal(together, each)


def test_an_assigned_parameter_is_no_longer_joined_and_the_old_array_stays_as_it_was():
    net, rule, optimizer = parts("nesterov")
    held = net["linear1"].W
    step(net, rule, optimizer, 0)
    assert net["linear1"].W is held  # updated in place
    net["linear1"].W = np.ones((4, 6))
    before = held.copy()
    step(net, rule, optimizer, 1)
    assert (held == before).all() and (net["linear1"].W != 1).any()


def test_a_layer_that_is_initialised_again_learns():
    net, rule, optimizer = parts("sgd")
    step(net, rule, optimizer, 0)
    net["linear1"].initialise(7)
    for i in range(5):
        before = net["linear1"].W.copy()
        step(net, rule, optimizer, i)
        assert (net["linear1"].W != before).any()


class Scale(mf.Layer):
    """A user-defined layer with a property of its own, and a second name for the same array."""

    kind = "scale"
    parameter_names = ("W",)
    W = property(lambda self: self._W, lambda self, value: setattr(self, "_W", value))

    def initialise(self, seed):
        self._W = self.same = np.ones(4, "float32")

    def forward(self, x, ctx):
        self.cache = x
        return x * self.same

    def backward(self, delta, rule):
        self.grads["W"] = (delta * self.cache).sum(axis=0)
        return delta * self.same


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_arrays_of_a_user_defined_layer_stay_its_own(optimizer):
    net = mf.Network([Scale(), mf.Linear(4, 3)], input_shape=(4,))
    rule, optimizer, layer = mf.rules.BP().attach(net), MAKERS[optimizer](), net["scale1"]
    assert list(net.joined.places) == ["linear1.W", "linear1.b"]
    step(net, rule, optimizer, 0)
    assert layer.W is layer.same and (layer.W != 1).all()
    layer.W = layer.same = np.full(4, 2, "float32")
    step(net, rule, optimizer, 1)
    assert layer.W is layer.same and (layer.W != 2).all()


@pytest.mark.parametrize("make", [lambda: mf.SGD(0.5), lambda: mf.SGD(0.5, momentum=0.5), mf.Adam])
def test_a_user_defined_layer_may_learn_an_array_outside_its_parameters(make):
    class WithThreshold(mf.Linear):
        threshold = np.ones(3, "float32")

        def store_gradients(self, delta, x=None):
            super().store_gradients(delta, x)
            self.grads["threshold"] = np.ones(3, "float32")

    net = mf.Network([WithThreshold(4, 3)])
    layer, optimizer = net["linear1"], make()
    layer.threshold = np.ones(3, "float32")
    step(net, mf.rules.BP().attach(net), optimizer, 0)
    assert (layer.threshold < 1).all() and optimizer.counts["linear1.threshold"] == 1


def test_a_gradient_without_an_array_is_refused_before_anything_changes():
    net, rule, optimizer = parts("sgd")
    rule.gradients(net, *batch(shape=(4,)), LOSS)
    net["linear3"].grads["w"] = np.ones((900, 3), "float32")
    before = net.state()
    with pytest.raises(AttributeError, match="'w'"):
        optimizer.step(net, rule)
    assert_same_bits(net.state(), before)


def test_a_number_as_gradient_counts_for_every_entry():
    net, _, optimizer = parts("sgd")
    before = net["linear1"].b.copy()
    net["linear1"].grads["b"] = 2.0
    optimizer.step(net)
    np.testing.assert_allclose(net["linear1"].b, before - optimizer.lr * 2.0, rtol=1e-6)


def test_the_slots_of_a_parameter_are_made_once(monkeypatch):
    net, rule, optimizer = parts("adam")
    made, new_slots = [], optimizer.new_slots
    monkeypatch.setattr(optimizer, "new_slots", lambda array: made.append(array.shape) or new_slots(array))
    step(net, rule, optimizer, 0)
    net["linear1"].W = np.ones((4, 6))  # a new plan
    step(net, rule, optimizer, 1)
    assert sorted(made) == sorted(array.shape for array in net.parameters().values())


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_a_copy_continues_with_the_same_bits(optimizer):
    """Copied views do not share memory: neither the network's parameters nor the optimizer's slots."""
    first = parts(optimizer)
    step(*first, seed=0)
    second = copy.deepcopy(first)
    for i in (1, 2):
        for one in (first, second):
            step(*one, seed=i)
        assert_equal(first, second)


def test_a_gradient_of_a_wrong_shape_is_refused_as_before():
    net, rule, optimizer = parts("sgd")
    rule.gradients(net, *batch(shape=(4,)), LOSS)
    net["linear1"].grads["W"] = np.ones((6, 4), "float32")
    with pytest.raises(ValueError, match="broadcast"):
        optimizer.step(net, rule)


def test_a_user_defined_optimizer_gets_every_parameter_alone():
    """Its update need not be elementwise: here each parameter moves by a fraction of its own norm."""
    seen = []

    class Trust(mf.SGD):
        def change(self, count, W, gradient, *slots):
            seen.append(W.shape)
            W -= self.lr * gradient * (np.linalg.norm(W) / (1 + np.linalg.norm(gradient)))

    net = network()
    step(net, mf.rules.BP().attach(net), Trust(0.1), 0)
    assert seen == [array.shape for array in net.parameters().values()]


def test_a_user_defined_optimizer_may_promise_an_elementwise_update():
    """The promise is that of the class: one derived from it may define another update."""

    class Signs(mf.SGD):
        elementwise = True

        def change(self, count, W, gradient, *slots):
            seen.append(W.size)
            W -= self.lr * np.sign(gradient)

    class Derived(Signs):
        pass

    net = network()
    sizes = [array.size for array in net.parameters().values()]
    for make, expected in ((Signs, 2), (Derived, len(sizes))):  # linear2.W, and all others together
        seen = []
        step(net, mf.rules.BP().attach(net), make(0.1), 0)
        assert len(seen) == expected and sum(seen) == sum(sizes)
