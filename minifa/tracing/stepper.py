"""Replay of one training step under any rule, from the same weights and batch, moment by moment. Used in the terminal
and for the explorer's page."""

from __future__ import annotations

__all__ = ["Replay", "Stepper", "page"]

import cmd
import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TextIO

import numpy

from .. import backend, experiments, rules
from ..data.base import Dataset, Examples
from ..data.batches import Batches, count_batches
from ..experiments import Experiment
from ..experiments.experiment import A_DATASET, AN_EXPERIMENT, augmentation_of, data_for
from ..registry import unknown
from ..signals import Terminated
from ..text import lines_of, terminal_width, wrap
from ..validation import LARGEST, check_int, check_str, check_type
from .recorder import Moment, Trace, trace


class Replay:
    """One training step that can be repeated under different rules, from the same weights and on the same batch.

    Args:
        experiment: the experiment. Its rule makes the updates before the step; other rules draw new feedback.
        data: the data set of the experiment.
        updates: number of updates before the step, at least 0.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a negative number of updates.
    """

    def __init__(self, experiment: Experiment, data: Dataset, updates: int = 0) -> None:
        self.experiment = check_type(experiment, Experiment, AN_EXPERIMENT)
        self.data = data_for(experiment, check_type(data, Dataset, A_DATASET))
        updates = check_int(updates, "the number of updates", least=0)
        self.step = 0
        self.net_state: Mapping[str, numpy.ndarray] | None = None
        self.saved: tuple[str, Mapping[str, Any], Mapping[str, Any]] | None = None  # rule, state of rule and optimizer
        self.traces: dict[str, Trace] = {}
        for _ in range(updates):
            self.advance(experiment.rule)

    def batch(self) -> Examples:
        """The batch of this step, in the order of training."""
        train, size, seed = self.data.train, self.experiment.batch_size, self.experiment.seed
        epoch, number = divmod(self.step, count_batches(len(train), size, self.experiment.drop_last))
        augmentation = augmentation_of(self.experiment)
        return Examples(*Batches(train, size, seed, 1 + epoch, augmentation=augmentation).make(number))

    def trace(self, rule: str) -> Trace:
        """The trace of the step under this rule.

        Raises:
            TypeError: the rule is not a str.
            ValueError: an unknown rule, or a rule that cannot train this network.
        """
        if check_str(rule, "a rule") not in self.traces:
            parts = self._build(rule)
            batch = self.batch()
            with backend.quiet():
                self.traces[rule] = trace(parts[0], parts[1], batch.x, batch.y, *parts[2:])
            self.traces[rule].rule = rule  # with its options
        return self.traces[rule]

    def advance(self, rule: str) -> None:
        """Make this step under this rule; the next step becomes the current one.

        Raises:
            ValueError: the weights are not finite after the step. The replay then stays at this step.
        """
        net, attached, loss, optimizer = self._build(rule)
        batch = self.batch()
        with backend.quiet():
            attached.gradients(net, backend.asarray(batch.x, net.dtype), batch.y, loss)
            optimizer.step(net, attached)
        if not all(numpy.isfinite(array).all() for array in net.state().values()):
            raise ValueError(
                f"training diverged in update {net.step}: the weights are no longer finite; try a smaller --lr"
            )
        self.step, self.net_state = net.step, net.state()
        self.saved = rule, attached.state(), optimizer.state()
        self.traces = {}

    def _build(self, rule: str) -> tuple[Any, Any, Any, Any]:
        """Network, rule, loss and optimizer in their state before this step."""
        net, attached, loss, optimizer = experiments.build(replace(self.experiment, rule=rule), self.data)
        if self.net_state is not None:
            net.load_state(self.net_state)
            net.step = self.step
            # Attach again, so that feedback derived from the weights uses the loaded ones.
            attached = rules.make(rule, seed=self.experiment.seed).attach(net)
        if self.saved is not None:
            saved_rule, rule_state, optimizer_state = self.saved
            if saved_rule == rule:
                attached.load_state(rule_state)
            state = {
                key: array for key, array in optimizer_state.items() if saved_rule == rule or "/feedback/" not in key
            }
            optimizer.load_state(state, net, attached)
        return net, attached, loss, optimizer


# Terminal

MOST_LAYERS = 12  # maximum number of layers in the position line


