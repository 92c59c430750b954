"""What a notebook or the prompt shows of an object, and the two short ways to a network's outputs."""

import numpy as np
import pytest

import minifa as mf
from minifa.experiments import Experiment, Result
from minifa.layers import Linear, Tanh


def net_of(n_out=3):
    return mf.Network([Linear(4, 5), Tanh(), Linear(5, n_out)], seed=0)


class WithArray(mf.rules.BP):
    def __init__(self, values=None):
        super().__init__()
        self.values = np.array(values)


def trainer_of():
    net = net_of()
    return mf.Trainer(net, mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD())


def result_of(**options):
    return Result(Experiment(), [], 0.5, "test", 1.0, **options)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (net_of, "<Network: 3 layers, 43 parameters>"),
        (lambda: mf.SGD(0.1, momentum=0.9), "SGD(lr=0.1, momentum=0.9)"),
        (lambda: mf.Adam(), "Adam()"),
        (lambda: mf.AdamW(betas=(0.5, 0.9), clip_norm=2), "AdamW(betas=(0.5, 0.9), clip_norm=2.0)"),
        (lambda: mf.SoftmaxCrossEntropy(), "SoftmaxCrossEntropy()"),
        (lambda: mf.SoftmaxCrossEntropy(label_smoothing=0.1), "SoftmaxCrossEntropy(label_smoothing=0.1)"),
        (lambda: mf.data.load("xor").train, "<Examples: 4 of 2>"),
        (lambda: mf.Linear(4, 5), "<Linear 'linear': W 4 x 5, b 5>"),
        (lambda: mf.Residual([mf.BatchNorm(3)]), "<Residual 'residual'>"),
        (lambda: mf.rules.FA(seed=1, init="zero"), "<FA(seed=1, init=Initialiser(name='zero')), not attached>"),
        (lambda: mf.rules.BP().attach(net_of()), "<BP(), attached to <Network: 3 layers, 43 parameters>>"),
        (lambda: WithArray([1, 2]).attach(net_of()).B, "<B: linear2 5 x 3>"),
        (lambda: mf.rules.FA().B, "<B: no matrices>"),
        (lambda: WithArray([1, 2]), "<WithArray(values=<array 2>), not attached>"),
        (trainer_of, "<Trainer: rule 'bp', after epoch 0>"),
        (lambda: Experiment(rule="fa", epochs=3), "Experiment(rule='fa', epochs=3)"),
        (lambda: result_of(), "<Result of 'bp', seed 0: test score 0.5>"),
        (lambda: result_of(name="a row", diverged=True), "<Result of 'a row', seed 0: test score 0.5, diverged>"),
        (lambda: result_of(error="no\nmemory"), "<Result of 'bp', seed 0: failed: no memory>"),
        (lambda: mf.training.History(), "<History: no epochs>"),
        (
            lambda: mf.training.History([{"epoch": 0}, {"epoch": 1, "train_loss": 0.51234, "test_accuracy": 1.0}]),
            "<History: epoch 1, train_loss 0.5123, test_accuracy 1>",
        ),
    ],
)
def test_an_object_is_shown_in_one_line(make, text):
    assert repr(make()) == text


def test_a_data_set_is_shown_without_its_arrays():
    assert repr(mf.data.load("digits")) == (
        "<Dataset 'digits': 1437 training and 360 test examples of 8 x 8 x 1, 10 classes>"
    )
    assert repr(mf.data.load("lillicrap")).endswith("10 target values>")


def test_calling_a_network_evaluates_it(engine):
    net = mf.Network([Linear(4, 8), mf.Dropout(0.5), Linear(8, 3)], seed=0)
    x = mf.asarray(np.ones((6, 4)))
    assert (mf.to_host(net(x)) == mf.to_host(net.forward(x))).all()
    assert all(layer.cache is None for layer in net)


def test_classify_gives_the_index_of_the_largest_output(engine):
    net, x = net_of(), np.random.default_rng(0).normal(size=(7, 4))
    classes = net.classify(x, batch_size=2)
    assert isinstance(classes, np.ndarray) and classes.dtype.kind == "i"
    assert (classes == net.predict(x).argmax(axis=1)).all()
    one = net_of(n_out=1)
    assert (one.classify(x) == (one.predict(x)[:, 0] > 0)).all()


def test_a_schedule_is_shown_with_its_options():
    assert "cosine(epochs=10.0, least=0.1)" in repr(mf.schedules.cosine(10, least=0.1))
