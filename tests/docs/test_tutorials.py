"""The committed tutorials: every notebook is made from its script, was executed, and has the standard form. Only one
tiny notebook is executed here; ``python tutorials/build.py --check`` runs them all."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[2] / "tutorials"
SCRIPTS = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))

_spec = importlib.util.spec_from_file_location("tutorials_build", TUTORIALS / "build.py")
build = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = build  # dataclasses look up their module
_spec.loader.exec_module(build)

every_tutorial = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def code_cells(script):
    return [cell.source for cell in build.notebook_cells(script) if cell.kind == "code"]


def kept(script):
    return build.load(script.with_suffix(".ipynb"))


# --- the tutorials ----------------------------------------------------------------------------------------------------


def test_every_tutorial_exists_and_every_notebook_has_its_script():
    assert [int(path.name[:2]) for path in SCRIPTS] == [*range(1, 15)]
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
    assert len(at) == 1 and all(cell.kind == "markdown" for cell in others[at[0] :]), "exercises close the tutorial"
    solutions = build.solutions(others[at[0] :])
    assert len(solutions) in (2, 3) and build.solutions(others[: at[0]]) == []
    for code in solutions:
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))), code


@every_tutorial
def test_jupytext_reads_equal_cells(script):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: nothing to compare with")
    notebook = jupytext.operand(script.read_text(encoding="utf-8"), fmt="py:percent")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.kind, cell.source) for cell in build.read_cells(script.read_text(encoding="utf-8"))
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

# %% [markdown]
# ## Exercises
# 1. Add.
#
# <details><summary>Solution</summary>
#
# ```python
# assert x + 1 == 2
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
        one = {"cell_type": cell.kind, "source": cell.source.splitlines(keepends=True)}
        if cell.kind == "code":
            one["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
        content["cells"].append(one)
    return script, content


def test_cells_and_solutions_are_parsed_from_a_script():
    cells = build.read_cells(SCRIPT)
    assert [cell.kind for cell in cells] == ["markdown", "code", "markdown"]
    assert cells[0].source == "# 01 · Title\n\n**Claim.**" and cells[1].source == "x = 1\n\nprint(x)"
    assert build.solutions(cells) == ["assert x + 1 == 2\n", "y = x - 1\n\nassert y == 0\n"]


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
    without = SCRIPT.replace("# ```python\n# assert x + 1 == 2\n# ```\n", "")
    with pytest.raises(build.TutorialError, match="exercise 1"):
        build.solutions(build.read_cells(without))


def test_the_badge_is_at_the_end_of_the_first_cell_and_uses_only_a_known_address(pair, monkeypatch):
    script, content = pair
    last = build.stored_cells(content)[0].source.splitlines()[-1]
    assert "(https://colab.research.google.com/)" in last and "github" not in last
    monkeypatch.setattr(build, "REPOSITORY", "owner/name")
    last = build.notebook_cells(script)[0].source.splitlines()[-1]
    assert "(https://colab.research.google.com/github/owner/name/blob/main/tutorials/01_title.ipynb)" in last
    with pytest.raises(build.TutorialError, match="cell 1"):  # the badge is part of the pair
        build.check_pair(script, content)


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


def test_a_failing_solution_fails_the_build_and_is_named(pair):
    for package in ("nbclient", "ipykernel"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: nothing can be executed")
    script, _ = pair
    script.write_text(SCRIPT.replace("assert y == 0", "assert y == 5, 'wrong'"), encoding="utf-8")
    shutil.copy(build.__file__, script.parent)  # it searches for scripts in its own folder
    command = [sys.executable, script.parent / "build.py", "1"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1, done.stderr
    assert "01_title" in done.stdout and "the solution of exercise 2 fails: AssertionError: wrong" in done.stdout
    assert not script.with_suffix(".ipynb").exists()
