"""``minifa explore``: one self-contained HTML page to step through a training step and to browse a short training run.

All values are computed here by the training code; the page (``explorer.html``) only displays them. Its
numbers are bitwise equal to the arrays, its angles are those of `metrics`.
"""

from __future__ import annotations

__all__ = ["explore", "write"]

import base64
import importlib.resources
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import numpy.typing as npt

from .. import backend, experiments, metrics, rules
from ..chance import Band, bands_in_time, unrelated_entries, weight_band
from ..data.augment import for_evaluation
from ..data.base import Dataset
from ..environment import __version__
from ..experiments import Experiment
from ..experiments.experiment import AN_EXPERIMENT, MEASURED_ON, augmentation_of, describe_options
from ..network import Network
from ..rules.base import Rule
from ..storage.atomic import expanded, write_atomic
from ..training import Trainer
from ..validation import check_int, check_list, check_str, check_type
from .recorder import ERRORS, W_AND_B, Moment, Trace
from .stepper import Replay

MOST_BYTES = 25_000_000  # maximum size of a page, so that browsers open it quickly and it fits into an e-mail
SNAPSHOTS = 36
TESTED_ON = 1000  # maximum number of test examples for loss and accuracy at every snapshot
SLOT = "__DATA__"  # placeholder in the template

Json = dict[str, Any]


def explore(
    experiment: Experiment,
    data: Dataset,
    rule_names: Sequence[str],
    updates: int = 0,
    train_updates: int = 1000,
    progress: Callable[[], object] = lambda: None,
) -> str:
    """The page as HTML text: one step and one training run under every rule, with the same initial weights and batches.

    Args:
        experiment: network, data and training options; its own rule is not used.
        data: the data set of the experiment.
        rule_names: rules with their options, ``"usf:scale=init"``; the first one is displayed first.
        updates: number of updates under the first rule before the displayed step.
        train_updates: number of updates of the training run, from the initial weights. About `SNAPSHOTS` of them are
            stored, more densely at the start.
        progress: called after every step and every update, for a progress bar.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: no rule, an unknown rule, a rule that cannot train this network, or a page above `MOST_BYTES`.
    """
    rule_names = check_list(rule_names, str, "the rules must be a list of names, as ['bp', 'fa']")
    if not rule_names:
        raise ValueError("the list of rules must not be empty: name at least one rule")
    check_type(experiment, Experiment, AN_EXPERIMENT)
    train_updates = check_int(train_updates, "the number of training updates", least=0)
    if not callable(progress):
        raise TypeError(f"progress must be callable without arguments, got {progress!r}")
    table = _Table()
    replay = Replay(replace(experiment, rule=rule_names[0]), data, updates)
    steps = {}
    for name in rule_names:
        steps[name] = _step(replay.trace(name), replay.error_bands(name), table)
        progress()
    runs = {name: _run(replace(experiment, rule=name), data, train_updates, table, progress) for name in rule_names}
    trace = replay.trace(rule_names[0])
    content = {
        "version": __version__,
        "facts": _describe_step(experiment, data, trace, updates),
        "classes": list(data.classes),
        "rules": [_describe_rule(name) for name in rule_names],
        "layers": [{"name": name, "kind": kind, "shape": shape} for name, kind, shape in trace.net_layers],
        "films": steps,
        "at": _snapshot_updates(train_updates),
        "runs": runs,
        "chance": {name: _chance(replace(experiment, rule=name), data) for name in rule_names},
        "arrays": table.packed(),
    }
    page = _fill_template(content)
    _check_size(len(page))
    return page


def write(page: str, path: str | Path) -> Path:
    """Write the page to a new file, completely or not at all. If the path exists, -2, -3, ... is added to the name.

    Returns:
        The path of the file.

    Raises:
        TypeError: the page is not a str.
        OSError: the file cannot be written.
    """
    check_str(page, "a page")
    target = _claim(expanded(path))
    try:
        write_atomic(target, page)
    except BaseException:  # including Ctrl-C: remove the empty file
        target.unlink(missing_ok=True)
        raise
    return target


def _claim(wanted: Path) -> Path:
    """Create an empty file under an unused name."""
    if wanted.is_dir():
        raise IsADirectoryError(f"{wanted} is a folder: name a file in it, such as {wanted / 'page.html'}")
    wanted.parent.mkdir(parents=True, exist_ok=True)
    candidate, number = wanted, 1
    while True:
        try:
            candidate.touch(exist_ok=False)
            return candidate
        except FileExistsError:
            number += 1
            candidate = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")


# The numbers


