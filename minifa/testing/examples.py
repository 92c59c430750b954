"""Example layers, networks, batches and numbers from fixed seeds, for the tests, the checks and `minifa doctor`."""

from __future__ import annotations

__all__: list[str] = []

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .. import backend
from ..backend import Array
from ..layers import (
    ELU,
    GELU,
    AvgPool,
    BatchNorm,
    Conv2d,
    DivisiveNorm,
    Dropout,
    Flatten,
    Gate,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxPool,
    PadChannels,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    UnitLength,
    VectorLinear,
    Vectors,
)
from ..models import autoencoder, vector_mlp
from ..network import Network
from ..validation import Shape

Examples = dict[str, tuple[Callable[[], list[Layer]], Shape]]  # by name: a factory, and the shape of one example

# Every kind of layer, in each geometry with separate code.
LAYERS: Examples = {
    "Linear": (lambda: [Linear(20, 10)], (20,)),
    "Conv2d 3x3": (lambda: [Conv2d(4, 6, 3, padding=1)], (8, 8, 4)),
    "Conv2d 3x3, stride 2": (lambda: [Conv2d(4, 6, 3, stride=2, padding=1, bias=False)], (9, 8, 4)),
    "Conv2d 1x1": (lambda: [Conv2d(4, 6, 1)], (8, 7, 4)),
    "Conv2d 3x3, dilation 2": (lambda: [Conv2d(4, 6, 3, padding=2, dilation=2)], (8, 7, 4)),
    "Conv2d 3x3, 2 groups": (lambda: [Conv2d(4, 6, 3, padding=1, groups=2)], (8, 7, 4)),
    "LocallyConnected2d 3x3": (lambda: [LocallyConnected2d(4, 6, 3, padding=1, input_size=(4, 5))], (4, 5, 4)),
    "LocallyConnected2d 1x1": (lambda: [LocallyConnected2d(4, 6, 1, input_size=4, bias=False)], (4, 4, 4)),
    "BatchNorm": (lambda: [BatchNorm(5)], (4, 3, 5)),
    "LayerNorm": (lambda: [LayerNorm(5)], (4, 3, 5)),
    "GroupNorm": (lambda: [GroupNorm(2, 6)], (4, 3, 6)),
    "DivisiveNorm": (lambda: [DivisiveNorm(2, 6)], (4, 3, 6)),
    "LocalResponseNorm": (lambda: [LocalResponseNorm(3, alpha=0.9, k=2.0)], (3, 4, 6)),
    "UnitLength": (lambda: [UnitLength(0.1)], (30,)),
    "ReLU": (lambda: [ReLU()], (30,)),
    "LeakyReLU": (lambda: [LeakyReLU(0.1)], (30,)),
    "Tanh": (lambda: [Tanh()], (5, 3, 2)),
    "Sigmoid": (lambda: [Sigmoid()], (30,)),
    "GELU": (lambda: [GELU()], (30,)),
    "GELU, tanh": (lambda: [GELU("tanh")], (30,)),
    "ELU": (lambda: [ELU(0.7)], (30,)),
    "SiLU": (lambda: [SiLU()], (30,)),
    "Softplus": (lambda: [Softplus(beta=2.0)], (30,)),
    "MaxPool": (lambda: [MaxPool(2)], (4, 6, 3)),
    "MaxPool, overlapping": (lambda: [MaxPool(3, stride=2, padding=1)], (7, 6, 3)),
    "AvgPool": (lambda: [AvgPool(2)], (4, 6, 3)),
    "AvgPool, overlapping": (lambda: [AvgPool(3, stride=2, padding=1)], (7, 6, 3)),
    "GlobalAvgPool": (lambda: [GlobalAvgPool()], (5, 4, 3)),
    "Flatten": (lambda: [Flatten()], (3, 4, 2)),
    "PadChannels": (lambda: [PadChannels(5)], (4, 3, 3)),
    "Dropout": (lambda: [Dropout(0.4)], (30,)),
    "Vectors": (lambda: [Vectors(3)], (12,)),
    "VectorLinear": (lambda: [VectorLinear(5, 4, 3)], (3, 5)),
    "Gate": (lambda: [Gate(6, 3)], (3, 6)),
    "Residual": (lambda: [Residual([Conv2d(3, 4, 3, padding=1), Tanh()], [Conv2d(3, 4, 1)])], (5, 5, 3)),
}

