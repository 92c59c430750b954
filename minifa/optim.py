"""Optimizers. All hyperparameters have the same meaning as in PyTorch.

An optimizer updates arrays in place, so references to a weight stay valid. `step` also updates the learned feedback of
a rule. The optimizer's state belongs to one network at a time and is reset when another network is given.
"""

from __future__ import annotations

__all__ = ["Adam", "AdamW", "OPTIMIZERS", "Optimizer", "RMSprop", "SGD"]

import contextlib
import functools
import math
from collections.abc import Callable, Container, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy

from . import backend, extension_checks
from .backend import Array, xp
from .joined import Plan, facts_of, updates_of
from .layers.observer import active
from .linalg import near_one, norm, rescaled
from .network import A_NETWORK, Network, check_state
from .parallel.chunks import each_piece, sum_of_squares
from .registry import KnownOptions, as_call, register_table, unknown
from .rules.base import A_RULE, Rule
from .sharing import ShareWeights
from .validation import check_between, check_bool, check_mapping, check_positive, check_type

NORM_PARAMETERS = (".gamma", ".beta")  # with LayerNorm over whole images they have three axes
NEARLY_ZERO = 1e-10  # size of a weight that freeze_signs stopped from changing its sign


AN_OPTIMIZER = "the optimizer must be a minifa.optim.Optimizer, for example minifa.SGD(lr=0.1)"


def _nonnegative(value: Any, what: str) -> float:
    return check_between(value, what, 0, math.inf)


def _decay_rate(value: Any, what: str) -> float:
    return check_between(value, what, 0, 1)


def _betas(value: Any, what: str) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"betas must be two numbers, got {value!r}")
    first, second = (_decay_rate(beta, "each of betas") for beta in value)
    return first, second


def _factors(value: Any, what: str) -> dict[str, float] | None:
    factors = {} if value is None else check_mapping(value, what)
    return {pattern: _nonnegative(factors[pattern], f"{what}[{pattern!r}]") for pattern in factors} or None


def _sharing(value: Any, what: str) -> ShareWeights | None:
    if isinstance(value, str):
        return ShareWeights.read(value)
    contract = f"{what} must be a minifa.ShareWeights, a str such as 'every=10,group=kernel', or None"
    return None if value is None else check_type(value, ShareWeights, contract)


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches a parameter's name, or that of its layer or of a block around it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


