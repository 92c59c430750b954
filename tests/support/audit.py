"""Calls every public callable of minifa with an invalid value for one parameter and valid values for the others.

Public are the names that a module without an underscore lists in ``__all__`` and, for a class, its constructor, its
public methods and its settable attributes, except for those in `CONTRACT` and for constructors of records that only
minifa fills. `GIVEN` has the valid value of a parameter, by its name or, if that is ambiguous, by
``function.parameter``; `OWNERS` has the object with a method. `unfit` names new callables without an entry here, and a
test fails.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import itertools
import operator
import os
import pkgutil
import socket
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from conftest import installed
from fuzzing import Case, judge
from fuzzing.arrays import INSIDE, receiver_of
from fuzzing.arrays import Objects as Arrays

import minifa as mf
from minifa import (
    attacks,
    backend,
    checkpoints,
    experiments,
    imports,
    initialisers,
    registry,
    tracing,
    training,
    weights,
)
from minifa.experiments import recipes, results_archive, run_folder, survey_results, surveys, sweeps
from minifa.explorer import requests
from minifa.explorer.session import Session
from minifa.storage import csv_files
from minifa.testing import doctor
from minifa.testing.examples import mlp
from minifa.tracing import stepper
from minifa.training import logs

# Methods that minifa calls with checked arguments and that authors of layers, rules, callbacks, ... write.
CONTRACT = {
    *INSIDE,
    *("forward", "backward", "infer", "initialise", "convert_array", "shape_of", "cast", "shape_error"),  # a layer
    *("draw", "layers_with_feedback", "teaches", "feedback_equation", "carry_equation", "teach_equation"),  # a rule
    *("start_angle", "draw_matrix", "training_pass", "predict_batch"),
    *("feedback_shape", "update_feedback", "stored_matrix", "feedback_size", "magnitude", "restore"),
    *("magnitude_initialisers", "sign_source"),
    *("target_of", "send", "learn_map", "learn", "learn_block", "noise"),  # a rule with targets
    *("local_loss", "signals"),  # a rule with local losses
    *("bind", "clip", "constrain", "group", "average", "check"),  # an optimizer
    *("trace_arrays", "target_equation"),
    *("varies", "check_input", "column", "continues", "matching_index", "record_feedback"),
    *("augment", "centre_crop", "positions", "matrices", "joined", "look", "phase", "seen", "is_dense"),
}  # fmt: skip
# Of a callback, and of the commands of `minifa step`.
CALLED_BY_NAME = ("on_", "do_", "complete", "onecmd", "default", "emptyline", "preloop", "cmdloop")
OPTIONAL = (
    "torch",
    "biotorch",
    "distributed",
    "click",
    "anywidget",
)  # imported by a separate module with an empty __all__
REFUSING = [  # with any argument
    "rules.sign_concordant.BRSF.set_feedback",
    *([] if importlib.util.find_spec("anywidget") else ["explorer.widget.explore"]),
]

WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "1": lambda: 1,
    "0.5": lambda: 0.5,
    "10**30": lambda: 10**30,
    "True": lambda: True,
    "''": lambda: "",
    "'x'": lambda: "x",
    "a text with a NUL": lambda: "a\0b",
    "bytes": lambda: b"x",
    "[]": lambda: [],
    "[None]": lambda: [None],
    "{}": lambda: {},
    "{'x': None}": lambda: {"x": None},
    "an object": object,
    "a function": lambda: lambda *given: None,
    "a class": lambda: dict,
    "1j": lambda: 1j,
    "a NaN of NumPy": lambda: np.float32("nan"),
    "bytes of NumPy": lambda: np.ones((2, 3), "i1"),
    "words of NumPy": lambda: np.array(["a", "b"]),
    "an array of 5 dimensions": lambda: np.ones((1, 2, 1, 2, 1)),
    "a path that is not there": lambda: Path("not/there"),
}
QUICKER = ("progress", "epochs", "lr")  # parameters with another value than their default
NUMBERS = ("nan", "inf", "-1", "1", "0.5", "10**30", "a NaN of NumPy")
# By annotation: the values in WRONG of a valid type. All others must be refused, not accepted silently.
FITTING = {
    "int": ("-1", "1", "10**30"),
    "float": NUMBERS,
    "bool": ("True",),
    "str": ("''", "'x'", "a text with a NUL"),
}


class Objects(Arrays):
    """The arguments of functions other than arrays, in a separate folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.data = mf.data.load("xor")
        self.experiment = experiments.Experiment(data="xor", model="tiny", lr=0.1, epochs=1)

    def trainer(self) -> mf.Trainer:
        return mf.Trainer(self.net, self.rule, self.loss, self.optimizer)

    def trainer_of_experiment(self) -> mf.Trainer:
        return experiments.trainer_for(self.experiment, self.data)

    def result(self) -> experiments.Result:
        row = {
            "epoch": 1,
            "lr": 0.1,
            "train_loss": 0.5,
            "test_loss": 0.5,
            "test_accuracy": 1.0,
            "seconds": 1.0,
            "images_per_second": 4.0,
            "linear1.weight_angle": 40.0,
            "linear1.true_angle": 40.0,
            "linear1.sign_agreement": 0.5,
            **{"tanh1.nhsic_input": 20.0, "tanh1.nhsic_label": 4.0, "tanh1.cka_label": 0.5},
            **{"tanh1.bp_angle": 0.0, "tanh1.gn_angle": 20.0, "tanh1.target_size": 0.5},
        }
        history = [{**row, "epoch": 0}, row]
        return experiments.Result(self.experiment, history, 1.0, "test", 1.0, ("linear1", "linear2"))

    def checkpoint(self) -> Path:
        place = self.folder / "kept.ckpt"
        checkpoints.save(place, self.trainer_of_experiment(), self.experiment.as_config())
        return place

    def run(self) -> Path:
        """The folder of a finished run."""
        result, trainer = experiments.run(self.experiment, self.data)
        run_folder.save(
            run_folder.new_folder(self.folder / "run"), self.experiment, trainer.history, trainer.net, trainer.rule
        )
        return self.folder / "run"

    def sweep(self) -> sweeps.Sweep:
        return sweeps.parse('[data]\nname = "xor"\n[model]\nname = "tiny"\n[over]\n"optimizer.lr" = [0.1, 0.2]\n')

    def attacks(self) -> attacks.AttackReport:
        return attacks.measure({"fa": (self.net, self.rule, self.loss)}, self.examples, [0.1], attacks.Units("inputs"))

    def trace(self) -> mf.Trace:
        return tracing.trace(self.net, self.rule, self.x, self.y, self.loss, self.optimizer)

    def moment(self) -> mf.Moment:
        return self.trace()[0]

    def session(self) -> Session:
        return Session.of_objects(self.net, self.rule, self.loss, self.optimizer, (self.x, self.y), train_updates=2)

    def survey_folder(self) -> Path:
        """A folder of `minifa survey` with one run."""
        run = {"network": "mlp", "rule": "bp", "lr": "0.1", "seed": "0", "test_accuracy": "0.9", "diverged": "0"}
        csv_files.write(self.folder / "survey.csv", surveys.COLUMNS, [{**dict.fromkeys(surveys.COLUMNS, ""), **run}])
        run_folder.write_config(self.folder, {"survey": {"data": "digits", "epochs": 15}})
        return self.folder

    def scores(self) -> Path:
        """A file of scores for the results archive."""
        return self.file("runs.csv", lambda path: path.write_text("rule,seed,score\nfa,0,0.5\nfa,1,0.6\n"))

    def file(self, name: str, write: Callable[[Path], Any]) -> Path:
        write(self.folder / name)
        return self.folder / name


