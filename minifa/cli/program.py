"""The command-line interface. Everything it does is also available from Python."""

from __future__ import annotations

__all__ = ["main"]

import argparse
import contextlib
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import backend, data, environment, experiments, rules, signals
from ..checkpoints import CheckpointError
from ..console import bar, print_stderr, standard_streams
from ..data import notices
from ..environment import __version__
from ..experiments import Experiment, Result, recipes, resume, run_folder, tables, tuning
from ..parallel import threads
from ..registry import unknown
from ..storage.atomic import expanded, make_folder, refuse_link, save_picture, stem, with_advice, write_atomic
from ..text import escaping, printable
from ..training import History, Trainer, logs
from ..validation import check_list
from . import data as data_command
from . import doctor, pictures, reproduce, starting, sweep, tune
from .exit_codes import DIVERGED, FAILED, OK, WRONG_USE
from .options import (
    add_changes,
    add_network,
    add_setting,
    add_update,
    as_file_name,
    at_least_one,
    contradictions,
    count,
    from_zero,
    how_often,
    label,
    make_experiment,
    number,
    possible_rules,
    seeds,
    split_rules,
    widths,
)

DEFAULT_RULES = "bp,usf,frsf,fa,shallow"
WHERE = {"backend", "dtype", "threads", "data_dir"}  # options that do not change the experiment
KEPT = {"resume", "previous", "checkpoint_every", "tensorboard"}