class Optimizer(KnownOptions):
    """Base class of optimizers: the order of operations in a step, and state by parameter name.

    Args:
        lr: learning rate, at least 0.
        weight_decay: weight_decay * W is added to the gradient (AdamW: subtracted from the weight).
        clip_norm: maximum joint norm of the network's gradients; larger gradients are scaled down together.
        manhattan: use the sign of the batch gradient (batch-Manhattan, Liao et al. 2016); decay is added afterwards.
        constrain_weights: after every step, rescale each W to its norm before the first step (attributed by BioTorch
            to Moskovitz et al. 2018).
        freeze_signs: a weight that would change its sign stops just short of zero (Xiao et al. 2018); 0 stays 0.
        decay_bias: False: no weight decay for biases and for gamma and beta of norm layers, that is for parameters with
            these names or fewer than two axes (PyTorch: a parameter group with ``weight_decay=0``).
        lr_factors: factors of the learning rate, at least 0, by the name of a parameter (``"linear2.b"``), layer or
            block, in which ``*``, ``?`` and ``[...]`` are wildcards: ``{"conv*": 0.1, "*.b": 2}``. A parameter that
            several patterns match gets the product of their factors, one that none matches 1. Feedback that learns
            belongs to the W of its layer. None: the same rate for all (PyTorch: parameter groups with their own lr).
        share_weights: a `minifa.ShareWeights`, which averages the kernels of locally connected layers, or its options
            as a str, ``"every=10,group=kernel"``. None: no averages.

    Attributes:
        net: the network that `start`, `arrays` and `counts` belong to; None before the first one. Use one optimizer
            per network: alternating between two networks resets the momentum at every change.
        attachment: the attachment of the rule whose feedback is updated (see `minifa.rules.Rule`); a new one resets the
            feedback's state.
        elementwise: whether `change` computes every number alone. Then small parameters are updated together, as one
            array with one axis. A user-defined class may promise this of its `change` with ``elementwise = True``; if
            it does not, its `change` gets every parameter by itself, whatever its base class promises.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range; in `bind` and `step`, a pattern that matches nothing in the network, or
            averages of kernels in a network without locally connected layers.

    >>> net = mf.Network([mf.Linear(2, 1, bias=False)])
    >>> net["linear1"].W = mf.asarray([[1.0], [1.0]])
    >>> net["linear1"].grads["W"] = mf.asarray([[0.5], [-20.0]])
    >>> mf.SGD(lr=0.25, manhattan=True).step(net)  # only the gradient's sign counts
    >>> net["linear1"].W.tolist()
    [[0.75], [1.25]]

    A tenth of the rate for one layer:

    >>> net["linear1"].grads["W"] = mf.asarray([[1.0], [0.0]])
    >>> mf.SGD(lr=2.5, lr_factors={"linear1": 0.1}).step(net)
    >>> net["linear1"].W.tolist()
    [[0.5], [1.25]]
    """

    name = ""
    slots: tuple[str, ...] = ()  # names of the state arrays of each parameter
    options: Mapping[str, Callable[[Any, str], Any]] = {  # each with its check, run whenever the option is set
        "lr": _nonnegative,
        "weight_decay": _nonnegative,
        "clip_norm": lambda value, what: None if value is None else check_positive(value, what),
        "manhattan": check_bool,
        "constrain_weights": check_bool,
        "freeze_signs": check_bool,
        "decay_bias": check_bool,
        "lr_factors": _factors,
        "share_weights": _sharing,
    }
    decoupled = False  # whether the decay is subtracted from the weight instead of added to the gradient
    elementwise = True
    net: Network | None = None
    update = "W_new = W - lr * GRADIENT"  # what `change` computes; GRADIENT includes decay and manhattan

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "elementwise" not in vars(cls):
            cls.elementwise = extension_checks.in_minifa(cls)
        extension_checks.guard(cls, Optimizer, extension_checks.OPTIMIZER_CHECKS)

    def __init__(
        self,
        lr: float,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        manhattan: bool = False,
        constrain_weights: bool = False,
        freeze_signs: bool = False,
        decay_bias: bool = True,
        lr_factors: Mapping[str, float] | None = None,
        share_weights: ShareWeights | str | None = None,
    ) -> None:
        self.lr, self.weight_decay, self.clip_norm = lr, weight_decay, clip_norm
        self.manhattan, self.constrain_weights, self.freeze_signs = manhattan, constrain_weights, freeze_signs
        self.decay_bias, self.lr_factors = decay_bias, lr_factors
        self.share_weights = _sharing(share_weights, "share_weights")
        self.net = None
        self.matched: object = None  # the `lr_factors` whose patterns were checked
        self.attachment: object = None
        self.start: dict[str, Array] = {}  # norms and signs before the first step, by "norm/..." and "sign/..."
        self.arrays: dict[str, dict[str, Array]] = {}
        self.counts: dict[str, int] = {}
        self._plan: Plan | None = None  # of the last step

    def __setattr__(self, name: str, value: Any) -> None:
        """Validate options on assignment as the constructor does, and store them as Python numbers."""
        check = self.options.get(name)
        object.__setattr__(self, name, value if check is None else check(value, name))

    def __repr__(self) -> str:
        return as_call(self)

    def bind(self, net: Network, rule: Rule | None = None) -> None:
        """Reset the state if the network has changed, and the feedback's state if the rule or its attachment has
        changed. Called by `step`.

        Raises:
            TypeError: ``net`` is not a Network.
            ValueError: a pattern of ``lr_factors`` matches no parameter, or ``share_weights`` no layer. Nothing is
                changed in that case.
        """
        if self.net is not net:
            extension_checks.require_init(self, "counts")
            check_type(net, Network, A_NETWORK)
        if self.lr_factors is not None and (self.net is not net or self.lr_factors is not self.matched):
            self._check_patterns(net, rule)
        if self.share_weights is not None:
            self.share_weights.check(net)
        if self.net is not net:
            self.net = net
            self.start, self.arrays, self.counts, self._plan = {}, {}, {}, None
        if rule is not None and rule.attachment is not self.attachment:
            self.attachment = rule.attachment
            for name in [name for name in self.counts if name.startswith("feedback/")]:
                del self.arrays[name], self.counts[name]

    def _check_patterns(self, net: Network, rule: Rule | None) -> None:
        feedback = [] if rule is None or not rule.feedback_learns else [self._weight_of(name) for name in rule.memory]
        names = [*net.parameters(), *feedback]
        for pattern in self.lr_factors or {}:
            if not any(_matches(name, pattern) for name in names):
                known = {*names, *(name.rpartition(".")[0] for name in names)}
                raise ValueError(unknown(known, pattern, "parameter or layer in lr_factors"))
        self.matched = self.lr_factors

    @staticmethod
    def _weight_of(feedback: str) -> str:
        """The name of the W to which feedback of this name (``"linear2"``, ``"linear2/R"``) belongs."""
        return f"{feedback.partition('/')[0]}.W"

    @contextlib.contextmanager
    def group(self, name: str, array: Array) -> Iterator[None]:
        """Context manager: ``lr`` and ``weight_decay`` are those of the parameter of this name, inside the block."""
        lr, decay = self.lr, self.weight_decay
        factor, decays = self._settings(name, array)
        self.lr, self.weight_decay = lr * factor, decay if decays else 0.0
        try:
            yield
        finally:
            self.lr, self.weight_decay = lr, decay

    def _settings(self, name: str, array: Array) -> tuple[float, bool]:
        """The factor of the learning rate for the parameter of this name, and whether it decays."""
        name = self._weight_of(name.removeprefix("feedback/")) if name.startswith("feedback/") else name
        factor = math.prod(one for pattern, one in (self.lr_factors or {}).items() if _matches(name, pattern))
        return factor, self.decay_bias or (array.ndim > 1 and not name.endswith(NORM_PARAMETERS))

    @backend.quietly
    def step(self, net: Network, rule: Rule | None = None) -> None:
        """Clip the gradients, apply decay, update every parameter that has a gradient, average kernels if
        ``share_weights`` says so, then update the rule's feedback.

        Parameters whose gradient is None and parameters of frozen layers are not changed, not even by decay or
        momentum. The state is reset if the network is not the one of the previous step.

        Raises:
            TypeError: ``net`` is not a Network, or ``rule`` is not a Rule.
            ValueError: the rule is attached to another network, or no rule is given although the rule that computed the
                gradients has feedback that learns. Nothing is changed in that case.

        >>> net = mf.Network([mf.Linear(1, 1, bias=False)])
        >>> net["linear1"].W = mf.asarray([[1.0]])
        >>> mf.SGD(lr=0.1, weight_decay=0.5).step(net)
        >>> net["linear1"].W.tolist(), net.step
        ([[1.0]], 1)
        """
        if rule is None:
            if check_type(net, Network, A_NETWORK).learning_rule:
                raise ValueError(
                    f"the rule {net.learning_rule!r} computed the gradients, and its feedback learns in the same step: "
                    "call optimizer.step(net, rule)"
                )
        elif getattr(rule, "net", None) is not net:
            rule = check_type(rule, Rule, A_RULE)
            raise ValueError(f"the rule {rule.label!r} is not attached to this network: call rule.attach(net) first")
        self.bind(net, rule)
        for layer in net:
            if layer.frozen:  # a user-defined rule may have set gradients here
                layer.grads = dict.fromkeys(layer.grads)
        if self.freeze_signs or self.constrain_weights:
            self.start.update(self._initial(net, self.start))
        self.clip(net)
        self._move_all(net)
        self.constrain(net)
        if rule is not None and rule.constrains:
            rule.constrain(net)
        net.step += 1
        if rule is not None and rule.feedback_learns:
            for name, (array, gradient) in rule.parameters().items():
                self.move(f"feedback/{name}", array, gradient)
        if self.share_weights is not None:
            self.share_weights.average(net, rule)
        if rule is not None:
            rule.update_feedback(net)

    @property
    def equation(self) -> str:
        """The update equation of a W with the current options; that of another parameter inside `group`.

        >>> mf.SGD(lr=0.1, weight_decay=0.01, manhattan=True).equation
        'W_new = W - lr * (sign(dW) + weight_decay * W)'
        """
        gradient = "sign(dW)" if self.manhattan else "dW"
        decays = self.weight_decay and not self.decoupled
        return self.update.replace("GRADIENT", f"({gradient} + weight_decay * W)" if decays else gradient)

    def clip(self, net: Network) -> None:
        """Scale all gradients in place so that their joint norm is at most ``clip_norm``, like PyTorch's
        ``clip_grad_norm_``. Gradients whose squares overflow are clipped correctly as well; PyTorch sets them to 0.

        Non-finite gradients stay visible: infinite entries become NaN and all others 0; if an entry is NaN, all become
        NaN. The next loss is then not finite, which ends training as diverged.

        >>> net = mf.Network([mf.Linear(2, 1, bias=False)])
        >>> net["linear1"].grads["W"] = mf.asarray([[30.0], [40.0]])
        >>> mf.SGD(clip_norm=5.0).clip(net)
        >>> [round(float(gradient), 4) for gradient in net["linear1"].grads["W"][:, 0]]
        [3.0, 4.0]
        """
        if self.clip_norm is None:
            return
        gradients = [gradient for gradient in net.gradients().values() if gradient is not None]
        if not gradients:
            return
        with backend.quiet():
            scale = near_one(*gradients)
            size = xp.sqrt(xp.stack([sum_of_squares(gradient.reshape(-1), scale) for gradient in gradients]).sum())
            factor = xp.minimum(1, self.clip_norm * scale / (size + 1e-6 * scale)).astype(gradients[0].dtype)
            for gradient in gradients:
                gradient *= factor

    def move(self, name: str, array: Array, gradient: Array) -> None:
        """Update one parameter in place, with the state stored under its name."""
        if self._plan is not None and name in self._plan.names:
            self._plan = None  # its count is no longer that of its neighbours
        if name not in self.arrays:
            self.arrays[name] = self.new_slots(array)
            self.counts[name] = 0
        self.counts[name] += 1
        self._change(name, array, array, gradient, *self.arrays[name].values())

    def new_slots(self, array: Array) -> dict[str, Array]:
        """The state arrays of a parameter before its first update."""
        return {slot: xp.zeros_like(array) for slot in self.slots}

    def _move_all(self, net: Network) -> None:
        """Update every parameter that has a gradient, joined ones together. Each alone if the step is observed, or if
        `change` is user-defined: it need not be elementwise."""
        updates = updates_of(net)
        together = self.elementwise and active.get() is None
        plan = self._plan
        if plan is None or plan.facts != facts_of(self, updates, together):
            plan = self._plan = Plan(self, net.joined, updates, together, self._settings)
        for names, indices, W, slots in plan.runs:
            for name in names:
                self.counts[name] += 1
            gradient = xp.concatenate([updates[i][2] for i in indices], axis=None)
            self._change(names[0], updates[indices[0]][1], W, gradient, *slots)
        for i in plan.rest:
            self.move(*updates[i])

    def _change(self, name: str, parameter: Array, W: Array, gradient: Array, *slots: Array) -> None:
        """Call `change` with the count and the settings of this parameter."""
        if self.manhattan:
            gradient = xp.sign(gradient)
        change = functools.partial(self.change, self.counts[name])
        if self.decay_bias and self.lr_factors is None:  # one group: without further calls
            each_piece(change, W, gradient, *slots)
        else:
            with self.group(name, parameter):
                each_piece(change, W, gradient, *slots)

    def _initial(self, net: Network, stored: Container[str] = ()) -> dict[str, Array]:
        """The norms and signs of the weights that the options fix, without those that are ``stored`` already."""
        initial = {}
        for layer in net.weighted:
            norm_key, sign_key = f"norm/{layer.name}", f"sign/{layer.name}"
            if self.constrain_weights and norm_key not in stored:
                initial[norm_key] = norm(layer.W).reshape(1)
            if self.freeze_signs and sign_key not in stored:
                initial[sign_key] = xp.sign(layer.W)
        return initial

    def constrain(self, net: Network) -> None:
        """Restore the signs and norms that ``freeze_signs`` and ``constrain_weights`` fix."""
        if not (self.freeze_signs or self.constrain_weights):
            return
        self.bind(net)
        self.start.update(self._initial(net, self.start))
        for layer in (layer for layer in net.weighted if not layer.frozen):
            if self.freeze_signs:
                sign = self.start[f"sign/{layer.name}"]
                layer.W[...] = xp.where(layer.W * sign <= 0, sign * NEARLY_ZERO, layer.W)
            if self.constrain_weights:
                layer.W[...] = rescaled(layer.W, self.start[f"norm/{layer.name}"])

    def change(self, count: int, W: Array, gradient: Array, *slots: Array) -> None:
        """Update a piece of one parameter in place. count: number of its updates, including this one."""
        contract = "(self, count, W, gradient, *slots): one update, written into W and the slots"
        raise extension_checks.not_implemented(self, "change", contract)

    def state(self) -> dict[str, numpy.ndarray]:
        """Host copies of the optimizer's state, by name."""
        arrays = self._flat(self.arrays, self.start)
        counts = {f"count/{name}": numpy.array(count) for name, count in self.counts.items()}
        return {**{key: numpy.array(backend.to_host(array)) for key, array in arrays.items()}, **counts}

    @staticmethod
    def _flat(arrays: dict[str, dict[str, Array]], start: dict[str, Array]) -> dict[str, Array]:
        """The arrays by their names in `state`."""
        slots = {f"{slot}/{name}": array for name, by_slot in arrays.items() for slot, array in by_slot.items()}
        return {**slots, **{f"start/{key}": array for key, array in start.items()}}

    def load_state(self, state: Mapping[str, Any], net: Network, rule: Rule | None = None) -> None:
        """Load the result of `state` for this network. Validated first; nothing is changed on a ValueError."""
        check_mapping(state, "a state")
        owners = dict(check_type(net, Network, A_NETWORK).parameters())
        if rule is not None:
            rule = check_type(rule, Rule, A_RULE)
            owners.update({f"feedback/{name}": array for name, array in rule.memory.items()})
        names = [key.removeprefix("count/") for key in state if key.startswith("count/")]
        unknown = sorted(set(names) - owners.keys())
        if unknown:
            raise ValueError(f"the state does not belong to this network, which has no {', '.join(unknown)}")
        arrays = {name: {slot: xp.zeros_like(owners[name]) for slot in self.slots} for name in names}
        start = self._initial(net) if any(key.startswith("start/") for key in state) else {}
        flat = self._flat(arrays, start)
        counts = {f"count/{name}": numpy.array(0) for name in names}
        check_state({**flat, **counts}, state, f"the optimizer {self.name!r}")
        for key, array in flat.items():
            array[...] = backend.asarray(state[key], array.dtype)
        self.net, self.attachment = net, None if rule is None else rule.attachment
        self.arrays, self.start = arrays, start
        self.counts = {name: int(state[f"count/{name}"]) for name in names}