OWN = "from minifa.schedules import SCHEDULES\nSCHEDULES['own'] = SCHEDULES['constant']"
SPLIT = {"features": "both", "points": "all", "split": "75/25"}
IDX = bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2])


def _npz(objects: Objects) -> Path:
    return objects.file("mine.npz", lambda path: np.savez(path, x=objects.x, y=objects.y))


Give = Callable[[Objects], Any]
NETWORKS: dict[str, Give] = {  # of `minifa.theory`: a network of two units and its teacher, for three inputs
    **{name: lambda w: np.eye(3)[:, :2] for name in ("W1", "teacher_W1")},
    **{name: lambda w: np.ones((2, 1)) for name in ("W2", "teacher_W2")},
    "until": lambda w: 1.0,
    "B": lambda w: np.ones((2, 1)),
}
GIVEN: dict[str, Give] = {
    "x": lambda w: w.x,
    "y": lambda w: w.y,
    "net": lambda w: w.net,
    "rule": lambda w: w.rule,
    "loss": lambda w: w.loss,
    "optimizer": lambda w: w.optimizer,
    "experiment": lambda w: w.experiment,
    "experiments": lambda w: [w.experiment],
    "base": lambda w: w.experiment,
    "data": lambda w: w.data,
    "train": lambda w: w.examples,
    "test": lambda w: w.examples,
    "examples": lambda w: w.examples,
    "trainer": lambda w: w.trainer(),
    "result": lambda w: w.result(),
    "results": lambda w: [w.result()],
    "history": lambda w: training.History(w.result().history),
    "state": lambda w: w.net.state(),
    "array": lambda w: w.x,
    "a": lambda w: w.output,
    "b": lambda w: w.target,
    **{name: lambda w: np.eye(6, dtype="f4") for name in ("K", "L", "G")},
    "z": lambda w: w.x,
    "W": lambda w: np.ones((3, 2), "f4"),
    "B": lambda w: np.ones((3, 2), "f4"),
    "matrix": lambda w: np.ones((3, 2), "f4"),
    "indices": lambda w: np.array([2, 0]),
    "rng": lambda w: np.random.default_rng(0),
    "folder": lambda w: w.folder,
    "path": lambda w: w.folder / "new",
    "epochs": lambda w: 1,
    "batch_size": lambda w: 4,
    "progress": lambda w: False,
    "seed": lambda w: 0,
    "seeds": lambda w: 1,
    "rule_names": lambda w: ["fa"],
    "input_shape": lambda w: (32, 32, 3),
    "n_out": lambda w: 10,
    "shape": lambda w: (3, 2),
    "fan_in": lambda w: 3,
    "fan_out": lambda w: 2,
    "features": lambda w: 4,
    "in_features": lambda w: 4,
    "out_features": lambda w: 3,
    "dimension": lambda w: 3,
    "in_channels": lambda w: 2,
    "out_channels": lambda w: 3,
    "channels": lambda w: 4,
    "normalized_shape": lambda w: 4,
    "num_groups": lambda w: 2,
    "groups": lambda w: 1,
    "num_channels": lambda w: 4,
    "kernel_size": lambda w: 2,
    "input_size": lambda w: 3,
    "kernels": lambda w: np.ones((4, 3, 2), "f4"),
    "patterns": lambda w: np.ones((2, 3), "f4"),
    "eta": lambda w: 0.1,
    "gamma": lambda w: 0.1,
    "sharing.sleep.start": lambda w: np.ones((4, 3, 2), "f4"),
    "sharing.ShareWeights.read.text": lambda w: "every=2",
    "size": lambda w: 3,
    "layers": lambda w: [mf.Linear(4, 3)],
    "body": lambda w: [mf.Linear(4, 4)],
    "bias": lambda w: True,
    "init": lambda w: "he_normal",
    "lr": lambda w: 0.1,
    "sd": lambda w: 1.0,
    "limit": lambda w: 1.0,
    "fraction": lambda w: 0.5,
    "text": lambda w: "",
    "name": lambda w: "linear2",
    "names": lambda w: "linear1",
    "n": lambda w: 1,
    "i": lambda w: 0,
    "moments": lambda w: list(w.trace()),
    "value": lambda w: 0.5,
    "name_or_path": lambda w: "xor",
    "description": lambda w: "fa",
    "purpose": lambda w: "weights",
    "step": lambda w: 0,
    "count": lambda w: 4,
    "config": lambda w: {"seed": 0},
    "schedule": lambda w: mf.schedules.cosine(3),
    "milestones": lambda w: [1, 2],
    "schedules": lambda w: [mf.schedules.cosine(3), mf.schedules.cosine(2), mf.schedules.constant()],
    "message": lambda w: "it is damaged",
    "backend": lambda w: "numpy",
    "backends": lambda w: ["numpy"],
    "update": lambda w: 1,
    "what": lambda w: "the loss",
    "epoch": lambda w: 1,
    "start": lambda w: 0.7,
    "kind": lambda w: "layer",
    "measured": lambda w: "test",
    "score": lambda w: 1.0,
    "seconds": lambda w: 1.0,
    "settings": lambda w: {"optimizer.lr": 0.1},
    "low": lambda w: 1.0,
    "high": lambda w: 2.0,
    "number": lambda w: 0,
    "id": lambda w: "a1",
    "title": lambda w: "a title",
    "note": lambda w: "",
    "place": lambda w: "the sweep",
    "problems": lambda w: ["a problem"],
    "snapshot": lambda w: {},
    "findings": lambda w: [],
    "trace": lambda w: w.trace(),
    "replay": lambda w: stepper.Replay(w.experiment, w.data),
    "published": lambda w: None,
    "values": lambda w: [0.5, 0.7],
    "output": lambda w: w.output,
    "target": lambda w: w.target,
    "rates": lambda w: [{"rule": "bp", "lr": 0.1, "mean": 0.5, "chosen": True}],
    "entries": lambda w: 8,
    "draws": lambda w: 2,
    "mean": lambda w: 90.0,
    "bands": lambda w: {"linear1": mf.chance.Band(90.0, 2.0)},
    # By function
    "cli.main.arguments": lambda w: ["rules", "--help"],
    "imports.import_file.path": lambda w: w.file("own.py", lambda path: path.write_text(OWN, encoding="utf-8")),
    "data.is_file.name": lambda w: "digits",
    "data.idx.read_idx.path": lambda w: w.file("mine.idx", lambda path: path.write_bytes(IDX)),
    "data.idx.read_idx.shape": lambda w: (2,),
    "data.arrays.from_npz.path": _npz,
    "data.arrays.from_file.path": _npz,
    "data.base.Dataset.transform.x": lambda w: w.data.test.x,
    "data.augment.make_augmentation.description": lambda w: "crop_flip",
    "data.augment.Augmentation.size": lambda w: None,
    "data.augment.Augmentation.shape.shape": lambda w: (6, 6, 2),
    "data.augment.Jitter.shape.shape": lambda w: (6, 6, 2),
    "kernels.Grouped.kernel": lambda w: mf.kernels.Cosine(),
    "kernels.make.description": lambda w: "cosine",
    "schedules.make.description": lambda w: "cosine:epochs=3",
    "schedules.step_decay.size": lambda w: 2,
    "schedules.describe.schedule": lambda w: mf.schedules.cosine(3),
    "comparison.compare.rules": lambda w: ["bp"],
    "comparison.compare.model": lambda w: "tiny",
    "comparison.compare.data": lambda w: "xor",
    "evaluation.evaluate.y": lambda w: w.y,
    "attacks.fgsm.path": lambda w: "true",
    "attacks.fgsm.eps": lambda w: 0.1,
    "attacks.pgd.path": lambda w: "true",
    "attacks.pgd.eps": lambda w: 0.1,
    "attacks.pgd.step": lambda w: 0.25,
    "attacks.sign_noise.eps": lambda w: 0.1,
    "attacks.measure.networks": lambda w: {"fa": (w.net, w.rule, w.loss)},
    "attacks.measure.eps": lambda w: [0.1],
    "attacks.measure.units": lambda w: attacks.Units("inputs"),
    "figures.attacks.robustness.report": Objects.attacks,
    "jacobians.jacobians.names": lambda w: ["linear1"],
    "target_metrics.gauss_newton.names": lambda w: ["linear1"],
    "target_metrics.minimum_norm.names": lambda w: ["linear1"],
    "metrics.input_gradient.path": lambda w: "true",
    "metrics.confusion.y": lambda w: [0, 1],
    "metrics.confusion.predicted": lambda w: [0, 0],
    "figures.classes.confusion.matrix": lambda w: np.ones((2, 2), int),
    "figures.classes.split_accuracies.rows": lambda w: [{**SPLIT, "accuracy": 0.7, "sd": None}],
    "figures.classes.split_accuracies.chances": lambda w: [0.25],
    "experiments.tables.confusion_table.matrix": lambda w: np.ones((2, 2), int),
    "experiments.opened_runs.load_run.folder": Objects.run,
    "saved_networks.load.path": lambda w: w.file("net.npz", lambda path: w.net.save(path, w.rule)),
    "saved_networks.load.layers": lambda w: (),
    "rules.base.Rule.carry_over.before": lambda w: w.rule,
    "rules.base.Rule.show_feedback.matrices": lambda w: dict(w.rule.B),
    "rules.dynamic_inversion.stability.M": lambda w: np.ones((3, 2), "f4"),
    "rules.dynamic_inversion.stability.leak": lambda w: 0.1,
    "rules.feedback_control.stability.rule": lambda w: mf.rules.DFC().attach(w.net),
    "checkpoints.load.path": Objects.checkpoint,
    "checkpoints.read.path": Objects.checkpoint,
    "checkpoints.newest.path": Objects.checkpoint,
    "checkpoints.restore.checkpoint": lambda w: checkpoints.read(w.checkpoint()),
    "checkpoints.load.trainer": Objects.trainer_of_experiment,
    "checkpoints.restore.trainer": Objects.trainer_of_experiment,
    "experiments.resume.resume_training.trainer": Objects.trainer_of_experiment,
    "experiments.experiment.fit.trainer": Objects.trainer_of_experiment,
    "data.base.Dataset.name": lambda w: "mine",
    "data.base.Dataset.classes": lambda w: ("a", "b"),
    "data.base.Dataset.hold_out.fraction": lambda w: 0.5,
    "layers.weighted.Weighted.W.value": lambda w: np.ones((4, 3), "f4"),
    "layers.weighted.Weighted.b.value": lambda w: np.ones(3, "f4"),
    "layers.vectors.Gate.t.value": lambda w: np.ones((2, 5), "f4"),
    **{
        f"layers.batch_norm.BatchNorm.{name}.value": lambda w: np.ones(4, "f4")
        for name in ("running_mean", "running_var")
    },
    **{
        f"layers.normalisation.Norm.{name}.value": lambda w: np.ones(4, "f4") for name in ("gamma", "beta")
    },
    "checkpoints.Checkpoint.part.name": lambda w: "network",
    "experiments.resume.open_checkpoint.path": Objects.checkpoint,
    "experiments.resume.resume_training.folder": lambda w: w.folder / "new",
    "experiments.resume.run_in_folder.folder": lambda w: w.folder / "new",
    "experiments.resume.attach_callbacks.folder": lambda w: w.folder / "new",
    "experiments.resume.finished.folder": Objects.run,
    "experiments.resume.saved_run.folder": Objects.run,
    "experiments.resume.saved_experiment.folder": Objects.run,
    "experiments.run_folder.open_run.folder": Objects.run,
    "experiments.run_folder.read_results.folder": Objects.run,
    "experiments.run_folder.read_experiment.folder": Objects.run,
    "experiments.run_page.write.folder": Objects.run,
    "figures.folders.of_run.folder": Objects.run,
    "figures.memory.activation_memory.peaks": lambda w: {"bp": {8: 1000, 16: 2000}},
    "figures.diagrams.broadcast.rule": lambda w: mf.rules.DFA(seed=0).attach(w.net),
    "figures.style.look.i": lambda w: 0,
    "figures.history.history_curves.histories": lambda w: training.History(w.result().history),
    "frames.to_frame.rows": lambda w: w.result().history,
    "figures.teaching.products.equations": lambda w: {"forward": "h = x"},
    "figures.teaching.products.arrays": lambda w: {"h": np.eye(2), "x": np.eye(2)},
    "figures.autoencoders.reconstructions.net": lambda w: mf.Network([mf.Flatten(), mf.Linear(4, 4)]),
    "figures.autoencoders.reconstructions.x": lambda w: np.ones((3, 2, 2, 1), "f4"),
    "figures.autoencoders.unit_weights.W": lambda w: np.ones((4, 3), "f4"),
    "figures.autoencoders.unit_weights.V": lambda w: np.ones((3, 4), "f4"),
    "figures.autoencoders.unit_weights.shape": lambda w: (2, 2, 1),
    "rules.recirculation.Recirculation.regression": lambda w: 0.5,
    "data.load.reconstruct": lambda w: True,
    "figures.teaching.snapshots.matrices": lambda w: {"W": [np.eye(2)]},
    "figures.teaching.snapshots.times": lambda w: ["now"],
    "figures.teaching.snapshots.notes": lambda w: {"W": ["a note"]},
    "training.logs.lines_of.path": lambda w: w.file("log.jsonl", lambda path: path.write_text('{"epoch": 1}\n')),
    "training.logs.lines_of.epochs": lambda w: [1],
    "training.logs.made_by.path": lambda w: w.file("log.jsonl", lambda path: path.write_text('{"epoch": 1}\n')),
    "explorer.page.explore.train_updates": lambda w: 2,
    "explorer.page.explore.progress": lambda w: lambda: None,
    "explorer.grid.setting.family": lambda w: "cnn",
    "explorer.grid.setting.depth": lambda w: 2,
    "explorer.grid.setting.rule": lambda w: "fa",
    "explorer.page.write.page": lambda w: "<html></html>",
    "explorer.session.Session.setup": lambda w: w.session().setup,
    "explorer.session.Session.train_updates": lambda w: 2,
    "explorer.session.Session.film.params": lambda w: {"rule": "fa"},
    "explorer.session.Session.run.params": lambda w: {"updates": 2},
    "explorer.session.Session.answers.request": lambda w: {"id": 1, "command": "describe"},
    "explorer.widget.explore.batch": lambda w: (w.x, w.y),
    "explorer.widget.explore.train_updates": lambda w: 2,
    "explorer.requests.Requests.session": Objects.session,
    "explorer.requests.Requests.send": lambda w: lambda message: None,
    "explorer.requests.Requests.receive.request": lambda w: {"id": 1, "command": "stop"},
    "experiments.recipes.parse.text": lambda w: next(iter(recipes.shipped().values())).read_text(),
    "experiments.recipes.read.name_or_path": lambda w: next(iter(recipes.shipped())),
    "experiments.sweeps.parse.text": lambda w: '[data]\nname = "xor"\n[over]\n"optimizer.lr" = [0.1, 0.2]\n',
    "experiments.sweeps.read.path": lambda w: w.file(
        "sweep.toml", lambda path: path.write_text('[data]\nname = "xor"\n[over]\n"optimizer.lr" = [0.1, 0.2]\n')
    ),
    "rng.check_seed.seed": lambda w: 0,
    **{
        f"theory.{function}.{name}": give
        for function in ("online_erf", "online_error")
        for name, give in NETWORKS.items()
    },
    **{f"theory.{rule}.target": lambda w: 1.0 for rule in ("wide_linear_fa", "wide_linear_bp")},
    **{f"theory.{rule}_learning_time.target": lambda w: 1.0 for rule in ("fa", "bp")},
    "theory.fa_learning_time.feedback": lambda w: 1.0,
    "theory.bp_learning_time.start": lambda w: 0.1,
    "theory.OnlineCurves.cosine.B": lambda w: np.ones(2),
    "experiments.tables.sampling_error.examples": lambda w: 360,
    "experiments.results_archive.load.name": lambda w: "digits-cnn",
    "experiments.survey_results.read.folder": Objects.survey_folder,
    "experiments.survey_page.write.folder": Objects.survey_folder,
    "figures.surveys.survey_of_networks.survey": lambda w: survey_results.read(w.survey_folder()),
    "experiments.differences.image_error.correct": lambda w: np.eye(2, 3, dtype=bool),
    "experiments.differences.image_error.reference": lambda w: np.eye(2, 3, dtype=bool),
    "experiments.differences.paired.scores": lambda w: {0: 0.9, 1: 0.8},
    "experiments.differences.paired.reference": lambda w: {0: 0.7, 1: 0.9},
    "experiments.differences.unpaired.scores": lambda w: [0.9, 0.8],
    "experiments.differences.unpaired.reference": lambda w: [0.7, 0.9],
    "experiments.differences.t_quantile.p": lambda w: 0.975,
    "experiments.differences.t_quantile.df": lambda w: 2.5,
    "training.history.History.read_csv.path": lambda w: w.file(
        "history.csv", training.History(w.result().history).save_csv
    ),
    "training.trainer.Trainer.load_state.state": lambda w: w.trainer().state(),
    "weights.load.path": lambda w: w.file("w.safetensors", lambda path: weights.save(w.net, path)),
    "weights.read.path": lambda w: w.file("w.safetensors", lambda path: weights.save(w.net, path)),
    "weights.save.path": lambda w: w.folder / "new.safetensors",
    "weights.save.names": lambda w: None,
    "weights.load.names": lambda w: None,
    "weights.to_torch.names": lambda w: None,
    "weights.from_torch.names": lambda w: None,
    "weights.from_torch.state": lambda w: weights.to_torch(w.net),
    "weights.match.state": lambda w: weights.to_torch(w.net),
    "models.dense.mlp.hidden": lambda w: (5,),
    "models.dense.autoencoder.n_out": lambda w: 32 * 32 * 3,
    "models.dense.autoencoder.hidden": lambda w: (5,),
    "models.dense.autoencoder.output_activation": lambda w: "sigmoid",
    "models.vectors.vector_mlp.hidden": lambda w: (4,),
    "models.vectors.vector_mlp.signs": lambda w: "mixed",
    "network.Network.input_shape": lambda w: None,
    "initialisers.find.init": lambda w: "he_normal",
    "initialisers.Initialiser.family": lambda w: initialisers.gaussian,
    "testing.layer_check.check_layer.layer": lambda w: mf.Linear(4, 3),
    "testing.layer_check.check_layer.input_shape": lambda w: (4,),
    "testing.rule_check.check_rule.rule": lambda w: mf.rules.FA,
    "testing.rule_check.check_rule.net": lambda w: mlp,
    "testing.doctor.examine.backends": lambda w: [],
    "testing.doctor.examine.progress": lambda w: lambda: None,
    "figures.matrices.kernels.W": lambda w: np.ones((2, 2, 3, 2), "f4"),
    "experiments.run_folder.save.folder": lambda w: run_folder.new_folder(w.folder / "new"),
    "experiments.run_folder.write_config.folder": lambda w: w.folder,
    "data.download.name": lambda w: "mnist",
    "data.check.name": lambda w: "mnist",
    "tracing.stepper.Replay.advance.rule": lambda w: "fa",
    "tracing.stepper.Replay.trace.rule": lambda w: "fa",
    "tracing.stepper.Replay.error_bands.rule": lambda w: "fa",
    "tracing.stepper.Stepper.rule": lambda w: "fa",
    "tracing.stepper.Stepper.set_rules.text": lambda w: "bp,fa",
    "explorer.session.Session.of_objects.batch": lambda w: (w.x, w.y),
    "tracing.pages.compared.one": lambda w: w.trace(),
    "tracing.pages.compared.other": lambda w: w.trace(),
    "experiments.results_archive.Measure.shown.sign": lambda w: "+",
    "experiments.results_archive.Measure.from_accuracy.accuracy": lambda w: 0.5,
    "experiments.results_archive.RowScores.of.by_seed": lambda w: {0: 0.5, 1: 0.6},
    "experiments.results_archive.RowScores.minus.other": lambda w: results_archive.RowScores.of({0: 0.5, 1: 0.7}),
    "experiments.results_archive.Table.value.key": lambda w: ("", "fa"),
    "experiments.results_archive.Table.value.column": lambda w: "lr",
    "experiments.results_archive.Table.diverged.key": lambda w: ("", "fa"),
    "experiments.results_archive.compare.mine": lambda w: {"fa": {0: 0.5, 1: 0.6}},
    "experiments.results_archive.compare.table": lambda w: results_archive.load("digits-cnn"),
    "experiments.score_files.read_scores.path": lambda w: w.scores(),
    "measure": lambda w: results_archive.MEASURES["accuracy"],
    "rules.split.text": lambda w: "bp,fa",
    "optim.Optimizer.load_state.state": lambda w: w.optimizer.state(),
    "rules.base.Rule.load_state.state": lambda w: w.rule.state(),
    "rules.sign_concordant.BRSF.load_state.state": lambda w: w.rule.state(),
}  # fmt: skip
# The object with a method or an attribute, by the name of its class.
OWNERS: dict[str, Give] = {
    "Network": lambda w: w.net,
    "Comparison": lambda w: mf.compare(["bp"], "tiny", "xor", seeds=1, epochs=1, lr=0.1, progress=False),
    "AttackReport": Objects.attacks,
    "Trainer": Objects.trainer,
    "History": lambda w: training.History(w.result().history),
    "Examples": lambda w: w.examples,
    "Dataset": lambda w: w.data,
    "Trace": Objects.trace,
    "Moment": Objects.moment,
    "Experiment": lambda w: w.experiment,
    "Initialiser": lambda w: initialisers.find("he_normal"),
    "ShareWeights": lambda w: mf.ShareWeights(),
    "Checkpoint": lambda w: checkpoints.read(w.checkpoint()),
    "Replay": lambda w: stepper.Replay(w.experiment, w.data),
    "Session": Objects.session,
    "Requests": lambda w: requests.Requests(w.session(), lambda message: None),
    "Stepper": lambda w: stepper.Stepper(
        stepper.Replay(w.experiment, w.data), "fa", stdin=io.StringIO(), stdout=io.StringIO()
    ),
    "Range": lambda w: sweeps.Range(1.0, 2.0),
    "Report": lambda w: doctor.Report({}, []),
    "Optimizer": lambda w: w.optimizer,
    "Rule": lambda w: w.rule,
    "Loss": lambda w: w.loss,
    "Layer": lambda w: mf.Linear(4, 3),
    "Weighted": lambda w: mf.Linear(4, 3),
    "Augmentation": lambda w: mf.data.Augmentation(padding=1),
    "Jitter": lambda w: mf.data.Jitter(pixels=1),
    "SaveCheckpoints": lambda w: checkpoints.SaveCheckpoints(w.folder),
    **{name: lambda w: mf.kernels.Cosine() for name in ("Kernel", "Cosine")},
    "Gaussian": lambda w: mf.kernels.Gaussian(),
    "Grouped": lambda w: mf.kernels.Grouped(mf.kernels.Cosine(), 2),
    "WriteLogs": lambda w: logs.WriteLogs(w.folder),
    "Measure": lambda w: results_archive.MEASURES["accuracy"],
    "RowScores": lambda w: results_archive.RowScores.of({0: 0.5, 1: 0.6}),
    "Table": lambda w: results_archive.load("digits-cnn"),
    "OnlineCurves": lambda w: mf.theory.online_erf(**{name: give(w) for name, give in NETWORKS.items()}),
}


