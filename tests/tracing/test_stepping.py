"""Stepping through an update in the terminal: forward, back, jump, print, another rule at the same moment; and
piped."""

import io
import os
import re
import sys

import numpy as np
import pytest
from checks import assert_same_bits

import minifa as mf
from minifa import cli, data
from minifa.experiments import Experiment, build
from minifa.tracing.pages import page
from minifa.tracing.stepper import COMMANDS, Replay, Stepper


def replay(rule="fa", updates=0, **options):
    settings = dict(data="xor", model="tiny", batch_size=4, lr=0.5, optimizer_options={"momentum": 0.9})
    experiment = Experiment(rule=rule, **{**settings, **options})
    return Replay(experiment, data.load(experiment.data), updates)


def outputs_of(*commands, rule="fa"):
    """The output of the terminal after each command."""
    stepper = Stepper(replay(rule), rule, io.StringIO(), io.StringIO())
    stepper.preloop()
    shown = []
    for command in commands:
        stepper.stdout.seek(0)
        stepper.stdout.truncate()
        stepper.onecmd(stepper.precmd(command))
        shown.append(stepper.stdout.getvalue())
    return shown


def test_enter_shows_the_next_moment_and_back_the_previous_one():
    on, again, back = outputs_of("", "next", "b")
    assert "2 of 15 · Forward through linear1" in on
    assert "3 of 15 · Forward through tanh1" in again
    assert "2 of 15 · Forward through linear1" in back


def test_the_first_and_the_last_moment_are_reported():
    first, last, beyond = outputs_of("back", "jump 15", "next")
    assert first.strip() == "This is the first moment."
    assert "15 of 15" in last and beyond.startswith("This is the last moment")


def test_jump_accepts_a_number_a_layer_and_a_kind():
    by_number, by_layer, by_kind, off, unknown = outputs_of("j 8", "j linear2", "j carry", "j 99", "j lineer2")
    assert "8 of 15 · Backward through linear2" in by_number
    assert "13 of 15 · Update of linear2.W" in by_layer  # the next moment of that layer
    assert "8 of 15 · Backward through linear2" in by_kind
    assert "must lie from 1 to 15, got 99" in off
    assert "linear2" in unknown


def test_print_shows_the_array():
    experiment = replay().experiment
    net, rule, *_ = build(experiment, data.load("xor"))
    names, W, B, early, symbol, wrong = outputs_of(
        "p", "p linear1.W", "p linear2.B", "p linear1.dW", "p targets", "p lineer1.W"
    )
    assert re.search(r"linear1\.dW +not computed yet", names) and re.search(r"linear1\.W +2x4", names)
    for shown, array in ((W, net["linear1"].W), (B, rule.B["linear2"])):
        numbers = [float(one) for one in re.findall(r"-?\d+\.\d*(?:e[-+]\d+)?", shown.split("\n", 1)[1])]
        np.testing.assert_array_equal(np.float32(numbers), array.ravel())
    assert early.strip() == "linear1.dW: not computed yet"
    assert "[0 1 1 0]" in symbol or "4 int" in symbol
    assert "linear1.W" in wrong


def test_another_rule_keeps_the_moment_and_the_weights():
    before, switched, W, back = outputs_of("j 7", "rule usf", "p linear2.W", "r fa")
    assert before.strip().startswith("fa · 7 of 15") and switched.strip().startswith("usf · 7 of 15")
    assert "B = s sign(W)" in switched
    assert back == before
    net = build(replay().experiment, data.load("xor"))[0]
    assert f"{net['linear2'].W[0, 0]:.5f}"[:6] in W


def test_an_unknown_or_unsuitable_rule_changes_nothing():
    unknown, bad, still = outputs_of("rule usff", "rule fa:sparsity=2", "list")
    assert "usf" in unknown and "sparsity" in bad
    assert still.splitlines()[0] == ">   1 A batch of 4"


def test_update_makes_the_step_and_shows_the_next_step():
    (shown,) = outputs_of("u")
    assert "1 of 15 · A batch of 4" in shown
    one, two = replay(), replay(updates=1)
    one.advance("fa")
    assert_same_bits(
        {key: a for key, a in one.trace("fa")[-1].arrays.items()},
        {key: a for key, a in two.trace("fa")[-1].arrays.items()},
    )
    assert one.trace("bp")[0].arrays["linear1.W"] is not None


def test_a_number_with_two_signs_is_answered_with_a_message():
    (shown,) = outputs_of("j --3")
    assert "unknown layer or kind of moment '--3'" in shown


def test_a_diverging_step_is_reported_and_the_previous_step_is_kept():
    stepper = Stepper(replay(model="mlp", lr=1e20), "fa", io.StringIO(), io.StringIO())
    stepper.preloop()
    for _ in range(6):
        stepper.onecmd("u")
    printed = " ".join(stepper.stdout.getvalue().split())
    assert "training diverged in update" in printed and "smaller learning rate" in printed
    stepper.onecmd("j 2")
    assert "Forward through linear1" in stepper.stdout.getvalue().rsplit("fa ·", 1)[1]


def test_switching_the_rule_changes_only_the_rule():
    """The state of the optimizer is kept: the same velocity, another gradient."""
    one = replay("fa", updates=3)
    velocities = [
        next(m for m in one.trace(rule) if m.kind == "update").terms["velocity"]
        for rule in ("fa", "bp", "kolen_pollack")
    ]
    assert np.any(velocities[0])
    np.testing.assert_array_equal(velocities[0], velocities[1])
    np.testing.assert_array_equal(velocities[0], velocities[2])


