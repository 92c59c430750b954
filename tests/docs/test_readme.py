"""The README, the guide and the results: their code runs, their links are valid, and their lists are complete."""

import ast
import contextlib
import importlib.util
import inspect
import io
import re
import sys
from collections import Counter
from pathlib import Path
from unittest import mock
from urllib.parse import unquote

import numpy as np
import pytest

import minifa as mf
from minifa import cli
from minifa.models import MODELS
from minifa.rules import RULES

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "tutorials"
GUIDE = TUTORIALS / "guide"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        *sorted(GUIDE.glob("*.md")),
        TUTORIALS / "README.md",
        TUTORIALS / "results" / "README.md",
    )
}
README, RULES_PAGE = PAGES["README.md"], PAGES["tutorials/guide/rules.md"]
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


OTHERS = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
OTHERS += [f"tutorials/results/{name}.md" for name in ("rates/README", "sentences", "why/README")]
EXPERIMENTS = "tutorials/guide/experiments.md"
WITH_ANGLES = [page for page, text in PAGES.items() if python_blocks(text) and page != EXPERIMENTS]


def anchors(text):
    """The anchors that GitHub gives the headings of a page."""
    names, seen = set(), Counter()
    for heading in re.findall(r"^#+ (.*?)\s*$", FENCED.sub("", text), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return names


def links(text):
    """Targets of links and pictures, without those to other sites."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def broken(page, text):
    for target in links(text):
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / unquote(name) if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            yield target


def test_the_pages_are_those_listed_in_the_readme():
    assert [*PAGES] == [
        "README.md",
        *(f"tutorials/guide/{name}.md" for name in ("experiments", "guarantees", "performance", "rules", "teaching")),
        "tutorials/README.md",
        "tutorials/results/README.md",
    ]
    assert {*PAGES} - {"README.md"} <= {target.partition("#")[0] for target in links(README)}


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_not_long(page):
    """Tables may be wide: those of Markdown, and those in a block."""
    text = FENCED.sub("", PAGES[page])
    assert not [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_link_points_to_an_existing_file_and_heading(page):
    text = PAGES.get(page) or (ROOT / page).read_text(encoding="utf-8")
    assert not [*broken(page, text)]


def test_a_broken_link_is_detected():
    text = "[a](no.md) [b](#nowhere) [c](tutorials/guide/rules.md#nowhere) [d](#the-rules) [e](#the-rules-1)"
    headings = "\n## The rules\n```\n# nowhere\n```\n## The rules\n"
    assert [*broken("README.md", text)] == ["no.md", "#nowhere", "tutorials/guide/rules.md#nowhere", *links(text)[3:]]
    assert anchors(headings) == {"the-rules", "the-rules-1"}
    assert anchors("# MNIST with BioTorch's LeNet, `bp`") == {"mnist-with-biotorchs-lenet-bp"}


def run_code(page, folder, monkeypatch):
    """Run the page's own text, as a reader would paste it. Returns (its blocks, what it printed)."""
    monkeypatch.chdir(folder)  # the folder of its output
    rng, y = np.random.default_rng(0), np.arange(100) % 4
    np.savez("my.npz", x=rng.normal(size=(100, 8)) + 2 * np.eye(4, 8)[y], y=y)
    blocks = python_blocks(PAGES[page])
    printed = io.StringIO()
    own = mock.patch.dict(MODELS), mock.patch.dict(RULES)  # a page may register its own
    with own[0], own[1], contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec("\n".join(blocks), {})
    return blocks, printed


@pytest.mark.parametrize("page", WITH_ANGLES)
def test_the_code_runs_and_prints_the_stated_angles(page, tmp_path, monkeypatch):
    blocks, printed = run_code(page, tmp_path, monkeypatch)
    lines = [line for line in printed.getvalue().splitlines() if line.startswith(("before", "after"))]
    measured = [float(line.split()[1]) for line in lines]
    promised = [float(angle) for angle in re.findall(r"# (\d+\.\d)(?: degrees)?:", blocks[0])]
    assert len(promised) == 2 or page != "README.md"
    assert measured == pytest.approx(promised, abs=0.3)  # another BLAS rounds differently


def test_the_code_of_the_guide_goes_from_arrays_to_a_table_and_a_figure(tmp_path, monkeypatch):
    if importlib.util.find_spec("anywidget") is None:  # the extra "notebook"
        monkeypatch.setattr(mf, "explore", lambda *arguments, **options: None, raising=False)
    blocks, printed = run_code(EXPERIMENTS, tmp_path, monkeypatch)
    assert len([line for line in blocks[0].splitlines() if line]) <= 12
    assert "usf:scale=init" in printed.getvalue() and "'accuracy': " in printed.getvalue()
    assert {path.name for path in tmp_path.iterdir()} == {"my.npz", "net.npz", "comparison.png", "confusion.png"}


def test_the_python_of_the_readme_is_as_short_as_stated():
    """Ten after the imports; nine for the rule, and one that trains with it."""
    first, rule, _ = (ast.parse(block) for block in python_blocks(README))
    assert sum(not isinstance(node, ast.Import) for node in first.body) == 10
    (one,) = (node for node in rule.body if isinstance(node, ast.ClassDef))
    assert len([line for line in ast.unparse(one).splitlines() if line]) == 9


def test_the_environment_is_activated_before_a_command_without_its_folder():
    """Read literally, `minifa step` is not found behind a first command that calls .venv/bin/minifa."""
    first_command = README.index(".venv/bin/minifa compare")
    bare = [match.start() for match in re.finditer(r"(`|^)minifa \w+ -", README, re.M)]
    assert bare and min(bare) > first_command
    for activate in ("source .venv/bin/activate", r".venv\Scripts\activate"):
        assert first_command < README.index(activate) < min(bare)


def test_the_moment_shown_is_the_one_that_step_prints(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["step", "--rule", "fa"]) == 0
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"^```\n(fa · .*?)^```", RULES_PAGE, re.M | re.S)
    assert shown in printed


