"""Network diagrams with the forward pass (activity) and the backward pass (error) under a learning rule."""

from __future__ import annotations

__all__ = ["broadcast"]

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ..layers.base import Layer
from ..layers.weighted import Weighted
from ..network import Network
from ..rules.base import A_RULE, Rule
from ..validation import check_str, check_type
from .style import SMALL, colour, drawing, muted, size

# All in inches.
BOX_WIDTH, BOX_HEIGHT, PITCH = 3.3, 0.45, 0.72  # a box's width and height, and the distance between boxes
LANE = 1.45  # width beside the boxes for the shortcut of a residual block
NARROWEST = 4.8  # the minimum width, for the text above the diagram
LABELS, BUS = 1.75, 0.3  # distance from the boxes to the broadcast lines, and between these lines
MODULES = 2.6  # width beside the boxes for the names of modules
LONGEST = 27  # maximum length of a name in a box; of a longer one the end is shown


def broadcast(net: Network, rule: Rule, title: str = "", *, dark: bool = False) -> Figure:
    """The network from its input (bottom) to its loss (top): the path of the activity in blue, the path of the error
    under this rule in orange.

    Layerwise rules propagate the error from layer to layer through each B. Direct rules broadcast it through a matrix
    to every layer they teach (dense feedback: from every later layer). Rules with targets send these down through B.

    Args:
        net: a network of any depth, with or without residual blocks.
        rule: a rule attached to the network; the matrices are those of `Rule.B`.
        title: a heading; by default the rule's title.

    Raises:
        ValueError: the rule is not attached to this network.
    """
    if check_type(rule, Rule, A_RULE).net is not net:
        raise ValueError(f"the rule {rule.name!r} is not attached to this network: call rule.attach(net) first")
    plan = _Plan(net, rule)
    facts = f"{rule.equation}; needs {rule.needs}"
    heading = check_str(title, "a title") or rule.title
    with drawing(plan.height, heading, facts, dark=dark, width=plan.width, equations=True) as figure:
        axes = figure.subplots()
        axes.axis("off")
        axes.set(xlim=(0, plan.width - 0.2), ylim=(0, plan.height - 0.1), aspect="equal")
        plan.draw(axes)
    return figure


@dataclass
class _Box:
    """A box: a weighted layer, a residual sum, the input or the loss, with the unweighted layers that follow it."""

    name: str
    note: str
    y: float
    layer: Layer | None = None
    followers: list[str] = field(default_factory=list)


@dataclass
class _Block:
    """A residual block, whose lane leads from below its lowest box to its sum, past the boxes in between."""

    name: str
    depth: int
    shortcut: list[Layer]
    lowest: float
    sum: float
    passes: bool = False  # whether the shortcut propagates an error to its input


