"""The base classes of all layers, and the forward and backward passes through a chain of layers.

A layer implements its arithmetic and is independent of the learning rule. In the backward pass it receives the rule
as a `Teacher` with two methods: every layer's error comes from `teach`, and a layer with weights
(`minifa.layers.weighted`) calls `carry` for the error below it. Such a layer learns from its input, or from the
activity that a teacher's attribute ``presynaptic`` has under the layer's name.
"""

from __future__ import annotations

__all__ = ["Layer", "Listen", "Teacher", "Pass"]

import operator
import sys
from collections.abc import Container, Iterator, Sequence
from typing import Any, Protocol

from .. import backend, extension_checks
from ..array_checks import require_float, require_like
from ..backend import Array, xp
from ..registry import Constructed
from ..validation import Shape, check_bool, check_int, check_str, format_shape
from .observer import active

A_RULE = "the rule must be a minifa.rules.Rule, for example minifa.rules.make('fa')"


class Teacher(Protocol):
    """The two methods that the backward pass calls: implemented by `minifa.rules.Rule`."""

    def teach(self, layer: Any, delta: Array | None) -> Array | None:
        """The error at the output of this layer, given the error from above."""

    def carry(self, layer: Any, delta: Array) -> Array | None:
        """The error below this weighted layer, given the error at its output; None if no error is carried."""


class Pass:
    """The settings of one forward pass, and a hook on the output of each layer.

    Args:
        training: batch norm uses the batch's statistics, dropout is active, and layers cache what the
            backward pass needs.
        step: the number of weight updates so far; dropout's masks depend on it.
        update_statistics: whether batch norm updates its running statistics. Default: the value of ``training``.
        keep: False: the caches of the layers stay as they are. A rule makes such a pass with noise or with other
            activities between the forward and the backward pass of an update.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a step below 0 or above ``sys.maxsize``.

    Subclass it to observe activities:

    >>> class Shapes(mf.Pass):
    ...     def after(self, layer, y):
    ...         print(layer.name, y.shape)
    ...         return y
    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh()])
    >>> y = net.forward(mf.asarray(np.ones((5, 3))), Shapes())
    linear1 (5, 2)
    tanh1 (5, 2)
    """

    inputs_checked = False  # whether the network has checked what each layer receives in this pass

    def __init__(
        self, training: bool = False, step: int = 0, update_statistics: bool | None = None, keep: bool = True
    ) -> None:
        self.training = training is True or check_bool(training, "training")
        valid = type(step) is int and 0 <= step <= sys.maxsize
        self.step = step if valid else check_int(step, "the step of a pass", 0, sys.maxsize)
        self.update_statistics = (
            training if update_statistics is None else check_bool(update_statistics, "update_statistics")
        )
        self.keep = keep is True or check_bool(keep, "keep")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        extension_checks.guard(cls, Pass, extension_checks.PASS_CHECKS)

    def after(self, layer: Layer, y: Array) -> Array:
        """Called with the output of each layer; the next layer receives the returned array.

        Subclasses record activities or add noise."""
        return y


class Listen(Pass):
    """A pass that records the outputs of some layers.

    Args:
        names: the layers' names.
        training, step, update_statistics, keep: as for `Pass`.

    Attributes:
        outputs: the recorded outputs, by layer name.

    >>> net = mf.Network([mf.Linear(3, 2), mf.Tanh(), mf.Linear(2, 1)])
    >>> listen = mf.Listen({"tanh1"})
    >>> y = net.forward(mf.asarray(np.ones((5, 3))), listen)
    >>> {name: output.shape for name, output in listen.outputs.items()}
    {'tanh1': (5, 2)}
    """

    def __init__(
        self,
        names: Container[str],
        training: bool = False,
        step: int = 0,
        update_statistics: bool | None = None,
        keep: bool = True,
    ) -> None:
        super().__init__(training, step, update_statistics, keep)
        self.names = names
        self.outputs: dict[str, Array] = {}

    def after(self, layer: Layer, y: Array) -> Array:
        if layer.name in self.names:
            self.outputs[layer.name] = y
        return y


def array_property(name: str, doc: str = "") -> Any:
    """A property that holds an array of the layer; an assigned value is converted and copied by
    `Layer.convert_array`."""
    attribute = f"_{name}"

    def assign(layer: Layer, value: Any) -> None:
        setattr(layer, attribute, layer.convert_array(name, value))
        layer.version += 1

    doc = doc or f"An assigned array is copied: see `Layer.convert_array` ({name})."
    return property(operator.attrgetter(attribute), assign, doc=doc)


