"""``minifa explore``: one self-contained HTML page to step through a training step and to browse a short training run.

All values are computed here by the training code; the page (``page.html``) only displays them. Its
numbers are bitwise equal to the arrays, its angles are those of `metrics`.
"""

from __future__ import annotations

__all__ = ["explore", "write"]

import importlib.resources
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..data.base import Dataset
from ..environment import __version__
from ..experiments import Experiment
from ..experiments.experiment import AN_EXPERIMENT, describe_options
from ..storage.atomic import expanded, write_atomic
from ..tracing.stepper import Replay
from ..validation import check_int, check_list, check_str, check_type
from . import excerpts, grid
from .arrays import ArrayTable, Json, check_size
from .films import describe_rule, film
from .live_start import live_start
from .runs import CHANCE_HOW, chance_of_run, run, snapshot_updates

DATA, SCRIPT = "__DATA__", "__SCRIPT__"  # placeholders in the template


def explore(
    experiment: Experiment,
    data: Dataset,
    rule_names: Sequence[str],
    updates: int = 0,
    train_updates: int = 1000,
    progress: Callable[[], object] = lambda: None,
) -> str:
    """The page as HTML text: one step and one training run under every rule, with the same initial weights and batches.

    Args:
        experiment: network, data and training options; its rule, schedule and phases are not used: the learning rate
            is constant.
        data: the data set of the experiment.
        rule_names: rules with their options, ``"usf:scale=init"``; the first one is displayed first.
        updates: number of updates under the first rule before the displayed step.
        train_updates: number of updates of the training run, from the initial weights. About `SNAPSHOTS` of them are
            stored, more densely at the start.
        progress: called after every step and every update, for a progress bar.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: no rule, an unknown rule, a rule that cannot train this network, or a page above `MOST_BYTES`.
    """
    rule_names = check_list(rule_names, str, "the rules must be a list of names, as ['bp', 'fa']")
    if not rule_names:
        raise ValueError("the list of rules must not be empty: name at least one rule")
    check_type(experiment, Experiment, AN_EXPERIMENT)
    train_updates = check_int(train_updates, "the number of training updates", least=0)
    if not callable(progress):
        raise TypeError(f"progress must be callable without arguments, got {progress!r}")
    table = ArrayTable()
    replay = Replay(replace(experiment, rule=rule_names[0]), data, updates)
    traces, at = [replay.trace(name) for name in rule_names], snapshot_updates(train_updates)
    of_step, of_runs = excerpts.of_films(traces), excerpts.of_runs(traces, len(at))
    steps = {}
    for name, trace in zip(rule_names, traces, strict=True):
        steps[name] = film(trace, replay.error_bands(name), table, of_step)
        progress()
    runs = {
        name: run(replace(experiment, rule=name), data, train_updates, table, progress, of_runs) for name in rule_names
    }
    content = {
        "version": __version__,
        "facts": describe_step(experiment, data, traces[0][0].terms["x"].shape, updates, rule_names[0]),
        "classes": list(data.classes),
        "rules": [describe_rule(name) for name in rule_names],
        "layers": [{"name": name, "kind": kind, "shape": shape} for name, kind, shape in traces[0].net_layers],
        "films": steps,
        "at": at,
        "runs": runs,
        "chance": {name: chance_of_run(replace(experiment, rule=name), data) for name in rule_names},
        "chance_how": CHANCE_HOW,
        "grid": grid.read(),
    }
    if (live := live_start(experiment, data, table)) is not None:
        content["live"] = live
    content["mathml"] = _collect_mathml(content)
    content["arrays"] = table.packed()
    page = fill_template(content)
    check_size(len(page))
    return page


def _collect_mathml(content: Json) -> dict[str, str]:
    """Take the MathML out of moments and rules, and return that of every line: most lines occur many times, with the
    same symbols."""
    found: dict[str, str] = {}
    for one in [*content["rules"], *itertools.chain(*content["films"].values())]:
        found.update(zip(one["equation"].split("\n"), one.pop("mathml"), strict=True))
    return found


def write(page: str, path: str | Path) -> Path:
    """Write the page to a new file, completely or not at all. If the path exists, -2, -3, ... is added to the name.

    Returns:
        The path of the file.

    Raises:
        TypeError: the page is not a str.
        OSError: the file cannot be written.
    """
    check_str(page, "a page")
    target = _claim(expanded(path))
    try:
        write_atomic(target, page)
    except BaseException:  # including Ctrl-C: remove the empty file
        target.unlink(missing_ok=True)
        raise
    return target


def _claim(wanted: Path) -> Path:
    """Create an empty file under an unused name."""
    if wanted.is_dir():
        raise IsADirectoryError(f"{wanted} is a folder: name a file in it, such as {wanted / 'page.html'}")
    wanted.parent.mkdir(parents=True, exist_ok=True)
    candidate, number = wanted, 1
    while True:
        try:
            candidate.touch(exist_ok=False)
            return candidate
        except FileExistsError:
            number += 1
            candidate = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")


def describe_step(experiment: Experiment, data: Dataset, shape: tuple[int, ...], updates: int, rule: str) -> list[str]:
    """The facts of a step, one phrase each; ``shape`` is that of the batch, ``rule`` made the updates before it."""
    optimizer = f"{experiment.optimizer}, learning rate {experiment.rate():g}"
    return [
        f"{data.name}, {'x'.join(map(str, shape[1:]))} per example",
        f"model {experiment.model} {describe_options(experiment.model_options)}".rstrip(),
        f"batch of {shape[0]}",
        optimizer,
        f"seed {experiment.seed}",
        f"the step after {updates} updates under {rule}" if updates else "the first step",
    ]


def fill_template(content: Json) -> str:
    """Insert the script and the content into the template. "<" in the content is escaped, because names are arbitrary
    text; the script is ASCII without "</script"."""
    folder = importlib.resources.files("minifa").joinpath("explorer")
    template = folder.joinpath("page.html").read_text(encoding="utf-8")
    script = folder.joinpath("bundle/explorer.js").read_text(encoding="ascii")
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    before, _, rest = template.partition(DATA)
    between, _, after = rest.partition(SCRIPT)
    return before + data + between + script + after
