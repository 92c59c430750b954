"""The stepper on a terminal: colours, two rules side by side, single keys, narrow windows; and plain text in a pipe."""

import contextlib
import io
import os
import re
import select
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

import minifa as mf
from minifa import cli, data, text
from minifa.experiments import Experiment
from minifa.tracing import colours, equations, keys
from minifa.tracing.pages import compared, page
from minifa.tracing.stepper import Replay, Stepper

SGR = re.compile(r"\x1b\[[\d;]*m")
CELL = re.compile(r"\x1b\[38;5;(\d+);48;5;(\d+)m([^\x1b]*)\x1b\[0m")


def replay(**options):
    settings = dict(data="xor", model="tiny", batch_size=4, lr=0.5, optimizer_options={"momentum": 0.9})
    experiment = Experiment(rule="fa", **{**settings, **options})
    return Replay(experiment, data.load(experiment.data))


@pytest.fixture(scope="module")
def traces():
    steps = replay()
    return {rule: steps.trace(rule) for rule in ("bp", "fa", "usf", "dfa")}


# Colours


@pytest.mark.parametrize("ramp", [colours.DARK, colours.LIGHT])
def test_numbers_can_be_read_on_every_colour_and_larger_ones_are_further_from_zero(ramp):
    negative, zero, positive = ramp
    for colour in (*negative, zero, *positive):
        low, high = sorted((colours.luminance(colour), colours.luminance(colours.ink(colour))))
        assert (high + 0.05) / (low + 0.05) >= 4.5
    for side in (negative, positive):
        distances = [abs(colours.luminance(colour) - colours.luminance(zero)) for colour in side]
        assert distances == sorted(distances) and distances[0] > 0.05
    for one, other in zip(negative, positive, strict=True):  # sign does not change how strong a size looks
        assert abs(colours.luminance(one) - colours.luminance(other)) < 0.1


def test_the_luminance_of_black_white_and_red_is_that_of_the_standard():
    assert [colours.luminance(colour) for colour in (16, 231)] == pytest.approx([0, 1])
    assert colours.luminance(196) == pytest.approx(0.2126)
    assert colours.luminance(244) == pytest.approx(((128 / 255 + 0.055) / 1.055) ** 2.4)


def test_colours_show_sign_and_size(monkeypatch):
    monkeypatch.delenv("COLORFGBG", raising=False)
    terms = {"W": np.array([[-4.0, -1.0, 0.0, 1.1, 4.0]]), "B": np.array([[8.0, np.nan]])}
    shown = equations.with_numbers("W + B", terms, 80, colours.painter(colours.sizes(terms)))
    negative, zero, positive = colours.DARK
    assert [int(background) for _, background, _ in CELL.findall(shown)] == [
        *(negative[1], negative[0], zero, positive[0], positive[1]),  # W and B share a scale, whose end is 8
        positive[3],
    ]
    assert "nan" in SGR.sub("", shown)


def test_labels_have_no_colour(traces):
    shown = page(traces["fa"], 0, 80, color=True)
    assert "[1 1 0 0]" in shown and CELL.search(shown)


def test_a_light_terminal_gets_light_colours(monkeypatch):
    terms = {"W": np.array([[0.0, 1.0]])}
    for told, ramp in (("0;15", colours.LIGHT), ("15;0", colours.DARK), ("", colours.DARK)):
        monkeypatch.setenv("COLORFGBG", told)
        shown = equations.with_numbers("W", terms, 80, colours.painter(colours.sizes(terms)))
        assert [int(background) for _, background, _ in CELL.findall(shown)] == [ramp[1], ramp[2][-1]]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_without_its_colours_a_page_is_the_plain_page(traces, width):
    for i in range(len(traces["fa"])):
        coloured = page(traces["fa"], i, width, color=True)
        assert SGR.sub("", coloured) == page(traces["fa"], i, width) != coloured
        two = compared(traces["bp"], traces["fa"], i, width, color=True)
        assert SGR.sub("", two) == compared(traces["bp"], traces["fa"], i, width)
        assert max(map(text.shown_length, two.splitlines())) <= width


def test_names_cannot_send_control_sequences_through_the_colours():
    net = mf.Network([mf.Linear(2, 2)])
    rule = mf.rules.BP().attach(net)
    trace = mf.trace(net, rule, [[1.0, 2.0]], [0], mf.SoftmaxCrossEntropy(), mf.SGD())
    trace.rule = "\x1b[2Jbp"
    object.__setattr__(trace[1], "equation", "y = \x1b]0;title\x07 x")
    shown = SGR.sub("", page(trace, 1, 80, color=True))
    assert "\x1b" not in shown and "\x07" not in shown and r"\x1b[2Jbp" in shown


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, True, True),  # no-color.org: when present and not empty
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "vt100"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm-256color"}, False, False),
    ],
)
def test_colours_are_for_terminals_that_show_them(environment, terminal, wanted, monkeypatch):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = types.SimpleNamespace(isatty=lambda: terminal)
    if os.name != "nt":
        assert colours.wanted("auto", stream) is wanted
    assert colours.wanted("always", stream) and not colours.wanted("never", stream)


