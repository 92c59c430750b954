"""The README's code runs as it stands there, and its table of rules is the registry's."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from minifa.rules import RULES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_and_prints_the_angles_it_promises():
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec("\n".join(blocks), {})  # our own text, as a reader would paste it
    lines = [line for line in printed.getvalue().splitlines() if line.startswith(("before", "after"))]
    measured = [float(line.split()[1]) for line in lines]
    promised = [float(angle) for angle in re.findall(r"# (\d+\.\d)(?: degrees)?:", blocks[0])]
    assert measured == pytest.approx(promised, abs=0.3)  # another BLAS rounds otherwise


def test_the_table_of_rules_is_complete():
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^|`]*)`", README, re.M))
    assert rows == {name: rule.equation for name, rule in RULES.items()}
