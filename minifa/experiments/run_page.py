"""``index.html`` of a run folder: its settings, result, curve, pictures and files, with links.

The page is one file without scripts. It is made from the files that lie in the folder, so it can be written again at
any time, and it opens in a browser without a server.
"""

from __future__ import annotations

__all__ = ["write"]

import html
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import DataFileError
from ..storage.atomic import expanded, kind_of, read_bytes, write_atomic
from ..training import History
from ..training.history import Row
from ..training.phases import starts_of

PAGE = "index.html"
FILES = (
    "config.json", "history.csv", "runs.csv", "result.json", "table.txt", "table.csv", "differences.csv",
    "classes.csv", "targets.csv", "curves.csv", "sweep.csv", "survey.csv", "rates.csv", "trials.csv", "accuracy.csv",
    "confusion.csv", "features.csv", "attack.csv", "log.jsonl", "network.npz", "last.ckpt", "best.ckpt",
)  # fmt: skip
FIRST = (
    "training", "reconstructions", "unit-weights", "comparison", "curves", "survey", "learning", "alignment",
    "targets", "dependence", "information", "accuracy", "confusion", "similarities", "network", "deltas", "angles",
)  # fmt: skip
PICTURES = (".png", ".svg")
ANGLES = {"weight_angle": "angle of W and B", "true_angle": "angle of error and bp's error", "norm_ratio": "|B| / |W|"}
LOCAL = {"local_loss": "local loss", "local_accuracy": "local accuracy"}
WIDTH, HEIGHT, MARGIN = 640, 200, 44  # of a curve, in pixels

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c1e21; --soft: #5a6068; --line: #d9dce0; --mark: #0072B2; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16191e; --text: #e8e8e8; --soft: #b9bfc6; --line: #3a4048; --mark: #4FA8E0; }
}
body { margin: 0 auto; max-width: 1100px; padding: 16px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5em; margin: 0.2em 0; } h2 { font-size: 1.15em; margin: 1.8em 0 0.4em; }
a { color: var(--mark); } .soft { color: var(--soft); }
table { border-collapse: collapse; } th, td { text-align: left; vertical-align: top; padding: 3px 16px 3px 0;
  border-bottom: 1px solid var(--line); font-weight: normal; }