class Layer(Constructed):
    """The base class of layers. Subclasses implement `forward`, `backward` and `infer`.

    `parameter_names` and `buffer_names` name the arrays that belong to the layer, those that the optimizer updates and
    the others: an assigned value is copied in the layer's dtype, and a different shape raises ValueError.

    Args:
        name: overrides the default name that the network assigns; a non-empty str without "." and "/".

    Attributes:
        name: stable path, assigned by the network (``conv1``, ``residual2.body.conv1``) or set by ``name=``.
        cache: values of the last training forward pass that the backward pass needs; None before it.
        grads: for each parameter what the optimizer takes as its gradient: the gradient of the mean loss under
            backpropagation, the rule's substitute for it otherwise; None until computed.
        needs_input_gradient: whether any layer below learns, so that the error must be carried further down.
        frozen: whether its parameters are excluded from training (see `minifa.Network.freeze`).
        version: how many times one of its arrays was assigned or loaded; a rule may derive its B from these arrays.
        input_shape, output_shape: of one example; None until the network knows its input shape.
        equation, error_equation: what `forward` and `backward` compute, in the layer's own symbols (`minifa.trace`
            inserts the numbers).

    Raises:
        TypeError: a name that is not a str.
        ValueError: an empty name or one with "." or "/"; in use, inputs that the layer does not accept.

    >>> class Double(mf.Layer):
    ...     kind = "double"
    ...     def forward(self, x, ctx):
    ...         return 2 * x
    ...     def backward(self, delta, rule):
    ...         return 2 * delta
    >>> mf.Network([Double(), Double()]).forward(mf.asarray([[1.0, 3.0]])).tolist()
    [[4.0, 12.0]]
    """

    kind = "layer"
    equation = "y = f(x)"
    error_equation = "delta_below = delta * f'(x)"
    parameter_names: tuple[str, ...] = ()
    buffer_names: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # the names above whose array may be None
    sends_targets = False  # whether `backward` may also send a target down, as rules with targets do (no parameters)
    version = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in (*cls.parameter_names, *cls.buffer_names):
            if not hasattr(cls, name):
                setattr(cls, name, array_property(name))
        extension_checks.guard(cls, Layer, extension_checks.LAYER_CHECKS, always=("forward", "backward"))

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not check_str(name, "a layer's name") or set(name) & set("./")):
            raise ValueError(f"a layer's name must be a non-empty str without '.' and '/', got {name!r}")
        self.given_name = name
        self.name = name or self.kind
        self.cache: Any = None
        self.grads: dict[str, Array | None] = dict.fromkeys(self.parameter_names)
        self.needs_input_gradient = True
        self.frozen = False
        self.in_network = False
        self.checked_shapes: dict[Any, Shape] = {}  # of returned arrays that `minifa.extension_checks` has checked
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None

    def forward(self, x: Array, ctx: Pass) -> Array:
        """Compute the output for a batch x of shape (N, ...). Raises NotImplementedError if the class does not
        implement it."""
        raise extension_checks.not_implemented(self, "forward", "(self, x, ctx): the output for a batch x")

    def backward(self, delta: Array, rule: Teacher) -> Array | None:
        """Take the error at the output, store the parameter gradients, and return the error at the input, or None.
        Raises NotImplementedError if the class does not implement it."""
        contract = "(self, delta, rule): dL/d(input) from dL/d(output); the parameters' gradients go into self.grads"
        raise extension_checks.not_implemented(self, "backward", contract)

    def infer(self, shape: Shape) -> Shape:
        """Output shape of one example from its input shape. Raises ValueError if the layer does not accept it."""
        return shape

    def initialise(self, seed: int) -> None:
        """Draw the initial weights; the random stream is keyed by the seed and the layer's name."""

    def convert_array(self, name: str, value: Any) -> Array | None:
        """Convert a value that is assigned to an array of the layer: a copy in the layer's dtype.

        Raises:
            TypeError: a value that is not made of real numbers.
            ValueError: a shape that differs from the array's; an array that the layer was created without.
        """
        arrays = self._arrays()
        if value is None and (arrays.get(name) is None or name in self.optional):
            return None
        if name not in arrays:
            raise ValueError(f"{self} was created without {name}: assign None")
        given = value if backend.is_numeric(value) else backend.numbers_of(value, f"{name} of {self}")
        shape = self.shape_of(name)
        if shape is not None and tuple(given.shape) != shape:
            raise ValueError(f"{name} of {self} must have shape {shape}, got {tuple(given.shape)}")
        present = [array for array in (arrays[name], *arrays.values()) if array is not None]
        return xp.array(backend.asarray(given, present[0].dtype if present else backend.dtype()), order="C")

    def _arrays(self) -> dict[str, Array | None]:
        return {name: getattr(self, f"_{name}", None) for name in (*self.parameter_names, *self.buffer_names)}

    def shape_of(self, name: str) -> Shape | None:
        """The shape that the array of this name must have: its present shape; None before the array exists."""
        array = getattr(self, f"_{name}", None)
        return None if array is None else tuple(array.shape)

    def cast(self) -> None:
        """Convert the arrays to the engine's dtype, which may have changed since the layer was created."""
        for name, array in self._arrays().items():
            if array is not None:
                setattr(self, f"_{name}", array.astype(backend.dtype(), copy=False))

    def children(self) -> Iterator[tuple[str, list[Layer]]]:
        """Iterate over the (part, layers) pairs of a container; empty for an ordinary layer."""
        return iter(())

    def parameters(self) -> dict[str, Array]:
        """The trainable arrays by their short names, without those that are None."""
        return {key: getattr(self, key) for key in self.parameter_names if getattr(self, key) is not None}

    def buffers(self) -> dict[str, Array]:
        """The buffers: arrays without a gradient that belong to the state, such as batch norm's running statistics, or
        what `initialise` drew once and for all. Without those that are None."""
        return {key: getattr(self, key) for key in self.buffer_names if getattr(self, key) is not None}

    @property
    def trainable(self) -> bool:
        """Whether it has parameters that training updates."""
        return bool(self.parameter_names) and not self.frozen

    def symbols(self) -> dict[str, Any]:
        """The other symbols of the equations, with their values in the last pass: numbers, or arrays on the backend."""
        return {}

    def cached(self) -> Any:
        """The cache of the last training forward pass. Raises RuntimeError if there was none."""
        if self.cache is None:
            raise RuntimeError(f"{self} has no cached forward pass: call forward with Pass(training=True) first")
        return self.cache

    def check_input(self, x: Any, ctx: Pass) -> None:
        """Raise TypeError or ValueError unless x is a batch (N, ...) that this layer accepts. The network has checked
        the inputs of all layers before it calls `forward`, and then nothing is done here."""
        if not ctx.inputs_checked:
            require_float(x, self)
            self.infer(x.shape[1:])

    def check_error(self, delta: Array, shape: Shape) -> None:
        """Raise TypeError or ValueError unless ``delta`` is an error for an output of this shape, (N, ...)."""
        if type(delta) is not xp.ndarray or delta.shape != shape or delta.dtype.kind != "f":
            require_like(delta, shape, self, "an error")

    def shape_error(self, expected: str, shape: Shape) -> ValueError:
        return ValueError(f"{self} expects {expected}, got {format_shape(shape)} per example")

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def __repr__(self) -> str:
        shapes = {key: self.shape_of(key) for key in self.parameter_names}
        texts = [f"{key} {format_shape(shape)}" for key, shape in shapes.items() if shape is not None]
        return f"<{self}{': ' if texts else ''}{', '.join(texts)}>"


