"""Public functions that other tests run on NumPy in float64, run here on the stand-in for CuPy: error messages and
numbers must be the same on every backend.

`pytest --standin-coverage` lists the lines of the engine that run there.
"""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import standin
from conftest import CUPY, install

import minifa as mf
from minifa import backend, checkpoints, jacobians, linalg, metrics
from minifa.layers import windows
from minifa.layers.local_response_norm import response_plain
from minifa.layers.locally_connected import products_plain
from minifa.layers.pooling import pool_plain, unpool_max_plain
from minifa.rules import BP, RULES, dynamic_inversion, feedback_control, make
from minifa.rules.hsic import KernelLosses
from minifa.rules.local_losses import LocalLosses
from minifa.testing.examples import (
    AUTOENCODER_RULES,
    MONOTONE_RULES,
    SIGMOID_RULES,
    UNIT_LENGTH_RULES,
    VECTOR_RULES,
    batch,
    small_convnet,
)

pytestmark = pytest.mark.usefixtures("engine")
CE = mf.SoftmaxCrossEntropy()


def dense_net(n=4):
    return mf.Network([mf.Linear(3, n), mf.Tanh(), mf.Linear(n, 2)])


def attach(rule, net=None):
    make(rule).attach(net or dense_net())


def images_without_a_shape():
    return mf.Network([mf.Conv2d(2, 3, 3), mf.ReLU(), mf.Conv2d(3, 3, 3), mf.ReLU(), mf.Flatten(), mf.Linear(9, 2)])


def images():
    return mf.Network(
        [mf.Conv2d(1, 2, 1), mf.ReLU(), mf.Conv2d(2, 1, 1), mf.Flatten(), mf.Linear(4, 2)], input_shape=(2, 2, 1)
    )


