"""The state of an optimizer, a rule or a trainer belongs to one network and is never used for another one, and a number
has the same effect in every type."""

from __future__ import annotations

import fractions
import json
import types

import numpy as np
import pytest
from checks import assert_same_bits
from test_optim import MAKERS

import minifa as mf
from minifa import Linear, Network, Tanh, backend, checkpoints
from minifa.experiments import Experiment
from minifa.testing.examples import batch
from minifa.training import Callback, logs

CE = mf.SoftmaxCrossEntropy()


def mlp(seed=0, hidden=5, scale=1.0):
    net = Network([Linear(4, hidden), Tanh(), Linear(hidden, 3)], seed=seed)
    net["linear1"].W = scale * net["linear1"].W
    return net


def steps(net, rule, optimizer, count=3, start=0):
    for seed in range(start, start + count):
        x, y = batch(shape=(4,), seed=seed)
        rule.gradients(net, x, y, CE)
        optimizer.step(net, rule)


def all_state(net, rule, optimizer):
    return {**net.state(), **{f"rule/{key}": a for key, a in rule.state().items()}, **optimizer.state()}


# --- an optimizer used for another network ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["bp", "kolen_pollack", "product"])
@pytest.mark.parametrize("name", MAKERS)
def test_an_optimizer_resets_its_state_for_another_network(name, rule, engine):
    """The second fold of a cross-validation is bit-identical to one with a new optimizer."""
    used, fresh = MAKERS[name](), MAKERS[name]()
    first = mlp(seed=1, scale=10.0)
    steps(first, mf.rules.make(rule).attach(first), used)
    states = []
    for optimizer in (used, fresh):
        net = mlp()
        one = mf.rules.make(rule).attach(net)
        steps(net, one, optimizer)
        states.append(all_state(net, one, optimizer))
    assert_same_bits(*states)


@pytest.mark.parametrize("name", MAKERS)
def test_an_optimizer_accepts_a_network_of_another_width(name, engine):
    optimizer = MAKERS[name]()
    for hidden in (8, 5):
        net = mlp(hidden=hidden)
        steps(net, mf.rules.BP().attach(net), optimizer)
        assert {array.shape for key, array in optimizer.state().items() if "linear1.W" in key} <= {(4, hidden), ()}


def test_constrained_norms_are_those_of_the_current_network(float64):
    """Also if the weights are restored manually: the norm is this network's, not the previous network's."""
    optimizer = mf.SGD(0.01, constrain_weights=True, freeze_signs=True)
    steps(large := mlp(scale=10.0), mf.rules.BP().attach(large), optimizer)
    net = mlp(seed=1)
    before = net.state()
    optimizer.constrain(net)
    for key, array in net.state().items():
        np.testing.assert_allclose(array, before[key], rtol=1e-14)


@pytest.mark.parametrize("rule", ["kolen_pollack", "product", "direct_kolen_pollack"])
def test_the_momentum_of_learned_feedback_belongs_to_the_feedback(rule, engine):
    """With another rule on the same network, or the same rule attached again, the momentum of the weights is kept and
    that of the feedback starts at zero."""
    for again in (False, True):
        net, optimizer = mlp(), mf.SGD(0.1, momentum=0.9)
        one = mf.rules.make(rule).attach(net)
        steps(net, one, optimizer)
        one = one.attach(net) if again else mf.rules.make(rule, seed=1).attach(net)
        steps(net, one, optimizer, 1, start=3)
        counts = {key: int(count) for key, count in optimizer.state().items() if key.startswith("count/")}
        assert {count for key, count in counts.items() if "feedback" in key} == {1}
        assert {count for key, count in counts.items() if "feedback" not in key} == {4}
        for name, (_, gradient) in one.parameters().items():  # v = 0.9 * 0 + g
            velocity = optimizer.state()[f"velocity/feedback/{name}"]
            np.testing.assert_array_equal(velocity, mf.to_host(gradient))


@pytest.mark.usefixtures("engine")
def test_a_step_with_the_rule_of_another_network_is_refused():
    (net, rule), (other, theirs) = ((one := mlp(seed), mf.rules.KolenPollack().attach(one)) for seed in (0, 1))
    rule.gradients(net, *batch(shape=(4,)), CE)
    before = net.state()
    for wrong in (theirs, mf.rules.KolenPollack()):
        with pytest.raises(ValueError, match="the rule 'kolen_pollack' is not attached to this network"):
            mf.SGD(0.1).step(net, wrong)
    assert_same_bits(before, net.state())
    assert net.step == 0


