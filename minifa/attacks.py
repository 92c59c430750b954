"""Adversarial examples, and how a network classifies them: FGSM and PGD under two gradients and on two objectives.

    fgsm    x' = x + eps sign(g(x))                                   Goodfellow, Shlens & Szegedy 2015
    pgd     x <- clip(x + step eps sign(g(x)), x0 - eps, x0 + eps)    Madry et al. 2018; starts at x0, without noise

sign(0) = 0: where the gradient is zero, nothing moves. Everything depends on g, which is therefore always named:

    path    "rule": the gradient that the rule computes through its feedback; "true": the gradient through the weights
    loss    the loss of training, or the margin max_{k != y} a_k - a_y (`Margin`)

A network that was trained with random feedback may seem robust for two reasons that are none: its rule's gradient is
not the gradient of its loss, and in float32 the softmax of large outputs is exactly 1, so that the loss has the
gradient 0. Hence `measure` always gives all of these beside random noise of the same size, examples made on another
network, the cosine of the two gradients, and the share of examples whose gradient is zero.
"""

from __future__ import annotations

__all__ = ["AttackReport", "Margin", "Units", "fgsm", "measure", "pgd", "sign_noise", "units_of"]

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from . import backend
from .array_checks import require_float
from .backend import Array, xp
from .data.base import Dataset, Examples
from .losses import Loss
from .metrics import PATHS, NoInputGradient, input_gradient, input_gradients, sample_angles
from .network import Network
from .rng import check_seed, generator
from .rules.base import Rule, check_parts
from .storage import csv_files
from .text import table, wrap
from .validation import check_choice, check_float, check_int, check_list, check_mapping, check_positive, check_type

BATCH = 256  # examples that are attacked together
ATTACKS = ("fgsm", "pgd")
KINDS = ("own", "true", "margin", "transfer")
PAIR = "bounds must be a pair (low, high)"
LOW_COSINE = 0.9  # below it, the report says that the rule's own gradient shows no robustness
ZEROS = 0.05  # the share of zero gradients above which it says so of the loss


class Margin(Loss):
    """max_{k != y} a_k - a_y: how far the best other class is above the true one; negative if the class is right. Its
    gradient does not vanish for large outputs, as that of the cross-entropy does. For attacks, not for training.

    Targets are class indices, or one-hot rows. With a single output a for two classes: a for class 0, -a for class 1.

    >>> output, loss = mf.asarray([[5.0, 1.0, 2.0]]), mf.attacks.Margin()
    >>> values, errors = loss(output, loss.target([0], output))
    >>> values.tolist(), errors.tolist()
    ([-3.0], [[-1.0, 0.0, 1.0]])
    """

    name = "margin"
    equation = "L = mean(max_{k != y} a_k - a_y)"
    error_equation = "e = (1 at the best other class, -1 at y) / n"
    single_output_is_binary = True

    def __call__(self, output: Array, target: Array) -> tuple[Array, Array]:
        self.check_pair(output, target)
        if output.shape[1] == 1:
            errors = 1 - 2 * target
        else:
            others = xp.where(target > 0, -math.inf, output).argmax(axis=1)
            errors = (xp.arange(output.shape[1]) == others[:, None]).astype(output.dtype) - target
        return (errors * output).sum(axis=1), errors


@dataclass(frozen=True)
class Units:
    """The units in which a perturbation is measured.

    Attributes:
        name: of the units, for headings.
        size: of one unit in the inputs of the network: a number, or one for each feature or channel.
        bounds: (smallest, largest) inputs, likewise; None: any.
    """

    name: str
    size: Any = 1.0
    bounds: tuple[Any, Any] | None = None


def written(units: Units, eps: float) -> str:
    """A perturbation as text; of pixels in 255ths, where it is a whole number of them and no short decimal."""
    text, steps = f"{eps:g}", round(eps * 255)
    if units.bounds is not None and steps and abs(eps * 255 - steps) < 1e-6 and len(text) > len("0.25"):
        return f"{steps}/255"
    return text


def units_of(data: Dataset) -> Units:
    """The units of a data set: the range of its pixels (`minifa.data.Dataset.pixel_scaling`), to which perturbed images
    are then clipped. Inputs of no known range: those that the network receives, without bounds.

    Raises TypeError for an argument that is not a Dataset.

    >>> mf.attacks.units_of(mf.data.load("digits")).size.round(3), mf.attacks.units_of(mf.data.load("xor")).bounds
    (np.float32(2.657), None)
    """
    scaling = check_type(data, Dataset, "data must be a minifa.data.Dataset").pixel_scaling
    if scaling is None:
        return Units("units of the network's inputs, which are not clipped")
    low, high = (scaling(numpy.full(numpy.shape(scaling.shift), end, "float32")) for end in (0, 1))
    return Units("parts of the pixels' range, to which images are clipped", scaling.factor, (low, high))