@backend.quietly
def new_parameter(host: Any) -> Array:
    """Copy a host array to the backend as a parameter, in the engine's dtype."""
    return xp.array(host.astype(backend.dtype()))


def infer_chain(layers: Sequence[Layer], shape: Shape, source: str) -> Shape:
    """The last output shape of these layers. A ValueError names the layer and the source of its input."""
    for layer in layers:
        try:
            shape = layer.infer(shape)
        except ValueError as error:
            raise ValueError(f"{error} (its input comes from {source})") from None
        source = repr(layer.name)
    return shape


def set_shapes(layers: Sequence[Layer], shape: Shape, source: str) -> Shape:
    """Set the shapes of each layer, those of blocks included, and return the last output shape. Raises ValueError as
    `infer_chain` does."""
    for layer in layers:
        layer.input_shape = shape
        shape = layer.output_shape = infer_chain([layer], shape, source)
        source = repr(layer.name)
        for _, branch in layer.children():
            set_shapes(branch, layer.input_shape, f"the input of {source}")
    return shape


def forward_chain(layers: Sequence[Layer], x: Array, ctx: Pass) -> Array:
    """Forward pass through the layers in order; `Pass.after` is called with each output, if the class overrides it."""
    overridden = type(ctx).after is not Pass.after
    observer = active.get()
    for layer in layers:
        cache = layer.cache
        y = layer.forward(x, ctx)
        if not ctx.keep:
            layer.cache = cache
        if observer is not None:
            observer.on_forward(layer, x, y)
        x = ctx.after(layer, y) if overridden else y
        if observer is not None and x is not y:
            observer.on_output(layer, y, x)
    return x


def backward_chain(layers: Sequence[Layer], delta: Array | None, rule: Teacher) -> Array | None:
    """Backward pass through the layers in reverse order. `Teacher.teach` gives the error at each output; None means
    that no error arrives there."""
    observer = active.get()
    for layer in reversed(layers):
        taught = rule.teach(layer, delta)
        if observer is not None:
            observer.on_teach(layer, delta, taught)
        delta = None if taught is None else layer.backward(taught, rule)
        if observer is not None and taught is not None:
            observer.on_backward(layer, taught, delta)
    return delta