REFUSED = {
    "a name with a dot": (lambda: mf.Tanh(name="a.b"), "without '.' and '/'"),
    "no outputs": (lambda: mf.Linear(3, 0), "size of Linear 'linear' must be at least 1"),
    "a weight of another shape": (
        lambda: setattr(mf.Linear(3, 2), "W", mf.asarray(np.ones((2, 3)))),
        "must have shape",
    ),
    "a slope of 0": (lambda: mf.LeakyReLU(0), "negative_slope of .* must be above 0"),
    "no channels": (lambda: mf.PadChannels(0), "number of channels of .* at least 1"),
    "more channels than asked for": (lambda: mf.PadChannels(2).infer((3, 3, 4)), "at most 2 channels"),
    "all dropped": (lambda: mf.Dropout(1.0), "probability p"),
    "an empty body": (lambda: mf.Residual([]), "at least one layer"),
    "a pool of features": (lambda: mf.MaxPool(2).infer((8,)), "images of height"),
    "a global mean of features": (lambda: mf.GlobalAvgPool().infer((8,)), "images of height"),
    "a convolution of features": (lambda: mf.Conv2d(1, 1, 3).infer((8,)), "images of height"),
    "batch norm of no features": (lambda: mf.BatchNorm(0), "number of features of .* at least 1"),
    "batch norm of other features": (lambda: mf.BatchNorm(3).infer((4,)), "3 features"),
    "batch norm of one example": (
        lambda: mf.BatchNorm(3).forward(mf.asarray(np.ones((1, 3))), mf.Pass(training=True)),
        "two or more values per feature",
    ),
    "no neighbours": (lambda: mf.LocalResponseNorm(0), "size of .* at least 1"),
    "a response of single numbers": (lambda: mf.LocalResponseNorm(3).infer(()), "images or features"),
    "fa, all left out": (lambda: make("fa:sparsity=1"), "sparsity must be at least"),
    "fa, a correlation above 1": (lambda: make("fa:correlation=2"), "correlation must lie"),
    "fa, an unknown shape": (lambda: make("fa:conv=wide"), "'kernel' or 'dense'"),
    "fa, dense and normalised": (lambda: make("fa:conv=dense,normalise=init"), "need conv='kernel'"),
    "fa, an unknown norm": (lambda: make("fa:normalise=always"), "normalise must be None"),
    "fa, maps of unknown size": (lambda: attach("fa:conv=dense", images_without_a_shape()), "map sizes of"),
    "usf, an unknown scale": (lambda: make("usf:scale=some"), "a number above 0"),
    "usf, a scale of 0": (lambda: make("usf:scale=0"), "above 0"),
    "usf, less than chance": (lambda: make("usf:concordance=0.4"), "concordance must be a probability"),
    "usf, unknown signs": (lambda: make("usf:signs=late"), "'live' or 'initial'"),
    "dfa, an unknown place": (lambda: make("dfa:at=output"), "'activation' or 'stage'"),
    "dfa, an unknown family": (lambda: make("dfa:family=laplace"), "'uniform' or 'gaussian'"),
    "dfa, no spread": (lambda: make("dfa:sd=0"), "sd must be above 0"),
    "dfa, maps of unknown size": (lambda: attach("dfa", images_without_a_shape()), "output size of"),
    "dfa, an output inside a block": (
        lambda: attach("dfa:recompute=true", mf.Network([mf.Linear(2, 2), mf.Residual([mf.Linear(2, 2)])])),
        "outside of residual blocks",
    ),
    "an alignment rate of 0": (lambda: make("symmetric_alignment:rate=0"), "rate must be above 0"),
    "pepita, no scale": (lambda: make("pepita:scale=0"), "scale must be above 0"),
    "pepita, a third pass": (lambda: make("pepita:output=third"), "'first' or 'second'"),
    "pepita, something behind the output": (
        lambda: attach("pepita", mf.Network([mf.Linear(2, 2), mf.Tanh()])),
        "must be the output layer",
    ),
    "pepita, an unknown input": (lambda: attach("pepita", images_without_a_shape()), "create the network with"),
    "a perturbation of nothing": (lambda: make("weight_perturbation:sigma=0"), "sigma must be above 0"),
    "a perturbation of unknown inputs": (
        lambda: attach("perturbed_feedback", images_without_a_shape()),
        "the input size of Conv2d 'conv2' must be known",
    ),
    "targets through dropout": (
        lambda: attach("fwdtp", mf.Network([mf.Linear(2, 2), mf.Dropout(0.5), mf.Linear(2, 2)])),
        "can send no target through Dropout",
    ),
    "dualprop, a weight above 1": (lambda: make("dualprop:alpha=2"), "alpha must be from 0 to 1"),
    "di, a convolution": (lambda: attach("di", images()), "cannot invert Conv2d 'conv2'"),
    "di, a circuit that does not settle": (
        lambda: attach("di:weights=random,leak=1e-9", mf.Network([mf.Linear(9, 9), mf.Linear(9, 9)])),
        "does not settle",
    ),
    "dfc, a convolution": (lambda: attach("dfc", images()), "accepts networks of Linear layers"),
    "a circuit of two shapes": (
        lambda: dynamic_inversion.stability(np.ones((2, 2)), np.ones((3, 2)), 1.0),
        "matrices of the same shape",
    ),
    "a circuit without numbers": (
        lambda: dynamic_inversion.stability(np.ones((2, 2)), np.full((2, 2), np.nan), 1.0),
        "finite numbers",
    ),
    "derivatives of examples that meet": (
        lambda: jacobians.jacobians(
            mf.Network([mf.Linear(3, 2), mf.BatchNorm(2), mf.Linear(2, 2)]), mf.asarray(np.ones((2, 3))), ["linear1"]
        ),
        "need independent examples",
    ),
    "the smallest step of no layer": (
        lambda: mf.target_metrics.minimum_norm(
            dense_net(), mf.asarray(np.ones((1, 3))), [0], mf.SoftmaxCrossEntropy(), []
        ),
        "at least one layer",
    ),
    "examples that meet": (lambda: attach("node_perturbation", small_convnet()), "mixes the batch"),
    "product, an unknown matrix": (lambda: make("product:fixed=random"), "'gaussian', 'orthogonal' or"),
    "product, half a unit": (lambda: make("product:ratio=1.5"), "ratio must be an int"),
    "stale by no update": (lambda: make("stale:every=0"), "every must be at least 1"),
    "a mirror that never looks": (lambda: make("weight_mirror:every=0"), "every must be at least 1"),
    "an error that reaches no layer": (
        lambda: attach("dfa", mf.Network([mf.Linear(2, 2), mf.BatchNorm(2), mf.Linear(2, 2), mf.Linear(2, 2)])),
        "would carry no error to",
    ),
    "a matrix that the rule does not keep": (
        lambda: BP().attach(dense_net()).set_feedback("linear2", 0),
        "stores no matrix",
    ),
    "a matrix of another shape": (
        lambda: make("fa").attach(dense_net()).set_feedback("linear2", np.ones((3, 3))),
        "must have shape",
    ),
    "errors of a rule without a backward pass": (
        lambda: metrics.errors(
            dense_net(), make("pepita"), mf.asarray(np.ones((2, 3))), np.array([0, 1]), mf.SoftmaxCrossEntropy()
        ),
        "no backward pass",
    ),
    "product, two units and an identity": (lambda: make("product:fixed=identity,ratio=2"), "ratio must be 1"),
    "a spike-triggered mean of one pattern": (lambda: make("stdwi:samples=1"), "samples must be at least 2"),
    "a mirror that learns too fast": (lambda: make("weight_mirror:rate=2"), "rate must be at most 1"),
    "a batch norm that cannot": (lambda: mf.BatchNorm(2, momentum=2), r"momentum in \[0, 1\]"),
    "a response that cannot": (lambda: mf.LocalResponseNorm(3, k=0), "k > 0"),
    "a block of nothing": (lambda: mf.Residual(7), "must be a list of layers"),
    "a layer with a path for a name": (lambda: mf.ReLU(name="a.b"), "without '.'"),
    "betas that are one": (lambda: mf.Adam(betas=0.9), "betas must be two numbers"),
    "a network of nothing": (lambda: mf.Network(7), "layers of a network must be a list"),
    "a network of a shape of nothing": (lambda: mf.Network([mf.ReLU()], input_shape=7), "shape of one example"),
    "a model of a shape of nothing": (lambda: mf.models.mlp(7, 2), "a tuple such as"),
    "a model of a width that is none": (lambda: mf.models.mlp((4,), 2, hidden=7), "must be a tuple of widths"),
    "a model of channels that are none": (
        lambda: mf.models.bench_cnn((8, 8, 1), 2, channels=7),
        "must be a tuple of widths",
    ),
    "a trainer with a number for a schedule": (
        lambda: mf.Trainer(net := dense_net(), BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(), schedule=0.1),
        "must be a function of the epoch",
    ),
    "a norm of two axes": (lambda: mf.LayerNorm((2, 2)), "normalized_shape of"),
    "a norm of other features": (lambda: mf.LayerNorm(3).infer((4,)), "3 features"),
    "a norm of other images": (lambda: mf.LayerNorm((2, 2, 2)).infer((3, 3, 2)), "2 x 2 x 2"),
    "a norm without eps": (lambda: mf.LayerNorm(3, eps=0), "must have eps > 0"),
    "groups of unequal size": (lambda: mf.GroupNorm(3, 4), "must be a multiple of num_groups"),
    "groups of other channels": (lambda: mf.GroupNorm(2, 4).infer((6,)), "4"),
    "a convolution in unequal groups": (lambda: mf.Conv2d(3, 4, 3, groups=2), "multiples of groups"),
    "the same size with a stride": (lambda: mf.Conv2d(1, 1, 3, stride=2, padding="same"), "stride must be 1"),
    "an ELU without alpha": (lambda: mf.ELU(alpha=float("nan")), "alpha"),
    "a softplus without beta": (lambda: mf.Softplus(beta=0), "beta"),
    "a factor for no parameter": (lambda: mf.SGD(lr_factors={"conv9": 2.0}).step(dense_net()), "in lr_factors"),
    "a schedule of a history that is a number": (lambda: mf.schedules.with_history(0.1), "must be a function"),
    "a schedule without an end": (lambda: mf.schedules.make("constant then cosine:epochs=2"), "must have the option"),
    "a plateau without its measure": (
        lambda: mf.schedules.reduce_on_plateau(measure="validation_loss")(1, [{"epoch": 0}, {"epoch": 1}]),
        "needs 'validation_loss' in the history",
    ),
    "a summary under a class of rules": (lambda: dense_net().summary(mf.rules.FA), "create an instance"),
    "a file of a network with another one's rule": (
        lambda: dense_net().save("net.npz", make("fa").attach(dense_net())),
        "attached to this network",
    ),
    "an error that is a list": (lambda: dense_net().backward([1.0], BP()), "backward pass"),
    "a loss of outputs and targets of other shapes": (
        lambda: mf.MeanSquaredError()(mf.asarray(np.ones((2, 2))), mf.asarray(np.ones((2, 3)))),
        "targets",
    ),
    "another loss of such shapes": (
        lambda: mf.SoftmaxCrossEntropy()(mf.asarray(np.ones((2, 2))), mf.asarray(np.ones((2, 3)))),
        "targets",
    ),
    "a third loss of such shapes": (
        lambda: mf.SigmoidCrossEntropy()(mf.asarray(np.ones((2, 2))), mf.asarray(np.ones((2, 3)))),
        "targets",
    ),
    "a warm-up of nothing": (lambda: mf.schedules.warm_up(0), "epochs must be above 0"),
    "a warm-up into a word": (lambda: mf.schedules.warm_up(2, then="cosine"), "then must be a function of the epoch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_input_is_refused_on_every_engine(case):
    attempt, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        attempt()


def test_the_feedback_of_a_rule_is_read_only():
    """`set_feedback` is the way to replace a matrix: it checks the matrix and keeps the drawn state."""
    rule = make("fa").attach(dense_net())
    with pytest.raises(TypeError, match="read-only: rule.set_feedback"):
        rule.B["linear2"] = mf.asarray(np.zeros((4, 2)))
    with pytest.raises(KeyError, match="linear2"):
        rule.B["linear9"]
    assert repr(rule.B) == "<B: linear2 4 x 2>"
    assert bool(rule.B["linear2"].any())


def test_a_plateau_waits_in_its_cooldown_and_a_description_is_a_schedule():
    rows = [{"epoch": epoch, "train_loss": 1.0} for epoch in range(1, 9)]
    plateau = mf.schedules.reduce_on_plateau(factor=0.5, patience=0, cooldown=2)
    assert [plateau(n, rows[:n]) for n in (1, 2, 4, 5)] == [1.0, 0.5, 0.5, 0.25]
    net = dense_net()
    trainer = mf.Trainer(net, BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.1), schedule="cosine:epochs=2")
    assert "rule 'bp'" in repr(trainer) and repr(trainer.history) == "<History: no epochs>"
    assert BP().attach(net).predict(net, np.eye(3)).shape == (3, 2) and not trainer.history.stopped_early


def test_missing_preparation_is_reported():
    net, x, y = dense_net(), mf.asarray(np.ones((2, 3))), np.array([0, 1])
    with pytest.raises(RuntimeError, match="no cached forward pass"):
        net.backward(mf.asarray(np.ones((2, 2))), BP())
    with pytest.raises(RuntimeError, match="not attached to this network"):
        make("fa").gradients(net, x, y, mf.SoftmaxCrossEntropy())
    with pytest.raises(RuntimeError, match="has no matrix for"):
        make("fa").feedback(net["linear2"])
    with pytest.raises(RuntimeError, match="has not computed a batch yet"):
        make("drtp").attach(net).signal()
    with pytest.raises(RuntimeError, match="has not computed a batch yet"):
        make("fa").attach(net).targets  # noqa: B018
    with pytest.raises(RuntimeError, match="not attached to this network"):
        mf.target_metrics.feedback_conditions(net, make("fa"), x)
    with pytest.raises(RuntimeError, match="not attached to a network"):
        feedback_control.stability(make("dfc"), x)
    for learned in ("direct_kolen_pollack", "dtp", "ddtp", "perturbed_feedback"):
        with pytest.raises(RuntimeError, match="has not computed a batch yet"):
            mf.SGD(0.1).step(net, make(learned).attach(net))


@pytest.mark.parametrize("size, rule", [("fa", "fa:conv=dense"), ("dense", "dense"), ("modules", "synthetic")])
def test_feedback_that_does_not_fit_into_memory_is_refused(size, rule, monkeypatch):
    monkeypatch.setattr(backend, "free_bytes", lambda: 100)
    with pytest.raises(ValueError, match="bytes"):
        make(rule).attach(small_convnet())


OWN_SIZES = (*VECTOR_RULES, *MONOTONE_RULES, *AUTOENCODER_RULES)  # rules that refuse the network below


@pytest.mark.parametrize("rule", [one for one in RULES if one not in OWN_SIZES])
def test_the_initial_angle_is_near_its_theoretical_value(rule):
    """With 30,000 entries it is within 2 degrees of the limit; it is None for rules without a theoretical value."""
    between = [mf.UnitLength()] if rule in UNIT_LENGTH_RULES else []
    act = mf.Sigmoid if rule in SIGMOID_RULES else mf.Tanh
    net = mf.Network([mf.Linear(3, 150), act(), *between, mf.Linear(150, 200), act(), mf.Linear(200, 2)])
    taught = make(rule).attach(net)
    expected, B = taught.start_angle(net["linear2"]), taught.B.get("linear2")
    if expected is not None:
        assert abs(float(metrics.angle(net["linear2"].W, B)) - expected) < 2
    assert net.summary(taught).count("\n") == 7 + len(between) and repr(taught).startswith(f"<{type(taught).__name__}")


def test_plain_reference_functions_run_on_every_engine():
    """They help in debugging a GPU run, so they must run on the GPU."""
    x = mf.asarray(np.random.default_rng(0).standard_normal((2, 6, 5, 3)))
    window = (3, 2), (2, 1), (1, 1)
    rows = windows.columns(x, *window)
    assert_equal(windows.columns_plain(x, *window), rows)
    assert_equal(windows.uncolumns_plain(rows, x.shape, *window), windows.uncolumns(rows, x.shape, *window))
    one = (1, 1), (1, 1), (0, 0)
    assert_equal(windows.uncolumns(windows.columns(x, *one), x.shape, *one), x)
    pool = mf.MaxPool(*window)
    y = pool.forward(x, mf.Pass(training=True))
    assert_equal(pool_plain(x, *window, -math.inf, "max"), y)
    assert_equal(unpool_max_plain(x, y, *window), pool.backward(y, BP()))
    assert_equal(response_plain(x, 3, 0.5, 0.75, 2.0), mf.LocalResponseNorm(3, 0.5, 0.75, 2.0).forward(x, mf.Pass()))


def assert_equal(a, b):
    np.testing.assert_allclose(mf.to_host(a), mf.to_host(b), rtol=1e-5, atol=1e-6)


def test_a_trace_can_be_read_on_every_engine():
    net = small_convnet()
    x, y = batch()
    loss, optimizer = mf.SoftmaxCrossEntropy(), mf.SGD(constrain_weights=True)
    trace, other = (mf.trace(net, make(rule).attach(net), x, y, loss, optimizer) for rule in ("fa", "dfa"))
    assert len(trace) == len(trace.moments) and "under 'fa'" in repr(trace)
    assert any(moment.shapes for moment in trace.moments)
    assert trace.matching_index(other, 0) == 0 and trace[0].shapes == trace.moments[0].shapes


def test_weights_survive_pytorch_s_layout_and_a_file(tmp_path):
    pytest.importorskip("safetensors")

    def net(seed):
        layers = [mf.Conv2d(2, 3, 3), mf.BatchNorm(3), mf.ReLU(), mf.Flatten(), mf.Linear(48, 4, bias=False)]
        return mf.Network(layers, seed=seed, input_shape=(6, 6, 2))

    one, file = net(seed=1), tmp_path / "net.safetensors"
    theirs = mf.weights.to_torch(one)
    assert theirs["linear1.weight"].shape == (4, 48) and theirs["conv1.weight"].shape == (3, 2, 3, 3)
    for layout in ("torch", "minifa"):
        other = net(seed=2)
        mf.weights.save(one, file, layout=layout)
        mf.weights.load(other, file)
        for name, array in one.state().items():
            np.testing.assert_array_equal(array, other.state()[name], err_msg=f"{layout}, {name}")
    mf.weights.save(mf.Network([mf.Linear(2, 2, name="b"), mf.Linear(2, 2, name="a")]), file, "torch")
    with pytest.raises(ValueError, match="give names="):
        mf.weights.load(mf.Network([mf.Linear(2, 2), mf.Linear(2, 2)]), file)


def test_layers_without_matching_pytorch_weights_are_refused():
    class Gain(mf.Layer):
        parameter_names = ("gain",)
        gain = mf.asarray([1.0])

    with pytest.raises(ValueError, match="no known counterpart in PyTorch"):
        mf.weights.to_torch(mf.Network([Gain()]))
    with pytest.raises(ValueError, match="order in PyTorch is not known"):
        layers = [mf.Flatten(), mf.Residual([mf.Linear(8, 8)])]
        mf.weights.to_torch(mf.Network(layers, input_shape=(2, 2, 2)))


def test_the_error_of_a_branch_is_used_only_after_its_sum_is_taught():
    """Direct feedback with recomputation goes back through a branch before the sum that follows it."""

    def gradients(rule):
        body = [mf.Residual([mf.Linear(4, 4)]), mf.Tanh(), mf.Linear(4, 4), mf.BatchNorm(4)]
        net = mf.Network([mf.Linear(4, 4), mf.BatchNorm(4), mf.Residual(body), mf.Tanh(), mf.Linear(4, 3)])
        make(rule).attach(net).gradients(net, *batch(6, (4,)), mf.SoftmaxCrossEntropy())
        return net.gradients()

    kept, recomputed = gradients("dfa"), gradients("dfa:recompute=true")
    for name, gradient in kept.items():
        np.testing.assert_array_equal(mf.to_host(gradient), mf.to_host(recomputed[name]), err_msg=name)


def test_absent_gradients_feedback_and_angles_are_skipped():
    layer = mf.Linear(3, 2)
    layer.b = mf.asarray([1.0, 2.0])
    assert layer.b.tolist() == [1.0, 2.0]
    layer.b = None
    assert layer.b is None and mf.Network([layer]).gradients().keys() >= {"linear1.W"}
    assert mf.BatchNorm(3).symbols() == {} and set(mf.LocalResponseNorm(3).symbols()) == {"alpha", "beta", "k", "size"}
    mf.SGD(clip_norm=1.0).clip(dense_net())  # there is no gradient to clip yet
    net = mf.Network([mf.BatchNorm(3), mf.Linear(3, 2)])  # no layer below learns, so no error is propagated
    make("bp").attach(net).gradients(net, *batch(6, (3,), classes=2), mf.SoftmaxCrossEntropy())
    assert net["batchnorm1"].grads["gamma"] is not None
    assert make("fa:conv=dense").start_angle(mf.Conv2d(1, 1, 1)) is None  # B does not have the shape of W
    assert make("usf").start_angle(mf.Linear(3, 3, init="zero")) is None  # zeros have no direction


def test_a_user_defined_rule_is_shown_in_traces_and_summaries():
    class Uphill(mf.rules.Rule):
        name, equation = "uphill", "B = -W"

        def feedback(self, layer):
            return -layer.W

    net = small_convnet()
    x, y = batch()
    trace = mf.trace(net, Uphill().attach(net), x, y, mf.SoftmaxCrossEntropy(), mf.SGD())
    assert any("B = -W" in moment.equation for moment in trace.moments)
    layer = mf.LocalResponseNorm(3)
    layer.forward(mf.asarray(np.ones((2, 4))), mf.Pass(training=True))
    assert layer.symbols()["s"].shape == (2, 4)
    assert mf.rules.Rule().teach_equation(layer)[0].startswith("delta = ")


def test_uniform_feedback_under_its_first_signs_keeps_the_present_norm():
    net = dense_net(n=8)
    rule = make("usf:signs=initial").attach(net)
    net["linear2"].W = -3 * net["linear2"].W
    B = rule.feedback(net["linear2"])
    assert abs(float((B * B).sum() / (net["linear2"].W ** 2).sum()) - 1) < 1e-5
    assert float(metrics.sign_agreement(B, net["linear2"].W)) == 0


def test_use_chooses_the_device_and_reports_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", CUPY)
    install("standin")
    mf.use("cupy", "float64")
    assert backend.name() == "cupy" and backend.dtype() == np.float64 and isinstance(mf.asarray([1.0]), CUPY.ndarray)
    assert backend.cupy_status() == "CuPy 14.2.0 on stand-in"
    assert backend.device_facts()["device"].startswith("stand-in, compute capability")
    assert backend.device_bytes() == 0
    monkeypatch.undo()
    assert backend.free_bytes() == 0, "what the stand-in's device has"
    with pytest.raises(ValueError, match="unknown backend"), mf.using("jax"):
        pass


def test_a_lost_device_is_reported(monkeypatch):
    """A device can become unavailable after it was chosen: a laptop's GPU goes to sleep."""
    install("standin")
    monkeypatch.setitem(sys.modules, "cupy", standin.make_cupy(device_count=0))
    with pytest.raises(backend.BackendError, match="driver is missing or too old"):
        mf.use("cupy")
    assert backend.cupy_status().startswith("not usable")
    assert backend.name() == "cupy"


def small_trainer(folder):
    """A trainer with early stopping that has written a checkpoint."""
    examples = mf.data.validate(np.eye(4, dtype="f4"), [0, 1, 0, 1])
    net = mf.Network([mf.Linear(4, 3), mf.Tanh(), mf.Linear(3, 2)], seed=0)
    stop = mf.training.EarlyStopping(patience=1, min_delta=10.0)  # never better: the second epoch is not trained
    trainer = mf.Trainer(net, make("fa").attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.1), callbacks=[stop])
    trainer.fit(examples, epochs=3, validation=examples)
    mf.checkpoints.save(folder / "last.ckpt", trainer)
    return trainer, stop


