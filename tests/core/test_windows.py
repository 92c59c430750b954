"""Patches and their adjoint: the fast forms must equal their plain references in every geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minifa.layers import AvgPool, MaxPool, Pass, windows
from minifa.layers.pooling import pool_plain, unpool_max_plain
from minifa.rules import BP


@st.composite
def geometries(draw, pooling=False):
    """(batch, height, width, channels), kernel, stride, padding, and for a convolution dilation and extra: any that
    give at least one position."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    most = [k // 2 for k in kernel] if pooling else [3, 3]
    padding = tuple(draw(st.integers(0, m)) for m in most)
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = (1, 1) if pooling else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    extra = (0, 0) if pooling else tuple(draw(st.integers(-min(p, 1), 1)) for p in padding)
    sides = zip(kernel, padding, dilation, extra, strict=True)
    size = tuple(draw(st.integers(m, m + 5)) for m in (max(1, d * (k - 1) + 1 - 2 * p - e) for k, p, d, e in sides))
    shape = (draw(st.integers(1, 3)), *size, draw(st.integers(1, 3)))
    return (shape, kernel, stride, padding) if pooling else (shape, kernel, stride, padding, dilation, extra)


every_geometry = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@every_geometry
@given(geometries())
def test_columns_and_uncolumns_equal_their_plain_references(geometry):
    shape, *window = geometry
    x = numbers(shape)
    rows = windows.columns(x, *window)
    np.testing.assert_array_equal(rows, windows.columns_plain(x, *window))
    c = numbers(rows.shape, seed=1)
    np.testing.assert_allclose(
        windows.uncolumns(c, shape, *window), windows.uncolumns_plain(c, shape, *window), atol=1e-13
    )


@every_geometry
@given(geometries())
def test_uncolumns_is_the_adjoint_of_columns(geometry):
    """<columns(x), c> = <x, uncolumns(c)>: the property that makes `carry` the transpose of `project`."""
    shape, *window = geometry
    x = numbers(shape)
    rows = windows.columns(x, *window)
    c = numbers(rows.shape, seed=1)
    np.testing.assert_allclose(
        (rows * c).sum(), (x * windows.uncolumns(c, shape, *window)).sum(), rtol=1e-10, atol=1e-10
    )


@every_geometry
@given(geometries(pooling=True), st.booleans())
def test_pooling_equals_its_plain_reference(geometry, ties):
    """With ties (few different numbers) both choose the first position of a window."""
    shape, *window = geometry
    x = numbers(shape)
    if ties:
        x = np.round(x)
    for layer, border, summary in ((MaxPool(*window), -np.inf, "max"), (AvgPool(*window), 0.0, "mean")):
        y = layer.forward(x, Pass(training=True))
        np.testing.assert_allclose(y, pool_plain(x, *window, border, summary), rtol=1e-12, atol=1e-15)
        delta = numbers(y.shape, seed=1)
        below = layer.backward(delta, BP())
        if summary == "max":
            np.testing.assert_allclose(below, unpool_max_plain(x, delta, *window), atol=1e-13)
        else:  # the mean is linear: its derivative is its adjoint
            np.testing.assert_allclose((y * delta).sum(), (x * below).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("area", [(15, 17), (16, 16), (1, 257)], ids=["255 places", "256 places", "257 places"])
def test_maxpool_stores_the_positions_of_maxima_in_large_windows(area):
    x = np.zeros((1, *area, 1))
    x[0, -1, -1, 0] = 1  # the last position is the maximum
    layer = MaxPool(area)
    layer.forward(x, Pass(training=True))
    below = layer.backward(np.full((1, 1, 1, 1), 2.0), BP())
    np.testing.assert_array_equal(below, 2 * x)


def test_plain_references_keep_the_precision_of_their_input():
    x = numbers((1, 3, 3, 2)).astype("float32")
    window = (2, 2), (1, 1), (1, 1)
    columns = windows.columns_plain(x, *window)
    results = [columns, windows.uncolumns_plain(columns, x.shape, *window), pool_plain(x, *window, 0.0, "mean")]
    results.append(unpool_max_plain(x, pool_plain(x, *window, -np.inf, "max"), *window))
    assert {one.dtype for one in results} == {np.dtype("float32")}


def test_nan_is_not_hidden_by_maxpool():
    x = np.ones((1, 2, 2, 1))
    x[0, 1, 0, 0] = np.nan
    assert np.isnan(MaxPool(2).forward(x, Pass())).all()


@pytest.mark.parametrize(
    "size, kernel, stride, padding, expected",
    [
        ((5, 5), (3, 3), (1, 1), (0, 0), (3, 3)),
        ((6, 8), (3, 3), (2, 2), (0, 0), (2, 3)),
        ((6, 5), (2, 3), (2, 1), (1, 0), (4, 3)),
    ],
)
def test_output_size_is_the_floor_of_the_formula(size, kernel, stride, padding, expected):
    assert windows.output_size(size, kernel, stride, padding) == expected


@pytest.mark.usefixtures("engine")
def test_sizes_are_integers_or_pairs():
    assert windows.pair(3, "stride", 1) == (3, 3) and windows.pair((1, 2), "stride", 1) == (1, 2)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        MaxPool(2, stride=0)
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        AvgPool(2, padding=-1)
    with pytest.raises(TypeError, match=r"kernel_size must be an int or a pair .*got 2\.5"):
        windows.pair(2.5, "kernel_size", 1)
    with pytest.raises(TypeError, match="an int or a pair"):
        MaxPool((1, 2, 3))
    with pytest.raises(ValueError, match="at most half of kernel_size"):
        MaxPool(2, padding=(1, 2))
