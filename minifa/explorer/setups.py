"""Where a page's networks come from: an experiment with its data set, or objects that exist already."""

from __future__ import annotations

__all__: list[str] = []

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from .. import backend, experiments
from ..chance import Band, bands_in_time
from ..data.base import Dataset, Examples
from ..experiments import Experiment
from ..experiments.experiment import A_DATASET, AN_EXPERIMENT, augmentation_of
from ..losses import Loss
from ..models import MODELS
from ..network import Network
from ..optim import AN_OPTIMIZER, Optimizer
from ..registry import constructor_settings, lookup, option_names, unknown
from ..rules import RULES, make
from ..rules.base import Rule, check_parts
from ..tracing.recorder import Trace, trace
from ..tracing.stepper import Replay, batches_in_order, check_finite, make_update
from ..training import Trainer
from ..validation import check_int, check_list, check_type
from .arrays import ArrayTable, Json
from .films import describe_rule
from .live_start import live_start, wrong_labels
from .page import describe_step
from .parameters import Painted, RunParameters, check_weights

MOST_TRACES = 8  # that are kept, of one step
BatchOf = Callable[[int], Examples]  # the batch of each update, counted from 0
Parts = tuple[Network, Rule, Loss, Optimizer]
Check = Callable[[], object]  # called between two updates; what it raises ends the work


class ExperimentSetup:
    """The networks of an experiment: a page may change its rate, widths, seed and labels.

    Attributes:
        rules: the names of the rules that the page shows.
        can: what a page may change in a run: True, or a sentence that says why not.
    """

    def __init__(self, experiment: Experiment, data: Dataset, rule_names: Sequence[str]) -> None:
        self.rules = checked_names(rule_names)
        self.experiment = replace(check_type(experiment, Experiment, AN_EXPERIMENT), rule=self.rules[0])
        self.data = check_type(data, Dataset, A_DATASET)
        self.can = {"lr": True, "seed": True, "hidden": self._widths() or True, "noise": labels_of(data) or True}
        self.replay = Replay(self.experiment, data)

    def describe(self, updates: int, table: ArrayTable) -> Json:
        """The part of a page's content that depends on the networks; its arrays are added to the table."""
        net = experiments.build(self.experiment, self.data)[0]
        shape = self.replay.batch().x.shape
        known = inspect.signature(MODELS[self.experiment.model]).parameters
        hidden = self.experiment.model_options.get("hidden", known["hidden"].default if "hidden" in known else None)
        return {
            "facts": describe_step(self.experiment, self.data, shape, updates, self.rules[0]),
            "classes": list(self.data.classes),
            "rules": [describe_rule(name) for name in self.rules],
            "layers": describe_layers(net),
            "defaults": {"lr": self.experiment.rate(), "hidden": hidden, "seed": self.experiment.seed},
            **({} if (live := live_start(self.experiment, self.data, table)) is None else {"live": live}),
        }

    def step(self, rule: str, updates: int, check: Check) -> tuple[Trace, dict[str, Band]]:
        """The trace of the step under a rule after so many updates under the first one, and the bands of chance of its
        errors."""
        make(rule)  # before the updates
        if updates < self.replay.step:
            self.replay = Replay(self.experiment, self.data)
        while self.replay.step < updates:
            check()
            self.replay.advance(self.experiment.rule)
        if len(self.replay.traces) >= MOST_TRACES:
            self.replay.traces.clear()
        return self.replay.trace(rule), self.replay.error_bands(rule)

    def training(self, params: RunParameters) -> tuple[Trainer, Dataset, BatchOf]:
        """The trainer of a run before its first update, its data and its batches. Raises TypeError, ValueError."""
        changed = replace(self.experiment, rule=with_angle(params.rule, params.angle))
        if params.lr is not None:
            changed = replace(changed, lr=params.lr)
        if params.seed is not None:
            changed = replace(changed, seed=params.seed)
        if params.hidden is not None:
            changed = replace(changed, model_options={**changed.model_options, "hidden": self._hidden(params.hidden)})
        data = with_wrong_labels(self.data, params.noise, changed.seed)
        trainer = Trainer(*experiments.build(changed, data), augmentation=augmentation_of(changed))
        paint(trainer.rule, params.feedback)
        return trainer, data, Replay(changed, data).batch_of

    def _widths(self) -> str:
        """Why the widths cannot be changed; "" if they can."""
        known = inspect.signature(lookup(MODELS, self.experiment.model, "model")).parameters
        return "" if "hidden" in known else f"the model {self.experiment.model!r} has no widths that can be chosen here"

    def _hidden(self, widths: tuple[int, ...]) -> tuple[int, ...] | int:
        """The widths as the model takes them: some have one hidden layer, of one width."""
        if reason := self._widths():
            raise ValueError(reason)
        check_weights([math.prod(self.data.input_shape), *widths, self.data.n_out])
        if not isinstance(inspect.signature(MODELS[self.experiment.model]).parameters["hidden"].default, int):
            return widths
        if len(widths) != 1:
            raise ValueError(f"the model {self.experiment.model!r} has one hidden layer, got {len(widths)} widths")
        return widths[0]


