"""All figures of a finished run, drawn from its folder."""

from __future__ import annotations

__all__ = ["of_run"]

from collections.abc import Sequence
from pathlib import Path

import numpy
from matplotlib.figure import Figure

from .. import backend, experiments
from ..backend import Array
from ..chance import bands_in_time
from ..data.augment import for_evaluation
from ..experiments import Experiment, Result, run_folder, survey_results, surveys
from ..experiments.experiment import MEASURED_ON, augmentation_of, describe_options
from ..experiments.survey_results import counted
from ..experiments.tables import is_aligned
from ..layers.windowed import Windowed
from ..network import Network
from ..rules.base import Rule
from ..storage.atomic import expanded, plain, stem
from ..storage.npz import read_arrays
from ..text import printable
from ..validation import check_bool
from .autoencoders import CHANNELS, reconstructions, unit_weights
from .curves import (
    alignment_curves,
    comparison,
    has_alignment,
    has_kernels,
    has_targets,
    kernel_curves,
    learning_curves,
    survey,
    target_curves,
    training_curves,
)
from .diagrams import broadcast
from .errors import angle_histogram, deltas
from .matrices import kernels, matrices, signs
from .representations import information_plane, similarities
from .style import literal
from .surveys import survey_of_networks

MAX_RULES = 8  # maximum number of rules that can be distinguished in one panel


def of_run(folder: str | Path, dark: bool = False) -> dict[str, Figure]:
    """Draw all figures of a finished run, by name.

    For `minifa train`: training curves, the network diagram with the path of the error, W and B of every weighted layer
    (with their signs, and the kernels), and the errors at every layer beside backpropagation's, on the examples used to
    measure its alignment; with the inputs as targets also reconstructions of test images, and the weights of the first
    units as images. Comparisons of B with W, and of errors with backpropagation's, are left out where they are
    equal. If the network's parameters are not finite, only the curves are drawn. For `minifa compare`:
    learning curves, alignment, and the comparison of the rules. For `minifa survey`: accuracies on every network.

    Args:
        folder: a folder of `minifa train`, `minifa compare` or `minifa survey`.
        dark: whether to draw for dark backgrounds.

    Returns:
        Figures by name: "training", "alignment", "network", "deltas", "angles", "matrices-linear1", ...; for a
        comparison "comparison", "learning", "survey", "alignment"; "targets" where they were measured; where kernels
        were, "dependence", "information" and, of one run, "similarities".

    Raises:
        FileNotFoundError: the folder is none of these, or the data of the run are not available.
        DataFileError: a file in it is damaged or of another format.
        ValueError: no run of a comparison has finished.
    """
    path, dark = expanded(folder), check_bool(dark, "dark")
    if (path / surveys.TABLE).is_file():
        found = survey_results.read(path)
        return {
            "survey": survey_of_networks(
                found, f"{counted(len(found.rules), 'rule')} on {', '.join(found.networks)}", dark=dark
            )
        }
    results = run_folder.read_results(path)
    if not (path / "network.npz").is_file():
        return _of_comparison(results, dark)
    figures = _of_history(results, dark)
    if all(numpy.isfinite(array).all() for array in read_arrays(path / "network.npz", plain).values()):
        with backend.quiet():  # no warnings about the large weights of a diverging run
            figures |= _of_network(path, dark)
    return figures


def _of_comparison(results: Sequence[Result], dark: bool) -> dict[str, Figure]:
    title = _setting(results[0].experiment) if results else ""
    few = len({r.experiment.label for r in results}) <= MAX_RULES
    figures = {
        "comparison": (comparison if few else survey)(results, title, dark=dark),
        "learning": learning_curves(results, title, dark=dark),
    }
    if few:
        figures["survey"] = survey(results, title, dark=dark)
    if has_alignment(results):
        figures["alignment"] = alignment_curves(results, title, dark=dark)
    return figures | _of_measurements(results, title, dark)


def _of_measurements(results: Sequence[Result], title: str, dark: bool) -> dict[str, Figure]:
    """The curves of what is only measured on request."""
    figures = {}
    if has_targets(results):
        figures["targets"] = target_curves(results, title, dark=dark)
    if has_kernels(results):
        figures["dependence"] = kernel_curves(results, title, dark=dark)
        figures["information"] = information_plane(results, title, dark=dark)
    return figures


