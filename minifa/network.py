"""The network: named layers in order, with a forward pass, a backward pass under a rule, a summary and a state to
save."""

from __future__ import annotations

__all__ = ["Network"]

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy

from . import array_checks, backend, extension_checks, network_files
from .backend import Array, xp
from .joined import JoinedParameters
from .layers.base import A_RULE, Layer, Pass, Teacher, backward_chain, forward_chain, infer_chain, set_shapes
from .layers.weighted import Weighted
from .losses import classes_of
from .registry import KnownOptions, unknown
from .representations import HtmlRepr
from .rng import check_seed
from .text import table
from .validation import (
    Shape,
    check_batch_size,
    check_bool,
    check_mapping,
    check_str,
    check_type,
    example_shape,
    format_shape,
)

A_NETWORK = "the network must be a minifa.Network"


@runtime_checkable
class RuleOfNetwork(Protocol):
    """A rule, as the methods of a network use it: implemented by `minifa.rules.Rule`."""

    def feedback_size(self, layer: Layer) -> int:
        """Number of feedback entries for this layer."""

    def predict_batch(self, net: Any, x: Array) -> Array:
        """The outputs for a batch, as the rule defines them."""

    def preserved(self) -> contextlib.AbstractContextManager[None]:
        """Restores the rule's state after passes inside the block."""


