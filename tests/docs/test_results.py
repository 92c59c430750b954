"""The results page: every number of every table is in the CSV beside it, and every table says how it was made.

The cells come from tests/support/result_tables.py, which computes them from the CSV files.
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import result_tables
from result_tables import FOLDER, HALF_VARIANCE, JUDGED, TABLES, Rows, made_by

import minifa as mf
from minifa.experiments import results_archive
from minifa.experiments.differences import paired

ROOT = Path(__file__).parents[2]
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
FACTS = ("shows", "command", "seeds", "data", "commit", "machine", "wall time", "table")


class Section(NamedTuple):
    """Text below a heading: the first paragraph, the facts, the fenced blocks."""

    text: str
    judgement: str
    facts: dict[str, str]
    blocks: list[str]


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def sections(page: str) -> dict[str, Section]:
    found: dict[str, Section] = {}
    for part in re.split(r"^(?=#+ )", page, flags=re.M)[1:]:
        heading, _, text = part.partition("\n")
        anchor = re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")
        assert anchor not in found
        blocks = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
        prose = [one for one in re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S).split("\n\n") if one.strip()]
        judgements = [one for one in prose if not one.lstrip().startswith(("- ", "!", "|", "1. "))]
        facts = [one for one in prose if "**shows:**" in one]
        found[anchor] = Section(text, on_one_line(judgements[0]) if judgements else "", read_facts(facts), blocks)
    return found


def read_facts(paragraphs: list[str]) -> dict[str, str]:
    """The lines from **shows** to **table**, by their words."""
    text = on_one_line(" ".join(paragraphs))
    pairs = re.findall(rf"\*\*({'|'.join(FACTS)}):\*\* (.*?)(?=(?:;| -) \*\*(?:{'|'.join(FACTS)}):\*\*|$)", text)
    return dict(pairs)


SECTIONS = sections(PAGE)


def cells(part: str) -> Iterator[list[str]]:
    """The cells of a part of a block, the header first. The line of dashes gives the columns."""
    lines = part.splitlines()
    spans = [match.span() for match in re.finditer("-+", lines[1])]
    for line in [lines[0], *lines[2:]]:
        covered = {i for start, end in spans for i in range(start, end)}
        assert not "".join(character for i, character in enumerate(line) if i not in covered).strip(), line
        yield [line[start:end].strip() for start, end in spans]


def differences(block: str, expected: list[Rows]) -> list[str]:
    """What a block has and its CSV files do not have."""
    parts = [list(cells(part)) for part in block.strip("\n").split("\n\n")]
    if [[len(row) for row in part] for part in parts] != [[len(row) for row in part] for part in expected]:
        return ["other rows or columns"]
    return [
        f"row {row[0]!r}, column {part[0][i]!r}: the page has {cell!r}, the CSV {right[i]!r}"
        for part, true in zip(parts, expected, strict=True)
        for row, right in zip(part, true, strict=True)
        for i, cell in enumerate(row)
        if cell != right[i]
    ]


# The cells


def test_every_table_of_the_page_has_its_cells_and_every_block_is_a_table():
    assert {anchor: len(one.blocks) for anchor, one in SECTIONS.items() if one.blocks} == dict.fromkeys(TABLES, 1)
    assert not [line for line in PAGE.splitlines() if line.startswith("|") and re.search(r"\d\.\d", line)]


@pytest.mark.parametrize("anchor", TABLES)
def test_every_cell_is_in_the_csv(anchor):
    assert differences(SECTIONS[anchor].blocks[0], TABLES[anchor].parts()) == []


@pytest.mark.long
@pytest.mark.parametrize("anchor", TABLES)
def test_a_changed_character_of_a_table_is_noticed(anchor):
    """Every digit and every letter of the block, one after the other."""
    block, expected = SECTIONS[anchor].blocks[0], TABLES[anchor].parts()
    places = [match.start() for match in re.finditer(r"[^\W_]", block)]
    assert len(places) > 40
    for i in places:
        other = str((int(block[i]) + 1) % 10) if block[i].isdigit() else "x" if block[i] != "x" else "y"
        assert differences(block[:i] + other + block[i + 1 :], expected), f"{other!r} at {i} was not noticed"


@pytest.mark.parametrize("anchor", TABLES)
def test_a_missing_row_of_a_table_is_noticed(anchor):
    block, expected = SECTIONS[anchor].blocks[0], TABLES[anchor].parts()
    lines = block.splitlines(keepends=True)
    assert differences("".join(lines[:-1]), expected)


@pytest.mark.parametrize("anchor", TABLES)
def test_the_cells_come_from_the_linked_files(anchor, monkeypatch):
    names, read = [], result_tables.read
    monkeypatch.setattr(result_tables, "read", lambda name: names.append(name) or read(name))
    TABLES[anchor].parts()
    assert {*names} == {*TABLES[anchor].files}
    targets = re.findall(r"\[([^]]+)\]\(([^)]+)\)", SECTIONS[anchor].facts["table"])
    assert [target for _, target in targets] == [text for text, _ in targets] == [*TABLES[anchor].files]


def test_a_section_names_the_tables_of_the_archive_that_its_files_are_in():
    for anchor, table in TABLES.items():
        inside = [
            name
            for name, entry in results_archive.catalogue().items()
            if any(
                file == one["file"] or file.startswith(f"{one['file']}/")
                for one in entry["source"]
                for file in table.files
            )
        ]
        named = re.findall(r"`([\w-]+)`", SECTIONS[anchor].facts["table"].partition("archive: ")[2])
        assert named == ([] if anchor == "rules-by-data-set" else inside)  # which repeats rows of other sections


# What is said of a table


@pytest.mark.parametrize("anchor", TABLES)
def test_every_table_has_the_same_facts(anchor):
    facts = SECTIONS[anchor].facts
    assert tuple(facts) == FACTS
    assert all(facts.values())
    assert re.search(r"`(minifa|python) .*`", facts["command"])
    assert re.match(r"\d", facts["seeds"])
    assert re.search(r"[0-9a-f]{7}|not recorded", facts["commit"])
    assert all(re.fullmatch("[0-9a-f]{7}", word) for word in re.findall(r"tables at (\w+)", facts["commit"]))


@pytest.mark.parametrize("anchor", TABLES)
def test_a_judgement_has_at_most_two_sentences(anchor):
    text = re.sub(r"`.*?`|\(.*?\)", "", SECTIONS[anchor].judgement)
    assert 1 <= len(re.findall(r"[.!?](?= |$)", text)) <= 2


def test_the_facts_are_read_and_sentences_are_counted():
    page = (
        "# One\n\nFirst. Second, 1.5.\n\n- **shows:** a\n  b; c\n- **seeds:** 0; **data:** d\n\n```\na\n```\n\nMore.\n"
        "## Two\n\n- x\n"
    )
    one, two = sections(page).values()
    assert one.facts == {"shows": "a b; c", "seeds": "0", "data": "d"}
    assert one.judgement == "First. Second, 1.5." and one.blocks == ["a\n"]
    assert (two.judgement, two.facts, two.blocks) == ("", {}, [])


def recorded(anchor: str) -> Iterator[dict[str, Any]]:
    """The environments in the config.json beside the files of a table, and the commits in the column made_by."""
    for name in TABLES[anchor].files:
        folder = FOLDER / Path(name).parts[0]
        config = folder / "config.json"
        if config.exists():
            yield json.loads(config.read_text(encoding="utf-8"))["environment"]
        runs = folder / "runs.csv"
        if runs.exists() and not config.exists():
            for line in result_tables.read(runs.relative_to(FOLDER).as_posix()):
                for version, commit in made_by(line):
                    assert line["date"] and line["threads"]
                    yield {"minifa": version, "commit": commit, "date": line["date"], "threads": line["threads"]}
        table = folder / "table.csv"
        if table.exists():
            for line in result_tables.read(table.relative_to(FOLDER).as_posix()):
                for version, commit in made_by(line):
                    yield {"minifa": version, "commit": commit}


WITH_ENVIRONMENT = [anchor for anchor in TABLES if [*recorded(anchor)]]


@pytest.mark.parametrize("anchor", WITH_ENVIRONMENT)
def test_commit_version_date_and_threads_are_those_recorded(anchor):
    facts = SECTIONS[anchor].facts
    for environment in recorded(anchor):
        assert environment.get("commit", "not recorded") in facts["commit"]
        assert f"minifa {environment['minifa']}" in facts["commit"]
        assert environment.get("date", "").partition(" ")[0] in facts["commit"]
        threads = environment.get("threads")
        assert threads is None or f"{threads} thread" in facts["machine"]


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@pytest.mark.parametrize("anchor", TABLES)
def test_the_time_of_training_is_the_sum_of_the_runs(anchor):
    stated = re.findall(r"training (\d[\d.]* \w+)", SECTIONS[anchor].facts["wall time"])
    seconds = TABLES[anchor].seconds
    assert stated == ([duration(seconds())] if seconds else [])


# Numbers in sentences


@pytest.mark.parametrize("anchor", JUDGED)
def test_the_numbers_of_a_judgement_are_computed(anchor):
    text = headline() if anchor == "results" else SECTIONS[anchor].judgement
    assert not [sentence for sentence in JUDGED[anchor]() if sentence not in text]


def headline() -> str:
    return on_one_line(SECTIONS["results"].text)


FROM_ELSEWHERE = {"mnist": {"98.93"}, "bursts": {"0.2"}}  # literature, and factors of the rates


@pytest.mark.parametrize("anchor", ["results", *TABLES])
def test_a_decimal_number_of_a_judgement_is_in_its_table_or_computed(anchor):
    text = headline() if anchor == "results" else SECTIONS[anchor].judgement
    numbers = {*re.findall(r"\d+\.\d+", text)} - FROM_ELSEWHERE.get(anchor, set())
    shown = "\n".join([*SECTIONS[anchor].blocks, *(JUDGED[anchor]() if anchor in JUDGED else [])])
    assert numbers <= {*re.findall(r"\d+\.\d+", shown)}


def test_the_first_table_of_the_readme_is_that_of_the_page():
    (block,) = (one for one in re.findall(r"^```\n(.*?)^```$", README, re.M | re.S) if "weight angle" in one)
    setting, _, table = block.partition("\n\n")
    assert differences(table, TABLES["five-rules-on-six-convolutions"].parts()[:1]) == []
    data = mf.data.load("digits")
    (base, *_) = json.loads((FOLDER / "compare-digits-cnn" / "config.json").read_text())["experiments"]
    assert setting == (
        f"digits ({len(data.train)} training, {len(data.test)} test examples), model {base['model']}, "
        f"{base['epochs']} epochs, batch {base['batch_size']}, {base['optimizer']}"
    )


def test_the_readme_states_the_differences_on_cifar10_with_their_intervals():
    lines = {line["row"]: line for line in result_tables.read("reproduce-cifar10_moskovitz-50/differences.csv")}
    three = (lines[row] for row in ("usf-strict", "frsf", "fa-kernel"))
    usf, frsf, fa = ([-float(line[key]) for key in ("mean", "high", "low")] for line in three)
    assert (
        f"`usf` is {usf[0]:.1f} points behind `bp` (95 %: {usf[1]:.1f} to {usf[2]:.1f}), "
        f"`frsf` {frsf[0]:.1f} ({frsf[1]:.1f} to {frsf[2]:.1f}), `fa` {fa[0]:.0f} ({fa[1]:.0f} to {fa[2]:.0f})."
    ) in on_one_line(README)


def test_the_list_of_statements_names_headings_of_the_page():
    text = (FOLDER / "sentences.md").read_text(encoding="utf-8")
    places = {place.strip() for place in re.findall(r"results, ([A-Z][^|;]*)", text)}
    headings = re.findall(r"^#+ (.*)$", PAGE, re.M)
    assert len(places) > 10
    assert not [
        place for place in places if not any(one.startswith(place) or place.startswith(one) for one in headings)
    ]


# The CSV files


def to_csv() -> Any:
    spec = importlib.util.spec_from_file_location("to_csv", FOLDER / "peer" / "to_csv.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PEERS = sorted((FOLDER / "peer").glob("*.txt"))


@pytest.mark.parametrize("path", PEERS, ids=lambda path: path.stem)
def test_the_csv_of_a_peer_has_the_numbers_of_its_text(path):
    lines = list(result_tables.read(f"peer/{path.stem}.csv"))
    assert lines == to_csv().lines_of(path.read_text(encoding="utf-8"))
    words = {word for line in lines for cell in line.values() for word in cell.split()}
    printed = {word for word in path.read_text(encoding="utf-8").split() if re.match(r"\d", word)}
    assert printed - {"0.9"} <= words  # of the title "epochs to 0.9"


@pytest.mark.parametrize("path", PEERS, ids=lambda path: path.stem)
def test_mean_and_sd_of_a_peer_are_those_of_its_scores(path):
    """The scores have three decimals, so that mean and sd may differ by one in the last."""
    for line in result_tables.read(f"peer/{path.stem}.csv"):
        if "scores" in line:
            scores = [float(score) for score in line["scores"].split()]
            assert statistics.fmean(scores) == pytest.approx(float(line["mean"]), abs=0.00101)
            assert statistics.stdev(scores) == pytest.approx(float(line["sd"]), abs=0.00101)


WITH_CURVES = [
    path.parent.name
    for path in sorted(FOLDER.glob("reproduce-*/curves.csv"))
    if "cifar10" not in path.parent.name  # its scores are those of the best epoch on held-out images
]


@pytest.mark.parametrize("folder", WITH_CURVES)
def test_the_table_of_a_recipe_has_the_means_of_its_last_epochs(folder):
    ends = result_tables.ends(f"{folder}/curves.csv", "row")
    error = "test error" in on_one_line((FOLDER / folder / "table.txt").read_text(encoding="utf-8"))
    for line in result_tables.read(f"{folder}/table.csv"):
        some = ends[line["row"]]
        if "test_accuracy" in some[0]:
            scores = [100 * float(one["test_accuracy"]) for one in some]
            scores = [100 - score for score in scores] if error else scores
        else:
            scores = [float(one["test_loss"]) for one in some]
        assert len(scores) == int(line["seeds"])
        assert statistics.fmean(scores) == pytest.approx(float(line["mean"]), abs=1e-9)
        if line.get("sd"):
            assert statistics.stdev(scores) == pytest.approx(float(line["sd"]), abs=1e-9)


@pytest.mark.parametrize("seeds", [n + 1 for n in result_tables.T_95])
def test_paired_differences_are_those_of_minifa(seeds):
    """Rounded to three decimals; computed by other code, for scores whose lines are in another order."""
    one, other = np.random.default_rng(seeds).normal(size=(2, seeds)).round(6).tolist()
    lines = [[{"seed": str(i), "accuracy": f"0 {x}"} for i, x in enumerate(scores)] for scores in (one, other)]
    mean, error, interval = result_tables.paired(lines[0], lines[1][::-1])
    true = paired(dict(enumerate(one)), dict(enumerate(other)))
    shown = [float(word) for word in (mean, error, *interval.split(" to "))]
    assert shown == pytest.approx([true.mean, true.standard_error, true.low, true.high], abs=1e-3)


def test_differences_in_points_are_those_of_minifa():
    """Of the JPEG copy, with the standard errors of seeds and images; computed by other code."""
    true = {line["difference"]: line for line in result_tables.read("jpeg/differences.csv")}
    shown = result_tables.jpeg()[1][1:]
    assert len(shown) == 11
    for name, *cells in shown:
        line = true[name]
        numbers = [float(word) for cell in cells for word in cell.split(" to ")]
        expected = [float(line[key]) for key in ("mean", "standard_error", "image_error", "low", "high")]
        assert numbers[:3] == pytest.approx(expected[:3], abs=0.0051)
        assert numbers[3:] == pytest.approx(expected[3:], abs=0.051)


def test_half_the_variance_of_the_digits():
    x = mf.data.load("digits").test.x.reshape(360, -1).astype(np.float64)
    assert 0.5 * ((x - x.mean(0)) ** 2).sum() / len(x) == pytest.approx(HALF_VARIANCE, abs=5e-4)


def test_the_printed_numbers_of_the_autoencoders_are_those_of_the_runs():
    peer, read_out = ((FOLDER / "autoencoder" / f"{name}.txt").read_text() for name in ("peer", "read_out"))
    for rule, lines in result_tables.by("autoencoder/peer.csv", "rule").items():
        shown = result_tables.plus_minus(result_tables.known(lines, "unexplained_variance"), 4)
        assert re.search(rf"{rule}.* {re.escape(shown)}\b", peer)
    for encoder, lines in result_tables.by("autoencoder/read_out.csv", "encoder").items():
        shown = result_tables.plus_minus(result_tables.known(lines, "test_accuracy"))
        assert re.search(rf"^{encoder} .* {shown}$", read_out, re.M)
        assert shown in on_one_line(SECTIONS["autoencoders"].text)
