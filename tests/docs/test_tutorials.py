"""The committed tutorials: every notebook is made from its script, was executed, and has the standard form. Only one
tiny notebook is executed here; ``python tutorials/build.py --check`` runs them all."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minifa as mf
from minifa import experiments
from minifa.cli import explore, step
from minifa.cli.options import make_experiment
from minifa.tracing.stepper import Replay

TUTORIALS = Path(__file__).parents[2] / "tutorials"
SCRIPTS = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))

_spec = importlib.util.spec_from_file_location("tutorials_build", TUTORIALS / "build.py")
build = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = build  # dataclasses look up their module
_spec.loader.exec_module(build)

every_tutorial = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def cells_of(script):
    return build.read_cells(script.read_text(encoding="utf-8"))


def code_cells(script):
    return [cell.source for cell in cells_of(script) if cell.kind == "code"]


def prose(script):
    """The markdown of a script, in one line."""
    return " ".join(" ".join(cell.source.split()) for cell in cells_of(script) if cell.kind == "markdown")


def kept(script):
    return build.load(script.with_suffix(".ipynb"))


# --- the tutorials ----------------------------------------------------------------------------------------------------


def test_every_tutorial_exists_and_every_notebook_has_its_script():
    assert [int(path.name[:2]) for path in SCRIPTS] == [*range(1, 27)]
    assert {path.stem for path in TUTORIALS.glob("*.ipynb")} <= {path.stem for path in SCRIPTS}


@every_tutorial
def test_the_notebook_has_the_cells_of_its_script(script):
    build.check_pair(script, kept(script))


@every_tutorial
def test_the_saved_outputs_have_pictures_and_no_errors(script):
    content = kept(script)
    build.check_outputs(content)
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    text = json.dumps([output.get("text") or output["data"].get("text/plain") for output in outputs])
    assert not re.search(r"/(home|tmp|root|Users)/", text), "a path of the machine that made it"
    assert content["metadata"]["kernelspec"]["name"] == "python3"


@every_tutorial
def test_a_tutorial_states_its_claim_asserts_it_and_ends_with_solved_exercises(script):
    first, *others = build.read_cells(script.read_text(encoding="utf-8"))
    assert re.match(rf"# {script.name[:2]} · \w", first.source), "the title"
    assert re.search(r"\*\*.+?\*\*", first.source, re.S), "the claim, in bold"
    assert any(isinstance(node, ast.Assert) for source in code_cells(script) for node in ast.walk(ast.parse(source))), (
        "the claim, asserted"
    )

    at = [i for i, cell in enumerate(others) if re.search(r"^## Exercises$", cell.source, re.M)]
    assert len(at) == 1
    solutions = build.solutions(others[at[0] :])
    assert len(solutions) in (2, 3) and build.solutions(others[: at[0]]) == [], "exercises close the tutorial"
    for code, _ in solutions:
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))), code


@every_tutorial
def test_two_exercises_are_filled_in_and_checked(script):
    cells = cells_of(script)
    assert sum(checked for _, checked in build.solutions(cells)) >= 2
    answers = [cell for cell in kept(script)["cells"] if build.CHECK in "".join(cell["source"])]
    for cell in answers:
        assert "..." in "".join(cell["source"]).partition(build.CHECK)[0], "nothing to fill in"
        assert "".join(cell["outputs"][-1]["text"]).endswith("not filled in yet\n")
    assert len(answers) == sum(checked for _, checked in build.solutions(cells))


@every_tutorial
def test_three_results_are_to_be_predicted(script):
    cells = cells_of(script)
    asked = [i for i, cell in enumerate(cells) if "> **Predict, then run.**" in cell.source]
    assert sum(cell.source.count("> **Predict, then run.**") for cell in cells) == len(asked) >= 3
    for i in asked:
        question = cells[i].source.partition("> **Predict, then run.**")[2]
        assert all(choice in question for choice in ("(a)", "(b)", "(c)")), question
        assert all(line.startswith(">") for line in question.splitlines()[1:]), "the question ends its cell"
        assert cells[i + 1].kind != "markdown", "the answer is the output of the next cell"


@every_tutorial
def test_plotting_is_folded_and_claims_are_not(script):
    for cell in cells_of(script):
        if cell.kind == "code":
            assert "plt.subplots(" not in cell.source, "a cell that draws is a '# %% [figure]'"
        if cell.kind == "figure":
            assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source))), cell.source
        if cell.kind != "markdown":
            assert max(map(len, cell.source.splitlines())) <= 88, "a rendered page cuts longer lines off"


@every_tutorial
def test_the_commands_that_show_the_same_moment_do_so(script):
    parsers = {}
    for name, command in (("explore", explore), ("step", step)):
        parsers[name] = argparse.ArgumentParser()
        command.describe(parsers[name])
    text = prose(script)
    (command,) = re.findall(r"`minifa explore ([^`]*-o page\.html)`", text)
    options = parsers["explore"].parse_args(shlex.split(command))
    for in_terminal in re.findall(r"`minifa step ([^`]*)`", text):
        parsers["step"].parse_args(shlex.split(in_terminal))
    moments = re.findall(r"`page\.html#step/([a-z_]+)/(\d+)` \(\"([^\"]+)\"\)", text)
    assert moments
    for rule, number, title in moments:
        assert rule in options.rules.split(",")
        experiment = make_experiment(options, rule, explore.BASE)
        trace = Replay(experiment, experiments.load_data(experiment)).trace(rule)
        assert trace[int(number) - 1].title == title
        for of_rule, layer, update in re.findall(r"`page\.html#training/([a-z_]+)/(\w+)/(\d+)`", text):
            assert of_rule in options.rules.split(",") and int(update) <= options.train_updates
            assert any(moment.title.startswith(f"Feedback matrix of {layer}") for moment in trace)


@every_tutorial
def test_jupytext_reads_equal_cells(script):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: nothing to compare with")
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        ("markdown" if cell.kind == "markdown" else "code", cell.source) for cell in cells_of(script)
    ]


# --- build.py ---------------------------------------------------------------------------------------------------------

SCRIPT = """\
# %% [markdown]
# # 01 · Title
#
# **Claim.**

