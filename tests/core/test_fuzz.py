"""Invalid input at every entrance: a few hundred cases here, tens of thousands under ``pytest -m fuzz`` (see
`fuzzing`).

MINIFA_FUZZ_SEED and MINIFA_FUZZ_CASES set the seed and the number of cases; a failure names the entrance, the seed and
the number of its case.
"""

import os
import random
import time

import pytest
from fuzzing import Case, arrays, bound, campaign, commands, downloads, files, judge, recipes, why_not_a_refusal

TABLES = (files, recipes, downloads, arrays, commands)
ENTRANCES = {name: one for module in TABLES for name, one in module.ENTRANCES.items()}
BEGINNINGS = {**files.BEGINNINGS, **downloads.BEGINNINGS}
SHARES = sum(share for _, share in ENTRANCES.values())
QUICK, LONG = 400, 25_000  # cases in all
SLOWER = 0.2  # the share of entrances that are slow: each has one case in the quick run at least


def cases(name, total):
    return max(1, round(total * ENTRANCES[name][1] / SHARES))


@pytest.mark.parametrize("name", [name for name, (_, share) in ENTRANCES.items() if share > SLOWER])
def test_a_few_cases(name, tmp_path):
    wrong = campaign(name, ENTRANCES[name][0], cases(name, QUICK), seed=0, folder=tmp_path)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.fuzz
def test_very_many_cases(tmp_path, capsys):
    seed = int(os.environ.get("MINIFA_FUZZ_SEED") or random.SystemRandom().randrange(1 << 32))
    total = int(os.environ.get("MINIFA_FUZZ_CASES") or LONG)
    wrong, table, begun = [], [], time.perf_counter()
    for name, (make, _) in ENTRANCES.items():
        started, count = time.perf_counter(), cases(name, total)
        defects = campaign(name, make, count, seed, tmp_path)
        wrong += defects
        table.append((name, count, len(defects), time.perf_counter() - started))
    with capsys.disabled():
        print(f"\nseed {seed}: MINIFA_FUZZ_SEED={seed} makes the same cases again")
        for name, count, defects, seconds in table:
            print(f"{count:7,} cases {seconds:7.1f} s  {name}{f': {defects} WRONG' if defects else ''}")
        print(f"{sum(count for _, count, _, _ in table):7,} cases {time.perf_counter() - begun:7.1f} s  in all")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("name", BEGINNINGS)
def test_every_truncated_file_is_refused(name, tmp_path):
    """The file is truncated at every byte, or at 200 of a long one; the complete file is read."""
    make, read, refusals = BEGINNINGS[name]
    content = make(random.Random(0))
    path = tmp_path / ("config.json" if name == "config.json" else "history.csv" if name == "history.csv" else "file")
    whole = len(content.rstrip()) if name == "config.json" else len(content)
    places = (
        range(whole)
        if whole <= 200
        else sorted({*random.Random(1).sample(range(whole), 150), *range(25), *range(whole - 25, whole)})
    )
    for place in places:
        path.write_bytes(content[:place])
        refuse = not (name == "history.csv" and b"\n" in content[:place])  # fewer epochs make a table, too
        case = Case(
            f"cut at {place}", lambda: read(path), refusals, must_refuse=refuse, memory=bound(place, files.UNPACKED)
        )
        assert judge(case) is None, f"{name} cut at byte {place}: {judge(case)}"
    path.write_bytes(content)
    read(path)


def test_every_public_function_that_takes_arrays_is_fuzzed():
    """A public function or method with an unknown parameter would be left out: add the parameter to
    `fuzzing.arrays`."""
    assert not arrays.unfit()
    assert len(arrays.ENTRANCES) >= 130


# The judge itself


def raise_value_error(words):
    raise ValueError(words)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: [][0], "not documented"),
        (lambda: int("x"), "from the depths"),
        (lambda: raise_value_error("a sentence of some words, but not from minifa"), "from the depths"),
        (lambda: 5, "a wrong answer: it is 5"),
        (lambda: bytes(1 << 22), "bytes of memory; the bound is"),
    ],
)
def test_the_judge_finds_every_kind_of_defect(call, message):
    def check(result):
        assert result != 5, "it is 5"

    assert message in judge(Case("", call, (ValueError,), check, memory=1 << 20))


def test_the_judge_finds_accepted_input_and_leftover_files(tmp_path):
    assert "was accepted" in judge(Case("", lambda: 1, must_refuse=True))
    (tmp_path / "file.tmp").write_text("half", encoding="utf-8")
    assert "left file.tmp behind" in judge(Case("", lambda: 1, folder=tmp_path))


def test_the_judge_accepts_an_error_message_of_minifa():
    from minifa.data import read_idx, validate

    assert judge(Case("", lambda: validate([[1.0]], [0, 1]))) is None
    assert judge(Case("", lambda: read_idx("no such file", (1,)), (OSError,))) is None
    assert why_not_a_refusal(SystemExit(2)) is None and why_not_a_refusal(SystemExit(1))


def test_a_campaign_names_the_case_that_reproduces_a_defect(tmp_path):
    def make(rng, folder):
        return Case("bad", lambda: [][0]) if rng.random() < 0.3 else Case("good", lambda: 1)

    (defect,) = campaign("mine", make, 50, 7, tmp_path)
    assert defect.startswith("mine, seed 7, case ") and "IndexError" in defect
