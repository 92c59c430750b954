"""``index.html`` of a survey: one table that can be sorted by every column and filtered.

The page is one file that loads nothing. Its only script, pages/survey.js, is allowed by its hash; without scripts the
table is there, unsorted.
"""

from __future__ import annotations

__all__ = ["write"]

import base64
import hashlib
import html
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..rules.base import Rule
from ..storage.atomic import expanded, write_atomic
from .chance_levels import known_rule
from .differences import Difference, t_quantile
from .run_page import PAGE
from .survey_results import REFERENCE, Found, Survey, counted, read, way_of
from .tables import mean_sd, sampling_error

DETAILS = {  # columns that show one network at a time
    "epochs_to_90": "epochs to 0.9",
    "true_angle": "angle of error",
    "weight_angle": "angle of W, B",
    "products": "products",
    "feedback_numbers": "feedback numbers",
    "seconds": "seconds",
}
MEANINGS = {
    "epochs_to_90": "the first epoch with a test accuracy of at least 0.9, mean over seeds; empty if a seed did not "
    "reach it.",
    "true_angle": "in degrees, between the rule's error and backpropagation's at the lowest layer, after training; "
    "empty if the rule sends no error there, or makes several passes, or if a run diverged.",
    "weight_angle": "in degrees, mean over the layers, after training; empty without a B of W's shape, or if a "
    "run diverged.",
    "products": "multiply-adds of a training step relative to backpropagation's on the same network, the learning of "
    "the feedback included.",
    "feedback_numbers": "numbers that the rule keeps for the way back, besides W.",
    "seconds": "of training, on the machine that made the survey, which may have made other runs at the same time.",
}
ABOUT = {"needs": "what it needs", "way": "how the error arrives", "equation": "equation", "source": "source"}
FILES = {"survey.csv": "a line for each run", "table.txt": "as text", "config.json": "settings and versions"}
PAGES = Path(__file__).with_name("pages")
PICTURE = "figures/survey.png"


def write(folder: str | Path) -> Path:
    """Write ``index.html`` into a folder of `minifa survey`, or replace it.

    Args:
        folder: the folder.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError, DataFileError: as in `minifa.experiments.survey_results.read`.
        ValueError: the table has no lines.
        OSError: the page cannot be written.
    """
    place = expanded(folder)
    write_atomic(place / PAGE, page(read(place), [name for name in (PICTURE, *FILES) if (place / name).is_file()]))
    return place / PAGE


