"""Sentences that read the table of a run or of a comparison, computed from its numbers."""

from __future__ import annotations

__all__: list[str] = []

import math
import statistics
from collections.abc import Mapping, Sequence

from ..chance import Band, angle_sd
from ..training.history import Row
from .experiment import Experiment, Result
from .tables import angles_in, finished_by_rule, layers_with, mean_at_end, sample_sd

ZERO = 0.05  # degrees; smaller angles are printed as 0.0
LOST = 80.0  # degrees between an error and backpropagation's, above which hardly any of the gradient is left
RISEN = 1.5  # ratio of the last training loss to the smallest, above which training is called unstable
FITTED = 0.9  # training accuracy below which a network is not called fitted
# Test accuracies with two convolutions (tutorials/results/compare-digits-cnn-depth-2, `minifa compare --depth 2`)
TWO_CONVOLUTIONS = {"bp": 0.981, "usf": 0.983, "frsf": 0.979, "fa": 0.976, "shallow": 0.981}


def sampling_sd(accuracy: float, examples: int) -> float:
    """Standard error of an accuracy that was measured on a number of examples. Two examples are added, one of them
    correct (Laplace), so that it is not 0 for an accuracy of 0 or 1."""
    accuracy = (accuracy * examples + 1) / (examples + 2)
    return math.sqrt(accuracy * (1 - accuracy) / (examples + 2))


# One run


def read_training(result: Result, examples: int, entries: Mapping[str, int], feedback_learns: bool) -> str:
    """Two sentences: how the score changed in training, and what the angles between W and B show.

    Args:
        result: of a run that did not diverge.
        examples: number of examples on which its score was measured.
        entries: number of unrelated entries of W and B by layer (`minifa.chance.unrelated_entries`).
        feedback_learns: whether the rule changes B in training.
    """
    score = _score_sentence(result, examples)
    if result.experiment.phases:  # the angles of several rules do not continue each other
        return score
    return f"{score} {_angle_sentence(result, entries, feedback_learns)}"


def _score_sentence(result: Result, examples: int) -> str:
    first, last = result.history[0], result.final
    part = "test" if result.measured == "test" else "held-out"
    after = f"after {last['epoch']} epoch{'s' * (last['epoch'] != 1)}"
    key = f"{result.measured}_accuracy"
    if key not in last:
        loss = f"{result.measured}_loss"
        start = f"{first[loss]:.4g} before training and " if loss in first else ""
        return f"The {part} loss is {start}{last[loss]:.4g} {after}."
    before, now = first.get(key), last[key]
    own_error = f"{examples:,} examples give it a standard error of {sampling_sd(now, examples):.3f}"
    if before is None:  # under early stopping, where only the best network is measured
        return f"The {part} accuracy of the best network is {now:.3f}, {after}: {own_error}."
    error = math.hypot(sampling_sd(before, examples), sampling_sd(now, examples))
    sense = "" if abs(now - before) > 2 * error else ", which is no measurable change"
    return f"The {part} accuracy is {before:.3f} before training and {now:.3f} {after}{sense}: {own_error}."


def _angle_sentence(result: Result, entries: Mapping[str, int], feedback_learns: bool) -> str:
    first, last = result.history[0], result.final
    before, now = angles_in(first), angles_in(last)
    if not before or not now:
        return "Under this rule no layer has an angle between W and B."
    if max(before + now) < ZERO:
        return "B equals W in every layer, so that all angles between them are 0°."
    names = layers_with(last, "weight_angle")
    chance = 2 * math.hypot(*(angle_sd(entries[name]) for name in names)) / len(names)
    start, end = statistics.fmean(before), statistics.fmean(now)
    several = f" for the mean of {len(names)} layers" if len(names) > 1 else ""
    band = f"chance is 90° ± {chance:.1f}°{several}"
    mean = "The mean angle" if several else "The angle"
    moved = f"{mean} between W and B is {start:.1f}° at the start and {end:.1f}° at the end ({band})"
    if abs(end - 90) <= chance:
        return f"{moved}: no measurable similarity."
    if abs(start - 90) <= chance and end < start:
        turned = "W and the learned B have become similar" if feedback_learns else "W has turned towards B"
        return f"{moved}: {turned}."
    if start < 90 - chance:
        return f"{moved}: this B depends on W from the start."
    return f"{moved}."


def instability(result: Result) -> str:
    """A sentence if the training loss rose far above its smallest value in the last phase again; otherwise an empty
    text."""
    rows = [row for row in result.history if row.get("phase") == result.history[-1].get("phase")]
    losses = {row["epoch"]: row["train_loss"] for row in rows if "train_loss" in row}
    best = min(losses, key=losses.__getitem__, default=0)
    last = max(losses, default=0)
    if not losses or losses[last] <= RISEN * losses[best]:
        return ""
    return (
        f"Training is unstable at this rate: the training loss rose from {losses[best]:.2f} in epoch {best} to "
        f"{losses[last]:.2f} in epoch {last}; a smaller --lr may help."
    )