class ObjectSetup:
    """A network, rule, loss and optimizer that exist already: all work is done on copies of them.

    Attributes: as `ExperimentSetup`.
    """

    def __init__(
        self,
        parts: Parts,
        batch: tuple[Any, Any],
        rules: Iterable[str | Rule] = (),
        data: Dataset | None = None,
    ) -> None:
        net, rule, loss, optimizer = parts
        check_parts(net, rule, loss)
        check_type(optimizer, Optimizer, AN_OPTIMIZER)
        self.parts = copy.deepcopy(parts)  # later changes of the objects do not change the page
        given = check_list(
            rules, (str, Rule), "the other rules must be a list of names or of minifa.rules.Rule objects"
        )
        given = [other for other in given if other != rule.label]  # the network's own rule comes first
        self.rules = checked_names([rule.label, *(one if isinstance(one, str) else one.label for one in given)])
        self.others: dict[str, str | Rule] = dict(zip(self.rules[1:], copy.deepcopy(given), strict=True))
        check_type(batch, (tuple, list), "the batch must be a pair (x, y)")
        if len(batch) != 2:
            raise ValueError(f"the batch must be a pair (x, y), got {len(batch)} items")
        x, y = (numpy.asarray(backend.to_host(one)) for one in batch)
        self.parts[1].check_batch(self.parts[0], backend.asarray(x, net.dtype), y, loss)
        self.batch = Examples(numpy.array(x, dtype=net.dtype), numpy.array(y))
        self.data = data if data is None else check_type(data, Dataset, A_DATASET)
        self.can = {
            "lr": True,
            "seed": True
            if data is not None
            else "without a data set every update has the same batch: there is no order",
            "hidden": "the page shows your own network: change its widths where you made it",
            "noise": labels_of(data) or True if data is not None else "labels are changed in a data set: give data=",
        }

    def describe(self, updates: int, table: ArrayTable) -> Json:
        """As `ExperimentSetup.describe`."""
        net, rule, _, optimizer = self.parts
        shown = {name: other if isinstance(other, Rule) else None for name, other in self.others.items()}
        made = f"the step after {updates} updates under {rule.label}" if updates else "the first step"
        return {
            "facts": [
                f"your network, {'x'.join(map(str, self.batch.x.shape[1:]))} per example",
                f"batch of {len(self.batch)}",
                f"{type(optimizer).__name__.lower()}, learning rate {optimizer.lr:g}",
                made,
            ],
            "classes": list(self._dataset().classes),
            "rules": [describe_rule(name, one) for name, one in {rule.label: rule, **shown}.items()],
            "layers": describe_layers(net),
            "defaults": {"lr": optimizer.lr, "hidden": None, "seed": 0},
        }

    def step(self, rule: str, updates: int, check: Check) -> tuple[Trace, dict[str, Band]]:
        """As `ExperimentSetup.step`; the updates use the batches of a run, the step itself the given batch."""
        net, own, loss, optimizer = copy.deepcopy(self.parts)
        batch = self._batches(self.data, 0)
        for update in range(updates):
            check()
            make_update(net, own, loss, optimizer, batch(update))
            check_finite(net)
        attached = self._attached(rule, net, own)
        x = backend.asarray(self.batch.x, net.dtype)
        with backend.quiet():
            bands = bands_in_time(net, attached, x, self.batch.y, loss)
        recorded = trace(net, attached, x, self.batch.y, loss, optimizer)
        recorded.rule = rule
        return recorded, bands

    def training(self, params: RunParameters) -> tuple[Trainer, Dataset, BatchOf]:
        """As `ExperimentSetup.training`."""
        for name, wanted in (("hidden", params.hidden), ("seed", params.seed), ("noise", params.noise or None)):
            if wanted is not None and self.can[name] is not True:
                raise ValueError(str(self.can[name]))
        net, own, loss, optimizer = copy.deepcopy(self.parts)
        rule = self._attached(params.rule, net, own, params.angle)
        if params.lr is not None:
            optimizer.lr = params.lr
        data = with_wrong_labels(self._dataset(), params.noise, params.seed or 0)
        paint(rule, params.feedback)
        batch = self._batches(None if self.data is None else data, params.seed or 0)
        return Trainer(net, rule, loss, optimizer), data, batch

    def _attached(self, name: str, net: Network, own: Rule, angle: float | None = None) -> Rule:
        """The rule of this name for the copied network: its own, one of the others, or a registered one; with a B at
        this angle, if one was asked for."""
        rule = own if name == own.label else self.others.get(name, name)
        if isinstance(rule, str):
            return make(with_angle(rule, angle), seed=own.seed).attach(net)
        if angle is not None:
            check_has_angle(rule.label, type(rule))
            return type(rule)(**{**constructor_settings(rule), "angle": angle}).attach(net)
        return own if rule is own else copy.deepcopy(rule).attach(net)

    def _batches(self, data: Dataset | None, seed: int) -> BatchOf:
        if data is None:
            return lambda step: self.batch
        return batches_in_order(data.train, len(self.batch), seed)

    def _dataset(self) -> Dataset:
        """The data set; without one the batch, which then is all that can be measured."""
        if self.data is not None:
            return self.data
        n_out = math.prod(self.parts[0].layers[-1].output_shape or self.parts[0].output_layer.weight_shape[-1:])
        labelled = self.batch.y.ndim == 1
        classes = tuple(map(str, range(max(2, n_out)))) if labelled else ()
        return Dataset("your batch", self.batch, self.batch, classes, single_output=labelled and n_out == 1)


