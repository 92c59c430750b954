"""Two trainings that write into one folder: the rows, events and checkpoints of the first are kept beside the
second's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import checkpoints
from minifa.checkpoints import SaveCheckpoints
from minifa.experiments import Experiment, resume, run_folder, trainer_for
from minifa.training import Callback, History, Trainer
from minifa.training.logs import TensorBoard, WriteLogs

XOR = mf.data.load("xor")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("d")


def network(seed=0):
    return mf.Network([mf.Linear(2, 4), mf.Tanh(), mf.Linear(4, 2)], seed=seed)


def trainer(net=None, callbacks=None, rate=0.1):
    net = net or network()
    callbacks = [WriteLogs("d"), SaveCheckpoints("d")] if callbacks is None else callbacks
    return Trainer(net, mf.rules.BP().attach(net), mf.SoftmaxCrossEntropy(), mf.SGD(rate), callbacks=callbacks)


def losses(path):
    return [row.get("train_loss") for row in History.read_csv(path)]


def epochs_logged(path):
    events = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
    return [event["epoch"] for event in events if event["event"] == "epoch"]


def files():
    return sorted(os.listdir("d"))


ONE = ["history.csv", "last.ckpt", "last.ckpt.previous", "log.jsonl"]
ASIDE = ["history-1.csv", "last-1.ckpt", "last-1.ckpt.previous", "log-1.jsonl"]


@pytest.mark.parametrize("second", ["another network", "the same network", "the same callbacks"])
def test_the_histories_of_both_trainings_are_kept(second):
    first = trainer()
    history = list(first.fit(XOR.train, 3))
    net = first.net if second == "the same network" else network(1)
    other = trainer(net, first.callbacks if second == "the same callbacks" else None)
    other.fit(XOR.train, 2)
    assert losses("d/history-1.csv") == [row.get("train_loss") for row in history]
    assert losses("d/history.csv") == other.history.column("train_loss")
    assert epochs_logged("d/log-1.jsonl") == [0, 1, 2, 3] and epochs_logged("d/log.jsonl") == [0, 1, 2]
    assert checkpoints.read("d/last-1.ckpt").training["epoch"] == 3
    assert checkpoints.read("d/last.ckpt").training["epoch"] == 2
    assert files() == sorted(ONE + ASIDE)
    trainer(network(2)).fit(XOR.train, 1)
    assert losses("d/history-2.csv") == other.history.column("train_loss") and len(losses("d/history-1.csv")) == 4


def test_the_best_checkpoint_of_the_first_training_is_kept():
    held_out = XOR.test
    trainer(rate=0.5).fit(XOR.train, 20, validation=held_out)
    best = Path("d/best.ckpt").read_bytes()
    trainer(network(1), rate=0.001).fit(XOR.train, 2, validation=held_out)
    assert Path("d/best-1.ckpt").read_bytes() == best != Path("d/best.ckpt").read_bytes()


def test_a_continued_training_keeps_its_files():
    one = trainer()
    for epochs in (2, 1, 3):
        one.fit(XOR.train, epochs)
    assert len(losses("d/history.csv")) == 7 and files() == ONE


def test_a_resumed_training_keeps_its_files_and_truncates_them():
    class Measure(Callback):
        def on_epoch(self, trainer, row):
            row.update(share=np.float32(0.1), count=np.int64(3), word="a, b", lost=float("nan"), yes=True)

    def with_words():
        return trainer(callbacks=[Measure(), WriteLogs("d"), SaveCheckpoints("d")])

    with_words().fit(XOR.train, 4)
    resumed = with_words()
    checkpoints.load("d/last.ckpt.previous", resumed)
    assert resumed.finished < 4
    resumed.fit(XOR.train, 5 - resumed.finished)
    assert History.read_csv("d/history.csv").column("epoch") == [0, 1, 2, 3, 4, 5]
    assert files() == ONE and epochs_logged("d/log.jsonl") == [0, 1, 2, 3, 4, 5]


def test_unreadable_files_count_as_those_of_another_training():
    Path("d/history.csv").write_text("epoch\n0,1\n", encoding="utf-8")
    Path("d/last.ckpt").write_bytes(b"damaged")
    trainer().fit(XOR.train, 1)
    assert Path("d/history-1.csv").read_text(encoding="utf-8") == "epoch\n0,1\n"
    assert Path("d/last-1.ckpt").read_bytes() == b"damaged"


def test_a_run_that_starts_again_in_its_folder_replaces_the_remaining_files():
    """The run was killed before its first checkpoint, so its epochs are trained again."""
    experiment = Experiment(data="xor", model="tiny", lr=0.1, epochs=2)
    for _ in range(2):
        one = trainer_for(experiment, XOR)
        with run_folder.locked("d"):
            resume.attach_callbacks("d", experiment, one)
            one.fit(XOR.train, 2)
    assert [name for name in files() if "-1" in name] == []
    assert len(losses("d/history.csv")) == 3


def test_tensorboard_shows_both_trainings():
    pytest.importorskip("tensorboardX", reason="event files need tensorboardX: pip install '.[tensorboard]'")
    one = trainer(callbacks=[TensorBoard("d/events")])
    one.fit(XOR.train, 2)
    one.fit(XOR.train, 1)
    trainer(network(1), [TensorBoard("d/events")]).fit(XOR.train, 2)
    trainer(network(2), [TensorBoard("d/events")]).fit(XOR.train, 2)
    assert files() == ["events", "events-2", "events-3"]
    assert [len(os.listdir(f"d/{name}")) for name in files()] == [2, 1, 1]