def page(survey: Survey, beside: list[str]) -> str:
    """The page as HTML.

    Args:
        survey: the survey.
        beside: names of files in its folder, which the page links to.
    """
    if not survey.rules:
        raise ValueError("the survey has no lines to show")
    script, style = (PAGES.joinpath(f"survey.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    shown = "".join(
        f'table[data-network="{name}"] .of-{name} {{ display: inline; }}\n' for name in map(_text, survey.networks)
    )
    title = f"{counted(len(survey.rules), 'rule')} on {_places(survey.networks)} ({_text(survey.data)})"
    parts = [
        f"<h1>{title}</h1>",
        *_introduction(survey),
        _controls(survey),
        _table(survey),
        "<h2>The columns</h2>",
        _meanings(survey),
        _reasons(survey),
        _links(beside),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{style}{shown}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + f"\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _text(value: Any) -> str:
    """Escaped text; bytes of file names that are not UTF-8 are replaced."""
    return html.escape(str(value).encode(errors="replace").decode())


def _places(networks: list[str]) -> str:
    return networks[0] if len(networks) == 1 else counted(len(networks), "network")


def _introduction(survey: Survey) -> Iterator[str]:
    times = f" (times {t_quantile(0.975, survey.seeds - 1):.1f}: a 95 % t interval)" if survey.seeds > 1 else ""
    yield (
        f"<p>Test accuracy after {counted(survey.epochs, 'epoch')}, mean ± sd over {counted(survey.seeds, 'seed')}, "
        "each rule at the learning rate that was searched for it on that network. Below it: the difference from bp on "
        f"the same network, paired by seed, ± its standard error over seeds{times}. Always guessing the most frequent "
        f"class is right for {survey.chance:.3f} of the test examples. {sampling_error(survey.test_examples)}.</p>"
    )
    yield (
        '<p class="soft">A heading sorts by its column, and again in the other direction. Empty cells come last.</p>'
    )


def _controls(survey: Survey) -> str:
    choices = "".join(
        f'<label><input type="radio" name="network" value="{_text(name)}"{" checked" * (name == survey.detailed)}>'
        f"{_text(name)}</label>"
        for name in survey.networks
    )
    return (
        '<div class="controls" hidden>'
        f"<fieldset><legend>Network of the columns after the accuracies</legend>{choices}</fieldset>"
        '<label class="tick"><input type="checkbox" id="ran">only rules that ran on it</label>'
        '<label><span>Text in the row</span><input type="search" id="text" autocomplete="off"></label>'
        '<output aria-live="polite"></output></div>'
    )


# The table


def _table(survey: Survey) -> str:
    heads = [_head("rule", "rule")]
    heads += [_head(f"test_accuracy-{name}", _text(name), "accuracy", "number", "down") for name in survey.networks]
    heads += [_head(column, name, "number", "number", of_network=True) for column, name in DETAILS.items()]
    heads += [_head(column, name, column) for column, name in ABOUT.items()]
    rows = "\n".join(_row(survey, name) for names in survey.by_way.values() for name in names)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="The table of all rules">'
        f'<table data-network="{_text(survey.detailed)}"><thead><tr>{"".join(heads)}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _head(
    column: str, name: str, css: str = "", kind: str = "text", first: str = "up", of_network: bool = False
) -> str:
    """The heading of a column; ``first``: the direction in which it is sorted first."""
    of = " data-of" if of_network else ""
    return (
        f'<th scope="col" class="{css}" data-column="{column}" data-kind="{kind}" data-first="{first}"{of}>'
        f'<button type="button">{name}</button></th>'
    )


def _row(survey: Survey, name: str) -> str:
    rule = known_rule(name)
    found = {network: survey.find(network, name) for network in survey.networks}
    about = _about(rule)
    values: dict[str, Any] = {"rule": name, **about}
    for network, one in found.items():
        values |= {f"{column}-{network}": one.mean(column) for column in ("test_accuracy", *DETAILS)}
    attributes = "".join(f' data-{key}="{"" if value is None else _text(value)}"' for key, value in values.items())
    title = "" if rule is None else f"<small>{_text(rule.title)}</small>"
    cells = [f'<th scope="row"><b>{_text(name).replace("_", "_<wbr>")}</b>{title}</th>']
    contents = [
        (_accuracy(one, None if name == REFERENCE else survey.difference(network, name), survey.seeds), network)
        if one.runs
        else (_reason(one, rule), "")
        for network, one in found.items()
    ]
    for (content, _), some in itertools.groupby(contents):  # equal reasons side by side share a cell
        cells.append(f'<td class="accuracy" colspan="{len(list(some))}">{content}</td>')
    cells += [_detail(column, found) for column in DETAILS]
    cells += [f'<td class="{key}">{_about_cell(key, value)}</td>' for key, value in about.items()]
    return f"<tr{attributes}>{''.join(cells)}</tr>"


def _about(rule: Rule | None) -> dict[str, str]:
    if rule is None:
        return dict.fromkeys(ABOUT, "")
    return {"needs": rule.needs, "way": way_of(rule), "equation": rule.equation, "source": rule.paper}


def _about_cell(column: str, value: str) -> str:
    return f"<code>{_text(value)}</code>" if column == "equation" else _text(value)


def _accuracy(found: Found, difference: Difference | None, seeds: int) -> str:
    scores = list(found.accuracies.values())
    share = f"{sum(scores) / len(scores):.3f}"
    lost = '<small class="lost">diverged</small>' if found.diverged else ""
    below = "" if difference is None else f"<small>{_difference(difference, len(scores))}</small>"
    fewer = f"<small>{len(scores)} of {counted(seeds, 'seed')}</small>" if len(scores) < seeds else ""
    return f'<div style="--share: {share}">{mean_sd(scores)}</div>{below}{fewer}{lost}'


def _difference(one: Difference, seeds: int) -> str:
    mean = f"{round(one.mean, 3) + 0:+.3f}".replace("-", "\u2212")  # + 0: no minus before 0
    error = "" if one.standard_error is None else f" ± {one.standard_error:.3f}"
    pairs = "" if one.n == seeds else f" ({one.n} pair{'s' * (one.n > 1)})"
    return f"{mean}{error}{pairs}"


def _reason(found: Found, rule: Rule | None) -> str:
    """Why a rule was not run on a network, in short: the networks that it accepts, or the reason itself."""
    if not found.reason:
        return '<span class="soft">not run yet</span>'
    _, _, reason = found.reason.partition(": ")
    if found.kind == "refused" and rule is not None and rule.accepts:
        reason = f"accepts {rule.accepts}"
    return f'<span class="soft">{_text(found.kind)}</span><small class="why">{_text(reason)}</small>'


def _detail(column: str, found: Mapping[str, Found]) -> str:
    values = "".join(
        f'<span class="of of-{_text(name)}">{one.shown(column)}</span>' for name, one in found.items() if one.runs
    )
    return f'<td class="number">{values}</td>'


# Below the table


def _meanings(survey: Survey) -> str:
    bands = {network: survey.chance_angles(network) for network in survey.networks}
    known = [f"{band[0]:.1f} to {band[1]:.1f} on {network}" for network, band in bands.items() if band is not None]
    random = f" Random feedback, mean ± 2 sd: {', '.join(known)}." if known else ""
    return _list([(name, MEANINGS[key] + random * (key == "true_angle")) for key, name in DETAILS.items()])


def _reasons(survey: Survey) -> str:
    """The messages of all rules that were not run on a network."""
    pairs = [
        (f"{name} on {', '.join(networks)}", reason)
        for name in survey.rules
        for reason, networks in survey.reasons(name).items()
    ]
    return f"<h2>Why rules were not run</h2>\n{_list(pairs)}" if pairs else ""


def _list(pairs: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in pairs) + "</dl>"


def _links(beside: list[str]) -> str:
    about = {PICTURE: "a dot for each run", **FILES}
    links = " · ".join(f'<a href="{name}">{name}</a> ({about[name]})' for name in beside)
    return f"<h2>Files</h2>\n<p>{links}</p>" if links else ""
