"""`minifa train`: train one network under one rule, into a run folder."""

from __future__ import annotations

__all__: list[str] = []

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import backend, data, environment, experiments, imports, signals
from ..chance import unrelated_entries
from ..checkpoints import CheckpointError
from ..console import print_stderr
from ..experiments import Experiment, Result, reading, recipes, resume, run_folder, tables
from ..experiments.experiment import parts
from ..storage.atomic import expanded, with_advice
from ..text import wrap
from ..training import Callback, Trainer, logs
from ..training.history import best_row
from ..training.phases import Carried
from . import pictures
from .descriptions import as_file_name, describe_rates, describe_setting, label
from .exit_codes import DIVERGED, FAILED, OK
from .options import (
    add_changes,
    add_early_stopping,
    add_measurements,
    add_rule,
    add_setting,
    contradictions,
    how_often,
    make_fitting_experiment,
)

BASE = Experiment(rule="fa")  # the rule that minifa is about; backpropagation has nothing to show in its angles
WHERE = {"backend", "dtype", "threads", "quiet", "imports", "data_dir"}  # options that do not change the experiment
PARSED = {"command", "parser", "run"}  # entries of the parser itself
SLOW = "The network has not fitted its training set yet. To compare: {others}; minifa rules {rule} describes the rule."
OTHER_RULES = {"bp": "carries the error through W itself", "usf": "carries the error through the signs of W"}
MLP_LAYERS = 2  # weighted layers of --model mlp
KEPT = {"resume", "previous", "checkpoint_every", "tensorboard"}


def describe(command: argparse.ArgumentParser) -> None:
    add_setting(command)
    add_rule(command, BASE, "learning rule, options behind a colon (usf:scale=init)")
    command.add_argument(
        "--out", help="run folder (default: runs/DATA-MODEL-RULE-1, -2, ...; an existing one is never overwritten)"
    )
    add_early_stopping(command)
    add_measurements(command)
    recipe = command.add_argument_group("or all of that from a file")
    recipe.add_argument("--recipe", help=f"{', '.join(recipes.shipped())}, or a .toml file")
    add_changes(recipe)
    saving = command.add_argument_group("checkpoints and logs")
    saving.add_argument(
        "--resume",
        metavar="RUN",
        help="resume the run in this folder, with its experiment; --epochs may be more, and --data "
        "say where its file is now",
    )
    saving.add_argument(
        "--previous", action="store_true", help="with --resume: from the checkpoint before the last, if that is damaged"
    )
    saving.add_argument(
        "--checkpoint-every",
        type=how_often,
        default="60s",
        metavar="HOW OFTEN",
        help="a time (60s, 10m, 1h) or a number of updates; also at an epoch's end",
    )
    saving.add_argument(
        "--tensorboard", action="store_true", help="write event files for TensorBoard too (needs tensorboardX)"
    )


def run(options: argparse.Namespace) -> int:
    if options.tensorboard:
        logs.find_writer()
    if options.previous and not options.resume:
        raise ValueError("--previous goes with --resume RUN")
    if options.resume:
        experiment = _resumed_experiment(options)
        dataset = _load_resumed(experiment)
    elif options.recipe or options.changes:
        experiment = _experiment_of_recipe(options)
        dataset = experiments.load_data(experiment)
    else:
        experiment, dataset = make_fitting_experiment(options, base=BASE)
    parts(experiment, dataset)  # an invalid validation split raises before anything is written
    trainer = experiments.trainer_for(experiment, dataset, progress=not options.quiet)
    print(trainer.net.summary(trainer.rule))
    print(f"\n{_setting(experiment, dataset)}\n", flush=True)
    folder = expanded(options.resume) if options.resume else _new_folder(options.out, experiment, dataset)
    with run_folder.locked(folder):
        return _train_in(folder, experiment, dataset, trainer, options)


def _setting(experiment: Experiment, dataset: data.Dataset) -> str:
    setting = describe_setting(experiment, dataset)
    if experiment.phases:
        return "\n".join(wrap(line) for line in (setting, *tables.describe_phases(experiment)))
    return wrap(f"{setting}, rule {experiment.rule}, {describe_rates([experiment])}")


class _PrintPhases(Callback):
    """Prints what each phase has from the phase before."""

    def on_phase(self, trainer: Trainer, carried: Carried) -> None:
        print(f"{wrap(f'after epoch {trainer.epoch}, phase {trainer.phase}: {carried}')}\n", flush=True)