@escaping()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong use, 3 training diverged, 130 interrupted, 143
    terminated by SIGTERM."""
    given = sys.argv[1:] if arguments is None else check_list(arguments, str, "the arguments of a command are words")
    with standard_streams():
        return _run(given)


def _run(arguments: Sequence[str]) -> int:
    arguments = _joined(arguments)
    for stream in (sys.stdout, sys.stderr):  # an encoding without ± or ° must not end a run
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        options.parser.error("unrecognized arguments: " + " ".join(rest))
    options.arguments = arguments
    try:
        starting.done()
        with signals.terminating(), notices.on_stderr(f"minifa {options.command}"), warnings.catch_warnings():
            warnings.simplefilter("ignore", experiments.FailedRun)  # every command reports failed runs at its end
            backend.use(options.backend or backend.chosen_by_environment(), options.dtype, options.threads)
            return options.run(options)
    except BrokenPipeError:  # the reading process (head, less) has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt as stop:
        how = "ended by SIGTERM" if isinstance(stop, signals.Terminated) else "interrupted"
        print_stderr(f"\n{how}: no file is left half-written, and the same command begins again")
        return signals.exit_code(stop)
    except OSError as error:
        print_stderr(f"minifa {options.command}: {with_advice(error)}")
        return FAILED
    except (ValueError, TypeError, ImportError, MemoryError, backend.BackendError) as error:
        said = str(error) or "memory does not suffice: a smaller network or --batch-size needs less"
        print_stderr(f"minifa {options.command}: {said}")
        return WRONG_USE if isinstance(error, ValueError) else FAILED


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--lr -1e-3`` as ``--lr=-1e-3``: argparse treats arguments with a leading minus as options, unless they are
    simple numbers such as -1."""
    found: list[str] = []
    for one in arguments:
        if found and re.match(r"-(\.?\d|inf|nan)", one) and re.fullmatch(r"--[a-z][a-z-]*", found[-1]):
            found[-1] += f"={one}"
        else:
            found.append(one)
    return found


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, "", []) else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that suggests similar names for an unknown command or option."""

    def error(self, message: str) -> Any:
        if "invalid choice:" in message and self._subparsers is not None:
            given = message.split("invalid choice: ")[1].split("'")[1]
            message = unknown(COMMANDS, given, "command")
        elif message.startswith("unrecognized arguments: "):
            given = message.removeprefix("unrecognized arguments: ").partition(" ")[0]
            known = [option for action in self._actions for option in action.option_strings]
            message = unknown(known, given, "option") if given.startswith("-") else message
        self.print_usage(sys.stderr)
        self.exit(WRONG_USE, f"{self.prog}: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="minifa",
        description="Learn how networks learn: train them under backpropagation and feedback alignment.",
        epilog="Try: minifa compare. Exit codes: 0 done, 1 failed, 2 wrong use, 3 training diverged, 130 interrupted, "
        "143 ended by SIGTERM.",
    )
    parser.add_argument("--version", action="version", version=f"minifa {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (describe, summary, run) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, formatter_class=_Help)
        command.set_defaults(run=run, parser=command)
        where = command.add_argument_group("where it runs")
        where.add_argument(
            "--backend", choices=("numpy", "cupy"), help="where arrays live (default: $MINIFA_BACKEND, else numpy)"
        )
        where.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="floating-point type")
        where.add_argument(
            "--threads",
            type=count(1, threads.MAX_THREADS),
            help="threads of the CPU (default: $MINIFA_THREADS, else all cores)",
        )
        describe(command)
    return parser


# train


def _describe_train(command: argparse.ArgumentParser) -> None:
    add_setting(command)
    command.add_argument(
        "--rule", default="bp", help=f"learning rule, options behind a colon (usf:scale=init): {', '.join(rules.RULES)}"
    )
    command.add_argument(
        "--out", help="run folder (default: runs/train-DATA-MODEL-RULE; an existing one is never overwritten)"
    )
    command.add_argument(
        "--validation",
        type=number,
        default=0.0,
        help="share of the training set that is held out and measured instead of the test set (default: none)",
    )
    recipe = command.add_argument_group("or all of that from a file")
    recipe.add_argument("--recipe", help=f"{', '.join(recipes.shipped())}, or a .toml file")
    add_changes(recipe)
    kept = command.add_argument_group("what is kept")
    kept.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run in this folder, with the experiment that it holds; --epochs may be more, and --data "
        "say where its file is now",
    )
    kept.add_argument(
        "--previous", action="store_true", help="with --resume: from the checkpoint before the last, if that is damaged"
    )
    kept.add_argument(
        "--checkpoint-every",
        type=how_often,
        default="60s",
        metavar="HOW OFTEN",
        help="a time (60s, 10m, 1h) or a number of updates; also at an epoch's end",
    )
    kept.add_argument(
        "--tensorboard", action="store_true", help="write event files for TensorBoard too (needs tensorboardX)"
    )


def _train(options: argparse.Namespace) -> int:
    if options.tensorboard:
        logs.find_writer()
    if options.previous and not options.resume:
        raise ValueError("--previous goes with --resume RUN")
    if options.resume:
        experiment = _kept_experiment(options)
    elif options.recipe or options.changes:
        experiment = _experiment_of_recipe(options)
    else:
        experiment = make_experiment(options, options.rule)
    dataset = _load(experiment, resumed=bool(options.resume))
    experiments.parts(experiment, dataset)  # an invalid validation split raises before anything is written
    trainer = experiments.trainer_for(experiment, dataset, progress=True)
    print(trainer.net.summary(trainer.rule))
    print(f"\n{_describe(experiment, dataset)}, rule {experiment.rule}, {_rates([experiment])}\n", flush=True)
    name = f"runs/train-{label(experiment)}-{as_file_name(experiment.rule)}"
    config = resume.config_of(experiment, dataset)
    folder = expanded(options.resume) if options.resume else run_folder.new_folder(options.out or name, config)
    with run_folder.locked(folder):
        return _train_in(folder, experiment, dataset, trainer, options)


def _load(experiment: Experiment, resumed: bool) -> data.Dataset:
    try:
        return experiments.load_data(experiment)
    except data.DataNotFound as error:
        if resumed and data.is_file(experiment.data):
            raise data.DataNotFound(f"{error}; --data FILE says where it is now") from error
        raise


def _train_in(
    folder: Path, experiment: Experiment, dataset: data.Dataset, trainer: Trainer, options: argparse.Namespace
) -> int:
    """Train in the locked folder; if training is interrupted or fails, print the command that resumes it."""
    try:
        if options.resume:
            _go_on(folder, experiment, dataset, trainer, options.previous)
        every_seconds, every_steps = options.checkpoint_every
        resume.keep(folder, experiment, trainer, every_seconds, every_steps, options.tensorboard, dataset)
        with signals.stopping(trainer) as interrupt:
            result = experiments.fit(experiment, dataset, trainer)
        if trainer.stopped:
            place = f"in epoch {trainer.epoch}, after {trainer.batch} of its batches: saved"
            print_stderr(f"interrupted {place}{_how_to_go_on(folder)}")
        return _finish_run(folder, experiment, dataset, trainer, result) or interrupt.exit_code
    except KeyboardInterrupt as stop:
        print_stderr(f"\nended at once, in epoch {trainer.epoch}{_how_to_go_on(folder)}")
        return signals.exit_code(stop)
    except BrokenPipeError:  # standard output was closed; handled in `_run`
        raise
    except OSError as error:
        print_stderr(f"minifa train: {with_advice(error)}{_how_to_go_on(folder)}")
        return FAILED


def _experiment_of_recipe(options: argparse.Namespace) -> Experiment:
    """The experiment of --recipe and --set. Raises ValueError if other options set what the recipe defines."""
    if options.recipe is None:
        raise ValueError("--set changes a setting of a recipe: it goes with --recipe")
    wrong = _given(options.arguments) - KEPT - WHERE - {"recipe", "changes", "out"}
    if wrong:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
        raise ValueError(f"a recipe's settings are changed by --set, as --set training.epochs=3: leave out {told}")
    recipe = recipes.read(options.recipe, options.changes)
    experiment = replace(recipe.experiment, data_dir=options.data_dir or recipe.experiment.data_dir)
    recipes.check([experiment], f"the recipe {recipe.name!r}")
    return experiment


def _kept_experiment(options: argparse.Namespace) -> Experiment:
    """The experiment of the run to resume. Raises ValueError if other options contradict it."""
    kept = resume.saved_experiment(options.resume)
    given = _given(options.arguments) - KEPT
    # The data file may have been moved; its contents are compared on resuming.
    elsewhere = "data" in given and data.is_file(options.data) and data.is_file(kept.data)
    wrong = contradictions(given - WHERE - ({"epochs", "data"} if elsewhere else {"epochs"}), options, kept)
    epochs = options.epochs if "epochs" in given else kept.epochs
    if epochs < kept.epochs:
        wrong.append(f"--epochs {epochs} (kept: {kept.epochs}, and only more may be asked for)")
    if wrong:
        raise ValueError(f"{options.resume} is gone on with as it was begun; leave out {', '.join(wrong)}")
    name = options.data if elsewhere else kept.data
    return replace(kept, epochs=epochs, data=name, data_dir=options.data_dir or kept.data_dir)


def _go_on(folder: Path, experiment: Experiment, dataset: data.Dataset, trainer: Trainer, previous: bool) -> None:
    try:
        found = resume.go_on(folder, experiment, dataset, trainer, previous)
    except CheckpointError as error:
        if error.previous is None:
            raise
        raise CheckpointError(f"{error}; to go on from there, add --previous") from error
    if found and trainer.cannot_continue:
        place = f"ended as diverged in epoch {trainer.epoch}: begin anew with a smaller --lr and another --out"
    elif found and trainer.finished >= experiment.epochs:
        place = f"finished already, with {trainer.finished} epochs; --epochs {2 * trainer.finished} continues"
    else:
        place = f"going on {found.position() if found else 'from the start: no checkpoint was written'}"
    print(place, flush=True)
    wrote, now = (found.environment if found else {}), environment.environment()
    changed = [
        f"{key} {wrote[key]}, now {now[key]}"
        for key in ("minifa", "numpy", "backend")
        if key in wrote and wrote[key] != now[key]
    ]
    if changed:
        print_stderr(f"note: the run was begun with {'; '.join(changed)}: the last bits may be others")


def _given(arguments: Sequence[str]) -> set[str]:
    """The names of the options given explicitly on the command line."""
    parser = make_parser()
    command = parser.parse_args(arguments).parser
    for action in command._actions:
        action.default = argparse.SUPPRESS
    command._defaults.clear()
    return vars(parser.parse_args(arguments)).keys() - {"command", "parser", "run"}


def _how_to_go_on(folder: Path) -> str:
    if not (folder / "config.json").is_file():  # the folder was removed during the run
        return f"\n{folder} is gone, with what was written there: the same command begins again"
    where = [] if backend.name() == "numpy" else ["--backend", backend.name()]
    dtype = [] if str(backend.dtype()) == "float32" else ["--dtype", str(backend.dtype())]
    return "\nto go on: " + shlex.join(["minifa", "train", "--resume", str(folder), *where, *dtype])


def _finish_run(folder: Path, experiment: Experiment, dataset: data.Dataset, trainer: Trainer, result: Result) -> int:
    """Write the results of a finished training run and print them. Returns the exit code."""
    run_folder.save(folder, experiment, trainer.history, trainer.net, trainer.rule)
    title = f"{experiment.rule} on {dataset.name}"
    _draw(folder / "figures" / "training.png", "training_curves", _drawn_again(folder, "history.csv"), result, title)
    print(tables.history_table(trainer.history))
    if dataset.note:
        print(f"\n{dataset.note}")
    print(f"\nwritten to {folder}")
    if result.diverged:
        print_stderr(f"training diverged: {trainer.divergence}; try a smaller --lr")
        return DIVERGED
    return OK


# compare


def _describe_compare(command: argparse.ArgumentParser) -> None:
    add_setting(command)
    command.add_argument(
        "--rules",
        default=DEFAULT_RULES,
        help=f"comma-separated, or 'all': {', '.join(rules.RULES)}; with options: bp,fa:normalise=strict,sparsity=0.5",
    )
    command.add_argument("--seeds", type=seeds, default=3, help="runs of each rule")
    command.add_argument("--jobs", type=at_least_one, help="runs at the same time (default: one per core)")
    command.add_argument(
        "--tune",
        action="store_true",
        help="first search the rate of every rule, as `minifa tune` does, and keep the search in the folder",
    )
    command.add_argument(
        "--out", help="folder (default: runs/compare-DATA-MODEL; an existing one is never overwritten)"
    )


def _compare(options: argparse.Namespace) -> int:
    asked = split_rules(options.rules)
    base = make_experiment(options, asked[0])
    dataset = experiments.load_data(base)
    names = possible_rules(base, asked, dataset, leave_out=options.rules == "all")
    folder = run_folder.new_folder(options.out or f"runs/compare-{label(base)}")
    try:
        return _compare_in(folder, base, names, dataset, options)
    except (KeyboardInterrupt, OSError) as error:
        if (folder / "runs.csv").is_file() and not isinstance(error, BrokenPipeError):
            command = shlex.join(["minifa", "figures", str(folder)])
            print_stderr(f"\nfinished runs are kept in {folder}; to draw them: {command}")
        raise
    finally:
        run_folder.drop_empty(folder)


def _compare_in(
    folder: Path, base: Experiment, names: Sequence[str], dataset: data.Dataset, options: argparse.Namespace
) -> int:
    chosen: dict[str, float] = {}
    if options.tune:
        trials, stop = tune.search_in(folder, base, names, resume.contents(base, dataset), options.jobs)
        rates = tuning.rate_table(trials)
        print(tables.grid_table(rates) + (f"\n{dataset.note}" if dataset.note else "") + "\n", flush=True)
        if stop is not None:
            raise stop
        chosen = {row["rule"]: row["lr"] for row in rates if row["chosen"]}
    grid = [
        replace(e, lr=chosen[e.rule]) if e.rule in chosen else e
        for e in experiments.grid_of_rules(base, names, options.seeds)
    ]
    seeds = f"seeds {options.seed} to {options.seed + options.seeds - 1}"
    print(f"{_describe(base, dataset)}, {seeds}, {_rates(grid)}\n", flush=True)
    results, stop = _run_all(grid, options.jobs, "compare", lambda found: _keep_runs(folder, found))
    if results:
        _report(folder, results, dataset)
        print(f"written to {folder}")
    failed = [r for r in results if r.error is not None]
    for result in failed:
        print_stderr(f"{result.experiment.rule}, seed {result.experiment.seed}: {result.error}")
    if stop is not None:
        finished = len(results) - len(failed)
        print_stderr(f"interrupted: {finished} of {len(grid)} runs were finished and kept")
        return signals.exit_code(stop)
    return FAILED if failed else OK


def _run_all(
    grid: Sequence[Experiment], jobs: int | None, label: str, keep: Callable[[list[Result]], None]
) -> tuple[list[Result], KeyboardInterrupt | None]:
    """(the results in the grid's order, the interrupt (Ctrl-C or SIGTERM) that ended the runs; None if all ended).
    ``keep`` is called with all results so far after each run, so that a killed process loses none."""
    found: dict[int, Result] = {}
    coming = experiments.run_many(grid, jobs)
    with bar(total=len(grid), desc=label, unit="run") as shown, contextlib.closing(coming):
        try:
            for result in coming:
                found[grid.index(result.experiment)] = result
                keep(_in_order(found))
                shown.update()
                e = result.experiment
                shown.set_postfix_str(f"{e.rule} seed {e.seed} lr {e.rate():g}: {result.score:.3f}")
        except KeyboardInterrupt as stop:
            keep(_in_order(found))  # the interrupt may have come before the last result was kept
            return _in_order(found), stop
    return _in_order(found), None


def _in_order(found: Mapping[int, Result]) -> list[Result]:
    return [found[number] for number in sorted(found)]


def _keep_runs(folder: Path, results: Sequence[Result]) -> None:
    """Write every epoch of every run to runs.csv, and the experiments to config.json."""
    rows = [
        {
            "rule": r.experiment.rule,
            "seed": r.experiment.seed,
            "rate": r.experiment.rate(),
            "diverged": int(r.diverged),
            **row,
        }
        for some in tables.by_rule(results).values()
        for r in some
        for row in r.history
    ]
    History(rows).save_csv(folder / "runs.csv")
    run_folder.write_config(folder, {"experiments": [r.experiment.as_config() for r in results]})


def _report(folder: Path, results: Sequence[Result], dataset: data.Dataset) -> None:
    """Print the table, write it to table.txt, and draw the figure."""
    first = results[0].experiment
    table = f"{tables.summary_table(results)}\n\n{tables.angle_table(results)}"
    note = f"\n\n{dataset.note}" if dataset.note else ""
    legend = (
        f"score: test {'accuracy' if dataset.classes else 'minus loss'}, mean ± sd over seeds; "
        "weight angle: between W and B, mean over layers;\n"
        "true angle: between this rule's error and backpropagation's at the lowest layer; 90° is chance."
        + (f"\n{tables.sampling_error(len(dataset.test))}" if dataset.classes else "")
    )
    setting = _describe(first, dataset)
    write_atomic(folder / "table.txt", printable(f"{setting}\n\n{table}\n\n{legend}{note}\n"))
    print(f"{table}\n\n{legend}{note}\n")
    few = len({r.experiment.rule for r in results}) <= 8  # more cannot be distinguished in one panel
    picture = "comparison" if few else "survey"
    _draw(folder / "figures" / "comparison.png", picture, _drawn_again(folder, "runs.csv"), results, setting)


def _draw(path: Path, picture: str, otherwise: str, *arguments: Any) -> bool:
    return pictures.draw(path, lambda figures: getattr(figures, picture)(*arguments), otherwise)


def _drawn_again(folder: Path, numbers: str) -> str:
    return f"the numbers are in {folder / numbers}; {shlex.join(['minifa', 'figures', str(folder)])} draws it again"


# figures


def _describe_figures(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_folder", metavar="RUN", help="folder of a finished `minifa train` or `minifa compare`")
    command.add_argument("--dark", action="store_true", help="for dark pages; the files' names end in -dark")
    command.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="of the files")


def _figures(options: argparse.Namespace) -> int:
    from ..figures import of_run  # imported here: matplotlib is slow to import

    folder = expanded(options.run_folder) / "figures"
    refuse_link(folder)
    drawn = of_run(options.run_folder, dark=options.dark)
    make_folder(folder)
    for name, figure in drawn.items():
        path = folder / f"{name}{'-dark' if options.dark else ''}.{options.format}"
        save_picture(figure, path)
        print(path)
    return OK


def _describe(experiment: Experiment, dataset: data.Dataset) -> str:
    options = experiments.describe_options(experiment.model_options)
    model = f"model {experiment.model}{' ' + options if options else ''}"
    images = f", {experiment.augmentation}" if experiment.augmentation else ""
    return (
        f"{dataset.name} ({len(dataset.train)} training, {len(dataset.test)} test examples), {model}{images}, "
        f"{experiment.epochs} epoch{'s' * (experiment.epochs > 1)}, batch {experiment.batch_size}, "
        f"{experiment.optimizer}"
    )


def _rates(grid: Sequence[Experiment]) -> str:
    """The origin of the learning rates, as a phrase."""
    if all(e.lr is not None for e in grid):
        return "rates as given" if len({e.lr for e in grid}) > 1 else f"rate {grid[0].lr:g}"
    asked = {e.rule: e for e in grid if e.lr is None}
    kept = {rule: experiments.shipped_rate(e) for rule, e in asked.items()}
    untuned = sorted(rule for rule, row in kept.items() if row is None)
    if untuned:
        rate = asked[untuned[0]].rate()  # the same for all untuned rules
        return f"rate {rate:g} for {', '.join(untuned)}: no grid was run for this setting (--tune runs one)"
    differ: dict[str, list[str]] = {}
    for rule, row in kept.items():
        if row is not None:
            differ.setdefault(", ".join(experiments.rate_differences(asked[rule], row)), []).append(rule)
    differ.pop("", None)
    others = "; ".join(f"{', '.join(some)} with {setting}" for setting, some in differ.items())
    return "rates from the grid kept in minifa/experiments/recipes/rates.csv" + (
        f", which was run for {others}" if others else ""
    )


# step


def _describe_step(command: argparse.ArgumentParser) -> None:
    add_network(command, data="xor", model="tiny")
    add_update(command, batch_size=4, lr="0.5 for sgd, else the optimizer's own")
    command.add_argument("--rule", default="bp", help=f"learning rule: {', '.join(rules.RULES)}")
    command.add_argument("--updates", type=from_zero, default=0, help="updates to make before the step that is shown")
    command.set_defaults(momentum=0.0, epochs=1, schedule="constant")


def _step(options: argparse.Namespace) -> int:
    from ..tracing import stepper

    if options.lr is None and options.optimizer == "sgd":
        options.lr = 0.5  # large enough for visible changes of the tiny network
    experiment = make_experiment(options, options.rule)
    dataset = experiments.load_data(experiment)
    replay = stepper.Replay(experiment, dataset, options.updates)
    if sys.stdin.isatty() and sys.stdout.isatty():
        stepper.Stepper(replay, experiment.rule).cmdloop()
        return OK
    trace = replay.under(experiment.rule)
    width = shutil.get_terminal_size((100, 24)).columns
    print(("\n\n" + "-" * min(width, 80) + "\n").join(stepper.page(trace, i, width) for i in range(len(trace))))
    return OK


# explore


def _describe_explore(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Write one self-contained page: a training step as a film that can be stopped and rewound, under every rule "
        "from the same weights, and a short training run. Here the model mlp has hidden layers of 16 and 12."
    )
    add_network(command, data="digits", model="mlp")
    how = add_update(command, batch_size=8, lr="0.05 for sgd, else the optimizer's own")
    command.add_argument(
        "--rules", default="bp,fa,usf,dfa", help="comma-separated, the one that is shown first in front"
    )
    command.add_argument("-o", "--out", help="the page (default: runs/explore-DATA-MODEL.html); never overwritten")
    how.add_argument(
        "--updates", type=from_zero, default=0, help="updates under the first rule before the step that is shown"
    )
    how.add_argument("--train-updates", type=at_least_one, default=1000, help="length of the training run")
    command.set_defaults(momentum=0.0, epochs=1, schedule="constant")


def _explore(options: argparse.Namespace) -> int:
    from ..tracing import explorer

    if options.model == "mlp" and options.hidden is None:
        options.hidden = (16, 12)  # small enough to show every number
    if options.lr is None and options.optimizer == "sgd":
        options.lr = 0.05
    names = split_rules(options.rules)
    experiment = make_experiment(options, names[0])
    dataset = experiments.load_data(experiment)
    total = len(names) * (1 + options.train_updates)
    with bar(total=total, desc="explore", unit="update") as shown:
        page = explorer.explore(experiment, dataset, names, options.updates, options.train_updates, shown.update)
    name = f"explore-{as_file_name(stem(experiment.data))}-{experiment.model}.html"
    path = explorer.write(page, options.out or Path("runs", name))
    print(f"written to {path} ({len(page) / 1e6:.1f} MB)\nopen it in a browser: {path.resolve().as_uri()}")
    return OK


# rules, info, bench


def _describe_nothing(command: argparse.ArgumentParser) -> None:
    pass


def _rules(options: argparse.Namespace) -> int:
    for rule in rules.RULES.values():
        print(f"{rule.name:10} {rule.equation}\n{'':10} {rule.title}; {rule.paper}\n{'':10} needs {rule.needs}\n")
    return OK


def _describe_info(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", help="folder of the data files (default: $MINIFA_DATA, else the user's cache)")


def _info(options: argparse.Namespace) -> int:
    for key, value in environment.environment().items():
        print(f"{key:10} {value}")
    print(f"{'cupy':10} {backend.cupy_status()}")
    print("\ndata")
    for name, where in data.find(options.data_dir).items():
        print(f"{name:14} {where}")
    return OK


def _describe_bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", default="mlp,cnn", help="mlp, cnn, resnet20, or several")
    command.add_argument(
        "--rules",
        help="rules to set beside each other (default: bp,fa; with --memory bp,dfa,dfa:recompute=true)",
    )
    command.add_argument("--batch-size", type=at_least_one, help="examples per step (default: 128; with --memory 32)")
    command.add_argument(
        "--repeats", type=at_least_one, default=15, help="timed steps of each; their median is printed"
    )
    command.add_argument(
        "--against", help="torch, biotorch, or torch,biotorch: print every mark beside what was measured (minutes)"
    )
    memory = command.add_argument_group("memory instead of time")
    memory.add_argument(
        "--memory", action="store_true", help="peak memory of a step's activations, by the depth of a convolutional net"
    )
    memory.add_argument("--depths", type=widths, default="8,16,32,64", help="numbers of convolutions")
    memory.add_argument("--out", help="draw it into this file (.png, .svg, .pdf)")


def _bench(options: argparse.Namespace) -> int:
    from ..bench import step_time, targets

    if options.memory:
        return _bench_memory(options)
    if options.out:
        raise ValueError("only --memory draws a picture: --out needs it")
    batch_size = options.batch_size or 128
    if options.against:
        against = options.against.split(",")
        if strange := set(against) - {"torch", "biotorch"}:
            raise ValueError(unknown(("torch", "biotorch"), min(strange), "contestant"))
        print(targets.report(against, options.repeats, batch_size))
        return OK
    names = split_rules(options.rules or "bp,fa")
    print(step_time.report(options.models.split(","), names, batch_size, options.repeats))
    return OK


def _bench_memory(options: argparse.Namespace) -> int:
    from ..bench import memory

    names = split_rules(options.rules or ",".join(memory.RULES))
    batch_size = options.batch_size or memory.BATCH_SIZE
    with bar(total=len(names) * len(set(options.depths)), desc="bench", unit="net") as shown:
        peaks = memory.measure(options.depths, names, batch_size, shown.update)
    about = memory.describe(batch_size)
    print(f"{about}\n\n{memory.table(peaks)}")
    if options.out:
        title, otherwise = "Memory for activations in a training step", "the numbers stand above"
        if not _draw(expanded(options.out), "activation_memory", otherwise, peaks, title, about):
            return FAILED
        print(f"\nwritten to {options.out}")
    return OK


Command = tuple[Callable[[argparse.ArgumentParser], None], str, Callable[[argparse.Namespace], int]]
COMMANDS: dict[str, Command] = {
    "compare": (
        _describe_compare,
        "the same network and data under several learning rules and seeds: a table and a figure",
        _compare,
    ),
    "train": (_describe_train, "train one network under one rule, into a run folder", _train),
    "reproduce": (reproduce.describe, "make a published table again, beside the published numbers", reproduce.run),
    "tune": (tune.describe, "search the learning rate of every rule, on held-out examples", tune.run),
    "sweep": (sweep.describe, "one recipe under many settings, a line of a table for each run", sweep.run),
    "step": (_describe_step, "walk through one training step, moment by moment, under any rule", _step),
    "explore": (
        _describe_explore,
        "write a page on which a step and a short training run can be walked through",
        _explore,
    ),
    "figures": (_describe_figures, "draw all pictures of a finished run into its folder", _figures),
    "rules": (_describe_nothing, "the learning rules: equation, paper, and what each needs", _rules),
    "data": (data_command.describe, "the data sets: list them, check their files, download them", data_command.run),
    "info": (_describe_info, "versions, backend, threads, and which data sets were found", _info),
    "bench": (
        _describe_bench,
        "time a training step, beside PyTorch where it is installed, or measure its memory",
        _bench,
    ),
    "doctor": (
        doctor.describe,
        "whether this machine computes what it should, CPU and GPU: a report to send with a bug",
        doctor.run,
    ),
}
