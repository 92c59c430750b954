"""Figures: every function returns a matplotlib Figure in one colour-blind-safe style, for light backgrounds or, with
``dark=True``, for dark ones.

Only this package imports matplotlib; `import minifa` does not load it before ``minifa.figures`` is accessed.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile

if os.path.expanduser("~") == "~" and "MPLCONFIGDIR" not in os.environ:
    # There is no home folder, and matplotlib before 3.11 cannot be imported without a configuration directory.
    os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="minifa-matplotlib-")
    atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

if "matplotlib" not in sys.modules:
    # No figure here needs a GUI backend, and an unavailable MPLBACKEND (a notebook's, inherited by a shell) would make
    # the import of matplotlib fail. The variable is therefore applied after the import, if it is valid.
    chosen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except Exception as error:  # a damaged installation or matplotlibrc may raise anything
        raise ImportError(f"matplotlib cannot be imported ({type(error).__name__}: {error})") from error
    finally:
        if chosen is not None:
            os.environ["MPLBACKEND"] = chosen
    if chosen:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = chosen

# ruff: noqa: E402
from .attacks import robustness
from .autoencoders import reconstructions, unit_weights
from .classes import confusion, split_accuracies
from .convolution import im2col
from .curves import (
    alignment_curves,
    comparison,
    kernel_curves,
    learning_curves,
    survey,
    target_curves,
    training_curves,
)
from .diagrams import broadcast
from .errors import angle_histogram, deltas
from .folders import of_run
from .history import history_curves
from .matrices import kernels, matrices, signs
from .memory import activation_memory
from .representations import information_plane, similarities
from .style import COLOURS, DARK, MARKERS, STYLE, diverging, look
from .surveys import survey_of_networks
from .teaching import products, snapshots

__all__ = [
    "COLOURS",
    "DARK",
    "MARKERS",
    "STYLE",
    "activation_memory",
    "alignment_curves",
    "angle_histogram",
    "broadcast",
    "comparison",
    "confusion",
    "deltas",
    "diverging",
    "history_curves",
    "im2col",
    "information_plane",
    "kernel_curves",
    "kernels",
    "learning_curves",
    "look",
    "matrices",
    "of_run",
    "products",
    "reconstructions",
    "robustness",
    "signs",
    "similarities",
    "snapshots",
    "split_accuracies",
    "survey",
    "survey_of_networks",
    "target_curves",
    "training_curves",
    "unit_weights",
]
