"""Statistics of the weights and activities of each hidden layer: what an observer of a network records.

Of n values z, the weights of a layer or its activities for one example:

    mean, median, third_quartile, abs_mean = mean of |z|
    norm            sqrt(mean of z^2)
    variance        mean of (z - mean)^2
    skewness        3 (mean - median) / sqrt(variance), Pearson's second coefficient
    kurtosis        mean of (z - mean)^4 / variance^2, 3 for normal values

Statistics of activities are means over the examples. These are the statistics of Nayebi, Srivastava, Ganguli & Yamins
2020, "Identifying learning rules from neural network observables" (repository neuroailab/lr-identify), of the values as
they are, and the mean of the absolute values; those of squared values are left out, because they follow closely from
the others. Their norm is sqrt(sum of z^2); divided by sqrt(n) it does not grow with the width of the layer.
"""

from __future__ import annotations

__all__ = ["QUANTITIES", "hidden_statistics"]

from . import backend
from .backend import Array, xp
from .kernel_metrics import hidden_activities
from .metrics import to_float
from .network import Network

QUANTITIES = ("mean", "median", "third_quartile", "abs_mean", "norm", "variance", "skewness", "kurtosis")


@backend.quietly
def hidden_statistics(net: Network, x: Array) -> dict[str, dict[str, float | None]]:
    """The statistics above, from one forward pass in evaluation mode. Computed in float64; nothing is changed.

    Args:
        x: a batch (N, ...) on the backend.

    Returns:
        By layer name: ``weight_mean``, ``weight_median``, ... for the weights of every weighted layer below the output
        layer, and ``activity_mean``, ... for the layers of `minifa.kernel_metrics.hidden_activities`. None where a
        value is not defined: without variance (of the activities for any example) there are no skewness and kurtosis.

    Raises:
        TypeError, ValueError: an argument that is not a Network, a batch that does not fit it.

    >>> net = mf.Network([mf.Linear(1, 4, bias=False), mf.ReLU(), mf.Linear(4, 2)])
    >>> net["linear1"].W = mf.asarray([[-3.0, -1.0, 1.0, 3.0]])
    >>> measured = mf.layer_statistics.hidden_statistics(net, mf.asarray([[1.0], [2.0]]))
    >>> [round(measured["linear1"][f"weight_{name}"], 2) for name in ("mean", "variance", "kurtosis")]
    [0.0, 5.0, 1.64]
    >>> measured["relu1"]["activity_mean"]  # of 0, 0, 1, 3 and of 0, 0, 2, 6
    1.5
    """
    activities = hidden_activities(net, x)
    measured = {
        layer.name: _named("weight", _statistics(layer.W.reshape(1, -1)))
        for layer in net.weighted
        if layer is not net.output_layer
    }
    for name, activity in activities.items():
        found = _named("activity", _statistics(activity.reshape(len(activity), -1)))
        measured[name] = {**measured.get(name, {}), **found}
    return measured


def _named(kind: str, values: tuple[Array, ...]) -> dict[str, float | None]:
    return {f"{kind}_{name}": to_float(value.mean()) for name, value in zip(QUANTITIES, values, strict=True)}


def _statistics(z: Array) -> tuple[Array, ...]:
    """The statistics of every row of z (N, n), each of shape (N,), in the order of `QUANTITIES`."""
    z = xp.asarray(z, "float64")
    mean, median = z.mean(axis=1), xp.median(z, axis=1)
    squares = xp.square(z - mean[:, None])
    variance = squares.mean(axis=1)
    divisor = xp.where(variance > 0, variance, xp.nan)
    return (
        mean,
        median,
        xp.percentile(z, 75, axis=1),
        xp.abs(z).mean(axis=1),
        xp.sqrt(xp.square(z).mean(axis=1)),
        variance,
        3 * (mean - median) / xp.sqrt(divisor),
        xp.square(squares).mean(axis=1) / xp.square(divisor),
    )
