"""The engine behind one page: it answers the page's requests with messages. The server (`minifa.explorer.server`) and
the notebook widget only carry the messages.

    request    {"id": text or number, "command": "describe" | "film" | "run", "params": {...}}
    answers    {"id", "content": {...}}                            describe: one
               {"id", "film": [moment, ...], "arrays": [...]}      film: one
               {"id", "snapshot": {...}, "arrays": [...]}          run: one for each snapshot, as they are taken;
               {"id", "chance": {...}}                             once, after the first snapshot;
               {"id", "done": true}                                at the end; not if the run was stopped
               {"id", "error": "a sentence"}                       instead of all further answers

Every message has its own arrays (see `minifa.explorer.arrays`). The command "stop" ends the current run of a page; it
belongs to what carries the messages, which lets `stopped` be true.

    params of film    rule; updates: before the step that is shown, under the first rule of the session
    params of run     rule; updates; lr; hidden: [widths]; seed; noise: share of wrong training labels, 0 to 1;
                      angle: degrees between the fixed B and the initial W, or null;
                      feedback: {layer: [[index, value], ...]}, entries of B that replace the drawn ones, by their
                      index in the flattened matrix

All but the rule may be left out: then the session's own value holds.
"""

from __future__ import annotations

__all__ = ["Session"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..data.base import Dataset
from ..experiments import Experiment
from ..losses import Loss
from ..network import Network
from ..optim import Optimizer
from ..rules.base import Rule
from .arrays import Json

MOST_UPDATES = 20_000  # of one run
MOST_UPDATES_BEFORE = 10_000  # before the step of a film


def never() -> bool:
    """The `stopped` of work that is not stopped."""
    return False


class Session:
    """Answers the requests of pages. It can be used by several threads at once.

    Make one with `Session.of_experiment` or `Session.of_objects`.
    """

    @classmethod
    def of_experiment(
        cls, experiment: Experiment, data: Dataset, rule_names: Sequence[str], updates: int = 0, train_updates: int = 1000
    ) -> Session:
        """A session for an experiment and its data set.

        Args:
            experiment: network, data and training options; its own rule is not used.
            data: the data set of the experiment.
            rule_names: the rules that the page shows, with their options; the first one makes the updates before the
                step of a film. A page may ask for any other registered rule, too.
            updates: updates before the step that the page shows first.
            train_updates: length of a run for which the page gives none.
        """
        raise NotImplementedError

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
        train_updates: int = 1000,
    ) -> Session:
        """A session for your own objects, which are copied, so that they do not change.

        Args:
            net: the network, with the input shape known or the batch determines it.
            rule: its rule, attached; it makes the updates before the step of a film.
            loss, optimizer: as for `minifa.Trainer`.
            batch: (x, y), the batch of the step that is shown. Without data it is also the batch of every update of a
                run, and what loss, accuracy and angles are measured on.
            rules: other rules for the same weights: descriptions, or rules that need not be attached.
            data: a data set for the runs, in batches of the size of ``batch``.
            train_updates: length of a run for which the page gives none.
        """
        raise NotImplementedError

    def describe(self) -> Json:
        """What the page needs to start: the content of a page (see `minifa.explorer.page`) with ``films``, ``runs`` and
        ``chance`` empty, ``at`` and ``updates`` as defaults of the requests, and ``can``: {"hidden": true or a sentence
        why the widths cannot be changed, "seed", "noise", ...}."""
        raise NotImplementedError

    def film(self, params: Mapping[str, Any], stopped: Callable[[], bool] = never) -> Json:
        """One step under a rule: {"film": [moment, ...], "arrays": [...]}, bit for bit the arrays of `minifa.trace`.

        Args:
            params: of the request, see the module.
            stopped: is asked before every update before the step; once true, the work ends.

        Raises:
            TypeError, ValueError: a parameter that is unknown, of the wrong type or out of range, or a rule that cannot
                train this network. The message is a sentence for the page.
            Stopped: `stopped` was true.
        """
        raise NotImplementedError

    def run(self, params: Mapping[str, Any], stopped: Callable[[], bool] = never) -> Iterator[Json]:
        """The messages of a training run as they come: snapshots, chance, done. Parameters are validated before the
        first message.

        Args, Raises:
            as `film`; `stopped` is asked before every update.
        """
        raise NotImplementedError

    def answers(self, request: Any, stopped: Callable[[], bool] = never) -> Iterator[Json]:
        """All messages that answer a request, each with its id. What is wrong with a request becomes a message with an
        error, never an exception; a stopped run just ends."""
        raise NotImplementedError
