"""Replay of one training step under any rule, from the same weights and batch, moment by moment. Used in the terminal
and for the explorer's page."""

from __future__ import annotations

__all__ = ["Replay", "Stepper"]

import cmd
import contextlib
import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TextIO

import numpy

from .. import backend, experiments, rules
from ..chance import Band, bands_in_time
from ..data.base import Dataset, Examples
from ..data.batches import Batches, count_batches
from ..experiments import Experiment
from ..experiments.experiment import A_DATASET, AN_EXPERIMENT, augmentation_of, data_for
from ..losses import Loss
from ..network import Network
from ..optim import Optimizer
from ..registry import unknown
from ..rules.base import Rule
from ..signals import Terminated
from ..text import terminal_width, unescaped, wrap
from ..validation import LARGEST, check_bool, check_int, check_str, check_type
from . import colours, keys, pages
from .recorder import Trace, trace


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
        self.batch_of = batches_in_order(
            self.data.train,
            experiment.batch_size,
            experiment.seed,
            augmentation=augmentation_of(experiment),
            drop_last=experiment.drop_last,
        )
        self.step = 0
        self.net_state: Mapping[str, numpy.ndarray] | None = None
        self.saved: tuple[str, Mapping[str, Any], Mapping[str, Any]] | None = None  # rule, state of rule and optimizer
        self.traces: dict[str, Trace] = {}
        for _ in range(updates):
            self.advance(experiment.rule)

    def batch(self) -> Examples:
        """The batch of this step, in the order of training."""
        return self.batch_of(self.step)

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

    def error_bands(self, rule: str) -> dict[str, Band]:
        """By layer, the angles between errors that other draws of the rule's B give in this step (see
        `minifa.chance`). Raises TypeError, ValueError as `trace`."""
        net, attached, loss, _ = self._build(check_str(rule, "a rule"))
        batch = self.batch()
        with backend.quiet():
            return bands_in_time(net, attached, backend.asarray(batch.x, net.dtype), batch.y, loss)

    def advance(self, rule: str) -> None:
        """Make this step under this rule; the next step becomes the current one.

        Raises:
            ValueError: the weights are not finite after the step. The replay then stays at this step.
        """
        net, attached, loss, optimizer = self._build(rule)
        make_update(net, attached, loss, optimizer, self.batch())
        check_finite(net)
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


def batches_in_order(train: Examples, size: int, seed: int, **options: Any) -> Callable[[int], Examples]:
    """The batch of each update, counted from 0, in the order of training; options as for `Batches`."""
    count = count_batches(len(train), size, options.get("drop_last", False))

    @functools.lru_cache(maxsize=1)
    def of_epoch(epoch: int) -> Batches:
        return Batches(train, size, seed, epoch, **options)

    def batch(update: int) -> Examples:
        epoch, number = divmod(update, count)
        return Examples(*of_epoch(1 + epoch).make(number))

    return batch


@backend.quietly  # a diverging training ends without warnings
def make_update(net: Network, rule: Rule, loss: Loss, optimizer: Optimizer, batch: Examples) -> None:
    """One update of the training loop, for one batch."""
    rule.gradients(net, backend.asarray(batch.x, net.dtype), batch.y, loss)
    optimizer.step(net, rule)


def check_finite(net: Network) -> None:
    """Raise ValueError if the last update left numbers that are not finite."""
    if not all(numpy.isfinite(array).all() for array in net.state().values()):
        raise ValueError(
            f"training diverged in update {net.step}: the weights are no longer finite; choose a smaller learning rate"
        )


# Terminal

COMMANDS = {
    name[0]: name for name in ("next", "back", "jump", "print", "rule", "list", "update", "help", "quit")
}  # commands by their first letter
KEYS = {
    **dict.fromkeys(("enter", "space", "right", "down"), "next"),
    **dict.fromkeys(("left", "up", "backspace"), "back"),
    **{"home": "jump 1", "?": "help", keys.END: "quit"},
}  # commands by keys other than their first letter
ASKING = ("jump", "print", "rule")  # commands whose key is followed by a line with their argument