def _new_folder(out: str | None, experiment: Experiment, dataset: data.Dataset) -> Path:
    config = resume.config_of(experiment, dataset)
    if out is not None:
        return run_folder.new_folder(out, config)
    return run_folder.numbered_folder(f"runs/{label(experiment)}-{as_file_name(experiment.label)}", config)


def _load_resumed(experiment: Experiment) -> data.Dataset:
    try:
        return experiments.load_data(experiment)
    except data.DataNotFound as error:
        if data.is_file(experiment.data):
            raise data.DataNotFound(f"{error}; --data FILE says where it is now") from error
        raise


def _train_in(
    folder: Path, experiment: Experiment, dataset: data.Dataset, trainer: Trainer, options: argparse.Namespace
) -> int:
    """Train in the locked folder; if training is interrupted or fails, print the command that resumes it."""
    try:
        if options.resume:
            _resume(folder, experiment, dataset, trainer, options)
        every_seconds, every_steps = options.checkpoint_every
        resume.attach_callbacks(folder, experiment, trainer, every_seconds, every_steps, options.tensorboard, dataset)
        trainer.callbacks += [] if options.quiet else [_PrintPhases()]
        with signals.stopping(trainer) as interrupt:
            result = experiments.fit(experiment, dataset, trainer)
        if trainer.stopped:
            place = f"in epoch {trainer.epoch}, after {trainer.batch} of its batches: saved"
            print_stderr(f"interrupted {place}{_how_to_resume(folder)}")
        return _finish_run(folder, dataset, trainer, result, "rule" not in vars(options)) or interrupt.exit_code
    except KeyboardInterrupt as stop:
        if (folder / "config.json").is_file():
            pictures.write_page(folder)
        print_stderr(f"\nended at once, in epoch {trainer.epoch}{_how_to_resume(folder)}")
        return signals.exit_code(stop)
    except BrokenPipeError:  # standard output was closed; handled in `_run`
        raise
    except OSError as error:
        print_stderr(f"minifa train: {with_advice(error)}{_how_to_resume(folder)}")
        return FAILED


def _experiment_of_recipe(options: argparse.Namespace) -> Experiment:
    """The experiment of --recipe and --set. Raises ValueError if options beside these change its settings."""
    if options.recipe is None:
        raise ValueError("--set changes a setting of a recipe: it goes with --recipe")
    wrong = _given(options).keys() - {"recipe", "changes", "out"}
    if wrong:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
        raise ValueError(f"a recipe's settings are changed by --set, as --set training.epochs=3: leave out {names}")
    recipe = recipes.read(options.recipe, options.changes)
    experiment = replace(recipe.experiment, data_dir=getattr(options, "data_dir", recipe.experiment.data_dir))
    recipes.check([experiment], f"the recipe {recipe.name!r}")
    return experiment


def _resumed_experiment(options: argparse.Namespace) -> Experiment:
    """The experiment of the run to resume. Raises ValueError if other options contradict it."""
    stored = resume.saved_experiment(options.resume)
    given = _given(options)
    epochs, name = given.pop("epochs", stored.epochs), stored.data
    if data.is_file(given.get("data", "")) and data.is_file(stored.data):  # it may have been moved
        name = given.pop("data")  # its contents are compared on resuming
    wrong = contradictions(given, stored)
    if stored.phases and epochs != stored.epochs:
        wrong.append(f"--epochs {epochs} (kept: {stored.epochs}, the sum of its phases)")
    elif epochs < stored.epochs:
        wrong.append(f"--epochs {epochs} (kept: {stored.epochs}, and only more may be asked for)")
    if wrong:
        raise ValueError(f"{options.resume} is resumed with its own settings; leave out {', '.join(wrong)}")
    return replace(stored, epochs=epochs, data=name, data_dir=getattr(options, "data_dir", stored.data_dir))