@dataclass(frozen=True)
class Target:
    """One public callable.

    Attributes:
        name: ``module.function`` or ``module.Class.method``, without the package.
        take: the function that returns the callable, bound to its owner if it is a method.
        parameters: of its signature, without ``self``.
    """

    name: str
    take: Callable[[Objects], Callable[..., Any]]
    parameters: dict[str, inspect.Parameter]


def modules() -> Iterator[Any]:
    """The modules without an underscore, except for those of a package that is not installed."""
    yield mf
    for module_info in pkgutil.walk_packages(mf.__path__, "minifa."):
        if not any(part.startswith("_") for part in module_info.name.split(".")):
            try:
                yield importlib.import_module(module_info.name)
            except ModuleNotFoundError as error:
                if error.name not in OPTIONAL:
                    raise


def targets() -> dict[str, Target]:
    """Every public callable with parameters, by its name."""
    result = [
        one
        for module in modules()
        for name in module.__all__
        if getattr(value := getattr(module, name), "__module__", None) == module.__name__ and callable(value)
        for one in (_of_class(value) if inspect.isclass(value) else [_function(value)])
    ]
    result = [one for one in result if one.parameters and one.name not in REFUSING]
    return {one.name: one for one in sorted(result, key=lambda one: one.name)}


def _name(value: Any) -> str:
    return f"{value.__module__.removeprefix('minifa').removeprefix('.') or 'minifa'}.{value.__qualname__}"


