"""The engine behind one page: it answers the page's requests with messages. The server (`minifa.explorer.server`) and
the notebook widget only carry the messages.

    request    {"id": text or number, "command": "describe" | "film" | "run", "params": {...}}
    answers    {"id", "content": {...}}                            describe: one
               {"id", "film": [moment, ...], "arrays": [...]}      film: one
               {"id", "snapshot": {...}, "arrays": [...]}          run: one for each snapshot, as they are taken;
               {"id", "chance": {...}}                             once, after the first snapshot;
               {"id", "done": true, "diverged": null | text}       at the end
               {"id", "error": "a sentence"}                       instead of all further answers
               {"id", "stopped": true}                             instead of all further answers

Every message has its own arrays (see `minifa.explorer.arrays`). The command "stop" ends the current run of a page; it
belongs to what carries the messages, which lets `stopped` be true.

    params of film    rule; updates: before the step that is shown, under the first rule of the session
    params of run     rule; updates; lr; hidden: [widths]; seed; noise: share of wrong training labels, 0 to 1;
                      angle: degrees between the fixed B and the initial W, or null;
                      feedback: {layer: [[index, value], ...]}, entries of B that replace the drawn ones, by their
                      index in the flattened matrix

Whatever is left out has the session's own value.
"""

from __future__ import annotations

__all__: list[str] = []

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..console import print_stderr
from ..data.base import Dataset
from ..environment import __version__
from ..experiments import Experiment
from ..losses import Loss
from ..network import Network
from ..optim import Optimizer
from ..registry import unknown
from ..rules.base import Rule
from ..text import one_line
from ..validation import check_int
from . import grid
from .arrays import MOST_BYTES, ArrayTable, Json
from .films import film
from .parameters import MOST_UPDATES, MOST_UPDATES_BEFORE, RunParameters, read_film, read_run
from .runs import CHANCE_HOW, Snapshots, snapshot_updates, train
from .setups import BatchOf, ExperimentSetup, ObjectSetup

COMMANDS = ("describe", "film", "run")
WAIT = 0.05  # seconds between two questions whether a film that waits for another one is stopped
LONGEST_ID = 100  # characters
LONGEST_ERROR = 500  # characters of an error message


class Stopped(Exception):
    """Work was stopped: its page asked for it, or is gone."""


def never() -> bool:
    """The `stopped` of work that is not stopped."""
    return False


