"""The entrance that is the command line: words in any order, hostile values, corrupted run folders."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from conftest import installed

from fuzzing import Case, MakeCase, files, mutations
from minifa import backend, cli
from minifa.cli import pictures, program

CODES = (0, 1, 2, 3)
# The first words of a case, so that it does not train for minutes.
QUICK = ["--data", "xor", "--model", "tiny", "--epochs", "1"]
COMMANDS = {
    "train": [*QUICK, "--rule", "fa"],
    "step": ["--rule", "usf"],
    "rules": [],
    "info": [],
    "figures": ["run"],
    "attack": ["run", "--attack", "fgsm", "--examples", "4"],
    "results": ["compare", "run/history.csv", "digits-cnn"],
    "compare": [*QUICK, "--rules", "bp,fa", "--seeds", "1", "--jobs", "1"],
}
VALUES = (
    *("", " ", "-1", "0", "1", "2", "0.5", "1e308", "nan", "inf", "-inf", "1e-320", "true", "None", "x", "é", "\0"),
    *("a=b", "٣", "²", "1_000", "0x10", "99999999999999999999", "1" * 5000, "run", "run/config.json", ".", "/"),
    *("no/such", "--", "-", "bp", "fa:conv=dense", "usf:scale=0", "fa:", "fa:x=", ":", "fa:sparsity=nan"),
    *("usf:scale=inf", "bp,bp", "all,", ",", "cosine:epochs=0", "cosine:epochs=nan", "step:size=1,gamma=inf"),
    *("multi_step:milestones=+", "warm_up:epochs=1,then=x", "crop_flip:padding=-1", "crop24", "adam", "sgd", "mlp"),
    *("cnn", "5,5", "5,,5", "100000000000", "linear1", "linear1,,", "mean_squared_error", "half_squared_error", "xor"),
    *("digits.npz", "data.npz", "\udcff"),
)  # fmt: skip
# Long, or outside the folder: `test_bad_input` has a table of them.
NOT_TRIED = ("--help", "--threads", "--jobs", "--out", "--seeds", "--updates", "--epochs")


def options(command: str) -> list[Any]:
    parser = program.make_parser()
    (commands,) = [one for one in parser._actions if hasattr(one, "choices") and isinstance(one.choices, dict)]
    return [one for one in commands.choices[command]._actions if one.option_strings]


def command_line(random: Random, folder: Path) -> Case:
    often = [name for name in COMMANDS if name != "figures"]  # drawing takes seconds
    command = "figures" if random.random() < 0.005 else random.choice((*often, "train", "train", "step"))
    words = [command, *COMMANDS[command]]
    known = [one for one in options(command) if one.option_strings[0] not in NOT_TRIED]
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        change = random.randrange(8)
        if change == 0 and len(words) > 1:
            del words[random.randrange(1, len(words))]
        elif change == 1:
            words.insert(random.randrange(len(words) + 1), random.choice(VALUES))
        elif change == 2 and len(words) > 2:
            words[random.randrange(1, len(words))] = random.choice(VALUES)
        else:
            option = random.choice(known)
            words += [option.option_strings[0], *([random.choice(VALUES)] if option.nargs != 0 else [])]
    if command == "train":
        words += ["--out", "out"]
    return _case(words, folder)


def resumed(random: Random, folder: Path) -> Case:
    """`train --resume` and `figures` of a folder with one corrupted file."""
    place = _fresh(folder)
    name, ways = random.choice(
        (
            ("config.json", files.JSON),
            ("last.ckpt", (*mutations.ANY, files.made_up)),
            ("history.csv", files.TABLE),
            ("log.jsonl", mutations.ANY),
        )
    )
    description = files._corrupt(random, place / "run" / name, ways)
    return _case(["train", "--resume", "run"], folder, description, fresh=False)


def _fresh(folder: Path) -> Path:
    """An empty folder to run in, with a finished run in it."""
    place = folder / "commands"
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(files._run_folder(), place / "run")
    (place / "data.npz").write_bytes(files.npz(Random(0)))
    return place


def _case(words: list[str], folder: Path, description: str = "", fresh: bool = True) -> Case:
    place = folder / "commands"

    def call() -> int:
        if fresh:
            _fresh(folder)
        before = os.getcwd(), installed()
        output = io.StringIO()
        os.chdir(place)
        try:
            quiet = contextlib.redirect_stdout(output), contextlib.redirect_stderr(output)
            with quiet[0], quiet[1], mock.patch.object(pictures, "draw", return_value=True):  # drawing is slow
                try:
                    code = cli.main(words)
                except SystemExit as ended:  # of argparse
                    code = ended.code or 0
        finally:
            os.chdir(before[0])
            backend._install(*before[1])
        assert code in CODES, f"exit code {code}"
        assert code in (0, 3) or len(output.getvalue().split()) > 3, f"exit code {code} without a sentence"
        assert "Traceback" not in output.getvalue(), output.getvalue()[-2000:]
        return code

    return Case(f"minifa {words} {description}", call, (), folder=place)


ENTRANCES: dict[str, tuple[MakeCase, float]] = {"command line": (command_line, 20), "train --resume": (resumed, 8)}