class Stepper(cmd.Cmd):
    """Interactive command line to step through a trace: next, back, jump to any moment, print any array, or show the
    same moment under another rule, or under two rules. On a terminal, single keys are commands.

    Args:
        replay: the step.
        rule: a rule with its options, or two, as ``"bp,fa"``.
        stdin, stdout: where commands are read, line by line, and pages are written; None: the standard streams.
        color: whether to colour the values.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an unknown rule, one that cannot train this network, or more than two.
    """

    prompt = "(step) "
    identchars = cmd.Cmd.identchars + "@<-./"

    def __init__(
        self,
        replay: Replay,
        rule: str,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        color: bool = False,
    ) -> None:
        check_type(replay, Replay, "the replay must be a minifa.tracing.stepper.Replay")
        super().__init__(stdin=stdin, stdout=stdout)
        self.use_rawinput = stdin is None
        self.single_keys = stdin is None and keys.available()
        self.color = check_bool(color, "color")
        self.replay, self.i = replay, 0
        self.set_rules(rule)

    def set_rules(self, text: str) -> None:
        """Show the step under this rule, or under two, as ``"bp,fa"``.

        Raises:
            TypeError: not a str.
            ValueError: as for `Replay.trace`, or more than two rules. Nothing is changed then.
        """
        names = rules.split(text)
        if len(names) > 2:
            raise ValueError(f"at most two rules can be shown side by side, got {len(names)}: {', '.join(names)}")
        traces = [self.replay.trace(name) for name in names]
        self.rules, self.traces = names, traces

    @property
    def trace(self) -> Trace:
        """The trace of the first rule."""
        return self.traces[0]

    def preloop(self) -> None:
        if not self.single_keys:
            self._complete_with_tab(" ")
        self.write(f"One training step under {' and '.join(map(repr, self.rules))}, in {len(self.trace)} moments.")
        if self.single_keys:
            self.write("Keys: Enter or right: next. b or left: back. j: jump. p: print.")
            self.write("r: other rules. l: list. h: help. q: quit.")
        else:
            self.write("Enter: next. b: back. j 5: jump. p linear1.W: print.")
            self.write("r bp: other rule. l: list. h: help. q: quit.")
        if self.color:
            self.write_styled(colours.legend())
        self.show()

    def write(self, text: str) -> None:
        """Print a text, broken between words at the width of the terminal."""
        print(wrap(check_str(text, "the text")), file=self.stdout)

    def write_styled(self, text: str) -> None:
        """Print a text that is printable except for its colours."""
        print(check_str(text, "the text"), file=unescaped(self.stdout) if self.color else self.stdout)

    def show(self) -> None:
        text = pages.show(self.traces, self.i, terminal_width(), self.color)
        self.write_styled(f"\n{text}\n")
        if pages.is_cut(text):
            self.write("p and a symbol or a name: a whole array.\n")

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
                self.write(f"{name:24} {pages.describe_shape(array)}")
        elif text not in everything:
            self.write(unknown(everything, text, "array"))
        else:
            for trace in self.traces:
                shown = trace[trace.matching_index(self.trace, self.i)]
                where = f" under {trace.rule}" if len(self.traces) > 1 else ""
                self._print(f"{text}{where}", {**shown.arrays, **shown.terms}.get(text), text in shown.arrays)

    def _print(self, name: str, value: Any, is_array: bool) -> None:
        if value is None:
            self.write(f"{name}: not computed yet" if is_array else f"{name}: no value")
            return
        array = numpy.asarray(value)
        with numpy.printoptions(threshold=sys.maxsize, linewidth=terminal_width()):
            print(f"{name} {pages.describe_shape(array)} {array.dtype}\n{array}", file=self.stdout)

    def do_rule(self, text: str) -> None:
        """rule bp, rule bp,fa (r): the same step from the same weights under another rule, or under two, at the same
        moment."""
        if not text:
            self.write(f"current rule: {', '.join(self.rules)}; known: {', '.join(rules.RULES)}")
            return
        before = self.trace
        try:
            self.set_rules(text)
        except (ValueError, TypeError) as error:
            self.write(str(error))
            return
        self.i = self.trace.matching_index(before, self.i)
        self.show()

    def do_list(self, text: str) -> None:
        """list (l): all moments; > marks the current one."""
        for i, moment in enumerate(self.trace):
            self.write(f"{'>' if i == self.i else ' '} {i + 1:3} {moment.title}")

    def do_update(self, text: str) -> None:
        """update (u): make this step under the current rule (of two: the first) and show the next step, with the next
        batch."""
        try:
            self.replay.advance(self.rules[0])
        except ValueError as error:
            self.write(str(error))
            return
        self.i = 0
        self.set_rules(",".join(self.rules))
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
                if self.single_keys:
                    self._key_loop()
                else:
                    super().cmdloop(intro)
                return
            except Terminated:
                raise
            except KeyboardInterrupt:
                self.write("^C (q: quit)" if self.single_keys else "^C")
                self.preloop = lambda: None  # type: ignore[method-assign]  # print the introduction only once

    def _key_loop(self) -> None:
        self.preloop()
        while not self.onecmd(self._line_of_key(self._read_key())):
            pass

    def _read_key(self) -> str:
        return keys.read(self._print_prompt, self._redraw)

    def _print_prompt(self) -> None:
        print(self.prompt, end="", file=self.stdout, flush=True)

    def _redraw(self) -> None:
        """The moment again, for a terminal that has changed its size or shows something else."""
        print(file=self.stdout)
        self.show()
        self._print_prompt()

    def _line_of_key(self, key: str) -> str:
        """The command line of a key; of some keys, with an argument that is read as a line."""
        command = f"jump {len(self.trace)}" if key == "end" else KEYS.get(key, COMMANDS.get(key, key))
        if key.isdecimal():
            return f"jump {key}{self._ask(f'jump {key}', 'jump')}"
        if command in ASKING:
            return f"{command} {self._ask(f'{command} ', command)}"
        print(command if command.partition(" ")[0] in COMMANDS.values() else "", file=self.stdout)
        return command

    def _ask(self, text: str, command: str) -> str:
        """A line that continues this text, with the names that the command knows at the Tab key."""
        print("\r", end="", file=unescaped(self.stdout), flush=True)  # the prompt is printed again
        self._complete_with_tab(" ", getattr(self, f"complete_{command}"))
        try:
            return input(self.prompt + text)
        except EOFError:
            return ""

    def _complete_with_tab(self, delimiters: str, names: Callable[[str], list[str]] | None = None) -> None:
        """Let the Tab key complete commands, or these names."""
        with contextlib.suppress(ImportError):  # not available on Windows
            import readline

            readline.set_completer_delims(delimiters)  # names contain . @ < -
            if names is not None:
                readline.set_completer(lambda text, state: [*names(text), None][state])
                readline.parse_and_bind("tab: complete")