def test_every_tutorial_is_in_the_index():
    listed = re.findall(r"^\| \d\d \| \[.*?\]\((\w+)\.ipynb\)", PAGES["tutorials/README.md"], re.M)
    assert listed == [path.stem for path in sorted((ROOT / "tutorials").glob("*.ipynb"))]


def test_there_are_pictures():
    pictures = re.findall(r"!\[.*?\]\(.*?\)", "\n".join(PAGES.values()))
    assert len(pictures) >= 5  # the existence of the files is tested with the links


def test_every_command_is_in_the_list():
    listed = re.findall(r"`minifa ([\w-]+)`", "\n".join(re.findall(r"^\| `minifa .*", README, re.M)))
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        cli.main(["--help"])
    assert sorted(listed) == sorted(re.findall(r"^    ([\w-]+)(?: {2,}|$)", printed.getvalue(), re.M))


def test_the_table_of_rules_is_complete():
    table = RULES_PAGE.partition("## The rules")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^|`]*)`", table, re.M))
    assert rows == {name: rule.equation for name, rule in RULES.items()}


def test_the_readme_names_every_rule_by_family():
    families = README.partition("\n## Rules\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", families)) == sorted(RULES)


def test_the_options_of_the_rules_are_complete():
    section = RULES_PAGE.partition("## Options")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.M)
    listed = {name: dict(re.findall(r"`(\w+)=([^`]*)`", options)) for name, options in rows}
    (without,) = re.findall(r"^No options: (.*)\.$", section, re.M)
    listed.update({name: {} for name in re.findall(r"`(\w+)`", without)})
    assert listed == {
        name: {
            option.name: str(option.default).lower()
            for option in inspect.signature(rule).parameters.values()
            if option.name != "seed"
        }
        for name, rule in RULES.items()
    }
