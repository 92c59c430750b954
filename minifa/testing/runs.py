"""One run of a network or of a rule, with all arrays that it computes by name."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Callable
from typing import Any

from ..backend import Array
from ..layers import Pass
from ..losses import Loss
from ..network import Network
from ..optim import Optimizer
from ..rules import BP, Rule


def passes(net: Network, x: Array, error: Array, update_statistics: bool = True) -> dict[str, Array]:
    """Forward and backward pass of backpropagation in training, then a forward pass in evaluation: both outputs, the
    error below, and every gradient."""
    output = net.forward(x, Pass(training=True, step=1, update_statistics=update_statistics))
    net.clear_gradients()
    below = net.backward(error, BP())
    gradients = {f"gradient of {name}": gradient for name, gradient in net.gradients().items()}
    return {"output": output, "error below": below, **gradients, "output when evaluated": net.forward(x)}


def learned(net: Network, rule: Rule) -> dict[str, Array]:
    """What the last pass of a rule computed: every gradient, and the matrices that carried the error."""
    gradients = {f"gradient of {name}": gradient for name, gradient in net.gradients().items()}
    return {**gradients, **{f"B of {name}": B for name, B in rule.B.items()}}


def update(
    net: Network,
    rule: Rule,
    x: Array,
    y: Any,
    loss: Loss,
    optimizer: Optimizer,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Array]:
    """One update: the loss, the results of the pass, the updated parameters and the rule's memory. ``between`` is
    called between the pass and the update."""
    value = rule.gradients(net, x, y, loss)
    between()
    computed = learned(net, rule)
    optimizer.step(net, rule)
    return {"loss": value, **computed, **net.parameters(), **rule.memory}


def tolerance_factor(rule: Rule) -> float:
    """The factor of the tolerance in comparisons of this rule: the perturbation rules divide small differences of
    losses by a small sigma."""
    return max(rule.rounding, 1.0 if rule.one_backward_pass else 100.0)