def _function(function: Any) -> Target:
    return Target(_name(function), lambda objects: function, _parameters(function))


def _of_class(cls: Any) -> Iterator[Target]:
    if getattr(cls, "_is_protocol", False):
        return  # a protocol, which has no instances
    made_by_hand = not is_dataclass(cls) or hasattr(cls, "__post_init__")
    if made_by_hand and not inspect.isabstract(cls) and not issubclass(cls, (BaseException, list)):
        yield Target(_name(cls), lambda objects: cls, _parameters(cls))
    for name, value in vars(cls).items():
        if name.startswith(("_", *CALLED_BY_NAME)) or name in CONTRACT:
            continue
        if isinstance(value, property) and value.fset is not None:
            yield _method(cls, name, functools.partial(_setter, name), value.fset)
        elif inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod)):
            yield _method(cls, name, operator.attrgetter(name), getattr(cls, name))


def _setter(name: str, owner: Any) -> Callable[[Any], None]:
    return lambda value: setattr(owner, name, value)


def _method(cls: Any, name: str, bound: Callable[[Any], Any], function: Any) -> Target:
    parameters = _parameters(function)
    if not inspect.ismethod(function):
        del parameters[next(iter(parameters))]  # self
    return Target(f"{_name(cls)}.{name}", lambda objects: bound(_owner(cls, objects)), parameters)