def _resume(
    folder: Path, experiment: Experiment, dataset: data.Dataset, trainer: Trainer, options: argparse.Namespace
) -> None:
    try:
        checkpoint = resume.resume_training(folder, experiment, dataset, trainer, options.previous)
    except CheckpointError as error:
        if error.previous is None:
            raise
        raise CheckpointError(f"{error}; to resume from there, add --previous") from error
    in_last_phase = experiment.number_of(trainer.phase) == len(experiment.stages()) - 1
    done = trainer.finished - trainer.phase_start >= experiment.stage(trainer.phase).epochs
    if checkpoint and trainer.cannot_continue:
        place = f"ended as diverged in epoch {trainer.epoch}: start again with a smaller --lr and another --out"
    elif checkpoint and trainer.history.stopped_early and in_last_phase:
        place = f"{_stopped_early(trainer)}; to train longer, start again with a larger --patience and another --out"
    elif checkpoint and done and in_last_phase:
        epochs = f"{trainer.finished} epoch{'s' * (trainer.finished > 1)}"
        more = "" if experiment.phases else f"; --epochs {2 * trainer.finished} continues"
        place = f"finished already, with {epochs}{more}"
    else:
        position = checkpoint.position() if checkpoint else "from the start: no checkpoint was written"
        place = "" if options.quiet else f"resuming {position}"
    if place:
        print(f"{place}\n", flush=True)
    wrote, now = (checkpoint.environment if checkpoint else {}), environment.environment()
    changed = [
        f"{key} {wrote[key]}, now {now[key]}"
        for key in ("minifa", "numpy", "backend")
        if key in wrote and wrote[key] != now[key]
    ]
    if changed:
        print_stderr(f"note: the run was started with {'; '.join(changed)}: the last bits may differ")


def _stopped_early(trainer: Trainer) -> str:
    best = best_row(trainer.history)
    where = "" if best is None else f": no better value on the held-out examples since epoch {best['epoch']}"
    return f"stopped early after epoch {trainer.epoch}{where}, whose network is restored"


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, without those that may differ when a run is resumed."""
    return {
        name: value
        for name, value in vars(options).items()
        if name not in PARSED | WHERE | KEPT and value not in (None, [])
    }


def _how_to_resume(folder: Path) -> str:
    if not (folder / "config.json").is_file():  # the folder was removed during the run
        return f"\n{folder} is gone, with what was written there: the same command starts again"
    where = [] if backend.name() == "numpy" else ["--backend", backend.name()]
    dtype = [] if str(backend.dtype()) == "float32" else ["--dtype", str(backend.dtype())]
    return "\nto resume: " + shlex.join(
        ["minifa", "train", "--resume", str(folder), *where, *dtype, *imports.options()]
    )


def _finish_run(folder: Path, dataset: data.Dataset, trainer: Trainer, result: Result, by_default: bool) -> int:
    """Write the results of a finished training run and print them. Returns the exit code.

    Args:
        by_default: whether no rule was asked for.
    """
    experiment, picture = result.experiment, folder / "figures" / "training.png"
    run_folder.save(folder, experiment, trainer.history, trainer.net, trainer.rule)
    drawn = pictures.draw(
        picture,
        lambda figures: figures.training_curves(result, f"{experiment.label} on {dataset.name}"),
        pictures.how_to_redraw(folder, "history.csv"),
    )
    pictures.write_page(folder)
    print(tables.history_table(trainer.history))
    if dataset.note:
        print(f"\n{wrap(dataset.note)}")
    if trainer.history.stopped_early:
        print(f"\n{wrap(_stopped_early(trainer))}")
    if not result.diverged:
        held_out = parts(experiment, dataset)[1] if result.measured == "validation" else None
        measured = dataset.test if held_out is None else held_out
        B = trainer.rule.B
        entries = {layer.name: unrelated_entries(layer.W, B.get(layer.name)) for layer in trainer.net.weighted}
        print(f"\n{wrap(reading.read_training(result, len(measured), entries, trainer.rule.feedback_learns))}")
        if unstable := reading.instability(result):
            print(wrap(unstable))
        if by_default and not experiment.phases and reading.not_fitted(result):
            print(wrap(_slow(experiment.rule, len(trainer.net.weighted))))
    print(f"\nwritten to {folder}")
    if drawn:
        pictures.show(picture)
    if experiment.targets:
        print(wrap(f"{pictures.redraw(folder)} draws the targets of every layer"))
    if result.diverged:
        print_stderr(f"training diverged: {trainer.divergence}; try a smaller --lr")
        return DIVERGED
    return OK


def _slow(rule: str, layers: int) -> str:
    """A hint to compare with other rules and, if the trained network has more weighted layers, with --model mlp."""
    others = [f"--rule {name} {text}" for name, text in OTHER_RULES.items() if name != rule]
    others += ["--model mlp has fewer layers"] if layers > MLP_LAYERS else []
    return SLOW.format(rule=rule, others=", ".join(others))
