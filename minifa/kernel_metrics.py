"""How much the activities of each hidden layer depend on the inputs and on the labels, for every rule.

With the Gaussian kernels K_x of the inputs, K_y of the targets and K_z of a layer's activities (`minifa.kernels`):

    nhsic_input     nHSIC(K_x, K_z)
    nhsic_label     nHSIC(K_y, K_z)        between 0 and n - 1; for C balanced classes at most C - 1
    cka_input       CKA of x x^T and z z^T
    cka_label       CKA of t t^T and z z^T, between 0 and 1

The pairs (nhsic_input, nhsic_label) are the coordinates of the information plane of Ma, Lewis & Kleijn 2020, "The HSIC
bottleneck: deep learning without back-propagation"; CKA is that of Kornblith et al. 2019, "Similarity of neural
network representations revisited". Values of nHSIC depend on the number of examples and on the kernels: compare them on
the same examples only. The network sees the inputs as they are, under `forward_forward` too, whose training writes
labels into them.
"""

from __future__ import annotations

__all__ = ["dependence", "hidden_activities"]

from typing import Any

from . import backend
from .backend import Array, xp
from .kernels import EPS, Gaussian, cka, normalised
from .layers.activations import Activation
from .layers.base import Listen
from .layers.observer import Observer, observing
from .losses import Loss
from .metrics import to_float
from .network import A_NETWORK, Network
from .parallel.chunks import matmul
from .rules.base import A_LOSS, count_outputs
from .rules.taught_layers import hidden_places
from .validation import check_positive, check_type

QUANTITIES = ("nhsic_input", "nhsic_label", "cka_input", "cka_label")
MOST = 4096  # examples: larger kernels are slow to invert


@backend.quietly
def dependence(
    net: Network, x: Array, y: Any, loss: Loss, sigma: float = 5.0, eps: float = EPS
) -> dict[str, dict[str, float | None]]:
    """The quantities above for every hidden layer, from one forward pass in evaluation mode. Computed in float64;
    nothing is changed.

    Args:
        x: a batch (N, ...) on the backend, of at most `MOST` examples. y: class indices (N,) or rows of targets.
        loss: the loss function, which defines the targets of class indices.
        sigma: width of the Gaussian kernels, relative to the root of the number of values.
        eps: as for `minifa.kernels.nhsic`.

    Returns:
        By layer name, for the layers of `hidden_activities`; None where a value is not finite.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a batch or targets that do not fit the network, a larger batch, a sigma or eps that is not above 0.

    A layer with the activities +1 for one class and -1 for the other depends on the label alone:

    >>> net = mf.Network([mf.Linear(2, 1), mf.Tanh(), mf.Linear(1, 2)])
    >>> net["linear1"].W = mf.asarray([[30.0], [0.0]])
    >>> x = mf.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> measured = mf.kernel_metrics.dependence(net, x, [0, 0, 1, 1], mf.SoftmaxCrossEntropy())["tanh1"]
    >>> {name: round(value, 2) for name, value in measured.items()}
    {'nhsic_input': 1.0, 'nhsic_label': 1.0, 'cka_input': 0.71, 'cka_label': 1.0}
    """
    kernel, eps = Gaussian(sigma), check_positive(eps, "eps")
    targets = target_rows(net, x, y, loss)
    if len(x) > MOST:
        raise ValueError(f"dependence takes at most {MOST:,} examples, got {len(x):,}: use fewer")
    inputs, labels = _flat(x), _flat(targets)
    Kt_x, Kt_y = (normalised(kernel.matrix(one), eps)[0] for one in (inputs, labels))
    linear_x, linear_y = matmul(inputs, inputs.T), matmul(labels, labels.T)
    measured = {}
    for name, activity in hidden_activities(net, x).items():
        z = _flat(activity)
        Kt, linear = normalised(kernel.matrix(z), eps)[0], matmul(z, z.T)
        values = (Kt_x * Kt).sum(), (Kt_y * Kt).sum(), cka(linear_x, linear), cka(linear_y, linear)
        measured[name] = dict(zip(QUANTITIES, map(to_float, values), strict=True))
    return measured


@backend.quietly
def hidden_activities(net: Network, x: Array) -> dict[str, Array]:
    """The activities (N, ...) of a batch in evaluation mode, by layer name in forward order: those of the first
    activation after each hidden weighted layer or residual sum, else of that layer itself. Nothing is changed.

    Raises:
        TypeError, ValueError: an argument that is not a Network, a batch that does not fit it.

    >>> net = mf.Network([mf.Linear(2, 3), mf.Tanh(), mf.Linear(3, 4), mf.Linear(4, 2)])
    >>> {name: z.shape for name, z in mf.kernel_metrics.hidden_activities(net, mf.asarray(np.ones((5, 2)))).items()}
    {'tanh1': (5, 3), 'linear2': (5, 4)}
    """
    check_type(net, Network, A_NETWORK)
    names = [layer.name for layer in hidden_places(net.layers, net.output_layer, (Activation,))]
    listen = Listen(names, keep=False)
    with observing(Observer()):  # no part of what another observer records
        net.forward(x, listen)
    return {name: listen.outputs[name] for name in names}


def target_rows(net: Network, x: Array, y: Any, loss: Loss) -> Array:
    """The targets as rows (N, n_out). Raises TypeError, ValueError for targets that do not fit the network."""
    check_type(net, Network, A_NETWORK).check_input(x)
    check_type(loss, Loss, A_LOSS)
    return loss.rows(y, len(x), count_outputs(net), net.dtype)


def _flat(array: Array) -> Array:
    """(N, ...) as (N, values), in float64."""
    return xp.asarray(array.reshape(len(array), -1), "float64")