# The same and further geometries: borders, images that are not square, blocks inside blocks, a whole network.
GEOMETRIES: Examples = {
    **LAYERS,
    "Linear without bias": (lambda: [Linear(5, 4, bias=False)], (5,)),
    "Conv2d 1x1, stride 2": (lambda: [Conv2d(3, 4, 1, stride=2)], (5, 4, 3)),
    "Conv2d 1x1, padding 1": (lambda: [Conv2d(2, 3, 1, padding=1)], (3, 4, 2)),
    "Conv2d 1x1, padding (1, 0)": (lambda: [Conv2d(2, 3, 1, padding=(1, 0))], (3, 4, 2)),
    "Conv2d 3x3, no padding": (lambda: [Conv2d(2, 3, 3)], (5, 6, 2)),
    "Conv2d 3x3, no bias": (lambda: [Conv2d(2, 3, 3, padding=1, bias=False)], (5, 4, 2)),
    "Conv2d 3x3, stride 2, with a border left": (lambda: [Conv2d(2, 3, 3, stride=2)], (6, 8, 2)),
    "Conv2d 3x3, stride (2, 1), padding (1, 0)": (lambda: [Conv2d(2, 3, 3, (2, 1), (1, 0))], (6, 5, 2)),
    "Conv2d 2x3, stride (1, 2)": (lambda: [Conv2d(1, 2, (2, 3), stride=(1, 2))], (5, 6, 1)),
    "Conv2d 5x5, padding 2": (lambda: [Conv2d(2, 2, 5, padding=2)], (4, 6, 2)),
    "Conv2d 3x5, padding (1, 2)": (lambda: [Conv2d(2, 3, (3, 5), padding=(1, 2))], (4, 6, 2)),
    "Conv2d, stride larger than its kernel": (lambda: [Conv2d(2, 2, 2, stride=3)], (7, 6, 2)),
    "Conv2d, kernel as large as its input": (lambda: [Conv2d(2, 3, (4, 3))], (4, 3, 2)),
    "Conv2d 3x3, depthwise": (lambda: [Conv2d(3, 6, 3, padding="same", groups=3)], (5, 4, 3)),
    "Conv2d 3x3, 2 groups, stride 2, dilation (2, 1)": (
        lambda: [Conv2d(4, 2, 3, 2, (1, 0), (2, 1), 2, False)],
        (6, 7, 4),
    ),
    "Conv2d 1x1, 2 groups": (lambda: [Conv2d(4, 6, 1, groups=2)], (3, 4, 4)),
    "Conv2d 2x4, padding same, dilation (3, 1)": (
        lambda: [Conv2d(2, 3, (2, 4), padding="same", dilation=(3, 1))],
        (5, 4, 2),
    ),
    "Conv2d 2x2, padding valid, dilation 2": (lambda: [Conv2d(2, 3, 2, padding="valid", dilation=2)], (4, 5, 2)),
    "LocallyConnected2d 2x3, stride (2, 1), padding (1, 0)": (
        lambda: [LocallyConnected2d(2, 3, (2, 3), (2, 1), (1, 0), input_size=(5, 4))],
        (5, 4, 2),
    ),
    "LocallyConnected2d 2x2, padding same": (
        lambda: [LocallyConnected2d(1, 2, 2, padding="same", input_size=3)],
        (3, 3, 1),
    ),
    "LocallyConnected2d, kernel as large as its input": (
        lambda: [LocallyConnected2d(2, 3, (4, 3), input_size=(4, 3))],
        (4, 3, 2),
    ),
    "BatchNorm of features": (lambda: [BatchNorm(4)], (4,)),
    "BatchNorm, not affine": (lambda: [BatchNorm(3, affine=False)], (2, 3, 3)),
    "LayerNorm of features, no bias": (lambda: [LayerNorm((6,), bias=False)], (6,)),
    "LayerNorm of images": (lambda: [LayerNorm((2, 3, 4))], (2, 3, 4)),
    "LayerNorm, not affine": (lambda: [LayerNorm(4, elementwise_affine=False)], (2, 2, 4)),
    "GroupNorm of features": (lambda: [GroupNorm(2, 8)], (8,)),
    "GroupNorm, not affine": (lambda: [GroupNorm(1, 4, affine=False)], (3, 2, 4)),
    "DivisiveNorm of features": (lambda: [DivisiveNorm(3, 9, power=0.8, smoothing=0.1)], (9,)),
    "DivisiveNorm, power 0": (lambda: [DivisiveNorm(1, 4, power=0)], (4,)),
    "MaxPool 3, stride 2, padding 1": (lambda: [MaxPool(3, stride=2, padding=1)], (6, 5, 2)),
    "MaxPool (2, 3), stride (1, 2)": (lambda: [MaxPool((2, 3), stride=(1, 2))], (4, 6, 2)),
    "MaxPool, with a border left": (lambda: [MaxPool(2)], (5, 5, 1)),
    "AvgPool 3, stride 2, padding 1": (lambda: [AvgPool(3, stride=2, padding=1)], (6, 5, 2)),
    "AvgPool (3, 2), stride (2, 1), padding (1, 0)": (lambda: [AvgPool((3, 2), (2, 1), (1, 0))], (5, 4, 2)),
    "LocalResponseNorm of features, even size": (lambda: [LocalResponseNorm(4, alpha=0.5, beta=0.6)], (7,)),
    "LocalResponseNorm, wider than its input": (lambda: [LocalResponseNorm(9, alpha=1.0)], (2, 2, 3)),
    "VectorLinear without bias, one output": (lambda: [VectorLinear(4, 1, 2, bias=False)], (2, 4)),
    "Gate of an odd number of units": (lambda: [Gate(5, 2)], (2, 5)),
    "a vector network": (
        lambda: [Linear(5, 12), Vectors(3), Gate(4, 3), VectorLinear(4, 1, 3, init="onoff"), Flatten()],
        (5,),
    ),
    "UnitLength of images": (lambda: [UnitLength()], (4, 3, 2)),
    "Residual, identity": (lambda: [Residual([Linear(4, 4), Tanh()])], (4,)),
    "Residual, projection with stride 2": (
        lambda: [Residual([Conv2d(2, 3, 3, stride=2, padding=1), Tanh()], [Conv2d(2, 3, 1, stride=2)])],
        (4, 5, 2),
    ),
    "Residual in Residual": (
        lambda: [Residual([Linear(4, 4), Residual([Tanh(), Linear(4, 4)]), Tanh()], [Residual([Linear(4, 4)])])],
        (4,),
    ),
    "a whole network": (
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

# Rules with the options that have separate code, as `minifa.rules.make` takes them, tested in `small_convnet`.
RULES = [
    "bp",
    "shallow",
    "sham",
    "stale:every=2",
    "fa",
    "fa:normalise=strict",
    "fa:normalise=init,sparsity=0.5",
    "fa:correlation=0.5",
    "fa:angle=60",
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
    "asap",
    "asap:k=4,lag=0",
    "weight_mirror:warmup_phases=2,samples=8",
    "rdd:warmup_phases=2,samples=8",
    "stdwi:warmup_phases=2,samples=8",
    "sal:warmup_phases=2,samples=8",
    "pal:samples=8",
    "product",
    "product:fixed=orthogonal",
    "product:fixed=identity",
    "symmetric_alignment",
    "activation_alignment",
    "information_alignment",
    "pepita",
    "pepita:output=second",
    "weight_perturbation",
    "synthetic:init=he_normal",
    "synthetic:init=he_normal,condition=false",
    "synthetic:init=he_normal,static=true",
    "local",
    "local:loss=sim",
    "local:loss=pred,heads=fixed,dim_in_decoder=40",
    "local:bio=true",
    "local:similarity_head=true",
    "phsic",
    "phsic:kernel=gaussian,labels=gaussian",
    "phsic:groups=2",
    "hsic",
]

# Rules that accept only chains of layers through which targets can be sent, tested in `chain`, and those among them
# that do not accept a convolution, tested in `mlp`. Their other options are tested with their formulas in tests/rules.
CHAIN_RULES = ["fwdtp", "dtp", "tp", "ldrl", "drl", "ddtp", "zil", "pc:steps=4", "dualprop"]
LINEAR_RULES = ["di", "di:weights=initial", "pbp", "dfc"]

# Rules of vector networks, tested in `vector_network`.
VECTOR_RULES = ["gevb", "gevb:nonnegative=false,recompute=true"]
# Rules whose hidden layers must receive inputs of unit length, tested in `unit_length_net`.
UNIT_LENGTH_RULES = ["forward_forward", "forward_forward:goodness=sum,prediction=readout"]
# Rules that accept only monotone networks without negative weights above the first layer, tested in such a `chain`.
MONOTONE_RULES = ["mdfa"]
# Rules that accept only networks of Sigmoids, tested in `sigmoid_chain`.
SIGMOID_RULES = ["burst", "burst:inhibition=true", "burst:learned=true"]
# Rules that accept only mirrored autoencoders, tested in `autoencoder_network`.
AUTOENCODER_RULES = ["recirculation"]


def numbers(shape: Sequence[int], seed: int = 0) -> Array:
    """Random numbers of magnitude above 0.01, all distinct, so that no finite-difference step crosses a kink of a ReLU
    or a max pooling."""
    rng, size = numpy.random.default_rng(seed), math.prod(shape)
    sizes = 0.01 + 2 * (rng.permutation(size) + rng.uniform(0.1, 0.3, size)) / size
    return backend.asarray((rng.choice([-1.0, 1.0], size) * sizes).reshape(*shape))


def inputs(shape: Sequence[int], n: int = 3, seed: int = 0) -> Array:
    """A batch of n examples of this shape, made of `numbers`."""
    return numbers((n, *shape), seed)


def batch(n: int = 8, shape: Shape = (8, 8, 2), classes: int = 3, seed: int = 5) -> tuple[Array, numpy.ndarray]:
    """Normal random inputs on the backend, and random class indices on the host."""
    rng = numpy.random.default_rng(seed)
    return backend.asarray(rng.standard_normal((n, *shape))), rng.integers(0, classes, n)


def network(layers: Sequence[Layer], shape: Shape | None, seed: int = 0, **options: Any) -> Network:
    """A network in which no parameter is 0 or 1, so that every term of a derivative matters."""
    net = Network(layers, seed=seed, input_shape=shape, **options)
    rng = numpy.random.default_rng(seed + 1000)
    for name, array in net.parameters().items():
        if not name.endswith(".W"):
            array[...] = backend.asarray(
                rng.normal(1.0 if name.endswith("gamma") else 0.0, 0.5, array.shape), array.dtype
            )
    return net


def mlp(seed: int = 0, hidden: Sequence[int] = (5, 6)) -> Network:
    """A dense network from 4 inputs to 3 outputs, with Tanh between its layers."""
    sizes = [4, *hidden, 3]
    layers: list[Layer] = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [Linear(n_in, n_out), Tanh()]
    return network(layers[:-1], (4,), seed=seed)


def chain(seed: int = 0, init: str = "he_normal") -> Network:
    """Two convolutions, max and mean pooling, Flatten and two linear layers, with 146 weights and biases. ``init``: the
    initialiser of all weights above the first layer."""
    layers = [
        *(Conv2d(2, 3, 3, padding=1), Tanh(), MaxPool(2)),
        *(Conv2d(3, 2, 2, init=init), LeakyReLU(0.1), AvgPool(2, stride=1), Flatten()),
        *(Linear(8, 5, init=init), Tanh(), Linear(5, 3, init=init)),
    ]
    return network(layers, (8, 8, 2), seed=seed)


def vector_network(seed: int = 0) -> Network:
    """A vector network from 4 inputs to 3 outputs, with 95 weights and biases."""
    return network(vector_mlp((4,), 3, hidden=(4, 4)), (4,), seed=seed)


def monotone_chain(seed: int = 0) -> Network:
    """`chain` with non-negative weights."""
    return chain(seed, "nonnegative_normal")


def sigmoid_chain(seed: int = 0) -> Network:
    """Two convolutions, max and mean pooling, Flatten and two linear layers, with a Sigmoid after each but the last:
    179 weights and biases."""
    layers = [
        *(Conv2d(2, 3, 3, padding=1), Sigmoid(), MaxPool(2)),
        *(Conv2d(3, 3, 2), AvgPool(2, stride=1), Sigmoid(), Flatten()),
        *(Linear(12, 5), Sigmoid(), Linear(5, 3)),
    ]
    return network(layers, (8, 8, 2), seed=seed)


def unit_length_net(seed: int = 0) -> Network:
    """A convolution and two linear layers with 124 weights and biases, and UnitLength between hidden layers."""
    layers = [
        *(Conv2d(2, 3, 3, stride=2), ReLU(), UnitLength(), Flatten()),
        *(Linear(12, 4), LeakyReLU(0.1), UnitLength(), Linear(4, 3)),
    ]
    return network(layers, (5, 5, 2), seed=seed)


def autoencoder_network(seed: int = 0) -> Network:
    """An autoencoder of two mirrored pairs for images of 2 x 2 pixels, with 71 weights and biases."""
    return network(autoencoder((2, 2, 1), 4, hidden=(4, 3), activation="tanh"), (2, 2, 1), seed=seed)


WITHOUT_BATCH_NORM = ["node_perturbation", "perturbed_feedback"]  # tested in `small_convnet` without batch norm
Model = tuple[str, dict[str, Any]]  # name and options
OWN_NETWORKS: list[tuple[list[str], Callable[[int], Network], Model]] = [  # of rules that `small_convnet` does not suit
    (CHAIN_RULES, chain, ("mlp", {})),
    (LINEAR_RULES, mlp, ("mlp", {})),
    (VECTOR_RULES, vector_network, ("vector_mlp", {})),
    (UNIT_LENGTH_RULES, unit_length_net, ("mlp", {"unit_length": True})),
    (AUTOENCODER_RULES, autoencoder_network, ("autoencoder", {})),
    (MONOTONE_RULES, monotone_chain, ("mlp", {"init": "nonnegative_normal", "first_init": "he_normal"})),
    (SIGMOID_RULES, sigmoid_chain, ("mlp", {"activation": "sigmoid"})),
]
IN_OWN_NETWORKS = [description for descriptions, *_ in OWN_NETWORKS for description in descriptions]
ALL_RULES = [*RULES, *WITHOUT_BATCH_NORM, *IN_OWN_NETWORKS]  # each in the network of `network_for`


def network_for(description: str, seed: int = 0, batch_norm: bool = True) -> Network:
    """The example network in which the tests use this rule, with any options; ``batch_norm``: if the rule accepts it.

    >>> from minifa.testing.examples import network_for
    >>> network_for("dtp:g=first")
    <Network: 10 layers, 146 parameters>
    """
    for descriptions, make_network, _ in OWN_NETWORKS:
        if _lists(descriptions, description):
            return make_network(seed)
    return small_convnet(seed, batch_norm and not _lists(WITHOUT_BATCH_NORM, description))


def model_for(description: str) -> Model:
    """Name and options of a model of linear layers that the rule accepts, with the widths in its option ``hidden``.

    >>> from minifa.testing.examples import model_for
    >>> model_for("forward_forward:goodness=sum")
    ('mlp', {'unit_length': True})
    """
    for descriptions, _, (model, options) in OWN_NETWORKS:
        if _lists(descriptions, description):
            return model, dict(options)
    return "mlp", {}


def _lists(rules: Sequence[str], description: str) -> bool:
    """Whether the rule of the description is among these, with other options or the same."""
    return description.partition(":")[0] in {one.partition(":")[0] for one in rules}


def small_convnet(seed: int = 0, batch_norm: bool = True) -> Network:
    """Convolutions, batch norm, max and mean pooling, both kinds of residual block, dropout, two linear layers."""

    def norm() -> list[Layer]:
        return [BatchNorm(4)] if batch_norm else []

    def conv() -> Layer:
        return Conv2d(4, 4, 3, padding=1)

    layers = [
        *(Conv2d(2, 4, 3, padding=1), *norm(), ReLU(), MaxPool(2)),
        *(Residual([conv(), *norm(), ReLU(), conv()]), ReLU()),
        *(Residual([Conv2d(4, 6, 3, stride=2, padding=1)], [Conv2d(4, 6, 1, stride=2)]), LeakyReLU(0.1)),
        *(AvgPool(2, stride=1), Dropout(0.2), Flatten()),
        *(Linear(6, 8), Tanh(), Linear(8, 3)),
    ]
    return Network(layers, seed=seed, input_shape=(8, 8, 2))