def test_early_stopping_is_stored_and_its_mistakes_are_named(tmp_path):
    trainer, stop = small_trainer(tmp_path)
    assert trainer.history.stopped_early and stop.best_epoch == 0 and "epoch 1" in repr(trainer.history)
    (tmp_path / "other").mkdir()
    twin, twin_stop = small_trainer(tmp_path / "other")
    mf.checkpoints.load(tmp_path / "last.ckpt", twin)
    assert twin_stop.best == stop.best and repr(stop).startswith("EarlyStopping(")
    for measure, message in (("val_loss", "did you mean validation_loss"), (None, "needs 'validation_accuracy'")):
        callback = mf.training.EarlyStopping(measure=measure)
        net = dense_net()
        other = mf.Trainer(net, BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(0.1), callbacks=[callback])
        x = mf.data.validate(np.eye(3, dtype="f4"), [0, 1, 0])
        with pytest.raises(ValueError, match=message):
            other.fit(x, epochs=1, validation=x if measure else None)


def test_a_trace_shows_the_equations_of_every_activation_and_norm():
    layers = [mf.Conv2d(2, 4, 3, padding="same", groups=2), mf.GroupNorm(2, 4), mf.GELU(), mf.Conv2d(4, 2, 3)]
    layers += [
        mf.LayerNorm((2, 2, 2)),
        mf.GELU("tanh"),
        mf.Conv2d(2, 2, 1, padding="valid"),
        mf.BatchNorm(2, affine=False),
    ]
    layers += [mf.ELU(), mf.SiLU(), mf.Softplus(), mf.Flatten(), mf.Linear(8, 2)]
    net = mf.Network(layers, input_shape=(4, 4, 2))
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2)).astype("f4")
    rule, y = make("fa").attach(net), np.array([0, 1, 0])
    moments = mf.trace(net, rule, mf.asarray(x), y, mf.SoftmaxCrossEntropy(), mf.SGD(0.1, lr_factors={"conv*": 0.5}))
    texts = "\n".join(moment.equation for moment in moments)
    for part in ("erf(x / sqrt(2))", "tanh(sqrt(2 / pi)", "in each of 2 groups", "var + eps", "exp(x)"):
        assert part in texts, part