@pytest.mark.usefixtures("engine")
def test_a_step_without_the_rule_of_learning_feedback_is_refused():
    """A step of Kolen-Pollack without its rule would leave B at its initial values."""
    net = mlp()
    for name in ("kolen_pollack", "stale", "weight_mirror"):
        rule = mf.rules.make(name).attach(net)
        rule.gradients(net, *batch(shape=(4,)), CE)
        with pytest.raises(ValueError, match=rf"rule '{name}'.* optimizer.step\(net, rule\)"):
            mf.SGD(0.1).step(net)
        with net.preserved(), rule.preserved():
            mf.rules.BP().attach(net).gradients(net, *batch(shape=(4,)), CE)
        with pytest.raises(ValueError, match=f"rule '{name}'"):
            mf.SGD(0.1).step(net)
        mf.SGD(0.1).step(net, rule)
    for name in ("bp", "fa", "usf", "dfa"):
        mf.rules.make(name).attach(net).gradients(net, *batch(shape=(4,)), CE)
        mf.SGD(0.1).step(net)


# --- trainers ---------------------------------------------------------------------------------------------------------


def trainer(optimizer, seed=0, **options):
    data = mf.data.load("xor")
    net = Network([Linear(2, 6), Tanh(), Linear(6, 2)], seed=seed)
    return mf.Trainer(net, mf.rules.make("kolen_pollack").attach(net), CE, optimizer, **options), data.train


def test_a_checkpoint_holds_no_state_of_another_network(tmp_path):
    """A checkpoint is written before the first update, when the optimizer has no state."""
    optimizer = mf.Adam(0.01)
    first, train = trainer(optimizer)
    first.fit(train, 2)
    second, _ = trainer(optimizer, seed=1)
    checkpoints.save(tmp_path / "new.ckpt", second)
    assert checkpoints.read(tmp_path / "new.ckpt").part("optimizer") == {}
    second.callbacks.append(checkpoints.SaveCheckpoints(tmp_path))
    first.fit(train, 1)
    second.fit(train, 1)
    counts = {key: int(a) for key, a in optimizer.state().items() if key.startswith("count/")}
    assert set(counts.values()) == {1}


def test_a_diverging_run_is_reproduced_without_the_momentum_of_another_network():
    """The first divergence is located at the same update as with a new optimizer."""
    x = np.random.default_rng(0).standard_normal((50, 4)).astype("f4")
    train, results = mf.data.validate(x, x[:, :2]), []

    def fit(optimizer, lr, seed=0):
        net = Network([Linear(4, 6), Tanh(), Linear(6, 2)], seed=seed)
        optimizer.lr = lr
        one = mf.Trainer(net, mf.rules.BP().attach(net), mf.HalfSquaredError(), optimizer)
        one.fit(train, 9, batch_size=10)
        return one.divergence, net.state()

    used = mf.SGD(momentum=0.9)
    fit(used, 0.1, seed=1)
    for optimizer in (used, mf.SGD(momentum=0.9)):
        where, state = fit(optimizer, 4.0)
        assert where is not None and where.update > 3
        results.append((where, {key: array.tobytes() for key, array in state.items()}))
    assert results[0] == results[1]


def test_a_rule_that_refuses_a_network_is_not_attached():
    """A partial attachment trained the refused network."""
    net = mlp()
    rule = mf.rules.DFA().attach(net)
    unreached = Network([Linear(4, 5), mf.BatchNorm(5), Linear(5, 3)])
    with pytest.raises(ValueError, match="would carry no error to 'batchnorm1'"):
        rule.attach(unreached)
    for one in (net, unreached):
        with pytest.raises(RuntimeError, match="not attached"):
            rule.gradients(one, *batch(shape=(4,)), CE)
    assert rule.net is None
    rule.attach(net).gradients(net, *batch(shape=(4,)), CE)


# --- one number in every type -----------------------------------------------------------------------------------------

