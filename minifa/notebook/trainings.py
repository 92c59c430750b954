"""Histories and traces in a notebook, and the figure of a history."""

from __future__ import annotations

__all__: list[str] = []

from collections.abc import Sequence
from typing import Any

from .. import representations
from ..tracing import Moment, Trace
from ..training.history import History
from .markup import LONGEST_LINE, block, drawn, escaped, figure_file, image, note, table

ROWS = 5  # the last epochs
COLUMNS = 8
MOMENTS = 100


@representations.figure.register
def _(history: History, columns: Sequence[str] | None, title: str, dark: bool) -> Any:
    from ..figures import history_curves  # here: matplotlib takes a second to import

    return history_curves(history, columns, title, dark=dark)


@representations.html.register
def _(history: History) -> str:
    title = repr(history).strip("<>")
    if not history:
        return block(title)
    names = history.columns()
    shown = [name for name in names if "." not in name][:COLUMNS]
    rows = [[_cell(row.get(name)) for name in shown] for row in history[-ROWS:]]
    remarks = [f"the last {ROWS} of {len(history)} rows"] if len(history) > ROWS else []
    if further := len(names) - len(shown):
        remarks.append(f"{further} more column{'s' * (further > 1)}, see columns() and to_frame()")
    curves = drawn(lambda: image(figure_file(history.plot()), f"Curves over the epochs. {title}"))
    return block(title, table(shown, rows, right_from=0), note(", ".join(remarks)), curves)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return "" if value is None else escaped(value)


@representations.html.register
def _(trace: Trace) -> str:
    rows = [
        [str(i), escaped(one.title), escaped("; ".join(one.equation.splitlines()), LONGEST_LINE)]
        for i, one in enumerate(trace.moments[:MOMENTS])
    ]
    omitted = note(f"{MOMENTS} of {len(trace)} moments") if len(trace) > MOMENTS else ""
    heading = f"One step under {trace.rule}: {len(trace)} moments, loss {trace.value:.4g}"
    return block(heading, table(["", "moment", "equation"], rows, right_from=3), omitted)


@representations.html.register
def _(moment: Moment) -> str:
    import html  # here, as in `minifa.notebook.markup`

    style = "background:none;margin:4px 0;padding:0;line-height:1.25;overflow-x:auto"
    numbers = "".join(f"{html.escape(line)}\n" for line in moment.numbers().splitlines())
    return block(moment.title, note(moment.why), f'<pre style="{style}">{numbers}</pre>')
