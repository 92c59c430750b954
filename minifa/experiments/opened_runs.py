"""Opening the folder of a run in Python: the trained network and rule, the history and the experiment."""

__all__ = ["Run", "load_run"]

from pathlib import Path
from typing import NamedTuple

from ..checkpoints import newest
from ..network import Network
from ..rules.base import Rule
from ..storage.atomic import expanded
from ..training import History
from ..validation import check_choice
from .experiment import Experiment
from .resume import open_checkpoint
from .run_folder import open_run, read_experiment

CHECKPOINTS = ("last", "best")


# Without "from __future__ import annotations": the types in a NamedTuple would be strings that pdoc cannot resolve.
class Run(NamedTuple):
    """A run of `minifa train`, as `load_run` returns it.

    Attributes:
        net: the trained network.
        rule: its rule, attached to it.
        history: the recorded epochs.
        experiment: the settings of the run.
    """

    net: Network
    rule: Rule
    history: History
    experiment: Experiment


def load_run(folder: str | Path, checkpoint: str = "last") -> Run:
    """Open the folder of a finished or interrupted run of `minifa train`: ``net, rule, history, experiment``.

    The data set of the run must be available, and a user-defined rule, model or data set registered under its name. A
    file that the run imported with ``--import`` must be imported before, by `minifa.imports.import_file`.

    Args:
        folder: the run folder.
        checkpoint: "last": the network at the end of the run or, if it was interrupted, in its last checkpoint;
            "best": after the epoch with the best validation accuracy (without classes: loss).

    Raises:
        FileNotFoundError: the folder is not a run folder, or has no such checkpoint.
        DataFileError, CheckpointError: a file in it is damaged, or belongs to another experiment.
        ValueError: a file that the run imported is missing in this process, or has another content.

    >>> from minifa.experiments import load_run
    >>> load_run("nowhere")
    Traceback (most recent call last):
    FileNotFoundError: nowhere is not a folder of a run: it has no config.json
    """
    check_choice(checkpoint, "the checkpoint of a run", CHECKPOINTS)
    path = expanded(folder)
    read_experiment(path)  # raises if this is not the folder of one run
    place = newest(path / f"{checkpoint}.ckpt")
    if place is not None:
        net, rule, experiment = open_checkpoint(place)
    elif checkpoint == "last":
        net, rule, experiment = open_run(path)
    else:
        raise FileNotFoundError(
            f"{path} has no best.ckpt: it is written when a part of the training set is held out (--validation)"
        )
    return Run(net, rule, History.read_csv(path / "history.csv"), experiment)