th { color: var(--soft); } .numbers td { text-align: right; font-variant-numeric: tabular-nums; }
pre, .wide { overflow-x: auto; } pre { font-size: 14px; line-height: 1.4; overflow-wrap: normal; }
figure { margin: 0 0 1.6em; } figcaption { color: var(--soft); } img, svg { max-width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--soft); }
"""


def write(folder: str | Path) -> Path:
    """Write ``index.html`` into a folder of `minifa train`, `compare`, `sweep`, `tune` or `reproduce`, or replace it.

    Args:
        folder: the folder. Files that are missing or damaged are left out.

    Returns:
        The path of the page.

    Raises:
        OSError: the page cannot be written.
    """
    place = expanded(folder)
    config = _json(place / "config.json")
    experiments = _experiments(config)
    history = _history(place / "history.csv")
    name = place.resolve().name
    sections = [
        f"<h1>{_text(name)}</h1>",
        f'<p class="soft">{_text(_status(place, experiments, history))}</p>',
        _result(history),
        _table_text(place / "table.txt"),
        _pictures(place),
        _curve(history) if not (place / "figures" / "training.png").is_file() else "",
        _by_layer(history, ANGLES, "Alignment at the end"),
        _by_layer(history, LOCAL, "Local losses in the last epoch"),
        _settings(config, experiments),
        _runs(place),
        _files(place),
    ]
    body = "\n".join(filter(None, sections))
    policy = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(name)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )
    write_atomic(place / PAGE, page)
    return place / PAGE


# Reading the folder


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty if there is none."""
    try:
        content = json.loads(read_bytes(path).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _experiments(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The settings of every run of the folder."""
    described = config.get("experiments", [config.get("experiment")])
    return [one for one in described if isinstance(one, dict)] if isinstance(described, list) else []


def _history(path: Path) -> History:
    try:
        return History.read_csv(path)
    except (OSError, DataFileError):
        return History()


def _status(place: Path, experiments: Sequence[Mapping[str, Any]], history: History) -> str:
    """The state of a run in a sentence; for several runs, their number."""
    if (place / "runs.csv").is_file():
        return f"{len(experiments)} runs"
    if len(experiments) != 1 or not (history or (place / "log.jsonl").is_file()):
        return ""
    epochs, last = experiments[0].get("epochs"), history[-1].get("epoch") if history else 0
    if history.diverged:
        return f"diverged in epoch {last}"
    if history.stopped_early and _is_in_last_phase(experiments[0], history):
        return f"stopped early, after epoch {last} of {epochs}"
    if isinstance(epochs, int) and isinstance(last, int) and last < epochs:
        return f"interrupted after epoch {last} of {epochs}; minifa train --resume continues it"
    return f"finished, {last} epoch{'s' * (last != 1)}"


def _is_in_last_phase(experiment: Mapping[str, Any], history: History) -> bool:
    names = [name for name, _ in _phases(experiment)]
    return not names or history[-1].get("phase") == names[-1]


def _phases(experiment: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The phases of a run: the name of each, and the settings that it changes."""
    phases = experiment.get("phases")
    found = [dict(one) for one in phases if isinstance(one, dict)] if isinstance(phases, list) else []
    return [(str(one.pop("name", "")), one) for one in found]


# The sections


def _text(value: Any) -> str:
    """Escaped text; bytes of file names that are not UTF-8 are replaced."""
    return html.escape(str(value).encode(errors="replace").decode())


def _link(path: Path, place: Path, label: str = "") -> str:
    relative = path.relative_to(place)
    address = quote(os.fsencode(relative.as_posix()))
    return f'<a href="{address}">{_text(label or relative.as_posix())}</a>'


def _rows(pairs: Iterable[tuple[str, Any]]) -> str:
    return "".join(f"<tr><th>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in pairs)


def _result(history: Sequence[Row]) -> str:
    if not history:
        return ""
    last = history[-1]
    measured = [(key, last[key]) for key in last if key.endswith(("_loss", "_accuracy")) and "." not in key]
    pairs = [(key.replace("_", " "), _number(value)) for key, value in measured]
    return f"<h2>Result after epoch {_text(last.get('epoch', ''))}</h2>\n<table>{_rows(pairs)}</table>"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _table_text(path: Path) -> str:
    try:
        text = read_bytes(path).decode(errors="replace")
    except OSError:
        return ""
    return f"<h2>Table</h2>\n<pre>{_text(text.strip())}</pre>"


def _picture_files(place: Path) -> list[Path]:
    """The pictures for light pages, the most general first; one file of each name."""
    found: dict[str, Path] = {}
    for folder in (place / "figures", place):
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in PICTURES and not path.stem.endswith("-dark") and kind_of(path) is None:
                found.setdefault(path.stem, path)
    order = {name: number for number, name in enumerate(FIRST)}
    return sorted(found.values(), key=lambda path: (order.get(path.stem, len(FIRST)), path.stem))


def _pictures(place: Path) -> str:
    shown = []
    for path in _picture_files(place):
        address = quote(os.fsencode(path.relative_to(place).as_posix()))
        dark = path.with_name(f"{path.stem}-dark{path.suffix}")
        other = quote(os.fsencode(dark.relative_to(place).as_posix()))
        source = f'<source srcset="{other}" media="(prefers-color-scheme: dark)">' if dark.is_file() else ""
        name = _text(path.stem)
        shown.append(
            f'<figure id="{name}"><figcaption>{name}</figcaption><a href="{address}"><picture>{source}'
            f'<img src="{address}" alt="{name}" loading="lazy"></picture></a></figure>'
        )
    return "<h2>Pictures</h2>\n" + "\n".join(shown) if shown else ""


def _curve(history: Sequence[Row]) -> str:
    """The accuracy (or, without classes, the loss) over the epochs, for folders without a picture of it."""
    columns = [key for row in history[-1:] for key in row if "." not in key]
    names = [key for key in columns if key.endswith("_accuracy")] or [key for key in columns if key.endswith("_loss")]
    name = next(iter(sorted(names, key=lambda key: key.startswith("train"))), "")
    points = [(row["epoch"], row[name]) for row in history if isinstance(row.get(name), float)]
    points = [(epoch, value) for epoch, value in points if isinstance(epoch, int) and math.isfinite(value)]
    if len(points) < 2:
        return ""
    last = max(epoch for epoch, _ in points)
    high = 1.0 if name.endswith("_accuracy") else max(value for _, value in points) or 1.0
    across, up = (WIDTH - 2 * MARGIN) / max(last, 1), HEIGHT - 2 * 28
    line = " ".join(f"{MARGIN + across * epoch:.1f},{HEIGHT - 28 - up * value / high:.1f}" for epoch, value in points)
    title = _text(f"{name.replace('_', ' ')} during training")
    starts = "".join(
        f'<path d="M{MARGIN + across * epoch:.1f} 28V{HEIGHT - 28}" stroke="var(--soft)" stroke-dasharray="2 3"/>'
        f'<text x="{MARGIN + across * epoch + 4:.1f}" y="24">{_text(phase)}</text>'
        for epoch, phase in starts_of(history)
    )
    return (
        f'<h2>{title}</h2>\n<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{title}">'
        f'<path d="M{MARGIN} 28V{HEIGHT - 28}H{WIDTH - MARGIN}" fill="none" stroke="var(--line)"/>'
        f"{starts}"
        f'<polyline points="{line}" fill="none" stroke="var(--mark)" stroke-width="2"/>'
        f'<text x="{MARGIN - 6}" y="32" text-anchor="end">{high:.3g}</text>'
        f'<text x="{MARGIN - 6}" y="{HEIGHT - 24}" text-anchor="end">0</text>'
        f'<text x="{MARGIN}" y="{HEIGHT - 8}">epoch 0</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 8}" text-anchor="end">{last}</text></svg>'
    )


def _by_layer(history: Sequence[Row], quantities: Mapping[str, str], title: str) -> str:
    """A table of those of these quantities, with their names on the page, that a layer has in the last epoch."""
    last = history[-1] if history else {}
    layers = dict.fromkeys(key.rpartition(".")[0] for key in last if key.rpartition(".")[2] in quantities)
    shown = [key for key in quantities if any(f"{layer}.{key}" in last for layer in layers)]
    if not layers:
        return ""
    head = "".join(f"<th>{_text(name)}</th>" for name in ("layer", *(quantities[key] for key in shown)))
    lines = []
    for layer in layers:
        values = [last.get(f"{layer}.{key}") for key in shown]
        cells = [
            f"{value:.1f}°" if isinstance(value, float) and key.endswith("angle") else _number(value)
            for key, value in zip(shown, values, strict=True)
        ]
        lines.append(f"<tr><th>{_text(layer)}</th>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    return f'<h2>{title}</h2>\n<div class="wide"><table class="numbers"><tr>{head}</tr>{"".join(lines)}</table></div>'


def _settings(config: Mapping[str, Any], experiments: Sequence[Mapping[str, Any]]) -> str:
    """The settings that all runs share, the values of the others, and the versions."""
    pairs: list[tuple[str, Any]] = []
    for key in dict.fromkeys(key for one in experiments for key in one if key != "phases"):
        values = list(dict.fromkeys(json.dumps(one.get(key)) for one in experiments))
        pairs.append((key.replace("_", " "), ", ".join(value.strip('"') for value in values if value != "null")))
    for name, changes in dict(pair for one in experiments for pair in _phases(one)).items():
        pairs.append((f"phase {name}", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changes.items())))
    versions = config.get("environment")
    pairs += [(str(key), value) for key, value in versions.items()] if isinstance(versions, dict) else []
    return (
        f"<h2>Settings</h2>\n<table>{_rows((key, value) for key, value in pairs if value != '')}</table>"
        if pairs
        else ""
    )


def _runs(place: Path) -> str:
    """Links to the pages of the runs in the folder."""
    pages = sorted(path for pattern in ("*", "runs/*") for path in place.glob(f"{pattern}/{PAGE}"))
    if not pages:
        return ""
    return (
        "<h2>Runs</h2>\n<ul>" + "".join(f"<li>{_link(page, place, page.parent.name)}</li>" for page in pages) + "</ul>"
    )


def _files(place: Path) -> str:
    links = [_link(place / name, place) for name in FILES if (place / name).is_file()]
    return f"<h2>Files</h2>\n<p>{' · '.join(links)}</p>" if links else ""
