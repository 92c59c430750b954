"""The README's code runs as it stands there, and its table of rules is the registry's."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

from minifa import cli
from minifa.rules import RULES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_and_prints_the_angles_it_promises():
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec("\n".join(blocks), {})  # our own text, as a reader would paste it
    lines = [line for line in printed.getvalue().splitlines() if line.startswith(("before", "after"))]
    measured = [float(line.split()[1]) for line in lines]
    promised = [float(angle) for angle in re.findall(r"# (\d+\.\d)(?: degrees)?:", blocks[0])]
    assert measured == pytest.approx(promised, abs=0.3)  # another BLAS rounds otherwise


def test_the_environment_is_activated_before_a_command_is_written_without_its_folder():
    """Read literally, `minifa step` is not found behind a first command that calls .venv/bin/minifa."""
    first_command = README.index(".venv/bin/minifa compare")
    bare = [found.start() for found in re.finditer(r"(`|^)minifa \w+ -", README, re.M)]
    assert bare and min(bare) > first_command
    for activate in ("source .venv/bin/activate", r".venv\Scripts\activate"):
        assert first_command < README.index(activate) < min(bare)


def test_the_moment_shown_is_the_one_that_step_prints(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["step", "--rule", "fa"]) == 0
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"^```\n(fa · .*?)^```", README, re.M | re.S)
    assert shown in printed


def test_every_tutorial_is_in_the_index():
    listed = re.findall(r"^\| \d\d \| \[.*?\]\(tutorials/(\w+)\.ipynb\)", README, re.M)
    assert listed == [path.stem for path in sorted((ROOT / "tutorials").glob("*.ipynb"))]


def test_every_picture_is_there():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


def test_the_table_of_rules_is_complete():
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^|`]*)`", README, re.M))
    assert rows == {name: rule.equation for name, rule in RULES.items()}