def test_a_tensor_is_read_and_one_without_numbers_is_refused():
    class Tensor:
        def __init__(self, numbers):
            self.numbers = numbers

        def detach(self):
            return self

        cpu = detach

        def is_floating_point(self):
            return True

        def element_size(self):
            return 2

        float = detach

        def numpy(self):
            if self.numbers is None:
                raise TypeError("no numbers")
            return np.array(self.numbers)

    assert mf.to_host(mf.asarray(Tensor([1.0, 2.0]))).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="cannot be read as numbers: no numbers"):
        mf.asarray(Tensor(None))


@pytest.mark.parametrize(
    "description",
    ["fwdtp:g=first", "di:weights=random,leak=20", "dfc:weights=product", "pc:steps=2,beta=0.5", "weight_perturbation"],
)
def test_options_of_rules_with_targets_give_activities_and_targets(description):
    net, x = dense_net(), mf.asarray(np.linspace(-1, 1, 6).reshape(2, 3))
    rule = make(description).attach(net)
    rule.gradients(net, x, np.array([0, 1]), mf.SoftmaxCrossEntropy())
    aligned = mf.target_metrics.target_alignment(net, rule, x, np.array([0, 1]), mf.SoftmaxCrossEntropy())
    assert rule.activities.keys() == rule.targets.keys() == aligned.keys()
    assert bool(aligned) == (description != "weight_perturbation")
    layer = next(iter(rule.targets), "linear1")
    assert isinstance(rule.teach_equation(net[layer])[0], str)
    mf.SGD(lr=0.1).step(net, rule)
    with pytest.raises(RuntimeError, match="the weights were updated after the last pass"):
        rule.activities  # noqa: B018