class Session:
    """Answers the requests of pages. Several threads may use it at once.

    Args:
        setup: where the networks come from; use `Session.of_experiment` or `Session.of_objects`.
        updates: updates before the step that the page shows first, 0 to 10,000.
        train_updates: length of a run for which the page gives none, 1 to 20,000.

    >>> from minifa.experiments import Experiment
    >>> from minifa.explorer.session import Session
    >>> experiment = Experiment(data="xor", model="tiny", lr=0.5, batch_size=4)
    >>> session = Session.of_experiment(experiment, mf.data.load("xor"), ["bp", "fa"])
    >>> [sorted(message) for message in session.run({"rule": "fa", "updates": 1})]
    [['arrays', 'snapshot'], ['chance'], ['arrays', 'snapshot'], ['diverged', 'done']]
    """

    def __init__(self, setup: ExperimentSetup | ObjectSetup, updates: int = 0, train_updates: int = 1000) -> None:
        if not isinstance(setup, (ExperimentSetup, ObjectSetup)):
            raise TypeError(f"make a session with Session.of_experiment or Session.of_objects, got {setup!r}")
        self.setup = setup
        self.updates = check_int(updates, "the number of updates", least=0, most=MOST_UPDATES_BEFORE)
        self.train_updates = check_int(train_updates, "the number of training updates", most=MOST_UPDATES)
        self._content: Json | None = None
        self._lock = threading.Lock()  # one film at a time: its setup keeps the updates before the step

    @classmethod
    def of_experiment(
        cls,
        experiment: Experiment,
        data: Dataset,
        rule_names: Sequence[str],
        updates: int = 0,
        train_updates: int = 1000,
    ) -> Session:
        """A session for an experiment and its data set.

        Args:
            experiment: network, data and training options; its rule, schedule and phases are not used.
            data: the data set of the experiment.
            rule_names: the rules that the page shows, with their options; the first one makes the updates before the
                step of a film. A page may ask for any other registered rule, too.
            updates, train_updates: as for the constructor.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: no rule, or one given twice; a number out of range.
        """
        return cls(ExperimentSetup(experiment, data, rule_names), updates, train_updates)

    @classmethod
    def of_objects(
        cls,
        net: Network,
        rule: Rule,
        loss: Loss,
        optimizer: Optimizer,
        batch: tuple[Any, Any],
        rules: Sequence[str | Rule] = (),
        data: Dataset | None = None,
        updates: int = 0,
        train_updates: int = 1000,
    ) -> Session:
        """A session for your own objects. They are copied now, so that they do not change.

        Args:
            net: the network.
            rule: its rule, attached; it makes the updates before the step of a film.
            loss, optimizer: as for `minifa.Trainer`.
            batch: (x, y), the batch of the step that is shown. Without data it is also the batch of every update, and
                loss, accuracy and angles are measured on it.
            rules: other rules for the same weights: their descriptions, or rules that need not be attached.
            data: a data set for the updates, in batches of the size of ``batch``.
            updates, train_updates: as for the constructor.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: a batch that does not match the network, or two rules of the same name.
            RuntimeError: the rule is not attached to the network.

        >>> from minifa.explorer.session import Session
        >>> net = mf.Network([mf.Linear(2, 3), mf.Tanh(), mf.Linear(3, 2)])
        >>> rule, loss = mf.rules.FA().attach(net), mf.SoftmaxCrossEntropy()
        >>> session = Session.of_objects(net, rule, loss, mf.SGD(lr=0.1), ([[1.0, 2.0]], [0]), rules=["bp"])
        >>> [rule["name"] for rule in session.describe()["rules"]]
        ['fa', 'bp']
        """
        return cls(ObjectSetup((net, rule, loss, optimizer), batch, rules, data), updates, train_updates)

    def describe(self) -> Json:
        """What the page needs to start: the content of a page (see `minifa.explorer.page`), in which ``films``,
        ``runs`` and ``chance`` are empty, and:

            defaults   the values of a request that leaves them out: {rule, updates, train_updates, lr, hidden, seed}
            can        what a run may change: {lr, seed, hidden, noise}, each true or a sentence that says why not
        """
        if self._content is None:  # the same for every page
            self._content = self._describe()
        return self._content

    def _describe(self) -> Json:
        table = ArrayTable()
        described = self.setup.describe(self.updates, table)
        defaults = {"rule": self.setup.rules[0], "updates": self.updates, "train_updates": self.train_updates}
        return {
            "version": __version__,
            **described,
            "films": {},
            "at": snapshot_updates(self.train_updates),
            "runs": {},
            "chance": {},
            "chance_how": CHANCE_HOW,
            "grid": grid.read(),
            "arrays": table.packed(),
            "defaults": {**defaults, **described["defaults"]},
            "can": self.setup.can,
        }

    def film(self, params: Mapping[str, Any] | None = None, stopped: Callable[[], bool] = never) -> Json:
        """One step under a rule: {"film": [moment, ...], "arrays": [...]}, with the arrays of `minifa.trace`, bit for
        bit.

        Args:
            params: of the request (see above).
            stopped: asked before every update before the step; once it returns True, the work ends.

        Raises:
            TypeError, ValueError: a parameter that is not known, of the wrong type or out of range, or a rule that
                cannot train this network. The message is a sentence for the page.
            Stopped: the work was stopped.
        """
        _check_stopped(stopped)
        wanted = read_film(params, self.setup.rules, self.updates)
        while not self._lock.acquire(timeout=WAIT):
            _raise_if(stopped)
        try:
            recorded, bands = self.setup.step(wanted.rule, wanted.updates, lambda: _raise_if(stopped))
        finally:
            self._lock.release()
        table = ArrayTable()
        return {"film": film(recorded, bands, table), "arrays": table.packed()}

    def run(self, params: Mapping[str, Any] | None = None, stopped: Callable[[], bool] = never) -> Iterator[Json]:
        """The messages of a training run as they come: snapshots, chance, done. The parameters are validated before
        this method returns.

        Args:
            params: of the request (see above).
            stopped: asked before the first snapshot and every update; once it returns True, `Stopped` is raised.

        Raises:
            TypeError, ValueError: as `film`.
        """
        _check_stopped(stopped)
        wanted = read_run(params, self.setup.rules, self.train_updates)
        trainer, data, batch = self.setup.training(wanted)
        snapshots = Snapshots(trainer, data, ArrayTable(), biases=True)  # for a digit that the reader draws
        _check_size(trainer.net, trainer.rule)
        return self._messages(wanted, snapshots, batch, lambda: _raise_if(stopped))

    def _messages(
        self, wanted: RunParameters, snapshots: Snapshots, batch: BatchOf, check: Callable[[], object]
    ) -> Iterator[Json]:
        check()  # it may have waited for another run
        last = 0
        for snapshot in train(snapshots, batch, wanted.updates, check):
            last = snapshot["update"]
            yield {"snapshot": snapshot, "arrays": snapshots.table.packed()}
            if last == 0:
                check()
                yield {"chance": snapshots.chance()}
            snapshots.table = ArrayTable()  # every message has its own arrays
        diverged = f"after update {last} the loss was no longer finite: choose a smaller learning rate"
        yield {"done": True, "diverged": diverged if last < wanted.updates else None}

    def answers(self, request: Any, stopped: Callable[[], bool] = never) -> Iterator[Json]:
        """All messages that answer a request, with its id. What is wrong with the request becomes a message with an
        error; nothing is raised.

        Args:
            request: a dictionary from JSON (see above). Another value is answered with an error.
            stopped: as for `run`.
        """
        identity: Any = None
        try:
            identity = _identity(request)
            for message in self._answers(request, stopped):
                yield {"id": identity, **message}
        except Stopped:
            yield {"id": identity, "stopped": True}
        except (TypeError, ValueError) as error:
            yield {"id": identity, "error": one_line(str(error), LONGEST_ERROR)}
        except MemoryError:
            yield {"id": identity, "error": "memory does not suffice: choose smaller widths or a smaller batch"}
        except Exception as error:  # of a user's rule, or a bug: the page gets a sentence, the terminal the traceback
            print_stderr(traceback.format_exc())
            what = one_line(f"{type(error).__name__}: {error}", LONGEST_ERROR)
            yield {"id": identity, "error": f"the engine stopped with {what}"}

    def _answers(self, request: Any, stopped: Callable[[], bool]) -> Iterator[Json]:
        command, params = request.get("command"), request.get("params")
        if not isinstance(command, str) or command not in COMMANDS:
            raise ValueError(unknown(COMMANDS, one_line(str(command), LONGEST_ID), "command"))
        if command == "describe":
            yield {"content": self.describe()}
        elif command == "film":
            yield self.film(params, stopped)
        else:
            yield from self.run(params, stopped)


