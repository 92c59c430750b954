"""What the tests check with: a gradient checker that shows all when it fails, and the layers it is run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minifa as mf
from minifa import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Network,
    PadChannels,
    Pass,
    ReLU,
    Residual,
    Sigmoid,
    Tanh,
)

Layers = Callable[[], list[Layer]]

# Every layer in every geometry that differs: how it is made, and the shape of one example.
LAYERS: dict[str, tuple[Layers, tuple[int, ...]]] = {
    "linear": (lambda: [Linear(5, 4)], (5,)),
    "linear without bias": (lambda: [Linear(5, 4, bias=False)], (5,)),
    "conv 1x1": (lambda: [Conv2d(3, 4, 1)], (4, 5, 3)),
    "conv 1x1 stride 2": (lambda: [Conv2d(3, 4, 1, stride=2)], (5, 4, 3)),
    "conv 1x1 padded": (lambda: [Conv2d(2, 3, 1, padding=1)], (3, 4, 2)),
    "conv 1x1 padded (1, 0)": (lambda: [Conv2d(2, 3, 1, padding=(1, 0))], (3, 4, 2)),
    "conv 3x3": (lambda: [Conv2d(2, 3, 3)], (5, 6, 2)),
    "conv 3x3 padded, no bias": (lambda: [Conv2d(2, 3, 3, padding=1, bias=False)], (5, 4, 2)),
    "conv 3x3 stride 2 leaves a border": (lambda: [Conv2d(2, 3, 3, stride=2)], (6, 8, 2)),
    "conv 3x3 stride (2, 1) padded (1, 0)": (lambda: [Conv2d(2, 3, 3, stride=(2, 1), padding=(1, 0))], (6, 5, 2)),
    "conv 2x3 stride (1, 2)": (lambda: [Conv2d(1, 2, (2, 3), stride=(1, 2))], (5, 6, 1)),
    "conv 5x5 padded 2": (lambda: [Conv2d(2, 2, 5, padding=2)], (4, 6, 2)),
    "conv 3x5 padded (1, 2)": (lambda: [Conv2d(2, 3, (3, 5), padding=(1, 2))], (4, 6, 2)),
    "conv stride larger than kernel": (lambda: [Conv2d(2, 2, 2, stride=3)], (7, 6, 2)),
    "conv kernel as large as its input": (lambda: [Conv2d(2, 3, (4, 3))], (4, 3, 2)),
    "batchnorm of features": (lambda: [BatchNorm(4)], (4,)),
    "batchnorm of images": (lambda: [BatchNorm(3)], (3, 2, 3)),
    "relu": (lambda: [ReLU()], (6,)),
    "leaky relu": (lambda: [LeakyReLU(0.1)], (6,)),
    "tanh": (lambda: [Tanh()], (2, 3, 2)),
    "sigmoid": (lambda: [Sigmoid()], (6,)),
    "maxpool 2": (lambda: [MaxPool(2)], (4, 6, 2)),
    "maxpool 3 stride 2 padded, overlapping": (lambda: [MaxPool(3, stride=2, padding=1)], (6, 5, 2)),
    "maxpool (2, 3) stride (1, 2)": (lambda: [MaxPool((2, 3), stride=(1, 2))], (4, 6, 2)),
    "maxpool leaves a border": (lambda: [MaxPool(2)], (5, 5, 1)),
    "avgpool 2": (lambda: [AvgPool(2)], (4, 6, 2)),
    "avgpool 3 stride 2 padded, overlapping": (lambda: [AvgPool(3, stride=2, padding=1)], (6, 5, 2)),
    "avgpool (3, 2) stride (2, 1) padded (1, 0)": (lambda: [AvgPool((3, 2), stride=(2, 1), padding=(1, 0))], (5, 4, 2)),
    "global average": (lambda: [GlobalAvgPool()], (3, 4, 2)),
    "response of images": (lambda: [LocalResponseNorm(3, alpha=0.9, beta=0.75, k=2.0)], (2, 3, 5)),
    "response of features, even size": (lambda: [LocalResponseNorm(4, alpha=0.5, beta=0.6)], (7,)),
    "response, wider than its input": (lambda: [LocalResponseNorm(9, alpha=1.0)], (2, 2, 3)),
    "flatten": (lambda: [Flatten()], (2, 3, 2)),
    "padded channels": (lambda: [PadChannels(5)], (3, 4, 2)),
    "dropout": (lambda: [Dropout(0.4)], (8,)),
    "residual, identity": (lambda: [Residual([Linear(4, 4), Tanh()])], (4,)),
    "residual, projection": (
        lambda: [Residual([Conv2d(2, 3, 3, stride=2, padding=1), Tanh()], [Conv2d(2, 3, 1, stride=2)])],
        (4, 5, 2),
    ),
    "residual in residual": (
        lambda: [Residual([Linear(4, 4), Residual([Tanh(), Linear(4, 4)]), Tanh()], [Residual([Linear(4, 4)])])],
        (4,),
    ),
    "a whole net": (
        lambda: [
            Conv2d(2, 3, 3, padding=1),
            BatchNorm(3),
            ReLU(),
            MaxPool(2),
            Residual([Conv2d(3, 3, 3, padding=1), BatchNorm(3), LeakyReLU(0.2), Conv2d(3, 3, 1)]),
            ReLU(),
            AvgPool(3, stride=1, padding=1),
            Dropout(0.3),
            Flatten(),
            Linear(12, 4),
        ],
        (4, 4, 2),
    ),
}


def network(layers: Sequence[Layer], shape: tuple[int, ...] | None, seed: int = 0, **options: Any) -> Network:
    """A network none of whose parameters is 0 or 1, so that no term of a derivative hides."""
    net = Network(layers, seed=seed, input_shape=shape, **options)
    rng = np.random.default_rng(seed + 1000)
    for name, array in net.parameters().items():
        if not name.endswith(".W"):
            array[...] = mf.asarray(rng.normal(1.0 if name.endswith("gamma") else 0.0, 0.5, array.shape), array.dtype)
    return net


def inputs(shape: Sequence[int], n: int = 3, seed: int = 0) -> Any:
    """Random numbers (n, ...) in the engine's dtype, none nearer to zero than 0.01, no two alike: no kink is near."""
    rng, size = np.random.default_rng(seed), n * int(np.prod(shape))
    distances = 0.01 + 0.003 * rng.permutation(size) + 0.5 * abs(rng.standard_normal(size)).round(2)
    return mf.asarray((rng.choice([-1.0, 1.0], size) * (distances + 1e-4 * np.arange(size) / size)).reshape(n, *shape))