TYPES = {
    "np.float64": np.float64,
    "np.float32": np.float32,
    "np.float16": np.float16,
    "np.longdouble": np.longdouble,
    "fraction": fractions.Fraction,
    "0-d array": np.array,
    "0-d array of the backend": lambda number: mf.asarray(np.array(number)),
}
WHOLE = {"int": int, "np.int64": np.int64, "np.uint8": np.uint8, "0-d array of ints": lambda one: np.array(int(one))}


def weights_under(lr, schedule, **options):
    net = mlp()
    optimizer = mf.SGD(lr, **options)
    one = mf.Trainer(net, mf.rules.FA().attach(net), CE, optimizer, schedule)
    x, y = batch(32, shape=(4,))  # four updates an epoch: quarters are exact, too
    one.fit(mf.data.validate(mf.to_host(x), y), 4, batch_size=8)
    return {**net.state(), "lr": np.array(one.history.column("lr")[1:])}, one


@pytest.mark.parametrize("kind", TYPES)
def test_a_rate_gives_the_same_bits_in_every_type(kind, engine):
    """0.75 and similar numbers are exact in every type; NumPy scalars would convert float32 to float64 (NEP 50)."""
    as_type = TYPES[kind]
    plain, _ = weights_under(0.75, lambda epoch: 1 - epoch / 64, momentum=0.5, weight_decay=0.125)
    given, one = weights_under(
        as_type(0.75), lambda epoch: as_type(1 - epoch / 64), momentum=as_type(0.5), weight_decay=as_type(0.125)
    )
    assert_same_bits(plain, given)
    assert all(type(one.optimizer.__dict__[key]) is float for key in ("lr", "momentum", "weight_decay"))
    assert all(type(row["lr"]) is float for row in one.history[1:])


@pytest.mark.parametrize("kind", WHOLE)
def test_an_integer_learning_rate_is_accepted(kind):
    assert_same_bits(weights_under(1.0, lambda epoch: 1.0)[0], weights_under(1.0, lambda epoch: WHOLE[kind](1))[0])
    optimizer = mf.SGD()
    optimizer.lr = WHOLE[kind](1)
    assert optimizer.lr == 1 and type(optimizer.lr) is float


@pytest.mark.parametrize("kind", [*TYPES, *WHOLE])
def test_an_assigned_learning_rate_is_restored_from_a_checkpoint(kind, engine, tmp_path):
    """In every type, also from a schedule that returns that type, and in the middle of an epoch."""
    as_type = {**TYPES, **WHOLE}[kind]

    def make():
        optimizer = mf.SGD(0.1, momentum=0.5)
        optimizer.lr, optimizer.weight_decay = as_type(1), as_type(0)
        net = Network([Linear(2, 6), Tanh(), Linear(6, 2)])
        rule = mf.rules.FA().attach(net)
        return mf.Trainer(net, rule, CE, optimizer, lambda epoch: as_type(1 if epoch < 2 else 0))

    data = mf.data.load("xor").train
    whole, resumed = make(), make()
    whole.callbacks.append(checkpoints.SaveCheckpoints(tmp_path, every_steps=1))
    whole.fit(data, 3, batch_size=1)
    with open(tmp_path / "last.ckpt", "rb"):
        checkpoints.load(tmp_path / "last.ckpt", resumed)
    assert resumed.base_lr == 1.0 and resumed.optimizer.lr == 1.0
    assert_same_bits(whole.net.state(), resumed.net.state())


def test_a_checkpoint_with_an_integer_learning_rate_can_still_be_loaded(tmp_path):
    """Earlier versions stored a rate of 1 as an integer."""
    one, train = trainer(mf.SGD(1.0))
    one.fit(train, 2)
    state = {**one.state(), "base_lr": 1, "total": 2, "seconds": 0}
    one.load_state(state)
    assert (one.base_lr, one.total) == (1.0, 2.0) and type(one.base_lr) is type(one.total) is float
    with pytest.raises(ValueError, match="base_lr is missing, unknown or of the wrong type"):
        one.load_state({**state, "base_lr": True})