class SGD(Optimizer):
    """Stochastic gradient descent: v <- momentum v + g, W <- W - lr v; Nesterov: W <- W - lr (g + momentum v).

    Args:
        lr, weight_decay, options: as for `minifa.optim.Optimizer`.
        momentum: in 0..1, excluding 1.
        nesterov: use Nesterov momentum; requires a momentum above 0.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    >>> layer, optimizer = mf.Linear(1, 1, bias=False), mf.SGD(lr=0.25, momentum=0.5)
    >>> net = mf.Network([layer])
    >>> layer.W, layer.grads["W"] = mf.asarray([[1.0]]), mf.asarray([[2.0]])
    >>> optimizer.step(net)
    >>> float(layer.W[0, 0])  # 1 - 0.25 * 2
    0.5
    >>> optimizer.step(net)
    >>> float(layer.W[0, 0])  # 0.5 - 0.25 * (2 + 0.5 * 2)
    -0.25
    """

    name = "sgd"
    options = {**Optimizer.options, "momentum": _decay_rate, "nesterov": check_bool}

    def __init__(
        self, lr: float = 0.01, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False, **options: Any
    ) -> None:
        super().__init__(lr, weight_decay, **options)
        self.momentum, self.nesterov = momentum, nesterov
        if nesterov and momentum == 0:
            raise ValueError("nesterov must be False without momentum: set a momentum above 0")
        self.slots = ("velocity",) if momentum else ()
        if momentum:
            step = "(GRADIENT + momentum * velocity_new)" if nesterov else "velocity_new"
            self.update = f"velocity_new = momentum * velocity + GRADIENT\nW_new = W - lr * {step}"

    def change(self, count: int, W: Array, gradient: Array, *slots: Array) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * W
        if slots:
            (velocity,) = slots
            velocity *= self.momentum
            velocity += gradient
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        W -= self.lr * gradient


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): m and v are running means of g and g^2, mhat and vhat their bias-corrected values;
    W <- W - lr mhat / (sqrt(vhat) + eps).

    Args:
        lr, weight_decay, options: as for `minifa.optim.Optimizer`.
        betas: decay rates of the two means, each in 0..1, excluding 1.
        eps: above 0.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    The size of the first step is the learning rate, independent of the gradient's size:

    >>> layer = mf.Linear(1, 1, bias=False)
    >>> net = mf.Network([layer])
    >>> layer.W, layer.grads["W"] = mf.asarray([[1.0]]), mf.asarray([[1000.0]])
    >>> mf.Adam(lr=0.25).step(net)
    >>> round(float(layer.W[0, 0]), 4)
    0.75
    """

    name = "adam"
    options = {**Optimizer.options, "betas": _betas, "eps": check_positive}
    slots = ("mean", "square")
    update = (
        "mean_new = beta1 * mean + (1 - beta1) * GRADIENT\n"
        "square_new = beta2 * square + (1 - beta2) * GRADIENT^2\n"
        "W_new = W - lr * mean_new / (1 - beta1^k) / (sqrt(square_new / (1 - beta2^k)) + eps)"
    )

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(lr, weight_decay, **options)
        self.betas, self.eps = betas, eps

    def change(self, count: int, W: Array, gradient: Array, *slots: Array) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * W
        self._adapt(count, W, gradient, *slots)

    def _adapt(self, count: int, W: Array, gradient: Array, mean: Array, square: Array) -> None:
        first, second = self.betas
        mean *= first
        mean += (1 - first) * gradient
        square *= second
        square += (1 - second) * gradient * gradient
        size = xp.sqrt(square)
        size /= math.sqrt(1 - second**count)
        size += self.eps
        W -= mean / size * (self.lr / (1 - first**count))


class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov & Hutter 2019): W <- W - lr * weight_decay * W before the step.

    Args:
        lr, betas, eps, options: as for `Adam`.
        weight_decay: decay per unit of lr, at least 0.

    >>> layer = mf.Linear(1, 1, bias=False)
    >>> net = mf.Network([layer])
    >>> layer.W, layer.grads["W"] = mf.asarray([[1.0]]), mf.asarray([[0.0]])
    >>> mf.AdamW(lr=0.5, weight_decay=0.5).step(net)
    >>> float(layer.W[0, 0])  # no gradient: the decay alone, 1 - 0.5 * 0.5
    0.75
    """

    name = "adamw"
    decoupled = True
    update = Adam.update.replace("W_new = W", "W_new = (1 - lr * weight_decay) * W")

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, **options)

    def change(self, count: int, W: Array, gradient: Array, *slots: Array) -> None:
        W *= 1 - self.lr * self.weight_decay
        self._adapt(count, W, gradient, *slots)