def test_a_pipe_gets_colours_only_on_request(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("TERM", "xterm-256color")
    printed = {}
    for color in ("auto", "always", "never"):
        assert cli.main(["step", "--rule", "fa", "--color", color]) == 0
        printed[color] = capsys.readouterr().out
    assert printed["auto"] == printed["never"] == SGR.sub("", printed["always"]) != printed["always"]
    assert "\x1b" not in printed["auto"]


# Narrow windows


def test_a_matrix_that_is_too_wide_shows_the_columns_that_fit_and_counts_the_others():
    array = np.arange(1, 21).reshape(2, 10) / 8
    lines = equations.matrix(array, 40)
    assert lines == ["[0.125 0.250 0.375 0.500 ... 6 more]", "[1.375 1.500 1.625 1.750 ...       ]"]
    assert equations.matrix(array, 80) == [
        "[" + " ".join(f"{value:.3f}" for value in row) + "]" for row in array.tolist()
    ]
    assert equations.matrix(array, 22) == ["[0.125 ... 9 more]", "[1.375 ...       ]"]
    assert equations.matrix(array, 12) == ["<2 x 10>"]


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_window_shows_the_numbers_of_every_small_matrix(width):
    steps = replay(model="mlp", model_options={"hidden": (8,)})
    for rule in ("fa", "kolen_pollack", "dfa"):
        trace = steps.trace(rule)
        for i in range(len(trace)):
            shown = page(trace, i, width)
            assert not re.search(r"<\d+ x \d+>", shown), (rule, i)
            assert max(map(len, shown.splitlines())) <= width


def test_a_cut_matrix_comes_with_the_way_to_see_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    steps = Stepper(replay(model="mlp", model_options={"hidden": (8,)}), "fa", io.StringIO(), io.StringIO())
    steps.do_jump("forward")
    assert " more]" in steps.stdout.getvalue() and "a whole array." in steps.stdout.getvalue()
    steps.do_print("linear1.W")
    whole = steps.stdout.getvalue().rpartition("linear1.W 2x8 float32\n")[2]
    assert len(re.findall(r"-?\d+\.\d+", whole)) == 16


def test_a_closing_parenthesis_stays_on_the_line_of_its_array():
    trace = replay().trace("fa")
    for width in (40, 41, 44, 60, 80, 100):
        for i in range(len(trace)):
            assert not re.search(r"^ *(\^2)?\)+$", page(trace, i, width), re.M), (width, i)


# Two rules


def test_two_rules_stand_side_by_side_where_there_is_room(traces):
    wide = compared(traces["bp"], traces["fa"], 7, 120).splitlines()
    left, right = wide[0].split(" | ")
    assert left.startswith("bp · 8 of 15 · Backward through linear2") and right.startswith("fa · 8 of 15")
    narrow = compared(traces["bp"], traces["fa"], 7, 80)
    assert " | " not in narrow
    assert narrow.index("bp · 8 of 15") < narrow.index("fa · 8 of 15") < narrow.index("angle of tanh1.delta between")


def test_what_is_equal_under_both_rules_stands_once_in_a_narrow_window(traces):
    narrow = compared(traces["bp"], traces["fa"], 1, 80)
    assert narrow.count("y = x @ W + b") == 1 and narrow.count("The layer computes its output") == 1
    assert narrow.endswith("equal under bp and fa: linear1.y")


def test_the_angle_between_two_rules_is_that_of_their_arrays(traces):
    shown = compared(traces["bp"], traces["fa"], 7, 80)
    arrays = [mf.asarray(traces[rule][7].arrays["tanh1.delta"]) for rule in ("bp", "fa")]
    assert f"angle of tanh1.delta between bp and fa: {float(mf.metrics.angle(*arrays)):.1f} degrees" in shown


def test_two_rules_share_the_scale_of_their_colours(traces):
    shown = compared(traces["bp"], traces["fa"], 7, 80, color=True)
    largest = max(np.abs(traces[rule][7].terms["B"]).max() for rule in ("bp", "fa"))
    strongest = {ramp[-1] for ramp in (colours.DARK[0], colours.DARK[2], colours.LIGHT[0], colours.LIGHT[2])}
    values = {float(cell) for _, background, cell in CELL.findall(shown) if int(background) in strongest}
    assert any(abs(abs(value) - largest) < 1e-3 for value in values)
    weaker = np.abs(traces["bp"][7].terms["B"]).max()
    assert weaker < 0.75 * largest and not any(abs(abs(value) - weaker) < 5e-4 for value in values)


def test_a_moment_that_only_one_rule_has_is_announced(traces):
    carry = next(i for i, moment in enumerate(traces["fa"]) if moment.kind == "carry")
    assert "dfa has no such moment: its last moment before is shown." in compared(
        traces["fa"], traces["dfa"], carry, 80
    )


def test_the_stepper_keeps_the_moment_when_a_second_rule_comes_and_goes():
    steps = Stepper(replay(), "fa", io.StringIO(), io.StringIO())
    for command in ("jump 8", "r bp,fa", "n", "p linear2.W", "u", "r fa", "r bp,fa,usf", "r"):
        steps.stdout.write(f"\n<{command}>\n")
        steps.onecmd(command)
    shown = dict(re.findall(r"<(.*?)>\n(.*?)(?=\n<|\Z)", steps.stdout.getvalue(), re.S))
    assert "bp · 8 of 15" in shown["r bp,fa"] and "fa · 8 of 15" in shown["r bp,fa"]
    assert "bp · 9 of 15" in shown["n"] and "fa · 9 of 15" in shown["n"]
    assert "linear2.W under bp 4x2" in shown["p linear2.W"] and "linear2.W under fa 4x2" in shown["p linear2.W"]
    assert "bp · 1 of 15" in shown["u"] and "fa · 1 of 15" in shown["u"]
    assert "fa · 1 of 15" in shown["r fa"] and "bp ·" not in shown["r fa"]
    assert "at most two rules can be shown side by side, got 3" in shown["r bp,fa,usf"].replace("\n", " ")
    assert shown["r"].startswith("current rule: fa; known:")


def test_a_diverging_update_keeps_both_rules():
    steps = Stepper(replay(model="mlp", lr=1e20), "bp,fa", io.StringIO(), io.StringIO())
    for _ in range(6):
        steps.onecmd("u")
    assert "training diverged in update" in " ".join(steps.stdout.getvalue().split())
    assert [trace.rule for trace in steps.traces] == ["bp", "fa"]


def test_two_rules_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["step", "--rules", "bp,fa"]) == 0
    heads = re.findall(r"^bp · (\d+) of 15 · .* \| fa · (\d+) of 15", capsys.readouterr().out, re.M)
    assert heads == [(str(i), str(i)) for i in range(1, 16)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rules", "bp,fa,usf"], "at most two rules side by side, got 3"),
        (["--rules", "bp", "--rule", "fa"], "--rule and --rules cannot be given together"),
        (["--rules", "bp,faa"], "did you mean fa"),
        (["--color", "blue"], "auto"),
    ],
)
def test_invalid_rules_and_colours_are_answered_with_a_message(arguments, words, capsys):
    try:
        code = cli.main(["step", *arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2 and words in capsys.readouterr().err


# Keys

pseudo_terminals = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")


class Terminal:
    """`minifa step` in a pseudo-terminal. In a session of its own, keys such as Ctrl-C send signals; but then no shell
    could continue it, and the system does not stop it."""

    def __init__(self, columns, *arguments, session=True, **environment):
        import pty

        self.master, self.slave = pty.openpty()
        self.resize(columns)
        self.before = self.modes()
        kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minifa", "step", "--rule", "fa", *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**kept, "TERM": "xterm-256color", **environment},
            preexec_fn=self._take_terminal if session else os.setpgrp,
        )
        self.seen = self.new = ""

    def _take_terminal(self):
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, columns):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

    def modes(self):
        import termios

        return termios.tcgetattr(self.slave)[:4]

    def takes_single_keys(self, seconds=30):
        """Whether it does, soon: the prompt is shown before the terminal is switched."""
        end = time.monotonic() + seconds
        while self.modes() == self.before and time.monotonic() < end:
            time.sleep(0.01)
        return self.modes() != self.before

    def press(self, keys):
        os.write(self.master, keys.encode())

    def until(self, words, seconds=30):
        """What is shown next, up to and with these words."""
        pattern, end = re.compile(re.escape(words).replace(r"\ ", r"\s+")), time.monotonic() + seconds
        while not (match := pattern.search(self.new)):
            assert time.monotonic() < end, f"{words!r} did not appear in {self.new!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                part = os.read(self.master, 65536).decode("utf-8", "replace")
                self.seen += part
                self.new += SGR.sub("", part)
        shown, self.new = self.new[: match.end()], self.new[match.end() :]
        return shown

    def wait(self):
        return self.process.wait(30)

    def close(self):
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    opened = []

    def start(columns=80, *arguments, keys="", **options):
        opened.append(Terminal(columns, *arguments, **options))
        opened[-1].press(keys)
        opened[-1].until("(step) ")
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pseudo_terminals
def test_single_keys_need_no_enter(terminal):
    shown = terminal()
    for key, words in [
        (" ", "2 of 15"),
        ("n", "3 of 15"),
        ("\x1b[C", "4 of 15"),
        ("\x1b[D", "3 of 15"),
        ("b", "2 of 15"),
        ("\x7f", "1 of 15"),
        ("\x1b[F", "15 of 15"),
        ("\x1b[H", "1 of 15"),
        ("1", "jump 1"),
        ("2\n", "12 of 15"),
        ("j", "jump"),
        ("8\n", "8 of 15"),
        ("r", "rule"),
        ("bp,fa\n", "angle of tanh1.delta between bp and fa"),
        ("p", "print"),
        ("linear1.b\n", "linear1.b under fa 4 float32"),
        ("?", "quit (q): leave the stepper."),
        ("x", "unknown command 'x'"),
        ("\x1b[5~", "unknown command"),
        ("é", "unknown command 'é'"),
    ]:
        shown.press(key)
        shown.until(words)
        if not words.startswith(("jump", "rule", "print")):
            shown.until("(step) ")
    shown.press("q")
    assert shown.wait() == 0 and shown.modes() == shown.before


