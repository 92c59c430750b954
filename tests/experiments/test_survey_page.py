"""The page of a survey: its content, that it loads nothing, and sorting and filtering in browsers."""

from __future__ import annotations

import re

import pytest
from browsers import Keys
from test_run_page import HOSTILE, Reader

from minifa.experiments import survey_page, surveys
from minifa.experiments.survey_results import Survey

EMPTY = dict.fromkeys(surveys.COLUMNS, "")
MADE = {  # (network, rule): accuracies of the seeds, angle, products
    ("mlp", "bp"): ((0.95, 0.96), "0.0", "1.0"),
    ("mlp", "fa"): ((0.93, 0.95), "88.5", "1.0"),
    ("mlp", "pc"): ((0.97, 0.98), "", "13.2"),
    ("mlp", "drl"): ((0.9, 0.92), "95.5", "6.29"),
    ("cnn", "bp"): ((0.98, 0.99), "0.0", "1.0"),
    ("cnn", "fa"): ((0.1, 0.12), "89.9", "1.0"),
    ("cnn", "drl"): ((0.5, 0.7), "89.25", "3.5"),
}
NOT_RUN = {
    ("cnn", "pc"): "no rate: none was searched for this rule and network",
    ("mlp", "gevb"): "refused: the rule 'gevb' needs units that are vectors",
    ("cnn", "gevb"): "refused: the rule 'gevb' needs units that are vectors",
}


def lines():
    for (network, rule), (scores, angle, products) in MADE.items():
        for seed, score in enumerate(scores):
            numbers = {
                "lr": "0.1",
                "seed": str(seed),
                "test_accuracy": str(score),
                "true_angle": angle,
                "products": products,
            }
            yield {**EMPTY, "network": network, "rule": rule, **numbers, "feedback_numbers": "5000", "diverged": "0"}
    for (network, rule), reason in NOT_RUN.items():
        yield {**EMPTY, "network": network, "rule": rule, "not_run": reason}


def page_of(*more, beside=()):
    return survey_page.page(Survey([*lines(), *more], 15, "digits", 360, 0.1), list(beside))


def row_of(page, rule):
    return re.search(rf'<tr data-rule="{rule}".*?</tr>', page, re.DOTALL)[0]


def test_the_page_loads_nothing_and_allows_its_own_script_only():
    page = page_of(beside=["survey.csv"])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert Reader(page).links == ["survey.csv"] and page.count("<script") == 1
    assert "url(" not in page and "@import" not in page


def test_a_row_has_accuracies_and_the_difference_from_backpropagation_by_seed():
    row = Reader(row_of(page_of(), "fa")).text
    assert "0.940 ± 0.014" in row and "\u22120.015 ± 0.005" in row  # of -0.02 and -0.01
    assert "0.110 ± 0.014" in row and "\u22120.875 ± 0.005" in row
    assert "a fixed random feedback path for every weight" in row and "B = M, M drawn once" in row
    assert "Lillicrap et al. 2016" in row and "feedback alignment" in row
    assert "±" in Reader(row_of(page_of(), "bp")).text and "+0.000" not in row_of(page_of(), "bp")


def test_a_refusal_is_a_cell_with_the_reason_in_words():
    page = page_of()
    refused = row_of(page, "gevb")
    assert 'colspan="2"' in refused and "accepts vector networks (minifa.models.vector_mlp)" in refused
    assert "none was searched for this rule and network" in row_of(page, "pc")
    assert "gevb on mlp, cnn refused: the rule 'gevb' needs units that are vectors" in Reader(page).text.replace(
        "&#x27;", "'"
    )


def test_fewer_pairs_than_seeds_are_told():
    third = next(line for line in lines() if line["rule"] == "fa")
    assert "\u22120.015 ± 0.005 (2 pairs)" in row_of(page_of({**third, "seed": "7"}), "fa")


def test_fewer_seeds_than_the_others_have_are_told():
    third = [{**line, "seed": "2"} for line in lines() if line.get("seed") == "1" and line["rule"] == "bp"]
    page = page_of(*third)
    assert "over 3 seeds" in page and "2 of 3 seeds" in row_of(page, "fa") and "of 3" not in row_of(page, "bp")


def test_equal_accuracies_on_two_networks_are_two_cells():
    """Only equal reasons share one: 360 test examples make equal scores likely, above all with a single seed."""
    equal = [
        {**EMPTY, "network": network, "rule": "dfa", "lr": "0.1", "seed": "0", "test_accuracy": "0.9"}
        for network in ("mlp", "cnn")
    ]
    page = survey_page.page(Survey(equal, 5, "digits", 360, 0.1), [])
    assert row_of(page, "dfa").count('class="accuracy" colspan="1"') == 2


def test_the_angles_of_random_feedback_are_those_of_every_network():
    bands = {"mlp": ("87.5", "92.5"), "cnn": ("89.4", "90.6")}
    some = [
        {**line, "chance_low": bands[line["network"]][0], "chance_high": bands[line["network"]][1]} for line in lines()
    ]
    page = survey_page.page(Survey(some, 15, "digits", 360, 0.1), [])
    assert "87.5 to 92.5 on mlp, 89.4 to 90.6 on cnn" in page


def test_the_factor_of_an_interval_belongs_to_the_number_of_seeds():
    assert "times 12.7" in page_of()  # two seeds