class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e): s is a running mean of g^2; W <- W - lr g / (sqrt(s) + eps), with optional
    momentum.

    Args:
        lr, weight_decay, options: as for `minifa.optim.Optimizer`.
        alpha: decay rate of the mean, in 0..1, excluding 1.
        eps: above 0.
        momentum: in 0..1, excluding 1.

    Raises:
        TypeError: an option of the wrong type.
        ValueError: an option outside its range.

    The mean starts at 0 without bias correction, so the size of the first step is lr / sqrt(1 - alpha):

    >>> layer = mf.Linear(1, 1, bias=False)
    >>> net = mf.Network([layer])
    >>> layer.W, layer.grads["W"] = mf.asarray([[1.0]]), mf.asarray([[1000.0]])
    >>> mf.RMSprop(lr=0.01, alpha=0.99).step(net)
    >>> round(float(layer.W[0, 0]), 4)
    0.9
    """

    name = "rmsprop"
    options = {**Optimizer.options, "alpha": _decay_rate, "eps": check_positive, "momentum": _decay_rate}

    def __init__(
        self,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(lr, weight_decay, **options)
        self.alpha, self.eps, self.momentum = alpha, eps, momentum
        self.slots = ("square", "velocity") if momentum else ("square",)
        step = "GRADIENT / (sqrt(square_new) + eps)"
        self.update = "square_new = alpha * square + (1 - alpha) * GRADIENT^2\n"
        if momentum:
            self.update += f"velocity_new = momentum * velocity + {step}\n"
            step = "velocity_new"
        self.update += f"W_new = W - lr * {step}"

    def change(self, count: int, W: Array, gradient: Array, *slots: Array) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * W
        square, *velocity = slots
        square *= self.alpha
        square += (1 - self.alpha) * gradient * gradient
        step = gradient / (xp.sqrt(square) + self.eps)
        for v in velocity:
            v *= self.momentum
            v += step
            step = v
        W -= self.lr * step


OPTIMIZERS: dict[str, type[Optimizer]] = {cls.name: cls for cls in (SGD, Adam, AdamW, RMSprop)}
register_table("optimizer", OPTIMIZERS)