class Network(KnownOptions, HtmlRepr):
    """A sequence of layers.

    Args:
        layers: the layers. The network names them and initialises their weights, so a layer belongs to one network.
        seed: key of every random draw of the network (weights, dropout), together with the layer's name.
        input_shape: shape of one example, (features,) or (height, width, channels). When given (or when the first
            layer is Linear), every layer's shape is checked here and direct rules know how many units they teach.
        input_error: also compute the input gradient dL/dx. Otherwise the backward pass stops at the lowest layer that
            learns.

    Attributes:
        step: number of weight updates so far. Optimizers increment it; dropout's and brSF's draws are keyed by it.
        learning_rule: name of the rule that computed the current gradients, if its feedback learns in the same step;
            otherwise "".
        joined: the small parameters, which an optimizer updates together (see `minifa.joined`).

    Raises:
        TypeError: layers, a seed or a shape of the wrong type.
        ValueError: no layers, duplicate layer names, a layer that is already in a network, or shapes that do not match
            (the message names the layer and the source of its input).

    >>> net = mf.Network([mf.Linear(2, 3), mf.ReLU(), mf.Linear(3, 1)], seed=0)
    >>> [layer.name for layer in net], net["linear2"].W.shape
    (['linear1', 'relu1', 'linear2'], (3, 1))
    >>> mf.Network([mf.Linear(2, 3), mf.ReLU(), mf.Linear(4, 1)])
    Traceback (most recent call last):
    ValueError: Linear 'linear2' expects 4 inputs per example, got 3 (its input comes from 'relu1')
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        seed: int = 0,
        input_shape: Sequence[int] | None = None,
        input_error: bool = False,
    ) -> None:
        check_type(layers, (list, tuple), "the layers of a network must be a list")
        if not layers:
            raise ValueError(f"a network must have at least one layer, got {layers!r}")
        self.layers = list(layers)
        self.seed = check_seed(seed)
        self.step = 0
        self.learning_rule = ""
        self._checked_shape: Shape | None = None  # the input shape that all layers were last checked with
        self.dtype = backend.dtype()
        self._by_name: dict[str, Layer] = {}
        self._register(self.layers, path="")
        self.joined = JoinedParameters(self)
        self.input_error = check_bool(input_error, "input_error")
        _mark_layers_with_feedback(self.layers, learns_upstream=input_error)
        first = self.layers[0]
        if input_shape is None and first.kind == "linear" and isinstance(first, Weighted):
            input_shape = first.weight_shape[:1]
        self.input_shape: Shape | None = None if input_shape is None else example_shape(input_shape, "input_shape")
        if self.input_shape is not None:
            set_shapes(self.layers, self.input_shape, source="the network's input")
        for layer in self:  # last, so that layers can be reused if this constructor raises
            layer.in_network = True

    def _register(self, layers: Sequence[Layer], path: str) -> None:
        """Name the layers by kind and position, and initialise their weights."""
        counts: dict[str, int] = {}
        for layer in layers:
            check_type(layer, Layer, "each layer must be a minifa.layers.Layer")
            extension_checks.require_init(layer, "grads")
            if layer.in_network or any(layer is other for other in self._by_name.values()):
                raise ValueError(f"{layer} is already in a network: create new layers for a new network")
            counts[layer.kind] = counts.get(layer.kind, 0) + 1
            layer.name = path + (layer.given_name or f"{layer.kind}{counts[layer.kind]}")
            if layer.name in self._by_name:
                raise ValueError(f"the name {layer.name!r} belongs to two layers: give one of them another name=")
            self._by_name[layer.name] = layer
            layer.cast()
            layer.initialise(self.seed)
            for key in (*layer.parameter_names, *layer.buffer_names):
                if not hasattr(layer, key):
                    raise TypeError(f"the array {key!r} of {layer} does not exist: assign self.{key} in initialise")
            for part, inner in layer.children():
                self._register(inner, f"{layer.name}.{part}.")

    # Inspection

    def __getitem__(self, name: str) -> Layer:
        if name not in self._by_name:
            raise KeyError(unknown(self._by_name, name, "layer"))
        return self._by_name[name]

    def __iter__(self) -> Iterator[Layer]:
        """Iterate over all layers in forward order; a block comes before the layers inside it."""
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        count = sum(array.size for array in self.parameters().values())
        return f"<Network: {len(self)} layers, {count:,} parameters>"

    def __call__(self, x: Array) -> Array:
        """The outputs for a batch x (N, ...) on the backend in evaluation mode: `forward` without a `Pass`."""
        return self.forward(x)

    @property
    def weighted(self) -> list[Weighted]:
        """The layers with a weight matrix, in forward order."""
        return [layer for layer in self if isinstance(layer, Weighted)]

    @property
    def output_layer(self) -> Weighted:
        """The last weighted layer, which receives the true error under every rule. Raises ValueError if the network
        has no weighted layer."""
        if not (weighted := self.weighted):
            raise ValueError("the network has no weighted layer: add a Linear or a Conv2d")
        return weighted[-1]

    @property
    def output_shape(self) -> Shape | None:
        """Output shape of one example; None while the input shape is unknown."""
        return self.layers[-1].output_shape

    def parameters(self) -> dict[str, Array]:
        """The trainable arrays by name (``conv1.W``, ``batchnorm1.gamma``); references, not copies."""
        return {f"{layer.name}.{key}": array for layer in self for key, array in layer.parameters().items()}

    def gradients(self) -> dict[str, Array | None]:
        """The gradients under the names of `parameters`; None if not computed yet.

        >>> mf.Network([mf.Linear(2, 1)]).gradients()
        {'linear1.W': None, 'linear1.b': None}
        """
        return {f"{layer.name}.{key}": layer.grads.get(key) for layer in self for key in layer.parameters()}

    def clear_gradients(self) -> None:
        """Set all gradients to None."""
        for layer in self._by_name.values():
            layer.grads = dict.fromkeys(layer.grads)

    def freeze(self, *names: str) -> None:
        """Exclude layers from training: their parameters and batch norm's running statistics stay fixed.

        A frozen batch norm normalises with its running statistics. Errors still pass through frozen layers if a layer
        below them learns. Freeze before attaching a rule, which then draws no matrix for errors that no layer uses.

        Args:
            names: names of layers with parameters or buffers, or of blocks, which are frozen as a whole.

        Raises:
            ValueError: an unknown name, or a layer without parameters. Nothing is changed in that case.

        >>> net = mf.Network([mf.Linear(3, 3), mf.Tanh(), mf.Linear(3, 3), mf.Tanh(), mf.Linear(3, 2)])
        >>> net.freeze("linear1", "linear2")
        >>> list(mf.rules.FA().attach(net).B)  # no layer below linear3 learns
        []
        """
        self._set_frozen(names, True)

    def unfreeze(self, *names: str) -> None:
        """Train these layers, or all layers of these blocks, again. Rules must be attached again afterwards.

        Raises:
            ValueError: as for `freeze`.
        """
        self._set_frozen(names, False)

    def _set_frozen(self, names: Sequence[str], frozen: bool) -> None:
        with_parameters = [layer for layer in self if layer.parameter_names or layer.buffer_names]
        selected: list[Layer] = []
        for name in names:
            if check_str(name, "the name of a layer") not in self._by_name:
                raise ValueError(unknown([layer.name for layer in with_parameters], name, "layer to freeze"))
            inside = [layer for layer in with_parameters if f"{layer.name}.".startswith(f"{name}.")]
            if not inside:
                raise ValueError(f"{self[name]} has no parameters to freeze: name a layer that has some")
            selected += inside
        for layer in selected:
            layer.frozen = frozen
            layer.grads = dict.fromkeys(layer.grads)
        _mark_layers_with_feedback(self.layers, self.input_error)

    def summary(self, rule: RuleOfNetwork | None = None) -> str:
        """A table with the name, kind, output shape and parameter count of each layer, and the number of feedback
        weights if a rule is given.

        >>> net = mf.Network([mf.Linear(4, 3), mf.Linear(3, 2)])
        >>> print(net.summary(mf.rules.FA().attach(net)))
        layer    kind    output  parameters  feedback
        -------  ------  ------  ----------  --------
        linear1  Linear  3               15         0
        linear2  Linear  2                8         6
        total                            23         6
        """
        return table(self.summary_rows(rule), right_from=3)

    def summary_rows(self, rule: RuleOfNetwork | None = None) -> list[list[str]]:
        """The cells of `summary`, as text: its header, a row for each layer, and the total."""
        if rule is not None:
            if isinstance(rule, type):  # a class has the method, too
                raise TypeError(f"{A_RULE}, got {rule!r}: create an instance, {rule.__name__}(...)")
            check_type(rule, RuleOfNetwork, A_RULE)
        rows: list[tuple[str, str, str, int, int]] = []
        for layer in self:
            count = sum(array.size for array in layer.parameters().values())
            feedback = 0 if rule is None else rule.feedback_size(layer)
            shape = "?" if layer.output_shape is None else format_shape(layer.output_shape)
            kind = type(layer).__name__ + (", frozen" if layer.frozen else "")
            rows.append((layer.name, kind, shape, count, feedback))
        rows.append(("total", "", "", sum(row[3] for row in rows), sum(row[4] for row in rows)))
        head = ["layer", "kind", "output", "parameters", "feedback"]
        cells = [head, *([*row[:3], f"{row[3]:,}", f"{row[4]:,}"] for row in rows)]
        return [row[: 4 if rule is None else 5] for row in cells]

    # Forward and backward passes

    @backend.quietly
    def forward(self, x: Array, ctx: Pass | None = None) -> Array:
        """Forward pass for a batch x (N, ...) on the backend, in the network's dtype. Runs in evaluation mode unless
        ctx sets training.

        Raises:
            TypeError: an array on the wrong side (host or device) or of the wrong dtype.
            ValueError: an empty batch or an unexpected shape.
        """
        self.check_input(x)
        ctx = ctx or Pass()
        shape = x.shape[1:]
        ctx.inputs_checked = shape == self._checked_shape or self._accepts(shape)
        try:
            with backend.blas_limit():
                return forward_chain(self.layers, x, ctx)
        finally:
            ctx.inputs_checked = False

    def _accepts(self, shape: Shape) -> bool:
        """Whether every layer accepts the output of the layer before it, for inputs of this shape. A user-defined layer
        may hand other arrays to layers of its own, which then check them."""
        if not all(extension_checks.in_minifa(type(layer)) for layer in self):
            return False
        try:
            infer_chain(self.layers, shape, source="the network's input")
        except ValueError:
            return False  # the layer raises it in its own forward pass
        self._checked_shape = shape
        return True

    def check_input(self, x: Any) -> None:
        """Raise TypeError or ValueError unless x is a batch for this network."""
        if type(x) is xp.ndarray and x.dtype == self.dtype and self._checked_shape == x.shape[1:] and len(x) > 0:
            return  # the layers accepted a batch of such examples
        array_checks.require_float(x, "the network")
        if x.dtype != self.dtype:
            raise TypeError(
                f"the input must have the network's dtype {self.dtype}, got {x.dtype}: convert it with "
                f"x.astype({str(self.dtype)!r}), or create the network after minifa.use(..., dtype=...)"
            )
        if x.ndim < 2:
            raise ValueError(
                f"the network expects a batch (N, ...) of at least one example, got an array of shape {x.shape}"
            )
        if self.input_shape is not None and tuple(x.shape[1:]) != self.input_shape:
            raise ValueError(
                f"the network expects {format_shape(self.input_shape)} per example, got {format_shape(x.shape[1:])} "
                f"(the whole input has shape {x.shape})"
            )

    @backend.quietly
    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        """Backward pass of the error dL/d(output) under a rule. Every layer stores its gradients. Returns the input
        gradient dL/dx, or None unless the network was built with ``input_error``.

        Raises:
            TypeError, ValueError: the error is not a floating-point array of the output's shape.
        """
        if type(delta) is not xp.ndarray or delta.dtype.kind != "f" or delta.size == 0:
            array_checks.require_float(delta, "the network's backward pass")
        with backend.blas_limit():
            return backward_chain(self.layers, delta, rule)

    def predict(self, x: Any, batch_size: int = 256, rule: RuleOfNetwork | None = None) -> numpy.ndarray:
        """Outputs for an input x (N, ...) as a host array (N, ...). The network is not modified.

        Args:
            x: real numbers of any type, on the host or the backend.
            batch_size: examples per forward pass. It limits the memory used and does not affect the result.
            rule: the attached rule that computes the outputs (`minifa.rules.Rule.predict_batch`); None: they are those
                of the forward pass, as under nearly every rule.

        Raises:
            ValueError: a wrong shape, an empty batch, numbers that are not finite, a batch size below 1, or a rule that
                is not attached to this network.
            TypeError: the input is not numeric, the batch size is not an int, or the rule is not a Rule.

        >>> mf.Network([mf.Linear(2, 1, init="zero")]).predict([[1, 2], [3, 4]]).tolist()
        [[0.0], [0.0]]
        """
        batch_size = check_batch_size(batch_size)
        host = backend.numbers_of(x, "the inputs of predict")
        if not numpy.isfinite(host).all():
            raise ValueError("the inputs of predict must be finite numbers, got NaN or inf")
        if host.size == 0 or host.ndim == 0:
            raise ValueError(
                f"the inputs of predict must have at least one example, got an array of shape {host.shape}"
            )
        batches = (host[i : i + batch_size] for i in range(0, len(host), batch_size))
        forward: Callable[[Array], Array] = self.forward
        with self.preserved(), contextlib.ExitStack() as passes:
            if rule is not None:
                self._check_attached(rule)
                passes.enter_context(rule.preserved())
                forward = functools.partial(rule.predict_batch, self)
            outputs = [backend.to_host(forward(backend.asarray(batch, self.dtype))) for batch in batches]
        return numpy.concatenate(outputs)

    def classify(self, x: Any, batch_size: int = 256, rule: RuleOfNetwork | None = None) -> numpy.ndarray:
        """The classes of an input x (N, ...), the index of the largest output: (N,), integers on the host. With a
        single output the classes are 1 where it is above 0, else 0.

        Args:
            x, batch_size, rule: as for `predict`.

        Raises:
            ValueError, TypeError: as for `predict`; ValueError: outputs that are not (N, n_out).

        >>> net = mf.Network([mf.Linear(1, 2, init="zero")])
        >>> net["linear1"].b = mf.asarray([0.0, 1.0])
        >>> net.classify([[5.0], [6.0]]).tolist()
        [1, 1]
        """
        outputs = self.predict(x, batch_size, rule)
        if outputs.ndim != 2:
            raise ValueError(f"classes need outputs of shape (N, n_out), got outputs of shape {outputs.shape}")
        return classes_of(outputs)

    @contextlib.contextmanager
    def preserved(self) -> Iterator[None]:
        """Context manager that restores caches, gradients and buffers (running statistics) when the block ends.

        >>> net = mf.Network([mf.BatchNorm(1)])
        >>> with net.preserved():
        ...     y = net.forward(mf.asarray([[0.0], [9.0]]), mf.Pass(training=True))
        >>> float(net["batchnorm1"].running_mean[0])
        0.0
        """
        before = [(layer, layer.cache, dict(layer.grads), dict(layer.checked_shapes)) for layer in self]
        learning_rule = self.learning_rule
        buffers = [(array, array.copy()) for layer in self for array in layer.buffers().values()]
        try:
            yield
        finally:
            self.learning_rule = learning_rule
            for layer, *saved in before:
                layer.cache, layer.grads, layer.checked_shapes = saved
            for array, copy in buffers:
                array[...] = copy

    # State

    def _arrays(self) -> dict[str, Array]:
        buffers = {f"{layer.name}.{key}": array for layer in self for key, array in layer.buffers().items()}
        return {**self.parameters(), **buffers}

    def state(self) -> dict[str, numpy.ndarray]:
        """Host copies of all parameters and buffers (running statistics, fixed draws of layers), by name.

        >>> net = mf.Network([mf.Linear(2, 3), mf.BatchNorm(3)])
        >>> {name: array.shape for name, array in net.state().items()}
        {'linear1.W': (2, 3), 'linear1.b': (3,), 'batchnorm1.gamma': (3,), 'batchnorm1.beta': (3,),
         'batchnorm1.running_mean': (3,), 'batchnorm1.running_var': (3,)}
        """
        return {key: numpy.array(backend.to_host(array)) for key, array in self._arrays().items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state`. The whole state is validated first; on an error nothing is changed.

        Raises:
            TypeError: the state is not a mapping with str keys.
            ValueError: missing or unexpected names, or an array of the wrong shape or with non-finite values.

        >>> one, other = (mf.Network([mf.Linear(2, 3)], seed=seed) for seed in (1, 2))
        >>> other.load_state(one.state())
        >>> bool((one["linear1"].W == other["linear1"].W).all())
        True
        """
        arrays = self._arrays()
        check_state(arrays, state, "this network")
        for key, array in arrays.items():
            array[...] = backend.asarray(state[key], array.dtype)
        for layer in self:
            layer.version += 1

    def save(self, path: str | Path, rule: Any = None) -> None:
        """Save the network and, if given, its rule to one file, from which `minifa.load` rebuilds both. The file is
        written atomically and holds no code and no pickle; NumPy reads its arrays (``network/linear1.W``).

        Args:
            path: path of the file, such as "net.npz"; an existing file is replaced.
            rule: a rule that is attached to this network, with its options and feedback.

        Raises:
            TypeError: a rule that is not a Rule; a user-defined layer or rule with arguments that JSON cannot hold.
            ValueError: the rule is not attached to this network, an array is not finite, or an option was assigned
                after construction.
            OSError: the file cannot be written.

        >>> import pathlib, tempfile
        >>> net = mf.Network([mf.Linear(3, 4), mf.Tanh(), mf.Linear(4, 2)], seed=1)
        >>> rule = mf.rules.FA(seed=2).attach(net)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(pathlib.Path(folder, "net.npz"), rule)
        ...     again, its_rule = mf.load(pathlib.Path(folder, "net.npz"))
        >>> bool((again["linear1"].W == net["linear1"].W).all() and (its_rule.B["linear2"] == rule.B["linear2"]).all())
        True
        """
        if rule is not None:
            self._check_attached(rule)
        network_files.write(path, self, rule)

    def _check_attached(self, rule: Any) -> None:
        if getattr(check_type(rule, RuleOfNetwork, A_RULE), "net", None) is not self:
            raise ValueError("the rule must be attached to this network: call rule.attach(net) first")


