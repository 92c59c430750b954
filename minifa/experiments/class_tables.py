"""The accuracy on the test examples of each class, for the rows of a published table."""

from __future__ import annotations

__all__: list[str] = []

import statistics
from collections.abc import Sequence

from ..training.history import Row
from .recipes import Recipe
from .study import Outcome, load
from .tables import sample_sd

MOST = 20  # classes; with more, single classes say little


def rows_of(recipe: Recipe, outcomes: Sequence[Outcome]) -> list[Row]:
    """For every row and class: ``row``, ``class``, ``mean`` of the accuracy over seeds in %, and ``sd``. Empty without
    classes or with more than `MOST`.

    Args:
        recipe: the recipe with the table.
        outcomes: outcomes of its runs.
    """
    rows: list[Row] = []
    for row in recipe.rows:
        runs = [one for one in outcomes if one.task.name == row.name and one.result is not None]
        by_seed = [one.result["class_accuracies"] for one in runs if one.result.get("class_accuracies")]
        if not by_seed or len(by_seed[0]) > MOST:
            continue
        for name, shares in zip(_names(runs[0], len(by_seed[0])), zip(*by_seed, strict=True), strict=True):
            scores = [100 * share for share in shares if share is not None]  # None: no test example of the class
            if scores:
                sd = sample_sd(scores)
                rows.append(
                    {
                        "row": row.name,
                        "class": name,
                        "mean": statistics.fmean(scores),
                        **({} if sd is None else {"sd": sd}),
                    }
                )
    return rows


def _names(run: Outcome, count: int) -> list[str]:
    """The names of the classes; their numbers if the data are not here."""
    try:
        names = load(run.task).classes
    except (OSError, ValueError):
        names = ()
    return list(names) if len(names) == count else [str(k) for k in range(count)]