def not_fitted(result: Result) -> bool:
    """Whether the network has classes and has not fitted its training set."""
    return result.history[-1].get("train_accuracy", 1.0) < FITTED


# A comparison


def read_comparison(
    results: Sequence[Result], examples: int, has_classes: bool, bands: Mapping[str, Band] | None = None
) -> str:
    """Sentences: which rules diverged, which scores of the others differ measurably, and how far their errors are from
    backpropagation's. An empty text if no run finished.

    Args:
        results: of all rules and seeds.
        examples: number of test examples.
        has_classes: whether the score is an accuracy.
        bands: the angles between errors that chance gives, by layer (see `minifa.chance.error_bands`).
    """
    groups = _converged_by_rule(results)
    sentences = [_divergence(results), _ranking(groups, examples, has_classes), _directions(groups, bands or {})]
    return " ".join(filter(None, sentences))


def _converged_by_rule(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The finished runs of the rules none of whose runs diverged: a mean over seeds with a diverged run says little."""
    return {rule: some for rule, some in finished_by_rule(results).items() if not any(r.diverged for r in some)}


def diverged_rules(results: Sequence[Result]) -> str:
    """The rules with runs that diverged, with their number if it is not all: ``"bp, fa (1 of 3 runs)"``."""
    parts = []
    for rule, some in finished_by_rule(results).items():
        count = sum(r.diverged for r in some)
        parts += [rule + f" ({count} of {len(some)} runs)" * (count < len(some))] if count else []
    return ", ".join(parts)


def _divergence(results: Sequence[Result]) -> str:
    if not any(r.diverged for r in results):
        return ""
    if all(r.diverged for r in results):
        return "Every run diverged; a smaller --lr may help."
    return f"Training diverged under {diverged_rules(results)}, where a smaller --lr may help."


def _ranking(groups: Mapping[str, Sequence[Result]], examples: int, has_classes: bool) -> str:
    means = {rule: statistics.fmean(r.score for r in some) for rule, some in groups.items()}
    if len(means) < 2 or not all(map(math.isfinite, means.values())):
        return ""
    variances = {rule: _variance(some, examples if has_classes else None) for rule, some in groups.items()}
    best, *others = sorted(means, key=means.__getitem__, reverse=True)
    if not any(variances.values()):
        return f"{best} has the best score ({means[best]:.3f}); one seed does not show which differences are chance."
    close = [rule for rule in others if means[best] - means[rule] <= 2 * math.sqrt(variances[best] + variances[rule])]
    lower = [rule for rule in others if rule not in close]
    parts = [f"{best} has the best score ({means[best]:.3f})"]
    if close:
        parts.append(
            f"{_with_values(close, means)} {'lies' if len(close) == 1 else 'lie'} within two standard errors of it"
        )
    if lower:
        parts.append(f"{_with_values(lower, means)} {'lies' if len(lower) == 1 else 'lie'} further below")
    source = "seeds and test examples" if has_classes else "seeds"
    return "; ".join(parts) + f" (standard errors from {source})."


def _variance(some: Sequence[Result], examples: int | None) -> float:
    """Variance of a mean score: that of the seeds, and that of an accuracy on a number of test examples."""
    mean = statistics.fmean(r.score for r in some)
    of_seeds = (sample_sd([r.score for r in some]) or 0.0) ** 2 / len(some)
    return of_seeds + (sampling_sd(mean, examples) ** 2 if examples else 0.0)


def _with_values(names: Sequence[str], values: Mapping[str, float], form: str = ".3f", unit: str = "") -> str:
    cells = [f"{name} ({values[name]:{form}}{unit})" for name in names]
    return " and ".join(filter(None, [", ".join(cells[:-1]), cells[-1]]))


def _directions(groups: Mapping[str, Sequence[Result]], bands: Mapping[str, Band]) -> str:
    lowest = next((some[0].layers[0] for some in groups.values() if some[0].layers), "")
    angles = {rule: mean_at_end(some, f"{lowest}.true_angle") for rule, some in groups.items()}
    turned = sorted((rule for rule in angles if angles[rule] >= ZERO), key=angles.__getitem__)  # NaN: no error there
    if not turned:
        return ""
    return (
        f"At the lowest layer, {lowest}, the angle to backpropagation's error is "
        f"{_with_values(turned, angles, '.1f', '°').replace(' (', ': ').replace(')', '')}; "
        f"{_chance(bands, lowest)}."
    )


def lesson(results: Sequence[Result], classes: int, bands: Mapping[str, Band] | None = None) -> str:
    """What fails in a comparison, since when, and why; an empty text if no rule fails, or if none learns.

    A rule fails if its accuracy ends below the half of the way from chance to the best, and if its error reaches the
    lowest layer: otherwise it has nothing to fail at. Rules with diverged runs are left out.

    Args:
        results: of all rules and seeds.
        classes: number of classes; 0: none.
        bands: as for `read_comparison`.
    """
    groups = _converged_by_rule(results)
    means = {rule: statistics.fmean(r.score for r in some) for rule, some in groups.items()}
    if not classes or not means or not max(means.values()) >= 0.5:
        return ""
    best = max(means, key=means.__getitem__)
    half = (means[best] + 1 / classes) / 2
    layers = groups[best][0].layers
    sentences = []
    for rule, some in groups.items():
        angles = [mean_at_end(some, f"{layer}.true_angle") for layer in layers]
        if means[rule] >= half or any(map(math.isnan, angles)):
            continue
        sentences.append(
            f"What fails: {rule}, with {means[rule]:.3f} where {best} has {means[best]:.3f}. Since when: {best} is "
            f"halfway from chance to its score in epoch {_first_epoch(groups[best], half)}, {rule} "
            f"{_when(_first_epoch(some, half), some)}.{_why(layers, angles, bands or {})}"
            f"{_at_depth_two(rule, some)}"
        )
    return "\n\n".join(sentences)


def _first_epoch(some: Sequence[Result], accuracy: float) -> int | None:
    """The first epoch in which the mean accuracy over seeds reaches a value."""
    by_epoch: dict[int, list[float]] = {}
    for result in some:
        for row in result.history:
            by_epoch.setdefault(row["epoch"], []).append(row.get(f"{result.measured}_accuracy", math.nan))
    return next((epoch for epoch, scores in by_epoch.items() if statistics.fmean(scores) >= accuracy), None)


def _when(epoch: int | None, some: Sequence[Result]) -> str:
    return f"in none of {some[0].history[-1]['epoch']}" if epoch is None else f"was there in epoch {epoch}"


def _chance(bands: Mapping[str, Band], layer: str) -> str:
    """The angles between errors that chance gives at a layer: two standard deviations around the mean."""
    if layer not in bands:
        return "chance is 90°"
    band = bands[layer]
    return f"chance is {band.mean:.1f}° ± {2 * band.sd:.1f}° there, 2 sd of other draws of B before training"


def _why(layers: Sequence[str], angles: Sequence[float], bands: Mapping[str, Band]) -> str:
    """The number of B that the error crosses, and the angles below the first and the last of them, if the error is lost
    on its way down."""
    if len(layers) < 3 or not angles[-1] < angles[-2] < angles[0] or angles[0] < LOST:
        return ""
    places = {layers[-2]: angles[-2], layers[0]: angles[0]}
    steps = " and ".join(
        f"{angle:.1f}° at {layer}"
        + (f" (chance: {bands[layer].low:.1f}° to {bands[layer].high:.1f}°)" if layer in bands else "")
        for layer, angle in places.items()
    )
    chance = "" if set(places) <= set(bands) else "; 90° is chance"
    return (
        f" Why: depth. On its way down the error crosses {len(layers) - 1} B, and its angle to backpropagation's "
        f"error is {steps}{chance}."
    )


def _at_depth_two(rule: str, some: Sequence[Result]) -> str:
    """The score of the rule with two convolutions, where a kept table has it."""
    default, one = Experiment(), some[0].experiment
    same = all(getattr(one, key) == getattr(default, key) for key in ("data", "model", "model_options", "optimizer"))
    if not same or rule not in TWO_CONVOLUTIONS:
        return ""
    two = TWO_CONVOLUTIONS
    return (
        f" With two convolutions instead of six it has {two[rule]:.3f}: minifa compare --depth 2. (There the output "
        f"layer alone, shallow, has {two['shallow']:.3f}, so that the layers below need to learn little.)"
    )


# A published table


def read_table(rows: Sequence[Row], measure: str) -> str:
    """Sentences on the rows of `minifa.experiments.reproduce.rows_of`: the best row, and how many rows agree with their
    published values.

    Args:
        rows: of the table.
        measure: "accuracy", "error" or "loss"; the last two are better when smaller.
    """
    means = {row["row"]: row["mean"] for row in rows if math.isfinite(row.get("mean", math.nan))}
    sentences = []
    if means:
        best = (max if measure == "accuracy" else min)(means, key=means.__getitem__)
        sentences.append(f"{best} has the best test {measure}, {means[best]:.2f}.")
    compared = [row for row in rows if "standard_error" in row]
    if compared:
        within = sum(abs(row["difference"]) <= 2 * row["standard_error"] for row in compared)
        far = max(compared, key=lambda row: abs(row["difference"]))
        sentences.append(
            f"{within} of {len(compared)} rows lie within two standard errors of their published value; the largest "
            f"difference is {far['difference']:+.2f} ({far['row']})."
        )
    return " ".join(sentences)