@pytest.mark.parametrize("option", ["lr", "weight_decay", "clip_norm", "momentum", "alpha", "eps"])
@pytest.mark.parametrize("wrong", ["fast", True, [0.1], -1, float("nan"), np.array([0.1]), 1j])
def test_an_invalid_assigned_option_is_refused_as_in_the_constructor(option, wrong):
    optimizer = mf.RMSprop(momentum=0.5)
    before = getattr(optimizer, option)
    with pytest.raises((TypeError, ValueError), match=rf"^{option} (is a number|must (lie|be))"):
        setattr(optimizer, option, wrong)
    assert getattr(optimizer, option) == before


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda epoch: None, "the value of the schedule must be a number, got None"),
        (lambda epoch: "half", "the value of the schedule must be a number, got 'half'"),
        (lambda epoch: np.array([0.1]), r"the value of the schedule must be a number, got array\(\[0.1\]\)"),
        (lambda epoch: -1.0, "the learning rate of the schedule must be at least 0, got -0.1 in epoch 1"),
        (lambda epoch: float("nan"), "the learning rate of the schedule must be at least 0, got nan in epoch 1"),
        (lambda epoch: float("inf"), "lr must be at least 0 and finite, got inf"),
    ],
)
def test_a_schedule_that_returns_an_invalid_rate_is_refused(gives, message):
    one, train = trainer(mf.SGD(0.1), schedule=gives)
    before = one.net.state()
    with pytest.raises((TypeError, ValueError), match=message):
        one.fit(train, 1)
    assert_same_bits(before, one.net.state())
    assert one.optimizer.lr == 0.1


@pytest.mark.parametrize("kind", [*TYPES, *WHOLE])
def test_values_measured_by_a_callback_are_stored_as_python_numbers(kind, engine, tmp_path):
    """In the history, its table, a checkpoint and TensorBoard's files, for every measured type."""
    pytest.importorskip("tensorboardX")

    class Measure(Callback):
        def on_epoch(self, trainer, row):
            row["measured"] = {**TYPES, **WHOLE}[kind](2)
            row["flag"] = np.bool_(True)

    one, train = trainer(mf.SGD(0.1), callbacks=[Measure()])
    scalars = []
    board = logs.TensorBoard(tmp_path)
    board.make = lambda *given, **options: types.SimpleNamespace(
        add_scalar=lambda key, value, step: scalars.append((key, value)), flush=lambda: None, close=lambda: None
    )
    one.callbacks += [board, logs.WriteLogs(tmp_path), checkpoints.SaveCheckpoints(tmp_path)]
    one.fit(train, 1)
    expected = int if kind in WHOLE else type(one.history[-1]["measured"])
    assert one.history.column("measured") == [2, 2] and one.history[-1]["flag"] is True
    assert type(one.history[-1]["measured"]) in (int, float, fractions.Fraction) and expected
    assert checkpoints.read(tmp_path / "last.ckpt").training["history"][-1]["measured"] == 2
    assert mf.training.History.read_csv(tmp_path / "history.csv").column("measured") == [2, 2]
    assert ("measured", 2) in scalars


def test_an_experiment_stores_python_numbers():
    given = Experiment(
        lr=np.array(0.5), epochs=np.array(3), seed=np.uint8(2), validation=np.float32(0.25), batch_size=8
    )
    assert given == Experiment(lr=0.5, epochs=3, seed=2, validation=0.25, batch_size=8)
    json.dumps(given.as_config())
    assert [type(one) for one in (given.lr, given.epochs, given.seed, given.validation)] == [float, int, int, float]


# --- an assigned array is copied --------------------------------------------------------------------------------------

ARRAYS = [("linear1", "W"), ("linear1", "b"), ("conv1", "W"), ("conv1", "b"), ("scale1", "gain"), ("scale1", "seen")]
ARRAYS += [("batchnorm1", key) for key in ("gamma", "beta", "running_mean", "running_var")]


class Scale(mf.Layer):
    """A user-defined layer with a parameter and a statistic."""

    kind, parameter_names, buffer_names = "scale", ("gain",), ("seen",)

    def initialise(self, seed):
        self.gain, self.seen = np.ones(4), [0.0]

    def forward(self, x, ctx):
        self.cache = x if ctx.training else None
        return x * self.gain

    def backward(self, delta, rule):
        self.grads["gain"] = (delta * self.cached()).sum(axis=0)
        return delta * self.gain


def all_arrays():
    layers = [mf.Conv2d(1, 2, 2), mf.BatchNorm(2), mf.Flatten(), Linear(8, 4), Scale(), Linear(4, 3)]
    return Network(layers, input_shape=(3, 3, 1))


