"""The texts of layers, losses, optimizers and rules, word for word: error messages, and the equations shown beside the
numbers.

An error message names the given value, the expected one and a remedy. tests/golden/sentences.json holds the messages,
so that a change to one is visible in review. After a deliberate change, write them again and read them:

    python tests/docs/test_sentences.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minifa as mf
from minifa import BatchNorm, Conv2d, Flatten, Linear, MaxPool, Network, Pass, ReLU, Residual, Tanh, losses
from minifa.layers import Layer
from minifa.rules import make
from minifa.testing.examples import ALL_RULES, network_for, small_convnet

GOLDEN = Path(__file__).parents[1] / "golden" / "sentences.json"
INF = float("inf")


def forward(layer: Layer, *shape: int) -> Any:
    return layer.forward(np.zeros((2, *shape), "f4"), Pass(training=True))


def backward(layer: Layer, shape: tuple[int, ...], *wrong: int) -> Any:
    y = Network([layer], input_shape=shape, input_error=True).forward(np.ones((2, *shape), "f4"), Pass(training=True))
    return layer.backward(np.zeros((len(y), *wrong), "f4"), make("bp"))


def attached(rule: str, *layers: Layer, shape: tuple[int, ...] | None = None) -> Any:
    return make(rule).attach(Network(layers, input_shape=shape))


def refuse_loss(loss: mf.Loss, *end: Layer) -> Any:
    net = Network([Linear(2, 2), *end])
    return make("burst").attach(net).gradients(net, np.zeros((1, 2), "f4"), [0], loss)


def target(y: Any, *shape: int) -> Any:
    return mf.SoftmaxCrossEntropy().target(y, np.zeros(shape or (2, 3), "f4"))


def another_state(optimizer: Any, **arrays: Any) -> Any:
    return optimizer.load_state(arrays, Network([Linear(2, 2)]))


REFUSED: dict[str, list[Callable[[], Any]]] = {
    "layers made": [
        lambda: Linear(2.5, 3),
        lambda: Linear(0, 3),
        lambda: Linear(2, 10**10),
        lambda: Linear(2, 3, bias="no"),
        lambda: Linear(2, 3, init="he_norml"),
        lambda: Linear(2, 3, name="a.b"),
        lambda: Linear(2, 3, name=7),
        lambda: Conv2d(1, 1, 0),
        lambda: Conv2d(1, 1, (1, 2, 3)),
        lambda: Conv2d(1, 1, 3, stride=0),
        lambda: Conv2d(1, 1, 3, padding=-1),
        lambda: Conv2d(0, 1, 3),
        lambda: Conv2d(4, 6, 3, groups=4),
        lambda: Conv2d(1, 1, 3, padding="full"),
        lambda: Conv2d(1, 1, 3, stride=2, padding="same"),
        lambda: mf.LocallyConnected2d(1, 1, 5, input_size=(4, 6)),
        lambda: mf.LocallyConnected2d(512, 512, 3, padding=1, input_size=512),
        lambda: MaxPool(0),
        lambda: MaxPool(3, stride=0),
        lambda: MaxPool(3, padding=-1),
        lambda: MaxPool((4, 3), padding=2),
        lambda: BatchNorm(0),
        lambda: BatchNorm(2, eps=0),
        lambda: BatchNorm(2, eps="small"),
        lambda: BatchNorm(2, momentum="some"),
        lambda: BatchNorm(2, momentum=1.5),
        lambda: mf.LayerNorm((2, 3)),
        lambda: mf.LayerNorm(3, bias="no"),
        lambda: mf.GroupNorm(2, 5),
        lambda: mf.DivisiveNorm(2, 5),
        lambda: mf.DivisiveNorm(2, 4, power=-1),
        lambda: mf.GELU("erf"),
        lambda: mf.ELU(INF),
        lambda: mf.Softplus(0),
        lambda: mf.Dropout("half"),
        lambda: mf.Dropout(1),
        lambda: mf.LeakyReLU("steep"),
        lambda: mf.LeakyReLU(0),
        lambda: mf.LocalResponseNorm(0),
        lambda: mf.LocalResponseNorm(3, alpha="a"),
        lambda: mf.LocalResponseNorm(3, alpha=INF),
        lambda: mf.LocalResponseNorm(3, beta="b"),
        lambda: mf.LocalResponseNorm(3, beta=-1),
        lambda: mf.LocalResponseNorm(3, k="c"),
        lambda: mf.LocalResponseNorm(3, k=INF),
        lambda: mf.UnitLength(0),
        lambda: mf.PadChannels(0),
        lambda: mf.Vectors(0),
        lambda: mf.VectorLinear(4, 2, "three"),
        lambda: mf.VectorLinear(3, 2, 4, init="onoff"),
        lambda: mf.Gate(2.5, 3),
        lambda: Linear(3, 5, init="onoff_input"),
        lambda: Residual([]),
        lambda: Residual(7),
        lambda: Residual([ReLU()], 7),
    ],
    "layers used": [
        lambda: forward(Linear(4, 2, name="readout"), 5),
        lambda: forward(Linear(4, 2), 2, 2, 1),
        lambda: forward(Conv2d(3, 2, 3), 5, 5, 2),
        lambda: forward(Conv2d(1, 2, 5, padding=1), 2, 4, 1),
        lambda: forward(Conv2d(1, 2, 3, dilation=3), 5, 9, 1),
        lambda: forward(mf.LocallyConnected2d(1, 2, 3, input_size=5), 5, 6, 1),
        lambda: forward(BatchNorm(3), 4),
        lambda: BatchNorm(3).forward(np.zeros((1, 3), "f4"), Pass(training=True)),
        lambda: forward(mf.LayerNorm(3), 4),
        lambda: forward(mf.LayerNorm((2, 2, 3)), 2, 2, 4),
        lambda: forward(MaxPool(3), 2, 5, 1),
        lambda: forward(MaxPool(3), 9),
        lambda: forward(mf.GlobalAvgPool(), 9),
        lambda: forward(mf.LocalResponseNorm(3)),
        lambda: forward(mf.PadChannels(2), 2, 2, 3),
        lambda: forward(mf.Vectors(3), 7),
        lambda: forward(mf.VectorLinear(4, 2, 3), 12),
        lambda: forward(mf.Gate(4, 3), 4, 3),
        lambda: forward(Residual([Linear(3, 2)]), 3),
        lambda: Network([Linear(3, 2, name="first"), Linear(3, 2)]),
        lambda: ReLU().forward([[1.0]], Pass()),
        lambda: ReLU().forward(np.ones((2, 3), int), Pass()),
        lambda: ReLU().backward(np.ones((2, 3), "f4"), make("bp")),
        lambda: backward(Linear(3, 2), (3,), 3),
        lambda: backward(ReLU(), (3,), 2),
        lambda: backward(BatchNorm(3), (3,), 2),
        lambda: backward(MaxPool(2), (2, 2, 1), 2, 2, 1),
        lambda: backward(Flatten(), (2, 2, 1), 2),
        lambda: backward(mf.LocalResponseNorm(3), (3,), 2),
        lambda: setattr(Linear(2, 3), "W", np.zeros((3, 2))),
        lambda: setattr(Linear(2, 3), "b", np.zeros(2)),
    ],
    "losses": [
        lambda: mf.SoftmaxCrossEntropy(2),
        lambda: target([0, 3]),
        lambda: target([-1, 2]),
        lambda: target([0]),
        lambda: target([[0, 1, 0], [1, 0, 0]]),
        lambda: target([0.0, 1.0]),
        lambda: target(np.zeros((2, 2), "f4")),
        lambda: target([True, False]),
        lambda: target("cats"),
        lambda: target([0], 2, 2, 1),
        lambda: mf.MeanSquaredError().target([0], [[0.0]]),
        lambda: mf.MeanSquaredError()([[0.0]], np.zeros((1, 1), "f4")),
        lambda: mf.MeanSquaredError()(np.zeros((1, 2), "f4"), np.zeros((2, 2), "f4")),
        lambda: mf.MeanSquaredError()(np.zeros(2, "f4"), np.zeros(2, "f4")),
    ],
    "optimizers": [
        lambda: mf.SGD(-0.1),
        lambda: mf.SGD("fast"),
        lambda: mf.SGD(momentum=1),
        lambda: mf.SGD(nesterov=True),
        lambda: mf.SGD(nesterov=1),
        lambda: mf.SGD(weight_decay=-1),
        lambda: mf.SGD(clip_norm=0),
        lambda: mf.SGD(manhattan=1),
        lambda: mf.SGD(constrain_weights=1),
        lambda: mf.SGD(freeze_signs=1),
        lambda: mf.SGD(share_weights=10),
        lambda: mf.SGD(share_weights="evry=10"),
        lambda: mf.SGD(share_weights="every=10").step(Network([Linear(2, 2)])),
        lambda: mf.ShareWeights(group="row"),
        lambda: mf.Adam(betas=0.9),
        lambda: mf.Adam(betas=(0.9,)),
        lambda: mf.Adam(betas=(0.9, 1)),
        lambda: mf.Adam(eps=0),
        lambda: mf.AdamW(weight_decay=-1),
        lambda: mf.RMSprop(alpha=1),
        lambda: mf.RMSprop(eps=0),
        lambda: mf.RMSprop(momentum=-1),
        lambda: another_state(mf.Adam(), **{"count/linear7.W": 1}),
        lambda: another_state(mf.Adam(), **{"count/linear1.W": 1}),
    ],
    "unknown options": [
        lambda: mf.SGD(lr=0.1, nesterow=True),
        lambda: mf.Adam(beta=(0.9, 0.99)),
        lambda: mf.AdamW(learning_rate=0.1),
        lambda: mf.RMSprop(momentums=0.5),
        lambda: Linear(2, 3, bais=False),
        lambda: ReLU(inplace=True),
        lambda: Conv2d(1, 2, 3, pad=1),
        lambda: mf.rules.FA(seeed=0),
        lambda: mf.rules.KolenPollack(sed=0),
        lambda: mf.SoftmaxCrossEntropy(label_smooth=0.1),
        lambda: mf.MeanSquaredError(reduction="sum"),
        lambda: Network([Linear(2, 3)], sead=1),
        lambda: mf.Trainer(None, None, None, None, shedule=None),
    ],
    "rules made": [
        *(
            lambda description=description: make(description)
            for description in (
                "fas",
                "fa:sparsty=0.5",
                "bp:scale=1",
                "usf:scale",
                "usf:scale=strickt",
                "usf:scale=0",
                "usf:concordance=0.3",
                "frsf:signs=dead",
                "frsf:normalise=always",
                "fa:sparsity=1",
                "fa:sparsity=half",
                "fa:correlation=2",
                "fa:conv=toeplitz",
                "fa:conv=dense,normalise=strict",
                "fa:init=henormal",
                "dfa:at=output",
                "dfa:family=cauchy",
                "dfa:sd=0",
                "dualprop:alpha=1.5",
                "product:ratio=0",
                "product:fixed=sparse",
                "product:fixed=identity,ratio=2",
                "weight_mirror:rate=0",
                "stale:every=0",
                "symmetric_alignment:rate=0",
                "pepita:scale=0",
                "pepita:output=third",
                "node_perturbation:sigma=0",
                "weight_perturbation:sigma=0",
            )
        ),
        lambda: make("bp", seed=1.5),
        lambda: make("fa:rescale_sparse=1"),
        lambda: make("fa:correlation=much"),
        lambda: make("dfa:shared=1"),
        lambda: make("dfa:recompute=1"),
        lambda: make("asap:k=0"),
        lambda: make("asap:lag=2"),
        lambda: attached("mdfa", Linear(4, 6), Tanh(), Linear(6, 3)),
        lambda: attached("mdfa", Linear(4, 6), mf.GELU(), Linear(6, 3)),
        lambda: make("burst:kappa=2"),
        lambda: attached("burst", Linear(4, 6), Tanh(), Linear(6, 3)),
        lambda: attached("burst", Conv2d(1, 2, 2), mf.Sigmoid(), Flatten(), shape=(2, 2, 1)),
        lambda: target([1, 0], 2, 1),
        lambda: make("weight_mirror:rate=2"),
        lambda: make("weight_mirror:sigma=0"),
        lambda: make("weight_mirror:samples=0"),
        lambda: make("weight_mirror:every=0"),
        lambda: make("weight_mirror:warmup_phases=-1"),
    ],
    "rules used": [
        lambda: make("fa").gradients(Network([Linear(2, 2)]), np.zeros((1, 2), "f4"), [0], mf.SoftmaxCrossEntropy()),
        lambda: refuse_loss(mf.HalfSquaredError()),
        lambda: refuse_loss(mf.MeanSquaredError(), mf.Sigmoid()),
        lambda: attached("burst", Linear(2, 2)).rates("linear1"),
        lambda: attached("fa", Linear(2, 3), Linear(3, 2)).set_feedback("linear1", np.zeros((2, 3))),
        lambda: attached("bp", Linear(2, 3), Linear(3, 2)).set_feedback("linear2", np.zeros((3, 2))),
        lambda: attached("fa", Linear(2, 3), Linear(3, 2)).set_feedback("linear2", np.zeros((2, 2))),
        lambda: attached("fa", Linear(2, 3), Linear(3, 2)).set_feedback("linear2", np.full((3, 2), np.nan)),
        lambda: make("fa").set_feedback("linear2", np.zeros((2, 2))),
        lambda: attached("fa", Linear(2, 3), Linear(3, 2)).feedback(Linear(5, 4)),
        lambda: attached("fa", Linear(2, 3), Linear(3, 2)).load_state({}),
        lambda: attached("fa", Linear(2, 3), Linear(3, 2)).load_state({"linear2": np.zeros((9, 9))}),
        lambda: attached("fa:conv=dense", Conv2d(1, 2, 2), Conv2d(2, 2, 2), Flatten(), Linear(8, 2)),
        lambda: attached("dfa", Linear(4, 5), Tanh(), BatchNorm(5), Linear(5, 3)),
        lambda: attached("dense", Linear(4, 5), BatchNorm(5), ReLU(), BatchNorm(5), Linear(5, 3)),
        lambda: attached("dfa:shared=true", Conv2d(1, 2, 2), ReLU(), Flatten(), Linear(8, 2)),
        lambda: attached("dense", Conv2d(1, 2, 2), ReLU(), Flatten(), Linear(8, 2)),
        lambda: attached("pepita", Linear(4, 5), ReLU(), Linear(5, 2), Tanh(), shape=(4,)),
        lambda: attached("pepita", Conv2d(1, 2, 2), ReLU(), Flatten(), Linear(8, 2)),
        lambda: attached("dfa:recompute=true", Linear(4, 5), Tanh(), Residual([Linear(5, 5)]), shape=(4,)),
        lambda: attached("node_perturbation", Linear(4, 4), BatchNorm(4), ReLU(), Linear(4, 2)),
        lambda: attached("forward_forward", Linear(4, 4), BatchNorm(4), ReLU(), Linear(4, 2)),
        lambda: attached("forward_forward", Linear(4, 4), ReLU(), Linear(4, 4), ReLU(), Linear(4, 2)),
        lambda: attached("forward_forward", Linear(4, 4), ReLU(), Linear(4, 5)),
    ],
}


def error_of(call: Callable[[], Any]) -> str:
    """The error of the call: "ValueError: message". It must be one of the three documented types."""
    with mf.using("numpy", "float32"), pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call()
    return f"{caught.type.__name__}: {caught.value}"


def equations() -> dict[str, Any]:
    """The equations shown beside the numbers of a step, by layer, loss, optimizer and rule."""
    with mf.using("numpy", "float32"):
        net = small_convnet()
        texts: dict[str, Any] = {layer.name: [layer.equation, layer.error_equation] for layer in net}
        net.freeze("batchnorm1")
        texts["batchnorm1, frozen"] = net["batchnorm1"].error_equation
        others = (mf.GELU(), mf.GELU("tanh"), mf.ELU(), mf.SiLU(), mf.Softplus(), mf.LayerNorm(2), mf.GroupNorm(1, 2))
        others = (*others, mf.LayerNorm(2, bias=False), BatchNorm(2, affine=False), mf.DivisiveNorm(1, 2))
        others = (*others, mf.UnitLength())
        grouped = Conv2d(4, 6, 3, groups=2)
        texts["groups"] = [grouped.equation, grouped.gradient_equation, grouped.error_equation]
        texts["others"] = [[str(layer), layer.equation, layer.error_equation] for layer in others]
        for name, loss in losses.LOSSES.items():
            texts[name] = [loss.equation, loss.error_equation]
        for optimizer in (mf.SGD(), mf.SGD(momentum=0.9), mf.SGD(momentum=0.9, nesterov=True), mf.Adam(), mf.AdamW()):
            texts.setdefault(optimizer.name, []).append(optimizer.equation)
        texts["rmsprop"] = [mf.RMSprop().equation, mf.RMSprop(momentum=0.5, weight_decay=0.1).equation]
        for description in [*ALL_RULES, "frsf:normalise=init,concordance=0.75"]:
            rule = make(description).attach(network_for(description))
            layer = rule.net.weighted[1]
            taught = [one for one in rule.net if rule.teaches(one)][:1]
            texts[f"rule {description}"] = [rule.carry_equation(layer), *rule.feedback_equation(layer)]
            texts[f"rule {description}"] += [part for one in taught for part in rule.teach_equation(one)]
    return texts


def all_sentences() -> dict[str, Any]:
    return {**{group: [error_of(one) for one in calls] for group, calls in REFUSED.items()}, "equations": equations()}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("group", REFUSED)
def test_error_messages_are_as_recorded(group, golden):
    assert [error_of(one) for one in REFUSED[group]] == golden[group]


def test_equations_are_as_recorded(golden):
    assert equations() == golden["equations"]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(all_sentences(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written to {GOLDEN}")
