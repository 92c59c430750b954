"""Optimizers: the order of a step, unchanged parameters, restored state, schedules at their boundaries."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import Linear, Network, Tanh, schedules
from minifa.optim import OPTIMIZERS
from minifa.schedules import SCHEDULES
from minifa.testing.examples import batch

MAKERS = {
    **OPTIMIZERS,
    "momentum": lambda: mf.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: mf.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop with momentum": lambda: mf.RMSprop(momentum=0.5),
    "manhattan": lambda: mf.SGD(0.01, momentum=0.5, manhattan=True),
    "constrained": lambda: mf.SGD(0.1, weight_decay=0.01, constrain_weights=True),
    "groups": lambda: mf.AdamW(decay_bias=False, lr_factors={"linear1": 0.1, "*.b": 2.0}),
    "frozen signs": lambda: mf.Adam(freeze_signs=True, constrain_weights=True),
}


def mlp(seed=0):
    return Network([Linear(4, 5), Tanh(), Linear(5, 3)], seed=seed)


def steps(net, rule, optimizer, count, start=0):
    for i in range(start, start + count):
        x, y = batch(shape=(4,), seed=i)
        rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
        optimizer.step(net, rule)


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_reduces_the_loss_in_place_and_is_counted(name, engine):
    net, optimizer = mlp(), MAKERS[name]()
    rule = mf.rules.BP().attach(net)
    x, y = batch(shape=(4,))
    held = net["linear1"].W
    first = float(rule.gradients(net, x, y, mf.SoftmaxCrossEntropy()))
    for _ in range(3):
        optimizer.step(net, rule)
        value = float(rule.gradients(net, x, y, mf.SoftmaxCrossEntropy()))
    assert value < first
    assert net["linear1"].W is held and net.step == 3 and held.dtype == np.float32


@pytest.mark.parametrize("name", MAKERS)
def test_a_parameter_without_a_gradient_does_not_change(name):
    """Decay and momentum included: otherwise a rule that trains the output layer alone would shrink the others."""
    net, optimizer = mlp(), MAKERS[name]()
    optimizer.weight_decay = 0.1
    before = net.state()
    net["linear2"].grads["W"] = np.ones_like(net["linear2"].W)
    for _ in range(2):
        optimizer.step(net)
    for key, array in net.state().items():
        assert np.array_equal(array, before[key]) == (key != "linear2.W"), key


def test_sgd_by_hand(float64):
    # v <- mu v + (g + d W); W <- W - lr v
    net = Network([Linear(1, 1, bias=False)])
    net["linear1"].W[...] = 2.0
    net["linear1"].grads["W"] = np.array([[0.5]])
    optimizer = mf.SGD(0.1, momentum=0.5, weight_decay=0.1)
    optimizer.step(net)
    first = 2.0 - 0.1 * 0.7
    assert net["linear1"].W.item() == pytest.approx(first)
    optimizer.step(net)
    assert net["linear1"].W.item() == pytest.approx(first - 0.1 * (0.5 * 0.7 + 0.5 + 0.1 * first))


def one_layer(W):
    net = Network([Linear(2, 2)])
    net["linear1"].W[...] = W
    return net, net["linear1"]


def move(layer, net, optimizer, dW, db=(0.0, 0.0)):
    layer.grads.update(W=np.array(dW), b=np.array(db))
    optimizer.step(net)


def test_manhattan_takes_the_sign_before_decay_and_momentum(float64):
    # v <- mu v + sign(g) + d W; W <- W - lr v; sign(0) = 0; biases too
    net, layer = one_layer(2.0)
    optimizer = mf.SGD(0.1, momentum=0.5, weight_decay=0.1, manhattan=True)
    move(layer, net, optimizer, [[30.0, -1e-9], [0.0, 7.0]], db=(-5.0, 0.0))
    signs = np.array([[1.0, -1.0], [0.0, 1.0]])
    v = signs + 0.1 * 2.0
    W = 2.0 - 0.1 * v
    np.testing.assert_allclose(layer.W, W, rtol=1e-14)
    np.testing.assert_allclose(layer.b, [0.1, 0.0], rtol=1e-14)
    move(layer, net, optimizer, [[1e9, -3.0], [0.0, -1.0]])
    v = 0.5 * v + [[1.0, -1.0], [0.0, -1.0]] + 0.1 * W
    np.testing.assert_allclose(layer.W, W - 0.1 * v, rtol=1e-14)


def test_manhattan_signs_the_gradient_of_learned_feedback_as_well(float64):
    net = mlp()
    rule, optimizer = mf.rules.KolenPollack().attach(net), mf.SGD(0.25, manhattan=True)
    before, W = rule.state(), net["linear2"].W.copy()
    steps(net, rule, optimizer, 1)
    assert set(np.unique(abs(net["linear2"].W - W).round(12))) == {0.25}
    np.testing.assert_allclose(rule.memory["linear2"] - before["linear2"], net["linear2"].W - W, rtol=1e-12)


@pytest.mark.parametrize("rule", ["kolen_pollack", "product", "direct_kolen_pollack"])
def test_feedback_that_learns_belongs_to_the_group_of_its_weight(rule, float64):
    """Also if no W has its name, as in direct feedback to an activation."""
    net = mlp()
    owner = "tanh1" if rule.startswith("direct") else "linear2"
    rule = mf.rules.make(rule).attach(net)
    before, W = rule.state(), net["linear2"].W.copy()
    steps(net, rule, mf.SGD(0.5, weight_decay=0.2, lr_factors={owner: 0.0}), 2)
    assert_same_bits(rule.state(), before)
    assert (net["linear2"].W == W).all() == (owner == "linear2") and net["linear1"].b.any()
    rule.attach(net)
    start = rule.state()
    steps(net, rule, mf.SGD(0.5, weight_decay=0.2, decay_bias=False, lr_factors={f"{owner}.W": 0.5}), 1)
    for key, (array, gradient) in rule.parameters().items():
        np.testing.assert_allclose(array, start[key] - 0.25 * (gradient + 0.2 * start[key]), rtol=1e-7)


def test_only_arrays_with_two_axes_decay_without_decay_bias(float64):
    net = Network([Linear(4, 5), mf.BatchNorm(5), Tanh(), Linear(5, 3)])
    for layer in net:
        layer.grads = {key: np.zeros_like(array) for key, array in layer.parameters().items()}
    for array in net.parameters().values():
        array += 1.0
    before = net.state()
    mf.SGD(1.0, weight_decay=0.5, decay_bias=False).step(net)
    for key, array in net.parameters().items():
        np.testing.assert_array_equal(array, before[key] * (0.5 if key.endswith(".W") else 1.0), err_msg=key)


def test_a_block_or_a_pattern_selects_all_parameters_inside():
    net = Network([mf.Residual([Linear(4, 4), Linear(4, 4)]), Linear(4, 3)])
    names = ("residual1.body.linear1.W", "residual1.body.linear2.b", "linear1.W")
    for pattern, inside in {
        "residual1": (1, 1, 0),
        "*.linear1.W": (1, 0, 0),
        "*.b": (0, 1, 0),
        "l*": (0, 0, 1),
    }.items():
        optimizer = mf.SGD(1.0, lr_factors={pattern: 0.5})
        for name, scaled in zip(names, inside, strict=True):
            with optimizer.group(name, net.parameters()[name]):
                assert optimizer.lr == (0.5 if scaled else 1.0), (pattern, name)
        optimizer.bind(net)


def test_a_pattern_without_a_parameter_is_refused_before_anything_changes():
    net = mlp()
    rule = mf.rules.BP().attach(net)
    rule.gradients(net, *batch(shape=(4,)), mf.SoftmaxCrossEntropy())
    before, optimizer = net.state(), mf.SGD(0.1, lr_factors={"linear1": 0.5, "linaer2": 0.0})
    with pytest.raises(ValueError, match=r"in lr_factors 'linaer2': did you mean linear2"):
        optimizer.step(net, rule)
    assert_same_bits(net.state(), before)
    assert net.step == 0 and optimizer.net is None
    optimizer.lr_factors = {"linear2": 0.0}
    optimizer.step(net, rule)
    optimizer.lr_factors = {"conv1": 0.0}  # also if it is assigned later
    with pytest.raises(ValueError, match="in lr_factors 'conv1'"):
        optimizer.step(net, rule)
    assert net.step == 1


def test_only_constrained_weights_are_rescaled(float64):
    # W' = W - lr g, then W = W' norm(W_0) / norm(W'); no bias, no feedback
    net, layer = one_layer([[3.0, 0.0], [0.0, 4.0]])
    optimizer = mf.SGD(1.0, constrain_weights=True)
    for dW in ([[-3.0, 0.0], [0.0, -4.0]], [[0.0, 2.0], [1.0, 0.0]]):
        moved = layer.W - np.array(dW)
        b = layer.b - [1.0, 2.0]
        move(layer, net, optimizer, dW, db=(1.0, 2.0))
        np.testing.assert_allclose(layer.W, moved * 5 / np.sqrt((moved**2).sum()), rtol=1e-14)
        np.testing.assert_array_equal(layer.b, b)
    net = mlp()
    rule = mf.rules.KolenPollack().attach(net)
    before = rule.state()["linear2"]
    steps(net, rule, mf.SGD(1.0, constrain_weights=True), 1)
    np.testing.assert_allclose(rule.memory["linear2"], before - net["linear2"].grads["W"], rtol=1e-12)


def test_a_weight_of_frozen_sign_stops_short_of_zero_and_may_grow_again(float64):
    net, layer = one_layer([[1.0, -1.0], [0.5, 0.0]])
    optimizer = mf.SGD(1.0, freeze_signs=True)
    move(layer, net, optimizer, [[2.0, -3.0], [0.5, 1.0]], db=(1.0, -1.0))
    # beyond zero, beyond zero, exactly at zero; a weight that started at zero has no sign
    np.testing.assert_array_equal(layer.W, [[1e-10, -1e-10], [1e-10, 0.0]])
    np.testing.assert_array_equal(layer.b, [-1.0, 1.0])
    move(layer, net, optimizer, [[-2.0, 3.0], [0.25, -1.0]], db=(-2.0, 2.0))
    np.testing.assert_allclose(layer.W, [[2.0, -3.0], [1e-10, 0.0]], rtol=1e-9)
    np.testing.assert_array_equal(layer.b, [1.0, -1.0])  # biases are free


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("constrain", [False, True])
def test_frozen_signs_are_kept_under_every_optimizer(name, constrain, engine):
    net = mlp()
    optimizer = OPTIMIZERS[name](lr=0.2, freeze_signs=True, constrain_weights=constrain)
    start = {layer.name: mf.to_host(layer.W).copy() for layer in net.weighted}
    steps(net, mf.rules.BP().attach(net), optimizer, 8)
    stopped = 0
    for layer in net.weighted:
        W = mf.to_host(layer.W)
        np.testing.assert_array_equal(np.sign(W), np.sign(start[layer.name]))
        stopped += (abs(W) < 1e-8).sum()
        if constrain:
            assert np.linalg.norm(W) == pytest.approx(np.linalg.norm(start[layer.name]), rel=1e-6)
    assert stopped > 0, "no weight ever came to zero: the test tests nothing"


def test_clipping_scales_all_gradients_by_one_factor(float64):
    # factor = min(1, most / (norm + 1e-6)), the norm over all gradients together
    net = mlp()
    for most, factor in ((1.0, 1 / (5 + 1e-6)), (10.0, 1.0)):
        net.clear_gradients()
        net["linear1"].grads["b"] = np.array([3.0, 0, 0, 0, 0])
        net["linear2"].grads["b"] = np.array([0, 4.0, 0])
        mf.SGD(0.0, clip_norm=most).step(net)
        assert net["linear1"].grads["b"][0] == pytest.approx(3 * factor, rel=1e-12)
        assert net["linear2"].grads["b"][1] == pytest.approx(4 * factor, rel=1e-12)
    net.clear_gradients()
    mf.SGD(0.1, clip_norm=1.0).step(net)  # without gradients there is nothing to clip or to update


def test_the_order_of_a_step():
    """The network, then the feedback that shares the optimizer, then the rule's own feedback update, which uses the new
    values."""
    net = mlp()
    shared = mf.asarray(np.ones((2, 2)))
    seen = []

    class Learned(mf.rules.FA):
        def parameters(self):
            return {"shared": (shared, np.ones_like(shared))}

        def update_feedback(self, net):
            seen.append((net.step, net["linear2"].W.copy(), shared.copy()))

    rule = Learned().attach(net)
    x, y = batch(shape=(4,))
    rule.gradients(net, x, y, mf.SoftmaxCrossEntropy())
    before = net["linear2"].W.copy()
    optimizer = mf.SGD(0.5)
    optimizer.step(net, rule)
    ((step, W, moved),) = seen
    assert step == 1
    np.testing.assert_allclose(W, before - 0.5 * net["linear2"].grads["W"], rtol=1e-6)
    np.testing.assert_allclose(moved, 0.5)
    assert optimizer.counts["feedback/shared"] == 1


@pytest.mark.parametrize("name", MAKERS)
def test_state_continues_exactly(name, engine):
    def fresh():
        net = mlp()
        return net, mf.rules.FA().attach(net), MAKERS[name]()

    net, rule, optimizer = fresh()
    steps(net, rule, optimizer, 3)
    weights, state = net.state(), optimizer.state()
    assert all(type(array) is np.ndarray for array in state.values())
    steps(net, rule, optimizer, 2, start=3)

    other, other_rule, restored = fresh()
    other.load_state(weights)
    restored.load_state(state, other, other_rule)
    for key, array in restored.state().items():
        np.testing.assert_array_equal(array, state[key], err_msg=key)
    steps(other, other_rule, restored, 2, start=3)
    for key, array in other.state().items():
        np.testing.assert_array_equal(array, net.state()[key], err_msg=key)


@pytest.mark.parametrize(
    "make, slots",
    [
        (mf.SGD, set()),
        (lambda: mf.SGD(momentum=0.9), {"velocity"}),
        (mf.Adam, {"mean", "square"}),
        (mf.RMSprop, {"square"}),
        (lambda: mf.RMSprop(momentum=0.9), {"square", "velocity"}),
    ],
)
def test_an_optimizer_stores_only_the_slots_it_needs(make, slots):
    net, optimizer = mlp(), make()
    steps(net, mf.rules.BP().attach(net), optimizer, 1)
    assert {name.split("/")[0] for name in optimizer.state()} == {*slots, "count"}


def test_a_state_saved_before_the_first_step_can_be_loaded():
    """It contains neither moments nor the initial norms and signs."""
    net, optimizer = mlp(), mf.Adam(constrain_weights=True, freeze_signs=True)
    restored = mf.Adam(constrain_weights=True, freeze_signs=True)
    restored.load_state(optimizer.state(), net)
    assert restored.state() == {}


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_without_feedback_needs_no_rule(name, float64):
    net, optimizer, other = mlp(), MAKERS[name](), MAKERS[name]()
    steps(net, mf.rules.BP().attach(net), optimizer, 2)
    other.load_state(optimizer.state(), net)
    assert_same_bits(optimizer.state(), other.state())
    learned = {**optimizer.state(), "count/feedback/B": np.array(1)}
    with pytest.raises(ValueError, match="this network, which has no feedback/B"):
        other.load_state(learned, net)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "corrupt, message",
    [
        (lambda s: s.update({"count/linear9.W": np.array(1)}), "this network, which has no linear9.W"),
        (lambda s: s.pop("mean/linear1.W"), r"missing \['mean/linear1.W'\]"),
        (
            lambda s: s.update({"square/linear1.b": np.zeros(2)}),
            r"'square/linear1.b' of the optimizer .* must have shape \(5,\)",
        ),
        (lambda s: s.update({"mean/linear1.b": np.full(5, np.nan)}), "must hold finite numbers"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(corrupt, message):
    net, optimizer = mlp(), mf.Adam()
    rule = mf.rules.BP().attach(net)
    steps(net, rule, optimizer, 1)
    before, state = optimizer.state(), optimizer.state()
    corrupt(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state(state, net, rule)
    for key, array in optimizer.state().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: mf.SGD(-0.1), "lr must be at least 0"),
        (lambda: mf.SGD(float("nan")), "lr must be at least"),
        (lambda: mf.SGD(momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda: mf.SGD(nesterov=True), "nesterov must be False without momentum"),
        (lambda: mf.SGD(weight_decay=-1), "weight_decay must be at least"),
        (lambda: mf.SGD(clip_norm=0), "clip_norm must be above 0, got 0"),
        (lambda: mf.Adam(betas=(0.9, 1.0)), "each of betas must be at least"),
        (lambda: mf.Adam(lr_factors={"linear1": -1}), r"lr_factors\['linear1'\] must be at least 0"),
        (lambda: mf.Adam(eps=0), "eps must be above 0, got 0"),
        (lambda: mf.AdamW(eps=-1e-8), "eps must be above 0"),
        (lambda: mf.RMSprop(eps=0), "eps must be above 0"),
        (lambda: mf.RMSprop(alpha=1.0), "alpha must be at least"),
        (lambda: schedules.step_decay(0), "size must be above 0, got 0"),
        (lambda: schedules.step_decay(1, gamma=-1), "gamma must be at least 0 .*, got -1"),
        (lambda: schedules.multi_step([2, -1]), "each of milestones must be at least 0 .*, got -1"),
        (lambda: schedules.cosine(0), "epochs must be above 0, got 0"),
        (lambda: schedules.cosine(1, least=-0.5), "least must be at least 0 .*, got -0.5"),
        (lambda: schedules.step_decay(1, gamma=1e300)(2), r"gamma 1e\+300 to the power 2 must be finite"),
        (lambda: schedules.multi_step([1, 2], gamma=1e300)(2), r"gamma 1e\+300 to the power 2 must be finite"),
        (lambda: schedules.step_decay(1e-320)(1), "gamma 0.1 to the power inf must be finite"),
        (lambda: schedules.warm_up(-1), "epochs must be above 0, got -1"),
        (lambda: schedules.make("warm_up:epochs=2,then=cosine"), "write 'warm_up:epochs=2 then cosine:epochs=13'"),
        (
            lambda: schedules.make("constant then cosine:epochs=2"),
            "'constant' before 'then' must have the option epochs=",
        ),
        (
            lambda: schedules.make("warm_up:epochs=2 then cosin:epochs=2"),
            "unknown schedule 'cosin': did you mean cosine",
        ),
        (lambda: schedules.sequence([schedules.constant()] * 3, [2, 2]), r"need 2 increasing milestones, got \[2, 2\]"),
        (lambda: schedules.reduce_on_plateau(factor=1), "factor must be at least 0 and below 1"),
        (lambda: schedules.reduce_on_plateau(patience=-1), "patience must be at least 0"),
        (lambda: schedules.reduce_on_plateau(threshold_mode="relative"), "threshold_mode must be 'rel' or 'abs'"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_unknown_option_is_refused_with_the_closest_name(make):
    name = make.__name__
    with pytest.raises(TypeError, match=f"^unknown option of {name} 'weigth_decay': did you mean weight_decay"):
        make(weigth_decay=0.1)
    with pytest.raises(TypeError, match=f"^unknown option of {name} 'manhatan': did you mean manhattan"):
        make(lr=0.1, manhatan=True)


def test_a_user_defined_optimizer_may_have_its_own_options():
    class Mine(mf.SGD):
        def __init__(self, **options):
            self.mine = options.pop("mine")
            super().__init__(**options)

    assert Mine(mine=3, momentum=0.5).mine == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentums'"):
        Mine(mine=3, momentums=0.5)


def test_schedules_at_their_boundaries():
    assert [schedules.step_decay(2, 0.5)(epoch) for epoch in (0, 1.99, 2, 4)] == [1, 1, 0.5, 0.25]
    assert [schedules.multi_step([1, 3], 0.1)(epoch) for epoch in (0.5, 1, 3)] == pytest.approx([1, 0.1, 0.01])
    assert [schedules.cosine(4, least=0.2)(epoch) for epoch in (0, 2, 4, 9)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert [schedules.warm_up(2, schedules.step_decay(3, 0.5))(epoch) for epoch in (0, 1, 2, 3)] == pytest.approx(
        [0, 0.5, 1, 0.5]
    )
    assert schedules.constant()(100) == 1
    assert set(SCHEDULES) == {"constant", "step", "multi_step", "cosine", "warm_up", "reduce_on_plateau"}


def test_schedules_follow_one_another():
    """Each starts at its own epoch 0; also within an epoch, and nested."""
    one = schedules.make("warm_up:epochs=2 then cosine:epochs=4 then step:size=1,gamma=0.5")
    assert [one(epoch) for epoch in (0, 0.5, 1.5, 2, 4, 5.75, 6, 7.5)] == pytest.approx(
        [0, 0.25, 0.75, 1, 0.5, schedules.cosine(4)(3.75), 1, 0.5]
    )
    inner = schedules.sequence([schedules.cosine(4), schedules.step_decay(1, 0.5)], 4)
    other = schedules.sequence([schedules.warm_up(2), inner], [2])
    assert [other(epoch / 4) for epoch in range(40)] == [one(epoch / 4) for epoch in range(40)]
    assert schedules.describe(one)["milestones"] == [2.0, 6.0]
    assert [part["name"] for part in schedules.describe(one)["schedules"]] == ["warm_up", "cosine", "step_decay"]


def test_a_plateau_is_measured_from_the_start_of_its_schedule():
    """The epochs of the warm-up do not count, nor does the row before the first update."""
    losses = enumerate([0.0, 9.0, 1.0, 5.0, 5.0, 5.0])
    rows = [{"epoch": i, "validation_loss": value, **({"train_loss": 1.0} if i else {})} for i, value in losses]
    plateau = schedules.reduce_on_plateau(factor=0.5, patience=0)
    assert [plateau(i, rows[: i + 1]) for i in range(6)] == [1, 1, 1, 0.5, 0.25, 0.125]
    later = schedules.sequence([schedules.warm_up(2), plateau], 2)
    assert [later(i, rows[: i + 1]) for i in range(6)] == [0, 0.5, 1, 1, 0.5, 0.25]
    both = schedules.warm_up(4, plateau)
    assert both(3, rows[:4]) == 0.75 * 0.5
    assert plateau(7) == 1.0  # without a history
    without = [{key: row[key] for key in row if key != "validation_loss"} for row in rows]
    assert plateau(5, without) == 0.0625  # of the training loss, which is equal in all five epochs


def test_the_trainer_gives_the_history_to_a_schedule():
    data, calls = mf.data.load("xor"), []

    @schedules.with_history
    def own(epoch, history=()):
        calls.append((epoch, len(history)))
        return 1.0

    def fit(schedule, **options):
        net = Network([Linear(2, 3), Tanh(), Linear(3, 2)])
        trainer = mf.Trainer(net, mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.5), schedule)
        return trainer.fit(data.train, 3, batch_size=2, **options)

    fit(own)
    assert sorted(set(calls)) == [(0, 1), (0.5, 1), (1, 2), (1.5, 2), (2, 3), (2.5, 3)]
    with pytest.raises(ValueError, match="needs 'validation_accuracy' in the history, which has epoch: give"):
        fit(schedules.reduce_on_plateau(measure="validation_accuracy"))
    never_better = schedules.reduce_on_plateau(0.5, patience=0, threshold=9.0, threshold_mode="abs", least=0.3)
    assert fit(never_better, validation=data.test).column("lr") == [None, 0.5, 0.5, 0.25]


def test_frozen_signs_do_not_hide_a_nan_weight():
    net = mf.Network([mf.Linear(2, 2)])
    optimizer = mf.SGD(lr=0.1, freeze_signs=True)
    optimizer.step(net)
    net["linear1"].W[0, 0] = np.nan
    optimizer.step(net)
    assert np.isnan(net["linear1"].W[0, 0])