def readonly(array: np.ndarray) -> np.ndarray:
    """The array, with an error for whoever writes into it."""
    array = np.array(array)
    array.flags.writeable = False
    return array


class Freeze(Pass):
    """A walk that makes every layer's output read-only: a layer that edits its input in place is caught."""

    def after(self, layer: Layer, y: Any) -> Any:
        y.flags.writeable = False
        return y


class FrozenErrors(mf.rules.BP):
    """Backpropagation that makes every error read-only: a layer that edits its delta in place is caught."""

    def teach(self, layer: Layer, delta: Any) -> Any:
        if delta is not None:
            delta.flags.writeable = False
        return delta


# The gradient checker -------------------------------------------------------------------------------------------------


def check_gradients(net: Network, x: np.ndarray, seed: int = 0, step: float = 1e-5, tolerance: float = 1e-7) -> None:
    """Compare backpropagation's gradients of L = sum(c * output) with central differences along random directions.

    Checked are every parameter and the input, each along three directions; the network needs ``input_error=True``
    and float64.

    Raises:
        AssertionError: they differ (with all numbers), something is not float64, or a kink lies within the step.
    """
    rng = np.random.default_rng(seed)
    ctx = Pass(training=True, step=1, update_statistics=False)
    output = net.forward(x, ctx)
    assert output.dtype == np.float64, f"gradients are checked in float64, the output is {output.dtype}"
    c = rng.standard_normal(output.shape)
    kinks = _sides(net)
    net.clear_gradients()
    arrays = {"input": x, **net.parameters()}
    gradients = {"input": net.backward(c, mf.rules.BP()), **net.gradients()}

    def loss(name: str) -> float:
        value = float((c * net.forward(x, ctx)).sum())
        for layer, before, now in zip(net, kinks, _sides(net), strict=True):
            assert np.array_equal(before, now), (
                f"a kink of {layer} lies within the step for {name}: choose other numbers"
            )
        return value

    for name, array in arrays.items():
        gradient = gradients[name]
        assert gradient is not None, f"no gradient of {name}"
        assert gradient.shape == array.shape, f"{name} has shape {array.shape}, its gradient {gradient.shape}"
        for _ in range(3):
            direction = rng.standard_normal(array.shape)
            direction /= np.sqrt((direction**2).sum())
            numeric = _slope(loss, name, array, direction, step)
            analytic = float((gradient * direction).sum())
            if not abs(numeric - analytic) <= tolerance * max(1.0, abs(numeric)):
                raise AssertionError(
                    _report(net, loss, name, array, gradient, numeric, analytic, step, tolerance, seed)
                )


def _slope(loss: Callable[[str], float], name: str, array: np.ndarray, direction: np.ndarray, step: float) -> float:
    kept = array.copy()
    try:
        array[...] = kept + step * direction
        above = loss(name)
        array[...] = kept - step * direction
        return (above - loss(name)) / (2 * step)
    finally:
        array[...] = kept


def _sides(net: Network) -> list[Any]:
    """On which side of its kinks every layer stands: the sign of a rectifier's output, the winners of max-pooling."""
    return [
        layer.cache > 0
        if isinstance(layer, (ReLU, LeakyReLU))
        else layer.cache[1].copy()
        if isinstance(layer, MaxPool)
        else None
        for layer in net
    ]