def _of_history(results: Sequence[Result], dark: bool) -> dict[str, Figure]:
    (result,) = results
    title = f"{result.experiment.label} on {_setting(result.experiment)}"
    figures = {"training": training_curves(result, title, dark=dark)}
    if has_alignment(results) and not is_aligned(result):
        figures["alignment"] = alignment_curves(results, title, dark=dark)
    return figures | _of_measurements(results, title, dark)


def _of_network(path: Path, dark: bool) -> dict[str, Figure]:
    net, rule, experiment = run_folder.open_run(path)
    data = experiments.load_data(experiment)
    stage = run_folder.last_stage(path, experiment)
    loss = experiments.build(stage, data)[2]
    examples = data.train.head(MEASURED_ON)
    x = backend.asarray(for_evaluation(examples.x, augmentation_of(stage)), net.dtype)
    title = f"under {stage.rule}, {_setting(experiment)}"
    figures = {"network": broadcast(net, rule, dark=dark)}
    if experiment.kernels:
        figures["similarities"] = similarities(net, x, examples.y, loss, f"Kernels {title}", dark=dark)
    if (
        experiment.data_options.get("reconstruct")
        and net.input_shape
        and net.input_shape[2:] in {(n,) for n in CHANNELS}
    ):
        figures |= _of_autoencoder(net, rule, for_evaluation(data.test.x, augmentation_of(stage)), title, dark)
    carriers = rule.layers_with_feedback(net) if rule.B_corresponds_to_W else []
    current = {layer.name: rule.feedback(layer) for layer in carriers}  # rule.B dates from the last backward pass
    feedback = {name: rule.B.get(name) if B is None else B for name, B in current.items()}
    equal = {name: B is not None and _equals(B, net[name].parameters()["W"]) for name, B in feedback.items()}
    if rule.one_backward_pass and (rule.overrides_teach or not equal or not all(equal.values())):
        batch = net, rule, x, examples.y, loss
        bands = bands_in_time(*batch)
        figures["deltas"] = deltas(*batch, f"Errors {title}", bands=bands, dark=dark)
        figures["angles"] = angle_histogram(*batch, f"Angles of errors {title}", bands=bands, dark=dark)
    for layer in net.weighted:
        B = feedback.get(layer.name)
        if B is not None and B.shape != layer.weight_shape:
            B = None  # a dense matrix between maps cannot be compared with the kernel
        heading, different = f"{printable(layer.name)} {title}", B is not None and not equal[layer.name]
        figures[f"matrices-{layer.name}"] = matrices(layer.W, B, heading, dark=dark)
        if different:
            figures[f"signs-{layer.name}"] = signs(layer.W, B, heading, dark=dark)
        if isinstance(layer, Windowed):
            figures[f"kernels-{layer.name}"] = kernels(layer.W, B if different else None, heading, dark=dark)
    return figures


def _of_autoencoder(net: Network, rule: Rule, x: Array, title: str, dark: bool) -> dict[str, Figure]:
    """Reconstructions of test images, and the weights of the first layer's units, if it is a linear one."""
    drawn = {"reconstructions": reconstructions(net, x, f"Reconstructions {title}", rule, dark=dark)}
    W, V, shape = net.weighted[0].W, net.output_layer.W, net.input_shape
    if W.ndim == 2 and shape is not None:
        mirrored = V if V.shape == W.shape[::-1] else None
        drawn["unit-weights"] = unit_weights(W, shape, mirrored, f"Weights {title}", dark=dark)
    return drawn


def _equals(B: Array, W: Array) -> bool:
    return B.shape == W.shape and bool((B == W).all())


def _setting(experiment: Experiment) -> str:
    data = literal(printable(stem(experiment.data)))
    parts = data, experiment.model, describe_options(experiment.model_options)
    augmentation = f", {experiment.augmentation}" if experiment.augmentation else ""
    return f"{' '.join(filter(None, parts))}{augmentation}, {experiment.epochs} epoch{'s' * (experiment.epochs > 1)}"