@pytest.mark.parametrize(
    "description",
    [
        "weight_mirror:correlation=0.5,noise=spikes",
        "rdd:correlation=0.5,fit=constant",
        "stdwi",
        "sal",
        "pal:highpass=raw",
        "pal:highpass=clean,samples=2",
    ],
)
def test_feedback_learns_from_noise(description):
    layers = [mf.Conv2d(1, 2, 2), mf.Tanh(), mf.Conv2d(2, 4, 2, groups=2), mf.Flatten(), mf.Linear(4, 2)]
    net = mf.Network(layers, input_shape=(3, 3, 1), input_error=True)
    rule, before = make(description).attach(net), {}
    for _ in range(2):
        before = rule.state()
        rule.gradients(net, mf.asarray(np.ones((4, 3, 3, 1))), [0, 1, 0, 1], mf.SoftmaxCrossEntropy())
        mf.SGD(0.1).step(net, rule)
    after = rule.state()
    assert {*rule.B} == {"conv1", "conv2", "linear1"} <= {*after}
    assert all(np.isfinite(array).all() and (array != before[name]).any() for name, array in after.items())
    start = rule.start_angle(net["linear1"])
    assert start == 90.0 if rule.name == "pal" else start is None


def test_systems_without_numbers_have_no_solution():
    nothing = mf.asarray(np.full((2, 2), np.nan))
    for found in (linalg.solve(nothing, nothing, "A", ""), linalg.pinv(nothing, "A", "")):
        assert np.isnan(mf.to_host(found)).all() and found.shape == (2, 2)