def check_state(arrays: Mapping[str, Array], state: Mapping[str, Any], whose: str) -> None:
    """Raise TypeError if the state is not a mapping with str keys, and ValueError unless it has exactly the names and
    shapes of ``arrays`` and only finite numbers."""
    check_mapping(state, "a state")
    missing, extra = sorted(arrays.keys() - state.keys()), sorted(state.keys() - arrays.keys())
    if missing or extra:
        raise ValueError(
            f"the state does not belong to {whose}: missing {missing or 'nothing'}, unknown {extra or 'nothing'}"
        )
    for key, array in arrays.items():
        try:
            given = backend.numbers_of(state[key], "the value")
        except TypeError as error:
            raise ValueError(f"{key!r} of {whose} must hold finite numbers: {error}") from None
        if given.shape != array.shape:
            raise ValueError(f"{key!r} of {whose} must have shape {array.shape}, got {given.shape}")
        if not numpy.isfinite(given).all():
            raise ValueError(f"{key!r} of {whose} must hold finite numbers, got NaN or inf")


def _mark_layers_with_feedback(layers: Sequence[Layer], learns_upstream: bool) -> bool:
    """Set ``needs_input_gradient`` of every layer: whether a layer upstream of it learns. Returns whether any layer
    here or upstream learns."""
    for layer in layers:
        layer.needs_input_gradient = learns_upstream
        learns_inside = [_mark_layers_with_feedback(inner, learns_upstream) for _, inner in layer.children()]
        learns_upstream = learns_upstream or layer.trainable or any(learns_inside)
    return learns_upstream