def _identity(request: Any) -> str | int | None:
    """The id of a request. Raises TypeError, ValueError unless it is a dictionary with a short id."""
    if not isinstance(request, dict):
        raise TypeError(f"a request must be a JSON object with id, command and params, got {type(request).__name__}")
    identity = request.get("id")
    if (
        isinstance(identity, bool)
        or not isinstance(identity, (str, int, type(None)))
        or len(str(identity)) > LONGEST_ID
    ):
        raise ValueError(f"the id of a request must be a text of at most {LONGEST_ID} characters or an int")
    return identity


def _check_stopped(stopped: Any) -> None:
    if not callable(stopped):
        raise TypeError(f"stopped must be callable without arguments, got {stopped!r}")


def _raise_if(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped


def _check_size(net: Network, rule: Rule) -> None:
    """Raise ValueError if the matrices of a snapshot would be larger than a message."""
    size = sum(layer.W.nbytes for layer in net.weighted) + sum(B.nbytes for B in rule.B.values())
    if 4 * size // 3 > MOST_BYTES:
        raise ValueError(
            f"the matrices of this network take {4 * size / 3e6:.0f} MB in every snapshot; a page can have at most "
            f"{MOST_BYTES / 1e6:.0f} MB: choose smaller widths or a smaller network"
        )