class _Plan:
    """The layout of the diagram and the path of the error."""

    def __init__(self, net: Network, rule: Rule) -> None:
        self.rule = rule
        self.layers = {layer.name: layer for layer in net}
        self.boxes: list[_Box] = []
        self.blocks: dict[str, _Block] = {}
        self.at: dict[str, _Box] = {}
        self.arrives: dict[str, bool] = {}  # whether an error reaches a layer's output
        self.at["input"] = self._add("input", size(net.input_shape) if net.input_shape else "")
        self._place(net.layers, depth=0)
        self.at[""] = self._add("loss", "output and target")
        if rule.one_backward_pass or rule.B:  # otherwise only a scalar is broadcast
            self._trace_error(net.layers, arrives=True)
        self.lane = LANE if any(block.shortcut for block in self.blocks.values()) else 0.5
        self.left = 0.15 + self.lane * max((block.depth for block in self.blocks.values()), default=0)
        self.right = self.left + BOX_WIDTH
        self.lines = self._broadcast_lines()
        beside = LABELS + BUS * len(self.lines) if self.lines else MODULES if any("/" in key for key in rule.B) else 0
        self.width = max(NARROWEST, self.right + beside + 0.2)
        self.height = self.boxes[-1].y + BOX_HEIGHT / 2 + 0.15

    def _add(self, name: str, note: str, layer: Layer | None = None) -> _Box:
        self.boxes.append(_Box(name, note, 0.1 + BOX_HEIGHT / 2 + PITCH * len(self.boxes), layer))
        return self.boxes[-1]

    def _place(self, layers: Sequence[Layer], depth: int) -> None:
        """Add a box for every weighted layer and residual sum; the unweighted layers that follow share it."""
        follows = depth == 0  # the first layer of a branch has no box to share
        for layer in layers:
            branches = dict(layer.children())
            if branches:
                lowest = self.boxes[-1].y + PITCH
                self._place(branches["body"], depth + 1)
                self.at[layer.name] = self._add(layer.name, "body + shortcut", layer)
                self.blocks[layer.name] = _Block(layer.name, depth + 1, branches["shortcut"], lowest, self.boxes[-1].y)
                self.at.update({one.name: self.boxes[-1] for one in _with_children(branches["shortcut"])})
            elif isinstance(layer, Weighted) or not follows:
                note = size(layer.weight_shape) if isinstance(layer, Weighted) else ""
                self.at[layer.name] = self._add(layer.name, note, layer)
            else:
                self.boxes[-1].followers.append(_last_part(layer.name))
                self.at[layer.name] = self.boxes[-1]
            follows = True

    def _trace_error(self, layers: Sequence[Layer], arrives: bool) -> bool:
        """Record which layers an error reaches. Returns whether an error is propagated to the input of these layers."""
        for layer in reversed(layers):
            arrives = arrives or self.rule.teaches(layer)
            self.arrives[layer.name] = arrives
            branches = {part: self._trace_error(inner, arrives) for part, inner in layer.children()}
            if branches:
                self.blocks[layer.name].passes = branches["shortcut"] and layer.needs_input_gradient
                arrives = any(branches.values())
            arrives = arrives and self._crosses(layer)
        return arrives

    def _crosses(self, layer: Layer) -> bool:
        crosses = self.rule.crosses_weights or self._sends_target(layer) or not isinstance(layer, Weighted)
        return layer.needs_input_gradient and crosses

    def _sends_target(self, layer: Layer) -> bool:
        """Whether the rule sends a target, and no error, down through this layer's B."""
        paired = self.rule.B_corresponds_to_W and not self.rule.crosses_weights
        return paired and layer.name in self.rule.B

    def _broadcast_lines(self) -> dict[str, dict[str, Any]]:
        """For a rule that broadcasts the error: the matrices by source and target. The source "" is the loss."""
        lines: dict[str, dict[str, Any]] = {}
        broadcasts = not (self.rule.B_corresponds_to_W or self.rule.B_is_local)
        for key, matrix in self.rule.B.items() if broadcasts else ():
            target, _, source = key.partition("<-")
            if "/" not in key:  # the others are modules of their layer
                lines.setdefault(source, {})[target] = matrix
        return dict(sorted(lines.items(), key=lambda item: self.at[item[0]].y))

    # Drawing

    def draw(self, axes: Axes) -> None:
        up, down = self.left + 0.4, self.right - 1.4
        for block in self.blocks.values():
            self._draw_block(axes, block, up, down)
        for lower, upper in zip(self.boxes, self.boxes[1:], strict=False):
            ends = lower.y + BOX_HEIGHT / 2, upper.y - BOX_HEIGHT / 2
            _arrow(axes, (up, ends[0]), (up, ends[1]), colour(0))
            if self._leaves(upper):
                _arrow(axes, (down, ends[1]), (down, ends[0]), colour(1))
                axes.text(
                    down + 0.1, sum(ends) / 2, self._error_label(upper), va="center", fontsize=SMALL, color=colour(1)
                )
        axes.text(up + 0.1, self.boxes[0].y + PITCH / 2, "activity", va="center", fontsize=SMALL, color=colour(0))
        for box in self.boxes:
            self._draw_box(axes, box)
        self._draw_lines(axes)
        self._draw_taught(axes)

    def _leaves(self, box: _Box) -> bool:
        """Whether an error is propagated from this box to the one below."""
        if box.layer is None:
            return any(self.arrives.values())
        return self.arrives.get(box.layer.name, False) and (
            bool(dict(box.layer.children())) or self._crosses(box.layer)
        )

    def _error_label(self, box: _Box) -> str:
        """The label of the error propagated from this box."""
        if box.layer is None:
            return "the true error" if self.rule.gives_output_error else "the target"
        return self._matrix(box.layer)

    def _matrix(self, layer: Layer) -> str:
        matrix = self.rule.B.get(layer.name)
        if matrix is None or not isinstance(layer, Weighted):
            return ""
        what = "target, " if self._sends_target(layer) else ""
        return "$B$ = $W$" if matrix is layer.W else f"{what}$B$  {size(matrix.shape)}"

    def _draw_box(self, axes: Axes, box: _Box) -> None:
        _frame(axes, self.left, box.y - BOX_HEIGHT / 2, BOX_WIDTH, BOX_HEIGHT)
        line = box.y + (0.09 if box.followers else 0)
        name = box.name if len(box.name) <= LONGEST else f"…{box.name[1 - LONGEST :]}"
        axes.text(self.left + 0.12, line, name, va="center", fontsize=9.5, fontweight="bold")
        axes.text(self.right - 0.12, line, box.note, va="center", ha="right", fontsize=SMALL, color=muted())
        followers = "  ".join(box.followers)
        axes.text(self.left + 0.12, box.y - 0.1, followers, va="center", fontsize=SMALL, color=muted())

    def _draw_block(self, axes: Axes, block: _Block, up: float, down: float) -> None:
        """Draw the shortcut: the activity past the body into the sum, the error past the body down to the branch."""
        lane, gap = 0.15 + self.lane * (block.depth - 0.5), block.lowest - PITCH / 2
        middle = (gap + block.sum) / 2
        activity, error = lane - 0.06, lane + 0.06
        _line(axes, [(up, gap + 0.04), (activity, gap + 0.04), (activity, block.sum + 0.08)], colour(0))
        _arrow(axes, (activity, block.sum + 0.08), (self.left, block.sum + 0.08), colour(0))
        axes.plot(up, gap + 0.04, "o", color=colour(0), markersize=4)
        if self.arrives.get(block.name, False) and (block.passes or block.shortcut):
            _line(axes, [(self.left, block.sum - 0.08), (error, block.sum - 0.08), (error, middle)], colour(1))
        if block.passes:
            _line(axes, [(error, middle), (error, gap - 0.04), (down, gap - 0.04)], colour(1))
            axes.plot(down, gap - 0.04, "o", color=colour(1), markersize=4)
            _arrow(axes, (down, gap - 0.04), (down, gap - (PITCH - BOX_HEIGHT) / 2), colour(1))
        weighted = [layer for layer in _with_children(block.shortcut) if isinstance(layer, Weighted)]
        if block.shortcut:
            _frame(axes, lane - 0.62, middle - BOX_HEIGHT / 2, 1.24, BOX_HEIGHT)
            note = size(weighted[0].weight_shape) if len(weighted) == 1 else f"{len(weighted)} layers"
            text = f"{_last_part(block.shortcut[0].name)}\n{note}"
            axes.text(lane, middle, text, ha="center", va="center", fontsize=SMALL)
        if block.passes and len(weighted) == 1:
            page = {"facecolor": rcParams["axes.facecolor"], "edgecolor": "none", "pad": 1}
            below = middle - BOX_HEIGHT / 2 - 0.16
            axes.text(
                lane, below, self._matrix(weighted[0]), ha="center", va="center", fontsize=SMALL, color=colour(1),
                bbox=page,
            )  # fmt: skip

    def _draw_lines(self, axes: Axes) -> None:
        """Draw the broadcast: a vertical line per source, a horizontal line per target, a dot at each connection."""
        places = {source: self.right + LABELS + BUS * i for i, source in enumerate(self.lines)}
        targets: dict[str, list[tuple[float, Any]]] = {}
        for source, matrices in self.lines.items():
            x, y = places[source], self.at[source].y
            lowest = min(self.at[target].y for target in matrices)
            _line(axes, [(self.right, y + 0.15), (x, y + 0.15), (x, lowest - 0.12)], colour(1))
            for target, matrix in matrices.items():
                targets.setdefault(target, []).append((x, matrix))
        named = re.search(r"\b[FQ]\b", self.rule.equation)
        symbol = named.group() if named else "B"
        for target, joined in targets.items():
            y = self.at[target].y - 0.12
            _arrow(axes, (max(x for x, _ in joined), y), (self.right, y), colour(1))
            for x, _ in joined:
                axes.plot(x, y, "o", color=colour(1), markersize=4)
            what = f"${symbol}$  {size(joined[0][1].shape)}"
            label = f"{_last_part(target)}   {what if len(joined) == 1 else f'{len(joined)} matrices'}"
            axes.text(self.right + 0.15, y + 0.03, label, va="bottom", fontsize=SMALL, color=colour(1))

    def _draw_taught(self, axes: Axes) -> None:
        """Mark the layers that are taught without a matrix that carries an error to them, and name their modules."""
        named = {target for matrices in self.lines.values() for target in matrices}
        for name, box in self.at.items():
            if box.layer is not None and name not in named and self.rule.teaches(self.layers[name]):
                axes.plot(self.right, box.y, "o", color=colour(1), markersize=6)
                text = f"{_last_part(name)} {self._how_taught(name)}"
                axes.text(self.right + 0.15, box.y, text, va="center", fontsize=SMALL, color=colour(1))

    def _how_taught(self, name: str) -> str:
        """By which matrices or modules the error at this layer comes about, if not by those of a broadcast."""
        modules = {key.partition("/")[2]: B for key, B in self.rule.B.items() if key.startswith(f"{name}/")}
        if modules:
            return "  " + ", ".join(f"${part}$ {size(B.shape)}" for part, B in modules.items())
        if not self.rule.B_is_local:
            return "is taught"
        matrix = self.rule.B.get(name)
        return "has its own loss" if matrix is None else f"  $B$  {size(matrix.shape)}\nof its own loss"


def _last_part(name: str) -> str:
    """The last component of a layer's path."""
    return name.rsplit(".", 1)[-1]


def _with_children(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, each followed by the layers inside it."""
    result: list[Layer] = []
    for layer in layers:
        result += [layer, *_with_children([child for _, inner in layer.children() for child in inner])]
    return result


def _frame(axes: Axes, left: float, bottom: float, width: float, height: float) -> None:
    style = "round,pad=0,rounding_size=0.06"
    box = FancyBboxPatch(
        (left, bottom), width, height, boxstyle=style, facecolor=rcParams["axes.facecolor"],
        edgecolor=rcParams["axes.edgecolor"], linewidth=0.9,
    )  # fmt: skip
    axes.add_patch(box)


def _line(axes: Axes, points: Sequence[tuple[float, float]], shade: str) -> None:
    axes.plot(*zip(*points, strict=True), color=shade, linewidth=1.5, solid_joinstyle="round", zorder=1)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], shade: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11}
    axes.annotate("", end, start, arrowprops=arrow)