def _owner(cls: Any, objects: Objects) -> Any:
    if cls.__name__ in OWNERS:
        return OWNERS[cls.__name__](objects)
    receiver = receiver_of(cls)
    assert receiver is not None, f"say in OWNERS how a {cls.__name__} is made"
    return receiver(objects, Random(0))


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return {
        name: one for name, one in inspect.signature(function).parameters.items() if one.kind is not one.VAR_KEYWORD
    }


# Calls


def given(target: Target, name: str) -> Give | None:
    """The function that makes a valid value of a parameter; None if there is none."""
    return GIVEN.get(f"{target.name}.{name}") or GIVEN.get(name)


def needed(target: Target) -> list[str]:
    """The parameters that have no default."""
    several = inspect.Parameter.VAR_POSITIONAL
    return [name for name, one in target.parameters.items() if one.default is one.empty and one.kind is not several]


def unfit(target: Target, folder: Path) -> str | None:
    """The missing entry, or the error, that prevents a valid call of a callable; None if there is none."""
    missing = [name for name in needed(target) if given(target, name) is None]
    if missing:
        return f"{target.name} takes {', '.join(missing)}: give it in GIVEN"
    answers = (SystemExit, mf.data.DataNotFound, mf.data.DownloadError)  # data sets need not be present
    with _isolated(folder):
        return judge(Case("", lambda: _call(target, Objects(folder)), answers))


