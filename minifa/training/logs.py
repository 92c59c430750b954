"""Logs of a training, written while it runs.

    history.csv    one row per epoch
    log.jsonl      one line per event, each a JSON object: start, resume, phase, epoch, interrupt, end (of a phase)
    tensorboard/   event files of TensorBoard (optional)

A resumed training truncates its logs to the checkpoint, so that no epoch appears twice. Logs that another training
wrote to the same folder are kept as ``history-1.csv`` and ``log-1.jsonl``.
"""

from __future__ import annotations

__all__ = ["TensorBoard", "WriteLogs", "lines_of", "versions_of"]

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..environment import environment, version
from ..errors import DataFileError
from ..storage import csv_files
from ..storage.atomic import append, expanded, free_name, read_bytes, write_atomic
from ..text import install
from ..validation import check_bool
from .history import History, Row
from .phases import Carried
from .trainer import Callback, Trainer


class WriteLogs(Callback):
    """Writes ``history.csv`` and ``log.jsonl`` to a folder, each epoch as soon as it is finished.

    Args:
        folder: existing folder.
        replace: whether existing logs belong to an earlier attempt of this training, whose epochs are repeated.
    """

    def __init__(self, folder: str | Path, replace: bool = False) -> None:
        self.table, self.lines = expanded(folder) / "history.csv", expanded(folder) / "log.jsonl"
        self.replace = check_bool(replace, "replace")
        self.writes_for: Trainer | None = None
        self.carried: Carried | None = None  # of a phase that has begun, and is logged with its first epoch

    def on_phase(self, trainer: Trainer, carried: Carried) -> None:
        self.carried = carried

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        if self.writes_for is not trainer and not self.replace and not self._is_of(trainer):
            for path in (self.table, self.lines):
                if path.exists():
                    os.replace(path, free_name(path))
        self.writes_for = trainer
        lines = lines_of(self.lines, trainer.history.column("epoch"))
        write_atomic(self.lines, "".join(f"{line}\n" for line in lines))
        self.columns: list[str] = []
        if trainer.history:
            self._write_table(trainer.history)
        facts = {"epochs": epochs, "batches": batches, "environment": environment()}
        event = "start" if not trainer.history else "resume" if self.carried is None else "phase"
        if self.carried is not None:
            facts["carried"] = asdict(self.carried)
        self.carried = None
        self._write_event(event, trainer, {**_position(trainer), **facts})

    def on_recorded(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        if row.keys() <= set(self.columns):
            append(self.table, csv_files.text_of([[row.get(key, "") for key in self.columns]]))
        else:  # a new column: all rows are rewritten
            self._write_table(trainer.history)
        self._write_event("epoch", trainer, row)

    def on_done(self, trainer: Trainer) -> None:
        if trainer.stopped:
            self._write_event("interrupt", trainer, _position(trainer))
        else:
            early = {"stopped_early": True} if trainer.history.stopped_early else {}
            self._write_event("end", trainer, {**_position(trainer), "diverged": trainer.diverged, **early})

    def _is_of(self, trainer: Trainer) -> bool:
        try:
            return trainer.history.continues(History.read_csv(self.table))
        except DataFileError:
            return False
        except FileNotFoundError:
            return not self.lines.exists()

    def _write_table(self, history: History) -> None:
        history.save_csv(self.table)
        self.columns = history.columns()

    def _write_event(self, event: str, trainer: Trainer, values: Mapping[str, Any]) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = {"event": event, "time": now, "step": trainer.net.step, **values}
        append(self.lines, json.dumps(_readable(line), ensure_ascii=False) + "\n")


def _position(trainer: Trainer) -> Row:
    phase = {"phase": trainer.phase, "rule": trainer.rule.label} if trainer.phase else {}
    return {"epoch": trainer.epoch, "batch": trainer.batch, **phase}


def _readable(value: Any) -> Any:
    """Convert a value to strict JSON: non-finite numbers become strings."""
    if isinstance(value, Mapping):
        return {key: _readable(one) for key, one in value.items()}
    if hasattr(value, "item"):
        value = value.item()  # NumPy scalars to Python numbers
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def lines_of(path: str | Path, epochs: Collection[int]) -> list[str]:
    """The lines of a ``log.jsonl``, without an incomplete last line and without epochs other than ``epochs``; [] if the
    file does not exist."""
    try:
        lines = read_bytes(expanded(path)).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if _is_valid(line, epochs)]


def versions_of(path: str | Path) -> str:
    """The versions of minifa that trained a run, in order, from its ``log.jsonl``: ``"0.1.0, then 0.2.0"``."""
    versions: list[str] = []
    for event in map(json.loads, lines_of(path, ())):
        if event["event"] in ("start", "resume", "phase") and isinstance(event.get("environment"), dict):
            versions = ([] if event["event"] == "start" else versions) + [version(event["environment"])]
    return ", then ".join(dict.fromkeys(versions))


def _is_valid(line: str, epochs: Collection[int]) -> bool:
    try:
        event = json.loads(line)
        return event["event"] != "epoch" or event["epoch"] in epochs
    except (ValueError, KeyError, TypeError):
        return False


class TensorBoard(Callback):
    """Writes every number of every epoch as a scalar for TensorBoard, with the package tensorboardX.

    Quantities measured per layer are grouped by quantity: ``linear2.weight_angle`` becomes ``weight_angle/linear2``.

    Args:
        folder: folder of the event files, created if it does not exist. If it holds files of another training,
            ``FOLDER-2`` is created, which TensorBoard shows as a separate run.
        replace: as for `WriteLogs`.

    Raises:
        ValueError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path, replace: bool = False) -> None:
        self.folder, self.make, self.replace = str(expanded(folder)), find_writer(), check_bool(replace, "replace")
        self.writes_for: Trainer | None = None

    def on_start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        if self.writes_for is not trainer and not self.replace and not trainer.history:
            wanted, number = self.folder, 1
            while any(Path(self.folder).glob("events.out.tfevents.*")):
                number += 1
                self.folder = f"{wanted}-{number}"
        self.writes_for = trainer
        # With purge_step, TensorBoard discards the epochs that a resumed run repeats.
        purge = trainer.finished + 1 if trainer.history else 0
        self.writer = self.make(self.folder, purge_step=purge, filename_suffix=f".{trainer.net.step:09d}")

    def on_recorded(self, trainer: Trainer) -> None:
        row = trainer.history[-1]
        for key, value in row.items():
            if key != "epoch" and isinstance(value, (int, float)):
                self.writer.add_scalar(scalar_name(key), value, row["epoch"])
        self.writer.flush()

    def on_end(self, trainer: Trainer) -> None:
        self.writer.close()


def find_writer() -> Any:
    """The class that writes event files. Raises ValueError if tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"event files of TensorBoard need the package tensorboardX: {install('tensorboard')}"
        ) from error
    return SummaryWriter


def scalar_name(column: str) -> str:
    """The TensorBoard tag of a column of the history.

    >>> from minifa.training.logs import scalar_name
    >>> [scalar_name(column) for column in ("linear2.weight_angle", "train_loss", "lr")]
    ['weight_angle/linear2', 'loss/train', 'lr']
    """
    layer, _, quantity = column.rpartition(".")
    if layer:
        return f"{quantity}/{layer}"
    part, _, quantity = column.partition("_")
    return f"{quantity}/{part}" if part in ("train", "validation", "test") else column