# Attacks


def fgsm(
    net: Network,
    rule: Rule,
    x: Array,
    y: Any,
    loss: Loss,
    path: str,
    eps: Any,
    bounds: tuple[Any, Any] | None = None,
) -> Array:
    """The fast gradient sign method: x + eps sign(gradient), in one step.

    Args:
        net, rule, x, y, loss, path: as for `minifa.metrics.input_gradient`; x must be finite.
        eps: the largest change of an input, at least 0: a number, or an array that broadcasts to x.
        bounds: the smallest and the largest input, likewise; None: any. Inputs outside them are not moved further out.

    Returns:
        The adversarial examples, of the shape of x, on the backend.

    Raises:
        TypeError, RuntimeError, minifa.metrics.NoInputGradient: as for `minifa.metrics.input_gradient`.
        ValueError: likewise; an eps below 0, or of a shape that does not broadcast.

    >>> net = mf.Network([mf.Linear(2, 2, init="zero")])
    >>> net["linear1"].W = mf.asarray([[1.0, -1.0], [0.0, 0.0]])  # the second input has no effect
    >>> rule, x = mf.rules.BP().attach(net), mf.asarray([[0.5, 0.5]])
    >>> mf.attacks.fgsm(net, rule, x, [0], mf.SoftmaxCrossEntropy(), "true", eps=0.25).tolist()
    [[0.25, 0.5]]
    """
    return pgd(net, rule, x, y, loss, path, eps, steps=1, step=1.0, bounds=bounds)


@backend.quietly
def pgd(
    net: Network,
    rule: Rule,
    x: Array,
    y: Any,
    loss: Loss,
    path: str,
    eps: Any,
    steps: int = 10,
    step: float = 0.25,
    bounds: tuple[Any, Any] | None = None,
) -> Array:
    """Projected gradient descent: steps along the sign of the gradient, each followed by a projection to changes of at
    most eps. It starts at x, without noise, and is deterministic.

    Args:
        net, rule, x, y, loss, path, eps, bounds: as for `fgsm`.
        steps: number of steps.
        step: size of a step, as a fraction of eps, above 0.

    Returns, raises: as `fgsm`; ValueError: no steps, or a step that is not above 0.

    Untrained, and attacked through the weights:

    >>> data, loss = mf.data.load("digits").test.head(64), mf.SoftmaxCrossEntropy()
    >>> net = mf.Network(mf.models.mlp((8, 8, 1), 10), input_shape=(8, 8, 1))
    >>> rule, x = mf.rules.FA().attach(net), mf.asarray(data.x)
    >>> adversarial = mf.attacks.pgd(net, rule, x, data.y, loss, "true", eps=0.1)
    >>> mf.evaluate(net, adversarial, data.y, loss=loss)["loss"] > mf.evaluate(net, data, loss=loss)["loss"]
    True
    """
    steps, step = check_int(steps, "steps"), check_positive(step, "step")
    with input_gradients(net, rule, loss, path) as gradient:
        net.check_input(x)
        eps = _like(eps, x, "eps", least=0.0)
        low, high = _box(x, eps, bounds)
        x = x.copy()
        for _ in range(steps):
            direction = xp.sign(gradient(x, y))
            xp.copyto(direction, 0, where=xp.isnan(direction))
            x += (step * eps) * direction
            xp.maximum(x, low, out=x)
            xp.minimum(x, high, out=x)
        return x


def sign_noise(x: Array, eps: Any, seed: int, batch: int = 0, bounds: tuple[Any, Any] | None = None) -> Array:
    """x + eps times random signs, the control of an attack: as large as FGSM, without a gradient.

    Args:
        x: inputs (N, ...) on the backend.
        eps, bounds: as for `fgsm`.
        seed, batch: key of the signs; each batch of a data set has its own.

    Raises:
        TypeError, ValueError: as for `fgsm`; an invalid seed.

    >>> np.unique(mf.to_host(mf.attacks.sign_noise(mf.asarray(np.zeros((3, 4))), 0.5, seed=0))).tolist()
    [-0.5, 0.5]
    """
    require_float(x, "sign_noise")
    eps = _like(eps, x, "eps", least=0.0)
    low, high = _box(x, eps, bounds)
    signs = generator(seed, "noise", "signs", batch).integers(0, 2, x.shape, dtype="int8")
    return xp.minimum(xp.maximum(x + eps * xp.asarray((2 * signs - 1).astype(x.dtype)), low), high)