def test_names_of_rules_are_escaped():
    unknown = {**EMPTY, "network": "mlp", "rule": HOSTILE, "lr": "0.1", "seed": "0", "test_accuracy": "0.5"}
    page = page_of(unknown)
    assert HOSTILE not in page and Reader(page).tags.count("script") == 1


def test_a_survey_without_lines_has_no_page():
    with pytest.raises(ValueError, match="the survey has no lines to show"):
        survey_page.page(Survey([], 15, "digits", 360, 0.1), [])


# In browsers


@pytest.fixture
def shown(window, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(page_of(), encoding="utf-8")
    window.open(path.as_uri())
    return window


def names(window):
    """The rules in the rows that are shown."""
    return window.run(
        "return [...document.querySelectorAll('tbody tr')].filter((row) => row.checkVisibility())"
        ".map((row) => row.dataset.rule)"
    )


def sort(window, column):
    window.run("document.querySelector(`th[data-column='${arguments[0]}'] button`).click()", column)


def sorted_by(window):
    return window.run(
        "return [...document.querySelectorAll('th[aria-sort]')].map((one) => [one.dataset.column, one.ariaSort])"
    )


def test_numbers_are_sorted_as_numbers_and_empty_cells_come_last(shown):
    sort(shown, "true_angle")  # of cnn: 0, 89.25, 89.9; as text, or as whole numbers within text, in other orders
    choose(shown, "cnn")
    assert names(shown)[:3] == ["bp", "drl", "fa"] and set(names(shown)[3:]) == {"gevb", "pc"}
    assert sorted_by(shown) == [["true_angle", "ascending"]]
    sort(shown, "true_angle")
    assert names(shown)[:3] == ["fa", "drl", "bp"] and set(names(shown)[3:]) == {"gevb", "pc"}
    assert sorted_by(shown) == [["true_angle", "descending"]]


def test_accuracies_are_sorted_best_first_and_text_by_the_alphabet(shown):
    sort(shown, "test_accuracy-mlp")
    assert names(shown) == ["pc", "bp", "fa", "drl", "gevb"]
    sort(shown, "test_accuracy-mlp")
    assert names(shown) == ["drl", "fa", "bp", "pc", "gevb"]
    sort(shown, "rule")
    assert names(shown) == ["bp", "drl", "fa", "gevb", "pc"] and sorted_by(shown) == [["rule", "ascending"]]


def test_every_column_can_be_sorted(shown):
    columns = shown.run("return [...document.querySelectorAll('th[data-column]')].map((one) => one.dataset.column)")
    assert columns == ["rule", "test_accuracy-mlp", "test_accuracy-cnn", *survey_page.DETAILS, *survey_page.ABOUT]
    for column in columns:
        sort(shown, column)
        assert sorted_by(shown) and len(names(shown)) == 5


def choose(window, network):
    window.run("document.querySelector(`input[value='${arguments[0]}']`).click()", network)


def test_columns_of_one_network_show_the_chosen_one_and_are_sorted_again(shown):
    sort(shown, "products")
    choose(shown, "mlp")
    assert [name for name in names(shown) if name in ("drl", "pc")] == ["drl", "pc"]
    visible = """return [...document.querySelectorAll("tr[data-rule='drl'] .number span")]
        .filter((one) => one.checkVisibility() && one.textContent).map((one) => one.textContent)"""
    assert shown.run(visible) == ["95.5", "6.29", "5,000"]
    choose(shown, "cnn")
    assert shown.run(visible) == ["89.2", "3.50", "5,000"]


def test_rows_are_filtered_by_text_and_network(shown):
    shown.click_on("#text")
    shown.press(*"alignment")
    assert names(shown) == ["fa"] and shown.text("output") == "1 of 5 rules"
    shown.run(
        "const field = document.querySelector('#text'); field.value = ''; field.dispatchEvent(new Event('input'))"
    )
    assert len(names(shown)) == 5
    choose(shown, "cnn")
    shown.click_on("#ran")
    assert set(names(shown)) == {"bp", "fa", "drl"} and shown.text("output") == "3 of 5 rules"
    choose(shown, "mlp")
    assert set(names(shown)) == {"bp", "fa", "drl", "pc"}


def test_the_keyboard_suffices(shown):
    shown.run("document.querySelector('th[data-column=rule] button').focus()")
    shown.press(Keys.TAB, Keys.ENTER)
    assert sorted_by(shown) == [["test_accuracy-mlp", "descending"]]
    shown.press(" ")
    assert sorted_by(shown) == [["test_accuracy-mlp", "ascending"]]
    assert shown.run("return document.activeElement.closest('th').dataset.column") == "test_accuracy-mlp"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_header_and_the_names_stay_and_the_page_is_as_wide_as_the_window(shown, width):
    shown.resize(width, 500)
    shown.run("document.querySelector('.scroll').scrollTo(300, 200)")
    shown.settle()
    box, head, name, page = shown.run(
        """const box = document.querySelector(".scroll").getBoundingClientRect();
        const [head, name] = ["thead th:nth-child(3)", "tbody tr:last-child th"].map(
          (css) => document.querySelector(css).getBoundingClientRect());
        return [[box.left, box.top], head.top, name.left, document.documentElement.scrollWidth]"""
    )
    assert head == pytest.approx(box[1] + 1, abs=1) and name == pytest.approx(box[0] + 1, abs=1)
    assert page <= width