class _Table:
    """Table of all distinct arrays; the rest of the page refers to an array by its index."""

    def __init__(self) -> None:
        self.indices: dict[tuple[tuple[int, ...], str, bytes], int] = {}
        self.bytes = 0

    def index(self, array: npt.NDArray[Any]) -> int:
        """The index of an array, which is added if it is new. Floats are stored exactly; integers (labels) become
        float64, which represents them exactly."""
        kind = "f4" if array.dtype == numpy.float32 else "f8"
        key = array.shape, kind, array.astype(f"<{kind}").tobytes()
        if key not in self.indices:
            self.indices[key] = len(self.indices)
            self.bytes += 4 * len(key[2]) // 3
            _check_size(self.bytes)
        return self.indices[key]

    def packed(self) -> list[Any]:
        """A list [shape, "f4" or "f8", little-endian bytes in base64] for each array."""
        return [[shape, kind, base64.b64encode(bits).decode("ascii")] for shape, kind, bits in self.indices]


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(
            f"the page would be larger than {MOST_BYTES / 1e6:.0f} MB: use a smaller network (--hidden, --depth), "
            "a smaller --batch-size or fewer --rules"
        )


def _number(value: Any) -> float | str | None:
    """Convert a number for JSON, which does not support nan and inf: those become str."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else str(number)


# The step


def _step(trace: Trace, bands: Mapping[str, Band], table: _Table) -> list[Json]:
    indices: dict[str, int] = {}  # current array of every name
    moments = []
    for moment, (kind, layer, count) in zip(trace, trace.keys, strict=True):
        before = dict(indices)
        indices.update({name: table.index(numpy.asarray(moment.arrays[name])) for name in moment.new})
        terms = {symbol: _term(moment, symbol, value, indices, before, table) for symbol, value in moment.terms.items()}
        moments.append(
            {
                "kind": kind,
                "layer": layer,
                "key": f"{kind} {layer} {count}",
                "title": moment.title,
                "why": moment.why,
                "equation": moment.equation,
                "terms": {symbol: term for symbol, term in terms.items() if term is not None},
                "new": {name: indices[name] for name in moment.new},
                "angles": moment.angles,
                "chance": _chance_of(moment, bands),
            }
        )
    return moments


def _chance_of(moment: Moment, bands: Mapping[str, Band]) -> Json:
    """The angles that chance gives, [lowest, highest], for the angles of this moment where they are known."""
    known: dict[str, Band | None] = {}
    B = moment.arrays.get(f"{moment.layer}.B")
    if W_AND_B in moment.angles and B is not None:
        known[W_AND_B] = weight_band(unrelated_entries(B))
    if ERRORS in moment.angles:
        known[ERRORS] = bands.get(next(name for name in moment.new if name.endswith(".delta")).removesuffix(".delta"))
    return {label: [band.low, band.high] for label, band in known.items() if band is not None}


def _term(
    moment: Moment, symbol: str, value: Any, indices: Mapping[str, int], before: Mapping[str, int], table: _Table
) -> Any:
    """A number, or the index and name of an array."""
    if value is None or not numpy.shape(value):
        return _number(value)
    index = table.index(value)
    names = [name for name, other in [*indices.items(), *before.items()] if other == index]
    return {"array": index, "name": _best_name(moment, symbol, names)}


def _best_name(moment: Moment, symbol: str, names: Sequence[str]) -> str:
    """The name that fits the symbol best among arrays with equal values (under backpropagation W is B)."""
    here = f"{moment.layer}.{symbol}" if moment.layer else symbol
    bare = re.sub(r"_(\d+|below|above|new)$", "", symbol)

    def fit(name: str) -> tuple[bool, ...]:
        return name == here, name == symbol, name.rpartition(".")[2] == bare, name in moment.new, "@" not in name

    return max(names, key=fit, default="")


def _describe_rule(name: str) -> Json:
    rule = rules.make(name)
    texts = {key: getattr(rule, key) for key in ("title", "equation", "paper", "needs")}
    return {"name": name, **texts, "paired": rule.B_corresponds_to_W}


def _describe_step(experiment: Experiment, data: Dataset, trace: Trace, updates: int) -> list[str]:
    x = trace[0].terms["x"]
    optimizer = f"{experiment.optimizer}, learning rate {experiment.rate():g}"
    return [
        f"{data.name}, {'x'.join(map(str, x.shape[1:]))} per example",
        f"model {experiment.model} {describe_options(experiment.model_options)}".rstrip(),
        f"batch of {len(x)}",
        optimizer,
        f"seed {experiment.seed}",
        f"the step after {updates} updates under {trace.rule}" if updates else "the first step",
    ]


# The training run


def _snapshot_updates(updates: int) -> list[int]:
    """The numbers of updates at which a snapshot is taken: 0, then geometrically spaced from 1 to the last one."""
    spaced = numpy.geomspace(1, updates, min(SNAPSHOTS - 1, updates)).round().astype(int)
    return [0, *sorted({int(one) for one in spaced})]


def _run(
    experiment: Experiment, data: Dataset, updates: int, table: _Table, progress: Callable[[], object]
) -> list[Json]:
    """The snapshots of a training run, which ends early if the loss is not finite."""
    net, rule, loss, optimizer = experiments.build(experiment, data)
    augmentation = augmentation_of(experiment)
    snapshots = _Snapshots(Trainer(net, rule, loss, optimizer, augmentation=augmentation), data, table)
    batches = Replay(experiment, data)
    at, taken = _snapshot_updates(updates), [snapshots.take()]
    with backend.quiet():  # a diverging run ends without warnings
        for update in range(1, updates + 1):
            batch = batches.batch()
            rule.gradients(net, backend.asarray(batch.x, net.dtype), batch.y, loss)
            optimizer.step(net, rule)
            batches.step = update
            progress()
            if update in at:
                snapshot = snapshots.take()
                if not math.isfinite(snapshot["loss"]):
                    break
                taken.append(snapshot)
    return taken


def _chance(experiment: Experiment, data: Dataset) -> Json:
    """By layer and angle: the angles that chance gives, [lowest, highest], for the errors before training."""
    net, rule, loss, _ = experiments.build(experiment, data)
    measured = data.train.head(MEASURED_ON)
    x = backend.asarray(for_evaluation(measured.x, augmentation_of(experiment)), net.dtype)
    errors = bands_in_time(net, rule, x, measured.y, loss)
    bands = {
        layer.name: {"weight_angle": weight_band(unrelated_entries(layer.W)), "true_angle": errors.get(layer.name)}
        for layer in net.weighted
    }
    return {
        layer: {angle: [band.low, band.high] for angle, band in both.items() if band is not None}
        for layer, both in bands.items()
    }


class _Snapshots:
    """Takes snapshots of a network during training, always measured on the same examples."""

    def __init__(self, trainer: Trainer, data: Dataset, table: _Table) -> None:
        self.trainer, self.table = trainer, table
        self.measured, self.tested = data.train.head(MEASURED_ON), data.test.head(TESTED_ON)
        self.start: dict[str, npt.NDArray[Any]] = {}

    def take(self) -> Json:
        """A snapshot: loss, accuracy (None without classes), and for every matrix its index and its relative change,
        norm(matrix - start) / norm(start). Layers also have their angles and the fraction of agreeing signs of W and
        B."""
        net, rule = self.trainer.net, self.trainer.rule
        x = backend.asarray(for_evaluation(self.measured.x, self.trainer.augmentation), net.dtype)
        aligned = metrics.alignment(net, rule, x, self.measured.y, self.trainer.loss)
        layers = {
            layer.name: {
                "W": self._matrix(f"{layer.name}.W", layer.W),
                **{key: aligned[layer.name][key] for key in ("weight_angle", "true_angle", "sign_agreement")},
            }
            for layer in net.weighted
        }
        feedback = {name: self._matrix(f"{name}.B", B) for name, B in _feedback(net, rule).items()}
        score = self.trainer.evaluate(self.tested)
        return {"loss": score["loss"], "accuracy": score.get("accuracy"), "layers": layers, "feedback": feedback}

    def _matrix(self, name: str, array: Any) -> Json:
        matrix = numpy.array(backend.to_host(array))
        start = self.start.setdefault(name, matrix)
        norm = float(numpy.linalg.norm(start))
        moved = float(numpy.linalg.norm(matrix - start)) / norm if norm else None
        return {"array": self.table.index(matrix), "moved": None if moved is None else _number(moved)}


def _feedback(net: Network, rule: Rule) -> dict[str, Any]:
    """The current feedback matrices (after an update, `Rule.B` still holds those of the last pass)."""
    with rule.preserved():
        current = {layer.name: rule.feedback(layer) for layer in rule.layers_with_feedback(net)}
    return {**rule.B, **{name: B for name, B in current.items() if B is not None}}


# The page


def _fill_template(content: Json) -> str:
    """Insert the content into the template's JSON script element. "<" is escaped, because names are arbitrary text."""
    template = importlib.resources.files("minifa").joinpath("tracing/explorer.html").read_text(encoding="utf-8")
    before, _, after = template.partition(SLOT)
    return before + json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c") + after