def _box(x: Array, eps: Array, bounds: Any) -> tuple[Array, Array]:
    """The smallest and largest values that each input may take. An input outside the bounds, by rounding or because
    the user's data have others, may stay where it is."""
    low, high = x - eps, x + eps
    if bounds is None:
        return low, high
    pair = check_list(bounds, object, PAIR)
    if len(pair) != 2:
        raise ValueError(f"{PAIR}, got {len(pair)} values")
    least, most = (_like(end, x, "a bound") for end in pair)
    return xp.maximum(low, xp.minimum(x, least)), xp.minimum(high, xp.maximum(x, most))


def _like(value: Any, x: Array, what: str, least: float = -math.inf) -> Array:
    """Numbers that broadcast to x, in its dtype on the backend."""
    host = backend.numbers_of(value, what)
    if not (numpy.isfinite(host) & (host >= least)).all():
        raise ValueError(f"{what} must be finite{f' and at least {least:g}' if least == 0 else ''}, got {value!r}")
    try:
        fits = numpy.broadcast_shapes(host.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{what} must be a number, or broadcast to the inputs {x.shape}, got the shape {host.shape}")
    return backend.asarray(host, x.dtype)


# The report


class Victim(NamedTuple):
    """A network with its attached rule, and the loss of its training."""

    net: Network
    rule: Rule
    loss: Loss


@dataclass
class AttackReport:
    """What `measure` returns; printed, it is a table with the sentences that belong to it.

    Attributes:
        units: of eps.
        source: name of the network from which examples are transferred.
        rows: for each network and eps a dictionary: ``run``, ``rule``, ``eps``, ``examples``; the accuracies
            ``clean``, ``noise`` and, for each attack, ``fgsm_own``, ``fgsm_true``, ``fgsm_margin``, ``fgsm_transfer``;
            ``cosine`` and ``zero_gradients``. None where a quantity is not defined.
        refusals: by run, why it has no own or no true gradient.
    """

    units: Units
    source: str = "another"
    rows: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, list[str]] = field(default_factory=dict)

    @property
    def attacks(self) -> list[str]:
        """The names of the attacks, in their order."""
        return [key.removesuffix("_own") for key in self.rows[0] if key.endswith("_own")] if self.rows else []

    def __str__(self) -> str:
        if not self.rows:
            return "no network was attacked"
        heading = (
            f"Accuracy on {self.rows[0]['examples']:,} examples; eps in {self.units.name}. own, true: along the "
            "gradient of the loss that the rule computes, and along the true one; margin: along the true gradient of "
            f"the margin; from {self.source}: on examples made on that network."
        )
        return "\n\n".join([wrap(heading), *map(self._table, self.attacks), *map(wrap, self.notes())])

    def _table(self, attack: str) -> str:
        cells = [["run", "eps", "clean", "sign noise", *KINDS[:3], f"from {self.source}", "cosine", "zero grad."]]
        scores = ("clean", "noise", *(f"{attack}_{kind}" for kind in KINDS))
        for row in self.rows:
            accuracies = [_number(row[key], ".3f") for key in scores]
            compared = _number(row["cosine"], ".2f"), _number(row["zero_gradients"], ".0%")
            cells.append([row["run"], written(self.units, row["eps"]), *accuracies, *compared])
        return f"{attack.upper()}\n\n{table(cells, right_from=1)}"

    def notes(self) -> list[str]:
        """Sentences: why values are missing, and which of the others show no robustness."""
        first = {row["run"]: row for row in self.rows}
        cosines, zeros = (
            {run: row[key] for run, row in first.items() if row[key] is not None}
            for key in ("cosine", "zero_gradients")
        )
        turned = {run: cosine for run, cosine in cosines.items() if cosine < LOW_COSINE}
        masked = {run: share for run, share in zeros.items() if share > ZEROS}
        notes = [f"{run}: {reason}." for run, reasons in self.refusals.items() for reason in reasons]
        if turned:
            notes.append(
                "The accuracy under the rule's own gradient says nothing about robustness where that gradient points "
                f"elsewhere than the true one: {_values(turned, '.2f')} (cosine)."
            )
        if masked:
            notes.append(
                "The accuracy under the true gradient of the loss says nothing about robustness where that gradient is "
                f"exactly zero, here for {_values(masked, '.0%')} of the examples: read the margin."
            )
        return notes

    def save_csv(self, path: str | Path) -> None:
        """Write the rows to a CSV file; what is not defined has an empty cell. Raises OSError."""
        csv_files.write(path, list(self.rows[0]) if self.rows else [], self.rows)


