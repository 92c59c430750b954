"""Builds the notebooks of this folder from the percent scripts of the same names, and checks that they run.

    python tutorials/build.py              build every notebook: cells from NN_name.py, executed, with outputs
    python tutorials/build.py 3 07         only these
    python tutorials/build.py --check      execute all without writing; fail if a notebook differs from its script
    python tutorials/build.py --student OUT    write the students' edition into the folder OUT: without solutions,
                                               outputs and comments with measured results, and with the answers
                                               to the predictions folded (nothing is executed)

Edit the scripts, never a notebook. Cells begin with ``# %% [markdown]``, ``# %%`` (code) or ``# %% [figure]``: code
that only draws, folded in JupyterLab and Colab, and tagged ``hide-input`` for nbconvert. The code of an exercise
contains ``...`` for the reader to replace, and below a line ``# Check`` the check of the answer, which prints "not
filled in yet" until then. A paragraph with "answer is (a)" answers a prediction; a comment with "measured",
"seeds:" or "1 to 2" states results.

Each notebook runs in a clean kernel of this Python, in an empty folder, with this checkout's minifa. After its last
cell the code of its folded solutions runs in the same kernel, as it does for a reader, in the code cell of its
exercise, whose check must print "right"; this output is not stored. Needs ``pip install ".[tutorials]"``. Exit status:
0 success, 1 a notebook failed, 2 nothing could be run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# "owner/name" of the public repository on GitHub. Empty while there is none: then there is no badge, because
# Colab opens notebooks of public repositories only.
REPOSITORY = ""

SLOW, TIMEOUT = 60, 600  # seconds per notebook: limits for a warning and for a failure
COLAB = "https://colab.research.google.com"

FOLDED: dict[str, Any] = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
SOLUTION = re.compile(r"\n*<details>\s*<summary>Solution</summary>(.*?)</details>", re.S)
ANSWER = re.compile(r"\banswer is \([a-z]\)")  # in the paragraph that answers a prediction
COMMENT = re.compile(r"(?:^ *#.*\n?)+|  #.*$", re.M)  # one or more lines of comments, or a comment behind code
RESULT = re.compile(r"\bmeasured\b|\bseeds\b[^()]*:|\d to -?\d")  # in a comment that states measured results
CHECK = "# Check\n"  # begins the check in the code of an exercise
CODE_BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in a printed object: different in every run
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class TutorialError(Exception):
    """A problem of one tutorial. The message is a sentence for its author."""


@dataclass(frozen=True)
class Cell:
    """A cell's kind, "markdown", "code" or "figure" (code that is folded), and its text."""

    kind: str
    source: str


# Cells of a script


def read_cells(script: str) -> list[Cell]:
    """The cells of a percent script, as jupytext would read them. Raises TutorialError for text before the first."""
    before, *parts = re.split(r"^# %%(.*)\n?", script, flags=re.M)
    if before.strip():
        raise TutorialError("a script begins with its first cell, '# %% [markdown]': there is text before it")
    cells = []
    for marker, text in zip(parts[::2], parts[1::2], strict=True):
        kind = {"": "code", "[markdown]": "markdown", "[figure]": "figure"}.get(marker.strip())
        if kind is None:
            raise TutorialError(
                f"a cell begins with '# %%', '# %% [markdown]' or '# %% [figure]', not with '# %%{marker}'"
            )
        lines = text.strip("\n").split("\n")
        if kind == "markdown":
            stray = next((line for line in lines if line != "#" and not line.startswith("# ")), None)
            if stray is not None:
                raise TutorialError(f"every line of a markdown cell begins with '# ', this one does not: {stray!r}")
            lines = [line[2:] for line in lines]
        cells.append(Cell(kind, "\n".join(lines)))
    return cells