def page(trace: Trace, i: int, width: int = 80) -> str:
    """One moment as text: position, title, explanation, equation, the equation with its values, angles and new arrays.
    Raises TypeError or ValueError for an invalid trace, index or width."""
    check_type(trace, Trace, "the trace must be a minifa.Trace, as minifa.trace returns")
    i = check_int(i, "the index of a moment", least=0, most=len(trace) - 1)
    width = check_int(width, "the width of a page")
    moment: Moment = trace[i]
    lines = [
        *_wrap(f"{trace.rule} · {i + 1} of {len(trace)} · {moment.title}", width),
        *_position(trace, moment, width),
        "",
        *_wrap(moment.why, width),
        "",
        *(part for line in moment.equation.split("\n") for part in _wrap(line, width, indent=4)),
        "",
    ]
    numbers = moment.numbers(width)
    if numbers:
        lines += [numbers, ""]
    for name, angle in moment.angles.items():
        lines += _wrap(f"angle of {name}: {_degrees(angle)}", width)
    if moment.new:
        lines += _wrap("new: " + ", ".join(f"{name} {_shape(moment.arrays[name])}" for name in moment.new), width)
    return "\n".join(lines).rstrip()


def _position(trace: Trace, moment: Moment, width: int) -> list[str]:
    """The layers in a row, the current one in brackets; arrows show the direction of the pass."""
    arrow = " -> " if moment.kind in ("batch", "forward", "noise", "loss") else " <- "
    if moment.kind in ("update", "feedback_update", "clip", "constrain"):
        arrow = "    "
    names = ["x", *(name for name, _, _ in trace.net_layers), "loss"]
    here = {"batch": "x", "loss": "loss"}.get(moment.kind, moment.layer)
    if len(names) > MOST_LAYERS:  # show only the neighbouring layers
        at = names.index(here) if here in names else len(names) - 1
        around = names[max(0, at - 3) : at + 4]
        names = [*(["..."] if at > 3 else []), *around, *(["..."] if at + 4 < len(names) else [])]
    return _wrap(arrow.join(f"[{name}]" if name == here else name for name in names), width)


def _wrap(text: str, width: int, indent: int = 0) -> list[str]:
    return lines_of(text, width, " " * indent, " " * 2 * indent)


def _degrees(angle: float | None) -> str:
    return "not defined" if angle is None else f"{angle:.1f} degrees"


def _shape(array: Any) -> str:
    return "not computed yet" if array is None else "x".join(map(str, array.shape)) or "a number"


COMMANDS = {
    name[0]: name for name in ("next", "back", "jump", "print", "rule", "list", "update", "help", "quit")
}  # commands by their first letter