# %%
x = 1

print(x)

# %% [figure]
picture = None

# %% [markdown]
# ## Exercises
# 1. Add.

# %%
z = ...

# Check
if z is ...:
    print("not filled in yet")
else:
    assert z == 2, "wrong sum"
    print("right")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# z = x + 1
# ```
#
# Why.
# </details>
#
# 2. Subtract.
#
# <details><summary>Solution</summary>
#
# ```python
# y = x - 1
# ```
#
# then
#
# ```python
# assert y == 0
# ```
# </details>
"""


@pytest.fixture
def pair(tmp_path):
    """(script, its notebook as a dictionary) in a separate folder."""
    script = tmp_path / "01_title.py"
    script.write_text(SCRIPT, encoding="utf-8")
    content = {"cells": []}
    for cell in build.notebook_cells(script):
        kind = "markdown" if cell.kind == "markdown" else "code"
        one = {"cell_type": kind, "source": cell.source.splitlines(keepends=True), "metadata": {}}
        if cell.kind == "figure":
            one["metadata"] = build.FOLDED
        if kind == "code":
            printed = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
            one["outputs"] = printed if cell.source.startswith("x") else []
        content["cells"].append(one)
    return script, content


def test_cells_and_solutions_are_parsed_from_a_script():
    cells = build.read_cells(SCRIPT)
    assert [cell.kind for cell in cells] == ["markdown", "code", "figure", "markdown", "code", "markdown"]
    assert cells[0].source == "# 01 · Title\n\n**Claim.**" and cells[1].source == "x = 1\n\nprint(x)"
    (filled_in, checked), second = build.solutions(cells)
    assert checked and second == ("y = x - 1\n\nassert y == 0\n", False)
    assert filled_in.startswith("z = ...\n") and "\nz = x + 1\n" in filled_in
    assert filled_in.endswith(cells[4].source.partition(build.CHECK)[2]) and "assert z == 2" in filled_in


@pytest.mark.parametrize(
    "script, message",
    [
        ("import numpy\n" + SCRIPT, "text before"),
        (SCRIPT.replace("# **Claim.**", "**Claim.**"), "begins with '# '"),
        (SCRIPT.replace("# %%\n", "# %% [raw]\n"), r"not with '# %% \[raw\]'"),
    ],
)
def test_a_script_of_another_format_is_refused(script, message):
    with pytest.raises(build.TutorialError, match=message):
        build.read_cells(script)


def test_a_solution_without_code_is_refused():
    without = SCRIPT.replace("# ```python\n# z = x + 1\n# ```\n", "")
    with pytest.raises(build.TutorialError, match="exercise 1"):
        build.solutions(build.read_cells(without))


def test_the_requirements_are_at_the_end_of_the_first_cell_and_have_a_badge_if_there_is_a_repository(pair, monkeypatch):
    script, content = pair
    last = build.stored_cells(content)[0].source.splitlines()[-1]
    assert 'pip install ".[tutorials]"' in last and "colab" not in last
    monkeypatch.setattr(build, "REPOSITORY", "owner/name")
    last = build.notebook_cells(script)[0].source.splitlines()[-1]
    assert "(https://colab.research.google.com/github/owner/name/blob/main/tutorials/01_title.ipynb)" in last
    with pytest.raises(build.TutorialError, match="cell 1"):  # the line is part of the pair
        build.check_pair(script, content)


def test_the_students_edition_has_the_questions_and_no_solutions_or_outputs(pair, tmp_path, capsys):
    pytest.importorskip("nbclient")
    script, _ = pair
    assert build.main(["--student", str(tmp_path / "out")], script.parent) == 0
    assert "1 notebooks without solutions" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "01_title.ipynb").read_text(encoding="utf-8"))
    cells = build.stored_cells(content)
    assert [cell.kind for cell in cells] == ["markdown", "code", "figure", "markdown", "code", "markdown"]
    text = "\n".join(cell.source for cell in cells)
    assert "Solution" not in text and "z = x + 1" not in text and "2. Subtract." in text and "z = ..." in text
    assert not any(cell.get("outputs") for cell in content["cells"])


def test_the_students_edition_folds_answers_and_leaves_out_measured_results():
    text = "Before.\n\nSo the\nanswer is (b): 45.\n\nAfter."
    code = (
        'x = "#555555"  # a colour\n# measured with two seeds:\n# 45\n\n'
        "assert x  # three seeds: 44\n    # five seeds: 46\nshape = 1  # (seeds, 3)\n\n# Check\ny = 2"
    )
    text, code = (cell.source for cell in build.student_cells([build.Cell("markdown", text), build.Cell("code", code)]))
    folded = "<details><summary>Answer</summary>\n\nSo the\nanswer is (b): 45.\n\n</details>"
    assert text == f"Before.\n\n{folded}\n\nAfter."
    assert code == 'x = "#555555"  # a colour\n\nassert x\nshape = 1  # (seeds, 3)\n\n# Check\ny = 2'


@every_tutorial
def test_the_code_of_the_students_edition_differs_in_comments_only(script):
    cells = [cell for cell in cells_of(script) if cell.kind != "markdown"]
    for cell, given in zip(cells, build.student_cells(cells), strict=True):
        assert ast.dump(ast.parse(given.source)) == ast.dump(ast.parse(cell.source))
        assert build.CHECK not in cell.source or build.CHECK in given.source


@pytest.mark.parametrize("arguments", [["--student", "."], ["--student", "out", "--check"]])
def test_the_students_edition_does_not_replace_the_notebooks(pair, arguments, monkeypatch, capsys):
    pytest.importorskip("nbclient")
    monkeypatch.chdir(pair[0].parent)
    with pytest.raises(SystemExit) as stopped:
        build.main(arguments, pair[0].parent)
    assert stopped.value.code == 2 and "--student" in capsys.readouterr().err
    assert not list(pair[0].parent.glob("*.ipynb"))


def test_a_notebook_that_differs_from_its_script_is_detected(pair):
    script, content = pair
    build.check_pair(script, content)
    script.write_text(SCRIPT.replace("x = 1", "x = 2"), encoding="utf-8")
    with pytest.raises(build.TutorialError, match=r"01_title\.py from cell 2 on"):
        build.check_pair(script, content)
    script.write_text(SCRIPT, encoding="utf-8")
    for cells in (content["cells"][:-1], [*content["cells"], content["cells"][1]]):
        with pytest.raises(build.TutorialError, match="differs from"):
            build.check_pair(script, {"cells": cells})


@pytest.mark.parametrize(
    "outputs, message",
    [
        ([], "was not executed"),
        ([{"output_type": "error", "ename": "ValueError", "evalue": "bad"}], "error: ValueError: bad"),
        ([{"output_type": "stream", "name": "stderr", "text": ["a warning"]}], "stderr: a warning"),
        ([{"output_type": "execute_result", "data": {"text/plain": ["<Legend at 0x7f01>"]}}], "address"),
    ],
)
def test_outputs_that_must_not_be_committed_are_detected(pair, outputs, message):
    _, content = pair
    build.check_outputs(content)
    content["cells"][1]["outputs"] = outputs
    with pytest.raises(build.TutorialError, match=message):
        build.check_outputs(content)


@pytest.mark.parametrize("text", [None, "no JSON"])
def test_a_missing_or_broken_notebook_gives_one_message(tmp_path, text):
    notebook = tmp_path / "01_title.ipynb"
    if text is not None:
        notebook.write_text(text, encoding="utf-8")
    with pytest.raises(build.TutorialError, match=r"01_title\.ipynb.* build it"):
        build.load(notebook)


def test_tutorials_are_selected_by_number(pair, capsys):
    script, _ = pair
    assert build.find([], script.parent) == build.find(["1", "01"], script.parent) == [script]
    for unknown in ("7", "one"):
        with pytest.raises(SystemExit) as stopped:
            build.main([unknown], script.parent)
        assert stopped.value.code == 2
        assert f"no tutorial {unknown}; known: 01" in capsys.readouterr().err


def test_missing_packages_are_named(pair, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbclient", None)
    assert build.main([], pair[0].parent) == 2
    assert 'pip install ".[tutorials]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("assert y == 0", "assert y == 5, 'wrong'", "the solution of exercise 2 fails: AssertionError: wrong"),
        ("z = x + 1", "z = ...", "the check of exercise 1 does not accept its solution"),
    ],
)
def test_a_failing_solution_fails_the_build_and_is_named(pair, right, wrong, message):
    for package in ("nbclient", "ipykernel"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: nothing can be executed")
    script, _ = pair
    script.write_text(SCRIPT.replace(right, wrong), encoding="utf-8")
    shutil.copy(build.__file__, script.parent)  # it searches for scripts in its own folder
    command = [sys.executable, script.parent / "build.py", "1"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1, done.stderr
    assert "01_title" in done.stdout and message in done.stdout
    assert not script.with_suffix(".ipynb").exists()


# --- the guide to teaching --------------------------------------------------------------------------------------------

TEACHING = (TUTORIALS / "guide" / "teaching.md").read_text(encoding="utf-8")


def cosine(a, b):
    return float(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))


def test_the_answers_to_the_exam_questions_are_right():
    e, W2, B = np.array([[1.0, 2.0]]), np.eye(2), np.array([[1.0, -1.0], [1.0, 1.0]])
    assert (e @ B.T).tolist() == [[-1.0, 3.0]]
    assert cosine(e @ W2.T, e @ B.T) == pytest.approx(math.sqrt(0.5))

    W = np.array([3.0, -4.0])
    assert math.degrees(math.acos(cosine(W, np.sign(W)))) == pytest.approx(8.1, abs=0.05)
    assert math.degrees(math.acos(math.sqrt(2 / math.pi) ** 6)) == pytest.approx(75, abs=0.5)

    x, t, B, W1, W2 = np.ones((1, 1)), 2.0, np.array([[1.0], [-1.0]]), np.zeros((1, 2)), np.zeros((2, 1))
    for _ in range(2):
        h = x @ W1
        e = h @ W2 - t
        W1, W2 = W1 - 0.1 * x.T @ e @ B.T, W2 - 0.1 * h.T @ e
    assert W2.ravel().tolist() == pytest.approx([0.04, -0.04])


def test_the_lab_sheet_has_the_numbers_of_the_explorer():
    parser = argparse.ArgumentParser()
    explore.describe(parser)
    (command,) = re.findall(r"`minifa explore ([^`]*)`", TEACHING)
    options = parser.parse_args(shlex.split(command))
    experiment = make_experiment(options, "fa", explore.BASE)
    data = experiments.load_data(experiment)
    net, rule = experiments.build(experiment, data)[:2]
    W, B = net["linear3"].W, rule.B["linear3"]
    agreeing = int((np.sign(W) == np.sign(B)).sum())
    assert f"[{mf.metrics.angle(W, B):.1f}°; {agreeing} of {W.size}, chance" in TEACHING
    moment = Replay(experiment, data).trace("fa")[10]
    assert moment.title == "Backward through linear3" and "[8 × 10, 10 × 12, 8 × 12:" in TEACHING
    assert moment.arrays["linear3.delta"].shape == (8, 10) and B.T.shape == (10, 12)
    usf = mf.rules.USF(seed=0).attach(net)
    assert mf.metrics.angle(W, usf.B["linear3"]) < 40