def requirements(stem: str) -> str:
    """The line on what the notebook needs, with a badge if Colab can open it."""
    if not REPOSITORY:
        return (
            'Needs minifa (`pip install ".[tutorials]"` in its source folder) and no other file. How to run it without '
            "an installation: `tutorials/guide/teaching.md`."
        )
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
    link = f"({COLAB}/github/{REPOSITORY}/blob/main/tutorials/{stem}.ipynb)"
    install = f"in Colab, first run `%pip install git+https://github.com/{REPOSITORY}` in a cell of its own"
    return f"{badge}{link} Needs minifa and no other file; {install}."


def notebook_cells(script: Path) -> list[Cell]:
    """The cells that the script's notebook must have: those of the script, with its requirements at the end of the
    first."""
    first, *others = read_cells(script.read_text(encoding="utf-8"))
    return [Cell(first.kind, f"{first.source}\n\n{requirements(script.stem)}"), *others]


def solutions(cells: Sequence[Cell]) -> list[tuple[str, bool]]:
    """The code of each folded solution, in order, and whether it is checked: if the exercise has a code cell above the
    solution, the code is that cell's with the solution before its check. Raises TutorialError for a solution without
    code."""
    code: list[tuple[str, bool]] = []
    given = check = ""
    for cell in cells:
        if cell.kind == "code":
            given, _, check = cell.source.partition(CHECK)
        for folded in SOLUTION.findall(cell.source) if cell.kind == "markdown" else ():
            blocks = CODE_BLOCK.findall(folded)
            if not blocks:
                raise TutorialError(f"the solution of exercise {len(code) + 1} has no ```python block")
            code.append(("\n".join([given, *blocks, check] if check else blocks), bool(check)))
            given = check = ""
    return code