def measure(
    networks: Mapping[str, tuple[Network, Rule, Loss]],
    examples: Examples,
    eps: Sequence[float],
    units: Units,
    attacks: Sequence[str] = ("fgsm", "pgd"),
    steps: int = 10,
    source: tuple[Network, Rule, Loss] | None = None,
    seed: int = 0,
) -> AttackReport:
    """Attack networks, and report their accuracies on the perturbed examples: random signs of the same size; each
    attack along the rule's own gradient, the true gradient of the loss and that of the margin; and the examples that
    the true gradient of another network gives (transfer).

    Args:
        networks: by name, each network with its attached rule and the loss of its training.
        examples: with class labels, as the networks expect them.
        eps: the sizes of the perturbation, in ``units``; equal ones count once.
        units: as `units_of` returns them.
        attacks: "fgsm", "pgd" or both.
        steps: of PGD.
        source: the network from which examples are transferred, with its rule and loss; it is not attacked with its
            own examples. None: no transfer.
        seed: of the random signs.

    Returns:
        The report. Its ``cosine`` is the mean over examples of the cosine of the rule's own and the true gradient of
        the loss at the unperturbed input, without the examples where one of them is zero; ``zero_gradients`` is the
        share of examples whose true gradient of the loss is exactly zero in every input.

    Raises:
        TypeError: an argument of the wrong type.
        RuntimeError: a rule is not attached to its network.
        ValueError: examples without classes, an unknown attack, or an eps below 0.
        minifa.metrics.NoInputGradient: the source has no true gradient.

    >>> data, loss = mf.data.load("digits"), mf.SoftmaxCrossEntropy()
    >>> networks = {}
    >>> for name in ("bp", "fa"):
    ...     net = mf.Network(mf.models.mlp(data.input_shape, 10, (32,)), input_shape=data.input_shape)
    ...     rule = mf.rules.make(name).attach(net)
    ...     history = mf.train(net, rule, data.train, loss, mf.Adam(0.01), epochs=3, progress=False)
    ...     networks[name] = net, rule, loss
    >>> report = mf.attacks.measure(networks, data.test, [0.05], mf.attacks.units_of(data), ["fgsm"])
    >>> bp, fa = report.rows
    >>> bp["fgsm_own"] == bp["fgsm_true"], fa["fgsm_own"] > fa["fgsm_true"], abs(fa["cosine"]) < 0.3
    (True, True, True)
    """
    check_type(units, Units, "units must be minifa.attacks.Units, as units_of returns them")
    report = AttackReport(units, "another" if source is None else _victim(source).rule.label)
    for _ in measure_into(report, networks, examples, eps, attacks, steps, source, seed):
        pass
    return report


def measure_into(
    report: AttackReport,
    networks: Mapping[str, tuple[Network, Rule, Loss]],
    examples: Examples,
    eps: Sequence[float],
    attacks: Sequence[str],
    steps: int,
    source: tuple[Network, Rule, Loss] | None,
    seed: int,
) -> Generator[dict[str, Any], None, None]:
    """`measure`, one row of the report after the other; each is returned, too."""
    victims = {name: _victim(one) for name, one in check_mapping(networks, "the networks").items()}
    check_type(examples, Examples, "examples must be minifa.data.Examples, such as data.test")
    if examples.y.ndim != 1:
        raise ValueError(f"an attack needs examples with classes, got targets of shape {examples.y.shape}")
    sizes = [check_float(one, "eps") for one in check_list(eps, object, "eps must be a list of numbers")]
    if not sizes or min(sizes) < 0:
        raise ValueError(f"eps must be a list of numbers of at least 0, got {eps!r}")
    if not check_list(attacks, str, "attacks must be a list of names"):
        raise ValueError(f"attacks must name one of {', '.join(ATTACKS)}, got {attacks!r}")
    for attack in attacks:
        check_choice(attack, "an attack", ATTACKS)
    steps, seed = check_int(steps, "steps"), check_seed(seed)
    other = None if source is None else _source(source)
    for name, victim in victims.items():
        compared, report.refusals[name] = _compare_gradients(victim, examples)
        objectives = _objectives(victim, other, compared)
        for size in dict.fromkeys(sizes):
            head = {"run": name, "rule": victim.rule.label, "eps": size, "examples": len(examples)}
            scores = _scores(victim, examples, size, report.units, _schedules(attacks, steps), objectives, seed)
            report.rows.append({**head, **scores, **{key: compared.get(key) for key in ("cosine", "zero_gradients")}})
            yield report.rows[-1]