def _call(target: Target, objects: Objects, which: str | None = None, wrong: Any = None) -> Any:
    """Call the callable with valid values, and one parameter with an invalid value."""
    function = target.take(objects)
    values = {
        name: make(objects)
        for name in target.parameters
        if (name in needed(target) or name in QUICKER or f"{target.name}.{name}" in GIVEN)
        and (make := given(target, name)) is not None
    }
    if which is not None:
        values[which] = wrong
    several = [name for name, one in target.parameters.items() if one.kind is one.VAR_POSITIONAL]
    by_place = [values.pop(name) for name in several if name in values]
    answer = function(*by_place, **values)
    if hasattr(answer, "__enter__") and inspect.isgenerator(getattr(answer, "gen", None)):
        with answer:
            return answer
    return list(itertools.islice(answer, 3)) if inspect.isgenerator(answer) else answer


def must_refuse(target: Target, which: str, wrong: str) -> bool:
    """Whether the value is invalid by the parameter's annotation."""
    parts = str(target.parameters[which].annotation).split(" | ")
    if not all(part in (*FITTING, "None") for part in parts):
        return False
    return wrong not in itertools.chain(*(("None",) if part == "None" else FITTING[part] for part in parts))


def sample(target: Target, which: str, count: int) -> list[str]:
    """``count`` of the invalid values, evenly spaced, from an offset that depends on the names."""
    names = list(WRONG)
    first = zlib.crc32(f"{target.name}.{which}".encode())
    return [names[(first + i * len(names) // count) % len(names)] for i in range(min(count, len(names)))]


def audit(target: Target, folder: Path, count: int = len(WRONG)) -> list[str]:
    """The problems in a callable's responses to ``count`` invalid values of each parameter, one or more lines each."""
    problems = []
    for which in target.parameters:
        for number, wrong in enumerate(sample(target, which, count)):
            place = folder / f"{which}-{number}"
            place.mkdir(parents=True)
            problems += [
                f"{target.name}({which}={wrong}): {problem}" for problem in _problems_of(target, which, wrong, place)
            ]
    return problems


def _problems_of(target: Target, which: str, wrong: str, place: Path) -> list[str]:
    def call() -> Any:
        return _call(target, Objects(place), which, WRONG[wrong]())

    def check(result: Any) -> None:
        assert not must_refuse(target, which, wrong), "it was taken"

    refusals = (TypeError, ValueError, OSError, RuntimeError, SystemExit)
    before, files = installed(), [os.fstat(number)[:3] for number in (0, 1, 2)]
    with _isolated(place) as output:
        problems = [judge(Case(f"{which}={wrong}", call, refusals, check))]
    if output.getvalue() and target.name != "cli.main":  # it prints help
        problems.append(f"printed {output.getvalue()!r}")
    if installed() != before:
        backend._install(*before)
        if target.name != "backend.use":
            problems.append("changed where arrays live")
    assert [os.fstat(number)[:3] for number in (0, 1, 2)] == files, f"{target.name}({which}={wrong}) closed a stream"
    return [one for one in problems if one is not None]


@contextlib.contextmanager
def _isolated(place: Path) -> Iterator[io.StringIO]:
    """In a separate folder, with empty standard input, without network and signals. Yields the printed output."""

    def refuse(*given: Any, **options: Any) -> Any:
        raise OSError("nothing goes out of this process while it is audited")

    tables, files = {what: dict(table) for what, table in registry.TABLES.items()}, dict(imports.FILES)
    kept = os.getcwd(), sys.stdin, os.kill, socket.socket.connect, socket.getaddrinfo
    os.chdir(place)
    around = dict(os.environ)
    os.environ.update(HOME=str(place), MINIFA_DATA=str(place))
    sys.stdin, os.kill, socket.socket.connect, socket.getaddrinfo = io.StringIO(), refuse, refuse, refuse  # type: ignore
    try:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            yield output
    finally:
        for live, before in ((imports.FILES, files), *((registry.TABLES[what], tables[what]) for what in tables)):
            live.clear()
            live.update(before)
        os.chdir(kept[0])
        os.environ.clear()
        os.environ.update(around)
        sys.stdin, os.kill, socket.socket.connect, socket.getaddrinfo = kept[1:]  # type: ignore