def student_cells(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without the solutions and without comments that state results, the answers to predictions folded.
    Cells that contained nothing but a solution are left out."""
    kept = [
        Cell(cell.kind, _student_text(cell.source) if cell.kind == "markdown" else _student_code(cell.source))
        for cell in cells
    ]
    return [cell for cell in kept if cell.source.strip()]


def _student_text(text: str) -> str:
    paragraphs = SOLUTION.sub("", text).split("\n\n")
    return "\n\n".join(
        f"<details><summary>Answer</summary>\n\n{paragraph}\n\n</details>" if ANSWER.search(paragraph) else paragraph
        for paragraph in paragraphs
    )


def _student_code(code: str) -> str:
    return COMMENT.sub(lambda comment: "" if RESULT.search(comment[0]) else comment[0], code)


# The stored notebook


def load(notebook: Path) -> dict[str, Any]:
    """A notebook file as plain dictionaries. Raises TutorialError if there is none."""
    if not notebook.exists():
        raise TutorialError(f"there is no {notebook.name}: build it with python tutorials/build.py {notebook.name[:2]}")
    try:
        content: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TutorialError(f"{notebook.name} is not a notebook ({error}): build it again") from None
    return content


def stored_cells(content: dict[str, Any]) -> list[Cell]:
    return [
        Cell("figure" if cell.get("metadata") == FOLDED else cell["cell_type"], "".join(cell["source"]))
        for cell in content["cells"]
    ]


def check_pair(script: Path, content: dict[str, Any]) -> None:
    """Raises TutorialError unless the notebook has the cells of the script."""
    expected, stored = notebook_cells(script), stored_cells(content)
    if expected == stored:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, stored, strict=False)) if a != b), min(len(expected), len(stored))
    )
    raise TutorialError(
        f"the notebook differs from {script.name} from cell {at + 1} on: change the script, then run "
        f"python tutorials/build.py {script.name[:2]}"
    )


def check_outputs(content: dict[str, Any]) -> None:
    """Raises TutorialError unless the notebook has outputs without errors, warnings and addresses, which change with
    each run."""
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    if not any(cell["outputs"] for cell in code):
        raise TutorialError("the notebook has no outputs: it was not executed")
    for number, cell in enumerate(code, start=1):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                raise TutorialError(f"code cell {number} has an error: {output['ename']}: {output['evalue']}")
            if output.get("name") == "stderr":
                raise TutorialError(f"code cell {number} writes to stderr: {''.join(output['text']).strip()[:300]}")
            shown = "".join(output.get("text") or output.get("data", {}).get("text/plain") or "")
            if ADDRESS.search(shown):
                raise TutorialError(
                    f"code cell {number} shows an address in memory: {shown[:100]!r}; assign the value to a name"
                )


def make_notebook(cells: Sequence[Cell]) -> Any:
    """A notebook with these cells, without outputs."""
    import nbformat.v4

    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(cell.source)
            if cell.kind == "markdown"
            else nbformat.v4.new_code_cell(cell.source, metadata=FOLDED if cell.kind == "figure" else {})
            for cell in cells
        ]
    )


def as_json(notebook: Any) -> str:
    """A notebook as JSON, without times, random ids and the Python version: identical in every run."""
    import nbformat

    for cell in notebook.cells:
        cell.metadata = FOLDED if cell.metadata.get("tags") == FOLDED["tags"] else {}
        cell.pop("id", None)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 4  # the last format without cell ids
    text: str = nbformat.writes(notebook)
    return text.rstrip("\n") + "\n"


def write_students_edition(scripts: Sequence[Path], out: Path) -> None:
    """Write the notebooks without solutions and outputs into the folder ``out``. Raises ValueError if it holds the
    scripts, whose own notebooks would be replaced."""
    if any(script.parent.resolve() == out.resolve() for script in scripts):
        raise ValueError(f"--student must not be the folder of the tutorials, whose notebooks it would replace: {out}")
    out.mkdir(parents=True, exist_ok=True)
    for script in scripts:
        text = as_json(make_notebook(student_cells(notebook_cells(script))))
        (out / f"{script.stem}.ipynb").write_text(text, encoding="utf-8", newline="\n")


# Execution


def execute(cells: Sequence[Cell], on_cell: Callable[[], None] = lambda: None) -> str:
    """Run the cells, then the solutions, in one clean kernel. Returns the notebook with its outputs, as JSON.

    Raises:
        TutorialError: a cell or a solution fails, a check does not accept its solution, or the notebook takes more
            than TIMEOUT seconds.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    solved = solutions(cells)
    notebook = make_notebook([*cells, *(Cell("code", code) for code, _ in solved)])
    deadline = time.monotonic() + TIMEOUT
    # Without folders to search, "python3" is the Python that runs this file, for any installed kernels.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(
        notebook,
        km=manager,
        timeout_func=lambda cell: max(1, int(deadline - time.monotonic())),
        coalesce_streams=True,
        extra_arguments=["--log-level=CRITICAL"],  # the kernel's own log; errors of cells are reported below
        on_cell_executed=lambda **_: on_cell(),
    )
    with tempfile.TemporaryDirectory() as empty:
        client.resources = {"metadata": {"path": empty}}
        try:
            client.execute(env=_environment(), cleanup_kc=True)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            at = max(i for i, cell in enumerate(notebook.cells) if "execution" in cell.metadata)
            where = f"cell {at + 1}" if at < len(cells) else f"the solution of exercise {at - len(cells) + 1}"
            if isinstance(error, CellExecutionError):
                place = re.search(r"^-+> *\d+ .*$", ESCAPES.sub("", error.traceback), re.M)
                line = f" ({place[0].lstrip('-> 0123456789')})" if place else ""
                raise TutorialError(f"{where} fails: {error.ename}: {ESCAPES.sub('', error.evalue)}{line}") from None
            why = (
                f"is not finished after {TIMEOUT} s in total"
                if isinstance(error, CellTimeoutError)
                else "ends its kernel"
            )
            raise TutorialError(f"{where} {why}") from None
    for number, ((_, checked), cell) in enumerate(zip(solved, notebook.cells[len(cells) :], strict=True), start=1):
        if checked and not any(output.get("text", "").endswith("right\n") for output in cell.outputs):
            raise TutorialError(f"the check of exercise {number} does not accept its solution: it must print 'right'")
    notebook.cells = notebook.cells[: len(cells)]
    return as_json(notebook)


