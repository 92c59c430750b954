"""Autoencoders of images: originals beside reconstructions, and the weights of the code's units as images."""

from __future__ import annotations

__all__ = ["reconstructions", "unit_weights"]

import math
from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import backend, metrics
from ..network import A_NETWORK, Network
from ..rules.base import Rule
from ..validation import check_type, example_shape, format_shape
from .style import WIDTH, bare, diverging, drawing

Host = numpy.ndarray
ACROSS = 12  # maximum number of images side by side
CHANNELS = (1, 3)  # of grey images and of colour images


def reconstructions(net: Network, x: Any, title: str = "", rule: Rule | None = None, *, dark: bool = False) -> Figure:
    """The first images of a batch, and below each the network's output for it, on one scale of brightness. The text has
    the unexplained variance of the whole batch (`minifa.metrics.unexplained_variance`).

    Args:
        net: a network with as many outputs as inputs.
        x: images (N, height, width, channels), on the host or the backend, of 1 or 3 channels.
        title: a heading.
        rule: the attached rule that computes the outputs, as for `minifa.Network.predict`; None: the network's own.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: inputs that are not such images, or a network with another number of outputs.

    >>> data = mf.data.load("digits", reconstruct=True)
    >>> net = mf.Network(mf.models.autoencoder(data.input_shape, data.n_out), input_shape=data.input_shape)
    >>> figure = mf.figures.reconstructions(net, data.test.x)
    """
    images = backend.numbers_of(x, "x")
    if images.ndim != 4 or images.shape[-1] not in CHANNELS or not len(images):
        raise ValueError(f"x must hold images (N, height, width, 1 or 3 channels), got {images.shape}")
    outputs = check_type(net, Network, A_NETWORK).predict(images, rule=rule)
    if outputs.shape[1:] != (images[0].size,):
        raise ValueError(
            f"the network must have as many outputs as inputs, {images[0].size} per example, got "
            f"{format_shape(outputs.shape[1:])}: use the model autoencoder"
        )
    unexplained = metrics.unexplained_variance(
        *(backend.asarray(rows, "float64") for rows in (outputs, images.reshape(len(images), -1)))
    )
    facts = f"Unexplained variance of {len(images):,} examples: {float(unexplained):.3f}."
    shown = images[:ACROSS], outputs[:ACROSS].reshape(-1, *images.shape[1:])
    low, high = float(shown[0].min()), float(shown[0].max())
    with drawing(2 * WIDTH / ACROSS + 0.2, title, facts, dark=dark) as figure:
        panels = figure.subplots(2, 1, squeeze=False).ravel()
        for axes, name, some in zip(panels, ("originals", "reconstructions"), shown, strict=True):
            sheet = (row_of(some) - low) / ((high - low) or 1.0)
            _show(axes, numpy.clip(sheet, 0, 1), name, cmap="gray", vmin=0, vmax=1)
    return figure


def unit_weights(W: Any, shape: Sequence[int], V: Any = None, title: str = "", *, dark: bool = False) -> Figure:
    """The weights of the first hidden units as images: above, from the inputs to each unit (a column of W); below, from
    the unit to the outputs (a row of the decoder's V). Orange: positive; blue: negative. Each row has its own scale.

    Args:
        W: (height * width * channels, units), on the host or the backend; of several channels the mean is shown.
        shape: (height, width, channels) of an input.
        V: (units, height * width * channels), or None.
        title: a heading.

    Raises:
        TypeError: weights or a shape that are not numbers.
        ValueError: weights that do not have these shapes.

    >>> figure = mf.figures.unit_weights(np.eye(4, 3), (2, 2, 1))
    """
    shape = example_shape(shape, "the shape of an input")
    if len(shape) != 3:
        raise ValueError(f"the shape of an input must be (height, width, channels), got {shape}")
    inputs = math.prod(shape)
    w = backend.numbers_of(W, "W")
    if w.ndim != 2 or w.shape[0] != inputs or not w.shape[1]:
        raise ValueError(f"W must have shape ({inputs}, units), got {w.shape}")
    layers = {"encoder": w.T}
    facts = (
        f"{min(ACROSS, w.shape[1])} of {w.shape[1]} units. Orange: positive, blue: negative, on a scale for each row."
    )
    if V is not None:
        layers["decoder"] = v = backend.numbers_of(V, "V")
        if v.shape != w.shape[::-1]:
            raise ValueError(f"V must have shape {w.shape[::-1]}, the transpose of W's, got {v.shape}")
        between = metrics.to_float(metrics.angle(*(backend.asarray(rows, "float64") for rows in (w.T, v))))
        facts += "" if between is None else f" Angle of decoder and encoder: {between:.0f}°."
    sheets = {name: row_of(rows[:ACROSS].reshape(-1, *shape).mean(axis=-1)) for name, rows in layers.items()}
    with drawing(len(sheets) * WIDTH / ACROSS + 0.2, title, facts, dark=dark) as figure:
        panels = figure.subplots(len(sheets), 1, squeeze=False).ravel()
        for axes, (name, sheet) in zip(panels, sheets.items(), strict=True):
            limit = float(numpy.nanmax(numpy.abs(sheet))) or 1.0
            _show(axes, sheet, name, cmap=diverging(), vmin=-limit, vmax=limit)
    return figure


def row_of(images: Host) -> Host:
    """Images (N, height, width, ...) side by side, with a column of NaN between two."""
    gap = numpy.full((len(images), images.shape[1], 1, *images.shape[3:]), numpy.nan)
    framed = numpy.concatenate([images, gap], axis=2)
    return numpy.concatenate(list(framed), axis=1)[:, :-1]


def _show(axes: Axes, sheet: Host, name: str, **scale: Any) -> None:
    """Draw a row of images; the gaps between them show the page."""
    bare(axes)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    axes.set_title(name)
    grey = sheet[..., 0] if sheet.ndim == 3 and sheet.shape[-1] == 1 else sheet
    scale["cmap"] = colormaps.get_cmap(scale["cmap"]).with_extremes(bad=axes.get_facecolor())
    axes.imshow(numpy.ma.masked_invalid(grey), interpolation="nearest", **scale)