def test_the_angle_at_the_start_of_an_inverse_follows_from_the_shape():
    net = mf.Network([mf.Linear(2, 8), mf.Linear(8, 4), mf.Linear(4, 4), mf.Linear(4, 2)])
    angles = {name: make(name).attach(net).start_angle(net["linear2"]) for name in ("pbp", "di")}
    assert angles["pbp"] == pytest.approx(45) and 0 < angles["di"] < 45
    assert make("pbp").attach(net).start_angle(net["linear3"]) == 90.0


# --- local errors, broadcasts and phases ------------------------------------------------------------------------------


def marked_net(*layers):
    return mf.Network([*layers, mf.Linear(4, 2)], input_shape=(3,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attach("forward_forward:from_layer=2"), "from_layer must be at most 1, the number of hidden layers"),
        (lambda: attach("forward_forward", mf.Network([mf.Conv2d(1, 2, 3)])), "the input size must be known"),
        (
            lambda: attach("forward_forward", marked_net(mf.Residual([mf.Linear(3, 3)]), mf.Linear(3, 4))),
            "takes no blocks",
        ),
        (lambda: attach("forward_forward", marked_net(mf.Linear(3, 4), mf.BatchNorm(4))), "mixes right and wrong"),
        (lambda: attach("forward_forward", mf.Network([mf.Linear(3, 2)])), "the network has none"),
        (lambda: attach("forward_forward", mf.Network([mf.Linear(1, 4), mf.Linear(4, 2)])), "1 inputs and 2 outputs"),
        (
            lambda: attach("forward_forward", marked_net(mf.Linear(3, 4), mf.ReLU(), mf.Linear(4, 4))),
            "put a UnitLength",
        ),
        (lambda: regression("forward_forward"), "needs classes, whose labels"),
        (lambda: attach("gevb"), "needs units that are vectors of 2 components"),
        (lambda: attach("gevb", mf.Network([mf.Linear(3, 4), mf.Vectors(2), mf.VectorLinear(2, 1, 2)])), "a Gate of 2"),
        (lambda: attach("mdfa"), "no weight above the first layer may be negative"),
        (lambda: attach("mdfa", marked_net(mf.Linear(3, 4), mf.GELU())), "GELU"),
        (lambda: attach("phsic", mf.Network([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 1)])), "labels='gaussian'"),
        (lambda: attach("phsic:groups=3"), "must be a multiple of groups"),
        (lambda: attach("local", mf.Network([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 1)])), "at least two outputs"),
        (lambda: mf.Network([mf.Linear(3, 5), mf.Vectors(2)]), "a multiple of 2 features"),
        (lambda: mf.Network([mf.Linear(3, 4), mf.VectorLinear(2, 1, 2)]), "put Vectors"),
        (lambda: mf.Network([mf.Linear(3, 4), mf.Vectors(2), mf.Gate(3, 2)]), "2 components x 3 units"),
        (lambda: mf.Linear(3, 5, init="onoff_input"), "an even number of outputs"),
        (lambda: mf.Linear(3, 5, init="onoff"), "an even number of inputs"),
        (lambda: mf.models.vector_mlp((4,), 3, hidden=(5,)), "even"),
        (lambda: mf.kernels.nhsic(*[mf.asarray(np.eye(3))] * 2, eps=1e-30), "use a larger eps"),
        (lambda: mf.kernels.cka(mf.asarray(np.eye(3)), mf.asarray(np.eye(2))), "a kernel expects"),
        (lambda: mf.Network([mf.Conv2d(1, 2, 3)]).classify(np.ones((1, 4, 4, 1))), "classes need outputs of shape"),
    ],
)
def test_rules_with_local_errors_and_their_layers_refuse(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def regression(rule):
    net = mf.Network([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 2)])
    make(rule).attach(net).gradients(net, mf.asarray(np.ones((2, 3))), mf.asarray(np.ones((2, 2))), CE)


