"""Pictures: every function returns a matplotlib Figure, in one style that is safe for colour-blind readers, for light
pages or (``dark=True``) for dark ones.

matplotlib is imported here and nowhere else; `import minifa` does without it until ``minifa.figures`` is asked for.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile

if os.path.expanduser("~") == "~" and "MPLCONFIGDIR" not in os.environ:
    # There is no home folder, and matplotlib before 3.11 cannot be imported without a place for its settings.
    os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="minifa-matplotlib-")
    atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

if "matplotlib" not in sys.modules:
    # No picture here needs a backend, and one that is not there (a notebook's, in a shell started from it) would stop
    # matplotlib's import: it is chosen afterwards, as matplotlib itself chooses it, where it can be.
    chosen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except Exception as error:  # a damaged installation or matplotlibrc may raise anything
        raise ImportError(f"matplotlib cannot be imported here ({type(error).__name__}: {error})") from error
    finally:
        if chosen is not None:
            os.environ["MPLBACKEND"] = chosen
    if chosen:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = chosen

# ruff: noqa: E402
from .convolution import im2col
from .curves import alignment_curves, comparison, learning_curves, survey, training_curves
from .diagrams import broadcast
from .errors import angle_histogram, deltas
from .folders import of_run
from .matrices import kernels, matrices, signs
from .memory import activation_memory
from .style import COLOURS, DARK, MARKERS, STYLE, diverging, look

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
    "deltas",
    "diverging",
    "im2col",
    "kernels",
    "learning_curves",
    "look",
    "matrices",
    "of_run",
    "signs",
    "survey",
    "training_curves",
]
