"""Tables of rows as data frames, with pandas and without."""

import importlib.util

import pytest

from minifa.frames import to_frame

ROWS = [{"epoch": 0}, {"epoch": 1, "train_loss": 0.5}]


def test_rows_become_a_data_frame():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = to_frame(ROWS)
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == ["epoch", "train_loss"]
    assert frame["train_loss"][1] == 0.5 and frame["train_loss"].isna()[0]


def test_without_pandas_rows_are_copied_dictionaries(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pandas" else find(name, *more)
    )
    rows = to_frame(ROWS)
    assert rows == ROWS and rows[0] is not ROWS[0]


def test_rows_that_are_not_mappings_are_refused():
    with pytest.raises(TypeError, match="the rows of a table must be a list of mappings"):
        to_frame([1])
