"""Softmax regression, a linear classifier, trained with minifa itself: one layer, the softmax cross-entropy, and
gradient descent with Nesterov momentum on all examples at once.

    min over W, b of   mean_i CE(softmax(z_i W + b), y_i) + decay/2 |W|^2,   z: standardised features

With decay = 1/(C n) this is scikit-learn's LogisticRegression(C=C). The problem is convex and training starts at zero,
so there is nothing random in it.
"""

from __future__ import annotations

__all__: list[str] = []

import numpy

from .. import backend
from ..layers import Linear
from ..losses import SoftmaxCrossEntropy
from ..network import Network
from ..optim import SGD
from ..rules import BP

DECAY = 0.01
STEPS = 3000  # at most
TOLERANCE = 1e-4  # of the largest entry of the gradient, decay included
CHECK_EVERY = 50  # steps

Host = numpy.ndarray


class SoftmaxRegression:
    """A classifier fitted to features x (n, d) and classes y (n,), ints from 0.

    Args:
        decay: weight decay of W, above 0; the biases do not decay.

    Features are standardised with the mean and the standard deviation of x; those that do not vary in x are ignored.
    Computed on the CPU in float64.

    >>> from minifa.experiments.softmax_regression import SoftmaxRegression
    >>> classifier = SoftmaxRegression(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1]))
    >>> classifier.predict(np.array([[2.0], [7.0]])).tolist()
    [0, 1]
    """

    def __init__(self, x: Host, y: Host, decay: float = DECAY) -> None:
        self.mean, sd = x.mean(axis=0), x.std(axis=0)
        size = numpy.abs(x).max(axis=0)
        self.varies = sd > 1e-12 * size  # rounding alone gives equal values a standard deviation
        self.sd = numpy.where(self.varies, sd, 1.0)
        with backend.using("numpy", "float64"):
            z = self._standardised(x)
            width = z.shape[1]
            self.layer = Linear(width, int(y.max()) + 1, init="zero")
            self.net = Network([self.layer], input_shape=(width,))
            self._fit(z, y, decay)

    def _standardised(self, x: Host) -> Host:
        return numpy.where(self.varies, (x - self.mean) / self.sd, 0.0)

    def _fit(self, z: Host, y: Host, decay: float) -> None:
        # The curvature of the mean cross-entropy is at most half the largest eigenvalue of z^T z / n, which is at most
        # its trace, the number of features. Momentum is the optimum for this curvature and that of the decay.
        steepest = 0.5 * max(1, int(self.varies.sum())) + decay
        root = (decay / steepest) ** 0.5
        rule, loss = BP().attach(self.net), SoftmaxCrossEntropy()
        optimizer = SGD(1 / steepest, (1 - root) / (1 + root), decay, nesterov=True, decay_bias=False)
        for step in range(STEPS):
            rule.gradients(self.net, z, y, loss)
            if step % CHECK_EVERY == 0 and _largest(self.layer, decay) < TOLERANCE:
                return
            optimizer.step(self.net, rule)

    def predict(self, x: Host) -> Host:
        """The predicted classes (n,) of features x (n, d)."""
        with backend.using("numpy", "float64"):
            return numpy.asarray(self.net(self._standardised(x)).argmax(axis=1))


def _largest(layer: Linear, decay: float) -> float:
    """The largest entry of the gradient of the objective."""
    slopes = numpy.asarray(layer.grads["W"]) + decay * layer.W, numpy.asarray(layer.grads["b"])
    return max(float(numpy.abs(one).max()) for one in slopes)