@pytest.mark.parametrize(("layer", "key"), ARRAYS)
def test_an_array_that_is_assigned_is_copied_in_the_layer_s_dtype(layer, key, engine):
    net = all_arrays()
    shape = getattr(net[layer], key).shape
    mine = mf.asarray(np.full(shape, 2.0), "float64")
    for given in (mine, mine.tolist(), mf.asarray(np.full(shape, 2)), np.full(shape, 2.0).T.copy().T):
        setattr(net[layer], key, given)
        array = getattr(net[layer], key)
        assert array.dtype == np.float32 and array.flags.c_contiguous and isinstance(array, backend.xp.ndarray)
        np.testing.assert_array_equal(mf.to_host(array), np.full(shape, 2.0, "f4"))
    setattr(net[layer], key, mine)
    x, y = batch(shape=(3, 3, 1))
    rule, optimizer = mf.rules.BP().attach(net), mf.SGD(0.1)
    rule.gradients(net, x, y, CE)
    optimizer.step(net, rule)
    assert (mine == 2).all(), "what was given is the giver's"


@pytest.mark.parametrize(("layer", "key"), ARRAYS)
def test_an_array_of_another_shape_or_kind_is_refused(layer, key, engine):
    net = all_arrays()
    before, shape = net.state(), getattr(net[layer], key).shape
    who = rf"{key} of \w+ '{layer}'"
    for wrong, message in (
        (np.zeros((1, *shape)), rf"^{who} must have shape .*, got \(1, "),
        (np.zeros((*shape, 1)), rf"^{who} must have shape"),
        (np.zeros(shape[:-1]), rf"^{who} must have shape"),
        (0.0, rf"^{who} must have shape"),
        ([[1.0], [1.0, 2.0]], rf"^{who} must be a regular array"),
        ("ones", rf"^{who} must be real numbers"),
        (np.ones(shape, complex), rf"^{who} must be real numbers"),
        (np.ma.masked_array(np.ones(shape)), rf"^{who} must be real numbers"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            setattr(net[layer], key, wrong)
    if key != "b":
        with pytest.raises(TypeError, match=rf"^{who} must be real numbers, got NoneType"):
            setattr(net[layer], key, None)
    assert_same_bits(before, net.state())


@pytest.mark.parametrize("layer", [lambda: Linear(4, 3, bias=False), lambda: mf.Conv2d(1, 2, 2, bias=False)])
def test_a_layer_without_bias_refuses_a_bias(layer, engine):
    """The bias would be trained, and saved under a name that no other network of this kind has."""
    for one in (layer(), Network([layer()])[("linear1", "conv1")["Conv2d" in str(layer())]]):
        with pytest.raises(ValueError, match="was created without b"):
            one.b = np.zeros(one.weight_shape[-1])
        one.b = None
        assert one.b is None and list(one.parameters()) == ["W"]


def test_layers_have_the_dtype_of_their_network(engine):
    """Also the arrays that a user-defined layer drew before the network was built."""
    layers = [mf.Conv2d(1, 2, 2), mf.BatchNorm(2), mf.Flatten(), Linear(8, 4), Scale(), Linear(4, 3)]

    class SavedRun(Scale):
        def __init__(self):
            super().__init__()
            self.gain, self.seen = np.full(3, 0.1), [1]

        def initialise(self, seed):
            pass

    kept = SavedRun()
    backend._install(backend._choice().module, backend._choice().cpu_chunks, dtype="float64")
    net = Network([*layers, kept], input_shape=(3, 3, 1))
    assert {str(array.dtype) for array in net._arrays().values()} == {"float64"}
    net["batchnorm1"].gamma, kept.gain = [1, 2], [1, 2, 3]
    assert {str(array.dtype) for array in net._arrays().values()} == {"float64"}


def test_a_class_may_share_an_array_between_its_layers():
    class Fixed(mf.Layer):
        parameter_names, gain = ("gain",), np.ones(1, "f4")

    assert Fixed().parameters()["gain"] is Fixed.gain


def test_a_masked_matrix_is_refused():
    """Its mask would be dropped silently."""
    rule = mf.rules.FA().attach(mlp())
    with pytest.raises(TypeError, match="must be real numbers, got MaskedArray"):
        rule.set_feedback("linear2", np.ma.masked_array(np.ones((5, 3)), True))