@pytest.mark.parametrize("prediction", ["goodness", "readout"])
def test_forward_forward_predicts_by_goodness_or_by_its_read_out(prediction):
    net = mf.Network(mf.models.mlp((4,), 2, hidden=(5, 4), unit_length=True, dropout=0.1), input_shape=(4,))
    rule = make(f"forward_forward:prediction={prediction}").attach(net)
    assert net.predict(np.eye(4), rule=rule).shape == (4, 2)


def test_training_records_targets_and_kernels_and_goes_through_phases():
    x = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    data = mf.data.from_arrays(x, np.arange(12) % 3)
    net = mf.Network([mf.Linear(4, 4), mf.DivisiveNorm(2, 4), mf.Tanh(), mf.Linear(4, 3)])
    recorders = [mf.training.RecordKernels(data.train), mf.training.RecordTargets(data.train)]
    bp, second = BP().attach(net), make("kolen_pollack").attach(net)
    trainer = mf.Trainer(net, bp, CE, mf.SGD(0.1), callbacks=recorders, phase="first")
    trainer.fit(data.train, 1, 4)
    trainer.begin_phase("second", second, mf.SGD(0.1))
    trainer.fit(data.train, 1, 4)
    assert {"tanh1.nhsic_label", "tanh1.bp_angle", "phase"} <= {*trainer.history[-1]}
    moments = mf.trace(net, second, mf.asarray(x), np.arange(12) % 3, CE, mf.SGD(0.1))
    assert any("divisivenorm1" in moment.title for moment in moments)


def test_networks_for_broadcasts_and_local_losses_are_drawn():
    vectors = mf.Network(mf.models.vector_mlp((4,), 3, hidden=(4,)), input_shape=(4,))
    rule = make("gevb").attach(vectors)
    assert rule.feedback_size(vectors["gate1"]) == 0
    assert mf.Network(mf.models.vector_mlp((4,), 3, hidden=()), input_shape=(4,)).output_shape == (3,)
    for init in ("nonnegative_normal", "nonnegative_uniform"):
        assert float(mf.Linear(3, 4, init=init).W.min()) >= 0
    pooled = mf.Network([mf.Conv2d(1, 4, 3), mf.ReLU(), mf.Flatten(), mf.Linear(64, 3)], input_shape=(6, 6, 1))
    local = make("local:bio=true,dim_in_decoder=16").attach(pooled)
    value = local.gradients(pooled, mf.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 1))), [0, 1, 2, 0], CE)
    assert np.isfinite(float(value))