def checked_names(names: Sequence[str]) -> list[str]:
    """The names of rules as a list. Raises TypeError, ValueError for no name or for one given twice."""
    names = check_list(names, str, "the rules must be a list of names, as ['bp', 'fa']")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"the rules must be one or more different names, got {', '.join(names) or 'none'}")
    return names


def describe_layers(net: Network) -> list[Json]:
    return [{"name": layer.name, "kind": layer.kind, "shape": layer.output_shape} for layer in net]


def labels_of(data: Dataset) -> str:
    """Why a data set has no labels that could be wrong; "" if it has."""
    return "" if data.classes else f"the data set '{data.name}' has targets, not labels that could be wrong"


def with_angle(rule: str, angle: float | None) -> str:
    """The description of a rule with the option ``angle``, if one was asked for. Raises ValueError if the rule has no
    such option."""
    if angle is None:
        return rule
    name, _, options = rule.partition(":")
    if name in RULES:
        check_has_angle(name, RULES[name])
    return f"{name}:{options + ',' if options else ''}angle={angle!r}"


def check_has_angle(name: str, cls: Callable[..., Rule]) -> None:
    """Raise ValueError unless this class of rules has the option ``angle``."""
    if not _has_angle(cls):
        having = [known for known, one in RULES.items() if _has_angle(one)]
        raise ValueError(f"the rule {name!r} has no fixed B at an angle to W: choose {' or '.join(having)}")


def _has_angle(cls: Callable[..., Rule]) -> bool:
    return "angle" in option_names(cls)


def with_wrong_labels(data: Dataset, share: float, seed: int) -> Dataset:
    """The data set with a share of its training labels replaced by wrong ones, drawn for the seed."""
    if share == 0:
        return data
    if reason := labels_of(data):
        raise ValueError(reason)
    wrong = wrong_labels(data.train.y, len(data.classes), seed, share)
    return replace(data, train=Examples(data.train.x, wrong))


def paint(rule: Rule, painted: Mapping[str, Mapping[int, float]] | Painted) -> None:
    """Replace entries of the rule's matrices. Raises ValueError for a matrix that the rule does not have, or an index
    beyond it."""
    for name, cells in painted.items():
        if name not in rule.memory:
            raise ValueError(unknown(rule.memory, name[:100], f"matrix of the rule {rule.label!r}"))
        matrix = numpy.array(backend.to_host(rule.memory[name]))
        for index, value in cells.items():
            matrix.flat[check_int(index, f"an index in B of {name!r}", least=0, most=matrix.size - 1)] = value
        rule.set_feedback(name, matrix)