@pseudo_terminals
def test_the_terminal_is_restored_by_ctrl_d_ctrl_c_and_signals(terminal):
    one = terminal()
    assert one.takes_single_keys()
    one.press("j")
    one.until("jump")
    time.sleep(0.5)  # Python notices a signal that comes just before it waits for a line only at the next key
    one.press("\x03")  # cancels the line
    one.until("(step) ")
    one.press("\x03")
    one.until("q: quit")
    one.until("(step) ")
    one.press("\x04")
    assert one.wait() == 0 and one.modes() == one.before
    other = terminal()
    other.process.send_signal(signal.SIGTERM)
    assert other.wait() == 143 and other.modes() == other.before


@pseudo_terminals
def test_ctrl_d_before_the_first_prompt_ends_the_stepper(terminal):
    shown = terminal(keys="\x04")  # while the terminal still waits for whole lines
    assert shown.wait() == 0 and shown.modes() == shown.before


@pseudo_terminals
def test_ctrl_z_restores_the_terminal_until_the_process_continues(terminal):
    shown = terminal(session=False)
    assert shown.takes_single_keys()
    shown.process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(shown.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status) and shown.modes() == shown.before
    shown.process.send_signal(signal.SIGCONT)
    shown.until("1 of 15")  # drawn again
    shown.until("(step) ")
    assert shown.takes_single_keys()
    shown.press("n")
    shown.until("2 of 15")
    shown.press("q")
    assert shown.wait() == 0 and shown.modes() == shown.before


