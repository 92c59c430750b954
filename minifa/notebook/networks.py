"""Networks, rules and feedback matrices in a notebook."""

from __future__ import annotations

__all__: list[str] = []

import math
from typing import Any

import numpy

from .. import backend, metrics, representations
from ..chance import unrelated_entries, weight_band
from ..network import Network
from ..registry import as_call
from ..rules.base import Rule
from ..rules.feedback_matrices import FeedbackMatrices
from ..validation import format_shape
from .markup import LONGEST_LINE, block, drawn, escaped, image, note, png, table

LAYERS = 100  # rows of a summary
MAPS = 8  # layers whose W and B are drawn
ENTRIES = 48  # rows and columns of a matrix in a map
KERNELS = 8  # kernels along each side of a map
WIDTH = 144  # of a map on the page, in CSS pixels


@representations.html.register
def _(net: Network) -> str:
    return block(f"Network: {_count(len(net), 'layer')}", _summary(net, None))


@representations.html.register
def _(rule: Rule) -> str:
    title = f"{as_call(rule)}: {rule.title}" if rule.title else as_call(rule)
    texts = (rule.equation, rule.paper)
    about = "".join(f"<div>{escaped(text, LONGEST_LINE)}</div>" for text in texts if text)
    attached = note("not attached to a network") if rule.net is None else _summary(rule.net, rule)
    return block(title, about, attached)


def _summary(net: Network, rule: Rule | None) -> str:
    head, *rows = net.summary_rows(rule)
    *layers, total = [[escaped(cell) for cell in row] for row in rows]
    omitted = note(f"{LAYERS} of {len(layers)} layers") if len(layers) > LAYERS else ""
    return table(head, [*layers[:LAYERS], total], right_from=3, last_is_total=True) + omitted


@representations.html.register
def _(matrices: FeedbackMatrices) -> str:
    if not matrices:
        return block("B: no matrices")
    names = list(matrices)[:MAPS]
    rows = [_row(name, matrices[name], matrices.net) for name in names]
    head = ["layer", "shape", "angle of W and B", "chance", "W", "B"]
    remarks = [f"{MAPS} of {len(matrices)} layers"] if len(matrices) > MAPS else []
    remarks += ["blue: negative, orange: positive, white: zero; the scale is that of each layer, the same for W and B"]
    remarks += ["chance: 90° ± two standard deviations for independent entries"]
    return block(
        f"B: {_count(len(matrices), 'matrix', 'matrices')}", table(head, rows, right_from=6), *map(note, remarks)
    )


def _row(name: str, matrix: Any, net: Network | None) -> list[str]:
    layers = {} if net is None else {layer.name: layer for layer in net}
    weights = getattr(layers.get(name), "W", None)
    B = _host(matrix)
    W = None if weights is None or weights.shape != matrix.shape else _host(weights)
    angle, chance = "-", "-"
    if W is not None:
        degrees = float(metrics.angle(weights, matrix))
        angle = f"{degrees:.1f}°" if math.isfinite(degrees) else "undefined"
        band = weight_band(unrelated_entries(weights, matrix))
        chance = f"{band.mean:.0f}° ± {2 * band.sd:.1f}°"
    limit = max(float(numpy.abs(a[numpy.isfinite(a)]).max(initial=0)) for a in (B, W) if a is not None) or 1.0
    maps = ["-" if a is None else _map(a, limit, f"{symbol} of {name}") for symbol, a in (("W", W), ("B", B))]
    return [escaped(name), format_shape(B.shape), angle, chance, *maps]


def _host(array: Any) -> numpy.ndarray:
    return numpy.asarray(backend.to_host(array), dtype=float)


def _map(array: numpy.ndarray, limit: float, alt: str) -> str:
    """A small map of a matrix, or of kernels, with the number of entries shown if it is cut off."""
    if array.ndim == 4:
        shown, unit = array[:, :, :KERNELS, :KERNELS], "kernels"
        sheet, sides, whole = _tiled(shown), shown.shape[2:], array.shape[2:]
    else:
        matrix, unit = array.reshape(-1, array.shape[-1]), "entries"
        sheet = matrix[:ENTRIES, :ENTRIES]
        sides, whole = sheet.shape, matrix.shape
    cut = note(f"{format_shape(sides)} of {format_shape(whole)} {unit}") if sides != whole else ""
    return drawn(lambda: _image(sheet, limit, alt)) + cut


def _tiled(kernels: numpy.ndarray) -> numpy.ndarray:
    """Kernels (kH, kW, C_in, C_out) as a sheet with a row per input channel and a column per output channel; NaN in the
    gaps between them."""
    height, width, c_in, c_out = kernels.shape
    sheet = numpy.full((c_in, height + 1, c_out, width + 1), numpy.nan)
    sheet[:, :height, :, :width] = kernels.transpose(2, 0, 3, 1)
    return sheet.reshape(c_in * (height + 1), c_out * (width + 1))[:-1, :-1]


def _image(sheet: numpy.ndarray, limit: float, alt: str) -> str:
    from ..figures.palette import MISSING, diverging_palette  # here: matplotlib takes a second to import

    finite = numpy.isfinite(sheet)
    places = numpy.clip(numpy.where(finite, sheet, 0) / limit, -1, 1)  # from -1 to 1
    pixels = numpy.where(finite, numpy.round((places + 1) / 2 * (MISSING - 1)), MISSING).astype(numpy.uint8)
    width = sheet.shape[1] * max(1, WIDTH // max(sheet.shape))
    return image(png(pixels, diverging_palette()), alt, width, enlarged=True)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