def _environment() -> dict[str, str]:
    """The environment of this process, with this checkout's minifa first, the notebook's own matplotlib backend, and
    one thread for NumPy's products, so that the last digits of outputs do not depend on the number of cores."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment["OMP_NUM_THREADS"] = "1"
    checkout = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [checkout, environment.get("PYTHONPATH")]))
    return environment


def process(script: Path, check: bool, on_cell: Callable[[], None] = lambda: None) -> None:
    """Build one notebook, or check the stored one. Raises TutorialError."""
    notebook = script.with_suffix(".ipynb")
    if check:
        stored = load(notebook)
        check_pair(script, stored)
        check_outputs(stored)
    executed = execute(notebook_cells(script), on_cell)
    check_outputs(json.loads(executed))
    if not check:
        notebook.write_text(executed, encoding="utf-8", newline="\n")


# The command line


def find(numbers: Sequence[str], folder: Path) -> list[Path]:
    """The scripts of these numbers ("3" and "03" are the same), or all. Raises ValueError for an unknown one."""
    scripts = {int(path.name[:2]): path for path in sorted(folder.glob("[0-9][0-9]_*.py"))}
    unknown = [number for number in numbers if not number.isdecimal() or int(number) not in scripts]
    if unknown:
        known = " ".join(f"{number:02}" for number in scripts)
        raise ValueError(f"no tutorial {', '.join(unknown)}; known: {known or 'none'}")
    return [scripts[number] for number in dict.fromkeys(map(int, numbers))] or list(scripts.values())


def main(arguments: Sequence[str] | None = None, folder: Path = Path(__file__).parent) -> int:
    parser = argparse.ArgumentParser(
        prog="build.py", description="Build the tutorials' notebooks from their scripts, or check them."
    )
    parser.add_argument("numbers", nargs="*", metavar="NN", help="numbers of tutorials; default: all")
    parser.add_argument(
        "--check", action="store_true", help="execute without writing; fail if a notebook differs from its script"
    )
    parser.add_argument(
        "--student", type=Path, metavar="OUT", help="only write notebooks without solutions and outputs into OUT"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks in parallel (default 1)")
    options = parser.parse_args(arguments)
    try:
        scripts = find(options.numbers, folder)
    except ValueError as error:
        parser.error(str(error))
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    if options.student and options.check:
        parser.error("--student executes nothing: leave out --check")
    try:
        import ipykernel  # noqa: F401
        import nbclient  # noqa: F401
        from tqdm import tqdm
    except ImportError as error:
        print(f'build.py: {error}; pip install ".[tutorials]"', file=sys.stderr)
        return 2

    if options.student:
        try:
            write_students_edition(scripts, options.student)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        print(f"{len(scripts)} notebooks without solutions written to {options.student}")
        return 0

    steps = re.compile(r"^# %%(?: \[figure\])?$|<summary>Solution", re.M)
    total = sum(len(steps.findall(script.read_text(encoding="utf-8"))) for script in scripts)
    failed = 0
    with tqdm(total=total, unit="cell", disable=None) as bar, ThreadPoolExecutor(options.jobs) as pool:

        def run(script: Path) -> tuple[float, str]:
            started = time.monotonic()
            try:
                process(script, options.check, bar.update)
            except TutorialError as error:
                return time.monotonic() - started, str(error)
            return time.monotonic() - started, ""

        for script, (seconds, problem) in zip(scripts, pool.map(run, scripts), strict=True):
            failed += bool(problem)
            slow = f"  warning: over {SLOW} s" if seconds > SLOW else ""
            bar.write(f"{script.stem:34} {seconds:6.1f} s  {'FAILED: ' + problem if problem else 'ok'}{slow}")
    if failed:
        print(f"{failed} of {len(scripts)} tutorials failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