def _report(
    net: Network,
    loss: Callable[[str], float],
    name: str,
    array: np.ndarray,
    gradient: np.ndarray,
    numeric: float,
    analytic: float,
    step: float,
    tolerance: float,
    seed: int,
) -> str:
    """Everything: the two slopes, and entry by entry what was computed and what central differences give."""
    entries = np.zeros(array.size)
    for i in range(array.size):
        one = np.zeros(array.size)
        one[i] = 1
        entries[i] = _slope(loss, name, array, one.reshape(array.shape), step)
    flat = gradient.reshape(-1)
    worst = np.argsort(-np.abs(entries - flat))[:20]
    lines = [
        f"  {np.unravel_index(i, array.shape)}: gradient {flat[i]:+.9e}, differences {entries[i]:+.9e}" for i in worst
    ]
    return "\n".join(
        [
            f"wrong gradient of {name}, shape {array.shape}, seed {seed}, step {step}, tolerance {tolerance}",
            f"along a random direction: gradient {analytic:+.12e}, differences {numeric:+.12e}",
            f"ratio {analytic / numeric if numeric else float('nan'):.9f}",
            f"largest error {np.abs(entries - flat).max():.3e}; the {len(worst)} worst of {array.size} entries:",
            *lines,
            net.summary(),
        ]
    )


# A short training that meets every kind of layer ----------------------------------------------------------------------

RULES = [
    "bp",
    "shallow",
    "sham",
    "stale:every=2",
    "fa",
    "fa:normalise=strict",
    "fa:normalise=init,sparsity=0.5",
    "fa:correlation=0.5",
    "fa:conv=dense",
    "usf",
    "usf:scale=init",
    "usf:scale=std",
    "usf:scale=0.05,concordance=0.75",
    "frsf",
    "frsf:normalise=strict,signs=initial",
    "brsf",
    "dfa",
    "dfa:at=activation,family=gaussian",
    "dfa:shared=true",
    "dfa:recompute=true",
    "sdfa",
    "drtp",
    "direct_kolen_pollack",
    "dense",
    "kolen_pollack",
    "weight_mirror:warmup_phases=2,samples=8",
    "product",
    "product:fixed=orthogonal",
    "product:fixed=identity",
    "symmetric_alignment",
    "activation_alignment",
    "information_alignment",
    "pepita",
    "pepita:output=second",
    "weight_perturbation",
]


def small_convnet(seed: int = 0, batch_norm: bool = True) -> Network:
    """Convolutions, batch norm, max and mean pooling, both kinds of residual block, dropout, two linear layers."""
    return Network(
        [
            Conv2d(2, 4, 3, padding=1),
            *([BatchNorm(4)] if batch_norm else []),
            ReLU(),
            MaxPool(2),
            Residual(
                [
                    Conv2d(4, 4, 3, padding=1),
                    *([BatchNorm(4)] if batch_norm else []),
                    ReLU(),
                    Conv2d(4, 4, 3, padding=1),
                ]
            ),
            ReLU(),
            Residual([Conv2d(4, 6, 3, stride=2, padding=1)], [Conv2d(4, 6, 1, stride=2)]),
            LeakyReLU(0.1),
            AvgPool(2, stride=1),
            Dropout(0.2),
            Flatten(),
            Linear(6, 8),
            Tanh(),
            Linear(8, 3),
        ],
        seed=seed,
        input_shape=(8, 8, 2),
    )


def batch(n: int = 8, shape: tuple[int, ...] = (8, 8, 2), classes: int = 3, seed: int = 5) -> tuple[Any, np.ndarray]:
    """Images on the backend and class numbers on the host."""
    rng = np.random.default_rng(seed)
    return mf.asarray(rng.standard_normal((n, *shape))), rng.integers(0, classes, n)


def update(net: Network, rule: Any, x: Any, y: Any, loss: Any, optimizer: Any) -> float:
    """One weight update, as training makes it. Returns the loss."""
    value = rule.gradients(net, x, y, loss)
    optimizer.step(net, rule)
    return float(value)


def train_a_little(
    description: str, steps: int = 3, n: int = 8, update: Callable[..., float] = update
) -> dict[str, np.ndarray]:
    """All that a short training leaves behind, on the host: state of net, optimizer and rule, gradients, losses."""
    net = small_convnet()
    rule = mf.rules.make(description, seed=1).attach(net)
    loss, optimizer = (
        mf.SoftmaxCrossEntropy(label_smoothing=0.1),
        mf.SGD(0.05, momentum=0.9, weight_decay=1e-3, clip_norm=5.0),
    )
    losses = []
    for step in range(steps):
        x, y = batch(n, seed=step)
        losses.append(update(net, rule, x, y, loss, optimizer))
    grads = {f"gradient of {name}": mf.to_host(g) for name, g in net.gradients().items() if g is not None}
    return {**net.state(), **optimizer.state(), **rule.state(), **grads, "losses": np.array(losses)}


def assert_same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Two dictionaries of arrays are alike to the last bit; every name that differs is listed."""
    assert a.keys() == b.keys()
    differ = [f"{key}: by up to {np.abs(a[key] - b[key]).max():.3e}" for key in a if not np.array_equal(a[key], b[key])]
    assert not differ, "\n".join(differ)