def test_tab_completes_names_layers_and_rules_also_after_one_letter():
    stepper = Stepper(replay(), "fa", io.StringIO(), io.StringIO())
    assert "linear1.W" in stepper.complete_p("linear1.", "p linear1.", 2, 10)
    assert stepper.complete_jump("lin", "jump lin", 5, 8) == ["linear1", "linear2"]
    assert "usf" in stepper.complete_r("u", "r u", 2, 3)


def test_the_end_of_input_quits_and_is_not_offered_as_a_command():
    stepper = Stepper(replay(), "fa", io.StringIO(), io.StringIO())
    assert {"jump", "quit"} <= set(stepper.completenames("")) and not stepper.completenames("E")
    assert stepper.onecmd("EOF") is True and stepper.stdout.getvalue() == "\n"
    assert stepper.onecmd("list") is False


def test_rule_alone_shows_the_current_rule_and_all_others():
    (shown,) = outputs_of("r", rule="dfa")
    assert shown.startswith("current rule: dfa; known: ") and set(mf.rules.RULES) <= set(re.findall(r"\w+", shown))


def test_a_long_network_is_shown_around_the_current_layer():
    trace = replay(model="mlp", model_options={"hidden": (4,) * 8}).trace("bp")
    pages = [page(trace, i, 200).splitlines() for i in range(len(trace))]
    maps = {(moment.kind, moment.layer): lines[1] for moment, lines in zip(trace, pages, strict=True)}
    assert maps["batch", ""] == "[x] -> linear1 -> relu1 -> linear2 -> ..."
    middle = ["linear3", "relu3", "linear4", "[relu4]", "linear5", "relu5", "linear6"]
    assert maps["forward", "relu4"] == " -> ".join(["...", *middle, "..."])
    assert maps["backward", "relu4"] == " <- ".join(["...", *middle, "..."])
    assert maps["carry", "linear2"] == "x <- linear1 <- relu1 <- [linear2] <- relu2 <- linear3 <- relu3 <- ..."
    assert maps["loss", ""] == "... -> linear8 -> relu8 -> linear9 -> [loss]"


def test_the_rule_s_options_are_in_the_title():
    assert replay().trace("usf:scale=init").rule == "usf:scale=init"


def test_the_answer_to_an_unknown_command_names_the_nearest_one():
    (shown,) = outputs_of("jmup 3")
    assert "jump" in shown


def test_help_describes_every_command():
    general, one = outputs_of("h", "h jump")
    assert all(name in general for name in COMMANDS.values())
    assert "moment by its number" in one


def test_replayed_steps_equal_the_steps_of_training():
    """Two updates by Replay give the weights of the trainer's first epoch of two batches."""
    from minifa.training import Trainer

    for rule in ("fa", "kolen_pollack", "stale:every=1", "weight_mirror"):
        one = replay(rule, updates=2, batch_size=2)
        net, attached, loss, optimizer = build(one.experiment, data.load("xor"))
        trainer = Trainer(net, attached, loss, optimizer, seed=one.experiment.seed)
        trainer.fit(data.load("xor").train, epochs=1, batch_size=2)
        assert_same_bits(dict(one.net_state), net.state())
        assert_same_bits(dict(one.saved[1]), attached.state())


def test_with_piped_output_every_moment_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert cli.main(["step", "--rule", "dfa"]) == 0
    printed = capsys.readouterr().out
    heads = re.findall(r"^dfa · (\d+) of (\d+) ·", printed, re.M)
    assert [int(i) for i, _ in heads] == list(range(1, int(heads[0][1]) + 1))
    assert "delta = e @ F.T" in printed


def test_the_arrays_of_a_convolutional_net_are_shown_by_shape(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert (
        cli.main(["step", "--data", "digits", "--model", "cnn", "--depth", "2", "--rule", "usf", "--lr", "0.01"]) == 0
    )
    assert "<4 x 8 x 8 x 16> = columns( <4 x 8 x 8 x 1> ) @" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [45, 80])
def test_the_output_fits_a_narrow_terminal(columns):
    trace = replay().trace("kolen_pollack")
    for i in range(len(trace)):
        assert max(map(len, page(trace, i, columns).splitlines())) <= columns, i


@pytest.mark.parametrize(
    "arguments, words", [(["--rule", "faa"], "fa"), (["--model", "tinny"], "tiny"), (["--updates", "-1"], "from 0 up")]
)
def test_invalid_arguments_are_answered_with_a_message(arguments, words, capsys):
    try:
        code = cli.main(["step", *arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2 and words in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_stepping_works_in_a_real_terminal():
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="100", TERM="dumb")
        os.execv(sys.executable, [sys.executable, "-m", "minifa", "step", "--rule", "fa"])
    os.write(terminal, b"\nj 7\nr bp\nq\n")
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux raises this when the other end has closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    text = shown.decode("utf-8", "replace")
    assert "Forward through linear1" in text and "bp · 7 of 15" in text


def test_tracing_costs_nothing_when_it_is_not_used():
    """The engine has no branch for it: importing minifa's training code does not need the tracer."""
    source = {name: sys.modules[f"minifa.{name}"].__file__ for name in ("training", "network", "optim", "layers.base")}
    for path in source.values():
        with open(path, encoding="utf-8") as file:
            assert "tracing" not in file.read()
    assert mf.trace is sys.modules["minifa.tracing"].trace