class Stepper(cmd.Cmd):
    """Interactive command line to step through a trace: next, back, jump to any moment, print any array, or switch the
    rule at the same moment."""

    prompt = "(step) "
    identchars = cmd.Cmd.identchars + "@<-./"

    def __init__(self, replay: Replay, rule: str, stdin: TextIO | None = None, stdout: TextIO | None = None) -> None:
        check_type(replay, Replay, "the replay must be a minifa.tracing.stepper.Replay")
        super().__init__(stdin=stdin, stdout=stdout)
        self.use_rawinput = stdin is None
        self.replay, self.rule, self.i = replay, rule, 0
        self.trace = replay.trace(rule)

    def preloop(self) -> None:
        with contextlib.suppress(ImportError):  # not available on Windows
            import readline

            readline.set_completer_delims(" ")  # names contain . @ < -
        self.write(
            f"One training step under {self.rule!r}, in {len(self.trace)} moments.\n"
            "Enter: next. b: back. j 5: jump. p linear1.W: print.\n"
            "r bp: other rule. l: list. h: help. q: quit.\n"
        )
        self.show()

    def write(self, text: str) -> None:
        """Print a text, broken between words at the width of the terminal."""
        print(wrap(check_str(text, "the text")), file=self.stdout)

    def show(self) -> None:
        print("\n" + page(self.trace, self.i, terminal_width()) + "\n", file=self.stdout)

    def go(self, i: int) -> None:
        i = check_int(i, "the index of a moment", least=-LARGEST)
        if i < 0:
            self.write("This is the first moment.")
        elif i >= len(self.trace):
            self.write("This is the last moment; u continues with the next step.")
        else:
            self.i = i
            self.show()

    def emptyline(self) -> bool:
        self.go(self.i + 1)
        return False

    def do_next(self, text: str) -> None:
        """next (n, Enter): the next moment."""
        self.go(self.i + 1)

    def do_back(self, text: str) -> None:
        """back (b): the previous moment."""
        self.go(self.i - 1)

    def do_jump(self, text: str) -> None:
        """jump 7, jump linear2, jump carry (j): a moment by its number, or the next one of a layer or a kind."""
        if re.fullmatch(r"-?\d+", text):
            if 1 <= int(text) <= len(self.trace):
                self.go(int(text) - 1)
            else:
                self.write(f"the number of a moment must lie from 1 to {len(self.trace)}, got {text}")
            return
        order = [*range(self.i + 1, len(self.trace)), *range(self.i + 1)]
        matches = [i for i in order if text in (self.trace[i].layer, self.trace[i].kind)]
        if text and matches:
            self.go(matches[0])
        else:
            self.write(unknown(self._targets(), text, "layer or kind of moment"))

    def do_print(self, text: str) -> None:
        """print linear1.W, print delta (p): an array in full, by its name or by its symbol in this moment's equation;
        without a name: all names."""
        moment = self.trace[self.i]
        everything = {**moment.arrays, **moment.terms}
        if not text:
            for name, array in moment.arrays.items():
                self.write(f"{name:24} {_shape(array)}")
        elif text not in everything:
            self.write(unknown(everything, text, "array"))
        elif everything[text] is None:
            self.write(f"{text}: not computed yet" if text in moment.arrays else f"{text}: no value")
        else:
            array = numpy.asarray(everything[text])
            with numpy.printoptions(threshold=sys.maxsize, linewidth=terminal_width()):
                print(f"{text} {_shape(array)} {array.dtype}\n{array}", file=self.stdout)

    def do_rule(self, text: str) -> None:
        """rule bp (r): the same step from the same weights under another rule, at the same moment."""
        if not text:
            self.write(f"current rule: {self.rule}; known: {', '.join(rules.RULES)}")
            return
        try:
            other = self.replay.trace(text)
        except (ValueError, TypeError) as error:
            self.write(str(error))
            return
        self.i = other.matching_index(self.trace, self.i)
        self.rule, self.trace = text, other
        self.show()

    def do_list(self, text: str) -> None:
        """list (l): all moments; > marks the current one."""
        for i, moment in enumerate(self.trace):
            self.write(f"{'>' if i == self.i else ' '} {i + 1:3} {moment.title}")

    def do_update(self, text: str) -> None:
        """update (u): make this step under the current rule and show the next step, with the next batch."""
        try:
            self.replay.advance(self.rule)
        except ValueError as error:
            self.write(str(error))
            return
        self.trace, self.i = self.replay.trace(self.rule), 0
        self.show()

    def do_quit(self, text: str) -> bool:
        """quit (q): leave the stepper."""
        return True

    def do_EOF(self, text: str) -> bool:
        """End of input."""
        self.write("")
        return True

    def onecmd(self, line: str) -> bool:
        word, _, rest = line.strip().partition(" ")
        return bool(super().onecmd(f"{COMMANDS.get(word, word)} {rest}".strip()))

    def default(self, line: str) -> None:
        self.write(unknown(COMMANDS.values(), line.split()[0], "command"))

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        return [name for name in super().completenames(text, *ignored) if name != "EOF"]

    def complete_print(self, text: str, *ignored: Any) -> list[str]:
        return [name for name in self.trace[self.i].arrays if name.startswith(text)]

    def complete_rule(self, text: str, *ignored: Any) -> list[str]:
        return [name for name in rules.RULES if name.startswith(text)]

    def complete_jump(self, text: str, *ignored: Any) -> list[str]:
        return [name for name in self._targets() if name.startswith(text)]

    complete_p, complete_r, complete_j = complete_print, complete_rule, complete_jump

    def _targets(self) -> list[str]:
        return sorted({one for moment in self.trace for one in (moment.layer, moment.kind) if one})

    def do_help(self, text: str) -> None:
        """help (h): all commands; help jump: one command."""
        names = [COMMANDS.get(text, text)] if text else list(COMMANDS.values())
        for name in names:
            command = getattr(self, f"do_{name}", None)
            self.write(
                " ".join((command.__doc__ or "").split()) if command else unknown(COMMANDS.values(), name, "command")
            )

    def cmdloop(self, intro: Any = None) -> None:
        """Run until `quit` or the end of input. Ctrl-C discards the current input line."""
        while True:
            try:
                super().cmdloop(intro)
                return
            except Terminated:
                raise
            except KeyboardInterrupt:
                self.write("^C")
                self.preloop = lambda: None  # type: ignore[method-assign]  # print the introduction only once