@pseudo_terminals
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_every_moment_fits_the_window(terminal, columns):
    shown = terminal(columns)
    for i in range(2, 16):
        shown.press("n")
        shown.until(f"{i} of 15")
        shown.until("(step) ")
    shown.press("h")
    shown.until("leave the stepper.")
    shown.press("q")
    assert shown.wait() == 0
    lines = SGR.sub("", shown.seen).replace("\r", "").split("\n")
    assert max(map(len, lines)) <= columns
    assert CELL.search(shown.seen)


@pseudo_terminals
def test_a_new_size_of_the_window_draws_the_moment_again(terminal):
    shown = terminal(80)
    shown.press("j")
    shown.press("9\n")
    shown.until("9 of 15")
    shown.until("(step) ")
    time.sleep(0.5)  # until it waits for a key
    shown.resize(40)
    again = shown.until("(step) ")
    assert "9 of 15" in again and max(map(len, SGR.sub("", again).splitlines())) <= 40
    shown.press("q")
    assert shown.wait() == 0


@pseudo_terminals
def test_no_color_is_obeyed_on_a_terminal(terminal):
    shown = terminal(80, NO_COLOR="1")
    shown.press("nq")
    assert shown.wait() == 0
    shown.until("2 of 15")
    assert "\x1b[3" not in shown.seen and "\x1b[4" not in shown.seen


def test_keys_of_a_windows_console(monkeypatch):
    def no_prompt():
        pass

    waiting = list("n\xe0Hq\x1a\x03")
    console = types.SimpleNamespace(kbhit=lambda: bool(waiting), getwch=lambda: waiting.pop(0))
    monkeypatch.setattr(keys, "msvcrt", console)
    assert [keys.read(no_prompt, no_prompt) for _ in range(4)] == ["n", "up", "q", keys.END]
    with pytest.raises(KeyboardInterrupt):
        keys.read(no_prompt, no_prompt)


def test_a_pipe_has_no_single_keys(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not keys.available()
    assert not Stepper(replay(), "fa", io.StringIO(), io.StringIO()).single_keys
