"""Buffers: arrays of a layer that the optimizer does not update. Here one that is drawn once, and one that is None."""

import numpy as np
import pytest

import minifa as mf
from minifa import backend
from minifa.backend import xp
from minifa.layers.base import new_parameter
from minifa.rng import generator
from minifa.testing import check_layer


class Gate(mf.Layer):
    """y = x where x exceeds the drawn thresholds t, else 0; with a scale, which may be None."""

    kind = "gate"
    buffer_names = ("t", "scale")
    optional = ("scale",)

    def __init__(self, features, name=None):
        super().__init__(name)
        self.features = features
        self.scale = None

    def initialise(self, seed):
        draw = generator(seed, "weights", self.name, 0).standard_normal(self.features) / 2
        self.t = new_parameter(draw)

    def forward(self, x, ctx):
        opened = (x > self.t).astype(x.dtype)
        self.cache = opened if ctx.training else None
        return x * opened

    def backward(self, delta, rule):
        return delta * self.cached()


def network(seed=0):
    return mf.Network([mf.Linear(3, 8), Gate(8), mf.BatchNorm(8), mf.Linear(8, 2)], seed=seed)


def trainer(net, epochs=2):
    x = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
    data = mf.data.from_arrays(x, np.arange(40) % 2)
    rule = mf.rules.FA().attach(net)
    one = mf.Trainer(net, rule, mf.SoftmaxCrossEntropy(), mf.SGD(lr=0.1, momentum=0.9, weight_decay=0.1))
    if epochs:
        one.fit(data.train, epochs, batch_size=8)
    return one, data.train


def test_a_drawn_buffer_is_state_and_training_leaves_it_alone():
    check_layer(Gate(4), (4,))
    net = network()
    drawn = net.state()
    assert drawn["gate1.t"].shape == (8,) and "gate1.scale" not in drawn and "gate1.t" not in net.parameters()
    trainer(net)
    np.testing.assert_array_equal(net.state()["gate1.t"], drawn["gate1.t"])
    assert not np.array_equal(net.state()["linear1.W"], drawn["linear1.W"])
    other = network(seed=1)
    assert not np.array_equal(other.state()["gate1.t"], drawn["gate1.t"])  # each seed has its own draw
    other.load_state(net.state())
    x = np.ones((5, 3))
    np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_a_drawn_buffer_is_in_saved_networks_and_checkpoints(tmp_path):
    net = network()
    net["gate1"].t = np.full(8, 0.25)  # another value than the seed's
    net.freeze("gate1", "linear1")
    net.save(tmp_path / "net.npz")
    again, _ = mf.load(tmp_path / "net.npz", layers=[Gate])
    assert [layer.name for layer in again if layer.frozen] == ["linear1", "gate1"]
    np.testing.assert_array_equal(again.state()["gate1.t"], np.full(8, 0.25, "float32"))
    trained, train = trainer(net, epochs=1)
    mf.checkpoints.save(tmp_path / "a.ckpt", trained)
    fresh = network()
    fresh.freeze("gate1", "linear1")
    resumed, _ = trainer(fresh, epochs=0)
    mf.checkpoints.load(tmp_path / "a.ckpt", resumed)
    np.testing.assert_array_equal(fresh.state()["gate1.t"], np.full(8, 0.25, "float32"))
    for one in (trained, resumed):
        one.fit(train, 1, batch_size=8)
    for key, array in net.state().items():
        np.testing.assert_array_equal(fresh.state()[key], array, err_msg=key)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_drawn_buffer_has_the_dtype_of_the_engine(dtype):
    layer = Gate(4)
    with backend.using("numpy", dtype):
        net = mf.Network([mf.Linear(4, 4), layer])
        assert layer.t.dtype == net.dtype == dtype
        assert isinstance(layer.t, xp.ndarray)


def test_running_statistics_are_those_of_batch_norm_alone():
    """A frozen gate trains no batch norm, and a gate takes no part in what a pass updates."""
    net = network()
    before = net.state()
    net.forward(mf.asarray(np.random.default_rng(0).standard_normal((6, 3))), mf.Pass(training=True))
    changed = [key for key, array in net.state().items() if not np.array_equal(array, before[key])]
    assert changed == ["batchnorm1.running_mean", "batchnorm1.running_var"]
    assert not net["gate1"].trainable
    alone = mf.Network([Gate(3), mf.Linear(3, 2)])
    assert not alone["linear1"].needs_input_gradient  # a layer with buffers only does not learn