def _victim(given: Any) -> Victim:
    parts = check_list(given, object, "each network must be given as (network, rule, loss)")
    if len(parts) != 3:
        raise ValueError(f"each network must be given as (network, rule, loss), got {len(parts)} values")
    check_parts(*parts)
    victim = Victim(*parts)
    if victim.rule.net is not victim.net:
        raise RuntimeError(
            f"the rule {victim.rule.label!r} is not attached to this network: call rule.attach(net) first"
        )
    return victim


def _source(given: Any) -> Victim:
    """A network on which examples can be made."""
    source = _victim(given)
    try:
        with input_gradients(*source, "true"):
            return source
    except NoInputGradient as error:
        raise NoInputGradient(f"the network of the transferred examples has no true gradient: {error}") from error


def _schedules(attacks: Sequence[str], steps: int) -> dict[str, tuple[int, float]]:
    """By attack: the number of steps, and the size of each as a fraction of eps."""
    return {attack: (1, 1.0) if attack == "fgsm" else (steps, 0.25) for attack in attacks}


def _compare_gradients(victim: Victim, examples: Examples) -> tuple[dict[str, float | None], list[str]]:
    """The cosine of the own and the true gradient and the share of zero gradients, as far as they are defined, with
    "own" if there is an own gradient; and the reasons for what is missing."""
    net, rule, loss = victim
    gradients: dict[str, list[Array]] = {}
    refusals = []
    for path in PATHS:
        try:
            gradients[path] = [input_gradient(net, rule, x, y, loss, path) for _, x, y in _batches(examples, net)]
        except NoInputGradient as error:
            refusals.append(str(error))
    compared: dict[str, float | None] = {"own": None} if "rule" in gradients else {}
    if "true" in gradients:
        zero = [float((xp.abs(g).reshape(len(g), -1).max(axis=1) == 0).sum()) for g in gradients["true"]]
        compared["zero_gradients"] = sum(zero) / len(examples)
    if len(gradients) == 2:
        angles = numpy.concatenate(
            [backend.to_host(sample_angles(*pair)) for pair in zip(*gradients.values(), strict=True)]
        )
        defined = angles[~numpy.isnan(angles)]
        compared["cosine"] = float(numpy.cos(numpy.radians(defined)).mean()) if defined.size else None
    return compared, refusals


Objective = tuple[Network, Rule, Loss, str]  # whose gradient an attack follows


def _objectives(victim: Victim, source: Victim | None, compared: Mapping[str, Any]) -> dict[str, Objective]:
    """The objectives of `KINDS` that exist."""
    net, rule, loss = victim
    objectives: dict[str, Objective] = {}
    if "own" in compared:
        objectives["own"] = net, rule, loss, "rule"
    if "zero_gradients" in compared:
        objectives.update(true=(net, rule, loss, "true"), margin=(net, rule, Margin(), "true"))
    if source is not None and source.net is not net:
        objectives["transfer"] = *source, "true"
    return objectives


def _scores(
    victim: Victim,
    examples: Examples,
    size: float,
    units: Units,
    schedules: Mapping[str, tuple[int, float]],
    objectives: Mapping[str, Objective],
    seed: int,
) -> dict[str, float | None]:
    """The accuracies of one row."""
    net, rule, _ = victim
    eps, bounds = size * units.size, units.bounds
    correct = dict.fromkeys(["clean", "noise", *(f"{attack}_{kind}" for attack in schedules for kind in objectives)], 0)
    for part, x, y in _batches(examples, net):
        tried = {"clean": x, "noise": sign_noise(x, eps, seed, part.start // BATCH, bounds)}
        for attack, (steps, step) in schedules.items():
            for kind, (of, by, loss, path) in objectives.items():
                tried[f"{attack}_{kind}"] = pgd(of, by, x, y, loss, path, eps, steps, step, bounds)
        for key, inputs in tried.items():
            correct[key] += int((net.classify(inputs, BATCH, rule) == y).sum())
    columns = ["clean", "noise", *(f"{attack}_{kind}" for attack in schedules for kind in KINDS)]
    return {key: correct[key] / len(examples) if key in correct else None for key in columns}


def _batches(examples: Examples, net: Network) -> Iterator[tuple[slice, Array, Any]]:
    """(where, inputs on the backend, classes) of one batch after the other."""
    for i in range(0, len(examples), BATCH):
        part = slice(i, i + BATCH)
        yield part, backend.asarray(examples.x[part], net.dtype), examples.y[part]


def _number(value: float | None, form: str) -> str:
    if value is None:
        return "-"
    text = f"{value:{form}}".replace("%", " %")
    return text.lstrip("-") if not text.strip("-0. %") else text  # not -0.00


def _values(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {_number(value, form)}" for name, value in values.items())