def trained(phase="first", rule=None):
    data = mf.data.from_arrays(np.eye(6, 4, dtype="float32"), np.arange(6) % 2)
    net = dense_net_of(4)
    trainer = mf.Trainer(net, (rule or BP()).attach(net), CE, mf.SGD(0.1), phase=phase)
    return trainer, data


def dense_net_of(n_in):
    return mf.Network([mf.Linear(n_in, 3), mf.Tanh(), mf.Linear(3, 2)])


def begin(rule):
    trainer, _ = trained()
    trainer.begin_phase("second", rule, mf.SGD(0.1))


def load_another_phase():
    trainer, _ = trained()
    trainer.load_state(trained("second")[0].state())


class WithKernels(KernelLosses):
    z_kernel = y_kernel = mf.kernels.Gaussian()


def without_the_loss_of_a_layer(base):
    class Unfinished(base):
        name = "unfinished"

    net = dense_net_of(4)
    Unfinished().attach(net).gradients(net, mf.asarray(np.eye(4)), [0, 1, 0, 1], CE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: begin(BP()), "must be attached to the trainer's network"),
        (load_another_phase, "the state is one of the phase 'second'"),
        (lambda: without_the_loss_of_a_layer(LocalLosses), "local_loss"),
        (lambda: without_the_loss_of_a_layer(WithKernels), "objective"),
        (lambda: trained()[0].fit(trained()[1], 1), "one part of a data set"),
        (lambda: mf.training.EarlyStopping(patience=0), "patience"),
    ],
)
def test_phases_and_rules_that_are_not_complete(call, message):
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=message):
        call()


def test_foreign_checkpoints_are_kept_under_another_name(tmp_path):
    for phase in ("first", "second"):
        trainer, data = trained(phase)
        trainer.callbacks = [checkpoints.SaveCheckpoints(tmp_path)]
        trainer.fit(data.train, 1, 3 if phase == "first" else 2)
    assert len([*tmp_path.glob("*.ckpt")]) > 1


def test_the_plain_reference_of_a_locally_connected_layer_runs_on_every_backend():
    layer = mf.LocallyConnected2d(1, 2, 2, input_size=3, bias=False)
    net = mf.Network([layer], input_shape=(3, 3, 1))
    x = mf.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 1)))
    y = net.forward(x, mf.Pass(training=True))
    ours = y, layer.weight_gradient(x, y), layer.carry(y, layer.W)
    for fast, plain in zip(ours, products_plain(layer, x, y, layer.W), strict=True):
        np.testing.assert_allclose(mf.to_host(fast), mf.to_host(plain), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="expects images of 3 x 3 x 1"):
        layer.infer((4, 4, 1))
    assert layer.repeated == ", at each of 4 positions" and "2 x 2 x 1 x 2 weights" in layer.smaller


def test_attacks_and_sharing_refuse_and_average_alike_on_every_backend():
    net, x, eps = dense_net(), mf.asarray(np.eye(3)), mf.asarray(np.full((1, 3), 0.1))
    rule = make("fa").attach(net)
    unfit = (
        (lambda: mf.attacks.fgsm(net, rule, x, [0, 1, 0], CE, "true", -1), "at least 0"),
        (lambda: mf.attacks.fgsm(net, rule, x, [0, 1, 0], CE, "true", np.ones(2)), "got the shape"),
        (lambda: mf.attacks.fgsm(net, rule, x, [0, 1, 0], CE, "true", 1, (0, 1, 2)), "got 3 values"),
        (lambda: mf.metrics.input_gradient(net, make("fa"), x, [0, 1, 0], CE, "true"), "not attached"),
        (lambda: mf.metrics.input_gradient(net, make("dfa").attach(net), x, [0, 1, 0], CE, "rule"), "no error"),
        (lambda: mf.metrics.input_gradient(net, make("pepita").attach(net), x, [0, 1, 0], CE, "rule"), "no backward"),
        (lambda: mf.sharing.sleep(x, [], 0.1, 0.1), "members, fan_in, n_out"),
    )
    for call, message in unfit:
        with pytest.raises((ValueError, RuntimeError), match=message):
            call()
    moved = mf.attacks.fgsm(net, make("bp").attach(net), x, [0, 1, 0], CE, "true", eps, (0, 1))
    assert 0 <= float(moved.min()) and float(moved.max()) <= 1
    layers = [mf.LocallyConnected2d(1, 2, 2, input_size=3), mf.Tanh(), mf.LocallyConnected2d(2, 1, 1, input_size=2)]
    untied = mf.Network([*layers, mf.Flatten()], input_shape=(3, 3, 1))
    paired = make("kolen_pollack").attach(untied)
    paired.gradients(untied, mf.asarray(np.ones((2, 3, 3, 1))), [0, 1], CE)
    mf.SGD(0.1, share_weights=mf.ShareWeights()).step(untied, paired)
    B = layers[2].matrices(paired.B[layers[2].name])
    assert all(bool((one == B[0]).all()) for one in B)
