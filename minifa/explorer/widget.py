"""`mf.explore`: the explorer in a notebook, for your own network, rule and batch.

The page in the notebook sends requests to the kernel as messages, and a session of the engine answers them (see
`minifa.explorer.session`). The work is done in threads, so that the kernel stays free for the next cell.
"""

from __future__ import annotations

__all__ = ["Requests", "explore"]

import contextvars
import copy
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from .. import backend, rules
from ..data.base import Dataset
from ..experiments.experiment import A_DATASET, default_loss
from ..losses import LOSSES, Loss
from ..network import Network
from ..optim import SGD, Optimizer
from ..rules.base import A_RULE, Rule
from ..text import install
from ..validation import check_list, check_type
from .arrays import Json
from .session import Session

if TYPE_CHECKING:
    from .notebook_widget import Explorer

USUAL_RULES = ("bp", "fa", "usf", "dfa")
A_NETWORK = "the network must be a minifa.Network"
Rules = Sequence["str | Rule | type[Rule]"]


def explore(
    net: Network,
    rule: Rule,
    batch: tuple[Any, Any],
    *,
    loss: Loss | None = None,
    optimizer: Optimizer | None = None,
    rules: Rules | None = None,
    data: Dataset | None = None,
    updates: int = 0,
    train_updates: int = 1000,
) -> Explorer:
    """Show a training step and training runs of your own network and rule in a notebook, as a widget.

    The widget has two chapters: one step, moment by moment, under your rule and others from the same weights; and a
    playground that trains under a rule, with a rate and a B of your choice. All numbers come from the engine in the
    kernel, live. Your objects are not changed: everything is done on copies of them, as they are now. Runs go on
    beside your cells; a new run, "Stop" and ``close()`` end them.

    Args:
        net: the network.
        rule: its rule, attached; of a class of your own, too.
        batch: (x, y), the batch of the step; x is (N, ...), y as for `minifa.rules.Rule.gradients`.
        loss: None: softmax cross-entropy for labels (sigmoid cross-entropy with a single output), otherwise half
            squared error.
        optimizer: None: ``SGD()``, with learning rate 0.01.
        rules: other rules to choose from: names with options (``"usf:scale=init"``), classes, or instances. None: bp,
            fa, usf and dfa, without those that cannot train this network (dfa needs one whose input shape is known).
        data: a data set for training runs, in batches of the size of ``batch``, and for the measurements of each
            snapshot. None: every update has the given batch, which is also what is measured.
        updates: updates under your rule before the step that is shown, 0 to 10,000.
        train_updates: length of a run for which the page gives none, 1 to 20,000.

    Returns:
        The widget. As the last value of a cell it is shown. ``close()`` ends its work.

    Raises:
        ImportError: the package anywidget is not installed.
        TypeError: an argument of the wrong type.
        ValueError: a batch that does not match the network, or two rules of the same name.
        RuntimeError: the rule is not attached to the network.

    >>> net = mf.Network([mf.Linear(2, 4), mf.Tanh(), mf.Linear(4, 2)], seed=0)
    >>> rule, data = mf.rules.FA(seed=0).attach(net), mf.data.load("xor")
    >>> widget = mf.explore(net, rule, (data.train.x, data.train.y), data=data)  # doctest: +SKIP
    """
    Explorer = _widget_class()
    check_type(net, Network, A_NETWORK)
    check_type(rule, Rule, A_RULE)
    if len(check_list(batch, object, "the batch must be a pair (x, y)")) != 2:
        raise ValueError(f"the batch must be a pair (x, y), got {len(batch)} items")
    loss = _loss_for(net, batch, data) if loss is None else loss
    optimizer = SGD() if optimizer is None else optimizer
    others = _usual_rules(net, rule) if rules is None else _instances(rules, rule)
    session = Session.of_objects(net, rule, loss, optimizer, batch, others, data, updates, train_updates)
    return Explorer(session)


def _widget_class() -> type[Explorer]:
    """The class of the widget. Raises ImportError with the command that installs what it needs."""
    try:
        from .notebook_widget import Explorer
    except ImportError as error:
        raise ImportError(
            f"mf.explore requires the package anywidget: {install('notebook')}, then restart the kernel"
        ) from error
    return Explorer


def _loss_for(net: Network, batch: Sequence[Any], data: Dataset | None) -> Loss:
    if data is not None:
        return LOSSES[default_loss(check_type(data, Dataset, A_DATASET))]()
    y = numpy.asarray(backend.to_host(batch[1]))
    if y.dtype.kind not in "iu" or y.ndim != 1:
        return LOSSES["half_squared_error"]()
    outputs = math.prod(net.output_shape or net.output_layer.weight_shape[-1:])
    return LOSSES["sigmoid_cross_entropy" if outputs == 1 else "softmax_cross_entropy"]()


def _usual_rules(net: Network, rule: Rule) -> list[str | Rule]:
    """The usual rules that can train this network."""
    possible: list[str | Rule] = []
    for name in USUAL_RULES:
        try:
            rules.make(name, seed=rule.seed).attach(copy.deepcopy(net))
        except ValueError:
            continue
        possible.append(name)
    return possible


def _instances(given: Any, own: Rule) -> list[str | Rule]:
    """The rules, with an instance in place of each class; it has the seed of the network's own rule."""
    what = "the other rules must be a list of names, of classes of rules, or of minifa.rules.Rule objects"
    made: list[str | Rule] = []
    for one in check_list(given, (str, Rule, type), what):
        if isinstance(one, type):
            if not issubclass(one, Rule):
                raise TypeError(f"{what}, got the class {one.__name__}")
            one = one(seed=own.seed)
        made.append(one)
    return made


class Requests:
    """Answers the requests of a page in threads: films one after another, one run at a time.

    Args:
        session: answers them.
        send: sends a message to the page; called from several threads, one at a time.

    Raises:
        TypeError: an argument of the wrong type.
    """

    def __init__(self, session: Session, send: Callable[[Json], object]) -> None:
        self.session = check_type(session, Session, "the session must be a minifa.explorer.session.Session")
        if not callable(send):
            raise TypeError(f"send must be callable with a message, got {send!r}")
        self._send_to_page = send
        self._context = contextvars.copy_context()  # with the backend of the cell that made the widget
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._run: tuple[threading.Event, threading.Thread] | None = None  # the current one, with what stops it

    def receive(self, request: Any) -> None:
        """Start to answer a request (see `minifa.explorer.session`). A new run, and the command "stop", end the run
        before it; a request with errors is answered with a sentence."""
        command = request.get("command") if isinstance(request, dict) else None
        if self._closed.is_set():
            return
        if command == "stop":
            self.stop()
            self._send({"id": request.get("id"), "done": True})
            return
        stop = threading.Event()
        before = self.stop() if command == "run" else None
        thread = threading.Thread(
            target=self._context.copy().run, args=(self._answer, request, stop, before), name="mf.explore", daemon=True
        )
        if command == "run":
            self._run = stop, thread
        thread.start()

    def stop(self) -> threading.Thread | None:
        """Let the current run end after its update.

        Returns:
            The thread of the run, None without a run.
        """
        if self._run is None:
            return None
        stop, thread = self._run
        stop.set()
        return thread

    def close(self) -> None:
        """End all work after its current update; later requests are ignored."""
        self._closed.set()

    def _answer(self, request: Any, stop: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        for message in self.session.answers(request, lambda: stop.is_set() or self._closed.is_set()):
            self._send(message)

    def _send(self, message: Json) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._send_to_page(message)
